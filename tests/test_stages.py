"Steps one and two are made once and found again; a failed one is none."
import copy

import pytest
import torch
from tiny import TEXTS, decided_gpt2, tiny_tokenizer

from rlhf_nbdev.run import stages
from rlhf_nbdev.run.pretrain import train_tokenizer
from rlhf_nbdev.run.stages import digest_model, hold_out, keep_stage
from rlhf_nbdev.tools.files import digest


def test_digests_tell_apart_what_differs():
    inputs = [['a', 'b'], ['ab'], ['a', 'b', ''], [b'a', 'b'], [{'x': 1, 'y': 2}], []]
    digests = [digest(*parts) for parts in inputs]
    assert len(set(digests)) == 6
    assert all(len(x) == 16 for x in digests)
    assert digest({'y': 2, 'x': 1}) == digest({'x': 1, 'y': 2})


def test_a_model_is_told_apart_by_weights_and_tokenizer():
    tokenizer = tiny_tokenizer()
    model = decided_gpt2(vocab=len(tokenizer))
    first = digest_model(model, tokenizer)
    assert digest_model(copy.deepcopy(model), tokenizer) == first
    assert digest_model(model, train_tokenizer(TEXTS[:2], 300)) != first
    with torch.no_grad():
        model.transformer.ln_f.bias[3] = 1e-3
    assert digest_model(model, tokenizer) != first


def make(folder):
    folder.mkdir()
    (folder/'x').write_text('done')
    return {'loss': 1.5}


def test_a_step_is_made_once(tmp_path):
    root = str(tmp_path/'stages')
    folder, figures = keep_stage('sft', ['a', 1], make, root)
    assert folder.name.startswith('sft-')
    assert (folder/'x').read_text() == 'done'
    assert figures['loss'] == 1.5 and figures['seconds'] >= 0
    (folder/'x').write_text('found')
    assert keep_stage('sft', ['a', 1], make, root) == (folder, figures)
    assert (folder/'x').read_text() == 'found'
    assert keep_stage('sft', ['a', 2], make, root)[0] != folder


def test_a_step_is_made_where_it_is_kept_so_that_it_can_get_its_name_at_once(tmp_path):
    def make_here(folder):
        assert folder.parent.parent == tmp_path
        return make(folder)

    keep_stage('sft', [], make_here, str(tmp_path))


def test_a_step_of_other_code_is_another(tmp_path, monkeypatch):
    def make_otherwise(folder):
        return make(folder)

    here = stages.stage_folder('sft', [1], make, tmp_path)
    assert here.parent == tmp_path
    assert stages.stage_folder('sft', [1], make, tmp_path) == here
    assert stages.stage_folder('sft', [1], make_otherwise, tmp_path) != here
    monkeypatch.setattr(stages, 'STAGE_MODULES', stages.STAGE_MODULES[1:])
    assert stages.stage_folder('sft', [1], make, tmp_path) != here


def test_steps_are_kept_beside_the_ratings(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    folder, _ = keep_stage('sft', [], make)
    assert folder.parent == tmp_path/'rlhf_nbdev'/'stages'


def test_a_folder_without_a_model_is_refused(tmp_path):
    stages.require_model('sft', '', 'config.json')
    with pytest.raises(ValueError, match='sft .* no model there, config.json is missing'):
        stages.require_model('sft', str(tmp_path), 'config.json')
    (tmp_path/'config.json').write_text('{}')
    stages.require_model('sft', str(tmp_path), 'config.json')


def test_a_failed_step_leaves_nothing(tmp_path):
    def fail(folder):
        folder.mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep_stage('sft', ['b'], fail, str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path/'file').write_text('')
    with pytest.raises(OSError, match='--stages'):
        keep_stage('sft', [], make, str(tmp_path/'file'/'stages'))


@pytest.mark.parametrize('prompts', [
    [''] * 990 + [f'p{i}' for i in range(10)], ['same'] * 500 + [f'p{i}' for i in range(9)],
    [f'p{i % 100}' for i in range(1000)], ['a', 'b'] * 10])
def test_a_tenth_is_held_out_whatever_the_prompts(prompts):
    train, held_out = hold_out([[prompt, i] for i, prompt in enumerate(prompts)], prompts)
    assert len(prompts)/20 <= len(held_out) <= len(prompts)/5
    assert len(train) + len(held_out) == len(prompts)
