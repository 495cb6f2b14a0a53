"Text is data, whatever it holds, and a model's folder is data too: nothing in them is run, and nothing is fetched that was not asked for."
import ast, contextlib, html, io, json, os, pickle, re, shutil, socket, subprocess, sys
from pathlib import Path
import pandas as pd, pytest, torch
from transformers import GPT2Config, GPT2LMHeadModel
from rlhf_nbdev.agent import Agent
from rlhf_nbdev.dataset import load_reviews
from rlhf_nbdev.evaluate import draw_frontier
from rlhf_nbdev.feedback import LabelLog, Labeler, as_text, read_labels, to_preferences
from rlhf_nbdev.reward import RewardModel, read_preferences, write_preferences
from rlhf_nbdev.run.pretrain import train_tokenizer
from rlhf_nbdev.run.report import STEPS, finish_run, html_table
from rlhf_nbdev.tools.files import printable
from rlhf_nbdev.tools.models import load_model

TOP = Path(__file__).resolve().parent.parent
MODULES = sorted(path for path in (TOP/'rlhf_nbdev').glob('*.py') if path.stem != '_modidx')
NOTEBOOKS = sorted((TOP/'nbs').glob('**/[0-9a-z]*.ipynb'))


# What a folder of a model may hold -------------------------------------------------------------------------------------------------------

class Trap:
    "A pickle of this makes a file when it is read."
    def __init__(self, path): self.path = path
    def __reduce__(self): return open, (str(self.path), 'w')


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    top = tmp_path_factory.mktemp('models')
    tokenizer = train_tokenizer(['A small film, and a good one.'], 262)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_positions=16, n_embd=4, n_layer=1, n_head=1, eos_token_id=0, bos_token_id=0, pad_token_id=1))
    Agent(model).save_pretrained(top/'agent', tokenizer)
    RewardModel(model).save_pretrained(top/'reward')
    return {'agent': top/'agent', 'reward': top/'reward'}


@pytest.fixture
def watched(monkeypatch, tmp_path):
    "What should not be done, and was: in a list."
    done = []
    def forbid(owner, name):
        def forbidden(*args, **kwargs):
            done.append(name)
            raise AssertionError(f'{name} was called')
        monkeypatch.setattr(owner, name, forbidden)
    for owner, name in ((torch, 'load'), (pickle, 'load'), (pickle, 'loads'), (pickle, 'Unpickler'), (socket, 'getaddrinfo'), (socket.socket, 'connect')): forbid(owner, name)
    monkeypatch.setattr('builtins.input', lambda *_: done.append('input') or 'yes')
    monkeypatch.setattr('transformers.dynamic_module_utils.HF_MODULES_CACHE', str(tmp_path/'modules'))  # where foreign code would be copied to
    yield done
    for name in [name for name in sys.modules if 'evil' in name]: del sys.modules[name]  # one that was run is no fault of the next test
    done += ['the trap'] if (tmp_path/'sprung').exists() else []
    assert not done, f'{done[0]}: a file of a model was not taken as data'


READERS = [('agent', lambda folder: load_model(str(folder))), ('agent', Agent.from_pretrained), ('reward', RewardModel.from_pretrained)]
readers = pytest.mark.parametrize('kind, read', READERS, ids=['load_model', 'Agent', 'RewardModel'])


def copied(folder, to):
    shutil.copytree(folder, to/'folder')
    return to/'folder'


def weights(kind, models, trap):
    "Pickles of the weights: with a trap; and sound ones, which are not to be read either."
    sound = {'agent': load_model(str(models['agent']))[0], 'reward': RewardModel.from_pretrained(models['reward']).trunk}[kind].state_dict()
    for state in ({'trap': Trap(trap)}, sound):
        file = io.BytesIO()
        torch.save(state, file)
        yield file.getvalue()
    yield pickle.dumps(Trap(trap))


