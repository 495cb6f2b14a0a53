"Build the site into _docs: with Quarto where it is installed, otherwise with smalldocs, under the same page names."
import re, shutil, subprocess, sys
from pathlib import Path
from nbdev.serve import proc_nbs

TOP = Path(__file__).resolve().parent.parent


def page_name(path): return re.sub(r'^\d+_', '', path.stem) + path.suffix  # as nbdev names them: 01_dataset is dataset.html


def rename_pages(site):
    names = {page.name: page_name(page) for page in site.rglob('*.html')}
    for page in list(site.rglob('*.html')): page.rename(page.with_name(names[page.name]))
    for path in site.rglob('*'):
        if path.suffix in ('.html', '.json', '.xml', '.txt', '.js'):
            text = path.read_text(encoding='utf-8')
            for old, new in names.items(): text = re.sub(rf'(?<![\w-]){re.escape(old)}', new, text)
            path.write_text(text, encoding='utf-8')


if __name__ == '__main__':
    subprocess.run(['nbdev-export'], cwd=TOP, check=True)
    if shutil.which('quarto'): sys.exit(subprocess.run(['nbdev-docs'], cwd=TOP).returncode)
    proc_nbs(str(TOP/'nbs'))
    subprocess.run(['smalldocs', 'render', '_proc'], cwd=TOP, check=True)
    shutil.rmtree(TOP/'_docs', ignore_errors=True)
    shutil.copytree(TOP/'_proc'/'_docs', TOP/'_docs')
    rename_pages(TOP/'_docs')
    print(f"{len(list((TOP/'_docs').rglob('*.html')))} pages in _docs")
