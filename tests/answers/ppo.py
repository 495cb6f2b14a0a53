# ruff: noqa: F811, F821
# Answers to the exercises of lesson 6, as readers write them. Each begins with a line that says
# what it is: `# %% wrong CHECK: words that its verdict must hold`, or `# %% right CHECK`.

# %% wrong ask_quiet_dials: went the way it should
answer = ([1.5, 0.7, 0.8 - 1e-3], [1, 1, -2])

# %% wrong ask_quiet_dials: not outside the clip
answer = ([0.5, 0.9, 1.6], [1.0, 1.0, -2.0])

# %% wrong ask_quiet_dials: not outside the clip
answer = ([1.2, 0.5, 1.3], [-1, 2, -1])

# %% wrong ask_quiet_dials: mean ratio is 1.167
answer = ([0.5, 1.5, 1.5], [2, -1, -1])

# %% wrong ask_quiet_dials: add up to 1
answer = ([0.5, 0.5, 2.0], [1, 1, -1])

# %% wrong ask_quiet_dials: three numbers
answer = ([0.5, 1.5], [1, -1])

# %% wrong ask_quiet_dials: went the way it should
answer = ([2.0, 0.5, 0.5], [1, -0.5, -0.5])

# %% wrong ask_quiet_dials: asked for nothing
answer = ([0.5, 0.5, 2.0], [0, 1, -1])

# %% wrong ask_quiet_dials: cannot be -0.5
answer = ([-0.5, 1.5, 2.0], [2, -1, -1])

# %% wrong ask_quiet_dials: three numbers
answer = (1.0, 0.0)

# %% wrong ask_quiet_dials: not outside the clip
answer = ([1, 1, 1], [1, 1, -2])

# %% right ask_quiet_dials
answer = ([0.5, 0.5, 2.0], [1, 1, -2])

# %% right ask_quiet_dials
answer = (np.array([0.3, 1.35, 1.35]), np.array([2.0, -1.0, -1.0]))

# %% right ask_quiet_dials
answer = (torch.tensor([[0.7, 0.75, 1.55]]), torch.tensor([[0.1, 0.2, -0.3]]))

# %% wrong check_process_weights: nothing makes up for it
def my_weights(masks):
    counts = [mask.sum() for mask in masks]
    return [count/sum(counts) for count in counts]

# %% wrong check_process_weights: every process counts the same
def my_weights(masks):
    return [1.0 for _ in masks]

# %% wrong check_process_weights: divides once more
def my_weights(masks):
    return torch.full((len(masks),), 1/len(masks))

# %% wrong check_process_weights: rows are counted
def my_weights(masks):
    rows = [m.shape[0] for m in masks]
    return [len(masks)*n/sum(rows) for n in rows]

# %% wrong check_process_weights: padding is counted
def my_weights(masks):
    sizes = torch.tensor([m.numel() for m in masks])
    return sizes/sizes.sum()*len(sizes)

# %% wrong check_process_weights: upside down
def my_weights(masks):
    n = torch.tensor([float(m.sum()) for m in masks])
    return n.sum()/n/len(n)

# %% wrong check_process_weights: numbers of tokens
def my_weights(masks):
    return [int(m.sum()) for m in masks]

# %% wrong check_process_weights: left out
def my_weights(masks):
    counts = [float(m.sum()) for m in masks if m.any()]
    return [len(counts)*c/sum(counts) for c in counts]

# %% wrong check_process_weights: where it has to multiply
def my_weights(masks):
    counts = [m.sum().item() for m in masks]
    return [c/(len(masks)*sum(counts)) for c in counts]

# %% wrong check_process_weights: its shape is
def my_weights(masks):
    total = sum(m.sum() for m in masks)
    return sum(len(masks)*m.sum()/total for m in masks)

# %% wrong check_process_weights: share of real tokens
def my_weights(masks):
    density = [m.float().mean() for m in masks]
    return [len(masks)*d/sum(density) for d in density]

# %% wrong check_process_weights: weight 1 here
def my_weights(masks):
    counts = torch.stack([m.sum() for m in masks])
    return counts/counts.max()

# %% right check_process_weights
def my_weights(masks):
    counts = [float(np.asarray(m).sum()) for m in masks]
    return (np.array(counts)/np.mean(counts)).tolist()

