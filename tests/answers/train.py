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

# %% wrong check_loop_rollout: the Rollout is not told the temperature
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

# %% wrong check_loop_scores: the penalty is the default, 1
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
    scored = agent.compute_rewards(rollout, reward_model, ref_model, config.missing_eos_penalty)
    return [scored.scores, scored.ref_logprobs]

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
answer = ('rises', 'stays', 'falls', 'falls', 'lower')

# %% wrong ask_beta_zero: judge likes praise too
answer = ('rises', 'rises', 'falls', 'falls', 'higher')

# %% wrong ask_beta_zero: judge likes praise too
answer = ('rises', 'rises', 'falls', 'falls', 'alike')

# %% wrong ask_beta_zero: grows sure
answer = ('rises', 'rises', 'falls', 'rises', 'lower')

# %% wrong ask_beta_zero: again and again
answer = ('rises', 'rises', 'stays', 'falls', 'lower')

# %% wrong ask_beta_zero: PPO climbs the score
answer = ('falls', 'rises', 'falls', 'falls', 'lower')

# %% wrong ask_beta_zero: must be one of
answer = ('up', 'up', 'down', 'down', 'up')

# %% wrong ask_beta_zero: dots
answer = ('rises', 'rises', ..., 'falls', 'falls')

# %% right ask_beta_zero
answer = ('rises', 'rises', 'falls', 'falls', 'lower')

# %% right ask_beta_zero
answer = ('Rises', 'RISES', 'falls ', 'Falls', 'Lower ')

# %% right ask_beta_zero
answer = tuple('rises/rises/falls/falls/lower'.split('/'))

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

# %% wrong ask_no_drift: with λ = 0 and values of 0 only the last token of a
# no look ahead, as if λ 0 gave every token the same
answer = (0, 0, 1)

# %% wrong ask_no_drift: value is what it was: each of the three is to change
# a value of 0 predicts nothing, so nothing surprises
answer = (1, 0, 0)

# %% wrong ask_no_drift: score is what it was: each of the three is to change
# leaves the score as it was
answer = (1, 1, 1)

# %% wrong ask_no_drift: lam is what it was: each of the three is to change
# leaves λ as it was
answer = (0.95, 0, 1)

# %% wrong ask_no_drift: with a value of 0.95 at every token, and the rest as it
# the value is discounted by λ as well
answer = (1, 0, 0.95)

# %% wrong ask_no_drift: with a value of 0.5 at every token, and the rest as it was
# the value lies between 0 and the score
answer = (1, 0, 0.5)

# %% wrong ask_no_drift: with a score of -1 for all, and the rest as it was
# the penalty should cancel the score
answer = (1, -1, 1)

# %% wrong ask_no_drift: with a value of -1 at every token, and the rest as it was
# the value has the sign of a cost
answer = (1, 0, -1)

# %% wrong ask_no_drift: score is what it was: each of the three is to change
# the arguments in another order, value before score
answer = (1, 1, 0)

# %% right ask_no_drift
# whole numbers
answer = (1, 0, 1)

# %% right ask_no_drift
# floats, and a negative zero
answer = (1.0, -0.0, 1.0)

# %% right ask_no_drift
# numbers of numpy
answer = (np.float64(1), np.int64(0), np.float32(1))

# %% right ask_no_drift
# tensors without dimensions
answer = (torch.tensor(1.0), torch.tensor(0.0), torch.tensor(1.0))

# %% wrong check_loop_rollout: every column of the batch goes to generate, also those that
# hands over every column of the batch
def my_rollout(agent, batch, config):
    return agent.generate(**batch, response_length=config.response_length,
                          temperature=config.temperature)

# %% wrong check_loop_rollout: the temperature is the default, 0.7, and not
# forgets the temperature
def my_rollout(agent, batch, config):
    return agent.generate(batch['input_ids'], batch['attention_mask'], config.response_length)

# %% wrong check_loop_rollout: the likeliest token is taken each time: nothing is sampled
# picks the likeliest token instead of drawing
def my_rollout(agent, batch, config):
    return agent.generate(batch['input_ids'], batch['attention_mask'], config.response_length,
                          config.temperature, do_sample=False)

# %% wrong check_loop_rollout: a seed is set inside, so that every rollout is the same
# sets the seed of the settings each time
def my_rollout(agent, batch, config):
    torch.manual_seed(config.seed)
    return agent.generate(batch['input_ids'], batch['attention_mask'],
                          response_length=config.response_length, temperature=config.temperature)

# %% wrong check_loop_rollout: the log-probs and values carry a gradient: torch.no_grad()
# scores once more, with a gradient
def my_rollout(agent, batch, config):
    rollout = agent.generate(batch['input_ids'], batch['attention_mask'],
                             response_length=config.response_length, temperature=config.temperature)
    R = rollout.response_mask.shape[1]
    logprobs, values, _ = agent(rollout.tokens, rollout.mask, R, rollout.temperature)
    return replace(rollout, logprobs=logprobs, values=values)

# %% wrong check_loop_rollout: the temperature is 1, and not config.temperature
# draws at temperature 1 and writes the wanted one on it
def my_rollout(agent, batch, config):
    rollout = agent.generate(batch['input_ids'], batch['attention_mask'],
                             response_length=config.response_length, temperature=1.0)
    return replace(rollout, temperature=config.temperature)

