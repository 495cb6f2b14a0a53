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

# %% wrong check_keep_newest: dropped like any other
# a list of messages, the first one goes
def my_keep_newest(messages, tokens_of, room):
    kept = list(messages)
    while kept and (tokens_of(kept) > room or kept[0]['role'] == 'assistant'):
        kept = kept[1:]
    if not kept:
        raise ValueError('too long')
    return kept

# %% wrong check_keep_newest: the system message is not counted
def my_keep_newest(messages, tokens_of, room):
    system = [m for m in messages if m['role'] == 'system']
    rest = [m for m in messages if m['role'] != 'system']
    while rest and (rest[0]['role'] != 'user' or tokens_of(rest) > room):
        rest = rest[1:]
    if not rest:
        raise ValueError('too long')
    return system + rest

# %% wrong check_keep_newest: begin with an answer
def my_keep_newest(messages, tokens_of, room):
    n = 1 if messages[0]['role'] == 'system' else 0
    system, rest = messages[:n], messages[n:]
    while tokens_of(system + rest) > room:
        rest = rest[1:]
        if not rest:
            raise ValueError('too long')
    return system + rest

# %% wrong check_keep_newest: it may be equal
def my_keep_newest(messages, tokens_of, room):
    system = messages[:1] if messages[0]['role'] == 'system' else []
    for i in range(len(system), len(messages)):
        kept = system + messages[i:]
        if messages[i]['role'] == 'user' and tokens_of(kept) < room:
            return kept
    raise ValueError('too long')

# %% wrong check_keep_newest: counted one by one
# from the newest back, with a sum that is carried along
def my_keep_newest(messages, tokens_of, room):
    system = messages[:1] if messages[0]['role'] == 'system' else []
    used = tokens_of(system) if system else 0
    kept, best = [], None
    for message in reversed(messages[len(system):]):
        used += tokens_of([message])
        if used > room:
            break
        kept = [message] + kept
        if message['role'] == 'user':
            best = kept
    if best is None:
        raise ValueError('too long')
    return system + best

# %% wrong check_keep_newest: comes back all the same
# the newest is kept, whatever it costs
def my_keep_newest(messages, tokens_of, room):
    system = [m for m in messages[:1] if m['role'] == 'system']
    rest = messages[len(system):]
    users = [i for i, m in enumerate(rest) if m['role'] == 'user']
    for i in users[:-1]:
        if tokens_of(system + rest[i:]) <= room:
            return system + rest[i:]
    return system + rest[users[-1]:]

# %% wrong check_keep_newest: two messages are dropped at a time
def my_keep_newest(messages, tokens_of, room):
    start = int(messages[0]['role'] == 'system')
    system, rest = messages[:start], messages[start:]
    while rest and tokens_of(system + rest) > room:
        rest = rest[2:]
    if not rest:
        raise ValueError('too long')
    return system + rest

# %% wrong check_keep_newest: has a hole
# takes what fits, from the newest on
def my_keep_newest(messages, tokens_of, room):
    system = messages[:1] if messages[0]['role'] == 'system' else []
    kept = []
    for message in reversed(messages[len(system):]):
        if tokens_of(system + [message] + kept) <= room:
            kept.insert(0, message)
        elif not kept:
            raise ValueError('too long')
    while kept[0]['role'] != 'user':
        kept.pop(0)
    return system + kept

# %% wrong check_keep_newest: the newest first
def my_keep_newest(messages, tokens_of, room):
    system = messages[:1] if messages[0]['role'] == 'system' else []
    kept = []
    for message in reversed(messages[len(system):]):
        if tokens_of(system + kept + [message]) > room:
            break
        kept.append(message)
    while kept and kept[-1]['role'] != 'user':
        kept.pop()
    if not kept:
        raise ValueError('too long')
    return system + kept

# %% wrong check_keep_newest: `messages` is changed in place
def my_keep_newest(messages, tokens_of, room):
    system = [messages.pop(0)] if messages[0]['role'] == 'system' else []
    while messages and (messages[0]['role'] != 'user' or tokens_of(system + messages) > room):
        messages.pop(0)
    if not messages:
        raise ValueError('too long')
    return system + messages

# %% wrong check_keep_newest: the first message is kept whatever its role
def my_keep_newest(messages, tokens_of, room):
    first, rest = messages[:1], messages[1:]
    while rest and (rest[0]['role'] != 'user' or tokens_of(first + rest) > room):
        rest = rest[1:]
    if not rest:
        raise ValueError('too long')
    return first + rest

# %% wrong check_keep_newest: words are counted
def my_keep_newest(messages, tokens_of, room):
    def size(kept):
        return sum(len(m['content'].split()) for m in kept)
    system = messages[:1] if messages[0]['role'] == 'system' else []
    for i in range(len(system), len(messages)):
        if messages[i]['role'] == 'user' and size(system + messages[i:]) <= room:
            return system + messages[i:]
    raise ValueError('too long')

# %% wrong check_keep_newest: an answer at the beginning stays
# the short way first
def my_keep_newest(messages, tokens_of, room):
    if tokens_of(messages) <= room:
        return list(messages)
    system = messages[:1] if messages[0]['role'] == 'system' else []
    for i in range(len(system), len(messages)):
        if messages[i]['role'] == 'user' and tokens_of(system + messages[i:]) <= room:
            return system + messages[i:]
    raise ValueError('too long')

# %% wrong check_keep_newest: where nothing fits, the newest message of the user is dropped
def my_keep_newest(messages, tokens_of, room):
    system = messages[:1] if messages[0]['role'] == 'system' else []
    rest = messages[len(system):]
    while rest and (tokens_of(system + rest) > room or rest[0]['role'] != 'user'):
        rest = rest[1:]
    return system + rest

