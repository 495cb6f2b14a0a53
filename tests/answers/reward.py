# Answers to the exercises of lesson 4, as readers write them. Each begins with a line that says
# what it is: `# %% wrong CHECK: words that its verdict must hold`, or `# %% right CHECK`.

# %% wrong check_length_share: nothing is returned
def my_length_share(scores, ratings, lengths, near):
    ...

# %% wrong check_length_share: far apart
def my_length_share(scores, ratings, lengths, near):
    i, j = torch.triu_indices(len(scores), len(scores), 1)
    unlike = lengths[i] != lengths[j]
    agrees = torch.sign((scores[i] - scores[j])*(lengths[i] - lengths[j]))[unlike]
    return (0.5 + 0.5*agrees).mean() if len(agrees) else 0.5

# %% wrong check_length_share: without its sign taken off
def my_length_share(scores, ratings, lengths, near):
    won, n = 0.0, 0
    for i in range(len(scores)):
        for j in range(i + 1, len(scores)):
            if ratings[i] - ratings[j] <= near and lengths[i] != lengths[j]:
                n += 1
                if scores[i] == scores[j]:
                    won += 0.5
                elif (scores[i] > scores[j]) == (lengths[i] > lengths[j]):
                    won += 1
    return won/n if n else 0.5

# %% wrong check_length_share: exactly `near`
def my_length_share(scores, ratings, lengths, near):
    i, j = torch.triu_indices(len(scores), len(scores), 1)
    counted = ((ratings[i] - ratings[j]).abs() < near) & (lengths[i] != lengths[j])
    agrees = torch.sign((scores[i] - scores[j])*(lengths[i] - lengths[j]))[counted]
    return (0.5 + 0.5*agrees).mean() if len(agrees) else 0.5

# %% wrong check_length_share: equal scores count as lost
def my_length_share(scores, ratings, lengths, near):
    i, j = torch.triu_indices(len(scores), len(scores), 1)
    counted = ((ratings[i] - ratings[j]).abs() <= near) & (lengths[i] != lengths[j])
    won = ((scores[i] - scores[j])*(lengths[i] - lengths[j]) > 0)[counted]
    return won.float().mean() if len(won) else 0.5

# %% wrong check_length_share: equal length are in it
def my_length_share(scores, ratings, lengths, near):
    i, j = torch.triu_indices(len(scores), len(scores), 1)
    counted = (ratings[i] - ratings[j]).abs() <= near
    agrees = torch.sign((scores[i] - scores[j])*(lengths[i] - lengths[j]))[counted]
    return (0.5 + 0.5*agrees).mean() if len(agrees) else 0.5

# %% wrong check_length_share: nan
def my_length_share(scores, ratings, lengths, near):
    i, j = torch.triu_indices(len(scores), len(scores), 1)
    counted = ((ratings[i] - ratings[j]).abs() <= near) & (lengths[i] != lengths[j])
    agrees = torch.sign((scores[i] - scores[j])*(lengths[i] - lengths[j]))[counted]
    return (0.5 + 0.5*agrees).mean()

# %% wrong check_length_share: ZeroDivisionError
def my_length_share(scores, ratings, lengths, near):
    points = []
    for i in range(len(scores)):
        for j in range(len(scores)):
            if lengths[i] > lengths[j] and abs(ratings[i] - ratings[j]) <= near:
                points.append(0.5 if scores[i] == scores[j] else float(scores[i] > scores[j]))
    return sum(points)/len(points)

# %% wrong check_length_share: `near` is not used
def my_length_share(scores, ratings, lengths, near):
    points = []
    for i in range(len(scores)):
        for j in range(len(scores)):
            if lengths[i] > lengths[j] and ratings[i] == ratings[j]:
                points.append(0.5 if scores[i] == scores[j] else float(scores[i] > scores[j]))
    return sum(points)/len(points) if points else 0.5

# %% wrong check_length_share: correlation
def my_length_share(scores, ratings, lengths, near):
    return np.corrcoef(scores, lengths)[0, 1]

# %% wrong check_length_share: changed in place
def my_length_share(scores, ratings, lengths, near):
    order = lengths.argsort(descending=True)
    scores[:], ratings[:], lengths[:] = scores[order], ratings[order], lengths[order]
    points = []
    for i in range(len(scores)):
        for j in range(i + 1, len(scores)):
            if lengths[i] > lengths[j] and abs(ratings[i] - ratings[j]) <= near:
                points.append(0.5 if scores[i] == scores[j] else float(scores[i] > scores[j]))
    return sum(points)/len(points) if points else 0.5

# %% right check_length_share
def my_length_share(scores, ratings, lengths, near):
    points = []
    for i in range(len(scores)):
        for j in range(len(scores)):
            if lengths[i] > lengths[j] and abs(ratings[i] - ratings[j]) <= near:
                points.append(0.5 if scores[i] == scores[j] else float(scores[i] > scores[j]))
    return sum(points)/len(points) if points else 0.5

# %% right check_length_share
def my_length_share(scores, ratings, lengths, near):
    gap = scores[:, None] - scores
    longer = lengths[:, None] > lengths
    alike = (ratings[:, None] - ratings).abs() <= near
    won = (gap > 0).double() + 0.5*(gap == 0)
    counted = longer & alike
    return won[counted].mean() if counted.any() else torch.tensor(0.5)

# %% right check_length_share
def my_length_share(scores, ratings, lengths, near):
    s, r, n = scores.numpy(), ratings.numpy(), lengths.numpy()
    i, j = np.where((np.abs(np.subtract.outer(r, r)) <= near) & (np.subtract.outer(n, n) > 0))
    if not len(i):
        return 0.5
    return np.mean((np.sign(s[i] - s[j]) + 1)/2)

# %% right check_length_share
def my_length_share(scores, ratings, lengths, near):
    rows = sorted(zip(lengths.tolist(), ratings.tolist(), scores.tolist()))
    total = count = 0
    for k, (n, r, s) in enumerate(rows):
        for n2, r2, s2 in rows[:k]:
            if n2 < n and -near <= r - r2 <= near:
                count += 2
                total += 2*(s > s2) + (s == s2)
    return total/count if count else 1/2

# %% right check_length_share
def my_length_share(scores, ratings, lengths, near):
    counted = ((ratings[:, None] - ratings).abs() <= near) & (lengths[:, None] > lengths)
    i, j = counted.nonzero(as_tuple=True)
    if len(i) == 0:
        return 0.5
    return ((scores[i] > scores[j]).float() + (scores[i] >= scores[j]).float()).mean().item()/2

# %% wrong check_text_ends: nothing is returned
def my_text_ends(scores, texts):
    ...

# %% wrong check_text_ends: only the last text of each row
def my_text_ends(scores, texts):
    mask = (texts > 0).long()
    last = (mask*torch.arange(mask.shape[1])).argmax(1)
    return scores[torch.arange(len(scores)), last]

# %% wrong check_text_ends: last column
def my_text_ends(scores, texts):
    return scores[:, -1]

# %% wrong check_text_ends: ends with its row is missed
def my_text_ends(scores, texts):
    ends = (texts[:, :-1] > 0) & (texts[:, :-1] != texts[:, 1:])
    return scores[:, :-1][ends]

# %% wrong check_text_ends: number 0 is no text
def my_text_ends(scores, texts):
    following = F.pad(texts[:, 1:], (0, 1), value=-1)
    return scores[texts != following]

# %% wrong check_text_ends: follows without padding
def my_text_ends(scores, texts):
    following = F.pad(texts[:, 1:], (0, 1))
    return scores[(texts > 0) & (following == 0)]

# %% wrong check_text_ends: first tokens
def my_text_ends(scores, texts):
    before = F.pad(texts[:, :-1], (1, 0))
    return scores[(texts > 0) & (texts != before)]

# %% wrong check_text_ends: then the second
def my_text_ends(scores, texts):
    found = []
    for k in range(1, texts.max() + 1):
        for row, numbers in zip(scores, texts):
            if (numbers == k).any():
                found.append(row[numbers == k][-1])
    return torch.stack(found)

