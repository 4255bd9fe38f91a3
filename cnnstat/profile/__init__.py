"""Measures a model on a device: `cnnstat.profile.profile` returns a Profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from cnnstat.ir.graph import Graph
    from cnnstat.profile.options import Options, Progress
    from cnnstat.profile.result import Profile
    from cnnstat.sources.request import Request


def profile(
    source: str | Graph | nn.Module,
    request: Request,
    options: Options,
    progress: Progress,
    *,
    input: Any = None,
    inputs: Any = None,
    refresh: bool = False,
) -> Profile:
    """Return the measured times of a model, layer by layer and whole.

    source: a zoo name, a spec, a PyTorch model by name, a graph, or a torch.nn.Module, a copy of which is measured.
    input, inputs: what a torch.nn.Module is called with, as `cnnstat.load` takes it.
    refresh: measure the machine's ceilings anew instead of using those that are remembered.
    After Ctrl-C the profile holds what was measured and `complete` is False; it is raised again if nothing was.
    Raises CnnstatError where the device is missing or the model cannot be built, run or followed.
    """
    from cnnstat.profile.run import run_profile

    return run_profile(source, request, options, progress, input=input, inputs=inputs, refresh=refresh)
