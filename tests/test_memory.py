"What an update of PPO takes, and that two hundred of them take no more: measured by the operating system, in processes of their own."
import json, os, subprocess, sys
from pathlib import Path
import pytest

pytestmark = pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='only Linux tells a process how much memory it has used at most')
SCRIPT = '''
import copy, gc, json, sys, torch
from transformers import GPT2Config, GPT2LMHeadModel
from rlhf_nbdev.agent import Agent
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.tools.models import load_model
from rlhf_nbdev.train import ppo_updates
torch.set_num_threads(1)
def mebibytes(name): return next(int(line.split()[1])/1024 for line in open('/proc/self/status') if line.startswith(name))
kind, settings = sys.argv[1], json.loads(sys.argv[2])
model = load_model()[0] if kind == 'embedded' else GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2, n_positions=16, bos_token_id=0, eos_token_id=0)).eval()
c = RLHFConfig(epochs=1, learning_rate=1e-5, **settings)
torch.manual_seed(0)
prompts = [{'input_ids': row, 'attention_mask': torch.ones_like(row)} for row in torch.randint(2, 64, (2*c.batch_size, c.prompt_length))]
trainer, seen = RLHFTrainer(Agent(model), copy.deepcopy(model), c), []
open('/proc/self/clear_refs', 'w').write('5')  # the peak begins anew
before = mebibytes('VmRSS')
for row in ppo_updates(trainer, torch.utils.data.DataLoader(prompts, c.batch_size), lambda tokens, mask: (tokens % 2 == 0).float().mean(1)):
    if row['update'] % 20 == 0: gc.collect(); seen.append([mebibytes('VmRSS'), sum(isinstance(x, torch.Tensor) for x in gc.get_objects())])
print(json.dumps({'taken': mebibytes('VmHWM') - before, 'model': sum(p.numel() for p in trainer.agent.parameters())*4/2**20,
                  'logits': c.batch_size//c.minibatches//c.microbatches*(c.response_length + 1)*model.config.vocab_size*4/2**20, 'seen': seen}))
'''


def measure(kind, **settings):
    result = subprocess.run([sys.executable, '-c', SCRIPT, kind, json.dumps(settings)], capture_output=True, text=True, env=os.environ | {'MALLOC_MMAP_THRESHOLD_': str(2**17)})  # large pieces come from the system and go back to it, so that a peak is a peak
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout)


def test_an_update_takes_a_stated_multiple_of_the_model_and_of_a_minibatchs_logits():
    whole, parts = (measure('embedded', updates=1, microbatches=n) for n in (1, 4))
    print({name: (round(whole[name]), round(parts[name])) for name in ('taken', 'model', 'logits')}, 'MiB')
    assert whole['taken'] < 4*whole['model'] + 10*whole['logits']
    assert parts['taken'] < whole['taken'] - 3*whole['logits']  # microbatches save what they promise


def test_two_hundred_updates_do_not_grow_it():
    seen = measure('tiny', updates=200, batch_size=8, prompt_length=4, response_length=8)['seen']
    print(seen[1], seen[-1])
    assert seen[-1][0] - seen[1][0] < 4 and seen[-1][1] == seen[1][1]  # MiB; tensors alive
