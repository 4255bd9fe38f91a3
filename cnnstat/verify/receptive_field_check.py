"""Gradients as a reference for receptive fields: where a position of a feature map really reads the input."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor

from cnnstat.analysis.analysis import Analysis
from cnnstat.analysis.receptive_field.coordinates import Coordinate
from cnnstat.analysis.receptive_field.propagation import spatial_axes
from cnnstat.errors import CnnstatError
from cnnstat.ir.graph import Edge
from cnnstat.verify.findings import Box, FieldFinding, Verdict
from cnnstat.verify.global_receptive_field import expected, positions, whole_edges, whole_finding
from cnnstat.verify.gradient_pass import FieldError, Gradients, run_with_gradients
from cnnstat.verify.known_differences import contains, is_brought_round, is_float, mixer, router, why_less
from cnnstat.verify.model_under_test import ModelUnderTest

MAX_FIELD_BYTES = 256 * 2**20
"""Outputs of all layers up to the last that is checked, in the largest pass that gradients are followed through."""

LAYERS = 6
"""Layers whose field is checked, the network's own among them."""

OWN_SIZE = 4
"""How many times as much a network may take that takes no other input size than its own."""

SHORT = 64
"""Extent of the axes that are not being checked, where both together would take too much memory."""


class InputSizeError(FieldError):
    """The network does not run at other input sizes."""


class TooLargeError(FieldError):
    """The run with gradients would take too much memory."""


def check_fields(model: ModelUnderTest) -> tuple[tuple[FieldFinding, ...], tuple[str, ...]]:
    """Return the findings on some layers' receptive fields, and what could not be checked and why."""
    analysis = model.analysis
    if not analysis.layers or not any(spatial_axes(each.shape, each.dtype) for each in analysis.graph.inputs):
        return (), ()
    if any(source.dtype.startswith(("int", "uint", "bool")) for source in analysis.graph.inputs):
        return (), ("receptive field not checked: gradients do not reach whole numbers",)
    if analysis.fields.total is None:
        return (), ("receptive field not checked: every layer sees the whole input",)
    if not _edges(analysis):
        return (), ("receptive field not checked: gradients do not come through comparisons and whole numbers",)
    findings: list[FieldFinding] = []
    reasons: dict[object, str] = {}
    for sizes, limit in _attempts(analysis):
        try:
            part = _checked(model, sizes, limit)
        except FieldError as error:
            reasons.setdefault(str(error) if type(error) is FieldError else type(error), str(error))
            continue
        findings += part
        if sizes is None or _is_short(analysis, sizes) or _covers_axes(findings):
            break
    if not findings:
        return (), (f"receptive field not checked: {'; '.join(reasons.values())}",)
    return tuple(dict.fromkeys(findings)), ()


def _covers_axes(findings: Sequence[FieldFinding]) -> bool:
    """Whether the deepest layer's field lay wholly inside the input along every axis, in one run or another."""
    local = [each for each in findings if each.ours is not None]
    last = [each for each in local if each.layer == local[-1].layer]
    return bool(local) and all(
        any(each.ours[axis][0] >= 0 and each.ours[axis][1] < each.shape[axis] for each in last if each.ours)
        for axis in range(len(local[-1].shape))
    )


# Input sizes ----------------------------------------------------------------------------------------------------------


def _attempts(analysis: Analysis) -> Iterator[tuple[Mapping[str, tuple[int, ...]] | None, int]]:
    """Yield input sizes with the most bytes they may take; last, at any price but OWN_SIZE times that, as they are."""
    for sizes in _sizes(analysis):
        yield sizes, MAX_FIELD_BYTES
    yield None, OWN_SIZE * MAX_FIELD_BYTES


