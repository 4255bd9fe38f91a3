"""Compiled models: what torch.compile makes of a model, whole and by layers, as far as its kernels tell these."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import fx, nn

from cnnstat.errors import CnnstatError
from cnnstat.profile.interleaved import inlier_places, interleaved_samples, until_steady
from cnnstat.profile.measurement import Measurement
from cnnstat.profile.profile_options import Options, Progress
from cnnstat.profile.profile_result import Whole, summarize
from cnnstat.profile.recorded.recorded_profile import floors, measurement_of
from cnnstat.profile.recorded.torch_recording import read_torch_recording
from cnnstat.profile.recording import recording
from cnnstat.profile.runnable_model import RunnableModel
from cnnstat.profile.time_limit import GivenUpError, on_a_thread
from cnnstat.profile.traces.recording_file import read_recording
from cnnstat.pytorch.modules.network import Network
from cnnstat.pytorch.tensors import tensors_in

_WARM_UP = 3
"""Passes before anything is measured; the first one compiles."""

_RECORDED = 10
"""Passes under the profiler at most."""

SESSION_SECONDS = 240.0
"""After so long a profiler has hung."""


def measure_compiled(model: RunnableModel, options: Options, progress: Progress) -> Measurement:
    """Return the times of what torch.compile makes of a model, beside those of the model as it is.

    The whole is measured without a profiler, both in turns; layers come from a recording of some further passes.
    Raises CnnstatError where the model cannot be compiled.
    """
    with _compiling(model.device.type):
        module: Any = torch.compile(_as_fx_graph(model.module))
        compiled = replace(model, module=module)
        run, plain = compiled.one_pass, model.one_pass
        progress.stage("compiling", _WARM_UP)
        for _ in range(_WARM_UP):
            _compile(run)
            plain()
            progress.step()
    ways = {"plain": _timing(run, compiled), "as it is": _timing(plain, model)}
    times, complete = interleaved_samples(ways, until_steady(options.samples), progress, "measuring", options.samples)
    progress.stage("recording", 1)
    recorded = _record_layers(compiled, min(_RECORDED, options.samples), options)
    progress.step()
    calm = {name: [each[place] for place in inlier_places(each)] for name, each in times.items()}
    whole, before = summarize(calm["plain"]), summarize(calm["as it is"])
    note = f"without torch.compile the model takes {before.median / (whole.median or 1):.2f} times as long"
    return replace(
        recorded,
        whole=Whole(plain=whole, eager=whole),
        complete=complete,
        notes=(note, *recorded.notes),
    )


def _timing(run: Callable[[], object], model: RunnableModel) -> Callable[[], float]:
    def seconds() -> float:
        model.synchronize()
        start = time.perf_counter_ns()
        run()
        model.synchronize()
        return (time.perf_counter_ns() - start) / 1e9

    return seconds


def _compile(run: Callable[[], object]) -> None:
    """Run once; raises CnnstatError where what runs cannot be compiled."""
    from torch._dynamo.exc import TorchDynamoException

    try:
        run()
    except TorchDynamoException as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise CnnstatError(f"torch.compile failed: {reason}; it needs a C++ compiler, and Triton on a GPU") from error


@contextmanager
def _compiling(device: str) -> Iterator[None]:
    """While active, code that is made for a CPU is recorded by torch.profiler, and nothing of other models is left."""
    torch._dynamo.reset()
    if device != "cpu":
        yield
        return
    from torch._inductor import config

    # Kernels that are recorded are not taken from caches of those that are not.
    with config.patch({"cpp.enable_kernel_profile": True}):
        yield


def _record_layers(model: RunnableModel, passes: int, options: Options) -> Measurement:
    analysis = model.analysis
    least_seconds = floors(analysis, "cpu", training=model.training)

    def record(file: Path) -> Measurement:
        with (
            torch.cuda.device(model.device) if model.device.type == "cuda" else nullcontext(),
            recording(model.module, file),
        ):
            for _ in range(passes):
                model.one_pass()
        document = read_recording(file)
        return measurement_of(read_torch_recording(document, analysis, least_seconds, has_ops=options.ops), analysis)

    with TemporaryDirectory() as folder:
        file = Path(folder, "trace.json") if options.trace is None else options.trace
        try:
            if model.device.type == "cpu":
                return record(file)
            return on_a_thread(lambda: record(file), SESSION_SECONDS)
        except (CnnstatError, GivenUpError) as error:
            note = f"layers have no times: {error}"
            return Measurement(rows={}, whole=_NO_WHOLE, idle=0.0, unattributed=0.0, notes=(note,))


_NO_WHOLE = Whole(plain=summarize([0.0]), eager=summarize([0.0]))


def _as_fx_graph(module: nn.Module) -> nn.Module:
    """Return a network that was built from a graph without its bookkeeping, over which compilers stumble."""
    if not isinstance(module, Network):
        return module
    graph = fx.Graph()
    values: dict[Any, fx.Node] = {}
    for number, name in enumerate(module.network_inputs):
        values[number, 0] = graph.placeholder(name.replace(".", "_"))
    for path, reads, makes, _ in module.network_steps:
        result = graph.call_module(path, tuple(values[tuple(edge)] for edge in reads))
        if len(makes) == 1:
            values[tuple(makes[0])] = result
            continue
        parts = graph.call_function(_parts, (result,))
        for place, edge in enumerate(makes):
            values[tuple(edge)] = graph.call_function(operator.getitem, (parts, place))
    outputs = tuple(values[tuple(edge)] for edge in module.network_outputs)
    graph.output(outputs[0] if len(outputs) == 1 else outputs)
    straight = fx.GraphModule(module, graph)
    straight.train(module.training)
    return straight


def _parts(result: Any) -> tuple[Any, ...]:
    return tuple(tensors_in(result))
