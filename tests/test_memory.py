"""What an update of PPO takes, and that two hundred of them take no more.

Measured by the operating system, in processes of their own."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name('memory_of_updates.py')
pytestmark = pytest.mark.skipif(
    not Path('/proc/self/status').exists(),
    reason='only Linux tells a process how much memory it has used at most')


def measure(*runs):
    "What the script says of each of these runs."
    # large pieces come from the system and go back to it, so that a peak is a peak
    env = os.environ | {'MALLOC_MMAP_THRESHOLD_': str(2**17)}
    command = [sys.executable, SCRIPT, json.dumps(runs)]
    result = subprocess.run(command, capture_output=True, text=True, env=env)
    assert result.returncode == 0, result.stderr[-2000:]
    return list(map(json.loads, result.stdout.splitlines()))


def tiny_run(updates):
    return 'tiny', {'updates': updates, 'batch_size': 8, 'prompt_length': 4, 'response_length': 8}


@pytest.fixture(scope='module')
def measured():
    whole, parts = {'updates': 1}, {'updates': 1, 'microbatches': 4}
    return measure(('embedded', whole), ('embedded', parts), tiny_run(60))


def test_an_update_takes_a_stated_multiple_of_the_model_and_of_a_minibatchs_logits(measured):
    whole, parts, _ = measured
    for name in ('taken', 'model', 'logits'):
        print(f'{name}: {whole[name]:.0f} MiB, with four microbatches {parts[name]:.0f} MiB')
    assert whole['taken'] < 4*whole['model'] + 10*whole['logits']
    assert parts['taken'] < whole['taken'] - 3*whole['logits'], 'microbatches save nothing'


def hold_it_from_growing(over_time):
    early, late = over_time[1], over_time[-1]
    print(early, late)
    assert late['mib'] - early['mib'] < 4
    assert late['tensors'] == early['tensors']


def test_more_updates_do_not_grow_it(measured):
    hold_it_from_growing(measured[-1]['over_time'])


@pytest.mark.sweep
def test_many_updates_do_not_grow_it():
    hold_it_from_growing(measure(tiny_run(200))[0]['over_time'])
