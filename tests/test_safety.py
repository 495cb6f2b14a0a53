"""A model's folder is data: nothing in it is run, and nothing is fetched that was not asked for.

That texts are text wherever they are shown is held by test_texts.py."""
import ast
import io
import json
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_runs import SMALL, small_files
from tiny import tiny_gpt2, tiny_tokenizer
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from rlhf_nbdev.agent import Agent
from rlhf_nbdev.reward import RewardModel
from rlhf_nbdev.tools.models import load_model

__all__ = ['small_files']  # a fixture
TOP = Path(__file__).resolve().parent.parent
MODULES = sorted(path for path in (TOP/'rlhf_nbdev').rglob('*.py') if path.stem != '_modidx')
NOTEBOOKS = sorted((TOP/'nbs').glob('**/[0-9a-z]*.ipynb'))


# what a folder of a model may hold

class Trap:
    "A pickle of this makes a file when it is read."
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


def test_the_pickles_are_traps(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path/'sprung'))).close()
    assert (tmp_path/'sprung').exists()


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    "Folders of an agent and of a reward model, as small as can be."
    top = tmp_path_factory.mktemp('models')
    tokenizer = tiny_tokenizer(262)
    model = tiny_gpt2(vocab=len(tokenizer), width=4, layers=1, heads=1, context=16)
    Agent(model).save_pretrained(top/'agent', tokenizer)
    RewardModel(model).save_pretrained(top/'reward')
    return {'agent': top/'agent', 'reward': top/'reward'}


FORBIDDEN = [(torch, 'load'), (pickle, 'load'), (pickle, 'loads'), (pickle, 'Unpickler'),
             (socket, 'getaddrinfo'), (socket.socket, 'connect')]


@pytest.fixture
def watched(monkeypatch, tmp_path):
    "Fails if a pickle is read, the network is asked, a question is put, or foreign code is run."
    done = []

    def forbid(owner, name):
        def forbidden(*args, **kwargs):
            done.append(name)
            raise AssertionError(f'{name} was called')
        monkeypatch.setattr(owner, name, forbidden)

    for owner, name in FORBIDDEN:
        forbid(owner, name)
    monkeypatch.setattr('builtins.input', lambda *_: done.append('input') or 'yes')
    copied_code = str(tmp_path/'modules')  # where foreign code would be copied to
    monkeypatch.setattr('transformers.dynamic_module_utils.HF_MODULES_CACHE', copied_code)
    yield
    for name in [name for name in sys.modules if 'evil' in name]:
        del sys.modules[name]  # one that was run is no fault of the next test
    if (tmp_path/'sprung').exists():
        done.append('the trap')
    assert not done, f'{done[0]}: a file of a model was not taken as data'


READERS = [
    ('agent', lambda folder: load_model(str(folder))),
    ('agent', Agent.from_pretrained),
    ('reward', RewardModel.from_pretrained),
]
each_reader = pytest.mark.parametrize(
    'kind, read', READERS, ids=['load_model', 'Agent', 'RewardModel'])


def copied(folder, to):
    shutil.copytree(folder, to/'folder')
    return to/'folder'


def saved(state):
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


@pytest.fixture(params=['trap', 'sound', 'bare'])
def pickled(request, models, tmp_path):
    "Pickles of weights: with a trap; sound ones, which are not to be read either; a trap alone."
    trap = Trap(tmp_path/'sprung')
    sound = {'agent': load_model(str(models['agent']))[0],
             'reward': RewardModel.from_pretrained(models['reward']).trunk}
    if request.param == 'sound':
        return {kind: saved(model.state_dict()) for kind, model in sound.items()}
    return dict.fromkeys(sound, saved({'trap': trap}) if request.param == 'trap'
                         else pickle.dumps(trap))


@pytest.fixture(params=[False, True], ids=['one file', 'with an index'])
def folder_with_pickle(request, models, pickled, tmp_path):
    "A function that gives a model's folder with a pickle of its weights besides."
    def make(kind):
        folder = copied(models[kind], tmp_path)
        name = 'pytorch_model-00001-of-00001.bin' if request.param else 'pytorch_model.bin'
        (folder/name).write_bytes(pickled[kind])
        if request.param:
            places = {'transformer.wte.weight': name, 'wte.weight': name}
            index = {'metadata': {}, 'weight_map': places}
            (folder/'pytorch_model.bin.index.json').write_text(json.dumps(index))
        return folder

    return make


@each_reader
def test_a_pickle_beside_the_weights_is_not_read(kind, read, folder_with_pickle, watched):
    read(folder_with_pickle(kind))


@each_reader
def test_a_pickle_instead_of_the_weights_is_not_read(kind, read, folder_with_pickle, watched):
    folder = folder_with_pickle(kind)
    (folder/'model.safetensors').unlink()
    with pytest.raises((OSError, ValueError), match=re.escape(str(folder))):
        read(folder)


