"""Calls that were seen before: equal arguments make the same op of equal operands, with the same result.

Networks repeat their layers, and one process often traces a network many times. What a call is depends on the sizes of
its tensors and on its plain arguments only, so that it has to be worked out once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from cnnstat.ir.op import Op, Shape
from cnnstat.pytorch.calls import Call, Match

MAX_KNOWN = 20_000
"""Most calls that are remembered; beyond that, all are forgotten."""

_OF_MODULES = frozenset(("F.batch_norm",))
"""Calls whose op depends on the module they are made in, too."""

_PLAIN = frozenset((int, float, bool, str, type(None)))
_INTEGER = frozenset((int,))
_TENSOR = object()

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """A match with operand numbers in place of tensors; made: the shape of the result."""

    op: Op
    reads: tuple[tuple[int | None, Any], ...]
    weights: tuple[tuple[str, int | None], ...]
    optional: int
    flops: int
    made: Shape


_known: dict[Key, _Known] = {}


def key_of(call: Call, operands: list[torch.Tensor]) -> Key | None:
    """Return what calls of the same op have in common; None for a call that cannot be told by its arguments.

    operands: the call's tensors, in order and all of one dtype.
    """
    if call.name in _OF_MODULES or len({id(tensor) for tensor in operands}) < len(operands):
        return None
    try:
        parts = [(type(value), value) if type(value) in _PLAIN else _part(value) for value in call.arguments]
        if call.keywords:
            parts += [(name, _part(value)) for name, value in call.keywords.items()]
    except _OtherKindError:
        return None
    return (call.name, operands[0].dtype, *parts)


class _OtherKindError(Exception):
    """An argument is neither a tensor nor plain."""


def _part(value: Any) -> Any:
    """Return what an argument adds to a key; raises _OtherKindError."""
    kind = type(value)
    if kind in _PLAIN:
        return kind, value
    if kind in (tuple, list, torch.Size):
        return (tuple, *value) if _INTEGER.issuperset(map(type, value)) else (list, *map(_part, value))
    if isinstance(value, torch.Tensor):
        return _TENSOR, value.shape
    raise _OtherKindError


def recall(key: Key, operands: list[torch.Tensor]) -> tuple[Match, Shape] | None:
    """Return what a call is and the shape of what it makes, if an equal call was seen before."""
    known = _known.get(key)
    if known is None:
        return None
    reads = tuple(value if number is None else operands[number] for number, value in known.reads)
    weights = {name: None if number is None else operands[number] for name, number in known.weights}
    return Match(known.op, reads, weights, known.optional, flops=known.flops), known.made


def remember(key: Key, operands: list[torch.Tensor], match: Match, made: Shape) -> None:
    """Keep what a call is, unless it reads tensors that are not among its operands."""
    numbers: dict[int, int] = {id(tensor): number for number, tensor in enumerate(operands)}
    tensors = [value for value in (*match.reads, *match.weights.values()) if isinstance(value, torch.Tensor)]
    if match.also or any(id(tensor) not in numbers for tensor in tensors):
        return
    if len(_known) >= MAX_KNOWN:
        _known.clear()
    reads = tuple(
        (numbers[id(value)], None) if isinstance(value, torch.Tensor) else (None, value) for value in match.reads
    )
    weights = tuple((name, None if tensor is None else numbers[id(tensor)]) for name, tensor in match.weights.items())
    _known[key] = _Known(match.op, reads, weights, match.optional, match.flops, made)
