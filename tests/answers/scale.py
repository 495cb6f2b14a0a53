# ruff: noqa: F811, F821
# Answers to the exercises of lesson 13, as readers write them. Each begins with a line that says
# what it is: `# %% wrong CHECK: words that its verdict must hold`, or `# %% right CHECK`.

# %% wrong check_mean_of_processes: the means are averaged over all processes
# averages the means
def my_mean_of_all(means, counts):
    return means.mean()

# %% wrong check_mean_of_processes: the means that are numbers are averaged
# averages the means that are numbers
def my_mean_of_all(means, counts):
    return means.nanmean()

# %% wrong check_mean_of_processes: a process with few tokens weighs as much as one with many
# averages over the processes that have tokens
def my_mean_of_all(means, counts):
    return means[counts > 0].mean()

# %% wrong check_mean_of_processes: a process without tokens makes it NaN: 0 times NaN is NaN
# 0 times NaN is NaN
def my_mean_of_all(means, counts):
    return (means*counts).sum()/counts.sum()

# %% wrong check_mean_of_processes: the weights are a softmax of the numbers of tokens
# a softmax for weights
def my_mean_of_all(means, counts):
    weights = torch.softmax(counts.float(), 0)
    return (weights*means.nan_to_num()).nansum()

# %% wrong check_mean_of_processes: the numbers of tokens are divided by the largest one
# weights of at most 1, which do not add to 1
def my_mean_of_all(means, counts):
    weights = counts/counts.max()
    return torch.where(counts > 0, weights*means, 0).sum()

# %% wrong check_mean_of_processes: the sums are averaged over the processes: the weights do not add
# the sums are averaged over the processes
def my_mean_of_all(means, counts):
    sums = torch.where(counts > 0, means*counts, 0)
    return sums.mean()

# %% wrong check_mean_of_processes: the sums are averaged over the processes that have tokens
# the sums are averaged over the processes that have any
def my_mean_of_all(means, counts):
    full = counts > 0
    return (means*counts)[full].sum()/full.sum()

# %% wrong check_mean_of_processes: this is the sum over all tokens, and nothing divides it
# sum of all, undivided
def my_mean_of_all(means, counts):
    total = 0.0
    for mean, count in zip(means.tolist(), counts.tolist()):
        if count:
            total += mean*count
    return total

# %% wrong check_mean_of_processes: a process without tokens is counted as one that has a token
# each process counts at least one token
def my_mean_of_all(means, counts):
    counts = counts.clamp(min=1)
    return (means.nan_to_num()*counts).sum()/counts.sum()

# %% wrong check_mean_of_processes: `means` is changed in place, and whoever called still needs it
# NaN is set to 0 in what was given
def my_mean_of_all(means, counts):
    means[counts == 0] = 0
    return (means*counts).sum()/counts.sum()

# %% wrong check_mean_of_processes: the shares are whole numbers: a tensor of integers
# shares are kept in a tensor of whole numbers
def my_mean_of_all(means, counts):
    shares = torch.zeros_like(counts)
    for i in range(len(counts)):
        shares[i] = counts[i]/counts.sum()
    return torch.where(counts > 0, shares*means, 0).sum()

# %% wrong check_mean_of_processes: a mean is divided by its number of tokens, and it is multiplied
# means are divided by the tokens, and not multiplied
def my_mean_of_all(means, counts):
    full = counts > 0
    return (means[full]/counts[full]).sum()

# %% wrong check_mean_of_processes: what each process adds is returned, and nothing is added up
# the parts that the processes add, not added
def my_mean_of_all(means, counts):
    return torch.where(counts > 0, means, 0)*counts/counts.sum()

# %% wrong check_mean_of_processes: the sum of the means is divided by the number of tokens
# sum of means by sum of tokens
def my_mean_of_all(means, counts):
    return means.nansum()/counts.sum()

# %% wrong check_mean_of_processes: the means are averaged over all processes, those without tokens
# an empty process's mean counts as 0, unweighted
def my_mean_of_all(means, counts):
    return means.nan_to_num().mean()

# %% wrong check_mean_of_processes: two means are merged with a half each
# merges one after the other, with equal weights
def my_mean_of_all(means, counts):
    merged = None
    for mean, count in zip(means.tolist(), counts.tolist()):
        if count == 0:
            continue
        merged = mean if merged is None else (merged + mean)/2
    return merged

# %% wrong check_mean_of_processes: the sums lose their fractions
# only the sum of tokens is turned into whole numbers: floor
def my_mean_of_all(means, counts):
    total = sum(int(m*c) for m, c in zip(means.tolist(), counts.tolist()) if c)
    return total/counts.sum().item()

# %% wrong check_mean_of_processes: the sums are averaged over the processes that have a mean
# nanmean of sums by mean of counts
def my_mean_of_all(means, counts):
    return torch.nanmean(means*counts)/counts.float().mean()

# %% wrong check_mean_of_processes: the weights are the roots of the numbers of tokens
# weights grow with the root
def my_mean_of_all(means, counts):
    w = counts.float().sqrt()
    return (means.nan_to_num()*w).sum()/w.sum()

# %% wrong check_mean_of_processes: this is the middle one of the means
# median
def my_mean_of_all(means, counts):
    return means.nanmedian()

# %% wrong check_mean_of_processes: only the process with the most tokens is asked
# largest process
def my_mean_of_all(means, counts):
    return means[counts.argmax()]

# %% wrong check_mean_of_processes: one is taken off the number of all tokens
# counts - 1
def my_mean_of_all(means, counts):
    full = counts > 0
    return (means*counts)[full].sum()/(counts.sum() - 1)

# %% right check_mean_of_processes
# every token gets its process's mean
def my_mean_of_all(means, counts):
    return means.repeat_interleave(counts).mean()

# %% right check_mean_of_processes
# a loop over Python numbers
def my_mean_of_all(means, counts):
    total = n = 0
    for mean, count in zip(means.tolist(), counts.tolist()):
        if count > 0:
            total += mean*count
            n += count
    return total/n

# %% right check_mean_of_processes
# numpy's weighted average of the processes that have tokens
def my_mean_of_all(means, counts):
    full = counts.numpy() > 0
    return np.average(means.numpy()[full], weights=counts.numpy()[full])

# %% right check_mean_of_processes
# a dot product, with the numbers of empty processes left out
def my_mean_of_all(means, counts):
    shares = counts.double()/counts.sum()
    return shares @ means.double().masked_fill(counts == 0, 0)

# %% right check_mean_of_processes
# a running mean, process after process
def my_mean_of_all(means, counts):
    mean, n = torch.zeros(()), 0
    for other, count in zip(means, counts.tolist()):
        n += count
        if count:
            mean = mean + (other - mean)*count/n
    return mean

# %% wrong check_whiten_over_processes: each process whitens its own batch, as if there were no
# each process whitens its own
def my_whiten_over(advantages, mask, over_processes):
    return whiten(advantages, mask)

# %% wrong check_whiten_over_processes: means and variances of the processes are averaged
# means and variances are averaged over the processes
def my_whiten_over(advantages, mask, over_processes):
    mean = masked_mean(advantages, mask)
    variance = masked_mean((advantages - mean)**2, mask)
    n, mean, variance = over_processes(torch.stack([torch.tensor(1.0), mean, variance]))
    centred = (advantages - mean/n).masked_fill(mask == 0, 0)
    return centred*torch.rsqrt(variance/n + 1e-8)

# %% wrong check_whiten_over_processes: the variances of the processes are averaged
# the mean of all is right, the variances are averaged
def my_whiten_over(advantages, mask, over_processes):
    advantages = advantages.masked_fill(mask == 0, 0)
    n, total = over_processes(torch.stack([mask.sum(), advantages.sum()]))
    centred = (advantages - total/n).masked_fill(mask == 0, 0)
    variance, processes = over_processes(torch.stack(
        [masked_mean(centred**2, mask), torch.tensor(1.0)]))
    return centred*torch.rsqrt(variance/processes + 1e-8)

# %% wrong check_whiten_over_processes: each process shifts by the mean of its own batch
# only the scale is shared, the mean is the process's own
def my_whiten_over(advantages, mask, over_processes):
    centred = (advantages - masked_mean(advantages, mask)).masked_fill(mask == 0, 0)
    n, squares = over_processes(torch.stack([mask.sum(), (centred**2).sum()]))
    return centred*torch.rsqrt(squares/n + 1e-8)

