"""The file of a state dict: what torch.save writes beside each parameter and buffer with the bytes of its dtype."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from cnnstat.analysis.memory import TENSOR_ENTRY, entry_bytes, record_bytes
from cnnstat.ir.graph import dtype_bytes
from cnnstat.ir.op import numel
from cnnstat.pytorch.module_stack import Modules, aliases_of
from cnnstat.pytorch.parameter_ownership import StoredTensor
from cnnstat.pytorch.tensor_parts import parts_of
from cnnstat.pytorch.tensors import shape_of

_PLAIN_ENTRY = 30
"""Bytes that a number, a dtype or None takes in the pickle, with its key."""


def further_file_bytes(modules: Modules, stored: Iterable[StoredTensor], keeps_dtype: bool) -> int:
    """Return how much larger the file is than parameters and buffers one by one; negative where it is smaller.

    A tensor under two names has two entries; a view is written with all of its memory, which several share; packed
    weights of quantized layers have entries of their own kind.
    keeps_dtype: whether the model is counted in its own dtypes: converted, each tensor has memory of its own.
    """
    special = {path: own for path, module in modules if (own := _own_entries(path, module)) is not None}
    paths = {path for path, _ in modules}
    ordinary: list[StoredTensor] = []
    further = sum(TENSOR_ENTRY + len(name) for name in aliases_of(modules))
    for each in stored:
        if _module_of(each.name, paths) in special:
            further -= (
                _bytes_of(each) + entry_bytes(shape_of(each.tensor)) + len(each.name) if each.is_persistent else 0
            )
        elif each.is_persistent:
            ordinary.append(each)
    if keeps_dtype:
        further += _shared_memory(ordinary)
    return further + sum(special.values())


def _module_of(name: str, paths: set[str]) -> str:
    """Return the path of the module that a tensor belongs to."""
    path = name.rpartition(".")[0]
    while path and path not in paths:
        path = path.rpartition(".")[0]
    return path


def _bytes_of(stored: StoredTensor) -> int:
    return sum(record_bytes(numel(shape) * dtype_bytes(dtype)) for _, shape, dtype in stored.parts)


def _shared_memory(stored: Iterable[StoredTensor]) -> int:
    """Return how many bytes more the memory of tensors takes than they do one by one."""
    further, seen = 0, set()
    for each in stored:
        if each.inner:
            further += _parts_memory(each.tensor)
            continue
        try:
            storage = each.tensor.untyped_storage()
            size = record_bytes(storage.nbytes())
        except (NotImplementedError, RuntimeError, ValueError):
            continue  # a sparse or lazy tensor
        further -= _bytes_of(each)
        scales = list(_tensors_in(each.tensor))[1:]
        further += _MADE_OF_OTHERS * bool(scales)
        further += sum(entry_bytes(t.shape) + record_bytes(t.numel() * t.element_size()) for t in scales)
        if storage._cdata not in seen:
            seen.add(storage._cdata)
            further += size
    return further


_MADE_OF_OTHERS = 60
"""Bytes that a sparse or quantized tensor takes beside the tensors that it is made of."""
_SCRIPTED = 110
"""Bytes that an object of packed weights takes beside its tensors, for the names of its class and its options."""


def _parts_memory(tensor: torch.Tensor) -> int:
    """Return how many bytes more a sparse tensor takes than its parts: a part may be a view, which is written whole."""
    if tensor.layout is torch.strided:
        return 0
    parts = [part for _, part in parts_of(tensor)]
    sizes = [(part.numel() * part.element_size(), part.untyped_storage().nbytes()) for part in parts]
    return _MADE_OF_OTHERS + sum(record_bytes(whole) - record_bytes(own) for own, whole in sizes)


_ORDINARY = (torch.nn.Module._save_to_state_dict, torch.nn.Module.get_extra_state)


def _own_entries(path: str, module: torch.nn.Module) -> int | None:
    """Return the bytes of the entries of a module that writes them itself, as quantized layers do; None for others."""
    kind: Any = type(module)
    if (kind._save_to_state_dict, kind.get_extra_state) == _ORDINARY or isinstance(module, torch.jit.ScriptModule):
        return None
    entries: dict[str, Any] = {}
    try:
        module._save_to_state_dict(entries, f"{path}." if path else "", False)
    except Exception:  # a model's own code, for which it may have to be on a device or to have weights
        return None
    total = 0
    for name, value in entries.items():
        sizes = [entry_bytes(t.shape) + record_bytes(t.numel() * t.element_size()) for t in _tensors_in(value)]
        total += len(name) + (sum(sizes) or _PLAIN_ENTRY) + _SCRIPTED * _scripted(value)
    return total


def _tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors as which a value of a state dict is written."""
    if isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors_in(item)
    elif isinstance(value, torch.Tensor):
        yield from (part for _, part in parts_of(value))
        if value.is_quantized and value.qscheme() in (torch.per_channel_affine, torch.per_channel_affine_float_qparams):
            yield value.q_per_channel_scales()
            yield value.q_per_channel_zero_points()
    elif isinstance(value, torch.ScriptObject):
        state = value.__getstate__()  # type: ignore[attr-defined]  # untyped in PyTorch
        # A recurrent layer has its biases beside the packed weights that hold them too.
        yield from _tensors_in(list(_packed_in(state)) or state)


def _scripted(value: Any) -> int:
    """Return how many objects of packed weights a value is: itself, and those that it holds."""
    if not isinstance(value, torch.ScriptObject):
        return 0
    return 1 + len(list(_packed_in(value.__getstate__())))  # type: ignore[attr-defined]  # untyped in PyTorch


def _packed_in(value: Any) -> Iterator[torch.ScriptObject]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _packed_in(item)
    elif isinstance(value, torch.ScriptObject):
        yield value
