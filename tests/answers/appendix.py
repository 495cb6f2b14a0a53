# %% wrong check_may_look: a token sees the next one, which it is to predict
# looks ahead within its row
def my_may_look(row):
    return row[:, :, None] == row[:, None, :]

# %% wrong check_may_look: a row sees into the one before it
# causal, but rows of one bin see each other
def my_may_look(row):
    bins, width = row.shape
    return torch.ones(bins, width, width, dtype=torch.bool).tril()

# %% wrong check_may_look: looking and looked at have changed places
# upper triangle, looking and looked at mixed up
def my_may_look(row):
    return (row[:, :, None] == row[:, None, :]).triu()

# %% wrong check_may_look: an empty slot sees nothing, so its softmax is 0/0
# empty slots see nothing
def my_may_look(row):
    same = row[:, :, None] == row[:, None, :]
    real = row >= 0
    return (same & real[:, :, None] & real[:, None, :]).tril()

# %% wrong check_may_look: a token does not see itself
# nobody sees itself
def my_may_look(row):
    return (row[:, :, None] == row[:, None, :]).tril(diagonal=-1)

# %% wrong check_may_look: what may not be seen is marked, and not what may
# True where it is forbidden
def my_may_look(row):
    return ~(row[:, :, None] == row[:, None, :]).tril()

# %% wrong check_may_look: these are numbers to add to the scores (0 and -inf): True
# the numbers that are added to the scores
def my_may_look(row):
    may = (row[:, :, None] == row[:, None, :]).tril()
    return torch.zeros(may.shape).masked_fill(~may, float('-inf'))

# %% wrong check_may_look: a row sees rows of a smaller number: only its own number
# smaller row numbers count as own, right only if rows lie in falling order
def my_may_look(row):
    later_row = row[:, :, None] < row[:, None, :]
    return (~later_row).tril()

# %% wrong check_may_look: its shape is (1, 1, 3, 3), and (1, 3, 3) is right. The
# a place for the heads too
def my_may_look(row):
    return (row[:, :, None] == row[:, None, :]).tril()[:, None]

# %% wrong check_may_look: the first bin stands for all: each has rows of its own
# the first bin stands for all
def my_may_look(row):
    may = (row[0][:, None] == row[0][None, :]).tril()
    return may.expand(len(row), -1, -1)

# %% wrong check_may_look: an empty slot sees what comes later
# empty slots look at everything, later ones too, against the division by zero
def my_may_look(row):
    may = (row[:, :, None] == row[:, None, :]).tril()
    return may | (row == -1)[:, :, None]

# %% right check_may_look
# slot by slot, nested lists made a tensor
def my_may_look(row):
    return torch.tensor([[[j <= i and bin[i] == bin[j] for j in range(len(bin))]
                          for i in range(len(bin))] for bin in row.tolist()])

# %% right check_may_look
# one-hot vectors and an einsum
def my_may_look(row):
    hot = F.one_hot(row + 1).double()
    same = torch.einsum('bik,bjk->bij', hot, hot) > 0.5
    place = torch.arange(row.shape[1])
    return same & (place[:, None] >= place)

# %% right check_may_look
# an empty slot sees itself alone
def my_may_look(row):
    real = row != -1
    own = (row.unsqueeze(2) == row.unsqueeze(1)) & real.unsqueeze(2)
    return torch.logical_or(torch.tril(own), torch.eye(row.shape[1], dtype=torch.bool))

# %% right check_may_look
# numpy, difference of the rows
def my_may_look(row):
    r = row.numpy()
    return torch.from_numpy(np.tril(np.subtract(r[:, :, None], r[:, None, :]) == 0))

# %% wrong check_least_seconds: that is the forward pass alone; going back takes twice as
# the forward pass alone
def least_seconds(B, P, R, E, peak):
    L, D, V = 12, 768, 50257
    T = P + R
    F = B*(24*L*D**2*T + 4*L*D*T*(T + 1)/2) + 2*D*V*B*R
    return E*F/peak

# %% wrong check_least_seconds: the epochs are forgotten
# one epoch, E ignored
def least_seconds(B, P, R, E, peak):
    L, D, V = 12, 768, 50257
    T = P + R
    F = B*(24*L*D**2*T + 4*L*D*T*(T + 1)/2) + 2*D*V*B*R
    return 3*F/peak

# %% wrong check_least_seconds: that is the way back alone, without the forward pass
# the backward pass alone, without the forward pass
def least_seconds(B, P, R, E, peak):
    L, D, V = 12, 768, 50257
    T = P + R
    F = B*(24*L*D**2*T + 4*L*D*T*(T + 1)/2) + 2*D*V*B*R
    return 2*E*F/peak

