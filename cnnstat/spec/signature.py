"""Signatures: what arguments an op takes, and how one is written."""

from __future__ import annotations

from dataclasses import MISSING, fields
from functools import cache
from typing import NamedTuple

from cnnstat import ops
from cnnstat.ir.argument import Kind
from cnnstat.ir.op import Op


class Signature(NamedTuple):
    """An op's positional arguments, the kinds of all its arguments, and those without a default."""

    positional: tuple[str, ...]
    kinds: dict[str, Kind]
    required: tuple[str, ...]


@cache
def signature(name: str) -> Signature:
    """Return the signature of an op; raises OpError if there is none of that name."""
    declared = fields(ops.lookup(name))  # type: ignore[arg-type]  # every registered op is a dataclass
    return Signature(
        tuple(f.name for f in declared if not f.kw_only),
        {f.name: f.metadata["kind"] for f in declared},
        tuple(f.name for f in declared if f.default is MISSING),
    )


def example(op: type[Op]) -> str:
    """Return a call of the op as one would write it."""
    return str(op.examples()[0].op)
