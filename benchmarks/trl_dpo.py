"""TRL's DPO on the pairs of a workload of bench.py: `python trl_dpo.py FOLDER RESULT SETTINGS`, in
the environment of requirements-rloo.txt."""
import json
import sys
import tempfile

from common import CountUpdates, Stopwatch, load_pairs, load_policy, load_workload, trl_settings
from datasets import Dataset, disable_progress_bars
from trl import DPOConfig, DPOTrainer


class OnTokens(DPOTrainer):
    "Takes the pairs as they were sampled: tokens, which need no tokenizer, and no EOS behind them."
    def _prepare_dataset(self, dataset, *_):
        return dataset


def rows_of(pairs):
    "As TRL's collator wants them: prompt, chosen and rejected without padding."
    return Dataset.from_dict({f'{name}_ids': rows for name, rows in pairs.items()})


def make_config(s, out):
    return DPOConfig(
        per_device_train_batch_size=s['batch_size']//2//s['minibatches'],
        max_steps=s['updates']*s['epochs']*s['minibatches'],
        dataloader_drop_last=True,
        beta=s['beta'],
        precompute_ref_log_probs=s['reference_first'],
        **{name: x for name, x in trl_settings(s, out).items() if name != 'temperature'})


def share_out(watch, seconds):
    "What was done before the first update, in equal parts to all of them."
    for i, row in enumerate(watch.rows, 1):
        row['seconds'] += seconds/len(watch.rows)
        row['clock'] += seconds*i/len(watch.rows)


def main(folder, result, settings):
    s = json.loads(settings)
    disable_progress_bars()
    policy, tokenizer, _, _ = load_workload(folder, s['seed'], s['attention'])
    pairs, tokens = load_pairs(folder, s)
    watch = Stopwatch(s['device'])
    watch.start()
    OnTokens._precompute_ref_logps = watch.timed('before', OnTokens._precompute_ref_logps)
    callback = CountUpdates(
        watch, s['epochs']*s['minibatches'], lambda: {'train': watch.now() - watch.last})
    with tempfile.TemporaryDirectory() as out:
        reference = load_policy(folder, s['attention'])
        trainer = OnTokens(
            policy, reference, make_config(s, out), processing_class=tokenizer,
            train_dataset=rows_of(pairs), callbacks=[callback])
        before = watch.phases.get('before', 0.0)
        watch.start()
        trainer.train()
    share_out(watch, before)
    watch.responses = tokens
    watch.steps = trainer.state.global_step
    watch.write(result, s)


if __name__ == '__main__':
    main(*sys.argv[1:])
