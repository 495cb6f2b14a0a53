"""Strategies of hypothesis for files that are damaged, or written by somebody who means harm.

And what a reader may make of them: all of it, or a line or two that say why not."""
import json
import os
import signal
import struct

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies as st

from rlhf_nbdev.tools.files import printable


def fuzz(n):
    "So many examples in `make sweeps`, a quarter of them otherwise; the same ones each time."
    return settings(
        max_examples=n if 'SWEEPS' in os.environ else n//4,
        derandomize=True, database=None, deadline=10_000,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck))


# bytes

DEEP_LIST = '['*10_000 + ']'*10_000
DEEP_OBJECT = '{"a":'*10_000 + '0' + '}'*10_000
RAW = [  # JSON values, of the wrong type if not worse
    'null', 'true', '0', '-1', '2.5', '1' + '0'*20, '9'*5000, '1e999', 'NaN', '-Infinity',
    '""', '"x"', '"\\u0000\\u001b[2J"', '"\\ud800"', '[]', '[1]', '["\\ud800", [null]]',
    '{}', '{"": {"": 1}}', '{"a": 1, "a": null}', DEEP_LIST, DEEP_OBJECT,
    '', 'nul', '"open', '\ufeff1',
]
CHUNKS = [raw.encode() for raw in RAW] + [
    b'\x00', b'\xff', b'\xff\xfe', b'\xef\xbb\xbf', b'\xed\xa0\x80', b'\r', b'\n', b'\r\n',
    b'\n\n', '\u2028'.encode(), b'"', b'\\', b',', b',,', b'[', b'}', b'\x1b[2J',
]


def flip(data, i, n, chunk):
    return data[:i] + bytes(byte ^ 1 << n % 8 for byte in data[i:i + 1]) + data[i + 1:]


def insert(data, i, n, chunk):
    return data[:i] + chunk + data[i:]


def overwrite(data, i, n, chunk):
    return data[:i] + chunk + data[i + len(chunk):]


def delete(data, i, n, chunk):
    return data[:i] + data[i + n:]


def duplicate(data, i, n, chunk):
    return data[:i + n] + data[i:]


def truncate(data, i, n, chunk):
    return data[:i]


def splice(data, i, n, chunk):
    return data[:i] + data[len(data)*n//100:]


def as_it_is(data):
    return data


RECODINGS = [as_it_is]*6 + [
    lambda data: b'\xef\xbb\xbf' + data,
    lambda data: data.decode(errors='ignore').encode('utf-16'),
    lambda data: data.decode(errors='ignore').encode('utf-16-le'),
    lambda data: data.replace(b'\n', b'\r\n'),
    lambda data: data.replace(b'\n', b'\r'),
    lambda data: data.replace(b'\n', '\u2028'.encode()),
    lambda data: data[::-1],
]
one_edit = st.tuples(
    st.sampled_from([flip, insert, overwrite, delete, duplicate, truncate, splice]),
    st.integers(0, 1 << 20),
    st.integers(0, 99),
    st.sampled_from(CHUNKS) | st.binary(max_size=9))
edits = st.lists(one_edit, max_size=3)


def edited(data, changes, recode):
    for change, i, n, chunk in changes:
        data = change(data, i % (len(data) + 1), n, chunk)
    return recode(data)


def mutated(data):
    "Bytes, or a strategy for bytes, up to three of whose places are changed; some not at all."
    bytes_of = st.just(data) if isinstance(data, bytes) else data
    return st.builds(edited, bytes_of, edits, st.sampled_from(RECODINGS))


# JSON

def places(value, at=()):
    "Where a JSON value holds another; of each list and each large object only the first."
    yield at
    members = []
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, list):
        members = list(enumerate(value))
    few = 50 if isinstance(value, dict) and len(value) < 50 else 2
    for key, member in members[:few]:
        yield from places(member, at + (key,))


def with_raw(value, at, raw, twice):
    "JSON whose value at a place is something else, or, in an object, is there twice."
    if not at:
        return raw

    def member(key, x):
        return with_raw(x, at[1:], raw, twice) if key == at[0] else json.dumps(x)

    if isinstance(value, list):
        return '[' + ', '.join(member(i, x) for i, x in enumerate(value)) + ']'
    members = [f'{json.dumps(key)}: {member(key, x)}' for key, x in value.items()]
    if twice:
        members.append(f'{json.dumps(at[0])}: {json.dumps(value[at[0]])}')
    return '{' + ', '.join(members) + '}'


def mutated_json(value):
    "A JSON value in which one value has the wrong type, or worse; then some bytes may change too."
    broken = st.builds(with_raw, st.just(value), st.sampled_from(list(places(value))),
                       st.sampled_from(RAW), st.booleans())
    broken = broken.map(lambda text: text.encode(errors='surrogatepass'))
    return broken | mutated(broken | st.just(json.dumps(value).encode()))


def mutated_lines(rows: list):
    "JSON lines of which up to two are `mutated_json`; the bytes of the whole may change too."
    intact = {i: json.dumps(row).encode() for i, row in enumerate(rows)}
    one_change = st.one_of(*(st.tuples(st.just(i), mutated_json(row))
                             for i, row in enumerate(rows)))

    def join(changes):
        return b'\n'.join((intact | dict(changes)).values()) + b'\n'

    lines = st.lists(one_change, max_size=2).map(join)
    return lines | mutated(lines)


def with_header(data: bytes):
    "A file of safetensors with another header, its length right or not, and the same tensors."
    n = struct.unpack('<Q', data[:8])[0]
    header = json.loads(data[8:8 + n])
    off_by = st.just(0) | st.sampled_from([1, -1, 1 << 40, -1 << 62])

    def file_of(header, off):
        length = struct.pack('<Q', (len(header) + off) % (1 << 64))
        return length + header + data[8 + n:]

    return st.builds(file_of, mutated_json(header), off_by)


# what a reader may make of them

def assert_said_well(error, path):
    "The file is named, in one or two lines of text."
    message = str(error)
    assert str(path) in message, f'which file? {message!r}'
    assert message.count('\n') <= 1 and len(message) < 1000, f'more than two lines: {message!r}'
    assert printable(message) == message, f'not only text: {message!r}'


def reads_or_says_why(read, path, seconds: int = 10):
    """What `read` makes of a file or folder; None if it says why it cannot, as a ValueError or
    OSError. All else fails the test: other errors, and taking too long."""
    def too_long(*_):
        pytest.fail(f'{path} is still being read after {seconds} seconds')

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return read(path)
    except UnicodeError:  # a ValueError that names no file
        raise
    except (ValueError, OSError) as error:
        assert_said_well(error, path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def lines_of(data: bytes) -> int:
    "How many lines of a log are not blank."
    return sum(bool(line.strip()) for line in data.split(b'\n'))
