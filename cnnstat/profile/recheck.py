"""Recheck: ceilings that layers have beaten are measured again, because a busy machine shows less than it can do."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch

from cnnstat.profile import measured_roofline as ceilings
from cnnstat.profile.cache import write_ceilings
from cnnstat.profile.cpu import device_clock
from cnnstat.profile.progress import Progress
from cnnstat.profile.result import BEATEN, Environment, LayerTime
from cnnstat.profile.roofline import Bound, Ceilings

BETTER = 1.05
"""A short trial must beat a ceiling by so much for all of them to be measured again."""

SIDE = 512
"""Of the matrices of the short trial."""


def rechecked(
    known: Ceilings, layers: Iterable[LayerTime], environment: Environment, device: torch.device, progress: Progress
) -> tuple[Ceilings, str]:
    """Return the ceilings after a profile, and what became of them, nothing where they stay.

    Where layers beat one, a short trial shows whether the machine can do more than was known, which tells a busy moment
    from a cache or from Winograd. If it can, everything is measured again; the best of both is kept and remembered.
    """
    beaten = {layer.bound for layer in layers if layer.bound and layer.share_of_floor > BEATEN}
    progress.stage("ceilings again", 1)
    if not any(_is_low(bound, known, environment, device) for bound in sorted(beaten)):
        return known, ""
    again = ceilings.measure_all(environment, device)
    if not is_raised(known, again):
        return known, ""
    best = Ceilings(
        flops=max(known.flops, again.flops),
        bandwidth=max(known.bandwidth, again.bandwidth),
        launch=min(known.launch, again.launch),
        measured=again.measured,
    )
    progress.step()
    write_ceilings(ceilings.circumstances(environment), best)
    day = known.measured[:10] or "before"
    return best, f"layers beat the ceilings of {day}, which were measured again and raised: the machine was busy then"


def is_raised(known: Ceilings, again: Ceilings) -> bool:
    """Whether a second measurement has a ceiling that is clearly higher."""
    rates = again.flops > BETTER * known.flops or again.bandwidth > BETTER * known.bandwidth
    return rates or BETTER * again.launch < known.launch


@torch.inference_mode()
def _is_low(bound: Bound, known: Ceilings, environment: Environment, device: torch.device) -> bool:
    """Whether a trial of a fraction of a second beats a ceiling clearly; on a GPU, where all takes no longer, True."""
    if device.type == "cuda":
        return True
    dtype: torch.dtype = getattr(torch, environment.dtype)
    clock = device_clock(device)
    if bound == "compute":
        a, b = (torch.rand(SIDE, SIDE, device=device).to(dtype) for _ in range(2))
        return 2 * SIDE**3 / ceilings.best(partial(torch.mm, a, b), clock) > BETTER * known.flops
    if bound == "memory":
        return ceilings.copies(device, clock) > BETTER * known.bandwidth
    return BETTER * ceilings.smallest(device, dtype, clock) < known.launch
