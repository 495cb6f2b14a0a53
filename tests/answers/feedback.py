# Answers to the exercises of lesson 9, as readers write them. Each begins with a line that says
# what it is: `# %% wrong CHECK: words that its verdict must hold`, or `# %% right CHECK`.

# %% wrong ask_empty_agreement: eight at least
answer = (['left', 'right']*5, ['left']*10)

# %% wrong ask_empty_agreement: kappa is 1
answer = (['left']*9 + ['right'], ['left']*9 + ['right'])

# %% wrong ask_empty_agreement: 0/0
answer = (['left']*10, ['left']*10)

# %% wrong ask_empty_agreement: kappa is 0.60
answer = (['left', 'right']*5, ['left', 'right']*4 + ['right', 'left'])

# %% wrong ask_empty_agreement: kappa is 0.74
answer = (['left']*8 + ['right']*2, ['left']*7 + ['right']*3)

# %% wrong ask_empty_agreement: there are ten pairs
answer = (['left']*4 + ['right'], ['right'] + ['left']*4)

# %% wrong ask_empty_agreement: only 'left' and 'right' are used
answer = (['left']*9 + ['tie'], ['tie'] + ['left']*9)

# %% wrong ask_empty_agreement: must be a list of choices
answer = ('left', 'right')

# %% wrong ask_empty_agreement: only 'left' and 'right' are used
answer = ([1]*9 + [0], [0] + [1]*9)

# %% wrong ask_empty_agreement: must be a list of choices
answer = (0.8, 0.8)

# %% right ask_empty_agreement
answer = (['left']*9 + ['right'], ['right'] + ['left']*9)

# %% right ask_empty_agreement
answer = (['right']*10, ('right', 'left') + ('right',)*8)

# %% right ask_empty_agreement
answer = (np.array(['left']*8 + ['left', 'right']), pd.Series(['right'] + ['left']*9))

# %% wrong check_redo: survives a new label
def my_redo(records):
    standing, undone = [], []
    for record in records:
        if record.get('undo'):
            if standing:
                undone.append(standing.pop())
        elif record.get('redo'):
            if undone:
                standing.append(undone.pop())
        else:
            standing.append(record)
    return standing

# %% wrong check_redo: only one label can be brought back
def my_redo(records):
    standing, last = [], None
    for record in records:
        if 'undo' in record:
            last = standing.pop() if standing else last
        elif 'redo' in record:
            if last is not None:
                standing.append(last)
                last = None
        else:
            standing.append(record)
            last = None
    return standing

# %% wrong check_redo: again and again
def my_redo(records):
    standing, undone = [], []
    for record in records:
        if 'undo' in record and standing:
            undone.append(standing.pop())
        elif 'redo' in record and undone:
            standing.append(undone[-1])
        elif 'choice' in record:
            standing.append(record)
            undone = []
    return standing

# %% wrong check_redo: taken back first
def my_redo(records):
    standing, undone = [], []
    for record in records:
        if 'undo' in record:
            if standing:
                undone.append(standing.pop())
        elif 'redo' in record:
            if undone:
                standing.append(undone.pop(0))
        else:
            standing.append(record)
            undone.clear()
    return standing

# %% wrong check_redo: an undo may come when no label stands
def my_redo(records):
    standing, undone = [], []
    for record in records:
        if 'undo' in record:
            undone.append(standing.pop())
        elif 'redo' in record:
            if undone:
                standing.append(undone.pop())
        else:
            standing.append(record)
            undone = []
    return standing

# %% wrong check_redo: a redo may come when nothing was taken back
def my_redo(records):
    standing, undone = [], []
    for record in records:
        if 'undo' in record:
            if standing:
                undone.append(standing.pop())
        elif 'redo' in record:
            standing.append(undone.pop())
        else:
            standing.append(record)
            undone = []
    return standing

# %% wrong check_redo: a redo does nothing
def my_redo(records):
    standing = []
    for record in records:
        if 'undo' in record:
            standing = standing[:-1]
        elif 'choice' in record:
            standing.append(record)
    return standing

# %% wrong check_redo: only the choices
def my_redo(records):
    standing, undone = [], []
    for record in records:
        if 'undo' in record:
            if standing:
                undone.append(standing.pop())
        elif 'redo' in record:
            if undone:
                standing.append(undone.pop())
        else:
            standing.append(record['choice'])
            undone = []
    return standing

# %% wrong check_redo: a skip
def my_redo(records):
    standing, undone = [], []
    for record in records:
        if 'undo' in record:
            if standing:
                undone.append(standing.pop())
        elif 'redo' in record:
            if undone:
                standing.append(undone.pop())
        elif record['choice'] != 'skip':
            standing.append(record)
            undone = []
    return standing

# %% wrong check_redo: the log that was handed over is changed
def my_redo(records):
    standing, undone = [], []
    while len(records):
        record = records.pop(0)
        if 'undo' in record:
            if standing:
                undone.append(standing.pop())
        elif 'redo' in record:
            if undone:
                standing.append(undone.pop())
        else:
            standing.append(record)
            undone = []
    return standing

