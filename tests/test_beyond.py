"Methods beside PPO: what holds for each of them, and the mistakes that are easily made."
import copy
from dataclasses import replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from tiny import tiny_gpt2

from rlhf_nbdev.agent import Agent, Rollout
from rlhf_nbdev.beyond import (
    METHODS,
    MethodConfig,
    dpo_loss,
    draw_pairs,
    group_normalised,
    leave_one_out,
    make_trainer,
    method_batches,
    rank_pairs,
    sequence_logprobs,
    sequence_ratios,
)
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.run.checkpoint import load_checkpoint, save_checkpoint
from rlhf_nbdev.train import ppo_updates, prompt_batches

ALL_METHODS = ['ppo', *METHODS, 'dpo', 'online_dpo']
SMALL = {'batch_size': 8, 'response_length': 6, 'prompt_length': 4, 'updates': 2, 'epochs': 2,
         'missing_eos_penalty': 0.0}


class Prompts(torch.utils.data.Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, i):
        return {'input_ids': torch.tensor([0, 1 + i, 2 + i, 3 + i]),
                'attention_mask': torch.tensor([0, 1, 1, 1])}


def low_tokens(tokens, mask):
    "A reward that differs between responses."
    return -(tokens[:, 4:]*mask[:, 4:]).float().mean(1)


def start(method, **settings):
    config = MethodConfig(method=method, **(SMALL | settings))
    torch.manual_seed(0)
    model = tiny_gpt2()
    ref_model, pairs = copy.deepcopy(model), None
    batches = method_batches(Prompts(), config)
    if method == 'dpo':
        pairs = draw_pairs(Agent(copy.deepcopy(model)), low_tokens, batches, config)
    trainer = make_trainer(Agent(model), ref_model, config, pairs)
    return trainer, method_batches(Prompts(), config)


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.agent.model.parameters()])


@cache
def whole_run(method):
    "The trainer and the rows of a run of two updates that nothing stops."
    trainer, batches = start(method)
    return trainer, list(ppo_updates(trainer, batches, low_tokens))


@pytest.mark.parametrize('method', ALL_METHODS)
def test_every_method_learns_by_the_same_loop_and_is_that_of_its_seed(method):
    whole, rows = whole_run(method)
    assert len(rows) == 2 and abs(rows[0]['kl']) < 1e-4
    assert whole.optimizer.param_groups[0]['lr'] == 0
    again, batches = start(method)
    before = weights(again).clone()
    list(ppo_updates(again, batches, low_tokens))
    assert not torch.equal(weights(again), before)
    assert torch.equal(weights(again), weights(whole))


def test_ppo_is_what_it_was():
    trainer, rows = whole_run('ppo')
    model = tiny_gpt2()
    other = RLHFTrainer(Agent(model), copy.deepcopy(model), RLHFConfig(**SMALL))
    batches = prompt_batches(Prompts(), other.config)
    other_rows = list(ppo_updates(other, batches, low_tokens))
    assert rows[1]['loss/policy'] == other_rows[1]['loss/policy']
    assert torch.equal(weights(trainer), weights(other))


@pytest.mark.parametrize('method', [*METHODS, 'dpo', 'online_dpo'])
def test_the_number_of_microbatches_changes_nothing(method):
    ends = []
    for microbatches in (1, 4):
        trainer, batches = start(method, microbatches=microbatches, minibatches=1, epochs=1)
        next(ppo_updates(trainer, batches, low_tokens))
        ends.append(torch.cat([p.grad.flatten() for p in trainer.agent.model.parameters()]))
    whole, in_parts = ends
    assert (in_parts - whole).norm() < 1e-4*whole.norm()


@pytest.mark.parametrize('method', METHODS)
def test_the_value_head_is_left_alone(method):
    trainer, _ = whole_run(method)
    assert not trainer.agent.value_head.weight.any()


@pytest.mark.parametrize('method', ['rloo', 'grpo', 'drgrpo', 'gspo'])
def test_groups_that_agree_teach_nothing_without_a_penalty(method):
    trainer, batches = start(method, beta=0.0)
    before = weights(trainer).clone()
    rows = list(ppo_updates(trainer, batches, lambda tokens, mask: torch.ones(len(tokens))))
    assert rows[0]['group/all_agree'] == 1.0
    assert torch.equal(weights(trainer), before)


def test_pairs_that_agree_are_said_to_teach_nothing():
    trainer, batches = start('online_dpo')
    before = weights(trainer).clone()
    with pytest.warns(UserWarning, match='scored alike'):
        list(ppo_updates(trainer, batches, lambda tokens, mask: torch.ones(len(tokens))))
    assert torch.equal(weights(trainer), before)


