"""What learns, split among two processes: the steps are those of one, and each holds a half.

The processes are forked from the server of `warm.py` and talk through gloo."""
import json
import math
import shutil
import warnings
from dataclasses import asdict, replace
from itertools import combinations
from unittest import mock

import pytest
import torch
from architectures import ARCHITECTURES
from safetensors.torch import load_file
from small_runs import MODEL, metrics, small_files
from test_processes import (
    BRIEF,
    end_of,
    end_well,
    ends,
    fine_tuned,
    largest_gap,
    learned,
    rewarded,
    said,
    sampled,
    start,
    together,
    wait_for_updates,
)
from tiny import close, tiny_gpt2
from transformers import AutoModel, AutoModelForCausalLM
from warm import assert_refused, run, run_well

from rlhf_nbdev import ppo
from rlhf_nbdev.agent import Agent
from rlhf_nbdev.beyond import MethodConfig, make_trainer
from rlhf_nbdev.run import command, inputs
from rlhf_nbdev.run.checkpoint import (
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
    trainer_state,
)
from rlhf_nbdev.run.dialogs import CHAT_RUN
from rlhf_nbdev.run.stages import RunConfig
from rlhf_nbdev.tools import processes, sharding

__all__ = ['small_files']  # a fixture


# an update

CASES = [  # method, other settings
    ('ppo', {}), ('ppo', {'microbatches': 2}), ('ppo', {'gradient_checkpointing': True}),
    ('grpo', {'microbatches': 2}), ('rloo', {}),
]


def learned_all(cases, is_split):
    return [learned(method, 2, shard=is_split, **others) for method, others in cases]


@pytest.fixture(scope='module')
def updates(tmp_path_factory):
    "Of each case: what one process has learnt, and what each of two."
    folder = tmp_path_factory.mktemp('split')
    [alone] = together(1, folder, learned_all, [(method, {}) for method, _ in CASES], False)
    several = zip(*together(2, folder, learned_all, CASES, True))
    return list(zip(alone, several))


@pytest.mark.parametrize('case', range(len(CASES)), ids=lambda i: str(CASES[i]))
def test_an_update_of_two_that_are_split_is_that_of_one(updates, case):
    (alone, stats, _), several = updates[case]
    for weights, their_stats, _ in several:
        assert largest_gap(alone, weights) < 1e-6
        assert their_stats == pytest.approx(stats, rel=1e-4, abs=1e-6)


def test_steps_one_and_two_that_are_split_are_those_of_one(tmp_path):
    [(tuned, history, _), (scoring, losses)] = together(1, tmp_path, first_steps, False)[0]
    for split_steps in together(2, tmp_path, first_steps, True):
        (weights, their_history, _), (reward_weights, their_losses) = split_steps
        assert largest_gap(tuned, weights) < 2e-6
        assert largest_gap(scoring, reward_weights) < 2e-6
        for row, theirs in zip(history, their_history, strict=True):
            assert theirs == pytest.approx(row, rel=1e-5, nan_ok=True)
        for row, theirs in zip(losses, their_losses, strict=True):
            assert theirs == pytest.approx(row, rel=1e-4)


def first_steps(is_split):
    return fine_tuned(is_split), rewarded('rated', is_split)


def learned_in_16_bits(is_split):
    "As on hardware that multiplies faster in bfloat16."
    with mock.patch.object(ppo, 'autocast', lambda device: torch.autocast('cpu', torch.bfloat16)):
        return learned('ppo', 2, shard=is_split, bf16=True, gradient_checkpointing=is_split)


def test_products_in_16_bits_are_the_same_split_or_not(updates, tmp_path):
    whole = together(2, tmp_path, learned_in_16_bits, False)
    split = together(2, tmp_path, learned_in_16_bits, True)
    in_32_bits = updates[0][0][0]
    for (weights, stats, _), (split_weights, split_stats, _) in zip(whole, split, strict=True):
        assert largest_gap(weights, in_32_bits) > 1e-5
        assert largest_gap(weights, split_weights) < 1e-6
        assert split_stats == pytest.approx(stats, rel=1e-4, abs=1e-6)


