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

# %% wrong check_sentence_rewards: the KL has its sign reversed: it pays for leaving the
# the KL is paid out instead of charged (sign)
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    real = sentence >= 0
    nxt = F.pad(sentence[:, 1:], (0, 1), value=-1)
    last = real & (sentence != nxt)
    rewards = beta * (logprobs - ref_logprobs)
    rewards = rewards + torch.where(last, sentence_scores.gather(1, sentence.clamp(min=0)), 0.0)
    return torch.where(real, rewards, 0.0)

# %% wrong check_sentence_rewards: the penalty is k3, and k1 is asked for
# k3 in place of k1
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    real = sentence >= 0
    nxt = F.pad(sentence[:, 1:], (0, 1), value=-1)
    last = real & (sentence != nxt)
    d = ref_logprobs - logprobs
    rewards = -beta * (d.exp() - d - 1)
    rewards = rewards + torch.where(last, sentence_scores.gather(1, sentence.clamp(min=0)), 0.0)
    return torch.where(real, rewards, 0.0)

# %% wrong check_sentence_rewards: each score lands on the first token of its sentence, before
# the score lands on the first token of its sentence
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    real = sentence >= 0
    prev = F.pad(sentence[:, :-1], (1, 0), value=-1)
    first = real & (sentence != prev)
    rewards = -beta * (logprobs - ref_logprobs)
    rewards = rewards + torch.where(first, sentence_scores.gather(1, sentence.clamp(min=0)), 0.0)
    return torch.where(real, rewards, 0.0)

# %% wrong check_sentence_rewards: a sentence that ends in the last column loses its score
# a sentence that ends in the last column gets no score
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    rewards = torch.where(sentence >= 0, -beta * (logprobs - ref_logprobs), 0.0)
    B, R = sentence.shape
    for b in range(B):
        for t in range(R - 1):
            s = sentence[b, t]
            if s >= 0 and sentence[b, t + 1] != s:
                rewards[b, t] += sentence_scores[b, s]
    return rewards

# %% wrong check_sentence_rewards: each score is paid on every token of its sentence, so long
# every token of a sentence gets its score
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    real = sentence >= 0
    score = sentence_scores.gather(1, sentence.clamp(min=0))
    return torch.where(real, score - beta * (logprobs - ref_logprobs), 0.0)

# %% wrong check_sentence_rewards: scores of sentences that a row does not have land in its
# numbers behind a row's last sentence land on its last column
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    B, R = sentence.shape
    rewards = torch.where(sentence >= 0, -beta * (logprobs - ref_logprobs), 0.0)
    for s in range(sentence_scores.shape[1]):
        here = (sentence == s).int()
        pos = R - 1 - here.flip(1).argmax(1)
        rewards[torch.arange(B), pos] += sentence_scores[:, s]
    return rewards

# %% wrong check_sentence_rewards: padding pays too
# padding still pays its KL
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    nxt = F.pad(sentence[:, 1:], (0, 1), value=-1)
    last = (sentence >= 0) & (sentence != nxt)
    score = sentence_scores.gather(1, sentence.clamp(min=0))
    return -beta * (logprobs - ref_logprobs) + score * last

# %% wrong check_sentence_rewards: β stays at a default, 0.08
# beta ignored, 0.08 in its place
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta=0.08):
    real = sentence >= 0
    nxt = F.pad(sentence[:, 1:], (0, 1), value=-1)
    last = real & (sentence != nxt)
    rewards = -0.08 * (logprobs - ref_logprobs)
    rewards = rewards + torch.where(last, sentence_scores.gather(1, sentence.clamp(min=0)), 0.0)
    return torch.where(real, rewards, 0.0)

# %% wrong check_sentence_rewards: the penalties of a sentence are added up on its last token
# the KL of a whole sentence is charged at its end
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    rewards = torch.zeros_like(logprobs)
    for b in range(sentence.shape[0]):
        for s in range(int(sentence[b].max()) + 1):
            here = (sentence[b] == s).nonzero().flatten()
            kl = (logprobs[b, here] - ref_logprobs[b, here]).sum()
            rewards[b, here[-1]] = sentence_scores[b, s] - beta * kl
    return rewards

