"""Ops: the list of every op, and the page of one with arguments, arithmetic, and the plot of an activation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from cnnstat.ops import names
from cnnstat.report import network_text
from cnnstat.report.arithmetic import arithmetic_lines, formula_table
from cnnstat.report.document import SCHEMA, Document, Fact
from cnnstat.report.formats import csv
from cnnstat.report.formats.json import json_text
from cnnstat.report.formats.markdown import code, escaped, table_text
from cnnstat.report.formats.terminal import facts_page
from cnnstat.report.op_reference import Reference
from cnnstat.report.plot import PLOT_WIDTH, plot, slope
from cnnstat.report.table import Column, Layout, Table
from cnnstat.report.terminal_text import BLANK, Line, Page, Verbatim, cut_end, plain, show, width_of, wrapped

if TYPE_CHECKING:
    from rich.console import Console

COLUMNS = (
    Column("family", "family", attrgetter("op.family.value")),
    Column("name", "op", attrgetter("name"), is_code=True),
    Column("summary", "what it does", attrgetter("summary"), least=24),
    Column("torch", "PyTorch", attrgetter("op.torch"), least=12, is_code=True),
)
"""The columns of the list."""

WIDE = 110
"""Columns from which the list names the PyTorch twins."""

ARGUMENTS = (
    Column("name", "argument", attrgetter("name"), is_code=True),
    Column("default", "default", attrgetter("default_text"), is_code=True),
    Column("allowed", "values", attrgetter("allowed"), least=16),
    Column("doc", "meaning", attrgetter("doc"), least=20),
)
"""The columns of an op's arguments."""


def document() -> Document:
    """Return the list of every op."""
    ops = references()
    table = Table(COLUMNS, ops, layout=Layout(draw=lambda width: _overview(ops, width)))
    return Document(
        blocks=lambda: (table,),
        data=lambda: {"schema": SCHEMA, "ops": list(map(values, ops))},
        listed=("ops",),
        records=table,
    )


def print_table(name: str, console: Console) -> None:
    """Print the page of an op."""
    show(page(Reference(name), console.width), console)


def print_json(name: str, console: Console) -> None:
    """Print the same as JSON."""
    show(Verbatim(json_text({"schema": SCHEMA, **values(Reference(name))}, "arguments", "formulas")), console)


def print_csv(name: str, console: Console) -> None:
    """Print the arguments of an op."""
    arguments = Table(ARGUMENTS, Reference(name).arguments)
    show(Verbatim(csv.render(Document(data=dict, records=arguments))), console)


def print_markdown(name: str, console: Console) -> None:
    """Print the page of an op."""
    show(Verbatim(markdown(Reference(name))), console)


# The page of an op has a text of its own in each format, as its signature, docstring and example mix text with code.
PAGE_FORMATS = {"table": print_table, "json": print_json, "csv": print_csv, "markdown": print_markdown}
"""The functions that print the page of an op, by the name of the format."""


def references() -> tuple[Reference, ...]:
    """Return every op, family after family, in the order in which these come first."""
    ops = tuple(map(Reference, names()))
    families = list(dict.fromkeys(about.op.family for about in ops))
    return tuple(sorted(ops, key=lambda about: families.index(about.op.family)))


def _overview(ops: Sequence[Reference], width: int) -> list[Line]:
    """Return all ops below the names of their families; where there is room with their PyTorch twins."""
    label = max(len(about.name) for about in ops)
    twin = max(len(about.op.torch) for about in ops) if width >= WIDE else 0
    lines: list[Line] = []
    for family, group in groupby(ops, key=lambda about: about.op.family):
        lines += [*((BLANK,) if lines else ()), plain(family.value, "bold")]
        for about in group:
            summary = cut_end(about.summary, max(10, width - label - twin - 6))
            spans = [(f"  {about.name.ljust(label)}  ", "cyan"), (summary, "")]
            if twin:
                spans.append((" " * (width - label - twin - 4 - width_of(summary)) + about.op.torch, "dim"))
            lines.append(tuple(spans))
    return [*lines, BLANK, plain("cnnstat ops NAME shows arguments and formulas of one")]


