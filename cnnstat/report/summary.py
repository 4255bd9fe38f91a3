"""Summary: the totals of an analysis in words, each with the convention it follows."""

from __future__ import annotations

from collections.abc import Iterator

from cnnstat.analysis.analysis import Analysis
from cnnstat.analysis.receptive_field.fields import ReceptiveField
from cnnstat.report import words
from cnnstat.report.facts import Fact, glued
from cnnstat.report.glyphs import printable
from cnnstat.report.row import Row
from cnnstat.report.sheet import batch_of, has_common_batch
from cnnstat.units import binary_bytes, count

LISTED = 5
"""Names that a list in the summary shows before it says how many more there are."""


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
        f"{printable(i.name) + ' ' if len(graph.inputs) > 1 else ''}{words.shape_text(i.shape)} {i.dtype}"
        for i in graph.inputs
    )
    model = "" if all(i.dtype == graph.dtype for i in graph.inputs) else f", model {graph.dtype}"
    return f"input {', '.join(inputs)}{model}"


def summary(analysis: Analysis, rows: tuple[Row, ...]) -> tuple[Fact, ...]:
    """Return the facts below a table of layers; `rows` are the ones it shows."""
    return (
        *_work(analysis),
        *_memory(analysis),
        *_receptive_field(analysis, rows),
        Fact("batch", _batch_text(analysis)),
        *_coverage(analysis),
        *(Fact("warning", printable(warning), "yellow") for warning in analysis.warnings),
    )


def _least(analysis: Analysis) -> str:
    """Return `at least` where something could not be counted."""
    return "at least " if analysis.uncounted else ""


def exact_and_short(number: int) -> str:
    """Return a count in full, and with a suffix if it is long: `138,357,544 (138.4 M)`."""
    return glued(f"{number:,}" if number < 10_000 else f"{number:,} ({count(number)})")


def _work(analysis: Analysis) -> Iterator[Fact]:
    """Yield parameters, MACs and FLOPs."""
    totals = analysis.totals
    frozen = totals.params - totals.trainable_params
    trainable = glued(f"{totals.trainable_params:,} trainable") if frozen else "all trainable" if totals.params else ""
    buffers = glued(f"{totals.buffers:,} more in buffers") if totals.buffers else ""
    yield Fact("parameters", ", ".join(filter(None, (exact_and_short(totals.params), trainable, buffers))))
    meaning = "multiply-accumulates of convolutions, linear layers and matrix products"
    yield Fact("MACs", f"{_least(analysis)}{exact_and_short(totals.macs)}: {meaning}")
    parts = " + ".join(glued(f"{name} {count(part)}") for name, part in totals.flop_parts.items() if part)
    yield Fact("FLOPs", f"{_least(analysis)}{exact_and_short(totals.flops)}{' = ' * bool(parts)}{parts}")


def _memory(analysis: Analysis) -> Iterator[Fact]:
    """Yield the memory totals and what each of them means."""
    memory = analysis.totals.memory
    buffers = f", {glued(binary_bytes(memory.buffers_bytes))} more in buffers" if memory.buffers_bytes else ""
    yield Fact("memory", f"{_bytes(memory.params_bytes)} parameters{buffers}")
    yield Fact("", f"{_bytes(memory.activation_bytes)} outputs of all layers")
    yield Fact("", f"{_bytes(memory.weighted_activation_bytes)} outputs of convolutions and linear layers only")
    peak = "" if memory.peak_at is None else f", reached at {printable(analysis.graph.nodes[memory.peak_at].name)}"
    yield Fact("", f"{_bytes(memory.peak_inference_bytes)} peak of inference: tensors alive at once{peak}")
    parts = (
        ("parameters", memory.params_bytes),
        ("gradients", memory.gradient_bytes),
        ("optimizer state", memory.optimizer_bytes),
        ("kept for backward", memory.saved_bytes),
    )
    sums = " + ".join(glued(f"{name} {binary_bytes(part)}") for name, part in parts)
    yield Fact("", f"{_bytes(memory.training_bytes)} training = {sums}")


def _bytes(number: int) -> str:
    """Return bytes in powers of 1024, as wide as the widest, so that the list of memory totals is aligned."""
    return glued(f"{binary_bytes(number):>10}")


def field_text(field: ReceptiveField) -> str:
    """Return size, stride and start of a receptive field in words."""
    figures = (
        f"size {words.axes_text(field.size, ' × ')}",
        f"stride {words.axes_text(field.stride, ' × ')}",
        f"start {words.point_text(field.start)}",
    )
    return ", ".join(map(glued, figures))


def _receptive_field(analysis: Analysis, rows: tuple[Row, ...]) -> Iterator[Fact]:
    """Yield the network's receptive field, and what the notes on single layers mean."""
    fields, field = analysis.fields, analysis.totals.receptive_field
    if field is None or fields.total_at is None:
        whole = any(row.sees_whole_input for row in rows)
        yield Fact("receptive field", words.WHOLE_INPUT if whole else "none: no input has spatial axes")
        return
    where = printable(analysis.graph.value_name(fields.total_at.value))
    is_result = fields.total_at in analysis.graph.outputs
    after = "" if is_result else ", the last map before the whole input is seen"
    yield Fact("receptive field", f"{field_text(field)}, at {where}{after}")
    found = {note for row in rows for note in words.field_notes(row.receptive_field)}
    for note, meaning in words.NOTES.items():
        if note in found:
            yield Fact("", f"* {note}{_since(field) if note == words.MISALIGNED else ''}: {meaning}")


def _since(field: ReceptiveField) -> str:
    """Return where strides first differed, if they differ in the network's own field."""
    return f" from {printable(field.misaligned_at)} on" if field.misaligned_at else ""


def _batch_text(analysis: Analysis) -> str:
    """Return the batch, and whether the shapes in the table leave it out."""
    return f"{batch_of(analysis):,}{', left out of the shapes above' if has_common_batch(analysis) else ''}"


def _coverage(analysis: Analysis) -> Iterator[Fact]:
    """Yield the layers whose work could not be counted."""
    names = analysis.uncounted
    if names:
        more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
        listed = ", ".join(map(printable, names[:LISTED]))
        yield Fact("not counted", f"{listed}{more}; MACs and FLOPs are at least what is printed", "yellow")
