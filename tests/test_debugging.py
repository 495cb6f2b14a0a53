"Lesson 10: the recorded runs, the doctor, and the bugs that are put into functions and taken out."
import json
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from rlhf_nbdev import advantage
from rlhf_nbdev.debugging import (
    AT_THE_END,
    BY_THE_LIMIT,
    NOT_AT_FIRST,
    OF_ANY_METHOD,
    OF_PPO,
    READS,
    SYMPTOMS,
    Findings,
    Run,
    diagnose,
    draw_on_band,
    findings_of,
    kl_does_not_start_at_zero,
    kl_explodes,
    lengths_are_odd,
    read_patients,
    read_run,
    ruled_out,
    run_of,
    suspects_of,
    symptoms_to_ask,
    trace_of,
)
from rlhf_nbdev.exercises.debugging import EXPECTED
from rlhf_nbdev.tools.models import load_model, trunk_of
from rlhf_nbdev.tools.reading import reading_way

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP/'benchmarks'/'patients'))
from illnesses import CAUSES, ILLNESSES, NOT_RUN, in_force  # noqa: E402

PATIENTS = read_patients()
SMALL = [each for each in PATIENTS if each['context'] == 'small' and each['seed'] < 10]


def test_every_classic_bug_is_in_the_ward_or_has_its_reason():
    classic = json.loads((TOP/'benchmarks'/'mutants'/'classic.json').read_text(encoding='utf-8'))
    run = {name for illness in ILLNESSES.values() for name in illness.bugs}
    assert run | NOT_RUN.keys() == {bug['bug'] for bug in classic}
    assert not run & NOT_RUN.keys()


def test_every_illness_was_recorded_with_its_cause():
    assert {each['illness'] for each in PATIENTS} == ILLNESSES.keys()
    for each in PATIENTS:
        assert each['cause'] == CAUSES.get(each['illness'], '')


@pytest.mark.parametrize('illness', ILLNESSES)
def test_what_the_doctor_says_of_the_runs_it_was_tuned_on(illness):
    for each in SMALL:
        if each['illness'] == illness:
            suspects = suspects_of(findings_of(run_of(each)))
            assert each['cause'] in suspects[:3] if each['cause'] else not suspects, each['seed']


def test_causes_have_one_name():
    named = {suspect for each in PATIENTS for finding in findings_of(run_of(each))
             for suspect in finding.suspects}
    assert set(CAUSES.values()) <= named


@pytest.mark.parametrize('symptom', OF_ANY_METHOD + OF_PPO, ids=lambda symptom: symptom.__name__)
def test_what_was_not_measured_is_no_symptom(symptom):
    assert symptom(Run(pd.DataFrame({'update': [1, 2, 3]}))) is None


def test_every_symptom_is_asked_once():
    assert len(SYMPTOMS) == len(set(SYMPTOMS)) == len(OF_PPO + OF_ANY_METHOD)
    assert set(SYMPTOMS) == {*OF_PPO, *OF_ANY_METHOD}


@pytest.mark.parametrize('illness', [
    'reward × 20', 'value head not at zero', 'labels not shifted', 'reward pays length',
    'learning rate / 100', 'score on the last column', 'dropout (reference)'])
def test_the_more_specific_finding_is_named_first(illness):
    "Each of these has other symptoms as well, which point to commoner causes."
    for each in PATIENTS:
        if each['illness'] == illness:
            first = suspects_of(findings_of(run_of(each)))[0]
            assert first == each['cause'], (each['context'], each['seed'])


def test_lengths_that_shrink_are_first_laid_to_large_steps():
    "Unless the KL is off 0 at the start, as it is with dropout in the reference."
    for each in PATIENTS:
        finding = lengths_are_odd(run_of(each))
        if finding and 'shrink' in finding.seen:
            starts_off = abs(run_of(each).first('kl')) > 1
            assert ('dropout' in finding.suspects[0]) == starts_off, each['illness']


