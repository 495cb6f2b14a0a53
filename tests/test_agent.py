"The agent: what is sampled is what is scored, values belong to states, and masks go by position."
import copy
import math
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from tiny import close, decided_gpt2, tiny_prompts, tiny_tokenizer

from rlhf_nbdev.agent import Agent, Rollout, position_ids, score_tokens, token_logprobs
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.reward import RewardModel, normalize
from rlhf_nbdev.tools.models import load_model


def plain_entropy(dists):
    return torch.distributions.Categorical(logits=dists).entropy()


@pytest.mark.parametrize('factor', [2, 1.01])
def test_a_model_that_changes_its_logits_is_refused(factor):
    model = decided_gpt2()
    forward = model.forward

    def scaled(*args, **kwargs):
        out = forward(*args, **kwargs)
        out.logits = out.logits*factor
        return out

    model.forward = scaled
    with pytest.raises(ValueError, match='not known here'):
        Agent(model)


def test_a_model_without_eos_is_refused():
    endless = decided_gpt2()
    endless.generation_config.eos_token_id = None
    with pytest.raises(ValueError, match='no EOS'):
        Agent(endless)


def test_an_eos_or_pad_token_that_the_model_lacks_is_refused():
    for name in ('eos_token_id', 'pad_token_id'):
        model = decided_gpt2(vocab=64)
        setattr(model.generation_config, name, 64)
        with pytest.raises(ValueError, match='64 cannot be the id'):
            Agent(model)


def test_positions_count_real_tokens_only():
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]])
    assert position_ids(mask).tolist() == [[0, 0, 0, 1], [0, 1, 2, 3], [0, 1, 1, 1]]
    assert position_ids(torch.tensor([0, 1, 1])).tolist() == [0, 0, 1]


def test_masked_tokens_are_not_read():
    model = decided_gpt2()
    tokens, mask = tiny_prompts()
    other_padding = torch.where(mask == 1, tokens, 5)
    dists, states = score_tokens(model, tokens, mask, 2)
    same_dists, same_states = score_tokens(model, other_padding, mask, 2)
    real = mask[:, 1] == 1  # rows in which both scored tokens have real tokens before them
    close(dists[real], same_dists[real])
    close(states[real], same_states[real])

    unmasked, _ = score_tokens(model, other_padding, torch.ones_like(mask), 2)
    padded = mask[:, 0] == 0
    assert (dists - unmasked)[padded].abs().max() > 0.05


def test_a_token_that_the_mask_leaves_out_within_a_text_is_not_read():
    model = decided_gpt2()
    mask = torch.tensor([[1, 1, 0, 1, 1]])
    tokens = torch.tensor([[20, 21, 22, 23, 24]])
    dists, states = score_tokens(model, tokens, mask, 1)
    without, same_states = score_tokens(model, tokens[mask == 1][None], mask[mask == 1][None], 1)
    close(dists, without)
    close(states, same_states)


def test_sampling_follows_the_distribution_that_is_scored():
    agent, n = Agent(decided_gpt2(seed=4)), 4000
    torch.manual_seed(0)
    ids = torch.tensor([[1, 7, 9]]).repeat(n, 1)
    rollout = agent.generate(ids, ids != 1, 1, temperature=1.5)
    dists, _ = score_tokens(agent.model, rollout.tokens[:1], rollout.mask[:1], 1, 1.5)
    p = dists[0, 0].exp().detach()  # (V,)
    shares = torch.bincount(rollout.responses[:, 0], minlength=64)/n
    assert (shares - p).abs().max() < 4*(0.25/n)**0.5
    tail = p.argsort()[:-10]
    assert p[tail].sum() > 0.1
    assert shares[tail].sum() == pytest.approx(p[tail].sum().item(), abs=0.04), 'the tail is cut'
    close(rollout.logprobs[:, 0], p.log()[rollout.responses[:, 0]])
    assert rollout.temperature == 1.5


