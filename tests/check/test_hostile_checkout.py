"""Commands run in a checkout that an attacker has written: nothing in it is run, whatever it is called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from git_history import History, spec

from cnnstat.check.git import Repository, find_repository
from cnnstat.child_process import python_command

PACKAGE = Path(__file__).resolve().parents[2]
MODULES = (
    *("yaml", "torch", "torchvision", "timm", "json", "typing", "random", "encodings", "numpy", "multiprocessing"),
    *("cnnstat", "sitecustomize", "usercustomize", "rich", "typer", "fvcore", "onnx"),
)


@pytest.fixture
def checkout(history: History) -> History:
    """A repository to stand in, with a module for every name that Python might look for."""
    for name in MODULES:
        history.write(f"{name}.py", 'open("ran", "w").close()\n')
    history.write("any.pth", 'import os; open("ran", "w").close()\n')
    history.commit("first", tiny__yaml=spec(8))
    return history


@pytest.mark.parametrize(
    "arguments",
    [
        ("analyze", "tiny.yaml", "-o", "result.html"),
        ("check", "tiny.yaml", "--max-params", "1k", "--baseline-ref", "main", "--max-increase", "params=0"),
        pytest.param(
            ("sweep", "tiny.yaml", "--input", "3x{16,32}x=", "--jobs", "2"),
            marks=pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 looks into the current folder"),
        ),
    ],
    ids=lambda arguments: arguments[0],
)
def test_modules_of_the_checkout_are_not_imported(
    checkout: History, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    # As the installed script is: its own folder comes first in sys.path, not the current one.
    script = tmp_path / "bin" / "cnnstat"
    script.parent.mkdir()
    lines = ("if __name__ == '__main__':", "    from cnnstat.__main__ import run", "    run()")
    script.write_text("\n".join((f"import sys; sys.path.append({str(PACKAGE)!r})", *lines)))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, str(script), *arguments], cwd=checkout.root, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert not (checkout.root / "ran").exists()


def test_a_process_of_its_own_imports_none(checkout: History) -> None:
    """Neither for the base commit of a Python model nor for a GPU's profiler."""
    command = python_command("json", "load", path=[str(PACKAGE)])
    result = subprocess.run(command, cwd=checkout.root, capture_output=True, text=True)
    assert "load() missing 1 required positional argument" in result.stderr
    assert not (checkout.root / "ran").exists()


posix = pytest.mark.skipif(os.name != "posix", reason="programs and links of POSIX")


@posix
def test_a_folder_that_looks_like_a_repository_is_none(history: History, tmp_path: Path) -> None:
    """Its configuration could name a program for git to run (core.fsmonitor)."""
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    program.chmod(0o755)
    history.commit("first", models__x="", tiny__yaml=spec(8))
    folder = history.root / "models"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(history.root), str(folder)], check=True)
    settings = {"core.bare": "false", "core.worktree": ".", "core.fsmonitor": str(program)}
    for key, value in settings.items():
        subprocess.run(["git", "config", "--file", str(folder / "config"), key, value], check=True)
    (folder / "tiny.yaml").write_text(spec(9))
    found = find_repository(folder)
    if found is not None:
        found.run("status")
    assert not (tmp_path / "ran").exists()
    assert found is None


@posix
def test_git_runs_no_program_that_the_configuration_names(history: History, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    (history.root / ".git" / "hooks" / "post-checkout").symlink_to(program)
    history.write(".gitattributes", "*.yaml diff=mine\n")
    for key in (
        "core.fsmonitor",
        "diff.external",
        "diff.mine.textconv",
        "diff.mine.command",
        "core.pager",
        "alias.diff",
    ):
        history.git("config", key, str(program))
    base = history.commit("first", tiny__yaml=spec(8))
    history.write("tiny.yaml", spec(9))
    ran.unlink(missing_ok=True)
    repository = Repository(history.root)
    repository.renames(base)
    repository.deleted(base)
    assert repository.output("show", f"{base}:tiny.yaml") == spec(8).strip()
    with repository.worktree(base) as tree:
        assert (tree / "tiny.yaml").read_text() == spec(8)
    assert not ran.exists()


@pytest.mark.skipif(os.name != "nt", reason="other systems look for programs in PATH alone")
def test_a_git_of_the_checkout_is_not_run(history: History) -> None:
    history.write("git.exe", "no program")
    assert find_repository(history.root) is not None
