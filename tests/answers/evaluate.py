# Answers to the exercises of lesson 8, as readers write them. Each begins with a line that says
# what it is: `# %% wrong CHECK: words that its verdict must hold`, or `# %% right CHECK`.

# %% wrong check_both_orders: places as well
def my_both_orders(ours_first, theirs_first):
    verdicts = np.concatenate([ours_first, theirs_first])
    rate = (verdicts + 1).mean()/2
    return rate, rate

# %% wrong check_both_orders: a tie counts as lost
def my_both_orders(ours_first, theirs_first):
    n = len(ours_first)
    ours = sum(v == 1 for v in ours_first) + sum(v == -1 for v in theirs_first)
    first = sum(v == 1 for v in ours_first) + sum(v == 1 for v in theirs_first)
    return ours/(2*n), first/(2*n)

# %% wrong check_both_orders: left out
def my_both_orders(ours_first, theirs_first):
    ours = list(ours_first) + [-v for v in theirs_first]
    first = list(ours_first) + list(theirs_first)
    ours = [v == 1 for v in ours if v != 0]
    first = [v == 1 for v in first if v != 0]
    return sum(ours)/len(ours), sum(first)/len(first)

# %% wrong check_both_orders: turns the second order round
def my_both_orders(ours_first, theirs_first):
    won = (1 + ours_first)/2
    lost = (1 - theirs_first)/2
    rate = np.concatenate([won, lost]).mean()
    return rate, rate

# %% wrong check_both_orders: averaged as −1, 0 and 1
def my_both_orders(ours_first, theirs_first):
    return (np.mean(ours_first) - np.mean(theirs_first))/2, np.mean(
        np.concatenate([ours_first, theirs_first]))

# %% wrong check_both_orders: contradict
def my_both_orders(ours_first, theirs_first):
    win_rate = (0.5 + (ours_first - theirs_first)/4).mean()
    same_place = (ours_first == theirs_first) & (ours_first != 0)
    return win_rate, same_place.mean()

# %% wrong check_both_orders: changed places
def my_both_orders(ours_first, theirs_first):
    first = 0.5 + (ours_first.mean() + theirs_first.mean())/4
    ours = 0.5 + (ours_first.mean() - theirs_first.mean())/4
    return first, ours

# %% wrong check_both_orders: mean over the pairs is missing
def my_both_orders(ours_first, theirs_first):
    ours = ((ours_first + 1)/2 + (1 - theirs_first)/2)/2
    first = ((ours_first + 1)/2 + (theirs_first + 1)/2)/2
    return ours, first

# %% wrong check_both_orders: changed in place
def my_both_orders(ours_first, theirs_first):
    ours_first += theirs_first
    return 0.5, 0.5 + ours_first.mean()/4

# %% wrong check_both_orders: from one half
def my_both_orders(ours_first, theirs_first):
    ours = 0.5 + (ours_first - theirs_first).mean()/4
    bias = (ours_first + theirs_first).mean()/4
    return ours, bias

# %% right check_both_orders
def my_both_orders(ours_first, theirs_first):
    points = {1: 1.0, 0: 0.5, -1: 0.0}
    a = [points[int(v)] for v in ours_first]
    b = [points[int(v)] for v in theirs_first]
    n = 2*len(a)
    return [(sum(a) + len(b) - sum(b))/n, (sum(a) + sum(b))/n]

# %% right check_both_orders
def my_both_orders(ours_first, theirs_first):
    a, b = torch.tensor(ours_first).float(), torch.tensor(theirs_first).float()
    return torch.stack([(2 + a - b).mean()/4, (2 + a + b).mean()/4])

# %% right check_both_orders
def my_both_orders(ours_first, theirs_first):
    texts = pd.Series([*ours_first, *-theirs_first])
    places = pd.Series([*ours_first, *theirs_first])
    return tuple((s > 0).mean() + 0.5*(s == 0).mean() for s in (texts, places))

# %% wrong check_equal_length: over all pairs
def my_equal_length(won, ours, theirs, slack):
    return np.mean(won)

# %% wrong check_equal_length: thrown away
def my_equal_length(won, ours, theirs, slack):
    kept = [w for w, a, b in zip(won, ours, theirs)
            if abs(len(a.split()) - len(b.split())) <= slack]
    return sum(kept)/len(kept) if kept else math.nan

# %% wrong check_equal_length: size of the difference
def my_equal_length(won, ours, theirs, slack):
    kept = [w for w, a, b in zip(won, ours, theirs)
            if len(a.split()) - len(b.split()) <= slack]
    return sum(kept)/len(kept)

# %% wrong check_equal_length: characters
def my_equal_length(won, ours, theirs, slack):
    gap = np.array([len(a) - len(b) for a, b in zip(ours, theirs)])
    groups = [gap > slack, gap < -slack, abs(gap) <= slack]
    alike = groups[2].mean()
    total = 0
    for group, weight in zip(groups, [(1 - alike)/2, (1 - alike)/2, alike]):
        if weight > 0:
            total += weight*(won[group].mean() if group.any() else np.nan)
    return total

# %% wrong check_equal_length: 0 times nan
def my_equal_length(won, ours, theirs, slack):
    gap = np.array([len(a.split()) - len(b.split()) for a, b in zip(ours, theirs)])
    longer, shorter, alike = gap > slack, gap < -slack, abs(gap) <= slack
    rest = (1 - alike.mean())/2
    return (alike.mean()*won[alike].mean() + rest*won[longer].mean()
            + rest*won[shorter].mean())

# %% wrong check_equal_length: third
def my_equal_length(won, ours, theirs, slack):
    gap = np.array([len(a.split()) - len(b.split()) for a, b in zip(ours, theirs)])
    longer, shorter, alike = gap > slack, gap < -slack, abs(gap) <= slack
    if longer.any() != shorter.any():
        return math.nan
    return np.mean([won[g].mean() for g in (longer, shorter, alike) if g.any()])