# %% wrong check_redo: undo and redo are left out of account
def my_redo(records):
    return [record for record in records if 'choice' in record]

# %% right check_redo
def my_redo(records):
    labels, n = [], 0  # the first n of these stand
    for record in records:
        if 'undo' in record:
            n = max(0, n - 1)
        elif 'redo' in record:
            n = min(len(labels), n + 1)
        else:
            labels = labels[:n] + [record]
            n += 1
    return labels[:n]

# %% right check_redo
def my_redo(records):
    standing, undone = (), ()
    for record in records:
        match record:
            case {'undo': True}:
                standing, undone = standing[:-1], undone + standing[-1:]
            case {'redo': True}:
                standing, undone = standing + undone[-1:], undone[:-1]
            case _:
                standing, undone = standing + (record,), ()
    return standing

# %% right check_redo
def my_redo(records):
    def state(i):
        if i == 0:
            return [], []
        standing, undone = state(i - 1)
        record = records[i - 1]
        if 'choice' in record:
            return standing + [record], []
        if 'undo' in record:
            return standing[:-1], standing[-1:] + undone
        return standing + undone[:1], undone[1:]
    yield from state(len(records))[0]

# %% wrong check_unread_share: the unread ones are still in it
def my_unread_share(a_left, a_won):
    a_left, a_won = a_left.bool(), a_won.float()
    u = a_won[a_left].mean() - a_won[~a_left].mean()
    return u.item(), a_won.mean().item()

# %% wrong check_unread_share: not divided by
def my_unread_share(a_left, a_won):
    a_left, a_won = a_left.bool(), a_won.float()
    L, R = a_won[a_left].mean(), a_won[~a_left].mean()
    return L - R, R

# %% wrong check_unread_share: integers as an index
def my_unread_share(a_left, a_won):
    L, R = a_won[a_left].float().mean(), a_won[~a_left].float().mean()
    u = L - R
    return u, R/(1 - u)

# %% wrong check_unread_share: share of left presses
def my_unread_share(a_left, a_won):
    pressed_left = (a_left == a_won).float().mean()
    u = 2*pressed_left - 1
    R = a_won[a_left == 0].float().mean()
    return u, R/(1 - u)

# %% wrong check_unread_share: held at 0
def my_unread_share(a_left, a_won):
    L, R = a_won[a_left == 1].double().mean(), a_won[a_left == 0].double().mean()
    u = (L - R).clamp(min=0)
    return u, R/(1 - u)

# %% wrong check_unread_share: other order
def my_unread_share(a_left, a_won):
    L, R = a_won[a_left == 1].double().mean(), a_won[a_left == 0].double().mean()
    return R/(1 - L + R), L - R

# %% wrong check_unread_share: divide by the clicks with a on that side
def my_unread_share(a_left, a_won):
    n = len(a_left)
    L = (a_left*a_won).sum()/n
    R = ((1 - a_left)*a_won).sum()/n
    return L - R, R/(1 - (L - R))

# %% wrong check_unread_share: wrong sign
def my_unread_share(a_left, a_won):
    L, R = a_won[a_left == 1].double().mean(), a_won[a_left == 0].double().mean()
    u = R - L
    return u, R/(1 - u)

# %% wrong check_unread_share: still count for half a win
def my_unread_share(a_left, a_won):
    L, R = a_won[a_left == 1].double().mean(), a_won[a_left == 0].double().mean()
    return L - R, (L + R)/2

# %% wrong check_unread_share: mean(): could not infer output dtype
def my_unread_share(a_left, a_won):
    L, R = a_won[a_left == 1].mean(), a_won[a_left == 0].mean()
    return L - R, R/(1 - L + R)

# %% wrong check_unread_share: only u
def my_unread_share(a_left, a_won):
    return a_won[a_left == 1].double().mean() - a_won[a_left == 0].double().mean()

# %% right check_unread_share
def my_unread_share(a_left, a_won):
    a_left, a_won = a_left.numpy(), a_won.numpy()
    L, R = np.average(a_won, weights=a_left), np.average(a_won, weights=1 - a_left)
    return np.array([L - R, R/(1 - (L - R))])

# %% right check_unread_share
def my_unread_share(a_left, a_won):
    x = torch.stack([torch.ones(len(a_left)), a_left.float()], 1)
    R, u = torch.linalg.lstsq(x, a_won.float()[:, None]).solution[:, 0]
    return u, R/(1 - u)

# %% right check_unread_share
def my_unread_share(a_left, a_won):
    wins, n = [0, 0], [0, 0]
    for side, won in zip(a_left.tolist(), a_won.tolist()):
        wins[side] += won
        n[side] += 1
    yield wins[1]/n[1] - wins[0]/n[0]
    lost_left = 1 - wins[1]/n[1]  # only what was read is lost there
    yield wins[0]/n[0]/(lost_left + wins[0]/n[0])

