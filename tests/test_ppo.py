"The trainer: what it refuses, what a step and an update do, and how β is steered."
import copy
import math
from types import SimpleNamespace

import pytest
import torch
from architectures import ARCHITECTURES
from tiny import close, decided_gpt2, tiny_prompts
from waits import Waits

from rlhf_nbdev import ppo
from rlhf_nbdev.advantage import compute_advantage_and_return, whiten
from rlhf_nbdev.agent import Agent, score_tokens
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer, explained_variance
from rlhf_nbdev.tools.sampling import RecordedSampler


def trainer_and_rollout(**settings):
    "A trainer, and a rollout of six responses of five tokens, the second of which ends after two."
    agent = Agent(decided_gpt2())
    torch.nn.init.normal_(agent.value_head.weight, std=0.1)
    small = {'response_length': 5, 'batch_size': 6, 'epochs': 1, 'minibatches': 2, 'updates': 4}
    config = RLHFConfig(**small | settings)
    trainer = RLHFTrainer(agent, copy.deepcopy(agent.model), config)
    torch.manual_seed(3)
    rollout = agent.generate(*tiny_prompts(), 5, config.temperature)
    rollout.response_mask[1, 2:] = 0
    rollout.mask[1, 6:] = 0
    rollout.logprobs = rollout.logprobs*rollout.response_mask
    rollout.values = rollout.values*rollout.response_mask
    return trainer, rollout


# settings

@pytest.mark.parametrize('name', [
    'prompt_length', 'response_length', 'batch_size', 'updates', 'epochs', 'minibatches'])
def test_counts_are_at_least_one(name):
    with pytest.raises(ValueError, match=f'{name} must be at least 1'):
        RLHFConfig(**{name: 0})
    RLHFConfig(**{'batch_size': 2, 'minibatches': 1} | {name: 1})


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match='does not divide'):
        RLHFConfig(batch_size=7)
    for temperature in (0.0, -1.0):
        with pytest.raises(ValueError, match='temperature'):
            RLHFConfig(temperature=temperature)


def test_a_setting_carries_its_explanation():
    setting = ppo.option(3, 'why')
    assert setting.default == 3
    assert dict(setting.metadata) == {'help': 'why'}


# the trainer

def test_a_reference_that_is_trained_is_refused():
    agent = Agent(decided_gpt2())
    with pytest.raises(ValueError, match='copy.deepcopy'):
        RLHFTrainer(agent, agent.model, RLHFConfig())


def test_a_reference_that_shares_a_part_is_refused():
    agent = Agent(decided_gpt2())
    reference = copy.deepcopy(agent.model)
    reference.transformer.ln_f = agent.model.transformer.ln_f
    with pytest.raises(ValueError, match='copy.deepcopy'):
        RLHFTrainer(agent, reference, RLHFConfig())


def test_the_agent_samples_unless_a_faster_loop_is_asked_for():
    agent = Agent(decided_gpt2())
    assert RLHFTrainer(agent, decided_gpt2(), RLHFConfig()).sampler is agent
    config = RLHFConfig(response_length=7, compile=True)
    sampler = RLHFTrainer(agent, decided_gpt2(), config).sampler
    assert isinstance(sampler, RecordedSampler)
    assert sampler.agent is agent and sampler.compiled


def test_a_model_that_a_recorded_step_does_not_suit_is_sampled_by_the_agent():
    "A state that is carried along the row has no fixed place."
    config = RLHFConfig(prompt_length=8, response_length=10, compile=True)
    model = ARCHITECTURES['Mamba 2']()
    agent = Agent(model)
    with pytest.warns(UserWarning, match='Mamba2ForCausalLM is sampled by the plain loop'):
        trainer = RLHFTrainer(agent, copy.deepcopy(model), config)
    assert trainer.sampler is agent


def test_a_policy_that_is_frozen_is_refused():
    agent = Agent(decided_gpt2())
    agent.model.requires_grad_(False)
    with pytest.raises(ValueError, match='is frozen'):
        RLHFTrainer(agent, decided_gpt2(), RLHFConfig())
    agent.model.transformer.ln_f.requires_grad_(True)  # one part that learns is enough
    RLHFTrainer(agent, decided_gpt2(), RLHFConfig())


def test_a_trainer_begins_as_its_configuration_says():
    agent, reference = Agent(decided_gpt2()), decided_gpt2()
    config = RLHFConfig(beta=0.3, learning_rate=2e-3, adam_epsilon=3e-5)
    trainer = RLHFTrainer(agent, reference, config)
    assert trainer.beta == 0.3
    assert not any(p.requires_grad for p in reference.parameters())
    group, = trainer.optimizer.param_groups
    assert (group['lr'], group['eps'], group['weight_decay']) == (2e-3, 3e-5, 0.0)
    assert len(group['params']) == len(list(agent.parameters()))


