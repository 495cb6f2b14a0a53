"Count the places at which a GPU would be waited for, on any machine."
from collections import Counter

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
READS = {  # each gives Python a number, or a shape that hangs on numbers
    aten._local_scalar_dense, aten.nonzero, aten.equal, aten.masked_select, aten.is_nonzero,
    aten._unique2, aten.repeat_interleave,
}
WITH_INDICES = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}


class CountedOperators(TorchDispatchMode):
    "Operators that wait for their numbers; an index of true and false is one of them."
    def __init__(self, counts):
        super().__init__()
        self.counts = counts

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        packet = operator.overloadpacket
        if packet in READS:
            self.counts[str(packet)] += 1
        if packet in WITH_INDICES:
            for index in args[1]:
                if index is not None and index.dtype in (torch.bool, torch.uint8):
                    self.counts[f'{packet} by a mask'] += 1
        return operator(*args, **kwargs or {})


class CountedMethods(TorchFunctionMode):
    "What reads a whole tensor: on a CPU no operator is asked for it."
    def __init__(self, counts):
        super().__init__()
        self.counts = counts

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, '__name__', '')
        if name in ('tolist', 'numpy', 'cpu', '__array__'):
            self.counts[name] += 1
        return function(*args, **kwargs or {})


class Waits:
    "`with Waits() as waits: …`, then `waits.counts` by name, and `waits.total`."
    def __init__(self):
        self.counts = Counter()
        self.modes = [CountedMethods(self.counts), CountedOperators(self.counts)]

    def __enter__(self):
        for mode in self.modes:
            mode.__enter__()
        return self

    def __exit__(self, *error):
        for mode in reversed(self.modes):
            mode.__exit__(*error)

    @property
    def total(self):
        return sum(self.counts.values())
