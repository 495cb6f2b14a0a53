"Each check of the first hour passes where nothing is wrong, and names a fault that was planted."
import copy
from dataclasses import replace
from functools import cache

import pytest
import torch

from rlhf_nbdev.agent import Agent, TextReward
from rlhf_nbdev.dataset import Prompts
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.run import protocol
from rlhf_nbdev.run.protocol import (
    FIRST_HOUR,
    ShuffledReward,
    Verdict,
    beta_holds,
    first_hour,
    full_stops_rise,
    one_prompt_rises,
    padding_changes_nothing,
    ratio_is_one,
    read_five,
    reference_stays,
    reward_has_spread,
    reward_reads_text,
    shuffled_stays,
)
from rlhf_nbdev.tools.files import fingerprint
from rlhf_nbdev.tools.models import load_model

CONFIG = RLHFConfig(batch_size=16, response_length=8, updates=5, learning_rate=3e-4, epochs=1)
TEXTS = ['This film', 'The plot of it is', 'I went to see', 'Great fun for', 'A dog',
         'He said that', 'Her first film was a', 'What they']*8


def shortness(prompts, responses):
    return [3 - len(response)/8 for response in responses]


@cache
def material():
    "Agent, prompts and reward; nothing may change them."
    model, tokenizer = load_model('embedded')
    return Agent(model), Prompts(tokenizer, TEXTS, 8), TextReward(shortness, tokenizer)


def with_reward(function):
    "Agent, prompts, and a reward that reads text."
    agent, prompts, _ = material()
    return agent, prompts, TextReward(function, prompts.tokenizer)


class Reversed(RLHFTrainer):
    def learn_from(self, rollout, scored):
        return super().learn_from(rollout, replace(scored, scores=-scored.scores))


class MovingReference(RLHFTrainer):
    def learn_from(self, rollout, scored):
        stats = super().learn_from(rollout, scored)
        self.ref_model.load_state_dict(self.agent.model.state_dict())
        return stats


class PaysForBrevity(RLHFTrainer):
    def learn_from(self, rollout, scored):
        scores = scored.scores - 10*rollout.response_mask.sum(1)
        return super().learn_from(rollout, replace(scored, scores=scores))


class NoPenalty(RLHFTrainer):
    def learn_from(self, rollout, scored):
        self.beta = 0.0
        return super().learn_from(rollout, scored)


def assert_wrong(verdict, advice):
    assert not verdict.passed, verdict
    assert advice in verdict.advice


def test_a_healthy_agent_passes_all_ten_and_stays_as_it_is():
    agent, prompts, reward = material()
    before = fingerprint(agent.state_dict())
    ref_model = copy.deepcopy(agent.model)
    verdicts = dict(first_hour(agent, prompts, reward, CONFIG, ref_model=ref_model))
    assert list(verdicts) == [check.__name__ for check in FIRST_HOUR]
    assert len(verdicts) == 10
    for name, verdict in verdicts.items():
        assert verdict.passed, f'{name}: {verdict}'
    assert fingerprint(agent.state_dict()) == before
    assert all(weights.requires_grad for weights in agent.parameters())


def test_the_first_hour_ends_at_the_first_fault():
    agent, prompts, reward = material()
    agent = copy.deepcopy(agent)
    agent.model.transformer.drop.p = 0.1
    agent.model.train()
    verdicts = dict(first_hour(agent, prompts, reward, CONFIG))
    assert list(verdicts) == ['read_five', 'ratio_is_one']
    assert_wrong(verdicts['ratio_is_one'], 'dropout')


def test_the_first_hour_may_go_on_and_hands_on_what_is_ones_own(monkeypatch):
    def no_trainer(agent, prompts, reward, config):
        asked.append('no trainer')
        return Verdict(False, 'nothing')

    def with_trainer(agent, prompts, reward, config, trainer_class=RLHFTrainer):
        asked.append(trainer_class)
        return Verdict(True, 'nothing')
    asked = []
    monkeypatch.setattr(protocol, 'FIRST_HOUR', [no_trainer, with_trainer])
    list(first_hour(*material(), CONFIG, trainer_class=Reversed))
    assert asked == ['no trainer']
    list(first_hour(*material(), CONFIG, goes_on=True, trainer_class=Reversed))
    assert asked[1:] == ['no trainer', Reversed]
    with pytest.raises(TypeError, match='trainer_klass'):
        list(first_hour(*material(), CONFIG, trainer_klass=Reversed))


