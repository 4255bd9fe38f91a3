"""cnnstat: a command-line analyzer of CNN architectures.

`analyze("vgg16").totals.macs` is the shortest way in; nothing heavy is imported until it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnstat.api import analyze, build, compare, export, load, profile, verify
    from cnnstat.comparison import Comparison
    from cnnstat.errors import CnnstatError, SpecError
    from cnnstat.ir.graph import Graph
    from cnnstat.passes.analysis import Analysis
    from cnnstat.timing.profile import Profile

__version__ = "0.1.0"

_HOMES = {
    "analyze": "cnnstat.api",
    "build": "cnnstat.api",
    "compare": "cnnstat.api",
    "export": "cnnstat.api",
    "load": "cnnstat.api",
    "profile": "cnnstat.api",
    "verify": "cnnstat.api",
    "Analysis": "cnnstat.passes.analysis",
    "CnnstatError": "cnnstat.errors",
    "Comparison": "cnnstat.comparison",
    "Graph": "cnnstat.ir.graph",
    "Profile": "cnnstat.timing.profile",
    "SpecError": "cnnstat.errors",
}

__all__ = [
    "Analysis",
    "CnnstatError",
    "Comparison",
    "Graph",
    "Profile",
    "SpecError",
    "__version__",
    "analyze",
    "build",
    "compare",
    "export",
    "load",
    "profile",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