@readers
@pytest.mark.parametrize('beside', [False, True], ids=['instead', 'beside'])
@pytest.mark.parametrize('index', [False, True], ids=['one file', 'with an index'])
@pytest.mark.parametrize('which', [0, 1, 2], ids=['trap', 'sound', 'bare'])
def test_no_pickle_is_read(kind, read, beside, index, which, models, tmp_path, watched, monkeypatch):
    folder = copied(models[kind], tmp_path)
    with monkeypatch.context() as free:
        free.undo()
        data = list(weights(kind, models, tmp_path/'sprung'))[which]
    name = 'pytorch_model-00001-of-00001.bin' if index else 'pytorch_model.bin'
    (folder/name).write_bytes(data)
    if index: (folder/'pytorch_model.bin.index.json').write_text(json.dumps({'metadata': {}, 'weight_map': {'transformer.wte.weight': name, 'wte.weight': name}}))
    if beside: read(folder); return
    (folder/'model.safetensors').unlink()
    with pytest.raises((OSError, ValueError), match=re.escape(str(folder))): read(folder)


def test_the_pickles_are_traps(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path/'sprung'))).close()
    assert (tmp_path/'sprung').exists()


CODE = 'open({!r}, "w").close()\nfrom transformers import GPT2Config, GPT2LMHeadModel, GPT2Model, GPT2Tokenizer\nclass C(GPT2Config): model_type = "strange"\nclass M(GPT2LMHeadModel): config_class = C\nclass T(GPT2Tokenizer): pass\ndef generate(*_, **__): pass\n'
AUTO = {'AutoConfig': 'evil.C', 'AutoModel': 'evil.M', 'AutoModelForCausalLM': 'evil.M'}
CODED = {
    'model': [('config.json', {'auto_map': AUTO})],
    'unknown model': [('config.json', {'auto_map': AUTO, 'model_type': 'strange', 'architectures': ['M']})],
    'model of another repository': [('config.json', {'auto_map': {key: f'evil/repository--{name}' for key, name in AUTO.items()}, 'model_type': 'strange'})],
    'tokenizer': [('tokenizer_config.json', {'auto_map': {'AutoTokenizer': ['evil.T', 'evil.T']}, 'tokenizer_class': 'T'})],
    'tokenizer, old form': [('tokenizer_config.json', {'auto_map': ['evil.T', None]})],
    'tokenizer in the configuration': [('config.json', {'auto_map': {'AutoTokenizer': ['evil.T', 'evil.T']}, 'tokenizer_class': 'T'}), ('tokenizer_config.json', {'tokenizer_class': 'T'})],
    'tokenizer of an unknown model': [('config.json', {'auto_map': AUTO, 'model_type': 'strange'}), ('tokenizer_config.json', {'auto_map': {'AutoTokenizer': ['evil.T', 'evil.T']}, 'tokenizer_class': 'T'})],
    'generation': [('generation_config.json', {'custom_generate': 'evil.py'})],
    'kernel': [('config.json', {'attn_implementation': 'evil/kernel'})],
    'kernel, its other name': [('config.json', {'_attn_implementation': 'evil/kernel:f'})],
    'base of an adapter': [('adapter_config.json', {'base_model_name_or_path': 'evil/repository', 'peft_type': 'LORA', 'auto_map': AUTO})],
}


@readers
@pytest.mark.parametrize('changes', CODED.values(), ids=CODED)
def test_no_code_of_a_folder_is_run_and_nobody_is_asked(kind, read, changes, models, tmp_path, watched):
    folder = copied(models[kind], tmp_path)
    for name, change in changes: (folder/name).write_text(json.dumps((json.loads((folder/name).read_text()) if (folder/name).exists() else {}) | change))
    for name in ('evil.py', 'modeling_evil.py', 'custom_generate/generate.py', '__init__.py'):
        (folder/name).parent.mkdir(exist_ok=True)
        (folder/name).write_text(CODE.format(str(tmp_path/'sprung')))
    try: read(folder)
    except (OSError, ValueError) as error: assert str(folder) in str(error) and 'trust_remote_code=True' not in str(error), 'no option of ours'
    assert not any('evil' in name for name in sys.modules)


