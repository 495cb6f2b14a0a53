"Text is text wherever it is shown: in the terminal, the report, a notebook, the panel, a plot."
import contextlib
import html
import io
import json
import re
import time
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from browser import chromium_page
from hostile import CONTROL, HOSTILE, SAMPLED

from rlhf_nbdev.evaluate import draw_frontier
from rlhf_nbdev.feedback import Labeler, LabelLog, as_text, read_labels, to_preferences
from rlhf_nbdev.reward import read_preferences, write_preferences
from rlhf_nbdev.run.report import STEPS, finish_run, html_table
from rlhf_nbdev.tools.files import printable


def sample_tables() -> dict:
    "Each text once as prompt, and once as the response of each step."
    tables = {}
    for k, step in enumerate(STEPS, 1):
        responses = SAMPLED[k:] + SAMPLED[:k]
        scores = [0.5*i*k for i in range(len(SAMPLED))]
        tables[step] = pd.DataFrame(
            {'prompt': SAMPLED, 'response': responses, 'score': scores, 'gold': 0.5})
    return tables


FIGURES = {'sft': {}, 'reward': {}, 'updates': 1, 'seconds_ppo': 1.0, 'seconds': 2}
FIGURES |= {f'{name}_{step}': 0.5 for name in ('score', 'kl') for step in STEPS}
ROWS = [{'update': 1, 'score': 0.0, 'kl_k3': 0.0, 'kl': 0.0, 'ppo/entropy': 1.0}]
SETTINGS = {'model': HOSTILE[0], 'data': 'half \ud800 pair', 'temperature': 1.0,
            'response_length': 4, 'out': '</table>\x1b[2J'}


@pytest.fixture
def run_folder(tmp_path):
    "What a run of hostile texts leaves."
    folder = tmp_path/'run'
    folder.mkdir()
    with contextlib.redirect_stdout(io.StringIO()):
        finish_run(folder, ROWS, sample_tables(), FIGURES, SETTINGS)
    return folder


@pytest.mark.parametrize('text', HOSTILE, ids=ascii)
def test_printable(text):
    shown = printable(text)
    assert not CONTROL.search(shown)
    assert shown.encode('utf-8') and printable(shown) == shown
    if not CONTROL.search(text) and text.replace('\n', '').isprintable():
        assert shown == text, 'a text that is only text is shown as it is'


@pytest.mark.parametrize('start', range(0, len(SAMPLED), 3))
def test_the_terminal_shows_text(start, tmp_path, capsys):
    three = {}
    for step, table in sample_tables().items():
        three[step] = table.iloc[start:start + 3].reset_index(drop=True)
    finish_run(tmp_path, [], three, FIGURES, SETTINGS)
    printed = capsys.readouterr().out
    assert not CONTROL.search(printed), repr(CONTROL.search(printed))
    for text in SAMPLED[start:start + 3]:
        indented = printable(text).replace('\n', '\n' + ' '*25)
        assert indented in printed, 'a line of it looks like one of ours'


def test_samples_are_stored_as_they_are(run_folder):
    lines = (run_folder/'samples.jsonl').read_bytes().split(b'\n')[:-1]
    stored = [json.loads(line) for line in lines]
    assert [row['prompt'] for row in stored] == SAMPLED
    assert [row['ppo'] for row in stored] == sample_tables()['ppo'].response.tolist()


# HTML

TAGS = {'html', 'meta', 'title', 'style', 'h1', 'h2', 'p', 'table', 'tr', 'td', 'th', 'img',
        'details', 'summary', 'a'}
ATTRIBUTES = {'lang', 'charset', 'alt', 'src', 'href'}
COURSE = 'https://rlhf-nbdev.github.io/rlhf_nbdev/'


class Cells(HTMLParser):
    "The texts of a page's cells; every tag that is not one of ours fails."
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.cells, self.within = [], ''

    def handle_starttag(self, tag, attributes):
        names = {name for name, _ in attributes}
        assert tag in TAGS and names <= ATTRIBUTES, f'<{tag} {attributes}> came with a text'
        source = dict(attributes).get('src', 'data:image/png;base64,')
        assert source.startswith('data:image/png;base64,')
        assert dict(attributes).get('href', COURSE).startswith(COURSE)
        self.within = tag
        if tag == 'td':
            self.cells.append('')

    def handle_data(self, data):
        if self.within == 'td':
            self.cells[-1] += data

    def handle_endtag(self, tag):
        self.within = ''


