"""One model in the shapes that people have it in: read as it should be, or refused in one line.

The architectures themselves are in `test_architectures.py`."""
import copy
import json
import warnings

import pytest
import torch
from architectures import ARCHITECTURES, EOS, PAD, P, R, outcome, tiny, tiny_tokenizer
from test_architectures import SLIGHT, hold_all, prompts
from tiny import close
from tokenizers import processors
from transformers import AutoModelForSequenceClassification

from rlhf_nbdev.agent import Agent
from rlhf_nbdev.ppo import RLHFTrainer
from rlhf_nbdev.reward import RewardModel
from rlhf_nbdev.tools.models import load_model
from rlhf_nbdev.tools.reading import reading_way
from rlhf_nbdev.tools.tokens import decode_responses, encode, prefix_ids

pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.fixture
def folder(tmp_path):
    "A function that saves a model and its tokenizer, and returns their folder."
    def save(model=None, tokenizer=None, **options):
        (model or tiny('llama')).save_pretrained(tmp_path/'model', **options)
        (tokenizer or tiny_tokenizer()).save_pretrained(tmp_path/'model')
        return tmp_path/'model'

    return save


def change(path, **entries):
    "Set entries of a JSON file."
    found = json.loads(path.read_text(encoding='utf-8'))
    path.write_text(json.dumps(found | entries), encoding='utf-8')


def warned(function, *arguments):
    "What a function returns, and its warnings as one text."
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        result = function(*arguments)
    return result, ' '.join(str(warning.message) for warning in caught)


def refuse(function, *words):
    "A ValueError or OSError in one line, with these words, and no other error."
    with pytest.raises((ValueError, OSError)) as caught:
        function()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for word in words:
        assert word in message


MEMORY = {  # models as they may be when an agent is made of them
    'GPT-2, tied': lambda: tiny('gpt2', tie_word_embeddings=True),
    'GPT-2, not tied': lambda: tiny('gpt2', tie_word_embeddings=False),
    'Llama, tied': lambda: tiny('llama', tie_word_embeddings=True),
    'Llama, YaRN': lambda: tiny('llama', rope_parameters={
        'rope_type': 'yarn', 'rope_theta': 10000.0, 'factor': 4.0,
        'original_max_position_embeddings': 16}),
    'dropout': lambda: tiny('gpt2', resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5),
    'dropout of another family': lambda: tiny('opt', ffn_dim=48, word_embed_proj_dim=32,
                                              dropout=0.5, attention_dropout=0.5, layerdrop=0.5),
    'in training mode': lambda: tiny('gpt2', resid_pdrop=0.5).train(),
    'context of P + R': lambda: tiny('gpt2', max_position_embeddings=P + R),
    'context of P + R, no attention cache': lambda: tiny(
        'openai-gpt', max_position_embeddings=P + R),
    'use_cache off': lambda: tiny('llama', use_cache=False),
    'hidden states asked for': lambda: tiny('llama', output_hidden_states=True),
    'router logits asked for': lambda: tiny(
        'mixtral', output_router_logits=True, num_local_experts=4, num_experts_per_tok=2),
    'gradient checkpointing': lambda: checkpointed(tiny('llama')),
    'window as long as P + R': lambda: tiny('mistral', sliding_window=P + R),
    'window one shorter than P + R': lambda: tiny('mistral', sliding_window=P + R - 1),
    'window of 2': lambda: tiny('mistral', sliding_window=2),
    'eager': lambda: with_attention('llama', 'eager'),
    'sdpa': lambda: with_attention('llama', 'sdpa'),
    'eager, window of 8': lambda: with_attention('mistral', 'eager', sliding_window=8),
    'sdpa, window of 8': lambda: with_attention('mistral', 'sdpa', sliding_window=8),
    'eager, both kinds of layers': lambda: with_attention(
        'lfm2', 'eager', layer_types=['conv', 'full_attention']),
    'more tokens': lambda: resized(tiny('gpt2'), 101),
}


