"""Where the parameters of two versions of a network differ, as those of a model and of the file it was exported to."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from cnnstat.analysis.analysis import Analysis


class Difference(NamedTuple):
    """Parameters that one network has and the other has not, in layers of one kind.

    elements: how many more the second has; layers: in how many layers; kind: of the op, empty for layers of both.
    """

    elements: int
    layers: int
    kind: str


def parameter_differences(first: Analysis, second: Analysis) -> tuple[Difference, ...]:
    """Return where parameters differ, the largest difference first; none unless both do the same work.

    Layers are the same if their names are. The elements add up to the difference of the totals.
    """
    if first.totals.macs != second.totals.macs or first.totals.params == second.totals.params:
        return ()
    before, after = ({layer.name: layer for layer in each.layers if layer.params} for each in (first, second))
    elements: Counter[str] = Counter()
    layers: Counter[str] = Counter()
    for name in {**before, **after}:
        one, other = before.get(name), after.get(name)
        change = (other.params if other is not None else 0) - (one.params if one is not None else 0)
        if change:
            only = one if other is None else other if one is None else None
            kind = "" if only is None else only.op.kind
            elements[kind] += change
            layers[kind] += 1
    found = [Difference(count, layers[kind], kind) for kind, count in elements.items()]
    return tuple(sorted(found, key=lambda each: (-abs(each.elements), each.kind)))
