"""`cnnstat sweep`: many variants of models, or many models, each with its totals."""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cnnstat.choices import Format, Mode, words
from cnnstat.commands.completion import zoo_names
from cnnstat.commands.options import (
    INTERRUPTED,
    MODE,
    NO_CHART,
    NO_LATEX,
    ChartOptions,
    DeviceOption,
    LatexOptions,
    OptimizerOption,
    OutputOption,
    StrictOption,
    ThreadsOption,
    alternatives,
    flag,
    model_option,
    output_format,
    split_keys,
    write,
)
from cnnstat.errors import CnnstatError, inert_line, printable

if TYPE_CHECKING:
    from cnnstat.sweep.accuracies import Accuracies
    from cnnstat.sweep.evaluate import Record
    from cnnstat.sweep.point_file import PointFile
    from cnnstat.sweep.selection import Selection
    from cnnstat.sweep.sweep import Plan, Progress

SweepFormat = Literal[Format, "jsonl"]
ExecutorName = Literal["processes", "slurm", "local"]
JSON_LINES = (".jsonl", ".ndjson")


def sweep(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            autocompletion=zoo_names,
            help="Models as `analyze` takes them, or patterns of them: 'specs/*.yaml', 'torchvision:resnet*'.",
        ),
    ],
    variable: Annotated[
        list[str] | None,
        model_option("--set", help="Values of a spec's variable: width=16:64:8, depth=2,3.", metavar="NAME=VALUES"),
    ] = None,
    argument: Annotated[
        list[str] | None,
        model_option("--arg", help="Values of an argument of a PyTorch model.", metavar="NAME=VALUES"),
    ] = None,
    input: Annotated[
        list[str] | None,
        model_option("--input", help="Input sizes: 3x{160,192,224}x=, where = repeats the size.", metavar="SIZES"),
    ] = None,
    batch: Annotated[str | None, model_option("--batch", help="Batch sizes: 1,8,32.", metavar="N,…")] = None,
    dtype: Annotated[str | None, model_option("--dtype", help="Dtypes: float32,float16.", metavar="DTYPE,…")] = None,
    deploy: Annotated[
        str | None,
        model_option("--deploy", help="Precisions to deploy in: none,float32,float16,int8.", metavar="NAME,…"),
    ] = None,
    mode: Annotated[Mode, MODE] = "eval",
    seed: Annotated[
        int, model_option("--seed", help="What random numbers, and --sample, start from.", metavar="N", min=0)
    ] = 0,
    optimizer: OptimizerOption = "sgd",
    strict_receptive_field: StrictOption = False,
    where: Annotated[
        str, typer.Option(help="Keep points such as 'params < 5M and receptive_field >= 200'.", metavar="CONDITION")
    ] = "",
    pareto: Annotated[
        str | None,
        typer.Option(
            help="Keep the Pareto front of figures: macs,peak_inference_bytes; +KEY, -KEY: more, less is better.",
            metavar="KEY,…",
        ),
    ] = None,
    sort: Annotated[
        str, typer.Option(help="Figure to sort by, largest first; -macs: smallest first.", metavar="KEY")
    ] = "",
    top: Annotated[int | None, typer.Option(help="Show only so many points.", metavar="N")] = None,
    sample: Annotated[int | None, typer.Option(help="Draw so many of all points.", metavar="N")] = None,
    columns: Annotated[str | None, typer.Option(help="Columns to show, separated by commas.", metavar="KEY,…")] = None,
    accuracy: Annotated[
        Path | None, typer.Option(help="CSV file with measured accuracies by model.", metavar="FILE")
    ] = None,
    plot: Annotated[str | None, typer.Option(help="Draw two figures: macs,params.", metavar="X,Y")] = None,
    profile: Annotated[bool, flag("--profile", "Measure each point's latency too, one after the other.")] = False,
    device: DeviceOption = None,
    samples: Annotated[int | None, typer.Option(help="With --profile: measurements of each (10).", metavar="N")] = None,
    threads: ThreadsOption = None,
    jobs: Annotated[int | None, typer.Option(help="Processes; one a core unless given.", metavar="N", min=1)] = None,
    executor: Annotated[
        ExecutorName,
        typer.Option(help="What runs the points: processes, slurm (cnnstat[slurm]), or local.", metavar="NAME"),
    ] = "processes",
    slurm: Annotated[
        list[str] | None, typer.Option(help="Parameter of SLURM jobs: partition=gpu.", metavar="NAME=VALUE")
    ] = None,
    format: Annotated[
        SweepFormat | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            help=f"{alternatives(SweepFormat)}; else as FILE ends, or table.",
        ),
    ] = None,
    output: OutputOption = None,
    latex: LatexOptions = NO_LATEX,
    chart: ChartOptions = NO_CHART,
) -> None:
    """Analyze many variants of models, or many models; the same command goes on where it was stopped."""
    from cnnstat.sources.request import Request
    from cnnstat.sweep.accuracies import Accuracies
    from cnnstat.sweep.grid import Grid, axes, expanded_sources
    from cnnstat.sweep.selection import ACCURACY, Selection, check_measured
    from cnnstat.sweep.sweep import Plan

    is_lines = format == "jsonl" or (format is None and output is not None and output.suffix.lower() in JSON_LINES)
    chosen = "jsonl" if is_lines else output_format(format, output)  # type: ignore[arg-type]
    varying = axes(
        set=variable or (),
        arg=argument or (),
        input=input or (),
        single={"batch": batch, "dtype": dtype, "deploy": deploy},
    )
    if "-" in sources:
        raise CnnstatError("- can be read only once, and a sweep reads its source for every point; name a file")
    grid = Grid(expanded_sources(sources), varying)
    grid = grid if sample is None else grid.sampled(sample, seed)
    settings = tuple(axis.key for axis in varying)
    selection = Selection(where, split_keys(pareto) or (), sort, top)
    missing = [name for name, is_given in (("latency", profile), (ACCURACY, accuracy)) if not is_given]
    selection.check(settings, missing)
    pair = _pair(plot)
    keys = split_keys(columns)
    _check_columns((*(keys or ()), *(pair or ())), settings)
    for key in pair or ():
        check_measured(f"--plot {plot}", key, missing)
    timing = {"device": device, "samples": samples, "threads": threads}
    if not profile and (names := [name for name, value in timing.items() if value is not None]):
        raise CnnstatError(f"--{names[0]} is of measured times; add --profile")
    plan = Plan(
        grid=grid,
        base=Request(mode=mode, seed=seed),
        optimizer=optimizer,
        strict=strict_receptive_field,
        jobs=jobs,
        executor=_executor(executor, slurm or (), jobs),
        profile=_latency(timing) if profile else None,
    )
    accuracies = None if accuracy is None else Accuracies.read(accuracy, settings)
    with _processes_of_safe_path():
        _run(plan, settings, selection, accuracies, chosen, output, keys, pair, latex, chart)


