"Every loss against its derivative by hand and by finite differences, in float64."
import copy
import math
from dataclasses import dataclass

import pytest
import torch
from tiny import tiny_gpt2, tiny_prompts
from torch.autograd import grad, gradcheck

from rlhf_nbdev.advantage import (
    compute_advantage_and_return,
    kl_k1,
    kl_k3,
    masked_mean,
    whiten,
)
from rlhf_nbdev.agent import Agent
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer, compute_loss
from rlhf_nbdev.reward import bradley_terry_loss, ranking_loss
from rlhf_nbdev.sft import sft_loss

CLIP_RATIO, CLIP_VALUE, VALUE_COEF = 0.2, 0.3, 0.7


def f64(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


@dataclass
class Tokens:
    "What `compute_loss` is given: (4, 11) each, the last two columns padding."
    logprobs: torch.Tensor
    values: torch.Tensor
    old_logprobs: torch.Tensor
    old_values: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor
    mask: torch.Tensor

    def loss(self, logprobs, values):
        "The loss and its scalars at other log-probs and values."
        return compute_loss(
            logprobs, values, self.old_logprobs, self.old_values, self.advantages, self.returns,
            self.mask, CLIP_RATIO, CLIP_VALUE, VALUE_COEF)


@pytest.fixture
def tokens_on_every_side():
    """One token for each combination: ratio below, inside and above the clip; advantage of either
    sign; value below, inside and above its clip; return on either side. Then padding."""
    side, sign = f64(-0.5, 0.07, 0.6), f64(-1.3, 0.8)
    combinations = torch.meshgrid(side, sign, side, 3*sign, indexing='ij')
    log_ratio, advantages, moved, returns = (x.flatten() for x in combinations)  # (36,)
    old_logprobs = -torch.arange(1., 37, dtype=torch.float64)/9
    old_values = torch.linspace(-0.2, 0.2, 36, dtype=torch.float64)
    ones = torch.ones(36, dtype=torch.float64)
    rows = [old_logprobs + log_ratio, old_values + moved, old_logprobs, old_values,
            advantages, returns, ones]
    junk = [0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.0]
    padded = []
    for x, on_padding in zip(rows, junk):
        padding = torch.full((4, 2), on_padding, dtype=torch.float64)
        padded.append(torch.cat([x.view(4, 9), padding], 1))
    return Tokens(*padded)


def test_compute_loss_has_the_gradient_that_finite_differences_find(tokens_on_every_side):
    x = tokens_on_every_side
    logprobs, values = x.logprobs.requires_grad_(), x.values.requires_grad_()
    assert gradcheck(lambda logprobs, values: x.loss(logprobs, values)[0], (logprobs, values))


def test_a_token_that_went_its_way_has_no_gradient(tokens_on_every_side):
    x = tokens_on_every_side
    logprobs = x.logprobs.requires_grad_()
    by_policy, = grad(x.loss(logprobs, x.values)[0], logprobs)
    ratio = (logprobs - x.old_logprobs).exp().detach()
    too_likely = (x.advantages > 0) & (ratio > 1 + CLIP_RATIO)
    too_rare = (x.advantages < 0) & (ratio < 1 - CLIP_RATIO)
    went_its_way = too_likely | too_rare
    by_hand = -x.advantages*ratio*~went_its_way*x.mask/36
    torch.testing.assert_close(by_policy, by_hand, rtol=1e-12, atol=1e-15)
    assert went_its_way.any() and not went_its_way.all()


def test_a_value_that_moved_too_far_towards_its_return_has_no_gradient(tokens_on_every_side):
    x = tokens_on_every_side
    values = x.values.requires_grad_()
    by_value, = grad(x.loss(x.logprobs, values)[0], values)
    moved = (values - x.old_values).detach()
    error = (values - x.returns).detach()
    clipped_error = x.old_values + CLIP_VALUE*moved.sign() - x.returns
    forgotten = (moved.abs() > CLIP_VALUE) & (error.abs() < clipped_error.abs())
    by_hand = VALUE_COEF*error*~forgotten*x.mask/36
    torch.testing.assert_close(by_value, by_hand, rtol=1e-12, atol=1e-15)
    assert forgotten.any() and not forgotten.all()


def test_scalars_to_watch_are_of_the_tokens_alone(tokens_on_every_side):
    x = tokens_on_every_side
    _, stats = x.loss(x.logprobs, x.values)
    real = x.mask.bool()
    ratio = (x.logprobs - x.old_logprobs).exp()[real]
    advantages = x.advantages[real]
    likelier, rarer = ratio.clamp(max=1.2), ratio.clamp(min=0.8)
    policy = -advantages*torch.where(advantages > 0, likelier, rarer)
    clipped = (ratio > 1.2) & (advantages > 0) | (ratio < 0.8) & (advantages < 0)
    near = x.old_values + (x.values - x.old_values).clamp(-0.3, 0.3)
    errors = torch.maximum((x.values - x.returns)**2, (near - x.returns)**2)[real]

    def mean(x):
        return pytest.approx(x.double().mean().item(), abs=1e-7)

    assert stats['loss/policy'] == mean(policy)
    assert stats['loss/value'] == mean(errors/2)
    assert stats['ppo/ratio'] == mean(ratio)
    assert stats['ppo/approx_kl'] == mean(ratio - 1 - ratio.log())
    assert stats['ppo/clip_fraction'] == mean(clipped)


# steps one and two

def test_pair_loss_moves_chosen_up_and_rejected_down_by_the_chance_of_a_surprise():
    chosen, rejected = f64(0.3, -2.0, 4.0).requires_grad_(), f64(0.1, 1.5, -3.0).requires_grad_()
    margin = f64(0.5, 0.0, 1.0)

    def loss(chosen, rejected):
        return bradley_terry_loss(chosen, rejected, margin)

    assert gradcheck(loss, (chosen, rejected))
    up, down = grad(loss(chosen, rejected), (chosen, rejected))
    surprise = 1/(1 + (chosen - rejected - margin).detach().exp())
    torch.testing.assert_close(up, -surprise/3, rtol=1e-12, atol=0)
    torch.testing.assert_close(down, surprise/3, rtol=1e-12, atol=0)


def test_ranking_loss_compares_what_the_model_expects_with_what_raters_said():
    torch.manual_seed(0)
    scores = torch.randn(5, dtype=torch.float64, requires_grad=True)
    above = torch.rand(5, 5, dtype=torch.float64).triu(1)
    shares = above + (1 - above.T).tril(-1) + torch.eye(5)/2
    assert gradcheck(lambda scores: ranking_loss(scores, shares), scores)
    gradient, = grad(ranking_loss(scores, shares), scores)
    expected = torch.sigmoid(scores[:, None] - scores).detach()
    by_hand = (expected - shares).sum(1)/10  # 10 pairs
    torch.testing.assert_close(gradient, by_hand, rtol=1e-12, atol=1e-15)


def test_sft_loss_pulls_only_where_a_token_of_the_response_comes_next():
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 7, dtype=torch.float64, requires_grad=True)
    tokens = torch.randint(7, (2, 5))
    response_mask = torch.tensor([[0, 0, 1, 1, 1], [0, 0, 0, 0, 1]])
    by_hand = torch.zeros(2, 5, 7, dtype=torch.float64)
    for b, t in response_mask.nonzero().tolist():  # 4 tokens; position t − 1 predicts token t
        p = logits[b, t - 1].detach().softmax(-1)
        by_hand[b, t - 1] = (p - torch.eye(7)[tokens[b, t]])/4
    gradient, = grad(sft_loss(logits, tokens, response_mask), logits)
    torch.testing.assert_close(gradient, by_hand, rtol=1e-5, atol=1e-7)  # float32 inside


