"""The formulas once more, in float64, from their definitions.

Loops and sums over the tokens that count, and numbers of all sizes on the padding, which must not
matter."""
import math
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
from hypothesis import given, settings, strategies as st

from rlhf_nbdev.advantage import (
    compute_advantage_and_return,
    masked_mean,
    shape_rewards,
    whiten,
)
from rlhf_nbdev.agent import score_tokens, token_logprobs
from rlhf_nbdev.ppo import compute_loss
from rlhf_nbdev.reward import bradley_terry_loss

random_cases = settings(max_examples=200, derandomize=True, deadline=None, database=None)


@dataclass
class Batch:
    "Random arrays of B rows of up to R tokens."
    R: int
    lengths: list[int]
    scale: float
    rng: np.random.Generator

    @property
    def B(self):
        return len(self.lengths)

    @property
    def mask(self):
        return torch.arange(self.R) < torch.tensor(self.lengths)[:, None]

    def draw(self, *shape):
        return self.scale*self.rng.standard_normal(shape or (self.B, self.R))

    def real(self, x):
        "The parts of its rows that count."
        return [row[:length] for row, length in zip(np.asarray(x), self.lengths)]

    def padded(self, rows):
        filled = [[*row, *[0.0]*(self.R - len(row))] for row in rows]
        return torch.tensor(filled, dtype=torch.float64)


@st.composite
def batches(draw):
    B, R = draw(st.integers(1, 5)), draw(st.integers(1, 7))
    lengths = draw(st.lists(st.integers(1, R), min_size=B, max_size=B))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return Batch(R, lengths, draw(st.sampled_from([0.03, 1.0, 5.0])), rng)


def tensors(*arrays):
    return [torch.tensor(x) for x in arrays]


def agree(ours, theirs, tolerance=1e-10):
    ours, theirs = (torch.as_tensor(x, dtype=torch.float64) for x in (ours, theirs))
    assert ours.shape == theirs.shape
    assert torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance), (ours, theirs)


def n_step_advantage(rewards, values, t, n, gamma):
    "n rewards from t on and the value after them, less the value at t."
    rewarded = sum(gamma**k*rewards[t + k] for k in range(n))
    after = gamma**n*values[t + n] if t + n < len(values) else 0
    return rewarded + after - values[t]


def mixture_of_n_steps(rewards, values, gamma, lam):
    """GAE as it is introduced: the average of all n-step advantages with weights (1 − λ)λⁿ⁻¹, the
    last of which takes the rest."""
    advantages = []
    for t in range(len(rewards)):
        left = len(rewards) - t
        total = lam**(left - 1)*n_step_advantage(rewards, values, t, left, gamma)
        for n in range(1, left):
            total += (1 - lam)*lam**(n - 1)*n_step_advantage(rewards, values, t, n, gamma)
        advantages.append(total)
    return advantages


@random_cases
@given(batches(), st.floats(0, 1), st.floats(0, 1))
def test_advantages_are_averages_of_n_step_advantages(b, gamma, lam):
    rewards, values = b.draw(), b.draw()
    by_hand, by_hand_returns = [], []
    for r, v in zip(b.real(rewards), b.real(values)):
        row = mixture_of_n_steps(r, v, gamma, lam)
        by_hand.append(row)
        by_hand_returns.append(np.add(row, v))
    advantages, returns = compute_advantage_and_return(
        *tensors(rewards, values), b.mask, gamma, lam)
    agree(advantages, b.padded(by_hand))
    agree(returns, b.padded(by_hand_returns))


@random_cases
@given(batches())
def test_whitened_numbers_are_standard_scores(b):
    x = b.draw() + b.rng.standard_normal()
    rows = b.real(x)
    flat = np.concatenate(rows)
    mean = math.fsum(flat)/len(flat)
    variance = math.fsum((flat - mean)**2)/len(flat)
    std = math.sqrt(variance + 1e-8)
    agree(masked_mean(torch.tensor(x), b.mask), mean)
    by_hand = b.padded([(row - mean)/std for row in rows])
    agree(whiten(torch.tensor(x), b.mask), by_hand, 1e-8)


