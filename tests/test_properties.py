"What must not matter does not: padding, the order of a batch, the number of microbatches. What is counted is what the settings say. Drawn by hypothesis, in float64 where that makes equality tight."
import copy, pytest, torch
from hypothesis import given, settings, strategies as st
from transformers import GPT2Config, GPT2LMHeadModel
from rlhf_nbdev.advantage import (
    compute_advantage_and_return, kl_k1, kl_k3, masked_mean, shape_rewards, whiten,
)
from rlhf_nbdev.agent import Agent, Rollout
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer, compute_loss, explained_variance
from rlhf_nbdev.reward import RewardModel
from rlhf_nbdev.train import ppo_updates

V, P, MOST = 24, 4, 6
fuzz = settings(max_examples=40, derandomize=True, database=None, deadline=None)
lengths = st.lists(st.integers(1, MOST), min_size=2, max_size=7)  # of the responses of a batch, in tokens
seeds = st.integers(0, 2**31 - 1)


def tiny(seed=0):
    torch.manual_seed(seed)
    return GPT2LMHeadModel(GPT2Config(vocab_size=V, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=0, pad_token_id=1)).eval()


def batch(lengths, seed, extra=0):
    "A rollout of responses of these lengths, with prompts of 1 to P tokens; `extra` more columns of padding on either side."
    g = torch.Generator().manual_seed(seed)
    B, R = len(lengths), max(lengths)
    response_mask = (torch.arange(R) < torch.tensor(lengths)[:, None]).long()
    prompt_mask = (torch.arange(P) >= P - torch.randint(1, P + 1, (B, 1), generator=g)).long()
    tokens = torch.randint(2, V, (B, P + R), generator=g)
    draw = lambda: torch.randn(B, R, generator=g, dtype=torch.float64)
    tensors = {'logprobs': draw()*0.2 - 3, 'values': draw(), 'rewards': draw(), 'advantages': draw(), 'returns': draw(), 'ref_logprobs': draw()*0.2 - 3}
    mask = torch.cat([prompt_mask, response_mask], 1)
    tokens = tokens*mask + 1 - mask
    if extra:
        junk = lambda value: torch.full((B, extra), value)
        tokens, mask = torch.cat([junk(5), tokens, junk(7)], 1), torch.cat([junk(0), mask, junk(0)], 1)
        response_mask = torch.cat([response_mask, junk(0)], 1)
        tensors = {name: torch.cat([x.masked_fill(response_mask[:, :R] == 0, 99.0), junk(99.0)], 1) for name, x in tensors.items()}
    return Rollout(tokens, mask, response_mask, tensors.pop('logprobs'), tensors.pop('values')), tensors


def all_numbers(model, rollout, more):
    "Everything that learning computes from a batch: what is per row, and what is one number for all."
    agent = Agent(copy.deepcopy(model).double())
    torch.nn.init.normal_(agent.value_head.weight, generator=torch.Generator().manual_seed(0))
    trainer = RLHFTrainer(agent, copy.deepcopy(model).double(), RLHFConfig(max_grad_norm=1e9))
    mask = rollout.response_mask
    loss, stats = trainer.compute_loss(rollout, more['advantages'], more['returns'])
    loss.backward()
    reward_model = RewardModel(model)
    reward_model.head.weight.data.copy_(torch.linspace(-1, 1, 16))
    advantages, returns = compute_advantage_and_return(more['rewards'], rollout.values, mask, 0.9, 0.8)
    shaped = shape_rewards(torch.arange(len(mask)).double(), rollout.logprobs, more['ref_logprobs'], mask, 0.3)
    rows = [advantages, returns, shaped, whiten(advantages, mask)]
    with torch.no_grad(): rows = [(x*mask).sum(1).double() for x in rows] + [(x*mask*torch.arange(mask.shape[1])).sum(1).double() for x in rows] + [reward_model(rollout.tokens, rollout.mask).double()]
    gradient = torch.cat([p.grad.flatten() for p in agent.parameters()]).double()
    return torch.stack(rows, 1), torch.tensor([loss.item(), *stats.values(), explained_variance(rollout.values, returns, mask)], dtype=torch.float64), gradient


def assert_equal(ours, theirs, order=slice(None)):
    torch.testing.assert_close(ours[0][order], theirs[0], rtol=0, atol=2e-5)  # the reward model, and the softmax, are in float32
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours[2], theirs[2], rtol=0, atol=1e-5*ours[2].abs().max().item() + 1e-7)


@fuzz
@given(lengths, seeds, st.integers(1, 3))
def test_padding_never_matters(lengths, seed, extra):
    plain, padded = batch(lengths, seed), batch(lengths, seed, extra)
    plain[0].values[plain[0].response_mask == 0] = -99.0
    ours, theirs = (all_numbers(tiny(), *each) for each in (plain, padded))
    assert_equal(ours, theirs)


