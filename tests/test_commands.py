"The entry points that the README names."
import sys
from dataclasses import fields
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from rlhf_nbdev.beyond import MethodConfig
from rlhf_nbdev.run.stages import RunConfig

BIN = Path(sys.executable).parent


@pytest.mark.parametrize('name', ['nbdev_export', 'nbdev_test', 'nbdev_docs'])
def test_underscore_names_exist(name):
    assert (BIN/name).exists()


def help_of(name, monkeypatch, capsys):
    "What the command of this name prints, called as its script calls it."
    command, = entry_points(group='console_scripts', name=name)
    monkeypatch.setattr(sys, 'argv', [name, '--help'])
    with pytest.raises(SystemExit) as done:
        command.load()()
    assert done.value.code == 0 and (BIN/name).exists()
    return ' '.join(capsys.readouterr().out.split())


@pytest.mark.parametrize('name', ['rlhf-pretrain', 'rlhf-study'])
def test_commands_say_what_they_do(name, monkeypatch, capsys):
    assert f'usage: {name}' in help_of(name, monkeypatch, capsys)


def test_help_documents_every_option(monkeypatch, capsys):
    text = help_of('rlhf-train', monkeypatch, capsys)
    for field in fields(RunConfig) + fields(MethodConfig):
        assert f'--{field.name}' in text
        assert ' '.join(field.metadata['help'].split())[:30] in text
