"""What `gpu.py` runs in processes of their own: kernels of a replay, one plain pass for ncu, and traces to keep.

python benchmarks/gpu_work.py kernels FILE | plain | record FOLDER
"""

from __future__ import annotations

import json
import statistics
import sys
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch  # found only now

from cnnstat.profile.cuda.gpu import Graph, capture_passes
from cnnstat.profile.cuda.measure import one_pass
from cnnstat.profile.cuda.nvml import Nvml
from cnnstat.profile.cuda.torch_gpu import TorchGpu
from cnnstat.profile.device import kernel_settings
from cnnstat.profile.profile_model import prepare_model
from cnnstat.profile.profile_options import Options
from cnnstat.profile.profiler_session import profile_passes, script
from cnnstat.profile.runnable_model import RunnableModel
from cnnstat.sources.load import model_reference

MODEL, BATCH, DTYPE = "resnet50", 64, "bfloat16"
CATEGORIES = {
    "kernel",
    "gpu_memcpy",
    "gpu_memset",
    "cuda_runtime",
    "cuda_driver",
    "cpu_op",
    "user_annotation",
}


def model_of(model: str, batch: int, dtype: str | None = None, backward: bool = False) -> RunnableModel:
    options = Options(device="cuda", dtype=dtype, backward=backward)
    mode = "train" if backward else "eval"
    return prepare_model(model_reference(model, batch=batch, mode=mode), options, torch.device("cuda"))


def warmed(model: RunnableModel) -> Any:
    run = one_pass(model)
    for _ in range(5):
        run()
    torch.cuda.synchronize()
    return run


def kernels(file: str) -> None:
    """Write name and median nanoseconds of every kernel of a replay, in order of launch."""
    model = model_of(MODEL, BATCH, DTYPE)
    gpu = TorchGpu(model.device)
    with kernel_settings(False), gpu.active():
        run = warmed(model)
        found = profile_passes(gpu, model, run, capture_passes(gpu, run), 20)
    times = zip(*([piece.kernel for piece in one.pieces] for one in found.passes))
    listed = [
        (each[0].name, statistics.median(kernel.end - kernel.start for kernel in each))
        for each in times
        if each[0].work == "kernel"
    ]
    Path(file).write_text(json.dumps(listed))


def plain() -> None:
    """Run one pass between the calls that tell ncu to begin and to end."""
    model = model_of(MODEL, BATCH, DTYPE)
    gpu = TorchGpu(model.device)
    with kernel_settings(False), gpu.active():
        run = warmed(model)
        torch.cuda.profiler.start()
        run()
        torch.cuda.synchronize()
        torch.cuda.profiler.stop()


def record(folder: str) -> None:
    """Write small traces of ordinary passes and replays as fixtures of the tests."""
    around = {
        "date": date.today().isoformat(),
        "gpu": torch.cuda.get_device_name(),
        "driver": Nvml(None).driver_version() or "",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }
    cases = (("lenet5", 8, False), ("lenet5", 8, True), ("alexnet", 4, False))
    for model, batch, backward in cases:
        model = model_of(model, batch, backward=backward)
        gpu = TorchGpu(model.device)
        with kernel_settings(False), gpu.active():
            gpu.prepare_tracing()
            run = warmed(model)
            graph = Graph(gpu.capture(run), 1)
            graph.replay()
            events = gpu.record(lambda: script(gpu, model, run, graph, 3))  # noqa: B023  # called here
        name = f"recorded-{model}{'-backward' if backward else ''}.json"
        note = {**around, "model": model, "batch": batch, "backward": backward}
        write_events(Path(folder) / name, events, note)


def write_events(path: Path, events: list[dict[str, Any]], note: dict[str, Any]) -> None:
    """Write the events that attribution reads, one a line, without what it does not need."""
    kept = [event for event in events if event.get("ph") == "X" and event.get("cat") in CATEGORIES]
    lines = ",\n".join(json.dumps(event, default=float) for event in kept)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{"recorded": {json.dumps(note)},\n"traceEvents": [\n{lines}\n]}}\n')
    print(f"{path.name}: {len(kept)} events, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    {"kernels": kernels, "plain": plain, "record": record}[sys.argv[1]](*sys.argv[2:])
