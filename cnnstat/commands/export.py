"""`cnnstat export`: any network as a spec or as a PyTorch file."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from cnnstat import console
from cnnstat.commands.options import (
    ArgumentOption,
    BatchOption,
    DtypeOption,
    InputOption,
    Mode,
    ModeOption,
    OutputOption,
    SetOption,
    SourceArgument,
    TracebackOption,
    make_request,
)
from cnnstat.errors import CnnstatError


class ExportFormat(str, Enum):
    """What a network can be exported to."""

    yaml = "yaml"
    json = "json"
    torch = "torch"


def export(
    source: SourceArgument,
    to: Annotated[
        ExportFormat | None,
        typer.Option(
            "--to", help="yaml or json for a spec, torch for a PyTorch file; else as FILE ends.", metavar="FORMAT"
        ),
    ] = None,
    input: InputOption = None,
    batch: BatchOption = None,
    dtype: DtypeOption = None,
    set: SetOption = None,
    arg: ArgumentOption = None,
    mode: ModeOption = Mode.eval,
    traceback: TracebackOption = False,
    output: OutputOption = None,
) -> None:
    """Write a network as a readable spec, or as a PyTorch file that needs nothing but torch."""
    from cnnstat.export import export_graph
    from cnnstat.sources.load import load_source

    wanted = to.value if to is not None else _format_of(output)
    request = replace(make_request(input, batch, dtype, set, arg, mode), keeps_values=wanted == "torch")
    text = export_graph(load_source(source, request), wanted)
    with console.open_output(output) as out:
        out.file.write(text)


def _format_of(output: Path | None) -> str:
    """Return the format that a file's ending asks for, YAML for stdout; raises CnnstatError for other endings."""
    from cnnstat.export import format_of

    found = "yaml" if output is None else format_of(output.suffix)
    if found is None:
        raise CnnstatError(f"--output {output}: ends in neither .yaml, .json nor .py; say --to yaml, json or torch")
    return found