# %% right check_sentence_rewards
# plain loops over Python lists
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    out = []
    for sc, se, lp, rl in zip(sentence_scores.tolist(), sentence.tolist(), logprobs.tolist(), ref_logprobs.tolist()):
        row = []
        for t, s in enumerate(se):
            r = 0.0
            if s != -1:
                r = beta * (rl[t] - lp[t])
                if t == len(se) - 1 or se[t + 1] != s:
                    r += sc[s]
            row.append(r)
        out.append(row)
    return torch.tensor(out)

# %% right check_sentence_rewards
# float64, positions of the ends from cumulative counts, index_put
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    B, R = sentence.shape
    S = sentence_scores.shape[1]
    hot = sentence[:, :, None] == torch.arange(S)
    end = hot.sum(1).cumsum(1) - 1
    b, s = hot.any(1).nonzero(as_tuple=True)
    out = (beta * (ref_logprobs.double() - logprobs.double())).masked_fill(sentence < 0, 0.0)
    return out.index_put((b, end[b, s]), sentence_scores[b, s].double(), accumulate=True)

# %% right check_sentence_rewards
# scatter onto one column more, which is cut off again
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    B, R = sentence.shape
    S = sentence_scores.shape[1]
    pos = torch.arange(R).expand(B, R)
    last = torch.full((B, S + 1), -1).scatter_reduce(1, sentence.long() + 1, pos, "amax")[:, 1:]
    last = torch.where(last < 0, R, last)
    score = torch.zeros(B, R + 1).scatter_add(1, last, sentence_scores.float())[:, :R]
    return score - beta * torch.where(sentence == -1, torch.zeros(()), kl_k1(logprobs, ref_logprobs))

# %% right check_sentence_rewards
# from right to left, column by column, then stacked
def my_rewards(sentence_scores, sentence, logprobs, ref_logprobs, beta):
    columns = []
    behind = torch.full_like(sentence[:, 0], -1)
    rows = torch.arange(len(sentence))
    for t in reversed(range(sentence.shape[1])):
        s = sentence[:, t]
        r = ref_logprobs[:, t] * beta - logprobs[:, t] * beta
        r = torch.where(s != behind, r + sentence_scores[rows, s.clamp(0)], r)
        columns.insert(0, torch.where(s < 0, torch.zeros_like(r), r))
        behind = s
    return torch.stack(columns, dim=-1)

# %% wrong check_joint_loss: a gradient goes through the advantages: the policy's part
# the policy part moves the values too, advantages not detached
def gae(rewards, values, mask, gamma, lam):
    real = mask > 0
    v = torch.where(real, values, 0.0)
    r = torch.where(real, rewards, 0.0)
    out, running = [], torch.zeros(len(v))
    for t in reversed(range(v.shape[1])):
        nxt = v[:, t + 1] if t + 1 < v.shape[1] else torch.zeros(len(v))
        running = (r[:, t] + gamma * nxt - v[:, t] + gamma * lam * running) * mask[:, t]
        out.insert(0, running)
    return torch.stack(out, 1)

def my_loss(logprobs, values, rewards, mask, gamma, lam):
    m = mask.bool()
    adv = gae(rewards, values, mask, gamma, lam)
    returns = (adv + values).detach()
    a = adv[m]
    white = (a - a.mean()) / (a.var(unbiased=False) + 1e-8).sqrt()
    return -(white * logprobs[m]).mean() + 0.5 * ((values - returns)[m] ** 2).mean()

# %% wrong check_joint_loss: a gradient goes through the returns: a target should stand
# the returns do not stand still, the gradient flows into them
def gae(rewards, values, mask, gamma, lam):
    real = mask > 0
    v = torch.where(real, values, 0.0)
    r = torch.where(real, rewards, 0.0)
    out, running = [], torch.zeros(len(v))
    for t in reversed(range(v.shape[1])):
        nxt = v[:, t + 1] if t + 1 < v.shape[1] else torch.zeros(len(v))
        running = (r[:, t] + gamma * nxt - v[:, t] + gamma * lam * running) * mask[:, t]
        out.insert(0, running)
    return torch.stack(out, 1)

def my_loss(logprobs, values, rewards, mask, gamma, lam):
    m = mask.bool()
    adv = gae(rewards, values, mask, gamma, lam)
    returns = adv + values
    a = adv[m].detach()
    white = (a - a.mean()) / (a.var(unbiased=False) + 1e-8).sqrt()
    return -(white * logprobs[m]).mean() + 0.5 * ((values - returns)[m] ** 2).mean()

