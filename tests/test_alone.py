"""A notebook alone, in an empty folder with an empty cache and no network, says what it lacks.

It stops in its first cells with one line, or goes on: no error after error."""
import os

import pytest
from lesson_cells import NOTEBOOKS, code_cells, run_cell

from rlhf_nbdev.tools import ratings

WITH_RATINGS = [str(path.relative_to(NOTEBOOKS)) for path in sorted(NOTEBOOKS.rglob('*.ipynb'))
                if 'fetch_ratings()' in path.read_text(encoding='utf-8')
                and path.stem != 'ratings' and '.ipynb_checkpoints' not in path.parts]
NEEDS = ('first_two_steps(', 'find_ratings(', 'read_ratings(')


def no_network(folder):
    raise ConnectionError('the human ratings could not be fetched (no network): copy the file')


@pytest.fixture
def alone(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))
    monkeypatch.setattr(ratings, 'download_ratings', no_network)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('path', sorted(NOTEBOOKS.rglob('*.ipynb')), ids=lambda path: path.stem)
def test_who_needs_the_ratings_asks_for_them_first(path):
    name = str(path.relative_to(NOTEBOOKS))
    sources = [source for _, source in code_cells(name) if '#| export' not in source]
    asks = [i for i, source in enumerate(sources) if 'fetch_ratings()' in source]
    needs = [i for i, source in enumerate(sources) if any(call in source for call in NEEDS)]
    if needs and name not in ('run/command.ipynb', 'tools/ratings.ipynb'):
        assert asks and asks[0] <= needs[0], f'{name} needs the ratings before it asks for them'


@pytest.mark.parametrize('name', WITH_RATINGS)
def test_without_a_network_one_line_says_what_to_do(alone, name, capsys):
    cell_id, source = next(cell for cell in code_cells(name) if 'fetch_ratings()' in cell[1])
    names = {'fetch_ratings': ratings.fetch_ratings, 'read_ratings': ratings.read_ratings}
    if 'except ConnectionError' in source:
        run_cell(cell_id, source, names)
        assert 'could not be fetched (no network): copy' in capsys.readouterr().out
        return
    with pytest.raises(ConnectionError, match='copy'):
        run_cell(cell_id, source, names)


READS = {'03_sft.ipynb': 'sft.json', 'deeper/04_reward.ipynb': 'reward_curves.json',
         '07_train.ipynb': 'metrics.jsonl', 'index.ipynb': 'summary.json',
         'run/report.ipynb': 'samples.jsonl', 'tools/speed.ipynb': 'bench.json'}


@pytest.mark.parametrize('name', READS)
def test_records_are_found_from_anywhere(alone, name):
    "In the package: what a cell reads is there, whatever the working folder."
    from importlib.resources import files
    for _, source in code_cells(name):
        assert "Path('results" not in source and "'../results" not in source
    assert (files('rlhf_nbdev')/'results'/READS[name]).is_file()
    assert not os.listdir()


def test_the_command_goes_on_without_ratings_and_says_so(alone, capsys):
    from rlhf_nbdev.run.stages import RunConfig, find_ratings
    assert find_ratings(RunConfig(device='cpu')) is None
    assert 'run `rlhf-ratings`' in capsys.readouterr().out
