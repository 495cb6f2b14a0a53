"What a run says of itself: figures, samples, who won."
import pandas as pd
import pytest

from rlhf_nbdev.run import report


@pytest.mark.parametrize('interval, text', [
    ([1.40, 1.60], '1.50 (1.40 to 1.60)'),
    ([-0.30, 0.20], '1.50 (-0.30 to 0.20)'),
    ([1.490, 1.500], '1.50 (1.49 to 1.50)'),
    ([1.498, 1.502], '1.50'),
])
def test_an_interval_is_shown_where_two_digits_can(interval, text):
    assert report.figure_text({'kl_ppo': 1.5, 'kl_ppo_interval': interval}, 'kl_ppo') == text


def test_a_figure_without_an_interval_has_no_minus_before_a_zero():
    assert report.figure_text({'kl_ppo': -0.001}, 'kl_ppo') == '0.00'


def test_samples_stand_side_by_side():
    base = pd.DataFrame({'prompt': ['p'], 'response': ['a'], 'score': [0.123456]})
    judged = base.assign(response='b', gold=0.98766)
    wide = report.side_by_side({'base': base, 'ppo': judged})
    assert wide.to_dict('records') == [{
        'prompt': 'p', 'base': 'a', 'score_base': 0.1235,
        'ppo': 'b', 'score_ppo': 0.1235, 'gold_ppo': 0.9877}]


def test_the_samples_that_changed_most_come_first():
    table = pd.DataFrame({'score_sft': [1, 1, -1, 0], 'score_ppo': [1, -1, 3, 0]})
    assert report.most_changed(table, 3).index.tolist() == [2, 1, 0]


def test_samples_that_changed_alike_stay_in_their_order():
    table = pd.DataFrame({'score_sft': [0]*100, 'score_ppo': [1, 0]*50})
    changed = report.most_changed(table, 100)
    assert changed.index.tolist() == [*range(0, 100, 2), *range(1, 100, 2)]