# %% wrong check_joint_loss: the advantages are not whitened
# advantages not whitened
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    m = mask.bool()
    clean_r = torch.where(m, rewards, 0.0)
    clean_v = torch.where(m, values, 0.0)
    adv, ret = compute_advantage_and_return(clean_r, clean_v.detach(), mask, gamma, lam)
    return -(adv[m] * logprobs[m]).mean() + 0.5 * ((values[m] - ret[m]) ** 2).mean()

# %% wrong check_joint_loss: good tokens are made less likely: the policy's part has the
# plus in front of the policy part
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    m = mask.bool()
    clean_r = torch.where(m, rewards, 0.0)
    clean_v = torch.where(m, values, 0.0)
    adv, ret = compute_advantage_and_return(clean_r, clean_v.detach(), mask, gamma, lam)
    white = whiten(adv, mask)
    return (white[m] * logprobs[m]).mean() + 0.5 * ((values[m] - ret[m]) ** 2).mean()

# %% wrong check_joint_loss: the half of the value's part is missing
# the half is forgotten
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    m = mask.bool()
    clean_r = torch.where(m, rewards, 0.0)
    clean_v = torch.where(m, values, 0.0)
    adv, ret = compute_advantage_and_return(clean_r, clean_v.detach(), mask, gamma, lam)
    white = whiten(adv, mask)
    return -(white[m] * logprobs[m]).mean() + F.mse_loss(values[m], ret[m])

# %% wrong check_joint_loss: it is the mean of the rows' means, in which tokens of short
# mean of each response first, then over the responses
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    m = mask.bool()
    clean_r = torch.where(m, rewards, 0.0)
    clean_v = torch.where(m, values, 0.0)
    clean_l = torch.where(m, logprobs, 0.0)
    adv, ret = compute_advantage_and_return(clean_r, clean_v.detach(), mask, gamma, lam)
    white = whiten(adv, mask)
    n = mask.sum(1)
    pg = -((white * clean_l * mask).sum(1) / n).mean()
    vf = (((clean_v - ret) ** 2 * mask).sum(1) / n).mean()
    return pg + 0.5 * vf

# %% wrong check_joint_loss: padding is in the number that is divided by
# divides by all positions, padding counted
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    m = mask.bool()
    clean_r = torch.where(m, rewards, 0.0)
    clean_v = torch.where(m, values, 0.0)
    clean_l = torch.where(m, logprobs, 0.0)
    adv, ret = compute_advantage_and_return(clean_r, clean_v.detach(), mask, gamma, lam)
    white = whiten(adv, mask)
    return -(white * clean_l * mask).mean() + 0.5 * ((clean_v - ret) ** 2 * mask).mean()

# %% wrong check_joint_loss: no gradient reaches the values: only the target may be
# values detached once for all, the value head learns nothing
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    values = values.detach()
    m = mask.bool()
    clean_r = torch.where(m, rewards, 0.0)
    clean_v = torch.where(m, values, 0.0)
    adv, ret = compute_advantage_and_return(clean_r, clean_v, mask, gamma, lam)
    white = whiten(adv, mask)
    return -(white[m] * logprobs[m]).mean() + 0.5 * ((values[m] - ret[m]) ** 2).mean()

# %% wrong check_joint_loss: γ and λ are not handed on
# gamma and lam not handed on, the defaults stay
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    m = mask.bool()
    clean_r = torch.where(m, rewards, 0.0)
    clean_v = torch.where(m, values, 0.0)
    adv, ret = compute_advantage_and_return(clean_r, clean_v.detach(), mask)
    white = whiten(adv, mask)
    return -(white[m] * logprobs[m]).mean() + 0.5 * ((values[m] - ret[m]) ** 2).mean()

# %% right check_joint_loss
# the lesson's functions under no_grad, boolean picking, mse_loss
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    m = mask > 0.5
    with torch.no_grad():
        adv, ret = compute_advantage_and_return(rewards.masked_fill(~m, 0), values.masked_fill(~m, 0), mask, gamma, lam)
        white = whiten(adv, mask)
    return F.mse_loss(values[m], ret[m]) / 2 - torch.dot(white[m], logprobs[m]) / m.sum()