# %% wrong check_text_ends: laid end to end
def my_text_ends(scores, texts):
    flat, s = texts.flatten(), scores.flatten()
    ends = (flat > 0) & (flat != torch.cat([flat[1:], torch.zeros(1)]))
    return s[ends]

# %% wrong check_text_ends: no gradient reaches
def my_text_ends(scores, texts):
    found = []
    for row, numbers in zip(scores, texts):
        for k in range(1, int(numbers.max()) + 1):
            found.append(row[numbers == k][-1].item())
    return torch.tensor(found)

# %% wrong check_text_ends: mean over each text
def my_text_ends(scores, texts):
    found = []
    for row, numbers in zip(scores, texts):
        for k in range(1, int(numbers.max()) + 1):
            found.append(row[numbers == k].mean())
    return torch.stack(found)

# %% wrong check_text_ends: IndexError
def my_text_ends(scores, texts):
    found = []
    for b in range(len(texts)):
        for t in range(texts.shape[1]):
            if texts[b, t] > 0 and texts[b, t + 1] != texts[b, t]:
                found.append(scores[b, t])
    return torch.stack(found)

# %% right check_text_ends
def my_text_ends(scores, texts):
    following = F.pad(texts[:, 1:], (0, 1))
    return scores[(texts > 0) & (texts != following)]

# %% right check_text_ends
def my_text_ends(scores, texts):
    found = []
    for row, numbers in zip(scores, texts):
        for k in range(1, int(numbers.max()) + 1):
            found.append(row[numbers == k][-1])
    return torch.stack(found)

# %% right check_text_ends
def my_text_ends(scores, texts):
    ends = np.diff(texts.numpy(), axis=1, append=0) != 0
    rows, columns = np.nonzero(ends & (texts.numpy() > 0))
    return scores[rows, columns]

# %% right check_text_ends
def my_text_ends(scores, texts):
    last = {}
    for b, t in texts.nonzero().tolist():
        last[b, int(texts[b, t])] = scores[b, t]
    return torch.stack(list(last.values())).double()

# %% right check_text_ends
def my_text_ends(scores, texts):
    B, T = texts.shape
    flat = torch.cat([texts, torch.zeros(B, 1)], 1).flatten()
    ends = (flat[:-1] > 0) & (flat[1:] != flat[:-1])
    padded = torch.cat([scores, torch.zeros(B, 1)], 1).flatten()
    return padded[:-1].masked_select(ends)

# %% wrong check_calibration_error: nothing is returned
def my_calibration_error(chosen, rejected, bins):
    ...

# %% wrong check_calibration_error: equal widths
def my_calibration_error(chosen, rejected, bins):
    gap = chosen - rejected
    c, right = torch.sigmoid(gap.abs()), 0.5 + 0.5*gap.sign()
    groups = c.argsort().chunk(bins)
    return torch.stack([(c[g].mean() - right[g].mean()).abs() for g in groups]).mean()

# %% wrong check_calibration_error: begins at 0.5
def my_calibration_error(chosen, rejected, bins):
    gap = (chosen - rejected).double()
    c, right = torch.sigmoid(gap.abs()), 0.5 + 0.5*gap.sign()
    which = (c*bins).long().clamp(max=bins - 1)
    total = 0.0
    for k in range(bins):
        if (which == k).any():
            total += (c[which == k].mean() - right[which == k].mean()).abs()*(which == k).sum()
    return total/len(c)

# %% wrong check_calibration_error: weigh each by the number
def my_calibration_error(chosen, rejected, bins):
    gap = (chosen - rejected).double()
    c, right = torch.sigmoid(gap.abs()), 0.5 + 0.5*gap.sign()
    which = ((c - 0.5)*2*bins).long().clamp(max=bins - 1)
    distances = [(c[which == k].mean() - right[which == k].mean()).abs() for k in which.unique()]
    return torch.stack(distances).mean()

# %% wrong check_calibration_error: nan
def my_calibration_error(chosen, rejected, bins):
    gap = (chosen - rejected).double()
    c, right = torch.sigmoid(gap.abs()), 0.5 + 0.5*gap.sign()
    which = ((c - 0.5)*2*bins).long().clamp(max=bins - 1)
    total = 0.0
    for k in range(bins):
        inside = which == k
        total += inside.float().mean()*(c[inside].mean() - right[inside].mean()).abs()
    return total

# %% wrong check_calibration_error: falls out of the last group
def my_calibration_error(chosen, rejected, bins):
    gap = (chosen - rejected).double()
    c, right = torch.sigmoid(gap.abs()), 0.5 + 0.5*gap.sign()
    edges = torch.linspace(0.5, 1, bins + 1).double()
    total = 0.0
    for low, high in zip(edges[:-1], edges[1:]):
        inside = (c >= low) & (c < high)
        if inside.any():
            total += inside.sum()*(c[inside].mean() - right[inside].mean()).abs()
    return total/len(c)

# %% wrong check_calibration_error: tie
def my_calibration_error(chosen, rejected, bins):
    gap = (chosen - rejected).double()
    c, right = torch.sigmoid(gap.abs()), (gap > 0).double()
    which = ((c - 0.5)*2*bins).long().clamp(max=bins - 1)
    return sum((c[which == k] - right[which == k]).sum().abs() for k in range(bins))/len(c)

# %% wrong check_calibration_error: pair by pair
def my_calibration_error(chosen, rejected, bins):
    gap = chosen - rejected
    return (torch.sigmoid(gap.abs()) - (0.5 + 0.5*gap.sign())).abs().mean()

# %% wrong check_calibration_error: cancel
def my_calibration_error(chosen, rejected, bins):
    gap = (chosen - rejected).double()
    c, right = torch.sigmoid(gap.abs()), 0.5 + 0.5*gap.sign()
    which = ((c - 0.5)*2*bins).long().clamp(max=bins - 1)
    return sum((c[which == k] - right[which == k]).sum() for k in range(bins))/len(c)

# %% wrong check_calibration_error: every pair counts as right
def my_calibration_error(chosen, rejected, bins):
    gap = (chosen - rejected).double()
    c = torch.sigmoid(gap.abs())
    right = (c >= 0.5).double()
    which = ((c - 0.5)*2*bins).long().clamp(max=bins - 1)
    return sum((c[which == k] - right[which == k]).sum().abs() for k in range(bins))/len(c)

# %% wrong check_calibration_error: σ
def my_calibration_error(chosen, rejected, bins):
    gap = (chosen - rejected).double()
    c, right = torch.sigmoid(gap), 0.5 + 0.5*gap.sign()
    which = (c*bins).long().clamp(max=bins - 1)
    return sum((c[which == k] - right[which == k]).sum().abs() for k in range(bins))/len(c)

# %% right check_calibration_error
def my_calibration_error(chosen, rejected, bins):
    gap = (chosen - rejected).double()
    c, right = torch.sigmoid(gap.abs()), 0.5 + 0.5*gap.sign()
    which = ((c - 0.5)*2*bins).long().clamp(max=bins - 1)
    return sum((c[which == k] - right[which == k]).sum().abs() for k in range(bins))/len(c)

# %% right check_calibration_error
def my_calibration_error(chosen, rejected, bins):
    gap = (chosen - rejected).numpy()
    c = 1/(1 + np.exp(-np.abs(gap)))
    right = np.where(gap == 0, 0.5, gap > 0)
    which = np.minimum(np.digitize(c, np.linspace(0.5, 1, bins + 1)) - 1, bins - 1)
    table = pd.DataFrame({'c': c, 'right': right, 'which': which}).groupby('which')
    means, n = table[['c', 'right']].mean(), table.size()
    return float(((means.c - means.right).abs()*n).sum()/n.sum())

# %% right check_calibration_error
def my_calibration_error(chosen, rejected, bins):
    gap = chosen - rejected
    off = torch.sigmoid(gap.abs()) - torch.heaviside(gap, torch.tensor(0.5))
    which = ((torch.sigmoid(gap.abs()) - 0.5)*2*bins).long().clamp(max=bins - 1)
    return torch.zeros(bins).index_add(0, which, off).abs().sum()/len(gap)

