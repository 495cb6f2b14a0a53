"""Save a checkpoint, then another where it cannot be; say what that said, and what is there after.

For a process of its own, whose arguments are a folder and `limit` (files may not grow past 100,000
bytes) or how many bytes of the disk are taken."""
import copy
import resource
import sys
from pathlib import Path

from tiny import tiny_gpt2

from rlhf_nbdev.agent import Agent
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.run.checkpoint import load_checkpoint, save_checkpoint


def main():
    folder, how = Path(sys.argv[1]), sys.argv[2]
    path = folder/'checkpoint.safetensors'
    model = tiny_gpt2(width=64, context=16, pad=None)
    config = RLHFConfig(prompt_length=4, response_length=6)
    trainer = RLHFTrainer(Agent(model), copy.deepcopy(model), config)
    save_checkpoint(path, trainer, 1)
    if how == 'limit':
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    else:
        (folder/'filler').write_bytes(bytes(int(how)))
    try:
        save_checkpoint(path, trainer, 2)
    except OSError as error:
        print(error)
    numbers = load_checkpoint(path, trainer)
    print('update', numbers['update'], sorted(path.name for path in folder.iterdir()))
