"""Measured accuracies of a user's, joined to the points of a sweep by their names."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from cnnstat.errors import CnnstatError
from cnnstat.files import read_bytes
from cnnstat.sweep.evaluate import Record
from cnnstat.sweep.selection import ACCURACY

MAX_BYTES = 16 << 20
NAMES = ("source", "model", "name", "network", "arch")
"""Heads of the column of names, the likeliest first; the first column where there is none of them."""

VALUES = ("accuracy", "top1", "top-1", "top_1", "acc@1", "acc1", "acc", "map", "miou")
"""Heads of the column of accuracies, the likeliest first; the last column where there is none of them."""


class Accuracies:
    """The accuracies of a CSV file by name: a source, its part behind the colon, a file's stem, or with settings."""

    def __init__(self, path: Path, values: Mapping[str, float]) -> None:
        self.path = path
        self._values = values
        self._used: set[str] = set()

    @classmethod
    def read(cls, path: Path) -> Accuracies:
        """Return the accuracies of a file with a head line; raises CnnstatError with the line that is wrong."""
        try:
            text = read_bytes(path, MAX_BYTES).decode("utf-8-sig")
            rows = [row for row in csv.reader(io.StringIO(text)) if any(cell.strip() for cell in row)]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise CnnstatError(
                f"--accuracy {path}: cannot be read: {getattr(error, 'strerror', '') or error}"
            ) from None
        if len(rows) < 2 or len(rows[0]) < 2:
            raise CnnstatError(f"--accuracy {path}: needs a head line and lines of names and numbers, as in model,top1")
        head = [cell.strip().lower() for cell in rows[0]]
        name_at = next((head.index(name) for name in NAMES if name in head), 0)
        value_at = next((head.index(name) for name in VALUES if name in head), len(head) - 1)
        values: dict[str, float] = {}
        for number, row in enumerate(rows[1:], start=2):
            try:
                name, value = row[name_at].strip(), float(row[value_at].strip().removesuffix("%"))
            except (IndexError, ValueError):
                what = row[value_at][:40] if len(row) > value_at else "nothing"
                raise CnnstatError(f"--accuracy {path}:{number}: {what!r} is no accuracy; write a number") from None
            if not -1e9 < value < 1e9:
                raise CnnstatError(f"--accuracy {path}:{number}: {value} is no accuracy; write a number")
            if values.setdefault(name, value) != value:
                raise CnnstatError(f"--accuracy {path}:{number}: {name[:60]} has two accuracies; keep one")
        return cls(path, values)

    def joined(self, record: Record) -> Record:
        """Return a record with its accuracy; None where the file has none of its name."""
        name = next((name for name in _names(record) if name in self._values), None)
        if name is None:
            return {**record, ACCURACY: None}
        self._used.add(name)
        return {**record, ACCURACY: self._values[name]}

    @property
    def unused(self) -> tuple[str, ...]:
        """The names that no record has."""
        return tuple(name for name in self._values if name not in self._used)


def _names(record: Record) -> tuple[str, ...]:
    """Return what a file may call a point, the most exact first; settings tell variants of one source apart."""
    source = str(record["source"])
    settings = " ".join(f"{key}={value}" for key, value in record["settings"].items())
    plain = (source, source.rpartition(":")[2], Path(source).stem)
    if not settings:
        return plain
    values = [str(value) for value in record["settings"].values()]
    return (*(f"{each} {settings}" for each in plain), settings, *values * (len(values) == 1), *plain)
