"""What lessons 12 and 14 compare: what is trained (LoRA, the top blocks, everything), and when the
reward is paid in a conversation of three turns. Each run begins with the model after step one.

python benchmarks/dialog_choices.py OUT.jsonl [--device cuda] [--jobs 8] [--seeds 3] [--updates 24]
python benchmarks/dialog_choices.py OUT.jsonl --seconds [--device cpu] [--threads 2]

OUT.jsonl gets a row for each run; what has a row already is not run again. With --seconds it gets
the seconds and the memory of an update instead, one run after another, nothing beside them."""
import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import torch
from common import peak_mib
from dialog import CONFIG, answer_all

from rlhf_nbdev.agent import Agent, TextReward
from rlhf_nbdev.dialog import (
    NEW_FILMS,
    DialogPrompts,
    WordsReward,
    add_lora,
    film_questions,
    scale_words,
    shared_copy,
    with_adapters,
)
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.run.judge import packaged_judge
from rlhf_nbdev.run.stages import first_two_steps
from rlhf_nbdev.tools.files import append_json_line
from rlhf_nbdev.tools.models import load_model
from rlhf_nbdev.train import ppo_updates, prompt_batches
from rlhf_nbdev.turns import (
    DialogTrainer,
    dialog_updates,
    ended_turns,
    one_rollout,
    score_conversations,
    scripted_conversations,
)

EMBEDDED = Path(__file__).resolve().parent.parent/'rlhf_nbdev'/'embedded'
REPLIES = ['Why?', 'Would you see it again?']
CHOICES = {  # name: (what is trained, in how many blocks from the top, learning rate)
    'LoRA, 10 blocks': ('lora', 10, 3e-4),
    'LoRA, 10 blocks, 1e-3': ('lora', 10, 1e-3),
    'LoRA, 6 blocks': ('lora', 6, 3e-4),
    'LoRA, all 30 blocks': ('lora', 30, 3e-4),
    'top 10 blocks, 3e-5': ('blocks', 10, 3e-5),
    'top 10 blocks, 1e-4': ('blocks', 10, 1e-4),
    'everything, 1e-5': ('everything', 30, 1e-5),
    'everything, 3e-5': ('everything', 30, 3e-5),
}
TURNS = {  # name: (is every turn paid, β)
    'paid at every turn': (True, CONFIG.beta),
    'paid at the end': (False, CONFIG.beta),
    'paid at the end, β/3': (False, CONFIG.beta/3),  # one score against the KL of three answers
}


def choose_trained(model, what, blocks):
    "Freeze all but what is to be trained."
    if what == 'lora':
        add_lora(model, blocks=blocks)
    elif what == 'blocks':
        model.requires_grad_(False)
        for block in model.model.layers[-blocks:]:
            block.requires_grad_(True)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def begin(what, blocks, rate, options, trainer_class, **changes):
    "A trainer on the model after step one, its tokenizer, prompts and reward."
    torch.manual_seed(options.seed)
    config = RLHFConfig(**vars(CONFIG) | {
        'learning_rate': rate, 'seed': options.seed, 'updates': options.updates} | changes)
    _, review_tokenizer, reward_model = first_two_steps(seed=0)
    model, tokenizer = load_model('chat')
    model = with_adapters(model, EMBEDDED/'dialog_sft.safetensors').to(options.device)
    trained = choose_trained(model, what, blocks)
    trainer = trainer_class(Agent(model), shared_copy(model), config)
    score_words = WordsReward(reward_model.to(options.device), review_tokenizer)
    prompts = DialogPrompts(tokenizer, film_questions(1000, seed=options.seed))
    loader = prompt_batches(prompts, config)
    with trainer.autocast():
        scale_words(TextReward(score_words, tokenizer), trainer.agent, loader, config)
    return trainer, tokenizer, loader, score_words, trained


def run_choice(name, options):
    "24 updates, and what the judge says of the answers to held-out questions."
    trainer, tokenizer, loader, score_words, trained = begin(*CHOICES[name], options, RLHFTrainer)
    rows = list(ppo_updates(trainer, loader, TextReward(score_words, tokenizer)))
    model, reference = trainer.agent.model, trainer.ref_model
    answers = list(answer_all(
        name, model, reference, tokenizer, score_words, packaged_judge()))[:128]
    means = {key: statistics.mean(row[key] for row in answers)
             for key in ('praise', 'fluency', 'score', 'kl', 'ended')}
    gold = [round(row['praise']*row['fluency'], 4) for row in answers]
    return {'trained': trained, 'learning_rate': CHOICES[name][2], **means, 'gold': gold,
            'curve': [round(row['score'], 3) for row in rows]}


def opening_batches(batch_size, seed):
    "Endless lists of questions."
    rng, openings = random.Random(seed), film_questions(1000, seed=seed)
    while True:
        yield rng.sample(openings, batch_size)


