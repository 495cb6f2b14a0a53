"""Own material in the command: prompts, demonstrations, comparisons, a reward of one's own.

And a run that goes on for more updates than it was asked for."""
import json
import os
import re
import shutil

import pytest
from small_runs import QUICK, SMALL, metrics, small_files
from warm import assert_refused, run, run_well

from rlhf_nbdev.run.stages import hold_out

__all__ = ['small_files']  # a fixture
pytestmark = pytest.mark.usefixtures('small_files')
ADJECTIVES = ['good', 'bad', 'dull', 'fine', 'odd']
REWARD = '''
def many_vowels(prompts, responses):
    return [sum(letter in 'aeiou' for letter in response) for response in responses]


def always_one(prompts, responses):
    return [1.0]*len(prompts)


def too_few(prompts, responses):
    return [1.0]


def fails(prompts, responses):
    return [1/0]


number = 3
'''


def write_rows(path, rows):
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows), encoding='utf-8')
    return path


def questions(n, column='prompt'):
    return [{column: f'The {ADJECTIVES[i % 5]} film {i}'} for i in range(n)]


@pytest.fixture
def files(tmp_path, monkeypatch):
    "A folder with material of one's own, which is the current one."
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path/'prompts.jsonl', questions(30))
    write_rows(tmp_path/'demonstrations.jsonl',
               [row | {'response': ' is so.'} for row in questions(30)])
    write_rows(tmp_path/'preferences.jsonl',
               [row | {'chosen': ' is good.', 'rejected': ' is bad.'} for row in questions(30)])
    (tmp_path/'mine.py').write_text(REWARD)
    return tmp_path


def summary_of(folder):
    return json.loads((folder/'summary.json').read_text(encoding='utf-8'))


def report_of(folder):
    return (folder/'report.html').read_text(encoding='utf-8')


# prompts, demonstrations, comparisons

def test_a_run_on_own_prompts_demonstrations_and_comparisons(files):
    own = ['--prompts', 'prompts.jsonl', '--demonstrations', 'demonstrations.jsonl',
           '--preferences', 'preferences.jsonl', '--response_length', '8']
    result = run_well(*SMALL, *own, '--out', files/'run')
    for what in ('prompts', 'demonstrations', 'comparisons'):
        assert f'{what}: 27 to learn from, 3 held out' in result.stdout
    assert 'no judge' in result.stdout
    summary = summary_of(files/'run')
    assert summary['prompts'] == 3
    assert summary['sft']['demonstrations'] == 27
    assert summary['reward']['source'] == 'own comparisons'
    assert summary['reward']['held_out'] == 3
    assert 'gold_ppo' not in summary
    assert 'Three steps on prompts of your own' in report_of(files/'run')
    samples = [json.loads(line) for line in (files/'run'/'samples.jsonl').open()]
    texts = {row['prompt'] for row in questions(30)}
    assert {sample['prompt'] for sample in samples} <= texts


def test_columns_of_other_names(files):
    rows = [{'q': f'Film {i}', 'a': ' is so.', 'good': ' is it.', 'bad': ' no.'} for i in range(30)]
    write_rows(files/'named.jsonl', rows)
    own = ['--prompts', 'named.jsonl', '--demonstrations', 'named.jsonl',
           '--preferences', 'named.jsonl', '--prompt_column', 'q', '--response_column', 'a',
           '--chosen_column', 'good', '--rejected_column', 'bad']
    run_well(*SMALL, *own, '--out', files/'run')
    assert summary_of(files/'run')['reward']['comparisons'] == 27


def test_own_prompts_with_labels_as_teachers_read_reviews_for_these(files):
    run_well(*QUICK, '--prompts', 'prompts.jsonl', '--out', files/'run')
    assert summary_of(files/'run')['reward']['source'] == 'labels'


def test_no_text_is_on_both_sides_and_all_of_one_prompt_stay_together():
    rows = [(f'question {i//3}', f'answer {i}') for i in range(90)]
    prompts = [prompt for prompt, _ in rows]
    train, held_out = hold_out(rows, prompts)
    assert sorted(train + held_out) == sorted(rows)
    assert len(held_out) == 9
    assert not {prompt for prompt, _ in train} & {prompt for prompt, _ in held_out}
    assert hold_out(rows[::-1], prompts[::-1])[1] != [] and len(train) == 81


