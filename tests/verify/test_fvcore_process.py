"""fvcore runs in a process of its own, which may end or hang without taking the verification along."""

from __future__ import annotations

import os
import sys
import time

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("fvcore")

from torch import nn  # noqa: E402

import cnnstat  # noqa: E402
from cnnstat.verify import fvcore_count  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems copy no processes safely")


class Catching(nn.Module):
    """Catches the error of an operation, which torch.jit.trace does not survive."""

    def __init__(self, wrong):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.wrong = wrong

    def forward(self, x):
        y = self.conv(x)
        try:
            return self.wrong(x, y)
        except RuntimeError:
            return y.flatten(1)


@pytest.mark.parametrize(
    "wrong",
    [lambda x, y: torch.cat([x, y], 0), lambda x, y: y.view(7, 7, 7), lambda x, y: x + y, lambda x, y: y @ x],
)
def test_a_model_that_catches_an_error_is_verified_without_fvcore(wrong):
    verification = cnnstat.verify(Catching(wrong), (1, 3, 8, 8))
    assert verification.exit_code == 0
    problems = {reference.name: reference.problem for reference in verification.references}
    assert problems["FlopCounterMode"] == ""
    assert problems["fvcore"].startswith("could not run") or problems["fvcore"] == ""


def test_a_process_that_ends_is_said(monkeypatch):
    monkeypatch.setattr(fvcore_count, "_counted", lambda module, arguments: os.abort())
    verification = cnnstat.verify(nn.Conv2d(3, 4, 3), (1, 3, 8, 8))
    assert verification.exit_code == 0
    assert any("its process ended" in reference.problem for reference in verification.references)


def test_a_process_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(fvcore_count, "_counted", lambda module, arguments: time.sleep(60))
    monkeypatch.setattr(fvcore_count, "TIMEOUT", 0.1)
    verification = cnnstat.verify(nn.Conv2d(3, 4, 3), (1, 3, 8, 8))
    assert any("it took more than 0.1 s" in reference.problem for reference in verification.references)


def test_an_error_in_the_process_comes_back(monkeypatch):
    def fail(module, arguments):
        raise fvcore_count.FvcoreError("could not run: for a reason")

    monkeypatch.setattr(fvcore_count, "_counted", fail)
    verification = cnnstat.verify(nn.Conv2d(3, 4, 3), (1, 3, 8, 8))
    assert "could not run: for a reason" in [reference.problem for reference in verification.references]
