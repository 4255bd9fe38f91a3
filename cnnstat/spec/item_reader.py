"""Item reader: YAML trees to items, each list once, however often it is expanded."""

from __future__ import annotations

from cnnstat import ops
from cnnstat.errors import Location, Problem, SpecError, did_you_mean, nearest
from cnnstat.ops import layer_hint
from cnnstat.spec.expression_syntax import parse_call, words_in
from cnnstat.spec.items import (
    OPAQUE,
    OPERAND_KEYS,
    Call,
    Choice,
    Faulty,
    Group,
    Item,
    Join,
    LayerLocation,
    Meta,
    Template,
    Value,
    is_label,
    variable_name,
)
from cnnstat.spec.spec_document import SpecDocument
from cnnstat.spec.tree import Mapping, Scalar, Sequence, Tree, fail, problem

JOINS = {"add": "Add", "concat": "Concat", "multiply": "Multiply"}
"""Keys that run parallel branches and join them, with the op that joins."""

COMMON_KEYS = ("name", "from", "share", "frozen", "if")
"""Keys that may stand beside every item."""

ITEM_KEYS = (*COMMON_KEYS, *OPERAND_KEYS, OPAQUE, *JOINS, "layer", "layers", "repeat", "as", "then", "else")
"""All words that mean something of their own in front of a colon; no label can be one of them."""

OPAQUE_CALLEE = "opaque:"
"""What an opaque call calls; no layer, block or variable can have this name."""

_BESIDE = ("reads", "share", "frozen", "condition", "overrides")