# What the code itself could reach ---------------------------------------------------------------------------------------------------------

RUNS_DATA = {'pickle': {'load', 'loads', 'Unpickler'}, 'torch': {'load'}, 'np': {'load'}, 'numpy': {'load'}, 'pd': {'read_pickle', 'read_hdf', 'eval'}, 'joblib': {'load'}, 'dill': {'load', 'loads'},
             'marshal': {'load', 'loads'}, 'shelve': {'open'}, 'yaml': {'load', 'unsafe_load', 'full_load'}, 'os': {'system', 'popen', 'execv'}, 'subprocess': {'getoutput', 'getstatusoutput'}, 'builtins': {'eval', 'exec'}}
UNSAFE = {'trust_remote_code': True, 'shell': True, 'allow_pickle': True, 'weights_only': False, 'use_safetensors': False, 'allow_all_kernels': True}


def dangers(code: str) -> list[str]:
    "Calls, imports and arguments by which data could become code; and models that are loaded without a word about either pickles or code."
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Name) and node.id in ('eval', 'exec', '__import__'): found.append(node.id)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in RUNS_DATA.get(node.value.id, ()): found.append(f'{node.value.id}.{node.attr}')
        if isinstance(node, ast.Import): found += [f'{alias.name} as {alias.asname}' for alias in node.names if alias.asname and alias.name in RUNS_DATA and alias.asname not in RUNS_DATA]
        if isinstance(node, ast.ImportFrom): found += [f'{node.module}.{alias.name}' for alias in node.names if alias.name in RUNS_DATA.get(node.module, ()) or alias.name == '*' and node.module in RUNS_DATA]
        if isinstance(node, ast.keyword) and node.arg in UNSAFE and not (isinstance(node.value, ast.Constant) and node.value.value is not UNSAFE[node.arg]): found.append(node.arg)
        if isinstance(node, ast.Dict): found += [key.value for key, value in zip(node.keys, node.values) if isinstance(key, ast.Constant) and key.value in UNSAFE and getattr(value, 'value', None) is UNSAFE[key.value]]
    return found


def code_of(path: Path) -> list[str]:
    "A module, or the Python cells of a notebook without their commands to IPython."
    if path.suffix == '.py': return [path.read_text(encoding='utf-8')]
    cells = [''.join(cell['source']) for cell in json.loads(path.read_text(encoding='utf-8'))['cells'] if cell['cell_type'] == 'code']
    return [re.sub(r'^(\s*)[%!].*', r'\1pass', cell, flags=re.M) for cell in cells if not cell.startswith('%%')]


@pytest.mark.parametrize('path', MODULES + NOTEBOOKS, ids=lambda path: path.stem)
def test_no_data_becomes_code(path): assert [danger for code in code_of(path) for danger in dangers(code)] == []


@pytest.mark.parametrize('code', ['pickle.load(f)', 'from pickle import loads', 'import pickle as p', 'torch.load(path)', 'np.load(path, allow_pickle=False)', 'f(allow_pickle=x)', 'eval(text)', 'g = exec', 'subprocess.run(c, shell=True)',
                                  'AutoModel.from_pretrained(x, trust_remote_code=True)', "f(**{'trust_remote_code': True})", 'from torch import load', 'yaml.load(f)', 'os.system(c)', 'from pickle import *'])
def test_the_search_finds(code): assert dangers(code)


@pytest.mark.parametrize('code', ['pickle.dumps(x)', 'model.eval()', 'json.load(f)', 'f(trust_remote_code=False)', 'load_file(path)', 're.compile(x)'])
def test_the_search_lets_pass(code): assert not dangers(code)


