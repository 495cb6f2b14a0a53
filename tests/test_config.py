"What the settings say is what happens: ranges, defaults, the loop of one's own, and its rewards."
import copy
import importlib
import inspect
import math
import pkgutil
import warnings
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import decided_gpt2, prompt_items, tiny_prompts, tiny_tokenizer
from torch.utils.data import DataLoader

import rlhf_nbdev
from rlhf_nbdev.advantage import shape_rewards
from rlhf_nbdev.agent import Agent, TextReward, as_scores, reward_scores
from rlhf_nbdev.ppo import LearningSettings, RLHFConfig, RLHFTrainer
from rlhf_nbdev.run.study import dropout_on, scored_at_temperature_1, scored_without_positions
from rlhf_nbdev.train import ppo_updates, scale_rewards

SMALL = {
    'prompt_length': 4, 'response_length': 4, 'batch_size': 6, 'minibatches': 2, 'epochs': 1,
    'updates': 3}


def count_tokens(tokens, mask):
    return mask.sum(1).float()


def new_trainer(model=None, **settings):
    model = model or decided_gpt2()
    return RLHFTrainer(Agent(model), copy.deepcopy(model), RLHFConfig(**SMALL | settings))


def updates_of(trainer, prompts=None, reward=count_tokens):
    prompts = DataLoader(prompt_items(), 6) if prompts is None else prompts
    return list(ppo_updates(trainer, prompts, reward))


# numbers

COUNTS = [
    'prompt_length', 'response_length', 'batch_size', 'updates', 'epochs', 'minibatches',
    'microbatches', 'kl_horizon']
ABOVE_ZERO = [
    'learning_rate', 'adam_epsilon', 'max_grad_norm', 'temperature', 'clip_ratio', 'clip_value']
AT_LEAST_ZERO = ['value_coef', 'beta', 'target_kl', 'missing_eos_penalty', 'max_kl']
SHARES = ['gamma', 'lam']
FLAGS = ['bf16', 'compile', 'gradient_checkpointing', 'shard']


def assert_refused(name, value):
    with pytest.raises(ValueError, match=f'^{name} must be ') as refusal:
        RLHFConfig(**{name: value})
    assert str(value) in str(refusal.value) and '\n' not in str(refusal.value)


def test_every_setting_has_a_range():
    ranged = {*COUNTS, *ABOVE_ZERO, *AT_LEAST_ZERO, *SHARES, *FLAGS, 'seed'}
    assert ranged == {field.name for field in fields(RLHFConfig)}


@pytest.mark.parametrize('name', COUNTS)
@pytest.mark.parametrize('value', [0, -1, 1.5, 2.0, math.nan, math.inf, True, '3', None])
def test_counts_are_whole_numbers_from_one(name, value):
    assert_refused(name, value)


@pytest.mark.parametrize('name', ABOVE_ZERO)
@pytest.mark.parametrize('value', [0, 0.0, -0.1, -math.inf, math.nan, True, '0.1', None])
def test_what_divides_or_scales_is_above_zero(name, value):
    assert_refused(name, value)


@pytest.mark.parametrize('name', AT_LEAST_ZERO)
@pytest.mark.parametrize('value', [-1e-9, math.inf, math.nan, False, '0', None])
def test_weights_and_bounds_are_not_negative(name, value):
    assert_refused(name, value)
    assert getattr(RLHFConfig(**{name: 0}), name) == 0


@pytest.mark.parametrize('name', SHARES)
@pytest.mark.parametrize('value', [-0.01, 1.01, math.nan, math.inf, None])
def test_discounts_lie_between_zero_and_one(name, value):
    assert_refused(name, value)
    for end in (0, 1):
        RLHFConfig(**{name: end})


@pytest.mark.parametrize('name', ['learning_rate', 'adam_epsilon', 'temperature', 'clip_ratio'])
def test_what_must_be_finite_is(name):
    assert_refused(name, math.inf)


def test_gradients_may_be_of_any_length():
    assert RLHFConfig(max_grad_norm=math.inf).max_grad_norm == math.inf


@pytest.mark.parametrize('value', [-1, 2**32, 0.5, math.nan, None])
def test_a_seed_is_one_that_every_generator_takes(value):
    assert_refused('seed', value)


@pytest.mark.parametrize('value', ['no', 1, 0.0, None])
@pytest.mark.parametrize('name', FLAGS)
def test_flags_are_true_or_false(name, value):
    assert_refused(name, value)


