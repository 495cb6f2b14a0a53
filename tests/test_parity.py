"Our numbers against TRL 1.12's, recorded by parity/record.py, and against float64 versions of the formulas, written another way."
import json, math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from safetensors import safe_open
from transformers import GPT2Config, GPT2LMHeadModel
from rlhf_nbdev import ppo
from rlhf_nbdev.advantage import (
    compute_advantage_and_return, kl_k1, masked_mean, shape_rewards, whiten,
)
from rlhf_nbdev.agent import Agent, Rollout, score_tokens, token_logprobs
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer, compute_loss
from rlhf_nbdev.reward import RewardModel, bradley_terry_loss

with safe_open(Path(__file__).parent/'parity'/'reference.safetensors', 'pt') as file:
    TENSORS, RECORDED = {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()['settings'])
every_case = pytest.mark.parametrize('case', sorted(RECORDED['cases']))  # full: no stop token; eos: responses end there; discount: γ below 1 besides
@pytest.fixture(autouse=True)
def sampling_as_theirs(monkeypatch): monkeypatch.setattr('rlhf_nbdev.agent.draw', lambda dist: torch.multinomial(dist.exp(), 1))  # ours draws from the same distribution with other random numbers


TABLE = {}  # what parity/compare.py prints: (quantity, relation) -> largest difference, largest number, tolerance


def same(quantity, ours, theirs, tolerance, relation='='):
    "Assert that two tensors agree, and keep by how much they do not."
    ours, theirs = (torch.as_tensor(x, dtype=torch.float64).detach() for x in (ours, theirs))
    assert ours.shape == theirs.shape and ours.numel(), f'{quantity}: {ours.shape} and {theirs.shape}'
    found = (ours - theirs).abs().max().item(), theirs.abs().max().item(), tolerance
    TABLE[quantity, relation] = tuple(map(max, found, TABLE.get((quantity, relation), found)))
    assert found[0] <= tolerance, f'{quantity} ({relation}): off by {found[0]:.2g}, allowed are {tolerance:.2g}'


def named(prefix): return {name.removeprefix(prefix + '/'): x for name, x in TENSORS.items() if name.startswith(prefix + '/')}


def load(case):
    "What TRL had in hand, with our names for its masks and settings."
    x, c = SimpleNamespace(**{name: x for name, x in named(case).items() if '/' not in name}), RECORDED['cases'][case]
    x.mask, x.mask_p1 = (~x.padding_mask).long(), (~x.padding_mask_p1).long()  # TRL keeps one position past EOS, for the score and for the value there
    x.early = x.mask_p1.sum(1) > x.mask.sum(1)  # (B,) there is room for it: the response ended before R tokens
    x.steps, x.gamma, x.lam = named(f'{case}/step'), c['gamma'], c['lam']
    x.config = RLHFConfig(batch_size=len(x.mask), updates=1, epochs=c['num_ppo_epochs'], minibatches=c['num_mini_batches'], learning_rate=c['learning_rate'], adam_epsilon=c['adam_epsilon'],
                          max_grad_norm=math.inf, temperature=c['temperature'] + 1e-7, gamma=c['gamma'], lam=c['lam'], clip_ratio=c['cliprange'], clip_value=c['cliprange_value'],
                          value_coef=c['vf_coef'], beta=c['kl_coef'], missing_eos_penalty=c['missing_eos_penalty'])  # TRL adds 1e-7 to the temperature and clips no gradients
    prompt_mask = (x.queries != RECORDED['model']['pad_token_id']).long()
    x.rollout = Rollout(torch.cat([x.queries, x.responses], 1), torch.cat([prompt_mask, x.mask], 1), x.mask, x.logprobs, x.values, x.config.temperature)
    return x


def load_gpt2(prefix):
    model = GPT2LMHeadModel(GPT2Config(**RECORDED['model'])).eval()
    assert model.load_state_dict({n: x for n, x in named(prefix).items() if n.startswith('transformer')}, strict=False).missing_keys == ['lm_head.weight']  # tied
    return model


