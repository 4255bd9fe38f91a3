"""`cnnstat draw`: a picture of a network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cnnstat.choices import DrawFormat, DrawShare, DrawStyle
from cnnstat.commands.completion import layer_names
from cnnstat.commands.options import AnalyzedOptions, OutputOption, SourceArgument, flag, split_keys
from cnnstat.errors import CnnstatError
from cnnstat.files import write_output


def draw(
    source: SourceArgument,
    *,
    style: Annotated[
        DrawStyle, typer.Option(help="blocks, folded by structure, or volumes, tensors by size.", metavar="STYLE")
    ] = "blocks",
    depth: Annotated[
        int | None, typer.Option(help="Open blocks to this depth of names; else as fits on a page.", metavar="N")
    ] = None,
    expand: Annotated[
        str | None, typer.Option(help="Blocks to open with all in them, such as layer3.", metavar="NAME,…")
    ] = None,
    full: Annotated[bool, flag("--full", "Draw every layer by itself.")] = False,
    by: Annotated[
        DrawShare | None,
        typer.Option(help="Show each box's share of macs, params, memory or time.", metavar="FIGURE"),
    ] = None,
    profile: Annotated[Path | None, typer.Option(help="JSON of a profile, for --by time.", metavar="FILE")] = None,
    field: Annotated[
        str | None,
        typer.Option(help="Draw what layers see of the input instead.", metavar="LAYER,…", autocompletion=layer_names),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="Photo to draw the field on, a PNG or JPEG.", metavar="FILE")
    ] = None,
    model: AnalyzedOptions,
    format: Annotated[
        DrawFormat | None,
        typer.Option(
            "--format",
            "-f",
            help="svg, png, pdf, html, dot, mmd, tex, json; else as FILE ends, or svg.",
            metavar="FORMAT",
        ),
    ] = None,
    output: OutputOption = None,
) -> None:
    """Draw a network: boxes folded by structure, with sizes, skips and blocks."""
    from cnnstat.draw import draw_analysis
    from cnnstat.draw.drawing import format_of
    from cnnstat.draw.formats import render

    chosen = format or ("svg" if output is None else format_of(output))
    drawing = draw_analysis(
        model.analyze(source),
        style=style,
        by=by,
        depth=depth,
        expand=_names("--expand", expand),
        full=full,
        times=None if profile is None else _times(profile),
        field=_names("--field", field),
        image=image,
    )
    _write(render(drawing, chosen), output)


def _names(option: str, written: str | None) -> tuple[str, ...]:
    """Return the names of a comma-separated list, none where the option is not given; raises CnnstatError."""
    names = split_keys(written)
    if names == ():
        raise CnnstatError(f"{option} names nothing; `cnnstat analyze` lists the layers")
    return names or ()


def _times(path: Path) -> dict[str, float]:
    """Return the seconds of each layer that a profile has measured; raises CnnstatError."""
    from cnnstat.profile.profile_json import read_profile

    return {layer.name: layer.forward.median for layer in read_profile(path).layers}


def _write(content: str | bytes, path: Path | None) -> None:
    """Write text or bytes to a file, or to stdout as they are."""
    if path is not None:
        write_output(path, content)
    elif isinstance(content, str):
        sys.stdout.write(content)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
