"What each function promises, on models of two layers and texts of a line: the whole file takes seconds."
import copy, hashlib, json, math, random
from contextlib import nullcontext
from types import SimpleNamespace
import numpy as np, pandas as pd, pytest, torch
from tokenizers.processors import TemplateProcessing
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2LMHeadModel
from rlhf_nbdev import dataset, evaluate, feedback, ppo, pretrain, reward, sft, speed, study, train
from rlhf_nbdev.advantage import compute_advantage_and_return, whiten
from rlhf_nbdev.agent import Agent, Rollout, load_model, load_tensors, load_weights, position_ids, score_tokens, token_logprobs
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer, explained_variance

TEXTS = ['A small film, and a good one.', 'The plot is thin. I left.', 'Nothing here is worth a look, but for the dog.', 'Great fun from start to end!'] * 3


@pytest.fixture
def tokenizer(): return pretrain.train_tokenizer(TEXTS, 300)


def tiny(pad=1, eos=0, dropout=0.0, seed=0, vocab=64):
    "A random GPT-2 of two layers; logits far enough apart that temperature and top-k show."
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=vocab, n_positions=32, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=eos, pad_token_id=pad,
                                       resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout)).eval()
    with torch.no_grad():
        for p in model.parameters(): p.mul_(6) if p.ndim == 2 else p
    return model


def prompts(vocab=64, rows=6):
    torch.manual_seed(1)
    mask = torch.tensor([[0, 1, 1, 1], [1]*4, [0, 0, 0, 1]]*(rows//3))
    return torch.randint(2, vocab, (rows, 4))*mask + 1 - mask, mask


# speed

def test_rows_are_packed_whole_and_apart():
    assert speed.pack_rows([5, 2, 8, 3, 4], 8) == ([8, 20, 0, 13, 16], 3) and speed.pack_rows([], 4) == ([], 0) and speed.pack_rows([4, 4], 4) == ([0, 4], 2)
    for seed in range(50):
        lengths = np.random.default_rng(seed).integers(0, 17, 20).tolist()
        starts, bins = speed.pack_rows(lengths, 16)
        taken = [slot for start, n in zip(starts, lengths) for slot in range(start, start + n)]
        assert len({*taken}) == len(taken) == sum(lengths) and max(taken) < 16*bins and all(start//16 == (start + n - 1)//16 for start, n in zip(starts, lengths) if n)
        assert bins < 1.3*sum(lengths)/16 + 2


def test_packed_states_are_those_of_each_row_alone():
    model, mask = tiny(), torch.tensor([[0, 0, 0, 1, 1, 1, 0, 0], [1]*8, [0]*8, [0, 1, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0]])
    tokens = torch.randint(2, 64, mask.shape)
    for attention in ('eager', 'sdpa'):
        model.set_attn_implementation(attention)
        states = speed.packed_states(model.base_model, tokens, mask)
        assert not states[mask == 0].any() and states.shape == (5, 8, 16)
        for row, on in enumerate(mask.bool()):
            if on.any(): torch.testing.assert_close(states[row, on], model.base_model(tokens[row:row + 1, on]).last_hidden_state[0], rtol=0, atol=1e-5)
    assert not speed.packed_states(model.base_model, tokens, 0*mask).any()


@pytest.mark.parametrize('temperature', [1.0, 0.6])
def test_packed_scores_and_their_gradients_are_the_plain_ones(temperature):
    agent = Agent(tiny(eos=2).double()); ids, mask = prompts()
    torch.manual_seed(3)
    rollout = agent.generate(ids, mask, 6)
    R, on = rollout.response_mask.shape[1], rollout.response_mask.bool()
    assert not on.all()
    dists, hidden = score_tokens(agent.model, rollout.tokens, rollout.mask, R, temperature)
    plain = dists.gather(-1, rollout.responses[..., None])[..., 0]*on
    logprobs, states, entropy = speed.score_packed(agent.model, rollout.tokens, rollout.mask, R, temperature)
    torch.testing.assert_close(logprobs, plain, rtol=0, atol=1e-5); torch.testing.assert_close(states[on], hidden[on], rtol=0, atol=1e-5)
    torch.testing.assert_close(entropy, -(dists.exp()*dists).sum(-1)*on, rtol=0, atol=1e-5)
    assert logprobs.dtype == torch.float32 and not entropy.requires_grad
    weights = [*agent.model.parameters()]
    for a, b in zip(torch.autograd.grad(logprobs.exp().sum(), weights), torch.autograd.grad((plain.exp()*on).sum(), weights)): torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_draw_follows_the_distribution_to_its_ends():
    torch.manual_seed(0)
    p = torch.tensor([[0.1, 0.0, 0.6, 0.0, 0.3], [0.0, 0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0, 0.0]])
    drawn = torch.cat([speed.draw(p.log()) for _ in range(4000)], 1)  # (3, 4000)
    found = torch.stack([row.bincount(minlength=5) for row in drawn])/4000
    assert (found - p).abs().max() < 4*(0.25/4000)**0.5 and not found[p == 0].any() and drawn.dtype == torch.long
    assert speed.draw((p*0.5).log()).shape == (3, 1) and speed.draw((p[1:2]*0.5).log()).item() == 4  # what does not sum to 1 is drawn from in proportion


def test_a_cache_of_fixed_size_gives_the_same_samples(compiled=False):
    agent, (ids, mask) = Agent(tiny(eos=2)), prompts()
    agent.value_head.weight.data.normal_()
    static, shapes = speed.StaticSteps(agent.model, 8, compiled), ((ids, mask), (ids, mask), (ids[:4], mask[:4]))
    for seed, (x, m) in enumerate(shapes):
        rollouts = []
        for model in (None, static):
            torch.manual_seed(seed)
            rollouts.append(agent.generate(x, m, 8, temperature=0.8, model=model))
        assert rollouts[0].tokens.equal(rollouts[1].tokens)
        for name in ('logprobs', 'values'): torch.testing.assert_close(getattr(rollouts[0], name), getattr(rollouts[1], name), rtol=0, atol=1e-5)


def test_operations_are_those_that_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode
    model = tiny()
    model.set_attn_implementation('eager')  # of which torch counts every product
    with torch.no_grad(), FlopCounterMode(display=False) as counter: model(torch.full((3, 9), 5))
    config, squares = model.config, 4*2*16*3*(81 - 45)  # torch counts what attention may not see, too
    assert counter.get_total_flops() == speed.forward_flops(config, torch.tensor([9, 9, 9]), 27) + squares
    assert speed.forward_flops(config, torch.tensor([4, 7]), 3) == sum(speed.forward_flops(config, torch.tensor([n]), 0) for n in (4, 7)) + 2*16*64*3


def test_a_stopwatch_gives_the_fastest():
    naps = iter((0.03, 0.001, 0.02))
    assert 0.001 <= speed.seconds(lambda: __import__('time').sleep(next(naps)), 3) < 0.02 and next(naps, None) is None


@pytest.mark.parametrize('asked, hardware', [(False, True), (True, True), (True, False)])
def test_bfloat16_is_off_unless_asked_for_and_there_and_touches_forward_passes_only(asked, hardware, monkeypatch):
    assert not RLHFConfig().bf16
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: {'avx512_bf16': hardware})
    trainer = RLHFTrainer(Agent(tiny(eos=2)), tiny(eos=2), RLHFConfig(batch_size=6, response_length=5, bf16=asked, epochs=1, minibatches=1))
    torch.manual_seed(0)
    ids, mask = prompts()
    rollout = trainer.agent.generate(ids, mask, 5)
    seen = []
    trainer.agent.model.transformer.h[0].mlp.c_fc.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    trainer.backward = lambda loss: (seen.append(torch.is_autocast_enabled('cpu')), loss.backward())
    trainer.update(rollout, torch.randn(rollout.logprobs.shape))
    assert seen == [torch.bfloat16 if asked and hardware else torch.float32, False]
    with torch.no_grad(), trainer.autocast(): logprobs, values, _ = trainer.agent(rollout.tokens, rollout.mask, rollout.response_mask.shape[1])
    assert logprobs.dtype == values.dtype == torch.float32


# agent

def test_a_model_that_changes_its_logits_is_refused():
    model = tiny(); forward = model.forward
    def scaled(*args, **kwargs):
        out = forward(*args, **kwargs)
        out.logits = out.logits*2
        return out
    model.forward = scaled
    with pytest.raises(ValueError, match='caps or scales'): Agent(model)


def test_positions_count_real_tokens_only():
    assert position_ids(torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]])).tolist() == [[0, 0, 0, 1], [0, 1, 2, 3], [0, 1, 1, 1]]
    assert position_ids(torch.tensor([0, 1, 1])).tolist() == [0, 0, 1]


def test_masked_tokens_are_not_read():
    model, (tokens, mask) = tiny(), prompts()
    other = torch.where(mask == 1, tokens, 5)
    for a, b in zip(score_tokens(model, tokens, mask, 2), score_tokens(model, other, mask, 2)): torch.testing.assert_close(a[mask[:, 1] == 1], b[mask[:, 1] == 1], rtol=0, atol=1e-5)
    assert (score_tokens(model, tokens, mask, 2)[0] - score_tokens(model, other, torch.ones_like(mask), 2)[0])[mask[:, 0] == 0].abs().max() > 0.05


def test_sampling_follows_the_distribution_that_is_scored():
    agent, n = Agent(tiny(seed=4)), 4000
    torch.manual_seed(0)
    ids = torch.tensor([[1, 7, 9]]).repeat(n, 1)
    rollout = agent.generate(ids, ids != 1, 1, temperature=1.5)
    dist = score_tokens(agent.model, rollout.tokens[:1], rollout.mask[:1], 1, 1.5)[0][0, 0].exp().detach()
    found = torch.bincount(rollout.responses[:, 0], minlength=64)/n
    assert (found - dist).abs().max() < 4*(0.25/n)**0.5
    assert found[dist.argsort()[:-10]].sum() == pytest.approx(dist[dist.argsort()[:-10]].sum().item(), abs=0.04) and dist[dist.argsort()[:-10]].sum() > 0.1  # the tail is sampled too
    torch.testing.assert_close(rollout.logprobs[:, 0], dist.log()[rollout.responses[:, 0]], rtol=0, atol=1e-5)
    assert rollout.temperature == 1.5


def test_a_response_lasts_to_its_first_eos_even_where_padding_is_eos():
    agent = Agent(tiny(pad=None, eos=[3, 4]))
    assert (agent.pad_token_id, agent.eos_token_ids) == (3, [3, 4])
    agent.model.lm_head = copy.deepcopy(agent.model.lm_head)
    agent.model.lm_head.register_forward_hook(lambda m, a, out: out + 4*torch.isin(torch.arange(64), torch.tensor([3, 4])))
    torch.manual_seed(0)
    rollout = agent.generate(*prompts(rows=30), 8)
    for row, mask, logprobs in zip(rollout.responses.tolist(), rollout.response_mask.tolist(), rollout.logprobs.tolist()):
        length = next((k + 1 for k, token in enumerate(row) if token in (3, 4)), len(row))
        assert mask == [1]*length + [0]*(len(row) - length) and set(row[length:]) <= {3}
        assert all(x < 0 for x in logprobs[:length]) and not any(logprobs[length:])
    assert torch.equal(rollout.mask[:, 4:], rollout.response_mask) and torch.equal(rollout.mask[:, :4], prompts(rows=30)[1]) and rollout.mask.dtype == rollout.response_mask.dtype == torch.int64
    assert torch.equal(agent.ended(rollout), torch.isin(rollout.responses, torch.tensor([3, 4])).any(1))


def test_a_row_that_has_ended_counts_as_ended_by_its_mask_alone():
    agent = Agent(tiny(pad=None))  # pads with EOS
    rollout = Rollout(torch.tensor([[5, 6, 0], [5, 0, 0], [5, 6, 7]]), torch.ones(3, 3), torch.tensor([[1, 0], [1, 0], [1, 1]]), torch.zeros(3, 2), torch.zeros(3, 2))
    assert agent.ended(rollout).tolist() == [False, True, False]


def test_greedy_takes_the_likeliest_token_each_time():
    agent, (ids, mask) = Agent(tiny(seed=2)), prompts()
    rollout = agent.generate(ids, mask, 5, 0.5, do_sample=False)
    dists, _ = score_tokens(agent.model, rollout.tokens, rollout.mask, rollout.responses.shape[1], 0.5)
    assert torch.equal(dists.argmax(-1)[rollout.response_mask.bool()], rollout.responses[rollout.response_mask.bool()])


def test_values_are_those_of_the_state_before_each_token():
    agent, (ids, mask) = Agent(tiny()), prompts()
    assert agent.value_head.weight.count_nonzero() == agent.value_head.bias.count_nonzero() == 0
    torch.nn.init.normal_(agent.value_head.weight); torch.nn.init.constant_(agent.value_head.bias, 0.3)
    rollout = agent.generate(ids, mask, 5)
    logprobs, values, entropy = agent(rollout.tokens, rollout.mask, 5)
    on = rollout.response_mask.bool()
    torch.testing.assert_close(values[on], rollout.values[on], rtol=0, atol=1e-4); torch.testing.assert_close(logprobs[on], rollout.logprobs[on], rtol=0, atol=1e-4)
    for t in range(5):
        hidden = agent.model.transformer(rollout.tokens[:, :4 + t], attention_mask=rollout.mask[:, :4 + t], position_ids=position_ids(rollout.mask[:, :4 + t])).last_hidden_state[:, -1]
        torch.testing.assert_close(values[:, t], (hidden @ agent.value_head.weight.T)[:, 0] + 0.3, rtol=0, atol=1e-4)
    torch.testing.assert_close(entropy, torch.distributions.Categorical(logits=score_tokens(agent.model, rollout.tokens, rollout.mask, 5)[0]).entropy(), rtol=0, atol=1e-5)


