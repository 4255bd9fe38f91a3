"""`cnnstat ops`: the ops of the spec language."""

from __future__ import annotations

from typing import Annotated

import typer

from cnnstat import console
from cnnstat.commands.options import FormatOption, OutputOption, output_format


def op_names(incomplete: str) -> list[str]:
    """Return the ops that begin so, for the shell's completion."""
    from cnnstat.ops import names

    return [name for name in names() if name.startswith(incomplete)]


def ops(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="An op; without one, all are listed.", autocompletion=op_names)
    ] = None,
    format: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Show every op, or one with its arguments, formulas and (for activations) plot."""
    from cnnstat import report
    from cnnstat.report.subjects.ops import document

    with console.open_output(output) as out:
        report.write(document(name), output_format(format, output), out)
