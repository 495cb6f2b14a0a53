"The judge, its calibration, what is measured, who wins, and best of n, by hand."
import json
import math
import random
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import close, decided_gpt2, tiny_prompts, tiny_tokenizer
from torch.utils.data import DataLoader
from word_judge import WordJudge, count_tokens, held_out_prompts

from rlhf_nbdev import evaluate
from rlhf_nbdev.agent import Agent, token_logprobs
from rlhf_nbdev.ppo import RLHFConfig
from rlhf_nbdev.train import response_texts, sample_responses


@pytest.fixture
def tokenizer():
    return tiny_tokenizer()


# is it a sentence?

@pytest.fixture
def trigrams():
    sentences = ['the film is good', 'the film is bad', 'the plot is thin']
    return evaluate.TrigramModel(sentences, least=2, discount=0.75)


def test_rare_words_are_unknown(trigrams):
    assert trigrams.vocab == {'the', 'film', 'is', '<unk>', '</s>'}


@pytest.mark.parametrize('history', [
    (), ('<s>',), ('<s>', '<s>'), ('the', 'film'), ('<unk>', 'is'), ('film', 'never')])
def test_probabilities_sum_to_one(trigrams, history):
    assert sum(trigrams.prob((*history, word)) for word in trigrams.vocab) == pytest.approx(1)


def test_probabilities_are_those_of_absolute_discounting(trigrams):
    unigram = (3 - 0.75)/15 + 0.75*5/15/5  # 3 of 15 tokens; five kinds, five in the vocabulary
    bigram = (3 - 0.75)/3 + 0.75*1/3*unigram  # after '<s>' always 'the'
    trigram = (3 - 0.75)/3 + 0.75*1/3*bigram
    assert trigrams.prob(('the',)) == pytest.approx(unigram)
    assert trigrams.prob(('<s>', 'the')) == pytest.approx(bigram)
    assert trigrams.prob(('<s>', '<s>', 'the')) == pytest.approx(trigram)


def test_a_sentence_is_asked_word_by_word_and_for_its_end(trigrams):
    grams = [
        ('<s>', '<s>', 'the'),
        ('<s>', 'the', 'film'),
        ('the', 'film', '<unk>'),
        ('film', '<unk>', '<unk>'),
        ('<unk>', '<unk>', '</s>'),
    ]
    by_hand = [math.log(trigrams.prob(gram)) for gram in grams]
    assert trigrams.logprobs('The film, unseen') == pytest.approx(by_hand)
    assert len(trigrams.logprobs('The film!')) == 4
    assert sum(trigrams.logprobs('the film is good')) > sum(trigrams.logprobs('good is film the'))


def test_words_and_marks_are_split():
    assert evaluate.split_words("It's GOOD, isn't it?") == [
        "it's", 'good', ',', "isn't", 'it', '?']


def test_sentences_have_three_to_forty_words():
    text = 'One two three. No. Four five<br />six seven! ' + 'x '*41 + '. A b c?'
    assert evaluate.split_sentences(text) == ['One two three.', 'Four five six seven!', 'A b c?']
    assert evaluate.split_sentences(' '.join('x'*40))
    assert not evaluate.split_sentences(' '.join('x'*41))


def test_sentences_are_spoilt_in_three_ways_equally_often():
    rng, sentence = random.Random(0), 'a b c d e f g h'
    counts, foreign = {'shuffle': 0, 'loop': 0, 'swap': 0}, 0
    for _ in range(300):
        parts = evaluate.corrupt(sentence, ['X Y Z'], rng).split()
        if set(parts) & set('XYZ'):
            counts['swap'] += 1
            foreign += sum(part in 'XYZ' for part in parts)
            kept = [(a, b) for a, b in zip(parts, sentence.split()) if a not in 'XYZ']
            assert len(parts) == 8 and all(a == b for a, b in kept)
        elif len(parts) > 8:
            counts['loop'] += 1
            assert list(dict.fromkeys(parts)) == sentence.split() and len(parts) <= 8 + 9
        else:
            counts['shuffle'] += 1
            assert sorted(parts) == sentence.split()
    assert all(70 < n < 130 for n in counts.values())
    assert 0.25 < foreign/counts['swap']/8 < 0.37


# the judge