def ask_held_out(trainer, tokenizer, score_words, n=64):
    "Scores by turn, and the values along each turn, of conversations about new films."
    torch.manual_seed(0)
    openings = film_questions(n, seed=1, films=NEW_FILMS)
    with torch.no_grad(), trainer.autocast():
        conversations, turns = scripted_conversations(
            trainer.agent, tokenizer, openings, REPLIES, CONFIG.response_length)
        rollout = one_rollout(tokenizer, conversations, turns)
    scores = score_conversations(trainer.agent, conversations, turns, score_words)
    all_scores = [[round(x, 2) for x in row] for row in scores.tolist()]
    values = []
    for turn in range(scores.shape[1]):
        rows = [row[turn] for row in turns]
        first = torch.cat([row.values[:, :8] for row in rows])  # (n, 8): the first eight tokens
        real = torch.cat([row.response_mask[:, :8] for row in rows])
        mean = (first*real).sum(0)/real.sum(0).clamp(min=1)
        values.append([round(x, 3) for x in mean.tolist()])
    sampled = rollout.response_mask.sum(1).float().mean().item()
    ended = ended_turns(trainer.agent, turns).float().mean(0).tolist()
    example = [{'role': each['role'], 'content': each['content']} for each in conversations[0]]
    return {'scores': [round(x, 4) for x in scores.mean(0).tolist()], 'values': values,
            'tokens': sampled, 'ended': [round(x, 4) for x in ended], 'all_scores': all_scores,
            'example': example}


def run_turns(name, options):
    "24 updates on conversations of three turns, and held-out conversations before and after."
    trainer, tokenizer, _, score_words, _ = begin(
        *CHOICES['LoRA, 10 blocks'], options, DialogTrainer)
    pays_every_turn, trainer.beta = TURNS[name]
    before = ask_held_out(trainer, tokenizer, score_words)
    batches = opening_batches(trainer.config.batch_size, options.seed)
    rows = list(dialog_updates(
        trainer, tokenizer, batches, score_words, REPLIES, pays_every_turn))
    after = ask_held_out(trainer, tokenizer, score_words)
    keys = ['score', 'kl', 'response_tokens']
    keys += [f'{name}_{turn}' for name in ('score', 'ended', 'kl') for turn in (1, 2, 3)]
    curve = [{key: round(row[key], 3) for key in keys} for row in rows]
    return {'before': before, 'after': after, 'curve': curve}


def time_choice(name, options):
    "The median of four updates after one that warms up."
    options.updates = 5
    trainer, tokenizer, loader, score_words, trained = begin(
        *CHOICES[name], options, RLHFTrainer, batch_size=options.batch_size)
    rows = list(islice(ppo_updates(trainer, loader, TextReward(score_words, tokenizer)), 5))
    clock = [row['seconds'] for row in rows]
    seconds = [later - earlier for earlier, later in zip(clock, clock[1:])]
    return {'trained': trained, 'batch_size': options.batch_size,
            'seconds': round(statistics.median(seconds), 3),
            'all_seconds': [round(x, 3) for x in seconds],
            'peak_mib': round(peak_mib(options.device == 'cuda'))}


def run_one(options):
    "One run in a process of its own."
    torch.set_num_threads(options.threads)
    started = time.perf_counter()
    work = time_choice if options.seconds else run_turns if options.run in TURNS else run_choice
    row = work(options.run, options)
    took = round(time.perf_counter() - started, 1)
    row = {'run': options.run, 'seed': options.seed, 'device': options.device, **row, 'took': took}
    append_json_line(options.out, row)
    print(options.run, options.seed, 'took', took, flush=True)


def runs_to_do(options):
    "What has no row yet, as options of the command: name, seed, batch size."
    names = options.only or ([*CHOICES] if options.seconds else [*TURNS, *CHOICES])
    seeds = [0] if options.seconds else range(options.seeds)
    done = set()
    if options.out.is_file():
        for line in options.out.read_text(encoding='utf-8').splitlines():
            row = json.loads(line)
            done.add((row['run'], row['seed'], row.get('batch_size', CONFIG.batch_size)))
    wanted = [(name, seed, options.batch_size) for seed in seeds for name in names]
    return [each for each in wanted if each not in done]


def start_run(wanted):
    "The exit code of a run in a process of its own."
    name, seed, batch_size = wanted
    command = [sys.executable, *sys.argv, '--run', name, '--seed', str(seed),
               '--batch_size', str(batch_size)]
    return subprocess.run(command).returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path)
    parser.add_argument('--run', help='one run, in this process')
    parser.add_argument('--only', nargs='*', help='runs by name')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--updates', type=int, default=CONFIG.updates)
    parser.add_argument('--batch_size', type=int, default=CONFIG.batch_size)
    parser.add_argument('--jobs', type=int, default=1)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--seconds', action='store_true')
    options = parser.parse_args()
    if options.run:
        return run_one(options)
    with ThreadPoolExecutor(options.jobs) as pool:  # a thread waits for each process
        codes = list(pool.map(start_run, runs_to_do(options)))
    if any(codes):
        sys.exit(f'{sum(map(bool, codes))} of {len(codes)} runs failed')


if __name__ == '__main__':
    main()
