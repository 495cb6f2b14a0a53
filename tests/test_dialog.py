"""Conversations as tokens, LoRA, and the loop on dialogs: with a tiny model, without a download."""
import copy
import random

import pytest
import torch
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM

from rlhf_nbdev.advantage import compute_advantage_and_return
from rlhf_nbdev.agent import Agent, TextReward, reward_scores, token_logprobs
from rlhf_nbdev.dialog import (
    DialogDemonstrations,
    DialogPrompts,
    WordsReward,
    add_lora,
    conversation_ids,
    conversation_parts,
    film_questions,
    merge_lora,
    scale_words,
    shared_copy,
)
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.reward import RewardModel
from rlhf_nbdev.sft import sft_loss, train_sft
from rlhf_nbdev.tools.models import load_model
from rlhf_nbdev.train import ppo_updates, prompt_batches, sample_responses
from rlhf_nbdev.turns import (
    DialogTrainer,
    advantages_across_turns,
    dialog_updates,
    ended_turns,
    kl_of_turns,
    one_rollout,
    pay_last,
    reward_turns,
    score_conversations,
    scripted_conversations,
)

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}")


def tokenizer_with_turns():
    _, tokenizer = load_model()
    tokenizer.add_special_tokens({'additional_special_tokens': ['<|user|>', '<|assistant|>']})
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@pytest.fixture(scope='module')
def tokenizer():
    return tokenizer_with_turns()


@pytest.fixture
def model(tokenizer):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128)
    model = LlamaForCausalLM(config).eval()
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def message(role, content, **more):
    return {'role': role, 'content': content} | more


def random_conversation(seed):
    rng = random.Random(seed)
    words = ['film', ' good', '\n', '<|user|>', '<|endoftext|>', 'é', ' 🎬', '<|assistant|>', ' so']
    messages = []
    for turn in range(rng.randint(1, 4)):
        for role in ('user', 'assistant'):
            text = ''.join(rng.choice(words) for _ in range(rng.randint(1, 8)))
            messages.append(message(role, text))
    return messages


@pytest.mark.parametrize('seed', range(12))
def test_what_is_typed_is_text_and_comes_back_whole(seed, tokenizer):
    messages = random_conversation(seed)
    parts = conversation_parts(tokenizer, messages)
    said = [(owner, ids) for owner, ids in parts if owner != 'template']
    assert [owner for owner, _ in said] == [each['role'] for each in messages]
    for (owner, ids), each in zip(said, messages):
        if owner == 'assistant':
            assert ids[-1] == tokenizer.eos_token_id
            ids = ids[:-1]
        special = set(tokenizer.all_special_ids)
        assert not special & set(ids), 'a special token was typed'
        assert tokenizer.decode(ids) == each['content']


def test_turn_one_is_found_again_in_turn_two_with_the_ids_that_were_sampled(tokenizer):
    one = [message('user', 'How was it?')]
    prompt, _ = conversation_ids(tokenizer, one, prompt=True)
    sampled = [7, 7, 300, 12]
    two = [*one, message('assistant', 'whatever', ids=sampled), message('user', 'Really?')]
    ids, owners = conversation_ids(tokenizer, two, prompt=True)
    assert ids[:len(prompt) + 4] == prompt + sampled
    assert owners[len(prompt):len(prompt) + 5] == ['assistant']*5


def test_a_template_that_does_not_end_an_answer_with_eos_is_refused(tokenizer):
    other = copy.deepcopy(tokenizer)
    other.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    with pytest.raises(ValueError, match='never learn to stop'):
        conversation_ids(other, [message('user', 'a'), message('assistant', 'b')])


def test_a_template_that_leaves_a_message_out_is_refused(tokenizer):
    other = copy.deepcopy(tokenizer)
    other.chat_template = "{{ messages[-1]['content'] }}"
    with pytest.raises(ValueError, match='leaves out a message'):
        conversation_ids(other, [message('system', 'a'), message('user', 'b')])


