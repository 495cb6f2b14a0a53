"Our PPO on a workload of bench.py: `python ours.py FOLDER RESULT SETTINGS`."
import json, sys
from common import Stopwatch
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from rlhf_nbdev.agent import Agent
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.reward import RewardModel
from rlhf_nbdev.tools.models import load_model
from rlhf_nbdev.train import ppo_updates


def main(folder, result, settings):
    s = json.loads(settings)
    torch.manual_seed(s['seed'])
    # TRL's PPO does not clip gradients
    config = RLHFConfig(max_grad_norm=1e9, missing_eos_penalty=0.0 if s['endless'] else 1.0, **{name: s[name] for name in ('batch_size', 'response_length', 'epochs', 'minibatches', 'updates', 'learning_rate', 'beta', 'temperature', 'bf16', 'seed')})
    (model, _), (ref_model, _) = (load_model(f'{folder}/sft') for _ in range(2))
    agent = Agent(model.to(s['device']))
    if s['endless']: agent.eos_token_ids = [-1]
    trainer, reward_model = RLHFTrainer(agent, ref_model.to(s['device']), config), RewardModel.from_pretrained(f'{folder}/reward_model').to(s['device'])
    prompts = load_file(f'{folder}/prompts.safetensors')
    rows = [{name: x[i] for name, x in prompts.items()} for i in range(len(prompts['input_ids']))]
    watch = Stopwatch(s['device'])
    agent.generate = watch.timed('generate', agent.generate, keep=lambda rollout: rollout.tokens.cpu())
    agent.compute_rewards = watch.timed('score', agent.compute_rewards)
    trainer.update = watch.timed('train', trainer.update)
    trainer.step = watch.counted(trainer.step)
    watch.start()
    for row in ppo_updates(trainer, DataLoader(rows, config.batch_size, shuffle=True, drop_last=True), reward_model): watch.update_done(score_mean=row['score'], kl=row['kl'], tokens=row['response_tokens'])
    watch.write(result, s)


if __name__ == '__main__': main(*sys.argv[1:])
