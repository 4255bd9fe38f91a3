"""Findings: what cnnstat computes beside what its references compute, with the reason of each difference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from cnnstat.analysis.analysis import Analysis
from cnnstat.display import Displayed
from cnnstat.ir.op import Shape

Box = tuple[tuple[int, int], ...]
"""First and last position along each spatial axis."""


class Verdict(str, Enum):
    """How a figure of cnnstat compares with that of a reference, the worst last."""

    AGREES = "agrees"
    EXPLAINED = "explained"
    NO_REFERENCE = "no witness"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class ReferenceCount:
    """One figure of one reference; value is None where it has none, and the reasons say why."""

    value: int | None
    verdict: Verdict = Verdict.AGREES
    reasons: tuple[str, ...] = ()


def explained(value: int | None, reason: str) -> ReferenceCount:
    """Return a figure that differs for a known reason."""
    return ReferenceCount(value, Verdict.EXPLAINED, (reason,))


def unexplained(value: int | None, reason: str) -> ReferenceCount:
    """Return a figure that differs for no known reason; reason: what is said of it."""
    return ReferenceCount(value, Verdict.UNEXPLAINED, (reason,))


def not_comparable(value: int | None, reason: str) -> ReferenceCount:
    """Return a figure that cannot stand beside ours, for a reason."""
    return ReferenceCount(value, Verdict.NO_REFERENCE, (reason,))


NO_REFERENCE = ReferenceCount(None, Verdict.NO_REFERENCE)
"""No figure, as the reference did not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFinding:
    """One op call: our multiply-accumulates and shapes, and those of the references.

    flop_counter, fvcore: multiply-accumulates as the references count them.
    shapes, made: our output shapes, and those of the forward pass (None if it had none for this call).
    """

    layer: str
    op: str
    macs: int
    flop_counter: ReferenceCount
    fvcore: ReferenceCount
    shapes: tuple[Shape, ...]
    made: tuple[Shape, ...] | None
    shape: ReferenceCount

    @property
    def references(self) -> tuple[ReferenceCount, ...]:
        """The figures of all references."""
        return self.flop_counter, self.fvcore, self.shape

    @property
    def verdict(self) -> Verdict:
        """The worst verdict on counts and shapes; a reference without a figure takes nothing from the others."""
        return worst(reference.verdict for reference in self.references)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why figures differ, or why there is no reference."""
        return tuple(dict.fromkeys(reason for reference in self.references for reason in reference.reasons))


@dataclass(frozen=True, slots=True, kw_only=True)
class TotalFinding:
    """One figure of the whole network beside a reference's."""

    figure: str
    reference: str
    ours: int
    theirs: ReferenceCount


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldFinding:
    """The receptive field of one output position, beside where its gradient reaches.

    position: the output position; shape: the input sizes of this check, without batch and channels.
    ours: the interval of each spatial axis, padding counted; None where cnnstat says "whole input".
    gradient: the box that the gradient reaches; None if it reaches nothing.
    clipped: whether a border of the input cut the field short, so that its size is not verified on some side.
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
class Reference:
    """A reference, the convention it counts by, and why it did not run, if so."""

    name: str
    convention: str
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Verification(Displayed):
    """All findings about one network."""

    analysis: Analysis
    layers: tuple[LayerFinding, ...]
    totals: tuple[TotalFinding, ...]
    fields: tuple[FieldFinding, ...]
    references: tuple[Reference, ...]
    notes: tuple[str, ...] = field(default_factory=tuple)

    def verdicts(self) -> Iterator[Verdict]:
        """Yield every single verdict."""
        for layer in self.layers:
            yield from (reference.verdict for reference in layer.references)
        yield from (total.theirs.verdict for total in self.totals)
        yield from (each.verdict for each in self.fields)

    def count(self, verdict: Verdict) -> int:
        """Return how many layers, totals and fields have this verdict."""
        rows = [layer.verdict for layer in self.layers]
        rows += [total.theirs.verdict for total in self.totals]
        return [*rows, *(each.verdict for each in self.fields)].count(verdict)

    @property
    def has_reference(self) -> bool:
        """Whether any reference has counts or shapes; a network without layers leaves nothing to count."""
        verified = (Verdict.AGREES, Verdict.EXPLAINED)
        return not self.layers or any(t.verdict in verified for layer in self.layers for t in layer.references)

    @property
    def exit_code(self) -> int:
        """0 where all differences are explained; 3 where one is not, or there was no reference."""
        return 3 if self.count(Verdict.UNEXPLAINED) or not self.has_reference else 0


_ORDER = (Verdict.NO_REFERENCE, Verdict.AGREES, Verdict.EXPLAINED, Verdict.UNEXPLAINED)


def worst(verdicts: Iterator[Verdict]) -> Verdict:
    """Return the worst verdict; `no witness` counts only where no reference has a figure."""
    return max(verdicts, key=_ORDER.index)
