"`rlhf-train --chat`: a whole run, a kill, what it refuses. The chat model is tiny and random."
import json
import shutil
import sys
import time
from contextlib import redirect_stdout
from io import StringIO

import pytest
import torch
from fewer_texts import fewer_sentences
from safetensors.torch import load_file
from small_runs import metrics
from tiny import tiny_gpt2
from transformers import LlamaConfig, LlamaForCausalLM
from warm import assert_refused, fork, run, run_well
from word_judge import WordJudge

from rlhf_nbdev.beyond import MethodConfig
from rlhf_nbdev.dialog import NEW_FILMS, add_lora, film_questions
from rlhf_nbdev.ppo import RLHFConfig
from rlhf_nbdev.reward import RewardModel
from rlhf_nbdev.run import chat, dialogs, inputs, stages
from rlhf_nbdev.run.chat_panel import comparison_record
from rlhf_nbdev.run.checkpoint import read_checkpoint
from rlhf_nbdev.run.command import parse_options, train
from rlhf_nbdev.run.dialogs import CHAT_PPO, CHAT_RUN
from rlhf_nbdev.run.stages import RunConfig
from rlhf_nbdev.tools.models import load_model

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '<|endoftext|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}")
REWARD = """
def many_vowels(prompts, responses):
    assert not any(text.startswith('user: ') or 'assistant' in text for text in prompts)
    return [sum(text.count(vowel) for vowel in 'aeiou') for text in responses]
"""


def save_chat_model(folder, layers=10, template=TEMPLATE):
    "A random model of the Llama kind, with the embedded one's tokens."
    tokenizer = load_model()[1]
    tokenizer.chat_template = template
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_attention_heads=2,
        num_hidden_layers=layers, max_position_embeddings=160, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    LlamaForCausalLM(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    "A chat model, a reward model, a function as a reward."
    top = tmp_path_factory.mktemp('chat')
    save_chat_model(top/'model')
    tokenizer = load_model()[1]
    small = tiny_gpt2(vocab=len(tokenizer), context=256,
                      eos=tokenizer.eos_token_id, pad=tokenizer.pad_token_id)
    RewardModel(small).save_pretrained(top/'reward')
    tokenizer.save_pretrained(top/'reward')
    (top/'mine.py').write_text(REWARD)
    return top


def settings_of(files, **changes):
    "Small settings, as the two configurations have them."
    run = CHAT_RUN | {
        'model': str(files/'model'), 'stages': str(files/'stages'), 'sft_sentences': 32,
        'eval_prompts': 6, 'save_every': 1, 'device': 'cpu', 'reward': str(files/'reward')}
    ppo = CHAT_PPO | {'batch_size': 8, 'response_length': 8, 'updates': 3}
    for name, value in changes.items():
        (run if hasattr(RunConfig, name) else ppo)[name] = value
    return RunConfig(**run), MethodConfig(**ppo)


def options_of(files, **changes):
    "The same on the command line, but for what is the default."
    given = {
        'model': files/'model', 'stages': files/'stages', 'sft_sentences': 32, 'eval_prompts': 6,
        'save_every': 1, 'device': 'cpu', 'batch_size': 8, 'response_length': 8, 'updates': 3}
    words = ['--chat']
    for name, value in (given | changes).items():
        words += [f'--{name}', value]
    return words


@pytest.fixture(scope='module', autouse=True)
def few_sentences():
    "Read once, and as in forks."
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dialogs, 'load_sentences', fewer_sentences)
        yield


def train_quietly(*configs):
    with redirect_stdout(StringIO()):
        return train(*configs)


@pytest.fixture(scope='module')
def whole(files):
    "A complete run."
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, 'find_judge', lambda run: WordJudge())
        return train_quietly(*settings_of(files, out=str(files/'whole')))


# settings

def parsed(monkeypatch, *words):
    monkeypatch.setattr(sys, 'argv', ['rlhf-train', *words])
    return parse_options()


def test_chat_has_settings_of_its_own_and_what_is_given_wins(monkeypatch):
    run_config, config = parsed(monkeypatch, '--chat', '--device', 'cpu')
    assert (run_config, config) == (RunConfig(**CHAT_RUN, device='cpu'), MethodConfig(**CHAT_PPO))
    run_config, config = parsed(monkeypatch, '--chat', '--beta', '0.1', '--bf16', 'False',
                                '--eval_prompts', '9')
    assert (config.beta, config.bf16, config.batch_size) == (0.1, False, 16)
    assert (run_config.eval_prompts, run_config.sft_sentences) == (9, 1920)


def test_without_chat_nothing_changes(monkeypatch):
    assert parsed(monkeypatch) == (RunConfig(), MethodConfig())


# a run

