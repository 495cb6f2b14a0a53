"""Tokens a second of sampling, against transformers' `generate` and against what memory and processor allow: `python benchmarks/generation.py` (part of `make bench`), `--device cuda` where there is one. Writes nbs/results/generation.json."""
import json, shutil, statistics
from contextlib import nullcontext
import torch
from transformers import GPT2Config, GPT2LMHeadModel
from rlhf_nbdev.agent import Agent
from rlhf_nbdev.tools.models import autocast, load_model
from rlhf_nbdev.tools.packing import StaticSteps
from rlhf_nbdev.tools.speed import bandwidth, forward_flops, matmul_peak, time_fastest
from bench import commit, machine, options

P, R = 8, 24
SIZES = {'cpu': [('embedded', 16), ('embedded', 64), ('gpt2', 8)], 'cuda': [('embedded', 64), ('embedded', 1024), ('gpt2', 64), ('gpt2', 256), ('gpt2', 1024)]}


def make_model(name, device):
    "The embedded model, or the shape of GPT-2 with random weights, which do for speed."
    if name == 'embedded': return load_model()[0].to(device)
    torch.manual_seed(0)
    return GPT2LMHeadModel._from_config(GPT2Config(eos_token_id=0, pad_token_id=1, activation_function='gelu_pytorch_tanh'), attn_implementation='eager' if device == 'cpu' else 'sdpa').eval().to(device)


def least_seconds(config, B, size, peak, copy):
    "An estimate for R steps of B rows: at each, all weights of the layers and the output are read, and the keys and values of what went before, as fast as a copy reads and writes; or the operations of the formula take longer."
    weights = (12*config.n_layer*config.n_embd**2 + config.vocab_size*config.n_embd)*size
    cache = sum(2*config.n_layer*config.n_embd*size*B*(P + t - 1) for t in range(1, R))
    return {'memory': (R*weights + cache)/copy, 'operations': forward_flops(config, torch.tensor([P + R - 1]*B), B*R)/peak}  # the last token is not read again


@torch.no_grad()
def measure(name, B, bf16, device, rounds, limits):
    model = make_model(name, device)
    agent = Agent(model)
    agent.eos_token_ids = [-1]  # nobody may end
    torch.manual_seed(0)
    batch = {'input_ids': torch.randint(2, model.config.vocab_size, (B, P), device=device), 'attention_mask': torch.ones(B, P, dtype=torch.long, device=device)}
    def rounded(): return autocast(device) if bf16 else nullcontext()  # entered for each batch, as an update does
    def ours(model=None):
        with rounded(): return agent.generate(**batch, response_length=R, temperature=0.7, model=model)
    def theirs():
        with rounded(): return model.generate(**batch, do_sample=True, temperature=0.7, top_k=0, top_p=1.0, min_new_tokens=R, max_new_tokens=R)
    ways = {'transformers generate': theirs,
            'Agent.generate': ours, 'fixed cache': lambda static=StaticSteps(model, R, compiled=False): ours(static)}
    if device != 'cpu' or shutil.which('c++'): ways['fixed cache, compiled'] = lambda static=StaticSteps(model, R): ours(static)
    first = {way: seconds(work, 1, device) for way, work in ways.items()}  # compiling included
    for work in ways.values(): work()
    times = {way: [] for way in ways}
    for _ in range(rounds):
        for way, work in ways.items(): times[way].append(seconds(work, 1, device))
    least = least_seconds(model.config, B, 2 if bf16 else 4, limits['bfloat16' if bf16 else 'float32'], limits['bandwidth'])
    row = {'model': name, 'batch': B, 'format': 'bf16' if bf16 else 'float32', 'bound': B*R/max(least.values()), 'bound_by': max(least, key=least.get),
           'tokens_per_second': {way: B*R/statistics.median(each) for way, each in times.items()}, 'first_call': first}
    print(f"{name:9} B {B:5} {row['format']:8} bound {row['bound']:9.0f} tokens/s ({row['bound_by']}) ", {way: round(x) for way, x in row['tokens_per_second'].items()}, f"first call compiled: {first.get('fixed cache, compiled', float('nan')):.0f} s", flush=True)
    return row


def main():
    args = options(__doc__, 9, 'generation')
    limits = {str(dtype).removeprefix('torch.'): matmul_peak(dtype, args.device) for dtype in (torch.float32, torch.bfloat16)} | {'bandwidth': bandwidth(args.device)}
    rows = [measure(name, B, bf16, args.device, args.rounds, limits) for name, B in SIZES[args.device] for bf16 in (False, True)]
    args.out.write_text(json.dumps({'commit': commit(), 'machine': machine(args.device), 'limits': limits, 'rows': rows}, indent=1) + '\n')


if __name__ == '__main__': main()
