"Build the site into _docs: with Quarto where it is installed, otherwise with smalldocs."
import shutil, subprocess, sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
if shutil.which('quarto'): sys.exit(subprocess.run(['nbdev-docs'], cwd=TOP).returncode)

if __name__ == '__main__':
    subprocess.run(['nbdev-export'], cwd=TOP, check=True)
    subprocess.run(['nbdev-proc-nbs'], cwd=TOP, check=True)
    subprocess.run(['smalldocs', 'render', '_proc'], cwd=TOP, check=True)
    shutil.rmtree(TOP/'_docs', ignore_errors=True)
    shutil.copytree(TOP/'_proc'/'_docs', TOP/'_docs')
    print(f"{len(list((TOP/'_docs').rglob('*.html')))} pages in _docs")
