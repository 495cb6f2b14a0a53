"""Several processes do what one does: the same steps on the same rows, and they end together.

The processes are forked from the server of `warm.py` and talk through gloo."""
import math
import os
from contextlib import ExitStack, nullcontext
from unittest import mock

import pandas as pd
import pytest
import torch
from conftest import free_port
from tiny import TEXTS, tiny_gpt2, tiny_prompts, tiny_tokenizer
from warm import fork

from rlhf_nbdev import advantage, ppo, reward, sft
from rlhf_nbdev.agent import Agent, Rewards
from rlhf_nbdev.beyond import MethodConfig, make_trainer, rank_pairs
from rlhf_nbdev.tools import processes
from rlhf_nbdev.train import as_wide_as_all, rollout_metrics


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


def fine_tuned():
    "A model after one epoch: five batches of four sentences, and a last one of one."
    tokenizer = tiny_tokenizer()
    model = tiny_gpt2(vocab=len(tokenizer), eos=tokenizer.eos_token_id)
    sentences = [f'{text} {i % 3*"So it is. "}' for i, text in enumerate([*TEXTS, *TEXTS][:21])]
    train = sft.Demonstrations(tokenizer, sentences, 4, 44)
    held_out = sft.Demonstrations(tokenizer, sentences[:5], 4, 44)
    torch.manual_seed(0)
    with plainly(sft):
        history = sft.train_sft(model, train, held_out, batch_size=4, learning_rate=0.1)
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


def rewarded(kind):
    "A reward model after two epochs of batches of four."
    tokenizer = tiny_tokenizer()
    model = tiny_gpt2(vocab=len(tokenizer), eos=tokenizer.eos_token_id)
    reward_model = reward.RewardModel(model)
    torch.nn.init.normal_(reward_model.head.weight)
    data = reward_data(tokenizer, kind)
    with plainly(reward):
        history = reward.train_reward_model(reward_model, data, 4, 1e-3, epochs=2)
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
    torch.manual_seed(3)
    ids, mask = tiny_prompts(rows=12)
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
    part = as_wide_as_all(part, 1)
    return part, Rewards(scored.scores[rows], scored.ref_logprobs[rows])


class SameRows:
    "The choice of minibatches of n processes, and for one process what these choose together."
    def __init__(self, n):
        self.n, self.epoch = n, 0

    def chosen(self, number, rows, minibatches):
        rng = torch.Generator().manual_seed(10*self.epoch + number)
        return torch.randperm(rows, generator=rng).chunk(minibatches)

    def __call__(self, trainer, mask):
        self.epoch += 1
        several, minibatches = processes.n_processes(), trainer.config.minibatches
        if several > 1:
            return self.chosen(processes.process_number(), len(mask), minibatches)
        rows = len(mask)//self.n
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


def learned(method, n, microbatches=1, bug=''):
    "Weights and figures after an update on twelve responses, in as many processes as there are."
    policy, reference = tiny_gpt2(seed=0), tiny_gpt2(seed=1)
    config = MethodConfig(
        method=method, batch_size=12, response_length=8, epochs=2, minibatches=2,
        microbatches=microbatches, responses_per_prompt=2, temperature=1.0, max_grad_norm=math.inf)
    agent = Agent(policy)
    agent.eos_token_ids = list(range(10))  # of 64 tokens: responses of all lengths
    torch.nn.init.normal_(agent.value_head.weight, std=0.3)
    rollout, scored = sampled(agent, reference)
    trainer = make_trainer(agent, reference, config, rank_pairs(rollout, scored.scores))
    trainer.optimizer = torch.optim.SGD(trainer.agent.parameters(), 0.3)
    own = processes.own_rows(12)
    part, scored = part_of(rollout, scored, own)
    torch.manual_seed(4)
    with ExitStack() as stack:
        same_rows = SameRows(n)
        stack.enter_context(mock.patch.object(
            ppo.RLHFTrainer, 'minibatch_rows', lambda self, mask: same_rows(self, mask)))
        for place, function in BUGS[bug].items():
            stack.enter_context(mock.patch(place, function))
        stats = trainer.learn_from(part, scored) | rollout_metrics(part, scored)
    return trainer.agent.state_dict(), stats, part.response_mask.sum().item()


METHODS = ['ppo', 'rloo', 'reinforce++', 'grpo', 'gspo', 'dpo', 'online_dpo']


@pytest.mark.parametrize('method', METHODS)
def test_an_update_of_two_is_that_of_one(tmp_path, method):
    [(alone, stats, _)] = together(1, tmp_path, learned, method, 2)
    (first, _, long), (_, _, short) = answers = together(2, tmp_path, learned, method, 2)
    assert long > 1.3*short, 'the parts are to have unequal numbers of tokens'
    assert largest_gap(alone, tiny_agent_weights()) > 1e-3
    for weights, their_stats, _ in answers:
        assert largest_gap(alone, weights) < 1e-6
        assert their_stats == pytest.approx(stats, rel=1e-4, abs=1e-6)


def tiny_agent_weights():
    agent = Agent(tiny_gpt2(seed=0))
    torch.nn.init.normal_(agent.value_head.weight, std=0.3)
    return agent.state_dict()


@pytest.mark.parametrize('method, n, microbatches', [
    ('ppo', 3, 1), ('ppo', 2, 3), ('grpo', 2, 2), ('rloo', 3, 2), ('online_dpo', 3, 2)])
def test_neither_their_number_nor_microbatches_change_an_update(tmp_path, method, n, microbatches):
    [(alone, stats, _)] = together(1, tmp_path, learned, method, n)
    for weights, their_stats, _ in together(n, tmp_path, learned, method, n, microbatches):
        assert largest_gap(alone, weights) < 1e-6
        assert their_stats == pytest.approx(stats, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize('bug', ['whitened alone', 'mean of means'])
def test_what_each_process_does_for_itself_is_something_else(tmp_path, bug):
    [(alone, _, _)] = together(1, tmp_path, learned, 'ppo', 2)
    for weights, _, _ in together(2, tmp_path, learned, 'ppo', 2, 1, bug):
        assert largest_gap(alone, weights) > 1e-4
