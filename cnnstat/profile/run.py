"""One profile from beginning to end: device, subject, ceilings, measurement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from cnnstat.errors import CnnstatError
from cnnstat.ir.graph import Graph
from cnnstat.profile.assemble import assemble, with_ceilings
from cnnstat.profile.cpu import measure_cpu
from cnnstat.profile.device import choose_device
from cnnstat.profile.environment import environment
from cnnstat.profile.fast_path import fast_path
from cnnstat.profile.measured_roofline import find_ceilings
from cnnstat.profile.measurement import Measurement
from cnnstat.profile.options import Options
from cnnstat.profile.prepare import make_subject
from cnnstat.profile.progress import Progress
from cnnstat.profile.recheck import rechecked
from cnnstat.profile.result import Profile
from cnnstat.profile.subject import Subject
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
        subject = make_subject(source, request, options, device, input=input, inputs=inputs)
        progress.step()
        found = environment(subject.analysis.graph, options, device, request.mode)
        ceilings = find_ceilings(found, device, progress, refresh)
        measurement = _measure(subject, options, progress)
        named = source if isinstance(source, str) else subject.analysis.graph.source or subject.analysis.graph.name
        profile = assemble(subject, named, measurement, ceilings, found)
        return _held_against_ceilings(profile, device, progress) if profile.complete else profile


def _held_against_ceilings(profile: Profile, device: torch.device, progress: Progress) -> Profile:
    """Return a profile whose layers beat no ceiling that was measured too low."""
    try:
        best, said = rechecked(profile.ceilings, profile.layers, profile.environment, device, progress)
    except KeyboardInterrupt:
        return replace(profile, complete=False)
    except CnnstatError:
        return profile  # What was measured is worth more than another look at the ceilings.
    return with_ceilings(profile, best, said) if said else profile


def _measure(subject: Subject, options: Options, progress: Progress) -> Measurement:
    """Measure a subject in the way of its device; raises CnnstatError where the model fails."""
    try:
        if subject.device.type != "cuda":
            return measure_cpu(subject, options, progress)
        from cnnstat.profile.cuda.measure import measure_cuda

        with fast_path(False):
            return measure_cuda(subject, options, progress)
    except (RuntimeError, ValueError, TypeError) as error:
        said = " ".join(str(error).split())[:300]
        name = subject.analysis.graph.name
        raise CnnstatError(f"{name} does not run: {type(error).__name__}: {said}") from error


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Let PyTorch's CPU ops use so many threads, and afterwards as many as before."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count is not None:
            torch.set_num_threads(before)
