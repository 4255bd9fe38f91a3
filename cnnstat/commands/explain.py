"""`cnnstat explain`: the arithmetic of one layer."""

from __future__ import annotations

from typing import Annotated

import typer

from cnnstat.commands.options import (
    AnalyzedOptions,
    FormatOption,
    OutputOption,
    SourceArgument,
    StrictOption,
    layer_names,
    output_format,
    write,
)


def explain(
    source: SourceArgument,
    layer: Annotated[
        str,
        typer.Argument(
            metavar="LAYER",
            help="Name of a layer, the end of its name, or its row number.",
            autocompletion=layer_names,
        ),
    ],
    model: AnalyzedOptions,
    strict_receptive_field: StrictOption = False,
    format: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Write out the arithmetic of one layer with its numbers put in."""
    from cnnstat.analysis.explanation import Explanation
    from cnnstat.report.subjects.explanation import document

    analysis = model.analyze(source, strict_receptive_field=strict_receptive_field)
    write(document(Explanation(analysis, layer)), output_format(format, output), output)
