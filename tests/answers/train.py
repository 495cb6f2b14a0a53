# Answers to the exercises of lesson 7, as readers write them. Each begins with a line that says
# what it is: `# %% wrong CHECK: words that its verdict must hold`, or `# %% right CHECK`.

# %% wrong ask_no_drift: λ = 0 and values of 0
answer = (0, 0, 1)

# %% wrong ask_no_drift: is what it was
answer = (0.95, 0, 1)

# %% wrong ask_no_drift: with a score of 0.5 for all
answer = (1, 0.5, 1)

# %% wrong ask_no_drift: with a value of 0.95
answer = (1, 0, 0.95)

# %% wrong ask_no_drift: with λ = 0.99
answer = (0.99, 0, 1)

# %% wrong ask_no_drift: λ lies between
answer = (2, 0, 1)

# %% wrong ask_no_drift: value is what it was
answer = (1, 0, 0)

# %% wrong ask_no_drift: dots
answer = (1, ..., 1)

# %% wrong ask_no_drift: with a value of -1
answer = (1, 0, -1)

# %% right ask_no_drift
answer = (1, 0, 1)

# %% right ask_no_drift
answer = (1.0, 0.0, 1.0)

# %% right ask_no_drift
answer = (torch.tensor(1.0), -0.0, np.float64(1))

# %% wrong check_loop_rollout: 0.7
def my_rollout(agent, batch, config):
    return agent.generate(batch['input_ids'], batch['attention_mask'], config.response_length)

# %% wrong check_loop_rollout: not config.response_length
def my_rollout(agent, batch, config):
    return agent.generate(batch['input_ids'], batch['attention_mask'],
                          temperature=config.temperature)

# %% wrong check_loop_rollout: every column
def my_rollout(agent, batch, config):
    return agent.generate(**batch, response_length=config.response_length,
                          temperature=config.temperature)

# %% wrong check_loop_rollout: nothing is sampled
def my_rollout(agent, batch, config):
    return agent.generate(batch['input_ids'], batch['attention_mask'], config.response_length,
                          config.temperature, do_sample=False)

# %% wrong check_loop_rollout: seed
def my_rollout(agent, batch, config):
    torch.manual_seed(config.seed)
    return agent.generate(batch['input_ids'], batch['attention_mask'], config.response_length,
                          config.temperature)

# %% wrong check_loop_rollout: padding is read
def my_rollout(agent, batch, config):
    ids = batch['input_ids']
    return agent.generate(ids, torch.ones_like(ids), config.response_length, config.temperature)

# %% wrong check_loop_rollout: no Rollout, but a Tensor
def my_rollout(agent, batch, config):
    return agent.generate(batch['input_ids'], batch['attention_mask'], config.response_length,
                          config.temperature).tokens

# %% wrong check_loop_rollout: scored at 1
def my_rollout(agent, batch, config):
    ids, mask, T = batch['input_ids'], batch['attention_mask'], config.temperature
    rollout = agent.generate(ids, mask, config.response_length, T)
    R = rollout.response_mask.shape[1]
    with torch.no_grad():
        logprobs, values, _ = agent(rollout.tokens, rollout.mask, R, 1.0)
    return Rollout(rollout.tokens, rollout.mask, rollout.response_mask, logprobs, values, T)

# %% wrong check_loop_rollout: gradient
def my_rollout(agent, batch, config):
    ids, mask, T = batch['input_ids'], batch['attention_mask'], config.temperature
    rollout = agent.generate(ids, mask, config.response_length, T)
    R = rollout.response_mask.shape[1]
    logprobs, values, _ = agent(rollout.tokens, rollout.mask, R, T)
    return Rollout(rollout.tokens, rollout.mask, rollout.response_mask, logprobs, values, T)

# %% wrong check_loop_rollout: response_mask
def my_rollout(agent, batch, config):
    rollout = agent.generate(batch['input_ids'], batch['attention_mask'], config.response_length,
                             config.temperature)
    rollout.response_mask = (rollout.responses != agent.pad_token_id).long()
    return rollout

# %% wrong check_loop_rollout: what follows the first EOS is counted
def my_rollout(agent, batch, config):
    rollout = agent.generate(batch['input_ids'], batch['attention_mask'], config.response_length,
                             config.temperature)
    rollout.response_mask = torch.ones_like(rollout.response_mask)
    return rollout

# %% wrong check_loop_rollout: rollout.temperature says
def my_rollout(agent, batch, config):
    r = agent.generate(batch['input_ids'], batch['attention_mask'], config.response_length,
                       config.temperature)
    return Rollout(r.tokens, r.mask, r.response_mask, r.logprobs, r.values)

# %% wrong check_loop_rollout: nothing is returned
def my_rollout(agent, batch, config):
    agent.generate(batch['input_ids'], batch['attention_mask'], config.response_length,
                   config.temperature)

