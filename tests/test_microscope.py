"One response under the microscope: the right numbers at the right tokens, and text that is text."
import io
import math
from html.parser import HTMLParser
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
import torch
from browser import chromium_page
from hostile import CONTROL, HOSTILE, SAMPLED

from rlhf_nbdev.tools.files import printable
from rlhf_nbdev.tools.microscope import draw_microscope, microscope, microscope_page, strip_lines

WORDS = ['pad', 'Was', ' it', ' good', '?', ' Yes', '.\n', ' Why', ' so', '<end>']
MASK = torch.tensor([[1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]])  # (B, R)
NUMBERS = torch.arange(18.0).view(3, 6)  # (B, R) row 0: 0 to 5
TAGS = {'html', 'meta', 'title', 'style', 'h1', 'p', 'div', 'table', 'tr', 'th', 'td'}
ATTRIBUTES = {'lang', 'charset', 'name', 'content', 'style', 'title', 'class'}


def says(words):
    "A tokenizer whose tokens are these words."
    return SimpleNamespace(decode=lambda ids, **options: words[ids[0]])


def rollout():
    "Three responses of up to six tokens: one that ends, one of two turns, one of nothing."
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6, 9, 0, 0, 0],
                           [1, 2, 3, 4, 5, 6, 7, 8, 9, 0],
                           [1, 2, 3, 4, 0, 0, 0, 0, 0, 0]])
    return SimpleNamespace(tokens=tokens, response_mask=MASK)


def look(row=0, **columns):
    return microscope(rollout(), says(WORDS), columns or {'k1': NUMBERS}, row)