def test_only_what_the_assistant_says_has_a_gradient(tokenizer, model):
    data = DialogDemonstrations(tokenizer, [random_conversation(3)])
    item = {name: x[None] for name, x in data[0].items()}
    logits = model(input_ids=item['tokens'], attention_mask=item['mask']).logits.detach()
    logits.requires_grad_()
    sft_loss(logits, item['tokens'], item['response_mask']).backward()
    touched = logits.grad[0, :-1].abs().sum(-1) > 0
    assert torch.equal(touched, item['response_mask'][0, 1:].bool())


def test_long_conversations_are_counted(tokenizer):
    data = DialogDemonstrations(tokenizer, [random_conversation(seed) for seed in range(9)], 60)
    assert len(data) + data.left_out['too long'] == 9
    assert 0 < len(data) < 9


def test_lora_of_random_weights_is_pefts(model):
    from peft import LoraConfig, get_peft_model
    ours, theirs = copy.deepcopy(model), copy.deepcopy(model)
    names = {name.rsplit('.', 1)[1] for name, part in theirs.model.layers.named_modules()
             if isinstance(part, torch.nn.Linear)}
    theirs = get_peft_model(theirs, LoraConfig(
        r=4, lora_alpha=12, target_modules=sorted(names), layers_to_transform=[1, 2],
        layers_pattern='layers', lora_dropout=0.0))
    adapters = add_lora(ours, rank=4, alpha=12.0, blocks=2)
    weights = dict(theirs.named_parameters())
    assert len(adapters) == sum('lora_' in name for name in weights)
    with torch.no_grad():
        for name, p in adapters.items():
            p.normal_(std=0.1)
            side = 'lora_A' if name.endswith('.down') else 'lora_B'
            path = name.rsplit('.', 1)[0]
            weights[f'base_model.model.{path}.{side}.default.weight'].copy_(p)
        tokens = torch.randint(10, 300, (2, 9))
        both = [each(input_ids=tokens).logits for each in (ours, theirs)]
        plain = model(input_ids=tokens).logits
    assert torch.allclose(both[0], both[1], atol=1e-5)
    assert not torch.allclose(both[0], plain, atol=1e-2)


def test_merged_is_unmerged_and_all_can_learn_again(model):
    tokens, mask = torch.randint(10, 300, (2, 9)), torch.ones(2, 9).long()
    adapters = add_lora(model, rank=4, blocks=2)
    with torch.no_grad():
        for p in adapters.values():
            p.normal_(std=0.1)
        unmerged = token_logprobs(model, tokens, mask, 4)
        merge_lora(model)
        assert torch.allclose(token_logprobs(model, tokens, mask, 4), unmerged, atol=1e-5)
    assert not any('down' in name and 'linear' in name for name, _ in model.named_parameters())
    assert all(p.requires_grad for p in model.parameters())


def test_merging_leaves_a_reference_that_shares_weights_alone(model):
    tokens = torch.randint(10, 300, (2, 9))
    adapters = add_lora(model, rank=4, blocks=2)
    reference = shared_copy(model)
    with torch.no_grad():
        before = reference(input_ids=tokens).logits
        for p in adapters.values():
            p.normal_(std=0.1)
        merge_lora(model)
        assert torch.equal(reference(input_ids=tokens).logits, before)


def test_lora_lies_where_the_model_lies(model):
    adapters = add_lora(model.to('meta'), rank=4, blocks=2)  # a device that every machine has
    assert {p.device.type for p in adapters.values()} == {'meta'}


def test_lora_is_not_put_beside_lora(model):
    add_lora(model, rank=4, blocks=1)
    with pytest.raises(ValueError, match='merge_lora comes first'):
        add_lora(model, rank=4, blocks=2)


def test_an_answer_whose_ids_end_with_eos_ends_once(tokenizer):
    eos, asked = tokenizer.eos_token_id, message('user', 'a')
    both = [conversation_ids(tokenizer, [asked, message('assistant', 'b', ids=ids)])
            for ids in ([7, 8], [7, 8, eos])]
    assert both[0] == both[1]


@pytest.mark.parametrize('blocks', [0, 4])
def test_more_blocks_than_there_are_are_refused(blocks, model):
    with pytest.raises(ValueError, match='model.layers'):
        add_lora(model, blocks=blocks)


def test_gpt2_is_refused():
    with pytest.raises(ValueError, match='Llama kind'):
        add_lora(load_model()[0])


