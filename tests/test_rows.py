"Files of rows: any kind, packed or not, in an encoding that is known; or a line that says why not."
import bz2
import gzip
import io
import json
import lzma
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mutations import assert_said_well

from rlhf_nbdev.tools import rows

ROWS = [{'text': 'Fine, é.', 'label': '1'}, {'text': '漢 "quoted"\nline', 'label': '0'}]
CSV = 'text,label\n"Fine, é.",1\n"漢 ""quoted""\nline",0\n'
JSON_LINES = '\n'.join(json.dumps(row, ensure_ascii=False) for row in ROWS)


def zipped(*names_and_contents):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        for name, content in names_and_contents:
            archive.writestr(name, content)
    return buffer.getvalue()


def parquet(table=None):
    buffer = io.BytesIO()
    pq.write_table(table or pa.Table.from_pylist(ROWS), buffer)
    return buffer.getvalue()


def arrow(new_file):
    buffer, table = io.BytesIO(), pa.Table.from_pylist(ROWS)
    with new_file(buffer, table.schema) as file:
        file.write_table(table)
    return buffer.getvalue()


KINDS = {
    'a.csv': CSV.encode(),
    'b.csv': CSV.replace('\n"', '\r\n"').encode('utf-8-sig'),
    'c.csv': CSV.encode('utf-16'),
    'd.csv': '\n\ntext;label\n"Fine, é.";1\n"漢 ""quoted""\nline";0\n'.encode(),
    'a.tsv': 'text\tlabel\nFine, é.\t1\n"漢 ""quoted""\nline"\t0\n'.encode(),
    'reviews': CSV.encode(),
    'a.jsonl': JSON_LINES.encode(),
    'b.jsonl': JSON_LINES.replace('\n', '\r').encode('utf-8-sig'),
    'c.ndjson': JSON_LINES.encode('utf-16'),
    'lines': JSON_LINES.encode(),
    'a.json': json.dumps(ROWS, indent=2).encode(),
    'array': json.dumps(ROWS).encode(),
    'array.jsonl': json.dumps(ROWS).encode(),
    'lines.json': JSON_LINES.encode(),
    'a.parquet': parquet(),
    'table': parquet(),
    'a.arrow': arrow(pa.ipc.new_stream),
    'b.arrow': arrow(pa.ipc.new_file),
}


@pytest.mark.parametrize('name', KINDS)
@pytest.mark.parametrize('packed', ['', 'gz', 'bz2', 'xz', 'zip', 'hidden'])
def test_rows_of_any_kind_of_file_packed_or_not(name, packed, tmp_path):
    data = KINDS[name]
    pack = {'': bytes, 'gz': gzip.compress, 'bz2': bz2.compress, 'xz': lzma.compress,
            'zip': lambda data: zipped((name, data), (f'__MACOSX/._{name}', b'\x00')),
            'hidden': gzip.compress}[packed]
    path = tmp_path/(f'{name}.{packed}' if packed not in ('', 'hidden') else name)
    path.write_bytes(pack(data))
    assert rows.load_rows(path)[0] == ROWS
    assert rows.load_rows(str(path))[0] == ROWS


@pytest.mark.parametrize('data, says', [
    ('text,label\nfine,1\ncafé,1\n'.encode('latin-1'), 'line 3, byte 4: 0xe9 is no UTF-8'),
    ('text,label\n“fine”,1\n'.encode('cp1252'), 'line 2, byte 1: 0x93 is no UTF-8'),
    (b'\xef\xbb\xbftext\n\xff', 'line 2, byte 1: 0xff is no UTF-8'),
    ('{"text": "fine"}'.encode('utf-16-le'), 'line 1: a zero byte'),
    ('text\nfine'.encode('utf-32'), 'a zero byte'),
    ('text\nfine'.encode('utf-16')[:-1], 'is no UTF-16'),
    (b'SQLite format 3\x00', 'a zero byte'),
    (gzip.compress(b'text\nfine', mtime=0)[:-3], 'cannot be unpacked'),
    (b'BZh9 nothing of the kind', 'cannot be unpacked'),
    (zipped(('a.csv', 'x'), ('b.csv', 'y')), 'a zip of 2 files'),
    (zipped(), 'no UTF-8|cannot be unpacked|zero byte'),
    (b'PK\x03\x04 nothing of the kind', 'cannot be unpacked'),
    (parquet()[:-9], 'damaged'),
    (b'PAR1', 'damaged'),
    (arrow(pa.ipc.new_file)[:40], 'damaged'),
    (b'[{"a": 1},\n {"a": 2}', 'line 2: this JSON array is damaged'),
    (b'[' + b'9'*5000 + b']', 'cannot be read'),
    (b'text,label\n"open,1\n', 'line 2: .* quotation mark'),
    (b'text,text\n1,2\n', 'two columns have one name'),
    (b'', 'no usable row .the file is empty'),
    (b'text,label\n', 'the file is empty'),
    (b'text,label\n1,2,3\n', 'no usable row .1 ragged'),
    (b'{\n{', 'no usable row .2 not JSON'),
    (b'[]', 'the file is empty'),
])
def test_what_cannot_be_read_says_why(data, says, tmp_path):
    path = tmp_path/'file'
    path.write_bytes(data)
    with pytest.raises(ValueError, match=says) as error:
        rows.load_rows(path)
    assert not isinstance(error.value, UnicodeError)
    assert_said_well(error.value, path)


