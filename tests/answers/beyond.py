# ruff: noqa: F811, F821
# Answers to the exercises of lesson 11, as readers write them. Each begins with a line that says
# what it is: `# %% wrong CHECK: words that its verdict must hold`, or `# %% right CHECK`.

# %% wrong ask_same_advantages: times those of small
answer = ([0, 1, 2, 3], [10, 11, 12, 13])

# %% wrong ask_same_advantages: 9 times
answer = ([0, 1, 2, 3], [0, 9, 18, 27])

# %% wrong ask_same_advantages: still differ
answer = ([1, 2, 3, 4], [10, 200, 3000, 40000])

# %% wrong ask_same_advantages: finite
answer = ([0, 1, 2, 3], [0, 10, 20, float('inf')])

# %% wrong ask_same_advantages: 1 times
answer = ([0, 1, 2, 3], [5, 6, 7, 8])

# %% wrong ask_same_advantages: all of small agree
answer = ([0, 0, 0, 0], [0, 10, 20, 30])

# %% wrong ask_same_advantages: still differ
answer = ([0, 1, 2, 3], [30, 20, 10, 0])

# %% wrong ask_same_advantages: four numbers
answer = ([0, 1], [0, 10])

# %% wrong ask_same_advantages: times those of small
answer = ([0, 10, 20, 30], [0, 1, 2, 3])

# %% right ask_same_advantages
answer = ([0.0, 0.1, 0.2, 0.3], [1, 101, 201, 301])

# %% right ask_same_advantages
answer = (torch.tensor([1, 1, 0, 0]), [2e4, 2e4, 0, 0])

# %% right ask_same_advantages
answer = (range(4), [-3000, 0, 3000, 6000])

# %% wrong check_ragged_groups: mean of the group
def my_leave_one_out(rewards, prompts):
    advantages = torch.zeros_like(rewards)
    for prompt in prompts.unique():
        same = prompts == prompt
        advantages[same] = rewards[same] - rewards[same].mean()
    return advantages

# %% wrong check_ragged_groups: divided by K
def my_leave_one_out(rewards, prompts):
    same = (prompts[:, None] == prompts).float()
    sums = same @ rewards - rewards
    return torch.where(same.sum(1) > 1, rewards - sums/same.sum(1), 0.0)

# %% wrong check_ragged_groups: neighbours
def my_leave_one_out(rewards, prompts):
    groups = rewards.view(len(prompts.unique()), -1)
    K = groups.shape[1]
    if K == 1:
        return torch.zeros_like(rewards)
    return leave_one_out(groups).flatten()

# %% wrong check_ragged_groups: neighbours
def my_leave_one_out(rewards, prompts):
    K = (prompts == prompts[0]).sum()
    groups = rewards.view(-1, K)
    return (groups - (groups.sum(1, keepdim=True) - groups)/(K - 1)).view(-1)

# %% wrong check_ragged_groups: NaN
def my_leave_one_out(rewards, prompts):
    same = (prompts[:, None] == prompts).float()
    K = same.sum(1)
    return rewards - (same @ rewards - rewards)/(K - 1)

# %% wrong check_ragged_groups: whole reward
def my_leave_one_out(rewards, prompts):
    same = (prompts[:, None] == prompts).float()
    K = same.sum(1)
    return rewards - (same @ rewards - rewards)/(K - 1).clamp(min=1)

# %% wrong check_ragged_groups: others of the batch
def my_leave_one_out(rewards, prompts):
    return leave_one_out(rewards[None])[0]

# %% wrong check_ragged_groups: not their mean
def my_leave_one_out(rewards, prompts):
    out = []
    for i in range(len(rewards)):
        baseline = 0.0
        for j in range(len(rewards)):
            if j != i and prompts[i] == prompts[j]:
                baseline += rewards[j]
        out.append(rewards[i] - baseline)
    return torch.stack(out)

# %% wrong check_ragged_groups: deviation
def my_leave_one_out(rewards, prompts):
    advantages = torch.zeros_like(rewards)
    for prompt in set(prompts.tolist()):
        same = prompts == prompt
        if same.sum() > 1:
            advantages[same] = group_normalised(rewards[same][None])[0]
    return advantages

# %% wrong check_ragged_groups: deviation
def my_leave_one_out(rewards, prompts):
    advantages = torch.zeros_like(rewards)
    for prompt in set(prompts.tolist()):
        same = prompts == prompt
        if same.sum() > 1:
            advantages[same] = leave_one_out(rewards[same][None])[0]/rewards[same].std()
    return advantages

# %% wrong check_ragged_groups: sign
def my_leave_one_out(rewards, prompts):
    advantages = torch.zeros_like(rewards)
    for prompt in prompts.unique():
        rows = (prompts == prompt).nonzero()[:, 0]
        K = len(rows)
        if K > 1:
            advantages[rows] = (rewards[rows].sum() - rewards[rows])/(K - 1) - rewards[rows]
    return advantages

# %% wrong check_ragged_groups: order is lost
def my_leave_one_out(rewards, prompts):
    parts = []
    for prompt in prompts.unique():
        group = rewards[prompts == prompt]
        K = len(group)
        parts.append(leave_one_out(group[None])[0] if K > 1 else torch.zeros(1))
    return torch.cat(parts)