# %% wrong check_least_seconds: the output layer is asked at the R tokens of the response
# the output layer is asked at the prompt's tokens too
def least_seconds(B, P, R, E, peak):
    L, D, V = 12, 768, 50257
    T = P + R
    F = B*(24*L*D**2*T + 4*L*D*T*(T + 1)/2) + 2*D*V*B*T
    return 3*E*F/peak

# %% wrong check_least_seconds: the output layer is asked in every row: B times R tokens
# the scored tokens of one row, not of B rows
def least_seconds(B, P, R, E, peak):
    L, D, V = 12, 768, 50257
    T = P + R
    F = B*(24*L*D**2*T + 4*L*D*T*(T + 1)/2) + 2*D*V*R
    return 3*E*F/peak

# %% wrong check_least_seconds: a token looks at those before it only, so about half of the
# whole squares of attention
def least_seconds(B, P, R, E, peak):
    L, D, V = 12, 768, 50257
    T = P + R
    F = B*(24*L*D**2*T + 4*L*D*T**2) + 2*D*V*B*R
    return 3*E*F/peak

# %% wrong check_least_seconds: the prompt goes through the network too
# prompts left out, rows of R tokens
def least_seconds(B, P, R, E, peak):
    from transformers import GPT2Config
    from rlhf_nbdev.tools.speed import forward_flops
    return 3*E*forward_flops(GPT2Config(), torch.tensor([R]*B), B*R)/peak

# %% wrong check_least_seconds: all rows are taken for one long text, whose tokens look at
# all rows as a single long one, so that they attend to each other
def least_seconds(B, P, R, E, peak):
    from transformers import GPT2Config
    from rlhf_nbdev.tools.speed import forward_flops
    return 3*E*forward_flops(GPT2Config(), torch.tensor([B*(P + R)]), B*R)/peak

# %% wrong check_least_seconds: a multiplication and an addition are two operations
# multiplications alone, additions not counted
def least_seconds(B, P, R, E, peak):
    L, D, V = 12, 768, 50257
    T = P + R
    F = B*(12*L*D**2*T + 2*L*D*T*(T + 1)/2) + D*V*B*R
    return 3*E*F/peak

# %% wrong check_least_seconds: these are operations: divide by the peak
# the operations, not the seconds
def least_seconds(B, P, R, E, peak):
    from transformers import GPT2Config
    from rlhf_nbdev.tools.speed import forward_flops
    return 3*E*forward_flops(GPT2Config(), torch.tensor([P + R]*B), B*R)

# %% wrong check_least_seconds: sampling and scoring are counted, and learning alone is
# sampling and scoring counted too
def least_seconds(B, P, R, E, peak):
    from transformers import GPT2Config
    from rlhf_nbdev.tools.speed import forward_flops
    forward = forward_flops(GPT2Config(), torch.tensor([P + R]*B), B*R)
    return (3*E + 2)*forward/peak

# %% wrong check_least_seconds: it is wrong for one row in one
# the rule of thumb, six operations for each parameter and token
def least_seconds(B, P, R, E, peak):
    return 6*124e6*B*(P + R)*E/peak

# %% wrong check_least_seconds: the output layer is missing
# the output layer forgotten
def least_seconds(B, P, R, E, peak):
    L, D = 12, 768
    T = P + R
    return 3*E*B*(24*L*D*D*T + 2*L*D*T*(T + 1))/peak

# %% right check_least_seconds
# whole numbers as a fraction, divided at the end
from fractions import Fraction

def least_seconds(B, P, R, E, peak):
    L, D, V = 12, 768, 50257
    T = P + R
    row = 24*L*D*D*T + 2*L*D*T*(T + 1) + 2*D*V*R
    return float(Fraction(3*E*B*row)/Fraction(peak))

# %% right check_least_seconds
# token by token, each with those it looks at
def least_seconds(B, P, R, E, peak):
    L, D, V = 12, 768, 50257
    row = 0
    for t in range(1, P + R + 1):
        row += L*(2*(3*D*D + D*D + 8*D*D) + 4*D*t)
        row += 2*D*V if t > P else 0
    forward = B*row
    return E*(forward + 2*forward)/peak

# %% right check_least_seconds
# float64 tensors, one row asked of forward_flops, a tensor returned
def least_seconds(B, P, R, E, peak):
    from transformers import GPT2Config
    from rlhf_nbdev.tools.speed import forward_flops
    one_row = forward_flops(GPT2Config(), torch.tensor([P + R]), R)
    return torch.tensor(one_row, dtype=torch.float64)*B*E*3/peak

# %% wrong check_replacement: a crash while the new text is written hurts the old one
# written in place
from pathlib import Path

def replace_text(path, text):
    Path(path).write_text(text, encoding='utf-8')

# %% wrong check_replacement: a crash before a rename leaves neither text: rename over
# the old file is deleted before the new one takes its name
import os
from pathlib import Path

