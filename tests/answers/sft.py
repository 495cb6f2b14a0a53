# Answers to the exercises of lesson 3, as readers write them. Each begins with a line that says
# what it is: `# %% wrong CHECK: words that its verdict must hold`, or `# %% right CHECK`.

# %% wrong check_chat_row: nothing is returned
def my_chat_row(turns, length, pad, eos):
    ...

# %% wrong check_chat_row: never learns to stop
def my_chat_row(turns, length, pad, eos):
    tokens, labels = [], []
    for role, ids in turns:
        tokens += ids
        labels += ids if role == 'assistant' else [-100]*len(ids)
        if role == 'assistant':
            tokens.append(eos)
            labels.append(-100)
    n = length - len(tokens)
    return [pad]*n + tokens, [0]*n + [1]*len(tokens), [-100]*n + labels

# %% wrong check_chat_row: told by its value
def my_chat_row(turns, length, pad, eos):
    tokens, labels = [], []
    for role, ids in turns:
        ids = ids + [eos] if role == 'assistant' else ids
        tokens += ids
        labels += ids if role == 'assistant' else [-100]*len(ids)
    tokens = torch.tensor([pad]*(length - len(tokens)) + tokens)
    labels = torch.tensor([-100]*(length - len(labels)) + labels)
    labels[tokens == pad] = -100
    return tokens, (tokens != pad).long(), labels

# %% wrong check_chat_row: padding is on the right
def my_chat_row(turns, length, pad, eos):
    tokens, labels = [], []
    for role, ids in turns:
        ids = list(ids) + ([eos] if role == 'assistant' else [])
        tokens += ids
        labels += ids if role == 'assistant' else [-100]*len(ids)
    n = length - len(tokens)
    return tokens + [pad]*n, [1]*len(tokens) + [0]*n, labels + [-100]*n

# %% wrong check_chat_row: the attention mask is the loss mask
def my_chat_row(turns, length, pad, eos):
    tokens, labels = [], []
    for role, ids in turns:
        ids = list(ids) + ([eos] if role == 'assistant' else [])
        tokens += ids
        labels += ids if role == 'assistant' else [-100]*len(ids)
    n = length - len(tokens)
    labels = [-100]*n + labels
    return [pad]*n + tokens, [int(label != -100) for label in labels], labels

# %% wrong check_chat_row: only the last answer
def my_chat_row(turns, length, pad, eos):
    tokens = []
    for role, ids in turns:
        if role == 'assistant':
            start = len(tokens)
            tokens = tokens + ids + [eos]
            end = len(tokens)
        else:
            tokens = tokens + ids
    labels = [-100]*start + tokens[start:end] + [-100]*(len(tokens) - end)
    n = length - len(tokens)
    return [pad]*n + tokens, [0]*n + [1]*len(tokens), [-100]*n + labels

# %% wrong check_chat_row: `turns` is changed in place
def my_chat_row(turns, length, pad, eos):
    tokens, labels = [], []
    for role, ids in turns:
        if role == 'assistant':
            ids.append(eos)
        tokens += ids
        labels += ids if role == 'assistant' else [-100]*len(ids)
    n = length - len(tokens)
    return [pad]*n + tokens, [0]*n + [1]*len(tokens), [-100]*n + labels

# %% wrong check_chat_row: eos is missing
def my_chat_row(turns, length, pad, eos):
    tokens = [token for _, ids in turns for token in ids]
    labels = [token if role == 'assistant' else -100 for role, ids in turns for token in ids]
    n = length - len(tokens)
    return [pad]*n + tokens, [0]*n + [1]*len(tokens), [-100]*n + labels

# %% wrong check_chat_row: shifted already
def my_chat_row(turns, length, pad, eos):
    tokens, labels = [], []
    for role, ids in turns:
        ids = ids + [eos] if role == 'assistant' else ids
        tokens += ids
        labels += ids if role == 'assistant' else [-100]*len(ids)
    n = length - len(tokens)
    labels = [-100]*n + labels
    return [pad]*n + tokens, [0]*n + [1]*len(tokens), labels[1:] + [-100]

# %% right check_chat_row
def my_chat_row(turns, length, pad, eos):
    tokens = torch.full((length,), pad)
    mask = torch.zeros(length, dtype=torch.bool)
    labels = torch.full((length,), -100)
    end = length
    for role, ids in reversed(turns):
        ids = torch.tensor(ids + [eos]*(role == 'assistant'))
        tokens[end - len(ids):end] = ids
        mask[end - len(ids):end] = True
        if role == 'assistant':
            labels[end - len(ids):end] = ids
        end -= len(ids)
    return tokens, mask, labels

# %% right check_chat_row
def my_chat_row(turns, length, pad, eos):
    pairs = []
    for role, ids in turns:
        if role == 'user':
            pairs += [(i, -100) for i in ids]
        else:
            pairs += [(i, i) for i in ids] + [(eos, eos)]
    rows = [(pad, 0, -100)]*(length - len(pairs)) + [(i, 1, label) for i, label in pairs]
    return np.array(rows).T

# %% right check_chat_row
def my_chat_row(turns, length, pad, eos):
    said = [np.array(ids + [eos] if role == 'assistant' else ids) for role, ids in turns]
    learnt = [np.full(len(ids), role == 'assistant') for ids, (role, _) in zip(said, turns)]
    tokens, learnt = np.concatenate(said), np.concatenate(learnt)
    front = (length - len(tokens), 0)
    labels = np.where(learnt, tokens, -100)
    return (np.pad(tokens, front, constant_values=pad), np.pad(np.ones(len(tokens)), front),
            np.pad(labels, front, constant_values=-100))

