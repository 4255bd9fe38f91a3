"""The command line: arguments in, report out.

Exit codes: 0 fine, 1 a limit is broken, 2 the usage or the model is wrong, 3 something could not be verified.
"""

from __future__ import annotations

import os
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from cnnstat import __version__, console

app = typer.Typer(
    name="cnnstat",
    help="Analyze CNN architectures: shapes, parameters, MACs, memory and receptive fields, layer by layer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Format(str, Enum):
    """Output formats."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"


class Optimizer(str, Enum):
    """Optimizers, by the state they keep for every parameter: none, one copy, two copies."""

    sgd = "sgd"
    momentum = "momentum"
    adam = "adam"


class Mode(str, Enum):
    """Modes of a PyTorch model."""

    eval = "eval"
    train = "train"


class CheckFormat(str, Enum):
    """Output formats of `check`."""

    table = "table"
    json = "json"
    markdown = "markdown"
    summary = "summary"
    github = "github"
    gitlab = "gitlab"
    junit = "junit"
    sarif = "sarif"


SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A network of the zoo (`cnnstat list`), a .yaml file, or torchvision:NAME, timm:NAME, file.py:Class.",
    ),
]
InputOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input", help="Input sizes, with or without the batch: 3x227x227, or name=1x128:int64.", metavar="SIZES"
    ),
]
BatchOption = Annotated[int | None, typer.Option("--batch", help="Batch size (1 unless given).")]
DtypeOption = Annotated[str | None, typer.Option("--dtype", help="Dtype of weights and activations, such as float16.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Give a variable of the spec another value.", metavar="NAME=VALUE")
]
ArgumentOption = Annotated[
    list[str] | None,
    typer.Option("--arg", help="Give the class or function of a PyTorch model an argument.", metavar="NAME=VALUE"),
]
ModeOption = Annotated[Mode, typer.Option("--mode", help="Mode a PyTorch model runs in.")]
TracebackOption = Annotated[
    bool,
    typer.Option(
        "--traceback", help="Show a PyTorch model's own error too.", callback=console.show_tracebacks, is_eager=True
    ),
]
OptimizerOption = Annotated[Optimizer, typer.Option(help="Whose state training memory includes.")]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict-receptive-field", help="Let a gate with global context (squeeze-excite) count as seeing everything."
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", "-f", help="Output format.")]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Write to a file instead.", metavar="FILE")]
ColumnsOption = Annotated[
    str | None, typer.Option("--columns", help="Columns to show, separated by commas.", metavar="KEY,…")
]


def _limit_option(flag: str, said: str) -> Any:
    """Return an option that sets a limit."""
    return typer.Option(flag, help=said, metavar="AMOUNT", rich_help_panel="Limits")


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    """Analyze CNN architectures: shapes, parameters, MACs, memory and receptive fields, layer by layer."""
    if version:
        print(f"cnnstat {__version__}")
        raise typer.Exit


@app.command()
def analyze(
    source: SourceArgument,
    input: InputOption = None,
    batch: BatchOption = None,
    dtype: DtypeOption = None,
    set: SetOption = None,
    arg: ArgumentOption = None,
    mode: ModeOption = Mode.eval,
    traceback: TracebackOption = False,
    optimizer: OptimizerOption = Optimizer.sgd,
    strict_receptive_field: StrictOption = False,
    depth: Annotated[
        int | None, typer.Option(help="Fold blocks below this depth of names; totals never change.")
    ] = None,
    columns: ColumnsOption = None,
    sort: Annotated[str | None, typer.Option(help="Column to sort by.", metavar="KEY")] = None,
    top: Annotated[int | None, typer.Option(help="Show only so many rows and sum up the rest.")] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Set published figures beside the exact ones.")
    ] = False,
    format: FormatOption = Format.table,
    output: OutputOption = None,
) -> None:
    """Show every layer of a network and its totals."""
    from cnnstat import report

    view = report.View(depth=depth, columns=_keys(columns), sort=sort, top=top)
    analysis = _analyze(source, input, batch, dtype, set, arg, mode, optimizer, strict_receptive_field)
    with console.open_output(output) as out:
        if published:
            from cnnstat.published import published_rows

            report.write_published(analysis, published_rows(analysis), format.value, out)
        else:
            report.write(analysis, view, format.value, out)


@app.command()
def compare(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE…", help="Networks; ratios are to the first.")],
    input: InputOption = None,
    batch: BatchOption = None,
    dtype: DtypeOption = None,
    set: SetOption = None,
    arg: ArgumentOption = None,
    mode: ModeOption = Mode.eval,
    traceback: TracebackOption = False,
    optimizer: OptimizerOption = Optimizer.sgd,
    strict_receptive_field: StrictOption = False,
    format: FormatOption = Format.table,
    output: OutputOption = None,
) -> None:
    """Set the totals of several networks side by side, and draw their layers as bars."""
    from cnnstat import report
    from cnnstat.comparison import compare_analyses

    options = (input, batch, dtype, set, arg, mode, optimizer, strict_receptive_field)
    comparison = compare_analyses([_analyze(source, *options) for source in sources])
    with console.open_output(output) as out:
        report.write_comparison(comparison, format.value, out)


@app.command()
def explain(
    source: SourceArgument,
    layer: Annotated[
        str, typer.Argument(metavar="LAYER", help="Name of a layer, the end of its name, or its row number.")
    ],
    input: InputOption = None,
    batch: BatchOption = None,
    dtype: DtypeOption = None,
    set: SetOption = None,
    arg: ArgumentOption = None,
    mode: ModeOption = Mode.eval,
    traceback: TracebackOption = False,
    strict_receptive_field: StrictOption = False,
    format: FormatOption = Format.table,
    output: OutputOption = None,
) -> None:
    """Write out the arithmetic of one layer with its numbers put in."""
    from cnnstat import report

    analysis = _analyze(source, input, batch, dtype, set, arg, mode, Optimizer.sgd, strict_receptive_field)
    with console.open_output(output) as out:
        report.write_explanation(analysis, layer, format.value, out)


@app.command("list")
def list_zoo(format: FormatOption = Format.table, output: OutputOption = None) -> None:
    """List the networks of the zoo with their titles and totals."""
    from cnnstat import api, report
    from cnnstat.frontends import zoo

    analyses = [api.analyze(name) for name in zoo.names()]
    with console.open_output(output) as out:
        report.write_zoo(analyses, format.value, out)


@app.command()
def ops(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="An op; without one, all are listed.")] = None,
    format: FormatOption = Format.table,
    output: OutputOption = None,
) -> None:
    """Show every op, or one with its arguments, formulas and (for activations) plot."""
    from cnnstat import report

    with console.open_output(output) as out:
        report.write_ops(name, format.value, out)


@app.command()
def schema(output: OutputOption = None) -> None:
    """Print the JSON Schema of the spec language, for editors."""
    import json

    from cnnstat.frontends.schema import schema as spec_schema

    with console.open_output(output) as out:
        out.file.write(json.dumps(spec_schema(), indent=2, ensure_ascii=False) + "\n")


@app.command()
def check(
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="[SOURCE…]", help="Networks; without any, all that are configured.")
    ] = None,
    max_params: Annotated[str | None, _limit_option("--max-params", "Parameters, as in 5M.")] = None,
    max_macs: Annotated[str | None, _limit_option("--max-macs", "Multiply-accumulates, as in 600M.")] = None,
    max_flops: Annotated[str | None, _limit_option("--max-flops", "Floating-point operations, as in 1.2G.")] = None,
    max_peak_memory: Annotated[
        str | None, _limit_option("--max-peak-memory", "Activations alive at once in inference, as in 16MiB.")
    ] = None,
    max_training_memory: Annotated[
        str | None, _limit_option("--max-training-memory", "Parameters, gradients, optimizer and saved tensors.")
    ] = None,
    max_activation_memory: Annotated[
        str | None, _limit_option("--max-activation-memory", "All layers' outputs together.")
    ] = None,
    max_file_size: Annotated[
        str | None, _limit_option("--max-file-size", "Parameters and buffers of a state_dict file, as in 20MB.")
    ] = None,
    min_receptive_field: Annotated[
        str | None, _limit_option("--min-receptive-field", "Smaller side of the receptive field, as in 200.")
    ] = None,
    max_increase: Annotated[
        list[str] | None,
        typer.Option(
            help="Growth against the baseline, as in params=2%.", metavar="METRIC=AMOUNT", rich_help_panel="Limits"
        ),
    ] = None,
    input: InputOption = None,
    batch: BatchOption = None,
    dtype: DtypeOption = None,
    set: SetOption = None,
    arg: ArgumentOption = None,
    mode: Annotated[Mode | None, typer.Option(help="Mode a PyTorch model runs in.")] = None,
    traceback: TracebackOption = False,
    optimizer: Annotated[Optimizer | None, typer.Option(help="Whose state training memory includes.")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file.", metavar="FILE")] = None,
    baseline: Annotated[str | None, typer.Option(help="Baseline file to compare with.", metavar="FILE")] = None,
    baseline_ref: Annotated[str | None, typer.Option(help="Git ref to compare with.", metavar="REF")] = None,
    require_baseline: Annotated[
        bool, typer.Option("--require-baseline", help="A growth limit without a baseline is exit code 3.")
    ] = False,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Write the baseline file and print what changed.")
    ] = False,
    fail_on_baseline_growth: Annotated[
        bool, typer.Option("--fail-on-baseline-growth", help="Fail if this change raises the baseline file itself.")
    ] = False,
    format: Annotated[CheckFormat, typer.Option("--format", "-f", help="Output format.")] = CheckFormat.table,
    output: Annotated[
        list[str] | None, typer.Option("--output", "-o", help="Write a file too.", metavar="FORMAT:PATH")
    ] = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Report broken limits, but exit with 0.")] = False,
) -> None:
    """Check sizes against limits, absolute or relative to a baseline; exit code 1 if one is broken, 3 if unverified."""
    from cnnstat.budget import delivery, run
    from cnnstat.budget.selection import Options, flag_limits

    flags = {
        "params": max_params,
        "macs": max_macs,
        "flops": max_flops,
        "peak_inference_bytes": max_peak_memory,
        "training_bytes": max_training_memory,
        "activation_bytes": max_activation_memory,
        "file_size": max_file_size,
        "receptive_field": min_receptive_field,
    }
    options = Options(
        sources=tuple(sources or ()),
        limits=flag_limits(flags, max_increase or ()),
        request=_request(input, batch, dtype, set, arg, mode or Mode.eval),
        mode=mode.value if mode else None,
        optimizer=optimizer.value if optimizer else None,
        config=config,
        baseline=baseline,
        baseline_ref=baseline_ref,
        require_baseline=require_baseline,
        fail_on_baseline_growth=fail_on_baseline_growth,
    )
    if update_baseline:
        print(*run.update_baseline(options), sep="\n")
        return
    outputs = delivery.parse_outputs(output or ())
    report = run.check(options)
    delivery.deliver(report, outputs, format.value)
    _print_check(report, format.value)
    raise typer.Exit(0 if exit_zero else report.exit_code)


def _print_check(report: Any, format: str) -> None:
    """Print a check's report; only the table needs a console."""
    from cnnstat.budget import formats

    if format != "table":
        sys.stdout.write(formats.render(report, format))
        return
    with console.open_output(None) as out:
        formats.write(report, format, out)


def _analyze(
    source: str,
    inputs: list[str] | None,
    batch: int | None,
    dtype: str | None,
    variables: list[str] | None,
    arguments: list[str] | None,
    mode: Mode,
    optimizer: Optimizer,
    strict: bool,
) -> Any:
    """Return the analysis that the shared options ask for."""
    from cnnstat.frontends.source import load_source
    from cnnstat.passes.analysis import analyze_graph

    graph = load_source(source, _request(inputs, batch, dtype, variables, arguments, mode))
    return analyze_graph(graph, optimizer=optimizer.value, strict=strict)


def _request(
    inputs: list[str] | None,
    batch: int | None,
    dtype: str | None,
    variables: list[str] | None,
    arguments: list[str] | None,
    mode: Mode,
) -> Any:
    """Return the changes to a model that the shared options ask for."""
    from cnnstat.frontends.request import Request, parse_arguments, parse_inputs, parse_variables

    return Request(
        inputs=parse_inputs(inputs or ()),
        batch=batch,
        dtype=dtype,
        variables=parse_variables(variables or ()),
        arguments=parse_arguments(arguments or ()),
        mode=mode.value,
    )


def _keys(columns: str | None) -> tuple[str, ...] | None:
    """Return the keys of a comma-separated list."""
    return None if columns is None else tuple(key.strip() for key in columns.split(",") if key.strip())


def main() -> None:
    """Run the command line; every error is one clear line (a spec's faults one each) and exit code 2."""
    from cnnstat.errors import CnnstatError

    console.prepare_streams()
    try:
        code = typer.main.get_command(app).main(prog_name="cnnstat", standalone_mode=False)
        sys.stdout.flush()
    except CnnstatError as error:
        code = console.report_error(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        code = console.report_unexpected(error)
    sys.exit(code or 0)
