"""`cnnstat profile`: where the time goes, layer by layer, and whether it adds up."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnnstat.commands.completion import zoo_names
from cnnstat.commands.options import (
    INTERRUPTED,
    NO_CHART,
    NO_LATEX,
    ChartOptions,
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
)
from cnnstat.errors import CnnstatError
from cnnstat.files import open_output
from cnnstat.profile import need_torch

if TYPE_CHECKING:
    import rich.progress

    from cnnstat.profile.profile_options import Options, Progress
    from cnnstat.profile.profile_result import Profile
    from cnnstat.report.profile_changes import Against
    from cnnstat.sources.request import Request

BRIEF = 10
"""Samples of a network where many are profiled."""

MAIN = ("lenet5", "alexnet", "vgg16", "googlenet", "resnet18", "resnet50", "densenet121", "mobilenet_v2")
"""Networks that `cnnstat profile` takes without SOURCE, as far as the zoo has them."""


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
    autocast: Annotated[
        str | None, typer.Option(help="Automatic mixed precision: bfloat16 or float16.", metavar="DTYPE")
    ] = None,
    step: Annotated[
        str | None, typer.Option(help="Train: backward pass and a step of sgd or adam.", metavar="OPTIMIZER")
    ] = None,
    compiled: Annotated[bool, flag("--compile", "Measure what torch.compile makes of the model.")] = False,
    ops: Annotated[bool, flag("--ops", "Tell the ops inside each layer too.")] = False,
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
    recording: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Measure nothing: read a recording of torch.profiler, TensorRT or ONNX Runtime (.json, .json.gz).",
        ),
    ] = None,
    layer_info: Annotated[
        Path | None, typer.Option(help="With --from: TensorRT's --exportLayerInfo.", metavar="FILE")
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
    chart: ChartOptions = NO_CHART,
) -> None:
    """Measure how long every layer takes, why, and whether the layers add up to the whole model."""
    from cnnstat.profile.difference import compare_profiles
    from cnnstat.profile.profile_json import read_profile
    from cnnstat.profile.profile_options import SAMPLES, make_options
    from cnnstat.report.profile_changes import Against
    from cnnstat.report.subjects.profile import ProfileView, document

    view = ProfileView(depth=depth, columns=split_keys(columns), sort=sort, top=top)
    many = SAMPLES if source is not None else BRIEF
    options = make_options(
        device=device, dtype=model.dtype, channels_last=channels_last, backward=backward, tf32=tf32, isolate=isolate,
        autocast=autocast, step=step, compiled=compiled, ops=ops, energy=energy,
        samples=many if samples is None else samples, threads=threads, trace=trace,
    )  # fmt: skip
    chosen = output_format(format, output)
    request = model.request()
    if source is None:
        need_source({
            "--baseline": baseline, "--trace": trace, "--input": model.input, "--variable": model.variable,
            "--argument": model.argument, "--from": recording, "--layer-info": layer_info,
            "--depth": depth, "--columns": columns, "--sort": sort, "--top": top, "--chart": chart.chart,
        })  # fmt: skip
        raise typer.Exit(profile_zoo(request, options, chosen, output, strict))
    earlier = None if baseline is None else read_profile(baseline)
    if recording is None:
        if layer_info is not None:
            raise CnnstatError("--layer-info goes with --from, which names the profile that it describes")
        result = measure(source, request, options, refresh=refresh_ceilings)
    else:
        need_no_measurement({
            "--isolate": isolate, "--energy": energy, "--step": step, "--autocast": autocast, "--compile": compiled,
            "--trace": trace, "--tf32": tf32, "--channels-last": channels_last, "--refresh-ceilings": refresh_ceilings,
            "--samples": samples, "--threads": threads, "--device": device,
        })  # fmt: skip
        from cnnstat.profile.recorded.recorded_profile import profile_recording
        from cnnstat.sources.load import named_model

        recorded = named_model(source, request).with_dtype(model.dtype)
        result = profile_recording(recorded, recording, layer_info, has_ops=ops)
    against = None if earlier is None else Against(compare_profiles(earlier, result, str(baseline)), str(baseline))
    write(document(result, view, against), chosen, output, latex, chart)
    raise typer.Exit(exit_code(result, against, strict))


def need_source(options: Mapping[str, Any]) -> None:
    """Raise CnnstatError if an option was given that only goes with one SOURCE."""
    for option, value in options.items():
        if value is not None:
            raise CnnstatError(f"{option} needs a SOURCE, as in `cnnstat profile alexnet {option} …`")


def need_no_measurement(options: Mapping[str, Any]) -> None:
    """Raise CnnstatError if an option was given that says how to measure, with a recording that was made elsewhere."""
    for option, value in options.items():
        if value:
            raise CnnstatError(f"{option} says how to measure, and --from reads what was measured; leave one out")


def measure(source: str, request: Request, options: Options, *, refresh: bool = False) -> Profile:
    """Return the profile of a model, with a progress bar in a terminal; raises CnnstatError.

    refresh: measure the machine's ceilings anew.
    """
    try:
        need_torch()
        from cnnstat.profile import profile
        from cnnstat.sources.load import named_model

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
    from cnnstat import report
    from cnnstat.profile.roofline import cache_file
    from cnnstat.report.subjects.profile_overview import document, overview
    from cnnstat.sources import zoo

    names = [name for name in MAIN if name in zoo.names()]
    codes = []
    profiles: list[Profile] = []
    with open_output(output) as out:
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
            lines.finish(str(cache_file() or "no file, as CNNSTAT_CACHE is empty"))
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
        from cnnstat.profile.profile_options import Silent

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
