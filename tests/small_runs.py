"Settings small enough for a test, the files they name, and what a run leaves behind."
import json
import tempfile
from functools import cache
from pathlib import Path

import pytest
from tiny import tiny_gpt2

from rlhf_nbdev.dataset import load_reviews
from rlhf_nbdev.tools.models import load_model

STAGES = tempfile.TemporaryDirectory()  # small steps one and two, found again by the next test
FILES = tempfile.TemporaryDirectory()
REVIEWS = Path(FILES.name)/'reviews.csv'  # 300 short ones: too few for a judge to learn from
MODEL = Path(FILES.name)/'model'  # random, of the embedded one's tokens, in a tenth of its time
EMBEDDED = ['--model', 'embedded']
PACKAGE = ['--data', 'package', '--n_train', '10000']
SMALL = [
    '--updates', '2', '--batch_size', '8', '--response_length', '6', '--epochs', '1',
    '--sft_sentences', '64', '--rated_sentences', '64', '--reward_pairs', '64',
    '--eval_prompts', '16', '--device', 'cpu', '--stages', STAGES.name,
    '--data', str(REVIEWS), '--n_train', '250', '--model', str(MODEL),
]
QUICK = [*SMALL, '--ratings', 'labels']  # which saves reading ten thousand ratings in each run


@cache
def write_files():
    "Once, for all files of tests."
    _, tokenizer = load_model()
    model = tiny_gpt2(vocab=len(tokenizer), width=32, context=256,
                      eos=tokenizer.eos_token_id, pad=tokenizer.pad_token_id)
    for part in (model, tokenizer):
        part.save_pretrained(MODEL)
    reviews = load_reviews()
    short = reviews[reviews.text.str.len() <= 1000]
    short.sample(300, random_state=0).to_csv(REVIEWS, index=False)


@pytest.fixture(scope='module')
def small_files():
    "The reviews and the model that SMALL names."
    write_files()


def metrics(folder):
    "Rows of metrics without the seconds, as far as they are written."
    path = folder/'metrics.jsonl'
    lines = path.read_text().split('\n')[:-1] if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return [{name: x for name, x in row.items() if name != 'seconds'} for row in rows]
