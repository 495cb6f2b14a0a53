"""What happens to a run when something goes wrong.

Kills, signals, a full disk, a folder that is taken, damaged, or of another run."""
import json
import shutil
import signal
import subprocess
import time

import killed
import pytest
import save_on_full_disk
import torch
from safetensors.torch import load_file
from small_runs import QUICK, metrics, small_files
from warm import Running, assert_refused, run, run_well

from rlhf_nbdev.beyond import METHODS
from rlhf_nbdev.run.checkpoint import read_checkpoint

__all__ = ['small_files']  # a fixture
pytestmark = pytest.mark.usefixtures('small_files')
LAST = 40  # updates, of a twentieth of a second and more: the end is to be far when one is stopped
UPDATES = ['--updates', str(LAST), '--save_every', '2', '--response_length', '12']


def begin(*options, until):
    "Start a run, wait until something is true of it, and return it."
    process = Running(*options)
    for _ in range(24_000):  # two minutes; updates follow each other in a tenth of a second
        if until() or process.ended:
            return process
        time.sleep(0.005)
    raise AssertionError('it did not come so far: ' + process.kill().stderr[-2000:])


def summary_of(folder):
    return json.loads((folder/'summary.json').read_text())


def assert_same_end(ours, theirs):
    "All that two runs leave behind that must not depend on when they were stopped."
    assert metrics(ours) == metrics(theirs)
    assert (ours/'samples.jsonl').read_text() == (theirs/'samples.jsonl').read_text()
    may_differ = dict.fromkeys(['seconds', 'seconds_ppo', 'resumed_from', 'stopped'])
    assert summary_of(ours) | may_differ == summary_of(theirs) | may_differ
    for name in ('model.safetensors', 'value_head.safetensors'):
        a, b = load_file(ours/name), load_file(theirs/name)
        assert a.keys() == b.keys()
        for key in a:
            assert torch.equal(a[key], b[key]), f'{name}: {key}'


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory, small_files):
    folder = tmp_path_factory.mktemp('runs')/'unbroken'
    run_well(*QUICK, *UPDATES, '--out', folder)
    return folder


@pytest.fixture(scope='module')
def stopped(tmp_path_factory, unbroken):
    "A folder as it is when a run is killed."
    folder = tmp_path_factory.mktemp('runs')/'stopped'
    begin(*QUICK, *UPDATES, '--out', folder, until=lambda: len(metrics(folder)) >= 3).kill()
    return folder


# killed and stopped

