"Bugs that published code had or has, written down in classic.json."
import ast
import json
import sys

from functions import HERE, first_line
from mutants import Mutant


def read_bugs():
    """Each with bug, function, here, published: what stands in the function, and what there.

    `here` is a piece of the function's source as `ast.unparse` writes it, so that lines may be
    broken and comments written in any way."""
    return json.loads((HERE/'classic.json').read_text(encoding='utf-8'))


def with_bug(function, here, published):
    "The function's syntax tree with a piece of its source exchanged, where it stood before."
    source = ast.unparse(function.node).replace(here, published)
    new = ast.parse(source).body[0]
    return ast.increment_lineno(new, function.first_line - first_line(new))


def classic_mutants(functions):
    "A mutant for each bug of these functions. Ends the program if one cannot be put in."
    by_name = {function.name: function for function in functions}
    modules = {function.module for function in functions}
    for bug in read_bugs():
        name, here = bug['function'], bug['here']
        if name not in by_name:
            if not any(name.startswith(f'{module}.') for module in modules):
                continue  # of a module that is not asked for
            sys.exit(f"{bug['bug']}: there is no function {name}")
        function = by_name[name]
        if ast.unparse(function.node).count(here) != 1:
            sys.exit(f"{bug['bug']}: {name} does not hold {here!r} once")
        new = with_bug(function, here, bug['published'])
        yield Mutant(function, 'classic', new, bug['bug'])