# the trainer

def tiny_trainer(**settings):
    "A random policy in float64 whose value head is not zero, and a rollout of unequal lengths."
    agent = Agent(tiny_gpt2().double())
    agent.value_head.double()
    torch.nn.init.normal_(agent.value_head.weight)
    agent.value = lambda hidden: agent.value_head(hidden).squeeze(-1)  # stays in float64
    config = RLHFConfig(response_length=6, batch_size=6, **settings)
    trainer = RLHFTrainer(agent, copy.deepcopy(agent.model), config)
    rollout = agent.generate(*tiny_prompts(), 6, 0.7)
    rollout.response_mask[1, 3:] = 0  # one that ended sooner
    rollout.mask[1, 7:] = 0
    return trainer, rollout


def test_at_ratio_one_the_gradient_is_that_of_reinforce():
    trainer, rollout = tiny_trainer(value_coef=0.3)
    agent, real = trainer.agent, rollout.response_mask.bool()
    R = rollout.response_mask.shape[1]
    logprobs, values, _ = agent(rollout.tokens, rollout.mask, R, 0.7)
    rollout.logprobs, rollout.values = logprobs.detach(), values.detach()
    advantages, returns = torch.randn(2, 6, R, dtype=torch.float64)
    loss, stats = trainer.compute_loss(rollout, advantages, returns)
    reinforce = (-advantages*logprobs + 0.3*(values - returns)**2/2)[real].mean()
    parameters = list(agent.parameters())
    for ours, theirs in zip(grad(loss, parameters), grad(reinforce, parameters)):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)  # log-softmax in float32
    assert stats['ppo/ratio'] == pytest.approx(1, abs=1e-6)
    assert stats['ppo/clip_fraction'] == 0
    assert abs(stats['ppo/approx_kl']) < 1e-9


