"The study: bugs as switches, points as summaries, files that are taken up again."
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import decided_gpt2, tiny_prompts, tiny_tokenizer
from word_judge import WordJudge, count_tokens, held_out_prompts

from rlhf_nbdev import evaluate, ppo
from rlhf_nbdev.agent import Agent
from rlhf_nbdev.ppo import RLHFConfig
from rlhf_nbdev.reward import RewardModel
from rlhf_nbdev.run import study


@pytest.fixture
def scored():
    "Agent, rollout, and a function that scores the rollout at the temperature it was sampled at."
    agent = Agent(decided_gpt2(dropout=0.1))
    torch.nn.init.normal_(agent.value_head.weight)
    rollout = agent.generate(*tiny_prompts(), 3, 0.7)

    def score(temperature=0.7):
        with torch.no_grad():
            return agent(rollout.tokens, rollout.mask, 3, temperature)

    return agent, rollout, score


def test_without_positions_padded_rows_are_read_shifted(scored):
    agent, rollout, score = scored
    right, _, _ = score()
    with study.scored_without_positions(agent):
        wrong, values, _ = score()
    with torch.no_grad():  # positions from 0, padding or not
        out = agent.model(rollout.tokens, attention_mask=rollout.mask, output_hidden_states=True)
    dists = (out.logits[:, 3:-1]/0.7).log_softmax(-1)
    by_hand = dists.gather(-1, rollout.responses[..., None])[..., 0]
    torch.testing.assert_close(wrong, by_hand)
    torch.testing.assert_close(values, agent.value(out.hidden_states[-1][:, 3:-1]))

    off = (wrong - right).abs().amax(1)
    unpadded = rollout.mask[:, :4].all(1)
    assert off[unpadded].max() < 1e-5
    assert off[~unpadded].min() > 1e-3
    assert torch.equal(score()[0], right), 'the bug is still there'


def test_without_positions_padding_has_no_log_prob_and_no_entropy(scored):
    agent, rollout, score = scored
    rollout.mask[0, -1] = 0  # the first response ends a token early
    real = rollout.mask[:, -3:]
    with study.scored_without_positions(agent):
        logprobs, _, entropy = score()
    with torch.no_grad():
        logits = agent.model(rollout.tokens, attention_mask=rollout.mask).logits[:, 3:-1]
    plain = torch.distributions.Categorical(logits=logits/0.7).entropy()
    torch.testing.assert_close(entropy, plain*real)
    assert entropy[0, -1] == logprobs[0, -1] == 0


def test_scored_at_temperature_1_whatever_was_sampled(scored):
    agent, _, score = scored
    right, warm = score()[0], score(1.0)[0]
    with study.scored_at_temperature_1(agent):
        assert torch.equal(score()[0], warm)
    assert torch.equal(score()[0], right)
    assert not torch.equal(warm, right)


def test_dropout_is_on_inside_and_off_after(scored):
    agent, _, score = scored
    right, _, _ = score()
    drops = [module for module in agent.modules() if isinstance(module, torch.nn.Dropout)]
    with study.dropout_on(agent):
        assert not torch.equal(score()[0], score()[0])
        assert {drop.p for drop in drops} == {0.1}
    assert torch.equal(score()[0], right)
    assert not any(module.training for module in agent.modules())


def test_dropout_is_off_after_an_error(scored):
    agent, _, score = scored
    right, _, _ = score()
    with pytest.raises(ZeroDivisionError):
        with study.dropout_on(agent):
            1/0
    assert torch.equal(score()[0], right)


def test_advantages_go_in_as_they_are_without_whitening(scored):
    agent, _, _ = scored
    advantages = torch.randn(2, 3)
    with study.without_whitening(agent):
        assert ppo.whiten(advantages, torch.ones(2, 3)) is advantages
    assert ppo.whiten(advantages, torch.ones(2, 3)) is not advantages


def test_a_point_is_the_summary_of_what_was_measured(tmp_path):
    tokenizer = tiny_tokenizer()
    agent = Agent(decided_gpt2(vocab=len(tokenizer)))
    ref_model = decided_gpt2(vocab=len(tokenizer), seed=7)
    prompts = held_out_prompts(tokenizer, tmp_path/'a.csv')
    prompts.indices = list(range(8))
    config = RLHFConfig(response_length=6)
    setup = agent, prompts, count_tokens, ref_model, WordJudge(), config
    point, table = study.measure_point(*setup), evaluate.measure(*setup)
    assert point['texts'] == table.response[:6].tolist()
    for name, x in evaluate.summarise(table).items():
        assert point[name] == round(float(x), 4)
    for name in ('gold', 'score', 'kl'):
        interval = [round(end, 4) for end in evaluate.bootstrap(table[name])]
        assert point[f'{name}_interval'] == interval


def test_a_point_of_best_of_n_is_a_mean_over_prompts_with_four_digits():
    rng = np.random.default_rng(0)
    paid, gold, scores = rng.normal(size=(3, 5, 8))
    point = study.best_of_n_point(4, paid, gold, scores)
    assert point['n'] == 4
    assert point['bound'] == round(evaluate.best_of_n_bound(4), 4)
    for name, values in (('gold', gold), ('score', scores)):
        chosen = [evaluate.best_of_n(*row, 4) for row in zip(paid, values)]
        assert point[name] == round(np.mean(chosen), 4)
        interval = [round(end, 4) for end in evaluate.bootstrap(chosen)]
        assert point[f'{name}_interval'] == interval
    assert point['kl'] == round(np.mean([evaluate.best_of_n_kl(row, 4) for row in paid]), 4)


