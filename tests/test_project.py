"What stands in more than one file says the same; names of the brief import from where it says."
import configparser
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

TOP = Path(__file__).resolve().parent.parent
LESSONS = sorted((TOP/'nbs').glob('[0-9]*.ipynb'))
WITH_EXERCISES = [*LESSONS, *(TOP/'nbs'/'run'/f'{name}.ipynb'
                              for name in ('checkpoint', 'study', 'pretrain'))]
PARTS = ('What you built', 'Read next', 'Where next')


@pytest.fixture(scope='module')
def settings():
    parser = configparser.ConfigParser(delimiters=['='])
    parser.read(TOP/'settings.ini', encoding='utf-8')
    return parser['DEFAULT']


@pytest.mark.parametrize('module, name', [
    ('dataset', 'IMDBDataset'),
    ('agent', 'Agent'),
    ('ppo', 'RLHFConfig'),
    ('ppo', 'RLHFTrainer'),
    ('ppo', 'compute_advantage_and_return'),
    ('ppo', 'compute_loss'),
    ('train', 'ppo_updates'),
])
def test_names_of_the_brief(module, name):
    assert hasattr(importlib.import_module(f'rlhf_nbdev.{module}'), name)


def test_address_is_that_of_settings(settings):
    project = tomllib.loads((TOP/'pyproject.toml').read_text())['project']
    assert project['name'] == settings['lib_name']
    assert project['urls'] == {'Repository': settings['git_url'],
                               'Documentation': settings['doc_url']}
    files = [TOP/'README.md', TOP/'_quarto.yml', *(TOP/'nbs').glob('**/*.ipynb'),
             *(TOP/'.github').glob('**/*.yml')]
    address = re.compile(r'(?:github\.com/|github/)([\w-]+)/' + settings['repo'])
    for path in files:
        owners = set(address.findall(path.read_text(encoding='utf-8')))
        assert owners <= {settings['user']}, path


def test_tested_versions_are_in_range(settings):
    lines = (TOP/'requirements.txt').read_text().splitlines()
    pins = dict(line.split('==') for line in lines if '==' in line)
    asked = settings['requirements'].split() + settings['dev_requirements'].split()
    for requirement in map(Requirement, asked):
        assert requirement.name in pins, f'{requirement.name} is not pinned'
        assert pins[requirement.name] in requirement.specifier


def cells_of(path):
    return json.loads(path.read_text(encoding='utf-8'))['cells']


def prose_of(path):
    return '\n'.join(''.join(cell['source']) for cell in cells_of(path)
                     if cell['cell_type'] == 'markdown')


@pytest.mark.parametrize('path', WITH_EXERCISES, ids=lambda path: path.stem)
def test_lesson_has_its_parts(path):
    text = prose_of(path)
    assert 'Predict' in text
    assert len(re.findall(r'^### Exercise \d', text, re.M)) >= 2
    assert text.count('<details>') >= 2
    for heading in PARTS:
        assert f'## {heading}' in text
    outputs = [output for cell in cells_of(path) for output in cell.get('outputs', [])]
    assert any(output.get('data', {}).get('image/png') for output in outputs), 'no plot is stored'


@pytest.mark.parametrize('path', sorted((TOP/'nbs').rglob('*.ipynb')), ids=lambda path: path.stem)
def test_no_error_is_stored(path):
    for cell in cells_of(path):
        for output in cell.get('outputs', []):
            assert output['output_type'] != 'error', output


def test_the_sidebar_names_every_page():
    sidebar = (TOP/'_quarto.yml').read_text(encoding='utf-8')
    for path in (TOP/'nbs').rglob('*.ipynb'):
        if '.ipynb_checkpoints' not in path.parts:
            assert f'- {path.relative_to(TOP/"nbs")}\n' in sidebar


def test_the_lowest_versions_are_those_of_settings(settings):
    done = subprocess.run([sys.executable, TOP/'.ci'/'lowest.py'], capture_output=True,
                          encoding='utf-8', check=True)
    lowest = {each.name: each for each in map(Requirement, done.stdout.split())}
    for requirement in map(Requirement, settings['requirements'].split()):
        pinned = [part.version for part in lowest[requirement.name].specifier]
        assert len(pinned) == 1 and pinned[0] in requirement.specifier