@pytest.fixture
def rollout_with_two_eos():
    "Responses that end early, by one of two EOS tokens, of which the first also pads."
    agent = Agent(decided_gpt2(pad=None, eos=[3, 4]))
    is_eos = torch.isin(torch.arange(64), torch.tensor([3, 4]))
    agent.model.lm_head = copy.deepcopy(agent.model.lm_head)
    agent.model.lm_head.register_forward_hook(lambda module, args, out: out + 4*is_eos)
    torch.manual_seed(0)
    return agent, agent.generate(*tiny_prompts(rows=30), 8)


def test_pad_and_eos_come_from_the_generation_config(rollout_with_two_eos):
    agent, _ = rollout_with_two_eos
    assert (agent.pad_token_id, agent.eos_token_ids) == (3, [3, 4])


def test_a_response_lasts_to_its_first_eos_even_where_padding_is_eos(rollout_with_two_eos):
    agent, rollout = rollout_with_two_eos
    for b in range(30):
        row = rollout.responses[b].tolist()
        ends = [t for t, token in enumerate(row) if token in (3, 4)]
        length = ends[0] + 1 if ends else len(row)
        assert rollout.response_mask[b].tolist() == [1]*length + [0]*(len(row) - length)
        assert set(row[length:]) <= {3}, 'something else than padding follows the end'
        assert (rollout.logprobs[b, :length] < 0).all()
        assert not rollout.logprobs[b, length:].any()
        assert agent.ended(rollout)[b] == bool(ends)


def test_the_mask_is_that_of_the_prompt_and_then_of_the_response(rollout_with_two_eos):
    _, rollout = rollout_with_two_eos
    _, prompt_mask = tiny_prompts(rows=30)
    assert torch.equal(rollout.mask, torch.cat([prompt_mask, rollout.response_mask], 1))
    assert rollout.mask.dtype == rollout.response_mask.dtype == torch.int64


def test_a_row_that_has_ended_counts_as_ended_by_its_mask_alone():
    agent = Agent(decided_gpt2(pad=None))  # pads with EOS
    rollout = Rollout(
        tokens=torch.tensor([[5, 6, 0], [5, 0, 0], [5, 6, 7]]),
        mask=torch.ones(3, 3),
        response_mask=torch.tensor([[1, 0], [1, 0], [1, 1]]),
        logprobs=torch.zeros(3, 2),
        values=torch.zeros(3, 2))
    assert agent.ended(rollout).tolist() == [False, True, False]


def test_greedy_takes_the_likeliest_token_each_time():
    agent = Agent(decided_gpt2(seed=2))
    rollout = agent.generate(*tiny_prompts(), 5, 0.5, do_sample=False)
    R, real = rollout.responses.shape[1], rollout.response_mask.bool()
    dists, _ = score_tokens(agent.model, rollout.tokens, rollout.mask, R, 0.5)
    assert torch.equal(dists.argmax(-1)[real], rollout.responses[real])


def test_the_value_head_starts_at_zero():
    agent = Agent(decided_gpt2())
    assert not agent.value_head.weight.any()
    assert not agent.value_head.bias.any()


def test_values_are_those_of_the_state_before_each_token():
    agent = Agent(decided_gpt2())
    torch.nn.init.normal_(agent.value_head.weight)
    torch.nn.init.constant_(agent.value_head.bias, 0.3)
    rollout = agent.generate(*tiny_prompts(), 5)
    logprobs, values, entropy = agent(rollout.tokens, rollout.mask, 5)
    real = rollout.response_mask.bool()
    close(values[real], rollout.values[real], atol=1e-4)
    close(logprobs[real], rollout.logprobs[real], atol=1e-4)

    for t in range(5):  # each prefix by itself
        tokens, mask = rollout.tokens[:, :4 + t], rollout.mask[:, :4 + t]
        states = agent.model.transformer(
            tokens, attention_mask=mask, position_ids=position_ids(mask)).last_hidden_state
        by_hand = (states[:, -1] @ agent.value_head.weight.T)[:, 0] + 0.3
        close(values[:, t], by_hand, atol=1e-4)

    dists, _ = score_tokens(agent.model, rollout.tokens, rollout.mask, 5)
    close(entropy[real], plain_entropy(dists)[real])


