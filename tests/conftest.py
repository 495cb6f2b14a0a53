"JupyterLab for the tests that open it in a browser."
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

os.environ.pop('TQDM_DISABLE', None)  # tests look at the progress that a command shows


def notebook_of(sources):
    "A notebook with these code cells, as JSON."
    cells = [{'cell_type': 'code', 'id': f'cell-{i}', 'source': source, 'metadata': {},
              'outputs': [], 'execution_count': None} for i, source in enumerate(sources)]
    kernel = {'name': 'python3', 'display_name': 'Python 3', 'language': 'python'}
    return json.dumps({'cells': cells, 'metadata': {'kernelspec': kernel},
                       'nbformat': 4, 'nbformat_minor': 5})


def free_port():
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


def wait_for(port, server, log):
    "Return when JupyterLab answers."
    for _ in range(600):
        assert server.poll() is None, f'JupyterLab did not start:\n{log.read_text()[-2000:]}'
        try:
            urllib.request.urlopen(f'http://127.0.0.1:{port}/api/status?token=t', timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)


class Lab:
    "A JupyterLab that opens each notebook in a folder and a workspace of its own."
    def __init__(self, top):
        self.root, self.log, self.port, self.n = top/'root', top/'log', free_port(), 0
        self.root.mkdir()
        own = ('JUPYTER_CONFIG_DIR', 'JUPYTER_DATA_DIR', 'JUPYTER_RUNTIME_DIR', 'IPYTHONDIR')
        folders = {variable: str(top/variable.lower()) for variable in own}
        command = [
            sys.executable, '-m', 'jupyter', 'lab', '--no-browser', '--allow-root',
            '--ip=127.0.0.1', f'--port={self.port}', '--ServerApp.port_retries=0',
            '--IdentityProvider.token=t', f'--ServerApp.root_dir={self.root}']
        with open(self.log, 'w') as log:
            self.server = subprocess.Popen(
                command, env=os.environ | folders, stdout=log, stderr=subprocess.STDOUT)

    def open(self, name: str, *sources: str):
        "A notebook with these cells: its address, and the folder that it works in."
        self.n += 1
        folder = self.root/str(self.n)
        folder.mkdir()
        (folder/name).write_text(notebook_of(sources))
        wait_for(self.port, self.server, self.log)
        page = f'lab/workspaces/{self.n}/tree/{self.n}/{name}'
        return f'http://127.0.0.1:{self.port}/{page}?token=t', folder


@pytest.fixture(scope='session')
def jupyter_lab(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp('lab'))
    yield lab
    lab.server.terminate()
    lab.server.wait(20)