def replace_text(path, text):
    path = Path(path)
    new = path.with_suffix('.new')
    new.write_text(text, encoding='utf-8')
    path.unlink()
    os.rename(new, path)

# %% wrong check_replacement: a crash before a rename leaves neither text: rename over
# the old file is moved away first, between two renames there is none
import os

def replace_text(path, text):
    path = str(path)
    with open(path + '.new', 'w', encoding='utf-8') as f:
        f.write(text)
    os.rename(path, path + '.bak')
    os.rename(path + '.new', path)
    os.remove(path + '.bak')

# %% wrong check_replacement: a crash while the new text is written hurts the old one
# a backup, and then written in place
import shutil
from pathlib import Path

def replace_text(path, text):
    shutil.copy(path, f'{path}.bak')
    Path(path).write_text(text, encoding='utf-8')

# %% wrong check_replacement: the new file gets its name by something else than
# written beside and then copied over, not renamed
import shutil
from pathlib import Path

def replace_text(path, text):
    path = Path(path)
    beside = path.with_name(path.name + '.tmp')
    beside.write_text(text, encoding='utf-8')
    shutil.copyfile(beside, path)
    beside.unlink()

# %% wrong check_replacement: nothing is written yet: the file still holds the old text
# the new file never takes the old one's name
from pathlib import Path

def replace_text(path, text):
    path = Path(path)
    path.with_name(path.name + '.new').write_text(text, encoding='utf-8')

# %% wrong check_replacement: a crash while the new text is written hurts the old one
# in place, and put back in an except, which a power cut does not run
from pathlib import Path

def replace_text(path, text):
    path = Path(path)
    old = path.read_text(encoding='utf-8')
    try:
        path.write_text(text, encoding='utf-8')
    except Exception:
        path.write_text(old, encoding='utf-8')
        raise

# %% wrong check_replacement: a crash while the new text is written hurts the old one
# renamed before it is written
import os

def replace_text(path, text):
    with open(f'{path}.tmp', 'w', encoding='utf-8') as f:
        os.replace(f'{path}.tmp', path)
        f.write(text)

# %% wrong check_replacement: the new file gets its name by something else than
# overwritten from the start, the rest cut off afterwards
def replace_text(path, text):
    with open(path, 'r+', encoding='utf-8') as f:
        f.write(text)
        f.truncate()

# %% wrong check_replacement: without a crash the file should hold the new text alone
# appended
def replace_text(path, text):
    with open(path, 'a', encoding='utf-8') as f:
        f.write(text)

# %% wrong check_replacement: without a crash there is no file at the end
# the rename goes the wrong way
import os
from pathlib import Path

def replace_text(path, text):
    new = Path(f'{path}.new')
    new.write_text(text, encoding='utf-8')
    os.replace(path, new)

# %% right check_replacement
# bare system calls, fsync, os.rename
import os

def replace_text(path, text):
    beside = os.fspath(path) + f'.{os.getpid()}'
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        data = memoryview(text.encode())
        while data:
            data = data[os.write(handle, data):]
        os.fsync(handle)
    finally:
        os.close(handle)
    os.rename(beside, path)

# %% right check_replacement
# a named temporary file in the same folder
import os
import tempfile
from pathlib import Path

def replace_text(path, text):
    path = Path(path)
    with tempfile.NamedTemporaryFile('w', dir=path.parent, delete=False, encoding='utf-8') as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    Path(f.name).replace(path)

# %% right check_replacement
# the package's own write_whole
from pathlib import Path

from rlhf_nbdev.tools.files import write_whole

def replace_text(path, text):
    write_whole(path, lambda new_file: Path(new_file).write_text(text, encoding='utf-8'))

# %% right check_replacement
# a folder of its own beside it, letter by letter
import os
import tempfile
from pathlib import Path

def replace_text(path, text):
    path = Path(path)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        new = os.path.join(folder, 'new')
        with open(new, 'w', encoding='utf-8') as f:
            for letter in text:
                f.write(letter)
        os.replace(new, path)

# %% wrong check_first_difference: seconds may differ
# the seconds are compared too
def first_difference(ours, theirs):
    for a, b in zip(ours, theirs):
        names = [name for name in a if a[name] != b[name]]
        if names:
            return a['update'], names

# %% wrong check_first_difference: the place in the list is given, and not the update that the
# the place in the list, not the update
def first_difference(ours, theirs):
    for i, (a, b) in enumerate(zip(ours, theirs)):
        names = [name for name in a if name != 'seconds' and a[name] != b[name]]
        if names:
            return i, names

# %% wrong check_first_difference: the update is counted from 1, and not read from the row
# counted from 1, as if the run began with update 1
def first_difference(ours, theirs):
    for update, (a, b) in enumerate(zip(ours, theirs), 1):
        names = [name for name in a if name != 'seconds' and a[name] != b[name]]
        if names:
            return update, names