# %% right check_unread_share
def my_unread_share(a_left, a_won):
    table = pd.DataFrame({'left': a_left, 'won': a_won}).groupby('left').won.mean()
    u = table[1] - table[0]
    return {'u': u, 's': table[0]/(1 - u)}.values().__iter__()

# %% wrong check_disagreement: toss-up for all models
def my_disagreement(gaps):
    p = gaps.sigmoid().mean(0)
    return torch.special.entr(p) + torch.special.entr(1 - p)

# %% wrong check_disagreement: how unsure the models are
def my_disagreement(gaps):
    return torch.distributions.Bernoulli(logits=gaps).entropy().mean(0)

# %% wrong check_disagreement: variance of the probabilities
def my_disagreement(gaps):
    return torch.sigmoid(gaps).var(0)

# %% wrong check_disagreement: no number (nan)
def my_disagreement(gaps):
    def H(p):
        return -p*torch.log(p) - (1 - p)*torch.log(1 - p)
    p = torch.sigmoid(gaps)
    return H(p.mean(0)) - H(p).mean(0)

# %% wrong check_disagreement: over the models they are asked for
def my_disagreement(gaps):
    p = torch.sigmoid(gaps)
    H = torch.special.entr(p) + torch.special.entr(1 - p)
    mean = p.mean(1)
    return torch.special.entr(mean) + torch.special.entr(1 - mean) - H.mean(1)

# %% wrong check_disagreement: in bits
def my_disagreement(gaps):
    p = torch.sigmoid(gaps.double())
    mean = p.mean(0)

    def bits(p):
        return -(p*(p + 1e-30).log2() + (1 - p)*(1 - p + 1e-30).log2())
    return bits(mean) - bits(p).mean(0)

# %% wrong check_disagreement: is only one of them
def my_disagreement(gaps):
    p = torch.sigmoid(gaps)
    return torch.special.entr(p.mean(0)) - torch.special.entr(p).mean(0)

# %% wrong check_disagreement: averaged and not the probabilities
def my_disagreement(gaps):
    def entropy(p):
        return torch.special.entr(p) + torch.special.entr(1 - p)
    return entropy(torch.sigmoid(gaps.mean(0))) - entropy(torch.sigmoid(gaps)).mean(0)

# %% wrong check_disagreement: take their mean
def my_disagreement(gaps):
    p = torch.sigmoid(gaps)
    total = torch.special.entr(p.mean(0)) + torch.special.entr(1 - p.mean(0))
    for q in p:
        total = total - torch.special.entr(q) - torch.special.entr(1 - q)
    return total

# %% wrong check_disagreement: changed in place
def my_disagreement(gaps):
    p = gaps.sigmoid_()
    mean = p.mean(0)
    H = torch.special.entr(mean) + torch.special.entr(1 - mean)
    return H - (torch.special.entr(p) + torch.special.entr(1 - p)).mean(0)

# %% wrong check_disagreement: one for each pair
def my_disagreement(gaps):
    def entropy(p):
        return torch.special.entr(p) + torch.special.entr(1 - p)
    p = torch.sigmoid(gaps)
    return (entropy(p.mean(0)) - entropy(p).mean(0)).mean()

# %% wrong check_disagreement: use a smaller one
def my_disagreement(gaps):
    p = torch.sigmoid(gaps).clamp(0.01, 0.99)
    mean = p.mean(0)
    H = torch.special.entr(mean) + torch.special.entr(1 - mean)
    return H - (torch.special.entr(p) + torch.special.entr(1 - p)).mean(0)

# %% right check_disagreement
def my_disagreement(gaps):
    p = gaps.numpy().astype(float)
    p = 1/(1 + np.exp(-p))

    def entropy(p):
        p = np.clip(p, 1e-12, 1 - 1e-12)
        return -p*np.log(p) - (1 - p)*np.log1p(-p)
    return entropy(p.mean(axis=0)) - entropy(p).mean(axis=0)

# %% right check_disagreement
def my_disagreement(gaps):
    each = torch.distributions.Bernoulli(logits=gaps)
    mean = torch.distributions.Bernoulli(probs=each.probs.mean(0))
    return mean.entropy() - each.entropy().mean(0)

# %% right check_disagreement
def my_disagreement(gaps):
    p = torch.stack([gaps.sigmoid(), (-gaps).sigmoid()])
    mean = p.mean(1, keepdim=True)
    return torch.special.rel_entr(p, mean).sum(0).mean(0) if hasattr(torch.special, 'rel_entr') \
        else (torch.xlogy(p, p) - torch.xlogy(p, mean)).sum(0).mean(0)

# %% right check_disagreement
def my_disagreement(gaps):
    p = torch.sigmoid(gaps)
    soft = F.binary_cross_entropy_with_logits(gaps, p, reduction='none')
    mean = p.mean(0)
    for n in range(gaps.shape[1]):
        yield F.binary_cross_entropy(mean[n], mean[n]) - soft[:, n].mean()

