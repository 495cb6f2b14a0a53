"Count the places at which a GPU would be waited for, on a machine that has none."
from collections import Counter

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
READS = {  # operators that give Python a number, or a shape that hangs on numbers
    aten._local_scalar_dense, aten.nonzero, aten.equal, aten.masked_select, aten.is_nonzero,
    aten._unique2, aten.repeat_interleave,
}
WITH_INDICES = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
WHOLE_TENSOR = {'tolist', 'numpy', 'cpu', '__array__'}  # on a CPU, no operator does them


class OnHost(torch.Tensor):
    "A copy that was fetched from the device, and what comes of it: nothing there is waited for."


class CountedOperators(TorchDispatchMode):
    "Those that wait; an index of true and false is one of them."
    def __init__(self, counts):
        super().__init__()
        self.counts, self.paused = counts, False

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        packet = operator.overloadpacket
        if not self.paused:
            self.counts[str(packet)] += packet in READS
            indices = args[1] if packet in WITH_INDICES else []
            self.counts[f'{packet} by a mask'] += sum(
                index is not None and index.dtype == torch.bool for index in indices)
        return operator(*args, **kwargs or {})


class CountedMethods(TorchFunctionMode):
    "Those that wait, unless they are asked of a copy on the host."
    def __init__(self, operators):
        super().__init__()
        self.operators = operators

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, getattr(function, '__name__', '')
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        if not any(isinstance(x, OnHost) for x in tensors):
            self.operators.counts[name] += name in WHOLE_TENSOR
            result = function(*args, **kwargs)
            return result.as_subclass(OnHost) if name == 'cpu' else result
        if not isinstance(args[0], OnHost) and name == '__getitem__':
            self.operators.counts['index from the host'] += 1
        self.operators.paused = True
        result = function(*args, **kwargs)
        self.operators.paused = False
        return result.as_subclass(torch.Tensor) if name == 'to' else result


class Waits:
    "`with Waits() as waits: …`; then `waits.counts` by name, and `waits.total`."
    def __init__(self):
        operators = CountedOperators(Counter())
        self.counts = operators.counts
        self.modes = [operators, CountedMethods(operators)]

    def __enter__(self):
        for mode in self.modes:
            mode.__enter__()
        return self

    def __exit__(self, *error):
        for mode in reversed(self.modes):
            mode.__exit__(*error)
        for name in [name for name, count in self.counts.items() if not count]:
            del self.counts[name]

    @property
    def total(self):
        return sum(self.counts.values())