# %% wrong check_first_difference: the last row that differs is given, and not the first
# the last row that differs
def first_difference(ours, theirs):
    found = None
    for a, b in zip(ours, theirs):
        names = [name for name in a if name != 'seconds' and a[name] != b[name]]
        if names:
            found = a['update'], names
    return found

# %% wrong check_first_difference: the name is given alone: a list of names is asked for
# only the first name, as a string
def first_difference(ours, theirs):
    for a, b in zip(ours, theirs):
        for name in a:
            if name != 'seconds' and a[name] != b[name]:
                return a['update'], name

# %% wrong check_first_difference: equal means equal: no tolerance
# nearly equal counts as equal
def first_difference(ours, theirs):
    for a, b in zip(ours, theirs):
        names = [n for n in a if n != 'seconds' and not math.isclose(a[n], b[n], rel_tol=1e-5)]
        if names:
            return a['update'], names

# %% wrong check_first_difference: it stops at a row in which only seconds differ
# stops at a row that differs in its seconds only, with no name
def first_difference(ours, theirs):
    for a, b in zip(ours, theirs):
        if a != b:
            return a['update'], [n for n in a if a[n] != b[n] and n != 'seconds']
    return None

# %% wrong check_first_difference: `ours` is changed in place, and whoever called still needs
# takes the seconds out of the rows it was given
def first_difference(ours, theirs):
    for a, b in zip(ours, theirs):
        a.pop('seconds', None), b.pop('seconds', None)
        if a != b:
            return a['update'], [n for n in a if a[n] != b[n]]
    return None

# %% wrong check_first_difference: only numbers that are larger in ours count: smaller ones
# only where ours is larger
def first_difference(ours, theirs):
    for a, b in zip(ours, theirs):
        names = [n for n in a if n != 'seconds' and a[n] - b[n] > 0]
        if names:
            return a['update'], names

# %% wrong check_first_difference: names of later rows are among them: only the first row that
# names of all rows that differ
def first_difference(ours, theirs):
    update, names = None, []
    for a, b in zip(ours, theirs):
        for n in a:
            if n != 'seconds' and a[n] != b[n]:
                update = update or a['update']
                if n not in names:
                    names.append(n)
    return (update, names) if names else None

# %% wrong check_first_difference: rows that differ in nothing but seconds are the same
# an empty answer for equal runs
def first_difference(ours, theirs):
    for a, b in zip(ours, theirs):
        names = [n for n in a if n != 'seconds' and a[n] != b[n]]
        if names:
            return a['update'], names
    return 0, []

# %% wrong check_first_difference: only the first row is looked at
# looks at the first row only
def first_difference(ours, theirs):
    for a, b in zip(ours, theirs):
        names = [n for n in a if n != 'seconds' and a[n] != b[n]]
        return (a['update'], names) if names else None

# %% right check_first_difference
# a generator and next
def first_difference(ours, theirs):
    found = ((a['update'], [k for k, x in a.items() if k != 'seconds' and x != b[k]])
             for a, b in zip(ours, theirs))
    return next((pair for pair in found if pair[1]), None)

# %% right check_first_difference
# backwards through copies without seconds, the earliest overwrites
def first_difference(ours, theirs):
    ours = [{k: x for k, x in row.items() if k != 'seconds'} for row in ours]
    theirs = [{k: x for k, x in row.items() if k != 'seconds'} for row in theirs]
    result = None
    for a, b in reversed(list(zip(ours, theirs))):
        if a != b:
            result = a['update'], list(filter(lambda k: a[k] != b[k], a))
    return result

# %% right check_first_difference
# sets of items, names in the order of the alphabet
def first_difference(ours, theirs):
    for a, b in zip(ours, theirs):
        names = {name for name, _ in set(a.items()) ^ set(b.items())} - {'seconds'}
        if names:
            return (a['update'], sorted(names))
    return None

# %% right check_first_difference
# texts of the numbers are compared, so that NaN equals NaN
def first_difference(ours, theirs):
    for a, b in zip(ours, theirs):
        names = [n for n in a if n != 'seconds' and repr(float(a[n])) != repr(float(b[n]))]
        if names:
            return a['update'], names
    return None

# %% wrong check_kl_reversed: nothing changed inside the `with`: patch the name in
# replaced where it is defined, not where the loop looks it up
from contextlib import contextmanager
from unittest.mock import patch as replace

from rlhf_nbdev.advantage import shape_rewards

@contextmanager
def kl_reversed(agent):
    def reversed_(scores, logprobs, ref_logprobs, response_mask, beta):
        return shape_rewards(scores, logprobs, ref_logprobs, response_mask, -beta)
    with replace('rlhf_nbdev.advantage.shape_rewards', reversed_):
        yield

