"""What must not matter does not: padding, the order of a batch, the number of microbatches.

What is counted is what the settings say. Cases are drawn by hypothesis, in float64 where that makes
equality tight."""
import copy
import os

import pytest
import torch
from hypothesis import assume, given, settings, strategies as st
from tiny import tiny_gpt2
from torch.utils.data import DataLoader

from rlhf_nbdev.advantage import (
    compute_advantage_and_return,
    kl_k1,
    kl_k3,
    masked_mean,
    shape_rewards,
    whiten,
)
from rlhf_nbdev.agent import Agent, Rollout
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer, compute_loss, explained_variance
from rlhf_nbdev.reward import RewardModel
from rlhf_nbdev.train import ppo_updates

V, P, MOST = 24, 4, 6
examples = 16 if 'SWEEPS' in os.environ else 6
fuzz = settings(max_examples=examples, derandomize=True, database=None, deadline=None)
response_lengths = st.lists(st.integers(1, MOST), min_size=2, max_size=7)  # tokens, for each row
seeds = st.integers(0, 2**31 - 1)


def model_of_24_tokens():
    return tiny_gpt2(vocab=V)


def draw_batch(lengths, seed):
    "A rollout of responses of these lengths, prompts of 1 to P tokens; what else learning needs."
    generator = torch.Generator().manual_seed(seed)
    B, R = len(lengths), max(lengths)

    def normal():
        return torch.randn(B, R, generator=generator, dtype=torch.float64)

    response_mask = (torch.arange(R) < torch.tensor(lengths)[:, None]).long()
    prompt_lengths = torch.randint(1, P + 1, (B, 1), generator=generator)
    prompt_mask = (torch.arange(P) >= P - prompt_lengths).long()
    mask = torch.cat([prompt_mask, response_mask], 1)
    tokens = torch.randint(2, V, (B, P + R), generator=generator)*mask + 1 - mask
    rollout = Rollout(tokens, mask, response_mask, normal()*0.2 - 3, normal())
    learning = {'rewards': normal(), 'advantages': normal(), 'returns': normal(),
                'ref_logprobs': normal()*0.2 - 3}
    return rollout, learning


def pad(rollout, learning, extra):
    "The same with more columns of padding on either side, and arbitrary numbers on padding."
    B = len(rollout.tokens)

    def columns(value):
        return torch.full((B, extra), value)

    def pad_response(x):
        return torch.cat([x.masked_fill(rollout.response_mask == 0, 99.0), columns(99.0)], 1)

    padded = Rollout(
        tokens=torch.cat([columns(5), rollout.tokens, columns(7)], 1),
        mask=torch.cat([columns(0), rollout.mask, columns(0)], 1),
        response_mask=torch.cat([rollout.response_mask, columns(0)], 1),
        logprobs=pad_response(rollout.logprobs),
        values=pad_response(rollout.values))
    return padded, {name: pad_response(x) for name, x in learning.items()}


def per_row(rollout, learning, scores):
    "(B, 9): the sum and the first moment of all that is computed for tokens, and the score."
    mask = rollout.response_mask
    advantages, returns = compute_advantage_and_return(
        learning['rewards'], rollout.values, mask, 0.9, 0.8)
    shaped = shape_rewards(scores, rollout.logprobs, learning['ref_logprobs'], mask, 0.3)
    computed = [advantages, returns, shaped, whiten(advantages, mask)]
    places = torch.arange(mask.shape[1])
    sums = [(x*mask).sum(1) for x in computed]
    moments = [(x*mask*places).sum(1) for x in computed]
    reward_model = RewardModel(model_of_24_tokens())
    reward_model.head.weight.data.copy_(torch.linspace(-1, 1, 16))
    with torch.no_grad():
        read = reward_model(rollout.tokens, rollout.mask)
    return torch.stack([x.double() for x in (*sums, *moments, read)], 1)


def for_all(rollout, learning):
    "The loss, the scalars to watch, and the gradient of a whole batch."
    model = model_of_24_tokens().double()
    agent = Agent(copy.deepcopy(model))
    generator = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(agent.value_head.weight, generator=generator)
    trainer = RLHFTrainer(agent, model, RLHFConfig(max_grad_norm=1e9))
    loss, stats = trainer.compute_loss(rollout, learning['advantages'], learning['returns'])
    loss.backward()
    _, returns = compute_advantage_and_return(
        learning['rewards'], rollout.values, rollout.response_mask, 0.9, 0.8)
    explained = explained_variance(rollout.values, returns, rollout.response_mask)
    scalars = torch.tensor([loss.item(), *stats.values(), explained], dtype=torch.float64)
    gradient = torch.cat([p.grad.flatten() for p in agent.parameters()]).double()
    return scalars, gradient


def assert_same_learning(ours, theirs):
    (scalars, gradient), (their_scalars, their_gradient) = for_all(*ours), for_all(*theirs)
    torch.testing.assert_close(scalars, their_scalars, rtol=1e-5, atol=1e-5)
    atol = 1e-5*their_gradient.abs().max().item() + 1e-7
    torch.testing.assert_close(gradient, their_gradient, rtol=0, atol=atol)


def assert_same_rows(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)  # the reward model is in float32


@fuzz
@given(response_lengths, seeds, st.integers(1, 3))
def test_padding_never_matters(lengths, seed, extra):
    rollout, learning = draw_batch(lengths, seed)
    padded = pad(rollout, learning, extra)
    rollout.values[rollout.response_mask == 0] = -99.0
    scores = torch.arange(len(lengths)).double()
    assert_same_rows(per_row(rollout, learning, scores), per_row(*padded, scores))
    assert_same_learning((rollout, learning), padded)


