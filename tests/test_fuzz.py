"Files are hostile: whatever their bytes, a reader accounts for every row, or says in a line or two which file it cannot read, and why."
import copy, csv, io, json, re, resource, shutil, signal, struct
from collections import Counter
from dataclasses import asdict
import pytest, torch
from hypothesis import HealthCheck, Phase, example, given, settings, strategies as st
from safetensors.torch import load, save
from transformers import GPT2Config, GPT2LMHeadModel, logging
from rlhf_nbdev.agent import Agent
from rlhf_nbdev.dataset import read_csv
from rlhf_nbdev.evaluate import read_study, study_points
from rlhf_nbdev.feedback import LabelLog, read_labels, to_preferences
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.reward import PreferenceDataset, RewardModel, read_preferences, write_preferences
from rlhf_nbdev.run.checkpoint import (
    load_checkpoint, read_checkpoint, read_rows, rows_digest, save_checkpoint,
)
from rlhf_nbdev.run.command import find_settings
from rlhf_nbdev.run.pretrain import train_tokenizer
from rlhf_nbdev.run.stages import RunConfig
from rlhf_nbdev.run.study import VARIANTS, finished_runs
from rlhf_nbdev.tools.files import fingerprint, printable
from rlhf_nbdev.tools.models import load_model, load_tensors
from rlhf_nbdev.tools.ratings import read_ratings

pytestmark = pytest.mark.filterwarnings('ignore')  # what was left out is said as a warning, thousands of times


def fuzz(n): return settings(max_examples=n, derandomize=True, database=None, deadline=10_000, phases=[Phase.explicit, Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck))


DEEP = '['*10_000 + ']'*10_000
RAW = ['null', 'true', '0', '-1', '2.5', '1' + '0'*20, '9'*5000, '1e999', 'NaN', '-Infinity', '""', '"x"', '"\\u0000\\u001b[2J"', '"\\ud800"', '[]', '[1]', '["\\ud800", [null]]',
       '{}', '{"": {"": 1}}', '{"a": 1, "a": null}', DEEP, '{"a":'*10_000 + '0' + '}'*10_000, '', 'nul', '"open', '\ufeff1']  # JSON values, of the wrong type if not worse
CHUNKS = [raw.encode() for raw in RAW] + [b'\x00', b'\xff', b'\xff\xfe', b'\xef\xbb\xbf', b'\xed\xa0\x80', b'\r', b'\n', b'\r\n', b'\n\n', '\u2028'.encode(), b'"', b'\\', b',', b',,', b'[', b'}', b'\x1b[2J']
RECODED = [lambda data: data] * 6 + [lambda data: b'\xef\xbb\xbf' + data, lambda data: data.decode(errors='ignore').encode('utf-16'), lambda data: data.decode(errors='ignore').encode('utf-16-le'),
           lambda data: data.replace(b'\n', b'\r\n'), lambda data: data.replace(b'\n', b'\r'), lambda data: data.replace(b'\n', '\u2028'.encode()), lambda data: data[::-1]]
