"""Break every function of the package in turn, and see who notices: `python tests/mutants.py [--only ppo agent] [--limit 6] [--classic]` (Linux).

Stage one: a fork of this process changes one function's code in place and runs the fast tests that call it. Stage two, for what survived:
the lesson runs up to the cell that defines the function, and a fork goes on with the changed cell in place of the cell, to the asserts after it."""
import argparse, ast, copy, gc, hashlib, importlib, io, json, os, re, select, signal, sys, time, warnings
from collections import Counter, defaultdict
from contextlib import redirect_stderr, redirect_stdout
from fnmatch import fnmatch
from pathlib import Path
from types import CodeType, FunctionType
for name, value in {'OMP_NUM_THREADS': '1', 'TOKENIZERS_PARALLELISM': 'false', 'TQDM_DISABLE': '1', 'MPLBACKEND': 'agg', 'HF_HUB_OFFLINE': '1'}.items(): os.environ[name] = value  # before the imports that read them
import pytest, torch

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, LESSONS = ROOT/'rlhf_nbdev', ROOT/'nbs'
FAST = ['test_units', 'test_gradients', 'test_properties', 'test_parity']
CELLS, SECONDS = 10, 60  # that a lesson may go on for after the changed cell
LEFT_OUT = {  # names, and why
    '*.main': 'a command', 'reward.fetch': 'a command', 'reward.fetch_ratings': 'asks the network', 'study.work': 'hours', 'study.make_stages': 'hours', 'study.run_*': 'minutes; made of tested parts', 'study.prepare': 'minutes; made of tested parts',
    'evaluate.draw_frontier': 'draws', 'train.draw_curves': 'draws', 'train.LivePlot.*': 'draws', 'train.picture': 'draws', 'train.html_table': 'HTML', 'train.sample_rows': 'HTML', 'train.write_report': 'HTML', 'train.by_step': 'a table of text',
    'train.stage_rows': 'a table of text', 'train.win_rows': 'a table of text', 'train.side_by_side': 'a table of text', 'train.finish_run': 'prints and writes', **dict.fromkeys(['train.train', 'train.RunConfig.__post_init__', 'train.find_*', 'train.fine_tune', 'train.fit_reward_model', 'train.run_ppo', 'train.begin_run', 'train.finish_ppo', 'train.new_run_dir', 'train.keep_*', 'train.as_configs', 'train.NotFinite.*'],
                    'files and commands: tests/test_train.py and tests/test_faults.py run them'), 'feedback.as_text': 'HTML',
    'feedback.Labeler.*': 'a panel, tested in a browser', **dict.fromkeys(['speed.seconds', 'speed.matmul_peak', 'speed.bandwidth'], 'measures the machine')}
