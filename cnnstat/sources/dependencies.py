"""What a model of Python code depends on: files it was read from, packages, environment variables it asked for.

All that ran or was opened while the model was built and traced is noted; a model whose dependencies are unchanged has
the same graph. Where something is asked that cannot be noted (another process, the network), there is a reason why
nothing may be concluded.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import stat
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, wraps
from importlib.machinery import PathFinder
from pathlib import Path
from types import FrameType
from typing import Any

from cnnstat.choices import words
from cnnstat.files import content_digest
from cnnstat.sources import watched_calls

MAX_FILE = 64 << 20
"""Largest file whose content is noted; a model that reads a larger one is not kept."""

_NOT_FILES = ("/proc/", "/sys/", "/dev/")

_REFUSED = {
    "socket.connect": "the network",
    "socket.getaddrinfo": "the network",
    "socket.gethostname": "the name of the machine",
    "sqlite3.connect": "a database",
    "ctypes.dlopen": "native code",
    "subprocess.Popen": "another process",
    "os.system": "another process",
    "os.posix_spawn": "another process",
    "os.fork": "another process",
    "os.exec": "another process",
    "os.spawn": "another process",
    "os.forkpty": "another process",
    "os.listdir": "which files there are",
    "os.scandir": "which files there are",
}
"""Events (PEP 578) after which the same files may give another model, and what they ask."""

_NATIVE_READERS = ("cv2", "h5py", "lmdb", "netCDF4", "osgeo", "pyarrow", "rasterio", "safetensors", "tables")
"""Packages that open files by native code, which nobody sees."""

_CLOCK = re.compile(r"\b(?:now|utcnow|today)\s*\(")
"""What asks for the date in Python's datetime, whose classes cannot be watched."""

_FRAMEWORK = words("torch torchvision timm numpy triton sympy mpmath networkx PIL torchgen pkg_resources setuptools")
"""Packages that look through folders and variables for themselves: for plug-ins and caches."""

_WATCHING = (
    __file__,
    watched_calls.__file__,
    *(str(Path(__file__).parents[1] / "pytorch" / f"{name}.py") for name in ("random_generators", "thread_changes")),
)
"""Files whose functions stand between the code that asks and what it asks."""

_ALWAYS = ("PYTHONPATH", "PYTHONHASHSEED", "CUDA_VISIBLE_DEVICES")
_DRIVER = "/proc/driver/nvidia/version"


