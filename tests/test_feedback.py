"Lesson 9: a log that survives, labels as comparisons, and what is learnt from them."
import copy
import math

import numpy as np
import pytest
import torch
from tiny import decided_gpt2, prompt_items, tiny_tokenizer
from word_judge import held_out_prompts

from rlhf_nbdev import feedback, reward
from rlhf_nbdev.agent import Agent
from rlhf_nbdev.ppo import RLHFConfig

PAIRS = [
    {'prompt': 'p', 'a': 'x', 'b': 'y'},
    {'prompt': 'q', 'a': 'x', 'b': 'y'},
    {'prompt': 'p', 'a': 'y', 'b': 'x'},  # the first again, the other way round
]
OTHER_PAIRS = [{'prompt': 'r', 'a': '1', 'b': '2'}]


@pytest.fixture
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture
def log(tmp_path):
    return feedback.LabelLog(PAIRS, tmp_path/'new'/'folder'/'log.jsonl', seed=1)


# the log

def test_a_new_log_is_empty_and_holds_each_pair_once(log):
    assert feedback.read_labels(log.path) == ([], 0)
    assert len(log.pairs) == 2
    assert len(log.remaining()) == 2
    with pytest.raises(ValueError, match='no label'):
        log.undo()


def test_an_answer_is_kept_with_what_belongs_to_it(log):
    first, second = log.remaining()
    log.answer(first, 'left', seconds=2)
    assert log.labels() == [first | {'choice': 'left', 'seconds': 2}]
    assert log.remaining() == [second]


def test_an_answer_twice_or_without_meaning_is_refused(log):
    first, second = log.remaining()
    log.answer(first, 'left')
    with pytest.raises(ValueError, match='has its label'):
        log.answer(first, 'right')
    with pytest.raises(ValueError, match="not 'both'"):
        log.answer(second, 'both')


@pytest.fixture
def damaged_log(log):
    "Two answers, four lines that cannot be read: torn, no record, no text, no choice."
    first, second = log.remaining()
    log.answer(first, 'left')
    with open(log.path, 'ab') as file:
        file.write(b'{"torn')
    log.answer(second, 'skip')
    with open(log.path, 'ab') as file:
        file.write(b'3\n')
        file.write(b'{"choice": "left", "prompt": "p", "left": 1, "right": "x"}\n')
        file.write(b'{"choice": "both", "prompt": "p", "left": "y", "right": "x"}\n')
    return log


def test_lines_that_cannot_be_read_are_counted(damaged_log):
    labels, unreadable = feedback.read_labels(damaged_log.path)
    assert [label['choice'] for label in labels] == ['left', 'skip']
    assert unreadable == 4
    assert damaged_log.remaining() == []
    assert b'\n\n' not in damaged_log.path.read_bytes()


def test_undo_takes_back_the_last_answer(damaged_log):
    last = damaged_log.labels()[-1]
    damaged_log.undo()
    assert [label['choice'] for label in damaged_log.labels()] == ['left']
    assert [pair['prompt'] for pair in damaged_log.remaining()] == [last['prompt']]


def test_a_pair_of_another_log_is_refused_as_such(log):
    other, *_ = feedback.LabelLog(OTHER_PAIRS, log.path).remaining()
    with pytest.raises(ValueError, match='is none of this log'):
        log.answer(other, 'left')
    assert feedback.read_labels(log.path) == ([], 0)


def test_what_is_lost_is_said_to_be_no_more_than_a_line(log):
    "An undo with nothing before it is a line that cannot be read, and no label."
    log.path.write_text('{"undo": true}\n')
    assert 'a label in such a line is lost' in feedback.Labeler(log).message.value


def test_an_undo_with_nothing_before_it_is_unreadable(tmp_path):
    (tmp_path/'undone').write_text('{"undo": true}\n')
    assert feedback.read_labels(tmp_path/'undone') == ([], 1)


def test_a_log_may_hold_labels_of_other_pairs(damaged_log):
    q_alone = feedback.LabelLog(PAIRS[1:2], damaged_log.path)
    assert [label['prompt'] for label in q_alone.labels()] == ['q']
    others = feedback.LabelLog(OTHER_PAIRS, damaged_log.path)
    assert others.labels() == []
    with pytest.raises(ValueError, match='no label of these pairs'):
        others.undo()


def test_other_sides_keep_the_same_labels(damaged_log):
    turned = feedback.LabelLog(PAIRS, damaged_log.path, seed=2)
    assert len(turned.labels()) == 2
    assert turned.remaining() == []


