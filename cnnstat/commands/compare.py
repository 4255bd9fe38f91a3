"""`cnnstat compare`: several networks side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from cnnstat import console
from cnnstat.commands.options import (
    FLAG,
    ArgumentOption,
    BatchOption,
    DeviceOption,
    DtypeOption,
    InputOption,
    Mode,
    ModeOption,
    Optimizer,
    OptimizerOption,
    OutputOption,
    PageFormat,
    PageFormatOption,
    SetOption,
    StrictOption,
    ThreadsOption,
    TracebackOption,
    load_analysis,
    make_request,
    zoo_names,
)
from cnnstat.errors import CnnstatError


def compare(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE", help="Networks; ratios are to the first.", autocompletion=zoo_names)
    ],
    input: InputOption = None,
    batch: BatchOption = None,
    dtype: DtypeOption = None,
    set: SetOption = None,
    arg: ArgumentOption = None,
    mode: ModeOption = Mode.eval,
    traceback: TracebackOption = False,
    optimizer: OptimizerOption = Optimizer.sgd,
    strict_receptive_field: StrictOption = False,
    profile: Annotated[bool, typer.Option("--profile", help="Measure the models' times too.", metavar=FLAG)] = False,
    device: DeviceOption = None,
    samples: Annotated[
        int | None, typer.Option(help="With --profile: measurements of everything (30).", metavar="N")
    ] = None,
    threads: ThreadsOption = None,
    format: PageFormatOption = PageFormat.table,
    output: OutputOption = None,
) -> None:
    """Set the totals of several networks side by side, and draw their layers as bars."""
    from cnnstat import report
    from cnnstat.analysis.comparison import compare_analyses

    options = (input, batch, dtype, set, arg, mode, optimizer, strict_receptive_field)
    timing = {"device": device, "samples": samples, "threads": threads}
    analyses = [load_analysis(source, *options) for source in sources]
    profiles = _profiles(sources, make_request(input, batch, dtype, set, arg, mode), timing) if profile else ()
    if not profile and (given := [name for name, value in timing.items() if value is not None]):
        raise CnnstatError(f"--{given[0]} is of measured times; add --profile")
    comparison = compare_analyses(analyses, profiles)
    with console.open_output(output) as out:
        report.write_comparison(comparison, format.value, out)


def _profiles(sources: Sequence[str], request: Any, timing: Mapping[str, Any]) -> list[Any]:
    """Return the measured times of all models."""
    from cnnstat.commands.profiling import measure
    from cnnstat.profile.choices import make_options

    given = {name: value for name, value in timing.items() if value is not None}
    options = make_options(dtype=request.dtype, **given)
    found = []
    for source in sources:
        found.append(measure(source, request, options))
        if not found[-1].complete:
            raise KeyboardInterrupt
    return found
