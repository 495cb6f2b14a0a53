"Fail, naming the file, where the modules, the notebooks' form or the README are not what the notebooks say."
import shutil, subprocess, sys, tempfile
from pathlib import Path
from readme import TOP, readme

BIN = Path(sys.executable).parent


def snapshot(top): return {p.relative_to(top): p.read_bytes() for folder in ('nbs', 'rlhf_nbdev') for p in sorted((top/folder).rglob('*'))
                           if p.suffix in ('.ipynb', '.py') and '.ipynb_checkpoints' not in p.parts}


with tempfile.TemporaryDirectory() as temp:  # on a copy: a check changes nothing
    copy = Path(temp)/'rlhf_nbdev'
    shutil.copytree(TOP, copy, symlinks=True, ignore=shutil.ignore_patterns('.venv', '.git', '_proc', '_docs', 'runs', '__pycache__'))
    before = snapshot(copy)
    for module in (copy/'rlhf_nbdev').glob('*.py'):
        if module.name != '__init__.py': module.unlink()  # a module that no notebook exports must be missed
    for command in ('nbdev-export', 'nbdev-clean'): subprocess.run([BIN/command], cwd=copy, check=True)
    after = snapshot(copy)
wrong = [f'{path}: run nbdev-export and nbdev-clean' for path in sorted(before.keys() | after.keys()) if before.get(path) != after.get(path)]
if (TOP/'README.md').read_text(encoding='utf-8') != readme(): wrong.append('README.md: run make readme')
print('\n'.join(wrong) or f'{len(after)} notebooks and modules, and README.md: in step')
sys.exit(bool(wrong))
