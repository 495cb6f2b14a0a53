"""Where an update's time goes, what each lever gives, and how cost and memory grow: `python
benchmarks/phases.py` (five minutes on 2 cores), part of `make bench`. Writes
rlhf_nbdev/results/phases.json."""
import copy
import ctypes
import re
import statistics
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch as replace

import torch
import torch.nn.functional as F
from bench import HERE, WORK, commit, machine, options, write_results
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.activations import ACT2FN

from rlhf_nbdev.advantage import shape_rewards
from rlhf_nbdev.agent import Agent, position_ids, score_tokens
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.reward import RewardModel
from rlhf_nbdev.tools.models import load_model
from rlhf_nbdev.tools.packing import packed_states, round_up
from rlhf_nbdev.tools.reading import ask, cache_of, padded_states, read_states
from rlhf_nbdev.tools.speed import bandwidth, matmul_peak, time_fastest

FORMATS = {'float32': False, 'bf16': True}  # name: whether in bfloat16


# An update and its phases

class Update:
    "Everything for an update: `run` gives the seconds of its phases."
    def __init__(self, model, reward_model, prompts, device, endless=False, **settings):
        self.device = device
        self.batch = {name: x.to(device) for name, x in prompts.items()}
        defaults = {'response_length': WORK['response_length'],
                    'temperature': WORK['temperature']}
        batch_size = len(prompts['input_ids'])
        self.config = RLHFConfig(batch_size=batch_size, **defaults | settings)
        self.agent = Agent(copy.deepcopy(model).to(device).requires_grad_(True))
        if endless:
            self.agent.eos_token_ids = [-1]
        self.ref_model = copy.deepcopy(model).to(device)
        self.reward_model = reward_model.to(device)
        self.trainer = RLHFTrainer(self.agent, self.ref_model, self.config)
        self.start = copy.deepcopy(self.agent.state_dict())

    def models(self):
        return self.agent.model, self.ref_model, self.reward_model.trunk

    def timed(self, name, work):
        "What the work returns; its seconds go into `times`."
        results = []
        seconds = time_fastest(lambda: results.append(work()), 1, self.device)
        self.times[name] = seconds
        return results[0]

    def generate(self):
        c = self.config
        return self.trainer.sampler.generate(
            **self.batch, response_length=c.response_length, temperature=c.temperature)

    def before_scoring(self, rollout):
        "Nothing, unless a lever is taken away."

    def score(self, rollout):
        "Shaped rewards, (B, R)."
        self.before_scoring(rollout)
        scored = self.agent.compute_rewards(rollout, self.reward_model, self.ref_model)
        return shape_rewards(scored.scores, rollout.logprobs, scored.ref_logprobs,
                             rollout.response_mask)

    def run(self):
        torch.manual_seed(0)  # the same responses every time
        self.agent.load_state_dict(self.start)
        self.times = {}
        with self.trainer.autocast():
            rollout = self.timed('generate', self.generate)
            rewards = self.timed('score', lambda: self.score(rollout))
        self.timed('train', lambda: self.trainer.update(rollout, rewards))
        return self.times | {'all': sum(self.times.values())}


# Levers, each taken away while its context lasts

def score_plain(model, tokens, mask, response_length, temperature=1.0):
    "`score_responses`, as lesson 2 would write it."
    dists, states = score_tokens(model, tokens, mask, response_length, temperature)
    sampled = mask[:, -response_length:]  # (B, R)
    logprobs = dists.gather(-1, tokens[:, -response_length:, None]).squeeze(-1)
    with torch.no_grad():
        entropy = -(dists.exp()*dists).sum(-1)
    return logprobs*sampled, states, entropy*sampled


@contextmanager
def padded(update):
    with (replace('rlhf_nbdev.agent.score_responses', score_plain),
          replace('rlhf_nbdev.reward.read_states', padded_states)):
        yield


@contextmanager
def narrow_bins(update):
    def narrowest(lengths, most):
        return min(round_up(max(lengths), 8), most)

    with replace('rlhf_nbdev.tools.packing.bin_width', narrowest):
        yield


@contextmanager
def last_token_read(update):
    def read_all(trunk, tokens, mask):
        with_last = mask | F.pad(mask[:, :-1], (1, 0))  # real tokens stand in a row
        return read_states(trunk, tokens, with_last)

    with replace('rlhf_nbdev.tools.reading.read_states', read_all):
        yield


@contextmanager
def multinomial(update):
    with replace('rlhf_nbdev.agent.draw', lambda dist: torch.multinomial(dist.exp(), 1)):
        yield