EDITS = {
    'flip': lambda data, i, n, chunk: data[:i] + bytes(b ^ 1 << n % 8 for b in data[i:i + 1]) + data[i + 1:],
    'insert': lambda data, i, n, chunk: data[:i] + chunk + data[i:],
    'overwrite': lambda data, i, n, chunk: data[:i] + chunk + data[i + len(chunk):],
    'delete': lambda data, i, n, chunk: data[:i] + data[i + n:],
    'duplicate': lambda data, i, n, chunk: data[:i + n] + data[i:],
    'truncate': lambda data, i, n, chunk: data[:i],
    'splice': lambda data, i, n, chunk: data[:i] + data[len(data)*n//100:],
}
edits = st.lists(st.tuples(st.sampled_from(list(EDITS.values())), st.integers(0, 1 << 20), st.integers(0, 99), st.sampled_from(CHUNKS) | st.binary(max_size=9)), max_size=3)


def edit(data: bytes, changes, recode) -> bytes:
    for change, i, n, chunk in changes: data = change(data, i % (len(data) + 1), n, chunk)
    return recode(data)


def mutated(data):
    "Bytes, or a strategy for bytes, that were flipped, inserted, deleted, doubled, cut off, spliced, or written in another encoding; some of them not at all."
    return st.builds(edit, st.just(data) if isinstance(data, bytes) else data, edits, st.sampled_from(RECODED))


def places(value, at=()):
    "Where a JSON value holds another: itself, its members, theirs; of each list and each large object only the first."
    yield at
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in list(members)[:50 if isinstance(value, dict) and len(value) < 50 else 2]: yield from places(member, at + (key,))


def with_raw(value, at, raw: str, twice: bool) -> str:
    "JSON whose value at a place is something else, or, in an object, is there twice."
    if not at: return raw
    if isinstance(value, list): return '[' + ', '.join(with_raw(x, at[1:], raw, twice) if i == at[0] else json.dumps(x) for i, x in enumerate(value)) + ']'
    members = [f'{json.dumps(key)}: {with_raw(x, at[1:], raw, twice) if key == at[0] else json.dumps(x)}' for key, x in value.items()]
    return '{' + ', '.join(members + [f'{json.dumps(at[0])}: {json.dumps(value[at[0]])}']*twice) + '}'


def mutated_json(value):
    "A JSON value in which one value has the wrong type, or worse; then some bytes may change too."
    broken = st.builds(with_raw, st.just(value), st.sampled_from(list(places(value))), st.sampled_from(RAW), st.booleans()).map(lambda text: text.encode(errors='surrogatepass'))
    return broken | mutated(broken | st.just(json.dumps(value).encode()))


def mutated_lines(rows: list):
    "JSON lines of which up to two are `mutated_json`; the bytes of the whole may change too."
    changes = st.lists(st.one_of(*(st.tuples(st.just(i), mutated_json(row)) for i, row in enumerate(rows))), max_size=2)
    lines = changes.map(lambda changed: b'\n'.join((dict(enumerate(json.dumps(row).encode() for row in rows)) | dict(changed)).values()) + b'\n')
    return lines | mutated(lines)


def reads_or_says_why(read, path, seconds: int = 10):
    "What `read` makes of a file or folder; None if it says, as a ValueError or OSError of one or two printable lines that name the file, why it cannot. All else fails the test: other errors, and taking too long."
    def too_long(*_): pytest.fail(f'{path} is still being read after {seconds} seconds')
    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try: return read(path)
    except UnicodeError: raise  # a ValueError that names no file
    except (ValueError, OSError) as error:
        said = str(error)
        assert str(path) in said, f'which file? {said!r}'
        assert said.count('\n') <= 1 and len(said) < 1000 and printable(said) == said, f'more than a line or two of text: {said!r}'
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def lines_of(data: bytes) -> int:
    "How many lines of a log are not blank."
    return sum(bool(line.strip()) for line in data.split(b'\n'))


@pytest.fixture(scope='module')
def path(tmp_path_factory): return tmp_path_factory.mktemp('fuzz')/'file'


@pytest.fixture(scope='module', autouse=True)
def quiet():
    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL); logging.disable_progress_bar()
    yield
    logging.set_verbosity(before); logging.enable_progress_bar()


@pytest.fixture(scope='module', autouse=True)
def little_memory():
    "A size that a file only speaks of must not be allocated: 4 GB beyond what the process has, then there is none."
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    has = int(open('/proc/self/statm').read().split()[0])*resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + (4 << 30), hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


PACKAGED = 'text,label,source\n"A ""fine"" film, really.",1,imdb\nDull.,neg,imdb\na tidy sentence .,1,rotten_tomatoes\n"Two\nlines",positive,imdb\nno label,,imdb\n'.encode()
KAGGLE = 'review,sentiment\nA fine film.<br />Really.,positive\n"Dull, and long",negative\n,negative\nÜber,maybe\n'.encode()


def csv_rows(data: bytes) -> tuple[int, int, bool]:
    "Rows below the header that are not blank; those that are not as wide as the header; is there a column named source?"
    header, *rows = list(csv.reader(io.StringIO(data.decode('utf-8-sig', errors='replace'), newline=''))) or [[]]
    rows = [row for row in rows if row]
    return len(rows), sum(len(row) != len(header) for row in rows), 'source' in [name.strip().lower() for name in header]