class ItemReader:
    """Reads the items of a document; `callables` are the names of ops and blocks, `problems` collects every fault."""

    def __init__(self, document: SpecDocument) -> None:
        self.blocks = document.blocks
        self.broken_blocks = document.broken_blocks
        self.problems = document.problems
        self.callables = frozenset((*ops.names(), *document.blocks))
        self._lists: dict[int, tuple[Item, ...]] = {}

    def layer_hint(self, name: str) -> str:
        """Return what to write for something that is no layer, or an empty text."""
        return layer_hint(name, (*ops.names(), *self.blocks))

    @property
    def count(self) -> int:
        """How many lists have been read."""
        return len(self._lists)

    def has_read(self, tree: Tree) -> bool:
        """Whether the items of a list have been read."""
        return id(tree) in self._lists

    def items(self, tree: Tree | None) -> tuple[Item, ...]:
        """Return the items of a list (or of a single item)."""
        if tree is None or (isinstance(tree, Scalar) and tree.value is None):
            return ()
        # By identity: an alias is the same tree, and a block's body is asked for at every call.
        if id(tree) not in self._lists:
            entries = tree.items if isinstance(tree, Sequence) else [tree]
            self._lists[id(tree)] = tuple(map(self._item_or_faulty, entries))
        return self._lists[id(tree)]

    def _item_or_faulty(self, tree: Tree) -> Item:
        try:
            return self.item(tree)
        except SpecError as error:
            self.problems.extend(error.problems)
            return Faulty(Meta(tree.location, _probable_name(tree)))

    def item(self, tree: Tree) -> Item:
        """Return one item; raises SpecError."""
        if isinstance(tree, Scalar):
            return self.call(tree)
        if isinstance(tree, Sequence):
            return Group(Meta(tree.location), self.items(tree))
        assert isinstance(tree, Mapping)
        if OPAQUE in tree:
            return self._opaque(tree, _meta(tree))
        beside = (*COMMON_KEYS, *OPERAND_KEYS)
        # The keys that are left tell what kind of item it is; the order of these tests is that of docs and schema.
        own = {key: value for key, (_, value) in tree.entries.items() if key not in beside}
        if "then" in own or "else" in own:
            return self._choice(tree, _meta(tree))
        if "repeat" in own or "layers" in own:
            return self._group(tree, _meta(tree))
        joins = [key for key in own if key in JOINS]
        if joins:
            return self._join(tree, joins, own, _meta(tree))
        if not own and set(tree.entries) == {"from"}:
            return Group(_meta(tree), ())  # a branch that passes another tensor on
        if len(own) != 1:
            raise SpecError(self._unclear(tree, tuple(own)))
        ((key, value),) = own.items()
        return self._single(tree.entries[key][0], value, _meta(tree))

    def _unclear(self, tree: Mapping, keys: tuple[str, ...]) -> list[Problem]:
        """Return what is wrong with a mapping that holds more or less than one layer."""
        if not keys:
            return [problem(tree.location, "this item names no layer; write one as in Conv2d: [64, 3]")]
        layers = [key for key in keys if key == "layer" or key in self.callables or self._is_call(tree.entries[key][0])]
        others = [key for key in keys if key not in layers]
        misspelt = [key for key in others if len(layers) == 1 or nearest(key, ITEM_KEYS)]
        if len(layers) < 2 and misspelt:
            beside = f"; beside a layer may stand {', '.join(COMMON_KEYS)}"
            hints = {key: did_you_mean(key, ITEM_KEYS) or beside for key in misspelt}
            return [problem(tree.entries[key][0].location, f"unknown key {key[:60]}{hints[key]}") for key in misspelt]
        listed = ", ".join(key[:40] for key in keys[:6])
        message = f"cannot tell which of {listed} is the layer; beside it only {', '.join(COMMON_KEYS)} may stand"
        return [problem(tree.location, message)]

    def call(self, scalar: Scalar, meta: Meta | None = None) -> Call:
        """Return a layer or block written as a call text (`Conv2d(64, 3, padding=1)`)."""
        if not isinstance(scalar.value, str):
            fail(scalar.location, f"{scalar.text[:60] or 'nothing'} is not a layer; write one as in Conv2d(64, 3)")
        # YAML takes a list item that is indented too deeply for a second line of the text above it.
        for offset, line, column in scalar.breaks:
            if scalar.text.startswith("- ", offset):
                fail(Location(scalar.file, line, column), "indented deeper than the item above; line the items up")
        callee, arguments, keyword_arguments, names = parse_call(scalar)
        positional = tuple(Value(a, scalar, a.col_offset) for a in arguments)
        keywords = tuple((k.arg or "", Value(k.value, scalar, k.col_offset)) for k in keyword_arguments)
        location = LayerLocation(scalar.file, scalar.line, scalar.column, callee, positional, keywords)
        located = Meta(location) if meta is None else meta._replace(location=location)
        return Call(located, callee, scalar.text, names, positional, keywords)

    def _opaque(self, tree: Mapping, meta: Meta) -> Call:
        from cnnstat.spec.layer_overrides import OPAQUE_KEYS  # seldom needed; it brings the ops of traced layers

        self.problems.extend(tree.unknown_keys((*COMMON_KEYS, *OPAQUE_KEYS)))
        overrides = {key: value for key, (_, value) in tree.entries.items() if key in OPAQUE_KEYS}
        return Call(meta._replace(overrides=overrides), OPAQUE_CALLEE, f"{OPAQUE_CALLEE} at {id(tree)}")

    def _choice(self, tree: Mapping, meta: Meta) -> Choice:
        self.problems.extend(tree.unknown_keys((*COMMON_KEYS, "then", "else")))
        if meta.condition is None:
            fail(tree.location, "then: and else: need if: with a condition")
        inner = meta._replace(condition=None)
        then, otherwise = (Group(inner, self.items(tree.get(key))) for key in ("then", "else"))
        return Choice(meta, then, otherwise)

    def _group(self, tree: Mapping, meta: Meta) -> Group:
        """Return `layers:` with or without `repeat:`."""
        self.problems.extend(tree.unknown_keys((*COMMON_KEYS, "repeat", "as", "layers")))
        repeat, variable = tree.get("repeat"), tree.get("as")
        if "layers" not in tree:
            fail(tree.location, "repeat: needs layers: with the list to repeat")
        if variable is not None and repeat is None:
            fail(variable.location, "as: needs repeat: with a number or a list")
        return Group(
            meta,
            self.items(tree.get("layers")),
            None if repeat is None else Value(repeat),
            None if variable is None else variable_name(variable),
        )

    def _join(self, tree: Mapping, joins: list[str], own: dict[str, Tree], meta: Meta) -> Join:
        """Return `add:`, `concat:` or `multiply:` with its branches."""
        key = joins[0]
        if meta.overrides is not None:
            fail(tree.location, f"operands: and tensors stand on single layers; write {JOINS[key]} with from:")
        if len(joins) > 1:
            second = tree.entries[joins[1]][0].location
            fail(second, f"{key}: and {joins[1]}: in one item; write them as two items, or one inside the other")
        parallel = own.pop(key)
        keywords = tuple((name, Value(value, tree.entries[name][0])) for name, value in own.items())
        call = _written_as_mapping(tree.entries[key][0], JOINS[key], (), keywords, meta)
        if isinstance(parallel, Mapping):
            branches = [self._branch(value, label) for label, value in parallel.entries.values()]
        elif isinstance(parallel, Sequence):
            branches = [self._branch(value) for value in parallel.items]
        else:
            takes = "a list of branches, each a list of layers ([] passes the input on)"
            fail(parallel.location, f"{key}: takes {takes}; as the name of a layer it stands behind name:")
        return Join(call.meta, call, tuple(branches))

    def _branch(self, tree: Tree, label: Scalar | None = None) -> Group:
        return Group(Meta(tree.location, None if label is None else Template.read(label)), self.items(tree))

    def _single(self, key: Scalar, value: Tree, meta: Meta) -> Item:
        """Return `Layer: arguments`, `layer: text`, `Layer(arguments):`, or `label: item`."""
        if key.text == "layer" and isinstance(value, Scalar):
            return self.call(value, meta)
        if key.text in self.callables:
            return self._with_arguments(key, value, meta)
        if self._is_call(key) and isinstance(value, Scalar) and value.value is None:
            return self.call(key, meta)
        self._check_label(key, value)
        if meta.name is not None:
            hint = did_you_mean(key.text, ITEM_KEYS)
            fail(key.location, f"two names, {key.text[:60]} and name:; keep one{hint}")
        label = Template.read(key)
        if isinstance(value, Sequence):
            self._check_branches(key, value)
            return Group(meta._replace(name=label), self.items(value))
        return _renamed(self.item(value), label, meta)

    def _check_branches(self, key: Scalar, value: Sequence) -> None:
        """Raise SpecError where a label in front of lists is a misspelt `add:`, `concat:` or `multiply:`."""
        meant = nearest(key.text, JOINS)
        if meant and len(value.items) > 1 and any(isinstance(entry, Sequence) for entry in value.items):
            message = f"a list of branches behind {key.text[:60]}:; did you mean {meant}? A name stands behind name:"
            fail(key.location, message)

    def _is_call(self, key: Scalar) -> bool:
        """Whether a key is a layer or block with its arguments in brackets, as `Conv2d(64, 3)`."""
        head, bracket, _ = key.text.partition("(")
        return bool(bracket) and head in self.callables

    def _check_label(self, key: Scalar, value: Tree) -> None:
        """Raise SpecError where `key: value` looks like a layer with arguments rather than a label with layers."""
        head = key.text.partition("(")[0]
        if self._is_call(key):
            fail(key.location, f"{head} has its arguments in brackets; a name stands in front, as in name: {head}(…)")
        entries = value.items if isinstance(value, Sequence) else [value]
        has_values = bool(entries) and all(isinstance(e, Scalar) and not isinstance(e.value, str) for e in entries)
        has_arguments = isinstance(value, Mapping) and key.text[:1].isupper()
        if is_label(key.text) and not has_values and not has_arguments:
            return
        if ("{" in key.text) != ("}" in key.text):
            fail(key.location, f"‘{key.text[:60]}’ has a brace without its partner; write {{…}}")
        hint = self.layer_hint(head)
        if (printed := key.text.strip("()")) != key.text and is_label(printed) and isinstance(value, Scalar):
            # as PyTorch prints modules: `(conv1): Conv2d(3, 64, kernel_size=(7, 7))`
            from cnnstat.spec.pasted_code import spec_line

            line = spec_line(value.text) or value.text[:60]
            fail(
                key.location,
                f"‘{key.text[:60]}’ is no name; write {'' if printed.isdecimal() else f'{printed}: '}{line}",
            )
        if not is_label(key.text) and not hint:
            fail(key.location, f"‘{key.text[:60]}’ is no layer, and names consist of letters, digits, _ and -")
        fail(key.location, f"there is no layer called {head[:60]}{hint}")

    def _with_arguments(self, key: Scalar, value: Tree, meta: Meta) -> Call:
        """Return a layer written as `Conv2d: {out_channels: 64}`, `Conv2d: [64, 3]`, `Linear: 10` or `ReLU:`."""
        positional: tuple[Value, ...] = ()
        keywords: tuple[tuple[str, Value], ...] = ()
        lower = key.text.lower()
        if JOINS.get(lower) == key.text and self._has_layers(value):
            message = f"branches stand behind {lower}:; {key.text} is the layer, whose inputs stand behind from:"
            fail(key.location, message)
        if isinstance(value, Mapping):
            keywords = tuple((name, Value(v, scalar)) for name, (scalar, v) in value.entries.items())
        elif isinstance(value, Sequence):
            self._check_operands(key, value)
            positional = tuple(Value(v) for v in value.items)
        elif not (isinstance(value, Scalar) and value.value is None):
            positional = (Value(value),)
        return _written_as_mapping(key, key.text, positional, keywords, meta)

    def _check_operands(self, key: Scalar, value: Sequence) -> None:
        """Raise SpecError where layers stand as the arguments of an op that reads several tensors."""
        _, most = ops.lookup(key.text).input_count if key.text in ops.names() else (1, 1)
        words = [entry.text for entry in value.items if isinstance(entry, Scalar) and isinstance(entry.value, str)]
        if most != 1 and len(words) > 1 and len(words) == len(value.items) and all(map(is_label, words)):
            names = ", ".join(words)[:60]
            fail(key.location, f"what {key.text} reads stands behind from:, as in {{{key.text}: , from: [{names}]}}")

    def _has_layers(self, value: Tree) -> bool:
        entries = value.items if isinstance(value, Sequence) else ()
        return any(
            isinstance(entry, Sequence)
            or (isinstance(entry, Scalar) and entry.text.partition("(")[0] in self.callables)
            for entry in entries
        )


