"Old responses: how unlike sampler and learner are, told by the trainer that corrects for it."
import copy
import math
from dataclasses import replace

import pytest
import torch
from test_processes import together
from tiny import close, decided_gpt2, tiny_prompts

from rlhf_nbdev.agent import Agent
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.scale import (
    CorrectedTrainer,
    effective_sample_size,
    importance_weights,
    policies_apart,
)
from rlhf_nbdev.tools import processes

CONFIG = RLHFConfig(batch_size=6, prompt_length=4, response_length=5, updates=2)


def two_policies():
    "Log-probs of a learner and of a sampler, and a mask of rows of unlike lengths: (4, 6) each."
    torch.manual_seed(0)
    lengths = torch.tensor([6, 5, 1, 2])
    mask = (torch.arange(6) < lengths[:, None]).long()
    logprobs, sampler_logprobs = -torch.rand(2, 4, 6)
    return logprobs, sampler_logprobs, mask


def test_how_far_two_policies_are_apart():
    logprobs, sampler_logprobs, mask = two_policies()
    real = mask.bool()
    gaps = (logprobs - sampler_logprobs)[real]
    weights = gaps.exp()
    anything = torch.tensor([math.nan, math.inf])[torch.randint(2, mask.shape)]
    found = policies_apart(torch.where(real, logprobs, anything), sampler_logprobs, mask)
    assert found == pytest.approx({
        'sampler/gap': gaps.abs().mean().item(),
        'sampler/mean_weight': weights.mean().item(),
        'sampler/effective_share': effective_sample_size(weights)/len(weights),
    })


def test_ratios_too_large_to_be_squared_in_float32_are_told():
    far = torch.tensor([[100.0, 0.0]])
    found = policies_apart(far, torch.zeros(1, 2), torch.ones(1, 2))
    assert found['sampler/effective_share'] == pytest.approx(0.5)  # one of the two counts alone
    assert found['sampler/gap'] == 50


def own_part_apart():
    rows = processes.own_rows(4)
    return policies_apart(*(x[rows] for x in two_policies()))


def test_two_processes_tell_what_one_does(tmp_path):
    whole = policies_apart(*two_policies())
    for found in together(2, tmp_path, own_part_apart):
        assert found == pytest.approx(whole)


def learnt(trainer_class, rollout, **settings):
    torch.manual_seed(1)
    model = decided_gpt2(eos=2)
    trainer = trainer_class(Agent(model), copy.deepcopy(model), CONFIG, **settings)
    torch.manual_seed(2)
    return trainer, trainer.update(rollout, torch.randn(6, 5)*rollout.response_mask)


def rollout_of(model):
    torch.manual_seed(3)
    return Agent(model).generate(*tiny_prompts(), 5, CONFIG.temperature)


@pytest.mark.parametrize('cap', [2.0, None])
def test_the_trainer_tells_it_whatever_the_cap(cap):
    new = rollout_of(decided_gpt2(eos=2))
    _, metrics = learnt(CorrectedTrainer, new, cap=cap)
    assert metrics['sampler/gap'] < 1e-5
    assert metrics['sampler/effective_share'] == pytest.approx(1, abs=1e-5)

    old = replace(new, logprobs=new.logprobs - 0.5*new.response_mask)
    _, metrics = learnt(CorrectedTrainer, old, cap=cap)
    assert metrics['sampler/gap'] == pytest.approx(0.5, abs=1e-4)
    assert metrics['sampler/mean_weight'] == pytest.approx(math.exp(0.5), rel=1e-4)
    assert metrics['sampler/effective_share'] == pytest.approx(1, abs=1e-4)


def test_old_responses_are_refused_by_ppo_and_weighed_by_the_other():
    new = rollout_of(decided_gpt2(eos=2))
    old = replace(new, logprobs=new.logprobs - 0.5*new.response_mask)
    with pytest.raises(ValueError, match='do not agree'):
        learnt(RLHFTrainer, old)
    weighed, _ = learnt(CorrectedTrainer, old)
    unweighed, _ = learnt(CorrectedTrainer, old, cap=None)
    plain, metrics = learnt(RLHFTrainer, new)
    assert not any(name.startswith('sampler/') for name in metrics)
    for a, b in zip(unweighed.agent.parameters(), plain.agent.parameters()):
        close(a, b)  # without weights it is as with new responses
    moved = zip(weighed.agent.parameters(), plain.agent.parameters())
    assert any((a - b).abs().max() > 1e-6 for a, b in moved)


def test_weights_are_capped_constants():
    logprobs, sampler_logprobs, mask = two_policies()
    weights = importance_weights(logprobs.requires_grad_(), sampler_logprobs, mask, cap=1.1)
    ratios = (logprobs - sampler_logprobs).exp().detach().clamp(max=1.1)
    close(weights, torch.where(mask.bool(), ratios, 1.0))
    assert not weights.requires_grad
    assert (weights == 1.1).any()


def test_a_batch_that_is_too_far_away_is_refused_before_anything_is_learnt():
    new = rollout_of(decided_gpt2(eos=2))
    old = replace(new, logprobs=new.logprobs - 0.5*new.response_mask)
    learnt(CorrectedTrainer, old, max_gap=0.51)
    torch.manual_seed(1)
    model = decided_gpt2(eos=2)
    before = copy.deepcopy(model.state_dict())
    trainer = CorrectedTrainer(Agent(model), copy.deepcopy(model), CONFIG, max_gap=0.49)
    with pytest.raises(ValueError, match='0.5 nats a token apart, not within max_gap 0.49.*old'):
        trainer.update(old, torch.randn(6, 5)*old.response_mask)
    assert not trainer.optimizer.state
    assert all(x.equal(before[name]) for name, x in model.state_dict().items())


def test_a_log_prob_that_is_no_number_is_refused_before_a_step():
    new = rollout_of(decided_gpt2(eos=2))
    logprobs = new.logprobs.clone()
    logprobs[0, 0] = math.nan
    with pytest.raises(ValueError, match='nan nats a token apart'):
        learnt(CorrectedTrainer, replace(new, logprobs=logprobs))
    for max_gap in (0, -1.0, math.nan):
        with pytest.raises(ValueError, match='above 0'):
            learnt(CorrectedTrainer, new, max_gap=max_gap)
