"""Words: those that options take, the same in Python and on the command line, and lists of them as text."""

from __future__ import annotations

from typing import Literal, get_args

Mode = Literal["eval", "train"]
"""Modes of a PyTorch model."""

Optimizer = Literal["sgd", "momentum", "adam"]
"""Optimizers, by the state they keep for every parameter: none, one copy, two copies."""

Precision = Literal["float32", "float16", "int8"]
"""Precisions that a network is deployed in."""

Device = Literal["cpu", "mps", "cuda", "cuda:0", "cuda:1", "cuda:2", "cuda:3", "cuda:4", "cuda:5", "cuda:6", "cuda:7"]
"""Devices that a model is measured on."""

ExportFormat = Literal["yaml", "json", "torch", "model-explorer"]
"""What a network can be exported to."""

Format = Literal["table", "json", "csv", "markdown", "html", "latex"]
"""Output formats; each but the table is the name of a file in `report/formats`."""

CheckFormat = Literal[Format, "summary", "github", "gitlab", "junit", "sarif"]
"""Output formats of `cnnstat check`: those, and what other programs read verdicts in."""

DrawStyle = Literal["blocks", "volumes"]
"""Styles of drawings."""

DrawShare = Literal["macs", "params", "memory", "time"]
"""Figures whose share a box of a drawing can show."""

DrawFormat = Literal["svg", "png", "pdf", "html", "dot", "mmd", "tex", "json"]
"""Formats of drawings, which are the endings of their files too."""


_ENDINGS = {"table": (".txt", ".text"), "markdown": (".md", ".markdown"), "html": (".html", ".htm"), "latex": (".tex",)}
"""How files in a format end where that is not its word behind a dot."""


def format_endings() -> dict[str, Format]:
    """Return the formats by how their files end."""
    return {ending: word for word in get_args(Format) for ending in _ENDINGS.get(word, (f".{word}",))}


def words(text: str) -> frozenset[str]:
    """Return the words of a text: a list of names that is read more easily without quotes."""
    return frozenset(text.split())
