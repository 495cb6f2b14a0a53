"""TRL's PPO on a workload of bench.py: `python trl_ppo.py FOLDER RESULT SETTINGS`, in the
environment of requirements-ppo.txt."""
import json
import os
import sys
import tempfile
from types import SimpleNamespace

from common import ScalarModel, Stopwatch, load_policy, load_workload, trl_settings
from datasets import Dataset
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer


def make_config(s, out):
    B, endless = s['batch_size'], s['endless']
    return PPOConfig(
        per_device_train_batch_size=B,
        local_rollout_forward_batch_size=B,
        total_episodes=B*s['updates'],
        num_ppo_epochs=s['epochs'],
        num_mini_batches=s['minibatches'],
        response_length=s['response_length'],
        stop_token=None if endless else 'eos',
        missing_eos_penalty=None if endless else 1.0,
        kl_coef=s['beta'],
        gamma=1.0,
        lam=0.95,
        cliprange=0.2,
        cliprange_value=0.2,
        vf_coef=0.1,
        num_sample_generations=0,
        **trl_settings(s, out))


def make_trainer(folder, s, out):
    attention = s['attention']
    policy, tokenizer, reward_model, prompts = load_workload(folder, s['seed'], attention)
    reference = load_policy(folder, attention)
    value_model = ScalarModel(f'{folder}/sft', attention)
    if s['endless']:
        policy.config.eos_token_id = None
        policy.generation_config.eos_token_id = None
    rows = Dataset.from_list([{'input_ids': ids} for ids in prompts])
    return PPOTrainer(make_config(s, out), tokenizer, policy, reference, reward_model, rows,
                      value_model)


def mark_learning(watch):
    "The first shuffle of an update is where learning begins."
    permutation = ppo_trainer.np.random.permutation

    def marked(n):
        watch.phases.setdefault('learning began', watch.now())
        return permutation(n)

    ppo_trainer.np = SimpleNamespace(random=SimpleNamespace(permutation=marked))


def watch_phases(trainer, watch):
    "Generation is timed, learning ends with the log of an update, scoring is what lies between."
    ppo_trainer.batch_generation = watch.timed(
        'generate', ppo_trainer.batch_generation, lambda result: result[0].cpu())
    trainer.optimizer.step = watch.counted(trainer.optimizer.step)
    mark_learning(watch)

    def log(logs, *_, **__):
        train = watch.now() - watch.phases.pop('learning began')
        score = watch.now() - watch.last - train - watch.phases['generate']
        watch.phases |= {'train': train, 'score': score}
        watch.update_done(score_mean=logs['objective/scores'], kl=logs['objective/kl'])

    trainer.log = log


def main(folder, result, settings):
    s = json.loads(settings)
    if s['bf16']:
        # bf16=True in PPOConfig alone changes nothing: the trainer's own Accelerator is not told
        os.environ['ACCELERATE_MIXED_PRECISION'] = 'bf16'
    watch = Stopwatch(s['device'])
    with tempfile.TemporaryDirectory() as out:
        trainer = make_trainer(folder, s, out)
        watch_phases(trainer, watch)
        watch.start()
        trainer.train()
    watch.write(result, s)


if __name__ == '__main__':
    main(*sys.argv[1:])