# %% right check_loop_rollout
def my_rollout(agent, batch, config):
    columns = {name: batch[name] for name in ('input_ids', 'attention_mask')}
    return agent.generate(**columns, response_length=config.response_length,
                          temperature=config.temperature)

# %% right check_loop_rollout
@torch.no_grad()
def my_rollout(agent, batch, config):
    tokens, mask = batch['input_ids'], batch['attention_mask']
    P, alive = tokens.shape[1], torch.ones(len(tokens), dtype=torch.long)
    for _ in range(config.response_length):
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits = agent.model(tokens, attention_mask=mask, position_ids=positions).logits[:, -1]
        token = torch.distributions.Categorical(logits=logits/config.temperature).sample()
        token = torch.where(alive == 1, token, agent.pad_token_id)
        tokens, mask = torch.cat([tokens, token[:, None]], 1), torch.cat([mask, alive[:, None]], 1)
        alive = alive*(token != agent.eos_token_id)
    logprobs, values, _ = agent(tokens, mask, config.response_length, config.temperature)
    return Rollout(tokens, mask, mask[:, P:], logprobs, values, config.temperature)

# %% right check_loop_rollout
def my_rollout(agent, batch, config):
    rollout = agent.generate(batch['input_ids'], batch['attention_mask'], config.response_length,
                             config.temperature)
    with torch.no_grad():
        R = rollout.response_mask.shape[1]
        rollout.logprobs = token_logprobs(
            agent.model, rollout.tokens, rollout.mask, R, rollout.temperature)
    rollout.response_mask = rollout.response_mask.bool()
    return rollout

# %% wrong check_loop_scores: penalty is compute_rewards' own 1
def my_scores(agent, rollout, reward_model, ref_model, config):
    scored = agent.compute_rewards(rollout, reward_model, ref_model)
    return scored.scores, scored.ref_logprobs

# %% wrong check_loop_scores: missing_eos_penalty is forgotten
def my_scores(agent, rollout, reward_model, ref_model, config):
    scored = agent.compute_rewards(rollout, reward_model, ref_model, 0.0)
    return scored.scores, scored.ref_logprobs

# %% wrong check_loop_scores: from the responses that do end
def my_scores(agent, rollout, reward_model, ref_model, config):
    scored = agent.compute_rewards(rollout, reward_model, ref_model, 0.0)
    return scored.scores - config.missing_eos_penalty*agent.ended(rollout), scored.ref_logprobs

# %% wrong check_loop_scores: the policy's log-probs
def my_scores(agent, rollout, reward_model, ref_model, config):
    scored = agent.compute_rewards(rollout, reward_model, ref_model, config.missing_eos_penalty)
    return scored.scores, rollout.logprobs

# %% wrong check_loop_scores: 0.7
def my_scores(agent, rollout, reward_model, ref_model, config):
    scores = reward_model(rollout.tokens, rollout.mask)
    scores = scores - config.missing_eos_penalty*(1 - agent.ended(rollout).float())
    with torch.no_grad():
        R = rollout.response_mask.shape[1]
        return scores, token_logprobs(ref_model, rollout.tokens, rollout.mask, R)

# %% wrong check_loop_scores: gradient
def my_scores(agent, rollout, reward_model, ref_model, config):
    scores = reward_model(rollout.tokens, rollout.mask)
    scores = scores - config.missing_eos_penalty*(1 - agent.ended(rollout).float())
    R = rollout.response_mask.shape[1]
    return scores, token_logprobs(
        ref_model, rollout.tokens, rollout.mask, R, rollout.temperature)

# %% wrong check_loop_scores: the response alone
def my_scores(agent, rollout, reward_model, ref_model, config):
    scored = agent.compute_rewards(rollout, reward_model, ref_model, config.missing_eos_penalty)
    scores = reward_model(rollout.responses, rollout.response_mask)
    return scores - config.missing_eos_penalty*~agent.ended(rollout), scored.ref_logprobs

# %% wrong check_loop_scores: in the prompt
def my_scores(agent, rollout, reward_model, ref_model, config):
    scored = agent.compute_rewards(rollout, reward_model, ref_model, 0.0)
    ended = (rollout.tokens == agent.eos_token_id).any(1)
    return scored.scores - config.missing_eos_penalty*~ended, scored.ref_logprobs

# %% wrong check_loop_scores: last column
def my_scores(agent, rollout, reward_model, ref_model, config):
    scored = agent.compute_rewards(rollout, reward_model, ref_model, 0.0)
    cut = rollout.tokens[:, -1] != agent.eos_token_id
    return scored.scores - config.missing_eos_penalty*cut, scored.ref_logprobs

