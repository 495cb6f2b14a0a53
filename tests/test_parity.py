"Our numbers against TRL 1.12's, recorded by parity/record.py."
import math
from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace

import pytest
import torch
from trl_recording import (
    CASES,
    RECORDED,
    last,
    load,
    load_agent,
    load_gpt2,
    load_reward_model,
    loss_like_theirs,
    move_scores_back,
    one_past_eos,
    prompt_mask,
    recorded,
    same,
    same_weights,
    take_step,
    weights_of,
)

from rlhf_nbdev import ppo
from rlhf_nbdev.advantage import (
    compute_advantage_and_return,
    kl_k1,
    masked_mean,
    shape_rewards,
    whiten,
)
from rlhf_nbdev.agent import token_logprobs
from rlhf_nbdev.ppo import RLHFTrainer
from rlhf_nbdev.reward import bradley_terry_loss

every_case = pytest.mark.parametrize('case', CASES)


@pytest.fixture(autouse=True)
def sampling_as_theirs(monkeypatch):
    "Ours draws from the same distribution with other random numbers."
    def draw(dist):
        return torch.multinomial(dist.exp(), 1)

    monkeypatch.setattr('rlhf_nbdev.agent.draw', draw)


# what was recorded

@every_case
def test_the_recording_holds_what_it_should(case):
    x = load(case)
    assert RECORDED['versions']['trl'] == '1.12.0'
    assert x.kl.abs().max() > 0.5 and x.values.std() > 0.3
    prompt_lengths = set(x.rollout.mask.argmax(1).tolist())
    assert len(prompt_lengths) > 3
    assert (x.pg_clipfrac_stats[1:] > 0).all() and x.vf_clipfrac_stats.max() > 0


def test_the_recorded_responses_are_of_all_lengths():
    assert load('full').mask.all()
    for case in ('eos', 'discount'):
        x = load(case)
        lengths = x.mask.sum(1).tolist()
        assert 5 < x.early.sum() < len(x.early)
        assert 1 in lengths and x.R - 1 in lengths


# sampling and scoring

@every_case
def test_log_probs_and_values_of_given_tokens(case):
    x, agent = load(case), load_agent(case)
    rollout, real = x.rollout, x.mask.bool()
    given = rollout.tokens, rollout.mask, x.R
    with torch.no_grad():
        logprobs, _, entropy = agent(*given, rollout.temperature)
        longer = one_past_eos(rollout, x.mask_p1)
        _, values, _ = agent(longer.tokens, longer.mask, x.R, rollout.temperature)
        ref_logprobs = token_logprobs(load_gpt2('reference'), *given, rollout.temperature)
        at_07 = token_logprobs(agent.model, *given, RECORDED['cases'][case]['temperature'])
    same('log-probs', logprobs[real], x.logprobs[real], 5e-6)
    same('log-probs', at_07[real], x.logprobs[real], 1e-5, 'ours at 0.7, theirs at 0.7 + 1e-7')
    same('reference log-probs', ref_logprobs[real], x.ref_logprobs[real], 5e-6)
    same('values', values*x.mask_p1, x.values, 5e-6, '=, one past EOS too, on their mask')
    if case == 'full':  # of the untrained policy; over padding TRL's mean is another
        ours = masked_mean(entropy[x.steps['mini_batch_inds'][0]], x.mask[:6])
        same('entropy', ours, x.entropy_stats[0], 5e-6)


def sample_again(x, agent):
    torch.manual_seed(RECORDED['seed'])
    return agent.generate(x.queries, prompt_mask(x.queries), x.R, x.config.temperature)


@every_case
def test_the_same_seed_samples_the_same_responses(case):
    x = load(case)
    rollout = sample_again(x, load_agent(case))
    assert rollout.tokens.equal(x.rollout.tokens)
    assert rollout.mask.equal(x.rollout.mask)
    assert rollout.response_mask.equal(x.mask)
    same('log-probs, sampled', rollout.logprobs, x.logprobs*x.mask, 5e-6)
    same('values, sampled', rollout.values, x.values*x.mask, 5e-6)


def score_and_shape(x, rollout, agent, reward_model, ref_model):
    "Our scores and rewards, as the loop computes them."
    scored = agent.compute_rewards(
        rollout, reward_model, ref_model, x.config.missing_eos_penalty)
    rewards = shape_rewards(scored.scores, rollout.logprobs, scored.ref_logprobs,
                            rollout.response_mask, x.config.beta)
    return scored.scores, rewards