# %% right check_loop_rollout
# log-probs and values asked once more, without a gradient; padding holds anything
def my_rollout(agent, batch, config):
    with torch.no_grad():
        rollout = agent.generate(input_ids=batch['input_ids'], attention_mask=batch['attention_mask'],
                                 response_length=config.response_length,
                                 temperature=config.temperature)
        R = rollout.responses.shape[1]
        rollout.logprobs, rollout.values, _ = agent(rollout.tokens, rollout.mask, R,
                                                    config.temperature)
    return rollout

# %% right check_loop_rollout
# written out, reads everything again for each token, always R columns
@torch.no_grad()
def my_rollout(agent, batch, config):
    tokens, mask = batch['input_ids'], batch['attention_mask']
    P = tokens.shape[1]
    alive = torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)
    logprobs, values = [], []
    for _ in range(config.response_length):
        out = agent.model(input_ids=tokens, attention_mask=mask,
                          position_ids=(mask.cumsum(1) - 1).clamp(min=0),
                          output_hidden_states=True, use_cache=False)
        dist = torch.distributions.Categorical(logits=out.logits[:, -1].float()/config.temperature)
        token = dist.sample()
        logprobs.append(dist.log_prob(token))
        values.append(agent.value_head(out.hidden_states[-1][:, -1]).squeeze(-1))
        token = torch.where(alive, token, torch.full_like(token, agent.pad_token_id))
        tokens = torch.cat([tokens, token[:, None]], 1)
        mask = torch.cat([mask, alive[:, None].to(mask.dtype)], 1)
        alive = alive & ~agent.is_eos(token)
    return Rollout(tokens, mask, mask[:, P:], torch.stack(logprobs, 1), torch.stack(values, 1),
                   config.temperature)

# %% right check_loop_rollout
# row by row, put together behind
def my_rollout(agent, batch, config):
    rows = [agent.generate(batch['input_ids'][i:i + 1], batch['attention_mask'][i:i + 1],
                           config.response_length, config.temperature)
            for i in range(len(batch['input_ids']))]
    longest = max(r.response_mask.shape[1] for r in rows)

    def wide(x, n, value):
        more = torch.full((1, n), value, dtype=x.dtype, device=x.device)
        return torch.cat([x, more], 1)
    parts = {name: [] for name in ('tokens', 'mask', 'response_mask', 'logprobs', 'values')}
    for r in rows:
        n = longest - r.response_mask.shape[1]
        for name, xs in parts.items():
            xs.append(wide(getattr(r, name), n, agent.pad_token_id if name == 'tokens' else 0))
    return Rollout(**{name: torch.cat(xs) for name, xs in parts.items()},
                   temperature=config.temperature)

# %% wrong check_loop_scores: the penalty is the default, 1, and not
# the penalty of the settings is not handed on, the default stands
def my_scores(agent, rollout, reward_model, ref_model, config):
    rewards = agent.compute_rewards(rollout, reward_model, ref_model)
    return rewards.scores, rewards.ref_logprobs

# %% wrong check_loop_scores: the reference is asked at temperature 1, and the tokens
# the reference is asked at temperature 1
def my_scores(agent, rollout, reward_model, ref_model, config):
    with torch.no_grad():
        scores = reward_model(rollout.tokens, rollout.mask)
        scores = scores - config.missing_eos_penalty*(~agent.ended(rollout)).float()
        R = rollout.response_mask.shape[1]
        return scores, token_logprobs(ref_model, rollout.tokens, rollout.mask, R, 1.0)

# %% wrong check_loop_scores: an EOS in the prompt is taken for the end of the response
# an EOS anywhere in the row counts, in the prompt and its padding too
def my_scores(agent, rollout, reward_model, ref_model, config):
    with torch.no_grad():
        ended = agent.is_eos(rollout.tokens).any(1)
        scores = reward_model(rollout.tokens, rollout.mask)
        scores = torch.where(ended, scores, scores - config.missing_eos_penalty)
        R = rollout.response_mask.shape[1]
        ref = token_logprobs(ref_model, rollout.tokens, rollout.mask, R, rollout.temperature)
    return scores, ref

# %% wrong check_loop_scores: a response that fills its row is taken for one without an
# a response that ends on the very last place counts as cut off
def my_scores(agent, rollout, reward_model, ref_model, config):
    rewards = agent.compute_rewards(rollout, reward_model, ref_model, 0.0)
    cut_off = rollout.response_mask[:, -1] == 1
    return rewards.scores - config.missing_eos_penalty*cut_off, rewards.ref_logprobs

# %% wrong check_loop_scores: the log-probs carry a gradient into the reference
# the reference's log-probs carry a gradient
def my_scores(agent, rollout, reward_model, ref_model, config):
    scores = reward_scores(reward_model, rollout)
    scores = scores - config.missing_eos_penalty*~agent.ended(rollout)
    R = rollout.response_mask.shape[1]
    ref = token_logprobs(ref_model, rollout.tokens, rollout.mask, R, rollout.temperature)
    return scores, ref

# %% wrong check_loop_scores: these are the policy's log-probs, and not the reference's
# asks the policy's own model instead of the reference
def my_scores(agent, rollout, reward_model, ref_model, config):
    rewards = agent.compute_rewards(rollout, reward_model, agent.model, config.missing_eos_penalty)
    return rewards.scores, rewards.ref_logprobs

