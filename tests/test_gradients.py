"Every loss against its derivative by hand and by finite differences, in float64."
import copy, math
import pytest, torch
from torch.autograd import grad, gradcheck
from transformers import GPT2Config, GPT2LMHeadModel
from rlhf_nbdev.advantage import compute_advantage_and_return, kl_k1, kl_k3, masked_mean, whiten
from rlhf_nbdev.agent import Agent
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer, compute_loss
from rlhf_nbdev.reward import bradley_terry_loss, ranking_loss
from rlhf_nbdev.sft import sft_loss

f64 = lambda *x: torch.tensor(x, dtype=torch.float64)


def tokens_on_every_side():
    "One token for each combination: ratio below, inside and above the clip; advantage of either sign; value below, inside and above its clip; return on either side. Then padding."
    side, sign = f64(-0.5, 0.07, 0.6), f64(-1.3, 0.8)
    log_ratio, advantages, moved, returns = (x.flatten() for x in torch.meshgrid(side, sign, side, 3*sign, indexing='ij'))
    old_logprobs, old_values = -torch.arange(1., 37, dtype=torch.float64)/9, torch.linspace(-0.2, 0.2, 36, dtype=torch.float64)
    rows = [old_logprobs + log_ratio, old_values + moved, old_logprobs, old_values, advantages, returns, torch.ones(36, dtype=torch.float64)]
    return [torch.cat([x.view(4, 9), torch.full((4, 2), 0.0 if k == 6 else 0.3, dtype=torch.float64)], 1) for k, x in enumerate(rows)]  # (4, 11)


def test_compute_loss_has_the_gradient_of_the_two_clipped_losses():
    logprobs, values, old_logprobs, old_values, advantages, returns, mask = tokens_on_every_side()
    logprobs.requires_grad_(); values.requires_grad_()
    loss = lambda logprobs, values: compute_loss(logprobs, values, old_logprobs, old_values, advantages, returns, mask, 0.2, 0.3, 0.7)[0]
    assert gradcheck(loss, (logprobs, values))
    by_policy, by_value = grad(loss(logprobs, values), (logprobs, values))
    ratio, moved, error = (logprobs - old_logprobs).exp().detach(), (values - old_values).detach(), (values - returns).detach()
    went_its_way = ((advantages > 0) & (ratio > 1.2)) | ((advantages < 0) & (ratio < 0.8))  # further than it is rewarded for: no gradient
    torch.testing.assert_close(by_policy, -advantages*ratio*~went_its_way*mask/36, rtol=1e-12, atol=1e-15)
    forgotten = (moved.abs() > 0.3) & (error.abs() < (old_values + 0.3*moved.sign() - returns).abs())  # moved too far, and towards the return
    torch.testing.assert_close(by_value, 0.7*error*~forgotten*mask/36, rtol=1e-12, atol=1e-15)
    assert went_its_way.any() and forgotten.any() and not (went_its_way | forgotten).all()


def test_scalars_to_watch_are_of_the_tokens_alone():
    logprobs, values, old_logprobs, old_values, advantages, returns, mask = tokens_on_every_side()
    _, stats = compute_loss(logprobs, values, old_logprobs, old_values, advantages, returns, mask, 0.2, 0.3, 0.7)
    on = mask.bool()
    ratio, A = (logprobs - old_logprobs).exp()[on], advantages[on]
    policy = torch.where(A > 0, -A*ratio.clamp(max=1.2), -A*ratio.clamp(min=0.8))
    assert stats['loss/policy'] == pytest.approx(policy.mean().item(), abs=1e-12) and stats['ppo/ratio'] == pytest.approx(ratio.mean().item(), abs=1e-12)
    assert stats['ppo/approx_kl'] == pytest.approx((ratio - 1 - ratio.log()).mean().item(), abs=1e-12)
    assert stats['ppo/clip_fraction'] == pytest.approx(((ratio > 1.2) & (A > 0) | (ratio < 0.8) & (A < 0)).float().mean().item(), abs=1e-7)
    near = old_values + (values - old_values).clamp(-0.3, 0.3)
    assert stats['loss/value'] == pytest.approx(torch.stack([(values - returns)**2, (near - returns)**2]).amax(0)[on].mean().item()/2, abs=1e-12)