def load_agent(case):
    agent = Agent(load_gpt2('policy'))
    agent.value_head.load_state_dict({n: TENSORS[f'policy/score.{n}'] for n in ('weight', 'bias')})
    if RECORDED['cases'][case]['stop_token'] is None: agent.eos_token_ids = [-1]
    return agent


def load_reward_model():
    reward_model = RewardModel(load_gpt2('reference'))
    reward_model.head.load_state_dict({n: TENSORS[f'reward/score.{n}'] for n in ('weight', 'bias')})
    return reward_model


def last(mask): return mask.sum(1) - 1  # (B,) where each response ends


def move_scores_back(x):
    "TRL's rewards with each score on the last token, in place of one past it."
    rewards, rows = x.rewards.clone(), torch.arange(len(x.mask))
    rewards[rows, last(x.mask_p1)] -= x.scores
    rewards[rows, last(x.mask)] += x.scores
    return rewards


@every_case
def test_the_recording_holds_what_it_should(case):
    x = load(case)
    assert RECORDED['versions']['trl'] == '1.12.0' and x.kl.abs().max() > 0.5 and x.values.std() > 0.3 and len({*x.rollout.mask.argmax(1).tolist()}) > 3
    assert (x.pg_clipfrac_stats[1:] > 0).all() and x.vf_clipfrac_stats.max() > 0
    if case == 'full': assert x.mask.all()
    else: assert 5 < x.early.sum() < len(x.early) and 1 in x.mask.sum(1) and x.mask.shape[1] - 1 in x.mask.sum(1)


@every_case
def test_log_probs_and_values_of_given_tokens(case):
    x, R = load(case), load(case).mask.shape[1]
    agent, counted = load_agent(case), x.mask.bool()
    with torch.no_grad():
        logprobs, values, entropy = agent(x.rollout.tokens, x.rollout.mask, R, x.rollout.temperature)
        ref_logprobs = token_logprobs(load_gpt2('reference'), x.rollout.tokens, x.rollout.mask, R, x.rollout.temperature)
        rounded = token_logprobs(agent.model, x.rollout.tokens, x.rollout.mask, R, RECORDED['cases'][case]['temperature'])
    same('log-probs', logprobs[counted], x.logprobs[counted], 5e-6)
    same('log-probs', rounded[counted], x.logprobs[counted], 1e-5, 'ours at 0.7, theirs at 0.7 + 1e-7')
    same('reference log-probs', ref_logprobs[counted], x.ref_logprobs[counted], 5e-6)
    same('values', values*x.mask_p1, x.values, 5e-6, '=, one past EOS too')
    if case == 'full': same('entropy', masked_mean(entropy[x.steps['mini_batch_inds'][0]], x.mask[:6]), x.entropy_stats[0], 5e-6)  # of the untrained policy; over padding TRL's mean is another


@every_case
def test_the_same_seed_samples_the_same_responses(case):
    x, agent = load(case), load_agent(case)
    torch.manual_seed(RECORDED['seed'])
    rollout = agent.generate(x.queries, (x.queries != RECORDED['model']['pad_token_id']).long(), x.mask.shape[1], x.config.temperature)
    assert rollout.tokens.equal(x.rollout.tokens) and rollout.mask.equal(x.rollout.mask) and rollout.response_mask.equal(x.mask)
    same('log-probs, sampled', rollout.logprobs, x.logprobs*x.mask, 5e-6)
    same('values, sampled', rollout.values, x.values*x.mask, 5e-6)


@every_case
def test_scores_and_their_penalty(case):
    x = load(case)
    reward_model, agent = load_reward_model(), load_agent('eos')  # what is penalised is the missing EOS, stop token or not
    found = agent.compute_rewards(x.rollout, reward_model, load_gpt2('reference'), x.config.beta, x.config.missing_eos_penalty)
    assert 0 < (x.scores != x.scores_without_penalty).sum() < len(x.scores)
    with torch.no_grad(): same('scores', reward_model(x.rollout.tokens, x.rollout.mask), x.scores_without_penalty, 2e-6)
    same('scores', found.scores, x.scores, 2e-6, '=, less the penalty')
    same('rewards', found.rewards, move_scores_back(x), 2e-6, 'theirs have the score one past EOS')


