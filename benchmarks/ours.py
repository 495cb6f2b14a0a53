"Our PPO on a workload of bench.py: `python ours.py FOLDER RESULT SETTINGS`."
import json
import sys

import torch
from common import Stopwatch
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from rlhf_nbdev import train
from rlhf_nbdev.agent import Agent
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.reward import RewardModel
from rlhf_nbdev.tools.models import load_model

SHARED = ('batch_size', 'response_length', 'epochs', 'minibatches', 'updates', 'learning_rate',
          'beta', 'temperature', 'bf16', 'seed')


def make_trainer(folder, s):
    config = RLHFConfig(
        max_grad_norm=1e9,  # TRL's PPO does not clip gradients
        missing_eos_penalty=0.0 if s['endless'] else 1.0,
        **{name: s[name] for name in SHARED})
    model, _ = load_model(f'{folder}/sft')
    ref_model, _ = load_model(f'{folder}/sft')
    agent = Agent(model.to(s['device']))
    if s['endless']:
        agent.eos_token_ids = [-1]
    return RLHFTrainer(agent, ref_model.to(s['device']), config)


def watch_phases(trainer, watch):
    "Count what belongs to each phase."
    agent = trainer.agent
    agent.generate = watch.timed('generate', agent.generate, lambda rollout: rollout.tokens.cpu())
    agent.compute_rewards = watch.timed('score', agent.compute_rewards)
    train.shape_rewards = watch.timed('score', train.shape_rewards)
    trainer.update = watch.timed('train', trainer.update)
    trainer.step = watch.counted(trainer.step)


def main(folder, result, settings):
    s = json.loads(settings)
    torch.manual_seed(s['seed'])
    trainer = make_trainer(folder, s)
    reward_model = RewardModel.from_pretrained(f'{folder}/reward_model').to(s['device'])
    prompts = load_file(f'{folder}/prompts.safetensors')
    n_prompts = len(prompts['input_ids'])
    rows = [{name: x[i] for name, x in prompts.items()} for i in range(n_prompts)]
    batches = DataLoader(rows, s['batch_size'], shuffle=True, drop_last=True)
    watch = Stopwatch(s['device'])
    watch_phases(trainer, watch)
    watch.start()
    for row in train.ppo_updates(trainer, batches, reward_model):
        watch.update_done(score_mean=row['score'], kl=row['kl'], tokens=row['response_tokens'])
    watch.write(result, s)


if __name__ == '__main__':
    main(*sys.argv[1:])
