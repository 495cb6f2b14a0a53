"The command, run as a user runs it, on settings small enough for a test."
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_runs import EMBEDDED, PACKAGE, SMALL, STAGES, metrics, small_files
from warm import assert_refused, run, run_well
from what_a_run_leaves import hold_what_is_left

from rlhf_nbdev.reward import RewardModel
from rlhf_nbdev.tools.ratings import ratings_path

__all__ = ['small_files']  # a fixture
pytestmark = pytest.mark.usefixtures('small_files')
HAS_RATINGS = ratings_path().is_file()


def run_alone(*options, env):
    "In another environment, which takes its imports anew."
    command = [Path(sys.executable).parent/'rlhf-train', *map(str, options)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | env)


@pytest.fixture(scope='module')
def unjudged(small_files, tmp_path_factory):
    "A run on reviews from which no judge could learn."
    path = tmp_path_factory.mktemp('runs')/'unjudged'
    assert 'no judge' in run_well(*SMALL, '--out', path).stdout
    return path


def summary_of(folder):
    return json.loads((folder/'summary.json').read_text())


@pytest.mark.sweep
def test_a_run_with_a_judge_leaves_what_it_should(small_files, tmp_path):
    "As test_main_job.py does with its run, which `make floor` and `make newest` have no time for."
    run_well(*SMALL, *EMBEDDED, *PACKAGE, '--out', tmp_path/'one')
    hold_what_is_left(tmp_path/'one', updates=2, prompts=16)


# steps one and two

def test_same_seed_same_metrics_with_steps_made_anew(unjudged, tmp_path):
    run_well(*SMALL, '--stages', tmp_path/'stages', '--out', tmp_path/'again')
    assert metrics(tmp_path/'again') == metrics(unjudged)


def test_finished_steps_are_found_again(unjudged, tmp_path):
    again = run_well(*SMALL, '--out', tmp_path/'again')
    assert 'step three' in again.stderr
    assert 'fine-tuning' not in again.stderr and 'reward model' not in again.stderr


def test_a_step_of_other_settings_is_made_anew(unjudged, tmp_path):
    fewer = ['--rated_sentences', '60', '--reward_pairs', '60']
    changed = run_well(*SMALL, *fewer, '--out', tmp_path/'changed')
    assert 'fine-tuning' not in changed.stderr
    assert 'reward model' in changed.stderr


def kept_stages():
    return sorted(path.name for path in Path(STAGES.name).iterdir())


def test_any_step_can_be_replaced(unjudged, tmp_path):
    kept = kept_stages()
    given = ['--sft', unjudged/'sft', '--reward', unjudged/'reward_model']
    run_well(*SMALL, *given, '--out', tmp_path/'given')
    assert kept_stages() == kept
    made, found = summary_of(unjudged), summary_of(tmp_path/'given')
    assert made['reward']['source'] == ('people' if HAS_RATINGS else 'labels')
    assert found['sft'] == found['reward'] == {}
    for name in ('score_sft', 'score_base', 'words_sft', 'perplexity_base'):
        assert found[name] == pytest.approx(made[name], abs=1e-4), name
    assert '>given<' in (tmp_path/'given'/'report.html').read_text()


@pytest.fixture
def other_vocabulary(tmp_path):
    "A language model and a reward model that know other words."
    from tiny import tiny_gpt2, tiny_tokenizer
    tokenizer = tiny_tokenizer()
    model = tiny_gpt2(vocab=len(tokenizer), width=8, layers=1, heads=1, context=1024)
    model.save_pretrained(tmp_path/'sft')
    tokenizer.save_pretrained(tmp_path/'sft')
    RewardModel(model).save_pretrained(tmp_path/'reward')
    return tmp_path


@pytest.mark.parametrize('option, message', [
    ('sft', 'has another tokenizer than'),
    ('reward', 'reads another vocabulary'),
])
def test_a_model_of_another_vocabulary_is_refused_at_once(option, message, other_vocabulary):
    given = [f'--{option}', other_vocabulary/option]
    result = run(*SMALL, *given, '--out', other_vocabulary/'run')
    assert_refused(result, message)
    assert 'fine-tuning' not in result.stderr


def test_without_human_ratings_labels_do_and_the_run_says_so(tmp_path):
    env = {'XDG_CACHE_HOME': str(tmp_path/'empty')}
    result = run_well(*SMALL, '--out', tmp_path/'run', env=env)
    assert 'no human ratings at' in result.stdout
    assert 'learns from pairs of labelled reviews' in result.stdout
    assert summary_of(tmp_path/'run')['reward']['source'] == 'labels'


# what is refused

def test_second_run_in_one_folder_is_refused(unjudged):
    before = (unjudged/'metrics.jsonl').read_bytes()
    assert_refused(run(*SMALL, '--out', unjudged), 'already holds something')
    assert (unjudged/'metrics.jsonl').read_bytes() == before


@pytest.mark.parametrize('options, message', [
    (['--data', 'no/such.csv'], 'there is no file at no/such.csv'),
    (['--prompt_length', '251'], 'exceed the context of 256'),
    (['--prompt_length', '0'], 'prompt_length must be at least 1'),
    (['--response_length', '0'], 'response_length must be at least 1'),
    (['--batch_size', '7'], 'does not divide'),
    (['--batch_size', '20000'], 'exceeds the 250 prompts'),
    (['--reward_pairs', '0'], 'reward_pairs must be at least 1'),
    (['--eval_prompts', '0'], 'eval_prompts must be at least 1'),
    (['--sft_sentences', '0'], 'sft_sentences must be at least 1'),
    (['--rated_sentences', '1'], 'rated_sentences must be at least 2'),
    (['--sft', 'no/such'], 'no/such: no model there'),
    (['--reward', 'no/such'], 'no/such: no model there'),
    (['--ratings', 'no/such.tar.gz'], 'no/such.tar.gz: run'),
    (['--ratings', __file__], 'is not the vaderSentiment-3.3.2.tar.gz'),
    (['--device', 'nowhere'], "device 'nowhere' cannot be used"),
    (['--n_train', '20000'], 'lower n_train'),
])
def test_bad_input_is_named_in_a_line_or_two(options, message, tmp_path):
    assert_refused(run(*SMALL, '--out', tmp_path/'bad', *options), message)


@pytest.mark.parametrize('options', [['--data', 'hub'], ['--model', 'gpt2']], ids=['data', 'model'])
def test_hub_without_a_network_says_so_within_ten_seconds(options, tmp_path):
    began = time.time()
    env = {'HF_ENDPOINT': 'http://127.0.0.1:9', 'HF_HOME': str(tmp_path)}
    result = run_alone(*SMALL, '--out', tmp_path/'hub', *options, env=env)
    assert_refused(result, 'cannot be reached')
    assert 'Without a network use' in result.stderr
    assert time.time() - began < 10 + 10  # ten seconds of their own, beside the imports


# other data, other ways

def test_a_csv_of_ones_own(tmp_path):
    lines = ['review,sentiment']
    for i in range(30):
        lines += [f'"good film number {i}, and I mean it.",positive',
                  f'"bad film number {i}, and I mean it.",negative']
    (tmp_path/'own.csv').write_text('\n'.join(lines))
    own = ['--data', tmp_path/'own.csv', '--n_train', '40']
    result = run_well(*SMALL, *own, '--out', tmp_path/'own')
    assert 'no judge' in result.stdout
    assert len((tmp_path/'own'/'samples.jsonl').read_text().splitlines()) == 16
