"""What a user wants to see of any table: the columns, the order, and how many rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, TypeVar

from cnnstat.errors import CnnstatError, did_you_mean

AnyRow = TypeVar("AnyRow")


def check_column(key: str, known: Collection[str]) -> None:
    """Raise CnnstatError with the nearest key and the list if there is no such column."""
    if key not in known:
        raise CnnstatError(f"there is no column {key[:40]}{did_you_mean(key, known)}; known: {', '.join(known)}")


@dataclass(frozen=True, kw_only=True)
class TableView:
    """What a user wants to see; the totals are those of everything whatever it says.

    depth: components of layer names that are kept; layers inside the same block become one row.
    columns: keys of the columns to show; None leaves the choice to the format.
    sort: key of the column to sort by, numbers descending, text ascending; None keeps execution order.
    top: number of rows to show; the rest is summed up in one.
    Raises CnnstatError if a key is unknown or a number less than 1.
    """

    depth: int | None = None
    columns: tuple[str, ...] | None = None
    sort: str | None = None
    top: int | None = None

    keys: ClassVar[tuple[str, ...]] = ()
    """The columns that the table has."""

    def __post_init__(self) -> None:
        """Check keys and numbers."""
        for name, number in (("depth", self.depth), ("top", self.top)):
            if number is not None and number < 1:
                raise CnnstatError(f"--{name} {number} must be at least 1")
        if self.columns is not None and not self.columns:
            raise CnnstatError(f"--columns is empty; choose from {', '.join(self.keys)}")
        for key in (*(self.columns or ()), *((self.sort,) if self.sort else ())):
            check_column(key, self.keys)

    def arranged(
        self,
        rows: Sequence[AnyRow],
        value: Callable[[AnyRow], Any],
        summed: Callable[[Sequence[AnyRow], str], AnyRow],
    ) -> tuple[tuple[AnyRow, ...], AnyRow | None]:
        """Return the rows to show, and one that sums up what `top` leaves out, or None.

        value: what a row has in the column to sort by; summed: the row that sums up rows under a name.
        """
        if self.sort is not None:
            rows = sorted(rows, key=lambda row: _order(value(row)))
        if self.top is None or len(rows) <= self.top:
            return tuple(rows), None
        return tuple(rows[: self.top]), summed(rows[self.top :], f"… {len(rows) - self.top:,} more")


def _order(value: Any) -> tuple[int, Any]:
    """Return a key that sorts numbers and sizes descending, text ascending, and what is missing last.

    A receptive field that is the whole input comes before all sizes.
    """
    if isinstance(value, str):
        return (0, value.casefold())
    if isinstance(value, tuple):
        flat = _flat(value)
        return (2, 0) if not flat or None in flat else (1, -math.prod(flat))
    return (2, 0) if value is None else (1, -value)


def _flat(values: tuple[Any, ...]) -> list[Fraction | int]:
    """Return the numbers of nested tuples."""
    return [n for value in values for n in (_flat(value) if isinstance(value, tuple) else [value])]
