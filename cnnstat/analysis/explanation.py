"""Explanation: what there is to know about one layer, and how its receptive field follows from those before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from cnnstat import numbers
from cnnstat.analysis.analysis import Analysis, Layer, flops_beside_products
from cnnstat.analysis.layer_lookup import find_layer
from cnnstat.analysis.receptive_field.fields import ReceptiveField
from cnnstat.analysis.receptive_field.gridding import covered_fraction
from cnnstat.display import Displayed
from cnnstat.errors import printable
from cnnstat.ir.declaration import Formula
from cnnstat.ir.graph import Edge, Node
from cnnstat.ir.op import Shape
from cnnstat.ir.window import IDENTITY, AxisRule, Window
from cnnstat.numbers import number_text


class Explanation(Displayed):
    """Everything there is to say about one layer; `name` is what `find_layer` understands.

    formulas: the op's own arithmetic. weights, buffers: the shapes of its tensors by name. steps: how its receptive
    field comes about, axis by axis. layer: its figures. Raises CnnstatError if there is no such layer.
    """

    def __init__(self, analysis: Analysis, name: str) -> None:
        self.analysis = analysis
        self.index = find_layer(analysis.graph, name)
        self.value = analysis.graph.arity + self.index

    def __eq__(self, other: object) -> bool:
        """Whether both are of the same layer of equal analyses."""
        if not isinstance(other, Explanation):
            return NotImplemented
        return self.index == other.index and self.analysis == other.analysis

    def __hash__(self) -> int:
        return hash((self.analysis, self.index))

    @cached_property
    def node(self) -> Node:
        """The op call."""
        return self.analysis.graph.nodes[self.index]

    @cached_property
    def layer(self) -> Layer:
        """What the passes found about it."""
        return self.analysis.layer_at(self.index)

    @property
    def code(self) -> str:
        """File and line of the code that calls it, where an exported program says so."""
        return str(self.analysis.graph.about.get("code", {}).get(self.node.name, ""))

    @cached_property
    def formulas(self) -> tuple[Formula, ...]:
        """The op's own arithmetic."""
        return self.node.op.formulas(self.layer.input_shapes, self.layer.output_shapes)

    @cached_property
    def weights(self) -> Mapping[str, Shape]:
        """The learnable tensors that the op uses."""
        return self.node.op.weights(self.layer.input_shapes)

    @cached_property
    def buffers(self) -> Mapping[str, Shape]:
        """The tensors that it stores and does not learn."""
        return self.node.op.buffers(self.layer.input_shapes)

    def dtype_of(self, tensor: str) -> str:
        """Return the dtype of one of these tensors, which is its owner's where they are shared."""
        graph, node = self.analysis.graph, self.node
        return (node if node.shares is None else graph.nodes[node.shares]).dtype_of(tensor, graph.dtype)

    @cached_property
    def flop_parts(self) -> dict[str, int]:
        """What its FLOPs consist of."""
        others = flops_beside_products(self.analysis.graph, self.analysis.values, self.index, self.layer.macs)
        return {**({"2 × MACs": 2 * self.layer.macs} if self.layer.macs else {}), **others}

    @cached_property
    def steps(self) -> tuple[AxisSteps, ...]:
        """How its receptive field comes about; empty if it has none."""
        return recurrence(self.analysis, self.index)

    @cached_property
    def inside_share(self) -> Fraction | None:
        """Share of its positions whose field lies wholly inside the input."""
        return self.analysis.fields.inside_share(self.value)

    @cached_property
    def covered(self) -> tuple[Fraction, ...] | None:
        """Share of its field that it really reads, along each axis."""
        return covered_fraction(self.analysis.fields, self.value)

    @cached_property
    def shared_with(self) -> str | None:
        """The layer that owns its weights, if it is another one."""
        return None if self.node.shares is None else self.analysis.graph.nodes[self.node.shares].name


# The receptive field -------------------------------------------------------------------------------------------------

AXIS_NAMES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


class AxisField(NamedTuple):
    """The receptive field along one axis."""

    size: int
    stride: Fraction | None
    start: int

    @property
    def end(self) -> int:
        """The last input of the first output."""
        return self.start + self.size - 1


class Source(NamedTuple):
    """One input of a layer along one axis: its name, its field, and how the layer reads it; None for not at all."""

    name: str
    before: AxisField | None
    rule: AxisRule | None


class AxisSteps(NamedTuple):
    """What one axis (or several that do the same) gets: sources, the field that results, and the formulas between."""

    axes: tuple[str, ...]
    after: AxisField
    formulas: tuple[Formula, ...]