def test_pair_loss_moves_chosen_up_and_rejected_down_by_the_chance_of_a_surprise():
    chosen, rejected, margin = f64(0.3, -2.0, 4.0).requires_grad_(), f64(0.1, 1.5, -3.0).requires_grad_(), f64(0.5, 0.0, 1.0)
    loss = lambda chosen, rejected: bradley_terry_loss(chosen, rejected, margin)
    assert gradcheck(loss, (chosen, rejected))
    surprise = 1/(1 + (chosen - rejected - margin).detach().exp())
    up, down = grad(loss(chosen, rejected), (chosen, rejected))
    torch.testing.assert_close(up, -surprise/3, rtol=1e-12, atol=0); torch.testing.assert_close(down, surprise/3, rtol=1e-12, atol=0)


def test_ranking_loss_compares_what_the_model_expects_with_what_raters_said():
    torch.manual_seed(0)
    scores, above = torch.randn(5, dtype=torch.float64, requires_grad=True), torch.rand(5, 5, dtype=torch.float64).triu(1)
    shares = above + (1 - above.T).tril(-1) + torch.eye(5)/2
    assert gradcheck(lambda scores: ranking_loss(scores, shares), scores)
    expected = torch.sigmoid(scores[:, None] - scores).detach()
    torch.testing.assert_close(grad(ranking_loss(scores, shares), scores)[0], (expected - shares).sum(1)/10, rtol=1e-12, atol=1e-15)  # 10 pairs


def test_sft_loss_pulls_only_where_a_token_of_the_response_comes_next():
    torch.manual_seed(0)
    logits, tokens = torch.randn(2, 5, 7, dtype=torch.float64, requires_grad=True), torch.randint(7, (2, 5))
    response_mask = torch.tensor([[0, 0, 1, 1, 1], [0, 0, 0, 0, 1]])
    wanted = torch.zeros(2, 5, 7, dtype=torch.float64)
    for b, t in response_mask.nonzero().tolist(): wanted[b, t - 1] = (logits[b, t - 1].softmax(-1) - torch.eye(7)[tokens[b, t]])/4  # 4 tokens; t − 1 predicts t
    torch.testing.assert_close(grad(sft_loss(logits, tokens, response_mask), logits)[0], wanted.detach(), rtol=1e-5, atol=1e-7)  # float32 inside


def tiny_trainer(**settings):
    "A random policy of two layers in float64 whose value head is not zero, and a rollout of it with unequal lengths."
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=64, n_positions=32, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0, pad_token_id=1)
    agent = Agent(GPT2LMHeadModel(config).eval().double())
    agent.value_head.double(); torch.nn.init.normal_(agent.value_head.weight)
    agent.value = lambda hidden: agent.value_head(hidden).squeeze(-1)  # stays in float64
    trainer = RLHFTrainer(agent, copy.deepcopy(agent.model), RLHFConfig(response_length=6, batch_size=6, **settings))
    prompts, mask = torch.randint(2, 64, (6, 4)), torch.tensor([[0, 1, 1, 1], [1]*4, [0, 0, 0, 1]]*2)
    rollout = agent.generate(prompts, mask, 6, 0.7)
    rollout.response_mask[1, 3:] = rollout.mask[1, 7:] = 0  # one that ended sooner
    return trainer, rollout


def test_at_ratio_one_the_gradient_is_that_of_reinforce():
    trainer, rollout = tiny_trainer(value_coef=0.3)
    rollout.logprobs, rollout.values = (x.detach() for x in trainer.agent(rollout.tokens, rollout.mask, 6, 0.7)[:2])
    advantages, returns = torch.randn(2, 6, 6, dtype=torch.float64)
    mask = rollout.response_mask
    parameters = [p for p in trainer.agent.parameters()]
    loss, stats = trainer.compute_loss(rollout, advantages, returns)
    logprobs, values, _ = trainer.agent(rollout.tokens, rollout.mask, 6, 0.7)
    reinforce = (-advantages*logprobs + 0.3*(values - returns)**2/2)[mask.bool()].mean()
    for ours, theirs in zip(grad(loss, parameters), grad(reinforce, parameters)): torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)  # log-softmax is in float32
    assert stats['ppo/ratio'] == pytest.approx(1, abs=1e-6) and stats['ppo/clip_fraction'] == 0 and abs(stats['ppo/approx_kl']) < 1e-9


