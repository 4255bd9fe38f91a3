"""Committed baselines: written the same every time, refused when they do not fit, and not to be grown in passing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from git_history import Command, History, params, spec

import cnnstat

GROWTH = '[check]\nbaseline = "baseline.json"\n[[check.models]]\nsource = "tiny.yaml"\n'
STRICT = GROWTH + "budgets.params.max_increase = 0\n"


@pytest.fixture
def measured(check: Command, folder: Path) -> Path:
    """A folder with a baseline of 8 channels that must not grow."""
    (folder / "tiny.yaml").write_text(spec(8))
    (folder / "cnnstat.toml").write_text(STRICT)
    assert check("--update-baseline").code == 0
    return folder


def test_one_more_channel_fails(check: Command, measured: Path) -> None:
    assert check().code == 0
    (measured / "tiny.yaml").write_text(spec(9))
    result = check("-f", "github")
    assert result.code == 1
    assert "stem +28" in result.out and "cnnstat.toml:5" in result.out and "tiny.yaml,line=3" in result.out


def test_one_channel_less_passes(check: Command, measured: Path) -> None:
    (measured / "tiny.yaml").write_text(spec(7))
    assert check().code == 0


@pytest.mark.parametrize(
    ("limit", "codes"),
    [
        ('max_increase = "12.5%"', (0, 1)),
        ("max_increase = 28", (0, 1)),
        ('max_increase = "1%", min_delta = 28', (0, 1)),
        ('max_increase = "30%", min_delta = 1', (0, 0)),
    ],
)
def test_growth_is_allowed_up_to_the_last_number(
    check: Command, measured: Path, limit: str, codes: tuple[int, int]
) -> None:
    (measured / "cnnstat.toml").write_text(f"{GROWTH}budgets.params = {{{limit}}}\n")
    for width, code in zip((9, 10), codes):
        (measured / "tiny.yaml").write_text(spec(width))
        assert check().code == code


def test_the_file_is_the_same_every_time(check: Command, measured: Path) -> None:
    first = (measured / "baseline.json").read_bytes()
    assert "no figure changed" in check("--update-baseline").out
    assert (measured / "baseline.json").read_bytes() == first
    document = json.loads(first)
    assert document["schema"] == "cnnstat-baseline/1" and "MACs" in document["convention"]
    entry = document["models"]["tiny.yaml"]
    assert entry["totals"]["params"] == params(8) and entry["inputs"] == ["input=1x3x16x16:float32"]
    assert entry["layers"][0] == ["stem", "Conv2d", params(8), 8 * 27 * 256, 2 * 8 * 27 * 256 + 8 * 256, 8192]


def test_an_update_prints_what_changed(check: Command, measured: Path) -> None:
    (measured / "tiny.yaml").write_text(spec(9))
    assert "tiny.yaml: params 224 -> 252 (+28)" in check("--update-baseline").out
    assert check().code == 0


def test_models_that_are_gone_leave_the_baseline(check: Command, measured: Path) -> None:
    (measured / "tiny.yaml").rename(measured / "small.yaml")
    (measured / "cnnstat.toml").write_text(STRICT.replace("tiny", "small"))
    assert "small.yaml" in check().out and check("--require-baseline").code == 3
    out = check("--update-baseline").out
    assert "small.yaml: new" in out and "tiny.yaml: no longer checked, removed" in out


def test_an_update_of_one_model_keeps_the_others(check: Command, measured: Path) -> None:
    assert check("lenet5", "--update-baseline").code == 0
    assert set(json.loads((measured / "baseline.json").read_text())["models"]) == {"lenet5", "tiny.yaml"}


@pytest.mark.parametrize("value", ["true", "1", "True"])
def test_ci_may_not_update(check: Command, measured: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CI", value)
    before = (measured / "baseline.json").read_bytes()
    (measured / "tiny.yaml").write_text(spec(9))
    result = check("--update-baseline")
    assert result.code == 2 and "refuses" in result.err
    assert (measured / "baseline.json").read_bytes() == before


def test_without_a_baseline_absolute_limits_hold(check: Command, measured: Path) -> None:
    (measured / "baseline.json").unlink()
    result = check()
    assert result.code == 0 and "skipped" in result.out and "there is no baseline.json" in result.out.replace("\n", " ")
    assert check("--max-params", "1").code == 1
    assert check("--require-baseline").code == 3
    assert check("--require-baseline", "--exit-zero").code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--input", "3x32x32"), "input was input=1x3x16x16:float32, is input=1x3x32x32:float32"),
        (("--batch", "2"), "1x3x16x16"),
        (("--dtype", "float16"), "dtype was float32, is float16"),
        (("--optimizer", "adam"), "optimizer was sgd, is adam"),
    ],
)
def test_other_conditions_are_a_mismatch(check: Command, measured: Path, options: tuple[str, ...], said: str) -> None:
    result = check(*options)
    assert result.code == 2 and said in result.err and "--update-baseline" in result.err


def test_a_baseline_of_before_a_figure_existed_serves_all_others(check: Command, measured: Path) -> None:
    path = measured / "baseline.json"
    document = json.loads(path.read_text())
    del document["models"]["tiny.yaml"]["totals"]["moved_bytes"]
    path.write_text(json.dumps(document))
    assert check().code == 0 and "moved" not in check("-f", "markdown").out
    result = check("--max-increase", "moved_bytes=0%")
    assert result.code == 3 and "moved_bytes: the baseline has no figure to compare with" in result.out
    assert "moved_bytes none -> " in check("--update-baseline").out


def test_a_size_of_a_file_that_an_older_version_counted_is_told_and_no_growth(check: Command, measured: Path) -> None:
    configuration = f"{GROWTH}budgets.file_size.max_increase = 0\nbudgets.params.max_increase = 0\n"
    (measured / "cnnstat.toml").write_text(configuration)
    document = json.loads((measured / "baseline.json").read_text())
    totals = document["models"]["tiny.yaml"]["totals"]
    del totals["flash_bytes"]
    totals["file_size"] = 4 * totals["params"]
    (measured / "baseline.json").write_text(json.dumps(document))
    result = check("--format", "json")
    verdicts = {each["metric"]: each for each in json.loads(result.out)["models"][0]["verdicts"]}
    assert result.code == 3 and verdicts["params"]["status"] == "pass"
    assert verdicts["file_size"]["status"] == "unverified"
    assert "counted tensors only" in verdicts["file_size"]["message"]
    assert check("--update-baseline").code == 0 and check().code == 0


def changed(document: Any, **values: Any) -> str:
    return json.dumps({**document, **values})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda d: changed(d, schema="cnnstat-baseline/9"), "schema is cnnstat-baseline/9"),
        (lambda d: changed(d, convention="others"), "another convention"),
        (lambda d: changed(d, models=[]), "damaged"),
        (lambda d: changed(d, models={"tiny.yaml": {}}), "damaged"),
        (lambda d: json.dumps(d).replace('"params": 224', '"params": "224"'), "damaged"),
        (lambda d: json.dumps(d).replace('"params": 224', '"params": -224'), "damaged"),
        (lambda d: json.dumps(d).replace('"params": 224', f'"params": 1{"0" * 4000}'), "damaged"),
        (lambda d: re.sub('"peak_at": "[^"]*"', '"peak_at": NaN', json.dumps(d)), "damaged"),
        (lambda d: re.sub('"peak_at": "[^"]*"', r'"peak_at": "\\ud800"', json.dumps(d)), "damaged"),
        (lambda d: json.dumps(d, indent=1)[:200], "not valid JSON"),
        (lambda d: "<<<<<<< HEAD\n", "baseline.json:1: not valid JSON; resolve the conflict"),
        (lambda d: "[]", "schema is None"),
    ],
)
def test_damaged_files_are_refused(check: Command, measured: Path, damage: Any, said: str) -> None:
    path = measured / "baseline.json"
    path.write_text(damage(json.loads(path.read_text())))
    result = check()
    assert result.code == 2 and said in result.err, result
    assert check("--update-baseline").code == 0 and check().code == 0


@pytest.mark.parametrize("text", ["<<<<<<< HEAD\n", '{"schema": "cnnstat-baseline/1", "models"', "[]", "", "\xff"])
def test_an_update_of_one_model_loses_no_damaged_file(check: Command, measured: Path, text: str) -> None:
    path = measured / "baseline.json"
    path.write_text(text, encoding="latin-1")
    result = check("lenet5", "--update-baseline")
    assert result.code == 2 and result.err.startswith("cnnstat: baseline.json") and not result.out
    assert path.read_text(encoding="latin-1") == text and not (measured / ".baseline.json.lock").exists()


def test_an_update_of_all_models_says_what_it_did_not_read(check: Command, measured: Path) -> None:
    (measured / "baseline.json").write_text("<<<<<<< HEAD\n")
    assert "was not read: baseline.json:1: not valid JSON" in check("--update-baseline").out


def test_two_updates_at_once_lose_nothing(check: Command, measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other update writes while this one analyzes, and again while it waits for the lock."""
    from cnnstat.check import check_models

    analyze, other = check_models.analyze_model, []

    def meanwhile(source: str, model: Any) -> Any:
        if not other:
            other.append(True)
            assert check("lenet5", "--update-baseline").code == 0
        return analyze(source, model)

    monkeypatch.setattr(check_models, "analyze_model", meanwhile)
    assert check("alexnet", "--update-baseline").code == 0
    assert set(json.loads((measured / "baseline.json").read_text())["models"]) == {"alexnet", "lenet5", "tiny.yaml"}


