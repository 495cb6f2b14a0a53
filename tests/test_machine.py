"""Other machines: their numbers, memory, letters, folders and versions of the libraries.

What is not to be had here is emulated: a GPU of Apple's, Windows, PyTorch before 2.11, transformers
from 5.24 on."""
import ast
import errno
import io
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pretend_mps import PretendMps, to_mps
from safetensors.torch import save_file
from small_runs import MODEL, REVIEWS, SMALL, small_files
from tiny import decided_gpt2, tiny_gpt2, tiny_prompts

from rlhf_nbdev.advantage import compute_advantage_and_return, shape_rewards, whiten
from rlhf_nbdev.agent import Agent
from rlhf_nbdev.ppo import RLHFConfig, RLHFTrainer
from rlhf_nbdev.reward import RewardModel, normalize, rated_batch_loss
from rlhf_nbdev.run import checkpoint, command, pretrain, study
from rlhf_nbdev.run.stages import RunConfig
from rlhf_nbdev.tools import files, machine, models, packing, reading, speed
from rlhf_nbdev.tools.sampling import RecordedSampler
from rlhf_nbdev.train import rollout_metrics

__all__ = ['small_files']  # a fixture
TOP = Path(__file__).resolve().parent.parent
MODULES = sorted(path for path in (TOP/'rlhf_nbdev').rglob('*.py') if path.stem != '_modidx')


# numbers

def on_mps(model):
    model.set_attn_implementation('eager')
    return to_mps(model)


def test_a_whole_update_needs_no_float64_on_the_device():
    "But for the gradients, which PyTorch does not pretend; their operators are these again."
    with PretendMps(), torch.no_grad():
        agent, ref_model = Agent(on_mps(decided_gpt2(eos=2))), on_mps(decided_gpt2(seed=1))
        reward_model = to_mps(RewardModel(on_mps(decided_gpt2(eos=2))))
        ids, mask = (x.to('mps') for x in tiny_prompts())
        rollout = agent.generate(ids, mask, 6)
        scored = agent.compute_rewards(rollout, reward_model, ref_model)
        rewards = shape_rewards(
            scored.scores, rollout.logprobs, scored.ref_logprobs, rollout.response_mask, 0.1)
        advantages, returns = compute_advantage_and_return(
            rewards, rollout.values, rollout.response_mask, 1.0, 0.95)
        advantages = whiten(advantages, rollout.response_mask)
        trainer = RLHFTrainer(
            agent, ref_model, RLHFConfig(batch_size=6, prompt_length=4, response_length=6))
        loss, _ = trainer.compute_loss(rollout, advantages, returns)
        fetched = replace(rollout, mask=rollout.mask.cpu())  # as `learn_epochs` does it
        assert trainer.compute_loss(fetched, advantages, returns)[0].item() == loss.item()
        for p in agent.parameters():
            p.grad = torch.ones_like(p)
        assert trainer.step() > 1
        assert rollout_metrics(rollout, scored)['kl'] != 0
        assert rollout.tokens.device.type == rollout.logprobs.device.type == 'mps'


def test_a_step_of_the_reward_model_needs_no_float64_on_the_device():
    with PretendMps(), torch.no_grad():
        reward_model = to_mps(RewardModel(on_mps(decided_gpt2())))
        tokens, mask = (x.to('mps') for x in tiny_prompts())
        batch = {'tokens': tokens, 'mask': mask, 'ratings': torch.rand(6, 9).to('mps')}
        loss, accuracy = rated_batch_loss(reward_model, batch)
        assert loss.isfinite() and 0 <= accuracy.item() <= 1
        normalize(reward_model, reward_model(tokens, mask))


def test_operations_are_counted_without_float64_on_the_device():
    config, lengths = tiny_gpt2().config, torch.tensor([3, 4])
    with PretendMps():
        flops = speed.forward_flops(config, lengths.to('mps'), 2)
    assert flops == speed.forward_flops(config, lengths, 2)


def test_the_pretended_device_has_no_float64():
    with PretendMps():
        assert not machine.has_float64('mps')
        with pytest.raises(TypeError, match='float64'):
            torch.ones(2, device='mps').double()
        with pytest.raises(RuntimeError, match='on mps and on cpu'):
            torch.ones(2, device='mps') + torch.ones(2)
    machine.has_float64.cache_clear()