def test_the_loop_trains_lora_alone_and_the_reference_shares_the_rest(tokenizer, model):
    def longer(responses):
        return torch.tensor([float(len(text)) for text in responses])

    config = RLHFConfig(batch_size=8, prompt_length=40, response_length=6, updates=2, epochs=1,
                        learning_rate=1e-3)
    adapters = add_lora(model, rank=4, blocks=2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    reference = shared_copy(model)
    trainer = RLHFTrainer(Agent(model), reference, config)
    prompts = DialogPrompts(tokenizer, film_questions(16), 40)
    reward = TextReward(longer, tokenizer)
    rows = list(ppo_updates(trainer, prompt_batches(prompts, config), reward))
    assert len(rows) == 2 and abs(rows[0]['kl']) < 1e-3
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed and changed <= set(adapters)
    for name, p in reference.named_parameters():
        assert torch.equal(p, before[name]), f'{name} of the reference has moved'
    own = {p.data_ptr() for p in model.parameters()}
    assert sum(p.data_ptr() in own for p in reference.parameters()) == len(before) - len(adapters)


def test_the_very_model_is_still_no_reference(model):
    add_lora(model, rank=4, blocks=1)
    with pytest.raises(ValueError, match='very model'):
        RLHFTrainer(Agent(model), model, RLHFConfig())


def test_demonstrations_are_learnt_through_lora(tokenizer, model):
    dialogs = [[message('user', 'How was it?'), message('assistant', ' Good.')]]*16
    data = DialogDemonstrations(tokenizer, dialogs, 32)
    add_lora(model, rank=8, blocks=3)
    history = train_sft(model, data, data, epochs=10, learning_rate=1e-2, checks=1)
    assert history[-1]['held_out'] < history[0]['held_out'] - 0.2


def three_turns(agent, tokenizer, n=4):
    torch.manual_seed(3)
    openings = [[message('user', 'word '*(i + 1))] for i in range(n)]
    return scripted_conversations(
        agent, tokenizer, openings, ['Why?', 'And then?'], response_length=5)


def test_several_turns_are_scored_as_they_were_sampled(tokenizer, model):
    agent = Agent(model)
    torch.nn.init.normal_(agent.value_head.weight)
    conversations, turns = three_turns(agent, tokenizer)
    rollout = one_rollout(tokenizer, conversations, turns)
    R = rollout.response_mask.shape[1]
    with torch.no_grad():
        logprobs, values, _ = agent(rollout.tokens, rollout.mask, R, rollout.temperature)
    sampled = rollout.response_mask.bool()
    assert torch.allclose(logprobs[sampled], rollout.logprobs[sampled], atol=1e-4)
    assert torch.allclose(values[sampled], rollout.values[sampled], atol=1e-4)
    n_sampled = [sum(int(turn.response_mask.sum()) for turn in row) for row in turns]
    assert rollout.response_mask.sum(1).tolist() == n_sampled
    for row, messages in zip(rollout.tokens, conversations):
        said = [i for each in messages if each['role'] == 'assistant' for i in each['ids']]
        kept = rollout.response_mask[conversations.index(messages)].bool()
        assert row[-R:][kept].tolist() == said


def test_a_word_of_the_user_has_no_gradient(tokenizer, model):
    agent = Agent(model)
    rollout = one_rollout(tokenizer, *three_turns(agent, tokenizer))
    mask = rollout.response_mask
    config = RLHFConfig(batch_size=4, updates=2, prompt_length=64, response_length=60)
    trainer = DialogTrainer(agent, copy.deepcopy(model), config)
    logprobs = rollout.logprobs.clone().requires_grad_()
    values = rollout.values.clone().requires_grad_()
    trainer.agent.forward = lambda *_: (logprobs, values, torch.zeros_like(logprobs))
    loss, _ = trainer.compute_loss(rollout, torch.randn(mask.shape), torch.randn(mask.shape))
    loss.backward()
    for x in (logprobs, values):
        assert torch.equal(x.grad != 0, mask.bool())


@pytest.mark.parametrize('seed', range(5))
def test_advantages_step_over_the_holes(seed):
    torch.manual_seed(seed)
    B, R = 3, 14
    mask = (torch.rand(B, R) < 0.6).long()
    mask[:, 0] = 1
    rewards, values = torch.randn(2, B, R)
    ours = advantages_across_turns(rewards, values, mask, 0.99, 0.9)
    for row in range(B):
        real = mask[row].bool()
        alone = [x[row][real][None] for x in (rewards, values, mask)]
        theirs = compute_advantage_and_return(*alone, 0.99, 0.9)
        for x, y in zip(ours, theirs):
            assert torch.allclose(x[row][real], y[0], atol=1e-6)
            assert (x[row][~real] == 0).all()


def test_each_turn_is_paid_at_its_last_token():
    mask = torch.tensor([[1, 0, 1, 1, 0, 0], [1, 1, 0, 1, 1, 1]])
    zeros = torch.zeros(2, 6)
    rewards = reward_turns(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), zeros, zeros, mask, 0.1)
    assert rewards.tolist() == [[1, 0, 0, 2, 0, 0], [0, 3, 0, 0, 0, 4]]