def test_that_rows_are_read_with_padding_is_said_once():
    def score(agent):
        for _ in range(2):
            rollout = agent.generate(*prompts(), R)
            agent(rollout.tokens, rollout.mask, R)

    _, said = warned(score, Agent(ARCHITECTURES['LFM2']()))
    assert said.count('Lfm2Model') == 1
    _, said = warned(score, Agent(tiny('gpt2')))
    assert 'GPT2' not in said


def test_a_window_of_one_token_is_refused():
    refuse(lambda: Agent(tiny('mistral', sliding_window=1)), 'Mistral')


def test_a_window_is_noticed_when_rows_outgrow_it():
    model = tiny('mistral', sliding_window=32)
    trunk, reward_model = model.base_model, RewardModel(model)
    assert [reading_way(trunk, length) for length in (16, 32, 33, 16)] == [
        'packed', 'packed', 'padded', 'padded']
    tokens = torch.randint(8, 96, (3, 60), generator=torch.manual_seed(0))
    mask = (torch.arange(60) < torch.tensor([[60], [40], [9]])).long()
    with torch.no_grad():
        scores = reward_model(tokens, mask)
        for row, length in enumerate([60, 40, 9]):
            states = model.base_model(tokens[row:row + 1, :length]).last_hidden_state
            close(scores[row:row + 1], reward_model.head(states[:, -1])[:, 0], 1e-4)


@pytest.mark.parametrize('name', ['Gemma 2', 'Granite', 'OPT, projected', 'Mistral, window of 8',
                                  'LFM2', 'Mixtral'])
def test_gradients_are_those_of_each_row_alone(name):
    model = ARCHITECTURES[name]()
    agent = Agent(model)
    torch.manual_seed(2)
    rollout = agent.generate(*prompts(), R)
    logprobs, _, _ = agent(rollout.tokens, rollout.mask, R, temperature=1.0)
    weights = [p for p in model.parameters() if p.requires_grad]
    ours = torch.autograd.grad(logprobs.exp().sum(), weights, allow_unused=True)
    total = 0
    for tokens, mask, sampled in zip(rollout.tokens, rollout.mask, rollout.response_mask):
        ids, n = tokens[mask.bool()], sampled.sum()
        dists = model(input_ids=ids[None]).logits[0, -n - 1:-1].log_softmax(-1)
        total += dists.gather(-1, ids[-n:, None]).exp().sum()
    theirs = torch.autograd.grad(total, weights, allow_unused=True)
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            close(a, b, 1e-3)


def checkpointed(model):
    model.gradient_checkpointing_enable()
    return model


def with_attention(model_type, attention, **options):
    model = tiny(model_type, **options)
    model.set_attn_implementation(attention)
    return model


def resized(model, vocabulary):
    model.resize_token_embeddings(vocabulary)
    return model


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=[pytest.mark.sweep] if i % 2 else [])
    for i, name in enumerate(MEMORY)])
def test_a_variation_is_read_as_it_is_alone(name, tmp_path):
    hold_all(MEMORY[name](), tmp_path)


@pytest.mark.parametrize('eos, pad', [(2, 2), (2, None), (EOS, 2), (EOS, 95), ([2], 0)])
def test_eos_and_pad_as_a_model_has_them(eos, pad, tmp_path):
    model = tiny('gpt2')
    model.generation_config.eos_token_id = eos
    model.generation_config.pad_token_id = pad
    agent = hold_all(model, tmp_path)
    assert agent.eos_token_ids == (eos if isinstance(eos, list) else [eos])
    assert agent.pad_token_id == (2 if pad is None else pad)


@pytest.mark.parametrize('eos, pad', [(None, 1), (96, 1), (-1, 1), ([2, 96], 1), ('</s>', 1),
                                      ([], 1), (2.0, 1), (2, 96), (2, -1)])
def test_eos_and_pad_that_cannot_be(eos, pad):
    model = tiny('gpt2')
    model.generation_config.eos_token_id = eos
    model.generation_config.pad_token_id = pad
    refuse(lambda: Agent(model), 'token')


@pytest.mark.parametrize('model_type', ['gpt2', 'llama', 'mpt', 'openai-gpt'])
def test_a_context_shorter_than_prompt_and_response_is_refused_at_once(model_type):
    model = tiny(model_type, max_position_embeddings=P + R - 1)
    agent = Agent(model)
    refuse(lambda: RLHFTrainer(agent, copy.deepcopy(model), SLIGHT), str(P + R), str(P + R - 1))


