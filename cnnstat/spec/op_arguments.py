"""Arguments of ops: what an op takes, where each argument is written, and the op that written arguments make."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any, NamedTuple

from cnnstat import ops
from cnnstat.errors import Location, OpError, did_you_mean
from cnnstat.ir.argument import Kind
from cnnstat.ir.op import Op
from cnnstat.spec.items import Call, Value
from cnnstat.spec.problems import fail
from cnnstat.spec.scope import Scope


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


@dataclass(frozen=True, slots=True, eq=False)
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
    """Return the message for an argument that the op does not have."""
    if name in op.inferred:
        return f"takes no {name}: the graph knows it; leave it out"
    hint = did_you_mean(name, known.kinds)
    if not hint:
        hint = f"; it takes {', '.join(known.kinds)}" if known.kinds else "; it takes none"
    return f"has no argument {name[:60]}{hint}"


def _inferred(op: type[Op]) -> str:
    return f"; {' and '.join(op.inferred)} is not written, the graph knows it" if op.inferred else ""
