"""The zoo: the networks that ship with cnnstat, one YAML file each."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from cnnstat.errors import SourceError, did_you_mean
from cnnstat.spec import SUFFIXES as SUFFIXES


@cache
def directory() -> Path:
    """Return the folder of the zoo: inside the installed package, or beside it in a source checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "specs"
    return installed if installed.is_dir() else package.parent / "specs"


@cache
def names() -> tuple[str, ...]:
    """Return the names of all networks, sorted, numbers by their value: resnet18 before resnet101."""
    return tuple(sorted((path.stem for path in directory().glob("*.yaml")), key=_natural))


def _natural(name: str) -> list[tuple[str, int]]:
    """Return what sorts a name: its parts, letters as letters and digits as numbers."""
    return [(letters, int(digits or 0)) for letters, digits in re.findall(r"(\D*)(\d*)", name)]


def path(name: str) -> Path:
    """Return the file of a network; raises SourceError with the nearest name if there is none."""
    if name not in names():
        raise SourceError(f"{name[:100]}: no such network in the zoo{did_you_mean(name, names())}")
    return directory() / f"{name}.yaml"


def find(name: str, beside: Path) -> Path:
    """Return the file that `extends: name` means: a network of the zoo, or a .yaml file relative to `beside`."""
    if name.endswith(SUFFIXES):
        return beside / name
    return path(name)
