"Loading: safetensors alone, all weights or none, and the hub only where something is missing."
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
import transformers
from safetensors.torch import save_file
from tiny import decided_gpt2, tiny_gpt2, tiny_tokenizer

from rlhf_nbdev.tools import models
from rlhf_nbdev.tools.models import load_model, load_tensors, load_weights

TOKENIZER, WEIGHTS, SHARDS = (
    'tokenizer_config.json', 'model.safetensors', 'model.safetensors.index.json')


@pytest.fixture
def asked(monkeypatch):
    "What `load_model('a/b')` asks of the hub where only some files are cached."
    def load_with(*cached):
        events = []

        def find(name, file):
            return 'a path' if name == 'a/b' and file in cached else None

        def stop(*args, **kwargs):
            events.append(f"local_files_only={kwargs['local_files_only']}")
            raise KeyboardInterrupt

        monkeypatch.setattr(huggingface_hub, 'try_to_load_from_cache', find)
        monkeypatch.setattr(models, 'check_hub', lambda name, default: events.append('hub'))
        monkeypatch.setattr(transformers.AutoTokenizer, 'from_pretrained', stop)
        with pytest.raises(KeyboardInterrupt):
            load_model('a/b')
        return events

    return load_with


def test_what_is_cached_is_not_asked_of_the_hub(asked):
    assert asked(TOKENIZER, WEIGHTS) == ['local_files_only=True']
    assert asked(TOKENIZER, SHARDS) == ['local_files_only=True']


@pytest.mark.parametrize('cached', [[], [TOKENIZER], [WEIGHTS], [SHARDS]])
def test_what_is_missing_is_asked_of_the_hub(cached, asked):
    assert asked(*cached) == ['hub', 'local_files_only=False']


def test_a_hub_that_answers_is_no_trouble(monkeypatch):
    monkeypatch.setattr(models, 'knock_at_hub', lambda address, reply: reply.put(None))
    models.check_hub('a/b', 'embedded')


def test_a_hub_that_cannot_be_reached_says_why(monkeypatch):
    trouble = OSError('no route to host')
    monkeypatch.setattr(models, 'knock_at_hub', lambda address, reply: reply.put(trouble))
    with pytest.raises(ConnectionError, match="'a/b'.*no route to host.*use embedded"):
        models.check_hub('a/b', 'embedded')


@pytest.mark.parametrize('typo', ['./a', '/a', 'a/b/c'])
def test_a_path_that_is_none_is_not_asked_of_the_hub(typo):
    with pytest.raises(FileNotFoundError, match='no model folder'):
        load_model(typo)


def test_weights_are_read_from_safetensors_alone_and_all_of_them(tmp_path):
    tokenizer = tiny_tokenizer()
    model = decided_gpt2(vocab=len(tokenizer), dropout=0.1).train()
    model.save_pretrained(tmp_path)
    options, missing = {}, []

    def from_pretrained(source, **kwargs):
        options.update(kwargs)
        return model, {'missing_keys': missing}

    kind = SimpleNamespace(from_pretrained=from_pretrained)
    assert not load_weights(kind, tmp_path, False).training
    assert options['use_safetensors'] and options['dtype'] == torch.float32
    assert not options['trust_remote_code'] and not options['local_files_only']
    missing += ['b', 'a']
    with pytest.raises(ValueError, match='2 weights are missing, a among'):
        load_weights(kind, tmp_path)


@pytest.mark.parametrize('kind, read', [
    ('AutoConfig', models.read_config), ('AutoTokenizer', models.load_tokenizer)])
@pytest.mark.parametrize('local', [True, False])
def test_nothing_is_fetched_unasked_and_no_code_is_run(kind, read, local, monkeypatch, tmp_path):
    options = {}

    def from_pretrained(source, **kwargs):
        options.update(kwargs)
        return tiny_gpt2().config if kind == 'AutoConfig' else tiny_tokenizer()

    monkeypatch.setattr(getattr(transformers, kind), 'from_pretrained', from_pretrained)
    read(tmp_path, local)
    assert options['local_files_only'] is local
    assert options['trust_remote_code'] is False


