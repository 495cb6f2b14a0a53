"What happens to a run when something goes wrong: kills, signals, a full disk, a folder that is taken, damaged, or of another run."
import json, shutil, signal, subprocess, sys, time
from pathlib import Path
import pytest, torch
from safetensors.torch import load_file
from rlhf_nbdev.checkpoint import read_checkpoint
from test_train import SMALL, few_reviews  # which makes the reviews that SMALL names
from warm import Running, run

UPDATES = ['--updates', '6', '--save_every', '2', '--response_length', '12']
HERE = Path(__file__).parent


def begin(*options, until):
    "Start a run, wait until something is true of it, and return it."
    process = Running(*options)
    for _ in range(2400):
        if until() or process.ended: return process
        time.sleep(0.05)
    raise AssertionError('it did not come so far: ' + process.kill().stderr[-2000:])


def rows(folder):
    lines = (folder/'metrics.jsonl').read_text().split('\n') if (folder/'metrics.jsonl').exists() else ['']
    return [{name: x for name, x in json.loads(line).items() if name != 'seconds'} for line in lines[:-1]]


def left(folder):
    "All that a run leaves behind that must not depend on when it was stopped."
    summary = json.loads((folder/'summary.json').read_text())
    timed = {'seconds', 'seconds_ppo', 'resumed_from', 'stopped'}
    return rows(folder), (folder/'samples.jsonl').read_text(), {name: x for name, x in summary.items() if name not in timed}, load_file(folder/'model.safetensors'), load_file(folder/'value_head.safetensors')


def assert_same(ours, theirs):
    for a, b in zip(left(ours)[:3], left(theirs)[:3]): assert a == b
    for a, b in zip(left(ours)[3:], left(theirs)[3:]): assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory, few_reviews):
    folder = tmp_path_factory.mktemp('runs')/'unbroken'
    result = run(*SMALL, *UPDATES, '--out', folder)
    assert result.returncode == 0, result.stderr[-2000:]
    return folder


