"""TimeSheet: the rows of a table of measured times, folded, sorted and cut as the user wants to view them."""

from __future__ import annotations

from typing import NamedTuple

from cnnstat.profile.result import Profile
from cnnstat.report.time_columns import KEYS, columns_of
from cnnstat.report.time_row import TimeRow, fold_times, time_rows, time_sum
from cnnstat.report.view import TableView


class TimeView(TableView):
    """What a user wants to see of a profile."""

    keys = KEYS


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
    (by,) = columns_of((view.sort or KEYS[0],), profile.environment.kind)
    return TimeSheet(*view.arranged(rows, by.value, time_sum))
