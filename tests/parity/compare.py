"How far are we from TRL? `python tests/parity/compare.py [again.safetensors]` prints every quantity that tests/test_parity.py compares, after a look at what record.py has recorded again."
import sys
from pathlib import Path
import pytest
from safetensors import safe_open

HERE = Path(__file__).resolve().parent


def read(path):
    with safe_open(path, 'pt') as file: return file.metadata()['settings'], {name: file.get_tensor(name) for name in file.keys()}


def compare_recordings(again):
    "Versions and tokens the same, numbers nearly so: another processor rounds otherwise. Exits if not."
    (settings, old), (settings_again, new) = read(HERE/'reference.safetensors'), read(again)
    if settings != settings_again or old.keys() != new.keys(): sys.exit(f'recorded with other settings or versions:\n{settings}\n{settings_again}')
    if others := [name for name in old if old[name].shape != new[name].shape or not old[name].is_floating_point() and not old[name].equal(new[name])]: sys.exit(f'other tokens were sampled: {", ".join(others)}')
    difference, name = max(((old[name] - new[name]).abs().max().item(), name) for name in old if old[name].is_floating_point())
    print(f'TRL, run again: {len(old)} tensors, the tokens the same, the numbers up to {difference:.1e}' + f' ({name})'*(difference > 0))
    if difference > 1e-4: sys.exit('that is more than rounding')


def main(again=None):
    if again: compare_recordings(again)
    failed = pytest.main(['-q', '-p', 'no:cacheprovider', str(HERE.parent/'test_parity.py')])
    table = sys.modules['test_parity'].TABLE
    width, relation_width = (max(len(key[i]) for key in table) for i in (0, 1))
    print(f'\n{"quantity":{width}}  {"ours = theirs, or how they are related":{relation_width}}  difference  allowed  of at most')
    for (quantity, relation), (difference, size, allowed) in table.items(): print(f'{quantity:{width}}  {relation:{relation_width}}  {difference:10.1e}  {allowed:7.0e}  {size:10.2g}')
    sys.exit(failed)


if __name__ == '__main__': main(*sys.argv[1:])