def test_dropout_stays_off_whatever_is_asked():
    model = tiny(dropout=0.5).train()
    agent, reward_model = Agent(model), reward.RewardModel(model)
    assert not any(m.training for part in (agent, reward_model) for m in part.modules())
    assert not any(m.training for part in (agent, reward_model) for m in part.train().modules())
    trainer = RLHFTrainer(agent, copy.deepcopy(model).train(), RLHFConfig())
    assert not any(m.training for m in trainer.ref_model.modules())


def test_a_half_precision_trunk_gives_log_probs_and_values_in_full_precision():
    model, (ids, mask) = tiny().bfloat16(), prompts()
    agent = Agent(model)
    torch.manual_seed(0)
    rollout = agent.generate(ids, mask, 4)
    logprobs, values, _ = agent(rollout.tokens, rollout.mask, 4)
    assert {x.dtype for x in (rollout.logprobs, rollout.values, logprobs, values)} == {torch.float32}
    with torch.no_grad(): logits = model(rollout.tokens, attention_mask=rollout.mask, position_ids=position_ids(rollout.mask)).logits[:, -5:-1].float()
    torch.testing.assert_close(logprobs, logits.log_softmax(-1).gather(-1, rollout.responses[..., None])[..., 0], rtol=0, atol=2e-2)
    full = score_tokens(model, rollout.tokens, rollout.mask, 4)[0].exp().sum(-1)
    torch.testing.assert_close(full, torch.ones(6, 4), rtol=0, atol=1e-5)  # bfloat16 would miss 1 by a hundredth
    assert reward.RewardModel(model)(ids, mask).dtype == torch.float32


def test_scores_are_fined_where_the_end_is_missing_and_nothing_rewards_padding():
    agent, ref_model = Agent(tiny()), tiny(seed=5)
    tokens = torch.tensor([[5, 6, 0, 1, 1], [1, 6, 7, 8, 9], [5, 6, 7, 0, 1]])
    rollout = Rollout(tokens, torch.tensor([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1], [1, 1, 1, 1, 0]]), torch.tensor([[1, 0, 0], [1, 1, 1], [1, 1, 0]]), -torch.ones(3, 3)*torch.tensor([[1, 0, 0], [1, 1, 1], [1, 1, 0]]), torch.zeros(3, 3), 0.7)
    found = agent.compute_rewards(rollout, lambda tokens, mask: mask.sum(1).float(), ref_model, 0.1, 5.0)
    assert found.scores.tolist() == [3, 4 - 5, 4]
    with torch.no_grad(): ref = token_logprobs(ref_model, tokens, rollout.mask, 3, 0.7)*rollout.response_mask
    torch.testing.assert_close(found.ref_logprobs, ref)
    wanted = -0.1*(rollout.logprobs - ref)
    for b, last in enumerate((0, 2, 1)): wanted[b, last] += found.scores[b]
    torch.testing.assert_close(found.rewards, wanted)


def test_what_is_not_finite_is_named():
    agent, (ids, mask) = Agent(tiny()), prompts()
    rollout = agent.generate(ids, mask, 4)
    one = lambda x: lambda tokens, mask: torch.tensor([x] + [0.0]*5)
    for x, name in ((math.nan, 'nan'), (math.inf, 'inf')):
        with pytest.raises(FloatingPointError, match=f'gave {name} as a score'): agent.compute_rewards(rollout, one(x), agent.model)
    broken = copy.deepcopy(agent.model)
    broken.lm_head = copy.deepcopy(broken.lm_head)  # of its own, so that only rows with the token suffer
    with torch.no_grad(): broken.transformer.wte.weight[ids[1, 0]] = math.nan
    with pytest.raises(FloatingPointError, match='reference'): agent.compute_rewards(rollout, one(0.0), broken)
    with pytest.raises(FloatingPointError, match='not numbers'): Agent(broken).generate(ids, mask, 4)


def test_prompts_that_cannot_be_continued_are_refused():
    agent, (ids, mask) = Agent(tiny()), prompts()
    agent.generate(ids, mask, 28)  # 4 + 28 = 32 just fits
    with pytest.raises(ValueError, match='exceed the context of 32'): agent.generate(ids, mask, 29)
    with pytest.raises(ValueError, match='pad on the left'): agent.generate(ids, mask.flip(1), 4)
    with pytest.raises(ValueError, match='temperature'): agent.generate(ids, mask, 4, 0.0)
    endless = tiny(); endless.generation_config.eos_token_id = None
    with pytest.raises(ValueError, match='no EOS'): Agent(endless)


def test_an_agent_and_a_reward_model_come_back_as_they_were(tmp_path, tokenizer):
    agent = Agent(tiny(vocab=len(tokenizer))); torch.nn.init.normal_(agent.value_head.weight)
    agent.save_pretrained(tmp_path/'agent', tokenizer)
    again = Agent.from_pretrained(tmp_path/'agent')
    assert all(torch.equal(a, b) for a, b in zip(agent.state_dict().values(), again.state_dict().values(), strict=True)) and load_model(str(tmp_path/'agent'))[1].get_vocab() == tokenizer.get_vocab()
    reward_model = reward.RewardModel(agent.model)
    reward.normalize(reward_model, torch.tensor([1., 2., 5.]))
    reward_model.save_pretrained(tmp_path/'reward')
    from safetensors.torch import load_file
    assert sorted(load_file(tmp_path/'reward'/'reward_head.safetensors')) == ['head.bias', 'head.weight', 'mean', 'std']  # the trunk has a file of its own
    again = reward.RewardModel.from_pretrained(tmp_path/'reward')
    assert all(torch.equal(a, b) for a, b in zip(reward_model.state_dict().values(), again.state_dict().values(), strict=True)) and all(p.requires_grad for p in again.parameters())
    (tmp_path/'agent'/'value_head.safetensors').unlink(); (tmp_path/'reward'/'reward_head.safetensors').unlink()
    for kind, folder in ((Agent, 'agent'), (reward.RewardModel, 'reward')):
        with pytest.raises(FileNotFoundError, match='missing'): kind.from_pretrained(tmp_path/folder)


def test_models_are_asked_of_the_hub_only_where_something_is_missing(monkeypatch):
    import huggingface_hub, transformers
    from rlhf_nbdev import agent
    def asks(*cached):
        monkeypatch.setattr(huggingface_hub, 'try_to_load_from_cache', lambda name, file: 'a path' if name == 'a/b' and file in cached else None)
        seen = []
        def refuse(*args, **kwargs): seen.append(kwargs.get('local_files_only')); raise KeyboardInterrupt
        monkeypatch.setattr(agent, 'check_hub', lambda name, default: seen.append(name)); monkeypatch.setattr(transformers.AutoTokenizer, 'from_pretrained', refuse)
        with pytest.raises(KeyboardInterrupt): load_model('a/b')
        return seen
    assert asks('tokenizer_config.json', 'model.safetensors') == asks('tokenizer_config.json', 'model.safetensors.index.json') == [True]
    assert asks() == asks('tokenizer_config.json') == asks('model.safetensors') == asks('model.safetensors.index.json') == ['a/b', False]
    for typo in ('./a', '/a', 'a/b/c'):
        with pytest.raises(FileNotFoundError, match='no model folder'): load_model(typo)


def test_weights_are_read_from_safetensors_alone_and_all_of_them(tmp_path, tokenizer):
    seen, model = {}, tiny(vocab=len(tokenizer), dropout=0.1).train()
    model.save_pretrained(tmp_path)
    def stub(source, **kwargs): seen.update(kwargs); return model, {'missing_keys': missing}
    missing = []
    assert not load_weights(SimpleNamespace(from_pretrained=stub), tmp_path, False).training
    assert (seen['use_safetensors'], seen['trust_remote_code'], seen['local_files_only'], seen['dtype']) == (True, False, False, torch.float32)
    missing = ['b', 'a']
    with pytest.raises(ValueError, match='2 weights are missing, a among'): load_weights(SimpleNamespace(from_pretrained=stub), tmp_path)
    tokenizer.padding_side = 'right'; tokenizer.save_pretrained(tmp_path)
    assert load_model(str(tmp_path))[1].padding_side == 'left'


def test_tensors_come_back_all_or_none(tmp_path):
    from safetensors.torch import save_file
    path, into = tmp_path/'x', {'a': torch.zeros(2), 'b': torch.zeros(1)}
    with pytest.raises(FileNotFoundError, match='there is no'): load_tensors(path, into)
    for stored in ({'a': torch.ones(2)}, {'a': torch.ones(2), 'b': torch.ones(1), 'c': torch.ones(1)}, {'a': torch.ones(2), 'b': torch.ones(2)}):
        save_file(stored, path)
        with pytest.raises(ValueError, match='another model'): load_tensors(path, into)
    path.write_bytes(b'no')
    with pytest.raises(ValueError, match='damaged'): load_tensors(path, into)
    assert not into['a'].any() and not into['b'].any()
    save_file({'b': torch.full((1,), 2.0), 'a': torch.ones(2)}, path); load_tensors(path, into)
    assert (into['a'].tolist(), into['b'].tolist()) == ([1, 1], [2])


# ppo

def test_steps_that_are_not_finite_are_named_and_leave_the_weights():
    trainer, _ = trainer_and_rollout(max_grad_norm=0.5, learning_rate=1e-3)
    head, before = trainer.agent.value_head, copy.deepcopy(trainer.agent.state_dict())
    for loss, name in ((head.bias.sum()*math.nan, 'nan'), (head.bias.sum() + math.inf, 'inf')):
        with pytest.raises(FloatingPointError, match=f'the loss is {name}'): trainer.backward(loss)
    trainer.backward(head.weight.sum() + (0*head.bias).sqrt().sum())
    with pytest.raises(FloatingPointError, match='gradient of value_head.bias'): trainer.step()
    trainer.optimizer.zero_grad()
    trainer.backward((head.weight - head.weight.detach())[0, 0].sqrt() + head.weight.sum())
    with pytest.raises(FloatingPointError, match='gradient of value_head.weight'): trainer.step()  # one number of sixteen
    assert all(torch.equal(a, b) for a, b in zip(before.values(), trainer.agent.state_dict().values()))
    trainer.optimizer.zero_grad()
    trainer.backward(3*head.bias.sum()); trainer.backward(4*head.weight[0, 0])
    assert trainer.step() == pytest.approx(5) and head.bias.grad.item() == pytest.approx(0.3, abs=1e-4) and head.weight.grad[0, 0].item() == pytest.approx(0.4, abs=1e-4)


def trainer_and_rollout(**settings):
    agent = Agent(tiny()); torch.nn.init.normal_(agent.value_head.weight, std=0.1)
    config = RLHFConfig(**{'response_length': 5, 'batch_size': 6, 'epochs': 1, 'minibatches': 2, 'updates': 4} | settings)
    trainer = RLHFTrainer(agent, copy.deepcopy(agent.model), config)
    torch.manual_seed(3)
    rollout = agent.generate(*prompts(), 5, config.temperature)
    rollout.response_mask[1, 2:] = rollout.mask[1, 6:] = 0
    rollout.logprobs, rollout.values = rollout.logprobs*rollout.response_mask, rollout.values*rollout.response_mask
    return trainer, rollout


def test_explained_variance_by_hand():
    returns, mask = torch.tensor([[1.0, 2.0, 3.0, 4.0, 99.0]]), torch.tensor([[1, 1, 1, 1, 0]])
    assert explained_variance(returns, returns, mask) == 1
    assert explained_variance(0*returns + 7, returns, mask) == pytest.approx(0, abs=1e-6)
    assert explained_variance(torch.tensor([[2.0, 2.0, 3.0, 5.0, -5.0]]), returns, mask) == pytest.approx(1 - 0.25/1.25, abs=1e-6)  # errors -1, 0, 0, -1
    assert explained_variance(-returns, returns, mask) == pytest.approx(-3, abs=1e-6)
    assert explained_variance(returns, 0*returns, mask) == pytest.approx(-1.25e8, rel=1e-3)  # returns that are all alike: no division by zero


def test_settings_that_cannot_work_are_refused():
    for name in ('prompt_length', 'response_length', 'batch_size', 'updates', 'epochs', 'minibatches'):
        with pytest.raises(ValueError, match=f'{name} must be at least 1'): RLHFConfig(**{name: 0})
        RLHFConfig(**{'batch_size': 2, 'minibatches': 1} | {name: 1})
    with pytest.raises(ValueError, match='does not divide'): RLHFConfig(batch_size=7)
    for temperature in (0.0, -1.0):
        with pytest.raises(ValueError, match='temperature'): RLHFConfig(temperature=temperature)
    setting = ppo.option(3, 'why')
    assert (setting.default, dict(setting.metadata)) == (3, {'help': 'why'})