# %% right check_loop_scores
# parts of the package; NaN on the padding, and a list comes back
@torch.no_grad()
def my_scores(agent, rollout, reward_model, ref_model, config):
    scores = reward_model(rollout.tokens, rollout.mask).clone()
    scores[~agent.ended(rollout)] -= config.missing_eos_penalty
    R = rollout.response_mask.shape[1]
    ref = token_logprobs(ref_model, rollout.tokens, rollout.mask, R, rollout.temperature)
    return [scores, ref.masked_fill(rollout.response_mask == 0, math.nan)]

# %% right check_loop_scores
# each row alone without its padding, in a loop
@torch.no_grad()
def my_scores(agent, rollout, reward_model, ref_model, config):
    scores = reward_model(rollout.tokens, rollout.mask).tolist()
    ref = torch.zeros(rollout.response_mask.shape)
    for i in range(len(scores)):
        n = int(rollout.response_mask[i].sum())
        answer = rollout.responses[i, :n]
        if not any(agent.is_eos(token).item() for token in answer):
            scores[i] -= config.missing_eos_penalty
        row = rollout.tokens[i][rollout.mask[i].bool()]
        logits = ref_model(row[None]).logits[0, -n - 1:-1]
        dist = (logits.float()/rollout.temperature).log_softmax(-1)
        for t in range(n):
            ref[i, t] = dist[t, answer[t]]
    return torch.tensor(scores), ref

# %% right check_loop_scores
# cross entropy over the whole row, in float64, detached at the end
def my_scores(agent, rollout, reward_model, ref_model, config):
    R = rollout.response_mask.shape[1]
    places = (rollout.mask.cumsum(1) - 1).clamp(min=0)
    logits = ref_model(input_ids=rollout.tokens, attention_mask=rollout.mask,
                       position_ids=places).logits[:, :-1].double()
    ref = -torch.nn.functional.cross_entropy(logits.transpose(1, 2)/rollout.temperature,
                                             rollout.tokens[:, 1:], reduction='none')[:, -R:]
    has_eos = (agent.is_eos(rollout.responses).long()*rollout.response_mask).sum(1) > 0
    scores = reward_model(rollout.tokens, rollout.mask) - config.missing_eos_penalty*(1 - has_eos.float())
    return scores.detach(), ref.detach()

# %% wrong check_loop_shaping: the KL penalty has the wrong sign: it pays for leaving the
# the KL is paid out instead of charged
def my_shaping(scores, rollout, ref_logprobs, beta):
    mask = rollout.response_mask
    rewards = beta*(rollout.logprobs - ref_logprobs)
    rewards[torch.arange(len(mask)), mask.sum(1) - 1] += scores
    return rewards.masked_fill(mask == 0, 0)

# %% wrong check_loop_shaping: the score lies in the last column, and belongs on the last
# the score lands in the last column, padding or not
def my_shaping(scores, rollout, ref_logprobs, beta):
    rewards = -beta*kl_k1(rollout.logprobs, ref_logprobs)
    rewards = rewards.masked_fill(rollout.response_mask == 0, 0)
    rewards[:, -1] += scores
    return rewards

# %% wrong check_loop_shaping: this is the estimate k3, and k1 was asked for
# k3 instead of k1
def my_shaping(scores, rollout, ref_logprobs, beta):
    mask = rollout.response_mask
    rewards = -beta*kl_k3(rollout.logprobs, ref_logprobs)
    rewards[torch.arange(len(mask)), mask.sum(1) - 1] += scores
    return rewards.masked_fill(mask == 0, 0)

# %% wrong check_loop_shaping: the last token pays no penalty
# the last token brings the score and no longer pays
def my_shaping(scores, rollout, ref_logprobs, beta):
    mask = rollout.response_mask
    rewards = -beta*kl_k1(rollout.logprobs, ref_logprobs)
    rewards[torch.arange(len(mask)), mask.sum(1) - 1] = scores
    return rewards.masked_fill(mask == 0, 0)

# %% wrong check_loop_shaping: beta is shape_rewards' own 0.08, and not the one that is
# beta is not handed on, the default stands
def my_shaping(scores, rollout, ref_logprobs, beta):
    return shape_rewards(scores, rollout.logprobs, ref_logprobs, rollout.response_mask)

# %% right check_loop_shaping
# two loops and Python numbers
def my_shaping(scores, rollout, ref_logprobs, beta):
    out = []
    for i, on in enumerate(rollout.response_mask.tolist()):
        row = [0.0]*len(on)
        n = int(sum(on))
        for t in range(n):
            row[t] = -beta*(rollout.logprobs[i, t].item() - ref_logprobs[i, t].item())
        if n:
            row[n - 1] += scores[i].item()
        out.append(row)
    return torch.tensor(out)

# %% right check_loop_shaping
# where, and scatter_add for the score, in float64
def my_shaping(scores, rollout, ref_logprobs, beta):
    on = rollout.response_mask.bool()
    ratio = (ref_logprobs - rollout.logprobs).double()
    rewards = torch.where(on, beta*ratio, torch.zeros_like(ratio))
    last = on.long().sum(1, keepdim=True) - 1
    return rewards.scatter_add(1, last, scores.double()[:, None])

