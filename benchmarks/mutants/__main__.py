"""Break every function of the package in turn, and see who notices (Linux).

`make mutants ARGS="--only ppo tools --limit 2"`, or this folder given to Python. First the fast
tests, then, for what survived them, the notebooks. What survives both is listed with a key:
`--explain KEY` prints the entry that calls it equivalent, for equivalent.json, once its reason is
filled in."""
import os
import sys

# before the imports that read them
os.environ |= {
    'OMP_NUM_THREADS': '1', 'TOKENIZERS_PARALLELISM': 'false', 'TQDM_DISABLE': '1',
    'MPLBACKEND': 'agg', 'HF_HUB_OFFLINE': '1'}

import argparse
import importlib
import json
import warnings
from pathlib import Path

import torch
from classic import classic_mutants
from equivalent import as_entry, find_meant, key_of, read_entries, with_keys
from fast import run_fast_tests
from functions import ROOT, all_modules, functions_of, is_left_out, left_out
from lessons import run_lessons
from mutants import mutants_of


def read_arguments():
    parser = argparse.ArgumentParser(
        prog='mutants', description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('--only', nargs='+', metavar='MODULE',
                        help='modules or floors, such as ppo tools.packing run; by default all')
    parser.add_argument('--limit', type=int, default=6, help='mutants of each function')
    parser.add_argument('--classic', action='store_true',
                        help='only the classic bugs; exit status 1 if one is not noticed')
    parser.add_argument('--again', type=Path, metavar='RESULT',
                        help='only what nobody noticed in this earlier result')
    parser.add_argument('--no-lessons', action='store_true', help='the fast tests only')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--out', type=Path, metavar='RESULT',
                        help='JSON lines: function, operator, difference, key, noticed')
    parser.add_argument('--explain', nargs='+', metavar='KEY',
                        help='print the entries of mutants with these keys, and run nothing')
    return parser.parse_args()


def chosen_modules(only):
    "The modules asked for; the name of a floor stands for all in it."
    modules = all_modules()
    unknown = set(only or []) - {*modules, *(module.split('.')[0] for module in modules)}
    if unknown:
        sys.exit(f"no such module: {', '.join(sorted(unknown))}; there are {', '.join(modules)}")
    return [m for m in modules if not only or m in only or m.split('.')[0] in only]


def check_left_out(functions):
    "Say which patterns fit no function any more."
    for pattern in left_out():
        if not any(is_left_out(function.name, [pattern]) for function in functions):
            print(f'left_out.json: no function is called {pattern}')


def generated_mutants(functions, limit, equivalent):
    "The mutants of all functions that are not left out, without those that are equivalent."
    patterns = left_out()
    for function in functions:
        if not is_left_out(function.name, patterns):
            for mutant in mutants_of(function, limit):
                if (mutant.name, mutant.difference) not in equivalent:
                    yield mutant


def find_mutants(args, modules, functions):
    "All that is to be noticed."
    chosen = [function for function in functions if function.module in modules]
    mutants = list(classic_mutants(chosen))
    if not args.classic:
        check_left_out(functions)
        equivalent = find_meant(read_entries(), functions)
        mutants += generated_mutants(chosen, args.limit, equivalent)
    if args.again:
        rows = [json.loads(line) for line in args.again.read_text(encoding='utf-8').splitlines()]
        alive = {(row['function'], row['difference']) for row in rows if not row['noticed']}
        mutants = [m for m in mutants if (m.name, m.difference) in alive]
    return mutants


def explain(keys, functions):
    for mutants in with_keys(keys, functions).values():
        for mutant in mutants:
            print(as_entry(mutant))


def write_results(path, mutants):
    with open(path, 'w', encoding='utf-8') as file:
        for mutant in mutants:
            row = {'function': mutant.name, 'operator': mutant.operator,
                   'difference': mutant.difference, 'key': key_of(mutant),
                   'noticed': mutant.noticed}
            file.write(json.dumps(row, ensure_ascii=False) + '\n')


def print_row(name, mutants):
    functions = len({mutant.name for mutant in mutants})
    by_test = sum(mutant.stage == 'test' for mutant in mutants)
    by_lesson = sum(mutant.stage == 'lesson' for mutant in mutants)
    noticed = by_test + by_lesson
    cells = [name, functions, len(mutants), by_test, by_lesson, len(mutants) - noticed,
             f'{noticed/max(1, len(mutants)):.0%}']
    print('|', ' | '.join(str(cell) for cell in cells), '|')


def print_summary(mutants):
    "A row for each module and one for all; then what nobody noticed, with its key."
    print('\n| module | functions | mutants | by a fast test | by the notebook | by nobody '
          '| noticed |\n|:--|--:|--:|--:|--:|--:|--:|')
    for module in dict.fromkeys(mutant.function.module for mutant in mutants):
        print_row(module, [m for m in mutants if m.function.module == module])
    print_row('all', mutants)
    for mutant in mutants:
        if not mutant.noticed:
            print(f'by nobody: {key_of(mutant)} {mutant.name}: {mutant.difference}')


def main():
    args = read_arguments()
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    sys.path[:0] = [str(ROOT), str(ROOT/'tests')]
    modules = chosen_modules(args.only)
    functions = [function for module in all_modules() for function in functions_of(module)]
    if args.explain:
        explain(args.explain, functions)
        return
    mutants = find_mutants(args, modules, functions)
    for module in modules:
        importlib.import_module(f'rlhf_nbdev.{module}')
    print(f'{len(mutants)} mutants of {len({m.name for m in mutants})} functions', flush=True)
    run_fast_tests(mutants, args.workers)
    if not args.no_lessons:
        run_lessons(mutants, args.workers)
    if args.out:
        write_results(args.out, mutants)
    print_summary(mutants)
    if args.classic and not all(mutant.noticed for mutant in mutants):
        sys.exit(1)


if __name__ == '__main__':
    main()
