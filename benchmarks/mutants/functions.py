"Every function of the package: where it stands, and the code that a changed one would have."
import ast
import json
import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from types import CodeType

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGE = ROOT/'rlhf_nbdev'


@dataclass
class Function:
    "A function, a method, or a function that `@patch` makes a method."
    module: str  # such as 'tools.packing'
    owner: str  # its class, or ''
    node: ast.FunctionDef
    holder: ast.Module | ast.ClassDef  # in whose body the node is
    tree: ast.Module  # of the whole module
    cell: str  # id of the notebook's cell that it was exported from

    @property
    def name(self):
        parts = [self.module, self.owner, self.node.name]
        return '.'.join(part for part in parts if part)

    @property
    def first_line(self):
        return first_line(self.node)

    @property
    def last_line(self):
        return self.node.end_lineno


def first_line(node):
    "Where a function begins, decorators included, as Python counts it."
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def path_of(module):
    return (PACKAGE/module.replace('.', '/')).with_suffix('.py')


def module_of(path):
    "The inverse of `path_of`."
    return '.'.join(Path(path).relative_to(PACKAGE).with_suffix('').parts)


def all_modules():
    return sorted(module_of(path) for path in PACKAGE.rglob('*.py') if path.name[0] != '_')


def cell_starts(text):
    "Line and id of each cell that a module was exported from."
    marks = re.finditer(r'^# %% \S+ #(\w+)$', text, re.M)
    return [(text.count('\n', 0, mark.start()) + 1, mark[1]) for mark in marks]


def owner_of(holder, node):
    "The class that a function becomes a method of, or ''."
    if any('patch' in ast.unparse(decorator) for decorator in node.decorator_list):
        return ast.unparse(node.args.args[0].annotation)
    return holder.name if isinstance(holder, ast.ClassDef) else ''


def functions_of(module):
    "The functions of a module, in order. What is defined within a function is part of it."
    text = path_of(module).read_text(encoding='utf-8')
    tree, cells = ast.parse(text), cell_starts(text)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    found = []
    for holder in [tree, *classes]:
        for node in holder.body:
            if isinstance(node, ast.FunctionDef):
                cell = [cell for line, cell in cells if line < node.lineno][-1]
                owner = owner_of(holder, node)
                found.append(Function(module, owner, node, holder, tree, cell))
    return sorted(found, key=lambda function: function.first_line)


def left_out():
    "Patterns of names of functions that are not broken, and the reason of each."
    by_reason = json.loads((HERE/'left_out.json').read_text(encoding='utf-8'))
    return {name: reason for reason, names in by_reason.items() for name in names}


def is_left_out(name, patterns):
    return any(fnmatch(name, pattern) for pattern in patterns)


def code_of(function, new):
    "The code object that a function would have if its syntax tree were `new`."
    body = function.holder.body
    place = body.index(function.node)
    body[place] = new
    try:
        module = compile(function.tree, str(path_of(function.module)), 'exec')
    finally:
        body[place] = function.node
    todo = [module]
    while todo:
        code = todo.pop()
        if code.co_name == new.name and code.co_firstlineno == function.first_line:
            return code
        todo += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    raise LookupError(f'{function.name} is not in its own module')
