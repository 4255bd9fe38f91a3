"""What users copy works as it stands: the action, the hook, the examples, and everything in docs/ci.md."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_reports import installed

from cnnstat import cli
from cnnstat.check import configuration as configured
from cnnstat.check.configuration import load_settings
from cnnstat.check.formats import FORMATS
from cnnstat.check.limits import METRICS
from cnnstat.numbers import Unit

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "docs" / "examples"
GUIDE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
TINY = """\
name: tiny
input: [3, 224, 224]
layers:
  - Conv2d(8, 7, stride=2)
  - MaxPool2d(3, stride=2)
  - Conv2d(16, 5)
  - AdaptiveAvgPool2d(1)
  - Flatten
  - Linear(10)
"""


UNITS = {Unit.COUNT: "count", Unit.BYTES: "bytes", Unit.POSITIONS: "positions", Unit.TIME: "time"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def schema_of(name: str) -> Any:
    return installed("check-jsonschema", f"check_jsonschema/builtin_schemas/vendor/{name}.json")


def validate(document: Any, schema: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validators.validator_for(schema_of(schema))(schema_of(schema)).validate(document)


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one spec and the first configuration of docs/ci.md, committed on main."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny.yaml").write_text(TINY)
    (tmp_path / "pyproject.toml").write_text(blocks("toml")[0])
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "A small network")
    monkeypatch.chdir(tmp_path)
    for variable in ("CI", "GITHUB_BASE_REF", "GITHUB_STEP_SUMMARY", "CI_MERGE_REQUEST_DIFF_BASE_SHA"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def run(command: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", shlex.split(command, comments=True))
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


class TestGuide:
    @pytest.mark.parametrize("language", ["toml", "yaml"])
    def test_configurations_are_read(self, language: str, project: Path) -> None:
        found = []
        for text in blocks(language):
            if language == "toml":
                path = project / ("pyproject.toml" if text.startswith("[tool.") else "cnnstat.toml")
            elif text.startswith("check:"):
                path = project / "cnnstat.yaml"
            else:
                continue
            path.write_text(text)
            settings = load_settings(path)
            found.append(len(settings.models) and len(settings.models[0].limits))
        assert found == ([7 - 1, 1, 2] if language == "toml" else [2])

    def test_commands_run(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("cnnstat ")]
        assert len(commands) >= 6
        for command in commands:
            assert run(command, monkeypatch) == 0, command

    def test_the_tests_of_the_pytest_section_pass(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert run("cnnstat check --update-baseline", monkeypatch) == 0
        (code,) = blocks("python")
        names: dict[str, Any] = {}
        exec(compile(code, "docs/ci.md", "exec"), names)  # our own text
        for name, function in names.items():
            if name.startswith("test_"):
                function()

    def test_every_key_option_and_format_is_told(self) -> None:
        words = set(re.findall(r"`([\w-]+)`", GUIDE))
        keys = {*configured.KEYS, *configured.MODEL_KEYS, *METRICS, "max", "min", "max_increase", "min_delta", "level"}
        assert not {*keys, *FORMATS} - words
        for metric in METRICS.values():
            assert f"| `{metric.key}` | `--{metric.limit}` | {UNITS[metric.unit]} |" in GUIDE

    def test_examples_are_the_files(self) -> None:
        paths = [path for path in EXAMPLES.iterdir() if path.suffix != ".ipynb"]  # notebooks have tests of their own
        assert len(paths) >= 3
        for path in paths:
            assert f"```yaml\n{path.read_text(encoding='utf-8')}```" in GUIDE

    def test_links_lead_somewhere(self) -> None:
        for target in re.findall(r"\]\(([\w./-]+)\)", GUIDE):
            assert (ROOT / "docs" / target).exists()


def environment(folder: Path) -> None:
    """Make a virtual environment in which `python -I` finds what this process does, as if it were installed."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "installed.pth").write_text("\n".join(dict.fromkeys([str(ROOT), *filter(None, sys.path)])))


