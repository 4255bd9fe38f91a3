"""Verification: our figures beside those of the references, layer by layer, with the reason of each difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from cnnstat import numbers
from cnnstat.report import network_text
from cnnstat.report.document import Fact
from cnnstat.report.formats.json import json_text
from cnnstat.report.formats.markdown import escaped
from cnnstat.report.formats.terminal import facts_page
from cnnstat.report.grid import Track, grid
from cnnstat.report.listing import Field, Listing
from cnnstat.report.network_text import heading, input_text
from cnnstat.report.terminal_text import BLANK, Line, Page, Verbatim, cut_start, plain, printable, show, wrapped
from cnnstat.report.verification_json import VERDICTS, counts, document

if TYPE_CHECKING:
    from rich.console import Console

    from cnnstat.verify.findings import FieldFinding, LayerFinding, ReferenceCount, TotalFinding, Verification

AGREES, _, NO_REFERENCE, UNEXPLAINED = VERDICTS
SAME = "="
"""What stands for a figure that equals ours."""


def print_table(found: Verification, everything: bool, console: Console) -> None:
    """Print the table of layers, the receptive fields, the totals and what the notes mean."""
    show(page(found, everything, console.width), console)


def page(found: Verification, everything: bool, width: int) -> Page:
    """Return the page; `everything` also shows the layers without work on which all agree."""
    notes = _Notes(found)
    lines: list[Line] = [plain(line, "bold") for line in wrapped(heading(found.analysis), width)]
    lines += [plain(input_text(found.analysis)), BLANK, *_layers(found, notes, everything, width).lines]
    left_out = len(found.layers) - len(_shown(found, everything))
    if left_out:
        said = f"{numbers.plural(left_out, 'layer')} without multiply-accumulates, on which all agree; --all shows them"
        lines += [plain(line, "dim") for line in wrapped(said, width)]
    if found.fields:
        lines += [BLANK, *Listing(FIELD_FIELDS, found.fields).page(width).lines]
    facts = [*_totals(found), *notes.facts(), *_references(found), _result(found)]
    return Page([*lines, BLANK, *facts_page(facts, width).lines])


def print_json(found: Verification, everything: bool, console: Console) -> None:
    """Print one object a layer, total and receptive field; always everything."""
    show(Verbatim(json_text(document(found), "layers", "totals", "receptive_fields", "witnesses")), console)


def print_csv(found: Verification, everything: bool, console: Console) -> None:
    """Print one row a layer, raw numbers; always all of them."""
    show(Verbatim(Listing(RAW, found.layers).csv()), console)


def print_markdown(found: Verification, everything: bool, console: Console) -> None:
    """Print GitHub tables of layers and receptive fields, and the rest as a list."""
    notes = _Notes(found)
    fields = (*LAYER_FIELDS, Field("verdict", "verdict", notes.verdict))
    parts = [f"### {escaped(heading(found.analysis))}\n\n{escaped(input_text(found.analysis))}\n"]
    parts.append(Listing(fields, _shown(found, everything)).markdown())
    if found.fields:
        parts.append(Listing(FIELD_FIELDS, found.fields).markdown())
    facts = [*_totals(found), *notes.facts(), *_references(found), _result(found)]
    parts.append("".join(f"- **{escaped(fact.label)}** {escaped(fact.text)}\n" for fact in facts))
    show(Verbatim("\n".join(parts)), console)


FORMATS = {"table": print_table, "json": print_json, "csv": print_csv, "markdown": print_markdown}
"""The functions that print a verification, by the name of the format."""


# Layers ---------------------------------------------------------------------------------------------------------------


def _said(layer: LayerFinding, reference: ReferenceCount) -> str:
    """Return a reference's count: `=` where it is ours, `–` where there is none."""
    if reference.value is None:
        return "–"
    return SAME if reference.value == layer.macs else f"{reference.value:,}"


def _made(layer: LayerFinding) -> str:
    """Return the shapes that PyTorch made: `=` where they are ours, nothing where it made none."""
    if layer.made is None:
        return "–"
    return SAME if layer.made == layer.shapes else network_text.shapes_text(layer.made)