# %% right check_process_weights
def my_weights(masks):
    everything = torch.cat([mask.flatten() for mask in masks]).double()
    average = everything.sum()/len(masks)
    for mask in masks:
        yield mask.sum()/average

# %% right check_process_weights
def my_weights(masks):
    counts = torch.stack([torch.count_nonzero(m) for m in masks]).to(torch.float64)
    return counts/counts.mean()

# %% wrong check_early_stop: the next epoch goes on
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    steps = 0
    for epoch in range(epochs):
        for rows in minibatches:
            if approx_kl(rows) > max_kl:
                break
            step(rows)
            steps += 1
    return steps

# %% wrong check_early_stop: one step too many
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    steps = 0
    for epoch in range(epochs):
        for rows in minibatches:
            step(rows)
            steps += 1
            kl = approx_kl(rows)
            if kl > max_kl or math.isnan(kl):
                return steps
    return steps

# %% wrong check_early_stop: NaN
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    n = 0
    for _ in range(epochs):
        for rows in minibatches:
            if approx_kl(rows) > max_kl:
                return n
            step(rows)
            n += 1
    return n

# %% wrong check_early_stop: exactly max_kl
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    n = 0
    for _ in range(epochs):
        for rows in minibatches:
            kl = approx_kl(rows)
            if kl >= max_kl or kl != kl:
                return n
            step(rows)
            n += 1
    return n

# %% wrong check_early_stop: skipped
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    n = 0
    for _ in range(epochs):
        for rows in minibatches:
            if approx_kl(rows) > max_kl:
                continue
            step(rows)
            n += 1
    return n

# %% wrong check_early_stop: not taken is counted
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    count = 0
    for _ in range(epochs):
        for rows in minibatches:
            count += 1
            if not approx_kl(rows) <= max_kl:
                return count
            step(rows)
    return count

# %% wrong check_early_stop: after each epoch only
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    n = 0
    for _ in range(epochs):
        for rows in minibatches:
            kl = approx_kl(rows)
            step(rows)
            n += 1
        if kl > max_kl:
            break
    return n

# %% wrong check_early_stop: mean of all KLs
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    seen = []
    for rows in minibatches*epochs:
        seen.append(approx_kl(rows))
        if not np.mean(seen) <= max_kl:
            return len(seen) - 1
        step(rows)
    return len(seen)

# %% wrong check_early_stop: where all steps could be taken
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    n = 0
    for rows in minibatches*epochs:
        if not approx_kl(rows) <= max_kl:
            return n
        step(rows)
        n += 1

# %% wrong check_early_stop: wrong way round
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    n = 0
    for rows in minibatches*epochs:
        if approx_kl(rows) < max_kl:
            break
        step(rows)
        n += 1
    return n

# %% wrong check_early_stop: nothing stops it
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    for _ in range(epochs):
        for rows in minibatches:
            step(rows)
    return epochs*len(minibatches)

# %% wrong check_early_stop: TypeError
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    n = 0
    while n < epochs and approx_kl <= max_kl:
        step(minibatches[n])
        n += 1
    return n

# %% right check_early_stop
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    from itertools import chain, repeat
    todo = chain.from_iterable(repeat(minibatches, epochs))
    done = 0
    for rows in todo:
        kl = torch.tensor(approx_kl(rows))
        if torch.isnan(kl) or kl > max_kl:
            break
        step(rows)
        done += 1
    return torch.tensor(done)

# %% right check_early_stop
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    taken = []
    stop = False
    while not stop and len(taken) < epochs*len(minibatches):
        rows = minibatches[len(taken) % len(minibatches)]
        stop = not approx_kl(rows) <= max_kl
        if not stop:
            taken.append(rows)
            step(rows)
    return len(taken)

# %% right check_early_stop
class TooFar(Exception):
    pass


def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    steps = np.int64(0)
    try:
        for _ in range(epochs):
            for rows in minibatches:
                if math.isnan(approx_kl(rows)) or approx_kl(rows) > max_kl:
                    raise TooFar
                step(rows)
                steps += 1
    except TooFar:
        pass
    return steps

# %% wrong check_response_loss: mean of the ratios
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    ratio = (logprobs - old_logprobs).exp()
    r = (ratio*mask).sum(1)/mask.sum(1)
    return -torch.min(r*advantages, r.clamp(1 - eps, 1 + eps)*advantages).mean()

