"Lesson 10: the recorded runs, the doctor, and the bugs that are put into functions and taken out."
import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from rlhf_nbdev import advantage
from rlhf_nbdev.debugging import (
    OF_ANY_METHOD,
    OF_PPO,
    Run,
    diagnose,
    findings_of,
    read_patients,
    read_run,
    run_of,
    suspects_of,
)
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


@pytest.mark.parametrize('updates', [1, 2, 5, 9, 10, 15])
def test_a_healthy_run_that_was_stopped_is_healthy(updates):
    "Early on the KL is 0 and the values say nothing in every run: no alarm."
    for each in PATIENTS:
        if each['illness'] == 'healthy':
            run = run_of(each)
            run.rows = run.rows.head(updates)
            run.figures = {}
            assert not [finding for finding in findings_of(run) if finding.is_certain], each['seed']
            if updates < 10:
                assert not findings_of(run), each['seed']


def test_the_chat_model_of_lesson_12_is_no_alarm():
    "Another model, another task, LoRA: its recorded run of PPO."
    path = TOP/'rlhf_nbdev'/'embedded'/'dialog.jsonl'
    rows = [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]
    settings = {'response_length': 32, 'updates': 24}
    assert len(rows) == 24 and findings_of(Run(pd.DataFrame(rows), settings)) == []


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
