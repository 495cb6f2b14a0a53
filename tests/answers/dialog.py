# ruff: noqa: F811, F821
# Answers to the exercises of lesson 12, as readers write them. Each begins with a line that says
# what it is: `# %% wrong CHECK: words that its verdict must hold`, or `# %% right CHECK`.

# %% wrong ask_lora_rank: rounded up
answer = (210, 210*(576 + 1536))

# %% wrong ask_lora_rank: about all of the layer
answer = (418, 882_816)

# %% wrong ask_lora_rank: only A is counted
answer = (767, 767*576)

# %% wrong ask_lora_rank: only B is counted
answer = (287, 287*1536)

# %% wrong ask_lora_rank: a larger rank does that too
answer = (200, 200*2112)

# %% wrong ask_lora_rank: more than half
answer = (288 + 16, 304*2112)

# %% wrong ask_lora_rank: a whole number is asked for
half = 576*1536/2
answer = (half/(576 + 1536), half)

# %% wrong ask_lora_rank: half of the layer
answer = (209, 576*1536//2)

# %% wrong ask_lora_rank: numbers of A alone
answer = (209, 209*576)

# %% wrong ask_lora_rank: numbers of B alone
answer = (209, 209*1536)

# %% wrong ask_lora_rank: the frozen layer is counted too
answer = (209, 576*1536 + 209*2112)

# %% wrong ask_lora_rank: the sizes are multiplied
answer = (209, 576*209*1536)

# %% wrong ask_lora_rank: a bias is counted
answer = (209, 209*2112 + 1536)

# %% wrong ask_lora_rank: swapped
answer = (441_408, 209)

# %% wrong ask_lora_rank: two numbers
answer = (209, 441,408)

# %% wrong ask_lora_rank: whole number
answer = (209, 441_408/884_736)

# %% wrong ask_lora_rank: a quarter of the layer
answer = (104, 104*2112)

# %% wrong ask_lora_rank: must be a number
answer = (209, '441,408')

# %% right ask_lora_rank
answer = (209.0, 4.41408e5)

# %% right ask_lora_rank
answer = (torch.tensor([209]), np.int64(441_408))

# %% right ask_lora_rank
# tried, rank by rank, with the layer itself
def trained(rank):
    with torch.device('meta'):
        lora = LoRA(nn.Linear(576, 1536, bias=False), rank)
    return sum(p.numel() for p in lora.parameters() if p.requires_grad)
rank = next(r for r in range(300, 0, -1) if trained(r) < 576*1536/2)
answer = (rank, trained(rank))

# %% right ask_lora_rank
rank = math.ceil(1/(1/576 + 1/1536)/2) - 1
answer = [rank, rank*576 + 1536*rank]
answer = tuple(answer)

# %% wrong check_turn_mask: EOS is left out
# EOS is taken for the template's
def my_turn_mask(ids, header, eos):
    mask, n, talks = [0]*len(ids), len(header), False
    for i in range(len(ids)):
        if ids[i] == eos:
            talks = False
        if i >= n and ids[i - n:i] == header and ids[i] != eos:
            talks = True
        mask[i] = 1 if talks else 0
    return mask

# %% wrong check_turn_mask: the header is marked too
def my_turn_mask(ids, header, eos):
    mask = torch.zeros(len(ids), dtype=torch.long)
    i = 0
    while i < len(ids):
        if ids[i:i + len(header)] == header and i + len(header) < len(ids):
            start = i
            while i < len(ids) and ids[i] != eos:
                i += 1
            mask[start:i + 1] = 1
        i += 1
    return mask

# %% wrong check_turn_mask: only the last turn
# as in lesson 3: one prompt, one response
def my_turn_mask(ids, header, eos):
    starts = [i + len(header) for i in range(len(ids)) if ids[i:i + len(header)] == header]
    mask = [0]*len(ids)
    if starts:
        for i in range(starts[-1], len(ids)):
            mask[i] = 1
            if ids[i] == eos:
                break
    return mask

# %% wrong check_turn_mask: to the end of the row
def my_turn_mask(ids, header, eos):
    for i in range(len(ids)):
        if ids[i:i + len(header)] == header:
            start = i + len(header)
            return [0]*start + [1]*(len(ids) - start)
    return [0]*len(ids)

# %% wrong check_turn_mask: first token of the header alone
def my_turn_mask(ids, header, eos):
    mask, i = [0]*len(ids), 0
    for i, token in enumerate(ids):
        if token == header[0]:
            for j in range(i + len(header), len(ids)):
                mask[j] = 1
                if ids[j] == eos:
                    break
    return mask

# %% wrong check_turn_mask: last token of the header alone
def my_turn_mask(ids, header, eos):
    mask, talks = [], False
    for token in ids:
        mask.append(int(talks))
        if token == header[-1]:
            talks = True
        if token == eos:
            talks = False
    return mask

# %% wrong check_turn_mask: false start
# counts how much of the header has been seen
def my_turn_mask(ids, header, eos):
    mask, seen, talks = [], 0, False
    for token in ids:
        mask.append(1 if talks else 0)
        if talks:
            talks = token != eos
        elif token == header[seen]:
            seen += 1
            if seen == len(header):
                talks, seen = True, 0
        else:
            seen = 0
    return mask

# %% wrong check_turn_mask: cut off, without EOS, is left out
# from each header to the EOS behind it; where there is none, index fails and it stops
def my_turn_mask(ids, header, eos):
    mask = torch.zeros(len(ids))
    for start in range(len(header), len(ids)):
        if ids[start - len(header):start] == header:
            try:
                end = ids.index(eos, start)
            except ValueError:
                break
            mask[start:end + 1] = 1
    return mask

# %% wrong check_turn_mask: last token of a turn that is cut off
# find gives -1 where there is no EOS
def my_turn_mask(ids, header, eos):
    mask = np.zeros(len(ids))
    for start in range(len(header), len(ids)):
        if ids[start - len(header):start] == header:
            ends = [i for i in range(start, len(ids)) if ids[i] == eos]
            end = ends[0] if ends else -1
            mask[start:end] = 1
            if ends:
                mask[end] = 1
    return mask

# %% wrong check_turn_mask: every EOS is marked
# what the assistant says, and all EOS, since they are to be learnt
def my_turn_mask(ids, header, eos):
    mask, n, talks = [], len(header), False
    for i, token in enumerate(ids):
        if ids[max(i - n, 0):i] == header:
            talks = True
        mask.append(talks or token == eos)
        talks = talks and token != eos
    return torch.tensor(mask).long()

# %% wrong check_turn_mask: from the beginning of the row
# index looks from the beginning
def my_turn_mask(ids, header, eos):
    mask = torch.zeros(len(ids), dtype=torch.bool)
    for start in range(len(header), len(ids)):
        if ids[start - len(header):start] == header:
            end = ids.index(eos) if eos in ids else len(ids)
            mask[start:end + 1] = True
    return mask

# %% wrong check_turn_mask: wherever they occur
# takes the template's tokens out again
def my_turn_mask(ids, header, eos):
    row = torch.tensor(ids)
    mask = torch.zeros_like(row)
    for start in range(len(header), len(ids)):
        if ids[start - len(header):start] == header:
            ends = (row[start:] == eos).nonzero()
            end = start + int(ends[0]) + 1 if len(ends) else len(ids)
            mask[start:end] = 1
    return mask*~torch.isin(row, torch.tensor(header))

# %% wrong check_turn_mask: every second turn
# user and assistant take turns
def my_turn_mask(ids, header, eos):
    row = torch.tensor(ids)
    ended = (row == eos).long().cumsum(0) - (row == eos).long()
    return ended % 2

# %% wrong check_turn_mask: 11 ends with a 1
# ids as text
def my_turn_mask(ids, header, eos):
    text = ' '.join(map(str, ids))
    start = ' '.join(map(str, header))
    mask = [0]*len(ids)
    place = text.find(start)
    while place >= 0:
        i = len(text[:place + len(start)].split())
        while i < len(ids):
            mask[i] = 1
            if ids[i] == eos:
                break
            i += 1
        place = text.find(start, place + 1)
    return mask

# %% wrong check_turn_mask: these are the tokens
def my_turn_mask(ids, header, eos):
    said, talks = [], False
    for i, token in enumerate(ids):
        if i >= len(header) and ids[i - len(header):i] == header:
            talks = True
        if talks:
            said.append(token)
        if token == eos:
            talks = False
    return said

# %% wrong check_turn_mask: empty answer
# at least one token is said
def my_turn_mask(ids, header, eos):
    mask = [0]*len(ids)
    for i in range(len(ids)):
        if ids[i:i + len(header)] == header and i + len(header) < len(ids):
            j = i + len(header)
            mask[j] = 1
            while j + 1 < len(ids):
                j += 1
                mask[j] = 1
                if ids[j] == eos:
                    break
    return mask

# %% wrong check_turn_mask: upside down
def my_turn_mask(ids, header, eos):
    mask, talks = [], False
    for i, token in enumerate(ids):
        if i >= len(header) and ids[i - len(header):i] == header:
            talks = True
        mask.append(0 if talks else 1)
        if token == eos:
            talks = False
    return mask

# %% wrong check_turn_mask: `ids` is changed in place
# right, and the row is eaten up
def my_turn_mask(ids, header, eos):
    mask, seen, talks = [], [], False
    while ids:
        if seen[-len(header):] == header:
            talks = True
        token = ids.pop(0)
        seen.append(token)
        mask.append(int(talks))
        if token == eos:
            talks = False
    return mask

# %% wrong check_turn_mask: runs on to the last EOS
def my_turn_mask(ids, header, eos):
    mask = [0]*len(ids)
    for i in range(len(header), len(ids)):
        if ids[i - len(header):i] == header:
            end = max((j for j, token in enumerate(ids) if token == eos and j >= i),
                      default=len(ids) - 1)
            mask[i:end + 1] = [1]*(end + 1 - i)
    return mask

# %% wrong check_turn_mask: last token of the header is marked too
# the mask is written behind the change of state, so EOS is lost and the header's end is not
def my_turn_mask(ids, header, eos):
    mask, talks = [], False
    for i, token in enumerate(ids):
        if ids[max(0, i + 1 - len(header)):i + 1] == header and i + 1 < len(ids):
            talks = True
        elif token == eos:
            talks = False
        mask.append(int(talks))
    return mask

# %% wrong check_turn_mask: -100
def my_turn_mask(ids, header, eos):
    labels, talks = [], False
    for i, token in enumerate(ids):
        talks = talks or i >= len(header) and ids[i - len(header):i] == header
        labels.append(token if talks else -100)
        talks = talks and token != eos
    return torch.tensor(labels)

# %% wrong check_turn_mask: IndexError
# the inner loop runs beyond a row that is cut off
def my_turn_mask(ids, header, eos):
    mask = [0]*len(ids)
    for i in range(len(ids)):
        if ids[i:i + len(header)] == header:
            j = i + len(header)
            while ids[j] != eos:
                mask[j] = 1
                j += 1
            mask[j] = 1
    return mask

# %% right check_turn_mask
# windows, and a running count of what was opened and what was closed
def my_turn_mask(ids, header, eos):
    row, n = torch.tensor(ids), len(header)
    opens = torch.zeros(len(ids) + 1, dtype=torch.long)
    opens[n:] = (row.unfold(0, n, 1) == torch.tensor(header)).all(1).long()
    opens = opens[:-1]
    place = torch.arange(len(ids))
    opened = torch.where(opens == 1, place, -1).cummax(0).values
    before = torch.cat([torch.tensor([False]), row[:-1] == eos])
    closed = torch.where(before, place, -1).cummax(0).values
    return (opened >= 0) & ((opened > closed) | (opened == place))

# %% right check_turn_mask
# regular expression over letters, one for each id
def my_turn_mask(ids, header, eos):
    letters = ''.join(chr(0x4e00 + id) for id in ids)
    opening = re.escape(''.join(chr(0x4e00 + id) for id in header))
    end = chr(0x4e00 + eos)
    mask = np.zeros(len(ids), dtype=bool)
    for found in re.finditer(f'(?<={opening})[^{end}]*{end}?', letters):
        mask[found.start():found.end()] = True
    return mask

# %% right check_turn_mask
# a deque with the last tokens
def my_turn_mask(ids, header, eos):
    last = collections.deque(maxlen=len(header))
    talks, mask = False, []
    for token in ids:
        talks = talks or list(last) == header
        mask.append(float(talks))
        talks = talks and token != eos
        last.append(token)
    return mask

# %% right check_turn_mask
# a generator that goes piece by piece, split at EOS
def my_turn_mask(ids, header, eos):
    n, i = len(header), 0
    while i < len(ids):
        end = ids.index(eos, i) + 1 if eos in ids[i:] else len(ids)
        piece = ids[i:end]
        start = next((j + n for j in range(len(piece)) if piece[j:j + n] == header), len(piece))
        yield from [0]*start
        yield from [1]*(len(piece) - start)
        i = end

# %% wrong ask_lora_rank: rank 418: this is about all of the layer, and half of it is
# compared with the whole layer, not with half of it
answer = (418, 882816)

# %% wrong ask_lora_rank: rank 210: it is rounded up: this one is just over half
# rounded up, so just above half
answer = (210, 443520)

# %% wrong ask_lora_rank: rank 767: only A is counted, and B is trained too
# only the matrix A (in times r) counted
answer = (767, 441792)

# %% wrong ask_lora_rank: rank 287: only B is counted, and A is trained too
# only the matrix B (r times out) counted
answer = (287, 440832)

# %% wrong ask_lora_rank: the rank is right, but 1,326,144 is not: the frozen layer
# the right rank, but the frozen layer is counted as trained too
answer = (209, 1326144)

# %% wrong ask_lora_rank: the rank is right, but 442,368 is not: this is half of the
# the right rank, but half of the layer given as the numbers
answer = (209, 442368)

# %% wrong ask_lora_rank: rank 288: only B is counted, and A is trained too
# half of the smaller side taken as the rank
answer = (288, 608256)

# %% wrong ask_lora_rank: with rank 128 fewer than half are trained, but a larger
# the largest power of two, since ranks are usually powers of two
answer = (128, 270336)

# %% wrong ask_lora_rank: rank 441,408 is more than the layer has rows: are `rank`
# the two values in the wrong order
answer = (441408, 209)

# %% right ask_lora_rank
# the largest of all ranks that pass a test, over a range
fits = [r for r in range(1, 577) if 2 * r * (576 + 1536) < 576 * 1536]
answer = (max(fits), max(fits) * (576 + 1536))

# %% right ask_lora_rank
# numpy whole numbers from counting an array
import numpy as np
sizes = np.arange(1, 577) * (576 + 1536)
best = np.flatnonzero(sizes < 576 * 1536 / 2)[-1]
answer = (best + 1, sizes[best])

# %% right ask_lora_rank
# parameters of real linear layers counted, rank by whole division
from torch import nn
layer = nn.Linear(576, 1536, bias=False)
rank = (layer.weight.numel() // 2 - 1) // (layer.in_features + layer.out_features)
down, up = nn.Linear(576, rank, bias=False), nn.Linear(rank, 1536, bias=False)
answer = (rank, sum(p.numel() for m in (down, up) for p in m.parameters()))

# %% right ask_lora_rank
# a while loop with an exact fraction, a list instead of a tuple
from fractions import Fraction
rank = 0
while Fraction((rank + 1) * (576 + 1536), 576 * 1536) < Fraction(1, 2):
    rank += 1
answer = (rank, rank * 576 + rank * 1536)

# %% wrong check_turn_mask: EOS is left out, and the assistant has to say it: it ends
# the EOS of the assistant is left out
def my_turn_mask(ids, header, eos):
    mask = torch.zeros(len(ids))
    h = len(header)
    for i in range(len(ids) - h + 1):
        if ids[i:i + h] == header:
            j = i + h
            while j < len(ids) and ids[j] != eos:
                mask[j] = 1
                j += 1
    return mask

# %% wrong check_turn_mask: even one question and one answer come out
# runs on to the next turn's first token, so what stands between EOS and it (the newline) counts too
def my_turn_mask(ids, header, eos):
    mask = [0] * len(ids)
    h, on, i = len(header), False, 0
    while i < len(ids):
        if ids[i:i + h] == header:
            on = True
            i += h
            continue
        if i > 0 and ids[i] == header[0] and eos in ids[i - 2:i]:
            on = False
        mask[i] = int(on)
        i += 1
    return torch.tensor(mask)

# %% wrong check_turn_mask: a header behind a false start is overlooked: where a token
# header matched by a counter that is reset to 0 at a mismatch, without trying the same token again (a BOS 1 right before the header 1 520 9531 198)
def my_turn_mask(ids, header, eos):
    mask, matched, speaking = [], 0, False
    for t in ids:
        if speaking:
            mask.append(1)
            if t == eos:
                speaking = False
            continue
        mask.append(0)
        if t == header[matched]:
            matched += 1
            if matched == len(header):
                speaking, matched = True, 0
        else:
            matched = 0
    return torch.tensor(mask)

# %% wrong check_turn_mask: a turn that is cut off, without EOS, is left out
# a last turn without EOS is thrown away
def my_turn_mask(ids, header, eos):
    mask = torch.zeros(len(ids), dtype=torch.long)
    h = len(header)
    for i in range(len(ids) - h + 1):
        if ids[i:i + h] == header:
            try:
                end = ids.index(eos, i + h)
            except ValueError:
                break
            mask[i + h:end + 1] = 1
    return mask

# %% wrong check_turn_mask: only the first turn of the assistant is marked
# only the first of the assistant's turns is found
def my_turn_mask(ids, header, eos):
    mask = torch.zeros(len(ids))
    start = next((i + len(header) for i in range(len(ids)) if ids[i:i + len(header)] == header), None)
    if start is None:
        return mask
    rest = ids[start:]
    end = start + rest.index(eos) + 1 if eos in rest else len(ids)
    mask[start:end] = 1
    return mask

# %% wrong check_turn_mask: the header is always [1, 520, 9531, 198], whatever was
# the ids of our tokenizer stand in place of the arguments
def my_turn_mask(ids, header, eos):
    mask, on = [0] * len(ids), False
    for i in range(len(ids)):
        if on:
            mask[i] = 1
            if ids[i] == 2:
                on = False
        elif i >= 3 and ids[i - 3:i + 1] == [1, 520, 9531, 198]:
            on = True
    return torch.tensor(mask)

# %% wrong check_turn_mask: ids are compared as text, in which 11 ends with a 1
# searched as text, so that the header is also found inside longer numbers (21 520 9531 198)
def my_turn_mask(ids, header, eos):
    text = " ".join(map(str, ids))
    key = " ".join(map(str, header))
    mask = torch.zeros(len(ids))
    at = text.find(key)
    while at != -1:
        i = text[:at].count(" ") + len(header)
        while i < len(ids):
            mask[i] = 1
            if ids[i] == eos:
                break
            i += 1
        at = text.find(key, at + 1)
    return mask

# %% wrong check_turn_mask: the header's tokens are found in any order. Besides, the
# the search ends one place early, so a turn of one token at the end is missed
def my_turn_mask(ids, header, eos):
    mask = torch.zeros(len(ids))
    h = len(header)
    for i in range(len(ids) - h - 1):
        if ids[i:i + h] == header:
            for j in range(i + h, len(ids)):
                mask[j] = 1
                if ids[j] == eos:
                    break
    return mask

# %% wrong check_turn_mask: tokens of the header are left out wherever they occur, and
# every token that is in the header gets 0, also where the assistant says it
def my_turn_mask(ids, header, eos):
    mask = torch.zeros(len(ids))
    on = False
    for i, t in enumerate(ids):
        if ids[i:i + len(header)] == header:
            on = True
        if on and t not in header:
            mask[i] = 1
        if t == eos:
            on = False
    return mask

# %% right check_turn_mask
# ids turned into characters, turns found by a regular expression, a list of ints
import re
def my_turn_mask(ids, header, eos):
    text = "".join(map(chr, ids))
    end = re.escape(chr(eos))
    turn = re.compile(re.escape("".join(map(chr, header))) + f"([^{end}]*{end}?)")
    mask = [0] * len(ids)
    for found in turn.finditer(text):
        for i in range(*found.span(1)):
            mask[i] = 1
    return mask

# %% right check_turn_mask
# numpy, for each token the last opening is compared with the last EOS before it
import numpy as np
def my_turn_mask(ids, header, eos):
    ids, T, h = np.asarray(ids, dtype=np.int64), len(ids), len(header)
    opened, closed = np.full(T + 1, -1), np.full(T + 1, -1)
    for i in range(T):
        if i + h <= T and np.array_equal(ids[i:i + h], header):
            opened[i + h] = i + h
        if ids[i] == eos:
            closed[i + 1] = i + 1
    opened, closed = np.maximum.accumulate(opened), np.maximum.accumulate(closed)
    return ((opened >= 0) & (closed <= opened))[:T].astype(np.float64)

# %% right check_turn_mask
# the row is cut after each EOS, and in each piece the header is looked for; float64 tensor
import torch
def my_turn_mask(ids, header, eos):
    pieces, piece = [], []
    for t in ids:
        piece.append(t)
        if t == eos:
            pieces.append(piece)
            piece = []
    pieces.append(piece)
    mask = []
    for piece in pieces:
        starts = [i + len(header) for i in range(len(piece) - len(header) + 1)
                  if piece[i:i + len(header)] == list(header)]
        said = len(piece) - starts[0] if starts else 0
        mask += [0.0] * (len(piece) - said) + [1.0] * said
    return torch.tensor(mask, dtype=torch.float64)

# %% right check_turn_mask
# a generator that remembers the last few tokens in a deque, collected into a bool tensor
from collections import deque
import torch
def my_turn_mask(ids, header, eos):
    def marks():
        seen, on = deque(maxlen=len(header)), False
        for t in ids:
            yield on
            seen.append(t)
            on = t != eos if on else list(seen) == list(header)
    return torch.tensor(list(marks()), dtype=torch.bool)

# %% wrong check_without_lora: where `function` ends in ValueError, LoRA stays off
# put back at the end, and an error never gets there
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    scales = [layer.scale for layer in layers]
    for layer in layers:
        layer.scale = 0.0
    with torch.no_grad():
        result = function(model)
    for layer, scale in zip(layers, scales):
        layer.scale = scale
    return result

# %% wrong check_without_lora: KeyboardInterrupt
# an interrupt is no Exception
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    scales = [layer.scale for layer in layers]

    def put_back():
        for layer, scale in zip(layers, scales):
            layer.scale = scale

    for layer in layers:
        layer.scale = 0.0
    try:
        with torch.no_grad():
            result = function(model)
    except Exception:
        put_back()
        raise
    put_back()
    return result

# %% wrong check_without_lora: LoRA stays off
def my_without_lora(model, kind, function):
    for part in model.modules():
        if isinstance(part, kind):
            part.scale = 0.0
    with torch.no_grad():
        return function(model)

# %% wrong check_without_lora: every scale comes back as 1
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    try:
        for layer in layers:
            layer.scale = 0
        with torch.no_grad():
            return function(model)
    finally:
        for layer in layers:
            layer.scale = 1

# %% wrong check_without_lora: the scale of `0` was
# 32/16, as add_lora has it
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    for layer in layers:
        layer.scale = 0.0
    try:
        with torch.no_grad():
            return function(model)
    finally:
        for layer in layers:
            layer.scale = 32.0/16

# %% wrong check_without_lora: with the scale of one
# one scale for all of them: add_lora gives each the same
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    scale = layers[0].scale if layers else None
    try:
        for layer in layers:
            layer.scale = 0.0
        with torch.no_grad():
            return function(model)
    finally:
        for layer in layers:
            layer.scale = scale

# %% wrong check_without_lora: with the scale of one
# the name is bound anew for each layer, so the last one's is left
def my_without_lora(model, kind, function):
    for part in model.modules():
        if isinstance(part, kind):
            scale = part.scale
            part.scale = 0.0
    try:
        with torch.no_grad():
            return function(model)
    finally:
        for part in model.modules():
            if isinstance(part, kind):
                part.scale = scale

# %% wrong check_without_lora: modules of modules
def my_without_lora(model, kind, function):
    layers = [part for part in model.children() if isinstance(part, kind)]
    scales = [layer.scale for layer in layers]
    try:
        for layer in layers:
            layer.scale = 0.0
        with torch.no_grad():
            return function(model)
    finally:
        for layer, scale in zip(layers, scales):
            layer.scale = scale

# %% wrong check_without_lora: the model itself is such a layer
# goes down into children, and never looks at the model
def my_without_lora(model, kind, function):
    scales = {}

    def switch_off(part):
        for child in part.children():
            if isinstance(child, kind):
                scales[child] = child.scale
                child.scale = 0.0
            else:
                switch_off(child)

    switch_off(model)
    try:
        with torch.no_grad():
            return function(model)
    finally:
        for layer, scale in scales.items():
            layer.scale = scale

# %% wrong check_without_lora: stays off
# children of children, each time it is met: the second time the scale is 0 already
def my_without_lora(model, kind, function):
    saved = []

    def switch_off(part):
        if isinstance(part, kind):
            saved.append((part, part.scale))
            part.scale = 0.0
        for child in part._modules.values():
            switch_off(child)

    switch_off(model)
    try:
        with torch.no_grad():
            return function(model)
    finally:
        for layer, scale in saved:
            layer.scale = scale

# %% wrong check_without_lora: the numbers of `0.up` are not what they were
def my_without_lora(model, kind, function):
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, kind):
                part.up.zero_()
        return function(model)

# %% wrong check_without_lora: changed in place, though its numbers are back
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    ups = [layer.up.clone() for layer in layers]
    with torch.no_grad():
        try:
            for layer in layers:
                layer.up.zero_()
            return function(model)
        finally:
            for layer, up in zip(layers, ups):
                layer.up.copy_(up)

# %% wrong check_without_lora: in place, though its numbers are back
# load_state_dict copies into the parameters
def my_without_lora(model, kind, function):
    saved = copy.deepcopy(model.state_dict())
    try:
        with torch.no_grad():
            for part in model.modules():
                if isinstance(part, kind):
                    part.up.fill_(0.0)
            return function(model)
    finally:
        model.load_state_dict(saved)

# %% wrong check_without_lora: is another tensor afterwards
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    ups = [layer.up for layer in layers]
    try:
        for layer in layers:
            layer.up = nn.Parameter(torch.zeros_like(layer.up))
        with torch.no_grad():
            return function(model)
    finally:
        for layer, up in zip(layers, ups):
            layer.up = nn.Parameter(up.detach().clone())

# %% wrong check_without_lora: merged is not switched off
def my_without_lora(model, kind, function):
    for part in list(model.modules()):
        for name, child in list(part.named_children()):
            if isinstance(child, kind):
                learnt = child.scale*(child.up @ child.down)
                child.linear.weight = nn.Parameter(child.linear.weight + learnt)
                setattr(part, name, child.linear)
    with torch.no_grad():
        return function(model)

# %% wrong check_without_lora: LoRA is gone from there
# as merge_lora does it, and no way back
def my_without_lora(model, kind, function):
    for part in list(model.modules()):
        for name, child in list(part.named_children()):
            if isinstance(child, kind):
                setattr(part, name, child.linear)
    with torch.no_grad():
        return function(model)

# %% wrong check_without_lora: gradients are recorded
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    scales = [layer.scale for layer in layers]
    try:
        for layer in layers:
            layer.scale = 0.0
        return function(model)
    finally:
        for layer, scale in zip(layers, scales):
            layer.scale = scale

# %% wrong check_without_lora: gradients are recorded
# what comes back has no gradient, but all of it was recorded
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    scales = [layer.scale for layer in layers]
    try:
        for layer in layers:
            layer.scale = 0.0
        result = function(model)
        return result.detach() if torch.is_tensor(result) else result
    finally:
        for layer, scale in zip(layers, scales):
            layer.scale = scale

# %% wrong check_without_lora: no LoRA is off
# put back before the function is called
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    scales = [layer.scale for layer in layers]
    try:
        for layer in layers:
            layer.scale = 0.0
    finally:
        for layer, scale in zip(layers, scales):
            layer.scale = scale
    with torch.no_grad():
        return function(model)

# %% wrong check_without_lora: of the class `kind`, and not `LoRA`
# asks for the lesson's class
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, LoRA)]
    scales = [layer.scale for layer in layers]
    try:
        for layer in layers:
            layer.scale = 0.0
        with torch.no_grad():
            return function(model)
    finally:
        for layer, scale in zip(layers, scales):
            layer.scale = scale

