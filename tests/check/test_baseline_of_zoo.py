"""The zoo's own baseline: a change of any count shows in review as a change of the committed file."""

from __future__ import annotations

from pathlib import Path

import pytest
from git_history import Command

from cnnstat.check.baseline import baseline_text
from cnnstat.check.configuration import find_settings, locate
from cnnstat.check.model_figures import analyze_model

ROOT = Path(__file__).resolve().parents[2]
BASELINE = ROOT / "tests" / "golden" / "zoo-baseline.json"


def test_every_count_is_the_committed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    settings = find_settings(ROOT)
    assert settings is not None and (settings.folder / str(settings.baseline)).resolve() == BASELINE
    found = {model.name: analyze_model(locate(model.source, ROOT).source, model) for model in settings.models}
    assert {Path(name).stem for name in found} == {path.stem for path in (ROOT / "specs").glob("*.yaml")}
    is_same = baseline_text(found) == BASELINE.read_text(encoding="utf-8")
    assert is_same, "a count changed; if that is meant, run cnnstat check --update-baseline and commit the file"


def test_the_repository_passes_its_own_check(check: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert check("--require-baseline").code == 0