# what a process holds

def trainer_of(agent, reference, **settings):
    "Twelve responses to an update, in as many processes as there are."
    config = MethodConfig(batch_size=12, response_length=8, epochs=1, minibatches=1, updates=50,
                          temperature=1.0, shard=processes.n_processes() > 1)
    return make_trainer(agent, reference, replace(config, **settings))


def new_trainer(policy=None, **settings):
    agent = Agent(policy or tiny_gpt2(seed=0))
    agent.eos_token_ids = list(range(10))
    return trainer_of(agent, tiny_gpt2(seed=1).to(agent.model.dtype), **settings)


def learn_again(trainer):
    "An update on responses of the agent as it is."
    torch.manual_seed(5)
    rollout, scored = sampled(trainer.agent, trainer.ref_model)
    own = processes.own_rows(12)
    scored = replace(scored, scores=scored.scores[own], ref_logprobs=scored.ref_logprobs[own])
    return trainer.learn_from(rollout[own], scored)


def held():
    "Bytes of what learns, and of the whole weights."
    trainer = new_trainer()
    learn_again(trainer)
    weights = list(trainer.learner.parameters())
    states = trainer.optimizer.state.values()
    averages = [x for state in states for x in state.values() if x.ndim]
    parts = [weights, [p.grad for p in weights], averages]
    whole = sum(p.nbytes for p in trainer.agent.parameters())
    return [sharding.bytes_here(tensors)/whole for tensors in parts]


def test_each_of_two_holds_a_half(tmp_path):
    for shares in together(2, tmp_path, held):
        close(torch.tensor(shares), torch.tensor([0.5, 0.5, 1.0]), 0.02)


def wholes(module):
    return [sharding.put_together(p.detach()).clone() for p in module.parameters()]


def agents_and_learners(dtype):
    "Of the agent and of the learner: all weights before and after each of two updates."
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # none about 16 bits
        policy = tiny_gpt2(seed=0).to(dtype)
        trainer = new_trainer(policy, learning_rate=1.5e-3, clip_ratio=10.0)
    found = [(wholes(trainer.agent), wholes(trainer.learner))]
    for _ in range(2):
        learn_again(trainer)
        found.append((wholes(trainer.agent), wholes(trainer.learner)))
    return found


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_the_agent_is_the_learner_rounded_to_its_type(tmp_path, dtype):
    of_two = together(2, tmp_path, agents_and_learners, dtype)
    for found in of_two:
        for agent, learner in found:
            assert all(a.equal(w.to(a.dtype)) for a, w in zip(agent, learner, strict=True))
            assert all(w.dtype == torch.float32 for w in learner)
    assert all(a.equal(b) for a, b in zip(of_two[0][2][0], of_two[1][2][0]))


def test_steps_that_16_bits_round_away_add_up(tmp_path):
    for found in together(2, tmp_path, agents_and_learners, torch.bfloat16):
        before, once, twice = (torch.cat([x.flatten() for x in agent]).float()
                               for agent, _ in found)
        first = torch.cat([x.flatten() for x in found[1][1]])
        ones = before == 1  # the scales of the layer norms
        rounded_away = ones & (once == 1) & (first < 1)
        assert rounded_away.sum() > 10
        assert (twice[rounded_away] < 1).sum() > 5


# numbers that are not finite

def stopped_by(bad_loss, bad_gradient):
    "What each process says of a number that is not finite in process 1; and whether it moved."
    trainer = new_trainer()
    before = wholes(trainer.learner)
    factor = float(processes.process_number() == 1)
    loss = sum(x.sum() for x in trainer.learner(*tokens_of_two(), 8)[:2])
    trainer.backward(loss*math.nan if bad_loss and factor else loss)
    if bad_gradient and factor:
        trainer.learner.value_head.weight.grad.to_local().fill_(math.inf)
        trainer.learner.model.transformer.ln_f.bias.grad.to_local().fill_(math.inf)
    with pytest.raises(FloatingPointError) as failure:
        trainer.step()
    after = wholes(trainer.learner)
    return str(failure.value), all(a.equal(b) for a, b in zip(before, after))


