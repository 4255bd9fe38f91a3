"""Names as the spec language resolves them: automatic ones, and the shortest that lead from one place to another."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from cnnstat.export.outline import prefixes
from cnnstat.ir.graph import Edge, Graph
from cnnstat.ir.op import Op
from cnnstat.spec.expand import automatic_stem

_ODD = re.compile(r"[^\w-]")
_NO_VARIABLE = re.compile(r"\W")
LONGEST_PART = 100
LONGEST_NAME = 200
LONGEST_INPUT = 60


class Shadowed(Exception):  # noqa: N818  # no error: it says what to do without
    """A tensor cannot be named from within a scope, because something in it is called the same."""

    def __init__(self, scope: str) -> None:
        super().__init__(scope)
        self.scope = scope


class Names:
    """The names that a spec has given so far, and the tensors they stand for."""

    def __init__(self, graph: Graph) -> None:
        self._tensors = {each.name: Edge(number) for number, each in enumerate(graph.inputs)}
        self._of: dict[Edge, list[str]] = {edge: [name] for name, edge in self._tensors.items()}
        self._counters: Counter[str] = Counter()

    def automatic(self, op: Op, scope: str) -> str:
        """Return the name that a layer gets if it is given none."""
        stem = automatic_stem(op)
        separator = "_" if stem[-1].isdigit() else ""
        number = self._counters[scope + stem] + 1
        while f"{scope}{stem}{separator}{number}" in self._tensors:
            number += 1
        return f"{scope}{stem}{separator}{number}"

    def count(self, op: Op, scope: str, name: str) -> None:
        """Note that a layer was given its automatic name."""
        stem = automatic_stem(op)
        self._counters[scope + stem] = int(re.findall(r"\d+\Z", name)[0])

    def add(self, name: str, edge: Edge) -> None:
        """Note what a name stands for."""
        self._tensors[name] = edge
        self._of.setdefault(edge, []).append(name)

    def reference(self, edge: Edge, scope: str, with_number: bool) -> tuple[str, str]:
        """Return the shortest name of a tensor as seen from a scope, and in full; raises Shadowed where it has none."""
        names = self._of[Edge(edge.value)]
        found = [(name, full) for full in names for name in _seen_from(full, scope)]
        found = [(name, full) for name, full in found if self._resolved(name, scope) == full]
        if not found:
            raise Shadowed(scope.rstrip("."))
        name, full = min(found, key=lambda both: (both[0].count("."), len(both[0])))
        return f"{name}[{edge.output}]" if edge.output or with_number else name, full

    def _resolved(self, name: str, scope: str) -> str:
        """Return the full name that a name means in a scope."""
        path = scope
        while path and f"{path}{name}" not in self._tensors:
            path = path[: path.rfind(".", 0, -1) + 1]
        return f"{path}{name}"


def _seen_from(full: str, scope: str) -> Iterator[str]:
    """Yield the names by which something may be called from within a scope."""
    yield full
    for prefix in (*prefixes(scope),):
        if full.startswith(f"{prefix}."):
            yield full[len(prefix) + 1 :]


# Names that the language does not take -----------------------------------------------------------------------------


def with_sound_names(graph: Graph) -> tuple[Graph, list[str]]:
    """Return a graph all of whose names a spec can have, and a remark for each that was changed."""
    remarks: list[str] = []
    taken: set[str] = set()
    nodes = []
    for node in graph.nodes:
        name = _unique(_sound(node.name), taken)
        if name != node.name:
            remarks.append(f"layer {_printable(node.name)} is called {name} here, because of what names may consist of")
        nodes.append(node if name == node.name else replace(node, name=name))
    scopes = {prefix for name in taken for prefix in prefixes(name)}
    inputs = []
    for each in graph.inputs:
        name = _unique(_variable(each.name), taken | scopes)
        taken.add(name)
        if name != each.name:
            remarks.append(f"input {_printable(each.name)} is called {name} here")
        inputs.append(replace(each, name=name))
    return replace(graph, nodes=tuple(nodes), inputs=tuple(inputs)), remarks


def _sound(name: str) -> str:
    """Return a name of letters, digits, _ and -, with dots between."""
    parts = [_ODD.sub("_", part)[:LONGEST_PART] or "_" for part in name.split(".")]
    sound = ".".join(parts)
    return sound if len(sound) <= LONGEST_NAME - 10 else parts[-1]


def _variable(name: str) -> str:
    """Return a name as inputs have them."""
    sound = _NO_VARIABLE.sub("_", name)[:LONGEST_INPUT]
    return sound if sound.isidentifier() and sound.isascii() else f"input_{sound}".rstrip("_")[:LONGEST_INPUT]


def _unique(name: str, taken: set[str]) -> str:
    """Return a name that is not taken, which it now is."""
    found, count = name, 1
    while found in taken:
        count += 1
        found = f"{name}_{count}"
    taken.add(found)
    return found


def _printable(name: str) -> str:
    """Return a name fit for a comment."""
    return "".join(c if c.isprintable() else "?" for c in name)[:LONGEST_NAME]