# %% right check_loop_shaping
# a last token is a real one with no real one behind it
def my_shaping(scores, rollout, ref_logprobs, beta):
    on = rollout.response_mask.float()
    behind = torch.cat([on[:, 1:], torch.zeros_like(on[:, :1])], 1)
    k1 = kl_k1(rollout.logprobs.masked_fill(on == 0, 0), ref_logprobs.masked_fill(on == 0, 0))
    return torch.einsum('b,br->br', scores.float(), on - behind) - beta*k1

# %% wrong check_loop_advantages: the variance divides by N − 1, and by N was asked for
# the variance divides by N − 1
def my_advantages(rewards, rollout, config):
    mask = rollout.response_mask
    adv, ret = compute_advantage_and_return(rewards, rollout.values, mask, config.gamma, config.lam)
    real = adv[mask.bool()]
    return (adv - real.mean())/(real.std() + 1e-8), ret

# %% wrong check_loop_advantages: each response is whitened alone, and no response is better
# whitens each response by itself
def my_advantages(rewards, rollout, config):
    mask = rollout.response_mask
    adv, ret = compute_advantage_and_return(rewards, rollout.values, mask, config.gamma, config.lam)
    n = mask.sum(1, keepdim=True)
    centred = (adv - (adv*mask).sum(1, keepdim=True)/n)*mask
    return centred/((centred**2).sum(1, keepdim=True)/n + 1e-8).sqrt(), ret

# %% wrong check_loop_advantages: the value on padding is taken for what follows the last
# values on padding stand for the value past the end
def my_advantages(rewards, rollout, config):
    values, mask = rollout.values, rollout.response_mask
    B, R = values.shape
    adv, running = torch.zeros(B, R), torch.zeros(B)
    for t in reversed(range(R)):
        after = values[:, t + 1] if t + 1 < R else torch.zeros(B)
        delta = rewards[:, t] + config.gamma*after - values[:, t]
        running = delta + config.gamma*config.lam*running
        adv[:, t] = running
    return whiten(adv, mask), adv + values

# %% wrong check_loop_advantages: the returns are made of advantages that are whitened already
# returns are made of the whitened advantages
def my_advantages(rewards, rollout, config):
    mask = rollout.response_mask
    adv, _ = compute_advantage_and_return(rewards, rollout.values, mask, config.gamma, config.lam)
    adv = whiten(adv, mask)
    return adv, adv + rollout.values

# %% wrong check_loop_advantages: gamma and lam are swapped
# gamma and lam change places
def my_advantages(rewards, rollout, config):
    mask = rollout.response_mask
    adv, ret = compute_advantage_and_return(rewards, rollout.values, mask, config.lam, config.gamma)
    return whiten(adv, mask), ret

# %% wrong check_loop_advantages: the deviation may be 0, and 0/0 is nan: add a small number
# divides by a spread that may be 0
def my_advantages(rewards, rollout, config):
    mask = rollout.response_mask
    adv, ret = compute_advantage_and_return(rewards, rollout.values, mask, config.gamma, config.lam)
    real = adv[mask.bool()]
    return (adv - real.mean())/real.std(correction=0), ret

# %% right check_loop_advantages
# row by row in numpy and float64, NaN on padding
def my_advantages(rewards, rollout, config):
    on = rollout.response_mask.bool().numpy()
    r, v = rewards.detach().double().numpy(), rollout.values.detach().double().numpy()
    adv, ret = np.full(on.shape, np.nan), np.full(on.shape, np.nan)
    for i in range(len(on)):
        running = after = 0.0
        for t in range(on[i].sum() - 1, -1, -1):
            running = r[i, t] + config.gamma*after - v[i, t] + config.gamma*config.lam*running
            after = v[i, t]
            adv[i, t], ret[i, t] = running, running + v[i, t]
    real = adv[on]
    spread = np.sqrt(((real - real.mean())**2).mean())
    adv = (adv - real.mean())/spread if spread > 1e-6 else adv*0
    return torch.tensor(adv), torch.tensor(ret)

# %% right check_loop_advantages
# a triangle of weights instead of a loop over time
def my_advantages(rewards, rollout, config):
    on = rollout.response_mask.bool()
    r, v = rewards.masked_fill(~on, 0).double(), rollout.values.masked_fill(~on, 0).double()
    R = on.shape[1]
    delta = r + config.gamma*torch.nn.functional.pad(v, (0, 1))[:, 1:] - v
    ahead = torch.arange(R)[:, None] - torch.arange(R)[None, :]
    weight = torch.where(ahead >= 0, (config.gamma*config.lam)**ahead.clamp(min=0).double(), 0.0)
    adv = delta @ weight
    returns = adv + v
    return whiten(adv, on).float(), returns.float()

# %% right check_loop_advantages
# one list of real tokens is whitened and put back
def my_advantages(rewards, rollout, config):
    on = rollout.response_mask.bool()
    adv, ret = compute_advantage_and_return(rewards, rollout.values, on, gamma=config.gamma,
                                            lam=config.lam)
    real = adv[on]
    var, mean = torch.var_mean(real, correction=0)
    white = torch.full_like(adv, 7.0)
    white[on] = (real - mean)/(var + 1e-8)**0.5
    return white, ret

