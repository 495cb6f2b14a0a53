"Step two: comparisons from files, scores of whole texts, rankings, and training."
import copy
import math
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import TEXTS, close, decided_gpt2, tiny_prompts, tiny_tokenizer
from tokenizers.processors import TemplateProcessing
from torch.utils.data import DataLoader

from rlhf_nbdev import dataset, reward, sft
from rlhf_nbdev.tools.ratings import preference_shares


@pytest.fixture
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture
def reward_model(tokenizer):
    return reward.RewardModel(decided_gpt2(vocab=len(tokenizer)))


@pytest.fixture
def in_float32(monkeypatch):
    "In bfloat16, code is written for each new shape, which takes longer than the test."
    monkeypatch.setattr(reward, 'autocast', lambda device: nullcontext())


# what is read

@pytest.fixture
def two_tokenizers(tokenizer):
    "The same one twice, the second with a special token before each text."
    begins = copy.deepcopy(tokenizer)
    begins.backend_tokenizer.post_processor = TemplateProcessing(
        single='<|endoftext|> $A', special_tokens=[('<|endoftext|>', 0)])
    assert begins('a')['input_ids'] == [0] + tokenizer('a')['input_ids']
    return tokenizer, begins


TABLE = pd.DataFrame({'text': TEXTS[:2], 'ratings': [[1], [2]]})
COMPARISON = {'prompt': 'A', 'chosen': ' good', 'rejected': ' bad'}


def preference_dataset(tokenizer, folder):
    reward.write_preferences(folder/'rows', [COMPARISON])
    return reward.PreferenceDataset(tokenizer, folder/'rows')


@pytest.mark.parametrize('make', [
    lambda tokenizer, folder, more: sft.Demonstrations(tokenizer, TEXTS, 4 + more, 24),
    lambda tokenizer, folder, more: reward.RatedSentences(tokenizer, TABLE),
    lambda tokenizer, folder, more: reward.LabelPairs(tokenizer, TEXTS[:2], [0, 1], 9, 8 + more),
    lambda tokenizer, folder, more: preference_dataset(tokenizer, folder),
], ids=['Demonstrations', 'RatedSentences', 'LabelPairs', 'PreferenceDataset'])
def test_a_tokenizer_that_begins_with_a_special_token_begins_every_text(
        make, two_tokenizers, tmp_path):
    plain, begins = (make(tokenizer, tmp_path, more) for more, tokenizer in
                     enumerate(two_tokenizers))
    for name in ('tokens', 'chosen', 'rejected'):
        if name in plain[0]:
            mask = 'mask' if name == 'tokens' else f'{name}_mask'
            text, begun = (data[0][name][data[0][mask].bool()].tolist() for data in (plain, begins))
            assert begun == [0, *text], name


def test_prompts_begin_with_it_too(two_tokenizers):
    plain, begins = two_tokenizers
    openings = dataset.prompt_ids(plain, TEXTS, 4)
    assert dataset.prompt_ids(begins, TEXTS, 5) == [[0, *ids] for ids in openings]


# the model

def test_a_reward_model_reads_the_last_real_token_of_each_row():
    reward_model = reward.RewardModel(decided_gpt2())
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]])
    tokens = torch.tensor([[1, 1, 7, 8], [7, 8, 9, 1], [5, 6, 7, 8]])
    alone = []
    for row, real in zip(tokens, mask.bool()):
        text = row[real][None]
        alone.append(reward_model(text, torch.ones_like(text))[0])
    alone = torch.stack(alone)
    close(reward_model(tokens, mask), alone)
    assert alone.std() > 1e-3


def test_scores_are_shifted_and_scaled():
    reward_model, batch = reward.RewardModel(decided_gpt2()), tiny_prompts()
    with torch.no_grad():
        raw = reward_model(*batch)
        reward_model.mean.fill_(2)
        reward_model.std.fill_(4)
        reward_model.head.bias.fill_(1)
        close(reward_model(*batch), (raw + 1 - 2)/4)


