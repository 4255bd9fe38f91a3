"""`cnnstat explain`: the arithmetic of one layer."""

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
    OutputOption,
    SetOption,
    SourceArgument,
    StrictOption,
    TracebackOption,
    load_analysis,
)


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

    analysis = load_analysis(source, input, batch, dtype, set, arg, mode, Optimizer.sgd, strict_receptive_field)
    with console.open_output(output) as out:
        report.write_explanation(analysis, layer, format.value, out)
