"Packing: the network without the padding, and one random number a row."
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import close, decided_gpt2, tiny_prompts

from rlhf_nbdev.agent import Agent, score_tokens
from rlhf_nbdev.tools import models, packing


def test_rows_are_packed_by_hand():
    assert packing.pack_rows([5, 2, 8, 3, 4], 8) == ([8, 20, 0, 13, 16], 3)
    assert packing.pack_rows([], 4) == ([], 0)
    assert packing.pack_rows([4, 4], 4) == ([0, 4], 2)


@pytest.mark.parametrize('seed', range(50))
def test_rows_are_packed_whole_and_apart(seed):
    lengths = np.random.default_rng(seed).integers(0, 17, 20).tolist()
    starts, n_bins = packing.pack_rows(lengths, 16)
    slots = []
    for start, length in zip(starts, lengths):
        slots += range(start, start + length)
        if length:
            assert start//16 == (start + length - 1)//16
    assert len(set(slots)) == len(slots) == sum(lengths)
    assert max(slots) < 16*n_bins
    assert n_bins < 1.3*sum(lengths)/16 + 2


def first_fit(lengths, size):
    "The definition: every bin is looked at for every row, the longest first."
    starts, free = [0]*len(lengths), []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        with_room = [b for b, left in enumerate(free) if left >= lengths[row]]
        if not with_room:
            with_room = [len(free)]
            free.append(size)
        starts[row] = with_room[0]*size + size - free[with_room[0]]
        free[with_room[0]] -= lengths[row]
    return starts, len(free)


@pytest.mark.parametrize('seed', range(20))
def test_each_row_goes_into_the_first_bin_that_has_room(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 17, rng.integers(0, 60)).tolist()
    for size in (16, 24):
        assert packing.pack_rows(lengths, size) == first_fit(lengths, size)


@pytest.mark.parametrize('seed', range(20))
def test_a_bin_is_as_wide_as_leaves_the_fewest_slots(seed):
    lengths = np.random.default_rng(seed).integers(0, 33, 32).tolist()
    width = packing.bin_width(lengths, most=512)
    n_slots = {w: w*packing.pack_rows(lengths, w)[1] for w in (32, 40, 48, 56, 64)}
    assert n_slots[width] == min(n_slots.values())
    assert all(n_slots[w] > n_slots[width] for w in n_slots if w < width)  # of these the narrowest


@pytest.mark.parametrize(('lengths', 'most', 'width'), [
    ([13, 3], 1024, 16),
    ([13, 4], 1024, 24),  # one bin of 24 slots, or two of 16
    ([13, 4], 23, 16),  # the context has no room for it
    ([13], 13, 13),
    ([120, 8], 1024, 128),
    ([120, 80], 1024, 120),  # one bin would need 200 slots, and attention would cost too much
    ([300, 20], 1024, 304),  # 320 is wider than need be, and wider than 128
    ([0, 0], 1024, 8),
    ([], 1024, 8),
])
def test_how_wide_a_bin_is_by_hand(lengths, most, width):
    assert packing.bin_width(lengths, most) == width


def test_what_a_token_may_look_at_is_its_own_row_up_to_itself():
    mask = torch.tensor([[0, 1, 1], [1, 0, 0]])
    slots, n_bins = packing.token_slots(mask, 4)
    assert (slots.tolist(), n_bins) == ([0, 1, 2], 1)
    rows = packing.fill_bins(torch.tensor([0, 0, 1]), slots, n_bins, 4, empty=-1)
    assert rows.tolist() == [[0, 0, 1, -1]]
    bias = packing.own_row_bias(rows, torch.float32)
    assert bias.shape == (1, 1, 4, 4)
    assert (bias[0, 0] == 0).long().tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
    ]
    assert bias.min() == torch.finfo(torch.float32).min


@pytest.mark.parametrize('attention', ['eager', 'sdpa'])
def test_packed_states_are_those_of_each_row_alone(attention):
    model = decided_gpt2()
    model.set_attn_implementation(attention)
    mask = torch.tensor([
        [0, 0, 0, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 1],
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0],
    ])
    tokens = torch.randint(2, 64, mask.shape)
    states = packing.packed_states(model.base_model, tokens, mask)
    assert states.shape == (5, 8, 16)
    assert not states[mask == 0].any()
    for row in (0, 1, 3, 4):
        real = mask[row].bool()
        alone = model.base_model(tokens[row:row + 1, real]).last_hidden_state[0]
        close(states[row, real], alone)
    assert not packing.packed_states(model.base_model, tokens, 0*mask).any()


@pytest.fixture
def rollout_in_double():
    "An agent in float64 and a rollout of it, some rows of which have ended."
    agent = Agent(decided_gpt2(eos=2).double())
    ids, mask = tiny_prompts()
    for seed in range(3, 50):  # which one it is depends on how transformers draws weights
        torch.manual_seed(seed)
        rollout = agent.generate(ids, mask, 6)
        if not rollout.response_mask.all():
            return agent, rollout
    raise AssertionError('no row has ended')


@pytest.mark.parametrize('temperature', [1.0, 0.6])
def test_packed_scores_and_their_gradients_are_the_plain_ones(temperature, rollout_in_double):
    agent, rollout = rollout_in_double
    R, real = rollout.response_mask.shape[1], rollout.response_mask.bool()
    scored = rollout.tokens, rollout.mask, R, temperature
    dists, hidden = score_tokens(agent.model, *scored)
    plain = dists.gather(-1, rollout.responses[..., None])[..., 0]*real
    logprobs, states, entropy = packing.score_packed(agent.model, *scored)

    close(logprobs, plain)
    close(states[real], hidden[real])
    close(entropy, -(dists.exp()*dists).sum(-1)*real)
    assert logprobs.dtype == torch.float32
    assert not entropy.requires_grad

    weights = list(agent.model.parameters())
    ours = torch.autograd.grad(logprobs.exp().sum(), weights)
    theirs = torch.autograd.grad((plain.exp()*real).sum(), weights)
    for a, b in zip(ours, theirs):
        close(a, b, rtol=1e-4)


