"""The chat panel: what a click writes, what stays when something fails, and a real browser.

The model is the embedded one, whose chat template lets the user begin a sentence."""
import html
import json
import re
import time
from html.parser import HTMLParser

import pytest
import torch
from browser import chromium_page
from hostile import CONTROL, HOSTILE, SAMPLED

from rlhf_nbdev.agent import Agent
from rlhf_nbdev.dialog import conversation_ids
from rlhf_nbdev.reward import PreferenceDataset, read_preferences
from rlhf_nbdev.run import chat, chat_panel
from rlhf_nbdev.run.chat import Speaker
from rlhf_nbdev.run.chat_panel import ChatPanel, reply_html, surprises
from rlhf_nbdev.run.stages import RunConfig, find_preferences
from rlhf_nbdev.tools.files import printable
from rlhf_nbdev.tools.models import load_model
from rlhf_nbdev.tools.tokens import encode

TEMPLATE = (
    "{% for m in messages %}{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ '<|endoftext|>' }}{% endif %}{% endfor %}")


@pytest.fixture(scope='module')
def speakers():
    model, tokenizer = load_model('embedded')
    tokenizer.chat_template = TEMPLATE
    agent = Agent(model)
    return [Speaker('one', agent, tokenizer), Speaker('two', agent, tokenizer)]


@pytest.fixture
def new_panel(speakers, tmp_path):
    "A function that makes a panel, which writes into a folder of its own."
    torch.manual_seed(0)

    def make(**options):
        options = {'min_seconds': 0, 'response_length': 8} | options
        return ChatPanel(speakers, tmp_path/'own'/'pairs.jsonl', **options)
    return make


@pytest.fixture
def replies(monkeypatch, speakers):
    "A function that says what the models will reply, text after text."
    tokenizer = speakers[0].tokenizer

    def script(*texts):
        waiting = [encode(tokenizer, [text])['input_ids'][0] for text in texts]
        monkeypatch.setattr(chat, 'sample_tokens', lambda *arguments: iter(waiting.pop(0)))
    return script


def say(panel, text):
    "As a person does: the text, and Enter."
    panel.typed.value = f'{text}\n'
    return panel


def click(panel, name):
    "A button by what is written on it."
    [button] = [each for each in panel.tools if each.description == name]
    button.click()


class Shown(HTMLParser):
    "Texts and tags of what the panel shows."
    def __init__(self, value):
        super().__init__()
        self.texts, self.tags, self.attributes = [], set(), set()
        self.feed(value)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attributes)

    def handle_data(self, data):
        self.texts.append(data)


def test_every_line_is_read_by_all_that_read_comparisons(new_panel, replies, speakers):
    panel = new_panel(system='Be brief.')
    said = ['no text', ' a, "b"\nand <c>', 'Assistant: 1', '\n\nHuman: 2', '[{"role": 1}]', '🎬 é',
            ' padded ', 'w'*30]
    replies(*(reply for text in said for reply in (text, f'{text} too')))
    for i, text in enumerate(said):
        say(panel, f'{text}?')
        panel.better[i % 2].click()
        assert 'Written to' in panel.message.value, panel.message.value
    rows, left_out = read_preferences(panel.path)
    assert len(rows) == len(said) and not any(left_out.values())
    answers = [{row['chosen'].strip(), row['rejected'].strip()} for row in rows]
    assert answers == [{text.strip(), f'{text} too'.strip()} for text in said]
    assert rows[0]['prompt'] == '\n\nSystem: Be brief.\n\nHuman: no text?\n\nAssistant:'
    assert all(rows[i]['prompt'] in rows[i + 1]['prompt'] + 'Assistant:' for i in range(7))
    assert len(PreferenceDataset(speakers[0].tokenizer, panel.path, max_length=4096)) == len(said)
    train, held_out, left_out = find_preferences(RunConfig(preferences=str(panel.path)))
    assert len(train) + len(held_out) == len(said) and not any(left_out.values())


