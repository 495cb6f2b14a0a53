"""Files of data are hostile: whatever their bytes, a reader accounts for every row.

Or it says in a line or two which file it cannot read, and why. Models and checkpoints are in
test_fuzz_models.py."""
import csv
import io
import json
import re
from collections import Counter

import pytest
from hypothesis import example, given
from mutations import fuzz, lines_of, mutated, mutated_lines, reads_or_says_why
from tiny import tiny_tokenizer

from rlhf_nbdev.dataset import read_csv
from rlhf_nbdev.evaluate import read_study, study_points
from rlhf_nbdev.feedback import LabelLog, read_labels, to_preferences
from rlhf_nbdev.reward import PreferenceDataset, read_preferences, write_preferences
from rlhf_nbdev.run.checkpoint import read_rows, rows_digest
from rlhf_nbdev.run.study import VARIANTS, finished_runs
from rlhf_nbdev.tools.ratings import read_ratings

# what was left out is said as a warning, thousands of times
pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    return tmp_path_factory.mktemp('fuzz')/'file'


# reviews

PACKAGED = '''text,label,source
"A ""fine"" film, really.",1,imdb
Dull.,neg,imdb
a tidy sentence .,1,rotten_tomatoes
"Two
lines",positive,imdb
no label,,imdb
'''.encode()
KAGGLE = '''review,sentiment
A fine film.<br />Really.,positive
"Dull, and long",negative
,negative
Über,maybe
'''.encode()


def csv_rows(data: bytes):
    "Rows that are not blank; those that are ragged; whether there is a column named source."
    text = data.decode('utf-8-sig', errors='replace')
    rows = list(csv.reader(io.StringIO(text, newline=''))) or [[]]
    header, rows = rows[0], [row for row in rows[1:] if row]
    ragged = sum(len(row) != len(header) for row in rows)
    names = [name.strip().lower() for name in header]
    return len(rows), ragged, 'source' in names


@fuzz(900)
@given(mutated(PACKAGED) | mutated(KAGGLE))
def test_csv(path, data):
    path.write_bytes(data)
    reviews = reads_or_says_why(read_csv, path)
    sentences = reads_or_says_why(lambda path: read_csv(path, 'sentences'), path)
    if reviews is None:
        return
    n_rows, ragged, has_source = csv_rows(data)
    assert (sentences is not None) == has_source, 'without a source no row is known to be either'
    table, left_out = reviews
    counted = len(table) + sum(left_out.values())
    if sentences is not None:
        counted += len(sentences[0]) + sum(sentences[1].values())
    assert counted == n_rows + ragged*has_source  # a ragged row is counted with both
    assert left_out['ragged'] == ragged
    assert set(table.label) <= {0, 1}
    for text in table.text:
        assert isinstance(text, str) and text.strip()


@pytest.mark.parametrize('size', [10, 200_000])
def test_a_quotation_mark_left_open_swallows_nothing(path, size):
    path.write_bytes(b'text,label\n"' + b'x'*size + b',1\nfine,1\nfine,0\n')
    assert reads_or_says_why(read_csv, path) is None


# comparisons

PREFERENCES = [
    {'prompt': 'The film', 'chosen': ' is fine.', 'rejected': ' was.'},
    {'chosen': 'Good \u2028 "film"', 'rejected': 'Bad film'},
    {'prompt': '', 'chosen': 'alike', 'rejected': 'alike'},
    {'prompt': 'Ü', 'chosen': ' é', 'rejected': ' 🎬'},
]
USABLE = [row for row in PREFERENCES if row['chosen'] != row['rejected']]


def comparison_lines(data: bytes) -> list[str]:
    "Lines that are not blank, whatever ends them."
    text = data.decode('utf-8-sig', errors='replace')
    return [line for line in re.split('\r\n|\r|\n', text) if line.strip()]


@fuzz(700)
@given(mutated_lines(PREFERENCES))
def test_preferences(path, data):
    path.write_bytes(data)
    rows, left_out = reads_or_says_why(read_preferences, path)
    lines = comparison_lines(data)
    assert len(rows) + sum(left_out.values()) == len(lines)
    intact = Counter()
    for row in USABLE:
        intact[json.dumps({'prompt': ''} | row)] += lines.count(json.dumps(row))
    kept = Counter(json.dumps({'prompt': row['prompt']} | row) for row in rows)
    assert intact <= kept, 'a line that nobody touched is lost'
    write_preferences(path, rows)
    assert read_preferences(path) == (rows, dict.fromkeys(left_out, 0))


@pytest.fixture(scope='module')
def tokenizer():
    return tiny_tokenizer(262)


@fuzz(300)
@given(mutated_lines(PREFERENCES))
def test_preference_dataset(path, tokenizer, data):
    path.write_bytes(data)
    pairs = reads_or_says_why(lambda path: PreferenceDataset(tokenizer, path, 16), path)
    if pairs is None:
        return
    assert len(pairs) + sum(pairs.left_out.values()) == len(comparison_lines(data))
    for i in range(len(pairs)):
        for x in pairs[i].values():
            assert x.shape == (pairs.length,)


# labels