HEALTHY = [each for each in PATIENTS if each['illness'] == 'healthy']


@pytest.mark.parametrize('context', sorted({each['context'] for each in HEALTHY}))
def test_a_healthy_run_is_healthy_at_every_update(context):
    "Early on the KL is near 0 and the values say nothing in every run: no alarm."
    for each in HEALTHY:
        if each['context'] == context:
            run = run_of(each)
            rows = run.rows
            for updates in range(1, len(rows) + 1):
                run.rows = rows.head(updates)
                assert findings_of(run) == [], (each['seed'], updates)


def test_a_few_rows_without_settings_are_no_alarm():
    for each in HEALTHY:
        for updates in range(1, 10):
            assert diagnose(run_of(each).rows.head(updates).to_dict('records')) == []


def test_what_explodes_early_is_seen_early():
    for illness, updates in (('surrogate minimised', 6), ('one advantage for the batch', 9)):
        run = run_of(next(each for each in SMALL if each['illness'] == illness))
        run.rows = run.rows.head(updates)
        assert any('the KL ends at' in finding.seen for finding in findings_of(run)), illness


def test_how_many_symptoms_were_asked_is_said():
    healthy = run_of(HEALTHY[0])
    rows, figures = healthy.rows, healthy.figures
    every = len(OF_ANY_METHOD + OF_PPO)
    known = {'response_length': 24, 'gamma': 1.0}
    cases = [(Run(rows, known | {'updates': 20}, figures), every),
             (Run(rows, known, figures), every),
             (Run(rows, {'gamma': 1.0}, figures), every - len(BY_THE_LIMIT)),
             (Run(rows, {'response_length': 24}, figures), every - 1),
             (Run(rows, known), every - 1),
             (Run(rows, known | {'updates': 40}, figures), every - len(AT_THE_END)),
             (Run(rows.head(9), known, figures), every - len(NOT_AT_FIRST)),
             (Run(rows, known | {'method': 'rloo'}, figures), len(OF_ANY_METHOD)),
             (Run(rows[['score', 'kl', 'response_tokens']], {'response_length': 24}), 8),
             (Run(rows[['score', 'kl', 'response_tokens']]), 5)]
    for run, n_asked in cases:
        said = str(findings_of(run))
        assert findings_of(run).n_asked == n_asked
        assert (f'It asked for {n_asked} of {every} symptoms' in said) == (n_asked < every)
        assert 'read twenty responses' in said
        unknown = 'response_length' not in run.settings
        assert ('sees no lengths near the limit' in said) == unknown


@pytest.mark.parametrize('symptom', SYMPTOMS, ids=lambda symptom: symptom.__name__)
def test_what_is_judged_by_the_limit_alone_counts_as_not_asked(symptom):
    "Where nobody says how long responses may be, these two see nothing in any recorded run."
    runs = [run_of(each) for each in PATIENTS]
    is_seen = any(symptom(run) for run in runs)
    for run in runs:
        del run.settings['response_length']
    assert any(symptom(run) for run in runs) == (is_seen and symptom not in BY_THE_LIMIT)


def test_the_ratio_is_asked_of_every_method_whatever_the_length():
    sick = run_of(next(each for each in SMALL if each['illness'] == 'dropout (policy)'))
    for updates in (1, 20):
        found = findings_of(Run(sick.rows.head(updates), {'method': 'rloo'}))
        assert 'dropout is on in the policy' in suspects_of(found)[:2]