def test_the_same_rows_are_held_out_in_any_order():
    rows = [f'question {i}' for i in range(50)]
    held_out = hold_out(rows, rows)[1]
    assert sorted(hold_out(rows[::-1], rows[::-1])[1]) == sorted(held_out)


def test_rows_of_a_single_prompt_are_split_all_the_same():
    rows = [('Write a verdict:', f'answer {i}') for i in range(20)]
    train, held_out = hold_out(rows, ['Write a verdict:']*20)
    assert (len(train), len(held_out)) == (18, 2)


@pytest.mark.parametrize('options, message', [
    (['--prompts', 'few.jsonl'], '3 usable prompts .* and 9 are needed at least'),
    (['--demonstrations', 'one.jsonl'], '1 usable demonstrations, and 2 are needed at least'),
    (['--preferences', 'one.jsonl'], '1 usable comparisons, and 2 are needed at least'),
    (['--prompts', 'no/such.jsonl'], 'no/such.jsonl'),
    (['--prompts', 'prompts.jsonl', '--prompt_column', 'nowhere'], 'nowhere'),
    (['--chosen_column', 'good'], 'names a column of a file of your own.*--preferences'),
    (['--prompts', 'long.jsonl'], 'long.jsonl: .*--prompt_length'),
    (['--preferences', 'preferences.jsonl', '--ratings', 'labels'],
     '--ratings and --preferences both stand for step two'),
    (['--preferences', 'preferences.jsonl', '--reward', 'mine:many_vowels'],
     '--reward and --preferences both stand for step two'),
])
def test_own_material_that_cannot_do_is_refused(options, message, files):
    write_rows(files/'few.jsonl', questions(3))
    write_rows(files/'one.jsonl', [{'prompt': 'Film', 'response': ' is.', 'chosen': 'a',
                                    'rejected': 'b'}])
    write_rows(files/'long.jsonl', [{'prompt': 'a very long prompt indeed '*9 + str(i)}
                                    for i in range(30)])
    result = run(*SMALL, *options, '--out', files/'run')
    assert_refused(result, 'rlhf-train: ')
    assert re.search(message, result.stderr), result.stderr
    assert 'fine-tuning' not in result.stderr and not (files/'run').exists()


def test_sft_and_demonstrations_are_one_too_many(files):
    (files/'config.json').write_text('{}')
    both = ['--sft', files, '--demonstrations', 'demonstrations.jsonl']
    assert_refused(run(*SMALL, *both, '--out', files/'run'), 'both stand for step one')


# a reward of one's own

@pytest.fixture(scope='module')
def rewarded_by_vowels(small_files, tmp_path_factory):
    "A run whose reward is a function, and what it said."
    folder = tmp_path_factory.mktemp('vowels')
    (folder/'mine.py').write_text(REWARD)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = run_well(*SMALL, '--reward', 'mine:many_vowels', '--out', folder/'run')
    return folder/'run', result.stdout


@pytest.fixture
def by_vowels(rewarded_by_vowels, files):
    "A copy of that run beside the function."
    return shutil.copytree(rewarded_by_vowels[0], files/'run')


def test_a_function_is_the_reward_and_its_run_can_be_taken_up(files, by_vowels,
                                                             rewarded_by_vowels):
    said = rewarded_by_vowels[1]
    assert 'step two: left out, scores come from mine:many_vowels' in said
    assert 'standard deviation' in said
    summary = summary_of(files/'run')
    assert summary['reward']['source'] == 'function'
    assert summary['reward']['std'] > 0 and summary['reward']['mean'] > 0
    assert abs(metrics(files/'run')[0]['score']) < 3  # in standard deviations
    report = report_of(files/'run')
    assert 'scores come from mine:many_vowels' in report
    assert 'A score is what mine:many_vowels gives' in report
    run_well('--resume', files/'run', '--updates', '3')
    assert [row['update'] for row in metrics(files/'run')] == [1, 2, 3]


def test_a_reward_without_spread_has_no_scale_and_says_so(files):
    result = run_well(*SMALL, '--reward', 'mine:always_one', '--out', files/'run')
    assert 'there is nothing to learn' in result.stdout
    reward = summary_of(files/'run')['reward']
    assert (reward['mean'], reward['std']) == (1, 1)


