"The loop of lesson 7: its rows, its order, its scale, and when it stops."
import copy
import math
from types import SimpleNamespace

import pytest
import torch
from tiny import decided_gpt2, prompt_items
from torch.utils.data import DataLoader

from rlhf_nbdev import train
from rlhf_nbdev.agent import Agent, Rollout
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.reward import RewardModel


def count_tokens(tokens, mask):
    return mask.sum(1).float()


def test_metrics_are_sums_over_a_response_and_means_over_the_batch():
    rollout = Rollout(
        tokens=torch.zeros(2, 5),
        mask=torch.ones(2, 5),
        response_mask=torch.tensor([[1, 1, 0], [1, 1, 1]]),
        logprobs=torch.tensor([[-1.0, -2, 9], [-1, -1, -1]]),
        values=torch.zeros(2, 3))
    scored = SimpleNamespace(
        scores=torch.tensor([1.0, 4.0]),
        ref_logprobs=torch.tensor([[-2.0, -2, -7], [-1, -1.5, 0]]))

    def k3(log_ratio):
        return math.exp(-log_ratio) - 1 + log_ratio

    assert train.rollout_metrics(rollout, scored) == pytest.approx({
        'score': 2.5,
        'score_std': 1.5,
        'kl': (1 + (0.5 - 1))/2,
        'kl_k3': (k3(1) + k3(0.5) + k3(-1))/2,
        'response_tokens': 2.5,
    }, abs=1e-6)


def order_of_prompts(seed):
    "Two epochs of four batches of five, whatever other random numbers are drawn."
    config = RLHFConfig(batch_size=5, minibatches=1, seed=seed)
    loader = train.prompt_batches(range(12), config)
    torch.rand(1)
    return [batch.tolist() for _ in range(2) for batch in loader]


def test_the_order_of_prompts_is_that_of_the_seed():
    first = order_of_prompts(0)
    assert order_of_prompts(0) == first != order_of_prompts(1)
    assert [len(set(batch)) for batch in first] == [5]*4
    assert first[:2] != first[2:], 'the second epoch has the order of the first'


def test_rewards_are_scaled_on_the_references_responses_to_eight_batches(monkeypatch):
    reference, reward_model = Agent(decided_gpt2()), RewardModel(decided_gpt2(seed=3))
    rollouts, sample_responses = [], train.sample_responses

    def watched_sampling(agent, batches, config):
        rollouts.extend(sample_responses(agent, batches, config))
        return rollouts

    monkeypatch.setattr(train, 'sample_responses', watched_sampling)
    twelve_batches = DataLoader(prompt_items()*6, 6)
    train.scale_rewards(reward_model, reference, twelve_batches, RLHFConfig(response_length=4))
    with torch.no_grad():
        scores = torch.cat([reward_model(r.tokens, r.mask) for r in rollouts])
    assert len(rollouts) == 8
    assert scores.mean().abs() < 1e-4
    assert scores.std().item() == pytest.approx(1, abs=1e-4)


STEERED = RLHFConfig(
    response_length=4, batch_size=6, updates=5, epochs=1, minibatches=1,
    target_kl=0.5, kl_horizon=12, beta=0.2, missing_eos_penalty=2.0)


@pytest.fixture
def steered_run(monkeypatch):
    "Rows of five updates, the β with which each was shaped, and its temperature."
    agent = Agent(decided_gpt2())
    trainer = RLHFTrainer(agent, decided_gpt2(seed=2), STEERED)
    betas, temperatures = [], []
    generate, shape_rewards = agent.generate, train.shape_rewards

    def watched_generate(*args, **options):
        rollout = generate(*args, **options)
        temperatures.append(rollout.temperature)
        return rollout

    def watched_shaping(scores, logprobs, ref_logprobs, response_mask, beta):
        betas.append(beta)
        return shape_rewards(scores, logprobs, ref_logprobs, response_mask, beta)

    monkeypatch.setattr(agent, 'generate', watched_generate)
    monkeypatch.setattr(train, 'shape_rewards', watched_shaping)
    torch.manual_seed(0)
    rows = list(train.ppo_updates(trainer, DataLoader(prompt_items(), 6), count_tokens))
    return rows, betas, temperatures


def test_the_loop_gives_a_row_for_each_update(steered_run):
    rows, _, temperatures = steered_run
    assert [row['update'] for row in rows] == [1, 2, 3, 4, 5]
    assert {'score', 'kl', 'loss/policy', 'ppo/grad_norm'} <= rows[0].keys()
    assert len({row['score'] for row in rows}) > 1
    assert temperatures == [0.7]*5
    for before, after in zip(rows, rows[1:]):
        assert before['seconds'] < after['seconds']


