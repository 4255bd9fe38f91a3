"""TorchGpu against stand-ins of torch.cuda: what it calls, in which order, and what it leaves when a run fails."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from cnnstat.profile.cuda import torch_gpu
from cnnstat.profile.cuda.gpu import CaptureError
from cnnstat.profile.cuda.torch_gpu import TorchGpu


class Cuda:
    """Keeps a log of the calls; ops run on the CPU."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.stream = "default"
        self.breaks = False
        cuda = self

        class Graph:
            def capture_begin(self, pool: Any = None) -> None:
                assert cuda.stream == "side" and not gc.isenabled()
                cuda.log.append(f"begin {pool}")

            def capture_end(self) -> None:
                cuda.log.append("end")
                if cuda.breaks:
                    raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

            def replay(self) -> None:
                cuda.log.append("replay")

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self) -> None:
                cuda.log.append(f"event on {cuda.stream}")

            def synchronize(self) -> None:
                cuda.log.append("wait")

            def elapsed_time(self, end: Any) -> float:
                return 12.5

        self.CUDAGraph, self.Event = Graph, Event

    def install(self, patch: pytest.MonkeyPatch) -> None:
        properties = SimpleNamespace(L2_cache_size=60 << 20, uuid="1234")
        made = {
            "current_device": lambda: 0,
            "get_device_properties": lambda device: properties,
            "Stream": lambda device: "side",
            "CUDAGraph": self.CUDAGraph,
            "Event": self.Event,
            "synchronize": lambda: self.log.append("synchronize"),
            "device": lambda device: self.within("device"),
            "stream": self.on,
            "graph_pool_handle": lambda: "pool",
            "reset_peak_memory_stats": lambda: self.log.append("reset"),
            "memory_allocated": lambda: 1000,
            "max_memory_allocated": lambda: 5000,
            "memory_reserved": lambda: 3000,
            "mem_get_info": lambda: (7000, 9000),
            "empty_cache": lambda: self.log.append("empty"),
            "memory_snapshot": lambda: [
                {"segment_pool_id": (0, 0), "total_size": 800, "allocated_size": 100},
                {"segment_pool_id": (0, 3), "total_size": 500, "allocated_size": 100},
            ],
        }
        for name, value in made.items():
            patch.setattr(torch.cuda, name, value)

    @contextmanager
    def within(self, name: str) -> Iterator[None]:
        yield

    @contextmanager
    def on(self, stream: str) -> Iterator[None]:
        before, self.stream = self.stream, stream
        try:
            yield
        finally:
            self.stream = before


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    found = Cuda()
    found.install(monkeypatch)
    return found


def make() -> TorchGpu:
    gpu = TorchGpu(torch.device("cuda"))
    gpu._device = torch.device("cpu")
    return gpu


def test_events_stand_around_the_runs_on_the_side_stream(cuda: Cuda) -> None:
    gpu = make()
    with gpu.active():
        cuda.log.clear()
        seconds = gpu.elapsed(lambda: cuda.log.append("run"), 2)
    assert seconds == 0.0125
    assert cuda.log[:6] == ["synchronize", "event on side", "run", "run", "event on side", "wait"]


def test_events_of_graphs_are_external_where_pytorch_has_them(monkeypatch: pytest.MonkeyPatch, cuda: Cuda) -> None:
    asked: list[dict[str, bool]] = []

    class External:
        def __init__(self, **options: bool) -> None:
            asked.append(options)

        def record(self) -> None:
            asked.append({"recorded": True})

        def elapsed_time(self, other: object) -> float:
            return 2.5

    monkeypatch.setattr(torch.cuda, "Event", External)
    gpu = make()
    first, second = gpu.graph_event(), gpu.graph_event()
    assert asked == [{"enable_timing": True, "external": True}, {"recorded": True}] * 2
    assert gpu.between(first, second) == 0.0025

    def old(enable_timing: bool) -> None:
        raise AssertionError("an option that this event has not was passed over")

    monkeypatch.setattr(torch.cuda, "Event", old)
    with pytest.raises(CaptureError, match="PyTorch before 2.8 records no events in graphs"):
        gpu.graph_event()


