"Ours, by any method, on a workload of bench.py: `python ours.py FOLDER RESULT SETTINGS`."
import json
import sys

import torch
from common import Stopwatch, load_pairs
from safetensors.torch import load_file

from rlhf_nbdev.agent import Agent
from rlhf_nbdev.beyond import MethodConfig, make_trainer, method_batches
from rlhf_nbdev.reward import RewardModel
from rlhf_nbdev.tools.models import load_model
from rlhf_nbdev.train import ppo_updates

SHARED = ('batch_size', 'response_length', 'epochs', 'minibatches', 'updates', 'learning_rate',
          'beta', 'temperature', 'bf16', 'seed', 'method')


def load_trainer(folder, s):
    config = MethodConfig(
        # TRL's PPO does not clip gradients, its other trainers do
        max_grad_norm=1e9 if s['method'] == 'ppo' else 1.0,
        missing_eos_penalty=0.0 if s['endless'] else 1.0,
        **{name: s[name] for name in SHARED})
    model, _ = load_model(f'{folder}/sft')
    ref_model, _ = load_model(f'{folder}/sft')
    agent = Agent(model.to(s['device']))
    if s['endless']:
        agent.eos_token_ids = [-1]
    pairs = load_file(f'{folder}/pairs.safetensors') if s['method'] == 'dpo' else None
    return make_trainer(agent, ref_model.to(s['device']), config, pairs)


def watch_phases(trainer, watch):
    "Count what belongs to each phase."
    agent = trainer.agent
    agent.generate = watch.timed('generate', agent.generate, lambda rollout: rollout.tokens.cpu())
    agent.compute_rewards = watch.timed('score', agent.compute_rewards)
    trainer.learn_from = watch.timed('train', trainer.learn_from)
    trainer.step = watch.counted(trainer.step)


def load_batches(folder, config):
    "Each prompt as often as the method wants it, and as many responses for each method."
    prompts = load_file(f'{folder}/prompts.safetensors')
    n_prompts = len(prompts['input_ids'])
    rows = [{name: x[i] for name, x in prompts.items()} for i in range(n_prompts)]
    return method_batches(rows, config)


def sample_and_learn(trainer, folder, s, watch):
    reward_model = RewardModel.from_pretrained(f'{folder}/reward_model').to(s['device'])
    batches = load_batches(folder, trainer.config)
    watch.start()
    for row in ppo_updates(trainer, batches, reward_model):
        watch.update_done(score_mean=row['score'], kl=row['kl'], tokens=row['response_tokens'])


def learn_from_pairs(trainer, folder, s, watch):
    "As `learn_from` does it, without the rollout that only serves the curves: TRL has none."
    trainer.learn_pairs = watch.timed('train', trainer.learn_pairs)
    _, watch.responses = load_pairs(folder, s)
    watch.start()
    for _ in range(s['updates']):
        trainer.learn_pairs(trainer.next_pairs())
        trainer.scheduler.step()
        watch.update_done()


def main(folder, result, settings):
    s = json.loads(settings)
    torch.manual_seed(s['seed'])
    trainer = load_trainer(folder, s)
    watch = Stopwatch(s['device'])
    watch_phases(trainer, watch)
    run = learn_from_pairs if s['method'] == 'dpo' else sample_and_learn
    run(trainer, folder, s, watch)
    watch.write(result, s)


if __name__ == '__main__':
    main(*sys.argv[1:])