@pytest.fixture
def judge():
    "A judge without its lessons, which take ten seconds."
    judge = object.__new__(evaluate.Judge)
    judge.trigrams = SimpleNamespace(logprobs=lambda text: [-1.0, -2.0, -4.5])
    return judge


@pytest.mark.parametrize('text, features', [
    ('A b a b c', [-2.5, 3/5, 3/4, math.log(6)]),
    ('a', [-2.5, 1, 0, math.log(2)]),
    ('a b', [-2.5, 1, 1, math.log(3)]),
    ('', [-2.5, 0, 0, 0]),
])
def test_fluency_is_told_from_four_numbers(judge, text, features):
    assert judge.features(text) == pytest.approx(features)


def test_fluency_is_learnt_from_every_other_sentence_spoilt(judge, monkeypatch):
    monkeypatch.setattr(evaluate, 'corrupt', lambda sentence, foreign, rng: f'spoilt {sentence}')
    judge.features = lambda text: [float('spoilt' in text), 1.0]
    judge.learn_fluency(['one', 'two', 'three', 'four']*5, random.Random(0))
    spoilt, whole = judge.fluency(['spoilt five', 'six'])
    assert spoilt < 0.2 and whole > 0.8


def test_praise_is_told_from_words_and_pairs_of_words():
    labelled = [('not good', 0), ('very good', 1), ('very good indeed', 1)]*10
    model = evaluate.fit_praise_model(labelled + [('once', 1)]*9)
    weights = model[0]
    assert sorted(weights.vocabulary_) == [
        'good', 'good indeed', 'indeed', 'not', 'not good', 'very', 'very good']
    assert model.predict(['not good', 'very good']).tolist() == [0, 1]

    def proportion(text):
        row = dict(zip(weights.get_feature_names_out(), weights.transform([text]).toarray()[0]))
        return row['not']/row['indeed']

    # the third time counts for less than the first
    repeated = proportion('not indeed not indeed not')
    once = proportion('not indeed')
    assert repeated/once == pytest.approx((1 + math.log(3))/(1 + math.log(2)))


@pytest.fixture
def taught_by(monkeypatch):
    "Makes a judge of one long review that is said to have so many sentences; nothing is learnt."
    monkeypatch.setattr(evaluate, 'fit_praise_model', lambda labelled: len(labelled))
    monkeypatch.setattr(evaluate, 'TrigramModel', lambda sentences: len(sentences))
    monkeypatch.setattr(evaluate.Judge, 'learn_fluency', lambda self, sentences, rng: None)
    reviews = pd.DataFrame({'text': ['x'*9, 'x'*10], 'label': [0, 1]})

    def make(n_sentences):
        def labelled_sentences(long_reviews):
            assert long_reviews.label.tolist() == [1], 'the first is too short'
            return [('a b c', 1)]*n_sentences

        monkeypatch.setattr(evaluate, 'labelled_sentences', labelled_sentences)
        return evaluate.Judge(reviews, min_chars=10)

    return make


def test_a_judge_needs_twenty_thousand_sentences(taught_by):
    judge = taught_by(20_000)
    assert len(judge.unseen) == 4000
    assert judge.praise_model == 16_000
    assert judge.trigrams == 8000
    with pytest.raises(ValueError, match='needs 20,000 sentences.*there are 19,999'):
        taught_by(19_999)


def test_gold_is_praise_of_the_response_times_fluency_of_the_whole(judge):
    def by_length(texts):
        return np.array([[1 - len(text)/100, len(text)/100] for text in texts])

    def by_last_feature(rows):
        return np.array([[1 - row[3]/10, row[3]/10] for row in rows])

    judge.praise_model = SimpleNamespace(predict_proba=by_length)
    judge.fluency_model = SimpleNamespace(predict_proba=by_last_feature)
    gold = judge(['one two', 'three'], [' four', ' five six'])
    assert gold == pytest.approx([0.05*math.log(4)/10, 0.09*math.log(4)/10])


def test_calibration_by_hand():
    table = evaluate.reliability(np.array([0.1, 0.15, 0.95, 1.0]), np.array([0, 1, 1, 1]), 5)
    assert table.index.tolist() == [0, 4]
    assert table.said.tolist() == pytest.approx([0.125, 0.975])
    assert table.found.tolist() == [0.5, 1.0]
    assert table.n.tolist() == [2, 2]
    assert evaluate.calibration_error(table) == pytest.approx((0.375 + 0.025)/2)