@fuzz(900)
@given(mutated(PACKAGED) | mutated(KAGGLE))
def test_csv(path, data):
    path.write_bytes(data)
    reviews, sentences = (reads_or_says_why(lambda path: read_csv(path, kind), path) for kind in ('reviews', 'sentences'))
    if reviews is None: return
    rows, ragged, has_source = csv_rows(data)
    assert (sentences is not None) == has_source, 'without a source, no row is known to be a sentence, nor not to be'
    counted = sum(len(table) + sum(left_out.values()) for table, left_out in filter(None, (reviews, sentences)))
    assert counted == rows + ragged*has_source  # a ragged row may be either, and is counted with both
    table, left_out = reviews
    assert left_out['ragged'] == ragged and set(table.label) <= {0, 1} and table.text.map(lambda text: isinstance(text, str) and text.strip() != '').all()


@pytest.mark.parametrize('size', [10, 200_000])
def test_a_quotation_mark_left_open_swallows_nothing(path, size):
    path.write_bytes(b'text,label\n"' + b'x'*size + b',1\nfine,1\nfine,0\n')
    assert reads_or_says_why(read_csv, path) is None


PREFERENCES = [{'prompt': 'The film', 'chosen': ' is fine.', 'rejected': ' was.'}, {'chosen': 'Good \u2028 "film"', 'rejected': 'Bad film'},
               {'prompt': '', 'chosen': 'alike', 'rejected': 'alike'}, {'prompt': 'Ü', 'chosen': ' é', 'rejected': ' 🎬'}]
usable = [row for row in PREFERENCES if row['chosen'] != row['rejected']]


def comparison_lines(data: bytes) -> list[str]: return [line for line in re.split('\r\n|\r|\n', data.decode('utf-8-sig', errors='replace')) if line.strip()]


@fuzz(700)
@given(mutated_lines(PREFERENCES))
def test_preferences(path, data):
    path.write_bytes(data)
    rows, left_out = reads_or_says_why(read_preferences, path)
    lines = comparison_lines(data)
    assert len(rows) + sum(left_out.values()) == len(lines)
    intact = Counter(json.dumps({'prompt': ''} | row) for row in usable for line in lines if line == json.dumps(row))
    assert intact <= Counter(json.dumps({'prompt': row['prompt']} | row) for row in rows), 'a line that nobody touched is lost'
    write_preferences(path, rows)
    assert read_preferences(path) == (rows, dict.fromkeys(left_out, 0))


@pytest.fixture(scope='module')
def tokenizer(): return train_tokenizer(['A small film, and a good one.'], 262)


@fuzz(300)
@given(mutated_lines(PREFERENCES))
def test_preference_dataset(path, tokenizer, data):
    path.write_bytes(data)
    pairs = reads_or_says_why(lambda path: PreferenceDataset(tokenizer, path, 16), path)
    if pairs is None: return
    assert len(pairs) + sum(pairs.left_out.values()) == len(comparison_lines(data))
    assert all(x.shape == (pairs.length,) for pair in map(pairs.__getitem__, range(len(pairs))) for x in pair.values())


LABELLED = [{'prompt': 'The film', 'left': ' is fine.', 'right': ' was.', 'choice': 'left', 'seconds': 1.5}, {'prompt': 'It', 'left': ' a', 'right': ' b', 'choice': 'tie'},
            {'undo': True}, {'prompt': 'Ü', 'left': ' é', 'right': ' 🎬', 'choice': 'skip'}]


@fuzz(700)
@given(mutated_lines(LABELLED))
@example(b'{"prompt": "\\ud800", "left": "a", "right": "b", "choice": "left"}')
def test_labels(path, data):
    path.write_bytes(data)
    labels, unreadable = reads_or_says_why(read_labels, path)
    undone = lines_of(data) - len(labels) - unreadable
    assert undone % 2 == 0 and 0 <= undone <= 2*data.replace(b'\x00', b'').count(b'undo'), 'a label is neither there, nor taken back, nor counted as unreadable'
    rows, left_out = to_preferences(labels)
    write_preferences(path, rows)  # what was read can be learnt from
    kept, dropped = read_preferences(path)
    assert len(kept) + sum(dropped.values()) + sum(left_out.values()) == len(labels)


