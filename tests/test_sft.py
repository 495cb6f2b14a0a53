"Step one: sentences parted by their letters, losses over response tokens, the best weights kept."
import copy
import hashlib
import json
import math
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import TEXTS, decided_gpt2, tiny_tokenizer
from torch.utils.data import DataLoader, Subset

from rlhf_nbdev import dataset, sft
from rlhf_nbdev.agent import position_ids


@pytest.fixture
def tokenizer():
    return tiny_tokenizer()


@pytest.mark.parametrize('raw, tidied', [
    ('  a film , " really " ( and truly ) bad . i left . ',
     'A film, "really" (and truly) bad. I left.'),
    ('it cost $ 5 ... or so', 'It cost $5... or so'),
    ('what ? " the end " , and i said so', 'What? "The end", and I said so'),
])
def test_sentences_are_tidied(raw, tidied):
    assert sft.tidy_sentence(raw) == tidied


def test_what_is_held_out_is_decided_by_letters_alone():
    assert not sft.is_held_out('abc')  # SHA-256 ba78…, an example of FIPS 180
    for spelling in ('d', 'D!', '4 d &amp;'):
        assert sft.is_held_out(spelling)  # SHA-256 of d: 18ac…
    held_out = hashlib.sha256(b'cafb').hexdigest()[0] in '01'
    assert sft.is_held_out('caf &amp; B.') == held_out


def test_about_one_sentence_in_eight_is_held_out():
    letters = 'abcdefghij'
    sentences = [f'film {a}{b}{c}' for a in letters for b in letters for c in letters]
    assert 0.08 < np.mean([sft.is_held_out(sentence) for sentence in sentences]) < 0.17


def test_sentences_are_parted_by_their_letters(monkeypatch):
    texts = [f'film {a} is good .' for a in 'abcdefghijklmnopqrstuvwxyz']

    def packaged_rows(kind):
        assert kind == 'sentences'
        return pd.DataFrame({'text': texts})

    monkeypatch.setattr(sft, 'packaged_rows', packaged_rows)
    held_out = [sft.tidy_sentence(text) for text in texts if sft.is_held_out(text)]
    train = [sft.tidy_sentence(text) for text in texts if not sft.is_held_out(text)]
    assert 0 < len(held_out) < 13
    assert sft.load_sentences('held_out') == held_out
    assert sft.load_sentences('train') == train
    with pytest.raises(ValueError, match="not 'test'"):
        sft.load_sentences('test')


def test_columns_of_padding_are_dropped():
    batch = {'tokens': torch.tensor([[9, 9, 5, 6], [9, 4, 5, 6]]),
             'mask': torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1]])}
    trimmed = sft.trim_padding(batch)
    assert trimmed['tokens'].tolist() == [[9, 5, 6], [4, 5, 6]]
    assert trimmed['mask'].tolist() == [[0, 1, 1], [1, 1, 1]]
    assert sft.trim_padding({'mask': torch.ones(2, 3)})['mask'].shape == (2, 3)


SENTENCE = 'A small film, and a good one.'


def test_demonstrations_that_do_not_fit_are_counted(tokenizer):
    room = len(tokenizer(SENTENCE)['input_ids']) + 1
    sentences = [SENTENCE, 'A', SENTENCE + ' Great fun!']  # one fits, one ends with the opening
    data = sft.Demonstrations(tokenizer, sentences, 3, room - 3)
    assert len(data) == 1
    assert data.left_out == {'too long': 1, 'with nothing after the opening': 1}


def test_a_pair_is_never_cut(tokenizer):
    pairs = [('Great fun', ' from start to end!'), ('I', 'left.'), ('I left. '*9, 'No.'),
             ('Great fun', ' from start to end! '*9)]
    data = sft.Demonstrations(tokenizer, pairs, 6, 30)
    assert data.left_out == {'too long': 2, 'with nothing after the opening': 0}
    assert len(data) == 2
    for (prompt, response), (ids, opening) in zip(pairs, data.rows):
        assert ids[:opening] == tokenizer(prompt)['input_ids'], 'PPO shows another prompt'
        assert tokenizer.decode(ids[:-1]) == prompt + response
        assert ids[-1] == tokenizer.eos_token_id