# %% wrong check_loop_scores: one off
@torch.no_grad()
def my_scores(agent, rollout, reward_model, ref_model, config):
    scored = agent.compute_rewards(rollout, reward_model, ref_model, config.missing_eos_penalty)
    R = rollout.response_mask.shape[1]
    positions = (rollout.mask.cumsum(1) - 1).clamp(min=0)
    logits = ref_model(rollout.tokens, attention_mask=rollout.mask,
                       position_ids=positions).logits[:, -R:]
    logprobs = F.log_softmax(logits/rollout.temperature, -1)
    return scored.scores, logprobs.gather(-1, rollout.responses[..., None])[..., 0]

# %% wrong check_loop_scores: shape
def my_scores(agent, rollout, reward_model, ref_model, config):
    scored = agent.compute_rewards(rollout, reward_model, ref_model, config.missing_eos_penalty)
    return scored.scores[:, None], scored.ref_logprobs

# %% wrong check_loop_scores: scores first
def my_scores(agent, rollout, reward_model, ref_model, config):
    scored = agent.compute_rewards(rollout, reward_model, ref_model, config.missing_eos_penalty)
    return scored.ref_logprobs, scored.scores

# %% right check_loop_scores
def my_scores(agent, rollout, reward_model, ref_model, config):
    return agent.compute_rewards(rollout, reward_model, ref_model, config.missing_eos_penalty)

# %% right check_loop_scores
@torch.no_grad()
def my_scores(agent, rollout, reward_model, ref_model, config):
    R = rollout.response_mask.shape[1]
    scores = reward_model(rollout.tokens, rollout.mask).tolist()
    for row, response in enumerate(rollout.responses.tolist()):
        n = int(rollout.response_mask[row].sum())
        if agent.eos_token_id not in response[:n]:
            scores[row] -= config.missing_eos_penalty
    positions = (rollout.mask.cumsum(1) - 1).clamp(min=0)
    logits = ref_model(rollout.tokens, attention_mask=rollout.mask, position_ids=positions).logits
    dists = (logits[:, -R - 1:-1]/rollout.temperature).log_softmax(-1)
    return scores, dists.gather(2, rollout.responses.unsqueeze(2)).squeeze(2)

# %% right check_loop_scores
def my_scores(agent, rollout, reward_model, ref_model, config):
    last = rollout.response_mask.sum(1, keepdim=True) - 1
    cut_off = rollout.responses.gather(1, last)[:, 0] != agent.eos_token_id
    scores = reward_scores(reward_model, rollout).double() - config.missing_eos_penalty*cut_off
    R = rollout.response_mask.shape[1]
    return [scores, token_logprobs(ref_model, rollout.tokens, rollout.mask, R,
                                   config.temperature).detach().numpy()]

# %% wrong check_loop_shaping: 0.08
def my_shaping(scores, rollout, ref_logprobs, beta):
    return shape_rewards(scores, rollout.logprobs, ref_logprobs, rollout.response_mask)

# %% wrong check_loop_shaping: wrong sign
def my_shaping(scores, rollout, ref_logprobs, beta):
    return shape_rewards(scores, ref_logprobs, rollout.logprobs, rollout.response_mask, beta)

# %% wrong check_loop_shaping: last column
def my_shaping(scores, rollout, ref_logprobs, beta):
    rewards = -beta*(rollout.logprobs - ref_logprobs)*rollout.response_mask
    rewards[:, -1] += scores
    return rewards

# %% wrong check_loop_shaping: one column after
def my_shaping(scores, rollout, ref_logprobs, beta):
    mask = rollout.response_mask
    rewards = -beta*(rollout.logprobs - ref_logprobs)*mask
    rewards[torch.arange(len(mask)), mask.sum(1).clamp(max=mask.shape[1] - 1)] += scores
    return rewards

# %% wrong check_loop_shaping: every token gets the whole score
def my_shaping(scores, rollout, ref_logprobs, beta):
    return (scores[:, None] - beta*(rollout.logprobs - ref_logprobs))*rollout.response_mask

# %% wrong check_loop_shaping: padding pays
def my_shaping(scores, rollout, ref_logprobs, beta):
    mask = rollout.response_mask
    rewards = -beta*(rollout.logprobs - ref_logprobs)
    rewards[torch.arange(len(mask)), mask.sum(1) - 1] += scores
    return rewards

# %% wrong check_loop_shaping: whole penalty lies on the last token
def my_shaping(scores, rollout, ref_logprobs, beta):
    mask = rollout.response_mask
    kl = ((rollout.logprobs - ref_logprobs)*mask).sum(1)
    rewards = torch.zeros(mask.shape)
    rewards[torch.arange(len(mask)), mask.sum(1) - 1] = scores - beta*kl
    return rewards

# %% wrong check_loop_shaping: k3
def my_shaping(scores, rollout, ref_logprobs, beta):
    mask = rollout.response_mask
    rewards = -beta*kl_k3(rollout.logprobs, ref_logprobs)*mask
    rewards[torch.arange(len(mask)), mask.sum(1) - 1] += scores
    return rewards

