"""Python code of two commits is analyzed in a process of its own, with the same figures."""

from __future__ import annotations

from pathlib import Path

import pytest
from git_history import spec

from cnnstat.check.configuration import ModelSettings
from cnnstat.check.model_figures import analyze_in_subprocess, analyze_model, from_json, to_json
from cnnstat.errors import CnnstatError
from cnnstat.sources.request import InputShape, Request

REQUEST = Request(inputs={"": InputShape((3, 32, 32))}, batch=2, dtype="float16")


def test_the_figures_are_those_of_this_process(folder: Path) -> None:
    (folder / "base").mkdir()
    (folder / "base" / "tiny.yaml").write_text(spec(8))
    (folder / "tiny.yaml").write_text(spec(9))
    settings = ModelSettings(source="", name="", request=REQUEST, optimizer="adam")
    apart = analyze_in_subprocess("tiny.yaml", settings, folder / "base", folder)
    assert to_json(apart) == to_json(analyze_model("base/tiny.yaml", settings))
    assert from_json(to_json(apart)) == apart


def test_errors_come_back(folder: Path) -> None:
    with pytest.raises(CnnstatError, match="did you mean vgg16"):
        analyze_in_subprocess("vgg61", ModelSettings(source="", name=""), folder, folder)