def test_the_head_begins_small_and_random():
    model = decided_gpt2()
    torch.manual_seed(0)
    heads = [reward.RewardModel(model).head for _ in range(60)]
    weights = torch.cat([head.weight.flatten() for head in heads])
    assert weights.std().item() == pytest.approx(1/math.sqrt(17), rel=0.1)  # D = 16
    assert not any(head.bias for head in heads)


def test_the_head_begins_with_the_spread_of_ziegler_et_al(monkeypatch):
    model, spreads = decided_gpt2(), []
    monkeypatch.setattr(torch.nn.init, 'normal_', lambda x, std: spreads.append(std))
    reward.RewardModel(model)
    assert spreads == [pytest.approx(1/math.sqrt(16 + 1))]  # D = 16


def test_a_reward_model_is_a_trainable_copy():
    model = decided_gpt2().requires_grad_(False)
    reward_model = reward.RewardModel(model)
    assert all(p.requires_grad for p in reward_model.parameters())
    with torch.no_grad():
        reward_model.trunk.wte.weight.zero_()
    assert model.transformer.wte.weight.abs().sum() > 0
    buffers = [name for name, _ in reward_model.named_buffers() if not name.startswith('trunk')]
    assert sorted(buffers) == ['mean', 'std']


# comparisons

def test_drawn_comparisons_follow_the_raters():
    table = pd.DataFrame({'text': ['A', 'B'], 'ratings': [[1, 1, 1, 0], [0, 0, 0, 0]]})
    rows = reward.draw_comparisons(table, 2000, seed=3)
    a_wins = np.mean([row['chosen'] == 'A' for row in rows])
    assert a_wins == pytest.approx(3/4 + 1/4/2, abs=0.03)
    for row in rows:
        assert {row['chosen'], row['rejected']} == {'A', 'B'}
        assert row['prompt'] == ''


def test_drawn_comparisons_depend_on_the_seed():
    table = pd.DataFrame({'text': ['A', 'B'], 'ratings': [[1, 0], [0, 0]]})
    first, again = (reward.draw_comparisons(table, 9, seed=3) for _ in range(2))
    assert first == again != reward.draw_comparisons(table, 9, seed=4)


def test_drawn_comparisons_reach_every_text_and_never_pair_one_with_itself():
    table = pd.DataFrame({'text': list('ABCD'), 'ratings': [[1, 0], [0, 0], [1, 1], [0, 2]]})
    rows = reward.draw_comparisons(table, 99)
    assert {row['chosen'] for row in rows} | {row['rejected'] for row in rows} == set('ABCD')
    assert all(row['chosen'] != row['rejected'] for row in rows)


GOOD_ROWS = [
    {'prompt': 'It is', 'chosen': ' good', 'rejected': ' bad\u2028'},
    {'prompt': '', 'chosen': 'é', 'rejected': 'e'},
]
BAD_LINES = [
    '{',  # not JSON
    '3',
    '{"chosen": "a"}',
    '{"chosen": "a", "rejected": " "}',
    '{"chosen": " ", "rejected": "a"}',
    '{"chosen": 1, "rejected": "b"}',
    '{"chosen": "a", "rejected": "\\ud800"}',
    '{"prompt": null, "chosen": "a", "rejected": "b"}',
    '{"chosen": "a", "rejected": "a"}',  # both sides alike
    '',  # blank
]


@pytest.fixture
def comparisons_with_holes(tmp_path):
    path = tmp_path/'pairs.jsonl'
    reward.write_preferences(path, GOOD_ROWS)
    good = path.read_text()
    last = '{"chosen": "c", "rejected": "d"}\n'
    path.write_text('\ufeff' + good + '\n'.join([*BAD_LINES, last]))
    return path


def test_comparisons_survive_the_file(tmp_path):
    reward.write_preferences(tmp_path/'pairs.jsonl', GOOD_ROWS)
    assert reward.read_preferences(tmp_path/'pairs.jsonl')[0] == GOOD_ROWS


