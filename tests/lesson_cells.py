"The code cells of a notebook, to be run one by one as \"Run All\" does."
import json
import linecache
import re
from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().parent.parent/'nbs'
NOT_RUN = ('google.colab', 'default_exp')  # Colab's own cell; a directive alone


def code_cells(name):
    "Id and source of each code cell, those for which the tests have `eval: false` included."
    cells = json.loads((NOTEBOOKS/name).read_text(encoding='utf-8'))['cells']
    for cell in cells:
        source = ''.join(cell['source'])
        if cell['cell_type'] == 'code' and not any(word in source for word in NOT_RUN):
            yield cell['id'], source


def changed(source, changes):
    "A cell with lines replaced, by regular expressions, so that it takes less time."
    for pattern, new in changes.items():
        source = re.sub(pattern, new, source)
    return source


def run_cell(cell_id, source, names):
    "Run a cell among these names; an error names the cell, and its functions have a source."
    place = f'<cell {cell_id}>'
    linecache.cache[place] = len(source), None, source.splitlines(True), place
    exec(compile(source, place, 'exec'), names)
