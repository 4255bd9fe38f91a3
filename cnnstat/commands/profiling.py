"""Profiling: what `profile` and `compare --profile` share: options checked, a model measured, exit codes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnstat import console, report
from cnnstat.commands.options import INTERRUPTED
from cnnstat.errors import CnnstatError
from cnnstat.profile import need_torch
from cnnstat.profile.options import Options, Progress, Silent
from cnnstat.profile.result import Profile
from cnnstat.report.subjects.profile import Against
from cnnstat.sources.load import named_model
from cnnstat.sources.request import Request

if TYPE_CHECKING:
    import rich.progress


BRIEF = 10
"""Samples of a network where many are profiled."""

MAIN = ("lenet5", "alexnet", "vgg16", "googlenet", "resnet18", "resnet50", "densenet121", "mobilenet_v2")
"""Networks that `cnnstat profile` takes without SOURCE, as far as the zoo has them."""


def need_source(options: Mapping[str, Any]) -> None:
    """Raise CnnstatError if an option was given that only goes with one SOURCE."""
    for option, value in options.items():
        if value is not None:
            raise CnnstatError(f"{option} needs a SOURCE, as in `cnnstat profile alexnet {option} …`")


def measure(source: str, request: Request, options: Options, *, refresh: bool = False) -> Profile:
    """Return the profile of a model, with a progress bar in a terminal; raises CnnstatError.

    refresh: measure the machine's ceilings anew.
    """
    try:
        need_torch()
        from cnnstat.profile import profile

        with progress(source) as bar:
            return profile(named_model(source, request), options, bar, refresh=refresh)
    except KeyboardInterrupt:
        print(f"cnnstat: stopped before {source} was measured", file=sys.stderr)
        raise


def exit_code(result: Profile, against: Against | None, strict: bool) -> int:
    """Return 130 after Ctrl-C; with --strict 3 if the parts do not add up or the two were not measured alike."""
    if not result.complete:
        return INTERRUPTED
    is_alike = against is None or not against.difference.conditions
    return 3 if strict and not (result.adds_up and is_alike) else 0


def profile_zoo(request: Request, options: Options, format: str, output: Path | None, strict: bool) -> int:
    """Print one line for each of the zoo's main networks as it is measured; return the exit code.

    The machine's roofline is measured anew and kept. After Ctrl-C what was measured stays.
    """
    from cnnstat.profile.roofline_cache import cache_file
    from cnnstat.report.subjects.profile_overview import document, overview
    from cnnstat.sources import zoo

    names = [name for name in MAIN if name in zoo.names()]
    codes = []
    profiles: list[Profile] = []
    with console.open_output(output) as out:
        lines = overview(names, out)
        try:
            for name in names:
                profile = measure(name, request, options, refresh=name == names[0])
                codes.append(exit_code(profile, None, strict))
                profiles.append(profile)
                if format == "table":
                    lines.add(profile)
                if not profile.complete:
                    break
        except KeyboardInterrupt:
            codes.append(INTERRUPTED)
        if format == "table":
            lines.finish(str(cache_file()))
        else:
            report.write(document(profiles), format, out)
    return max(codes, default=0)


# Progress, on stderr and only in a terminal ---------------------------------------------------------------------------


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