# %% right check_calibration_error
def my_calibration_error(chosen, rejected, bins):
    c = torch.maximum(torch.sigmoid(chosen - rejected), torch.sigmoid(rejected - chosen))
    right = ((chosen > rejected).float() + (chosen >= rejected).float())/2
    edges = torch.linspace(0.5, 1, bins + 1)
    total = 0.0
    for k in range(bins):
        inside = (c >= edges[k]) & ((c < edges[k + 1]) | (k == bins - 1))
        if inside.sum() > 0:
            total += inside.sum()/len(c)*(c[inside].mean() - right[inside].mean()).abs()
    return total

# %% wrong check_rankings_loss: nothing is returned
def my_rankings_loss(scores, ranks, prompts):
    ...

# %% wrong check_rankings_loss: different prompts
def my_rankings_loss(scores, ranks, prompts):
    better = ranks[:, None] < ranks
    return -F.logsigmoid(scores[:, None] - scores)[better].mean()

# %% wrong check_rankings_loss: many responses weighs more
def my_rankings_loss(scores, ranks, prompts):
    better = (ranks[:, None] < ranks) & (prompts[:, None] == prompts)
    return -F.logsigmoid(scores[:, None] - scores)[better].mean()

# %% wrong check_rankings_loss: rank 1 is the best
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in prompts.unique():
        r, k = scores[prompts == p], ranks[prompts == p]
        better = k[:, None] > k
        if better.any():
            losses.append(-F.logsigmoid(r[:, None] - r)[better].mean())
    return torch.stack(losses).mean()

# %% wrong check_rankings_loss: were not told apart
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in prompts.unique():
        r, k = scores[prompts == p], ranks[prompts == p]
        if len(r) > 1:
            shares = 0.5 + 0.5*(k - k[:, None]).sign()
            losses.append(ranking_loss(r, shares))
    return torch.stack(losses).mean()

# %% wrong check_rankings_loss: nan
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in prompts.unique():
        r, k = scores[prompts == p], ranks[prompts == p]
        losses.append(-F.logsigmoid(r[:, None] - r)[k[:, None] < k].mean())
    return torch.stack(losses).mean()

# %% wrong check_rankings_loss: number that is divided by
def my_rankings_loss(scores, ranks, prompts):
    total = 0.0
    for p in prompts.unique():
        r, k = scores[prompts == p], ranks[prompts == p]
        better = k[:, None] < k
        if better.any():
            total = total - F.logsigmoid(r[:, None] - r)[better].mean()
    return total/len(prompts.unique())

# %% wrong check_rankings_loss: sum
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in prompts.unique():
        r, k = scores[prompts == p], ranks[prompts == p]
        better = k[:, None] < k
        if better.any():
            losses.append(-F.logsigmoid(r[:, None] - r)[better].sum())
    return torch.stack(losses).mean()

# %% wrong check_rankings_loss: neighbours
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in prompts.unique():
        r, k = scores[prompts == p], ranks[prompts == p]
        order = k.argsort(stable=True)
        r, k = r[order], k[order]
        gaps = (r[:-1] - r[1:])[k[:-1] < k[1:]]
        if len(gaps):
            losses.append(-F.logsigmoid(gaps).mean())
    return torch.stack(losses).mean()

# %% wrong check_rankings_loss: F.logsigmoid
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in prompts.unique():
        r, k = scores[prompts == p], ranks[prompts == p]
        better = k[:, None] < k
        if better.any():
            losses.append(-torch.sigmoid(r[:, None] - r)[better].log().mean())
    return torch.stack(losses).mean()

# %% wrong check_rankings_loss: no gradient reaches
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in prompts.unique():
        own = (prompts == p).nonzero().flatten().tolist()
        pairs = [-F.logsigmoid(scores[i] - scores[j]).item()
                 for i in own for j in own if ranks[i] < ranks[j]]
        if pairs:
            losses.append(sum(pairs)/len(pairs))
    return torch.tensor(losses).mean()

# %% wrong check_rankings_loss: side by side
def my_rankings_loss(scores, ranks, prompts):
    _, counts = prompts.unique_consecutive(return_counts=True)
    losses = []
    for r, k in zip(scores.split(counts.tolist()), ranks.split(counts.tolist())):
        better = k[:, None] < k
        if better.any():
            losses.append(-F.logsigmoid(r[:, None] - r)[better].mean())
    return torch.stack(losses).mean()

# %% wrong check_rankings_loss: minus
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in prompts.unique():
        r, k = scores[prompts == p], ranks[prompts == p]
        better = k[:, None] < k
        if better.any():
            losses.append(F.logsigmoid(r[:, None] - r)[better].mean())
    return torch.stack(losses).mean()

# %% right check_rankings_loss
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in prompts.unique():
        own = (prompts == p).nonzero().flatten()
        pairs = [bradley_terry_loss(scores[i], scores[j])
                 for i in own for j in own if ranks[i] < ranks[j]]
        if pairs:
            losses.append(sum(pairs)/len(pairs))
    return sum(losses)/len(losses)

# %% right check_rankings_loss
def my_rankings_loss(scores, ranks, prompts):
    better = (ranks[:, None] < ranks) & (prompts[:, None] == prompts)
    i, j = better.nonzero(as_tuple=True)
    _, which, counts = prompts[i].unique(return_inverse=True, return_counts=True)
    losses = F.softplus(scores[j] - scores[i])
    return (losses/counts[which]).sum()/len(counts)

# %% right check_rankings_loss
def my_rankings_loss(scores, ranks, prompts):
    scores = scores.double()
    groups = {}
    for k, p in enumerate(prompts.tolist()):
        groups.setdefault(p, []).append(k)
    means = []
    for own in groups.values():
        i, j = torch.combinations(torch.tensor(own), 2).unbind(1)
        sign = (ranks[j] - ranks[i]).sign()
        counted = sign != 0
        if counted.any():
            x = (sign*(scores[i] - scores[j]))[counted]
            means.append(torch.logaddexp(torch.zeros_like(x), -x).mean())
    return torch.stack(means).mean()

# %% right check_rankings_loss
def my_rankings_loss(scores, ranks, prompts):
    ones = F.one_hot(prompts).float()
    better = (ranks[:, None] < ranks).float()*torch.einsum('ip,jp->ij', ones, ones)
    losses = F.binary_cross_entropy_with_logits(
        scores[:, None] - scores, torch.ones(len(scores), len(scores)), reduction='none')
    totals = torch.einsum('ip,ij,ij->p', ones, better, losses)
    counts = torch.einsum('ip,ij->p', ones, better)
    return (totals[counts > 0]/counts[counts > 0]).mean()

# %% right check_rankings_loss
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in set(prompts.tolist()):
        r, k = scores[prompts == p], ranks[prompts == p]
        shares = 0.5 + 0.5*(k - k[:, None]).sign()
        i, j = torch.triu_indices(len(r), len(r), 1)
        keep = shares[i, j] != 0.5
        if keep.any():
            losses.append(F.binary_cross_entropy_with_logits(
                (r[i] - r[j])[keep], shares[i, j][keep]))
    return torch.stack(losses).mean()

# %% wrong check_length_share: longer text comes second
def my_length_share(scores, ratings, lengths, near):
    won = n = 0
    for i in range(len(scores)):
        for j in range(i + 1, len(scores)):
            if abs(ratings[i] - ratings[j]) <= near and lengths[i] > lengths[j]:
                n += 1
                won += 1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0
    return won/n if n else 0.5

# %% wrong check_length_share: between −1 and 1
def my_length_share(scores, ratings, lengths, near):
    i, j = torch.triu_indices(len(scores), len(scores), 1)
    counted = ((ratings[i] - ratings[j]).abs() <= near) & (lengths[i] != lengths[j])
    if not counted.any():
        return 0.5
    return torch.sign((scores[i] - scores[j])*(lengths[i] - lengths[j]))[counted].mean()

# %% wrong check_text_ends: wrong way round
def my_text_ends(scores, texts):
    following = F.pad(texts[:, 1:], (0, 1))
    return scores[(texts > 0) & (texts != following)].flip(0)

# %% wrong check_text_ends: last text of each row is missed
def my_text_ends(scores, texts):
    found = []
    for row, numbers in zip(scores, texts):
        for k in range(1, int(numbers.max())):
            found.append(row[numbers == k][-1])
    return torch.stack(found)