def test_a_reference_that_is_trained_and_a_policy_that_is_not_are_refused():
    agent = Agent(tiny())
    with pytest.raises(ValueError, match='copy.deepcopy'): RLHFTrainer(agent, agent.model, RLHFConfig())
    reference = tiny()
    agent.model.requires_grad_(False)
    with pytest.raises(ValueError, match='is frozen'): RLHFTrainer(agent, reference, RLHFConfig())
    agent.model.transformer.ln_f.requires_grad_(True)  # one part that learns is enough
    trainer = RLHFTrainer(agent, reference, RLHFConfig(beta=0.3, learning_rate=2e-3, adam_epsilon=3e-5))
    assert trainer.beta == 0.3 and not any(p.requires_grad for p in reference.parameters())
    assert {key: trainer.optimizer.param_groups[0][key] for key in ('lr', 'eps', 'weight_decay')} == {'lr': 2e-3, 'eps': 3e-5, 'weight_decay': 0.0}
    assert sum(len(group['params']) for group in trainer.optimizer.param_groups) == len(list(agent.parameters()))


def test_the_learning_rate_falls_in_a_line_to_zero_and_stays_there():
    trainer, rollout = trainer_and_rollout(learning_rate=1e-4)
    rates = []
    for _ in range(6): rates.append(trainer.optimizer.param_groups[0]['lr']); trainer.update(rollout, rollout.response_mask.float())
    assert rates == pytest.approx([1e-4, 0.75e-4, 0.5e-4, 0.25e-4, 0, 0], abs=1e-12)


def test_update_takes_returns_before_whitening_and_hands_each_row_its_own(monkeypatch):
    trainer, rollout = trainer_and_rollout(gamma=0.9, lam=0.7, epochs=3)
    rewards = torch.randn(6, 5)*rollout.response_mask
    advantages, returns = compute_advantage_and_return(rewards, rollout.values, rollout.response_mask, 0.9, 0.7)
    seen, compute = [], trainer.compute_loss
    def watch(part, A, R): loss, stats = compute(part, A, R); seen.append((part, A, R, stats)); return loss, stats
    monkeypatch.setattr(trainer, 'compute_loss', watch)
    stats = trainer.update(rollout, rewards)
    rows = [[next(k for k in range(6) if torch.equal(tokens, rollout.tokens[k])) for tokens in part.tokens] for part, *_ in seen]
    assert [len(r) for r in rows] == [3]*6 and all(sorted(rows[k] + rows[k + 1]) == list(range(6)) for k in (0, 2, 4)) and len({tuple(r) for r in rows}) > 2  # every row once an epoch, in another order
    for r, (part, A, R, _) in zip(rows, seen):
        torch.testing.assert_close(A, whiten(advantages, rollout.response_mask)[r]); torch.testing.assert_close(R, returns[r]); torch.testing.assert_close(part.logprobs, rollout.logprobs[r])
    for name in seen[0][3]: assert stats[name] == pytest.approx(sum(each[name] for *_, each in seen)/6, abs=1e-6)
    assert stats['ppo/explained_variance'] == pytest.approx(explained_variance(rollout.values, returns, rollout.response_mask)) and stats['ppo/grad_norm'] > 0


def test_loss_compares_with_the_policy_that_sampled_at_its_temperature():
    trainer, rollout = trainer_and_rollout(value_coef=0.5, clip_ratio=0.1, clip_value=0.05)
    with torch.no_grad(): trainer.agent.model.transformer.h[0].mlp.c_fc.weight.mul_(1.5); trainer.agent.value_head.bias.add_(0.4)
    A, R = torch.randn(2, 6, 5)
    loss, stats = trainer.compute_loss(rollout, A, R)
    with torch.no_grad(): dists, hidden = score_tokens(trainer.agent.model, rollout.tokens, rollout.mask, 5, 0.7)
    on = rollout.response_mask.bool()
    logprobs, values = dists.gather(-1, rollout.responses[..., None])[..., 0], (hidden @ trainer.agent.value_head.weight.T)[..., 0] + 0.4
    wanted, scalars = ppo.compute_loss(logprobs, values, rollout.logprobs, rollout.values, A, R, rollout.response_mask, 0.1, 0.05, 0.5)
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-6) and scalars['ppo/clip_fraction'] > 0
    for name in scalars: assert stats[name] == pytest.approx(scalars[name], abs=1e-5)
    assert stats['ppo/entropy'] == pytest.approx(-(dists.exp()*dists).sum(-1)[on].mean().item(), abs=1e-5)
    assert abs(stats['ppo/entropy'] + (dists.exp()*dists).sum(-1).mean().item()) > 1e-3  # padding apart


def test_beta_is_steered_to_the_target_slowly():
    def after(kl, **settings): them = SimpleNamespace(config=RLHFConfig(batch_size=10, kl_horizon=100, **settings), beta=0.5); RLHFTrainer.adapt_beta(them, kl); return them.beta
    assert [after(kl, target_kl=2.0) for kl in (2.0, 2.2, 1.8, 50.0, -1.0)] == pytest.approx([0.5, 0.505, 0.495, 0.51, 0.49])
    assert after(50.0) == 0.5


# sft

def test_tidy_and_held_out_look_at_letters():
    assert sft.tidy('  a film , " really " ( and truly ) bad . i left . ') == 'A film, "really" (and truly) bad. I left.'
    assert sft.tidy('it cost $ 5 ... or so') == 'It cost $5... or so' and sft.tidy('what ? " the end " , and i said so') == 'What? "The end", and I said so'
    assert not sft.is_held_out('abc')  # ba78…, FIPS 180
    assert sft.is_held_out('caf &amp; B.') == (hashlib.sha256(b'cafb').hexdigest()[0] in '01') and [sft.is_held_out(x) for x in ('d', 'D!', '4 d &amp;')] == [True]*3  # 18ac…
    assert 0.08 < np.mean([sft.is_held_out(f'film {a}{b}{c}') for a in 'abcdefghij' for b in 'abcdefghij' for c in 'abcdefghij']) < 0.17


def test_sentences_are_parted_by_their_letters(monkeypatch):
    texts = [f'film {a} is good .' for a in 'abcdefghijklmnopqrstuvwxyz']
    monkeypatch.setattr(sft, 'read_csv', lambda path, kind: (pd.DataFrame({'text': texts}) if (path, kind) == (dataset.packaged_csv(), 'sentences') else None, {}))
    assert sft.load_sentences('held_out') == [sft.tidy(text) for text in texts if sft.is_held_out(text)] and 0 < len(sft.load_sentences('held_out')) < 13
    assert sft.load_sentences('train') == [sft.tidy(text) for text in texts if not sft.is_held_out(text)]
    with pytest.raises(ValueError, match="not 'test'"): sft.load_sentences('test')


def test_pad_left_and_trim_undo_each_other():
    assert [x.tolist() for x in sft.pad_left([5, 6], 4, 9)] == [[9, 9, 5, 6], [0, 0, 1, 1]]
    batch = {'tokens': torch.tensor([[9, 9, 5, 6], [9, 4, 5, 6]]), 'mask': torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1]])}
    assert {name: x.tolist() for name, x in sft.trim(batch).items()} == {'tokens': [[9, 5, 6], [4, 5, 6]], 'mask': [[0, 1, 1], [1, 1, 1]]}
    assert sft.trim({'mask': torch.ones(2, 3)})['mask'].shape == (2, 3)


def test_demonstrations_end_are_split_after_the_opening_and_count_what_does_not_fit(tokenizer):
    sentence = 'A small film, and a good one.'
    ids = tokenizer(sentence)['input_ids']
    room = len(ids) + 1
    data = sft.Demonstrations(tokenizer, [sentence, 'A', sentence + ' Great fun!'], 3, room - 3)
    assert (len(data), data.left_out) == (1, 2)
    item, opening = data[0], len(dataset.prompt_ids(tokenizer, [sentence], 3)[0])
    assert item['tokens'].tolist() == ids + [tokenizer.eos_token_id] and item['mask'].sum() == room
    assert item['response_mask'].tolist() == [0]*opening + [1]*(room - opening)
    wide = sft.Demonstrations(tokenizer, [sentence], 3, room)[0]
    assert wide['tokens'].tolist() == [tokenizer.pad_token_id]*3 + item['tokens'].tolist() and wide['response_mask'].tolist() == [0]*3 + item['response_mask'].tolist() and wide['response_mask'].dtype == torch.int64
    tokenizer.pad_token = tokenizer.eos_token  # EOS counts though padding looks the same
    assert sft.Demonstrations(tokenizer, [sentence], 3, room)[0]['response_mask'].tolist() == wide['response_mask'].tolist()


def test_sft_losses_are_means_over_response_tokens(tokenizer, monkeypatch):
    monkeypatch.setattr(sft, 'autocast', lambda device: nullcontext())
    model, data = tiny(vocab=len(tokenizer)), sft.Demonstrations(tokenizer, [text for text in TEXTS for _ in range(6)], 4, 24)  # 72: more than one batch
    def by_hand(item):
        on = item['mask'].bool()
        logprobs = model(item['tokens'][None, on]).logits[0].log_softmax(-1)
        return [-logprobs[t - 1, item['tokens'][on][t]].item() for t in range(on.sum()) if item['response_mask'][on][t]]
    nats = [by_hand(data[i]) for i in (0, 6, 12, 18)]
    assert len({len(each) for each in nats}) > 1
    flat = sum(nats, [])
    batch = next(iter(DataLoader(data, len(data))))
    assert sft.batch_loss(model, batch).item() == pytest.approx(np.mean(flat), rel=1e-5) and sft.held_out_loss(model, data) == pytest.approx(np.mean(flat), rel=1e-5)
    logits = model(batch['tokens'], attention_mask=batch['mask'], position_ids=position_ids(batch['mask'])).logits
    assert sft.sft_loss(logits, batch['tokens'], batch['response_mask']).item() == pytest.approx(np.mean(flat), rel=1e-5) and sft.sft_loss(logits.bfloat16(), batch['tokens'], batch['response_mask']).dtype == torch.float32


def test_fine_tuning_keeps_the_best_weights_and_says_what_diverges(tokenizer):
    model, data = tiny(vocab=len(tokenizer)), sft.Demonstrations(tokenizer, TEXTS, 4, 24)
    torch.manual_seed(0)
    history = sft.train_sft(model, data, data, epochs=12, batch_size=4, learning_rate=3e-3)
    assert history[0]['step'] == 0 and math.isnan(history[0]['loss']) and history[-1]['step'] == 36 and [row['step'] for row in history[1:4]] == [1, 2, 3]
    assert history[-1]['held_out'] < history[0]['held_out'] - 0.3 and history[-1]['loss'] < history[1]['loss'] - 0.2
    assert sft.held_out_loss(model, data) == pytest.approx(min(row['held_out'] for row in history), rel=1e-3)
    with pytest.raises(ValueError, match='no demonstrations'): sft.train_sft(model, data, sft.Demonstrations(tokenizer, ['A'], 4, 24))
    with pytest.raises(FloatingPointError, match='step'): sft.train_sft(copy.deepcopy(model), data, data, epochs=40, batch_size=4, learning_rate=1e30)


def test_fine_tuning_shuffles_warms_up_clips_and_decays_no_weight(tokenizer, monkeypatch):
    model, data = tiny(vocab=len(tokenizer)), sft.Demonstrations(tokenizer, TEXTS, 4, 24)
    rates, norms, lengths, step, loss = [], [], [], torch.optim.AdamW.step, sft.batch_loss
    def watch(self, *args):
        rates.append(self.param_groups[0]['lr']); norms.append(torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]).item())
        assert self.param_groups[0]['weight_decay'] == 0
        return step(self, *args)
    monkeypatch.setattr(torch.optim.AdamW, 'step', watch)
    monkeypatch.setattr(sft, 'batch_loss', lambda model, batch: lengths.append(batch['mask'].sum(1).tolist()) or loss(model, batch))
    torch.manual_seed(0)
    sft.train_sft(model, data, data, epochs=3, batch_size=4, learning_rate=1e-4, checks=1)
    assert rates == pytest.approx([1e-4*min((k + 1)/20, 1 - k/9) for k in range(9)]) and max(norms) == pytest.approx(1, abs=1e-3)
    assert len({tuple(each) for each in lengths if len(each) == 4}) > 4  # 9 batches of 4 in an order of their own


def test_bfloat16_is_asked_for_where_the_hardware_has_it(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, 'autocast', lambda kind, dtype, enabled: asked.append((kind, dtype, enabled)))
    for has in (True, False, None):
        monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: {} if has is None else {'avx512_bf16': has}); monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation: has and not including_emulation)
        for device in ('cpu', torch.device('cuda', 0), 'mps'): sft.autocast(device)
    assert [(kind, dtype, bool(enabled)) for kind, dtype, enabled in asked] == [(kind, torch.bfloat16, bool(has) and kind != 'mps') for has in (True, False, None) for kind in ('cpu', 'cuda', 'mps')]


def test_the_warm_up_rises_and_the_rest_falls():
    assert [sft.warmup_then_linear(step, 4, 2) for step in range(4)] == [0.5, 0.75, 0.5, 0.25]
    assert [sft.warmup_then_linear(step, 100) for step in (0, 9, 50, 99)] == pytest.approx([0.05, 0.5, 0.5, 0.01])


# reward