@fuzz
@given(response_lengths, seeds, st.randoms(use_true_random=False))
def test_the_order_of_a_batch_never_matters(lengths, seed, random):
    rollout, learning = draw_batch(lengths, seed)
    order = random.sample(range(len(lengths)), len(lengths))
    reordered = rollout[order], {name: x[order] for name, x in learning.items()}
    scores = torch.arange(len(lengths)).double()
    rows = per_row(rollout, learning, scores)
    assert_same_rows(rows[order], per_row(*reordered, scores[order]))
    assert_same_learning((rollout, learning), reordered)


@fuzz
@given(response_lengths, seeds, st.integers(2, 9))
def test_microbatches_add_up_to_the_batch_whatever_the_lengths(lengths, seed, n):
    rollout, learning = draw_batch(lengths, seed)

    def learn(microbatches):
        config = RLHFConfig(microbatches=microbatches, max_grad_norm=1e9)
        trainer = RLHFTrainer(Agent(model_of_24_tokens()), model_of_24_tokens(), config)
        stats = trainer.learn(rollout, learning['advantages'], learning['returns'])
        gradient = torch.cat([p.grad.flatten() for p in trainer.agent.parameters()])
        return gradient, torch.tensor(list(stats.values()))

    (gradient, stats), (gradient_n, stats_n) = learn(1), learn(n)
    atol = 2e-6*max(1, gradient.abs().max().item())
    torch.testing.assert_close(gradient, gradient_n, rtol=0, atol=atol)
    torch.testing.assert_close(stats, stats_n, rtol=2e-5, atol=1e-5)


counts = st.integers(1, 3)


@fuzz
@given(counts, counts, st.integers(1, 4), counts, counts)
def test_there_are_as_many_steps_as_the_settings_say(
        updates, epochs, minibatches, rows, microbatches):
    assume(microbatches <= rows)  # more are refused
    config = RLHFConfig(
        updates=updates, epochs=epochs, minibatches=minibatches, microbatches=microbatches,
        batch_size=rows*minibatches, response_length=2, prompt_length=2)
    trainer = RLHFTrainer(Agent(model_of_24_tokens()), model_of_24_tokens(), config)
    steps, sizes = [], []
    step, compute_loss = trainer.optimizer.step, trainer.compute_loss

    def counted_step(*args):
        steps.append(1)
        return step(*args)

    def counted_loss(rollout, advantages, returns):
        sizes.append(len(rollout.tokens))
        return compute_loss(rollout, advantages, returns)

    trainer.optimizer.step, trainer.compute_loss = counted_step, counted_loss
    prompt = {'input_ids': torch.tensor([2, 3]), 'attention_mask': torch.tensor([1, 1])}
    loader = DataLoader([prompt]*config.batch_size, config.batch_size)
    metrics = list(ppo_updates(trainer, loader, lambda tokens, mask: tokens.sum(1).float()))
    assert len(metrics) == updates
    assert len(steps) == updates*epochs*minibatches
    assert sum(sizes) == updates*epochs*config.batch_size, 'each response once an epoch'
    assert max(sizes) <= -(-rows//microbatches), 'in parts no larger than asked for'


@pytest.fixture(params=[0, 1], ids=['no token', 'one token'])
def hardly_any_token(request):
    "Two tensors of arbitrary numbers, a mask of no token or of one, and how many it counts."
    mask = torch.zeros(3, 5)
    mask[0, 0] = request.param
    x, y = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    return x, y, mask, request.param


def test_means_of_hardly_any_token_are_defined(hardly_any_token):
    x, y, mask, n = hardly_any_token
    assert masked_mean(x, mask) == x[0, 0]*n
    assert torch.equal(whiten(x, mask), torch.zeros(3, 5))
    assert explained_variance(y, y + 1, mask) == 1, 'nothing to explain, and nothing left over'
    assert not kl_k3(x, x).any()


def test_advantages_of_hardly_any_token_are_defined(hardly_any_token):
    x, y, mask, _ = hardly_any_token
    rewards = shape_rewards(torch.ones(3), x, y, mask, beta=0.5)
    assert torch.equal(rewards, (1 - 0.5*kl_k1(x, y))*mask)  # the only token is the last one
    advantages, returns = compute_advantage_and_return(rewards, y, mask)
    torch.testing.assert_close(advantages, (rewards - y)*mask)
    torch.testing.assert_close(returns, rewards)


def test_losses_of_hardly_any_token_are_defined(hardly_any_token):
    x, y, mask, n = hardly_any_token
    logprobs, values = x.clone().requires_grad_(), y.clone().requires_grad_()
    loss, stats = compute_loss(logprobs, values, x, y, torch.ones(3, 5), y + 1, mask)
    loss.backward()
    torch.testing.assert_close(loss.item(), n*(-1 + 0.1*0.5))
    assert torch.equal(logprobs.grad != 0, mask.bool())
    assert torch.equal(values.grad != 0, mask.bool())
    assert torch.isfinite(torch.tensor(list(stats.values()))).all()


def test_a_minibatch_without_a_token_is_a_step_of_nothing():
    rollout, learning = draw_batch([2, 3], 0)
    rollout.response_mask = torch.zeros_like(rollout.response_mask)
    trainer = RLHFTrainer(Agent(model_of_24_tokens()), model_of_24_tokens(), RLHFConfig())
    before = [p.clone() for p in trainer.agent.parameters()]
    stats = trainer.learn(rollout, learning['advantages'], learning['returns'])
    assert stats['ppo/grad_norm'] == 0
    for p, q in zip(trainer.agent.parameters(), before):
        assert torch.equal(p, q)
