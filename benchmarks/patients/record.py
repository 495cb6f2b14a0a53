"""The runs behind lesson 10: PPO with one thing wrong, and healthy, seed by seed.

python benchmarks/patients/record.py OUT.jsonl [--device cuda] [--workers 14] [--until 500]

Each run is a line of OUT.jsonl: its metrics, and 64 answers to held-out prompts. What is there
already is left out. Nothing is begun after --until seconds. `keep.py` makes what is shipped of it.
On one H200, whose processes share it by CUDA's MPS, 428 runs with 11 of them took five minutes."""
import argparse
import contextlib
import copy
import json
import multiprocessing
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch as replace

import torch
from illnesses import ILLNESSES, REWARDS, in_force, turn_dropout_on
from torch.utils.data import Subset

from rlhf_nbdev.agent import Agent
from rlhf_nbdev.dataset import IMDBDataset
from rlhf_nbdev.evaluate import measure
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.run.stages import RunConfig, find_ratings, fine_tune, fit_reward_model
from rlhf_nbdev.tools.files import append_json_line
from rlhf_nbdev.tools.models import load_model
from rlhf_nbdev.train import ppo_updates, prompt_batches, scale_rewards

SMALL = {'batch_size': 32, 'response_length': 24, 'updates': 20}
CONTEXTS = {  # settings, and the models
    'small': (SMALL, 'usual'),
    'default': ({}, 'usual'),
    'other models': (SMALL, 'other'),
    'two layers': (SMALL, 'two layers'),
    'β 0.16': (SMALL | {'beta': 0.16}, 'usual'),
    'β 0.04': (SMALL | {'beta': 0.04}, 'usual'),
    'rate 2e-4': (SMALL | {'learning_rate': 2e-4}, 'usual'),
    'rate 5e-5': (SMALL | {'learning_rate': 5e-5}, 'usual'),
    'adaptive β': (SMALL | {'target_kl': 6.0, 'kl_horizon': 160}, 'usual'),
    '40 updates': (SMALL | {'updates': 40}, 'usual'),
    'longer': (SMALL | {'response_length': 48}, 'usual'),
}
MODELS = {'usual': 0, 'other': 1, 'two layers': 2}  # and the seed of steps one and two


@cache
def prompt_sets():
    "For each length of prompts that is asked for, to learn from and held out."
    _, tokenizer = load_model('embedded')
    return IMDBDataset(tokenizer, 'train'), IMDBDataset(tokenizer, 'held_out')


def base_of(models):
    base, tokenizer = load_model('embedded')
    if models == 'two layers':
        base.transformer.h = base.transformer.h[:2]
        base.config.n_layer = 2
    return base, tokenizer


def first_steps(models, device, illness, folder):
    "Steps one and two, with the illness in force where it is one of theirs."
    seed = MODELS[models]
    run = RunConfig(device=device, stages=folder)  # '': where they are kept
    if illness.before == 'reward':
        run.ratings = 'labels'  # whose pairs go through the pairwise loss
    if illness.before == 'reward of 100':
        run.rated_sentences = 100
    config = RLHFConfig(seed=seed)
    base, tokenizer = base_of(models)
    if illness.before == 'sft' and illness.prepare == 'pad is EOS':
        tokenizer.pad_token = tokenizer.eos_token
    with in_force(illness) if illness.before == 'sft' else contextlib.nullcontext():
        model, _, _ = fine_tune(run, config, base, tokenizer)
    _, tokenizer = load_model('embedded')
    data, ratings = None, find_ratings(run)
    if ratings is None:
        data = {split: IMDBDataset(tokenizer, split) for split in ('train', 'held_out')}
    with in_force(illness) if illness.before == 'reward' else contextlib.nullcontext():
        reward_model, _, figures = fit_reward_model(run, config, model, tokenizer, ratings, data)
    return {'base': base.to('cpu'), 'model': model.to('cpu'),
            'reward': reward_model.to('cpu'), 'accuracy': figures['accuracy']}


def make_models(task):
    models, device, path = task
    torch.set_num_threads(1)
    torch.save(first_steps(models, device, ILLNESSES['healthy'], ''), path)