def test_a_row_with_fewer_answers_than_scores_is_refused():
    "Its last score would be paid to nobody; where two answers touch, to the wrong one."
    zeros = torch.zeros(2, 6)
    mask = torch.tensor([[1, 0, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    with pytest.raises(ValueError, match='row 1 has 1 answers and 2 scores'):
        reward_turns(torch.ones(2, 2), zeros, zeros, mask, 0.1)


def test_the_kl_of_the_turns_is_that_of_the_conversation(tokenizer, model):
    agent = Agent(model)
    conversations, turns = three_turns(agent, tokenizer)
    rollout = one_rollout(tokenizer, conversations, turns)
    mask = rollout.response_mask
    ref_logprobs = torch.randn(mask.shape)
    by_turn = kl_of_turns(rollout, ref_logprobs)
    whole = ((rollout.logprobs - ref_logprobs)*mask).sum(1)
    assert by_turn.shape == (4, 3)
    assert torch.allclose(by_turn.sum(1), whole, atol=1e-4)
    for row, of_turn in enumerate(turns):
        n_first = int(of_turn[0].response_mask.sum())
        first = (rollout.logprobs - ref_logprobs)[row, :n_first].sum()
        assert torch.allclose(by_turn[row, 0], first, atol=1e-4)


def test_an_answer_stands_behind_what_was_read(tokenizer, model):
    conversations, turns = three_turns(Agent(model), tokenizer)
    for at in (0, 2):  # what the user has asked, what has been replied
        changed = copy.deepcopy(conversations)
        changed[1][at]['content'] += '!'
        with pytest.raises(ValueError, match='sampled after other tokens'):
            one_rollout(tokenizer, changed, turns)


def test_one_turn_is_the_old_trainer_to_the_bit(tokenizer, model):
    config = RLHFConfig(batch_size=4, updates=2, prompt_length=64, response_length=8,
                        learning_rate=1e-3)
    ends = []
    for kind in (RLHFTrainer, DialogTrainer):
        trainer = kind(Agent(copy.deepcopy(model)), copy.deepcopy(model), config)
        prompts = DialogPrompts(tokenizer, film_questions(8), 64)
        batch = torch.utils.data.default_collate([prompts[i] for i in range(4)])
        torch.manual_seed(0)
        rollout = trainer.agent.generate(**batch, response_length=8)
        rewards = torch.randn(rollout.response_mask.shape)*rollout.response_mask
        trainer.update(rollout, rewards)
        ends.append(trainer.agent.state_dict())
    for name in ends[0]:
        assert torch.equal(ends[0][name], ends[1][name]), name


def test_several_turns_are_learnt_from(tokenizer, model):
    agent = Agent(model)
    rollout = one_rollout(tokenizer, *three_turns(agent, tokenizer))
    config = RLHFConfig(batch_size=4, updates=2, prompt_length=64, response_length=60,
                        learning_rate=1e-2, epochs=1, minibatches=1)
    trainer = DialogTrainer(agent, copy.deepcopy(model), config)
    mask = rollout.response_mask
    zeros = torch.zeros_like(rollout.logprobs)
    scores = torch.tensor([[2.0, 0, 0], [-2.0, 0, 0], [2.0, 0, 0], [-2.0, 0, 0]])
    rewards = reward_turns(scores, zeros, zeros, mask, beta=0.0)
    stats = trainer.update(rollout, rewards)
    assert abs(stats['ppo/ratio'] - 1) < 1e-3, 'the first step is scored as it was sampled'
    with torch.no_grad():
        after, _, _ = agent(rollout.tokens, rollout.mask, mask.shape[1], rollout.temperature)
    gain = ((after - rollout.logprobs)*mask).sum(1)
    assert gain[0] > gain[1] and gain[2] > gain[3]


def words_of_each(texts):
    return torch.tensor([float(len(text.split())) for text in texts])


def test_each_answer_is_scored_and_one_that_was_cut_off_loses_a_point(tokenizer, model):
    agent = Agent(model)
    conversations, turns = three_turns(agent, tokenizer)
    with_penalty, without = (score_conversations(agent, conversations, turns, words_of_each, x)
                             for x in (1.0, 0.0))
    for row, (messages, of_turn) in enumerate(zip(conversations, turns)):
        answers = [each for each in messages if each['role'] == 'assistant']
        for turn, (answer, rollout) in enumerate(zip(answers, of_turn)):
            assert without[row, turn] == len(answer['content'].split())
            cut_off = tokenizer.eos_token_id not in answer['ids']
            assert with_penalty[row, turn] == without[row, turn] - float(cut_off)
            assert ended_turns(agent, turns)[row, turn] == (not cut_off)


def test_the_last_answer_is_paid_for_the_conversation():
    assert pay_last(torch.tensor([[1.0, 2.0, 3.0]])).tolist() == [[0, 0, 3]]


@pytest.mark.parametrize('pays_every_turn', [True, False])
def test_the_loop_pays_each_answer_or_the_last(pays_every_turn, tokenizer, model):
    config = RLHFConfig(batch_size=4, prompt_length=40, response_length=4, updates=2, epochs=1,
                        minibatches=1, beta=0.0)
    trainer = DialogTrainer(Agent(model), copy.deepcopy(model), config)
    before = copy.deepcopy(model.state_dict())
    learnt_from, update = [], trainer.update

    def watched(rollout, rewards):
        learnt_from.append(rewards)
        return update(rollout, rewards)

    trainer.update = watched
    openings = [[message('user', 'How was it?')]]*4
    rows = list(dialog_updates(
        trainer, tokenizer, [openings]*9, words_of_each, ['Why?'], pays_every_turn))
    assert [row['update'] for row in rows] == [1, 2]
    assert rows[1]['kl_1'] + rows[1]['kl_2'] == pytest.approx(rows[1]['kl'], abs=1e-5)
    assert abs(rows[0]['kl']) < 1e-3
    for row, rewards in zip(rows, learnt_from):
        paid = row['score_2'] + row['score_1']*pays_every_turn
        assert rewards.sum(1).mean().item() == pytest.approx(paid, abs=1e-5)
        assert row['score'] == pytest.approx((row['score_1'] + row['score_2'])/2, abs=1e-5)
    assert any(not torch.equal(x, before[name]) for name, x in model.state_dict().items())


def test_the_scale_gives_answers_of_the_reference_mean_0_and_deviation_1(model, tokenizer):
    review_model, review_tokenizer = load_model()
    torch.manual_seed(0)
    reward_model = RewardModel(review_model)
    reward = TextReward(WordsReward(reward_model, review_tokenizer), tokenizer)
    config = RLHFConfig(batch_size=8, prompt_length=48, response_length=4)
    batches = DataLoader(DialogPrompts(tokenizer, film_questions(8)), 8)
    torch.manual_seed(1)
    scale_words(reward, Agent(model), batches, config)
    torch.manual_seed(1)  # the same luck, the same answers
    [answered] = sample_responses(Agent(model), batches, config)
    scores = reward_scores(reward, answered)
    torch.testing.assert_close(scores.mean(), torch.tensor(0.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(scores.std(), torch.tensor(1.0), atol=1e-4, rtol=0)
    assert reward_model.std != 1
