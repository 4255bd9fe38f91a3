"""Verification: our figures beside those of the references, layer by layer, with the reason of each difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from itertools import starmap
from operator import attrgetter
from typing import Any, TypeVar

from cnnstat import numbers
from cnnstat.report.document import DRAWINGS, SCHEMA, Block, Document, Fact, Facts, KeyFigure
from cnnstat.report.formats.terminal import table_lines
from cnnstat.report.network_text import axes_text, heading, input_text, number_text, shapes_text
from cnnstat.report.network_values import model_values
from cnnstat.report.table import Column, Layout, Table
from cnnstat.report.terminal_text import Line, cut_start, plain, printable, wrapped
from cnnstat.verify.findings import FieldFinding, LayerFinding, ReferenceCount, TotalFinding, Verdict, Verification

Value = TypeVar("Value")

SAME = "="
"""What stands for a figure that equals ours."""


def document(verification: Verification, everything: bool = False) -> Document:
    """Return the layers, receptive fields, totals and references, and what the notes mean.

    everything: whether tables also show the layers without work on which all agree; JSON and CSV always have all.
    """
    return Document(
        title=heading(verification.analysis),
        subtitle=input_text(verification.analysis),
        blocks=lambda: _blocks(verification, everything),
        data=lambda: _values(verification),
        listed=("layers", "totals", "receptive_fields", "witnesses"),
        records=Table(RAW, verification.layers),
        key_figures=lambda: _key_figures(verification),
        drawings=lambda: import_module(DRAWINGS).network_drawings({"the network": verification.analysis}),
    )


def _key_figures(verification: Verification) -> Iterator[KeyFigure]:
    style = "red" if verification.exit_code else "green"
    yield KeyFigure("counts", _result(verification).label, f"exit code {verification.exit_code}", style)
    yield KeyFigure("MACs", numbers.count(verification.analysis.totals.macs), f"{verification.analysis.totals.macs:,}")
    for verdict, layers in _verdict_counts(verification).items():
        if layers:
            yield KeyFigure(
                verdict, numbers.plural(layers, "layer"), "", "red" if verdict == Verdict.UNEXPLAINED else ""
            )


def _blocks(verification: Verification, everything: bool) -> Iterator[Block]:
    notes = _Notes(verification)
    yield _layer_table(verification, notes, everything)
    if verification.fields:
        yield Table(FIELD_COLUMNS, verification.fields)
    yield Facts((*_totals(verification), *notes.facts(), *_references(verification), _result(verification)))


# Layers ---------------------------------------------------------------------------------------------------------------


def _counts_of(key: str, title: str) -> Column:
    """Return the column of a reference's counts: `=` where it is ours, `–` where there is none."""
    reference = attrgetter(key)

    def text(layer: LayerFinding) -> str:
        return _beside(reference(layer).value, layer.macs, "{:,}".format)

    return Column(key, title, attrgetter(f"{key}.value"), text, "right")


def _beside(theirs: Value | None, ours: Value, text: Callable[[Value], str]) -> str:
    """Return a reference's value as text: `=` where it is ours, `–` where it has none."""
    return SAME if theirs == ours else numbers.or_dash(theirs, text)


def _words(verdict: Verdict) -> str:
    """Return a verdict for people; JSON and CSV keep the values of their contract."""
    return "no reference" if verdict is Verdict.NO_REFERENCE else verdict.value


def _shapes(layer: LayerFinding) -> str:
    return shapes_text(layer.shapes)


REFERENCES = {"FlopCounterMode": ("flop_counter", "FlopCounter"), "fvcore": ("fvcore", "fvcore")}
"""The references that count multiply-accumulates layer by layer: their keys in a finding, and their titles."""

LAYER_COLUMNS = (
    Column("layer", "layer", attrgetter("layer"), least=8, cut=cut_start, is_code=True),
    Column("op", "op", attrgetter("op"), is_code=True, importance=3),
    Column("macs", "MACs", attrgetter("macs"), lambda layer: f"{layer.macs:,}", "right"),
    *starmap(_counts_of, REFERENCES.values()),
    Column("output", "output", attrgetter("shapes"), _shapes, "right", importance=4),
    Column("made", "made", attrgetter("made"), lambda f: _beside(f.made, f.shapes, shapes_text), "right"),
)
"""The columns that people read; the last has the shapes that PyTorch made."""