def test_each_prompt_stands_k_times_in_a_row():
    config = MethodConfig(method='grpo', **SMALL)
    for batch in method_batches(Prompts(), config):
        groups = batch['input_ids'].view(2, 4, 4)
        assert (groups == groups[:, :1]).all()
        assert not torch.equal(groups[0, 0], groups[1, 0])


def test_the_loss_of_the_sequence_ratio_reaches_every_token():
    torch.manual_seed(0)
    old, mask = torch.randn(2, 5), torch.tensor([[1.0]*5, [1.0]*3 + [0.0]*2])
    new = old.clone().requires_grad_()
    sequence_ratios(new, old, mask).sum().backward()
    assert (new.grad[0] == 1).all()
    assert torch.allclose(new.grad[1], torch.tensor([5/3]*3 + [0.0]*2))


@pytest.mark.parametrize('side', [(0, 3), (3, 0), (2, 2)])
def test_padding_on_either_side_has_no_effect_on_a_sum_of_log_probs(side):
    torch.manual_seed(0)
    model, tokens = tiny_gpt2(), torch.randint(1, 30, (3, 7))
    mask = torch.ones_like(tokens)
    logits = model(tokens).logits[:, :-1]/0.7
    right = -F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction='none').sum(1)
    for ids, real in ((tokens, mask), (F.pad(tokens, side), F.pad(mask, side))):
        assert torch.allclose(sequence_logprobs(model, ids, real, 0.7), right, atol=1e-4)


def test_the_prompt_cancels_in_dpo():
    chosen, rejected = torch.tensor([-3.0, -8.0]), torch.tensor([-5.0, -7.0])
    prompt = torch.tensor([-20.0, -4.0])
    plain = dpo_loss(chosen, rejected, chosen - 1, rejected + 2, 0.3)
    longer = dpo_loss(chosen + prompt, rejected + prompt, chosen - 1, rejected + 2, 0.3)
    assert torch.allclose(plain, longer)


def test_the_better_response_is_chosen():
    ones = torch.ones(4, 1)
    rollout = Rollout(torch.arange(4)[:, None], ones, ones, ones, ones)
    pairs = rank_pairs(rollout, torch.tensor([0.0, 1.0, 7.0, -7.0]))
    assert pairs['chosen'].flatten().tolist() == [1, 2]
    assert pairs['rejected'].flatten().tolist() == [0, 3]


def test_baselines_on_one_group():
    rewards = torch.tensor([[1.0, 2.0, 6.0]])
    assert torch.allclose(leave_one_out(rewards), torch.tensor([[-3.0, -1.5, 4.5]]))
    assert torch.allclose(group_normalised(rewards).std(1), torch.ones(1), atol=1e-3)


def test_more_updates_than_pairs_begin_again():
    trainer, _ = start('dpo')
    trainer.pairs = {side: x[:6] for side, x in trainer.pairs.items()}
    trainer.scheduler.last_epoch = 1
    expected = trainer.pairs['chosen'][[4, 5, 0, 1]]
    assert torch.equal(trainer.next_pairs()['chosen'], expected)


@pytest.mark.parametrize('method', ALL_METHODS)
def test_a_run_that_was_stopped_goes_on_to_the_same_end(method, tmp_path):
    stopped, batches = start(method)
    next(ppo_updates(stopped, batches, low_tokens))
    save_checkpoint(tmp_path/'checkpoint.safetensors', stopped, 1)
    resumed, batches = start(method)
    load_checkpoint(tmp_path/'checkpoint.safetensors', resumed)
    rows = list(ppo_updates(resumed, batches, low_tokens, done=1))
    assert [row['update'] for row in rows] == [2]
    assert torch.equal(weights(resumed), weights(whole_run(method)[0]))


def test_a_loss_that_is_not_finite_names_its_step():
    trainer, _ = start('dpo')
    with torch.no_grad():
        next(trainer.agent.model.parameters()).fill_(float('nan'))
    with pytest.raises(FloatingPointError, match='step 1 of 4: the loss is nan'):
        trainer.learn_pairs(trainer.next_pairs())


@pytest.mark.parametrize('settings, words', [
    ({'method': 'trpo'}, 'method must be one of'),
    ({'method': 'rloo', 'responses_per_prompt': 1}, 'at least 2'),
    ({'method': 'grpo', 'responses_per_prompt': 3}, 'does not divide into groups of 3'),
    ({'method': 'dpo', 'batch_size': 9, 'minibatches': 1}, 'groups of 2'),
    ({'method': 'dpo', 'batch_size': 2}, 'too few'),
    ({'responses_per_prompt': 0}, 'at least 1'),
])
def test_what_cannot_be_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        MethodConfig(**settings)


def test_dpo_without_pairs_is_refused():
    trainer, _ = start('ppo')
    config = replace(trainer.config, method='dpo')
    with pytest.raises(ValueError, match='dpo learns from pairs'):
        make_trainer(trainer.agent, trainer.ref_model, config)
