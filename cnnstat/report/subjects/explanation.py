"""Explanation: the arithmetic of one layer written out, from its formulas to its receptive field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

from cnnstat import numbers
from cnnstat.analysis.analysis import Analysis
from cnnstat.analysis.explanation import Explanation
from cnnstat.analysis.receptive_field.fields import Extent
from cnnstat.errors import Location
from cnnstat.ir.declaration import Formula
from cnnstat.ir.graph import dtype_bytes
from cnnstat.ir.op import Shape, Storage, numel
from cnnstat.numbers import binary_bytes
from cnnstat.report.document import SCHEMA, Block, Document, Fact, Facts
from cnnstat.report.formula_table import formula_table
from cnnstat.report.network_text import NOTES, WHOLE_INPUT, axes_text, field_notes, field_text, heading, shape_text
from cnnstat.report.network_values import layer_values, model_values
from cnnstat.report.table import Column, Table
from cnnstat.report.terminal_text import printable, width_of

STORAGE_WORDS = {
    Storage.FRESH: "",
    Storage.VIEW: "a view of its input, which takes no memory of its own",
    Storage.IN_PLACE: "written over its input, which takes no memory of its own",
}

RECORDS = tuple(Column(key, key, itemgetter(place)) for place, key in enumerate(("section", *Formula._fields)))
"""The columns for programs: one row a formula."""


def document(about: Explanation) -> Document:
    """Return the arithmetic of a layer written out."""
    sections = tuple(_sections(about))
    return Document(
        title=f"{printable(about.layer.name)}: {printable(str(about.node.op))}",
        blocks=lambda: _blocks(about, sections),
        data=lambda: _data(about),
        listed=("formulas", "tensors", "receptive_field_steps"),
        records=Table(RECORDS, [(title, *formula) for title, formulas in sections for formula in formulas]),
    )


def _blocks(about: Explanation, sections: tuple[tuple[str, tuple[Formula, ...]], ...]) -> Iterator[Block]:
    # One width of labels for all sections, so that their formulas stand in one column.
    label = max(width_of(formula.quantity) for _, formulas in sections for formula in formulas)
    yield Facts(tuple(_place(about)), is_attached=True)
    for title, formulas in sections:
        yield formula_table(title, formulas, label)
    yield Facts(tuple(_field(about)))


def _data(about: Explanation) -> dict[str, Any]:
    share, covered = about.inside_share, about.covered
    return {
        "schema": SCHEMA,
        "model": model_values(about.analysis),
        "layer": layer_values(about.layer),
        **({"code": about.code} if about.code else {}),
        "formulas": [formula._asdict() for formula in about.formulas],
        "tensors": [
            {
                "name": tensor,
                "shape": list(shape),
                "numel": numel(shape),
                "buffer": is_buffer,
                "dtype": about.dtype_of(tensor),
            }
            for tensors, is_buffer in ((about.weights, False), (about.buffers, True))
            for tensor, shape in tensors.items()
        ],
        "shares_weights_of": about.shared_with,
        "flop_parts": about.flop_parts,
        "receptive_field_steps": [
            {"axes": list(step.axes), "formulas": [formula._asdict() for formula in step.formulas]}
            for step in about.steps
        ],
        "inside_share": None if share is None else float(share),
        "covered_share": None if covered is None else list(map(float, covered)),
    }


def _sections(about: Explanation) -> Iterator[tuple[str, tuple[Formula, ...]]]:
    sections = [
        ("arithmetic", about.formulas),
        ("stored", tuple(_stored(about))),
        ("memory", tuple(_outputs(about))),
        ("work", (_flops(about),)),
        *((f"receptive field, {' and '.join(step.axes)}", step.formulas) for step in about.steps),
    ]
    return ((title, formulas) for title, formulas in sections if formulas)


def _stored(about: Explanation) -> Iterator[Formula]:
    for tensors, note in ((about.weights, ""), (about.buffers, "a buffer: stored, not learnt")):
        for name, shape in tensors.items():
            own = about.dtype_of(name) if about.node.dtypes else ""
            notes = ", ".join(filter(None, (own, note)))
            yield Formula(name, shape_text(shape), _product(shape), numel(shape), notes)
    if about.shared_with is not None:
        note = f"these belong to {printable(about.shared_with)}, where they are counted once"
        yield Formula("parameters", "shared", "", 0, note)
    elif about.weights:
        yield _weight_bytes(about)


def _weight_bytes(about: Explanation) -> Formula:
    """Return the line of the bytes of the parameters: elements of each dtype × its bytes."""
    elements: Counter[str] = Counter()
    for name, shape in about.weights.items():
        elements[about.dtype_of(name)] += numel(shape)
    if len(elements) == 1:
        ((dtype, count),) = elements.items()
        return _bytes("bytes", f"{count:,}", count, dtype)
    size = sum(count * dtype_bytes(dtype) for dtype, count in elements.items())
    return Formula(
        "bytes",
        " + ".join(f"{dtype} elements · {dtype_bytes(dtype)}" for dtype in elements),
        " + ".join(f"{count:,} · {dtype_bytes(dtype)}" for dtype, count in elements.items()),
        size,
        binary_bytes(size) if size >= 1024 else "",
    )


def _bytes(quantity: str, numbers: str, elements: int, dtype: str, note: str = "") -> Formula:
    each = dtype_bytes(dtype)
    size = elements * each
    notes = ", ".join(filter(None, (binary_bytes(size) if size >= 1024 else "", note)))
    return Formula(quantity, f"elements · bytes of {dtype}", f"{numbers} · {each}", size, notes)


def _product(shape: Shape) -> str:
    return "·".join(map(str, shape)) or "1"


def _outputs(about: Explanation) -> Iterator[Formula]:
    dtypes = about.analysis.values.dtypes[about.value]
    for number, (shape, dtype) in enumerate(zip(about.layer.output_shapes, dtypes), start=1):
        quantity = "output bytes" if len(dtypes) == 1 else f"output {number} bytes"
        yield _bytes(quantity, _product(shape), numel(shape), dtype, STORAGE_WORDS[about.node.storage])


def _flops(about: Explanation) -> Formula:
    parts = {name: part for name, part in about.flop_parts.items() if part}
    if not parts:
        return Formula("FLOPs", "nothing is computed", "", 0)
    return Formula("FLOPs", " + ".join(parts), " + ".join(f"{part:,}" for part in parts.values()), sum(parts.values()))


def _place(about: Explanation) -> Iterator[Fact]:
    place = _written_at(about.node.location) if about.node.location else printable(about.code)
    location = f", written at {place}" if place else ""
    count = len(about.analysis.graph.nodes)
    yield Fact("layer", f"{about.index + 1:,} of {count:,} in {heading(about.analysis)}{location}")
    inputs = zip(about.layer.inputs, about.layer.input_shapes)
    yield Fact("reads", ", ".join(f"{printable(name)} {shape_text(shape)}" for name, shape in inputs))
    if about.layer.folded:
        yield Fact("folds in", ", ".join(map(printable, about.layer.folded)))
    yield Fact("gives", ", ".join(map(shape_text, about.layer.output_shapes)))


def _written_at(location: Location) -> str:
    return printable(f"{Path(location.file).name}:{location.line}:{location.column}")


def _field(about: Explanation) -> Iterator[Fact]:
    field = about.layer.receptive_field
    if field is None:
        yield Fact("receptive field", _why_none(about.analysis, about.index))
        return
    yield Fact("receptive field", field_text(field))
    for note in field_notes(field):
        yield Fact("", f"{note}: {NOTES[note]}")
    share = about.inside_share
    if share is not None:
        larger = "; it is larger than the input" if _is_larger(about) else ""
        yield Fact(
            "inside", f"{numbers.exact_percent(share)} of its outputs have a field wholly inside the input{larger}"
        )
    if about.covered is not None and any(part < 1 for part in about.covered):
        parts = axes_text([round(100 * part) for part in about.covered], " % × ")
        yield Fact("holes", f"only {parts} % of the field along an axis is read: dilation leaves gaps")


def _is_larger(about: Explanation) -> bool:
    fields = about.analysis.fields
    field, followed = fields.of(about.value), fields.followed(about.value)
    if field is None or followed is None:
        return False
    return any(size > fields.lengths[track.axis] for size, (_, track) in zip(field.size, followed))


def _why_none(analysis: Analysis, index: int) -> str:
    """Return in words why a layer has no receptive field of its own."""
    fields, node = analysis.fields, analysis.graph.nodes[index]
    value = analysis.graph.arity + index
    if fields.extent(value) is Extent.NOT_FOLLOWED:
        return "not followed: at most the whole input"
    if not fields.sees_whole_input(value):
        return "none: it depends on no input that has spatial axes"
    before = [edge for edge in node.inputs if fields.sees_whole_input(*edge)]
    if before:
        name = printable(analysis.graph.value_name(before[0].value))
        return f"{WHOLE_INPUT}: {name} has already seen all of it"
    return f"{WHOLE_INPUT}: every output reads all positions"