@every_case
def test_scores_and_their_penalty(case):
    x, reward_model = load(case), load_reward_model()
    agent = load_agent('eos')  # what is penalised is the missing EOS, stop token or not
    penalised = x.scores != x.scores_without_penalty
    assert 0 < penalised.sum() < len(x.scores)
    with torch.no_grad():
        raw = reward_model(x.rollout.tokens, x.rollout.mask)
    same('scores', raw, x.scores_without_penalty, 2e-6)
    scores, rewards = score_and_shape(
        x, x.rollout, agent, reward_model, load_gpt2('reference'))
    same('scores', scores, x.scores, 2e-6, '=, less the penalty')
    same('rewards', rewards, move_scores_back(x), 2e-6, 'theirs have the score one past EOS')


# rewards and advantages

@every_case
def test_shaped_rewards_put_the_score_one_position_earlier(case):
    x = load(case)
    same('KL', kl_k1(x.logprobs, x.ref_logprobs), x.kl, 0)
    with_their_mask = shape_rewards(
        x.scores, x.logprobs, x.ref_logprobs, x.mask_p1, x.config.beta)
    same('rewards', with_their_mask, x.rewards, 1e-7, 'ours with their mask')
    ours = shape_rewards(x.scores, x.logprobs, x.ref_logprobs, x.mask, x.config.beta)
    same('rewards', ours, move_scores_back(x), 3e-7, 'theirs have the score one past EOS')
    same('rewards, summed', ours.sum(1), x.rewards.sum(1), 1e-6)


@every_case
def test_advantages_and_returns(case):
    x, relation = load(case), 'ours with their mask and rewards'
    advantages, returns = compute_advantage_and_return(
        x.rewards, x.values, x.mask_p1, x.gamma, x.lam)
    same('advantages', advantages, x.advantages_not_whitened, 1e-6, relation)
    same('returns', returns, x.returns, 1e-6, relation)


@every_case
def test_advantages_on_our_mask_differ_by_what_is_known(case):
    """On our mask the last δ holds the score itself, in place of γ V one past EOS, whose own δ
    follows: for γ = 1 the two differ by (1 − λ)(V − score), carried back."""
    x = load(case)
    advantages, _ = compute_advantage_and_return(
        move_scores_back(x), x.values, x.mask, x.gamma, x.lam)
    one_past = torch.arange(x.R) == x.mask.sum(1, keepdim=True)
    value_there = (x.values*one_past).sum(1)  # (B,)
    gap = x.gamma*(1 - x.lam)*value_there - (1 - x.gamma*x.lam)*x.scores  # (B,)
    steps_left = last(x.mask)[:, None] - torch.arange(x.R)
    carried_back = (gap*x.early)[:, None]*(x.gamma*x.lam)**steps_left
    same('advantages', (advantages + carried_back)*x.mask, x.advantages_not_whitened*x.mask, 1e-6,
         'ours + (γλ)^(steps left) (γ(1 − λ) V − (1 − γλ) score)')


def perfect_values(x):
    "Their values, but the score one past EOS."
    values = x.values.clone()
    values[x.early, x.mask.sum(1)[x.early]] = x.scores[x.early]
    return values


@every_case
@pytest.mark.parametrize('relation', ['λ = 1', 'V past EOS = score'])
def test_the_position_past_eos_does_not_matter_if(relation, case):
    x = load(case)
    lam, values = (1.0, x.values) if relation == 'λ = 1' else (x.lam, perfect_values(x))
    discounted = x.scores*torch.where(x.early, x.gamma, 1.0)  # one step later is one γ less
    rewards = shape_rewards(discounted, x.logprobs, x.ref_logprobs, x.mask, x.config.beta)
    ours = compute_advantage_and_return(rewards, values, x.mask, x.gamma, lam)
    theirs = compute_advantage_and_return(x.rewards, values, x.mask_p1, x.gamma, lam)
    for quantity, a, b in zip(('advantages', 'returns'), ours, theirs):
        same(quantity, a, b*x.mask, 1e-6, relation)