def test_a_tokenizer_that_begins_with_a_special_token_changes_nothing(tokenizer, tmp_path):
    begins = copy.deepcopy(tokenizer)
    begins.backend_tokenizer.post_processor = TemplateProcessing(single='<|endoftext|> $A', special_tokens=[('<|endoftext|>', 0)])
    assert begins('a')['input_ids'] == [0] + tokenizer('a')['input_ids']
    reward.write_preferences(tmp_path/'rows', [{'prompt': 'A', 'chosen': ' good', 'rejected': ' bad'}])
    table = pd.DataFrame({'text': TEXTS[:2], 'ratings': [[1], [2]]})
    makers = (lambda t: sft.Demonstrations(t, TEXTS, 4, 24), lambda t: reward.PreferenceDataset(t, tmp_path/'rows'), lambda t: reward.RatedSentences(t, table), lambda t: reward.LabelPairs(t, TEXTS[:2], [0, 1], 9))
    for make in makers:
        for ours, theirs in zip(make(tokenizer), make(begins), strict=True) if make is makers[3] else [(make(tokenizer)[0], make(begins)[0])]:
            for name in ours: assert torch.equal(ours[name], theirs[name]), name
    assert dataset.prompt_ids(begins, TEXTS, 4) == dataset.prompt_ids(tokenizer, TEXTS, 4)


def test_a_reward_model_reads_the_last_real_token_of_each_row():
    reward_model, mask = reward.RewardModel(tiny()), torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]])
    tokens = torch.tensor([[1, 1, 7, 8], [7, 8, 9, 1], [5, 6, 7, 8]])
    rows = torch.stack([reward_model(tokens[b][mask[b] == 1][None], torch.ones(1, mask[b].sum(), dtype=torch.long))[0] for b in range(3)])
    torch.testing.assert_close(reward_model(tokens, mask), rows, rtol=0, atol=1e-5)
    assert rows.std() > 1e-3
    raw = reward_model(tokens, mask).detach()
    reward_model.mean.fill_(2); reward_model.std.fill_(4); reward_model.head.bias.data.fill_(1)
    torch.testing.assert_close(reward_model(tokens, mask).detach(), (raw + 1 - 2)/4, rtol=0, atol=1e-5)


def test_a_reward_model_is_a_trainable_copy_with_a_small_random_head():
    model = tiny().requires_grad_(False)
    torch.manual_seed(0)
    heads = torch.cat([reward.RewardModel(model).head.weight.flatten() for _ in range(60)])
    assert heads.std().item() == pytest.approx(1/math.sqrt(17), rel=0.1)
    reward_model = reward.RewardModel(model)
    assert all(p.requires_grad for p in reward_model.parameters()) and reward_model.head.bias.item() == 0
    with torch.no_grad(): reward_model.trunk.wte.weight.zero_()
    assert model.transformer.wte.weight.abs().sum() > 0
    assert sorted(name for name, _ in reward_model.named_buffers() if not name.startswith('trunk')) == ['mean', 'std']


def test_human_ratings_have_one_place_and_one_content(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path)); monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    assert reward.ratings_path() == tmp_path/'.cache'/'rlhf_nbdev'/reward.RATINGS_FILE
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'x'))
    assert reward.ratings_path() == tmp_path/'x'/'rlhf_nbdev'/reward.RATINGS_FILE
    for path in (None, str(tmp_path/'nowhere')):
        with pytest.raises(FileNotFoundError, match='rlhf-ratings'): reward.read_ratings(path)
    (tmp_path/'other').write_text('no')
    with pytest.raises(ValueError, match='is not the'): reward.read_ratings(str(tmp_path/'other'))


def test_shares_are_those_of_all_pairs_of_raters():
    raters = [[-4, 0, 2], [0, 0, 4], [1, 1, 1]]
    shares = reward.preference_shares(torch.stack([torch.bincount(torch.tensor(each) + 4, minlength=9)/3 for each in raters]))
    slow = [[np.mean([(a > b) + 0.5*(a == b) for a in x for b in y]) for y in raters] for x in raters]
    torch.testing.assert_close(shares, torch.tensor(slow, dtype=torch.float32), rtol=0, atol=1e-6)


def test_shares_are_exact_under_autocast():
    ratings = torch.stack([torch.bincount(torch.tensor(each) + 4, minlength=9)/3 for each in [[-4, 0, 2], [0, 0, 4], [1, 1, 2]]])
    with torch.autocast('cpu', torch.bfloat16): shares = reward.preference_shares(ratings)
    torch.testing.assert_close(shares, reward.preference_shares(ratings), rtol=0, atol=1e-6)  # a text against itself: 0.5, and not 0.498, which would count as decided


def test_drawn_comparisons_follow_the_raters():
    table = pd.DataFrame({'text': ['A', 'B'], 'ratings': [[1, 1, 1, 0], [0, 0, 0, 0]]})  # A above B with 3/4 + half of 1/4
    rows = reward.draw_comparisons(table, 2000, seed=3)
    assert np.mean([row['chosen'] == 'A' for row in rows]) == pytest.approx(7/8, abs=0.03) and all({row['chosen'], row['rejected']} == {'A', 'B'} and row['prompt'] == '' for row in rows)
    assert rows[:9] == reward.draw_comparisons(table, 9, seed=3) != reward.draw_comparisons(table, 9, seed=4)
    three = pd.concat([table, table.assign(text=['C', 'D'])], ignore_index=True)
    assert {row[side] for row in reward.draw_comparisons(three, 99) for side in ('chosen', 'rejected')} == set('ABCD') and all(row['chosen'] != row['rejected'] for row in reward.draw_comparisons(three, 99))


def test_the_human_ceiling_of_those_who_agree_and_of_those_who_do_not():
    assert reward.human_ceiling([[2, 2, 2], [-1, -1, -1]], n=200) == 1
    assert reward.human_ceiling([[0, 0, 0, 1], [0, 0, 0, 0]], n=4000) == pytest.approx(ceiling_by_hand([0, 0, 0, 1], [0, 0, 0, 0]), abs=0.03)
    assert reward.human_ceiling([[2, 2], [0, 0], [-3, -3], [2, 0]], least=4.5, n=50) == 1  # only the pair 5 apart
    assert reward.human_ceiling([[2, -1, 0], [0, 1, -2]], n=300, seed=1) == reward.human_ceiling([[2, -1, 0], [0, 1, -2]], n=300, seed=1)


def ceiling_by_hand(x, y):
    "All choices of one rater of each, those passed over whose others agree."
    right = []
    for i in range(len(x)):
        for j in range(len(y)):
            rest = (sum(x) - x[i])/(len(x) - 1) - (sum(y) - y[j])/(len(y) - 1)
            if rest: right.append((np.sign((x[i] - y[j])*rest) + 1)/2)
    return np.mean(right)


def test_comparisons_survive_the_file_and_bad_lines_are_counted(tmp_path, tokenizer):
    rows = [{'prompt': 'It is', 'chosen': ' good', 'rejected': ' bad\u2028'}, {'prompt': '', 'chosen': 'é', 'rejected': 'e'}]
    path = tmp_path/'pairs.jsonl'
    reward.write_preferences(path, rows)
    assert reward.read_preferences(path)[0] == rows
    bad = ['{', '3', '{"chosen": "a"}', '{"chosen": "a", "rejected": " "}', '{"chosen": " ", "rejected": "a"}', '{"chosen": 1, "rejected": "b"}', '{"chosen": "a", "rejected": "\\ud800"}', '{"chosen": "a", "rejected": "a"}', '', '{"prompt": null, "chosen": "a", "rejected": "b"}']
    path.write_text('\ufeff' + path.read_text() + '\n'.join(bad) + '\n{"chosen": "c", "rejected": "d"}\n')
    kept, left_out = reward.read_preferences(path)
    assert kept == [*rows, {'prompt': '', 'chosen': 'c', 'rejected': 'd'}] and list(left_out.values()) == [1, 7, 1]
    with pytest.warns(UserWarning, match='1 not JSON, 7 no text.*3 comparisons kept'): data = reward.PreferenceDataset(tokenizer, path)
    item, ids = data[0], tokenizer('It is good')['input_ids'] + [tokenizer.eos_token_id]
    assert item['chosen'][-len(ids):].tolist() == ids and item['chosen_mask'].tolist() == [0]*(data.length - len(ids)) + [1]*len(ids) and set(item['chosen'][:-len(ids)].tolist()) <= {tokenizer.pad_token_id}
    assert tokenizer.decode(item['rejected'], skip_special_tokens=True) == 'It is bad\u2028' and len(data) == 3
    longest = max(int(data[0][f'{side}_mask'].sum()) for side in ('chosen', 'rejected'))
    with pytest.warns(UserWarning, match=f'1 longer than {longest - 1} tokens'): assert len(reward.PreferenceDataset(tokenizer, path, longest - 1)) == 2
    path.write_text('')
    with pytest.raises(ValueError, match='the file is empty'): reward.PreferenceDataset(tokenizer, path)
    with pytest.raises(FileNotFoundError, match='no comparisons at'): reward.read_preferences(tmp_path/'nowhere')


def rated(tokenizer): return reward.RatedSentences(tokenizer, pd.DataFrame({'text': TEXTS[:4], 'ratings': [[1, 2, 4], [-4, -1, -1], [0, 0, -2], [4, 4, 3]]}))


