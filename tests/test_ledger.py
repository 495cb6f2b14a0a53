"The ledger: each link leads to a heading, each assert stands under it, each run is kept."
import ast
import json
import re
from pathlib import Path

import pytest

from rlhf_nbdev.debugging import read_patients

TOP = Path(__file__).resolve().parent.parent
PAGE = TOP/'nbs'/'ledger.ipynb'
LEDGER = json.loads((TOP/'rlhf_nbdev'/'results'/'ledger.json').read_text(encoding='utf-8'))
SIZES = {'General': 6, 'Reward model': 4, 'Policy': 13, 'Since then': 7, 'From PPO at large': 11}


def cells_of(path):
    return json.loads(path.read_text(encoding='utf-8'))['cells']


def anchor_of(heading):
    "As Quarto and smalldocs make it of a heading's text."
    words = re.sub(r'[^\w\s.-]', '', heading.lower()).split()
    return re.sub(r'^[^a-z]+', '', '-'.join(words))


def sections(path):
    "The code under each heading of a notebook, by each anchor that leads there."
    code, here, named = {}, [], []
    for cell in cells_of(path):
        source = ''.join(cell['source'])
        if cell['cell_type'] == 'code':
            for anchor in here:
                code[anchor] += source + '\n'
            continue
        for line in source.splitlines():
            named += re.findall(r'<a id="([^"]+)"', line)
            if re.match(r'#+ ', line):
                here, named = [*named, anchor_of(line.lstrip('# '))], []
                code |= dict.fromkeys(here, '')
        here, named = [*here, *named], []  # an anchor that stands under its heading
        code = dict.fromkeys(here, '') | code
    return code


@pytest.fixture(scope='module')
def code_under():
    "By page and anchor."
    pages = sorted((TOP/'nbs').rglob('*.ipynb'))
    return {str(path.relative_to(TOP/'nbs')): sections(path) for path in pages}


def targets():
    for row in LEDGER:
        for target in [*row['taught'], *(check['at'] for check in row['held'] if 'at' in check)]:
            yield row['number'], target


def value_of(name):
    "What a variable is set to in a cell of the page."
    for cell in cells_of(PAGE):
        if cell['cell_type'] == 'code':
            for node in ast.parse(''.join(cell['source'])).body:
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
                    return eval(ast.unparse(node.value), {'NO_RUN': 'no run yet'})


def test_each_detail_stands_once_and_under_its_heading():
    assert [row['number'] for row in LEDGER] == list(range(1, 42))
    groups = [row['group'] for row in LEDGER]
    assert {group: groups.count(group) for group in SIZES} == SIZES
    code = sections(PAGE)
    lines = [line.strip() for cell in cells_of(PAGE) for line in cell['source']]
    for group in SIZES:
        assert f'## {group}' in lines
        assert f"table_of('{group}')" in code[anchor_of(group)]


def test_each_is_taught_and_held_and_says_what_it_changes():
    runs = value_of('RUNS')
    for row in LEDGER:
        assert row['taught'] and row['held'] and row['source'], row['number']
        assert row['number'] in runs or row['effect'], row['number']
    assert set(runs) <= set(range(1, 42))


def test_each_link_leads_to_a_heading(code_under):
    for number, target in targets():
        page, anchor = target.split('#')
        assert anchor in code_under[page], f'{number}: {target}'


def test_the_links_of_the_text_lead_to_a_heading(code_under):
    text = ''.join(''.join(cell['source']) for cell in cells_of(PAGE)
                   if cell['cell_type'] == 'markdown')
    for page, anchor in re.findall(r'\]\(([\w/]+\.ipynb)#?([^)]*)\)', text):
        assert not anchor or anchor in code_under[page], f'{page}#{anchor}'


def test_each_assert_stands_under_its_heading(code_under):
    for row in LEDGER:
        for check in row['held']:
            if 'line' in check:
                page, anchor = check['at'].split('#')
                lines = [line.strip() for line in code_under[page][anchor].splitlines()]
                found = any(line.startswith(check['line']) for line in lines)
                assert found, f'{row["number"]}: {check["line"]}'
                assert re.match(r'assert |test_\w+\(', check['line']), check['line']


def test_each_test_is_there():
    for row in LEDGER:
        for check in row['held']:
            if 'test' in check:
                name, function = check['test'].split('::')
                source = (TOP/'tests'/name).read_text(encoding='utf-8')
                assert f'\ndef {function}(' in source, f'{row["number"]}: {check["test"]}'


def test_each_run_is_kept_with_three_seeds():
    seeds = {}
    for patient in read_patients():
        for name in {patient['illness'], patient['context']}:
            seeds.setdefault(name, set()).add(patient['seed'])
    for name in {*value_of('RUNS').values()} - {'no run yet'}:
        assert len(seeds.get(name, [])) >= 3, name


def test_what_is_shown_is_what_the_data_say():
    "The stored tables are of today's ledger."
    shown = ''.join(''.join(output.get('data', {}).get('text/markdown', ''))
                    for cell in cells_of(PAGE) for output in cell.get('outputs', []))
    assert re.findall(r'^\| (\d+) \|', shown, re.M) == [str(n) for n in range(1, 42)]
    for row in LEDGER:
        for text in (row['detail'], row['differs'], row['effect'], *row['taught']):
            assert text in shown, f'{row["number"]}: run nbs/ledger.ipynb again'
