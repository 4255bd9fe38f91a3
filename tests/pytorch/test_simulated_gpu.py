"""Models that ask for a GPU are built and traced on a machine that has none; nothing of it is left behind."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import cnnstat  # noqa: E402
from cnnstat.pytorch.gpu_simulation import _FUNCTIONS, simulated_gpu  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU, which is used"),
]


class Net(nn.Module):
    """One convolution, called by a function that asks for a GPU."""

    def __init__(self, called: Callable[..., Any]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.called = called

    def forward(self, x):
        return self.called(self.conv, x)


def in_a_stream(conv, x):
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        y = conv(x)
    torch.cuda.current_stream().wait_stream(stream)
    y.record_stream(stream)
    torch.cuda.synchronize()
    return y


def on_an_accelerator(conv, x):
    stream = torch.accelerator.current_stream()
    y = conv(x)
    stream.wait_stream(torch.cuda.current_stream())
    torch.accelerator.synchronize()
    return y


def timed(conv, x):
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    y = conv(x)
    end.record()
    assert start.elapsed_time(end) >= 0 and end.query()
    return y


def in_half(conv, x):
    with torch.autocast("cuda", dtype=torch.float16):
        return conv(x)


def on_a_device(conv, x):
    with torch.cuda.device(0), torch.device("cuda"):
        return conv(x + torch.zeros(8))


def generator():
    assert isinstance(torch.Generator(), torch.Generator)
    made = torch.Generator(device=torch.device("cuda", 0)).manual_seed(1)
    assert isinstance(made, torch.Generator)
    return made


def by_default(conv, x):
    torch.set_default_device("cuda:0")
    return conv(x + torch.zeros(8))


def by_default_type(conv, x):
    torch.set_default_tensor_type("torch.cuda.FloatTensor")
    return conv(x + torch.zeros(8))


def in_a_fork(conv, x):
    with torch.random.fork_rng(devices=[0], device_type="cuda"):
        return conv(x)


def saved() -> io.BytesIO:
    file = io.BytesIO()
    torch.save(torch.ones(8), file)
    file.seek(0)
    return file


CALLS = {
    "cuda": lambda conv, x: conv(x.cuda()),
    "to": lambda conv, x: conv(x.to(torch.device("cuda:0"), non_blocking=True)),
    "to a number": lambda conv, x: conv(x.to(torch.cuda.current_device())),
    "back": lambda conv, x: conv(x.cuda()).cpu(),
    "pinned": lambda conv, x: conv(x.pin_memory()),
    "made pinned": lambda conv, x: conv(x + torch.zeros(8, pin_memory=True)),
    "loaded": lambda conv, x: conv(x + torch.load(saved(), map_location="cuda:0")),
    "loaded there": lambda conv, x: conv(x + torch.load(saved(), torch.device("cuda"), weights_only=True)),
    "module": lambda conv, x: conv.cuda()(x),
    "made there": lambda conv, x: conv(x + torch.arange(8, device="cuda")),
    "sizes": lambda conv, x: conv(x + torch.cuda.FloatTensor(1, 3, 8, 8).fill_(0.0).normal_()),
    "values": lambda conv, x: conv(x * torch.cuda.FloatTensor([2.0]))[:, torch.cuda.LongTensor([0, 1, 2, 3])],
    "type": lambda conv, x: conv(x.type(torch.cuda.FloatTensor)),
    "name of a type": lambda conv, x: conv(x.type("torch.cuda.FloatTensor")),
    "kind": lambda conv, x: x if isinstance(x, torch.cuda.FloatTensor) else conv(x),
    "stream": in_a_stream,
    "accelerator": on_an_accelerator,
    "events": timed,
    "autocast": in_half,
    "device": on_a_device,
    "generator": lambda conv, x: conv(x * torch.rand(1, 3, 8, 8, generator=generator(), device="cuda")),
    "default device": by_default,
    "default type": by_default_type,
    "state of the generator": in_a_fork,
    "properties": lambda conv, x: conv(x) if torch.cuda.get_device_capability()[0] >= 8 else x,
}


@pytest.mark.parametrize("name", CALLS)
def test_a_forward_pass_may_ask_for_a_gpu(name: str) -> None:
    analysis = cnnstat.analyze(Net(CALLS[name]), (1, 3, 8, 8))
    assert (analysis.totals.params, analysis.totals.macs) == (3 * 4 * 9 + 4, 3 * 4 * 9 * 64)
    assert name == "module" or not any("for real" in note for note in analysis.notes)
    assert torch.zeros(1).device.type == "cpu" and torch.Generator.__module__ == "torch._C"
    assert isinstance(torch.Generator, type)


CODE = """
import torch
from torch import nn

torch.set_default_device("cuda")
GENERATOR = torch.Generator("cuda")


class Net(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, **options)
        self.stream = torch.cuda.Stream()
        self.generator = torch.Generator("cuda")
        self.register_buffer("mean", torch.zeros(3, 1, 1, device="cuda"))
        self.large = nn.Linear(100, 100).cuda()

    def forward(self, x):
        return self.conv(x.cuda() - self.mean)


def moved():
    return Net().to("cuda")


def made_there():
    return Net(device="cuda").cuda().half().float()
"""


@pytest.mark.parametrize("name", ["Net", "moved", "made_there"])
def test_a_model_may_be_built_on_a_gpu(tmp_path: Path, name: str) -> None:
    (tmp_path / "net.py").write_text(CODE)
    totals = cnnstat.analyze(f"{tmp_path / 'net.py'}:{name}", (1, 3, 8, 8)).totals
    assert (totals.params, totals.macs) == (112 + 10_100, 3 * 4 * 9 * 36)


def test_torch_cuda_is_as_it_was() -> None:
    names = (*_FUNCTIONS, "FloatTensor", "Stream", "Event")
    before = {name: getattr(torch.cuda, name, None) for name in names}
    cnnstat.analyze(Net(in_a_stream), (1, 3, 8, 8))
    assert {name: getattr(torch.cuda, name, None) for name in names} == before
    assert "record_stream" not in vars(torch.Tensor)
    with pytest.raises((RuntimeError, AssertionError)):
        torch.cuda.current_device()


def test_other_threads_see_no_simulated_gpu() -> None:
    seen: list[object] = []

    def look() -> None:
        try:
            seen.append(torch.cuda.current_device())
        except (RuntimeError, AssertionError) as error:
            seen.append(type(error))
        seen.append(isinstance(torch.zeros(1), torch.cuda.FloatTensor))

    with simulated_gpu():
        assert torch.cuda.current_device() == 0
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert seen[0] != 0 and seen[1] is False
