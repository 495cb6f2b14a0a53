"""Hold two folders of `rlhf-train` against each other, to the last bit.

`python .ci/same_run.py BEFORE AFTER`: metrics (without their seconds), samples, figures, and
every tensor of policy, value head, fine-tuned model and reward model."""
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file


def rows(path):
    lines = path.read_text(encoding='utf-8').splitlines()
    return [{name: x for name, x in json.loads(line).items() if name != 'seconds'}
            for line in lines]


def figures(path):
    found = json.loads(path.read_text(encoding='utf-8'))
    for part in (found, found.get('sft', {}), found.get('reward', {})):
        for name in [name for name in part if name.startswith('seconds')]:
            del part[name]
    return found


def tensors_that_differ(before, after):
    ours, theirs = load_file(before), load_file(after)
    assert ours.keys() == theirs.keys(), f'{after} holds other tensors'
    return [name for name in ours if not torch.equal(ours[name], theirs[name])]


def main(before, after):
    differ = []
    for name in ('metrics.jsonl', 'samples.jsonl'):
        if rows(before/name) != rows(after/name):
            differ.append(name)
    if figures(before/'summary.json') != figures(after/'summary.json'):
        differ.append('summary.json')
    weights = sorted(path.relative_to(before) for path in before.rglob('*.safetensors'))
    for path in weights:
        for name in tensors_that_differ(before/path, after/path):
            differ.append(f'{path}: {name}')
    print('\n'.join(differ) or f'equal to the bit: metrics, samples, figures, {len(weights)} files '
          'of weights')
    sys.exit(bool(differ))


if __name__ == '__main__':
    main(*map(Path, sys.argv[1:]))
