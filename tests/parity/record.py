"Let TRL train for one update, and write down all that it had in hand: `python tests/parity/record.py reference.safetensors`, in the environment of requirements.txt."
import contextlib, copy, io, json, os, sys, tempfile, types
from collections import defaultdict
os.environ |= {'CUDA_VISIBLE_DEVICES': '', 'HF_HUB_OFFLINE': '1', 'TRL_EXPERIMENTAL_SILENCE': '1'}
import accelerate, torch, torch.nn as nn, transformers, trl
from datasets import Dataset
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, set_seed
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer
from trl.trainer.reward_trainer import RewardTrainer
from trl.trainer.utils import selective_log_softmax

V, D, B, P, R, EOS, PAD, SEED = 48, 16, 12, 6, 10, 46, 47, 1
MODEL = dict(vocab_size=V, n_positions=P + R, n_embd=D, n_layer=2, n_head=2, initializer_range=0.3, bos_token_id=EOS, eos_token_id=EOS, pad_token_id=PAD)
COMMON = dict(kl_coef=0.1, gamma=1.0, lam=0.95, cliprange=0.2, cliprange_value=0.2, vf_coef=0.1, temperature=0.7, learning_rate=0.003, adam_epsilon=1e-5,
              num_ppo_epochs=2, num_mini_batches=2, missing_eos_penalty=1.0)
CASES = {'full': dict(stop_token=None), 'eos': dict(stop_token='eos'), 'discount': dict(stop_token='eos', gamma=0.9)}


class ScalarModel(nn.Module):
    "What TRL asks of a value or reward model: a trunk under the name in `base_model_prefix`, and a head called score."
    base_model_prefix = 'transformer'
    def __init__(self, trunk):
        super().__init__()
        self.transformer, self.score = trunk, nn.Linear(D, 1)
        nn.init.normal_(self.score.weight, std=0.3); nn.init.constant_(self.score.bias, 0.2)


def make_models():
    "A policy, its value model on the same trunk, a reference close to the policy, and a reward model on the reference's trunk."
    set_seed(SEED)
    policy = GPT2LMHeadModel(GPT2Config(**MODEL))
    with torch.no_grad():
        norm, words = policy.transformer.ln_f, policy.transformer.wte.weight
        norm.weight[0], norm.bias[0] = 0, 1  # the last hidden state begins with a 1, so that each word's first weight is a bias of its logit:
        words[EOS, 0], words[PAD, 0] = 2.2, -30  # EOS is likely, and padding never sampled, as TRL takes every such token for padding
        value_model, reference = ScalarModel(policy.transformer), copy.deepcopy(policy)
        for name, p in reference.named_parameters():
            if 'wte' not in name: p += 0.05*torch.randn_like(p)
    return policy, value_model, reference, ScalarModel(reference.transformer)


def make_tokenizer():
    "Words w0, w1, …, which are never read: the prompts are numbers from the start."
    words = Tokenizer(WordLevel({f'w{i}': i for i in range(EOS)} | {'<eos>': EOS, '<pad>': PAD}, unk_token='w0'))
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token='<eos>', pad_token='<pad>', unk_token='w0', padding_side='left')


def weights(trainer): return {name.removeprefix('policy.').removeprefix('value_model.'): p.detach().clone() for name, p in trainer.model.named_parameters()}


class Recorder(PPOTrainer):
    "TRL's trainer, which leaves behind the local variables of `train` and what passed through the functions that it calls."
    def record_steps(self):
        "Look in on the loop at every optimizer step."
        self.steps, self.snapshots, step = defaultdict(list), {}, self.optimizer.step
        def recorded_step():
            seen = sys._getframe(1).f_locals  # those of `train`
            for name in ('mini_batch_inds', 'pg_loss', 'vf_loss', 'loss'): self.steps[name].append(torch.as_tensor(seen[name]).detach().clone())
            self.steps['grad_norm'].append(torch.cat([p.grad.flatten() for p in self.model.parameters()]).norm())
            step()
            self.snapshots.setdefault('after_step', weights(self))  # the first step only
        self.optimizer.step = recorded_step

    def log(self, logs, *args, **kwargs):
        "Called once in an update, when all is done and nothing yet deleted."
        self.seen = dict(sys._getframe(1).f_locals)
        self.snapshots['after'] = weights(self)


@contextlib.contextmanager
def wrapped(module, name, before=lambda *args: None, after=lambda result: None):
    "Let two functions see what goes into a module's function and what comes out of it."
    function = getattr(module, name)
    def wrapper(*args, **kwargs):
        before(*args)
        result = function(*args, **kwargs)
        after(result)
        return result
    setattr(module, name, wrapper)
    try: yield
    finally: setattr(module, name, function)


