# Answers to the exercises of lesson 5, as readers write them. Each begins with a line that says
# what it is: `# %% wrong CHECK: words that its verdict must hold`, or `# %% right CHECK`.

# %% wrong check_sentence_rewards: nothing is returned
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    ...

# %% wrong check_sentence_rewards: first token
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    rewards = -beta*(logprobs - ref_logprobs)*(sentence >= 0)
    before = F.pad(sentence[:, :-1], (1, 0), value=-1)
    for b, t in ((sentence >= 0) & (sentence != before)).nonzero().tolist():
        rewards[b, t] += sentence_scores[b, sentence[b, t]]
    return rewards

# %% wrong check_sentence_rewards: last column
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    rewards = -beta*kl_k1(logprobs, ref_logprobs)
    for b in range(len(sentence)):
        for t in range(sentence.shape[1] - 1):
            if sentence[b, t] >= 0 and sentence[b, t + 1] != sentence[b, t]:
                rewards[b, t] += sentence_scores[b, sentence[b, t]]
    return rewards.masked_fill(sentence < 0, 0)

# %% wrong check_sentence_rewards: sign reversed
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    ends = sentence != F.pad(sentence[:, 1:], (0, 1), value=-1)
    scores = sentence_scores.gather(1, sentence.clamp(min=0))
    rewards = scores*ends - beta*(ref_logprobs - logprobs)
    return torch.where(sentence >= 0, rewards, 0)

# %% wrong check_sentence_rewards: padding pays
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    ends = sentence != F.pad(sentence[:, 1:], (0, 1), value=-1)
    scores = sentence_scores.gather(1, sentence.clamp(min=0))
    return scores*(ends & (sentence >= 0)) - beta*kl_k1(logprobs, ref_logprobs)

# %% wrong check_sentence_rewards: only the last sentence
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    mask = (sentence >= 0).long()
    last = sentence.max(1).values.clamp(min=0)
    scores = sentence_scores.gather(1, last[:, None]).squeeze(1)
    return shape_rewards(scores, logprobs, ref_logprobs, mask, beta)

# %% wrong check_sentence_rewards: each on its own
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    S = sentence_scores.shape[1]
    there = torch.arange(S) <= sentence.max(1, keepdim=True).values
    scores = (sentence_scores*there).sum(1)
    return shape_rewards(scores, logprobs, ref_logprobs, (sentence >= 0).long(), beta)

# %% wrong check_sentence_rewards: every token
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    real = sentence >= 0
    scores = sentence_scores.gather(1, sentence*real)
    return (scores - beta*(logprobs - ref_logprobs))*real

# %% wrong check_sentence_rewards: k3
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    ends = sentence != F.pad(sentence[:, 1:], (0, 1), value=-1)
    scores = sentence_scores.gather(1, sentence.clamp(min=0))
    return (scores*ends - beta*kl_k3(logprobs, ref_logprobs)).masked_fill(sentence < 0, 0)

# %% wrong check_sentence_rewards: behind its last column
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    ends = sentence != torch.roll(sentence, -1, dims=1)
    scores = sentence_scores.gather(1, sentence.clamp(min=0))
    return (scores*ends - beta*kl_k1(logprobs, ref_logprobs)).masked_fill(sentence < 0, 0)

# %% wrong check_sentence_rewards: changed in place
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    ends = sentence != F.pad(sentence[:, 1:], (0, 1), value=-1)
    real = sentence >= 0
    sentence[~real] = 0
    scores = sentence_scores.gather(1, sentence)
    return (scores*ends - beta*kl_k1(logprobs, ref_logprobs))*real

# %% wrong check_sentence_rewards: β is forgotten
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    ends = sentence != F.pad(sentence[:, 1:], (0, 1), value=-1)
    scores = sentence_scores.gather(1, sentence.clamp(min=0))
    return (scores*ends - kl_k1(logprobs, ref_logprobs)).masked_fill(sentence < 0, 0)

# %% right check_sentence_rewards
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    rows = []
    for scores, ids, lp, ref in zip(sentence_scores, sentence, logprobs, ref_logprobs):
        row = [-beta*(a - b).item() if s >= 0 else 0.0 for a, b, s in zip(lp, ref, ids)]
        for s in range(int(ids.max()) + 1):
            last = max(t for t, own in enumerate(ids.tolist()) if own == s)
            row[last] += scores[s].item()
        rows.append(row)
    return rows