def _written_as_mapping(
    key: Scalar, callee: str, positional: tuple[Value, ...], keywords: tuple[tuple[str, Value], ...], meta: Meta
) -> Call:
    names: dict[str, None] = {}
    for value in (*positional, *(v for _, v in keywords)):
        names.update(dict.fromkeys(words_in(value.written)))
    location = LayerLocation(key.file, key.line, key.column, callee, positional, keywords)
    return Call(meta._replace(location=location), callee, f"{callee} at {id(key)}", tuple(names), positional, keywords)


def _meta(tree: Mapping) -> Meta:
    """Return the keys that every item may carry."""
    name, reads, share = tree.get("name"), tree.get("from"), tree.get("share")
    frozen, condition = tree.get("frozen"), tree.get("if")
    return Meta(
        tree.location,
        None if name is None else Template.read(name),
        None if reads is None else Template.read_all(reads),
        None if share is None else Template.read(share),
        None if frozen is None else Value(frozen),
        None if condition is None else Value(condition),
        {key: value for key, (_, value) in tree.entries.items() if key in OPERAND_KEYS} or None,
    )


def _probable_name(tree: Tree) -> Template | None:
    """Return the name of an item that could not be read, if it seems to have one."""
    if not isinstance(tree, Mapping):
        return None
    labels = [key for name, (key, _) in tree.entries.items() if name not in COMMON_KEYS and is_label(name)]
    try:
        name = tree.get("name") or (labels[0] if len(labels) == 1 else None)
        return None if name is None else Template.read(name)
    except SpecError:
        return None


def _renamed(item: Item, label: Template, outer: Meta) -> Item:
    """Return `item` under a label, with what stands beside the label."""
    if item.meta.name is not None:
        fail(outer.location, "this item has two names; keep one")
    beside = {name: value for name in _BESIDE if (value := getattr(outer, name)) is not None}
    if any(getattr(item.meta, name) is not None for name in beside):
        fail(outer.location, "the same key stands beside the name and below it; keep one")
    meta = item.meta._replace(name=label, **beside)
    if isinstance(item, Choice):
        inner = meta._replace(condition=None)
        return Choice(meta, item.then._replace(meta=inner), item.otherwise._replace(meta=inner))
    return item._replace(meta=meta)