# %% wrong check_redo: falls through
def my_redo(records):
    labels, taken_back = [], []
    for record in records:
        if record.get('undo') and len(labels) > 0:
            taken_back.append(labels.pop())
        elif record.get('redo') and len(taken_back) > 0:
            labels.append(taken_back.pop())
        else:
            labels.append(record)
            taken_back = []
    return labels

# %% wrong check_redo: cut them off
def my_redo(records):
    labels, end = [], 0
    for record in records:
        if 'undo' in record:
            end = max(end - 1, 0)
        elif 'redo' in record:
            end = min(end + 1, len(labels))
        else:
            labels.append(record)
            end += 1
    return labels[:end]

# %% wrong check_redo: in front
def my_redo(records):
    standing, undone = [], []
    for record in records:
        if 'undo' in record:
            undone = standing[-1:] + undone
            standing = standing[:-1]
        elif 'redo' in record:
            standing = undone[:1] + standing
            undone = undone[1:]
        else:
            standing = standing + [record]
            undone = []
    return standing

# %% wrong check_redo: equal to the last one
def my_redo(records):
    standing, undone = [], []
    for record in records:
        if 'undo' in record and standing:
            last = standing[-1]
            standing.remove(last)
            undone.append(last)
        elif 'redo' in record and undone:
            standing.append(undone.pop())
        elif 'choice' in record:
            standing.append(record)
            undone.clear()
    return standing

# %% wrong check_redo: KeyError
def my_redo(records):
    standing, undone = [], []
    for record in records:
        if record['undo']:
            undone.append(standing.pop())
        elif record['redo']:
            standing.append(undone.pop())
        else:
            standing.append(record)
            undone = []
    return standing

# %% right check_unread_share
def my_unread_share(a_left, a_won):
    P, won = a_left.double().mean(), a_won.double().mean()
    u = (a_left*a_won).sum()/a_left.sum() - ((1 - a_left)*a_won).sum()/(1 - a_left).sum()
    return torch.stack([u, (won - P*u)/(1 - u)])

# %% wrong check_unread_share: all unread clicks for wins
def my_unread_share(a_left, a_won):
    u = a_won[a_left == 1].double().mean() - a_won[a_left == 0].double().mean()
    return u, (a_won.double().mean() - u)/(1 - u)

# %% wrong check_unread_share: share for b
def my_unread_share(a_left, a_won):
    lost_right = 1 - a_won[a_left == 0].double().mean()
    won_left = a_won[a_left == 1].double().mean()
    u = won_left - (1 - lost_right)
    return u, 1 - (1 - lost_right)/(1 - u)

# %% wrong check_unread_share: takes off half of u
def my_unread_share(a_left, a_won):
    u = a_won[a_left == 1].double().mean() - a_won[a_left == 0].double().mean()
    return u, (a_won.double().mean() - u/2)/(1 - u)

# %% wrong check_unread_share: wrong way round
def my_unread_share(a_left, a_won):
    L = a_left[a_won == 1].double().mean()
    R = a_left[a_won == 0].double().mean()
    u = L - R
    return u, R/(1 - u)

# %% wrong check_disagreement: another measure
def my_disagreement(gaps):
    p = gaps.sigmoid()
    return p.max(0).values - p.min(0).values

# %% wrong check_disagreement: only the votes
def my_disagreement(gaps):
    share = (gaps > 0).float().mean(0)
    return torch.special.entr(share) + torch.special.entr(1 - share)

# %% wrong check_disagreement: places of pairs
def my_disagreement(gaps):
    each = torch.distributions.Bernoulli(logits=gaps).entropy().mean(0)
    mean = torch.distributions.Bernoulli(probs=gaps.sigmoid().mean(0)).entropy()
    return (mean - each).argsort(descending=True)

# %% wrong check_disagreement: wrong way round
def my_disagreement(gaps):
    each = torch.distributions.Bernoulli(logits=gaps).entropy().mean(0)
    mean = torch.distributions.Bernoulli(probs=gaps.sigmoid().mean(0)).entropy()
    return each - mean

# %% wrong check_disagreement: softmax over the models
def my_disagreement(gaps):
    p = gaps.softmax(dim=0)
    H = torch.special.entr(p) + torch.special.entr(1 - p)
    mean = p.mean(0)
    return torch.special.entr(mean) + torch.special.entr(1 - mean) - H.mean(0)

# %% wrong ask_empty_agreement: both always say the same, so that chance alone gives an
# both always left, κ is 0/0
answer = (['left']*10, ['left']*10)

# %% wrong ask_empty_agreement: they agree on 8 of ten, 0.50 of all is expected by chance
# both half and half, eight agree, κ is 0.6
answer = (['left']*5 + ['right']*5, ['left']*4 + ['right'] + ['left'] + ['right']*4)

