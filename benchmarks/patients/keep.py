"""Make the file that lesson 10 ships of the runs that record.py made.

python benchmarks/patients/keep.py SHIPPED.jsonl RUNS.jsonl [RUNS.jsonl …]

Metrics with four digits, a few of the 64 answers (twenty of the patients of lesson 10's exercise),
and figures of all 64. The gold before PPO is that of the run whose learning rate is a
hundredth, where there is one with the same models."""
import argparse
import json
from pathlib import Path

import numpy as np
from illnesses import CAUSES, WHAT

from rlhf_nbdev.exercises.debugging import PATIENTS
from rlhf_nbdev.run.judge import packaged_judge


def four_digits(x):
    return float(f'{x:.4g}')


def figures_of(answers, judge):
    "Means over the answers, as a run's summary.json has them, and how many are different."
    if not answers:
        return {}
    prompts = [answer['prompt'] for answer in answers]
    responses = [answer['response'] for answer in answers]
    figures = {'gold_ppo': float(np.mean(judge(prompts, responses)))}
    for name in ('score', 'kl', 'tokens', 'ended'):
        figures[name] = float(np.mean([answer[name] for answer in answers]))
    figures['different'] = len(set(responses))/len(responses)
    return {name: four_digits(x) for name, x in figures.items()}


def kept(run, judge):
    columns = [name for name in run['rows'][0]] if run['rows'] else []
    is_asked_about = (run['illness'], run['context'], run['seed']) in PATIENTS.values()
    n_samples = 20 if is_asked_about else 6
    figures = figures_of(run['answers'], judge) | {'reward_accuracy': run['reward_accuracy']}
    return {
        'illness': run['illness'], 'what': WHAT[run['illness']],
        'cause': CAUSES.get(run['illness'], ''), 'context': run['context'], 'seed': run['seed'],
        'settings': run['settings'], 'stopped': run['stopped'],
        'columns': ['ppo/first_kl' if name == 'first_kl' else name for name in columns],
        'rows': [[four_digits(row[name]) for name in columns] for row in run['rows']],
        'figures': figures,
        'samples': [[answer['prompt'], answer['response']]
                    for answer in run['answers'][:n_samples]],
        'made with': run['made with'],
    }


def models_of(run):
    "Which models a run began with."
    return run['context'] if run['context'] in ('other models', 'two layers') else 'usual'


def add_gold_before(lines):
    before = {}
    for run in lines:
        if run['illness'] == 'learning rate / 100' and run['context'] != 'default':
            before[models_of(run)] = run['figures']['gold_ppo']
    for run in lines:
        if models_of(run) in before:
            run['figures']['gold_sft'] = before[models_of(run)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path)
    parser.add_argument('runs', type=Path, nargs='+')
    options = parser.parse_args()
    judge, lines = packaged_judge(), {}
    for path in options.runs:
        for text in path.read_text(encoding='utf-8').splitlines():
            run = json.loads(text)
            if 'failed' not in run and run['rows']:
                lines[run['illness'], run['context'], run['seed']] = kept(run, judge)
    add_gold_before(lines.values())
    text = ''.join(json.dumps(line, ensure_ascii=False) + '\n' for line in lines.values())
    options.out.write_text(text, encoding='utf-8')
    print(f'{len(lines)} runs, {len(text.encode())/1e6:.2f} MB')


if __name__ == '__main__':
    main()
