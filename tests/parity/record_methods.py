"""Give TRL's GRPO, RLOO and DPO trainers our batches, and write down what they make of them.

`python tests/parity/record_methods.py methods.safetensors`, in the environment of
requirements_methods.txt. The trainers are TRL's own. They are told what was sampled and how it was
scored, so advantages, losses and gradients are theirs, and nothing is drawn at random by them."""
import copy
import os
import sys
import tempfile

os.environ |= {'CUDA_VISIBLE_DEVICES': '', 'HF_HUB_OFFLINE': '1', 'TQDM_DISABLE': '1'}
# the libraries below read the environment
import accelerate  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
import trl  # noqa: E402
from datasets import Dataset, disable_progress_bars  # noqa: E402
from storing import store, versions_of  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from tokenizers.models import WordLevel  # noqa: E402
from tokenizers.pre_tokenizers import WhitespaceSplit  # noqa: E402
from transformers import (  # noqa: E402
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    set_seed,
)
from trl import (  # noqa: E402
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    RLOOConfig,
    RLOOTrainer,
)
from trl.trainer.dpo_trainer import DataCollatorForPreference  # noqa: E402
from trl.trainer.utils import split_tensor_dict  # noqa: E402

V, D, B, P, R = 48, 16, 24, 6, 10
LONGEST = 12  # a response may have this many tokens, and none has
EOS, PAD, SEED = 46, 47, 1
MODEL = dict(
    vocab_size=V, n_positions=P + LONGEST, n_embd=D, n_layer=2, n_head=2, initializer_range=0.3,
    bos_token_id=EOS, eos_token_id=EOS, pad_token_id=PAD, resid_pdrop=0.0, embd_pdrop=0.0,
    attn_pdrop=0.0)
COMMON = dict(epsilon=0.2, temperature=0.7, beta=0.0)
GRPO = COMMON | dict(
    trainer='grpo', scale_rewards='group', importance_sampling_level='token',
    use_bias_correction_kl=False)  # TRL's default is True: the cases that are called corrected
METHODS = {
    'grpo': GRPO | dict(loss_type='grpo'),
    'dr_grpo': GRPO | dict(loss_type='dr_grpo', scale_rewards='none'),
    'bnpo': GRPO | dict(loss_type='bnpo'),
    'dapo': GRPO | dict(loss_type='dapo'),
    'gspo': GRPO | dict(loss_type='grpo', importance_sampling_level='sequence'),
    'rloo': COMMON | dict(trainer='rloo'),
}
FIRST = {f'{name}_first': settings | dict(first=True)  # nothing has been learnt yet
         for name, settings in METHODS.items() if name in ('grpo', 'gspo', 'rloo')}
CORRECTED = dict(beta=0.1, use_bias_correction_kl=True)
WITH_KL = {f'{name}_kl': settings | dict(beta=0.1) for name, settings in METHODS.items()}
WITH_KL |= {f'{name}_corrected': METHODS[name] | CORRECTED for name in ('grpo', 'gspo')}
FIRST |= {'grpo_kl_first': FIRST['grpo_first'] | dict(beta=0.1),
          'rloo_kl_first': FIRST['rloo_first'] | dict(beta=0.1),
          'grpo_corrected_first': FIRST['grpo_first'] | CORRECTED}
HALF = {'dapo_half': METHODS['dapo'] | dict(steps_per_generation=2)}  # one of two minibatches
CASES = METHODS | WITH_KL | FIRST | HALF
GROUPS = {'even': 4, 'ragged': 3}  # responses to a prompt; prompts all of P tokens, or of 2 to P
PAIR_CASES = {'sigmoid': dict(beta=0.1), 'ipo': dict(beta=0.1)}
GRADIENTS = ('transformer.h.0.attn.c_attn.weight', 'transformer.h.1.mlp.c_proj.bias',
             'transformer.ln_f.weight')
METRICS = ('entropy', 'kl', 'clip_ratio/low_mean', 'clip_ratio/high_mean',
           'clip_ratio/region_mean', 'rewards/chosen', 'rewards/rejected', 'rewards/accuracies')


# models and tokens

def moved(model, size):
    "A copy with other weights, as after some steps."
    other = copy.deepcopy(model)
    with torch.no_grad():
        for p in other.parameters():
            p += size*torch.randn_like(p)
    return other


def make_models():
    "The policy that sampled, what it has become, and the reference."
    set_seed(SEED)
    policy = GPT2LMHeadModel(GPT2Config(**MODEL))
    return {'policy': policy, 'today': moved(policy, 0.03), 'reference': moved(policy, 0.03)}


def make_tokenizer():
    "Words w0, w1, …, for the prompts that a trainer wants to see before it begins."
    vocabulary = {f'w{i}': i for i in range(EOS)} | {'<eos>': EOS, '<pad>': PAD}
    words = Tokenizer(WordLevel(vocabulary, unk_token='w0'))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token='<eos>', pad_token='<pad>', unk_token='w0',
        padding_side='left')