EQUIVALENT = {  # (function, change): why no test can tell
    ('sft.batch_loss', 'batch = {name: x.to(model.device) for name, x in trim(batch).items()}  →  pass'): 'saves work; there is one device here',
    ('sft.batch_loss', "model(input_ids=batch['tokens'], attention_mask=batch['mask'], position_ids=position_id  →  model(input_ids=batch['tokens'], position_ids=position_id"): 'transformers keeps texts apart whose positions begin anew',
    ('sft.held_out_loss', 'sorted(range(len(demonstrations)), key=lambda i: len(demonstrations.rows[i][0]))  →  sorted(range(len(demonstrations)))'): 'saves work',
    ('sft.held_out_loss', 'DataLoader(demonstrations, 64, sampler=by_length):  →  DataLoader(demonstrations, 65, sampler=by_length):'): 'the size of a batch',
    ('reward.draw_comparisons', '(a == b and rng.random() < 0.5):  →  (a == b and rng.random() >= 0.5):'): 'a coin has two sides',
    ('reward.draw_comparisons', '== b and rng.random() < 0.5):  →  == b and rng.random() < 1.5):'): 'the two come in a random order already',
    ('dataset.prompt_ids', 'tokenizer(texts, truncation=True, max_length=prompt_len  →  tokenizer(texts, truncation=False, max_length=prompt_len'): 'saves work',
    ('feedback.LabelLog.key', "return (pair['prompt'], *sorted([pair['left'], pair['right']]))  →  return (*sorted([pair['left'], pair['right']]), pair['prompt'])"): 'a key is only compared with its like',
    ('feedback.SimulatedLabeler.__call__', "right else 'left' if left > right else 'right'  →  right else 'left' if left >= right else 'right'"): 'equals were ties before',
    ('evaluate.panel_outcomes', "ours = {key(pair, 'a', 'b'): pair['b'] for pair i  →  ours = {key(pair, 'b', 'a'): pair['b'] for pair i"): 'the sides are sorted',
    ('evaluate.fit_overoptimisation', 'tuple(np.linalg.lstsq(columns, np.asarray(gain), rcond=None)[0].tolist())  →  tuple(np.linalg.lstsq(columns, np.asarray(gain))[0].tolist())'): "rcond is None by default",
    ('pretrain.training_batches', 'context // batch_size, -1)  →  context // batch_size, -2)'): 'any number that is no epoch',
    ('pretrain.pretrain_step', 'F.cross_entropy(logits[:, :-1].float().flatten(0, 1), x[:, 1:].fl  →  F.cross_entropy(logits[:, :-1].flatten(0, 1), x[:, 1:].fl'): 'on a GPU only: there autocast leaves it in float32, here the logits are rounded before',
    ('feedback.append_record', "not None and (file.read(1) != b'\\n')  →  not None and (file.read(2) != b'\\n')"): 'one byte is left to read',
    ('evaluate.overused', 'return pd.Series(found, dtype=float) / len(texts)  →  return pd.Series(found) / len(texts)'): 'counts are divided alike',
    ('train.digest_model', 'return digest(*weights, model.config.to_json_string(), tokenizer.get_vocab(), torch.__version__, t  →  return digest(*weights, tokenizer.get_vocab(), model.config.to_json_string(), torch.__version__, t'): 'any order',
    ('train.digest_model', "tokenizer.get_vocab(), torch.__version__, version('transformers'), model.devi  →  tokenizer.get_vocab(), version('transformers'), torch.__version__, model.devi"): 'any order',
    ('train.digest_model', 'model.config.to_json_string(), tokenizer.get_vocab(), torch.__version__, transformers.__version  →  model.config.to_json_string(), torch.__version__, tokenizer.get_vocab(), transformers.__version'): 'any order',
    ('train.digest_model', "tokenizer.get_vocab(), torch.__version__, version('transformers'), model.device.type)  →  tokenizer.get_vocab(), torch.__version__, model.device.type, version('transformers'))"): 'any order',
    ('train.digest', "sha.update(len(part).to_bytes(8, 'big') + part)  →  sha.update(len(part).to_bytes(9, 'big') + part)"): 'any width',
}
CLASSIC = [  # bug, function, what stands there, what stands there in published code
    ('ratio to the reference in place of the old policy', 'ppo.RLHFTrainer.compute_loss', 'rollout.logprobs,', "__import__('rlhf_nbdev.agent').agent.token_logprobs(self.ref_model, rollout.tokens, rollout.mask, R, rollout.temperature),"),
    ('second branch lost its advantage', 'ppo.compute_loss', 'pg_loss2 = -advantages*ratio', 'pg_loss2 = -ratio'),
    ('surrogate minimised', 'ppo.compute_loss', 'loss = policy_loss +', 'loss = -policy_loss +'),
    ('smaller of the two policy losses', 'ppo.compute_loss', 'torch.max(pg_loss1', 'torch.min(pg_loss1'),
    ('smaller of the two value losses', 'ppo.compute_loss', 'torch.max(vf_loss1', 'torch.min(vf_loss1'),
    ('entropy and value swapped on unpacking', 'ppo.RLHFTrainer.compute_loss', 'logprobs, values, entropy =', 'logprobs, entropy, values ='),
    ('entropy and value swapped on the way out', 'agent.Agent.forward', 'self.value(hidden), entropy', 'entropy, self.value(hidden)'),
    ('a fresh token scored in place of the response (policy)', 'speed.score_packed', 'tokens[:, -R:][on][:, None]', 'torch.multinomial(dists.detach().exp(), 1)'),
    ('a fresh token scored in place of the response (reference)', 'agent.token_logprobs', 'tokens[:, -response_length:, None]', 'torch.multinomial(dists.detach().exp().flatten(0, 1), 1).view(*dists.shape[:2], 1)'),
    ('log-probabilities of the tokens one place later', 'agent.score_tokens', 'out.logits[:, :-1]', 'out.logits[:, 1:]'),
    ('log-probabilities of the tokens one place later (packed)', 'speed.score_packed', '[:, -R - 1:-1]', '[:, -R:]'),
    ('packed rows see each other', 'speed.packed_states', '(row[:, :, None] == row[:, None])', '(row[:, :, None] == row[:, None]).logical_not_().logical_or_(torch.tensor(True))'),
    ('packed rows see what comes later', 'speed.packed_states', '.tril()', ''),
    ('one advantage for a whole batch', 'ppo.RLHFTrainer.update', 'advantages = whiten(advantages, mask)', 'advantages = whiten(advantages, mask).mean().expand_as(advantages)'),
    ('one advantage for a whole response', 'ppo.RLHFTrainer.update', 'advantages = whiten(advantages, mask)', 'advantages = whiten(advantages.mean(1, keepdim=True).expand_as(advantages), mask)'),
    ('returns computed after whitening', 'ppo.RLHFTrainer.update', 'advantages = whiten(advantages, mask)', 'advantages = whiten(advantages, mask); returns = advantages + rollout.values'),
    ('whitening that adds the mean back', 'advantage.whiten', 'return centred*torch.rsqrt(masked_mean(centred**2, mask) + 1e-8)', 'return centred*torch.rsqrt(masked_mean(centred**2, mask) + 1e-8) + masked_mean(x, mask)'),
    ('no whitening', 'ppo.RLHFTrainer.update', 'advantages = whiten(advantages, mask)', 'pass'),
    ('KL with the sign reversed', 'advantage.kl_k1', 'logprobs - ref_logprobs', 'ref_logprobs - logprobs'),
    ('KL with the ratio reversed', 'advantage.kl_k3', 'ref_logprobs - logprobs', 'logprobs - ref_logprobs'),
    ('KL rewarded', 'advantage.shape_rewards', '- beta*kl_k1', '+ beta*kl_k1'),
    ('KL of the update with the ratio reversed', 'ppo.compute_loss', 'kl_k3(old_logprobs, logprobs)', 'kl_k3(logprobs, old_logprobs)'),
    ('k3 as the penalty', 'advantage.shape_rewards', 'kl_k1(', 'kl_k3('),
    ('k3 used as a loss', 'ppo.compute_loss', 'loss = policy_loss +', 'loss = policy_loss + 0.05*masked_mean(kl_k3(logprobs, old_logprobs), mask) +'),
    ('sampling with top-k 10, scoring the full softmax', 'agent.Agent.generate', 'draw(dist)', 'draw(dist.masked_fill(dist < dist.topk(10).values[:, -1:], -torch.inf))'),
    ('scored at another temperature than sampled', 'agent.score_tokens', '/temperature', ''),
    ('scored at another temperature than sampled (packed)', 'speed.score_packed', '.div_(temperature)', ''),
    ('sampled at another temperature than scored', 'agent.Agent.generate', 'out.logits[:, -1].float()/temperature', 'out.logits[:, -1].float()'),
    ('reward model reads the last column, be it a pad token', 'reward.RewardModel.forward', '(mask*torch.arange(mask.shape[1], device=mask.device)).argmax(1)', 'torch.full((len(tokens),), tokens.shape[1] - 1)'),
    ('reward model counts tokens, as if padded on the right', 'reward.RewardModel.forward', '(mask*torch.arange(mask.shape[1], device=mask.device)).argmax(1)', 'mask.sum(1) - 1'),
    ('pairwise loss without its minus', 'reward.bradley_terry_loss', '-F.logsigmoid', 'F.logsigmoid'),
    ('pairwise loss divided by the batch twice', 'reward.bradley_terry_loss', '.mean()', '.mean()/len(chosen)'),
    ('chosen and rejected swapped', 'reward.bradley_terry_loss', 'chosen - rejected', 'rejected - chosen'),
    ('response masked by != pad where pad may be EOS', 'agent.Agent.generate', 'response_mask.to(mask)', '(tokens[:, P:] != self.pad_token_id).to(mask)'),
    ('demonstration masked by != pad where pad may be EOS', 'sft.Demonstrations.__getitem__', 'mask*(mask.cumsum(0) > prompt)', '(tokens != self.pad)*(mask.cumsum(0) > prompt)'),
    ('the first EOS left out of the response', 'agent.Agent.generate', 'steps.append((alive, ', 'steps.append((alive & ~self.is_eos(token[:, 0]), '),
    ('dropout left on (policy)', 'agent.Agent.train', 'train(False)', 'train(mode)'),
    ('dropout left on (policy, from the start)', 'agent.Agent.__init__', 'self.eval()', 'nn.Module.train(self, True)'),
    ('dropout left on (reference)', 'ppo.RLHFTrainer.__init__', 'ref_model.eval()', 'ref_model'),
    ('dropout left on (reward model)', 'reward.RewardModel.train', 'train(False)', 'train(mode)'),
    ('dropout left on (reward model, from the start)', 'reward.RewardModel.__init__', 'self.eval()', 'nn.Module.train(self, True)'),
    ('no position ids (scoring)', 'agent.score_tokens', 'position_ids=position_ids(mask), ', ''),
    ('no position ids (sampling)', 'agent.Agent.generate', 'position_ids=positions, ', 'position_ids=None, '),
    ('no position ids (packed: policy, reference, reward model)', 'speed.packed_states', ', position_ids=packed(positions, 0)', ''),
    ('no position ids (demonstrations)', 'sft.batch_loss', "position_ids=position_ids(batch['mask']), ", ''),
    ('no attention mask (scoring)', 'agent.score_tokens', 'attention_mask=mask, ', ''),
    ('bf16 log-probabilities (scoring)', 'agent.score_tokens', 'logits.float()', 'logits.bfloat16()'),
    ('bf16 log-probabilities (packed)', 'speed.score_packed', '.float()', '.bfloat16()'),
    ('autocast around the optimizer', 'ppo.RLHFTrainer.learn', 'self.optimizer.zero_grad()', 'self.optimizer.zero_grad(); self.autocast().__enter__()'),
    ('bf16 log-probabilities (sampling)', 'agent.Agent.generate', 'out.logits[:, -1].float()', 'out.logits[:, -1].bfloat16()'),
    ('statistics averaged over padding', 'advantage.masked_mean', '/mask.sum().clamp(min=1)', '/mask.numel()'),
    ('clip fraction over padding', 'ppo.compute_loss', 'masked_mean((pg_loss2 > pg_loss1).float(), mask)', '(pg_loss2 > pg_loss1).float().mean()'),
    ('entropy over padding', 'ppo.RLHFTrainer.compute_loss', 'masked_mean(entropy, rollout.response_mask)', 'entropy.mean()'),
    ('KL over padding (metrics)', 'train.rollout_metrics', '(x*rollout.response_mask).sum(1)', 'x.sum(1)'),
    ('KL over padding (evaluation)', 'evaluate.sequence_kl', '*rollout.response_mask', ''),
    ('padding after EOS earns negative KL', 'advantage.shape_rewards', 'return rewards.masked_fill(response_mask == 0, 0)', 'return rewards'),
    ('the padding after EOS is scored', 'speed.score_packed', 'mask[:, -response_length:].bool()', 'torch.ones_like(mask[:, -response_length:]).bool()'),
    ('the state after the last token has a value', 'advantage.compute_advantage_and_return', 'torch.zeros_like(values[:, :1])', 'values[:, -1:]'),
    ('score on the last column, not on the last token', 'advantage.shape_rewards', 'response_mask.cumsum(1) == response_mask.sum(1, keepdim=True)', 'torch.arange(response_mask.shape[1]) == response_mask.shape[1] - 1'),
    ('reference is trained too', 'ppo.RLHFTrainer.__init__', '.requires_grad_(False)', ''),
    ('weight decay', 'ppo.RLHFTrainer.__init__', 'weight_decay=0.0', 'weight_decay=0.01'),
    ("PyTorch's default epsilon", 'ppo.RLHFTrainer.__init__', 'eps=config.adam_epsilon, ', ''),
    ('learning rate that does not fall', 'ppo.RLHFTrainer.update', 'self.scheduler.step()', 'pass'),
    ('gradients of the step before are kept', 'ppo.RLHFTrainer.learn', 'self.optimizer.zero_grad()', 'pass'),
    ('gradients are not clipped', 'ppo.RLHFTrainer.step', 'torch.nn.utils.clip_grads_with_norm_(', '('),
    ('value head not at zero', 'agent.Agent.__init__', 'nn.init.zeros_(self.value_head.weight)', 'nn.init.normal_(self.value_head.weight)'),
    ('loss on the prompt as well', 'sft.batch_loss', "batch['response_mask'])", "batch['mask'])"),
    ('labels not shifted', 'sft.sft_loss', 'logits[:, :-1]', 'logits[:, 1:]'),
]
QUIET = {'print', 'warn', 'exit', 'set_postfix', 'set_postfix_str', 'add_argument', 'set', 'legend'}  # calls that compute nothing
SWITCHES = {'device', 'logits_to_keep', 'use_cache', 'fused', 'mininterval', 'desc', 'total', 'initial', 'help', 'timeout', 'daemon', 'indent', 'ensure_ascii', 'capture_output', 'encoding', 'errors', 'layout', 'style', 'description'}
SWAP = {ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div], ast.Div: [ast.Mult], ast.FloorDiv: [ast.Mult], ast.Mod: [ast.FloorDiv], ast.Pow: [ast.Mult], ast.BitAnd: [ast.BitOr], ast.BitOr: [ast.BitAnd],
        ast.And: [ast.Or], ast.Or: [ast.And], ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Is: [ast.IsNot], ast.IsNot: [ast.Is], ast.In: [ast.NotIn], ast.NotIn: [ast.In],
        ast.Lt: [ast.GtE, ast.LtE], ast.LtE: [ast.Gt, ast.Lt], ast.Gt: [ast.LtE, ast.GtE], ast.GtE: [ast.Lt, ast.Gt]}
