"""A GPU of Apple's that is not there: tensors that say they are on `mps`, and live on the CPU.

As there, float64 is an error, and so is a CPU tensor among tensors of the device, unless it is a
single number."""
import torch
import torch.nn as nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

MPS = torch.device('mps', 0)


class OnMps(torch.Tensor):
    "A tensor that says it is on `mps`; `inner` holds its numbers."
    @staticmethod
    def __new__(cls, inner):
        if inner.dtype == torch.float64:
            raise TypeError('Cannot convert a MPS Tensor to float64 dtype as the MPS framework '
                            "doesn't support float64. Please use float32 instead.")
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(),
            dtype=inner.dtype, device=MPS)

    def __init__(self, inner):
        self.inner = inner

    def __repr__(self):
        return f'OnMps({self.inner})'

    def tolist(self):
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


def is_mps(device):
    return device is not None and torch.device(device).type == 'mps'


def unwrap(x):
    if isinstance(x, OnMps):
        return x.inner
    return torch.device('cpu') if isinstance(x, torch.device) else x


def check_neighbours(func, tensors):
    "Raise RuntimeError if tensors of the CPU and of the device meet."
    on_cpu = [x for x in tensors if not isinstance(x, OnMps) and x.ndim]
    may_meet = func.overloadpacket.__name__ in ('copy_', 'index', 'index_put_')
    if on_cpu and len(on_cpu) < len(tensors) and not may_meet:
        raise RuntimeError(f'{func}: tensors on mps and on cpu')


def compute(func, args, kwargs):
    "On the CPU; what comes of the device's tensors, or is made for it, is on the device."
    values, _ = tree_flatten((args, kwargs))
    tensors = [x for x in values if isinstance(x, torch.Tensor)]
    check_neighbours(func, tensors)
    given = {id(x.inner): x for x in tensors if isinstance(x, OnMps)}
    device = kwargs.get('device')
    stays = bool(given) if device is None else is_mps(device)
    out = func(*tree_map(unwrap, args), **tree_map(unwrap, kwargs))

    def wrap(x):
        if not isinstance(x, torch.Tensor):
            return x
        changed_in_place = given.get(id(x))
        if changed_in_place is not None:
            return changed_in_place
        return OnMps(x) if stays else x

    return tree_map(wrap, out)


def get_item(x, index):
    "`x[index]`, whose own code asks for the hardware, one part of the index after another."
    parts = list(index) if isinstance(index, tuple) else [index]
    if any(isinstance(part, (torch.Tensor, list)) for part in parts):
        return torch.ops.aten.index(x, tensor_indices(parts))
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at:at + 1] = [slice(None)]*(x.ndim - sum(part is not None for part in parts) + 1)
    dim = 0
    for part in parts:
        if part is None:
            x = x.unsqueeze(dim)
        elif isinstance(part, slice):
            x = torch.ops.aten.slice(x, dim, part.start, part.stop)
        else:
            x = x.select(dim, part)
            continue
        dim += 1
    return x


def tensor_indices(parts):
    return [OnMps(torch.tensor(part)) if isinstance(part, list) else
            None if isinstance(part, slice) else part for part in parts]


def set_item(x, index, value):
    parts = index if isinstance(index, tuple) else (index,)
    value = value if isinstance(value, torch.Tensor) else torch.full((), value, device=MPS)
    if not any(isinstance(part, (torch.Tensor, list)) for part in parts):
        return torch.ops.aten.copy_(get_item(x, index), value)
    return torch.ops.aten.index_put_(x, tensor_indices(parts), value)


def tensor(*args, device=None, **kwargs):
    x = torch._C._VariableFunctions.tensor(*args, **kwargs)
    return OnMps(x) if is_mps(device) else x


def move(x, *args, device=None, dtype=None, **kwargs):
    for arg in args:
        device = arg.device if isinstance(arg, torch.Tensor) else device
        device = arg if isinstance(arg, (str, torch.device)) else device
        dtype = arg.dtype if isinstance(arg, torch.Tensor) else dtype
        dtype = arg if isinstance(arg, torch.dtype) else dtype
    if is_mps(device) and not isinstance(x, OnMps):
        x = OnMps(x.detach().to(dtype or x.dtype))
    elif device is not None and not is_mps(device) and isinstance(x, OnMps):
        return x.inner.to(dtype or x.dtype)
    return x if dtype in (None, x.dtype) else torch.ops.aten._to_copy(x, dtype=dtype)


SAME = {  # by a way that does not ask for the hardware
    torch.tensor: tensor,
    torch.Tensor.to: move,
    torch.Tensor.cpu: lambda x: move(x, 'cpu'),
    torch.Tensor.float: lambda x: move(x, torch.float32),
    torch.Tensor.double: lambda x: move(x, torch.float64),
    torch.Tensor.bool: lambda x: move(x, torch.bool),
    torch.Tensor.long: lambda x: move(x, torch.int64),
    torch.Tensor.int: lambda x: move(x, torch.int32),
    torch.Tensor.__int__: lambda x: int(x.inner),
    torch.Tensor.__bool__: lambda x: bool(x.inner),
    torch.Tensor.__float__: lambda x: float(x.inner),
    torch.Tensor.__invert__: torch.bitwise_not,
    torch.Tensor.contiguous: torch.clone,
    torch.Tensor.__getitem__: get_item,
    torch.Tensor.__setitem__: set_item,
}


MAKERS = (torch.tensor, torch.Tensor.to)


class Factories(TorchDispatchMode):
    "`torch.ones(2, device='mps')` and its like."
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


class Moves(TorchFunctionMode):
    "`torch.tensor(…, device='mps')` and `x.to('mps')`, which ask for the hardware itself."
    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in SAME and (isinstance(args[0], OnMps) or func in MAKERS):
            func = SAME[func]
        return func(*args, **kwargs or {})


class PretendMps:
    "While it lasts, tensors can be made on `mps`, and moved there."
    def __enter__(self):
        self.modes = (Factories(), Moves())
        for mode in self.modes:
            mode.__enter__()

    def __exit__(self, *error):
        for mode in reversed(self.modes):
            mode.__exit__(*error)


def to_mps(module):
    "A module with its weights on the device."
    for part in module.modules():
        for name, p in part._parameters.items():
            if p is not None and not isinstance(p.data, OnMps):
                part._parameters[name] = nn.Parameter(OnMps(p.data))
        for name, x in part._buffers.items():
            if x is not None and not isinstance(x, OnMps):
                part._buffers[name] = OnMps(x)
    return module
