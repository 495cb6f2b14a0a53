"""What is wrong in each run: a bug of benchmarks/mutants/classic.json, a setting, the reward.

A bug is put into the functions of this process, and taken out again."""
import gc
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType

import torch
import torch.nn as nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]/'mutants'))
from classic import classic_mutants  # noqa: E402
from functions import PACKAGE, code_of, functions_of, module_of  # noqa: E402

MODULES = ('advantage', 'agent', 'ppo', 'reward', 'sft', 'train', 'evaluate', 'tools.packing')


@dataclass
class Illness:
    "One thing that is wrong with a run, or nothing."
    bugs: tuple[str, ...] = ()  # names in classic.json, all put in together
    settings: dict = field(default_factory=dict)  # of RLHFConfig
    reward: str = ''  # a name in REWARDS: what the scores become
    before: str = ''  # 'sft' or 'reward': the step that is made anew with the bug in force
    prepare: str = ''  # a name in PREPARE: what is done to the trainer before it starts


def bug(*names, **others):
    return Illness(names, **others)


ILLNESSES = {
    'healthy': Illness(),
    # the loss
    'ratio to the reference': bug('ratio to the reference in place of the old policy'),
    'second branch lost its advantage': bug('second branch lost its advantage'),
    'surrogate minimised': bug('surrogate minimised'),
    'smaller of the two policy losses': bug('smaller of the two policy losses'),
    'smaller of the two value losses': bug('smaller of the two value losses'),
    'entropy and value swapped': bug('entropy and value swapped on unpacking'),
    'one place later': bug(
        'log-probabilities of the tokens one place later',
        'log-probabilities of the tokens one place later (packed)'),
    'a fresh token scored': bug(
        'a fresh token scored in place of the response (policy)',
        'a fresh token scored in place of the response (reference)'),
    'packed rows see each other': bug('packed rows see each other'),
    'packed rows see what comes later': bug('packed rows see what comes later'),
    'k3 as a loss': bug('k3 used as a loss'),
    'KL of the update reversed': bug('KL of the update with the ratio reversed'),
    'no clipping': Illness(settings={'clip_ratio': 1e6, 'clip_value': 1e6}),
    # advantages
    'one advantage for the batch': bug('one advantage for a whole batch'),
    'one advantage a response': bug('one advantage for a whole response'),
    'returns after whitening': bug('returns computed after whitening'),
    'whitening adds the mean back': bug('whitening that adds the mean back'),
    'no whitening': bug('no whitening'),
    'a value after the end': bug('the state after the last token has a value'),
    'score on the last column': bug('score on the last column, not on the last token'),
    'statistics over padding': bug('statistics averaged over padding'),
    'clip fraction over padding': bug('clip fraction over padding'),
    'entropy over padding': bug('entropy over padding'),
    # the KL
    'KL with its sign reversed': bug('KL with the sign reversed'),
    'KL rewarded': bug('KL rewarded'),
    'k3 reversed': bug('KL with the ratio reversed'),
    'k3 in the reward': bug('k3 as the penalty'),
    'KL over padding': bug('KL over padding (metrics)'),
    'padding earns negative KL': bug(
        'padding after EOS earns negative KL', 'the padding after EOS is scored'),
    'no KL penalty': Illness(settings={'beta': 0.0}),
    'β 2': Illness(settings={'beta': 2.0}),
    # sampling and scoring
    'top-k 10': bug('sampling with top-k 10, scoring the full softmax'),
    'scored at another temperature': bug(
        'scored at another temperature than sampled',
        'scored at another temperature than sampled (packed)'),
    'sampled at another temperature': bug('sampled at another temperature than scored'),
    'first EOS left out': bug('the first EOS left out of the response'),
    'masked by != pad': bug('response masked by != pad where pad may be EOS', prepare='pad is EOS'),
    'no position ids (scoring)': bug(
        'no position ids (scoring)',
        'no position ids (packed: policy, reference, reward model)'),
    'no position ids (sampling)': bug('no position ids (sampling)'),
    'no attention mask (scoring)': bug('no attention mask (scoring)'),
    'log-probs in bf16': bug(
        'bf16 log-probabilities (scoring)', 'bf16 log-probabilities (packed)',
        'bf16 log-probabilities (sampling)'),
    'only scored in bf16': bug(
        'bf16 log-probabilities (scoring)', 'bf16 log-probabilities (packed)'),
    'autocast around the optimizer': bug('autocast around the optimizer', settings={'bf16': True}),
    'dropout (policy)': bug(prepare='dropout in the policy'),
    'dropout (reference)': bug(prepare='dropout in the reference'),
    'dropout (reward model)': bug(prepare='dropout in the reward model'),
    # the optimizer
    'learning rate × 10': Illness(settings={'learning_rate': 1e-3}),
    'learning rate / 100': Illness(settings={'learning_rate': 1e-6}),
    'rate does not fall': bug('learning rate that does not fall'),
    'gradients kept': bug('gradients of the step before are kept'),
    'gradients not clipped': Illness(settings={'max_grad_norm': float('inf')}),
    "PyTorch's epsilon": bug("PyTorch's default epsilon"),
    'weight decay': bug('weight decay'),
    'value head not at zero': bug('value head not at zero'),
    'policy frozen': Illness(prepare='the policy frozen'),
    '16 epochs': Illness(settings={'epochs': 16}),
    'temperature 0.2': Illness(settings={'temperature': 0.2}),
    'γ 0.7': Illness(settings={'gamma': 0.7}),
    'values not learnt': Illness(settings={'value_coef': 0.0}),
    # the reference
    'reference is the policy': Illness(prepare='the reference is the policy'),
    'reference not fine-tuned': Illness(prepare='the reference is the base model'),
    # the reward
    'constant reward': Illness(reward='constant'),
    'scores shuffled': Illness(reward='shuffled'),
    'reward reversed': Illness(reward='reversed'),
    'reward pays length': Illness(reward='length'),
    'reward × 20': Illness(reward='times 20'),
    'reward of 100 sentences': Illness(before='reward of 100'),
    'no penalty without EOS': Illness(settings={'missing_eos_penalty': 0.0}),
    'reward reads the last column': bug(
        'reward model reads the last column, be it a pad token'),
    'reward counts tokens': bug('reward model counts tokens, as if padded on the right'),
    'pairs without the minus': bug('pairwise loss without its minus', before='reward'),
    'chosen and rejected swapped': bug('chosen and rejected swapped', before='reward'),
    'pairs divided twice': bug('pairwise loss divided by the batch twice', before='reward'),
    # step one
    'demonstrations masked by != pad': bug(
        'demonstration masked by != pad where pad may be EOS', before='sft', prepare='pad is EOS'),
    'prompt learnt as well': bug('loss on the prompt as well', before='sft'),
    'labels not shifted': bug('labels not shifted', before='sft'),
    'no position ids (step one)': bug('no position ids (demonstrations)', before='sft'),
}

