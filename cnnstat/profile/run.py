"""One profile from beginning to end: device, subject, ceilings, measurement."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from cnnstat.errors import CnnstatError
from cnnstat.ir.graph import Graph
from cnnstat.profile.cpu import measure_cpu
from cnnstat.profile.device import choose_device, environment
from cnnstat.profile.measure_roofline import find_roofline, remeasure_roofline
from cnnstat.profile.measurement import Measurement, assemble, with_roofline
from cnnstat.profile.options import Options, Progress
from cnnstat.profile.prepare import prepare_model
from cnnstat.profile.result import Profile
from cnnstat.profile.runnable_model import RunnableModel
from cnnstat.profile.torch_settings import fused_attention, threads
from cnnstat.pytorch.model_isolation import same_random_numbers
from cnnstat.sources.request import Request


def run_profile(
    source: str | Graph | nn.Module,
    request: Request,
    options: Options,
    progress: Progress,
    *,
    input: Any,
    inputs: Any,
    refresh: bool,
) -> Profile:
    """Return a profile; see `cnnstat.profile.profile`."""
    device = choose_device(options.device)
    with same_random_numbers(), threads(options.threads):
        progress.stage("building the model", 1)
        model = prepare_model(source, request, options, device, input=input, inputs=inputs)
        progress.step()
        found = environment(model.analysis.graph, options, device, request.mode)
        roofline = find_roofline(found, device, progress, refresh)
        measurement = _measure(model, options, progress)
        named = source if isinstance(source, str) else model.analysis.graph.source or model.analysis.graph.name
        profile = assemble(model, named, measurement, roofline, found)
        return _with_remeasured_roofline(profile, device, progress) if profile.complete else profile


def _with_remeasured_roofline(profile: Profile, device: torch.device, progress: Progress) -> Profile:
    """Return a profile whose layers beat no ceiling that was measured too low."""
    try:
        best, said = remeasure_roofline(profile.roofline, profile.layers, profile.environment, device, progress)
    except KeyboardInterrupt:
        return replace(profile, complete=False)
    except CnnstatError:
        return profile  # What was measured is worth more than another look at the ceilings.
    return with_roofline(profile, best, said) if said else profile


def _measure(model: RunnableModel, options: Options, progress: Progress) -> Measurement:
    """Measure a subject in the way of its device; raises CnnstatError where the model fails."""
    try:
        if model.device.type != "cuda":
            return measure_cpu(model, options, progress)
        from cnnstat.profile.cuda.measure import measure_cuda

        with fused_attention(False):
            return measure_cuda(model, options, progress)
    except (RuntimeError, ValueError, TypeError) as error:
        said = " ".join(str(error).split())[:300]
        name = model.analysis.graph.name
        raise CnnstatError(f"{name} does not run: {type(error).__name__}: {said}") from error
