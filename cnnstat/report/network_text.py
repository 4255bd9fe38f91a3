"""Network text: its name, shapes, totals and receptive field in words, as all reports write them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from cnnstat.analysis.analysis import Analysis, Layer
from cnnstat.analysis.figures import WORK_FIGURES
from cnnstat.analysis.memory import Memory
from cnnstat.analysis.receptive_field.fields import Extent, ReceptiveField
from cnnstat.ir.op import Shape
from cnnstat.numbers import MISALIGNED as MISALIGNED  # reports take both from here
from cnnstat.numbers import binary_bytes, count, listed, percent
from cnnstat.numbers import number_text as number_text
from cnnstat.report.document import Fact, glued
from cnnstat.report.table import Group
from cnnstat.report.terminal_text import printable

if TYPE_CHECKING:
    from cnnstat.analysis.device_floor import DeviceFloor

GLOBAL_CONTEXT = "global context"
NOT_CENTRED = "not centred"
BOUND = "bound"
WHOLE_INPUT = "whole input"

NOTES = {
    MISALIGNED: "branches of different stride meet; the size is that of the centre output",
    GLOBAL_CONTEXT: "a gate or statistics over space have seen the whole input beside it",
    NOT_CENTRED: "branches of different centre meet, their padding differs",
    BOUND: "at most this size",
}
"""What the notes on a receptive field mean."""


def shape_text(shape: Shape | None) -> str:
    """Return sizes joined by × (`64×55×55`)."""
    if shape is None:
        return ""
    return "×".join(map(str, shape)) or "scalar"


def shapes_text(shapes: Sequence[Shape]) -> str:
    """Return several shapes; equal ones once with their number (`2 of 64×56×56`)."""
    if len(shapes) > 1 and len(set(shapes)) == 1:
        return f"{len(shapes)} of {shape_text(shapes[0])}"
    return ", ".join(map(shape_text, shapes))


def axes_text(numbers: Sequence[Fraction | int | None], joint: str = "×") -> str:
    """Return one number for each axis, or just one if all are equal."""
    texts = [number_text(number) for number in numbers]
    return texts[0] if len(set(texts)) == 1 else joint.join(texts)


def point_text(numbers: Sequence[int]) -> str:
    """Return a position, with one number where all are equal (`−3`, `(−3, 0)`)."""
    text = axes_text(numbers, ", ")
    return f"({text})" if ", " in text else text


def field_notes(field: ReceptiveField | None) -> tuple[str, ...]:
    """Return the words that restrict what a receptive field's figures say."""
    if field is None:
        return ()
    return (
        *((MISALIGNED,) if not field.aligned else ()),
        *((GLOBAL_CONTEXT,) if field.global_context else ()),
        *((NOT_CENTRED,) if not field.centred else ()),
        *((BOUND,) if not field.exact else ()),
    )


def size_text(field: ReceptiveField, joint: str = "×") -> str:
    """Return the size of a receptive field along each axis, `whole` where the axis is read as a whole."""
    if not field.whole:
        return axes_text(field.size, joint)
    return joint.join("whole" if is_whole else f"{size:,}" for size, is_whole in zip(field.size, field.whole))


def field_text(field: ReceptiveField) -> str:
    """Return size, stride and start of a receptive field in words."""
    figures = (
        f"size {size_text(field, ' × ')}",
        f"stride {axes_text(field.stride, ' × ')}",
        f"start {point_text(field.start)}",
    )
    return ", ".join(map(glued, figures))


def heading(analysis: Analysis) -> str:
    """Return the network's name and title."""
    graph = analysis.graph
    title = graph.about.get("title", "")
    name = graph.name or graph.source or "network"
    return printable(f"{name}: {title}" if title and title != name else name)


