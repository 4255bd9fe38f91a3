"""`profile --compile`: the whole of what torch.compile makes, and its layers as far as its kernels tell them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

import cnnstat
from cnnstat.errors import CnnstatError
from cnnstat.profile import compiled
from cnnstat.profile.profile_options import make_options

profiled = partial(cnnstat.profile, device="cpu", threads=1, samples=3, compiled=True)


@pytest.fixture
def without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler's front, which needs no C++ compiler: layers keep their ops."""
    whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module: whole(module, backend="aot_eager"))


@pytest.mark.usefixtures("without_a_compiler")
@pytest.mark.parametrize("step", [None, "sgd"])
def test_a_network_is_compiled_and_its_layers_are_found(step: str | None) -> None:
    profile = profiled("lenet5", step=step)
    times = {layer.name: layer.forward.median for layer in profile.layers}
    weighted = [layer.name for layer in profile.layers if layer.macs]
    assert weighted and all(times[name] > 0 for name in weighted)
    assert profile.environment.settings["compiled"] == "true" and "compiled" in repr(profile)
    assert any("without torch.compile the model takes" in note for note in profile.notes)
    found = profile.time_breakdown
    parts = sum(layer.seconds for layer in profile.layers) + found.idle + found.unattributed + found.residual
    assert parts == pytest.approx(found.whole) and found.whole == profile.whole.plain.median > 0
    if step:
        assert profile.layers[-1].kind == "SGD" and profile.layers[-1].seconds > 0


@pytest.mark.usefixtures("without_a_compiler")
def test_a_module_with_branches_and_a_trace_to_keep(tmp_path: Path) -> None:
    class Branches(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(3, 4, 1)

        def forward(self, x: Any) -> Any:
            return torch.relu(self.first(x) + self.second(x))

    module = Branches()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    profile = profiled(module, (2, 3, 8, 8), trace=tmp_path / "trace.json")
    assert all(layer.seconds > 0 for layer in profile.layers if layer.macs) and (tmp_path / "trace.json").exists()
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_what_cannot_be_compiled_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def backend(graph: Any, inputs: Any) -> Any:
        raise ValueError("no compiler")

    whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module: whole(module, backend=backend))
    with pytest.raises(CnnstatError, match=r"torch.compile failed: .*it needs a C\+\+ compiler"):
        profiled("lenet5")


@pytest.mark.usefixtures("without_a_compiler")
def test_a_recording_that_fails_costs_only_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise CnnstatError("damaged")

    monkeypatch.setattr(compiled, "read_recording", fails)
    profile = profiled("lenet5")
    assert profile.whole.plain.median > 0 and not any(layer.seconds for layer in profile.layers)
    assert any("layers have no times: damaged" in note for note in profile.notes)


@pytest.mark.parametrize("other", ["isolate", "energy"])
def test_options_that_run_layers_alone_do_not_go_with_it(other: str) -> None:
    with pytest.raises(CnnstatError, match=f"--compile and --{other} exclude each other"):
        make_options(compiled=True, **{other: True})