def test_numpys_numbers_become_plain_ones():
    config = RLHFConfig(updates=np.int64(3), beta=np.float32(0.5), gamma=1, seed=np.uint8(7))
    assert (type(config.updates), type(config.beta), type(config.gamma)) == (int, float, float)
    assert (config.updates, config.beta, config.seed) == (3, 0.5, 7)


@pytest.mark.parametrize('settings, message', [
    ({'batch_size': 8, 'microbatches': 5}, 'the 4 rows of a minibatch'),
    ({'batch_size': 2, 'minibatches': 4}, 'does not divide'),
    ({'target_kl': 1.0, 'batch_size': 100, 'kl_horizon': 20}, 'beta could turn negative'),
])
def test_settings_that_cannot_go_together_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RLHFConfig(**settings)
    if 'target_kl' not in settings:
        with pytest.raises(ValueError, match=message):
            LearningSettings(**settings)


# one set of defaults

SAMPLING_AND_LEARNING = ['rlhf_nbdev.agent', 'rlhf_nbdev.advantage', 'rlhf_nbdev.ppo',
                         'rlhf_nbdev.train', 'rlhf_nbdev.tools.packing']


def functions_of(module):
    "Functions and methods that a module defines."
    for thing in vars(module).values():
        inner = vars(thing).values() if inspect.isclass(thing) else ()
        for function in (thing, *inner):
            if inspect.isfunction(function) and function.__module__ == module.__name__:
                yield function


def default_settings():
    "(function, setting, its default, the configuration's) of every signature that has one."
    config = vars(RLHFConfig())
    for info in pkgutil.walk_packages(rlhf_nbdev.__path__, 'rlhf_nbdev.'):
        if '.exercises' in info.name:
            continue  # they hold mistakes, a wrong temperature among them
        is_ppo = info.name in SAMPLING_AND_LEARNING
        for function in functions_of(importlib.import_module(info.name)):
            for name, parameter in inspect.signature(function).parameters.items():
                of_ppo = is_ppo or name in ('temperature', 'beta', 'response_length')
                has_default = parameter.default is not parameter.empty
                if name in config and of_ppo and has_default:
                    yield function.__qualname__, name, parameter.default, config[name]


def test_every_default_is_that_of_the_configuration():
    found = list(default_settings())
    assert {'Agent.generate', 'Agent.compute_rewards', 'shape_rewards', 'compute_loss',
            'compute_advantage_and_return'} <= {function for function, *_ in found}
    assert [entry for entry in found if entry[2] != entry[3]] == []


def test_what_is_sampled_by_default_is_scored_by_default():
    agent = Agent(decided_gpt2(context=64))
    rollout = agent.generate(*tiny_prompts())
    with torch.no_grad():
        logprobs, _, _ = agent(rollout.tokens, rollout.mask, rollout.response_mask.shape[1])
    gaps = (logprobs - rollout.logprobs)*rollout.response_mask
    assert gaps.abs().max() < 1e-4


# rewards

THREE = torch.zeros(3, 5, dtype=torch.long)


@pytest.mark.parametrize('given', [
    [1, 0, 2], (1.0, 0.0, 2.0), np.array([1, 0, 2]), np.array([1.0, 0, 2])[::1],
    np.array([2.0, 0, 1])[::-1], pd.Series([1.0, 0, 2], index=[7, 8, 9]), torch.tensor([1, 0, 2]),
    torch.tensor([1.0, 0, 2], dtype=torch.float64), torch.tensor([1.0, 0, 2]).bfloat16(),
    torch.tensor([1.0, 0, 2], requires_grad=True), [torch.tensor(1.0), 0, np.float32(2)],
])
def test_one_number_for_each_response_is_taken(given):
    scores = as_scores(given, THREE)
    assert (scores.dtype, scores.requires_grad) == (torch.float32, False)
    assert scores.tolist() == [1, 0, 2]


def test_truth_values_are_numbers():
    for given in ([True, False, True], np.array([1, 0, 1], dtype=bool)):
        assert as_scores(given, THREE).tolist() == [1, 0, 1]
    assert as_scores(torch.tensor([True, False, True]), THREE).tolist() == [1, 0, 1]