def run_step(name: str, folder: Path, temporary: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script of a step of the action in a folder, with the environment in `temporary`."""
    bash = shutil.which("bash")
    if bash is None or shutil.which("xargs") is None or os.name == "nt":
        pytest.skip("needs bash and xargs")
    (step,) = (step for step in ACTION["runs"]["steps"] if name in (step.get("id"), step["name"]))
    (temporary / "step.sh").write_text(step["run"])
    defaults = {
        **dict.fromkeys(step["env"], ""),
        "PATH": f"{temporary / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "RUNNER_TEMP": str(temporary),
        "GITHUB_OUTPUT": str(temporary / "output"),
        "GITHUB_STEP_SUMMARY": str(temporary / "summary"),
    }
    command = [bash, "--noprofile", "--norc", "-eo", "pipefail", str(temporary / "step.sh")]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **defaults, **variables}, capture_output=True, text=True
    )


PINNED = re.compile(r"uses: (?!OWNER/cnnstat@)(?P<action>\S+)(?P<version>.*)")


@pytest.mark.parametrize(
    "file", ["action.yml", "docs/ci.md", "docs/examples/cnnstat-check.yml", "docs/examples/cnnstat-comment.yml"]
)
def test_actions_are_pinned(file: str) -> None:
    """A tag can be moved to other code."""
    matches = list(PINNED.finditer((ROOT / file).read_text(encoding="utf-8")))
    assert matches
    for match in matches:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", match["action"]) and re.match(r" # v\d+\.\d+", match["version"])


HOSTILE = ("yaml", "typer", "click", "rich", "json", "pip", "cnnstat", "sitecustomize", "usercustomize", "runpy")


@pytest.fixture
def hostile(project: Path) -> Path:
    """A checkout whose files bear the names of modules, and leave a trace if they are imported."""
    for name in HOSTILE:
        (project / f"{name}.py").write_text(f"open({str(project / 'imported')!r}, 'a').write('{name} ')\n")
    return project


class TestHostileCheckout:
    @pytest.mark.parametrize("given", [{}, {"BASELINE_REF": "main"}, {"SOURCES": "vgg16", "ARGS": "--max-params 1G"}])
    def test_the_check_imports_nothing_of_it(self, hostile: Path, tmp_path_factory: Any, given: Any) -> None:
        temporary = tmp_path_factory.mktemp("runner")
        environment(temporary)
        done = run_step("check", hostile, temporary, **given, PYTHONPATH=str(hostile))
        assert done.returncode == 0, done.stdout + done.stderr
        assert not (hostile / "imported").exists() and (temporary / "cnnstat-check.md").stat().st_size

    def test_the_installation_imports_nothing_of_it(self, hostile: Path, tmp_path_factory: Any) -> None:
        temporary = tmp_path_factory.mktemp("runner")
        venv.create(temporary, symlinks=True)
        (package,) = temporary.glob("lib/python*/site-packages")
        (package / "pip.py").write_text(f"import sys; open({str(temporary / 'pip')!r}, 'w').write(str(sys.argv[1:]))")
        done = run_step("Install cnnstat", hostile, temporary, ACTION_PATH="/action", PYTHONPATH=str(hostile))
        assert done.returncode == 0, done.stdout + done.stderr
        assert not (hostile / "imported").exists() and "/action" in (temporary / "pip").read_text()

    def test_a_missing_report_is_a_failure(self, project: Path, tmp_path_factory: Any) -> None:
        temporary = tmp_path_factory.mktemp("runner")
        (temporary / "bin").mkdir()
        (temporary / "bin" / "python").write_text("#!/bin/sh\nexit 0\n")
        (temporary / "bin" / "python").chmod(0o755)
        done = run_step("check", project, temporary)
        assert done.returncode == 2 and "wrote no report" in done.stdout


class TestAction:
    def test_it_is_valid(self) -> None:
        validate(ACTION, "github-actions")

    def test_inputs_are_used_and_never_pasted_into_a_script(self) -> None:
        steps = ACTION["runs"]["steps"]
        text = json.dumps(steps)
        assert all(f"inputs.{name}" in text for name in ACTION["inputs"])
        assert not any("${{" in step.get("run", "") for step in steps)
        outputs = {output["value"] for output in ACTION["outputs"].values()}
        assert outputs == {"${{ steps.check.outputs.exit-code }}", "${{ steps.check.outputs.markdown }}"}

    @pytest.mark.parametrize(
        ("given", "code", "is_reported"),
        [
            ({}, 0, True),
            ({"ARGS": "--max-params '1 k'"}, 1, True),
            ({"SOURCES": "models/tiny.yaml", "BASELINE_REF": "main"}, 0, True),
            ({"SOURCES": "models/none.yaml"}, 2, False),
            ({"ARGS": "--max-params '1 k"}, 2, False),
            ({"SOURCES": "--exit-zero", "ARGS": "--max-params 1"}, 2, False),  # a file of the pull request's
            ({"SOURCES": "$(touch stolen)", "ARGS": "`touch stolen`; touch stolen"}, 2, False),
        ],
    )
    def test_its_script_runs(self, given: dict[str, str], code: int, is_reported: bool, project: Path) -> None:
        temporary = project / "runner"
        environment(temporary)
        done = run_step("check", project, temporary, **given)
        assert done.returncode == code, done.stdout + done.stderr
        assert (temporary / "cnnstat-check.md").exists() == is_reported
        assert (temporary / "summary").exists() == is_reported
        assert not (project / "stolen").exists()
        if is_reported:
            written = (temporary / "output").read_text()
            assert f"exit-code={code}\n" in written and f"markdown={temporary}/cnnstat-check.md\n" in written
            assert (temporary / "summary").read_text().startswith("### ")
        assert ("::error" in done.stdout) == (code != 0)


class TestExamples:
    @pytest.mark.parametrize("name", ["cnnstat-check", "cnnstat-comment"])
    def test_workflows_are_valid(self, name: str) -> None:
        # YAML 1.1 reads the key `on` as true
        document = yaml.safe_load((EXAMPLES / f"{name}.yml").read_text(encoding="utf-8").replace("\non:", '\n"on":'))
        validate(document, "github-workflows")
        assert "pull_request_target" not in document["on"]

    def test_the_gitlab_job_is_valid(self) -> None:
        validate(yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text(encoding="utf-8")), "gitlab-ci")

    def test_the_check_can_only_read_and_uses_inputs_that_exist(self) -> None:
        document = yaml.safe_load((EXAMPLES / "cnnstat-check.yml").read_text(encoding="utf-8"))
        assert document["permissions"] == {"contents": "read"}
        (job,) = document["jobs"].values()
        assert "permissions" not in job
        (step,) = (step for step in job["steps"] if "OWNER/cnnstat" in step.get("uses", ""))
        assert set(step["with"]) <= set(ACTION["inputs"])
        used = set(re.findall(r"outputs\.([\w-]+)", json.dumps(job)))
        assert used and used <= set(ACTION["outputs"])

    def test_the_comment_runs_nothing_of_the_pull_request(self) -> None:
        document = yaml.safe_load((EXAMPLES / "cnnstat-comment.yml").read_text(encoding="utf-8"))
        (job,) = document["jobs"].values()
        assert document["permissions"] == {} and job["permissions"]["pull-requests"] == "write"
        assert not any("checkout" in step.get("uses", "") for step in job["steps"])
        assert not any("${{" in step.get("run", "") for step in job["steps"])

    def test_both_workflows_mean_the_same_run_artifact_and_marker(self) -> None:
        from cnnstat.check.formats.pull_request_comment import MARKER

        check, comment = (
            (EXAMPLES / f"cnnstat-{name}.yml").read_text(encoding="utf-8") for name in ("check", "comment")
        )
        assert "name: cnnstat check\n" in check and "workflows: [cnnstat check]" in comment
        assert "name: cnnstat-check\n" in check and "name: cnnstat-check\n" in comment
        assert f"marker='{MARKER}'" in comment
        script = next(step["run"] for step in ACTION["runs"]["steps"] if step.get("id") == "check")
        assert "$RUNNER_TEMP/cnnstat-check.md" in script and "report/cnnstat-check.md" in comment

    def test_scripts_are_bash(self) -> None:
        bash = shutil.which("bash")
        if bash is None:
            pytest.skip("needs bash")
        comment = yaml.safe_load((EXAMPLES / "cnnstat-comment.yml").read_text(encoding="utf-8"))
        for step in comment["jobs"]["comment"]["steps"]:
            if "run" in step:
                subprocess.run([bash, "-n"], input=step["run"], text=True, check=True)


class TestHook:
    HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))

    def test_it_has_what_pre_commit_requires(self) -> None:
        (hook,) = self.HOOKS
        assert hook["id"] == "cnnstat-check" and hook["language"] == "python" and not hook["pass_filenames"]
        assert hook["entry"].split() == ["cnnstat", "check"]

    @pytest.mark.parametrize(
        ("file", "is_meant"),
        [
            ("models/tiny.yaml", True),
            ("a.yml", True),
            ("sub/pyproject.toml", True),
            ("a.toml", False),
            ("yaml.py", False),
        ],
    )
    def test_it_runs_when_a_spec_or_the_configuration_changes(self, file: str, is_meant: bool) -> None:
        assert bool(re.search(self.HOOKS[0]["files"], file)) == is_meant

    def test_the_guide_names_it(self) -> None:
        text = next(block for block in blocks("yaml") if block.startswith("repos:"))
        (repository,) = yaml.safe_load(text)["repos"]
        assert repository["hooks"][0]["id"] == self.HOOKS[0]["id"]
