"""`rlhf-train`, forked from a server that has its imports behind it, which take longer than most of what the tests ask of it.

`test_main_job.py`, and whatever needs another environment, start the command itself."""
import multiprocessing, os, signal, sys, tempfile
from pathlib import Path
from types import SimpleNamespace

FORKS = multiprocessing.get_context('forkserver')
FORKS.set_forkserver_preload(['rlhf_nbdev.train', 'transformers.models.gpt2.modeling_gpt2', 'transformers.models.auto.modeling_auto', 'sklearn.linear_model', 'sklearn.feature_extraction.text'])


def command(options, said, complained):
    for path, number in ((said, 1), (complained, 2)): os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a script would ignore Ctrl-C, and hand that down
    sys.argv = ['rlhf-train', *options]
    from rlhf_nbdev.run.command import train_command
    main()


class Running:
    "A run under way, and what it has said so far."
    def __init__(self, *options):
        self.folder = tempfile.TemporaryDirectory()
        self.files = [Path(self.folder.name)/name for name in ('stdout', 'stderr')]
        self.process = FORKS.Process(target=command, args=(list(map(str, options)), *map(str, self.files)), daemon=True)
        self.process.start()

    @property
    def ended(self): return self.process.exitcode is not None

    def send_signal(self, number): os.kill(self.process.pid, number)

    def kill(self):
        self.process.kill()
        return self.result()

    def result(self, timeout=300):
        self.process.join(timeout)
        assert self.ended, f'no end after {timeout} seconds: {self.files[1].read_text()[-2000:]}'
        stdout, stderr = (path.read_text() if path.exists() else '' for path in self.files)
        return SimpleNamespace(returncode=self.process.exitcode, stdout=stdout, stderr=stderr)


def run(*options): return Running(*options).result()