@pytest.mark.parametrize('name', ['Mistral, window of 8', 'LFM2', 'Qwen3-Next', 'MiniMax', 'BERT',
                                  'BLOOM', 'Llama'])
@pytest.mark.parametrize('precision', [torch.bfloat16, torch.float16])
def test_rounded_weights_do_not_hide_a_wrong_mask(name, precision):
    expected = outcome(name, ARCHITECTURES[name]())
    found = outcome(name, ARCHITECTURES[name]().to(precision))
    assert found['read'] in (expected['read'], 'refused')  # rounding may be too much for a model


def test_a_frozen_model_can_be_a_reward_model_and_no_policy():
    model = tiny('llama').requires_grad_(False)
    agent = Agent(model)
    refuse(lambda: RLHFTrainer(agent, copy.deepcopy(model), SLIGHT), 'frozen')
    assert all(p.requires_grad for p in RewardModel(model).parameters())


@pytest.mark.parametrize('kind', [
    lambda: tiny('gpt2').base_model,
    lambda: AutoModelForSequenceClassification.from_config(tiny('gpt2').config),
])
def test_a_model_that_is_no_language_model_is_refused(kind):
    model = kind()
    refuse(lambda: Agent(model), type(model).__name__)


def test_weights_that_are_not_numbers_are_refused():
    model = tiny('gpt2')
    model.transformer.h[0].attn.c_attn.weight.data.fill_(float('nan'))
    with pytest.raises((ValueError, FloatingPointError)) as caught:
        Agent(model).generate(*prompts(), R)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize('precision', [torch.bfloat16, torch.float16])
def test_half_precision_on_disk_is_read_as_float32(precision, folder):
    saved = tiny('llama').to(precision)
    model, _ = load_model(str(folder(saved)))
    assert model.dtype == torch.float32
    close(dict(model.state_dict()), dict(saved.float().state_dict()), 0)


def test_weights_in_several_files_are_read_whole(folder):
    saved = tiny('llama')
    path = folder(saved, max_shard_size='20KB')
    assert len(list(path.glob('model-*.safetensors'))) > 2
    close(dict(load_model(str(path))[0].state_dict()), dict(saved.state_dict()), 0)
    sorted(path.glob('model-*.safetensors'))[1].unlink()
    refuse(lambda: load_model(str(path)), str(path))


@pytest.mark.parametrize('name', ['Falcon', 'Falcon, ALiBi', 'BLOOM', 'MPT', 'Gemma 2', 'gpt-oss'])
def test_a_loaded_model_says_what_the_library_says(name, folder):
    saved = ARCHITECTURES[name]()
    model, _ = load_model(str(folder(saved)))
    tokens = torch.arange(8, 20)[None]
    with torch.no_grad():
        close(model(tokens).logits, saved(tokens).logits, 1e-4)


def test_without_a_generation_config_eos_comes_from_the_configuration(folder):
    path = folder()
    (path/'generation_config.json').unlink()
    model, tokenizer = load_model(str(path))
    agent = Agent(model)
    assert (agent.eos_token_ids, agent.pad_token_id, tokenizer.eos_token_id) == ([2], PAD, 2)


@pytest.mark.parametrize('special, eos, pad', [
    ({}, 2, 1),
    ({'pad_token': None}, 2, 2),
    ({'pad_token': '</s>'}, 2, 2),
    ({'eos_token': None}, 2, 1),
    ({'eos_token': None, 'pad_token': None}, 2, 2),
])
def test_tokenizer_and_model_agree_on_eos_and_pad(special, eos, pad, folder):
    model, tokenizer = load_model(str(folder(tokenizer=tiny_tokenizer(**special))))
    agent = Agent(model)
    assert tokenizer.eos_token_id == eos in agent.eos_token_ids
    assert tokenizer.pad_token_id == agent.pad_token_id == pad
    ids = tokenizer(['a', 'a film'], padding=True, return_tensors='pt')
    assert ids['input_ids'].shape == (2, 6)
    assert ids['attention_mask'].sum().item() == 7


