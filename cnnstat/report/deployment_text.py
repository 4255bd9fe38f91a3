"""Deployment: what was done to a network before it is shipped, and where its tensors are, in words and for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cnnstat.analysis.analysis import Analysis
from cnnstat.analysis.arena import ALIGNMENT
from cnnstat.analysis.transforms.deploy import NOT_COUNTED
from cnnstat.ir.graph import Deployment
from cnnstat.numbers import listed, plural
from cnnstat.report.document import Fact

LISTED = 3
"""Names that a list shows before it says how many more there are."""


def deployment_facts(deployment: Deployment) -> Iterator[Fact]:
    """Yield what was folded and what was not, what runs in float, and what no figure has in it."""
    done = [f"{plural(len(deployment.folded), 'layer')} of batch norm folded"]
    if deployment.removed:
        done.append(f"{plural(len(deployment.removed), 'layer')} without work gone")
    yield Fact("deployed", f"in {deployment.precision}: {', '.join(done)}, element-wise layers in place")
    if deployment.unread:
        yield Fact("not shipped", f"{listed(deployment.unread, LISTED)}: no result depends on what they make")
    for number, reason in enumerate(dict.fromkeys(deployment.kept.values())):
        norms = [name for name, why in deployment.kept.items() if why == reason]
        yield Fact("" if number else "not folded", f"{len(norms):,}, as {reason}: {listed(norms, LISTED)}")
    if deployment.in_float:
        names = listed(deployment.in_float, LISTED)
        yield Fact("in float32", f"{names}: no int8 kernel, or none for all they do; what these hand on is int8")
    yield Fact("never counted", NOT_COUNTED)


def deployment_values(deployment: Deployment) -> Mapping[str, Any]:
    """Return the same for JSON, with all names."""
    return {
        "precision": deployment.precision,
        "folded": [{"layer": name, "into": into} for name, into in deployment.folded.items()],
        "not_folded": [{"layer": name, "reason": why} for name, why in deployment.kept.items()],
        "removed": list(deployment.removed),
        "unread": list(deployment.unread),
        "in_float32": list(deployment.in_float),
        "not_counted": NOT_COUNTED,
    }


def arena_values(analysis: Analysis) -> dict[str, Any]:
    """Return the address of every tensor of an inference pass; views and what works in place have their base's.

    first, last: the numbers of the layers that make it and read it last; null before the first and behind the last.
    """
    graph, memory = analysis.graph, analysis.memory
    lives, arena = memory.lifetimes, memory.arena
    tensors = []
    for value, shapes in enumerate(analysis.values.outputs):
        for output, storage in enumerate(lives.storages.made_by(value)):
            last = lives.last[storage]
            tensors.append(
                {
                    "name": graph.value_name(value),
                    **({"output": output} if len(shapes) > 1 else {}),
                    "offset": arena.offsets[storage],
                    "bytes": lives.storages.bytes[storage],
                    "first": None if value < graph.arity else lives.first[storage],
                    "last": None if last == len(graph.nodes) else last,
                }
            )
    return {"bytes": arena.bytes, "alignment": ALIGNMENT, "order": arena.order, "tensors": tensors}
