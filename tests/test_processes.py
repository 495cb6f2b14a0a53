"""Several processes do what one does: the same steps on the same rows, and they end together.

The processes are forked from the server of `warm.py` and talk through gloo."""
import copy
import math
import os
import re
import shutil
import signal
import time
from contextlib import ExitStack, nullcontext
from unittest import mock

import pandas as pd
import pytest
import torch
from conftest import free_port
from small_runs import QUICK, metrics, small_files
from tiny import TEXTS, close, tiny_gpt2, tiny_prompts, tiny_tokenizer
from warm import Running, fork, run_well

from rlhf_nbdev import advantage, ppo, reward, sft
from rlhf_nbdev.agent import Agent, Rewards
from rlhf_nbdev.beyond import MethodConfig, make_trainer, rank_pairs
from rlhf_nbdev.run.checkpoint import read_checkpoint
from rlhf_nbdev.tools import processes
from rlhf_nbdev.tools.sharding import give_weights, split_copy
from rlhf_nbdev.train import as_wide_as_all, rollout_metrics

__all__ = ['small_files']  # a fixture


def in_process(number, n, port, function, args, folder):
    "What each fork does."
    torch.set_num_threads(1)
    if n > 1:
        os.environ.update(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE=str(n),
                          MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    processes.start_processes()
    assert processes.n_processes() == n
    torch.save(function(*args), folder/f'{number}.pt')


def together(n, folder, function, *args):
    "What the function gives in each of n processes."
    port = free_port()
    forks = [fork(in_process, number, n, port, function, args, folder) for number in range(n)]
    for process in forks:
        process.join(120)
    assert [process.exitcode for process in forks] == [0]*n
    return [torch.load(folder/f'{number}.pt') for number in range(n)]


def largest_gap(before, after):
    "Over all weights of two state dicts."
    assert before.keys() == after.keys()
    return max((before[name] - after[name]).abs().max().item() for name in before)


def talk():
    "One of everything that processes say to each other."
    number = processes.process_number()
    rows = torch.arange(3*number + 1.0).view(-1, 1).requires_grad_()  # 1 row, 4, 7 …
    of_all = processes.from_all(rows)
    (of_all**2).sum().backward()
    lone = torch.nn.Parameter(torch.ones(2))
    (lone*(number + 1)).sum().backward()
    processes.add_up_gradients([lone])
    return {
        'sum': processes.over_processes(torch.tensor([number, 1])),
        'rows': of_all.detach(),
        'gradient': rows.grad,
        'bools': processes.from_all(torch.tensor([number > 0])),
        'lone': lone.grad,
        'said': processes.same_everywhere(f'by {number}'),
        'seed': processes.own_seed(0),
        'asked': processes.ask_in_parts(torch.neg, torch.arange(2)),
    }


def averaged_by_ddp():
    "The gradient of PyTorch's DistributedDataParallel, and the sum of ours, of six rows."
    torch.manual_seed(0)
    ours, x = torch.nn.Linear(3, 1), torch.randn(6, 3)
    theirs = torch.nn.parallel.DistributedDataParallel(copy.deepcopy(ours))
    own = processes.own_rows(6)
    (ours(x[own])**2).sum().div(6).backward()
    processes.add_up_gradients(ours.parameters())
    (theirs(x[own])**2).mean().backward()  # of as many rows in each process
    return ours.weight.grad, theirs.module.weight.grad


def test_the_sum_of_gradients_is_that_of_ddp(tmp_path):
    for ours, theirs in together(2, tmp_path, averaged_by_ddp):
        close(ours, theirs, 1e-6)


def test_sums_rows_and_what_the_main_one_says(tmp_path):
    answers = together(3, tmp_path, talk)
    rows = torch.cat([torch.arange(length) for length in (1, 4, 7)])
    for number, said in enumerate(answers):
        assert said['sum'].tolist() == [3, 3]
        assert said['rows'].flatten().tolist() == rows.tolist()
        assert said['gradient'].flatten().tolist() == [2*i for i in range(3*number + 1)]
        assert said['bools'].tolist() == [False, True, True]
        assert said['lone'].tolist() == [6, 6]
        assert said['said'] == 'by 0'
        assert said['asked'].tolist() == [0, -1]  # one process has no row
    assert len({said['seed'] for said in answers}) == 3


def sgd(parameters, lr, **others):
    "Steps as long as the gradient: those of AdamW would hide a gradient that is too long."
    return torch.optim.SGD(parameters, lr)


def plainly(module):
    "Nothing is rounded to 16 bits, steps are as long as gradients, and these are not clipped."
    stack = ExitStack()
    stack.enter_context(mock.patch.object(module, 'autocast', lambda device: nullcontext()))
    stack.enter_context(mock.patch('torch.optim.AdamW', sgd))
    stack.enter_context(mock.patch('torch.nn.utils.clip_grad_norm_'))
    return stack


def fine_tuned(is_split=False):
    "A model after one epoch: five batches of four sentences, and a last one of one."
    tokenizer = tiny_tokenizer()
    model = tiny_gpt2(vocab=len(tokenizer), eos=tokenizer.eos_token_id)
    sentences = [f'{text} {i % 3*"So it is. "}' for i, text in enumerate([*TEXTS, *TEXTS][:21])]
    train = sft.Demonstrations(tokenizer, sentences, 4, 44)
    held_out = sft.Demonstrations(tokenizer, sentences[:5], 4, 44)
    torch.manual_seed(0)
    learner = split_copy(model) if is_split else model
    with plainly(sft):
        history = sft.train_sft(learner, train, held_out, batch_size=4, learning_rate=0.1)
    give_weights(learner, model)
    return model.state_dict(), history, len(train)


@pytest.mark.parametrize('n', [2, 3])
def test_step_one_of_several_is_that_of_one(tmp_path, n):
    [(alone, history, rows)] = together(1, tmp_path, fine_tuned)
    assert rows == 21 and len(history) > 3
    for weights, their_history, _ in together(n, tmp_path, fine_tuned):
        assert largest_gap(alone, weights) < 2e-6
        for row, theirs in zip(history, their_history, strict=True):
            assert theirs == pytest.approx(row, rel=1e-5, nan_ok=True)


def reward_data(tokenizer, kind):
    "Nine sentences with ratings, or eleven comparisons: batches that do not divide."
    rng = torch.Generator().manual_seed(0)
    if kind == 'rated':
        ratings = [torch.randint(-4, 5, (5,), generator=rng).tolist() for _ in TEXTS[:9]]
        table = pd.DataFrame({'text': TEXTS[:9], 'ratings': ratings})
        return reward.RatedSentences(tokenizer, table)
    rows = [{'prompt': '', 'chosen': TEXTS[i % 4], 'rejected': TEXTS[(i + 1) % 3]}
            for i in range(11)]
    return reward.PreferenceDataset(tokenizer, rows)


def rewarded(kind, is_split=False):
    "A reward model after two epochs of batches of four."
    tokenizer = tiny_tokenizer()
    model = tiny_gpt2(vocab=len(tokenizer), eos=tokenizer.eos_token_id)
    reward_model = reward.RewardModel(model)
    torch.nn.init.normal_(reward_model.head.weight)
    data = reward_data(tokenizer, kind)
    learner = split_copy(reward_model) if is_split else reward_model
    with plainly(reward):
        history = reward.train_reward_model(learner, data, 4, 1e-3, epochs=2)
    give_weights(learner, reward_model)
    return reward_model.state_dict(), history


@pytest.mark.parametrize('n', [2, 3])
@pytest.mark.parametrize('kind', ['rated', 'compared'])
def test_step_two_of_several_is_that_of_one(tmp_path, kind, n):
    [(alone, history)] = together(1, tmp_path, rewarded, kind)
    assert history[0] != history[-1]
    for weights, their_history in together(n, tmp_path, rewarded, kind):
        assert largest_gap(alone, weights) < 2e-6
        for row, theirs in zip(history, their_history, strict=True):
            assert theirs == pytest.approx(row, rel=1e-4)


# step three

def sampled(agent, reference):
    "Twelve responses, the long ones first, so that parts of the batch have unequal tokens."
    ids, mask = tiny_prompts(rows=12)
    torch.manual_seed(3)
    rollout = agent.generate(ids, mask, 8, 1.0)
    pairs = rollout.response_mask.sum(1).view(-1, 2).sum(1)  # what belongs together stays so
    order = torch.stack([2*pairs.argsort(descending=True)]*2, 1).flatten()
    order[1::2] += 1
    rollout = rollout[order]
    scored = agent.compute_rewards(
        rollout, lambda tokens, mask: (tokens*mask).sum(1)/100, reference, 0.5)
    return rollout, scored


def part_of(rollout, scored, rows):
    "As if these rows had been sampled alone: no wider than the longest of them."
    R = rollout.response_mask.shape[1]
    room = R - rollout.response_mask[rows].sum(1).max().item()
    part = rollout[rows]
    for name in ('tokens', 'mask', 'response_mask', 'logprobs', 'values'):
        x = getattr(part, name)
        setattr(part, name, x[:, :x.shape[1] - room])
    own_width = part.response_mask.shape[1]
    part = as_wide_as_all(part, 1)
    return part, Rewards(scored.scores[rows], scored.ref_logprobs[rows]), own_width


class SameRows:
    "The choice of minibatches of n processes, and for one process what these choose together."
    def __init__(self, n):
        self.n, self.epoch = n, 0

    def chosen(self, number, rows, minibatches):
        rng = torch.Generator().manual_seed(10*self.epoch + number)
        return torch.randperm(rows, generator=rng).chunk(minibatches)

    def __call__(self, trainer, n_rows):
        self.epoch += 1
        several, minibatches = processes.n_processes(), trainer.config.minibatches
        if several > 1:
            return self.chosen(processes.process_number(), n_rows, minibatches)
        rows = n_rows//self.n
        parts = [self.chosen(number, rows, minibatches) for number in range(self.n)]
        return [torch.cat([rows*number + part[j] for number, part in enumerate(parts)])
                for j in range(minibatches)]


def alone_whitened(x, mask):
    "The bug: each process takes the mean of its own tokens."
    return advantage.masked_mean(x, mask)


def mean_of_means(trainer, part, whole):
    "The bug: processes count alike, however many tokens they have."
    return part.sum()/whole.sum()/processes.n_processes()


BUGS = {
    '': {},
    'whitened alone': {'rlhf_nbdev.advantage.mean_over_all': alone_whitened},
    'mean of means': {'rlhf_nbdev.ppo.RLHFTrainer.share': mean_of_means},
}


def learned(method, n, microbatches=1, bug='', **settings):
    "Weights and figures after an update on twelve responses, in as many processes as there are."
    policy, reference = tiny_gpt2(seed=0), tiny_gpt2(seed=1)
    config = MethodConfig(
        method=method, batch_size=12, response_length=8, epochs=2, minibatches=2,
        microbatches=microbatches, responses_per_prompt=2, temperature=1.0, max_grad_norm=math.inf,
        **settings)
    agent = Agent(policy)
    agent.eos_token_ids = list(range(10))  # of 64 tokens: responses of all lengths
    torch.nn.init.normal_(agent.value_head.weight, std=0.3)
    rollout, scored = sampled(agent, reference)
    trainer = make_trainer(agent, reference, config, rank_pairs(rollout, scored.scores))
    trainer.optimizer = torch.optim.SGD(trainer.learner.parameters(), 0.3)
    own = processes.own_rows(12)
    part, scored, width = part_of(rollout, scored, own)
    torch.manual_seed(4)
    with ExitStack() as stack:
        same_rows = SameRows(n)
        stack.enter_context(mock.patch.object(
            ppo.RLHFTrainer, 'minibatch_rows', lambda self, n_rows: same_rows(self, n_rows)))
        for place, function in BUGS[bug].items():
            stack.enter_context(mock.patch(place, function))
        stats = trainer.learn_from(part, scored) | rollout_metrics(part, scored)
    return trainer.agent.state_dict(), stats, (part.response_mask.sum().item(), width)


CASES = [  # how many processes share twelve responses; method, microbatches, bug
    (2, 'ppo', 1, ''), (2, 'rloo', 1, ''), (2, 'reinforce++', 1, ''), (2, 'grpo', 1, ''),
    (2, 'gspo', 1, ''), (2, 'dpo', 1, ''), (2, 'online_dpo', 1, ''), (2, 'ppo', 3, ''),
    (2, 'grpo', 2, ''), (3, 'ppo', 1, ''), (3, 'rloo', 2, ''), (3, 'online_dpo', 2, ''),
    (2, 'ppo', 1, 'whitened alone'), (2, 'ppo', 1, 'mean of means'),
]


def learned_all(cases):
    return [learned(method, n, microbatches, bug) for n, method, microbatches, bug in cases]


@pytest.fixture(scope='module')
def updates(tmp_path_factory):
    "Of each case: what one process has learnt, and what each of several."
    found = {}
    for n in (2, 3):
        folder = tmp_path_factory.mktemp(f'processes-{n}')
        cases = [case for case in CASES if case[0] == n]
        plain = [(n, method, 1, '') for _, method, _, _ in cases]
        [alone] = together(1, folder, learned_all, plain)
        several = zip(*together(n, folder, learned_all, cases))
        found |= dict(zip(cases, zip(alone, several)))
    return found


def untrained_weights():
    agent = Agent(tiny_gpt2(seed=0))
    torch.nn.init.normal_(agent.value_head.weight, std=0.3)
    return agent.state_dict()


@pytest.mark.parametrize('case', [case for case in CASES if not case[-1]], ids=str)
def test_an_update_of_several_is_that_of_one(updates, case):
    (alone, stats, _), several = updates[case]
    tokens, widths = zip(*[size for _, _, size in several])
    assert max(tokens) > 1.3*min(tokens) and max(widths) > min(widths), 'parts are to be unlike'
    assert largest_gap(alone, untrained_weights()) > 1e-3
    for weights, their_stats, _ in several:
        assert largest_gap(alone, weights) < 1e-6
        assert their_stats == pytest.approx(stats, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize('case', [case for case in CASES if case[-1]], ids=str)
def test_what_each_process_does_for_itself_is_something_else(updates, case):
    (alone, _, _), several = updates[case]
    for weights, _, _ in several:
        assert largest_gap(alone, weights) > 1e-4


# the command

MANY = '120'  # updates: so many that a run is stopped before its end on a busy machine, too
BRIEF = [*QUICK, '--save_every', '1', '--sft_sentences', '32', '--reward_pairs', '32']


def start(*options, n=2):
    "The command in n processes."
    port = free_port()
    places = [{'RANK': str(i), 'LOCAL_RANK': str(i), 'WORLD_SIZE': str(n),
               'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)} for i in range(n)]
    return [Running(*options, env=place) for place in places]


def ends(running, timeout=120):
    return [process.result(timeout) for process in running]


def end_well(running):
    results = ends(running)
    assert [result.returncode for result in results] == [0]*len(running), results
    assert not any(result.stdout + result.stderr for result in results[1:]), 'only one speaks'
    return results[0]


def said(results):
    "The lines that say why a run has ended."
    return [line for result in results for line in result.stderr.splitlines()
            if line.startswith('rlhf-train:')]


def wait_for_updates(folder, n, running):
    "Return when so many rows are written."
    for _ in range(1200):
        if len(metrics(folder)) >= n:
            return
        assert not any(process.ended for process in running), said(ends(running))
        time.sleep(0.05)
    raise AssertionError('no updates')


def end_of(folder):
    "Metrics, and every tensor of the last checkpoint."
    tensors, numbers = read_checkpoint(folder/'checkpoint.safetensors')
    return metrics(folder), {name: x.tolist() for name, x in tensors.items()}


@pytest.fixture(scope='module')
def whole_run(small_files, tmp_path_factory):
    "A run of two processes, from beginning to end."
    folder = tmp_path_factory.mktemp('runs')/'whole'
    result = end_well(start(*BRIEF, '--updates', MANY, '--out', folder))
    assert f'the run is in {folder}' in result.stdout
    return folder


def test_a_run_of_two_leaves_what_every_run_leaves(whole_run):
    files = {path.name for path in whole_run.iterdir()}
    assert {'metrics.jsonl', 'report.html', 'model.safetensors', 'summary.json'} <= files
    assert not [name for name in files if name.startswith('failed')]
    rows = metrics(whole_run)
    assert len(rows) == int(MANY) and all(math.isfinite(row['kl']) for row in rows)
    tensors, _ = read_checkpoint(whole_run/'checkpoint.safetensors')
    assert {'rng.cpu', 'rng.cpu.1'} <= tensors.keys()
    assert not tensors['rng.cpu'].equal(tensors['rng.cpu.1'])


def test_asked_to_stop_one_by_one_and_taken_up_by_two_a_run_ends_where_it_would_have(
        whole_run, tmp_path):
    folder = tmp_path/'stopped'
    running = start(*BRIEF, '--updates', MANY, '--out', folder)
    wait_for_updates(folder, 2, running)
    running[1].send_signal(signal.SIGTERM)  # of which the other one hears nothing
    results = ends(running)
    assert [result.returncode for result in results] == [143, 143]
    assert 'stopped by SIGTERM' in results[0].stdout
    assert 2 <= len(metrics(folder)) < int(MANY)
    end_well(start('--resume', folder))
    assert end_of(folder) == end_of(whole_run)


@pytest.fixture(scope='module')
def killed_run(whole_run):
    "The folder of a run of two, one of which was killed, and what the other said."
    folder = whole_run.parent/'killed'
    running = start(*BRIEF, '--updates', '200', '--out', folder)
    wait_for_updates(folder, 3, running)
    running[1].process.kill()
    began = time.monotonic()
    survivor = running[0].result(60)
    return folder, survivor, time.monotonic() - began


def test_when_one_is_killed_the_other_ends_and_says_what_stands(killed_run):
    folder, survivor, seconds = killed_run
    assert survivor.returncode == 1 and seconds < 20
    [line] = said([survivor])
    update = int(re.search('last checkpoint is of update ([0-9]+)', line)[1])
    assert line.endswith(f'to go on: rlhf-train --resume {folder}')
    assert read_checkpoint(folder/'checkpoint.safetensors')[1]['update'] == update >= 2
    assert 'Traceback' not in survivor.stderr


@pytest.mark.parametrize('n', [1, 2, pytest.param(4, marks=pytest.mark.sweep)])
def test_what_was_left_can_be_taken_up_by_another_number(killed_run, tmp_path, n):
    folder = tmp_path/'copy'
    shutil.copytree(killed_run[0], folder)
    done = read_checkpoint(folder/'checkpoint.safetensors')[1]['update']
    options = ['--resume', folder, '--updates', str(done + 2)]
    result = run_well(*options) if n == 1 else end_well(start(*options, n=n))
    assert [row['update'] for row in metrics(folder)] == list(range(1, done + 3))
    changes = f'processes: {n} in place of 2; after update {done} the run goes on' in result.stdout
    assert changes == (n != 2)


def test_a_score_that_is_not_finite_in_one_ends_both(small_files, tmp_path):
    folder = tmp_path/'run'
    results = ends(start(*BRIEF, '--updates', '20', '--out', folder,
                         '--reward', 'rewards_of_one:not_finite'))
    assert [result.returncode for result in results] == [1, 1]
    [line] = said(results)
    [evidence] = folder.glob('failed-update-*')
    assert 'the reward model gave nan' in line and str(evidence) in line
    assert evidence.name.endswith('-process-1') and (evidence/'batch.safetensors').is_file()


def test_a_reward_that_fails_in_one_ends_both(small_files, tmp_path):
    results = ends(start(*BRIEF, '--updates', '20', '--out', tmp_path/'run',
                         '--reward', 'rewards_of_one:failing'))
    assert [result.returncode for result in results] == [1, 1]
    assert 'the server of rewards is gone' in results[1].stderr
    [line] = said(results)
    assert 'another process has ended' in line and 'to go on: rlhf-train --resume' in line


def test_a_batch_that_cannot_be_shared_out_is_refused(small_files, tmp_path):
    results = ends(start(*BRIEF, '--out', tmp_path/'run', n=3))
    assert [result.returncode for result in results] == [1]*3
    for line in said(results):  # once, where the counter outlives the main process
        assert 'batch_size 8 does not divide among 3 processes' in line
    assert not (tmp_path/'run').exists()