def test_two_eos_of_unlike_kind_both_end_a_response_and_it_is_said(folder):
    path = folder(tokenizer=tiny_tokenizer(eos_token='.'))
    change(path/'generation_config.json', eos_token_id=[2, 5])
    (model, tokenizer), said = warned(load_model, str(path))
    assert tokenizer.eos_token == '.'
    assert set(Agent(model).eos_token_ids) == {tokenizer.eos_token_id, 2, 5}
    assert "'.'" in said


def test_no_eos_anywhere_is_refused(folder):
    path = folder(tokenizer=tiny_tokenizer(eos_token=None, pad_token=None))
    for file in ('config.json', 'generation_config.json'):
        change(path/file, eos_token_id=None, pad_token_id=None)
    refuse(lambda: load_model(str(path)), str(path), 'EOS')


@pytest.mark.parametrize('eos', [96, [2, 96], -1])
def test_an_eos_outside_the_vocabulary_is_refused_when_the_model_is_loaded(eos, folder):
    path = folder()
    change(path/'generation_config.json', eos_token_id=eos)
    refuse(lambda: Agent(load_model(str(path))[0]), 'token')


def test_a_tokenizer_that_cuts_and_pads_on_other_sides_is_set_right(folder):
    path = folder()
    change(path/'tokenizer_config.json', truncation_side='left', padding_side='right')
    _, tokenizer = load_model(str(path))
    assert (tokenizer.truncation_side, tokenizer.padding_side) == ('right', 'left')
    assert tokenizer(['abc'], truncation=True, max_length=2)['input_ids'] == [[3, 4]]


def with_template(before, after):
    "A tokenizer that puts tokens of its own before and after each text."
    tokenizer = tiny_tokenizer()
    special = [('<s>', 0), ('</s>', 2)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f'{before} $A {after}'.strip(), pair=None, special_tokens=special)
    return tokenizer


@pytest.mark.parametrize('before, after, prefix', [
    ('', '', []), ('<s>', '', [0]), ('<s>', '</s>', [0]), ('', '</s>', [])])
def test_a_tokenizer_that_adds_bos_is_read_with_it(before, after, prefix, folder):
    _, tokenizer = load_model(str(folder(tokenizer=with_template(before, after))))
    assert prefix_ids(tokenizer) == prefix
    assert encode(tokenizer, ['ab', ''])['input_ids'] == [[3, 4], []]


def test_tokens_beyond_those_of_the_tokenizer_may_be_sampled_and_decoded(folder):
    model, tokenizer = load_model(str(folder()))
    assert model.get_input_embeddings().num_embeddings > len(tokenizer) + 10
    assert decode_responses(tokenizer, [[3]], [[4, 90, 95, 5]]) == ['bc']


def test_a_slow_tokenizer_is_refused(folder):
    path = folder(tiny('ctrl', dff=48))
    (path/'tokenizer.json').unlink()
    change(path/'tokenizer_config.json', tokenizer_class='CTRLTokenizer')
    (path/'vocab.json').write_text(json.dumps({'<unk>': 0, 'a</w>': 1}), encoding='utf-8')
    (path/'merges.txt').write_text('#version: 0.2\n', encoding='utf-8')
    refuse(lambda: load_model(str(path)), str(path), 'slow')


def test_a_tokenizer_that_makes_nothing_of_a_text_is_refused(folder):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    words = Tokenizer(models.WordLevel({'</s>': 0, 'good': 1}, unk_token='</s>'))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token='</s>')
    path = folder(tiny('qwen2'), tokenizer)  # which the library reads as a Qwen2Tokenizer
    refuse(lambda: load_model(str(path)), str(path))


def test_a_generation_config_the_library_would_not_save_is_refused_before_anything_is_learnt(
        tmp_path):
    model = tiny('llama')
    model.generation_config.temperature = 0.6  # without do_sample, as older chat models have it
    try:
        agent = Agent(model)
    except ValueError as error:
        assert len(str(error).splitlines()) == 1
        return
    agent.save_pretrained(tmp_path, tiny_tokenizer())
    assert Agent.from_pretrained(tmp_path).eos_token_ids == EOS
