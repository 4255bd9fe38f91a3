"""`cnnstat compare`: several networks side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from cnnstat import console
from cnnstat.commands.options import (
    ArgumentOption,
    BatchOption,
    DtypeOption,
    Format,
    FormatOption,
    InputOption,
    Mode,
    ModeOption,
    Optimizer,
    OptimizerOption,
    OutputOption,
    SetOption,
    StrictOption,
    TracebackOption,
    load_analysis,
)


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
    comparison = compare_analyses([load_analysis(source, *options) for source in sources])
    with console.open_output(output) as out:
        report.write_comparison(comparison, format.value, out)
