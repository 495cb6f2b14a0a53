# ruff: noqa: F811, F821
# Answers to the exercises of lesson 14, as readers write them. Each begins with a line that says
# what it is: `# %% wrong CHECK: words that its verdict must hold`, or `# %% right CHECK`.

# %% wrong ask_discounted: nothing is discounted
answer = (11, 11)

# %% wrong ask_discounted: the tokens of the hole are counted
answer = (1.5 + 8*0.5**6, 3 + 8*0.5**5)

# %% wrong ask_discounted: the tokens of the hole are counted
answer = (2.5, 3 + 8*0.5**5)

# %% wrong ask_discounted: only the first score is counted
answer = (1.5, 3)

# %% wrong ask_discounted: its own score is left out
answer = (2.5, 8*0.5**2)

# %% wrong ask_discounted: each turn is discounted once
answer = (3 + 0.5*8, 3 + 0.5*8)

# %% wrong ask_discounted: swapped
answer = (5, 2.5)

# %% wrong ask_discounted: one factor too many
answer = (0.5**2*3 + 0.5**4*8, 0.5*3 + 0.5**3*8)

# %% wrong ask_discounted: the hole is counted as one token
answer = (1.5 + 0.5**4*8, 3 + 0.5**3*8)

# %% wrong ask_discounted: that is not it
answer = (0.7, 5)

# %% right ask_discounted
answer = (2.5, 5)

# %% right ask_discounted
answer = (torch.tensor(2.5), np.float64(5))

# %% right ask_discounted
rewards = [0, 3, 0, 8]
returns = [sum(0.5**j*r for j, r in enumerate(rewards[i:])) for i in range(4)]
answer = (returns[0], returns[1])

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
    system = [m for m in messages[:1] if m['role'] == 'system']
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

# %% wrong check_keep_newest: is taken for one at the beginning
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
    while kept and kept[0]['role'] != 'user':
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

# %% wrong check_keep_newest: messages are counted one by one, and what the template adds
# tokens counted message by message and summed, so that the template counts each time
def my_keep_newest(messages, tokens_of, room):
    system = messages[:1] if messages[0]["role"] == "system" else []
    rest = messages[len(system):]
    used = sum(tokens_of([m]) for m in system)
    for i, m in enumerate(rest):
        if m["role"] == "user" and used + sum(tokens_of([x]) for x in rest[i:]) <= room:
            return system + rest[i:]
    raise ValueError("no room for the last message")

# %% wrong check_keep_newest: `messages` is changed in place, and whoever called still
# only another name for the list, so the caller's messages are dropped
def my_keep_newest(messages, tokens_of, room):
    kept = messages
    first = 1 if kept[0]["role"] == "system" else 0
    while len(kept) > first + 1 and (kept[first]["role"] != "user" or tokens_of(kept) > room):
        kept.pop(first)
    if tokens_of(kept) > room:
        raise ValueError("the last message does not fit")
    return kept

# %% wrong check_keep_newest: two messages are dropped at a time, and turns do not always
# always drops a pair (user, assistant), so it fails where the turns do not alternate from the user's on
def my_keep_newest(messages, tokens_of, room):
    system = [m for m in messages[:1] if m["role"] == "system"]
    rest = list(messages[len(system):])
    while len(rest) > 2 and tokens_of(system + rest) > room:
        rest = rest[2:]
    if tokens_of(system + rest) > room:
        raise ValueError("too long")
    return system + rest

# %% wrong check_keep_newest: where all fits nothing is looked at: an answer at the
# returns at once if all fits, even where an assistant's message comes first
def my_keep_newest(messages, tokens_of, room):
    if tokens_of(messages) <= room:
        return list(messages)
    n = int(messages[0]["role"] == "system")
    for k in range(n + 1, len(messages)):
        kept = messages[:n] + messages[k:]
        if messages[k]["role"] == "user" and tokens_of(kept) <= room:
            return kept
    raise ValueError("last message too long")

# %% wrong check_keep_newest: answers at the beginning are dropped before the oldest
# first goes on to the user's, then drops one by one for the room, so an assistant's message may be first again
def my_keep_newest(messages, tokens_of, room):
    rest = list(messages)
    system = [rest.pop(0)] if rest[0]["role"] == "system" else []
    while rest[0]["role"] != "user":
        rest.pop(0)
    while tokens_of(system + rest) > room:
        if len(rest) == 1:
            raise ValueError("does not fit")
        rest.pop(0)
    return system + rest