CODE = '''open({!r}, "w").close()
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Model, GPT2Tokenizer
class C(GPT2Config): model_type = "strange"
class M(GPT2LMHeadModel): config_class = C
class T(GPT2Tokenizer): pass
def generate(*_, **__): pass
'''
AUTO = {'AutoConfig': 'evil.C', 'AutoModel': 'evil.M', 'AutoModelForCausalLM': 'evil.M'}
ELSEWHERE = {key: f'evil/repository--{name}' for key, name in AUTO.items()}
AUTO_TOKENIZER = {'auto_map': {'AutoTokenizer': ['evil.T', 'evil.T']}, 'tokenizer_class': 'T'}
STRANGE = {'auto_map': AUTO, 'model_type': 'strange'}
CODED = {  # what a folder's files may say, so that code beside them would be run
    'model': {'config.json': {'auto_map': AUTO}},
    'unknown model': {'config.json': STRANGE | {'architectures': ['M']}},
    'model of another repository': {
        'config.json': {'auto_map': ELSEWHERE, 'model_type': 'strange'}},
    'tokenizer': {'tokenizer_config.json': AUTO_TOKENIZER},
    'tokenizer, old form': {'tokenizer_config.json': {'auto_map': ['evil.T', None]}},
    'tokenizer in the configuration': {
        'config.json': AUTO_TOKENIZER, 'tokenizer_config.json': {'tokenizer_class': 'T'}},
    'tokenizer of an unknown model': {
        'config.json': STRANGE, 'tokenizer_config.json': AUTO_TOKENIZER},
    'generation': {'generation_config.json': {'custom_generate': 'evil.py'}},
    'kernel': {'config.json': {'attn_implementation': 'evil/kernel'}},
    'kernel, its other name': {'config.json': {'_attn_implementation': 'evil/kernel:f'}},
    'base of an adapter': {
        'adapter_config.json': {'base_model_name_or_path': 'evil/repository',
                                'peft_type': 'LORA', 'auto_map': AUTO}},
}


def change_json(path, change):
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | change))


@each_reader
@pytest.mark.parametrize('changes', CODED.values(), ids=CODED)
def test_no_code_of_a_folder_is_run_and_nobody_is_asked(
        kind, read, changes, models, tmp_path, watched):
    folder = copied(models[kind], tmp_path)
    for name, change in changes.items():
        change_json(folder/name, change)
    for name in ('evil.py', 'modeling_evil.py', 'custom_generate/generate.py', '__init__.py'):
        (folder/name).parent.mkdir(exist_ok=True)
        (folder/name).write_text(CODE.format(str(tmp_path/'sprung')))
    try:
        read(folder)
    except (OSError, ValueError) as error:
        assert str(folder) in str(error)
        assert 'trust_remote_code=True' not in str(error), 'an option that we do not have'
    assert not any('evil' in name for name in sys.modules)


# what the code itself could reach

RUNS_DATA = {
    'pickle': {'load', 'loads', 'Unpickler'},
    'torch': {'load'},
    'np': {'load'},
    'numpy': {'load'},
    'pd': {'read_pickle', 'read_hdf', 'eval'},
    'joblib': {'load'},
    'dill': {'load', 'loads'},
    'marshal': {'load', 'loads'},
    'shelve': {'open'},
    'yaml': {'load', 'unsafe_load', 'full_load'},
    'os': {'system', 'popen', 'execv'},
    'subprocess': {'getoutput', 'getstatusoutput'},
    'builtins': {'eval', 'exec'},
}
UNSAFE = {'trust_remote_code': True, 'shell': True, 'allow_pickle': True, 'weights_only': False,
          'use_safetensors': False, 'allow_all_kernels': True}


def is_unsafe(name, value):
    "An argument that is unsafe, or that could be."
    return name in UNSAFE and not (
        isinstance(value, ast.Constant) and value.value is not UNSAFE[name])


def dangers_of_import(node):
    "Names that run data, imported under names that the search would not know."
    if isinstance(node, ast.ImportFrom):
        running = RUNS_DATA.get(node.module, set())
        return [f'{node.module}.{alias.name}' for alias in node.names
                if alias.name in running or running and alias.name == '*']
    return [f'{alias.name} as {alias.asname}' for alias in node.names
            if alias.asname and alias.name in RUNS_DATA and alias.asname not in RUNS_DATA]


def dangers_of_dict(node):
    "Arguments in a dictionary, which may be handed on as keywords."
    return [key.value for key, value in zip(node.keys, node.values)
            if isinstance(key, ast.Constant) and key.value in UNSAFE
            and getattr(value, 'value', None) is UNSAFE[key.value]]


def dangers_of_node(node):
    if isinstance(node, ast.Name) and node.id in ('eval', 'exec', '__import__'):
        return [node.id]
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        owner = node.value.id
        return [f'{owner}.{node.attr}'] if node.attr in RUNS_DATA.get(owner, ()) else []
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return dangers_of_import(node)
    if isinstance(node, ast.keyword) and is_unsafe(node.arg, node.value):
        return [node.arg]
    return dangers_of_dict(node) if isinstance(node, ast.Dict) else []


