"""Fake tensors: shapes, dtypes and devices without memory. This is the only file that knows PyTorch's fake mode."""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager

from cnnstat.pytorch.thread_changes import silence_when_quiet

_CPU = torch.device("cpu")
_META = torch.device("meta")
_VIEWS = frozenset(["slice", "select", "unsqueeze", "squeeze", "view", "expand", "permute", "transpose", "t", "copy_"])
"""Operations whose meta kernel alone says all: no device, no value is involved."""

_SAME_SHAPE = frozenset(
    getattr(torch.ops.aten, name).default
    for name in ("sin", "cos", "tanh", "exp", "log", "sqrt", "rsqrt", "abs", "neg")
)
"""Operations on one tensor whose meta kernels are Python code, which takes longer than the rest of a call."""

_PLAIN = frozenset((int, float, slice, type(None), type(...)))
"""Kinds of arguments that take no part in what a view is made of."""

DEVICE = torch.ops.prim.device.default
"""What asks a fake tensor for its device, in the midst of other operations."""

FAKE_TYPE: type = FakeTensor
"""The type of a fake tensor."""


# Fake mode logs the traceback of every model that does not run.
silence_when_quiet("torch._subclasses.fake_tensor")


class Faker:
    """Makes fake tensors in place of real ones, always the same one for the same tensor."""

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.overwritten: set[int] = set()  # storages of real tensors that were to take values of fake ones
        self._dtype = dtype
        self._states: dict[torch.device, dict[str, Any]] = {}
        self._direct: set[Any] = set()
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

    def on_meta(self, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> torch.Tensor | None:
        """Return what the meta kernel of a view or an element-wise operation makes; None where that is not all.

        FakeTensor works out devices, constants and strides of each call anew, which takes ten times longer.
        """
        operands = [value for value in (*arguments, *keywords.values()) if isinstance(value, torch.Tensor)]
        first = operands[0] if operands else None
        if not isinstance(first, FakeTensor) or function not in self._direct and not self._is_direct(function):
            return None
        device = first.fake_device
        if function in _SAME_SHAPE and _is_float_in_order(arguments):
            with torch._C._DisableTorchDispatch():
                empty = torch.empty(first.shape, dtype=first.dtype, device=_META)
            return self._wrapped(empty, device)
        for tensor in operands:
            if not isinstance(tensor, FakeTensor) or tensor.fake_device != device or tensor.constant is not None:
                return None
        with in_kernel_invocation_manager(self.mode):
            result = function(*arguments, **keywords)
        if result is first or not isinstance(result, torch.Tensor):
            return first if result is first else None
        return self._wrapped(result, device)

    def of_views(self, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any] | None:
        """Return what a call that makes views, or writes into one, returns, in a tuple; None where it has to run.

        Its steps, a slice for each axis say, are not followed one by one.
        """
        first = arguments[0] if arguments else None
        if not isinstance(first, FakeTensor) or torch.is_grad_enabled():
            return None
        # Only what is written into a view may be another tensor; an index that is one looks up.
        written = arguments[2] if len(arguments) == 3 else None
        for value in (first, written):
            if isinstance(value, FakeTensor) and (value.constant is not None or value.fake_device != first.fake_device):
                return None
        others = (*arguments[1:2], *arguments[2 if not isinstance(written, FakeTensor) else 3 :], *keywords.values())
        for value in others:
            kinds = map(type, value) if isinstance(value, tuple) else (type(value),)
            if not _PLAIN.issuperset(kinds):
                return None
        with in_kernel_invocation_manager(self.mode):
            result = function(*arguments, **keywords)
        if isinstance(result, torch.Tensor):
            return (first if result is first else self._wrapped(result, first.fake_device),)
        if isinstance(result, (tuple, list)):
            return (type(result)([self._wrapped(each, first.fake_device) for each in result]),)
        return (result,)

    def _is_direct(self, function: Any) -> bool:
        """Whether an operation is a view, or works element by element."""
        schema = function._schema
        is_single = len(schema.returns) == 1 and str(schema.returns[0].type) == "Tensor"
        if not is_single or function.namespace != "aten" or function._overloadname == "out":
            return False
        name = schema.name.removeprefix("aten::")
        if name not in _VIEWS and torch.Tag.pointwise not in function.tags:
            return False
        if name not in _VIEWS and not torch._C._dispatch_has_kernel_for_dispatch_key(function.name(), "Meta"):
            return False
        self._direct.add(function)
        return True

    def _wrapped(self, empty: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Return a fake tensor around one without memory.

        What FakeTensor's constructor works out in Python is the same each time, so that it is asked but once.
        """
        state = self._states.get(device)
        if state is None:
            first = FakeTensor(self.mode, empty, device)
            self._states[device] = dict(vars(first))
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


def _is_float_in_order(arguments: tuple[Any, ...]) -> bool:
    """Whether the one argument is a tensor of real floating-point numbers in C order, as its result is then."""
    first = arguments[0] if len(arguments) == 1 else None
    is_float = isinstance(first, FakeTensor) and first.is_floating_point() and first.constant is None
    return is_float and bool(first.is_contiguous())  # type: ignore[union-attr]
