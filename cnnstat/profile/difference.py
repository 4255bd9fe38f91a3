"""Difference: what changed between two profiles, beyond what either of them scatters by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from cnnstat.errors import CnnstatError
from cnnstat.profile.profile_result import LayerTime, Profile, Samples

LEAST_SECONDS = 0.5e-6
"""Changes up to this are never told from noise, nor are those up to `LEAST_SHARE` of the earlier time."""

LEAST_SHARE = 0.03

LEAST_SAMPLES = 8
"""Measurements without which quartiles tell no change: of fewer, chance alone keeps two ranges apart too often."""

ORDER = ("model", "device", "device name", "dtype", "input", "threads")
"""Conditions that are listed first."""


class Verdict(Enum):
    """What became of one time."""

    SAME = "same"
    SLOWER = "slower"
    FASTER = "faster"
    NEW = "new"
    GONE = "gone"
    UNKNOWN = "unknown"


class Change(NamedTuple):
    """One time before and after, in seconds; None on the side where the layer does not exist.

    is_sound: whether both profiles add up, without which no time of theirs tells a change.
    """

    name: str
    kind: str
    before: Samples | None
    after: Samples | None
    is_sound: bool = True

    @property
    def seconds(self) -> float:
        """What the median grew by; what does not exist takes no time."""
        return (self.after.median if self.after else 0.0) - (self.before.median if self.before else 0.0)

    @property
    def ratio(self) -> float | None:
        """After divided by before; None where one is missing or took no time."""
        return self.after.median / self.before.median if self.before and self.after and self.before.median else None

    @property
    def verdict(self) -> Verdict:
        """Slower or faster only if the quartile ranges do not meet and the medians differ by more than the least.

        Unknown where that would be the verdict, but measurements are too few or a profile does not add up.
        """
        before, after = self.before, self.after
        if before is None or after is None:
            return Verdict.NEW if before is None else Verdict.GONE
        is_small = abs(self.seconds) <= max(LEAST_SECONDS, LEAST_SHARE * before.median)
        if is_small or (before.lower <= after.upper and after.lower <= before.upper):
            return Verdict.SAME
        if not self.is_sound or min(before.count, after.count) < LEAST_SAMPLES:
            return Verdict.UNKNOWN
        return Verdict.SLOWER if self.seconds > 0 else Verdict.FASTER


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Two profiles side by side.

    whole, eager: the model's times, by the same rule as the layers'.
    layers: every layer of either, in the later one's order, gone ones last; backward time is in the median.
    conditions: what was not alike when they were measured, as (what, before, after).
    doubts: why a time that differs may not have changed.
    """

    whole: Change
    eager: Change
    layers: tuple[Change, ...]
    conditions: tuple[tuple[str, str, str], ...]
    doubts: tuple[str, ...] = ()


def compare_profiles(before: Profile, after: Profile, label: str = "the baseline") -> Difference:
    """Return what changed; raises CnnstatError if the two have no layer in common."""
    is_sound = before.adds_up and after.adds_up
    layers = tuple(_layers(before.layers, after.layers, is_sound))
    if after.layers and before.layers and not any(change.before and change.after for change in layers):
        raise CnnstatError(
            f"{label} is a profile of {before.model}, which has no layer in common with {after.model}; "
            "give one of the same model"
        )
    return Difference(
        whole=Change("whole model", "", before.whole.plain, after.whole.plain, is_sound),
        eager=Change("eager", "", before.whole.eager, after.whole.eager, is_sound),
        layers=layers,
        conditions=tuple(_conditions(before, after)),
        doubts=tuple(_doubts_of(before, after)),
    )


def _doubts_of(before: Profile, after: Profile) -> Iterator[str]:
    """Yield why a difference may show nothing."""
    for label, profile in (("the baseline", before), ("this profile", after)):
        if not profile.adds_up:
            yield f"{label} does not add up"
        elif profile.whole.plain.count < LEAST_SAMPLES:
            yield f"{label} has {profile.whole.plain.count} samples of the {LEAST_SAMPLES} that a verdict needs"


def _layers(before: Sequence[LayerTime], after: Sequence[LayerTime], is_sound: bool) -> Iterator[Change]:
    """Yield the layers of both, matched by name."""
    earlier = {layer.name: layer for layer in before}
    for layer in after:
        old = earlier.pop(layer.name, None)
        yield Change(layer.name, layer.kind, total(old) if old else None, total(layer), is_sound)
    yield from (Change(old.name, old.kind, total(old), None) for old in earlier.values())


def total(layer: LayerTime) -> Samples:
    """Return forward and backward time together; their quartiles add up as if both were slow at once."""
    forward, backward = layer.forward, layer.backward
    if backward is None:
        return forward
    return Samples(
        forward.median + backward.median,
        forward.lower + backward.lower,
        forward.upper + backward.upper,
        min(forward.count, backward.count),
    )


def _conditions(before: Profile, after: Profile) -> Iterator[tuple[str, str, str]]:
    old, new = conditions(before), conditions(after)
    for key in dict.fromkeys((*ORDER, *old, *new)):
        if old.get(key, "none") != new.get(key, "none"):
            yield key, old.get(key, "none"), new.get(key, "none")


def conditions(profile: Profile) -> Mapping[str, str]:
    """Return how a profile was measured, as texts by what they are called."""
    environment = profile.environment
    shapes = (f"{name}={'x'.join(map(str, shape))}" for name, shape in profile.inputs.items())
    return {
        "model": profile.model,
        "device": environment.kind,
        "device name": environment.device_name,
        "dtype": environment.dtype,
        "input": " ".join(shapes),
        "threads": "none" if environment.threads is None else str(environment.threads),
        "replay": "CUDA graph" if profile.whole.replayed else "none",
        **{key.replace("_", " "): value for key, value in environment.settings.items()},
        **environment.versions,
    }