def test_labels_of_other_pairs_are_counted_and_stay(damaged_log):
    assert damaged_log.n_elsewhere() == 0
    others = feedback.LabelLog(OTHER_PAIRS, damaged_log.path)
    assert others.n_elsewhere() == 2
    others.answer(others.remaining()[0], 'tie')
    assert (others.n_elsewhere(), damaged_log.n_elsewhere()) == (2, 1)
    assert len(damaged_log.labels()) == 2


@pytest.mark.parametrize('made', [lambda path: feedback.read_labels(path),
                                  lambda path: feedback.LabelLog(PAIRS, path)])
def test_a_folder_is_no_log(made, tmp_path):
    with pytest.raises(IsADirectoryError, match='is a folder: a log of labels is a file'):
        made(tmp_path)


def test_a_file_of_another_make_is_appended_to(tmp_path):
    "Byte order mark, ends of lines of Windows, a torn last line: what stands is never rewritten."
    path = tmp_path/'labels.jsonl'
    theirs = b'\xef\xbb\xbf' + b'\r\n'.join([
        b'{"prompt": "p", "left": "x", "right": "y", "choice": "left"}', b'no', b'{"undo"'])
    path.write_bytes(theirs)
    log = feedback.LabelLog(PAIRS, path)
    pair, = log.remaining()
    log.answer(pair, 'right')
    assert path.read_bytes().startswith(theirs)
    assert [label['choice'] for label in log.labels()] == ['left', 'right']
    assert feedback.read_labels(path)[1] == 2


# the panel

def test_a_panel_looks_at_its_log_when_it_is_shown(log):
    panel = feedback.Labeler(log)
    elsewhere = feedback.LabelLog(PAIRS, log.path)
    for pair in elsewhere.remaining():
        elsewhere.answer(pair, 'tie')
    bundle = panel._repr_mimebundle_()
    assert panel.bar.value == 2 and panel.pair is None
    assert 'application/vnd.jupyter.widget-view+json' in bundle
    assert str(log.path) in bundle['text/plain']
    assert ' of 2' not in bundle['text/plain'], 'a saved notebook would go on saying it'
    assert '2 of 2 pairs are labelled' in repr(panel)


def test_a_panel_says_what_else_its_file_holds(damaged_log):
    panel = feedback.Labeler(feedback.LabelLog(OTHER_PAIRS, damaged_log.path))
    assert 'also holds 2 label(s) of other pairs' in panel.message.value
    assert '4 line(s)' in panel.message.value
    assert 'other pairs' not in feedback.Labeler(damaged_log).message.value


def test_no_pairs_are_refused(tmp_path):
    with pytest.raises(ValueError, match='no pairs'):
        feedback.LabelLog([], tmp_path/'log')


def test_sides_are_drawn_evenly(tmp_path):
    pairs = [{'prompt': str(i), 'a': 'x', 'b': 'y'} for i in range(200)]
    shown = feedback.LabelLog(pairs, tmp_path/'log').pairs.values()
    assert 60 < sum(pair['left'] == 'x' for pair in shown) < 140


# people

def label(choice):
    return {'prompt': 'p', 'left': 'x', 'right': 'y', 'choice': choice}


def test_labels_become_comparisons():
    choices = ['left', 'right', 'tie', 'skip', 'skip']
    rows, left_out = feedback.to_preferences([label(choice) for choice in choices])
    assert rows == [{'prompt': 'p', 'chosen': 'x', 'rejected': 'y'},
                    {'prompt': 'p', 'chosen': 'y', 'rejected': 'x'}]
    assert left_out == {'tie': 1, 'skip': 2}


PAIR = {'left': 'long', 'right': 'no'}


def test_a_simulated_person_has_a_taste():
    steady = feedback.SimulatedLabeler(len, 0.0)
    assert steady(PAIR) == 'left'
    assert steady({'left': 'a', 'right': 'bb'}) == 'right'
    assert steady({'left': 'a', 'right': 'b'}) == 'tie'


@pytest.mark.parametrize('noise, share', [(1.0, 0.5), (0.2, 0.9)])
def test_a_simulated_person_throws_a_coin_now_and_then(noise, share):
    person = feedback.SimulatedLabeler(len, noise)
    left = np.mean([person(PAIR) == 'left' for _ in range(3000)])
    assert left == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize('right, n', [(0, 10), (7, 10), (10, 10), (2.5, 4)])