@fuzz
@given(lengths, seeds, st.randoms(use_true_random=False))
def test_the_order_of_a_batch_never_matters(lengths, seed, random):
    rollout, more = batch(lengths, seed)
    order = random.sample(range(len(lengths)), len(lengths))
    ours = all_numbers(tiny(), rollout, more)
    ours[0][:, 2] -= torch.arange(len(lengths)); ours[0][:, 6] -= torch.arange(len(lengths))*(rollout.response_mask.sum(1) - 1)  # the scores drawn for them, which go by place
    theirs = all_numbers(tiny(), rollout[order], {name: x[order] for name, x in more.items()})
    theirs[0][:, 2] -= torch.arange(len(lengths)); theirs[0][:, 6] -= torch.arange(len(lengths))*(rollout.response_mask[order].sum(1) - 1)
    assert_equal(ours, theirs, order)


@fuzz
@given(lengths, seeds, st.integers(2, 9))
def test_microbatches_add_up_to_the_batch_whatever_the_lengths(lengths, seed, n):
    rollout, more = batch(lengths, seed)
    results = []
    for microbatches in (1, n):
        trainer = RLHFTrainer(Agent(tiny()), tiny(), RLHFConfig(microbatches=microbatches, max_grad_norm=1e9))
        stats = trainer.learn(rollout, more['advantages'], more['returns'])
        results.append((torch.cat([p.grad.flatten() for p in trainer.agent.parameters()]), torch.tensor(list(stats.values()))))
    (gradient, stats), (gradient_n, stats_n) = results
    torch.testing.assert_close(gradient, gradient_n, rtol=0, atol=2e-6*max(1, gradient.abs().max().item()))
    torch.testing.assert_close(stats, stats_n, rtol=2e-5, atol=1e-5)


@fuzz
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_there_are_as_many_steps_as_the_settings_say(updates, epochs, minibatches, rows, microbatches):
    config = RLHFConfig(updates=updates, epochs=epochs, minibatches=minibatches, batch_size=rows*minibatches, microbatches=microbatches, response_length=2, prompt_length=2)
    trainer, seen = RLHFTrainer(Agent(tiny()), tiny(), config), []
    compute, step = trainer.compute_loss, trainer.optimizer.step
    trainer.compute_loss = lambda rollout, *rest: (seen.append(len(rollout.tokens)), compute(rollout, *rest))[1]
    steps = []
    trainer.optimizer.step = lambda *args: (steps.append(1), step(*args))[1]
    prompts = [{'input_ids': torch.tensor([2, 3]), 'attention_mask': torch.tensor([1, 1])}]*config.batch_size
    assert len(list(ppo_updates(trainer, torch.utils.data.DataLoader(prompts, config.batch_size), lambda tokens, mask: tokens.sum(1).float()))) == updates
    assert len(steps) == updates*epochs*minibatches
    assert sum(seen) == updates*epochs*config.batch_size and max(seen) <= -(-rows//min(rows, microbatches))  # each response once an epoch, in parts no larger than asked for


@pytest.mark.parametrize('counted', [0, 1])
def test_a_mask_of_one_token_and_of_none_are_defined(counted):
    mask = torch.zeros(3, 5)
    mask[0, 0] = counted
    x, y = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    assert masked_mean(x, mask) == x[0, 0]*counted and torch.equal(whiten(x, mask), torch.zeros(3, 5))
    rewards = shape_rewards(torch.ones(3), x, y, mask, beta=0.5)
    assert torch.equal(rewards, (1 - 0.5*kl_k1(x, y))*mask)  # the only token is the last one
    advantages, returns = compute_advantage_and_return(rewards, y, mask)
    torch.testing.assert_close(advantages, (rewards - y)*mask); torch.testing.assert_close(returns, rewards)
    logprobs, values = x.clone().requires_grad_(), y.clone().requires_grad_()
    loss, stats = compute_loss(logprobs, values, x, y, torch.ones(3, 5), y + 1, mask)
    loss.backward()
    torch.testing.assert_close(loss.item(), counted*(-1 + 0.1*0.5))
    assert torch.equal(logprobs.grad != 0, mask.bool()) and torch.equal(values.grad != 0, mask.bool()) and torch.isfinite(torch.tensor(list(stats.values()))).all()
    assert explained_variance(y, y + 1, mask) == 1 and kl_k3(x, x).abs().max() == 0  # nothing to explain, and nothing left over


def test_a_minibatch_without_a_token_is_a_step_of_nothing():
    rollout, more = batch([2, 3], 0)
    rollout.response_mask = torch.zeros_like(rollout.response_mask)
    trainer = RLHFTrainer(Agent(tiny()), tiny(), RLHFConfig())
    before = [p.clone() for p in trainer.agent.parameters()]
    stats = trainer.learn(rollout, more['advantages'], more['returns'])
    assert stats['ppo/grad_norm'] == 0 and all(torch.equal(p, q) for p, q in zip(trainer.agent.parameters(), before))
