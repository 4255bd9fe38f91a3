"""Progress bar: how far a measurement is and how long it will take, on stderr and only in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cnnstat.profile.options import Progress, Silent

if TYPE_CHECKING:
    import rich.progress


class Bar:
    """One bar for the stage that is running, with the time left."""

    def __init__(self, bars: rich.progress.Progress, name: str) -> None:
        self._bars = bars
        self._name = name
        self._task = bars.add_task(name, total=None)

    def stage(self, title: str, steps: int) -> None:
        """Start the bar again for another stage."""
        self._bars.reset(self._task, total=steps, description=f"{self._name}: {title}" if self._name else title)

    def step(self) -> None:
        """Move the bar on."""
        self._bars.advance(self._task)


@contextmanager
def progress(name: str) -> Iterator[Progress]:
    """Yield a progress bar that disappears at the end; what draws nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        yield Bar(bars, name)
