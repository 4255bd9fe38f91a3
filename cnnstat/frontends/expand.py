"""Expanding: items become nodes, blocks and repeats are unrolled, names and references are resolved."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from cnnstat import ops
from cnnstat.errors import Location, OpError, Problem, SpecError, did_you_mean
from cnnstat.frontends.binding import bind, constant, value_of
from cnnstat.frontends.document import Block
from cnnstat.frontends.evaluation import block_variables, each, filled, holds, resolved
from cnnstat.frontends.expression import Variables
from cnnstat.frontends.items import Call, Choice, Group, Item, ItemReader, Join, Meta, Template, fail
from cnnstat.frontends.yaml_tree import Scalar
from cnnstat.ir.graph import Edge, Node
from cnnstat.ir.op import Op

Tensor = Edge | None
"""What flows from item to item; None where an error leaves it unknown, so that no second error follows from it."""

_NAME = re.compile(r"[\w-]{1,100}\Z")
_REFERENCE = re.compile(r"(?P<name>[\w.-]+)(?:\[(?P<output>\d{1,4})\])?\Z")
_DIMENSION = re.compile(r"[1-3]d\Z")


@dataclass(slots=True)
class Scope:
    """A level of names: its path with a final dot (empty at the top), and how often each stem was used."""

    path: str = ""
    counters: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Expander:
    """Builds nodes; `variables` are those of the document, `values` the tensors that names stand for."""

    reader: ItemReader
    blocks: dict[str, Block]
    variables: dict[str, Any]
    arity: int
    values: dict[str, Tensor]
    problems: list[Problem]
    nodes: list[Node] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    _constants: dict[int, Op] = field(default_factory=dict)

    def items(self, items: tuple[Item, ...], variables: Variables, scope: Scope, current: Tensor) -> Tensor:
        """Expand a list one after the other and return its last tensor."""
        for item in items:
            current = self.item(item, variables, scope, current)
        return current

    def item(self, item: Item, variables: Variables, scope: Scope, current: Tensor) -> Tensor:
        """Expand one item; faults are noted and leave its tensor unknown."""
        try:
            if isinstance(item, Choice):
                chosen = item.then if holds(item.meta.condition, variables) else item.otherwise
                return self._group(chosen, variables, scope, current)
            if not holds(item.meta.condition, variables):
                return current
            if isinstance(item, Call):
                return self._call(item, variables, scope, current)
            if isinstance(item, Group):
                return self._group(item, variables, scope, current)
            return self._join(item, variables, scope, current)
        except SpecError as error:
            self.problems.extend(error.problems)
            self._note_unknown(item.meta, variables, scope)
            return None

    def _note_unknown(self, meta: Meta, variables: Variables, scope: Scope) -> None:
        """Let the name of a faulty item stand for an unknown tensor."""
        if meta.name is not None:
            try:
                self.values.setdefault(scope.path + filled(meta.name, variables), None)
            except SpecError:
                return

    def _call(self, call: Call, variables: Variables, scope: Scope, current: Tensor) -> Tensor:
        """Expand a layer or a block."""
        sources = self._sources(call.meta, variables, scope, current)
        callee = resolved(call, variables, self.blocks)
        if callee != call.callee and "(" in callee:
            call = self.reader.call(Scalar(call.meta.location, callee, True), call.meta)
            callee = call.callee
        if callee in self.blocks:
            return self._block(self.blocks[callee], call, variables, scope, _only(sources, call.meta.location))
        op = self._op(callee, call, variables)
        name = self._name(call.meta.name, variables, scope, op.short_name or _stem(op.kind), call.meta.location)
        return self._node(name, op, call.meta, sources, variables, scope)

    def _op(self, callee: str, call: Call, variables: Variables) -> Op:
        """Return the op of a call; one whose arguments name no variable is made once."""
        if id(call) in self._constants:
            return self._constants[id(call)]
        try:
            kind = ops.lookup(callee)
        except OpError as error:
            hint = did_you_mean(callee, self.reader.suggestions)
            fail(call.meta.location, str(error) if not hint else f"there is no layer called {callee[:60]}{hint}")
        op = bind(kind, call, variables)
        if callee == call.callee and constant(call):
            self._constants[id(call)] = op
        return op

    def _node(self, name: str, op: Op, meta: Meta, sources: list[Tensor], variables: Variables, scope: Scope) -> Tensor:
        """Add a node and return its tensor; a node that reads something unknown is left out."""
        self.values[name] = None
        shares = None if meta.share is None else self._shared(meta.share, variables, scope)
        frozen = meta.frozen is not None and bool(value_of(meta.frozen, variables))
        known = tuple(source for source in sources if source is not None)
        if len(known) < len(sources):
            return None
        self.nodes.append(Node(name, op, known, shares, not frozen, meta.location))
        tensor = Edge(self.arity + len(self.nodes) - 1)
        self.values[name] = tensor
        return tensor

    def _shared(self, template: Template, variables: Variables, scope: Scope) -> int | None:
        """Return the index of the node whose weights are used."""
        tensor = self.reference(template, variables, scope)
        if tensor is None:
            return None
        if tensor.value < self.arity:
            fail(template.location, "an input has no weights to share")
        index = tensor.value - self.arity
        owner = self.nodes[index].shares
        return index if owner is None else owner

    def _block(self, block: Block, call: Call, variables: Variables, scope: Scope, current: Tensor) -> Tensor:
        """Expand a block call in a scope of its own."""
        if call.meta.share is not None or call.meta.frozen is not None:
            fail(call.meta.location, "share: and frozen: stand on single layers, inside the block")
        body = block_variables(block, call, self.variables, variables)
        name = self._name(call.meta.name, variables, scope, block.name, call.meta.location)
        self.labels[name] = block.name
        current = self.items(self.reader.items(block.body), body, Scope(name + "."), current)
        self.values[name] = current
        return current

    def _group(self, group: Group, variables: Variables, scope: Scope, current: Tensor) -> Tensor:
        """Expand a group as often as it says, in scopes of its own where it has a name."""
        if group.meta.reads is not None:
            current = _only(self._sources(group.meta, variables, scope, current), group.meta.location)
        for inner in each(group, variables):
            if group.meta.name is None:
                current = self.items(group.items, inner, scope, current)
                continue
            name = self._name(group.meta.name, inner, scope, "", group.meta.location)
            self.labels[name] = "group"
            current = self.items(group.items, inner, Scope(name + "."), current)
            self.values[name] = current
        return current

    def _join(self, join: Join, variables: Variables, scope: Scope, current: Tensor) -> Tensor:
        """Expand parallel branches and the op that joins them."""
        if join.meta.reads is not None:
            current = _only(self._sources(join.meta, variables, scope, current), join.meta.location)
        ends = [self._group(branch, variables, scope, current) for branch in join.branches]
        op = self._op(join.call.callee, join.call, variables)
        name = self._name(join.meta.name, variables, scope, op.short_name or _stem(op.kind), join.meta.location)
        return self._node(name, op, join.meta, ends, variables, scope)

    def _sources(self, meta: Meta, variables: Variables, scope: Scope, current: Tensor) -> list[Tensor]:
        """Return the tensors an item reads: those behind `from:`, else the one before it."""
        if meta.reads is not None:
            return [self.reference(template, variables, scope) for template in meta.reads]
        if current is not None and current.value < 0:
            fail(meta.location, "the network has several inputs; say with from: which one this layer reads")
        return [current]

    def reference(self, template: Template, variables: Variables, scope: Scope) -> Tensor:
        """Return the tensor that a name stands for, looked up from the innermost scope outwards."""
        text = filled(template, variables)
        match = _REFERENCE.match(text)
        if match is None:
            fail(template.location, f"{text[:60]} is not a name; write from: name, or name[1] for a second output")
        path = scope.path
        while f"{path}{match['name']}" not in self.values and path:
            path = path[: path.rfind(".", 0, -1) + 1]
        name = f"{path}{match['name']}"
        if name not in self.values:
            local = [value[len(scope.path) :] for value in self.values if value.startswith(scope.path)]
            hint = did_you_mean(match["name"], local) or did_you_mean(match["name"], self.values)
            fail(template.location, f"there is no layer called {match['name'][:60]} before this one{hint}")
        tensor = self.values[name]
        return tensor if tensor is None or match["output"] is None else Edge(tensor.value, int(match["output"]))

    def _name(
        self, template: Template | None, variables: Variables, scope: Scope, stem: str, location: Location
    ) -> str:
        """Return the full name of an item: the one written, or the stem with a running number."""
        if template is None:
            while True:
                number = scope.counters.get(stem, 0) + 1
                scope.counters[stem] = number
                name = f"{scope.path}{stem}{'_' * stem[-1].isdigit()}{number}"
                if name not in self.values:
                    return name
        text = filled(template, variables)
        if not _NAME.match(text):
            fail(location, f"{text[:60]!r} cannot be a name; use letters, digits, _ and -")
        name = scope.path + text
        if name in self.values:
            fail(template.location, f"two items are called {name[:100]}; give one another name")
        return name


def _stem(kind: str) -> str:
    """Return the stem of automatic names: `maxpool` for MaxPool2d."""
    return _DIMENSION.sub("", kind).lower()


def _only(sources: list[Tensor], location: Location) -> Tensor:
    """Return the single tensor that a block or group starts from."""
    if len(sources) != 1:
        fail(location, "a block or group starts from one tensor; read the others inside with from:")
    return sources[0]
