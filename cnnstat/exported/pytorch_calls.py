"""How PyTorch computes a layer of an exported model where its op alone does not say it: with another layer's bias."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cnnstat.exported.stored_tensors import StoredTensor
from cnnstat.ir.op import Op, Shape
from cnnstat.ir.recorded_call import (
    InputNumber,
    NotRecorded,
    RecordedCall,
    RecordedCalls,
    ResultOf,
    Stored,
    StoredName,
)

UNKNOWN = NotRecorded("the file does not say how PyTorch would compute it")

_FUNCTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    **{
        f"Conv{n}d": (f"F.conv{n}d", ("weight", "bias", "=stride", "=padding", "=dilation", "=groups"))
        for n in (1, 2, 3)
    },
    **{
        f"ConvTranspose{n}d": (
            f"F.conv_transpose{n}d",
            ("weight", "bias", "=stride", "=padding", "=output_padding", "=groups", "=dilation"),
        )
        for n in (1, 2, 3)
    },
    "Linear": ("F.linear", ("weight", "bias")),
    "LayerNorm": ("F.layer_norm", ("=sizes", "weight", "bias", "=eps")),
    "GroupNorm": ("F.group_norm", ("=num_groups", "weight", "bias", "=eps")),
    "PReLU": ("F.prelu", ("weight",)),
    "Embedding": ("F.embedding", ("weight",)),
}  # fmt: skip
"""The function that computes an op with weights, and what it takes behind the input: tensors, and fields of the op."""


@dataclass(slots=True)
class WeightedCall:
    """A layer whose tensors are partly those of other layers; tensors: all of them by the op's names."""

    op: Op
    weights: Mapping[str, Shape]
    tensors: Mapping[str, StoredTensor]

    def recorded(self, names: Mapping[int, str]) -> RecordedCalls | NotRecorded:
        """Return the calls that compute it; names: the full names of stored tensors by identity."""
        known = _FUNCTIONS.get(self.op.kind)
        if known is None or any(not each.is_float or id(each) not in names for each in self.tensors.values()):
            return UNKNOWN
        function, parameters = known
        calls: list[RecordedCall] = []
        arguments: list[Any] = [InputNumber(0)]
        for name in parameters:
            if name.startswith("="):
                arguments.append(getattr(self.op, name[1:]))
                continue
            stored = self.tensors.get(name)
            if stored is None:
                arguments.append(None)
                continue
            reference: Any = StoredName(names[id(stored)])
            if stored.shape != self.weights[name]:
                # The file has it in another layout.
                calls.append(_relaid(reference, stored.shape, self.weights[name]))
                reference = ResultOf(len(calls) - 1)
            arguments.append(reference)
        calls.append(RecordedCall(function, tuple(arguments)))
        stored_tensors = tuple(
            Stored(names[id(each)], each.shape, each.dtype, is_parameter=True) for each in self.tensors.values()
        )
        return RecordedCalls(tuple(calls), (ResultOf(len(calls) - 1),), stored_tensors)


@dataclass(slots=True)
class OperandCall:
    """A join of a tensor with one that another layer has; operands: numbers of inputs, values or stored tensors."""

    op: Op
    operands: tuple[int | float | StoredTensor | None, ...]

    def recorded(self, names: Mapping[int, str]) -> RecordedCalls | NotRecorded:
        """Return the call that computes it; names: the full names of stored tensors by identity."""
        stored = [each for each in self.operands if isinstance(each, StoredTensor)]
        if None in self.operands or any(id(each) not in names for each in stored):
            return UNKNOWN
        arguments = [
            StoredName(names[id(each)])
            if isinstance(each, StoredTensor)
            else (each if isinstance(each, float) else InputNumber(each or 0))
            for each in self.operands
        ]
        tensors = tuple(Stored(names[id(each)], each.shape, each.dtype, is_parameter=True) for each in stored)
        listed = (tuple(arguments), getattr(self.op, "dim", 0))
        call = RecordedCall(self.op.torch, listed if self.op.takes_list else tuple(arguments))
        return RecordedCalls((call,), (ResultOf(0),), tensors)


def _relaid(reference: StoredName, shape: Shape, wanted: Shape) -> RecordedCall:
    if len(shape) == 2 and wanted == shape[::-1]:
        return RecordedCall("Tensor.t", (reference,))
    return RecordedCall("Tensor.reshape", (reference, wanted))


def one_call(function: str, *arguments: Any) -> RecordedCalls:
    """Return the call of a function on a layer's first input, with further arguments."""
    return RecordedCalls((RecordedCall(function, (InputNumber(0), *arguments)),), (ResultOf(0),))