@pytest.mark.parametrize('given, shape', [
    (torch.zeros(3, 1), '(3, 1)'), (torch.zeros(1, 3), '(1, 3)'), (torch.zeros(1), '(1,)'),
    (torch.tensor(1.0), '()'), (1.0, '()'), ([1.0, 2.0], '(2,)'), ([], '(0,)'),
    (np.zeros((3, 1)), '(3, 1)'), ([[1.0], [2.0], [3.0]], '(3, 1)'), (torch.zeros(4), '(4,)'),
])
def test_another_shape_is_named_and_so_is_the_right_one(given, shape):
    with pytest.raises(ValueError) as refusal:
        as_scores(given, THREE)
    assert f'gave shape {shape}' in str(refusal.value)
    assert 'of shape (3,)' in str(refusal.value)


@pytest.mark.parametrize('given', [
    None, 'good', ['1', '2', '3'], [1.0, None, 2.0], {'scores': [1, 2, 3]}, object(),
    (x for x in (1, 2, 3)), torch.zeros(3, dtype=torch.complex64), [[1], [2, 3], [4]],
    np.array([1, None, 2], dtype=object),
])
def test_what_is_no_row_of_numbers_is_refused(given):
    with pytest.raises(ValueError, match='a reward must give one number for each response'):
        as_scores(given, THREE)


def test_a_column_does_not_become_a_square_where_rows_and_tokens_are_as_many():
    trainer = new_trainer(response_length=6)
    with pytest.raises(ValueError, match=r'gave shape \(6, 1\)'):
        updates_of(trainer, reward=lambda tokens, mask: mask.sum(1, keepdim=True).float())
    rollout = trainer.agent.generate(*tiny_prompts(), 6)
    column = torch.ones(6, 1)
    with pytest.raises(ValueError, match='shape'):
        shape_rewards(column, rollout.logprobs, rollout.logprobs, rollout.response_mask)
    with pytest.raises(ValueError, match='one for each token'):
        trainer.update(rollout, column)


@pytest.fixture
def text_trainer():
    "A trainer, prompts as batches, and the tokenizer that reads them."
    tokenizer = tiny_tokenizer()
    model = decided_gpt2(vocab=len(tokenizer))
    items = [{'input_ids': torch.tensor(ids), 'attention_mask': torch.tensor(mask)}
             for ids, mask in text_prompts(tokenizer)]
    return new_trainer(model), DataLoader(items, 6), tokenizer


def text_prompts(tokenizer):
    texts = ['A small film', 'The plot', 'Great fun', 'I left', 'Nothing here', 'A good one']
    for text in texts:
        ids = tokenizer(text)['input_ids'][:4]
        n_pads = 4 - len(ids)
        yield [tokenizer.pad_token_id]*n_pads + ids, [0]*n_pads + [1]*len(ids)


def test_a_reward_may_read_text(text_trainer):
    trainer, loader, tokenizer = text_trainer
    seen = []

    def reward(prompts, responses):
        seen.append((prompts, responses))
        return [len(response) for response in responses]

    rows = updates_of(trainer, loader, TextReward(reward, tokenizer))
    assert len(rows) == len(seen) == 3
    expected = [tokenizer.decode(torch.tensor(ids)[torch.tensor(mask).bool()])
                for ids, mask in text_prompts(tokenizer)]
    for row, (prompts, responses) in zip(rows, seen):
        assert prompts == expected
        assert all(isinstance(response, str) for response in responses)
        assert not any(tokenizer.pad_token in response for response in responses)


def test_the_update_row_and_text_of_a_score_that_is_not_finite_are_named(text_trainer):
    trainer, loader, tokenizer = text_trainer
    seen = []

    def reward(prompts, responses):
        seen.append((prompts, responses))
        return [0, 0, 0, 0, math.nan if len(seen) == 2 else 0, 0]

    with pytest.raises(FloatingPointError, match='update 2: .*gave nan as a score of row 4') as e:
        updates_of(trainer, loader, TextReward(reward, tokenizer))
    prompts, responses = seen[1]
    assert repr(prompts[4]) in str(e.value) and repr(responses[4]) in str(e.value)


@pytest.mark.parametrize('error', [ZeroDivisionError, FloatingPointError, KeyError, ValueError])
def test_an_error_of_the_rewards_own_comes_with_its_own_traceback(error, text_trainer):
    trainer, loader, tokenizer = text_trainer

    def broken_reward(prompts, responses):
        raise error('mine')

    with pytest.raises(error, match='mine') as failure:
        updates_of(trainer, loader, TextReward(broken_reward, tokenizer))
    cause = failure.value.__cause__ or failure.value
    frame = cause.__traceback__
    while frame.tb_next:
        frame = frame.tb_next
    assert frame.tb_frame.f_code.co_name == 'broken_reward'