# %% wrong check_ragged_groups: order is lost
def my_leave_one_out(rewards, prompts):
    groups = collections.defaultdict(list)
    for reward, prompt in zip(rewards.tolist(), prompts.tolist()):
        groups[prompt].append(reward)
    out = []
    for group in groups.values():
        for r in group:
            out.append(r - (sum(group) - r)/(len(group) - 1) if len(group) > 1 else 0.0)
    return torch.tensor(out)

# %% wrong check_ragged_groups: comes back later
def my_leave_one_out(rewards, prompts):
    _, counts = prompts.unique_consecutive(return_counts=True)
    out = []
    for group in rewards.split(counts.tolist()):
        K = len(group)
        out.append(group - (group.sum() - group)/(K - 1) if K > 1 else 0*group)
    return torch.cat(out)

# %% wrong check_ragged_groups: changed in place
def my_leave_one_out(rewards, prompts):
    for prompt in prompts.unique():
        same = prompts == prompt
        group = rewards[same]
        if len(group) > 1:
            rewards[same] = group - (group.sum() - group)/(len(group) - 1)
        else:
            rewards[same] = 0
    return rewards

# %% wrong check_ragged_groups: single responses are left out
def my_leave_one_out(rewards, prompts):
    same = (prompts[:, None] == prompts).float()
    K = same.sum(1)
    advantages = rewards - (same @ rewards - rewards)/(K - 1)
    return advantages[K > 1]

# %% wrong check_ragged_groups: ZeroDivisionError
def my_leave_one_out(rewards, prompts):
    r, p = rewards.tolist(), prompts.tolist()
    out = []
    for i in range(len(r)):
        others = [r[j] for j in range(len(r)) if j != i and p[j] == p[i]]
        out.append(r[i] - sum(others)/len(others))
    return torch.tensor(out)

# %% wrong check_ragged_groups: this is the baseline
def my_leave_one_out(rewards, prompts):
    same = (prompts[:, None] == prompts).float()
    same.fill_diagonal_(0)
    return same @ rewards/same.sum(1).clamp(min=1)

# %% right check_ragged_groups
def my_leave_one_out(rewards, prompts):
    same = (prompts[:, None] == prompts).double()
    same.fill_diagonal_(0)
    count = same.sum(1)
    baseline = torch.einsum('ij,j->i', same, rewards.double())/count.clamp(min=1)
    return torch.where(count > 0, rewards - baseline, 0.0)

# %% right check_ragged_groups
def my_leave_one_out(rewards, prompts):
    groups = pd.Series(rewards.numpy()).groupby(prompts.numpy())
    K, total = groups.transform('size'), groups.transform('sum')
    mean = total/K
    return ((rewards.numpy() - mean)*K/(K - 1).clip(lower=1)).to_numpy(copy=True)

# %% right check_ragged_groups
def my_leave_one_out(rewards, prompts):
    _, group, K = prompts.unique(return_inverse=True, return_counts=True)
    total = torch.zeros(len(K)).index_add(0, group, rewards)
    others = (total[group] - rewards)/(K[group] - 1)
    return torch.nan_to_num(rewards - others)*(K[group] > 1)

# %% right check_ragged_groups
def my_leave_one_out(rewards, prompts):
    for i, (r, p) in enumerate(zip(rewards.tolist(), prompts.tolist())):
        others = [x for j, x in enumerate(rewards.tolist()) if j != i and prompts[j] == p]
        yield r - np.mean(others) if others else 0

# %% wrong check_ipo_loss: β times the margin
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margin = beta*((chosen - ref_chosen) - (rejected - ref_rejected))
    return ((margin - 1/(2*beta))**2).mean()

# %% wrong check_ipo_loss: β² times
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margin = beta*((chosen - ref_chosen) - (rejected - ref_rejected))
    return (margin - 1/2).square().mean()

# %% wrong check_ipo_loss: target is 1/β
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margin = (chosen - rejected) - (ref_chosen - ref_rejected)
    return ((margin - 1/beta)**2).mean()

# %% wrong check_ipo_loss: target is β/2
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margin = (chosen - rejected) - (ref_chosen - ref_rejected)
    return ((margin - 1/2*beta)**2).mean()

# %% wrong check_ipo_loss: not squared
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    return F.l1_loss(margin, torch.full_like(margin, 0.5/beta))

# %% wrong check_ipo_loss: not averaged
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    return torch.sum((margin - 1/(2*beta))**2)

# %% wrong check_ipo_loss: log-sigmoid
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    return dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta)

# %% wrong check_ipo_loss: references are forgotten
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    return ((chosen - rejected - 1/(2*beta))**2).mean()

# %% wrong check_ipo_loss: sides are swapped
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margin = (rejected - ref_rejected) - (chosen - ref_chosen)
    return ((margin - 1/(2*beta))**2).mean()

# %% wrong check_ipo_loss: target is added
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    return ((margin + 1/(2*beta))**2).mean()

# %% wrong check_ipo_loss: no gradient reaches
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    return ((margin.detach() - 1/(2*beta))**2).mean()

# %% wrong check_ipo_loss: no gradient reaches
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    rows = zip(chosen.tolist(), rejected.tolist(), ref_chosen.tolist(), ref_rejected.tolist())
    return torch.tensor([(c - rc - r + rr - 1/(2*beta))**2 for c, r, rc, rr in rows]).mean()

