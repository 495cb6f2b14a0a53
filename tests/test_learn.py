"""`make learn` opens a copy of the lessons, in which answers stay."""
import importlib.util
import json
import os
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location('learn', TOP/'.ci'/'learn.py')
learn = importlib.util.module_from_spec(spec)
spec.loader.exec_module(learn)


def test_answers_stay_and_what_has_changed_is_said(tmp_path):
    nbs, copy = tmp_path/'nbs', tmp_path/'learn'
    (nbs/'deeper').mkdir(parents=True)
    page = (TOP/'nbs'/'glossary.ipynb').read_text(encoding='utf-8')
    for name in ('1.ipynb', '2.ipynb', 'deeper/1.ipynb'):
        (nbs/name).write_text(page, encoding='utf-8')
    assert learn.lay_out(nbs, copy) == []
    copied = json.loads((copy/'1.ipynb').read_text(encoding='utf-8'))
    assert copied['cells'] == json.loads(page)['cells'] and (copy/'deeper'/'1.ipynb').exists()
    assert copied['metadata']['language_info']['name'] == 'python'

    (copy/'1.ipynb').write_text('an answer', encoding='utf-8')
    (copy/'2.ipynb').unlink()
    later = os.stat(copy/'1.ipynb').st_mtime + 10
    os.utime(nbs/'1.ipynb', (later, later))
    assert learn.lay_out(nbs, copy) == [copy/'1.ipynb']
    assert (copy/'1.ipynb').read_text(encoding='utf-8') == 'an answer'
    assert (copy/'2.ipynb').exists()
