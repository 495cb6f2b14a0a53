"The recipe of the embedded model, on a model of a few thousand weights."
import copy
import json
import math
from itertools import islice

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import TEXTS, tiny_tokenizer
from tokenizers.processors import TemplateProcessing

from rlhf_nbdev import dataset
from rlhf_nbdev.run import pretrain
from rlhf_nbdev.tools.models import load_model


@pytest.fixture
def tokenizer():
    return tiny_tokenizer()


def test_every_review_is_read_once_but_none_that_is_held_out(monkeypatch):
    texts = [f'Film {i}.<br />Seen.' for i in range(12_000)] + ['Film 3. Seen.', 'long '*300]
    reviews = pd.DataFrame({'text': texts, 'label': 0})
    monkeypatch.setattr(pretrain, 'load_reviews', lambda source: reviews)
    train, held_out = pretrain.pretraining_texts()
    assert held_out == dataset.split_reviews(reviews)[1].text.tolist()
    assert len(train) == len(set(train))
    assert not set(train) & set(held_out)
    assert set(train) | set(held_out) == set(map(dataset.clean_text, texts))
    assert dataset.clean_text('long '*300) in train


# tokenizer and model

@pytest.mark.parametrize('text', [
    *TEXTS[:4], 'é 漢 \t x', ' two  spaces .', "do n't , I 'm here ! ?"])
def test_the_tokenizer_gives_back_any_text(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)['input_ids']) == text


def test_the_tokenizer_has_its_special_tokens_and_pads_on_the_left(tokenizer):
    assert len(tokenizer) == 300
    assert tokenizer.eos_token == tokenizer.bos_token == '<|endoftext|>'
    assert tokenizer.pad_token == '<|pad|>'
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 1)
    batch = tokenizer(['a', 'a film'], padding=True)
    assert batch['attention_mask'][0][0] == 0


def test_the_model_is_of_the_sizes_asked_for_and_has_no_dropout(tokenizer):
    model = pretrain.build_model(tokenizer, width=16, layers=2, heads=2, context=24)
    config = model.config
    assert (config.vocab_size, config.n_embd, config.n_layer) == (300, 16, 2)
    assert (config.n_head, config.n_positions) == (2, 24)
    assert (config.eos_token_id, config.bos_token_id, config.pad_token_id) == (0, 0, 1)
    assert not any(m.p for m in model.modules() if isinstance(m, torch.nn.Dropout))


# windows and batches

REVIEWS = [np.arange(k*100, k*100 + 7 + k) for k in range(9)]  # 99 tokens


def windows_of(seed):
    return pretrain.epoch_windows(REVIEWS, 5, np.random.default_rng(seed)).tolist()


def test_windows_hold_every_token_at_most_once():
    windows = windows_of(0)
    assert np.shape(windows) == (19, 5)
    assert len(set(sum(windows, []))) == 95
    assert sorted(windows) != sorted(windows_of(1)), 'every epoch is cut alike'


def test_a_review_is_followed_by_the_beginning_of_another():
    for window in windows_of(0):
        for a, b in zip(window, window[1:]):
            assert b == a + 1 or b % 100 == 0


def batches_from(start, n, seed=0):
    batches = pretrain.training_batches(REVIEWS, 5, 4, start, seed)
    return [(step, x.tolist()) for step, x in islice(batches, n)]


def test_a_batch_depends_on_seed_and_step_alone():
    whole = batches_from(0, 10)
    assert [step for step, _ in whole] == list(range(10))
    assert batches_from(3, 7) == whole[3:]
    assert batches_from(6, 4) == whole[6:]
    assert batches_from(0, 3, seed=1) != whole[:3]


def test_an_epoch_is_as_many_whole_batches_as_its_windows_fill():
    whole = batches_from(0, 8)  # 19 windows: four batches of four an epoch
    first = {tuple(window) for _, batch in whole[:4] for window in batch}
    second = {tuple(window) for _, batch in whole[4:] for window in batch}
    assert len(first) == len(second) == 16
    assert first != second


# bits per character