def test_a_prompt_keeps_its_tokens_though_its_answer_would_change_them(tokenizer):
    whole = tokenizer('Great fun')
    start, end = next(span for span in whole.encodings[0].offsets if span[1] - span[0] > 1)
    prompt, response = 'Great fun'[:end - 1], 'Great fun'[end - 1:]
    (ids, opening), = sft.Demonstrations(tokenizer, [(prompt, response)], 8, 30).rows
    assert ids[:opening] == tokenizer(prompt)['input_ids'] != whole['input_ids'][:opening]
    assert tokenizer.decode(ids[:-1]) == 'Great fun'


def test_a_prompt_longer_than_ppo_shows_is_too_long(tokenizer):
    n = len(tokenizer('Great fun')['input_ids'])
    pair = ('Great fun', ' to the end!')
    assert len(sft.Demonstrations(tokenizer, [pair], n, 30)) == 1
    assert sft.Demonstrations(tokenizer, [pair], n - 1, 30).left_out['too long'] == 1


def test_pairs_and_sentences_go_together(tokenizer):
    data = sft.Demonstrations(tokenizer, [('Great', ' fun'), SENTENCE], 3, 30)
    alone = sft.Demonstrations(tokenizer, [SENTENCE], 3, 30)
    assert data.rows[1] == alone.rows[0]


def demonstrations_of(tmp_path, *rows, **columns):
    path = tmp_path/'own.jsonl'
    path.write_text('\n'.join(map(json.dumps, rows)), encoding='utf-8')
    return sft.read_demonstrations(path, **columns)


ASKS = {'role': 'user', 'content': 'Good?'}
SAYS = {'role': 'assistant', 'content': 'Yes.'}


@pytest.mark.parametrize('row, pair', [
    ({'prompt': 'The film', 'completion': ' is good.'}, ('The film', ' is good.')),
    ({'prompt': 'Good?', 'response': 'Yes.'}, ('Good?', ' Yes.')),
    ({'Question': 'Good?', 'Answer': '\nYes.'}, ('Good?', '\nYes.')),
    ({'instruction': 'Judge.', 'input': '', 'output': 'Good.'}, ('Judge.', ' Good.')),
    ({'instruction': 'Judge.', 'input': 'Alien', 'output': 'Good.'},
     ('Judge.\n\nAlien', ' Good.')),
    ({'messages': [ASKS, SAYS]}, ('Good?', ' Yes.')),
    ({'conversations': [{'from': 'human', 'value': 'Good?'}, {'from': 'gpt', 'value': 'Yes.'}]},
     ('Good?', ' Yes.')),
    ({'prompt': [ASKS], 'completion': [SAYS]}, ('Good?', ' Yes.')),
    ({'messages': [ASKS, SAYS, ASKS, SAYS]},
     ('\n\nHuman: Good?\n\nAssistant: Yes.\n\nHuman: Good?\n\nAssistant:', ' Yes.')),
    ({'text': 'A whole sentence.', 'label': 1}, ('', 'A whole sentence.')),
])
def test_demonstrations_in_the_shapes_people_have(row, pair, tmp_path):
    empty = dict.fromkeys(row)
    pairs, left_out = demonstrations_of(tmp_path, row, empty)
    assert pairs == [pair]
    assert list(left_out.values()) == [0, 1]


def test_columns_of_demonstrations_can_be_named(tmp_path):
    row = {'prompt': 'no', 'ask': 'Good?', 'say': 'Yes.', 'text': 'no'}
    pairs, _ = demonstrations_of(tmp_path, row, prompt_column='ask', response_column='say')
    assert pairs == [('Good?', ' Yes.')]
    with pytest.raises(ValueError, match="no column 'tell'; found the columns prompt, ask, say"):
        demonstrations_of(tmp_path, row, prompt_column='ask', response_column='tell')
    with pytest.raises(ValueError, match='found the columns prompt, ask, say, text; prompt and'):
        demonstrations_of(tmp_path, row, prompt_column='ask')


@pytest.mark.parametrize('row, reason', [
    ({'prompt': 'Good?', 'completion': 3}, 'no usable demonstration .1 no text under prompt and'),
    ({'prompt': ' ', 'completion': 'Yes.'}, 'no usable demonstration .1 no text under prompt and'),
    ({'messages': [SAYS, ASKS]}, 'no usable demonstration .1 no conversation'),
    ({'messages': [SAYS]}, 'no usable demonstration .1 no conversation'),
    ({'text': ''}, 'no usable demonstration .1 no text under text'),
    ({'review': 'Good.'}, 'found the columns review;'),
])
def test_demonstrations_that_leave_nothing_are_refused(row, reason, tmp_path):
    with pytest.raises(ValueError, match=reason):
        demonstrations_of(tmp_path, row)


