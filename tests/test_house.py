"""The floors of the house: an import goes down a floor, or back in the order of the lessons.

Read from the modules, so that whatever a notebook exports is held to it."""
import ast
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
FLOORS = [  # from the ground up; within a floor, in the order in which one may count on the other
    ['tools.exercises', 'tools.files', 'tools.microscope', 'tools.machine', 'tools.fetch',
     'tools.chat_model', 'tools.rows', 'tools.comparisons', 'tools.preferences', 'tools.models',
     'tools.tokens', 'tools.packing', 'tools.reading', 'tools.sampling', 'tools.ratings',
     'tools.measuring', 'tools.speed', 'tools.planning', 'tools.processes', 'tools.sharding'],
    ['dataset', 'agent', 'sft', 'reward', 'advantage', 'ppo', 'train', 'evaluate', 'feedback',
     'debugging', 'beyond', 'dialog', 'scale', 'turns'],
    ['run.stages', 'run.judge', 'run.training', 'run.protocol', 'run.checkpoint', 'run.report',
     'run.share', 'run.loggers', 'run.chat', 'run.dialogs', 'run.inputs', 'run.command',
     'run.chat_panel', 'run.study', 'run.pretrain', 'run.vllm_sampler'],
    ['exercises.dataset', 'exercises.agent', 'exercises.sft', 'exercises.reward',
     'exercises.advantage', 'exercises.ppo', 'exercises.train', 'exercises.evaluate',
     'exercises.feedback', 'exercises.debugging', 'exercises.beyond', 'exercises.dialog',
     'exercises.scale', 'exercises.turns', 'exercises.appendix'],
]
ORDER = [module for floor in FLOORS for module in floor]


def name_of(path):
    return '.'.join(path.relative_to(TOP/'rlhf_nbdev').with_suffix('').parts)


def modules():
    paths = (TOP/'rlhf_nbdev').rglob('*.py')
    return sorted(path for path in paths if not path.stem.startswith('_'))


def imports(path):
    "Modules of the package that a module imports, wherever in it."
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.ImportFrom) and node.level:
            here = name_of(path).split('.')
            found.append('.'.join(here[:len(here) - node.level] + [node.module]))
        elif isinstance(node, ast.ImportFrom) and node.module.startswith('rlhf_nbdev.'):
            found.append(node.module.removeprefix('rlhf_nbdev.'))
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith('rlhf_nbdev') for alias in node.names), path
    return found


def exports(path):
    "Names that a module defines for others."
    for node in ast.parse(path.read_text(encoding='utf-8')).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == '__all__':
            return ast.literal_eval(node.value)


def test_every_module_has_a_floor():
    assert sorted(map(name_of, modules())) == sorted(ORDER)


@pytest.mark.parametrize('path', modules(), ids=name_of)
def test_imports_go_down_or_back(path):
    below = ORDER[:ORDER.index(name_of(path))]
    wrong = [module for module in imports(path) if module not in below]
    assert not wrong, f'{name_of(path)} imports {wrong}, which come after it'


def test_no_two_modules_export_one_name():
    home = {}
    for path in modules():
        for name in exports(path):
            if name_of(path).startswith('exercises.') and not name.startswith(('check_', 'ask_')):
                continue  # the plain versions and mistakes of a check, which nobody else imports
            if name == 'compute_advantage_and_return' and name_of(path) == 'ppo':
                continue  # the brief asks for it there too, and it is the very same function
            assert name not in home, f'{name} is exported by {home[name]} and {name_of(path)}'
            home[name] = name_of(path)
