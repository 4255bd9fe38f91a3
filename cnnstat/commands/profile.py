"""`cnnstat profile`: where the time goes, layer by layer, and whether it adds up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cnnstat import console
from cnnstat.commands.options import (
    FLAG,
    ColumnsOption,
    DeviceOption,
    FormatOption,
    ModelOptions,
    OutputOption,
    ThreadsOption,
    split_keys,
    zoo_names,
)


def profile(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="A network, as for `analyze`; without it, the zoo's main ones briefly.",
            autocompletion=zoo_names,
        ),
    ] = None,
    *,
    device: DeviceOption = None,
    model: ModelOptions,
    channels_last: Annotated[
        bool, typer.Option("--channels-last", help="Lay four-dimensional tensors out with channels last.", metavar=FLAG)
    ] = False,
    backward: Annotated[bool, typer.Option("--backward", help="Measure the backward pass too.", metavar=FLAG)] = False,
    tf32: Annotated[
        bool, typer.Option("--tf32/--no-tf32", help="Let float32 products run in TF32.", metavar=FLAG)
    ] = False,
    isolate: Annotated[
        bool,
        typer.Option(
            "--isolate", help="Measure every layer alone too, with inputs in the cache and not.", metavar=FLAG
        ),
    ] = False,
    energy: Annotated[
        bool, typer.Option("--energy", help="Ask the GPU for the energy of a pass.", metavar=FLAG)
    ] = False,
    samples: Annotated[
        int | None, typer.Option(help="Measurements of everything, at least (30; 10 without SOURCE).", metavar="N")
    ] = None,
    threads: ThreadsOption = None,
    refresh_ceilings: Annotated[
        bool, typer.Option("--refresh-ceilings", help="Measure anew what this machine can do at best.", metavar=FLAG)
    ] = False,
    baseline: Annotated[
        Path | None, typer.Option(help="JSON of an earlier profile to compare with.", metavar="FILE")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Write a Chrome trace with the layers' names.", metavar="FILE")
    ] = None,
    depth: Annotated[int | None, typer.Option(help="Sum up blocks below this depth of names.", metavar="N")] = None,
    columns: ColumnsOption = None,
    sort: Annotated[str | None, typer.Option(help="Column to sort by, such as time.", metavar="KEY")] = None,
    top: Annotated[int | None, typer.Option(help="Show only so many rows and sum up the rest.", metavar="N")] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Exit with 3 if the parts do not add up, or the baseline is not alike.", metavar=FLAG
        ),
    ] = False,
    format: FormatOption = "table",
    output: OutputOption = None,
) -> None:
    """Measure how long every layer takes, why, and whether the layers add up to the whole model."""
    from cnnstat import report
    from cnnstat.commands import profiling
    from cnnstat.profile.options import SAMPLES, make_options
    from cnnstat.report.subjects.profile import ProfileView, document

    view = ProfileView(depth=depth, columns=split_keys(columns), sort=sort, top=top)
    many = SAMPLES if source is not None else profiling.BRIEF
    options = make_options(
        device=device, dtype=model.dtype, channels_last=channels_last, backward=backward, tf32=tf32, isolate=isolate,
        energy=energy, samples=many if samples is None else samples, threads=threads, trace=trace,
    )  # fmt: skip
    request = model.request()
    profiling.check_files({"--output": output, "--trace": trace})
    if source is None:
        only = {
            "--baseline": baseline,
            "--trace": trace,
            "--input": model.input,
            "--set": model.set,
            "--arg": model.arg,
            "--depth": depth,
        }
        profiling.need_source({**only, "--columns": columns, "--sort": sort, "--top": top})
        raise typer.Exit(profiling.profile_zoo(request, options, format, output, strict))
    earlier = profiling.read_baseline(baseline)
    found = profiling.measure(source, request, options, refresh=refresh_ceilings)
    against = profiling.compare(earlier, found, baseline)
    with console.open_output(output) as out:
        report.write(document(found, view, against), format, out)
    raise typer.Exit(profiling.exit_code(found, against, strict))