def test_rewards_are_shaped_with_the_beta_in_force_which_is_steered_after(steered_run):
    rows, betas, _ = steered_run
    assert betas == [row['beta'] for row in rows]
    assert betas[0] == 0.2
    for before, after in zip(rows, rows[1:]):
        error = min(max(before['kl']/0.5 - 1, -0.2), 0.2)
        assert after['beta'] == pytest.approx(before['beta']*(1 + error*6/12))


def test_the_loop_goes_on_after_updates_that_were_done(monkeypatch):
    trainer = RLHFTrainer(Agent(decided_gpt2()), decided_gpt2(seed=2), STEERED)
    left_out, batches = [], DataLoader(prompt_items(), 6)
    endless_batches = train.endless_batches

    def watched_batches(prompts, done):
        left_out.append(done)
        return endless_batches(prompts, done)

    monkeypatch.setattr(train, 'endless_batches', watched_batches)
    rows = list(train.ppo_updates(trainer, batches, count_tokens, done=3))
    assert [row['update'] for row in rows] == [4, 5]
    assert left_out == [3]


def test_batches_begin_again_and_the_first_are_left_out():
    batches = train.endless_batches(['a', 'b', 'c'], 4)
    assert [next(batches) for _ in range(4)] == ['b', 'c', 'a', 'b']


def test_what_is_not_finite_stops_the_loop_and_is_kept():
    agent = Agent(decided_gpt2())
    trainer = RLHFTrainer(agent, copy.deepcopy(agent.model), STEERED)

    def broken(tokens, mask):
        return torch.full((6,), math.nan)

    updates = train.ppo_updates(trainer, DataLoader(prompt_items(), 6), broken)
    with pytest.raises(FloatingPointError, match='update 1: ') as failure:
        next(updates)
    assert failure.value.update == 1
    assert {'input_ids', 'tokens', 'logprobs'} <= failure.value.batch.keys()


def test_a_loader_without_a_whole_batch_is_refused():
    trainer = RLHFTrainer(Agent(decided_gpt2()), decided_gpt2(), STEERED)
    with pytest.raises(ValueError, match='no whole batch'):
        next(train.ppo_updates(trainer, DataLoader([1], 2, drop_last=True), None))


LOOP = RLHFConfig(prompt_length=4, response_length=6, batch_size=6, minibatches=1, epochs=1,
                  updates=1)


def first_row(reward_model, batch=None, model=None):
    model = model or decided_gpt2()
    trainer = RLHFTrainer(Agent(model), copy.deepcopy(model), LOOP)
    batches = [batch] if batch else DataLoader(prompt_items(), 6)
    return next(iter(train.ppo_updates(trainer, batches, reward_model)))


@pytest.mark.parametrize('options, message', [
    ({'vocab': 80}, 'the policy has 64 tokens, the reward model 80'),
    ({'context': 8}, 'rows of 10 tokens exceed the context of 8')])
def test_a_reward_model_that_cannot_read_what_is_written_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        first_row(RewardModel(decided_gpt2(**options)))


@pytest.mark.parametrize('ids, mask', [
    (torch.ones(6, 4), torch.ones(6, 4)),
    (torch.ones(6, 4, dtype=torch.long), torch.ones(6, 3)),
    (torch.ones(6, 0, dtype=torch.long), torch.ones(6, 0)),
    (torch.ones(6, 4, dtype=torch.long), 2*torch.ones(6, 4)),
    (torch.ones(6, 4, dtype=torch.long), torch.full((6, 4), 0.5))])
def test_a_batch_that_holds_no_prompts_is_refused(ids, mask):
    with pytest.raises(ValueError, match='input_ids'):
        first_row(count_tokens, {'input_ids': ids, 'attention_mask': mask})


@pytest.mark.parametrize('kind', [torch.bool, torch.float32, torch.uint8, torch.int32])
def test_a_mask_of_any_kind_is_a_mask(kind):
    batch = next(iter(DataLoader(prompt_items(), 6)))
    mask = batch['attention_mask'].to(kind)
    other = {'input_ids': batch['input_ids'].int(), 'attention_mask': mask}
    rows = [first_row(count_tokens, each) for each in (batch, other)]
    assert rows[0]['kl'] == rows[1]['kl'] and rows[0]['ppo/entropy'] == rows[1]['ppo/entropy']
