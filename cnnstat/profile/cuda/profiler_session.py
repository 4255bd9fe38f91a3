"""Session: passes under the profiler, with a range around every layer, and the times of each row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from cnnstat.errors import CnnstatError
from cnnstat.profile.cuda.gpu import Gpu, Graph, Run
from cnnstat.profile.cuda.kernel_attribution import Attribution, Pass, attribute, attribute_replays
from cnnstat.profile.cuda.kineto_trace import LAYER_RANGE, PASS_RANGE, read_trace
from cnnstat.profile.instrumentation import Observer

_ORDINARY = 3
"""Ordinary passes of a session whose replays are what counts: one would do, if the profiler lost nothing."""

_SPARE = 3
"""Passes, and replays, more than asked for, for those that lose a kernel."""

_SESSIONS = 3
"""Sessions tried until one has at least one pass of each kind that lost nothing."""


class RangeObserver(Observer):
    """Puts a range of the trace around every computation of a row."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._open: list[AbstractContextManager[object]] = []

    def enter(self, row: int, call: int) -> None:
        context = self._gpu.range(LAYER_RANGE.format(row=row, call=call))
        context.__enter__()
        self._open.append(context)

    def leave(self, row: int, call: int) -> None:
        self._open.pop().__exit__(None, None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfiledPasses:
    """What a session of the profiler found.

    events: the trace as it came; attribution: of the replays, or of ordinary passes where there is no graph.
    """

    events: list[dict[str, Any]]
    attribution: Attribution
    notes: tuple[str, ...]

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The passes in which no kernel was lost; at least one."""
        return self.attribution.passes


class Observable(Protocol):
    """What a session needs of a model."""

    def observing(self, observer: Observer) -> AbstractContextManager[None]:
        """While active, every run informs the observer of the rows."""


def profile_passes(gpu: Gpu, model: Observable, run: Run, graph: Graph | None, passes: int) -> ProfiledPasses:
    """Return the kernels of so many passes by row, fewer where kernels were lost.

    run: an ordinary pass; graph: its CUDA graph, if there is one.
    Raises CnnstatError where the profiler reports no pass whole.
    """
    for _ in range(_SESSIONS):
        events = gpu.record(lambda: script(gpu, model, run, graph, passes))
        result = _read(events, graph, passes)
        if result is not None:
            return result
    raise CnnstatError(
        "torch.profiler reported no pass with all of its kernels; run again, let no other profiler (nsys, ncu, DCGM) "
        "use the GPU meanwhile, or use a PyTorch built for another CUDA version (CUPTI of 12.6 to 13.0 loses kernels)"
    )


def script(gpu: Gpu, model: Observable, run: Run, graph: Graph | None, passes: int) -> None:
    """Run the passes of a session."""
    with model.observing(RangeObserver(gpu)):
        for index in range(_ORDINARY if graph else passes + _SPARE):
            with gpu.range(PASS_RANGE.format(kind="eager", index=index)):
                run()
                gpu.synchronize()
    if graph is None:
        return
    # Outside every range: the first replay uploads the graph, which belongs to no pass.
    graph.replay()
    # Of several passes in one graph the last is not used (see attribute_replays), hence − 1.
    for index in range(math.ceil(passes / max(1, graph.passes - 1)) + _SPARE):
        with gpu.range(PASS_RANGE.format(kind="replay", index=index)):
            graph.replay()


def _read(events: list[dict[str, Any]], graph: Graph | None, passes: int) -> ProfiledPasses | None:
    """Return what a session found; None where it has no whole pass of a kind that is needed."""
    trace = read_trace(events)
    ordinary = attribute(trace)
    if not ordinary.passes:
        return None
    attribution = attribute_replays(trace, ordinary.passes[0], ordinary.calls, graph.passes) if graph else ordinary
    if not attribution.passes:
        return None
    wanted = replace(attribution, passes=attribution.passes[:passes])
    return ProfiledPasses(events=events, attribution=wanted, notes=tuple(_notes(wanted)))


def _notes(attribution: Attribution) -> list[str]:
    """Return what a reader must know of how the kernels were found."""
    notes = []
    if attribution.rejected:
        notes.append(
            f"{attribution.rejected} of {attribution.recorded} profiled passes left out: "
            f"the profiler lost {attribution.lost} kernels"
        )
    match = attribution.match
    if match is not None and match.placed:
        notes.append(f"{match.placed} kernels differ between graph and ordinary pass; told by their neighbours' layer")
    if match is not None and match.unmatched:
        notes.append(f"{match.unmatched} kernels of the graph are in no ordinary pass and count as unattributed")
    return notes


def kernels_of(one_pass: Pass) -> Mapping[int, tuple[int, tuple[str, ...]]]:
    """Return for each row how many kernels it ran in a pass, and their names in order, each once."""
    names: dict[int, list[str]] = {}
    for piece in one_pass.pieces:
        if piece.owner is not None:
            names.setdefault(piece.owner.row, []).append(piece.kernel.name)
    return {row: (len(listed), tuple(dict.fromkeys(listed))) for row, listed in names.items()}