def test_the_learning_rate_falls_in_a_line_to_zero_and_stays_there():
    trainer, rollout = trainer_and_rollout(learning_rate=1e-4)
    rates = []
    for _ in range(6):
        rates.append(trainer.optimizer.param_groups[0]['lr'])
        trainer.update(rollout, rollout.response_mask.float())
    assert rates == pytest.approx([1e-4, 0.75e-4, 0.5e-4, 0.25e-4, 0, 0], abs=1e-12)


# one step

@pytest.mark.parametrize('bad, name', [(math.nan, 'nan'), (math.inf, 'inf')])
def test_a_loss_that_is_not_finite_is_named(bad, name):
    trainer, _ = trainer_and_rollout()
    before = copy.deepcopy(trainer.agent.state_dict())
    trainer.backward(trainer.agent.value_head.weight.sum())  # of two microbatches, the first
    trainer.backward(trainer.agent.value_head.bias.sum() + bad)  # its gradient is 1 all the same
    with pytest.raises(FloatingPointError, match=f'the loss is {name}'):
        trainer.step()
    for name, x in trainer.agent.state_dict().items():
        assert torch.equal(x, before[name]), name


def test_a_loss_that_was_refused_does_not_stop_the_next_step():
    trainer, rollout = trainer_and_rollout()
    advantages = torch.randn(6, 5)
    with pytest.raises(FloatingPointError, match='the loss is nan'):
        trainer.learn(rollout, advantages*math.nan, advantages)
    trainer.backward(trainer.agent.value_head.bias.sum()*math.nan)  # and one without a step
    trainer.learn(rollout, advantages, advantages)


def root_at_zero(x):
    "Nothing, with a gradient that is not finite."
    return (x - x.detach()).sqrt()


def test_a_gradient_that_is_not_finite_is_named_and_leaves_the_weights():
    trainer, _ = trainer_and_rollout()
    head, before = trainer.agent.value_head, copy.deepcopy(trainer.agent.state_dict())
    trainer.backward(head.weight.sum() + root_at_zero(head.bias).sum())
    with pytest.raises(FloatingPointError, match='gradient of value_head.bias'):
        trainer.step()
    trainer.optimizer.zero_grad()
    trainer.backward(head.weight.sum() + root_at_zero(head.weight)[0, 0])  # one number of sixteen
    with pytest.raises(FloatingPointError, match='gradient of value_head.weight'):
        trainer.step()
    for name, x in trainer.agent.state_dict().items():
        assert torch.equal(x, before[name]), name


def test_gradients_add_up_and_are_clipped_together():
    trainer, _ = trainer_and_rollout(max_grad_norm=0.5)
    head = trainer.agent.value_head
    trainer.backward(3*head.bias.sum())
    trainer.backward(4*head.weight[0, 0])
    assert trainer.step() == pytest.approx(5)
    assert head.bias.grad.item() == pytest.approx(0.3, abs=1e-4)
    assert head.weight.grad[0, 0].item() == pytest.approx(0.4, abs=1e-4)


@pytest.mark.parametrize(('limit', 'is_scaled'), [(4.9, True), (5.1, False), (math.inf, False)])
def test_a_gradient_within_the_limit_is_left_as_it_is(limit, is_scaled):
    trainer, _ = trainer_and_rollout(max_grad_norm=limit)
    trainer.backward(5*trainer.agent.value_head.bias.sum())
    assert trainer.step() == 5
    grad = trainer.agent.value_head.bias.grad.item()
    assert grad == pytest.approx(4.9) if is_scaled else grad == 5


def test_loss_compares_with_the_policy_that_sampled_at_its_temperature():
    trainer, rollout = trainer_and_rollout(value_coef=0.5, clip_ratio=0.1, clip_value=0.05)
    agent, real = trainer.agent, rollout.response_mask.bool()
    with torch.no_grad():  # another policy than the one that sampled
        agent.model.transformer.h[0].mlp.c_fc.weight.mul_(1.5)
        agent.value_head.bias.add_(0.4)
    advantages, returns = torch.randn(2, 6, 5)
    loss, stats = trainer.compute_loss(rollout, advantages, returns)

    with torch.no_grad():
        dists, hidden = score_tokens(agent.model, rollout.tokens, rollout.mask, 5, 0.7)
        logprobs = dists.gather(-1, rollout.responses[..., None])[..., 0]
        values = (hidden @ agent.value_head.weight.T)[..., 0] + 0.4
    by_hand, scalars = ppo.compute_loss(
        logprobs, values, rollout.logprobs, rollout.values, advantages, returns,
        rollout.response_mask, 0.1, 0.05, 0.5)
    assert loss.item() == pytest.approx(by_hand.item(), abs=1e-6)
    assert scalars['ppo/clip_fraction'] > 0
    for name in scalars:
        close(stats[name], scalars[name])

    entropy = -(dists.exp()*dists).sum(-1)
    close(stats['ppo/entropy'], entropy[real].mean())
    assert abs(stats['ppo/entropy'] - entropy.mean()) > 1e-3, 'padding must matter in this test'