# %% wrong check_calibration_error: in no group
def my_calibration_error(chosen, rejected, bins):
    gap = chosen - rejected
    p, right = torch.sigmoid(gap), 0.5 + 0.5*gap.sign()
    edges = torch.linspace(0.5, 1, bins + 1)
    total = 0.0
    for k in range(bins):
        inside = (p >= edges[k]) & ((p < edges[k + 1]) | (k == bins - 1))
        if inside.any():
            total += inside.float().mean()*(p[inside].mean() - right[inside].mean()).abs()
    return total

# %% wrong check_rankings_loss: all have one rank makes it nan
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in prompts.unique():
        r, k = scores[prompts == p], ranks[prompts == p]
        if len(r) > 1:
            losses.append(-F.logsigmoid(r[:, None] - r)[k[:, None] < k].mean())
    return torch.stack(losses).mean()

# %% wrong check_rankings_loss: mean is taken of the gaps
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in prompts.unique():
        r, k = scores[prompts == p], ranks[prompts == p]
        better = k[:, None] < k
        if better.any():
            losses.append(-F.logsigmoid((r[:, None] - r)[better].mean()))
    return torch.stack(losses).mean()

# %% wrong check_length_share: a pair whose ratings differ by exactly `near` is left out
# near itself does not count (strictly below)
def my_length_share(scores, ratings, lengths, near):
    dr = (ratings[:, None] - ratings[None, :]).abs()
    dl = lengths[:, None] - lengths[None, :]
    ds = scores[:, None] - scores[None, :]
    pairs = (dr < near) & (dl > 0)
    if not pairs.any():
        return 0.5
    win = (ds > 0).float() + 0.5 * (ds == 0).float()
    return win[pairs].mean().item()

# %% wrong check_length_share: equal scores count as lost, and should count half
# equal scores count 0
def my_length_share(scores, ratings, lengths, near):
    won, total = 0, 0
    for i in range(len(scores)):
        for j in range(i + 1, len(scores)):
            if abs(ratings[i] - ratings[j]) <= near and lengths[i] != lengths[j]:
                total += 1
                longer, shorter = (i, j) if lengths[i] > lengths[j] else (j, i)
                if scores[longer] > scores[shorter]:
                    won += 1
    return won / total if total else 0.5

# %% wrong check_length_share: equal scores are left out, and should count half
# pairs with equal scores are left out of the count
def my_length_share(scores, ratings, lengths, near):
    dr = (ratings[:, None] - ratings[None, :]).abs()
    dl = lengths[:, None] - lengths[None, :]
    ds = scores[:, None] - scores[None, :]
    pairs = (dr <= near) & (dl > 0) & (ds != 0)
    if not pairs.any():
        return 0.5
    return (ds[pairs] > 0).float().mean().item()

# %% wrong check_length_share: the rating of the shorter text is taken from
# the difference of the ratings lacks its absolute value
def my_length_share(scores, ratings, lengths, near):
    dr = ratings[:, None] - ratings[None, :]
    dl = lengths[:, None] - lengths[None, :]
    ds = scores[:, None] - scores[None, :]
    pairs = (dr <= near) & (dl > 0)
    if not pairs.any():
        return 0.5
    win = (ds > 0).float() + 0.5 * (ds == 0).float()
    return win[pairs].mean().item()

# %% wrong check_length_share: where there is no pair, 0.5 is asked for: a mean of nothing
# no pair gives NaN, the mean of nothing
def my_length_share(scores, ratings, lengths, near):
    i, j = torch.combinations(torch.arange(len(scores)), 2).unbind(1)
    keep = ((ratings[i] - ratings[j]).abs() <= near) & (lengths[i] != lengths[j])
    i, j = i[keep], j[keep]
    agree = torch.sign(scores[i] - scores[j]) * torch.sign(lengths[i] - lengths[j])
    return ((agree + 1) / 2).mean().item()

# %% wrong check_length_share: the first text is taken for the longer one
# pairs of equal length count too, the first as the longer
def my_length_share(scores, ratings, lengths, near):
    total, won = 0, 0.0
    for i in range(len(scores)):
        for j in range(i + 1, len(scores)):
            if abs(float(ratings[i] - ratings[j])) > near:
                continue
            a, b = (i, j) if lengths[i] >= lengths[j] else (j, i)
            total += 1
            if scores[a] > scores[b]:
                won += 1
            elif scores[a] == scores[b]:
                won += 0.5
    return won / total if total > 0 else 0.5

# %% wrong check_length_share: only neighbours in rating are compared
# only neighbours in the order of the ratings are compared
def my_length_share(scores, ratings, lengths, near):
    order = torch.argsort(ratings)
    s, r, l = scores[order], ratings[order], lengths[order]
    keep = ((r[1:] - r[:-1]) <= near) & (l[1:] != l[:-1])
    if keep.sum() == 0:
        return 0.5
    sign = torch.sign(s[1:] - s[:-1]) * torch.sign(l[1:] - l[:-1])
    return (0.5 + 0.5 * sign[keep].float()).mean().item()

# %% wrong check_length_share: `near` is not used: only pairs with equal ratings count
# near ignored, only equal ratings are paired
def my_length_share(scores, ratings, lengths, near):
    dl = lengths[:, None] - lengths[None, :]
    ds = scores[:, None] - scores[None, :]
    pairs = (ratings[:, None] == ratings[None, :]) & (dl > 0)
    if not pairs.any():
        return 0.5
    win = (ds > 0).float() + 0.5 * (ds == 0).float()
    return win[pairs].mean().item()

# %% wrong check_length_share: each pair should weigh the same
# share per text first, then the mean over the texts
def my_length_share(scores, ratings, lengths, near):
    shares = []
    for i in range(len(scores)):
        ok = ((ratings - ratings[i]).abs() <= near) & (lengths < lengths[i])
        if ok.any():
            d = scores[i] - scores[ok]
            shares.append(((d > 0).float() + 0.5 * (d == 0).float()).mean().item())
    return sum(shares) / len(shares) if shares else 0.5

# %% right check_length_share
# generator over itertools.combinations, Python numbers
import itertools

def my_length_share(scores, ratings, lengths, near):
    texts = list(zip(scores.tolist(), ratings.tolist(), lengths.tolist()))
    points = []
    for (s, r, l), (s2, r2, l2) in itertools.combinations(texts, 2):
        if l == l2 or abs(r - r2) > near:
            continue
        points.append(0.5 if s == s2 else float((s > s2) == (l > l2)))
    return sum(points) / len(points) if points else 0.5

# %% right check_length_share
# numpy in float64, every pair counted twice, np.float64 returned
def my_length_share(scores, ratings, lengths, near):
    s, r, l = (x.detach().cpu().numpy().astype(np.float64) for x in (scores, ratings, lengths))
    agree = np.sign(np.subtract.outer(s, s)) * np.sign(np.subtract.outer(l, l))
    keep = (np.abs(np.subtract.outer(r, r)) <= near) & (np.subtract.outer(l, l) != 0)
    return np.float64(0.5) if keep.sum() == 0 else (agree[keep].mean() + 1) / 2

# %% right check_length_share
# sorted by length first, a tensor without dimensions returned
def my_length_share(scores, ratings, lengths, near):
    order = lengths.argsort(descending=True)
    s, r, l = scores[order], ratings[order], lengths[order]
    i, j = torch.triu_indices(len(s), len(s), offset=1)
    keep = ((r[i] - r[j]).abs() <= near) & l[i].ne(l[j])
    i, j = i[keep], j[keep]
    if len(i) == 0:
        return torch.tensor(0.5)
    return torch.heaviside((s[i] - s[j]).double(), torch.tensor(0.5, dtype=torch.float64)).mean()

# %% right check_length_share
# counts of wins, losses and ties, vector by vector
def my_length_share(scores, ratings, lengths, near):
    wins = losses = ties = 0
    for k in range(len(scores)):
        shorter = (lengths < lengths[k]) & (torch.abs(ratings - ratings[k]) <= near)
        wins += int((scores[k] > scores[shorter]).sum())
        losses += int((scores[k] < scores[shorter]).sum())
        ties += int((scores[k] == scores[shorter]).sum())
    n = wins + losses + ties
    return (2 * wins + ties) / (2 * n) if n else 1 / 2

