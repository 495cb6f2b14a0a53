"Comparisons, whichever way people wrote them down."
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import tiny_tokenizer

from rlhf_nbdev.reward import PreferenceDataset, read_preferences
from rlhf_nbdev.tools import comparisons

USER = {'role': 'user', 'content': 'Good?'}
YES, NO = ({'role': 'assistant', 'content': text} for text in ('Yes.', 'No.'))
WANTED = {'prompt': 'Good?', 'chosen': ' Yes.', 'rejected': ' No.'}
TURN = '\n\nHuman: Good?\n\nAssistant:'
REPLY = {'role': 'assistant', 'replies': []}
SHAPES = {
    'plain': {'prompt': 'Good?', 'chosen': ' Yes.', 'rejected': ' No.'},
    'of another prompt': {'question': 'Good?', 'chosen': ' Yes.', 'rejected': ' No.'},
    'TRL, messages': {'prompt': [USER], 'chosen': [YES], 'rejected': [NO]},
    'TRL, implicit prompt': {'chosen': [USER, YES], 'rejected': [USER, NO]},
    'TRL, both': {'prompt': [USER], 'chosen': [USER, YES], 'rejected': [USER, NO]},
    'UltraFeedback, binarized': {
        'prompt': 'Good?', 'prompt_id': 'a', 'chosen': [USER, YES], 'rejected': [USER, NO],
        'messages': [USER, YES], 'score_chosen': 8.5, 'score_rejected': 3.0},
    'UltraFeedback': {'instruction': 'Good?', 'models': ['x', 'y'], 'completions': [
        {'model': 'x', 'response': 'No.', 'overall_score': 2.0},
        {'model': 'y', 'response': 'Yes.', 'overall_score': 7.5}]},
    'SHP': {'history': 'Good?', 'human_ref_A': 'Yes.', 'human_ref_B': 'No.', 'labels': 1,
            'score_A': 9, 'score_B': 2},
    'SHP, the other': {'history': 'Good?', 'human_ref_A': 'No.', 'human_ref_B': 'Yes.', 'labels': 0,
                       'score_A': 2, 'score_B': 9},
    'HelpSteer 2': {'prompt': 'Good?', 'response_1': 'Yes.', 'response_2': 'No.',
                    'preference_strength': -2},
    'HelpSteer 3': {'context': [USER], 'response1': 'No.', 'response2': 'Yes.',
                    'overall_preference': 3},
    'OpenAssistant, trees': {'message_tree_id': 'a', 'prompt': {
        'message_id': 'a', 'role': 'prompter', 'text': 'Good?', 'replies': [
            REPLY | {'message_id': 'b', 'text': 'No.', 'rank': 1},
            REPLY | {'message_id': 'c', 'text': 'Yes.', 'rank': 0}]}},
}


def read(tmp_path, *rows, **columns):
    path = tmp_path/'rows.jsonl'
    path.write_text('\n'.join(map(json.dumps, rows)))
    return read_preferences(path, **columns)


@pytest.mark.parametrize('shape', SHAPES)
def test_a_comparison_in_each_shape(shape, tmp_path):
    kept, left_out = read(tmp_path, SHAPES[shape])
    assert kept == [WANTED]
    assert not any(left_out.values())


@pytest.mark.parametrize('shape', SHAPES)
def test_each_shape_in_parquet(shape, tmp_path):
    pq.write_table(pa.Table.from_pylist([SHAPES[shape]]), tmp_path/'rows.parquet')
    assert read_preferences(tmp_path/'rows.parquet')[0] == [WANTED]


@pytest.mark.parametrize('shape', SHAPES)
def test_an_empty_row_of_each_shape_is_counted(shape, tmp_path):
    kept, left_out = read(tmp_path, SHAPES[shape], dict.fromkeys(SHAPES[shape]))
    assert kept == [WANTED]
    if shape != 'OpenAssistant, trees':  # where there is no message to count
        assert sum(left_out.values()) == 1


def test_dialogues_of_hh_are_parted_where_they_part(tmp_path):
    chosen, rejected = f'{TURN} Sure.{TURN} Yes.', f'{TURN} Sure.{TURN} No.{TURN} Never.'
    kept, _ = read(tmp_path, {'chosen': chosen, 'rejected': rejected})
    assert kept == [{'prompt': f'{TURN} Sure.{TURN}', 'chosen': ' Yes.',
                     'rejected': f' No.{TURN} Never.'}]
    assert kept[0]['prompt'] + kept[0]['rejected'] == rejected
    row = {'chosen': 'Good films.', 'rejected': 'Good books.'}
    assert read(tmp_path, row)[0] == [{'prompt': ''} | row]


def test_scores_of_one_response_a_row(tmp_path):
    rows = [{'prompt': f'{name}?', 'response': f'{x}.', 'helpfulness': x, 'coherence': 4 - x}
            for x in (3, 1, 1) for name in ('A', 'B')]
    kept, left_out = read(tmp_path, *rows, {'prompt': 'C?', 'response': 'x', 'helpfulness': 1},
                          {'prompt': 'A?', 'response': 'x', 'helpfulness': None})
    assert kept == [{'prompt': f'{name}?', 'chosen': ' 3.', 'rejected': ' 1.'}
                    for name in ('A', 'A', 'B', 'B')]
    assert left_out['both sides alike'] == 0 and left_out['no preference'] == 2
    assert left_out['the only answer to its prompt'] == 1
    assert left_out['no prompt, response and score'] == 1


