"""PPO, GRPO and DPO here and in TRL on the same work, in turn: `make bench` (40 minutes on 2
cores). Prints the tables, and writes them to rlhf_nbdev/results/bench.json.

The same weights, prompts, reward model, batch, response length, epochs, minibatches, learning rate
and count of optimizer steps. GRPO and RLOO give four responses to each of a quarter of the prompts.
DPO learns from pairs that were drawn before, and samples nothing. Each run is a process of its own;
rounds go A B C A B C …"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import GPT2Config

from rlhf_nbdev.agent import Agent
from rlhf_nbdev.beyond import MethodConfig, draw_pairs, method_batches
from rlhf_nbdev.dataset import load_reviews
from rlhf_nbdev.evaluate import Judge
from rlhf_nbdev.reward import RewardModel
from rlhf_nbdev.run.command import begin_run
from rlhf_nbdev.run.inputs import RunInputs, find_teachers, prompt_sets
from rlhf_nbdev.run.stages import RunConfig
from rlhf_nbdev.tools.models import load_model
from rlhf_nbdev.tools.speed import bandwidth, forward_flops, matmul_peak
from rlhf_nbdev.train import prompt_batches

HERE = Path(__file__).resolve().parent
WORK = dict(
    prompt_length=8,
    response_length=24,
    batch_size=64,
    epochs=4,
    minibatches=2,
    updates=30,
    learning_rate=1e-4,
    beta=0.08,
    temperature=0.7,
    endless=False,  # True: nobody may end a response, so all are of 24 tokens
    attention='eager',  # of TRL's models; on a CPU faster than 'sdpa', transformers' default
    method='ppo',  # of ours
    reference_first=False,  # True: TRL's DPO asks the reference once about each pair, not each time
)
SHORT = dict(updates=5)
BF16, FLOAT32 = dict(bf16=True), dict(bf16=False)
ENDLESS, DEFAULT_ATTENTION = dict(endless=True), dict(attention='sdpa')
GRPO = FLOAT32 | SHORT | dict(method='grpo')
DPO = FLOAT32 | SHORT | dict(method='dpo', temperature=1.0)  # TRL's DPO knows no other
CONTESTANTS = {  # name: (script, what differs from WORK, how many rounds at most)
    'TRL 1.12 PPO, bf16': ('trl_ppo', BF16, 99),
    'ours, bf16': ('ours', BF16, 99),
    'ours, float32': ('ours', FLOAT32 | SHORT, 99),
    'TRL 1.12 PPO, bf16, default attention': ('trl_ppo', BF16 | DEFAULT_ATTENTION | SHORT, 99),
    'TRL 1.12 PPO, float32': ('trl_ppo', FLOAT32 | SHORT, 99),
    'TRL 1.12 PPO, bf16, endless': ('trl_ppo', BF16 | ENDLESS | SHORT, 99),
    'ours, bf16, endless': ('ours', BF16 | ENDLESS | SHORT, 99),
    'TRL 1.16 RLOO, bf16': ('trl_rloo', BF16, 2),
    'ours, GRPO, float32': ('ours', GRPO, 3),
    'TRL 1.16 GRPO, float32': ('trl_grpo', GRPO, 3),
    'ours, DPO, float32': ('ours', DPO, 3),
    'TRL 1.16 DPO, float32': ('trl_dpo', DPO, 3),
    'TRL 1.16 DPO, float32, reference first': ('trl_dpo', DPO | dict(reference_first=True), 3),
}
PAIRS = [
    ('ours, bf16', 'TRL 1.12 PPO, bf16'),
    ('ours, bf16', 'TRL 1.12 PPO, bf16, default attention'),
    ('ours, float32', 'TRL 1.12 PPO, float32'),
    ('ours, bf16, endless', 'TRL 1.12 PPO, bf16, endless'),
    ('ours, bf16', 'TRL 1.16 RLOO, bf16'),
    ('ours, GRPO, float32', 'TRL 1.16 GRPO, float32'),
    ('ours, DPO, float32', 'TRL 1.16 DPO, float32'),
    ('ours, DPO, float32', 'TRL 1.16 DPO, float32, reference first'),
]
TARGETS = (0.5, 0.6, 0.65, 0.7, 0.9)  # of the gold reward
PHASES = ('generate', 'score', 'train')


# What all have in common

def make_workload(folder, device):
    "The main job's fine-tuned model and scaled reward model, and prompts enough for one run."
    run = RunConfig(device=device)
    config = MethodConfig(prompt_length=WORK['prompt_length'])
    model, tokenizer = load_model(run.model)
    data = prompt_sets(tokenizer, run, config)
    inputs = RunInputs(Agent(model.to(device)), tokenizer, data)
    find_teachers(run, config, inputs)
    folder.mkdir(parents=True, exist_ok=True)
    begin_run(folder, run, config, inputs)
    batches = list(islice(prompt_batches(data['train'], config), WORK['updates']))
    prompts = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    save_file(prompts, folder/'prompts.safetensors')
    return tokenizer


def make_pairs(folder, device):
    "What DPO learns from: two responses to each prompt, and which the reward model prefers."
    prompts = load_file(folder/'prompts.safetensors')
    names = ('prompt_length', 'response_length', 'batch_size', 'temperature')
    config = MethodConfig(
        updates=SHORT['updates'], method='dpo', **{name: WORK[name] for name in names})
    n_prompts = len(prompts['input_ids'])
    rows = [{name: x[i] for name, x in prompts.items()} for i in range(n_prompts)]
    model, _ = load_model(folder/'sft')
    reward_model = RewardModel.from_pretrained(folder/'reward_model').to(device)
    batches = method_batches(rows, config)
    pairs = draw_pairs(Agent(model.to(device)), reward_model, batches, config)
    save_file(pairs, folder/'pairs.safetensors')


def environment(name, python):
    "TRL in an environment of its own: what runs it, and no further place of packages."
    folder = HERE.parent/'build'/f'env-{name}'
    requirements = HERE/f'requirements-{name}.txt'
    if not (folder/'ready').exists():
        subprocess.run([python, '-m', 'venv', folder], check=True)
        pip = folder/'bin'/'pip'
        subprocess.run([pip, 'install', '--quiet', '-r', requirements], check=True)
        (folder/'ready').touch()
    return folder/'bin'/'python', ''


def environment_of_wheels(name, wheels):
    "The same without a network: TRL of `make bench-wheels`, and all else as it is here."
    folder = HERE.parent/'build'/f'wheels-{name}'
    requirements = (HERE/f'requirements-{name}.txt').read_text(encoding='utf-8').splitlines()
    theirs = [line for line in requirements if line.startswith(('trl==', 'datasets=='))]
    if not (folder/'ready').exists():
        pip = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-index', '--no-deps']
        subprocess.run([*pip, '--find-links', wheels, '--target', folder, *theirs, 'dill',
                        'multiprocess'], check=True)
        (folder/'ready').touch()
    return sys.executable, str(folder)


def is_offline(name):
    "Whether a contestant samples nothing while it learns."
    return CONTESTANTS[name][1].get('method') == 'dpo'


# One run

def run_once(name, pythons, work, settings):
    "What the script has written: its result, and the responses of each update."
    script, changes, _ = CONTESTANTS[name]
    path = work/'result.safetensors'
    settings = json.dumps(WORK | changes | settings)
    python, packages = pythons[script]
    command = [python, HERE/f'{script}.py', work, path, settings]
    paths = [path for path in (packages, os.environ.get('PYTHONPATH')) if path]
    env = os.environ | {'PYTHONPATH': os.pathsep.join(paths)}
    done = subprocess.run(command, capture_output=True, encoding='utf-8', env=env)
    if done.returncode:
        sys.exit(f'{name} failed:\n{done.stderr[-3000:]}')
    with safe_open(path, 'pt') as file:
        result = json.loads(file.metadata()['result'])
        return result, [file.get_tensor(key) for key in sorted(file.keys())]


def up_to_eos(responses, eos):
    "The tokens of each row up to and including its first EOS."
    is_eos = (responses == eos).long()
    eos_before = is_eos.cumsum(1) - is_eos  # (B, R): how many before this token
    return [row[mask] for row, mask in zip(responses, eos_before == 0)]


def judge_responses(batches, tokenizer, judge, endless):
    """The gold reward of each update's responses, up to EOS, and how many tokens each row has: all
    of them, where nobody may end."""
    P = WORK['prompt_length']
    gold, lengths = [], []
    for tokens in batches:
        responses = up_to_eos(tokens[:, P:], tokenizer.eos_token_id)
        prompt_texts = tokenizer.batch_decode(tokens[:, :P], skip_special_tokens=True)
        texts = tokenizer.batch_decode(responses, skip_special_tokens=True)
        gold.append(float(judge(prompt_texts, texts).mean()))
        R = tokens.shape[1] - P
        lengths.append([R if endless else len(response) for response in responses])
    return gold, lengths


def count_flops(result, lengths, prompt_tokens, config):
    """What each phase has to compute for these responses, in operations an update: padding, and
    what is computed twice, do not count."""
    epochs = result['settings']['epochs']
    rows = []
    for of_update in lengths:
        R = torch.tensor(of_update)
        forward = forward_flops(config, R + prompt_tokens, int(R.sum()))
        without_output = forward_flops(config, R + prompt_tokens, 0)  # as of the reward model
        rows.append({'generate': forward, 'score': forward + without_output,
                     'train': 3*epochs*forward})
    return {phase: statistics.median(row[phase] for row in rows) for phase in PHASES}


class Measure:
    "Runs contestants in rounds, and keeps what they did."
    def __init__(self, args, work, pythons):
        self.device = args.device
        self.work = work
        self.pythons = pythons
        self.tokenizer = make_workload(work, args.device)
        if any(is_offline(name) for name in args.only):
            make_pairs(work, args.device)
        self.judge = Judge(load_reviews())
        self.config = GPT2Config.from_pretrained(work/'sft')
        with safe_open(work/'prompts.safetensors', 'pt') as file:
            mask = file.get_tensor('attention_mask')
        self.prompt_tokens = mask.sum(1).float().mean()
        self.runs = {name: [] for name in args.only}
        self.peaks = {'float32': [], 'bfloat16': []}
        self.copies = []

    def measure_machine(self):
        for dtype, peaks in self.peaks.items():
            peaks.append(matmul_peak(getattr(torch, dtype), self.device))
        self.copies.append(bandwidth(self.device))

    def measure_run(self, name, seed):
        settings = {'seed': seed, 'device': self.device}
        result, responses = run_once(name, self.pythons, self.work, settings)
        s = result['settings']
        result['gold'], lengths = judge_responses(  # of DPO's pairs nothing but their lengths
            responses, self.tokenizer, self.judge, s['endless'])
        result['flops'] = count_flops(result, lengths, self.prompt_tokens, self.config)
        result['peak'] = self.peaks['bfloat16' if s['bf16'] else 'float32'][-1]
        self.runs[name].append(result)
        rate = WORK['batch_size']/median_seconds(result['rows'][1:])
        gold = '' if is_offline(name) else f", gold {np.mean(result['gold'][-5:]):.2f}"
        print(f'round {seed}: {name:38} {rate:6.1f} samples/s{gold}', flush=True)

    def measure_round(self, seed):
        self.measure_machine()
        for name in self.runs:
            _, _, rounds = CONTESTANTS[name]
            if seed < rounds:
                self.measure_run(name, seed)


# Many runs

def median_seconds(rows, phase='seconds'):
    return statistics.median(row[phase] for row in rows)


def first_reached(clock, gold, target):
    "The first moment at which the mean of three updates is at the target."
    means = np.convolve(gold, np.ones(3)/3, 'valid')
    for moment, mean in zip(clock[2:], means):
        if mean >= target:
            return moment
    return None


def last_5(runs, name):
    "The mean over the last five updates of a figure, for each run."
    return [float(np.mean([row[name] for row in run['rows'][-5:]])) for run in runs]


def reached_targets(runs):
    "For each target, when each run reached it."
    reached = {}
    for target in TARGETS:
        reached[str(target)] = []
        for run in runs:
            clock = [row['clock'] for row in run['rows']]
            reached[str(target)].append(first_reached(clock, run['gold'], target))
    return reached


def time_phases(runs):
    """Medians over rounds, and the share of the peak measured in the same round; the first update
    of each run warms up, and does not count."""
    late = [run['rows'][1:] for run in runs]
    all_rows = [row for rows in late for row in rows]
    timed = [phase for phase in PHASES if phase in all_rows[0]]
    shares = {}
    for phase in timed:
        shares[phase] = statistics.median(
            run['flops'][phase]/median_seconds(rows, phase)/run['peak']
            for run, rows in zip(runs, late))
    times = {phase: median_seconds(all_rows, phase) for phase in ['seconds', *timed]}
    return times, shares


def summarise_speed(name, runs):
    "What there is to say of all rounds of a contestant, whether it samples or not."
    times, shares = time_phases(runs)
    s = runs[0]['settings']
    flops = {phase: statistics.median(run['flops'][phase] for run in runs) for phase in PHASES}
    return {
        'name': name,
        'rounds': len(runs),
        'updates': s['updates'],
        'samples_per_second': s['batch_size']/times['seconds'],
        **times,
        'share_of_peak': shares,
        'gflop': {phase: x/1e9 for phase, x in flops.items()},
        'steps_per_update': runs[0]['steps']/s['updates'],
        'peak_mib': statistics.median(run['peak_mib'] for run in runs),
        'packages': runs[0]['packages'],
    }


def summarise(name, runs):
    "All rounds of a contestant."
    clocks = [[row['clock'] for row in run['rows']] for run in runs]
    return summarise_speed(name, runs) | {
        'gold_last_5': [float(np.mean(run['gold'][-5:])) for run in runs],
        'score_last_5': last_5(runs, 'score_mean'),
        'kl_last_5': last_5(runs, 'kl') if 'kl' in runs[0]['rows'][0] else [],
        'reached': reached_targets(runs),
        'gold': np.mean([run['gold'] for run in runs], 0).round(4).tolist(),
        'clock': np.mean(clocks, 0).round(2).tolist(),
    }


def ratio_of_speeds(ours, theirs):
    "How many times as fast the first of two runs was, over the updates that both have done."
    n = min(len(ours['rows']), len(theirs['rows']))
    return median_seconds(theirs['rows'][1:n])/median_seconds(ours['rows'][1:n])


def compare_pairs(runs):
    "The ratio of speeds of each pair, round by round."
    pairs = []
    for a, b in PAIRS:
        if runs.get(a) and runs.get(b):
            ratios = [ratio_of_speeds(ours, theirs) for ours, theirs in zip(runs[a], runs[b])]
            pairs.append({'a': a, 'b': b, 'ratios': ratios, 'median': statistics.median(ratios)})
    return pairs


# What it was measured on

def cpu_name():
    info = Path('/proc/cpuinfo')
    if not info.exists():
        return platform.processor()
    for line in info.read_text(encoding='utf-8').splitlines():
        if line.startswith('model name'):
            return line.split(':')[1].strip()
    return ''


def machine(device):
    "What it ran on."
    return {
        'cpu': cpu_name(),
        'threads': torch.get_num_threads(),
        'device': torch.cuda.get_device_name() if device == 'cuda' else 'cpu',
        'python': platform.python_version(),
        'torch': torch.__version__,
    }


def git(*words):
    command = ['git', *words]
    done = subprocess.run(command, capture_output=True, encoding='utf-8', cwd=HERE.parent)
    return done.stdout.strip()


def commit():
    "What was measured; results themselves are no change of it."
    not_results = ['--', '.', ':!rlhf_nbdev/results']
    changed = git('status', '--porcelain', '--untracked-files=no', *not_results)
    return git('describe', '--always') + ('-dirty' if changed else '')


# The command

def options(doc, rounds, name):
    "What bench.py, phases.py and generation.py can all be asked."
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument('--rounds', type=int, default=rounds)
    parser.add_argument('--device', default='cpu')
    out = HERE.parent/'rlhf_nbdev'/'results'/f'{name}.json'
    parser.add_argument('--out', type=Path, default=out)
    return parser


def write_results(path, results):
    path.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')


def mean_cell(values):
    return f'{np.mean(values):6.2f}' if values else '     –'


def show_contestant(x):
    "One line of the table."
    nan = float('nan')
    share = {phase: 100*x['share_of_peak'].get(phase, nan) for phase in PHASES}
    times = [t for t in x['reached']['0.6'] if t is not None]
    when = f'{np.mean(times):.0f} s' if times else 'never'
    columns = [
        f"{x['name']:38} {x['samples_per_second']:9.1f}",
        f" {x['generate']:18.2f} {x.get('score', nan):6.2f} {x.get('train', nan):6.2f}",
        f" {x['steps_per_update']:7.0f}",
        f"{share['generate']:21.0f} {share['score']:3.0f} {share['train']:3.0f}",
        f" {x['peak_mib']:5.0f}",
        f" {mean_cell(x['gold_last_5'])} {mean_cell(x['score_last_5'])}",
        f" {mean_cell(x['kl_last_5'])}   {when} ({len(times)} of {x['rounds']})",
    ]
    print(''.join(columns))


def show(results):
    peak = results['peak']
    print(f"\n{results['machine']}")
    print(f"matmul peak {peak['float32']/1e9:.0f} GFLOP/s float32, "
          f"{peak['bfloat16']/1e9:.0f} bfloat16; copy {results['bandwidth']/1e9:.0f} GB/s\n")
    print(f"{'':38} samples/s  seconds: generate  score  train   steps  "
          "share of the peak: g   s   t   MiB   gold  score    KL   to 0.6")
    for contestant in results['contestants']:
        show_contestant(contestant)
    for x in results['from_pairs']:
        print(f"{x['name']:38} {x['samples_per_second']:9.1f}  an update of learning from pairs: "
              f"{x['seconds']:.2f} s, {x['steps_per_update']:.0f} steps, {x['peak_mib']:.0f} MiB")
    print()
    for pair in results['pairs']:
        ratios = ', '.join(f'{x:.2f}' for x in pair['ratios'])
        print(f"{pair['a']} against {pair['b']}: {pair['median']:.2f} times its samples a second "
              f'(pairs: {ratios})')


def parse_args():
    parser = options(__doc__, 5, 'bench')
    parser.add_argument('--only', nargs='*', default=list(CONTESTANTS),
                        help='contestants by name')
    parser.add_argument('--python', default=sys.executable, help="makes TRL's environments")
    parser.add_argument('--wheels', type=Path, help='of `make bench-wheels`: TRL without a network')
    return parser.parse_args()


def find_pythons(args):
    "What runs the script of each contestant, and where it finds more packages."
    scripts = {CONTESTANTS[name][0] for name in args.only}
    folders = {'trl_ppo': 'ppo', 'trl_rloo': 'rloo', 'trl_grpo': 'rloo', 'trl_dpo': 'rloo'}
    pythons = {'ours': (sys.executable, '')}
    for script in sorted(scripts - {'ours'}):
        if args.wheels:
            pythons[script] = environment_of_wheels(folders[script], args.wheels)
        else:
            pythons[script] = environment(folders[script], args.python)
    return pythons


def main():
    args = parse_args()
    if args.device != 'cpu':
        WORK['attention'] = 'sdpa'
    pythons = find_pythons(args)
    measure = Measure(args, HERE.parent/'build'/'bench', pythons)
    for seed in range(args.rounds):
        measure.measure_round(seed)
    results = {
        'commit': commit(),
        'machine': machine(args.device),
        'work': WORK,
        'peak': {dtype: statistics.median(each) for dtype, each in measure.peaks.items()},
        'bandwidth': statistics.median(measure.copies),
        'pairs': compare_pairs(measure.runs),
        'contestants': [summarise(name, runs) for name, runs in measure.runs.items()
                        if runs and not is_offline(name)],
        'from_pairs': [summarise_speed(name, runs) for name, runs in measure.runs.items()
                       if runs and is_offline(name)],
    }
    write_results(args.out, results)
    show(results)


if __name__ == '__main__':
    main()
