"""Lesson 9 with a reader's own labels: run to its end, whatever they are, and no file is lost.

The lesson's cells are run as they stand, on fewer prompts and updates, with `record_path` changed
as the lesson says."""
import os
import random
import re
from pathlib import Path

import matplotlib
import pytest
import torch
from lesson_cells import changed, code_cells, run_cell
from tiny import decided_gpt2

from rlhf_nbdev.feedback import LabelLog, read_labels
from rlhf_nbdev.reward import RewardModel
from rlhf_nbdev.tools.models import load_model

LESSON = '09_your_feedback.ipynb'
SMALLER = {
    r'range\(220\)': 'range(70)',
    r'len\(pool\) > 200': 'len(pool) > 60',
    r'range\(220, 250\)': 'range(70, 76)',
    r'range\(128\)': 'range(16)',
    r'updates=[83]': 'updates=1',
    r'batch_size=16': 'batch_size=8, response_length=8',
    r'first_two_steps\(0\)': 'two_models()',
}
CELLS = [(cell_id, changed(source, SMALLER)) for cell_id, source in code_cells(LESSON)]
NAMED = next(i for i, (_, source) in enumerate(CELLS) if source.startswith('record_path ='))
OVER = next(i for i, (_, source) in enumerate(CELLS) if 'def least_sure' in source)


def two_models():
    "In place of steps one and two, which take minutes: a tiny model, and a reward model of it."
    _, tokenizer = load_model()
    model = decided_gpt2(vocab=len(tokenizer), context=160)
    return model, tokenizer, RewardModel(model)


@pytest.fixture(scope='module')
def before(tmp_path_factory):
    "The lesson's names when the reader's log is named; the panel has been shown."
    matplotlib.use('Agg')
    os.chdir(tmp_path_factory.mktemp('before'))
    names = {'two_models': two_models, '__name__': 'lesson'}
    for cell_id, source in CELLS[:NAMED]:
        run_cell(cell_id, source, names)
    assert not list(Path().iterdir()), 'the lesson has written where the reader works'
    return names


AS_TEXT = "'my_labels.jsonl'"


def go_on(before, record_path=AS_TEXT):
    "The rest of the lesson, as far as labels matter; the names at its end."
    names = dict(before)
    cell_id, source = CELLS[NAMED]
    run_cell(cell_id, re.sub('^record_path = .*', f'record_path = {record_path}', source), names)
    for cell_id, source in CELLS[NAMED + 1:OVER]:
        run_cell(cell_id, source, names)
    return names


@pytest.fixture
def pairs(before, tmp_path, monkeypatch):
    "The pairs that the panel shows; the working folder is an empty one."
    monkeypatch.chdir(tmp_path)
    return before['pool'][:60]


def label(pairs, choose, path='my_labels.jsonl'):
    "A log of these pairs, written as the panel writes it."
    log = LabelLog(pairs, path)
    for pair in log.remaining():
        log.answer(pair, choose(pair))
    return log.path


def shorter(pair):
    left, right = len(pair['left']), len(pair['right'])
    return 'tie' if left == right else 'left' if left < right else 'right'


coin = random.Random(0)
TASTES = {
    'shorter': shorter,
    'always left': lambda pair: 'left',
    'ties only': lambda pair: 'tie',
    'skips only': lambda pair: 'skip',
    'by coin': lambda pair: coin.choice(('left', 'right', 'tie', 'skip')),
}


@pytest.mark.parametrize('taste', [
    'shorter',
    'ties only',
    *(pytest.param(taste, marks=pytest.mark.sweep)
      for taste in ('always left', 'skips only', 'by coin')),
])
def test_any_taste_goes_through(before, pairs, taste, capsys):
    path = label(pairs, TASTES[taste])
    written = path.read_bytes()
    names = go_on(before)
    assert path.read_bytes() == written
    assert [path.name for path in Path().iterdir()] == ['my_labels.jsonl']
    assert names['standing'] == read_labels(path)[0] and not names['simulated']
    assert '60 labels in my_labels.jsonl' in capsys.readouterr().out