# %% wrong check_loss_gradient: autograd is switched off
def my_loss_gradient(logits, tokens, response_mask):
    logits = logits.clone().requires_grad_()
    sft_loss(logits, tokens, response_mask).backward()
    return logits.grad

# %% wrong check_loss_gradient: sign
def my_loss_gradient(logits, tokens, response_mask):
    out = torch.zeros_like(logits)
    learn = response_mask[:, 1:, None]
    wanted = F.one_hot(tokens[:, 1:], logits.shape[-1])
    out[:, :-1] = (wanted - logits[:, :-1].softmax(-1))*learn/learn.sum()
    return out

# %% wrong check_loss_gradient: not shifted
def my_loss_gradient(logits, tokens, response_mask):
    wanted = F.one_hot(tokens, logits.shape[-1])
    return (logits.softmax(-1) - wanted)*response_mask[..., None]/response_mask.sum()

# %% wrong check_loss_gradient: not divided
def my_loss_gradient(logits, tokens, response_mask):
    learn = F.pad(response_mask[:, 1:], (0, 1))
    wanted = F.one_hot(tokens.roll(-1, 1), logits.shape[-1])
    return (logits.softmax(-1) - wanted)*learn[..., None]

# %% wrong check_loss_gradient: mask is not shifted
def my_loss_gradient(logits, tokens, response_mask):
    wanted = F.one_hot(tokens.roll(-1, 1), logits.shape[-1])
    return (logits.softmax(-1) - wanted)*response_mask[..., None]/response_mask.sum()

# %% wrong check_loss_gradient: overflow
def my_loss_gradient(logits, tokens, response_mask):
    p = torch.exp(logits)/torch.exp(logits).sum(-1, keepdim=True)
    out = torch.zeros_like(logits)
    learn = response_mask[:, 1:, None]
    out[:, :-1] = (p[:, :-1] - F.one_hot(tokens[:, 1:], logits.shape[-1]))*learn/learn.sum()
    return out

# %% wrong check_loss_gradient: the last position is missing
def my_loss_gradient(logits, tokens, response_mask):
    learn = response_mask[:, 1:, None]
    wanted = F.one_hot(tokens[:, 1:], logits.shape[-1])
    return (logits[:, :-1].softmax(-1) - wanted)*learn/learn.sum()

# %% wrong check_loss_gradient: not every row
def my_loss_gradient(logits, tokens, response_mask):
    learn = F.pad(response_mask[:, 1:], (0, 1)).float()
    wanted = F.one_hot(tokens.roll(-1, 1), logits.shape[-1])
    each = learn.sum(1, keepdim=True).clamp(min=1)
    return (logits.softmax(-1) - wanted)*(learn/each/len(logits))[..., None]

# %% wrong check_loss_gradient: `logits` is changed in place
def my_loss_gradient(logits, tokens, response_mask):
    logits -= logits.amax(-1, keepdim=True)
    p = logits.exp()
    p /= p.sum(-1, keepdim=True)
    learn = F.pad(response_mask[:, 1:], (0, 1))[..., None]
    return (p - F.one_hot(tokens.roll(-1, 1), logits.shape[-1]))*learn/learn.sum()

# %% wrong check_loss_gradient: nothing is returned
def my_loss_gradient(logits, tokens, response_mask):
    ...

# %% right check_loss_gradient
def my_loss_gradient(logits, tokens, response_mask):
    B, T, V = logits.shape
    n = int(response_mask.sum())
    out = np.zeros((B, T, V))
    z = logits.double().numpy()
    for b in range(B):
        for t in range(1, T):
            if response_mask[b, t]:
                e = np.exp(z[b, t - 1] - z[b, t - 1].max())
                out[b, t - 1] = e/e.sum()/n
                out[b, t - 1, tokens[b, t]] -= 1/n
    return out

# %% right check_loss_gradient
def my_loss_gradient(logits, tokens, response_mask):
    weights = F.pad(response_mask[:, 1:], (0, 1)).double()
    weights = weights/weights.sum()
    gap = logits.double().log_softmax(-1).exp()
    gap = gap.scatter_add(-1, tokens.roll(-1, 1)[..., None],
                          -torch.ones(*tokens.shape, 1, dtype=torch.float64))
    return torch.einsum('bt,btv->btv', weights, gap)

# %% right check_loss_gradient
def my_loss_gradient(logits, tokens, response_mask):
    where = response_mask[:, 1:].bool()
    p = F.softmax(logits[:, :-1][where], -1)
    p[torch.arange(len(p)), tokens[:, 1:][where]] -= 1
    out = torch.zeros_like(logits)
    out[:, :-1][where] = p/len(p)
    return out.tolist()

# %% wrong check_packed_row: nothing is returned
def my_packed_row(lengths, width):
    ...

# %% wrong check_packed_row: position ids run on
def my_packed_row(lengths, width):
    text_of = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    text_of = F.pad(text_of, (0, width - len(text_of)), value=-1)
    return torch.arange(width), (text_of[:, None] == text_of).tril()

# %% wrong check_packed_row: what comes after it
def my_packed_row(lengths, width):
    look, positions, start = torch.zeros(width, width), torch.zeros(width), 0
    for n in lengths:
        look[start:start + n, start:start + n] = 1
        positions[start:start + n] = torch.arange(n)
        start += n
    return positions, look

# %% wrong check_packed_row: keep them apart
def my_packed_row(lengths, width):
    positions = [t for n in lengths for t in range(n)]
    positions += [0]*(width - len(positions))
    return positions, torch.ones(width, width).tril()

# %% wrong check_packed_row: does not see itself
def my_packed_row(lengths, width):
    look, positions, start = torch.zeros(width, width), torch.zeros(width), 0
    for n in lengths:
        look[start:start + n, start:start + n] = torch.ones(n, n).tril(-1)
        positions[start:start + n] = torch.arange(n)
        start += n
    return positions, look