def test_what_is_not_there_is_said_to_be_not_there(tmp_path):
    for path in (tmp_path/'typo.csv', str(tmp_path/'a'/'typo'), ''):
        with pytest.raises(FileNotFoundError, match='there is no file at'):
            rows.load_rows(path)


def test_rows_that_cannot_be_read_are_counted(tmp_path):
    (tmp_path/'a.csv').write_text('text,label\na,1\nb\nc,1,2\n\n,\n')
    assert rows.load_rows(tmp_path/'a.csv')[1] == {'ragged': 2}
    (tmp_path/'a.jsonl').write_text('{"a": 1}\n{"a"\n\nnull\n3\n')
    assert rows.load_rows(tmp_path/'a.jsonl') == ([{'a': 1}, {}], {'not JSON': 2})


def test_names_are_trimmed_and_blank_ones_may_come_twice(tmp_path):
    (tmp_path/'a.csv').write_text(' text , label,,\na,1,,\n')
    assert rows.load_rows(tmp_path/'a.csv')[0] == [{'text': 'a', 'label': '1', '': ''}]


def folder_of(tmp_path, *names):
    for name in names:
        (tmp_path/name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/name).write_bytes(KINDS['a.jsonl'])
    return tmp_path


@pytest.mark.parametrize('names, n', [
    (['harmless/train.jsonl.gz', 'helpful/train.jsonl.gz', 'helpful/test.jsonl.gz'], 4),
    (['a.jsonl', 'b.jsonl', 'README.md', '.git/c.jsonl'], 4),
    (['train/data-00000-of-00001.json', 'train/state.json', 'train/dataset_info.json',
      'test/data-00000-of-00001.json', 'dataset_dict.json'], 2),
    (['restrained.json', 'data/Train_1.json'], 2),
    (['test.jsonl'], 2),
])
def test_a_folder_is_read_as_one(names, n, tmp_path):
    assert len(rows.load_rows(folder_of(tmp_path, *names))[0]) == n


def test_a_folder_of_several_kinds_or_of_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match='several kinds'):
        rows.load_rows(folder_of(tmp_path/'two', 'a.json', 'a.jsonl'))
    with pytest.raises(FileNotFoundError, match='no files of data'):
        rows.load_rows(folder_of(tmp_path/'none', 'README.md'))


def test_labels_are_what_their_names_say(tmp_path):
    kinds = {'label': {'_type': 'ClassLabel', 'names': ['pos', 'neg']}, 'text': {'_type': 'Value'}}
    metadata = {'huggingface': json.dumps({'info': {'features': kinds}})}
    table = pa.table({'text': ['a', 'b', 'c', 'd'], 'label': [0, 1, -1, None]})
    (tmp_path/'a.parquet').write_bytes(parquet(table.replace_schema_metadata(metadata)))
    labels = [row['label'] for row in rows.load_rows(tmp_path/'a.parquet')[0]]
    assert labels == ['pos', 'neg', -1, None]


@pytest.mark.parametrize('about', [
    b'{', b'[]', b'{"info": 3}', b'null', b'{"info": {"features": 1}}'])
def test_metadata_that_make_no_sense_end_in_a_line(about, tmp_path):
    table = pa.Table.from_pylist(ROWS).replace_schema_metadata({'huggingface': about})
    (tmp_path/'a.parquet').write_bytes(parquet(table))
    with pytest.raises(ValueError, match='cannot be read'):
        rows.load_rows(tmp_path/'a.parquet')


def test_lines_of_text_are_rows(tmp_path):
    (tmp_path/'a.txt').write_bytes('One, two.\r\n\r\n[Three]\u2028four\r'.encode())
    assert rows.load_rows(tmp_path/'a.txt')[0] == [
        {'text': 'One, two.'}, {'text': '[Three]\u2028four'}]


# messages

USER, ANSWER = {'role': 'user', 'content': 'Hi. '}, {'from': 'gpt', 'value': 'Yes?'}


def test_messages_are_written_by_one_rule():
    messages = rows.read_messages([USER, ANSWER])
    assert messages == [('Human', 'Hi.'), ('Assistant', 'Yes?')]
    assert rows.dialogue(messages) == '\n\nHuman: Hi.\n\nAssistant: Yes?'
    assert rows.dialogue_prompt(messages[:1]) == 'Hi.'
    assert rows.dialogue_prompt(messages[:1]*2) == '\n\nHuman: Hi.\n\nHuman: Hi.\n\nAssistant:'


@pytest.mark.parametrize('value', [
    None, '', ' ', 3, [], {}, ['Hi.'], [USER, None], [{'role': 'user'}], [USER, ANSWER],
    [{'role': 'user', 'content': 3}], [{'role': 'user', 'content': ' '}], 'half \ud800',
    [{'role': ['user'], 'content': 'Hi.'}], [{'role': 'tool', 'content': 'Hi.'}]])
def test_what_is_no_prompt(value):
    assert rows.prompt_text(value) is None