def sick_reward(illness, reward_model, prompt_length):
    "What step three is paid by."
    if not illness.reward:
        return reward_model

    def reward(tokens, mask):
        if illness.reward == 'length':
            return (mask[:, prompt_length:].sum(1) - 12.0)/6
        return REWARDS[illness.reward](reward_model(tokens, mask))
    return reward


def prepare(illness, trainer, reward_model, parts):
    "What is wrong from the start."
    agent = trainer.agent
    if illness.prepare == 'pad is EOS':
        agent.pad_token_id = int(agent.model.config.eos_token_id)
    elif illness.prepare == 'dropout in the policy':
        turn_dropout_on(agent.model)
    elif illness.prepare == 'dropout in the reference':
        turn_dropout_on(trainer.ref_model)
    elif illness.prepare == 'dropout in the reward model':
        turn_dropout_on(reward_model.trunk)
    elif illness.prepare == 'the policy frozen':
        for weight in agent.model.parameters():
            weight.requires_grad_(False)
    elif illness.prepare == 'the reference is the policy':
        trainer.ref_model = agent.model
    elif illness.prepare == 'the reference is the base model':
        trainer.ref_model = parts['base'].float().eval().requires_grad_(False)


def cure(model, ref_model, reward_model):
    "Nothing that was wrong is left in force."
    for device in ('cpu', 'cuda'):
        torch.set_autocast_enabled(device, False)
    while torch.autocast_decrement_nesting() > 0:  # entered at every step, and never left
        pass
    torch.autocast_increment_nesting()
    torch.autocast_decrement_nesting()
    torch.clear_autocast_cache()
    for network in (model, ref_model, reward_model.trunk):
        network.__dict__.pop('train', None)
        network.__dict__.pop('eval', None)
        network.eval()


def answers_of(trainer, held_out, reward_model, ref_model):
    "64 answers as they should be measured, and why there are none."
    try:
        some = Subset(held_out, range(64))
        table = measure(trainer.agent, some, reward_model, ref_model, None, trainer.config)
    except Exception as problem:  # a policy of NaN answers nothing
        return [], str(problem)[:200]
    return json.loads(table.round(4).to_json(orient='records')), ''


def rounded(row):
    return {name: round(float(x), 5) for name, x in row.items() if name != 'seconds'}


def updates_of(trainer, prompts, reward, agreements):
    "Rows of metrics; why the run stopped, if it did; what the guard would have said."
    def note(trainer, rollout, approx_kl):
        agreements.append(approx_kl)
    rows, stopped = [], ''
    try:
        with replace('rlhf_nbdev.ppo.check_agreement', note):
            for row in ppo_updates(trainer, prompts, reward):
                rows.append(rounded(row) | {'first_kl': agreements[-1] if agreements else 0.0})
    except (FloatingPointError, ValueError, RuntimeError, IndexError) as error:
        stopped = f'{type(error).__name__}: {error}'[:300]
    return rows, stopped


def begin(illness, context, seed, device, folder):
    "All parts of a run before its first update, on the device."
    settings, models = CONTEXTS[context]
    parts = torch.load(f'{folder}/{models}.pt', weights_only=False)
    if illness.before:
        with tempfile.TemporaryDirectory() as stages:
            parts = first_steps(models, device, illness, stages)
    for name in ('base', 'model', 'reward'):
        parts[name].to(device)
    config = RLHFConfig(**settings | illness.settings, seed=seed)
    torch.manual_seed(seed)
    parts['reference'] = copy.deepcopy(parts['model'])
    prompts = prompt_batches(prompt_sets()[0], config)
    scale_rewards(parts['reward'], Agent(copy.deepcopy(parts['model'])), prompts, config)
    return parts, config, prompts


