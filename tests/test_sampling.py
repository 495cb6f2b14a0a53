"Sampling as one step: the tokens of the plain loop, whatever the model, and also when replayed."
import copy
import shutil
import warnings
from contextlib import nullcontext

import pytest
import torch
from architectures import ARCHITECTURES, P, R
from test_architectures import prompts
from tiny import close, decided_gpt2, tiny_prompts

from rlhf_nbdev.agent import Agent
from rlhf_nbdev.tools import sampling
from rlhf_nbdev.tools.sampling import HostWaits, RecordedSampler, Tape, faster_sampler

pytestmark = pytest.mark.filterwarnings('ignore')
CUDA = pytest.param('cuda', marks=pytest.mark.skipif(
    not torch.cuda.is_available(), reason='there is no CUDA GPU'))
SUITED = ['GPT-2', 'GPT-2, scaled by layer', 'GPT-J', 'GPT-NeoX', 'OPT', 'Llama', 'Mistral',
          'Qwen 2', 'Qwen 3', 'Gemma', 'Gemma 2', 'Gemma 3', 'Phi-3', 'OLMo 2', 'Cohere', 'Granite',
          'Mixtral', 'gpt-oss', 'DeepSeek V2', 'SmolLM 3']
FLOAT32_ONLY = ['Gemma 2', 'Mixtral', 'gpt-oss', 'DeepSeek V2']  # so the library has them
NOT_SUITED = ['OpenAI-GPT', 'BLOOM', 'MPT', 'JetMoE', 'Falcon, ALiBi',
              'Llama, dynamic RoPE beyond 8', 'Mistral, window of 8', 'Gemma 2, window of 8',
              'Gemma 3, window of 8', 'GPT-Neo, window of 8', 'Qwen3-Next', 'LFM2', 'Mamba',
              'Mamba 2', 'Jamba']


@pytest.fixture(autouse=True)
def same_random_numbers(monkeypatch):
    "Drawn on the CPU whatever the device: there, many at once are those that come one by one."
    rand = torch.rand

    def rand_on_cpu(*size, dtype=None, device=None):
        return rand(*size, dtype=dtype).to(device)

    monkeypatch.setattr(torch, 'rand', rand_on_cpu)


def agent_of(model, device='cpu', eos=None):
    "With values that are not 0."
    agent = Agent(model.to(device))
    torch.manual_seed(0)
    torch.nn.init.normal_(agent.value_head.weight.data)
    agent.eos_token_ids = agent.eos_token_ids if eos is None else eos
    return agent


def exact_agent_of(model, *options, **more):
    "In float64: no dart falls on the other side of an edge for its rounding."
    return agent_of(model, *options, **more).double()


def on(device, batch):
    return tuple(x.to(device) for x in batch)


def tape(sampler, batch, response_length, do_sample=True):
    "On a CPU the step is recorded too, and afterwards only replayed."
    if batch[0].device.type == 'cuda':
        return  # it records by itself
    sampler.prepare(batch[1], response_length, do_sample)
    sampler.graph = sampler.tape(*batch)


def hold_to_the_loop(sampler, batch, *options, seeds=3, within=1e-4):
    "The same tokens and masks, and the same log-probs and values but for rounding."
    for seed in range(seeds):
        torch.manual_seed(seed)
        found = sampler.generate(*batch, *options)
        torch.manual_seed(seed)
        plain = sampler.agent.generate(*batch, *options)
        for name in ('tokens', 'mask', 'response_mask'):
            ours, theirs = getattr(found, name), getattr(plain, name)
            assert ours.equal(theirs) and ours.dtype == theirs.dtype, name
        close(found.logprobs, plain.logprobs, within)
        close(found.values, plain.values, within)
        assert found.temperature == plain.temperature
    return found


# whatever the model