def test_dropout_stays_off_whatever_is_asked():
    model = decided_gpt2(dropout=0.5).train()
    agent, reward_model = Agent(model), RewardModel(model)
    trainer = RLHFTrainer(agent, copy.deepcopy(model).train(), RLHFConfig())
    agent.train()
    reward_model.train()
    for part in (agent, reward_model, trainer.ref_model):
        assert not any(module.training for module in part.modules())


def test_a_half_precision_trunk_gives_log_probs_and_values_in_full_precision():
    model = decided_gpt2().bfloat16()
    agent = Agent(model)
    torch.manual_seed(0)
    rollout = agent.generate(*tiny_prompts(), 4)
    logprobs, values, _ = agent(rollout.tokens, rollout.mask, 4)
    for x in (rollout.logprobs, rollout.values, logprobs, values):
        assert x.dtype == torch.float32

    dists, _ = score_tokens(model, rollout.tokens, rollout.mask, 4)
    close(logprobs, dists.gather(-1, rollout.responses[..., None])[..., 0], atol=2e-2)
    close(dists.exp().sum(-1), torch.ones(6, 4))  # bfloat16 would miss 1 by a hundredth
    assert RewardModel(model)(*tiny_prompts()).dtype == torch.float32


def three_responses():
    "Ended at once; not ended; ended at the second token. Log-probs are −1."
    response_mask = torch.tensor([[1, 0, 0], [1, 1, 1], [1, 1, 0]])
    return Rollout(
        tokens=torch.tensor([[5, 6, 0, 1, 1], [1, 6, 7, 8, 9], [5, 6, 7, 0, 1]]),
        mask=torch.tensor([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1], [1, 1, 1, 1, 0]]),
        response_mask=response_mask,
        logprobs=-1.0*response_mask,
        values=torch.zeros(3, 3),
        temperature=0.7)


def count_tokens(tokens, mask):
    return mask.sum(1).float()


def test_scores_are_fined_where_the_end_is_missing():
    agent, rollout = Agent(decided_gpt2()), three_responses()
    scored = agent.compute_rewards(rollout, count_tokens, decided_gpt2(seed=5), 5.0)
    assert scored.scores.tolist() == [3, 4 - 5, 4]


def test_the_reference_is_asked_at_the_rollouts_temperature_and_not_on_padding():
    agent, rollout, ref_model = Agent(decided_gpt2()), three_responses(), decided_gpt2(seed=5)
    scored = agent.compute_rewards(rollout, count_tokens, ref_model)
    with torch.no_grad():
        plain = token_logprobs(ref_model, rollout.tokens, rollout.mask, 3, 0.7)
    torch.testing.assert_close(scored.ref_logprobs, plain*rollout.response_mask)


@pytest.mark.parametrize('score, name', [(math.nan, 'nan'), (math.inf, 'inf')])
def test_a_score_that_is_not_finite_is_named(score, name):
    agent = Agent(decided_gpt2())
    rollout = agent.generate(*tiny_prompts(), 4)
    scores = torch.tensor([score, 0, 0, 0, 0, 0])
    with pytest.raises(FloatingPointError, match=f'gave {name} as a score'):
        agent.compute_rewards(rollout, lambda tokens, mask: scores, agent.model)


def test_a_policy_or_reference_that_is_not_finite_is_named():
    agent, (ids, mask) = Agent(decided_gpt2()), tiny_prompts()
    rollout = agent.generate(ids, mask, 4)
    broken = copy.deepcopy(agent.model)
    broken.lm_head = copy.deepcopy(broken.lm_head)  # of its own: only rows with the token suffer
    with torch.no_grad():
        broken.transformer.wte.weight[ids[1, 0]] = math.nan
    with pytest.raises(FloatingPointError, match='reference'):
        agent.compute_rewards(rollout, lambda tokens, mask: torch.zeros(6), broken)
    with pytest.raises(FloatingPointError, match='not numbers'):
        Agent(broken).generate(ids, mask, 4)