NAMES = {'min': 'max', 'any': 'all', 'argmin': 'argmax', 'mean': 'sum', 'minimum': 'maximum', 'zeros_like': 'ones_like', 'rsqrt': 'sqrt', 'triu': 'tril'}
NAMES |= {new: old for old, new in NAMES.items()}


def changes(node, parent, field):
    "What may stand in place of a node: pairs of operator and new node."
    def with_(**fields): new = copy.copy(node); vars(new).update(fields); return new
    kind, in_index = type(node), isinstance(parent, ast.Slice) or isinstance(parent, (ast.Subscript, ast.UnaryOp)) or (isinstance(parent, ast.Tuple) and getattr(parent, 'is_index', False))
    if kind in (ast.BinOp, ast.AugAssign):
        for op in SWAP.get(type(node.op), []): yield 'operator', with_(op=op())
    if kind is ast.BinOp and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.BitAnd, ast.BitOr)):
        yield 'missing term', node.left
        if not isinstance(node.op, ast.Div): yield 'missing term', node.right
    if kind is ast.BoolOp:
        yield 'operator', with_(op=SWAP[type(node.op)][0]())
        for k in range(len(node.values)): yield 'missing term', with_(values=node.values[:k] + node.values[k + 1:]) if len(node.values) > 2 else node.values[1 - k]
    if kind is ast.Compare:
        for k, op in enumerate(node.ops):
            for new in SWAP[type(op)]: yield 'comparison', with_(ops=[*node.ops[:k], new(), *node.ops[k + 1:]])
    if kind is ast.UnaryOp and not isinstance(node.operand, ast.Constant): yield 'sign' if isinstance(node.op, ast.USub) else 'negation', node.operand
    if kind is ast.IfExp: yield 'branch', with_(body=node.orelse, orelse=node.body)
    if kind is ast.Name and isinstance(node.ctx, ast.Load) and node.id in NAMES and field == 'func': yield 'wrong function', with_(id=NAMES[node.id])
    if kind is ast.Attribute and node.attr in NAMES and field == 'func': yield 'wrong function', with_(attr=NAMES[node.attr])
    if kind is ast.Constant and isinstance(node.value, bool): yield 'constant', with_(value=not node.value)
    elif kind is ast.Constant and isinstance(node.value, (int, float)) and not 0 < abs(node.value) < 1e-4: yield 'index' if in_index else 'constant', with_(value=node.value + 1)
    if field in ('lower', 'upper') and isinstance(parent, ast.Slice) and kind is not ast.Constant: yield 'index', ast.BinOp(node, ast.Add(), ast.Constant(1))
    if kind is ast.comprehension and node.ifs: yield 'condition', with_(ifs=node.ifs[1:])
    if kind is ast.Call:
        if isinstance(node.func, ast.Attribute) and node.func.attr in ('masked_fill', 'clamp', 'float', 'flip', 'exp', 'cumsum', 'sort_values', 'argsort', 'requires_grad_', 'eval', 'abs', 'strip', 'lower', 'reversed'): yield 'missing call', node.func.value
        for k in range(len(node.args) - 1) if getattr(node.func, 'attr', getattr(node.func, 'id', '')) not in ('min', 'max', 'minimum', 'maximum') else ():  # whose order does not matter
            a, b = node.args[k:k + 2]
            if ast.dump(a) != ast.dump(b) and not {type(a), type(b)} & {ast.Starred, ast.Lambda, ast.GeneratorExp}: yield 'swapped arguments', with_(args=[*node.args[:k], b, a, *node.args[k + 2:]])
        for k, word in enumerate(node.keywords):
            if word.arg and word.arg not in SWITCHES | {'min', 'max'}: yield 'missing argument', with_(keywords=node.keywords[:k] + node.keywords[k + 1:])
    if kind is ast.Return and isinstance(node.value, ast.Tuple):
        for k in range(len(node.value.elts) - 1): yield 'swapped results', with_(value=ast.Tuple([*node.value.elts[:k], *reversed(node.value.elts[k:k + 2]), *node.value.elts[k + 2:]], ast.Load()))
    again = kind is ast.Assign and all(isinstance(t, ast.Name) and t.id in parent_names(parent, node) for t in node.targets)
    refuses = kind is ast.If and isinstance(node.body[0], ast.Raise) and not node.orelse
    calls = kind is ast.Expr and isinstance(node.value, ast.Call)
    if again or refuses or calls or kind is ast.AugAssign: yield 'missing statement', ast.Pass()


