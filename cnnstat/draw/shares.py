"""Shares: what part of a figure of the network each layer has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cnnstat.analysis.analysis import Analysis
from cnnstat.errors import CnnstatError, did_you_mean, printable

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


def shares_of(analysis: Analysis, by: str | None, times: Mapping[str, float] | None = None) -> Shares | None:
    """Return the parts of a figure; times: seconds by the name of a layer, which `time` needs.

    Raises CnnstatError where there is no such figure, or a layer has no time. None where none is asked for.
    """
    if times is not None and by != "time":
        raise CnnstatError("--profile has times; add --by time to show them")
    if by is None:
        return None
    if by == "time":
        return Shares("measured time", _seconds(analysis, times))
    if by not in FIGURES:
        known = (*FIGURES, "time")
        raise CnnstatError(
            f"--by {by[:40]}: there is no such figure{did_you_mean(by, known)}; known: {', '.join(known)}"
        )
    name, values = FIGURES[by]
    return Shares(name, values(analysis))


def _seconds(analysis: Analysis, times: Mapping[str, float] | None) -> list[float]:
    if times is None:
        raise CnnstatError("--by time needs --profile FILE, the JSON of `cnnstat profile SOURCE --format json`")
    names = [node.name for node in analysis.graph.nodes]
    missing = [name for name in names if name not in times]
    if missing:
        raise CnnstatError(
            f"--profile: it has no time of {printable(missing[0])}"
            f"{f' and {len(missing) - 1:,} more layers' if len(missing) > 1 else ''}; measure the same SOURCE"
        )
    return [times[name] for name in names]
