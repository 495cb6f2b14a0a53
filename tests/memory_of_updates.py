"""How much memory updates of PPO take: a script of its own, with a line of JSON for each run.

`python tests/memory_of_updates.py RUNS`: a list, as JSON, of the model (embedded or tiny) and the
settings of `RLHFConfig` of each. Each is measured in a fork, to which the one before leaves
nothing."""
import copy
import gc
import json
import os
import sys

import torch
from tiny import tiny_gpt2
from torch.utils.data import DataLoader

from rlhf_nbdev.agent import Agent
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.tools.models import load_model
from rlhf_nbdev.train import ppo_updates

MIB = 2**20


def mebibytes(name):
    "A figure of this process, as Linux keeps it: VmRSS now, VmHWM at most."
    with open('/proc/self/status') as status:
        for line in status:
            if line.startswith(name):
                return int(line.split()[1])/1024


def begin_peak_anew():
    with open('/proc/self/clear_refs', 'w') as file:
        file.write('5')


def even_share(tokens, mask):
    return (tokens % 2 == 0).float().mean(1)


def make_prompts(config):
    rows = torch.randint(2, 64, (2*config.batch_size, config.prompt_length))
    return [{'input_ids': row, 'attention_mask': torch.ones_like(row)} for row in rows]


def tensors_alive():
    return sum(isinstance(x, torch.Tensor) for x in gc.get_objects())


def measure(kind, settings):
    model = load_model()[0] if kind == 'embedded' else tiny_gpt2(width=32, context=16, pad=None)
    config = RLHFConfig(epochs=1, learning_rate=1e-5, **settings)
    torch.manual_seed(0)
    prompts = DataLoader(make_prompts(config), config.batch_size)
    trainer = RLHFTrainer(Agent(model), copy.deepcopy(model), config)
    begin_peak_anew()
    before, over_time = mebibytes('VmRSS'), []
    for row in ppo_updates(trainer, prompts, even_share):
        if row['update'] % 20 == 0:
            gc.collect()
            over_time.append({'mib': mebibytes('VmRSS'), 'tensors': tensors_alive()})
    rows = config.batch_size//config.minibatches//config.microbatches
    weights = sum(p.numel() for p in trainer.agent.parameters())
    print(json.dumps({
        'taken': mebibytes('VmHWM') - before,
        'model': weights*4/MIB,
        'logits': rows*(config.response_length + 1)*model.config.vocab_size*4/MIB,
        'over_time': over_time,
    }), flush=True)


def main(runs):
    torch.set_num_threads(1)
    for kind, settings in runs:
        child = os.fork()
        if not child:
            measure(kind, settings)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0, f'{kind}, {settings}: {status}'


if __name__ == '__main__':
    main(json.loads(sys.argv[1]))