@contextmanager
def _processes_of_safe_path() -> Iterator[None]:
    """Let new processes of Python look for modules elsewhere than in the current folder first."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = before or "1"  # else a checkout's `multiprocessing.py` would run
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


def _run(
    plan: Plan,
    settings: Sequence[str],
    selection: Selection,
    accuracies: Accuracies | None,
    format: str,
    output: Path | None,
    columns: Sequence[str] | None,
    plot: tuple[str, str] | None,
    latex: LatexOptions,
    chart: ChartOptions,
) -> None:
    """Compute the points, keep them in a file if there is one, and write what is selected."""
    from cnnstat.report.subjects.sweep import document
    from cnnstat.sweep.point_file import PointFile, line_of
    from cnnstat.sweep.sweep import Sweep, run

    # What people read is made of all points at the end; until then they are kept beside it, one line each.
    file = (
        None if output is None else PointFile(output if format == "jsonl" else output.with_name(f"{output.name}.jsonl"))
    )
    records: list[Record] = []
    try:
        with _progress() as progress:
            for record in run(plan, progress, file):
                if file is None:
                    records.append(record)
    except KeyboardInterrupt:
        _stopped(plan, len(records), file)
        raise typer.Exit(INTERRUPTED) from None
    change = None if accuracies is None else accuracies.joined
    if file is not None and format == "jsonl":
        failed, first = _finish_lines(file, selection, settings, change)
        if plot is not None or chart.chart is not None:
            shown = document(Sweep.of(PointFile.read(file.path), settings), columns, plot)
            chart.write(shown)
            if plot is not None:
                write(shown, "table", None)
        _say(f"{len(plan.grid):,} points, {sum(1 for _ in PointFile.read(file.path)):,} of them in {file.path}")
    else:
        records = sorted(records, key=lambda record: record["point"]) if file is None else [*file.records()]
        everything = Sweep.of(records if change is None else map(change, records), settings)
        result = everything.select(selection)
        if format == "jsonl":
            chart.write(document(result, columns, plot))
            sys.stdout.writelines(map(line_of, result.records))
        else:
            write(document(result, columns, plot), format, output, latex, chart)
        if file is not None:
            file.remove()
        failed, first = len(everything.failed), next((record["error"] for record in everything.failed), "")
    if accuracies is not None and accuracies.unused:
        _say(f"{accuracies.path}: no point is called {', '.join(accuracies.unused[:5])[:300]}")
    if failed and (format != "table" or failed == len(plan.grid)):  # tables cut the lines of errors
        _say(f"{failed:,} of {len(plan.grid):,} points have no figures; the first: {first}")
    if failed and failed == len(plan.grid):
        raise typer.Exit(2)


def _say(line: str) -> None:
    print(inert_line(printable(f"cnnstat: {line}")), file=sys.stderr)


def _finish_lines(
    file: PointFile, selection: Selection, settings: Sequence[str], change: Callable[[Record], Record] | None
) -> tuple[int, str]:
    """Leave in a file of points those that are selected, in their order; return how many failed, and the first error.

    Of each record only what the selection asks for is held in memory.
    """
    from cnnstat.sweep.selection import flat, unsigned

    condition = selection.check(settings)
    names = {"point", "source", "settings", *map(unsigned, (*selection.pareto, selection.sort))}
    failed, first, numbers = 0, "", array("q")
    slim: list[Record] = []
    for record in file.records():
        if record["error"]:
            failed, first = failed + 1, first or record["error"]
        record = record if change is None else change(record)
        if selection.is_empty:
            numbers.append(record["point"])
        elif not record["error"] and condition(flat(record)):
            slim.append({key: value for key, value in record.items() if key in names})
    if not selection.is_empty:
        rest = selection._replace(where="")
        numbers.extend(record["point"] for record in rest.selected(slim, settings))
    file.finish(numbers, change)
    return failed, first


def _stopped(plan: Plan, seen: int, file: PointFile | None) -> None:
    done = seen if file is None else len(file)
    again = "" if file is None else f", kept in {file.path}; the same command goes on from there"
    _say(f"stopped after {done:,} of {len(plan.grid):,} points{again}")
    if file is not None:
        file.close()


def _pair(text: str | None) -> tuple[str, str] | None:
    keys = split_keys(text)
    if keys is None:
        return None
    if len(keys) != 2:
        raise CnnstatError(f"--plot {text}: write two figures, as in --plot macs,params")
    return keys[0], keys[1]


def _check_columns(keys: Sequence[str], settings: Sequence[str]) -> None:
    from cnnstat.report.subjects.sweep import column_keys
    from cnnstat.report.table import check_column

    for key in keys:
        check_column(key, column_keys(settings))


def _executor(name: ExecutorName, parameters: Sequence[str], jobs: int | None) -> Any:
    """Return submitit's executor for SLURM, or for this machine; None for processes of our own."""
    if name == "processes":
        if parameters:
            raise CnnstatError(f"--slurm {parameters[0]} is for --executor slurm")
        return None
    try:
        import submitit
    except ImportError:
        raise CnnstatError(f"--executor {name} needs submitit; pip install 'cnnstat[slurm]'") from None
    from cnnstat.files import cache_folder
    from cnnstat.sources.request import parse_arguments

    folder = (cache_folder() or Path.cwd() / ".cnnstat") / "slurm"
    result = submitit.AutoExecutor(folder=folder, cluster=name)
    try:
        result.update_parameters(name="cnnstat", **{_slurm_name(k): v for k, v in parse_arguments(parameters).items()})
    except Exception as error:
        raise CnnstatError(f"--slurm: {' '.join(str(error).split())[:300]}") from None
    return result


