# Answers to the exercises of lesson 1, as readers write them. Each begins with a line that says
# what it is: `# %% wrong CHECK: words that its verdict must hold`, or `# %% right CHECK`.

# %% wrong ask_same_row: one and the same prompt
answer = ([5, 6], [5, 6])

# %% wrong ask_same_row: padded on the right
answer = ([5, 6], [5, 6, 0])

# %% wrong ask_same_row: no real token has the id of the pad
answer = ([5, 6], [6, 5])

# %% wrong ask_same_row: no real token has the id of the pad
answer = ([5, 6], [5, 6, 7])

# %% wrong ask_same_row: only 4 fit
answer = ([5, 6, 7, 8], [0, 5, 6, 7, 8])

# %% wrong ask_same_row: is empty
answer = ([0], [])

# %% wrong ask_same_row: another order
answer = ([5, 0, 6], [5, 6, 0])

# %% wrong ask_same_row: list of ids
answer = ('good film', 'film good')

# %% wrong ask_same_row: integers from 0
answer = ([5, -1], [0, 5, -1])

# %% wrong ask_same_row: the rows differ
answer = ([0, 5], [0, 6])

# %% wrong ask_same_row: dots
answer = ([5, 6], ...)

# %% right ask_same_row
answer = ([5, 6], [0, 5, 6])

# %% right ask_same_row
answer = (torch.tensor([0]), np.array([0, 0, 0]))

# %% right ask_same_row
answer = ((0, 0, 3, 0), (3, 0))

# %% wrong check_moved_padding: reverse order
def my_moved_padding(ids, mask, pad_id):
    return ids.flip(1), mask.flip(1)

# %% wrong check_moved_padding: go by the mask
def my_moved_padding(ids, mask, pad_id):
    rows = [pad_left([i for i in row if i != pad_id], len(row), pad_id) for row in ids.tolist()]
    return torch.stack([row for row, _ in rows]), torch.stack([row for _, row in rows])

# %% wrong check_moved_padding: loses a real token with the id of the pad
def my_moved_padding(ids, mask, pad_id):
    moved = torch.full_like(ids, pad_id)
    for b in range(len(ids)):
        real = ids[b][mask[b].bool()]
        moved[b, ids.shape[1] - len(real):] = real
    return moved, (moved != pad_id).long()

# %% wrong check_moved_padding: is all of
def my_moved_padding(ids, mask, pad_id):
    moved, moved_mask = torch.full_like(ids, pad_id), torch.zeros_like(mask)
    for b in range(len(ids)):
        n = mask[b].sum().item()
        real = ids[b, :n].tolist()
        moved[b, -n:] = torch.tensor(real + [pad_id]*(0 if n else ids.shape[1]))
        moved_mask[b, -n:] = 1
    return moved, moved_mask

# %% wrong check_moved_padding: carried to the front
def my_moved_padding(ids, mask, pad_id):
    rows = [row.roll(len(row) - int(m.sum())) for row, m in zip(ids, mask)]
    masks = [m.roll(len(m) - int(m.sum())) for m in mask]
    return torch.stack(rows), torch.stack(masks)

# %% wrong check_moved_padding: carried to the front
def my_moved_padding(ids, mask, pad_id):
    order = mask.argsort(dim=1, stable=True)
    return ids.gather(1, order), mask.gather(1, order)

# %% wrong check_moved_padding: 0 is filled in
def my_moved_padding(ids, mask, pad_id):
    order = mask.argsort(dim=1, stable=True)
    mask = mask.gather(1, order)
    return ids.gather(1, order)*mask, mask

# %% wrong check_moved_padding: same number of columns
def my_moved_padding(ids, mask, pad_id):
    n_pads = (1 - mask).sum(1).min().item()
    ids = ids.masked_fill(mask == 0, pad_id)
    return torch.roll(ids, n_pads, 1), torch.roll(mask, n_pads, 1)

# %% wrong check_moved_padding: mask stayed
def my_moved_padding(ids, mask, pad_id):
    rows = [[pad_id]*int((m == 0).sum()) + row[m == 1].tolist() for row, m in zip(ids, mask)]
    return torch.tensor(rows), mask

# %% wrong check_moved_padding: upside down
def my_moved_padding(ids, mask, pad_id):
    rows = [[pad_id]*int((m == 0).sum()) + row[m == 1].tolist() for row, m in zip(ids, mask)]
    masks = [[1]*int((m == 0).sum()) + [0]*int((m == 1).sum()) for m in mask]
    return torch.tensor(rows), torch.tensor(masks)