def values(about: Reference) -> dict[str, Any]:
    """Return everything about one op as JSON-ready values."""
    return {
        "name": about.name,
        "family": about.op.family.value,
        "summary": about.summary,
        "signature": about.signature,
        "torch": about.op.torch,
        "inferred": list(about.op.inferred),
        "arguments": [
            {"name": a.name, "doc": a.doc, "required": a.is_required, "default": a.default, "schema": a.schema}
            for a in about.arguments
        ],
        "equation": about.op.equation,
        "derivative": about.op.derivative,
        "conventions": about.conventions,
        "example": {
            "op": str(about.example.op),
            "input_shapes": [list(shape) for shape in about.example.inputs],
            "output_shapes": [list(shape) for shape in about.outputs],
        },
        "formulas": [formula._asdict() for formula in about.formulas],
    }


def page(about: Reference, width: int) -> Page:
    """Return the page of one op, fitted to a width."""
    lines: list[Line] = [plain(line, "bold") for line in wrapped(about.signature, width)]
    for paragraph in about.text.split("\n\n"):
        lines += [plain(line) for line in wrapped(" ".join(paragraph.split()), min(width, 110))]
    lines += facts_page(_facts(about), width).lines
    if about.arguments:
        lines += [BLANK, *_arguments(about, width)]
    lines += [BLANK, plain(f"example: {_example(about)}", "bold"), *arithmetic_lines(about.formulas, width)]
    lines += [BLANK, plain("how it is counted", "bold")]
    lines += facts_page((Fact(f"  {label}", text) for label, text in about.conventions.items()), width).lines
    if about.has_curve():
        lines += [BLANK, *_plots(about, width)]
    return Page(lines)


def _facts(about: Reference) -> Iterator[Fact]:
    """Yield what an activation computes, and the PyTorch twin."""
    if about.op.equation:
        yield Fact("equation", about.op.equation)
        yield Fact("derivative", about.op.derivative)
    yield Fact("PyTorch", about.twin)


def _arguments(about: Reference, width: int) -> list[Line]:
    """Return the arguments: name and default, and indented below each its meaning and values."""
    label = max(len(a.name) for a in about.arguments)
    default = max(len(a.default_text) for a in about.arguments)
    lines: list[Line] = [plain("arguments", "bold")]
    for argument in about.arguments:
        head = f"  {argument.name.ljust(label)}  {argument.default_text.ljust(default)}  "
        first, *more = wrapped(
            f"{argument.doc} ({argument.allowed})".replace("≥ ", "≥\N{NO-BREAK SPACE}"),
            max(20, min(width, 110) - len(head)),
        )
        lines.append(((head, "cyan"), (first, "")))
        lines += [plain(" " * len(head) + line) for line in more]
    return lines


def _example(about: Reference) -> str:
    """Return the example as a call with its shapes."""
    inputs = network_text.shapes_text(about.example.inputs)
    return f"{about.example.op} of {inputs} gives {network_text.shapes_text(about.outputs)}"


def _plots(about: Reference, width: int) -> list[Line]:
    """Return the plots of an activation and its derivative, beside each other if they fit."""
    function, derivative = plot(about.curve, "f(x)"), plot(slope(about.curve), "f′(x)", "magenta")
    if width < 2 * PLOT_WIDTH + 3:
        return [*function, BLANK, *derivative]
    return [(*left, ("   ", ""), *right) for left, right in zip(function, derivative)]


def markdown(about: Reference) -> str:
    """Return the page of one op as Markdown."""
    parts = (
        f"### {escaped(about.name)}\n\n{code(about.signature)}\n\n{escaped(about.text)}\n",
        "".join(f"- **{fact.label}** {escaped(fact.text)}\n" for fact in _facts(about)),
        table_text(Table(ARGUMENTS, about.arguments)) if about.arguments else "",
        f"Example: {code(str(about.example.op))} of {escaped(network_text.shapes_text(about.example.inputs))} "
        f"gives {escaped(network_text.shapes_text(about.outputs))}\n",
        table_text(formula_table("", about.formulas)),
        "".join(f"- **{label}** {escaped(text)}\n" for label, text in about.conventions.items()),
    )
    return "\n".join(part for part in parts if part)