WHAT = {  # was done, in a few words
    'healthy': 'nothing is wrong',
    'ratio to the reference': 'the ratio is to the reference, not to the policy that sampled',
    'second branch lost its advantage': 'the clipped term is −ratio, without the advantage',
    'surrogate minimised': 'the policy loss has the other sign',
    'smaller of the two policy losses': 'min in place of max of the two policy losses',
    'smaller of the two value losses': 'min in place of max of the two value losses',
    'entropy and value swapped': 'entropy and values change places on unpacking',
    'one place later': "each token gets the next position's log-prob",
    'a fresh token scored': 'a newly drawn token is scored, not the one sampled',
    'packed rows see each other': 'rows that share a bin attend to each other',
    'packed rows see what comes later': 'the causal mask is missing in a bin',
    'k3 as a loss': '0.05 · k3 to the old policy is added to the loss',
    'KL of the update reversed': 'approx_kl has its two policies exchanged',
    'no clipping': 'ε is a million, for ratio and value',
    'one advantage for the batch': 'all tokens get the mean advantage',
    'one advantage a response': 'all tokens of a response get its mean advantage',
    'returns after whitening': 'returns are taken from whitened advantages',
    'whitening adds the mean back': 'whitening shifts by nothing, scales only',
    'no whitening': 'advantages are used as they are',
    'a value after the end': 'the last value once more after the last token',
    'score on the last column': 'the score lies on column R, padding or not',
    'statistics over padding': 'means divide by B · R, not by the tokens',
    'clip fraction over padding': 'the clip fraction is a mean over B · R',
    'entropy over padding': 'the entropy is a mean over B · R',
    'KL with its sign reversed': 'k1 is log π_ref − log π, everywhere',
    'KL rewarded': 'the penalty is added, not subtracted',
    'k3 reversed': 'k3 has its two policies exchanged',
    'k3 in the reward': 'the penalty is β · k3 in place of β · k1',
    'KL over padding': 'the logged KL sums over padding, too',
    'padding earns negative KL': 'what follows the EOS is scored and rewarded',
    'no KL penalty': 'β is 0',
    'β 2': 'β is 2',
    'top-k 10': 'sampled from the ten likeliest, scored in full',
    'scored at another temperature': 'sampled at 0.7, scored at 1',
    'sampled at another temperature': 'sampled at 1, scored at 0.7',
    'first EOS left out': 'the response mask ends before its EOS',
    'masked by != pad': 'pad is EOS, and the mask leaves out pads',
    'no position ids (scoring)': 'positions count padding, where tokens are scored',
    'no position ids (sampling)': 'positions count padding, where tokens are sampled',
    'no attention mask (scoring)': 'one way of scoring reads the padding (PPO uses the other)',
    'log-probs in bf16': 'logits are rounded to 16 bits, sampling and scoring',
    'only scored in bf16': 'logits are rounded to 16 bits in scoring alone',
    'autocast around the optimizer': 'autocast is entered at each step and never left',
    'dropout (policy)': 'dropout 0.1 in the policy, all the time',
    'dropout (reference)': 'dropout 0.1 in the reference',
    'dropout (reward model)': 'dropout 0.1 in the reward model',
    'learning rate × 10': '1e-3 in place of 1e-4',
    'learning rate / 100': '1e-6 in place of 1e-4',
    'rate does not fall': 'the learning rate stays at 1e-4',
    'gradients kept': 'gradients are never set to zero',
    'gradients not clipped': 'the norm of the gradient has no bound',
    "PyTorch's epsilon": "Adam's ε is 1e-8, not 1e-5",
    'weight decay': 'weight decay of 0.01',
    'value head not at zero': 'the value head starts with random weights of deviation 1',
    'policy frozen': 'only the value head learns',
    '16 epochs': '16 epochs an update in place of 4',
    'temperature 0.2': '0.2 in place of 0.7, in sampling and scoring',
    'γ 0.7': 'γ is 0.7, not 1',
    'values not learnt': 'the value loss has weight 0',
    'reference is the policy': 'the reference is the very model that learns',
    'reference not fine-tuned': 'the reference is the model before step one',
    'constant reward': 'every response has score 0',
    'scores shuffled': 'scores go to other responses of the batch',
    'reward reversed': 'the reward model counts negatively',
    'reward pays length': 'the score is the number of tokens, scaled',
    'reward × 20': 'the score is 20 times too large',
    'reward of 100 sentences': 'the reward model learnt from 100 rated sentences',
    'no penalty without EOS': 'nothing is taken where a response does not end',
    'reward reads the last column': 'the reward model reads the last column, be it a pad',
    'reward counts tokens': 'it reads the place that padding on the right would have',
    'pairs without the minus': 'the loss on pairs lacks its minus',
    'chosen and rejected swapped': 'the loss on pairs takes rejected for chosen',
    'pairs divided twice': 'the loss on pairs is divided by the batch twice',
    'demonstrations masked by != pad': 'pad is EOS, and step one leaves out pads',
    'prompt learnt as well': 'step one learns the opening, too',
    'labels not shifted': 'step one learns to repeat the token it reads',
    'no position ids (step one)': 'step one counts padding in its positions',
}

