"""The page of `explain`: sections of formulas, with the facts about the layer above and below."""

from __future__ import annotations

from collections.abc import Iterator

from cnnstat.ir.op import Formula, Shape, Storage, numel
from cnnstat.passes.analysis import Analysis
from cnnstat.report import words
from cnnstat.report.arithmetic import arithmetic_page
from cnnstat.report.explain import Explanation
from cnnstat.report.facts import Fact, facts_page, wrapped
from cnnstat.report.glyphs import printable, width_of
from cnnstat.report.page import BLANK, Line, Page, plain
from cnnstat.report.recurrence import why_none
from cnnstat.report.summary import field_text, heading
from cnnstat.units import binary_bytes, dtype_bytes

STORAGE_WORDS = {
    Storage.FRESH: "",
    Storage.VIEW: "a view of its input, which takes no memory of its own",
    Storage.IN_PLACE: "written over its input, which takes no memory of its own",
}

Section = tuple[str, tuple[Formula, ...]]


def explanation(analysis: Analysis, name: str, width: int) -> Page:
    """Return the explanation of a layer, fitted to a width; raises CnnstatError if there is no such layer."""
    about = Explanation(analysis, name)
    sections = [(title, formulas) for title, formulas in _sections(about) if formulas]
    label = max(width_of(formula.quantity) for _, formulas in sections for formula in formulas)
    title = f"{printable(about.layer.name)}: {printable(str(about.node.op))}"
    lines: list[Line] = [plain(line, "bold") for line in wrapped(title, width)]
    lines += facts_page(_place(about), width).lines
    for title, formulas in sections:
        lines += [BLANK, plain(title, "bold"), *arithmetic_page(formulas, width, label).lines]
    return Page((*lines, BLANK, *facts_page(_field(about), width).lines))


def _sections(about: Explanation) -> Iterator[Section]:
    """Yield titles and formulas, top to bottom."""
    yield "arithmetic", about.formulas
    yield "stored", tuple(_stored(about))
    yield "memory", tuple(_outputs(about))
    yield "work", (_flops(about),)
    for step in about.steps:
        yield f"receptive field, {' and '.join(step.axes)}", step.formulas


def _place(about: Explanation) -> Iterator[Fact]:
    """Yield where the layer is, what it reads and what it gives."""
    location = f", written at {printable(str(about.node.location))}" if about.node.location else ""
    count = len(about.analysis.graph.nodes)
    yield Fact("layer", f"{about.index + 1:,} of {count:,} in {heading(about.analysis)}{location}")
    inputs = zip(about.layer.inputs, about.layer.input_shapes)
    yield Fact("reads", ", ".join(f"{printable(name)} {words.shape_text(shape)}" for name, shape in inputs))
    yield Fact("gives", ", ".join(map(words.shape_text, about.layer.output_shapes)))


def _stored(about: Explanation) -> Iterator[Formula]:
    """Yield the tensors that the layer stores, and their bytes."""
    for tensors, note in ((about.weights, ""), (about.buffers, "a buffer: stored, not learnt")):
        for name, shape in tensors.items():
            yield Formula(name, words.shape_text(shape), _product(shape), numel(shape), note)
    if about.shared_with is not None:
        note = f"these belong to {printable(about.shared_with)}, where they are counted once"
        yield Formula("parameters", "shared", "", 0, note)
    elif about.weights:
        yield _bytes("parameters", f"{about.layer.params:,}", about.layer.params, about.analysis.graph.dtype)


def _bytes(quantity: str, numbers: str, elements: int, dtype: str, note: str = "") -> Formula:
    """Return the line of a number of bytes."""
    each = dtype_bytes(dtype)
    size = elements * each
    notes = ", ".join(filter(None, (binary_bytes(size) if size >= 1024 else "", note)))
    return Formula(quantity, f"elements · bytes of {dtype}", f"{numbers} · {each}", size, notes)


def _product(shape: Shape) -> str:
    """Return the sizes of a tensor as a product."""
    return "·".join(map(str, shape)) or "1"


def _outputs(about: Explanation) -> Iterator[Formula]:
    """Yield the bytes of the outputs."""
    dtypes = about.analysis.values.dtypes[about.value]
    for number, (shape, dtype) in enumerate(zip(about.layer.output_shapes, dtypes), start=1):
        quantity = "output bytes" if len(dtypes) == 1 else f"output {number} bytes"
        yield _bytes(quantity, _product(shape), numel(shape), dtype, STORAGE_WORDS[about.node.op.storage])


def _flops(about: Explanation) -> Formula:
    """Return the line of the floating-point operations."""
    parts = {name: part for name, part in about.flop_parts.items() if part}
    if not parts:
        return Formula("FLOPs", "nothing is computed", "", 0)
    return Formula("FLOPs", " + ".join(parts), " + ".join(f"{part:,}" for part in parts.values()), about.layer.flops)


def _field(about: Explanation) -> Iterator[Fact]:
    """Yield the receptive field that results, and how much of it lies where there is input."""
    field = about.layer.receptive_field
    if field is None:
        yield Fact("receptive field", why_none(about.analysis, about.index))
        return
    yield Fact("receptive field", field_text(field))
    for note in words.field_notes(field):
        yield Fact("", f"{note}: {words.NOTES[note]}")
    share = about.inside_share
    if share is not None:
        yield Fact("inside", f"{words.exact_percent(share)} of its outputs have a field wholly inside the input")
    if about.covered is not None and any(part < 1 for part in about.covered):
        parts = words.axes_text([round(100 * part) for part in about.covered], " % × ")
        yield Fact("holes", f"only {parts} % of the field along an axis is read: dilation leaves gaps")
