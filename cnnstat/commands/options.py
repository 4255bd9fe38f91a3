"""Options that several commands share, and what they ask for together."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from cnnstat import console

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

MODEL = "Model"
"""Heading of the options that choose or change a model, in every command's help."""

FLAG = ""
"""What a flag takes, for its help: nothing, where typer would write its type."""


class Format(str, Enum):
    """Output formats."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"


class PageFormat(str, Enum):
    """Output formats of what can also be a page of its own."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"
    html = "html"


class Optimizer(str, Enum):
    """Optimizers, by the state they keep for every parameter: none, one copy, two copies."""

    sgd = "sgd"
    momentum = "momentum"
    adam = "adam"


class Mode(str, Enum):
    """Modes of a PyTorch model."""

    eval = "eval"
    train = "train"


def zoo_names(incomplete: str) -> list[str]:
    """Return the networks of the zoo that begin so, for the shell's completion; files complete by themselves."""
    from cnnstat.sources import zoo

    return [name for name in zoo.names() if name.startswith(incomplete)]


SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A zoo network (`cnnstat list`), a .yaml or .json file, - for one on standard input, torchvision:NAME, "
        "timm:NAME, file.py:Class.",
        autocompletion=zoo_names,
    ),
]
InputOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="Input sizes, with or without the batch: 3x227x227, or name=1x128:int64.",
        metavar="SIZES",
        rich_help_panel=MODEL,
    ),
]
BatchOption = Annotated[
    int | None, typer.Option("--batch", help="Batch size (1 unless given).", metavar="N", rich_help_panel=MODEL)
]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        help="Dtype of weights and activations, such as float16.",
        metavar="DTYPE",
        rich_help_panel=MODEL,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Give a variable of the spec another value.", metavar="NAME=VALUE", rich_help_panel=MODEL
    ),
]
ArgumentOption = Annotated[
    list[str] | None,
    typer.Option(
        "--arg",
        help="Give the class or function of a PyTorch model an argument.",
        metavar="NAME=VALUE",
        rich_help_panel=MODEL,
    ),
]
MODE = typer.Option(
    "--mode", help="Mode a PyTorch model runs in: eval or train.", metavar="MODE", rich_help_panel=MODEL
)
ModeOption = Annotated[Mode, MODE]
TracebackOption = Annotated[
    bool,
    typer.Option(
        "--traceback",
        help="Show a PyTorch model's own error too.",
        callback=console.show_tracebacks,
        is_eager=True,
        metavar=FLAG,
        rich_help_panel=MODEL,
    ),
]
OPTIMIZER = typer.Option(help="Whose state training memory includes: sgd, momentum or adam.", metavar="NAME")
OptimizerOption = Annotated[Optimizer, OPTIMIZER]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict-receptive-field",
        help="Let a gate with global context (squeeze-excite) count as seeing everything.",
        metavar=FLAG,
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(help="cuda, cuda:1, cpu or mps; CUDA where there is a GPU, else the CPU.", metavar="DEVICE"),
]
ThreadsOption = Annotated[int | None, typer.Option(help="Threads of PyTorch's CPU ops.", metavar="N")]
FormatOption = Annotated[Format, typer.Option("--format", "-f", help="table, json, csv or markdown.", metavar="FORMAT")]
PageFormatOption = Annotated[
    PageFormat, typer.Option("--format", "-f", help="table, json, csv, markdown or html.", metavar="FORMAT")
]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Write to a file instead.", metavar="FILE")]
ColumnsOption = Annotated[
    str | None, typer.Option("--columns", help="Columns to show, separated by commas.", metavar="KEY,…")
]


def load_analysis(
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
    from cnnstat.analysis.analysis import analyze_graph
    from cnnstat.sources.load import load_source

    graph = load_source(source, make_request(inputs, batch, dtype, variables, arguments, mode))
    return analyze_graph(graph, optimizer=optimizer.value, strict=strict)


def make_request(
    inputs: list[str] | None,
    batch: int | None,
    dtype: str | None,
    variables: list[str] | None,
    arguments: list[str] | None,
    mode: Mode,
) -> Any:
    """Return the changes to a model that the shared options ask for."""
    from cnnstat.sources.request import Request, parse_arguments, parse_inputs, parse_variables

    return Request(
        inputs=parse_inputs(inputs or ()),
        batch=batch,
        dtype=dtype,
        variables=parse_variables(variables or ()),
        arguments=parse_arguments(arguments or ()),
        mode=mode.value,
    )


def split_keys(columns: str | None) -> tuple[str, ...] | None:
    """Return the keys of a comma-separated list."""
    return None if columns is None else tuple(key.strip() for key in columns.split(",") if key.strip())
