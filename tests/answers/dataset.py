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

# %% wrong check_sentence_cut: ids whole
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

# %% wrong ask_same_row: these are one and the same prompt: it shows nothing, find
# the same prompt twice
answer = ([5], [5])

# %% wrong ask_same_row: these two are the same row when they are padded on the
# the zero stands behind the prompt, as if padding were on the right
answer = ([5], [5, 0])

# %% wrong ask_same_row: the rows are [0, 0, 1, 2] and [0, 0, 2, 1]: as long as no
# same ids in another order
answer = ([1, 2], [2, 1])

# %% wrong ask_same_row: `one` is empty, and a prompt has at least one token
# a prompt without ids against a prompt that is the pad
answer = ([], [0])

# %% wrong ask_same_row: `one` has 5 ids, and only 4 fit into a row
# one prompt has five ids, more than fit
answer = ([0, 0, 0, 0, 5], [5])

# %% wrong ask_same_row: the rows are [0, 3, 0, 5] and [0, 0, 3, 5]: the same ids
# a zero within the prompt, not at its start
answer = ([3, 0, 5], [3, 5])

# %% wrong ask_same_row: the rows differ: [0, 0, 7, 8] and [0, 0, 1, 1]
# the padded row and its mask
answer = ([0, 0, 7, 8], [0, 0, 1, 1])

# %% wrong ask_same_row: `one` must be a list of ids, such as [5, 6]
# single ids instead of lists of ids
answer = (0, 5)

# %% wrong ask_same_row: `one` holds [[0, 5]], and ids are integers from 0 on
# wraps each prompt in a batch of one
answer = ([[0, 5]], [[5]])

# %% right ask_same_row
# both prompts are made of the pad alone
answer = ([0], [0, 0])

# %% right ask_same_row
# one prompt fills the row, the longer one first
answer = ([0, 0, 0, 7], [7])

# %% right ask_same_row
# numpy integers in the lists, a zero at the end too
answer = (list(np.array([0, 3, 0])), list(np.array([3, 0])))

# %% right ask_same_row
# a large id and lists that were computed
answer = ([0] * 2 + [50256], [0] * 1 + [50256])

# %% wrong check_moved_padding: the rows are turned round: the tokens stand in the reverse
# mirrors the rows, so that the tokens run backwards
def my_moved_padding(ids, mask, pad_id):
    new_mask = mask.flip(1)
    new_ids = ids.flip(1)
    return torch.where(new_mask.bool(), new_ids, torch.full_like(ids, pad_id)), new_mask

# %% wrong check_moved_padding: all rows are moved by as many columns as the first row needs
# moves every row as far as the first one
def my_moved_padding(ids, mask, pad_id):
    shift = ids.shape[1] - int(mask[0].sum())
    new_ids = ids.roll(shift, dims=1)
    new_mask = mask.roll(shift, dims=1)
    return torch.where(new_mask.bool(), new_ids, torch.full_like(ids, pad_id)), new_mask

# %% wrong check_moved_padding: real tokens are found by `ids != pad_id`, and one of them
# takes the real tokens from the ids, not from the mask
def my_moved_padding(ids, mask, pad_id):
    new_ids, new_mask = torch.full_like(ids, pad_id), torch.zeros_like(mask)
    T = ids.shape[1]
    for b in range(len(ids)):
        real = ids[b][ids[b] != pad_id]
        n = len(real)
        new_ids[b, T - n:] = real
        new_mask[b, T - n:] = 1
    return new_ids, new_mask

# %% wrong check_moved_padding: 0 is filled in where `pad_id` belongs (by a product with
# pads with 0, pad_id is ignored
def my_moved_padding(ids, mask, pad_id):
    T = ids.shape[1]
    new_ids, new_mask = torch.zeros_like(ids), torch.zeros_like(mask)
    for b, n in enumerate(mask.sum(1).tolist()):
        new_ids[b, T - n:] = ids[b, :n]
        new_mask[b, T - n:] = 1
    return new_ids, new_mask