def test_demonstrations_end_and_are_split_after_the_opening(tokenizer):
    ids = tokenizer(SENTENCE)['input_ids'] + [tokenizer.eos_token_id]
    opening = len(dataset.prompt_ids(tokenizer, [SENTENCE], 3)[0])
    item = sft.Demonstrations(tokenizer, [SENTENCE], 3, len(ids) - 3)[0]
    assert item['tokens'].tolist() == ids
    assert item['mask'].tolist() == [1]*len(ids)
    assert item['response_mask'].tolist() == [0]*opening + [1]*(len(ids) - opening)

    wide = sft.Demonstrations(tokenizer, [SENTENCE], 3, len(ids))[0]
    assert wide['tokens'].tolist() == [tokenizer.pad_token_id]*3 + ids
    assert wide['response_mask'].tolist() == [0]*3 + item['response_mask'].tolist()
    assert wide['response_mask'].dtype == torch.int64


def test_eos_counts_where_padding_looks_the_same(tokenizer):
    apart = sft.Demonstrations(tokenizer, [SENTENCE], 3, 30)[0]
    tokenizer.pad_token = tokenizer.eos_token
    shared = sft.Demonstrations(tokenizer, [SENTENCE], 3, 30)[0]
    assert shared['response_mask'].tolist() == apart['response_mask'].tolist()


def nats_by_hand(model, item):
    "The cross-entropy of each response token, from the row without its padding."
    real = item['mask'].bool()
    tokens, counted = item['tokens'][real], item['response_mask'][real]
    logprobs = model(tokens[None]).logits[0].log_softmax(-1)
    return [-logprobs[t - 1, tokens[t]].item() for t in range(len(tokens)) if counted[t]]


def test_losses_are_means_over_response_tokens(tokenizer, monkeypatch):
    monkeypatch.setattr(sft, 'autocast', lambda device: nullcontext())
    model = decided_gpt2(vocab=len(tokenizer))
    texts = [text for text in TEXTS for _ in range(6)]  # 72: more than one batch
    data = sft.Demonstrations(tokenizer, texts, 4, 24)
    rows = [nats_by_hand(model, data[i]) for i in (0, 6, 12, 18)]
    assert len({len(row) for row in rows}) > 1, 'rows of one length would hide a mean over rows'
    mean = np.mean(sum(rows, []))

    batch = next(iter(DataLoader(data, len(data))))
    assert sft.sft_batch_loss(model, batch).item() == pytest.approx(mean, rel=1e-5)
    assert sft.held_out_loss(model, data) == pytest.approx(mean, rel=1e-5)

    tokens, mask = batch['tokens'], batch['mask']
    logits = model(tokens, attention_mask=mask, position_ids=position_ids(mask)).logits
    loss = sft.sft_loss(logits, tokens, batch['response_mask'])
    assert loss.item() == pytest.approx(mean, rel=1e-5)
    half = sft.sft_loss(logits.bfloat16(), tokens, batch['response_mask'])
    assert half.dtype == torch.float32


@pytest.fixture
def model_and_data(tokenizer, monkeypatch):
    "In float32: in bfloat16, code is written for each new shape, which takes longer than the test."
    monkeypatch.setattr(sft, 'autocast', lambda device: nullcontext())
    return decided_gpt2(vocab=len(tokenizer)), sft.Demonstrations(tokenizer, TEXTS, 4, 24)


def test_fine_tuning_learns_and_keeps_the_best_weights(model_and_data):
    model, data = model_and_data
    torch.manual_seed(0)
    history = sft.train_sft(model, data, data, epochs=12, batch_size=4, learning_rate=3e-3)
    assert history[0]['step'] == 0 and math.isnan(history[0]['loss'])
    assert [row['step'] for row in history[1:4]] == [1, 2, 3]
    assert history[-1]['step'] == 36
    assert history[-1]['held_out'] < history[0]['held_out'] - 0.3
    assert history[-1]['loss'] < history[1]['loss'] - 0.2
    best = min(row['held_out'] for row in history)
    assert sft.held_out_loss(model, data) == pytest.approx(best, rel=1e-3)


