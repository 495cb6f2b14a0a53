"The command, run as a user runs it, on settings small enough for a test."
import json, os, shutil, subprocess, sys, tempfile, time
from pathlib import Path
import pytest, test_units
from rlhf_nbdev.dataset import load_reviews
from rlhf_nbdev.tools.ratings import ratings_path
from warm import run

STAGES = tempfile.TemporaryDirectory()  # where the small steps one and two are kept, and found again by the next test
REVIEWS = f'{STAGES.name}.csv'  # 600 short reviews: none from which a judge could learn, which saves its ten seconds
PACKAGE = ['--data', 'package', '--n_train', '10000']
SMALL = ['--updates', '2', '--batch_size', '8', '--demonstrations', '64', '--rated_sentences', '64', '--reward_pairs', '64', '--eval_prompts', '16',
         '--response_length', '6', '--epochs', '1', '--device', 'cpu', '--stages', STAGES.name, '--data', REVIEWS, '--n_train', '500']


@pytest.fixture(scope='module', autouse=True)
def few_reviews():
    reviews = load_reviews()
    reviews[reviews.text.str.len() <= 1000].sample(600, random_state=0).to_csv(REVIEWS, index=False)
    yield
    Path(REVIEWS).unlink()


def run_alone(*options, env): return subprocess.run([Path(sys.executable).parent/'rlhf-train', *map(str, options)], capture_output=True, text=True, timeout=300, env=os.environ | env)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('runs')/'one'
    result = run(*SMALL, *PACKAGE, '--out', path)
    assert result.returncode == 0, result.stderr[-2000:]
    return path


@pytest.fixture(scope='module')
def unjudged(tmp_path_factory):
    path = tmp_path_factory.mktemp('runs')/'unjudged'
    result = run(*SMALL, '--out', path)
    assert result.returncode == 0 and 'no judge' in result.stdout, result.stderr[-2000:]
    return path


def test_leaves_what_it_promises(folder):
    rows = [json.loads(line) for line in open(folder/'metrics.jsonl')]
    assert [row['update'] for row in rows] == [1, 2]
    samples = [json.loads(line) for line in open(folder/'samples.jsonl')]
    assert len(samples) == 16 and {'prompt', 'base', 'sft', 'ppo', 'score_ppo', 'gold_ppo'} <= samples[0].keys()
    assert json.loads((folder/'config.json').read_text())['rlhf']['updates'] == 2
    assert (folder/'curves.png').stat().st_size > 10_000 and '</html>' in (folder/'report.html').read_text()
    report, summary = (folder/'report.html').read_text(), json.loads((folder/'summary.json').read_text())
    assert report.count('<img ') == (2 if ratings_path().is_file() else 1) and 'The 16 samples whose score PPO changed most' in report
    assert 0 <= summary['win_rate_ppo_sft_interval'][0] <= summary['win_rate_ppo_sft'] <= summary['win_rate_ppo_sft_interval'][1] <= 1


def test_pipeline_loads_the_tuned_policy(folder):
    from transformers import pipeline
    text = pipeline('text-generation', str(folder))('This movie', max_new_tokens=5)[0]['generated_text']
    assert text.startswith('This movie') and len(text) > len('This movie')


def test_agent_and_reward_model_come_back(folder):
    from rlhf_nbdev.agent import Agent
    from rlhf_nbdev.tools.models import load_model
    from rlhf_nbdev.reward import RewardModel
    agent, tokenizer = Agent.from_pretrained(folder), load_model(str(folder))[1]
    reward_model = RewardModel.from_pretrained(folder/'reward_model')
    rollout = agent.generate(**tokenizer(['I loved', 'The'], padding=True, return_tensors='pt'), response_length=4)
    assert reward_model(rollout.tokens, rollout.mask).isfinite().all() and agent.value_head.weight.abs().sum() > 0


def test_same_seed_same_metrics_with_steps_made_anew(unjudged, tmp_path):
    assert run(*SMALL, '--stages', tmp_path/'stages', '--out', tmp_path/'again').returncode == 0
    a, b = ([{k: v for k, v in json.loads(line).items() if k != 'seconds'} for line in open(path/'metrics.jsonl')] for path in (unjudged, tmp_path/'again'))
    assert a == b


def test_finished_steps_are_found_again(folder, tmp_path):
    again = run(*SMALL, '--out', tmp_path/'again')
    assert again.returncode == 0 and 'PPO' in again.stderr and 'fine-tuning' not in again.stderr and 'reward model' not in again.stderr
    changed = run(*SMALL, '--rated_sentences', '60', '--reward_pairs', '60', '--out', tmp_path/'changed')
    assert changed.returncode == 0 and 'fine-tuning' not in changed.stderr and 'reward model' in changed.stderr


def test_any_step_can_be_replaced(unjudged, tmp_path):
    kept = sorted(path.name for path in Path(STAGES.name).iterdir())
    result = run(*SMALL, '--sft', unjudged/'sft', '--reward', unjudged/'reward_model', '--out', tmp_path/'given')
    assert result.returncode == 0, result.stderr[-2000:]
    assert sorted(path.name for path in Path(STAGES.name).iterdir()) == kept
    same, made = (json.loads((path/'summary.json').read_text()) for path in (unjudged, tmp_path/'given'))
    assert made['sft'] == made['reward'] == {} and same['reward']['source'] == ('people' if ratings_path().is_file() else 'labels')
    for name in ('score_sft', 'score_base', 'words_sft', 'perplexity_base'): assert made[name] == pytest.approx(same[name], abs=1e-4), name  # of the given model, reward model and reference
    assert '>given<' in (tmp_path/'given'/'report.html').read_text()


