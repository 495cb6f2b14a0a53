"""Fail, naming the place, where code is hard to read at first sight.

Held, in notebooks, modules, tests and benchmarks: 100 columns, one statement a line, sorted
imports, no unused names (ruff); cells of at most 15 lines; functions of at most 25 lines under
their signature. Exceptions, each with its reason, stand in `.ci/form_exceptions.txt`."""
import ast
import json
import re
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
CELL_LINES = 15  # of a cell that is not exported: one thought
EXPORTED_LINES = 45  # of an exported cell: one definition, signature and docments included
BODY_LINES = 25  # of a function or method, under its signature
FOLDERS = ('.ci', 'benchmarks', 'tests')


def code_lines(source):
    "Lines that are neither blank nor a directive of nbdev."
    return [line for line in source.splitlines() if line.strip() and not line.startswith('#|')]


def functions(source):
    "Name, lines under the signature, and whether the body begins on its line, of each function."
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            body = '\n'.join(lines[first.lineno - 1:node.end_lineno])
            before = lines[first.lineno - 1].encode()[:first.col_offset]
            yield node.name, len(code_lines(body)), bool(before.strip())


def only_imports(source):
    "A list of imports, one a line, is read at a glance however long it is."
    return all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.parse(source).body)


def own_imports(source):
    "Imports of this package among other code: nbdev runs such a cell alone, to build the site."
    return [node for node in ast.parse(source).body
            if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('rlhf_nbdev')]


def function_faults(place, source):
    for name, size, one_line in functions(source):
        if size > BODY_LINES:
            yield f'{place} {name}', f'{size} lines under its signature'
        if one_line:
            yield f'{place} {name}', 'body on the line of the signature'


def notebook_faults(path):
    place = path.relative_to(TOP)
    for cell in json.loads(path.read_text(encoding='utf-8'))['cells']:
        if cell['cell_type'] != 'code':
            continue
        source = ''.join(cell['source'])
        if only_imports(source):
            continue
        if own_imports(source):
            yield f'{place} {cell["id"]}', 'imports of this package stand in cells of their own'
        exported = re.search(r'^#\|\s*export[si]?\b', source, re.M)
        limit = EXPORTED_LINES if exported else CELL_LINES
        size = len(code_lines(source))
        if size > limit:
            yield f"{place} {cell['id']}", f'a cell of {size} lines'
        yield from function_faults(place, source)


def exceptions():
    "Place and reason of each line `place: reason`."
    lines = (TOP/'.ci/form_exceptions.txt').read_text(encoding='utf-8').splitlines()
    return dict(line.split(': ', 1) for line in lines if line and not line.startswith('#'))


def main():
    ruff = [Path(sys.executable).parent/'ruff', 'check', '--quiet', '--output-format', 'concise']
    linted = subprocess.run(ruff, cwd=TOP, capture_output=True, encoding='utf-8')
    faults = linted.stdout.splitlines() + linted.stderr.splitlines()
    found = []
    for path in sorted((TOP/'nbs').rglob('*.ipynb')):
        if '.ipynb_checkpoints' not in path.parts:
            found += notebook_faults(path)
    for folder in FOLDERS:
        for path in sorted((TOP/folder).rglob('*.py')):
            found += function_faults(path.relative_to(TOP), path.read_text(encoding='utf-8'))
    allowed = exceptions()
    faults += [f'{place}: {what}' for place, what in found if place not in allowed]
    places = {place for place, _ in found}
    faults += [f'{place}: is no exception any more' for place in allowed if place not in places]
    print(*faults, sep='\n')
    print(f'{len(faults)} faults of form; {len(allowed)} exceptions, each with its reason')
    sys.exit(bool(faults))


if __name__ == '__main__':
    main()
