"""Mutants that no test can tell from the code: known by the shape of the statement that changed.

The shape has no names, so it stays the same when something is renamed, moved or set otherwise."""
import ast
import hashlib
import json
from collections import defaultdict

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


def with_keys(keys, functions):
    "The mutants that have one of these keys, by key."
    found = defaultdict(list)
    for function in functions:
        for mutant in mutants_of(function):
            key = key_of(mutant)
            if key in keys:
                found[key].append(mutant)
    return found


def meant(entry, candidates):
    "Of the mutants with an entry's key the one that it speaks of, or None. One alone is it."
    if len(candidates) == 1:
        return candidates[0]
    same = [mutant for mutant in candidates if mutant.difference == entry['difference']]
    return same[0] if same else None


def find_meant(entries, functions):
    """The mutant of each entry: pairs of function and difference. Says which have none.

    An entry is at home in the function that it names. If there is no such mutant, since the
    function was renamed or cut or the statement has moved, it may be anywhere."""
    by_name = {function.name: function for function in functions}
    pairs, moved = set(), []
    for entry in entries:
        home = [by_name[entry['function']]] if entry['function'] in by_name else []
        mutant = meant(entry, with_keys({entry['key']}, home)[entry['key']])
        if mutant:
            pairs.add((mutant.name, mutant.difference))
        else:
            moved.append(entry)
    anywhere = with_keys({entry['key'] for entry in moved}, functions if moved else [])
    for entry in moved:
        mutant = meant(entry, anywhere[entry['key']])
        place = f'belongs to {mutant.name} now' if mutant else 'fits no mutant'
        print(f"equivalent.json: {entry['key']} of {entry['function']} {place}")
        if mutant:
            pairs.add((mutant.name, mutant.difference))
    return pairs


def as_entry(mutant):
    "What to add to equivalent.json, once the reason is filled in."
    entry = {'key': key_of(mutant), 'function': mutant.name, 'difference': mutant.difference,
             'reason': ''}
    return json.dumps(entry, ensure_ascii=False, indent=1)