@every_case
def test_shaped_rewards_put_the_score_one_position_earlier(case):
    x = load(case)
    same('KL', kl_k1(x.logprobs, x.ref_logprobs), x.kl, 0)
    same('rewards', shape_rewards(x.scores, x.logprobs, x.ref_logprobs, x.mask_p1, x.config.beta), x.rewards, 1e-7, 'ours with their mask')
    ours = shape_rewards(x.scores, x.logprobs, x.ref_logprobs, x.mask, x.config.beta)
    same('rewards', ours, move_scores_back(x), 3e-7, 'theirs have the score one past EOS')
    same('rewards, summed', ours.sum(1), x.rewards.sum(1), 1e-6)


@every_case
def test_advantages_and_returns(case):
    x = load(case)
    advantages, returns = compute_advantage_and_return(x.rewards, x.values, x.mask_p1, x.gamma, x.lam)
    same('advantages', advantages, x.advantages_not_whitened, 1e-6, 'ours with their mask and rewards')
    same('returns', returns, x.returns, 1e-6, 'ours with their mask and rewards')

    # On our mask the last δ holds the score itself, in place of γ V one past EOS, whose own δ follows: for γ = 1 the two differ by (1 − λ)(V − score), carried back
    advantages, _ = compute_advantage_and_return(move_scores_back(x), x.values, x.mask, x.gamma, x.lam)
    there = (x.values*(torch.arange(x.mask.shape[1]) == x.mask.sum(1, keepdim=True))).sum(1)  # (B,) V one past EOS
    gap = (x.gamma*(1 - x.lam)*there - (1 - x.gamma*x.lam)*x.scores)*x.early
    steps_left = last(x.mask)[:, None] - torch.arange(x.mask.shape[1])
    same('advantages', (advantages + gap[:, None]*(x.gamma*x.lam)**steps_left)*x.mask, x.advantages_not_whitened*x.mask, 1e-6, "ours + (γλ)^(steps left) (γ(1 − λ) V − (1 − γλ) score)")


@every_case
def test_the_position_past_eos_does_not_matter_if_lambda_is_1_or_the_value_there_is_the_score(case):
    x = load(case)
    discounted = x.scores*torch.where(x.early, x.gamma, 1.0)  # one step later is one γ less
    ours = shape_rewards(discounted, x.logprobs, x.ref_logprobs, x.mask, x.config.beta)
    perfect = x.values.clone()
    perfect[x.early, x.mask.sum(1)[x.early]] = x.scores[x.early]
    for lam, values, relation in ((1.0, x.values, 'λ = 1'), (x.lam, perfect, 'V past EOS = score')):
        for quantity, a, b in zip(('advantages', 'returns'), compute_advantage_and_return(ours, values, x.mask, x.gamma, lam), compute_advantage_and_return(x.rewards, values, x.mask_p1, x.gamma, lam)):
            same(quantity, a, b*x.mask, 1e-6, relation)


@every_case
def test_whitening_divides_by_n_where_theirs_divides_by_one_less(case):
    x, n = load(case), load(case).mask.sum().item()
    same('whitened advantages', whiten(x.advantages_not_whitened, x.mask)*math.sqrt((n - 1)/n), x.advantages, 1e-6, 'ours · √((n − 1)/n)')
    same('whitened advantages', whiten(x.advantages_not_whitened, x.mask), x.advantages*math.sqrt(n/(n - 1)), 1e-6, 'theirs · √(n/(n − 1))')


def loss_like_theirs(trainer, rollout, advantages, returns, mask_p1):
    "TRL averages the value loss over one position more than the policy loss: two calls of ours, one for each mean."
    if mask_p1.equal(rollout.response_mask): return trainer.compute_loss(rollout, advantages, returns)
    config = trainer.config
    trainer.config = replace(config, value_coef=0.0)
    policy_loss, stats = trainer.compute_loss(rollout, advantages, returns)
    trainer.config = config
    value_loss, value_stats = trainer.compute_loss(replace(rollout, response_mask=mask_p1), torch.zeros_like(advantages), returns)  # no advantages: no policy loss
    return policy_loss + value_loss, stats | {'loss/value': value_stats['loss/value']}