# %% wrong check_loop_shaping: last token pays no penalty
def my_shaping(scores, rollout, ref_logprobs, beta):
    mask = rollout.response_mask
    rewards = -beta*(rollout.logprobs - ref_logprobs)*mask
    rewards[torch.arange(len(mask)), mask.sum(1) - 1] = scores
    return rewards

# %% wrong check_loop_shaping: changed in place
def my_shaping(scores, rollout, ref_logprobs, beta):
    mask = rollout.response_mask
    rewards = rollout.logprobs
    rewards -= ref_logprobs
    rewards *= -beta*mask
    rewards[torch.arange(len(mask)), mask.sum(1) - 1] += scores
    return rewards

# %% right check_loop_shaping
def my_shaping(scores, rollout, ref_logprobs, beta):
    return shape_rewards(scores, rollout.logprobs, ref_logprobs, rollout.response_mask, beta=beta)

# %% right check_loop_shaping
def my_shaping(scores, rollout, ref_logprobs, beta):
    mask = rollout.response_mask.double()
    last = F.one_hot(mask.sum(1).long() - 1, mask.shape[1])
    return torch.einsum('b,br->br', scores.double(), last.double()) - beta*torch.where(
        mask > 0, rollout.logprobs - ref_logprobs, 0.0)

# %% right check_loop_shaping
def my_shaping(scores, rollout, ref_logprobs, beta):
    rows = []
    for score, lp, ref, m in zip(scores.tolist(), rollout.logprobs.tolist(),
                                 ref_logprobs.tolist(), rollout.response_mask.tolist()):
        n = sum(m)
        row = [beta*(r - p) for p, r in zip(lp[:n], ref[:n])]
        row[-1] += score
        rows.append(row + [0.0]*(len(m) - n))
    return rows

# %% wrong check_loop_advantages: gamma and lam are the function's own
def my_advantages(rewards, rollout, config):
    advantages, returns = compute_advantage_and_return(
        rewards, rollout.values, rollout.response_mask)
    return whiten(advantages, rollout.response_mask), returns

# %% wrong check_loop_advantages: not whitened
def my_advantages(rewards, rollout, config):
    return compute_advantage_and_return(
        rewards, rollout.values, rollout.response_mask, config.gamma, config.lam)

# %% wrong check_loop_advantages: swapped
def my_advantages(rewards, rollout, config):
    advantages, returns = compute_advantage_and_return(
        rewards, rollout.values, rollout.response_mask, config.lam, config.gamma)
    return whiten(advantages, rollout.response_mask), returns

# %% wrong check_loop_advantages: made of advantages that are whitened
def my_advantages(rewards, rollout, config):
    mask = rollout.response_mask
    advantages, _ = compute_advantage_and_return(
        rewards, rollout.values, mask, config.gamma, config.lam)
    advantages = whiten(advantages, mask)
    return advantages, advantages + rollout.values

# %% wrong check_loop_advantages: padding is whitened along
def my_advantages(rewards, rollout, config):
    advantages, returns = compute_advantage_and_return(
        rewards, rollout.values, rollout.response_mask, config.gamma, config.lam)
    return (advantages - advantages.mean())/(advantages.std(correction=0) + 1e-8), returns

# %% wrong check_loop_advantages: N − 1
def my_advantages(rewards, rollout, config):
    advantages, returns = compute_advantage_and_return(
        rewards, rollout.values, rollout.response_mask, config.gamma, config.lam)
    real = advantages[rollout.response_mask.bool()]
    return (advantages - real.mean())/(real.std() + 1e-8), returns

# %% wrong check_loop_advantages: each response is whitened alone
def my_advantages(rewards, rollout, config):
    mask = rollout.response_mask
    advantages, returns = compute_advantage_and_return(
        rewards, rollout.values, mask, config.gamma, config.lam)
    rows = [whiten(row[None], real[None]) for row, real in zip(advantages, mask)]
    return torch.cat(rows), returns

# %% wrong check_loop_advantages: the returns are whitened too
def my_advantages(rewards, rollout, config):
    mask = rollout.response_mask
    advantages, returns = compute_advantage_and_return(
        rewards, rollout.values, mask, config.gamma, config.lam)
    return whiten(advantages, mask), whiten(returns, mask)

# %% wrong check_loop_advantages: advantages first
def my_advantages(rewards, rollout, config):
    advantages, returns = compute_advantage_and_return(
        rewards, rollout.values, rollout.response_mask, config.gamma, config.lam)
    return returns, whiten(advantages, rollout.response_mask)

