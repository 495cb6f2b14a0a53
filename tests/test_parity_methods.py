"""Do RLOO, GRPO and its kin, and DPO here compute what TRL computes?

parity/methods.safetensors holds what TRL 1.16 made of our batches (parity/record_methods.py). Where
a convention differs, the test says how, and holds ours to theirs through that difference."""
import pytest
import torch
from methods_recording import (
    CASES,
    KINDS,
    RECORDED,
    TENSORS,
    base_of,
    close,
    compare_gradients,
    load_batch,
    load_case,
    load_gpt2,
    load_trainer,
    loss_of,
    recorded,
    rollout_of,
    scored_rollout_of,
    with_gradient,
)

from rlhf_nbdev.advantage import kl_k1, kl_k3, masked_mean, shape_rewards
from rlhf_nbdev.agent import Rewards, token_logprobs
from rlhf_nbdev.beyond import (
    METHODS,
    above_group_mean,
    clipped_losses,
    dpo_loss,
    for_each_token,
    group_normalised,
    leave_one_out,
    log_ratios,
    pair_logprobs,
)
from rlhf_nbdev.tools.reading import score_responses

CORRECTED = [case for case in CASES if 'corrected' in case]
RLOO = [case for case in CASES if base_of(case) == 'rloo']
LEFT_OUT = (*CORRECTED, *RLOO, 'dapo_half')
GROUP_LOSSES = [case for case in CASES if case not in LEFT_OUT]
every_kind = pytest.mark.parametrize('kind', KINDS)
every_loss = pytest.mark.parametrize('case', GROUP_LOSSES)
every_rloo = pytest.mark.parametrize('case', RLOO)


def what_is_divided(case, x):
    "TRL's Dr. GRPO divides by the longest response that is allowed, ours by the batch's width."
    if base_of(case) == 'dr_grpo':
        return RECORDED['longest']/x.mask.shape[1], 'theirs · longest allowed / width of the batch'
    return 1.0, '='


# what was recorded

@every_kind
def test_the_recording_holds_what_it_should(kind):
    assert RECORDED['versions']['trl'] == '1.16.0'
    x = load_batch(kind)
    lengths = x.mask.sum(1).tolist()
    assert 1 in lengths and x.mask.shape[1] in lengths and len(set(lengths)) > 3
    assert x.prompt_mask.all() == (kind == 'even')
    groups = x.scores.view(-1, x.K)
    assert (groups == groups[:, :1]).all(1).sum() == 1  # one group whose scores agree


@every_kind
@pytest.mark.parametrize('case', ['grpo', 'gspo'])
def test_ratios_leave_the_clip_on_both_sides_with_both_signs(kind, case):
    x = load_case(kind, case)
    ratios = x.method.ratios(x.logprobs, x.old_logprobs, x.mask)
    advantages = x.advantages[:, None]*x.mask
    for outside in (ratios > 1.2, ratios < 0.8):
        assert (outside & (advantages > 0)).any() and (outside & (advantages < 0)).any()


# advantages

@every_kind
@pytest.mark.parametrize('case, ours', [
    ('grpo', group_normalised), ('gspo_kl', group_normalised), ('dr_grpo', above_group_mean),
    ('dapo', group_normalised), ('rloo', leave_one_out)])
def test_advantages(kind, case, ours):
    x = load_case(kind, case)
    advantages = ours(x.scores.view(-1, x.K)).flatten()
    close(f'advantages, {base_of(case)}', advantages, x.advantages)


@every_kind
def test_rloo_takes_the_kl_from_the_reward(kind):
    x = load_case(kind, 'rloo_kl')
    rewards = shape_rewards(x.scores, x.old_logprobs, x.ref_logprobs, x.mask, x.beta)
    ours = for_each_token(leave_one_out)(rewards, x.mask, x.K)
    close('advantages, rloo with KL', ours, x.advantages[:, None]*x.mask, 'k1 in the reward')
    assert (load_case(kind, 'rloo').advantages - x.advantages).abs().max() > 0.05


@every_kind
def test_grpo_leaves_the_kl_out_of_the_advantages(kind):
    without, with_kl = load_case(kind, 'grpo'), load_case(kind, 'grpo_kl')
    assert without.advantages.equal(with_kl.advantages)


# losses of given log-probs

@every_kind
@every_loss
def test_losses_and_their_gradients(kind, case):
    x = load_case(kind, case)
    loss, gradient = with_gradient(lambda logprobs: loss_of(x, logprobs), x.logprobs)
    factor, relation = what_is_divided(case, x)
    close(f'loss, {case}', loss, factor*x.loss, relation)
    close(f'gradient of log-probs, {case}', gradient, factor*x.grad_of_logprobs, relation)