# %% wrong check_without_lora: 2 times
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    scales = [layer.scale for layer in layers]
    try:
        for layer in layers:
            layer.scale = 0.0
        with torch.no_grad():
            function(model)
            return function(model)
    finally:
        for layer, scale in zip(layers, scales):
            layer.scale = scale

# %% wrong check_without_lora: nothing is returned yet
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    scales = [layer.scale for layer in layers]
    try:
        for layer in layers:
            layer.scale = 0.0
        with torch.no_grad():
            function(model)
    finally:
        for layer, scale in zip(layers, scales):
            layer.scale = scale

# %% wrong check_without_lora: another module than the model itself
def my_without_lora(model, kind, function):
    reference = copy.deepcopy(model)
    for part in reference.modules():
        if isinstance(part, kind):
            nn.init.zeros_(part.up)
    with torch.no_grad():
        return function(reference)

# %% wrong check_without_lora: another module than the model itself
def my_without_lora(model, kind, function):
    reference = shared_copy(model)
    for part in reference.modules():
        if isinstance(part, kind):
            part.scale = 0.0
    with torch.no_grad():
        return function(reference)

# %% wrong check_without_lora: does not reach whoever called
# a return in finally swallows the error
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    scales = [layer.scale for layer in layers]
    result = None
    try:
        for layer in layers:
            layer.scale = 0.0
        with torch.no_grad():
            result = function(model)
    finally:
        for layer, scale in zip(layers, scales):
            layer.scale = scale
        return result