def input_text(analysis: Analysis) -> str:
    """Return the shapes and dtypes of the inputs, and the dtype of everything else where it is another."""
    graph = analysis.graph
    inputs = (
        f"{printable(i.name) + ' ' if len(graph.inputs) > 1 else ''}{shape_text(i.shape)} {i.dtype}"
        for i in graph.inputs
    )
    model = "" if all(i.dtype == graph.dtype for i in graph.inputs) else f", model {graph.dtype}"
    deployed = "" if graph.deployment is None else f", deployed in {graph.deployment.precision}"
    return f"input {', '.join(inputs)}{model}{deployed}"


def has_common_batch(analysis: Analysis) -> bool:
    """Return whether the first axis of every tensor is the batch, so that tables can leave it out."""
    # One tensor without the batch, such as a table of positions, and dropping the axis would be wrong.
    batch = batch_of(analysis)
    return all(shape and shape[0] == batch for shapes in analysis.values.outputs for shape in shapes)


def batch_of(analysis: Analysis) -> int:
    """Return the size of the first input's first axis."""
    shape = analysis.graph.inputs[0].shape if analysis.graph.inputs else ()
    return shape[0] if shape else 1


SHORT_EXTENTS = {Extent.WHOLE: "whole", Extent.NOT_FOLLOWED: "?"}
"""What a cell says where there is no receptive field of a size."""


def field_of(group: Group[Layer]) -> ReceptiveField | None:
    """Return the receptive field of the last layer of a row."""
    return None if group.is_sum else group.items[-1].receptive_field


def extent_of(group: Group[Layer]) -> Extent:
    """Return how much of the input the last layer of a row depends on."""
    return Extent.NONE if group.is_sum else group.items[-1].field_extent


# Summary --------------------------------------------------------------------------------------------------------------


def summary(analysis: Analysis, rows: Sequence[Group[Layer]], floor: DeviceFloor | None = None) -> Iterator[Fact]:
    """Yield the totals in words, each with the convention it follows; `rows` are those that the table shows."""
    yield from _work(analysis)
    yield from _memory(analysis)
    if analysis.graph.deployment is not None:
        from cnnstat.report.deployment_text import deployment_facts  # seldom asked for

        yield from deployment_facts(analysis.graph.deployment)
    if floor is not None:
        from cnnstat.report.floor_text import floor_facts

        yield from floor_facts(floor)
    yield from _receptive_field(analysis, rows)
    left_out = ", left out of the shapes above" if has_common_batch(analysis) else ""
    yield Fact("batch", f"{batch_of(analysis):,}{left_out}")
    names = analysis.uncounted
    if names:
        yield Fact("not counted", f"{listed(names)}; MACs and FLOPs are at least what is printed", "yellow")
    for warning in analysis.warnings:
        yield Fact("warning", printable(warning), "yellow")


def _exact_and_short(number: int) -> str:
    """Return a count in full, and with a suffix if it is long: `138,357,544 (138.4 M)`."""
    return glued(f"{number:,}" if number < 10_000 else f"{number:,} ({count(number)})")


def _work(analysis: Analysis) -> Iterator[Fact]:
    totals = analysis.totals
    at_least = "at least " if analysis.uncounted else ""
    frozen = totals.params - totals.trainable_params
    trainable = glued(f"{totals.trainable_params:,} trainable") if frozen else "all trainable" if totals.params else ""
    buffers = glued(f"{totals.buffers:,} more in buffers") if totals.buffers else ""
    yield Fact("parameters", ", ".join(filter(None, (_exact_and_short(totals.params), trainable, buffers))))
    for figure in WORK_FIGURES:
        parts = getattr(totals, figure.parts).items() if figure.parts else ()
        sums = " + ".join(glued(f"{name} {count(part)}") for name, part in parts if part)
        meaning = f" = {sums}" if sums else "" if figure.parts else f": {figure.doc}"
        yield Fact(figure.name, f"{at_least}{_exact_and_short(figure.of(totals))}{meaning}")
    if analysis.graph.deployment is not None:
        macs = " + ".join(glued(f"{name} {count(part)}") for name, part in totals.macs_by_precision.items())
        bits = f"{at_least}{_exact_and_short(totals.bops)} = MACs × bits of the weight × bits of the activation"
        yield Fact("bit operations", f"{bits}{f'; MACs are {macs}' if macs else ''}")