# %% wrong check_moved_padding: what stood behind a prompt is carried to the front: put
# rolls what stood behind the prompt to the front and leaves it there
def my_moved_padding(ids, mask, pad_id):
    T = ids.shape[1]
    shifts = T - mask.sum(1)
    new_ids = torch.stack([row.roll(int(s)) for row, s in zip(ids, shifts)])
    new_mask = torch.stack([row.roll(int(s)) for row, s in zip(mask, shifts)])
    return new_ids, new_mask

# %% wrong check_moved_padding: a row without any real token goes wrong: `x[-0:]` is all of
# minus zero as a slice: a row without tokens gets a mask of ones
def my_moved_padding(ids, mask, pad_id):
    T = ids.shape[1]
    new_ids, new_mask = torch.full_like(ids, pad_id), torch.zeros_like(mask)
    for b, n in enumerate(mask.sum(1).tolist()):
        new_ids[b, T - n:] = ids[b, :n]
        new_mask[b, -n:] = 1
    return new_ids, new_mask

# %% wrong check_moved_padding: `ids` is changed in place, and whoever called still needs it
# writes into the tensors it was given
def my_moved_padding(ids, mask, pad_id):
    T = ids.shape[1]
    for b, n in enumerate(mask.sum(1).tolist()):
        real = ids[b, :n].clone()
        ids[b] = pad_id
        ids[b, T - n:] = real
        mask[b] = 0
        mask[b, T - n:] = 1
    return ids, mask

# %% wrong check_moved_padding: the ids are moved, and the mask stayed where it was
# moves the ids and returns the old mask
def my_moved_padding(ids, mask, pad_id):
    T = ids.shape[1]
    new_ids = torch.full_like(ids, pad_id)
    for b, n in enumerate(mask.sum(1).tolist()):
        new_ids[b, T - n:] = ids[b, :n]
    return new_ids, mask

# %% wrong check_moved_padding: columns are cut off, and the shape is to stay (B, T)
# cuts the batch to its longest row
def my_moved_padding(ids, mask, pad_id):
    lengths = mask.sum(1).tolist()
    width = max(lengths)
    rows = [[pad_id] * (width - n) + row[:n] for row, n in zip(ids.tolist(), lengths)]
    masks = [[0] * (width - n) + [1] * n for n in lengths]
    return torch.tensor(rows), torch.tensor(masks)

# %% right check_moved_padding
# a stable sort of the mask, then gather
def my_moved_padding(ids, mask, pad_id):
    order = torch.sort(mask, dim=1, stable=True).indices
    new_mask = mask.gather(1, order)
    new_ids = ids.gather(1, order)
    return new_ids.masked_fill(new_mask == 0, pad_id), new_mask

# %% right check_moved_padding
# plain lists, row by row
def my_moved_padding(ids, mask, pad_id):
    rows, masks = [], []
    for row, m in zip(ids.tolist(), mask.tolist()):
        real = [t for t, on in zip(row, m) if on]
        rows.append([pad_id] * (len(row) - len(real)) + real)
        masks.append([0] * (len(row) - len(real)) + [1] * len(real))
    return torch.tensor(rows), torch.tensor(masks)

# %% right check_moved_padding
# index arithmetic modulo T, without a loop
def my_moved_padding(ids, mask, pad_id):
    T = ids.shape[1]
    empty = T - mask.sum(dim=1, keepdim=True)
    source = torch.arange(T)[None, :] - empty
    new_mask = (source >= 0).to(mask.dtype)
    return ids.gather(1, source % T) * new_mask + pad_id * (1 - new_mask), new_mask

# %% right check_moved_padding
# boolean indexing in numpy fills all rows at once
def my_moved_padding(ids, mask, pad_id):
    i, m = ids.numpy(), mask.numpy()
    new_mask = np.sort(m, axis=1)
    new_ids = np.full_like(i, pad_id)
    new_ids[new_mask == 1] = i[m == 1]
    return torch.from_numpy(new_ids), torch.from_numpy(new_mask)

