"What a complete run leaves in its folder, with a judge: each file, and that models come back."
import json

from small_runs import metrics
from transformers import pipeline

from rlhf_nbdev.agent import Agent
from rlhf_nbdev.reward import RewardModel
from rlhf_nbdev.tools.models import load_model
from rlhf_nbdev.tools.ratings import ratings_path

COLUMNS = {'prompt', 'base', 'sft', 'ppo', 'score_ppo', 'gold_ppo'}


def hold_rows_and_figures(folder, updates):
    "A row for each update, and curves; settings; a summary with intervals."
    assert [row['update'] for row in metrics(folder)] == list(range(1, updates + 1))
    assert (folder/'curves.png').is_file()
    assert json.loads((folder/'config.json').read_text())['rlhf']['updates'] == updates
    summary = json.loads((folder/'summary.json').read_text())
    low, high = summary['win_rate_ppo_sft_interval']
    assert 0 <= low <= summary['win_rate_ppo_sft'] <= high <= 1


def hold_samples_and_report(folder, prompts):
    "A sample of each step for every prompt; a report with pictures, and those changed most."
    lines = (folder/'samples.jsonl').read_text().splitlines()
    assert len(lines) == prompts
    assert COLUMNS <= json.loads(lines[0]).keys()
    report = (folder/'report.html').read_text()
    assert report.endswith('</html>')
    assert report.count('<img ') == (2 if ratings_path().is_file() else 1)
    assert f'The {min(prompts, 20)} samples whose score step three changed most' in report


def hold_models(folder):
    "The pipeline of transformers writes with the policy; agent and reward model can be used."
    write = pipeline('text-generation', str(folder))
    text = write('This movie', max_new_tokens=5)[0]['generated_text']
    assert text.startswith('This movie') and len(text) > len('This movie')
    agent, tokenizer = Agent.from_pretrained(folder), load_model(str(folder))[1]
    reward_model = RewardModel.from_pretrained(folder/'reward_model')
    batch = tokenizer(['I loved', 'The'], padding=True, return_tensors='pt')
    rollout = agent.generate(**batch, response_length=4)
    assert reward_model(rollout.tokens, rollout.mask).isfinite().all()
    assert agent.value_head.weight.any()


def hold_what_is_left(folder, updates, prompts):
    hold_rows_and_figures(folder, updates)
    hold_samples_and_report(folder, prompts)
    hold_models(folder)
