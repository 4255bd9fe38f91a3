"""Git: the few commands that a check runs in a repository, and a temporary worktree of another commit."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cnnstat.errors import CnnstatError

TIMEOUT = 600
"""Seconds that one git command may take."""
_SETTINGS = frozenset(
    (
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_SYSTEM",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_CONFIG_COUNT",
        "GIT_EXEC_PATH",
        "GIT_SSL_NO_VERIFY",
    )
)
"""Variables of git that say how it is set up rather than which repository is meant."""


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
        text = self.run("cat-file", "commit", commit).partition("\n\n")[0]
        return tuple(line.split()[1] for line in text.splitlines() if line.startswith("parent "))

    def is_ancestor(self, commit: str, of: str) -> bool:
        """Return whether a commit is another or comes before it."""
        return self.output("merge-base", "--is-ancestor", commit, of) is not None

    def relative(self, path: Path) -> str | None:
        """Return a path inside the working tree as git writes it; None outside."""
        try:
            return path.resolve().relative_to(self.root).as_posix()
        except ValueError:
            return None

    def renames(self, commit: str) -> dict[str, str]:
        """Return the old path of each file that was renamed between a commit and the working tree, as git sees it."""
        text = self.run(
            "diff", "--name-status", "-z", "--find-renames", "--diff-filter=R", "--no-ext-diff", commit, "--"
        )
        fields = text.split("\0")
        return {new: old for _, old, new in zip(*[iter(fields[: len(fields) // 3 * 3])] * 3)}

    @contextmanager
    def worktree(self, commit: str) -> Iterator[Path]:
        """Yield a folder with the files of a commit; hooks do not run, and the folder is removed afterwards."""
        with tempfile.TemporaryDirectory(prefix="cnnstat-", ignore_cleanup_errors=True) as folder:
            path = Path(folder).resolve() / "base"
            self.run("worktree", "add", "--detach", "--force", str(path), commit)
            try:
                yield path
            finally:
                self.output("worktree", "remove", "--force", str(path))


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


def _git(folder: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run git in a folder; the repository that a hook of another one points to is ignored."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or key in _SETTINGS}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    command = ["git", "-c", f"core.hooksPath={os.devnull}", "-c", "core.quotePath=false", "-C", str(folder), *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", env=environment, timeout=TIMEOUT
        )
    except OSError:
        raise CnnstatError("git is not installed; compare with a file instead: --baseline FILE") from None
    except subprocess.TimeoutExpired:
        raise CnnstatError(f"git {arguments[0]} took longer than {TIMEOUT} s") from None
