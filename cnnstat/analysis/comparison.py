"""Comparison: the totals of several networks, their ratios to the first, and where the parameters of two differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from cnnstat.analysis.analysis import Analysis
from cnnstat.analysis.figures import TOTAL_FIGURES
from cnnstat.display import Displayed, drawn
from cnnstat.errors import CnnstatError


@dataclass(frozen=True, repr=False)
class Comparison(Displayed):
    """Several analyses side by side; the first is the one that the others are measured against.

    profiles: the measured times of each, or none; Profile is not named here, as profiles are made of analyses.
    """

    analyses: tuple[Analysis, ...]
    profiles: tuple[Any, ...] = ()

    def __hash__(self) -> int:
        """Return a hash of the networks: profiles hold mappings, which have none."""
        return hash(self.analyses)

    def draw(self, **options: Any) -> dict[str, Any]:
        """Return a picture of each network by its heading; the options are those of `cnnstat.draw`."""
        return {heading: drawn(each, **options) for heading, each in zip(self.headings, self.analyses)}

    @cached_property
    def headings(self) -> tuple[str, ...]:
        """A name for each network that no other has: its own, else its source, else its name and place in the row."""
        named = [analysis.graph.name for analysis in self.analyses]
        for tried in ([analysis.graph.source or analysis.graph.name for analysis in self.analyses], None):
            shared = {name for name in named if named.count(name) > 1}
            named = [
                (tried[index] if tried else f"{name} ({index + 1})") if name in shared else name
                for index, name in enumerate(named)
            ]
        return tuple(named)

    @cached_property
    def figures(self) -> tuple[Mapping[str, int], ...]:
        """The totals of each network under flat names, sizes in bytes."""
        return tuple({f.key: f.of(analysis.totals) for f in TOTAL_FIGURES} for analysis in self.analyses)

    @cached_property
    def ratios(self) -> tuple[Mapping[str, float | None], ...]:
        """Each network's totals divided by the first one's; None where the first has 0."""
        base = self.figures[0]
        return tuple(
            {key: value / base[key] if base[key] else None for key, value in values.items()} for values in self.figures
        )


class Networks(Displayed, tuple[Analysis, ...]):
    """Analyses of several networks, listed with their titles and totals."""

    __slots__ = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the networks."""
        return tuple(analysis.graph.name for analysis in self)


def compare_analyses(analyses: Sequence[Analysis], profiles: Sequence[Any] = ()) -> Comparison:
    """Return several analyses side by side, with the profiles of all or none; raises CnnstatError if there is none."""
    if not analyses:
        raise CnnstatError("compare needs at least one model")
    return Comparison(tuple(analyses), tuple(profiles))


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