# %% wrong check_without_lora: something else is changed
# whatever has a scale
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if hasattr(part, 'scale')]
    scales = [layer.scale for layer in layers]
    try:
        for layer in layers:
            layer.scale = 0.0
        with torch.no_grad():
            return function(model)
    finally:
        for layer, scale in zip(layers, scales):
            layer.scale = scale

# %% wrong check_without_lora: LoRA of other models is off too
def my_without_lora(model, kind, function):
    forward = kind.forward
    kind.forward = lambda self, x: self.linear(x)
    try:
        with torch.no_grad():
            return function(model)
    finally:
        kind.forward = forward

# %% wrong check_without_lora: gradients are switched on for whatever comes afterwards
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    scales = [layer.scale for layer in layers]
    torch.set_grad_enabled(False)
    try:
        for layer in layers:
            layer.scale = 0.0
        return function(model)
    finally:
        torch.set_grad_enabled(True)
        for layer, scale in zip(layers, scales):
            layer.scale = scale

# %% wrong check_without_lora: learns afterwards
# nothing learns while the function runs, and then everything does
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    scales = [layer.scale for layer in layers]
    model.requires_grad_(False)
    try:
        for layer in layers:
            layer.scale = 0.0
        with torch.no_grad():
            return function(model)
    finally:
        model.requires_grad_(True)
        for layer, scale in zip(layers, scales):
            layer.scale = scale

