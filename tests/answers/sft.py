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