# %% wrong check_text_ends: a text is missed where the next one follows without padding
# an end is only where padding follows, so texts that touch are one
def my_text_ends(scores, texts):
    nxt = F.pad(texts[:, 1:], (0, 1), value=0)
    return scores[(texts > 0) & (nxt == 0)]

# %% wrong check_text_ends: those are the first tokens of the texts, which have seen
# first token of each text
def my_text_ends(scores, texts):
    prev = F.pad(texts[:, :-1], (1, 0), value=0)
    return scores[(texts > 0) & (prev != texts)]

# %% wrong check_text_ends: its shape is (1,), and (2,) is right. The case: two texts
# only the last text of each row
def my_text_ends(scores, texts):
    T = texts.shape[1]
    pos = torch.arange(T, device=texts.device)
    last = torch.where(texts > 0, pos, torch.zeros_like(pos)).max(dim=1).values
    has = (texts > 0).any(dim=1)
    return scores.gather(1, last[:, None])[:, 0][has]

# %% wrong check_text_ends: a text that ends with its row is missed
# a text that ends in the last column is forgotten
def my_text_ends(scores, texts):
    end = (texts[:, :-1] != texts[:, 1:]) & (texts[:, :-1] > 0)
    return scores[:, :-1][end]

# %% wrong check_text_ends: a text that ends with its row is missed
# torch.roll looks from the last column round to the first
def my_text_ends(scores, texts):
    nxt = torch.roll(texts, -1, dims=1)
    return scores[(texts > 0) & (texts != nxt)]

# %% wrong check_text_ends: rows are laid end to end, and a text at the end of one runs
# flattened first, so a row's last text runs into the next row's first
def my_text_ends(scores, texts):
    flat = texts.flatten()
    nxt = torch.cat([flat[1:], flat.new_zeros(1)])
    return scores.flatten()[(flat > 0) & (flat != nxt)]

# %% wrong check_text_ends: the number is right, but no gradient reaches `scores`: was
# new tensor made of Python numbers, the gradient is cut
def my_text_ends(scores, texts):
    out = []
    for b in range(texts.shape[0]):
        for t in range(texts.shape[1]):
            if texts[b, t] > 0 and (t + 1 == texts.shape[1] or texts[b, t + 1] != texts[b, t]):
                out.append(scores[b, t].item())
    return torch.tensor(out)

# %% wrong check_text_ends: the first text of all rows comes first, then the second: go
# first texts of all rows, then the second ones
def my_text_ends(scores, texts):
    T = texts.shape[1]
    pos = torch.arange(T, device=texts.device)
    out = []
    for k in range(1, int(texts.max()) + 1):
        for b in range(texts.shape[0]):
            here = pos[texts[b] == k]
            if len(here):
                out.append(scores[b, here[-1]])
    return torch.stack(out) if out else scores.new_zeros(0)

# %% wrong check_text_ends: padding is taken for a text where
# stretches of padding in front of and between texts count as texts
def my_text_ends(scores, texts):
    end = torch.ones_like(texts, dtype=torch.bool)
    end[:, :-1] = texts[:, 1:] != texts[:, :-1]
    end[:, -1] = texts[:, -1] > 0
    return scores[end]

# %% right check_text_ends
# Python loops that collect flat positions
def my_text_ends(scores, texts):
    B, T = texts.shape
    where = []
    for b, row in enumerate(texts.tolist()):
        for t, k in enumerate(row):
            if k and row[t + 1:t + 2] != [k]:
                where.append(b * T + t)
    return scores.reshape(-1)[torch.tensor(where, dtype=torch.long, device=scores.device)]

# %% right check_text_ends
# amax of positions scattered into a table of texts
def my_text_ends(scores, texts):
    B, T = texts.shape
    K = int(texts.max()) + 1
    pos = torch.arange(T).expand(B, T)
    last = torch.full((B, K), -1).scatter_reduce(1, texts.long(), pos, "amax")[:, 1:]
    rows = torch.arange(B)[:, None].expand_as(last)
    keep = last >= 0
    return scores[rows[keep], last[keep]]

# %% right check_text_ends
# numpy finds the places, from the right to the left
def my_text_ends(scores, texts):
    t = texts.cpu().numpy()
    rows, cols = [], []
    for b in reversed(range(t.shape[0])):
        behind = 0
        for c in reversed(range(t.shape[1])):
            if t[b, c] != 0 and t[b, c] != behind:
                rows.append(b)
                cols.append(c)
            behind = t[b, c]
    rows = torch.from_numpy(np.array(rows[::-1], dtype=np.int64))
    cols = torch.from_numpy(np.array(cols[::-1], dtype=np.int64))
    return scores[rows, cols]

# %% right check_text_ends
# unique_consecutive over keys of row and text, in float64
def my_text_ends(scores, texts):
    key = texts.long() + torch.arange(texts.shape[0])[:, None] * (int(texts.max()) + 1)
    value, count = torch.unique_consecutive(key.flatten(), return_counts=True)
    end = count.cumsum(0) - 1
    end = end[texts.flatten()[end] > 0]
    return scores.double().flatten().index_select(0, end)

# %% wrong check_calibration_error: the groups are cut from 0 to 1; the confidence in the
# 0 to 1 is cut instead of 0.5 to 1
def my_calibration_error(chosen, rejected, bins):
    gap = chosen - rejected
    conf = torch.sigmoid(gap.abs())
    right = (gap > 0).float() + 0.5 * (gap == 0).float()
    group = (conf * bins).long().clamp(max=bins - 1)
    total = 0.0
    for g in range(bins):
        m = group == g
        if m.any():
            total += m.sum().item() * (conf[m].mean() - right[m].mean()).abs().item()
    return total / len(gap)

# %% wrong check_calibration_error: a tie counts as wrong, and should count half
# a gap of 0 counts as wrong
def my_calibration_error(chosen, rejected, bins):
    gap = chosen - rejected
    conf = torch.sigmoid(gap.abs())
    right = (gap > 0).float()
    group = ((conf - 0.5) * 2 * bins).long().clamp(max=bins - 1)
    err = 0.0
    for g in group.unique():
        m = group == g
        err += m.float().mean().item() * (conf[m].mean() - right[m].mean()).abs().item()
    return err

# %% wrong check_calibration_error: a confidence of exactly 1 falls out of the last group
# confidences of exactly 1 fall out of the last group
def my_calibration_error(chosen, rejected, bins):
    gap = chosen - rejected
    conf = torch.sigmoid(gap.abs())
    right = (torch.sign(gap) + 1) / 2
    edges = torch.linspace(0.5, 1, bins + 1)
    err = 0.0
    for low, high in zip(edges[:-1], edges[1:]):
        m = (conf >= low) & (conf < high)
        if m.any():
            err += m.sum().item() / len(gap) * (conf[m].mean() - right[m].mean()).abs().item()
    return err

# %% wrong check_calibration_error: every group weighs the same: weigh each by the number of
# every group weighs the same
def my_calibration_error(chosen, rejected, bins):
    gap = chosen - rejected
    conf = torch.sigmoid(gap.abs())
    right = (torch.sign(gap) + 1) / 2
    group = ((conf - 0.5) * 2 * bins).long().clamp(max=bins - 1)
    errs = [(conf[group == g].mean() - right[group == g].mean()).abs() for g in group.unique()]
    return torch.stack(errs).mean().item()

# %% wrong check_calibration_error: go into the first group
# the gap keeps its sign, so all that is below 0.5 lands in the first group
def my_calibration_error(chosen, rejected, bins):
    gap = chosen - rejected
    conf = torch.sigmoid(gap)
    right = (torch.sign(gap) + 1) / 2
    group = ((conf - 0.5) * 2 * bins).floor().long().clamp(0, bins - 1)
    err = 0.0
    for g in range(bins):
        m = group == g
        if m.any():
            err += m.float().mean().item() * (conf[m].mean() - right[m].mean()).abs().item()
    return err

# %% wrong check_calibration_error: confidence and outcome are compared pair by pair: take both
# no groups, distance pair by pair
def my_calibration_error(chosen, rejected, bins):
    gap = chosen - rejected
    right = (torch.sign(gap) + 1) / 2
    return (torch.sigmoid(gap.abs()) - right).abs().mean().item()