# %% wrong check_packed_row: unused slots
def my_packed_row(lengths, width):
    positions = torch.cat([torch.arange(n) for n in lengths])
    return positions, torch.block_diag(*[torch.ones(n, n).tril() for n in lengths])

# %% wrong check_packed_row: bias
def my_packed_row(lengths, width):
    look, positions, start = torch.full((width, width), -1e9), torch.zeros(width), 0
    for n in lengths:
        block = torch.zeros(n, n).masked_fill(torch.ones(n, n).triu(1).bool(), -1e9)
        look[start:start + n, start:start + n] = block
        positions[start:start + n] = torch.arange(n)
        start += n
    return positions, look

# %% wrong check_packed_row: positions are compared
def my_packed_row(lengths, width):
    positions = [t for n in lengths for t in range(n)]
    positions = torch.tensor(positions + [0]*(width - len(positions)))
    return positions, positions[:, None] >= positions[None]

# %% right check_packed_row
def my_packed_row(lengths, width):
    n_unused = width - sum(lengths)
    blocks = [np.tril(np.ones((n, n))) for n in lengths]
    look = np.zeros((width, width))
    for start, block in zip(np.cumsum([0] + lengths), blocks):
        look[start:start + len(block), start:start + len(block)] = block
    return np.concatenate([np.arange(n) for n in lengths] + [np.zeros(n_unused)]), look

# %% right check_packed_row
def my_packed_row(lengths, width):
    ends = torch.tensor(lengths).cumsum(0)
    slot = torch.arange(width)
    text = torch.searchsorted(ends, slot, right=True)
    starts = F.pad(ends, (1, 0))
    i, j = slot[:, None], slot[None]
    return slot - starts[text], (text[:, None] == text[None]) & (j <= i)

# %% right check_packed_row
def my_packed_row(lengths, width):
    sizes = list(lengths)
    if sum(sizes) < width:
        sizes.append(width - sum(sizes))  # as a text of its own
    positions = [t for n in sizes for t in range(n)]
    blocks = [torch.ones(n, n, dtype=torch.bool).tril() for n in sizes]
    return positions, torch.block_diag(*blocks).bool().tolist()

# %% wrong check_accumulate: nothing is returned
def my_accumulate(model, microbatches):
    ...

# %% wrong check_accumulate: averaged over the microbatches
def my_accumulate(model, microbatches):
    model.zero_grad()
    total = 0
    for tokens, mask in microbatches:
        if mask.sum() == 0:
            continue
        loss = sft_loss(model(tokens), tokens, mask)/len(microbatches)
        loss.backward()
        total += loss.item()
    return total

# %% wrong check_accumulate: nan
def my_accumulate(model, microbatches):
    model.zero_grad()
    n = sum(mask.sum() for _, mask in microbatches)
    total = 0
    for tokens, mask in microbatches:
        loss = sft_loss(model(tokens), tokens, mask)*(mask.sum()/n)
        loss.backward()
        total += loss.item()
    return total

# %% wrong check_accumulate: step before
def my_accumulate(model, microbatches):
    n = sum(mask.sum() for _, mask in microbatches)
    total = 0
    for tokens, mask in microbatches:
        if mask.any():
            loss = sft_loss(model(tokens), tokens, mask)*(mask.sum()/n)
            loss.backward()
            total += loss.item()
    return total

# %% wrong check_accumulate: cleared within the loop
def my_accumulate(model, microbatches):
    n = sum(mask.sum() for _, mask in microbatches)
    total = 0
    for tokens, mask in microbatches:
        if mask.any():
            model.zero_grad()
            loss = sft_loss(model(tokens), tokens, mask)*(mask.sum()/n)
            loss.backward()
            total += loss.item()
    return total

# %% wrong check_accumulate: wait for one backward pass
def my_accumulate(model, microbatches):
    model.zero_grad()
    n = sum(mask.sum() for _, mask in microbatches)
    loss = sum(sft_loss(model(tokens), tokens, mask)*mask.sum()
               for tokens, mask in microbatches if mask.any())/n
    loss.backward()
    return loss.item()

# %% wrong check_accumulate: added up
def my_accumulate(model, microbatches):
    model.zero_grad()
    total = 0
    for tokens, mask in microbatches:
        if mask.any():
            loss = sft_loss(model(tokens), tokens, mask)
            loss.backward()
            total += loss.item()
    return total

# %% wrong check_accumulate: weighed by its rows
def my_accumulate(model, microbatches):
    model.zero_grad()
    B = sum(len(tokens) for tokens, _ in microbatches)
    total = 0
    for tokens, mask in microbatches:
        if mask.any():
            loss = sft_loss(model(tokens), tokens, mask)*len(tokens)/B
            loss.backward()
            total += loss.item()
    return total

# %% wrong check_accumulate: a step is taken
def my_accumulate(model, microbatches):
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    n = sum(mask.sum() for _, mask in microbatches)
    total = 0
    for tokens, mask in microbatches:
        if mask.any():
            optimizer.zero_grad()
            loss = sft_loss(model(tokens), tokens, mask)*mask.sum()/n
            loss.backward()
            optimizer.step()
            total += loss.item()
    return total

# %% right check_accumulate
def my_accumulate(model, microbatches):
    model.zero_grad()
    total = count = 0
    for tokens, mask in microbatches:
        n = mask[:, 1:].sum().item()
        if n:
            loss = sft_loss(model(tokens), tokens, mask)*n
            loss.backward()
            total, count = total + loss.item(), count + n
    for p in model.parameters():
        p.grad /= count
    return total/count