def test_a_function_of_text_without_its_tokenizer_is_refused(text_trainer):
    trainer, loader, _ = text_trainer
    for reward in (lambda prompts, responses: [1.0]*6, lambda completions, **kwargs: [1.0]*6):
        with pytest.raises(ValueError, match='TextReward'):
            updates_of(trainer, loader, reward)


def test_a_reward_that_writes_into_what_it_reads_changes_nothing():
    def count_and_wipe(tokens, mask):
        scores = mask.sum(1)
        tokens.zero_()
        mask.zero_()
        return scores

    rows = [updates_of(new_trainer(), reward=reward) for reward in (count_tokens, count_and_wipe)]
    for row in (*rows[0], *rows[1]):
        del row['seconds']
    assert rows[0] == rows[1]


def test_rewards_of_both_kinds_are_asked_wherever_scores_are(text_trainer):
    trainer, _, tokenizer = text_trainer
    ids = torch.tensor([ids for ids, _ in text_prompts(tokenizer)])
    mask = torch.tensor([mask for _, mask in text_prompts(tokenizer)])
    rollout = trainer.agent.generate(ids, mask, 4)
    lengths = TextReward(lambda prompts, responses: list(map(len, responses)), tokenizer)
    scored = trainer.agent.compute_rewards(rollout, lengths, trainer.ref_model, 0.0)
    assert torch.equal(scored.scores, reward_scores(lengths, rollout))


# the loop

def test_the_loop_ends_after_the_row_that_is_past_max_kl():
    trainer = new_trainer(updates=20, max_kl=0.5, learning_rate=0.02, beta=0.0)
    with pytest.warns(UserWarning, match='past max_kl 0.5'):
        kl = [row['kl'] for row in updates_of(trainer)]
    assert len(kl) < 20
    assert kl[-1] > 0.5 >= max(kl[:-1])
    assert len(updates_of(new_trainer(updates=5, max_kl=0.0, learning_rate=0.02))) == 5


@pytest.mark.parametrize('size, n_prompts', [(4, 12), (12, 12), (5, 12)])
def test_batches_of_another_size_are_refused_before_anything_is_learnt(size, n_prompts):
    trainer = new_trainer()
    before = copy.deepcopy(trainer.agent.state_dict())
    with pytest.raises(ValueError, match=f'a batch of {size} prompts, but batch_size is 6'):
        updates_of(trainer, DataLoader(prompt_items(rows=n_prompts), size))
    for name, x in trainer.agent.state_dict().items():
        assert torch.equal(x, before[name])


def test_a_last_batch_that_is_incomplete_is_left_out_and_said():
    items = prompt_items(rows=15)
    with pytest.warns(UserWarning, match='is incomplete, and is left out'):
        rows = updates_of(new_trainer(), DataLoader(items, 6))
    whole = updates_of(new_trainer(), DataLoader(items, 6, drop_last=True))
    assert [row['score'] for row in rows] == [row['score'] for row in whole]


def test_what_was_left_out_does_not_count_when_the_loop_goes_on():
    items = prompt_items(rows=15)
    asked = []

    def note(tokens, mask):
        asked.append(tokens[:, :4].tolist())
        return mask.sum(1)

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        updates_of(new_trainer(), DataLoader(items, 6), note)
        list(ppo_updates(new_trainer(), DataLoader(items, 6), note, done=2))
    assert asked[3] == asked[2]


def test_too_few_prompts_for_one_batch_are_refused():
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with pytest.raises(ValueError, match='no whole batch'):
            updates_of(new_trainer(), DataLoader(prompt_items(rows=3), 6))


def test_prompts_that_can_be_gone_through_once_end_with_a_word():
    batches = iter(DataLoader(prompt_items(), 6))
    with pytest.raises(ValueError, match='run out after 2 batches'):
        updates_of(new_trainer(), batches)


def test_prompts_wider_than_the_settings_say_are_refused():
    with pytest.raises(ValueError, match='prompts of 4 tokens, but prompt_length is 3'):
        updates_of(new_trainer(prompt_length=3))
    assert len(updates_of(new_trainer(prompt_length=9))) == 3


def test_other_columns_are_left_alone():
    items = [item | {'label': 1, 'text': 'any', 'weight': torch.ones(3)}
             for item in prompt_items()]
    assert len(updates_of(new_trainer(), DataLoader(items, 6))) == 3