# %% wrong check_sentence_cut: it cuts at the first stop, and the last one that fits keeps
# cuts at the first end of a sentence, not at the last that fits
def my_sentence_cut(ids, length, stops):
    head = ids[:length]
    for i, t in enumerate(head):
        if t in stops:
            return head[:i + 1]
    return head

# %% wrong check_sentence_cut: the stop itself is missing, and it belongs to its sentence
# leaves the full stop away
def my_sentence_cut(ids, length, stops):
    head = ids[:length]
    for i in reversed(range(len(head))):
        if head[i] in stops:
            return head[:i]
    return head

# %% wrong check_sentence_cut: one id more than `length` is looked at
# looks one id too far
def my_sentence_cut(ids, length, stops):
    head = ids[:length + 1]
    for i in range(len(head), 0, -1):
        if head[i - 1] in stops:
            return head[:i]
    return ids[:length]

# %% wrong check_sentence_cut: without a stop nothing is left, and an empty prompt cannot
# nothing is left where no sentence ends
def my_sentence_cut(ids, length, stops):
    head = list(ids[:length])
    while head and head[-1] not in stops:
        head.pop()
    return head

# %% wrong check_sentence_cut: without a stop all ids are kept, and not the first `length`
# all ids come back where no sentence ends, however many
def my_sentence_cut(ids, length, stops):
    ends = [i for i, t in enumerate(ids[:length]) if t in stops]
    return ids[:ends[-1] + 1] if ends else ids

# %% wrong check_sentence_cut: it is cut to `length` ids, and no stop is looked for
# finds the last end in the whole text and cuts to the length afterwards
def my_sentence_cut(ids, length, stops):
    ends = [i for i, t in enumerate(ids) if t in stops]
    if not ends:
        return ids[:length]
    return ids[:ends[-1] + 1][:length]

# %% wrong check_sentence_cut: `ids` is changed in place, and whoever called still needs it
# pops from the list it was given
def my_sentence_cut(ids, length, stops):
    short = ids[:length]
    while len(ids) > length:
        ids.pop()
    while ids and ids[-1] not in stops:
        ids.pop()
    return ids if ids else short

# %% wrong check_sentence_cut: a stop in the very first place is overlooked (is an index
# an end at place 0 counts as none
def my_sentence_cut(ids, length, stops):
    last = 0
    for i, t in enumerate(ids[:length]):
        if t in stops:
            last = i
    if last:
        return ids[:last + 1]
    return ids[:length]

# %% wrong check_sentence_cut: it ends in IndexError: list index out of range. The case: a
# walks to length even where the text is shorter (IndexError)
def my_sentence_cut(ids, length, stops):
    for i in range(length - 1, -1, -1):
        if ids[i] in stops:
            return ids[:i + 1]
    return ids[:length]

# %% right check_sentence_cut
# max of a generator with a default
def my_sentence_cut(ids, length, stops):
    n = max((i for i, t in enumerate(ids[:length], start=1) if t in stops), default=length)
    return ids[:n]

# %% right check_sentence_cut
# recursion on ever shorter beginnings
def my_sentence_cut(ids, length, stops):
    def shorten(head):
        if not head or head[-1] in stops:
            return head
        return shorten(head[:-1])
    return shorten(ids[:length]) or ids[:length]

# %% right check_sentence_cut
# numpy finds the place, numpy integers in the list
def my_sentence_cut(ids, length, stops):
    head = np.array(ids[:length], dtype=np.int64)
    ends = np.flatnonzero(np.isin(head, list(stops)))
    return list(head[:ends[-1] + 1]) if len(ends) else list(head)

# %% right check_sentence_cut
# runs over the reversed text with next
def my_sentence_cut(ids, length, stops):
    back = list(reversed(ids[:length]))
    skip = next((i for i, t in enumerate(back) if t in stops), 0)
    return back[skip:][::-1]

# %% wrong check_in_validation: Python's hash() of a string differs from process to process
# Python's hash, another one in every process
def my_in_validation(text):
    return hash(clean_text(text)) % 10 == 0

# %% wrong check_in_validation: too many: the training reviews are those with the smallest
# the first digits of the key by which the reviews were sorted and split
def my_in_validation(text):
    return int(shuffle_key(text)[:8], 16) < 0.1 * 16**8

