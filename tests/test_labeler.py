"""The labeling panel in JupyterLab, in a real browser.

Clicks, keys, undo, a kernel that dies, texts that would run if they could."""
import json
import os
import signal
import time

import pytest
from browser import chromium_page

from rlhf_nbdev.feedback import read_labels, to_preferences

PAIRS = [
    {'prompt': 'Costs',
     'a': ' $x^2$ and $$y$$ and \\(z\\)',
     'b': ' **bold** and `code` and _this_'},
    {'prompt': 'One $p$ <i>*two*',
     'a': '<script>window.ran = 1</script> & <b>bold</b> &amp;',
     'b': '<img src=x onerror="window.ran = 2"> </div></div>'},
    {'prompt': 'The star of this film is the',
     'a': ' fact that it never pretends to be more than it is, though the script is thin.',
     'b': ' only reason to see it.'},
    {'prompt': 'Lines', 'a': '# one\n  two', 'b': ' "q" \'q\' <svg onload="window.ran = 3">'},
    {'prompt': 'Five', 'a': ' a', 'b': ' b'},
    {'prompt': 'Six', 'a': ' a', 'b': ' b'},
]
CELL = f'''import os
from rlhf_nbdev.feedback import Labeler, LabelLog
open('pid', 'w').write(str(os.getpid()))
Labeler(LabelLog({PAIRS!r}, 'labels.jsonl'))'''
MARKUP = 'img, svg, script, b, i, mjx-container'


class Panel:
    "What a person sees of the panel, and can do."
    def __init__(self, page, folder):
        self.page, self.folder = page, folder
        self.output = page.locator('.jp-OutputArea-output .widget-vbox').first
        self.pair = None  # that was looked at last

    def run_cell(self, progress):
        self.page.get_by_text('| Idle').wait_for()
        self.page.locator('.jp-CodeCell .cm-content').first.click()
        self.page.keyboard.press('Control+Enter')
        self.sees(progress)

    def sees(self, text):
        self.output.get_by_text(text, exact=True).wait_for()
        time.sleep(0.75)  # whatever comes within 0.7 s is refused as unread

    def texts(self):
        "Prompt, left, right."
        boxes = self.output.locator('.widget-html-content').all()
        return [box.inner_text() for box in boxes][1:4]

    def click(self, name):
        self.output.get_by_role('button', name=name).click()

    def type(self, keys):
        self.output.get_by_role('textbox').click()
        self.page.keyboard.type(keys)

    def save_notebook(self):
        self.page.locator('.jp-CodeCell .cm-content').first.click()  # the panel keeps its keys
        self.page.keyboard.press('Control+s')
        self.page.locator('.jp-mod-dirty').wait_for(state='detached')

    def records(self):
        lines = (self.folder/'labels.jsonl').read_text().splitlines()
        return [json.loads(line) for line in lines]

    def look_at(self, i):
        "Pair `i` is shown, as text and as nothing else."
        prompt, left, right = self.texts()
        assert prompt == f"{PAIRS[i]['prompt']} …", f'pair {i} is not shown, or not as it is'
        assert {left, right} == {PAIRS[i]['a'], PAIRS[i]['b']}, 'a text is not shown as it is'
        assert self.page.evaluate('window.ran') is None, 'a text of the model was run'
        assert self.output.locator(MARKUP).count() == 0, 'a text was read as markup'
        self.pair = {'prompt': PAIRS[i]['prompt'], 'left': left, 'right': right}
        return self.pair

    def has_saved(self, choice, progress):
        "The file holds the label as soon as the page shows the next pair."
        self.sees(progress)
        typed = self.output.get_by_role('textbox').input_value()
        assert typed == '', 'the field for keys does not empty itself'
        record = self.records()[-1]
        assert record | self.pair | {'choice': choice} == record
        assert record['seconds'] > 0 and record['when'].startswith('20')


@pytest.fixture
def panel(jupyter_lab):
    "The panel in a notebook of its own, before its cell is run."
    address, folder = jupyter_lab.open('panel.ipynb', CELL)
    with chromium_page() as page:
        page.goto(address)
        yield Panel(page, folder)


def label_three(panel):
    "By click, by a key right after it, and undone; three pairs are looked at."
    first = panel.look_at(0)
    panel.click('left is better')
    panel.has_saved('left', '1 of 6')
    second = panel.look_at(1)
    panel.page.keyboard.type('2')  # nothing else was clicked
    panel.has_saved('right', '2 of 6')
    third = panel.look_at(2)
    panel.type('3')
    panel.has_saved('tie', '3 of 6')
    panel.type('u')
    panel.sees('2 of 6')
    assert panel.records()[-1] == {'undo': True}
    assert panel.look_at(2) == third, 'the undone pair comes back as it was'
    return first, second, third


def reload_the_page(panel, third):
    "While the kernel lives the count is there, and the panel works."
    panel.save_notebook()
    panel.page.reload()
    panel.sees('2 of 6')
    assert panel.look_at(2) == third
    panel.click('no difference')
    panel.has_saved('tie', '3 of 6')
    panel.click('undo')
    panel.sees('2 of 6')


def lose_the_kernel(panel):
    "Without a kernel the page shows what was saved: no count, which later clicks make false."
    panel.save_notebook()
    saved = json.loads((panel.folder/'panel.ipynb').read_text())
    assert ' of 6' not in json.dumps(saved['cells']), 'a count is saved with the cell'
    before = panel.records()
    os.kill(int((panel.folder/'pid').read_text()), signal.SIGKILL)
    panel.page.reload()
    panel.page.get_by_text('| Idle').wait_for()
    assert ' of 6' not in panel.page.locator('.jp-Notebook').inner_text()
    panel.run_cell('2 of 6')
    assert panel.records() == before


def label_the_rest(panel):
    panel.click('skip')
    panel.has_saved('skip', '3 of 6')
    panel.look_at(3)
    panel.click('no difference')
    panel.has_saved('tie', '4 of 6')
    fifth = panel.look_at(4)
    before = panel.records()
    panel.type('11111')
    panel.has_saved('left', '5 of 6')
    assert len(panel.records()) == len(before) + 1, 'a key held down labels unread pairs'
    panel.look_at(5)
    panel.click('right is better')
    panel.has_saved('right', '6 of 6')
    return fifth


def test_label_in_a_browser(panel):
    panel.run_cell('0 of 6')
    first, second, third = label_three(panel)
    reload_the_page(panel, third)
    lose_the_kernel(panel)
    assert panel.look_at(2) == third, 'the second session does not go on where the first was cut'
    fifth = label_the_rest(panel)

    panel.sees('All pairs have their label. Thank you.')
    assert panel.output.get_by_role('button', name='skip').is_disabled()
    panel.click('undo')
    panel.sees('5 of 6')
    panel.look_at(5)
    panel.type('s')
    panel.has_saved('skip', '6 of 6')
    cell = panel.page.locator('.jp-CodeCell .cm-content').first.inner_text()
    assert cell.strip() == CELL, 'a key reached the notebook'
    assert panel.page.locator('.jp-Cell').count() == 1

    labels, unreadable = read_labels(panel.folder/'labels.jsonl')
    choices = [label['choice'] for label in labels]
    assert choices == ['left', 'right', 'skip', 'tie', 'left', 'skip'] and unreadable == 0
    rows, left_out = to_preferences(labels)
    assert left_out == {'tie': 1, 'skip': 2}
    chosen = [row['chosen'] for row in rows]
    assert chosen == [first['left'], second['right'], fifth['left']]