def test_everything_of_transformers_is_loaded_without_foreign_code(models, monkeypatch):
    asked = []
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer
    for kind in (AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer):
        def spy(*args, kind=kind, original=kind.from_pretrained, **kwargs):
            asked.append((kind.__name__, kwargs))
            return original(*args, **kwargs)
        monkeypatch.setattr(kind, 'from_pretrained', spy)
    for kind, read in READERS: read(models[kind])
    assert {'AutoModel', 'AutoModelForCausalLM', 'AutoTokenizer'} <= {name for name, _ in asked}
    for name, options in asked: assert options.get('trust_remote_code') is False and (options.get('use_safetensors') is True or not name.startswith('AutoModel')), name


# The network ------------------------------------------------------------------------------------------------------------------------------

GUARD = '''import os, sys
def guard(event, args):
    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.gethostbyname', 'socket.gethostbyaddr', 'socket.sendto', 'socket.sendmsg', 'urllib.Request'):
        with open(os.environ['ATTEMPTS'], 'a') as file: file.write(f'{event} {args[-1] if event == "socket.connect" else args[:2]}\\n')
        raise ConnectionRefusedError(event)
sys.addaudithook(guard)
'''


@pytest.fixture
def guarded(tmp_path):
    "A function that runs a command in which every way to the network is refused, and tells what was tried."
    (tmp_path/'guard').mkdir()
    (tmp_path/'guard'/'sitecustomize.py').write_text(GUARD)
    def run(*command):
        path = os.pathsep.join([str(tmp_path/'guard'), *filter(None, [os.environ.get('PYTHONPATH')])])
        environment = {key: value for key, value in os.environ.items() if not key.startswith(('HF_', 'TRANSFORMERS_'))} | {'PYTHONPATH': path, 'ATTEMPTS': str(tmp_path/'attempts')}
        result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL)
        return result, (tmp_path/'attempts').read_text() if (tmp_path/'attempts').exists() else ''
    return run


def test_a_whole_run_asks_nothing_of_the_network(guarded, tmp_path):
    reviews = load_reviews()
    reviews[reviews.text.str.len() <= 1000].sample(600, random_state=0).to_csv(tmp_path/'reviews.csv', index=False)
    result, attempts = guarded(Path(sys.executable).parent/'rlhf-train', '--updates', 2, '--batch_size', 8, '--demonstrations', 64, '--rated_sentences', 64, '--reward_pairs', 64, '--eval_prompts', 16, '--response_length', 6,
                               '--epochs', 1, '--device', 'cpu', '--stages', tmp_path/'stages', '--data', tmp_path/'reviews.csv', '--n_train', 500, '--out', tmp_path/'run')
    assert result.returncode == 0, result.stderr[-2000:]
    assert attempts == '' and (tmp_path/'run'/'report.html').exists()


def test_no_import_asks_anything_of_the_network(guarded):
    result, attempts = guarded(sys.executable, '-c', 'import ' + ', '.join(f'rlhf_nbdev.{path.stem}' for path in MODULES if path.stem != '__init__'))
    assert result.returncode == 0, result.stderr[-2000:]
    assert attempts == ''


@pytest.mark.parametrize('code', ['import urllib.request as u; u.urlopen("http://127.0.0.1:9")', 'import socket; socket.getaddrinfo("example.org", 80)',
                                  'from rlhf_nbdev.agent import load_model; load_model("gpt2")', 'import httpx; httpx.get("http://127.0.0.1:9")'])
def test_the_guard_sees(code, guarded):
    result, attempts = guarded(sys.executable, '-c', code)
    assert result.returncode and attempts


# What a text may hold -----------------------------------------------------------------------------------------------------------------------

