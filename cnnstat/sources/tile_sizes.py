"""Tile sizes: a model at the size of a tile and at others, for which its input is declared anew."""

from __future__ import annotations

from collections.abc import Sequence

from cnnstat.analysis.analysis import Analysis, analyze_graph
from cnnstat.analysis.tiles import Tiling, tiling
from cnnstat.errors import RequestError
from cnnstat.ir.graph import Input
from cnnstat.sources.model import ModelReference, ModuleReference
from cnnstat.sources.request import InputShape, parse_input


def tiles_of(model: ModelReference, text: str) -> Tiling:
    """Return how images are run by a model in tiles of `512x512`, or `512` along every axis; raises CnnstatError."""
    inputs = model.load().inputs
    if len(inputs) != 1 or len(inputs[0].shape) < 3:
        raise RequestError("--tiles is of models that read one image, sequence or volume")
    try:
        sizes = parse_input(text)[1].sizes
    except RequestError:
        wanted = "write sizes without batch and channels, as in 512x512 or 512"
        raise RequestError(f"--tiles {text[:60]}: {wanted}") from None
    spatial = len(inputs[0].shape) - 2
    if len(sizes) not in (1, spatial):
        example = "x".join(["512"] * spatial)
        raise RequestError(f"--tiles {text[:60]}: write {spatial} sizes, without batch and channels, as in {example}")
    if not model.can_change_inputs and not isinstance(model, ModuleReference):
        raise RequestError("--tiles needs a model that can be loaded at other sizes of its input")

    def at_sizes(sizes: Sequence[int]) -> Analysis:
        analysis = analyze_graph(model.with_inputs(_shapes(inputs[0], sizes)).load())
        if analysis.graph.inputs[0].shape[2:] != tuple(sizes):
            raise RequestError("--tiles needs a model that can be loaded at other sizes of its input")
        return analysis

    return tiling(at_sizes(sizes if len(sizes) == spatial else sizes * spatial), at_sizes)


def _shapes(declared: Input, sizes: Sequence[int]) -> dict[str, InputShape]:
    return {declared.name: InputShape((*declared.shape[:2], *sizes))}