CAUSES = {  # as lesson 10 names what it finds; the other bugs leave no trace that it knows
    'ratio to the reference': 'the ratio is to the reference',
    'second branch lost its advantage': 'the second branch lost its advantage',
    'surrogate minimised': 'the loss has the wrong sign',
    'smaller of the two policy losses': 'clipping does not act',
    'no clipping': 'clipping does not act',
    'entropy and value swapped': 'entropy and value are swapped',
    'one place later': 'other tokens are scored',
    'a fresh token scored': 'other tokens are scored',
    'one advantage for the batch': 'all tokens have one advantage',
    'no whitening': 'advantages are not whitened',
    'whitening adds the mean back': 'whitening adds the mean back',
    'statistics over padding': 'means are taken over padding',
    'KL with its sign reversed': 'the KL has the wrong sign',
    'KL rewarded': 'the KL has the wrong sign',
    'k3 reversed': 'k3 is the wrong way round',
    'no KL penalty': 'there is no KL penalty',
    'β 2': 'the KL penalty is too large',
    'scored at another temperature': 'another temperature',
    'sampled at another temperature': 'another temperature',
    'first EOS left out': 'EOS is not part of the response',
    'masked by != pad': 'EOS is not part of the response',
    'no position ids (sampling)': 'positions are missing',
    'autocast around the optimizer': 'weights are rounded to 16 bits',
    'dropout (policy)': 'dropout is on in the policy',
    'dropout (reference)': 'dropout is on in the reference',
    'learning rate × 10': 'the learning rate is too high',
    'learning rate / 100': 'the learning rate is too low',
    'rate does not fall': 'the learning rate does not fall',
    'value head not at zero': 'the value head starts far from 0',
    'policy frozen': 'the policy is frozen',
    '16 epochs': 'too many epochs',
    'temperature 0.2': 'the temperature is low',
    'γ 0.7': 'γ is below 1',
    'values not learnt': 'values are not learnt',
    'reference is the policy': 'the reference is the policy',
    'reference not fine-tuned': 'the reference is another model',
    'constant reward': 'the reward is constant',
    'scores shuffled': 'scores belong to other responses',
    'reward reversed': 'the reward has the wrong sign',
    'reward pays length': 'the reward pays for length',
    'reward × 20': 'the reward is not scaled',
    'reward of 100 sentences': 'too few comparisons',
    'reward reads the last column': 'the reward reads padding',
    'pairs without the minus': 'the pairs are swapped',
    'chosen and rejected swapped': 'the pairs are swapped',
    'demonstrations masked by != pad': 'step one never learnt to end',
    'labels not shifted': 'step one learnt unshifted labels',
    'no position ids (step one)': 'step one had no positions',
    'score on the last column': 'the score is not on the last token',
    'only scored in bf16': 'log-probs are rounded',
}

