"Texts that would do something if they were taken for more than text."
import re

HOSTILE = [
    # markup and scripts
    '<script>window.ran = 1</script>',
    '<img src=x onerror="window.ran = 2">',
    '</table></body></html><h1>',
    '&lt;b&gt; &amp; &#60; &nbsp',
    '" onmouseover="window.ran = 3" \'',
    '<svg onload="window.ran = 4"><a href="javascript:window.ran = 5">',
    # what models, mathematics and Markdown read
    '[/INST] <|endoftext|> </s>',
    r'$\alpha$ and $$x^2$$ \(y\) \[z\]',
    '`code` ```block``` **bold** _it_',
    '{{7*7}} ${7*7} %s %(x)s {0} {row}',
    '=1+1 @SUM',
    # what terminals obey
    '\x1b[31mred\x1b[2J\x1b[H',
    '\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\',
    'new\rold',
    'a\x00b',
    '\x07\x08\x7f\x9b31m',
    # what is not seen, or turns the direction
    'abc\u202eedcba\u202c',
    'one\u2028two\u2029three',
    '\ufeff\u200b\u00ad',
    'half \ud800 pair \udfff',
    # what is only text
    'emoji 🎬 and 👍🏽',
    'é ü 電影 e\u0301',
    'w'*3000,
    'two\nlines\n\nand more',
]
SAMPLED = [text for text in HOSTILE if '\ud800' not in text]  # a tokenizer writes no half of a pair
CONTROL = re.compile(  # all that a terminal or a browser may obey; a new line is none
    '[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]')