# %% wrong ask_empty_agreement: they agree on 6 of ten pairs, and eight at least are asked
# κ below 0, but they agree on six only
answer = (['left']*8 + ['right']*2, ['right']*2 + ['left']*8)

# %% wrong ask_empty_agreement: they agree on 0 of ten pairs, and eight at least are asked
# nobody agrees, opposite choices
answer = (['left', 'right']*5, ['right', 'left']*5)

# %% wrong ask_empty_agreement: they agree on 9 of ten, 0.74 of all is expected by chance
# the rare right falls on the same pair once, κ is 0.62
answer = (['left']*9 + ['right'], ['left']*8 + ['right']*2)

# %% wrong ask_empty_agreement: `one` has 9 choices, and there are ten pairs
# nine choices
answer = (['left']*8 + ['right'], ['right'] + ['left']*8)

# %% wrong ask_empty_agreement: `one` holds 'L': only 'left' and 'right' are used
# letters in place of the words left and right
answer = (list('LLLLLLLLLR'), list('RLLLLLLLLL'))

# %% wrong ask_empty_agreement: `one` holds '0': only 'left' and 'right' are used
# ones and zeros
answer = ([1]*9 + [0], [0] + [1]*9)

# %% wrong ask_empty_agreement: `other` holds 'same': only 'left' and 'right' are used
# a tie as a third choice, of which the formula knows nothing
answer = (['left']*10, ['left']*9 + ['same'])

# %% wrong ask_empty_agreement: `one` must be a list of choices, such as ['left', 'right'
# the shares p_o and p_e in place of the choices
answer = (0.8, 0.82)

# %% right ask_empty_agreement
# one of them never chose right, κ is exactly 0
answer = (['left']*10, ['left']*8 + ['right']*2)

# %% right ask_empty_agreement
# mostly right, tuples
answer = (('right',)*9 + ('left',), ('left',) + ('right',)*9)

# %% right ask_empty_agreement
# numpy arrays of strings, the disagreement in the middle
one = np.array(['left']*10)
other = one.copy()
one = np.where(np.arange(10) == 4, 'right', one)
other = np.where(np.arange(10) == 6, 'right', other)
answer = (one, other)

# %% wrong check_redo: what was taken back survives a new label: after one there
# a new label does not empty the heap
def my_redo(records):
    stands, gone = [], []
    for r in records:
        if 'undo' in r:
            if stands:
                gone.append(stands.pop())
        elif 'redo' in r:
            if gone:
                stands.append(gone.pop())
        else:
            stands.append(r)
    return stands

# %% wrong check_redo: a redo brings back the label that was taken back first, and
# brings back the label that was taken back first
def my_redo(records):
    stands, gone = [], []
    for r in records:
        if r.get('undo'):
            if stands:
                gone.append(stands.pop())
        elif r.get('redo'):
            if gone:
                stands.append(gone.pop(0))
        else:
            stands.append(r)
            gone = []
    return stands

# %% wrong check_redo: only one label can be brought back: after two undos two
# remembers a single label that was taken back
def my_redo(records):
    stands, last = [], None
    for r in records:
        if r.get('undo'):
            if stands:
                last = stands.pop()
        elif r.get('redo'):
            if last is not None:
                stands.append(last)
                last = None
        else:
            stands.append(r)
            last = None
    return stands

# %% wrong check_redo: it ends in IndexError: pop from empty list. The case: an
# IndexError where nothing is to take or to bring back
def my_redo(records):
    stands, gone = [], []
    for r in records:
        if 'undo' in r:
            gone.append(stands.pop())
        elif 'redo' in r:
            stands.append(gone.pop())
        else:
            stands.append(r)
            gone.clear()
    return stands

# %% wrong check_redo: an undo takes back the first label that is equal to the
# list.remove takes back the first of equal labels
def my_redo(records):
    stands, gone = [], []
    for r in records:
        if r.get('undo'):
            if stands:
                last = stands[-1]
                stands.remove(last)
                gone.append(last)
        elif r.get('redo'):
            if gone:
                stands.append(gone.pop())
        else:
            stands.append(r)
            gone = []
    return stands

# %% wrong check_redo: the log that was handed over is changed: read it, and leave
# eats up the records
def my_redo(records):
    stands, gone = [], []
    while records:
        r = records.pop(0)
        if 'undo' in r:
            if stands:
                gone.append(stands.pop())
        elif 'redo' in r:
            if gone:
                stands.append(gone.pop())
        else:
            stands.append(r)
            gone = []
    return stands

# %% wrong check_redo: a label that comes back stands in front: it belongs at the
# a label is brought back to the front
def my_redo(records):
    stands, gone = [], []
    for r in records:
        if 'undo' in r:
            if stands:
                gone.append(stands.pop())
        elif 'redo' in r:
            if gone:
                stands.insert(0, gone.pop())
        else:
            stands.append(r)
            gone = []
    return stands