# %% wrong check_without_lora: in another mode afterwards
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    scales = [layer.scale for layer in layers]
    model.eval()
    try:
        for layer in layers:
            layer.scale = 0.0
        with torch.no_grad():
            return function(model)
    finally:
        model.train()
        for layer, scale in zip(layers, scales):
            layer.scale = scale

# %% wrong check_without_lora: hook
# a hook in each layer, and nobody takes it away
def my_without_lora(model, kind, function):
    for part in model.modules():
        if isinstance(part, kind):
            part.register_forward_hook(lambda layer, args, out: layer.linear(args[0]))
    with torch.no_grad():
        return function(model)

# %% wrong check_without_lora: called never
# a yield makes a generator, and nobody runs it
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    scales = [layer.scale for layer in layers]
    for layer in layers:
        layer.scale = 0.0
    yield function(model)
    for layer, scale in zip(layers, scales):
        layer.scale = scale

# %% wrong check_without_lora: each other's scales
# pop takes them from the end
def my_without_lora(model, kind, function):
    scales = []
    for part in model.modules():
        if isinstance(part, kind):
            scales.append(part.scale)
            part.scale = 0.0
    try:
        with torch.no_grad():
            return function(model)
    finally:
        for part in model.modules():
            if isinstance(part, kind):
                part.scale = scales.pop()