def test_a_run_leaves_a_report_with_conversations(whole):
    questions = [messages[0]['content'] for messages in film_questions(6, 1, NEW_FILMS)]
    samples = [json.loads(line) for line in (whole/'samples.jsonl').read_text().splitlines()]
    assert [sample['prompt'] for sample in samples] == questions
    report = (whole/'report.html').read_text()
    assert 'Three steps on questions about films' in report
    assert f'<h3>{questions[0]}</h3>' in report and 'Conversations, side by side' in report
    assert [row['update'] for row in metrics(whole)] == [1, 2, 3]
    assert 'rlhf-chat FOLDER' in (whole/'README.md').read_text()


def test_the_judge_reads_answers_alone(whole):
    summary = json.loads((whole/'summary.json').read_text())
    samples = [json.loads(line) for line in (whole/'samples.jsonl').read_text().splitlines()]
    texts = [sample['ppo'] for sample in samples]
    gold = WordJudge().praise(texts)*WordJudge().fluency(texts)
    assert summary['gold_ppo'] == pytest.approx(gold.mean(), abs=1e-6)


def test_the_result_is_an_ordinary_chat_model_that_has_learnt(whole):
    speaker, = chat.load_speakers([str(whole)])
    fine_tuned, _ = load_model(str(whole/'sft'))
    tuned = dict(speaker.agent.model.named_parameters())
    moved = {name for name, p in fine_tuned.named_parameters()
             if not torch.equal(p, tuned[name].cpu())}
    assert all('layers' in name and 'proj' in name for name in moved) and len(moved) == 70


def test_the_checkpoint_holds_what_is_trained_and_no_more(whole):
    tensors, _ = read_checkpoint(whole/'checkpoint.safetensors')
    model, _ = load_model(str(whole/'sft'))
    trained = {f'agent.model.{name}' for name in add_lora(model)}
    heads = {'agent.value_head.weight', 'agent.value_head.bias'}
    assert {name for name in tensors if name.startswith('agent.')} == trained | heads


def test_a_complete_run_goes_on_for_more(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, 'find_judge', lambda run: None)
    folder = shutil.copytree(whole, tmp_path/'more')
    train_quietly(RunConfig(resume=str(folder)), MethodConfig(updates=4))
    assert [row['update'] for row in metrics(folder)] == [1, 2, 3, 4]


@pytest.mark.parametrize('method', ['dpo', pytest.param('rloo', marks=pytest.mark.sweep)])
def test_other_methods_learn_too(method, files, monkeypatch):
    monkeypatch.setattr(inputs, 'find_judge', lambda run: None)
    folder = train_quietly(*settings_of(
        files, out=str(files/method), updates=2, method=method))
    assert len(metrics(folder)) == 2


def test_without_a_reward_it_is_that_of_the_embedded_model(files, monkeypatch):
    small, tokenizer = load_model()
    asked = []

    def find_or_make_steps(run, config, ratings, preferences):
        asked.append((run.model, run.chat, config))
        return small, tokenizer, RewardModel(small), 'folder', {'source': 'people', 'accuracy': 1}

    monkeypatch.setattr(inputs, 'find_judge', lambda run: None)
    monkeypatch.setattr(inputs, 'find_ratings', lambda run: None)
    monkeypatch.setattr(dialogs, 'find_or_make_steps', find_or_make_steps)
    folder = train_quietly(*settings_of(files, out=str(files/'words'), updates=1, reward=''))
    assert asked == [('embedded', False, RLHFConfig())]
    assert 'taught by people' in (folder/'report.html').read_text()


def write_clicks(path, n):
    "Comparisons as the chat panel writes them."
    with open(path, 'w') as file:
        for i in range(n):
            replies = [{'content': f'I loved film {i}.', 'model': 'a'},
                       {'content': f'Film {i} was dull.', 'model': 'b'}]
            chosen, rejected = ({'role': 'assistant'} | reply for reply in replies)
            asked = [{'role': 'user', 'content': f'What about film {i}?'}]
            file.write(json.dumps(comparison_record(asked, chosen, rejected)) + '\n')


def test_clicks_of_the_panel_teach_the_reward(files, monkeypatch):
    monkeypatch.setattr(stages, 'fine_tune', lambda run, config, model, tokenizer: (model, '', {}))
    write_clicks(files/'clicks.jsonl', 30)
    said = StringIO()
    with redirect_stdout(said):
        folder = train(*settings_of(files, out=str(files/'clicked'), updates=1, reward='',
                                    preferences=str(files/'clicks.jsonl')))
    assert 'comparisons: 27 to learn from, 3 held out' in said.getvalue()
    reward = dialogs.AnswerReward.from_pretrained(
        folder/'reward_model', load_model(str(files/'model'))[1], 'cpu')
    liked, not_liked = reward.function(['I loved film 99.', 'Film 99 was dull.'])
    assert liked > not_liked
    assert 'taught by own comparisons' in (folder/'report.html').read_text()


def unjudged(words):
    "The command in a fork, without the seconds that a judge takes to learn."
    from rlhf_nbdev.run.command import train_command
    inputs.find_judge = lambda run: None
    sys.argv = ['rlhf-train', *map(str, words)]
    train_command()


