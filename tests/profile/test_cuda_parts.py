"""Parts of measuring on a GPU that need none: repeats, rounds, switches, errors, NVML, roofline."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
from fake_gpu import Counting, FakeGpu

import cnnstat
from cnnstat.errors import CnnstatError
from cnnstat.profile import device, roofline_measurement
from cnnstat.profile.cuda import gpu as gpu_timing
from cnnstat.profile.cuda import nvml
from cnnstat.profile.cuda.gpu import EventTimed, repeats_for
from cnnstat.profile.cuda.nvml import Nvml, joules_per_run
from cnnstat.profile.cuda.torch_gpu import explained
from cnnstat.profile.device import kernel_settings
from cnnstat.profile.instrumentation import LayerCall
from cnnstat.profile.interleaved import interleaved_samples, rounds
from cnnstat.profile.isolation import GraphIsolation, isolate
from cnnstat.profile.profile_options import Options


@given(st.floats(1e-7, 1.0), st.floats(0, 1e-3))
def test_repeats_span_the_time_and_not_much_more(seconds: float, start: float) -> None:
    asked: list[int] = []

    def measure(repeats: int) -> float:
        asked.append(repeats)
        return start + repeats * seconds

    repeats = repeats_for(measure, 0.010)
    assert start + repeats * seconds >= 0.010
    assert repeats == 1 or repeats * seconds <= 0.020 + seconds
    assert len(asked) <= 2 + math.ceil(math.log(1e6, 100)) + 10


def test_repeats_end_where_a_run_takes_no_time() -> None:
    assert repeats_for(lambda repeats: 0.0) == 1_000_000


def test_variants_take_turns_in_rotating_order() -> None:
    order: list[str] = []

    def sample(name: str) -> Any:
        return lambda: order.append(name) or 1.0

    variants = {"a": sample("a"), "b": sample("b")}
    found, complete = interleaved_samples(variants, rounds(3), Counting(), "whole", 3)
    assert "".join(order) == "abbaab" and complete and found == {"a": [1.0] * 3, "b": [1.0] * 3}


def test_interrupted_rounds_are_whole() -> None:
    taken = iter(range(100))

    def stopping() -> float:
        if next(taken) == 2:
            raise KeyboardInterrupt
        return 1.0

    found, complete = interleaved_samples({"a": lambda: 1.0, "b": stopping}, rounds(9), Counting(), "whole", 9)
    assert found == {"a": [1.0] * 2, "b": [1.0] * 2} and not complete


def switches() -> list[Any]:
    """All switches; an old one that cannot be read for what the new ones say is `mixed`."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    found: list[Any] = [cudnn.benchmark]
    for owner in (matmul, cudnn):
        try:
            found.append(owner.allow_tf32)
        except RuntimeError:
            found.append("mixed")
    for part in (matmul, getattr(cudnn, "conv", None), getattr(cudnn, "rnn", None)):
        found.append(part.fp32_precision if hasattr(part, "fp32_precision") else "old")
    return found


def has_new_switches() -> bool:
    return hasattr(torch.backends.cuda.matmul, "fp32_precision")


@pytest.mark.parametrize("tf32", [True, False])
def test_switches_are_set_and_put_back_even_after_an_error(tf32: bool) -> None:
    before = switches()
    word = ("tf32" if tf32 else "ieee") if has_new_switches() else "old"
    with pytest.raises(KeyError), kernel_settings(tf32):
        # The old ones can be read, which is what products do before they run.
        assert switches() == [False, tf32, tf32, word, word, word]
        raise KeyError
    assert switches() == before


@pytest.mark.parametrize("tf32", [True, False])
def test_switches_that_someone_left_in_disagreement_are_left_so(tf32: bool) -> None:
    if not has_new_switches():
        pytest.skip("this PyTorch has the old switches only")
    matmul = torch.backends.cuda.matmul
    try:
        matmul.fp32_precision = "tf32"
        before = switches()
        assert before[1] == "mixed"
        with kernel_settings(tf32):
            assert switches()[1] is tf32
        assert switches() == before
    finally:
        matmul.fp32_precision = "none"


def test_precision_of_all_ops_does_not_reach_through() -> None:
    if not has_new_switches():
        pytest.skip("this PyTorch has the old switches only")
    before = torch.backends.fp32_precision
    try:
        torch.backends.fp32_precision = "tf32"
        with kernel_settings(False):
            assert switches()[1:] == [False, False, "ieee", "ieee", "ieee"]
    finally:
        torch.backends.fp32_precision = before


def test_the_environment_names_the_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "device_name", lambda gpu: "Some GPU")
    graph = cnnstat.load("lenet5")
    settings = device.environment(graph, Options(tf32=True), torch.device("cuda"), "eval").settings
    assert settings["tf32"] == "true" and settings["cudnn_benchmark"] == "false"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), "memory is too small .*--batch"),
        (
            RuntimeError("CUDA error: an illegal memory access was encountered\nmore"),
            r"illegal memory access.*BLOCKING",
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"), "stopped with an error"),
    ],
)
def test_errors_of_the_gpu_are_one_line(error: Exception, said: str) -> None:
    with pytest.raises(CnnstatError, match=said) as raised, explained():
        raise error
    assert "\n" not in str(raised.value)


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="^shapes$"), explained():
        raise RuntimeError("shapes")


