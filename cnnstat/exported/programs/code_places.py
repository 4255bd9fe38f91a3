"""Where the code of a model calls an operation, from the stack trace that an exported program has of it."""

from __future__ import annotations

import re
from functools import lru_cache

from cnnstat.errors import printable

_FRAME = re.compile(r'File "([^"\n]*)", line (\d+)')
_PACKAGES = re.compile(r".*[/\\](?:site|dist)-packages[/\\]")


@lru_cache(1024)
def code_place(trace: str) -> str:
    """Return file and line of the innermost call outside PyTorch itself, `torchvision/models/resnet.py:285`.

    Of a path only what lies below the folder of packages is told, else the name of the file: the rest is the machine's.
    """
    frames = [(_shown(path), line) for path, line in _FRAME.findall(trace[:20_000])]
    own = [each for each in frames if not each[0].startswith("torch/")] or frames
    return f"{own[-1][0]}:{own[-1][1]}" if own else ""


def _shown(path: str) -> str:
    below = _PACKAGES.sub("", path)
    plain = (below if below != path else re.split(r"[/\\]", path)[-1]).replace("\\", "/")
    return printable(plain)[:200]