def take_step(trainer, loss):
    trainer.optimizer.zero_grad()
    trainer.backward(loss)
    return trainer.step()


def weights(agent): return {name.removeprefix('model.').replace('value_head', 'score'): p.detach().clone() for name, p in agent.named_parameters()}


def same_weights(quantity, ours, theirs, relation='='):
    "All of them. Adam divides by |gradient| + 1e-5, which makes much of rounding where gradients are small: most for the keys' biases, which softmax does not see, so that rounding is all they have."
    assert ours.keys() == theirs.keys()
    keys = {name: torch.arange(x.numel()).view_as(x)//(len(x)//3) == 1 if name.endswith('c_attn.bias') else torch.zeros_like(x, dtype=torch.bool) for name, x in theirs.items()}
    flat = lambda weights, which: torch.cat([weights[name][keys[name] == which] for name in theirs]).double()
    same(quantity, flat(ours, False), flat(theirs, False), 3e-5, relation)
    same(f"{quantity}, keys' biases", flat(ours, True), flat(theirs, True), 1e-4, relation)
    off, way = (flat(weights, False) - flat(theirs, False) for weights in (ours, named('policy')))
    same(f'{quantity}, error / way from the start', off.norm()/way.norm(), 0.0, 1e-4, relation)


@lru_cache
def replay(case):
    "The four optimizer steps of TRL's update, made by our trainer: the stats of each, and the weights after each."
    x, agent = load(case), load_agent(case)
    trainer, history = RLHFTrainer(agent, load_gpt2('reference'), x.config), []
    for rows in x.steps['mini_batch_inds']:
        rollout = x.rollout[rows]
        with torch.no_grad(): log_ratio = (agent(rollout.tokens, rollout.mask, x.mask.shape[1], rollout.temperature)[0] - rollout.logprobs)*rollout.response_mask
        loss, stats = loss_like_theirs(trainer, rollout, x.advantages[rows], x.returns[rows], x.mask_p1[rows])
        history.append(stats | {'loss': loss.item(), 'grad_norm': take_step(trainer, loss), 'log_ratio': log_ratio, 'mask': rollout.response_mask, 'weights': weights(agent)})
    return history


@every_case
def test_losses_of_every_minibatch(case):
    x = load(case)
    for i, seen in enumerate(replay(case)):
        value_relation = '=' if case == 'full' else 'mean over one position more'
        same('policy loss', seen['loss/policy'], x.steps['pg_loss'][i], 2e-6)
        same('value loss', seen['loss/value'], x.steps['vf_loss'][i], 2e-6, value_relation)
        same('loss', seen['loss'], x.steps['loss'][i], 2e-6, value_relation)
        same('gradient norm', seen['grad_norm'], x.steps['grad_norm'][i], 2e-5, value_relation)


@every_case
def test_statistics_of_every_minibatch(case):
    x = load(case)
    for i, seen in enumerate(replay(case)):
        mask, n, d = seen['mask'], seen['mask'].sum().item(), seen['log_ratio']
        share, k2 = n/mask.numel(), masked_mean(d**2/2, mask).item()
        same('clip fraction', seen['ppo/clip_fraction'], x.pg_clipfrac_stats[i], 1e-6)
        same('ratio', seen['ppo/ratio']*share + 1 - share, x.ratio_stats[i], 2e-6, 'theirs: mean over padding too, where it is 1')
        same('approximate KL', k2*share, x.approxkl_stats[i], 2e-6, 'theirs: k2, mean over padding too, where it is 0')
        assert abs(seen['ppo/approx_kl'] - k2) <= masked_mean(d.abs()**3*d.abs().exp()/6, mask) + 1e-6  # ours is k3, which is k2 up to the third order
        if case == 'full': same('entropy', seen['ppo/entropy'], x.entropy_stats[i], 5e-6)


@every_case
def test_weights_after_one_step_and_after_the_update(case):
    history = replay(case)
    for when, i, quantity in (('after_step', 0, 'weights after the first step'), ('after', -1, 'weights after the update')):
        theirs, before = named(f'{case}/{when}'), named('policy')
        assert all((theirs[name] - before[name]).abs().max() > 1e-3 for name in theirs)
        same_weights(quantity, history[i]['weights'], theirs)


@every_case
def test_value_loss_over_one_position_more(case):
    x, rows = load(case), load(case).steps['mini_batch_inds'][0]  # on the first minibatch no value has moved yet
    mask, early, n, n_p1 = x.mask[rows], x.early[rows], x.mask[rows].sum(), x.mask_p1[rows].sum()
    ours = RLHFTrainer(load_agent(case), load_gpt2('reference'), x.config).compute_loss(x.rollout[rows], x.advantages[rows], x.returns[rows])[1]['loss/value']
    there = (x.values - x.scores[:, None])[rows][early, mask.sum(1)[early]]  # the return one past EOS is the score
    same('value loss', ours*n + (there**2/2).sum(), x.steps['vf_loss'][0]*n_p1, 2e-5, 'sums: theirs has ½(V − score)² past EOS besides')


@pytest.mark.parametrize('microbatches', [1, 4])
def test_a_whole_update_from_the_prompts_to_the_weights(microbatches, monkeypatch):
    x, agent = load('full'), load_agent('full')
    n, ours, shuffles = x.mask.sum().item(), ppo.whiten, list(x.steps['mini_batch_inds'].view(x.config.epochs, -1))
    trainer = RLHFTrainer(agent, load_gpt2('reference'), replace(x.config, microbatches=microbatches))
    torch.manual_seed(RECORDED['seed'])
    rollout = agent.generate(x.queries, (x.queries != RECORDED['model']['pad_token_id']).long(), x.mask.shape[1], x.config.temperature)
    agent.eos_token_ids = [agent.eos_token_id]  # for the penalty
    found = agent.compute_rewards(rollout, load_reward_model(), trainer.ref_model, trainer.beta, x.config.missing_eos_penalty)
    monkeypatch.setattr(ppo, 'whiten', lambda *args: ours(*args)*math.sqrt((n - 1)/n))
    monkeypatch.setattr(torch, 'randperm', lambda *args, **kwargs: shuffles.pop(0))
    stats = trainer.update(rollout, found.rewards)
    assert not shuffles and trainer.scheduler.get_last_lr() == [0.0]  # after the only update
    same_weights('weights after the update', weights(agent), named('full/after'), '=, from the prompts on')
    for name, theirs in (('ppo/clip_fraction', x.pg_clipfrac_stats), ('loss/policy', x.steps['pg_loss']), ('loss/value', x.steps['vf_loss']), ('ppo/grad_norm', x.steps['grad_norm'])):
        same(f'{name}, mean', stats[name], theirs.mean(), 2e-6, '=, from the prompts on')


def test_gradients_are_scaled_where_theirs_are_not():
    x, rows = load('full'), load('full').steps['mini_batch_inds'][0]
    gradients = []
    for bound in (math.inf, 0.5):
        trainer = RLHFTrainer(load_agent('full'), load_gpt2('reference'), replace(x.config, max_grad_norm=bound))
        norm = take_step(trainer, trainer.compute_loss(x.rollout[rows], x.advantages[rows], x.returns[rows])[0])
        same('gradient norm', norm, x.steps['grad_norm'][0], 1e-5, 'before clipping')
        gradients.append(torch.cat([p.grad.flatten() for p in trainer.agent.parameters()]))
    same('gradient', gradients[1]*x.steps['grad_norm'][0]/0.5, gradients[0], 1e-6, 'ours · norm / bound')


def test_functions_on_random_numbers():
    x = SimpleNamespace(**named('functions'))
    n = x.mask.sum().item()
    same('masked mean', masked_mean(x.x, x.mask), x.masked_mean, 1e-6)
    same('whitening', (whiten(x.x, x.mask)*math.sqrt((n - 1)/n))[x.mask], x.masked_whiten[x.mask], 1e-6, 'ours · √((n − 1)/n)')
    model = lambda **inputs: SimpleNamespace(logits=torch.cat([x.logits, x.logits[:, :1]], 1), hidden_states=[torch.zeros(7, 10, 1)])  # the last logits are of a token not yet there
    for temperature, theirs in ((0.7 + 1e-7, x.logprobs), (1.0, x.logprobs_of_temperature_1)):
        same('log-probs of logits', token_logprobs(model, x.tokens, torch.ones_like(x.tokens), 9, temperature), theirs, 5e-6)
    for name, margin in (('pair_loss', 0.0), ('pair_loss_with_margin', x.margin)):
        chosen, rejected = x.chosen.clone().requires_grad_(), x.rejected.clone().requires_grad_()
        loss = bradley_terry_loss(chosen, rejected, margin)
        loss.backward()
        same('Bradley-Terry loss', loss, getattr(x, name), 1e-6)
        for side in ('chosen', 'rejected'): same('its gradient', locals()[side].grad, getattr(x, f'{name}_of_{side}'), 1e-7)


# The formulas once more, in float64, from their definitions: loops and sums over the tokens that count, and numbers of all sizes on the padding, which must not matter.

random_cases = settings(max_examples=200, derandomize=True, deadline=None, database=None)


@st.composite
def batches(draw):
    "Makes random (B, R) arrays; `rows(x)` are the parts of one that count."
    B, R = draw(st.integers(1, 5)), draw(st.integers(1, 7))
    lengths = draw(st.lists(st.integers(1, R), min_size=B, max_size=B))
    rng, scale = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(st.sampled_from([0.03, 1.0, 5.0]))
    return SimpleNamespace(B=B, R=R, lengths=lengths, mask=torch.arange(R) < torch.tensor(lengths)[:, None], rng=rng, scale=scale,
                           draw=lambda *shape: scale*rng.standard_normal(shape or (B, R)), rows=lambda x: [row[:n] for row, n in zip(np.asarray(x), lengths)])


def agree(ours, theirs, tolerance=1e-10):
    ours, theirs = (torch.as_tensor(x, dtype=torch.float64) for x in (ours, theirs))
    assert ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance), (ours, theirs)