def test_fine_tuning_says_what_cannot_work(model_and_data, tokenizer):
    model, data = model_and_data
    nothing = sft.Demonstrations(tokenizer, ['A'], 4, 24)
    message = 'no demonstrations {}: .*left out: 1 with nothing after the opening'
    with pytest.raises(ValueError, match=message.format('held out')):
        sft.train_sft(model, data, nothing)
    with pytest.raises(ValueError, match=message.format('to learn from')):
        sft.train_sft(model, nothing, data)
    with pytest.raises(ValueError, match=message.format('to learn from')):
        sft.train_sft(model, Subset(nothing, []), data)
    with pytest.raises(ValueError, match='to learn from: .*left out: none'):
        sft.train_sft(model, Subset(data, []), data)
    with pytest.raises(FloatingPointError, match='step'):
        sft.train_sft(copy.deepcopy(model), data, data, epochs=40, batch_size=4,
                      learning_rate=1e30)


def weights_after_refused_step(model, batch, message):
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    with pytest.raises(FloatingPointError, match=message):
        sft.sft_step(model, optimizer, batch, 1e-3, 7)
    return [torch.equal(x, before[name]) for name, x in model.state_dict().items()]


def test_a_batch_with_nothing_to_learn_is_named(model_and_data):
    model, data = model_and_data
    batch = next(iter(DataLoader(data, 4)))
    batch['response_mask'] = torch.zeros_like(batch['response_mask'])
    message = 'step 7: the loss is nan, over 0 tokens to learn'
    assert all(weights_after_refused_step(model, batch, message))


@pytest.mark.parametrize('factor, norm', [(math.nan, 'nan'), (math.inf, 'inf|nan')])
def test_a_gradient_that_is_no_number_changes_no_weight(model_and_data, factor, norm):
    "The loss is finite; without a look at the norm every weight would be nan after this step."
    model, data = model_and_data
    model.get_input_embeddings().weight.register_hook(lambda grad: grad*factor)
    batch = next(iter(DataLoader(data, 4)))
    message = f"step 7: the gradient's norm is ({norm})"
    assert all(weights_after_refused_step(model, batch, message))


def test_fine_tuning_warms_up_clips_and_decays_no_weight(model_and_data, monkeypatch):
    model, data = model_and_data
    rates, norms, step = [], [], torch.optim.AdamW.step

    def watched_step(self, *args):
        group, = self.param_groups
        assert group['weight_decay'] == 0
        rates.append(group['lr'])
        gradients = [p.grad for p in model.parameters()]
        norms.append(torch.nn.utils.get_total_norm(gradients).item())
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, 'step', watched_step)
    sft.train_sft(model, data, data, epochs=3, batch_size=4, learning_rate=1e-4, checks=1)
    expected = [min((k + 1)/20, 1 - k/9) for k in range(9)]
    assert rates == pytest.approx([1e-4*factor for factor in expected])
    assert max(norms) == pytest.approx(1, abs=1e-3)


def test_fine_tuning_shuffles_each_epoch(model_and_data, monkeypatch):
    model, data = model_and_data
    batches, loss = [], sft.sft_batch_loss

    def watched_loss(model, batch):
        batches.append(tuple(batch['mask'].sum(1).tolist()))
        return loss(model, batch)

    monkeypatch.setattr(sft, 'sft_batch_loss', watched_loss)
    torch.manual_seed(0)
    sft.train_sft(model, data, data, epochs=3, batch_size=4, learning_rate=1e-4, checks=1)
    assert len({batch for batch in batches if len(batch) == 4}) > 4  # nine batches of four


def test_the_rate_rises_and_then_falls_to_nothing():
    rates = [sft.warmup_then_linear(step, 4, 2) for step in range(4)]
    assert rates == [0.5, 0.75, 0.5, 0.25]
    rates = [sft.warmup_then_linear(step, 100) for step in (0, 9, 50, 99)]
    assert rates == pytest.approx([0.05, 0.5, 0.5, 0.01])
    assert [sft.linear_decay(step, 4) for step in range(6)] == [1, 0.75, 0.5, 0.25, 0, 0]