@pytest.mark.parametrize('reward, message', [
    ('no_such_module:reward', 'there is no module no_such_module'),
    ('mine:no_such', 'mine has no no_such'),
    ('mine:number', 'number is no function, but of type int'),
    ('mine:fails', 'failed on a first response: ZeroDivisionError: division by zero'),
    ('mine:too_few', ''),
    ('broken:reward', 'broken cannot be imported (SyntaxError'),
    ('mine', 'mine: no model there'),
])
def test_a_function_that_cannot_do_is_refused_before_step_one(reward, message, files):
    (files/'broken.py').write_text('def reward(:\n')
    (files/'mine.py').write_text(REWARD.replace('return [1.0]\n', 'return [1.0, 2.0, 3.0]\n'))
    result = run(*SMALL, '--reward', reward, '--out', files/'run')
    assert_refused(result, message)
    assert 'fine-tuning' not in result.stderr and not (files/'run').exists()


def test_a_run_is_not_taken_up_with_another_function(files, by_vowels):
    (files/'mine.py').write_text(REWARD.replace('aeiou', 'aeiouy'))
    assert_refused(run('--resume', files/'run', '--updates', '3'),
                   'the source of mine:many_vowels are not those that this run began with')


def test_a_run_whose_function_is_gone_says_so(files, by_vowels):
    (files/'mine.py').unlink()
    shutil.rmtree(files/'__pycache__', ignore_errors=True)
    assert_refused(run('--resume', files/'run', '--updates', '3'), 'there is no module mine')


# more updates

@pytest.fixture(scope='module')
def complete(small_files, tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs')/'complete'
    run_well(*QUICK, '--out', folder)
    return folder


@pytest.fixture
def finished(complete, tmp_path):
    "A run of two updates that has come to its end."
    return shutil.copytree(complete, tmp_path/'run')


def test_a_complete_run_goes_on_for_more_updates(finished):
    before = metrics(finished)
    result = run_well('--resume', finished, '--updates', '4')
    assert 'going on from update 2 to 4: the learning rate falls from 5e-05 to 0' in result.stdout
    rows = metrics(finished)
    assert rows[:2] == before and [row['update'] for row in rows] == [1, 2, 3, 4]
    summary = summary_of(finished)
    assert (summary['updates'], summary['resumed_from']) == (4, 2)
    assert '4 updates' in report_of(finished)
    config = json.loads((finished/'config.json').read_text(encoding='utf-8'))
    assert config['rlhf']['updates'] == 4
    assert_refused(run('--resume', finished), 'is complete')


@pytest.mark.parametrize('options, message', [
    (['--updates', '1'], '2 updates are done, so 1 cannot be asked for'),
    (['--updates', '2'], 'is complete: to go on, ask for more than its 2 updates'),
    ([], 'is complete: to go on, ask for more than its 2 updates'),
    (['--updates', '4', '--seed', '1'], '--resume stands alone, but for --updates'),
    (['--updates', '0'], 'updates must be at least 1'),
])
def test_what_cannot_be_asked_of_a_complete_run(options, message, finished):
    before = {path: path.read_bytes() for path in finished.rglob('*') if path.is_file()}
    assert_refused(run('--resume', finished, *options), message)
    after = {path: path.read_bytes() for path in finished.rglob('*') if path.is_file()}
    assert {path.name for path in after.keys() - before.keys()} <= {'.lock'}
    assert all(after[path] == content for path, content in before.items())


def test_more_before_the_first_update_is_as_if_asked_for_at_once(complete, tmp_path):
    run_well(*QUICK, '--updates', '3', '--out', tmp_path/'at_once')
    shutil.copytree(complete, tmp_path/'begun')
    for name in ('summary.json', 'checkpoint.safetensors', 'metrics.jsonl'):
        os.remove(tmp_path/'begun'/name)
    settings = json.loads((complete/'config.json').read_text())
    (tmp_path/'begun'/'config.json').write_text(json.dumps({'rlhf': settings['rlhf']}))
    run_well('--resume', tmp_path/'begun', '--updates', '3')
    assert metrics(tmp_path/'begun') == metrics(tmp_path/'at_once')