# %% wrong check_keep_newest: a message that does not fit is skipped and older ones are
# from the newest back, what is too long is skipped and older ones are still taken, so there are gaps
def my_keep_newest(messages, tokens_of, room):
    system = messages[:1] if messages[0]["role"] == "system" else []
    rest = messages[len(system):]
    kept = [rest[-1]]
    if tokens_of(system + kept) > room:
        raise ValueError("the last message does not fit")
    for m in reversed(rest[:-1]):
        if tokens_of(system + [m] + kept) <= room:
            kept = [m] + kept
    while kept[0]["role"] != "user":
        kept = kept[1:]
    return system + kept

# %% wrong check_keep_newest: the first message is kept whatever its role, and only a
# takes the first message for a system message without looking at its role
def my_keep_newest(messages, tokens_of, room):
    head, rest = [messages[0]], messages[1:]
    while rest and (rest[0]["role"] != "user" or tokens_of(head + rest) > room):
        rest = rest[1:]
    if not rest:
        raise ValueError("too long")
    return head + rest

# %% wrong check_keep_newest: the ValueError only comes where the newest message alone is
# the last message is tested without the system message, so a result that is too long comes back instead of an error
def my_keep_newest(messages, tokens_of, room):
    if tokens_of(messages[-1:]) > room:
        raise ValueError("last message does not fit")
    n = 1 if messages[0]["role"] == "system" else 0
    k = n
    while k < len(messages) - 1 and (messages[k]["role"] != "user" or tokens_of(messages[:n] + messages[k:]) > room):
        k += 1
    return messages[:n] + messages[k:]

# %% wrong check_keep_newest: what takes all of the room fits too: it may be equal
# less than room instead of at most room, so a row that just fits loses a message
def my_keep_newest(messages, tokens_of, room):
    n = 1 if messages[0]["role"] == "system" else 0
    for k in range(n, len(messages)):
        kept = messages[:n] + messages[k:]
        if messages[k]["role"] == "user" and tokens_of(kept) < room:
            return kept
    raise ValueError(f"more than {room} tokens")

# %% right check_keep_newest
# a generator of all candidates and next; gives copies of the messages
import copy
def my_keep_newest(messages, tokens_of, room):
    n = int(messages[0]["role"] == "system")
    candidates = (messages[:n] + messages[k:] for k in range(n, len(messages)) if messages[k]["role"] == "user")
    kept = next((c for c in candidates if tokens_of(c) <= room), None)
    if kept is None:
        raise ValueError("the last message does not fit")
    return copy.deepcopy(kept)

# %% right check_keep_newest
# recursion that drops the first message behind the system message
def my_keep_newest(messages, tokens_of, room):
    if messages[0]["role"] == "system":
        system, rest = [messages[0]], messages[1:]
    else:
        system, rest = [], messages
    def shrink(rest):
        if rest[0]["role"] == "user" and tokens_of(system + rest) <= room:
            return system + rest
        if len(rest) == 1:
            raise ValueError("no room")
        return shrink(rest[1:])
    return shrink(rest)

# %% right check_keep_newest
# grows from the newest backwards and remembers the last start at a user's message that fits
def my_keep_newest(messages, tokens_of, room):
    first = 1 if messages[0]["role"] == "system" else 0
    best = None
    for k in reversed(range(first, len(messages))):
        if messages[k]["role"] != "user":
            continue
        kept = [*messages[:first], *messages[k:]]
        if tokens_of(kept) > room:
            break
        best = kept
    if best is None:
        raise ValueError("the last message and the system message do not fit")
    return best

# %% right check_keep_newest
# a deque; first drops for the room one by one, then goes on to the user's; own subclass of ValueError
from collections import deque
class NoRoom(ValueError):
    pass
def my_keep_newest(messages, tokens_of, room):
    rest = deque(messages)
    system = [rest.popleft()] if rest[0]["role"] == "system" else []
    while len(rest) > 1 and tokens_of(system + list(rest)) > room:
        rest.popleft()
    if tokens_of(system + list(rest)) > room:
        raise NoRoom(room)
    while rest[0]["role"] != "user":
        rest.popleft()
    return system + list(rest)

# %% wrong check_turn_advantages: as if the row ended there
def my_turn_advantages(rewards, values, mask, gamma, lam):
    T = len(mask)
    out, running = [0]*T, 0
    for t in range(T - 1, -1, -1):
        last = t == T - 1 or mask[t + 1] == 0
        delta = rewards[t] + (0 if last else gamma*values[t + 1]) - values[t]
        running = delta + (0 if last else gamma*lam*running)
        out[t] = running if mask[t] else 0
    return out