# %% wrong check_ipo_loss: hinge
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    return (torch.relu(1/(2*beta) - margin)**2).mean()

# %% wrong check_ipo_loss: mean comes before the square
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margin = ((chosen - ref_chosen) - (rejected - ref_rejected)).mean()
    return (margin - 1/(2*beta))**2

# %% wrong check_ipo_loss: squares of all pairs
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    return (margin - 1/(2*beta))**2

# %% wrong check_ipo_loss: bracket is missing
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margin = chosen - ref_chosen - rejected - ref_rejected
    return ((margin - 1/(2*beta))**2).mean()

# %% wrong check_ipo_loss: no gradient on the rejected side
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    with torch.no_grad():
        lost = rejected - ref_rejected
    return (((chosen - ref_chosen) - lost - 1/(2*beta))**2).mean()

# %% wrong check_ipo_loss: changed in place
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    chosen -= ref_chosen
    rejected -= ref_rejected
    return ((chosen - rejected - 1/(2*beta))**2).mean()

# %% right check_ipo_loss
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margin = torch.stack([chosen, -rejected, -ref_chosen, ref_rejected]).double().sum(0)
    return F.mse_loss(margin, torch.full_like(margin, 1/(2*beta)))

# %% right check_ipo_loss
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    losses = []
    for c, r, ref_c, ref_r in zip(chosen, rejected, ref_chosen, ref_rejected):
        losses.append((2*beta*(c - r - (ref_c - ref_r)) - 1)**2/(4*beta**2))
    return sum(losses)/len(losses)

# %% right check_ipo_loss
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    away = (chosen - rejected) - (ref_chosen - ref_rejected).detach() - 0.5/beta
    return torch.einsum('n,n->', away, away)/away.numel()

# %% right check_ipo_loss
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    away = (chosen - rejected) - (ref_chosen - ref_rejected) - 0.5/beta
    return away.var(correction=0) + away.mean()**2

# %% wrong check_ragged_groups: largest K
def my_leave_one_out(rewards, prompts):
    values, group = prompts.unique(return_inverse=True)
    table = F.one_hot(group, len(values)).float()
    K = table.sum(0).max()
    if K == 1:
        return 0*rewards
    return rewards - ((table @ (table.T @ rewards)) - rewards)/(K - 1)

# %% wrong check_ipo_loss: requires grad
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margin = np.array(chosen) - np.array(ref_chosen) - np.array(rejected) + np.array(ref_rejected)
    return ((margin - 1/(2*beta))**2).mean()

# %% wrong check_ipo_loss: swapped
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margin = (chosen - rejected) - (ref_rejected - ref_chosen)
    return ((margin - 1/(2*beta))**2).mean()

# %% wrong check_kto_loss: zero point is missing
def my_kto_loss(gains, is_good, other_gains, beta):
    worth = torch.where(is_good, torch.sigmoid(beta*gains), torch.sigmoid(-beta*gains))
    return 1 - worth.mean()

# %% wrong check_kto_loss: fall below 0
def my_kto_loss(gains, is_good, other_gains, beta):
    z = other_gains.mean().detach()
    return torch.where(is_good, torch.sigmoid(beta*(z - gains)), torch.sigmoid(beta*(gains - z))).mean()

# %% wrong check_kto_loss: a gradient reaches `other_gains`
def my_kto_loss(gains, is_good, other_gains, beta):
    z = other_gains.mean().clamp(min=0)
    return torch.where(is_good, torch.sigmoid(beta*(z - gains)), torch.sigmoid(beta*(gains - z))).mean()

# %% wrong check_kto_loss: good and bad are swapped
def my_kto_loss(gains, is_good, other_gains, beta):
    z = max(0.0, other_gains.mean().item())
    return torch.where(is_good, torch.sigmoid(beta*(gains - z)), torch.sigmoid(beta*(z - gains))).mean()

# %% wrong check_kto_loss: averaged apart
def my_kto_loss(gains, is_good, other_gains, beta):
    z = max(0.0, other_gains.mean().item())
    parts = []
    if is_good.any():
        parts.append(torch.sigmoid(beta*(z - gains[is_good])).mean())
    if (~is_good).any():
        parts.append(torch.sigmoid(beta*(gains[~is_good] - z)).mean())
    return sum(parts)/len(parts)

# %% wrong check_kto_loss: log-sigmoid
def my_kto_loss(gains, is_good, other_gains, beta):
    z = max(0.0, other_gains.mean().item())
    return -F.logsigmoid(torch.where(is_good, beta*(gains - z), beta*(z - gains))).mean()

# %% wrong check_kto_loss: the gain alone changes its sign
def my_kto_loss(gains, is_good, other_gains, beta):
    z = max(0.0, other_gains.mean().item())
    sign = 2*is_good.float() - 1
    return (1 - torch.sigmoid(beta*(sign*gains - z))).mean()

# %% wrong check_kto_loss: each of the other gains
def my_kto_loss(gains, is_good, other_gains, beta):
    z = F.relu(other_gains).mean().detach()
    return torch.where(is_good, torch.sigmoid(beta*(z - gains)), torch.sigmoid(beta*(gains - z))).mean()