RAW = (
    *(column._replace(text=None) for column in LAYER_COLUMNS[:3]),
    *(Column(f"{key}_macs", "", attrgetter(f"{key}.value")) for key, _ in REFERENCES.values()),
    Column("output_shapes", "", _shapes),
    Column("made_shapes", "", lambda layer: "" if layer.made is None else shapes_text(layer.made)),
    Column("verdict", "", attrgetter("verdict.value")),
    Column("reasons", "", lambda layer: "; ".join(layer.reasons)),
)
"""The columns for programs."""


def _layer_table(verification: Verification, notes: _Notes, everything: bool) -> Table:
    """Return the layers with work, or with anything to say about them; or all. A terminal also gets their sums."""
    # Layers without work fill pages (ReLU, Flatten) and agree on 0.
    rows = verification.layers
    if not everything:
        rows = tuple(layer for layer in rows if layer.macs or layer.reasons or layer.verdict is not Verdict.AGREES)
    columns = (*LAYER_COLUMNS, Column("verdict", "verdict", attrgetter("verdict"), notes.verdict))
    made_column = LAYER_COLUMNS[-1]
    says_nothing = {made_column.key} if {SAME, "–"}.issuperset(made_column.cells(rows)) else set()
    sums = _sums(verification)

    def cell(column: Column) -> Column:
        """Return a column that knows the row of sums."""
        return column._replace(text=lambda row: sums.get(column.key, "") if row is sums else column.cell(row))

    def draw(width: int) -> list[Line]:
        table = Table([cell(column) for column in columns if column.key not in says_nothing], rows, total=sums)
        left_out = numbers.plural(len(verification.layers) - len(rows), "layer")
        note = f"{left_out} without multiply-accumulates, on which all agree; --all shows them"
        notes = wrapped(note, width) if len(rows) < len(verification.layers) else []
        return [*table_lines(table, width), *(plain(line, "dim") for line in notes)]

    return Table(columns, rows, layout=Layout(draw=draw))


class _Notes:
    """Numbers for the reasons, in the order of the layers."""

    def __init__(self, verification: Verification) -> None:
        self._layers: Counter[str] = Counter(reason for layer in verification.layers for reason in layer.reasons)
        self._numbers = {reason: number for number, reason in enumerate(self._layers, start=1)}

    def verdict(self, layer: LayerFinding) -> str:
        """Return the verdict on a layer, with the numbers of its reasons."""
        numbers = "".join(f" [{self._numbers[reason]}]" for reason in layer.reasons)
        return f"{_words(layer.verdict)}{numbers}"

    def facts(self) -> Iterator[Fact]:
        """Yield what each number means."""
        for reason, count in self._layers.items():
            yield Fact(f"[{self._numbers[reason]}]", f"{numbers.plural(count, 'layer')}: {printable(reason)}")


def _sums(verification: Verification) -> dict[str, str]:
    """Return the last line of the table: the sums of all layers' multiply-accumulates."""
    sums = {"layer": "total", "macs": f"{verification.analysis.totals.macs:,}"}
    for total in verification.totals:
        if total.figure == "MACs" and total.reference in REFERENCES and total.theirs.value is not None:
            sums[REFERENCES[total.reference][0]] = _beside(total.theirs.value, total.ours, "{:,}".format)
    return sums


# Receptive fields -----------------------------------------------------------------------------------------------------


def _box_text(box: Sequence[tuple[int, int]] | None) -> str:
    if box is None:
        return "–"
    intervals = [f"{number_text(lo)}…{number_text(hi)}" for lo, hi in box]
    return intervals[0] if len(set(intervals)) == 1 else " × ".join(intervals)


def _reached(field: FieldFinding) -> str:
    ours = tuple((0, length - 1) for length in field.shape) if field.ours is None else field.ours
    return SAME if field.gradient == ours else _box_text(field.gradient)


def _ours(field: FieldFinding) -> str:
    return "whole input" if field.ours is None else _box_text(field.ours)


def _field_verdict(field: FieldFinding) -> str:
    text = ": ".join(filter(None, (_words(field.verdict), field.reason)))
    return f"{text} (clipped by the border)" if field.clipped and field.verdict is Verdict.AGREES else text


FIELD_COLUMNS = (
    Column("layer", "receptive field of", attrgetter("layer"), least=8, cut=cut_start, is_code=True),
    Column("position", "at", attrgetter("position"), lambda f: axes_text(f.position, ", "), "right"),
    Column("shape", "input", attrgetter("shape"), lambda f: axes_text(f.shape), "right"),
    Column("ours", "cnnstat", attrgetter("ours"), _ours, "right"),
    Column("gradient", "gradient", attrgetter("gradient"), _reached, "right"),
    Column("verdict", "verdict", attrgetter("verdict"), _field_verdict, least=12),
)
"""The columns of receptive fields; positions count from 0, and intervals name the first and last input read."""


