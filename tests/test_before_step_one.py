"Whatever a run will need is tried before step one, and nothing is begun if it cannot be had."
import shutil
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from architectures import ARCHITECTURES
from small_runs import MODEL, REVIEWS, SMALL, small_files
from tiny import TEXTS, tiny_gpt2, tiny_tokenizer
from warm import assert_refused, run

from rlhf_nbdev.agent import Agent
from rlhf_nbdev.dataset import Prompts
from rlhf_nbdev.ppo import RLHFConfig
from rlhf_nbdev.reward import LabelPairs, RatedSentences, RewardModel
from rlhf_nbdev.run import inputs
from rlhf_nbdev.run.stages import RunConfig, learn_from_people
from rlhf_nbdev.sft import Demonstrations
from rlhf_nbdev.tools.models import load_model

__all__ = ['small_files']  # a fixture
pytestmark = pytest.mark.usefixtures('small_files')


def save_model(folder, context, eos='<|endoftext|>', template=None):
    "A random model that reads so many tokens, with the embedded one's tokenizer."
    tokenizer = load_model()[1]
    tokenizer.eos_token, tokenizer.chat_template = eos, template
    V = len(tokenizer)
    model = tiny_gpt2(vocab=V, width=8, layers=1, heads=1, context=context,
                      eos=tokenizer.eos_token_id, pad=tokenizer.pad_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def refused_at_once(result, message, folder):
    assert_refused(result, message)
    assert 'fine-tuning' not in result.stderr
    assert not folder.exists()


# contexts

def test_a_model_that_drifts_step_by_step_is_refused_before_step_one():
    config = RLHFConfig(prompt_length=8, response_length=24)
    agent = Agent(ARCHITECTURES['Nemotron-H']())
    found = SimpleNamespace(base=agent, tokenizer=None)
    with pytest.raises(ValueError, match='NemotronHForCausalLM says something else'):
        inputs.try_steps(RunConfig(device='cpu'), config, found)


def test_a_context_shorter_than_prompt_and_response_is_refused(tmp_path):
    model = save_model(tmp_path/'model', context=12)
    result = run(*SMALL, '--model', model, '--out', tmp_path/'run')
    message = 'prompt_length 8 + response_length 6 = 14 tokens exceed the context of 12'
    refused_at_once(result, message, tmp_path/'run')


def test_a_context_of_just_prompt_and_response_leaves_long_sentences_out(tmp_path):
    model = save_model(tmp_path/'model', context=44)
    options = ['--response_length', '36', '--updates', '1']
    result = run(*SMALL, *options, '--model', model, '--out', tmp_path/'run')
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'rated sentences kept' in result.stderr and 'longer than 44 tokens' in result.stderr


def test_sentences_that_cannot_be_read_are_left_out_on_both_sides():
    tokenizer = load_model()[1]
    reward_model = RewardModel(tiny_gpt2(vocab=len(tokenizer), context=32))
    texts = [f'{text} {"a"*(i//4)}' for i, text in enumerate(TEXTS[:4]*24)]
    texts += [f'{" ".join(TEXTS)} {"a"*i}' for i in range(48)]
    ratings = pd.DataFrame({'text': texts}).assign(
        ratings=[[i % 3, 1] for i in range(len(texts))], mean=[i % 3 for i in range(len(texts))])
    run_config = RunConfig(rated_sentences=80, device='cpu')
    with pytest.warns(UserWarning, match='longer than 32 tokens') as heard:
        figures = learn_from_people(reward_model, tokenizer, ratings, run_config)
    sides = [each for each in heard if 'longer than 32 tokens' in str(each.message)]
    assert len(sides) == 2, 'of those to learn from, and of those held out'
    assert 0 <= figures['accuracy'] <= 1


# folders, disk, memory

@pytest.mark.parametrize('option', ['out', 'stages'])
def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_read(option, tmp_path):
    (tmp_path/'file').write_text('')
    options = {'out': tmp_path/'run', 'stages': tmp_path/'stages'} | {option: tmp_path/'file'/'x'}
    given = [word for name, path in options.items() for word in (f'--{name}', path)]
    result = run(*SMALL, *given)
    refused_at_once(result, f'name another folder with --{option}', tmp_path/'run')


def test_a_full_disk_is_noticed(monkeypatch, tmp_path):
    model, _ = load_model()
    run_config = RunConfig(out=str(tmp_path/'run'), stages=str(tmp_path), device='cpu')
    inputs.require_room(run_config, RLHFConfig(), model)
    free = 8*4*model.num_parameters()  # nine will be written
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: SimpleNamespace(free=free))
    with pytest.raises(OSError, match='MB will be written there, and .* MB are free'):
        inputs.require_room(run_config, RLHFConfig(), model)


def test_too_little_memory_is_noticed_and_microbatches_named():
    model = tiny_gpt2(vocab=1000, width=8)
    config = RLHFConfig(batch_size=64, minibatches=2, response_length=32)
    weights, logits = inputs.step_memory(model, config)
    assert logits == 2*4*32*32*1000
    assert weights == 6*4*model.num_parameters()
    inputs.require_memory(model, config, weights + logits)
    with pytest.raises(ValueError, match='--microbatches'):
        inputs.require_memory(model, config, weights + logits - 1)
    smaller = RLHFConfig(batch_size=64, minibatches=2, response_length=32, microbatches=8)
    inputs.require_memory(model, smaller, weights + logits - 1)