@pytest.mark.parametrize('device', ['cpu', CUDA])
@pytest.mark.parametrize('name', SUITED)
def test_a_recorded_step_samples_what_the_loop_samples(name, device):
    in_float32 = name in FLOAT32_ONLY
    agent = (agent_of if in_float32 else exact_agent_of)(ARCHITECTURES[name](), device)
    seeds = 1 if in_float32 else 3  # with many, a dart would fall on the other side of an edge
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        sampler = faster_sampler(agent, P, R)
    batch = on(device, prompts())
    hold_to_the_loop(sampler, batch, R, 0.8, seeds=seeds)
    tape(sampler, batch, R)
    hold_to_the_loop(sampler, batch, R, 0.8, seeds=seeds)
    hold_to_the_loop(sampler, batch, R, 1.3, seeds=seeds)  # the temperature is not recorded
    hold_to_the_loop(sampler, batch, R, 1.0, False, seeds=1)


@pytest.mark.parametrize('name', NOT_SUITED)
def test_another_model_is_sampled_by_the_loop_and_one_line_says_so(name):
    agent = Agent(ARCHITECTURES[name]())
    with pytest.warns(UserWarning) as said:
        assert faster_sampler(agent, P, R) is agent
    line, = [str(x.message) for x in said if 'sampled by the plain loop' in str(x.message)]
    assert line.startswith(type(agent.model).__name__) and len(line.splitlines()) == 1


@pytest.mark.sweep
@pytest.mark.parametrize('name', ARCHITECTURES)
def test_any_model_is_sampled_as_by_the_loop(name):
    try:
        agent = agent_of(ARCHITECTURES[name]())
    except ValueError:
        return
    sampler = faster_sampler(agent, P, R)
    if sampler is not agent:
        tape(sampler, prompts(), R, do_sample=False)
        hold_to_the_loop(sampler, prompts(), R, 1.0, False, seeds=1, within=1e-3)


def test_a_model_in_16_bits_is_tried_in_float32_and_left_alone():
    agent = agent_of(decided_gpt2().bfloat16())
    assert isinstance(faster_sampler(agent, 4, 8), RecordedSampler)
    assert agent.model.dtype == torch.bfloat16
    assert agent.eos_token_ids == [0]


def test_a_window_that_a_row_does_not_outgrow_is_no_trouble():
    agent = agent_of(ARCHITECTURES['gpt-oss']())  # of 64
    assert agent.model.config.sliding_window == 64
    assert isinstance(faster_sampler(agent, P, R), RecordedSampler)
    with pytest.raises(ValueError, match='look back over 64 tokens only'):
        RecordedSampler(agent).prepare(torch.ones(1, 60, dtype=torch.long), 10, True)


