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