def test_bad_lines_of_comparisons_are_counted(comparisons_with_holes):
    rows, left_out = reward.read_preferences(comparisons_with_holes)
    assert rows == [*GOOD_ROWS, {'prompt': '', 'chosen': 'c', 'rejected': 'd'}]
    assert list(left_out.values()) == [1, 7, 1]


def test_comparisons_become_padded_pairs(comparisons_with_holes, tokenizer):
    with pytest.warns(UserWarning, match='1 not JSON, 7 no text.*3 comparisons kept'):
        data = reward.PreferenceDataset(tokenizer, comparisons_with_holes)
    assert len(data) == 3
    item = data[0]
    ids = tokenizer('It is good')['input_ids'] + [tokenizer.eos_token_id]
    pads = data.length - len(ids)
    assert item['chosen'].tolist() == [tokenizer.pad_token_id]*pads + ids
    assert item['chosen_mask'].tolist() == [0]*pads + [1]*len(ids)
    rejected = tokenizer.decode(item['rejected'], skip_special_tokens=True)
    assert rejected == 'It is bad\u2028'


def test_comparisons_that_are_too_long_are_counted(comparisons_with_holes, tokenizer):
    with pytest.warns(UserWarning):
        item = reward.PreferenceDataset(tokenizer, comparisons_with_holes)[0]
    longest = int(max(item['chosen_mask'].sum(), item['rejected_mask'].sum()))
    with pytest.warns(UserWarning, match=f'1 longer than {longest - 1} tokens'):
        data = reward.PreferenceDataset(tokenizer, comparisons_with_holes, longest - 1)
    assert len(data) == 2


def test_no_comparison_at_all_is_an_error(tmp_path, tokenizer):
    (tmp_path/'empty').write_text('')
    with pytest.raises(ValueError, match='the file is empty'):
        reward.PreferenceDataset(tokenizer, tmp_path/'empty')
    with pytest.raises(FileNotFoundError, match='there is no file at'):
        reward.read_preferences(tmp_path/'nowhere')


# scores, pairs and rankings

@pytest.fixture
def rated(tokenizer):
    ratings = [[1, 2, 4], [-4, -1, -1], [0, 0, -2], [4, 4, 3]]
    table = pd.DataFrame({'text': TEXTS[:4], 'ratings': ratings})
    return reward.RatedSentences(tokenizer, table)


