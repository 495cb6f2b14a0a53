"TRL's PPO on a workload of bench.py: `python trl_ppo.py FOLDER RESULT SETTINGS`, in the environment of requirements-trl.txt."
import json, os, resource, sys, tempfile, time
os.environ |= {'HF_HUB_OFFLINE': '1', 'TRL_EXPERIMENTAL_SILENCE': '1'}
import torch, torch.nn as nn, transformers
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, set_seed
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer


class ScalarModel(nn.Module):
    "What TRL asks of a value or reward model: a trunk under the name in `base_model_prefix`, and a head called score."
    base_model_prefix = 'trunk'
    def __init__(self, trunk, head=None):
        super().__init__()
        self.trunk, self.score = trunk, nn.Linear(trunk.config.hidden_size, 1)
        with torch.no_grad():  # a value head starts at 0, as ours; a reward head takes its scale in
            self.score.weight.copy_(head['head.weight']/head['std'] if head else torch.zeros(()))
            self.score.bias.copy_((head['head.bias'] - head['mean'])/head['std'] if head else torch.zeros(()))


def timed(module, name, times, key, keep=None):
    "Put a stopwatch around a module's function."
    function = getattr(module, name)
    def wrapper(*args, **kwargs):
        times[key].append(synchronized())
        result = function(*args, **kwargs)
        times[key].append(synchronized())
        if keep is not None: keep.append(result[0].cpu())
        return result
    setattr(module, name, wrapper)


def synchronized():
    if torch.cuda.is_available(): torch.cuda.synchronize()
    return time.perf_counter()


def main(folder, result, settings):
    s = json.loads(settings)
    cuda = s['device'] == 'cuda'
    set_seed(s['seed'])
    policy, reference = (AutoModelForCausalLM.from_pretrained(f'{folder}/sft', dtype=torch.float32) for _ in range(2))
    tokenizer = AutoTokenizer.from_pretrained(f'{folder}/sft', padding_side='left')
    value_model = ScalarModel(AutoModel.from_pretrained(f'{folder}/sft', dtype=torch.float32))
    reward_model = ScalarModel(AutoModel.from_pretrained(f'{folder}/reward_model', dtype=torch.float32), load_file(f'{folder}/reward_model/reward_head.safetensors'))
    prompts = load_file(f'{folder}/prompts.safetensors')
    rows = [{'input_ids': ids[mask.bool()].tolist()} for ids, mask in zip(prompts['input_ids'], prompts['attention_mask'])]
    if s['endless']: policy.generation_config.eos_token_id = policy.config.eos_token_id = None
    times, tokens, steps = {'generate': [], 'score': [], 'step': [], 'log': []}, [], []
    with tempfile.TemporaryDirectory() as out:
        args = PPOConfig(output_dir=out, response_length=s['response_length'], per_device_train_batch_size=s['batch_size'], gradient_accumulation_steps=1, num_mini_batches=s['minibatches'],
                         total_episodes=s['batch_size']*s['updates'], num_sample_generations=0, weight_decay=0.0, gradient_checkpointing=False, bf16=s['bf16'], use_cpu=not cuda,
                         local_rollout_forward_batch_size=s['batch_size'], report_to='none', save_strategy='no', logging_strategy='no', disable_tqdm=True, seed=s['seed'], stop_token=None if s['endless'] else 'eos',
                         kl_coef=s['beta'], gamma=1.0, lam=0.95, cliprange=0.2, cliprange_value=0.2, vf_coef=0.1, temperature=s['temperature'], learning_rate=s['learning_rate'],
                         adam_epsilon=1e-5, num_ppo_epochs=s['epochs'], missing_eos_penalty=None if s['endless'] else 1.0)
        trainer = PPOTrainer(args, tokenizer, policy, reference, reward_model, Dataset.from_list(rows), value_model)
        print({k: getattr(args, k) for k in ('batch_size', 'local_batch_size', 'mini_batch_size', 'local_mini_batch_size', 'per_device_train_batch_size', 'num_total_batches')}, file=sys.stderr)
        timed(ppo_trainer, 'batch_generation', times, 'generate', tokens)
        optimizer_step = trainer.optimizer.step
        trainer.optimizer.step = lambda *a, **k: (optimizer_step(*a, **k), times['step'].append(synchronized()))[0]
        trainer.log = lambda logs, *a, **k: times['log'].append((synchronized(), logs))
        began = synchronized()
        trainer.train()
    print(len(times['generate']), len(times['step']), file=sys.stderr)
    for t,l in times['log'][-1:]: print(l, file=sys.stderr)
    g = times['generate']; L=[t for t,_ in times['log']]
    starts=[began]+L[:-1]
    import statistics
    print('generate', statistics.median(b-a for a,b in zip(g[::2], g[1::2])), 'update', statistics.median(b-a for a,b in zip(starts[1:],L[1:])), 'samples/s', s['batch_size']/statistics.median(b-a for a,b in zip(starts[1:],L[1:])), 'rss', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024)
    print('scores', [round(l['objective/scores'],2) for _,l in times['log']], [round(l['objective/kl'],2) for _,l in times['log']])


if __name__ == '__main__': main(*sys.argv[1:])
