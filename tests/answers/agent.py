# Answers to the exercises of lesson 2, as readers write them. Each begins with a line that says
# what it is: `# %% wrong CHECK: words that its verdict must hold`, or `# %% right CHECK`.

# %% wrong check_response_logprob: score the token itself
def my_response_logprob(logits, tokens, on, temperature):
    dists = torch.log_softmax(logits/temperature, dim=-1)
    logprobs = dists.gather(2, tokens.unsqueeze(2)).squeeze(2)
    return (logprobs*on).sum(dim=1)

# %% wrong check_response_logprob: wrong way
def my_response_logprob(logits, tokens, on, temperature):
    dists = F.log_softmax(logits[:, 1:]/temperature, -1)
    logprobs = dists.gather(-1, tokens[:, :-1, None])[..., 0]
    return (logprobs*on[:, :-1]).sum(1)

# %% wrong check_response_logprob: mask has not moved
def my_response_logprob(logits, tokens, on, temperature):
    dists = F.log_softmax(logits[:, :-1]/temperature, -1)
    logprobs = dists.gather(-1, tokens[:, 1:, None])[..., 0]
    return (logprobs*on[:, :-1]).sum(1)

# %% wrong check_response_logprob: every token is in the sum
def my_response_logprob(logits, tokens, on, temperature):
    dists = F.log_softmax(logits[:, :-1]/temperature, -1)
    return dists.gather(-1, tokens[:, 1:, None])[..., 0].sum(1)

# %% wrong check_response_logprob: temperature is forgotten
def my_response_logprob(logits, tokens, on, temperature=1.0):
    dists = F.log_softmax(logits[:, :-1], -1)
    logprobs = dists.gather(-1, tokens[:, 1:, None])[..., 0]
    return (logprobs*on[:, 1:]).sum(1)

# %% wrong check_response_logprob: divide the logits, then normalise
def my_response_logprob(logits, tokens, on, temperature):
    dists = F.log_softmax(logits[:, :-1], -1)/temperature
    logprobs = dists.gather(-1, tokens[:, 1:, None])[..., 0]
    return (logprobs*on[:, 1:]).sum(1)

# %% wrong check_response_logprob: mean over the response
def my_response_logprob(logits, tokens, on, temperature):
    dists = F.log_softmax(logits[:, :-1]/temperature, -1)
    logprobs = dists.gather(-1, tokens[:, 1:, None])[..., 0]
    return (logprobs*on[:, 1:]).sum(1)/on.sum(1)

# %% wrong check_response_logprob: no gradient reaches
@torch.no_grad()
def my_response_logprob(logits, tokens, on, temperature):
    dists = F.log_softmax(logits[:, :-1]/temperature, -1)
    logprobs = dists.gather(-1, tokens[:, 1:, None])[..., 0]
    return (logprobs*on[:, 1:]).sum(1)

# %% wrong check_response_logprob: changed in place
def my_response_logprob(logits, tokens, on, temperature):
    logits /= temperature
    dists = F.log_softmax(logits[:, :-1], -1)
    logprobs = dists.gather(-1, tokens[:, 1:, None])[..., 0]
    return (logprobs*on[:, 1:]).sum(1)

# %% wrong check_response_logprob: its shape is
def my_response_logprob(logits, tokens, on, temperature):
    dists = F.log_softmax(logits[:, :-1]/temperature, -1)
    logprobs = dists.gather(-1, tokens[:, 1:, None])[..., 0]
    return logprobs*on[:, 1:]

# %% wrong check_response_logprob: sign is the wrong way round
def my_response_logprob(logits, tokens, on, temperature):
    losses = F.cross_entropy(
        (logits[:, :-1]/temperature).transpose(1, 2), tokens[:, 1:], reduction='none')
    return (losses*on[:, 1:]).sum(1)

# %% wrong check_response_logprob: last tokens of the row
def my_response_logprob(logits, tokens, on, temperature):
    R = on.sum(1).max()
    dists = F.log_softmax(logits[:, -R - 1:-1]/temperature, -1)
    return dists.gather(-1, tokens[:, -R:, None])[..., 0].sum(1)

# %% wrong check_response_logprob: mean loss
def my_response_logprob(logits, tokens, on, temperature):
    losses = F.cross_entropy(
        (logits[:, :-1]/temperature).transpose(1, 2), tokens[:, 1:], reduction='none')
    return (losses*on[:, 1:]).sum(1)/on[:, 1:].sum(1)

# %% wrong check_response_logprob: mean over the whole row
def my_response_logprob(logits, tokens, on, temperature):
    dists = F.log_softmax(logits[:, :-1]/temperature, -1)
    return (dists.gather(-1, tokens[:, 1:, None])[..., 0]*on[:, 1:]).mean(1)

# %% wrong check_response_logprob: one number
def my_response_logprob(logits, tokens, on, temperature):
    dists = F.log_softmax(logits[:, :-1]/temperature, -1)
    logprobs = dists.gather(-1, tokens[:, 1:, None])[..., 0]
    return logprobs[on[:, 1:].bool()].sum()

# %% wrong check_response_logprob: at the same end
def my_response_logprob(logits, tokens, on, temperature):
    dists = F.log_softmax(logits[:, :-1]/temperature, -1)
    logprobs = dists.gather(-1, tokens[:, :-1, None])[..., 0]
    return (logprobs*on[:, :-1]).sum(1)

# %% wrong check_response_logprob: overflow
def my_response_logprob(logits, tokens, on, temperature):
    dists = logits/temperature - (logits/temperature).exp().sum(-1, keepdim=True).log()
    logprobs = dists[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0]
    return (logprobs*on[:, 1:]).sum(1)

# %% right check_response_logprob
def my_response_logprob(logits, tokens, on, temperature):
    losses = F.cross_entropy(
        (logits[:, :-1]/temperature).transpose(1, 2), tokens[:, 1:], reduction='none')
    return -(losses*on[:, 1:]).sum(1)

# %% right check_response_logprob
def my_response_logprob(logits, tokens, on, temperature):
    z = logits.double()/temperature
    dists = z - z.logsumexp(-1, keepdim=True)
    onehot = F.one_hot(tokens[:, 1:], logits.shape[-1]).double()
    return torch.einsum('btv,btv,bt->b', dists[:, :-1], onehot, on[:, 1:].double())

# %% right check_response_logprob
def my_response_logprob(logits, tokens, on, temperature):
    rows = []
    for z, row, keep in zip(logits, tokens, on.bool()):
        at = keep.nonzero()[:, 0]
        rows.append((z[at - 1]/temperature).log_softmax(-1)[range(len(at)), row[at]].sum())
    return torch.stack(rows)

# %% right check_response_logprob
def my_response_logprob(logits, tokens, on, temperature):
    dists = torch.distributions.Categorical(logits=logits.roll(1, 1)/temperature)
    return torch.where(on == 1, dists.log_prob(tokens), 0.0).sum(-1)

# %% wrong check_saved_rollout: every token that is not padding
def my_saved_rollout(tokens, P, eos, pad):
    mask = (tokens != pad).long()
    return mask, position_ids(mask)

