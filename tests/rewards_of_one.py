"Rewards for `--reward` that go wrong in one of two processes, after a dozen calls."
from itertools import count

from rlhf_nbdev.tools.processes import process_number

CALLS = count(1)


def lengths(prompts, responses):
    return [len(response)/10 for response in responses]


def not_finite(prompts, responses):
    if next(CALLS) > 12 and process_number() == 1:
        return [float('nan')]*len(responses)
    return lengths(prompts, responses)


def failing(prompts, responses):
    if next(CALLS) > 12 and process_number() == 1:
        raise OSError('the server of rewards is gone')
    return lengths(prompts, responses)