def test_scores_keep_their_order_and_are_those_of_each_text_alone(tokenizer):
    data, reward_model = rated(tokenizer), reward.RewardModel(tiny(vocab=len(tokenizer)))
    batch = next(iter(DataLoader(data, 4)))
    alone = torch.stack([reward_model(*(torch.tensor([x]) for x in (ids, [1]*len(ids))))[0] for ids in data.ids])
    torch.testing.assert_close(reward_model(batch['tokens'], batch['mask']), alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(reward.score_all(reward_model, data, 3), alone.detach(), rtol=0, atol=0.05)  # bfloat16 where the hardware has it
    pairs = {'chosen': batch['tokens'][:2], 'chosen_mask': batch['mask'][:2], 'rejected': batch['tokens'][2:], 'rejected_mask': batch['mask'][2:]}
    for ours, theirs in zip(reward.compare(reward_model, pairs), (alone[:2], alone[2:])): torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    loss, won = reward.pair_loss(reward_model, pairs)
    assert loss.item() == pytest.approx(-torch.sigmoid(alone[:2] - alone[2:]).log().mean().item(), abs=1e-5) and won.item() == (alone[:2] > alone[2:]).float().mean().item()
    assert reward.pair_loss(reward_model, pairs | {'rejected': pairs['chosen'], 'rejected_mask': pairs['chosen_mask']})[1] == 0  # a draw is not won


def test_rated_sentences_end_and_hold_the_shares_of_their_raters(tokenizer):
    data = rated(tokenizer)
    assert len(data) == 4 and all(ids[-1] == tokenizer.eos_token_id and tokenizer.decode(ids[:-1]) == text for ids, text in zip(data.ids, TEXTS))
    assert data.lengths == [len(ids) for ids in data.ids] and data.length == max(data.lengths) and data[1]['tokens'].tolist() == [tokenizer.pad_token_id]*(data.length - data.lengths[1]) + data.ids[1]
    torch.testing.assert_close(data[0]['ratings'], torch.tensor([0, 0, 0, 0, 0, 1, 1, 0, 1])/3); torch.testing.assert_close(data[1]['ratings'], torch.tensor([1, 0, 0, 2, 0, 0, 0, 0, 0])/3)


def test_rank_loss_counts_pairs_on_which_the_majority_is_followed(tokenizer, monkeypatch):
    data, reward_model = rated(tokenizer), reward.RewardModel(tiny(vocab=len(tokenizer)))
    batch = next(iter(DataLoader(data, 4)))
    scores = torch.tensor([3.0, 1.0, 2.0, 0.0])
    monkeypatch.setattr(reward.RewardModel, 'forward', lambda *_, **__: scores)
    loss, agreed = reward.rank_loss(reward_model, batch)
    shares = reward.preference_shares(batch['ratings'])
    slow = [-(shares[i, j]*torch.sigmoid(scores[i] - scores[j]).log() + shares[j, i]*torch.sigmoid(scores[j] - scores[i]).log()).item() for i in range(4) for j in range(i)]
    assert loss.item() == pytest.approx(np.mean(slow), abs=1e-6)
    assert agreed.item() == pytest.approx(np.mean([(shares[i, j] > 0.5) == (scores[i] > scores[j]) for i in range(4) for j in range(i)]))
    scores = torch.zeros(4)
    assert reward.rank_loss(reward_model, batch)[1] == 0  # a draw sides with nobody
    scores, batch['ratings'] = torch.tensor([3.0, 1.0, 2.0, 0.0]), batch['ratings'][[0, 0, 2, 3]]  # two alike: nobody is the majority
    assert reward.rank_loss(reward_model, batch)[1].item() == pytest.approx(np.mean([(reward.preference_shares(batch['ratings'])[i, j] > 0.5) == (scores[i] > scores[j]) for i, j in ((2, 0), (2, 1), (3, 0), (3, 1), (3, 2))]))


def test_a_reward_model_learns_what_it_is_shown(tokenizer):
    torch.manual_seed(0)
    for data, batch_size, steps in ((rated(tokenizer), 3, 12), (reward.LabelPairs(tokenizer, TEXTS[:4], [1, 0, 0, 1], 30, 12), 8, 48)):
        reward_model = reward.RewardModel(tiny(vocab=len(tokenizer)))
        batch_loss = reward.rank_loss if len(data) == 4 else reward.pair_loss
        rows = reward.train_reward_model(reward_model, data, batch_size, 3e-3, epochs=12)
        assert len(rows) == steps and np.mean([row['loss'] for row in rows[-8:]]) < rows[0]['loss'] - 0.1 and rows[-1]['accuracy'] > rows[0]['accuracy']
        assert batch_loss(reward_model, next(iter(DataLoader(data, len(data)))))[1] > 0.9
    assert (reward.score_gaps(reward_model, data, 7) > 0).float().mean() > 0.9
    torch.testing.assert_close(reward.score_gaps(reward_model, data, 7), reward.score_gaps(reward_model, data), rtol=0, atol=1e-4)
    with pytest.raises(FloatingPointError, match='step 0'):
        with torch.no_grad(): reward_model.head.weight.fill_(math.nan)
        reward.train_reward_model(reward_model, data)


def test_the_learning_rate_of_a_reward_model_falls_and_its_gradients_are_clipped(tokenizer, monkeypatch):
    rates, norms = [], []
    step = torch.optim.AdamW.step
    def watch(self, *args):
        assert self.param_groups[0]['weight_decay'] == 0
        rates.append(self.param_groups[0]['lr']); norms.append(torch.nn.utils.get_total_norm([p.grad for p in self.param_groups[0]['params'] if p.grad is not None]).item())
        return step(self, *args)
    monkeypatch.setattr(torch.optim.AdamW, 'step', watch)
    reward_model = reward.RewardModel(tiny(vocab=len(tokenizer)))
    with torch.no_grad(): reward_model.head.weight.mul_(100)
    reward.train_reward_model(reward_model, rated(tokenizer), 2, 1e-4, epochs=2)
    assert rates == pytest.approx([1e-4, 0.75e-4, 0.5e-4, 0.25e-4]) and max(norms) < 1.001 and max(norms) > 0.99


def test_pairwise_accuracy_by_hand():
    wanted, predicted = torch.tensor([1.0, 2.0, 2.0, 5.0]), torch.tensor([0.0, 3.0, 1.0, 1.0])
    assert reward.pairwise_accuracy(predicted, wanted) == pytest.approx((1 + 1 + 1 + 0 + 0.5)/5)
    assert reward.pairwise_accuracy(predicted, wanted, 3.0) == pytest.approx((1 + 0 + 0.5)/3) and reward.pairwise_accuracy(predicted, wanted, 4.0) == 1


def test_normalising_twice_is_normalising_once_and_needs_a_spread():
    reward_model, (tokens, mask) = reward.RewardModel(tiny()), prompts()
    for _ in range(2):
        with torch.no_grad(): reward.normalize(reward_model, reward_model(tokens, mask)*3 + 2)
    with torch.no_grad():
        reward.normalize(reward_model, reward_model(tokens, mask))
        scores = reward_model(tokens, mask)
    assert scores.mean().abs() < 1e-5 and scores.std().item() == pytest.approx(1, abs=1e-5)
    for few in (torch.ones(4), torch.ones(1)):
        with pytest.raises(ValueError, match='without spread'): reward.normalize(reward_model, few)


def test_label_pairs_are_snippets_of_the_right_sides(tokenizer):
    texts = ['good one ' * 20, 'bad plot ' * 20]
    data = reward.LabelPairs(tokenizer, texts, [1, 0], 200, 16, seed=2)
    lengths = []
    for pair in data:
        for side, word in (('chosen', 'bad plot'), ('rejected', 'good one')):
            tokens, mask = pair[side], pair[f'{side}_mask']
            assert len(tokens) == len(mask) == 16 and tokens[-1] == tokenizer.eos_token_id and (mask.diff() >= 0).all() and not any(w in tokenizer.decode(tokens) for w in word.split())
            lengths.append(int(mask.sum()))
    assert (min(lengths), max(lengths)) == (5, 16) and len(data) == 200
    assert torch.equal(data[7]['chosen'], data[7]['chosen']) and len({tuple(data[i]['chosen'].tolist()) for i in range(50)}) > 5
    assert not torch.equal(data[7]['chosen'], reward.LabelPairs(tokenizer, texts, [1, 0], 200, 16, seed=3)[7]['chosen'])
    for i in (-1, 200):
        with pytest.raises(IndexError): data[i]
    for labels in ([1, 1], [0, 0]):
        with pytest.raises(ValueError, match='both labels'): reward.LabelPairs(tokenizer, texts, labels)
    short = reward.LabelPairs(tokenizer, ['', 'ab', 'c'], [1, 1, 0], 20, 16)  # a text of nothing is no text
    assert {tokenizer.decode(pair['chosen'], skip_special_tokens=True) for pair in short} == {'ab'}


# dataset

def test_csv_files_of_both_kinds_are_read_and_bad_rows_counted(tmp_path):
    path = tmp_path/'a.csv'
    path.write_bytes('\ufeffreview,sentiment\r\n"Long, but ""good"".<br />See it.",positive\r\n\r\nDull.,NEG\r\none too many,1,2\r\nodd,maybe\r\n <br />,0\r\n'.encode())
    reviews, left_out = dataset.read_csv(path)
    assert reviews.values.tolist() == [['Long, but "good".<br />See it.', 1], ['Dull.', 0]] and left_out == {'ragged': 1, 'unknown label': 1, 'empty': 1}
    with pytest.warns(UserWarning, match='left out 1 ragged, 1 unknown label, 1 empty; 2 reviews kept'): assert len(dataset.load_reviews(path)) == 2
    path.write_text('label,text,source\n1,Fine.,imdb\n0,Thin plot.,rotten_tomatoes\n')
    assert dataset.read_csv(path)[0].values.tolist() == [['Fine.', 1]] and dataset.read_csv(path, 'sentences')[0].values.tolist() == [['Thin plot.', 0]]
    path.write_text(' Text,label \nFine., Positive \n,1\n')
    with pytest.warns(UserWarning, match='left out 1 empty'): dataset.load_reviews(str(path))
    assert dataset.read_csv(path)[0].values.tolist() == [['Fine.', 1]]
    with pytest.raises(ValueError, match='no column source'): dataset.read_csv(path, 'sentences')
    for text, message in (('id,stars\n1,2\n', 'sentiment are needed'), ('text\nx\n', 'are needed'), ('label\n1\n', 'are needed'), ('text,label\n"open,1\n', 'quotation mark'), ('', 'are needed')):
        path.write_text(text)
        with pytest.raises(ValueError, match=message): dataset.read_csv(path)
    with pytest.raises(FileNotFoundError, match='no CSV at'): dataset.read_csv(tmp_path/'nowhere.csv')


def test_sources_are_told_apart(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(dataset, 'read_hub', lambda name: asked.append(name) or (pd.DataFrame({'text': ['a'], 'label': [1]}), {'empty': 0}))
    monkeypatch.setattr(dataset, 'read_csv', lambda path: asked.append(str(path)) or (pd.DataFrame({'text': ['a'], 'label': [1]}), {'empty': 0}))
    (tmp_path/'reviews').write_text('')
    for source in ('hub', 'some/one', 'a.CSV', tmp_path/'b', str(tmp_path/'reviews'), 'package'): dataset.load_reviews(source)
    assert asked == ['stanfordnlp/imdb', 'some/one', 'a.CSV', str(tmp_path/'b'), str(tmp_path/'reviews'), str(dataset.packaged_csv())]


def test_a_split_is_fixed_holds_no_long_text_and_shares_none():
    reviews = pd.DataFrame({'text': [f'Film {i}.<br />Seen.' for i in range(40)] + ['x'*41, 'Film  3. Seen.', 'y'*40], 'label': [i % 2 for i in range(43)]})
    train, held_out = dataset.split_reviews(reviews, 30, 40)
    assert len(train) == 30 and set(train.text) & set(held_out.text) == set() and len(set(train.text) | set(held_out.text)) == 41
    keys = [dataset.shuffle_key(text) for text in [*train.text, *held_out.text]]
    assert keys == sorted(keys) and 'x'*41 not in [*train.text, *held_out.text] and all('<br' not in text for text in train.text)
    again = dataset.split_reviews(reviews.sample(frac=1, random_state=1), 30, 40)
    assert set(again[0].text) == set(train.text) and list(held_out.index) == list(range(len(held_out))) and list(train.index) == list(range(30))
    label = dict(zip(reviews.text.map(dataset.clean_text), reviews.label))
    assert all(y == label[text] or 'Film 3.' in text for text, y in zip(train.text, train.label))
    dataset.split_reviews(reviews, 41, 40); dataset.split_reviews(reviews, 1, 40)
    for n, message in ((42, 'lower n_train'), (0, 'at least 1')):
        with pytest.raises(ValueError, match=message): dataset.split_reviews(reviews, n, 40)


def test_a_copy_of_a_training_text_is_not_held_out():
    reviews = pd.DataFrame({'text': ['b', 'b ', 'b', 'a', 'c', 'd'], 'label': [0]*6})
    for n in range(1, 5):
        train, held_out = dataset.split_reviews(reviews, n)
        assert len(train) == n and not set(train.text) & set(held_out.text)


def test_prompts_are_openings_cut_where_a_word_ends(tokenizer):
    texts = ['A small film, and a good one.', 'xqzvwkjyxqzvwkjy is no word', 'I left.']
    for length in (1, 2, 3, 5, 9):
        for text, ids in zip(texts, dataset.prompt_ids(tokenizer, texts, length)):
            opening, whole = tokenizer.decode(ids), tokenizer(text)['input_ids']
            assert whole[:len(ids)] == ids and 1 <= len(ids) <= length and text.startswith(opening)
            assert len(ids) == len(whole) or text[len(opening)] == ' ' or (' ' not in opening and len(ids) == length) or text[len(opening):][:1] == ''
            longer = [k for k in range(len(ids) + 1, min(length, len(whole)) + 1) if (text[len(tokenizer.decode(whole[:k])):] or ' ')[0] == ' ']
            assert not longer, 'cut too early'
    whole = tokenizer('a 漢 b')['input_ids']
    assert len(whole) > 6  # the sign is three tokens
    for length in range(1, len(whole) + 1): assert tokenizer.decode(dataset.prompt_ids(tokenizer, ['a 漢 b'], length)[0]) in ('a', 'a 漢', 'a 漢 b')


def test_the_dataset_of_prompts(tokenizer, tmp_path):
    path = tmp_path/'own.csv'
    pd.DataFrame({'text': [f'{word} film number {i}.' for i in range(9) for word in ('Good', 'A')], 'label': [1, 0]*9}).to_csv(path, index=False)
    train, held_out = (dataset.IMDBDataset(tokenizer, split, path, 7, 12) for split in ('train', 'held_out'))
    assert (len(train), len(held_out)) == (12, 6) and not set(train.texts) & set(held_out.texts) and all((y == 1) == text.startswith('Good') for text, y in zip(train.texts, train.labels))
    for i in range(12):
        item, ids = train[i], train.prompts[i]
        assert item['input_ids'].tolist() == [tokenizer.pad_token_id]*(7 - len(ids)) + ids and item['attention_mask'].tolist() == [0]*(7 - len(ids)) + [1]*len(ids)
    assert {len(ids) for ids in dataset.IMDBDataset(tokenizer, 'train', path, 1, 12).prompts} == {1}
    assert [text for text in dataset.IMDBDataset(tokenizer, 'train', path, 7, 4, 18).texts if len(text) > 18] == []
    for options, message in (({'split': 'test'}, "not 'test'"), ({'prompt_length': 0}, 'at least 1 token')):
        with pytest.raises(ValueError, match=message): dataset.IMDBDataset(tokenizer, **{'source': path} | options)
    tokenizer.pad_token = None
    with pytest.raises(ValueError, match='no pad token'): dataset.IMDBDataset(tokenizer, 'train', path)


# evaluate

def test_trigram_probabilities_sum_to_one_and_are_those_of_absolute_discounting():
    model = evaluate.TrigramModel(['the film is good', 'the film is bad', 'the plot is thin'], least=2, discount=0.75)
    assert model.vocab == {'the', 'film', 'is', '<unk>', '</s>'}
    for history in ((), ('<s>',), ('<s>', '<s>'), ('the', 'film'), ('<unk>', 'is'), ('film', 'never')): assert sum(model.prob((*history, word)) for word in model.vocab) == pytest.approx(1)
    unigram = (3 - 0.75)/15 + 0.75*5/15/5  # 'the': 3 of 15 tokens, five kinds, five in the vocabulary
    bigram = (3 - 0.75)/3 + 0.75*1/3*unigram  # after '<s>' always 'the'
    assert model.prob(('the',)) == pytest.approx(unigram) and model.prob(('<s>', 'the')) == pytest.approx(bigram) and model.prob(('<s>', '<s>', 'the')) == pytest.approx((3 - 0.75)/3 + 0.75/3*bigram)
    assert len(model.logprobs('The film!')) == 4 and model.logprobs('The film, unseen') == pytest.approx([math.log(model.prob(gram)) for gram in
        (('<s>', '<s>', 'the'), ('<s>', 'the', 'film'), ('the', 'film', '<unk>'), ('film', '<unk>', '<unk>'), ('<unk>', '<unk>', '</s>'))])
    assert sum(model.logprobs('the film is good')) > sum(model.logprobs('good is film the'))


def test_words_sentences_and_what_is_done_to_them():
    assert evaluate.words("It's GOOD, isn't it?") == ["it's", 'good', ',', "isn't", 'it', '?']
    assert evaluate.split_sentences('One two three. No. Four five<br />six seven! ' + 'x '*41 + '. A b c?') == ['One two three.', 'Four five six seven!', 'A b c?']
    assert evaluate.split_sentences(' '.join('x'*40)) and not evaluate.split_sentences(' '.join('x'*41))
    rng, sentence, seen, strange = random.Random(0), 'a b c d e f g h', {'shuffle': 0, 'loop': 0, 'swap': 0}, 0
    for _ in range(300):
        parts = evaluate.corrupt(sentence, ['X Y Z'], rng).split()
        kind = 'swap' if set(parts) & set('XYZ') else 'loop' if len(parts) > 8 else 'shuffle' if sorted(parts) == sentence.split() else ''
        seen[kind] += 1
        if kind == 'loop': assert list(dict.fromkeys(parts)) == sentence.split() and len(parts) <= 8 + 9
        if kind == 'swap': assert len(parts) == 8 and all(a == b for a, b in zip(parts, sentence.split()) if a not in 'XYZ'); strange += sum(part in 'XYZ' for part in parts)
    assert all(70 < n < 130 for n in seen.values()) and 0.25 < strange/seen['swap']/8 < 0.37


def test_calibration_by_hand():
    table = evaluate.reliability(np.array([0.1, 0.15, 0.95, 1.0]), np.array([0, 1, 1, 1]), 5)
    assert table.said.tolist() == pytest.approx([0.125, 0.975]) and table.found.tolist() == [0.5, 1.0] and table.n.tolist() == [2, 2] and table.index.tolist() == [0, 4]
    assert evaluate.calibration_error(table) == pytest.approx((0.375 + 0.025)/2)
    assert evaluate.calibration_error(pd.DataFrame({'said': [0.2, 0.9], 'found': [0.0, 1.0], 'n': [3, 1]})) == pytest.approx((0.6 + 0.1)/4)


def test_diversity_by_hand():
    assert evaluate.distinct_n(['a b a b', 'b c']) == pytest.approx(3/4) and evaluate.distinct_n(['a b a b'], 1) == 0.5 and evaluate.distinct_n(['a']) == 0 and evaluate.distinct_n(['a b']) == 1
    table = evaluate.overused(['A b c', 'a b', 'x'], ['c d', 'a b'], top=2)
    assert table.index[0] == 'b c' and table.share.tolist() == pytest.approx([1/3, 2/3]) and table.ref_share.tolist() == [0, 0.5] and len(table) == 2
    assert len(evaluate.overused(['a'], ['b'])) == 0  # too short for phrases
    assert evaluate.overused(['a a a', 'b'], ['b'], 1).loc['a'].tolist() == [0.5, 0]  # once a response


def test_sequence_kl_and_texts_are_of_the_response_alone(tokenizer):
    agent, ref_model = Agent(tiny(vocab=len(tokenizer))), tiny(vocab=len(tokenizer), seed=7)
    rollouts = evaluate.sample_responses(agent, [dict(zip(('input_ids', 'attention_mask'), prompts(len(tokenizer)))) for _ in range(2)], RLHFConfig(response_length=4, temperature=0.8))
    assert len(rollouts) == 2 and {r.responses.shape for r in rollouts} == {(6, 4)} and {r.temperature for r in rollouts} == {0.8}
    r = rollouts[0]
    r.response_mask[0, 2:] = r.mask[0, 6:] = 0
    r.tokens[0, 5] = tokenizer.eos_token_id
    with torch.no_grad(): ref = token_logprobs(ref_model, r.tokens, r.mask, 4, 0.8)
    kl = evaluate.sequence_kl(r, ref_model)
    torch.testing.assert_close(kl, torch.tensor([sum((r.logprobs[b, t] - ref[b, t]).item() for t in range(4) if r.response_mask[b, t]) for b in range(6)]), rtol=0, atol=1e-4)
    assert kl.abs().min() > 1e-3 and not kl.requires_grad
    texts = evaluate.response_texts(rollouts, tokenizer)
    assert len(texts) == 12 and texts[0] == tokenizer.decode(r.responses[0, :1]) and texts[7] == tokenizer.decode(rollouts[1].responses[1], skip_special_tokens=True)


class WordJudge:
    "Counts letters: praise is the share of e, fluency falls with length."
    def praise(self, texts): return np.array([text.count('e')/max(1, len(text)) for text in texts])
    def fluency(self, texts): return np.array([1/(1 + len(text)) for text in texts])
    def __call__(self, prompts, responses): return self.praise(responses)*self.fluency([a + b for a, b in zip(prompts, responses)])


def held_out_prompts(tokenizer, path):
    pd.DataFrame({'text': [f'A film number {i}, seen.' for i in range(20)], 'label': [0, 1]*10}).to_csv(path, index=False)
    return torch.utils.data.Subset(dataset.IMDBDataset(tokenizer, 'held_out', path, 5, 8), [1, 3, 4, 7])


def test_measuring_takes_the_seeds_luck_and_writes_down_each_answer(tokenizer, tmp_path):
    agent, ref_model, some = Agent(tiny(vocab=len(tokenizer))), tiny(vocab=len(tokenizer), seed=7), held_out_prompts(tokenizer, tmp_path/'a.csv')
    count = lambda tokens, mask: mask.sum(1).float()
    config = RLHFConfig(response_length=6, seed=3)
    torch.manual_seed(11); before = torch.get_rng_state()
    table = evaluate.measure(agent, some, count, ref_model, WordJudge(), config)
    assert torch.equal(before, torch.get_rng_state()) and evaluate.measure(agent, some, count, ref_model, WordJudge(), config).equals(table)
    assert not evaluate.measure(agent, some, count, ref_model, WordJudge(), RLHFConfig(response_length=6, seed=4)).response.equals(table.response)
    torch.manual_seed(3)
    r, = evaluate.sample_responses(agent, DataLoader(some, 4), config)
    assert table.prompt.tolist() == [tokenizer.decode(some.dataset.prompts[i]) for i in some.indices] and table.response.tolist() == evaluate.response_texts([r], tokenizer)
    assert table.score.tolist() == r.mask.sum(1).tolist() and table.tokens.tolist() == r.response_mask.sum(1).tolist() and table.ended.tolist() == agent.ended(r).tolist()
    kl = evaluate.sequence_kl(r, ref_model)
    assert table.kl.tolist() == pytest.approx(kl.tolist()) and table.surprise.tolist() == pytest.approx((kl - (r.logprobs*r.response_mask).sum(1)).tolist())
    judge = WordJudge()
    assert table.praise.tolist() == judge.praise(table.response).tolist() and table.fluency.tolist() == judge.fluency(table.prompt + table.response).tolist() and table.gold.tolist() == (table.praise*table.fluency).tolist()
    assert 'gold' not in evaluate.measure(agent, some, count, ref_model, None, config)
    figures = evaluate.summarise(table)
    assert figures['perplexity'] == pytest.approx(math.exp(table.surprise.sum()/table.tokens.sum())) and figures['words'] == np.mean([len(text.split()) for text in table.response])
    assert all(figures[name] == table[name].mean() for name in ('gold', 'praise', 'fluency', 'score', 'kl', 'ended')) and figures['distinct_bigrams'] == evaluate.distinct_n(table.response)


def test_evaluating_compares_every_pair_of_agents(tokenizer, tmp_path):
    agents = {name: Agent(tiny(vocab=len(tokenizer), seed=k)) for k, name in enumerate(('base', 'sft', 'ppo'))}
    some, count, judge, config = held_out_prompts(tokenizer, tmp_path/'a.csv'), lambda tokens, mask: mask.sum(1).float(), WordJudge(), RLHFConfig(response_length=6)
    tables, figures = evaluate.evaluate(agents, some, count, agents['base'].model, judge, config)
    assert list(tables) == list(agents) and figures['prompts'] == 4 and abs(figures['kl_base']) < 1e-4 < figures['kl_ppo']
    assert figures['gold_sft'] == tables['sft'].gold.mean() and figures['gold_sft_interval'] == evaluate.bootstrap(tables['sft'].gold)
    won = evaluate.win_rate(evaluate.prefers(judge), tables['ppo'].prompt, tables['ppo'].response, tables['sft'].response)
    assert figures['win_rate_ppo_sft'] == won.mean() and figures['win_rate_ppo_sft_interval'] == evaluate.bootstrap(won) and figures['ties_ppo_sft'] == (won == 0.5).mean()
    assert sorted(name for name in figures if name.startswith('win') and not name.endswith('interval')) == ['win_rate_ppo_base', 'win_rate_ppo_sft', 'win_rate_sft_base']
    _, without = evaluate.evaluate(agents, some, count, agents['base'].model, None, config)
    assert {name for name in figures if not any(word in name for word in ('gold', 'praise', 'fluency', 'win', 'ties'))} == set(without)


def test_a_judge_multiplies_praise_of_the_response_with_fluency_of_the_whole():
    judge = object.__new__(evaluate.Judge)  # without its lessons, which take ten seconds
    judge.trigrams = SimpleNamespace(logprobs=lambda text: [-1.0, -2.0, -4.5])
    assert judge.features('A b a b c') == pytest.approx([-2.5, 3/5, 3/4, math.log(6)]) and judge.features('') == pytest.approx([-2.5, 0, 0, 0]) and judge.features('a') == pytest.approx([-2.5, 1, 0, math.log(2)])
    judge.praise_model = SimpleNamespace(predict_proba=lambda texts: np.array([[1 - len(text)/100, len(text)/100] for text in texts]))
    judge.fluency_model = SimpleNamespace(predict_proba=lambda rows: np.array([[1 - row[3]/10, row[3]/10] for row in rows]))
    assert judge(['one two', 'three'], [' four', ' five six']) == pytest.approx([0.05*math.log(4)/10, 0.09*math.log(4)/10])


def test_intervals_cover_what_they_should():
    x = np.random.default_rng(0).normal(5, 2, 400)
    low, high = evaluate.bootstrap(x)
    assert (low + high)/2 == pytest.approx(x.mean(), abs=0.03) and high - low == pytest.approx(2*1.96*x.std()/20, rel=0.1) and evaluate.bootstrap(x) == (low, high)
    narrow = evaluate.bootstrap(x, 0.5)
    assert narrow[1] - narrow[0] == pytest.approx(2*0.674*x.std()/20, rel=0.1) and evaluate.bootstrap([3]*5) == (3, 3)


def test_a_judge_who_likes_the_first_makes_ties_only():
    longer = lambda prompts, firsts, seconds: np.array([np.sign(len(a) - len(b)) for a, b in zip(firsts, seconds)])
    assert evaluate.win_rate(longer, ['']*3, ['aa', 'b', 'c'], ['a', 'bb', 'd']).tolist() == [1, 0, 0.5]
    assert evaluate.win_rate(lambda p, a, b: np.ones(3), ['']*3, ['']*3, ['']*3).tolist() == [0.5]*3
    assert evaluate.win_rate(lambda p, a, b: np.array([a[0] == 'x'])*1, [''], ['x'], ['y']).tolist() == [0.75]
    prefer = evaluate.prefers(lambda prompts, texts: np.array([float(text) for text in texts]), 0.1)
    assert prefer(None, ['0.5', '0.2', '0.9'], ['0.3', '0.25', '1.1']).tolist() == [1, 0, -1]


def test_the_best_of_n_is_the_mean_over_all_choices():
    from itertools import combinations
    rng = np.random.default_rng(0)
    scores, values = rng.normal(size=7), rng.normal(size=7)
    for n in (1, 3, 7): assert evaluate.best_of_n(scores, values, n) == pytest.approx(np.mean([values[max(rows, key=lambda k: scores[k])] for rows in combinations(range(7), n)]))
    assert evaluate.best_of_n(np.zeros(64), np.arange(64), 64) == 0  # of those alike, the first
    assert evaluate.best_of_n_bound(1) == 0 and evaluate.best_of_n_bound(4) == pytest.approx(math.log(4) - 0.75)
    assert evaluate.best_of_n_kl(scores, 1) == pytest.approx(0) and evaluate.best_of_n_kl(np.arange(2000), 4) == pytest.approx(evaluate.best_of_n_bound(4), abs=1e-3)
    p = np.array([0.5, 0.5]); best = np.array([0.25, 0.75])
    assert evaluate.best_of_n_kl(np.array([0, 0, 1, 1 + 4e-5]), 2) == pytest.approx((best*np.log(best/p)).sum())


def test_panels_and_studies_are_read(tmp_path):
    pairs = [{'prompt': 'p', 'a': 'x', 'b': 'y'}, {'prompt': 'q', 'a': 'x', 'b': 'y'}]
    label = lambda prompt, left, right, choice: {'prompt': prompt, 'left': left, 'right': right, 'choice': choice}
    labels = [label('p', 'y', 'x', 'left'), label('q', 'x', 'y', 'left'), label('q', 'y', 'x', 'tie'), label('p', 'x', 'y', 'skip'), label('r', 'x', 'y', 'left')]
    assert evaluate.panel_outcomes(labels, pairs).tolist() == [1, 0, 0.5]
    assert evaluate.panel_outcomes([label('p', 'x', 'y', 'right')], [*pairs, {'prompt': 'p', 'a': 'y', 'b': 'x'}]).tolist() == [1]  # of two alike the first counts
    run = {'group': 'g', 'name': 'n\u2028', 'seed': 0, 'rated_sentences': 5, 'points': [{'kl': 1, 'gold': 0.2}, {'kl': 2, 'gold': 0.3}]}
    (tmp_path/'study.jsonl').write_text(json.dumps(run, ensure_ascii=False) + '\n')
    assert evaluate.read_study(tmp_path/'study.jsonl') == [run] and len(evaluate.read_study()) > 9
    assert evaluate.study_points([run, run]).to_dict('records')[1] == {'group': 'g', 'name': 'n\u2028', 'seed': 0, 'rated_sentences': 5, 'kl': 2, 'gold': 0.3} and len(evaluate.study_points([run, run])) == 4


def test_the_forms_of_overoptimisation_are_found_again():
    kl = np.linspace(0.2, 30, 40); d = np.sqrt(kl)
    assert evaluate.fit_overoptimisation(kl, d*(0.5 - 0.1*np.log(d))) == pytest.approx((0.5, 0.1)) and evaluate.fit_overoptimisation(kl, d*(0.5 - 0.1*d), 'bon') == pytest.approx((0.5, 0.1))


# feedback

def test_a_log_is_replayed_and_a_torn_line_is_counted(tmp_path):
    path, pairs = tmp_path/'new'/'folder'/'log.jsonl', [{'prompt': 'p', 'a': 'x', 'b': 'y'}, {'prompt': 'q', 'a': 'x', 'b': 'y'}, {'prompt': 'p', 'a': 'y', 'b': 'x'}]
    log = feedback.LabelLog(pairs, path, seed=1)
    assert feedback.read_labels(path) == ([], 0) and len(log.pairs) == 2 and len(log.remaining()) == 2
    with pytest.raises(ValueError, match='no label'): log.undo()
    first, second = log.remaining()
    log.answer(first, 'left', seconds=2)
    assert log.given() == [first | {'choice': 'left', 'seconds': 2}] and log.remaining() == [second]
    with pytest.raises(ValueError, match='has its label'): log.answer(first, 'right')
    with pytest.raises(ValueError, match="not 'both'"): log.answer(second, 'both')
    with open(path, 'ab') as file: file.write(b'{"torn')
    log.answer(second, 'skip')
    with open(path, 'ab') as file: file.write(b'3\n{"choice": "left", "prompt": "p", "left": 1, "right": "x"}\n{"choice": "both", "prompt": "p", "left": "y", "right": "x"}\n')
    labels, unreadable = feedback.read_labels(path)
    assert [label['choice'] for label in labels] == ['left', 'skip'] and unreadable == 4 and log.remaining() == []
    log.undo()
    assert b'\n\n' not in path.read_bytes()
    assert log.remaining() == [second] and log.given()[0]['choice'] == 'left'
    assert feedback.LabelLog(pairs[1:2], path).given() + feedback.LabelLog([{'prompt': 'r', 'a': '1', 'b': '2'}], path).given() == [x for x in log.given() if x['prompt'] == 'q']
    (tmp_path/'undone').write_text('{"undo": true}\n')
    assert feedback.read_labels(tmp_path/'undone') == ([], 1)
    again = feedback.LabelLog(pairs, path, seed=2)  # other sides, the same labels
    assert len(again.given()) == 1 and [pair['prompt'] for pair in again.remaining()] == ['q']
    with pytest.raises(ValueError, match='no label of these pairs'): feedback.LabelLog([{'prompt': 'r', 'a': '1', 'b': '2'}], path).undo()
    with pytest.raises(ValueError, match='no pairs'): feedback.LabelLog([], path)
    assert 60 < sum(pair['left'] == 'x' for pair in feedback.LabelLog([{'prompt': str(i), 'a': 'x', 'b': 'y'} for i in range(200)], path).pairs.values()) < 140


def test_labels_become_comparisons():
    label = lambda choice: {'prompt': 'p', 'left': 'x', 'right': 'y', 'choice': choice}
    rows, left_out = feedback.to_preferences([label('left'), label('right'), label('tie'), label('skip'), label('skip')])
    assert rows == [{'prompt': 'p', 'chosen': 'x', 'rejected': 'y'}, {'prompt': 'p', 'chosen': 'y', 'rejected': 'x'}] and left_out == {'tie': 1, 'skip': 2}


def test_a_simulated_person_has_a_taste_and_a_share_of_coins():
    pair = {'left': 'long', 'right': 'no'}
    steady, coin = feedback.SimulatedLabeler(len, 0.0), feedback.SimulatedLabeler(len, 1.0)
    assert [steady(pair), steady({'left': 'a', 'right': 'bb'}), steady({'left': 'a', 'right': 'b'})] == ['left', 'right', 'tie']
    assert 70 < sum(coin(pair) == 'left' for _ in range(200)) < 130
    wavering = feedback.SimulatedLabeler(len, 0.2)
    assert np.mean([wavering(pair) == 'left' for _ in range(3000)]) == pytest.approx(0.9, abs=0.02)


def test_wilson_by_its_definition():
    for right, n in ((0, 10), (7, 10), (10, 10), (2.5, 4)):
        low, high = feedback.wilson(right, n)
        for end in (low, high): assert end in (0.0, 1.0) or abs(right/n - end) == pytest.approx(1.96*math.sqrt(end*(1 - end)/n))
        assert 0 <= low <= right/n <= high <= 1 and (low, high) != (0, 1)
    assert feedback.wilson(0, 0) == (0, 1)


def test_pairs_differ_and_the_least_sure_come_first(tokenizer, tmp_path, monkeypatch):
    data, agent = held_out_prompts(tokenizer, tmp_path/'a.csv').dataset, Agent(tiny(vocab=len(tokenizer)))
    torch.manual_seed(0)
    found = feedback.sample_pairs(agent, data, RLHFConfig(response_length=6), [0, 2, 5])
    assert [pair['prompt'] for pair in found] == [tokenizer.decode(data.prompts[i]) for i in (0, 2, 5)] and all(pair['a'] != pair['b'] and pair['a'].strip() and pair['b'].strip() for pair in found)
    assert feedback.sample_pairs(agent, data, RLHFConfig(response_length=6), [0], tries=1) == []
    scripted = iter([[' ', 'x'], ['a', 'x'], ['a', 'y'], ['b']])
    monkeypatch.setattr(feedback, 'response_texts', lambda *_: next(scripted))
    assert [(pair['a'], pair['b']) for pair in feedback.sample_pairs(agent, data, RLHFConfig(response_length=2), [0, 1])] == [('a', 'b'), ('x', 'y')]
    assert feedback.least_sure(torch.tensor([3.0, -0.1, -2.0, 0.5]), 2) == [1, 3]


def test_fitting_labels_changes_a_copy(tokenizer):
    rows = [{'prompt': 'A', 'chosen': ' good one', 'rejected': ' bad plot'}]*8
    data = feedback.comparisons(tokenizer, rows)
    assert len(data) == 8 and tokenizer.decode(data[0]['chosen'], skip_special_tokens=True) == 'A good one'
    reward_model = reward.RewardModel(tiny(vocab=len(tokenizer)))
    before = copy.deepcopy(reward_model.state_dict())
    torch.manual_seed(0)
    student = feedback.fit_labels(reward_model, tokenizer, rows, 10, 4, 3e-3)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), reward_model.state_dict().values()))
    assert reward.score_gaps(student, data).min() > reward.score_gaps(reward_model, data).max() + 0.5


