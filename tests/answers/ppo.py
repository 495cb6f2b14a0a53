# Answers to the exercises of lesson 6, as readers write them. Each begins with a line that says
# what it is: `# %% wrong CHECK: words that its verdict must hold`, or `# %% right CHECK`.

# %% wrong check_policy_loss: wrong way round
def my_policy_loss(logprobs, old_logprobs, advantages, mask, eps=0.2):
    ratio = (logprobs - old_logprobs).exp()
    objective = torch.min(ratio*advantages, ratio.clamp(1 - eps, 1 + eps)*advantages)
    return masked_mean(objective, mask)

# %% wrong check_policy_loss: divided by
def my_policy_loss(logprobs, old_logprobs, advantages, mask, eps=0.2):
    ratio = (logprobs - old_logprobs).exp()
    loss1, loss2 = -advantages*ratio, -advantages*ratio.clamp(1 - eps, 1 + eps)
    return (torch.max(loss1, loss2)*mask).mean()

# %% wrong check_policy_loss: no gradient
def my_policy_loss(logprobs, old_logprobs, advantages, mask, eps=0.2):
    ratio = (logprobs - old_logprobs).exp().detach()
    loss1, loss2 = -advantages*ratio, -advantages*ratio.clamp(1 - eps, 1 + eps)
    return masked_mean(torch.max(loss1, loss2), mask)

# %% wrong check_policy_loss: nothing is returned
def my_policy_loss(logprobs, old_logprobs, advantages, mask, eps=0.2):
    ...

# %% right check_policy_loss
def my_policy_loss(logprobs, old_logprobs, advantages, mask, eps=0.2):
    real = mask.bool()
    ratio = torch.exp(logprobs[real] - old_logprobs[real])
    A = advantages[real]
    far = torch.where(A > 0, ratio > 1 + eps, ratio < 1 - eps)
    bound = torch.where(A > 0, torch.tensor(1 + eps), torch.tensor(1 - eps))
    return -torch.where(far, bound, ratio).mul(A).sum()/len(A)
