"""What ops that rearrange axes share: axis numbers, shapes in words, and the base of all views."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from cnnstat.errors import OpError
from cnnstat.ir.argument import Kind, any_of, integer, list_of
from cnnstat.ir.facets import NoArithmetic, NothingSaved, Weightless
from cnnstat.ir.formula import Formula
from cnnstat.ir.op import Family, Op, Shape, Shapes, Storage

AXIS_LETTERS = {2: "NC", 3: "NCL", 4: "NCHW", 5: "NCDHW"}
"""What the axes of a tensor are called, by their number."""

AXIS = integer()
"""One axis by number; negative numbers count from the last."""

AXES: Kind = any_of(AXIS, list_of(AXIS))
"""One axis or a list of axes."""


def axis_index(dim: int, rank: int, name: str = "dim") -> int:
    """Return axis `dim` of `rank` axes as a number from 0; raises OpError if there is no such axis."""
    if not -rank <= dim < rank:
        raise OpError(f"{name}={dim} is no axis of a tensor of {rank} axes; use {-rank} to {rank - 1}")
    return dim % rank


def axis_indices(dim: int | tuple[int, ...], rank: int) -> tuple[int, ...]:
    """Return one or more axes as numbers from 0; raises OpError if one does not exist or is named twice."""
    given = (dim,) if isinstance(dim, int) else dim
    found = tuple(axis_index(d, rank) for d in given)
    if len(set(found)) < len(found):
        raise OpError(f"dim={list(given)} names an axis twice; name each once")
    return found


def shape_text(shape: Shape) -> str:
    """Return a shape as people write it, `1×64×56×56`."""
    return "×".join(map(str, shape))


def rearranged(symbols: str, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
    """Return the one line that explains an op that only rearranges: what it does, from which shape, to which."""
    return (Formula("output shape", symbols, shape_text(inputs[0]), shape_text(outputs[0])),)


def method_code(callee: str, operand: str, arguments: Iterable[Any]) -> str:
    """Return Python code of a function that reads better as a method of its one operand."""
    return f"{operand}.{callee.removeprefix('torch.')}({', '.join(map(repr, arguments))})"


@dataclass(frozen=True, repr=False)
class View(Weightless, NoArithmetic, NothingSaved, Op):
    """An op that reads its input's memory under another shape: no arithmetic, no copy, nothing saved.

    PyTorch must copy where the memory order does not allow the new shape (a flatten after a permute); whether it does
    depends on the ops before, so the copy is not counted.
    """

    family: ClassVar[Family] = Family.LAYOUT

    @property
    def storage(self) -> Storage:
        """A view of the input."""
        return Storage.VIEW
