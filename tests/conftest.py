"""What all tests share: golden files, and the option that rewrites them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

# Networks here are small: several threads would spend most of their time waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # no test asserts an absolute time; machines are busy at times
settings.load_profile("unhurried")

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="write what is printed now into tests/golden")


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
