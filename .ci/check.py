"Fail, naming the file, where modules, form of notebooks or README are not what the notebooks say."
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from readme import TOP, readme

BIN = Path(sys.executable).parent
NOT_COPIED = ('.venv', '.git', '_proc', '_docs', 'runs', '__pycache__')


def snapshot(top):
    "The bytes of every notebook and module, by path."
    return {path.relative_to(top): path.read_bytes()
            for folder in ('nbs', 'rlhf_nbdev')
            for path in sorted((top/folder).rglob('*'))
            if path.suffix in ('.ipynb', '.py') and '.ipynb_checkpoints' not in path.parts}


def exported_again():
    "Notebooks and modules as they are, and as nbdev would write them; on a copy."
    with tempfile.TemporaryDirectory() as temp:
        copy = Path(temp)/'rlhf_nbdev'
        shutil.copytree(TOP, copy, symlinks=True, ignore=shutil.ignore_patterns(*NOT_COPIED))
        before = snapshot(copy)
        for module in (copy/'rlhf_nbdev').rglob('*.py'):
            if module.name != '__init__.py':
                module.unlink()  # a module that no notebook exports must be missed
        for command in ('nbdev-export', 'nbdev-clean'):
            subprocess.run([BIN/command], cwd=copy, check=True)
        return before, snapshot(copy)


def main():
    before, after = exported_again()
    wrong = [f'{path}: run nbdev-export and nbdev-clean'
             for path in sorted(before.keys() | after.keys())
             if before.get(path) != after.get(path)]
    if (TOP/'README.md').read_text(encoding='utf-8') != readme():
        wrong.append('README.md: run make readme')
    print('\n'.join(wrong) or f'{len(after)} notebooks and modules, and README.md: in step')
    sys.exit(bool(wrong))


if __name__ == '__main__':
    main()