# %% right check_joint_loss
# float64, responses one by one, nothing borrowed
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    lps, vs, advs, rets = [], [], [], []
    for b in range(len(mask)):
        idx = mask[b].nonzero().flatten()
        v = values[b, idx].double()
        r, c = rewards[b, idx].double(), v.detach()
        a, adv = 0.0, []
        for t in range(len(idx) - 1, -1, -1):
            nxt = c[t + 1] if t + 1 < len(idx) else 0.0
            a = r[t] + gamma * nxt - c[t] + gamma * lam * a
            adv.append(a)
        if not adv:
            continue
        adv = torch.stack(adv[::-1])
        lps.append(logprobs[b, idx].double())
        vs.append(v)
        advs.append(adv)
        rets.append(adv + c)
    lp, v, adv, ret = map(torch.cat, (lps, vs, advs, rets))
    white = (adv - adv.mean()) * ((adv - adv.mean()).square().mean() + 1e-8).rsqrt()
    return (0.5 * (v - ret).square() - white * lp).mean()

# %% right check_joint_loss
# discount matrix in place of the loop, sums over the mask by einsum
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    m = mask.bool()
    zero = torch.zeros((), dtype=values.dtype)
    lp, v, r = (torch.where(m, x, zero) for x in (logprobs, values, rewards))
    old = v.detach()
    delta = (r + gamma * F.pad(old[:, 1:], (0, 1)) - old)
    ahead = torch.arange(m.shape[1])[None, :] - torch.arange(m.shape[1])[:, None]
    power = torch.where(ahead >= 0, torch.pow(torch.tensor(float(gamma * lam)), ahead.clamp(min=0)), zero)
    adv = torch.einsum("ts,bs->bt", power, delta) * m
    w = m.to(v.dtype) / m.sum()
    mean = torch.einsum("bt,bt->", adv, w)
    var = torch.einsum("bt,bt,bt->", adv - mean, adv - mean, w)
    white = (adv - mean) / torch.sqrt(var + 1e-8)
    return torch.einsum("bt,bt->", 0.5 * (v - old - adv) ** 2 - white * lp, w)

# %% right check_joint_loss
# value part as values times detached error plus its detached rest
def my_loss(logprobs, values, rewards, mask, gamma, lam):
    m = mask.bool()
    r, v = rewards.clone(), values.detach().clone()
    r[~m] = 0
    v[~m] = 0
    adv, ret = compute_advantage_and_return(r, v, mask, gamma, lam)
    white = whiten(adv, mask).detach()
    err = (values.detach() - ret.detach())[m]
    n = int(m.sum())
    value_part = (values[m] * err).sum() / n + (0.5 * err ** 2 - err * values.detach()[m]).sum() / n
    return value_part - sum(white[m] * logprobs[m]) / n

# %% wrong check_short_sighted_gae: the weights do not sum to 1: the last n gets all that is
# the last one gets (1 - lam) * lam ** (L - 1) like the others
def my_gae(rewards, values, mask, gamma, lam, steps):
    B, R = rewards.shape
    out = torch.zeros(B, R)
    for b in range(B):
        n = int(mask[b].sum())
        for t in range(n):
            L = min(steps, n - t)
            a, g = 0.0, 0.0
            for k in range(1, L + 1):
                g = g + gamma ** (k - 1) * rewards[b, t + k - 1]
                v = values[b, t + k] if t + k < n else 0.0
                a = a + (1 - lam) * lam ** (k - 1) * (g + gamma ** k * v - values[b, t])
            out[b, t] = a
    return out

# %% wrong check_short_sighted_gae: the value of padding is taken behind the last token, and 0
# reads a value from the padding behind the end
def my_gae(rewards, values, mask, gamma, lam, steps):
    B, R = rewards.shape
    delta = rewards + gamma * F.pad(values[:, 1:], (0, 1)) - values
    delta = torch.where(mask > 0, delta, 0.0)
    adv = torch.zeros(B, R)
    for k in range(min(steps, R)):
        adv[:, :R - k] += (gamma * lam) ** k * delta[:, k:]
    return torch.where(mask > 0, adv, 0.0)

# %% wrong check_short_sighted_gae: it looks one token too far
# looks one token too far
def my_gae(rewards, values, mask, gamma, lam, steps):
    B, R = rewards.shape
    m = mask > 0
    v = torch.where(m, values, 0.0)
    r = torch.where(m, rewards, 0.0)
    delta = r + gamma * F.pad(v[:, 1:], (0, 1)) - v
    adv = torch.zeros(B, R)
    for k in range(min(steps + 1, R)):
        adv[:, :R - k] += (gamma * lam) ** k * delta[:, k:]
    return torch.where(m, adv, 0.0)