# %% wrong check_kto_loss: detached
def my_kto_loss(gains, is_good, other_gains, beta):
    z = max(0.0, other_gains.mean().item())
    losses = [1/(1 + math.exp(beta*(g - z if good else z - g)))
              for g, good in zip(gains.tolist(), is_good.tolist())]
    return sum(losses)/len(losses)

# %% right check_kto_loss
def my_kto_loss(gains, is_good, other_gains, beta):
    with torch.no_grad():
        z = F.relu(other_gains.double().mean())
    signs = 1 - 2*is_good.double()
    return torch.special.expit(beta*signs*(gains.double() - z)).mean()

# %% right check_kto_loss
def my_kto_loss(gains, is_good, other_gains, beta):
    z = max(0, np.mean(other_gains.detach().numpy()))
    losses = []
    for gain, good in zip(gains, is_good):
        losses.append(1/(1 + torch.exp((gain - z)*beta)) if good else 1/(1 + torch.exp((z - gain)*beta)))
    return torch.stack(losses).mean()

# %% right check_kto_loss
def my_kto_loss(gains, is_good, other_gains, beta):
    half = torch.where(is_good, 0.5, -0.5)*beta*(gains - other_gains.detach().mean().clamp(min=0))
    return (0.5 - 0.5*torch.tanh(half)).mean()

# %% wrong ask_same_advantages: before the division, those of large are 0.1 times those of
# the two groups in each other's place
answer = ([10, 20, 30, 40], [1, 2, 3, 4])

# %% wrong ask_same_advantages: before the division, those of large are 1 times those of
# shifts the rewards by ten in place of stretching them
answer = ([1, 2, 3, 4], [11, 12, 13, 14])

# %% wrong ask_same_advantages: before the division, those of large are 1 times those of
# the mean is ten times as large, the distances from it are not
answer = ([1, 2, 3, 4], [23.5, 24.5, 25.5, 26.5])

# %% wrong ask_same_advantages: divided by the deviation, the advantages still differ by
# the same rewards in reverse order, so not the same response by response
answer = ([1, 2, 3, 4], [40, 30, 20, 10])

# %% wrong ask_same_advantages: divided by the deviation, the advantages still differ by
# times minus ten, so every sign is turned
answer = ([1, 2, 3, 4], [-10, -20, -30, -40])

# %% wrong ask_same_advantages: before the division, those of large are 5 times those of
# only five times as far apart
answer = ([1, 2, 3, 4], [5, 10, 15, 20])

# %% wrong ask_same_advantages: divided by the deviation, the advantages still differ by
# small is so small that the 1e-4 beside the deviation counts
answer = ([0.0, 0.0001, 0.0002, 0.0003], [0, 1, 2, 3])

# %% wrong ask_same_advantages: divided by the deviation, the advantages still differ by
# half the steps of the lesson's close scores; the 1e-4 moves the ends by 0.017
answer = ([0.500, 0.505, 0.510, 0.515], [0, 1, 2, 3])

# %% wrong ask_same_advantages: divided by the deviation, the advantages still differ by
# only the range is ten times as large, by one outlier
answer = ([1, 2, 3, 4], [1, 2, 3, 31])

# %% wrong ask_same_advantages: divided by the deviation, the advantages still differ by
# powers of ten: same order, other shape
answer = ([1, 2, 3, 4], [10, 100, 1000, 10000])

# %% wrong ask_same_advantages: all of small agree: then every advantage is 0, and nothing
# small has no spread at all, its advantages are 0
answer = ([1, 1, 1, 1], [10, 20, 30, 40])

# %% wrong ask_same_advantages: small must be four numbers
# groups of five
answer = ([1, 2, 3, 4, 5], [10, 20, 30, 40, 50])

# %% right ask_same_advantages
# tensors, shape (4,), float64, with negative rewards
answer = (torch.tensor([-1.0, 2.0, 0.5, -3.0], dtype=torch.float64),
          torch.tensor([-2000.0, 4000.0, 1000.0, -6000.0], dtype=torch.float64))

# %% right ask_same_advantages
# exactly a thousand times, decimals that floats cannot hold
answer = ([0.1, 0.2, 0.3, 0.4], [100, 200, 300, 400])

# %% right ask_same_advantages
# most advantages equal, one response sits exactly on the mean, numpy and a tuple
answer = (np.array([1, 2, 2, 3]), (-5000, 5000, 5000, 15000))

# %% right ask_same_advantages
# the close scores of the lesson, which still agree to 0.009; a range
answer = ([0.50, 0.51, 0.52, 0.53], range(0, 4000, 1000))

# %% wrong check_ragged_groups: its own reward is in the mean: this is the mean of the group
# the mean of the whole group, the response itself included
def my_leave_one_out(rewards, prompts):
    out = torch.zeros_like(rewards)
    for p in prompts.unique():
        rows = prompts == p
        out[rows] = rewards[rows] - rewards[rows].mean()
    return out

# %% wrong check_ragged_groups: a single response keeps its whole reward, and 0 is asked for
# a prompt with a single response keeps its whole reward (clamp of the count)
def my_leave_one_out(rewards, prompts):
    same = (prompts[:, None] == prompts).to(rewards.dtype)
    total, n = same @ rewards, same.sum(1)
    return rewards - (total - rewards)/(n - 1).clamp(min=1)