# %% wrong check_whiten_over_processes: the mean is used for the variance alone, and not taken off
# not shifted
def my_whiten_over(advantages, mask, over_processes):
    advantages = advantages.masked_fill(mask == 0, 0)
    sums = torch.stack([mask.sum(), advantages.sum(), (advantages**2).sum()])
    n, total, squares = over_processes(sums)
    variance = squares/n - (total/n)**2
    return advantages*torch.rsqrt(variance + 1e-8)

# %% wrong check_whiten_over_processes: it divides by N - 1, and `whiten` of lesson 5 divides by N
# N - 1
def my_whiten_over(advantages, mask, over_processes):
    advantages = advantages.masked_fill(mask == 0, 0)
    n, total = over_processes(torch.stack([mask.sum(), advantages.sum()]))
    centred = (advantages - total/n).masked_fill(mask == 0, 0)
    squares = over_processes((centred**2).sum())
    return centred*torch.rsqrt(squares/(n - 1) + 1e-8)

# %% wrong check_whiten_over_processes: padding is counted, and what stands there comes into mean
# padding is counted, and has whatever stands there
def my_whiten_over(advantages, mask, over_processes):
    n = over_processes(torch.tensor(float(advantages.numel())))
    mean = over_processes(advantages.sum())/n
    variance = over_processes(((advantages - mean)**2).sum())/n
    return (advantages - mean)*torch.rsqrt(variance + 1e-8)*mask

# %% wrong check_whiten_over_processes: the mean is over all places, padding too
# padding is 0, and is counted
def my_whiten_over(advantages, mask, over_processes):
    advantages = advantages.masked_fill(mask == 0, 0)
    n = over_processes(torch.tensor(float(advantages.numel())))
    mean = over_processes(advantages.sum())/n
    centred = (advantages - mean).masked_fill(mask == 0, 0)
    variance = over_processes((centred**2).sum())/n
    return centred*torch.rsqrt(variance + 1e-8)

# %% wrong check_whiten_over_processes: padding is shifted too, and it has to be 0 in the end
# padding is shifted too in the end
def my_whiten_over(advantages, mask, over_processes):
    advantages = advantages.masked_fill(mask == 0, 0)
    n, total = over_processes(torch.stack([mask.sum(), advantages.sum()]))
    centred = advantages - total/n
    squares = over_processes((centred**2*mask).sum())
    return centred*torch.rsqrt(squares/n + 1e-8)

# %% wrong check_whiten_over_processes: padding is multiplied by 0, and what stands there may be NaN
# padding is multiplied away, and NaN times 0 is NaN
def my_whiten_over(advantages, mask, over_processes):
    n = over_processes(mask.sum())
    mean = over_processes((advantages*mask).sum())/n
    centred = (advantages - mean)*mask
    variance = over_processes((centred**2).sum())/n
    return centred*torch.rsqrt(variance + 1e-8)

# %% wrong check_whiten_over_processes: it is divided by the variance, and not by its root
# divided by the variance
def my_whiten_over(advantages, mask, over_processes):
    advantages = advantages.masked_fill(mask == 0, 0)
    n, total = over_processes(torch.stack([mask.sum(), advantages.sum()]))
    centred = (advantages - total/n).masked_fill(mask == 0, 0)
    variance = over_processes((centred**2).sum())/n
    return centred/(variance + 1e-8)

# %% wrong check_whiten_over_processes: All processes have to ask equally often
# nothing to do without tokens
def my_whiten_over(advantages, mask, over_processes):
    if mask.sum() == 0:
        return torch.zeros_like(advantages)
    advantages = advantages.masked_fill(mask == 0, 0)
    n, total = over_processes(torch.stack([mask.sum(), advantages.sum()]))
    centred = (advantages - total/n).masked_fill(mask == 0, 0)
    variance = over_processes((centred**2).sum())/n
    return centred*torch.rsqrt(variance + 1e-8)

# %% wrong check_whiten_over_processes: the processes hand over tensors of different shapes
# adds up the whole tensors
def my_whiten_over(advantages, mask, over_processes):
    everything = over_processes(advantages.masked_fill(mask == 0, 0))
    n = over_processes(mask.sum())
    mean = everything.sum()/n
    centred = (advantages - mean).masked_fill(mask == 0, 0)
    variance = over_processes((centred**2).sum())/n
    return centred*torch.rsqrt(variance + 1e-8)

# %% wrong check_whiten_over_processes: the mean of the squares is taken for the variance
# the mean of the squares is taken for the variance
def my_whiten_over(advantages, mask, over_processes):
    advantages = advantages.masked_fill(mask == 0, 0)
    n, total, squares = over_processes(
        torch.stack([mask.sum(), advantages.sum(), (advantages**2).sum()]))
    centred = (advantages - total/n).masked_fill(mask == 0, 0)
    return centred*torch.rsqrt(squares/n + 1e-8)

# %% wrong check_whiten_over_processes: the sum of all is divided by the process's own number of
# sums of all, but the process's own number of tokens
def my_whiten_over(advantages, mask, over_processes):
    advantages = advantages.masked_fill(mask == 0, 0)
    n = mask.sum()
    mean = over_processes(advantages.sum())/n
    centred = (advantages - mean).masked_fill(mask == 0, 0)
    variance = over_processes((centred**2).sum())/n
    return centred*torch.rsqrt(variance + 1e-8)

# %% wrong check_whiten_over_processes: `advantages` is changed in place, and whoever called still
# the advantages are changed in place
def my_whiten_over(advantages, mask, over_processes):
    advantages[mask == 0] = 0
    n, total = over_processes(torch.stack([mask.sum(), advantages.sum()]))
    centred = (advantages - total/n).masked_fill(mask == 0, 0)
    variance = over_processes((centred**2).sum())/n
    return centred*torch.rsqrt(variance + 1e-8)

# %% wrong check_whiten_over_processes: the square of the sum is taken, and not the sum of the
# the square of the sum in place of the sum of squares
def my_whiten_over(advantages, mask, over_processes):
    advantages = advantages.masked_fill(mask == 0, 0)
    n, total = over_processes(torch.stack([mask.sum(), advantages.sum()]))
    centred = (advantages - total/n).masked_fill(mask == 0, 0)
    variance = over_processes(centred.sum())**2/n
    return centred*torch.rsqrt(variance + 1e-8)

# %% wrong check_whiten_over_processes: the small 1e-8 is missing, and so equal advantages end in
# no small number, so equal advantages give NaN
def my_whiten_over(advantages, mask, over_processes):
    advantages = advantages.masked_fill(mask == 0, 0)
    n, total = over_processes(torch.stack([mask.sum(), advantages.sum()]))
    centred = (advantages - total/n).masked_fill(mask == 0, 0)
    variance = over_processes((centred**2).sum())/n
    return centred/variance.sqrt()

# %% wrong check_whiten_over_processes: the standard deviations of the processes, each around its
# standard deviations are averaged
def my_whiten_over(advantages, mask, over_processes):
    advantages = advantages.masked_fill(mask == 0, 0)
    n, total = over_processes(torch.stack([mask.sum(), advantages.sum()]))
    centred = (advantages - total/n).masked_fill(mask == 0, 0)
    own = masked_mean((centred - masked_mean(centred, mask))**2, mask).sqrt()
    deviation = over_processes(own)/over_processes(torch.tensor(1.0))
    return centred/(deviation + 1e-8)

# %% wrong check_whiten_over_processes: the sum is divided by the number of rows, and not of tokens
# rows are counted, and not tokens
def my_whiten_over(advantages, mask, over_processes):
    advantages = advantages.masked_fill(mask == 0, 0)
    n = over_processes(torch.tensor(float(len(advantages))))
    mean = over_processes(advantages.sum())/n
    centred = (advantages - mean).masked_fill(mask == 0, 0)
    variance = over_processes((centred**2).sum())/n
    return centred*torch.rsqrt(variance + 1e-8)

# %% wrong check_whiten_over_processes: the variance is that of the process's own batch
# the mean of all is found, and only the own variance
def my_whiten_over(advantages, mask, over_processes):
    advantages = advantages.masked_fill(mask == 0, 0)
    mean = over_processes(advantages.sum())/over_processes(mask.sum())
    centred = (advantages - mean).masked_fill(mask == 0, 0)
    return centred*torch.rsqrt(masked_mean(centred**2, mask) + 1e-8)

