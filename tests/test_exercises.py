"""Every exercise of the course has its parts, and "Run All" goes on past each that is not done.

A stub's cell is run with the notebook, so what it says stands in the stored output."""
import importlib
import json
import re
import warnings

import pytest
import torch
from lesson_cells import NOTEBOOKS

from rlhf_nbdev.tools.exercises import Check, Question

LESSONS = ['dataset', 'agent', 'sft', 'reward', 'advantage', 'ppo', 'train', 'evaluate', 'feedback',
           'debugging', 'beyond', 'dialog', 'scale', 'turns']
NEEDS_A_PERSON = (  # what the tests may leave out
    'Labeler(', 'ChatPanel(', 'interact', 'SelectionSlider(', 'my_panel.jsonl')
PATHS = [path for path in sorted(NOTEBOOKS.rglob('*.ipynb')) if 'exercises/' not in str(path)]
EXERCISE = re.compile(r'^### Exercise \d.*: .+ \([★☆]{3}, \d+ minutes\)|'
                      r'^## Exercise: .+ \([★☆]{3}, \d+ minutes\)')


def cells_of(path):
    return json.loads(path.read_text(encoding='utf-8'))['cells']


def exercises():
    "For each exercise: where it is, and its cells up to the next heading."
    for path in PATHS:
        title, cells = None, []
        for cell in cells_of(path):
            source = ''.join(cell['source'])
            if cell['cell_type'] == 'markdown' and re.match(r'#+ ', source):
                if title:
                    yield f'{path.stem}: {title}', cells
                title, cells = None, []
                if re.match(r'#+ Exercise \d|#+ Exercise:', source.split('\n')[0]):
                    title = source.split('\n')[0]
            if title:
                cells.append(cell)
        if title:
            yield f'{path.stem}: {title}', cells


ALL = list(exercises())


def sources(cells, kind):
    return [''.join(cell['source']) for cell in cells if cell['cell_type'] == kind]


def is_stub(source):
    return '...' in source and re.search(r'^(check|ask)_\w+\(', source, re.M)


def is_solution(cell):
    return '"Solution"' in ''.join(cell['source'])


@pytest.mark.parametrize('title, cells', ALL, ids=[title for title, _ in ALL])
def test_an_exercise_has_its_parts(title, cells):
    assert EXERCISE.match(title.split(': ', 1)[1]), 'difficulty and minutes'
    assert any('<summary>Hint</summary>' in text for text in sources(cells, 'markdown'))
    assert any(is_stub(source) for source in sources(cells, 'code'))
    solutions = [cell for cell in cells if cell['cell_type'] == 'code' and is_solution(cell)]
    assert solutions
    for cell in solutions:
        assert 'code-fold: true' in ''.join(cell['source'])
        assert cell['metadata']['jupyter']['source_hidden']


@pytest.mark.parametrize('title, cells', ALL, ids=[title for title, _ in ALL])
def test_a_stub_is_told_so_and_the_notebook_goes_on(title, cells):
    for cell in cells:
        source = ''.join(cell['source'])
        if cell['cell_type'] == 'code' and is_stub(source):
            assert 'eval: false' not in source
            said = ''.join(text for output in cell['outputs'] for text in output.get('text', []))
            assert re.match(r'Not done yet: (nothing is returned|put your answer)', said), said


@pytest.mark.parametrize('path', PATHS, ids=lambda path: path.stem)
def test_what_the_tests_leave_out_needs_a_person(path):
    for source in sources(cells_of(path), 'code'):
        if re.search(r'^#\|\s*eval: false', source, re.M):
            assert any(word in source for word in NEEDS_A_PERSON), source


@pytest.mark.parametrize('lesson', LESSONS)
def test_every_check_is_asked_in_its_lesson_and_its_solution_is_right(lesson):
    "Or on its second page."
    name = lesson.replace('ppo', 'loss').replace('feedback', '*feedback')
    path, = NOTEBOOKS.glob(f'[01]?_{name}*')
    second = NOTEBOOKS/'deeper'/path.name
    pages = [path, second] if second.exists() else [path]
    text = '\n'.join(source for page in pages for source in sources(cells_of(page), 'code'))
    module = importlib.import_module(f'rlhf_nbdev.exercises.{lesson}')
    names = [name for name, value in vars(module).items() if isinstance(value, (Check, Question))]
    assert len(names) >= 3
    for name in names:
        assert re.search(rf'^{name}\(', text, re.M), f'{name} is never asked'
        assert f'{name}.assert_right(' in text, f'{name} has no solution'


def test_a_check_prints_and_goes_on(capsys):
    check = Check(lambda x: 2*x, {'it is not doubled': (3,)}, success='twice as much')
    check(lambda x: x + 1)
    assert capsys.readouterr().out == (
        'Not right yet: it is not doubled. With x = 3: 4 comes out, and 6 is right.\n')
    check(lambda x: x[0])
    assert capsys.readouterr().out.startswith('Not right yet: it ends in TypeError')
    check(lambda x: x + x)
    assert capsys.readouterr().out == 'Right: twice as much.\n'


def test_after_an_error_the_case_is_named_and_no_result_called_wrong():
    def without_shape(x):
        return x.shape

    check = Check(lambda x: 2*x, {'it is wrong where x is negative': (-3,)})
    said = check.verdict(without_shape)
    assert said.endswith('`return x.shape`. The case: where x is negative. With x = -3')
    assert check.verdict(abs).startswith('it is wrong where x is negative. With x = -3')


def test_of_two_tensors_it_is_said_which_one_is_wrong():
    ones = torch.ones(5, 5)
    check = Check(lambda x: (x, 2*x), {'it is wrong': (ones,)})
    said = check.verdict(lambda x: (x, 2*x - torch.eye(5)))
    assert said.endswith('at [0, 0] 1 comes out, and 2 is right (in item 2 of 2)')


@pytest.mark.filterwarnings('error')
def test_a_check_warns_of_the_answer_alone():
    def warned(x):
        warnings.warn('of the check')
        return 3*x

    check = Check(lambda x: warned(x) - x, {'it is not doubled': (3,)}, {'it is tripled': warned})
    assert check.verdict(lambda x: 3*x) == 'it is tripled'
    assert 'of the check' in check.verdict(warned)


def test_an_interrupt_is_no_answer():
    def interrupted(x):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        Check(lambda x: x, {'': (1,)})(interrupted)
