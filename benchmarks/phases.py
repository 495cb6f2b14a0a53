"""Where an update's time goes, what each lever gives, and how cost and memory grow: `python benchmarks/phases.py` (five minutes on 2 cores), part of `make bench`. Writes nbs/results/phases.json."""
import copy, ctypes, json, re, statistics
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch as replace
import torch
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.activations import ACT2FN
from rlhf_nbdev.agent import Agent, position_ids, score_tokens
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.reward import RewardModel
from rlhf_nbdev.tools.models import load_model
from rlhf_nbdev.tools.packing import packed_states
from rlhf_nbdev.tools.speed import bandwidth, matmul_peak, time_fastest
from safetensors.torch import load_file
from bench import HERE, WORK, commit, machine, options


class Update:
    "Everything for an update: `run` gives the seconds of its phases."
    def __init__(self, model, reward_model, prompts, device, bf16=False, endless=False, **settings):
        self.batch = {name: x.to(device) for name, x in prompts.items()}
        self.config = RLHFConfig(batch_size=len(prompts['input_ids']), bf16=bf16, response_length=settings.pop('response_length', WORK['response_length']), temperature=WORK['temperature'], **settings)
        self.agent, self.ref_model, self.reward_model, self.device = Agent(copy.deepcopy(model).to(device).requires_grad_(True)), copy.deepcopy(model).to(device), reward_model.to(device), device
        if endless: self.agent.eos_token_ids = [-1]
        self.trainer = RLHFTrainer(self.agent, self.ref_model, self.config)
        self.start = copy.deepcopy(self.agent.state_dict())

    def run(self, again=lambda rollout: None):
        torch.manual_seed(0)  # the same responses every time
        self.agent.load_state_dict(self.start)
        times = {}
        def timed(name, work):
            found = []
            times[name] = seconds(lambda: found.append(work()), 1, self.device)
            return found[0]
        with self.trainer.autocast():
            rollout = timed('generate', lambda: self.agent.generate(**self.batch, response_length=self.config.response_length, temperature=self.config.temperature))
            scored = timed('score', lambda: (again(rollout), self.agent.compute_rewards(rollout, self.reward_model, self.ref_model))[1])
        timed('train', lambda: self.trainer.update(rollout, scored.rewards))
        return times | {'all': sum(times.values())}

    def models(self): return self.agent.model, self.ref_model, self.reward_model.trunk


def score_plain(model, tokens, mask, response_length, temperature=1.0):
    "`score_packed`, as lesson 2 would write it."
    dists, hidden = score_tokens(model, tokens, mask, response_length, temperature)
    on = mask[:, -response_length:]
    with torch.no_grad(): entropy = -(dists.exp()*dists).sum(-1)
    return dists.gather(-1, tokens[:, -response_length:, None]).squeeze(-1)*on, hidden, entropy*on


@contextmanager
def padded(update):
    plain = lambda trunk, tokens, mask: trunk(input_ids=tokens, attention_mask=mask, position_ids=position_ids(mask), use_cache=False).last_hidden_state
    with replace('rlhf_nbdev.agent.score_packed', score_plain), replace('rlhf_nbdev.reward.packed_states', plain): yield


@contextmanager
def multinomial(update):
    with replace('rlhf_nbdev.agent.draw', lambda dist: torch.multinomial(dist.exp(), 1)): yield


@contextmanager
def gelu_in_eight_passes(update):
    blocks = [block.mlp for model in update.models() for block in model.base_model.h]
    before = [block.act for block in blocks]
    for block in blocks: block.act = ACT2FN['gelu_new']
    try: yield
    finally:
        for block, act in zip(blocks, before): block.act = act


@contextmanager
def other_attention(update):
    before = update.agent.model.config._attn_implementation
    for model in update.models(): model.set_attn_implementation({'eager': 'sdpa', 'sdpa': 'eager'}[before])
    try: yield
    finally:
        for model in update.models(): model.set_attn_implementation(before)


