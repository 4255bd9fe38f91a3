"""`cnnstat compare`: several networks side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from cnnstat.commands.completion import network_column_keys, zoo_names
from cnnstat.commands.options import (
    NO_CHART,
    NO_LATEX,
    AnalyzedOptions,
    ChartOptions,
    DeviceOption,
    FormatOption,
    LatexOptions,
    OptimizerOption,
    OutputOption,
    StrictOption,
    ThreadsOption,
    flag,
    output_format,
    split_keys,
    write,
)
from cnnstat.errors import CnnstatError


def compare(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE", help="Networks; ratios are to the first.", autocompletion=zoo_names)
    ],
    model: AnalyzedOptions,
    optimizer: OptimizerOption = "sgd",
    strict_receptive_field: StrictOption = False,
    profile: Annotated[bool, flag("--profile", "Measure the models' times too.")] = False,
    device: DeviceOption = None,
    samples: Annotated[
        int | None, typer.Option(help="With --profile: measurements of everything (30).", metavar="N")
    ] = None,
    threads: ThreadsOption = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            help="A row for each network with these figures, such as model,params,macs,macs_ratio.",
            metavar="KEY,…",
            autocompletion=network_column_keys,
        ),
    ] = None,
    published: Annotated[bool, flag("--published", "Set published ratios beside the exact ones.")] = False,
    format: FormatOption = None,
    output: OutputOption = None,
    latex: LatexOptions = NO_LATEX,
    chart: ChartOptions = NO_CHART,
) -> None:
    """Set the totals of several networks side by side, and draw their layers as bars."""
    from cnnstat.analysis.comparison import compare_analyses
    from cnnstat.report.subjects.comparison import document

    chosen = output_format(format, output)
    timing = {"device": device, "samples": samples, "threads": threads}
    analyses = [model.analyze(source, optimizer, strict_receptive_field) for source in sources]
    if profile and model.deploy:
        raise CnnstatError("--profile measures the networks as they are written; leave --deploy out")
    profiles = _profiles(sources, model.request(), timing) if profile else ()
    if not profile and (names := [name for name, value in timing.items() if value is not None]):
        raise CnnstatError(f"--{names[0]} is of measured times; add --profile")
    if published and columns is not None:
        raise CnnstatError("--columns is of the table of totals, and --published shows another; leave one out")
    if published:
        from cnnstat.analysis.published import published_ratios
        from cnnstat.report.subjects.published import ratios_document

        write(ratios_document(analyses, published_ratios(analyses)), chosen, output, latex, chart)
        return
    comparison = compare_analyses(analyses, profiles)
    write(document(comparison, split_keys(columns)), chosen, output, latex, chart)


def _profiles(sources: Sequence[str], request: Any, timing: Mapping[str, Any]) -> list[Any]:
    """Return the measured times of all models."""
    from cnnstat.commands.profile import measure
    from cnnstat.profile.profile_options import make_options

    options = make_options(dtype=request.dtype, **{key: value for key, value in timing.items() if value is not None})
    profiles = []
    for source in sources:
        profiles.append(measure(source, request, options))
        if not profiles[-1].complete:
            raise KeyboardInterrupt
    return profiles
