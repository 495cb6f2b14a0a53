"""Each logger by its own client, where it is installed: a run is logged, stopped, taken up.

Whatever happens there, metrics.jsonl stays the truth of a run."""
import json
from pathlib import Path

import pytest

from rlhf_nbdev.run.loggers import open_logger, require_logger

ROWS = [{'update': update, 'score': update/10, 'kl': 0.5*update} for update in range(1, 5)]
SETTINGS = {'beta': 0.1, 'model': 'embedded'}


def log_and_take_up(name, folder):
    "Three updates, of which the checkpoint holds two; then two more from there."
    require_logger(name)
    first = open_logger(name, folder, SETTINGS, [])
    for row in ROWS[:3]:
        first.log(row)
    first.close()
    second = open_logger(name, folder, SETTINGS, ROWS[:2])
    for row in ROWS[2:]:
        second.log(row)
    second.close()


def test_tensorboard(tmp_path):
    accumulators = pytest.importorskip(
        'tensorboard.backend.event_processing.event_accumulator', reason='pip install tensorboard')
    log_and_take_up('tensorboard', tmp_path/'evening')
    seen = {}
    for part in sorted((tmp_path/'evening'/'tensorboard').iterdir()):
        events = accumulators.EventAccumulator(str(part))
        events.Reload()
        points = events.Scalars('ppo/score')
        seen[part.name] = [(point.step, round(point.value, 4)) for point in points]
    scores = [(row['update'], row['score']) for row in ROWS]
    assert seen == {'evening': scores[:3], 'evening-from-2': scores}


def test_trackio(tmp_path, monkeypatch):
    monkeypatch.setenv('TRACKIO_DIR', str(tmp_path/'trackio'))
    trackio = pytest.importorskip('trackio', reason='pip install trackio')
    log_and_take_up('trackio', tmp_path/'evening')
    runs = {run.name: run for run in trackio.Api().runs('rlhf_nbdev')}
    assert set(runs) == {'evening', 'evening-from-2'}
    assert (tmp_path/'trackio'/'rlhf_nbdev.db').is_file()


def test_wandb(tmp_path, monkeypatch):
    wandb = pytest.importorskip('wandb', reason='pip install wandb')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    (tmp_path/'evening').mkdir()
    log_and_take_up('wandb', tmp_path/'evening')
    wandb.teardown()  # its process writes the files, at times a moment after `finish` has returned
    offline = list((tmp_path/'evening').rglob('run-*.wandb'))
    assert len(offline) == 2 and all(path.stat().st_size > 500 for path in offline)


def test_nobody_is_logged_in_to_wandb(monkeypatch):
    wandb = pytest.importorskip('wandb', reason='pip install wandb')
    wandb.teardown()  # forgets the settings of an earlier test
    monkeypatch.delenv('WANDB_MODE', raising=False)
    monkeypatch.delenv('WANDB_API_KEY', raising=False)
    monkeypatch.setenv('NETRC', '/nowhere')
    with pytest.raises(ValueError, match='wandb login'):
        require_logger('wandb')


def test_the_log_of_a_run_tells_its_logger_after_the_disk(tmp_path):
    "What a logger is told stands in metrics.jsonl already."
    from rlhf_nbdev.run.command import RunLog

    class Reader:
        seen = []

        def log(self, row):
            lines = (tmp_path/'metrics.jsonl').read_text(encoding='utf-8').splitlines()
            self.seen.append((row['update'], [json.loads(line)['update'] for line in lines]))

    log = RunLog(Path(tmp_path), {'update': 0})
    log.logger = Reader()
    for row in ROWS[:2]:
        log.add(dict(row, seconds=1.0))
    assert Reader.seen == [(1, [1]), (2, [1, 2])]
