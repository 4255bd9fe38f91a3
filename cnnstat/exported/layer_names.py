"""Names of layers of exported models, made as those of PyTorch models are: by the modules that they were in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cnnstat.errors import printable
from cnnstat.ir.scopes import UniqueNames

LONGEST = 300
"""Characters of a name that are kept."""


class Label(NamedTuple):
    """What a layer is called after.

    path: the module it is in; call: which call of that module it belongs to. function: what it does.
    is_main: whether it has the module's weights. exact: a name that is kept as it is.
    """

    path: str
    function: str
    call: int = 0
    is_main: bool = False
    exact: str = ""


class LayerNames:
    """Unique names: a module that is one op gives the op its path; others add what the op does."""

    def __init__(self, labels: Sequence[Label]) -> None:
        self._counts = Counter((label.path, label.call) for label in labels if not label.exact)
        self._parents = {above for label in labels for above in paths_above(label.path)}
        self._main: dict[tuple[str, int], int] = {}
        for index, label in enumerate(labels):
            if label.is_main and label.path not in self._parents:
                self._main.setdefault((label.path, label.call), index)
        self._labels = labels

    def all(self) -> list[str]:
        """Return the name of each layer."""
        names = UniqueNames()
        return [names.take(self._name(index, label)) for index, label in enumerate(self._labels)]

    def _name(self, index: int, label: Label) -> str:
        if label.exact:
            return sound(label.exact)
        place = (label.path, label.call)
        is_alone = self._counts[place] == 1 and label.path not in self._parents
        if label.path and (is_alone or self._main.get(place) == index):
            return sound(label.path)
        return sound(f"{label.path}.{label.function}" if label.path else label.function)


def paths_above(path: str) -> list[str]:
    """Return the paths of the modules around one, the outermost first."""
    parts = path.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def sound(name: str) -> str:
    """Return a name that can be printed, of a length that can be read."""
    return printable(name)[:LONGEST] or "layer"


def snake_case(name: str) -> str:
    """Return a name in small letters with underscores: `GlobalAveragePool` is `global_average_pool`."""
    if name.endswith("MatMul"):
        name = name.replace("MatMul", "Matmul")  # one word in PyTorch
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def module_of(tensors: Iterable[str]) -> str:
    """Return the module that has tensors of these names, `layer1.0.conv1` for `layer1.0.conv1.weight`; else ""."""
    for name in tensors:
        plain = re.sub(r"(_quantized|_scale|_zero_point|_DequantizeLinear.*|_transposed)+$", "", name)
        module, dot, own = plain.rpartition(".")
        if dot and re.fullmatch(r"\w*(weight|bias|gamma|beta|kernel|running_\w+|embedding\w*|proj)\w*", own):
            return module.removeprefix("_orig_mod.").removeprefix("module.")
    return ""