# %% wrong check_redo: an undo that finds no label takes back None
# an undo of nothing puts None on the heap, the redo brings it back
def my_redo(records):
    stands, gone = [], []
    for r in records:
        if 'undo' in r:
            gone.append(stands.pop() if stands else None)
        elif 'redo' in r:
            if gone:
                stands.append(gone.pop())
        else:
            stands.append(r)
            gone = []
    return stands

# %% wrong check_redo: only one label can be brought back: after two undos two
# a redo empties the whole heap, a second one finds nothing
def my_redo(records):
    stands, gone = [], []
    for r in records:
        if 'undo' in r:
            if stands:
                gone.append(stands.pop())
            continue
        if 'redo' in r:
            if not gone:
                continue
            r = gone.pop()
        stands.append(r)
        gone = []
    return stands

# %% wrong check_redo: the redo brings back the label that was taken back
# after an undo the redo looks only at the record just before it
def my_redo(records):
    stands = []
    for i, r in enumerate(records):
        if r.get('undo'):
            stands = stands[:-1]
        elif r.get('redo'):
            if i >= 2 and records[i - 1].get('undo') and 'choice' in records[i - 2]:
                stands = stands + [records[i - 2]]
        else:
            stands = stands + [r]
    return stands

# %% wrong check_redo: without undo and redo every label stands, a tie and a skip
# skips are taken for no labels
def my_redo(records):
    stands, gone = [], []
    for r in records:
        if 'undo' in r:
            if stands:
                gone.append(stands.pop())
        elif 'redo' in r:
            if gone:
                stands.append(gone.pop())
        elif r['choice'] in ('left', 'right'):
            stands.append(r)
            gone = []
    return stands

# %% right check_redo
# one list and a cursor, nothing is popped
def my_redo(records):
    labels, n = [], 0
    for r in records:
        if 'undo' in r:
            n = max(n - 1, 0)
        elif 'redo' in r:
            n = min(n + 1, len(labels))
        else:
            labels[n:] = [r]
            n += 1
    return labels[:n]

# %% right check_redo
# a fold over linked pairs
from functools import reduce

def my_redo(records):
    def step(state, r):
        stands, gone = state
        if r.get('undo'):
            return (stands[:-1], stands[-1:] + gone)
        if r.get('redo'):
            return (stands + gone[:1], gone[1:])
        return (stands + (r,), ())
    return list(reduce(step, records, ((), ()))[0])

# %% right check_redo
# works on deep copies, a match of the keys, index numbers on the heap
def my_redo(records):
    records = copy.deepcopy(list(records))
    stands, gone = [], []
    for i, r in enumerate(records):
        kinds = {'undo', 'redo'} & r.keys()
        if not kinds:
            stands, gone = stands + [i], []
        else:
            source, target = (stands, gone) if 'undo' in kinds else (gone, stands)
            target.extend([source.pop()] if source else [])
    return [records[i] for i in stands]

# %% wrong check_unread_share: s is not divided by the share of clicks that were read, 1 -
# s is the share of wins on the right, not divided by 1 − u
def my_unread_share(a_left, a_won):
    left = a_left.bool()
    win_left, win_right = a_won[left].float().mean(), a_won[~left].float().mean()
    return (win_left - win_right).item(), win_right.item()

# %% wrong check_unread_share: u has the wrong sign: unread clicks make a win more often
# u with the wrong sign
def my_unread_share(a_left, a_won):
    left = a_left.bool()
    win_left, win_right = a_won[left].double().mean(), a_won[~left].double().mean()
    u = win_right - win_left
    return u.item(), (win_right/(1 - u)).item()

# %% wrong check_unread_share: u is held at 0 or above, and by chance it may lie below
# cut off at 0
def my_unread_share(a_left, a_won):
    left = a_left.bool()
    win_left, win_right = a_won[left].double().mean(), a_won[~left].double().mean()
    u = max(0.0, (win_left - win_right).item())
    return u, win_right.item()/(1 - u)

# %% wrong check_unread_share: the two shares are of all clicks: divide by the clicks with
# shares of all clicks, not of those on a side
def my_unread_share(a_left, a_won):
    n = len(a_left)
    win_left = (a_left*a_won).sum().item()/n
    win_right = ((1 - a_left)*a_won).sum().item()/n
    u = win_left - win_right
    return u, win_right/(1 - u)

# %% wrong check_unread_share: s takes off half of u, as if a stood on the left as often
# s from all wins, as if both sides were equally often
def my_unread_share(a_left, a_won):
    left = a_left == 1
    win_left, win_right = a_won[left].double().mean(), a_won[~left].double().mean()
    u = win_left - win_right
    s = (a_won.double().mean() - u/2)/(1 - u)
    return u.item(), s.item()

# %% wrong check_unread_share: integers as an index pick places: make a mask with `a_left
# integers as an index, not as a mask
def my_unread_share(a_left, a_won):
    win_left = a_won[a_left].double().mean()
    win_right = a_won[1 - a_left].double().mean()
    u = win_left - win_right
    return u.item(), (win_right/(1 - u)).item()

