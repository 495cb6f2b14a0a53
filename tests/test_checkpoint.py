"What a run keeps and finds again: its checkpoint, its rows, its settings; and how it is stopped."
import copy
import json
import os
import signal
import threading
from dataclasses import replace

import pytest
import torch
from tiny import decided_gpt2, tiny_prompts

from rlhf_nbdev.agent import Agent
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.run import checkpoint
from rlhf_nbdev.run.command import has_type
from rlhf_nbdev.tools.files import fingerprint

CONFIG = RLHFConfig(response_length=4, batch_size=6, epochs=1, updates=4)


def new_trainer(config=CONFIG, seed=0):
    agent = Agent(decided_gpt2(seed=seed))
    return RLHFTrainer(agent, decided_gpt2(), config)


def update(trainer):
    rollout = trainer.agent.generate(*tiny_prompts(), 4)
    return trainer.update(rollout, rollout.response_mask.float())


def weights_of(trainer):
    return fingerprint(dict(trainer.agent.named_parameters()))


def test_a_checkpoint_goes_on_as_if_nothing_had_happened(tmp_path):
    trainer = new_trainer()
    update(trainer)
    trainer.beta = 0.3
    checkpoint.save_checkpoint(tmp_path/'x', trainer, 1, run={'out': 'a'}, rows='b')
    expected = update(trainer), weights_of(trainer)

    other = new_trainer(seed=5)
    numbers = checkpoint.load_checkpoint(tmp_path/'x', other)
    assert (numbers['update'], numbers['run'], numbers['rows']) == (1, {'out': 'a'}, 'b')
    assert other.beta == 0.3
    assert other.optimizer.param_groups[0]['lr'] == trainer.scheduler.base_lrs[0]*0.75
    assert (update(other), weights_of(other)) == expected


def test_weights_that_do_not_lie_in_order_are_saved_too(tmp_path):
    trainer = new_trainer()
    for parameter in trainer.agent.parameters():
        if parameter.ndim == 2:
            parameter.data = parameter.data.t().contiguous().t()
    checkpoint.save_checkpoint(tmp_path/'x', trainer, 0)
    other = new_trainer(seed=5)
    checkpoint.load_checkpoint(tmp_path/'x', other)
    assert weights_of(other) == weights_of(trainer)


@pytest.mark.parametrize('saved, current', [
    ({'a': 1, 'b': 2}, {'a': 1}),
    ({'a': 1}, {'a': 1, 'b': 2}),
    ({'a': 1, 'b': 2}, {'a': 1, 'b': 3}),
])
def test_settings_that_differ_are_named(saved, current):
    checkpoint.check_same_settings('x', saved, saved)
    with pytest.raises(ValueError, match='x is of a run with other settings: b '):
        checkpoint.check_same_settings('x', saved, current)


def test_other_settings_are_refused_and_nothing_is_overwritten(tmp_path):
    checkpoint.save_checkpoint(tmp_path/'x', new_trainer(), 0)
    other = new_trainer(replace(CONFIG, beta=0.5), seed=5)
    before = weights_of(other)
    with pytest.raises(ValueError, match='beta 0.08, not 0.5'):
        checkpoint.load_checkpoint(tmp_path/'x', other)
    assert weights_of(other) == before


def test_the_random_numbers_of_a_gpu_come_back(monkeypatch):
    trainer, given = new_trainer(), []
    monkeypatch.setattr(torch.cuda, 'set_rng_state', lambda *state: given.append(state))
    tensors, numbers = checkpoint.trainer_state(trainer)
    checkpoint.restore_trainer(trainer, tensors, numbers)
    assert given == []
    numbers_of_gpu = torch.arange(3)
    checkpoint.restore_trainer(trainer, tensors | {'rng.cuda': numbers_of_gpu}, numbers)
    assert given == [(numbers_of_gpu, trainer.agent.model.device)]


def test_rows_are_those_that_the_checkpoint_counts_on(tmp_path):
    lines = [json.dumps({'update': n}).encode() for n in (1, 2, 3)]
    path = tmp_path/'metrics.jsonl'
    path.write_bytes(b'\n'.join(lines) + b'\n')
    assert checkpoint.read_rows(path, 0, '') == []
    digest = checkpoint.rows_digest(lines[:2])
    assert checkpoint.read_rows(path, 2, digest) == [{'update': 1}, {'update': 2}]
    for n, of in ((2, lines), (3, lines[:2]), (2, lines[1:])):
        with pytest.raises(ValueError, match='missing, or not those'):
            checkpoint.read_rows(path, n, checkpoint.rows_digest(of))


@pytest.mark.parametrize('value, wanted, fits', [
    (1, int, True), (1, float, True), (0.5, float, True), ('a', str, True), (True, bool, True),
    (1, bool, False), (1, str, False), (0.5, int, False), (True, int, False), (True, float, False),
])
def test_a_setting_has_just_its_type(value, wanted, fits):
    assert has_type(value, wanted) is fits


# stopping

@pytest.fixture
def handlers():
    "What a process does with Ctrl-C and SIGTERM as a rule; what this one does is put back after."
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield usual
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize('name', ['SIGINT', 'SIGTERM'])
def test_a_first_signal_is_noted_and_a_second_acts_as_ever(name, handlers, capsys):
    number = signal.Signals[name]
    with checkpoint.Stopping() as stop:
        assert stop.by == ''
        assert signal.getsignal(number) == stop.note
        os.kill(os.getpid(), number)
        assert stop.by == name
        assert signal.getsignal(number) == handlers[number]
    assert f'{name}: stopping after this update' in capsys.readouterr().out


def test_the_handlers_are_put_back_where_no_signal_came(handlers):
    with checkpoint.Stopping():
        pass
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_a_signal_that_is_ignored_stays_so(handlers):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with checkpoint.Stopping() as stop:
        os.kill(os.getpid(), signal.SIGINT)
    assert stop.by == ''
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_thread_that_is_not_the_main_one_can_do_without(handlers):
    during = []

    def work():
        with checkpoint.Stopping():
            during.append({number: signal.getsignal(number) for number in handlers})

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert during == [handlers]


def test_two_runs_do_not_share_a_folder(tmp_path):
    with checkpoint.lock_run(tmp_path):
        with pytest.raises(FileExistsError, match='another run is at work'):
            checkpoint.lock_run(copy.copy(tmp_path))
    checkpoint.lock_run(tmp_path).lock.release()