@pytest.mark.parametrize('batch', [
    torch.zeros(6, 4, dtype=torch.long), {'input_ids': torch.zeros(6, 4, dtype=torch.long)},
    {'input_ids': [[1, 2]]*6, 'attention_mask': [[1, 1]]*6}, 'text', None,
    {'input_ids': torch.zeros(6), 'attention_mask': torch.ones(6)},
])
def test_what_is_no_batch_of_prompts_is_refused(batch):
    with pytest.raises(ValueError, match='a batch of prompts is a dict'):
        updates_of(new_trainer(), [batch])


def scores_of_run(seed, other_seed):
    model, prompts = decided_gpt2(), DataLoader(prompt_items(), 6)
    torch.manual_seed(other_seed)
    trainer = new_trainer(model, seed=seed)
    rows = updates_of(trainer, prompts, lambda tokens, mask: tokens.sum(1))
    return [row['score'] for row in rows]


def test_the_seed_of_the_settings_acts_in_a_loop_of_ones_own():
    assert scores_of_run(1, 3) == scores_of_run(1, 5) != scores_of_run(2, 5)


def test_an_update_past_the_schedule_says_that_it_teaches_nothing():
    trainer = new_trainer()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        updates_of(trainer)
    with pytest.warns(UserWarning, match='all 3 updates of the settings are done'):
        updates_of(trainer)


def test_an_update_on_another_number_of_responses_is_refused():
    trainer = new_trainer()
    rollout = trainer.agent.generate(*tiny_prompts(rows=12), 4)
    with pytest.raises(ValueError, match='a batch of 12 responses, but batch_size is 6'):
        trainer.update(rollout, rollout.response_mask.float())


# sampling and scoring

def weights_of(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.agent.parameters()])


def leave_dropout_on(trainer):
    for module in trainer.agent.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.1
            torch.nn.Module.train(module, True)


def score_at_temperature_1(trainer):
    forward = trainer.agent.forward
    trainer.agent.forward = lambda tokens, mask, R, temperature: forward(tokens, mask, R, 1.0)


@pytest.mark.parametrize('bug', [leave_dropout_on, score_at_temperature_1])
@pytest.mark.parametrize('microbatches', [1, 3])
def test_a_loop_that_scores_otherwise_than_it_samples_is_stopped_before_it_learns(
        bug, microbatches):
    trainer = new_trainer(microbatches=microbatches)
    bug(trainer)
    before = weights_of(trainer)
    with pytest.raises(ValueError, match='sampling and scoring do not agree: by up to') as error:
        updates_of(trainer)
    assert '\n' not in str(error.value)
    assert torch.equal(weights_of(trainer), before)


@pytest.mark.parametrize('bug', [dropout_on, scored_at_temperature_1, scored_without_positions])
def test_the_bugs_of_the_study_run_all_the_same(bug):
    trainer = new_trainer(decided_gpt2(dropout=0.1))
    updates = ppo_updates(trainer, DataLoader(prompt_items(), 6), count_tokens)
    with bug(trainer.agent):
        next(updates)


def off_by(trainer, nats):
    rollout = trainer.agent.generate(*tiny_prompts(), 4)
    rollout.logprobs = rollout.logprobs - nats*rollout.response_mask
    return rollout


def test_rounding_is_let_through_and_a_hundredth_of_a_nat_is_not():
    trainer = new_trainer()
    rollout = off_by(trainer, 1e-4)
    trainer.update(rollout, rollout.response_mask.float())
    rollout = off_by(trainer, 1e-2)
    with pytest.raises(ValueError, match='up to 0.01 nats'):
        trainer.update(rollout, rollout.response_mask.float())


def test_a_rollout_that_was_learnt_from_may_be_learnt_from_again():
    trainer = new_trainer(learning_rate=1e-2)
    rollout = trainer.agent.generate(*tiny_prompts(), 4)
    for _ in range(2):
        trainer.update(rollout, rollout.response_mask.float())


def test_in_16_bits_it_is_said_and_goes_on():
    trainer = new_trainer(bf16=True)
    rollout = off_by(trainer, 0.5)
    with pytest.warns(UserWarning, match='models of experts'):
        trainer.update(rollout, rollout.response_mask.float())
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        updates_of(new_trainer(bf16=True))


def test_scaling_asks_the_reward_as_the_loop_does():
    class Numbers:
        mean = std = None

        def __call__(self, tokens, mask):
            return mask.sum(1, keepdim=True).float()

    with pytest.raises(ValueError, match='gave shape'):
        scale_rewards(Numbers(), Agent(decided_gpt2()), DataLoader(prompt_items(), 6),
                      RLHFConfig(response_length=4))
