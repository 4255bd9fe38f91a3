"""Items: what may stand in a list of layers, as written, with names, blocks and the arguments that ops take."""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import NamedTuple

from cnnstat import ops
from cnnstat.errors import Location, OpError
from cnnstat.ir.declaration import Kind
from cnnstat.ir.op import Op
from cnnstat.spec.expression_syntax import parse_scalar
from cnnstat.spec.tree import Scalar, Sequence, Tree, fail

NAME = re.compile(r"(?=.{1,200}\Z)[\w-]{1,100}(?:\.[\w-]{1,100})*\Z")
"""What a name looks like; with dots it stands inside a scope that is written elsewhere."""

OPAQUE = "opaque"
"""The key that states a call."""
OPERAND_KEYS = (
    "operands", "parameters", "buffers", "dtype", "weight_macs", "weight_flops", "weight_dtype", "weight_bytes",
    "copied_inputs", "overwrites",
)  # fmt: skip
"""Keys that may stand beside a single layer."""

_BRACES = re.compile(r"\{([^{}]*)\}")


class Value(NamedTuple):
    """An argument as written: an expression inside a call text, or a YAML value.

    inside, offset: the text or key it is found in, and how many bytes of that come before it (or before its name).
    """

    written: ast.expr | Tree
    inside: Scalar | None = None
    offset: int = 0

    @property
    def location(self) -> Location:
        """Where the argument begins, with its name if it is written with one."""
        if self.inside is not None:
            return self.inside.place(self.offset)
        assert isinstance(self.written, Tree)
        return self.written.location

    def place(self, offset: int) -> Location:
        """Return where the part of the text stands that has `offset` bytes before it."""
        return self.location if self.inside is None else self.inside.place(offset)


class Template(NamedTuple):
    """A name with expressions in braces (`conv{stage}_{i + 1}`): literal text and expressions by turns."""

    parts: tuple[str | ast.expr, ...]
    location: Location

    @classmethod
    def read(cls, tree: Tree) -> Template:
        """Return the name that a YAML value is; raises SpecError."""
        if not isinstance(tree, Scalar) or not tree.text or len(tree.text) > 200:
            fail(tree.location, "a name is a short word")
        # Splitting at a pattern with a group gives text and expressions by turns, beginning with text.
        parts = (
            parse_scalar(Scalar(tree.file, tree.line, tree.column, part, "|")) if index % 2 else part
            for index, part in enumerate(_BRACES.split(tree.text))
        )
        return cls(tuple(parts), tree.location)

    @classmethod
    def read_all(cls, tree: Tree) -> tuple[Template, ...]:
        """Return one name or a list of names."""
        return tuple(map(cls.read, tree.items)) if isinstance(tree, Sequence) else (cls.read(tree),)

    def place(self, offset: int) -> Location:
        """Return where the name stands; the places of expressions in it are not known."""
        return self.location


class Meta(NamedTuple):
    """What every item may carry.

    reads: names behind `from:`. share: the layer whose weights are used. overrides: keys of
    `cnnstat.spec.layer_overrides`, on single layers only.
    """

    location: Location
    name: Template | None = None
    reads: tuple[Template, ...] | None = None
    share: Template | None = None
    frozen: Value | None = None
    condition: Value | None = None
    overrides: Mapping[str, Tree] | None = None


class Call(NamedTuple):
    """A layer or a block with its arguments.

    text: the call as written, or whatever else tells it from every other call.
    names: the words its arguments mention; calls of one text with equal values for them mean the same.
    """

    meta: Meta
    callee: str
    text: str
    names: tuple[str, ...] = ()
    positional: tuple[Value, ...] = ()
    keywords: tuple[tuple[str, Value], ...] = ()


class Group(NamedTuple):
    """A list of items, run once or repeated; with a name it is a scope of its own."""

    meta: Meta
    items: tuple[Item, ...]
    repeat: Value | None = None
    variable: str | None = None


class Join(NamedTuple):
    """Parallel branches that start from the same tensor, and the op that joins them."""

    meta: Meta
    call: Call
    branches: tuple[Group, ...]


class Choice(NamedTuple):
    """`if:` with `then:` and `else:`."""

    meta: Meta
    then: Group
    otherwise: Group


class Faulty(NamedTuple):
    """An item that could not be read; its fault is noted, and what follows from it need not be."""

    meta: Meta


Item = Call | Group | Join | Choice | Faulty


class Block(NamedTuple):
    """A block: parameters with their defaults (None where there is none) and the items of its body."""

    name: str
    parameters: tuple[tuple[str, Value | None], ...]
    body: Tree

    @property
    def listed(self) -> str:
        """The names of the parameters, for a message."""
        return ", ".join(name for name, _ in self.parameters) or "no parameters"


def identifier(tree: Tree) -> str:
    """Return the text of a scalar that names a variable."""
    if isinstance(tree, Scalar) and tree.text.isidentifier() and len(tree.text) <= 60:
        return unicodedata.normalize("NFKC", tree.text)  # as Python's parser does with names in expressions
    fail(tree.location, "a variable's name is a word of letters, digits and _, not beginning with a digit")


def variable_name(tree: Tree) -> str:
    """Return the text of a scalar that names a variable and no layer."""
    name = identifier(tree)
    if name in ops.names():
        fail(tree.location, f"{name} is a layer; give the variable another name")
    return name


def is_label(text: str) -> bool:
    """Whether a text is a name, perhaps with expressions in braces."""
    return bool(NAME.match(_BRACES.sub("", text) or "x"))


# Layers -------------------------------------------------------------------------------------------------------------


class OpSignature(NamedTuple):
    """An op's positional arguments, the kinds of all its arguments, and those without a default."""

    positional: tuple[str, ...]
    kinds: dict[str, Kind]
    required: tuple[str, ...]


@cache
def op_signature(name: str) -> OpSignature:
    """Return the signature of an op; raises OpError if there is none of that name."""
    declared = fields(ops.lookup(name))  # type: ignore[arg-type]  # every registered op is a dataclass
    return OpSignature(
        tuple(f.name for f in declared if not f.kw_only),
        {f.name: f.metadata["kind"] for f in declared},
        tuple(f.name for f in declared if f.default is MISSING),
    )


def example(op: type[Op]) -> str:
    """Return a call of the op as one would write it."""
    return str(op.examples()[0].op)


@dataclass(frozen=True, slots=True, eq=False, repr=False)  # shown as the place alone, without syntax trees
class LayerLocation(Location):
    """Where a layer stands, and where each of its arguments does."""

    callee: str
    positional: tuple[Value, ...]
    keywords: tuple[tuple[str, Value], ...]

    def argument(self, name: str) -> Location:
        """Return where the argument `name` is written, or the place of the layer if it is not."""
        for keyword, value in self.keywords:
            if keyword == name:
                return value.location
        try:
            names, _, _ = op_signature(self.callee)
        except OpError:
            return self
        index = names.index(name) if name in names else len(names)
        return self.positional[index].location if index < len(self.positional) else self