def test_rated_sentences_end_and_hold_the_shares_of_their_raters(rated, tokenizer):
    assert len(rated) == 4
    for ids, text in zip(rated.ids, TEXTS):
        assert ids[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(ids[:-1]) == text
    assert rated.lengths == [len(ids) for ids in rated.ids]
    assert rated.length == max(rated.lengths)
    pads = rated.length - rated.lengths[1]
    assert rated[1]['tokens'].tolist() == [tokenizer.pad_token_id]*pads + rated.ids[1]
    close(rated[0]['ratings'], torch.tensor([0, 0, 0, 0, 0, 1, 1, 0, 1])/3)
    close(rated[1]['ratings'], torch.tensor([1, 0, 0, 2, 0, 0, 0, 0, 0])/3)


def test_sentences_that_are_too_long_are_counted(tokenizer, rated):
    ratings = [[1, 2, 4], [-4, -1, -1], [0, 0, -2], [4, 4, 3]]
    table = pd.DataFrame({'text': TEXTS[:4], 'ratings': ratings}, index=[9, 8, 7, 6])
    most = sorted(rated.lengths)[2]
    with pytest.warns(UserWarning, match=f'1 longer than {most} tokens; 3 rated sentences'):
        data = reward.RatedSentences(tokenizer, table, max_length=most)
    assert data.left_out == {f'longer than {most} tokens': 1}
    assert data.ids == [rated.ids[i] for i in data.kept] and len(data.kept) == 3
    close(data.ratings, rated.ratings[data.kept])
    with pytest.raises(ValueError, match='no usable sentence .4 longer than 1 tokens'):
        reward.RatedSentences(tokenizer, table, max_length=1)


@pytest.mark.parametrize('ratings', [[5, 1], [], [0.5], [None], ['1'], [-5], 2])
def test_ratings_on_another_scale_are_refused(ratings, tokenizer):
    table = pd.DataFrame({'text': ['a', 'b'], 'ratings': [[1], ratings]})
    with pytest.raises(ValueError, match='whole numbers from -4 to 4'):
        reward.RatedSentences(tokenizer, table)


@pytest.fixture
def batch_and_scores(rated, reward_model):
    "All four sentences, and the score of each by itself, without padding."
    scores = []
    for ids in rated.ids:
        text = torch.tensor([ids])
        scores.append(reward_model(text, torch.ones_like(text))[0].detach())
    return next(iter(DataLoader(rated, 4))), torch.stack(scores)


def test_scores_are_those_of_each_text_alone_in_order(rated, reward_model, batch_and_scores):
    batch, alone = batch_and_scores
    close(reward_model(batch['tokens'], batch['mask']), alone)
    scores = reward.score_all(reward_model, rated, 3)
    close(scores, alone, atol=0.05)  # bfloat16 where the hardware has it


def as_pairs(batch, chosen, rejected):
    pairs = {}
    for side, rows in (('chosen', chosen), ('rejected', rejected)):
        pairs[side], pairs[f'{side}_mask'] = batch['tokens'][rows], batch['mask'][rows]
    return pairs


def test_both_sides_of_a_pair_are_scored_and_compared(reward_model, batch_and_scores):
    batch, alone = batch_and_scores
    pairs = as_pairs(batch, [0, 1], [2, 3])
    chosen, rejected = reward.score_pairs(reward_model, pairs)
    close(chosen, alone[:2])
    close(rejected, alone[2:])
    loss, won = reward.pair_batch_loss(reward_model, pairs)
    by_hand = -torch.sigmoid(alone[:2] - alone[2:]).log().mean()
    assert loss.item() == pytest.approx(by_hand.item(), abs=1e-5)
    assert won.item() == (alone[:2] > alone[2:]).float().mean().item()


def test_a_draw_is_not_won(reward_model, batch_and_scores):
    batch, _ = batch_and_scores
    assert reward.pair_batch_loss(reward_model, as_pairs(batch, [0, 1], [0, 1]))[1] == 0


PAIRS = [(i, j) for i in range(4) for j in range(i)]


def with_scores(monkeypatch, scores):
    "Let every reward model give these scores."
    scores = torch.tensor(scores)
    monkeypatch.setattr(reward.RewardModel, 'forward', lambda *_, **__: scores)
    return scores


def sides_with_majority(shares, scores, pairs):
    "How often the higher score is that of the text which most raters prefer."
    return np.mean([(shares[i, j] > 0.5) == (scores[i] > scores[j]) for i, j in pairs])


def test_a_ranking_is_the_mean_over_its_pairs(rated, reward_model, monkeypatch):
    batch = next(iter(DataLoader(rated, 4)))
    scores = with_scores(monkeypatch, [3.0, 1.0, 2.0, 0.0])
    shares = preference_shares(batch['ratings'])
    loss, agreed = reward.rated_batch_loss(reward_model, batch)
    losses = []
    for i, j in PAIRS:
        i_wins = torch.sigmoid(scores[i] - scores[j])
        losses.append(-(shares[i, j]*i_wins.log() + shares[j, i]*(1 - i_wins).log()).item())
    assert loss.item() == pytest.approx(np.mean(losses), abs=1e-6)
    assert agreed.item() == pytest.approx(sides_with_majority(shares, scores, PAIRS))


def test_a_draw_sides_with_nobody(rated, reward_model, monkeypatch):
    with_scores(monkeypatch, [0.0, 0.0, 0.0, 0.0])
    batch = next(iter(DataLoader(rated, 4)))
    assert reward.rated_batch_loss(reward_model, batch)[1] == 0


def test_undecided_pairs_are_left_out_of_the_accuracy(rated, reward_model, monkeypatch):
    batch = next(iter(DataLoader(rated, 4)))
    scores = with_scores(monkeypatch, [3.0, 1.0, 2.0, 0.0])
    batch['ratings'] = batch['ratings'][[0, 0, 2, 3]]  # the first two are alike
    shares = preference_shares(batch['ratings'])
    decided = [pair for pair in PAIRS if pair != (1, 0)]
    _, agreed = reward.rated_batch_loss(reward_model, batch)
    assert agreed.item() == pytest.approx(sides_with_majority(shares, scores, decided))


# training

def assert_learns(reward_model, data, batch_size, steps, batch_loss):
    torch.manual_seed(0)
    rows = reward.train_reward_model(reward_model, data, batch_size, 3e-3, epochs=12)
    assert len(rows) == steps
    assert np.mean([row['loss'] for row in rows[-8:]]) < rows[0]['loss'] - 0.1
    assert rows[-1]['majorities_found'] >= rows[0]['majorities_found']
    _, accuracy = batch_loss(reward_model, next(iter(DataLoader(data, len(data)))))
    assert accuracy > 0.9


def test_a_reward_model_learns_from_ratings(rated, reward_model, in_float32):
    # four sentences in batches of three: the last one alone makes no pair
    assert_learns(reward_model, rated, 3, 12, reward.rated_batch_loss)


@pytest.mark.parametrize('n, steps', [(2, 1), (4, 1), (5, 1), (6, 2), (8, 2), (9, 2), (10, 3)])
def test_a_last_sentence_alone_makes_no_pair(n, steps, reward_model, tokenizer, in_float32):
    table = pd.DataFrame({'text': TEXTS[:n], 'ratings': [[i % 5, 0] for i in range(n)]})
    data = reward.RatedSentences(tokenizer, table)
    assert len(reward.train_reward_model(reward_model, data, 4)) == steps


def test_a_rated_sentence_alone_is_refused(rated, tokenizer, reward_model):
    one = reward.RatedSentences(tokenizer, pd.DataFrame({'text': ['a'], 'ratings': [[1]]}))
    for data, batch_size in ((one, 4), (rated, 1)):
        with pytest.raises(ValueError, match='one rated sentence makes no pair'):
            reward.train_reward_model(reward_model, data, batch_size)


@pytest.mark.parametrize('n, batch, steps', [(1, 4, 1), (3, 2, 2), (5, 4, 2), (4, 4, 1), (3, 1, 3)])
def test_the_last_comparison_is_learnt_from(n, batch, steps, reward_model, tokenizer, monkeypatch,
                                            in_float32):
    learnt, pair_batch_loss = [], reward.pair_batch_loss

    def counted(reward_model, pairs):
        learnt.append(len(pairs['chosen']))
        return pair_batch_loss(reward_model, pairs)

    monkeypatch.setattr(reward, 'pair_batch_loss', counted)
    data = reward.LabelPairs(tokenizer, TEXTS[:4], [1, 0, 0, 1], n, 12)
    assert len(reward.train_reward_model(reward_model, data, batch)) == steps
    assert sum(learnt) == n


def test_a_reward_model_learns_from_pairs(reward_model, tokenizer, in_float32):
    data = reward.LabelPairs(tokenizer, TEXTS[:4], [1, 0, 0, 1], 30, 12)
    assert_learns(reward_model, data, 8, 48, reward.pair_batch_loss)
    gaps = reward.score_gaps(reward_model, data)
    assert (gaps > 0).float().mean() > 0.9
    close(reward.score_gaps(reward_model, data, 7), gaps, atol=1e-4)


def test_a_loss_that_is_not_finite_stops_the_training(rated, reward_model):
    with torch.no_grad():
        reward_model.head.weight.fill_(math.nan)
    with pytest.raises(FloatingPointError, match='step 0'):
        reward.train_reward_model(reward_model, rated)


def test_the_rate_falls_and_gradients_are_clipped(rated, reward_model, monkeypatch, in_float32):
    rates, norms, step = [], [], torch.optim.AdamW.step

    def watched_step(self, *args):
        group, = self.param_groups
        assert group['weight_decay'] == 0
        rates.append(group['lr'])
        gradients = [p.grad for p in group['params'] if p.grad is not None]
        norms.append(torch.nn.utils.get_total_norm(gradients).item())
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, 'step', watched_step)
    with torch.no_grad():
        reward_model.head.weight.mul_(100)
    reward.train_reward_model(reward_model, rated, 2, 1e-4, epochs=2)
    assert rates == pytest.approx([1e-4, 0.75e-4, 0.5e-4, 0.25e-4])
    assert 0.99 < max(norms) < 1.001


