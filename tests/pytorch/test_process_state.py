"""What a model's code changes beyond the model: settings of the process are put back, and it cannot end the program."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import cnnstat  # noqa: E402


class Changing(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.change = change

    def forward(self, x):
        x = self.conv(x)
        self.change()
        return x


def newer_precision():
    parts = (torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None))
    return tuple(getattr(part, "fp32_precision", None) for part in parts)


def set_newer_precision(word):
    if newer_precision()[0] is not None:
        torch.backends.cuda.matmul.fp32_precision = word


CHANGES = {
    "default device": lambda: torch.set_default_device("meta"),
    "default dtype": lambda: torch.set_default_dtype(torch.float64),
    "deterministic": lambda: torch.use_deterministic_algorithms(True),
    "deterministic, warnings only": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "gradients": lambda: torch.set_grad_enabled(False),
    "anomalies": lambda: torch.autograd.set_detect_anomaly(True),
    "cuDNN": lambda: setattr(torch.backends.cudnn, "benchmark", not torch.backends.cudnn.benchmark),
    "precision": lambda: torch.set_float32_matmul_precision("medium"),
    "newer precision": lambda: set_newer_precision("tf32" if newer_precision()[0] != "tf32" else "ieee"),
    "folder": lambda: os.chdir(Path.cwd().parent),
    "new variable": lambda: os.environ.update(CNNSTAT_TEST="1"),
    "no variable": lambda: os.environ.pop("PATH"),
    "path": lambda: sys.path.insert(0, "/nowhere"),
    "other path": lambda: setattr(sys, "path", ["/nowhere"]),
    "recursion": lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 7),
    "warnings": lambda: warnings.simplefilter("always"),
    "random numbers": lambda: torch.manual_seed(5),
}


def precision():
    # Where it was set in PyTorch's old and its new way, as other tests may do, only the new one answers.
    with contextlib.suppress(RuntimeError):
        return torch.get_float32_matmul_precision()


def settings():
    return (
        torch.get_default_dtype(), torch.get_default_device(), torch.get_deterministic_debug_mode(),
        torch.get_num_threads(), torch.is_grad_enabled(), torch.is_anomaly_enabled(), torch.backends.cudnn.benchmark,
        newer_precision(), Path.cwd(), dict(os.environ), sys.path, tuple(sys.path),
        sys.getrecursionlimit(), tuple(warnings.filters), torch.get_rng_state().tolist(),
    )  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("look", ["analyze", "verify"])
def test_a_setting_is_put_back(name, look, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = Changing(CHANGES[name])
    # PyTorch loads parts of itself at its first passes, which set variables.
    getattr(cnnstat, look)(nn.Conv2d(3, 4, 3), (1, 3, 8, 8))
    before, path, known = settings(), sys.path, precision()
    getattr(cnnstat, look)(model, (1, 3, 8, 8))
    assert settings() == before
    assert known is None or precision() == known
    assert sys.path is path


class OwnError(BaseException):
    """An error that `except Exception` lets through."""


def own_error():
    raise OwnError("of the model's own")


@pytest.mark.parametrize("ask", [cnnstat.analyze, cnnstat.verify, cnnstat.profile])
@pytest.mark.parametrize("end", [own_error, lambda: sys.exit(3)])
def test_a_model_does_not_end_the_program(ask, end):
    with pytest.raises(cnnstat.CnnstatError, match=r"Changing: its code (raises OwnError|ends the program)") as error:
        ask(Changing(end), (1, 3, 8, 8))
    assert "\n" not in str(error.value)


def test_an_interrupt_ends_it():
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cnnstat.analyze(Changing(interrupt), (1, 3, 8, 8))


@pytest.mark.parametrize("ask", [cnnstat.analyze, cnnstat.verify, cnnstat.profile])
def test_modules_that_are_nested_too_deeply_are_one_line(ask):
    model = nn.Identity()
    for _ in range(5000):
        model = nn.Sequential(model)
    # With a higher limit, which other packages set, it is the forward pass that goes too deep.
    with pytest.raises(cnnstat.CnnstatError, match=r"Sequential.*(nested too deeply|RecursionError)") as error:
        ask(model, (1, 3, 8, 8))
    assert "\n" not in str(error.value)