def recurrence(analysis: Analysis, index: int) -> tuple[AxisSteps, ...]:
    """Return the steps of each axis of node `index`, equal axes together; empty if it has no receptive field."""
    value, fields = analysis.graph.arity + index, analysis.fields
    field, coordinates = fields.of(value), fields.coordinates(value)
    if field is None or coordinates is None:
        return ()
    names = AXIS_NAMES.get(len(coordinates), tuple(f"axis {i + 1}" for i in range(len(coordinates))))
    shape = analysis.values.outputs[value][0]
    steps: dict[tuple[AxisField, tuple[Formula, ...]], list[str]] = {}
    for axis, (name, coordinate) in enumerate(zip(names, coordinates.values())):
        after = _along(field, axis)
        formulas: tuple[Formula, ...]
        if coordinate is None:
            formulas = (Formula("size", "the whole axis", "", after.size, WHOLE_AXIS),)
        elif not coordinate.digits:
            formulas = (Formula("size", "of the one position", "", after.size, ONE_POSITION),)
        elif (place := coordinate.place_in(shape)) is None:
            formulas = (Formula("size", "of each position", "", after.size, SPREAD_AXIS),)
        else:
            sources = _sources(analysis, index, place, axis)
            formulas = (*_formulas(sources, after), *_stack(analysis, index, place, after))
        steps.setdefault((after, formulas), []).append(name)
    return tuple(AxisSteps(tuple(axes), after, formulas) for (after, formulas), axes in steps.items())


WHOLE_AXIS = "every output depends on all of it"

ONE_POSITION = "the axis was read at one position, or as a part of which all is read"

SPREAD_AXIS = "views have given its positions other names, which changes no field"
"""What is said of an axis whose positions views have spread over several axes of the tensor."""


def _along(field: ReceptiveField, axis: int) -> AxisField:
    return AxisField(field.size[axis], field.stride[axis], field.start[axis])


def _stack(analysis: Analysis, index: int, place: int, after: AxisField) -> tuple[Formula, ...]:
    """Return 1 + L(K − 1) where a layer ends a stack of L windows of one kernel and stride 1 from the input on."""
    graph, kernel, layers = analysis.graph, 0, 0
    while index >= 0:
        reads = analysis.values.facets[index].reads(0)
        entry = reads[0][place] if len(reads) == 1 else None
        if entry is None:
            return ()
        place, rule = entry
        if not isinstance(rule, Window):
            return ()
        if rule != IDENTITY:
            taps = rule.taps[0]
            if rule.period > 1 or rule.advance != 1 or not taps or taps.step > 1 or kernel not in (0, len(taps)):
                return ()
            kernel, layers = len(taps), layers + 1
        elif not layers:
            return ()
        index = graph.nodes[index].inputs[0].value - graph.arity
    if layers < 2 or 1 + layers * (kernel - 1) != after.size:
        return ()
    note = f"a stack of L = {layers} layers with K = {kernel} and stride 1"
    return (Formula("stack", "1 + L(K − 1)", f"1 + {layers}·({kernel} − 1)", after.size, note),)


def _sources(analysis: Analysis, index: int, place: int, axis: int) -> tuple[Source, ...]:
    """Return the inputs that axis `place` of a node's output reads along axis number `axis` of the network's input."""
    node, inputs = analysis.graph.nodes[index], analysis.values.inputs[index]
    reads = node.op.window(inputs, analysis.values.outputs[analysis.graph.arity + index])
    sources = []
    for edge, axes in zip(node.inputs, reads):
        entry = axes[place]
        name = printable(analysis.graph.value_name(edge.value))
        before = None if entry is None else _field_of(analysis, edge, axis)
        sources.append(Source(name, before, None if entry is None else entry[1]))
    return tuple(sources)


def _field_of(analysis: Analysis, edge: Edge, axis: int) -> AxisField | None:
    field = analysis.fields.of(*edge)
    return None if field is None or axis >= len(field.size) else _along(field, axis)


def _formulas(sources: Sequence[Source], after: AxisField) -> tuple[Formula, ...]:
    local = [source for source in sources if source.before is not None and isinstance(source.rule, Window)]
    if len(local) == 1:
        return _step(local[0], after)
    return _union(local, after)


def _step(source: Source, after: AxisField) -> tuple[Formula, ...]:
    """Return how one input's field becomes the layer's."""
    before, rule = source.before, source.rule
    assert before is not None and isinstance(rule, Window)
    if rule is IDENTITY or rule == IDENTITY:
        note = f"every output reads the same position of {source.name}: nothing changes"
        return _unchanged(after, note)
    if rule.period == 1 and rule.taps[0] and before.stride is not None:
        return _slide(before, rule, after)
    return _periodic(before, rule, after)