# what is measured

def test_pairwise_accuracy_by_hand():
    wanted = torch.tensor([1.0, 2.0, 2.0, 5.0])
    predicted = torch.tensor([0.0, 3.0, 1.0, 1.0])
    assert reward.pairwise_accuracy(predicted, wanted) == pytest.approx((1 + 1 + 1 + 0 + 0.5)/5)
    assert reward.pairwise_accuracy(predicted, wanted, 3.0) == pytest.approx((1 + 0 + 0.5)/3)
    assert reward.pairwise_accuracy(predicted, wanted, 4.0) == 1


def test_normalising_again_changes_nothing():
    reward_model, batch = reward.RewardModel(decided_gpt2()), tiny_prompts()
    with torch.no_grad():
        reward.normalize(reward_model, reward_model(*batch)*3 + 2)  # of another scale
        for _ in range(2):
            reward.normalize(reward_model, reward_model(*batch))
        scores = reward_model(*batch)
    assert scores.mean().abs() < 1e-5
    assert scores.std().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize('scores', [torch.ones(4), torch.ones(1)])
def test_scores_without_spread_cannot_be_normalised(scores):
    with pytest.raises(ValueError, match='without spread'):
        reward.normalize(reward.RewardModel(decided_gpt2()), scores)


# pairs from labels

