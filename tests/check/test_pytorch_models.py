"""Checks of PyTorch models: by file and by module, today's code beside the base commit's."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from git_history import Command, History

pytest.importorskip("torch")

CODE = """
from torch import nn
from {package}parts import WIDTH


class Net(nn.Sequential):
    def __init__(self, classes=2):
        super().__init__(nn.Conv2d(3, WIDTH, 3), nn.Flatten(), nn.Linear(WIDTH * 36, classes))
"""
MODEL = '[[check.models]]\nsource = "{source}"\ninput = [3, 8, 8]\nbudgets.params.max_increase = 0\n'


def params(width: int, classes: int = 2) -> int:
    return 28 * width + (36 * width + 1) * classes


def model(check: Command, *arguments: str) -> tuple[int, Any]:
    result = check("-f", "json", *arguments)
    assert result.code != 2, result.err
    return result.code, json.loads(result.out)["models"][0]


@pytest.mark.parametrize("source", ["net.py:Net", "lib.net:Net"])
def test_growth_of_python_code(check: Command, history: History, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.syspath_prepend(str(history.root))
    folder = "lib/" if source.startswith("lib") else ""
    history.write(f"{folder}net.py", CODE.format(package="lib." if folder else ""))
    history.write(f"{folder}parts.py", "WIDTH = 4\n")
    if folder:
        history.write("lib/__init__.py", "")
    history.commit("first", cnnstat__toml=MODEL.format(source=source))
    history.git("checkout", "--quiet", "-b", "work")
    history.write(f"{folder}parts.py", "WIDTH = 5\n")
    code, found = model(check, "--baseline-ref", "main")
    assert code == 1, found
    assert (found["baseline"]["params"], found["totals"]["params"]) == (params(4), params(5))


def test_arguments_and_mode_reach_the_model(check: Command, history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "parts", raising=False)
    history.write("net.py", CODE.format(package=""))
    history.write("parts.py", "WIDTH = 4\n")
    text = MODEL.format(source="net.py:Net") + 'arguments = {classes = 7}\nmode = "train"\n'
    history.commit("first", cnnstat__toml=text)
    assert model(check)[1]["totals"]["params"] == params(4, 7)
    assert model(check, "--argument", "classes=3")[1]["totals"]["params"] == params(4, 3)
    code, found = model(check, "--baseline-ref", "main")
    assert code == 0 and found["baseline"]["params"] == params(4, 7)
