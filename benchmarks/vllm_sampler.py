"""How far vLLM's log-probs are from the learner's, in 32 and in 16 bits, and how fast it samples.

    make vllm
    .venv-vllm/bin/python benchmarks/vllm_sampler.py --dtype float32
    .venv-vllm/bin/python benchmarks/vllm_sampler.py --dtype bfloat16

The policy is the embedded model; the first update begins with its weights, the second with others,
which the engine must have got."""
import argparse
import json
import os
import tempfile
import time

import torch

from rlhf_nbdev.advantage import kl_k3, masked_mean
from rlhf_nbdev.agent import Agent
from rlhf_nbdev.dataset import IMDBDataset
from rlhf_nbdev.ppo import RLHFConfig
from rlhf_nbdev.run.vllm_sampler import VllmSampler
from rlhf_nbdev.tools.models import load_model

CONFIG = RLHFConfig(prompt_length=8, response_length=32, batch_size=64)


def first_prompts(tokenizer):
    prompts = IMDBDataset(tokenizer, prompt_length=CONFIG.prompt_length)
    rows = [prompts[place] for place in range(CONFIG.batch_size)]
    return {name: torch.stack([row[name] for row in rows])
            for name in ('input_ids', 'attention_mask')}


def timed(generate, prompts):
    "A rollout, and tokens a second."
    started = time.perf_counter()
    rollout = generate(**prompts, response_length=CONFIG.response_length,
                       temperature=CONFIG.temperature)
    return rollout, int(rollout.response_mask.sum())/(time.perf_counter() - started)


@torch.no_grad()
def gaps(agent, rollout):
    R, mask = rollout.response_mask.shape[1], rollout.response_mask
    exact, _, _ = agent(rollout.tokens, rollout.mask, R, rollout.temperature)
    of_tokens = (exact - rollout.logprobs)[mask.bool()].abs()
    return {'mean |gap|': of_tokens.mean().item(), 'largest': of_tokens.max().item(),
            'k3': masked_mean(kl_k3(rollout.logprobs, exact), mask).item()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--dtype', choices=['float32', 'bfloat16'], default='float32')
    options = parser.parse_args()
    os.environ |= {'VLLM_NO_USAGE_STATS': '1', 'VLLM_CPU_KVCACHE_SPACE': '1'}
    model, tokenizer = load_model()
    agent, prompts = Agent(model), first_prompts(tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        sampler = VllmSampler(agent, CONFIG, folder, dtype=options.dtype, enforce_eager=True)
        timed(sampler.generate, prompts)  # warm
        for weights in ('those of the start', 'others'):
            rollout, speed = timed(sampler.generate, prompts)
            said = {'dtype': options.dtype, 'weights': weights, 'tokens a second': speed}
            print(json.dumps(said | gaps(agent, rollout)), flush=True)
            torch.manual_seed(0)
            with torch.no_grad():
                for weight in model.parameters():
                    weight.add_(0.02*weight.std()*torch.randn_like(weight))
        _, speed = timed(agent.generate, prompts)
        print(json.dumps({'the agent itself, tokens a second': speed}))
        sampler.engine.llm_engine.engine_core.shutdown()


if __name__ == '__main__':
    main()