def parent_names(function, before):
    "The names that a function has given a value before a statement."
    names = set() if not isinstance(function, ast.FunctionDef) else {arg.arg for arg in function.args.args + function.args.kwonlyargs}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.lineno < before.lineno: names.add(node.id)
    return names


def places(tree):
    "Every node of a function that computes something, with its parent and a function that puts another in its place; strings, annotations, defaults and messages do not."
    for field, value in ast.iter_fields(tree):
        if field in ('annotation', 'returns', 'decorator_list', 'defaults', 'kw_defaults', 'ctx', 'op', 'ops', 'targets', 'target', 'exc'): continue
        if isinstance(tree, ast.Subscript) and isinstance(value, ast.Tuple): value.is_index = True
        for k, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(node, ast.AST) or isinstance(node, (ast.JoinedStr, ast.Raise)) or isinstance(node, ast.keyword) and node.arg in SWITCHES: continue
            call = node.value if isinstance(node, ast.Expr) else node
            if isinstance(call, ast.Call) and getattr(call.func, 'attr', getattr(call.func, 'id', '')) in QUIET or isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant): continue
            def put(new, value=value, k=k, tree=tree, field=field):
                if k is None: setattr(tree, field, new)
                else: value[k] = new
            yield node, tree, field, put
            yield from places(node)


