"""Twins: the PyTorch module of an op."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from cnnstat.errors import OpError
from cnnstat.ir.op import Op, Shapes, Storage
from cnnstat.ops.traced import Applied, Recorded
from cnnstat.pytorch.build.custom_modules import HANDMADE
from cnnstat.pytorch.build.traced import traced_module

_TAKES_A_LIST = ("torch.cat", "torch.stack")
"""Functions that take all tensors as one list."""

_TAKES_TWO = {
    "torch.add": torch.Tensor.add_,
    "torch.sub": torch.Tensor.sub_,
    "torch.mul": torch.Tensor.mul_,
    "torch.div": torch.Tensor.div_,
    "torch.maximum": None,
    "torch.minimum": None,
}
"""Functions of two tensors, which take more from left to right, and how each works in place."""


class Function(nn.Module):
    """A function with its arguments as a layer: takes its input tensors."""

    def __init__(self, name: str, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
        super().__init__()
        self._name = name
        self._function = function
        self._arguments = arguments

    def forward(self, *tensors: Tensor) -> Any:
        """Return what the function does."""
        if self._name in _TAKES_A_LIST:
            return self._function(tensors, **self._arguments)
        if self._name in _TAKES_TWO:
            return reduce(self._function, tensors)
        return self._function(*tensors, **self._arguments)

    def extra_repr(self) -> str:
        """The function's name and arguments."""
        return ", ".join((self._name, *(f"{name}={value}" for name, value in self._arguments.items())))


def make_twin(op: Op, inputs: Shapes) -> nn.Module:
    """Return the module of an op for these input shapes; raises OpError where there is none."""
    if isinstance(op, (Applied, Recorded)):
        return traced_module(op, inputs, make_twin)
    made = HANDMADE.get(type(op).__name__) or _twin(op)
    arguments = twin_arguments(op, inputs)
    if isinstance(made, type) and issubclass(made, nn.Module):
        try:
            return made(**arguments)
        except TypeError as error:
            # Older releases lack arguments that newer ones have, as norms lack bias.
            raise OpError(f"PyTorch {torch.__version__} cannot build it: {error}") from None
    in_place = _TAKES_TWO.get(op.torch) if op.storage is Storage.IN_PLACE else None
    return Function(op.torch, in_place or made, arguments)


def twin_arguments(op: Op, inputs: Shapes) -> dict[str, Any]:
    """Return what the module of an op is built with."""
    extra = getattr(HANDMADE.get(type(op).__name__), "call_arguments", ())
    return {**op.torch_arguments(inputs), **{name: getattr(op, name) for name in extra}}


def _twin(op: Op) -> Any:
    """Return the class or function that an op names; raises OpError where PyTorch has none."""
    found: Any = None
    if op.torch:
        package, *names = op.torch.split(".")
        try:
            found = reduce(getattr, names, import_module(package))
        except (ImportError, AttributeError):
            found = None
    if found is None:
        raise OpError(f"PyTorch {torch.__version__} has no {op.torch or 'module'} to build it from")
    return found
