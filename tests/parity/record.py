"""Let TRL train for one update, and write down all that it had in hand.

`python tests/parity/record.py reference.safetensors`, in the environment of requirements.txt."""
import contextlib
import copy
import io
import os
import sys
import tempfile
import types
from collections import defaultdict

os.environ |= {
    'CUDA_VISIBLE_DEVICES': '', 'HF_HUB_OFFLINE': '1', 'TRL_EXPERIMENTAL_SILENCE': '1'}
# the libraries below read the environment
import accelerate  # noqa: E402
import torch  # noqa: E402
import torch.nn as nn  # noqa: E402
import transformers  # noqa: E402
import trl  # noqa: E402
from datasets import Dataset  # noqa: E402
from storing import store, versions_of  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from tokenizers.models import WordLevel  # noqa: E402
from transformers import (  # noqa: E402
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    set_seed,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer  # noqa: E402
from trl.trainer.reward_trainer import RewardTrainer  # noqa: E402
from trl.trainer.utils import selective_log_softmax  # noqa: E402

V, D, B, P, R = 48, 16, 12, 6, 10
EOS, PAD, SEED = 46, 47, 1
MODEL = dict(
    vocab_size=V, n_positions=P + R, n_embd=D, n_layer=2, n_head=2, initializer_range=0.3,
    bos_token_id=EOS, eos_token_id=EOS, pad_token_id=PAD)
COMMON = dict(
    kl_coef=0.1, gamma=1.0, lam=0.95, cliprange=0.2, cliprange_value=0.2, vf_coef=0.1,
    temperature=0.7, learning_rate=0.003, adam_epsilon=1e-5, num_ppo_epochs=2, num_mini_batches=2,
    missing_eos_penalty=1.0)
CASES = {
    'full': dict(stop_token=None),
    'eos': dict(stop_token='eos'),
    'discount': dict(stop_token='eos', gamma=0.9),
}
IN_HAND = [
    'queries', 'responses', 'padding_mask', 'padding_mask_p1', 'logprobs', 'ref_logprobs',
    'values', 'kl', 'rewards', 'scores', 'advantages', 'returns']
STATS = ['approxkl_stats', 'pg_clipfrac_stats', 'vf_clipfrac_stats', 'entropy_stats',
         'ratio_stats']


# models

class ScalarModel(nn.Module):
    "What TRL asks of a value or reward model: a trunk under `base_model_prefix`, a head `score`."
    base_model_prefix = 'transformer'

    def __init__(self, trunk):
        super().__init__()
        self.transformer, self.score = trunk, nn.Linear(D, 1)
        nn.init.normal_(self.score.weight, std=0.3)
        nn.init.constant_(self.score.bias, 0.2)


def make_eos_likely_and_padding_rare(policy):
    """The last hidden state begins with a 1, so that each word's first weight is a bias of its
    logit. Padding must never be sampled, as TRL takes every such token for padding."""
    norm, words = policy.transformer.ln_f, policy.transformer.wte.weight
    norm.weight[0], norm.bias[0] = 0, 1
    words[EOS, 0], words[PAD, 0] = 2.2, -30


def make_models():
    "Policy, value model on its trunk, reference close to the policy, reward model on the latter's."
    set_seed(SEED)
    policy = GPT2LMHeadModel(GPT2Config(**MODEL))
    with torch.no_grad():
        make_eos_likely_and_padding_rare(policy)
        value_model, reference = ScalarModel(policy.transformer), copy.deepcopy(policy)
        for name, p in reference.named_parameters():
            if 'wte' not in name:
                p += 0.05*torch.randn_like(p)
    return policy, value_model, reference, ScalarModel(reference.transformer)


def make_tokenizer():
    "Words w0, w1, …, which are never read: the prompts are numbers from the start."
    vocabulary = {f'w{i}': i for i in range(EOS)} | {'<eos>': EOS, '<pad>': PAD}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(vocabulary, unk_token='w0')), eos_token='<eos>',
        pad_token='<pad>', unk_token='w0', padding_side='left')


def make_prompts():
    "Of 2 to P tokens."
    lengths = [2 + i % (P - 1) for i in range(B)]
    return Dataset.from_list(
        [{'input_ids': torch.randint(EOS, (length,)).tolist()} for length in lengths])


# looking in on the training

def weights(trainer):
    named = {}
    for name, p in trainer.model.named_parameters():
        named[name.removeprefix('policy.').removeprefix('value_model.')] = p.detach().clone()
    return named


class Recorder(PPOTrainer):
    "TRL's trainer, which leaves behind the local variables of `train` and of each step."
    def record_steps(self):
        "Look in on the loop at every optimizer step."
        self.steps, self.snapshots = defaultdict(list), {}
        step = self.optimizer.step

        def recorded_step():
            local = sys._getframe(1).f_locals  # those of `train`
            for name in ('mini_batch_inds', 'pg_loss', 'vf_loss', 'loss'):
                self.steps[name].append(torch.as_tensor(local[name]).detach().clone())
            gradient = torch.cat([p.grad.flatten() for p in self.model.parameters()])
            self.steps['grad_norm'].append(gradient.norm())
            step()
            self.snapshots.setdefault('after_step', weights(self))  # the first step only

        self.optimizer.step = recorded_step

    def log(self, logs, *args, **kwargs):
        "Called once in an update, when all is done and nothing yet deleted."
        self.local = dict(sys._getframe(1).f_locals)
        self.snapshots['after'] = weights(self)


@contextlib.contextmanager
def wrapped(module, name, before=None, after=None):
    "Let functions look at what goes into a module's function, and at what comes out of it."
    function = getattr(module, name)

    def wrapper(*args, **kwargs):
        if before:
            before(*args)
        result = function(*args, **kwargs)
        if after:
            after(result)
        return result

    setattr(module, name, wrapper)
    try:
        yield
    finally:
        setattr(module, name, function)


