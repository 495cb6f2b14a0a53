"""\"Run All\" goes on past every exercise that is not done, in every notebook.

A stub's cell is run as it stands, with what it needs: the notebook's imports, what it exports, and
the cells of the exercise before it."""
import ast
import re
from contextlib import suppress
from tempfile import TemporaryDirectory

import matplotlib
import pandas as pd
import pytest
import torch
from lesson_cells import NOTEBOOKS, code_cells, run_cell
from tiny import TEXTS, tiny_tokenizer

from rlhf_nbdev.tools.exercises import attempt

PANELS = ('Labeler(', 'my_panel.jsonl')  # what else the tests leave out: a person is needed
WITH_STUBS = [str(path.relative_to(NOTEBOOKS)) for path in sorted(NOTEBOOKS.rglob('*.ipynb'))
              if 'eval: false' in path.read_text(encoding='utf-8')
              and '.ipynb_checkpoints' not in path.parts]


def is_stub(source):
    return 'eval: false' in source and not any(word in source for word in PANELS)


def top_level_calls(source):
    "Names of what a cell calls on lines of their own."
    for node in ast.parse(source).body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield node.value.func.id


def only_defines(source):
    "Is the cell imports and definitions, and nothing else?"
    kinds = ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef
    return all(isinstance(node, kinds) for node in ast.parse(source).body)


@pytest.mark.parametrize('notebook', WITH_STUBS)
def test_what_the_tests_leave_out_is_a_stub_or_a_panel(notebook):
    stubs = [source for _, source in code_cells(notebook) if is_stub(source)]
    for source in stubs:
        assert set(top_level_calls(source)) == {'attempt'}, f'a bare call ends "Run All": {source}'
        assert '...' in source, f'"Run All" runs this, the tests do not: {source}'


def names_of(notebook):
    "What a notebook imports and exports, and small things in place of the lesson's large ones."
    third = torch.full((3,), 1/3)
    names = {'__name__': 'lesson', 'tokenizer': tiny_tokenizer(), 'lengths': [1, 2],
             'train': pd.DataFrame({'text': TEXTS}), 'temp': TemporaryDirectory(),
             'rewards': torch.zeros(1, 4), 'values': torch.zeros(1, 4),
             'policy': third, 'ref': third, 'agent': None}
    for cell_id, source in code_cells(notebook):
        if only_defines(source) or re.match(r'#\|\s*exports?\b', source):
            run_cell(cell_id, source, names)
    return names


@pytest.mark.parametrize('notebook', WITH_STUBS)
def test_a_stub_says_that_it_is_not_done(notebook, capsys):
    matplotlib.use('Agg')
    names = names_of(notebook)
    cells = list(code_cells(notebook))
    begins = next((i for i, (_, source) in enumerate(cells) if 'import attempt' in source), None)
    for cell_id, source in cells[begins or len(cells):]:
        is_solution = 'summary: "Solution"' in source
        is_solution = 'source_hidden' in source or '"Solution"' in source
        if is_stub(source):
            capsys.readouterr()
            run_cell(cell_id, source, names)
            said = capsys.readouterr()
            assert re.fullmatch(r'(Not done yet: \S.*\n)+', said.out), said.out + said.err
            assert said.err == ''
        elif not is_solution and 'test_fail' not in source:
            with suppress(Exception):  # it needs the lesson; what the stub needs will be missed
                run_cell(cell_id, source, names)


def test_an_attempt_goes_on_and_says_why(capsys):
    def check(f):
        if f(2) != 4:  # an assert in a test has more to say than its message
            raise AssertionError('the square of 2 is 4')

    attempt(check, lambda x: x + 1)
    assert capsys.readouterr().out == 'Not done yet: the square of 2 is 4\n'
    attempt(check, lambda x: x[0])
    said = capsys.readouterr()
    assert said.out == 'Not done yet: it ended in an error.\n' and 'TypeError' in said.err
    attempt(check, lambda x: x*x)
    assert capsys.readouterr() == ('', '')


def test_an_interrupt_is_no_answer():
    def interrupted():
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        attempt(interrupted)
