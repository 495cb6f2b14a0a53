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
answer = ([0.0, 0.1, 0.2, 0.3], [1, 2, 3, 4])

# %% right ask_same_advantages
answer = (torch.tensor([1, 1, 0, 0]), [20, 20, 0, 0])

# %% right ask_same_advantages
answer = (range(4), [-30, 0, 30, 60])

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
