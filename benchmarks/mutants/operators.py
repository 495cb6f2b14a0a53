"What may stand in place of a node of a function: the operators of mutation."
import ast
import copy
import hashlib
import os
from collections import defaultdict
from dataclasses import dataclass

# Calls that compute nothing: they print, warn, draw or describe.
SILENT_CALLS = {
    'print', 'warn', 'exit', 'set_postfix', 'set_postfix_str', 'add_argument', 'set', 'legend'}

# Arguments that change how something is done or shown, and no number.
HARMLESS_ARGUMENTS = {
    'device', 'logits_to_keep', 'use_cache', 'fused', 'mininterval', 'desc', 'total', 'initial',
    'help', 'timeout', 'daemon', 'indent', 'ensure_ascii', 'capture_output', 'encoding', 'errors',
    'layout', 'style', 'description'}

OPERATORS = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Mult],
    ast.Mod: [ast.FloorDiv],
    ast.Pow: [ast.Mult],
    ast.BitAnd: [ast.BitOr],
    ast.BitOr: [ast.BitAnd],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
}
COMPARISONS = {
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.Lt: [ast.GtE, ast.LtE],
    ast.LtE: [ast.Gt, ast.Lt],
    ast.Gt: [ast.LtE, ast.GtE],
    ast.GtE: [ast.Lt, ast.Gt],
}
TERMS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.BitAnd, ast.BitOr)  # of which one may be missing

OPPOSITES = {
    'min': 'max', 'any': 'all', 'argmin': 'argmax', 'mean': 'sum', 'minimum': 'maximum',
    'zeros_like': 'ones_like', 'rsqrt': 'sqrt', 'triu': 'tril'}
OPPOSITES |= {new: old for old, new in OPPOSITES.items()}
SYMMETRIC = ('min', 'max', 'minimum', 'maximum')  # the order of their arguments does not matter

# Methods that may have been forgotten: x.clamp(…) becomes x.
FORGETTABLE = (
    'masked_fill', 'clamp', 'float', 'flip', 'exp', 'cumsum', 'sort_values', 'argsort',
    'requires_grad_', 'eval', 'abs', 'strip', 'lower', 'reversed')


@dataclass
class Place:
    "A node within a function that may be exchanged."
    node: ast.AST
    parent: ast.AST
    field: str  # of the parent, in which the node is
    position: int | None  # in the field, if that is a list
    in_index: bool  # the parent is a tuple between square brackets

    def put(self, new):
        if self.position is None:
            setattr(self.parent, self.field, new)
        else:
            getattr(self.parent, self.field)[self.position] = new


def replaced(node, **fields):
    "A copy of a node with other fields."
    new = copy.copy(node)
    vars(new).update(fields)
    return new


def called_name(call):
    "The last part of the name of what is called, or ''."
    return getattr(call.func, 'attr', getattr(call.func, 'id', ''))


def without(sequence, k):
    return [*sequence[:k], *sequence[k + 1:]]


def swapped(sequence, k):
    "A list with the entries k and k + 1 exchanged."
    return [*sequence[:k], sequence[k + 1], sequence[k], *sequence[k + 2:]]


def other_operators(node):
    if isinstance(node, (ast.BinOp, ast.AugAssign)):
        for operator in OPERATORS.get(type(node.op), []):
            yield 'operator', replaced(node, op=operator())
    if isinstance(node, ast.BinOp) and isinstance(node.op, TERMS):
        yield 'missing term', node.left
        if not isinstance(node.op, ast.Div):
            yield 'missing term', node.right


def other_conditions(node):
    if isinstance(node, ast.BoolOp):
        yield 'operator', replaced(node, op=OPERATORS[type(node.op)][0]())
        for k in range(len(node.values)):
            rest = without(node.values, k)
            new = replaced(node, values=rest) if len(rest) > 1 else rest[0]
            yield 'missing term', new
    if isinstance(node, ast.Compare):
        for k, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)]:
                yield 'comparison', replaced(node, ops=[*node.ops[:k], other(), *node.ops[k + 1:]])
    if isinstance(node, ast.UnaryOp) and not isinstance(node.operand, ast.Constant):
        kind = 'sign' if isinstance(node.op, ast.USub) else 'negation'
        yield kind, node.operand
    if isinstance(node, ast.IfExp):
        yield 'branch', replaced(node, body=node.orelse, orelse=node.body)


def other_functions(node, field):
    "max in place of min, where it is called."
    if field != 'func':
        return
    if isinstance(node, ast.Name) and node.id in OPPOSITES:
        yield 'wrong function', replaced(node, id=OPPOSITES[node.id])
    if isinstance(node, ast.Attribute) and node.attr in OPPOSITES:
        yield 'wrong function', replaced(node, attr=OPPOSITES[node.attr])