# %% right check_sentence_rewards
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    ids = sentence.numpy()
    rewards = np.where(ids >= 0, beta*(ref_logprobs - logprobs).numpy(), 0.0)
    wide = np.pad(ids, ((0, 0), (0, 1)), constant_values=-1)
    b, t = np.nonzero(np.diff(wide, axis=1))
    b, t = b[ids[b, t] >= 0], t[ids[b, t] >= 0]
    rewards[b, t] += sentence_scores.numpy()[b, ids[b, t]]
    return rewards

# %% right check_sentence_rewards
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    S = sentence_scores.shape[1]
    of = F.one_hot(sentence + 1, S + 1)[..., 1:].double()
    last = of*(of.flip(1).cumsum(1).flip(1) == 1)
    landed = torch.einsum('bs,brs->br', sentence_scores.double(), last)
    return landed - beta*kl_k1(logprobs, ref_logprobs).double()*of.sum(-1)

# %% right check_sentence_rewards
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    mask = sentence >= 0
    rewards = torch.zeros(mask.shape)
    for s in range(sentence_scores.shape[1]):
        own = (sentence == s).long()
        rewards += shape_rewards(sentence_scores[:, s], logprobs, ref_logprobs, own, beta)
    return rewards

# %% wrong check_joint_loss: nothing is returned
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    advantages, returns = compute_advantage_and_return(rewards, values, mask, gamma, lam)

# %% wrong check_joint_loss: nothing is detached
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    advantages, returns = compute_advantage_and_return(rewards, values, mask, gamma, lam)
    policy_loss = -masked_mean(whiten(advantages, mask)*logprobs, mask)
    return policy_loss + 0.5*masked_mean((values - returns)**2, mask)

# %% wrong check_joint_loss: through the returns
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    advantages, returns = compute_advantage_and_return(rewards, values, mask, gamma, lam)
    policy_loss = -masked_mean(whiten(advantages, mask).detach()*logprobs, mask)
    return policy_loss + 0.5*masked_mean((returns - values)**2, mask)

# %% wrong check_joint_loss: learn nothing
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    advantages, _ = compute_advantage_and_return(rewards, values, mask, gamma, lam)
    advantages = advantages.detach()
    returns = advantages + values
    policy_loss = -masked_mean(whiten(advantages, mask)*logprobs, mask)
    return policy_loss + 0.5*masked_mean((values - returns)**2, mask)

# %% wrong check_joint_loss: lost the scale
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    with torch.no_grad():
        advantages, _ = compute_advantage_and_return(rewards, values, mask, gamma, lam)
        advantages = whiten(advantages, mask)
        returns = advantages + values
    policy_loss = -masked_mean(advantages*logprobs, mask)
    return policy_loss + 0.5*masked_mean((values - returns)**2, mask)

# %% wrong check_joint_loss: not whitened
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    A, returns = compute_advantage_and_return(rewards, values.detach(), mask, gamma, lam)
    return masked_mean(-A*logprobs + 0.5*(values - returns)**2, mask)

# %% wrong check_joint_loss: wrong sign
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    A, returns = compute_advantage_and_return(rewards, values.detach(), mask, gamma, lam)
    return masked_mean(whiten(A, mask)*logprobs + 0.5*(values - returns)**2, mask)

# %% wrong check_joint_loss: half
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    A, returns = compute_advantage_and_return(rewards, values.detach(), mask, gamma, lam)
    return masked_mean(-whiten(A, mask)*logprobs + (values - returns)**2, mask)

# %% wrong check_joint_loss: divided by
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    A, returns = compute_advantage_and_return(rewards, values.detach(), mask, gamma, lam)
    each = -whiten(A, mask)*logprobs + 0.5*(values - returns)**2
    return (each*mask).mean()

# %% wrong check_joint_loss: no gradient reaches the values
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    values = values.detach()
    A, returns = compute_advantage_and_return(rewards, values, mask, gamma, lam)
    return masked_mean(-whiten(A, mask)*logprobs + 0.5*(values - returns)**2, mask)

# %% wrong check_joint_loss: swapped
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    A, returns = compute_advantage_and_return(rewards, values.detach(), mask, lam, gamma)
    return masked_mean(-whiten(A, mask)*logprobs + 0.5*(values - returns)**2, mask)

# %% wrong check_joint_loss: N − 1
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    A, returns = compute_advantage_and_return(rewards, values.detach(), mask, gamma, lam)
    real = mask.bool()
    A, logprobs, values, returns = A[real], logprobs[real], values[real], returns[real]
    A = (A - A.mean())/(A.std() + 1e-8)
    return -(A*logprobs).mean() + 0.5*F.mse_loss(values, returns)