def padded(rows, R): return torch.tensor([[*row, *[0.0]*(R - len(row))] for row in rows], dtype=torch.float64)


def n_step_advantages(rewards, values, gamma, lam):
    "GAE as it is introduced: the average of all n-step advantages with weights (1 − λ)λⁿ⁻¹, the last of which takes the rest."
    N = len(rewards)
    def n_step(t, n): return sum(gamma**k*rewards[t + k] for k in range(n)) + (gamma**n*values[t + n] if t + n < N else 0) - values[t]
    return [sum((1 - lam)*lam**(n - 1)*n_step(t, n) for n in range(1, N - t)) + lam**(N - t - 1)*n_step(t, N - t) for t in range(N)]


@random_cases
@given(batches(), st.floats(0, 1), st.floats(0, 1))
def test_advantages_are_averages_of_n_step_advantages(b, gamma, lam):
    rewards, values = b.draw(), b.draw()
    wanted = [n_step_advantages(*row, gamma, lam) for row in zip(b.rows(rewards), b.rows(values))]
    advantages, returns = compute_advantage_and_return(*map(torch.tensor, (rewards, values)), b.mask, gamma, lam)
    agree(advantages, padded(wanted, b.R))
    agree(returns, padded([np.add(a, v) for a, v in zip(wanted, b.rows(values))], b.R))