# one update

@pytest.fixture
def watched_update(monkeypatch):
    "An update of three epochs: trainer, rollout, rewards, calls of compute_loss, and what it says."
    trainer, rollout = trainer_and_rollout(gamma=0.9, lam=0.7, epochs=3)
    rewards = torch.randn(6, 5)*rollout.response_mask
    calls, compute_loss = [], trainer.compute_loss

    def watched_loss(part, advantages, returns):
        loss, stats = compute_loss(part, advantages, returns)
        rows = [rollout.tokens.tolist().index(tokens) for tokens in part.tokens.tolist()]
        calls.append(SimpleNamespace(rows=rows, part=part, advantages=advantages,
                                     returns=returns, stats=stats))
        return loss, stats

    monkeypatch.setattr(trainer, 'compute_loss', watched_loss)
    stats = trainer.update(rollout, rewards)
    return rollout, rewards, calls, stats


def test_every_row_is_learnt_from_once_an_epoch_in_another_order(watched_update):
    _, _, calls, _ = watched_update
    rows = [call.rows for call in calls]
    assert [len(part) for part in rows] == [3]*6
    for epoch in (0, 2, 4):
        assert sorted(rows[epoch] + rows[epoch + 1]) == [0, 1, 2, 3, 4, 5]
    assert len({tuple(part) for part in rows}) > 2


def test_returns_are_taken_before_whitening_and_each_row_gets_its_own(watched_update):
    rollout, rewards, calls, _ = watched_update
    mask = rollout.response_mask
    advantages, returns = compute_advantage_and_return(rewards, rollout.values, mask, 0.9, 0.7)
    for call in calls:
        close(call.advantages, whiten(advantages, mask)[call.rows])
        close(call.returns, returns[call.rows])
        close(call.part.logprobs, rollout.logprobs[call.rows])


def test_an_update_says_the_means_over_its_minibatches(watched_update):
    rollout, rewards, calls, stats = watched_update
    mask = rollout.response_mask
    for name in calls[0].stats:
        mean = sum(call.stats[name].item() for call in calls)/6
        assert stats[name] == pytest.approx(mean, abs=1e-6)
    _, returns = compute_advantage_and_return(rewards, rollout.values, mask, 0.9, 0.7)
    explained = explained_variance(rollout.values, returns, mask)
    assert stats['ppo/explained_variance'] == pytest.approx(explained)
    assert stats['ppo/grad_norm'] > 0


@pytest.mark.parametrize('values, explained', [
    ([1.0, 2.0, 3.0, 4.0, 99.0], 1),
    ([7.0, 7.0, 7.0, 7.0, 7.0], 0),
    ([2.0, 2.0, 3.0, 5.0, -5.0], 1 - 0.25/1.25),  # errors −1, 0, 0, −1
    ([-1.0, -2.0, -3.0, -4.0, -99.0], -3),
])
def test_explained_variance_by_hand(values, explained):
    returns = torch.tensor([[1.0, 2.0, 3.0, 4.0, 99.0]])
    mask = torch.tensor([[1, 1, 1, 1, 0]])
    found = explained_variance(torch.tensor([values]), returns, mask)
    assert found == pytest.approx(explained, abs=1e-6)


def test_explained_variance_of_returns_that_are_all_alike_is_a_number():
    values, mask = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.ones(1, 4)
    assert explained_variance(values, 0*values, mask) == pytest.approx(-1.25e8, rel=1e-3)


# the controller

def beta_after(kl, **settings):
    config = RLHFConfig(batch_size=10, kl_horizon=100, **settings)
    trainer = SimpleNamespace(config=config, beta=0.5)
    RLHFTrainer.adapt_beta(trainer, kl)
    return trainer.beta


@pytest.mark.parametrize('kl, beta', [
    (2.0, 0.5), (2.2, 0.505), (1.8, 0.495), (50.0, 0.51), (-1.0, 0.49)])
def test_beta_is_steered_to_the_target_slowly(kl, beta):
    assert beta_after(kl, target_kl=2.0) == pytest.approx(beta)


def test_beta_stays_where_there_is_no_target():
    assert beta_after(50.0) == 0.5


# what a GPU is waited for

def test_an_update_waits_once_a_step():
    "The mask is fetched; eight steps, the guard, what is logged, the explained variance."
    trainer, rollout = trainer_and_rollout(epochs=4)
    rewards = torch.randn(6, 5)*rollout.response_mask
    trainer.compute_loss(rollout, rewards, rewards)  # whatever is done once
    with Waits() as waits:
        trainer.update(rollout, rewards)
    assert waits.total <= 12, waits.counts
