"""Git: the repository of a folder, what it says of commits and files, and a commit's files in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import current_thread, main_thread

from cnnstat.errors import CnnstatError
from cnnstat.files import is_file, resolved

TIMEOUT = 600
"""Seconds that one git command may take."""
_CONFIG = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_COUNT")
_SETTINGS = frozenset((*_CONFIG, "GIT_EXEC_PATH", "GIT_SSL_NO_VERIFY"))
"""Variables of git that say how it is set up rather than which repository is meant."""


_SAFE = (
    f"core.hooksPath={os.devnull}",
    "core.fsmonitor=false",
    "safe.bareRepository=explicit",
    "diff.ignoreSubmodules=all",
    "core.quotePath=false",
)
"""Settings under which git runs no program of a repository: a folder of the checkout may look like a bare one."""

PREFIX = "cnnstat-"
"""Beginning of the names of temporary folders with a commit's files."""
STALE_SECONDS = 6 * 3600
"""Age from which such a folder counts as left behind."""


ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""How CI systems end a job, and what a process gets whose terminal or connection is closed."""


@contextmanager
def _ended_by_exception() -> Iterator[None]:
    """While active, signals that end the process let it clean up as Ctrl-C does."""
    is_main = current_thread() is main_thread()
    ours = [number for number in ENDING if is_main and signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


@dataclass(frozen=True, slots=True)
class Repository:
    """A git repository; root: the folder of its working tree."""

    root: Path

    def run(self, *arguments: str) -> str:
        """Return what a git command prints; raises CnnstatError with the last line of its error."""
        result = _git(self.root, arguments)
        if result.returncode:
            lines = result.stderr.strip().splitlines()
            raise CnnstatError(f"git {arguments[0]} failed: {(lines or ['no message'])[-1][:300]}")
        return result.stdout

    def output(self, *arguments: str) -> str | None:
        """Return what a git command prints, without the line's end; None where it fails."""
        result = _git(self.root, arguments)
        return None if result.returncode else result.stdout.strip()

    def commit(self, ref: str) -> str | None:
        """Return the SHA of the commit that a ref names, None if this clone does not have it."""
        return self.output("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")

    @property
    def is_shallow(self) -> bool:
        """Whether the clone lacks older commits."""
        return self.output("rev-parse", "--is-shallow-repository") == "true"

    def parents(self, commit: str) -> tuple[str, ...]:
        """Return the parents that a commit names, whether or not this clone has them."""
        # `rev-parse HEAD^2` fails in a shallow clone, where the commit itself still names its parents
        text = self.run("cat-file", "commit", commit).partition("\n\n")[0]
        return tuple(line.split()[1] for line in text.splitlines() if line.startswith("parent "))

    def is_ancestor(self, commit: str, of: str) -> bool:
        """Return whether a commit is another or comes before it."""
        return self.output("merge-base", "--is-ancestor", commit, of) is not None

    def relative(self, path: Path) -> str | None:
        """Return a path inside the working tree as git writes it; None outside."""
        try:
            return resolved(path).relative_to(self.root).as_posix()
        except ValueError:
            return None

    def written(self, path: Path) -> str | None:
        """Return a path inside the working tree as it is written, no matter where links in it lead; None outside."""
        absolute = Path(os.path.abspath(path))  # noqa: PTH100  # `resolve` would follow the links
        top = next((folder for folder in absolute.parents if folder.resolve() == self.root), None)
        return None if top is None else absolute.relative_to(top).as_posix()

    def deleted(self, commit: str) -> list[str]:
        """Return the files that a commit has and the working tree has not."""
        arguments = ("diff", "--name-only", "-z", "--no-renames", "--diff-filter=D", "--no-ext-diff", commit, "--")
        return [name for name in self.run(*arguments).split("\0") if name]

    def renames(self, commit: str) -> dict[str, str]:
        """Return the old path of each file that was renamed between a commit and the working tree, as git sees it."""
        text = self.run(
            "diff", "--name-status", "-z", "--find-renames", "--diff-filter=R", "--no-ext-diff", commit, "--"
        )
        # With -z a rename is three fields: status with likeness, old path, new path.
        fields = text.split("\0")
        return {new: old for _, old, new in zip(*[iter(fields[: len(fields) // 3 * 3])] * 3)}

    @contextmanager
    def worktree(self, commit: str) -> Iterator[Path]:
        """Yield a folder with the files of a commit; hooks do not run, and the folder is removed afterwards."""
        self._remove_stale_worktrees()
        with _ended_by_exception(), tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder:
            path = Path(folder).resolve() / "base"
            try:
                self.run("worktree", "add", "--detach", "--force", str(path), commit)
                yield path
            finally:
                if self.output("worktree", "remove", "--force", "--force", str(path)) is None:
                    shutil.rmtree(path, ignore_errors=True)
                    self.output("worktree", "prune")

    def _remove_stale_worktrees(self) -> None:
        """Remove what runs have left behind that were killed and could not; a run of today may still need its own."""
        for line in (self.output("worktree", "list", "--porcelain") or "").splitlines():
            path = Path(line.removeprefix("worktree "))
            if not line.startswith("worktree ") or path.name != "base" or not path.parent.name.startswith(PREFIX):
                continue
            with contextlib.suppress(OSError):
                if not path.exists() or time.time() - path.parent.stat().st_mtime > STALE_SECONDS:
                    shutil.rmtree(path.parent, ignore_errors=True)
                    self.output("worktree", "prune")


def find_repository(folder: Path) -> Repository | None:
    """Return the repository that a folder belongs to, None if there is none or it cannot be used."""
    try:
        root = _git(folder, ("rev-parse", "--show-toplevel"))
    except CnnstatError:
        return None
    return None if root.returncode or not root.stdout.strip() else Repository(Path(root.stdout.strip()).resolve())


def required(repository: Repository | None) -> Repository:
    """Return the repository of the current folder; raises CnnstatError with the reason if there is none."""
    if repository is not None:
        return repository
    folder = Path.cwd()
    if "dubious ownership" in _git(folder, ("rev-parse", "--show-toplevel")).stderr:
        remedy = f"git config --global --add safe.directory {folder}"
        raise CnnstatError(f"git does not trust {folder}, which belongs to another user; run {remedy}")
    raise CnnstatError(f"{folder} is in no git repository; compare with a file instead: --baseline FILE")


def _program() -> str:
    """Return git; by its path on Windows, which would take a git.exe of the current folder before that in PATH."""
    if os.name != "nt":
        return "git"
    paths = (Path(folder, "git.exe") for folder in os.environ.get("PATH", "").split(os.pathsep))
    return next((str(path) for path in paths if path.is_absolute() and is_file(path)), os.devnull)


def _git(folder: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run git in a folder; the repository that a hook of another one points to is ignored."""
    # inside a hook GIT_DIR and the like point to the repository that runs it
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or key in _SETTINGS}
    # No questions, no downloads of large files, no locks in another's way; English, since messages are searched.
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    options = [word for setting in _SAFE for word in ("-c", setting)]
    command = [_program(), *options, "-C", str(folder), *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", env=environment, timeout=TIMEOUT
        )
    except OSError:
        raise CnnstatError("git is not installed; compare with a file instead: --baseline FILE") from None
    except subprocess.TimeoutExpired:
        raise CnnstatError(f"git {arguments[0]} took longer than {TIMEOUT} s") from None