def test_memory_that_runs_out_is_not_taken_for_an_unsuited_model(monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(RecordedSampler, 'step', fail)
    with pytest.raises(torch.OutOfMemoryError):
        faster_sampler(agent_of(decided_gpt2()), 4, 8)


# rows, shapes, ends

@pytest.mark.parametrize('device', ['cpu', CUDA])
def test_one_sampler_takes_one_shape_after_another(device):
    sampler = RecordedSampler(exact_agent_of(decided_gpt2(eos=2), device))
    ids, mask = on(device, tiny_prompts())
    for rows, response_length in ((6, 8), (6, 8), (4, 8), (4, 2), (4, 1), (6, 20), (6, 8)):
        hold_to_the_loop(sampler, (ids[:rows], mask[:rows]), response_length)


@pytest.mark.parametrize('eos', [[2], [2, 5, 9], list(range(0, 64, 4)), list(range(64)), [63]])
def test_rows_end_at_any_of_the_tokens_that_end(eos):
    sampler = RecordedSampler(exact_agent_of(decided_gpt2(), eos=eos))
    rollout = hold_to_the_loop(sampler, tiny_prompts(), 20, 1.0)
    if len(eos) == 64:
        assert rollout.response_mask.shape[1] == 1


def test_tokens_that_end_may_be_changed():
    agent = exact_agent_of(decided_gpt2(), eos=[63])
    sampler = RecordedSampler(agent)
    hold_to_the_loop(sampler, tiny_prompts(), 8)
    agent.eos_token_ids = list(range(0, 64, 2))
    hold_to_the_loop(sampler, tiny_prompts(), 8)


def test_the_host_looks_every_eight_tokens_whether_all_have_ended():
    agent = agent_of(decided_gpt2(), eos=list(range(64)))
    sampler, steps = RecordedSampler(agent), []
    step = sampler.step
    sampler.step = lambda: steps.append(step())
    assert sampler.generate(*tiny_prompts(), 40).response_mask.shape == (6, 1)
    assert len(steps) == 7
    agent.eos_token_ids = []
    with HostWaits() as waits:
        sampler.generate(*tiny_prompts(), 40)
    assert waits.counts['read'] <= 4 + 6  # four looks; the request, NaN, the length


def test_what_is_returned_is_not_written_over_by_the_next_call():
    sampler, batch = RecordedSampler(agent_of(decided_gpt2(), eos=[])), tiny_prompts()
    first = sampler.generate(*batch, 8)
    kept = copy.deepcopy(vars(first))
    assert not sampler.generate(*batch, 8).tokens.equal(first.tokens)
    for name in ('tokens', 'mask', 'response_mask', 'logprobs', 'values'):
        assert kept[name].equal(getattr(first, name))


def test_nothing_is_left_of_a_longer_response(monkeypatch):
    sampler, batch = RecordedSampler(agent_of(decided_gpt2(), eos=[9])), tiny_prompts()
    for token, length in ((8, 20), (9, 1)):
        drawn = torch.full((6, 1), token)
        monkeypatch.setattr(sampling, 'draw', lambda dist, darts: drawn)
        rollout = sampler.generate(*batch, 20)
        assert rollout.response_mask.equal(torch.ones(6, length, dtype=torch.long))
        assert rollout.responses.equal(drawn.expand(6, length))


@pytest.mark.parametrize('dtype', [torch.bool, torch.int32])
def test_a_mask_may_have_any_format(dtype):
    ids, mask = tiny_prompts()
    hold_to_the_loop(RecordedSampler(exact_agent_of(decided_gpt2())), (ids, mask.to(dtype)), 6)


@pytest.mark.parametrize('options', [(0,), (45,), (8, 0.0), (8, float('nan'))])
def test_a_request_is_refused_in_the_words_of_the_loop(options):
    agent = agent_of(decided_gpt2())
    said = []
    for sampler in (agent, RecordedSampler(agent)):
        with pytest.raises(ValueError) as error:
            sampler.generate(*tiny_prompts(), *options)
        said.append(str(error.value))
    assert said[0] == said[1]


def test_prompts_padded_on_the_right_are_refused():
    ids, mask = tiny_prompts()
    with pytest.raises(ValueError, match='pad on the left'):
        RecordedSampler(agent_of(decided_gpt2())).generate(ids, mask.flip(1), 8)


def test_random_numbers_are_taken_only_where_tokens_are_drawn():
    sampler, batch = RecordedSampler(agent_of(decided_gpt2())), tiny_prompts()
    before = torch.get_rng_state()
    faster_sampler(sampler.agent, 4, 8)
    sampler.generate(*batch, 8, do_sample=False)
    assert torch.get_rng_state().equal(before)


# weights

def change(agent):
    with torch.no_grad():
        for p in agent.parameters():
            p.add_(0.3*torch.randn_like(p))


def replace(agent):
    with torch.no_grad():
        for p in agent.parameters():
            p.data = p + 0.3*torch.randn_like(p)


def another_head(agent):
    agent.value_head = copy.deepcopy(agent.value_head)
    change(agent.value_head)


@pytest.mark.parametrize('device', ['cpu', CUDA])
@pytest.mark.parametrize('rounding', [None, torch.bfloat16])
@pytest.mark.parametrize('way', [change, replace, another_head])
def test_the_next_call_uses_the_weights_of_now(way, rounding, device):
    agent = agent_of(decided_gpt2(), device, eos=[])
    sampler = RecordedSampler(agent)
    batch = on(device, tiny_prompts())
    autocast = torch.autocast(device, rounding, enabled=rounding is not None)
    options, within = (8, 1.0, False), 1e-4 if rounding is None else 0.2
    with autocast:
        before = sampler.generate(*batch, *options)
        way(agent)
    with autocast:
        found, plain = [each.generate(*batch, *options) for each in (sampler, agent)]
    close(found.logprobs[:, 0], plain.logprobs[:, 0], within)
    close(found.values[:, 0], plain.values[:, 0], within)
    assert (found.values[:, 0] - before.values[:, 0]).abs().max() > 2*within


@pytest.mark.parametrize('way', [replace, another_head])
def test_a_recording_is_made_anew_for_weights_in_another_place(way):
    sampler, batch = RecordedSampler(exact_agent_of(decided_gpt2(), eos=[])), tiny_prompts()
    tape(sampler, batch, 8)
    hold_to_the_loop(sampler, batch, 8)
    assert sampler.graph
    change(sampler.agent)
    hold_to_the_loop(sampler, batch, 8)
    assert sampler.graph  # the same places
    way(sampler.agent)
    hold_to_the_loop(sampler, batch, 8)
    assert not sampler.graph


def test_weights_that_are_not_numbers_are_named_as_by_the_loop():
    agent = agent_of(decided_gpt2())
    agent.model.transformer.h[1].mlp.c_fc.weight.data[0, 0] = torch.nan
    said = []
    for sampler in (agent, RecordedSampler(agent)):
        with pytest.raises(FloatingPointError) as error:
            sampler.generate(*tiny_prompts(), 8)
        said.append(str(error.value))
    assert said[0] == said[1]


def test_after_a_number_that_is_none_the_sampler_goes_on():
    agent = exact_agent_of(decided_gpt2())
    sampler = RecordedSampler(agent)
    weight = agent.model.transformer.h[0].mlp.c_fc.weight.data
    healthy = weight[0, 0].item()
    weight[0, 0] = torch.nan
    with pytest.raises(FloatingPointError):
        sampler.generate(*tiny_prompts(), 8)
    weight[0, 0] = healthy
    hold_to_the_loop(sampler, tiny_prompts(), 8)


# formats

@pytest.mark.parametrize('name', ['GPT-2', 'Llama', 'Gemma 2', 'Qwen 3', 'Mixtral'])
def test_rounded_weights_under_autocast_are_those_that_autocast_rounds(name):
    model = ARCHITECTURES[name]()
    twin, pairs = sampling.rounded_copy(model, torch.bfloat16, everything=False)
    ids, mask = prompts()
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        for rounded, weight in pairs:
            rounded.copy_(weight)
        ours, theirs = [each(ids, attention_mask=mask).logits for each in (twin, model)]
    assert ours.equal(theirs)
    assert len(pairs) >= 8 and all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize('tied', [True, False])
def test_a_weight_that_serves_twice_is_rounded_once_where_all_are_rounded(tied):
    model = decided_gpt2()
    model.config.tie_word_embeddings = tied
    if not tied:
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    twin, pairs = sampling.rounded_copy(model, torch.bfloat16, everything=True)
    assert (twin.lm_head.weight is twin.transformer.wte.weight) == tied
    assert len(pairs) == len(list(model.parameters()))
    assert all(p.dtype == torch.bfloat16 for p in twin.parameters())


@pytest.mark.parametrize('device', ['cpu', CUDA])
def test_autocast_may_come_and_go_between_calls(device):
    agent = agent_of(decided_gpt2(), device, eos=[])
    sampler = RecordedSampler(agent)
    batch, found = on(device, tiny_prompts()), []
    for rounding in (None, torch.bfloat16, None):
        with torch.autocast(device, rounding) if rounding else nullcontext():
            ours, plain = [each.generate(*batch, 8, 1.0, False) for each in (sampler, agent)]
        close(ours.logprobs[:, 0], plain.logprobs[:, 0], 0.02 if rounding else 1e-4)
        found.append(ours.logprobs[:, 0])
    assert found[0].equal(found[2]) and not found[0].equal(found[1])


@pytest.mark.parametrize('device', ['cpu', CUDA])
def test_all_in_16_bits_is_near_and_another_number(device):
    agent = agent_of(ARCHITECTURES['Llama'](), device)
    batch = on(device, prompts())
    wanted = agent.generate(*batch, R, 1.0, False).logprobs[:, 0]
    found = RecordedSampler(agent, torch.bfloat16).generate(*batch, R, 1.0, False)
    assert found.logprobs.dtype == torch.float32
    assert 1e-5 < (found.logprobs[:, 0] - wanted).abs().max() < 0.3
    assert agent.model.dtype == torch.float32


# the step

def test_a_step_waits_for_nothing_and_sends_nothing():
    sampler = RecordedSampler(agent_of(decided_gpt2()))
    ids, mask = tiny_prompts()
    with torch.no_grad():
        sampler.prepare(mask, 8, True)
        sampler.begin(ids, mask)
        places = {name: x.data_ptr() for name, x in vars(sampler.tensors).items()}
        with HostWaits() as waits:
            sampler.step()
    assert not waits.counts
    assert places == {name: x.data_ptr() for name, x in vars(sampler.tensors).items()}


@pytest.mark.parametrize('response_length', [2, 12])
def test_warming_up_for_a_recording_leaves_nothing_behind(response_length, monkeypatch):
    "On a GPU that is not there: its streams do nothing, its recordings are tapes."
    class Stream:
        def wait_stream(self, other):
            pass

    for name, pretended in (
        ('Stream', Stream), ('current_stream', Stream), ('set_stream', id),
        ('stream', nullcontext), ('CUDAGraph', Tape), ('graph', lambda graph, stream: graph),
    ):
        monkeypatch.setattr(torch.cuda, name, pretended)
    sampler, batch = RecordedSampler(exact_agent_of(decided_gpt2(eos=2))), tiny_prompts()
    with torch.no_grad():
        sampler.prepare(batch[1], response_length, True)
        sampler.graph = sampler.record(*batch)
    monkeypatch.setattr(sampler, 'step', None)  # only replayed from here on
    hold_to_the_loop(sampler, batch, response_length)


def test_waits_are_counted():
    with HostWaits() as waits:
        x = torch.tensor([1.0, 0.0])
        bool(x[0])
        x[x > 0].sum().item()
    assert waits.counts == {'sent': 1, 'read': 3}


def test_a_tape_that_would_wait_is_refused():
    with pytest.raises(RuntimeError, match='cannot be recorded'):
        with Tape():
            torch.ones(1).item()


# compiled

def hold_the_compiled_step():
    sampler = RecordedSampler(agent_of(decided_gpt2(eos=2)), compiled=True)
    ids, mask = tiny_prompts()
    for rows in (6, 6, 4):
        hold_to_the_loop(sampler, (ids[:rows], mask[:rows]), 8, 0.8)


def test_a_step_as_it_is_traced_for_the_compiler_gives_the_same_samples(monkeypatch):
    "What the compiler makes of it is the next test's."
    compile_it, traced = torch.compile, []

    def trace(step, dynamic):
        traced.append(step)
        return compile_it(step, backend='eager', dynamic=dynamic)

    monkeypatch.setattr(torch, 'compile', trace)
    hold_the_compiled_step()
    assert len(traced) == 2  # a shape each


@pytest.mark.sweep
@pytest.mark.skipif(not shutil.which('c++'), reason='torch.compile needs a C++ compiler')
def test_a_compiled_step_gives_the_same_samples():
    hold_the_compiled_step()