def test_fifty_kills_in_training_and_in_saving_change_nothing():
    result = subprocess.run([sys.executable, HERE/'killed.py', '50'], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    counts = json.loads(result.stdout.splitlines()[-1])
    print(counts)
    assert counts['kills'] == 50 and 10 <= counts['while saving'] <= 45 and counts['runs that came to their end'] >= 5, counts
    assert counts['checkpoints that could not be read'] == 0 == counts['ends that differ'], counts


@pytest.mark.parametrize('moment', ['PPO', 'evaluation'])
def test_a_killed_command_goes_on_as_if_nothing_had_happened(moment, unbroken, tmp_path):
    folder = tmp_path/'run'
    process = begin(*SMALL, *UPDATES, '--out', folder, until={'PPO': lambda: len(rows(folder)) >= 3, 'evaluation': (folder/'value_head.safetensors').exists}[moment])
    process.kill()
    assert (folder/'checkpoint.safetensors').exists() and not (folder/'summary.json').exists()
    if moment == 'PPO': assert 3 <= len(rows(folder)) < 6 and not (folder/'model.safetensors').exists()
    again = run('--resume', folder)
    assert again.returncode == 0, again.stderr[-2000:]
    assert_same(folder, unbroken)
    assert json.loads((folder/'summary.json').read_text())['resumed_from'] in ((2, 4) if moment == 'PPO' else (6,)) and not (folder/'checkpoint.safetensors').exists()


@pytest.mark.parametrize('number, status', [(signal.SIGTERM, 143), (signal.SIGINT, 0)], ids=['SIGTERM', 'Ctrl-C'])
def test_asked_to_stop_it_leaves_one_clean_checkpoint(number, status, unbroken, tmp_path):
    folder = tmp_path/'run'
    process = begin(*SMALL, *UPDATES, '--save_every', '100', '--out', folder, until=lambda: len(rows(folder)) >= 2)
    process.send_signal(number)
    result = process.result(timeout=120)
    assert result.returncode == status and f'stopped by {number.name}' in result.stdout and f'rlhf-train --resume {folder}' in result.stdout, result.stderr[-2000:]
    done = len(rows(folder))
    assert 2 <= done < 6 and read_checkpoint(folder/'checkpoint.safetensors')[1]['update'] == done  # not the one of no updates
    assert not list(folder.glob('*.new'))
    for name in ('report.html', 'samples.jsonl', 'model.safetensors'): assert (folder/name).exists() == (number == signal.SIGINT)  # Ctrl-C ends the training, SIGTERM leaves no time
    again = run('--resume', folder)
    assert again.returncode == 0, again.stderr[-2000:]
    assert_same(folder, unbroken)


def test_killed_before_the_first_checkpoint_it_begins_again(unbroken, tmp_path):
    folder = tmp_path/'run'
    process = begin(*SMALL, *UPDATES, '--out', folder, until=(folder/'config.json').exists)
    process.kill()
    assert not (folder/'checkpoint.safetensors').exists()
    again = run('--resume', folder)
    assert again.returncode == 0, again.stderr[-2000:]
    assert_same(folder, unbroken)


FULL = '''
import copy, resource, sys, torch
from pathlib import Path
from transformers import GPT2Config, GPT2LMHeadModel
from rlhf_nbdev.agent import Agent
from rlhf_nbdev.checkpoint import load_checkpoint, save_checkpoint
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=64, n_layer=2, n_head=2, n_positions=16, bos_token_id=0, eos_token_id=0))
trainer, folder, how = RLHFTrainer(Agent(model), copy.deepcopy(model), RLHFConfig()), Path(sys.argv[1]), sys.argv[2]
save_checkpoint(folder/'checkpoint.safetensors', trainer, 1)
if how == 'limit': resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
else: (folder/'filler').write_bytes(bytes(int(how)))
try: save_checkpoint(folder/'checkpoint.safetensors', trainer, 2)
except OSError as error: print(error)
print('update', load_checkpoint(folder/'checkpoint.safetensors', trainer)['update'], sorted(path.name for path in folder.iterdir()))
'''


def fill(folder, how):
    result = subprocess.run([sys.executable, '-c', FULL, folder, how], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def test_a_file_that_cannot_grow_leaves_the_checkpoint_before_it(tmp_path):
    output = fill(tmp_path, 'limit')
    assert 'could not be written' in output and 'the one before it stands' in output and "update 1 ['checkpoint.safetensors']" in output, output


def test_a_full_disk_leaves_the_checkpoint_before_it(tmp_path):
    size = 1_000_000
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', tmp_path], capture_output=True).returncode: pytest.skip('a small disk cannot be mounted here')
    try: output = fill(tmp_path, '500000')
    finally: subprocess.run(['umount', tmp_path], check=True)
    assert 'No space left on device' in output and 'the one before it stands' in output and "update 1 ['checkpoint.safetensors', 'filler']" in output, output


def test_two_runs_in_one_folder_are_kept_apart(tmp_path):
    folder = tmp_path/'run'
    first = begin(*SMALL, '--updates', '500', '--out', folder, until=lambda: len(rows(folder)) >= 1)
    try: second = run('--resume', folder)
    finally: first.kill()
    assert second.returncode == 1 and 'another run is at work' in second.stderr, second.stderr[-2000:]


@pytest.fixture(scope='module')
def stopped(tmp_path_factory, unbroken):
    "A folder as it is when a run is killed."
    folder = tmp_path_factory.mktemp('runs')/'stopped'
    process = begin(*SMALL, *UPDATES, '--out', folder, until=lambda: len(rows(folder)) >= 3)
    process.kill()
    return folder


def cut(path): path.write_bytes(path.read_bytes()[:-1000])
def alter(path): content = path.read_bytes(); path.write_bytes(content[:-1000] + bytes([content[-1000] ^ 1]) + content[-999:])
def other_model(path): shutil.copy(path.parent/'reward_model'/'model.safetensors', path.parent/'sft'/'model.safetensors')
def other_reward(path): shutil.copy(path.parent/'sft'/'model.safetensors', path.parent/'reward_model'/'model.safetensors')
def lose_rows(path): (path.parent/'metrics.jsonl').write_text('')
def settings_only(path): path.unlink(); (path.parent/'config.json').write_text('{"rlhf": {"updates": "many"}}')
def no_settings(path): path.unlink(); (path.parent/'config.json').write_text('[')
def nothing(path): shutil.rmtree(path.parent); path.parent.mkdir()


@pytest.mark.parametrize('hurt, message', [(cut, 'is damaged'), (alter, 'is damaged'), (other_model, 'trained against another reference'), (other_reward, 'the reward model are not those that this run began with'), (lose_rows, 'are missing, or not those that were written'),
                                           (settings_only, 'missing, or unknown'), (no_settings, 'is damaged, or of no run'), (nothing, 'holds no run')])
def test_what_cannot_be_taken_up_is_said_in_a_line(hurt, message, stopped, tmp_path):
    folder = tmp_path/'run'
    shutil.copytree(stopped, folder)
    hurt(folder/'checkpoint.safetensors')
    before = {path: path.read_bytes() for path in folder.rglob('*') if path.is_file() and path.name != '.lock'}
    result = run('--resume', folder)
    lines = [line for line in result.stderr.splitlines() if line.startswith('rlhf-train:')]
    assert result.returncode == 1 and len(lines) == 1 and message in lines[0] and 'Traceback' not in result.stderr, result.stderr[-2000:]
    assert {path: path.read_bytes() for path in folder.rglob('*') if path.is_file() and path.name != '.lock'} == before  # nothing is touched


@pytest.mark.parametrize('options, message', [(['--resume', 'no/such'], 'holds no run'), (['--out', '/proc/run'], 'cannot be made'), (['--out', __file__], 'cannot be made')])
def test_a_folder_that_cannot_be_used_is_named(options, message):
    result = run(*([] if options[0] == '--resume' else SMALL), *options)
    assert result.returncode == 1 and message in result.stderr and 'Traceback' not in result.stderr, result.stderr[-2000:]


def test_resume_stands_alone_and_a_complete_run_is_left_alone(unbroken):
    for options, message in ((['--updates', '9'], '--resume stands alone'), ([], 'is complete')):
        result = run('--resume', unbroken, *options)
        assert result.returncode == 1 and message in result.stderr, result.stderr[-2000:]


def test_a_run_that_collapses_stops_itself_and_says_why(tmp_path):
    result = run(*SMALL, '--updates', '50', '--learning_rate', '3e-3', '--beta', '0', '--max_kl', '2', '--out', tmp_path/'run')
    assert result.returncode == 0, result.stderr[-2000:]
    kl = [row['kl'] for row in rows(tmp_path/'run')]
    assert len(kl) < 50 and kl[-1] > 2 >= max(kl[:-1]) and 'past max_kl 2' in result.stdout
    assert 'past max_kl 2' in (tmp_path/'run'/'report.html').read_text()


def test_non_finite_numbers_stop_the_run_keep_the_batch_and_overwrite_nothing(tmp_path):
    folder = tmp_path/'run'
    result = run(*SMALL, '--updates', '6', '--learning_rate', '1e20', '--save_every', '1', '--out', folder)
    assert result.returncode == 1 and 'rlhf-train: update ' in result.stderr and 'Traceback' not in result.stderr, result.stderr[-2000:]
    kept, = folder.glob('failed-update-*')
    assert str(kept) in result.stderr and {'tokens', 'mask'} <= load_file(kept/'batch.safetensors').keys() and (kept/'model.safetensors').exists()
    assert read_checkpoint(folder/'checkpoint.safetensors')[1]['update'] == len(rows(folder)) == int(kept.name.split('-')[-1]) - 1
    assert not (folder/'model.safetensors').exists()
