"JupyterLab for the tests that open it in a browser."
import json, os, socket, subprocess, sys, time, urllib.request
import pytest


@pytest.fixture
def jupyter_lab(tmp_path):
    "A function that puts cells into a notebook of JupyterLab, in a folder of its own, and returns the address."
    servers = []
    def address(name: str, *sources: str) -> str:
        (tmp_path/'root').mkdir()
        cells = [{'cell_type': 'code', 'id': f'cell-{i}', 'source': source, 'metadata': {}, 'outputs': [], 'execution_count': None} for i, source in enumerate(sources)]
        notebook = {'cells': cells, 'metadata': {'kernelspec': {'name': 'python3', 'display_name': 'Python 3', 'language': 'python'}}, 'nbformat': 4, 'nbformat_minor': 5}
        (tmp_path/'root'/name).write_text(json.dumps(notebook))
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        folders = {name: str(tmp_path/name.lower()) for name in ('JUPYTER_CONFIG_DIR', 'JUPYTER_DATA_DIR', 'JUPYTER_RUNTIME_DIR', 'IPYTHONDIR')}
        command = [sys.executable, '-m', 'jupyter', 'lab', '--no-browser', '--allow-root', '--ip=127.0.0.1', f'--port={port}', '--ServerApp.port_retries=0',
                   '--IdentityProvider.token=t', f'--ServerApp.root_dir={tmp_path/"root"}']
        with open(tmp_path/'log', 'w') as log: server = subprocess.Popen(command, env=os.environ | folders, stdout=log, stderr=subprocess.STDOUT)
        servers.append(server)
        for _ in range(600):
            assert server.poll() is None, f'JupyterLab did not start:\n{(tmp_path/"log").read_text()[-2000:]}'
            try: urllib.request.urlopen(f'http://127.0.0.1:{port}/api/status?token=t', timeout=5).close(); break
            except OSError: time.sleep(0.1)
        return f'http://127.0.0.1:{port}/lab/tree/{name}?token=t'
    yield address
    for server in servers:
        server.terminate()
        server.wait(20)
