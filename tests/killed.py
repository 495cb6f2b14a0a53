"""Kill a run at random moments, also while it saves, take it up again, and hold the end against a run that nobody touched.

A script of its own, single-threaded, so that it can fork: prints what happened as JSON. `python tests/killed.py 50`"""
import copy, json, mmap, os, random, shutil, signal, sys, tempfile, time
from pathlib import Path
os.environ |= {'OMP_NUM_THREADS': '1', 'TQDM_DISABLE': '1', 'MPLBACKEND': 'Agg'}
import matplotlib.pyplot as plt, torch
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2LMHeadModel
from rlhf_nbdev import checkpoint, train
from rlhf_nbdev.agent import Agent
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer

torch.set_num_threads(1)
torch.manual_seed(0)
MODEL = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=64, n_layer=2, n_head=2, n_positions=16, bos_token_id=0, eos_token_id=0, pad_token_id=1)).eval()
PROMPTS = [{'input_ids': row, 'attention_mask': torch.ones_like(row)} for row in torch.randint(2, 64, (48, 5))]
CONFIG = RLHFConfig(batch_size=16, response_length=8, updates=8, epochs=2, learning_rate=3e-3, temperature=1.0, missing_eos_penalty=0.0, beta=0.01, target_kl=0.5, kl_horizon=64)
SAVING = mmap.mmap(-1, 1)  # shared with the children: 1 while a checkpoint is written


def even(tokens, mask): return ((tokens % 2 == 0)*mask)[:, 5:].sum(1)/mask[:, 5:].sum(1)


def marked(save):
    def wrapped(*args, **kwargs):
        SAVING[0] = 1
        save(*args, **kwargs)
        SAVING[0] = 0
    return wrapped


def run(folder):
    "Begin the run, or take it up where its last checkpoint is."
    trainer, path = RLHFTrainer(Agent(copy.deepcopy(MODEL)), copy.deepcopy(MODEL), CONFIG), folder/'checkpoint.safetensors'
    torch.manual_seed(1)
    if not path.exists(): train.save_checkpoint(path, trainer, 0)
    else: torch.manual_seed(random.randrange(2**31))
    train.run_ppo(trainer, DataLoader(PROMPTS, 16, shuffle=True, generator=torch.Generator().manual_seed(0)), even, folder, checkpoint.load_checkpoint(path, trainer), save_every=1)


def result(folder):
    tensors, numbers = checkpoint.read_checkpoint(folder/'checkpoint.safetensors')
    rows = [{name: x for name, x in json.loads(line).items() if name != 'seconds'} for line in open(folder/'metrics.jsonl')]
    return checkpoint.fingerprint(tensors, json.dumps(numbers | {'rows': ''})), rows  # the digest of the rows as they stand, seconds included, is another each time


def main(kills):
    train.save_checkpoint, rng = marked(train.save_checkpoint), random.Random(0)
    train.draw_curves = lambda rows: plt.figure()  # the picture at the end takes longer than the run
    folders = [Path(tempfile.mkdtemp()) for _ in range(2)]
    began = time.perf_counter()
    run(folders[0])
    whole, took, folder = result(folders[0]), time.perf_counter() - began, folders[1]
    plt.close('all')
    counts = {'kills': 0, 'while saving': 0, 'runs that came to their end': 0, 'checkpoints that could not be read': 0, 'ends that differ': 0, 'updates of a run': CONFIG.updates}
    while counts['kills'] < kills or (folder/'checkpoint.safetensors').exists():
        SAVING[0] = 0
        if not (child := os.fork()):
            try: run(folder)
            except BaseException as error: print(repr(error), file=sys.stderr); os._exit(1)
            os._exit(0)
        if counts['kills'] < kills:
            time.sleep(rng.uniform(0, took/2))
            if rng.random() < 0.5:  # half of the kills are aimed at a save
                until = time.perf_counter() + took
                while not SAVING[0] and time.perf_counter() < until: time.sleep(0.0002)
            os.kill(child, signal.SIGKILL)
        saving, status = SAVING[0], os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            counts['kills'] += 1
            counts['while saving'] += saving
            if (folder/'checkpoint.safetensors').exists():
                try: checkpoint.read_checkpoint(folder/'checkpoint.safetensors')
                except ValueError: counts['checkpoints that could not be read'] += 1
        else:
            assert status == 0, 'a run that was taken up failed'
            counts['runs that came to their end'] += 1
            counts['ends that differ'] += result(folder) != whole
            shutil.rmtree(folder); folder.mkdir()
    for folder in folders: shutil.rmtree(folder)
    print(json.dumps(counts))


if __name__ == '__main__': main(int(sys.argv[1]))