LAYER_FIELDS = (
    Field("layer", "layer", attrgetter("layer"), least=8, cut=cut_start, is_code=True),
    Field("op", "op", attrgetter("op"), is_code=True),
    Field("macs", "MACs", attrgetter("macs"), lambda layer: f"{layer.macs:,}", "right"),
    Field("flop_counter", "FlopCounter", None, lambda layer: _said(layer, layer.flop_counter), "right"),  # type: ignore[arg-type]
    Field("fvcore", "fvcore", None, lambda layer: _said(layer, layer.fvcore), "right"),  # type: ignore[arg-type]
    Field("output", "output", attrgetter("shapes"), lambda layer: network_text.shapes_text(layer.shapes), "right"),
    Field("made", "made", None, _made, "right"),  # type: ignore[arg-type]
)
"""The columns that people read."""

RAW = (
    Field("layer", "layer", attrgetter("layer")),
    Field("op", "op", attrgetter("op")),
    Field("macs", "MACs", attrgetter("macs")),
    Field("flop_counter_macs", "", attrgetter("flop_counter.value")),
    Field("fvcore_macs", "", attrgetter("fvcore.value")),
    Field("output_shapes", "", lambda layer: network_text.shapes_text(layer.shapes)),
    Field("made_shapes", "", lambda layer: "" if layer.made is None else network_text.shapes_text(layer.made)),
    Field("verdict", "", lambda layer: layer.verdict.value),
    Field("reasons", "", lambda layer: "; ".join(layer.reasons)),
)
"""The columns for programs."""


class _Notes:
    """Numbers for the reasons, in the order of the layers."""

    def __init__(self, found: Verification) -> None:
        self._layers: Counter[str] = Counter(reason for layer in found.layers for reason in layer.reasons)
        self._numbers = {reason: number for number, reason in enumerate(self._layers, start=1)}

    def verdict(self, layer: LayerFinding) -> str:
        """Return the verdict on a layer, with the numbers of its reasons."""
        numbers = "".join(f" [{self._numbers[reason]}]" for reason in layer.reasons)
        return f"{layer.verdict.value}{numbers}"

    def facts(self) -> Iterator[Fact]:
        """Yield what each number means."""
        for reason, count in self._layers.items():
            yield Fact(f"[{self._numbers[reason]}]", f"{numbers.plural(count, 'layer')}: {printable(reason)}")


def _shown(found: Verification, everything: bool) -> Sequence[LayerFinding]:
    """Return the layers with work, or with anything to say about them; or all."""
    if everything:
        return found.layers
    return [layer for layer in found.layers if layer.macs or layer.reasons or layer.verdict.value != AGREES]


def _layers(found: Verification, notes: _Notes, everything: bool, width: int) -> Page:
    """Return the table of layers with the sums; columns that say nothing or do not fit are left out."""
    shown = _shown(found, everything)
    fields = [*LAYER_FIELDS, Field("verdict", "verdict", lambda layer: None, notes.verdict)]
    sums = _sums(found)
    if all(_made(layer) in (SAME, "–") for layer in shown):
        fields = [field for field in fields if field.key != "made"]
    for key in ("output", "op", None):
        tracks = [Track(title=f.title, align=f.align, least=f.least, cut=f.cut) for f in fields]
        rows = [[field.text(layer) for field in fields] for layer in shown]
        made = grid(tracks, rows, width, [sums.get(field.key, "") for field in fields])
        if made.width <= width:
            break
        fields = [field for field in fields if field.key != key]
    return made


def _sums(found: Verification) -> dict[str, str]:
    """Return the last line of the table: the sums of all layers' multiply-accumulates."""
    sums = {"layer": "total", "macs": f"{found.analysis.totals.macs:,}"}
    keys = {"FlopCounterMode": "flop_counter", "fvcore": "fvcore"}
    for total in found.totals:
        if total.figure == "MACs" and total.reference in keys and total.theirs.value is not None:
            is_same = total.theirs.value == total.ours
            sums[keys[total.reference]] = SAME if is_same else f"{total.theirs.value:,}"
    return sums