# %% wrong check_whiten_over_processes: it divides by N - 1, and `whiten` of lesson 5 divides by N
# std shared
def my_whiten_over(advantages, mask, over_processes):
    x = advantages[mask.bool()]
    n = over_processes(torch.tensor(float(len(x))))
    mean = over_processes(x.sum())/n
    var = over_processes(((x - mean)**2).sum())/(n - 1)
    out = torch.zeros_like(advantages)
    out[mask.bool()] = (x - mean)/(var.sqrt() + 1e-8)
    return out

# %% wrong check_whiten_over_processes: nothing is scaled: the deviation does not divide
# only centred
def my_whiten_over(advantages, mask, over_processes):
    x = advantages.masked_fill(mask == 0, 0)
    n, total = over_processes(torch.stack([mask.sum(), x.sum()]))
    return (x - total/n).masked_fill(mask == 0, 0)

# %% wrong check_whiten_over_processes: the processes hand over tensors of different shapes
# row sums are exchanged
def my_whiten_over(advantages, mask, over_processes):
    x = advantages.masked_fill(mask == 0, 0)
    n = over_processes(mask.sum(1)).sum()
    mean = over_processes(x.sum(1)).sum()/n
    c = (x - mean).masked_fill(mask == 0, 0)
    return c*torch.rsqrt(over_processes((c**2).sum())/n + 1e-8)

# %% wrong check_whiten_over_processes: the mean comes off the mean of the squares
# mean not squared
def my_whiten_over(advantages, mask, over_processes):
    x = advantages.masked_fill(mask == 0, 0)
    n, total, squares = over_processes(torch.stack([mask.sum(), x.sum(), (x**2).sum()]))
    mean = total/n
    return ((x - mean)*torch.rsqrt(squares/n - mean + 1e-8)).masked_fill(mask == 0, 0)

# %% wrong check_whiten_over_processes: each process whitens its own batch
# nothing exchanged: sums returned by hand
def my_whiten_over(advantages, mask, over_processes):
    over_processes(mask.sum())
    return whiten(advantages, mask)

# %% wrong check_whiten_over_processes: even a process alone is not whitened as lesson 5 does
# gather all advantages flattened
def my_whiten_over(advantages, mask, over_processes):
    everything = over_processes(advantages[mask.bool()])
    mean, std = everything.mean(), everything.std()
    return ((advantages - mean)/std).masked_fill(mask == 0, 0)

# %% wrong check_whiten_over_processes: a process without tokens hands over the mean of nothing
# own local mean through mean(), empty gives NaN
def my_whiten_over(advantages, mask, over_processes):
    real = advantages[mask.bool()]
    stats = over_processes(torch.stack([real.mean()*len(real), torch.tensor(float(len(real)))]))
    mean = stats[0]/stats[1]
    c = (advantages - mean).masked_fill(mask == 0, 0)
    return c*torch.rsqrt(over_processes((c**2).sum())/stats[1] + 1e-8)

# %% wrong check_whiten_over_processes: each process whitens its own batch
# averaged over the batches whitened twice
def my_whiten_over(advantages, mask, over_processes):
    x = whiten(advantages, mask)
    n, total = over_processes(torch.stack([mask.sum(), x.sum()]))
    c = (x - total/n).masked_fill(mask == 0, 0)
    return c*torch.rsqrt(over_processes((c**2).sum())/n + 1e-8)

# %% right check_whiten_over_processes
# three sums at once, in float64
def my_whiten_over(advantages, mask, over_processes):
    x = advantages.double().masked_fill(mask == 0, 0)
    n, total, squares = over_processes(torch.stack([mask.double().sum(), x.sum(), (x*x).sum()]))
    mean = total/n
    variance = (squares/n - mean**2).clamp(min=0)
    return ((x - mean)/(variance + 1e-8).sqrt()).masked_fill(mask == 0, 0)

# %% right check_whiten_over_processes
# only the real tokens, written back where they were; Python numbers are handed over
def my_whiten_over(advantages, mask, over_processes):
    real = advantages[mask.bool()]
    n = float(over_processes(len(real)))
    mean = float(over_processes(real.sum().item()))/n
    variance = float(over_processes(((real - mean)**2).sum().item()))/n
    out = torch.zeros_like(advantages)
    out[mask.bool()] = (real - mean)/math.sqrt(variance + 1e-8)
    return out

# %% right check_whiten_over_processes
# within and between processes, as an analysis of variance has it
def my_whiten_over(advantages, mask, over_processes):
    n, own = mask.sum(), masked_mean(advantages, mask)
    all_n, total = over_processes(torch.stack([n, n*own]))
    mean = total/all_n
    within = n*masked_mean((advantages - own)**2, mask)
    between = n*(own - mean)**2
    variance = over_processes(within + between)/all_n
    return torch.where(mask > 0, (advantages - mean)/torch.sqrt(variance + 1e-8), 0)

# %% right check_whiten_over_processes
# sums of each row, a loop, NumPy out
def my_whiten_over(advantages, mask, over_processes):
    values = [x for row, real in zip(advantages.tolist(), mask.tolist())
              for x, m in zip(row, real) if m]
    sums = over_processes(torch.tensor([len(values), math.fsum(values)], dtype=torch.float64))
    mean = (sums[1]/sums[0]).item()
    squares = math.fsum((x - mean)**2 for x in values)
    variance = over_processes(torch.tensor([squares], dtype=torch.float64)).item()/sums[0].item()
    out = (advantages.double().numpy() - mean)/math.sqrt(variance + 1e-8)
    return np.where(mask.numpy() > 0, out, 0.0)

# %% right check_whiten_over_processes
# float32 moments in one go
def my_whiten_over(advantages, mask, over_processes):
    x = advantages.masked_fill(mask == 0, 0)
    n, total, squares = over_processes(torch.stack([mask.sum(), x.sum(), (x**2).sum()]))
    mean = total/n
    return ((x - mean)*torch.rsqrt(squares/n - mean**2 + 1e-8)).masked_fill(mask == 0, 0)

# %% right check_whiten_over_processes
# NumPy arrays are handed over
def my_whiten_over(advantages, mask, over_processes):
    real = advantages.numpy()[mask.numpy() > 0].astype('float64')
    n = over_processes(np.array([len(real)]))
    mean = (over_processes(np.array([real.sum()]))/n).numpy()
    var = (over_processes(np.array([((real - mean)**2).sum()]))/n).numpy()
    out = np.zeros(advantages.shape)
    out[mask.numpy() > 0] = (real - mean)/np.sqrt(var + 1e-8)
    return out

# %% wrong check_bytes_of_training: Adam's averages are counted for all weights
# Adam's averages for all weights
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    policy = weights*weight_bytes + 4*trained + 8*weights
    return policy/processes + frozen_models*weights*frozen_bytes

# %% wrong check_bytes_of_training: gradients are counted for all weights, and only trained ones
# gradients and averages for all weights
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    policy = weights*(weight_bytes + 4 + 8)
    return policy/processes + frozen_models*weights*frozen_bytes

# %% wrong check_bytes_of_training: a gradient and two averages, 4 bytes each, and one of these is
# one average
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    policy = weights*weight_bytes + trained*(4 + 4)
    return policy/processes + frozen_models*weights*frozen_bytes

# %% wrong check_bytes_of_training: gradients are as wide as the weights, and float32 takes 4 bytes
# gradients as wide as the weights
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    gradients = trained*weight_bytes
    averages = 2*4*trained
    return (weights*weight_bytes + gradients + averages)/processes + (
        frozen_models*weights*frozen_bytes)

# %% wrong check_bytes_of_training: Adam's averages are as wide as the weights, and float32 takes
# all as wide as the weights
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    return (weights + 3*trained)*weight_bytes/processes + frozen_models*weights*frozen_bytes

# %% wrong check_bytes_of_training: the frozen models are forgotten
# frozen models are forgotten
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    return (weights*weight_bytes + 12*trained)/processes

# %% wrong check_bytes_of_training: the frozen models are shared out too, and each process holds
# everything is shared out
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    total = weights*weight_bytes + 12*trained + frozen_models*weights*frozen_bytes
    return total/processes

# %% wrong check_bytes_of_training: nothing is shared out among the processes
# nothing is shared out
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    return weights*weight_bytes + 12*trained + frozen_models*weights*frozen_bytes