# %% wrong check_short_sighted_gae: `steps` is not used: it looks to the end of the response
# steps ignored, the ordinary GAE
def my_gae(rewards, values, mask, gamma, lam, steps):
    m = mask > 0
    adv, _ = compute_advantage_and_return(torch.where(m, rewards, 0.0), torch.where(m, values, 0.0), mask, gamma, lam)
    return torch.where(m, adv, 0.0)

# %% wrong check_short_sighted_gae: all the weight is on the furthest n: λ is not used
# only the longest advantage, no mixture
def my_gae(rewards, values, mask, gamma, lam, steps):
    B, R = rewards.shape
    m = mask > 0
    v = torch.where(m, values, 0.0)
    r = torch.where(m, rewards, 0.0)
    delta = r + gamma * F.pad(v[:, 1:], (0, 1)) - v
    adv = torch.zeros(B, R)
    for k in range(min(steps, R)):
        adv[:, :R - k] += gamma ** k * delta[:, k:]
    return torch.where(m, adv, 0.0)

# %% wrong check_short_sighted_gae: the surprises shrink by λ alone a token, and by γλ is right
# discounts with lam alone, gamma forgotten between the steps
def my_gae(rewards, values, mask, gamma, lam, steps):
    B, R = rewards.shape
    m = mask > 0
    v = torch.where(m, values, 0.0)
    r = torch.where(m, rewards, 0.0)
    delta = r + gamma * F.pad(v[:, 1:], (0, 1)) - v
    adv = torch.zeros(B, R)
    for k in range(min(steps, R)):
        adv[:, :R - k] += lam ** k * delta[:, k:]
    return torch.where(m, adv, 0.0)

# %% wrong check_short_sighted_gae: the response is cut into blocks, and each token looks to
# responses cut into blocks of steps tokens
def my_gae(rewards, values, mask, gamma, lam, steps):
    B, R = rewards.shape
    m = mask > 0
    v = torch.where(m, values, 0.0)
    r = torch.where(m, rewards, 0.0)
    delta = r + gamma * F.pad(v[:, 1:], (0, 1)) - v
    adv, running = torch.zeros(B, R), torch.zeros(B)
    for t in reversed(range(R)):
        if (t + 1) % steps == 0:
            running = torch.zeros(B)
        running = delta[:, t] + gamma * lam * running
        adv[:, t] = running
    return torch.where(m, adv, 0.0)

# %% wrong check_short_sighted_gae: it ends in ValueError: steps is larger than the response
# unfold breaks when steps is larger than the row
def my_gae(rewards, values, mask, gamma, lam, steps):
    m = mask > 0
    v = torch.where(m, values, 0.0)
    r = torch.where(m, rewards, 0.0)
    delta = r + gamma * F.pad(v[:, 1:], (0, 1)) - v
    if steps > delta.shape[1]:
        raise ValueError("steps is larger than the response")
    w = (gamma * lam) ** torch.arange(steps).float()
    adv = (F.pad(delta, (0, steps - 1)).unfold(1, steps, 1) * w).sum(-1)
    return torch.where(m, adv, 0.0)

# %% wrong check_short_sighted_gae: it is wrong with two
# near the end L stays steps, and the weight that is left is lost
def my_gae(rewards, values, mask, gamma, lam, steps):
    B, R = rewards.shape
    out = torch.zeros(B, R)
    for b in range(B):
        n = int(mask[b].sum())
        for t in range(n):
            g = 0.0
            for k in range(1, steps + 1):
                if t + k > n:
                    break
                g = g + gamma ** (k - 1) * rewards[b, t + k - 1]
                v = values[b, t + k] if t + k < n else 0.0
                w = lam ** (k - 1) if k == steps else (1 - lam) * lam ** (k - 1)
                out[b, t] += w * (g + gamma ** k * v - values[b, t])
    return out

# %% right check_short_sighted_gae
# the definition word for word, Python numbers
def my_gae(rewards, values, mask, gamma, lam, steps):
    B, R = rewards.shape
    rew, val = rewards.tolist(), values.tolist()
    out = [[0.0] * R for _ in range(B)]
    for b in range(B):
        n = int(mask[b].sum().item())
        V = val[b][:n] + [0.0]
        for t in range(n):
            L = min(steps, n - t)
            for k in range(1, L + 1):
                a = sum(gamma ** i * rew[b][t + i] for i in range(k)) + gamma ** k * V[t + k] - V[t]
                out[b][t] += (lam ** (k - 1) if k == L else (1 - lam) * lam ** (k - 1)) * a
    return torch.tensor(out)

