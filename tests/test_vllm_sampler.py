"""vLLM samples what the agent would, from the weights of the moment.

One engine for all tests, since it takes half a minute to start: `make vllm` installs it."""
import copy
import os
import tempfile

import pytest
import torch

from rlhf_nbdev.advantage import kl_k3, masked_mean
from rlhf_nbdev.agent import Agent
from rlhf_nbdev.ppo import RLHFConfig
from rlhf_nbdev.run.vllm_sampler import VllmSampler
from rlhf_nbdev.scale import CorrectedTrainer
from rlhf_nbdev.tools.models import load_model
from rlhf_nbdev.train import ppo_updates

pytest.importorskip('vllm', reason='make vllm')
P, R, TEMPERATURE = 6, 12, 0.7
CONFIG = RLHFConfig(prompt_length=P, response_length=R, batch_size=16, minibatches=1, epochs=2,
                    updates=12, learning_rate=3e-4, beta=0.0)


@pytest.fixture(scope='module')
def sampler():
    os.environ |= {'VLLM_NO_USAGE_STATS': '1', 'VLLM_CPU_KVCACHE_SPACE': '1'}
    agent = Agent(load_model()[0])
    with tempfile.TemporaryDirectory() as folder:
        sampler = VllmSampler(agent, CONFIG, folder, dtype='float32', enforce_eager=True)
        yield sampler
        sampler.engine.llm_engine.engine_core.shutdown()  # while the test can still write its log


@pytest.fixture
def prompts():
    "Prompts of one to six tokens, padded on the left."
    torch.manual_seed(0)
    ids = torch.randint(5, 500, (CONFIG.batch_size, P))
    mask = torch.arange(P) >= torch.arange(len(ids))[:, None] % P
    return {'input_ids': ids*mask, 'attention_mask': mask.long()}


def gap(agent, rollout):
    "k3 between the engine's log-probs and the agent's, nats a token."
    width = rollout.response_mask.shape[1]
    with torch.no_grad():
        logprobs, _, _ = agent(rollout.tokens, rollout.mask, width, rollout.temperature)
    return masked_mean(kl_k3(rollout.logprobs, logprobs), rollout.response_mask).item()


def test_its_logprobs_are_the_agents_and_follow_its_weights(sampler, prompts):
    agent = sampler.agent
    assert abs(gap(agent, sampler.generate(**prompts, response_length=R))) < 1e-5
    before = copy.deepcopy(agent.model.state_dict())
    with torch.no_grad():
        for weights in agent.model.parameters():
            weights.mul_(1.1)
    moved = sampler.generate(**prompts, response_length=R)
    assert abs(gap(agent, moved)) < 1e-5
    agent.model.load_state_dict(before)
    assert gap(agent, moved) > 0.01  # the weights of before say something else


def test_each_prompt_is_answered_up_to_its_first_eos(sampler, prompts):
    agent = sampler.agent
    rollout = sampler.generate(**prompts, response_length=R, temperature=TEMPERATURE)
    assert torch.equal(rollout.tokens[:, :P], prompts['input_ids'])
    assert rollout.response_mask.shape[1] <= R
    for tokens, mask in zip(rollout.responses, rollout.response_mask.bool()):
        is_eos = agent.is_eos(tokens[mask])
        assert not is_eos[:-1].any() and (is_eos[-1] or mask.sum() == R)
        assert (tokens[~mask] == agent.pad_token_id).all()
    assert torch.equal(rollout.logprobs == 0, rollout.response_mask == 0)


def test_the_likeliest_tokens_are_those_of_the_agent(sampler, prompts):
    cold = sampler.generate(**prompts, response_length=R, temperature=0.01)
    plain = sampler.agent.generate(**prompts, response_length=R, do_sample=False)
    same = (cold.tokens[:, :P + 4] == plain.tokens[:, :P + 4]).all(1).float().mean()
    assert same > 0.9  # where two tokens are nearly as likely, one may be drawn for the other


def test_a_policy_learns_from_what_it_samples(sampler, prompts):
    agent = sampler.agent
    trainer = CorrectedTrainer(agent, copy.deepcopy(agent.model), CONFIG)
    trainer.sampler = sampler

    def low_ids(tokens, mask):  # a reward that is learnt at once
        return ((tokens < 300)*mask)[:, P:].sum(1)/mask[:, P:].sum(1).clamp(min=1)

    rows = list(ppo_updates(trainer, [prompts], low_ids))
    assert rows[-1]['score'] > rows[0]['score'] + 0.1
    assert abs(rows[0]['kl']) < 0.01 < rows[-1]['kl']