# %% wrong check_ragged_groups: a single response gives 0/0, which is NaN, and 0 is asked
# nan where a prompt has a single response
def my_leave_one_out(rewards, prompts):
    out = []
    for i in range(len(rewards)):
        others = prompts == prompts[i]
        others[i] = False
        out.append(rewards[i] - rewards[others].mean())
    return torch.stack(out)

# %% wrong check_ragged_groups: equal rewards of others are left out too: the response
# leaves out by value, so equal rewards of others are left out too
def my_leave_one_out(rewards, prompts):
    out = torch.zeros_like(rewards)
    for i in range(len(rewards)):
        others = rewards[(prompts == prompts[i]) & (rewards != rewards[i])]
        if len(others) > 0:
            out[i] = rewards[i] - others.mean()
    return out

# %% wrong check_ragged_groups: it is sorted by prompt and put back by the wrong index: the
# sorts by prompt and puts the answers back by the wrong index
def my_leave_one_out(rewards, prompts):
    order = prompts.argsort(stable=True)
    _, counts = prompts[order].unique_consecutive(return_counts=True)
    parts = []
    for part in rewards[order].split(counts.tolist()):
        if len(part) == 1:
            parts.append(torch.zeros_like(part))
        else:
            parts.append(leave_one_out(part[None])[0])
    return torch.cat(parts)[order]

# %% wrong check_ragged_groups: neighbours are taken for a group: a prompt that comes back
# takes neighbours with the same number for a group, as if the batch were sorted
def my_leave_one_out(rewards, prompts):
    _, groups, counts = torch.unique_consecutive(prompts, return_inverse=True, return_counts=True)
    totals = torch.zeros(len(counts), dtype=rewards.dtype).index_add(0, groups, rewards)
    n = counts[groups]
    out = rewards - (totals[groups] - rewards)/(n - 1)
    return torch.where(n > 1, out, torch.zeros_like(out))

# %% wrong check_ragged_groups: it ends in IndexError: index out of range in self. The
# takes it that the prompts are numbered 0 to G - 1 without a gap
def my_leave_one_out(rewards, prompts):
    G = len(prompts.unique())
    totals = torch.zeros(G, dtype=rewards.dtype)
    counts = torch.zeros(G, dtype=rewards.dtype)
    totals.index_add_(0, prompts, rewards)
    counts.index_add_(0, prompts, torch.ones_like(rewards))
    n = counts[prompts]
    mean_of_others = (totals[prompts] - rewards)/(n - 1).clamp(min=1)
    return (rewards - mean_of_others)*(n > 1)

# %% wrong check_ragged_groups: short groups are filled up with zeros, and these count as
# fills short groups up with zeros, which count as rewards
def my_leave_one_out(rewards, prompts):
    names = prompts.unique()
    K = max((prompts == p).sum().item() for p in names)
    padded = torch.zeros(len(names), K, dtype=rewards.dtype)
    for g, p in enumerate(names):
        of_prompt = rewards[prompts == p]
        padded[g, :len(of_prompt)] = of_prompt
    advantages = leave_one_out(padded) if K > 1 else torch.zeros_like(padded)
    out = torch.zeros_like(rewards)
    for g, p in enumerate(names):
        n = (prompts == p).sum()
        if n > 1:
            out[prompts == p] = advantages[g, :n]
    return out

# %% wrong check_ragged_groups: `rewards` is changed in place, and whoever called still
# right numbers, written into the rewards that were given
def my_leave_one_out(rewards, prompts):
    for p in prompts.unique():
        rows = prompts == p
        n = rows.sum()
        if n == 1:
            rewards[rows] = 0.0
        else:
            total = rewards[rows].sum()
            rewards[rows] -= (total - rewards[rows])/(n - 1)
    return rewards

# %% wrong check_ragged_groups: the order is lost: they come back sorted by prompt (a
# in the order of the prompts, not of the rewards
def my_leave_one_out(rewards, prompts):
    out = []
    for p in sorted(set(prompts.tolist())):
        group = rewards[prompts == p]
        if len(group) == 1:
            out.append(torch.zeros_like(group))
        else:
            out.append(leave_one_out(group[None]).squeeze(0))
    return torch.cat(out)

# %% wrong check_ragged_groups: prompt 0 is taken for padding, and it is a prompt like the
# takes prompt 0 for padding
def my_leave_one_out(rewards, prompts):
    real = prompts > 0
    same = (prompts[:, None] == prompts) & ~torch.eye(len(prompts), dtype=torch.bool)
    n = same.sum(1)
    mean_of_others = (same*rewards).sum(1)/n.clamp(min=1)
    return (rewards - mean_of_others)*(n > 0)*real

# %% wrong check_ragged_groups: the mean is over all others of the batch (a single response
# one number for all prompts: the mean of all other rewards in the batch
def my_leave_one_out(rewards, prompts):
    n = len(rewards)
    baseline = (rewards.sum() - rewards)/max(n - 1, 1)
    single = (prompts[:, None] == prompts).sum(1) == 1
    return (rewards - baseline).masked_fill(single, 0)