@random_cases
@given(batches())
def test_whitened_numbers_are_standard_scores(b):
    x, flat = b.draw(), []
    x += b.rng.standard_normal()
    for row in b.rows(x): flat.extend(row)
    mean = math.fsum(flat)/len(flat)
    std = math.sqrt(math.fsum((each - mean)**2 for each in flat)/len(flat) + 1e-8)
    agree(masked_mean(torch.tensor(x), b.mask), mean)
    agree(whiten(torch.tensor(x), b.mask), padded([[(each - mean)/std for each in row] for row in b.rows(x)], b.R), 1e-8)


@random_cases
@given(batches(), st.floats(0, 2))
def test_shaped_rewards_token_by_token(b, beta):
    scores, logprobs, ref_logprobs, wanted = b.draw(b.B), b.draw(), b.draw(), []
    for score, new, old in zip(scores, b.rows(logprobs), b.rows(ref_logprobs)):
        row = [beta*math.log(math.exp(r)/math.exp(l)) for l, r in zip(new, old)]  # what a token earns for being likelier under the reference
        row[-1] += score
        wanted.append(row)
    agree(shape_rewards(*map(torch.tensor, (scores, logprobs, ref_logprobs)), b.mask, beta), padded(wanted, b.R), 1e-9)


@random_cases
@given(batches(), st.floats(0.05, 0.5), st.floats(0.05, 0.5), st.floats(0, 1))
def test_clipped_losses_case_by_case(b, clip_ratio, clip_value, value_coef):
    old_logprobs, old_values, advantages, returns = b.draw(), b.draw(), b.draw(), b.draw()
    logprobs, values = old_logprobs + 0.3*b.rng.standard_normal((b.B, b.R)), old_values + 0.3*b.rng.standard_normal((b.B, b.R))
    gains, errors, ratios, kls, clipped = [], [], [], [], []
    for rows in zip(*map(b.rows, (logprobs, old_logprobs, values, old_values, advantages, returns))):
        for new, old, v, v_old, a, g in zip(*rows):
            ratio = math.exp(new)/math.exp(old)
            too_far = ratio > 1 + clip_ratio if a > 0 else ratio < 1 - clip_ratio  # in the direction that the advantage wants
            gains.append(a*((1 + clip_ratio if a > 0 else 1 - clip_ratio) if too_far else ratio))
            near = v if abs(v - v_old) <= clip_value else v_old + math.copysign(clip_value, v - v_old)
            errors.append(max(abs(v - g), abs(near - g))**2)
            ratios.append(ratio); kls.append(ratio - 1 - math.log(ratio)); clipped.append(too_far)
    policy_loss, value_loss = -np.mean(gains), np.mean(errors)/2
    loss, stats = compute_loss(*map(torch.tensor, (logprobs, values, old_logprobs, old_values, advantages, returns)), b.mask, clip_ratio, clip_value, value_coef)
    agree(loss, policy_loss + value_coef*value_loss)
    for name, wanted in (('loss/policy', policy_loss), ('loss/value', value_loss), ('ppo/ratio', np.mean(ratios)), ('ppo/approx_kl', np.mean(kls))): agree(stats[name], wanted)
    agree(stats['ppo/clip_fraction'], np.mean(clipped), 1e-6)  # a mean of float32


