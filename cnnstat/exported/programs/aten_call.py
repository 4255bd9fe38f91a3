"""AtenCall: one node of an exported program, as the handlers of aten operations see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cnnstat.exported.layer_builder import NO_WORK, Match, Operand
from cnnstat.exported.stored_tensors import StoredTensor
from cnnstat.ir.graph import Edge
from cnnstat.ir.op import Family, Shape, Shapes
from cnnstat.ir.work import Work
from cnnstat.ops.traced import Recorded


@dataclass(slots=True, eq=False)
class ProgramValue:
    """A tensor of a program.

    stored: the parameter, buffer or constant that it is. made_of: the stored tensors that it is computed of.
    waiting: the work on stored tensors alone that made it, which its first reader counts.
    is_learnt: whether it is, or is made of, stored tensors.
    """

    name: str
    shape: Shape
    dtype: str
    edge: Edge | None = None
    stored: StoredTensor | None = None
    number: float | None = None
    made_of: tuple[StoredTensor, ...] = ()
    waiting: Work = Work()
    is_learnt: bool = False

    @property
    def sources(self) -> tuple[StoredTensor, ...]:
        """The stored tensors behind it."""
        return self.made_of if self.stored is None else (self.stored,)


@dataclass(frozen=True, slots=True)
class AtenCall:
    """A call of an aten operation: its name without overload (`add`), whether it works in place, arguments by name."""

    name: str
    overload: str
    is_in_place: bool
    arguments: Mapping[str, Any]
    results: tuple[ProgramValue, ...]

    def get(self, *names: str, default: Any = None) -> Any:
        """Return the first of these arguments that is given."""
        return next((self.arguments[name] for name in names if name in self.arguments), default)

    @property
    def input(self) -> ProgramValue:
        """The tensor that it works on; raises LookupError where there is none."""
        value = self.get("self", "input", "tensors")
        if not isinstance(value, ProgramValue):
            raise LookupError("input")
        return value

    @property
    def outputs(self) -> Shapes:
        """The shapes of its results."""
        return tuple(result.shape for result in self.results)

    def recorded(self, family: Family, work: Work = NO_WORK, **fields: Any) -> Recorded:
        """Return it as a call of which its effect and work are known."""
        return Recorded(function=self.name, outputs=self.outputs or ((0,),), family=family, work=work, **fields)

    @property
    def tensors(self) -> tuple[Operand, ...]:
        """All tensors among its arguments, those in lists too."""
        found: list[Operand] = []
        for value in self.arguments.values():
            found += [
                each for each in (value if isinstance(value, list) else [value]) if isinstance(each, ProgramValue)
            ]
        return tuple(found)


Handler = Callable[[AtenCall], Match | None]
"""Returns the op of a call; None where none of the library says it truly."""
