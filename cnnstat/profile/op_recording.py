"""Op recording: the ops of each layer on a CPU, from some further passes under torch.profiler."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch.profiler import profile, record_function

from cnnstat.profile.cuda.kineto_trace import LAYER_RANGE, PASS_RANGE, read_trace
from cnnstat.profile.cuda.op_times import op_times
from cnnstat.profile.instrumentation import Observer
from cnnstat.profile.profile_result import OpTime
from cnnstat.profile.recorded.recorded_memory import memory_by_row
from cnnstat.profile.recorded.recording_file import read_recording
from cnnstat.profile.runnable_model import RunnableModel

_PASSES = 5


class _Marks(Observer):
    """Puts a range of the recording around every computation of a row."""

    def __init__(self) -> None:
        self._open: list[AbstractContextManager[Any]] = []

    def enter(self, row: int, call: int) -> None:
        mark: AbstractContextManager[Any] = record_function(LAYER_RANGE.format(row=row, call=call))
        mark.__enter__()
        self._open.append(mark)

    def leave(self, row: int, call: int) -> None:
        self._open.pop().__exit__(None, None, None)


def record_ops(model: RunnableModel) -> tuple[tuple[OpTime, ...], dict[int, int]]:
    """Return the ops of each layer with the time that each takes itself, the profiler's included, and rows' memory."""
    names = [*(node.name for node in model.analysis.graph.nodes), "optimizer"]
    with profile(profile_memory=True) as profiler, model.observing(_Marks()):
        for index in range(_PASSES):
            with record_function(PASS_RANGE.format(kind="eager", index=index)):
                model.one_pass()
    with TemporaryDirectory() as folder:
        file = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(file))
        events = read_recording(file)["traceEvents"]
    trace = read_trace(event for event in events if event.get("ph") == "X")
    # Gradients of the pass before are given back in the first moments of each but the first.
    memory = memory_by_row(events, trace.layer_ranges, trace.pass_ranges[0], is_cpu=True)
    return op_times(replace(trace, kernels=()), trace.pass_ranges, names), memory
