"""`cnnstat explain`: the arithmetic of one layer, or what is alive at the peak."""

from __future__ import annotations

from typing import Annotated

import typer

from cnnstat.commands.completion import layer_names
from cnnstat.commands.options import (
    AnalyzedOptions,
    FormatOption,
    OutputOption,
    SourceArgument,
    StrictOption,
    flag,
    output_format,
    write,
)
from cnnstat.errors import CnnstatError


def explain(
    source: SourceArgument,
    layer: Annotated[
        str | None,
        typer.Argument(
            metavar="LAYER",
            help="Name of a layer, the end of its name, or its row number.",
            autocompletion=layer_names,
        ),
    ] = None,
    *,
    peak: Annotated[bool, flag("--peak", "What is alive where inference peaks, largest first, instead.")] = False,
    model: AnalyzedOptions,
    strict_receptive_field: StrictOption = False,
    format: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Write out the arithmetic of one layer with its numbers put in, or what is alive at the peak."""
    if peak == (layer is not None):
        raise CnnstatError(
            "explain takes a LAYER or --peak" + (", not both" if peak else "; `analyze` lists the layers")
        )
    analysis = model.analyze(source, strict_receptive_field=strict_receptive_field)
    if layer is None:
        from cnnstat.analysis.peak import peak_of
        from cnnstat.report.subjects import peak as subject

        write(subject.document(peak_of(analysis)), output_format(format, output, has_charts=False), output)
        return
    from cnnstat.analysis.explanation import Explanation
    from cnnstat.report.subjects.explanation import document

    write(document(Explanation(analysis, layer)), output_format(format, output, has_charts=False), output)
