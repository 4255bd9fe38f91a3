"""Work: what a call computes, as the layers that a trace or a file states have it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from cnnstat.ir.op import Op, Shapes

Counts = tuple[tuple[str, int], ...]
"""Floating-point operations by kind."""


@dataclass(frozen=True, slots=True)
class Work:
    """Multiply-accumulates, and the other floating-point operations by kind, each kind once."""

    macs: int = 0
    others: Counts = ()

    @classmethod
    def of(cls, op: Op, inputs: Shapes, outputs: Shapes) -> Work:
        """Return the work of an op."""
        return cls(op.macs(inputs, outputs), tuple(op.other_flops(inputs, outputs).items()))

    @classmethod
    def other(cls, kind: str, count: int) -> Work:
        """Return so many operations of a kind that are no multiply-accumulates."""
        return cls(0, ((kind, count),) if count else ())

    @property
    def other_count(self) -> int:
        """The operations that are no multiply-accumulates."""
        return sum(count for _, count in self.others)

    @property
    def on_weights(self) -> Work:
        """The same as work on a layer's weights, whose operations are element-wise to the layer whatever they are."""
        return Work(self.macs) + Work.other("element-wise", self.other_count)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.macs or (self.others and self.other_count))

    def __add__(self, further: Work) -> Work:
        if not further:
            return self
        if not self:
            return further
        others: Counter[str] = Counter()
        for kind, count in (*self.others, *further.others):
            others[kind] += count
        return Work(self.macs + further.macs, tuple(others.items()))

    def __mul__(self, times: int) -> Work:
        return Work(self.macs * times, tuple((kind, count * times) for kind, count in self.others))