def test_memory_is_asked_for_before_data_are_read(monkeypatch):
    monkeypatch.setattr(inputs, 'room_in_memory', lambda device: 1000)
    monkeypatch.setattr(inputs, 'prompt_sets', lambda *args: pytest.fail('too late'))
    with pytest.raises(ValueError, match='one optimizer step takes'):
        inputs.load_inputs(RunConfig(device='cpu'), RLHFConfig(), begun=False)


# models that were given

@pytest.mark.parametrize('change, message', [
    ({'eos': '!'}, 'another EOS token'),
    ({'template': '{{ messages }}'}, 'another chat template'),
])
@pytest.mark.parametrize('option', ['sft', 'reward'])
def test_another_eos_or_template_is_refused(option, change, message, tmp_path):
    folder = save_model(tmp_path/'given', context=64, **change)
    if option == 'reward':
        model, _ = load_model(str(folder))
        RewardModel(model).save_pretrained(folder)
    result = run(*SMALL, f'--{option}', folder, '--out', tmp_path/'run')
    refused_at_once(result, message, tmp_path/'run')


def test_a_given_model_of_a_shorter_context_is_refused(tmp_path):
    folder = save_model(tmp_path/'given', context=12)
    result = run(*SMALL, '--sft', folder, '--out', tmp_path/'run')
    refused_at_once(result, 'exceed the context of 12', tmp_path/'run')


# rates

def test_rates_are_those_of_the_model_unless_asked_for():
    embedded, other = RunConfig(), RunConfig(model='gpt2')
    assert (embedded.sft_learning_rate, embedded.reward_learning_rate) == (3e-4, 3e-4)
    assert (other.sft_learning_rate, other.reward_learning_rate) == (6.25e-5, 5e-5)
    assert RunConfig(model='gpt2', sft_learning_rate=1e-5).sft_learning_rate == 1e-5
    again = RunConfig(**vars(other))
    assert again == other


@pytest.mark.parametrize('rate', [-1e-4, float('nan'), float('inf')])
@pytest.mark.parametrize('name', ['sft_learning_rate', 'reward_learning_rate'])
def test_a_rate_that_is_none_is_refused(name, rate):
    with pytest.raises(ValueError, match=f'{name} must be at least 0'):
        RunConfig(**{name: rate})


def test_the_rates_are_what_steps_one_and_two_learn_at(monkeypatch, tmp_path):
    from rlhf_nbdev.run import stages
    rates = {}
    monkeypatch.setattr(stages, 'train_sft', lambda *args, learning_rate: rates.update(
        sft=learning_rate) or [{'held_out': 1.0}])
    monkeypatch.setattr(stages, 'train_reward_model', lambda *args, learning_rate: rates.update(
        reward=learning_rate))
    model, tokenizer = load_model(str(MODEL))
    asked = RunConfig(sft_learning_rate=1e-5, reward_learning_rate=2e-5, sft_sentences=8,
                      reward_pairs=8, ratings='labels', device='cpu', stages=str(tmp_path),
                      data=str(REVIEWS), n_train=250, model=str(MODEL))
    stages.fine_tune(asked, RLHFConfig(), model, tokenizer)
    data = inputs.review_prompts(tokenizer, asked, RLHFConfig())
    data = {split: SimpleNamespace(texts=each.texts[:200], labels=each.labels[:200])
            for split, each in data.items()}
    stages.fit_reward_model(asked, RLHFConfig(), model, tokenizer, None, data)
    assert rates == {'sft': 1e-5, 'reward': 2e-5}


def test_whoever_takes_another_model_is_told_of_ppos_rate(capsys):
    inputs.mention_learning_rate(RunConfig(), RLHFConfig())
    inputs.mention_learning_rate(RunConfig(model='gpt2'), RLHFConfig(learning_rate=1e-5))
    assert capsys.readouterr().out == ''
    inputs.mention_learning_rate(RunConfig(model='gpt2'), RLHFConfig())
    assert '--learning_rate 1e-5' in capsys.readouterr().out


# the trial itself

def test_a_whole_row_is_read_and_a_first_score_must_be_a_number():
    read = []
    model, tokenizer = load_model()
    config = RLHFConfig(response_length=12)
    run_config = RunConfig(device='cpu', data=str(REVIEWS), n_train=250)
    data = inputs.prompt_sets(tokenizer, run_config, config)
    agent = inputs.Agent(model)

    def reward(tokens, mask):
        read.append(tuple(tokens.shape))
        return torch.tensor([scores.pop()])

    scores = [0.0, 0.0]
    inputs.try_response(agent, data['train'], config, reward)
    assert read[-1] == (2, 20)
    scores = [float('nan'), 0.0]
    with pytest.raises(ValueError, match='the reward of a first response is nan'):
        inputs.try_response(agent, data['train'], config, reward)


# a tokenizer without a pad token

@pytest.mark.parametrize('make', [
    lambda tokenizer, reviews: Demonstrations(tokenizer, TEXTS),
    lambda tokenizer, reviews: RatedSentences(tokenizer, reviews),
    lambda tokenizer, reviews: LabelPairs(tokenizer, TEXTS, [0, 1]*6, 4),
    lambda tokenizer, reviews: Prompts(tokenizer, TEXTS, 32),
], ids=['demonstrations', 'rated sentences', 'label pairs', 'prompts'])
def test_a_tokenizer_without_a_pad_token_is_refused_in_a_line(make):
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    ratings = pd.DataFrame({'text': TEXTS, 'ratings': [[1, 2]]*12})
    with pytest.raises(ValueError, match='has no pad token'):
        make(tokenizer, ratings)[0]