def record_case(settings):
    "One update of `PPOTrainer.train`: what it had in hand, and the weights that all cases start from."
    policy, value_model, reference, reward_model = make_models()
    prompts = Dataset.from_list([{'input_ids': torch.randint(EOS, (2 + i % (P - 1),)).tolist()} for i in range(B)])  # 2 to P tokens
    whitened, scored = [], []
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        args = PPOConfig(output_dir=folder, response_length=R, per_device_train_batch_size=B, gradient_accumulation_steps=1, total_episodes=B, num_sample_generations=0, weight_decay=0.0,
                         bf16=False, gradient_checkpointing=False, use_cpu=True, report_to='none', save_strategy='no', disable_tqdm=True, seed=SEED, **COMMON | settings)
        trainer = Recorder(args, make_tokenizer(), policy, reference, reward_model, prompts, value_model)
        trainer.record_steps()
        before = weights(trainer)
        with (wrapped(ppo_trainer, 'batch_generation', before=lambda *_: torch.manual_seed(SEED)),  # a known state of the generator, to sample the same tokens from
              wrapped(ppo_trainer, 'masked_whiten', before=lambda x, mask: whitened.append(x.clone())),
              wrapped(ppo_trainer, 'get_reward', after=lambda result: scored.append(result[1].clone()))): trainer.train()
    seen, steps = trainer.seen, trainer.steps
    assert (seen['postprocessed_responses'] == PAD).any() == (settings['stop_token'] == 'eos'), 'padding was sampled: choose another seed'
    assert seen['pg_clipfrac_stats'].sum() > 0 and seen['vf_clipfrac_stats'].sum() > 0, 'nothing was clipped: choose a higher learning rate'
    names = ['queries', 'responses', 'padding_mask', 'padding_mask_p1', 'logprobs', 'ref_logprobs', 'values', 'kl', 'rewards', 'scores', 'advantages', 'returns']
    stats = ['approxkl_stats', 'pg_clipfrac_stats', 'vf_clipfrac_stats', 'entropy_stats', 'ratio_stats']
    tensors = {name: seen[name] for name in names} | {name: seen[name].flatten() for name in stats} | {f'step/{name}': torch.stack(xs) for name, xs in steps.items()}
    tensors |= {'advantages_not_whitened': whitened[0], 'scores_without_penalty': scored[1]}  # the first call of get_reward is for the values
    for which, snapshot in trainer.snapshots.items(): tensors |= {f'{which}/{name}': x for name, x in snapshot.items()}
    start = {f'policy/{name}': x for name, x in before.items()} | {f'reference/{name}': x.detach() for name, x in reference.named_parameters()}
    start |= {f'reward/{name}': x.detach() for name, x in reward_model.score.named_parameters(prefix='score')}
    return tensors, start


def record_functions():
    "Some of TRL's functions on random numbers."
    set_seed(SEED)
    x, mask, logits, tokens = torch.randn(7, 9)*3 + 1, torch.rand(7, 9) < 0.6, torch.randn(7, 9, V)*4, torch.randint(V, (7, 9))
    chosen, rejected, margin = (torch.randn(16, requires_grad=True) for _ in range(3))
    tensors = dict(x=x, mask=mask, masked_mean=ppo_trainer.masked_mean(x, mask), masked_whiten=ppo_trainer.masked_whiten(x, mask), logits=logits, tokens=tokens,
                   logprobs=selective_log_softmax(logits/(0.7 + 1e-7), tokens), logprobs_of_temperature_1=selective_log_softmax(logits, tokens),
                   chosen=chosen, rejected=rejected, margin=margin)
    same = lambda x: x
    trainer = types.SimpleNamespace(model=nn.Module().eval(), args=types.SimpleNamespace(center_rewards_coefficient=None), _metrics=defaultdict(lambda: defaultdict(list)),
                                    accelerator=types.SimpleNamespace(gather=same, gather_for_metrics=same), _total_train_tokens=0)  # all that the method asks of its trainer
    model = lambda **inputs: types.SimpleNamespace(logits=torch.cat([chosen, rejected])[:, None])
    for name, inputs in {'pair_loss': {}, 'pair_loss_with_margin': {'margin': margin}}.items():
        loss = RewardTrainer.compute_loss(trainer, model, inputs)
        gradients = torch.autograd.grad(loss, [chosen, rejected])
        tensors |= {name: loss, f'{name}_of_chosen': gradients[0], f'{name}_of_rejected': gradients[1]}
    return {f'functions/{name}': x for name, x in tensors.items()}


def main(path):
    torch.set_num_threads(1)
    tensors = record_functions()
    for case, settings in CASES.items():
        recorded, start = record_case(settings)
        tensors |= start | {f'{case}/{name}': x for name, x in recorded.items()}
    settings = {'versions': {module.__name__: module.__version__.split('+')[0] for module in (trl, torch, transformers, accelerate)}, 'model': MODEL, 'seed': SEED,
                'cases': {case: COMMON | changes for case, changes in CASES.items()}}
    tensors = {name: x.detach().float() if x.is_floating_point() else x for name, x in tensors.items()}
    save_file({name: tensors[name].clone().contiguous() for name in sorted(tensors)}, path, {'settings': json.dumps(settings, sort_keys=True)})  # one key: several come in any order
    print(f'{path}: {len(tensors)} tensors, {os.path.getsize(path):,} bytes')


if __name__ == '__main__': main(*sys.argv[1:])