def test_steering_scales_the_rewards_first_and_trains_what_was_frozen(monkeypatch):
    reference, seen = Agent(tiny()), []
    agent, reward_model = copy.deepcopy(reference), reward.RewardModel(tiny(seed=3))
    agent.requires_grad_(False)
    monkeypatch.setattr(feedback, 'scale_rewards', lambda *args: seen.append(args))
    config = RLHFConfig(response_length=3, batch_size=5, minibatches=1, updates=3, epochs=1)
    data = [dict(zip(('input_ids', 'attention_mask'), pair)) for pair in zip(*prompts(rows=12))]
    torch.manual_seed(0)
    before = copy.deepcopy(agent.model.state_dict())
    rows = feedback.steer(agent, reference, reward_model, data, config)
    assert len(rows) == 3 and any(not torch.equal(x, before[name]) for name, x in agent.model.state_dict().items())
    (model, ref, loader, c), = seen
    assert (model, ref, c) == (reward_model, reference, config) and [len(batch['input_ids']) for batch in loader] == [5, 5]
    assert not all(torch.equal(a['input_ids'], b['input_ids']) for a, b in zip(loader, loader))


# pretrain

def test_pretraining_reads_every_review_once_but_none_that_is_held_out(monkeypatch):
    reviews = pd.DataFrame({'text': [f'Film {i}.<br />Seen.' for i in range(12_000)] + ['Film 3. Seen.', 'long '*300], 'label': 0})
    monkeypatch.setattr(pretrain, 'load_reviews', lambda source: reviews)
    texts, held_out = pretrain.pretraining_texts()
    assert held_out == dataset.split_reviews(reviews)[1].text.tolist() and len(texts) == len(set(texts)) and not set(texts) & set(held_out)
    assert set(texts) | set(held_out) == set(reviews.text.map(dataset.clean_text)) and dataset.clean_text('long '*300) in texts


