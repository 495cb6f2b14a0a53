"""PPO here and in TRL on the same work, in turn: `make bench` (half an hour on 2 cores). Prints the tables, and writes them to nbs/results/bench.json.

The same weights, prompts, reward model, batch, response length, epochs, minibatches, learning rate and count of optimizer steps. Each run is a process of its own; rounds go A B C A B C …"""
import argparse, json, platform, statistics, subprocess, sys
from itertools import islice
from pathlib import Path
import numpy as np, torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import GPT2Config
from rlhf_nbdev.dataset import IMDBDataset, load_reviews
from rlhf_nbdev.evaluate import Judge
from rlhf_nbdev.ppo import RLHFConfig
from rlhf_nbdev.run.command import begin_run
from rlhf_nbdev.run.stages import RunConfig, find_ratings
from rlhf_nbdev.tools.models import load_model
from rlhf_nbdev.tools.speed import bandwidth, forward_flops, matmul_peak
from rlhf_nbdev.train import prompt_batches

HERE = Path(__file__).resolve().parent
WORK = dict(prompt_length=8, response_length=24, batch_size=64, epochs=4, minibatches=2, updates=30, learning_rate=1e-4, beta=0.08, temperature=0.7, endless=False, attention='eager')  # attention: of TRL's models; on a CPU faster than 'sdpa', transformers' default
SHORT = dict(updates=5)
CONTESTANTS = {  # name: (script, what differs from WORK, how many rounds); endless: nobody may end a response, so all are of 24 tokens
    'TRL 1.12 PPO, bf16': ('trl_ppo', dict(bf16=True), 99),
    'ours, bf16': ('ours', dict(bf16=True), 99),
    'ours, float32': ('ours', dict(bf16=False) | SHORT, 99),
    'TRL 1.12 PPO, bf16, default attention': ('trl_ppo', dict(bf16=True, attention='sdpa') | SHORT, 99),
    'TRL 1.12 PPO, float32': ('trl_ppo', dict(bf16=False) | SHORT, 99),
    'TRL 1.12 PPO, bf16, endless': ('trl_ppo', dict(bf16=True, endless=True) | SHORT, 99),
    'ours, bf16, endless': ('ours', dict(bf16=True, endless=True) | SHORT, 99),
    'TRL 1.16 RLOO, bf16': ('trl_rloo', dict(bf16=True), 2),
}
PAIRS = [('ours, bf16', 'TRL 1.12 PPO, bf16'), ('ours, bf16', 'TRL 1.12 PPO, bf16, default attention'), ('ours, float32', 'TRL 1.12 PPO, float32'), ('ours, bf16, endless', 'TRL 1.12 PPO, bf16, endless'), ('ours, bf16', 'TRL 1.16 RLOO, bf16')]
TARGETS = (0.5, 0.6, 0.65, 0.7, 0.9)  # of the gold reward


def make_workload(folder, device):
    "The main job's fine-tuned model and scaled reward model, and prompts enough for one run."
    run, config = RunConfig(device=device), RLHFConfig(prompt_length=WORK['prompt_length'])
    model, tokenizer = load_model(run.model)
    data = {split: IMDBDataset(tokenizer, split, run.data, config.prompt_length, run.n_train) for split in ('train', 'held_out')}
    folder.mkdir(parents=True, exist_ok=True)
    begin_run(folder, run, config, model, tokenizer, data, find_ratings(run))
    batches = list(islice(prompt_batches(data['train'], config), WORK['updates']))
    save_file({name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}, folder/'prompts.safetensors')
    return tokenizer


def environment(name, python):
    "TRL in an environment of its own."
    folder = HERE.parent/'build'/f'env-{name}'
    if not (folder/'ready').exists():
        subprocess.run([python, '-m', 'venv', folder], check=True)
        subprocess.run([folder/'bin'/'pip', 'install', '--quiet', '-r', HERE/f'requirements-{name}.txt'], check=True)
        (folder/'ready').touch()
    return folder/'bin'/'python'