# %% right check_ragged_groups
# python loops over a dict of lists, a new float64 tensor
def my_leave_one_out(rewards, prompts):
    groups = {}
    for r, p in zip(rewards.tolist(), prompts.tolist()):
        groups.setdefault(p, []).append(r)
    out = []
    for r, p in zip(rewards.tolist(), prompts.tolist()):
        n = len(groups[p])
        out.append(r - (sum(groups[p]) - r)/(n - 1) if n > 1 else 0.0)
    return torch.tensor(out, dtype=torch.float64)

# %% right check_ragged_groups
# 0/0 is let happen, and nan becomes 0 at the end
def my_leave_one_out(rewards, prompts):
    _, groups, counts = prompts.unique(return_inverse=True, return_counts=True)
    totals = rewards.new_zeros(len(counts)).scatter_add(0, groups, rewards)
    n = counts[groups]
    return (rewards - (totals[groups] - rewards)/(n - 1)).nan_to_num(nan=0.0)

# %% right check_ragged_groups
# a (B, B) matrix and einsum, the mean distance to each other response
def my_leave_one_out(rewards, prompts):
    same = (prompts.unsqueeze(0) == prompts.unsqueeze(1)).double()
    differences = rewards.double()[:, None] - rewards.double()[None]  # its own is 0
    return torch.einsum('ij,ij->i', differences, same)/(same.sum(1) - 1).clamp_min(1)

# %% right check_ragged_groups
# pandas, n/(n - 1) times the distance from the group's mean, numpy out
def my_leave_one_out(rewards, prompts):
    frame = pd.DataFrame({'r': rewards.numpy().astype('float64'), 'p': prompts.numpy()})
    by_prompt = frame.groupby('p')['r']
    mean, n = by_prompt.transform('mean'), by_prompt.transform('size')
    return ((frame['r'] - mean)*n/(n - 1).clip(lower=1)).to_numpy()

# %% wrong check_ipo_loss: β times the margin is DPO's: here β stands in the target
# the margin is multiplied by beta, out of habit from DPO
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margins = beta*((chosen - ref_chosen) - (rejected - ref_rejected))
    return ((margins - 1/(2*beta))**2).mean()

# %% wrong check_ipo_loss: the target is β/2 (as 1/2*beta gives it in Python), and
# 1/2*beta is beta/2, not 1/(2 beta)
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margins = (chosen - ref_chosen) - (rejected - ref_rejected)
    return ((margins - 1/2*beta)**2).mean()

# %% wrong check_ipo_loss: a hinge: margins beyond the target are not pulled back
# nothing to pay beyond the stop (a hinge)
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margins = (chosen - ref_chosen) - (rejected - ref_rejected)
    return (1/(2*beta) - margins).clamp(min=0).pow(2).mean()

# %% wrong check_ipo_loss: the mean comes before the square, so that two pairs make up
# the square of the mean distance, not the mean of the squares
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margins = (chosen - ref_chosen) - (rejected - ref_rejected)
    return (margins - 1/(2*beta)).mean()**2

# %% wrong check_ipo_loss: the margin has no gradient on the rejected side
# the rejected side is taken as a constant
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margins = (chosen - ref_chosen) - (rejected.detach() - ref_rejected)
    return ((margins - 1/(2*beta))**2).mean()

# %% wrong check_ipo_loss: a bracket is missing: the rejected reference has the wrong
# brackets forgotten, so the rejected reference has the wrong sign
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margins = chosen - ref_chosen - rejected - ref_rejected
    return ((margins - 1/(2*beta))**2).mean()

# %% wrong check_ipo_loss: each side is drawn to half of the target by itself: only
# each side is to reach a half of the stop for itself
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    half = 1/(4*beta)
    up = (chosen - ref_chosen) - half
    down = (rejected - ref_rejected) + half
    return (up**2 + down**2).mean()

# %% wrong check_ipo_loss: β is 0.1 here, whatever was handed over
# beta is not asked, the stop is that of 0.1
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margins = (chosen - ref_chosen) - (rejected - ref_rejected)
    return ((margins - 5.0)**2).mean()

# %% wrong check_ipo_loss: `ref_chosen` is changed in place, and whoever called still
# right number, but the references are changed in place
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    ref_margins = ref_chosen
    ref_margins -= ref_rejected
    margins = (chosen - rejected) - ref_margins
    return ((margins - 1/(2*beta))**2).mean()

# %% wrong check_ipo_loss: the squares are added up and not averaged
# a stop of shape (N, 1) broadcasts to (N, N), so each pair counts N times
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    margins = (chosen - ref_chosen) - (rejected - ref_rejected)
    stop = torch.full((len(margins), 1), 1/(2*beta))
    return (margins - stop).pow(2).sum()/len(margins)

# %% wrong check_ipo_loss: the number is right, but no gradient reaches `chosen`: was
# a number without a gradient
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    total = 0.0
    for c, r, rc, rr in zip(chosen.tolist(), rejected.tolist(), ref_chosen.tolist(), ref_rejected.tolist()):
        total += ((c - rc) - (r - rr) - 1/(2*beta))**2
    return torch.tensor(total/len(chosen), requires_grad=True)

# %% right check_ipo_loss
# F.mse_loss, the reference's own margin as part of the target
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    target = (ref_chosen - ref_rejected + 0.5/beta).detach()
    return F.mse_loss(chosen - rejected, target)