def test_a_click_may_disagree_with_the_score(new_panel, replies):
    "A file that held the scores would lose the line."
    panel = new_panel(score=lambda responses: [len(text) for text in responses])
    replies('short', 'a longer one')
    say(panel, 'How?')
    panel.better[0].click()
    rows, left_out = read_preferences(panel.path)
    assert rows[0]['chosen'] == ' short' and not any(left_out.values())


def test_a_pair_is_written_once_and_only_after_it_could_be_read(new_panel):
    panel = say(new_panel(min_seconds=60), 'The film is')
    panel.better[0].click()
    assert 'before the replies could be read' in panel.message.value
    assert not panel.path.exists()
    panel.min_seconds = 0
    for i in (1, 1, 0):
        panel.better[i].click()
    [line] = panel.path.read_text().splitlines()
    assert json.loads(line)['chosen_model'] == 'two'
    assert all(button.disabled for button in panel.better)


def test_the_better_reply_goes_on_in_both_histories(new_panel, speakers):
    panel = say(new_panel(), 'The film is')
    reply = panel.exchanges[0].replies[0]
    panel.better[0].click()
    say(panel, 'The actors are')
    one, two = panel.chat.speakers
    for speaker in (one, two):
        texts = [(question['content'], answer['content']) for question, answer in speaker.turns]
        assert texts[0] == ('The film is', reply['content'])
    first, _ = conversation_ids(one.tokenizer, [one.turns[0][0]], prompt=True)
    read = panel.chat.prompts('And')[0][0]
    assert read[:len(first + reply['ids'])] == first + reply['ids']  # as it was sampled
    assert 'ids' not in two.turns[0][1]  # through a tokenizer of its own
    assert not any(button.disabled for button in panel.better)
    assert speakers[0].turns == speakers[1].turns == []  # whoever was handed in is left as he was


def test_without_a_choice_nothing_can_be_compared_until_it_is_made_up_for(new_panel):
    panel = say(say(new_panel(), 'The film is'), 'The actors are')
    assert 'have not read the same conversation' in panel.message.value
    assert all(button.disabled for button in panel.better)
    panel.act(lambda: panel.choose(0))  # a click that was on its way
    assert not panel.path.exists()
    click(panel, 'Undo')
    panel.better[0].click()
    say(panel, 'The actors are')
    panel.better[1].click()
    assert len(read_preferences(panel.path)[0]) == 2


@pytest.mark.parametrize('texts', [('a', 'a '), ('', 'b'), (' \n', 'b')])
def test_replies_that_leave_nothing_to_choose_are_not_written(new_panel, replies, texts):
    panel = new_panel()
    replies(*texts)
    say(panel, 'How?')
    assert 'there must be two replies' in panel.message.value
    panel.act(lambda: panel.choose(1))
    assert not panel.path.exists()


def test_models_that_have_read_more_or_less_are_not_compared(new_panel, replies):
    panel = new_panel()
    replies('a', 'b', 'c', 'd')
    say(panel, 'How?')
    panel.better[0].click()
    prompts = panel.chat.prompts
    panel.chat.prompts = lambda text: [(ids, i) for i, (ids, _) in enumerate(prompts(text))]
    say(panel, 'Why?')
    assert 'context of two is full' in panel.message.value
    assert 'have not read the same' in panel.message.value


def test_undo_takes_back_one_step_and_no_line_of_others(new_panel):
    panel = new_panel()
    panel.path.parent.mkdir(exist_ok=True)
    panel.path.write_bytes(b'{"theirs": 1}\r\ntorn')
    say(panel, 'The film is')
    panel.better[0].click()
    say(panel, 'The actors are')
    panel.better[1].click()
    panel.path.write_bytes(panel.path.read_bytes() + b'{"behind": 2}\n')
    for lines, turns in ((1, 2), (1, 1), (0, 1), (0, 0), (0, 0)):
        click(panel, 'Undo')
        assert panel.path.read_bytes().count(b'"prompt"') == lines
        assert all(len(speaker.turns) == turns for speaker in panel.chat.speakers)
    assert panel.path.read_bytes() == b'{"theirs": 1}\r\ntorn\n{"behind": 2}\n'
    assert 'nothing to take back' in panel.message.value


