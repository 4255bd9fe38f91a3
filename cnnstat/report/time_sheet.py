"""TimeSheet: the rows of a table of measured times, folded, sorted and cut as the user wants to view them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from cnnstat.errors import CnnstatError
from cnnstat.report.time_columns import KEYS, check_key, columns_of
from cnnstat.report.time_row import TimeRow, fold_times, time_rows, time_sum
from cnnstat.timing.profile import Profile


@dataclass(frozen=True, kw_only=True)
class TimeView:
    """What a user wants to see of a profile; the totals are those of all layers whatever it says.

    depth, columns, sort and top are those of `cnnstat.report.View`, with the columns of times.
    Raises CnnstatError if a key is unknown or a number less than 1.
    """

    depth: int | None = None
    columns: tuple[str, ...] | None = None
    sort: str | None = None
    top: int | None = None

    def __post_init__(self) -> None:
        """Check keys and numbers."""
        for name, number in (("depth", self.depth), ("top", self.top)):
            if number is not None and number < 1:
                raise CnnstatError(f"--{name} {number} must be at least 1")
        if self.columns is not None and not self.columns:
            raise CnnstatError(f"--columns is empty; choose from {', '.join(KEYS)}")
        for key in (*(self.columns or ()), *((self.sort,) if self.sort else ())):
            check_key(key)


EVERYTHING = TimeView()
"""Every layer in execution order."""


class TimeSheet(NamedTuple):
    """Rows to show, and one row that sums up what `top` leaves out, or None."""

    rows: tuple[TimeRow, ...]
    rest: TimeRow | None

    @property
    def all_rows(self) -> tuple[TimeRow, ...]:
        """The rows and the rest: their sums are the totals."""
        return self.rows if self.rest is None else (*self.rows, self.rest)


def time_sheet(profile: Profile, view: TimeView = EVERYTHING) -> TimeSheet:
    """Return the rows of a profile as a view wants them."""
    rows = time_rows(profile)
    if view.depth is not None:
        rows = fold_times(rows, view.depth)
    if view.sort is not None:
        (by,) = columns_of((view.sort,), profile.environment.kind)
        rows = tuple(sorted(rows, key=lambda row: _order(by.value(row))))
    rest = None
    if view.top is not None and len(rows) > view.top:
        rows, rest = rows[: view.top], time_sum(rows[view.top :], f"… {len(rows) - view.top:,} more")
    return TimeSheet(rows, rest)


def _order(value: Any) -> tuple[int, Any]:
    """Return a key that sorts numbers descending, text ascending, and what is missing last."""
    if isinstance(value, str):
        return (0, value.casefold())
    return (2, 0) if value is None else (1, -value)
