"Tokens: text is text, a tokenizer's own habits are kept, and nothing is lost on the way back."
import json
import warnings

import pytest
import torch
from tiny import decided_gpt2, tiny_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import CTRLTokenizer, PreTrainedTokenizerFast

from rlhf_nbdev.agent import Agent, Rollout
from rlhf_nbdev.dataset import prompt_ids
from rlhf_nbdev.reward import LabelPairs, RatedSentences, ended_ids
from rlhf_nbdev.run.stages import digest_model
from rlhf_nbdev.sft import Demonstrations
from rlhf_nbdev.tools.models import load_model
from rlhf_nbdev.tools.tokens import decode_ids, decode_responses, encode, prefix_ids
from rlhf_nbdev.train import response_texts

WORDS = ['<s>', '</s>', '<pad>', '▁this', '▁film', '▁is', '▁very', '▁good', '.']


def llama_like(template='<s> $A'):
    "A tokenizer that puts BOS before a text, and drops the first space when it decodes."
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, '.'))
    words.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation(), pre_tokenizers.Metaspace()])
    words.decoder = decoders.Metaspace()
    words.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[('<s>', 0), ('</s>', 1)])
    return PreTrainedTokenizerFast(tokenizer_object=words, bos_token='<s>', eos_token='</s>',
                                   pad_token='<pad>')


def save(folder, tokenizer, **model_options):
    "A model's folder with this tokenizer."
    options = {'vocab': max(len(tokenizer), 16)} | model_options
    decided_gpt2(**options).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def alter(folder, file, **changes):
    "Change settings in a JSON file of a model's folder."
    path = folder/file
    settings = json.loads(path.read_text(encoding='utf-8')) | changes
    path.write_text(json.dumps(settings), encoding='utf-8')


def load_quietly(folder):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return load_model(str(folder))


# EOS

def test_the_end_that_is_taught_ends_a_response(tmp_path):
    save(tmp_path, tiny_tokenizer())
    alter(tmp_path, 'tokenizer_config.json', eos_token='.')
    with pytest.warns(UserWarning, match=r"ends texts with '\.'"):
        model, tokenizer = load_model(str(tmp_path))
    agent = Agent(model)
    taught = Demonstrations(tokenizer, ['A small film, and a good one'], 2, 40)[0]['tokens'][-1]
    assert taught == tokenizer.convert_tokens_to_ids('.')
    assert agent.is_eos(taught)
    assert agent.is_eos(torch.tensor(0)), 'the end that the model knew before ends, too'


@pytest.mark.parametrize('eos', [0, [0], [5, 0]])
def test_where_they_agree_nothing_is_said(tmp_path, eos):
    save(tmp_path, tiny_tokenizer())
    alter(tmp_path, 'generation_config.json', eos_token_id=eos)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        model, tokenizer = load_model(str(tmp_path))
    assert model.generation_config.eos_token_id == eos
    assert tokenizer.eos_token_id == 0


def test_an_end_that_only_the_model_knows_is_taught(tmp_path):
    tokenizer = tiny_tokenizer()
    word = tokenizer.convert_ids_to_tokens(0)
    tokenizer.eos_token = tokenizer.bos_token = tokenizer.pad_token = None
    model, loaded = load_model(save(tmp_path, tokenizer))
    assert (loaded.eos_token, loaded.pad_token) == (word, word)


def test_without_any_end_a_model_is_refused(tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    save(tmp_path, tokenizer)
    for file in ('config.json', 'generation_config.json'):
        alter(tmp_path, file, eos_token_id=None)
    with pytest.raises(ValueError, match='neither the tokenizer nor generation_config.json'):
        load_model(str(tmp_path))


def test_another_end_is_another_step(tmp_path):
    names = set()
    for k, eos in enumerate(('<|endoftext|>', '.')):
        folder = tmp_path/str(k)
        save(folder, tiny_tokenizer())
        alter(folder, 'tokenizer_config.json', eos_token=eos)
        names.add(digest_model(*load_quietly(folder)))
    alter(tmp_path/'0', 'generation_config.json', eos_token_id=[0, 7])
    names.add(digest_model(*load_quietly(tmp_path/'0')))
    assert len(names) == 3


# How a tokenizer cuts

def test_texts_are_cut_on_the_right_whatever_the_file_says(tmp_path):
    save(tmp_path, tiny_tokenizer())
    alter(tmp_path, 'tokenizer_config.json', truncation_side='left', padding_side='right')
    _, tokenizer = load_model(str(tmp_path))
    text = 'A small film, and a good one.'
    opening = prompt_ids(tokenizer, [text], 3)[0]
    assert text.startswith(tokenizer.decode(opening))


def test_a_tokenizer_of_one_s_own_that_cuts_on_the_left_is_not_asked_to_cut():
    tokenizer, text = tiny_tokenizer(), 'A small film, and a good one.'
    tokenizer.truncation_side = 'left'
    assert text.startswith(tokenizer.decode(prompt_ids(tokenizer, [text], 3)[0]))


def test_a_slow_tokenizer_is_refused(tmp_path):
    decided_gpt2().save_pretrained(tmp_path)
    words = {'A</w>': 0, 'film</w>': 1, '<unk>': 2}
    (tmp_path/'vocab.json').write_text(json.dumps(words), encoding='utf-8')
    (tmp_path/'merges.txt').write_text('#version: 0.2\nf i\n', encoding='utf-8')
    CTRLTokenizer(str(tmp_path/'vocab.json'), str(tmp_path/'merges.txt')).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match='CTRLTokenizer is a slow tokenizer'):
        load_model(str(tmp_path))