# %% wrong check_without_lora: ends in
# a model without LoRA has no first layer
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    scales = {layer: layer.scale for layer in layers}
    device = layers[0].up.device
    try:
        for layer in layers:
            layer.scale = torch.zeros((), device=device)
        with torch.no_grad():
            return function(model)
    finally:
        for layer, scale in scales.items():
            layer.scale = scale

# %% right check_without_lora
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    scales = [layer.scale for layer in layers]
    try:
        for layer in layers:
            layer.scale = 0.0
        with torch.no_grad():
            return function(model)
    finally:
        for layer, scale in zip(layers, scales):
            layer.scale = scale

# %% right check_without_lora
# hooks that are taken away again
def my_without_lora(model, kind, function):
    hooks = [part.register_forward_hook(lambda layer, args, out: layer.linear(args[0]))
             for part in model.modules() if isinstance(part, kind)]
    try:
        with torch.inference_mode():
            return function(model)
    finally:
        for hook in hooks:
            hook.remove()

# %% right check_without_lora
# an ExitStack of what has to be put back
from contextlib import ExitStack
def my_without_lora(model, kind, function):
    with ExitStack() as stack:
        for part in model.modules():
            if isinstance(part, kind):
                stack.callback(setattr, part, 'scale', part.scale)
                part.scale = 0
        stack.enter_context(torch.no_grad())
        return function(model)

