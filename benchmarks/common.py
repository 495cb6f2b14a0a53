"What all contestants share: the models of a workload, a stopwatch, and the way results are written."
import json, os, re, sys, time
os.environ |= {'HF_HUB_OFFLINE': '1', 'TRL_EXPERIMENTAL_SILENCE': '1', 'TOKENIZERS_PARALLELISM': 'false', 'TQDM_DISABLE': '1'}
from importlib.metadata import version
from pathlib import Path
import torch, torch.nn as nn
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, set_seed


class ScalarModel(nn.Module):
    "What TRL asks of a value or reward model: a trunk under the name in `base_model_prefix`, and a head called score."
    base_model_prefix = 'trunk'
    def __init__(self, folder, attention, head=None):
        super().__init__()
        self.trunk = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention)
        self.score = nn.Linear(self.trunk.config.hidden_size, 1)
        with torch.no_grad():  # a value head starts at 0; a reward head takes mean and scale in
            self.score.weight.copy_(head['head.weight']/head['std'] if head else torch.zeros(()))
            self.score.bias.copy_((head['head.bias'] - head['mean'])/head['std'] if head else torch.zeros(()))


def load_workload(folder, seed, attention):
    "Policy, tokenizer, reward model and prompts, as bench.py has laid them out."
    set_seed(seed)
    policy = AutoModelForCausalLM.from_pretrained(f'{folder}/sft', dtype=torch.float32, attn_implementation=attention)
    tokenizer = AutoTokenizer.from_pretrained(f'{folder}/sft', padding_side='left')
    reward_model = ScalarModel(f'{folder}/reward_model', attention, load_file(f'{folder}/reward_model/reward_head.safetensors'))
    prompts = load_file(f'{folder}/prompts.safetensors')
    return policy, tokenizer, reward_model, [ids[mask.bool()].tolist() for ids, mask in zip(prompts['input_ids'], prompts['attention_mask'])]


class Stopwatch:
    "Seconds of each phase by update, the responses, and a clock that begins with the first update."
    def __init__(self, device): self.cuda, self.rows, self.responses, self.steps = device == 'cuda', [], [], 0
    def now(self):
        if self.cuda: torch.cuda.synchronize()
        return time.perf_counter()
    def start(self): self.started = self.last = self.now(); self.phases = {}
    def timed(self, name, function, keep=None):
        def wrapper(*args, **kwargs):
            before = self.now()
            result = function(*args, **kwargs)
            self.phases[name] = self.phases.get(name, 0.0) + self.now() - before
            if keep: self.responses.append(keep(result))
            return result
        return wrapper
    def counted(self, step):
        def wrapper(*args, **kwargs):
            self.steps += 1
            return step(*args, **kwargs)
        return wrapper
    def update_done(self, **figures):
        now = self.now()
        self.rows.append({'seconds': now - self.last, 'clock': now - self.started, **self.phases, **figures})
        self.last, self.phases = now, {}
    def write(self, path, settings):
        packages = {name: version(name) for name in ('torch', 'transformers', *(['trl'] if 'trl' in sys.modules else []))}
        peak = torch.cuda.max_memory_allocated()/2**20 if self.cuda else int(re.search(r'VmHWM:\s+(\d+)', Path('/proc/self/status').read_text())[1])/1024
        save_file({f'{i:04d}': x.contiguous() for i, x in enumerate(self.responses)}, path,
                  {'result': json.dumps({'settings': settings, 'rows': self.rows, 'steps': self.steps, 'peak_mib': peak, 'packages': packages, 'threads': torch.get_num_threads()})})
