"""Captions: what stands in a box and beside a tensor, in words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from cnnstat.analysis.analysis import Analysis
from cnnstat.draw.parts import GENERAL_KINDS, Part
from cnnstat.draw.scene import Box
from cnnstat.errors import printable
from cnnstat.ir.graph import Node
from cnnstat.ir.op import Op, Shape, shape_text
from cnnstat.numbers import brief_count, plural

MOST_LINES = 4
"""Lines of a closed block that say what is in it."""
MOST_NAMES = 12
"""Names that a tooltip lists."""


class Caption(NamedTuple):
    """The text of a box: its title, what stands below, how often it is there, and what a tooltip says."""

    title: str
    lines: tuple[str, ...] = ()
    times: int = 1
    tooltip: str = ""


def caption(analysis: Analysis, box: Box) -> Caption:
    """Return the text of a box."""
    graph, part = analysis.graph, box.part
    if box.input is not None:
        name = printable(graph.inputs[box.input].name)
        shape = graph.inputs[box.input].shape
        return Caption(f"{name} {sizes(shape)}", tooltip=f"{name}: {shape_text(shape)}")
    tooltip = _tooltip(analysis, box)
    if part.parts:
        if part.is_stage:
            ends = f"{printable(graph.nodes[part.start].name)} … {printable(graph.nodes[part.end - 1].name)}"
            return Caption(plural(part.size, "layer"), (ends,), part.times, tooltip)
        inner, times = _inner(part)
        return Caption(_block_title(graph.nodes, part), _contents(analysis, inner), times, tooltip)
    nodes = graph.nodes[part.start : part.stop]
    shape = analysis.values.outputs[graph.arity + part.start][0]
    name = _run(graph.nodes, part) if part.path or part.times > 1 else _tail(nodes[0].name)
    names = [name, *(_short(node.op) for node in nodes[1:])]
    return Caption(described(nodes[0].op, shape), (" · ".join(names),), part.times, tooltip)


def frame_title(nodes: Sequence[Node], part: Part, around: str) -> tuple[str, str]:
    """Return the name of an opened block below that of the frame around it, and what it is called and how often."""
    kind = _kind(part)
    times = f"×{part.times}" if part.times > 1 else ""
    name = part.path.removeprefix(f"{around}.") if around else part.path
    if name and part.times > 1:
        name = f"{name.rpartition('.')[0]}.".lstrip(".") + _run(nodes, part)
    return printable(name), f"{kind} {times}".strip()


def sizes(shape: Shape) -> str:
    """Return a shape without its batch: `64×56×56`."""
    if len(shape) == 3 and shape[0] == 3 < min(shape[1:]):
        return shape_text(shape)  # an image as detectors take it, without a batch
    return shape_text(shape[1:]) if len(shape) > 1 else shape_text(shape) or "scalar"


def described(op: Op, output: Shape) -> str:
    """Return an op in few words, with the arguments that people draw: `Conv2d 3×3, 64, /2`."""
    op = applied(op)
    words = [_window(op, len(output) - 2)]
    features = getattr(op, "out_channels", None) or getattr(op, "out_features", None)
    groups = getattr(op, "groups", 1)
    is_depthwise = isinstance(groups, int) and groups > 1 and groups == features
    words += [str(features)] if isinstance(features, int) and not is_depthwise else []
    words += [_stride(op)]
    if isinstance(groups, int) and groups > 1:
        words.append("depthwise" if is_depthwise else f"{groups} groups")
    dilation = getattr(op, "dilation", 1)
    if dilation not in (1, (1, 1), (1,), (1, 1, 1)):
        words.append(f"dilated {_per_axis(dilation)}")
    return f"{_short(op)} {', '.join(word for word in words if word)}".strip()


def applied(op: Op) -> Op:
    """Return the op with the arguments of a layer, which some traced layers hold inside."""
    inner = getattr(op, "op", op)
    return inner if isinstance(inner, Op) else op


def _short(op: Op) -> str:
    return printable(op.kind)


def _window(op: Op, axes: int) -> str:
    """Return the size of a window, or of what an adaptive op gives."""
    size = getattr(op, "kernel_size", None)
    if size is None:
        size = getattr(op, "output_size", None)
        return "" if size is None else f"to {_per_axis(size)}"
    if isinstance(size, int):
        return "×".join([str(size)] * max(axes, 1))
    return _per_axis(size)


def _stride(op: Op) -> str:
    stride = getattr(op, "stride", None)
    if stride is None or not hasattr(op, "kernel_size"):
        stride = getattr(op, "kernel_size", 1)  # what a pool steps by unless it says otherwise
    steps = set(stride) if isinstance(stride, tuple) else {stride}
    return "" if steps == {1} else f"/{_per_axis(stride)}"


def _per_axis(value: object) -> str:
    """Return one number, or one for each axis; a number that all axes share is said once."""
    if isinstance(value, tuple):
        return "×".join(map(str, value)) if len(set(value)) > 1 else str(value[0])
    return str(value)


def _run(nodes: Sequence[Node], part: Part) -> str:
    """Return the last word of the name of a part, and of its last copy: `1 … 5`."""
    first = part.path or nodes[part.start].name
    if part.times == 1:
        return _tail(first)
    last = nodes[part.end - part.size].name.split(".")[: first.count(".") + 1]
    return f"{_tail(first)} … {printable(last[-1])}"


def _inner(part: Part) -> tuple[Part, int]:
    """Return the part that a closed block repeats, and how often; the block itself where it holds several."""
    times = part.times
    while len(part.parts) == 1:
        part = part.parts[0]
        times *= part.times
    if part.is_alike:
        return part.parts[0], times * len(part.parts)
    return part, times


def _block_title(nodes: Sequence[Node], part: Part) -> str:
    """Return the name of a closed block: its path with those of its copies, and what it is called."""
    kind, path = _kind(part), part.path
    if not path:
        path = f"{_tail(part.parts[0].path)} … {_tail(part.parts[-1].path)}"
    elif part.times > 1:
        path = _run(nodes, part)
    elif not kind and _tail(path).isdecimal():
        path = printable(".".join(path.split(".")[-2:]))  # a number says nothing without the block that counts
    else:
        path = _tail(path)
    return path if path.lower().startswith(kind.lower()) else f"{kind} {path}"


def _kind(part: Part) -> str:
    """Return what a block is called; nothing where that does not say what it does."""
    return "" if part.kind in GENERAL_KINDS else printable(part.kind)


def _tail(path: str) -> str:
    return printable(path.rpartition(".")[2])


def _contents(analysis: Analysis, part: Part) -> tuple[str, ...]:
    """Return lines on what is in a block: its layers with weights where they are few, else how many of a kind."""
    graph = analysis.graph
    weighted = [i for i in range(part.start, part.stop) if graph.nodes[i].op.counted_as_weighted]
    if not weighted or len(weighted) > 3 * MOST_LINES:
        return (_numbers(analysis, part),)
    texts = [described(graph.nodes[i].op, analysis.values.outputs[graph.arity + i][0]) for i in weighted]
    lines = [f"{text} ×{number}" if (number := len(list(run))) > 1 else text for text, run in groupby(texts)]
    return tuple(lines) if len(lines) <= MOST_LINES else (_numbers(analysis, part),)


def _numbers(analysis: Analysis, part: Part) -> str:
    """Return how many layers a block has, and how many parameters."""
    params = sum(analysis.parameters.params[part.start : part.stop])
    layers = plural(part.size, "layer")
    return f"{layers}, {brief_count(params)} parameters" if params else layers


def _tooltip(analysis: Analysis, box: Box) -> str:
    """Return the layers of a box with their ops and output shapes, and what they have and cost."""
    graph = analysis.graph
    lines = []
    for index in box.nodes[:MOST_NAMES]:
        node, shape = graph.nodes[index], analysis.values.outputs[graph.arity + index][0]
        lines.append(f"{printable(node.name)}: {printable(node.op.compact)} → {shape_text(shape)}")
    if len(box.nodes) > MOST_NAMES:
        lines.append(f"and {len(box.nodes) - MOST_NAMES:,} more layers")
    params = sum(analysis.parameters.params[index] for index in box.nodes)
    macs = sum(analysis.work.macs[index] for index in box.nodes)
    lines.append(f"{params:,} parameters, {macs:,} MACs")
    return "\n".join(lines)