# %% wrong check_moved_padding: changed in place
def my_moved_padding(ids, mask, pad_id):
    for row, m in zip(ids, mask):
        real = row[m == 1].clone()
        row[:] = pad_id
        m[:] = 0
        if len(real):
            row[-len(real):] = real
            m[-len(real):] = 1
    return ids, mask

# %% wrong check_moved_padding: only ids
def my_moved_padding(ids, mask, pad_id):
    return torch.tensor([[pad_id]*int((m == 0).sum()) + row[m == 1].tolist()
                         for row, m in zip(ids, mask)])

# %% wrong check_moved_padding: take the real tokens out
def my_moved_padding(ids, mask, pad_id):
    rows = [pad_left(row.tolist(), len(row), pad_id) for row in ids]
    return torch.stack([row for row, _ in rows]), torch.stack([m for _, m in rows])

# %% wrong check_moved_padding: no 0 in its mask
def my_moved_padding(ids, mask, pad_id):
    rows = []
    for row, n in zip(ids.tolist(), mask.argmin(1).tolist()):
        rows.append(pad_left(row[:n], len(row), pad_id))
    return torch.stack([row for row, _ in rows]), torch.stack([m for _, m in rows])

# %% wrong check_moved_padding: a row may be padding alone
def my_moved_padding(ids, mask, pad_id):
    moved, moved_mask = torch.full_like(ids, pad_id), torch.zeros_like(mask)
    for b, n in enumerate(mask.sum(1).tolist()):
        moved[b, -n:] = ids[b, :n]
        moved_mask[b, -n:] = 1
    return moved, moved_mask

# %% wrong check_moved_padding: nothing is returned
def my_moved_padding(ids, mask, pad_id):
    ...

# %% right check_moved_padding
def my_moved_padding(ids, mask, pad_id):
    rows = [pad_left(row[m == 1].tolist(), len(row), pad_id) for row, m in zip(ids, mask)]
    return torch.stack([row for row, _ in rows]), torch.stack([m for _, m in rows])

# %% right check_moved_padding
def my_moved_padding(ids, mask, pad_id):
    order = mask.argsort(dim=1, stable=True)
    new_mask = mask.gather(1, order)
    return ids.gather(1, order).masked_fill(new_mask == 0, pad_id), new_mask.bool()

# %% right check_moved_padding
def my_moved_padding(ids, mask, pad_id):
    ids, mask = ids.numpy(), mask.numpy().astype(bool)
    moved = np.full_like(ids, pad_id)
    moved[mask[:, ::-1]] = ids[mask]
    return [moved, mask[:, ::-1].astype(float)]

# %% right check_moved_padding
def my_moved_padding(ids, mask, pad_id):
    T = ids.shape[1]
    source = torch.arange(T) - (T - mask.sum(1, keepdim=True))
    moved = torch.where(source >= 0, ids.gather(1, source.clamp(min=0)), torch.tensor(pad_id))
    return moved.tolist(), (source >= 0).int().tolist()

# %% wrong check_sentence_cut: first stop
def my_sentence_cut(ids, length, stops):
    for i, token in enumerate(ids[:length]):
        if token in stops:
            return ids[:i + 1]
    return ids[:length]

# %% wrong check_sentence_cut: stop itself is missing
def my_sentence_cut(ids, length, stops):
    ids = ids[:length]
    for i in reversed(range(len(ids))):
        if ids[i] in stops:
            return ids[:i]
    return ids

# %% wrong check_sentence_cut: beyond the first
def my_sentence_cut(ids, length, stops):
    places = [i for i, token in enumerate(ids) if token in stops]
    return ids[:places[-1] + 1] if places else ids[:length]

# %% wrong check_sentence_cut: empty prompt
def my_sentence_cut(ids, length, stops):
    ids = list(ids[:length])
    while ids and ids[-1] not in stops:
        ids.pop()
    return ids

# %% wrong check_sentence_cut: nothing is returned
def my_sentence_cut(ids, length, stops):
    for keep in range(min(length, len(ids)), 0, -1):
        if ids[keep - 1] in stops:
            return ids[:keep]

# %% wrong check_sentence_cut: very first place
def my_sentence_cut(ids, length, stops):
    last = 0
    for i, token in enumerate(ids[:length]):
        if token in stops:
            last = i
    return ids[:last + 1] if last else ids[:length]

# %% wrong check_sentence_cut: last place
def my_sentence_cut(ids, length, stops):
    for i in range(min(length, len(ids)) - 2, -1, -1):
        if ids[i] in stops:
            return ids[:i + 1]
    return ids[:length]

# %% wrong check_sentence_cut: IndexError
def my_sentence_cut(ids, length, stops):
    for keep in range(length, 0, -1):
        if ids[keep - 1] in stops:
            return ids[:keep]
    return ids[:length]

