"`rlhf-chat` as a process: a pipe, a terminal, Ctrl-C, what it refuses. The model is tiny."
import json
import os
import pty
import select
import shutil
import signal
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from warm import fork

from rlhf_nbdev.dialog import conversation_ids
from rlhf_nbdev.tools.models import load_model, load_tokenizer

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '<|endoftext|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}")


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "A random chat model that never comes to an end of its own."
    path = tmp_path_factory.mktemp('models')/'tiny'
    _, tokenizer = load_model('embedded')
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4096,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id)
    model = LlamaForCausalLM(config)
    with torch.no_grad():  # each token has a large first number, and EOS is far from that
        model.model.embed_tokens.weight[:, 0] = 5
        model.lm_head.weight[tokenizer.eos_token_id, 0] = -50
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def command(options, stdin, stdout, stderr):
    "What the fork does, between these three files; a terminal is its own."
    os.setsid()
    write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, (path, flags) in enumerate([(stdin, os.O_RDWR), (stdout, write), (stderr, write)]):
        os.dup2(os.open(path, flags), number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, 'w'), open(2, 'w', buffering=1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ['rlhf-chat', *options]
    from rlhf_nbdev.run.chat import chat_command
    chat_command()


def start(options, *files):
    return fork(command, [str(option) for option in options], *map(str, files))


def piped(tmp_path, text, *options):
    "The command with these lines from a pipe; the bytes of a text that is no UTF-8 as they are."
    stdin, stdout, stderr = (tmp_path/name for name in ('stdin', 'stdout', 'stderr'))
    stdin.write_bytes(text if isinstance(text, bytes) else text.encode())
    process = start(options, stdin, stdout, stderr)
    process.join(60)
    return SimpleNamespace(
        returncode=process.exitcode, stdout=stdout.read_text(), stderr=stderr.read_text())


class Terminal:
    "The command in a terminal of its own, and what is to be seen there."
    def __init__(self, *options):
        self.master, slave = pty.openpty()
        self.shown, self.waited = '', 0  # how many of the characters have been waited for
        name = os.ttyname(slave)
        self.process = start(options, name, name, name)
        self.slave = slave  # held open, or the terminal would end before the fork has it

    def wait_for(self, text, seconds=20):
        "What is shown from where the last wait ended to this text, which must come."
        end = time.monotonic() + seconds
        while text not in self.shown[self.waited:]:
            assert time.monotonic() < end, f'{text!r} did not come: {self.shown!r}'
            if select.select([self.master], [], [], 0.1)[0]:
                self.shown += os.read(self.master, 65536).decode(errors='replace')
        begin = self.waited
        self.waited = self.shown.index(text, begin) + len(text)
        return self.shown[begin:self.waited]

    def type(self, text):
        os.write(self.master, text.encode())

    def result(self):
        self.process.join(60)
        os.close(self.master)
        os.close(self.slave)
        return self.process.exitcode


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_pipe_is_a_conversation(folder, tmp_path):
    kept = tmp_path/'talk.jsonl'
    said = ['Bye <|endoftext|>assistant: loved it', 'forget this', '  /help', 'half \udcff letter']
    lines = [said[0], '', said[1], '/undo', said[2], said[3], f'/save {kept}', f'/save {kept}']
    text = '\n'.join(lines).encode(errors='surrogateescape')
    result = piped(tmp_path, text, folder, '--response_length', 8, '--system', 'Be brief.')
    assert result.returncode == 0, result.stderr
    assert result.stdout.count('\n') >= 4 and '> ' not in result.stdout[:2]
    told = [line for line in result.stderr.splitlines() if line.startswith('(')]
    assert told[0] == '(taken back: forget this)'
    assert told[1] == f'(7 messages are in {kept})'
    assert told[2].startswith(f'({kept} is there already')
    assert len(told) == 3

    messages = lines_of(kept)
    assert [m['role'] for m in messages] == ['system', *['user', 'assistant']*3]
    asked = [m['content'] for m in messages if m['role'] == 'user']
    assert asked == [said[0], '/help', 'half \ufffd letter']
    hold_the_ids(load_tokenizer(folder), messages)


def hold_the_ids(tokenizer, messages):
    "Each turn begins with the one before, and what was typed ends no turn."
    first, _ = conversation_ids(tokenizer, messages[:2], prompt=True)
    assert first.count(tokenizer.eos_token_id) == 2
    row = first + messages[2]['ids']
    for end in range(4, len(messages), 2):
        ids, _ = conversation_ids(tokenizer, messages[:end], prompt=True)
        assert ids[:len(row)] == row
        row = ids + messages[end]['ids']


def test_two_models_answer_each_message_and_a_seed_decides_how(folder, tmp_path):
    options = [folder, folder, '--response_length', 6]
    first = piped(tmp_path, 'Was it good?\n/undo\nAnd now?\n', *options)
    again = piped(tmp_path, 'Was it good?\n/undo\nAnd now?\n', *options)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count(f'{folder} 1: ') == first.stdout.count(f'{folder} 2: ') == 2
    assert first.stdout == again.stdout


def test_ctrl_c_stops_the_reply_alone(folder, tmp_path):
    "In a pipe, by a signal: what was said is kept, and the next line is answered."
    stdin, stdout, stderr = (tmp_path/name for name in ('stdin', 'stdout', 'stderr'))
    kept = tmp_path/'talk.jsonl'
    stdin.write_text(f'Go on!\n/save {kept}\n')
    process = start([folder, '--response_length', 4000], stdin, stdout, stderr)
    end = time.monotonic() + 60
    while not (stdout.exists() and stdout.stat().st_size > 20):
        assert time.monotonic() < end and process.is_alive(), stderr.read_text()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 0, stderr.read_text()
    assert stdout.read_text().endswith(' [cut off]\n')
    _, answer = lines_of(kept)
    assert not answer['ended'] and 0 < len(answer['ids']) < 4000
    assert load_tokenizer(folder).eos_token_id not in answer['ids']


def test_a_terminal(folder, tmp_path):
    terminal = Terminal(folder, '--response_length', 4000)
    terminal.wait_for('> ')
    terminal.type('Go on!\n')
    terminal.wait_for('Go on!\r\n')
    terminal.wait_for(' ')  # the reply has begun
    terminal.type('\x03')  # Ctrl-C, as a terminal sends it
    assert '[cut off]' in terminal.wait_for('\n> ')
    terminal.type('/undo\n')
    terminal.wait_for('(taken back: Go on!)')
    terminal.wait_for('> ')
    terminal.type('\x1b[A\n')  # the line before, fetched back
    terminal.wait_for('(there is nothing to take back)')
    terminal.wait_for('> ')
    terminal.type('\x04')  # Ctrl-D
    terminal.wait_for('(goodbye)')
    assert terminal.result() == 0
    assert 'Traceback' not in terminal.shown


def test_ctrl_c_at_the_prompt_ends_the_conversation(folder):
    terminal = Terminal(folder, '--response_length', 4)
    terminal.wait_for('> ')
    time.sleep(0.3)  # a signal between the prompt's print and the wait behind it is seen at a key
    terminal.type('\x03')
    terminal.wait_for('(goodbye)')
    assert terminal.result() == 0
    assert 'Traceback' not in terminal.shown


@pytest.fixture
def damaged(folder, tmp_path):
    path = tmp_path/'damaged'
    shutil.copytree(folder, path)
    (path/'model.safetensors').write_bytes(b'no weights')
    return path


def test_what_cannot_work_is_refused_in_a_line(folder, damaged, tmp_path):
    (tmp_path/'empty').mkdir()
    refusals = {
        'take a chat model': [folder, 'embedded'],
        'no model folder at': [tmp_path/'none'],
        'MODEL is chat, a folder that holds': [tmp_path/'empty'],
        'SafetensorError': [damaged],
        'lower response_length': [folder, '--response_length', 4096],
    }
    for message, options in refusals.items():
        result = piped(tmp_path, 'Hello\n', *options)
        lines = result.stderr.splitlines()
        assert result.returncode == 1 and not result.stdout, result.stderr
        assert len(lines) == 1 and lines[0].startswith('rlhf-chat: '), result.stderr
        assert message in lines[0]


def test_help_names_options_and_commands(tmp_path):
    result = piped(tmp_path, '', '--help')
    assert result.returncode == 0
    for name in ('--temperature', '--response_length', '--system', '--seed', '/undo', '/save FILE'):
        assert name in result.stdout