def test_an_undone_choice_gives_each_model_its_own_reply_back(new_panel):
    panel = say(new_panel(), 'The film is')
    panel.better[0].click()
    click(panel, 'Undo')
    assert [each.turns[0][1] for each in panel.chat.speakers] == panel.exchanges[0].replies
    assert not any(button.disabled for button in panel.better)
    panel.better[1].click()
    assert [row['chosen_model'] for row in map(json.loads, panel.path.open())] == ['two']


def test_an_undo_whose_line_is_gone_changes_nothing(new_panel):
    panel = say(new_panel(), 'The film is')
    panel.better[0].click()
    panel.path.write_text('')
    click(panel, 'Undo')
    assert 'no longer in' in panel.message.value
    assert panel.exchanges[0].chosen == 0


def test_a_new_conversation_leaves_the_file(new_panel):
    panel = say(new_panel(), 'The film is')
    panel.better[0].click()
    click(panel, 'New conversation')
    assert panel.exchanges == [] and all(not each.turns for each in panel.chat.speakers)
    click(panel, 'Undo')
    assert len(read_preferences(panel.path)[0]) == 1


@pytest.mark.parametrize('error, line', [
    (torch.OutOfMemoryError('CUDA out of memory'), 'out of memory in the conversation'),
    (KeyboardInterrupt(), 'Stopped, and nothing has changed'),
    (FloatingPointError('not numbers'), 'not numbers'),
    (RuntimeError('two\nlines'), 'two lines'),
], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize('place', ['sample_tokens', 'surprises'])
def test_what_fails_is_one_line_and_nothing_is_lost(new_panel, monkeypatch, error, line, place):
    panel = say(new_panel(), 'The film is')
    before = [list(speaker.turns) for speaker in panel.chat.speakers]
    module = chat if place == 'sample_tokens' else chat_panel
    works, calls = getattr(module, place), []

    def fail_at_the_second(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise error
        return works(*arguments)

    monkeypatch.setattr(module, place, fail_at_the_second)
    say(panel, 'The actors are')
    shown = html.unescape(re.sub('<[^>]*>', '', panel.message.value))
    assert line in shown and '\n' not in shown
    assert [speaker.turns for speaker in panel.chat.speakers] == before
    assert panel.typed.value == 'The actors are' and not panel.typed.disabled
    assert len(panel.exchanges) == 1 and not panel.better[0].disabled
    monkeypatch.undo()
    click(panel, 'Send')
    assert len(panel.exchanges) == 2 and panel.typed.value == ''


def test_a_message_without_room_and_a_full_context(new_panel):
    panel = new_panel()
    say(panel, 'long '*400)
    assert 'fewer words, or lower response_length' in panel.message.value
    assert panel.typed.value.startswith('long long') and not panel.exchanges
    for n in range(9):
        say(panel, 'a film with a dog '*5)
        if 'is full' in panel.message.value:
            break
    assert 'context of one is full' in panel.message.value and len(panel.exchanges) == n + 1


def test_half_a_character_and_a_disk_that_fails_are_said(new_panel):
    panel = say(new_panel(), 'half \ud800')
    assert 'half a character' in panel.message.value and not panel.exchanges
    say(panel, 'The film is')
    panel.path.mkdir(parents=True)
    panel.better[0].click()
    assert 'Is a directory' in panel.message.value
    assert panel.exchanges[0].chosen is None
    assert panel.chat.speakers[1].turns[0][1] == panel.exchanges[0].replies[1]


def test_clicks_while_a_reply_is_written_are_not_counted(new_panel):
    panel = say(new_panel(), 'The film is')
    with panel.busy:
        panel.act(panel.undo)
        panel.better[0].click()
        say(panel, 'The actors are')
    assert len(panel.exchanges) == 1 and not panel.path.exists()
    assert panel.typed.value == 'The actors are'


def test_a_reply_is_seen_while_it_is_written(new_panel, replies):
    panel, seen = new_panel(), []
    panel.latest.observe(lambda change: seen.append(change['new']), 'value')
    replies('one two three', 'four five six')
    say(panel, 'Count')
    texts = [''.join(Shown(each).texts) for each in seen]
    for growing in ('Countoneoneis writing …twowaits', 'Countoneone twois writing …twowaits'):
        assert growing in texts
    assert any(re.search('nats a token.*twofour fiveis writing', text) for text in texts)


def test_surprise_is_that_of_the_sampled_distribution(speakers):
    agent, tokenizer = speakers[0].agent, speakers[0].tokenizer
    prompt = tokenizer('The film is')['input_ids']
    row = torch.tensor([prompt])
    for temperature in (0.5, 1.5):
        rollout = agent.generate(row, torch.ones_like(row), 12, temperature)
        nats = surprises(agent, prompt, rollout.responses[0].tolist(), temperature)
        torch.testing.assert_close(
            torch.tensor(nats), -rollout.logprobs[0], atol=0.15, rtol=0.05)  # bfloat16's


@pytest.mark.parametrize('text', HOSTILE, ids=ascii)
def test_a_piece_of_a_reply_is_text(text):
    "Whatever stands in one piece: a token of another model may be a whole tag."
    drawn = Shown(reply_html([(text, 1.0), (text, 9.0)]))
    assert ''.join(drawn.texts) == printable(text)*2
    assert drawn.tags == {'div', 'span'} and drawn.attributes == {'style', 'title'}


@pytest.mark.parametrize('text', [text for text in SAMPLED if len(text) < 1000], ids=ascii)
def test_all_that_is_said_is_shown_as_text(speakers, replies, tmp_path, text):
    named = [Speaker(f'{text}{i}', each.agent, each.tokenizer) for i, each in enumerate(speakers)]

    def score(responses):
        raise ValueError(text)

    panel = ChatPanel(named, tmp_path/'pairs.jsonl', score, min_seconds=0, response_length=8)
    replies(f'1{text}', f'2{text}')
    say(panel, text)
    drawn = Shown(panel.latest.value)
    assert drawn.tags <= {'div', 'span'} and drawn.attributes <= {'style', 'title'}
    assert not CONTROL.search(panel.latest.value + panel.message.value)
    shown = ''.join(drawn.texts)
    for said in (text.strip(), f'1{text}', f'2{text}', f'{text}0'):
        assert printable(said) in shown
    panel.better[0].click()
    record = json.loads(panel.path.read_text())
    assert record['prompt'][0]['content'] == text.strip()
    assert record['chosen'][0]['content'] == f'1{text}'
    rows, left_out = read_preferences(panel.path)
    assert len(rows) == 1 and not any(left_out.values())


def test_what_the_panel_refuses(speakers, tmp_path):
    one = speakers[0]
    with pytest.raises(ValueError, match='one model, or two'):
        ChatPanel([one, one])
    with pytest.raises(ValueError, match='one model, or two'):
        ChatPanel([])
    with pytest.raises(IsADirectoryError, match='is a folder'):
        ChatPanel(speakers, tmp_path)
    _, untaught = load_model('embedded')
    with pytest.raises(ValueError, match='no chat template'):
        ChatPanel([Speaker('x', one.agent, untaught)])


@pytest.mark.parametrize('name', ['pairs.csv', 'pairs.tsv', 'pairs.json', 'pairs'])
def test_a_file_that_would_not_be_read_as_json_lines_is_refused(speakers, tmp_path, name):
    with pytest.raises(ValueError, match='name a file that ends with .jsonl'):
        ChatPanel(speakers, tmp_path/'own'/name)
    assert not (tmp_path/'own').exists()


@pytest.mark.parametrize('data, told', [
    (json.dumps([{'a': 1}], indent=1).encode(), 'line 1 is no JSON object: mend or remove it'),
    (b'[{"a": 1}]\n', 'line 1 is no JSON object'),
    (b'{"a": 1}\n\nprompt,chosen\n', 'line 3 is no JSON object'),
    ('{"a": 1}\n'.encode('utf-16'), 'no text in UTF-8: save it as UTF-8'),
    ('{"a": 1}'.encode('utf-16-le'), 'no text in UTF-8'),
    ('{"a": "é"}\n'.encode('latin-1'), 'no text in UTF-8'),
])
def test_nothing_is_added_to_what_are_no_json_lines(speakers, tmp_path, data, told):
    path = tmp_path/'pairs.jsonl'
    path.write_bytes(data)
    with pytest.raises(ValueError, match=told) as refused:
        ChatPanel(speakers, path)
    assert str(path) in str(refused.value) and '\n' not in str(refused.value)
    assert path.read_bytes() == data


@pytest.mark.parametrize('data', [b'', b'\xef\xbb\xbf{"a": 1}\r\n\r\n', '{"a": "é"}'.encode()])
def test_json_lines_are_added_to(new_panel, tmp_path, data):
    (tmp_path/'own').mkdir()
    (tmp_path/'own'/'pairs.jsonl').write_bytes(data)
    panel = say(new_panel(), 'The film is')
    panel.better[0].click()
    assert panel.path.read_bytes().startswith(data) and b'"prompt"' in panel.path.read_bytes()


def test_behind_a_link_the_file_itself_is_written_and_undone(speakers, tmp_path):
    real, link = tmp_path/'real.jsonl', tmp_path/'link.jsonl'
    link.symlink_to(real)
    panel = say(ChatPanel(speakers, link, min_seconds=0, response_length=8), 'The film is')
    panel.better[0].click()
    assert real.read_bytes().count(b'"prompt"') == 1
    click(panel, 'Undo')
    assert link.is_symlink() and real.read_bytes() == b''
    panel.better[1].click()
    assert real.read_bytes().count(b'"prompt"') == 1


def test_the_file_stays_where_it_was_when_the_notebook_changes_its_folder(
        speakers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'elsewhere').mkdir()
    panel = say(ChatPanel(speakers, 'p.jsonl', min_seconds=0, response_length=8), 'The film is')
    panel.better[0].click()
    monkeypatch.chdir('elsewhere')
    click(panel, 'Undo')
    assert (tmp_path/'p.jsonl').read_bytes() == b''
    panel.better[1].click()
    assert (tmp_path/'p.jsonl').read_bytes() and not any((tmp_path/'elsewhere').iterdir())


def test_a_tilde_is_the_home_folder(speakers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path/'home'))
    monkeypatch.setenv('USERPROFILE', str(tmp_path/'home'))
    panel = say(ChatPanel(speakers, '~/p.jsonl', min_seconds=0, response_length=8), 'The film is')
    panel.better[0].click()
    assert (tmp_path/'home'/'p.jsonl').is_file() and not (tmp_path/'~').exists()


def test_a_folder_that_cannot_be_written_to_is_refused_at_once(speakers, tmp_path):
    (tmp_path/'f.txt').write_text('')
    for path in (tmp_path/'f.txt'/'p.jsonl', tmp_path/'f.txt'/'a'/'p.jsonl', '/proc/p.jsonl'):
        with pytest.raises(OSError, match='name a file in another folder'):
            ChatPanel(speakers, path)


@pytest.mark.parametrize('name, numbers', [
    ('temperature', [0, -1, float('nan'), float('inf')]),
    ('response_length', [0, -1, 2.5]),
])
def test_numbers_that_nothing_can_be_sampled_with_are_refused(new_panel, name, numbers):
    for number in numbers:
        with pytest.raises(ValueError, match=f'{name} must be a .*number above 0, not {number}'):
            new_panel(**{name: number})


def test_one_model_has_nothing_to_compare(speakers, tmp_path):
    panel = ChatPanel(speakers[:1], tmp_path/'pairs.jsonl', response_length=4)
    say(say(panel, 'The film is'), 'The actors are')
    assert len(panel.exchanges) == 2 and panel.message.value == ''
    panel.act(lambda: panel.choose(0))
    assert not (tmp_path/'pairs.jsonl').exists()
    assert panel.better[0] not in [each for row in panel.panel.children
                                   for each in getattr(row, 'children', [])]


CELL = f'''import torch
from rlhf_nbdev.agent import Agent
from rlhf_nbdev.run.chat import Speaker
from rlhf_nbdev.run.chat_panel import ChatPanel
from rlhf_nbdev.tools.models import load_model
model, tokenizer = load_model('embedded')
tokenizer.chat_template = {TEMPLATE!r}
agent = Agent(model)
speakers = [Speaker(name, agent, tokenizer) for name in ('one <b>', 'two')]
torch.manual_seed(0)

def score(responses):
    raise ValueError('<img src=x onerror="window.ran = 1">')

ChatPanel(speakers, score=score, response_length=8)'''
HOSTILE_MESSAGE = '<script>window.ran = 2</script> $x^2$ <b>*all* of it</b>, sent by Enter'


class Page:
    "What a person sees of the panel in JupyterLab, and can do."
    def __init__(self, page, folder):
        self.page, self.path = page, folder/'my_comparisons.jsonl'
        self.output = page.locator('.jp-OutputArea-output .widget-vbox').first
        self.field = self.output.get_by_role('textbox')

    def run_cell(self):
        self.page.get_by_text('| Idle').wait_for()
        self.page.locator('.jp-CodeCell .cm-content').first.click()
        self.page.keyboard.press('Control+Enter')
        self.field.wait_for()

    def say(self, text, n_replies):
        self.field.click()
        self.page.keyboard.type(text)
        self.page.keyboard.press('Enter')
        self.sees('nats a token', n_replies)
        time.sleep(0.75)  # what comes within 0.7 s is refused as unread

    def sees(self, text, n=1):
        self.output.get_by_text(text).nth(n - 1).wait_for()

    def better(self, i):
        return self.output.get_by_role('button', name='this one is better').nth(i)

    def rows(self):
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def undo(self, told):
        self.output.get_by_role('button', name='Undo').click()
        self.sees(told)

    def save_and_reload(self):
        self.page.locator('.jp-CodeCell .cm-content').first.click()
        self.page.keyboard.press('Control+s')
        self.page.locator('.jp-mod-dirty').wait_for(state='detached')
        self.page.reload()


@pytest.fixture
def in_lab(jupyter_lab):
    "The panel in a notebook of its own, before its cell is run."
    address, folder = jupyter_lab.open('chat.ipynb', CELL)
    with chromium_page() as page:
        page.goto(address)
        yield Page(page, folder)


def test_in_a_browser(in_lab):
    panel, page = in_lab, in_lab.page
    panel.run_cell()
    panel.say(HOSTILE_MESSAGE, 2)
    assert panel.field.input_value() == ''
    panel.sees('no score (ValueError: <img src=x', 2)
    panel.better(1).dblclick()
    panel.sees('✓ better')
    assert [row['prompt'] for row in panel.rows()] == [
        [{'role': 'user', 'content': HOSTILE_MESSAGE}]], 'not all of the message was sent'
    assert panel.output.locator('img, script, b, mjx-container').count() == 0
    assert page.evaluate('window.ran') is None, 'a text was run'
    page.keyboard.type('The actors are')  # the field is in focus again
    page.keyboard.press('Enter')
    panel.sees('nats a token', 4)
    panel.undo('taken back: The actors are')
    panel.save_and_reload()
    panel.sees('✓ better')  # the kernel lives, and so does the conversation
    panel.undo('the choice, and its line')
    assert panel.rows() == []
    panel.better(0).click()
    panel.sees('Written to')
    assert panel.rows()[0]['chosen_model'] == 'one <b>'
    assert page.locator('.jp-Cell').count() == 1 and not page.dialogs
