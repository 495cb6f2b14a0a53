"""`rlhf-train`, and scripts of ours, forked from a server that has its imports behind it.

Imports take longer than most of what the tests ask of the command, and so does reading all that
comes with the package: see `short_runs.py`. `test_main_job.py`, and whatever needs another
environment from its imports on, start the command itself."""
import multiprocessing
import os
import signal
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

HERE = Path(__file__).resolve().parent
FORKS = multiprocessing.get_context('forkserver')
FORKS.set_forkserver_preload([
    'rlhf_nbdev.run.command',
    'short_runs',
    'pytest',
    'transformers.models.gpt2.modeling_gpt2',
    'transformers.models.auto.modeling_auto',
    'sklearn.linear_model',
    'sklearn.feature_extraction.text',
    'matplotlib.pyplot',
    'matplotlib.backends.backend_agg',
])


def fork(target, *args):
    "A process that runs this function. The first starts the server, which is to find our modules."
    process = FORKS.Process(target=target, args=args, daemon=True)
    paths = [str(HERE), *filter(None, [os.environ.get('PYTHONPATH')])]
    with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(paths)):
        process.start()
    return process


def train():
    from rlhf_nbdev.run.command import train_command
    train_command()


def command(program, options, env, stdout, stderr):
    "What the fork does: a function as a command, its output in two files."
    os.environ.update(env)
    for path, number in ((stdout, 1), (stderr, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    # a job in the background of a script would ignore Ctrl-C, and hand that down
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ['rlhf-train', *options]
    program()


class Running:
    "A run under way, and what it has printed so far."
    def __init__(self, *options, env={}, program=train):
        self.folder = tempfile.TemporaryDirectory()
        self.stdout = Path(self.folder.name)/'stdout'
        self.stderr = Path(self.folder.name)/'stderr'
        options = [str(option) for option in options]
        self.process = fork(command, program, options, env, str(self.stdout), str(self.stderr))

    @property
    def ended(self):
        return self.process.exitcode is not None

    def send_signal(self, number):
        os.kill(self.process.pid, number)

    def kill(self):
        self.process.kill()
        return self.result()

    def result(self, timeout=300):
        self.process.join(timeout)
        stdout, stderr = (path.read_text() if path.exists() else ''
                          for path in (self.stdout, self.stderr))
        assert self.ended, f'no end after {timeout} seconds: {stderr[-2000:]}'
        return SimpleNamespace(returncode=self.process.exitcode, stdout=stdout, stderr=stderr)


def run(*options, **where):
    return Running(*options, **where).result()


def run_well(*options, **where):
    "Run the command, which must end well."
    result = run(*options, **where)
    assert result.returncode == 0, result.stderr[-2000:]
    return result


def assert_refused(result, message):
    "The command must end in a line of its own that says what is wrong, and in no traceback."
    lines = [line for line in result.stderr.splitlines() if line.startswith('rlhf-train:')]
    assert result.returncode == 1, result.stderr[-2000:]
    assert len(lines) == 1 and message in lines[0], result.stderr[-2000:]
    assert 'Traceback' not in result.stderr