def _sizes(analysis: Analysis) -> Iterator[Mapping[str, tuple[int, ...]] | None]:
    """Yield input sizes to try: all axes as long as the field, then one at a time; as they are (None); then shorter."""
    field = analysis.totals.receptive_field
    assert field is not None
    sources = [s for s in analysis.graph.inputs if len(spatial_axes(s.shape, s.dtype)) == len(field.size)]
    is_roomy = any(all(2 * size <= n for size, n in zip(field.size, source.shape[2:])) for source in sources)
    if not is_roomy or _needed_bytes(analysis) > MAX_FIELD_BYTES:
        wanted = [size + 4 * math.ceil(stride or 32) for size, stride in zip(field.size, field.stride)]
        longs = {s.name: tuple(map(_rounded, wanted, s.shape[2:])) for s in sources}
        yield {s.name: (1, s.shape[1], *longs[s.name]) for s in sources}
        for axis in range(len(field.size)) if len(field.size) > 1 else ():
            yield {s.name: (1, s.shape[1], *_one_long(longs[s.name], s.shape[2:], axis)) for s in sources}
    yield None
    for parts in (2, 4, 8):
        yield {
            s.name: (1, s.shape[1], *(_rounded(max(1, size // parts), size) for size in s.shape[2:])) for s in sources
        }


def _is_short(analysis: Analysis, sizes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether no axis is longer than the network's own input, so that nothing better can follow."""
    return all(
        s.name not in sizes or all(map(int.__le__, sizes[s.name][2:], s.shape[2:])) for s in analysis.graph.inputs
    )


def _needed_bytes(analysis: Analysis) -> int:
    last = max(edge.value for edge in _edges(analysis)) if analysis.fields.total_at else 0
    return sum(layer.output_bytes for layer in analysis.layers[: last - analysis.graph.arity + 1])


def _rounded(length: int, declared: int) -> int:
    """Return a length rounded up to what divides the declared size, so that encoders and decoders still fit."""
    unit = math.gcd(declared, 64)
    return math.ceil(length / unit) * unit


def _one_long(longs: tuple[int, ...], declared: Sequence[int], axis: int) -> tuple[int, ...]:
    return tuple(
        long if place == axis else min(size, max(SHORT, math.gcd(size, 64)))
        for place, (long, size) in enumerate(zip(longs, declared))
    )


def _checked(model: ModelUnderTest, sizes: Mapping[str, tuple[int, ...]] | None, limit: int) -> list[FieldFinding]:
    """Return the findings at some input sizes; raises FieldError where the network does not take them.

    limit: bytes that all layers' outputs may take.
    """
    if sizes is not None:
        try:
            assert model.resized is not None
            model = model.resized(sizes)
        except (CnnstatError, AssertionError, RuntimeError, ValueError, TypeError) as error:
            message = shorten(" ".join(str(error).split()), 160, placeholder=" …")
            raise InputSizeError(f"the model takes no other input sizes ({message})") from error
        if model.analysis.fields.total is None:
            raise InputSizeError("at other input sizes no layer has a receptive field")
    needed = _needed_bytes(model.analysis)
    if needed > limit:
        shapes = " and ".join("×".join(map(str, source.shape)) for source in model.graph.inputs)
        condition = f"with an input of {shapes}; the limit is {limit // 2**20} MiB"
        raise TooLargeError(f"its tensors take {needed / 2**20:,.0f} MiB {condition}")
    analysis = model.analysis
    run = run_with_gradients(model, edges := _edges(analysis))
    local = [edge for edge in edges if analysis.fields.of(*edge) is not None]
    findings = [
        finding
        for edge in local
        for finding in _at(analysis, edge, run.results[edge], _inputs(analysis, run, len(_coordinates(analysis, edge))))
    ]
    for edge in (edge for edge in edges if edge not in local):
        bounds = expected(analysis, edge.value)
        assert bounds is not None
        inputs = _inputs(analysis, run, len(bounds[0]))
        box = reached(run.results[edge], *positions(analysis, edge), inputs)
        finding = whole_finding(analysis, edge, box, tuple(inputs[0].shape[2:]), router(analysis, edge))
        findings.append(finding)
    return findings


def _coordinates(analysis: Analysis, edge: Edge) -> dict[int, Coordinate | None]:
    """Return how a local tensor follows each axis of the inputs that its field is of."""
    coordinates = analysis.fields.coordinates(*edge)
    assert coordinates is not None
    return coordinates


def _inputs(analysis: Analysis, run: Gradients, rank: int) -> list[Tensor]:
    """Return the inputs with so many spatial axes: a field is of those alone."""
    sources = zip(run.inputs, analysis.graph.inputs)
    return [tensor for tensor, source in sources if len(spatial_axes(source.shape, source.dtype)) == rank]


# Layers and positions -------------------------------------------------------------------------------------------------


def _edges(analysis: Analysis) -> list[Edge]:
    """Return the tensors to check, in order: maps whose field differs, evenly spread, the network's, and two wholes."""
    fields, total = analysis.fields, analysis.fields.total_at
    assert total is not None
    distinct: dict[tuple[Any, ...], Edge] = {}
    for value in range(analysis.graph.arity, total.value):
        field = fields.of(value)
        if field is not None and not field.global_context and is_float(analysis, value):
            distinct.setdefault((field.size, field.stride, field.start), Edge(value))
    others = [edge for edge in distinct.values() if fields.inside_share(*edge)] or list(distinct.values())
    step = max(1, math.ceil(len(others) / (LAYERS - 1)))
    own = {total} if is_float(analysis, total.value) else set()
    return sorted({*others[::step], *own, *whole_edges(analysis, total)})


def _at(analysis: Analysis, edge: Edge, result: Tensor, inputs: list[Tensor]) -> Iterator[FieldFinding]:
    """Yield the findings on a feature map at its centre and one step on, where a period of 2 would show."""
    coordinates = _coordinates(analysis, edge)
    name = analysis.graph.value_name(edge.value)
    shape = tuple(inputs[0].shape[2:])
    # One axis of the input may be spread over several of the tensor, and an axis may be read as a whole.
    local = [coordinate for coordinate in coordinates.values() if coordinate is not None]
    places = sorted({digit.place for coordinate in local for digit in coordinate.digits})
    centre = [(result.shape[place] - 1) // 2 for place in places]
    steps = [min(at + 1, result.shape[place] - 1) for at, place in zip(centre, places)]
    is_exact = all(coordinate.field is not None and coordinate.field.is_exact for coordinate in local)
    for position in dict.fromkeys((tuple(centre), tuple(steps))):
        indices = dict(zip(places, position))
        intervals = [(0, length - 1) if c is None else c.at(indices) for c, length in zip(coordinates.values(), shape)]
        if any(interval is None for interval in intervals):
            continue
        ours: Box = tuple(interval for interval in intervals if interval is not None)
        box = reached(result, places, position, inputs)
        verdict, reason = _judged(ours, box, shape, is_exact)
        if verdict is Verdict.UNEXPLAINED and (joining := mixer(analysis, edge)) and contains(box, ours, shape):
            verdict = Verdict.EXPLAINED
            reason = f"cnnstat takes {joining} for seeing the whole input beside this field; the gradient lies between"
        is_inside = box is None or contains(ours, box, shape)
        if verdict is Verdict.UNEXPLAINED and is_inside and (why := why_less(analysis, edge)):
            verdict, reason = Verdict.EXPLAINED, why
        if verdict is Verdict.UNEXPLAINED and is_brought_round(analysis, edge, ours, box, shape):
            verdict = Verdict.EXPLAINED
            reason = "the field passes a border, where a layer before brings the other end of the map in"
        clipped = any(lo < 0 or hi >= length for (lo, hi), length in zip(ours, shape))
        yield FieldFinding(
            layer=name, position=position, shape=shape, ours=ours, gradient=box, clipped=clipped,
            verdict=verdict, reason=reason,
        )  # fmt: skip


def _judged(ours: Box, box: Box | None, shape: Sequence[int], is_exact: bool) -> tuple[Verdict, str]:
    """Return the verdict on a field: equal along every axis; only inside where the border or a bound hides the end."""
    if box is None and any(lo < 0 or hi >= length for (lo, hi), length in zip(ours, shape)):
        return Verdict.EXPLAINED, "it reads the padding between layers alone"
    if box is None:
        return Verdict.UNEXPLAINED, "no gradient reaches the input"
    for (lo, hi), (first, last), length in zip(ours, box, shape):
        if first < lo or last > hi:
            return Verdict.UNEXPLAINED, "the gradient reaches further than the receptive field"
        if is_exact and ((lo >= 0 and first != lo) or (hi < length and last != hi)):
            return Verdict.UNEXPLAINED, "the gradient reaches less far than the receptive field"
    if not is_exact:
        return Verdict.EXPLAINED, "the field is a bound, and the gradient stays inside"
    return Verdict.AGREES, ""


def reached(result: Tensor, places: Sequence[int], position: Sequence[int], inputs: list[Tensor]) -> Box | None:
    """Return the box of inputs that a position reads, whatever the batch and channel; None if it reads none."""
    index: list[Any] = [slice(None)] * result.dim()
    for place, at in zip(places, position):
        index[place] = at
    chosen = result[tuple(index)]
    if not chosen.requires_grad:
        return None
    if chosen.is_complex():
        chosen = torch.view_as_real(chosen.resolve_conj())  # imaginary parts may read what no real part does
    try:
        nan = torch.full_like(chosen, torch.nan)
        gradients = torch.autograd.grad(chosen, inputs, nan, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        message = " ".join(str(error).split())[:160]
        raise FieldError(f"gradients do not come through it ({type(error).__name__}: {message})") from error
    masks = [g.ne(0).flatten(0, 1).any(0) for g in gradients if g is not None]
    masks = [mask for mask in masks if mask.any()]
    if not masks:
        return None
    corners = [mask.nonzero() for mask in masks]
    lows = torch.stack([c.amin(0) for c in corners]).amin(0).tolist()
    highs = torch.stack([c.amax(0) for c in corners]).amax(0).tolist()
    return tuple(zip(lows, highs))
