"What a reader has written is theirs: nothing here removes it, or writes over it."
import ast
import subprocess
from pathlib import Path

import pytest
from lesson_cells import NOTEBOOKS, code_cells

from rlhf_nbdev.run import pretrain

ALL = [str(path.relative_to(NOTEBOOKS)) for path in sorted(NOTEBOOKS.rglob('*.ipynb'))
       if '.ipynb_checkpoints' not in path.parts]
CHANGES = {'unlink', 'write_text', 'write_bytes', 'touch', 'rename', 'replace', 'rmtree', 'mkdir',
           'savefig', 'save_pretrained', 'to_csv', 'to_json', 'write_preferences',
           'append_json_line', 'LabelLog'}


def is_fixed_path(node, fixed):
    "`Path('name')`, 'name', a name that stands for one, or one of these with `/ 'name'`."
    if isinstance(node, ast.BinOp):
        return is_fixed_path(node.left, fixed)
    if isinstance(node, ast.Attribute):  # path.parent
        return is_fixed_path(node.value, fixed)
    if isinstance(node, ast.Name):
        return node.id in fixed
    if isinstance(node, ast.Call):
        is_path = isinstance(node.func, ast.Name) and node.func.id == 'Path'
        return is_path and all(isinstance(arg, ast.Constant) for arg in node.args)
    return False


def writes_to_fixed_path(call, fixed):
    "Is it a call that changes a file whose name is the same in whatever folder it is run?"
    name = getattr(call.func, 'attr', getattr(call.func, 'id', ''))
    places = list(call.args)
    if isinstance(call.func, ast.Attribute):
        places.append(call.func.value)
    if name == 'open':
        modes = [arg.value for arg in call.args[1:] if isinstance(arg, ast.Constant)]
        changes = any(set(str(mode)) & set('wax+') for mode in modes)
        return changes and (isinstance(call.args[0], ast.Constant) or
                            is_fixed_path(call.args[0], fixed))
    return name in CHANGES and any(is_fixed_path(place, fixed) for place in places)


def fixed_names(trees):
    "Names that a cell binds to a fixed path."
    names = set()
    for node in (node for tree in trees for node in tree.body):
        if isinstance(node, ast.Assign) and is_fixed_path(node.value, names):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return names


@pytest.mark.parametrize('notebook', ALL)
def test_no_notebook_changes_a_file_by_a_fixed_name(notebook):
    trees = [ast.parse(source) for _, source in code_cells(notebook)]
    fixed = fixed_names(trees)
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found = [ast.unparse(call) for call in calls if writes_to_fixed_path(call, fixed)]
    assert not found, f'in a reader\'s folder this is a file of theirs: {found}'


def test_what_was_written_that_way_is_seen():
    "The cells that removed a reader's labels, and that wrote records over."
    source = '''
path = Path('results/labels.jsonl')
path.parent.mkdir(exist_ok=True)
path.unlink(missing_ok=True)
Path('results/sft.json').write_text('')
open('labels.jsonl', 'a')
(Path('results')/'x').write_text('')
open('labels.jsonl')
Path('labels.jsonl').read_text()
folder = Path(temp.name)
(folder/'x').write_text('')
'''
    tree = ast.parse(source)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    seen = [call for call in calls if writes_to_fixed_path(call, fixed_names([tree]))]
    assert sorted(call.lineno for call in seen) == [3, 4, 5, 6, 7]


def test_make_clean_removes_what_was_built_and_nothing_else(tmp_path):
    top = NOTEBOOKS.parent
    (tmp_path/'Makefile').write_text((top/'Makefile').read_text(encoding='utf-8'))
    theirs = ['runs/1/report.html', 'nbs/my_labels.jsonl', 'nbs/my_labels.second.jsonl',
              'nbs/my_panel.jsonl', 'nbs/mine.ipynb', 'study.jsonl', 'my-policy/config.json']
    for name in ['_docs/a', 'build/b', *theirs]:
        (tmp_path/name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/name).write_text(name)
    subprocess.run(['make', 'clean'], cwd=tmp_path, check=True, capture_output=True)
    assert not (tmp_path/'_docs').exists() and not (tmp_path/'build').exists()
    for name in theirs:
        assert (tmp_path/name).read_text() == name


def test_a_pretraining_leaves_other_folders_as_they_are(tmp_path, monkeypatch):
    (tmp_path/'model').mkdir()
    (tmp_path/'model'/'config.json').write_text('theirs')
    monkeypatch.setattr(pretrain, 'pretraining_texts', lambda: pytest.fail('it has begun'))
    monkeypatch.setattr('sys.argv', ['rlhf-pretrain', '--out', str(tmp_path)])
    with pytest.raises(SystemExit, match='name another folder with --out'):
        pretrain.pretrain_command()
    with pytest.raises(FileExistsError):
        pretrain.pretrain(tmp_path, [], [])
    assert (tmp_path/'model'/'config.json').read_text() == 'theirs'
    assert [path.name for path in Path(tmp_path).iterdir()] == ['model']
