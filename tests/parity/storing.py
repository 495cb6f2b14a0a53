"How a recording of TRL is written: float32, sorted, with its settings in the header."
import json
import os

from safetensors.torch import save_file


def versions_of(*modules):
    return {module.__name__: module.__version__.split('+')[0] for module in modules}


def store(path, tensors, settings):
    stored = {}
    for name in sorted(tensors):
        x = tensors[name].detach()
        stored[name] = (x.float() if x.is_floating_point() else x).clone().contiguous()
    # one key: several come in any order
    save_file(stored, path, {'settings': json.dumps(settings, sort_keys=True)})
    print(f'{path}: {len(tensors)} tensors, {os.path.getsize(path):,} bytes')
