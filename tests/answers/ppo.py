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

# %% wrong ask_quiet_dials: a ratio of 1 is not outside the clip: it must be below 0.8
# nothing has moved at all
answer = [1.0, 1.0, 1.0], [1.0, -2.0, 1.0]

# %% wrong ask_quiet_dials: a token of ratio 0.5 and advantage -1 went the way it
# signs the wrong way round, so that every token is clipped
answer = [0.5, 0.5, 2.0], [-1.0, -1.0, 2.0]

# %% wrong ask_quiet_dials: a ratio of 1 is not outside the clip: it must be below 0.8
# the ratio in the middle has not moved
answer = [0.5, 1.0, 1.5], [2.0, -1.0, -1.0]

# %% wrong ask_quiet_dials: a token of advantage 0 is asked for nothing: take another
# an advantage of 0 so that its token cannot be clipped
answer = [0.5, 0.7, 1.8], [1.0, 0.0, -1.0]

# %% wrong ask_quiet_dials: the advantages add up to 1, and must add up to 0
# the advantages do not add up to 0
answer = [0.5, 0.5, 2.0], [1.0, 1.0, -1.0]

# %% wrong ask_quiet_dials: the mean ratio is 1.667, and must be 1
# the geometric mean of the ratios is 1, not the mean
answer = [0.5, 0.5, 4.0], [1.0, 1.0, -2.0]

# %% wrong ask_quiet_dials: a ratio is one probability over another, so it cannot be
# log-ratios given (their mean 0), not ratios
answer = [-0.5, -0.5, 1.0], [1.0, 1.0, -2.0]

# %% wrong ask_quiet_dials: a ratio is one probability over another, so it cannot be -1
# a ratio of probabilities below 0
answer = [-1.0, 2.0, 2.0], [2.0, -1.0, -1.0]

# %% wrong ask_quiet_dials: a ratio of 0.8 is not outside the clip: it must be below
# two ratios at 0.8, which is not below 0.8
answer = [0.8, 0.8, 1.4], [1.0, 1.0, -2.0]

# %% right ask_quiet_dials
# tensors
answer = torch.tensor([0.25, 0.5, 2.25]), torch.tensor([1.0, 3.0, -4.0])

# %% right ask_quiet_dials
# two above, one below, tuples, numbers that add up only up to rounding
answer = (1.3, 0.4, 1.3), (-0.1, 0.3, -0.2)

# %% right ask_quiet_dials
# just outside of 0.8 and 1.2, numpy, large advantages
answer = np.array([0.79, 0.79, 1.42]), np.array([1e3, 2e3, -3e3])

# %% right ask_quiet_dials
# ratios as exponentials of log-ratios, advantages whitened
_r = [math.exp(-1.0), math.exp(-0.5)]
_a = np.array([1.0, 2.0, -5.0])
answer = [_r[0], _r[1], 3 - sum(_r)], list((_a - _a.mean()) / _a.std())

# %% wrong check_process_weights: the averaging divides by the number of processes, and
# share of the tokens, the averaging over processes not undone
def my_weights(masks):
    n = [float(m.sum()) for m in masks]
    return [x / sum(n) for x in n]

# %% wrong check_process_weights: every process counts the same
# every process with tokens weighs 1
def my_weights(masks):
    return [1.0 if m.sum() > 0 else 0.0 for m in masks]

# %% wrong check_process_weights: a process without a token is averaged too, so it counts
# only the processes that have tokens are counted
def my_weights(masks):
    n = [float(m.sum()) for m in masks]
    busy = sum(1 for x in n if x > 0)
    return [busy * x / sum(n) for x in n]

# %% wrong check_process_weights: padding is counted too (only the weight of an empty
# padding counted, numel in place of the sum of the mask
def my_weights(masks):
    n = [m.numel() for m in masks]
    return [len(masks) * x / sum(n) if masks[i].any() else 0.0 for i, x in enumerate(n)]

# %% wrong check_process_weights: rows are counted, not tokens
# responses counted, not tokens
def my_weights(masks):
    n = [int(m.bool().any(1).sum()) for m in masks]
    return [len(masks) * x / sum(n) for x in n]

# %% wrong check_process_weights: it is upside down: a process with few tokens
# upside down, few tokens weigh most
def my_weights(masks):
    n = [float(m.sum()) for m in masks]
    mean = sum(n) / len(n)
    return [mean / x if x > 0 else 0.0 for x in n]

