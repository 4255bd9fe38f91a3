"""Configuration: finding and reading `[tool.cnnstat.check]` of pyproject.toml, cnnstat.toml or cnnstat.yaml."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cnnstat.check.settings import Settings, read_settings
from cnnstat.check.sources import from_here
from cnnstat.check.tables import ConfigurationError, Tables
from cnnstat.check.tables import Path as Keys
from cnnstat.check.toml_places import places as toml_places
from cnnstat.errors import CnnstatError, Location, Problem
from cnnstat.spec.text_file import read_text
from cnnstat.spec.tree import Mapping, Scalar, Sequence, Tree
from cnnstat.spec.yaml_tree import parse

NAMES = ("cnnstat.toml", "cnnstat.yaml", "cnnstat.yml", "pyproject.toml")
TOOL_KEYS = ("check",)
"""Parts of `[tool.cnnstat]`; there is one so far."""

MAX_BYTES = 2**20
"""Largest configuration that is read."""
MAX_VALUES = 50_000
"""Most values of a configuration in YAML, an alias counted as all that it stands for."""
MAX_PARTS = 100
"""Most parts of a dotted key; reading one takes time in proportion to the square of its length."""

_LONG_KEY = re.compile(rf"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){{{MAX_PARTS}}}""")
_TOML_PLACE = re.compile(r"\s*\(at line (?P<line>\d+), column (?P<column>\d+)\)|\s*\(at end of document\)")


def find_settings(start: Path) -> Settings | None:
    """Return the settings of the nearest configuration, from a folder upwards to the repository's root.

    Without a repository only `start` itself is looked at. Raises ConfigurationError if the one found has faults, and
    CnnstatError if one folder has two.
    """
    for folder in _folders(start):
        tables = [t for name in NAMES if (folder / name).is_file() and (t := _tables(folder / name)) is not None]
        if len(tables) > 1:
            both = " and ".join(found.file for found in tables[:2])
            raise CnnstatError(f"{both} both configure `check`; keep one, or choose with --config")
        if tables:
            return read_settings(tables[0], folder)
    return None


def load_settings(path: Path) -> Settings:
    """Return the settings in a file that the user names; raises CnnstatError or ConfigurationError."""
    if not path.is_file():
        raise CnnstatError(f"--config {path}: there is no such file")
    tables = _tables(path)
    if tables is None:
        wanted = "[tool.cnnstat.check]" if path.name == "pyproject.toml" else "check"
        raise CnnstatError(f"--config {path}: has no {wanted}")
    return read_settings(tables, path.parent)


def _folders(start: Path) -> Iterator[Path]:
    """Yield the folders to look into."""
    start = start.resolve()
    upwards = (start, *start.parents)
    root = next((number for number, folder in enumerate(upwards) if (folder / ".git").exists()), 0)
    yield from upwards[: root + 1]


def _tables(path: Path) -> Tables | None:
    """Return the part of a file that configures `check`, None if it has none."""
    file = from_here(path)
    text = read_text(path, MAX_BYTES, "this is no configuration")
    if not text.strip():
        return None
    is_yaml = path.suffix in (".yaml", ".yml")
    values, places = _yaml(text, file) if is_yaml else _toml(text, file)
    root: Keys = ("tool", "cnnstat") if path.name == "pyproject.toml" else ()
    tables = Tables(file, values, places, root)
    found = tables.get(())
    if found is None:
        return None
    tables.table((), TOOL_KEYS)
    tables.finish()
    if not isinstance(found, dict) or "check" not in found:
        return None
    tables.root = (*root, "check")
    return tables


def _toml(text: str, file: str) -> tuple[Any, dict[Keys, tuple[int, int]]]:
    """Return the values of a TOML text and where they stand."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    if found := _LONG_KEY.search(text):
        place = Location(file, text.count("\n", 0, found.start()) + 1, 1)
        raise ConfigurationError([Problem(place, f"a key has more than {MAX_PARTS} parts")])
    try:
        values = tomllib.loads(text)
        _check_numbers(values)
        is_read = "cnnstat" in text or file.endswith("cnnstat.toml")
        return values, toml_places(text) if is_read else {}
    except tomllib.TOMLDecodeError as error:
        match = _TOML_PLACE.search(str(error))
        line, column = (match["line"] or 1, match["column"] or 1) if match else (1, 1)
        said = f"not valid TOML: {_TOML_PLACE.sub('', str(error))}"
        raise ConfigurationError([Problem(Location(file, int(line), int(column)), said)]) from None
    except ValueError:
        said = "a number has too many digits; TOML's have 64 bits"
        raise ConfigurationError([Problem(Location(file, 1, 1), said)]) from None
    except RecursionError:
        raise ConfigurationError([Problem(Location(file, 1, 1), "nested too deeply")]) from None


def _check_numbers(value: Any) -> None:
    """Raise ValueError if a whole number within a value has more than 64 bits."""
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            _check_numbers(inner)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError


def _yaml(text: str, file: str) -> tuple[Any, dict[Keys, tuple[int, int]]]:
    """Return the values of a YAML text and where they stand."""
    places: dict[Keys, tuple[int, int]] = {}
    return _plain(parse(text, file), (), places), places


def _plain(tree: Tree, path: Keys, places: dict[Keys, tuple[int, int]]) -> Any:
    """Return the plain value of a tree, and note where its parts stand."""
    if len(places) > MAX_VALUES:
        raise ConfigurationError([Problem(tree.location, f"more than {MAX_VALUES:,} values by here; keep it short")])
    places.setdefault(path, (tree.location.line, tree.location.column))
    if isinstance(tree, Mapping):
        values = {}
        for key, (scalar, value) in tree.entries.items():
            inside = (*path, key)
            places[inside] = (scalar.location.line, scalar.location.column)
            values[key] = _plain(value, inside, places)
        return values
    if isinstance(tree, Sequence):
        return [_plain(item, (*path, number), places) for number, item in enumerate(tree.items)]
    assert isinstance(tree, Scalar)
    return tree.value