@contextmanager
def plain_adamw(update):
    c, fused = update.config, update.trainer.optimizer
    update.trainer.optimizer = torch.optim.AdamW(update.agent.parameters(), lr=c.learning_rate, eps=c.adam_epsilon, weight_decay=0.0, foreach=False)
    try: yield
    finally: update.trainer.optimizer = fused


@contextmanager
def two_trunks(update):
    "A value model of its own, as in TRL and InstructGPT."
    trunk, fused, c = copy.deepcopy(update.agent.model.base_model), update.trainer.optimizer, update.config
    forward = Agent.forward
    def both(self, tokens, mask, response_length, temperature=1.0):
        logprobs, _, entropy = forward(self, tokens, mask, response_length, temperature)
        return logprobs, self.value(packed_states(trunk, tokens, mask)[:, -response_length - 1:-1]), entropy
    update.trainer.optimizer = torch.optim.AdamW([*update.agent.parameters(), *trunk.parameters()], lr=c.learning_rate, eps=c.adam_epsilon, weight_decay=0.0, fused=True)
    try:
        with replace.object(Agent, 'forward', both): yield
    finally: update.trainer.optimizer = fused


@contextmanager
def one_thread(update):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try: yield
    finally: torch.set_num_threads(before)


@contextmanager
def scored_again(update):
    "Log-probs and values asked for once more, in place of those kept from sampling."
    run = update.run
    def again(rollout):
        with torch.no_grad(): update.agent(rollout.tokens, rollout.mask, rollout.response_mask.shape[1], rollout.temperature)
    update.run = lambda: run(again)
    try: yield
    finally: update.run = run


LEVERS = {'padding left out': padded, 'one random number a row': multinomial, 'GELU in one pass': gelu_in_eight_passes, 'attention as plain products': other_attention, 'fused AdamW': plain_adamw,
          'one trunk for policy and value': two_trunks, 'log-probs kept from sampling': scored_again, 'all cores': one_thread}


def measure_levers(make, rounds):
    "Each lever taken away, in turn with the update as it is; for both formats."
    found = {}
    for bf16 in (False, True):
        update = make(bf16=bf16)
        update.run()
        for name, without in LEVERS.items():
            pairs = []
            for _ in range(rounds):
                fast = update.run()
                with without(update): pairs.append((fast, update.run()))
            found[f"{name}, {'bf16' if bf16 else 'float32'}"] = {phase: statistics.median(slow[phase]/fast[phase] for fast, slow in pairs) for phase in pairs[0][0]} | {'seconds': statistics.median(fast['all'] for fast, _ in pairs), 'without': statistics.median(slow['all'] for _, slow in pairs)}
            print(f"{name:32} {'bf16' if bf16 else 'float32':8}", {phase: round(x, 3) for phase, x in found[f"{name}, {'bf16' if bf16 else 'float32'}"].items()}, flush=True)
    return found


@torch.no_grad()
def bare_loop(update, rollout):
    "The model's calls of `generate` and nothing else: the tokens are given."
    P, mask, cache = update.batch['input_ids'].shape[1], rollout.mask, None
    for t in range(rollout.response_mask.shape[1]):
        x, end = (rollout.tokens[:, :P], P) if cache is None else (rollout.tokens[:, P + t - 1:P + t], P + t)
        cache = update.agent.model(input_ids=x, attention_mask=mask[:, :end], position_ids=position_ids(mask[:, :end])[:, -x.shape[1]:], past_key_values=cache, use_cache=True, logits_to_keep=1).past_key_values