@dataclass(frozen=True)
class Dependencies:
    """What a model was made from.

    files: SHA-256 of files of the user's, by path; empty text for one that was looked for and is missing.
    stamps: time of change in ns of those that were asked about, and not only read.
    installed: time of change in ns and size of files of installed packages, by path.
    environment: values of the variables that were asked for; None for one that was not set. Under an empty name the
        digest of all variables, if all were looked through.
    modules: where in `folders`, the user's folders that Python looks for modules in, each imported package lies; empty
        text for one that lies elsewhere or was not found.
    refused: why nothing may be concluded from unchanged files; empty if there is no reason.
    """

    files: Mapping[str, str]
    stamps: Mapping[str, int]
    installed: Mapping[str, tuple[int, int]]
    environment: Mapping[str, str | None]
    modules: Mapping[str, str]
    folders: tuple[str, ...]
    refused: str = ""

    def are_unchanged(self) -> bool:
        """Whether everything is as it was."""
        return (
            not self.refused
            and all(_variable(name) == value for name, value in self.environment.items())
            and all(_digest(path) == digest for path, digest in self.files.items())
            and all(_mark(path) == tuple(mark) for path, mark in self.installed.items())
            and all(_mark(path)[0] == stamp for path, stamp in self.stamps.items())
            and all(_place(name, self.folders) == place for name, place in self.modules.items())
        )

    def of_user(self) -> Dependencies:
        """Return the same without the files of installed packages, whose versions are known elsewhere."""
        return replace(self, installed={})

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values; `from_json` reads them."""
        return {
            "files": dict(self.files),
            "stamps": dict(self.stamps),
            "installed": {path: list(mark) for path, mark in self.installed.items()},
            "environment": dict(self.environment),
            "modules": dict(self.modules),
            "folders": list(self.folders),
            "refused": self.refused,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Dependencies:
        """Return the dependencies that `to_json` wrote; raises KeyError, TypeError or ValueError for anything else."""
        marks = {str(path): (int(time), int(size)) for path, (time, size) in values["installed"].items()}
        return cls(
            dict(values["files"]),
            {str(path): int(stamp) for path, stamp in values["stamps"].items()},
            marks,
            dict(values["environment"]),
            dict(values["modules"]),
            tuple(map(str, values["folders"])),
            str(values["refused"]),
        )


def _digest(path: str) -> str:
    """Return the SHA-256 of a file, behind what a link names; empty for one that is missing or cannot be read."""
    try:
        link = f"{os.readlink(path)} " if os.path.islink(path) else ""
        return f"{link}{content_digest(Path(path), MAX_FILE) or 'too large'}"
    except (OSError, ValueError):
        return "directory" if os.path.isdir(path) else ""


def _mark(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


def _place(module: str, folders: Sequence[str]) -> str:
    """Return the file that a package or module is read from if it lies in one of some folders; empty otherwise."""
    try:
        spec = PathFinder.find_spec(module, folders)
    except (ImportError, ValueError, AttributeError):
        return ""
    return "" if spec is None else str(spec.origin or spec.submodule_search_locations)


def _variable(name: str) -> str | None:
    """Return an environment variable; the digest of all for an empty name."""
    if name:
        return os.environ.get(name)
    # The shell sets the last one, which names the program that is run, anew each time.
    texts = sorted(f"{key}={value}" for key, value in _plain_environment().items() if key != "_")
    return hashlib.sha256("\0".join(texts).encode(errors="surrogateescape")).hexdigest()


# Noting ---------------------------------------------------------------------------------------------------------------


class Notes:
    """What has been asked for since recording began in this process; it only grows, as imports happen once."""

    def __init__(self) -> None:
        self.opened: set[str] = set()
        self.looked_for: set[str] = set()
        self.imported: set[str] = set()
        self.variables: dict[str, str | None] = {}
        self.refused = ""
        self.asks_distributions = False
        self.active = 0

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note an event of the interpreter; called for each, so that the commonest are left at once."""
        if not self.active:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, (str, bytes)) and not (isinstance(flags, int) and flags & os.O_WRONLY):
                name = os.path.abspath(os.fsdecode(path))
                self.opened.add(name)
                if name.startswith(_NOT_FILES):
                    self.refuse("the machine")
        elif event == "import":
            self.imported.add(str(arguments[0]))
            top = str(arguments[0]).partition(".")[0]
            if top in _NATIVE_READERS:
                self.refuse("files by native code")
        elif event == "os.listdir" and sys._getframe(1).f_code.co_filename == importlib.metadata.__file__:
            self.asks_distributions = True
        elif event in _REFUSED and not self.refused and not _is_framework(_asker()):
            self.refused = f"it asks {_REFUSED[event]}"

    def refuse(self, what: str) -> None:
        """Note that nothing may be concluded, if the code that asks is not that of a framework."""
        if self.active and not self.refused and not _is_framework(_asker()):
            self.refused = f"it asks {what}"

    def refuse_direct(self, what: str) -> None:
        """Do the same if the code that asks is not of Python's own library either."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename in _WATCHING:
            frame = frame.f_back
        if frame is not None and not _is_standard(frame.f_code.co_filename):
            self.refuse(what)

    def module(self, name: str) -> None:
        """Note that a module is looked for."""
        if self.active:
            self.imported.add(name)

    def variable(self, name: str) -> None:
        """Note that an environment variable is asked for, with its value at first; an empty name for all of them."""
        if self.active and name not in self.variables and (name or not _is_framework(_asker())):
            self.variables[name] = _plain_environment().get(name) if name else _variable("")

    def looking_for(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function such as os.stat that notes which file it is asked about."""

        @wraps(function)
        def noting(path: Any, *arguments: Any, **options: Any) -> Any:
            if self.active and isinstance(path, (str, bytes, os.PathLike)) and options.get("dir_fd") is None:
                self.looked_for.add(os.path.abspath(os.fsdecode(path)))
            return function(path, *arguments, **options)

        return noting


def _asker() -> str:
    """Return the file of the code that asks: the nearest that is not Python's own, as glob is; empty for an import.

    What an installed package asks while it is imported is an import too: its version says what it is.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename in _WATCHING:
        frame = frame.f_back
    if frame is None or frame.f_code.co_filename.startswith("<frozen importlib"):
        return ""
    asker = ""
    while frame is not None:
        file = frame.f_code.co_filename
        if asker and file.startswith("<frozen importlib"):
            return ""
        if not _is_standard(file):
            if not is_installed(file):
                return asker or file
            asker = asker or file
        frame = frame.f_back
    return asker


def _is_standard(file: str) -> bool:
    """Whether a file is of Python's own library."""
    return file.startswith(("<frozen ", *_standard_folders())) and f"-packages{os.sep}" not in file


def _is_framework(file: str) -> bool:
    """Whether a file is of cnnstat, or of a package whose version says all: what these look through is not the model's.

    An empty file is Python itself, which looks for a module that is noted anyway.
    """
    return not file or file.startswith(_framework_folders())