def tokens_of_two():
    tokens = torch.arange(24).view(2, 12) + 10
    return tokens, torch.ones_like(tokens)


@pytest.mark.parametrize('kind, message', [
    ((True, False), 'the loss is nan'),
    ((False, True), 'the gradient of model.transformer.ln_f.bias is not finite'),
])
def test_what_is_not_finite_in_one_stops_both_before_a_weight_moves(tmp_path, kind, message):
    assert together(2, tmp_path, stopped_by, *kind) == [(message, True)]*2


def fail_at_the_second_step():
    "Process 1 has a loss of NaN at the second of two steps: what is said, and the weights."
    trainer = new_trainer(epochs=2)
    start_weights, plain_loss = wholes(trainer.agent), trainer.compute_loss
    is_last = processes.process_number() == 1

    def compute_loss(*args):
        loss, stats = plain_loss(*args)
        return loss*(math.nan if is_last and trainer.optimizer.state else 1.0), stats

    trainer.compute_loss = compute_loss
    with pytest.raises(FloatingPointError) as failure:
        learn_again(trainer)
    return str(failure.value), start_weights, wholes(trainer.agent), wholes(trainer.learner)


def test_after_a_failure_the_agent_is_what_it_was_before_that_step(tmp_path):
    for message, before, agent, learner in together(2, tmp_path, fail_at_the_second_step):
        assert message == 'step 2 of 2: the loss is nan'
        assert all(map(torch.equal, agent, learner))
        assert not all(map(torch.equal, agent, before))


# checkpoints

def save_after_two(path):
    trainer = new_trainer()
    for _ in range(2):
        learn_again(trainer)
    save_checkpoint(path, trainer, 2)
    learn_again(trainer)
    return wholes(trainer.agent)


def take_up(path):
    "What is read, as it would be written again; and the weights after one more update."
    trainer = new_trainer()
    load_checkpoint(path, trainer)
    tensors = {name: x.clone() for name, x in trainer_state(trainer)[0].items()}
    agent = {f'agent.{name}': p.detach().clone() for name, p in trainer.agent.named_parameters()}
    learn_again(trainer)
    return tensors, agent, wholes(trainer.agent)


@pytest.mark.parametrize('before, after', [(2, 1), (1, 2), (2, 2), (2, 3)])
def test_a_checkpoint_is_taken_up_split_or_whole(tmp_path, before, after):
    path = tmp_path/'checkpoint'
    unbroken = together(before, tmp_path, save_after_two, path)[0]
    saved, _ = read_checkpoint(path)
    results = together(after, tmp_path, take_up, path)
    tensors = results[0][0]
    for name, x in tensors.items():
        assert name.startswith('rng') or x.equal(saved[name]), name
    for _, agent, one_more in results:
        assert all(x.equal(saved[name]) for name, x in agent.items())
        if before == 2 and after == 2:
            assert all(map(torch.equal, unbroken, one_more))
        else:
            assert max((a - b).abs().max() for a, b in zip(unbroken, one_more)) < 1e-4


# refusals

def test_one_process_has_nothing_to_split(small_files, tmp_path):
    agent, reference = Agent(tiny_gpt2()), tiny_gpt2(seed=1)
    with pytest.raises(ValueError, match='only one: start several .* leave shard out'):
        trainer_of(agent, reference, shard=True)
    folder = tmp_path/'run'
    assert_refused(run(*BRIEF, '--shard', '--out', folder), 'and here is only one: start several')
    assert not folder.exists()


def test_pairs_and_chat_models_do_not_learn_with_it(tmp_path):
    for method in ('dpo', 'online_dpo'):
        with pytest.raises(ValueError, match=f'{method} does not learn with shard'):
            MethodConfig(method=method, shard=True)
    results = ends(start('--chat', '--shard', '--device', 'cpu', '--out', tmp_path/'run'))
    assert [result.returncode for result in results] == [1, 1]
    assert all('--chat and --shard do not go together' in line for line in said(results))
    assert said(results) and not (tmp_path/'run').exists()