def test_the_tests_of_other_versions_are_there():
    makefile = (TOP/'Makefile').read_text(encoding='utf-8')
    names = re.search(r'^OTHER := \$\(addprefix tests/test_,(.*)\)$', makefile, re.M)[1].split()
    assert all((TOP/'tests'/f'test_{name}').is_file() for name in names)


def test_the_readme_is_short_and_its_minutes_are_those_of_the_lessons():
    readme = (TOP/'README.md').read_text(encoding='utf-8')
    words = [word for word in readme.split() if set(word) - set('|-')]
    assert len(words) <= 1200
    stated = re.findall(r'^\| \[\d+ · .*?\]\(nbs/(.*?)\).*?\| (\d+) \|', readme, re.M)
    assert [name for name, _ in stated] == [path.name for path in LESSONS]
    for name, minutes in stated:
        prose = prose_of(TOP/'nbs'/name)
        exercises = re.findall(r'^### Exercise.*[★☆], (\d+) minutes', prose, re.M)
        assert int(minutes) == sum(map(int, exercises)), name


@pytest.mark.parametrize('path', LESSONS, ids=lambda path: path.stem)
def test_every_exercise_that_a_lesson_names_by_its_number_is_there(path):
    prose = prose_of(path)
    numbers = re.findall(r'^### Exercise (\d):', prose, re.M)
    named = re.findall(r'\b[Ee]xercise (\d)(?! of (?:the|\[))', prose)
    assert set(named) <= set(numbers)


@pytest.mark.parametrize('path', sorted((TOP/'nbs').rglob('*.ipynb')), ids=lambda path: path.stem)
def test_every_picture_is_said_in_words(path):
    for cell in cells_of(path):
        outputs = cell.get('outputs', [])
        if any('image/png' in output.get('data', {}) for output in outputs):
            assert '#| fig-alt: "' in ''.join(cell['source']), cell['id']


@pytest.mark.parametrize('path', sorted((TOP/'nbs').rglob('*.ipynb')), ids=lambda path: path.stem)
def test_a_notebook_alone_sets_itself_up(path):
    "In Colab and Kaggle, the first code cell installs the package; the panel shows in Colab."
    setup = [''.join(cell['source']) for cell in cells_of(path)
             if 'google.colab' in ''.join(cell['source']) and cell['cell_type'] == 'code']
    code = [cell for cell in cells_of(path) if cell['cell_type'] == 'code']
    if path.stem == 'index' or not code:
        return
    [setup] = setup
    calls = []
    shell = type('google.colab._shell.Shell', (), {
        'run_line_magic': lambda self, *arguments: calls.append(arguments)})()
    manager = type('output', (), {'enable_custom_widget_manager': lambda: calls.append('panel')})
    modules = {'google': object(), 'google.colab': type('colab', (), {'output': manager})}
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        exec(setup, {'get_ipython': lambda: shell, 'os': os})
    package = 'git+https://github.com/rlhf-nbdev/rlhf_nbdev'
    if path.stem in ('12_dialog', '14_turns', 'chat_model'):
        package = f'"rlhf_nbdev[chat] @ {package}"'  # with what unpacks the chat model
    assert calls == [('pip', f'install -q {package}'), 'panel']


def test_every_classic_bug_can_still_be_put_in(monkeypatch):
    "Its piece of source stands exactly once in its function, and what takes its place is Python."
    monkeypatch.syspath_prepend(TOP/'benchmarks'/'mutants')
    functions, classic = map(importlib.import_module, ('functions', 'classic'))
    known = [each for module in functions.all_modules() for each in functions.functions_of(module)]
    mutants = list(classic.classic_mutants(known))
    assert [mutant.difference for mutant in mutants] == [bug['bug'] for bug in classic.read_bugs()]
    for mutant in mutants:
        functions.code_of(mutant.function, mutant.new)