@cache
def _standard_folders() -> tuple[str, ...]:
    return tuple(f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib"))


@cache
def _framework_folders() -> tuple[str, ...]:
    packages = {os.path.join(sysconfig.get_path(name), each) for name in ("purelib", "platlib") for each in _FRAMEWORK}
    return tuple(f"{folder}{os.sep}" for folder in (*packages, str(Path(__file__).resolve().parent.parent)))


_notes: Notes | None = None


def _plain_environment() -> dict[str, str]:
    """Return the environment without asking the object that notes what it is asked."""
    decode = os.environ.decodevalue
    key = os.environ.decodekey
    return {key(name): decode(value) for name, value in os.environ._data.items()}  # type: ignore[attr-defined]


def _start() -> Notes:
    """Return the notes of this process, whose audit hook is set once: Python cannot take one back."""
    global _notes
    if _notes is None:
        _notes = Notes()
        sys.addaudithook(_notes.audit)
    return _notes


@contextmanager
def recording() -> Iterator[Callable[[], Dependencies]]:
    """While active, note what a model is made from; yields a function that returns it.

    For processes of cnnstat's own only: the environment's class is exchanged, which other threads could see.
    """
    notes = _start()
    environment = os.environ
    plain = type(environment)

    class Noting(plain):  # type: ignore[misc, valid-type]
        def __getitem__(self, name: Any) -> Any:
            notes.variable(os.fsdecode(name))
            return super().__getitem__(name)

        def __contains__(self, name: object) -> bool:
            notes.variable(os.fsdecode(name) if isinstance(name, bytes) else str(name))
            return bool(super().__contains__(name))

        def __len__(self) -> int:
            notes.variable("")
            return int(super().__len__())

        def __iter__(self) -> Iterator[str]:
            notes.variable("")
            return iter(super().__iter__())

    environments = [environment, *([os.environb] if hasattr(os, "environb") else [])]
    for each in environments:
        each.__class__ = Noting
    functions = {name: getattr(os, name) for name in ("stat", "lstat", "access", "readlink") if hasattr(os, name)}
    for name, function in functions.items():
        setattr(os, name, notes.looking_for(function))
    notes.active += 1
    try:
        with watched_calls.watched(notes.refuse_direct, notes.refuse, notes.module):
            yield lambda: _dependencies(notes)
    finally:
        notes.active -= 1
        for each in environments:
            each.__class__ = plain
        for name, function in functions.items():
            setattr(os, name, function)


def _dependencies(notes: Notes) -> Dependencies:
    """Return what all modules of the process, and what was opened or looked for, make."""
    notes.active -= 1  # what follows asks for files itself
    try:
        return _collected(notes)
    finally:
        notes.active += 1


def _collected(notes: Notes) -> Dependencies:
    paths = {os.path.abspath(path) for path in map(_module_file, [*sys.modules.values()]) if path}
    asked = notes.opened | notes.looked_for
    paths |= {path for path in asked if not path.startswith(_NOT_FILES) and not path.endswith(".pyc")}
    installed: dict[str, tuple[int, int]] = {}
    files: dict[str, str] = {}
    stamps: dict[str, int] = {}
    refused = notes.refused
    for path in sorted(paths):
        if is_installed(path):
            installed[path] = _mark(path)
        else:
            with suppress(OSError):
                mode = os.stat(path).st_mode
                if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                    refused = refused or "it reads a device or a pipe"
                    continue
            files[path] = _digest(path)
            if files[path].endswith("too large"):
                refused = refused or "it reads a very large file"
            if files[path] and path.endswith(".py") and _reads_clock(path):
                refused = refused or "it asks the date"
            if path in notes.looked_for and not os.path.isdir(path):
                stamps[path] = _mark(path)[0]
    if notes.asks_distributions:  # which packages are installed, and in which version
        installed |= {folder: _mark(folder) for folder in sys.path if is_installed(f"{folder}{os.sep}")}
    tops = {name.partition(".")[0] for name in notes.imported}
    # Only folders of the user's: what is installed changes with the files that are noted, or with a new version.
    folders = tuple(os.path.abspath(each) for each in sys.path if not is_installed(f"{os.path.abspath(each)}{os.sep}"))
    modules = {name: _place(name, folders) for name in sorted(tops) if name}
    plain = _plain_environment()
    environment = {**{name: plain.get(name) for name in _ALWAYS}, **notes.variables}
    return Dependencies(files, stamps, installed, environment, modules, folders, refused)


def _reads_clock(path: str) -> bool:
    """Whether a file of Python calls what gives the date; one that cannot be read might."""
    try:
        return _CLOCK.search(Path(path).read_text(encoding="utf-8")) is not None
    except (OSError, ValueError):
        return True


def _module_file(module: Any) -> str:
    path = getattr(module, "__file__", None)
    return path if isinstance(path, str) else ""


def is_installed(path: str) -> bool:
    """Whether a file belongs to Python, an installed package or cnnstat itself."""
    return path.startswith(_installed_folders())


@cache
def _installed_folders() -> tuple[str, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = [sysconfig.get_path(name) for name in names]
    folders.append(str(Path(__file__).resolve().parent.parent))
    both = {each for folder in folders if folder for each in (os.path.abspath(folder), os.path.realpath(folder))}
    return tuple(f"{folder}{os.sep}" for folder in sorted(both))


def machine_key() -> tuple[str, ...]:
    """Return what of the machine and of Python may decide what a model is: versions, paths, whether there is a GPU."""
    return (
        sys.version,
        sys.platform,
        str(sys.flags),
        *sys.path,
        str(os.cpu_count()),
        _digest(_DRIVER),
    )
