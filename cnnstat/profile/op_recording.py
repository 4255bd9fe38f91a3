"""Op recording: the ops of each layer on a CPU, from some further passes under torch.profiler."""

from __future__ import annotations

from dataclasses import replace

from torch.profiler import profile, record_function

from cnnstat.profile.cuda.profiler_session import RangeObserver
from cnnstat.profile.measurement import row_names
from cnnstat.profile.profile_details import OpTime
from cnnstat.profile.runnable_model import RunnableModel
from cnnstat.profile.traces.kineto_trace import PASS_RANGE, read_trace
from cnnstat.profile.traces.op_times import op_times
from cnnstat.profile.traces.recorded_memory import memory_by_row
from cnnstat.profile.traces.recording_file import recorded_events

_PASSES = 5


def record_ops(model: RunnableModel) -> tuple[tuple[OpTime, ...], dict[int, int]]:
    """Return the ops of each layer with the time that each takes itself, the profiler's included, and rows' memory."""
    with profile(profile_memory=True) as profiler, model.observing(RangeObserver(record_function)):
        for index in range(_PASSES):
            with record_function(PASS_RANGE.format(kind="eager", index=index)):
                model.one_pass()
    events = recorded_events(profiler)
    trace = read_trace(event for event in events if event.get("ph") == "X")
    # Gradients of the pass before are given back in the first moments of each but the first.
    memory = memory_by_row(events, trace.layer_ranges, trace.pass_ranges[0], is_cpu=True)
    return op_times(replace(trace, kernels=()), trace.pass_ranges, row_names(model.analysis.graph)), memory
