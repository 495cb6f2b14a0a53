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