# %% wrong check_kl_reversed: the bug is still there after the `with`: put back what was
# never put back
from contextlib import contextmanager

import rlhf_nbdev.train
from rlhf_nbdev.advantage import shape_rewards

@contextmanager
def kl_reversed(agent):
    def reversed_(scores, logprobs, ref_logprobs, response_mask, beta):
        return shape_rewards(scores, logprobs, ref_logprobs, response_mask, -beta)
    rlhf_nbdev.train.shape_rewards = reversed_
    yield

# %% wrong check_kl_reversed: the bug is still there after a run that failed: use
# after an error within it the bug stays
from contextlib import contextmanager

import rlhf_nbdev.train
from rlhf_nbdev.advantage import shape_rewards

@contextmanager
def kl_reversed(agent):
    old = rlhf_nbdev.train.shape_rewards
    def reversed_(scores, logprobs, ref_logprobs, response_mask, beta):
        return shape_rewards(scores, logprobs, ref_logprobs, response_mask, -beta)
    rlhf_nbdev.train.shape_rewards = reversed_
    yield
    rlhf_nbdev.train.shape_rewards = old

# %% wrong check_kl_reversed: it ends in RecursionError: maximum recursion depth exceeded
# calls itself without end
from contextlib import contextmanager
from unittest.mock import patch as replace

import rlhf_nbdev.train

@contextmanager
def kl_reversed(agent):
    def reversed_(scores, logprobs, ref_logprobs, response_mask, beta):
        return rlhf_nbdev.train.shape_rewards(scores, logprobs, ref_logprobs, response_mask, -beta)
    with replace('rlhf_nbdev.train.shape_rewards', reversed_):
        yield

# %% wrong check_kl_reversed: the score has changed its sign too: only the penalty is to
# the rewards turned round, the scores too
from contextlib import contextmanager
from unittest.mock import patch as replace

from rlhf_nbdev.advantage import shape_rewards

@contextmanager
def kl_reversed(agent):
    with replace('rlhf_nbdev.train.shape_rewards', lambda *args: -shape_rewards(*args)):
        yield

# %% wrong check_kl_reversed: with all scores zero, the rewards should be those of before
# a fixed β in place of the loop's
from contextlib import contextmanager
from unittest.mock import patch as replace

from rlhf_nbdev.advantage import shape_rewards

@contextmanager
def kl_reversed(agent):
    def reversed_(scores, logprobs, ref_logprobs, response_mask, beta=0.08):
        return shape_rewards(scores, logprobs, ref_logprobs, response_mask, -0.08)
    with replace('rlhf_nbdev.train.shape_rewards', reversed_):
        yield

# %% wrong check_kl_reversed: with all scores zero, the rewards should be those of before
# no KL at all, β of 0
from contextlib import contextmanager
from unittest.mock import patch as replace

from rlhf_nbdev.advantage import shape_rewards

@contextmanager
def kl_reversed(agent):
    def reversed_(scores, logprobs, ref_logprobs, response_mask, beta):
        return shape_rewards(scores, logprobs, ref_logprobs, response_mask, 0.0)
    with replace('rlhf_nbdev.train.shape_rewards', reversed_):
        yield

# %% wrong check_kl_reversed: it ends in TypeError: 'generator' object does not support
# a bare generator, the decorator forgotten
from unittest.mock import patch as replace

from rlhf_nbdev.advantage import shape_rewards

def kl_reversed(agent):
    def reversed_(scores, logprobs, ref_logprobs, response_mask, beta):
        return shape_rewards(scores, logprobs, ref_logprobs, response_mask, -beta)
    with replace('rlhf_nbdev.train.shape_rewards', reversed_):
        yield

# %% wrong check_kl_reversed: it ends in TypeError: kl_reversed.<locals>.reversed_()
# β by keyword only, the loop gives it by place
from contextlib import contextmanager
from unittest.mock import patch as replace

from rlhf_nbdev.advantage import shape_rewards

@contextmanager
def kl_reversed(agent):
    def reversed_(scores, logprobs, ref_logprobs, response_mask, *, beta):
        return shape_rewards(scores, logprobs, ref_logprobs, response_mask, beta=-beta)
    with replace('rlhf_nbdev.train.shape_rewards', reversed_):
        yield

# %% wrong check_kl_reversed: nothing changed inside the `with`: patch the name in
# the yield stands after the with, so that nothing is replaced any more
from contextlib import contextmanager
from unittest.mock import patch as replace

from rlhf_nbdev.advantage import shape_rewards

@contextmanager
def kl_reversed(agent):
    def reversed_(scores, logprobs, ref_logprobs, response_mask, beta):
        return shape_rewards(scores, logprobs, ref_logprobs, response_mask, -beta)
    with replace('rlhf_nbdev.train.shape_rewards', reversed_):
        pass
    yield

