"TRL's RLOO on a workload of bench.py: `python trl_rloo.py FOLDER RESULT SETTINGS`, in the environment of requirements-rloo.txt."
import json, sys, tempfile
from common import Stopwatch, load_workload
import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import RLOOConfig, RLOOTrainer

GENERATIONS = 4  # responses to each prompt, which are each other's baseline


def main(folder, result, settings):
    s = json.loads(settings)
    policy, tokenizer, reward_model, prompts = load_workload(folder, s['seed'], s['attention'])
    reward_model.eval()
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in prompts]
    watch = Stopwatch(s['device'])

    @torch.no_grad()
    def score(prompts, completion_ids, **_):
        rows = [tokenizer(prompt)['input_ids'] + ids for prompt, ids in zip(prompts, completion_ids)]
        T = max(map(len, rows))
        tokens, mask = (torch.tensor([[pad]*(T - len(ids)) + x for ids, x in zip(rows, each)], device=policy.device) for pad, each in ((tokenizer.pad_token_id, rows), (0, [[1]*len(ids) for ids in rows])))
        hidden = reward_model.to(policy.device).trunk(input_ids=tokens, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0)).last_hidden_state[:, -1]
        scores = reward_model.score(hidden)[:, 0] - torch.tensor([tokenizer.eos_token_id not in ids for ids in completion_ids], device=policy.device)*1.0
        P, R, pad = s['prompt_length'], s['response_length'], tokenizer.pad_token_id
        prompt_ids = [([pad]*P + tokenizer(prompt)['input_ids'])[-P:] for prompt in prompts]
        watch.responses.append(torch.tensor([x + ids + [pad]*(R - len(ids)) for x, ids in zip(prompt_ids, completion_ids)]))
        watch.figures = {'score_mean': scores.mean().item()}
        return scores.tolist()

    class Done(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step % (s['epochs']*s['minibatches']) == 0: watch.update_done(**watch.figures)

    with tempfile.TemporaryDirectory() as out:
        args = RLOOConfig(output_dir=out, per_device_train_batch_size=s['batch_size']//s['minibatches'], gradient_accumulation_steps=1, steps_per_generation=s['minibatches'], num_iterations=s['epochs'],
                          num_generations=GENERATIONS, max_steps=s['updates']*s['epochs']*s['minibatches'], max_completion_length=s['response_length'], temperature=s['temperature'], beta=s['beta'],
                          learning_rate=s['learning_rate'], weight_decay=0.0, adam_epsilon=1e-5, gradient_checkpointing=False, bf16=s['bf16'], use_cpu=s['device'] == 'cpu', report_to='none',
                          save_strategy='no', logging_strategy='no', disable_tqdm=True, seed=s['seed'])
        trainer = RLOOTrainer(policy, score, args, Dataset.from_list([{'prompt': text} for text in texts]), processing_class=tokenizer, callbacks=[Done()])
        trainer._generate = watch.timed('generate', trainer._generate)
        watch.start()
        trainer.train()
    watch.steps = trainer.state.global_step
    watch.write(result, s)


if __name__ == '__main__': main(*sys.argv[1:])