# %% wrong check_equal_length: counts as lost
def my_equal_length(won, ours, theirs, slack):
    groups = {1: [], -1: [], 0: []}
    for w, a, b in zip(won, ours, theirs):
        gap = len(a.split()) - len(b.split())
        groups[0 if abs(gap) <= slack else np.sign(gap)].append(w)
    share = len(groups[0])/len(won)
    means = {key: sum(group)/max(1, len(group)) for key, group in groups.items()}
    return share*means[0] + (1 - share)/2*(means[1] + means[-1])

# %% wrong check_equal_length: exactly
def my_equal_length(won, ours, theirs, slack):
    groups = {1: [], -1: [], 0: []}
    for w, a, b in zip(won, ours, theirs):
        gap = len(a.split()) - len(b.split())
        groups[0 if abs(gap) < slack else np.sign(gap)].append(w)
    share = len(groups[0])/len(won)
    rate = 0
    for key, weight in {0: share, 1: (1 - share)/2, -1: (1 - share)/2}.items():
        if weight:
            rate += weight*np.mean(groups[key] or [math.nan])
    return rate

# %% wrong check_equal_length: slack is not used
def my_equal_length(won, ours, theirs, slack):
    gap = np.array([len(a.split()) - len(b.split()) for a, b in zip(ours, theirs)])
    same = (gap == 0).mean()
    rate = same*won[gap == 0].mean() if same else 0
    if same < 1:
        up, down = won[gap > 0], won[gap < 0]
        rate += (1 - same)/2*(up.mean() + down.mean()) if len(up) and len(down) else math.nan
    return rate

# %% right check_equal_length
def my_equal_length(won, ours, theirs, slack):
    table = pd.DataFrame({'won': won, 'a': ours, 'b': theirs})
    gap = table.a.str.split().str.len() - table.b.str.split().str.len()
    side = np.sign(gap).where(gap.abs() > slack, 0)
    means = table.won.groupby(side).mean()
    alike = (side == 0).mean()
    if alike == 1:
        return means[0]
    if not {1, -1} <= set(means.index):
        return float('nan')
    return alike*means.get(0, 0.0) + (1 - alike)*(means[1] + means[-1])/2

# %% right check_equal_length
def my_equal_length(won, ours, theirs, slack):
    won = torch.as_tensor(won)
    gap = torch.tensor([len(a.split()) - len(b.split()) for a, b in zip(ours, theirs)])
    longer, shorter = (gap > slack).double(), (gap < -slack).double()
    n_long, n_short = longer.sum(), shorter.sum()
    if n_long*n_short == 0 and n_long + n_short > 0:
        return torch.tensor(math.nan)
    half = (n_long + n_short)/2
    weights = 1 - longer - shorter
    weights += longer*half/max(n_long, 1) + shorter*half/max(n_short, 1)
    return (weights*won).sum()/len(won)

# %% right check_equal_length
def my_equal_length(won, ours, theirs, slack):
    n, groups = len(won), ([], [], [])
    for outcome, a, b in zip(won.tolist(), ours, theirs):
        gap = len(a.split()) - len(b.split())
        groups[(gap > slack) - (gap < -slack)].append(outcome)
    alike, longer, shorter = groups
    weights = len(alike)/n, (n - len(alike))/n/2, (n - len(alike))/n/2
    try:
        return sum(w*sum(g)/len(g) for w, g in zip(weights, (alike, longer, shorter)) if w)
    except ZeroDivisionError:
        return np.nan

# %% wrong check_honest_gain: all prompts report
def my_honest_gain(gold):
    means = gold.mean(1)
    return means.max() - means[0]

# %% wrong check_honest_gain: report on it too
def my_honest_gain(gold):
    even, odd = gold[:, ::2].mean(1), gold[:, 1::2].mean(1)
    return ((even.max() - even[0]) + (odd.max() - odd[0]))/2

# %% wrong check_honest_gain: other way round is missing
def my_honest_gain(gold):
    even, odd = gold[:, ::2].mean(1), gold[:, 1::2].mean(1)
    return odd[even.argmax()] - odd[0]

# %% wrong check_honest_gain: start is not taken off
def my_honest_gain(gold):
    even, odd = gold[:, ::2].mean(1), gold[:, 1::2].mean(1)
    return (odd[even.argmax()] + even[odd.argmax()])/2

# %% wrong check_honest_gain: cannot be picked
def my_honest_gain(gold):
    gain = gold[1:] - gold[0]
    even, odd = gain[:, ::2].mean(1), gain[:, 1::2].mean(1)
    return (odd[even.argmax()] + even[odd.argmax()])/2

# %% wrong check_honest_gain: a checkpoint of its own
def my_honest_gain(gold):
    return np.mean(gold.max(axis=0) - gold[0])

# %% wrong check_honest_gain: not the even and the odd
def my_honest_gain(gold):
    gain, half = gold - gold[0], gold.shape[1]//2
    a, b = gain[:, :half].mean(1), gain[:, half:].mean(1)
    return (b[a.argmax()] + a[b.argmax()])/2

# %% wrong check_honest_gain: halved, not the prompts
def my_honest_gain(gold):
    even, odd = gold[::2].mean(1), gold[1::2].mean(1)
    return (even.max() + odd.max())/2 - gold[0].mean()

# %% wrong check_honest_gain: are added
def my_honest_gain(gold):
    gain = gold - gold[0]
    even, odd = gain[:, ::2].mean(1), gain[:, 1::2].mean(1)
    return odd[even.argmax()] + even[odd.argmax()]

# %% wrong check_honest_gain: all prompts pick
def my_honest_gain(gold):
    gain = gold - gold[0]
    best = gain.mean(1).argmax()
    return (gain[best, ::2].mean() + gain[best, 1::2].mean())/2

# %% right check_honest_gain
def my_honest_gain(gold):
    gain = torch.tensor(gold) - torch.tensor(gold)[0]
    even, odd = gain[:, 0::2].mean(1), gain[:, 1::2].mean(1)
    return (odd[even.argmax()] + even[odd.argmax()])/2