NOT_RUN = {  # the other bugs of classic.json, and why they have no run
    'entropy and value swapped on the way out': 'as entropy and value swapped on unpacking',
    'dropout left on (policy)': 'dropout (policy)',
    'dropout left on (policy, from the start)': 'dropout (policy)',
    'dropout left on (reference)': 'dropout (reference)',
    'dropout left on (reward model)': 'dropout (reward model)',
    'dropout left on (reward model, from the start)': 'dropout (reward model)',
    'KL over padding (evaluation)': 'is in no curve of training',
    'reference is trained too': 'the optimizer does not hold its weights',
    'gradients are not clipped': 'gradients not clipped',
}


def constant(scores):
    return torch.zeros_like(scores)


def shuffled(scores):
    return scores[torch.randperm(len(scores), device=scores.device)]


def reversed_sign(scores):
    return -scores


def times_20(scores):
    return 20*scores


REWARDS = {'constant': constant, 'shuffled': shuffled, 'reversed': reversed_sign,
           'times 20': times_20}


def turn_dropout_on(model, rate=0.1):
    "As if `eval()` had been forgotten: nothing turns it off again."
    def ignore(mode=True):
        return model
    model.train(True)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
    model.train = model.eval = ignore


@contextmanager
def in_force(illness):
    "Within it, the functions of this process have the illness's bugs. Yields what could not be."
    living = living_functions()
    before, refused = [], []
    for mutant in chosen_mutants(illness.bugs):
        function = mutant.function
        place = function.node.name, function.module, function.first_line
        for each in living.get(place, []):
            old = each.__code__
            try:
                each.__code__ = code_of(function, mutant.new)
            except ValueError as error:
                refused.append(f'{mutant.difference}: {error}')
            else:
                before.append((each, old))
    try:
        yield refused
    finally:
        for each, old in before:
            each.__code__ = old


def chosen_mutants(bugs):
    functions = [function for module in MODULES for function in functions_of(module)]
    mutants = [each for each in classic_mutants(functions) if each.difference in bugs]
    missing = set(bugs) - {each.difference for each in mutants}
    if missing:
        sys.exit(f'no such bug: {missing}')
    return mutants


def living_functions():
    "Every function object of the package, by name, module and first line."
    found = {}
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and each.__code__.co_filename.startswith(f'{PACKAGE}/'):
            code = each.__code__
            place = code.co_name, module_of(code.co_filename), code.co_firstlineno
            found.setdefault(place, []).append(each)
    return found