@every_case
def test_whitening_divides_by_n_where_theirs_divides_by_one_less(case):
    x = load(case)
    n, ours = x.mask.sum().item(), whiten(x.advantages_not_whitened, x.mask)
    same('whitened advantages', ours*math.sqrt((n - 1)/n), x.advantages, 1e-6,
         'ours · √((n − 1)/n)')
    same('whitened advantages', ours, x.advantages*math.sqrt(n/(n - 1)), 1e-6,
         'theirs · √(n/(n − 1))')


# learning

@lru_cache
def replay(case):
    "The four optimizer steps of TRL's update, made by our trainer: stats and weights of each."
    x, agent = load(case), load_agent(case)
    trainer, history = RLHFTrainer(agent, load_gpt2('reference'), x.config), []
    for rows in x.steps['mini_batch_inds']:
        rollout = x.rollout[rows]
        with torch.no_grad():
            logprobs, _, _ = agent(rollout.tokens, rollout.mask, x.R, rollout.temperature)
        loss, stats = loss_like_theirs(
            trainer, rollout, x.advantages[rows], x.returns[rows], x.mask_p1[rows])
        norm = take_step(trainer, loss)
        log_ratio = (logprobs - rollout.logprobs)*rollout.response_mask
        history.append(SimpleNamespace(
            stats=stats, loss=loss.item(), grad_norm=norm, log_ratio=log_ratio,
            mask=rollout.response_mask, weights=weights_of(agent)))
    return history


@every_case
def test_losses_of_every_minibatch(case):
    x, relation = load(case), '=' if case == 'full' else 'mean over one position more'
    for i, step in enumerate(replay(case)):
        same('policy loss', step.stats['loss/policy'], x.steps['pg_loss'][i], 2e-6)
        same('value loss', step.stats['loss/value'], x.steps['vf_loss'][i], 2e-6, relation)
        same('loss', step.loss, x.steps['loss'][i], 2e-6, relation)
        same('gradient norm', step.grad_norm, x.steps['grad_norm'][i], 2e-5, relation)


@every_case
def test_statistics_of_every_minibatch(case):
    x = load(case)
    for i, step in enumerate(replay(case)):
        stats, d = step.stats, step.log_ratio
        share = step.mask.sum().item()/step.mask.numel()  # of tokens that are no padding
        k2 = masked_mean(d**2/2, step.mask).item()
        same('clip fraction', stats['ppo/clip_fraction'], x.pg_clipfrac_stats[i], 1e-6)
        same('ratio', stats['ppo/ratio']*share + 1 - share, x.ratio_stats[i], 2e-6,
             'theirs: mean over padding too, where it is 1')
        same('approximate KL', k2*share, x.approxkl_stats[i], 2e-6,
             'theirs: k2, mean over padding too, where it is 0')
        third_order = masked_mean(d.abs()**3*d.abs().exp()/6, step.mask)  # ours is k3
        assert abs(stats['ppo/approx_kl'] - k2) <= third_order + 1e-6
        if case == 'full':
            same('entropy', stats['ppo/entropy'], x.entropy_stats[i], 5e-6)


@every_case
@pytest.mark.parametrize('when, i, quantity', [
    ('after_step', 0, 'weights after the first step'),
    ('after', -1, 'weights after the update'),
])
def test_weights(when, i, quantity, case):
    theirs, before = recorded(f'{case}/{when}'), recorded('policy')
    for name in theirs:
        assert (theirs[name] - before[name]).abs().max() > 1e-3, f'{name} was not trained'
    same_weights(quantity, replay(case)[i].weights, theirs)


@every_case
def test_value_loss_over_one_position_more(case):
    x = load(case)
    rows = x.steps['mini_batch_inds'][0]  # on the first minibatch no value has moved yet
    mask, early = x.mask[rows], x.early[rows]
    trainer = RLHFTrainer(load_agent(case), load_gpt2('reference'), x.config)
    _, stats = trainer.compute_loss(x.rollout[rows], x.advantages[rows], x.returns[rows])
    errors = (x.values - x.scores[:, None])[rows]  # the return one past EOS is the score
    past_eos = errors[early, mask.sum(1)[early]]
    ours = stats['loss/value']*mask.sum() + (past_eos**2/2).sum()
    theirs = x.steps['vf_loss'][0]*x.mask_p1[rows].sum()
    same('value loss', ours, theirs, 2e-5, 'sums: theirs has ½(V − score)² past EOS besides')


def whiten_like_theirs(advantages, mask):
    n = mask.sum().item()
    return whiten(advantages, mask)*math.sqrt((n - 1)/n)