def mutate(function, limit):
    "Up to `limit` changed copies of a function, spread over operators: pairs of operator and function."
    found, text = defaultdict(list), ast.unparse(function)
    for i, (node, parent, field, _) in enumerate(places(function)):
        for j, (operator, _) in enumerate(changes(node, parent, field)): found[operator].append((hashlib.sha256(f'{function.name}{i}/{j}'.encode()).hexdigest(), i, j))
    turns = sorted((turn, pick[0], operator, *pick[1:]) for operator, picks in found.items() for turn, pick in enumerate(sorted(picks)))
    seen = {text}
    for _, _, operator, i, j in turns:
        new = copy.deepcopy(function)
        node, parent, field, put = list(places(new))[i]
        put(ast.copy_location(list(changes(node, parent, field))[j][1], node))
        ast.fix_missing_locations(new)
        if ast.unparse(new) in seen: continue
        seen.add(ast.unparse(new))
        yield operator, new
        if len(seen) > limit: return


def difference(old, new):
    "One line: what stood there, and what stands there now."
    for a, b in zip(ast.unparse(old).split('\n'), ast.unparse(new).split('\n')):
        if a != b: break
    a, b = a.strip(), b.strip()
    start = len(os.path.commonprefix([a, b]))
    end = min(len(os.path.commonprefix([a[::-1], b[::-1]])), min(len(a), len(b)) - start)
    start, end = max(0, a.rfind(' ', 0, max(0, start - 24)) + 1), max(0, end - 24)
    return f'{a[start:len(a) - end]}  →  {b[start:len(b) - end]}'


