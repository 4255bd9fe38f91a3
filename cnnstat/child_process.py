"""A Python process of its own, which finds modules where this one does and never first in the current folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def python_command(module: str, function: str, *arguments: str, path: Sequence[str] | None = None) -> list[str]:
    """Return the command that calls a function without arguments; those of the command stand in `sys.argv[1:]`.

    path: where modules are looked for first; `sys.path` of this process by default. Texts are UTF-8 on every system.
    """
    # Without -I, Python would look into the current folder first, where a checkout may have put a json.py.
    folders = [folder for folder in (sys.path if path is None else path) if folder]
    code = f"import sys; sys.path[:0] = {folders!a}; from {module} import {function}; {function}()"
    return [sys.executable, "-I", "-X", "utf8", "-c", code, *arguments]