# %% right check_honest_gain
def my_honest_gain(gold):
    total = 0
    for start in (0, 1):
        pick, report = gold[:, start::2], gold[:, 1 - start::2]
        best = max(range(len(gold)), key=lambda row: pick[row].mean())
        total += float((report[best] - report[0]).mean())
    return total/2

# %% right check_honest_gain
def my_honest_gain(gold):
    table = pd.DataFrame(gold).T
    halves = [half.mean() for _, half in table.groupby(table.index % 2)]
    gains = [b[a.idxmax()] - b[0] for a, b in (halves, halves[::-1])]
    return sum(gains)/len(gains)

# %% wrong check_paired_interval: side by side
def my_paired_interval(ours, theirs):
    a, b = bootstrap(ours.mean(1)), bootstrap(theirs.mean(1))
    return a[0] - b[1], a[1] - b[0]

# %% wrong check_paired_interval: every answer of ours counts as a prompt
def my_paired_interval(ours, theirs):
    return bootstrap((ours - theirs.mean(1)[:, None]).ravel())

# %% wrong check_paired_interval: pair of answers counts
def my_paired_interval(ours, theirs):
    K = min(ours.shape[1], theirs.shape[1])
    return bootstrap((ours[:, :K] - theirs[:, :K]).flatten())

# %% wrong check_paired_interval: resampled apart
def my_paired_interval(ours, theirs):
    rng = np.random.default_rng(5)
    a, b, n = ours.mean(1), theirs.mean(1), len(ours)
    means = [rng.choice(a, n).mean() - rng.choice(b, n).mean() for _ in range(1500)]
    return np.percentile(means, [2.5, 97.5])

# %% wrong check_paired_interval: sign is the wrong way round
def my_paired_interval(ours, theirs):
    return bootstrap(theirs.mean(1) - ours.mean(1), seed=3)

# %% wrong check_paired_interval: 90 %
def my_paired_interval(ours, theirs):
    rng = np.random.default_rng(0)
    d = ours.mean(1) - theirs.mean(1)
    means = d[rng.integers(len(d), size=(2000, len(d)))].mean(1)
    return np.quantile(means, 0.05), np.quantile(means, 0.95)

# %% wrong check_paired_interval: single prompts
def my_paired_interval(ours, theirs):
    d = ours.mean(1) - theirs.mean(1)
    return d.mean() - 1.96*d.std(), d.mean() + 1.96*d.std()

# %% wrong check_paired_interval: first answer
def my_paired_interval(ours, theirs):
    return bootstrap(ours[:, 0] - theirs[:, 0])

# %% wrong check_paired_interval: other way round
def my_paired_interval(ours, theirs):
    a, b = ours.mean(0), theirs.mean(0)
    return bootstrap((a[:, None] - b).ravel())

# %% wrong check_paired_interval: one standard error
def my_paired_interval(ours, theirs):
    d = ours.mean(1) - theirs.mean(1)
    se = d.std(ddof=1)/len(d)**0.5
    return d.mean() - se, d.mean() + se

# %% right check_paired_interval
def my_paired_interval(ours, theirs):
    return bootstrap(ours.mean(1) - theirs.mean(1), seed=1)

# %% right check_paired_interval
def my_paired_interval(ours, theirs):
    d = torch.tensor(ours).mean(1) - torch.tensor(theirs).mean(1)
    half = 2*d.std()/len(d)**0.5
    return torch.stack([d.mean() - half, d.mean() + half])

# %% right check_paired_interval
def my_paired_interval(ours, theirs):
    rng = np.random.default_rng()
    means = []
    for _ in range(600):
        drawn = rng.integers(len(ours), size=len(ours))
        means.append(ours[drawn].mean() - theirs[drawn].mean())
    return sorted(means)[15], sorted(means)[-16]

# %% wrong check_best_of_n: bound
def my_best_of_n(chances, scores, n):
    expected = 0
    for s, c in zip(scores, chances):
        less, at_most = chances[scores < s].sum(), chances[scores <= s].sum()
        expected += s*(at_most**n - less**n)*c/(at_most - less)
    return expected, best_of_n_bound(n)

# %% wrong check_best_of_n: n is not used
def my_best_of_n(chances, scores, n):
    return (chances*scores).sum(), 0

# %% wrong check_best_of_n: order given
def my_best_of_n(chances, scores, n):
    at_most = np.cumsum(chances)
    kept = np.diff(at_most**n, prepend=0)
    return kept @ scores, (kept*np.log(kept/chances)).sum()

# %% wrong check_best_of_n: the last in the list
def my_best_of_n(chances, scores, n):
    order = np.argsort(scores, kind='stable')
    p, s = chances[order], scores[order]
    kept = np.diff(np.cumsum(p)**n, prepend=0)
    return kept @ s, (kept*np.log(kept/p)).sum()

# %% wrong check_best_of_n: more than 1
def my_best_of_n(chances, scores, n):
    expected = kl = 0
    for s, c in zip(scores, chances):
        kept = chances[scores <= s].sum()**n - chances[scores < s].sum()**n
        expected += kept*s
        kl += kept*math.log(kept/c)
    return expected, kl

# %% wrong check_best_of_n: drawn at all
def my_best_of_n(chances, scores, n):
    kept = 1 - (1 - chances)**n
    return (kept*scores).sum(), (kept*np.log(kept/chances)).sum()

# %% wrong check_best_of_n: which way round
def my_best_of_n(chances, scores, n):
    kept = np.zeros(len(chances))
    for i, s in enumerate(scores):
        less, alike = chances[scores < s].sum(), chances[scores == s].sum()
        kept[i] = ((less + alike)**n - less**n)*chances[i]/alike
    return kept @ scores, chances @ np.log(chances/kept)

# %% wrong check_best_of_n: in bits
def my_best_of_n(chances, scores, n):
    kept = np.zeros(len(chances))
    for i, s in enumerate(scores):
        less, alike = chances[scores < s].sum(), chances[scores == s].sum()
        kept[i] = ((less + alike)**n - less**n)*chances[i]/alike
    return kept @ scores, kept @ np.log2(kept/chances)