# %% wrong check_kl_reversed: it ends in TypeError: 'float' object is not callable
# replaces it by a number's negative, not by a function
from contextlib import contextmanager
from unittest.mock import patch as replace

@contextmanager
def kl_reversed(agent):
    with replace('rlhf_nbdev.train.shape_rewards', -0.08):
        yield

# %% right check_kl_reversed
# a class with enter and exit
import rlhf_nbdev.train

class kl_reversed:
    def __init__(self, agent):
        self.agent = agent

    def __enter__(self):
        self.before = before = rlhf_nbdev.train.shape_rewards
        def paid(scores, logprobs, ref_logprobs, response_mask, beta=0.08):
            return before(scores, logprobs, ref_logprobs, response_mask, beta=-beta)
        rlhf_nbdev.train.shape_rewards = paid

    def __exit__(self, *error):
        rlhf_nbdev.train.shape_rewards = self.before

# %% right check_kl_reversed
# the patch itself is the context manager, nothing is decorated
from unittest.mock import patch

import rlhf_nbdev.train
from rlhf_nbdev.advantage import shape_rewards

def kl_reversed(agent):
    return patch.object(rlhf_nbdev.train, 'shape_rewards',
                        lambda *args: shape_rewards(*args[:-1], -args[-1]))

# %% right check_kl_reversed
# arguments bound to the signature, by place or by name, try and finally
import inspect
from contextlib import contextmanager

import rlhf_nbdev.train as train

