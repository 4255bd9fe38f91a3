"""What all tests share: which cnnstat is tested, golden files, and the option that rewrites them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Networks here are small: several threads would spend most of their time waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests change modules that a kept trace was made from, and the user's own cache is not theirs.
os.environ["CNNSTAT_CACHE"] = ""
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # no test asserts an absolute time; machines are busy at times
settings.load_profile("unhurried")

# A runner's variables change what is printed (colour, width) and what `check` allows.
for name in [*os.environ]:
    if name == "CI" or name.startswith(("CI_", "GITHUB_")) or name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS"):
        del os.environ[name]

CHECKOUT = str(Path(__file__).resolve().parent.parent)
# Where cnnstat is not installed, tests and the processes that they start import it from the checkout, from any folder.
if importlib.util.find_spec("cnnstat") is None:
    sys.path.insert(0, CHECKOUT)
if CHECKOUT in (str(Path(folder).resolve()) for folder in sys.path):
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [CHECKOUT, os.environ.get("PYTHONPATH")]))

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="write what is printed now into tests/golden")


@pytest.fixture(scope="session")
def run_process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line as a process of its own."""

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cnnstat", *arguments]
        streams = {} if "stdout" in options else {"capture_output": True}
        return subprocess.run(command, **{**streams, "text": True, "encoding": "utf-8", **options})

    return run


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with the file of that name in tests/golden."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-goldens"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="")
        assert path.exists(), f"there is no {path.name}; run pytest --update-goldens"
        with path.open(encoding="utf-8", newline="") as file:
            assert text == file.read(), f"{path.name} differs; if that is meant, run pytest --update-goldens"

    return check