def test_layers_that_share_weights_are_refused():
    with pytest.raises(ValueError, match='Zamba.* share weights.* leave shard out') as refusal:
        sharding.check_splittable(ARCHITECTURES['Zamba']())
    assert '\n' not in str(refusal.value)
    sharding.check_splittable(ARCHITECTURES['Llama']())


def refusals():
    "What two processes say of models that they cannot split."
    frozen = tiny_gpt2()
    frozen.transformer.wpe.requires_grad_(False)
    found = []
    for model in (frozen, torch.nn.Linear(1, 1)):
        with pytest.raises(ValueError) as refusal:
            sharding.check_splittable(model)
        found.append(str(refusal.value))
    with pytest.raises(ValueError) as refusal:
        new_trainer(frozen)
    return [*found, str(refusal.value)]


def test_models_that_cannot_be_split_are_refused(tmp_path):
    for of_frozen, of_unknown, of_trainer in together(2, tmp_path, refusals):
        assert 'some weights are frozen, as with LoRA' in of_frozen == of_trainer
        assert of_unknown == 'Linear has no layers that are marked as such: leave shard out'


# the command

MANY = '16'  # updates


@pytest.fixture(scope='module')
def whole_run(small_files, tmp_path_factory):
    "A run of two processes that is split, from beginning to end."
    folder = tmp_path_factory.mktemp('split-runs')/'whole'
    end_well(start(*BRIEF, '--shard', '--updates', MANY, '--out', folder))
    return folder


def test_a_split_run_leaves_what_every_run_leaves(whole_run):
    files = {path.name for path in whole_run.iterdir()}
    assert {'metrics.jsonl', 'report.html', 'model.safetensors', 'summary.json'} <= files
    rows = metrics(whole_run)
    assert len(rows) == int(MANY) and all(math.isfinite(row['kl']) for row in rows)
    model = AutoModelForCausalLM.from_pretrained(whole_run)
    saved, _ = read_checkpoint(whole_run/'checkpoint.safetensors')
    for name, weight in model.named_parameters():
        assert weight.equal(saved[f'agent.model.{name}'])
    tuned = AutoModelForCausalLM.from_pretrained(whole_run/'sft')
    base = AutoModelForCausalLM.from_pretrained(MODEL)
    trunk = AutoModel.from_pretrained(whole_run/'reward_model')
    networks = [base.transformer, tuned.transformer, trunk, model.transformer]
    for one, other in combinations(networks, 2):  # each step has moved it
        assert largest_gap(one.state_dict(), other.state_dict()) > 0


@pytest.fixture(scope='module')
def killed_run(whole_run):
    "The folder of a split run of two, one of which was killed, and what the other said."
    folder = whole_run.parent/'killed'
    running = start(*BRIEF, '--shard', '--updates', MANY, '--out', folder)
    wait_for_updates(folder, 3, running)
    running[1].process.kill()
    return folder, running[0].result(60)


def test_killed_and_taken_up_a_split_run_ends_where_it_would_have(killed_run, whole_run, tmp_path):
    folder, survivor = killed_run
    [line] = said([survivor])
    assert survivor.returncode == 1 and 'Traceback' not in survivor.stderr
    assert 'another process has ended' in line and line.endswith(f'rlhf-train --resume {folder}')
    shutil.copytree(folder, tmp_path/'copy')
    end_well(start('--resume', tmp_path/'copy'))
    assert end_of(tmp_path/'copy') == end_of(whole_run)


