"""Build the site into _docs: with Quarto where it is installed, otherwise with smalldocs.

Pages have the same names either way."""
import re
import shutil
import subprocess
import sys
from pathlib import Path

from nbdev.serve import proc_nbs

TOP = Path(__file__).resolve().parent.parent
TEXTS = ('.html', '.json', '.xml', '.txt', '.js')


def page_name(path):
    "As nbdev names them: 01_dataset is dataset.html."
    return re.sub(r'^\d+_', '', path.stem) + path.suffix


def rename_pages(site):
    "Give the pages their names, and every mention of them."
    names = {page.name: page_name(page) for page in site.rglob('*.html')}
    for page in list(site.rglob('*.html')):
        page.rename(page.with_name(names[page.name]))
    for path in site.rglob('*'):
        if path.suffix not in TEXTS:
            continue
        text = path.read_text(encoding='utf-8')
        for old, new in names.items():
            text = re.sub(rf'(?<![\w-]){re.escape(old)}', new, text)
        path.write_text(text, encoding='utf-8')


def main():
    subprocess.run(['nbdev-export'], cwd=TOP, check=True)
    if shutil.which('quarto'):
        sys.exit(subprocess.run(['nbdev-docs'], cwd=TOP).returncode)
    proc_nbs(str(TOP/'nbs'))
    subprocess.run(['smalldocs', 'render', '_proc'], cwd=TOP, check=True)
    shutil.rmtree(TOP/'_docs', ignore_errors=True)
    shutil.copytree(TOP/'_proc'/'_docs', TOP/'_docs')
    rename_pages(TOP/'_docs')
    print(f"{len(list((TOP/'_docs').rglob('*.html')))} pages in _docs")


if __name__ == '__main__':
    main()
