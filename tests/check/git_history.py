"""Scripted git repositories, and specs of known size."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

Command = Callable[..., "Result"]


class Result(NamedTuple):
    code: int
    out: str
    err: str


class History:
    """A git repository that a test writes commit by commit."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        names = ("AUTHOR_NAME", "AUTHOR_EMAIL", "COMMITTER_NAME", "COMMITTER_EMAIL")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        environment |= {f"GIT_{name}": "test" for name in names}
        environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        command = ["git", "-c", "protocol.file.allow=always", "-C", str(self.root), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def commit(self, message: str = "change", **files: str) -> str:
        """Commit files, whose names have `__` for the point."""
        for name, text in files.items():
            self.write(name.replace("__", "."), text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")


def spec(width: int, more: int = 0) -> str:
    """Return a spec whose first convolution has `width` channels, with further layers of 8."""
    tail = "".join("  - Conv2d(8, 3, padding=1)\n" for _ in range(more))
    return f"input: [3, 16, 16]\nlayers:\n  - stem: Conv2d({width}, 3, padding=1)\n  - ReLU\n{tail}"


def params(width: int) -> int:
    """Return the parameters of `spec(width)`."""
    return width * 28