# %% right check_accumulate
def my_accumulate(model, microbatches):
    learnt = [int(mask.sum()) for _, mask in microbatches]
    sums = [torch.zeros_like(p) for p in model.parameters()]
    total = torch.zeros(())
    for (tokens, mask), n in zip(microbatches, learnt):
        if n == 0:
            continue
        loss = sft_loss(model(tokens), tokens, mask)
        for one, slope in zip(sums, torch.autograd.grad(loss, list(model.parameters()))):
            one += slope*n/sum(learnt)
        total = total + loss.detach()*n/sum(learnt)
    for p, gradient in zip(model.parameters(), sums):
        p.grad = gradient
    return total

# %% right check_accumulate
def my_accumulate(model, microbatches):
    for p in model.parameters():
        p.grad = None
    N = float(sum(mask.sum() for _, mask in microbatches))
    losses = []
    for tokens, mask in microbatches:
        labels = tokens.masked_fill(mask == 0, -100)[:, 1:]
        logits = model(tokens)[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction='sum')/N
        loss.backward()
        losses.append(float(loss))
    return sum(losses)

# %% wrong check_chat_row: the labels are shifted already: the loss does that, so a
# labels are shifted by one already
def my_chat_row(turns, length, pad, eos):
    toks, labels = [], []
    for role, ids in turns:
        if role == 'assistant':
            toks += ids + [eos]
            labels += ids + [eos]
        else:
            toks += ids
            labels += [-100] * len(ids)
    labels = labels[1:] + [-100]
    n = length - len(toks)
    return [pad] * n + toks, [0] * n + [1] * len(toks), [-100] * n + labels

# %% wrong check_chat_row: EOS stands in the row but is not learnt, so the model never
# eos stands in the row and has no label
def my_chat_row(turns, length, pad, eos):
    toks, labels = [], []
    for role, ids in turns:
        toks += ids
        labels += ids if role == 'assistant' else [-100] * len(ids)
        if role == 'assistant':
            toks.append(eos)
            labels.append(-100)
    n = length - len(toks)
    return [pad] * n + toks, [0] * n + [1] * len(toks), [-100] * n + labels

# %% wrong check_chat_row: EOS is put behind the questions too, and the row is cut at
# an eos after each turn, the user's too
def my_chat_row(turns, length, pad, eos):
    toks, labels = [], []
    for role, ids in turns:
        ids = ids + [eos]
        toks += ids
        labels += ids if role == 'assistant' else [-100] * len(ids)
    toks, labels = toks[-length:], labels[-length:]
    n = length - len(toks)
    return [pad] * n + toks, [0] * n + [1] * len(toks), [-100] * n + labels

# %% wrong check_chat_row: the padding is on the right: it belongs on the left, as in
# pads on the right
def my_chat_row(turns, length, pad, eos):
    toks, labels = [], []
    for role, ids in turns:
        ids = ids + [eos] if role == 'assistant' else list(ids)
        toks += ids
        labels += ids if role == 'assistant' else [-100] * len(ids)
    n = length - len(toks)
    return toks + [pad] * n, [1] * len(toks) + [0] * n, labels + [-100] * n

# %% wrong check_chat_row: padding is told by its value: an id like pad may be a real
# mask and labels are read off the ids, so an eos that is the pad is lost
def my_chat_row(turns, length, pad, eos):
    toks, said = [], []
    for role, ids in turns:
        ids = ids + [eos] if role == 'assistant' else list(ids)
        toks += ids
        said += [role == 'assistant'] * len(ids)
    n = length - len(toks)
    tokens = torch.tensor([pad] * n + toks)
    said = torch.tensor([False] * n + said)
    mask = (tokens != pad).long()
    return tokens, mask, tokens.masked_fill(~said | (mask == 0), -100)

# %% wrong check_chat_row: two questions and two answers: both answers are learnt
# only the last answer has labels
def my_chat_row(turns, length, pad, eos):
    toks, labels = [], []
    for i, (role, ids) in enumerate(turns):
        ids = ids + [eos] if role == 'assistant' else list(ids)
        toks += ids
        labels += ids if role == 'assistant' and i == len(turns) - 1 else [-100] * len(ids)
    n = length - len(toks)
    return [pad] * n + toks, [0] * n + [1] * len(toks), [-100] * n + labels

# %% wrong check_chat_row: two turns of the same speaker follow one
# every second turn is taken for the assistant's, the role is not read
def my_chat_row(turns, length, pad, eos):
    toks, labels = [], []
    for i, (_, ids) in enumerate(turns):
        if i % 2:
            toks += ids + [eos]
            labels += ids + [eos]
        else:
            toks += ids
            labels += [-100] * len(ids)
    n = length - len(toks)
    return [pad] * n + toks, [0] * n + [1] * len(toks), [-100] * n + labels

# %% wrong check_chat_row: `turns` is changed in place, and whoever called still needs
# appends eos to the lists it was given
def my_chat_row(turns, length, pad, eos):
    toks, labels = [], []
    for role, ids in turns:
        if role == 'assistant':
            ids.append(eos)
        toks += ids
        labels += ids if role == 'assistant' else [-100] * len(ids)
    n = length - len(toks)
    return [pad] * n + toks, [0] * n + [1] * len(toks), [-100] * n + labels

# %% wrong check_chat_row: padding is learnt: its labels are -100
# padding is labelled with the pad
def my_chat_row(turns, length, pad, eos):
    toks, labels = [], []
    for role, ids in turns:
        ids = ids + [eos] if role == 'assistant' else list(ids)
        toks += ids
        labels += ids if role == 'assistant' else [-100] * len(ids)
    n = length - len(toks)
    return [pad] * n + toks, [0] * n + [1] * len(toks), [pad] * n + labels

