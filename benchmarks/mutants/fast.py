"""Stage one: a fork of this process changes one function and runs the fast tests that call it."""
import gc
import importlib
import os
import sys
from collections import defaultdict
from types import FunctionType

import pytest
from forks import in_forks
from functions import PACKAGE, ROOT, code_of, module_of

FAST = [
    'files', 'packing', 'speed', 'agent', 'models', 'ppo', 'loop', 'checkpoint', 'report',
    'stages', 'sft', 'ratings', 'reward', 'dataset', 'evaluate', 'feedback', 'pretrain', 'study',
    'gradients', 'properties', 'parity', 'parity_methods', 'formulas']

# Whatever costs a second each time is left out.
OPTIONS = ['-q', '--assert=plain', '-p', 'no:cacheprovider', '-p', 'no:unraisableexception',
           '-W', 'ignore']


class Callers:
    """A pytest plugin: which lines of the package each test calls, and how long it takes.

    What is called while a file is read or a fixture is made counts for all tests of the file."""
    def __init__(self):
        self.calls = defaultdict(set)  # of a test or file: pairs of module and line
        self.now = ''  # the test or file that is at work
        self.seconds = defaultdict(float)
        self.failed = []

    def profile(self, frame, event, _):
        "For `sys.setprofile`."
        path = frame.f_code.co_filename
        if event == 'call' and path.startswith(f'{PACKAGE}/'):
            self.calls[self.now].add((module_of(path), frame.f_lineno))

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector):
        self.now = collector.nodeid
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item):
        self.now = file_of(item.nodeid)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        self.now = item.nodeid
        return (yield)

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] += report.duration
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_collectreport(self, report):
        if report.failed:
            self.failed.append(report.nodeid)


def file_of(test):
    return test.split('::')[0]


def run_tests(tests, callers):
    os.chdir(ROOT)
    return pytest.main([*OPTIONS, *tests], [callers])


def baseline(files):
    "The fast tests as they are: what each calls, how long each takes, and what they import."
    callers = Callers()
    sys.setprofile(callers.profile)
    run_tests(files, callers)
    sys.setprofile(None)
    imports = [name for name in sys.modules if not name.startswith(('test_', '_'))]
    return {'failed': callers.failed, 'seconds': callers.seconds, 'imports': imports,
            'calls': {test: sorted(lines) for test, lines in callers.calls.items()}}


def find_baseline():
    "The baseline, made in a fork, and printed in short."
    files = [f'tests/test_{name}.py' for name in FAST]
    _, base = next(in_forks([None], lambda _: baseline(files), lambda _: 900))
    if isinstance(base, str):
        sys.exit(f'the fast tests cannot be run: {base}')
    if base['failed']:
        print('left out, as they fail already:', *base['failed'], flush=True)
    seconds = base['seconds']
    print(f'{len(seconds)} fast tests, {sum(seconds.values()):.0f} seconds', flush=True)
    return base


def import_all(names):
    "So that the forks find imported what their tests import."
    for name in names:
        try:
            importlib.import_module(name)
        except Exception:
            pass  # a name that only its parent can import


def living_functions():
    "Every function object of the package, by name, module and first line."
    found = defaultdict(list)
    for each in gc.get_objects():
        if isinstance(each, FunctionType):
            code = each.__code__
            if code.co_filename.startswith(f'{PACKAGE}/'):
                place = code.co_name, module_of(code.co_filename), code.co_firstlineno
                found[place].append(each)
    return found


def calls_it(lines, function):
    "Whether a call of a function, or of one within it, is among these."
    inside = range(function.first_line, function.last_line + 1)
    return any(module == function.module and line in inside for module, line in lines)


def tests_of(function, base):
    "The fast tests that call a function, the fastest first."
    callers = {name for name, lines in base['calls'].items() if calls_it(lines, function)}
    concerned = [test for test in base['seconds']
                 if test not in base['failed'] and {test, file_of(test)} & callers]
    return sorted(concerned, key=base['seconds'].get)


def noticed_by(mutant, tests, living):
    "In a fork: the first test that fails once the function is changed, or ''."
    function = mutant.function
    code = code_of(function, mutant.new)
    try:
        for each in living[function.node.name, function.module, function.first_line]:
            each.__code__ = code
    except ValueError:
        return ''  # a method that lost its `super` cannot be changed in place: left to the lesson
    callers = Callers()
    failed = run_tests(['-x', *tests], callers)
    return (callers.failed or ['pytest stopped'])[0] if failed else ''


def run_fast_tests(mutants, workers):
    "Mark the mutants that a fast test notices."
    base = find_baseline()
    import_all(base['imports'])
    living = living_functions()
    tests = {mutant.name: tests_of(mutant.function, base) for mutant in mutants}

    def work(mutant):
        return noticed_by(mutant, tests[mutant.name], living)

    def limit(mutant):
        return 20 + 4*sum(base['seconds'][test] for test in tests[mutant.name])

    gc.collect()
    gc.freeze()  # the forks need not look through what this process made
    tested = [mutant for mutant in mutants if tests[mutant.name]]
    for k, (mutant, noticed) in enumerate(in_forks(tested, work, limit, workers), 1):
        mutant.noticed = noticed.replace('tests/', '')
        mutant.stage = 'test' if noticed else ''
        print(f'{k:4} {mutant.show()}', flush=True)