# %% wrong check_process_weights: it ends in RuntimeError: mean(): could not infer output
# mean of the mask, which breaks for integers and booleans
def my_weights(masks):
    share = [m.mean() * m.numel() for m in masks]
    total = sum(share)
    return [float(len(masks) * s / total) for s in share]

# %% wrong check_process_weights: its shape is (1,), and (2,) is right. The case: a process
# the process without a token gets no weight, the list is shorter
def my_weights(masks):
    n = [float(m.sum()) for m in masks if m.any()]
    return [len(masks) * x / sum(n) for x in n]

# %% wrong check_process_weights: the division is one of whole numbers, and drops what is
# whole division cuts off the fraction
def my_weights(masks):
    n = [int(m.sum()) for m in masks]
    return [len(masks) * x // sum(n) for x in n]

# %% right check_process_weights
# tokens over their mean per process, a numpy array
def my_weights(masks):
    n = np.array([m.sum().item() for m in masks], dtype=np.float64)
    return n / n.mean()

# %% right check_process_weights
# count_nonzero and one tensor
def my_weights(masks):
    n = torch.stack([torch.count_nonzero(m) for m in masks])
    return n * len(masks) / n.sum()

# %% right check_process_weights
# counted value by value, a tuple of fractions of whole numbers
def my_weights(masks):
    counts = tuple(sum(1 for row in m.tolist() for x in row if x) for m in masks)
    total = sum(counts)
    return tuple(c * len(counts) / total for c in counts)

# %% right check_process_weights
# a softmax of log counts, times the number of processes, scalar tensors
def my_weights(masks):
    logs = torch.stack([m.double().sum().log() for m in masks])
    return list(torch.softmax(logs, dim=0).mul(len(masks)).unbind())

# %% wrong check_early_stop: the step comes before the look at the KL, so one step too
# takes the step and looks afterwards
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    n = 0
    for _ in range(epochs):
        for rows in minibatches:
            step(rows)
            n += 1
            kl = approx_kl(rows)
            if not kl <= max_kl:
                return n
    return n

# %% wrong check_early_stop: only the loop over minibatches is left: the next epoch goes
# break leaves only the inner loop, the next epoch goes on
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    n = 0
    for _ in range(epochs):
        for rows in minibatches:
            kl = approx_kl(rows)
            if kl > max_kl or math.isnan(kl):
                break
            step(rows)
            n += 1
    return n

# %% wrong check_early_stop: a KL of NaN lets it run on: no comparison with NaN is true
# a KL of NaN is not above, so it goes on
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    n = 0
    for _ in range(epochs):
        for rows in minibatches:
            if approx_kl(rows) > max_kl:
                return n
            step(rows)
            n += 1
    return n

# %% wrong check_early_stop: a KL of exactly max_kl is not above it yet
# stops at exactly max_kl too
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    n = 0
    for _ in range(epochs):
        for rows in minibatches:
            if not approx_kl(rows) < max_kl:
                return n
            step(rows)
            n += 1
    return n

# %% wrong check_early_stop: a minibatch that is too far is skipped, and the others go
# skips the minibatch and tries the next
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    n = 0
    for _ in range(epochs):
        for rows in minibatches:
            kl = approx_kl(rows)
            if kl > max_kl or kl != kl:
                continue
            step(rows)
            n += 1
    return n

# %% wrong check_early_stop: the KL is looked at once an epoch, and must be before every
# all KLs measured at the start of the epoch
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    n = 0
    for _ in range(epochs):
        kls = [approx_kl(rows) for rows in minibatches]
        for rows, kl in zip(minibatches, kls):
            if not kl <= max_kl:
                return n
            step(rows)
            n += 1
    return n

# %% wrong check_early_stop: the step that was not taken is counted too
# the step that was not taken is counted
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    n = 0
    for _ in range(epochs):
        for rows in minibatches:
            n += 1
            if not approx_kl(rows) <= max_kl:
                return n
            step(rows)
    return n

# %% wrong check_early_stop: there is one epoch only
# pops the minibatches off the caller's list, nothing left for epoch two
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    n = 0
    for _ in range(epochs):
        while minibatches:
            rows = minibatches.pop(0)
            if not approx_kl(rows) <= max_kl:
                return n
            step(rows)
            n += 1
    return n

# %% wrong check_early_stop: the KL is looked at once an epoch, and must be before every
# looks only once per epoch, at the first minibatch
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    n = 0
    for _ in range(epochs):
        for i, rows in enumerate(minibatches):
            if i == 0 and not approx_kl(rows) <= max_kl:
                return n
            step(rows)
            n += 1
    return n

# %% right check_early_stop
# takewhile over a product, the steps counted as they are taken
import itertools

def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    todo = (rows for _ in range(epochs) for rows in minibatches)
    near = itertools.takewhile(lambda rows: approx_kl(rows) <= max_kl, todo)
    return sum(1 for rows in near if (step(rows), True)[1])

# %% right check_early_stop
# an exception leaves both loops
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    class TooFar(Exception):
        pass
    taken = []
    try:
        for epoch in range(epochs):
            for rows in minibatches:
                kl = float(approx_kl(rows))
                if math.isnan(kl) or kl > max_kl:
                    raise TooFar
                step(rows)
                taken.append(epoch)
    except TooFar:
        pass
    return len(taken)

# %% right check_early_stop
# one while loop with a running number
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    k, n = 0, len(minibatches)
    while k < epochs * n:
        rows = minibatches[k % n]
        if not (approx_kl(rows) <= max_kl):
            break
        step(rows)
        k += 1
    return k

# %% right check_early_stop
# for with else, the list repeated in a copy, numpy for NaN
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    queue = list(minibatches) * epochs
    for done, rows in enumerate(queue):
        kl = approx_kl(rows)
        if np.isnan(kl) or kl > max_kl:
            return done
        else:
            step(rows)
    return len(queue)

# %% wrong check_response_loss: this is the mean of the ratios of a response, and asked for
# arithmetic mean of the ratios
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    m = mask.bool()
    ratio = torch.where(m, logprobs - old_logprobs, 0.0).exp()
    r = (ratio * m).sum(1) / m.sum(1)
    return -torch.min(r * advantages, r.clamp(1 - eps, 1 + eps) * advantages).mean()

# %% wrong check_response_loss: the product of the ratios lacks its root, so a long
# product without the root
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    m = mask.bool()
    r = torch.where(m, logprobs - old_logprobs, 0.0).sum(1).exp()
    return -torch.min(r * advantages, r.clamp(1 - eps, 1 + eps) * advantages).mean()

# %% wrong check_response_loss: the root is taken with the length of the row, padding
# R-th root, padding counted in the length
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    m = mask.bool()
    r = torch.where(m, logprobs - old_logprobs, 0.0).mean(1).exp()
    return -torch.min(r * advantages, r.clamp(1 - eps, 1 + eps) * advantages).mean()

# %% wrong check_response_loss: every token counts the same, so a long response counts more
# long responses weigh more, mean over the tokens
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    m = mask.bool()
    n = m.sum(1)
    r = (torch.where(m, logprobs - old_logprobs, 0.0).sum(1) / n).exp()
    loss = -torch.min(r * advantages, r.clamp(1 - eps, 1 + eps) * advantages)
    return (loss * n).sum() / n.sum()

# %% wrong check_response_loss: the clipped loss is taken even where the other one is larger
# only the clipped ratio, no minimum
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    m = mask.bool()
    r = (torch.where(m, logprobs - old_logprobs, 0.0).sum(1) / m.sum(1)).exp()
    return -(r.clamp(1 - eps, 1 + eps) * advantages).mean()

# %% wrong check_response_loss: every ratio meets the advantage of every response: the
# column times row, each response with all advantages
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    m = mask.bool()
    log_r = torch.where(m, logprobs - old_logprobs, 0.0).sum(1, keepdim=True) / m.sum(1, keepdim=True)
    r = log_r.exp()
    return -torch.min(r * advantages, r.clamp(1 - eps, 1 + eps) * advantages).mean()

# %% wrong check_response_loss: every token still has a ratio and a clip of its own, though
# each token clipped by itself before the mean
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    m = mask.bool()
    ratio = torch.where(m, logprobs - old_logprobs, 0.0).exp()
    a = advantages[:, None]
    loss = -torch.min(ratio * a, ratio.clamp(1 - eps, 1 + eps) * a)
    return ((loss * m).sum(1) / m.sum(1)).mean()

# %% wrong check_response_loss: eps is 0.2 here, whatever was handed over
# eps ignored, 0.2 in its place
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    m = mask.bool()
    r = (torch.where(m, logprobs - old_logprobs, 0.0).sum(1) / m.sum(1)).exp()
    return -torch.min(r * advantages, r.clamp(0.8, 1.2) * advantages).mean()

# %% right check_response_loss
# product of the n-th roots, response by response
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    losses = []
    for lp, old, a, m in zip(logprobs, old_logprobs, advantages, mask):
        keep = m > 0
        n = int(keep.sum())
        r = torch.exp((lp[keep] - old[keep]) / n).prod()
        losses.append(torch.max(-r * a, -torch.clamp(r, 1 - eps, 1 + eps) * a))
    return sum(losses) / len(losses)

# %% right check_response_loss
# float64, mean log-ratio, where by the sign of the advantage
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    diff = (logprobs.double() - old_logprobs.double()).masked_fill(mask == 0, 0.0)
    r = (diff.sum(-1) / mask.double().sum(-1)).exp()
    a = advantages.double()
    surrogate = torch.where(a >= 0, r.clamp(max=1 + eps) * a, r.clamp(min=1 - eps) * a)
    return surrogate.mean().neg()

# %% right check_response_loss
# nanmean of log-ratios, minimum over a stack
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    real = mask.bool()
    lp = logprobs.masked_fill(~real, float("nan"))
    r = torch.exp(torch.nanmean(lp - old_logprobs.masked_fill(~real, 0.0), dim=1))
    both = torch.stack([r, r.clip(1 - eps, 1 + eps)]) * advantages
    return -both.amin(0).sum() / len(advantages)

# %% right check_response_loss
# index_add over the real tokens, plain loss and what clipping adds to it
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    b, t = mask.nonzero(as_tuple=True)
    B = mask.shape[0]
    zeros = torch.zeros(B, dtype=logprobs.dtype)
    total = zeros.index_add(0, b, logprobs[b, t] - old_logprobs[b, t])
    r = torch.exp(total / torch.bincount(b, minlength=B))
    plain = -(r * advantages)
    clipped = -(r.clamp(1 - eps, 1 + eps) * advantages)
    return torch.mean(plain + F.relu(clipped - plain))

# %% wrong check_process_weights: rows are counted, not tokens (only the weight of an empty
# rows in place of tokens, with care for an empty process
def my_weights(masks):
    rows = [len(m) if m.any() else 0 for m in masks]
    return [len(masks)*len(m)/sum(len(k) for k in masks) if n else 0.0
            for m, n in zip(masks, rows)]

# %% wrong check_response_loss: infinity times 0 is NaN
# the logarithm of a ratio that is infinite in the padding, times the mask
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    ratio = (logprobs - old_logprobs).exp()
    r = ((ratio.log()*mask).sum(1)/mask.sum(1)).exp()
    return torch.max(-r*advantages, -r.clamp(1 - eps, 1 + eps)*advantages).mean()

# %% wrong check_response_loss: infinity times 0 is NaN
# a product of ratios in which padding becomes 1, but not where it is infinite
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    ratio = (logprobs - old_logprobs).exp()
    r = (ratio*mask + (1 - mask)).prod(1)**(1/mask.sum(1))
    return -torch.min(r*advantages, r.clamp(1 - eps, 1 + eps)*advantages).mean()

# %% wrong check_response_loss: a gradient of NaN
# where after the exponential: the loss is right, its gradient is not
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    ratio = torch.where(mask.bool(), (logprobs - old_logprobs).exp(), 1.0)
    r = ratio.prod(1)**(1/mask.sum(1))
    return -torch.min(r*advantages, r.clamp(1 - eps, 1 + eps)*advantages).mean()

# %% wrong check_response_loss: mean of the ratios
# the mean of the ratios, and infinity times 0
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    ratio = (logprobs - old_logprobs).exp()
    r = torch.einsum('br,br->b', ratio, mask)/mask.sum(1)
    return -torch.min(r*advantages, r.clamp(1 - eps, 1 + eps)*advantages).mean()

# %% right check_response_loss
# padding left out before anything is computed with it
def my_response_loss(logprobs, old_logprobs, advantages, mask, eps):
    log_ratio = torch.where(mask > 0, logprobs - old_logprobs, 0.0)
    r = log_ratio.exp().prod(1)**(1/mask.sum(1))
    return -torch.min(r*advantages, r.clamp(1 - eps, 1 + eps)*advantages).mean()

# %% wrong check_early_stop: no step is ever taken
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    return 0

# %% wrong check_early_stop: no step is ever taken
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    steps = 0
    for _ in range(epochs):
        for rows in minibatches:
            if not max_kl < approx_kl(rows) < 0:
                return steps
            step(rows)
            steps += 1
    return steps

# %% wrong check_early_stop: a NaN is neither above nor below anything
def my_epochs(minibatches, epochs, max_kl, approx_kl, step):
    steps = 0
    for rows in minibatches*epochs:
        if approx_kl(rows) > max_kl:
            break
        step(rows)
        steps += 1
    return steps
