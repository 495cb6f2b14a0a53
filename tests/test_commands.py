"The entry points that the README names."
import subprocess, sys
from pathlib import Path
import pytest

BIN = Path(sys.executable).parent


@pytest.mark.parametrize('name', ['nbdev_export', 'nbdev_test', 'nbdev_docs'])
def test_underscore_names_exist(name): assert (BIN/name).exists()


def test_help_documents_every_option():
    from dataclasses import fields
    from rlhf_nbdev.ppo import RLHFConfig
    from rlhf_nbdev.run.stages import RunConfig
    text = ' '.join(subprocess.run([BIN/'rlhf-train', '--help'], capture_output=True, text=True, check=True).stdout.split())
    for field in fields(RunConfig) + fields(RLHFConfig):
        assert f'--{field.name}' in text
        assert ' '.join(field.metadata['help'].split())[:30] in text
