"""`cnnstat profile`: where the time goes, layer by layer, and whether it adds up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cnnstat.commands.options import (
    NO_LATEX,
    ColumnsOption,
    DeviceOption,
    FormatOption,
    LatexOptions,
    ModelOptions,
    OutputOption,
    ThreadsOption,
    flag,
    output_format,
    split_keys,
    write,
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
        bool, flag("--channels-last", "Lay four-dimensional tensors out with channels last.")
    ] = False,
    backward: Annotated[bool, flag("--backward", "Measure the backward pass too.")] = False,
    tf32: Annotated[bool, flag("--tf32/--no-tf32", "Let float32 products run in TF32.")] = False,
    isolate: Annotated[
        bool, flag("--isolate", "Measure every layer alone too, with inputs in the cache and not.")
    ] = False,
    energy: Annotated[bool, flag("--energy", "Ask the GPU for the energy of a pass.")] = False,
    samples: Annotated[
        int | None, typer.Option(help="Measurements of everything, at least (30; 10 without SOURCE).", metavar="N")
    ] = None,
    threads: ThreadsOption = None,
    refresh_ceilings: Annotated[
        bool, flag("--refresh-ceilings", "Measure anew what this machine can do at best.")
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
        bool, flag("--strict", "Exit with 3 if the parts do not add up, or the baseline is not alike.")
    ] = False,
    format: FormatOption = None,
    output: OutputOption = None,
    latex: LatexOptions = NO_LATEX,
) -> None:
    """Measure how long every layer takes, why, and whether the layers add up to the whole model."""
    from cnnstat.commands import profiling
    from cnnstat.profile.difference import compare_profiles
    from cnnstat.profile.options import SAMPLES, make_options
    from cnnstat.profile.record import read_profile
    from cnnstat.report.subjects.profile import Against, ProfileView, document

    view = ProfileView(depth=depth, columns=split_keys(columns), sort=sort, top=top)
    many = SAMPLES if source is not None else profiling.BRIEF
    options = make_options(
        device=device, dtype=model.dtype, channels_last=channels_last, backward=backward, tf32=tf32, isolate=isolate,
        energy=energy, samples=many if samples is None else samples, threads=threads, trace=trace,
    )  # fmt: skip
    chosen = output_format(format, output)
    request = model.request()
    if source is None:
        profiling.need_source({
            "--baseline": baseline, "--trace": trace, "--input": model.input, "--set": model.set, "--arg": model.arg,
            "--depth": depth, "--columns": columns, "--sort": sort, "--top": top,
        })  # fmt: skip
        raise typer.Exit(profiling.profile_zoo(request, options, chosen, output, strict))
    earlier = None if baseline is None else read_profile(baseline)
    result = profiling.measure(source, request, options, refresh=refresh_ceilings)
    against = None if earlier is None else Against(compare_profiles(earlier, result, str(baseline)), str(baseline))
    write(document(result, view, against), chosen, output, latex)
    raise typer.Exit(profiling.exit_code(result, against, strict))
