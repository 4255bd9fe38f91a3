"""Findings: what cnnstat says of a network beside what its witnesses say, with the reason of each difference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from cnnstat.analysis.analysis import Analysis
from cnnstat.ir.op import Shape

Box = tuple[tuple[int, int], ...]
"""First and last position along each spatial axis."""


class Verdict(str, Enum):
    """How a figure of cnnstat stands to that of a witness, the worst last."""

    AGREES = "agrees"
    EXPLAINED = "explained"
    UNWITNESSED = "no witness"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Testimony:
    """What one witness says of one figure; value is None where it says nothing, and the reasons say why."""

    value: int | None
    verdict: Verdict = Verdict.AGREES
    reasons: tuple[str, ...] = ()


SILENT = Testimony(None, Verdict.UNWITNESSED)
"""A witness that could not be heard at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFinding:
    """One op call: our multiply-accumulates and shapes, and what the witnesses counted and saw.

    flop_counter, fvcore: multiply-accumulates as the witnesses count them.
    shapes, made: our output shapes, and those of the forward pass (None if it had none for this call).
    """

    layer: str
    op: str
    macs: int
    flop_counter: Testimony
    fvcore: Testimony
    shapes: tuple[Shape, ...]
    made: tuple[Shape, ...] | None
    shape: Testimony

    @property
    def testimonies(self) -> tuple[Testimony, ...]:
        """What all witnesses say."""
        return self.flop_counter, self.fvcore, self.shape

    @property
    def verdict(self) -> Verdict:
        """The worst of the verdicts on counts and shapes; a witness that is silent takes nothing from the others."""
        return worst(testimony.verdict for testimony in self.testimonies)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why figures differ, or why there is no witness."""
        return tuple(dict.fromkeys(reason for testimony in self.testimonies for reason in testimony.reasons))


@dataclass(frozen=True, slots=True, kw_only=True)
class TotalFinding:
    """One figure of the whole network beside a witness's."""

    figure: str
    witness: str
    ours: int
    theirs: Testimony


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldFinding:
    """The receptive field of one output position, beside where its gradient reaches.

    position: the output position; shape: the input sizes of this check, without batch and channels.
    ours: the interval of each spatial axis, padding counted; None where cnnstat says "whole input".
    gradient: the box that the gradient reaches; None if it reaches nothing.
    clipped: whether a border of the input cut the field short, so that its size is not witnessed on some side.
    """

    layer: str
    position: tuple[int, ...]
    shape: tuple[int, ...]
    ours: Box | None
    gradient: Box | None
    clipped: bool
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness, the convention it counts by, and why it could not be heard, if so."""

    name: str
    convention: str
    silence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """All findings about one network."""

    analysis: Analysis
    layers: tuple[LayerFinding, ...]
    totals: tuple[TotalFinding, ...]
    fields: tuple[FieldFinding, ...]
    witnesses: tuple[Witness, ...]
    notes: tuple[str, ...] = field(default_factory=tuple)

    def verdicts(self) -> Iterator[Verdict]:
        """Yield every single verdict."""
        for layer in self.layers:
            yield from (testimony.verdict for testimony in layer.testimonies)
        yield from (total.theirs.verdict for total in self.totals)
        yield from (each.verdict for each in self.fields)

    def count(self, verdict: Verdict) -> int:
        """Return how many layers, totals and fields have this verdict."""
        rows = [layer.verdict for layer in self.layers]
        rows += [total.theirs.verdict for total in self.totals]
        return [*rows, *(each.verdict for each in self.fields)].count(verdict)

    @property
    def is_witnessed(self) -> bool:
        """Whether any witness was heard on counts or shapes."""
        heard = (Verdict.AGREES, Verdict.EXPLAINED)
        return any(t.verdict in heard for layer in self.layers for t in layer.testimonies)

    @property
    def exit_code(self) -> int:
        """0 where all differences are explained; 3 where one is not, or nothing was witnessed."""
        return 3 if self.count(Verdict.UNEXPLAINED) or not self.is_witnessed else 0


_ORDER = (Verdict.UNWITNESSED, Verdict.AGREES, Verdict.EXPLAINED, Verdict.UNEXPLAINED)


def worst(verdicts: Iterator[Verdict]) -> Verdict:
    """Return the gravest verdict; silence counts only where every witness is silent."""
    return max(verdicts, key=_ORDER.index)
