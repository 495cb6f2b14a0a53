"""A copy of the lessons to work in: `learn/`, where answers stay and git does not look.

A page that is there already is left as it is. Each page gets the metadata that JupyterLab would
write at its first look, so that nothing asks to be saved that nobody has touched."""
import json
import platform
import shutil
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent


def metadata_here():
    "What JupyterLab writes into a notebook that runs in this Python."
    from ipykernel.ipkernel import IPythonKernel
    from ipykernel.kernelspec import get_kernel_dict
    language = IPythonKernel.language_info | {'version': platform.python_version()}
    return {'kernelspec': {'display_name': get_kernel_dict()['display_name'],
                           'language': 'python', 'name': 'python3'},
            'language_info': language}


def copy_page(source, target, metadata):
    page = json.loads(source.read_text(encoding='utf-8'))
    page['metadata'] |= metadata
    target.write_text(json.dumps(page, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')


def lay_out(nbs, learn):
    "Copy what is not there yet. Gives the pages whose lesson has changed since they were copied."
    metadata, changed = metadata_here(), []
    for source in sorted(nbs.rglob('*')):
        target = learn/source.relative_to(nbs)
        if source.is_dir() or '.ipynb_checkpoints' in source.parts:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix != '.ipynb':
            shutil.copyfile(source, target)
        elif not target.exists():
            copy_page(source, target, metadata)
        elif source.stat().st_mtime > target.stat().st_mtime:
            changed.append(target)
    return changed


if __name__ == '__main__':
    changed = lay_out(TOP/'nbs', TOP/'learn')
    if changed:
        names = ', '.join(str(page.relative_to(TOP)) for page in changed)
        print('newer in nbs/ than your copy (delete a page there to get it anew; your answers go): '
              f'{names}', file=sys.stderr)