def functions(module):
    "Every function, method and patched method of a module: name, node, and the id of the cell that it comes from."
    text = (PACKAGE/f'{module}.py').read_text()
    cells = [(text.count('\n', 0, m.start()) + 1, m[1]) for m in re.finditer(r'^# %% \S+ #(\w+)$', text, re.M)]
    tree = ast.parse(text)
    for outer in tree.body:
        for node in outer.body if isinstance(outer, ast.ClassDef) else [outer]:
            if not isinstance(node, ast.FunctionDef): continue
            owner = outer.name if isinstance(outer, ast.ClassDef) else ''
            if any('patch' in ast.unparse(d) for d in node.decorator_list): owner = ast.unparse(node.args.args[0].annotation)
            yield '.'.join(filter(None, (module, owner, node.name))), node, next(cell for line, cell in reversed(cells) if line < node.lineno), tree


def code_of(tree, node, new, path):
    "The code object that `node`'s function would have if its source were `new`."
    body, owner = (tree.body, '') if node in tree.body else next((c.body, c.name) for c in tree.body if isinstance(c, ast.ClassDef) and node in c.body)
    k = body.index(node); body[k] = new
    try: todo = [compile(tree, str(path), 'exec')]
    finally: body[k] = node
    while todo:
        code = todo.pop()
        if code.co_name == node.name and code.co_firstlineno == first_line(node): return code
        todo += [c for c in code.co_consts if isinstance(c, CodeType)]


def first_line(node): return min([node.lineno, *(d.lineno for d in node.decorator_list)])


def in_children(tasks, work, limit, workers=1, quiet=True):
    "Do each task in a fork of its own; yields task and result as they come, 'time limit' for what takes longer than `limit(task)` seconds."
    waiting, running = list(tasks)[::-1], {}
    while waiting or running:
        while waiting and len(running) < workers:
            task, (read, write) = waiting.pop(), os.pipe()
            if not (pid := os.fork()):
                for fd in (1, 2) if quiet else (): os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
                try: result = work(task)
                except BaseException as error: result = f'{type(error).__name__}: {error}'[:200]
                with open(write, 'w') as pipe: json.dump(result, pipe)
                os._exit(0)
            os.close(write)
            running[read] = task, pid, time.monotonic() + limit(task)
        ready = select.select(running, [], [], 0.2)[0]
        for fd, (task, pid, end) in list(running.items()):
            if fd in ready:
                with open(fd) as pipe: result = json.loads(pipe.read() or '"died"')
            elif time.monotonic() > end: os.kill(pid, signal.SIGKILL); os.close(fd); result = 'time limit'
            else: continue
            os.waitpid(pid, 0); del running[fd]
            yield task, result


class Callers:
    "A pytest plugin: which function of the package each test calls, and how long it takes; what is called while a file is read or a fixture is made counts for all tests of the file."
    def __init__(self): self.seen, self.now, self.seconds, self.failed = defaultdict(set), '', {}, []

    def profile(self, frame, event, _):
        if event == 'call' and frame.f_code.co_filename.startswith(f'{PACKAGE}/'): self.seen[self.now].add((Path(frame.f_code.co_filename).stem, frame.f_lineno))

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector): self.now = collector.nodeid; return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item): self.now = item.nodeid.split('::')[0]; return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item): self.now = item.nodeid; return (yield)

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0) + report.duration
        if report.failed: self.failed.append(report.nodeid)

    def pytest_collectreport(self, report):
        if report.failed: self.failed.append(report.nodeid)