def test_a_step_makes_good_tokens_likelier_and_bad_ones_rarer():
    trainer, rollout = tiny_trainer(learning_rate=1e-3, epochs=1, minibatches=1, value_coef=0.0)
    R = rollout.response_mask.shape[1]
    rollout.response_mask[:] = 1
    rollout.mask[:, 4:] = 1

    def logprobs():
        return trainer.agent(rollout.tokens, rollout.mask, R, 0.7)[0].detach()

    rewards = torch.zeros(6, R, dtype=torch.float64)
    rewards[:3, -1], rewards[3:, -1] = 1, -1
    rollout.values = torch.zeros_like(rewards)
    rollout.logprobs = before = logprobs()
    trainer.update(rollout, rewards)
    moved = logprobs() - before
    assert moved[:3].mean() > 1e-3
    assert moved[3:].mean() < -1e-3


def test_neither_entropy_nor_reference_nor_rollout_is_trained():
    trainer, rollout = tiny_trainer()
    R = rollout.response_mask.shape[1]
    advantages, returns = torch.randn(2, 6, R, dtype=torch.float64)
    loss, _ = trainer.compute_loss(rollout, advantages, returns)
    loss.backward()
    assert all(p.grad is not None for p in trainer.agent.parameters())
    for p in trainer.ref_model.parameters():
        assert p.grad is None and not p.requires_grad
    _, _, entropy = trainer.agent(rollout.tokens, rollout.mask, R)
    scored = trainer.agent.compute_rewards(
        rollout, lambda tokens, mask: tokens[:, 0].double(), trainer.ref_model)
    for x in (entropy, rollout.logprobs, rollout.values, *vars(scored).values()):
        assert not x.requires_grad


# the KL

P, Q = f64(0.6, 0.25, 0.1, 0.05), f64(0.2, 0.4, 0.3, 0.1)


def exact_kl(p, q):
    return sum(a*math.log(a/b) for a, b in zip(p.tolist(), q.tolist()))


@pytest.mark.parametrize('estimate', [kl_k1, kl_k3])
def test_estimates_expect_the_kl_from_policy_to_reference_and_not_the_other(estimate):
    expected = (P*estimate(P.log(), Q.log())).sum().item()
    assert expected == pytest.approx(exact_kl(P, Q), abs=1e-12)
    assert abs(exact_kl(P, Q) - exact_kl(Q, P)) > 0.02


def test_k1_may_be_negative_and_k3_may_not():
    assert (kl_k1(P.log(), Q.log()) < 0).any()
    assert (kl_k3(P.log(), Q.log()) > 0).all()


@pytest.fixture
def policy_of_four():
    "Logits and log-probs of a policy over four tokens."
    logits = f64(1.2, 0.4, -0.6, -1.0).requires_grad_()
    return logits, logits.log_softmax(-1)


def test_k3_as_a_loss_would_follow_the_other_kl(policy_of_four):
    logits, logp = policy_of_four
    over_samples = (logp.detach().exp()*kl_k3(logp, Q.log())).sum()
    expected, = grad(over_samples, logits, retain_graph=True)
    kl, = grad((logp.exp()*(logp - Q.log())).sum(), logits, retain_graph=True)
    reverse, = grad((Q*(Q.log() - logp)).sum(), logits)
    torch.testing.assert_close(expected, reverse, rtol=1e-12, atol=1e-15)
    assert (expected - kl).abs().max() > 0.05  # the penalty in the reward follows `kl`


def test_the_penalty_in_the_reward_follows_the_kl(policy_of_four):
    logits, logp = policy_of_four
    reward = -kl_k1(logp, Q.log()).detach()
    policy_gradient, = grad((logp.detach().exp()*reward*logp).sum(), logits, retain_graph=True)
    kl, = grad((logp.exp()*(logp - Q.log())).sum(), logits)
    torch.testing.assert_close(policy_gradient, -kl, rtol=1e-12, atol=1e-15)


# advantages

def test_advantages_are_linear_in_rewards_with_the_weights_of_gae():
    torch.manual_seed(0)
    rewards, values = torch.randn(2, 2, 4, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    gamma, lam = 0.9, 0.8

    def advantages(rewards):
        return compute_advantage_and_return(rewards, values, mask, gamma, lam)[0]

    weights = torch.autograd.functional.jacobian(advantages, rewards)  # (B, R, B, R)
    for b in range(2):
        for t in range(4):
            for k in range(4):
                counts = k >= t and mask[b, k]
                by_hand = (gamma*lam)**(k - t) if counts else 0
                assert weights[b, t, b, k].item() == pytest.approx(by_hand, abs=1e-14)
    assert not weights[0, :, 1].any() and not weights[1, :, 0].any(), 'rows keep to themselves'


def test_whitening_forgets_shift_and_scale():
    torch.manual_seed(0)
    x = torch.randn(3, 5, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    torch.testing.assert_close(whiten(7*x - 3, mask), whiten(x, mask), rtol=1e-7, atol=1e-7)
    assert masked_mean(whiten(x, mask), mask).abs() < 1e-12
