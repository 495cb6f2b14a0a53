"JupyterLab for the tests that open it in a browser."
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest


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


@pytest.fixture
def jupyter_lab(tmp_path):
    "A function that opens cells in a JupyterLab of their own, and returns the address."
    servers = []

    def address(name: str, *sources: str) -> str:
        (tmp_path/'root').mkdir()
        (tmp_path/'root'/name).write_text(notebook_of(sources))
        port = free_port()
        own = ('JUPYTER_CONFIG_DIR', 'JUPYTER_DATA_DIR', 'JUPYTER_RUNTIME_DIR', 'IPYTHONDIR')
        folders = {variable: str(tmp_path/variable.lower()) for variable in own}
        command = [
            sys.executable, '-m', 'jupyter', 'lab', '--no-browser', '--allow-root',
            '--ip=127.0.0.1', f'--port={port}', '--ServerApp.port_retries=0',
            '--IdentityProvider.token=t', f'--ServerApp.root_dir={tmp_path/"root"}']
        with open(tmp_path/'log', 'w') as log:
            server = subprocess.Popen(
                command, env=os.environ | folders, stdout=log, stderr=subprocess.STDOUT)
        servers.append(server)
        wait_for(port, server, tmp_path/'log')
        return f'http://127.0.0.1:{port}/lab/tree/{name}?token=t'

    yield address
    for server in servers:
        server.terminate()
        server.wait(20)