def test_the_lowest_rank_is_the_best(tmp_path):
    rows = [{'prompt': 'Good?', 'response': text, 'rank': rank}
            for text, rank in (('No.', 2), ('Yes.', 1))]
    assert read(tmp_path, *rows)[0] == [WANTED]


def test_messages_of_openassistant_one_a_row(tmp_path):
    rows = [
        {'message_id': 'a', 'parent_id': None, 'role': 'prompter', 'text': 'Good?', 'rank': None},
        {'message_id': 'b', 'parent_id': 'a', 'role': 'assistant', 'text': 'No.', 'rank': 1},
        {'message_id': 'c', 'parent_id': 'a', 'role': 'assistant', 'text': 'Yes.', 'rank': 0},
        {'message_id': 'd', 'parent_id': 'c', 'role': 'prompter', 'text': 'Why?', 'rank': 0},
        {'message_id': 'e', 'parent_id': 'd', 'role': 'assistant', 'text': 'So.', 'rank': 0},
        {'message_id': 'f', 'parent_id': 'd', 'role': 'assistant', 'text': 'Well.', 'rank': 1},
        {'message_id': 'g', 'parent_id': 'd', 'role': 'assistant', 'text': 'x', 'rank': None},
    ]
    kept, left_out = read(tmp_path, *rows)
    longer = '\n\nHuman: Good?\n\nAssistant: Yes.\n\nHuman: Why?\n\nAssistant:'
    assert kept == [WANTED, {'prompt': longer, 'chosen': ' So.', 'rejected': ' Well.'}]
    assert sum(left_out.values()) == 1


@pytest.mark.parametrize('row, reason', [
    (SHAPES['UltraFeedback, binarized'] | {'score_chosen': 3.0}, 'no preference'),
    (SHAPES['HelpSteer 2'] | {'preference_strength': 0}, 'no preference'),
    (SHAPES['TRL, messages'] | {'rejected': [YES]}, 'both sides alike'),
    (SHAPES['TRL, implicit prompt'] | {'rejected': [USER]}, 'no text under'),
    (SHAPES['TRL, implicit prompt'] | {'rejected': 'No.'}, 'no text under'),
    (SHAPES['TRL, messages'] | {'prompt': [3]}, 'no text under'),
    (SHAPES['SHP'] | {'labels': 7}, 'no prompt, two responses'),
    (SHAPES['plain'] | {'prompt': None}, 'no text under'),
])
def test_what_is_no_comparison_is_counted(row, reason, tmp_path):
    kept, left_out = read(tmp_path, row)
    assert kept == []
    assert [name for name, n in left_out.items() if n][0].startswith(reason)


NAMES = {'prompt': 'ask', 'chosen': 'good', 'rejected': 'bad'}


def test_columns_can_be_named(tmp_path):
    row = {'ask': 'Good?', 'good': ' Yes.', 'bad': ' No.', 'prompt': 'x', 'chosen': 'y'}
    assert read(tmp_path, row, columns=NAMES)[0] == [WANTED]
    with pytest.raises(ValueError, match="no column 'goood'; found the columns ask, good, bad"):
        read(tmp_path, row, columns=NAMES | {'chosen': 'goood'})
    with pytest.raises(ValueError, match="not for 'choice'"):
        read(tmp_path, row, columns={'choice': 'good'})
    with pytest.raises(ValueError, match='found the columns ask, good; chosen and rejected'):
        read(tmp_path, {'ask': 'Good?', 'good': 'Yes.'})


def test_pairs_of_named_columns(tmp_path):
    (tmp_path/'a.csv').write_text('ask,good,bad\nGood?, Yes., No.\n')
    data = PreferenceDataset(tiny_tokenizer(), tmp_path/'a.csv', 64, columns=NAMES)
    assert len(data) == 1


def test_what_an_instruction_is_about_belongs_to_its_prompt():
    row = {'instruction': 'Sum up', 'input': 'a text', 'chosen': 'A', 'rejected': 'B'}
    [found] = comparisons.comparisons_of([row], 'x')
    assert 'a text' in found['prompt']


def test_a_prompt_that_is_told_twice_is_read_once():
    row = {'prompt': 'Q', 'chosen': 'Q a', 'rejected': 'Q b'}
    [found] = comparisons.comparisons_of([row], 'x')
    assert found == {'prompt': 'Q', 'chosen': ' a', 'rejected': ' b'}


@pytest.mark.parametrize('names', [
    ('score_chosen', 'score_rejected'), ('chosen-rating', 'rejected-rating'),
    ('chosen_score', 'rejected_score'), ('chosen_rating', 'rejected_rating')])
@pytest.mark.parametrize('scores, n', [((5, 4), 1), ((4, 4), 0), ((1, 4), 0)])
def test_what_was_scored_alike_or_worse_is_no_preference(names, scores, n):
    row = {'prompt': 'Q', 'chosen': ' a', 'rejected': ' b'} | dict(zip(names, scores))
    [found] = comparisons.comparisons_of([row], 'x')
    assert (found == comparisons.NO_PREFERENCE) == (n == 0)


@pytest.mark.parametrize('write', [str, json.dumps])
def test_conversations_that_went_through_csv_are_conversations(write):
    question = {'role': 'user', 'content': 'Good?'}
    sides = {side: write([question, {'role': 'assistant', 'content': text}])
             for side, text in (('chosen', 'Yes.'), ('rejected', 'No.'))}
    [found] = comparisons.comparisons_of([sides], 'x')
    assert '[{' not in found['prompt'] + found['chosen'] + found['rejected']
    assert 'Good?' in found['prompt'] and 'Yes.' in found['chosen'] and 'No.' in found['rejected']