# %% wrong check_unread_share: s is made of the wins on the left, among which are the
# s solved from the wins on the left as if nobody pressed blindly there
def my_unread_share(a_left, a_won):
    left = a_left.bool()
    win_left, win_right = a_won[left].double().mean(), a_won[~left].double().mean()
    u = win_left - win_right
    return float(u), float(win_left/(1 - u))

# %% wrong check_unread_share: u comes from the share of left presses, which holds only
# u from the share of left clicks, as if a fair reader pressed left half the time
def my_unread_share(a_left, a_won):
    pressed_left = (a_left == a_won).double().mean()
    u = 2*pressed_left - 1
    win_right = a_won[a_left == 0].double().mean()
    return u.item(), (win_right/(1 - u)).item()

# %% wrong check_unread_share: it ends in RuntimeError: mean(): could not infer output
# integers, mean of a long tensor
def my_unread_share(a_left, a_won):
    win_left = a_won[a_left == 1].mean()
    win_right = a_won[a_left == 0].mean()
    u = win_left - win_right
    return u, win_right/(1 - u)

# %% wrong check_unread_share: the two numbers come in the other order: u first, then s
# s and u in the wrong order
def my_unread_share(a_left, a_won):
    win_left = a_won[a_left == 1].double().mean().item()
    win_right = a_won[a_left == 0].double().mean().item()
    u = win_left - win_right
    return win_right/(1 - u), u

# %% wrong check_unread_share: what is returned is not made of numbers. The case: even
# returns a dict
def my_unread_share(a_left, a_won):
    win_left = a_won[a_left == 1].double().mean().item()
    win_right = a_won[a_left == 0].double().mean().item()
    u = win_left - win_right
    return {'u': u, 's': win_right/(1 - u)}

# %% right check_unread_share
# fractions of whole numbers, counted in a loop
from fractions import Fraction

def my_unread_share(a_left, a_won):
    counts = {0: [0, 0], 1: [0, 0]}
    for l, w in zip(a_left.tolist(), a_won.tolist()):
        counts[l][0] += w
        counts[l][1] += 1
    right, left = Fraction(*counts[0]), Fraction(*counts[1])
    u = left - right
    return float(u), float(right/(1 - u))

# %% right check_unread_share
# a straight line fitted with least squares, its slope is u
def my_unread_share(a_left, a_won):
    x, y = a_left.numpy().astype(float), a_won.numpy().astype(float)
    A = np.stack([x, np.ones_like(x)], axis=1)
    u, read_and_won = np.linalg.lstsq(A, y, rcond=None)[0]
    return [u, read_and_won/(1 - u)]

# %% right check_unread_share
# a group-by of pandas, 1 − u from the losses, numpy numbers
def my_unread_share(a_left, a_won):
    share = pd.DataFrame({'left': a_left.tolist(), 'won': a_won.tolist()}).groupby('left').won.mean()
    read = (1 - share[1]) + share[0]
    return 1 - read, share[0]/read

# %% wrong check_disagreement: where a model is certain, 0 times log 0 is no number (nan)
# NaN at gaps of ±200
def my_disagreement(gaps):
    def H(p):
        return -p*p.log() - (1 - p)*(1 - p).log()
    p = gaps.sigmoid()
    return H(p.mean(0)) - H(p).mean(0)

# %% wrong check_disagreement: the whole difference becomes 0 where one term is nan: only
# all that is NaN becomes 0, the firmest dispute too
def my_disagreement(gaps):
    def H(p):
        return -p*p.log() - (1 - p)*(1 - p).log()
    p = gaps.sigmoid()
    return torch.nan_to_num(H(p.mean(0)) - H(p).mean(0), nan=0.0)

# %% wrong check_disagreement: the gaps are averaged and not the probabilities: one large
# the sigmoid of the mean gap
def my_disagreement(gaps):
    def H(p):
        return torch.special.entr(p) + torch.special.entr(1 - p)
    return H(gaps.mean(0).sigmoid()) - H(gaps.sigmoid()).mean(0)

# %% wrong check_disagreement: the means run over the pairs (dimension 1), and over the
# averages over the pairs, not the models
def my_disagreement(gaps):
    def H(p):
        return torch.special.entr(p) + torch.special.entr(1 - p)
    p = gaps.double().sigmoid()
    return H(p.mean(1)) - H(p).mean(1)

# %% wrong check_disagreement: it is in bits: take the natural logarithm
# bits instead of nats
def my_disagreement(gaps):
    def H(p):
        return (torch.special.entr(p) + torch.special.entr(1 - p))/math.log(2)
    p = gaps.double().sigmoid()
    return H(p.mean(0)) - H(p).mean(0)

# %% wrong check_disagreement: the sign is the wrong way round: take the mean of the
# the sign turned round
def my_disagreement(gaps):
    def H(p):
        return torch.special.entr(p) + torch.special.entr(1 - p)
    p = gaps.double().sigmoid()
    return H(p).mean(0) - H(p.mean(0))