# %% right check_short_sighted_gae
# ordinary GAE minus its own copy shifted by steps
def my_gae(rewards, values, mask, gamma, lam, steps):
    m = mask.bool()
    v = values.masked_fill(~m, 0.0).double()
    delta = rewards.masked_fill(~m, 0.0).double() + gamma * F.pad(v, (0, 1))[:, 1:] - v
    total = [torch.zeros(len(v), dtype=torch.float64)]
    for t in reversed(range(v.shape[1])):
        total.append(delta[:, t] + gamma * lam * total[-1])
    total = torch.stack(total[:0:-1], 1)
    s = min(steps, v.shape[1])
    far = F.pad(total[:, s:], (0, s))
    return (total - (gamma * lam) ** s * far).masked_fill(~m, 0.0)

# %% right check_short_sighted_gae
# conv1d over the deltas
def my_gae(rewards, values, mask, gamma, lam, steps):
    m = mask > 0
    zero = torch.zeros((), dtype=rewards.dtype)
    v = torch.where(m, values, zero)
    delta = torch.where(m, rewards, zero) + gamma * torch.cat([v[:, 1:], v[:, :1] * 0], 1) - v
    s = min(steps, v.shape[1])
    kernel = torch.tensor([(gamma * lam) ** k for k in range(s)], dtype=delta.dtype)
    adv = F.conv1d(F.pad(delta, (0, s - 1))[:, None], kernel[None, None])[:, 0]
    return torch.where(m, adv, zero)

# %% right check_short_sighted_gae
# numpy with a banded matrix
def my_gae(rewards, values, mask, gamma, lam, steps):
    m = mask.numpy() > 0
    R = m.shape[1]
    v = np.where(m, values.detach().numpy(), 0.0)
    nxt = np.concatenate([v[:, 1:], np.zeros((len(v), 1))], axis=1)
    delta = np.where(m, rewards.detach().numpy(), 0.0) + gamma * nxt - v
    band = sum(np.eye(R, k=-k) * (gamma * lam) ** k for k in range(min(steps, R)))
    return torch.from_numpy(np.where(m, delta @ band, 0.0)).to(rewards.dtype)

# %% wrong check_kl_loss: the gradient is 0 on average: k1 itself as a loss does
# the sum of k1 itself, its gradient is 0 on average
def my_kl_loss(logprobs, ref_logprobs, mask):
    return ((logprobs - ref_logprobs) * mask).sum(1)

# %% wrong check_kl_loss: k3 as a loss follows another gradient: it pulls each token
# the sum of k3 as a loss, the gradient of another divergence
def my_kl_loss(logprobs, ref_logprobs, mask):
    d = ref_logprobs.detach() - logprobs
    return ((d.exp() - d - 1) * mask).sum(1)

# %% wrong check_kl_loss: each token is charged with its own log-ratio
# half the squared k1 token by token, later tokens are left out
def my_kl_loss(logprobs, ref_logprobs, mask):
    return (0.5 * (logprobs - ref_logprobs) ** 2 * mask).sum(1)

# %% wrong check_kl_loss: it is divided by the length, so short responses weigh more
# divided by the length of the response
def my_kl_loss(logprobs, ref_logprobs, mask):
    kl = ((logprobs - ref_logprobs) * mask).sum(1).detach()
    return kl * (logprobs * mask).sum(1) / mask.sum(1)

# %% wrong check_kl_loss: the sign is reversed: minimising this drives the policy away
# a reward in place of a loss (sign)
def my_kl_loss(logprobs, ref_logprobs, mask):
    kl = ((logprobs - ref_logprobs) * mask).sum(1).detach()
    return -kl * (logprobs * mask).sum(1)

# %% wrong check_kl_loss: one number for each response is asked for, and what comes
# one mean over the batch in place of B numbers
def my_kl_loss(logprobs, ref_logprobs, mask):
    kl = ((logprobs - ref_logprobs) * mask).sum(1).detach()
    return (kl * (logprobs * mask).sum(1)).mean()

