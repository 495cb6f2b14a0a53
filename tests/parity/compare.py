"""How far are we from TRL? `python tests/parity/compare.py [ppo.safetensors methods.safetensors]`.

Prints every quantity that test_parity.py and test_parity_methods.py compare, after a look at what
record.py and record_methods.py have recorded again."""
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

HERE = Path(__file__).resolve().parent
STORED = ('reference.safetensors', 'methods.safetensors')
TESTS = ('test_parity.py', 'test_parity_methods.py')


def read(path):
    with safe_open(path, 'pt') as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        return file.metadata()['settings'], tensors


def is_another(old, new):
    "Another shape, or other whole numbers: tokens and masks."
    if old.shape != new.shape:
        return True
    return not old.is_floating_point() and not old.equal(new)


def compare_recordings(stored, again):
    "Versions and tokens the same, numbers nearly so: another processor rounds otherwise."
    settings, old = read(HERE/stored)
    settings_again, new = read(again)
    if settings != settings_again or old.keys() != new.keys():
        sys.exit(f'recorded with other settings or versions:\n{settings}\n{settings_again}')
    others = [name for name in old if is_another(old[name], new[name])]
    if others:
        sys.exit(f'other tokens were sampled: {", ".join(others)}')
    differences = {name: (x - new[name]).abs().max().item()
                   for name, x in old.items() if x.is_floating_point()}
    name = max(differences, key=differences.get)
    print(f'{stored}, recorded again: {len(old)} tensors, the tokens the same, the numbers up to '
          f'{differences[name]:.1e} ({name})')
    if differences[name] > 1e-4:
        sys.exit('that is more than rounding')


def print_table(table):
    "A row for each quantity, and how ours is related to theirs."
    width = max(len(quantity) for quantity, _ in table)
    relation_width = max(len(relation) for _, relation in table)
    title = 'ours = theirs, or how they are related'
    relation_width = max(relation_width, len(title))
    print(f'\n{"quantity":{width}}  {title:{relation_width}}  difference  allowed  of at most')
    for (quantity, relation), (difference, size, allowed) in table.items():
        print(f'{quantity:{width}}  {relation:{relation_width}}  {difference:10.1e}  '
              f'{allowed:7.0e}  {size:10.2g}')


def main(*recorded_again):
    for stored, again in zip(STORED, recorded_again):
        compare_recordings(stored, again)
    tests = [str(HERE.parent/name) for name in TESTS]
    failed = pytest.main(['-q', '-p', 'no:cacheprovider', *tests])
    print_table(sys.modules['trl_recording'].TABLE)
    sys.exit(failed)


if __name__ == '__main__':
    main(*sys.argv[1:])
