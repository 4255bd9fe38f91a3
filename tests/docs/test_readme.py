"""What README.md shows works as it stands there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
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


@pytest.mark.skipif(shutil.which("git") is None, reason="makes a history")
def test_the_check_says_what_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (spec,), (configuration,) = blocks("yaml"), blocks("toml")
    shown = next(text for text in blocks("text") if "cnnstat check" in text)
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "models" / "tiny.yaml"
    model.parent.mkdir()
    model.write_text(spec, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(configuration, encoding="utf-8")
    as_somebody = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], [*as_somebody, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *arguments], check=True)
    model.write_text(spec.replace("width: 16", "width: 24"), encoding="utf-8")
    command, said = shown.split("…", 2)[:2]
    monkeypatch.setattr(sys, "argv", shlex.split(command.removeprefix("$ ")))
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    assert " ".join(said.split()) in " ".join(capsys.readouterr().out.split())


def test_pictures_exist() -> None:
    for picture in re.findall(r"\]\((docs/[\w.]+svg)\)", README):
        assert (ROOT / picture).is_file()


def test_ci_runs_exactly_the_test_command() -> None:
    (command,) = re.findall(r"<!-- test command -->\n```sh\n(.*?)\n```", README, re.DOTALL)
    assert command == "pip install '.[test]' && pytest"
    assert "test command" in (ROOT / ".ci" / "run").read_text()