def test_a_step_makes_good_tokens_likelier_and_bad_ones_rarer():
    trainer, rollout = tiny_trainer(learning_rate=1e-3, epochs=1, minibatches=1, value_coef=0.0)
    rewards = torch.zeros(6, 6, dtype=torch.float64)
    rewards[:3, -1], rewards[3:, -1] = 1, -1
    rollout.values = torch.zeros_like(rewards)
    rollout.response_mask[:] = 1; rollout.mask[:, 4:] = 1
    rollout.logprobs = before = trainer.agent(rollout.tokens, rollout.mask, 6, 0.7)[0].detach()
    trainer.update(rollout, rewards)
    moved = trainer.agent(rollout.tokens, rollout.mask, 6, 0.7)[0].detach() - before
    assert moved[:3].mean() > 1e-3 and moved[3:].mean() < -1e-3


def test_neither_entropy_nor_reference_nor_rollout_is_trained():
    trainer, rollout = tiny_trainer()
    advantages, returns = torch.randn(2, 6, 6, dtype=torch.float64)
    trainer.compute_loss(rollout, advantages, returns)[0].backward()
    assert all(p.grad is not None for p in trainer.agent.parameters()) and all(p.grad is None and not p.requires_grad for p in trainer.ref_model.parameters())
    assert not trainer.agent(rollout.tokens, rollout.mask, 6)[2].requires_grad
    assert not any(x.requires_grad for x in (rollout.logprobs, rollout.values, trainer.agent.compute_rewards(rollout, lambda tokens, mask: tokens[:, 0].double(), trainer.ref_model).rewards))


def test_k1_and_k3_expect_the_kl_from_policy_to_reference_and_not_the_other():
    p, q = f64(0.6, 0.25, 0.1, 0.05), f64(0.2, 0.4, 0.3, 0.1)
    exact, other = sum(a*math.log(a/b) for a, b in zip(p.tolist(), q.tolist())), sum(b*math.log(b/a) for a, b in zip(p.tolist(), q.tolist()))
    for estimate in (kl_k1, kl_k3): assert (p*estimate(p.log(), q.log())).sum().item() == pytest.approx(exact, abs=1e-12)
    assert abs(exact - other) > 0.02 and (kl_k1(p.log(), q.log()) < 0).any() and (kl_k3(p.log(), q.log()) > 0).all()


def test_k3_as_a_loss_would_follow_the_other_kl():
    logits, q = f64(1.2, 0.4, -0.6, -1.0).requires_grad_(), f64(0.2, 0.4, 0.3, 0.1)
    logp = logits.log_softmax(-1)
    expected, = grad((logp.detach().exp()*kl_k3(logp, q.log())).sum(), logits, retain_graph=True)  # the mean gradient over samples of the policy
    kl, reverse = grad((logp.exp()*(logp - q.log())).sum(), logits, retain_graph=True)[0], grad((q*(q.log() - logp)).sum(), logits)[0]
    torch.testing.assert_close(expected, reverse, rtol=1e-12, atol=1e-15)
    assert (expected - kl).abs().max() > 0.05  # the penalty in the reward follows `kl`


def test_the_penalty_in_the_reward_follows_the_kl():
    logits, q = f64(1.2, 0.4, -0.6, -1.0).requires_grad_(), f64(0.2, 0.4, 0.3, 0.1)
    logp = logits.log_softmax(-1)
    reward = -kl_k1(logp, q.log()).detach()
    policy_gradient, = grad((logp.detach().exp()*reward*logp).sum(), logits, retain_graph=True)
    kl, = grad((logp.exp()*(logp - q.log())).sum(), logits)
    torch.testing.assert_close(policy_gradient, -kl, rtol=1e-12, atol=1e-15)


def test_advantages_and_returns_are_linear_in_rewards_with_the_weights_of_gae():
    torch.manual_seed(0)
    rewards, values = torch.randn(2, 2, 4, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    gamma, lam = 0.9, 0.8
    jacobian = torch.autograd.functional.jacobian(lambda r: compute_advantage_and_return(r, values, mask, gamma, lam)[0], rewards)  # (B, R, B, R)
    for b in range(2):
        for t in range(4):
            for k in range(4):
                assert jacobian[b, t, b, k].item() == pytest.approx((gamma*lam)**(k - t) if k >= t and mask[b, k] else 0, abs=1e-14)
    assert jacobian[0, :, 1].abs().max() == 0 and jacobian[1, :, 0].abs().max() == 0  # rows keep to themselves


def test_whitening_forgets_shift_and_scale():
    torch.manual_seed(0)
    x, mask = torch.randn(3, 5, dtype=torch.float64), torch.tensor([[1]*5, [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    torch.testing.assert_close(whiten(7*x - 3, mask), whiten(x, mask), rtol=1e-7, atol=1e-7)
    assert masked_mean(whiten(x, mask), mask).abs() < 1e-12