# %% wrong check_keep_newest: loses its other keys
def my_keep_newest(messages, tokens_of, room):
    pairs = [(m['role'], m['content']) for m in messages]
    def back(pairs):
        return [dict(role=role, content=content) for role, content in pairs]
    system = pairs[:1] if pairs[0][0] == 'system' else []
    for i in range(len(system), len(pairs)):
        if pairs[i][0] == 'user' and tokens_of(back(system + pairs[i:])) <= room:
            return back(system + pairs[i:])
    raise ValueError('too long')

# %% wrong check_keep_newest: only the newest message is kept
def my_keep_newest(messages, tokens_of, room):
    system = messages[:1] if messages[0]['role'] == 'system' else []
    kept = system + messages[-1:]
    if tokens_of(kept) > room:
        raise ValueError('too long')
    return kept

# %% wrong check_keep_newest: the newest messages are dropped
def my_keep_newest(messages, tokens_of, room):
    kept = list(messages)
    while tokens_of(kept) > room:
        kept = kept[:-1]
        if not kept:
            raise ValueError('too long')
    return kept

# %% wrong check_keep_newest: the system message stands there twice
def my_keep_newest(messages, tokens_of, room):
    system = [m for m in messages if m['role'] == 'system']
    rest = messages[len(system):]
    while rest and (rest[0]['role'] != 'user' or tokens_of(system + rest) > room):
        rest = rest[1:]
    if not rest:
        raise ValueError('too long')
    return system + system + rest

# %% wrong check_keep_newest: takes a list of messages
def my_keep_newest(messages, tokens_of, room):
    kept, used = [], 0
    for message in reversed(messages):
        used += tokens_of(message)
        if used > room:
            break
        kept.insert(0, message)
    return kept

# %% wrong check_keep_newest: only one answer is dropped
def my_keep_newest(messages, tokens_of, room):
    system = messages[:1] if messages[0]['role'] == 'system' else []
    rest = messages[len(system):]
    while rest and tokens_of(system + rest) > room:
        rest = rest[1:]
    if not rest:
        raise ValueError('too long')
    if rest[0]['role'] == 'assistant':
        rest = rest[1:]
    return system + rest

# %% wrong check_keep_newest: dropped before the oldest messages go
def my_keep_newest(messages, tokens_of, room):
    system = messages[:1] if messages[0]['role'] == 'system' else []
    rest = list(itertools.dropwhile(lambda m: m['role'] != 'user', messages[len(system):]))
    while rest and tokens_of(system + rest) > room:
        del rest[0]
    if not rest:
        raise ValueError('too long')
    return system + rest

# %% wrong check_keep_newest: messages are counted, and not their tokens
def my_keep_newest(messages, tokens_of, room):
    system = messages[:1] if messages[0]['role'] == 'system' else []
    rest = messages[len(system):]
    rest = rest[max(0, len(rest) + len(system) - room):]
    while rest and rest[0]['role'] != 'user':
        rest = rest[1:]
    return system + rest

# %% wrong check_keep_newest: where nothing fits, None comes back
def my_keep_newest(messages, tokens_of, room):
    system = messages[:1] if messages[0]['role'] == 'system' else []
    for i in range(len(system), len(messages)):
        if messages[i]['role'] == 'user':
            kept = system + messages[i:]
            if tokens_of(kept) <= room:
                return kept
    return None

# %% wrong check_keep_newest: as soon as something has to be dropped
def my_keep_newest(messages, tokens_of, room):
    if tokens_of(messages) > room:
        raise ValueError('too long')
    first = next(i for i, m in enumerate(messages) if m['role'] == 'user')
    return [m for m in messages[:1] if m['role'] == 'system'] + messages[first:]

# %% right check_keep_newest
# recursion, one message at a time
def my_keep_newest(messages, tokens_of, room):
    n = sum(m['role'] == 'system' for m in messages[:1])
    if len(messages) == n:
        raise ValueError('no room')
    if messages[n]['role'] == 'user' and tokens_of(messages) <= room:
        return tuple(messages)
    return my_keep_newest(messages[:n] + messages[n + 1:], tokens_of, room)

# %% right check_keep_newest
# from the newest back with a deque; what comes before the first question goes at the end
def my_keep_newest(messages, tokens_of, room):
    rest = collections.deque(messages)
    system = [rest.popleft()] if rest[0]['role'] == 'system' else []
    kept = collections.deque()
    while rest and tokens_of([*system, rest[-1], *kept]) <= room:
        kept.appendleft(rest.pop())
    while kept and kept[0]['role'] == 'assistant':
        kept.popleft()
    if not kept:
        raise ValueError
    kept.extendleft(system)
    return kept

# %% right check_keep_newest
# all suffixes, the longest that fits
def my_keep_newest(messages, tokens_of, room):
    is_system = messages[0]['role'] == 'system'
    fitting = [
        messages[:is_system] + messages[i:] for i in range(is_system, len(messages))
        if messages[i]['role'] == 'user' and tokens_of(messages[:is_system] + messages[i:]) <= room]
    return max(fitting, key=len)  # of none: ValueError

# %% right check_keep_newest
# bisection over the questions, in copies
def my_keep_newest(messages, tokens_of, room):
    own = copy.deepcopy(messages)
    users = [i for i, m in enumerate(own) if m['role'] == 'user']
    head = own[:1] if own[0].get('role') == 'system' else []
    low, high = 0, len(users)
    while low < high:
        middle = (low + high)//2
        if tokens_of(head + own[users[middle]:]) <= room:
            high = middle
        else:
            low = middle + 1
    if low == len(users):
        class TooLong(ValueError):
            pass
        raise TooLong('the newest message does not fit')
    return head + own[users[low]:]
