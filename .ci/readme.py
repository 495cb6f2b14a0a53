"""Write README.md from nbs/index.ipynb.

Text as it is, code fenced, printed outputs under it, links and pictures from the top folder."""
import json
import re
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent


def code_as_markdown(source):
    "The code of a cell, fenced; nothing if the site hides it."
    if re.search(r'^#\|\s*(echo:\s*false|hide_input)', source, re.M):
        return ''
    code = '\n'.join(line for line in source.splitlines() if not line.startswith('#|'))
    return f'```python\n{code.strip()}\n```'


def output_as_markdown(output):
    "What a cell printed: Markdown as it is, text indented."
    data = output.get('data', {})
    if 'text/markdown' in data:
        return ''.join(data['text/markdown'])
    text = ''.join(output.get('text', data.get('text/plain', '')))
    return ''.join(f'    {line}\n' for line in text.rstrip().splitlines())


def as_markdown(cell):
    source = ''.join(cell['source'])
    if cell['cell_type'] == 'markdown':
        return source
    if re.search(r'^#\|\s*(hide|default_exp|include:\s*false)', source, re.M):
        return ''
    parts = [code_as_markdown(source)]
    parts += [output_as_markdown(output) for output in cell['outputs']]
    return '\n\n'.join(part for part in parts if part)


def readme():
    cells = json.loads((TOP/'nbs/index.ipynb').read_text(encoding='utf-8'))['cells']
    text = '\n\n'.join(part.strip('\n') for part in map(as_markdown, cells) if part.strip())
    text = re.sub(r'\]\((?!https?:|#|mailto:)', '](nbs/', text)
    header = '<!-- written by `make readme` from nbs/index.ipynb -->\n\n'
    return header + text.replace('](nbs/../', '](') + '\n'


if __name__ == '__main__':
    (TOP/'README.md').write_text(readme(), encoding='utf-8')
