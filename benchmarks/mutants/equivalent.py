"""Mutants that no test can tell from the code: known by the shape of the statement that changed.

The shape has no names, so it stays the same when something is renamed, moved or set otherwise."""
import ast
import hashlib
import json

from functions import HERE
from mutants import mutants_of

BLOCKS = ('body', 'orelse', 'finalbody', 'handlers', 'cases')  # what a statement holds, if lists
IDENTIFIERS = ('id', 'attr', 'arg', 'name')  # fields of nodes that hold a name


def blocks(node):
    "The statements that a node holds, in order."
    held = []
    for field in BLOCKS:
        value = getattr(node, field, None)
        held += value if isinstance(value, list) else []
    return held


def shape(node, numbers):
    "A node as text: names become numbers in order of appearance, constants and operators stay."
    if isinstance(node, list):
        return [shape(each, numbers) for each in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    parts = []
    for field, value in ast.iter_fields(node):
        if field in BLOCKS and isinstance(value, list) or field == 'ctx':
            continue  # a statement is known by its head
        if field in IDENTIFIERS and isinstance(value, str):
            parts.append(numbers.setdefault(value, len(numbers)))
        else:
            parts.append(shape(value, numbers))
    return f'{type(node).__name__}{parts}'


def changed_statement(old, new):
    "The innermost statement in which two versions of a function differ, of each."
    unlike = [(a, b) for a, b in zip(blocks(old), blocks(new)) if ast.dump(a) != ast.dump(b)]
    return changed_statement(*unlike[0]) if len(unlike) == 1 else (old, new)


def key_of(mutant):
    "Twelve digits for the shape of a statement and of what became of it."
    numbers = {}
    old, new = changed_statement(mutant.function.node, mutant.new)
    text = f'{shape(old, numbers)} → {shape(new, numbers)}'
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_entries():
    "Each with key, function, difference and reason."
    return json.loads((HERE/'equivalent.json').read_text(encoding='utf-8'))


def homeless(entries, functions):
    """The keys of entries whose function has no such mutant any more: renamed, moved, or cut.

    These hold wherever they fit; the others hold in their function only."""
    by_name = {function.name: function for function in functions}
    keys = set()
    for entry in entries:
        home = by_name.get(entry['function'])
        at_home = {key_of(mutant) for mutant in mutants_of(home)} if home else set()
        if entry['key'] not in at_home:
            keys.add(entry['key'])
    return keys


def is_equivalent(mutant, entries, homeless_keys):
    key = key_of(mutant)
    own = [entry for entry in entries if entry['key'] == key]
    return key in homeless_keys or any(entry['function'] == mutant.name for entry in own)


def stale(homeless_keys, functions):
    "Those of the keys that no mutant of the package has."
    missing = set(homeless_keys)
    for function in functions:
        if missing:
            missing -= {key_of(mutant) for mutant in mutants_of(function)}
    return missing


def as_entry(mutant):
    "What to add to equivalent.json, once the reason is filled in."
    entry = {'key': key_of(mutant), 'function': mutant.name, 'difference': mutant.difference,
             'reason': ''}
    return json.dumps(entry, ensure_ascii=False, indent=1)
