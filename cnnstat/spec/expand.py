"""Expanding: items become nodes, blocks and repeats are unrolled, names and references are resolved."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice

from cnnstat import ops
from cnnstat.analysis.shapes import node_outputs
from cnnstat.errors import Location, Problem, SpecError, did_you_mean
from cnnstat.ir.graph import Edge, Node
from cnnstat.ir.op import Op, Shapes
from cnnstat.spec.item_reader import OPAQUE_CALLEE, ItemReader
from cnnstat.spec.items import NAME, Block, Call, Faulty, Group, Item, Join, Meta, Template
from cnnstat.spec.scope import Scope, bind
from cnnstat.spec.tree import Abandoned, Scalar, Tree, fail

Tensor = Edge | None
"""What flows from item to item; None where an error leaves it unknown, so that no second error follows from it."""

CHANNELS = "in_channels"
"""What expressions of a layer's arguments call the channels (of a linear layer the features) that it reads."""

SEVERAL_INPUTS = Edge(-1)
"""Stands before the first layer of a network with several inputs: nothing may read it without saying which."""

_REFERENCE = re.compile(r"(?P<name>[\w.-]+)(?:\[(?P<output>\d{1,4})\])?\Z")
_DIMENSION = re.compile(r"[1-3]d\Z")
_MISSING = object()
MAX_KEPT_OPS = 16_384
"""Most ops of calls that are known at a time, some 10 MB of them."""
_MAX_CANDIDATES = 500
_MAX_LETTERS = 2**25
"""Most letters that all names have together; deep scopes with long names would fill the memory."""


