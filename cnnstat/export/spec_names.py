"""The entries of a graph, under the shortest names by which the spec language finds each tensor."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

from cnnstat.analysis.shapes import Values
from cnnstat.export.entries import Entry, call_of, stated, unused
from cnnstat.export.outline import outline
from cnnstat.ir.graph import Edge, Graph, Node
from cnnstat.ir.op import Op
from cnnstat.ir.scopes import Unit, prefixes
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
        candidates = [(name, full) for full in names for name in _seen_from(full, scope)]
        candidates = [(name, full) for name, full in candidates if self._resolved(name, scope) == full]
        if not candidates:
            raise Shadowed(scope.rstrip("."))
        name, full = min(candidates, key=lambda both: (both[0].count("."), len(both[0])))
        return f"{name}[{edge.output}]" if edge.output or with_number else name, full

    def _resolved(self, name: str, scope: str) -> str:
        # As the reader of specs looks a name up: in the innermost scope first, then outwards.
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
    sound, further = with_variable_inputs(replace(graph, nodes=tuple(nodes)))
    return sound, remarks + further


def with_variable_inputs(graph: Graph) -> tuple[Graph, list[str]]:
    """Return a graph whose inputs are called as variables can be, and a remark for each that was changed."""
    taken = {node.name for node in graph.nodes}
    taken |= {prefix for name in taken for prefix in prefixes(name)}
    remarks: list[str] = []
    inputs = []
    for each in graph.inputs:
        name = _unique(_variable(each.name), taken)
        if name != each.name:
            remarks.append(f"input {_printable(each.name)} is called {name} here")
        inputs.append(replace(each, name=name))
    return replace(graph, inputs=tuple(inputs)), remarks


def _sound(name: str) -> str:
    """Return a name of letters, digits, _ and -, with dots between."""
    # Ten characters are left for the number that makes a name unique.
    parts = [_ODD.sub("_", part)[: LONGEST_PART - 10] or "_" for part in name.split(".")]
    sound = ".".join(parts)
    return sound if len(sound) <= LONGEST_NAME - 10 else parts[-1]


def _variable(name: str) -> str:
    sound = _NO_VARIABLE.sub("_", name)[:LONGEST_INPUT]
    return sound if sound.isidentifier() and sound.isascii() else f"input_{sound}".rstrip("_")[:LONGEST_INPUT]


def _unique(name: str, taken: set[str]) -> str:
    free = unused(name, taken)
    taken.add(free)
    return free


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)[:LONGEST_NAME]


_CALL = re.compile(r"[^\w.-]")


@dataclass(frozen=True)
class Layout:
    """The entries of a network, and the names behind `outputs:`; None where the last layer is what it returns."""

    entries: list[Entry]
    outputs: list[str] | None


def lay_out(graph: Graph, values: Values) -> Layout:
    """Return the entries of a graph whose names are sound."""
    broken: set[str] = set()
    while True:
        # Each turn takes one more scope apart, so that this ends.
        units = outline(graph, broken)
        try:
            # Written twice: only the first time shows which layers are referred to, and so need a label.
            first = _Writer(graph, values, frozenset())
            first.layout(units)
            return _Writer(graph, values, frozenset(first.referenced)).layout(units)
        except Shadowed as shadowed:
            broken.add(shadowed.scope)


@dataclass
class _Writer:
    """Turns units into entries in the order in which a spec is read, so that names mean what they will mean there.

    labelled: layers that are referred to and therefore get a label; referenced: those found to be.
    """

    graph: Graph
    values: Values
    labelled: Collection[str]
    referenced: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Begin with the inputs."""
        self._names = Names(self.graph)
        self._several = {edge.value for node in self.graph.nodes for edge in node.inputs if edge.output}
        self._several |= {edge.value for edge in self.graph.outputs if edge.output}

    def layout(self, units: tuple[Unit, ...]) -> Layout:
        """Return the entries of all units, and the outputs."""
        current = Edge(0) if self.graph.arity == 1 else None
        entries = self._entries(units, "", current, self._is_automatic(units, ""))
        if units and self.graph.outputs == (units[-1].out,):
            return Layout(entries, None)
        return Layout(entries, [self._reference(edge, "") for edge in self.graph.outputs])

    def _entries(self, units: Iterable[Unit], scope: str, current: Edge | None, automatic: bool) -> list[Entry]:
        """Return the entries of a list that starts from a tensor."""
        entries = []
        for unit in units:
            entries.append(self._entry(unit, scope, current, automatic))
            current = unit.out
        return entries

    def _entry(self, unit: Unit, scope: str, current: Edge | None, automatic: bool) -> Entry:
        if unit.scope:
            return self._group(unit, scope, current)
        if unit.lists:
            return self._join(unit, scope, current, automatic)
        assert unit.node is not None
        node = self.graph.nodes[unit.node]
        reads = None
        # A layer that takes any number of tensors says what it takes, even where that is just one.
        if node.inputs != (current,) or node.op.input_count == (1, None):
            reads = [self._reference(edge, scope) for edge in node.inputs]
        entry = self._layer(unit.node, node, scope)
        entry.reads = reads
        if node.shares is not None:
            entry.keys["share"] = self._reference(Edge(self.graph.arity + node.shares), scope)
        self._name(entry, unit, node, scope, automatic)
        return entry

    def _layer(self, index: int, node: Node, scope: str) -> Entry:
        inputs, dtypes = self.values.inputs[index], tuple(self.values.dtypes[v][o] for v, o in node.inputs)
        count = len(self.values.outputs[self.graph.arity + index])
        call, keys = stated(node, scope, inputs, dtypes, self.graph.dtype, count)
        if "opaque" in keys:
            keys["opaque"] = _CALL.sub("_", keys["opaque"])[:100]
        learns = node.trainable if node.op.weights(inputs) else None
        return Entry(call=call, keys=keys, learns=learns)

    def _group(self, unit: Unit, scope: str, current: Edge | None) -> Entry:
        inner, start = unit.lists[0], unit.primary or current
        reads = None if start == current or start is None else [self._reference(start, scope)]
        within = f"{unit.scope}."
        entries = self._entries(inner, within, start, self._is_automatic(inner, within))
        self._names.add(unit.scope, unit.out)
        return Entry(label=unit.scope[len(scope) :], lists=[entries], reads=reads, path=unit.scope)

    def _join(self, unit: Unit, scope: str, current: Edge | None, automatic: bool) -> Entry:
        assert unit.node is not None and unit.start is not None
        node = self.graph.nodes[unit.node]
        reads = None if unit.start == current else [self._reference(unit.start, scope)]
        lists = [self._entries(branch, scope, unit.start, automatic) for branch in unit.lists]
        entry = Entry(call=call_of(node.op), lists=lists, reads=reads)
        self._name(entry, unit, node, scope, automatic)
        return entry

    def _reference(self, edge: Edge, scope: str) -> str:
        name, full = self._names.reference(edge, scope, edge.value in self._several)
        self.referenced.add(full)
        return name

    def _name(self, entry: Entry, unit: Unit, node: Node, scope: str, automatic: bool) -> None:
        """Label an entry unless its automatic name will do, and note its name."""
        may_be_left_out = automatic and node.name not in self.labelled and not entry.keys
        if may_be_left_out and self._names.automatic(node.op, scope) == node.name:
            self._names.count(node.op, scope, node.name)
        else:
            entry.label = node.name[len(scope) :]
        self._names.add(node.name, unit.out)

    def _is_automatic(self, units: Iterable[Unit], scope: str) -> bool:
        """Whether all layers of a list but those that join branches have the names that they would get anyway."""
        names = Names(self.graph)
        for unit in _own_units(units):
            assert unit.node is not None
            node = self.graph.nodes[unit.node]
            if names.automatic(node.op, scope) == node.name:
                names.count(node.op, scope, node.name)
            elif not unit.lists:
                return False
            names.add(node.name, unit.out)
        return True


def _own_units(units: Iterable[Unit]) -> Iterable[Unit]:
    """Yield the layers of a list and of its branches in order, those of groups left out."""
    for unit in units:
        if not unit.scope:
            for branch in unit.lists:
                yield from _own_units(branch)
            yield unit