# %% wrong check_response_loss: lacks its root
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    r = ((logprobs - old_logprobs)*mask).sum(-1).exp()
    return torch.max(-r*advantages, -r.clamp(1 - eps, 1 + eps)*advantages).mean()

# %% wrong check_response_loss: padding
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    r = (logprobs - old_logprobs).mean(-1).exp()
    return torch.max(-r*advantages, -r.clamp(1 - eps, 1 + eps)*advantages).mean()

# %% wrong check_response_loss: length of the row
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    n = logprobs.shape[1]
    r = (((logprobs - old_logprobs)*mask).sum(1)/n).exp()
    return torch.max(-r*advantages, -torch.clip(r, 1 - eps, 1 + eps)*advantages).mean()

# %% wrong check_response_loss: wrong way round
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    r = (((logprobs - old_logprobs)*mask).sum(1)/mask.sum(1)).exp()
    return torch.min(r*advantages, r.clamp(1 - eps, 1 + eps)*advantages).mean()

# %% wrong check_response_loss: this is PPO
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    r = (logprobs - old_logprobs).exp()
    A = advantages[:, None]
    return masked_mean(torch.max(-r*A, -r.clamp(1 - eps, 1 + eps)*A), mask)

# %% wrong check_response_loss: nothing is clipped
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    r = (((logprobs - old_logprobs)*mask).sum(1)/mask.sum(1)).exp()
    return -(r*advantages).mean()

# %% wrong check_response_loss: no gradient
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    r = (((logprobs - old_logprobs)*mask).sum(1)/mask.sum(1)).exp().detach()
    return torch.max(-r*advantages, -r.clamp(1 - eps, 1 + eps)*advantages).mean()

# %% wrong check_response_loss: added up
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    r = (((logprobs - old_logprobs)*mask).sum(1)/mask.sum(1)).exp()
    return torch.max(-r*advantages, -r.clamp(1 - eps, 1 + eps)*advantages).sum()

# %% wrong check_response_loss: eps is 0.2
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    r = (((logprobs - old_logprobs)*mask).sum(1)/mask.sum(1)).exp()
    return torch.max(-r*advantages, -r.clamp(0.8, 1.2)*advantages).mean()

# %% wrong check_response_loss: before the advantage
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    r = (((logprobs - old_logprobs)*mask).sum(1)/mask.sum(1)).exp()
    return -(torch.min(r, r.clamp(1 - eps, 1 + eps))*advantages).mean()

# %% wrong check_response_loss: upside down
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    r = (((old_logprobs - logprobs)*mask).sum(1)/mask.sum(1)).exp()
    return torch.max(-r*advantages, -r.clamp(1 - eps, 1 + eps)*advantages).mean()

# %% wrong check_response_loss: long response counts more
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    r = (((logprobs - old_logprobs)*mask).sum(1)/mask.sum(1)).exp()[:, None]
    A = advantages[:, None]
    loss = torch.max(-r*A, -r.clamp(1 - eps, 1 + eps)*A)
    return (loss*mask).sum()/mask.sum()

# %% wrong check_response_loss: changed in place
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    logprobs -= old_logprobs
    logprobs *= mask
    r = (logprobs.sum(1)/mask.sum(1)).exp()
    return torch.max(-r*advantages, -r.clamp(1 - eps, 1 + eps)*advantages).mean()

# %% right check_response_loss
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    real = mask.bool()
    ratio = torch.where(real, logprobs - old_logprobs, 0.0).double().exp().prod(1)
    r = ratio**(1/real.sum(1))
    far = torch.where(advantages > 0, r > 1 + eps, r < 1 - eps)
    bound = torch.where(advantages > 0, 1 + eps, 1 - eps)
    return -(torch.where(far, bound, r)*advantages).mean()

# %% right check_response_loss
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    total = 0.0
    for new, old, A, real in zip(logprobs, old_logprobs, advantages, mask.bool()):
        r = torch.exp((new[real] - old[real]).mean())
        unclipped, clipped = -A*r, -A*torch.clamp(r, 1 - eps, 1 + eps)
        total = total + (unclipped if unclipped > clipped else clipped)
    return total/len(advantages)