def test_the_last_token_of_a_row_is_scored_and_not_read(rollout_in_double):
    agent, rollout = rollout_in_double
    asked = []

    def noted(trunk, tokens, mask):
        asked.append(mask)
        return packing.packed_states(trunk, tokens, mask)

    packing.score_packed(agent.model, rollout.tokens, rollout.mask, 6, states_of=noted)
    assert asked[0].sum(1).tolist() == (rollout.mask.sum(1) - 1).tolist()
    assert not (asked[0] > rollout.mask).any()
    last = rollout.mask.cumsum(1).argmax(1)  # (B,): where each row ends
    assert not asked[0].gather(1, last[:, None]).any()


@pytest.mark.parametrize('kind', [torch.long, torch.bool, torch.int8])
def test_a_token_before_a_gap_is_read(kind):
    "Padding may stand between real tokens, and a mask may be of any type."
    model = decided_gpt2(eos=2)
    tokens = torch.randint(3, 64, (2, 9))
    mask = torch.tensor([[1, 1, 0, 1, 0, 1, 1, 1, 0], [0, 1, 0, 1, 0, 1, 1, 1, 1]])
    logprobs, _, entropy = packing.score_packed(model, tokens, mask.to(kind), 3)
    for row, padded in enumerate(logprobs):
        real = mask[row].bool()
        without_gaps = tokens[row:row + 1, real], torch.ones(1, real.sum(), dtype=torch.long)
        sampled = mask[row, -3:].sum()
        alone, _, alone_entropy = packing.score_packed(model, *without_gaps, sampled)
        close(padded[:sampled], alone[0])
        close(entropy[row, :sampled], alone_entropy[0])


NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU of NVIDIA')


@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=NO_GPU)])
def test_an_output_layer_padded_to_a_multiple_gives_the_same_scores(device, monkeypatch):
    "A GPU gets it by itself where the vocabulary is odd; a CPU is made to do the same here."
    model = decided_gpt2(vocab=67, eos=2)
    rollout = Agent(model).generate(*tiny_prompts(vocab=67), 6)
    plain = packing.score_packed(model, rollout.tokens, rollout.mask, 6)
    plain_grads = torch.autograd.grad(plain[0].exp().sum(), list(model.parameters()))
    widths, linear = [], F.linear

    def noted(states, weight, bias=None):
        widths.append(len(weight))
        return linear(states, weight, bias)

    monkeypatch.setattr(models.F, 'linear', noted)
    if device == 'cpu':
        monkeypatch.setattr(packing, 'output_logits', lambda model, states: models.padded_linear(
            model.get_output_embeddings(), states))
    model.to(device)
    padded = packing.score_packed(model, rollout.tokens.to(device), rollout.mask, 6)
    assert 128 in widths
    grads = torch.autograd.grad(padded[0].exp().sum(), list(model.parameters()))
    for x, same in zip([*plain, *plain_grads], [*padded, *grads]):
        close(same.cpu(), x, atol=1e-4)


def test_on_a_cpu_the_output_layer_is_as_wide_as_the_vocabulary(monkeypatch):
    monkeypatch.setattr(models, 'padded_linear', None)
    assert models.output_logits(decided_gpt2(vocab=67), torch.zeros(2, 16)).shape == (2, 67)


def test_draw_follows_the_distribution_to_its_ends():
    torch.manual_seed(0)
    p = torch.tensor([
        [0.1, 0.0, 0.6, 0.0, 0.3],
        [0.0, 0.0, 0.0, 0.0, 1.0],
        [1.0, 0.0, 0.0, 0.0, 0.0],
    ])
    drawn = torch.cat([packing.draw(p.log()) for _ in range(4000)], 1)  # (3, 4000)
    shares = torch.stack([row.bincount(minlength=5) for row in drawn])/4000
    standard_error = (0.25/4000)**0.5
    assert (shares - p).abs().max() < 4*standard_error
    assert not shares[p == 0].any()
    assert drawn.dtype == torch.long


def test_what_does_not_sum_to_one_is_drawn_from_in_proportion():
    torch.manual_seed(0)
    half = torch.tensor([[0.0, 0.0, 0.5], [0.25, 0.0, 0.25]]).log()
    assert packing.draw(half).shape == (2, 1)
    assert packing.draw(half)[0].item() == 2
    second_row = torch.cat([packing.draw(half)[1] for _ in range(1000)])
    assert 400 < second_row.bincount(minlength=3)[0] < 600


def test_a_dart_at_the_very_end_hits_the_last_token(monkeypatch):
    monkeypatch.setattr(torch, 'rand', torch.ones)
    assert packing.draw(torch.tensor([[0.5, 0.5]]).log()).item() == 1


def test_darts_may_be_given():
    "Numbers drawn for all steps at once are those that are drawn step by step."
    torch.manual_seed(0)
    dist = torch.randn(5, 30).log_softmax(-1)
    torch.manual_seed(1)
    darts = torch.rand(3, 5, dtype=torch.float64)
    torch.manual_seed(1)
    for step in range(3):
        assert packing.draw(dist).equal(packing.draw(dist, darts[step, :, None]))
