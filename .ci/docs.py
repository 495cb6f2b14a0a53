"""Build the site into _docs: with Quarto where it is installed, otherwise with smalldocs.

Pages have the same names either way, and need no other host: see finish_site.py. Beside them lies
the report of a kept run, as `rlhf-train` writes it. Then Chromium walks all pages: see
walk_site.py."""
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
from finish_site import finish
from nbdev.serve import proc_nbs
from walk_site import SAMPLE, walk

from rlhf_nbdev.run.report import write_report

TOP = Path(__file__).resolve().parent.parent
SITE = TOP/'_docs'
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


def build():
    subprocess.run(['nbdev-export'], cwd=TOP, check=True)
    if shutil.which('quarto'):
        subprocess.run(['nbdev-docs'], cwd=TOP, check=True)
        return
    proc_nbs(str(TOP/'nbs'))
    subprocess.run(['smalldocs', 'render', '_proc'], cwd=TOP, check=True)
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.copytree(TOP/'_proc'/'_docs', SITE)
    rename_pages(SITE)


def write_sample(site):
    "What a run leaves for a person: the report of the run whose results the package keeps."
    kept = TOP/'rlhf_nbdev'/'results'
    rows = pd.read_json(kept/'metrics.jsonl', lines=True).to_dict('records')
    samples = pd.read_json(kept/'samples.jsonl', lines=True)
    figures = json.loads((kept/'summary.json').read_text(encoding='utf-8'))
    settings = json.loads((kept/'run.json').read_text(encoding='utf-8'))['settings']
    (site/SAMPLE).mkdir()
    write_report(site/SAMPLE, rows, samples, figures, settings)


def main():
    build()
    finish(SITE, TOP/'build')
    write_sample(SITE)
    print(f"{len(list(SITE.rglob('*.html')))} pages in _docs")
    sys.exit(walk(SITE))


if __name__ == '__main__':
    main()