def test_the_tokenizer_gives_back_any_text_and_pads_on_the_left(tokenizer):
    assert len(tokenizer) == 300 and tokenizer.eos_token == tokenizer.bos_token == '<|endoftext|>' and tokenizer.pad_token == '<|pad|>' and (tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 1)
    for text in (*TEXTS, 'é 漢 \t x', ' two  spaces .'): assert tokenizer.decode(tokenizer(text)['input_ids']) == text
    assert tokenizer(['a', 'a film'], padding=True)['attention_mask'][0][0] == 0
    model = pretrain.build_model(tokenizer, 16, 2, 2, 24)
    assert (model.config.vocab_size, model.config.n_embd, model.config.n_layer, model.config.n_head, model.config.n_positions) == (300, 16, 2, 2, 24)
    assert (model.config.eos_token_id, model.config.bos_token_id, model.config.pad_token_id) == (0, 0, 1) and not any(m.p for m in model.modules() if isinstance(m, torch.nn.Dropout))


def test_windows_hold_every_token_once_and_steps_do_not_depend_on_where_one_starts():
    reviews = [np.arange(k*100, k*100 + 7 + k) for k in range(9)]  # 99 tokens
    windows = pretrain.epoch_windows(reviews, 5, np.random.default_rng(0))
    assert windows.shape == (19, 5) and len(set(windows.flatten().tolist())) == 95
    assert {tuple(w) for w in windows.tolist()} != {tuple(w) for w in pretrain.epoch_windows(reviews, 5, np.random.default_rng(1)).tolist()}
    joins = [(a, b) for w in windows.tolist() for a, b in zip(w, w[1:]) if b != a + 1]
    assert all(b % 100 == 0 for _, b in joins)  # a review is followed by the beginning of another
    def steps(start, n, seed=0):
        from itertools import islice
        return [(step, x.tolist()) for step, x in islice(pretrain.training_batches(reviews, 5, 4, start, seed), n)]
    whole = steps(0, 10)
    assert [step for step, _ in whole] == list(range(10)) and steps(3, 7) == whole[3:] and steps(6, 4) == whole[6:] and steps(0, 3, seed=1) != whole[:3]
    epochs = [[tuple(w) for _, x in whole[k:k + 4] for w in x] for k in (0, 4)]  # 19 windows, four batches of four
    assert len(set(epochs[0])) == len(set(epochs[1])) == 16 and set(epochs[0]) != set(epochs[1])


def test_bits_count_every_token_once_with_half_a_context_before_it(tokenizer, monkeypatch):
    monkeypatch.setattr(torch, 'autocast', lambda *args, **kwargs: torch.amp.autocast_mode.autocast('cpu', enabled=False))
    model = pretrain.build_model(tokenizer, 16, 1, 2, 16).eval()
    with torch.no_grad():
        for p in model.parameters(): p.mul_(12) if p.ndim == 2 else p
        model.transformer.wpe.weight.zero_()  # a window counts its own positions
    texts = ['A small film.', TEXTS[2]*3, 'A']
    def nats(text):
        ids, total = [0] + tokenizer(text)['input_ids'] + [0], 0.0
        for t in range(1, len(ids)):
            start = 0 if t < 16 else 16 + 8*((t - 16)//8) - 8  # windows move on by 8
            logits = model(torch.tensor([ids[start:t]])).logits[0, -1]
            total -= logits.log_softmax(-1)[ids[t]].item()
        return total
    wanted = sum(map(nats, texts))/math.log(2)/sum(map(len, texts))
    for batch_size in (1, 32): assert pretrain.bits_per_char(model, tokenizer, texts, batch_size) == pytest.approx(wanted, rel=1e-4)
    begins = copy.deepcopy(tokenizer)
    begins.backend_tokenizer.post_processor = TemplateProcessing(single='<|endoftext|> $A', special_tokens=[('<|endoftext|>', 0)])
    assert pretrain.bits_per_char(model, begins, texts) == pytest.approx(wanted, rel=1e-4)


def test_matrices_of_the_blocks_go_to_muon_and_all_else_to_adamw(tokenizer):
    model = pretrain.build_model(tokenizer, 16, 2, 2, 24)
    muon, adamw = pretrain.build_optimizers(model, 0.02, 4e-3)
    ours = [{id(p) for group in opt.param_groups for p in group['params']} for opt in (muon, adamw)]
    assert ours[0] == {id(p) for name, p in model.named_parameters() if name.startswith('transformer.h.') and p.ndim == 2} and not ours[0] & ours[1] and ours[0] | ours[1] == set(map(id, model.parameters()))
    assert [(g['lr'], g['initial_lr'], g['weight_decay']) for opt in (muon, adamw) for g in opt.param_groups] == [(0.02, 0.02, 0.01), (4e-3, 4e-3, 0.0)] and adamw.param_groups[0]['betas'] == (0.9, 0.95)


def test_the_schedule_warms_up_holds_and_cools_down():
    assert [pretrain.schedule(step, 1000) for step in (0, 49, 99, 300, 600, 800, 999)] == pytest.approx([0.01, 0.5, 1, 1, 1, 0.5, 0.0025])
    assert [pretrain.schedule(step, 10, 2, 0.5) for step in (0, 1, 5, 9)] == pytest.approx([0.5, 1, 1, 0.2])


def test_pretraining_steps_learn_at_the_rate_they_are_given(tokenizer):
    torch.manual_seed(0)
    model = pretrain.build_model(tokenizer, 16, 2, 2, 24)
    optimizers, x = pretrain.build_optimizers(model), torch.randint(300, (4, 12))
    with torch.no_grad(): model.transformer.ln_f.weight.mul_(9); by_hand = -model(x).logits[:, :-1].log_softmax(-1).gather(-1, x[:, 1:, None]).mean().item()
    norms, step = [], optimizers[0].step
    optimizers[0].step = lambda: norms.append(torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]).item()) or step()
    losses = [pretrain.pretrain_step(model, optimizers, x, 0.5) for _ in range(20)]
    assert max(norms) == pytest.approx(1, abs=1e-3)
    assert losses[0] == pytest.approx(by_hand, rel=0.01) and losses[-1] < losses[0] - 0.5 and [opt.param_groups[0]['lr'] for opt in optimizers] == [0.005, 0.0015]
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
    before = copy.deepcopy(model.state_dict())
    pretrain.pretrain_step(model, optimizers, x, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values()))
    with torch.no_grad(): model.transformer.ln_f.bias.fill_(math.nan)
    with pytest.raises(FloatingPointError): pretrain.pretrain_step(model, optimizers, x, 1.0)


