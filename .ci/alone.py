"""Each lesson alone, as in Colab: its notebook in an empty folder, an empty cache, nothing
installed but the package and a kernel, in the newest versions. No error, and no warning."""
import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
RUN = '''
import sys
import nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], 4)
NotebookClient(notebook, timeout=900, kernel_name='python3').execute()
for cell in notebook.cells:
    for output in cell.get('outputs', []):
        if output.get('name') == 'stderr':
            text = ' '.join(output['text'].split())
            print(f"{cell['id']}: {text[:200]}")
'''


def environment(python, folder, packages):
    "A new environment with the package's wheel and a kernel; its interpreter."
    wheels = folder/'wheels'
    pip = [sys.executable, '-m', 'pip']
    subprocess.run([*pip, 'wheel', '--quiet', '--no-deps', '-w', wheels, TOP], check=True)
    subprocess.run([python, '-m', 'venv', folder/'venv'], check=True)
    interpreter = folder/'venv'/'bin'/'python'
    [wheel] = wheels.glob('*.whl')
    subprocess.run([interpreter, '-m', 'pip', 'install', '--quiet', *packages, f'{wheel}[chat]',
                    'ipykernel', 'nbclient'], check=True)
    return interpreter


def run_alone(interpreter, notebook, folder):
    "What it wrote to the error output, a line each; raises if a cell fails."
    place, home = folder/notebook.stem, folder/f'home-{notebook.stem}'
    place.mkdir()
    home.mkdir()
    shutil.copy(notebook, place)
    paths = f"{interpreter.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [interpreter, '-c', RUN, notebook.name], cwd=place, capture_output=True, encoding='utf-8',
        env={'PATH': paths, 'HOME': str(home), 'LANG': 'C.UTF-8'} | registry_settings())
    if done.returncode:
        return [f'failed: {done.stderr.strip().splitlines()[-1]}']
    return done.stdout.splitlines()


def registry_settings():
    "Where pip finds packages, if that is set: lessons fetch the ratings with it."
    return {name: value for name, value in os.environ.items() if name.startswith('PIP_')}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path, help='new; the environment takes gigabytes')
    parser.add_argument('--python', default=sys.executable)
    parser.add_argument('--with', dest='packages', nargs='*', default=[],
                        help='more to install, such as an older ipywidgets')
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    folder = options.folder.resolve()
    interpreter = environment(options.python, folder, options.packages)
    n_faults = 0
    for notebook in sorted((TOP/'nbs').glob('[0-9]*.ipynb')):
        started = time.perf_counter()
        faults = run_alone(interpreter, notebook, folder)
        n_faults += len(faults)
        print(f'{notebook.name}: {time.perf_counter() - started:.0f} s', *faults, sep='\n  ',
              flush=True)
    sys.exit(bool(n_faults))


if __name__ == '__main__':
    main()