@random_cases
@given(batches(), st.floats(0, 2))
def test_shaped_rewards_token_by_token(b, beta):
    scores, logprobs, ref_logprobs = b.draw(b.B), b.draw(), b.draw()
    by_hand = []
    for score, row, ref_row in zip(scores, b.real(logprobs), b.real(ref_logprobs)):
        # what a token earns for being likelier under the reference
        rewards = [beta*math.log(math.exp(ref)/math.exp(new)) for new, ref in zip(row, ref_row)]
        rewards[-1] += score
        by_hand.append(rewards)
    ours = shape_rewards(*tensors(scores, logprobs, ref_logprobs), b.mask, beta)
    agree(ours, b.padded(by_hand), 1e-9)


def one_token(new, old, value, old_value, advantage, target, clip_ratio, clip_value):
    "Gain, squared error, ratio, k3, and whether the ratio was clipped, case by case."
    ratio = math.exp(new)/math.exp(old)
    if advantage > 0:  # in the direction that the advantage wants
        is_clipped, bound = ratio > 1 + clip_ratio, 1 + clip_ratio
    else:
        is_clipped, bound = ratio < 1 - clip_ratio, 1 - clip_ratio
    gain = advantage*(bound if is_clipped else ratio)
    near = value
    if abs(value - old_value) > clip_value:
        near = old_value + math.copysign(clip_value, value - old_value)
    error = max(abs(value - target), abs(near - target))**2
    return gain, error, ratio, ratio - 1 - math.log(ratio), is_clipped


@random_cases
@given(batches(), st.floats(0.05, 0.5), st.floats(0.05, 0.5), st.floats(0, 1))
def test_clipped_losses_case_by_case(b, clip_ratio, clip_value, value_coef):
    old_logprobs, old_values, advantages, returns = (b.draw() for _ in range(4))
    logprobs = old_logprobs + 0.3*b.rng.standard_normal((b.B, b.R))
    values = old_values + 0.3*b.rng.standard_normal((b.B, b.R))
    given_arrays = logprobs, old_logprobs, values, old_values, advantages, returns
    flat = [np.concatenate(b.real(x)) for x in given_arrays]
    tokens = [one_token(*numbers, clip_ratio, clip_value) for numbers in zip(*flat)]
    gain, error, ratio, k3, clipped = np.mean(tokens, axis=0)

    loss, stats = compute_loss(
        *tensors(logprobs, values, old_logprobs, old_values, advantages, returns), b.mask,
        clip_ratio, clip_value, value_coef)
    agree(loss, -gain + value_coef*error/2)
    agree(stats['loss/policy'], -gain)
    agree(stats['loss/value'], error/2)
    agree(stats['ppo/ratio'], ratio)
    agree(stats['ppo/approx_kl'], k3)
    agree(stats['ppo/clip_fraction'], clipped, 1e-6)  # a mean of float32


def log_softmax_at(logits, token, temperature):
    "Of one token, from its definition."
    return -math.log(math.fsum(math.exp((z - logits[token])/temperature) for z in logits))


@random_cases
@given(batches(), st.integers(2, 9), st.floats(0.2, 3))
def test_log_probs_are_of_the_softmax_at_the_temperature(b, V, temperature):
    logits = b.draw(b.B, b.R + 1, V)
    tokens = torch.from_numpy(b.rng.integers(V, size=(b.B, b.R)))
    mask = torch.ones_like(tokens)

    def model(**inputs):
        return SimpleNamespace(logits=torch.tensor(logits),
                               hidden_states=[torch.zeros(b.B, b.R + 1, 1)])

    by_hand = torch.zeros(b.B, b.R, dtype=torch.float64)
    for i in range(b.B):
        for t in range(b.R):
            by_hand[i, t] = log_softmax_at(logits[i, t], tokens[i, t], temperature)
    ours = token_logprobs(model, tokens, mask, b.R, temperature)
    agree(ours, by_hand, 2e-6*(1 + b.scale/temperature))  # in float32
    dists, _ = score_tokens(model, tokens, mask, b.R, temperature)
    agree(dists.exp().sum(-1), torch.ones(b.B, b.R), 1e-5)


@random_cases
@given(batches(), st.booleans())
def test_pair_loss_is_minus_the_log_of_the_odds_share(b, with_margin):
    chosen, rejected, margin = b.draw(b.B), b.draw(b.B), b.draw(b.B)*with_margin
    wins = np.exp(chosen)/(np.exp(chosen) + np.exp(rejected + margin))
    ours = bradley_terry_loss(*tensors(chosen, rejected))
    if with_margin:
        ours = bradley_terry_loss(*tensors(chosen, rejected, margin))
    agree(ours, -np.mean(np.log(wins)))