# %% wrong check_loop_advantages: value on padding
def my_advantages(rewards, rollout, config):
    mask, values = rollout.response_mask, rollout.values
    advantages, ahead = torch.zeros(values.shape), torch.zeros(len(values))
    for t in reversed(range(values.shape[1])):
        following = values[:, t + 1] if t + 1 < values.shape[1] else torch.zeros(len(values))
        delta = rewards[:, t] + config.gamma*following - values[:, t]
        ahead = delta + config.gamma*config.lam*ahead
        advantages[:, t] = ahead
    return whiten(advantages, mask), advantages + values

# %% wrong check_loop_advantages: where all advantages are equal
def my_advantages(rewards, rollout, config):
    mask = rollout.response_mask
    advantages, returns = compute_advantage_and_return(
        rewards, rollout.values, mask, config.gamma, config.lam)
    real = advantages[mask.bool()]
    return (advantages - real.mean())/real.std(correction=0), returns

# %% right check_loop_advantages
def my_advantages(rewards, rollout, config):
    mask = rollout.response_mask.bool()
    advantages, returns = compute_advantage_and_return(
        rewards.double(), rollout.values.double(), mask, config.gamma, config.lam)
    real = advantages[mask]
    whitened = torch.zeros_like(advantages)
    whitened[mask] = (real - real.mean())/(real.var(correction=0) + 1e-8).sqrt()
    return whitened, returns

# %% right check_loop_advantages
def my_advantages(rewards, rollout, config):
    mask = rollout.response_mask
    r, v = (rewards*mask).tolist(), (rollout.values*mask).tolist()
    width, rows = mask.shape[1], len(r)
    advantages = [[0.0]*width for _ in range(rows)]
    for b in range(rows):
        n = int(mask[b].sum())
        for t in range(n):
            advantages[b][t] = sum(
                (config.gamma*config.lam)**(s - t)
                * (r[b][s] + config.gamma*(v[b][s + 1] if s + 1 < n else 0) - v[b][s])
                for s in range(t, n))
    A = torch.tensor(advantages)
    return whiten(A, mask), A + rollout.values

# %% right check_loop_advantages
def my_advantages(rewards, rollout, config):
    mask = rollout.response_mask.numpy()
    r, v = rewards.numpy()*mask, rollout.values.numpy()*mask
    A = np.zeros(r.shape)
    ahead, following = np.zeros(len(r)), np.zeros(len(r))
    for t in range(r.shape[1] - 1, -1, -1):
        ahead = r[:, t] + config.gamma*following - v[:, t] + config.gamma*config.lam*ahead
        A[:, t], following = ahead, v[:, t]
    mean = (A*mask).sum()/mask.sum()
    std = np.sqrt((((A - mean)*mask)**2).sum()/mask.sum())
    return [(A - mean)/(std + 1e-6)*mask, A + v]

# %% wrong check_loop_minibatches: every epoch has the same order
def my_minibatches(rows, size, epochs):
    order = torch.randperm(rows)
    for _ in range(epochs):
        for i in range(0, rows, size):
            yield order[i:i + size]