# %% wrong check_calibration_error: all pairs are in one group
# signed distances cancel between groups
def my_calibration_error(chosen, rejected, bins):
    gap = chosen - rejected
    conf = torch.sigmoid(gap.abs())
    right = (torch.sign(gap) + 1) / 2
    group = ((conf - 0.5) * 2 * bins).long().clamp(max=bins - 1)
    err = 0.0
    for g in range(bins):
        m = group == g
        if m.any():
            err += m.float().mean().item() * (conf[m].mean() - right[m].mean()).item()
    return abs(err)

# %% wrong check_calibration_error: the middle of a group stands for the mean confidence of its
# the middle of the group stands for its mean confidence
def my_calibration_error(chosen, rejected, bins):
    gap = chosen - rejected
    conf = torch.sigmoid(gap.abs())
    right = (torch.sign(gap) + 1) / 2
    group = ((conf - 0.5) * 2 * bins).long().clamp(max=bins - 1)
    err = 0.0
    for g in range(bins):
        m = group == g
        if m.any():
            middle = 0.5 + (g + 0.5) * 0.5 / bins
            err += m.float().mean().item() * abs(middle - right[m].mean().item())
    return err

# %% wrong check_calibration_error: an empty group makes it nan
# an empty group makes the result NaN
def my_calibration_error(chosen, rejected, bins):
    gap = chosen - rejected
    conf = torch.sigmoid(gap.abs())
    right = (torch.sign(gap) + 1) / 2
    group = ((conf - 0.5) * 2 * bins).long().clamp(max=bins - 1)
    err = 0.0
    for g in range(bins):
        m = group == g
        err = err + m.float().mean() * (conf[m].mean() - right[m].mean()).abs()
    return err.item()

# %% right check_calibration_error
# bincount of conf minus right, the counts cancel
def my_calibration_error(chosen, rejected, bins):
    gap = (chosen - rejected).detach().double()
    conf = gap.abs().sigmoid()
    diff = conf - (gap.sign() + 1) / 2
    group = ((conf - 0.5) * (2 * bins)).long().clamp(max=bins - 1)
    return torch.bincount(group, weights=diff, minlength=bins).abs().sum().item() / gap.numel()

# %% right check_calibration_error
# np.histogram with weights
def my_calibration_error(chosen, rejected, bins):
    gap = (chosen - rejected).detach().numpy().astype(np.float64)
    conf = 1 / (1 + np.exp(-np.abs(gap)))
    right = np.where(gap > 0, 1.0, np.where(gap < 0, 0.0, 0.5))
    sums = [np.histogram(conf, bins=bins, range=(0.5, 1.0), weights=w)[0] for w in (conf, right)]
    return np.abs(sums[0] - sums[1]).sum() / len(gap)

# %% right check_calibration_error
# a dictionary of lists and Python numbers
def my_calibration_error(chosen, rejected, bins):
    groups = {}
    for c, r in zip(chosen.tolist(), rejected.tolist()):
        conf = 1 / (1 + math.exp(-abs(c - r)))
        right = 0.5 if c == r else int(c > r)
        groups.setdefault(min(int((conf - 0.5) / 0.5 * bins), bins - 1), []).append((conf, right))
    total = sum(len(g) for g in groups.values())
    return sum(len(g) * abs(sum(c for c, _ in g) / len(g) - sum(r for _, r in g) / len(g))
               for g in groups.values()) / total

# %% right check_calibration_error
# bucketize with inner edges, one-hot and einsum, a tensor returned
def my_calibration_error(chosen, rejected, bins):
    gap = chosen - rejected
    conf = torch.softmax(torch.stack([gap, -gap]) / 2, dim=0).amax(0)
    right = 0.5 + 0.5 * torch.sign(gap)
    edges = torch.linspace(0.5, 1.0, bins + 1)[1:-1]
    hot = F.one_hot(torch.bucketize(conf, edges, right=True), bins).to(conf.dtype)
    n = hot.sum(0)
    mean_conf = torch.einsum("nb,n->b", hot, conf) / n.clamp(min=1)
    mean_right = torch.einsum("nb,n->b", hot, right.to(conf.dtype)) / n.clamp(min=1)
    return (n / n.sum() * (mean_conf - mean_right).abs()).sum()

# %% wrong check_rankings_loss: every comparison weighs the same, so a prompt with many
# one mean over all comparisons, prompts with many weigh more
def my_rankings_loss(scores, ranks, prompts):
    pairs = (prompts[:, None] == prompts[None, :]) & (ranks[:, None] < ranks[None, :])
    gap = scores[:, None] - scores[None, :]
    return -F.logsigmoid(gap[pairs]).mean()

# %% wrong check_rankings_loss: a prompt without a comparison is in the number that is
# prompts without a comparison count as a loss of 0
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in prompts.unique():
        s, r = scores[prompts == p], ranks[prompts == p]
        better = r[:, None] < r[None, :]
        gap = s[:, None] - s[None, :]
        losses.append(-(F.logsigmoid(gap) * better).sum() / better.sum().clamp(min=1))
    return torch.stack(losses).mean()

# %% wrong check_rankings_loss: rank 1 is the best, and the higher rank is taken for the
# the higher rank is taken for the better
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in prompts.unique():
        s, r = scores[prompts == p], ranks[prompts == p]
        better = r[:, None] > r[None, :]
        if better.any():
            losses.append(F.softplus(-(s[:, None] - s[None, :])[better]).mean())
    return torch.stack(losses).mean()

# %% wrong check_rankings_loss: the log of a sigmoid is infinite for a gap of -200
# log of sigmoid, infinite for a large gap the wrong way
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in prompts.unique():
        s, r = scores[prompts == p], ranks[prompts == p]
        better = r[:, None] < r[None, :]
        if better.any():
            losses.append(-torch.log(torch.sigmoid((s[:, None] - s[None, :])[better])).mean())
    return torch.stack(losses).mean()

# %% wrong check_rankings_loss: a small number within the log bounds the loss of a clearly
# finite, but a small number in the log bends the loss of large gaps
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in prompts.unique():
        s, r = scores[prompts == p], ranks[prompts == p]
        better = r[:, None] < r[None, :]
        if better.any():
            losses.append(-torch.log(torch.sigmoid((s[:, None] - s[None, :])[better]) + 1e-8).mean())
    return torch.stack(losses).mean()

# %% wrong check_rankings_loss: responses of one rank are compared, and the first one wins
# equal ranks are compared as well
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in prompts.unique():
        s, r = scores[prompts == p], ranks[prompts == p]
        order = torch.argsort(r, stable=True)
        s = s[order]
        if len(s) > 1:
            i, j = torch.triu_indices(len(s), len(s), offset=1)
            losses.append(-F.logsigmoid(s[i] - s[j]).mean())
    return torch.stack(losses).mean()

# %% wrong check_rankings_loss: only neighbours in the ranking are compared: the first
# only neighbours in the ranking are compared
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in prompts.unique():
        s, r = scores[prompts == p], ranks[prompts == p]
        order = torch.argsort(r)
        s, r = s[order], r[order]
        keep = r[1:] > r[:-1]
        if keep.any():
            losses.append(-F.logsigmoid((s[:-1] - s[1:])[keep]).mean())
    return torch.stack(losses).mean()

# %% wrong check_rankings_loss: the responses to a prompt need not stand side by
# takes each prompt's responses to stand side by side
def my_rankings_loss(scores, ranks, prompts):
    _, counts = torch.unique_consecutive(prompts, return_counts=True)
    losses = []
    for s, r in zip(scores.split(counts.tolist()), ranks.split(counts.tolist())):
        better = r[:, None] < r[None, :]
        if better.any():
            losses.append(-F.logsigmoid((s[:, None] - s[None, :])[better]).mean())
    return torch.stack(losses).mean() if losses else scores.sum() * 0

