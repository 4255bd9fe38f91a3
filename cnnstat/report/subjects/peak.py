"""Peak: what is alive where inference peaks, largest first, and which change would lower it."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

from cnnstat.analysis.peak import AliveTensor, Peak
from cnnstat.numbers import Unit, binary_bytes, percent
from cnnstat.report.document import SCHEMA, Block, Document, Fact, Facts
from cnnstat.report.network_text import heading, input_text, shape_text
from cnnstat.report.network_values import model_values
from cnnstat.report.table import Column, Table
from cnnstat.report.terminal_text import cut_start, printable

LISTED = 3
"""Layers that are named before it is said that there are more."""


def document(peak: Peak) -> Document:
    """Return what is alive at the peak of inference."""
    table = Table(_columns(peak), peak.tensors)
    return Document(
        title=heading(peak.analysis),
        subtitle=input_text(peak.analysis),
        blocks=lambda: _blocks(peak, table),
        data=lambda: _values(peak),
        listed=("tensors",),
        records=table,
        caption="tensors alive at the peak of inference",
    )


def _columns(peak: Peak) -> tuple[Column, ...]:
    def share(tensor: AliveTensor) -> float:
        return tensor.bytes / peak.bytes

    return (
        Column("name", "tensor", attrgetter("name"), least=10, cut=cut_start, is_code=True, importance=1, style="cyan"),
        Column("shape", "shape", attrgetter("shape"), lambda t: shape_text(t.shape), "right"),
        Column("bytes", "bytes", attrgetter("bytes"), lambda t: Unit.BYTES.exact(t.bytes), "right", importance=1),
        Column("share", "% of peak", share, lambda t: percent(share(t)), "right", importance=3),
        Column("role", "alive as", attrgetter("role"), least=12, importance=2),
        Column(
            "peak_without", "peak without", attrgetter("peak_without"), lambda t: Unit.BYTES.exact(t.peak_without),
            "right", importance=3,
        ),
    )  # fmt: skip


def _blocks(peak: Peak, table: Table) -> Iterator[Block]:
    if peak.tensors:
        yield table
    yield Facts(tuple(_facts(peak)))


def _facts(peak: Peak) -> Iterator[Fact]:
    where = "" if peak.layer is None else f" while {printable(peak.layer)} runs"
    yield Fact("peak", f"{peak.bytes:,} bytes ({binary_bytes(peak.bytes)}){where}")
    if peak.more:
        yield Fact("", f"{peak.more:,} smaller tensors are alive too")
    changes = list(_changes(peak))
    for number, change in enumerate(changes):
        yield Fact("" if number else "to lower it", change)


def _changes(peak: Peak) -> Iterator[str]:
    """Yield the changes that lower the peak, those that change no result first."""
    if peak.deployed_bytes is not None and peak.deployed_bytes < peak.bytes:
        dtype = peak.analysis.graph.dtype
        less = binary_bytes(peak.deployed_bytes)
        yield f"--deploy {dtype} has {less}: batch norm folded, element-wise layers in place"
    if (order := peak.other_order) is not None:
        names = ", ".join(map(printable, order.moved[:LISTED])) + " …" * (len(order.moved) > LISTED)
        yield f"run {names} right behind {printable(order.behind)}: the peak is {binary_bytes(order.bytes)}"
    most = min(peak.tensors, key=attrgetter("peak_without"), default=None)
    if most is None or most.peak_without >= peak.bytes:
        return
    left = f"the peak is {binary_bytes(most.peak_without)}"
    if most.made_by is None:
        yield f"a smaller input, or one that is read in parts: without {printable(most.name)} {left}"
        return
    waiting = [
        each for each in peak.tensors if each.made_by not in (None, peak.layer) and each.last_reader != peak.layer
    ]
    longest = max(waiting, key=attrgetter("bytes"), default=most)
    if longest is not most:
        reader = printable(longest.last_reader or "the end")
        without = f"without it the peak is {binary_bytes(longest.peak_without)}"
        yield f"{printable(longest.name)} waits for {reader} while others run: narrow it; {without}"
    maker = printable(most.made_by)
    yield f"fewer channels or a smaller map in {maker}, or its work in parts: without what it makes {left}"


def _values(peak: Peak) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "model": model_values(peak.analysis),
        "peak": {"bytes": peak.bytes, "layer": peak.layer, "more": peak.more, "deployed_bytes": peak.deployed_bytes},
        "other_order": None if peak.other_order is None else peak.other_order._asdict(),
        "tensors": [{**each._asdict(), "shape": list(each.shape)} for each in peak.tensors],
        "changes": list(_changes(peak)),
    }
