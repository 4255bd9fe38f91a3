"""Files of points: one JSON line for each, appended as it is ready, so that a killed sweep goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cnnstat.errors import CnnstatError
from cnnstat.sweep.evaluate import SCHEMA, Record

MAX_LINE = 1 << 20
"""Longest line that is taken for a point."""


_START = f'{{"schema": "{SCHEMA}"'.encode()
"""What every line begins with, half a line too."""


def line_of(record: Record) -> str:
    """Return a record as its line: ASCII throughout, the same for the same record."""
    return json.dumps(record, allow_nan=False) + "\n"


def key_of(*parts: Any) -> str:
    """Return what is equal for two points only if all that their figures depend on is equal."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=repr).encode()).hexdigest()[:32]


class PointFile:
    """A file of points, whose lines may be in any order while the sweep runs and are put in order at its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[int, int] = {}  # byte offset of each point's line, by the point's number
        self._file: Any = None
        self.stale = 0

    def open(self, is_current: Callable[[Record], bool]) -> None:
        """Open the file for more points; those that it holds already stay if they are still current.

        Raises CnnstatError where it cannot be written, or holds something else than points.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
        except OSError as error:
            raise CnnstatError(f"--output {self.path}: cannot be written: {error.strerror or error}") from None
        end = 0
        try:
            self._lock()
            for place, line, record in self._lines():
                end = place + len(line)
                if is_current(record) and record["point"] not in self._places:
                    self._places[record["point"]] = place
                else:
                    self.stale += 1
            self._file.truncate(end)  # half a line, which a killed run has left
        except BaseException:
            self.close()
            raise

    def _lock(self) -> None:
        """Keep other sweeps out until the file is closed, or the process ends however it may."""
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CnnstatError(f"--output {self.path}: another sweep is writing it; name another file") from None
        except OSError:
            return  # a file system without locks

    def _lines(self) -> Iterator[tuple[int, bytes, Record]]:
        """Yield place, text and record of each whole line."""
        self._file.seek(0)
        place = 0
        while line := self._file.readline(MAX_LINE):
            if not line.endswith(b"\n"):
                if line[: len(_START)] != _START[: len(line)]:
                    raise self._foreign(self._line_number(place))
                return
            try:
                record = json.loads(line)
                is_point = record["schema"] == SCHEMA and type(record["point"]) is int and "settings" in record
            except (ValueError, TypeError, KeyError, RecursionError):
                is_point = False
            if not is_point:
                raise self._foreign(self._line_number(place))
            yield place, line, record
            place += len(line)

    def _line_number(self, place: int) -> int:
        self._file.seek(0)
        return self._file.read(place).count(b"\n") + 1  # type: ignore[no-any-return]

    def _foreign(self, number: int) -> CnnstatError:
        return CnnstatError(
            f"--output {self.path}:{number}: is no point of a sweep; name another file, or remove this one"
        )

    def __contains__(self, number: int) -> bool:
        return number in self._places

    def __len__(self) -> int:
        return len(self._places)

    def add(self, record: Record) -> None:
        """Append a record; it is in the file when this returns, even if the process is killed then."""
        try:
            self._file.seek(0, os.SEEK_END)
            place = self._file.tell()
            self._file.write(line_of(record).encode())
            self._file.flush()
        except OSError as error:
            raise CnnstatError(f"--output {self.path}: cannot be written: {error.strerror or error}") from None
        self._places[record["point"]] = place

    @property
    def numbers(self) -> list[int]:
        """The numbers of all points, in order."""
        return sorted(self._places)

    def records(self) -> Iterator[Record]:
        """Yield all records, by their numbers."""
        for number in sorted(self._places):
            yield json.loads(self._line(number))

    def _line(self, number: int) -> bytes:
        self._file.seek(self._places[number])
        return self._file.readline()  # type: ignore[no-any-return]

    def finish(self, numbers: Sequence[int] | None = None, change: Callable[[Record], Record] | None = None) -> None:
        """Leave the lines of these points in this order, all by their numbers unless given; replaced as a whole.

        change: returns a record with more in it, such as a measured accuracy.
        """
        order = sorted(self._places) if numbers is None else numbers
        places = [self._places[number] for number in order]
        if change or self.stale or places != sorted(places) or len(order) != len(self._places):
            beside = self.path.with_name(f".{self.path.name[:100]}.{os.getpid()}.tmp")
            try:
                with beside.open("wb") as ordered:
                    for number in order:
                        line = self._line(number)
                        ordered.write(line_of(change(json.loads(line))).encode() if change else line)
                    ordered.flush()
                    os.fsync(ordered.fileno())
                beside.replace(os.path.realpath(self.path))
            except OSError as error:
                with suppress(OSError):
                    beside.unlink()
                raise CnnstatError(f"--output {self.path}: cannot be written: {error.strerror or error}") from None
        self.close()

    @staticmethod
    def read(path: Path) -> Iterator[Record]:
        """Yield the records of a finished file."""
        with path.open("rb") as file:
            yield from map(json.loads, file)

    def remove(self) -> None:
        """Close the file and remove it: what it held has been written elsewhere."""
        self.close()
        with suppress(OSError):
            self.path.unlink()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
