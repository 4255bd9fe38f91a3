"""Files that the docs for contributors name are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("CONTRIBUTING.md", "docs/architecture.md", "docs/how-a-run-flows.md")


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    names = {name for name in re.findall(r"`((?:\w[\w.-]*/)*[\w-]+\.py|(?:[\w-]+/)+)`", text) if "name" not in name}
    assert names
    # Pages leave out the folder that they are about.
    missing = [name for name in names if not (ROOT / name).exists() and not any((ROOT / "cnnstat").rglob(name))]
    assert not missing


def test_the_architecture_names_every_folder_and_file_of_the_package() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "cnnstat"
    parts = [f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").exists()]
    parts += [path.name for path in package.glob("*.py") if not path.name.startswith("__")]
    assert len(parts) > 20
    assert [part for part in sorted(parts) if part not in text] == []