# %% wrong check_saved_rollout: first EOS itself counts
def my_saved_rollout(tokens, P, eos, pad):
    prompt = (tokens[:, :P] != pad).long().cummax(1).values
    response = ((tokens[:, P:] == eos).cumsum(1) == 0).long()
    mask = torch.cat([prompt, response], 1)
    return mask, position_ids(mask)

# %% wrong check_saved_rollout: EOS in the prompt
def my_saved_rollout(tokens, P, eos, pad):
    begun = (tokens != pad).long().cummax(1).values
    is_eos = (tokens == eos).long()*begun
    mask = begun*(is_eos.cumsum(1) - is_eos == 0)
    mask[:, :P] = begun[:, :P]
    return mask, position_ids(mask)

# %% wrong check_saved_rollout: after the first real token
def my_saved_rollout(tokens, P, eos, pad):
    prompt = tokens[:, :P] != pad
    is_eos = (tokens[:, P:] == eos).long()
    mask = torch.cat([prompt, is_eos.cumsum(1) - is_eos == 0], 1).long()
    return mask, position_ids(mask)

# %% wrong check_saved_rollout: counted from the left edge
def my_saved_rollout(tokens, P, eos, pad):
    prompt = (tokens[:, :P] != pad).cumsum(1) > 0
    is_eos = (tokens[:, P:] == eos).long()
    mask = torch.cat([prompt, is_eos.cumsum(1) - is_eos == 0], 1).long()
    return mask, torch.arange(tokens.shape[1]).expand_as(tokens)

# %% wrong check_saved_rollout: position 0
def my_saved_rollout(tokens, P, eos, pad):
    prompt = (tokens[:, :P] != pad).cumsum(1) > 0
    is_eos = (tokens[:, P:] == eos).long()
    mask = torch.cat([prompt, is_eos.cumsum(1) - is_eos == 0], 1).long()
    return mask, mask.cumsum(1)

# %% wrong check_saved_rollout: as if no prompt had padding
def my_saved_rollout(tokens, P, eos, pad):
    prompt = (tokens[:, :P] != pad).cumsum(1) > 0
    is_eos = (tokens[:, P:] == eos).long()
    mask = torch.cat([prompt, is_eos.cumsum(1) - is_eos == 0], 1).long()
    positions = position_ids(mask)
    positions[:, P:] = torch.arange(P, tokens.shape[1])
    return mask, positions

# %% wrong check_saved_rollout: without an EOS counts in full
def my_saved_rollout(tokens, P, eos, pad):
    prompt = (tokens[:, :P] != pad).cumsum(1) > 0
    is_eos = (tokens[:, P:] == eos).long()
    first = is_eos.argmax(1, keepdim=True)  # 0 where there is none
    first[is_eos.sum(1) == 0] = -1
    mask = torch.cat([prompt, torch.arange(tokens.shape[1] - P) <= first], 1).long()
    return mask, position_ids(mask)

# %% wrong check_saved_rollout: changed in place
def my_saved_rollout(tokens, P, eos, pad):
    prompt = (tokens[:, :P] != pad).cumsum(1) > 0
    is_eos = (tokens[:, P:] == eos).long()
    mask = torch.cat([prompt, is_eos.cumsum(1) - is_eos == 0], 1).long()
    tokens *= mask
    return mask, position_ids(mask)

# %% wrong check_saved_rollout: its shape is
def my_saved_rollout(tokens, P, eos, pad):
    prompt = (tokens[:, :P] != pad).cumsum(1) > 0
    is_eos = (tokens[:, P:] == eos).long()
    return torch.cat([prompt, is_eos.cumsum(1) - is_eos == 0], 1).long()

# %% wrong check_saved_rollout: last EOS
def my_saved_rollout(tokens, P, eos, pad):
    prompt = (tokens[:, :P] != pad).cumsum(1) > 0
    response = tokens[:, P:]
    place = torch.arange(response.shape[1])
    last = torch.where(response == eos, place, -1).amax(1, keepdim=True)
    last = torch.where(last < 0, response.shape[1], last)
    mask = torch.cat([prompt, place <= last], 1).long()
    return mask, position_ids(mask)

# %% wrong check_saved_rollout: argmax
def my_saved_rollout(tokens, P, eos, pad):
    begun = (tokens[:, :P] != pad).cumsum(1) > 0
    response = tokens[:, P:]
    length = (response == eos).long().argmax(1) + 1
    mask = torch.cat([begun, torch.arange(response.shape[1]) < length[:, None]], 1).long()
    return mask, position_ids(mask)

# %% wrong check_saved_rollout: the model read it
def my_saved_rollout(tokens, P, eos, pad):
    begun = ((tokens[:, :P] != pad).cumsum(1) > 0) & (tokens[:, :P] != eos)
    is_eos = (tokens[:, P:] == eos).long()
    mask = torch.cat([begun, is_eos.cumsum(1) - is_eos == 0], 1).long()
    return mask, position_ids(mask)

# %% wrong check_saved_rollout: every EOS counts
def my_saved_rollout(tokens, P, eos, pad):
    mask = ((tokens != pad) | (tokens == eos)).long()
    return mask, position_ids(mask)

# %% right check_saved_rollout
def my_saved_rollout(tokens, P, eos, pad):
    masks, positions = [], []
    for row in tokens.tolist():
        begin = next(i for i, token in enumerate(row) if token != pad)
        end = next((i for i in range(P, len(row)) if row[i] == eos), len(row) - 1)
        masks.append([int(begin <= i <= end) for i in range(len(row))])
        positions.append([i - begin for i in range(len(row))])
    return masks, positions

# %% right check_saved_rollout
def my_saved_rollout(tokens, P, eos, pad):
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[:, :P] = (tokens[:, :P] != pad).long().cummax(1).values.bool()
    ends = (tokens[:, P:] == eos).cumsum(1) >= 1
    mask[:, P + 1:] = ~ends[:, :-1]
    return mask, position_ids(mask.long())

# %% right check_saved_rollout
def my_saved_rollout(tokens, P, eos, pad):
    x = tokens.numpy()
    begun = np.maximum.accumulate(x[:, :P] != pad, axis=1)
    is_eos = x[:, P:] == eos
    length = np.where(is_eos.any(1), is_eos.argmax(1) + 1, x.shape[1] - P)
    mask = np.concatenate([begun, np.arange(x.shape[1] - P) < length[:, None]], 1)
    return mask.astype(float), mask.cumsum(1) - 1.0

# %% right check_saved_rollout
def my_saved_rollout(tokens, P, eos, pad):
    begun = (tokens[:, :P] != pad).long().cumsum(1).clamp(max=1)
    alive, columns = torch.ones(len(tokens), dtype=torch.bool), []
    for column in tokens[:, P:].T:
        columns.append(alive.long())
        alive = alive & (column != eos)
    mask = torch.cat([begun, torch.stack(columns, 1)], 1)
    return [mask, position_ids(mask)]

# %% wrong check_moved_reference: policy itself is returned
def my_moved_reference(ref_model, policy, share):
    return policy

# %% wrong check_moved_reference: bound anew
import copy


def my_moved_reference(ref_model, policy, share):
    moved = copy.deepcopy(ref_model)
    for old, new in zip(moved.parameters(), policy.parameters()):
        old = (1 - share)*old + share*new
    moved.requires_grad_(False)
    return moved.eval()