# %% wrong check_rankings_loss: the number of a prompt is a name: it need not begin at
# prompts are taken to be numbered 0, 1, 2, … without a hole
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in range(len(prompts.unique())):
        s, r = scores[prompts == p], ranks[prompts == p]
        better = r[:, None] < r[None, :]
        if better.any():
            losses.append(-F.logsigmoid((s[:, None] - s[None, :])[better]).mean())
    return torch.stack(losses).mean() if losses else scores.sum() * 0

# %% right check_rankings_loss
# loops, dictionary and logaddexp
def my_rankings_loss(scores, ranks, prompts):
    costs = {}
    zero = scores.new_zeros(())
    n = len(scores)
    for i in range(n):
        for j in range(n):
            if int(prompts[i]) == int(prompts[j]) and float(ranks[i]) < float(ranks[j]):
                costs.setdefault(int(prompts[i]), []).append(torch.logaddexp(zero, scores[j] - scores[i]))
    means = [sum(c) / len(c) for c in costs.values()]
    return sum(means) / len(means)

# %% right check_rankings_loss
# one weight for each comparison, index_add, no loop
def my_rankings_loss(scores, ranks, prompts):
    _, group = prompts.unique(return_inverse=True)
    i, j = torch.nonzero((group[:, None] == group) & (ranks[:, None] < ranks), as_tuple=True)
    loss = F.softplus(scores[j] - scores[i])
    k = int(group.max()) + 1
    n = torch.bincount(group[i], minlength=k)
    total = torch.zeros(k, dtype=loss.dtype).index_add(0, group[i], loss)
    return (total[n > 0] / n[n > 0]).mean()

# %% right check_rankings_loss
# binary cross entropy with logits over combinations, in float64
def my_rankings_loss(scores, ranks, prompts):
    means = []
    for p in set(prompts.tolist()):
        idx = (prompts == p).nonzero().flatten()
        if len(idx) < 2:
            continue
        i, j = torch.combinations(idx, 2).T
        keep = ranks[i] != ranks[j]
        i, j = i[keep], j[keep]
        if len(i) > 0:
            gap = scores[i].double() - scores[j].double()
            means.append(F.binary_cross_entropy_with_logits(gap, (ranks[i] < ranks[j]).double()))
    return torch.stack(means).sum() / len(means)

# %% right check_rankings_loss
# weighted sum of a full matrix by einsum, log_softmax of two
def my_rankings_loss(scores, ranks, prompts):
    same = prompts[:, None] == prompts[None, :]
    pairs = (same & (ranks[:, None] < ranks[None, :])).to(scores.dtype)
    mine, other = torch.broadcast_tensors(scores[:, None], scores[None, :])
    cost = -F.log_softmax(torch.stack([mine, other], -1), -1)[..., 0]
    per_prompt = torch.einsum("ij,jk->i", same.to(scores.dtype), pairs)
    weight = pairs / per_prompt.clamp(min=1)[:, None]
    return torch.einsum("ij,ij->", weight, cost) / weight.sum()

# %% wrong check_length_share: the rating of the shorter text is taken from
def my_length_share(scores, ratings, lengths, near):
    points = []
    for i in range(len(scores)):
        for j in range(len(scores)):
            if lengths[i] > lengths[j] and ratings[i] - ratings[j] <= near:
                points.append(0.5 if scores[i] == scores[j] else float(scores[i] > scores[j]))
    return sum(points)/len(points) if points else 0.5

# %% wrong check_length_share: the rating of the longer text is taken from
def my_length_share(scores, ratings, lengths, near):
    points = []
    for i in range(len(scores)):
        for j in range(len(scores)):
            if lengths[i] > lengths[j] and ratings[j] - ratings[i] <= near:
                points.append(0.5 if scores[i] == scores[j] else float(scores[i] > scores[j]))
    return sum(points)/len(points) if points else 0.5

# %% wrong check_length_share: neighbours in length
def my_length_share(scores, ratings, lengths, near):
    order = lengths.argsort(stable=True)
    s, r, n = scores[order], ratings[order], lengths[order]
    points = []
    for i in range(len(s) - 1):
        if n[i+1] > n[i] and abs(r[i+1] - r[i]) <= near:
            points.append(0.5 if s[i] == s[i+1] else float(s[i+1] > s[i]))
    return sum(points)/len(points) if points else 0.5

# %% wrong check_length_share: neighbours in rating
def my_length_share(scores, ratings, lengths, near):
    order = ratings.argsort(stable=True)
    s, r, n = scores[order], ratings[order], lengths[order]
    points = []
    for i in range(len(s) - 1):
        if n[i+1] != n[i] and abs(r[i+1] - r[i]) <= near:
            agrees = (s[i+1] > s[i]) == (n[i+1] > n[i])
            points.append(0.5 if s[i] == s[i+1] else float(agrees))
    return sum(points)/len(points) if points else 0.5

# %% wrong check_length_share: in it, both ways
def my_length_share(scores, ratings, lengths, near):
    points = []
    for i in range(len(scores)):
        for j in range(len(scores)):
            if i != j and lengths[i] >= lengths[j] and abs(ratings[i] - ratings[j]) <= near:
                points.append(0.5 if scores[i] == scores[j] else float(scores[i] > scores[j]))
    return sum(points)/len(points) if points else 0.5

# %% wrong check_length_share: each text with itself
def my_length_share(scores, ratings, lengths, near):
    points = []
    for i in range(len(scores)):
        for j in range(len(scores)):
            if lengths[i] >= lengths[j] and abs(ratings[i] - ratings[j]) <= near:
                points.append(0.5 if scores[i] == scores[j] else float(scores[i] > scores[j]))
    return sum(points)/len(points) if points else 0.5

# %% wrong check_length_share: the first text is taken for the longer one
def my_length_share(scores, ratings, lengths, near):
    points = []
    for i in range(len(scores)):
        for j in range(i + 1, len(scores)):
            if abs(ratings[i] - ratings[j]) <= near:
                a, c = (i, j) if lengths[i] >= lengths[j] else (j, i)
                points.append(0.5 if scores[a] == scores[c] else float(scores[a] > scores[c]))
    return sum(points)/len(points) if points else 0.5

# %% wrong check_length_share: the second text is taken for the longer one
def my_length_share(scores, ratings, lengths, near):
    points = []
    for i in range(len(scores)):
        for j in range(i + 1, len(scores)):
            if abs(ratings[i] - ratings[j]) <= near:
                agrees = (scores[i] > scores[j]) == (lengths[i] > lengths[j])
                points.append(0.5 if scores[i] == scores[j] else float(agrees))
    return sum(points)/len(points) if points else 0.5

# %% wrong check_length_share: by the order of the texts
def my_length_share(scores, ratings, lengths, near):
    points = []
    for i in range(len(scores)):
        for j in range(i + 1, len(scores)):
            if abs(ratings[i] - ratings[j]) <= near and lengths[i] != lengths[j]:
                points.append(float((scores[i] > scores[j]) == (lengths[i] > lengths[j])))
    return sum(points)/len(points) if points else 0.5

# %% wrong check_text_ends: padding is taken for a text where
def my_text_ends(scores, texts):
    following = F.pad(texts[:, 1:], (0, 1), value=0)
    return scores[texts != following]

# %% wrong check_text_ends: padding is taken for a text with the number 0
def my_text_ends(scores, texts):
    found = []
    for row, numbers in zip(scores, texts):
        for k in range(int(numbers.max()) + 1):
            if (numbers == k).any():
                found.append(row[numbers == k][-1])
    return torch.stack(found)

# %% wrong check_text_ends: one place after the change
def my_text_ends(scores, texts):
    ends = texts[:, 1:] != texts[:, :-1]
    return scores[:, 1:][ends]

# %% wrong check_calibration_error: absolute value of the distance is missing
def my_calibration_error(chosen, rejected, bins):
    gap = (chosen - rejected).double()
    c, right = torch.sigmoid(gap.abs()), 0.5 + 0.5*gap.sign()
    which = ((c - 0.5)*2*bins).long().clamp(max=bins - 1)
    total = 0.
    for k in which.unique():
        m = which == k
        total += m.sum()*(right[m].mean() - c[m].mean())
    return total/len(c)