def test_processes_that_update_at_once_lose_nothing(measured: Path) -> None:
    names = ("lenet5", "alexnet", "vgg11", "vgg13")
    code = "import sys; from cnnstat.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(Path(cnnstat.__file__).parent.parent)}
    command = [sys.executable, "-c", code, "check", "--update-baseline"]
    runs = [subprocess.Popen([*command, name], cwd=measured, env=environment) for name in names]
    assert [run.wait() for run in runs] == [0] * len(names)
    assert set(json.loads((measured / "baseline.json").read_text())["models"]) == {*names, "tiny.yaml"}


def test_an_update_overwrites_no_source(check: Command, measured: Path) -> None:
    before = (measured / "tiny.yaml").read_text()
    (measured / "link.json").symlink_to("tiny.yaml")
    for name in ("tiny.yaml", "link.json"):
        result = check("tiny.yaml", "--update-baseline", "--baseline", name)
        assert result.code == 2 and "would overwrite" in result.err
    assert (measured / "tiny.yaml").read_text() == before


def test_one_more_layer_is_told_as_one_layer(check: Command, folder: Path) -> None:
    (folder / "tiny.yaml").write_text(spec(8, more=4))
    (folder / "cnnstat.toml").write_text(STRICT)
    check("--update-baseline")
    lines = spec(8, more=4).splitlines()
    (folder / "tiny.yaml").write_text("\n".join([*lines[:4], "  - Conv2d(8, 1)", *lines[4:]]))
    report = json.loads(check("-f", "json").out)
    changes = report["models"][0]["changed_layers"]
    assert [(change["op"], change["before"]) for change in changes] == [("Conv2d", None)]
    assert report["models"][0]["verdicts"][0]["layers"][0]["value"] == 8 * 8 + 8