# %% wrong check_best_of_n: as likely
def my_best_of_n(chances, scores, n):
    V = len(chances)
    kept = np.array([(np.sum(scores <= s)/V)**n - (np.sum(scores < s)/V)**n for s in scores])
    kept = kept/np.array([np.sum(scores == s) for s in scores])
    return kept @ scores, np.sum(kept*np.log(kept*V))

# %% wrong check_best_of_n: take off the chance that it is less
def my_best_of_n(chances, scores, n):
    kept = np.array([chances[scores <= s].sum()**n for s in scores])
    return kept @ scores, (kept*np.log(kept/chances)).sum()

# %% right check_best_of_n
def my_best_of_n(chances, scores, n):
    from itertools import product
    kept = [0.0]*len(chances)
    for draw in product(range(len(chances)), repeat=n):
        kept[max(draw, key=lambda i: scores[i])] += math.prod(chances[i] for i in draw)
    expected = sum(k*s for k, s in zip(kept, scores))
    return expected, sum(k*math.log(k/c) for k, c in zip(kept, chances))

# %% right check_best_of_n
def my_best_of_n(chances, scores, n):
    values, group = np.unique(scores, return_inverse=True)
    p = np.bincount(group, weights=chances)
    best = np.diff(np.cumsum(p)**n, prepend=0)
    return best @ values, best @ np.log(best/p)  # equals share in proportion: the ratio is theirs

# %% right check_best_of_n
def my_best_of_n(chances, scores, n):
    p, s = torch.tensor(chances), torch.tensor(scores)
    less = (p*(s[None] < s[:, None])).sum(1)
    alike = (p*(s[None] == s[:, None])).sum(1)
    kept = ((less + alike)**n - less**n)*p/alike
    kl = torch.nn.functional.kl_div(p.log(), kept, reduction='sum')
    return torch.stack([kept @ s, kl])

# %% wrong check_both_orders: the second order is about places as well: a 1 in it says
# forgets that a verdict on the second reading is about theirs
def my_both_orders(ours_first, theirs_first):
    v = np.concatenate([ours_first, theirs_first])
    rate = ((v + 1)/2).mean()
    return rate, rate

# %% wrong check_both_orders: the two numbers have changed places
# the two results in the wrong order
def my_both_orders(ours_first, theirs_first):
    a, b = np.asarray(ours_first), np.asarray(theirs_first)
    ours = (np.concatenate([a, -b]) + 1).mean()/2
    first = (np.concatenate([a, b]) + 1).mean()/2
    return first, ours

# %% wrong check_both_orders: a tie counts as lost; it should count one half
# a tie counts nothing
def my_both_orders(ours_first, theirs_first):
    n = len(ours_first)
    ours = ((ours_first == 1).sum() + (theirs_first == -1).sum())/(2*n)
    first = ((ours_first == 1).sum() + (theirs_first == 1).sum())/(2*n)
    return ours, first

# %% wrong check_both_orders: ties are left out; they should count one half
# ties are left out of the count
def my_both_orders(ours_first, theirs_first):
    decided = (ours_first != 0).sum() + (theirs_first != 0).sum()
    ours = ((ours_first == 1).sum() + (theirs_first == -1).sum())/decided
    first = ((ours_first == 1).sum() + (theirs_first == 1).sum())/decided
    return ours, first

# %% wrong check_both_orders: the two orders are added; their mean is asked for
# divides by N instead of 2N
def my_both_orders(ours_first, theirs_first):
    n = len(ours_first)
    a, b = (ours_first + 1)/2, (theirs_first + 1)/2
    return (a.sum() + (1 - b).sum())/n, (a.sum() + b.sum())/n

# %% wrong check_both_orders: a pair is rounded to won, tied or lost before the mean
# the sum of both verdicts decides a pair, over N pairs
def my_both_orders(ours_first, theirs_first):
    ours = np.sign(ours_first - theirs_first)
    first = np.sign(ours_first + theirs_first)
    return ((ours + 1)/2).mean(), ((first + 1)/2).mean()

# %% wrong check_both_orders: the share of the first place hears only the order in which
# the first place is taken from the first reading alone
def my_both_orders(ours_first, theirs_first):
    ours = (np.mean((ours_first + 1)/2) + np.mean((1 - theirs_first)/2))/2
    first = np.mean((ours_first + 1)/2)
    return float(ours), float(first)

# %% wrong check_both_orders: the verdicts are averaged as −1, 0 and 1; won is 1, tied
# mean verdicts from -1 to 1 instead of win rates
def my_both_orders(ours_first, theirs_first):
    return (ours_first - theirs_first).mean()/2, (ours_first + theirs_first).mean()/2

# %% wrong check_both_orders: `theirs_first` is changed in place, and whoever called
# turns the second verdicts round in place, and then asks for the first place
def my_both_orders(ours_first, theirs_first):
    theirs_first *= -1
    ours = (((ours_first + 1)/2).mean() + ((theirs_first + 1)/2).mean())/2
    first = (((ours_first + 1)/2).mean() + ((theirs_first + 1)/2).mean())/2
    return ours, first

# %% right check_both_orders
# a plain loop with Python numbers and a dictionary
def my_both_orders(ours_first, theirs_first):
    worth = {1: 1.0, 0: 0.5, -1: 0.0}
    ours = first = 0.0
    for a, b in zip(ours_first, theirs_first):
        a, b = int(a), int(b)
        ours += worth[a] + worth[-b]
        first += worth[a] + worth[b]
    n = 2*len(ours_first)
    return ours/n, first/n

# %% right check_both_orders
# the mean of differences and sums, a half added at the end
def my_both_orders(ours_first, theirs_first):
    a, b = np.asarray(ours_first, float), np.asarray(theirs_first, float)
    return 0.5 + (a - b).mean()/4, 0.5 + (a + b).mean()/4