def _unchanged(after: AxisField, note: str) -> tuple[Formula, ...]:
    return (
        Formula("size", "size₀", "", after.size),
        Formula("stride", "stride₀", "", _value(after.stride)),
        Formula("start", "start₀", "", after.start, note),
    )


def _value(stride: Fraction | None) -> int | str:
    """Return a stride as an integer where it is one, as a fraction or a word where it is not."""
    return int(stride) if stride is not None and stride.denominator == 1 else number_text(stride)


def _slide(before: AxisField, window: Window, after: AxisField) -> tuple[Formula, ...]:
    """Return the recurrence of a sliding window: convolution, pooling, padding, cropping."""
    taps, jump = window.taps[0], before.stride or Fraction(0)
    extent, padding, step = taps[-1] - taps[0] + 1, -taps[0], number_text(jump)
    size, start = before.size + (extent - 1) * jump, before.start - padding * jump
    dilated = f"extent = D(K − 1) + 1 = {taps.step}·({len(taps)} − 1) + 1 = {extent}" if taps.step > 1 else ""
    size_numbers = f"{before.size} + ({extent} − 1)·{step}"
    start_numbers = f"{number_text(before.start)} − {_signed(padding)}·{step}"
    return (
        _exactly("size", "size₀ + (extent − 1)·stride₀", size_numbers, size, after.size, dilated),
        Formula("stride", "stride₀·S", f"{step}·{window.advance}", _value(after.stride)),
        _exactly("start", "start₀ − P·stride₀", start_numbers, start, after.start),
    )


def _exactly(quantity: str, symbols: str, numbers: str, by_formula: Fraction, value: int, note: str = "") -> Formula:
    """Return a line of the recurrence; where fields repeat with a period it does not hold, and the note says so."""
    if by_formula == value:
        return Formula(quantity, symbols, numbers, value, note)
    reason = "does not hold here: neighbouring outputs before it reach unequally far"
    why = f"{numbers} = {number_text(by_formula)} {reason}"
    return Formula(quantity, symbols, "", value, "; ".join(filter(None, (note, why))))


def _periodic(before: AxisField, window: Window, after: AxisField) -> tuple[Formula, ...]:
    """Return the recurrence of a window that repeats after several outputs: transposed convolution, resizing."""
    reach = [len(taps) for taps in window.taps]
    each = f"{min(reach)} to {max(reach)} inputs" if min(reach) != max(reach) else numbers.plural(max(reach), "input")
    moves = (
        f"a period of {numbers.plural(window.period, 'output')} moves on by {numbers.plural(window.advance, 'input')}"
    )
    moved = f"{number_text(before.stride)}·{window.advance}/{window.period}"
    stride = Formula("stride", "stride₀·inputs/outputs of a period", moved, _value(after.stride))
    size_note = f"each output reads {each}; {moves}"
    return (
        Formula("size", f"the longest of a period, from {before.size} before", "", after.size, size_note),
        stride if before.stride is not None else _unchanged(after, "")[1],
        Formula("start", f"that of the first output, from {number_text(before.start)} before", "", after.start),
    )


def _branch(source: Source) -> AxisField:
    """Return the field that one of several inputs brings along, read through its window where that is a sliding one."""
    before, rule = source.before, source.rule
    assert before is not None and isinstance(rule, Window)
    if rule.period > 1 or not rule.taps[0] or before.stride is None:
        return before
    taps, jump = rule.taps[0], before.stride
    size, start = before.size + (taps[-1] - taps[0]) * jump, before.start + taps[0] * jump
    return AxisField(int(size), jump * rule.advance, int(start))


def _union(sources: Sequence[Source], after: AxisField) -> tuple[Formula, ...]:
    """Return the field of each of several inputs, and how they are united."""
    branches = [(source.name, _branch(source)) for source in sources]
    first = min((field.start for _, field in branches), default=after.start)
    last = max((field.end for _, field in branches), default=after.end)
    is_sum = after.stride is not None and last - first + 1 == after.size
    size = f"{number_text(last)} − {_signed(first)} + 1" if is_sum else ""
    misaligned = "branches of different stride meet: the size is that of the centre output"
    return (
        *(_branch_line(name, field) for name, field in branches),
        Formula("size", "max end − min start + 1", size, after.size, "" if after.stride is not None else misaligned),
        Formula("stride", "that of all branches", "", _value(after.stride)),
        Formula("start", "min start", "", after.start),
    )


def _branch_line(name: str, field: AxisField) -> Formula:
    ends = f"{number_text(field.start)} … {number_text(field.end)}"
    return Formula(f"from {name}", f"stride {number_text(field.stride)}", ends, f"size {field.size:,}")


def _signed(number: int) -> str:
    return f"({number_text(number)})" if number < 0 else number_text(number)
