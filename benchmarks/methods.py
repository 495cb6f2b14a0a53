"""The runs behind lesson 11's frontier: every method, three strengths, three seeds.

python benchmarks/methods.py OUT.jsonl [--device cuda] [--workers 14] [--only rloo "dpo 0.1"]
python benchmarks/methods.py OUT.json --seconds

Steps one and two are done once and shared. Each run is a line of OUT.jsonl, as `read_study` reads
it; what is there already is left out. On one H200 with 14 processes all 72 take 8 minutes.

With --seconds the methods update in turn, on one thread, and OUT.json says how long each took."""
import argparse
import copy
import json
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from pathlib import Path

import torch
import transformers
from torch.utils.data import Subset

from rlhf_nbdev.agent import Agent
from rlhf_nbdev.beyond import MethodConfig, draw_pairs, make_trainer, method_batches
from rlhf_nbdev.dataset import IMDBDataset
from rlhf_nbdev.evaluate import measure, read_study
from rlhf_nbdev.run.judge import packaged_judge
from rlhf_nbdev.run.stages import RunConfig, find_ratings, fine_tune, fit_reward_model
from rlhf_nbdev.run.study import point_of
from rlhf_nbdev.tools.files import append_json_line
from rlhf_nbdev.tools.models import load_model
from rlhf_nbdev.train import ppo_updates, prompt_batches, scale_rewards

STRENGTHS = {
    'ppo': (0.04, 0.08, 0.16),
    'rloo': (0.08, 0.16, 0.32),
    'reinforce++': (0.04, 0.08, 0.16),
    'grpo': (0.08, 0.16, 0.32),
    'drgrpo': (0.08, 0.16, 0.32),
    'gspo': (0.08, 0.16, 0.32),
    'dpo': (0.05, 0.1, 0.2),
    'online_dpo': (0.1, 0.3, 1.0),
}
KEPT = ('update', 'score', 'kl_k3', 'response_tokens', 'dpo/chosen', 'dpo/rejected',
        'group/all_agree')


def shared_models(device):
    "The models that all runs share."
    run, config = RunConfig(device=device), MethodConfig()
    base, tokenizer = load_model('embedded')
    model, _, _ = fine_tune(run, config, base, tokenizer)
    ratings = find_ratings(run)
    reward_model, _, _ = fit_reward_model(run, config, model, tokenizer, ratings, None)
    return model.to('cpu'), reward_model.to('cpu')


@cache
def prompt_sets():
    _, tokenizer = load_model('embedded')
    held_out = Subset(IMDBDataset(tokenizer, 'held_out'), range(256))
    return IMDBDataset(tokenizer, 'train'), held_out


def measure_end(trainer, reward_model):
    "What the policy's answers to held-out prompts are worth, and the gold of each."
    table = measure(trainer.agent, prompt_sets()[1], reward_model, trainer.ref_model,
                    packaged_judge(), trainer.config)
    return point_of(table) | {'golds': [round(float(x), 3) for x in table['gold']]}


def begin(config, models, device):
    "A trainer before its first update, and the reward model with its scale."
    prompts = prompt_sets()[0]
    model, reward_model = (each.to(device) for each in torch.load(models, weights_only=False))
    torch.manual_seed(config.seed)
    reference, pairs = Agent(copy.deepcopy(model)), None
    scale_rewards(reward_model, reference, prompt_batches(prompts, config), config)
    if config.method == 'dpo':
        pairs = draw_pairs(reference, reward_model, method_batches(prompts, config), config)
    return make_trainer(Agent(model), reference.model, config, pairs), reward_model


def run_method(job):
    "Train by one method, and measure."
    method, beta, seed, models, device = job
    torch.set_num_threads(1)
    prompts, config = prompt_sets()[0], MethodConfig(method=method, beta=beta, seed=seed)
    started = time.perf_counter()
    trainer, reward_model = begin(config, models, device)
    rows, stopped = [], ''
    try:
        for row in ppo_updates(trainer, method_batches(prompts, config), reward_model):
            rows.append({name: round(float(row[name]), 4) for name in KEPT if name in row})
    except FloatingPointError as error:
        stopped = str(error)
    seconds = time.perf_counter() - started
    end = {'update': len(rows)} | measure_end(trainer, reward_model)
    return {
        'group': 'methods', 'name': f'{method} {beta}', 'method': method, 'beta': beta,
        'seed': seed, 'rated_sentences': 10_000, 'prompts': 256, 'stopped': stopped,
        'seconds': round(seconds, 1), 'rows': rows, 'points': [end],
        'settings': {'method': method, 'beta': beta}, 'device': device,
        'versions': {'torch': torch.__version__, 'transformers': transformers.__version__},
    }


def seconds_of_updates(models, device, rounds=7):
    "Seconds of one update of each method, in turn; the first update of each does not count."
    torch.set_num_threads(1)
    prompts, begun = prompt_sets()[0], {}
    for method, strengths in STRENGTHS.items():
        config = MethodConfig(method=method, beta=strengths[1], updates=rounds + 1)
        trainer, reward_model = begin(config, models, device)
        begun[method] = ppo_updates(trainer, method_batches(prompts, config), reward_model)
        next(begun[method])
    seconds = {method: [] for method in begun}
    for number in range(rounds):
        for method, updates in begun.items():
            started = time.perf_counter()
            row = next(updates)
            seconds[method].append(round(time.perf_counter() - started, 3))
            print(number + 1, method, seconds[method][-1], row['response_tokens'], flush=True)
    return seconds


def jobs_left(options, models):
    "One seed after the other, so that what is cut off is even."
    done = set()
    if options.out.is_file():
        for run in read_study(options.out):
            done.add((run['method'], run['beta'], run['seed']))
    for seed in range(3):
        for method, strengths in STRENGTHS.items():
            for beta in strengths:
                asked = not options.only or {method, f'{method} {beta}'} & set(options.only)
                if asked and (method, beta, seed) not in done:
                    yield method, beta, seed, models, options.device


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path)
    parser.add_argument('--seconds', action='store_true')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--only', nargs='*', help='methods, or a method and its strength')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = f'{folder}/models.pt'
        torch.save(shared_models(options.device), models)
        if options.seconds:
            seconds = seconds_of_updates(models, options.device)
            text = json.dumps(seconds, indent=1) + '\n'
            options.out.write_text(text, encoding='utf-8')
            return
        spawn = multiprocessing.get_context('spawn')
        with ProcessPoolExecutor(options.workers, spawn) as pool:
            tasks = [pool.submit(run_method, job) for job in jobs_left(options, models)]
            for task in as_completed(tasks):
                run = task.result()
                append_json_line(options.out, run)
                end = run['points'][-1]
                figures = f"gold {end['gold']:.3f} KL {end['kl']:.1f}"
                print(run['name'], run['seed'], figures, flush=True)


if __name__ == '__main__':
    main()
