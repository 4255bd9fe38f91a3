"""One profile from beginning to end: device, model, roofline, measurement."""

from __future__ import annotations

from dataclasses import replace

import torch

from cnnstat.errors import CnnstatError
from cnnstat.profile.cpu import measure_cpu
from cnnstat.profile.device import choose_device, environment, fused_attention, threads
from cnnstat.profile.measurement import Measurement, assemble, with_roofline
from cnnstat.profile.options import Options, Progress
from cnnstat.profile.prepare import prepare_model
from cnnstat.profile.result import Profile
from cnnstat.profile.roofline import find_roofline, remeasure_roofline
from cnnstat.profile.runnable_model import RunnableModel, explained_failure
from cnnstat.pytorch.process_state import same_random_numbers
from cnnstat.sources.model import ModelReference, NamedReference


def profile_model(reference: ModelReference, options: Options, progress: Progress, *, refresh: bool) -> Profile:
    """Return a profile; see `cnnstat.profile.profile`."""
    device = choose_device(options.device)
    with same_random_numbers(), threads(options.threads):
        progress.stage("building the model", 1)
        model = prepare_model(reference, options, device)
        progress.step()
        graph = model.analysis.graph
        around = environment(graph, options, device, reference.request.mode)
        roofline = find_roofline(around, device, progress, refresh)
        measurement = _measure(model, options, progress)
        source = reference.label if isinstance(reference, NamedReference) else graph.source or graph.name
        profile = assemble(model, source, measurement, roofline, around)
        return _with_remeasured_roofline(profile, device, progress) if profile.complete else profile


def _with_remeasured_roofline(profile: Profile, device: torch.device, progress: Progress) -> Profile:
    """Return a profile whose layers are above no roofline that was measured too low."""
    try:
        best, note = remeasure_roofline(profile.roofline, profile.layers, profile.environment, device, progress)
    except KeyboardInterrupt:
        return replace(profile, complete=False)
    except CnnstatError:
        return profile  # What was measured is worth more than another look at the roofline.
    return with_roofline(profile, best, note) if note else profile


def _measure(model: RunnableModel, options: Options, progress: Progress) -> Measurement:
    """Measure a model in the way of its device; raises CnnstatError where the model fails."""
    with explained_failure(model.analysis.graph.name, (RuntimeError, ValueError, TypeError)):
        if model.device.type != "cuda":
            return measure_cpu(model, options, progress)
        from cnnstat.profile.cuda.measure import measure_cuda

        with fused_attention(False):
            return measure_cuda(model, options, progress)