def test_calibration_weighs_bins_by_their_size():
    table = pd.DataFrame({'said': [0.2, 0.9], 'found': [0.0, 1.0], 'n': [3, 1]})
    assert evaluate.calibration_error(table) == pytest.approx((3*0.2 + 1*0.1)/4)


# what is measured

@pytest.mark.parametrize('texts, n, share', [
    (['a b a b', 'b c'], 2, 3/4),
    (['a b a b'], 1, 1/2),
    (['a'], 2, 0),
    (['a b'], 2, 1),
])
def test_distinct_phrases_by_hand(texts, n, share):
    assert evaluate.distinct_n(texts, n) == pytest.approx(share)


def test_overused_phrases_by_hand():
    table = evaluate.overused(['A b c', 'a b', 'x'], ['c d', 'a b'], top=2)
    assert table.index.tolist() == ['b c', 'a b']
    assert table.share.tolist() == pytest.approx([1/3, 2/3])
    assert table.ref_share.tolist() == [0, 0.5]


def test_phrases_that_have_grown_alike_stay_in_their_order():
    words = [f'{a}{b}' for a in 'abcdefg' for b in 'abcdefg']
    table = evaluate.overused([' '.join(words), ' '.join(words[::2])], ['x'], 1, top=60)
    assert table.index.tolist() == [*words[::2], *words[1::2], 'x']


def test_a_phrase_counts_once_a_response():
    assert evaluate.overused(['a a a', 'b'], ['b'], 1).loc['a'].tolist() == [0.5, 0]
    assert len(evaluate.overused(['a'], ['b'])) == 0, 'too short for phrases'


@pytest.fixture
def cut_rollouts(tokenizer):
    "Two rollouts; the first response of the first ends after two tokens, with EOS."
    agent = Agent(decided_gpt2(vocab=len(tokenizer)))
    ids, mask = tiny_prompts(len(tokenizer))
    batches = [{'input_ids': ids, 'attention_mask': mask}]*2
    config = RLHFConfig(response_length=4, temperature=0.8)
    rollouts = sample_responses(agent, batches, config)
    first = rollouts[0]
    first.response_mask[0, 2:] = 0
    first.mask[0, 6:] = 0
    first.tokens[0, 5] = tokenizer.eos_token_id
    return rollouts


def test_responses_are_sampled_as_the_configuration_says(cut_rollouts):
    assert [r.responses.shape for r in cut_rollouts] == [(6, 4)]*2
    assert [r.temperature for r in cut_rollouts] == [0.8]*2


def test_sequence_kl_is_summed_over_the_response_alone(cut_rollouts, tokenizer):
    r, ref_model = cut_rollouts[0], decided_gpt2(vocab=len(tokenizer), seed=7)
    with torch.no_grad():
        ref_logprobs = token_logprobs(ref_model, r.tokens, r.mask, 4, 0.8)
    by_hand = []
    for b in range(6):
        length = int(r.response_mask[b].sum())
        by_hand.append((r.logprobs[b, :length] - ref_logprobs[b, :length]).sum())
    kl = evaluate.sequence_kl(r, ref_model)
    close(kl, torch.stack(by_hand), atol=1e-4)
    assert kl.abs().min() > 1e-3
    assert not kl.requires_grad


def test_surprise_is_summed_over_the_response_alone(cut_rollouts, tokenizer):
    r, agent = cut_rollouts[0], Agent(decided_gpt2(vocab=len(tokenizer)))
    r.logprobs[0, 2:] = -7.0  # behind the end
    ref_model = decided_gpt2(vocab=len(tokenizer), seed=7)
    with torch.no_grad():
        ref_logprobs = token_logprobs(ref_model, r.tokens, r.mask, 4, 0.8)
    table = evaluate.measure_rollout(agent, r, count_tokens, ref_model)
    by_hand = -(ref_logprobs*r.response_mask).sum(1)
    assert table.surprise.tolist() == pytest.approx(by_hand.tolist(), abs=1e-4)


def test_texts_are_those_of_the_responses_alone(cut_rollouts, tokenizer):
    first, second = cut_rollouts
    texts = response_texts(cut_rollouts, tokenizer)
    assert len(texts) == 12
    assert texts[0] == tokenizer.decode(first.responses[0, :1])
    assert texts[7] == tokenizer.decode(second.responses[1], skip_special_tokens=True)


