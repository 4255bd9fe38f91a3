"""`cnnstat export`: any network as a spec or as a PyTorch file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cnnstat.choices import ExportFormat
from cnnstat.commands.options import AnalyzedOptions, OutputOption, SourceArgument
from cnnstat.errors import CnnstatError
from cnnstat.files import open_output


def export(
    source: SourceArgument,
    to: Annotated[
        ExportFormat | None,
        typer.Option(
            "--to", help="yaml or json for a spec, torch, model-explorer; else as FILE ends.", metavar="FORMAT"
        ),
    ] = None,
    *,
    model: AnalyzedOptions,
    output: OutputOption = None,
) -> None:
    """Write a network as a readable spec, or as a PyTorch file that needs nothing but torch."""
    from cnnstat.export import export_graph
    from cnnstat.sources.load import load_source

    format = to or _format_of(output)
    request = replace(model.request(uses_cache=True), keeps_values=format == "torch")
    text = export_graph(load_source(source, request), format)
    with open_output(output) as out:
        out.file.write(text)


def _format_of(output: Path | None) -> str:
    """Return the format that a file's ending asks for, YAML for stdout; raises CnnstatError for other endings."""
    from cnnstat.export import format_of

    format = "yaml" if output is None else format_of(output.suffix)
    if format is None:
        raise CnnstatError(f"--output {output}: ends in neither .yaml, .json nor .py; say --to yaml, json or torch")
    return format