@dataclass(slots=True)
class Expander:
    """Builds nodes.

    arity: inputs of the network. values: the tensors that names stand for. ops: those of calls that are known. before:
        nodes of the spec's last variant by name. labels: of each scope, the block it is or `group`. shapes: of the
        inputs and the first nodes, as far as they were asked for.
    """

    reader: ItemReader
    arity: int
    values: dict[str, Tensor]
    ops: dict[Hashable, Op]
    before: Mapping[str, Node]
    nodes: list[Node] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    shapes: list[Shapes | None] = field(default_factory=list)
    _faulty: set[int] = field(default_factory=set)
    _letters: int = 0

    def items(self, items: tuple[Item, ...], scope: Scope, current: Tensor) -> Tensor:
        """Expand a list one after the other and return its last tensor."""
        for item in items:
            current = self.item(item, scope, current)
        return current

    def item(self, item: Item, scope: Scope, current: Tensor) -> Tensor:
        """Expand one item; a faulty one is reported the first time only and leaves its tensor unknown."""
        if isinstance(item, Faulty) or id(item) in self._faulty:
            self._note_unknown(item.meta, scope)
            return None
        try:
            match scope.chosen(item):
                case Call() as call:
                    return self._call(call, scope, current)
                case Group() as group:
                    return self._group(group, scope, current)
                case Join() as join:
                    return self._join(join, scope, current)
            return current
        except SpecError as error:
            self.reader.problems.extend(error.problems)
            self._faulty.add(id(item))  # a repetition would only find the same fault again
            self._note_unknown(item.meta, scope)
            return None

    def _note_unknown(self, meta: Meta, scope: Scope) -> None:
        """Let the name of a faulty item stand for an unknown tensor."""
        if meta.name is not None:
            try:
                self.values.setdefault(scope.path + scope.name(meta.name), None)
            except SpecError:
                return

    def _call(self, call: Call, scope: Scope, current: Tensor) -> Tensor:
        """Expand a layer or a block."""
        sources = self._sources(call.meta, scope, current)
        callee = scope.callee(call, self.reader.blocks)
        if callee != call.callee and "(" in callee:
            # A variable or parameter may hold a whole call, such as act=LeakyReLU(0.1): it is read at this place.
            if call.positional or call.keywords:
                fail(call.meta.location, f"{call.callee} stands for {callee[:60]}, arguments and all; give none here")
            place = call.meta.location
            call = self.reader.call(Scalar(place.file, place.line, place.column, callee, "|"), call.meta)
            callee = call.callee
        if callee in self.reader.broken_blocks:
            self._note_unknown(call.meta, scope)
            return None
        if callee in self.reader.blocks:
            return self._block(self.reader.blocks[callee], call, scope, _only(sources, call.meta.location))
        op = self._op(callee, call, self._with_channels(callee, call, scope, sources), len(sources))
        name = self._name(call.meta.name, scope, automatic_stem(op), call.meta.location)
        return self._node(name, op, call.meta, sources, scope)

    def _with_channels(self, callee: str, call: Call, scope: Scope, sources: list[Tensor]) -> Scope:
        """Return the scope of a layer's arguments, with the channels of what it reads where they are mentioned."""
        if CHANNELS not in call.names or CHANNELS in scope or callee not in ops.names():
            return scope
        source = sources[0] if sources else None
        if source is None or source is SEVERAL_INPUTS:
            fail(call.meta.location, f"{CHANNELS} is not known here; say with from: what this layer reads")
        problems: list[Problem] = []
        # Only as far as they are asked for: most specs never mention in_channels.
        for node in self.nodes[len(self.shapes) - self.arity :]:
            self.shapes.append(node_outputs(node, self.shapes, problems))
        if problems:
            raise SpecError(problems)
        shapes, axis = self.shapes[source.value] or (), ops.lookup(callee).feature_axis
        if source.output >= len(shapes) or not -len(shapes[source.output]) <= axis < len(shapes[source.output]):
            fail(call.meta.location, f"{CHANNELS} is not known here; write the number")
        return scope.inside({CHANNELS: shapes[source.output][axis]})

    def _op(self, callee: str, call: Call, scope: Scope, input_count: int) -> Op:
        """Return the op of a call, with what the spec states beside its arguments."""
        if call.meta.overrides is None or call.meta.overrides.keys() <= {
            "weight_dtype",
            "weight_bytes",
            "copied_inputs",
            "overwrites",
        }:
            return self._bound(callee, call, scope)
        # Seldom needed, and it brings the ops of traced layers with it.
        from cnnstat.spec.layer_overrides import LayerOverrides

        overrides = LayerOverrides(call.meta.overrides, scope)
        if callee == OPAQUE_CALLEE:
            return overrides.opaque()
        return overrides.applied(self._bound(callee, call, scope), input_count)

    def _bound(self, callee: str, call: Call, scope: Scope) -> Op:
        """Return the op of a call; it is made once for every set of values that the call's words take."""
        # A network of 100,000 layers has a few dozen different ones, and making an op checks all its arguments.
        key: Hashable = (callee, call.text)
        if call.names:
            key = scope.key(f"{callee} {call.text}", [scope.get(name, _MISSING) for name in call.names])
        op = self.ops.get(key)
        if op is None:
            if callee not in self.reader.callables:
                fail(call.meta.location, self._no_layer(callee, call, scope))
            op = bind(callee, call, scope)
            if len(self.ops) >= MAX_KEPT_OPS:
                self.ops.clear()
            self.ops[key] = op
        return op

    def _no_layer(self, callee: str, call: Call, scope: Scope) -> str:
        """Return the message for a call of something that is neither a layer nor a block."""
        label = call.meta.name.parts[0] if call.meta.name is not None else ""
        if isinstance(label, str) and label[:1].isupper() and (hint := self.reader.layer_hint(label)):
            return f"there is no layer called {label[:60]}{hint}"
        hint = self.reader.layer_hint(callee)
        if not hint and callee in scope:
            return f"{callee} is a variable that holds no layer; write one as in Conv2d({callee}, 3)"
        return f"there is no layer called {callee[:60]}{hint or '; `cnnstat ops` lists them all'}"

    def _node(self, name: str, op: Op, meta: Meta, sources: list[Tensor], scope: Scope) -> Tensor:
        """Add a node and return its tensor; a node that reads something unknown is left out."""
        self._letters += len(name)
        if self._letters > _MAX_LETTERS:
            bound = f"more than {_MAX_LETTERS:,} letters together by here"
            raise Abandoned(f"the names of all layers have {bound}; use shorter ones", meta.location)
        shares = None if meta.share is None else self._shared(meta.share, scope)
        # Known from here on even if the layer is at fault, so that references to it raise no second error.
        self.values[name] = None
        is_frozen = self._is_frozen(meta, scope)
        known = tuple(source for source in sources if source is not None)
        if len(known) < len(sources):
            return None  # what it reads is at fault already; shapes made up for it would only raise more errors
        if SEVERAL_INPUTS in known:
            fail(meta.location, "the network has several inputs; say with from: which one this layer reads")
        self.nodes.append(self._made(name, op, known, shares, not is_frozen, meta, scope))
        tensor = Edge(self.arity + len(self.nodes) - 1)
        self.values[name] = tensor
        return tensor

    def _made(
        self, name: str, op: Op, inputs: tuple[Edge, ...], shares: int | None, trainable: bool, meta: Meta, scope: Scope
    ) -> Node:
        """Return a node, that of the last variant where nothing about it has changed."""
        node = self.before.get(name)
        if (
            node is not None
            and meta.overrides is None
            and node.op is op
            and node.inputs == inputs
            and node.location is meta.location
            and node.shares == shares
            and node.trainable is trainable
        ):
            return node
        node = Node(name, op, inputs, shares, trainable, meta.location)
        return node if meta.overrides is None else _with_stated_tensors(node, meta.overrides, scope)

    def _is_frozen(self, meta: Meta, scope: Scope) -> bool:
        """Return whether `frozen:` holds for an item, which has it from its surroundings unless it says itself."""
        return scope.is_frozen if meta.frozen is None else bool(scope.value(meta.frozen))

    def _shared(self, template: Template, scope: Scope) -> int | None:
        """Return the index of the node whose weights are used."""
        tensor = self.reference(template, scope)
        if tensor is None:
            return None
        if tensor.value < self.arity:
            fail(template.location, "an input has no weights to share; name a layer")
        index = tensor.value - self.arity
        # Chains of sharing end at the layer that has the weights.
        owner = self.nodes[index].shares
        return index if owner is None else owner

    def _share_all(self, template: Template, scope: Scope, name: str, first: int) -> None:
        """Let the layers from number `first` on, all of a scope, use the weights of another's of the same names."""
        other = self._full_name(scope.name(template), scope, template.location)
        if other not in self.labels or other == name:
            fail(template.location, f"{other[:60]} is no block and no list of layers that comes before")
        for index, node in enumerate(self.nodes[first:], start=first):
            owner_name = other + node.name[len(name) :]
            owner = self.values.get(owner_name, SEVERAL_INPUTS)
            if owner is None:
                continue  # at fault already
            number = owner.value - self.arity
            if owner is SEVERAL_INPUTS or not 0 <= number < first or self.nodes[number].op != node.op:
                there = "" if owner is SEVERAL_INPUTS else f", which is {str(self.nodes[number].op)[:60]}"
                message = f"{node.name} is {str(node.op)[:60]}, and {other} has no such {owner_name}{there}"
                fail(template.location, f"{message[:300]}; both must hold the same layers")
            shares = self.nodes[number].shares
            self.nodes[index] = replace(node, shares=number if shares is None else shares)

    def _block(self, block: Block, call: Call, scope: Scope, current: Tensor) -> Tensor:
        """Expand a block call in a scope of its own."""
        _check_overrides(call.meta)
        body = scope.body(block, call)
        name = self._name(call.meta.name, scope, block.name, call.meta.location)
        self.labels[name] = block.name
        inner = body.named(name, self._is_frozen(call.meta, scope))
        first = len(self.nodes)
        self.values[name] = current = self.items(self.reader.items(block.body), inner, current)
        if call.meta.share is not None:
            self._share_all(call.meta.share, scope, name, first)
        return current

    def _group(self, group: Group, scope: Scope, current: Tensor) -> Tensor:
        """Expand a group as often as it says, in scopes of its own where it has a name."""
        meta = group.meta
        _check_overrides(meta)
        if meta.share is not None and meta.name is None:
            fail(meta.share.location, "share: on a list of layers needs a name for the list, as in right: [...]")
        if meta.reads is not None:
            current = _only(self._sources(meta, scope, current), meta.location)
        is_frozen = self._is_frozen(meta, scope)
        for inner in scope.frozen(is_frozen).rounds(group, scope.repetitions(group)):
            if meta.name is None:
                current = self.items(group.items, inner, current)
                continue
            name = self._name(meta.name, inner, "", meta.location)
            self.labels[name] = "group"
            first = len(self.nodes)
            self.values[name] = current = self.items(group.items, inner.named(name, is_frozen), current)
            if meta.share is not None:
                self._share_all(meta.share, inner, name, first)
        return current

    def _join(self, join: Join, scope: Scope, current: Tensor) -> Tensor:
        """Expand parallel branches and the op that joins them."""
        meta = join.meta
        _check_unshared(meta)
        if meta.reads is not None:
            current = _only(self._sources(meta, scope, current), meta.location)
        inner = scope.frozen(self._is_frozen(meta, scope))
        ends = [self._group(branch, inner, current) for branch in join.branches]
        op = self._bound(join.call.callee, join.call, scope)
        name = self._name(meta.name, scope, automatic_stem(op), meta.location)
        return self._node(name, op, meta, ends, scope)

    def _sources(self, meta: Meta, scope: Scope, current: Tensor) -> list[Tensor]:
        if meta.reads is None:
            return [current]
        names = [(name, each.location) for each in meta.reads for name in scope.names(each)]
        return [self._named(name, scope, location) for name, location in names]

    def reference(self, template: Template, scope: Scope) -> Tensor:
        """Return the tensor that a name stands for."""
        return self._named(scope.name(template), scope, template.location)

    def _named(self, text: str, scope: Scope, location: Location) -> Tensor:
        """Return the tensor of a name, looked up from the innermost scope outwards."""
        match = _REFERENCE.match(text)
        if match is None:
            fail(location, f"{text[:60]} is not a name; write from: name, or name[1] for a second output")
        tensor = self.values[self._full_name(match["name"], scope, location)]
        return tensor if tensor is None or match["output"] is None else Edge(tensor.value, int(match["output"]))

    def _full_name(self, text: str, scope: Scope, location: Location) -> str:
        """Return the full name of what a name stands for; raises SpecError if there is nothing of that name."""
        # Like variables in nested functions: "b1.conv" is looked for in a.b., then in a., then at the top.
        path = scope.path
        while f"{path}{text}" not in self.values and path:
            path = path[: path.rfind(".", 0, -1) + 1]
        if f"{path}{text}" not in self.values:
            fail(location, self._no_reference(text, scope))
        return f"{path}{text}"

    def _no_reference(self, name: str, scope: Scope) -> str:
        near = (value[len(scope.path) :] for value in reversed(self.values) if value.startswith(scope.path))
        hint = did_you_mean(name, islice(near, _MAX_CANDIDATES))
        hint = hint or did_you_mean(name, islice(reversed(self.values), _MAX_CANDIDATES))
        return f"nothing above is called {name[:60]}{hint or '; name what is meant, and let it come first'}"

    def _name(self, template: Template | None, scope: Scope, stem: str, location: Location) -> str:
        """Return the full name of an item: the one written, or the stem with a running number."""
        if template is None:
            separator = "_" if stem[-1].isdigit() else ""
            while True:
                number = scope.counters.get(stem, 0) + 1
                scope.counters[stem] = number
                name = f"{scope.path}{stem}{separator}{number}"
                if name not in self.values:
                    return name
        text = scope.name(template)
        if not NAME.match(text):
            fail(template.location, f"‘{text[:60]}’ cannot be a name; use letters, digits, _ and -, 100 at most")
        name = scope.path + text
        if name in self.values:
            remedy = "give one another name, in a repetition one with its variable, as in conv{i}"
            fail(template.location, f"two items are called {name[:100]}; {remedy}")
        return name


