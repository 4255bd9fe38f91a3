"""Shares: what part of a figure of the network each layer has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cnnstat.analysis.analysis import Analysis
from cnnstat.errors import CnnstatError, did_you_mean

FIGURES: dict[str, tuple[str, Callable[[Analysis], Sequence[float]]]] = {
    "macs": ("MACs", lambda analysis: analysis.work.macs),
    "params": ("parameters", lambda analysis: analysis.parameters.params),
    "memory": ("memory of outputs", lambda analysis: analysis.memory.output_bytes),
}
"""What a share can be of: the figure's name, and its values by layer."""


@dataclass(frozen=True)
class Shares:
    """The parts of the layers; name: of the figure; values: by layer."""

    name: str
    values: Sequence[float]

    def of(self, layers: Iterable[int]) -> float:
        """Return the part that some layers have together, from 0 to 1."""
        return sum(self.values[index] for index in layers) / (sum(self.values) or 1)


def shares_of(analysis: Analysis, by: str) -> Shares:
    """Return the parts of a figure; raises CnnstatError where there is none of that name."""
    if by not in FIGURES:
        raise CnnstatError(f"--by {by[:40]}: {did_you_mean(by, FIGURES) or 'write '}{', '.join(FIGURES)}")
    name, values = FIGURES[by]
    return Shares(name, values(analysis))
