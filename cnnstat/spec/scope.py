"""Scopes: where an item stands, which gives its names, conditions, repetitions and arguments a value."""

from __future__ import annotations

import ast
from collections.abc import Container, Hashable, Iterator, Mapping
from collections.abc import Sequence as Values
from typing import Any, Protocol

from cnnstat import ops
from cnnstat.errors import Location, OpError, did_you_mean
from cnnstat.ir.op import Op
from cnnstat.spec.expression_syntax import Budget, ExpressionError, bounded, parse_expression
from cnnstat.spec.expressions import Variables
from cnnstat.spec.items import Block, Call, Choice, Group, Item, OpSignature, Template, Value, example, op_signature
from cnnstat.spec.tree import Abandoned, Scalar, Sequence, Tree, fail

MAX_LAYERS = 120_000
"""Most layers of one network; enough for any real one, few enough to be refused at once."""

_NO_LAYERS: Container[str] = ()


class _Written(Protocol):
    """Something of a spec that has a place."""

    @property
    def location(self) -> Location: ...

    def place(self, offset: int) -> Location: ...


class Scope(Variables):
    """What an item is read with: the variables of its expressions, the path of its name, and what it inherits.

    layers: names of ops and blocks, which arguments of blocks and values of repetitions may be.
    path: names of the blocks and groups around it, with a final dot; empty at the top.
    counters: how often each stem of automatic names was used at this path.
    is_frozen: whether its layers are frozen unless they say otherwise.
    """

    __slots__ = ("counters", "is_frozen", "layers", "path", "root")

    def __init__(
        self, variables: Mapping[str, Any], layers: Container[str] = _NO_LAYERS, budget: Budget | None = None
    ) -> None:
        super().__init__(variables, None, budget)
        self.layers = layers
        self.root = self
        self.path = ""
        self.counters: dict[str, int] = {}
        self.is_frozen = False

    def inside(self, variables: Mapping[str, Any]) -> Scope:
        """Return this scope with more variables in front of its own."""
        scope = self._copy()
        scope._own, scope._outer = variables, self
        return scope

    def frozen(self, is_frozen: bool) -> Scope:
        """Return this scope with its layers frozen or not."""
        if is_frozen == self.is_frozen:
            return self
        scope = self._copy()
        scope.is_frozen = is_frozen
        return scope

    def named(self, name: str, is_frozen: bool) -> Scope:
        """Return the scope of a block or group called `name`, with these variables and names of its own."""
        scope = self._copy()
        scope.path, scope.counters, scope.is_frozen = name + ".", {}, is_frozen
        return scope

    def _copy(self) -> Scope:
        # Without __init__, whose scopes begin anew: one is copied for every block call and repetition.
        scope = Scope.__new__(Scope)
        scope._own, scope._outer, scope.budget = self._own, self._outer, self.budget
        scope.layers, scope.root, scope.path = self.layers, self.root, self.path
        scope.counters, scope.is_frozen = self.counters, self.is_frozen
        return scope

    # Values ----------------------------------------------------------------------------------------------------------

    def value(self, written: Value | Tree, words: tuple[str, ...] = ()) -> Any:
        """Return what an argument or YAML value means; raises SpecError at its place.

        words: bare words that mean themselves, where no variable has their name.
        """
        return self._value(written, words, _NO_LAYERS)

    def value_or_layer(self, written: Value | Tree, words: tuple[str, ...] = ()) -> Any:
        """Return what `value` does; a layer or block, with or without arguments, means its own text."""
        return self._value(written, words, self.layers)

    def _value(self, written: Value | Tree, words: tuple[str, ...], layers: Container[str]) -> Any:
        if isinstance(written, Value):
            node = written.written
            if isinstance(node, ast.Constant):
                return node.value  # most arguments are plain numbers
            if not isinstance(node, Tree):
                return self._evaluated(node, written, words, layers)
            written = node
        value = self._tree_value(written, words, layers)
        try:
            return bounded(value)
        except ExpressionError as error:
            fail(written.location, str(error))

    def _tree_value(self, tree: Tree, words: tuple[str, ...], layers: Container[str]) -> Any:
        """Return numbers and truth values as they are, text as an expression, lists of those; however large."""
        try:
            self.budget.spend(1)
        except Abandoned as stop:
            stop.location = tree.location
            raise
        if isinstance(tree, Sequence):
            return [self._tree_value(item, words, layers) for item in tree.items]
        if not isinstance(tree, Scalar):
            fail(tree.location, "a mapping cannot be a value here; write a number, a word or a list")
        value = tree.value
        return self._evaluated(value, tree, words, layers) if isinstance(value, str) else value

    def _evaluated(
        self, node: ast.expr | str, written: _Written, words: tuple[str, ...], layers: Container[str]
    ) -> Any:
        """Return the value of an expression, or the text of a layer; raises SpecError at the fault."""
        try:
            if isinstance(node, str):
                node = parse_expression(node)
            head = node.func if isinstance(node, ast.Call) else node
            if isinstance(head, ast.Name) and head.id in layers and head.id not in self:
                return ast.unparse(node)
            return self.evaluate(node, words)
        except ExpressionError as error:
            fail(written.place(error.offset), str(error))
        except Abandoned as stop:
            # The budget knows no places; the innermost value that was evaluated when it ran out is one.
            stop.location = stop.location or written.location
            raise

    def key(self, what: str, values: list[Any]) -> Hashable:
        """Return a key that is equal for equal values of equal types; lists cost as many steps as they are long."""
        return (what, *map(self._key, values))

    def _key(self, value: Any) -> Hashable:
        # With its type, since 1, 1.0 and true are equal in Python and different arguments here.
        if not isinstance(value, list):
            return type(value), value
        self.budget.spend(len(value))
        return tuple(map(self._key, value))

    # Items -----------------------------------------------------------------------------------------------------------

    def holds(self, condition: Value | None) -> bool:
        """Return whether a condition is true; no condition is."""
        return condition is None or bool(self.value(condition))

    def chosen(self, item: Item) -> Item | None:
        """Return an item, of `if: then: else:` the half that holds, or nothing where a condition does not hold."""
        if isinstance(item, Choice):
            return item.then if self.holds(item.meta.condition) else item.otherwise
        return item if self.holds(item.meta.condition) else None

    def repetitions(self, group: Group) -> Values[Any]:
        """Return the values that the group's variable takes, one for each repetition."""
        if group.repeat is None:
            return range(1)
        times = self.value_or_layer(group.repeat)
        if isinstance(times, list):
            return times
        if isinstance(times, bool) or not isinstance(times, int) or times < 0:
            fail(group.repeat.location, f"repeat: takes a whole number or a list, not {str(times)[:40]}")
        if times > MAX_LAYERS:
            fail(group.repeat.location, f"repeat: {times:,} is more than the {MAX_LAYERS:,} layers a network may have")
        return range(times)

    def rounds(self, group: Group, values: Values[Any]) -> Iterator[Scope]:
        """Yield the scope of each repetition."""
        name = group.variable
        for value in values:
            yield self if name is None else self.inside({name: value})

    def callee(self, call: Call, blocks: Container[str]) -> str:
        """Return what a call calls: a variable that holds the name of a layer or block stands for it."""
        if call.callee in blocks:
            return call.callee
        value = self.get(call.callee)
        return value if isinstance(value, str) else call.callee

    def body(self, block: Block, call: Call) -> Scope:
        """Return the scope of a block's body: its parameters in front of the variables of the document.

        The arguments are evaluated in this scope, whose variables the body does not see.
        """
        names = [name for name, _ in block.parameters]
        if len(call.positional) > len(names):
            fail(call.positional[len(names)].location, f"the block {block.name} takes {block.listed}; leave this out")
        own: dict[str, Any] = {}
        for name, value in (*zip(names, call.positional), *call.keywords):
            if name not in names:
                hint = did_you_mean(name, names) or f"; it takes {block.listed}"
                fail(value.location, f"the block {block.name} has no parameter {name[:60]}{hint}")
            if name in own:
                fail(value.location, f"the block {block.name} is given {name} twice; keep one")
            own[name] = self.value_or_layer(value)
        body = self.root.inside(own)
        # In their order and with those before in sight, so that a default may be made of another parameter.
        for name, default in block.parameters:
            if name in own:
                continue
            if default is None:
                fail(call.meta.location, f"the block {block.name} needs {name}; it takes {block.listed}")
            own[name] = body.value_or_layer(default)
        return body

    # Names -----------------------------------------------------------------------------------------------------------

    def name(self, template: Template) -> str:
        """Return a name with its expressions evaluated; raises SpecError."""
        first = template.parts[0]
        if len(template.parts) == 1 and isinstance(first, str):
            return first
        return "".join([part if isinstance(part, str) else self._text(part, template) for part in template.parts])

    def _text(self, node: ast.expr, template: Template) -> str:
        value = self._evaluated(node, template, (), _NO_LAYERS)
        if isinstance(value, list):
            fail(template.location, "a list cannot be part of a name; pick one of its values, as in {sizes[0]}")
        return str(value)

    def names(self, template: Template) -> list[str]:
        """Return the names behind `from:`: one, or all of a list where the whole is one expression, `{skips}`."""
        match template.parts:
            case ("", ast.expr() as node, ""):
                value = self._evaluated(node, template, (), _NO_LAYERS)
                if not isinstance(value, list):
                    return [str(value)]
                if any(not isinstance(name, (str, int)) or isinstance(name, bool) for name in value):
                    fail(template.location, "a list behind from: holds names in quotes, as in ['conv1', 'conv2']")
                return [str(name) for name in value]
        return [self.name(template)]