def run_tests(tests, callers):
    os.chdir(ROOT)
    return pytest.main(['-q', '--assert=plain', '-p', 'no:cacheprovider', '-p', 'no:unraisableexception', '-W', 'ignore', *tests], [callers])  # what costs a second each time is left out


def baseline(files):
    "The fast tests as they are: which test calls what, how long each takes, and what they import."
    callers = Callers()
    sys.setprofile(callers.profile)
    run_tests(files, callers)
    sys.setprofile(None)
    return {'failed': callers.failed, 'seconds': callers.seconds,
            'seen': {test: sorted(lines) for test, lines in callers.seen.items()}, 'imports': [m for m in sys.modules if not m.startswith(('test_', '__', '_'))]}


def fast_tests(mutants, workers):
    "Stage one."
    files = [str(path.relative_to(ROOT)) for name in FAST if (path := ROOT/'tests'/f'{name}.py').exists()]
    if not files: return
    _, base = next(in_children([None], lambda _: baseline(files), lambda _: 600))
    if isinstance(base, str): sys.exit(f'the fast tests cannot be run: {base}')
    if base['failed']: print('left out, as they fail already:', *base['failed'], flush=True)
    print(f"{len(base['seconds'])} fast tests, {sum(base['seconds'].values()):.0f} seconds", flush=True)
    for name in base['imports']:
        try: importlib.import_module(name)
        except Exception: pass  # a name that only its parent can import
    originals = defaultdict(list)
    for f in gc.get_objects():
        if isinstance(f, FunctionType) and f.__code__.co_filename.startswith(f'{PACKAGE}/'): originals[Path(f.__code__.co_filename).stem, f.__code__.co_firstlineno].append(f)
    def concerning(m):
        lines = [m['module'], range(first_line(m['node']), m['node'].end_lineno + 1)]
        where = {name for name, seen in base['seen'].items() if any(module == lines[0] and line in lines[1] for module, line in seen)}
        return sorted((t for t in base['seconds'] if t not in base['failed'] and (t in where or t.split('::')[0] in where)), key=base['seconds'].get)
    def work(m):
        code = code_of(m['tree'], m['node'], m['new'], PACKAGE/f"{m['module']}.py")
        try:
            for f in originals[m['module'], first_line(m['node'])]:
                if f.__code__.co_name == m['node'].name: f.__code__ = code
        except ValueError: return ''  # a method that no longer calls `super` cannot be changed in place: left to the lesson
        callers = Callers()
        result = run_tests(['-x', *m['tests']], callers)
        return (callers.failed or ['pytest stopped'])[0] if result else ''
    for m in mutants: m['tests'] = concerning(m)
    gc.collect(); gc.freeze()  # the children need not look through what the parent made
    for k, (m, noticed) in enumerate(in_children([m for m in mutants if m['tests']], work, lambda m: 20 + 4*sum(base['seconds'][t] for t in m['tests']), workers), 1):
        m['noticed'] = noticed and noticed.replace('tests/', '')
        print(f"{k:4} {'test  ' if noticed else 'ALIVE '} {m['function']}: {m['difference']}  {m['noticed']}", flush=True)


def lesson_of(module): return next(path for path in LESSONS.rglob('*.ipynb') if f'default_exp {module}\n' in ''.join(''.join(c['source']) + '\n' for c in json.loads(path.read_text())['cells']))


def lesson(module, mutants, workers):
    "Stage two."
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config
    path, config = lesson_of(module), Config()
    config.HistoryManager.enabled = False
    cells = [(k, cell['id'], ''.join(cell['source'])) for k, cell in enumerate(json.loads(path.read_text())['cells']) if cell['cell_type'] == 'code' and '#| eval: false' not in ''.join(cell['source'])]
    os.chdir(path.parent)
    shell = InteractiveShell.instance(config=config)
    shell.showtraceback = shell.showsyntaxerror = lambda *args, **kwargs: None
    def run(source):
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()): result = shell.run_cell(source)
        return result.error_in_exec or result.error_before_exec
    def going_on(position, source):
        began = time.monotonic()
        for k, _, text in [(cells[position][0], None, source), *cells[position + 1:position + 1 + CELLS]]:
            error = run(text)
            if error: return {'noticed': f'{path.stem}, cell {k}: ' + next((line for line in text.split('\n') if not line.startswith('#|')), '')[:60]}
            if time.monotonic() - began > SECONDS: break
        return {'seconds': time.monotonic() - began}
    def changed(m):
        tree = ast.parse(m['source'])
        for outer in ast.walk(tree):
            for k, node in enumerate(getattr(outer, 'body', []) if isinstance(outer, (ast.Module, ast.ClassDef)) else []):
                if isinstance(node, ast.FunctionDef) and node.name == m['node'].name: outer.body[k] = m['new']
        return ast.unparse(tree)
    for position, (k, cell, source) in enumerate(cells):
        here = [m | {'source': source, 'mutant': m} for m in mutants if m['cell'] == cell]
        if here:
            _, base = next(in_children([None], lambda _: going_on(position, source), lambda _: 600))
            if 'seconds' not in base: print(f'{path.stem} fails as it is, after cell {k}: {base}', flush=True); break
            for m, result in in_children(here, lambda m: going_on(position, changed(m)), lambda _: 20 + 3*base['seconds'], workers):
                noticed = result.get('noticed', '') if isinstance(result, dict) else f'{path.stem}: {result}' if result in ('time limit', 'died') else ''
                m['mutant']['noticed'] = noticed
                print(f"     {'lesson' if noticed else 'ALIVE '} {m['function']}: {m['difference']}  {noticed}", flush=True)
            if not [m for m in mutants if m['cell'] in {c for _, c, _ in cells[position + 1:]}]: break
        if error := run(source): print(f'{path.stem} fails as it is, in cell {k}: {error!r}', flush=True); break
    return [m['noticed'] for m in mutants]