@contextmanager
def gelu_in_eight_passes(update):
    blocks = [block.mlp for model in update.models() for block in model.base_model.h]
    before = [block.act for block in blocks]
    for block in blocks:
        block.act = ACT2FN['gelu_new']
    try:
        yield
    finally:
        for block, act in zip(blocks, before):
            block.act = act


@contextmanager
def other_attention(update):
    before = update.agent.model.config._attn_implementation
    other = 'sdpa' if before == 'eager' else 'eager'
    for model in update.models():
        model.set_attn_implementation(other)
    try:
        yield
    finally:
        for model in update.models():
            model.set_attn_implementation(before)


def adamw(update, parameters, **how):
    c = update.config
    return torch.optim.AdamW(parameters, lr=c.learning_rate, eps=c.adam_epsilon,
                             weight_decay=0.0, **how)


@contextmanager
def plain_adamw(update):
    plain = adamw(update, update.agent.parameters(), foreach=False)
    with replace.object(update.trainer, 'optimizer', plain):
        yield


@contextmanager
def two_trunks(update):
    "A value model of its own, as in TRL and InstructGPT."
    trunk = copy.deepcopy(update.agent.model.base_model)
    forward = Agent.forward

    def forward_both(self, tokens, mask, response_length, temperature=1.0):
        logprobs, _, entropy = forward(self, tokens, mask, response_length, temperature)
        states = packed_states(trunk, tokens, mask)[:, -response_length - 1:-1]
        return logprobs, self.value(states), entropy

    parameters = [*update.agent.parameters(), *trunk.parameters()]
    with (replace.object(update.trainer, 'optimizer', adamw(update, parameters, fused=True)),
          replace.object(Agent, 'forward', forward_both)):
        yield


@contextmanager
def one_thread(update):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def scored_again(update):
    "Log-probs and values asked for once more, in place of those kept from sampling."
    def score_own(rollout):
        R = rollout.response_mask.shape[1]
        with torch.no_grad():
            update.agent(rollout.tokens, rollout.mask, R, rollout.temperature)

    with replace.object(update, 'before_scoring', score_own):
        yield


LEVERS = {
    'padding left out': padded,
    'bins wider than the longest row': narrow_bins,
    'the last token not read': last_token_read,
    'one random number a row': multinomial,
    'GELU in one pass': gelu_in_eight_passes,
    'attention as plain products': other_attention,
    'fused AdamW': plain_adamw,
    'one trunk for policy and value': two_trunks,
    'log-probs kept from sampling': scored_again,
    'all cores': one_thread,
}


def measure_lever(update, without, rounds):
    "The update as it is and without a lever, in turn: ratios of each phase, seconds of all."
    pairs = []
    for _ in range(rounds):
        fast = update.run()
        with without(update):
            slow = update.run()
        pairs.append((fast, slow))
    result = {phase: statistics.median(slow[phase]/fast[phase] for fast, slow in pairs)
              for phase in pairs[0][0]}
    result['seconds'] = statistics.median(fast['all'] for fast, _ in pairs)
    result['without'] = statistics.median(slow['all'] for _, slow in pairs)
    return result


def measure_levers(make, rounds):
    "Each lever, in both formats."
    results = {}
    for format_name, bf16 in FORMATS.items():
        update = make(bf16=bf16)
        update.run()
        for name, without in LEVERS.items():
            result = measure_lever(update, without, rounds)
            results[f'{name}, {format_name}'] = result
            figures = {phase: round(x, 3) for phase, x in result.items()}
            print(f'{name:32} {format_name:8}', figures, flush=True)
    return results


# Generation

@torch.no_grad()
def bare_loop(update, rollout):
    "The model's calls of `generate` and nothing else: the tokens are given."
    P, R = update.batch['input_ids'].shape[1], rollout.response_mask.shape[1]
    cache = None
    for t in range(R):
        start, end = (0, P) if cache is None else (P + t - 1, P + t)
        mask = rollout.mask[:, :end]
        out = ask(update.agent.model, input_ids=rollout.tokens[:, start:end], attention_mask=mask,
                  position_ids=position_ids(mask)[:, start:], cache=cache, use_cache=True,
                  logits_to_keep=1)
        cache = cache_of(out)


def compare_with_bare_loop(update, rounds):
    "Seconds of `generate` and of the bare loop, in turn."
    pairs = []
    with update.trainer.autocast():
        rollout = update.generate()
        bare_loop(update, rollout)
        for _ in range(3*rounds):
            ours = time_fastest(update.generate, 1, update.device)
            bare = time_fastest(lambda: bare_loop(update, rollout), 1, update.device)
            pairs.append((ours, bare))
    return pairs


