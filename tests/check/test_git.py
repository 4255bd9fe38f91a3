"""Baselines from git: which commit is the base, and what becomes of specs that moved, came or went."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from git_history import Command, History, spec

PACKAGE = Path(__file__).resolve().parents[2]
LIMITED = '[[check.models]]\nsource = "tiny.yaml"\nbudgets.params.max_increase = 0\n'


@pytest.fixture
def project(history: History) -> History:
    """A repository whose main has a model of 8 channels, with a branch `work` checked out."""
    history.commit("first", tiny__yaml=spec(8), cnnstat__toml=LIMITED)
    history.git("checkout", "--quiet", "-b", "work")
    return history


def found(check: Command, *arguments: str) -> tuple[int, Any]:
    result = check("--baseline-ref", "main", "-f", "json", *arguments)
    assert result.code != 2, result.err
    return result.code, json.loads(result.out)


def before(report: Any) -> int:
    """Return the channels of the baseline."""
    return int(report["models"][0]["baseline"]["params"]) // 28


def test_a_change_is_compared_with_main(check: Command, project: History) -> None:
    base = project.git("rev-parse", "main")
    assert found(check)[0] == 0
    project.commit("wider", tiny__yaml=spec(9))
    code, report = found(check)
    assert code == 1 and report["baseline"] == f"main ({base[:10]})"
    assert report["models"][0]["verdicts"][0]["layers"] == [{"name": "stem", "value": 252, "baseline": 224}]


def test_what_is_not_committed_counts(check: Command, project: History) -> None:
    project.write("tiny.yaml", spec(9))
    assert found(check)[0] == 1


def test_a_main_that_moved_on_does_not_matter(check: Command, project: History) -> None:
    project.commit("wider", tiny__yaml=spec(9))
    project.git("checkout", "--quiet", "main")
    project.commit("much wider", tiny__yaml=spec(20))
    project.git("checkout", "--quiet", "work")
    code, report = found(check)
    assert code == 1 and before(report) == 8  # not 20, under which 9 would hide


def test_a_stacked_branch_is_compared_with_the_branch_below(check: Command, project: History) -> None:
    project.commit("wider", tiny__yaml=spec(10))
    project.git("checkout", "--quiet", "-b", "stacked")
    project.commit("no change")
    assert found(check)[0] == 1  # against main it has grown
    result = check("--baseline-ref", "work")
    assert result.code == 0 and "work (" in result.out


def test_a_merge_commit_is_compared_with_its_first_parent(check: Command, project: History) -> None:
    project.commit("wider", tiny__yaml=spec(9))
    project.git("checkout", "--quiet", "main")
    project.commit("elsewhere", other__txt="x")
    tip = project.git("rev-parse", "main")
    project.git("checkout", "--quiet", "--detach", "main")
    project.git("merge", "--quiet", "--no-ff", "--message", "merge", "work")
    project.git("update-ref", "refs/heads/main", tip)
    code, report = found(check)
    assert code == 1 and report["baseline"] == f"main ({tip[:10]})" and before(report) == 8
    assert any("first parent" in note for note in report["notes"])


def test_main_after_a_merge_is_compared_with_what_it_was(check: Command, project: History) -> None:
    project.commit("wider", tiny__yaml=spec(9))
    project.git("checkout", "--quiet", "main")
    project.git("merge", "--quiet", "--no-ff", "--message", "merge", "work")
    assert found(check)[0] == 1


def test_a_branch_that_merged_main_is_compared_with_main(check: Command, project: History) -> None:
    project.commit("wider", tiny__yaml=spec(9))
    project.git("checkout", "--quiet", "main")
    project.commit("elsewhere", other__txt="x")
    project.git("checkout", "--quiet", "work")
    project.git("merge", "--quiet", "--no-ff", "--message", "catch up", "main")
    code, report = found(check)
    assert code == 1 and before(report) == 8  # its first parent, the branch itself, has 9


def clone(project: History, monkeypatch: pytest.MonkeyPatch, *options: str) -> History:
    """Return a clone to stand in."""
    copy = project.root.parent / "clone"
    project.git("clone", "--quiet", *options, f"file://{project.root}", str(copy))
    monkeypatch.chdir(copy)
    return History(copy)


def test_a_shallow_clone_says_what_to_fetch(check: Command, project: History, monkeypatch: pytest.MonkeyPatch) -> None:
    project.commit("wider", tiny__yaml=spec(9))
    project.commit("and more", tiny__yaml=spec(10))
    copy = clone(project, monkeypatch, "--depth=1", "--branch=work")
    result = check("--baseline-ref", "main")
    assert result.code == 2 and "shallow" in result.err and "fetch-depth: 0" in result.err
    copy.git("fetch", "--quiet", "--depth=1", "origin", "main:refs/remotes/origin/main")
    result = check("--baseline-ref", "main")
    assert result.code == 2 and "no common commit" in result.err and "fetch-depth: 0" in result.err
    copy.git("fetch", "--quiet", "--unshallow", "origin")
    assert found(check)[0] == 1  # main is found as origin/main


def test_a_shallow_merge_commit(check: Command, project: History, monkeypatch: pytest.MonkeyPatch) -> None:
    project.commit("wider", tiny__yaml=spec(9))
    project.git("checkout", "--quiet", "main")
    project.commit("elsewhere", other__txt="x")
    project.git("checkout", "--quiet", "-b", "merged")
    project.git("merge", "--quiet", "--no-ff", "--message", "merge", "work")
    clone(project, monkeypatch, "--depth=1", "--branch=merged")
    result = check("--baseline-ref", "main")
    assert result.code == 2 and "first parent" in result.err and "fetch-depth: 0" in result.err
    subprocess.run(["rm", "-rf", str(Path.cwd())], check=True)
    monkeypatch.chdir(project.root)
    clone(project, monkeypatch, "--depth=2", "--branch=merged")
    code, report = found(check)
    assert code == 1 and before(report) == 8
    assert any("shallow" in note for note in report["notes"])


def test_a_renamed_spec_keeps_its_baseline(check: Command, project: History) -> None:
    project.git("mv", "tiny.yaml", "small.yaml")
    project.commit("rename", cnnstat__toml=LIMITED.replace("tiny", "small"))
    assert found(check)[0] == 0
    project.commit("wider", small__yaml=spec(9))
    code, report = found(check)
    assert code == 1 and before(report) == 8
    assert any("small.yaml was tiny.yaml" in note for note in report["notes"])


def test_a_new_spec_has_no_baseline(check: Command, project: History) -> None:
    more = LIMITED + LIMITED.replace("tiny", "second")
    project.commit("more", cnnstat__toml=more, second__yaml=spec(3, more=2))
    code, report = found(check)
    verdict = report["models"][1]["verdicts"][0]
    assert code == 0 and verdict["status"] == "skipped" and "second.yaml is new since main" in verdict["message"]
    assert found(check, "--require-baseline")[0] == 3
    assert found(check, "--max-params", "1")[0] == 1


def test_a_spec_that_was_deleted(check: Command, project: History) -> None:
    (project.root / "tiny.yaml").unlink()
    project.commit("away", other__yaml="input: [5]\nlayers:\n  - Linear(3)\n  - ReLU\n  - Linear(7)\n")
    result = check("--baseline-ref", "main")
    assert result.code == 2 and "cnnstat.toml:2" in result.err and "deleted" in result.err
    project.commit("not checked", cnnstat__toml=LIMITED.replace("tiny", "other"))
    code, report = found(check)
    assert code == 0 and any("tiny.yaml was checked in main" in note for note in report["notes"])


def test_a_base_that_cannot_be_analyzed_is_not_verified(check: Command, history: History) -> None:
    history.commit("broken", tiny__yaml="input: [3, 8, 8]\nlayers:\n  - Convolution\n", cnnstat__toml=LIMITED)
    history.git("checkout", "--quiet", "-b", "work")
    history.commit("mended", tiny__yaml=spec(8))
    result = check("--baseline-ref", "main")
    assert result.code == 3 and "cannot be analyzed as it is in main" in result.out.replace("\n", " ")
    assert check("--baseline-ref", "main").out == result.out


def test_what_a_spec_extends_is_the_base_commits_too(check: Command, history: History) -> None:
    history.write("tiny.yaml", "extends: parts/base.yaml\n")
    history.write("parts/base.yaml", spec(8))
    history.commit("first", cnnstat__toml=LIMITED)
    history.git("checkout", "--quiet", "-b", "work")
    history.write("parts/base.yaml", spec(9))
    code, report = found(check)
    assert code == 1 and before(report) == 8
    assert report["models"][0]["place"]["line"] == 1  # the layer stands in another file


def test_a_network_of_the_zoo_has_no_baseline_in_a_foreign_repository(check: Command, project: History) -> None:
    result = check("lenet5", "--max-increase", "params=1%", "--baseline-ref", "main")
    assert result.code == 0 and "no file of this repository" in result.out.replace("\n", " ")


def test_from_a_folder_inside(check: Command, project: History, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.root / "inner").mkdir()
    monkeypatch.chdir(project.root / "inner")
    project.write("tiny.yaml", spec(9))
    code, report = found(check)
    assert code == 1 and report["models"][0]["place"]["file"] == "tiny.yaml"  # as annotations need it
    assert check("../tiny.yaml", "--baseline-ref", "main").code == 1


def test_inside_a_hook(check: Command, project: History, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("tiny.yaml", spec(9))
    monkeypatch.setenv("GIT_DIR", "/nowhere/.git")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")
    assert found(check)[0] == 1


def test_nothing_is_left_behind(check: Command, project: History, tmp_path: Path) -> None:
    hook = project.write(".git/hooks/post-checkout", f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    before_run = project.git("status", "--porcelain"), project.git("worktree", "list"), project.git("branch", "--all")
    found(check)
    assert not (tmp_path / "ran").exists()
    assert before_run == (
        project.git("status", "--porcelain"), project.git("worktree", "list"), project.git("branch", "--all")
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ref", "said"), [("mian", "did you mean main?"), ("v9", "git fetch origin v9"), ("--all", "no such ref")]
)
def test_unknown_refs(check: Command, project: History, ref: str, said: str) -> None:
    result = check(f"--baseline-ref={ref}")
    assert result.code == 2 and said in result.err


def test_unrelated_histories_and_empty_repositories(check: Command, project: History) -> None:
    project.git("checkout", "--quiet", "--orphan", "alone")
    project.commit("alone")
    assert "no common commit" in check("--baseline-ref", "main").err
    project.git("update-ref", "-d", "HEAD")
    assert "no commit yet" in check("--baseline-ref", "main").err


def test_a_repository_of_another_user(check: Command, project: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setattr("cnnstat.check.git._SETTINGS", {"GIT_TEST_ASSUME_DIFFERENT_OWNER"})
    assert check("lenet5", "--max-params", "1M").code == 0  # needs no git
    result = check("--baseline-ref", "main")
    assert result.code == 2 and "safe.directory" in result.err


def test_the_same_from_run_to_run(check: Command, project: History) -> None:
    project.commit("wider", tiny__yaml=spec(9))
    for format in ("table", "json", "markdown", "sarif"):
        first = check("--baseline-ref", "main", "-f", format)
        assert first == check("--baseline-ref", "main", "-f", format) and first.code == 1
        assert str(os.environ.get("TMPDIR", "/tmp")) + "/cnnstat-" not in first.out


def test_a_spec_that_became_a_link_is_compared_with_what_it_was(check: Command, project: History) -> None:
    project.git("mv", "tiny.yaml", "real.yaml")
    project.write("real.yaml", spec(20, more=3))
    (project.root / "tiny.yaml").symlink_to("real.yaml")
    project.commit("a link")
    code, report = found(check)
    assert code == 1 and before(report) == 8


def test_a_link_out_of_the_repository_is_compared_too(check: Command, project: History, tmp_path: Path) -> None:
    outside = tmp_path / "outside.yaml"
    outside.write_text(spec(20))
    (project.root / "tiny.yaml").unlink()
    (project.root / "tiny.yaml").symlink_to(outside)
    project.commit("a link")
    code, report = found(check)
    assert code == 1 and before(report) == 8


def test_a_folder_that_became_a_link_is_compared_with_what_it_was(check: Command, history: History) -> None:
    limited = LIMITED.replace("tiny.yaml", "models/tiny.yaml")
    history.write("models/tiny.yaml", spec(8))
    history.commit("first", cnnstat__toml=limited)
    history.git("checkout", "--quiet", "-b", "work")
    history.git("mv", "models", "networks")
    history.write("networks/tiny.yaml", spec(9))
    (history.root / "models").symlink_to("networks")
    history.commit("a link")
    code, report = found(check)
    assert code == 1 and before(report) == 8


def test_a_renamed_spec_behind_a_link_is_compared(check: Command, project: History) -> None:
    project.git("mv", "tiny.yaml", "real.yaml")
    project.write("real.yaml", spec(9))
    (project.root / "link.yaml").symlink_to("real.yaml")
    project.commit("renamed", cnnstat__toml=LIMITED.replace("tiny", "link"))
    code, report = found(check)
    assert code == 1 and before(report) == 8


def test_a_renamed_and_rewritten_spec_is_found_by_its_layers(check: Command, project: History) -> None:
    """To git the two have nothing in common."""
    rewritten = json.dumps({
        "input": [3, 16, 16],
        "layers": [{"stem": {"Conv2d": {"out_channels": 9, "kernel_size": 3, "padding": 1}}}, "ReLU"],
    })  # fmt: skip
    project.git("rm", "--quiet", "tiny.yaml")
    project.commit("another name", cnnstat__toml=LIMITED.replace("tiny", "fresh"), fresh__yaml=rewritten)
    code, report = found(check)
    assert code == 1 and before(report) == 8
    assert any("fresh.yaml is compared with tiny.yaml" in note for note in report["notes"])


def test_a_copy_that_takes_the_place_of_a_spec_is_found(check: Command, project: History) -> None:
    project.commit("a copy", cnnstat__toml=LIMITED.replace("tiny", "copy"), copy__yaml=spec(9))
    code, report = found(check)
    assert code == 1 and before(report) == 8


def test_a_link_of_the_base_into_the_working_tree_is_not_compared_with_itself(check: Command, history: History) -> None:
    history.write("real.yaml", spec(8))
    (history.root / "tiny.yaml").symlink_to(history.root / "real.yaml")
    history.commit("first", cnnstat__toml=LIMITED)
    history.git("checkout", "--quiet", "-b", "work")
    history.commit("wider", real__yaml=spec(9))
    code, report = found(check)
    assert code == 1 and before(report) == 8


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that a process could handle")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)])
def test_a_run_that_is_ended_leaves_no_worktree(project: History, tmp_path: Path, number: int) -> None:
    """The run waits within the base commit, until it is told to end."""
    code = (
        "import time; from cnnstat.check import git; from pathlib import Path\n"
        "repository = git.find_repository(Path.cwd())\n"
        "with repository.worktree('HEAD') as tree:\n    print(tree, flush=True); time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE), "TMPDIR": str(tmp_path)}
    run = subprocess.Popen(
        [sys.executable, "-c", code], cwd=project.root, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert run.stdout is not None
    tree = Path(run.stdout.readline().strip())
    assert (tree / "tiny.yaml").exists()
    run.send_signal(number)
    assert run.wait(20) != 0
    run.stdout.close()
    assert not tree.parent.exists() and len(project.git("worktree", "list").splitlines()) == 1


def test_what_a_killed_run_left_is_removed(check: Command, project: History, tmp_path: Path) -> None:
    for name, age in (("cnnstat-old", 10 * 3600), ("cnnstat-gone", 0), ("cnnstat-new", 0), ("other", 10 * 3600)):
        project.git("worktree", "add", "--quiet", "--detach", str(tmp_path / name / "base"))
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    shutil.rmtree(tmp_path / "cnnstat-gone")
    found(check)
    left = project.git("worktree", "list")
    assert "cnnstat-new" in left and "other" in left and "cnnstat-old" not in left and "cnnstat-gone" not in left
    assert not (tmp_path / "cnnstat-old").exists() and (tmp_path / "other").exists()