class FakeLibrary:
    """NVML with one GPU, which has no energy counter."""

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, device: Any) -> int:
        device._obj.value = 77
        return 0 if uuid == b"GPU-1" else 6

    def nvmlSystemGetDriverVersion(self, text: Any, length: Any) -> int:
        text.value = b"580.159.04"
        return 0

    def nvmlDeviceGetClockInfo(self, device: ctypes.c_void_p, kind: int, value: Any) -> int:
        assert device.value == 77
        value._obj.value = {1: 1980, 2: 3201}[kind]
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, device: Any, value: Any) -> int:
        return 3

    def nvmlDeviceGetPowerManagementLimit(self, device: Any, value: Any) -> int:
        value._obj.value = 700_000
        return 0


def test_nvml_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "_library", FakeLibrary)
    found = Nvml("GPU-1")
    assert (found.sm_megahertz(), found.memory_megahertz(), found.power_limit()) == (1980, 3201, 700)
    assert found.joules() is None
    assert found.driver_version() == "580.159.04"


def test_a_gpu_that_nvml_does_not_know_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "_library", FakeLibrary)
    assert Nvml("GPU-2").sm_megahertz() is None
    assert Nvml(None).joules() is None


def test_no_nvml_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "_library", lambda: None)
    found = Nvml("GPU-1")
    assert found.driver_version() is None and found.joules() is None and found.power_limit() is None
    assert Nvml(None).driver_version() is None


class Timed(FakeGpu):
    """Takes a given time for everything, and runs nothing."""

    def __init__(self, seconds: float, free: int = 10**9) -> None:
        super().__init__()
        self.seconds = seconds
        self.free_memory = free

    def elapsed(self, run: Any, repeats: int) -> float:
        return repeats * self.seconds

    def free_bytes(self) -> int:
        return self.free_memory


def test_products_count_two_operations_and_end_when_they_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_timing, "GPU_SIDES", (8, 16, 32))
    cpu = torch.device("cpu")
    found = list(roofline_measurement.product_rates(EventTimed(Timed(0.001), cpu), torch.float32))
    assert found == pytest.approx([2 * side**3 / 0.001 for side in (8, 16, 32)])
    assert len(list(roofline_measurement.product_rates(EventTimed(Timed(0.1), cpu), torch.float32))) == 1
    assert len(list(roofline_measurement.product_rates(EventTimed(Timed(0.001, free=5000), cpu), torch.float32))) == 1


def test_copies_count_what_is_read_and_written() -> None:
    timed = EventTimed(Timed(0.001, free=4096), torch.device("cpu"))
    assert list(roofline_measurement.copy_rates(timed)) == pytest.approx([2 * 1024 / 0.001] * 2)


def test_smallest_kernel_is_a_share_of_a_graph_of_many() -> None:
    assert EventTimed(Timed(0.0015), torch.device("cpu")).smallest(torch.float32) == pytest.approx(1.5e-6)


def test_smallest_kernel_without_graphs_is_an_error() -> None:
    with pytest.raises(CnnstatError, match="records no CUDA graphs"):
        EventTimed(FakeGpu(capturable=False), torch.device("cpu")).smallest(torch.float32)


def test_energy_of_nothing_is_none() -> None:
    gpu = FakeGpu()
    assert joules_per_run(gpu, lambda: gpu.launch("relu", 1000), 0.0) is None


def test_layers_alone_rotate_copies_of_their_data_and_add_their_calls() -> None:
    gpu = FakeGpu()
    copies: dict[int, Any] = {}  # held, so that no later copy can have the address of an earlier one

    def layer(tensor: Any) -> None:
        copies[tensor.data_ptr()] = tensor
        gpu.launch("relu", 1000)

    # 80 bytes in, and as many out: 32 copies fill five caches of 1000 bytes.
    calls = [LayerCall(3, layer, (torch.rand(20),), {}) for _ in range(2)]
    isolated = isolate(GraphIsolation(gpu), calls, 2, Counting())
    assert set(isolated.warm) == set(isolated.cold) == {3} and not isolated.notes
    assert len(copies) == 2 * (1 + 32)
    assert isolated.warm[3] == pytest.approx((2 * 1.9e-6,) * 2, rel=0.05)


def test_layers_with_modules_rotate_their_weights_too() -> None:
    gpu = FakeGpu()
    weights: dict[int, Any] = {}

    class Layer(torch.nn.Linear):
        def forward(self, input: Any) -> None:
            weights[self.weight.data_ptr()] = self.weight
            gpu.launch("gemm", 1000)

    module = Layer(20, 20)
    isolate(GraphIsolation(gpu), [LayerCall(0, module, (torch.rand(20),), {})], 1, Counting())
    # 1680 bytes of weights and 160 of data: three copies, and the module itself.
    assert len(weights) == 4


def test_layers_that_cannot_be_captured_are_told() -> None:
    gpu = FakeGpu()
    capture = gpu.capture

    def only_small(run: Any) -> Any:
        gpu.capturable = "broken" not in repr(getattr(run, "__closure__", None) and run.__closure__[0].cell_contents)
        return capture(run)

    gpu.capture = only_small  # type: ignore[method-assign]

    def broken(tensor: Any) -> None:
        gpu.launch("relu", 1000)

    isolated = isolate(GraphIsolation(gpu), [LayerCall(0, broken, (torch.rand(9),), {})], 1, Counting())
    assert isolated.warm == isolated.cold == {}
    assert isolated.notes == ("1 layers cannot be captured by themselves and have no time alone",)
