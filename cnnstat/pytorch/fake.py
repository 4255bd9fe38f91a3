"""Fake tensors: shapes, dtypes and devices without memory. This is the only file that knows PyTorch's fake mode."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorConverter, FakeTensorMode, in_kernel_invocation_manager

from cnnstat.ir.op import Shape
from cnnstat.pytorch.tensors import storage_key
from cnnstat.pytorch.thread_changes import silence_when_quiet

_CPU = torch.device("cpu")
_META = torch.device("meta")
_VIEWS = frozenset(["slice", "select", "unsqueeze", "squeeze", "view", "expand", "permute", "transpose", "t", "copy_"])
"""Operations whose meta kernel alone says all: no device, no value is involved."""

_results: dict[tuple[Any, ...], tuple[Any, ...]] = {}
"""Sizes, strides and dtype that element-wise operations make of such operands; of a change in place, nothing.

Meta kernels of many are Python code, which takes longer than the rest of a call.
"""

_MOST_RESULTS = 20_000
"""Beyond that, all are forgotten."""

_VALUES = frozenset((int, float, complex, bool, str, type(None), torch.dtype))
"""Kinds of arguments of which equal ones, of one kind, make the same."""

_PLAIN = frozenset((int, float, slice, type(None), type(...)))
"""Kinds of arguments that take no part in what a view is made of."""

DEVICE = torch.ops.prim.device.default
"""What asks a fake tensor for its device, in the midst of other operations."""

FAKE_TYPE: Any = FakeTensor
"""The type of a fake tensor."""


# Fake mode logs the traceback of every model that does not run.
silence_when_quiet("torch._subclasses.fake_tensor")


@cache
def _mode() -> FakeTensorMode:
    """The fake mode of all passes: to make one takes a look at the whole stack of calls."""
    return FakeTensorMode(allow_non_fake_inputs=True)


_states: dict[torch.device, dict[str, Any]] = {}
"""What a new fake tensor of a device has for attributes."""


class Faker:
    """Makes fake tensors in place of real ones, always the same one for the same tensor."""

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        self.mode = _mode()
        # What it remembers of real tensors is of one pass.
        self.mode.fake_tensor_converter = FakeTensorConverter()
        self.overwritten: set[int] = set()  # storages of real tensors that were to take values of fake ones
        self._dtype = dtype
        self._fakes: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def is_fake(self, tensor: Any) -> bool:
        """Whether a tensor has no memory of its own."""
        return isinstance(tensor, FakeTensor)

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Return a fake tensor in C order, on the CPU."""
        with torch._C._DisableTorchDispatch():
            empty = torch.empty(shape, dtype=dtype, device=_META)
        return self._wrapped(empty, _CPU)

    def viewed(self, tensor: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """Return a fake view of a whole contiguous fake tensor."""
        with torch._C._DisableTorchDispatch():
            empty = torch.empty(shape, dtype=tensor.dtype, device=_META)
            empty.set_(tensor.untyped_storage(), tensor.storage_offset(), empty.size(), empty.stride())
        return self._wrapped(empty, tensor.device)

    def view(self, tensor: torch.Tensor, shape: Shape, strides: tuple[int, ...], behind: int | None) -> torch.Tensor:
        """Return a fake view of a fake tensor that begins so many elements behind it; a copy of its own if None."""
        with torch._C._DisableTorchDispatch():
            if behind is None:
                empty = torch.empty_strided(shape, strides, dtype=tensor.dtype, device=_META)
            else:
                empty = torch.empty(0, dtype=tensor.dtype, device=_META)
                empty.set_(tensor.untyped_storage(), tensor.storage_offset() + behind, shape, strides)
        return self._wrapped(empty, tensor.fake_device)  # type: ignore[attr-defined]  # a FakeTensor

    def are_together(self, tensors: list[Any]) -> bool:
        """Whether fake tensors are on one device, and none of them has a value."""
        device = tensors[0].fake_device
        return all(each.fake_device == device and each.constant is None for each in tensors)

    def on_meta(self, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> torch.Tensor | None:
        """Return what the meta kernel of a view or an element-wise operation makes; None where that is not all.

        FakeTensor works out devices, constants and strides of each call anew, which takes ten times longer.
        """
        operands = [value for value in (*arguments, *keywords.values()) if isinstance(value, torch.Tensor)]
        first: Any = operands[0] if operands else None
        if not isinstance(first, FakeTensor) or not is_direct(function):
            return None
        device = first.fake_device
        for tensor in operands:
            if not isinstance(tensor, FakeTensor) or tensor.fake_device != device or tensor.constant is not None:
                return None
        key = None if _is_view(function) else _key_of(function, operands, arguments, keywords)
        known = None if key is None else _results.get(key)
        if known is not None:
            if not known:
                return first
            with torch._C._DisableTorchDispatch():
                return self._wrapped(torch.empty_strided(*known[:2], dtype=known[2], device=_META), device)
        with in_kernel_invocation_manager(self.mode):
            result = function(*arguments, **keywords)
        if not isinstance(result, torch.Tensor):
            return None
        if key is not None and result.layout is torch.strided:
            if len(_results) >= _MOST_RESULTS:
                _results.clear()
            _results[key] = () if result is first else (tuple(result.shape), result.stride(), result.dtype)
        return first if result is first else self._wrapped(result, device)

    def of_views(
        self, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], *, takes_lists: bool
    ) -> tuple[Any] | None:
        """Return what a call that makes views, or writes into one, returns, in a tuple; None where it has to run.

        Its steps, a slice for each axis say, are not followed one by one.
        """
        first = arguments[0] if arguments else None
        if not isinstance(first, FakeTensor) or torch.is_grad_enabled():
            return None
        device, others = first.fake_device, list(arguments[1:])
        if first.constant is not None:
            return None
        for place, value in enumerate((*others, *keywords.values())):
            kind = type(value)
            # Only what is written into a view may be another tensor; an index that is one looks up.
            if kind is FakeTensor and place == 1 and len(others) == 2:
                if value.constant is not None or value.fake_device != device:
                    return None
            elif kind not in _PLAIN:
                is_list = kind is tuple or (takes_lists and kind is list)
                if not is_list or not _PLAIN.issuperset(map(type, value)):
                    return None
        # PyTorch asks a fake tensor for its device again and again, which is Python code; one without memory says it.
        with torch._C._DisableTorchDispatch():
            alias = _without_memory(first)
            if len(others) == 2 and type(others[1]) is FakeTensor:
                others[1] = _without_memory(others[1])
            result = function(alias, *others, **keywords)
            if isinstance(result, torch.Tensor):
                return (first if result is alias else self._wrapped(result, device),)
            if isinstance(result, (tuple, list)):
                return (type(result)([self._wrapped(each, device) for each in result]),)
        return (result,)

    def _wrapped(self, empty: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Return a fake tensor around one without memory.

        What FakeTensor's constructor works out in Python is the same each time, so that it is asked but once.
        """
        state = _states.get(device)
        if state is None:
            first = FakeTensor(self.mode, empty, device)
            _states[device] = dict(vars(first))
            return first
        result = torch.Tensor._make_subclass(
            FakeTensor, empty, False, dispatch_device=True, device_for_backend_keys=device
        )
        torch._C._set_throw_on_mutable_data_ptr(result)
        vars(result).update(state)
        return result

    def fake_of(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the fake tensor for a tensor, always the same one."""
        if isinstance(tensor, FakeTensor):
            return tensor
        known = self._fakes.get(id(tensor))
        if known is None or known[0] is not tensor:
            known = self._fakes[id(tensor)] = (tensor, self._new(tensor))
        return known[1]

    def _new(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a new fake tensor of the same sizes, strides and dtype."""
        layout: Any = tensor.layout
        if layout is not torch.strided:
            return self.mode.from_tensor(tensor)
        device = tensor.device
        empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=_META)
        return self._wrapped(empty, _CPU if device == _META else device)

    def converted(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the fake tensor for a parameter or buffer, in the dtype asked for if it is a floating-point one."""
        if self._dtype is None or not tensor.is_floating_point() or tensor.dtype == self._dtype:
            return self.fake_of(tensor)
        return self.empty(tuple(tensor.shape), self._dtype)

    def in_dtype(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a real tensor in the dtype asked for, if it is a floating-point one."""
        return tensor if self._dtype is None or not tensor.is_floating_point() else tensor.to(self._dtype)


def _without_memory(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor of the meta device with the storage of a fake one."""
    empty = torch.empty(0, dtype=value.dtype, device=_META)
    return empty.set_(value.untyped_storage(), value.storage_offset(), value.shape, value.stride())


@cache
def is_direct(function: Any) -> bool:
    """Whether an operation is a view, or works element by element."""
    schema = function._schema
    is_single = len(schema.returns) == 1 and str(schema.returns[0].type) == "Tensor"
    if not is_single or function.namespace != "aten" or function._overloadname == "out":
        return False
    if schema.name.removeprefix("aten::") in _VIEWS:
        return True
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key(function.name(), "Meta")
    return torch.Tag.pointwise in function.tags and has_kernel


@cache
def _is_view(function: Any) -> bool:
    """Whether an operation may return memory of an operand that it does not change."""
    alias = function._schema.returns[0].alias_info
    is_changed = alias is not None and alias.is_write
    return function._schema.name.removeprefix("aten::") in _VIEWS or (alias is not None and not is_changed)


def _key_of(
    function: Any, operands: list[torch.Tensor], arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[Any, ...] | None:
    """Return what element-wise operations of the same result have in common; None where more than that decides it.

    operands: the tensors among the arguments.
    """
    # PyTorch refuses to change memory that another operand reads at other places.
    is_changed = function._schema.returns[0].alias_info is not None
    if is_changed and len(set(map(storage_key, operands))) < len(operands):
        return None
    key = [function, torch.get_default_dtype()]
    for value in (*arguments, *keywords, *keywords.values()):
        if isinstance(value, torch.Tensor) and value.layout is torch.strided:
            key.append((value.shape, value.stride(), value.dtype))
        elif type(value) in _VALUES:
            key.append((type(value), value))
        else:
            return None
    return tuple(key)
