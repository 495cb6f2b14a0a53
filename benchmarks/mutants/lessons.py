"""Stage two, for what survived the fast tests: the notebook notices, or nobody.

The notebook runs up to the cell that defines the function; a fork goes on with the changed cell in
place of the cell, to the asserts after it. Forks of one notebook take turns, since they share its
temporary files, which are put back after each; several notebooks run at once."""
import ast
import io
import json
import os
import shutil
import tempfile
import time
from collections import defaultdict
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from forks import in_forks
from functions import ROOT
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

CELLS = 10  # that a notebook goes on for after the changed one,
SECONDS = 60  # unless these are over
STOPWATCH = 'time_fastest'  # a cell that measures time proves nothing where others are at work


@dataclass
class Cell:
    number: int  # in the notebook
    id: str
    source: str


def cells_of(path):
    return json.loads(path.read_text(encoding='utf-8'))['cells']


def notebook_of(module):
    "The notebook that exports a module."
    for path in sorted((ROOT/'nbs').rglob('*.ipynb')):
        for cell in cells_of(path):
            if f'default_exp {module}' in ''.join(cell['source']).split('\n')[0]:
                return path
    raise FileNotFoundError(f'no notebook exports {module}')


def code_cells(path):
    "The cells that a test run of the notebook would run."
    found = []
    for number, cell in enumerate(cells_of(path)):
        source = ''.join(cell['source'])
        if cell['cell_type'] == 'code' and '#| eval: false' not in source:
            found.append(Cell(number, cell['id'], source))
    return found


def quiet_shell():
    "IPython without a history and without a traceback."
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config)
    shell.showtraceback = shell.showsyntaxerror = lambda *args, **options: None
    return shell


def run_cell(shell, source):
    "The error that a cell raises, or None."
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        result = shell.run_cell(source)
    if STOPWATCH in source:
        return None
    return result.error_in_exec or result.error_before_exec


def first_code_line(source):
    lines = [line for line in source.split('\n') if not line.startswith('#|')]
    return lines[0] if lines else ''


def go_on(shell, cell, source, following):
    "In a fork: run a cell with other source, and some after it; who fails, or how long it took."
    began = time.monotonic()
    for each, text in [(cell, source), *((c, c.source) for c in following[:CELLS])]:
        if run_cell(shell, text):
            return {'noticed': f'cell {each.number}: {first_code_line(text)[:60]}'}
        if time.monotonic() - began > SECONDS:
            break
    return {'seconds': time.monotonic() - began}


def changed_source(cell, mutant):
    "A cell's source with the mutant in place of the function."
    tree = ast.parse(cell.source)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for holder in [tree, *classes]:
        for k, node in enumerate(holder.body):
            if isinstance(node, ast.FunctionDef) and node.name == mutant.new.name:
                holder.body[k] = mutant.new
    return ast.unparse(tree)


class Turns:
    "Work in one fork after another, each of which finds the temporary files as they are now."
    def __init__(self):
        self.files = Path(tempfile.tempdir)
        self.backup = self.files.with_name(f'{self.files.name}-backup')
        self.copy(self.files, self.backup)

    def copy(self, source, target):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, symlinks=True)

    def take(self, work, seconds):
        "What a piece of work returns, or a text, as of `in_forks`."
        _, result = next(in_forks([None], lambda _: work(), lambda _: seconds))
        self.copy(self.backup, self.files)
        return result


def try_mutants(shell, cell, following, mutants):
    "Mark the mutants of a cell that it, or a cell after it, notices. False: it fails as it is."
    turns = Turns()
    base = turns.take(lambda: go_on(shell, cell, cell.source, following), 600)
    if not isinstance(base, dict) or 'seconds' not in base:
        print(f'fails as it is, after cell {cell.number}: {base}', flush=True)
        return False
    for mutant in mutants:
        source = changed_source(cell, mutant)
        result = turns.take(lambda: go_on(shell, cell, source, following), 20 + 3*base['seconds'])
        if isinstance(result, dict):
            mutant.noticed = result.get('noticed', '')
        elif result in ('time limit', 'died'):
            mutant.noticed = result
        mutant.stage = 'lesson' if mutant.noticed else ''
        print(f'     {mutant.show()}', flush=True)
    return True


def run_notebook(module, mutants):
    "What each mutant of a module is noticed by in its notebook, in their order."
    path, shell = notebook_of(module), quiet_shell()
    print(f'{path.name}: {len(mutants)} that no fast test noticed', flush=True)
    os.chdir(path.parent)
    cells = code_cells(path)
    waiting = {mutant.function.cell for mutant in mutants}
    for position, cell in enumerate(cells):
        if not waiting:
            break
        own = [mutant for mutant in mutants if mutant.function.cell == cell.id]
        waiting.discard(cell.id)
        if own and not try_mutants(shell, cell, cells[position + 1:], own):
            break
        error = run_cell(shell, cell.source)
        if error:
            print(f'{path.name} fails as it is, in cell {cell.number}: {error!r}', flush=True)
            break
    return [mutant.noticed for mutant in mutants]


def run_notebook_apart(module, mutants):
    "`run_notebook`, with a folder of its own for temporary files."
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder)/'files'
        files.mkdir()
        tempfile.tempdir = os.environ['TMPDIR'] = str(files)
        return run_notebook(module, mutants)


def run_lessons(mutants, workers):
    "Mark the mutants that a notebook notices, of those that no fast test did."
    alive = defaultdict(list)
    for mutant in mutants:
        if not mutant.noticed:
            alive[mutant.function.module].append(mutant)

    def work(module):
        return run_notebook_apart(module, alive[module])

    for module, results in in_forks(alive, work, lambda _: 7200, workers, quiet=False):
        if isinstance(results, str):
            print(f'{module}: {results}', flush=True)
            continue
        for mutant, noticed in zip(alive[module], results):
            mutant.noticed = noticed
            mutant.stage = 'lesson' if noticed else ''
