"""`cnnstat analyze`: every layer of a network and its totals."""

from __future__ import annotations

from typing import Annotated

import typer

from cnnstat import console
from cnnstat.commands.options import (
    FLAG,
    ArgumentOption,
    BatchOption,
    ColumnsOption,
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
    SourceArgument,
    StrictOption,
    TracebackOption,
    load_analysis,
    split_keys,
)
from cnnstat.errors import CnnstatError


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
        int | None, typer.Option(help="Fold blocks below this depth of names; totals never change.", metavar="N")
    ] = None,
    columns: ColumnsOption = None,
    sort: Annotated[str | None, typer.Option(help="Column to sort by.", metavar="KEY")] = None,
    top: Annotated[int | None, typer.Option(help="Show only so many rows and sum up the rest.", metavar="N")] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Set published figures beside the exact ones.", metavar=FLAG)
    ] = False,
    format: PageFormatOption = PageFormat.table,
    output: OutputOption = None,
) -> None:
    """Show every layer of a network and its totals."""
    from cnnstat import report

    shown = {"--depth": depth, "--columns": columns, "--sort": sort, "--top": top}
    if published and (given := [name for name, value in shown.items() if value is not None]):
        raise CnnstatError(f"{given[0]} is of the table of layers, and --published shows another; leave one out")
    view = report.View(depth=depth, columns=split_keys(columns), sort=sort, top=top)
    analysis = load_analysis(source, input, batch, dtype, set, arg, mode, optimizer, strict_receptive_field)
    with console.open_output(output) as out:
        if published:
            from cnnstat.analysis.published import published_rows

            report.write_published(analysis, published_rows(analysis), format.value, out)
        else:
            report.write(analysis, view, format.value, out)
