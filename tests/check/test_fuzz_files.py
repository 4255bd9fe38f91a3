"""Whatever files are called, lead to or hold, the answer is a result or one readable error."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from git_history import spec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnstat import cli
from cnnstat.check.baseline import baseline_text, parse_baseline
from cnnstat.check.configuration import ModelSettings, Settings, load_settings
from cnnstat.check.model_figures import analyze_model
from cnnstat.errors import CnnstatError
from cnnstat.profile.profile_json import parse_profile

fuzzing = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
PIECES = (
    *("a", "net", ".yaml", ".yml", ".json", ".py", "..", "é", "\udc80", "\x1b[31m", "\u202e", "\n", "\t", " "),
    *(":", "::", "::error::x", "=1+1", "@team", "-", "--", "'", '"', "`", "|", "%", "*", "?", "[", "$(id)", ";", "\\"),
)
FILE_NAMES = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Stand in an empty folder."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


def run(*arguments: str) -> tuple[int, str]:
    """Return exit code and all output of a command line."""
    out, err = io.StringIO(), io.StringIO()
    streams = patch.multiple("sys", argv=["cnnstat", *arguments], stdout=out, stderr=err)
    with streams, pytest.raises(SystemExit) as stop:
        cli.main()
    assert "internal error" not in err.getvalue(), err.getvalue()
    return int(stop.value.code or 0), out.getvalue() + err.getvalue()


def check_inert(text: str) -> None:
    for line in text.splitlines():
        assert not line.lstrip().startswith("::") or line.startswith(("::error ", "::warning ", "::notice ")), line
    assert not any(ord(c) < 32 and c not in "\n\t\r" or c in "\x9b\u202e" for c in text), ascii(text)


@pytest.mark.skipif(os.name != "posix", reason="other systems refuse such names")
@fuzzing
@given(name=FILE_NAMES)
def test_file_names(name: str) -> None:
    with folder() as here:
        try:
            (here / name).write_text(spec(8))
        except (OSError, ValueError):  # no name of a file
            return
        for arguments in (("analyze", "--", name), ("check", "--max-params", "1", "-f", "github", "--", name)):
            code, text = run(*arguments)
            assert code in (0, 1, 2, 3)
            check_inert(text)


LINKS = st.sampled_from(["a.yaml", "b.yaml", "c", "d/e.yaml", "cnnstat.toml"])


@pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX")
@fuzzing
@given(
    links=st.lists(st.tuples(*[st.sampled_from(["a.yaml", "b.yaml", "c", "d/e.yaml", "cnnstat.toml"])] * 2), max_size=5)
)
def test_links(links: list[tuple[str, str]]) -> None:
    """Links lead to specs, in circles, to folders, pipes, devices and nothing."""
    with folder() as here:
        (here / "d").mkdir()
        os.mkfifo(here / "c")
        for name, target in links:
            with contextlib.suppress(OSError):
                (here / name).symlink_to(here / target if name < target else "/dev/zero")
        if not (here / "b.yaml").is_symlink():
            (here / "b.yaml").write_text(spec(8))
        for arguments in (("analyze", "a.yaml"), ("check", "a.yaml", "--max-params", "1"), ("check",)):
            code, text = run(*arguments)
            assert code in (0, 1, 2, 3)
            check_inert(text)


WORDS = r"""
[check] [[check.models]] [tool.cnnstat.check] [check.budgets] check: models: budgets: source = name a.b.c & * ! # ' "
"tiny.yaml" "**/*.yaml" "[" "::error::x" : - , { } [ ] 1 -1 1e999 true null "5_M" "2%" max max_increase params latency
level "fail" baseline baseline_ref "main" input inputs [3,8,8] "3x8x8" batch dtype "float16" set arguments mode "train"
optimizer "adam" source: tiny.yaml budgets.params.max device threads
"""
WORD = st.sampled_from([*WORDS.split(), "\x1b[31m", "\udc80"])
CONFIGURATIONS = st.lists(st.tuples(WORD, st.sampled_from([" ", "\n", "\n  ", ""])), max_size=25).map(
    lambda pairs: "".join(word + blank for word, blank in pairs)
)


@pytest.mark.parametrize("name", ["cnnstat.toml", "cnnstat.yaml", "pyproject.toml"])
@settings(fuzzing, max_examples=150)
@given(text=CONFIGURATIONS)
def test_configurations(name: str, text: str) -> None:
    with folder() as here:
        (here / "tiny.yaml").write_text(spec(8))
        (here / name).write_text(text, encoding="utf-8", errors="surrogateescape")
        try:
            assert isinstance(load_settings(Path(name)), Settings)
        except CnnstatError as error:
            assert str(error).strip()


@pytest.fixture(scope="module")
def baseline() -> str:
    return baseline_text({"lenet5": analyze_model("lenet5", ModelSettings(source="lenet5", name="lenet5"))})


@settings(fuzzing, max_examples=200)
@given(
    cuts=st.lists(
        st.tuples(st.integers(0, 5000), st.integers(0, 40), st.sampled_from(["", "0", "[", '"', "null"])), max_size=3
    )
)
def test_baselines_and_profiles_are_refused_or_read(baseline: str, cuts: list[tuple[int, int, str]]) -> None:
    text = baseline
    for start, length, instead in cuts:
        text = text[:start] + instead + text[start + length :]
    for parse in (parse_baseline, parse_profile):
        try:
            parse(text, "file.json")
        except CnnstatError as error:
            assert str(error).startswith("file.json")
    with contextlib.suppress(ValueError):
        assert isinstance(json.loads(baseline), dict)