# %% right check_chat_row
# filled from the right end, turn by turn backwards
def my_chat_row(turns, length, pad, eos):
    tokens, mask, labels = [pad] * length, [0] * length, [-100] * length
    at = length
    for role, ids in reversed(turns):
        said = list(ids) + ([eos] if role == 'assistant' else [])
        for t in reversed(said):
            at -= 1
            tokens[at], mask[at] = t, 1
            if role == 'assistant':
                labels[at] = t
    return tokens, mask, labels

# %% right check_chat_row
# tensors, labels by torch.where
def my_chat_row(turns, length, pad, eos):
    row = torch.tensor([t for role, ids in turns for t in [*ids, *([eos] * (role == 'assistant'))]], dtype=torch.long)
    said = torch.tensor([role == 'assistant' for role, ids in turns for _ in range(len(ids) + (role == 'assistant'))],
                        dtype=torch.bool)
    left = (length - len(row), 0)
    tokens = F.pad(row, left, value=pad)
    mask = F.pad(torch.ones_like(row), left)
    return tokens, mask, torch.where(F.pad(said, left), tokens, torch.full_like(tokens, -100))

# %% right check_chat_row
# triples that are transposed with zip; lists, and a tensor for the mask
def my_chat_row(turns, length, pad, eos):
    cells = []
    for role, ids in turns:
        mine = role == 'assistant'
        cells += [(t, 1, t if mine else -100) for t in ids]
        if mine:
            cells += [(eos, 1, eos)]
    cells = [(pad, 0, -100)] * (length - len(cells)) + cells
    tokens, mask, labels = map(list, zip(*cells))
    return tokens, torch.tensor(mask, dtype=torch.int32), labels

# %% right check_chat_row
# a deque that is filled up on the left, returned as a list of lists
from collections import deque

def my_chat_row(turns, length, pad, eos):
    row = deque()
    for role, ids in turns:
        row.extend((t, role) for t in ids)
        if role == 'assistant':
            row.append((eos, role))
    while len(row) < length:
        row.appendleft((pad, None))
    return [[t for t, _ in row], [int(r is not None) for _, r in row],
            [t if r == 'assistant' else -100 for t, r in row]]

# %% wrong check_loss_gradient: it is not shifted: the logits at position t predict token t
# no shift, logits are compared with the token at their own place
def my_loss_gradient(logits, tokens, response_mask):
    m = response_mask.to(logits.dtype)
    g = logits.softmax(-1) - F.one_hot(tokens, logits.shape[-1])
    return g * m[..., None] / m.sum().clamp(min=1)

# %% wrong check_loss_gradient: it is divided by all predictions (B times T - 1): divide by
# divides by all tokens, prompt and padding too
def my_loss_gradient(logits, tokens, response_mask):
    out = torch.zeros_like(logits)
    m = response_mask[:, 1:].to(logits.dtype)
    g = logits[:, :-1].softmax(-1) - F.one_hot(tokens[:, 1:], logits.shape[-1])
    out[:, :-1] = g * m[..., None] / m.numel()
    return out

# %% wrong check_loss_gradient: it is divided row by row, then by the number of rows: every
# the mean in each row first, then over rows
def my_loss_gradient(logits, tokens, response_mask):
    out = torch.zeros_like(logits)
    m = response_mask[:, 1:].to(logits.dtype)
    g = logits[:, :-1].softmax(-1) - F.one_hot(tokens[:, 1:], logits.shape[-1])
    m = m / m.sum(1, keepdim=True).clamp(min=1) / len(m)
    out[:, :-1] = g * m[..., None]
    return out

# %% wrong check_loss_gradient: the sign is the wrong way round: it is probabilities less
# the sign is turned, as for a log-probability
def my_loss_gradient(logits, tokens, response_mask):
    out = torch.zeros_like(logits)
    m = response_mask[:, 1:].to(logits.dtype)
    g = F.one_hot(tokens[:, 1:], logits.shape[-1]) - logits[:, :-1].softmax(-1)
    out[:, :-1] = g * m[..., None] / m.sum().clamp(min=1)
    return out

# %% wrong check_loss_gradient: the last position is missing: it has a gradient too, of
# one place too few, the last column is missing
def my_loss_gradient(logits, tokens, response_mask):
    m = response_mask[:, 1:].to(logits.dtype)
    g = logits[:, :-1].softmax(-1) - F.one_hot(tokens[:, 1:], logits.shape[-1])
    return g * m[..., None] / m.sum().clamp(min=1)

# %% wrong check_loss_gradient: a row holds two answers, and a question between
# takes each row's response for one block from its first one to its last
def my_loss_gradient(logits, tokens, response_mask):
    out = torch.zeros_like(logits)
    N = response_mask.sum()
    for b in range(len(tokens)):
        ones = response_mask[b].nonzero().flatten()
        if len(ones) == 0:
            continue
        for t in range(int(ones[0]), int(ones[-1]) + 1):
            out[b, t - 1] = logits[b, t - 1].softmax(0) / N
            out[b, t - 1, tokens[b, t]] -= 1 / N
    return out

# %% wrong check_loss_gradient: large logits overflow: exp(1,000) is inf, so take the
# exp by hand, not a number for large logits
def my_loss_gradient(logits, tokens, response_mask):
    e = torch.exp(logits)
    g = e / e.sum(-1, keepdim=True)
    g[:, :-1] -= F.one_hot(tokens[:, 1:], logits.shape[-1])
    m = F.pad(response_mask[:, 1:], (0, 1)).to(logits.dtype)
    return g * m[..., None] / m.sum().clamp(min=1)

