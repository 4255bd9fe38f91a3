"""Ops: the list of every op, and the page of one with arguments, arithmetic, and the plot of an activation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from cnnstat.ir.op import Rows
from cnnstat.ops import names, search
from cnnstat.report.charts.function_plot import CurvesPlot, Plots
from cnnstat.report.document import SCHEMA, Block, Document, Fact, Facts, Text
from cnnstat.report.formula_table import formula_table
from cnnstat.report.network_text import shapes_text
from cnnstat.report.op_reference import Argument, Ops, Reference
from cnnstat.report.table import Column, Layout, Table
from cnnstat.report.terminal_text import BLANK, WIDEST, Line, cut_end, plain, width_of, wrapped

COLUMNS = (
    Column("family", "family", attrgetter("op.family.value")),
    Column("name", "op", attrgetter("name"), is_code=True),
    Column("summary", "what it does", attrgetter("summary"), least=24),
    Column("torch", "PyTorch", attrgetter("op.torch"), least=12, is_code=True),
)
"""The columns of the list."""

WIDE = 110
"""Columns from which the list names the modules of PyTorch."""

ARGUMENTS = (
    Column("name", "argument", attrgetter("name"), is_code=True),
    Column("default", "default", attrgetter("default_text"), is_code=True),
    Column("allowed", "values", attrgetter("allowed"), least=16),
    Column("doc", "meaning", attrgetter("doc"), least=20),
)
"""The columns of an op's arguments."""


def document(*texts: str | Ops) -> Document:
    """Return the page of an op, the list of those that have a text in their names, or the list of all.

    Several texts give the plots of these activations in one, or the list of the ops. Raises OpError if there is none.
    """
    words = [word for text in texts for word in ([text] if isinstance(text, str) else text)]
    names = tuple(dict.fromkeys(name for word in words for name in search(word)))
    if len(names) == 1:
        return _page(Reference(names[0]))
    ops = tuple(about for about in references() if about.name in names or not words)
    return _overview(ops, has_curves=len(words) > 1 and all(about.has_curve() for about in ops))


def _overview(ops: Sequence[Reference], *, has_curves: bool = False) -> Document:
    table = Table(COLUMNS, ops, layout=Layout(draw=lambda width: _families(ops, width)))

    def charts() -> dict[str, CurvesPlot]:
        return {"curves": CurvesPlot({about.name: about.curve for about in ops})} if has_curves else {}

    return Document(
        blocks=lambda: (table, *charts().values()),
        charts=charts,
        data=lambda: {"schema": SCHEMA, "ops": list(map(values, ops))},
        listed=("ops",),
        records=table,
        caption="Ops of the spec language",
    )


def _page(about: Reference) -> Document:
    return Document(
        title=about.signature,
        subtitle=about.paragraphs[0],
        blocks=lambda: _blocks(about),
        data=lambda: {"schema": SCHEMA, **values(about)},
        listed=("arguments", "formulas"),
        records=Table(ARGUMENTS, about.arguments),
        charts=lambda: {"curves": Plots(about.name, about.curve)} if about.has_curve() else {},
    )


def _blocks(about: Reference) -> Iterator[Block]:
    yield from map(Text, about.paragraphs[1:])
    yield Facts(tuple(_facts(about)), is_attached=len(about.paragraphs) == 1)
    if about.arguments:
        layout = Layout(draw=lambda width: _arguments(about.arguments, width))
        yield Table(ARGUMENTS, about.arguments, title="arguments", layout=layout)
    yield formula_table("", about.formulas)._replace(title=f"example: {_example(about)}")
    yield Text("how it is counted", "bold")
    yield Facts(tuple(Fact(label, text) for label, text in about.conventions.items()), is_attached=True)
    if about.has_curve():
        yield Plots(about.name, about.curve)
    if numbers := about.op.in_numbers():
        rows = f"{_rows_text(numbers[0])} → {_rows_text(numbers[1])}"
        yield Facts([Fact("in numbers", f"windows of 2×2 side by side, {rows}")])
        yield Matrices(*numbers)


def _rows_text(rows: Rows) -> str:
    return " / ".join(" ".join(map(str, row)) for row in rows)


class Matrices(NamedTuple):
    """A small matrix and what becomes of it, beside each other."""

    before: Rows
    after: Rows

    def lines(self, width: int) -> list[Line]:
        """Return the rows of both, the shorter one in the middle."""
        skipped = (len(self.before) - len(self.after)) // 2
        lines: list[Line] = []
        for number, row in enumerate(self.before):
            at = number - skipped
            after = self.after[at] if 0 <= at < len(self.after) else ()
            arrow = "  →  " if number == len(self.before) // 2 else "     "
            lines.append(plain("    " + " ".join(map(str, row)) + (arrow if after else "") + " ".join(map(str, after))))
        return lines


def references() -> tuple[Reference, ...]:
    """Return every op, family after family, in the order in which these come first."""
    ops = tuple(map(Reference, names()))
    families = list(dict.fromkeys(about.op.family for about in ops))
    return tuple(sorted(ops, key=lambda about: families.index(about.op.family)))


def _families(ops: Sequence[Reference], width: int) -> list[Line]:
    """Return all ops below the names of their families; where there is room with the modules of PyTorch."""
    label = max(len(about.name) for about in ops)
    module = max(len(about.op.torch) for about in ops) if width >= WIDE else 0
    lines: list[Line] = []
    for family, group in groupby(ops, key=lambda about: about.op.family):
        lines += [*((BLANK,) if lines else ()), plain(family.value, "bold")]
        for about in group:
            summary = cut_end(about.summary, max(10, width - label - module - 6))
            spans = [(f"  {about.name.ljust(label)}  ", "cyan"), (summary, "")]
            if module:
                spans.append((" " * (width - label - module - 4 - width_of(summary)) + about.op.torch, "dim"))
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
        "in_numbers": about.op.in_numbers(),
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


def _facts(about: Reference) -> Iterator[Fact]:
    if about.op.equation:
        yield Fact("equation", about.op.equation)
        yield Fact("derivative", about.op.derivative)
    yield Fact("PyTorch", about.module)


def _arguments(arguments: Sequence[Argument], width: int) -> list[Line]:
    """Return the arguments: name and default, and indented below each its meaning and values."""
    label = max(len(argument.name) for argument in arguments)
    default = max(len(argument.default_text) for argument in arguments)
    lines: list[Line] = []
    for argument in arguments:
        head = f"  {argument.name.ljust(label)}  {argument.default_text.ljust(default)}  "
        # A line never ends between ≥ and its number.
        meaning = f"{argument.doc} ({argument.allowed})".replace("≥ ", "≥\N{NO-BREAK SPACE}")
        first, *more = wrapped(meaning, max(20, min(width, WIDEST) - len(head)))
        lines.append(((head, "cyan"), (first, "")))
        lines += [plain(" " * len(head) + line) for line in more]
    return lines


def _example(about: Reference) -> str:
    inputs = shapes_text(about.example.inputs)
    return f"{about.example.op} of {inputs} gives {shapes_text(about.outputs)}"