CONFIG = RLHFConfig(response_length=6, seed=3)


@pytest.fixture
def measured(tokenizer, tmp_path):
    "Agent, reference, prompts, and the table of `measure`."
    agent = Agent(decided_gpt2(vocab=len(tokenizer)))
    ref_model = decided_gpt2(vocab=len(tokenizer), seed=7)
    prompts = held_out_prompts(tokenizer, tmp_path/'a.csv')
    table = evaluate.measure(agent, prompts, count_tokens, ref_model, WordJudge(), CONFIG)
    return agent, ref_model, prompts, table


def test_measuring_takes_the_seeds_luck_and_leaves_ones_own(measured):
    agent, ref_model, prompts, table = measured
    before = torch.get_rng_state()

    def again(seed):
        config = RLHFConfig(response_length=6, seed=seed)
        return evaluate.measure(agent, prompts, count_tokens, ref_model, WordJudge(), config)

    assert again(3).equals(table)
    assert not again(4).response.equals(table.response)
    assert torch.equal(before, torch.get_rng_state())


def test_measuring_writes_down_each_answer(measured, tokenizer):
    agent, ref_model, prompts, table = measured
    torch.manual_seed(3)
    r, = sample_responses(agent, DataLoader(prompts, 4), CONFIG)
    openings = [tokenizer.decode(prompts.dataset.prompts[i]) for i in prompts.indices]
    assert table.prompt.tolist() == openings
    assert table.response.tolist() == response_texts([r], tokenizer)
    assert table.score.tolist() == r.mask.sum(1).tolist()
    assert table.tokens.tolist() == r.response_mask.sum(1).tolist()
    assert table.ended.tolist() == agent.ended(r).tolist()
    kl = evaluate.sequence_kl(r, ref_model)
    assert table.kl.tolist() == pytest.approx(kl.tolist())
    surprise = kl - (r.logprobs*r.response_mask).sum(1)  # of the reference, in nats
    assert table.surprise.tolist() == pytest.approx(surprise.tolist())


def test_measuring_asks_the_judge_where_there_is_one(measured):
    agent, ref_model, prompts, table = measured
    judge = WordJudge()
    assert table.praise.tolist() == judge.praise(table.response).tolist()
    assert table.fluency.tolist() == judge.fluency(table.prompt + table.response).tolist()
    assert table.gold.tolist() == (table.praise*table.fluency).tolist()
    unjudged = evaluate.measure(agent, prompts, count_tokens, ref_model, None, CONFIG)
    assert 'gold' not in unjudged


def test_a_table_is_summed_up(measured):
    _, _, _, table = measured
    figures = evaluate.summarise(table)
    for name in ('gold', 'praise', 'fluency', 'score', 'kl', 'ended'):
        assert figures[name] == table[name].mean()
    assert figures['perplexity'] == pytest.approx(
        math.exp(table.surprise.sum()/table.tokens.sum()))
    assert figures['words'] == np.mean([len(text.split()) for text in table.response])
    assert figures['distinct_bigrams'] == evaluate.distinct_n(table.response)


@pytest.fixture
def evaluated(tokenizer, tmp_path):
    "Three agents, and a function that evaluates them with a judge or without."
    agents = {name: Agent(decided_gpt2(vocab=len(tokenizer), seed=seed))
              for seed, name in enumerate(['base', 'sft', 'ppo'])}
    prompts = held_out_prompts(tokenizer, tmp_path/'a.csv')
    config = RLHFConfig(response_length=6)

    def evaluate_with(judge):
        reference = agents['base'].model
        return evaluate.evaluate(agents, prompts, count_tokens, reference, judge, config)

    return evaluate_with


def test_figures_are_those_of_the_tables(evaluated):
    tables, figures = evaluated(WordJudge())
    assert list(tables) == ['base', 'sft', 'ppo']
    assert figures['prompts'] == 4
    assert abs(figures['kl_base']) < 1e-4 < figures['kl_ppo']
    assert figures['gold_sft'] == tables['sft'].gold.mean()
    assert figures['gold_sft_interval'] == evaluate.bootstrap(tables['sft'].gold)


