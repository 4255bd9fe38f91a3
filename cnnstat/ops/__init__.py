"""Every op by name, one file a family; a family is imported when the first of its ops is asked for."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from cnnstat.errors import OpError, did_you_mean
from cnnstat.ir.op import Op

FAMILIES: dict[str, tuple[str, ...]] = {
    "conv": ("Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"),
}
"""The ops of each file of this package: adding an op is one class there and its name here."""

_FILES = {name: family for family, names in FAMILIES.items() for name in names}


def names() -> tuple[str, ...]:
    """Return the name of every op, in the order of their families."""
    return tuple(_FILES)


@cache
def lookup(name: str) -> type[Op]:
    """Return the op class called `name`; raises OpError with the nearest right name if there is none."""
    if name not in _FILES:
        raise OpError(f"there is no layer called {name[:60]}{did_you_mean(name, _FILES)}")
    op: type[Op] = getattr(import_module(f"cnnstat.ops.{_FILES[name]}"), name)
    return op