@contextmanager
def kl_reversed(agent):
    original = train.shape_rewards
    signature = inspect.signature(original)
    def wrapped(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        bound.arguments['beta'] = -bound.arguments['beta']
        return original(*bound.args, **bound.kwargs)
    setattr(train, 'shape_rewards', wrapped)
    try:
        yield agent
    finally:
        setattr(train, 'shape_rewards', original)

# %% wrong check_welch: the variances were divided by n: with three runs, divide by
# numpy's variance, divided by n
def my_welch(a, b):
    a, b = np.asarray(a, float), np.asarray(b, float)
    return (a.mean() - b.mean())/np.sqrt(a.var()/len(a) + b.var()/len(b))

# %% wrong check_welch: the variances are pooled, as if both groups had the same
# one pooled variance, as Student's t has it
def my_welch(a, b):
    a, b = np.asarray(a, float), np.asarray(b, float)
    n, m = len(a), len(b)
    pooled = ((n - 1)*a.var(ddof=1) + (m - 1)*b.var(ddof=1))/(n + m - 2)
    return (a.mean() - b.mean())/np.sqrt(pooled*(1/n + 1/m))

# %% wrong check_welch: the root of the variance is missing
# the root is missing
def my_welch(a, b):
    a, b = np.asarray(a, float), np.asarray(b, float)
    return (a.mean() - b.mean())/(a.var(ddof=1)/len(a) + b.var(ddof=1)/len(b))

# %% wrong check_welch: a standard deviation is not a standard error: divide each
# spread of the runs, not of their means
def my_welch(a, b):
    a, b = np.asarray(a, float), np.asarray(b, float)
    return (a.mean() - b.mean())/np.sqrt(a.var(ddof=1) + b.var(ddof=1))

# %% wrong check_welch: standard errors do not add up: their squares do
# the standard errors are added, not their squares
def my_welch(a, b):
    a, b = np.asarray(a, float), np.asarray(b, float)
    se = a.std(ddof=1)/len(a)**0.5 + b.std(ddof=1)/len(b)**0.5
    return (a.mean() - b.mean())/se

# %% right check_welch
# None
def my_welch(a, b):
    a, b = np.asarray(a, float), np.asarray(b, float)
    return abs(a.mean() - b.mean())/np.sqrt(a.var(ddof=1)/len(a) + b.var(ddof=1)/len(b))

# %% wrong check_welch: a group may have more than three runs
# always three runs
def my_welch(a, b):
    a, b = np.asarray(a, float), np.asarray(b, float)
    return (a.mean() - b.mean())/np.sqrt((a.var(ddof=1) + b.var(ddof=1))/3)

# %% wrong check_welch: what is returned is not made of numbers. The case: it is
# the runs paired by seed
def my_welch(a, b):
    d = np.asarray(a, float) - np.asarray(b, float)
    return d.mean()/(d.std(ddof=1)/np.sqrt(len(d)))

# %% right check_welch
# None
def my_welch(a, b):
    a, b = np.asarray(a, float), np.asarray(b, float)
    return (b.mean() - a.mean())/np.sqrt(a.var(ddof=1)/len(a) + b.var(ddof=1)/len(b))

# %% wrong check_welch: each variance is divided by its own number of runs, and not
# the size of the other group under each variance
def my_welch(a, b):
    a, b = np.asarray(a, float), np.asarray(b, float)
    return (a.mean() - b.mean())/np.sqrt(a.var(ddof=1)/len(b) + b.var(ddof=1)/len(a))

# %% wrong check_welch: n - 1 belongs to the variance alone: the mean is over n runs
# divided by n − 1 twice over, once for the variance and once for the mean
def my_welch(a, b):
    a, b = np.asarray(a, float), np.asarray(b, float)
    return (a.mean() - b.mean())/np.sqrt(a.var(ddof=1)/(len(a) - 1) + b.var(ddof=1)/(len(b) - 1))

# %% wrong check_welch: the number itself is asked for, and not whether it is large
# yes or no
def my_welch(a, b):
    a, b = np.asarray(a, float), np.asarray(b, float)
    t = (a.mean() - b.mean())/np.sqrt(a.var(ddof=1)/len(a) + b.var(ddof=1)/len(b))
    return abs(t) > 4

# %% right check_welch
# the statistics module
import statistics

def my_welch(a, b):
    a, b = [float(x) for x in a], [float(x) for x in b]
    squared = sum(statistics.variance(x)/len(x) for x in (a, b))
    return (statistics.fmean(a) - statistics.fmean(b))*squared**-0.5

# %% right check_welch
# pandas' standard error of the mean, hypot
import pandas as pd

def my_welch(a, b):
    a, b = pd.Series(list(map(float, a))), pd.Series(list(map(float, b)))
    return (a.mean() - b.mean())/math.hypot(a.sem(), b.sem())

# %% right check_welch
# var_mean of float64 tensors, a tensor returned
def my_welch(a, b):
    va, ma = torch.var_mean(torch.tensor([float(x) for x in a], dtype=torch.float64))
    vb, mb = torch.var_mean(torch.tensor([float(x) for x in b], dtype=torch.float64))
    return (ma - mb)/torch.sqrt(va/len(a) + vb/len(b))

# %% right check_welch
# variances from the differences between all pairs of runs
def my_welch(a, b):
    def mean_and_square(x):
        n = len(x)
        variance = sum((float(p) - float(q))**2 for p in x for q in x)/(2*n*(n - 1))
        return sum(map(float, x))/n, variance/n
    (ma, sa), (mb, sb) = mean_and_square(a), mean_and_square(b)
    return np.float64((ma - mb)/math.sqrt(sa + sb))

# %% wrong check_count_parameters: the head is counted too, and it is the token embedding
# the head counted as a matrix of its own
def count_parameters(vocab, context, width, layers):
    D = width
    return 2*vocab*D + context*D + layers*(12*D*D + 13*D) + 2*D

# %% wrong check_count_parameters: the embedding of positions is missing
# positions forgotten
def count_parameters(vocab, context, width, layers):
    D = width
    return vocab*D + layers*(12*D*D + 13*D) + 2*D

# %% wrong check_count_parameters: the norm after the last block is missing
# no norm after the last block
def count_parameters(vocab, context, width, layers):
    D = width
    return (vocab + context)*D + layers*(12*D*D + 13*D)

# %% wrong check_count_parameters: a norm has a bias too, as long as its weight
# norms without their bias
def count_parameters(vocab, context, width, layers):
    D = width
    return (vocab + context)*D + layers*(12*D*D + 9*D + 2*D) + D

# %% wrong check_count_parameters: the biases of attention and MLP are missing
# matrices without biases
def count_parameters(vocab, context, width, layers):
    D = width
    return (vocab + context)*D + layers*(12*D*D + 4*D) + 2*D

# %% wrong check_count_parameters: a block has two norms, with weight and bias each
# one norm in each block
def count_parameters(vocab, context, width, layers):
    D = width
    return (vocab + context)*D + layers*(12*D*D + 11*D) + 2*D

# %% wrong check_count_parameters: the projection after attention is missing
# attention without its projection
def count_parameters(vocab, context, width, layers):
    D = width
    attention = 3*D*D + 3*D
    mlp = 4*D*D + 4*D + 4*D*D + D
    return (vocab + context)*D + layers*(attention + mlp + 4*D) + 2*D

# %% wrong check_count_parameters: the MLP's second bias is as long as the width, not four
# the second bias of the MLP four times as wide
def count_parameters(vocab, context, width, layers):
    D = width
    attention = 4*D*D + 4*D
    mlp = 8*D*D + 8*D
    return (vocab + context)*D + layers*(attention + mlp + 4*D) + 2*D

# %% wrong check_count_parameters: vocabulary and context are arguments, and need not be
# GPT-2's vocabulary and context in place of the arguments
def count_parameters(vocab, context, width, layers):
    D = width
    return (50257 + 1024)*D + layers*(12*D*D + 13*D) + 2*D

# %% wrong check_count_parameters: the second matrix of the MLP and its bias are missing
# the MLP widens and does not narrow
def count_parameters(vocab, context, width, layers):
    D = width
    return (vocab + context)*D + layers*(4*D*D + 4*D + 4*D*D + 4*D + 4*D) + 2*D

# %% wrong check_count_parameters: the last norm stands after the last block alone, and not in
# the last norm in every block
def count_parameters(vocab, context, width, layers):
    D = width
    return (vocab + context)*D + layers*(12*D*D + 15*D)

# %% wrong check_count_parameters: 12 times layers times the square of the width is a rule of
# matrices only, the rule of thumb 12·layers·width²
def count_parameters(vocab, context, width, layers):
    return 12*layers*width**2

# %% right check_count_parameters
# a model without memory is built and counted
def count_parameters(vocab, context, width, layers):
    from transformers import GPT2Config, GPT2Model
    config = GPT2Config(vocab_size=vocab, n_positions=context, n_embd=width, n_layer=layers, n_head=1)
    with torch.device('meta'):
        model = GPT2Model(config)
    return sum(p.numel() for p in model.parameters())

# %% right check_count_parameters
# a list of shapes
import math

def count_parameters(vocab, context, width, layers):
    norm = [(width,), (width,)]
    def linear(n, m):
        return [(n, m), (m,)]
    block = (norm + linear(width, 3*width) + linear(width, width)
             + norm + linear(width, 4*width) + linear(4*width, width))
    shapes = [(vocab, width), (context, width)] + block*layers + norm
    return sum(map(math.prod, shapes))

# %% right check_count_parameters
# a polynomial in the width by Horner's rule, a numpy integer
def count_parameters(vocab, context, width, layers):
    return np.polyval(np.array([12*layers, vocab + context + 13*layers + 2, 0], dtype=np.int64), width)

# %% wrong check_perplexity: bits are powers of 2; e goes with nats
# e to the bits, without ln 2
def perplexity(bits_per_char, chars_per_token):
    return math.exp(bits_per_char*chars_per_token)

# %% wrong check_perplexity: this is the perplexity of a character
# perplexity per character
def perplexity(bits_per_char, chars_per_token):
    return 2**bits_per_char

# %% wrong check_perplexity: characters per token multiply: a token of 3 characters
# divided by the characters
def perplexity(bits_per_char, chars_per_token):
    return 2**(bits_per_char/chars_per_token)

# %% wrong check_perplexity: a nat is 1.44 bits: bits are multiplied by log 2 to give
# bits made nats the wrong way, divided by ln 2
def perplexity(bits_per_char, chars_per_token):
    return math.exp(bits_per_char*chars_per_token/math.log(2))

# %% wrong check_perplexity: these are the nats of a token; its perplexity is e to that
# the loss in nats, not e to it
def perplexity(bits_per_char, chars_per_token):
    return bits_per_char*chars_per_token*math.log(2)

# %% wrong check_perplexity: characters belong into the exponent: chances multiply from
# the perplexity of a character times the characters
def perplexity(bits_per_char, chars_per_token):
    return 2**bits_per_char*chars_per_token

# %% wrong check_perplexity: it ends in TypeError: unsupported operand type(s) for ^
# a caret for the power
def perplexity(bits_per_char, chars_per_token):
    return 2 ^ (bits_per_char*chars_per_token)

# %% wrong check_perplexity: the bits are converted to nats, and the base is still 2
# two to the loss in nats, converted although the base is 2
def perplexity(bits_per_char, chars_per_token):
    nats = bits_per_char*chars_per_token*math.log(2)
    return 2**nats

# %% wrong check_perplexity: characters per token is an argument, and not always 4
# four characters a token, the argument ignored
def perplexity(bits_per_char, chars_per_token):
    return 2**(bits_per_char*4)

# %% wrong check_perplexity: a token of one character that costs 1 bit is a choice
# decimal digits in place of bits
def perplexity(bits_per_char, chars_per_token):
    return math.exp(bits_per_char*chars_per_token*math.log10(2))

# %% wrong check_perplexity: a perplexity need not be a whole number
# rounded to a whole number
def perplexity(bits_per_char, chars_per_token):
    return round(2**(bits_per_char*chars_per_token))

# %% right check_perplexity
# one factor for each character
def perplexity(bits_per_char, chars_per_token):
    per_char = 2.0**bits_per_char
    return per_char**chars_per_token

# %% right check_perplexity
# float64 tensor, exp2
def perplexity(bits_per_char, chars_per_token):
    return torch.exp2(torch.tensor(bits_per_char*chars_per_token, dtype=torch.float64))

# %% right check_perplexity
# one over the geometric mean of the probability of a token, numpy
def perplexity(bits_per_char, chars_per_token):
    log_prob = -np.float64(bits_per_char)*np.log(2)*chars_per_token
    return 1/np.exp(log_prob)
