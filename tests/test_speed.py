"What measures: operations, seconds, and where bfloat16 is used."
import time

import pytest
import torch
from tiny import decided_gpt2, tiny_prompts
from torch.utils.flop_counter import FlopCounterMode

from rlhf_nbdev.agent import Agent
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.tools import models, speed


def test_operations_are_those_that_torch_counts():
    model = decided_gpt2()
    model.set_attn_implementation('eager')  # of which torch counts every product
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.full((3, 9), 5))
    above_the_diagonal = 4*2*16*3*(81 - 45)  # torch counts what attention may not look at, too
    ours = speed.forward_flops(model.config, torch.tensor([9, 9, 9]), 27)
    assert counter.get_total_flops() == ours + above_the_diagonal


def test_operations_of_rows_add_up():
    config = decided_gpt2().config
    four = speed.forward_flops(config, torch.tensor([4]), 0)
    seven = speed.forward_flops(config, torch.tensor([7]), 0)
    both = speed.forward_flops(config, torch.tensor([4, 7]), 3)
    assert both == four + seven + 2*16*64*3


def test_a_stopwatch_gives_the_fastest():
    naps = iter([0.03, 0.001, 0.02])
    fastest = speed.time_fastest(lambda: time.sleep(next(naps)), 3)
    assert 0.001 <= fastest < 0.02
    assert next(naps, None) is None


@pytest.mark.parametrize('asked, hardware', [(False, True), (True, True), (True, False)])
def test_bfloat16_touches_forward_passes_only(asked, hardware, monkeypatch):
    assert not RLHFConfig().bf16, 'off unless asked for'
    capabilities = {'cpu_name': 'Intel Xeon', 'avx512_bf16': True, 'amx_bf16': hardware}
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: capabilities, raising=False)
    config = RLHFConfig(batch_size=6, response_length=5, bf16=asked, epochs=1, minibatches=1)
    trainer = RLHFTrainer(Agent(decided_gpt2(eos=2)), decided_gpt2(eos=2), config)
    torch.manual_seed(0)
    rollout = trainer.agent.generate(*tiny_prompts(), 5)
    forward, backward = [], []

    def note_format(module, args, out):
        forward.append(out.dtype)

    def note_autocast(loss):
        backward.append(torch.is_autocast_enabled('cpu'))
        loss.backward()

    trainer.agent.model.transformer.h[0].mlp.c_fc.register_forward_hook(note_format)
    trainer.backward = note_autocast
    trainer.update(rollout, torch.randn(rollout.logprobs.shape))
    assert forward == [torch.bfloat16 if asked and hardware else torch.float32]
    assert backward == [False]
    with torch.no_grad(), trainer.autocast():
        logprobs, values, _ = trainer.agent(
            rollout.tokens, rollout.mask, rollout.response_mask.shape[1])
    assert logprobs.dtype == values.dtype == torch.float32


@pytest.mark.parametrize('has', [True, False, None])
@pytest.mark.parametrize('device', ['cpu', torch.device('cuda', 0), 'mps'])
def test_bfloat16_is_asked_for_where_the_hardware_has_it(has, device, monkeypatch):
    asked = []
    capabilities = {} if has is None else {'cpu_name': 'AMD EPYC', 'avx512_bf16': has}
    monkeypatch.setattr(torch, 'autocast', lambda kind, dtype, enabled: asked.append(
        (kind, dtype, bool(enabled))))
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: capabilities, raising=False)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported',
                        lambda including_emulation: has and not including_emulation)
    models.autocast(device)
    kind = torch.device(device).type
    assert asked == [(kind, torch.bfloat16, bool(has) and kind != 'mps')]
