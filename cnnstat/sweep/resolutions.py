"""A model at several sizes of its input: the points are sizes of all spatial axes, channels and batch as they are."""

from __future__ import annotations

from cnnstat.errors import RequestError
from cnnstat.ir.graph import Graph, Input
from cnnstat.sources.load import load_source
from cnnstat.sources.request import Request
from cnnstat.sweep.grid import Axis, Grid, axis_values
from cnnstat.sweep.sweep import Plan, Sweep, collected

NAME = "size"
"""What the records call the size."""


def resolution_grid(source: str, graph: Graph, text: str) -> Grid:
    """Return the grid of `160:512:32` or `224,256`: square inputs, cubes or sequences as the model's are.

    graph: the model as it is without, whose inputs say which axes are spatial: all behind batch and channels.
    Raises RequestError where the model has no such axis.
    """
    sizes = axis_values(text, "--resolutions")
    wrong = next((size for size in sizes if not size.isdecimal() or int(size) < 1), None)
    if wrong is not None:
        raise RequestError(f"--resolutions {wrong[:60]}: write sizes, as in 160:512:32 or 224,256")
    spatial = [each for each in graph.inputs if len(each.shape) > 2]
    if not spatial:
        shapes = ", ".join("×".join(map(str, each.shape)) for each in graph.inputs)
        raise RequestError(f"--resolutions: {source} reads {shapes}, which has no axis of height or width")
    if len(graph.inputs) == 1:
        values = tuple(_sizes(spatial[0], size) for size in sizes)
    else:
        values = tuple(" ".join(f"{each.name}={_sizes(each, size)}" for each in spatial) for size in sizes)
    return Grid((source,), (Axis("inputs", NAME, values, sizes),))


def resolution_sweep(source: str, request: Request, text: str, optimizer: str, strict: bool) -> Sweep:
    """Return a model at the sizes of `160:512:32` or `224,256`; a size that it refuses is a point with the reason.

    request: what else is to be changed about it. Raises CnnstatError where the model itself cannot be loaded.
    """
    grid = resolution_grid(source, load_source(source, request), text)
    plan = Plan(grid=grid, base=request, optimizer=optimizer, strict=strict, jobs=1)
    return Sweep.of(collected(plan), (NAME,))


def _sizes(declared: Input, size: str) -> str:
    """Return the sizes of an input, batch included, with all axes behind the channels of one size."""
    batch, channels, *spatial = declared.shape
    return "x".join(map(str, (batch, channels, *[size] * len(spatial))))