@pytest.mark.parametrize('microbatches', [1, 4])
def test_a_whole_update_from_the_prompts_to_the_weights(microbatches, monkeypatch):
    x, agent, ref_model = load('full'), load_agent('full'), load_gpt2('reference')
    trainer = RLHFTrainer(agent, ref_model, replace(x.config, microbatches=microbatches))
    rollout = sample_again(x, agent)
    agent.eos_token_ids = [agent.eos_token_id]  # for the penalty
    _, rewards = score_and_shape(x, rollout, agent, load_reward_model(), ref_model)
    shuffles = list(x.steps['mini_batch_inds'].view(x.config.epochs, -1))
    monkeypatch.setattr(ppo, 'whiten', whiten_like_theirs)
    monkeypatch.setattr(torch, 'randperm', lambda *args, **kwargs: shuffles.pop(0))
    stats = trainer.update(rollout, rewards)
    assert not shuffles
    assert trainer.scheduler.get_last_lr() == [0.0]  # after the only update
    relation = '=, from the prompts on'
    same_weights('weights after the update', weights_of(agent), recorded('full/after'), relation)
    for name, theirs in (('ppo/clip_fraction', x.pg_clipfrac_stats),
                         ('loss/policy', x.steps['pg_loss']),
                         ('loss/value', x.steps['vf_loss']),
                         ('ppo/grad_norm', x.steps['grad_norm'])):
        same(f'{name}, mean', stats[name], theirs.mean(), 2e-6, relation)


def test_gradients_are_scaled_where_theirs_are_not():
    x = load('full')
    rows = x.steps['mini_batch_inds'][0]

    def gradient(bound):
        config = replace(x.config, max_grad_norm=bound)
        trainer = RLHFTrainer(load_agent('full'), load_gpt2('reference'), config)
        loss, _ = trainer.compute_loss(x.rollout[rows], x.advantages[rows], x.returns[rows])
        norm = take_step(trainer, loss)
        same('gradient norm', norm, x.steps['grad_norm'][0], 1e-5, 'before clipping')
        return torch.cat([p.grad.flatten() for p in trainer.agent.parameters()])

    whole, clipped = gradient(math.inf), gradient(0.5)
    same('gradient', clipped*x.steps['grad_norm'][0]/0.5, whole, 1e-6, 'ours · norm / bound')


# functions on random numbers

FUNCTIONS = SimpleNamespace(**recorded('functions'))


def test_means_and_whitening_on_random_numbers():
    x, mask = FUNCTIONS.x, FUNCTIONS.mask
    n = mask.sum().item()
    same('masked mean', masked_mean(x, mask), FUNCTIONS.masked_mean, 1e-6)
    same('whitening', (whiten(x, mask)*math.sqrt((n - 1)/n))[mask],
         FUNCTIONS.masked_whiten[mask], 1e-6, 'ours · √((n − 1)/n)')


@pytest.mark.parametrize('temperature, theirs', [
    (0.7 + 1e-7, FUNCTIONS.logprobs), (1.0, FUNCTIONS.logprobs_of_temperature_1)])
def test_log_probs_of_random_logits(temperature, theirs):
    logits, tokens = FUNCTIONS.logits, FUNCTIONS.tokens
    of_a_token_not_yet_there = logits[:, :1]

    def model(**inputs):
        return SimpleNamespace(logits=torch.cat([logits, of_a_token_not_yet_there], 1),
                               hidden_states=[torch.zeros(7, 10, 1)])

    ours = token_logprobs(model, tokens, torch.ones_like(tokens), 9, temperature)
    same('log-probs of logits', ours, theirs, 5e-6)


@pytest.mark.parametrize('name, margin', [
    ('pair_loss', 0.0), ('pair_loss_with_margin', FUNCTIONS.margin)])
def test_pair_loss_on_random_scores(name, margin):
    chosen = FUNCTIONS.chosen.clone().requires_grad_()
    rejected = FUNCTIONS.rejected.clone().requires_grad_()
    loss = bradley_terry_loss(chosen, rejected, margin)
    loss.backward()
    theirs = recorded('functions')
    same('Bradley-Terry loss', loss, theirs[name], 1e-6)
    same('its gradient', chosen.grad, theirs[f'{name}_of_chosen'], 1e-7)
    same('its gradient', rejected.grad, theirs[f'{name}_of_rejected'], 1e-7)