# %% right check_without_lora
# a forward of its own for each layer, in front of the class's
@torch.no_grad()
def my_without_lora(model, kind, function):
    off = []
    try:
        for part in model.modules():
            if isinstance(part, kind):
                part.forward = part.linear.forward
                off.append(part)
        return function(model)
    finally:
        for part in off:
            del part.forward

# %% right check_without_lora
# one layer at a time: off, the others by recursion, and back on
def my_without_lora(model, kind, function):
    def run(layers):
        if not layers:
            with torch.no_grad():
                return function(model)
        scale, layers[0].scale = layers[0].scale, 0.0
        try:
            return run(layers[1:])
        finally:
            layers[0].scale = scale
    return run([part for part in model.modules() if isinstance(part, kind)])

# %% right check_without_lora
# other numbers in the place of `up`, by a change of storage that no graph sees
def my_without_lora(model, kind, function):
    ups = [part.up for part in model.modules() if isinstance(part, kind)]
    numbers = [up.data for up in ups]
    try:
        for up in ups:
            up.data = torch.zeros_like(up)
        with torch.no_grad():
            return function(model)
    finally:
        for up, data in zip(ups, numbers):
            up.data = data

# %% right check_without_lora
# a context manager of its own, nested functions, bare except
from contextlib import contextmanager
@contextmanager
def switched_off(model, kind):
    scales = {part: part.scale for part in model.modules() if isinstance(part, kind)}
    try:
        for part in scales:
            part.scale *= 0
        yield model
    except:  # noqa: E722
        raise
    finally:
        for part, scale in scales.items():
            part.scale = scale
