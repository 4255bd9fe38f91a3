"""Measures a model on a device: `cnnstat.profile.profile` returns a Profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnnstat.profile.options import Options, Progress
    from cnnstat.profile.result import Profile
    from cnnstat.sources.model import ModelReference


def profile(model: ModelReference, options: Options, progress: Progress, *, refresh: bool = False) -> Profile:
    """Return the measured times of a model, layer by layer and whole.

    refresh: measure the machine's roofline anew instead of using the one that is remembered.
    After Ctrl-C the profile holds what was measured and `complete` is False; it is raised again if nothing was.
    Raises CnnstatError where the device is missing or the model cannot be built, run or followed.
    """
    from cnnstat.profile.run import run_profile

    return run_profile(model, options, progress, refresh=refresh)