def test_the_name_of_a_special_token_is_text_everywhere():
    tokenizer, eos = tiny_tokenizer(), '<|endoftext|>'
    text = f'A film. {eos} It ends {eos}'
    assert tokenizer.eos_token_id in tokenizer(text)['input_ids']
    rated = RatedSentences(tokenizer, pd_table(text))
    pairs = LabelPairs(tokenizer, [text, text], [1, 0], 4, 64)
    ids = [
        *encode(tokenizer, [text])['input_ids'],
        *prompt_ids(tokenizer, [text], 30),
        ended_ids(tokenizer, [text])[0][:-1],
        rated.ids[0][:-1],
        pairs[0]['chosen'][pairs[0]['chosen_mask'].bool()][:-1].tolist(),
        Demonstrations(tokenizer, [text], 2, 60).rows[0][0][:-1],
    ]
    for each in ids:
        assert each and tokenizer.eos_token_id not in each


def pd_table(text):
    import pandas as pd
    return pd.DataFrame({'text': [text], 'ratings': [[1, 2]]})


def test_a_name_that_is_a_word_of_the_vocabulary_is_left_out():
    tokenizer = llama_like()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(' ', 'removed')
    ids = encode(tokenizer, ['▁this </s> ▁film'], return_offsets_mapping=True)
    assert ids['input_ids'] == [[3, 4]]
    assert ids['offset_mapping'] == [[(0, 5), (11, 16)]]
    assert decode_ids(tokenizer, [3, 4, 1]) == decode_ids(tokenizer, [3, 4])


# BOS

def test_what_a_tokenizer_puts_before_a_text_stands_before_every_text():
    tokenizer, text = llama_like(), 'this film is very good.'
    assert prefix_ids(tokenizer) == [0] and prefix_ids(tiny_tokenizer()) == []
    assert prompt_ids(tokenizer, [text], 3) == [[0, 3, 4]]
    assert ended_ids(tokenizer, [text]) == [[0, 3, 4, 5, 6, 7, 8, 1]]
    ids, opening = Demonstrations(tokenizer, [text], 3, 8).rows[0]
    assert (ids, opening) == ([0, 3, 4, 5, 6, 7, 8, 1], 3)
    pair = LabelPairs(tokenizer, [text, text], [1, 0], 4, 8)[0]
    chosen = pair['chosen'][pair['chosen_mask'].bool()].tolist()
    assert chosen[0] == 0 and chosen.count(0) == 1 and chosen[-1] == 1
    assert len(pair['chosen']) == 8


def test_an_eos_of_the_tokenizer_s_own_comes_once():
    tokenizer = llama_like('<s> $A </s>')
    assert prefix_ids(tokenizer) == [0]
    assert ended_ids(tokenizer, ['this film']) == [[0, 3, 4, 1]]
    assert prompt_ids(tokenizer, ['this film'], 3) == [[0, 3, 4]]


def test_a_prompt_needs_room_behind_what_the_tokenizer_puts_first():
    with pytest.raises(ValueError, match='prompt_length'):
        prompt_ids(llama_like(), ['this film'], 1)


# Back to text

def test_a_response_keeps_the_space_before_it():
    tokenizer = llama_like()
    tokens = torch.tensor([[2, 0, 3, 4, 5, 6, 7, 1], [0, 3, 4, 5, 8, 1, 2, 2]])
    mask = torch.tensor([[0, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 0, 0]])
    nothing = torch.zeros(2, 4)
    rollout = Rollout(tokens, mask, mask[:, -4:], nothing, nothing)
    assert response_texts([rollout], tokenizer) == [' is very good', '.']


def test_a_prompt_that_ends_within_a_character_loses_no_response():
    _, tokenizer = load_model()
    ids = encode(tokenizer, ['漢字'])['input_ids'][0]
    texts = decode_responses(tokenizer, [ids[:1]], [ids[1:] + [0]])
    assert len(texts) == 1 and texts[0].endswith('字')