# %% right check_joint_loss
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    A, returns = compute_advantage_and_return(rewards, values.detach(), mask, gamma, lam)
    real = mask.bool()
    policy_loss = -(whiten(A, mask)*logprobs)[real].mean()
    return policy_loss + F.mse_loss(values[real], returns[real])/2

# %% right check_joint_loss
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    with torch.no_grad():
        A, returns = compute_advantage_and_return(rewards, values, mask.double(), gamma, lam)
        N = mask.sum()
        A = A*mask
        A = (A - A.sum()/N)*mask
        A = A/((A*A).sum()/N + 1e-8).sqrt()
    return ((0.5*(values - returns).square() - A*logprobs)*mask).sum()/N

# %% right check_joint_loss
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    total, pairs = 0, []
    for b, row in enumerate(mask.sum(1).tolist()):
        later, after = 0.0, 0.0
        for t in reversed(range(row)):
            v = values[b, t].item()
            later = rewards[b, t].item() + gamma*after - v + gamma*lam*later
            after = v
            total = total + (values[b, t] - (later + v))**2/2
            pairs.append((later, logprobs[b, t]))
    A = np.array([a for a, _ in pairs])
    A = (A - A.mean())/np.sqrt(A.var() + 1e-8)
    total = total - sum(float(a)*lp for a, (_, lp) in zip(A, pairs))
    return total/len(pairs)

# %% wrong check_short_sighted_gae: nothing is returned
def my_gae(rewards, values, mask, gamma, lam, steps):
    pass

# %% wrong check_short_sighted_gae: not used
def my_gae(rewards, values, mask, gamma, lam, steps):
    return compute_advantage_and_return(rewards, values, mask, gamma, lam)[0]

# %% wrong check_short_sighted_gae: too far
def my_gae(rewards, values, mask, gamma, lam, steps):
    rewards, values = rewards*mask, values*mask
    deltas = rewards + gamma*F.pad(values[:, 1:], (0, 1)) - values
    total = torch.zeros_like(deltas)
    for lag in range(min(steps + 1, deltas.shape[1])):
        total += (gamma*lam)**lag*F.pad(deltas[:, lag:], (0, lag))
    return total

# %% wrong check_short_sighted_gae: behind the last token
def my_gae(rewards, values, mask, gamma, lam, steps):
    deltas = (rewards + gamma*F.pad(values[:, 1:], (0, 1)) - values)*mask
    total = torch.zeros_like(deltas)
    for lag in range(min(steps, deltas.shape[1])):
        total += (gamma*lam)**lag*F.pad(deltas[:, lag:], (0, lag))
    return total

# %% wrong check_short_sighted_gae: λ alone
def my_gae(rewards, values, mask, gamma, lam, steps):
    rewards, values = rewards*mask, values*mask
    deltas = rewards + gamma*F.pad(values[:, 1:], (0, 1)) - values
    total = torch.zeros_like(deltas)
    for lag in range(min(steps, deltas.shape[1])):
        total += lam**lag*F.pad(deltas[:, lag:], (0, lag))
    return total

# %% wrong check_short_sighted_gae: factor 1 − λ
def my_gae(rewards, values, mask, gamma, lam, steps):
    A = torch.zeros(mask.shape)
    for b, count in enumerate(mask.sum(1).tolist()):
        v = F.pad(values[b, :count], (0, 1))
        for t in range(count):
            for n in range(1, min(steps, count - t) + 1):
                seen = sum(gamma**k*rewards[b, t + k] for k in range(n))
                A[b, t] += (1 - lam)*lam**(n - 1)*(seen + gamma**n*v[t + n] - v[t])
    return A

# %% wrong check_short_sighted_gae: taken for 0
def my_gae(rewards, values, mask, gamma, lam, steps):
    A = torch.zeros(mask.shape)
    for t in range(mask.shape[1]):
        window = [x[:, t:t + steps] for x in (rewards, values, mask)]
        A[:, t] = compute_advantage_and_return(*window, gamma, lam)[0][:, 0]
    return A

# %% wrong check_short_sighted_gae: furthest
def my_gae(rewards, values, mask, gamma, lam, steps):
    A = torch.zeros(mask.shape)
    for b, count in enumerate(mask.sum(1).tolist()):
        v = F.pad(values[b, :count], (0, 1))
        for t in range(count):
            n = min(steps, count - t)
            seen = sum(gamma**k*rewards[b, t + k] for k in range(n))
            A[b, t] = seen + gamma**n*v[t + n] - v[t]
    return A

