"The model that ships: its size, its form, and how well it predicts reviews that it has not read."
import json
from pathlib import Path

import pytest

from rlhf_nbdev.dataset import load_reviews, split_reviews
from rlhf_nbdev.run.pretrain import bits_per_char, pretraining_texts
from rlhf_nbdev.tools.models import load_model

FOLDER = Path(__file__).resolve().parent.parent/'rlhf_nbdev'/'embedded'


def test_ships_small_and_without_pickle():
    files = [path for path in FOLDER.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 23e6  # a model, LoRA twice, records
    assert {path.suffix for path in files} <= {'.safetensors', '.json', '.jsonl', '.md'}
    assert (FOLDER/'README.md').exists()


@pytest.mark.parametrize('every', [90, pytest.param(6, marks=pytest.mark.sweep)])
def test_bits_per_character_on_held_out_reviews(every):
    model, tokenizer = load_model()
    held_out = split_reviews(load_reviews())[1].text.tolist()
    assert len(held_out) == 2867
    assert bits_per_char(model, tokenizer, held_out[::every]) < 1.68


def test_held_out_reviews_are_not_pretrained_on():
    texts, held_out = pretraining_texts()
    assert not set(texts) & set(held_out)
    assert len(texts) == 22_050


def test_card_gives_the_measured_figures():
    figures = json.loads((FOLDER/'figures.json').read_text())
    card = (FOLDER/'README.md').read_text()
    assert f"{figures['held_out_bits_per_char']:.3f}" in card
    assert f"{figures['steps']:,}" in card
