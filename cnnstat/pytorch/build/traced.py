"""Modules for calls of traced models: ops with operands of their own, recorded calls, and tensors that nothing uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cnnstat.errors import OpError
from cnnstat.ir.op import Op, Shape, Shapes
from cnnstat.ops.operands import operand_names
from cnnstat.ops.traced import Applied, Recorded
from cnnstat.pytorch.build.recorded_module import SCALE, Home, module_at

UNUSED = "Unused"
"""What the frontend calls tensors that no call of a forward pass used."""


class WithOperands(nn.Module):
    """A layer that works on learnt tensors and numbers beside its inputs."""

    def __init__(self, layer: nn.Module, operands: tuple[int | float | str, ...]) -> None:
        super().__init__()
        # In a list it is no child, so that its own parameters, if any, keep their names.
        self._layer = [layer]
        self._operands = operands
        self._homes: dict[str, Home] = {}

    def forward(self, *tensors: Tensor) -> Any:
        """Return what the layer makes of its operands."""
        return self._layer[0](*(self._operand(operand, tensors) for operand in self._operands))

    def _operand(self, operand: int | float | str, tensors: tuple[Tensor, ...]) -> Any:
        """Return an input, a learnt tensor for the whole batch, or a number."""
        if isinstance(operand, str):
            return self._homes[operand].tensor
        if isinstance(operand, int):
            return tensors[operand]
        return torch.tensor(operand, dtype=tensors[0].dtype, device=tensors[0].device)


class Unused(nn.Module):
    """Stands for tensors that no call uses; they are registered where they were."""

    def forward(self) -> Tensor:
        """Return an empty tensor, as every step makes one."""
        return torch.empty(0)


def traced_module(op: Op, inputs: Shapes, make: Callable[[Op, Shapes], nn.Module]) -> nn.Module:
    """Return the module of a traced call; raises OpError where the trace does not tell what it computes.

    make: returns the module of an op of the library for given input shapes.
    """
    if isinstance(op, Applied):
        return _applied(op, inputs, make)
    assert isinstance(op, Recorded)
    if op.function == UNUSED and not inputs:
        return Unused()
    raise OpError("only its shapes and its work are known, not what it computes; build the original model instead")


def _applied(op: Applied, inputs: Shapes, make: Callable[[Op, Shapes], nn.Module]) -> nn.Module:
    """Return the module of an op with operands of its own."""
    operands = operand_names(op, len(inputs))
    shapes = tuple(inputs[operand] if isinstance(operand, int) else operand for operand in op.operands)
    layer = make(op.op, shapes)
    return layer if operands == tuple(range(len(inputs))) else WithOperands(layer, operands)


def register_operands(
    modules: Mapping[str, tuple[nn.Module, Op]], root: nn.Module, scope: Callable[[str], nn.Module]
) -> None:
    """Register the learnt tensors of traced calls under the names they had in the traced model."""
    for module, op in modules.values():
        if isinstance(module, WithOperands) and isinstance(op, Applied):
            for name, shape in op.tensors:
                module._homes[name] = _registered(root, scope, name, shape, name not in op.frozen)
        elif isinstance(module, Unused) and isinstance(op, Recorded):
            for name, shape in op.tensors:
                _registered(root, scope, name, shape, name not in op.frozen)
            for name, shape in op.stored:
                path, _, own = name.rpartition(".")
                dtype = torch.int64 if own == "num_batches_tracked" else None
                module_at(root, scope, path).register_buffer(own, torch.zeros(shape, dtype=dtype))


def _registered(root: nn.Module, scope: Callable[[str], nn.Module], name: str, shape: Shape, is_learnt: bool) -> Home:
    """Register a learnt tensor under its full name."""
    path, _, own = name.rpartition(".")
    home = module_at(root, scope, path)
    while hasattr(home, own):
        own += "_"
    home.register_parameter(own, nn.Parameter(torch.randn(shape) * SCALE, requires_grad=is_learnt))
    return Home(home, own)