# %% wrong check_moved_reference: still takes gradients
import copy


def my_moved_reference(ref_model, policy, share):
    moved = copy.deepcopy(ref_model)
    with torch.no_grad():
        for old, new in zip(moved.parameters(), policy.parameters()):
            old.mul_(1 - share).add_(share*new)
    return moved.eval()

# %% wrong check_moved_reference: training mode
import copy


def my_moved_reference(ref_model, policy, share):
    moved = copy.deepcopy(policy)
    with torch.no_grad():
        for new, old in zip(moved.parameters(), ref_model.parameters()):
            new.mul_(share).add_((1 - share)*old)
    return moved.requires_grad_(False)

# %% wrong check_moved_reference: the wrong way round
import copy


def my_moved_reference(ref_model, policy, share):
    moved = copy.deepcopy(ref_model)
    with torch.no_grad():
        for old, new in zip(moved.parameters(), policy.parameters()):
            old.copy_(new.lerp(old, share))
    return moved.requires_grad_(False).eval()

# %% wrong check_moved_reference: changed in place, and returned
def my_moved_reference(ref_model, policy, share):
    with torch.no_grad():
        for old, new in zip(ref_model.parameters(), policy.parameters()):
            old.lerp_(new, share)
    return ref_model.requires_grad_(False).eval()

# %% wrong check_moved_reference: mixed twice
import copy


def my_moved_reference(ref_model, policy, share):
    moved = copy.deepcopy(ref_model)
    old, new = moved.state_dict(), policy.state_dict()
    for name in old:
        old[name].mul_(1 - share).add_(share*new[name])
    return moved.requires_grad_(False).eval()

# %% wrong check_moved_reference: keep their full size
import copy


def my_moved_reference(ref_model, policy, share):
    moved = copy.deepcopy(ref_model)
    for old, new in zip(moved.parameters(), policy.parameters()):
        old.data += share*new.data
    return moved.requires_grad_(False).eval()

# %% wrong check_moved_reference: policy is frozen
import copy


def my_moved_reference(ref_model, policy, share):
    policy.requires_grad_(False)
    ref_model.requires_grad_(False)
    moved = copy.deepcopy(ref_model)
    for old, new in zip(moved.parameters(), policy.parameters()):
        old.lerp_(new, share)
    return moved.eval()

# %% wrong check_moved_reference: leaf Variable
import copy


def my_moved_reference(ref_model, policy, share):
    moved = copy.deepcopy(ref_model)
    for old, new in zip(moved.parameters(), policy.parameters()):
        old.mul_(1 - share).add_(share*new)
    return moved.requires_grad_(False).eval()

# %% wrong check_moved_reference: still takes gradients
import copy


def my_moved_reference(ref_model, policy, share):
    moved = copy.deepcopy(policy).requires_grad_(False).eval()
    for new, old in zip(moved.parameters(), ref_model.parameters()):
        new.lerp_(old, 1 - share)
    return moved

# %% wrong check_moved_reference: shallow copy
import copy


def my_moved_reference(ref_model, policy, share):
    moved = copy.copy(ref_model)
    with torch.no_grad():
        for old, new in zip(moved.parameters(), policy.parameters()):
            old.lerp_(new, share)
    moved.eval()
    for p in moved.parameters():
        p.requires_grad_(False)
    return moved

# %% wrong check_moved_reference: no model
def my_moved_reference(ref_model, policy, share):
    new = policy.state_dict()
    return {name: (1 - share)*old + share*new[name]
            for name, old in ref_model.state_dict().items()}

# %% wrong check_moved_reference: changed in place
def my_moved_reference(ref_model, policy, share):
    moved = policy
    with torch.no_grad():
        for new, old in zip(moved.parameters(), ref_model.parameters()):
            new.lerp_(old, 1 - share)
    return moved.requires_grad_(False).eval()

# %% right check_moved_reference
def my_moved_reference(ref_model, policy, share):
    import copy

    from torch.nn.utils import parameters_to_vector, vector_to_parameters
    moved = copy.deepcopy(policy).requires_grad_(False).eval()
    old, new = (parameters_to_vector(m.parameters()).detach() for m in (ref_model, policy))
    vector_to_parameters((1 - share)*old + share*new, moved.parameters())
    return moved

# %% right check_moved_reference
import copy


def my_moved_reference(ref_model, policy, share):
    moved = copy.deepcopy(policy).requires_grad_(False).eval()
    for new, old in zip(moved.parameters(), ref_model.parameters()):
        new.lerp_(old.detach(), 1 - share)
    return moved

# %% right check_moved_reference
import copy


def my_moved_reference(ref_model, policy, share):
    old, new = ref_model.state_dict(), policy.state_dict()
    moved = copy.deepcopy(ref_model)
    moved.load_state_dict({name: old[name] + share*(new[name] - old[name]) for name in old})
    for p in moved.parameters():
        p.requires_grad = False
    return moved.train(False)

# %% right check_moved_reference
import copy


def my_moved_reference(ref_model, policy, share):
    moved = copy.deepcopy(ref_model)
    theirs = dict(policy.named_parameters())
    for name, p in moved.named_parameters():
        p.data = (1 - share)*p.data + share*theirs[name].data
        p.requires_grad_(False)
    moved.eval()
    return moved