def nats_by_hand(model, tokenizer, text):
    "Every token from the 8 to 16 tokens before it: windows of 16 move on by 8."
    ids = [0] + tokenizer(text)['input_ids'] + [0]
    total = 0.0
    for t in range(1, len(ids)):
        start = 0 if t < 16 else 16 + 8*((t - 16)//8) - 8
        logits = model(torch.tensor([ids[start:t]])).logits[0, -1]
        total -= logits.log_softmax(-1)[ids[t]].item()
    return total


def test_bits_count_every_token_once_with_half_a_context_before_it(tokenizer, monkeypatch):
    no_rounding = torch.amp.autocast_mode.autocast('cpu', enabled=False)
    monkeypatch.setattr(torch, 'autocast', lambda *args, **kwargs: no_rounding)
    model = pretrain.build_model(tokenizer, 16, 1, 2, 16).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 2:
                p.mul_(12)
        model.transformer.wpe.weight.zero_()  # a window counts its own positions
    texts = ['A small film.', TEXTS[2]*3, 'A']
    nats = sum(nats_by_hand(model, tokenizer, text) for text in texts)
    by_hand = nats/math.log(2)/sum(map(len, texts))
    for batch_size in (1, 32):
        bits = pretrain.bits_per_char(model, tokenizer, texts, batch_size)
        assert bits == pytest.approx(by_hand, rel=1e-4)

    begins = copy.deepcopy(tokenizer)
    begins.backend_tokenizer.post_processor = TemplateProcessing(
        single='<|endoftext|> $A', special_tokens=[('<|endoftext|>', 0)])
    assert pretrain.bits_per_char(model, begins, texts) == pytest.approx(by_hand, rel=1e-4)


# learning

def test_matrices_of_the_blocks_go_to_muon_and_all_else_to_adamw(tokenizer):
    model = pretrain.build_model(tokenizer, 16, 2, 2, 24)
    muon, adamw = pretrain.build_optimizers(model, 0.02, 4e-3)
    of_muon, of_adamw = (
        {id(p) for group in optimizer.param_groups for p in group['params']}
        for optimizer in (muon, adamw))
    matrices = {id(p) for name, p in model.named_parameters()
                if name.startswith('transformer.h.') and p.ndim == 2}
    assert of_muon == matrices
    assert not of_muon & of_adamw
    assert of_muon | of_adamw == set(map(id, model.parameters()))


def test_optimizers_begin_at_their_rates(tokenizer):
    model = pretrain.build_model(tokenizer, 16, 2, 2, 24)
    muon, adamw = (optimizer.param_groups[0]
                   for optimizer in pretrain.build_optimizers(model, 0.02, 4e-3))
    assert (muon['lr'], muon['initial_lr'], muon['weight_decay']) == (0.02, 0.02, 0.01)
    assert (adamw['lr'], adamw['initial_lr'], adamw['weight_decay']) == (4e-3, 4e-3, 0.0)
    assert adamw['betas'] == (0.9, 0.95)


def test_the_schedule_warms_up_holds_and_cools_down():
    factors = [pretrain.schedule(step, 1000) for step in (0, 49, 99, 300, 600, 800, 999)]
    assert factors == pytest.approx([0.01, 0.5, 1, 1, 1, 0.5, 0.0025])
    factors = [pretrain.schedule(step, 10, 2, 0.5) for step in (0, 1, 5, 9)]
    assert factors == pytest.approx([0.5, 1, 1, 0.2])


@pytest.fixture
def sharp_model(tokenizer):
    "A model with gradients long enough to be clipped, its optimizers, and a batch."
    torch.manual_seed(0)
    model = pretrain.build_model(tokenizer, 16, 2, 2, 24)
    with torch.no_grad():
        model.transformer.ln_f.weight.mul_(9)
    return model, pretrain.build_optimizers(model), torch.randint(300, (4, 12))


def test_steps_learn_at_the_rate_they_are_given(sharp_model):
    model, optimizers, x = sharp_model
    with torch.no_grad():
        logprobs = model(x).logits[:, :-1].log_softmax(-1)
    by_hand = -logprobs.gather(-1, x[:, 1:, None]).mean().item()
    losses = [pretrain.pretrain_step(model, optimizers, x, 0.5) for _ in range(20)]
    assert losses[0] == pytest.approx(by_hand, rel=0.01)
    assert losses[-1] < losses[0] - 0.5
    assert [optimizer.param_groups[0]['lr'] for optimizer in optimizers] == [0.005, 0.0015]
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_a_rate_of_nothing_changes_nothing(sharp_model):
    model, optimizers, x = sharp_model
    pretrain.pretrain_step(model, optimizers, x, 0.5)
    before = copy.deepcopy(model.state_dict())
    pretrain.pretrain_step(model, optimizers, x, 0.0)
    for name, weights in model.state_dict().items():
        assert torch.equal(weights, before[name]), name


def test_gradients_are_clipped(sharp_model):
    model, optimizers, x = sharp_model
    norms, step = [], optimizers[0].step

    def watched_step():
        gradients = [p.grad for p in model.parameters()]
        norms.append(torch.nn.utils.get_total_norm(gradients).item())
        step()

    optimizers[0].step = watched_step
    for _ in range(5):
        pretrain.pretrain_step(model, optimizers, x, 0.5)
    assert max(norms) == pytest.approx(1, abs=1e-3)


def test_a_loss_that_is_not_finite_stops_it(sharp_model):
    model, optimizers, x = sharp_model
    with torch.no_grad():
        model.transformer.ln_f.bias.fill_(math.nan)
    with pytest.raises(FloatingPointError):
        pretrain.pretrain_step(model, optimizers, x, 1.0)


# taken up again

SIZES = dict(width=16, layers=1, heads=2, context=16)


@pytest.fixture
def small_pretraining(monkeypatch):
    "Pretrain for eight steps in a folder, cut off after so many; figures and learning rates."
    step = pretrain.pretrain_step
    train_tokenizer = pretrain.train_tokenizer
    monkeypatch.setattr(pretrain, 'train_tokenizer', lambda texts: train_tokenizer(texts, 290))

    def run(folder, cut_after=None):
        factors = []

        def watched_step(model, optimizers, x, factor):
            if len(factors) == cut_after:
                raise KeyboardInterrupt
            factors.append(factor)
            return step(model, optimizers, x, factor)

        monkeypatch.setattr(pretrain, 'pretrain_step', watched_step)
        try:
            figures = pretrain.pretrain(folder, TEXTS, TEXTS[:2], 8, 2, save_every=3, **SIZES)
        except KeyboardInterrupt:
            figures = None
        return figures, factors

    return run


def test_a_pretraining_that_is_cut_off_goes_on_as_if_it_had_not_been(small_pretraining, tmp_path):
    whole, factors = small_pretraining(tmp_path/'whole')
    assert factors == pytest.approx([pretrain.schedule(step, 8) for step in range(8)])
    _, first = small_pretraining(tmp_path/'cut', cut_after=5)
    again, second = small_pretraining(tmp_path/'cut')
    assert (len(first), len(second)) == (5, 5), 'three of the first five were saved'
    assert again == whole
    weights = [(tmp_path/name/'model'/'model.safetensors').read_bytes()
               for name in ('whole', 'cut')]
    assert weights[0] == weights[1]
    rows = [json.loads(line) for line in open(tmp_path/'cut'/'pretrain.jsonl')]
    assert [row['step'] for row in rows] == [0, 1, 2, 3, 4, 3, 4, 5, 6, 7]
    assert rows[3:5] == rows[5:7]


def test_a_pretraining_leaves_a_model_and_its_figures(small_pretraining, tmp_path):
    figures, _ = small_pretraining(str(tmp_path))
    tokens = 8*2*16
    assert (figures['steps'], figures['tokens']) == (8, tokens)
    assert figures['held_out_bits_per_char'] > 0
    assert json.loads((tmp_path/'model'/'figures.json').read_text()) == figures
    model, tokenizer = load_model(str(tmp_path/'model'))
    assert model.dtype == torch.float32
    assert len(tokenizer) == 290
    assert model.num_parameters() == figures['parameters']
    lengths = [len(ids) + 1 for ids in tokenizer(TEXTS)['input_ids']]
    assert figures['epochs'] == round(tokens/sum(lengths), 2)