@pytest.mark.parametrize('bad', [math.nan, math.inf])
@pytest.mark.parametrize('do_sample', [True, False])
def test_a_single_logit_that_is_not_a_number_is_seen(bad, do_sample):
    "Only the token that is drawn is looked at: what is wrong with another one spoils it too."
    agent = Agent(decided_gpt2())
    logits, states = torch.randn(3, 1, 64), torch.zeros(3, 1, 16)
    out = SimpleNamespace(logits=logits, hidden_states=[states])
    agent.next_token(out, 1.0, do_sample)
    logits[0, 0, :9] = -math.inf  # some tokens are forbidden: that is no fault
    agent.next_token(out, 1.0, do_sample)
    for token in range(64):
        spoilt = logits.clone()
        spoilt[1, 0, token] = bad
        with pytest.raises(FloatingPointError, match='not numbers'):
            agent.next_token(SimpleNamespace(logits=spoilt, hidden_states=[states]), 1.0, do_sample)


def test_prompts_that_cannot_be_continued_are_refused():
    agent, (ids, mask) = Agent(decided_gpt2()), tiny_prompts()
    agent.generate(ids, mask, 44)  # 4 + 44 = 48 just fits
    with pytest.raises(ValueError, match='exceed the context of 48'):
        agent.generate(ids, mask, 45)
    with pytest.raises(ValueError, match='pad on the left'):
        agent.generate(ids, mask.flip(1), 4)
    with pytest.raises(ValueError, match='temperature'):
        agent.generate(ids, mask, 4, 0.0)


def assert_same_state(ours, theirs):
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def test_an_agent_comes_back_as_it_was(tmp_path):
    tokenizer = tiny_tokenizer()
    agent = Agent(decided_gpt2(vocab=len(tokenizer)))
    torch.nn.init.normal_(agent.value_head.weight)
    agent.save_pretrained(tmp_path, tokenizer)
    assert_same_state(Agent.from_pretrained(tmp_path), agent)
    assert load_model(str(tmp_path))[1].get_vocab() == tokenizer.get_vocab()
    (tmp_path/'value_head.safetensors').unlink()
    with pytest.raises(FileNotFoundError, match='missing'):
        Agent.from_pretrained(tmp_path)


def test_a_reward_model_comes_back_as_it_was(tmp_path):
    reward_model = RewardModel(decided_gpt2())
    normalize(reward_model, torch.tensor([1., 2., 5.]))
    reward_model.save_pretrained(tmp_path)
    stored = load_file(tmp_path/'reward_head.safetensors')  # the trunk has a file of its own
    assert sorted(stored) == ['head.bias', 'head.weight', 'mean', 'std']
    again = RewardModel.from_pretrained(tmp_path)
    assert_same_state(again, reward_model)
    assert all(p.requires_grad for p in again.parameters())
    (tmp_path/'reward_head.safetensors').unlink()
    with pytest.raises(FileNotFoundError, match='missing'):
        RewardModel.from_pretrained(tmp_path)


def test_an_agent_without_a_tokenizer_is_read_back_with_its_own_ends(tmp_path):
    agent = Agent(decided_gpt2(eos=[5, 6], pad=9))
    agent.save_pretrained(tmp_path)
    again = Agent.from_pretrained(tmp_path)
    assert (again.eos_token_ids, again.pad_token_id) == ([5, 6], 9)


def test_a_temperature_in_the_generation_configuration_can_be_saved(tmp_path):
    model = decided_gpt2()
    model.generation_config.temperature = 0.6
    Agent(model).save_pretrained(tmp_path)
    assert Agent.from_pretrained(tmp_path).model.generation_config.do_sample


def test_a_reference_with_dropout_on_is_read_without():
    agent, ref_model = Agent(decided_gpt2()), decided_gpt2(dropout=0.5, seed=1)
    rollout = agent.generate(*tiny_prompts(), 4)
    rewards = [agent.compute_rewards(rollout, lambda tokens, mask: torch.zeros(6), each)
               for each in (ref_model.eval(), ref_model.train())]
    close(rewards[0].ref_logprobs, rewards[1].ref_logprobs)


def test_weights_of_16_bits_are_warned_of():
    model = decided_gpt2().bfloat16()
    config = RLHFConfig(prompt_length=4, response_length=6)
    with pytest.warns(UserWarning, match='round most steps of learning away'):
        RLHFTrainer(Agent(model), copy.deepcopy(model), config)