# %% wrong check_disagreement: an entropy has two terms, and -p log p is only one of them
# only the half −p log p
def my_disagreement(gaps):
    p = gaps.double().sigmoid()
    return torch.special.entr(p.mean(0)) - torch.special.entr(p).mean(0)

# %% wrong check_disagreement: only the entropy of the mean probability: a pair that is a
# total uncertainty, the mean H not taken off, so that a toss-up scores highest
def my_disagreement(gaps):
    p = gaps.double().sigmoid().mean(0)
    return torch.special.entr(p) + torch.special.entr(1 - p)

# %% wrong check_disagreement: this is the variance of the probabilities (divided by K)
# the variance of p, another measure of dispute
def my_disagreement(gaps):
    return gaps.double().sigmoid().var(0, unbiased=False)

# %% wrong check_disagreement: a toss-up for all is no disagreement, and neither is a gap
# two models only
def my_disagreement(gaps):
    def H(p):
        return torch.special.entr(p) + torch.special.entr(1 - p)
    p, q = gaps[0].sigmoid(), gaps[1].sigmoid()
    return H((p + q)/2) - (H(p) + H(q))/2

# %% wrong check_disagreement: a floor of 0.01 under the probabilities is felt: use a
# p kept within 0.01 and 0.99 against the NaN
def my_disagreement(gaps):
    def H(p):
        return -p*p.log() - (1 - p)*(1 - p).log()
    p = gaps.sigmoid().clamp(0.01, 0.99)
    return H(p.mean(0)) - H(p).mean(0)

# %% wrong check_disagreement: gaps are taken for probabilities (`torch.special.entr` of a
# the gaps are taken for p
def my_disagreement(gaps):
    def H(p):
        return torch.special.entr(p) + torch.special.entr(1 - p)
    return H(gaps.mean(0)) - H(gaps).mean(0)

# %% right check_disagreement
# mean divergence of each model from the mean of the models
def my_disagreement(gaps):
    p, q = torch.sigmoid(gaps.double()), torch.sigmoid(-gaps.double())
    pm, qm = p.mean(0, keepdim=True), q.mean(0, keepdim=True)
    kl = torch.xlogy(p, p) - torch.xlogy(p, pm) + torch.xlogy(q, q) - torch.xlogy(q, qm)
    return kl.mean(0)

# %% right check_disagreement
# the cross-entropy of p with itself
def my_disagreement(gaps):
    def H(p):
        return F.binary_cross_entropy(p, p, reduction='none')
    p = gaps.detach().double().sigmoid()
    return H(p.mean(0)) - H(p).mean(0)

# %% right check_disagreement
# number by number, math, a list made a tensor
def my_disagreement(gaps):
    def sigmoid(x):
        return 1/(1 + math.exp(-x)) if x >= 0 else math.exp(x)/(1 + math.exp(x))

    def H(p, q):
        return -sum(x*math.log(x) for x in (p, q) if x > 0)

    out = []
    for column in gaps.t().tolist():
        pairs = [(sigmoid(x), sigmoid(-x)) for x in column]
        mean_p = sum(p for p, _ in pairs)/len(pairs)
        mean_q = sum(q for _, q in pairs)/len(pairs)
        out.append(H(mean_p, mean_q) - sum(H(p, q) for p, q in pairs)/len(pairs))
    return torch.tensor(out)

# %% right check_disagreement
# logsigmoid for each model, numpy for the mean
def my_disagreement(gaps):
    g = gaps.double()
    p, q = g.sigmoid(), (-g).sigmoid()
    own = -(p*F.logsigmoid(g) + q*F.logsigmoid(-g)).mean(0)
    pm = p.mean(0).numpy()
    with np.errstate(all='ignore'):
        together = -(np.where(pm > 0, pm*np.log(pm), 0) + np.where(pm < 1, (1 - pm)*np.log1p(-pm), 0))
    return torch.from_numpy(together) - own

# %% wrong check_redo: an undo that finds no label empties what was taken back
def my_redo(records):
    standing, back = [], []
    for record in records:
        if 'undo' in record:
            back = back + [standing.pop()] if standing else []
        elif 'redo' in record:
            if back:
                standing.append(back.pop())
        else:
            standing.append(record)
            back = []
    return standing

# %% wrong ask_empty_agreement: let at least one of them name the other side
answer = (['left']*10, ['left']*10)

# %% wrong check_unread_share: where a stands on the left as often as on the right. With
def my_unread_share(a_left, a_won):
    on_left, on_right = a_won[a_left == 1].mean(), a_won[a_left == 0].mean()  # of integers
    return on_left - on_right, on_right/(1 - on_left + on_right)

# %% wrong check_unread_share: u comes from the share of left presses, and s is the share of all
def my_unread_share(a_left, a_won):
    pressed_left = a_left*a_won + (1 - a_left)*(1 - a_won)
    return 2*pressed_left.float().mean() - 1, a_won.float().mean()
