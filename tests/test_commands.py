"The entry points that the README names."
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from rlhf_nbdev.beyond import MethodConfig
from rlhf_nbdev.run.stages import RunConfig

BIN = Path(sys.executable).parent


@pytest.mark.parametrize('name', ['nbdev_export', 'nbdev_test', 'nbdev_docs'])
def test_underscore_names_exist(name):
    assert (BIN/name).exists()


@pytest.mark.parametrize('name', ['rlhf-pretrain', 'rlhf-study'])
def test_commands_say_what_they_do(name):
    subprocess.run([BIN/name, '--help'], capture_output=True, check=True)


def test_help_documents_every_option():
    command = [BIN/'rlhf-train', '--help']
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    text = ' '.join(result.stdout.split())
    for field in fields(RunConfig) + fields(MethodConfig):
        assert f'--{field.name}' in text
        assert ' '.join(field.metadata['help'].split())[:30] in text