@every_kind
@pytest.mark.parametrize('case', CORRECTED)
def test_the_kl_of_trl_is_multiplied_by_the_ratio_unless_it_is_told_otherwise(kind, case):
    x = load_case(kind, case)

    def corrected(logprobs):
        ratios = x.method.ratios(logprobs, x.old_logprobs, x.mask)
        losses = clipped_losses(ratios, x.advantages[:, None], x.settings['epsilon'])
        return x.method.average(losses + x.beta*ratios*kl_k3(logprobs, x.ref_logprobs), x.mask)

    loss, gradient = with_gradient(corrected, x.logprobs)
    relation = 'theirs by default: k3 · ratio'
    close(f'loss, {case}', loss, x.loss, relation)
    close(f'gradient of log-probs, {case}', gradient, x.grad_of_logprobs, relation)
    _, ours = with_gradient(lambda logprobs: loss_of(x, logprobs), x.logprobs)
    assert (ours - x.grad_of_logprobs).abs().max() > 0.001


@every_kind
def test_in_the_first_step_that_is_the_gradient_of_k1_in_the_reward(kind):
    "The slope of k3 in a log-prob is 1 − π_ref/π; with the ratio, where that is 1, it is k1."
    x, without = load_case(kind, 'grpo_corrected_first'), load_case(kind, 'grpo_first')
    k1 = kl_k1(x.logprobs, x.ref_logprobs)
    _, of_mean = with_gradient(lambda y: x.method.average(y, x.mask), torch.zeros_like(k1))
    slope = x.grad_of_logprobs - without.grad_of_logprobs
    close('slope of the KL, corrected', x.beta*k1*of_mean, slope, 'k1 · weight of the token')
    plain = load_case(kind, 'grpo_kl_first').grad_of_logprobs - without.grad_of_logprobs
    of_k3 = 1 - (x.ref_logprobs - x.logprobs).exp()
    close('slope of the KL, k3', x.beta*of_k3*of_mean, plain, '(1 − π_ref/π) · weight')


@every_kind
def test_dapo_divides_a_minibatch_by_the_tokens_of_the_whole_batch(kind):
    x = load_case(kind, 'dapo_half')
    rows = slice(0, len(x.advantages))
    tokens = x.mask.sum()
    for name in ('mask', 'logprobs', 'old_logprobs'):
        setattr(x, name, getattr(x, name)[rows])
    loss, gradient = with_gradient(lambda logprobs: loss_of(x, logprobs), x.logprobs)
    factor, relation = x.mask.sum()/(tokens/2), 'ours · its tokens / mean tokens of a minibatch'
    assert abs(factor - 1) > 0.01
    close('loss, dapo on a minibatch', factor*loss, x.loss, relation)
    close('its gradient', factor*gradient, x.grad_of_logprobs, relation)


def loss_of_whole_responses(x, logprobs):
    "TRL's RLOO from our parts: the ratio is that of the whole response, the mean is over rows."
    ratios = log_ratios(logprobs, x.old_logprobs, x.mask).sum(1).exp()
    return clipped_losses(ratios, x.advantages, x.settings['epsilon']).mean()


@every_kind
@every_rloo
def test_rloo_has_one_ratio_for_a_whole_response(kind, case):
    x = load_case(kind, case)
    loss, gradient = with_gradient(lambda y: loss_of_whole_responses(x, y), x.logprobs)
    relation = 'theirs: product of the ratios, mean over rows'
    close(f'loss, {case}', loss, x.loss, relation, 1e-5)  # a product of ratios rounds more
    close(f'gradient of log-probs, {case}', gradient, x.grad_of_logprobs, relation, 1e-5)


@every_kind
def test_the_first_step_of_rloo_is_ours_but_for_the_width(kind):
    x = load_case(kind, 'rloo_first')
    x.method = METHODS['rloo']
    _, gradient = with_gradient(lambda logprobs: loss_of(x, logprobs), x.logprobs)
    R = x.mask.shape[1]
    close('gradient, rloo before it has learnt', R*gradient, x.grad_of_logprobs, 'ours · R')
    x = load_case(kind, 'rloo')  # once it has, the two are different methods
    x.method = METHODS['rloo']
    _, gradient = with_gradient(lambda logprobs: loss_of(x, logprobs), x.logprobs)
    assert (R*gradient - x.grad_of_logprobs).abs().max() > 0.01


# what is logged