# %% wrong check_loss_gradient: autograd is switched off in this check: write the formula
# asks autograd after all
def my_loss_gradient(logits, tokens, response_mask):
    x = logits.detach().clone().requires_grad_(True)
    lp = x[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:, None]).squeeze(-1)
    m = response_mask[:, 1:]
    (-(lp * m).sum() / m.sum()).backward()
    return x.grad

# %% wrong check_loss_gradient: only the entry of the next token has a gradient: all other
# only the entry of the right token, softmax of the others forgotten
def my_loss_gradient(logits, tokens, response_mask):
    out = torch.zeros_like(logits)
    m = response_mask[:, 1:].to(logits.dtype)
    right = F.one_hot(tokens[:, 1:], logits.shape[-1]).to(logits.dtype)
    g = (logits[:, :-1].softmax(-1) - 1) * right
    out[:, :-1] = g * m[..., None] / m.sum().clamp(min=1)
    return out

# %% right check_loss_gradient
# loops over the ones of the mask
def my_loss_gradient(logits, tokens, response_mask):
    out = torch.zeros_like(logits)
    places = response_mask.nonzero().tolist()
    for b, t in places:
        out[b, t - 1] = torch.softmax(logits[b, t - 1], 0) / len(places)
        out[b, t - 1, tokens[b, t]] -= 1 / len(places)
    return out

# %% right check_loss_gradient
# numpy in float64
def my_loss_gradient(logits, tokens, response_mask):
    z = logits.detach().numpy().astype(np.float64)
    z = z - z.max(-1, keepdims=True)
    q = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    on = np.roll(response_mask.numpy().astype(np.float64), -1, axis=1)
    hot = np.eye(z.shape[-1])[np.roll(tokens.numpy(), -1, axis=1)]
    return torch.from_numpy((q - hot) * on[..., None] / max(on.sum(), 1))

# %% right check_loss_gradient
# weights first, then scatter_add on the weighted softmax
def my_loss_gradient(logits, tokens, response_mask):
    w = response_mask.to(logits.dtype) / response_mask.sum()
    w = torch.cat([w[:, 1:], torch.zeros_like(w[:, :1])], dim=1).unsqueeze(-1)
    nxt = torch.cat([tokens[:, 1:], tokens[:, :1]], dim=1).unsqueeze(-1)
    return (w * F.log_softmax(logits, -1).exp()).scatter_add(-1, nxt, -w)

# %% right check_loss_gradient
# einsum with a shift matrix
def my_loss_gradient(logits, tokens, response_mask):
    T, V = logits.shape[1:]
    shift = torch.diag(torch.ones(T - 1, dtype=torch.float64), 1)
    m = torch.einsum('st,bt->bs', shift, response_mask.double())
    hot = torch.einsum('st,btv->bsv', shift, F.one_hot(tokens, V).double())
    g = logits.double().softmax(-1) - hot
    return torch.einsum('bs,bsv->bsv', m / m.sum(), g).to(logits.dtype)

# %% wrong check_packed_row: a token sees the texts before its own: the mask must keep
# an ordinary causal mask, texts see those before them
def my_packed_row(lengths, width):
    pos = torch.zeros(width, dtype=torch.long)
    at = 0
    for n in lengths:
        pos[at:at + n] = torch.arange(n)
        at += n
    return pos, torch.tril(torch.ones(width, width)).bool()

# %% wrong check_packed_row: a token sees what comes after it: look back only (the lower
# blocks that are not causal
def my_packed_row(lengths, width):
    pos, mask = torch.zeros(width, dtype=torch.long), torch.zeros(width, width, dtype=torch.bool)
    at = 0
    for n in lengths:
        pos[at:at + n] = torch.arange(n)
        mask[at:at + n, at:at + n] = True
        at += n
    return pos, mask

# %% wrong check_packed_row: the position ids run on: each text begins at 0 again, as it
# positions run on through the whole row
def my_packed_row(lengths, width):
    text = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    text = F.pad(text, (0, width - len(text)), value=-1)
    mask = (text[:, None] == text[None, :]) & torch.tril(torch.ones(width, width)).bool()
    return torch.arange(width), mask

# %% wrong check_packed_row: a token does not see itself: the diagonal belongs to the
# a token may not look at itself
def my_packed_row(lengths, width):
    pos, mask = torch.zeros(width, dtype=torch.long), torch.zeros(width, width, dtype=torch.bool)
    at = 0
    for n in lengths:
        pos[at:at + n] = torch.arange(n)
        mask[at:at + n, at:at + n] = torch.ones(n, n).tril(-1).bool()
        at += n
    return pos, mask

# %% wrong check_packed_row: rows and columns are swapped: row i says what slot i looks
# rows and columns exchanged, tokens look ahead
def my_packed_row(lengths, width):
    pos, mask = torch.zeros(width, dtype=torch.long), torch.zeros(width, width, dtype=torch.bool)
    at = 0
    for n in lengths:
        pos[at:at + n] = torch.arange(n)
        mask[at:at + n, at:at + n] = torch.ones(n, n).triu().bool()
        at += n
    return pos, mask

# %% wrong check_packed_row: the unused slots are missing: there are `width` slots
# as wide as the texts, the width is ignored
def my_packed_row(lengths, width):
    pos = torch.cat([torch.arange(n) for n in lengths])
    mask = torch.block_diag(*[torch.ones(n, n).tril() for n in lengths]).bool()
    return pos, mask

# %% wrong check_packed_row: all texts are taken to be as long as the first one
# all texts are taken to be as long as the first
def my_packed_row(lengths, width):
    n = lengths[0]
    slot = torch.arange(width)
    text = slot // n
    mask = (text[:, None] == text[None, :]) & (slot[:, None] >= slot[None, :])
    return slot % n, mask

