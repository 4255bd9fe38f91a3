"""`cnnstat verify`: the counts of a network compared with those of independent tools."""

from __future__ import annotations

from typing import Annotated

import typer

from cnnstat.commands.options import (
    FormatOption,
    ModelOptions,
    OutputOption,
    SourceArgument,
    flag,
    output_format,
    write,
)


def verify(
    source: SourceArgument,
    model: ModelOptions,
    all: Annotated[bool, flag("--all", "Show the layers without work too.")] = False,
    no_run: Annotated[bool, flag("--no-run", "Let PyTorch work out shapes only: no memory, and no fvcore.")] = False,
    format: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Hold counts, shapes and receptive fields against fvcore, FlopCounterMode, a forward pass and gradients.

    Exits with 3 where a difference is left that nothing explains.
    """
    from cnnstat.report.subjects.verification import document
    from cnnstat.sources.load import named_model
    from cnnstat.verify import verify as verify_model

    chosen = output_format(format, output, has_charts=False)
    verification = verify_model(named_model(source, model.request()), may_run=not no_run)
    write(document(verification, all), chosen, output)
    raise typer.Exit(verification.exit_code)
