"""Models, tensors and checkpoints are hostile: read whole and unaltered, or refused in a line."""
import copy
import json
import resource
import shutil
import struct
from collections import Counter
from dataclasses import asdict

import pytest
import torch
from hypothesis import example, given
from mutations import fuzz, mutated, mutated_json, reads_or_says_why, with_header
from safetensors.torch import load, save
from tiny import tiny_gpt2, tiny_tokenizer
from transformers import logging

from rlhf_nbdev.agent import Agent
from rlhf_nbdev.beyond import MethodConfig
from rlhf_nbdev.ppo import RLHFTrainer
from rlhf_nbdev.reward import RewardModel
from rlhf_nbdev.run.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from rlhf_nbdev.run.command import find_settings
from rlhf_nbdev.run.stages import RunConfig
from rlhf_nbdev.tools.files import fingerprint
from rlhf_nbdev.tools.models import load_model, load_tensors

pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    return tmp_path_factory.mktemp('fuzz')/'file'


@pytest.fixture(scope='module', autouse=True)
def quiet():
    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    yield
    logging.set_verbosity(before)
    logging.enable_progress_bar()


@pytest.fixture(scope='module', autouse=True)
def little_memory():
    "4 GB beyond what the process has: a size that a file only speaks of must not be allocated."
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open('/proc/self/statm') as statm:
        now = int(statm.read().split()[0])*resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (4 << 30), hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


# tensors

TENSORS = {'weight': torch.arange(6.).view(2, 3), 'bias': torch.ones(())}


@fuzz(700)
@given(mutated(save(TENSORS)) | with_header(save(TENSORS)))
@example(save(TENSORS | {'more': torch.ones(1)}))
@example(save({'weight': TENSORS['weight']}))
@example(save(TENSORS | {'bias': torch.ones(1)}))
def test_tensors(path, data):
    path.write_bytes(data)
    into = {name: torch.full_like(x, 7.) for name, x in TENSORS.items()}

    def read(path):
        load_tensors(path, into)
        return into

    if reads_or_says_why(read, path) is None:
        assert all((x == 7).all() for x in into.values()), 'some were overwritten all the same'
    else:
        shapes = {name: x.shape for name, x in load(data).items()}
        assert shapes == {name: x.shape for name, x in TENSORS.items()}
    if data == save(TENSORS):
        assert all(x.equal(TENSORS[name]) for name, x in into.items())


# folders

@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    "An agent and a reward model, as small as can be, and where a copy may be hurt."
    top, tokenizer = tmp_path_factory.mktemp('models'), tiny_tokenizer(262)
    model = tiny_gpt2(vocab=len(tokenizer), width=4, layers=1, heads=1, context=16)
    Agent(model).save_pretrained(top/'agent', tokenizer)
    RewardModel(model).save_pretrained(top/'reward')
    return {'agent': top/'agent', 'reward': top/'reward', 'copy': top/'copy'}


def copy_of(folders, kind):
    shutil.rmtree(folders['copy'], ignore_errors=True)
    shutil.copytree(folders[kind], folders['copy'])
    return folders['copy']


def read_agent(folder):
    return Agent.from_pretrained(folder), load_model(str(folder))[1]


def read_reward_model(folder):
    return (RewardModel.from_pretrained(folder),)


READERS = {'agent': read_agent, 'reward': read_reward_model}


def use(model, tokenizer=None):
    "What could be read can be used, or says so with an error that `rlhf-train` prints as a line."
    try:
        if tokenizer is None:
            scores = model(torch.tensor([[2, 3, 0]]), torch.ones(1, 3, dtype=torch.long))
            assert scores.shape == (1,)
        else:
            batch = tokenizer(['A film', 'An'], padding=True, return_tensors='pt')
            assert len(model.generate(**batch, response_length=2).tokens) == 2
    except (ValueError, FloatingPointError):
        pass


@pytest.mark.parametrize('kind, name, n', [
    ('agent', 'config.json', 150),
    ('agent', 'generation_config.json', 80),
    ('agent', 'model.safetensors', 80),
    ('agent', 'value_head.safetensors', 80),
    ('agent', 'tokenizer.json', 150),
    ('agent', 'tokenizer_config.json', 150),
    ('reward', 'config.json', 60),
    ('reward', 'reward_head.safetensors', 80),
])
def test_model_folder(folders, kind, name, n):
    folder, original = copy_of(folders, kind), (folders[kind]/name).read_bytes()
    assert reads_or_says_why(READERS[kind], folder) is not None
    was_read = set()
    is_json = name.endswith('.json')
    damaged = (mutated_json(json.loads(original)) if is_json
               else mutated(original) | with_header(original))

    @fuzz(n)
    @given(damaged)
    def check(data):
        (folder/name).write_bytes(data)
        parts = reads_or_says_why(READERS[kind], folder)
        if parts is not None:
            use(*parts)
        was_read.add(parts is not None)

    check()
    assert was_read == {True, False}, 'the mutations are too rough, or too gentle'