def _memory(analysis: Analysis) -> Iterator[Fact]:
    memory = analysis.totals.memory
    buffers = f", {glued(binary_bytes(memory.buffers_bytes))} more in buffers" if memory.buffers_bytes else ""
    yield Fact("memory", f"{_bytes(memory.params_bytes)} parameters{buffers}")
    yield Fact("", f"{_bytes(memory.activation_bytes)} outputs of all layers")
    yield Fact("", f"{_bytes(memory.weighted_activation_bytes)} conv + linear outputs")
    peak = "" if memory.peak_at is None else f", reached at {printable(analysis.graph.nodes[memory.peak_at].name)}"
    yield Fact("", f"{_bytes(memory.peak_inference_bytes)} peak of inference: tensors alive at once{peak}")
    if analysis.graph.deployment is not None:  # what is shipped is trained no more
        yield Fact("", f"{_bytes(memory.arena_bytes)} arena: {_arena(memory)}")
        yield Fact("", f"{_bytes(memory.flash_bytes)} flash: weights and biases, their scales and zero points")
        return
    parts = (
        ("parameters", memory.params_bytes),
        ("gradients", memory.gradient_bytes),
        ("optimizer state", memory.optimizer_bytes),
        ("kept for backward", memory.saved_bytes),
    )
    sums = " + ".join(glued(f"{name} {binary_bytes(part)}") for name, part in parts)
    yield Fact("", f"{_bytes(memory.training_bytes)} training = {sums}")


def _arena(memory: Memory) -> str:
    """Return how the arena was planned, and how much larger than the peak it is."""
    above = memory.arena_bytes - memory.peak_inference_bytes
    share = percent(above / memory.peak_inference_bytes) if above else ""
    size = f"{above:,} bytes ({share} %) above the peak" if above else "the peak, so that none is smaller"
    return f"addresses that are multiples of 16, given {memory.arena.order}; {size}"


def _bytes(number: int) -> str:
    """Return bytes in powers of 1024, as wide as the widest, so that the list of memory totals is aligned."""
    return glued(f"{binary_bytes(number):>10}")


def _receptive_field(analysis: Analysis, rows: Sequence[Group[Layer]]) -> Iterator[Fact]:
    fields, field = analysis.fields, analysis.totals.receptive_field
    extents = set(map(extent_of, rows))
    if field is None or fields.total_at is None:
        known = next((extent.value for extent in SHORT_EXTENTS if extent in extents), "none: no input has spatial axes")
        yield Fact("receptive field", known)
        yield from _extents(extents)
        return
    where = printable(analysis.graph.value_name(fields.total_at.value))
    ends = any(layer.field_extent is Extent.WHOLE for layer in analysis.layers)
    last_map = ", the last map before the whole input is seen" if ends else ", the last map that has one"
    after = "" if fields.total_at in analysis.graph.outputs else last_map
    yield Fact("receptive field", f"{field_text(field)}, at {where}{after}")
    yield Fact("", "start: input position where the field of the first output begins; below 0 is padding")
    notes = {note for row in rows for note in field_notes(field_of(row))}
    for note, meaning in NOTES.items():
        if note in notes:
            yield Fact("", f"* {note}{_since(field) if note == MISALIGNED else ''}: {meaning}")
    yield from _extents(extents)


MEANINGS = {
    Extent.WHOLE: "whole: every output depends on the whole input",
    Extent.NONE: "–: depends on no input that has spatial axes",
    Extent.NOT_FOLLOWED: "? not followed: at most the whole input; an op reads by no known rule",
}
"""What the words and signs in the column of receptive fields mean."""


def _extents(extents: Collection[Extent]) -> Iterator[Fact]:
    yield from (Fact("", text) for extent, text in MEANINGS.items() if extent in extents)


def _since(field: ReceptiveField) -> str:
    """Return where strides first differed, if they differ in the network's own field."""
    return f" from {printable(field.misaligned_at)} on" if field.misaligned_at else ""