def measure_generation(make, rounds):
    "`generate` against the bare loop, pair by pair."
    results = {}
    for format_name, bf16 in FORMATS.items():
        pairs = compare_with_bare_loop(make(bf16=bf16, endless=True), rounds)
        results[format_name] = {
            'generate': statistics.median(ours for ours, _ in pairs),
            'bare': statistics.median(bare for _, bare in pairs),
            'ratio': statistics.median(ours/bare for ours, bare in pairs),
        }
    print('generation against a bare loop', results)
    return results


# Growth

SIZES = (  # what is varied, and as which argument of `make_sized`
    [('batch', dict(B=B)) for B in (16, 32, 64, 128, 256)]
    + [('response length', dict(R=R)) for R in (12, 24, 48, 96, 192)]
    + [('model width', dict(D=D)) for D in (128, 192, 256, 384, 512)]
)


def make_sized(device, B=32, R=24, D=192, L=4):
    "An update of this size. Nobody ends a response; random weights do."
    config = GPT2Config(
        vocab_size=4096, n_positions=512, n_embd=D, n_layer=L, n_head=D//64, bos_token_id=0,
        eos_token_id=0, pad_token_id=1, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0,
        activation_function='gelu_pytorch_tanh')
    attention = 'eager' if device == 'cpu' else 'sdpa'
    torch.manual_seed(0)
    model = GPT2LMHeadModel._from_config(config, attn_implementation=attention).eval()
    prompts = {'input_ids': torch.randint(2, 4096, (B, 8)),
               'attention_mask': torch.ones(B, 8, dtype=torch.long)}
    return Update(model, RewardModel(model), prompts, device, endless=True, response_length=R,
                  epochs=1, minibatches=1)


def time_size(device, varied, size):
    "The best of three updates, phase by phase."
    update = make_sized(device, **size)
    update.run()
    runs = [update.run() for _ in range(3)]
    row = {
        'varied': varied,
        'x': next(iter(size.values())),
        'parameters': sum(p.numel() for p in update.agent.model.parameters()),
        'mib': None,
    }
    return row | {phase: min(run[phase] for run in runs) for phase in runs[0]}


def status_mib(name):
    status = Path('/proc/self/status').read_text(encoding='utf-8')
    return int(re.search(rf'{name}:\s+(\d+)', status)[1])/1024


def memory_of(work):
    "MiB that `work` takes at its peak, beyond what is there before (Linux)."
    Path('/proc/self/clear_refs').write_text('5', encoding='utf-8')  # the peak begins anew
    before = status_mib('VmRSS')
    work()
    return status_mib('VmHWM') - before


def memory_of_learning(device, size):
    update = make_sized(device, **size)
    response_length = update.config.response_length
    rollout = update.agent.generate(**update.batch, response_length=response_length)
    rewards = torch.zeros_like(rollout.logprobs)
    return memory_of(lambda: update.trainer.update(rollout, rewards))


def return_large_pieces():
    "Large pieces of memory come from the system and go back to it, so that a peak is a peak."
    M_MMAP_THRESHOLD = -3
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**17)


def measure_growth(device):
    "An update's seconds and the memory of its learning, with one thing varied."
    rows = []
    for varied, size in SIZES:
        rows.append(time_size(device, varied, size))
        print(rows[-1], flush=True)
    if device != 'cpu':
        return rows
    return_large_pieces()
    for row, (varied, size) in zip(rows, SIZES):
        row['mib'] = memory_of_learning(device, size)
        print(varied, row['x'], f"{row['mib']:.0f} MiB", flush=True)
    return rows


def main():
    args = options(__doc__, 5, 'phases').parse_args()
    work = HERE.parent/'build'/'bench'
    model, _ = load_model(str(work/'sft'))
    reward_model = RewardModel.from_pretrained(work/'reward_model')
    prompts = load_file(work/'prompts.safetensors')
    prompts = {name: x[:WORK['batch_size']] for name, x in prompts.items()}

    def make(**settings):
        return Update(model, reward_model, prompts, args.device, **settings)

    dtypes = {'float32': torch.float32, 'bfloat16': torch.bfloat16}
    write_results(args.out, {
        'commit': commit(),
        'machine': machine(args.device),
        'peak': {name: matmul_peak(dtype, args.device) for name, dtype in dtypes.items()},
        'bandwidth': bandwidth(args.device),
        'generation': measure_generation(make, args.rounds),
        'levers': measure_levers(make, args.rounds),
        'growth': measure_growth(args.device),
    })


if __name__ == '__main__':
    main()
