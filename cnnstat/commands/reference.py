"""`cnnstat list`, `ops` and `schema`: what cnnstat knows, without a model of the user's."""

from __future__ import annotations

from typing import Annotated

import typer

from cnnstat.commands.options import (
    NO_CHART,
    NO_LATEX,
    ChartOptions,
    FormatOption,
    LatexOptions,
    OutputOption,
    output_format,
    write,
)
from cnnstat.errors import CnnstatError, did_you_mean
from cnnstat.files import open_output


def list_zoo(
    kind: Annotated[
        str | None,
        typer.Option(help="Only one kind: classification, mobile, microcontroller, detection, …", metavar="KIND"),
    ] = None,
    since: Annotated[int | None, typer.Option(help="Only those published in or after a year.", metavar="YEAR")] = None,
    until: Annotated[int | None, typer.Option(help="Only those published in or before a year.", metavar="YEAR")] = None,
    format: FormatOption = None,
    output: OutputOption = None,
    latex: LatexOptions = NO_LATEX,
) -> None:
    """List the networks of the zoo with their titles and totals, by kind and year."""
    from cnnstat import api
    from cnnstat.report.subjects.zoo import document
    from cnnstat.sources import zoo

    if kind is not None and kind not in zoo.KINDS:
        hint = did_you_mean(kind, zoo.KINDS) or f"; kinds: {', '.join(zoo.KINDS)}"
        raise CnnstatError(f"--kind {kind[:60]}: there is no such kind{hint}")
    analyses = [api.analyze(name) for name in zoo.names() if kind in (None, zoo.kind_of(name))]
    years = [zoo.year_of(str(analysis.graph.about.get("cite", ""))) or 0 for analysis in analyses]
    analyses = [a for a, year in zip(analyses, years) if (since or 0) <= year <= (until or year)]
    if not analyses:
        raise CnnstatError("no network of the zoo is of that kind and those years")
    write(document(analyses), output_format(format, output, has_charts=False), output, latex)


def op_names(incomplete: str) -> list[str]:
    """Return the ops that begin so in any case, for the shell's completion."""
    from cnnstat.ops import names

    return [name for name in names() if name.lower().startswith(incomplete.lower())]


def ops(
    name: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="An op, or part of its name, as in pool; without one, all. Several activations share a plot.",
            autocompletion=op_names,
        ),
    ] = None,
    format: FormatOption = None,
    output: OutputOption = None,
    chart: ChartOptions = NO_CHART,
) -> None:
    """Show every op, or one with its arguments, formulas and (for activations) plot."""
    from cnnstat.report.subjects.ops import document

    write(document(*(name or ())), output_format(format, output), output, NO_LATEX, chart)


def schema(output: OutputOption = None) -> None:
    """Print the JSON Schema of the spec language, for editors."""
    import json

    from cnnstat.spec.json_schema import schema as spec_schema

    with open_output(output) as out:
        out.file.write(json.dumps(spec_schema(), indent=2, ensure_ascii=False) + "\n")