@every_kind
@pytest.mark.parametrize('case', ['grpo_kl', 'gspo', 'bnpo'])
def test_the_clip_fraction_counts_other_tokens(kind, case):
    """Theirs counts where the clip holds back, by the advantage's sign; ours where the ratio is
    outside."""
    x = load_case(kind, case)
    ratios = x.method.ratios(x.logprobs, x.old_logprobs, x.mask)
    advantages = x.advantages[:, None].expand_as(ratios)
    held_back = ((ratios < 0.8) & (advantages < 0)) | ((ratios > 1.2) & (advantages > 0))
    mask = x.mask
    if base_of(case) == 'gspo':  # one ratio a row, which counts once
        mask = torch.zeros_like(mask)
        mask[:, 0] = 1
    close('clip fraction', masked_mean(held_back.float(), mask), x.metrics.region_mean,
          'theirs: where the clip holds back')
    is_outside = ((ratios - 1).abs() > 0.2).float()
    assert masked_mean(is_outside, mask) > x.metrics.region_mean + 0.05


@every_kind
def test_the_kl_that_is_logged_is_k3_per_token(kind):
    x = load_case(kind, 'grpo_kl')
    theirs = recorded(f'{kind}/grpo_kl/metric').kl
    close('KL, logged by GRPO', masked_mean(kl_k3(x.logprobs, x.ref_logprobs), x.mask), theirs)


# from the weights on

@pytest.mark.parametrize('which, name', [
    ('policy', 'old_logprobs'), ('today', 'logprobs'), ('reference', 'ref_logprobs')])
def test_log_probs_of_the_same_weights(which, name):
    x, real = load_batch('even'), load_batch('even').mask.bool()
    with torch.no_grad():
        ours = token_logprobs(load_gpt2(which), x.tokens, x.whole_mask, x.mask.shape[1], 0.7)
    close('log-probs', ours[real], getattr(x, name)[real], tolerance=1e-5)


def test_padding_on_the_left_shifts_the_positions_of_gpt2_in_trl():
    "It passes no positions, so GPT-2 counts the padding too; we count from the first real token."
    x = load_batch('ragged')
    R, model = x.mask.shape[1], load_gpt2('today')
    with torch.no_grad():
        ours = token_logprobs(model, x.tokens, x.whole_mask, R, 0.7)
        logits = model(x.tokens, attention_mask=x.whole_mask).logits[:, -R - 1:-1]
    like_theirs = (logits/0.7).log_softmax(-1).gather(2, x.completion_ids[..., None])[..., 0]
    real, padded = x.mask.bool(), ~x.prompt_mask.bool().all(1)
    close('log-probs', like_theirs[real], x.logprobs[real], 'padding counted as positions', 1e-5)
    gaps = ((ours - x.logprobs)*real).abs().max(1).values  # (B,)
    assert 0 < padded.sum() < len(padded)
    assert gaps[~padded].max() < 1e-4 and gaps[padded].min() > 0.01


@every_loss
def test_our_trainer_has_their_loss_and_gradients(case):
    x = load_case('even', case)
    name = base_of(case).replace('_', '') if base_of(case) not in ('bnpo', 'dapo') else 'grpo'
    which = 'policy' if case.endswith('_first') else 'today'
    trainer = load_trainer(x, which, name)
    trainer.method = x.method
    advantages = x.advantages[:, None]*x.mask
    loss, stats = trainer.compute_loss(scored_rollout_of(x), advantages, advantages)
    loss.backward()
    factor, relation = what_is_divided(case, x)
    close("our trainer's loss", loss, factor*x.loss, relation, 5e-6)
    close('entropy', stats['ppo/entropy'], recorded(f'even/{case}/metric').entropy, tolerance=5e-6)
    relation = '=' if factor == 1 else 'ours · width of the batch / longest allowed'
    compare_gradients('gradient of weights', trainer.agent.model, f'even/{case}', x.grad_norm,
                      relation, 1/factor)


@pytest.mark.parametrize('method, case', [
    ('grpo', 'grpo_first'), ('grpo', 'grpo_kl_first'), ('gspo', 'gspo_first'),
    ('rloo', 'rloo_first'), ('rloo', 'rloo_kl_first')])
def test_a_step_from_the_scores_on(method, case):
    "What `learn_from` does with a rollout that nothing has been learnt from."
    x = load_case('even', case)
    trainer = load_trainer(x, 'policy', method, max_grad_norm=1e9)
    scored = Rewards(x.scores, x.ref_logprobs)
    stats = trainer.learn_from(rollout_of(x), scored)
    R = x.mask.shape[1] if method == 'rloo' else 1
    relation = 'ours · R' if method == 'rloo' else '='
    close('gradient norm, from the scores on', R*stats['ppo/grad_norm'], x.grad_norm, relation,
          1e-5)
    compare_gradients('gradient, from the scores on', trainer.agent.model, f'even/{case}',
                      x.grad_norm, relation, R)