@pytest.mark.parametrize('layers, fits', [(1, True), (3, True), (4, False), (10**9, False)])
def test_more_layers_than_weights_are_refused_before_they_are_built(layers, fits, tmp_path):
    config = tiny_gpt2().config
    config.n_layer = layers
    config.save_pretrained(tmp_path)
    save_file({name: torch.zeros(1) for name in 'abc'}, tmp_path/'model.safetensors')
    if fits:
        assert models.read_config(tmp_path).num_hidden_layers == layers
    else:
        with pytest.raises(ValueError, match='more than there are weights'):
            models.read_config(tmp_path)


def test_a_tokenizer_that_breaks_in_use_is_refused(monkeypatch, tmp_path):
    def from_pretrained(source, **kwargs):
        def broken(texts):
            raise IndexError('no such token')
        return broken

    monkeypatch.setattr(transformers.AutoTokenizer, 'from_pretrained', from_pretrained)
    with pytest.raises(ValueError, match='no such token'):
        models.load_tokenizer(tmp_path)


def test_a_tokenizer_must_not_have_more_tokens_than_the_model(monkeypatch, tmp_path):
    tiny_gpt2(vocab=64).save_pretrained(tmp_path)

    def load_with(vocabulary):
        tokenizer = SimpleNamespace(
            get_vocab=lambda: vocabulary, eos_token_id=0, eos_token='.', pad_token_id=1)
        monkeypatch.setattr(models, 'load_tokenizer', lambda source, local: tokenizer)
        return load_model(str(tmp_path))[1]

    assert load_with({}).get_vocab() == {}
    assert load_with({'a': 3, 'b': 63}).get_vocab() == {'a': 3, 'b': 63}
    with pytest.raises(ValueError, match='a token 64, the model only 64'):
        load_with({'a': 3, 'b': 64})


def test_a_tokenizer_without_a_pad_token_pads_with_eos(tmp_path):
    tokenizer = tiny_tokenizer()
    decided_gpt2(vocab=len(tokenizer)).save_pretrained(tmp_path)
    own = tokenizer.pad_token
    tokenizer.save_pretrained(tmp_path)
    assert own != tokenizer.eos_token
    assert load_model(str(tmp_path))[1].pad_token == own
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    model, padded_with_eos = load_model(str(tmp_path))
    assert padded_with_eos.pad_token == tokenizer.eos_token
    assert models.pad_id(model) == tokenizer.eos_token_id


def test_a_tokenizer_pads_on_the_left_whatever_its_file_says(tmp_path):
    tokenizer = tiny_tokenizer()
    decided_gpt2(vocab=len(tokenizer)).save_pretrained(tmp_path)
    tokenizer.padding_side = 'right'
    tokenizer.save_pretrained(tmp_path)
    assert load_model(str(tmp_path))[1].padding_side == 'left'


@pytest.mark.parametrize('stored', [
    {'a': torch.ones(2)},
    {'a': torch.ones(2), 'b': torch.ones(1), 'c': torch.ones(1)},
    {'a': torch.ones(2), 'b': torch.ones(2)},
])
def test_tensors_of_another_model_are_refused_and_none_is_overwritten(stored, tmp_path):
    path, into = tmp_path/'x', {'a': torch.zeros(2), 'b': torch.zeros(1)}
    save_file(stored, path)
    with pytest.raises(ValueError, match='another model'):
        load_tensors(path, into)
    assert not into['a'].any() and not into['b'].any()


def test_tensors_that_are_missing_or_damaged_are_named(tmp_path):
    path = tmp_path/'x'
    with pytest.raises(FileNotFoundError, match='there is no'):
        load_tensors(path, {})
    path.write_bytes(b'no')
    with pytest.raises(ValueError, match='damaged'):
        load_tensors(path, {})


def test_tensors_come_back_under_their_names(tmp_path):
    path, into = tmp_path/'x', {'a': torch.zeros(2), 'b': torch.zeros(1)}
    save_file({'b': torch.full((1,), 2.0), 'a': torch.ones(2)}, path)
    load_tensors(path, into)
    assert into['a'].tolist() == [1, 1]
    assert into['b'].tolist() == [2]