@fuzz(150)
@given(mutated_lines(LABELLED))
def test_a_damaged_log_takes_the_next_label(path, data):
    path.write_bytes(data)
    log = LabelLog([{'prompt': label['prompt'], 'a': label['left'], 'b': label['right']} for label in LABELLED if 'prompt' in label] + [{'prompt': 'new', 'a': 'a', 'b': 'b'}], path)
    remaining, before = reads_or_says_why(lambda path: log.remaining(), path), read_labels(path)
    assert len(remaining) + len({log.key(label) for label in log.given()}) == 4
    log.answer(remaining[0], 'left')
    labels, unreadable = read_labels(path)
    assert (labels[:-1], unreadable) == before and log.remaining() == remaining[1:] and path.read_bytes().startswith(data)


def stored(name: str) -> dict:
    "A run of one checkpoint, as the study stores it."
    variant = VARIANTS.get(name)
    settings = {'settings': variant.settings} if variant else {}
    return {'group': variant.group if variant else 'best of n', 'name': name, 'seed': 0, **settings, 'rated_sentences': 10_000, 'points': [{'update': 0, 'gold': 0.5, 'score': 0.0, 'kl': 0.0, 'texts': [' é\u2028']}]}


STUDY = [stored(name) for name in ('beta 0.02', 'as it should be', '10000 sentences')]


@fuzz(600)
@given(mutated_lines(STUDY))
def test_study(path, data):
    path.write_bytes(data)
    runs = reads_or_says_why(read_study, path)
    if runs is None: return
    assert len(runs) == lines_of(data)
    assert len(study_points(runs)) == sum(len(run['points']) for run in runs)


@fuzz(400)
@given(mutated_lines(STUDY))
def test_a_study_that_is_taken_up(path, capsys, data):
    path.write_bytes(data)
    runs = reads_or_says_why(finished_runs, path)
    said = capsys.readouterr().out
    if runs is None: assert path.read_bytes() == data and not said, 'a file that cannot be used was changed'; return
    *lines, cut = data.split(b'\n')
    assert len(runs) == lines_of(b'\n'.join(lines)) and bool(cut) == ('cut off' in said)
    assert path.read_bytes() == data[:len(data) - len(cut)]
    assert all(isinstance(run['name'], str) and isinstance(run['seed'], int) for run in runs)  # what `rlhf-study` goes by


def test_another_file_is_not_taken_for_a_study_that_was_cut_off(path):
    path.write_bytes(b'what I had to say about it')
    assert reads_or_says_why(finished_runs, path) is None and path.read_bytes() == b'what I had to say about it'


@fuzz(100)
@given(mutated(b'\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff'))
def test_ratings(path, data):
    path.write_bytes(data)
    assert reads_or_says_why(read_ratings, path) is None


def with_header(data: bytes):
    "A file of safetensors with another header, its length right or not, and the same tensors."
    n = struct.unpack('<Q', data[:8])[0]
    lengths = st.just(0) | st.sampled_from([1, -1, 1 << 40, -1 << 62])
    return st.builds(lambda header, off: struct.pack('<Q', (len(header) + off) % (1 << 64)) + header + data[8 + n:], mutated_json(json.loads(data[8:8 + n])), lengths)


TENSORS = {'weight': torch.arange(6.).view(2, 3), 'bias': torch.ones(())}


@fuzz(700)
@given(mutated(save(TENSORS)) | with_header(save(TENSORS)))
@example(save(TENSORS | {'more': torch.ones(1)}))
@example(save({'weight': TENSORS['weight']}))
@example(save(TENSORS | {'bias': torch.ones(1)}))
def test_tensors(path, data):
    path.write_bytes(data)
    into = {name: torch.full_like(x, 7.) for name, x in TENSORS.items()}
    def read(path): load_tensors(path, into); return into
    if reads_or_says_why(read, path) is None: assert all((x == 7).all() for x in into.values()), 'some tensors were overwritten all the same'
    else: assert {name: x.shape for name, x in load(data).items()} == {name: x.shape for name, x in TENSORS.items()}, 'a tensor was added, lost or broadcast'
    if data == save(TENSORS): assert all(x.equal(TENSORS[name]) for name, x in into.items())


