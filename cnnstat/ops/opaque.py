"""Opaque: a call of which a spec states the effect, because no op of the library does the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnnstat.errors import OpError
from cnnstat.ir.formula import Formula
from cnnstat.ir.op import Shapes, numel, shape_text
from cnnstat.ir.window import Reads, RowMajor
from cnnstat.ops.traced import Recorded


@dataclass(frozen=True, repr=False, kw_only=True)
class Opaque(Recorded):
    """A call that is stated rather than modelled: its shapes, what it stores, and its work.

    inputs: the shapes it holds for, batch included, since none of its figures can follow others; None for any.
    """

    inputs: Shapes | None = None

    def output(self, inputs: Shapes) -> Shapes:
        """Return the stated shapes; raises OpError for inputs they do not hold for."""
        if self.inputs is not None and inputs != self.inputs:
            held, actual = (", ".join(map(shape_text, shapes)) or "none" for shapes in (self.inputs, inputs))
            raise OpError(f"inputs={held} is what it is stated for, but it gets {actual}; state it for these")
        if self.reads is not None:
            self._check_reads(self.reads, inputs)
        return self.outputs

    def _check_reads(self, reads: tuple[Reads, ...], inputs: Shapes) -> None:
        """Raise OpError unless there is one entry for each input, of axes that it has."""
        if len(reads) != len(inputs):
            raise OpError(f"reads={len(reads)} entries, but there are {len(inputs)} inputs; write one for each")
        for read, shape in zip(reads, inputs):
            if isinstance(read, RowMajor) and numel(shape) != numel(self.outputs[0]):
                raise OpError(f"reads=row_major keeps all elements, but {shape_text(shape)} has others; write null")
            axes = [entry[0] for entry in read if entry is not None]
            if any(axis >= len(shape) for axis in axes):
                raise OpError(f"reads={max(axes)} is no axis of {shape_text(shape)}; they count from 0")

    def dtypes(self, inputs: tuple[str, ...], model: str, count: int) -> tuple[str, ...]:
        """Return the stated dtypes, or the model's."""
        return (*self.result_dtypes, *(self.result_dtypes[-1:] or (model,)) * count)[:count]

    def other_flops(self, inputs: Shapes, outputs: Shapes) -> Mapping[str, int]:
        """Return the stated operations beyond 2 × MACs."""
        return dict(self.flops)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        """Return what is stated."""
        shapes = ", ".join(map(shape_text, outputs))
        lines = [Formula("output shape", "as stated", shapes, shapes)]
        if self.work:
            lines.append(Formula("MACs", "as stated", f"{self.work}", self.work))
        lines += [Formula(f"{part} FLOPs", "as stated", f"{count}", count) for part, count in self.flops]
        return tuple(lines)