def test_a_pretraining_that_is_cut_off_goes_on_as_if_it_had_not_been(tmp_path):
    sizes = dict(width=16, layers=1, heads=2, context=16)
    def go(folder, steps, limit=None):
        calls, step = [], pretrain.pretrain_step
        def watched(*args):
            if limit is not None and len(calls) == limit: raise KeyboardInterrupt
            calls.append(args[-1]); return step(*args)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pretrain, 'pretrain_step', watched); patch.setattr(pretrain, 'train_tokenizer', lambda texts: tokenizer_of(texts))
            try: return pretrain.pretrain(folder, TEXTS, TEXTS[:2], steps, 2, save_every=3, **sizes), calls
            except KeyboardInterrupt: return None, calls
    tokenizer_of = lambda texts, train=pretrain.train_tokenizer: train(texts, 290)
    whole, factors = go(tmp_path/'whole', 8)
    assert factors == pytest.approx([pretrain.schedule(step, 8) for step in range(8)])
    _, first = go(tmp_path/'cut', 8, 5)
    again, second = go(tmp_path/'cut', 8)
    assert (len(first), len(second)) == (5, 5) and again == whole  # 3 of the 5 were saved
    assert (whole['steps'], whole['tokens']) == (8, 8*2*16) and whole['held_out_bits_per_char'] > 0 and whole['epochs'] == round(256/sum(len(ids) + 1 for ids in tokenizer_of(TEXTS)(TEXTS)['input_ids']), 2)
    weights = [(tmp_path/name/'model'/'model.safetensors').read_bytes() for name in ('whole', 'cut')]
    assert weights[0] == weights[1] and json.loads((tmp_path/'cut'/'model'/'figures.json').read_text()) == again
    rows = [json.loads(line) for line in open(tmp_path/'cut'/'pretrain.jsonl')]
    assert [row['step'] for row in rows] == [0, 1, 2, 3, 4, 3, 4, 5, 6, 7] and rows[3] == rows[5] and rows[4] == rows[6]
    model, tokenizer = load_model(str(tmp_path/'whole'/'model'))
    assert model.dtype == torch.float32 and len(tokenizer) == 290 and model.num_parameters() == whole['parameters']


# study and train

def token_logprobs_of(out, rollout): return (out.logits[:, 3:-1]/0.7).log_softmax(-1).gather(-1, rollout.responses[..., None])[..., 0].detach()


def test_bugs_of_the_study_are_in_force_inside_and_gone_after():
    agent, (ids, mask) = Agent(tiny(dropout=0.1)), prompts()
    rollout = agent.generate(ids, mask, 3, 0.7)
    score = lambda: agent(rollout.tokens, rollout.mask, 3, 0.7)[0].detach()
    right = score()
    full = mask.all(1)
    torch.nn.init.normal_(agent.value_head.weight)
    with study.scored_without_positions(agent): off, values = (score() - right).abs().amax(1), agent(rollout.tokens, rollout.mask, 3, 0.7)[1]
    out = agent.model(rollout.tokens, attention_mask=rollout.mask, output_hidden_states=True)  # positions from 0, padding or not
    torch.testing.assert_close(values, agent.value(out.hidden_states[-1][:, 3:-1])); torch.testing.assert_close(off, (token_logprobs_of(out, rollout) - right).abs().amax(1))
    assert off[full].max() < 1e-5 and off[~full].min() > 1e-3
    warm = agent(rollout.tokens, rollout.mask, 3)[0].detach()
    with study.scored_at_temperature_1(agent): assert torch.equal(score(), warm) and not torch.equal(warm, right)
    torch.manual_seed(0)
    with study.dropout_on(agent): assert not torch.equal(score(), score()) and {m.p for m in agent.modules() if isinstance(m, torch.nn.Dropout)} == {0.1}
    x = torch.randn(2, 3)
    with study.without_whitening(agent): assert ppo.whiten(x, torch.ones(2, 3)) is x
    assert torch.equal(score(), right) and torch.equal(score(), right) and ppo.whiten(x, torch.ones(2, 3)) is not x and not any(m.training for m in agent.modules())
    with pytest.raises(ZeroDivisionError):
        with study.dropout_on(agent): 1/0
    assert torch.equal(score(), right)


def test_a_point_of_the_study_is_the_summary_of_what_was_measured(tokenizer, tmp_path):
    agent, ref_model, some = Agent(tiny(vocab=len(tokenizer))), tiny(vocab=len(tokenizer), seed=7), held_out_prompts(tokenizer, tmp_path/'a.csv')
    some.indices = list(range(8))
    args = agent, some, lambda tokens, mask: mask.sum(1).float(), ref_model, WordJudge(), RLHFConfig(response_length=6)
    point, table = study.measure_point(*args), evaluate.measure(*args)
    assert point['texts'] == table.response[:6].tolist() and all(point[name] == round(float(x), 4) for name, x in evaluate.summarise(table).items())
    assert all(point[f'{name}_interval'] == [round(end, 4) for end in evaluate.bootstrap(table[name])] for name in ('gold', 'score', 'kl'))


def test_a_study_is_taken_up_with_todays_settings_only(tmp_path, capsys):
    path = tmp_path/'study.jsonl'
    assert study.finished_runs(path) == []
    runs = [{'group': v.group, 'name': name, 'seed': 0, 'settings': v.settings, 'rated_sentences': v.rated_sentences, 'points': []} for name, v in list(study.VARIANTS.items())[:3]] + [{'group': 'best of n', 'name': '100 sentences', 'seed': 0, 'rated_sentences': 7, 'points': []}]
    text = ''.join(json.dumps(run) + '\n' for run in runs)
    path.write_text(text)
    assert study.finished_runs(path) == runs and path.read_text() == text and not capsys.readouterr().out
    path.write_text(text + '{"group": "fron')
    assert study.finished_runs(path) == runs and path.read_text() == text and 'cut off' in capsys.readouterr().out
    for change in ({'settings': {'beta': 9}}, {'rated_sentences': 3}, {'name': 'unknown'}):
        path.write_text(json.dumps(runs[0] | change) + '\n')
        with pytest.raises(ValueError, match='other settings'): study.finished_runs(path)


def test_digests_tell_apart_what_differs(tokenizer):
    known = [train.digest(*parts) for parts in (['a', 'b'], ['ab'], ['a', 'b', ''], [b'a', 'b'], [{'x': 1, 'y': 2}], [{'y': 2, 'x': 1}], [])]
    assert len(set(known)) == 6 and known[4] == known[5] and all(len(x) == 16 for x in known)
    model = tiny(vocab=len(tokenizer))
    first = train.digest_model(model, tokenizer)
    assert first == train.digest_model(copy.deepcopy(model), tokenizer) and first != train.digest_model(model, pretrain.train_tokenizer(TEXTS[:2], 300))
    with torch.no_grad(): model.transformer.ln_f.bias[3] = 1e-3
    assert first != train.digest_model(model, tokenizer)


def test_a_step_is_made_once_and_a_failed_one_is_none(tmp_path):
    made = []
    def make(folder): made.append(folder); folder.mkdir(); (folder/'x').write_text('done'); return {'loss': 1.5}
    folder, figures = train.keep_stage('sft', ['a', 1], make, str(tmp_path/'stages'))
    assert figures['loss'] == 1.5 and figures['seconds'] >= 0 and (folder/'x').read_text() == 'done' and folder.name.startswith('sft-')
    assert train.keep_stage('sft', ['a', 1], make, str(tmp_path/'stages')) == (folder, figures) and len(made) == 1
    assert train.keep_stage('sft', ['a', 2], make, str(tmp_path/'stages'))[0] != folder and len(made) == 2
    def fail(folder): folder.mkdir(); raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): train.keep_stage('sft', ['b'], fail, str(tmp_path/'stages'))
    assert len(list((tmp_path/'stages').iterdir())) == 2
    (tmp_path/'file').write_text('')
    with pytest.raises(OSError, match='--stages'): train.keep_stage('sft', [], make, str(tmp_path/'file'/'stages'))


def test_metrics_are_sums_over_a_response_and_means_over_the_batch():
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    rollout = Rollout(torch.zeros(2, 5), torch.ones(2, 5), mask, torch.tensor([[-1.0, -2, 9], [-1, -1, -1]]), torch.zeros(2, 3))
    scored = SimpleNamespace(scores=torch.tensor([1.0, 4.0]), ref_logprobs=torch.tensor([[-2.0, -2, -7], [-1, -1.5, 0]]))
    row = train.rollout_metrics(rollout, scored)
    k3 = lambda x: math.exp(-x) - 1 + x
    assert row == pytest.approx({'score': 2.5, 'score_std': 1.5, 'kl': (1 + (0.5 - 1))/2, 'kl_k3': (k3(1) + k3(0.5) + k3(-1))/2, 'response_tokens': 2.5}, abs=1e-6)


def test_the_order_of_prompts_is_that_of_the_seed():
    def order(seed): torch.rand(1); return [batch.tolist() for _ in range(2) for batch in loaders[seed]]
    loaders = {seed: train.prompt_batches(range(12), RLHFConfig(batch_size=5, minibatches=1, seed=seed)) for seed in (0, 1)}
    first = order(0)
    loaders[0] = train.prompt_batches(range(12), RLHFConfig(batch_size=5, minibatches=1, seed=0))
    assert order(0) == first != order(1) and [len(set(batch)) for batch in first] == [5]*4 and first[:2] != first[2:]


def prompt_batches(vocab=64): return DataLoader([dict(zip(('input_ids', 'attention_mask'), pair)) for pair in zip(*prompts(vocab, 12))], 6)


def test_rewards_are_scaled_on_the_references_responses_to_eight_batches(monkeypatch):
    reference, reward_model = Agent(tiny()), reward.RewardModel(tiny(seed=3))
    seen, sample = [], train.sample_responses
    monkeypatch.setattr(train, 'sample_responses', lambda agent, batches, config: seen.extend(rollouts := sample(agent, batches, config)) or rollouts)
    loader = DataLoader(prompt_batches().dataset*6, 6)  # 12 batches
    train.scale_rewards(reward_model, reference, loader, RLHFConfig(response_length=4))
    with torch.no_grad(): scores = torch.cat([reward_model(r.tokens, r.mask) for r in seen])
    assert len(seen) == 8 and scores.mean().abs() < 1e-4 and scores.std().item() == pytest.approx(1, abs=1e-4)


def test_the_loop_scores_with_the_beta_in_force_and_steers_after(monkeypatch):
    agent, model = Agent(tiny()), tiny(seed=2)
    config = RLHFConfig(response_length=4, batch_size=6, updates=5, epochs=1, minibatches=1, target_kl=0.5, kl_horizon=12, beta=0.2, missing_eos_penalty=2.0)
    trainer, betas, temperatures, sample = RLHFTrainer(agent, model, config), [], [], agent.generate
    monkeypatch.setattr(agent, 'generate', lambda *args, **kwargs: temperatures.append(r := sample(*args, **kwargs)) or r)
    compute = agent.compute_rewards
    monkeypatch.setattr(agent, 'compute_rewards', lambda rollout, reward_model, ref_model, beta, fine: betas.append(beta) or compute(rollout, reward_model, ref_model, beta, fine))
    torch.manual_seed(0)
    rows = list(train.ppo_updates(trainer, prompt_batches(), lambda tokens, mask: mask.sum(1).float()))
    assert [row['update'] for row in rows] == [1, 2, 3, 4, 5] and betas == [row['beta'] for row in rows] and betas[0] == 0.2
    for before, after in zip(rows, rows[1:]): assert after['beta'] == pytest.approx(before['beta']*(1 + min(max(before['kl']/0.5 - 1, -0.2), 0.2)*6/12))
    assert all(a['seconds'] < b['seconds'] for a, b in zip(rows, rows[1:])) and {'score', 'kl', 'loss/policy', 'ppo/grad_norm'} <= rows[0].keys() and len({row['score'] for row in rows}) > 1
    with pytest.raises(FloatingPointError, match='update 1: '): next(train.ppo_updates(trainer, prompt_batches(), lambda tokens, mask: torch.full((6,), math.nan)))
    assert {r.temperature for r in temperatures} == {0.7}
    with pytest.raises(ValueError, match='no whole batch'): next(train.ppo_updates(trainer, DataLoader([1], 2, drop_last=True), None))