class Strips(HTMLParser):
    "The rows of a page's tables, a list of cells each; a tag that is not one of ours fails."
    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.rows, self.is_cell = [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        names = {name for name, _ in attributes}
        assert tag in TAGS and names <= ATTRIBUTES, f'<{tag} {attributes}> came with a text'
        self.is_cell = tag in ('th', 'td')
        if tag == 'tr':
            self.rows.append([])
        if self.is_cell:
            self.rows[-1].append({'text': '', **dict(attributes)})

    def handle_data(self, data):
        if self.is_cell:
            self.rows[-1][-1]['text'] += data

    def handle_endtag(self, tag):
        self.is_cell = False


def texts_of(page):
    return [[cell['text'] for cell in row] for row in Strips(page).rows]


def drawn(updates, title=''):
    "The texts of the picture, each with its line; the picture is drawn in full."
    figure = draw_microscope(updates, title)
    try:
        figure.savefig(io.BytesIO(), dpi=30)
        return [(text.get_position()[1], text.get_text()) for text in figure.axes[0].texts]
    finally:
        plt.close(figure)


# the table

def test_each_token_has_its_own_numbers_and_padding_is_left_out():
    table = look()
    assert table['token'].tolist() == ['␣Yes', '.↵', '<end>'] != WORDS[5:7]
    assert table['k1'].tolist() == [0, 1, 2]


def test_rows_are_told_apart_and_what_nobody_sampled_is_kept_between_turns():
    table = look(1)
    assert table['token'].tolist() == ['␣Yes', '.↵', '␣Why', '␣so', '<end>']
    assert table['sampled'].tolist() == [True, True, False, False, True]
    assert table['k1'].tolist() == [6, 7, 8, 9, 10]


def test_a_column_may_need_a_gradient_be_in_half_precision_or_hold_truths():
    table = look(a=NUMBERS.clone().requires_grad_(), b=NUMBERS.bfloat16(), c=NUMBERS > 1)
    assert table['a'].tolist() == table['b'].tolist() == [0, 1, 2]
    assert table['c'].tolist() == [False, False, True]


@pytest.mark.parametrize('columns, row, words', [
    ({'k1': NUMBERS}, 3, 'no row 3: the rollout has rows 0 to 2'),
    ({'k1': NUMBERS}, -1, 'no row -1'),
    ({'k1': NUMBERS}, 2, 'nothing was sampled in row 2'),
    ({'k1': NUMBERS[:, :5]}, 0, r"'k1' must be .* \(3, 6\).*not \(3, 5\)"),
    ({'k1': NUMBERS[0]}, 0, r'not \(6,\)'),
    ({'k1': [1.0]*6}, 0, 'not list'),
    ({'token': NUMBERS}, 0, "'token' is taken"),
])
def test_what_cannot_be_right_is_refused_in_one_line(columns, row, words):
    with pytest.raises(ValueError, match=words) as error:
        microscope(rollout(), says(WORDS), columns, row)
    assert '\n' not in str(error.value)


# numbers, colours, two updates

def test_the_page_has_each_number_under_its_token():
    assert texts_of(microscope_page({'now': look()})) == [
        ['token', '␣Yes', '.↵', '<end>'], ['k1', '0.00', '1.00', '2.00']]


def test_nothing_stands_under_a_token_that_nobody_sampled():
    tokens, numbers = Strips(microscope_page({'now': look(1)})).rows
    assert [cell['text'] for cell in numbers] == ['k1', '6.00', '7.00', '', '', '10.00']
    assert [cell.get('class') for cell in tokens] == [None, None, None, 'other', 'other', None]
    lines = [text for y, text in drawn({'now': look(1)}) if y == 2]
    assert lines == ['k1', '6.00', '7.00', '', '', '10.00']


def test_a_long_response_goes_on_in_the_next_strip():
    words = [f'w{i}' for i in range(40)]
    tokens = SimpleNamespace(tokens=torch.arange(40)[None], response_mask=torch.ones(1, 40).long())
    updates = {'now': microscope(tokens, says(words), {'k1': torch.arange(40.0)[None]})}
    rows = texts_of(microscope_page(updates))
    assert len(rows) > 4
    assert [text for row in rows[0::2] for text in row[1:]] == words
    assert [text for row in rows[1::2] for text in row[1:]] == [f'{i}.00' for i in range(40)]
    picture = [text for y, text in drawn(updates) if text.endswith('.00')]
    assert picture == [f'{i}.00' for i in range(40)]


def test_two_updates_stand_under_each_other_where_they_differ():
    before = look(advantage=NUMBERS, ratio=torch.ones(3, 6))
    after = look(advantage=NUMBERS, ratio=torch.tensor([[1.5, 0.75, 1, 9, 9, 9]]*3))
    rows = texts_of(microscope_page({'before': before, 'after': after}))[1:]
    assert rows == [['advantage', '0.00', '1.00', '2.00'],
                    ['ratio, before', '1.00', '1.00', '1.00'],
                    ['ratio, after', '1.50', '0.75', '1.00']]
    picture = drawn({'before': before, 'after': after})
    assert [text for y, text in picture if y == 4] == rows[2]


def test_a_ratio_has_its_colour_from_1_and_both_updates_have_one_scale():
    before = look(ratio=torch.full((3, 6), 1.25))
    after = look(ratio=torch.tensor([[1.5, 0.5, 1, 9, 9, 9]]*3))
    (_, _, first), (_, _, second) = strip_lines({'before': before, 'after': after})
    (up, down, none), half = second, first[0]
    assert up[3] == down[3] == 2*half[3] > 0 == none[3]
    assert up[2] > up[0] and down[0] > down[2]  # blue, red


def test_rounding_has_no_colour():
    (_, _, colours), = strip_lines({'now': look(ratio=1 + 1e-6*NUMBERS)})
    assert all(colour[3] < 1e-3 for colour in colours)


@pytest.mark.parametrize('x', [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_shown_and_marked_and_leaves_the_scale_alone(x):
    numbers = NUMBERS.clone()
    numbers[0, 1] = x
    updates = {'now': look(k1=numbers)}
    row = Strips(microscope_page(updates)).rows[1]
    assert [cell['text'] for cell in row] == ['k1', '0.00', str(x), '2.00']
    assert [cell.get('class') for cell in row] == [None, None, 'odd', None]
    (_, _, colours), = strip_lines(updates)
    assert colours[1][3] == 1 and colours[2][3] == 0.55
    assert (2, str(x)) in drawn(updates)


def test_nan_in_both_updates_is_no_change():
    numbers = torch.full((3, 6), math.nan)
    assert len(strip_lines({'a': look(k1=numbers), 'b': look(k1=numbers)})) == 1


def test_two_updates_are_of_one_response():
    with pytest.raises(ValueError, match="'a' and 'b' are not of the same response"):
        microscope_page({'a': look(), 'b': look(1)})
    with pytest.raises(ValueError, match='no table'):
        draw_microscope({})


# text

def hostile_table():
    n = len(HOSTILE)
    tokens = SimpleNamespace(tokens=torch.arange(n)[None], response_mask=torch.ones(1, n).long())
    columns = {text: torch.randn(1, n) for text in SAMPLED}
    return microscope(tokens, says(HOSTILE), columns)


def visible(text):
    return printable(text).replace(' ', '␣').replace('\n', '↵')


def test_tokens_and_names_are_shown_as_text():
    page = microscope_page({HOSTILE[0]: hostile_table()}, title=HOSTILE[0])
    assert not CONTROL.search(page) and page.count('<h1>') == 1
    shown, labels = [], set()
    for row in Strips(page).rows:
        labels.add(row[0]['text'])
        if row[0]['text'] == 'token':
            shown += [cell['title'] for cell in row[1:]]
    assert shown == list(map(visible, HOSTILE))
    assert labels == {'token', *map(printable, SAMPLED)}


@pytest.mark.filterwarnings('ignore:Glyph')
def test_the_picture_takes_no_token_for_mathematics():
    assert drawn({'now': hostile_table()}, title=r'$\frac$')


def test_the_page_in_a_browser():
    with chromium_page() as page:
        page.set_content(microscope_page({'now': hostile_table()}))
        assert page.evaluate('window.ran') is None and page.dialogs == [] and page.asked == []
        assert page.locator('script, iframe, svg, object, form, a, img').count() == 0
        for width in (1200, 390):
            page.set_viewport_size({'width': width, 'height': 800})
            assert page.evaluate('document.documentElement.scrollWidth') <= width