def my_without_lora(model, kind, function):
    with switched_off(model, kind) as quiet, torch.no_grad():
        result = function(quiet)
    return result

# %% right check_without_lora
# patched as tests do it
from contextlib import ExitStack
from unittest.mock import patch
def my_without_lora(model, kind, function):
    with ExitStack() as stack, torch.no_grad():
        for part in model.modules():
            if isinstance(part, kind):
                stack.enter_context(patch.object(part, 'scale', 0.0))
        return function(model)

# %% right check_without_lora
# no parameter asks for a gradient while it runs, so none is recorded
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    scales = [layer.scale for layer in layers]
    trained = [p for p in model.parameters() if p.requires_grad]
    try:
        for p in trained:
            p.requires_grad_(False)
        for layer in layers:
            layer.scale = 0.0
        return function(model)
    finally:
        for p in trained:
            p.requires_grad_(True)
        for layer, scale in zip(layers, scales):
            layer.scale = scale

# %% wrong check_without_lora: gradients are recorded
# where there is no LoRA the function is simply called
def my_without_lora(model, kind, function):
    layers = {part: part.scale for part in model.modules() if isinstance(part, kind)}
    if len(layers) == 0:
        return function(model)
    try:
        for part in layers:
            part.scale = 0.0
        with torch.no_grad():
            out = function(model)
    finally:
        for part, scale in layers.items():
            part.scale = scale
    return out

# %% wrong check_without_lora: no LoRA is off
# another name for the scale
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    with torch.no_grad():
        try:
            for layer in layers:
                layer.alpha = 0
            return function(model)
        finally:
            for layer in layers:
                layer.alpha = 32

# %% wrong check_without_lora: handed another module than the model itself
# each layer by itself
def my_without_lora(model, kind, function):
    out = None
    for part in model.modules():
        if isinstance(part, kind):
            with torch.no_grad():
                out = function(part.linear)
    return out

# %% wrong check_without_lora: is called with
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    scales = [layer.scale for layer in layers]
    try:
        for layer in layers:
            layer.scale = 0.0
        with torch.no_grad():
            return function()
    finally:
        for layer, scale in zip(layers, scales):
            layer.scale = scale

# %% wrong check_without_lora: does not reach whoever called
# an error is printed, and the next cell goes on with None
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    scales = [layer.scale for layer in layers]
    for layer in layers:
        layer.scale = 0.0
    out = None
    try:
        with torch.no_grad():
            out = function(model)
    except BaseException as error:
        failed = error
    for layer, scale in zip(layers, scales):
        layer.scale = scale
    return out

# %% wrong check_without_lora: is not what `function` has given
# everything is taken for a tensor
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    scales = [layer.scale for layer in layers]
    try:
        for layer in layers:
            layer.scale = 0.0
        with torch.no_grad():
            return function(model), scales
    finally:
        for layer, scale in zip(layers, scales):
            layer.scale = scale

# %% wrong check_without_lora: the model itself is such a layer
# the frozen layers in their places, and LoRA back again
def my_without_lora(model, kind, function):
    places = [(part, name, child) for part in model.modules()
              for name, child in part.named_children() if isinstance(child, kind)]
    try:
        for part, name, child in places:
            setattr(part, name, child.linear)
        with torch.no_grad():
            return function(model)
    finally:
        for part, name, child in places:
            setattr(part, name, child)

# %% wrong check_without_lora: the gradient that `0.down` had is gone
# what is left of a backward pass is cleared away
def my_without_lora(model, kind, function):
    layers = [part for part in model.modules() if isinstance(part, kind)]
    scales = [layer.scale for layer in layers]
    try:
        for layer in layers:
            layer.scale = 0.0
        with torch.no_grad():
            return function(model)
    finally:
        model.zero_grad()
        for layer, scale in zip(layers, scales):
            layer.scale = scale


# %% wrong check_without_lora: where `function` ends in KeyboardInterrupt
def my_without_lora(model, kind, function):
    layers = [m for m in model.modules() if isinstance(m, kind)]
    scales = [layer.scale for layer in layers]

    def restore():
        for layer, scale in zip(layers, scales):
            layer.scale = scale

    for layer in layers:
        layer.scale = 0.0
    try:
        with torch.no_grad():
            result = function(model)
    except Exception:
        restore()
        raise
    restore()
    return result


# %% wrong check_without_lora: comes back with the scale of one
def my_without_lora(model, kind, function):
    layers = [m for m in model.modules() if isinstance(m, kind)]
    scale = layers[0].scale if layers else None
    try:
        for layer in layers:
            layer.scale = 0.0
        with torch.no_grad():
            return function(model)
    finally:
        for layer in layers:
            layer.scale = scale