HOSTILE = ['<script>window.ran = 1</script>', '<img src=x onerror="window.ran = 2">', '</table></body></html><h1>', '&lt;b&gt; &amp; &#60; &nbsp', '[/INST] <|endoftext|> </s>', r'$\alpha$ and $$x^2$$ \(y\) \[z\]', '`code` ```block``` **bold** _it_',
           '\x1b[31mred\x1b[2J\x1b[H', '\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\', 'new\rold', 'a\x00b', 'abc\u202eedcba\u202c', 'one\u2028two\u2029three', 'half \ud800 pair \udfff', 'emoji 🎬 and 👍🏽', 'é ü 電影 e\u0301',
           'w'*3000, 'two\nlines\n\nand more', '\x07\x08\x7f\x9b31m', '" onmouseover="window.ran = 3" \'', '<svg onload="window.ran = 4"><a href="javascript:window.ran = 5">', '{{7*7}} ${7*7} %s %(x)s {0} {row}', '=1+1 @SUM', '\ufeff\u200b\u00ad']
CONTROL = re.compile('[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]')  # all that a terminal or a browser may obey; a new line is none


SAMPLED = [text for text in HOSTILE if '\ud800' not in text]  # no tokenizer writes half of a surrogate pair


def samples() -> dict:
    "Each text once as prompt, and once as the response of each step."
    shifted = lambda k: SAMPLED[k:] + SAMPLED[:k]
    table = lambda k: pd.DataFrame({'prompt': SAMPLED, 'response': shifted(k), 'score': [0.5*i*k for i in range(len(SAMPLED))], 'gold': 0.5})
    return {step: table(k) for k, step in enumerate(STEPS, 1)}


FIGURES = {'sft': {}, 'reward': {}, 'updates': 1, 'seconds_ppo': 1.0, 'seconds': 2} | {f'{name}_{step}': 0.5 for name in ('score', 'kl') for step in STEPS}
ROWS = [{'update': 1, 'score': 0.0, 'kl_k3': 0.0, 'kl': 0.0, 'ppo/entropy': 1.0}]
SETTINGS = {'model': HOSTILE[0], 'data': HOSTILE[13], 'temperature': 1.0, 'response_length': 4, 'out': '</table>\x1b[2J'}


@pytest.fixture
def run_folder(tmp_path):
    (tmp_path/'run').mkdir()
    with contextlib.redirect_stdout(io.StringIO()) as said: finish_run(tmp_path/'run', ROWS, samples(), FIGURES, SETTINGS)
    (tmp_path/'run'/'said').write_text(said.getvalue(), encoding='utf-8')
    return tmp_path/'run'


@pytest.mark.parametrize('text', HOSTILE, ids=ascii)
def test_printable(text):
    shown = printable(text)
    assert not CONTROL.search(shown) and shown.encode('utf-8') and printable(shown) == shown
    if not CONTROL.search(text) and text.replace('\n', '').isprintable(): assert shown == text, 'a text that is only text is shown as it is'


def test_the_terminal_shows_text(monkeypatch, tmp_path, capsys):
    (tmp_path/'run').mkdir()
    rows = samples()
    for start in range(0, len(SAMPLED), 3):  # the first three samples are shown
        finish_run(tmp_path/'run', [], {step: table.iloc[start:start + 3].reset_index(drop=True) for step, table in rows.items()}, FIGURES, SETTINGS)
        said = capsys.readouterr().out
        assert not CONTROL.search(said), repr(CONTROL.search(said))
        for text in SAMPLED[start:start + 3]: assert printable(text).replace('\n', '\n' + ' '*25) in said  # no line of it looks like one of ours


def test_samples_are_stored_as_they_are(run_folder):
    lines = (run_folder/'samples.jsonl').read_bytes().split(b'\n')[:-1]
    stored = [json.loads(line) for line in lines]
    assert [row['prompt'] for row in stored] == SAMPLED and [row['ppo'] for row in stored] == samples()['ppo'].response.tolist()