# The rest -------------------------------------------------------------------------------------------------------------


def _totals(verification: Verification) -> Iterator[Fact]:
    for total in verification.totals:
        if total.figure == "MACs" and total.reference in REFERENCES and not _is_bad(total):
            continue
        theirs = "nothing" if total.theirs.value is None else f"{total.theirs.value:,}"
        equal = f"{total.ours:,}, and so says {total.reference}"
        differs = f"{total.ours:,}, {total.reference} says {theirs}: {'; '.join(total.theirs.reasons)}"
        text = equal if total.theirs.value == total.ours else f"{_words(total.theirs.verdict)}: {differs}"
        yield Fact(total.figure, printable(text), "red" if _is_bad(total) else "")


def _is_bad(total: TotalFinding) -> bool:
    return total.theirs.verdict is Verdict.UNEXPLAINED


def _references(verification: Verification) -> Iterator[Fact]:
    for reference in verification.references:
        text = f"no reference: {reference.problem}" if reference.problem else reference.convention
        yield Fact(printable(reference.name), printable(text), "yellow" if reference.problem else "")
    for note in verification.notes:
        yield Fact("note", printable(note), "yellow")


def _result(verification: Verification) -> Fact:
    plural = {Verdict.AGREES.value: "agree", Verdict.NO_REFERENCE.value: "without a reference"}
    listed = ", ".join(
        f"{count:,} {plural.get(verdict, verdict)}" for verdict, count in _verdict_counts(verification).items() if count
    )
    layers = f"{numbers.plural(len(verification.layers), 'layer')}: {listed}".removesuffix(": ")
    if verification.exit_code == 0:
        return Fact("verified", layers, "green")
    if not verification.has_reference:
        return Fact("not verified", f"{layers}; no reference could count", "red")
    differences = numbers.plural([*verification.verdicts()].count(Verdict.UNEXPLAINED), "difference")
    return Fact("not verified", f"{layers}; {differences} unexplained", "red")


# JSON -----------------------------------------------------------------------------------------------------------------


def _values(verification: Verification) -> dict[str, Any]:
    """Return the findings under the contract; a count that a reference does not give is null."""
    return {
        "schema": SCHEMA,
        "model": model_values(verification.analysis),
        "verified": verification.exit_code == 0,
        "verdicts": _verdict_counts(verification),
        "layers": [_layer_values(layer) for layer in verification.layers],
        "totals": [_total_values(total) for total in verification.totals],
        "receptive_fields": [_field_values(field) for field in verification.fields],
        "witnesses": [
            {"name": r.name, "convention": r.convention, "heard": not r.problem, "reason": r.problem}
            for r in verification.references
        ],
        "notes": list(verification.notes),
    }


def _layer_values(layer: LayerFinding) -> dict[str, Any]:

    def count(reference: ReferenceCount) -> dict[str, Any]:
        value = reference.value
        return {
            "macs": value,
            "difference": None if value is None else value - layer.macs,
            "verdict": reference.verdict.value,
            "reasons": list(reference.reasons),
        }

    return {
        "name": layer.layer,
        "op": layer.op,
        "kind": layer.op,
        "macs": layer.macs,
        "flop_counter": count(layer.flop_counter),
        "fvcore": count(layer.fvcore),
        "output_shapes": [list(shape) for shape in layer.shapes],
        "made_shapes": None if layer.made is None else [list(shape) for shape in layer.made],
        "shape_verdict": layer.shape.verdict.value,
        "verdict": layer.verdict.value,
        "reasons": list(layer.reasons),
    }


def _field_values(field: FieldFinding) -> dict[str, Any]:
    return {
        "layer": field.layer,
        "position": list(field.position),
        "input": list(field.shape),
        "field": None if field.ours is None else [list(pair) for pair in field.ours],
        "gradient": None if field.gradient is None else [list(pair) for pair in field.gradient],
        "clipped": field.clipped,
        "verdict": field.verdict.value,
        "reason": field.reason,
    }


def _total_values(total: TotalFinding) -> dict[str, Any]:
    return {
        "figure": total.figure,
        "witness": total.reference,
        "ours": total.ours,
        "theirs": total.theirs.value,
        "verdict": total.theirs.verdict.value,
        "reasons": list(total.theirs.reasons),
    }


def _verdict_counts(verification: Verification) -> dict[str, int]:
    counts = Counter(layer.verdict for layer in verification.layers)
    return {verdict.value: counts[verdict] for verdict in Verdict}