# %% right check_response_loss
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    weights = mask/mask.sum(1, keepdim=True)
    r = torch.einsum('br,br->b', weights, logprobs - old_logprobs).exp()
    gain = advantages*r
    limit = advantages + eps*advantages.abs()
    return -torch.minimum(gain, limit).mean()

# %% wrong ask_quiet_dials: went the way it should
answer = ([0.4, 1.3, 1.3], [-2, 1, 1])

# %% wrong ask_quiet_dials: mean ratio
answer = ([0.5, 0.5, 1.5], [1, 1, -2])

# %% wrong check_process_weights: padding included
def my_weights(masks):
    total = sum(m.numel() for m in masks)
    return [len(masks)*m.sum()/total for m in masks]

# %% wrong check_process_weights: whole numbers
def my_weights(masks):
    counts = [int(m.sum()) for m in masks]
    return [c*len(masks)//sum(counts) for c in counts]

# %% wrong check_process_weights: nothing divides it
def my_weights(masks):
    return [m.double().mean() for m in masks]

# %% wrong check_process_weights: number of rows
def my_weights(masks):
    total = sum(m.sum() for m in masks)
    return [m.shape[0]*m.sum()/total for m in masks]

# %% right check_process_weights
def my_weights(masks):
    weights = {}
    total = sum(int(m.long().sum()) for m in masks)
    for k, m in enumerate(masks):
        weights[k] = m.long().sum().item()*len(masks)/total
    return tuple(weights.values())

# %% wrong check_early_stop: the step is taken all the same
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    steps, stop = 0, False
    for _ in range(epochs):
        for rows in minibatches:
            kl = approx_kl(rows)
            stop = kl > max_kl or math.isnan(kl)
            step(rows)
            steps += 1
            if stop:
                break
        if stop:
            break
    return steps

# %% wrong check_early_stop: at the very beginning
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    if not approx_kl(minibatches[0]) <= max_kl:
        return 0
    for _ in range(epochs):
        for rows in minibatches:
            step(rows)
    return epochs*len(minibatches)

# %% wrong check_early_stop: one epoch only
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    steps = 0
    for _ in range(epochs):
        for rows in minibatches:
            if not approx_kl(rows) <= max_kl:
                break
            step(rows)
            steps += 1
        return steps

# %% wrong check_early_stop: begins anew
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    for _ in range(epochs):
        steps = 0
        for rows in minibatches:
            if not approx_kl(rows) <= max_kl:
                return steps
            step(rows)
            steps += 1
    return steps

# %% wrong check_response_loss: product with a 0
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    r = ((logprobs - old_logprobs).exp()*mask).prod(1)**(1/mask.sum(1))
    return torch.max(-r*advantages, -r.clamp(1 - eps, 1 + eps)*advantages).mean()

# %% wrong check_response_loss: of the whole batch
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    r = (((logprobs - old_logprobs)*mask).sum(1)/mask.sum()).exp()
    return torch.max(-r*advantages, -r.clamp(1 - eps, 1 + eps)*advantages).mean()

# %% wrong check_response_loss: the shapes are
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    n = mask.sum(1, keepdim=True)
    r = (((logprobs - old_logprobs)*mask).sum(1, keepdim=True)/n).exp()
    return torch.max(-r*advantages, -r.clamp(1 - eps, 1 + eps)*advantages).mean()

# %% wrong check_response_loss: logarithm of the ratio is clipped
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    log_r = ((logprobs - old_logprobs)*mask).sum(1)/mask.sum(1)
    return torch.max(-log_r.exp()*advantages, -log_r.clamp(-eps, eps).exp()*advantages).mean()

# %% wrong check_response_loss: one ratio for the whole batch
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    r = masked_mean(logprobs - old_logprobs, mask).exp()
    return torch.max(-r*advantages, -r.clamp(1 - eps, 1 + eps)*advantages).mean()

# %% right check_response_loss
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    losses = []
    for b, n in enumerate(mask.sum(1).long().tolist()):
        r = torch.prod(torch.exp(logprobs[b, :n])/torch.exp(old_logprobs[b, :n]))**(1/n)
        best = 1 + eps if advantages[b] > 0 else -(1 - eps)
        sign = 1.0 if advantages[b] > 0 else -1.0
        losses.append(-advantages[b].abs()*torch.clamp(sign*r, max=best))
    return sum(losses)/len(losses)
