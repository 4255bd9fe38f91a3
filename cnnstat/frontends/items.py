"""Items: what may stand in a list of layers, read from the YAML tree once and expanded as often as needed."""

from __future__ import annotations

import ast
import re
from collections.abc import Container
from dataclasses import dataclass, field, replace
from typing import NoReturn

from cnnstat.errors import Location, Problem, SpecError, did_you_mean
from cnnstat.frontends.expression import ExpressionError, parse_expression
from cnnstat.frontends.yaml_tree import Mapping, Scalar, Sequence, Tree

JOINS = {"add": "Add", "concat": "Concat", "multiply": "Multiply"}
"""Keys that run parallel branches and join them, with the op that joins."""

COMMON_KEYS = ("name", "from", "share", "frozen", "if")
_NAME = re.compile(r"[\w-]+\Z")
_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Value:
    """An argument as written: an expression from a call text, or a YAML value; with the place it stands."""

    written: ast.expr | Tree
    location: Location


@dataclass(frozen=True, slots=True)
class Template:
    """A name with expressions in braces (`conv{stage}_{i + 1}`): literal text and expressions by turns."""

    parts: tuple[str | ast.expr, ...]
    location: Location


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What every item may carry."""

    location: Location
    name: Template | None = None
    reads: tuple[Template, ...] | None = None
    share: Template | None = None
    frozen: Value | None = None
    condition: Value | None = None


_META = ("reads", "share", "frozen", "condition")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A layer or a block with its arguments."""

    meta: Meta
    callee: str
    positional: tuple[Value, ...] = ()
    keywords: tuple[tuple[str, Value], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A list of items, run once or repeated; with a name it is a scope of its own."""

    meta: Meta
    items: tuple[Item, ...]
    repeat: Value | None = None
    variable: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """Parallel branches that start from the same tensor, and the op that joins them."""

    meta: Meta
    call: Call
    branches: tuple[Group, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """`if:` with `then:` and `else:`."""

    meta: Meta
    then: Group
    otherwise: Group


Item = Call | Group | Join | Choice


@dataclass(slots=True)
class ItemReader:
    """Reads items; `callables` are the names of ops and blocks, `problems` collects every fault found."""

    callables: Container[str]
    suggestions: tuple[str, ...]
    problems: list[Problem]
    _read: dict[int, tuple[Item, ...]] = field(default_factory=dict)

    def items(self, tree: Tree | None) -> tuple[Item, ...]:
        """Return the items of a list (or of a single item); faulty ones are noted as problems and left out."""
        if tree is None or (isinstance(tree, Scalar) and tree.value is None):
            return ()
        if id(tree) not in self._read:
            entries = tree.items if isinstance(tree, Sequence) else [tree]
            self._read[id(tree)] = tuple(item for entry in entries for item in self._guarded(entry))
        return self._read[id(tree)]

    def _guarded(self, tree: Tree) -> tuple[Item, ...]:
        """Return one item, or none after noting its faults."""
        try:
            return (self.item(tree),)
        except SpecError as error:
            self.problems.extend(error.problems)
            return ()

    def item(self, tree: Tree) -> Item:
        """Return one item; raises SpecError."""
        if isinstance(tree, Scalar):
            return self.call(tree)
        if isinstance(tree, Sequence):
            return Group(meta=Meta(location=tree.location), items=self.items(tree))
        assert isinstance(tree, Mapping)
        meta = self._meta(tree)
        own = {key: value for key, (_, value) in tree.entries.items() if key not in COMMON_KEYS}
        if "then" in own or "else" in own:
            return self._choice(tree, meta)
        if "repeat" in own or "layers" in own:
            return self._group(tree, meta)
        joins = [key for key in own if key in JOINS]
        if joins:
            return self._join(joins[0], own, meta)
        if len(own) != 1:
            fail(tree.location, _unclear(tuple(own)))
        ((key, value),) = own.items()
        return self._single(tree.entries[key][0], value, meta)

    def call(self, scalar: Scalar, meta: Meta | None = None) -> Call:
        """Return a layer or block written as a call text (`Conv2d(64, 3, padding=1)`)."""
        if not isinstance(scalar.value, str):
            fail(scalar.location, f"{scalar.text[:60] or 'nothing'} is not a layer; write one as in Conv2d(64, 3)")
        node = parsed(scalar)
        callee, arguments, keywords = (
            (node.func, node.args, node.keywords) if isinstance(node, ast.Call) else (node, [], [])
        )
        if not isinstance(callee, ast.Name):
            fail(scalar.location, f"{scalar.text[:60]} is not a layer; write one as in Conv2d(64, 3)")
        if any(k.arg is None for k in keywords) or any(isinstance(a, ast.Starred) for a in arguments):
            fail(scalar.location, "* and ** are not allowed in a spec; write the arguments out")
        return Call(
            callee=callee.id,
            positional=tuple(Value(a, shifted(scalar, a.col_offset)) for a in arguments),
            keywords=tuple((k.arg or "", Value(k.value, shifted(scalar, k.col_offset))) for k in keywords),
            meta=meta or Meta(location=scalar.location),
        )

    def _meta(self, tree: Mapping) -> Meta:
        """Return the keys that every item may carry."""
        name, reads, share = tree.get("name"), tree.get("from"), tree.get("share")
        frozen, condition = tree.get("frozen"), tree.get("if")
        return Meta(
            location=tree.location,
            name=None if name is None else template(name),
            reads=None if reads is None else templates(reads),
            share=None if share is None else template(share),
            frozen=None if frozen is None else Value(frozen, frozen.location),
            condition=None if condition is None else Value(condition, condition.location),
        )

    def _choice(self, tree: Mapping, meta: Meta) -> Choice:
        """Return `if: … then: … else: …`."""
        known = (*COMMON_KEYS, "then", "else")
        self.problems.extend(tree.unknown_keys(known))
        if meta.condition is None:
            fail(tree.location, "then: and else: need if: with a condition")
        branches = [
            Group(meta=Meta(location=tree.location), items=self.items(tree.get(key))) for key in ("then", "else")
        ]
        return Choice(then=branches[0], otherwise=branches[1], meta=meta)

    def _group(self, tree: Mapping, meta: Meta) -> Group:
        """Return `layers:` with or without `repeat:`."""
        self.problems.extend(tree.unknown_keys((*COMMON_KEYS, "repeat", "as", "layers")))
        repeat, variable = tree.get("repeat"), tree.get("as")
        if "layers" not in tree:
            fail(tree.location, "repeat: needs layers: with the list to repeat")
        return Group(
            items=self.items(tree.get("layers")),
            repeat=None if repeat is None else Value(repeat, repeat.location),
            variable=None if variable is None else identifier(variable),
            meta=meta,
        )

    def _join(self, key: str, own: dict[str, Tree], meta: Meta) -> Join:
        """Return `add:`, `concat:` or `multiply:` with its branches."""
        tree = own[key]
        keywords = tuple((name, Value(value, value.location)) for name, value in own.items() if name != key)
        call = Call(callee=JOINS[key], keywords=keywords, meta=Meta(location=meta.location))
        if isinstance(tree, Mapping):
            branches = [self._branch(value, label) for label, value in tree.entries.values()]
        elif isinstance(tree, Sequence):
            branches = [self._branch(value) for value in tree.items]
        else:
            fail(tree.location, f"{key}: takes a list of branches, each a list of layers ([] passes the input on)")
        return Join(call=call, branches=tuple(branches), meta=meta)

    def _branch(self, tree: Tree, label: Scalar | None = None) -> Group:
        """Return one branch of a join; a label makes it a scope."""
        name = None if label is None else template(label)
        return Group(meta=Meta(location=tree.location, name=name), items=self.items(tree))

    def _single(self, key: Scalar, value: Tree, meta: Meta) -> Item:
        """Return `Layer: arguments`, `layer: text`, or `label: item`."""
        if key.text == "layer" and isinstance(value, Scalar):
            return self.call(value, meta)
        if key.text in self.callables:
            return self._with_arguments(key, value, meta)
        if self._is_misspelt(key.text, value):
            fail(key.location, f"there is no layer called {key.text[:60]}{did_you_mean(key.text, self.suggestions)}")
        if meta.name is not None:
            fail(key.location, f"two names, {key.text[:60]} and name:; keep one")
        label = template(key)
        if isinstance(value, Sequence):
            return Group(items=self.items(value), meta=replace(meta, name=label))
        return _renamed(self.item(value), label, meta)

    def _is_misspelt(self, key: str, value: Tree) -> bool:
        """Whether `key: value` looks like a layer with arguments rather than a label with layers."""
        entries = value.items if isinstance(value, Sequence) else [value]
        plain = bool(entries) and all(isinstance(e, Scalar) and not isinstance(e.value, str) for e in entries)
        arguments = isinstance(value, Mapping) and key[:1].isupper()
        return plain or arguments or not _NAME.match(_BRACES.sub("", key) or "x")

    def _with_arguments(self, key: Scalar, value: Tree, meta: Meta) -> Call:
        """Return a layer written as `Conv2d: {out_channels: 64}`, `Conv2d: [64, 3]`, `Linear: 10` or `ReLU:`."""
        positional: tuple[Value, ...] = ()
        keywords: tuple[tuple[str, Value], ...] = ()
        if isinstance(value, Mapping):
            keywords = tuple((name, Value(v, v.location)) for name, (_, v) in value.entries.items())
        elif isinstance(value, Sequence):
            positional = tuple(Value(v, v.location) for v in value.items)
        elif not (isinstance(value, Scalar) and value.value is None):
            positional = (Value(value, value.location),)
        located = replace(meta, location=key.location)
        return Call(meta=located, callee=key.text, positional=positional, keywords=keywords)


def _renamed(item: Item, label: Template, outer: Meta) -> Item:
    """Return `item` under a label, with what stands beside the label."""
    if item.meta.name is not None:
        fail(outer.location, "this item has two names; keep one")
    beside = {name: value for name in _META if (value := getattr(outer, name)) is not None}
    if any(getattr(item.meta, name) is not None for name in beside):
        fail(outer.location, "the same key stands beside the name and below it; keep one")
    return replace(item, meta=replace(item.meta, name=label, **beside))


def fail(location: Location, message: str) -> NoReturn:
    """Raise a SpecError with one problem."""
    raise SpecError([Problem(location, message)])


def shifted(scalar: Scalar, offset: int) -> Location:
    """Return the place `offset` characters into a scalar."""
    where = scalar.location
    return Location(where.file, where.line, where.column + offset + (not scalar.is_plain))


def parsed(scalar: Scalar) -> ast.expr:
    """Return the syntax tree of a scalar's text; raises SpecError at the fault."""
    try:
        return parse_expression(scalar.text)
    except ExpressionError as error:
        fail(shifted(scalar, error.offset), str(error))


def identifier(tree: Tree) -> str:
    """Return the text of a scalar that names a variable."""
    if isinstance(tree, Scalar) and tree.text.isidentifier() and len(tree.text) <= 60:
        return tree.text
    fail(tree.location, "a variable's name is a word of letters, digits and _, not beginning with a digit")


def templates(tree: Tree) -> tuple[Template, ...]:
    """Return one name or a list of names."""
    return tuple(map(template, tree.items)) if isinstance(tree, Sequence) else (template(tree),)


def template(tree: Tree) -> Template:
    """Return a name that may hold expressions in braces."""
    if not isinstance(tree, Scalar) or not tree.text or len(tree.text) > 200:
        fail(tree.location, "a name is a short word")
    parts: list[str | ast.expr] = []
    for index, part in enumerate(_BRACES.split(tree.text)):
        parts.append(part if index % 2 == 0 else parsed(Scalar(tree.location, part, True)))
    return Template(tuple(parts), tree.location)


def _unclear(keys: tuple[str, ...]) -> str:
    """Return the message for a mapping that is no item."""
    if not keys:
        return "this item names no layer; write one as in Conv2d: [64, 3]"
    shown = ", ".join(key[:40] for key in keys[:6])
    return f"cannot tell which of {shown} is the layer; beside it only {', '.join(COMMON_KEYS)} may stand"
