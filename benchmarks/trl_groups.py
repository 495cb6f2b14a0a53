"What TRL's RLOO and GRPO have in common on a workload of bench.py: trl_rloo.py, trl_grpo.py."
import json
import tempfile

import torch
from common import CountUpdates, Stopwatch, load_workload, trl_settings
from datasets import Dataset

GENERATIONS = 4  # responses to each prompt, which are compared with each other


class Scorer:
    "`reward` is the function that the trainer calls; it notes the responses and their mean score."
    def __init__(self, tokenizer, reward_model, device, watch, s):
        self.tokenizer = tokenizer
        self.reward_model = reward_model.eval().to(device)
        self.device = device
        self.watch = watch
        self.s = s

    def pad_left(self, rows):
        "Tokens and mask, (B, T) each."
        T = max(len(ids) for ids in rows)
        tokens = [[self.tokenizer.pad_token_id]*(T - len(ids)) + ids for ids in rows]
        mask = [[0]*(T - len(ids)) + [1]*len(ids) for ids in rows]
        return torch.tensor(tokens, device=self.device), torch.tensor(mask, device=self.device)

    def score(self, rows):
        tokens, mask = self.pad_left(rows)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        out = self.reward_model.trunk(
            input_ids=tokens, attention_mask=mask, position_ids=positions)
        return self.reward_model.score(out.last_hidden_state[:, -1])[:, 0]  # (B,)

    def note(self, prompt_ids, completion_ids, scores):
        "Prompts padded on the left, responses on the right, as our own rollouts are."
        P, R, pad = self.s['prompt_length'], self.s['response_length'], self.tokenizer.pad_token_id
        rows = [([pad]*P + ids)[-P:] + response + [pad]*(R - len(response))
                for ids, response in zip(prompt_ids, completion_ids)]
        self.watch.responses.append(torch.tensor(rows))
        self.figures = {'score_mean': scores.mean().item()}

    @torch.no_grad()
    def reward(self, prompts, completion_ids, **_):
        prompt_ids = [self.tokenizer(prompt)['input_ids'] for prompt in prompts]
        rows = [ids + response for ids, response in zip(prompt_ids, completion_ids)]
        eos = self.tokenizer.eos_token_id
        cut_off = torch.tensor([eos not in ids for ids in completion_ids], device=self.device)
        scores = self.score(rows) - 1.0*cut_off
        self.note(prompt_ids, completion_ids, scores)
        return scores.tolist()


def make_config(config_class, s, out, **settings):
    return config_class(
        per_device_train_batch_size=s['batch_size']//s['minibatches'],
        steps_per_generation=s['minibatches'],
        num_iterations=s['epochs'],
        max_steps=s['updates']*s['epochs']*s['minibatches'],
        num_generations=GENERATIONS,
        max_completion_length=s['response_length'],
        beta=s['beta'],
        **settings,
        **trl_settings(s, out))


def watch_phases(trainer, watch):
    "Generation is timed, and all of it up to the scores and old log-probs; the rest learns."
    trainer._generate = watch.timed('generate', trainer._generate)
    trainer._generate_and_score_completions = watch.timed(
        'generate and score', trainer._generate_and_score_completions)


def phases_of(watch):
    "Called as an update ends: what there is of its time beside generation."
    before_learning = watch.phases.pop('generate and score')
    return {'score': before_learning - watch.phases['generate'],
            'train': watch.now() - watch.last - before_learning}


def main(trainer_class, config_class, folder, result, settings, **method):
    s = json.loads(settings)
    policy, tokenizer, reward_model, prompts = load_workload(folder, s['seed'], s['attention'])
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in prompts]
    rows = Dataset.from_list([{'prompt': text} for text in texts])
    watch = Stopwatch(s['device'])
    scorer = Scorer(tokenizer, reward_model, torch.device(s['device']), watch, s)
    callback = CountUpdates(
        watch, s['epochs']*s['minibatches'], lambda: scorer.figures | phases_of(watch))
    with tempfile.TemporaryDirectory() as out:
        config = make_config(config_class, s, out, **method)
        trainer = trainer_class(policy, scorer.reward, config, rows,
                                processing_class=tokenizer, callbacks=[callback])
        watch_phases(trainer, watch)
        watch.start()
        trainer.train()
    watch.steps = trainer.state.global_step
    watch.write(result, s)