def test_a_run_that_is_killed_comes_to_the_same_end_to_the_bit(files, whole):
    folder = files/'killed'
    words = options_of(files, reward=files/'reward', out=folder)
    process = fork(unjudged, words)
    while not metrics(folder):
        assert process.is_alive()
        time.sleep(0.005)
    process.kill()
    process.join(20)
    process = fork(unjudged, ['--resume', folder])
    process.join(60)
    assert process.exitcode == 0
    assert metrics(folder) == metrics(whole)
    ours, theirs = (load_file(each/'model.safetensors') for each in (folder, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_function_is_asked_about_questions(files, monkeypatch):
    monkeypatch.chdir(files)
    words = options_of(files, reward='mine:many_vowels', updates=1, out=files/'vowels')
    said = run_well(*map(str, words)).stdout
    assert 'scores come from mine:many_vowels' in said
    run_well('--resume', files/'vowels', '--updates', '2')


# what is refused

@pytest.mark.parametrize('change, message', [
    ({'model': 'embedded'}, 'wants a chat model, and the embedded model is none'),
    ({'data': 'hub'}, '--chat and --data do not go together'),
    ({'n_train': 100}, '--chat and --n_train do not go together'),
    ({'prompts': 'own.csv'}, '--chat and --prompts do not go together'),
    ({'demonstrations': 'own.csv'}, '--chat and --demonstrations do not go together'),
    ({'preferences': 'none.jsonl'}, 'none.jsonl'),
    ({'preferences': 'clicks.jsonl', 'method': 'dpo'},
     '--chat and --method dpo do not learn from --preferences'),
    ({'batch_size': 2000}, 'batch_size 2000 exceeds the 1000 prompts'),
    ({'prompt_length': 4}, 'prompt_length is 4: raise it'),
])
def test_what_does_not_suit_a_chat_model_is_refused_at_once(change, message, files):
    folder = files/'refused'
    reward = {} if 'preferences' in change else {'reward': files/'reward'}
    result = run(*map(str, options_of(files, out=folder, **reward, **change)))
    assert_refused(result, message)
    assert 'fine-tuning' not in result.stderr and not folder.exists()


def test_a_chat_model_that_is_not_there_is_named(files, monkeypatch, tmp_path):
    monkeypatch.setattr('rlhf_nbdev.tools.models.chat_model_path', lambda: tmp_path/'none')
    configs = settings_of(files, model='chat', out=str(files/'refused'))
    with pytest.raises(FileNotFoundError, match='run rlhf-chat-model'):
        train_quietly(*configs)


@pytest.mark.parametrize('layers, template, message', [
    (9, TEMPLATE, 'a list model.layers of 10 blocks'),
    (10, None, 'has no chat template'),
    (10, "{{ raise_exception('no') }}", 'cannot write two turns'),
    (10, TEMPLATE.replace('<|endoftext|>', '!'), 'does not end an answer'),
])
def test_a_model_that_cannot_be_trained_so_is_refused(layers, template, message, files, tmp_path):
    model = save_chat_model(tmp_path/'model', layers, template)
    configs = settings_of(files, model=str(model), out=str(tmp_path/'refused'))
    with pytest.raises(ValueError, match=message):
        train_quietly(*configs)
    assert not (tmp_path/'refused').exists()


def test_a_reward_model_without_its_tokenizer_is_refused(files, tmp_path):
    RewardModel(load_model()[0]).save_pretrained(tmp_path/'reward')
    configs = settings_of(files, reward=str(tmp_path/'reward'), out=str(tmp_path/'refused'))
    with pytest.raises(ValueError, match='has no tokenizer beside it'):
        train_quietly(*configs)
    assert not (tmp_path/'refused').exists()


def test_a_folder_that_is_called_chat_is_not_the_chat_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'chat').mkdir()
    assert RunConfig(**CHAT_RUN).model == 'chat'


def test_an_answer_that_is_longer_than_the_reward_model_reads_has_a_score(files):
    tokenizer = load_model()[1]
    reward = dialogs.AnswerReward.from_pretrained(files/'reward', tokenizer, 'cpu')
    context = reward.function.reward_model.trunk.config.n_positions
    long = 'A fine film. '*context
    begins_alike = long[:-40]
    scores = reward.function([long, begins_alike, 'A fine film.'])
    assert scores.isfinite().all()
    assert torch.allclose(scores[0], scores[1])


def test_a_tokenizer_that_the_reward_model_does_not_know_is_refused(files, tmp_path):
    tokenizer = load_model()[1]
    small, _ = load_model()
    RewardModel(small).save_pretrained(tmp_path)
    tokenizer.add_tokens(['<|another|>'])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match='has learnt with another one'):
        dialogs.AnswerReward.from_pretrained(tmp_path, tokenizer, 'cpu')