@random_cases
@given(batches(), st.integers(2, 9), st.floats(0.2, 3))
def test_log_probs_are_of_the_softmax_at_the_temperature(b, V, temperature):
    logits, tokens = b.draw(b.B, b.R + 1, V), torch.from_numpy(b.rng.integers(V, size=(b.B, b.R)))
    model = lambda **inputs: SimpleNamespace(logits=torch.tensor(logits), hidden_states=[torch.zeros(b.B, b.R + 1, 1)])
    wanted = [[-math.log(math.fsum(math.exp((z - row[token])/temperature) for z in row)) for row, token in zip(*rows)] for rows in zip(logits, tokens.tolist())]
    dists, _ = score_tokens(model, tokens, torch.ones_like(tokens), b.R, temperature)
    agree(token_logprobs(model, tokens, torch.ones_like(tokens), b.R, temperature), wanted, 2e-6*(1 + b.scale/temperature))  # in float32
    agree(dists.exp().sum(-1), torch.ones(b.B, b.R), 1e-5)


@random_cases
@given(batches(), st.booleans())
def test_pair_loss_is_minus_the_log_of_the_odds_share(b, with_margin):
    chosen, rejected, margin = b.draw(b.B), b.draw(b.B), b.draw(b.B)*with_margin
    wins = [math.exp(c)/(math.exp(c) + math.exp(r + m)) for c, r, m in zip(chosen, rejected, margin)]
    ours = bradley_terry_loss(*map(torch.tensor, (chosen, rejected, margin))) if with_margin else bradley_terry_loss(*map(torch.tensor, (chosen, rejected)))
    agree(ours, -np.mean(np.log(wins)))