def other_constants(place):
    node, parent = place.node, place.parent
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield 'constant', replaced(node, value=not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        is_tiny = 0 < abs(node.value) < 1e-4  # an epsilon, which may be any
        is_index = place.in_index or isinstance(parent, (ast.Slice, ast.Subscript, ast.UnaryOp))
        if not is_tiny:
            yield 'index' if is_index else 'constant', replaced(node, value=node.value + 1)
    is_bound = isinstance(parent, ast.Slice) and place.field in ('lower', 'upper')
    if is_bound and not isinstance(node, ast.Constant):
        yield 'index', ast.BinOp(node, ast.Add(), ast.Constant(1))
    if isinstance(node, ast.comprehension) and node.ifs:
        yield 'condition', replaced(node, ifs=node.ifs[1:])


def other_calls(node):
    if not isinstance(node, ast.Call):
        return
    if isinstance(node.func, ast.Attribute) and node.func.attr in FORGETTABLE:
        yield 'missing call', node.func.value
    if called_name(node) not in SYMMETRIC:
        for k in range(len(node.args) - 1):
            if may_be_swapped(*node.args[k:k + 2]):
                yield 'swapped arguments', replaced(node, args=swapped(node.args, k))
    for k, keyword in enumerate(node.keywords):
        if keyword.arg and keyword.arg not in HARMLESS_ARGUMENTS | {'min', 'max'}:
            yield 'missing argument', replaced(node, keywords=without(node.keywords, k))


def may_be_swapped(a, b):
    unlike = ast.dump(a) != ast.dump(b)
    no_values = (ast.Starred, ast.Lambda, ast.GeneratorExp)
    return unlike and not isinstance(a, no_values) and not isinstance(b, no_values)


def other_results(node):
    if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
        for k in range(len(node.value.elts) - 1):
            results = ast.Tuple(swapped(node.value.elts, k), ast.Load())
            yield 'swapped results', replaced(node, value=results)


def missing_statements(node, parent):
    "A second assignment to a name, a check, a call for its effect, `x += …` may be left out."
    if isinstance(node, ast.Assign):
        known = known_names(parent, node)
        needless = all(isinstance(t, ast.Name) and t.id in known for t in node.targets)
    elif isinstance(node, ast.If):
        needless = isinstance(node.body[0], ast.Raise) and not node.orelse
    elif isinstance(node, ast.Expr):
        needless = isinstance(node.value, ast.Call)
    else:
        needless = isinstance(node, ast.AugAssign)
    if needless:
        yield 'missing statement', ast.Pass()


def known_names(parent, statement):
    "Names that have a value before a statement: arguments, and what was assigned to above it."
    names = set()
    if isinstance(parent, ast.FunctionDef):
        names |= {argument.arg for argument in parent.args.args + parent.args.kwonlyargs}
    for node in ast.walk(parent):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            if node.lineno < statement.lineno:
                names.add(node.id)
    return names


def changes(place):
    "What may stand at a place: pairs of the operator's name and a new node."
    node = place.node
    yield from other_operators(node)
    yield from other_conditions(node)
    yield from other_functions(node, place.field)
    yield from other_constants(place)
    yield from other_calls(node)
    yield from other_results(node)
    yield from missing_statements(node, place.parent)


# Fields in which nothing is computed, or nothing that a reader would call the function's work.
SKIPPED_FIELDS = (
    'annotation', 'returns', 'decorator_list', 'defaults', 'kw_defaults', 'ctx', 'op', 'ops',
    'targets', 'target', 'exc')


def computes(node):
    "Whether a node is worth a change: messages, docstrings and printing are not."
    if not isinstance(node, ast.AST) or isinstance(node, (ast.JoinedStr, ast.Raise)):
        return False
    if isinstance(node, ast.keyword) and node.arg in HARMLESS_ARGUMENTS:
        return False
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return False
    call = node.value if isinstance(node, ast.Expr) else node
    return not (isinstance(call, ast.Call) and called_name(call) in SILENT_CALLS)


def places(parent, in_index=False):
    "Every place within a node, outer ones first."
    for field, value in ast.iter_fields(parent):
        if field in SKIPPED_FIELDS:
            continue
        numbered = enumerate(value) if isinstance(value, list) else [(None, value)]
        for position, node in numbered:
            if computes(node):
                yield Place(node, parent, field, position, in_index)
                between_brackets = isinstance(parent, ast.Subscript) and field == 'slice'
                yield from places(node, between_brackets and isinstance(node, ast.Tuple))


def in_order(function):
    """Operator, place and number of each change of a function, in the order of their turns.

    Operators take turns, so that the first few changes are of many kinds; within an operator the
    order is that of a hash, the same every time."""
    found = defaultdict(list)
    for i, place in enumerate(places(function)):
        for j, (operator, _) in enumerate(changes(place)):
            name = f'{function.name}{i}/{j}'
            found[operator].append((hashlib.sha256(name.encode()).hexdigest(), i, j))
    turns = []
    for operator, picks in found.items():
        for turn, (chance, i, j) in enumerate(sorted(picks)):
            turns.append((turn, chance, operator, i, j))
    for _, _, operator, i, j in sorted(turns):
        yield operator, i, j


def changed_copy(function, i, j):
    "A copy of a function with change j at place i."
    new = copy.deepcopy(function)
    place = list(places(new))[i]
    _, node = list(changes(place))[j]
    place.put(ast.copy_location(node, place.node))
    return ast.fix_missing_locations(new)


def mutate(function, limit=None):
    "Changed copies of a function, at most `limit`: pairs of operator and syntax tree."
    texts = {ast.unparse(function)}
    for operator, i, j in in_order(function):
        new = changed_copy(function, i, j)
        text = ast.unparse(new)
        if text in texts:
            continue
        texts.add(text)
        yield operator, new
        if limit and len(texts) > limit:
            return


def difference(old, new):
    "One line: what stood there, and what stands there now."
    before, after = ast.unparse(old).split('\n'), ast.unparse(new).split('\n')
    unlike = [k for k, (a, b) in enumerate(zip(before, after)) if a != b]
    a, b = before[unlike[0]].strip(), after[unlike[0]].strip()
    start = len(os.path.commonprefix([a, b]))
    end = len(os.path.commonprefix([a[::-1], b[::-1]]))
    end = min(end, min(len(a), len(b)) - start)
    # two dozen characters on either side show where it is
    start = max(0, a.rfind(' ', 0, max(0, start - 24)) + 1)
    end = max(0, end - 24)
    return f'{a[start:len(a) - end]}  →  {b[start:len(b) - end]}'