# %% wrong check_without_lora: where the model itself is such a layer
def my_without_lora(model, kind, function):
    swapped = []
    try:
        for parent in list(model.modules()):
            for name, child in list(parent._modules.items()):
                if isinstance(child, kind):
                    swapped.append((parent, name, child))
                    setattr(parent, name, child.linear)
        with torch.no_grad():
            return function(model)
    finally:
        for parent, name, child in reversed(swapped):
            setattr(parent, name, child)


# %% wrong check_without_lora: stays off
def my_without_lora(model, kind, function):
    saved = []
    try:
        for name, module in model.named_modules(remove_duplicate=False):
            if isinstance(module, kind):
                saved.append((module, module.scale))
                module.scale = 0.0
        with torch.no_grad():
            return function(model)
    finally:
        for module, scale in saved:
            module.scale = scale


# %% wrong check_without_lora: gradients are switched on
def my_without_lora(model, kind, function):
    old = {m: m.scale for m in model.modules() if isinstance(m, kind)}
    torch.set_grad_enabled(False)
    try:
        for m in old:
            m.scale = 0.0
        return function(model)
    finally:
        for m, scale in old.items():
            m.scale = scale
        torch.set_grad_enabled(True)


# %% wrong check_without_lora: another module than the model itself
def my_without_lora(model, kind, function):
    reference = copy.deepcopy(model)
    for module in reference.modules():
        if isinstance(module, kind):
            module.scale = 0.0
    with torch.no_grad():
        return function(reference)


# %% wrong check_without_lora: was changed in place
def my_without_lora(model, kind, function):
    saved = []
    for module in model.modules():
        if isinstance(module, kind):
            for name, p in module.named_parameters():
                if name.split(".")[0] == "up":
                    saved.append((p, p.detach().clone()))
    with torch.no_grad():
        try:
            for p, _ in saved:
                p.zero_()
            return function(model)
        finally:
            for p, numbers in saved:
                p.copy_(numbers)


# %% wrong check_without_lora: the class itself is changed
def my_without_lora(model, kind, function):
    forward = kind.forward
    try:
        kind.forward = lambda self, x: self.linear(x)
        with torch.no_grad():
            return function(model)
    finally:
        kind.forward = forward


# %% wrong check_without_lora: gradients are recorded
def my_without_lora(model, kind, function):
    layers = [m for m in model.modules() if isinstance(m, kind)]
    scales = [m.scale for m in layers]
    try:
        with torch.no_grad():
            for m in layers:
                m.scale = 0.0
        return function(model)
    finally:
        with torch.no_grad():
            for m, scale in zip(layers, scales):
                m.scale = scale


# %% wrong check_without_lora: still on
def my_without_lora(model, kind, function):
    layers = [m for m in model.modules() if isinstance(m, kind)]
    try:
        for layer in layers:
            layer.forward = lambda x: layer.linear(x)
        with torch.no_grad():
            return function(model)
    finally:
        for m in layers:
            m.__dict__.pop("forward", None)


# %% right check_without_lora
import contextlib


def my_without_lora(model, kind, function):
    # The stack undoes last in, first out, so a layer met twice ends with its first value.
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        for _, module in model.named_modules(remove_duplicate=False):
            if isinstance(module, kind):
                stack.callback(setattr, module, "scale", module.scale)
                module.scale = 0.0
        return function(model)


# %% right check_without_lora
def my_without_lora(model, kind, function):
    # An attribute on the instance hides the forward of the class.
    missing = object()
    before = {
        m: m.__dict__.get("forward", missing)
        for m in model.modules()
        if isinstance(m, kind)
    }
    try:
        for m in before:
            m.forward = lambda x, m=m: m.linear(x)
        with torch.no_grad():
            return function(model)
    finally:
        for m, forward in before.items():
            if forward is missing:
                m.__dict__.pop("forward", None)
            else:
                m.forward = forward


# %% right check_without_lora
def my_without_lora(model, kind, function):
    # Each layer changes its class for a while.
    def only_linear(self, x):
        return self.linear(x)

    layers = [m for m in model.modules() if isinstance(m, kind)]
    classes = [type(m) for m in layers]
    try:
        for layer, cls in zip(layers, classes):
            layer.__class__ = type(cls.__name__ + "Off", (cls,), {"forward": only_linear})
        with torch.no_grad():
            return function(model)
    finally:
        for layer, cls in zip(layers, classes):
            layer.__class__ = cls


# %% right check_without_lora
@torch.no_grad()
def my_without_lora(model, kind, function):
    # One layer per level of recursion, each with its own finally.
    def ask(layers):
        if not layers:
            return function(model)
        first, *rest = layers
        scale = first.scale
        try:
            first.scale = 0.0
            return ask(rest)
        finally:
            first.scale = scale

    return ask([m for m in model.modules() if isinstance(m, kind)])

# %% wrong check_turn_mask: the header is marked too, from its first token on
def my_turn_mask(ids, header, eos):
    mask, talks = [], False
    for i, token in enumerate(ids):
        if ids[i:i + len(header)] == header:
            talks = True
        mask.append(int(talks))
        if token == eos:
            talks = False
    return mask

# %% wrong check_turn_mask: it begins one token too early
def my_turn_mask(ids, header, eos):
    mask, talks, n = [], False, len(header)
    for i, token in enumerate(ids):
        if i >= n - 1 and ids[i - n + 1:i + 1] == header:
            talks = True
        mask.append(int(talks))
        if token == eos:
            talks = False
    return mask

# %% wrong check_turn_mask: second token of the header is taken for the whole of it
def my_turn_mask(ids, header, eos):
    mask, talks = [], False
    for token in ids:
        if token == header[1]:
            talks = True
        mask.append(int(talks))
        if token == eos:
            talks = False
    return mask