def test_a_folder_of_runs_of_ones_own_is_a_band(tmp_path):
    for number, each in enumerate(HEALTHY[:3]):
        folder = tmp_path/f'good_{number}'
        folder.mkdir()
        rows = run_of(each).rows.to_dict('records')
        (folder/'metrics.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    healthy = [read_run(tmp_path/f'good_{number}') for number in range(3)]
    figure = draw_on_band(['score', 'kl'], {'today': [run_of(SMALL[-1])]}, healthy)
    assert [ax.get_title() for ax in figure.axes] == ['score', 'kl']


def test_the_chat_model_of_lesson_12_is_no_alarm():
    "Another model, another task, LoRA: its recorded run of PPO."
    path = TOP/'rlhf_nbdev'/'embedded'/'dialog.jsonl'
    rows = [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]
    settings = {'response_length': 32, 'updates': 24}
    assert len(rows) == 24 and findings_of(Run(pd.DataFrame(rows), settings)) == []


def test_a_constant_reward_is_not_spoken_against():
    "Some of its batches have a spread: who does not end pays the penalty."
    for each in PATIENTS:
        if each['illness'] == 'constant reward':
            run = run_of(each)
            assert all(is_borne_out(run) for is_borne_out, _ in EXPECTED['the reward is constant'])


def test_a_folder_is_read(tmp_path):
    sick = next(each for each in SMALL if each['illness'] == 'reference is the policy')
    rows = run_of(sick).rows.to_dict('records')
    (tmp_path/'metrics.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    (tmp_path/'config.json').write_text(json.dumps({'rlhf': {'response_length': 24}}))
    (tmp_path/'summary.json').write_text(json.dumps({'reward': {'accuracy': 0.3}}))
    run = read_run(tmp_path)
    assert (run.limit, run.reward_accuracy, len(run.rows)) == (24, 0.3, 20)
    suspects = suspects_of(diagnose(tmp_path))
    assert suspects[:2] == ['the reference is the policy', 'the pairs are swapped']


def test_a_folder_without_updates_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='name the folder of a run'):
        diagnose(tmp_path)
    (tmp_path/'metrics.jsonl').write_text('')
    with pytest.raises(ValueError, match='no update'):
        diagnose(tmp_path)


def test_a_bug_is_put_in_and_taken_out():
    code = advantage.kl_k1.__code__
    with in_force(ILLNESSES['KL with its sign reversed']) as refused:
        assert not refused
        assert advantage.kl_k1(1.0, 3.0) == 2.0
    assert advantage.kl_k1.__code__ is code
    assert advantage.kl_k1(1.0, 3.0) == -2.0


GUARDED = ['packed rows see each other', 'packed rows see what comes later',
           'no position ids (scoring)']


@pytest.mark.parametrize('illness', GUARDED)
def test_a_wrong_packing_is_found_out_and_not_used(illness):
    "Why these three leave no trace: the guard reads with padding in its place."
    model, _ = load_model()
    with in_force(ILLNESSES[illness]), pytest.warns(UserWarning, match='cannot share a bin'):
        assert reading_way(trunk_of(model), 32) == 'padded'


@pytest.mark.parametrize('column', sorted(set(SMALL[0]['columns']) - {'update'}))
def test_a_column_that_is_missing_makes_no_new_alarm_certain(column):
    "What is not there may hide a symptom, but must not invent one."
    for illness in ('healthy', 'reference is the policy', 'KL rewarded', 'constant reward'):
        run = next(run_of(each) for each in SMALL if each['illness'] == illness)
        before = {finding.seen for finding in findings_of(run) if finding.is_certain}
        run.rows = run.rows.drop(columns=column)
        after = {finding.seen for finding in findings_of(run) if finding.is_certain}
        assert after <= before | {'the KL is 0'}, illness


def test_the_check_is_of_the_first_suspect():
    "A loss of the right sign passes the check of its sign, so it would clear the other cause."
    for illness, asked in (('surrogate minimised', 'one step on one response'),
                           ('one advantage for the batch', 'print the advantages')):
        found = findings_of(run_of(next(each for each in SMALL if each['illness'] == illness)))
        [check] = [finding.check for finding in found if 'the KL ends' in finding.seen]
        assert check.startswith(asked), illness


def test_what_was_not_asked_is_named():
    healthy = run_of(HEALTHY[0])
    said = str(findings_of(Run(healthy.rows, {'gamma': 1.0}, healthy.figures)))
    assert 'It asked for 18 of 20 symptoms' in said and '(not kl_explodes, score_is_flat)' in said
    said = str(findings_of(Run(healthy.rows[['kl']])))
    assert '(numbers_are_missing, kl_is_zero, kl_does_not_start_at_zero, kl_is_negative)' in said
    sick = run_of(next(each for each in SMALL if each['illness'] == 'KL rewarded'))
    said = str(findings_of(Run(sick.rows, {'gamma': 1.0}, sick.figures)))
    assert 'looks wrong' in said and 'It asked for 18 of 20 symptoms' in said


def test_a_ratio_of_1_says_nothing_about_the_reference():
    "Policy and sampler agree; that the reference was scored at another temperature does not show."
    sick = run_of(next(each for each in SMALL if each['illness'] == 'reference not fine-tuned'))
    found, = [each for each in findings_of(sick) if 'before anything was learnt' in each.seen]
    assert 'the reference is scored another way' in found.suspects
    assert 'another temperature' not in found.suspects


@pytest.mark.parametrize('symptom', READS, ids=lambda symptom: symptom.__name__)
def test_what_counts_as_asked_can_be_seen_and_the_rest_cannot(symptom):
    "A list of columns is enough for some recorded run; with one gone from each list, none is seen."
    runs = [run_of(each) for each in PATIENTS]
    is_seen = any(symptom(run) for run in runs)
    for columns in READS[symptom]:
        assert any(symptom(replace(run, rows=run.rows[columns])) for run in runs) == is_seen
    for gone in product(*READS[symptom]):
        without = [replace(run, rows=run.rows.drop(columns=set(gone))) for run in runs]
        assert not any(symptom(run) for run in without), gone
        assert symptom not in symptoms_to_ask(without[0])


def test_no_cause_of_a_recorded_run_is_ruled_out_and_some_suspect_stays():
    for each in PATIENTS:
        run = run_of(each)
        assert each['cause'] not in ruled_out(run), each['illness']
        assert all(finding.suspects for finding in findings_of(run)), each['illness']


def test_what_a_number_of_the_run_rules_out_is_no_suspect():
    sick = run_of(next(each for each in SMALL if each['illness'] == 'dropout (reference)'))
    of_reference = ['dropout is on in the reference', 'the reference is another model',
                    'the reference is scored another way']
    assert len(kl_does_not_start_at_zero(sick).suspects) == 6
    assert findings_of(sick)[0].suspects == of_reference  # the ratio is well
    without = replace(sick, rows=sick.rows.drop(columns='ppo/first_kl'))
    assert 'other tokens are scored' in findings_of(without)[0].suspects  # not known

    paid = run_of(next(each for each in SMALL if each['illness'] == 'KL rewarded'))
    assert 'there is no KL penalty' in kl_explodes(paid).suspects
    assert 'there is no KL penalty' not in suspects_of(findings_of(paid))  # β is 0.08


def test_the_share_that_looks_healthy_is_what_the_findings_say():
    tests = [each for each in PATIENTS if each['illness'] != 'healthy'
             and (each['context'] != 'small' or each['seed'] >= 10)]
    silent = [each for each in tests if not findings_of(run_of(each))]
    assert f'{len(silent)} of the {len(tests)} sick runs' in str(Findings())


def test_a_trace_is_of_every_run_and_on_one_side():
    healthy = [Run(pd.DataFrame({'kl': [end]*3})) for end in (1.0, 2.0)]
    for ends, columns in (((3.0, 4.0), ['kl']), ((0.0, 0.5), ['kl']), ((3.0, 1.5), []),
                          ((3.0, 0.5), []), ((2.0, 3.0), [])):
        assert trace_of([Run(pd.DataFrame({'kl': [end]*3})) for end in ends], healthy) == columns
