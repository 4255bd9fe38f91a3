"""`cnnstat analyze`: every layer of a network and its totals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cnnstat.commands.completion import column_keys
from cnnstat.commands.options import (
    NO_CHART,
    NO_LATEX,
    AnalyzedOptions,
    ChartOptions,
    ColumnsOption,
    FormatOption,
    LatexOptions,
    OptimizerOption,
    OutputOption,
    SourceArgument,
    StrictOption,
    flag,
    output_format,
    split_keys,
    write,
)
from cnnstat.errors import CnnstatError

if TYPE_CHECKING:
    from cnnstat.analysis.analysis import Analysis
    from cnnstat.analysis.device_floor import DeviceFloor


def analyze(
    source: SourceArgument,
    model: AnalyzedOptions,
    optimizer: OptimizerOption = "sgd",
    strict_receptive_field: StrictOption = False,
    depth: Annotated[
        int | None, typer.Option(help="Fold blocks below this depth of names; totals never change.", metavar="N")
    ] = None,
    columns: ColumnsOption = None,
    sort: Annotated[
        str | None, typer.Option(help="Column to sort by.", metavar="KEY", autocompletion=column_keys)
    ] = None,
    top: Annotated[int | None, typer.Option(help="Show only so many rows and sum up the rest.", metavar="N")] = None,
    resolutions: Annotated[
        str | None,
        typer.Option(
            help="Totals at several input sizes instead: 160:512:32 (as Python's range) or 224,256.", metavar="SIZES"
        ),
    ] = None,
    device_sheet: Annotated[
        str | None,
        typer.Option(
            help="Add a floor of time (no prediction) on a device: a YAML file, stm32h743, snapdragon865 or h200.",
            metavar="FILE",
        ),
    ] = None,
    tiles: Annotated[
        str | None,
        typer.Option(
            help="How large images are run in tiles of this size instead: halo, valid outputs, step.", metavar="SIZES"
        ),
    ] = None,
    published: Annotated[bool, flag("--published", "Set published figures beside the exact ones.")] = False,
    format: FormatOption = None,
    output: OutputOption = None,
    latex: LatexOptions = NO_LATEX,
    chart: ChartOptions = NO_CHART,
) -> None:
    """Show every layer of a network and its totals."""
    from cnnstat.report.subjects.analysis import FLOOR, AnalysisView, document

    table_options = {"--depth": depth, "--columns": columns, "--sort": sort, "--top": top}
    table_options["--device-sheet"] = device_sheet
    if published and (names := [name for name, value in table_options.items() if value is not None]):
        raise CnnstatError(f"{names[0]} is of the table of layers, and --published shows another; leave one out")
    chosen = output_format(format, output)
    if resolutions is not None:
        others = {"--depth": depth, "--sort": sort, "--top": top, "--published": published or None}
        others |= {"--device-sheet": device_sheet, "--tiles": tiles}
        if names := [name for name, value in others.items() if value is not None]:
            raise CnnstatError(f"{names[0]} is of the table of layers, and --resolutions shows totals; leave one out")
        from cnnstat.report.subjects.sweep import resolutions_document
        from cnnstat.sweep.resolutions import resolution_sweep

        result = resolution_sweep(source, model.request(), resolutions, optimizer, strict_receptive_field)
        write(resolutions_document(result, split_keys(columns)), chosen, output, latex, chart)
        if len(result.failed) == len(result):
            raise typer.Exit(2)
        return
    if tiles is not None:
        others = {**table_options, "--published": published or None}
        if names := [name for name, value in others.items() if value is not None]:
            raise CnnstatError(f"{names[0]} is of the table of layers, and --tiles shows tiles; leave one out")
        from cnnstat.report.subjects import tiles as tiles_subject
        from cnnstat.sources.load import named_model
        from cnnstat.sources.tile_sizes import tiles_of

        write(
            tiles_subject.document(tiles_of(named_model(source, model.request()), tiles)), chosen, output, latex, chart
        )
        return
    view = AnalysisView(depth=depth, columns=split_keys(columns), sort=sort, top=top)
    if device_sheet is None and FLOOR in (view.sort, *(view.columns or ())):
        raise CnnstatError("the column floor is of a device; add --device-sheet FILE")
    analysis = model.analyze(source, optimizer, strict_receptive_field)
    if published:
        from cnnstat.analysis.published import published_rows
        from cnnstat.report.subjects import published as subject

        write(subject.document(analysis, published_rows(analysis)), chosen, output, latex, chart)
    else:
        write(document(analysis, view, floor_of(analysis, device_sheet)), chosen, output, latex, chart)


def floor_of(analysis: Analysis, device_sheet: str | None) -> DeviceFloor | None:
    """Return the floor of a network on the device of a sheet, None without one; raises CnnstatError."""
    if device_sheet is None:
        return None
    from cnnstat.analysis.device_floor import device_floor
    from cnnstat.sources.device_sheets import read_device_sheet

    return device_floor(analysis, read_device_sheet(device_sheet))