# %% wrong check_loop_minibatches: every epoch has the same order: draw a new one for each
# one order for all epochs
def my_minibatches(rows, size, epochs):
    order = torch.randperm(rows)
    return [part for _ in range(epochs) for part in order.split(size)]

# %% wrong check_loop_minibatches: the last minibatch of an epoch is left out where it is
# what is left at the end is dropped
def my_minibatches(rows, size, epochs):
    for _ in range(epochs):
        order = torch.randperm(rows)
        for i in range(rows//size):
            yield order[i*size:(i + 1)*size]

# %% wrong check_loop_minibatches: a seed is set inside, so that every update has the same
# seeds each epoch with its number
def my_minibatches(rows, size, epochs):
    for epoch in range(epochs):
        torch.manual_seed(epoch)
        yield from torch.randperm(rows).split(size)

# %% wrong check_loop_minibatches: each minibatch is drawn from all rows afresh, so an epoch
# draws each minibatch anew, so rows come twice or never
def my_minibatches(rows, size, epochs):
    steps = math.ceil(rows/size)
    for _ in range(epochs):
        for i in range(steps):
            yield torch.randperm(rows)[:min(size, rows - i*size)]

# %% wrong check_loop_minibatches: `size` is taken for the number of minibatches in an epoch
# takes size for the number of minibatches
def my_minibatches(rows, size, epochs):
    for _ in range(epochs):
        yield from torch.randperm(rows).chunk(size)

# %% wrong check_loop_minibatches: the same rows always come together: only the order of the
# neighbours stay together, only the minibatches are shuffled
def my_minibatches(rows, size, epochs):
    parts = torch.arange(rows).split(size)
    for _ in range(epochs):
        for i in torch.randperm(len(parts)):
            yield parts[i]

# %% right check_loop_minibatches
# the DataLoader shuffles numbers
def my_minibatches(rows, size, epochs):
    loader = DataLoader(range(rows), batch_size=size, shuffle=True)
    for _ in range(epochs):
        yield from loader

# %% right check_loop_minibatches
# random.shuffle, a list of lists of whole numbers
def my_minibatches(rows, size, epochs):
    import random
    steps = []
    for _ in range(epochs):
        left = list(range(rows))
        random.shuffle(left)
        while left:
            steps.append(left[:size])
            del left[:size]
    return steps

# %% right check_loop_minibatches
# sorts random numbers for all epochs at once
def my_minibatches(rows, size, epochs):
    orders = torch.rand(epochs, rows, dtype=torch.float64).argsort(1)
    return (order[start:start + size] for order in orders for start in range(0, rows, size))

# %% wrong check_loop_update: the learning rate is set in the first group of parameters
# the learning rate of the first parameter group only
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    optimizer.param_groups[0]['lr'] = config.learning_rate*(1 - progress)
    R = minibatch.response_mask.shape[1]
    logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, R, minibatch.temperature)
    loss, _ = compute_loss(logprobs, values, minibatch.logprobs, minibatch.values, advantages, returns,
                           minibatch.response_mask, config.clip_ratio, config.clip_value,
                           config.value_coef)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
    optimizer.step()
    return loss

# %% wrong check_loop_update: the rate that is there is shrunk, and not
# shrinks the rate that is there, instead of the one of the settings
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    for group in optimizer.param_groups:
        group['lr'] *= 1 - progress
    R = minibatch.response_mask.shape[1]
    logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, R, minibatch.temperature)
    loss, _ = compute_loss(logprobs, values, minibatch.logprobs, minibatch.values, advantages, returns,
                           minibatch.response_mask, config.clip_ratio, config.clip_value,
                           config.value_coef)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
    optimizer.step()
    return loss

# %% wrong check_loop_update: the gradient of the update before is still there: zero_grad
# earlier gradients are never cleared
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    for group in optimizer.param_groups:
        group['lr'] = config.learning_rate*(1 - progress)
    R = minibatch.response_mask.shape[1]
    logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, R, minibatch.temperature)
    loss, _ = compute_loss(logprobs, values, minibatch.logprobs, minibatch.values, advantages, returns,
                           minibatch.response_mask, config.clip_ratio, config.clip_value,
                           config.value_coef)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
    optimizer.step()
    return loss

# %% wrong check_loop_update: each weight is clipped by itself, and the norm is that of
# clips the gradient of each weight by itself
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    for group in optimizer.param_groups:
        group['lr'] = config.learning_rate*(1 - progress)
    R = minibatch.response_mask.shape[1]
    logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, R, minibatch.temperature)
    loss, _ = compute_loss(logprobs, values, minibatch.logprobs, minibatch.values, advantages, returns,
                           minibatch.response_mask, config.clip_ratio, config.clip_value,
                           config.value_coef)
    optimizer.zero_grad()
    loss.backward()
    for p in agent.parameters():
        torch.nn.utils.clip_grad_norm_([p], config.max_grad_norm)
    optimizer.step()
    return loss

# %% wrong check_loop_update: the tokens are scored at the agent's own 0.7: hand it
# scores at the default temperature, not at the one of the rollout
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    for group in optimizer.param_groups:
        group['lr'] = config.learning_rate*(1 - progress)
    R = minibatch.response_mask.shape[1]
    logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, R)
    loss, _ = compute_loss(logprobs, values, minibatch.logprobs, minibatch.values, advantages, returns,
                           minibatch.response_mask, config.clip_ratio, config.clip_value,
                           config.value_coef)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
    optimizer.step()
    return loss