def test_all_graphs_share_a_pool_that_stays_in_use(cuda: Cuda) -> None:
    gpu = make()
    with gpu.active():
        replay = gpu.capture(lambda: None)
        gpu.capture(lambda: None)
        replay()
    assert [entry for entry in cuda.log if entry.startswith("begin")] == ["begin pool"] * 3
    assert len(gpu._anchors) == 1 and cuda.log.count("replay") == 1
    assert gc.isenabled()


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: not permitted. More."), KeyboardInterrupt(), ValueError()])
def test_a_failed_run_ends_its_capture(cuda: Cuda, error: BaseException) -> None:
    gpu = make()

    def fails() -> None:
        cuda.breaks = True
        raise error

    expected: Any = CaptureError if isinstance(error, RuntimeError) else type(error)
    with gpu.active(), pytest.raises(expected) as raised:
        gpu.capture(lambda: None)
        cuda.log.clear()
        gpu.capture(fails)
    assert cuda.log[:4] == ["synchronize", "empty", "begin pool", "end"]
    assert gc.isenabled() and cuda.stream == "default"
    if expected is CaptureError:
        assert str(raised.value) == "CUDA error: not permitted"


def test_after_a_failed_capture_another_pool_is_used(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    pools = iter(["first", "second"])
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(pools))
    gpu = make()

    def fails() -> None:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    with gpu.active():
        gpu.capture(lambda: None)
        with pytest.raises(CaptureError):
            gpu.capture(fails)
        # At once, because random numbers are refused until a capture succeeds.
        assert [entry for entry in cuda.log if "begin" in entry] == ["begin first"] * 3 + ["begin second"]
        gpu.capture(lambda: None)
    assert cuda.log.count("begin second") == 2 and len(gpu._anchors) == 2


def test_a_capture_that_only_fails_at_its_end_is_told(cuda: Cuda) -> None:
    gpu = make()

    def breaks() -> None:
        cuda.breaks = True

    with gpu.active(), pytest.raises(CaptureError, match="previous error during capture"):
        gpu.capture(lambda: None)
        gpu.capture(breaks)


def test_cached_memory_is_given_back_before_a_capture(cuda: Cuda) -> None:
    gpu = make()
    with gpu.active():
        gpu.capture(lambda: None)
    begins = [place for place, entry in enumerate(cuda.log) if entry.startswith("begin")]
    assert cuda.log[begins[-1] - 1] == "empty"


def test_a_capture_without_memory_says_so_and_keeps_its_graph(cuda: Cuda) -> None:
    gpu = make()

    def fails() -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    with gpu.active(), pytest.raises(CaptureError, match=r"out of memory: .*smaller --batch"):
        gpu.capture(fails)
    assert len(gpu._failed) == 1


def test_what_graphs_reserve_is_not_free(cuda: Cuda) -> None:
    gpu = make()
    with gpu.active():
        gpu.capture(lambda: None)
        assert gpu.free_bytes() == 9000 - 400


@pytest.mark.parametrize(("version", "sessions"), [("11.8", 1), ("12.4", 1), ("12.6", 0), ("13.0", 0)])
def test_old_tracers_meet_a_kernel_before_the_first_capture(
    cuda: Cuda, monkeypatch: pytest.MonkeyPatch, version: str, sessions: int
) -> None:
    gpu = make()
    found: list[object] = []
    monkeypatch.setattr(torch.version, "cuda", version)
    monkeypatch.setattr(gpu, "_trace", found.append)
    gpu.prepare_tracing()
    assert len(found) == sessions


def test_peak_is_counted_from_what_was_there_before(cuda: Cuda) -> None:
    gpu = make()
    with gpu.active():
        assert gpu.peak_bytes(lambda: cuda.log.append("run")) == 4000
    assert cuda.log.index("reset") < cuda.log.index("run")
    assert gpu.free_bytes() == 9000 and gpu.l2_bytes == 60 << 20


def test_sweep_reads_as_much_as_it_should(cuda: Cuda) -> None:
    result = make().sweep(4000)()
    assert isinstance(result, torch.Tensor) and result.shape == ()


def test_recording_throws_its_head_away_and_reads_exact_times(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch.profiler as profiler

    real: Callable[..., Any] = profiler.profile
    monkeypatch.setattr(profiler, "profile", lambda activities, profile_memory: real(activities=activities[:1]))
    gpu = make()
    with gpu.active():
        x = torch.ones(3)

        def script() -> None:
            with gpu.range("cnnstat#0#0"):
                x.neg()

        events = gpu.record(script)
    assert len([event for event in events if event.get("name") == "aten::add_"]) == torch_gpu._HEAD
    (mark,) = (event for event in events if event.get("name") == "cnnstat#0#0")
    assert isinstance(mark["ts"], Decimal)
    assert max(event["ts"] for event in events if event.get("name") == "aten::add_") < mark["ts"]