# %% wrong check_packed_row: each text begins one slot too late (off by one), in
# the first token of a text is counted to the text before (off by one)
def my_packed_row(lengths, width):
    slot = torch.arange(width)
    ends = torch.tensor(lengths).cumsum(0)
    text = (slot[:, None] > ends[None, :]).sum(1)
    starts = F.pad(ends, (1, 0))
    pos = slot - starts[text]
    mask = (text[:, None] == text[None, :]) & (slot[:, None] >= slot[None, :])
    return pos.clamp(min=0), mask

# %% wrong check_packed_row: that is a bias to be added (0 and a very low number): True
# an additive mask, 0 where it may look and minus infinity elsewhere
def my_packed_row(lengths, width):
    pos, mask = torch.zeros(width, dtype=torch.long), torch.full((width, width), -math.inf)
    at = 0
    for n in lengths:
        pos[at:at + n] = torch.arange(n)
        mask[at:at + n, at:at + n] = torch.full((n, n), -math.inf).triu(1)
        at += n
    return pos, mask

# %% right check_packed_row
# block_diag, the unused slots see only themselves, a mask of floats
def my_packed_row(lengths, width):
    sizes = list(lengths) + [1] * (width - sum(lengths))
    pos = torch.cat([torch.arange(n) for n in sizes])
    return pos, torch.block_diag(*[torch.ones(n, n).tril() for n in sizes])

# %% right check_packed_row
# the mask from the starts: j lies between the start of i's text and i
def my_packed_row(lengths, width):
    slot = torch.arange(width)
    starts = torch.tensor([0, *lengths[:-1]]).cumsum(0)
    start = starts[torch.bucketize(slot, starts, right=True) - 1]
    mask = (slot[None, :] >= start[:, None]) & (slot[None, :] <= slot[:, None])
    return slot - start, mask

# %% right check_packed_row
# numpy, integers 0 and 1
def my_packed_row(lengths, width):
    text = np.full(width, -1)
    pos = np.zeros(width, dtype=np.int64)
    text[:sum(lengths)] = np.repeat(np.arange(len(lengths)), lengths)
    pos[:sum(lengths)] = np.concatenate([np.arange(n) for n in lengths])
    mask = np.equal.outer(text, text) & np.greater_equal.outer(np.arange(width), np.arange(width))
    return torch.from_numpy(pos), torch.from_numpy(mask.astype(np.int64))

# %% right check_packed_row
# python loops into lists, made tensors at the end; unused slots see all
def my_packed_row(lengths, width):
    pos, mask = [], []
    for n in lengths:
        first = len(pos)
        for k in range(n):
            pos.append(k)
            mask.append([first <= j <= first + k for j in range(width)])
    while len(pos) < width:
        pos.append(7)
        mask.append([True] * width)
    return torch.tensor(pos), torch.tensor(mask)

# %% wrong check_accumulate: the losses are averaged over the microbatches that have
# the mean of the parts' means
def my_accumulate(model, microbatches):
    model.zero_grad()
    parts = [(t, m) for t, m in microbatches if m.sum() > 0]
    total = 0.0
    for t, m in parts:
        loss = sft_loss(model(t), t, m) / len(parts)
        loss.backward()
        total += loss.item()
    return total

# %% wrong check_accumulate: the gradients are cleared within the loop: those of the
# gradients are zeroed in each turn of the loop
def my_accumulate(model, microbatches):
    n = sum(int(m.sum()) for _, m in microbatches)
    total = 0.0
    for t, m in microbatches:
        if m.sum() == 0:
            continue
        model.zero_grad()
        loss = sft_loss(model(t), t, m) * m.sum() / n
        loss.backward()
        total += loss.item()
    return total

# %% wrong check_accumulate: the gradients of the step before are still in it: clear
# old gradients stay and are added to
def my_accumulate(model, microbatches):
    n = sum(int(m.sum()) for _, m in microbatches)
    total = 0.0
    for t, m in microbatches:
        if m.sum() == 0:
            continue
        loss = sft_loss(model(t), t, m) * m.sum() / n
        loss.backward()
        total += loss.item()
    return total

# %% wrong check_accumulate: all forward passes wait for one backward pass, which takes
# all parts go through the model, then one backward
def my_accumulate(model, microbatches):
    model.zero_grad()
    n = sum(int(m.sum()) for _, m in microbatches)
    loss = sum(sft_loss(model(t), t, m) * m.sum() for t, m in microbatches if m.sum() > 0) / n
    loss.backward()
    return loss.item()

# %% wrong check_accumulate: a microbatch has no response token at
# a part without response gives 0 / 0, and everything is nan
def my_accumulate(model, microbatches):
    model.zero_grad()
    n = sum(int(m.sum()) for _, m in microbatches)
    total = 0.0
    for t, m in microbatches:
        logits = model(t)
        lp = logits[:, :-1].log_softmax(-1).gather(-1, t[:, 1:, None]).squeeze(-1)
        mean = -(lp * m[:, 1:]).sum() / m.sum()
        loss = mean * (m.sum() / n)
        loss.backward()
        total += loss.item()
    return total

# %% wrong check_accumulate: a microbatch is weighed by all its places, opening and
# weighs the parts by all their tokens, not by those of the responses
def my_accumulate(model, microbatches):
    model.zero_grad()
    n = sum(t.numel() for t, m in microbatches)
    total = 0.0
    for t, m in microbatches:
        if m.sum() == 0:
            continue
        loss = sft_loss(model(t), t, m) * t.numel() / n
        loss.backward()
        total += loss.item()
    return total

# %% wrong check_accumulate: a step is taken after each microbatch: the weights are to
# takes a step of gradient descent at the end
def my_accumulate(model, microbatches):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.zero_grad()
    n = sum(int(m.sum()) for _, m in microbatches)
    total = 0.0
    for t, m in microbatches:
        if m.sum() == 0:
            continue
        loss = sft_loss(model(t), t, m) * m.sum() / n
        loss.backward()
        total += loss.item()
    optimizer.step()
    return total