LABELLED = [
    {'prompt': 'The film', 'left': ' is fine.', 'right': ' was.', 'choice': 'left', 'seconds': 1.5},
    {'prompt': 'It', 'left': ' a', 'right': ' b', 'choice': 'tie'},
    {'undo': True},
    {'prompt': 'Ü', 'left': ' é', 'right': ' 🎬', 'choice': 'skip'},
]


@fuzz(700)
@given(mutated_lines(LABELLED))
@example(b'{"prompt": "\\ud800", "left": "a", "right": "b", "choice": "left"}')
def test_labels(path, data):
    path.write_bytes(data)
    labels, unreadable = reads_or_says_why(read_labels, path)
    n_lines = lines_of(data.removeprefix(b'\xef\xbb\xbf'))
    undone = n_lines - len(labels) - unreadable  # an undo and the label before it
    at_most = 2*data.replace(b'\x00', b'').count(b'undo')
    assert undone % 2 == 0 and 0 <= undone <= at_most, 'a label is not accounted for'

    rows, left_out = to_preferences(labels)
    write_preferences(path, rows)  # what was read can be learnt from
    kept, dropped = read_preferences(path)
    assert len(kept) + sum(dropped.values()) + sum(left_out.values()) == len(labels)


def pairs_to_label():
    pairs = [{'prompt': label['prompt'], 'a': label['left'], 'b': label['right']}
             for label in LABELLED if 'prompt' in label]
    return pairs + [{'prompt': 'new', 'a': 'a', 'b': 'b'}]


@fuzz(150)
@given(mutated_lines(LABELLED))
def test_a_damaged_log_takes_the_next_label(path, data):
    path.write_bytes(data)
    log = LabelLog(pairs_to_label(), path)
    remaining = reads_or_says_why(lambda path: log.remaining(), path)
    labels_before, unreadable_before = read_labels(path)
    labelled = {log.key(label) for label in log.labels()}
    assert len(remaining) + len(labelled) == 4
    log.answer(remaining[0], 'left')
    labels, unreadable = read_labels(path)
    assert (labels[:-1], unreadable) == (labels_before, unreadable_before)
    assert log.remaining() == remaining[1:]
    assert path.read_bytes().startswith(data)


# the study

POINT = {'update': 0, 'gold': 0.5, 'score': 0.0, 'kl': 0.0, 'texts': [' é\u2028']}


def stored_run(name: str) -> dict:
    "A run of one checkpoint, as the study stores it."
    run = {'group': 'best of n', 'name': name, 'seed': 0, 'rated_sentences': 10_000,
           'points': [POINT]}
    if name in VARIANTS:
        run |= {'group': VARIANTS[name].group, 'settings': VARIANTS[name].settings}
    return run


STUDY = [stored_run(name) for name in ('beta 0.02', 'as it should be', '10000 sentences')]


@fuzz(600)
@given(mutated_lines(STUDY))
def test_study(path, data):
    path.write_bytes(data)
    runs = reads_or_says_why(read_study, path)
    if runs is None:
        return
    assert len(runs) == lines_of(data.removeprefix(b'\xef\xbb\xbf'))
    assert len(study_points(runs)) == sum(len(run['points']) for run in runs)


@fuzz(400)
@given(mutated_lines(STUDY))
def test_a_study_that_is_taken_up(path, capsys, data):
    path.write_bytes(data)
    runs = reads_or_says_why(finished_runs, path)
    printed = capsys.readouterr().out
    if runs is None:
        assert path.read_bytes() == data and not printed, 'a file that cannot be used was changed'
        return
    whole, _, last = data.rpartition(b'\n')
    assert len(runs) == lines_of(whole.removeprefix(b'\xef\xbb\xbf'))
    assert bool(last) == ('cut off' in printed)
    assert path.read_bytes() == data[:len(data) - len(last)]
    for run in runs:  # what `rlhf-study` goes by
        assert isinstance(run['name'], str) and isinstance(run['seed'], int)


def test_another_file_is_not_taken_for_a_study_that_was_cut_off(path):
    path.write_bytes(b'what I had to say about it')
    assert reads_or_says_why(finished_runs, path) is None
    assert path.read_bytes() == b'what I had to say about it'


# ratings and metrics

@fuzz(100)
@given(mutated(b'\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff'))
def test_ratings(path, data):
    path.write_bytes(data)
    assert reads_or_says_why(read_ratings, path) is None


METRICS = [{'update': i, 'seconds': 1.5, 'score': 0.1*i, 'kl': -0.0} for i in (1, 2, 3)]
METRIC_LINES = [json.dumps(row).encode() for row in METRICS]


@fuzz(500)
@given(mutated(b'\n'.join(METRIC_LINES) + b'\n') | mutated_lines(METRICS))
def test_metrics(path, data):
    path.write_bytes(data)
    digest = rows_digest(METRIC_LINES[:2])
    rows = reads_or_says_why(lambda path: read_rows(path, 2, digest), path)
    untouched = data.split(b'\n')[:2] == METRIC_LINES[:2]
    assert (rows is not None) == untouched
    assert rows in (None, METRICS[:2])


@pytest.mark.parametrize('read', [
    read_csv, read_preferences, read_labels, read_study, finished_runs, read_ratings])
def test_a_folder_is_no_file(tmp_path, read):
    assert reads_or_says_why(read, tmp_path) is None