# %% wrong check_loop_update: clip_ratio, clip_value and value_coef are compute_loss's
# the settings of the loss are not handed on
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    for group in optimizer.param_groups:
        group['lr'] = config.learning_rate*(1 - progress)
    R = minibatch.response_mask.shape[1]
    logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, R, minibatch.temperature)
    loss, _ = compute_loss(logprobs, values, minibatch.logprobs, minibatch.values, advantages, returns,
                           minibatch.response_mask)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
    optimizer.step()
    return loss

# %% right check_loop_update
# torch.autograd.grad, gradients set by hand and scaled by hand
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    weights = [p for p in agent.parameters() if p.requires_grad]
    logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, minibatch.logprobs.shape[1],
                                minibatch.temperature)
    loss, _ = compute_loss(logprobs, values, minibatch.logprobs, minibatch.values, advantages, returns,
                           minibatch.response_mask, clip_ratio=config.clip_ratio,
                           clip_value=config.clip_value, value_coef=config.value_coef)
    grads = torch.autograd.grad(loss, weights, allow_unused=True)
    norm = sum(g.double().pow(2).sum() for g in grads if g is not None).sqrt().item()
    scale = min(1.0, config.max_grad_norm/norm) if norm > 0 else 1.0
    for p, g in zip(weights, grads):
        p.grad = None if g is None else g*scale
    for group in optimizer.param_groups:
        group.update(lr=(1 - progress)*config.learning_rate)
    optimizer.step()
    return loss.detach()

# %% right check_loop_update
# the model's gradients cleared first, the rate set right before the step; a float comes back
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    agent.zero_grad(set_to_none=True)
    R = minibatch.responses.shape[1]
    with torch.enable_grad():
        logprobs, values, entropy = agent(minibatch.tokens, minibatch.mask, R, minibatch.temperature)
        loss = compute_loss(logprobs, values, minibatch.logprobs, minibatch.values, advantages,
                            returns, minibatch.response_mask, config.clip_ratio,
                            config.clip_value, config.value_coef)[0]
        loss.backward()
    torch.nn.utils.clip_grad_norm_(list(agent.parameters()), config.max_grad_norm, foreach=False)
    for group in optimizer.param_groups:
        group['lr'] = config.learning_rate - progress*config.learning_rate
    optimizer.step()
    return loss.item()

# %% right check_loop_update
# the loss row by row, gradients added up; clears them behind as well
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    optimizer.zero_grad()
    total, R = minibatch.response_mask.sum(), minibatch.response_mask.shape[1]
    whole = 0.0
    for i in range(len(minibatch.tokens)):
        row = minibatch[[i]]
        logprobs, values, _ = agent(row.tokens, row.mask, R, row.temperature)
        loss, _ = compute_loss(logprobs, values, row.logprobs, row.values, advantages[[i]],
                               returns[[i]], row.response_mask, config.clip_ratio,
                               config.clip_value, config.value_coef)
        part = loss*row.response_mask.sum()/total
        part.backward()
        whole += part.detach()
    torch.nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
    for group in optimizer.param_groups:
        group['lr'] = config.learning_rate*(1 - progress)
    optimizer.step()
    optimizer.zero_grad()
    return whole

# %% wrong ask_beta_zero: gold: the judge likes praise too, so gold rises with the
# believes that the judge follows the score
answer = ('rises', 'rises', 'falls', 'falls', 'higher')

# %% wrong ask_beta_zero: kl: β = 0 takes the price from the KL: it is still
# without a penalty the KL is not in the reward and so stays
answer = ('rises', 'stays', 'falls', 'falls', 'lower')

# %% wrong ask_beta_zero: entropy: a policy that has found what pays grows sure of
# without a penalty the policy explores, the entropy rises
answer = ('rises', 'rises', 'falls', 'rises', 'lower')

# %% wrong ask_beta_zero: distinct_bigrams: what scores best is said again and again
# freedom makes texts more varied
answer = ('rises', 'rises', 'rises', 'falls', 'lower')

# %% wrong ask_beta_zero: score: PPO climbs the score, and nothing holds it back now
# the collapse reaches the score too
answer = ('stays', 'rises', 'falls', 'falls', 'lower')

# %% wrong ask_beta_zero: gold: the judge likes praise too, so gold rises with the
# the judge does not mind
answer = ('rises', 'rises', 'falls', 'falls', 'alike')

# %% wrong ask_beta_zero: kl: β = 0 takes the price from the KL: it is still
# the KL falls because nothing pulls on it
answer = ('rises', 'falls', 'falls', 'falls', 'lower')

# %% wrong ask_beta_zero: gold must be one of 'higher', 'lower', 'alike', not 'falls'
# says of gold which way it goes
answer = ('rises', 'rises', 'falls', 'falls', 'falls')

# %% wrong ask_beta_zero: kl: β = 0 takes the price from the KL: it is still
# the policy leaves and finds its way back, KL and bigrams recover
answer = ('rises', 'falls', 'stays', 'falls', 'lower')

# %% right ask_beta_zero
# a tuple
answer = ('rises', 'rises', 'falls', 'falls', 'lower')

# %% right ask_beta_zero
# strings of numpy
answer = tuple(np.array(['rises', 'rises', 'falls', 'falls', 'lower']))

