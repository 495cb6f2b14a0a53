"TRL's PPO on a workload of bench.py: `python trl_ppo.py FOLDER RESULT SETTINGS`, in the environment of requirements-ppo.txt."
import json, os, sys, tempfile
from common import ScalarModel, Stopwatch, load_workload
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer


def main(folder, result, settings):
    s = json.loads(settings)
    if s['bf16']: os.environ['ACCELERATE_MIXED_PRECISION'] = 'bf16'  # PPOConfig's bf16=True alone changes nothing: the trainer's own Accelerator is not told
    policy, tokenizer, reward_model, prompts = load_workload(folder, s['seed'], s['attention'])
    reference, value_model = AutoModelForCausalLM.from_pretrained(f'{folder}/sft', dtype=torch.float32, attn_implementation=s['attention']), ScalarModel(f'{folder}/sft', s['attention'])
    if s['endless']: policy.generation_config.eos_token_id = policy.config.eos_token_id = None
    watch = Stopwatch(s['device'])
    with tempfile.TemporaryDirectory() as out:
        args = PPOConfig(output_dir=out, response_length=s['response_length'], per_device_train_batch_size=s['batch_size'], gradient_accumulation_steps=1, num_mini_batches=s['minibatches'],
                         num_ppo_epochs=s['epochs'], total_episodes=s['batch_size']*s['updates'], local_rollout_forward_batch_size=s['batch_size'], num_sample_generations=0, weight_decay=0.0,
                         gradient_checkpointing=False, bf16=s['bf16'], use_cpu=s['device'] == 'cpu', report_to='none', save_strategy='no', logging_strategy='no', disable_tqdm=True, seed=s['seed'],
                         stop_token=None if s['endless'] else 'eos', missing_eos_penalty=None if s['endless'] else 1.0, temperature=s['temperature'], kl_coef=s['beta'],
                         learning_rate=s['learning_rate'], adam_epsilon=1e-5, gamma=1.0, lam=0.95, cliprange=0.2, cliprange_value=0.2, vf_coef=0.1)
        trainer = PPOTrainer(args, tokenizer, policy, reference, reward_model, Dataset.from_list([{'input_ids': ids} for ids in prompts]), value_model)
        ppo_trainer.batch_generation = watch.timed('generate', ppo_trainer.batch_generation, keep=lambda result: result[0].cpu())
        trainer.optimizer.step = watch.counted(trainer.optimizer.step)
        permutation = ppo_trainer.np.random.permutation
        class Random:  # the first shuffle of an update is where learning begins
            def permutation(self, n):
                watch.phases.setdefault('learning began', watch.now())
                return permutation(n)
        ppo_trainer.np = type('np', (), {'random': Random()})
        def log(logs, *_, **__):
            train = watch.now() - watch.phases.pop('learning began')
            watch.phases |= {'train': train, 'score': watch.now() - watch.last - train - watch.phases['generate']}
            watch.update_done(score_mean=logs['objective/scores'], kl=logs['objective/kl'])
        trainer.log = log
        watch.start()
        trainer.train()
    watch.write(result, s)


if __name__ == '__main__': main(*sys.argv[1:])