# one update

def make_trainer(folder, settings, models):
    policy, value_model, reference, reward_model = models
    args = PPOConfig(
        output_dir=folder, response_length=R, per_device_train_batch_size=B,
        gradient_accumulation_steps=1, total_episodes=B, num_sample_generations=0,
        weight_decay=0.0, bf16=False, gradient_checkpointing=False, use_cpu=True,
        report_to='none', save_strategy='no', disable_tqdm=True, seed=SEED, **COMMON | settings)
    return Recorder(args, make_tokenizer(), policy, reference, reward_model, make_prompts(),
                    value_model)


def train_and_listen(trainer):
    "What `train` whitened and how it scored, call by call."
    whitened, scored = [], []

    def same_seed(*_):  # a known state of the generator, to sample the same tokens from
        torch.manual_seed(SEED)

    def note_whitened(x, mask):
        whitened.append(x.clone())

    def note_scored(result):
        scored.append(result[1].clone())

    with (wrapped(ppo_trainer, 'batch_generation', before=same_seed),
          wrapped(ppo_trainer, 'masked_whiten', before=note_whitened),
          wrapped(ppo_trainer, 'get_reward', after=note_scored)):
        trainer.train()
    return whitened, scored


def check_recording(local, settings):
    has_padding = bool((local['postprocessed_responses'] == PAD).any())
    assert has_padding == (settings['stop_token'] == 'eos'), 'padding was sampled: change the seed'
    clipped = local['pg_clipfrac_stats'].sum() > 0 and local['vf_clipfrac_stats'].sum() > 0
    assert clipped, 'nothing was clipped: choose a higher learning rate'


def record_case(settings):
    "One update of `PPOTrainer.train`: what it had in hand, and the weights all cases start from."
    models = make_models()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        trainer = make_trainer(folder, settings, models)
        trainer.record_steps()
        before = weights(trainer)
        whitened, scored = train_and_listen(trainer)
    check_recording(trainer.local, settings)
    tensors = {name: trainer.local[name] for name in IN_HAND}
    tensors |= {name: trainer.local[name].flatten() for name in STATS}
    tensors |= {f'step/{name}': torch.stack(xs) for name, xs in trainer.steps.items()}
    tensors['advantages_not_whitened'] = whitened[0]
    tensors['scores_without_penalty'] = scored[1]  # the first call is for the values
    for moment, snapshot in trainer.snapshots.items():
        tensors |= {f'{moment}/{name}': x for name, x in snapshot.items()}
    return tensors, start_of(before, models)


def start_of(policy_weights, models):
    _, _, reference, reward_model = models
    start = {f'policy/{name}': x for name, x in policy_weights.items()}
    for name, x in reference.named_parameters():
        start[f'reference/{name}'] = x.detach()
    for name, x in reward_model.score.named_parameters(prefix='score'):
        start[f'reward/{name}'] = x.detach()
    return start


# functions on random numbers

def record_pair_losses(chosen, rejected, margin):
    "TRL's loss of a reward model, with and without a margin, and its gradients."
    def same(x):
        return x

    def model(**inputs):
        return types.SimpleNamespace(logits=torch.cat([chosen, rejected])[:, None])

    trainer = types.SimpleNamespace(  # all that the method asks of its trainer
        model=nn.Module().eval(), _total_train_tokens=0,
        args=types.SimpleNamespace(center_rewards_coefficient=None),
        _metrics=defaultdict(lambda: defaultdict(list)),
        accelerator=types.SimpleNamespace(gather=same, gather_for_metrics=same))
    tensors = {}
    for name, inputs in {'pair_loss': {}, 'pair_loss_with_margin': {'margin': margin}}.items():
        loss = RewardTrainer.compute_loss(trainer, model, inputs)
        of_chosen, of_rejected = torch.autograd.grad(loss, [chosen, rejected])
        tensors |= {name: loss, f'{name}_of_chosen': of_chosen,
                    f'{name}_of_rejected': of_rejected}
    return tensors


def record_functions():
    "Some of TRL's functions on random numbers."
    set_seed(SEED)
    x, mask = torch.randn(7, 9)*3 + 1, torch.rand(7, 9) < 0.6
    logits, tokens = torch.randn(7, 9, V)*4, torch.randint(V, (7, 9))
    chosen, rejected, margin = (torch.randn(16, requires_grad=True) for _ in range(3))
    tensors = dict(
        x=x, mask=mask, masked_mean=ppo_trainer.masked_mean(x, mask),
        masked_whiten=ppo_trainer.masked_whiten(x, mask), logits=logits, tokens=tokens,
        logprobs=selective_log_softmax(logits/(0.7 + 1e-7), tokens),
        logprobs_of_temperature_1=selective_log_softmax(logits, tokens),
        chosen=chosen, rejected=rejected, margin=margin)
    tensors |= record_pair_losses(chosen, rejected, margin)
    return {f'functions/{name}': x for name, x in tensors.items()}


def main(path):
    torch.set_num_threads(1)
    tensors = record_functions()
    for case, settings in CASES.items():
        in_hand, start = record_case(settings)
        tensors |= start | {f'{case}/{name}': x for name, x in in_hand.items()}
    versions = versions_of(trl, torch, transformers, accelerate)
    settings = {'versions': versions, 'model': MODEL, 'seed': SEED,
                'cases': {case: COMMON | changes for case, changes in CASES.items()}}
    store(path, tensors, settings)


if __name__ == '__main__':
    main(*sys.argv[1:])
