"What all contestants share: the models of a workload, a stopwatch, and how results are written."
import json
import os
import re
import sys
import time
from importlib.metadata import version
from pathlib import Path

os.environ |= {  # read when transformers and TRL are imported
    'HF_HUB_OFFLINE': '1',
    'TRL_EXPERIMENTAL_SILENCE': '1',
    'TOKENIZERS_PARALLELISM': 'false',
    'TQDM_DISABLE': '1',
}

import torch
import torch.nn as nn
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    TrainerCallback,
    set_seed,
)


class ScalarModel(nn.Module):
    """What TRL asks of a value or reward model: a trunk under the name in `base_model_prefix`, and
    a head called score."""
    base_model_prefix = 'trunk'

    def __init__(self, folder, attention, head=None):
        super().__init__()
        self.trunk = AutoModel.from_pretrained(
            folder, dtype=torch.float32, attn_implementation=attention)
        self.score = nn.Linear(self.trunk.config.hidden_size, 1)
        weight, bias = torch.zeros(()), torch.zeros(())  # a value head starts at 0
        if head:  # a reward head takes mean and scale in
            weight = head['head.weight']/head['std']
            bias = (head['head.bias'] - head['mean'])/head['std']
        with torch.no_grad():
            self.score.weight.copy_(weight)
            self.score.bias.copy_(bias)


def load_policy(folder, attention):
    return AutoModelForCausalLM.from_pretrained(
        f'{folder}/sft', dtype=torch.float32, attn_implementation=attention)


def load_workload(folder, seed, attention):
    "Policy, tokenizer, reward model and prompts, as bench.py has laid them out."
    set_seed(seed)
    policy = load_policy(folder, attention)
    tokenizer = AutoTokenizer.from_pretrained(f'{folder}/sft', padding_side='left')
    head = load_file(f'{folder}/reward_model/reward_head.safetensors')
    reward_model = ScalarModel(f'{folder}/reward_model', attention, head)
    padded = load_file(f'{folder}/prompts.safetensors')
    prompts = [ids[mask.bool()].tolist()
               for ids, mask in zip(padded['input_ids'], padded['attention_mask'])]
    return policy, tokenizer, reward_model, prompts


def load_pairs(folder, s):
    """Pairs of responses, as bench.py has drawn them: prompt, chosen, rejected as lists of tokens;
    and the rows that an update learns from."""
    pairs = load_file(f'{folder}/pairs.safetensors')
    P, n = s['prompt_length'], s['batch_size']//2
    lists = {'prompt': [], 'chosen': [], 'rejected': []}
    for i in range(len(pairs['chosen'])):
        for side in ('chosen', 'rejected'):
            tokens, mask = pairs[side][i], pairs[f'{side}_mask'][i].bool()
            lists[side].append(tokens[P:][mask[P:]].tolist())
        lists['prompt'].append(tokens[:P][mask[:P]].tolist())
    updates = []
    for update in range(s['updates']):
        rows = torch.arange(update*n, (update + 1)*n) % len(pairs['chosen'])
        updates.append(torch.cat([pairs['chosen'][rows], pairs['rejected'][rows]]))
    return lists, updates


def trl_settings(s, out):
    "What TRL's trainers are told alike: the work, our optimizer, nothing kept or shown."
    return dict(
        output_dir=out,
        gradient_accumulation_steps=1,
        learning_rate=s['learning_rate'],
        weight_decay=0.0,
        adam_epsilon=1e-5,
        temperature=s['temperature'],
        bf16=s['bf16'],
        gradient_checkpointing=False,
        use_cpu=s['device'] == 'cpu',
        seed=s['seed'],
        report_to='none',
        save_strategy='no',
        logging_strategy='no',
        disable_tqdm=True,
    )


def peak_mib(cuda):
    "The most memory that this process has had."
    if cuda:
        return torch.cuda.max_memory_allocated()/2**20
    status = Path('/proc/self/status').read_text(encoding='utf-8')
    return int(re.search(r'VmHWM:\s+(\d+)', status)[1])/1024


class Stopwatch:
    "Seconds of each phase by update, the responses, and a clock that begins with the first update."
    def __init__(self, device):
        self.cuda = device == 'cuda'
        self.rows = []
        self.responses = []
        self.steps = 0

    def now(self):
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def start(self):
        self.started = self.last = self.now()
        self.phases = {}

    def timed(self, name, function, keep=None):
        "The function, which counts to this phase; what `keep` takes of a result is kept."
        def wrapper(*args, **kwargs):
            before = self.now()
            result = function(*args, **kwargs)
            self.phases[name] = self.phases.get(name, 0.0) + self.now() - before
            if keep:
                self.responses.append(keep(result))
            return result
        return wrapper

    def counted(self, step):
        "The function, which counts as a step."
        def wrapper(*args, **kwargs):
            self.steps += 1
            return step(*args, **kwargs)
        return wrapper

    def update_done(self, **figures):
        now = self.now()
        times = {'seconds': now - self.last, 'clock': now - self.started}
        self.rows.append(times | self.phases | figures)
        self.last = now
        self.phases = {}

    def write(self, path, settings):
        "The responses as tensors, and all else as JSON beside them."
        names = ['torch', 'transformers']
        if 'trl' in sys.modules:
            names.append('trl')
        result = {
            'settings': settings,
            'rows': self.rows,
            'steps': self.steps,
            'peak_mib': peak_mib(self.cuda),
            'packages': {name: version(name) for name in names},
            'threads': torch.get_num_threads(),
        }
        tensors = {f'{i:04d}': x.contiguous() for i, x in enumerate(self.responses)}
        save_file(tensors, path, {'result': json.dumps(result)})


class CountUpdates(TrainerCallback):
    "All steps on one batch of responses are an update; `figures` says what to note of it."
    def __init__(self, watch, steps, figures):
        self.watch = watch
        self.steps = steps
        self.figures = figures

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % self.steps == 0:
            self.watch.update_done(**self.figures())