def dangers(code: str) -> list[str]:
    "Calls, imports and arguments by which data could become code."
    return [danger for node in ast.walk(ast.parse(code)) for danger in dangers_of_node(node)]


def code_of(path: Path) -> list[str]:
    "A module, or the Python cells of a notebook."
    text = path.read_text(encoding='utf-8')
    if path.suffix == '.py':
        return [text]
    return [''.join(cell['source']) for cell in json.loads(text)['cells']
            if cell['cell_type'] == 'code']


@pytest.mark.parametrize('path', MODULES + NOTEBOOKS, ids=lambda path: path.stem)
def test_no_data_becomes_code(path):
    for code in code_of(path):
        assert dangers(code) == []


@pytest.mark.parametrize('code', [
    'pickle.load(f)', 'from pickle import loads', 'from pickle import *', 'import pickle as p',
    'torch.load(path)', 'from torch import load', 'np.load(path, allow_pickle=False)',
    'f(allow_pickle=x)', 'eval(text)', 'g = exec', 'subprocess.run(c, shell=True)',
    'os.system(c)', 'yaml.load(f)', 'AutoModel.from_pretrained(x, trust_remote_code=True)',
    "f(**{'trust_remote_code': True})",
])
def test_the_search_finds(code):
    assert dangers(code)


@pytest.mark.parametrize('code', [
    'pickle.dumps(x)', 'model.eval()', 'json.load(f)', 'f(trust_remote_code=False)',
    'load_file(path)', 're.compile(x)'])
def test_the_search_lets_pass(code):
    assert not dangers(code)


def test_everything_of_transformers_is_loaded_without_foreign_code(models, monkeypatch):
    asked = []

    def watch(kind):
        from_pretrained = kind.from_pretrained

        def watched(*args, **kwargs):
            asked.append((kind.__name__, kwargs))
            return from_pretrained(*args, **kwargs)

        monkeypatch.setattr(kind, 'from_pretrained', watched)

    for kind in (AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer):
        watch(kind)
    for kind, read in READERS:
        read(models[kind])
    names = {name for name, _ in asked}
    assert {'AutoModel', 'AutoModelForCausalLM', 'AutoTokenizer'} <= names
    for name, options in asked:
        assert options.get('trust_remote_code') is False, name
        if name.startswith('AutoModel'):
            assert options.get('use_safetensors') is True, name


# the network

GUARD = '''import os, sys
NETWORK = ('socket.connect', 'socket.getaddrinfo', 'socket.gethostbyname', 'socket.gethostbyaddr',
           'socket.sendto', 'socket.sendmsg', 'urllib.Request')
def guard(event, args):
    if event in NETWORK:
        with open(os.environ['ATTEMPTS'], 'a') as file:
            file.write(f'{event} {args[-1] if event == "socket.connect" else args[:2]}\\n')
        raise ConnectionRefusedError(event)
sys.addaudithook(guard)
'''


@pytest.fixture
def guarded(tmp_path):
    "A function that runs a command to which every network is closed, and tells what was tried."
    (tmp_path/'guard').mkdir()
    (tmp_path/'guard'/'sitecustomize.py').write_text(GUARD)
    attempts = tmp_path/'attempts'
    folders = [str(tmp_path/'guard'), str(TOP/'tests'), os.environ.get('PYTHONPATH')]
    path = os.pathsep.join(filter(None, folders))
    env = {key: value for key, value in os.environ.items()
           if not key.startswith(('HF_', 'TRANSFORMERS_'))}
    env |= {'PYTHONPATH': path, 'ATTEMPTS': str(attempts)}

    def run(*command):
        result = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, timeout=300, env=env,
            cwd=tmp_path, stdin=subprocess.DEVNULL)
        return result, attempts.read_text() if attempts.exists() else ''

    return run


def test_neither_imports_nor_a_whole_run_ask_anything_of_the_network(
        guarded, small_files, tmp_path):
    modules = []
    for path in MODULES:
        if path.stem != '__init__':
            modules.append('.'.join(path.relative_to(TOP).with_suffix('').parts))
    code = f'import {", ".join(modules)}, fewer_texts; fewer_texts.read_fewer(); '
    code += 'rlhf_nbdev.run.command.train_command()'
    result, attempts = guarded(sys.executable, '-c', code, *SMALL, '--stages', tmp_path/'stages',
                               '--out', tmp_path/'run')
    assert result.returncode == 0, result.stderr[-2000:]
    assert attempts == ''
    assert (tmp_path/'run'/'report.html').exists()


@pytest.mark.parametrize('code', [
    'import urllib.request as u; u.urlopen("http://127.0.0.1:9")',
    'import socket; socket.getaddrinfo("example.org", 80)',
    'from rlhf_nbdev.tools.models import load_model; load_model("gpt2")',
    'import httpx; httpx.get("http://127.0.0.1:9")',
])
def test_the_guard_sees(code, guarded):
    result, attempts = guarded(sys.executable, '-c', code)
    assert result.returncode and attempts
