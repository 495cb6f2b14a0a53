"Settings small enough for a test, the reviews they read, and what a run leaves behind."
import json
import tempfile
from pathlib import Path

import pytest

from rlhf_nbdev.dataset import load_reviews

STAGES = tempfile.TemporaryDirectory()  # small steps one and two, found again by the next test
REVIEWS = Path(f'{STAGES.name}.csv')  # 600 short ones: too few for a judge to learn from
PACKAGE = ['--data', 'package', '--n_train', '10000']
SMALL = [
    '--updates', '2', '--batch_size', '8', '--response_length', '6', '--epochs', '1',
    '--sft_sentences', '64', '--rated_sentences', '64', '--reward_pairs', '64',
    '--eval_prompts', '16', '--device', 'cpu', '--stages', STAGES.name,
    '--data', str(REVIEWS), '--n_train', '500',
]


@pytest.fixture(scope='module')
def few_reviews():
    "The file that SMALL names."
    reviews = load_reviews()
    short = reviews[reviews.text.str.len() <= 1000]
    short.sample(600, random_state=0).to_csv(REVIEWS, index=False)
    yield
    REVIEWS.unlink()


def metrics(folder):
    "Rows of metrics without the seconds, as far as they are written."
    path = folder/'metrics.jsonl'
    lines = path.read_text().split('\n')[:-1] if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return [{name: x for name, x in row.items() if name != 'seconds'} for row in rows]
