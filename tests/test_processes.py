"""Several processes do what one does: the same steps on the same rows, and they end together.

The processes are forked from the server of `warm.py` and talk through gloo."""
import os
from contextlib import ExitStack, nullcontext
from unittest import mock

import pandas as pd
import pytest
import torch
from conftest import free_port
from tiny import TEXTS, tiny_gpt2, tiny_tokenizer
from warm import fork

from rlhf_nbdev import reward, sft
from rlhf_nbdev.tools import processes


def in_process(number, n, port, function, folder):
    "What each fork does."
    torch.set_num_threads(1)
    if n > 1:
        os.environ.update(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE=str(n),
                          MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    processes.start_processes()
    assert processes.n_processes() == n
    torch.save(function(), folder/f'{number}.pt')


def together(function, folder, n=2):
    "What the function gives in each of n processes."
    folder = folder/f'{function.__name__}-{n}'
    folder.mkdir()
    port = free_port()
    forks = [fork(in_process, number, n, port, function, folder) for number in range(n)]
    for process in forks:
        process.join(120)
    assert [process.exitcode for process in forks] == [0]*n
    return [torch.load(folder/f'{number}.pt') for number in range(n)]


def largest_gap(before, after):
    "Over all weights of two state dicts."
    assert before.keys() == after.keys()
    return max((before[name] - after[name]).abs().max().item() for name in before)


def talk():
    "One of everything that processes say to each other."
    number = processes.process_number()
    rows = torch.arange(3*number + 1.0).view(-1, 1).requires_grad_()  # 1 row, 4, 7 …
    of_all = processes.from_all(rows)
    (of_all**2).sum().backward()
    lone = torch.nn.Parameter(torch.ones(2))
    (lone*(number + 1)).sum().backward()
    processes.add_up_gradients([lone])
    return {
        'sum': processes.over_processes(torch.tensor([number, 1])),
        'rows': of_all.detach(),
        'gradient': rows.grad,
        'bools': processes.from_all(torch.tensor([number > 0])),
        'lone': lone.grad,
        'said': processes.same_everywhere(f'by {number}'),
        'seed': processes.own_seed(0),
        'asked': processes.ask_in_parts(torch.neg, torch.arange(2)),
    }


def test_sums_rows_and_what_the_main_one_says(tmp_path):
    answers = together(talk, tmp_path, 3)
    rows = torch.cat([torch.arange(length) for length in (1, 4, 7)])
    for number, said in enumerate(answers):
        assert said['sum'].tolist() == [3, 3]
        assert said['rows'].flatten().tolist() == rows.tolist()
        assert said['gradient'].flatten().tolist() == [2*i for i in range(3*number + 1)]
        assert said['bools'].tolist() == [False, True, True]
        assert said['lone'].tolist() == [6, 6]
        assert said['said'] == 'by 0'
        assert said['asked'].tolist() == [0, -1]  # one process has no row
    assert len({said['seed'] for said in answers}) == 3


def sgd(parameters, lr, **others):
    "Steps as long as the gradient: those of AdamW would hide a gradient that is too long."
    return torch.optim.SGD(parameters, lr)


def plainly(module):
    "Nothing is rounded to 16 bits, steps are as long as gradients, and these are not clipped."
    stack = ExitStack()
    stack.enter_context(mock.patch.object(module, 'autocast', lambda device: nullcontext()))
    stack.enter_context(mock.patch('torch.optim.AdamW', sgd))
    stack.enter_context(mock.patch('torch.nn.utils.clip_grad_norm_'))
    return stack


def fine_tuned():
    "A model after one epoch: five batches of four sentences, and a last one of one."
    tokenizer = tiny_tokenizer()
    model = tiny_gpt2(vocab=len(tokenizer), eos=tokenizer.eos_token_id)
    sentences = [f'{text} {i % 3*"So it is. "}' for i, text in enumerate([*TEXTS, *TEXTS][:21])]
    train = sft.Demonstrations(tokenizer, sentences, 4, 44)
    held_out = sft.Demonstrations(tokenizer, sentences[:5], 4, 44)
    torch.manual_seed(0)
    with plainly(sft):
        history = sft.train_sft(model, train, held_out, batch_size=4, learning_rate=0.1)
    return model.state_dict(), history, len(train)


@pytest.mark.parametrize('n', [2, 3])
def test_step_one_of_several_is_that_of_one(tmp_path, n):
    [(alone, history, rows)] = together(fine_tuned, tmp_path, 1)
    assert rows == 21 and len(history) > 3
    for weights, their_history, _ in together(fine_tuned, tmp_path, n):
        assert largest_gap(alone, weights) < 2e-6
        for row, theirs in zip(history, their_history, strict=True):
            assert theirs == pytest.approx(row, rel=1e-5, nan_ok=True)


def reward_data(tokenizer, kind):
    "Nine sentences with ratings, or eleven comparisons: batches that do not divide."
    rng = torch.Generator().manual_seed(0)
    if kind == 'rated':
        ratings = [torch.randint(-4, 5, (5,), generator=rng).tolist() for _ in TEXTS[:9]]
        table = pd.DataFrame({'text': TEXTS[:9], 'ratings': ratings})
        return reward.RatedSentences(tokenizer, table)
    rows = [{'prompt': '', 'chosen': TEXTS[i % 4], 'rejected': TEXTS[(i + 1) % 3]}
            for i in range(11)]
    return reward.PreferenceDataset(tokenizer, rows)


def rewarded(kind):
    "A reward model after two epochs of batches of four."
    tokenizer = tiny_tokenizer()
    model = tiny_gpt2(vocab=len(tokenizer), eos=tokenizer.eos_token_id)
    reward_model = reward.RewardModel(model)
    torch.nn.init.normal_(reward_model.head.weight)
    data = reward_data(tokenizer, kind)
    with plainly(reward):
        history = reward.train_reward_model(reward_model, data, 4, 1e-3, epochs=2)
    return reward_model.state_dict(), history


def by_ratings():
    return rewarded('rated')


def by_comparisons():
    return rewarded('compared')


@pytest.mark.parametrize('n', [2, 3])
@pytest.mark.parametrize('learn', [by_ratings, by_comparisons])
def test_step_two_of_several_is_that_of_one(tmp_path, learn, n):
    [(alone, history)] = together(learn, tmp_path, 1)
    assert history[0] != history[-1]
    for weights, their_history in together(learn, tmp_path, n):
        assert largest_gap(alone, weights) < 2e-6
        for row, theirs in zip(history, their_history, strict=True):
            assert theirs == pytest.approx(row, rel=1e-4)
