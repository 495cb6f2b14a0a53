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