def test_a_split_run_is_taken_up_whole_by_one_and_split_again_by_two(killed_run, tmp_path):
    folder = tmp_path/'copy'
    shutil.copytree(killed_run[0], folder)
    done = read_checkpoint(folder/'checkpoint.safetensors')[1]['update']
    run_well('--resume', folder, '--updates', str(done + 1))
    settings = read_checkpoint(folder/'checkpoint.safetensors')[1]['settings']
    assert settings['shard'] is False
    end_well(start('--resume', folder, '--updates', str(done + 2), '--shard'))
    settings = read_checkpoint(folder/'checkpoint.safetensors')[1]['settings']
    assert settings['shard'] is True and len(metrics(folder)) == done + 2


def test_a_run_of_before_there_was_such_a_setting_is_taken_up_whole():
    settings = asdict(MethodConfig())
    del settings['shard']
    state = {'run': asdict(RunConfig()), 'settings': settings, 'figures': {}, 'made_from': {}}
    with mock.patch.object(command, 'read_checkpoint', return_value=({}, state)):
        assert command.settings_of_checkpoint('checkpoint.safetensors')[1] == MethodConfig()


def test_a_run_of_before_that_has_no_checkpoint_is_taken_up_too(tmp_path):
    settings = asdict(RunConfig()) | asdict(MethodConfig())
    del settings['shard']
    (tmp_path/'config.json').write_text(json.dumps({'rlhf': settings}), encoding='utf-8')
    assert command.find_settings(tmp_path) == (RunConfig(), MethodConfig())


def test_that_it_is_split_from_here_on_is_written_down(tmp_path):
    run, before = RunConfig(), MethodConfig()
    now = replace(before, shard=True)
    command.note_what_is_asked(tmp_path, run, before, now)
    assert command.find_settings(tmp_path) == (run, now)

    trainer = make_trainer(Agent(tiny_gpt2()), tiny_gpt2(), MethodConfig(
        batch_size=4, prompt_length=4, response_length=4))
    path = tmp_path/'checkpoint.safetensors'
    save_checkpoint(path, trainer, 0, run=asdict(run), figures={}, made_from={})
    before = trainer.config
    command.note_what_is_asked(tmp_path, run, before, replace(before, shard=True))
    assert command.find_settings(tmp_path)[1] == replace(before, shard=True)


def parts_that_are_filled():
    "Before any number is there, each process knows its part; and what it holds in the end."
    torch.manual_seed(0)
    agent = Agent(tiny_gpt2().to(torch.bfloat16))
    agent.model.register_buffer('constant', torch.arange(3.0), persistent=False)
    agent.model.register_buffer('its_second_name', agent.model.constant)
    shapes, fill_parts = [], sharding.fill_parts

    def noted(learner, module):
        assert all(weight.is_meta for weight in learner.parameters())
        shapes.extend(weight.to_local().shape for weight in learner.parameters())
        fill_parts(learner, module)

    with mock.patch.object(sharding, 'fill_parts', noted):
        learner = sharding.split_copy(agent)
    weights = {name: sharding.put_together(x.detach()) for name, x in learner.named_parameters()}
    assert learner.model.constant.tolist() == [0, 1, 2]
    assert learner.model.its_second_name.tolist() == [0, 1, 2]
    tied = learner.model.lm_head.weight is learner.model.transformer.wte.weight
    given = {name: x.detach().float() for name, x in agent.named_parameters()}
    return shapes, [x.to_local().shape for x in learner.parameters()], weights, given, tied


def test_a_copy_is_never_whole_in_one_process(tmp_path):
    for planned, held, weights, given, tied in together(2, tmp_path, parts_that_are_filled):
        assert planned == held
        assert sum(shape.numel() for shape in held) < 0.55*sum(x.numel() for x in given.values())
        assert weights.keys() == given.keys()
        for name, x in given.items():
            assert x.equal(weights[name]), name
            assert weights[name].dtype == torch.float32
        assert tied


@pytest.mark.parametrize('n, copies, in_16_bits', [(2, 5, 4), (8, 3.5, 2.5)])
def test_what_is_split_needs_less_memory(n, copies, in_16_bits):
    with mock.patch.object(inputs, 'n_processes', return_value=n):
        assert inputs.copies_of_weights(RunConfig(), MethodConfig(shard=True)) == copies
        rounded = MethodConfig(shard=True, bf16=True)
        assert inputs.copies_of_weights(RunConfig(), rounded) == in_16_bits
        assert inputs.copies_of_weights(RunConfig(), MethodConfig()) == 6