def label_pairs(tokenizer, seed=2):
    return reward.LabelPairs(tokenizer, ['good one '*20, 'bad plot '*20], [1, 0], 200, 16, seed)


def test_label_pairs_are_snippets_of_the_right_sides(tokenizer):
    lengths = []
    for pair in label_pairs(tokenizer):
        for side, foreign in (('chosen', ('bad', 'plot')), ('rejected', ('good', 'one'))):
            tokens, mask = pair[side], pair[f'{side}_mask']
            assert len(tokens) == len(mask) == 16
            assert tokens[-1] == tokenizer.eos_token_id
            assert (mask.diff() >= 0).all(), 'padding is not on the left'
            assert not any(word in tokenizer.decode(tokens) for word in foreign)
            lengths.append(int(mask.sum()))
    assert (min(lengths), max(lengths)) == (5, 16)


def test_a_label_pair_depends_on_seed_and_place_alone(tokenizer):
    data, other = label_pairs(tokenizer), label_pairs(tokenizer, seed=3)
    assert len(data) == 200
    assert torch.equal(data[7]['chosen'], data[7]['chosen'])
    assert not torch.equal(data[7]['chosen'], other[7]['chosen'])
    assert len({tuple(data[i]['chosen'].tolist()) for i in range(50)}) > 5
    for i in (-1, 200):
        with pytest.raises(IndexError):
            data[i]


def test_label_pairs_need_texts_of_both_labels(tokenizer):
    for labels in ([1, 1], [0, 0]):
        with pytest.raises(ValueError, match='both labels'):
            reward.LabelPairs(tokenizer, ['good', 'bad'], labels)
    data = reward.LabelPairs(tokenizer, ['', 'ab', 'c'], [1, 1, 0], 20, 16)
    chosen = {tokenizer.decode(pair['chosen'], skip_special_tokens=True) for pair in data}
    assert chosen == {'ab'}, 'a text of nothing is no text'