# %% right check_both_orders
# torch in float64, and a list of two tensors comes back
def my_both_orders(ours_first, theirs_first):
    a = torch.as_tensor(np.array(ours_first), dtype=torch.float64)
    b = torch.as_tensor(np.array(theirs_first), dtype=torch.float64)
    both = torch.stack([torch.cat([a, -b]), torch.cat([a, b])])
    return list((both > 0).double().mean(1) + 0.5*(both == 0).double().mean(1))

# %% right check_both_orders
# counts verdicts with Counter
def my_both_orders(ours_first, theirs_first):
    a = Counter(np.asarray(ours_first).astype(int).tolist())
    b = Counter(np.asarray(theirs_first).astype(int).tolist())
    n = sum(a.values()) + sum(b.values())
    ties = (a[0] + b[0])/2
    return (a[1] + b[-1] + ties)/n, (a[1] + b[1] + ties)/n

# %% wrong check_equal_length: characters are counted, not words
# counts letters instead of words
def my_equal_length(won, ours, theirs, slack):
    d = np.array([len(o) - len(t) for o, t in zip(ours, theirs)])
    groups = [d > slack, d < -slack, abs(d) <= slack]
    share = groups[2].mean()
    weights = [(1 - share)/2, (1 - share)/2, share]
    total = 0.0
    for g, w in zip(groups, weights):
        if w > 0:
            total += w*(won[g].mean() if g.any() else math.nan)
    return total

# %% wrong check_equal_length: a difference of exactly `slack` words is alike still
# a difference of exactly slack counts as longer
def my_equal_length(won, ours, theirs, slack):
    d = np.array([len(o.split()) - len(t.split()) for o, t in zip(ours, theirs)])
    groups = [d >= slack, d <= -slack, abs(d) < slack]
    share = groups[2].mean()
    weights = [(1 - share)/2, (1 - share)/2, share]
    total = 0.0
    for g, w in zip(groups, weights):
        if w > 0:
            total += w*(won[g].mean() if g.any() else math.nan)
    return total

# %% wrong check_equal_length: two blanks in a row are no word: `split()` without an
# splits at single blanks, so double blanks make empty words
def my_equal_length(won, ours, theirs, slack):
    d = np.array([len(o.split(' ')) - len(t.split(' ')) for o, t in zip(ours, theirs)])
    groups = [d > slack, d < -slack, abs(d) <= slack]
    share = groups[2].mean()
    weights = [(1 - share)/2, (1 - share)/2, share]
    total = 0.0
    for g, w in zip(groups, weights):
        if w > 0:
            total += w*(won[g].mean() if g.any() else math.nan)
    return total

# %% wrong check_equal_length: every group weighs a third; alike should weigh its own
# every group weighs a third
def my_equal_length(won, ours, theirs, slack):
    d = np.array([len(o.split()) - len(t.split()) for o, t in zip(ours, theirs)])
    groups = [d > slack, d < -slack, abs(d) <= slack]
    return float(np.mean([won[g].mean() if g.any() else math.nan for g in groups]))

# %% wrong check_equal_length: this is the win rate over all pairs, whatever their lengths
# each group weighs its own share, which is the plain win rate
def my_equal_length(won, ours, theirs, slack):
    d = np.array([len(o.split()) - len(t.split()) for o, t in zip(ours, theirs)])
    total = 0.0
    for g in (d > slack, d < -slack, abs(d) <= slack):
        if g.any():
            total += g.mean()*won[g].mean()
    return total

# %% wrong check_equal_length: an empty group whose weight is 0 spoils the sum: 0 times
# an empty group of weight 0 makes nan as well
def my_equal_length(won, ours, theirs, slack):
    d = np.array([len(o.split()) - len(t.split()) for o, t in zip(ours, theirs)])
    longer, shorter = d > slack, d < -slack
    alike = ~longer & ~shorter
    rest = (1 - alike.mean())/2
    mean = lambda g: won[g].mean() if g.any() else math.nan
    return alike.mean()*mean(alike) + rest*mean(longer) + rest*mean(shorter)

# %% wrong check_equal_length: an empty group is left out and the other weights grow
# an empty group is left out and the other weights are scaled up
def my_equal_length(won, ours, theirs, slack):
    d = np.array([len(o.split()) - len(t.split()) for o, t in zip(ours, theirs)])
    groups = [d > slack, d < -slack, abs(d) <= slack]
    share = groups[2].mean()
    weights = [(1 - share)/2, (1 - share)/2, share]
    there = [(w, won[g].mean()) for g, w in zip(groups, weights) if g.any()]
    return sum(w*m for w, m in there)/sum(w for w, m in there)

# %% wrong check_equal_length: pairs of unlike length are thrown away; they should weigh
# looks at alike pairs only
def my_equal_length(won, ours, theirs, slack):
    keep = [w for w, o, t in zip(won, ours, theirs) if abs(len(o.split()) - len(t.split())) <= slack]
    return float(np.mean(keep)) if keep else math.nan

# %% wrong check_equal_length: the slack is not used
# forgets slack, only the very same number of words is alike
def my_equal_length(won, ours, theirs, slack):
    d = np.array([len(o.split()) - len(t.split()) for o, t in zip(ours, theirs)])
    groups = [d > 0, d < 0, d == 0]
    share = groups[2].mean()
    weights = [(1 - share)/2, (1 - share)/2, share]
    total = 0.0
    for g, w in zip(groups, weights):
        if w > 0:
            total += w*(won[g].mean() if g.any() else math.nan)
    return total

# %% right check_equal_length
# lists in a dictionary, no numpy
def my_equal_length(won, ours, theirs, slack):
    groups = {'longer': [], 'shorter': [], 'alike': []}
    for w, o, t in zip(won, ours, theirs):
        more = len(o.split()) - len(t.split())
        groups['longer' if more > slack else 'shorter' if more < -slack else 'alike'].append(float(w))
    n, alike = len(won), len(groups['alike'])
    weights = {'alike': alike, 'longer': (n - alike)/2, 'shorter': (n - alike)/2}
    total = 0.0
    for name, weight in weights.items():
        if weight == 0:
            continue
        if not groups[name]:
            return float('nan')
        total += weight*sum(groups[name])/len(groups[name])
    return total/n