def test_memory_that_runs_out_is_no_lost_process():
    with pytest.raises(torch.OutOfMemoryError), processes.noticing_the_loss():
        raise torch.OutOfMemoryError('out of memory')
    assert not processes.tells_of_loss(RuntimeError('/home/gloomy/weights cannot be read'))


def test_a_chat_model_is_not_split_when_its_run_is_taken_up_either():
    with pytest.raises(ValueError, match='do not go together'):
        inputs.load_inputs(RunConfig(**CHAT_RUN), MethodConfig(shard=True), begun=True)


# models of 16 bits beside a learner of 32

@pytest.fixture(scope='module')
def rounded_run(small_files, tmp_path_factory):
    "A run of two processes with `--shard --bf16`, of three updates."
    folder = tmp_path_factory.mktemp('rounded-runs')/'run'
    end_well(start(*BRIEF, '--shard', '--bf16', '--updates', '3', '--out', folder))
    return folder


def types_in(folder):
    tensors = load_file(folder/'model.safetensors')
    return {x.dtype for x in tensors.values()}


def test_all_but_what_learns_has_16_bits(rounded_run):
    for part in ('.', 'sft', 'reward_model'):
        assert types_in(rounded_run/part) == {torch.bfloat16}, part
    saved, _ = read_checkpoint(rounded_run/'checkpoint.safetensors')
    learnt = {name: x for name, x in saved.items() if name.startswith('agent.model.')}
    assert {x.dtype for x in learnt.values()} == {torch.float32}
    assert any(not x.equal(x.bfloat16().float()) for x in learnt.values())  # small steps add up
    model = AutoModelForCausalLM.from_pretrained(rounded_run, dtype=torch.bfloat16)
    for name, weight in model.named_parameters():
        assert weight.equal(saved[f'agent.model.{name}'].bfloat16()), name


def test_a_run_of_16_bits_is_taken_up_by_two_by_one_and_by_two(rounded_run, tmp_path):
    folder = tmp_path/'copy'
    shutil.copytree(rounded_run, folder)
    end_well(start('--resume', folder, '--updates', '4'))
    run_well('--resume', folder, '--updates', '5')
    assert read_checkpoint(folder/'checkpoint.safetensors')[1]['settings']['shard'] is False
    end_well(start('--resume', folder, '--updates', '6', '--shard'))
    rows = metrics(folder)
    assert len(rows) == 6 and all(math.isfinite(row['kl']) for row in rows)


def test_a_whole_run_that_is_split_from_here_on_keeps_its_models(small_files, tmp_path):
    folder = tmp_path/'run'
    run_well(*BRIEF, '--bf16', '--updates', '1', '--out', folder)
    assert types_in(folder/'sft') == {torch.float32}
    end_well(start('--resume', folder, '--updates', '2', '--shard'))
    assert len(metrics(folder)) == 2 and types_in(folder) == {torch.float32}


def test_a_whole_run_from_weights_of_16_bits_keeps_its_models_too(rounded_run, tmp_path):
    "They are loaded in 32 bits, and so they stay, whatever 16 bits could hold."
    folder = tmp_path/'run'
    run_well(*BRIEF, '--bf16', '--sft', rounded_run/'sft', '--updates', '1', '--out', folder)
    end_well(start('--resume', folder, '--updates', '2', '--shard'))
    assert len(metrics(folder)) == 2 and types_in(folder) == {torch.float32}


def test_models_that_do_not_compute_in_16_bits_are_refused():
    with pytest.raises(ValueError, match='XGLM.* does not compute .* leave --bf16 out') as refusal:
        inputs.try_16_bits(ARCHITECTURES['XGLM']())
    assert '\n' not in str(refusal.value)
    for name in ('Llama', 'GPT-2'):
        inputs.try_16_bits(ARCHITECTURES[name]())