def test_a_model_of_another_vocabulary_is_refused_before_anything_long(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel
    from rlhf_nbdev.run.pretrain import train_tokenizer
    from rlhf_nbdev.reward import RewardModel
    tokenizer = train_tokenizer(['A small film, and a good one.'], 300)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=8, n_layer=1, n_head=1, eos_token_id=0, bos_token_id=0, pad_token_id=1))
    for part in (model, tokenizer): part.save_pretrained(tmp_path/'sft')
    RewardModel(model).save_pretrained(tmp_path/'reward')
    for option, message in (('sft', 'has another tokenizer than embedded'), ('reward', 'reads another vocabulary')):
        result = run(*SMALL, f'--{option}', tmp_path/option, '--out', tmp_path/'run'/option)
        assert result.returncode == 1 and message in result.stderr and 'fine-tuning' not in result.stderr, result.stderr[-2000:]


def test_without_human_ratings_labels_do_and_the_run_says_so(tmp_path):
    result = run_alone(*SMALL, '--out', tmp_path/'run', env={'XDG_CACHE_HOME': str(tmp_path/'empty')})
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'no human ratings at' in result.stdout and 'learns from pairs of labelled reviews' in result.stdout
    assert json.loads((tmp_path/'run'/'summary.json').read_text())['reward']['source'] == 'labels'


def test_second_run_in_one_folder_is_refused(folder):
    before = (folder/'metrics.jsonl').read_bytes()
    result = run(*SMALL, '--out', folder)
    assert result.returncode == 1 and 'already holds something' in result.stderr
    assert (folder/'metrics.jsonl').read_bytes() == before


@pytest.mark.parametrize('options, message', [
    (['--data', 'no/such.csv'], 'no CSV at'),
    (['--prompt_length', '251'], 'exceed the context of 256'),
    (['--prompt_length', '0'], 'prompt_length must be at least 1'),
    (['--response_length', '0'], 'response_length must be at least 1'),
    (['--batch_size', '7'], 'does not divide'),
    (['--batch_size', '20000'], 'exceeds the 500 prompts'),
    (['--reward_pairs', '0'], 'reward_pairs must be at least 1'),
    (['--eval_prompts', '0'], 'eval_prompts must be at least 1'),
    (['--demonstrations', '0'], 'demonstrations must be at least 1'),
    (['--rated_sentences', '1'], 'rated_sentences must be at least 2'),
    (['--sft', 'no/such'], 'sft no/such: no model there'),
    (['--reward', 'no/such'], 'reward no/such: no model there'),
    (['--ratings', 'no/such.tar.gz'], 'no human ratings at no/such.tar.gz'),
    (['--ratings', __file__], 'is not the vaderSentiment-3.3.2.tar.gz'),
    (['--device', 'nowhere'], "device 'nowhere' cannot be used"),
    (['--n_train', '20000'], 'lower n_train'),
])
def test_bad_input_is_named_in_a_line_or_two(options, message, tmp_path):
    result = run(*SMALL, '--out', tmp_path/'bad', *options)
    lines = [line for line in result.stderr.splitlines() if line.startswith('rlhf-train:')]
    assert result.returncode == 1 and len(lines) == 1 and message in lines[0], result.stderr[-2000:]
    assert 'Traceback' not in result.stderr


@pytest.mark.parametrize('options', [['--data', 'hub'], ['--model', 'gpt2']], ids=['data', 'model'])
def test_hub_without_a_network_says_so_within_ten_seconds(options, tmp_path):
    began = time.time()
    result = run_alone(*SMALL, '--out', tmp_path/'hub', *options, env={'HF_ENDPOINT': 'http://127.0.0.1:9', 'HF_HOME': str(tmp_path)})
    assert result.returncode == 1 and 'cannot be reached' in result.stderr and 'Without a network use' in result.stderr, result.stderr[-2000:]
    assert time.time() - began < 10 + 10  # ten seconds of their own, beside the imports


def test_a_csv_of_ones_own(tmp_path):
    reviews = [f'"{word} film number {i}, and I mean it.",{word_label}' for i in range(30) for word, word_label in (('good', 'positive'), ('bad', 'negative'))]
    (tmp_path/'own.csv').write_text('review,sentiment\n' + '\n'.join(reviews))
    result = run(*SMALL, '--data', tmp_path/'own.csv', '--n_train', '40', '--out', tmp_path/'own')
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'no judge' in result.stdout and len((tmp_path/'own'/'samples.jsonl').read_text().splitlines()) == 16


@pytest.mark.skipif(not shutil.which('c++'), reason='torch.compile needs a C++ compiler')
def test_a_compiled_step_gives_the_same_samples(): test_units.test_a_cache_of_fixed_size_gives_the_same_samples(compiled=True)