@pytest.mark.parametrize('key', [
    'n_layer', 'n_head', 'n_embd', 'n_positions', 'vocab_size', 'n_inner'])
@pytest.mark.parametrize('size', [10**5, 10**9, 10**13, 10**20])
def test_a_size_in_the_configuration_is_not_believed(folders, key, size):
    folder = copy_of(folders, 'agent')
    config = json.loads((folder/'config.json').read_text())
    (folder/'config.json').write_text(json.dumps(config | {key: size}))
    assert reads_or_says_why(READERS['agent'], folder, 3) is None


DISPENSABLE = ('generation_config.json', 'tokenizer_config.json')


@pytest.mark.parametrize('kind', READERS)
def test_a_folder_that_lacks_a_file(folders, kind):
    for name in [path.name for path in folders[kind].iterdir()]:
        folder = copy_of(folders, kind)
        (folder/name).unlink()
        parts = reads_or_says_why(READERS[kind], folder)
        assert parts is None or name in DISPENSABLE, f'{name} is missing, and nobody says so'


@pytest.mark.parametrize('kind', READERS)
def test_a_model_that_lacks_a_weight(folders, kind):
    folder = copy_of(folders, kind)
    tensors = load((folder/'model.safetensors').read_bytes())
    for name in tensors:
        others = {other: x for other, x in tensors.items() if other != name}
        (folder/'model.safetensors').write_bytes(save(others))
        parts = reads_or_says_why(READERS[kind], folder)
        assert parts is None, f'{name} is missing, and was made up'


def test_a_tokenizer_with_tokens_that_the_model_does_not_have(folders):
    folder = copy_of(folders, 'agent')
    _, tokenizer = load_model(str(folder))
    tokenizer.add_tokens(['film'])
    tokenizer.save_pretrained(folder)
    assert reads_or_says_why(READERS['agent'], folder) is None


@pytest.mark.parametrize('read', [*READERS.values(), lambda path: load_tensors(path, {})])
def test_an_empty_folder_is_no_model(tmp_path, read):
    assert reads_or_says_why(read, tmp_path) is None


# checkpoints

@pytest.fixture(scope='module')
def checkpoint(folders, tmp_path_factory):
    "A trainer, and a checkpoint of it in a folder of its own."
    model, _ = load_model(str(folders['agent']))
    path = tmp_path_factory.mktemp('run')/'checkpoint.safetensors'
    trainer = RLHFTrainer(Agent(model), copy.deepcopy(model), MethodConfig(response_length=8))
    for p in trainer.agent.parameters():
        p.grad = torch.ones_like(p)
    trainer.step()  # Adam's averages are there too
    run = asdict(RunConfig(device='cpu'))
    save_checkpoint(path, trainer, 3, run=run, figures={}, made_from={})
    return trainer, path, path.read_bytes()


def with_state(data: bytes):
    "A checkpoint whose state is another, and whose digest is right: written to do harm."
    tensors = load(data)
    n = struct.unpack('<Q', data[:8])[0]
    header = json.loads(data[8:8 + n])
    state = json.loads(header['__metadata__']['state'])

    def file_of(raw):
        text = raw.decode(errors='ignore')
        return save(tensors, {'state': text, 'sha256': fingerprint(tensors, text)})

    return mutated_json(state).map(file_of)


def test_checkpoint(checkpoint):
    trainer, path, original = checkpoint
    path.write_bytes(original)
    tensors, numbers = read_checkpoint(path)
    content = fingerprint(tensors)  # now: the tensors are the file's own bytes
    weights = fingerprint(dict(trainer.agent.named_parameters()))
    was_read = Counter()

    @fuzz(500)
    @given(mutated(original) | with_header(original) | with_state(original))
    def check(data):
        path.write_bytes(data)
        found = reads_or_says_why(read_checkpoint, path)
        was_read[found is not None] += 1
        if found is not None and found[1] == numbers:
            assert fingerprint(found[0]) == content, 'an altered bit goes unnoticed'

    check()
    assert set(was_read) == {True, False}
    assert fingerprint(dict(trainer.agent.named_parameters())) == weights
    path.write_bytes(original)
    assert load_checkpoint(path, trainer)['update'] == 3


def settings_of(path):
    "RunConfig and MethodConfig, or None if it is said why not."
    found = reads_or_says_why(lambda path: find_settings(path.parent), path)
    assert found is None or [type(part) for part in found] == [RunConfig, MethodConfig]


def test_settings_in_the_configuration_of_a_run(checkpoint):
    _, path, original = checkpoint
    config = path.parent/'config.json'
    asked = {'rlhf': asdict(RunConfig(device='cpu')) | asdict(MethodConfig())}

    @fuzz(500)
    @given(mutated_json(asked))
    def check(data):
        config.write_bytes(data)
        settings_of(config)

    path.unlink()
    check()
    path.write_bytes(original)


def test_settings_in_a_checkpoint(checkpoint):
    _, path, original = checkpoint

    @fuzz(300)
    @given(with_state(original))
    def check(data):
        path.write_bytes(data)
        settings_of(path)

    check()