def cells_of(page: str) -> list[str]:
    parser = Cells()
    parser.feed(page)
    return parser.cells


def test_the_report_shows_text(run_folder):
    page = (run_folder/'report.html').read_text(encoding='utf-8')
    assert not CONTROL.search(page)
    cells = cells_of(page)
    for text in [*SAMPLED, *map(str, SETTINGS.values())]:
        assert printable(text) in cells, f'{text!r} is not shown as it is'


def test_a_table_shows_text():
    table = html_table([[text] for text in HOSTILE], HOSTILE[:1])
    assert not CONTROL.search(table)
    assert cells_of(table) == [printable(text) for text in HOSTILE]
    assert '<th>&lt;script' in table


def only_text(value: str) -> str:
    "What a widget of HTML shows, if that is one box of text."
    shown = re.fullmatch('<div style="[^"<>]*">([^<>]*)</div>', value)
    assert shown and not CONTROL.search(value), f'{value!r} is not a box of text'
    return html.unescape(shown[1])


@pytest.mark.parametrize('text', HOSTILE, ids=ascii)
def test_a_widget_shows_text(text):
    assert only_text(as_text(text)) == printable(text)


def hostile_pairs(texts):
    return [{'prompt': text, 'a': f'a {text}', 'b': f'b {text}'} for text in texts]


@pytest.fixture
def labelled(tmp_path):
    "Every hostile pair shown by the panel, and labelled; the log."
    panel = Labeler(LabelLog(hostile_pairs(SAMPLED), tmp_path/'labels.jsonl'), min_seconds=0)
    while panel.pair:
        pair = panel.pair
        assert only_text(panel.prompt.value) == printable(f"{pair['prompt']} …")
        assert only_text(panel.left.value) == printable(pair['left'])
        assert only_text(panel.right.value) == printable(pair['right'])
        panel.act('left')
        assert panel.pair != pair, panel.message.value
    return tmp_path/'labels.jsonl'


def test_the_panel_and_its_log_keep_texts_as_they_are(labelled, tmp_path):
    labels, unreadable = read_labels(labelled)
    assert unreadable == 0
    assert sorted(label['prompt'] for label in labels) == sorted(SAMPLED)
    rows, _ = to_preferences(labels)
    write_preferences(tmp_path/'rows.jsonl', rows)
    assert read_preferences(tmp_path/'rows.jsonl')[0] == rows


@pytest.mark.parametrize('text', [r'$\frac$', '$$', '$x', r'\alpha_{', '<b>'])
def test_a_name_in_a_study_is_drawn_as_it_is(text):
    point = {'update': 0, 'n': 1, 'kl': 0.1, 'bound': 0.1, 'gold': 0.5, 'score': 0.0}
    run = {'name': text, 'seed': 0, 'rated_sentences': 1, 'points': [point]}
    figure = draw_frontier([run | {'group': 'frontier'}, run | {'group': 'best of n'}])
    try:
        figure.savefig(io.BytesIO(), dpi=30)  # where mathematics is read
    finally:
        plt.close(figure)


# in a real browser

@pytest.fixture
def page():
    with chromium_page() as page:
        yield page


def same_words(a: str, b: str) -> bool:
    return a.split() == b.split()


def test_the_report_in_a_browser(page, run_folder):
    address = (run_folder/'report.html').as_uri()
    page.goto(address)
    page.locator('details').evaluate('details => details.open = true')
    assert page.evaluate('window.ran') is None and page.dialogs == []
    asked = [url for url in page.asked if not url.startswith('data:')]
    assert asked == [address], 'a text made the page ask for something'
    assert page.locator('script, iframe, svg, object, form').count() == 0
    links = page.locator('a').evaluate_all('links => links.map(link => link.href)')
    assert links and all(link.startswith(COURSE) for link in links)
    assert page.locator('h1').count() == 1

    cells = page.locator('details td').evaluate_all('cells => cells.map(cell => cell.innerText)')
    prompts, last_responses = cells[0::7], cells[6::7]
    texts = SAMPLED + sample_tables()['ppo'].response.tolist()
    assert len(prompts) == len(SAMPLED)
    for shown, text in zip(prompts + last_responses, texts):
        assert same_words(shown, printable(text)), f'{text!r} is shown as {shown!r}'


