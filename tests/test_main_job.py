"""The main job with its default settings, as `make train` runs it.

The three steps and what they promise, with room for other processors' rounding."""
import json
import subprocess
import sys
from pathlib import Path

import pytest
from what_a_run_leaves import hold_what_is_left

from rlhf_nbdev.tools.ratings import ratings_path

needs_ratings = pytest.mark.skipif(
    not ratings_path().is_file(), reason='the human ratings could not be fetched')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs')/'default'
    command = [Path(sys.executable).parent/'rlhf-train', '--device', 'cpu', '--out', folder]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    print(result.stdout)
    return folder


@pytest.fixture(scope='module')
def summary(folder):
    return json.loads((folder/'summary.json').read_text())


def test_it_leaves_every_file_and_its_models_come_back(folder):
    hold_what_is_left(folder, updates=30, prompts=256)
    assert (folder/'curves.png').stat().st_size > 10_000, 'no curves were drawn'


def test_step_one_learns_to_answer_and_stop(summary):
    assert summary['sft']['loss_after'] < summary['sft']['loss_before'] - 0.1
    assert summary['ended_sft'] >= 0.95 > summary['ended_base']


@needs_ratings
def test_step_two_ranks_like_people(summary):
    assert summary['reward']['source'] == 'people'
    assert summary['reward']['accuracy'] >= 0.72
    assert summary['reward']['accuracy_clear'] >= 0.81


@needs_ratings
def test_step_three_pleases_an_independent_judge_and_stays_near(summary):
    assert 0.35 < summary['praise_sft'] < 0.65
    assert summary['praise_ppo'] >= 0.75 and summary['fluency_ppo'] >= 0.75
    assert summary['gold_ppo_interval'][0] > summary['gold_sft_interval'][1]
    assert summary['win_rate_ppo_sft_interval'][0] > 0.7
    assert 1 < summary['kl_ppo'] <= 18 and abs(summary['kl_sft']) < 0.01
    assert summary['distinct_bigrams_ppo'] >= 0.6*summary['distinct_bigrams_sft']
    assert summary['ended_ppo'] >= 0.95 and summary['words_ppo'] > 4
