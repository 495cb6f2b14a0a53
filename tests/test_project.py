"What stands in more than one file says the same, and the names of the brief import from where it says."
import configparser, importlib, json, re, tomllib
from pathlib import Path
import pytest
from packaging.requirements import Requirement

TOP = Path(__file__).resolve().parent.parent


@pytest.fixture(scope='module')
def settings():
    parser = configparser.ConfigParser(delimiters=['='])
    parser.read(TOP/'settings.ini', encoding='utf-8')
    return parser['DEFAULT']


@pytest.mark.parametrize('module, name', [('dataset', 'IMDBDataset'), ('agent', 'Agent'), ('ppo', 'RLHFConfig'), ('ppo', 'RLHFTrainer'),
                                          ('ppo', 'compute_advantage_and_return'), ('ppo', 'compute_loss'), ('train', 'main')])
def test_names_of_the_brief(module, name): assert hasattr(importlib.import_module(f'rlhf_nbdev.{module}'), name)


def test_address_is_that_of_settings(settings):
    project = tomllib.loads((TOP/'pyproject.toml').read_text())['project']
    assert project['name'] == settings['lib_name']
    assert project['urls'] == {'Repository': settings['git_url'], 'Documentation': settings['doc_url']}
    files = [TOP/'README.md', TOP/'_quarto.yml', *(TOP/'nbs').glob('**/*.ipynb'), *(TOP/'.github').glob('**/*.yml')]
    for path in files:
        for user in re.findall(r'(?:github\.com/|github/)([\w-]+)/' + settings['repo'], path.read_text(encoding='utf-8')):
            assert user == settings['user'], f'{path} names the owner {user}'


def test_tested_versions_are_in_range(settings):
    pins = dict(line.split('==') for line in (TOP/'requirements.txt').read_text().splitlines() if '==' in line)
    wanted = [Requirement(r) for r in settings['requirements'].split() + settings['dev_requirements'].split()]
    for requirement in wanted:
        assert requirement.name in pins, f'{requirement.name} is not pinned in requirements.txt'
        assert pins[requirement.name] in requirement.specifier


@pytest.mark.parametrize('path', sorted((TOP/'nbs').glob('**/[0-9ces]*.ipynb')), ids=lambda p: p.stem)
def test_lesson_has_its_parts(path):
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    text = '\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown')
    assert 'Predict' in text
    assert len(re.findall(r'^### Exercise \d', text, re.M)) >= 2
    assert text.count('<details>') >= 2
    for heading in ('What you built', 'Read next', 'Where next'): assert f'## {heading}' in text
    assert any(o.get('data', {}).get('image/png') for c in cells for o in c.get('outputs', [])), 'no plot is stored'
    errors = [o for c in cells for o in c.get('outputs', []) if o['output_type'] == 'error']
    assert not errors, errors[0]
