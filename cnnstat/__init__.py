"""cnnstat: a command-line analyzer of CNN architectures.

`analyze("vgg16").totals.macs` is the shortest way in; nothing heavy is imported until it is used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

TYPE_CHECKING = False  # importing `typing` takes most of the time in which Ctrl-C cannot be answered yet
if TYPE_CHECKING:
    from typing import Any

    from cnnstat.analysis.analysis import Analysis, Layer, Totals
    from cnnstat.analysis.comparison import Comparison, Networks
    from cnnstat.analysis.explanation import Explanation
    from cnnstat.api import (
        analyze,
        build,
        compare,
        draw,
        explain,
        export,
        load,
        networks,
        op_reference,
        profile,
        sweep,
        verify,
    )
    from cnnstat.errors import CnnstatError, ModelError, RequestError, SourceError, SpecError
    from cnnstat.ir.graph import Graph
    from cnnstat.profile.profile_result import Profile
    from cnnstat.profile.recording import recording
    from cnnstat.sources.request import literal
    from cnnstat.sweep.sweep import Sweep
    from cnnstat.verify.findings import Verification
    from cnnstat.version import __version__

_HOMES = {
    name: f"cnnstat.{module}"
    for module, names in {
        "api": "analyze build compare draw explain export load networks op_reference profile sweep verify",
        "analysis.analysis": "Analysis Layer Totals",
        "analysis.comparison": "Comparison Networks",
        "analysis.explanation": "Explanation",
        "errors": "CnnstatError ModelError RequestError SourceError SpecError",
        "ir.graph": "Graph",
        "profile.recording": "recording",
        "profile.profile_result": "Profile",
        "sources.request": "literal",
        "sweep.sweep": "Sweep",
        "verify.findings": "Verification",
        "version": "__version__",
    }.items()
    for name in names.split()
}
"""The module of every public name."""

__all__ = [
    "Analysis",
    "CnnstatError",
    "Comparison",
    "Explanation",
    "Graph",
    "Layer",
    "ModelError",
    "Networks",
    "Profile",
    "RequestError",
    "SourceError",
    "SpecError",
    "Sweep",
    "Totals",
    "Verification",
    "__version__",
    "analyze",
    "build",
    "compare",
    "draw",
    "explain",
    "export",
    "literal",
    "load",
    "networks",
    "op_reference",
    "profile",
    "recording",
    "sweep",
    "verify",
]


if not TYPE_CHECKING:  # where a type checker saw this, it would take every misspelt name for a public one

    def __getattr__(name: str) -> Any:
        """Import a public name from its home on first use."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)


class _Package(ModuleType):
    """The package; its functions keep their names beside the folders that bear the same."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, unless it is a folder that bears the name of a public function."""
        # Importing a file of the folder `cnnstat.profile` makes Python bind the folder here, where users call the
        # function of that name.
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