def some_tokens(length):
    return torch.randint(EOS, (length,)).tolist()


def some_responses(n):
    "Of 1 to R tokens, several of them of 1 and some of R; those below R tokens end with EOS."
    lengths = [(1, R, 2, 7, 1, 5, 8)[i % 7] for i in range(n)]
    return [some_tokens(length - 1) + [EOS] if length < R else some_tokens(R)
            for length in lengths]


def make_batch(kind):
    "Prompts, each K times in a row, responses, and scores; one group's scores are all the same."
    K = GROUPS[kind]
    set_seed(SEED + K)
    lengths = [P if kind == 'even' else 2 + 2*(i % 3) for i in range(B//K)]
    prompts = [prompt for length in lengths for prompt in [some_tokens(length)]*K]
    scores = torch.randn(B)
    scores[K:2*K] = 0.3
    return {'prompts': prompts, 'responses': some_responses(B), 'scores': scores, 'K': K}


# TRL's trainers of groups

def make_args(config_class, folder, **settings):
    return config_class(
        folder, bf16=False, use_cpu=True, gradient_checkpointing=False, report_to='none',
        save_strategy='no', logging_strategy='no', disable_tqdm=True, seed=SEED, **settings)


def make_group_trainer(folder, settings, batch, models):
    "A trainer of TRL, which is told the scores and the responses."
    settings = dict(settings)
    settings.pop('first', None)
    is_grpo = settings.pop('trainer') == 'grpo'
    trainer_class, config_class = (
        (GRPOTrainer, GRPOConfig) if is_grpo else (RLOOTrainer, RLOOConfig))
    steps = settings.setdefault('steps_per_generation', 1)
    args = make_args(
        config_class, folder, per_device_train_batch_size=B//steps, num_iterations=2,
        num_generations=batch['K'], max_completion_length=LONGEST, **settings)

    def reward(completions, **_):
        return batch['scores'].tolist()

    prompts = Dataset.from_list([{'prompt': 'w1 w2'}]*B)
    trainer = trainer_class(GPT2LMHeadModel.from_pretrained(folder), reward, args, prompts,
                            processing_class=make_tokenizer())
    if trainer.ref_model is not None:
        trainer.ref_model.load_state_dict(models['reference'].state_dict())
    sampled = (batch['prompts'], batch['responses'])
    texts = ['']*B
    answer = (*sampled, None, texts, None, {}, None, []) if is_grpo else (*sampled, texts)
    trainer._generate = lambda prompts: answer
    trainer.current_gradient_accumulation_steps = 1  # `train` sets it
    trainer.model.train()
    return trainer


def note_logprobs(trainer):
    "All log-probs that the trainer computes: of the policy, of the reference, of today's policy."
    noted, score = [], trainer._get_per_token_logps_and_entropies

    def wrapper(*args, **kwargs):
        result = score(*args, **kwargs)
        noted.append(result[0])
        if result[0].requires_grad:
            result[0].retain_grad()
        return result

    trainer._get_per_token_logps_and_entropies = wrapper
    return noted


def gradients(model):
    "The norm of all, and some of them entire."
    every = torch.cat([p.grad.flatten() for p in model.parameters()])
    some = {f'grad/{name}': p.grad.clone()
            for name, p in model.named_parameters() if name in GRADIENTS}
    return some | {'grad_norm': every.norm()}


def metrics_of(trainer):
    "The last value of each metric that is compared."
    metrics = trainer._metrics['train']
    return {f'metric/{name}': torch.tensor(metrics[name][-1])
            for name in METRICS if name in metrics}


def check_corners(today, old, inputs, level):
    "Ratios leave the clip on both sides, with advantages of both signs."
    mask = inputs['completion_mask']
    log_ratio = (today - old)*mask
    if level != 'token':
        log_ratio = log_ratio.sum(1, keepdim=True)
        log_ratio = log_ratio/mask.sum(1, keepdim=True) if level == 'sequence' else log_ratio
    ratio, advantage = torch.broadcast_tensors(log_ratio.exp(), inputs['advantages'][:, None])
    for above in (ratio > 1.2, ratio < 0.8):
        for sign in (advantage > 0, advantage < 0):
            assert (above & sign).any(), 'the clip is not left on both sides: move further'


def record_group_case(folder, name, batch, models):
    "Advantages before anything is learnt, then the loss and its gradients at today's weights."
    settings = CASES[name]
    trainer = make_group_trainer(folder, settings, batch, models)
    noted = note_logprobs(trainer)
    inputs = trainer._generate_and_score_completions([{'prompt': 'w1 w2'}]*B)
    is_first = settings.get('first', False)
    if not is_first:
        trainer.model.load_state_dict(models['today'].state_dict())
    inputs = split_tensor_dict(inputs, settings.get('steps_per_generation', 1))[0]
    loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    today, old, n = noted[-1], noted[0], len(inputs['advantages'])
    if n == B and not is_first:
        level = settings.get('importance_sampling_level', 'sum')
        check_corners(today.detach(), old, inputs, level)
    case = {'advantages': inputs['advantages'], 'loss': loss, 'grad_of_logprobs': today.grad}
    shared = {'old_logprobs': old} if is_first else {'old_logprobs': old, 'logprobs': today}
    if settings['beta']:
        shared['ref_logprobs'] = noted[1]
    shared |= {name: inputs[name] for name in (
        'prompt_ids', 'prompt_mask', 'completion_ids', 'completion_mask')}
    return case | gradients(trainer.model) | metrics_of(trainer), shared if n == B else {}


def agreed(known, new):
    "Both together; what is in both must be the same."
    for name in known.keys() & new.keys():
        assert known[name].equal(new[name]), f'{name} differs between cases'
    return known | new


def record_groups(folder, models):
    "Every case on both batches; what the cases of a batch have in common is kept once."
    tensors = {}
    for kind in GROUPS:
        batch, shared = make_batch(kind), {}
        for name in CASES:
            case, of_batch = record_group_case(folder, name, batch, models)
            tensors |= {f'{kind}/{name}/{key}': x for key, x in case.items()}
            shared = agreed(shared, of_batch)
        shared['scores'] = batch['scores']
        tensors |= {f'{kind}/{key}': x for key, x in shared.items()}
    return tensors


def record_order(folder, models):
    "Which rows TRL learns from in each of four steps: two epochs of two minibatches."
    batch = make_batch('even')
    settings = METHODS['grpo'] | dict(steps_per_generation=2)
    trainer = make_group_trainer(folder, settings, batch, models)
    batch['responses'][:] = [[i] for i in range(B)]
    order = []
    for step in range(4):
        trainer._step = step
        inputs = trainer._prepare_inputs([{'prompt': 'w1 w2'}]*B)
        order.append(inputs['completion_ids'][:, 0])
    return {'order': torch.stack(order)}


# TRL's trainer of pairs

def make_pairs():
    "Prompts and two responses to each, of other lengths."
    set_seed(SEED)
    responses = some_responses(B)
    return [{'prompt_ids': some_tokens(2 + i % (P - 1)), 'chosen_ids': responses[i],
             'rejected_ids': responses[(i + 5) % B]} for i in range(B//2)]


def note_outputs(model):
    "The log-probs of each call of a model."
    noted = []
    model.register_forward_hook(lambda module, args, out: noted.append(out.log_probs))
    return noted


def record_pair_case(folder, name, settings, models):
    "TRL's loss on pairs, at today's weights, and its gradients."
    args = make_args(DPOConfig, folder, loss_type=[name], **settings)
    example = {'prompt': 'w1', 'chosen': ' w2', 'rejected': ' w3'}
    trainer = DPOTrainer(
        copy.deepcopy(models['today']), copy.deepcopy(models['reference']), args,
        train_dataset=Dataset.from_list([example]*B), processing_class=make_tokenizer())
    trainer.model.train()
    today, reference = note_outputs(trainer.model), note_outputs(trainer.ref_model)
    inputs = DataCollatorForPreference(PAD)(make_pairs())
    loss = trainer._compute_loss(trainer.model, inputs, False)
    loss.backward()
    case = {'loss': loss} | gradients(trainer.model) | metrics_of(trainer)
    shared = inputs | {'logprobs': today[0], 'ref_logprobs': reference[0]}
    last = trainer.train_dataset[0]['chosen_ids'][-1]
    return case, shared | {'last_token_of_a_text': torch.tensor(last)}


def record_pairs(folder, models):
    tensors, shared = {}, {}
    for name, settings in PAIR_CASES.items():
        case, of_batch = record_pair_case(folder, name, settings, models)
        tensors |= {f'pairs/{name}/{key}': x for key, x in case.items()}
        shared = agreed(shared, of_batch)
    return tensors | {f'pairs/{key}': x for key, x in shared.items()}


def main(path):
    torch.set_num_threads(1)
    disable_progress_bars()
    models = make_models()
    tensors = {f'{which}/{name}': p for which, model in models.items()
               for name, p in model.named_parameters()}
    with tempfile.TemporaryDirectory() as folder:
        models['policy'].save_pretrained(folder)
        tensors |= record_groups(folder, models) | record_order(folder, models)
        tensors |= record_pairs(folder, models)
    versions = versions_of(trl, torch, transformers, accelerate)
    settings = {'versions': versions, 'model': MODEL, 'seed': SEED, 'groups': GROUPS,
                'longest': LONGEST, 'cases': CASES, 'pair_cases': PAIR_CASES}
    store(path, tensors, settings)


if __name__ == '__main__':
    main(*sys.argv[1:])