# %% wrong check_short_sighted_gae: not subtracted
def my_gae(rewards, values, mask, gamma, lam, steps):
    rewards, values = rewards*mask, values*mask
    deltas = rewards + gamma*F.pad(values[:, 1:], (0, 1)) - values
    total = torch.zeros_like(deltas)
    for lag in range(min(steps, deltas.shape[1])):
        total += (gamma*lam)**lag*F.pad(deltas[:, lag:], (0, lag))
    return total + values

# %% wrong check_short_sighted_gae: IndexError
def my_gae(rewards, values, mask, gamma, lam, steps):
    A = torch.zeros(mask.shape)
    for b, count in enumerate(mask.sum(1).tolist()):
        for t in range(count):
            A[b, t] = sum((gamma*lam)**k*(rewards[b, t + k] + gamma*values[b, t + k + 1]
                                          - values[b, t + k]) for k in range(steps))
    return A

# %% wrong check_short_sighted_gae: in place
def my_gae(rewards, values, mask, gamma, lam, steps):
    values[mask == 0] = 0
    rewards = rewards*mask
    deltas = rewards + gamma*F.pad(values[:, 1:], (0, 1)) - values
    total = torch.zeros_like(deltas)
    for lag in range(min(steps, deltas.shape[1])):
        total += (gamma*lam)**lag*F.pad(deltas[:, lag:], (0, lag))
    return total

# %% right check_short_sighted_gae
def my_gae(rewards, values, mask, gamma, lam, steps):
    rewards, values = (rewards*mask).double().numpy(), (values*mask).double().numpy()
    deltas = rewards + gamma*np.pad(values[:, 1:], ((0, 0), (0, 1))) - values
    lag = np.arange(mask.shape[1])[None] - np.arange(mask.shape[1])[:, None]
    weights = np.where((lag >= 0) & (lag < steps), (gamma*lam)**np.abs(lag), 0.0)
    return np.einsum('tk,bk->bt', weights, deltas)

# %% right check_short_sighted_gae
def my_gae(rewards, values, mask, gamma, lam, steps):
    R = mask.shape[1]
    rewards, values = F.pad(rewards*mask, (0, 1)), F.pad(values*mask, (0, 1))
    A = torch.zeros(mask.shape)
    for t in range(R):
        end = min(t + steps, R)
        window = rewards[:, t:end].clone()
        window[:, -1] += gamma*values[:, end]
        on = torch.ones_like(window)
        A[:, t] = compute_advantage_and_return(window, values[:, t:end], on, gamma, lam)[0][:, 0]
    return A*mask

# %% right check_short_sighted_gae
def my_gae(rewards, values, mask, gamma, lam, steps):
    def row(r, v, count):
        v = v[:count] + [0.0]
        for t in range(len(r)):
            if t >= count:
                yield 0.0
                continue
            N, total, seen = min(steps, count - t), 0.0, 0.0
            for n in range(1, N + 1):
                seen += gamma**(n - 1)*r[t + n - 1]
                weight = lam**(N - 1) if n == N else (1 - lam)*lam**(n - 1)
                total += weight*(seen + gamma**n*v[t + n] - v[t])
            yield total
    counts = mask.sum(1).tolist()
    return [list(row(*args)) for args in zip(rewards.tolist(), values.tolist(), counts)]

# %% wrong check_kl_loss: nothing is returned
def my_kl_loss(logprobs, ref_logprobs, mask):
    ...

# %% wrong check_kl_loss: does nothing
def my_kl_loss(logprobs, ref_logprobs, mask):
    return (kl_k1(logprobs, ref_logprobs)*mask).sum(1)

# %% wrong check_kl_loss: k3 as a loss
def my_kl_loss(logprobs, ref_logprobs, mask):
    return (kl_k3(logprobs, ref_logprobs)*mask).sum(-1)

# %% wrong check_kl_loss: comes after it
def my_kl_loss(logprobs, ref_logprobs, mask):
    return (kl_k1(logprobs, ref_logprobs).detach()*logprobs*mask).sum(1)

# %% wrong check_kl_loss: comes after it
def my_kl_loss(logprobs, ref_logprobs, mask):
    return (0.5*(logprobs - ref_logprobs)**2*mask).sum(1)

