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


def measure(kind, **settings):
    # large pieces come from the system and go back to it, so that a peak is a peak
    env = os.environ | {'MALLOC_MMAP_THRESHOLD_': str(2**17)}
    command = [sys.executable, SCRIPT, kind, json.dumps(settings)]
    result = subprocess.run(command, capture_output=True, text=True, env=env)
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout)


def test_an_update_takes_a_stated_multiple_of_the_model_and_of_a_minibatchs_logits():
    whole = measure('embedded', updates=1)
    parts = measure('embedded', updates=1, microbatches=4)
    for name in ('taken', 'model', 'logits'):
        print(f'{name}: {whole[name]:.0f} MiB, with four microbatches {parts[name]:.0f} MiB')
    assert whole['taken'] < 4*whole['model'] + 10*whole['logits']
    assert parts['taken'] < whole['taken'] - 3*whole['logits'], 'microbatches save nothing'


@pytest.mark.parametrize('updates', [80, pytest.param(200, marks=pytest.mark.sweep)])
def test_more_updates_do_not_grow_it(updates):
    measured = measure('tiny', updates=updates, batch_size=8, prompt_length=4, response_length=8)
    early, late = measured['over_time'][1], measured['over_time'][-1]
    print(early, late)
    assert late['mib'] - early['mib'] < 4
    assert late['tensors'] == early['tensors']