# %% wrong check_bytes_of_training: only Adam's averages are shared out
# only Adam's averages are shared out
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    whole = weights*weight_bytes + 4*trained + frozen_models*weights*frozen_bytes
    return whole + 8*trained/processes

# %% wrong check_bytes_of_training: only gradients and averages are shared out
# gradients and averages are shared out, the weights are not
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    whole = weights*weight_bytes + frozen_models*weights*frozen_bytes
    return whole + 12*trained/processes

# %% wrong check_bytes_of_training: the frozen models are counted with `weight_bytes`
# frozen models as wide as the policy
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    policy = (weights*weight_bytes + 12*trained)/processes
    return policy + frozen_models*weights*weight_bytes

# %% wrong check_bytes_of_training: one frozen model is counted, however many there are
# one frozen model, however many there are
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    return (weights*weight_bytes + 12*trained)/processes + weights*frozen_bytes

# %% wrong check_bytes_of_training: the trained weights are counted twice
# trained weights are held once more
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    policy = (weights + trained)*weight_bytes + 12*trained
    return policy/processes + frozen_models*weights*frozen_bytes

# %% wrong check_bytes_of_training: that are not trained have the width of the frozen models
# frozen weights of the policy are held in the width of the frozen models
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    policy = trained*(weight_bytes + 12) + (weights - trained)*frozen_bytes
    return policy/processes + frozen_models*weights*frozen_bytes

# %% wrong check_bytes_of_training: a gradient and two averages, 4 bytes each, and one of these is
# gradients are forgotten
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    policy = weights*weight_bytes + 2*4*trained
    return policy/processes + frozen_models*weights*frozen_bytes

# %% wrong check_bytes_of_training: this is what all processes hold together
# what all processes hold together
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    policy = weights*weight_bytes + 12*trained
    return policy + processes*frozen_models*weights*frozen_bytes

# %% wrong check_bytes_of_training: a copy of the trained weights in float32 is counted
# a master copy in float32 too
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    policy = weights*weight_bytes + 16*trained
    return policy/processes + frozen_models*weights*frozen_bytes

# %% wrong check_bytes_of_training: of the policy only the trained weights are held
# frozen weights are left out of the policy
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    policy = trained*(weight_bytes + 12)
    return policy/processes + frozen_models*weights*frozen_bytes

# %% wrong check_bytes_of_training: this is the number of GB, and bytes are asked for
# in GB
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    policy = weights*weight_bytes + 12*trained
    return (policy/processes + frozen_models*weights*frozen_bytes)/1e9

# %% wrong check_bytes_of_training: the frozen models are shared out too, and each process holds
# Adam for all weights, and frozen models are shared out as well
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    total = weights*weight_bytes + 4*trained + 8*weights + frozen_models*weights*frozen_bytes
    return total/processes

# %% wrong check_bytes_of_training: this is the number of GiB, and bytes are asked for
# GiB
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    own = (weights*weight_bytes + 12*trained)/processes
    return (own + frozen_models*weights*frozen_bytes)/2**30

# %% wrong check_bytes_of_training: the policy is counted once more among the frozen models
# frozen models + policy as copies
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    return (weights*weight_bytes + 12*trained)/processes + (frozen_models + 1)*weights*frozen_bytes

# %% wrong check_bytes_of_training: a copy of the trained weights in float32 is counted
# three averages
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    return (weights*weight_bytes + trained*(4 + 12))/processes + frozen_models*weights*frozen_bytes

# %% wrong check_bytes_of_training: a number in float32 is counted with 32 bytes: these are its bits
# float32 as 32
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    return (weights*weight_bytes + 3*32*trained)/processes + frozen_models*weights*frozen_bytes

# %% wrong check_bytes_of_training: a number in float32 is counted with 8 bytes
# 64-bit
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    return (weights*weight_bytes + 3*8*trained)/processes + frozen_models*weights*frozen_bytes

# %% wrong check_bytes_of_training: these are 16 bytes for each weight
# whole policy not shared, per weight 16
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    return 16*weights/processes + frozen_models*weights*frozen_bytes

# %% wrong check_bytes_of_training: of the policy only what is trained is shared out
# trained part only shared
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    still = (weights - trained)*weight_bytes
    return still + trained*(weight_bytes + 12)/processes + frozen_models*weights*frozen_bytes

# %% right check_bytes_of_training
# a tensor of parts
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    parts = torch.tensor([weights*weight_bytes, trained*4, trained*4, trained*4],
                         dtype=torch.float64)
    return (parts/processes).sum() + frozen_bytes*weights*frozen_models

