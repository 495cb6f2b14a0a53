"Write README.md from nbs/index.ipynb: text as it is, code fenced, printed outputs under it, links and pictures from the top folder."
import json, re
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent


def as_markdown(cell):
    source = ''.join(cell['source'])
    if cell['cell_type'] == 'markdown': return source
    if re.search(r'^#\|\s*(hide|default_exp|include:\s*false)', source, re.M): return ''
    parts = []
    if not re.search(r'^#\|\s*(echo:\s*false|hide_input)', source, re.M):
        code = '\n'.join(line for line in source.splitlines() if not line.startswith('#|'))
        parts.append(f'```python\n{code.strip()}\n```')
    for output in cell['outputs']:
        data = output.get('data', {})
        if 'text/markdown' in data: parts.append(''.join(data['text/markdown']))
        else:
            text = ''.join(output.get('text', data.get('text/plain', '')))
            if text.strip(): parts.append(''.join(f'    {line}\n' for line in text.rstrip().splitlines()))
    return '\n\n'.join(parts)


def readme():
    cells = json.loads((TOP/'nbs/index.ipynb').read_text(encoding='utf-8'))['cells']
    text = '\n\n'.join(part.strip('\n') for part in map(as_markdown, cells) if part.strip())
    text = re.sub(r'\]\((?!https?:|#|mailto:)', '](nbs/', text)
    return '<!-- written by `make readme` from nbs/index.ipynb -->\n\n' + text.replace('](nbs/../', '](') + '\n'


if __name__ == '__main__': (TOP/'README.md').write_text(readme(), encoding='utf-8')