# %% wrong check_loop_minibatches: left out
def my_minibatches(rows, size, epochs):
    for _ in range(epochs):
        order = torch.randperm(rows)
        for i in range(rows//size):
            yield order[i*size:(i + 1)*size]

# %% wrong check_loop_minibatches: one epoch only
def my_minibatches(rows, size, epochs):
    return torch.randperm(rows).split(size)

# %% wrong check_loop_minibatches: nothing is shuffled
def my_minibatches(rows, size, epochs):
    for _ in range(epochs):
        for i in range(0, rows, size):
            yield list(range(i, min(i + size, rows)))

# %% wrong check_loop_minibatches: replacement
def my_minibatches(rows, size, epochs):
    for _ in range(epochs):
        for i in range(0, rows, size):
            yield torch.randint(0, rows, (min(size, rows - i),))

# %% wrong check_loop_minibatches: number of minibatches
def my_minibatches(rows, size, epochs):
    for _ in range(epochs):
        yield from torch.randperm(rows).chunk(size)

# %% wrong check_loop_minibatches: seed
def my_minibatches(rows, size, epochs):
    torch.manual_seed(0)
    for _ in range(epochs):
        yield from torch.randperm(rows).split(size)

# %% wrong check_loop_minibatches: same rows always come together
def my_minibatches(rows, size, epochs):
    chunks = list(torch.arange(rows).split(size))
    for _ in range(epochs):
        np.random.shuffle(chunks)
        yield from chunks

# %% wrong check_loop_minibatches: shuffled into one another
def my_minibatches(rows, size, epochs):
    every = torch.arange(rows).repeat(epochs)[torch.randperm(rows*epochs)]
    steps = math.ceil(rows/size)
    lengths = [min(size, rows - i*size) for i in range(steps)]*epochs
    return every.split(lengths)

# %% wrong check_loop_minibatches: one whole batch
def my_minibatches(rows, size, epochs):
    return [torch.randperm(rows) for _ in range(epochs)]

# %% wrong check_loop_minibatches: drawn from all rows afresh
def my_minibatches(rows, size, epochs):
    for _ in range(epochs):
        for i in range(0, rows, size):
            yield torch.randperm(rows)[i:i + size]

# %% wrong check_loop_minibatches: filled up
def my_minibatches(rows, size, epochs):
    for _ in range(epochs):
        order = torch.randperm(rows).tolist()
        for i in range(0, rows, size):
            yield [order[j % rows] for j in range(i, i + size)]

# %% right check_loop_minibatches
def my_minibatches(rows, size, epochs):
    steps = []
    for _ in range(epochs):
        order = np.random.permutation(rows)
        steps += [order[i:i + size] for i in range(0, rows, size)]
    return steps

# %% right check_loop_minibatches
def my_minibatches(rows, size, epochs):
    import random
    for _ in range(epochs):
        order = list(range(rows))
        random.shuffle(order)
        while order:
            yield order[:size]
            order = order[size:]

# %% right check_loop_minibatches
def my_minibatches(rows, size, epochs):
    from torch.utils.data import DataLoader
    loader = DataLoader(range(rows), batch_size=size, shuffle=True)
    return [step for _ in range(epochs) for step in loader]

# %% right check_loop_minibatches
def my_minibatches(rows, size, epochs):
    return (step for _ in range(epochs) for step in torch.rand(rows).argsort().split(size))

# %% wrong check_loop_update: zero_grad is missing
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    for group in optimizer.param_groups:
        group['lr'] = config.learning_rate*(1 - progress)
    R = minibatch.response_mask.shape[1]
    logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, R, minibatch.temperature)
    loss, _ = compute_loss(
        logprobs, values, minibatch.logprobs, minibatch.values, advantages, returns,
        minibatch.response_mask, config.clip_ratio, config.clip_value, config.value_coef)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
    optimizer.step()
    return loss

# %% wrong check_loop_update: not clipped, or clipped before
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    for group in optimizer.param_groups:
        group['lr'] = config.learning_rate*(1 - progress)
    R = minibatch.response_mask.shape[1]
    logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, R, minibatch.temperature)
    loss, _ = compute_loss(
        logprobs, values, minibatch.logprobs, minibatch.values, advantages, returns,
        minibatch.response_mask, config.clip_ratio, config.clip_value, config.value_coef)
    optimizer.zero_grad()
    torch.nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
    loss.backward()
    optimizer.step()
    return loss.item()

# %% wrong check_loop_update: weights stay as they were
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    for group in optimizer.param_groups:
        group['lr'] = config.learning_rate*(1 - progress)
    R = minibatch.response_mask.shape[1]
    logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, R, minibatch.temperature)
    loss, _ = compute_loss(
        logprobs, values, minibatch.logprobs, minibatch.values, advantages, returns,
        minibatch.response_mask, config.clip_ratio, config.clip_value, config.value_coef)
    loss.backward()
    optimizer.zero_grad()
    torch.nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
    optimizer.step()
    return loss.item()

# %% wrong check_loop_update: compute_loss's own
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    for group in optimizer.param_groups:
        group['lr'] = config.learning_rate*(1 - progress)
    R = minibatch.response_mask.shape[1]
    logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, R, minibatch.temperature)
    loss, _ = compute_loss(logprobs, values, minibatch.logprobs, minibatch.values, advantages,
                           returns, minibatch.response_mask)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
    optimizer.step()
    return loss.item()

# %% wrong check_loop_update: agent's own 0.7
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    for group in optimizer.param_groups:
        group['lr'] = config.learning_rate*(1 - progress)
    R = minibatch.response_mask.shape[1]
    logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, R)
    loss, _ = compute_loss(
        logprobs, values, minibatch.logprobs, minibatch.values, advantages, returns,
        minibatch.response_mask, config.clip_ratio, config.clip_value, config.value_coef)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
    optimizer.step()
    return loss.item()

# %% wrong check_loop_update: computed anew
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    for group in optimizer.param_groups:
        group['lr'] = config.learning_rate*(1 - progress)
    R = minibatch.response_mask.shape[1]
    logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, R, minibatch.temperature)
    loss, _ = compute_loss(
        logprobs, values, logprobs.detach(), minibatch.values, advantages, returns,
        minibatch.response_mask, config.clip_ratio, config.clip_value, config.value_coef)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
    optimizer.step()
    return loss.item()

# %% wrong check_loop_update: learning rate is not set
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    R = minibatch.response_mask.shape[1]
    logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, R, minibatch.temperature)
    loss, _ = compute_loss(
        logprobs, values, minibatch.logprobs, minibatch.values, advantages, returns,
        minibatch.response_mask, config.clip_ratio, config.clip_value, config.value_coef)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
    optimizer.step()
    return loss.item()

