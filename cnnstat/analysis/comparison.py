"""Comparison: the totals of several networks and their ratios to the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cnnstat.analysis.analysis import Analysis
from cnnstat.errors import CnnstatError

if TYPE_CHECKING:
    from cnnstat.profile.result import Profile


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several analyses side by side; the first is the one that the others are measured against.

    profiles: the measured times of each, or none.
    """

    analyses: tuple[Analysis, ...]
    profiles: tuple[Profile, ...] = ()

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
        return tuple(map(figures, self.analyses))

    @cached_property
    def ratios(self) -> tuple[Mapping[str, float | None], ...]:
        """Each network's totals divided by the first one's; None where the first has 0."""
        base = self.figures[0]
        return tuple({key: value / base[key] if base[key] else None for key, value in f.items()} for f in self.figures)

    def to_dict(self) -> dict[str, Any]:
        """Return models, totals and ratios as JSON-ready values."""
        from cnnstat.report.comparison import document

        return document(self)

    def to_json(self) -> str:
        """Return the same as JSON text."""
        from cnnstat.report.comparison import to_json

        return to_json(self)

    def __repr__(self) -> str:
        """The table of totals, as `cnnstat compare` prints it at 100 columns."""
        from cnnstat.report.comparison import text

        return text(self, width=100)

    def _repr_html_(self) -> str:
        """The table for notebooks."""
        from cnnstat.report.comparison import html

        return html(self)


def figures(analysis: Analysis) -> dict[str, int]:
    """Return the totals of one network under flat names, sizes in bytes."""
    totals = analysis.totals
    memory = totals.memory
    return {
        "params": totals.params,
        "trainable_params": totals.trainable_params,
        "buffers": totals.buffers,
        "macs": totals.macs,
        "flops": totals.flops,
        "layers": totals.layers,
        "params_bytes": memory.params_bytes,
        "activation_bytes": memory.activation_bytes,
        "weighted_activation_bytes": memory.weighted_activation_bytes,
        "peak_inference_bytes": memory.peak_inference_bytes,
        "training_bytes": memory.training_bytes,
    }


def compare_analyses(analyses: Sequence[Analysis], profiles: Sequence[Profile] = ()) -> Comparison:
    """Return several analyses side by side, with the profiles of all or none; raises CnnstatError if there is none."""
    if not analyses:
        raise CnnstatError("compare needs at least one model")
    return Comparison(tuple(analyses), tuple(profiles))
