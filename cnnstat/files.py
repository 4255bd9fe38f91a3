"""Files: read only as far as they should be long, and written beside the old one, whose place the new one then takes.

So a full disk, a signal or a second run leaves either the old content or the new, never half of one. The user's folder
for caches holds measured rooflines and traces of PyTorch models, and is safe to delete.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnstat.errors import CnnstatError

if TYPE_CHECKING:
    from rich.console import Console

LOCK_SECONDS = 30.0
"""The longest that one run waits for another that updates the same file."""
STALE_SECONDS = 600.0
"""Age from which a lock is taken for one that a killed run has left behind."""

_NO_WAITING = getattr(os, "O_NONBLOCK", 0)
_BINARY = getattr(os, "O_BINARY", 0)  # Windows would translate line ends
_NOT_BESIDE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV)
"""What a folder that takes no new file answers, or a file that is mounted by itself, as containers do."""


def exists(path: str | Path) -> bool:
    """Whether a path leads to something; one that cannot be looked at, as its name is too long, does not."""
    return os.path.exists(path)  # noqa: PTH110  # Path.exists raises for such a name


def is_file(path: str | Path) -> bool:
    """Whether a path leads to a regular file; False too for one that cannot be looked at."""
    return os.path.isfile(path)  # noqa: PTH113  # Path.is_file raises for a name that is too long


def resolved(path: Path) -> Path:
    """Return where a path leads by its links; one whose links go in a circle leads to where they begin."""
    return Path(os.path.realpath(path))  # Path.resolve raises RuntimeError for a circle before Python 3.13


def read_bytes(path: Path, most: int) -> bytes:
    """Return the content of a regular file, its first `most` + 1 bytes if it is longer; raises OSError.

    Never waits: a link may lead to a pipe that nobody writes to, or to one of the kernel's files that never end.
    """
    descriptor = os.open(path, os.O_RDONLY | _NO_WAITING | _BINARY)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a file")
        content = file.read(most + 1)
        if content is None:
            raise BlockingIOError(errno.EAGAIN, "has nothing to read yet")
        return content


def read_whole(path: Path, most: int, label: str, remedy: str) -> bytes:
    """Return the content of a regular file; raises CnnstatError where it cannot be read, or has more than `most` bytes.

    label: what messages call it; remedy: what they say where it is too long.
    """
    try:
        content = read_bytes(path, most)
    except OSError as error:
        raise CnnstatError(f"{label}: cannot be read: {error.strerror or error}") from None
    if len(content) > most:
        raise CnnstatError(f"{label}: larger than {most >> 20} MiB; {remedy}")
    return content


def parse_json(text: str, label: str, remedy: str, **options: Any) -> Any:
    """Return what a JSON text holds; options: of `json.loads`. Raises CnnstatError with the line and a remedy."""
    import json  # most commands read none

    try:
        return json.loads(text, **options)
    except (ValueError, RecursionError) as error:
        place = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise CnnstatError(f"{label}{place}: not valid JSON; {remedy}") from None


def path_from_here(path: Path) -> str:
    """Return a path from the current folder where that is shorter, as a person would write it."""
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive
        return str(path)
    return Path(relative).as_posix() if len(relative) <= len(str(path.absolute())) else str(path)


def content_digest(path: Path, most: int | None = None) -> str:
    """Return the SHA-256 of a regular file, read piece by piece; empty for one of more than `most` bytes.

    Raises OSError where it is missing, cannot be read or is no file.
    """
    descriptor = os.open(path, os.O_RDONLY | _NO_WAITING | _BINARY)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a file")
        if most is not None and status.st_size > most:
            return ""
        result = hashlib.sha256()
        while piece := file.read(1 << 20):
            result.update(piece)
        return result.hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8 with line ends as they are, whole or not at all; raises OSError."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all; raises OSError.

    A link stays a link, and permissions stay as they were. Devices and pipes, such as /dev/stdout, are written to.
    """
    target = Path(os.path.realpath(path))
    before = target.stat() if target.exists() else None
    if before is not None and not stat.S_ISREG(before.st_mode):
        _write_in_place(target, content)
        return
    beside = target.with_name(f".{target.name[:100]}.{os.getpid()}-{time.monotonic_ns():x}.tmp")
    try:
        _write_new(beside, content)
        if before is not None:
            beside.chmod(stat.S_IMODE(before.st_mode))
        beside.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        if before is None or not isinstance(error, OSError) or error.errno not in _NOT_BESIDE:
            raise
        _write_in_place(target, content)


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that does not exist yet, down to the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _write_in_place(path: Path, content: bytes) -> None:
    """Write to what is there already; raises OSError at once for a pipe that nobody reads."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | _NO_WAITING | _BINARY)
    except OSError as error:
        raise OSError(error.errno, "nobody reads this pipe" if error.errno == errno.ENXIO else error.strerror) from None
    if _NO_WAITING:
        os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def write_output(path: Path, content: str | bytes) -> None:
    """Write what `--output` names, in a folder that is made if it is missing; raises CnnstatError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content.encode("utf-8") if isinstance(content, str) else content)
    except OSError as error:
        raise CnnstatError(f"--output {path}: cannot be written: {error.strerror or error}") from None


