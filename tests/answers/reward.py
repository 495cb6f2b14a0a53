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