@pytest.mark.parametrize('n, record_path', [
    pytest.param(1, AS_TEXT, marks=pytest.mark.sweep), (3, 'Path("my_labels.jsonl")')])
def test_few_labels_go_through(before, pairs, n, record_path, capsys):
    path = label(pairs[:n], TASTES['always left'])
    written = path.read_bytes()
    names = go_on(before, record_path)
    assert len(names['comparisons']) == n
    assert path.read_bytes() == written


@pytest.mark.parametrize('content', [
    None, pytest.param(b'', marks=pytest.mark.sweep), b'{"undo": true}\n'])
def test_no_labels_go_through(before, pairs, content, capsys):
    path = Path('my_labels.jsonl')
    if content is not None:
        path.write_bytes(content)
    names = go_on(before)
    said = capsys.readouterr().out
    assert '0 labels in my_labels.jsonl' in said and 'click in the panel above' in said
    assert 'nothing to learn from yet' in said and '0 of 0: nothing is known' in said
    for name, x in names['pretrained'].state_dict().items():
        if name not in ('mean', 'std'):
            assert torch.equal(x, names['fitted'].state_dict()[name]), name
    assert (path.read_bytes() if path.exists() else None) == content


STRANGE = [
    {'prompt': 'Of another', 'a': ' kind.', 'b': ' <|endoftext|> kind, é.'},
    {'prompt': 'Long', 'a': ' word'*300, 'b': ' short.'},
    {'prompt': 'Empty', 'a': '', 'b': ' '},
    {'prompt': 'Alike', 'a': ' one.', 'b': ' one.'},
]


def test_labels_of_other_pairs_go_through(before, pairs, capsys):
    path = label(STRANGE, TASTES['always left'])
    names = go_on(before)
    assert [row['prompt'] for row in names['comparisons']] == ['Of another']
    assert "'unfit': 3" in capsys.readouterr().out
    panel = before['Labeler'](LabelLog(pairs, path))
    assert 'also holds 4 label(s) of other pairs' in panel.message.value
    assert panel.bar.value == 0


def test_a_damaged_file_goes_through_as_it_is(before, pairs, capsys):
    path = label(pairs, shorter)
    lines = path.read_bytes().split(b'\n')[:-1]
    damaged = b'\xef\xbb\xbf' + b'\r\n'.join([*lines, b'[1]', b'', b'\xff\xfe{', lines[0][:40]])
    path.write_bytes(damaged)
    names = go_on(before)
    assert len(names['standing']) == 60
    assert '3 lines could not be read' in capsys.readouterr().out
    assert path.read_bytes() == damaged


def test_the_second_round_is_learnt_from(before, pairs, capsys):
    "Its log lies beside the first; what is labelled there counts in the next run."
    path = label(pairs, shorter)
    first = go_on(before)
    second = first['second_log']
    assert second.path == Path('my_labels.second.jsonl') and not second.path.exists()
    for pair in second.remaining():
        second.answer(pair, 'left')
    written = path.read_bytes(), second.path.read_bytes()
    again = go_on(before)
    assert list(again['second_log'].pairs) == list(second.pairs), 'other pairs are asked about'
    assert len(again['new_clicks']) == len(second.pairs) and again['second_log'].remaining() == []
    assert (path.read_bytes(), second.path.read_bytes()) == written


def test_a_policy_that_says_one_thing_goes_through(before, pairs, capsys):
    label(pairs, shorter)
    names = go_on(before | {'sample_pairs': lambda *args: []})
    assert len(names['second_log'].pairs) > 0


def test_a_folder_for_a_log_is_refused(before, pairs):
    Path('my_labels.jsonl').mkdir()
    with pytest.raises(IsADirectoryError, match='is a folder: a log of labels is a file'):
        go_on(before)