def test_what_is_drawn_is_what_was_drawn_before():
    dist = torch.randn(50, 1000, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    torch.manual_seed(1)
    ends = dist.exp().cumsum(-1, dtype=torch.float64)
    dart = torch.rand(50, 1, dtype=torch.float64)*ends[:, -1:]
    torch.manual_seed(1)
    assert torch.equal(packing.draw(dist), torch.searchsorted(ends, dart, right=True))


@pytest.mark.parametrize('device', ['mps', 'meta', 'hpu', 'mps:0', 'cuda:99'])
def test_a_device_that_is_not_there_is_refused_in_a_line(device):
    with pytest.raises(ValueError, match=f"device '{device}' cannot be used: [^\n]*$") as error:
        RunConfig(device=device)
    assert ('Apple' in str(error.value)) == device.startswith('mps')


def test_the_random_numbers_of_an_apple_gpu_are_kept_and_put_back(monkeypatch):
    given = []
    monkeypatch.setattr(torch.mps, 'get_rng_state', lambda: torch.arange(3))
    monkeypatch.setattr(torch.mps, 'set_rng_state', given.append)
    config = RLHFConfig(prompt_length=4, response_length=6)
    trainer = RLHFTrainer(Agent(tiny_gpt2()), tiny_gpt2(seed=1), config)
    on_cpu = checkpoint.trainer_state(trainer)
    monkeypatch.setattr(type(trainer.agent.model), 'device', torch.device('mps'))
    tensors, numbers = checkpoint.trainer_state(trainer)
    assert torch.equal(tensors['rng.mps'], torch.arange(3)) and 'rng.mps' not in on_cpu[0]
    checkpoint.restore_trainer(trainer, tensors, numbers)
    assert torch.equal(given[0], torch.arange(3))
    about = {'reference': checkpoint.reference_fingerprint(trainer),
             'versions': checkpoint.library_versions()}
    with pytest.raises(ValueError, match='another kind of device'):
        checkpoint.check_same_run('x', trainer, on_cpu[0], on_cpu[1] | about)


# versions of the libraries

@pytest.mark.parametrize('answer', [True, False, None])
def test_bfloat16_is_found_in_a_pytorch_without_capabilities(answer, monkeypatch):
    "None: nor can it say otherwise."
    monkeypatch.delattr(torch.cpu, 'get_capabilities', raising=False)
    monkeypatch.delattr(torch._C._cpu, '_is_amx_tile_supported', raising=False)
    if answer is not None:
        monkeypatch.setattr(
            torch._C._cpu, '_is_amx_tile_supported', lambda: answer, raising=False)
    assert models.has_fast_bfloat16('cpu') == bool(answer)
    with models.autocast('cpu'):
        assert torch.is_autocast_enabled('cpu') == bool(answer)


class Renamed(torch.nn.Module):
    "A model of a version of the library that calls the cache by this name."
    def __init__(self, model, name):
        super().__init__()
        self.model, self.name, self.asked = model, name, 0
        self.config, self.dtype = model.config, model.dtype

    def answer(self, cache, **options):
        self.asked += 1
        out = self.model(**options, **{machine.cache_name(): cache})
        return SimpleNamespace(logits=out.logits, hidden_states=out.hidden_states,
                               **{self.name: out[machine.cache_name()]})


class Newer(Renamed):
    def forward(self, input_ids, attention_mask, position_ids, use_cache, logits_to_keep,
                output_hidden_states, cache=None):
        return self.answer(
            cache, input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids,
            use_cache=True, logits_to_keep=1, output_hidden_states=True)


class Older(Renamed):
    def forward(self, input_ids, attention_mask, position_ids, use_cache, logits_to_keep,
                output_hidden_states, past_key_values=None):
        return self.answer(
            past_key_values, input_ids=input_ids, attention_mask=attention_mask,
            position_ids=position_ids, use_cache=True, logits_to_keep=1, output_hidden_states=True)


@pytest.mark.parametrize('kind, name', [(Newer, 'cache'), (Older, 'past_key_values')])
def test_the_cache_is_handed_on_by_the_name_that_the_library_uses(kind, name, monkeypatch):
    agent = Agent(decided_gpt2(eos=2))
    torch.manual_seed(0)
    plain = agent.generate(*tiny_prompts(), 6)
    agent.model = renamed = kind(agent.model, name)
    monkeypatch.setattr(reading, 'cache_name', lambda: name)
    for sampler in (agent, RecordedSampler(agent)):
        torch.manual_seed(0)
        rollout = sampler.generate(*tiny_prompts(), 6)
        assert torch.equal(rollout.tokens, plain.tokens)
    assert renamed.asked == 12


def test_no_module_uses_a_name_that_transformers_gives_up():
    for path in MODULES:
        if path.stem != 'machine':
            assert 'past_key_values' not in path.read_text(encoding='utf-8'), path


# memory

ERRORS = [
    torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has 0 bytes'),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't "
                 'allocate memory: you tried to allocate 99 bytes. Error code 12'),
    RuntimeError('[enforce fail at alloc_cpu.cpp:76] data. DefaultCPUAllocator: not enough memory'),
    RuntimeError('MPS backend out of memory (MPS allocated: 8.10 GB, max allowed: 9.07 GB)'),
    RuntimeError('Invalid buffer size: 24.00 GiB'),
    RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`'),
    RuntimeError('CUDA error: out of memory'),
    MemoryError(),
    MemoryError('std::bad_alloc'),
    OSError(errno.ENOMEM, 'Cannot allocate memory'),
]


@pytest.mark.parametrize('error', ERRORS, ids=lambda error: str(error)[:30])
def test_out_of_memory_is_one_line_whatever_device_says_it(error, monkeypatch):
    def fail(*args):
        raise error

    monkeypatch.setattr(sys, 'argv', ['rlhf-train', '--microbatches', '2', '--batch_size', '32'])
    monkeypatch.setattr(command, 'train', fail)
    with pytest.raises(SystemExit) as end:
        command.train_command()
    said = str(end.value)
    assert said.startswith('rlhf-train: out of memory') and '\n' not in said
    for setting in ('--microbatches (now 2)', '--batch_size (now 32)', '--response_length (now'):
        assert setting in said


@pytest.mark.parametrize('error', [RuntimeError('shapes do not fit'), RecursionError('too deep')])
def test_another_error_stays_what_it_is(error, monkeypatch):
    def fail(*args):
        raise error

    monkeypatch.setattr(sys, 'argv', ['rlhf-train'])
    monkeypatch.setattr(command, 'train', fail)
    with pytest.raises(type(error), match=str(error)):
        command.train_command()


def no_memory(*args, **options):
    raise torch.OutOfMemoryError('CUDA out of memory.')


@pytest.mark.parametrize('owner, name, place, setting', [
    (command, 'fine_tune', 'step one', '--prompt_length (now 8)'),
    (command, 'fit_reward_model', 'step two', '--prompt_length (now 8)'),
    (command, 'begin_step_three', 'step three', '--microbatches (now 1)'),
])
def test_each_step_names_what_helps_there(owner, name, place, setting, monkeypatch, tmp_path):
    monkeypatch.setattr(command, 'fine_tune', lambda *_: (tiny_gpt2(), 'there', {}))
    monkeypatch.setattr(command, 'fit_reward_model', lambda *_: (None, 'there', {}))
    monkeypatch.setattr(owner, name, no_memory)
    tokenizer = SimpleNamespace(save_pretrained=lambda folder: None)
    with pytest.raises(MemoryError, match=f'out of memory in {place} ') as error:
        inputs = SimpleNamespace(
            base=SimpleNamespace(model=None), tokenizer=tokenizer, data={'train': []},
            ratings=None, reviews=None, preferences=None)
        command.begin_run(tmp_path, RunConfig(), RLHFConfig(), inputs)
    assert setting in str(error.value)


@pytest.mark.parametrize('run, name', [
    (pretrain.pretrain_command, 'rlhf-pretrain'),
    (study.study_command, 'rlhf-study'),
])
def test_the_other_commands_say_it_in_a_line_too(run, name, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, 'argv', [name, '--out', str(tmp_path/'out')])
    monkeypatch.setattr(pretrain, 'pretraining_texts', lambda: ([], []))
    monkeypatch.setattr(pretrain, 'pretrain', no_memory)
    monkeypatch.setattr(study, 'ratings_path', lambda: TOP/'setup.py')
    monkeypatch.setattr(study, 'run_tasks', no_memory)
    with pytest.raises(SystemExit, match=f'{name}: out of memory in [^\n]*$'):
        run()


def test_a_worker_that_was_ended_is_said_in_a_line(monkeypatch, tmp_path):
    def ended(*args):
        raise study.BrokenProcessPool('A process in the process pool was terminated abruptly')

    monkeypatch.setattr(sys, 'argv', ['rlhf-study', '--out', str(tmp_path/'out')])
    monkeypatch.setattr(study, 'ratings_path', lambda: TOP/'setup.py')
    monkeypatch.setattr(study, 'run_tasks', ended)
    with pytest.raises(SystemExit, match=r'rlhf-study: .* lower --workers \(now 2\)'):
        study.study_command()


# letters

COMMANDS = {'rlhf-train': 'run.command:train', 'rlhf-pretrain': 'run.pretrain:pretrain',
            'rlhf-study': 'run.study:study', 'rlhf-ratings': 'tools.ratings:ratings'}


def start(name, *options, **environment):
    "A command in a Python of its own; its output as bytes."
    module, stem = COMMANDS[name].split(':')
    code = f'from rlhf_nbdev.{module} import {stem}_command as main; main()'
    strict = ['-X', 'warn_default_encoding']
    for path in MODULES:
        inside = path.relative_to(TOP).with_suffix('')
        strict += ['-W', f"error::EncodingWarning:{'.'.join(inside.parts)}"]
    return subprocess.run(
        [sys.executable, *strict, '-c', code, *map(str, options)], capture_output=True,
        env=os.environ | {'PYTHONPATH': str(TOP)} | environment, cwd=environment.get('PWD'))


@pytest.mark.parametrize('encoding', ['ascii', 'cp1252'])
def test_help_is_printed_in_any_encoding(encoding, monkeypatch):
    printed = io.BytesIO()
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(printed, encoding))
    monkeypatch.setattr(sys, 'argv', ['rlhf-train', '--help'])
    with pytest.raises(SystemExit) as done:
        command.train_command()
    sys.stdout.flush()
    assert done.value.code == 0
    assert rb'\u03b5' in printed.getvalue()  # the ε of the clip ratio


def test_a_path_is_said_in_any_encoding(tmp_path):
    done = start('rlhf-ratings', PYTHONIOENCODING='ascii', HOME=str(tmp_path),
                 XDG_CACHE_HOME=str(tmp_path/'кэш 🎬'), PIP_NO_INDEX='1')
    assert done.returncode == 1 and b'Traceback' not in done.stderr, done.stderr.decode()
    assert rb'\U0001f3ac' in done.stderr


def arguments_with_a_text_mode(node):
    "Whether a call opens, reads or writes text, or talks in text with a process."
    name = getattr(node.func, 'attr', getattr(node.func, 'id', ''))
    options = {option.arg: option.value for option in node.keywords}
    if name in ('read_text', 'write_text'):
        return True
    if name == 'open' and isinstance(node.func, ast.Name):
        modes = [*node.args[1:2], options.get('mode')]
        return not any(isinstance(m, ast.Constant) and 'b' in m.value for m in modes if m)
    wants_text = options.get('text', options.get('universal_newlines'))
    return isinstance(wants_text, ast.Constant) and wants_text.value is True


SOURCES = [*MODULES, TOP/'setup.py', *(TOP/'.ci').glob('*.py'), *(TOP/'benchmarks').rglob('*.py')]


@pytest.mark.parametrize('path', SOURCES, ids=lambda path: str(path.relative_to(TOP)))
def test_texts_are_read_and_written_as_utf_8_whatever_the_machine(path):
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Call) and arguments_with_a_text_mode(node):
            names = [option.arg for option in node.keywords]
            assert 'encoding' in names, f'{path}, line {node.lineno}: {ast.unparse(node)[:80]}'


# folders

def refuse_folders(monkeypatch, number=errno.EACCES):
    "As Windows does."
    plain_open = os.open

    def open_no_folder(path, how, *more, **options):
        if Path(path).is_dir():
            raise OSError(number, os.strerror(number), str(path))
        assert how != os.O_RDONLY, 'Windows synchronises no file that is open for reading'
        return plain_open(path, how, *more, **options)

    monkeypatch.setattr(files.os, 'open', open_no_folder)


def test_where_folders_cannot_be_opened_files_are_synchronised_all_the_same(
        monkeypatch, tmp_path):
    synced, plain_fsync = [], os.fsync
    refuse_folders(monkeypatch)
    monkeypatch.setattr(files.os, 'fsync', lambda d: (synced.append(d), plain_fsync(d)))
    files.write_whole(tmp_path/'file', lambda new: new.write_bytes(b'whole'))
    assert (tmp_path/'file').read_bytes() == b'whole' and len(synced) == 2
    (tmp_path/'inner').mkdir()
    (tmp_path/'inner'/'file').touch()
    (tmp_path/'inner'/'nowhere').symlink_to(tmp_path/'gone')
    files.sync(tmp_path)
    assert len(synced) == 4


def test_what_a_disk_really_cannot_do_is_an_error(monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError):
        files.sync(tmp_path/'gone')
    refuse_folders(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match='Input/output error'):
        files.sync(tmp_path)


def test_rows_are_written_with_the_line_ends_that_were_counted(monkeypatch, tmp_path):
    "On Windows `write_text` makes two bytes of each."
    plain_write = Path.write_text

    def as_on_windows(path, text, **options):
        plain_write(path, text.replace('\n', '\r\n'), newline='', **options)

    monkeypatch.setattr(Path, 'write_text', as_on_windows)
    row = {'update': 1, 'seconds': 1.0}
    lines = [b'{"update": 1, "seconds": 1.0}']
    (tmp_path/'metrics.jsonl').write_bytes(lines[0] + b'\n')
    state = {'update': 1, 'rows': checkpoint.rows_digest(lines)}
    command.RunLog(tmp_path, state).rewrite()
    assert command.RunLog(tmp_path, state).rows == [row]


def test_a_resumed_optimizer_is_free_of_the_file_it_came_from(tmp_path):
    "Windows replaces no file that is still mapped into memory."
    moments = {f'optimizer.0.{name}': torch.ones(4) for name in ('step', 'exp_avg', 'exp_avg_sq')}
    save_file(moments, tmp_path/'moments')
    tensors, _ = checkpoint.read_tensors(tmp_path/'moments')
    for name, x in checkpoint.optimizer_moments(tensors, [torch.ones(4)])[0].items():
        assert x.data_ptr() != tensors[f'optimizer.0.{name}'].data_ptr()


def test_a_handler_that_is_not_pythons_is_left_alone(monkeypatch):
    monkeypatch.setattr(checkpoint.signal, 'getsignal', lambda number: None)
    with checkpoint.Stopping() as stop:
        assert not stop.before


PATHS = ['./modell', '../modell', 'my model', 'модель', '电影/模型', 'a/b/c', r'C:\models\mine',
         'tests/no such model', 'nbs/model', 'reviews.parquet', 'reviews.jsonl.gz', '']


@pytest.mark.parametrize('setting', ['model', 'data'])
@pytest.mark.parametrize('path', PATHS)
def test_a_path_that_leads_nowhere_is_not_looked_for_on_the_hub(path, setting, monkeypatch):
    monkeypatch.chdir(TOP)
    with pytest.raises(FileNotFoundError, match='there is no such file or folder'):
        RunConfig(**{setting: path})


@pytest.mark.parametrize('name', ['gpt2', 'stanfordnlp/imdb', 'HuggingFaceTB/SmolLM2-1.7B'])
def test_a_name_on_the_hub_stays_one(name):
    run = RunConfig(model=name, data=name)
    assert run.model == run.data == name


def test_relative_paths_are_made_absolute_and_words_stay(monkeypatch, tmp_path):
    folder = tmp_path/'мой 电影 🎬'
    (folder/'embedded').mkdir(parents=True)
    (folder/'mine').mkdir()
    (folder/'reviews.csv').touch()
    (folder/'mine'/'config.json').touch()
    (folder/'r').touch()
    monkeypatch.chdir(folder)
    run = RunConfig(model='mine', data='reviews.csv', sft='mine', ratings='r', stages='kept')
    assert run.model == run.sft == str(folder/'mine')
    assert run.data == str(folder/'reviews.csv')
    assert run.ratings == str(folder/'r') and run.stages == str(folder/'kept')
    words = RunConfig(model='embedded', data='hub', ratings='labels')
    assert (words.model, words.data, words.ratings) == ('embedded', 'hub', 'labels')
    assert RunConfig(resume='mine') == RunConfig(resume='mine')


@pytest.fixture(scope='module')
def broken_off(tmp_path_factory, small_files):
    """A run whose paths are relative and of several scripts, out of memory in its second update.

    Its output is in code page 1252, and of what the package opens, all is opened as UTF-8."""
    top = tmp_path_factory.mktemp('a b')/'мой 电影 🎬'
    top.mkdir()
    (top/'отзывы é.csv').write_bytes(REVIEWS.read_bytes())
    shutil.copytree(MODEL, top/'模型 é')
    options = dict(zip(SMALL[::2], SMALL[1::2])) | {
        '--data': 'отзывы é.csv', '--model': '模型 é', '--stages': 'шаги', '--out': '🎬 раз',
        '--save_every': '1', '--microbatches': '2', '--ratings': 'labels'}
    sitecustomize = top/'sitecustomize.py'
    sitecustomize.write_text(SECOND_UPDATE_FAILS, encoding='utf-8')
    done = start('rlhf-train', *[x for option in options.items() for x in option],
                 PYTHONPATH=f'{top}{os.pathsep}{TOP}', PYTHONIOENCODING='cp1252', PWD=str(top))
    return top/'🎬 раз', done


SECOND_UPDATE_FAILS = '''
import torch
plain_step, steps = torch.optim.AdamW.step, []


def step(self, *args):
    if type(self.param_groups[0]["lr"]) is float and self.defaults["eps"] == 1e-5:
        steps.append(1)
        if len(steps) == 3:  # two steps an update
            raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.')
    return plain_step(self, *args)


torch.optim.AdamW.step = step
'''


def test_a_run_out_of_memory_ends_in_a_line_and_keeps_its_checkpoint(broken_off):
    folder, done = broken_off
    said = done.stderr.decode('cp1252')
    assert done.returncode == 1, said[-2000:]
    last = [line for line in said.splitlines() if line.startswith('rlhf-train: ')]
    assert len(last) == 1 and 'Traceback' not in said
    assert last[0].startswith('rlhf-train: out of memory in step three (CUDA out of memory.')
    assert '--microbatches (now 2)' in last[0] and '--batch_size (now 8)' in last[0]
    assert checkpoint.read_checkpoint(folder/'checkpoint.safetensors')[1]['update'] == 1


def test_it_is_taken_up_from_another_folder_in_another_encoding(broken_off, tmp_path):
    folder, _ = broken_off
    relative = os.path.relpath(folder, tmp_path)
    done = start('rlhf-train', '--resume', relative, PYTHONIOENCODING='ascii', PWD=str(tmp_path))
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert rb'\U0001f3ac' in done.stdout
    assert 'отзывы é.csv' in (folder/'report.html').read_text(encoding='utf-8')
    assert checkpoint.read_checkpoint(folder/'checkpoint.safetensors')[1]['update'] == 2


@pytest.mark.parametrize('setting', ['model', 'data', 'sft', 'ratings', 'stages', 'out', 'resume'])
def test_a_path_that_is_no_text_here_is_refused_in_a_line(setting):
    r"As Python reads caf\xe9 where paths are UTF-8, and фильм where they are ASCII."
    with pytest.raises(ValueError, match=rf'^{setting} caf\\udce9: [^\n]*PYTHONUTF8=1'):
        RunConfig(**{setting: 'caf\udce9'})


def test_cudnns_attention_is_left_out_where_rounding_is_allowed(monkeypatch):
    "On an H200, its gradients of rows with padding were not finite in 6 of 122 steps."
    monkeypatch.setattr(models, 'has_fast_bfloat16', lambda device: False)
    torch.backends.cuda.enable_cudnn_sdp(True)
    models.autocast('cpu')
    assert torch.backends.cuda.cudnn_sdp_enabled()
    models.autocast('cuda')
    assert not torch.backends.cuda.cudnn_sdp_enabled()