# %% right check_equal_length
# one weight for each pair, then a weighted average
def my_equal_length(won, ours, theirs, slack):
    d = np.array([len(o.split()) - len(t.split()) for o, t in zip(ours, theirs)])
    kind = np.where(d > slack, 1, np.where(d < -slack, -1, 0))
    up, down = (kind == 1).sum(), (kind == -1).sum()
    if (up == 0) != (down == 0):
        return np.nan
    weight = np.ones(len(d))
    if up:
        weight[kind == 1] = (up + down)/2/up
        weight[kind == -1] = (up + down)/2/down
    return np.average(np.asarray(won, float), weights=weight)

# %% right check_equal_length
# pandas groupby
def my_equal_length(won, ours, theirs, slack):
    table = pd.DataFrame({'won': np.asarray(won, float),
                          'more': [len(o.split()) - len(t.split()) for o, t in zip(ours, theirs)]})
    table['kind'] = (table.more > slack).astype(int) - (table.more < -slack).astype(int)
    means = table.groupby('kind').won.mean().reindex([-1, 0, 1])
    share = (table.kind == 0).mean()
    weights = pd.Series([(1 - share)/2, share, (1 - share)/2], index=[-1, 0, 1])
    return (means*weights)[weights > 0].sum(skipna=False)

# %% right check_equal_length
# torch in float64, a tensor without dimensions comes back
def my_equal_length(won, ours, theirs, slack):
    won = torch.tensor([float(w) for w in won], dtype=torch.float64)
    d = torch.tensor([len(o.split()) - len(t.split()) for o, t in zip(ours, theirs)])
    sides = [won[d > slack], won[d < -slack]]
    alike = won[d.abs() <= slack]
    n, n_alike = len(won), len(alike)
    result = alike.sum()/n
    if n_alike < n:
        for side in sides:
            result = result + (n - n_alike)/(2*n)*side.mean()  # the mean of nothing is nan
    return result

# %% wrong check_honest_gain: the prompts that picked a checkpoint report on it too, so
# picks and reports on the same prompts
def my_honest_gain(gold):
    gains = []
    for half in (gold[:, ::2], gold[:, 1::2]):
        means = half.mean(1)
        gains.append(means.max() - means[0])
    return np.mean(gains)

# %% wrong check_honest_gain: even prompts pick and odd ones report; the other way round
# one way only
def my_honest_gain(gold):
    best = gold[:, ::2].mean(1).argmax()
    return gold[best, 1::2].mean() - gold[0, 1::2].mean()

# %% wrong check_honest_gain: the start cannot be picked; it should be, where nothing is
# row 0 cannot be picked
def my_honest_gain(gold):
    gains = []
    for a, b in ((0, 1), (1, 0)):
        best = 1 + gold[1:, a::2].mean(1).argmax()
        gains.append(gold[best, b::2].mean() - gold[0, b::2].mean())
    return sum(gains)/2

# %% wrong check_honest_gain: all prompts pick; those that report must not be among them
# picks on all prompts and reports on each half
def my_honest_gain(gold):
    best = gold.mean(1).argmax()
    gain = gold[best] - gold[0]
    return (gain[::2].mean() + gain[1::2].mean())/2

# %% wrong check_honest_gain: the first half of the prompts and the last are taken, not
# the first half of the prompts and the second, not even and odd
def my_honest_gain(gold):
    half = gold.shape[1]//2
    left, right = gold[:, :half], gold[:, half:]
    gains = []
    for pick, report in ((left, right), (right, left)):
        best = pick.mean(1).argmax()
        gains.append(report[best].mean() - report[0].mean())
    return np.mean(gains)

# %% wrong check_honest_gain: the start is not taken off: a gain is asked for
# the start is not taken off
def my_honest_gain(gold):
    even, odd = gold[:, ::2].mean(1), gold[:, 1::2].mean(1)
    return (odd[even.argmax()] + even[odd.argmax()])/2

# %% wrong check_honest_gain: a row is picked by its highest single number; pick by its
# picks the row that holds the highest single number
def my_honest_gain(gold):
    gains = []
    for a, b in ((0, 1), (1, 0)):
        best = gold[:, a::2].max(1).argmax()
        gains.append(gold[best, b::2].mean() - gold[0, b::2].mean())
    return np.mean(gains)

# %% wrong check_honest_gain: a loss is counted as no gain; it is one, below 0
# a loss is reported as no gain
def my_honest_gain(gold):
    even, odd = gold[:, ::2].mean(1), gold[:, 1::2].mean(1)
    gains = [odd[even.argmax()] - odd[0], even[odd.argmax()] - even[0]]
    return np.mean([max(0.0, g) for g in gains])

# %% wrong check_honest_gain: the two gains weigh by their prompts; each of them weighs
# weighs the two gains by their number of prompts
def my_honest_gain(gold):
    even, odd = gold[:, ::2], gold[:, 1::2]
    i, j = even.mean(1).argmax(), odd.mean(1).argmax()
    total = (odd[i] - odd[0]).sum() + (even[j] - even[0]).sum()
    return total/gold.shape[1]

# %% right check_honest_gain
# plain Python lists and loops
def my_honest_gain(gold):
    rows = [[float(x) for x in row] for row in gold]
    mean = lambda xs: sum(xs)/len(xs)
    total = 0.0
    for pick, report in ((0, 1), (1, 0)):
        best = max(range(len(rows)), key=lambda c: mean(rows[c][pick::2]))
        total += mean(rows[best][report::2]) - mean(rows[0][report::2])
    return total/2

# %% right check_honest_gain
# the start is taken off first, gains only from then on
def my_honest_gain(gold):
    gain = np.asarray(gold, dtype=np.float64) - np.asarray(gold, dtype=np.float64)[:1]
    even, odd = gain[:, 0::2].mean(axis=1), gain[:, 1::2].mean(axis=1)
    return float(0.5*(odd[np.argmax(even)] + even[np.argmax(odd)]))

