"Gradient checkpointing: the same loss and gradients from less memory, and nothing else changes."
import copy
import warnings

import pytest
import torch
from architectures import ARCHITECTURES
from tiny import decided_gpt2, tiny_prompts

from rlhf_nbdev.agent import Agent
from rlhf_nbdev.beyond import MethodConfig, make_trainer
from rlhf_nbdev.dialog import add_lora
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer

DROPPING = {  # one that drops out in a module of its own, one in the layer itself, one with LoRA
    'GPT-2': lambda: decided_gpt2(eos=2, dropout=0.1),
    'OPT': lambda: ARCHITECTURES['OPT'](dropout=0.1),
    'Llama': lambda: ARCHITECTURES['Llama'](attention_dropout=0.1),
    'Mamba': ARCHITECTURES['Mamba'],
}
SMALL = {'batch_size': 6, 'response_length': 5, 'prompt_length': 4, 'updates': 2}


def lora_of(model):
    lora = add_lora(model, rank=2, blocks=1)
    for name, p in lora.items():
        torch.nn.init.normal_(p, std=0.1)
    return model


def trainer_of(model, **settings):
    return RLHFTrainer(Agent(copy.deepcopy(model)), copy.deepcopy(model),
                       RLHFConfig(**SMALL | settings))


def rollout_of(trainer):
    torch.manual_seed(3)
    return trainer.agent.generate(*tiny_prompts(), 5, trainer.config.temperature)


def bytes_kept(trainer, work):
    "Of what a forward pass keeps for the backward pass, but for the weights; and its loss."
    weights = {p.untyped_storage().data_ptr() for p in trainer.agent.parameters()}
    kept = {}

    def note(x):
        storage = x.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        loss, stats = work()
    return sum(kept.values()), loss, stats


def learn_once(trainer, rollout):
    torch.manual_seed(4)
    advantages, returns = torch.randn(2, 6, 5)
    kept, loss, stats = bytes_kept(
        trainer, lambda: trainer.compute_loss(rollout, advantages, returns))
    trainer.backward(loss)
    grads = {name: p.grad for name, p in trainer.agent.named_parameters()}
    return kept, loss, stats, grads


@pytest.mark.parametrize('name', [*DROPPING, 'Llama with LoRA'])
def test_the_same_loss_and_gradients_from_less_memory(name):
    model = DROPPING[name.split()[0]]()
    if 'LoRA' in name:
        model = lora_of(model)
    plain, saving = trainer_of(model), trainer_of(model, gradient_checkpointing=True)
    rollout = rollout_of(plain)
    kept, loss, stats, grads = learn_once(plain, rollout)
    kept_less, same_loss, same_stats, same_grads = learn_once(saving, rollout)
    assert torch.equal(loss, same_loss)
    assert stats == same_stats
    assert stats['ppo/approx_kl'] < 1e-6, 'dropout is off'
    assert any(grad is not None and grad.abs().max() > 0 for grad in grads.values())
    for weight, grad in grads.items():
        assert (grad is None) == (same_grads[weight] is None), weight
        if grad is not None:
            assert torch.equal(grad, same_grads[weight]), weight
    ratio = kept/kept_less
    print(f'{name}: kept {kept} bytes, with recomputing {kept_less}: {ratio:.1f} times less')
    assert kept_less < 0.8*kept
    assert not any(part.training for part in saving.agent.modules())


def test_sampling_and_whole_updates_are_the_same():
    for method in ('ppo', 'grpo', 'online_dpo'):
        weights = []
        for saves in (False, True):
            agent = Agent(decided_gpt2(eos=2, dropout=0.1))
            config = MethodConfig(**SMALL, method=method, responses_per_prompt=2,
                                  gradient_checkpointing=saves)
            trainer = make_trainer(agent, copy.deepcopy(agent.model), config)
            torch.manual_seed(5)
            rollout = rollout_of(trainer)
            scored = agent.compute_rewards(
                rollout, lambda tokens, mask: tokens.sum(1).float(), trainer.ref_model)
            trainer.learn_from(rollout, scored)
            weights.append([*agent.state_dict().values(), rollout_of(trainer).logprobs])
        for x, same in zip(*weights):
            assert torch.equal(x, same), method


def test_a_model_whose_layers_nobody_knows_is_refused():
    model = ARCHITECTURES['CTRL']()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with pytest.raises(ValueError, match='CTRL.* leave gradient_checkpointing out') as refusal:
            trainer_of(model, gradient_checkpointing=True)
    assert '\n' not in str(refusal.value)
