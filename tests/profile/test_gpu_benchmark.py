"""benchmarks/gpu.py: whatever fails on a stranger's machine is a line of the report."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import gpu

Run = Callable[..., subprocess.CompletedProcess[str]]


def fails(command: list[str], *arguments: Any, **keywords: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess(command, 2, "", "cnnstat: no CUDA GPU\n")


def says_nothing(command: list[str], *arguments: Any, **keywords: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess(command, 0, "", "")


def writes(text: str) -> Run:
    def run(command: list[str], *arguments: Any, **keywords: Any) -> subprocess.CompletedProcess[str]:
        if "--output" in command:
            Path(command[command.index("--output") + 1]).write_text(text)
        return subprocess.CompletedProcess(command, 0, "", "")

    return run


def breaks(error: BaseException) -> Run:
    def run(command: list[str], *arguments: Any, **keywords: Any) -> subprocess.CompletedProcess[str]:
        raise error

    return run


@pytest.mark.parametrize(
    "run",
    [
        fails,
        says_nothing,
        writes("{"),
        writes("{}"),
        breaks(OSError("no such program")),
        breaks(subprocess.TimeoutExpired("x", 1)),
        breaks(KeyboardInterrupt()),
    ],
)
def test_nothing_ends_in_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setattr(gpu, "run", run)
    options = argparse.Namespace(output=tmp_path / "kept", record=None, minutes=1.0, no_tests=False)
    text, figures = gpu.report(options, "2026-11-30: a GPU")
    assert text.startswith("2026-11-30: a GPU") and figures
    assert (tmp_path / "kept" / "report.md").read_text() == text
    assert (tmp_path / "kept" / "profiles.json").exists()


def test_a_machine_without_a_gpu_is_one_line() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(SystemExit, match="nothing to measure"):
        gpu.machine()
