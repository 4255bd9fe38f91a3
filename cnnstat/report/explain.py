"""Explain: the arithmetic of one layer written out, from its formulas to its receptive field, in every format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnstat import numbers
from cnnstat.analysis.analysis import Analysis
from cnnstat.errors import Location
from cnnstat.ir.formula import Formula
from cnnstat.ir.op import numel
from cnnstat.report import network_text
from cnnstat.report.arithmetic import arithmetic_page, value_text
from cnnstat.report.document import SCHEMA, Fact
from cnnstat.report.explanation import Explanation
from cnnstat.report.formats.csv import csv_text
from cnnstat.report.formats.json import json_text
from cnnstat.report.formats.markdown import code, escaped, markdown_table
from cnnstat.report.formats.terminal import facts_page
from cnnstat.report.network_json import layer_values, model_values
from cnnstat.report.network_text import field_text, heading
from cnnstat.report.recurrence import why_none
from cnnstat.report.terminal_text import BLANK, Line, Page, Verbatim, plain, printable, show, width_of, wrapped

if TYPE_CHECKING:
    from rich.console import Console


def print_table(analysis: Analysis, name: str, console: Console) -> None:
    """Print the explanation of a layer, fitted to the console's width."""
    show(explanation(analysis, name, console.width), console)


def print_json(analysis: Analysis, name: str, console: Console) -> None:
    """Print the same as JSON."""
    listed = ("formulas", "tensors", "receptive_field_steps")
    show(Verbatim(json_text(document(analysis, name), *listed)), console)


def print_csv(analysis: Analysis, name: str, console: Console) -> None:
    """Print one row a formula."""
    sections = Explanation(analysis, name).sections()
    rows = ((title, *formula) for title, formulas in sections for formula in formulas)
    show(Verbatim(csv_text(["section", *Formula._fields], rows)), console)


def print_markdown(analysis: Analysis, name: str, console: Console) -> None:
    """Print a list of facts and a GitHub table of formulas for each section."""
    about = Explanation(analysis, name)
    parts = [f"### {escaped(_title(about))}\n", _markdown_facts(_place(about))]
    for title, formulas in about.sections():
        rows = (
            [escaped(f.quantity), code(f.symbols), code(f.numbers), escaped(value_text(f.value)), escaped(f.note)]
            for f in formulas
        )
        titles = [title, "formula", "numbers", "value", ""]
        parts.append(markdown_table(titles, ["left", "left", "left", "right", "left"], rows))
    show(Verbatim("\n".join([*parts, _markdown_facts(_field(about))])), console)


FORMATS = {"table": print_table, "json": print_json, "csv": print_csv, "markdown": print_markdown}
"""The functions that print an explanation, by the name of the format."""


def document(analysis: Analysis, name: str) -> dict[str, Any]:
    """Return the explanation of a layer as JSON-ready values; raises CnnstatError if there is no such layer."""
    about = Explanation(analysis, name)
    share, covered = about.inside_share, about.covered
    return {
        "schema": SCHEMA,
        "model": model_values(analysis),
        "layer": layer_values(about.layer),
        "formulas": [formula._asdict() for formula in about.formulas],
        "tensors": [
            {"name": tensor, "shape": list(shape), "numel": numel(shape), "buffer": is_buffer}
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


def explanation(analysis: Analysis, name: str, width: int) -> Page:
    """Return the explanation of a layer, fitted to a width; raises CnnstatError if there is no such layer."""
    about = Explanation(analysis, name)
    sections = tuple(about.sections())
    label = max(width_of(formula.quantity) for _, formulas in sections for formula in formulas)
    lines: list[Line] = [plain(line, "bold") for line in wrapped(_title(about), width)]
    lines += facts_page(_place(about), width).lines
    for title, formulas in sections:
        lines += [BLANK, plain(title, "bold"), *arithmetic_page(formulas, width, label).lines]
    return Page((*lines, BLANK, *facts_page(_field(about), width).lines))


def _title(about: Explanation) -> str:
    """Return name and operation of the layer."""
    return f"{printable(about.layer.name)}: {printable(str(about.node.op))}"


def _markdown_facts(facts: Iterator[Fact]) -> str:
    """Return facts as a list."""
    return "".join(f"- {f'**{fact.label}** ' if fact.label else ''}{escaped(fact.text)}\n" for fact in facts)


def _place(about: Explanation) -> Iterator[Fact]:
    """Yield where the layer is, what it reads and what it gives."""
    location = f", written at {_written_at(about.node.location)}" if about.node.location else ""
    count = len(about.analysis.graph.nodes)
    yield Fact("layer", f"{about.index + 1:,} of {count:,} in {heading(about.analysis)}{location}")
    inputs = zip(about.layer.inputs, about.layer.input_shapes)
    yield Fact("reads", ", ".join(f"{printable(name)} {network_text.shape_text(shape)}" for name, shape in inputs))
    yield Fact("gives", ", ".join(map(network_text.shape_text, about.layer.output_shapes)))


def _written_at(location: Location) -> str:
    """Return file, line and column, without the folders."""
    return printable(f"{Path(location.file).name}:{location.line}:{location.column}")


def _field(about: Explanation) -> Iterator[Fact]:
    """Yield the receptive field that results, and how much of it lies where there is input."""
    field = about.layer.receptive_field
    if field is None:
        yield Fact("receptive field", why_none(about.analysis, about.index))
        return
    yield Fact("receptive field", field_text(field))
    for note in network_text.field_notes(field):
        yield Fact("", f"{note}: {network_text.NOTES[note]}")
    share = about.inside_share
    if share is not None:
        larger = "; it is larger than the input" if _is_larger(about) else ""
        yield Fact(
            "inside", f"{numbers.exact_percent(share)} of its outputs have a field wholly inside the input{larger}"
        )
    if about.covered is not None and any(part < 1 for part in about.covered):
        parts = network_text.axes_text([round(100 * part) for part in about.covered], " % × ")
        yield Fact("holes", f"only {parts} % of the field along an axis is read: dilation leaves gaps")


def _is_larger(about: Explanation) -> bool:
    """Return whether the field is longer than the input along an axis."""
    fields = about.analysis.fields
    field, followed = fields.of(about.value), fields.followed(about.value) or ()
    return field is not None and any(n > fields.lengths[track.axis] for n, (_, track) in zip(field.size, followed))