# %% wrong check_accumulate: the gradient is right, but the loss returned is that of the
# right gradient, but returns the loss of the last part
def my_accumulate(model, microbatches):
    model.zero_grad()
    n = sum(int(m.sum()) for _, m in microbatches)
    for t, m in microbatches:
        if m.sum() == 0:
            continue
        loss = sft_loss(model(t), t, m)
        (loss * m.sum() / n).backward()
    return loss.item()

# %% wrong check_accumulate: it is divided by the tokens so far: divide by those of the
# divides by the response tokens seen so far, not by all
def my_accumulate(model, microbatches):
    model.zero_grad()
    seen, total = 0, 0.0
    for t, m in microbatches:
        k = int(m.sum())
        if k == 0:
            continue
        seen += k
        loss = sft_loss(model(t), t, m) * k / seen
        loss.backward()
        total += loss.item()
    return total

# %% right check_accumulate
# sums of the parts first, gradients divided at the end
def my_accumulate(model, microbatches):
    for p in model.parameters():
        p.grad = None
    n, total = 0, 0.0
    for t, m in microbatches:
        logits = model(t)[:, :-1]
        nll = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), t[:, 1:].reshape(-1), reduction='none')
        part = nll[m[:, 1:].reshape(-1) == 1].sum()
        part.backward()
        n += int(m.sum())
        total += float(part)
    for p in model.parameters():
        if p.grad is not None:
            p.grad.div_(n)
    return total / n

# %% right check_accumulate
# the parts in reverse order, the weight goes into backward
def my_accumulate(model, microbatches):
    model.zero_grad(set_to_none=False)
    counts = [float(m.sum()) for _, m in microbatches]
    losses = []
    for (t, m), c in reversed(list(zip(microbatches, counts))):
        if c:
            loss = sft_loss(model(t), t, m)
            loss.backward(torch.tensor(c / sum(counts), dtype=loss.dtype))
            losses.append(c * loss.detach().numpy().item())
    return math.fsum(losses) / sum(counts)

# %% right check_accumulate
# float64 in the loss, ignore_index for the prompt
def my_accumulate(model, microbatches):
    model.zero_grad()
    n = torch.cat([m.reshape(-1) for _, m in microbatches]).double().sum()
    total = torch.zeros((), dtype=torch.float64)
    for t, m in microbatches:
        target = t.masked_fill(m == 0, -100)[:, 1:]
        loss = F.cross_entropy(model(t)[:, :-1].double().transpose(1, 2), target, reduction='sum') / n
        loss.backward()
        total += loss.detach()
    return total.item()

# %% right check_accumulate
# a running mean, the gradients so far are shrunk before each part
def my_accumulate(model, microbatches):
    model.zero_grad()
    seen, mean = 0, 0.0
    for t, m in microbatches:
        k = int(m.sum())
        if k == 0:
            continue
        keep = seen / (seen + k)
        for p in model.parameters():
            if p.grad is not None:
                p.grad.mul_(keep)
        loss = sft_loss(model(t), t, m)
        (loss * (1 - keep)).backward()
        mean = mean * keep + loss.item() * (1 - keep)
        seen += k
    return mean

# %% wrong check_packed_row: the unused slots are missing
# positions of the tokens alone
def my_packed_row(lengths, width):
    text_of = torch.full((width,), -1)
    text_of[:sum(lengths)] = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    positions = torch.cat([torch.arange(n) for n in lengths])
    return positions, (text_of[:, None] == text_of).tril()

# %% wrong check_packed_row: position ids have the length
# three numbers too many
def my_packed_row(lengths, width):
    text_of = torch.full((width,), -1)
    text_of[:sum(lengths)] = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    positions = torch.cat([torch.arange(n) for n in lengths] + [torch.zeros(width)])
    return positions[:width + 3].long(), (text_of[:, None] == text_of).tril()

# %% wrong check_packed_row: rows, and there are
# a mask with rows for the tokens alone
def my_packed_row(lengths, width):
    n = sum(lengths)
    text_of = torch.full((width,), -1)
    text_of[:n] = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    positions = torch.zeros(width, dtype=torch.long)
    positions[:n] = torch.cat([torch.arange(n) for n in lengths])
    return positions, (text_of[:, None] == text_of).tril()[:n]

# %% right check_packed_row
# a list of rows, each a tensor
def my_packed_row(lengths, width):
    positions, rows = [], []
    for n in lengths:
        start = len(positions)
        for t in range(n):
            row = torch.zeros(width)
            row[start:start + t + 1] = 1
            positions.append(torch.tensor(t))
            rows.append(row)
    while len(rows) < width:
        positions.append(torch.tensor(0))
        rows.append(torch.ones(width))
    return positions, rows

# %% right check_packed_row
# integers, 0 and 1
def my_packed_row(lengths, width):
    positions = torch.zeros(width, dtype=torch.long)
    may_look = torch.zeros(width, width, dtype=torch.long)
    start = 0
    for n in lengths:
        positions[start:start + n] = torch.arange(n)
        may_look[start:start + n, start:start + n] = torch.ones(n, n).tril()
        start += n
    return positions, may_look

# %% wrong check_packed_row: a token sees what comes after it: look back only
def my_packed_row(lengths, width):
    positions = torch.cat([torch.arange(n) for n in lengths])
    text = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    return positions, text[:, None] == text

# %% wrong check_packed_row: positions run on. Besides, the unused slots are missing
def my_packed_row(lengths, width):
    T = sum(lengths)
    return torch.arange(T), torch.ones(T, T).tril().bool()
