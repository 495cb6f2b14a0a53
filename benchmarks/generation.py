"""Tokens a second of sampling, against transformers' `generate` and against what memory and
processor allow: `python benchmarks/generation.py` (part of `make bench`), `--device cuda` where
there is one. Writes rlhf_nbdev/results/generation.json."""
import shutil
import statistics
from contextlib import nullcontext
from functools import partial

import torch
from bench import commit, machine, options, write_results
from transformers import GPT2Config, GPT2LMHeadModel

from rlhf_nbdev.agent import Agent
from rlhf_nbdev.tools.models import autocast, load_model
from rlhf_nbdev.tools.sampling import RecordedSampler
from rlhf_nbdev.tools.speed import bandwidth, forward_flops, matmul_peak, time_fastest

P, R = 8, 24
TEMPERATURE = 0.7
SIZES = {  # of each device: model, batch size
    'cpu': [('embedded', 16), ('embedded', 64), ('gpt2', 8)],
    'cuda': [('embedded', 64), ('embedded', 1024), ('gpt2', 64), ('gpt2', 256), ('gpt2', 1024)],
}
FORMATS = {'float32': 'float32', 'bf16': 'bfloat16'}  # name: torch's name
COMPILED = 'RecordedSampler, compiled'


def make_model(name, device):
    "The embedded model, or the shape of GPT-2 with random weights, which do for speed."
    if name == 'embedded':
        model, _ = load_model()
        return model.to(device)
    torch.manual_seed(0)
    config = GPT2Config(eos_token_id=0, pad_token_id=1, activation_function='gelu_pytorch_tanh')
    attention = 'eager' if device == 'cpu' else 'sdpa'
    model = GPT2LMHeadModel._from_config(config, attn_implementation=attention)
    return model.eval().to(device)


def make_batch(model, B, device):
    torch.manual_seed(0)
    input_ids = torch.randint(2, model.config.vocab_size, (B, P), device=device)
    attention_mask = torch.ones(B, P, dtype=torch.long, device=device)
    return {'input_ids': input_ids, 'attention_mask': attention_mask}


def least_seconds(config, B, size, peak, copy):
    """An estimate for R steps of B rows. At each step, all weights of the layers and the output are
    read, and the keys and values of what went before, as fast as a copy reads and writes; or the
    operations of the formula take longer. The last token is not read again."""
    L, D, V = config.n_layer, config.n_embd, config.vocab_size
    weights = (12*L*D**2 + V*D)*size
    cache = sum(2*L*D*size*B*(P + t - 1) for t in range(1, R))
    operations = forward_flops(config, torch.tensor([P + R - 1]*B), B*R)
    return {'memory': (R*weights + cache)/copy, 'operations': operations/peak}


def rounded(bf16, device):
    "Entered for each batch, as an update does."
    return autocast(device) if bf16 else nullcontext()


def sample_theirs(model, batch, bf16, device):
    with rounded(bf16, device):
        model.generate(**batch, do_sample=True, temperature=TEMPERATURE, top_k=0, top_p=1.0,
                       min_new_tokens=R, max_new_tokens=R)


def sample_ours(batch, bf16, device, sampler):  # an `Agent`, or a `RecordedSampler`
    with rounded(bf16, device):
        sampler.generate(**batch, response_length=R, temperature=TEMPERATURE)


def ways_to_sample(model, batch, bf16, device):
    "Each way by name: a function of no arguments."
    agent = Agent(model)
    agent.eos_token_ids = [-1]  # nobody may end
    ours = partial(sample_ours, batch, bf16, device)
    ways = {
        'transformers generate': partial(sample_theirs, model, batch, bf16, device),
        'Agent.generate': partial(ours, agent),
        'RecordedSampler': partial(ours, RecordedSampler(agent)),  # on a CPU nothing is recorded
    }
    if device != 'cpu' or shutil.which('c++'):
        ways[COMPILED] = partial(ours, RecordedSampler(agent, compiled=True))
    if bf16:
        ways['RecordedSampler, all in bf16'] = partial(ours, RecordedSampler(agent, torch.bfloat16))
    return ways


def time_ways(ways, device, rounds):
    "Seconds of each way's first call, and of all later ones, in turn."
    first = {way: time_fastest(work, 1, device) for way, work in ways.items()}  # compiling included
    for work in ways.values():
        work()
    times = {way: [] for way in ways}
    for _ in range(rounds):
        for way, work in ways.items():
            times[way].append(time_fastest(work, 1, device))
    return first, times


@torch.no_grad()
def measure(name, B, format_name, device, rounds, limits):
    model = make_model(name, device)
    bf16 = format_name == 'bf16'
    ways = ways_to_sample(model, make_batch(model, B, device), bf16, device)
    first, times = time_ways(ways, device, rounds)
    peak, copy = limits[FORMATS[format_name]], limits['bandwidth']
    least = least_seconds(model.config, B, 2 if bf16 else 4, peak, copy)
    return {
        'model': name,
        'batch': B,
        'format': format_name,
        'bound': B*R/max(least.values()),
        'bound_by': max(least, key=least.get),
        'tokens_per_second': {way: B*R/statistics.median(each) for way, each in times.items()},
        'first_call': first,
    }


def show(row):
    speeds = {way: round(x) for way, x in row['tokens_per_second'].items()}
    compiling = row['first_call'].get(COMPILED, float('nan'))
    print(f"{row['model']:9} B {row['batch']:5} {row['format']:8} "
          f"bound {row['bound']:9.0f} tokens/s ({row['bound_by']}) ", speeds,
          f'first call compiled: {compiling:.0f} s', flush=True)


def main():
    args = options(__doc__, 9, 'generation').parse_args()
    limits = {name: matmul_peak(getattr(torch, name), args.device) for name in FORMATS.values()}
    limits['bandwidth'] = bandwidth(args.device)
    rows = []
    for name, B in SIZES[args.device]:
        for format_name in FORMATS:
            rows.append(measure(name, B, format_name, args.device, args.rounds, limits))
            show(rows[-1])
    write_results(args.out, {'commit': commit(), 'machine': machine(args.device),
                             'limits': limits, 'rows': rows})


if __name__ == '__main__':
    main()