@pytest.mark.parametrize('kills', [12, pytest.param(50, marks=pytest.mark.sweep)])
def test_kills_in_training_and_in_saving_change_nothing(kills):
    result = run_well(kills, program=killed.main, env={'TQDM_DISABLE': '1'})
    counts = json.loads(result.stdout.splitlines()[-1])
    print(counts)
    assert counts['kills'] == kills
    assert 0.2*kills <= counts['while saving'] <= 0.9*kills, counts
    # the last one may have been killed before its first checkpoint, and is not taken up then
    assert counts['runs that came to their end'] >= max(1, kills//10 - 1), counts
    assert counts['checkpoints that could not be read'] == 0, counts
    assert counts['ends that differ'] == 0, counts


def test_a_command_killed_in_training_goes_on_as_if_nothing_had_happened(
        unbroken, stopped, tmp_path):
    folder = shutil.copytree(stopped, tmp_path/'run')
    assert (folder/'checkpoint.safetensors').exists()
    assert 3 <= len(metrics(folder)) < LAST
    assert not (folder/'model.safetensors').exists() and not (folder/'summary.json').exists()
    run_well('--resume', folder)
    assert_same_end(folder, unbroken)
    assert summary_of(folder)['resumed_from'] in range(2, LAST, 2)


OTHER_METHODS = ['dpo', *(pytest.param(method, marks=pytest.mark.sweep)
                          for method in ('online_dpo', *METHODS))]


@pytest.mark.parametrize('method', OTHER_METHODS)
def test_a_command_with_another_method_killed_in_training_goes_on_to_the_same_end(
        method, tmp_path):
    options, folder, whole = ['--method', method], tmp_path/'run', tmp_path/'whole'
    run_well(*QUICK, *UPDATES, *options, '--out', whole)
    begin(*QUICK, *UPDATES, *options, '--out', folder,
          until=lambda: len(metrics(folder)) >= 3).kill()
    assert 3 <= len(metrics(folder)) < LAST and not (folder/'model.safetensors').exists()
    run_well('--resume', folder)
    assert_same_end(folder, whole)
    assert summary_of(folder)['resumed_from'] in range(2, LAST, 2)


def test_a_command_killed_in_the_evaluation_goes_on_as_if_nothing_had_happened(unbroken, tmp_path):
    folder = tmp_path/'run'
    begin(*QUICK, *UPDATES, '--out', folder, until=(folder/'value_head.safetensors').exists).kill()
    assert (folder/'checkpoint.safetensors').exists() and not (folder/'summary.json').exists()
    run_well('--resume', folder)
    assert_same_end(folder, unbroken)
    assert summary_of(folder)['resumed_from'] == LAST


def test_killed_before_the_first_checkpoint_it_begins_again(unbroken, tmp_path):
    folder = tmp_path/'run'
    begin(*QUICK, *UPDATES, '--out', folder, until=(folder/'config.json').exists).kill()
    assert not (folder/'checkpoint.safetensors').exists()
    run_well('--resume', folder)
    assert_same_end(folder, unbroken)


@pytest.mark.parametrize('number, status', [(signal.SIGTERM, 143), (signal.SIGINT, 0)],
                         ids=['SIGTERM', 'Ctrl-C'])
def test_asked_to_stop_it_leaves_one_clean_checkpoint(number, status, unbroken, tmp_path):
    folder = tmp_path/'run'
    rarely = ['--save_every', '100']  # so that a checkpoint is that of the stop
    process = begin(*QUICK, *UPDATES, *rarely, '--out', folder,
                    until=lambda: len(metrics(folder)) >= 2)
    process.send_signal(number)
    result = process.result(timeout=120)
    assert result.returncode == status, result.stderr[-2000:]
    assert f'stopped by {number.name}' in result.stdout
    assert f'rlhf-train --resume {folder}' in result.stdout
    done = len(metrics(folder))
    assert 2 <= done < LAST
    assert read_checkpoint(folder/'checkpoint.safetensors')[1]['update'] == done
    assert not list(folder.glob('*.new'))
    for name in ('report.html', 'samples.jsonl', 'model.safetensors'):
        is_evaluated = number == signal.SIGINT  # SIGTERM leaves no time
        assert (folder/name).exists() == is_evaluated
    run_well('--resume', folder)
    assert_same_end(folder, unbroken)


# disks

def save_where_it_cannot_be(folder, how):
    "What saving a second checkpoint prints, where a file may not grow, or the disk is full."
    return run_well(folder, how, program=save_on_full_disk.main).stdout


def test_a_file_that_cannot_grow_leaves_the_checkpoint_before_it(tmp_path):
    output = save_where_it_cannot_be(tmp_path, 'limit')
    assert 'could not be written' in output and 'the one before it stands' in output
    assert "update 1 ['checkpoint.safetensors']" in output


def test_a_full_disk_leaves_the_checkpoint_before_it(tmp_path):
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=1000000', 'tmpfs', tmp_path]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('a small disk cannot be mounted here')
    try:
        output = save_where_it_cannot_be(tmp_path, '500000')
    finally:
        subprocess.run(['umount', tmp_path], check=True)
    assert 'No space left on device' in output and 'the one before it stands' in output
    assert "update 1 ['checkpoint.safetensors', 'filler']" in output


# folders

def test_two_runs_in_one_folder_are_kept_apart(tmp_path):
    folder = tmp_path/'run'
    first = begin(*QUICK, '--updates', '500', '--out', folder,
                  until=lambda: len(metrics(folder)) >= 1)
    try:
        second = run('--resume', folder)
    finally:
        first.kill()
    assert_refused(second, 'another run is at work')


def cut_off(folder):
    path = folder/'checkpoint.safetensors'
    path.write_bytes(path.read_bytes()[:-1000])


def alter_a_bit(folder):
    path = folder/'checkpoint.safetensors'
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)