def cells_of(page: str) -> list[str]:
    "The texts of a page's cells, as a parser of HTML reads them; every tag that is not a page of ours fails."
    from html.parser import HTMLParser
    known, cells, opened = {'html', 'meta', 'title', 'style', 'h1', 'h2', 'p', 'table', 'tr', 'td', 'th', 'img', 'details', 'summary'}, [], []
    class Cells(HTMLParser):
        def handle_starttag(self, tag, attributes):
            assert tag in known and {name for name, _ in attributes} <= {'lang', 'charset', 'alt', 'src'}, f'<{tag} {attributes}> came with a text'
            assert all(value.startswith('data:image/png;base64,') for name, value in attributes if name == 'src')
            opened.append(tag)
            if tag == 'td': cells.append('')
        def handle_data(self, data):
            if opened and opened[-1] == 'td': cells[-1] += data
        def handle_endtag(self, tag): opened.append('')
    Cells(convert_charrefs=True).feed(page)
    return cells


def test_the_report_shows_text(run_folder):
    page = (run_folder/'report.html').read_text(encoding='utf-8')
    assert not CONTROL.search(page)
    cells = cells_of(page)
    for text in [*SAMPLED, *map(str, SETTINGS.values())]: assert printable(text) in cells, f'{text!r} is not shown as it is'


def test_a_table_shows_text():
    table = html_table([[text] for text in HOSTILE], HOSTILE[:1])
    assert not CONTROL.search(table) and cells_of(table) == list(map(printable, HOSTILE)) and '<th>&lt;script' in table


def only_text(value: str) -> str:
    "What a widget of HTML shows, if that is one box of text."
    shown = re.fullmatch('<div style="[^"<>]*">([^<>]*)</div>', value)
    assert shown and not CONTROL.search(value), f'{value!r} is not a box of text'
    return html.unescape(shown[1])


@pytest.mark.parametrize('text', HOSTILE, ids=ascii)
def test_a_widget_shows_text(text): assert only_text(as_text(text)) == printable(text)


def test_the_panel_and_its_log_keep_texts_as_they_are(tmp_path):
    pairs = [{'prompt': text, 'a': f'a {text}', 'b': f'b {text}'} for text in SAMPLED]
    panel = Labeler(LabelLog(pairs, tmp_path/'labels.jsonl'), min_seconds=0)
    while panel.pair:
        before = panel.pair
        for widget, text in ((panel.prompt, f"{before['prompt']} …"), (panel.left, before['left']), (panel.right, before['right'])): assert only_text(widget.value) == printable(text)
        panel.act('left')
        assert panel.pair != before, panel.message.value
    labels, unreadable = read_labels(tmp_path/'labels.jsonl')
    assert unreadable == 0 and sorted(label['prompt'] for label in labels) == sorted(pair['prompt'] for pair in pairs)
    rows, _ = to_preferences(labels)
    write_preferences(tmp_path/'rows.jsonl', rows)
    assert read_preferences(tmp_path/'rows.jsonl')[0] == rows


def test_a_name_in_a_study_is_drawn_as_it_is():
    import matplotlib.pyplot as plt
    run = lambda name, group: {'group': group, 'name': name, 'seed': 0, 'rated_sentences': 1, 'points': [{'update': 0, 'n': 1, 'kl': 0.1, 'bound': 0.1, 'gold': 0.5, 'score': 0.0}]}
    for text in (r'$\frac$', '$$', '$x', r'\alpha_{', '<b>'):
        figure = draw_frontier([run(text, 'frontier'), run(text, 'best of n')])
        try: figure.savefig(io.BytesIO(), dpi=30)  # where mathematics is read
        finally: plt.close(figure)


# In a real browser ---------------------------------------------------------------------------------------------------------------------------

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)


@pytest.fixture
def page():
    "A page of Chromium, with what it asked for and what it wanted to say."
    if CHROMIUM is None: pytest.skip('no Chromium on this machine (Debian: apt-get install chromium)')
    sync_api = pytest.importorskip('playwright.sync_api', reason='the Python package playwright is missing (pip install playwright; it needs no browsers of its own)')
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        page = browser.new_page(viewport={'width': 1200, 'height': 800})
        page.set_default_timeout(60_000)
        page.asked, page.dialogs = [], []
        page.on('request', lambda request: page.asked.append(request.url))
        page.on('dialog', lambda dialog: (page.dialogs.append(dialog.message), dialog.dismiss()))
        yield page
        browser.close()


