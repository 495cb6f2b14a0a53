"Files: a log that is whole line by line, and numbers that tell contents apart."
import pytest
import torch

from rlhf_nbdev.tools import files


def test_a_folder_is_synced_with_all_in_it_whatever_kind_its_path_is(tmp_path, monkeypatch):
    (tmp_path/'a'/'b').mkdir(parents=True)
    (tmp_path/'a'/'b'/'c').write_text('x')
    opened, plain_open = [], files.os.open

    def noting_open(path, how):
        opened.append(path)
        return plain_open(path, how)

    monkeypatch.setattr(files.os, 'open', noting_open)
    files.sync(str(tmp_path/'a'))
    inside = {tmp_path/'a', tmp_path/'a'/'b', tmp_path/'a'/'b'/'c'}
    assert set(opened) == inside | {tmp_path}


def test_lines_are_read_with_their_numbers_and_blank_ones_left_out():
    data = b'\xef\xbb\xbf{"a": 1}\n\n  \t\r\nno json\n2'
    assert list(files.json_lines(data)) == [(1, {'a': 1}), (4, None), (5, 2)]


def test_a_line_is_appended_whole(tmp_path):
    path = tmp_path/'log'
    files.append_json_line(path, {'a': 1})
    files.append_json_line(path, {'b': 2})
    assert path.read_text() == '{"a": 1}\n{"b": 2}\n'


def test_a_torn_line_gets_its_end_first(tmp_path):
    path = tmp_path/'log'
    path.write_text('{"a": 1}\n{"to')
    files.append_json_line(path, {'b': 2})
    assert path.read_text() == '{"a": 1}\n{"to\n{"b": 2}\n'


def test_a_line_is_in_the_file_before_the_disk_is_waited_for(tmp_path, monkeypatch):
    path, found = tmp_path/'log', []
    monkeypatch.setattr(files.os, 'fsync', lambda file: found.append(path.read_text()))
    files.append_json_line(path, {'a': 1})
    assert found == ['{"a": 1}\n']


@pytest.mark.parametrize('other', [
    {'b': torch.zeros(2, 2)},
    {'a': torch.zeros(4)},
    {'a': torch.zeros(2, 2, dtype=torch.int32)},
    {'a': torch.tensor([[0.0, 0.0], [0.0, -0.0]])},
    {'a': torch.zeros(2, 2), 'b': torch.zeros(0)},
])
def test_a_fingerprint_tells_tensors_apart(other):
    one = {'a': torch.zeros(2, 2)}
    assert files.fingerprint(one) == files.fingerprint({'a': torch.zeros(2, 2)})
    assert files.fingerprint(one) != files.fingerprint(other)
    assert files.fingerprint(one) != files.fingerprint(one, 'and a text')


def test_a_fingerprint_does_not_ask_for_the_order():
    a, b = torch.zeros(1), torch.ones(1)
    assert files.fingerprint({'a': a, 'b': b}) == files.fingerprint({'b': b, 'a': a})