def run_once(name, pythons, work, settings):
    script, changes, _ = CONTESTANTS[name]
    result = work/'result.safetensors'
    command = [pythons[script], HERE/f'{script}.py', work, result, json.dumps(WORK | changes | settings)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode: sys.exit(f'{name} failed:\n{done.stderr[-3000:]}')
    with safe_open(result, 'pt') as file: return json.loads(file.metadata()['result']), [file.get_tensor(key) for key in sorted(file.keys())]


def judged(responses, tokenizer, judge, endless):
    "The gold reward of each update's responses, up to EOS, and how many tokens each row has: all of them, where nobody may end."
    P, gold, lengths = WORK['prompt_length'], [], []
    for tokens in responses:
        prompts, answers = tokens[:, :P], tokens[:, P:]
        before = (answers == tokenizer.eos_token_id).cumsum(1) - (answers == tokenizer.eos_token_id).long()  # EOS before this token
        answers = [row[on] for row, on in zip(answers, before == 0)]
        gold.append(float(judge(tokenizer.batch_decode(prompts, skip_special_tokens=True), tokenizer.batch_decode(answers, skip_special_tokens=True)).mean()))
        lengths.append([tokens.shape[1] - P if endless else len(answer) for answer in answers])
    return gold, lengths


def flops(result, lengths, prompts, config):
    "What each phase has to compute for these responses, in operations an update: padding, and what is computed twice, do not count."
    s, rows = result['settings'], []
    for each in lengths:
        R = torch.tensor(each)
        forward = forward_flops(config, R + prompts, int(R.sum()))
        rows.append({'generate': forward, 'score': forward + forward_flops(config, R + prompts, 0), 'train': 3*s['epochs']*forward})
    return {phase: statistics.median(row[phase] for row in rows) for phase in rows[0]}


def reached(clock, gold, target):
    "The first moment at which the mean of three updates is at the target."
    means = np.convolve(gold, np.ones(3)/3, 'valid')
    return next((time for time, x in zip(clock[2:], means) if x >= target), None)


def summarise(name, runs):
    "Medians over rounds; the first update of each run warms up, and does not count. Shares are of the peak measured in the same round."
    late = [run['rows'][1:] for run in runs]
    phases = {phase: statistics.median(row[phase] for rows in late for row in rows) for phase in ('seconds', 'generate', 'score', 'train') if phase in late[0][0]}
    work = {phase: statistics.median(run['flops'][phase] for run in runs) for phase in runs[0]['flops']}
    def share(phase): return statistics.median(run['flops'][phase]/statistics.median(row[phase] for row in rows)/run['peak'] for run, rows in zip(runs, late))
    return {'name': name, 'rounds': len(runs), 'updates': runs[0]['settings']['updates'], 'samples_per_second': runs[0]['settings']['batch_size']/phases['seconds'], **phases,
            'share_of_peak': {phase: share(phase) for phase in work if phase in phases}, 'gflop': {phase: x/1e9 for phase, x in work.items()},
            'steps_per_update': runs[0]['steps']/runs[0]['settings']['updates'], 'peak_mib': statistics.median(run['peak_mib'] for run in runs),
            'gold_last_5': [float(np.mean(run['gold'][-5:])) for run in runs], 'score_last_5': [float(np.mean([row['score_mean'] for row in run['rows'][-5:]])) for run in runs],
            'kl_last_5': [float(np.mean([row['kl'] for row in run['rows'][-5:]])) for run in runs] if 'kl' in runs[0]['rows'][0] else [],
            'reached': {str(target): [reached([row['clock'] for row in run['rows']], run['gold'], target) for run in runs] for target in TARGETS},
            'gold': np.mean([run['gold'] for run in runs], 0).round(4).tolist(), 'clock': np.mean([[row['clock'] for row in run['rows']] for run in runs], 0).round(2).tolist(), 'packages': runs[0]['packages']}


def machine(device):
    "What it ran on."
    cpu = next((line.split(':')[1].strip() for line in Path('/proc/cpuinfo').read_text().splitlines() if line.startswith('model name')), '') if Path('/proc/cpuinfo').exists() else platform.processor()
    return {'cpu': cpu, 'threads': torch.get_num_threads(), 'device': torch.cuda.get_device_name() if device == 'cuda' else 'cpu', 'python': platform.python_version(), 'torch': torch.__version__}


def commit():
    "What was measured; results themselves are no change of it."
    def git(*words): return subprocess.run(['git', *words], capture_output=True, text=True, cwd=HERE.parent).stdout.strip()
    return git('describe', '--always') + '-dirty'*bool(git('status', '--porcelain', '--untracked-files=no', '--', '.', ':!nbs/results'))


def options(doc, rounds, name):
    "What phases.py and generation.py can be asked."
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument('--rounds', type=int, default=rounds)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--out', type=Path, default=HERE.parent/'nbs'/'results'/f'{name}.json')
    return parser.parse_args()


def show(results):
    print(f"\n{results['machine']}\nmatmul peak {results['peak']['float32']/1e9:.0f} GFLOP/s float32, {results['peak']['bfloat16']/1e9:.0f} bfloat16; copy {results['bandwidth']/1e9:.0f} GB/s\n")
    print(f"{'':38} samples/s  seconds: generate  score  train   steps  share of the peak: g   s   t   MiB   gold  score    KL   to 0.6")
    for x in results['contestants']:
        share, mean = x['share_of_peak'], lambda values: f'{np.mean(values):6.2f}' if values else '     –'
        times = [t for t in x['reached']['0.6'] if t is not None]
        print(f"{x['name']:38} {x['samples_per_second']:9.1f} {x['generate']:18.2f} {x.get('score', float('nan')):6.2f} {x.get('train', float('nan')):6.2f} {x['steps_per_update']:7.0f}"
              f"{100*share['generate']:21.0f} {100*share.get('score', float('nan')):3.0f} {100*share.get('train', float('nan')):3.0f} {x['peak_mib']:5.0f} {mean(x['gold_last_5'])} {mean(x['score_last_5'])} {mean(x['kl_last_5'])}"
              f"   {f'{np.mean(times):.0f} s' if times else 'never'} ({len(times)} of {x['rounds']})")
    print()
    for pair in results['pairs']: print(f"{pair['a']} against {pair['b']}: {pair['median']:.2f} times its samples a second (pairs: {', '.join(f'{x:.2f}' for x in pair['ratios'])})")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--only', nargs='*', default=list(CONTESTANTS), help='contestants by name')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--python', default=sys.executable, help="makes TRL's environments")
    parser.add_argument('--out', type=Path, default=HERE.parent/'nbs'/'results'/'bench.json')
    args = parser.parse_args()
    if args.device != 'cpu': WORK['attention'] = 'sdpa'
    work = HERE.parent/'build'/'bench'
    pythons = {'ours': sys.executable, 'trl_ppo': environment('ppo', args.python), 'trl_rloo': environment('rloo', args.python)}
    tokenizer, judge = make_workload(work, args.device), Judge(load_reviews())
    with safe_open(work/'prompts.safetensors', 'pt') as file: prompts = file.get_tensor('attention_mask').sum(1).float().mean()
    config, runs, peaks, copies = GPT2Config.from_pretrained(work/'sft'), {name: [] for name in args.only}, {'float32': [], 'bfloat16': []}, []
    for seed in range(args.rounds):
        for dtype in peaks: peaks[dtype].append(matmul_peak(getattr(torch, dtype), args.device))
        copies.append(bandwidth(args.device))
        for name in args.only:
            if seed >= CONTESTANTS[name][2]: continue
            result, responses = run_once(name, pythons, work, {'seed': seed, 'device': args.device})
            result['gold'], lengths = judged(responses, tokenizer, judge, result['settings']['endless'])
            result['flops'], result['peak'] = flops(result, lengths, prompts, config), peaks['bfloat16' if result['settings']['bf16'] else 'float32'][-1]
            runs[name].append(result)
            rate = WORK['batch_size']/statistics.median(row['seconds'] for row in result['rows'][1:])
            print(f'round {seed}: {name:32} {rate:6.1f} samples/s, gold {np.mean(result["gold"][-5:]):.2f}', flush=True)
    def ratio(a, b):  # over the updates that both have done
        n = min(len(a['rows']), len(b['rows']))
        return statistics.median(row['seconds'] for row in b['rows'][1:n])/statistics.median(row['seconds'] for row in a['rows'][1:n])
    pairs = [{'a': a, 'b': b, 'ratios': (ratios := list(map(ratio, runs[a], runs[b]))), 'median': statistics.median(ratios)} for a, b in PAIRS if runs.get(a) and runs.get(b)]
    results = {'commit': commit(), 'machine': machine(args.device), 'work': WORK, 'peak': {dtype: statistics.median(each) for dtype, each in peaks.items()}, 'bandwidth': statistics.median(copies), 'pairs': pairs,
               'contestants': [summarise(name, each) for name, each in runs.items() if each]}
    args.out.write_text(json.dumps(results, indent=1) + '\n')
    show(results)


if __name__ == '__main__': main()