def test_every_pair_of_agents_is_compared(evaluated):
    judge = WordJudge()
    tables, figures = evaluated(judge)
    ppo, sft = tables['ppo'], tables['sft']
    won = evaluate.win_rate(evaluate.prefers(judge), ppo.prompt, ppo.response, sft.response)
    assert figures['win_rate_ppo_sft'] == won.mean()
    assert figures['win_rate_ppo_sft_interval'] == evaluate.bootstrap(won)
    assert figures['ties_ppo_sft'] == (won == 0.5).mean()
    rates = [name for name in figures if name.startswith('win') and 'interval' not in name]
    assert sorted(rates) == ['win_rate_ppo_base', 'win_rate_ppo_sft', 'win_rate_sft_base']


def test_without_a_judge_what_needs_one_is_left_out(evaluated):
    _, judged = evaluated(WordJudge())
    _, unjudged = evaluated(None)
    of_the_judge = ('gold', 'praise', 'fluency', 'win', 'ties')
    others = {name for name in judged if not name.startswith(of_the_judge)}
    assert set(unjudged) == others


# who wins

def test_a_meeting_is_won_by_the_better_answers():
    def count_letters(prompts, texts):
        return np.array([len(text) for text in texts])

    tables = {
        'ours': pd.DataFrame({'prompt': list('pqrs'), 'response': ['aa', 'aa', 'aa', 'a']}),
        'theirs': pd.DataFrame({'prompt': list('pqrs'), 'response': ['a', 'a', 'a', 'b']}),
    }
    figures = evaluate.meeting_figures('ours', 'theirs', tables, count_letters)
    assert figures == {
        'win_rate_ours_theirs': 0.875, 'ties_ours_theirs': 0.25,
        'win_rate_ours_theirs_interval': evaluate.bootstrap([1, 1, 1, 0.5])}


def test_intervals_have_the_width_of_the_normal_distribution():
    x = np.random.default_rng(0).normal(5, 2, 400)
    standard_error = x.std()/20
    low, high = evaluate.bootstrap(x)
    assert (low + high)/2 == pytest.approx(x.mean(), abs=0.03)
    assert high - low == pytest.approx(2*1.96*standard_error, rel=0.1)
    assert evaluate.bootstrap(x) == (low, high)
    low, high = evaluate.bootstrap(x, 0.5)
    assert high - low == pytest.approx(2*0.674*standard_error, rel=0.1)
    assert evaluate.bootstrap([3]*5) == (3, 3)


def longer(prompts, firsts, seconds):
    return np.array([np.sign(len(a) - len(b)) for a, b in zip(firsts, seconds)])


def always_the_first(prompts, firsts, seconds):
    return np.ones(len(firsts))


def x_or_nothing(prompts, firsts, seconds):
    return np.array([int(first == 'x') for first in firsts])


def test_both_orders_are_asked():
    won = evaluate.win_rate(longer, ['']*3, ['aa', 'b', 'c'], ['a', 'bb', 'd'])
    assert won.tolist() == [1, 0, 0.5]
    assert evaluate.win_rate(always_the_first, ['']*3, ['']*3, ['']*3).tolist() == [0.5]*3
    assert evaluate.win_rate(x_or_nothing, [''], ['x'], ['y']).tolist() == [0.75]


def test_a_judge_ties_what_is_within_its_margin():
    def read_number(prompts, texts):
        return np.array([float(text) for text in texts])

    prefer = evaluate.prefers(read_number, 0.1)
    assert prefer(None, ['0.5', '0.2', '0.9'], ['0.3', '0.25', '1.1']).tolist() == [1, 0, -1]
    assert evaluate.prefers(read_number, 0.25)(None, ['0.75'], ['0.5']).tolist() == [0]


def label(prompt, left, right, choice):
    return {'prompt': prompt, 'left': left, 'right': right, 'choice': choice}


PANEL = [{'prompt': 'p', 'a': 'x', 'b': 'y'}, {'prompt': 'q', 'a': 'x', 'b': 'y'}]


def test_outcomes_of_a_panel_are_read_by_its_texts():
    labels = [
        label('p', 'y', 'x', 'left'),  # ours won
        label('q', 'x', 'y', 'left'),  # ours lost
        label('q', 'y', 'x', 'tie'),
        label('p', 'x', 'y', 'skip'),
        label('r', 'x', 'y', 'left'),  # of another panel
    ]
    assert evaluate.panel_outcomes(labels, PANEL).tolist() == [1, 0, 0.5]


