"""Layout: which columns of a table fit a width, and which of them in short form."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from cnnstat.report.columns import MAIN, ON_REQUEST, Column
from cnnstat.report.grid import Track, span_of
from cnnstat.report.terminal_text import widest


class Candidate:
    """One column with the texts of all rows; what is never shown is never written."""

    def __init__(self, column: Column, rows: Sequence[Any]) -> None:
        self.column = column
        self.rows = rows
        self.is_short = True
        self.floor = column.least

    @cached_property
    def full(self) -> tuple[str, ...]:
        """The texts in full."""
        return tuple(map(self.column.shown, self.rows))

    @cached_property
    def short(self) -> tuple[str, ...]:
        """The texts with suffixes."""
        return self.full if self.column.short is self.column.shown else tuple(map(self.column.short, self.rows))

    @cached_property
    def full_width(self) -> int:
        """Width of the texts in full."""
        return widest((self.column.title, *self.full))

    @cached_property
    def short_width(self) -> int:
        """Width of the short texts."""
        return widest((self.column.title, *self.short))

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts in the form chosen."""
        return self.short if self.is_short else self.full

    @property
    def width(self) -> int:
        """The width wanted: that of the texts, or the floor that they may be cut to."""
        natural = self.short_width if self.is_short else self.full_width
        return natural if self.floor is None else min(natural, self.floor)

    @property
    def track(self) -> Track:
        """The column of the grid."""
        least = None if self.column.least is None else self.width
        style = "cyan" if self.column.importance == 1 else ""
        return Track(title=self.column.title, align=self.column.align, least=least, cut=self.column.cut, style=style)


class Layout:
    """Columns and their forms. It starts from the narrowest table and spends the width on what matters most."""

    def __init__(
        self,
        rows: Sequence[Any],
        width: int,
        columns: Sequence[Column],
        steps: Sequence[tuple[str, int | None]],
    ) -> None:
        self._width = width
        self._all = {c.key: Candidate(c, rows) for c in columns}
        self._rows = rows
        self._steps = steps

    def of(self, columns: Sequence[Column]) -> list[Candidate]:
        """Return exactly these columns, numbers in full if they fit."""
        kept = [self._all[c.key] for c in columns]
        for candidate in sorted(kept, key=lambda c: c.column.importance):
            self._try(kept, candidate, is_short=False)
        for candidate in kept:
            self._widen(kept, candidate, self._width)
        return kept

    def best(self) -> list[Candidate]:
        """Return the main columns, and in a wide terminal exact numbers and further columns."""
        kept = [c for c in self._all.values() if c.column.importance <= MAIN]
        while span_of([c.width for c in kept]) > self._width and len(kept) > 2:
            kept.remove(max(kept, key=lambda c: c.column.importance))
        by_key = {c.column.key: c for c in kept}
        for key, floor in self._steps:
            if key not in by_key:
                continue
            if floor is None:
                self._try(kept, by_key[key], is_short=False)
            else:
                self._widen(kept, by_key[key], floor)
        self._add_columns(kept)
        for candidate in kept:
            self._widen(kept, candidate, self._width)
        order = list(self._all.values())
        return sorted(kept, key=order.index)

    def _fits(self, kept: Sequence[Candidate]) -> bool:
        """Return whether the columns fit."""
        return span_of([c.width for c in kept]) <= self._width

    def _try(self, kept: Sequence[Candidate], candidate: Candidate, *, is_short: bool) -> None:
        """Change the form of a column if the table still fits."""
        before = candidate.is_short
        candidate.is_short = is_short
        if not self._fits(kept):
            candidate.is_short = before

    def _widen(self, kept: Sequence[Candidate], candidate: Candidate, floor: int) -> None:
        """Give a column that may be cut as much of `floor` as is left over."""
        if candidate.floor is None:
            return
        spare = self._width - span_of([c.width for c in kept])
        candidate.floor = max(candidate.floor, min(floor, candidate.width + max(0, spare)))

    def _add_columns(self, kept: list[Candidate]) -> None:
        """Add the columns that tell something, most important first, as long as they fit in full."""
        others = (c for c in self._all.values() if MAIN < c.column.importance < ON_REQUEST)
        for candidate in sorted(others, key=lambda c: c.column.importance):
            if not any(map(candidate.column.informs, self._rows)):
                continue
            candidate.is_short, candidate.floor = False, None
            if self._fits([*kept, candidate]):
                kept.append(candidate)