def automatic_stem(op: Op) -> str:
    """Return the stem of automatic names: `conv` for Conv2d, `leakyrelu` for LeakyReLU."""
    return op.short_name or _kind_stem(op.kind)


@lru_cache(maxsize=1024)
def _kind_stem(kind: str) -> str:
    return _DIMENSION.sub("", kind).lower()


def _check_unshared(meta: Meta) -> None:
    if meta.share is not None:
        fail(meta.share.location, "share: stands on layers, blocks and named lists; write it on those inside")
    _check_overrides(meta)


def _check_overrides(meta: Meta) -> None:
    if meta.overrides is not None:
        fail(meta.location, f"{next(iter(meta.overrides))}: stands on single layers; write it on those inside")


def _only(sources: list[Tensor], location: Location) -> Tensor:
    if len(sources) != 1:
        fail(location, "a block or group starts from one tensor; read the others inside with from:")
    return sources[0]


def _with_stated_tensors(node: Node, keys: Mapping[str, Tree], scope: Scope) -> Node:
    """Return a node with what the spec states of its tensors: dtypes, computed weights, inputs that are copied."""
    from cnnstat.spec.layer_overrides import LayerOverrides

    overrides = LayerOverrides(keys, scope)
    return replace(
        node,
        dtypes=overrides.tensor_dtypes(),
        transient=overrides.transient(),
        computed_bytes=overrides.computed_bytes(),
        copies=overrides.copies(),
        overwrites=overrides.overwrites(len(node.inputs)),
    )
