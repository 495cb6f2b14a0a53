"""Kill a run at random moments, also while it saves, take it up again, and compare the ends.

For a process of its own, single-threaded, so that it can fork: prints what happened as JSON. Its
argument is how many times to kill."""
import copy
import json
import mmap
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from tiny import tiny_gpt2
from torch.utils.data import DataLoader

from rlhf_nbdev.agent import Agent
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.run import checkpoint, command

torch.set_num_threads(1)
MODEL = tiny_gpt2(width=64, context=16)
PROMPTS = [{'input_ids': row, 'attention_mask': torch.ones_like(row)}
           for row in torch.randint(2, 64, (48, 5))]
CONFIG = RLHFConfig(
    batch_size=16, response_length=8, updates=8, epochs=2, learning_rate=3e-3, temperature=1.0,
    missing_eos_penalty=0.0, beta=0.01, target_kl=0.5, kl_horizon=64)
SAVING = mmap.mmap(-1, 1)  # shared with the children: 1 while a checkpoint is written


def even_share(tokens, mask):
    "The reward: the share of even tokens in the response."
    return ((tokens % 2 == 0)*mask)[:, 5:].sum(1)/mask[:, 5:].sum(1)


def noted(save):
    "Let the parent know when a checkpoint is being written."
    def wrapped(*args, **kwargs):
        SAVING[0] = 1
        save(*args, **kwargs)
        SAVING[0] = 0
    return wrapped


def run(folder):
    "Begin the run, or take it up where its last checkpoint is."
    trainer = RLHFTrainer(Agent(copy.deepcopy(MODEL)), copy.deepcopy(MODEL), CONFIG)
    path = folder/'checkpoint.safetensors'
    torch.manual_seed(1)
    if path.exists():
        torch.manual_seed(random.randrange(2**31))
    else:
        command.save_checkpoint(path, trainer, 0)
    order = torch.Generator().manual_seed(0)
    loader = DataLoader(PROMPTS, 16, shuffle=True, generator=order)
    state = checkpoint.load_checkpoint(path, trainer)
    command.run_ppo(trainer, loader, even_share, folder, state, save_every=1)


def result(folder):
    "The fingerprint of the last checkpoint, and the rows of metrics without their seconds."
    tensors, numbers = checkpoint.read_checkpoint(folder/'checkpoint.safetensors')
    without_rows = json.dumps(numbers | {'rows': ''})  # whose digest counts the seconds too
    lines = (folder/'metrics.jsonl').read_text().splitlines()
    rows = [{name: x for name, x in json.loads(line).items() if name != 'seconds'}
            for line in lines]
    return checkpoint.fingerprint(tensors, without_rows), rows


def start(folder):
    "Run in a child; its process id."
    child = os.fork()
    if child:
        return child
    try:
        run(folder)
    except BaseException as error:
        print(repr(error), file=sys.stderr)
        os._exit(1)
    os._exit(0)


def has_ended(child):
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def wait(child, seconds, for_a_save=False):
    "At most so long; a child that has ended is not waited for."
    until = time.perf_counter() + seconds
    while time.perf_counter() < until and not has_ended(child):
        if for_a_save and SAVING[0]:
            return
        time.sleep(0.0002)


def kill_at_random(child, rng, took):
    "Half of the kills are aimed at a save."
    wait(child, rng.uniform(0, took/2))
    if rng.random() < 0.5:
        wait(child, took, for_a_save=True)
    os.kill(child, signal.SIGKILL)


def whole_run():
    "What a run that nobody touches comes to, and the seconds it takes."
    folder = Path(tempfile.mkdtemp())
    began = time.perf_counter()
    run(folder)
    took = time.perf_counter() - began
    plt.close('all')
    end = result(folder)
    shutil.rmtree(folder)
    return end, took


def count_end(folder, status, counts, whole):
    "What became of a child: it was killed, or came to its end."
    path = folder/'checkpoint.safetensors'
    if os.WIFSIGNALED(status):
        counts['kills'] += 1
        counts['while saving'] += SAVING[0]
        try:
            if path.exists():
                checkpoint.read_checkpoint(path)
        except ValueError:
            counts['checkpoints that could not be read'] += 1
        return
    assert status == 0, 'a run that was taken up failed'
    counts['runs that came to their end'] += 1
    counts['ends that differ'] += result(folder) != whole
    shutil.rmtree(folder)
    folder.mkdir()


def main():
    kills = int(sys.argv[1])
    plt.switch_backend('agg')
    command.save_checkpoint = noted(command.save_checkpoint)
    command.draw_curves = lambda rows: plt.figure()  # which takes longer than the run
    whole, took = whole_run()
    rng, folder = random.Random(0), Path(tempfile.mkdtemp())
    kills_of_this_run = 0
    counts = {'kills': 0, 'while saving': 0, 'runs that came to their end': 0,
              'checkpoints that could not be read': 0, 'ends that differ': 0,
              'updates of a run': CONFIG.updates}
    while counts['kills'] < kills or (folder/'checkpoint.safetensors').exists():
        SAVING[0] = 0
        child = start(folder)
        # on a busy machine a run would be killed for ever: after ten times it may come to its end
        if counts['kills'] < kills and kills_of_this_run < 10:
            kill_at_random(child, rng, took)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            kills_of_this_run += 1
        else:
            kills_of_this_run = 0
            took *= 0.7  # measured in a slow moment, it would let most runs come to their end
        count_end(folder, status, counts, whole)
    shutil.rmtree(folder)
    print(json.dumps(counts))