# %% wrong check_loop_update: rises with progress
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    for group in optimizer.param_groups:
        group['lr'] = config.learning_rate*progress
    R = minibatch.response_mask.shape[1]
    logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, R, minibatch.temperature)
    loss, _ = compute_loss(
        logprobs, values, minibatch.logprobs, minibatch.values, advantages, returns,
        minibatch.response_mask, config.clip_ratio, config.clip_value, config.value_coef)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
    optimizer.step()
    return loss.item()

# %% wrong check_loop_update: network's gradient
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    for group in optimizer.param_groups:
        group['lr'] = config.learning_rate*(1 - progress)
    R = minibatch.response_mask.shape[1]
    logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, R, minibatch.temperature)
    loss, _ = compute_loss(
        logprobs, values, minibatch.logprobs, minibatch.values, advantages, returns,
        minibatch.response_mask, config.clip_ratio, config.clip_value, config.value_coef)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(agent.model.parameters(), config.max_grad_norm)
    optimizer.step()
    return loss.item()

# %% wrong check_loop_update: first group
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    optimizer.param_groups[0]['lr'] = config.learning_rate*(1 - progress)
    R = minibatch.response_mask.shape[1]
    logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, R, minibatch.temperature)
    loss, _ = compute_loss(
        logprobs, values, minibatch.logprobs, minibatch.values, advantages, returns,
        minibatch.response_mask, config.clip_ratio, config.clip_value, config.value_coef)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
    optimizer.step()
    return loss.item()

# %% wrong check_loop_update: by itself
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    for group in optimizer.param_groups:
        group['lr'] = config.learning_rate*(1 - progress)
    R = minibatch.response_mask.shape[1]
    logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, R, minibatch.temperature)
    loss, _ = compute_loss(
        logprobs, values, minibatch.logprobs, minibatch.values, advantages, returns,
        minibatch.response_mask, config.clip_ratio, config.clip_value, config.value_coef)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_value_(agent.parameters(), config.max_grad_norm)
    optimizer.step()
    return loss.item()

# %% wrong check_loop_update: gradient flows through
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    for group in optimizer.param_groups:
        group['lr'] = config.learning_rate*(1 - progress)
    R = minibatch.response_mask.shape[1]
    logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, R, minibatch.temperature)
    loss, _ = compute_loss(
        logprobs, values, minibatch.logprobs, minibatch.values, returns - values, returns,
        minibatch.response_mask, config.clip_ratio, config.clip_value, config.value_coef)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
    optimizer.step()
    return loss.item()

# %% right check_loop_update
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    agent.zero_grad()
    R = minibatch.response_mask.shape[1]
    logprobs, values, entropy = agent(minibatch.tokens, minibatch.mask, R, config.temperature)
    loss = compute_loss(
        logprobs, values, old_logprobs=minibatch.logprobs, old_values=minibatch.values,
        advantages=advantages, returns=returns, mask=minibatch.response_mask.bool(),
        clip_ratio=config.clip_ratio, clip_value=config.clip_value,
        value_coef=config.value_coef)[0]
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for p in agent.parameters()], config.max_grad_norm)
    for group in optimizer.param_groups:
        group['lr'] = config.learning_rate - config.learning_rate*progress
    optimizer.step()
    optimizer.zero_grad()
    return loss

# %% right check_loop_update
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    mask = minibatch.response_mask.float()
    logprobs, values, _ = agent(
        minibatch.tokens, minibatch.mask, mask.shape[1], minibatch.temperature)
    ratio = torch.exp((logprobs - minibatch.logprobs)*mask)
    eps = config.clip_ratio
    gain = torch.minimum(ratio*advantages, ratio.clamp(1 - eps, 1 + eps)*advantages)
    near = minibatch.values + (values - minibatch.values).clamp(
        -config.clip_value, config.clip_value)
    miss = torch.maximum((values - returns).square(), (near - returns).square())
    loss = ((0.5*config.value_coef*miss - gain)*mask).sum()/mask.sum()
    gradients = torch.autograd.grad(loss, list(agent.parameters()))
    norm = torch.sqrt(sum((g**2).sum() for g in gradients))
    for weights, g in zip(agent.parameters(), gradients):
        weights.grad = g*min(1.0, config.max_grad_norm/norm.item())
    for group in optimizer.param_groups:
        group.update(lr=config.learning_rate*(1 - progress))
    optimizer.step()
    return float(loss)

# %% right check_loop_update
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    for group in optimizer.param_groups:
        group['lr'] = config.learning_rate*(1 - progress)

    def closure():
        optimizer.zero_grad(set_to_none=False)
        R = minibatch.response_mask.shape[1]
        logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, R, minibatch.temperature)
        loss, _ = compute_loss(
            logprobs, values, minibatch.logprobs, minibatch.values, advantages, returns,
            minibatch.response_mask, config.clip_ratio, config.clip_value, config.value_coef)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
        return loss
    return optimizer.step(closure)