def test_ones_own_texts_reach_the_fifth_check(monkeypatch):
    monkeypatch.setattr(protocol, 'FIRST_HOUR', [ratio_is_one, reward_reads_text])
    verdicts = dict(first_hour(*material(), CONFIG, better=' long and longer', worse=' a'))
    assert_wrong(verdicts['reward_reads_text'], 'the sign')


def test_a_verdict_says_where_to_look_only_if_something_is_wrong():
    assert repr(Verdict(True, 'ratio 1', 'dropout')) == 'passed: ratio 1'
    assert repr(Verdict(False, 'ratio 2', 'dropout')) == 'WRONG: ratio 2\nLook at dropout'


@pytest.mark.parametrize('last, real, advice', [(0, 1, 'the tokenizer'), (1, 0, 'on the left')])
def test_prompts_that_end_wrongly(last, real, advice):
    "In EOS (0), or in padding (1)."
    class EndsWrongly(Prompts):
        def __getitem__(self, i):
            item = super().__getitem__(i)
            ids, mask = item['input_ids'].roll(-1), item['attention_mask'].roll(-1)
            ids[-1], mask[-1] = last, real
            return {'input_ids': ids, 'attention_mask': mask}
    agent, prompts, reward = material()
    wrong = EndsWrongly(prompts.tokenizer, TEXTS, 8)
    assert_wrong(read_five(agent, wrong, reward, CONFIG), advice)


def test_that_nothing_ends_is_said_and_no_failure():
    agent, prompts, reward = material()
    verdict = read_five(agent, prompts, reward, replace(CONFIG, response_length=1))
    assert verdict.passed
    assert 'raise response_length' in verdict.found


def test_another_temperature_when_scoring():
    class ScoresAtOne(Agent):
        def forward(self, tokens, mask, response_length, temperature=1.0):
            return super().forward(tokens, mask, response_length, 1.0)
    agent, prompts, reward = material()
    assert_wrong(ratio_is_one(ScoresAtOne(agent.model), prompts, reward, CONFIG), 'temperature')


def test_a_sampler_that_leaves_tokens_out():
    class SamplesTheLikeliestTen(Agent):
        def next_token(self, out, temperature, do_sample):
            tenth = out.logits.topk(10).values[..., -1:]
            out.logits = out.logits.masked_fill(out.logits < tenth, float('-inf'))
            return super().next_token(out, temperature, do_sample)
    agent, prompts, reward = material()
    assert_wrong(ratio_is_one(SamplesTheLikeliestTen(agent.model), prompts, reward, CONFIG),
                 'top-k')


def test_positions_are_lost():
    def drop_positions(module, args, kwargs):
        return args, kwargs | {'position_ids': None}
    agent, prompts, reward = material()
    agent = copy.deepcopy(agent)
    agent.model.register_forward_pre_hook(drop_positions, with_kwargs=True)
    assert_wrong(padding_changes_nothing(agent, prompts, reward, CONFIG), 'position_ids')


def test_another_model_as_reference():
    agent, prompts, reward = material()
    other = copy.deepcopy(agent.model)
    with torch.no_grad():
        other.transformer.h[0].mlp.c_fc.weight.mul_(0.5)
    stops_early = replace(CONFIG, max_kl=0.01)  # the check must not
    verdict = reference_stays(agent, prompts, reward, stops_early, ref_model=other)
    assert_wrong(verdict, 'a copy of the policy')


def test_a_reference_that_moves():
    agent, prompts, reward = material()
    verdict = reference_stays(agent, prompts, reward, CONFIG, trainer_class=MovingReference)
    assert_wrong(verdict, 'who else holds the reference')


def test_a_reference_that_is_the_policy():
    agent, prompts, reward = material()
    verdict = reference_stays(agent, prompts, reward, CONFIG, ref_model=agent.model)
    assert_wrong(verdict, 'copy.deepcopy')


