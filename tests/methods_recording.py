"""What TRL 1.16's GRPO, RLOO and DPO trainers made of our batches, under our names; written down by
parity/record_methods.py."""
import json
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors import safe_open
from transformers import GPT2Config, GPT2LMHeadModel
from trl_recording import same

from rlhf_nbdev.advantage import kl_k3, masked_mean
from rlhf_nbdev.agent import Agent, Rollout
from rlhf_nbdev.beyond import (
    METHODS,
    GroupMethod,
    MethodConfig,
    ScoredRollout,
    clipped_losses,
    for_each_token,
    group_normalised,
    make_trainer,
    token_ratios,
)

with safe_open(Path(__file__).parent/'parity'/'methods.safetensors', 'pt') as file:
    TENSORS = {name: file.get_tensor(name) for name in file.keys()}
    RECORDED = json.loads(file.metadata()['settings'])
CASES = RECORDED['cases']
KINDS = sorted(RECORDED['groups'])  # even: all prompts of P tokens; ragged: padded on the left
OURS = {
    'grpo': METHODS['grpo'],
    'dr_grpo': METHODS['drgrpo'],
    'gspo': METHODS['gspo'],
    'bnpo': GroupMethod(
        for_each_token(group_normalised), token_ratios, masked_mean, kl_in_loss=True),
}
OURS['dapo'] = OURS['bnpo']  # the same on a whole batch


def close(quantity, ours, theirs, relation='=', tolerance=2e-6):
    "As `same`, where 1 or the largest of their numbers, if that is larger, is the measure."
    size = max(1.0, torch.as_tensor(theirs).abs().max().item())
    same(quantity, ours, theirs, tolerance*size, relation)


def base_of(case):
    "The method's name without what else is in the name of a case."
    for ending in ('_first', '_kl', '_corrected', '_half'):
        case = case.removesuffix(ending)
    return case


def recorded(prefix):
    "Tensors right under a prefix, as attributes."
    prefix += '/'
    names = [name.removeprefix(prefix) for name in TENSORS if name.startswith(prefix)]
    return SimpleNamespace(**{name: TENSORS[prefix + name] for name in names if '/' not in name})


def gradients(prefix):
    "TRL's gradients of some weights, by their names."
    prefix += '/grad/'
    return {name.removeprefix(prefix): x for name, x in TENSORS.items() if name.startswith(prefix)}


def load_batch(kind):
    "Tokens, masks and log-probs of a batch, under our names."
    x = recorded(kind)
    x.mask = x.completion_mask
    x.K = RECORDED['groups'][kind]
    x.whole_mask = torch.cat([x.prompt_mask, x.mask], 1)
    x.tokens = torch.cat([x.prompt_ids, x.completion_ids], 1)
    return x


def load_case(kind, case):
    "A batch, and what TRL's method made of it."
    x = load_batch(kind)
    for name, tensor in vars(recorded(f'{kind}/{case}')).items():
        setattr(x, name, tensor)
    x.settings, x.beta = CASES[case], CASES[case]['beta']
    if case.endswith('_first'):
        x.logprobs = x.old_logprobs
    x.method = OURS.get(base_of(case))
    x.metrics = recorded(f'{kind}/{case}/metric/clip_ratio')
    return x


def load_gpt2(prefix):
    model = GPT2LMHeadModel(GPT2Config(**RECORDED['model'])).eval()
    weights = {name.removeprefix(f'{prefix}/'): x for name, x in TENSORS.items()
               if name.startswith(f'{prefix}/')}
    missing = model.load_state_dict(weights, strict=False).missing_keys
    assert missing == ['lm_head.weight']  # tied
    return model


def loss_of(x, logprobs):
    "Our loss of the case's method, from given log-probs and TRL's advantages."
    ratios = x.method.ratios(logprobs, x.old_logprobs, x.mask)
    losses = clipped_losses(ratios, x.advantages[:, None], x.settings['epsilon'])
    if x.beta:
        losses = losses + x.beta*kl_k3(logprobs, x.ref_logprobs)
    return x.method.average(losses, x.mask)


def with_gradient(loss_from, logprobs):
    "A loss, and its gradient by the log-probs."
    logprobs = logprobs.clone().requires_grad_()
    loss = loss_from(logprobs)
    loss.backward()
    return loss.detach(), logprobs.grad


def load_trainer(x, which, method, **settings):
    "Our trainer on one of TRL's models."
    (B, R), P = x.mask.shape, x.prompt_ids.shape[1]
    config = MethodConfig(
        prompt_length=P, response_length=R, batch_size=B, updates=1, epochs=1, minibatches=1,
        temperature=x.settings['temperature'], clip_ratio=x.settings['epsilon'], beta=x.beta,
        method=method, responses_per_prompt=x.K, **settings)
    agent = Agent(load_gpt2(which))
    return make_trainer(agent, load_gpt2('reference'), config)


def rollout_of(x):
    "What TRL was given, as our loop has it; there are no values."
    return Rollout(
        tokens=x.tokens, mask=x.whole_mask, response_mask=x.mask,
        logprobs=x.old_logprobs*x.mask, values=torch.zeros_like(x.old_logprobs),
        temperature=x.settings['temperature'])


def scored_rollout_of(x):
    "As `GroupTrainer.compute_loss` gets it."
    return ScoredRollout(**vars(rollout_of(x)), ref_logprobs=x.ref_logprobs)


def compare_gradients(quantity, model, prefix, norm, relation='=', factor=1.0):
    "Some of the weights' gradients, and the norm of all."
    every = torch.cat([p.grad.flatten() for p in model.parameters()])
    close(f'{quantity}, norm', factor*every.norm(), norm, relation, 5e-6)
    ours = dict(model.named_parameters())
    for name, theirs in gradients(prefix).items():
        close(quantity, factor*ours[name].grad, theirs, relation, 1e-5)