def check_output(path: Path, sources: Iterable[str | Path] = (), option: str = "--output") -> None:
    """Raise CnnstatError if a file cannot be written, or is one that is read; called before anything is computed.

    sources: what the command reads, as users write it (`file.py:Class`); by whatever link, it is not written to.
    """
    try:
        if path.is_dir():
            raise CnnstatError(f"{option} {path}: is a folder; name a file in it")
        path.exists()
        if dead := next((place for place in path.absolute().parents if place.is_symlink() and not exists(place)), None):
            raise OSError(errno.ENOENT, f"{dead} is a link that leads nowhere")
    except OSError as error:  # its name is too long, too
        raise CnnstatError(f"{option} {str(path)[:200]}: {error.strerror}; name another file") from None
    there = next(place for place in (path, *path.absolute().parents) if exists(place))
    if there != path and not there.is_dir():
        raise CnnstatError(f"{option} {path}: {there} is no folder; name another file")
    if not os.access(there, os.W_OK):
        raise CnnstatError(f"{option} {path}: must not be written by you; name another file")
    try:
        if there != path:
            _try_new_file(there)
    except OSError as error:
        raise CnnstatError(f"{option} {path}: cannot be written: {error.strerror}; name another file") from None
    for source in sources if exists(path) else ():
        parts = str(source).split(":")
        # each colon may begin the name of a class, or belong to the path as in C:\\net.py
        for length in range(1, len(parts) + 1):
            head = ":".join(parts[:length])
            with contextlib.suppress(OSError, ValueError):
                if path.samefile(head):
                    raise CnnstatError(f"{option} {path}: would overwrite {head}, which is read; name another file")


def _try_new_file(folder: Path) -> None:
    """Raise OSError where a folder takes no new file, as those of the kernel take none even from root."""
    place = folder / f".cnnstat-{os.getpid()}-{time.monotonic_ns():x}.tmp"
    os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    place.unlink()


@contextmanager
def locked(path: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """While active, no other run that locks the same file does; raises CnnstatError after so many seconds.

    The lock is a file beside it, which works on every system and on network drives. One that a killed run has left is
    taken over once it is old.
    """
    target = Path(os.path.realpath(path))
    lock = target.with_name(f".{target.name[:100]}.lock")
    end = time.monotonic() + seconds
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            break
        except FileExistsError:
            with contextlib.suppress(OSError):
                if time.time() - lock.stat().st_mtime > STALE_SECONDS:
                    lock.unlink()
                    continue
            if time.monotonic() > end:
                raise CnnstatError(
                    f"{path}: another run has been updating it for {seconds:.0f} s; if none is, remove {lock}"
                ) from None
            time.sleep(0.05)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()


CACHE_VARIABLE = "CNNSTAT_CACHE"
"""The environment variable that names another folder; empty for no cache at all."""


def cache_folder() -> Path | None:
    """Return $CNNSTAT_CACHE, else the platform's folder for caches, which need not exist; None for no cache."""
    named = os.environ.get(CACHE_VARIABLE)
    if named is not None:
        return Path(named).expanduser() if named else None
    home = Path(os.path.expanduser("~"))  # noqa: PTH111  # Path.home() raises where there is none
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "cnnstat"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "cnnstat" / "Cache"
    # The specification has relative paths ignored (XDG Base Directory, version 0.8).
    xdg_folder = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(xdg_folder) if Path(xdg_folder).is_absolute() else home / ".cache") / "cnnstat"


FILE_WIDTH = 120
"""Columns of a table that is written to a file, unless COLUMNS says otherwise."""


@contextmanager
def open_output(path: Path | None) -> Iterator[Console]:
    """Yield a console on stdout or, where a path is given, on a buffer that is written once all went well."""
    from rich.console import Console

    if path is None:
        yield Console(highlight=False, markup=False, emoji=False, soft_wrap=False)
        return
    buffer = io.StringIO()
    width = int(columns) if (columns := os.environ.get("COLUMNS", "")).isdigit() else FILE_WIDTH
    yield Console(file=buffer, width=width, highlight=False, markup=False, emoji=False, color_system=None)
    write_output(path, buffer.getvalue())