def test_wilson_by_its_definition(right, n):
    low, high = feedback.wilson(right, n)
    assert 0 <= low <= right/n <= high <= 1
    for end in (low, high):
        distance = 1.96*math.sqrt(end*(1 - end)/n)  # as it would be if the end were the truth
        assert end in (0.0, 1.0) or abs(right/n - end) == pytest.approx(distance)


def test_nothing_is_known_of_nobody():
    assert feedback.wilson(0, 0) == (0, 1)


# pairs

def test_sampled_pairs_differ(tokenizer, tmp_path):
    data = held_out_prompts(tokenizer, tmp_path/'a.csv').dataset
    agent = Agent(decided_gpt2(vocab=len(tokenizer)))
    torch.manual_seed(0)
    config = RLHFConfig(response_length=6)
    pairs = feedback.sample_pairs(agent, data, config, [0, 2, 5])
    openings = [tokenizer.decode(data.prompts[i]) for i in (0, 2, 5)]
    assert [pair['prompt'] for pair in pairs] == openings
    for pair in pairs:
        assert pair['a'] != pair['b'] and pair['a'].strip() and pair['b'].strip()
    assert feedback.sample_pairs(agent, data, config, [0], tries=1) == []


def test_pairs_are_sampled_until_two_differ(tokenizer, tmp_path, monkeypatch):
    data = held_out_prompts(tokenizer, tmp_path/'a.csv').dataset
    agent = Agent(decided_gpt2(vocab=len(tokenizer)))
    scripted = iter([[' .', 'x'], ['a', 'X.'], ['a!', 'y'], ['b']])
    monkeypatch.setattr(feedback, 'response_texts', lambda *_: next(scripted))
    pairs = feedback.sample_pairs(agent, data, RLHFConfig(response_length=2), [0, 1])
    assert [(pair['a'], pair['b']) for pair in pairs] == [('a', 'b'), ('x', 'y')]


def test_the_least_sure_come_first():
    assert feedback.least_sure(torch.tensor([3.0, -0.1, -2.0, 0.5]), 2) == [1, 3]


# learning

def test_fitting_labels_changes_a_copy(tokenizer):
    rows = [{'prompt': 'A', 'chosen': ' good one', 'rejected': ' bad plot'}]*8
    data = feedback.as_preference_dataset(tokenizer, rows)
    assert len(data) == 8
    assert tokenizer.decode(data[0]['chosen'], skip_special_tokens=True) == 'A good one'

    reward_model = reward.RewardModel(decided_gpt2(vocab=len(tokenizer)))
    before = copy.deepcopy(reward_model.state_dict())
    torch.manual_seed(0)
    student = feedback.fit_labels(reward_model, tokenizer, rows, 10, 4, 3e-3)
    for name, x in reward_model.state_dict().items():
        assert torch.equal(x, before[name]), name
    gap_before = reward.score_gaps(reward_model, data).max()
    assert reward.score_gaps(student, data).min() > gap_before + 0.5


def test_nothing_is_learnt_of_nothing():
    reward_model = reward.RewardModel(decided_gpt2())
    student = feedback.fit_labels(reward_model, None, [])
    assert student is not reward_model
    for name, x in reward_model.state_dict().items():
        assert torch.equal(x, student.state_dict()[name]), name


@pytest.fixture
def tuned(monkeypatch):
    "A policy that was frozen, tuned for three updates; what the rewards were scaled on."
    reference = Agent(decided_gpt2())
    agent, reward_model = copy.deepcopy(reference), reward.RewardModel(decided_gpt2(seed=3))
    agent.requires_grad_(False)
    scaled_on = []
    monkeypatch.setattr(feedback, 'scale_rewards', lambda *args: scaled_on.append(args))
    config = RLHFConfig(response_length=3, batch_size=5, minibatches=1, updates=3, epochs=1)
    torch.manual_seed(0)
    rows = feedback.tune_policy(agent, reference, reward_model, prompt_items(), config)
    (model, on, loader, settings), = scaled_on
    assert (model, on, settings) == (reward_model, reference, config)
    return agent, reference, rows, loader


def test_tuning_trains_what_was_frozen(tuned):
    agent, reference, rows, _ = tuned
    assert len(rows) == 3
    before = reference.model.state_dict()
    assert any(not torch.equal(x, before[name]) for name, x in agent.model.state_dict().items())


def test_tuning_shuffles_its_prompts(tuned):
    _, _, _, loader = tuned
    epochs = [[batch['input_ids'].tolist() for batch in loader] for _ in range(2)]
    assert [len(batch) for batch in epochs[0]] == [5, 5]
    assert epochs[0] != epochs[1]