def bind(callee: str, call: Call, scope: Scope) -> Op:
    """Return the op called `callee` with a call's arguments; raises SpecError where they do not fit."""
    op, known = ops.lookup(callee), op_signature(callee)
    written = call.positional
    arguments: dict[str, Any] = {}
    if len(written) > len(known.positional):
        if len(known.positional) != 1:
            fail(written[len(known.positional)].location, _too_many(op, known))
        # Permute(0, 2, 3, 1): the only argument may be a list, written without its brackets.
        arguments[known.positional[0]] = [scope.value(value) for value in written]
        written = ()
    for name, value in (*zip(known.positional, written), *call.keywords):
        if name not in known.kinds:
            fail(value.location, f"{callee} {_unknown(op, name, known)}")
        if name in arguments:
            hint = _inferred(op) if name in known.positional[1 : len(written)] else ""
            fail(value.location, f"{callee}: {name} is given twice{hint or '; keep one'}")
        arguments[name] = scope.value(value, known.kinds[name].words)
    missing = [name for name in known.required if name not in arguments]
    if missing:
        fail(call.meta.location, f"{callee} needs {' and '.join(missing)}; write {example(op)}")
    try:
        return op(**arguments)
    except OpError as error:
        name = str(error).partition("=")[0]
        # A count where something else belongs is most often PyTorch's order, in_channels first.
        is_shifted = name in known.positional[1 : len(written)] and type(arguments[name]) is int and arguments[name] > 0
        place: Location = call.meta.location.argument(name)
        fail(place, f"{callee}: {error}{_inferred(op) if is_shifted else ''}")


def _too_many(op: type[Op], known: OpSignature) -> str:
    if not known.positional:
        return f"{op.__name__} takes no arguments without a name{_inferred(op)}; write {example(op)}"
    names = ", ".join(known.positional)
    return f"{op.__name__} takes at most {len(known.positional)} arguments without a name: {names}{_inferred(op)}"


def _unknown(op: type[Op], name: str, known: OpSignature) -> str:
    if name in op.inferred:
        return f"takes no {name}: the graph knows it; leave it out"
    hint = did_you_mean(name, known.kinds)
    if not hint:
        hint = f"; it takes {', '.join(known.kinds)}" if known.kinds else "; it takes none"
    return f"has no argument {name[:60]}{hint}"


def _inferred(op: type[Op]) -> str:
    return f"; {' and '.join(op.inferred)} is not written, the graph knows it" if op.inferred else ""