def other_reference(folder):
    shutil.copy(folder/'reward_model'/'model.safetensors', folder/'sft'/'model.safetensors')


def other_reward_model(folder):
    shutil.copy(folder/'sft'/'model.safetensors', folder/'reward_model'/'model.safetensors')


def lose_the_rows(folder):
    (folder/'metrics.jsonl').write_text('')


def other_settings(folder):
    (folder/'checkpoint.safetensors').unlink()
    (folder/'config.json').write_text('{"rlhf": {"updates": "many"}}')


def damage_the_settings(folder):
    (folder/'checkpoint.safetensors').unlink()
    (folder/'config.json').write_text('[')


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def files_in(folder):
    return {path: path.read_bytes() for path in folder.rglob('*')
            if path.is_file() and path.name != '.lock'}


@pytest.mark.parametrize('hurt, message', [
    (cut_off, 'is damaged'),
    (alter_a_bit, 'is damaged'),
    (other_reference, 'trained against another reference'),
    (other_reward_model, 'the reward model are not those that this run began with'),
    (lose_the_rows, 'are missing, or not those that were written'),
    (other_settings, 'missing, or unknown'),
    (damage_the_settings, 'is damaged, or of no run'),
    (empty, 'holds no run'),
], ids=lambda x: getattr(x, '__name__', ''))
def test_what_cannot_be_taken_up_is_said_in_a_line(hurt, message, stopped, tmp_path):
    folder = tmp_path/'run'
    shutil.copytree(stopped, folder)
    hurt(folder)
    before = files_in(folder)
    assert_refused(run('--resume', folder), message)
    assert files_in(folder) == before, 'something was touched'


@pytest.mark.parametrize('options, message', [
    (['--resume', 'no/such'], 'holds no run'),
    ([*QUICK, '--out', '/proc/run'], 'cannot be made'),
    ([*QUICK, '--out', __file__], 'cannot be made'),
])
def test_a_folder_that_cannot_be_used_is_named(options, message):
    assert_refused(run(*options), message)


def test_resume_stands_alone(unbroken):
    assert_refused(run('--resume', unbroken, '--seed', '9'), '--resume stands alone')


def test_a_complete_run_is_left_alone(unbroken):
    assert_refused(run('--resume', unbroken), 'is complete')


# numbers

def test_a_run_that_collapses_stops_itself_and_says_why(tmp_path):
    reckless = ['--updates', '50', '--learning_rate', '3e-2', '--beta', '0', '--max_kl', '2']
    result = run_well(*QUICK, *reckless, '--out', tmp_path/'run')
    kl = [row['kl'] for row in metrics(tmp_path/'run')]
    assert len(kl) < 50
    assert kl[-1] > 2 >= max(kl[:-1])
    assert 'past max_kl 2' in result.stdout
    assert 'past max_kl 2' in (tmp_path/'run'/'report.html').read_text()


def test_non_finite_numbers_stop_the_run_keep_the_batch_and_overwrite_nothing(tmp_path):
    folder = tmp_path/'run'
    reckless = ['--updates', '6', '--learning_rate', '1e20', '--save_every', '1']
    result = run(*QUICK, *reckless, '--out', folder)
    kept, = folder.glob('failed-update-*')
    assert_refused(result, 'rlhf-train: update ')
    assert str(kept) in result.stderr
    assert {'tokens', 'mask'} <= load_file(kept/'batch.safetensors').keys()
    assert (kept/'model.safetensors').exists()
    failed = int(kept.name.split('-')[-1])
    _, numbers = read_checkpoint(folder/'checkpoint.safetensors')
    assert numbers['update'] == len(metrics(folder)) == failed - 1
    assert not (folder/'model.safetensors').exists()