# %% wrong check_kl_loss: sign is reversed
def my_kl_loss(logprobs, ref_logprobs, mask):
    k1 = ((ref_logprobs - logprobs)*mask).detach()
    return k1.sum(1)*(logprobs*mask).sum(1)

# %% wrong check_kl_loss: not detached
def my_kl_loss(logprobs, ref_logprobs, mask):
    k1 = (logprobs - ref_logprobs)*mask
    return k1.sum(1)*(logprobs*mask).sum(1)

# %% wrong check_kl_loss: another shape
def my_kl_loss(logprobs, ref_logprobs, mask):
    return masked_mean(kl_k1(logprobs, ref_logprobs).detach()*logprobs, mask)

# %% wrong check_kl_loss: no gradient reaches
def my_kl_loss(logprobs, ref_logprobs, mask):
    logprobs = logprobs.detach()
    k1 = (logprobs - ref_logprobs)*mask
    return k1.sum(1)*(logprobs*mask).sum(1)

# %% wrong check_kl_loss: length
def my_kl_loss(logprobs, ref_logprobs, mask):
    k1 = ((logprobs - ref_logprobs)*mask).detach()
    return k1.sum(1)*(logprobs*mask).sum(1)/mask.sum(1)

# %% wrong check_kl_loss: padding is in the log-ratio
def my_kl_loss(logprobs, ref_logprobs, mask):
    k1 = (logprobs - ref_logprobs).detach()
    to_go = k1.flip(1).cumsum(1).flip(1)
    return (to_go*logprobs*mask).sum(1)

# %% wrong check_kl_loss: twice as large
def my_kl_loss(logprobs, ref_logprobs, mask):
    return ((logprobs - ref_logprobs)*mask).sum(1)**2

# %% right check_kl_loss
def my_kl_loss(logprobs, ref_logprobs, mask):
    k1 = (kl_k1(logprobs, ref_logprobs)*mask).detach()
    to_go, _ = compute_advantage_and_return(k1, torch.zeros_like(k1), mask, 1.0, 1.0)
    return (to_go*logprobs).sum(1)

# %% right check_kl_loss
def my_kl_loss(logprobs, ref_logprobs, mask):
    return ((logprobs - ref_logprobs)*mask).sum(1).square()/2

# %% right check_kl_loss
def my_kl_loss(logprobs, ref_logprobs, mask):
    with torch.no_grad():
        k1 = ((logprobs - ref_logprobs)*mask).sum(1)
        k1 = k1 - k1.mean()
    return k1*(logprobs*mask).sum(1)

# %% right check_kl_loss
def my_kl_loss(logprobs, ref_logprobs, mask):
    losses = []
    for lp, ref, on in zip(logprobs, ref_logprobs, mask):
        ratio = torch.exp((lp - lp.detach())[on.bool()].sum())
        losses.append(ratio*(lp - ref)[on.bool()].sum())
    return losses

# %% wrong check_sentence_rewards: IndexError
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    rewards = -beta*(logprobs-ref_logprobs)
    for b in range(sentence.shape[0]):
        for s in range(sentence_scores.shape[1]):
            idx = (sentence[b]==s).nonzero()[-1]
            rewards[b, idx] += sentence_scores[b, s]
    return rewards*(sentence>=0)

# %% wrong check_sentence_rewards: last column
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    rewards = -beta*(logprobs-ref_logprobs)
    mask = sentence >= 0
    ends = mask & (torch.diff(sentence, dim=1, append=sentence[:, -1:]) != 0)
    rewards = rewards + sentence_scores.gather(1, sentence.clamp(min=0))*ends
    return rewards*mask

# %% wrong check_sentence_rewards: mean of all tokens
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    ends = sentence != F.pad(sentence[:, 1:], (0,1), value=-1)
    scores = sentence_scores.gather(1, sentence.clamp(min=0))
    penalty = beta*masked_mean(logprobs-ref_logprobs, sentence>=0)
    return (scores*ends - penalty)*(sentence>=0)

# %% wrong check_joint_loss: means of the loss
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    A, R = compute_advantage_and_return(rewards, values.detach(), mask, gamma, lam)
    A = whiten(A, mask)
    return -(A*logprobs).mean() + 0.5*((values-R)**2).mean()

# %% wrong check_joint_loss: summed in the policy
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    A, R = compute_advantage_and_return(rewards, values.detach(), mask, gamma, lam)
    A = whiten(A, mask)
    return -(A*logprobs*mask).sum() + 0.5*masked_mean((values-R)**2, mask)

