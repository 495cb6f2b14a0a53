"""The training behind lesson 12: a chat model learns to have an opinion, and PPO to like films.

python benchmarks/dialog.py FOLDER [--device cpu] [--threads 2] [--updates 24]

FOLDER gets sft.safetensors and ppo.safetensors (what LoRA has learnt in steps one and three), and
rows.jsonl (a row an update). What is there already is not made again."""
import argparse
import json
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from rlhf_nbdev.agent import Agent, TextReward
from rlhf_nbdev.dialog import (
    DialogDemonstrations,
    DialogPrompts,
    WordsReward,
    add_lora,
    film_dialogs,
    film_questions,
    merge_lora,
    scale_words,
    shared_copy,
)
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.run.stages import first_two_steps
from rlhf_nbdev.sft import load_sentences, train_sft
from rlhf_nbdev.tools.files import append_json_line
from rlhf_nbdev.tools.models import load_model, load_tensors
from rlhf_nbdev.train import ppo_updates

CONFIG = RLHFConfig(
    batch_size=16, prompt_length=48, response_length=32, epochs=2, minibatches=2,
    learning_rate=3e-4, beta=0.08, bf16=True, updates=24)


def save_adapters(adapters, path):
    "What LoRA has learnt, in 16 bits."
    save_file({name: p.detach().half().cpu() for name, p in adapters.items()}, path)


def step_one(model, tokenizer, path):
    "LoRA learns demonstrations, and is merged."
    adapters = add_lora(model)
    if not path.is_file():
        train = DialogDemonstrations(tokenizer, film_dialogs(load_sentences('train'))[:1920])
        held_out = DialogDemonstrations(tokenizer, film_dialogs(load_sentences('held_out'))[:96])
        started = time.perf_counter()
        history = train_sft(model, train, held_out, learning_rate=5e-4, checks=2)
        print(f'step one: {time.perf_counter() - started:.0f} s', history, flush=True)
        save_adapters(adapters, path)
    load_tensors(path, adapters)
    merge_lora(model)


def step_three(model, tokenizer, reward, config, path, rows_path):
    "PPO on questions about films."
    adapters = add_lora(model)
    trainer = RLHFTrainer(Agent(model), shared_copy(model), config)
    prompts = DialogPrompts(tokenizer, film_questions(1000, seed=config.seed))
    order = torch.Generator().manual_seed(config.seed)
    loader = DataLoader(prompts, config.batch_size, shuffle=True, drop_last=True, generator=order)
    scale_words(reward, trainer.agent, loader, config)
    rows_path.unlink(missing_ok=True)
    for row in ppo_updates(trainer, loader, reward):
        append_json_line(rows_path, {name: round(float(x), 4) for name, x in row.items()})
        print(json.dumps({name: round(float(row[name]), 3) for name in (
            'update', 'seconds', 'score', 'kl', 'response_tokens', 'ppo/clip_fraction')}),
            flush=True)
    save_adapters(adapters, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--updates', type=int, default=CONFIG.updates)
    parser.add_argument('--learning_rate', type=float, default=CONFIG.learning_rate)
    parser.add_argument('--beta', type=float, default=CONFIG.beta)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    options.folder.mkdir(parents=True, exist_ok=True)
    _, review_tokenizer, reward_model = first_two_steps(seed=0)
    model, tokenizer = load_model('chat')
    model.to(options.device)
    reward = TextReward(WordsReward(reward_model, review_tokenizer), tokenizer)
    step_one(model, tokenizer, options.folder/'sft.safetensors')
    if not (options.folder/'ppo.safetensors').is_file():
        config = RLHFConfig(**vars(CONFIG) | {
            'updates': options.updates, 'learning_rate': options.learning_rate,
            'beta': options.beta})
        step_three(model, tokenizer, reward, config, options.folder/'ppo.safetensors',
                   options.folder/'rows.jsonl')


if __name__ == '__main__':
    main()