def test_of_two_pairs_alike_the_first_counts():
    turned = {'prompt': 'p', 'a': 'y', 'b': 'x'}
    labels = [label('p', 'x', 'y', 'right')]
    assert evaluate.panel_outcomes(labels, [*PANEL, turned]).tolist() == [1]


# best of n and the study

@pytest.mark.parametrize('n', [1, 3, 7])
def test_the_best_of_n_is_the_mean_over_all_choices(n):
    rng = np.random.default_rng(0)
    scores, values = rng.normal(size=7), rng.normal(size=7)
    chosen = []
    for rows in combinations(range(7), n):
        best = max(rows, key=lambda row: scores[row])
        chosen.append(values[best])
    assert evaluate.best_of_n(scores, values, n) == pytest.approx(np.mean(chosen))


def test_of_those_alike_the_first_is_chosen():
    assert evaluate.best_of_n(np.zeros(64), np.arange(64), 64) == 0
    scores, values = np.random.default_rng(0).integers(0, 3, 200), np.arange(200)
    order = sorted(range(200), key=lambda row: -scores[row])  # the first of those alike is first
    strict = np.zeros(200)
    strict[order] = -np.arange(200)
    assert evaluate.best_of_n(scores, values, 9) == evaluate.best_of_n(strict, values, 9)


def test_what_best_of_n_costs():
    scores = np.random.default_rng(0).normal(size=7)
    assert evaluate.best_of_n_kl(scores, 1) == pytest.approx(0)
    assert evaluate.best_of_n_bound(1) == 0
    assert evaluate.best_of_n_bound(4) == pytest.approx(math.log(4) - 3/4)
    rare = evaluate.best_of_n_kl(np.arange(2000), 4)
    assert rare == pytest.approx(evaluate.best_of_n_bound(4), abs=1e-3)


def test_scores_that_are_alike_share_their_chance():
    best = np.array([1/4, 3/4])  # of two draws, each of two values with a chance of a half
    by_hand = (best*np.log(best/0.5)).sum()
    scores = np.array([0, 0, 1, 1 + 4e-5])
    assert evaluate.best_of_n_kl(scores, 2) == pytest.approx(by_hand)


RUN = {'group': 'g', 'name': 'n\u2028', 'seed': 0, 'rated_sentences': 5,
       'points': [{'kl': 1, 'gold': 0.2}, {'kl': 2, 'gold': 0.3}]}


def test_a_study_is_read_from_its_file(tmp_path):
    path = tmp_path/'study.jsonl'
    path.write_text(json.dumps(RUN, ensure_ascii=False) + '\n')
    assert evaluate.read_study(path) == [RUN]
    assert len(evaluate.read_study()) > 9


@pytest.mark.parametrize('line', [
    [], {}, RUN | {'seed': '0'}, RUN | {'points': {}}, RUN | {'points': [{}, 1]},
    {key: RUN[key] for key in ('group', 'name', 'seed', 'points')},
])
def test_a_line_that_is_no_run_is_named(line, tmp_path):
    assert not evaluate.is_run(line)
    path = tmp_path/'study.jsonl'
    path.write_text(json.dumps(RUN) + '\n\n' + json.dumps(line))
    with pytest.raises(ValueError, match='line 3: not a run'):
        evaluate.read_study(path)


def test_a_study_becomes_a_table_of_its_points():
    table = evaluate.study_points([RUN, RUN]).to_dict('records')
    assert len(table) == 4
    assert table[1] == {'group': 'g', 'name': 'n\u2028', 'seed': 0, 'rated_sentences': 5,
                        'kl': 2, 'gold': 0.3}


def test_the_forms_of_overoptimisation_are_found_again():
    kl = np.linspace(0.2, 30, 40)
    d = np.sqrt(kl)
    reinforced, best_of_n = d*(0.5 - 0.1*np.log(d)), d*(0.5 - 0.1*d)
    assert evaluate.fit_overoptimisation(kl, reinforced) == pytest.approx((0.5, 0.1))
    assert evaluate.fit_overoptimisation(kl, best_of_n, 'bon') == pytest.approx((0.5, 0.1))
