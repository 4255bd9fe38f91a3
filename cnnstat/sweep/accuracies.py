"""Measured accuracies of a user's, joined to the points of a sweep by their names or settings."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cnnstat.errors import CnnstatError
from cnnstat.files import read_whole
from cnnstat.sweep.evaluate import Record
from cnnstat.sweep.selection import ACCURACY

MAX_BYTES = 16 << 20
NAMES = ("source", "model", "modelname", "name", "network", "arch", "architecture", "backbone")
"""Heads of the column of names, the likeliest first; the first column where there is none of them."""

VALUES = ("accuracy", "top1", "top1accuracy", "top1acc", "acc1", "acc", "valacc", "testacc", "map", "miou", "score")
"""Heads of the column of accuracies, the likeliest first; else one that begins so, or the last column."""

MISSING = ("", "-", "–", "—", "?", "n/a", "na", "none", "null")
"""What stands where nothing was measured."""

_SETTING = re.compile(r"(\w+)\s*=\s*([^\s,;]+)")
_BETWEEN_NUMBERS = re.compile(r"(?<=\d),(?=\d)")


class Accuracies:
    """The accuracies of a table by what its lines are called."""

    def __init__(self, path: Path, values: Mapping[str, float]) -> None:
        self.path = path
        self._values = values
        self._used: set[str] = set()
        alike: dict[str, list[str]] = {}
        for name in values:
            alike.setdefault(_plain(name), []).append(name)
        # What two names with different values have in common says nothing.
        self._alike = {plain: same[0] for plain, same in alike.items() if len({values[name] for name in same}) == 1}

    @classmethod
    def read(cls, path: Path, settings: Sequence[str] = ()) -> Accuracies:
        """Return the accuracies of a table with a head line, its columns between commas, semicolons or tabs.

        settings: what varies; a table may have a column for each of them instead of names. Lines without a number are
        left out. Raises CnnstatError with the line that is wrong.
        """
        rows = _rows(path)
        (_, head), *lines = rows or [(1, [])]
        if not lines or len(head) < 2:
            raise CnnstatError(f"--accuracy {path}: needs a head line and lines of names and numbers, as in model,top1")
        heads = [_plain(cell) for cell in head]
        value_at = _column(heads, VALUES, len(head) - 1)
        if _number(head[value_at]) is not None:
            raise CnnstatError(
                f"--accuracy {path}:1: needs a head line, as in model,top1; {head[value_at]} is a number"
            )
        own = [cell.strip() for cell in head]
        by_setting = {key: own.index(key) for key in settings if key in own} if {*settings} <= {*own} else {}
        name_at = _column(heads, NAMES, -1 if by_setting else 0)
        values: dict[str, float] = {}
        for number, row in lines:
            cells = [row[at] if at < len(row) else "" for at in (value_at, name_at, *by_setting.values())]
            value = _number(cells[0])
            if value is None and cells[0].lower() in MISSING:
                continue
            if value is None or not -1e9 < value < 1e9:
                raise CnnstatError(f"--accuracy {path}:{number}: {cells[0][:40]!r} is no accuracy; write a number")
            parts = [cells[1]] if name_at >= 0 else []
            name = " ".join([*parts, *(f"{key}={cell}" for key, cell in zip(by_setting, cells[2:]))])
            if values.setdefault(name, value) != value:
                raise CnnstatError(f"--accuracy {path}:{number}: {name[:60]} has two accuracies; keep one")
        return cls(path, values)

    def joined(self, record: Record) -> Record:
        """Return a record with its accuracy; None where the table has none of its name."""
        name = next((name for each in _names(record) if (name := self._found(each)) is not None), None)
        if name is None:
            return {**record, ACCURACY: None}
        self._used.add(name)
        return {**record, ACCURACY: self._values[name]}

    def _found(self, name: str) -> str | None:
        return name if name in self._values else self._alike.get(_plain(name))

    @property
    def unused(self) -> tuple[str, ...]:
        """The names that no record has."""
        used = {_plain(name) for name in self._used}
        return tuple(name for name in self._values if _plain(name) not in used)


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return number and cells of each line, empty lines and comments (`# …`, `sep=;`) left out."""
    content = read_whole(path, MAX_BYTES, f"--accuracy {path}", "this is no table of accuracies")
    try:
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        first = next((line for line in text.splitlines() if not _is_comment(line)), "")
        delimiter = max(",;\t", key=first.count)
        reader = csv.reader(io.StringIO(text), delimiter=delimiter)
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except UnicodeDecodeError as error:
        raise CnnstatError(f"--accuracy {path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except csv.Error as error:
        raise CnnstatError(f"--accuracy {path}: cannot be read: {error}") from None
    return [(number, cells) for number, cells in rows if any(cells) and not _is_comment(cells[0])]


def _is_comment(line: str) -> bool:
    return not line.strip() or line.startswith("#") or line.lower().startswith("sep=")


def _column(heads: Sequence[str], likely: Sequence[str], otherwise: int) -> int:
    """Return which column has the likeliest head, or one that begins so."""
    for name in likely:
        if name in heads:
            return heads.index(name)
    starts = (at for name in likely for at, head in enumerate(heads) if len(name) > 3 and head.startswith(name))
    return next(starts, otherwise)


def _number(cell: str) -> float | None:
    """Return the number of a cell, with a sign of percent or a comma for its point; None if it is none."""
    try:
        value = float(_BETWEEN_NUMBERS.sub(".", cell.removesuffix("%").strip()))
    except ValueError:
        return None
    return None if value != value else value


def _plain(name: str) -> str:
    """Return what names that people write for the same have in common: ResNet-50, resnet_50; settings in any order."""
    settings = sorted(f"{key}={value}" for key, value in _SETTING.findall(name))
    words = re.sub(r"[\W_]+", "", _SETTING.sub("", name).casefold())
    return " ".join([words, *settings]).strip()


def _names(record: Record) -> Iterator[str]:
    """Yield what a table may call a point, the most exact first; settings tell variants of one source apart."""
    source = str(record["source"])
    settings = " ".join(f"{key}={value}" for key, value in record["settings"].items())
    plain = (source, source.rpartition(":")[2], Path(source).name, Path(source).stem)
    if settings:
        yield from (f"{each} {settings}" for each in plain)
        yield settings
        if len(record["settings"]) == 1:
            yield from map(str, record["settings"].values())
    yield from plain