# %% wrong check_kl_loss: the log-ratio is not detached: its own gradient is in it too
# the k1 in front is not detached
def my_kl_loss(logprobs, ref_logprobs, mask):
    kl = ((logprobs - ref_logprobs) * mask).sum(1)
    return kl * (logprobs * mask).sum(1)

# %% wrong check_kl_loss: each token is charged with its own log-ratio
# each token answers for the tokens up to it, not from it on
def my_kl_loss(logprobs, ref_logprobs, mask):
    k1 = ((logprobs - ref_logprobs) * mask).detach()
    return (k1.cumsum(1) * logprobs * mask).sum(1)

# %% wrong check_kl_loss: a half is missing: the gradient is twice as large
# squared without the half, the gradient is twice as large
def my_kl_loss(logprobs, ref_logprobs, mask):
    return ((logprobs - ref_logprobs.detach()) * mask).sum(1) ** 2

# %% right check_kl_loss
# half the square of the summed k1
def my_kl_loss(logprobs, ref_logprobs, mask):
    total = torch.where(mask.bool(), logprobs - ref_logprobs.detach(), 0.0).sum(-1)
    return total.square() / 2

# %% right check_kl_loss
# each token times the k1 from it on, as a reward to go
def my_kl_loss(logprobs, ref_logprobs, mask):
    k1 = ((logprobs - ref_logprobs) * mask).detach()
    to_go = k1.flip(1).cumsum(1).flip(1)
    return torch.einsum("br,br,br->b", to_go, logprobs, mask.to(logprobs.dtype))

# %% right check_kl_loss
# importance ratio of value 1 times the summed k1, itself not detached, float64
def my_kl_loss(logprobs, ref_logprobs, mask):
    own = (logprobs.double() * mask).sum(1)
    ref = (ref_logprobs.detach().double() * mask).sum(1)
    ratio = torch.exp(own - own.detach())
    return ratio * (own - ref)

# %% right check_kl_loss
# loop over the responses with a constant baseline, a list of B scalars
def my_kl_loss(logprobs, ref_logprobs, mask):
    losses = []
    for lp, ref, m in zip(logprobs, ref_logprobs, mask):
        n = int(m.sum())
        weight = float((lp[:n] - ref[:n]).sum().detach()) - 0.3
        losses.append(weight * lp[:n].sum())
    return losses

# %% wrong check_short_sighted_gae: on the surprises
# the weights of the n-step advantages, the rest on the last
def my_gae(rewards, values, mask, gamma, lam, steps):
    advantages = torch.zeros_like(rewards)
    for b in range(len(rewards)):
        count = int(mask[b].sum())
        r, v = rewards[b, :count], F.pad(values[b, :count], (0, 1))
        d = r + gamma*v[1:] - v[:-1]
        for t in range(count):
            L = min(steps, count - t)
            for l in range(L):
                weight = lam**(L - 1) if l == L - 1 else (1 - lam)*lam**l
                advantages[b, t] += weight*gamma**l*d[t + l]
    return advantages

# %% wrong check_short_sighted_gae: on the surprises
# the same without γ
def my_gae(rewards, values, mask, gamma, lam, steps):
    rewards, values = rewards.masked_fill(mask == 0, 0), values.masked_fill(mask == 0, 0)
    d = rewards + gamma*F.pad(values[:, 1:], (0, 1)) - values
    advantages = torch.zeros_like(d)
    lengths = mask.sum(1).long().tolist()
    for b, count in enumerate(lengths):
        for t in range(count):
            L = min(steps, count - t)
            weights = [(1 - lam)*lam**l for l in range(L - 1)] + [lam**(L - 1)]
            advantages[b, t] = sum(w*d[b, t + l] for l, w in enumerate(weights))
    return advantages

# %% wrong check_short_sighted_gae: on the surprises
# the rest on the surprise `steps` - 1 on, even where the response is over before
def my_gae(rewards, values, mask, gamma, lam, steps):
    rewards, values = rewards.masked_fill(mask == 0, 0), values.masked_fill(mask == 0, 0)
    d = rewards + gamma*F.pad(values[:, 1:], (0, 1)) - values
    R = d.shape[1]
    advantages = torch.zeros_like(d)
    for l in range(min(steps, R)):
        weight = lam**l if l == steps - 1 else (1 - lam)*lam**l
        advantages[:, :R - l] += weight*gamma**l*d[:, l:]
    return advantages