# %% wrong check_calibration_error: after the sum over groups
def my_calibration_error(chosen, rejected, bins):
    gap = (chosen - rejected).double()
    c, right = torch.sigmoid(gap.abs()), 0.5 + 0.5*gap.sign()
    which = ((c - 0.5)*2*bins).long().clamp(max=bins - 1)
    total = 0.
    for k in which.unique():
        m = which == k
        total += m.sum()*(right[m].mean() - c[m].mean())
    return abs(total)/len(c)

# %% wrong check_calibration_error: the number of all pairs by that of the group
def my_calibration_error(chosen, rejected, bins):
    gap = (chosen - rejected).double()
    c, right = torch.sigmoid(gap.abs()), 0.5 + 0.5*gap.sign()
    which = ((c - 0.5)*2*bins).long().clamp(max=bins - 1)
    total = 0.
    for k in which.unique():
        m = which == k
        total += len(c)/m.sum()*(right[m].mean() - c[m].mean()).abs()
    return total

# %% wrong check_calibration_error: the smallest group weighs most
def my_calibration_error(chosen, rejected, bins):
    gap = (chosen - rejected).double()
    c, right = torch.sigmoid(gap.abs()), 0.5 + 0.5*gap.sign()
    which = ((c - 0.5)*2*bins).long().clamp(max=bins - 1)
    total, w = 0., 0.
    for k in which.unique():
        m = which == k
        total += (right[m].mean() - c[m].mean()).abs()/m.sum()
        w += 1/m.sum()
    return total/w

# %% wrong check_calibration_error: divided by its number, not multiplied
def my_calibration_error(chosen, rejected, bins):
    gap = (chosen - rejected).double()
    c, right = torch.sigmoid(gap.abs()), 0.5 + 0.5*gap.sign()
    which = ((c - 0.5)*2*bins).long().clamp(max=bins - 1)
    total = 0.
    for k in which.unique():
        m = which == k
        total += (right[m].mean() - c[m].mean()).abs()/m.sum()
    return total

# %% wrong check_calibration_error: go into the first group
def my_calibration_error(chosen, rejected, bins):
    gap = (chosen - rejected).double()
    c, right = torch.sigmoid(gap), 0.5 + 0.5*gap.sign()
    which = ((c - 0.5)*2*bins).long().clamp(0, bins - 1)
    total = 0.
    for k in which.unique():
        m = which == k
        total += m.sum()*(right[m].mean() - c[m].mean()).abs()
    return total/len(c)

# %% wrong check_rankings_loss: few comparisons weighs more
def my_rankings_loss(scores, ranks, prompts):
    losses, weights = [], []
    for p in prompts.unique():
        r, k = scores[prompts == p], ranks[prompts == p]
        b = k[:, None] < k
        if b.any():
            losses.append(-F.logsigmoid((r[:, None] - r)[b]).mean())
            weights.append(1/b.sum())
    w = torch.stack(weights)
    return (torch.stack(losses)*w).sum()/w.sum()

# %% wrong check_rankings_loss: few responses weighs more
def my_rankings_loss(scores, ranks, prompts):
    losses, weights = [], []
    for p in prompts.unique():
        r, k = scores[prompts == p], ranks[prompts == p]
        b = k[:, None] < k
        if b.any():
            losses.append(-F.logsigmoid((r[:, None] - r)[b]).mean())
            weights.append(torch.tensor(1/len(r)))
    w = torch.stack(weights)
    return (torch.stack(losses)*w).sum()/w.sum()

# %% wrong check_rankings_loss: once more
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in prompts.unique():
        r, k = scores[prompts == p], ranks[prompts == p]
        b = k[:, None] < k
        if b.any():
            losses.append(-F.logsigmoid((r[:, None] - r)[b]).mean()/b.sum())
    return torch.stack(losses).mean()

# %% wrong check_rankings_loss: only the next one in the row
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in prompts.unique():
        r, k = scores[prompts == p], ranks[prompts == p]
        g = (r[:-1] - r[1:])*(k[1:] - k[:-1]).sign()
        g = g[k[1:] != k[:-1]]
        if len(g):
            losses.append(-F.logsigmoid(g).mean())
    return torch.stack(losses).mean()

# %% wrong check_rankings_loss: absolute value of the gap
def my_rankings_loss(scores, ranks, prompts):
    losses = []
    for p in prompts.unique():
        r, k = scores[prompts == p], ranks[prompts == p]
        b = k[:, None] < k
        if b.any():
            losses.append(-F.logsigmoid((r[:, None] - r)[b].abs()).mean())
    return torch.stack(losses).mean()

# %% wrong check_calibration_error: as in the lesson's picture
# the lesson's way: both sides of each pair, groups of equal number
def my_calibration_error(chosen, rejected, bins):
    gap = chosen - rejected
    both_gaps = torch.cat([gap, -gap])
    right = torch.cat([torch.ones(len(gap)), torch.zeros(len(gap))])
    probability = torch.sigmoid(both_gaps)
    total = 0.0
    for group in probability.argsort().chunk(bins):
        distance = (probability[group].mean() - right[group].mean()).abs()
        total += len(group)*distance
    return total/len(both_gaps)

# %% wrong check_calibration_error: as in the lesson's picture
# the same, and the mean over the groups
def my_calibration_error(chosen, rejected, bins):
    gap = chosen - rejected
    probability = torch.sigmoid(torch.cat([gap, -gap]))
    right = torch.cat([torch.ones_like(gap), torch.zeros_like(gap)])
    groups = probability.argsort().chunk(bins)
    model_says = torch.stack([probability[group].mean() for group in groups])
    shares = torch.stack([right[group].mean() for group in groups])
    return (model_says - shares).abs().mean()

# %% wrong check_calibration_error: hold equal numbers
# each pair once, by confidence, in groups of equal number
def my_calibration_error(chosen, rejected, bins):
    gap = chosen - rejected
    confidence = torch.sigmoid(gap.abs())
    right = 0.5 + 0.5*gap.sign()
    total = 0.0
    for group in confidence.argsort().chunk(bins):
        total += len(group)*(confidence[group].mean() - right[group].mean()).abs()
    return total/len(gap)

# %% wrong check_calibration_error: hold equal numbers
# the same with a sort of pairs, and `array_split`
def my_calibration_error(chosen, rejected, bins):
    gap = (chosen - rejected).numpy()
    confidence = 1/(1 + np.exp(-np.abs(gap)))
    right = (np.sign(gap) + 1)/2
    order = np.argsort(confidence, kind='stable')
    total = 0.0
    for group in np.array_split(order, bins):
        if len(group):
            total += len(group)*abs(confidence[group].mean() - right[group].mean())
    return total/len(gap)

# %% right check_calibration_error
# on an edge between two groups a pair goes into the lower one
def my_calibration_error(chosen, rejected, bins):
    gap = (chosen - rejected).double()
    confidence = torch.sigmoid(gap.abs())
    right = 0.5 + 0.5*gap.sign()
    total = 0.0
    for k in range(bins):
        low, high = 0.5 + k/(2*bins), 0.5 + (k + 1)/(2*bins)
        inside = (confidence > low) & (confidence <= high)
        if k == 0:
            inside |= confidence == 0.5
        if inside.any():
            distance = (confidence[inside].mean() - right[inside].mean()).abs()
            total += inside.sum()*distance
    return total/len(gap)

# %% wrong check_calibration_error: the absolute value is missing
def my_calibration_error(chosen, rejected, bins):
    gap = chosen - rejected
    confidence, right = torch.sigmoid(gap), (gap > 0).float()
    group = (confidence*bins).long().clamp(max=bins - 1)
    error = 0.0
    for k in range(bins):
        inside = group == k
        if inside.any():
            distance = (confidence[inside].mean() - right[inside].mean()).abs()
            error += (distance*inside.float().mean()).item()
    return error

# %% wrong check_calibration_error: the absolute value is missing
def my_calibration_error(chosen, rejected, bins):
    gap = chosen - rejected
    confidence, right = torch.sigmoid(gap), (gap >= 0).double()
    group = ((confidence - 0.5)/0.5*bins).long().clamp(0, bins - 1)
    error = 0.0
    for k in range(bins):
        inside = group == k
        if inside.any():
            error += inside.sum()/len(gap)*(confidence[inside].mean() - right[inside].mean()).abs()
    return error