def run_patient(task):
    "One run, measured: what a line of the file holds."
    name, context, seed, device, folder = task
    torch.set_num_threads(1)
    started, illness, agreements = time.perf_counter(), ILLNESSES[name], []
    parts, config, prompts = begin(illness, context, seed, device, folder)
    with in_force(ILLNESSES['healthy'] if illness.before else illness) as refused:
        trainer = RLHFTrainer(Agent(parts['model']), parts['reference'], config)
        trainer.sampler = trainer.agent  # whose loop some illnesses change
        prepare(illness, trainer, parts['reward'], parts)
        reward = sick_reward(illness, parts['reward'], config.prompt_length)
        rows, stopped = updates_of(trainer, prompts, reward, agreements)
    cure(parts['model'], parts['reference'], parts['reward'])
    answers, error = answers_of(trainer, prompt_sets()[1], parts['reward'], parts['reference'])
    return {
        'illness': name, 'context': context, 'seed': seed,
        'settings': CONTEXTS[context][0] | illness.settings, 'stopped': stopped,
        'refused': refused, 'reward_accuracy': round(parts['accuracy'], 4), 'rows': rows,
        'answers': answers, 'no_answers': error,
        'seconds': round(time.perf_counter() - started, 1),
        'made with': {'device': device, 'torch': torch.__version__.split('+')[0],
                      'transformers': version('transformers')},
    }


def safely(task):
    try:
        return run_patient(task)
    except Exception:
        return {'illness': task[0], 'context': task[1], 'seed': task[2],
                'failed': traceback.format_exc()[-1500:]}


def tasks_in_order():
    "What matters most first: healthy runs, three seeds of each illness, then what is tested on."
    names = [name for name in ILLNESSES if name != 'healthy']
    yield from [('healthy', 'small', seed) for seed in range(10)]
    for seed in range(3):
        yield from [(name, 'small', seed) for name in names]
    for context in list(CONTEXTS)[1:]:
        yield from [('healthy', context, seed) for seed in (10, 11)]
    tested = ['other models', 'default', 'two layers', 'small']
    for shift in range(2):
        for number, name in enumerate(names):
            yield name, tested[(number + shift) % 4], 20 + shift
    for context in list(CONTEXTS)[1:]:
        yield from [('healthy', context, seed) for seed in (12, 13)]
    for context in CONTEXTS:
        yield from [('healthy', context, seed) for seed in range(30, 34)]
    for context in CONTEXTS:
        yield from [('healthy', context, seed) for seed in range(50, 53)]
    unseen = ['β 0.16', 'longer', 'rate 5e-5', '40 updates']  # for the very last test
    for number, name in enumerate(names):
        yield name, unseen[number % 4], 60


def done_already(path):
    if not path.is_file():
        return set()
    runs = [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]
    return {(run['illness'], run['context'], run['seed']) for run in runs if 'failed' not in run}


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--only', nargs='*', help='illnesses')
    parser.add_argument('--context', nargs='*')
    parser.add_argument('--seeds', nargs='*', type=int)
    parser.add_argument('--until', type=float, default=1e9, help='seconds')
    return parser.parse_args()


def tasks_left(options):
    "What is asked for and not done."
    done = done_already(options.out)
    for task in tasks_in_order():
        asked = zip(task, (options.only, options.context, options.seeds))
        if task not in done and all(not those or part in those for part, those in asked):
            yield task


def record(options, folder):
    "Models first, then run by run; nothing is begun when the time is over."
    end, tasks = time.monotonic() + options.until, list(tasks_left(options))
    wanted = sorted({CONTEXTS[context][1] for _, context, _ in tasks})
    with ProcessPoolExecutor(options.workers, multiprocessing.get_context('spawn')) as pool:
        list(pool.map(make_models, [(name, options.device, f'{folder}/{name}.pt')
                                    for name in wanted]))
        running = set()
        while running or (tasks and time.monotonic() < end):
            while tasks and len(running) < options.workers and time.monotonic() < end:
                running.add(pool.submit(safely, (*tasks.pop(0), options.device, folder)))
            future = next(as_completed(running))
            running.remove(future)
            run = future.result()
            append_json_line(options.out, run)
            print(run['illness'], run['context'], run['seed'], run.get('seconds', 'failed'),
                  run.get('stopped', ''), flush=True)


def main():
    with tempfile.TemporaryDirectory() as folder:
        record(parse(), folder)


if __name__ == '__main__':
    main()