# %% wrong check_nucleus_logprobs: full softmax
def my_nucleus_logprobs(logits, tokens, p, temperature):
    dists = F.log_softmax(logits/temperature, -1)
    return dists.gather(-1, tokens[..., None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: crosses p stays too
def my_nucleus_logprobs(logits, tokens, p, temperature):
    probs, order = (logits/temperature).softmax(-1).sort(-1, descending=True)
    drop_sorted = probs.cumsum(-1) > p
    drop_sorted[..., 0] = False
    drop = torch.zeros_like(drop_sorted).scatter(-1, order, drop_sorted)
    dists = (logits/temperature).masked_fill(drop, -torch.inf).log_softmax(-1)
    return dists.gather(-1, tokens[..., None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: order of the vocabulary
def my_nucleus_logprobs(logits, tokens, p, temperature):
    probs, order = (logits/temperature).softmax(-1).sort(-1, descending=True)
    drop = probs.cumsum(-1) - probs >= p
    dists = (logits/temperature).masked_fill(drop, -torch.inf).log_softmax(-1)
    return dists.gather(-1, tokens[..., None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: sum to 1 again
def my_nucleus_logprobs(logits, tokens, p, temperature):
    full = (logits/temperature).log_softmax(-1)
    probs, order = full.exp().sort(-1, descending=True)
    drop_sorted = probs.cumsum(-1) - probs >= p
    drop = torch.zeros_like(drop_sorted).scatter(-1, order, drop_sorted)
    return full.masked_fill(drop, -torch.inf).gather(-1, tokens[..., None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: temperature is forgotten
def my_nucleus_logprobs(logits, tokens, p, temperature):
    probs, order = logits.softmax(-1).sort(-1, descending=True)
    drop_sorted = probs.cumsum(-1) - probs >= p
    drop = torch.zeros_like(drop_sorted).scatter(-1, order, drop_sorted)
    dists = logits.masked_fill(drop, -torch.inf).log_softmax(-1)
    return dists.gather(-1, tokens[..., None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: nucleus is that of temperature 1
def my_nucleus_logprobs(logits, tokens, p, temperature):
    probs, order = logits.softmax(-1).sort(-1, descending=True)
    drop_sorted = probs.cumsum(-1) - probs >= p
    drop = torch.zeros_like(drop_sorted).scatter(-1, order, drop_sorted)
    dists = (logits.masked_fill(drop, -torch.inf)/temperature).log_softmax(-1)
    return dists.gather(-1, tokens[..., None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: least likely
def my_nucleus_logprobs(logits, tokens, p, temperature):
    probs, order = (logits/temperature).softmax(-1).sort(-1)
    drop_sorted = probs.cumsum(-1) - probs >= p
    drop = torch.zeros_like(drop_sorted).scatter(-1, order, drop_sorted)
    dists = (logits/temperature).masked_fill(drop, -torch.inf).log_softmax(-1)
    return dists.gather(-1, tokens[..., None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: alone is more than p
def my_nucleus_logprobs(logits, tokens, p, temperature):
    probs, order = (logits/temperature).softmax(-1).sort(-1, descending=True)
    drop_sorted = probs.cumsum(-1) > p
    drop = torch.zeros_like(drop_sorted).scatter(-1, order, drop_sorted)
    dists = (logits/temperature).masked_fill(drop, -torch.inf).log_softmax(-1)
    return dists.gather(-1, tokens[..., None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: divided by p
def my_nucleus_logprobs(logits, tokens, p, temperature):
    full = (logits/temperature).log_softmax(-1)
    probs, order = full.exp().sort(-1, descending=True)
    drop_sorted = probs.cumsum(-1) - probs >= p
    drop = torch.zeros_like(drop_sorted).scatter(-1, order, drop_sorted)
    dists = (full - math.log(p)).masked_fill(drop, -torch.inf)
    return dists.gather(-1, tokens[..., None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: −inf is asked for
def my_nucleus_logprobs(logits, tokens, p, temperature):
    probs, order = (logits/temperature).softmax(-1).sort(-1, descending=True)
    drop_sorted = probs.cumsum(-1) - probs >= p
    drop = torch.zeros_like(drop_sorted).scatter(-1, order, drop_sorted)
    dists = (logits/temperature).masked_fill(drop, -1e9).log_softmax(-1)
    return dists.gather(-1, tokens[..., None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: min-p
def my_nucleus_logprobs(logits, tokens, p, temperature):
    z = logits/temperature
    probs = z.softmax(-1)
    z = z.masked_fill(probs < p*probs.amax(-1, keepdim=True), -torch.inf)
    return z.log_softmax(-1).gather(-1, tokens[..., None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: its shape is
def my_nucleus_logprobs(logits, tokens, p, temperature):
    probs, order = (logits/temperature).softmax(-1).sort(-1, descending=True)
    drop_sorted = probs.cumsum(-1) - probs >= p
    drop = torch.zeros_like(drop_sorted).scatter(-1, order, drop_sorted)
    return (logits/temperature).masked_fill(drop, -torch.inf).log_softmax(-1)

# %% wrong check_nucleus_logprobs: second time
def my_nucleus_logprobs(logits, tokens, p, temperature):
    logits = logits/temperature
    probs, order = logits.softmax(-1).sort(-1, descending=True)
    drop = (probs.cumsum(-1) - probs >= p).gather(-1, order)
    dists = logits.masked_fill(drop, -torch.inf).log_softmax(-1)
    return dists.gather(-1, tokens[..., None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: what is certain
def my_nucleus_logprobs(logits, tokens, p, temperature):
    logits = logits/temperature
    probs, order = logits.softmax(-1).sort(-1, descending=True)
    drop_sorted = probs.cumsum(-1) - probs >= p
    drop = torch.zeros_like(drop_sorted).scatter(-1, order, drop_sorted)
    dists = logits.masked_fill(drop, -torch.inf).log_softmax(-1).masked_fill(drop, 0.0)
    return dists.gather(-1, tokens[..., None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: changed in place
def my_nucleus_logprobs(logits, tokens, p, temperature):
    logits /= temperature
    probs, order = logits.softmax(-1).sort(-1, descending=True)
    drop_sorted = probs.cumsum(-1) - probs >= p
    drop = torch.zeros_like(drop_sorted).scatter(-1, order, drop_sorted)
    dists = logits.masked_fill(drop, -torch.inf).log_softmax(-1)
    return dists.gather(-1, tokens[..., None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: with logits, −inf stays
def my_nucleus_logprobs(logits, tokens, p, temperature):
    probs, order = (logits/temperature).softmax(-1).sort(-1, descending=True)
    drop_sorted = probs.cumsum(-1) - probs >= p
    drop = torch.zeros_like(drop_sorted).scatter(-1, order, drop_sorted)
    kept = (logits/temperature).softmax(-1).masked_fill(drop, 0.0)
    return torch.distributions.Categorical(probs=kept).log_prob(tokens)

# %% wrong check_nucleus_logprobs: p is an argument
def my_nucleus_logprobs(logits, tokens, p, temperature, top_p=0.9):
    logits = logits/temperature
    probs, order = logits.softmax(-1).sort(-1, descending=True)
    drop_sorted = probs.cumsum(-1) - probs >= top_p
    drop = torch.zeros_like(drop_sorted).scatter(-1, order, drop_sorted)
    dists = logits.masked_fill(drop, -torch.inf).log_softmax(-1)
    return dists.gather(-1, tokens[..., None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: −inf is lost
def my_nucleus_logprobs(logits, tokens, p, temperature):
    probs, order = (logits/temperature).softmax(-1).sort(-1, descending=True)
    drop_sorted = probs.cumsum(-1) - probs >= p
    drop = torch.zeros_like(drop_sorted).scatter(-1, order, drop_sorted)
    kept = (logits/temperature).softmax(-1)*~drop
    kept = kept/kept.sum(-1, keepdim=True)
    return (kept.gather(-1, tokens[..., None]).squeeze(-1) + 1e-12).log()

# %% right check_nucleus_logprobs
def my_nucleus_logprobs(logits, tokens, p, temperature):
    probs, order = (logits/temperature).softmax(-1).sort(-1, descending=True)
    drop_sorted = probs.cumsum(-1) - probs >= p
    drop = torch.zeros_like(drop_sorted).scatter(-1, order, drop_sorted)
    dists = (logits/temperature).masked_fill(drop, -torch.inf).log_softmax(-1)
    return dists.gather(-1, tokens[..., None]).squeeze(-1)

# %% right check_nucleus_logprobs
def my_nucleus_logprobs(logits, tokens, p, temperature):
    probs = (logits/temperature).softmax(-1)
    own = probs.gather(-1, tokens[..., None])
    ahead = (probs*(probs > own)).sum(-1)  # mass of what is likelier than this token
    sorted_probs = probs.sort(-1, descending=True).values
    sizes = (sorted_probs.cumsum(-1) < p).sum(-1, keepdim=True)
    mass = sorted_probs.cumsum(-1).gather(-1, sizes).squeeze(-1)
    return torch.where(ahead < p, own.squeeze(-1)/mass, 0.0).log()

# %% right check_nucleus_logprobs
def my_nucleus_logprobs(logits, tokens, p, temperature):
    z = logits.double().numpy()/temperature
    probs = np.exp(z)/np.exp(z).sum(-1, keepdims=True)
    rows = []
    for b in range(len(probs)):
        row = []
        for t in range(probs.shape[1]):
            order = np.argsort(-probs[b, t])
            n = int((np.cumsum(probs[b, t][order]) < p).sum()) + 1
            kept = order[:n].tolist()
            token = int(tokens[b, t])
            inside = token in kept
            row.append(math.log(probs[b, t, token]/probs[b, t, kept].sum()) if inside
                       else -math.inf)
        rows.append(row)
    return rows

# %% right check_nucleus_logprobs
def my_nucleus_logprobs(logits, tokens, p, temperature):
    logits = logits/temperature
    probs, order = logits.softmax(-1).sort(-1)
    drop = torch.zeros_like(probs).bool().scatter(-1, order, probs.cumsum(-1) <= 1 - p)
    dists = torch.distributions.Categorical(logits=logits.masked_fill(drop, -torch.inf))
    return dists.log_prob(tokens)

# %% wrong check_response_logprob: the logits at a token are about the token after it: yours
# no shift, each token is scored by the logits at its own place
def my_response_logprob(logits, tokens, on, temperature):
    lp = F.log_softmax(logits / temperature, dim=-1)
    lp = lp.gather(-1, tokens[..., None]).squeeze(-1)
    return (lp * on).sum(1)

# %% wrong check_response_logprob: the mask has not moved with the tokens: each 1 must stay
# logits and tokens are shifted, the mask is cut at the wrong end
def my_response_logprob(logits, tokens, on, temperature):
    lp = F.log_softmax(logits[:, :-1] / temperature, dim=-1)
    lp = lp.gather(-1, tokens[:, 1:, None]).squeeze(-1)
    return (lp * on[:, :-1]).sum(1)

# %% wrong check_response_logprob: the temperature multiplies the logits, and should divide
# multiplies by the temperature
def my_response_logprob(logits, tokens, on, temperature):
    lp = torch.log_softmax(logits[:, :-1] * temperature, -1)
    lp = lp.gather(2, tokens[:, 1:].unsqueeze(2)).squeeze(2)
    return (lp * on[:, 1:]).sum(1)

# %% wrong check_response_logprob: the temperature divides the log-probabilities: divide the
# divides the log-probabilities by the temperature, not the logits
def my_response_logprob(logits, tokens, on, temperature):
    lp = torch.log_softmax(logits[:, :-1], -1) / temperature
    lp = lp.gather(2, tokens[:, 1:].unsqueeze(2)).squeeze(2)
    return (lp * on[:, 1:]).sum(1)

# %% wrong check_response_logprob: it is the mean over the response, and the sum is asked for
# the mean per token instead of the sum
def my_response_logprob(logits, tokens, on, temperature):
    lp = torch.log_softmax(logits[:, :-1] / temperature, -1)
    lp = lp.gather(2, tokens[:, 1:].unsqueeze(2)).squeeze(2)
    m = on[:, 1:]
    return (lp * m).sum(1) / m.sum(1).clamp(min=1)

# %% wrong check_response_logprob: the number is right, but no gradient reaches `logits`: was
# under no_grad, no gradient reaches the logits
@torch.no_grad()
def my_response_logprob(logits, tokens, on, temperature):
    lp = torch.log_softmax(logits[:, :-1] / temperature, -1)
    lp = lp.gather(2, tokens[:, 1:].unsqueeze(2)).squeeze(2)
    return (lp * on[:, 1:]).sum(1)

# %% wrong check_response_logprob: exponentials of large logits overflow: `log_softmax` takes
# log of exp by hand, not a number for large logits or low temperatures
def my_response_logprob(logits, tokens, on, temperature):
    e = torch.exp(logits[:, :-1] / temperature)
    probs = e / e.sum(-1, keepdim=True)
    lp = torch.log(probs.gather(2, tokens[:, 1:].unsqueeze(2)).squeeze(2))
    return (lp * on[:, 1:]).sum(1)

# %% wrong check_response_logprob: each response has its own place, and yours are all scored
# takes the response of the first row for the place of all
def my_response_logprob(logits, tokens, on, temperature):
    where = on[0].nonzero().squeeze(1)
    lp = torch.log_softmax(logits[:, where - 1] / temperature, -1)
    return lp.gather(2, tokens[:, where].unsqueeze(2)).squeeze(2).sum(1)

# %% wrong check_response_logprob: `logits` is changed in place, and whoever called still
# divides the caller's logits in place
def my_response_logprob(logits, tokens, on, temperature):
    logits.data /= temperature
    lp = torch.log_softmax(logits[:, :-1], -1)
    lp = lp.gather(2, tokens[:, 1:].unsqueeze(2)).squeeze(2)
    return (lp * on[:, 1:]).sum(1)

# %% right check_response_logprob
# cross_entropy with ignore_index
def my_response_logprob(logits, tokens, on, temperature):
    target = tokens.masked_fill(on == 0, -100)[:, 1:]
    loss = F.cross_entropy((logits[:, :-1] / temperature).transpose(1, 2), target, reduction='none', ignore_index=-100)
    return -loss.sum(1)

# %% right check_response_logprob
# two loops and a stack
def my_response_logprob(logits, tokens, on, temperature):
    sums = []
    for b in range(tokens.shape[0]):
        total = logits.new_zeros(())
        for t in range(1, tokens.shape[1]):
            if on[b, t]:
                total = total + (logits[b, t - 1] / temperature).log_softmax(0)[tokens[b, t]]
        sums.append(total)
    return torch.stack(sums)

# %% right check_response_logprob
# a one-hot vector and einsum, in float64
def my_response_logprob(logits, tokens, on, temperature):
    lp = torch.log_softmax(logits.double() / temperature, -1)[:, :-1]
    hot = F.one_hot(tokens[:, 1:], logits.shape[-1]).double()
    return torch.einsum('btv,btv,bt->b', lp, hot, on[:, 1:].double())

# %% right check_response_logprob
# logit minus logsumexp, tokens rolled instead of cut
def my_response_logprob(logits, tokens, on, temperature):
    z = logits / temperature
    nxt, m = tokens.roll(-1, dims=1), on.roll(-1, dims=1)
    lp = z.gather(2, nxt[..., None])[..., 0] - z.logsumexp(dim=2)
    return torch.where(m.bool(), lp, torch.zeros_like(lp)).sum(dim=1)

# %% wrong check_saved_rollout: every token that is not padding counts: go by where a token
# the mask is whatever is not the pad
def my_saved_rollout(tokens, P, eos, pad):
    mask = (tokens != pad).long()
    return mask, (mask.cumsum(1) - 1).clamp(min=0)

# %% wrong check_saved_rollout: the first EOS itself counts: to end was a decision too
# the eos itself is left out
def my_saved_rollout(tokens, P, eos, pad):
    prompt = ((tokens[:, :P] != pad).long().cumsum(1) > 0).long()
    response = ((tokens[:, P:] == eos).long().cumsum(1) == 0).long()
    mask = torch.cat([prompt, response], dim=1)
    return mask, (mask.cumsum(1) - 1).clamp(min=0)

# %% wrong check_saved_rollout: padding that is EOS ends the response before it begins
# an eos within the prompt ends the response
def my_saved_rollout(tokens, P, eos, pad):
    prompt = ((tokens[:, :P] != pad).long().cumsum(1) > 0).long()
    is_eos = (tokens == eos).long()
    before = is_eos.cumsum(1) - is_eos
    mask = (before == 0).long()
    mask[:, :P] = prompt
    return mask, (mask.cumsum(1) - 1).clamp(min=0)

# %% wrong check_saved_rollout: in the prompt only the run of padding at the left is no
# pads within the prompt are masked too
def my_saved_rollout(tokens, P, eos, pad):
    is_eos = (tokens[:, P:] == eos).long()
    response = (is_eos.cumsum(1) - is_eos == 0).long()
    mask = torch.cat([(tokens[:, :P] != pad).long(), response], dim=1)
    return mask, (mask.cumsum(1) - 1).clamp(min=0)

# %% wrong check_saved_rollout: positions are counted from the left edge: padding must not
# positions count from the left edge, padding included
def my_saved_rollout(tokens, P, eos, pad):
    prompt = ((tokens[:, :P] != pad).long().cumsum(1) > 0).long()
    is_eos = (tokens[:, P:] == eos).long()
    mask = torch.cat([prompt, (is_eos.cumsum(1) - is_eos == 0).long()], dim=1)
    return mask, torch.arange(tokens.shape[1]).expand_as(tokens)

# %% wrong check_saved_rollout: a response without an EOS counts in full: `argmax` of a row
# a response without eos keeps only its first token (argmax of nothing is 0)
def my_saved_rollout(tokens, P, eos, pad):
    prompt = ((tokens[:, :P] != pad).long().cumsum(1) > 0).long()
    end = (tokens[:, P:] == eos).long().argmax(1)
    response = (torch.arange(tokens.shape[1] - P)[None] <= end[:, None]).long()
    mask = torch.cat([prompt, response], dim=1)
    return mask, (mask.cumsum(1) - 1).clamp(min=0)

# %% wrong check_saved_rollout: the first real token has position 0, and not 1
# positions begin at 1
def my_saved_rollout(tokens, P, eos, pad):
    prompt = ((tokens[:, :P] != pad).long().cumsum(1) > 0).long()
    is_eos = (tokens[:, P:] == eos).long()
    mask = torch.cat([prompt, (is_eos.cumsum(1) - is_eos == 0).long()], dim=1)
    return mask, mask.cumsum(1)

# %% wrong check_saved_rollout: positions start again with the response, and it continues
# positions begin anew with the response
def my_saved_rollout(tokens, P, eos, pad):
    prompt = ((tokens[:, :P] != pad).long().cumsum(1) > 0).long()
    is_eos = (tokens[:, P:] == eos).long()
    response = (is_eos.cumsum(1) - is_eos == 0).long()
    positions = torch.cat([prompt.cumsum(1) - 1, response.cumsum(1) - 1], dim=1).clamp(min=0)
    return torch.cat([prompt, response], dim=1), positions

# %% wrong check_saved_rollout: a token of the response with the id that pads is real, as
# pads in the response are masked where the pad is not eos
def my_saved_rollout(tokens, P, eos, pad):
    prompt = ((tokens[:, :P] != pad).long().cumsum(1) > 0).long()
    is_eos = (tokens[:, P:] == eos).long()
    response = (is_eos.cumsum(1) - is_eos == 0).long()
    if pad != eos:
        response = response * (tokens[:, P:] != pad).long()
    mask = torch.cat([prompt, response], dim=1)
    return mask, (mask.cumsum(1) - 1).clamp(min=0)

# %% right check_saved_rollout
# plain loops over lists
def my_saved_rollout(tokens, P, eos, pad):
    masks, positions = [], []
    for row in tokens.tolist():
        start = 0
        while start < P and row[start] == pad:
            start += 1
        end = next((i + 1 for i in range(P, len(row)) if row[i] == eos), len(row))
        masks.append([int(start <= i < end) for i in range(len(row))])
        positions.append([max(i - start, 0) for i in range(len(row))])
    return torch.tensor(masks), torch.tensor(positions)

# %% right check_saved_rollout
# cummax and a boolean mask, positions of padding are negative
def my_saved_rollout(tokens, P, eos, pad):
    prompt = (tokens[:, :P] != pad).int().cummax(dim=1).values.bool()
    ended = (tokens[:, P:] == eos).int().cummax(dim=1).values.bool()
    ended = F.pad(ended, (1, 0))[:, :-1]
    mask = torch.cat([prompt, ~ended], dim=1)
    return mask, mask.long().cumsum(1) - 1

# %% right check_saved_rollout
# numpy, with the places of first and last token
def my_saved_rollout(tokens, P, eos, pad):
    t = tokens.numpy()
    B, T = t.shape
    at = np.arange(T)[None, :]
    first = np.where((t != pad) & (at < P), at, P).min(axis=1, keepdims=True)
    last = np.where((t == eos) & (at >= P), at, T).min(axis=1, keepdims=True)
    mask = ((at >= first) & (at <= last)).astype(np.int64)
    return torch.from_numpy(mask), torch.from_numpy(np.where(mask == 1, at - first, 1))

# %% right check_saved_rollout
# cumulative products, floats for the mask
def my_saved_rollout(tokens, P, eos, pad):
    padding = (tokens[:, :P] == pad).long().cumprod(dim=1)
    alive = (tokens[:, P:] != eos).long().cumprod(dim=1)
    alive = torch.cat([torch.ones_like(alive[:, :1]), alive[:, :-1]], dim=1)
    mask = torch.cat([1 - padding, alive], dim=1)
    positions = torch.arange(tokens.shape[1])[None, :] - padding.sum(dim=1, keepdim=True)
    return mask.float(), positions.clamp(min=0)

# %% wrong check_moved_reference: the old reference's weights are changed: mix into a copy
# mixes into the reference it was given
import copy

def my_moved_reference(ref_model, policy, share):
    with torch.no_grad():
        for r, p in zip(ref_model.parameters(), policy.parameters()):
            r.mul_(1 - share).add_(share * p)
    return copy.deepcopy(ref_model).eval().requires_grad_(False)

# %% wrong check_moved_reference: the share is the wrong way round: at 0 nothing of the
# the share of the two models exchanged
import copy

def my_moved_reference(ref_model, policy, share):
    new = copy.deepcopy(ref_model)
    with torch.no_grad():
        for n, r, p in zip(new.parameters(), ref_model.parameters(), policy.parameters()):
            n.copy_(share * r + (1 - share) * p)
    return new.eval().requires_grad_(False)

# %% wrong check_moved_reference: the new reference is in training mode, so its dropout is on
# dropout stays on
import copy

def my_moved_reference(ref_model, policy, share):
    new = copy.deepcopy(policy)
    with torch.no_grad():
        for n, r in zip(new.parameters(), ref_model.parameters()):
            n.mul_(share).add_((1 - share) * r)
    return new.requires_grad_(False)

# %% wrong check_moved_reference: the new reference still takes gradients: an optimizer might
# parameters still take a gradient
import copy

def my_moved_reference(ref_model, policy, share):
    new = copy.deepcopy(policy)
    with torch.no_grad():
        for n, r in zip(new.parameters(), ref_model.parameters()):
            n.mul_(share).add_((1 - share) * r)
    return new.eval()

# %% wrong check_moved_reference: the policy is no longer in the mode in which it came
# freezes the policy and turns its dropout off before it copies
import copy

def my_moved_reference(ref_model, policy, share):
    policy.eval()
    for p in policy.parameters():
        p.requires_grad_(False)
    new = copy.deepcopy(policy)
    for n, r in zip(new.parameters(), ref_model.parameters()):
        n.data = (1 - share) * r.data + share * n.data
    return new

# %% wrong check_moved_reference: at share 0 or 1 one of the given models is returned: a copy
# for a share of 0 or 1 gives back one of the models themselves
import copy

def my_moved_reference(ref_model, policy, share):
    if share == 0:
        return ref_model
    if share == 1:
        return policy
    new = copy.deepcopy(ref_model)
    with torch.no_grad():
        for n, p in zip(new.parameters(), policy.parameters()):
            n.lerp_(p, share)
    return new.eval().requires_grad_(False)

# %% wrong check_moved_reference: GPT-2 uses one matrix for two layers, and yours is mixed
# a weight with two names (tied embeddings) is mixed twice
import copy

def my_moved_reference(ref_model, policy, share):
    new = copy.deepcopy(ref_model)
    theirs = dict(policy.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, n in new.named_parameters(remove_duplicate=False):
            n.mul_(1 - share).add_(share * theirs[name])
    return new.eval().requires_grad_(False)

# %% wrong check_moved_reference: only matrices move: biases and norms have to move too
# mixes the matrices and forgets biases and norms
import copy

def my_moved_reference(ref_model, policy, share):
    new = copy.deepcopy(ref_model)
    with torch.no_grad():
        for n, p in zip(new.parameters(), policy.parameters()):
            if n.dim() > 1:
                n.lerp_(p, share)
    return new.eval().requires_grad_(False)

# %% wrong check_moved_reference: a shallow copy shares its weights with the old reference
# a shallow copy, whose parameters are those of the reference
import copy

def my_moved_reference(ref_model, policy, share):
    new = copy.copy(ref_model)
    mixed = {k: (1 - share) * v + share * policy.state_dict()[k] for k, v in ref_model.state_dict().items()}
    new.load_state_dict(mixed)
    for p in new.parameters():
        p.requires_grad = False
    return new.eval()

# %% right check_moved_reference
# starts from a copy of the policy, with lerp
import copy

def my_moved_reference(ref_model, policy, share):
    new = copy.deepcopy(policy).eval()
    for n, r in zip(new.parameters(), ref_model.parameters()):
        n.requires_grad_(False)
        n.grad = None
        n.copy_(torch.lerp(r.detach(), n, float(share)))
    return new

# %% right check_moved_reference
# a mixed state dict, in float64, loaded into a copy
import copy

def my_moved_reference(ref_model, policy, share):
    a, b = ref_model.state_dict(), policy.state_dict()
    mixed = {k: ((1 - share) * a[k].double() + share * b[k].double()).to(a[k].dtype) if a[k].is_floating_point() else a[k]
             for k in a}
    new = copy.deepcopy(ref_model)
    new.load_state_dict(mixed)
    new.train(False)
    for p in new.parameters():
        p.requires_grad = False
    return new

# %% right check_moved_reference
# all parameters as one vector
import copy

from torch.nn.utils import parameters_to_vector, vector_to_parameters

def my_moved_reference(ref_model, policy, share):
    new = copy.deepcopy(ref_model).requires_grad_(False).eval()
    with torch.no_grad():
        a = parameters_to_vector(ref_model.parameters())
        b = parameters_to_vector(policy.parameters())
        vector_to_parameters(a + share * (b - a), new.parameters())
    return new

# %% right check_moved_reference
# numpy arithmetic, parameters found by name
import copy

def my_moved_reference(ref_model, policy, share):
    new = copy.deepcopy(ref_model)
    old, pol = dict(ref_model.named_parameters()), dict(policy.named_parameters())
    for name, p in new.named_parameters():
        mix = (1 - share) * old[name].detach().numpy() + share * pol[name].detach().numpy()
        p.data = torch.tensor(mix, dtype=p.dtype)
        p.requires_grad_(False)
    return new.eval()

# %% wrong check_nucleus_logprobs: the token that crosses p is left out, and it must stay
# drops the token that carries the sum over p
def my_nucleus_logprobs(logits, tokens, p, temperature):
    z = logits / temperature
    probs, order = z.softmax(-1).sort(-1, descending=True)
    keep_sorted = probs.cumsum(-1) <= p
    keep = torch.zeros_like(keep_sorted).scatter(-1, order, keep_sorted)
    lp = z.masked_fill(~keep, -float('inf')).log_softmax(-1)
    return lp.gather(-1, tokens[..., None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: the tokens that stay have not grown: their probabilities
# keeps the right tokens and does not renormalise
def my_nucleus_logprobs(logits, tokens, p, temperature):
    lp = (logits / temperature).log_softmax(-1)
    probs, order = lp.exp().sort(-1, descending=True)
    keep_sorted = probs.cumsum(-1) - probs < p
    keep = torch.zeros_like(keep_sorted).scatter(-1, order, keep_sorted)
    lp = lp.masked_fill(~keep, -float('inf'))
    return lp.gather(-1, tokens[..., None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: the nucleus is that of temperature 1: divide by the
# chooses the nucleus before the temperature
def my_nucleus_logprobs(logits, tokens, p, temperature):
    probs, order = logits.softmax(-1).sort(-1, descending=True)
    keep_sorted = probs.cumsum(-1) - probs < p
    keep = torch.zeros_like(keep_sorted).scatter(-1, order, keep_sorted)
    lp = (logits.masked_fill(~keep, -float('inf')) / temperature).log_softmax(-1)
    return lp.gather(-1, tokens[..., None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: p = 0.9 stands in the code, and p is an argument
# a p of 0.9 stands in the code
def my_nucleus_logprobs(logits, tokens, p, temperature):
    z = logits / temperature
    probs, order = z.softmax(-1).sort(-1, descending=True)
    keep_sorted = probs.cumsum(-1) - probs < 0.9
    keep = torch.zeros_like(keep_sorted).scatter(-1, order, keep_sorted)
    lp = z.masked_fill(~keep, -float('inf')).log_softmax(-1)
    return lp.gather(-1, tokens[..., None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: its shape is (1, 1), and (1, 2) is right. The case: the two
# shifts once more
def my_nucleus_logprobs(logits, tokens, p, temperature):
    z = logits[:, :-1] / temperature
    probs, order = z.softmax(-1).sort(-1, descending=True)
    keep_sorted = probs.cumsum(-1) - probs < p
    keep = torch.zeros_like(keep_sorted).scatter(-1, order, keep_sorted)
    lp = z.masked_fill(~keep, -float('inf')).log_softmax(-1)
    return lp.gather(-1, tokens[:, 1:, None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: the decision is in the order of the sort: take it back to
# the sorted selection is laid on unsorted logits
def my_nucleus_logprobs(logits, tokens, p, temperature):
    z = logits / temperature
    probs = z.softmax(-1).sort(-1, descending=True).values
    keep = probs.cumsum(-1) - probs < p
    lp = z.masked_fill(~keep, -float('inf')).log_softmax(-1)
    return lp.gather(-1, tokens[..., None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: it keeps what has at least 1 − p of the largest
# a threshold for single probabilities instead of their sum
def my_nucleus_logprobs(logits, tokens, p, temperature):
    z = logits / temperature
    probs = z.softmax(-1)
    keep = probs >= (1 - p) * probs.max(-1, keepdim=True).values
    lp = z.masked_fill(~keep, -float('inf')).log_softmax(-1)
    return lp.gather(-1, tokens[..., None]).squeeze(-1)

# %% wrong check_nucleus_logprobs: 1e-10 is added before the logarithm, and −inf is lost
# a small number under the logarithm, so never minus infinity
def my_nucleus_logprobs(logits, tokens, p, temperature):
    probs, order = (logits / temperature).softmax(-1).sort(-1, descending=True)
    probs = probs * (probs.cumsum(-1) - probs < p)
    probs = probs / probs.sum(-1, keepdim=True)
    back = torch.zeros_like(probs).scatter(-1, order, probs)
    return torch.log(back.gather(-1, tokens[..., None]).squeeze(-1) + 1e-10)

# %% wrong check_nucleus_logprobs: each position has a nucleus of its own, and yours has the
# keeps as many tokens everywhere as at the first place
def my_nucleus_logprobs(logits, tokens, p, temperature):
    z = logits / temperature
    probs, order = z.softmax(-1).sort(-1, descending=True)
    k = int((probs[0, 0].cumsum(0) < p).sum()) + 1
    kth = z.topk(min(k, z.shape[-1]), dim=-1).values[..., -1:]
    lp = z.masked_fill(z < kth, -float('inf')).log_softmax(-1)
    return lp.gather(-1, tokens[..., None]).squeeze(-1)

# %% right check_nucleus_logprobs
# python loops and floats
def my_nucleus_logprobs(logits, tokens, p, temperature):
    B, R, V = logits.shape
    out = torch.full((B, R), -math.inf)
    for b in range(B):
        for r in range(R):
            z = [float(x) / float(temperature) for x in logits[b, r]]
            top = max(z)
            w = [math.exp(x - top) for x in z]
            total = sum(w)
            kept, mass = [], 0.0
            for v in sorted(range(V), key=lambda v: -w[v]):
                kept.append(v)
                mass += w[v]
                if mass / total >= p:
                    break
            t = int(tokens[b, r])
            if t in kept:
                out[b, r] = z[t] - top - math.log(mass)
    return out

# %% right check_nucleus_logprobs
# everything stays sorted, the rank of the token is looked up
def my_nucleus_logprobs(logits, tokens, p, temperature):
    z, order = (logits / temperature).sort(dim=-1, descending=True)
    probs = z.softmax(-1)
    reached = F.pad(probs.cumsum(-1)[..., :-1], (1, 0))
    z = torch.where(reached < p, z, torch.full_like(z, -math.inf))
    rank = (order == tokens.unsqueeze(-1)).int().argmax(-1, keepdim=True)
    return torch.log_softmax(z, -1).gather(-1, rank)[..., 0]

# %% right check_nucleus_logprobs
# numpy in float64, sorted upwards
def my_nucleus_logprobs(logits, tokens, p, temperature):
    z = logits.detach().numpy().astype(np.float64) / temperature
    z = z - z.max(-1, keepdims=True)
    probs = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    order = np.argsort(-probs, axis=-1, kind='stable')
    ranked = np.take_along_axis(probs, order, -1)
    before = np.concatenate([np.zeros_like(ranked[..., :1]), ranked.cumsum(-1)[..., :-1]], -1)
    ranked = np.where(before < p, ranked, 0)
    kept = np.zeros_like(probs)
    np.put_along_axis(kept, order, ranked / ranked.sum(-1, keepdims=True), -1)
    with np.errstate(divide='ignore'):
        return torch.from_numpy(np.log(np.take_along_axis(kept, tokens.numpy()[..., None], -1)[..., 0]))

# %% right check_nucleus_logprobs
# compares all pairs of tokens, without a sort
def my_nucleus_logprobs(logits, tokens, p, temperature):
    z = logits / temperature
    probs = z.softmax(-1)
    V = z.shape[-1]
    mine, other = probs.unsqueeze(-1), probs.unsqueeze(-2)
    earlier = torch.arange(V)[None, :] < torch.arange(V)[:, None]
    ahead = (other > mine) | ((other == mine) & earlier)
    keep = (ahead * other).sum(-1) < p
    norm = z.masked_fill(~keep, -math.inf).logsumexp(-1)
    at = tokens.unsqueeze(-1)
    lp = z.gather(-1, at).squeeze(-1) - norm
    return lp.masked_fill(~keep.gather(-1, at).squeeze(-1), -math.inf)

# %% wrong check_moved_reference: training mode
# no eval(): the copy is in the mode of the reference
import copy

def my_moved_reference(ref_model, policy, share):
    moved = copy.deepcopy(ref_model)
    with torch.no_grad():
        for old, new in zip(moved.parameters(), policy.parameters()):
            old.copy_((1 - share)*old + share*new)
    return moved.requires_grad_(False)

# %% wrong check_moved_reference: training mode
# only the top module
import copy

def my_moved_reference(ref_model, policy, share):
    moved = copy.deepcopy(ref_model)
    moved.training = False
    with torch.no_grad():
        for old, new in zip(moved.parameters(), policy.parameters()):
            old.lerp_(new, share)
    return moved.requires_grad_(False)

# %% wrong check_moved_reference: the old reference is no longer in the mode
# eval() before the copy
import copy

def my_moved_reference(ref_model, policy, share):
    moved = copy.deepcopy(ref_model.eval())
    with torch.no_grad():
        for old, new in zip(moved.parameters(), policy.parameters()):
            old.lerp_(new, share)
    return moved.requires_grad_(False)

# %% wrong check_moved_reference: the old reference is frozen
# frozen before the copy
import copy

def my_moved_reference(ref_model, policy, share):
    ref_model.requires_grad_(False)
    moved = copy.deepcopy(ref_model).eval()
    with torch.no_grad():
        for old, new in zip(moved.parameters(), policy.parameters()):
            old.copy_((1 - share)*old + share*new)
    return moved

# %% wrong check_moved_reference: under `torch.no_grad()`
import copy

def my_moved_reference(ref_model, policy, share):
    moved = copy.deepcopy(ref_model).eval()
    for p, q in zip(moved.parameters(), policy.parameters()):
        p.copy_((1 - share)*p + share*q)
    return moved.requires_grad_(False)