# %% wrong check_turn_advantages: that of a token in the hole, and nobody sampled that
# the running advantage waits, and the next value is values[t + 1] as always
def my_turn_advantages(rewards, values, mask, gamma, lam):
    T, running = len(mask), 0.0
    out = [0.0]*T
    for t in reversed(range(T)):
        if not mask[t]:
            continue
        following = values[t + 1] if t + 1 < T else 0.0
        if not any(mask[t + 1:]):
            following = 0.0
        running = rewards[t] + gamma*following - values[t] + gamma*lam*running
        out[t] = running
    return out

# %% wrong check_turn_advantages: GAE runs through the holes
def my_turn_advantages(rewards, values, mask, gamma, lam):
    x = [torch.tensor([each], dtype=torch.float32) for each in (rewards, values)]
    whole, _ = compute_advantage_and_return(*x, torch.ones(1, len(mask)), gamma, lam)
    return (whole[0]*torch.tensor(mask)).tolist()

# %% wrong check_turn_advantages: the loop still runs through them
def my_turn_advantages(rewards, values, mask, gamma, lam):
    rewards = [r*m for r, m in zip(rewards, mask)]
    values = [v*m for v, m in zip(values, mask)]
    out, running, following = [], 0.0, 0.0
    for r, v, m in list(zip(rewards, values, mask))[::-1]:
        running = r + gamma*following - v + gamma*lam*running
        following = v
        out.append(running*m)
    return out[::-1]

# %% wrong check_turn_advantages: takes its share of γλ
def my_turn_advantages(rewards, values, mask, gamma, lam):
    out, running, following = [0.0]*len(mask), 0.0, 0.0
    for t in reversed(range(len(mask))):
        running *= gamma*lam
        if mask[t]:
            running += rewards[t] + gamma*following - values[t]
            following = values[t]
            out[t] = running
    return out

# %% wrong check_turn_advantages: returns, with the value added
def my_turn_advantages(rewards, values, mask, gamma, lam):
    rows = [torch.tensor([x]).float() for x in (rewards, values)]
    return advantages_across_turns(*rows, torch.tensor([mask]), gamma, lam)[1][0]

# %% wrong check_turn_advantages: advantages of sampled tokens alone
def my_turn_advantages(rewards, values, mask, gamma, lam):
    kept = [(r, v) for r, v, m in zip(rewards, values, mask) if m]
    out, a, following = [], 0.0, 0.0
    for r, v in reversed(kept):
        a = r + gamma*following - v + gamma*lam*a
        following = v
        out.insert(0, a)
    return out

# %% wrong check_turn_advantages: nothing is returned
def my_turn_advantages(rewards, values, mask, gamma, lam):
    advantages = [0.0]*len(mask)
    for t in reversed(range(len(mask))):
        advantages[t] = rewards[t] - values[t]

# %% right check_turn_advantages
def my_turn_advantages(rewards, values, mask, gamma, lam):
    rows = [torch.tensor([x]).float() for x in (rewards, values)]
    return advantages_across_turns(*rows, torch.tensor([mask]), gamma, lam)[0][0]

# %% right check_turn_advantages
# sampled places first, then as in lesson 5
def my_turn_advantages(rewards, values, mask, gamma, lam):
    places = [t for t, m in enumerate(mask) if m]
    out, a = [0]*len(mask), 0
    for k in range(len(places))[::-1]:
        t = places[k]
        following = values[places[k + 1]] if k + 1 < len(places) else 0
        a = rewards[t] + gamma*following - values[t] + gamma*lam*a
        out[t] = a
    return out

# %% right check_turn_advantages
# the sum of all later surprises, written out
def my_turn_advantages(rewards, values, mask, gamma, lam):
    r, v, m = (np.array(x, dtype=float) for x in (rewards, values, mask))
    at = np.flatnonzero(m)
    deltas = r[at] + gamma*np.append(v[at][1:], 0)[:len(at)] - v[at]
    out = np.zeros(len(m))
    for k, t in enumerate(at):
        out[t] = sum((gamma*lam)**j*d for j, d in enumerate(deltas[k:]))
    return out

# %% wrong check_keep_newest: is taken for one at the beginning
def my_keep_newest(messages, tokens_of, room):
    system = [m for m in messages if m['role'] == 'system']
    rest = [m for m in messages if m['role'] != 'system']
    while rest and (rest[0]['role'] != 'user' or tokens_of(system + rest) > room):
        rest = rest[1:]
    if not rest:
        raise ValueError('too long')
    return system + rest

# %% wrong check_keep_newest: may begin with a system message further on
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