def measure_generation(make, rounds):
    "`generate` against the bare loop, pair by pair."
    found = {}
    for bf16 in (False, True):
        update, pairs = make(bf16=bf16, endless=True), []
        def ours(): return update.agent.generate(**update.batch, response_length=update.config.response_length, temperature=update.config.temperature)
        with update.trainer.autocast():
            rollout = ours(); bare_loop(update, rollout)
            for _ in range(3*rounds): pairs.append((seconds(ours, 1, update.device), seconds(lambda: bare_loop(update, rollout), 1, update.device)))
        found['bf16' if bf16 else 'float32'] = {'generate': statistics.median(a for a, _ in pairs), 'bare': statistics.median(b for _, b in pairs), 'ratio': statistics.median(a/b for a, b in pairs)}
    print('generation against a bare loop', found)
    return found


def memory_of(work):
    "MiB that `work` takes at its peak, beyond what is there before (Linux)."
    field = lambda name: int(re.search(rf'{name}:\s+(\d+)', Path('/proc/self/status').read_text())[1])/1024
    Path('/proc/self/clear_refs').write_text('5')  # the peak begins anew
    before = field('VmRSS')
    work()
    return field('VmHWM') - before


def measure_growth(device):
    "An update's seconds and the memory of its learning, with one thing varied. Nobody ends a response, random weights do."
    rows = []
    def make(B=32, R=24, D=192, L=4):
        config = GPT2Config(vocab_size=4096, n_positions=512, n_embd=D, n_layer=L, n_head=D//64, bos_token_id=0, eos_token_id=0, pad_token_id=1, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0, activation_function='gelu_pytorch_tanh')
        torch.manual_seed(0)
        model = GPT2LMHeadModel._from_config(config, attn_implementation='eager' if device == 'cpu' else 'sdpa').eval()
        prompts = {'input_ids': torch.randint(2, 4096, (B, 8)), 'attention_mask': torch.ones(B, 8, dtype=torch.long)}
        return Update(model, RewardModel(model), prompts, device, endless=True, response_length=R, epochs=1, minibatches=1)
    sizes = [('batch', dict(B=B)) for B in (16, 32, 64, 128, 256)] + [('response length', dict(R=R)) for R in (12, 24, 48, 96, 192)] + [('model width', dict(D=D)) for D in (128, 192, 256, 384, 512)]
    for what, size in sizes:
        update = make(**size)
        update.run()
        runs = [update.run() for _ in range(3)]
        rows.append({'varied': what, 'x': next(iter(size.values())), 'parameters': sum(p.numel() for p in update.agent.model.parameters()), 'mib': None} | {phase: min(run[phase] for run in runs) for phase in runs[0]})
        print(rows[-1], flush=True)
    if device != 'cpu': return rows
    ctypes.CDLL(None).mallopt(-3, 2**17)  # M_MMAP_THRESHOLD: large pieces come from the system and go back to it, so that a peak is a peak
    for row, (what, size) in zip(rows, sizes):
        update = make(**size)
        rollout = update.agent.generate(**update.batch, response_length=update.config.response_length)
        row['mib'] = memory_of(lambda: update.trainer.update(rollout, torch.zeros_like(rollout.logprobs)))
        print(row['varied'], row['x'], f"{row['mib']:.0f} MiB", flush=True)
    return rows


def main():
    args, work = options(__doc__, 5, 'phases'), HERE.parent/'build'/'bench'
    model, reward_model = load_model(str(work/'sft'))[0], RewardModel.from_pretrained(work/'reward_model')
    prompts = {name: x[:WORK['batch_size']] for name, x in load_file(work/'prompts.safetensors').items()}
    def make(**options): return Update(model, reward_model, prompts, args.device, **options)
    results = {'commit': commit(), 'machine': machine(args.device), 'peak': {str(dtype).removeprefix('torch.'): matmul_peak(dtype, args.device) for dtype in (torch.float32, torch.bfloat16)}, 'bandwidth': bandwidth(args.device)}
    results |= {'generation': measure_generation(make, args.rounds), 'levers': measure_levers(make, args.rounds), 'growth': measure_growth(args.device)}
    args.out.write_text(json.dumps(results, indent=1) + '\n')


if __name__ == '__main__': main()