# %% wrong check_in_validation: asked twice it answers differently: nothing may be drawn by
# throws a die at every call
def my_in_validation(text):
    return bool(np.random.rand() < 0.1)

# %% wrong check_in_validation: only the length or the beginning of a text decides, so that
# picks by the length of the text
def my_in_validation(text):
    return len(clean_text(text)) % 10 == 0

# %% wrong check_in_validation: only the length or the beginning of a text decides, so that
# hashes only the first words
def my_in_validation(text):
    head = ' '.join(clean_text(text).split()[:5])
    return int(hashlib.sha256(head.encode()).hexdigest(), 16) % 10 == 0

# %% wrong check_in_validation: the text is not cleaned, so the same review with <br /> or
# hashes the text as it came, so the raw and the cleaned one differ
def my_in_validation(text):
    return int(hashlib.sha256(('validation' + text).encode('utf-8')).hexdigest(), 16) % 10 == 0

# %% wrong check_in_validation: asked twice it answers differently: nothing may be drawn by
# every tenth call, whatever the text
calls = 0

def my_in_validation(text):
    global calls
    calls += 1
    return calls % 10 == 0

# %% wrong check_in_validation: of the training reviews about a tenth is to be
# two hexadecimal digits below 10, taken for 10 percent (4 percent)
def my_in_validation(text):
    return int(shuffle_key(text)[-2:], 16) < 10

# %% wrong check_in_validation: nine in ten are picked: it is the wrong way round, or a
# true for the nine tenths that stay
def my_in_validation(text):
    digest = hashlib.sha256(('split' + clean_text(text)).encode()).hexdigest()
    return int(digest, 16) % 10 != 0

# %% right check_in_validation
# a salted hash of the cleaned text
def my_in_validation(text):
    digest = hashlib.blake2b(clean_text(text).encode('utf-8'), key=b'validation').digest()
    return int.from_bytes(digest[:8], 'big') < 2**64 // 10

# %% right check_in_validation
# a random generator seeded with the text (the same in every process)
import random

def my_in_validation(text):
    return random.Random(clean_text(text)).random() < 0.1

# %% right check_in_validation
# the last digits of the key, a numpy truth value
def my_in_validation(text):
    return np.float64(int(shuffle_key(text)[-12:], 16)) / 16**12 >= 0.9

# %% right check_in_validation
# crc32 of the key, modulo 10
import zlib

def my_in_validation(text):
    return zlib.crc32(shuffle_key(text).encode()) % 10 == 7

# %% wrong check_in_validation: has 16 values
# a remainder by 10 of one digit: 0 and a give 0
def my_in_validation(text):
    return int(shuffle_key(text)[-1], 16) % 10 == 0

# %% wrong check_in_validation: training reviews, which
# two values of the first digit
def my_in_validation(text):
    return shuffle_key(text)[0] in '01'

# %% wrong check_in_validation: training reviews, which
def my_in_validation(text):
    return int(shuffle_key(text)[0], 16) % 10 == 0

# %% wrong check_in_validation: leading digits
# a threshold of 26 in 256
def my_in_validation(text):
    return shuffle_key(text) < '1a'

# %% right check_in_validation
# two leading digits, with a threshold that allows for the reviews held out
def my_in_validation(text):
    return int(shuffle_key(text)[:2], 16) < 20

# %% wrong check_sentence_cut: you keep a text
def my_sentence_cut(ids, length, stops):
    if len(ids) <= length:
        return ids
    for i in reversed(range(length)):
        if ids[i] in stops:
            return ids[:i + 1]
    return ids[:length]

# %% wrong check_moved_padding: no longer integers
# `torch.full` of a float
def my_moved_padding(ids, mask, pad_id):
    B, T = ids.shape
    moved, new_mask = torch.full((B, T), float(pad_id)), torch.zeros(B, T)
    for b in range(B):
        n = int(mask[b].sum())
        moved[b, T - n:] = ids[b, :n].float()
        new_mask[b, T - n:] = 1
    return moved, new_mask
