"""One update of TRL 1.12, as parity/record.py wrote it down, under our names; and how to compare.

`TABLE` is what parity/compare.py prints: (quantity, relation) -> largest difference, largest
number, tolerance."""
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors import safe_open
from transformers import GPT2Config, GPT2LMHeadModel

from rlhf_nbdev.agent import Agent, Rollout
from rlhf_nbdev.ppo import RLHFConfig
from rlhf_nbdev.reward import RewardModel

TABLE = {}
with safe_open(Path(__file__).parent/'parity'/'reference.safetensors', 'pt') as file:
    TENSORS = {name: file.get_tensor(name) for name in file.keys()}
    RECORDED = json.loads(file.metadata()['settings'])
CASES = sorted(RECORDED['cases'])  # full: no stop token; eos: responses end there; discount: γ < 1


def same(quantity, ours, theirs, tolerance, relation='='):
    "Assert that two tensors agree, and keep by how much they do not."
    ours, theirs = (torch.as_tensor(x, dtype=torch.float64).detach() for x in (ours, theirs))
    assert ours.shape == theirs.shape and ours.numel(), f'{quantity}: {ours.shape}, {theirs.shape}'
    found = (ours - theirs).abs().max().item(), theirs.abs().max().item(), tolerance
    before = TABLE.get((quantity, relation), found)
    TABLE[quantity, relation] = tuple(max(pair) for pair in zip(found, before))
    assert found[0] <= tolerance, (
        f'{quantity} ({relation}): off by {found[0]:.2g}, allowed are {tolerance:.2g}')


def recorded(prefix):
    "Tensors by the rest of their name."
    prefix += '/'
    return {name.removeprefix(prefix): x for name, x in TENSORS.items() if name.startswith(prefix)}


def config_of(case, batch_size, response_length):
    "TRL adds 1e-7 to the temperature, and clips no gradients."
    c = RECORDED['cases'][case]
    prompt_length = RECORDED['model']['n_positions'] - response_length
    return RLHFConfig(
        prompt_length=prompt_length, response_length=response_length,
        batch_size=batch_size, updates=1, epochs=c['num_ppo_epochs'],
        minibatches=c['num_mini_batches'], learning_rate=c['learning_rate'],
        adam_epsilon=c['adam_epsilon'], max_grad_norm=math.inf,
        temperature=c['temperature'] + 1e-7, gamma=c['gamma'], lam=c['lam'],
        clip_ratio=c['cliprange'], clip_value=c['cliprange_value'], value_coef=c['vf_coef'],
        beta=c['kl_coef'], missing_eos_penalty=c['missing_eos_penalty'])


def prompt_mask(queries):
    return (queries != RECORDED['model']['pad_token_id']).long()


def load(case):
    "What TRL had in hand, with our names for its masks and settings."
    x = SimpleNamespace(**{name: x for name, x in recorded(case).items() if '/' not in name})
    x.mask = (~x.padding_mask).long()
    x.mask_p1 = (~x.padding_mask_p1).long()  # one position past EOS, for the score and the value
    x.early = x.mask_p1.sum(1) > x.mask.sum(1)  # (B,) there is room for it: ended before R tokens
    x.R = x.mask.shape[1]
    x.steps = recorded(f'{case}/step')
    x.config = config_of(case, *x.mask.shape)
    x.gamma, x.lam = x.config.gamma, x.config.lam
    x.rollout = Rollout(
        tokens=torch.cat([x.queries, x.responses], 1),
        mask=torch.cat([prompt_mask(x.queries), x.mask], 1),
        response_mask=x.mask, logprobs=x.logprobs, values=x.values,
        temperature=x.config.temperature)
    return x


def one_past_eos(rollout, mask_p1):
    "The rollout on TRL's mask, which has a value one position past EOS: there ours reads no more."
    R = mask_p1.shape[1]
    mask = torch.cat([rollout.mask[:, :-R], mask_p1], 1)
    return replace(rollout, mask=mask, response_mask=mask_p1)


def load_gpt2(prefix):
    model = GPT2LMHeadModel(GPT2Config(**RECORDED['model'])).eval()
    trunk = {name: x for name, x in recorded(prefix).items() if name.startswith('transformer')}
    missing = model.load_state_dict(trunk, strict=False).missing_keys
    assert missing == ['lm_head.weight']  # tied
    return model


def head_of(prefix):
    return {name: TENSORS[f'{prefix}/score.{name}'] for name in ('weight', 'bias')}


def load_agent(case):
    agent = Agent(load_gpt2('policy'))
    agent.value_head.load_state_dict(head_of('policy'))
    if RECORDED['cases'][case]['stop_token'] is None:
        agent.eos_token_ids = [-1]
    return agent


def load_reward_model():
    reward_model = RewardModel(load_gpt2('reference'))
    reward_model.head.load_state_dict(head_of('reward'))
    return reward_model


def last(mask):
    "(B,): where each response ends."
    return mask.sum(1) - 1


def move_scores_back(x):
    "TRL's rewards with each score on the last token, in place of one past it."
    rewards, rows = x.rewards.clone(), torch.arange(len(x.mask))
    rewards[rows, last(x.mask_p1)] -= x.scores
    rewards[rows, last(x.mask)] += x.scores
    return rewards


# learning

def loss_like_theirs(trainer, rollout, advantages, returns, mask_p1):
    """TRL averages the value loss over one position more than the policy loss: two calls of ours,
    one for each mean."""
    if mask_p1.equal(rollout.response_mask):
        return trainer.compute_loss(rollout, advantages, returns)
    config = trainer.config
    trainer.config = replace(config, value_coef=0.0)
    policy_loss, stats = trainer.compute_loss(rollout, advantages, returns)
    trainer.config = config
    longer = one_past_eos(rollout, mask_p1)
    nothing = torch.zeros_like(advantages)  # no advantages: no policy loss
    value_loss, value_stats = trainer.compute_loss(longer, nothing, returns)
    return policy_loss + value_loss, stats | {'loss/value': value_stats['loss/value']}


def take_step(trainer, loss):
    "The norm of the gradient before clipping."
    trainer.optimizer.zero_grad()
    trainer.backward(loss)
    return trainer.step()


def weights_of(agent):
    "Under TRL's names."
    weights = {}
    for name, p in agent.named_parameters():
        name = name.removeprefix('model.').replace('value_head', 'score')
        weights[name] = p.detach().clone()
    return weights


def is_key_bias(name, x):
    "Which of its numbers are biases of keys, which the softmax does not see."
    if not name.endswith('c_attn.bias'):
        return torch.zeros_like(x, dtype=torch.bool)
    part = torch.arange(x.numel())//(len(x)//3)  # queries, keys, values
    return part == 1


def same_weights(quantity, ours, theirs, relation='='):
    """All of them. Adam divides by |gradient| + 1e-5, which makes much of rounding where gradients
    are small: most for the keys' biases, of which rounding is all there is."""
    assert ours.keys() == theirs.keys()

    def flat(weights, of_keys):
        parts = [weights[name][is_key_bias(name, x) == of_keys] for name, x in theirs.items()]
        return torch.cat(parts).double()

    same(quantity, flat(ours, False), flat(theirs, False), 3e-5, relation)
    same(f"{quantity}, keys' biases", flat(ours, True), flat(theirs, True), 1e-4, relation)
    error = (flat(ours, False) - flat(theirs, False)).norm()
    way = (flat(recorded('policy'), False) - flat(theirs, False)).norm()
    same(f'{quantity}, error / way from the start', error/way, 0.0, 1e-4, relation)