# %% wrong check_short_sighted_gae: on the surprises
# without a rest
def my_gae(rewards, values, mask, gamma, lam, steps):
    rewards, values = rewards.masked_fill(mask == 0, 0), values.masked_fill(mask == 0, 0)
    d = rewards + gamma*F.pad(values[:, 1:], (0, 1)) - values
    R = d.shape[1]
    advantages = torch.zeros_like(d)
    for l in range(min(steps, R)):
        advantages[:, :R - l] += (1 - lam)*(gamma*lam)**l*d[:, l:]
    return advantages

# %% wrong check_short_sighted_gae: even of two tokens
# the older surprise is carried on where the newer should be: no listed mistake
def my_gae(rewards, values, mask, gamma, lam, steps):
    rewards, values = rewards.masked_fill(mask == 0, 0), values.masked_fill(mask == 0, 0)
    d = rewards + gamma*F.pad(values[:, 1:], (0, 1)) - values
    advantages = d.clone()
    for l in range(1, min(steps, d.shape[1])):
        advantages[:, :-l] += (gamma*lam)**l*d[:, :-l]/3
    return advantages

# %% wrong check_kl_loss: not detached
# the mask on the log-ratio alone
def my_kl_loss(logprobs, ref_logprobs, mask):
    k = ((logprobs - ref_logprobs)*mask).sum(1)
    return k*logprobs.sum(1)

# %% wrong check_kl_loss: not detached
# no mask
def my_kl_loss(logprobs, ref_logprobs, mask):
    k = (logprobs - ref_logprobs).sum(1)
    return k*logprobs.sum(1)

# %% wrong check_kl_loss: not detached
# the mask on the log-probabilities alone
def my_kl_loss(logprobs, ref_logprobs, mask):
    return (logprobs - ref_logprobs).sum(1)*(logprobs*mask).sum(1)

# %% wrong check_kl_loss: averaged over all responses of one token
# no listed mistake
def my_kl_loss(logprobs, ref_logprobs, mask):
    k1 = ((logprobs - ref_logprobs)*mask).sum(1).detach()
    return (k1 + k1**3)*(logprobs*mask).sum(1)

# %% wrong check_kl_loss: what came before it
def my_kl_loss(logprobs, ref_logprobs, mask):
    k1 = ((logprobs - ref_logprobs)*mask).detach()
    return (k1.cumsum(1)*logprobs*mask).sum(1)

# %% wrong check_kl_loss: what came before it
def my_kl_loss(logprobs, ref_logprobs, mask):
    k1 = ((logprobs - ref_logprobs)*mask).detach()
    return ((k1.cumsum(1) - k1)*logprobs*mask).sum(1)

# %% wrong check_kl_loss: the mask is not used
def my_kl_loss(logprobs, ref_logprobs, mask):
    to_go = (logprobs - ref_logprobs).detach().flip(1).cumsum(1).flip(1)
    return (to_go*logprobs).sum(1)

# %% wrong check_kl_loss: padding is in the log-ratio
# what comes before a token adds nothing on average
def my_kl_loss(logprobs, ref_logprobs, mask):
    to_go = (logprobs - ref_logprobs).detach().flip(1).cumsum(1).flip(1)
    return (to_go*logprobs*mask).sum(1)

# %% wrong check_short_sighted_gae: the last weight is λ^(L−1)
def my_gae(rewards, values, mask, gamma, lam, steps):
    rewards, values = rewards.masked_fill(mask == 0, 0), values.masked_fill(mask == 0, 0)
    deltas = rewards + gamma*F.pad(values[:, 1:], (0, 1)) - values
    advantages = torch.zeros_like(deltas)
    for k in range(min(steps, deltas.shape[1])):
        weight = gamma**k*(lam**k - lam**steps)
        advantages += weight*F.pad(deltas[:, k:], (0, k))
    return advantages

# %% wrong check_short_sighted_gae: λ^(L−1)
def my_gae(rewards, values, mask, gamma, lam, steps):
    advantages = torch.zeros(mask.shape)
    for b, count in enumerate(mask.sum(1).tolist()):
        v = torch.cat([values[b, :count], torch.zeros(1)])
        for t in range(count):
            L = min(steps, count - t)
            for n in range(1, L):
                seen = sum(gamma**k*rewards[b, t + k] for k in range(n))
                advantages[b, t] += (1 - lam)*lam**(n - 1)*(seen + gamma**n*v[t + n] - v[t])
    return advantages
