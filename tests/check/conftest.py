"""What the tests of budgets share: the command line in a folder of its own, and a repository to stand in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from git_history import Command, History, Result

from cnnstat import cli


@pytest.fixture(autouse=True)
def outside_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "GITHUB_BASE_REF", "GITHUB_STEP_SUMMARY", "CI_MERGE_REQUEST_DIFF_BASE_SHA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, outside any repository."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def history(folder: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    """An empty repository to stand in."""
    found = History(folder / "project")
    monkeypatch.chdir(found.root)
    return found


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run `cnnstat check` in this process."""
    monkeypatch.setenv("COLUMNS", "300")

    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["cnnstat", "check", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capfd.readouterr()
        return Result(int(stop.value.code or 0), out, err)

    return call