def test_a_reference_that_shares_memory_with_the_policy():
    "Its weights are other objects, with the same numbers behind them."
    agent, prompts, reward = material()
    shares = copy.deepcopy(agent.model)
    shares.load_state_dict(agent.model.state_dict(), assign=True)
    assert shares.lm_head.weight is not agent.model.lm_head.weight
    assert_wrong(reference_stays(agent, prompts, reward, CONFIG, ref_model=shares),
                 'copy.deepcopy')


def test_a_policy_that_does_not_move():
    agent, prompts, reward = material()
    stands_still = replace(CONFIG, learning_rate=1e-9)
    assert_wrong(reference_stays(agent, prompts, reward, stands_still), 'learning_rate')


def reads_padding(tokens, mask):
    return tokens.float().mean(1)


def compares_with_its_batch(prompts, responses):
    lengths = [len(response) for response in responses]
    return [sum(lengths)/len(lengths) - length for length in lengths]


def changes_its_mind(prompts, responses):
    return torch.rand(len(responses))


@pytest.mark.parametrize('function', [compares_with_its_batch, changes_its_mind])
def test_a_reward_that_reads_more_than_the_text(function):
    assert_wrong(reward_reads_text(*with_reward(function), CONFIG), 'beside the text')


def test_a_reward_that_reads_padding():
    agent, prompts, _ = material()
    assert_wrong(reward_reads_text(agent, prompts, reads_padding, CONFIG), 'beside the text')


def test_a_reward_upside_down():
    given = with_reward(lambda prompts, responses: [len(response) for response in responses])
    assert_wrong(reward_reads_text(*given, CONFIG), 'the sign')


@pytest.mark.parametrize('function, advice', [
    (lambda prompts, responses: [0]*len(responses), 'coarse'),
    (lambda prompts, responses: [9*len(p) + len(r)/8 for p, r in zip(prompts, responses)],
     'reads the prompt'),
    (lambda prompts, responses: [100*len(response) for response in responses], 'the scale'),
])
def test_a_reward_without_the_right_spread(function, advice):
    assert_wrong(reward_has_spread(*with_reward(function), CONFIG), advice)


@pytest.mark.parametrize('chance', [
    lambda prompt: 0.5,
    lambda prompt: 0.1 if len(prompt)%2 else 0.9,  # hard prompts and easy ones
])
def test_a_reward_of_nought_or_one_has_spread(chance):
    def won(prompts, responses):
        torch.manual_seed(1)
        draws = torch.rand(len(responses)).tolist()
        return [float(draw < chance(prompt)) for draw, prompt in zip(draws, prompts)]
    verdict = reward_has_spread(*with_reward(won), CONFIG)
    assert verdict.passed, verdict


def test_a_trainer_with_the_wrong_sign():
    verdict = full_stops_rise(*material(), replace(CONFIG, updates=3), Reversed)
    assert_wrong(verdict, 'between scores and loss')


def test_another_mark_than_the_full_stop_is_counted():
    agent, prompts, reward = material()
    verdict = full_stops_rise(agent, prompts, reward, replace(CONFIG, updates=1), mark='§')
    assert_wrong(verdict, 'between scores and loss')
    assert verdict.found.startswith('score 0.00 -> 0.00')


def test_a_learning_rate_too_small_for_one_prompt():
    verdict = one_prompt_rises(*material(), replace(CONFIG, learning_rate=1e-7, updates=2))
    assert_wrong(verdict, 'learning_rate')


def test_a_trainer_that_pays_for_something_else():
    assert_wrong(shuffled_stays(*material(), replace(CONFIG, updates=4), PaysForBrevity), 'a bonus')


def test_a_shuffled_reward_gives_the_same_scores_to_other_rows():
    agent, prompts, reward = material()
    shuffled = ShuffledReward(reward, prompts.tokenizer)
    rollout = agent.generate(*(prompts[1][name][None].repeat(16, 1)
                               for name in ('input_ids', 'attention_mask')), response_length=8)
    right = torch.tensor(reward(rollout))
    wrong = shuffled(rollout)
    assert not torch.equal(wrong, right)
    assert torch.equal(wrong.sort().values, right.sort().values)


def test_a_trainer_without_the_penalty():
    assert_wrong(beta_holds(*material(), replace(CONFIG, updates=2), NoPenalty), 'the penalty')