@pytest.fixture
def committed(check: Command, history: History) -> History:
    """A repository whose main has a baseline of 8 channels."""
    history.write("tiny.yaml", spec(8))
    history.write("cnnstat.toml", STRICT)
    assert check("--update-baseline").code == 0
    history.commit("baseline")
    return history


def test_growing_the_baseline_with_the_model_is_caught(
    check: Command, committed: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed.git("checkout", "--quiet", "-b", "work")
    committed.write("tiny.yaml", spec(9))
    assert check().code == 1
    check("--update-baseline")
    assert check().code == 0
    assert check("--fail-on-baseline-growth").code == 1  # not committed yet
    committed.commit("grown")
    result = check("--fail-on-baseline-growth", "--baseline-ref", "main", "-f", "json")
    verdict = json.loads(result.out)["models"][0]["verdicts"][-1]
    assert result.code == 1 and (verdict["bound"], verdict["baseline"], verdict["value"]) == (
        "baseline_growth",
        224,
        252,
    )
    monkeypatch.setenv("CI", "true")
    assert "--baseline-ref main" in check("--fail-on-baseline-growth").err
    monkeypatch.setenv("GITHUB_BASE_REF", "main")
    assert check("--fail-on-baseline-growth").code == 2  # origin/main is not here
    committed.git("update-ref", "refs/remotes/origin/main", "main")
    assert check("--fail-on-baseline-growth").code == 1


@pytest.mark.parametrize("way", ["link", "rename", "another file", "another file, the old one stays"])
def test_a_baseline_that_moved_is_held_against_what_it_was(check: Command, committed: History, way: str) -> None:
    committed.write("tiny.yaml", spec(9))
    name = "baseline.json" if way == "link" else "other.json"
    if way == "link":
        (committed.root / name).unlink()
        (committed.root / name).symlink_to("elsewhere.json")
    elif way == "rename":
        committed.git("mv", "baseline.json", name)
    elif way == "another file":
        committed.git("rm", "--quiet", "baseline.json")
    committed.write("cnnstat.toml", (committed.root / "cnnstat.toml").read_text().replace("baseline.json", name))
    assert check("--update-baseline").code == 0
    committed.git("add", "--all")
    result = check("--fail-on-baseline-growth", "--baseline-ref", "main")
    assert result.code == 1 and "raises the baseline itself" in result.out


def test_removing_the_baseline_is_caught(check: Command, committed: History) -> None:
    committed.git("checkout", "--quiet", "-b", "work")
    (committed.root / "baseline.json").unlink()
    committed.commit("away", tiny__yaml=spec(9))
    assert check().code == 0
    assert check("--fail-on-baseline-growth", "--baseline-ref", "main").code == 1


def test_a_renamed_model_is_held_against_what_it_was(check: Command, committed: History) -> None:
    committed.git("checkout", "--quiet", "-b", "work")
    committed.git("mv", "tiny.yaml", "small.yaml")
    committed.write("cnnstat.toml", STRICT.replace("tiny.yaml", "small.yaml"))
    check("--update-baseline")
    committed.commit("renamed")
    result = check("--fail-on-baseline-growth", "--baseline-ref", "main", "-f", "json")
    assert result.code == 0
    assert "small.yaml is held against tiny.yaml of the earlier baseline" in result.out
    committed.write("small.yaml", spec(9))
    check("--update-baseline")
    committed.commit("grown too")
    assert check("--fail-on-baseline-growth", "--baseline-ref", "main").code == 1


def test_a_new_model_beside_a_removed_one_is_no_rename(check: Command, committed: History) -> None:
    committed.git("checkout", "--quiet", "-b", "work")
    committed.git("rm", "--quiet", "tiny.yaml")
    committed.write("other.yaml", "input: [3, 64, 64]\nlayers: [Flatten, Linear(99), ReLU, Linear(9)]\n")
    committed.write("cnnstat.toml", STRICT.replace("tiny.yaml", "other.yaml"))
    check("--update-baseline")
    committed.commit("replaced")
    assert check("--fail-on-baseline-growth", "--baseline-ref", "main").code == 0


def test_a_baseline_that_shrinks_or_is_new_is_fine(check: Command, committed: History) -> None:
    committed.git("checkout", "--quiet", "-b", "work")
    committed.write("tiny.yaml", spec(7))
    check("--update-baseline")
    committed.commit("smaller")
    assert check("--fail-on-baseline-growth", "--baseline-ref", "main").code == 0
    committed.write("cnnstat.toml", STRICT.replace("baseline.json", "other.json"))
    check("--update-baseline")
    assert check("--fail-on-baseline-growth", "--baseline-ref", "main").code == 0


def test_an_unreadable_earlier_baseline_is_not_verified(check: Command, history: History) -> None:
    history.commit("old", tiny__yaml=spec(8), cnnstat__toml=STRICT, baseline__json='{"schema": "cnnstat-baseline/0"}')
    history.git("checkout", "--quiet", "-b", "work")
    check("--update-baseline")
    history.commit("new")
    assert check("--fail-on-baseline-growth", "--baseline-ref", "main").code == 3


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
@pytest.mark.parametrize("target", ["gone.json", "baseline.json"])
def test_a_link_that_leads_nowhere_is_no_missing_baseline(check: Command, measured: Path, target: str) -> None:
    """Else a change could break the link, and its limits on growth would be skipped."""
    (measured / "baseline.json").unlink()
    assert check().code == 0  # nothing to count from yet
    (measured / "baseline.json").symlink_to(target)
    result = check()
    assert result.code == 2 and "baseline.json: is a link that leads nowhere" in result.err
