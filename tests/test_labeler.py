"The labeling panel in JupyterLab, in a real browser: clicks, keys, undo, a kernel that dies, texts that would run if they could."
import json, os, shutil, signal, time
import pytest

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
if CHROMIUM is None: pytest.skip('no Chromium on this machine (Debian: apt-get install chromium)', allow_module_level=True)
sync_api = pytest.importorskip('playwright.sync_api', reason='the Python package playwright is missing (pip install playwright; it needs no browsers of its own)')

PAIRS = [{'prompt': 'Costs', 'a': ' $x^2$ and $$y$$ and \\(z\\)', 'b': ' **bold** and `code` and _this_'},
         {'prompt': 'One $p$ <i>*two*', 'a': '<script>window.ran = 1</script> & <b>bold</b> &amp;', 'b': '<img src=x onerror="window.ran = 2"> </div></div>'},
         {'prompt': 'The star of this film is the', 'a': ' fact that it never pretends to be more than it is, though the script is thin.', 'b': ' only reason to see it.'},
         {'prompt': 'Lines', 'a': '# one\n  two', 'b': ' "q" \'q\' <svg onload="window.ran = 3">'},
         {'prompt': 'Five', 'a': ' a', 'b': ' b'},
         {'prompt': 'Six', 'a': ' a', 'b': ' b'}]
CELL = f'''import os
from rlhf_nbdev.feedback import Labeler, LabelLog
open('pid', 'w').write(str(os.getpid()))
Labeler(LabelLog({PAIRS!r}, 'labels.jsonl'))'''


@pytest.fixture
def address(jupyter_lab): return jupyter_lab('panel.ipynb', CELL)  # JupyterLab in a folder of its own, with one notebook in it


class Panel:
    "What a person sees of the panel, and can do."
    def __init__(self, page, folder): self.page, self.folder, self.output = page, folder, page.locator('.jp-OutputArea-output .widget-vbox').first

    def run_cell(self, progress):
        self.page.get_by_text('| Idle').wait_for()
        self.page.locator('.jp-CodeCell .cm-content').first.click()
        self.page.keyboard.press('Control+Enter')
        self.sees(progress)

    def sees(self, text):
        self.output.get_by_text(text, exact=True).wait_for()
        time.sleep(0.35)  # whatever comes within 0.3 s is refused as unread

    def texts(self): return [box.inner_text() for box in self.output.locator('.widget-html-content').all()][1:4]  # prompt, left, right

    def click(self, name): self.output.get_by_role('button', name=name).click()

    def type(self, keys):
        self.output.get_by_role('textbox').click()
        self.page.keyboard.type(keys)

    def file(self): return [json.loads(line) for line in (self.folder/'root'/'labels.jsonl').read_text().splitlines()]

    def check_pair(self, i):
        prompt, left, right = self.texts()
        assert prompt == f"{PAIRS[i]['prompt']} …", f'pair {i} is not the one that is shown, or its prompt is not shown as it is'
        assert sorted([left, right]) == sorted([PAIRS[i]['a'], PAIRS[i]['b']]), 'a text is not shown as it is'
        assert self.page.evaluate('window.ran') is None, 'a text of the model was run'
        assert self.output.locator('img, svg, script, b, i, mjx-container').count() == 0, 'a text of the model was read as markup'
        return {'prompt': PAIRS[i]['prompt'], 'left': left, 'right': right}


def test_label_in_a_browser(address, tmp_path):
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        page = browser.new_page(viewport={'width': 1200, 'height': 800})
        page.set_default_timeout(60_000)
        page.goto(address)
        panel = Panel(page, tmp_path)
        panel.run_cell('0 of 6')
        shown = [panel.check_pair(0)]

        def then(choice, progress):  # the file holds the label as soon as the page shows the next pair
            panel.sees(progress)
            assert panel.output.get_by_role('textbox').input_value() == '', 'the field for keys does not empty itself'
            record = panel.file()[-1]
            assert {key: record.get(key) for key in ('prompt', 'left', 'right', 'choice')} == shown[-1] | {'choice': choice}
            assert record['seconds'] > 0 and record['when'].startswith('20')

        panel.click('left is better'); then('left', '1 of 6')
        panel.output.screenshot(path=tmp_path/'nasty.png')
        shown.append(panel.check_pair(1)); panel.type('2'); then('right', '2 of 6')
        shown.append(panel.check_pair(2)); panel.type('3'); then('tie', '3 of 6')
        panel.type('u'); panel.sees('2 of 6')
        assert panel.file()[-1] == {'undo': True}
        assert panel.check_pair(2) == shown[-1], 'the undone pair comes back as it was'
        panel.output.screenshot(path=tmp_path/'labeler.png')

        os.kill(int((tmp_path/'root'/'pid').read_text()), signal.SIGKILL)  # the kernel dies, and the page is loaded anew
        before = panel.file()
        page.reload()
        panel.run_cell('2 of 6')
        assert panel.file() == before and panel.check_pair(2) == shown[-1], 'the second session does not go on where the first was cut off'

        panel.click('skip'); then('skip', '3 of 6')
        shown.append(panel.check_pair(3)); panel.click('no difference'); then('tie', '4 of 6')
        shown.append(panel.check_pair(4)); panel.type('11111'); then('left', '5 of 6')
        assert len(panel.file()) == len(before) + 3, 'a key held down labels pairs that nobody has read'
        shown.append(panel.check_pair(5)); panel.click('right is better'); then('right', '6 of 6')
        panel.sees('All pairs have their label. Thank you.')
        assert panel.output.get_by_role('button', name='skip').is_disabled()
        panel.click('undo'); panel.sees('5 of 6')
        panel.type('s'); then('skip', '6 of 6')
        assert page.locator('.jp-CodeCell .cm-content').first.inner_text().strip() == CELL, 'a key reached the notebook'
        assert page.locator('.jp-Cell').count() == 1
        page.screenshot(path=tmp_path/'page.png')
        browser.close()
    from rlhf_nbdev.feedback import read_labels, to_preferences
    labels, unreadable = read_labels(tmp_path/'root'/'labels.jsonl')
    assert [label['choice'] for label in labels] == ['left', 'right', 'skip', 'tie', 'left', 'skip'] and unreadable == 0
    rows, left_out = to_preferences(labels)
    assert left_out == {'tie': 1, 'skip': 2} and [row['chosen'] for row in rows] == [shown[0]['left'], shown[1]['right'], shown[4]['left']]