def same_words(a: str, b: str) -> bool: return a.split() == b.split()


def test_the_report_in_a_browser(page, run_folder):
    page.goto((run_folder/'report.html').as_uri())
    page.locator('details').evaluate('details => details.open = true')
    assert page.evaluate('window.ran') is None and page.dialogs == []
    assert [url for url in page.asked if not url.startswith('data:')] == [(run_folder/'report.html').as_uri()], 'a text made the page ask for something'
    wide = page.locator('details td').evaluate_all('cells => cells.map(cell => cell.innerText)')
    prompts, last = wide[0::7], wide[6::7]
    assert len(prompts) == len(SAMPLED)
    for shown, text in zip(prompts + last, SAMPLED + samples()['ppo'].response.tolist()): assert same_words(shown, printable(text)), f'{text!r} is shown as {shown!r}'
    assert page.locator('script, iframe, svg, object, form, a').count() == 0 and page.locator('h1').count() == 1


CELLS = ['''import pandas as pd
HOSTILE = {!r}
pd.DataFrame({{'text': HOSTILE}})''', '''pd.set_option('display.html.use_mathjax', False)
pd.DataFrame({'text': HOSTILE}, index=HOSTILE)''', '''from rlhf_nbdev.feedback import Labeler, LabelLog
Labeler(LabelLog([{'prompt': text, 'a': f'a {text}', 'b': f'b {text}'} for text in HOSTILE], 'labels.jsonl'), min_seconds=0)''']


def test_a_notebook_in_a_browser(page, jupyter_lab):
    texts = [text for text in SAMPLED if len(text) < 100]
    page.goto(jupyter_lab('texts.ipynb', CELLS[0].format(texts), *CELLS[1:]))
    page.get_by_text('| Idle').wait_for()
    page.locator('.jp-CodeCell .cm-content').first.click()
    for _ in CELLS: page.keyboard.press('Shift+Enter')
    panel = page.locator('.jp-OutputArea-output .widget-vbox').first
    panel.get_by_text(f'0 of {len(texts)}', exact=True).wait_for()
    plain, guarded = page.locator('.jp-OutputArea-output table').nth(0), page.locator('.jp-OutputArea-output table').nth(1)
    plain.locator('mjx-container').first.wait_for()  # pandas' default: a text with dollars is typeset
    assert guarded.locator('mjx-container, b, i, h1, script, svg, a, img[src=x]').count() == 0
    shown = guarded.locator('td').evaluate_all('cells => cells.map(cell => cell.innerText)')
    dollars = next(text for text in texts if text.startswith('$'))
    assert dollars in shown and '<script>window.ran = 1</script>' in shown and page.evaluate('window.ran') is None

    for text in texts:
        boxes = [box.inner_text() for box in panel.locator('.widget-html-content').all()][1:4]
        assert same_words(boxes[0], f'{printable(text)} …') and sorted(box[:1] for box in boxes[1:]) == ['a', 'b']
        for box in boxes[1:]: assert same_words(box[1:], printable(text)), f'{text!r} is shown as {box!r}'
        assert panel.locator('img, svg, script, b, i, a, h1, mjx-container').count() == 0
        panel.get_by_role('button', name='skip').click()
        panel.get_by_text(f'{texts.index(text) + 1} of {len(texts)}', exact=True).wait_for()
    assert page.evaluate('window.ran') is None and page.dialogs == []
    assert not [url for url in page.asked if not url.startswith(('http://127.0.0.1', 'ws://127.0.0.1', 'data:', 'blob:', 'about:'))], 'a text made the page ask for something'