# Receptive fields -----------------------------------------------------------------------------------------------------


def _box_text(box: Sequence[tuple[int, int]] | None) -> str:
    """Return an interval for each axis, or one if all are equal."""
    if box is None:
        return "–"
    shown = [f"{network_text.number_text(lo)}…{network_text.number_text(hi)}" for lo, hi in box]
    return shown[0] if len(set(shown)) == 1 else " × ".join(shown)


def _reached(field: FieldFinding) -> str:
    """Return where the gradient reaches: `=` where that is our field."""
    ours = tuple((0, length - 1) for length in field.shape) if field.ours is None else field.ours
    return SAME if field.gradient == ours else _box_text(field.gradient)


def _ours(field: FieldFinding) -> str:
    """Return our field of a position."""
    return "whole input" if field.ours is None else _box_text(field.ours)


def _field_verdict(field: FieldFinding) -> str:
    """Return the verdict with its reason."""
    said = ": ".join(filter(None, (field.verdict.value, field.reason)))
    return f"{said} (clipped by the border)" if field.clipped and field.verdict.value == AGREES else said


FIELD_FIELDS = (
    Field("layer", "receptive field of", attrgetter("layer"), least=8, cut=cut_start, is_code=True),
    Field("position", "at", attrgetter("position"), lambda f: network_text.axes_text(f.position, ", "), "right"),
    Field("shape", "input", attrgetter("shape"), lambda f: network_text.axes_text(f.shape), "right"),
    Field("ours", "cnnstat", attrgetter("ours"), _ours, "right"),
    Field("gradient", "gradient", attrgetter("gradient"), _reached, "right"),
    Field("verdict", "verdict", attrgetter("verdict"), _field_verdict, least=12),
)
"""The columns of receptive fields; positions count from 0, and intervals name the first and last input read."""


# The rest -------------------------------------------------------------------------------------------------------------


def _totals(found: Verification) -> Iterator[Fact]:
    """Yield the figures of the whole network that are not in the table."""
    for total in found.totals:
        if total.figure == "MACs" and total.reference in ("FlopCounterMode", "fvcore") and not _is_bad(total):
            continue
        theirs = "nothing" if total.theirs.value is None else f"{total.theirs.value:,}"
        equal = f"{total.ours:,}, and so says {total.reference}"
        differs = f"{total.ours:,}, {total.reference} says {theirs}: {'; '.join(total.theirs.reasons)}"
        text = equal if total.theirs.value == total.ours else f"{total.theirs.verdict.value}: {differs}"
        yield Fact(total.figure, printable(text), "red" if _is_bad(total) else "")


def _is_bad(total: TotalFinding) -> bool:
    """Whether a total differs for no known reason."""
    return total.theirs.verdict.value == UNEXPLAINED


def _references(found: Verification) -> Iterator[Fact]:
    """Yield each reference: what it counts, or why it did not run."""
    for reference in found.references:
        said = f"no witness: {reference.problem}" if reference.problem else reference.convention
        yield Fact(reference.name, printable(said), "yellow" if reference.problem else "")
    for note in found.notes:
        yield Fact("note", printable(note), "yellow")


def _result(found: Verification) -> Fact:
    """Return the verdict on the whole."""
    plural = {AGREES: "agree", NO_REFERENCE: "without a witness"}
    listed = ", ".join(f"{count:,} {plural.get(verdict, verdict)}" for verdict, count in counts(found).items() if count)
    layers = f"{numbers.plural(len(found.layers), 'layer')}: {listed}"
    if found.exit_code == 0:
        return Fact("verified", layers, "green")
    if not found.has_reference:
        return Fact("not verified", f"{layers}; no witness could be heard", "red")
    return Fact("not verified", f"{layers}; {numbers.plural(_unexplained(found), 'difference')} unexplained", "red")


def _unexplained(found: Verification) -> int:
    """Return how many differences have no reason."""
    return sum(verdict.value == UNEXPLAINED for verdict in found.verdicts())
