"""`rlhf-train`, forked from a server that has its imports behind it.

Imports take longer than most of what the tests ask of the command. `test_main_job.py`, and whatever
needs another environment, start the command itself."""
import multiprocessing
import os
import signal
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

FORKS = multiprocessing.get_context('forkserver')
FORKS.set_forkserver_preload([
    'rlhf_nbdev.run.command',
    'transformers.models.gpt2.modeling_gpt2',
    'transformers.models.auto.modeling_auto',
    'sklearn.linear_model',
    'sklearn.feature_extraction.text',
    'matplotlib.pyplot',
    'matplotlib.backends.backend_agg',
])


def command(options, stdout, stderr):
    "What the fork does: the command, its output in two files."
    for path, number in ((stdout, 1), (stderr, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    # a job in the background of a script would ignore Ctrl-C, and hand that down
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ['rlhf-train', *options]
    from rlhf_nbdev.run.command import train_command
    train_command()


class Running:
    "A run under way, and what it has printed so far."
    def __init__(self, *options):
        self.folder = tempfile.TemporaryDirectory()
        self.stdout = Path(self.folder.name)/'stdout'
        self.stderr = Path(self.folder.name)/'stderr'
        args = [str(option) for option in options], str(self.stdout), str(self.stderr)
        self.process = FORKS.Process(target=command, args=args, daemon=True)
        self.process.start()

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


def run(*options):
    return Running(*options).result()


def run_well(*options):
    "Run the command, which must end well."
    result = run(*options)
    assert result.returncode == 0, result.stderr[-2000:]
    return result


def assert_refused(result, message):
    "The command must end in a line of its own that says what is wrong, and in no traceback."
    lines = [line for line in result.stderr.splitlines() if line.startswith('rlhf-train:')]
    assert result.returncode == 1, result.stderr[-2000:]
    assert len(lines) == 1 and message in lines[0], result.stderr[-2000:]
    assert 'Traceback' not in result.stderr