# %% right check_ipo_loss
# a loop over the pairs, a running sum
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    total = 0
    for i in range(len(chosen)):
        distance = 1/(2*beta) - (chosen[i] - rejected[i]) + (ref_chosen[i] - ref_rejected[i])
        total = total + distance*distance
    return total/len(chosen)

# %% right check_ipo_loss
# the square multiplied out, in float64
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    m = chosen.double() - ref_chosen.double() - rejected.double() + ref_rejected.double()
    return (m*m).mean() - m.mean()/beta + 1/(4*beta*beta)

# %% right check_ipo_loss
# signs and einsum over a stacked (4, N) tensor
def my_ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    sides = torch.stack([chosen, rejected, ref_chosen, ref_rejected])
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=sides.dtype)
    distances = torch.einsum('s,sn->n', signs, sides).sub(1/(2*beta))
    return distances @ distances/distances.numel()

# %% wrong check_kto_loss: the zero point may fall below 0 here, and it must not
# the zero point may fall below 0
def my_kto_loss(gains, is_good, other_gains, beta):
    zero = other_gains.mean().detach()
    above = gains - zero
    worth = torch.sigmoid(beta*torch.where(is_good, above, -above))
    return (1 - worth).mean()

# %% wrong check_kto_loss: each of the other gains is cut off at 0, and it is their
# each other gain is held above 0, not their mean
def my_kto_loss(gains, is_good, other_gains, beta):
    zero = other_gains.clamp(min=0).mean().detach()
    above = gains - zero
    worth = torch.sigmoid(beta*torch.where(is_good, above, -above))
    return (1 - worth).mean()

# %% wrong check_kto_loss: the number is right, but a gradient reaches `other_gains`
# a gradient flows through the zero point
def my_kto_loss(gains, is_good, other_gains, beta):
    zero = other_gains.mean().clamp(min=0)
    above = gains - zero
    worth = torch.sigmoid(beta*torch.where(is_good, above, -above))
    return (1 - worth).mean()

# %% wrong check_kto_loss: the zero point is the mean of the gains themselves, and
# the zero point from the gains themselves, the others are not asked
def my_kto_loss(gains, is_good, other_gains, beta):
    zero = gains.detach().mean().clamp(min=0)
    above = gains - zero
    worth = torch.sigmoid(beta*torch.where(is_good, above, -above))
    return (1 - worth).mean()

# %% wrong check_kto_loss: for a bad response the gain alone changes its sign, and the
# for a bad response only the gain's sign is turned, not that of the zero point
def my_kto_loss(gains, is_good, other_gains, beta):
    zero = other_gains.mean().clamp(min=0).detach()
    signed = torch.where(is_good, gains, -gains)
    return (1 - torch.sigmoid(beta*(signed - zero))).mean()

# %% wrong check_kto_loss: good and bad responses are averaged apart: the mean is over
# the mean of the good ones and that of the bad ones weigh the same
def my_kto_loss(gains, is_good, other_gains, beta):
    zero = max(other_gains.mean().item(), 0.0)
    losses = []
    if is_good.any():
        losses.append((1 - torch.sigmoid(beta*(gains[is_good] - zero))).mean())
    if (~is_good).any():
        losses.append((1 - torch.sigmoid(beta*(zero - gains[~is_good]))).mean())
    return sum(losses)/len(losses)

# %% wrong check_kto_loss: β multiplies the gain alone, and not its distance from the
# beta counts for the gain alone, not for the zero point
def my_kto_loss(gains, is_good, other_gains, beta):
    zero = other_gains.mean().clamp(min=0).detach()
    above = beta*gains - zero
    worth = torch.sigmoid(torch.where(is_good, above, -above))
    return (1 - worth).mean()

# %% wrong check_kto_loss: this is the log-sigmoid of DPO: KTO takes 1 less the sigmoid
# the log of the worth, as in DPO
def my_kto_loss(gains, is_good, other_gains, beta):
    zero = other_gains.mean().clamp(min=0).detach()
    above = gains - zero
    return -F.logsigmoid(beta*torch.where(is_good, above, -above)).mean()

# %% wrong check_kto_loss: good and bad are swapped (or the worth is returned, and not
# the worth is minimised in place of 1 less it
def my_kto_loss(gains, is_good, other_gains, beta):
    zero = other_gains.mean().clamp(min=0).detach()
    above = gains - zero
    return torch.sigmoid(beta*torch.where(is_good, above, -above)).mean()

# %% wrong check_kto_loss: `gains` is changed in place, and whoever called still needs
# the gains are changed in place behind autograd's back
def my_kto_loss(gains, is_good, other_gains, beta):
    zero = other_gains.mean().clamp(min=0).detach()
    gains.data -= zero
    worth = torch.sigmoid(beta*torch.where(is_good, gains, -gains))
    return (1 - worth).mean()

# %% wrong check_kto_loss: bad responses are left out, and still counted in the mean
# bad responses are left out of the sum, though they count in N
def my_kto_loss(gains, is_good, other_gains, beta):
    zero = other_gains.mean().clamp(min=0).detach()
    losses = 1 - torch.sigmoid(beta*(gains - zero))
    return (losses*is_good).mean()

