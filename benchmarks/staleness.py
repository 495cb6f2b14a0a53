"""The runs behind lesson 13's picture of staleness: responses that are k updates old, three ways.

python benchmarks/staleness.py rlhf_nbdev/results/staleness.jsonl [--workers 2]

Each run is a line of the file; what is there already is left out. One run takes a minute on one
core."""
import argparse
import copy
import json
import multiprocessing
from collections import deque
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch
import transformers
from torch.utils.data import Subset

from rlhf_nbdev.agent import Agent
from rlhf_nbdev.dataset import IMDBDataset
from rlhf_nbdev.evaluate import measure
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.run.judge import packaged_judge
from rlhf_nbdev.run.stages import first_two_steps
from rlhf_nbdev.run.study import point_of
from rlhf_nbdev.scale import CorrectedTrainer
from rlhf_nbdev.tools.files import append_json_line
from rlhf_nbdev.train import endless_batches, prompt_batches, rollout_metrics, sample_and_score

AGES = (0, 2, 4, 8)
WAYS = {'old ratio': 'log-probs of the sampler, as PPO has them',
        'no weights': 'log-probs of the learner, weights of 1',
        'weights': 'log-probs of the learner, truncated importance weights'}
KEPT = ('score', 'kl', 'ppo/ratio', 'ppo/clip_fraction')


def make_trainer(way, model, config):
    agent, reference = Agent(copy.deepcopy(model)), copy.deepcopy(model)
    if way == 'old ratio':
        return RLHFTrainer(agent, reference, config)
    return CorrectedTrainer(agent, reference, config, cap=2.0 if way == 'weights' else None)


def train_on_old(trainer, batches, reward_model, age):
    "Learn from responses that were sampled `age` updates ago: the sampler runs ahead."
    waiting, rows = deque(), []
    while len(rows) < trainer.config.updates:
        waiting.append(sample_and_score(trainer, next(batches), reward_model, {}))
        if len(waiting) <= age:
            continue
        rollout, scored = waiting.popleft()
        trainer.last_rollout = rollout  # they are known to be old: no check that they are new
        stats = trainer.learn_from(rollout, scored)
        row = rollout_metrics(rollout, scored) | stats
        rows.append({name: round(float(row[name]), 4) for name in KEPT})
    return rows


def run_job(job):
    "One run, measured on held-out prompts."
    age, way, seed = job
    torch.set_num_threads(1)
    model, tokenizer, reward_model = first_two_steps(0)
    config = RLHFConfig(batch_size=32, response_length=24, seed=seed)
    trainer = make_trainer(way, model, config)
    batches = endless_batches(prompt_batches(IMDBDataset(tokenizer, 'train'), config))
    stopped, rows = '', []
    try:
        rows = train_on_old(trainer, batches, reward_model, age)
    except FloatingPointError as error:
        stopped = str(error)
    held_out = Subset(IMDBDataset(tokenizer, 'held_out'), range(256))
    table = measure(trainer.agent, held_out, reward_model, trainer.ref_model, packaged_judge(),
                    config)
    return {'age': age, 'way': way, 'seed': seed, 'stopped': stopped, 'rows': rows,
            'end': point_of(table),
            'versions': {'torch': torch.__version__, 'transformers': transformers.__version__}}


def jobs_left(path):
    "One seed after the other. With an age of 0 all ways are one."
    done = set()
    if path.is_file():
        for line in path.read_text(encoding='utf-8').splitlines():
            run = json.loads(line)
            done.add((run['age'], run['way'], run['seed']))
    for seed in range(3):
        for age in AGES:
            for way in list(WAYS)[:1 if age == 0 else None]:
                if (age, way, seed) not in done:
                    yield age, way, seed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path)
    parser.add_argument('--workers', type=int, default=2)
    options = parser.parse_args()
    spawn = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(options.workers, spawn) as pool:
        tasks = [pool.submit(run_job, job) for job in jobs_left(options.out)]
        for task in as_completed(tasks):
            run = task.result()
            append_json_line(options.out, run)
            print(run['age'], run['way'], run['seed'], run['end'], flush=True)


if __name__ == '__main__':
    main()