# %% wrong check_sentence_cut: kept whole
def my_sentence_cut(ids, length, stops):
    if len(ids) <= length:
        return ids
    for keep in range(length, 0, -1):
        if ids[keep - 1] in stops:
            return ids[:keep]
    return ids[:length]

# %% wrong check_sentence_cut: changed in place
def my_sentence_cut(ids, length, stops):
    del ids[length:]
    ends = [i + 1 for i, token in enumerate(ids) if token in stops]
    return ids[:ends[-1]] if ends else ids

# %% wrong check_sentence_cut: first place of this id
def my_sentence_cut(ids, length, stops):
    head = ids[:length]
    found = [token for token in head if token in stops]
    return head[:head.index(found[-1]) + 1] if found else head

# %% wrong check_sentence_cut: a number
def my_sentence_cut(ids, length, stops):
    ends = [i + 1 for i, token in enumerate(ids[:length]) if token in stops]
    return ends[-1] if ends else min(length, len(ids))

# %% right check_sentence_cut
def my_sentence_cut(ids, length, stops):
    head = ids[:length]
    ends = [i + 1 for i, token in enumerate(head) if token in stops]
    return head[:max(ends, default=len(head))]

# %% right check_sentence_cut
def my_sentence_cut(ids, length, stops):
    head = np.array(ids[:length])
    is_stop = np.isin(head, list(stops))
    return head[:len(head) - is_stop[::-1].argmax()] if is_stop.any() else head

# %% right check_sentence_cut
def my_sentence_cut(ids, length, stops):
    head = torch.tensor(ids)[:length]
    ends = torch.isin(head, torch.tensor(sorted(stops))).nonzero()
    last = int(ends.max()) + 1 if len(ends) else length
    return (int(token) for token in head[:last])

# %% wrong check_in_validation: differs from process to process
def my_in_validation(text):
    return hash(clean_text(text)) % 10 == 0

# %% wrong check_in_validation: differs from process to process
def my_in_validation(text):
    return abs(hash(text)) % 100 < 10

# %% wrong check_in_validation: chance
def my_in_validation(text):
    return np.random.rand() < 0.1

# %% wrong check_in_validation: not cleaned
def my_in_validation(text):
    import zlib
    return zlib.crc32(text.encode()) % 10 == 0

# %% wrong check_in_validation: <br /> is not
def my_in_validation(text):
    import zlib
    return zlib.crc32(' '.join(text.split()).encode()) % 10 == 0

# %% wrong check_in_validation: leading digits
def my_in_validation(text):
    return int(shuffle_key(text), 16)/16**64 < 0.1

# %% wrong check_in_validation: leading digits
def my_in_validation(text):
    return shuffle_key(text)[:2] < '1a'

# %% wrong check_in_validation: leading digits
def my_in_validation(text):
    return int(shuffle_key(text)[:8], 16) > 0.9*16**8

# %% wrong check_in_validation: once in 16
def my_in_validation(text):
    return shuffle_key(text).endswith('0')

# %% wrong check_in_validation: an eighth
def my_in_validation(text):
    return int(shuffle_key(text)[-1], 16) < 2

# %% wrong check_in_validation: nine
def my_in_validation(text):
    return int(shuffle_key(text), 16) % 10

# %% wrong check_in_validation: no text is picked
def my_in_validation(text):
    torch.manual_seed(0)
    return torch.rand(1).item() < 0.1

# %% wrong check_in_validation: length
def my_in_validation(text):
    return len(clean_text(text)) % 10 == 0

# %% wrong check_in_validation: beginning
def my_in_validation(text):
    import zlib
    return zlib.crc32(clean_text(text)[:20].encode()) % 10 == 0

# %% wrong check_in_validation: nothing remembered
remembered = []

def my_in_validation(text):
    remembered.append(text)
    return len(remembered) % 10 == 1

# %% right check_in_validation
def my_in_validation(text):
    return shuffle_key(text)[-4:] < '199a'

# %% right check_in_validation
def my_in_validation(text):
    return int(shuffle_key(text)[:10], 16)/16**10 < 0.1*10_000/12_867

# %% right check_in_validation
def my_in_validation(text):
    import hashlib
    digest = hashlib.md5(clean_text(text).encode()).digest()
    return torch.tensor(int.from_bytes(digest, 'little') % 1000 < 100)

# %% right check_in_validation
def my_in_validation(text):
    import random
    return random.Random(clean_text(text)).random() < 0.1

# %% right check_in_validation
def my_in_validation(text):
    import zlib
    return int(zlib.crc32(clean_text(text).encode()) % 10 == 3)