# %% right check_bytes_of_training
# model after model, in whole bytes
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    per_process = -(-(weights*weight_bytes + trained*12)//processes)
    for _ in range(frozen_models):
        per_process += weights*frozen_bytes
    return int(per_process)

# %% right check_bytes_of_training
# the width of float32 is asked of PyTorch
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    each = torch.float32.itemsize
    share = Counter(weights=weight_bytes*weights/processes, gradients=each*trained/processes)
    for average in ('first', 'second'):
        share[average] = each*trained/processes
    return sum(share.values()) + np.float64(frozen_models*weights*frozen_bytes)

# %% right check_bytes_of_training
# trained and frozen weights of the policy apart
def my_bytes(weights, trained, weight_bytes, frozen_models, frozen_bytes, processes):
    learned = trained*(weight_bytes + 12)
    still = (weights - trained)*weight_bytes
    return (learned + still + processes*frozen_models*weights*frozen_bytes)/processes

# %% wrong check_sampling_limit: the factor 2 is missing
# one operation for each weight
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    reading = weights*weight_bytes/bandwidth
    smallest = math.ceil(reading/(weights/peak))
    return smallest, B/max(reading, B*weights/peak)

# %% wrong check_sampling_limit: the bytes of a weight are forgotten
# a weight is taken for one byte
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    reading = weights/bandwidth
    a_row = 2*weights/peak
    return math.ceil(reading/a_row), B/max(reading, B*a_row)

# %% wrong check_sampling_limit: the batch size is rounded down, and there reading still takes
# rounded down
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    reading = weights*weight_bytes/bandwidth
    a_row = 2*weights/peak
    return int(reading/a_row), B/max(reading, B*a_row)

# %% wrong check_sampling_limit: the batch size is rounded to the nearest
# rounded to the nearest
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    reading = weights*weight_bytes/bandwidth
    a_row = 2*weights/peak
    return round(reading/a_row), B/max(reading, B*a_row)

# %% wrong check_sampling_limit: the batch size is rounded down and 1 is added
# rounded down, and one more
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    reading = weights*weight_bytes/bandwidth
    a_row = 2*weights/peak
    return int(reading/a_row) + 1, B/max(reading, B*a_row)

# %% wrong check_sampling_limit: the batch size is not rounded, and a whole one is asked for
# no rounding
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    reading = weights*weight_bytes/bandwidth
    a_row = 2*weights/peak
    return reading/a_row, B/max(reading, B*a_row)

# %% wrong check_sampling_limit: these are steps a second, and each step gives B tokens
# steps a second
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    reading = weights*weight_bytes/bandwidth
    a_row = 2*weights/peak
    return math.ceil(reading/a_row), 1/max(reading, B*a_row)

# %% wrong check_sampling_limit: the two times are added, and they go on at the same time
# one after the other
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    reading = weights*weight_bytes/bandwidth
    a_row = 2*weights/peak
    return math.ceil(reading/a_row), B/(reading + B*a_row)

# %% wrong check_sampling_limit: the shorter of the two times is taken
# the faster of the two
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    reading = weights*weight_bytes/bandwidth
    a_row = 2*weights/peak
    return math.ceil(reading/a_row), B/min(reading, B*a_row)

# %% wrong check_sampling_limit: the weights are read anew for each row
# weights are read for each row
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    reading = weights*weight_bytes/bandwidth
    a_row = 2*weights/peak
    return math.ceil(reading/a_row), B/max(B*reading, B*a_row)

# %% wrong check_sampling_limit: the operations of one row are counted, and there are B rows
# operations of one row only
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    reading = weights*weight_bytes/bandwidth
    a_row = 2*weights/peak
    return math.ceil(reading/a_row), B/max(reading, a_row)

# %% wrong check_sampling_limit: only reading is counted
# always limited by the memory
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    smallest = math.ceil(peak*weight_bytes/(2*bandwidth))
    return smallest, B*bandwidth/(weights*weight_bytes)

# %% wrong check_sampling_limit: only operations are counted, as at the smallest batch size
# always limited by operations
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    smallest = math.ceil(peak*weight_bytes/(2*bandwidth))
    return smallest, peak/(2*weights)

# %% wrong check_sampling_limit: only operations are counted, as at the smallest batch size
# at the smallest batch size, whatever B is
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    smallest = math.ceil(peak*weight_bytes/(2*bandwidth))
    return smallest, smallest/max(weights*weight_bytes/bandwidth, smallest*2*weights/peak)

# %% wrong check_sampling_limit: the batch size is upside down
# upside down
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    reading = weights*weight_bytes/bandwidth
    a_row = 2*weights/peak
    return math.ceil(a_row/reading), B/max(reading, B*a_row)

# %% wrong check_sampling_limit: these are the seconds of a step
# seconds of a step
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    reading = weights*weight_bytes/bandwidth
    a_row = 2*weights/peak
    return math.ceil(reading/a_row), max(reading, B*a_row)

# %% wrong check_sampling_limit: a weight is counted with 2 bytes, whatever was handed over
# two bytes for each weight, out of habit
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    smallest = math.ceil(peak/bandwidth)
    return smallest, B/max(2*weights/bandwidth, 2*weights*B/peak)

# %% wrong check_sampling_limit: a weight is counted in bits, and bandwidth in bytes
# bits
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    reading = 8*weights*weight_bytes/bandwidth
    a_row = 2*weights/peak
    return math.ceil(reading/a_row), B/max(reading, B*a_row)

# %% wrong check_sampling_limit: the two are swapped: first the batch size
# other way round
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    reading = weights*weight_bytes/bandwidth
    a_row = 2*weights/peak
    return B/max(reading, B*a_row), math.ceil(reading/a_row)

# %% wrong check_sampling_limit: only the batch size comes back
# the batch size alone
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    return math.ceil(weight_bytes*peak/(2*bandwidth))

# %% wrong check_sampling_limit: the two times are added, and they go on at the same time
# times added in both
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    r, o = weights*weight_bytes/bandwidth, 2*weights/peak
    return math.ceil(r/o), B/(r + o*B)

# %% wrong check_sampling_limit: in the tokens a second the factor 2 is missing
# factor two in the first only
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    r, o = weights*weight_bytes/bandwidth, 2*weights/peak
    return math.ceil(r/o), B/max(r, B*weights/peak)

# %% wrong check_sampling_limit: its rows are divided by the time of reading
# B of at least the smallest
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    r, o = weights*weight_bytes/bandwidth, 2*weights/peak
    s = math.ceil(r/o)
    return s, B/r if B < s else s/r

# %% wrong check_sampling_limit: the batch size must not depend on B
# depends on B
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    r, o = weights*weight_bytes/bandwidth, 2*weights*B/peak
    return math.ceil(r/o), B/max(r, o)

# %% wrong check_sampling_limit: operations are counted for each row
# the weights forgotten in operations
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    r, o = weights*weight_bytes/bandwidth, 2/peak
    return math.ceil(r/o), B/max(r, o*B)

# %% wrong check_sampling_limit: the weights are read anew for each row
# reading grows with B in both
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    r, o = B*weights*weight_bytes/bandwidth, 2*weights*B/peak
    return math.ceil(r/o), B/max(r, o)

# %% wrong check_sampling_limit: in the batch size the bytes of a weight are forgotten
# operations per weight byte
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    return math.ceil(peak/(2*bandwidth)), B/max(weights*weight_bytes/bandwidth, 2*weights*B/peak)

# %% right check_sampling_limit
# a search from 1 on
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    def seconds_of(rows):
        return weights*weight_bytes/bandwidth, 2*weights*rows/peak
    smallest = 1
    while seconds_of(smallest)[1] < seconds_of(smallest)[0]:
        smallest += 1
    return smallest, B/max(seconds_of(B))

# %% right check_sampling_limit
# the weights cancel; two rates, of which the smaller one holds
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    smallest = math.ceil(weight_bytes*peak/bandwidth/2)
    return smallest, min(B*bandwidth/weight_bytes, peak/2)/weights

# %% right check_sampling_limit
# tensors
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    reading, operations = torch.tensor(
        [weights*weight_bytes/bandwidth, 2*weights/peak], dtype=torch.float64)
    return torch.stack([(reading/operations).ceil(), B/torch.maximum(reading, operations*B)])

# %% right check_sampling_limit
# whole division upwards
def my_sampling(B, weights, weight_bytes, peak, bandwidth):
    smallest = -(-peak*weight_bytes//(2*bandwidth))
    if B < smallest:
        return smallest, B*bandwidth/(weights*weight_bytes)
    return smallest, peak/(2*weights)

# %% wrong check_old_loss: the clip looks at new/sampler, as in PPO
# PPO with a weight besides
def my_old_loss(new, start, sampler, advantages, mask, cap):
    ratio = (new - sampler).masked_fill(mask == 0, 0).exp()
    w = (start - sampler).masked_fill(mask == 0, 0).exp().detach().clamp(max=cap)
    A = advantages.masked_fill(mask == 0, 0)
    return -(w*torch.min(ratio*A, ratio.clamp(0.8, 1.2)*A)).sum()/mask.sum()

# %% wrong check_old_loss: the importance weight is upside down
# sampler over start
def my_old_loss(new, start, sampler, advantages, mask, cap):
    ratio = (new - start.detach()).masked_fill(mask == 0, 0).exp()
    w = (sampler - start).masked_fill(mask == 0, 0).exp().detach().clamp(max=cap)
    A = advantages.masked_fill(mask == 0, 0)
    return -(w*torch.min(ratio*A, ratio.clamp(0.8, 1.2)*A)).sum()/mask.sum()

# %% wrong check_old_loss: the importance weight is new/sampler
# the weight moves with the update
def my_old_loss(new, start, sampler, advantages, mask, cap):
    ratio = (new - start.detach()).masked_fill(mask == 0, 0).exp()
    w = (new - sampler).masked_fill(mask == 0, 0).exp().detach().clamp(max=cap)
    A = advantages.masked_fill(mask == 0, 0)
    return -(w*torch.min(ratio*A, ratio.clamp(0.8, 1.2)*A)).sum()/mask.sum()

# %% wrong check_old_loss: there is no importance weight
# cap=None of the lesson
def my_old_loss(new, start, sampler, advantages, mask, cap):
    ratio = (new - start.detach()).masked_fill(mask == 0, 0).exp()
    w = (0*new).masked_fill(mask == 0, 0).exp().detach().clamp(max=cap)
    A = advantages.masked_fill(mask == 0, 0)
    return -(w*torch.min(ratio*A, ratio.clamp(0.8, 1.2)*A)).sum()/mask.sum()

# %% wrong check_old_loss: the importance weight is not cut off
# the cap is forgotten
def my_old_loss(new, start, sampler, advantages, mask, cap):
    ratio = (new - start.detach()).masked_fill(mask == 0, 0).exp()
    w = (start - sampler).masked_fill(mask == 0, 0).exp().detach()
    A = advantages.masked_fill(mask == 0, 0)
    return -(w*torch.min(ratio*A, ratio.clamp(0.8, 1.2)*A)).sum()/mask.sum()

# %% wrong check_old_loss: the importance weight is cut off at 0.8 and 1.2
# one clip for both
def my_old_loss(new, start, sampler, advantages, mask, cap):
    ratio = (new - start.detach()).masked_fill(mask == 0, 0).exp()
    w = (start - sampler).masked_fill(mask == 0, 0).exp().detach().clamp(0.8, 1.2)
    A = advantages.masked_fill(mask == 0, 0)
    return -(w*torch.min(ratio*A, ratio.clamp(0.8, 1.2)*A)).sum()/mask.sum()

# %% wrong check_old_loss: the importance weight is inside of the clip
# one ratio again, clipped as a whole
def my_old_loss(new, start, sampler, advantages, mask, cap):
    ratio = (new - start.detach()).masked_fill(mask == 0, 0).exp()
    w = (start - sampler).masked_fill(mask == 0, 0).exp().detach().clamp(max=cap)
    A = advantages.masked_fill(mask == 0, 0)
    return -torch.min(w*ratio*A, (w*ratio).clamp(0.8, 1.2)*A).sum()/mask.sum()

# %% wrong check_old_loss: the importance weight stands at ρ alone
# a bracket is missing
def my_old_loss(new, start, sampler, advantages, mask, cap):
    ratio = (new - start.detach()).masked_fill(mask == 0, 0).exp()
    w = (start - sampler).masked_fill(mask == 0, 0).exp().detach().clamp(max=cap)
    A = advantages.masked_fill(mask == 0, 0)
    return -torch.min(w*ratio*A, ratio.clamp(0.8, 1.2)*A).sum()/mask.sum()

# %% wrong check_old_loss: the minimum is that of the ratios
# the clip as it is often written down first
def my_old_loss(new, start, sampler, advantages, mask, cap):
    ratio = (new - start.detach()).masked_fill(mask == 0, 0).exp()
    w = (start - sampler).masked_fill(mask == 0, 0).exp().detach().clamp(max=cap)
    A = advantages.masked_fill(mask == 0, 0)
    return -(w*torch.min(ratio, ratio.clamp(0.8, 1.2))*A).sum()/mask.sum()

# %% wrong check_old_loss: the sign is missing
# a gain
def my_old_loss(new, start, sampler, advantages, mask, cap):
    ratio = (new - start.detach()).masked_fill(mask == 0, 0).exp()
    w = (start - sampler).masked_fill(mask == 0, 0).exp().detach().clamp(max=cap)
    A = advantages.masked_fill(mask == 0, 0)
    return (w*torch.min(ratio*A, ratio.clamp(0.8, 1.2)*A)).sum()/mask.sum()

# %% wrong check_old_loss: padding is counted in the mean
# the mean of the whole rectangle
def my_old_loss(new, start, sampler, advantages, mask, cap):
    ratio = (new - start.detach()).masked_fill(mask == 0, 0).exp()
    w = (start - sampler).masked_fill(mask == 0, 0).exp().detach().clamp(max=cap)
    A = advantages.masked_fill(mask == 0, 0)
    return -(w*torch.min(ratio*A, ratio.clamp(0.8, 1.2)*A)).mean()

# %% wrong check_old_loss: the sum is divided by the sum of the weights
# weights that sum to one
def my_old_loss(new, start, sampler, advantages, mask, cap):
    ratio = (new - start.detach()).masked_fill(mask == 0, 0).exp()
    w = (start - sampler).masked_fill(mask == 0, 0).exp().detach().clamp(max=cap)
    A = advantages.masked_fill(mask == 0, 0)
    return -(w*torch.min(ratio*A, ratio.clamp(0.8, 1.2)*A)).sum()/(w*mask).sum()

# %% wrong check_old_loss: each row is averaged by itself
# rows weigh the same
def my_old_loss(new, start, sampler, advantages, mask, cap):
    ratio = (new - start.detach()).masked_fill(mask == 0, 0).exp()
    w = (start - sampler).masked_fill(mask == 0, 0).exp().detach().clamp(max=cap)
    A = advantages.masked_fill(mask == 0, 0)
    rows = -(w*torch.min(ratio*A, ratio.clamp(0.8, 1.2)*A)).sum(1)/mask.sum(1).clamp(min=1)
    return rows[mask.sum(1) > 0].mean()

# %% wrong check_old_loss: the number is right, but a gradient reaches `start`
# the weight is no constant
def my_old_loss(new, start, sampler, advantages, mask, cap):
    ratio = (new - start.detach()).masked_fill(mask == 0, 0).exp()
    w = (start - sampler).masked_fill(mask == 0, 0).exp().clamp(max=cap)
    A = advantages.masked_fill(mask == 0, 0)
    return -(w*torch.min(ratio*A, ratio.clamp(0.8, 1.2)*A)).sum()/mask.sum()

# %% wrong check_old_loss: padding is multiplied by 0
# the mask comes last
def my_old_loss(new, start, sampler, advantages, mask, cap):
    ratio = (new - start.detach()).exp()
    w = (start - sampler).exp().detach().clamp(max=cap)
    gain = torch.min(ratio*advantages, ratio.clamp(0.8, 1.2)*advantages)
    return -(w*gain*mask).sum()/mask.sum()

# %% right check_old_loss
# only the real tokens are taken out
def my_old_loss(new, start, sampler, advantages, mask, cap):
    real = mask.bool()
    new, start, sampler = new[real], start[real].detach(), sampler[real].detach()
    ratio, w = torch.exp(new - start), torch.exp(start - sampler)
    A = advantages[real]
    losses = torch.max(-ratio*A, -torch.clip(ratio, 0.8, 1.2)*A)
    return (torch.minimum(w, torch.tensor(cap))*losses).mean()

# %% right check_old_loss
# the weight multiplies the advantage, as the trainer of the lesson does it
def my_old_loss(new, start, sampler, advantages, mask, cap):
    with torch.no_grad():
        w = (start - sampler).where(mask == 1, torch.zeros_like(start)).exp().clamp(max=cap)
        A = torch.where(mask == 1, w*advantages, torch.zeros_like(advantages))
    ratio = (new - start.detach()).masked_fill(mask == 0, 0.0).exp()
    gain = torch.where(A > 0, ratio.clamp(max=1.2)*A, ratio.clamp(min=0.8)*A)
    return -gain.sum()/mask.sum()

# %% right check_old_loss
# token by token
def my_old_loss(new, start, sampler, advantages, mask, cap):
    total, n = 0, 0
    for row in range(len(mask)):
        for t in range(mask.shape[1]):
            if mask[row, t]:
                ratio = torch.exp(new[row, t] - start[row, t].detach())
                w = min(torch.exp(start[row, t] - sampler[row, t]).item(), cap)
                A = advantages[row, t].item()
                total = total - w*min(ratio*A, ratio.clamp(0.8, 1.2)*A)
                n += 1
    return total/n

# %% wrong check_old_loss: padding is filled after the arithmetic
# masked_fill at the end: the gradient is NaN
def my_old_loss(new, start, sampler, advantages, mask, cap):
    ratio = (new - start.detach()).exp()
    w = (start - sampler).detach().exp().clamp(max=cap)
    gain = w*torch.min(ratio*advantages, ratio.clamp(0.8, 1.2)*advantages)
    return -gain.masked_fill(mask == 0, 0).sum()/mask.sum()

# %% wrong check_old_loss: a bound is set on the loss where A is negative
# dual clip
def my_old_loss(new, start, sampler, advantages, mask, cap):
    ratio = (new - start.detach()).masked_fill(mask == 0, 0).exp()
    w = (start - sampler).masked_fill(mask == 0, 0).exp().detach().clamp(max=cap)
    A = advantages.masked_fill(mask == 0, 0)
    gain = torch.min(ratio*A, ratio.clamp(0.8, 1.2)*A)
    gain = torch.where(A < 0, torch.max(gain, 3*A), gain)
    return -(w*gain).sum()/mask.sum()

# %% wrong check_old_loss: each row is averaged by itself, and then all rows
# rows weigh the same, the empty ones too
def my_old_loss(new, start, sampler, advantages, mask, cap):
    ratio = (new - start.detach()).masked_fill(mask == 0, 0).exp()
    w = (start - sampler).masked_fill(mask == 0, 0).exp().detach().clamp(max=cap)
    A = advantages.masked_fill(mask == 0, 0)
    gain = torch.min(ratio*A, ratio.clamp(0.8, 1.2)*A)
    return -((w*gain).sum(1)/mask.sum(1).clamp(min=1)).mean()

# %% wrong check_old_loss: log-probs are divided
# quotients of log-probs
def my_old_loss(new, start, sampler, advantages, mask, cap):
    real = mask.bool()
    new, start, sampler, A = new[real], start[real].detach(), sampler[real], advantages[real]
    ratio, w = new/start, (start/sampler).clamp(max=cap)
    return -(w*torch.min(ratio*A, ratio.clamp(0.8, 1.2)*A)).mean()

# %% right check_old_loss
# float64 inside, and only start is detached
def my_old_loss(new, start, sampler, advantages, mask, cap):
    m = mask.bool()
    n, s, q, A = new[m].double(), start[m].detach().double(), sampler[m].double(), advantages[m]
    rho, w = (n - s).exp(), (s - q).exp().clamp(max=cap)
    return (-(w*torch.min(rho*A, rho.clamp(0.8, 1.2)*A)).sum()/m.sum()).float()

# %% wrong check_prefix_weights: each ratio is cut off, and then they are multiplied; the product is
# truncates the lesson's weights, and multiplies them
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.exp().clamp(max=cap)  # as the lesson's function
    weights = weights.cumprod(1).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: each ratio is cut off, and then the product once more
# truncates twice
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    ratios = log_ratios.exp().clamp(max=cap)
    weights = ratios.cumprod(1).clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: the product is cut off on the way, and the next ratio multiplies
# a running product, truncated at each step
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    running, columns = torch.ones(len(mask)), []
    for t in range(mask.shape[1]):
        running = (running.log() + log_ratios[:, t]).exp().clamp(max=cap)
        columns.append(running)
    weights = torch.stack(columns, 1).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: a gradient flows through the weights
# a gradient flows
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: a gradient flows through the weights
# only the sampler's log-probs are detached
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs.detach()).masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share.detach()

# %% wrong check_prefix_weights: a gradient flows through the effective share
# the weights are cut off, the share is not
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights.detach(), share

# %% wrong check_prefix_weights: a gradient flows through the effective share
# a list of shares with a gradient
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(max=cap).masked_fill(mask == 0, 1)
    share = []
    for t in range(mask.shape[1]):
        w = weights[mask[:, t] == 1, t]
        share.append(w.sum()**2/(w**2).sum()/len(w) if len(w) else torch.tensor(0.0))
    return weights.detach(), share

# %% wrong check_prefix_weights: it is the wrong way round: the learner stands above
# sampler over learner
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (sampler_logprobs - logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: the product ends before token t
# without the token itself
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    before = log_ratios.cumsum(1) - log_ratios
    weights = before.exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: the product ends before token t
# moved by one, 1 for the first
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    before = torch.zeros_like(log_ratios)
    before[:, 1:] = log_ratios.cumsum(1)[:, :-1]
    weights = before.exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: every token has the product over its whole response
# one weight for a row
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    total = log_ratios.sum(1, keepdim=True).expand_as(log_ratios)
    weights = total.exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: the product runs from token t to the end
# the sum runs the other way, like rewards to go
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    rest = log_ratios.flip(1).cumsum(1).flip(1)
    weights = rest.exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: a weight is the ratio of its token alone
# the lesson's weights
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: ratios are added up, and they are to be multiplied
# a sum of ratios
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.exp().cumsum(1).clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: this is the mean of the ratios up to token t
# a mean of ratios
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    n = torch.arange(mask.shape[1]) + 1
    weights = (log_ratios.exp().cumsum(1)/n).clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: log-ratios are averaged up to token t: this is a root
# a geometric mean
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    n = mask.cumsum(1).clamp(min=1)
    weights = (log_ratios.cumsum(1)/n).exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: the product runs down the rows
# the other axis
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(0).exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: only the token before is taken in
# pairs
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    pairs = log_ratios.clone()
    pairs[:, 1:] += log_ratios[:, :-1]
    weights = pairs.exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: one of them is too large or too small for float32: add log-ratios
# exp, then the product
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.exp().cumprod(1).clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: one of them is too large or too small for float32
# exp, then a product of slices
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights, ratios = torch.ones(mask.shape), log_ratios.exp()
    for t in range(mask.shape[1]):
        weights[:, t] = ratios[:, :t + 1].prod(1).clamp(max=cap)
    weights = weights.masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: probabilities are divided, and they are 0 in float32
# probabilities first
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    ratios = (logprobs.detach().exp()/sampler_logprobs.exp()).masked_fill(mask == 0, 1)
    weights = ratios.cumprod(1).clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: the probability of all tokens so far is 0 in float32
# the probability of each prefix first
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    new = logprobs.detach().cumsum(1).exp()
    old = sampler_logprobs.cumsum(1).exp()
    weights = (new/old).clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: the exponential is missing
# no exponential
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: the logarithm is cut off at `cap`
# the logarithm is truncated
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).clamp(max=cap).exp().masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: cut off on both sides
# both sides
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(1/cap, cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: it is cut off from below
# at least cap
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(min=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: a weight above `cap` becomes 0
# too large a weight becomes 0
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp()
    weights = torch.where(weights > cap, 0, weights).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: the cap is 2, whatever was handed over
# at most 2, whatever is asked
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(max=2.0).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: nothing is cut off
# no cap
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: padding keeps the product of its row
# padding is set to 0 too early, and never to 1
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(max=cap)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: padding is 0, and 1 is asked for
# padding is 0
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = (log_ratios.cumsum(1).exp().clamp(max=cap))*mask
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: padding is multiplied by 0, and NaN times 0 is NaN
# padding is multiplied away
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach()*mask
    weights = log_ratios.cumsum(1).exp().clamp(max=cap)
    real, rows = weights.masked_fill(mask == 0, 0), mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: on padding NaN becomes 1 and other numbers stay
# NaN becomes 1, other padding stays
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_products = (logprobs - sampler_logprobs).detach().cumsum(1)
    weights = log_products.exp().clamp(max=cap).nan_to_num(1.0)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: for the share padding is multiplied by 0, and NaN times 0
# a share with NaN
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    w = (logprobs - sampler_logprobs).detach().cumsum(1).exp().clamp(max=cap)
    real, rows = w*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return w.masked_fill(mask == 0, 1), share

# %% wrong check_prefix_weights: over all tokens together, and one for each place
# one share
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real = weights[mask == 1]
    return weights, real.sum()**2/(real**2).sum()/len(real)

# %% wrong check_prefix_weights: the share is taken over all tokens together
# one share, by the lesson's function
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real = weights[mask.bool()]
    size = (real.sum()**2/(real**2).sum()).item()
    return weights, size/real.numel()

# %% wrong check_prefix_weights: the share is taken along each response
# a share for each row
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real = weights*mask
    share = real.sum(1)**2/(real**2).sum(1)/mask.sum(1)
    return weights, share

# %% wrong check_prefix_weights: the share takes in all places up to t
# the share of all up to here
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real = weights*mask
    above = real.sum(0).cumsum(0)**2
    below = (real**2).sum(0).cumsum(0)*mask.sum(0).cumsum(0)
    return weights, above/below

# %% wrong check_prefix_weights: padding is counted in the share
# padding counts as rows of weight 1
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(max=cap).masked_fill(mask == 0, 1)
    share = weights.sum(0)**2/(weights**2).sum(0)/len(weights)
    return weights, share

# %% wrong check_prefix_weights: divided by the number of all rows
# divided by B
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real = weights*mask
    share = real.sum(0)**2/(real**2).sum(0)/len(mask)
    return weights, share.nan_to_num(0)

# %% wrong check_prefix_weights: not its share: it is not divided by n
# the effective number
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real = weights*mask
    return weights, (real.sum(0)**2/(real**2).sum(0)).nan_to_num(0)

# %% wrong check_prefix_weights: where no row has a token the share is NaN
# NaN where no row has a token
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real = weights*mask
    share = real.sum(0)**2/(real**2).sum(0)/mask.sum(0)
    return weights, share

# %% wrong check_prefix_weights: places without a token are left out
# the last places are left out
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = real.sum(0)**2/(real**2).sum(0)/rows
    return weights, share[rows > 0]

# %% wrong check_prefix_weights: the share is that of the weights before they are cut off
# the share of the products
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    products = log_ratios.cumsum(1).exp()
    real, rows = products.masked_fill(mask == 0, 0), mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return products.clamp(max=cap).masked_fill(mask == 0, 1), share

# %% wrong check_prefix_weights: the share is that of the single ratios
# the share of the lesson's weights
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = log_ratios.exp().clamp(max=cap)*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: the sum above is not squared
# the square is forgotten
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = real.sum(0)/(real**2).sum(0)/rows
    return weights, share.nan_to_num(0)

# %% wrong check_prefix_weights: `logprobs` is changed in place
# in place
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = logprobs.detach()
    log_ratios -= sampler_logprobs
    log_ratios[mask == 0] = 0
    weights = log_ratios.cumsum(1).exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: the two are swapped
# share first
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(max=cap).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return share, weights

# %% wrong check_prefix_weights: two things are asked for
# only weights
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(max=cap).masked_fill(mask == 0, 1)
    return weights

# %% wrong check_prefix_weights: which was not asked for
# weights that average to 1 at each place
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.cumsum(1).exp().clamp(max=cap)*mask
    weights = (weights/(weights.sum(0)/mask.sum(0))).masked_fill(mask == 0, 1)
    real, rows = weights*mask, mask.sum(0)
    share = (real.sum(0)**2/(real**2).sum(0)/rows).masked_fill(rows == 0, 0)
    return weights, share

# %% wrong check_prefix_weights: Besides: padding is counted in the share
# each ratio truncated, and padding counted
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.clamp(max=math.log(cap)).cumsum(1).exp().masked_fill(mask == 0, 1)
    return weights, weights.sum(0)**2/(weights**2).sum(0)/len(weights)

# %% wrong check_prefix_weights: Besides: the share is taken over all tokens together
# by token, one share: as in the lesson
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = log_ratios.exp().clamp(max=cap)
    real = weights[mask == 1]
    return weights, real.sum()**2/(real**2).sum()/len(real)

# %% right check_prefix_weights
# the logarithm cut at log cap; padding is mended at the end
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    with torch.no_grad():
        log_products = (logprobs - sampler_logprobs).cumsum(1).clamp(max=math.log(cap))
        weights = torch.where(mask > 0, log_products.exp(), 1)
        rows = mask.sum(0)
        share = (weights*mask).sum(0)**2/(weights**2*mask).sum(0)/rows
    return weights, torch.where(rows > 0, share, 0)

# %% right check_prefix_weights
# token by token, a list of shares
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    B, R = mask.shape
    weights, share = torch.ones(B, R), []
    for b in range(B):
        log_product = 0.0
        for t in range(int(mask[b].sum())):
            log_product += logprobs[b, t].item() - sampler_logprobs[b, t].item()
            weights[b, t] = min(math.exp(log_product), cap)
    for t in range(R):
        w = [weights[b, t].item() for b in range(B) if mask[b, t]]
        share.append(sum(w)**2/sum(x*x for x in w)/len(w) if w else 0)
    return weights, share

# %% right check_prefix_weights
# products in float64, which holds e^119; the share from mean and variance
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    real = mask.bool()
    ratios = (logprobs.detach().double() - sampler_logprobs.double()).exp()
    products = torch.where(real, ratios, 1).cumprod(1)
    weights = torch.where(real, products.clamp_max(cap), 1)
    share = torch.zeros(mask.shape[1], dtype=torch.float64)
    for t in range(mask.shape[1]):
        w = weights[real[:, t], t]
        if len(w):
            share[t] = 1/(1 + w.var(unbiased=False)/w.mean()**2)
    return weights, share

# %% right check_prefix_weights
# NumPy, and a list of both
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    learner, sampler = logprobs.detach().numpy(), sampler_logprobs.detach().numpy()
    real = mask.numpy() > 0
    log_ratios = np.subtract(learner, sampler, where=real, out=np.zeros(real.shape))
    weights = np.where(real, np.minimum(np.exp(log_ratios.cumsum(1)), cap), 1)
    w, n = weights*real, real.sum(0)
    share = w.sum(0)**2/np.maximum((w**2).sum(0)*n, 1e-30)
    return [weights, share]

# %% right check_prefix_weights
# a matrix of ones below the diagonal adds up; the mask as floats
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    real = mask.float()
    R = real.shape[1]
    log_ratios = torch.where(real == 1, logprobs.detach() - sampler_logprobs, 0)
    weights = (log_ratios @ torch.ones(R, R).triu()).exp().clamp(max=cap)
    weights = real*weights + 1 - real
    first, second = (real*weights).sum(0), (real*weights*weights).sum(0)
    return weights, (first*first/second/real.sum(0)).nan_to_num(0.0)

# %% right check_prefix_weights
# both are added up, and then subtracted
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    log_products = logprobs.detach().cumsum(1) - sampler_logprobs.cumsum(1)
    weights = log_products.masked_fill(mask == 0, 0).exp().clamp(max=cap)
    w = weights.masked_fill(mask == 0, 0)
    share = w.norm(p=1, dim=0)**2/w.norm(p=2, dim=0)**2/mask.sum(0)
    return weights, torch.nan_to_num(share)

# %% wrong check_whiten_over_processes: means and variances of the processes are averaged
def my_whiten_over(advantages, mask, over_processes):
    real = advantages[mask.bool()]
    processes = over_processes(torch.tensor(1.0))
    mean = over_processes(real.mean())/processes
    variance = over_processes(real.var(correction=0))/processes
    return ((advantages - mean)*(variance + 1e-8).rsqrt()).masked_fill(mask == 0, 0)

# %% wrong check_whiten_over_processes: means and variances of the processes are averaged
def my_whiten_over(advantages, mask, over_processes):
    real = advantages[mask.bool()]
    processes = over_processes(torch.tensor(1.0))
    mean, variance = over_processes(torch.stack([real.mean(), real.var()]))/processes
    return ((advantages - mean)*(variance + 1e-8).rsqrt()).masked_fill(mask == 0, 0)

# %% right check_whiten_over_processes
def my_whiten_over(advantages, mask, over_processes):
    real = advantages.masked_fill(mask == 0, 0)
    count = over_processes(mask.sum())
    mean = over_processes(real.sum())/count
    variance = over_processes(((real - mean)**2*mask).sum())/count
    return (real - mean)*mask/(variance.sqrt() + 1e-8)

# %% wrong check_prefix_weights: what comes after it is in it too
def my_prefix_weights(logprobs, sampler_logprobs, mask, cap):
    ratios = (logprobs - sampler_logprobs).detach().masked_fill(mask == 0, 0)
    weights = ratios.sum(1, keepdim=True).exp().clamp(max=cap).expand_as(logprobs)
    weights = weights.masked_fill(mask == 0, 1)
    real, n = weights*mask, mask.sum(0)
    share = real.sum(0)**2/(real**2).sum(0)/n
    return weights, torch.where(n > 0, share, 0)

# %% wrong ask_six_logs: run A is not `rounding`: rounding leaves a gap that is small
answer = ('rounding', 'old responses', 'whitening', 'temperature', 'means', 'old weights')

# %% wrong ask_six_logs: run A is not `old weights`: a sampler that gets no new weights falls further
answer = ('old weights', 'old responses', 'whitening', 'rounding', 'means', 'temperature')

# %% wrong ask_six_logs: run B is not `old weights`
answer = ('temperature', 'old weights', 'whitening', 'rounding', 'means', 'old responses')

# %% wrong ask_six_logs: run C is not `means`: a mean of the two mean losses makes another gradient
answer = ('temperature', 'old responses', 'means', 'rounding', 'whitening', 'old weights')

# %% wrong ask_six_logs: run D is not `temperature`
answer = ('temperature', 'old responses', 'whitening', 'temperature', 'means', 'old weights')

# %% wrong ask_six_logs: run F is not `rounding`: rounding leaves a gap that is small and stays
answer = ('temperature', 'old responses', 'whitening', 'rounding', 'means', 'rounding')

# %% wrong ask_six_logs: run E is not `whitening`: where each process whitens by itself
answer = ('temperature', 'old responses', 'whitening', 'rounding', 'whitening', 'old weights')

# %% wrong ask_six_logs: run B: `clipping` is none of
answer = ('temperature', 'clipping', 'whitening', 'rounding', 'means', 'old weights')

# %% wrong ask_six_logs: run A: write its name in quotes
answer = (1, 2, 3, 4, 5, 6)

# %% wrong ask_six_logs: run F has no answer yet
answer = ('temperature', 'old responses', 'whitening', 'rounding', 'means')

# %% wrong ask_six_logs: write its name in quotes
rounding = object()
answer = ('temperature', 'old responses', 'whitening', rounding, 'means', 'old weights')

# %% wrong ask_six_logs: dots
answer = ('temperature', 'old responses', 'whitening', 'rounding', 'means', ...)

# %% right ask_six_logs
answer = ('temperature', 'old responses', 'whitening', 'rounding', 'means', 'old weights')

# %% right ask_six_logs
answer = ('Temperature', 'old_responses', ' whitening ', 'ROUNDING', 'Means.', '`old-weights`')

# %% right ask_six_logs
answer = (['temperature', 'old responses', 'whitening', 'rounding', 'means', 'old weights'],)

# %% right ask_six_logs
faults = {'A': 'temperature', 'D': 'rounding', 'F': 'old weights', 'B': 'old responses'}
faults |= {'C': 'whitening', 'E': 'means'}
answer = tuple(faults[run] for run in 'ABCDEF')
