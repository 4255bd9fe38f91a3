"""What README.md shows works as it stands there."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

import cnnstat
from cnnstat import cli

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("cnnstat ")]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", shlex.split(command, comments=True))
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code


def test_the_spec_loads(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    (tmp_path / "tiny.yaml").write_text(text)
    analysis = cnnstat.analyze(tmp_path / "tiny.yaml")
    assert analysis.layers[-1].output_shape == (1, 10) and not analysis.warnings


def test_the_python_example_runs() -> None:
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})  # our own text


def test_pictures_exist() -> None:
    for picture in re.findall(r"\]\((docs/[\w.]+svg)\)", README):
        assert (ROOT / picture).is_file()


def test_ci_runs_exactly_the_test_command() -> None:
    (command,) = re.findall(r"<!-- test command -->\n```sh\n(.*?)\n```", README, re.DOTALL)
    assert command == "pip install '.[test]' && pytest"
    assert "test command" in (ROOT / ".ci" / "run").read_text()