def _slurm_name(name: str) -> str:
    """Return submitit's name of a parameter: its own ones as they are, SLURM's with `slurm_` in front."""
    own = words("timeout_min mem_gb nodes cpus_per_task gpus_per_node tasks_per_node name stderr_to_stdout")
    return name if name in own or name.startswith("slurm_") else f"slurm_{name}"


def _latency(timing: dict[str, Any]) -> Any:
    """Return the function that measures a point's latency in seconds."""
    from cnnstat.commands.profile import BRIEF
    from cnnstat.profile import need_torch, profile
    from cnnstat.profile.profile_options import Silent, make_options
    from cnnstat.sources.load import named_model

    need_torch()
    given = {"samples": BRIEF, **{key: value for key, value in timing.items() if value is not None}}

    def measure(point: Any, request: Any) -> float:
        options = make_options(dtype=request.dtype, **given)
        return float(profile(named_model(point.source, request), options, Silent()).whole.plain.median)

    return measure


# Progress -------------------------------------------------------------------------------------------------------------


class _Bar:
    """Points that are done, of all, with the time left."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._task = bars.add_task("points", total=None)
        self._errors = 0

    def start(self, done: int, total: int) -> None:
        """Show how many are known already."""
        self._bars.reset(self._task, total=total, completed=done)

    def step(self, record: Any) -> None:
        """Move on by one."""
        if record["error"]:
            self._errors += 1
            self._bars.update(self._task, description=f"points ({self._errors:,} with errors)")
        self._bars.advance(self._task)


@contextmanager
def _progress() -> Iterator[Progress | None]:
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    texts = TextColumn("{task.description}", markup=False), TextColumn("left")
    with Bars(texts[0], BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), texts[1],
              console=Console(stderr=True), transient=True) as bars:  # fmt: skip
        yield _Bar(bars)