@pytest.fixture(scope='module')
def folders(tokenizer, tmp_path_factory):
    "An agent and a reward model, as small as can be."
    top = tmp_path_factory.mktemp('models')
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_positions=16, n_embd=4, n_layer=1, n_head=1, eos_token_id=0, bos_token_id=0, pad_token_id=1))
    Agent(model).save_pretrained(top/'agent', tokenizer)
    RewardModel(model).save_pretrained(top/'reward')
    return {'agent': top/'agent', 'reward': top/'reward', 'work': top/'work'}


READERS = {'agent': lambda folder: (Agent.from_pretrained(folder), load_model(str(folder))[1]), 'reward': lambda folder: (RewardModel.from_pretrained(folder),)}


def use(model, tokenizer=None):
    "What could be read can be used, or says so with an error that `rlhf-train` prints as a line."
    try:
        if tokenizer is None: assert model(torch.tensor([[2, 3, 0]]), torch.ones(1, 3, dtype=torch.long)).shape == (1,)
        else: assert model.generate(**tokenizer(['A film', 'An'], padding=True, return_tensors='pt'), response_length=2).tokens.shape[0] == 2
    except (ValueError, FloatingPointError): pass


@pytest.mark.parametrize('kind, name, n', [('agent', 'config.json', 150), ('agent', 'generation_config.json', 80), ('agent', 'model.safetensors', 80), ('agent', 'value_head.safetensors', 80),
                                           ('agent', 'tokenizer.json', 150), ('agent', 'tokenizer_config.json', 150), ('reward', 'config.json', 60), ('reward', 'reward_head.safetensors', 80)])
def test_model_folder(folders, kind, name, n):
    work, original = folders['work'], (folders[kind]/name).read_bytes()
    shutil.rmtree(work, ignore_errors=True); shutil.copytree(folders[kind], work)
    assert reads_or_says_why(READERS[kind], work) is not None
    loaded = []

    @fuzz(n)
    @given(mutated_json(json.loads(original)) if name.endswith('.json') else mutated(original) | with_header(original))
    def check(data):
        (work/name).write_bytes(data)
        read = reads_or_says_why(READERS[kind], work)
        if read is not None: use(*read)
        loaded.append(read is not None)
    check()
    assert {True, False} <= set(loaded), 'all of one kind: the mutations are too rough, or too gentle'


@pytest.mark.parametrize('key', ['n_layer', 'n_head', 'n_embd', 'n_positions', 'vocab_size', 'n_inner'])
@pytest.mark.parametrize('size', [10**5, 10**9, 10**13, 10**20])
def test_a_size_in_the_configuration_is_not_believed(folders, key, size):
    work = folders['work']
    shutil.rmtree(work, ignore_errors=True); shutil.copytree(folders['agent'], work)
    (work/'config.json').write_text(json.dumps(json.loads((work/'config.json').read_text()) | {key: size}))
    assert reads_or_says_why(READERS['agent'], work, 3) is None


@pytest.mark.parametrize('kind', READERS)
def test_a_folder_that_lacks_a_file(folders, kind):
    for name in [path.name for path in folders[kind].iterdir()]:
        work = folders['work']
        shutil.rmtree(work, ignore_errors=True); shutil.copytree(folders[kind], work)
        (work/name).unlink()
        read = reads_or_says_why(READERS[kind], work)
        assert read is None or name in ('generation_config.json', 'tokenizer_config.json'), f'{name} is missing, and nobody says so'


@pytest.mark.parametrize('kind', READERS)
def test_a_model_that_lacks_a_weight(folders, kind):
    work, tensors = folders['work'], load((folders[kind]/'model.safetensors').read_bytes())
    shutil.rmtree(work, ignore_errors=True); shutil.copytree(folders[kind], work)
    for name in tensors:
        (work/'model.safetensors').write_bytes(save({other: x for other, x in tensors.items() if other != name}))
        assert reads_or_says_why(READERS[kind], work) is None, f'{name} is missing, and was made up'


