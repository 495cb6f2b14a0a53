"""Answers to the exercises: the wrong ones are told what is wrong, no right one is refused.

They stand in `tests/answers`, one file a lesson, written by readers who had not seen the checks."""
import collections
import copy
import dataclasses
import functools
import hashlib
import importlib
import importlib.util
import itertools
import math
import random
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from lesson_cells import code_cells

from rlhf_nbdev.tools.exercises import Check, Question

FILES = sorted((Path(__file__).parent/'answers').glob('*.py'))
LESSONS = ['dataset', 'agent', 'sft', 'reward', 'advantage', 'ppo', 'train', 'evaluate', 'feedback',
           'debugging', 'beyond', 'dialog', 'scale', 'turns']
BESIDE = ['tools.packing', 'tools.speed', 'tools.files', 'run.checkpoint', 'run.study',
          'run.pretrain']  # pages with exercises of their own, whose checks are the appendix
SHARE_CAUGHT = 0.9  # of the wrong answers, told what is wrong


def lesson_names(lesson):
    "What a reader of this lesson has at hand."
    names = {'torch': torch, 'F': F, 'nn': torch.nn, 'np': np, 'pd': pd,
             'Counter': collections.Counter, 'combinations': itertools.combinations,
             'product': itertools.product, 'replace': dataclasses.replace,
             'DataLoader': torch.utils.data.DataLoader}
    for module in (collections, copy, functools, hashlib, itertools, math, random, re):
        names[module.__name__] = module
    read = LESSONS + BESIDE if lesson == 'appendix' else LESSONS[:LESSONS.index(lesson) + 1]
    for module in read:
        exported = importlib.import_module(f'rlhf_nbdev.{module}')
        names |= {name: getattr(exported, name) for name in exported.__all__}
    return names


def answers():
    "Each answer: lesson, kind, name of the check, words, code."
    for path in FILES:
        blocks = re.split(r'^# %% ', path.read_text(encoding='utf-8'), flags=re.M)[1:]
        for block in blocks:
            first, code = block.split('\n', 1)
            kind, check, words = re.fullmatch(r'(wrong|right) (\w+)(?:: (.+))?', first).groups()
            yield path.stem, kind, check, words, code


def checks(lesson):
    "The checks of a lesson, by name."
    module = importlib.import_module(f'rlhf_nbdev.exercises.{lesson}')
    return {name: value for name, value in vars(module).items()
            if isinstance(value, (Check, Question))}


def last_defined(lesson, check, code):
    "The last thing that an answer's code defines."
    names = lesson_names(lesson)
    before = dict(names)
    exec(compile(code, f'<answer to {check}>', 'exec'), names)
    defined = [name for name in names if names[name] is not before.get(name) and name[:2] != '__']
    return names[defined[-1]]


def verdict(lesson, check, code):
    "What a check says of the last thing that an answer's code defines."
    answer = last_defined(lesson, check, code)
    values = answer if isinstance(answer, tuple) else (answer,)
    return checks(lesson)[check].verdict(*values)


ANSWERS = list(answers())
RIGHT = [answer for answer in ANSWERS if answer[1] == 'right']
WRONG = [answer for answer in ANSWERS if answer[1] == 'wrong']


def sampled(answers):
    "One in four for `make test`, the others for `make sweeps`; each named after its check."
    for i, (lesson, kind, check, words, code) in enumerate(answers):
        yield pytest.param(lesson, check, code, id=f'{lesson}-{check}-{i}',
                           marks=[pytest.mark.sweep] if i % 4 else [])


@pytest.mark.parametrize('lesson, check, code', sampled(RIGHT))
def test_a_right_answer_is_not_refused(lesson, check, code):
    assert verdict(lesson, check, code) is None


def every_check():
    return [(path.stem, name, check) for path in FILES for name, check in checks(path.stem).items()]


@pytest.mark.parametrize('lesson, name, check', every_check(), ids=lambda value: str(value)[:40])
def test_each_check_is_tried_and_knows_its_stub(lesson, name, check):
    of_this_check = [answer[1] for answer in ANSWERS if answer[0] == lesson and answer[2] == name]
    assert of_this_check.count('wrong') >= 8 and of_this_check.count('right') >= 3
    assert check.success
    if isinstance(check, Check):
        assert check.verdict(...) == 'there is no function yet'
        assert check.verdict(lambda *arguments: None) == 'nothing is returned yet'
    else:
        assert 'dots' in check.verdict(...)


@pytest.mark.parametrize('every', [12, pytest.param(1, marks=pytest.mark.sweep)])
def test_wrong_answers_are_caught_and_told_what_is_wrong(every):
    tried = WRONG[::every]
    assert len(tried)*every >= 1000
    missed, untold = [], []
    for lesson, _, check, words, code in tried:
        said = verdict(lesson, check, code)
        if said is None:
            missed.append((check, words, code))
        elif words.lower() not in said.lower():
            untold.append((check, words, said))
    share = 1 - len(missed + untold)/len(tried)
    assert share >= SHARE_CAUGHT, f'{share:.0%}; passed: {missed}; not named: {untold}'


def test_whatever_a_packed_row_is_made_of_the_next_cell_of_the_lesson_runs():
    following, = [source for _, source in code_cells('03_sft.ipynb') if ' = packed_' in source]
    lines = [line for line in following.splitlines() if line.startswith(('packed_pos', 'bias'))]
    tools = vars(importlib.import_module('rlhf_nbdev.exercises.sft'))
    for lesson, _, check, _, code in RIGHT:
        if check == 'check_packed_row':
            answer = last_defined(lesson, check, code)
            names = {**tools, 'text_lengths': [2, 3], 'my_packed_row': answer}
            exec('\n'.join(lines), names)
            assert names['bias'].shape == (5, 5)
            torch.nn.Embedding(5, 1)(names['packed_positions'])
