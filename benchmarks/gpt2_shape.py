"""One update of PPO in the shape of GPT-2, with random weights, phase by phase:

python benchmarks/gpt2_shape.py --device cuda [--layers 12 --width 768 --batch 128 --rounds 5]

Prints samples a second, tokens a second of sampling, and the share of the peak of matrix products
that each phase reaches; for float32 and bfloat16, with gradient checkpointing and without. Nobody
ends a response, so that every run has the same work. Needs neither a network nor TRL."""
import argparse
import statistics

import torch
from bench import machine
from phases import Update
from transformers import GPT2Config, GPT2LMHeadModel

from rlhf_nbdev.reward import RewardModel
from rlhf_nbdev.tools.speed import forward_flops, matmul_peak

P, R, EPOCHS, MINIBATCHES = 32, 64, 4, 2
WAYS = {  # name: settings
    'float32': {},
    'bf16': {'bf16': True},
    'bf16, gradient checkpointing': {'bf16': True, 'gradient_checkpointing': True},
}


def make_model(options):
    config = GPT2Config(
        n_layer=options.layers, n_embd=options.width, n_head=max(1, options.width//64),
        n_positions=P + R, bos_token_id=0, eos_token_id=0, pad_token_id=1,
        activation_function='gelu_pytorch_tanh', attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0)
    torch.manual_seed(0)
    attention = 'eager' if options.device == 'cpu' else 'sdpa'
    return GPT2LMHeadModel._from_config(config, attn_implementation=attention).eval()


def make_update(model, options, settings):
    torch.manual_seed(0)
    prompts = {'input_ids': torch.randint(2, 50_257, (options.batch, P)),
               'attention_mask': torch.ones(options.batch, P, dtype=torch.long)}
    return Update(model, RewardModel(model), prompts, options.device, endless=True,
                  prompt_length=P, response_length=R, epochs=EPOCHS, minibatches=MINIBATCHES,
                  **settings)


def needed(config, B):
    "Operations of each phase, counted as in tools/speed."
    lengths = torch.tensor([P + R]*B)
    forward = forward_flops(config, lengths, B*R)
    return {'generate': forward, 'score': forward + forward_flops(config, lengths, 0),
            'train': 3*EPOCHS*forward}


def show(name, runs, flops, B, peak):
    seconds = {phase: statistics.median(run[phase] for run in runs) for phase in runs[0]}
    print(f"{name:29} {B/seconds['all']:8.1f} samples/s, "
          f"sampling {B*R/seconds['generate']:9.0f} tokens/s", flush=True)
    for phase, operations in flops.items():
        share = operations/peak/seconds[phase]
        print(f'    {phase:9} {seconds[phase]:8.3f} s, {share:5.1%} of the peak', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--layers', type=int, default=12)
    parser.add_argument('--width', type=int, default=768)
    parser.add_argument('--batch', type=int, default=128)
    parser.add_argument('--rounds', type=int, default=5)
    options = parser.parse_args()
    model = make_model(options)
    flops = needed(model.config, options.batch)
    print(machine(options.device))
    for name, settings in WAYS.items():
        peak = matmul_peak(torch.bfloat16 if 'bf16' in name else torch.float32, options.device)
        update = make_update(model, options, settings)
        update.run()  # warms up, and records the step of sampling on a GPU
        runs = [update.run() for _ in range(options.rounds)]
        show(name, runs, flops, options.batch, peak)
        if options.device == 'cuda':
            print(f'    at most {torch.cuda.max_memory_allocated()/2**20:.0f} MiB')
            torch.cuda.reset_peak_memory_stats()


if __name__ == '__main__':
    main()