# %% right check_kto_loss
# good and bad by indexing, python's max, 1 less a sigmoid is the sigmoid of the minus
def my_kto_loss(gains, is_good, other_gains, beta):
    zero = max(0.0, sum(other_gains.tolist())/len(other_gains))
    good, bad = gains[is_good], gains[~is_good]
    total = torch.sigmoid(beta*(zero - good)).sum() + torch.sigmoid(beta*(bad - zero)).sum()
    return total/len(gains)

# %% right check_kto_loss
# the distance between the sigmoid and the mark, F.l1_loss
def my_kto_loss(gains, is_good, other_gains, beta):
    with torch.no_grad():
        zero = F.relu(other_gains.mean())
    return F.l1_loss(torch.sigmoid(beta*(gains - zero)), is_good.to(gains.dtype))

# %% right check_kto_loss
# float64 and tanh, a sigmoid in other words
def my_kto_loss(gains, is_good, other_gains, beta):
    zero = other_gains.detach().double().mean().clamp(min=0)
    sign = 1 - 2*is_good.double()
    return 0.5 + 0.5*torch.tanh(beta*sign*(gains.double() - zero)/2).mean()

# %% right check_kto_loss
# a softmax over (gain, zero point), a loop over the rows
def my_kto_loss(gains, is_good, other_gains, beta):
    zero = torch.maximum(other_gains.mean(), torch.zeros(())).detach()
    losses = []
    for gain, good in zip(gains, is_good.tolist()):
        of_gain, of_zero = torch.softmax(beta*torch.stack([gain, zero.to(gain.dtype)]), 0)
        losses.append(of_zero if good else of_gain)
    return torch.stack(losses).mean()

# %% wrong check_best_of_others: the response itself is among those
def my_best_of_others(rewards):
    return rewards - rewards.max(dim=1, keepdim=True).values

# %% wrong check_best_of_others: the mean of the others is taken off
def my_best_of_others(rewards):
    return leave_one_out(rewards)

# %% wrong check_best_of_others: compared with the second best
def my_best_of_others(rewards):
    second = rewards.sort(dim=1, descending=True).values[:, 1]
    return rewards - second[:, None]

# %% wrong check_best_of_others: equal reward are left out
def my_best_of_others(rewards):
    out = rewards.clone()
    for g, group in enumerate(rewards.tolist()):
        for i, r in enumerate(group):
            others = [x for x in group if x != r]
            out[g, i] = r - max(others) if others else 0.0
    return out

# %% wrong check_best_of_others: over the prompts
def my_best_of_others(rewards):
    return rewards - rewards.max(dim=0).values

# %% wrong check_best_of_others: counts as 0
def my_best_of_others(rewards):
    K = rewards.shape[1]
    others = rewards[:, None].repeat(1, K, 1)
    others[:, torch.arange(K), torch.arange(K)] = 0
    return rewards - others.max(dim=2).values

# %% wrong check_best_of_others: sign is the wrong way round
def my_best_of_others(rewards):
    K = rewards.shape[1]
    others = rewards[:, None].masked_fill(torch.eye(K).bool(), -float('inf'))
    return others.amax(2) - rewards

# %% wrong check_best_of_others: this is the baseline
def my_best_of_others(rewards):
    K = rewards.shape[1]
    return rewards[:, None].masked_fill(torch.eye(K).bool(), -float('inf')).amax(2)

# %% wrong check_best_of_others: whole batch
def my_best_of_others(rewards):
    flat = rewards.flatten()
    others = flat[None].masked_fill(torch.eye(len(flat)).bool(), -float('inf')).amax(1)
    return (flat - others).view(rewards.shape)

# %% wrong check_best_of_others: changed in place
def my_best_of_others(rewards):
    best, second = rewards.topk(2, dim=1).values.split(1, dim=1)
    is_best = F.one_hot(rewards.argmax(1), rewards.shape[1]).bool()
    rewards -= torch.where(is_best, second, best)
    return rewards

# %% wrong check_best_of_others: its shape is
def my_best_of_others(rewards):
    K = rewards.shape[1]
    others = rewards[:, None].masked_fill(torch.eye(K).bool(), -float('inf')).amax(2)
    return (rewards - others).flatten()

# %% right check_best_of_others
def my_best_of_others(rewards):
    K = rewards.shape[1]
    others = rewards[:, None].masked_fill(torch.eye(K).bool(), -float('inf'))
    return rewards - others.amax(2)

# %% right check_best_of_others
def my_best_of_others(rewards):
    rows = []
    for group in rewards.tolist():
        rows.append([r - max(group[:i] + group[i + 1:]) for i, r in enumerate(group)])
    return rows

# %% right check_best_of_others
def my_best_of_others(rewards):
    ordered = rewards.double().sort(dim=1, descending=True).values
    baseline = torch.where(rewards == ordered[:, :1], ordered[:, 1:2], ordered[:, :1])
    return rewards - baseline

# %% right check_best_of_others
def my_best_of_others(rewards):
    before = torch.full_like(rewards, -np.inf)
    after = torch.full_like(rewards, -np.inf)
    before[:, 1:] = rewards.cummax(1).values[:, :-1]
    after[:, :-1] = rewards.flip(1).cummax(1).values.flip(1)[:, 1:]
    return rewards - torch.maximum(before, after)
