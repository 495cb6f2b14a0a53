"""Whatever the architecture: what is sampled, scored and rewarded is what each row gets when it is
read alone by the model's own forward, or the model is refused in one line."""
import copy

import pytest
import torch
import torch.nn.functional as F
from architectures import ARCHITECTURES, P, R, outcome, read_table, tiny_t5, tiny_tokenizer
from tiny import close
from transformers import CONFIG_MAPPING

from rlhf_nbdev.advantage import masked_mean, shape_rewards
from rlhf_nbdev.agent import Agent, token_logprobs
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.reward import RewardModel

TABLE = read_table()
pytestmark = pytest.mark.filterwarnings('ignore')
SLIGHT = RLHFConfig(prompt_length=P, response_length=R, batch_size=6, minibatches=1, epochs=1,
                    updates=1, learning_rate=1e-12)


def prompts():
    "Ids and mask, (6, P) each, padded on the left, one of them a single token."
    torch.manual_seed(1)
    lengths = torch.tensor([8, 3, 5, 1, 2, 7])
    mask = (torch.arange(P) >= P - lengths[:, None]).long()
    return torch.randint(8, 96, mask.shape)*mask + 1 - mask, mask


@torch.no_grad()
def read_alone(model, rollout):
    """Log-probs (B, R) of what was sampled, and the state of each row's last token (B, D): each row
    by itself, without padding, mask, positions or cache."""
    logprobs, states = torch.zeros_like(rollout.logprobs), []
    for row, (tokens, mask) in enumerate(zip(rollout.tokens, rollout.mask.bool())):
        ids = tokens[mask]
        n = rollout.response_mask[row].sum()
        out = model(input_ids=ids[None], output_hidden_states=True)
        dists = F.log_softmax(out.logits[0, -n - 1:-1].float()/rollout.temperature, -1)
        logprobs[row, :n] = dists.gather(-1, ids[-n:, None])[:, 0]
        states.append(out.hidden_states[-1][0, -1])
    return logprobs, torch.stack(states)


def hold_scores_to(alone, agent, rollout):
    "Sampled, scored, plainly scored: log-probs of each row alone; values as when sampling."
    real = rollout.response_mask.bool()
    scored = rollout.tokens, rollout.mask, real.shape[1], rollout.temperature
    close(rollout.logprobs, alone, 1e-3)
    with torch.no_grad():
        logprobs, values, _ = agent(*scored)
        plain = token_logprobs(agent.model, *scored)
    close(logprobs*real, alone, 1e-3)
    close(plain*real, alone, 1e-3)
    close(values*real, rollout.values, 1e-3)


@torch.no_grad()
def hold_rewards_to(states, reward_model, rollout):
    "Whoever shares the batch: the score of each row alone."
    scores = reward_model(rollout.tokens, rollout.mask)
    close(reward_model(rollout.tokens[1:3], rollout.mask[1:3]), scores[1:3], 1e-3)
    if states.shape[1] == reward_model.head.in_features:  # else it is projected before the head
        close(reward_model.head(states)[:, 0], scores, 1e-3)


def hold_update_to_its_start(agent, reward_model, ref_model, rollout):
    "Before anything is learnt there is no KL, and every ratio is 1."
    trainer, mask = RLHFTrainer(agent, ref_model, SLIGHT), rollout.response_mask
    with torch.no_grad():
        scored = agent.compute_rewards(rollout, reward_model, ref_model)
    rewards = shape_rewards(scored.scores, rollout.logprobs, scored.ref_logprobs, mask)
    assert abs(masked_mean(rollout.logprobs - scored.ref_logprobs, mask)) < 1e-4
    stats = trainer.update(rollout, rewards)
    assert abs(stats['ppo/ratio'] - 1) < 1e-4
    assert abs(stats['ppo/approx_kl']) < 1e-6
    assert stats['ppo/clip_fraction'] == 0


def hold_greedy_to_transformers(agent):
    "One prompt without padding, always the likeliest token: as the library itself goes on."
    ids = prompts()[0][:1]
    ours = agent.generate(ids, torch.ones_like(ids), R, do_sample=False)
    theirs = agent.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=R,
        pad_token_id=agent.pad_token_id, output_hidden_states=False, return_dict_in_generate=False)
    assert ours.tokens.tolist() == theirs.tolist()


def hold_to_reload(agent, reward_model, rollout, folder):
    "Both come back from their folders as they were."
    agent.save_pretrained(folder/'agent', tiny_tokenizer())
    again = Agent.from_pretrained(folder/'agent')
    close(dict(again.state_dict()), dict(agent.state_dict()), 0)
    reward_model.save_pretrained(folder/'reward')
    same = RewardModel.from_pretrained(folder/'reward')
    close(dict(same.state_dict()), dict(reward_model.state_dict()), 0)
    read = rollout.tokens, rollout.mask
    with torch.no_grad():
        close(same(*read), reward_model(*read), 1e-4)
        close(again(*read, R)[1], agent(*read, R)[1], 1e-4)


def hold_all(model, folder):
    "Everything above, of one model, and the agent made of it."
    agent, ref_model, reward_model = Agent(model), copy.deepcopy(model), RewardModel(model)
    torch.nn.init.normal_(agent.value_head.weight)
    torch.manual_seed(2)
    rollout = agent.generate(*prompts(), R, temperature=0.7)
    alone, states = read_alone(model.eval(), rollout)
    hold_scores_to(alone, agent, rollout)
    hold_rewards_to(states, reward_model, rollout)
    hold_greedy_to_transformers(agent)
    hold_to_reload(agent, reward_model, rollout, folder)
    hold_update_to_its_start(agent, reward_model, ref_model, rollout)
    return agent


def in_our_words(line):
    "A line of the table without what a library adds to the reason, which changes with its release."
    return line | {'why': line['why'].split(' (')[0]}


def is_known(name):
    "Whether the installed release of transformers has this family."
    make = ARCHITECTURES[name]
    return make is tiny_t5 or make.args[0] in CONFIG_MAPPING


KNOWN = list(filter(is_known, ARCHITECTURES))
RARE = [pytest.param(name, marks=pytest.mark.sweep) for i, name in enumerate(KNOWN) if i % 6]


@pytest.mark.parametrize('name', KNOWN[::6] + RARE)
def test_rows_are_read_as_they_are_alone_or_the_model_is_refused(name, tmp_path):
    model = ARCHITECTURES[name]()
    found = outcome(name, model)
    assert in_our_words(found) == in_our_words(TABLE[name]), 'python tests/architectures.py --write'
    if found['read'] == 'refused':
        assert len(found['why'].splitlines()) == 1
        assert model.config.model_type.split('_')[0].replace('-', '') in found['why'].lower()
    else:
        hold_all(model, tmp_path)


def test_the_table_has_a_line_for_every_architecture():
    assert list(TABLE) == list(ARCHITECTURES)
    read = [row['read'] for row in TABLE.values()]
    assert read.count('packed') + read.count('padded') >= 40
