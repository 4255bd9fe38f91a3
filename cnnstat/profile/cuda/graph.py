"""Graph: a model's CUDA graph, with as many passes in it as make its launch small beside its work."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cnnstat.profile.cuda.gpu import CaptureError, Gpu, Run
from cnnstat.profile.cuda.rounds import on_the_gpu

_LEAST_SECONDS = 1e-3
"""Work that a graph holds at least: between two replays a GPU stands still for some microseconds."""

_MOST_PASSES = 50


@dataclass(frozen=True, slots=True)
class Graph:
    """A captured graph; passes: how many passes of the model one replay runs."""

    replay: Run
    passes: int


def capture_passes(gpu: Gpu, run: Run) -> Graph:
    """Return the graph of a pass, or of several short ones; raises CaptureError."""
    replay = gpu.capture(run)
    replay()
    gpu.synchronize()
    seconds = on_the_gpu(gpu, replay)()
    passes = min(_MOST_PASSES, math.ceil(_LEAST_SECONDS / seconds)) if seconds > 0 else 1
    if passes == 1:
        return Graph(replay, 1)

    def runs() -> None:
        for _ in range(passes):
            run()

    try:
        longer = gpu.capture(runs)
        longer()
        gpu.synchronize()
    except CaptureError:
        return Graph(replay, 1)
    return Graph(longer, passes)
