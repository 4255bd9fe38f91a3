"""Call: one node of an ONNX graph with what it reads and makes, as rules of shapes and handlers see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from cnnstat import ops
from cnnstat.errors import OpError
from cnnstat.exported.layer_builder import NO_WORK, Match, Operand
from cnnstat.exported.onnx_models.values import Value
from cnnstat.exported.stored_tensors import StoredTensor
from cnnstat.ir.graph import Edge
from cnnstat.ir.op import Family, Op, Shape, Shapes
from cnnstat.ir.work import Work
from cnnstat.ops.traced import Recorded


class _Previous:
    """Stands for the result of the step before, where an operation is several of the library's ops."""

    shape: Shape | None = None
    dtype = ""
    edge: Edge | None = None
    number: float | None = None
    stored: StoredTensor | None = None


PREVIOUS = _Previous()


@dataclass(slots=True, eq=False)
class Call:
    """One node as the file has it: its operation, arguments, operands (None where left out), its opset, its results."""

    node: Any
    domain: str
    attributes: Mapping[str, Any]
    inputs: Sequence[Value | None]
    opset: int
    outputs: Sequence[Value] = ()

    @property
    def op_type(self) -> str:
        """The name of its operation."""
        return str(self.node.op_type)

    def has(self, place: int) -> bool:
        """Whether there is an operand at a place."""
        return place < len(self.inputs) and self.inputs[place] is not None

    def input(self, place: int) -> Value:
        """Return an operand; raises LookupError where it is left out."""
        value = self.inputs[place]
        if value is None:
            raise LookupError(place)
        return value

    def shape(self, place: int = 0) -> Shape:
        """Return the shape of an operand; raises LookupError where it is not known."""
        shape = self.input(place).shape
        if shape is None:
            raise LookupError(place)
        return shape

    @property
    def output(self) -> Shape:
        """The shape of the first result; raises LookupError where it is not known."""
        shape = self.outputs[0].shape
        if shape is None:
            raise LookupError("output")
        return shape

    @property
    def output_shapes(self) -> Shapes:
        """The shapes of all results; that of a result of which nothing is known holds nothing."""
        return tuple((0,) if value.shape is None else value.shape for value in self.outputs)

    def integers(self, place: int, attribute: str = "") -> tuple[int, ...] | None:
        """Return the whole numbers of an operand, or of an attribute where older opsets have it; None for neither."""
        if self.has(place):
            numbers = self.input(place).numbers
            if numbers is None:
                raise LookupError(place)
            return tuple(int(number) for number in numpy.ravel(numbers))
        value = self.attributes.get(attribute)
        return None if value is None else tuple(value) if isinstance(value, (list, tuple)) else (value,)

    def reads(self, *places: int) -> tuple[Operand, ...]:
        """Return some operands."""
        return tuple(self.input(place) for place in places)

    def element_type(self, place: int = 0, default: int = 1) -> int:
        """Return the element type of an operand, or a default where it is left out."""
        value = self.inputs[place] if place < len(self.inputs) else None
        return default if value is None else value.element_type

    @property
    def all_reads(self) -> tuple[Operand, ...]:
        """The operands that are not left out."""
        return tuple(value for value in self.inputs if value is not None)

    def recorded(self, family: Family, work: Work = NO_WORK, **fields: Any) -> Recorded:
        """Return it as a call of which its effect and work are known."""
        outputs = fields.pop("outputs", self.output_shapes)
        return Recorded(function=self.op_type, outputs=outputs, family=family, work=work, **fields)

    def match(self, op: Op, *places: int, **weights: int) -> Match:
        """Return the op with the operands that it reads, and those that are its own tensors, by place."""
        own = {name: self.input(place) for name, place in weights.items() if self.has(place)}
        return Match(op, self.reads(*places), own)


Steps = tuple[Match, ...]
"""The ops that an operation is, one after another."""

Handler = Callable[[Call], "Match | Steps | None"]
"""Returns the ops of a call, None where none of the library says it truly; raises OpError where operands do not fit."""


def library_op(name: str, *arguments: Any, **options: Any) -> Op:
    """Return an op of the library by its name; raises OpError where it cannot have these arguments."""
    make: Any = ops.lookup(name)
    op: Op = make(*arguments, **options)
    return op


def need(is_met: bool, message: str) -> None:
    """Raise OpError with a message unless a condition is met."""
    if not is_met:
        raise OpError(message)


def one_or_all(numbers: Sequence[int]) -> int | tuple[int, ...]:
    """Return equal numbers as one, others as a tuple."""
    return numbers[0] if len(set(numbers)) == 1 else tuple(numbers)