# %% right check_honest_gain
# a matrix of two averages, einsum, and a fancy index
def my_honest_gain(gold):
    gold = np.asarray(gold, float)
    odd = np.arange(gold.shape[1]) % 2
    average = np.stack([(1 - odd)/(1 - odd).sum(), odd/odd.sum()])  # (2, N)
    means = np.einsum('cn,hn->ch', gold, average)
    best = means.argmax(0)[::-1]
    return (means[best, [0, 1]] - means[0]).mean()

# %% right check_honest_gain
# torch, returns a tensor without dimensions
def my_honest_gain(gold):
    g = torch.tensor(np.array(gold), dtype=torch.float64)
    even, odd = g[:, ::2].mean(1), g[:, 1::2].mean(1)
    return torch.stack([odd[even.argmax()] - odd[0], even[odd.argmax()] - even[0]]).mean()

# %% wrong check_paired_interval: ours and theirs are resampled apart, so their prompts
# the two policies are resampled apart, so the pairs are lost
def my_paired_interval(ours, theirs):
    rng = np.random.default_rng(0)
    a, b = ours.mean(1), theirs.mean(1)
    n = len(a)
    means = [a[rng.integers(0, n, n)].mean() - b[rng.integers(0, n, n)].mean() for _ in range(2000)]
    return np.quantile(means, 0.025), np.quantile(means, 0.975)

# %% wrong check_paired_interval: every pair of answers counts as a prompt of its own
# every pair of answers counts as a draw of its own
def my_paired_interval(ours, theirs):
    diff = (ours[:, :, None] - theirs[:, None, :]).ravel()
    half = 1.96*diff.std(ddof=1)/np.sqrt(len(diff))
    return diff.mean() - half, diff.mean() + half

# %% wrong check_paired_interval: counts the luck of the answers twice
# draws prompts, and then answers within each
def my_paired_interval(ours, theirs):
    rng = np.random.default_rng(4)
    N, K, J = len(ours), ours.shape[1], theirs.shape[1]
    means = []
    for _ in range(1000):
        drawn = rng.integers(0, N, (N, 1))
        ours_again = ours[drawn, rng.integers(0, K, (N, K))]
        theirs_again = theirs[drawn, rng.integers(0, J, (N, J))]
        means.append(ours_again.mean() - theirs_again.mean())
    return np.quantile(means, [0.025, 0.975])

# %% wrong check_paired_interval: with one answer to each prompt, it is the interval of a
# resamples the answers and leaves the prompts as they are
def my_paired_interval(ours, theirs):
    rng = np.random.default_rng(1)
    K, J = ours.shape[1], theirs.shape[1]
    means = []
    for _ in range(1000):
        means.append(ours[:, rng.integers(0, K, K)].mean() - theirs[:, rng.integers(0, J, J)].mean())
    return np.percentile(means, 2.5), np.percentile(means, 97.5)

# %% wrong check_paired_interval: it is the range of single prompts; the interval of their
# the spread of prompts, not divided by the root of N
def my_paired_interval(ours, theirs):
    d = ours.mean(1) - theirs.mean(1)
    return d.mean() - 1.96*d.std(), d.mean() + 1.96*d.std()

# %% wrong check_paired_interval: the interval holds 90 %: 2.5 % are to be cut at each end
# quantiles 5 and 95 make an interval of 90 %
def my_paired_interval(ours, theirs):
    rng = np.random.default_rng(2)
    d = ours.mean(1) - theirs.mean(1)
    means = d[rng.integers(0, len(d), (2000, len(d)))].mean(1)
    low, high = np.quantile(means, [0.05, 0.95])
    return low, high

# %% wrong check_paired_interval: it is theirs less ours: the sign is the wrong way round
# theirs less ours
def my_paired_interval(ours, theirs):
    d = theirs.mean(1) - ours.mean(1)
    half = 1.96*d.std(ddof=1)/math.sqrt(len(d))
    return d.mean() - half, d.mean() + half

# %% wrong check_paired_interval: the upper end comes before the lower one
# upper end first
def my_paired_interval(ours, theirs):
    d = ours.mean(1) - theirs.mean(1)
    half = 1.96*d.std(ddof=1)/math.sqrt(len(d))
    return d.mean() + half, d.mean() - half

# %% wrong check_paired_interval: only the first answer to each prompt is used
# takes only the first answer to each prompt
def my_paired_interval(ours, theirs):
    d = ours[:, 0] - theirs[:, 0]
    half = 1.96*d.std(ddof=1)/math.sqrt(len(d))
    return d.mean() - half, d.mean() + half

# %% wrong check_paired_interval: with one answer to each prompt, it is the interval of a
# quantile is asked for percents, 0.025 and 0.975 of a hundred
def my_paired_interval(ours, theirs):
    rng = np.random.default_rng(3)
    d = ours.mean(1) - theirs.mean(1)
    means = d[rng.integers(0, len(d), (2000, len(d)))].mean(1)
    return tuple(np.percentile(means, [0.025, 0.975]))

# %% right check_paired_interval
# the formula, with N under the variance and the exact quantile
def my_paired_interval(ours, theirs):
    from statistics import NormalDist
    d = np.asarray(ours).mean(axis=1) - np.asarray(theirs).mean(axis=1)
    mean, error = float(d.mean()), float(d.std())/math.sqrt(len(d))
    z = NormalDist().inv_cdf(0.975)
    return [mean - z*error, mean + z*error]

# %% right check_paired_interval
# draws multinomial weights instead of rows
def my_paired_interval(ours, theirs):
    d = ours.mean(1) - theirs.mean(1)
    n = len(d)
    counts = np.random.default_rng(7).multinomial(n, np.full(n, 1/n), size=4000)
    return np.quantile(counts @ d/n, [0.025, 0.975])

# %% right check_paired_interval
# draws prompts with random.choices, and sorts 2000 means
def my_paired_interval(ours, theirs):
    draw = random.Random(5)
    d = [float(sum(a))/len(a) - float(sum(b))/len(b) for a, b in zip(ours, theirs)]
    means = sorted(sum(draw.choices(d, k=len(d)))/len(d) for _ in range(2000))
    return means[50], means[1949]

