"""The training behind lesson 12: a chat model learns to have an opinion, and PPO to like films.

python benchmarks/dialog.py FOLDER [--device cpu] [--threads 2] [--updates 24]

FOLDER gets sft.safetensors and ppo.safetensors (what LoRA has learnt in steps one and three),
rows.jsonl (a row an update) and answers.jsonl (what the models answer to held-out questions before,
between and after, and what the judge says of it). What is there already is not made again."""
import argparse
import json
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from rlhf_nbdev.agent import Agent, rollout_texts
from rlhf_nbdev.dialog import (
    NEW_FILMS,
    DialogPrompts,
    add_lora,
    film_questions,
    merge_lora,
    with_adapters,
)
from rlhf_nbdev.evaluate import sequence_kl
from rlhf_nbdev.ppo import RLHFConfig
from rlhf_nbdev.run.command import begin_step_three
from rlhf_nbdev.run.dialogs import CHAT_PPO, AnswerReward, FilmQuestions, learn_dialogs
from rlhf_nbdev.run.judge import packaged_judge
from rlhf_nbdev.run.stages import first_two_steps
from rlhf_nbdev.tools.files import append_json_line
from rlhf_nbdev.tools.models import autocast, load_model, load_tensors
from rlhf_nbdev.train import ppo_updates, prompt_batches

CONFIG = RLHFConfig(**CHAT_PPO)


def save_adapters(adapters, path):
    "What LoRA has learnt, in 16 bits."
    save_file({name: p.detach().half().cpu() for name, p in adapters.items()}, path)


def step_one(model, tokenizer, path):
    "LoRA learns demonstrations, and is merged."
    adapters = add_lora(model)
    if not path.is_file():
        started = time.perf_counter()
        figures = learn_dialogs(model, tokenizer)
        print(f'step one: {time.perf_counter() - started:.0f} s', figures, flush=True)
        save_adapters(adapters, path)
    load_tensors(path, adapters)
    merge_lora(model)


def step_three(model, tokenizer, reward, config, path, rows_path):
    "PPO on questions about films."
    adapters = add_lora(model)
    prompts = FilmQuestions(tokenizer, 1000, config.prompt_length, config.seed)
    trainer = begin_step_three(model, reward, prompts, config)
    loader = prompt_batches(prompts, config)
    next(iter(loader))  # a loader's first order goes into the scale, its second is learnt from
    rows_path.unlink(missing_ok=True)
    for row in ppo_updates(trainer, loader, reward):
        append_json_line(rows_path, {name: round(float(x), 4) for name, x in row.items()})
        print(json.dumps({name: round(float(row[name]), 3) for name in (
            'update', 'seconds', 'score', 'kl', 'response_tokens', 'ppo/clip_fraction')}),
            flush=True)
    save_adapters(adapters, path)


def held_out_questions():
    "128 questions about new films; then 32 of askers who hated a film, and 32 who loved it."
    asked = film_questions(128, seed=1, films=NEW_FILMS)
    for feeling in ('hated', 'loved'):
        for film in NEW_FILMS*4:
            text = f'I {feeling} {film}. What did you think of it?'
            asked.append([{'role': 'user', 'content': text}])
    return asked


def answer_all(name, model, reference, tokenizer, score_words, judge):
    "A row for each held-out question."
    prompts, agent = DialogPrompts(tokenizer, held_out_questions()), Agent(model)
    torch.manual_seed(0)
    for start in range(0, len(prompts), 64):
        part = [prompts[i] for i in range(start, start + 64)]
        batch = {key: torch.stack([row[key] for row in part]).to(model.device) for key in part[0]}
        with torch.no_grad(), autocast(model.device):
            rollout = agent.generate(**batch, response_length=CONFIG.response_length)
            kl = sequence_kl(rollout, reference)
        answers = rollout_texts(rollout, tokenizer)[1]
        columns = (answers, judge.praise(answers), judge.fluency(answers), score_words(answers),
                   kl, agent.ended(rollout))
        for i, values in enumerate(zip(*columns)):
            answer, praise, fluency, score, nats, ended = values
            yield {'model': name, 'question': prompts.conversations[start + i][-1]['content'],
                   'answer': answer, 'praise': round(float(praise), 4),
                   'fluency': round(float(fluency), 4), 'score': round(float(score), 4),
                   'kl': round(float(nats), 3), 'ended': bool(ended)}


def measure(folder, device, score_words):
    "What the three models answer, and what is said of it; the scores are not normalised."
    model, tokenizer = load_model('chat')
    models = {'chat model': model.to(device)}
    models['after step one'] = with_adapters(model, folder/'sft.safetensors')
    models['after PPO'] = with_adapters(models['after step one'], folder/'ppo.safetensors')
    path, judge = folder/'answers.jsonl', packaged_judge()
    path.unlink(missing_ok=True)
    for name, each in models.items():
        rows = list(answer_all(
            name, each, models['after step one'], tokenizer, score_words, judge))
        for row in rows:
            append_json_line(path, row)
        gold = [row['praise']*row['fluency'] for row in rows[:128]]
        print(name, 'gold', sum(gold)/128, 'KL', sum(row['kl'] for row in rows[:128])/128)


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
    reward = AnswerReward(reward_model, review_tokenizer, tokenizer)
    step_one(model, tokenizer, options.folder/'sft.safetensors')
    if not (options.folder/'ppo.safetensors').is_file():
        config = RLHFConfig(**vars(CONFIG) | {
            'updates': options.updates, 'learning_rate': options.learning_rate,
            'beta': options.beta})
        step_three(model, tokenizer, reward, config, options.folder/'ppo.safetensors',
                   options.folder/'rows.jsonl')
    measure(options.folder, options.device, reward.function)


if __name__ == '__main__':
    main()