def test_the_reward_model_is_scaled_before_it_chooses():
    model = decided_gpt2()
    agent, reward_model = Agent(model), RewardModel(model)
    rounds = [[agent.generate(*tiny_prompts(), 3)] for _ in range(2)]
    nothing = np.zeros((6, 2))
    points = study.best_of_n_points(reward_model, rounds, rounds[0], nothing, nothing)
    assert [point['n'] for point in points] == [1, 2]
    with torch.no_grad():
        first, second = (reward_model(r.tokens, r.mask) for r, in rounds)
    assert abs(first.mean()) < 1e-5 and abs(first.std() - 1) < 1e-5
    assert points[0]['score'] == pytest.approx(torch.cat([first, second]).mean().item(), abs=1e-4)
    assert points[1]['score'] == pytest.approx(torch.max(first, second).mean().item(), abs=1e-4)


@pytest.fixture
def updates(monkeypatch):
    "A trainer of seven updates, whose rows stand for themselves, and what is measured when."
    def ppo_updates(trainer, prompts, reward_model):
        for update in range(1, 8):
            if update == prompts['fails at']:
                raise FloatingPointError('not a number')
            yield {name: update + 1/3 for name in study.METRIC_COLUMNS}

    monkeypatch.setattr(study, 'ppo_updates', ppo_updates)
    config = RLHFConfig(updates=7)

    def run(fails_at):
        trainer = SimpleNamespace(config=config, agent=None)
        return study.train_and_measure(
            trainer, {'fails at': fails_at}, None, study.no_bug, lambda: {'gold': 1})

    return run


def test_a_run_is_measured_at_its_checkpoints_and_its_end(updates):
    rows, points, stopped = updates(None)
    assert [point['update'] for point in points] == [0, 5, 7]
    assert points[1] == {'update': 5, 'gold': 1}
    assert rows[6] == [7.3333]*len(study.METRIC_COLUMNS)
    assert (len(rows), stopped) == (7, '')


def test_a_run_that_fails_keeps_what_it_has(updates):
    rows, points, stopped = updates(6)
    assert [point['update'] for point in points] == [0, 5]
    assert (len(rows), stopped) == (5, 'not a number')


def test_what_was_done_is_left_out_of_the_tasks():
    done = [{'group': 'ablation', 'name': 'dropout on', 'seed': 0},
            {'group': 'best of n', 'name': '100 sentences', 'seed': 0}]
    asked = ['dropout on', 'best of n', 'check']
    assert study.tasks_left(asked, [0, 1], done) == [
        ('a small run', 0), ('dropout on', 1), ('a small run', 1)]
    assert ('best of n', 0) in study.tasks_left(asked, [0, 1], [])
    assert ('best of n', 1) not in study.tasks_left(asked, [0, 1], [])


def lines_of(runs):
    return ''.join(json.dumps(run) + '\n' for run in runs)


@pytest.fixture
def some_runs():
    "Three of today's variants, and one of best of n."
    runs = []
    for name, variant in list(study.VARIANTS.items())[:3]:
        runs.append({'group': variant.group, 'name': name, 'seed': 0,
                     'settings': variant.settings,
                     'rated_sentences': variant.rated_sentences, 'points': []})
    return runs + [{'group': 'best of n', 'name': '100 sentences', 'seed': 0,
                    'rated_sentences': 7, 'points': []}]


def test_a_last_line_that_is_no_part_of_a_run_is_not_taken_out(some_runs, tmp_path):
    path = tmp_path/'study.jsonl'
    content = lines_of(some_runs) + '{"something": "else'
    path.write_text(content)
    with pytest.raises(ValueError, match='no part of a run'):
        study.finished_runs(path)
    assert path.read_text() == content


def test_a_study_that_is_not_there_has_no_runs(tmp_path):
    assert study.finished_runs(tmp_path/'study.jsonl') == []


def test_finished_runs_are_found_again(some_runs, tmp_path, capsys):
    path = tmp_path/'study.jsonl'
    path.write_text(lines_of(some_runs))
    assert study.finished_runs(path) == some_runs
    assert path.read_text() == lines_of(some_runs)
    assert not capsys.readouterr().out


def test_a_line_that_was_cut_off_is_taken_out_and_said(some_runs, tmp_path, capsys):
    path = tmp_path/'study.jsonl'
    path.write_text(lines_of(some_runs) + '{"group": "fron')
    assert study.finished_runs(path) == some_runs
    assert path.read_text() == lines_of(some_runs)
    assert 'cut off' in capsys.readouterr().out


@pytest.mark.parametrize('change', [
    {'settings': {'beta': 9}}, {'rated_sentences': 3}, {'name': 'unknown'}])
def test_runs_of_other_settings_are_refused(change, some_runs, tmp_path):
    path = tmp_path/'study.jsonl'
    path.write_text(lines_of([some_runs[0] | change]))
    with pytest.raises(ValueError, match='other settings'):
        study.finished_runs(path)