# %% right ask_beta_zero
# words put together
answer = ('rises',)*2 + ('falls',)*2 + (''.join(['low', 'er']),)

# %% wrong check_break_even: the KL is the mean over tokens, and a response pays for the
# a KL of one token, not of a response
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    gain = (scores.mean() - ref_scores.mean()).item()
    kl = masked_mean(kl_k1(logprobs, ref_logprobs), mask).item()
    if gain <= 0:
        return 0.0
    return gain/kl if kl > 0 else math.inf

# %% wrong check_break_even: this is the estimate k3, and the penalty is k1
# k3 instead of k1
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    gain = (scores.mean() - ref_scores.mean()).item()
    kl = kl_k3(logprobs, ref_logprobs).masked_fill(mask == 0, 0).sum(1).mean().item()
    if gain <= 0:
        return 0.0
    return math.inf if kl <= 0 else gain/kl

# %% wrong check_break_even: the KL has the wrong sign
# reference less policy
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    gain = (scores.mean() - ref_scores.mean()).item()
    kl = (ref_logprobs - logprobs).masked_fill(mask == 0, 0).sum(1).mean().item()
    if gain <= 0:
        return 0.0
    return math.inf if kl <= 0 else gain/kl

# %% wrong check_break_even: a policy that scores less than the reference pays at no
# a policy that scores lower gets a β below 0
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    gain = (scores.mean() - ref_scores.mean()).item()
    kl = (logprobs - ref_logprobs).masked_fill(mask == 0, 0).sum(1).mean().item()
    return math.inf if kl <= 0 else gain/kl

# %% wrong check_break_even: the KL is asked first: a policy that is not ahead pays at
# asks for the KL first, so no gain and no KL gives infinity
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    kl = (logprobs - ref_logprobs).masked_fill(mask == 0, 0).sum(1).mean().item()
    if kl <= 0:
        return math.inf
    return max(0.0, (scores.mean() - ref_scores.mean()).item()/kl)

# %% wrong check_break_even: it is the mean of a β for each response: the mean gain and
# one β for each response, and their mean
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    gain = scores - ref_scores.mean()
    kl = (logprobs - ref_logprobs).masked_fill(mask == 0, 0).sum(1)
    if gain.mean() <= 0:
        return 0.0
    return (gain/kl).mean().item() if kl.mean() > 0 else math.inf

# %% wrong check_break_even: an estimate of the KL may be negative too, and then any
# only KL at 0 is caught, a negative one gives a β below 0
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    gain = (scores.mean() - ref_scores.mean()).item()
    kl = (logprobs - ref_logprobs).masked_fill(mask == 0, 0).sum(1).mean().item()
    if gain <= 0:
        return 0.0
    return math.inf if kl == 0 else gain/kl

# %% wrong check_break_even: the scores of the reference are not taken off
# the scores of the reference are forgotten
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    gain = scores.mean().item()
    kl = (logprobs - ref_logprobs).masked_fill(mask == 0, 0).sum(1).mean().item()
    if gain <= 0:
        return 0.0
    return math.inf if kl <= 0 else gain/kl

# %% right check_break_even
# loops over Python numbers
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    kl = 0.0
    for new, old, on in zip(logprobs.tolist(), ref_logprobs.tolist(), mask.tolist()):
        for p, q, real in zip(new, old, on):
            if real:
                kl += p - q
    kl /= len(scores)
    gain = sum(scores.tolist())/len(scores) - sum(ref_scores.tolist())/len(ref_scores)
    if gain <= 0:
        return 0
    return gain/kl if kl > 0 else float('inf')

# %% right check_break_even
# picks the real tokens, in float64, and returns a tensor without dimensions
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    on = mask.bool()
    gain = scores.double().mean() - ref_scores.double().mean()
    kl = (logprobs[on].double() - ref_logprobs[on].double()).sum()/scores.shape[0]
    if gain <= 0:
        return torch.tensor(0.0)
    return gain/kl if kl > 0 else torch.tensor(math.inf)

# %% right check_break_even
# numpy, and the mean of the tokens times their number in a response
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    on = np.asarray(mask) != 0
    k1 = np.where(on, np.asarray(logprobs, float) - np.asarray(ref_logprobs, float), 0.0)
    kl = k1.sum()/on.sum()*on.sum(1).mean()
    gain = np.asarray(scores, float).mean() - np.asarray(ref_scores, float).mean()
    if not gain > 0:
        return np.float64(0)
    return np.inf if kl <= 0 else np.divide(gain, kl)

# %% right check_break_even
# infinity out of a division by a KL that is cut off at 0
def my_break_even(scores, logprobs, ref_logprobs, mask, ref_scores):
    blank = mask == 0
    k1 = kl_k1(logprobs.masked_fill(blank, 0), ref_logprobs.masked_fill(blank, 0))
    gain = scores.mean() - ref_scores.mean()
    if gain.item() <= 0:
        return 0.0
    return float(gain/torch.einsum('br->', k1).div(len(k1)).clamp(min=0.0))