def test_a_tokenizer_with_tokens_that_the_model_does_not_have(folders):
    work = folders['work']
    shutil.rmtree(work, ignore_errors=True); shutil.copytree(folders['agent'], work)
    tokenizer = load_model(str(work))[1]
    tokenizer.add_tokens(['film'])
    tokenizer.save_pretrained(work)
    assert reads_or_says_why(READERS['agent'], work) is None


@pytest.mark.parametrize('read', [read_csv, read_preferences, read_labels, read_study, finished_runs, read_ratings, lambda path: load_tensors(path, {}), *READERS.values()])
def test_a_folder_is_no_file_and_an_empty_one_is_no_model(tmp_path, read): assert reads_or_says_why(read, tmp_path) is None


@pytest.fixture(scope='module')
def checkpoint(folders, tmp_path_factory):
    "A trainer, and a checkpoint of it in a folder of its own."
    model, path = load_model(str(folders['agent']))[0], tmp_path_factory.mktemp('run')/'checkpoint.safetensors'
    trainer = RLHFTrainer(Agent(model), copy.deepcopy(model), RLHFConfig())
    for p in trainer.agent.parameters(): p.grad = torch.ones_like(p)
    trainer.step()  # Adam's averages are there too
    save_checkpoint(path, trainer, 3, run=asdict(RunConfig(device='cpu')), figures={}, made_from={})
    return trainer, path, path.read_bytes()


def with_state(data: bytes):
    "A checkpoint whose state is another, and whose digest is right: nobody writes one but to do harm."
    tensors = load(data)
    state = json.loads(json.loads(data[8:8 + struct.unpack('<Q', data[:8])[0]])['__metadata__']['state'])
    def whole(text): return save(tensors, {'state': text, 'sha256': fingerprint(tensors, text)})
    return mutated_json(state).map(lambda raw: raw.decode(errors='ignore')).map(whole)


def test_checkpoint(checkpoint):
    trainer, path, original = checkpoint
    weights = lambda: fingerprint(dict(trainer.agent.named_parameters()))
    before, read = weights(), Counter()

    @fuzz(500)
    @given(mutated(original) | with_header(original) | with_state(original))
    def check(data):
        path.write_bytes(data)
        found = reads_or_says_why(read_checkpoint, path)
        read[found is not None] += 1
        if found is not None and found[1] == numbers: assert fingerprint(found[0]) == tensors, 'a bit was changed, and nobody noticed'
    path.write_bytes(original)
    found = read_checkpoint(path)
    tensors, numbers = fingerprint(found[0]), found[1]
    check()
    assert set(read) == {True, False} and weights() == before
    path.write_bytes(original)
    assert load_checkpoint(path, trainer)['update'] == 3


def test_settings_of_a_run_that_is_taken_up(checkpoint):
    trainer, path, original = checkpoint
    config, asked = path.parent/'config.json', {'rlhf': asdict(RunConfig(device='cpu')) | asdict(RLHFConfig())}

    @fuzz(500)
    @given(mutated_json(asked))
    def from_config(data):
        config.write_bytes(data)
        if (found := reads_or_says_why(lambda path: find_settings(path.parent), config)) is not None: assert [type(part) for part in found] == [RunConfig, RLHFConfig]

    @fuzz(300)
    @given(with_state(original))
    def from_checkpoint(data):
        path.write_bytes(data)
        if (found := reads_or_says_why(lambda path: find_settings(path.parent), path)) is not None: assert [type(part) for part in found] == [RunConfig, RLHFConfig]
    path.unlink(); from_config()
    from_checkpoint()


ROWS = [json.dumps({'update': i, 'seconds': 1.5, 'score': 0.1*i, 'kl': -0.0}).encode() for i in (1, 2, 3)]


@fuzz(500)
@given(mutated(b'\n'.join(ROWS) + b'\n') | mutated_lines([json.loads(row) for row in ROWS]))
def test_metrics(path, data):
    path.write_bytes(data)
    rows = reads_or_says_why(lambda path: read_rows(path, 2, rows_digest(ROWS[:2])), path)
    assert (rows is not None) == (data.split(b'\n')[:2] == ROWS[:2])
    if rows is not None: assert rows == [json.loads(row) for row in ROWS[:2]]