def test_minibatches_are_drawn_once_in_trl_and_anew_each_epoch_here():
    first, second = TENSORS['order'].view(2, 2, -1)
    assert first.equal(second)
    assert first.flatten().sort().values.equal(torch.arange(first.numel()))
    x = load_case('even', 'grpo')
    trainer = load_trainer(x, 'policy', 'grpo')
    trainer.config.epochs = trainer.config.minibatches = 2
    x.old_logprobs[:, 0] = torch.arange(len(x.mask))  # a name for each row
    order = []

    def learn(rollout, *_):
        order.append(rollout.logprobs[:, 0])
        return {}

    trainer.learn = learn
    trainer.learn_epochs(rollout_of(x), x.mask, x.mask)
    first, second = torch.stack(order).view(2, 2, -1)
    assert not first.equal(second)
    assert first.flatten().sort().values.equal(second.flatten().sort().values)


# DPO

PAIRS = recorded('pairs')
BETA = RECORDED['pair_cases']['sigmoid']['beta']


def pairs():
    "As a batch of `PreferenceDataset`."
    chosen, rejected = PAIRS.input_ids.chunk(2)
    chosen_mask, rejected_mask = PAIRS.attention_mask.chunk(2)
    return {'chosen': chosen, 'chosen_mask': chosen_mask,
            'rejected': rejected, 'rejected_mask': rejected_mask}


def test_log_probs_of_both_sides():
    sides = pair_logprobs(load_gpt2('today'), pairs(), temperature=1.0)
    chosen, rejected = PAIRS.logprobs.sum(1).chunk(2)
    close('log-probs, chosen less rejected', sides[0] - sides[1], chosen - rejected,
          'theirs without the prompt', 1e-5)
    at_07 = pair_logprobs(load_gpt2('today'), pairs(), temperature=0.7)
    assert (at_07[0] - at_07[1] - (chosen - rejected)).abs().max() > 0.1


def test_dpo_loss_and_its_gradients():
    model, x = load_gpt2('today'), recorded('pairs/sigmoid')
    with torch.no_grad():
        reference = pair_logprobs(load_gpt2('reference'), pairs(), temperature=1.0)
    chosen, rejected = pair_logprobs(model, pairs(), temperature=1.0)
    loss = dpo_loss(chosen, rejected, *reference, BETA)
    loss.backward()
    close('loss, DPO', loss, x.loss, 'at temperature 1', 2e-6)
    compare_gradients('gradient of weights, DPO', model, 'pairs/sigmoid', x.grad_norm)
    gains = chosen - reference[0], rejected - reference[1]
    accuracy = (gains[0] > gains[1]).float().mean()
    metrics = recorded('pairs/sigmoid/metric/rewards')
    close('accuracy of pairs', accuracy, metrics.accuracies)
    margin = BETA*(gains[0] - gains[1]).mean()
    close('margin of pairs', margin, metrics.chosen - metrics.rejected,
          'theirs: times β; each side without the prompt')


def test_dpo_loss_of_given_log_probs():
    chosen, rejected = PAIRS.logprobs.sum(1).chunk(2)
    reference = PAIRS.ref_logprobs.sum(1).chunk(2)
    loss = dpo_loss(chosen, rejected, *reference, BETA)
    close('loss, DPO, of given log-probs', loss, recorded('pairs/sigmoid').loss)


def test_ipo_takes_the_mean_over_the_tokens_of_a_response():
    "Not offered here. What TRL means by it, from our log-probs."
    model, x = load_gpt2('today'), recorded('pairs/ipo')
    T = PAIRS.input_ids.shape[1]
    mask = PAIRS.completion_mask[:, 1:]

    def of_tokens(model):
        logprobs, _, _ = score_responses(
            model, PAIRS.input_ids, PAIRS.attention_mask, T - 1, 1.0)
        return logprobs*mask

    with torch.no_grad():
        reference = of_tokens(load_gpt2('reference'))
    gains = (of_tokens(model) - reference).sum(1)/mask.sum(1)
    chosen, rejected = gains.chunk(2)
    loss = ((chosen - rejected - 1/(2*BETA))**2).mean()
    loss.backward()
    close('loss, IPO', loss, x.loss, 'means over tokens', 5e-6)
    compare_gradients('gradient of weights, IPO', model, 'pairs/ipo', x.grad_norm)


def test_trl_puts_an_eos_behind_every_response_of_a_text():
    assert PAIRS.last_token_of_a_text == RECORDED['model']['eos_token_id']