NOTEBOOK_TEXTS = [text for text in SAMPLED if len(text) < 100]
NOTEBOOK = [
    f'''import pandas as pd
HOSTILE = {NOTEBOOK_TEXTS!r}
pd.DataFrame({{'text': HOSTILE}})''',
    '''pd.set_option('display.html.use_mathjax', False)
pd.DataFrame({'text': HOSTILE}, index=HOSTILE)''',
    '''from rlhf_nbdev.feedback import Labeler, LabelLog
pairs = [{'prompt': text, 'a': f'a {text}', 'b': f'b {text}'} for text in HOSTILE]
Labeler(LabelLog(pairs, 'labels.jsonl'), min_seconds=0)''',
]
MARKUP = 'img, svg, script, b, i, a, h1, mjx-container'
OURS = ('http://127.0.0.1', 'ws://127.0.0.1', 'data:', 'blob:', 'about:')


@pytest.fixture(scope='module')
def opened(jupyter_lab):
    "A notebook of three cells, each run: a plain table, a guarded one, the panel."
    with chromium_page() as page:
        address, _ = jupyter_lab.open('texts.ipynb', *NOTEBOOK)
        yield page, run_notebook(page, address)


def run_notebook(page, address):
    page.goto(address)
    page.get_by_text('| Idle').wait_for()
    page.locator('.jp-CodeCell .cm-content').first.click()
    for _ in NOTEBOOK:
        page.keyboard.press('Shift+Enter')
    panel = page.locator('.jp-OutputArea-output .widget-vbox').first
    panel.get_by_text(f'0 of {len(NOTEBOOK_TEXTS)}', exact=True).wait_for()
    return panel


@pytest.fixture
def notebook(opened):
    "The page and its panel; after the test, no text has run or asked for anything."
    page, panel = opened
    yield page, panel
    assert page.evaluate('window.ran') is None and page.dialogs == []
    foreign = [url for url in page.asked if not url.startswith(OURS)]
    assert not foreign, 'a text made the page ask for something'


def test_tables_in_a_notebook_show_text(notebook):
    page, _ = notebook
    tables = page.locator('.jp-OutputArea-output table')
    plain, guarded = tables.nth(0), tables.nth(1)
    plain.locator('mjx-container').first.wait_for()  # pandas' default: dollars are typeset
    assert guarded.locator(MARKUP.replace('img', 'img[src=x]')).count() == 0
    shown = guarded.locator('td').evaluate_all('cells => cells.map(cell => cell.innerText)')
    dollars = next(text for text in NOTEBOOK_TEXTS if text.startswith('$'))
    assert dollars in shown and '<script>window.ran = 1</script>' in shown


def boxes_of(panel):
    "Prompt, left and right, as a person sees them."
    return [box.inner_text() for box in panel.locator('.widget-html-content').all()][1:4]


def shows(panel, text):
    "Are prompt and both sides this text? The boxes change one after another, within moments."
    prompt, left, right = boxes_of(panel)
    sides = {left[:1]: left[1:], right[:1]: right[1:]}
    return (same_words(prompt, f'{printable(text)} …') and sides.keys() == {'a', 'b'}
            and all(same_words(side, printable(text)) for side in sides.values()))


def test_the_panel_in_a_notebook_shows_text(notebook):
    _, panel = notebook
    for done, text in enumerate(NOTEBOOK_TEXTS, 1):
        patience = time.monotonic() + 10
        while not shows(panel, text) and time.monotonic() < patience:
            time.sleep(0.1)
        assert shows(panel, text), f'{text!r} is shown as {boxes_of(panel)!r}'
        assert panel.locator(MARKUP).count() == 0
        panel.get_by_role('button', name='skip').click()
        panel.get_by_text(f'{done} of {len(NOTEBOOK_TEXTS)}', exact=True).wait_for()