# %% wrong check_joint_loss: both parts
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    A, R = compute_advantage_and_return(rewards, values.detach(), mask, gamma, lam)
    A = whiten(A, mask)
    return masked_mean(A*logprobs, mask) - 0.5*masked_mean((values-R)**2, mask)

# %% wrong check_joint_loss: two numbers
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    A, R = compute_advantage_and_return(rewards, values, mask, gamma, lam)
    A = whiten(A.detach(), mask)
    return -masked_mean(A*logprobs, mask) , masked_mean((values-R.detach())**2, mask)/2

# %% wrong check_short_sighted_gae: power 1
def my_gae(rewards, values, mask, gamma, lam, steps):
    rewards, values = rewards*mask, values*mask
    deltas = rewards + gamma*F.pad(values[:,1:],(0,1)) - values
    out = torch.zeros_like(deltas)
    for t in range(deltas.shape[1]):
        for l in range(steps):
            if t + l < deltas.shape[1]:
                out[:, t] += gamma*lam**l*deltas[:, t+l]
    return out

# %% wrong check_short_sighted_gae: blocks
def my_gae(rewards, values, mask, gamma, lam, steps):
    adv = torch.zeros_like(rewards)
    run = torch.zeros(len(rewards))
    rewards, values = rewards*mask, values*mask
    deltas = rewards + gamma*F.pad(values[:,1:],(0,1)) - values
    R = rewards.shape[1]
    for i, t in enumerate(reversed(range(R))):
        if i % steps == 0:
            run = torch.zeros(len(rewards))
        run = deltas[:, t] + gamma*lam*run
        adv[:, t] = run
    return adv

# %% wrong check_short_sighted_gae: not used at all
def my_gae(rewards, values, mask, gamma, lam, steps):
    rewards, values = rewards*mask, values*mask
    deltas = rewards + F.pad(values[:,1:],(0,1)) - values
    out = torch.zeros_like(deltas)
    for l in range(min(steps, deltas.shape[1])):
        out += lam**l*F.pad(deltas[:, l:], (0, l))
    return out

# %% wrong check_short_sighted_gae: mask does
def my_gae(rewards, values, mask, gamma, lam, steps):
    B, R = rewards.shape
    out = torch.zeros(B, R)
    for b in range(B):
        n_tok = int(mask[b].sum())
        for t in range(n_tok):
            L = min(steps, R - t)
            for n in range(1, L+1):
                w = (1-lam)*lam**(n-1) if n < L else lam**(n-1)
                g = sum(gamma**k*rewards[b,t+k] for k in range(n))
                v = values[b,t+n] if t+n < R else 0
                out[b,t] += w*(g + gamma**n*v - values[b,t])
    return out

# %% wrong check_kl_loss: comes after it
def my_kl_loss(logprobs, ref_logprobs, mask):
    k1 = ((logprobs - ref_logprobs)*mask).detach()
    return (k1.cumsum(1)*logprobs*mask).sum(1)

# %% wrong check_kl_loss: not detached
def my_kl_loss(logprobs, ref_logprobs, mask):
    k1 = ((logprobs - ref_logprobs)*mask)
    to_go = k1.flip(1).cumsum(1).flip(1)
    return (to_go*logprobs*mask).sum(1)

# %% wrong check_kl_loss: probabilities stand
def my_kl_loss(logprobs, ref_logprobs, mask):
    k1 = ((logprobs - ref_logprobs)*mask).detach()
    to_go = k1.flip(1).cumsum(1).flip(1)
    return (to_go*logprobs.exp()*mask).sum(1)

# %% wrong check_kl_loss: multiplied by probabilities
def my_kl_loss(logprobs, ref_logprobs, mask):
    return F.kl_div(ref_logprobs, logprobs, log_target=True, reduction='none').sum(1)

# %% right check_short_sighted_gae
def my_gae(rewards, values, mask, gamma, lam, steps):
    rewards, values = rewards*mask, values*mask
    out = torch.zeros_like(rewards)
    R = rewards.shape[1]
    V = F.pad(values, (0, R+steps))
    r = F.pad(rewards, (0, R+steps))
    for t in range(R):
        for n in range(1, steps+1):
            w = (1-lam)*lam**(n-1) if n < steps else lam**(n-1)
            ret = sum(gamma**k*r[:, t+k] for k in range(n))
            out[:, t] += w*(ret + gamma**n*V[:, t+n] - V[:, t])
    return out*mask