# %% wrong check_loop_rollout: padding on the left is counted as positions
# the mask is handed on, and no positions with it
@torch.no_grad()
def my_rollout(agent, batch, config):
    tokens, mask = batch['input_ids'], batch['attention_mask']
    P, alive = tokens.shape[1], torch.ones(len(tokens), dtype=torch.long)
    for _ in range(config.response_length):
        logits = agent.model(input_ids=tokens, attention_mask=mask).logits[:, -1]
        drawn = torch.multinomial((logits/config.temperature).softmax(-1), 1)[:, 0]
        drawn = torch.where(alive == 1, drawn, agent.pad_token_id)
        tokens, mask = torch.cat([tokens, drawn[:, None]], 1), torch.cat([mask, alive[:, None]], 1)
        alive = alive*(~agent.is_eos(drawn)).long()
    logprobs, values, _ = agent(tokens, mask, config.response_length, config.temperature)
    return Rollout(tokens, mask, mask[:, P:], logprobs, values, config.temperature)

# %% wrong check_loop_rollout: the attention mask of the prompts is not handed on
# positions are handed on, and no mask with them
@torch.no_grad()
def my_rollout(agent, batch, config):
    tokens, mask = batch['input_ids'], batch['attention_mask']
    P, alive = tokens.shape[1], torch.ones(len(tokens), dtype=torch.long)
    for _ in range(config.response_length):
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits = agent.model(input_ids=tokens, position_ids=positions).logits[:, -1]
        drawn = torch.multinomial((logits/config.temperature).softmax(-1), 1)[:, 0]
        drawn = torch.where(alive == 1, drawn, agent.pad_token_id)
        tokens, mask = torch.cat([tokens, drawn[:, None]], 1), torch.cat([mask, alive[:, None]], 1)
        alive = alive*(~agent.is_eos(drawn)).long()
    logprobs, values, _ = agent(tokens, mask, config.response_length, config.temperature)
    return Rollout(tokens, mask, mask[:, P:], logprobs, values, config.temperature)

# %% wrong check_loop_rollout: the temperature is the default, 0.7
# written out; the scores are asked for without a temperature
@torch.no_grad()
def my_rollout(agent, batch, config):
    rollout = agent.generate(batch['input_ids'], batch['attention_mask'], config.response_length)
    R = rollout.response_mask.shape[1]
    logprobs, values, _ = agent(rollout.tokens, rollout.mask, R)
    return Rollout(rollout.tokens, rollout.mask, rollout.response_mask, logprobs, values, 0.7)

# %% wrong check_loop_scores: a Rewards is returned, and a pair is asked for
def my_scores(agent, rollout, reward_model, ref_model, config):
    return agent.compute_rewards(rollout, reward_model, ref_model, config.missing_eos_penalty)

# %% wrong check_loop_scores: the reference is asked at the default, 0.7: hand it
@torch.no_grad()
def my_scores(agent, rollout, reward_model, ref_model, config):
    scores = reward_model(rollout.tokens, rollout.mask)
    scores = scores - config.missing_eos_penalty*(~agent.ended(rollout)).float()
    R = rollout.response_mask.shape[1]
    logprobs, _, _ = Agent(ref_model)(rollout.tokens, rollout.mask, R)
    return scores, logprobs

# %% wrong check_loop_advantages: the variance divides by N − 1, and by N was asked for
def my_advantages(rewards, rollout, config):
    mask = rollout.response_mask
    advantages, returns = compute_advantage_and_return(
        rewards, rollout.values, mask, config.gamma, config.lam)
    real = advantages[mask.bool()]
    return (advantages - real.mean())/real.std()*mask, returns

# %% wrong check_loop_update: the values of now are handed over as the old ones
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    for group in optimizer.param_groups:
        group['lr'] = config.learning_rate*(1 - progress)
    R = minibatch.response_mask.shape[1]
    logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, R, minibatch.temperature)
    loss, _ = compute_loss(
        logprobs, values, minibatch.logprobs, values, advantages, returns,
        minibatch.response_mask, config.clip_ratio, config.clip_value, config.value_coef)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
    optimizer.step()
    return loss

# %% wrong check_loop_update: a pair is returned, and the loss alone is asked for
def my_update(agent, optimizer, minibatch, advantages, returns, config, progress):
    for group in optimizer.param_groups:
        group['lr'] = config.learning_rate*(1 - progress)
    R = minibatch.response_mask.shape[1]
    logprobs, values, _ = agent(minibatch.tokens, minibatch.mask, R, minibatch.temperature)
    loss, stats = compute_loss(
        logprobs, values, minibatch.logprobs, minibatch.values, advantages, returns,
        minibatch.response_mask, config.clip_ratio, config.clip_value, config.value_coef)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
    optimizer.step()
    return loss, stats

# %% wrong ask_no_drift: `value` must be one number
answer = (1, 0, [1, 1, 1])

# %% right ask_no_drift
answer = (torch.tensor(1.0), np.float32(0), torch.tensor([1]))

# %% wrong check_loop_shaping: scores are added to every row
def my_shaping(scores, rollout, ref_logprobs, beta):
    mask = rollout.response_mask
    rewards = -beta*(rollout.logprobs - ref_logprobs)*mask
    last = mask.sum(1) - 1
    rewards[:, last] += scores
    return rewards

# %% wrong check_loop_minibatches: drawn with replacement
def my_minibatches(rows, size, epochs):
    minibatches = []
    for _ in range(epochs):
        minibatches += [torch.randint(rows, (size,)) for _ in range(rows//size)]
    return minibatches