def classic(bugs, listed):
    "The bugs that are written down."
    for bug, function, before, after in bugs:
        module = function.split('.')[0]
        text = (PACKAGE/f'{module}.py').read_text()
        name, node, cell, tree = next(f for f in listed if f[0] == function)
        lines = text.split('\n')
        source = '\n'.join(lines[:first_line(node) - 1]) + '\n' + (old := '\n'.join(lines[first_line(node) - 1:node.end_lineno])).replace(before, after) + '\n'
        if before not in old: sys.exit(f'{bug}: {function} no longer holds {before!r}')
        new = next(n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef) and n.name == node.name and first_line(n) == first_line(node))
        yield {'function': name, 'operator': 'classic', 'difference': bug, 'node': node, 'new': new, 'tree': tree, 'cell': cell, 'module': module}


def summary(mutants):
    "A table: a row for each module, and one for all."
    print('\n| module | functions | mutants | noticed by a fast test | by the lesson | by nobody | noticed |\n|:--|--:|--:|--:|--:|--:|--:|')
    for name in [*dict.fromkeys(m['module'] for m in mutants), 'all']:
        own = [m for m in mutants if name in (m['module'], 'all')]
        count = Counter('nobody' if not m['noticed'] else 'test' if m['noticed'].startswith(('test_', 'pytest', 'time', 'died')) else 'lesson' for m in own)
        print(f"| {name} | {len({m['function'] for m in own})} | {len(own)} | {count['test']} | {count['lesson']} | {count['nobody']} | {1 - count['nobody']/len(own):.0%} |")
    for m in mutants:
        if not m['noticed']: print(f"by nobody: {m['function']}: {m['difference']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--only', nargs='+', metavar='MODULE', help='by default all')
    parser.add_argument('--limit', type=int, default=6, help='mutants of each function')
    parser.add_argument('--classic', action='store_true', help='only the classic bugs')
    parser.add_argument('--again', type=Path, help='only what nobody noticed in this earlier result')
    parser.add_argument('--no-lessons', action='store_true', help='stage one only')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--out', type=Path, help='JSON lines: function, operator, difference, noticed')
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    sys.path.insert(0, str(ROOT/'tests'))
    modules = args.only or sorted(path.stem for path in PACKAGE.glob('*.py') if not path.stem.startswith('_'))
    for module in modules: importlib.import_module(f'rlhf_nbdev.{module}')
    listed = [f for module in modules for f in functions(module)]
    mutants = list(classic([bug for bug in CLASSIC if bug[1].split('.')[0] in modules], listed))
    for name, node, cell, tree in listed if not args.classic else []:
        if not any(fnmatch(name, pattern) for pattern in LEFT_OUT):
            mutants += [{'function': name, 'operator': operator, 'difference': difference(node, new), 'node': node, 'new': new, 'tree': tree, 'cell': cell, 'module': name.split('.')[0]}
                        for operator, new in mutate(node, args.limit)]
    mutants = [m | {'noticed': ''} for m in mutants if (m['function'], m['difference']) not in EQUIVALENT]
    if args.again:
        alive = {(m['function'], m['difference']) for m in map(json.loads, args.again.read_text().splitlines()) if not m['noticed']}
        mutants = [m for m in mutants if (m['function'], m['difference']) in alive]
    print(f'{len(mutants)} mutants of {len({m["function"] for m in mutants})} functions', flush=True)
    fast_tests(mutants, args.workers)
    for module in modules if not args.no_lessons else []:
        alive = [m for m in mutants if m['module'] == module and not m['noticed']]
        for _, results in in_children([None] if alive else [], lambda _: lesson(module, alive, args.workers), lambda _: 3600, quiet=False):
            for m, noticed in zip(alive, results): m['noticed'] = noticed
    if args.out: args.out.write_text(''.join(json.dumps({key: m[key] for key in ('function', 'operator', 'difference', 'noticed')}, ensure_ascii=False) + '\n' for m in mutants))
    summary(mutants)


if __name__ == '__main__': main()