# %% wrong ask_beta_zero: still measured
answer = ('rises', 'stays', 'falls', 'falls', 'rises, then falls')

# %% wrong ask_beta_zero: judge likes praise too
answer = ('rises', 'rises', 'falls', 'falls', 'rises')

# %% wrong ask_beta_zero: judge likes praise too
answer = ('rises', 'rises', 'falls', 'falls', 'falls')

# %% wrong ask_beta_zero: grows sure
answer = ('rises', 'rises', 'falls', 'rises', 'rises, then falls')

# %% wrong ask_beta_zero: again and again
answer = ('rises', 'rises', 'stays', 'falls', 'rises, then falls')

# %% wrong ask_beta_zero: PPO climbs the score
answer = ('falls', 'rises', 'falls', 'falls', 'rises, then falls')

# %% wrong ask_beta_zero: must be one of
answer = ('up', 'up', 'down', 'down', 'up')

# %% wrong ask_beta_zero: dots
answer = ('rises', 'rises', ..., 'falls', 'falls')

# %% right ask_beta_zero
answer = ('rises', 'rises', 'falls', 'falls', 'rises, then falls')

# %% right ask_beta_zero
answer = ('Rises', 'RISES', 'falls ', 'Falls', 'Rises, then falls')

# %% right ask_beta_zero
answer = tuple('rises/rises/falls/falls/rises, then falls'.split('/'))

# %% wrong check_break_even: mean over tokens
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    kl = masked_mean(kl_k1(logprobs, ref_logprobs), mask)
    gain = scores.mean() - ref_scores.mean()
    return max(0.0, gain.item())/kl.item() if kl > 0 else (math.inf if gain > 0 else 0.0)

# %% wrong check_break_even: padding is in the KL
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    kl = (logprobs - ref_logprobs).sum(1).mean()
    gain = scores.mean() - ref_scores.mean()
    if gain <= 0:
        return 0
    return gain/kl if kl > 0 else math.inf

# %% wrong check_break_even: upside down
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    kl = ((logprobs - ref_logprobs)*mask).sum(1).mean()
    return kl/(scores.mean() - ref_scores.mean())

# %% wrong check_break_even: the sum over the whole batch
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    kl = ((logprobs - ref_logprobs)*mask).sum()
    gain = scores.mean() - ref_scores.mean()
    if gain <= 0:
        return 0
    return gain/kl if kl > 0 else math.inf

# %% wrong check_break_even: not taken off
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    kl = ((logprobs - ref_logprobs)*mask).sum(1).mean()
    return scores.mean()/kl if kl > 0 else math.inf

# %% wrong check_break_even: wrong sign
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    kl = ((ref_logprobs - logprobs)*mask).sum(1).mean()
    return (scores.mean() - ref_scores.mean())/kl

# %% wrong check_break_even: k3
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    kl = (kl_k3(logprobs, ref_logprobs)*mask).sum(1).mean()
    gain = scores.mean() - ref_scores.mean()
    if gain <= 0:
        return 0
    return gain/kl if kl > 0 else math.inf

# %% wrong check_break_even: pays at no price
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    kl = ((logprobs - ref_logprobs)*mask).sum(1).mean()
    return (scores.mean() - ref_scores.mean())/kl if kl > 0 else math.inf

# %% wrong check_break_even: any price
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    kl = ((logprobs - ref_logprobs)*mask).sum(1).mean().item()
    return max(0.0, (scores.mean() - ref_scores.mean()).item())/kl

# %% right check_break_even
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    gain = scores.mean() - ref_scores.mean()
    kl = torch.einsum('br,br->b', logprobs - ref_logprobs, mask.float()).mean()
    if gain <= 0:
        return torch.tensor(0.0)
    return gain/kl if kl > 0 else torch.tensor(float('inf'))

# %% right check_break_even
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    totals = []
    for lp, ref, real in zip(logprobs.tolist(), ref_logprobs.tolist(), mask.tolist()):
        totals.append(sum(a - b for a, b, m in zip(lp, ref, real) if m))
    kl = sum(totals)/len(totals)
    gain = np.mean(scores.numpy()) - np.mean(ref_scores.numpy())
    if not gain > 0:
        return 0
    return float(gain/kl) if kl > 1e-9 else math.inf

# %% right check_break_even
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    k1 = (logprobs.double() - ref_logprobs.double())[mask.bool()]
    kl, gain = k1.sum()/len(mask), scores.double().mean() - ref_scores.double().mean()
    return 0.0 if gain <= 0 else (np.inf if kl <= 0 else np.float64(gain/kl))
