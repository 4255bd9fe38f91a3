"""`cnnstat.recording` around loops as people write them: what is recorded, what is told of it, what stays as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch.nn import functional

import cnnstat
from cnnstat.profile.profile_result import LayerTime, Profile
from cnnstat.profile.recorded.recorded_profile import profile_recording
from cnnstat.sources.load import named_model
from cnnstat.sources.request import Request

SPEC = """
name: small
input: [3, 8, 8]
layers:
  - stem: Conv2d(4, 3, padding=1)
  - norm: BatchNorm2d
  - relu: ReLU
  - block:
      - conv: Conv2d(4, 3, padding=1)
      - relu: ReLU
  - pool: AdaptiveAvgPool2d(1)
  - flatten: Flatten
  - fc: Linear(5)
"""


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Any) -> Any:
        return functional.relu(self.conv(x))


class Small(nn.Module):
    """Layers as modules and as functions."""

    def __init__(self, again: bool = False) -> None:
        super().__init__()
        self.stem, self.norm, self.block = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), Block()
        self.fc = nn.Linear(4, 5)
        self.again = again

    def forward(self, x: Any) -> Any:
        x = functional.relu(self.norm(self.stem(x)))
        if self.again and torch.is_grad_enabled():
            from torch.utils.checkpoint import checkpoint

            x = checkpoint(self.block, x, use_reentrant=True)
        else:
            x = self.block(x)
        return self.fc(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


WEIGHTED = ("stem", "norm", "block.conv", "fc")
PLAIN = (*WEIGHTED, "relu", "block.relu", "pool")


def images(count: int = 4) -> Any:
    return torch.rand(count, 3, 8, 8)


def train(model: Any, optimizer: Any, steps: int = 3, every: int = 1, **autocast: Any) -> None:
    for step in range(steps):
        with torch.autocast("cpu", torch.bfloat16, enabled=bool(autocast)):
            loss = functional.cross_entropy(model(images()), torch.zeros(4, dtype=torch.int64))
        loss.backward()
        if step % every == every - 1:
            optimizer.step()
            optimizer.zero_grad()


def recorded(folder: Path, model: Any, loop: Callable[[], object], **options: Any) -> Profile:
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    with cnnstat.recording(model, folder / "trace.json.gz", **options):
        loop()
    assert [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()] == hooks
    return read(folder)


def read(folder: Path) -> Profile:
    (folder / "small.yaml").write_text(SPEC)
    profile = profile_recording(named_model(str(folder / "small.yaml"), Request()), folder / "trace.json.gz")
    found = profile.time_breakdown
    parts = sum(layer.seconds for layer in profile.layers) + found.idle + found.unattributed + found.residual
    assert parts == pytest.approx(found.whole, abs=1e-12)
    return profile


def by_name(profile: Profile) -> dict[str, LayerTime]:
    return {layer.name: layer for layer in profile.layers}


def has(profile: Profile, names: tuple[str, ...], backward: bool = False) -> bool:
    times = by_name(profile)
    return all(
        times[name].forward.median > 0 and (not backward or (times[name].backward or times[name].forward).median > 0)
        for name in names
    )


@pytest.mark.parametrize("again", [False, True], ids=["plain", "checkpoint"])
def test_a_training_step_has_every_layer_and_the_optimizer(tmp_path: Path, again: bool) -> None:
    model = Small(again)
    optimizer = torch.optim.Adam(model.parameters())
    train(model, optimizer, 1)
    profile = recorded(tmp_path, model, lambda: train(model, optimizer))
    assert has(profile, PLAIN, backward=True) and by_name(profile)["optimizer"].kind == "Adam"
    assert all(by_name(profile)[name].calls == 1 for name in PLAIN)
    # The loss and what makes images are of no layer.
    assert profile.time_breakdown.unattributed < 0.6 * profile.time_breakdown.whole


def test_mixed_precision_is_recorded(tmp_path: Path) -> None:
    model = Small()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    profile = recorded(tmp_path, model, lambda: train(model, optimizer, autocast=True))
    assert has(profile, PLAIN, backward=True)


def test_steps_that_come_every_third_pass_are_told(tmp_path: Path) -> None:
    model = Small()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    train(model, optimizer, 1)
    profile = recorded(tmp_path, model, lambda: train(model, optimizer, steps=9, every=3))
    assert has(profile, PLAIN, backward=True)
    assert any("the optimizer, SGD, steps in them alone, and takes" in note for note in profile.notes)


def test_a_pass_that_is_cut_short_is_left_out_and_its_recording_kept(tmp_path: Path) -> None:
    model = Small().eval()
    with pytest.raises(RuntimeError, match="mine"), cnnstat.recording(model, tmp_path / "trace.json.gz"):
        model(images())
        with torch.no_grad():
            model(images())
        handle = model.block.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("mine")))
        model(images())
    handle.remove()
    profile = read(tmp_path)
    assert has(profile, PLAIN)
    assert any("1 of 3 passes left out: cut short, or on an input of another size" in note for note in profile.notes)


def test_passes_on_other_inputs_and_of_other_models_are_not_of_this_one(tmp_path: Path) -> None:
    model, teacher = Small().eval(), Small().eval()

    def loop() -> None:
        with torch.no_grad():
            for count in (4, 4, 4, 2):
                data = images(count)
                teacher(data)
                model(data)

    profile = recorded(tmp_path, model, loop)
    assert has(profile, PLAIN) and profile.batch == 4
    assert all(by_name(profile)[name].calls == 1 for name in PLAIN)
    assert any("1 of 4 passes left out" in note for note in profile.notes)
    # The teacher does the same again, and is of no layer.
    assert profile.time_breakdown.unattributed > 0.2 * profile.time_breakdown.layers


def test_wrapped_models_have_their_own_names(tmp_path: Path) -> None:
    model = nn.DataParallel(Small())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    train(model, optimizer, 1)
    assert has(recorded(tmp_path, model, lambda: train(model, optimizer)), PLAIN, backward=True)


@pytest.mark.parametrize("way", ["function", "method", "inside"])
def test_what_is_compiled_stays_compiled_and_its_passes_are_marked(tmp_path: Path, way: str) -> None:
    """Hooks inside would compile it anew; those around it would become programs without their marks."""
    compiled: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(1)
        return graph.forward

    torch._dynamo.reset()
    model = Small().eval()
    if way == "method":
        model.compile(backend=backend)
        called = model
    else:
        called = torch.compile(model, backend=backend)
    with torch.no_grad():
        called(images())
        before = len(compiled)
        profile = recorded(tmp_path, model if way == "inside" else called, lambda: [called(images()) for _ in range(3)])
    assert before == 1 and len(compiled) == before, "it was compiled again"
    assert has(profile, PLAIN)
    assert any("no marks of modules inside the model" in note for note in profile.notes)


def test_a_recording_inside_another_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    model = Small().eval()

    def loop() -> None:
        model(images())
        other = cnnstat.recording(model, tmp_path / "other.json")
        with pytest.raises(cnnstat.CnnstatError, match="torch.profiler records already"), other:
            pass
        model(images())

    assert has(recorded(tmp_path, model, loop), PLAIN)
    assert not (tmp_path / "other.json").exists()


def test_another_thread_is_not_recorded_and_that_is_said(tmp_path: Path) -> None:
    model = Small().eval()
    thread = threading.Thread(target=lambda: model(images()))
    with pytest.raises(cnnstat.CnnstatError, match="on the thread that runs them"):
        recorded(tmp_path, model, lambda: (thread.start(), thread.join()))


@pytest.mark.filterwarnings("ignore:.torch.jit.trace")
@pytest.mark.parametrize("shapes", [False, True])
def test_traced_models_and_recordings_without_sizes(tmp_path: Path, shapes: bool) -> None:
    model = torch.jit.trace(Small().eval(), images())
    profile = recorded(tmp_path, model, lambda: [model(images()) for _ in range(4)], shapes=shapes)
    assert has(profile, WEIGHTED)