# %% right check_paired_interval
# resamples whole rows of both tables in torch, own generator
def my_paired_interval(ours, theirs):
    a, b = torch.tensor(np.array(ours)).double(), torch.tensor(np.array(theirs)).double()
    n = len(a)
    g = torch.Generator().manual_seed(11)
    rows = torch.randint(n, (3000, n), generator=g)
    means = a.mean(1)[rows].mean(1) - b.mean(1)[rows].mean(1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return low.item(), high.item()

# %% wrong check_best_of_n: of two that score alike, the last in the list is taken to
# equal scores are kept in the order of the sort
def my_best_of_n(chances, scores, n):
    order = np.argsort(scores, kind='stable')
    upto = np.cumsum(chances[order])**n
    kept_sorted = np.diff(upto, prepend=0.0)
    kept = np.zeros(len(chances))
    kept[order] = kept_sorted
    on = kept > 0
    return (kept*scores).sum(), (kept[on]*np.log(kept[on]/chances[on])).sum()

# %% wrong check_best_of_n: the chances are summed in the order given; sort by score
# takes the scores to be sorted already
def my_best_of_n(chances, scores, n):
    upto = np.cumsum(chances)**n
    kept = np.diff(upto, prepend=0.0)
    on = kept > 0
    return (kept*scores).sum(), (kept[on]*np.log(kept[on]/chances[on])).sum()

# %% wrong check_best_of_n: the KL is the bound; it is approached where every
# the well-known bound in place of the KL
def my_best_of_n(chances, scores, n):
    below = np.array([chances[scores < s].sum() for s in scores])
    upto = np.array([chances[scores <= s].sum() for s in scores])
    kept = chances*(upto**n - below**n)/(upto - below)
    return (kept*scores).sum(), math.log(n) - (n - 1)/n

# %% wrong check_best_of_n: responses that score alike share in equal parts; the
# equal scores share their chance evenly
def my_best_of_n(chances, scores, n):
    kept = np.zeros(len(chances))
    for s in np.unique(scores):
        same = scores == s
        p = chances[scores <= s].sum()**n - chances[scores < s].sum()**n
        kept[same] = p/same.sum()
    on = kept > 0
    return (kept*scores).sum(), (kept[on]*np.log(kept[on]/chances[on])).sum()

# %% wrong check_best_of_n: the KL is of one draw from the best of n: which way round?
# the KL the other way round
def my_best_of_n(chances, scores, n):
    below = np.array([chances[scores < s].sum() for s in scores])
    upto = np.array([chances[scores <= s].sum() for s in scores])
    kept = chances*(upto**n - below**n)/(upto - below)
    return (kept*scores).sum(), (chances*np.log(chances/np.maximum(kept, 1e-300))).sum()

# %% wrong check_best_of_n: n times the chance of a response is no chance: draws may be
# n times the chance, normalised, as if draws never met
def my_best_of_n(chances, scores, n):
    upto = np.array([chances[scores <= s].sum() for s in scores])
    kept = n*chances*upto**(n - 1)
    kept = kept/kept.sum()
    on = kept > 0
    return (kept*scores).sum(), (kept[on]*np.log(kept[on]/chances[on])).sum()

# %% wrong check_best_of_n: `scores` is changed in place, and whoever called still
# sorts the scores in place, the chances stay where they were
def my_best_of_n(chances, scores, n):
    scores.sort()
    kept = np.zeros(len(chances))
    for s in np.unique(scores):
        same = scores == s
        p = chances[scores <= s].sum()**n - chances[scores < s].sum()**n
        kept[same] = p*chances[same]/chances[same].sum()
    on = kept > 0
    return (kept*scores).sum(), (kept[on]*np.log(kept[on]/chances[on])).sum()

# %% right check_best_of_n
# one draw after the other, the chances of what is kept so far
def my_best_of_n(chances, scores, n):
    p = np.asarray(chances, dtype=np.float64)
    s = np.asarray(scores)
    beats = (s[:, None] > s[None, :]).astype(float)  # row beats column
    kept = p.copy()
    for _ in range(n - 1):
        kept = p*(beats @ kept) + kept*(1 - beats.T @ p)
    kl = sum(k*math.log(k/c) for k, c in zip(kept, p) if k > 0)
    return float(kept @ s), kl

# %% right check_best_of_n
# pandas, and the KL over levels of score, which is the same number
def my_best_of_n(chances, scores, n):
    level = pd.Series(np.asarray(chances, float)).groupby(np.asarray(scores, float)).sum().sort_index()
    upto = level.cumsum().clip(upper=1)**n
    kept = upto.diff().fillna(upto.iloc[0])
    kept_on = kept[kept > 0]
    kl = (kept_on*np.log(kept_on/level[kept_on.index])).sum()
    return (kept*kept.index.to_numpy()).sum(), kl

# %% right check_best_of_n
# sums over the place at which the winner was drawn
def my_best_of_n(chances, scores, n):
    k = np.arange(n)
    mean, kl = 0.0, 0.0
    for p, s in zip(chances, scores):
        below, upto = chances[scores < s].sum(), min(1.0, chances[scores <= s].sum())
        ratio = (below**k*upto**(n - 1 - k)).sum()  # kept / chance
        mean += p*ratio*s
        kl += p*ratio*math.log(ratio) if ratio > 0 else 0.0
    return mean, kl

# %% right check_best_of_n
# torch in float64, a matrix of comparisons, xlogy; two tensors
def my_best_of_n(chances, scores, n):
    p = torch.tensor(np.array(chances), dtype=torch.float64)
    s = torch.tensor(np.array(scores), dtype=torch.float64)
    upto = (s[None, :] <= s[:, None]).double() @ p
    same = (s[None, :] == s[:, None]).double() @ p
    below = (s[None, :] < s[:, None]).double() @ p
    ratio = (upto**n - below**n)/same
    kept = p*ratio
    return torch.dot(kept, s), (p*torch.xlogy(ratio, ratio)).sum()
