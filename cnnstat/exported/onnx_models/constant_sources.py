"""Stored tensors behind constants: what weights, scales and tables the operands of a node are made of."""

from __future__ import annotations

from collections.abc import Sequence

from cnnstat.exported.onnx_models.operations import role_of
from cnnstat.exported.onnx_models.values import Value
from cnnstat.exported.stored_tensors import Role, Source, Use
from cnnstat.exported.word_list import words

_MOVING = words(
    """
    Cast CastLike Transpose Reshape Squeeze Unsqueeze Identity Flatten DequantizeLinear QuantizeLinear Slice Split
    Gather Concat Expand Tile Pad
    """
)
"""Operations on constants that leave what is a weight a weight."""
_ARITHMETIC = words("Mul Div Sub Add")


def tensor_uses(op_type: str, domain: str, inputs: Sequence[Value | None]) -> list[Use]:
    """Return the stored tensors behind the operands of a node, and what each is read as."""
    return [
        source.as_read(role_of(op_type, domain, place))
        for place, value in enumerate(inputs)
        if value is not None
        for source in value.sources
    ]


def constant_sources(op_type: str, domain: str, inputs: Sequence[Value | None]) -> tuple[Source, ...]:
    """Return the stored tensors that the result of an operation on constants is made of."""
    found: dict[int, Source] = {}
    main = _main_operand(inputs) if op_type in _ARITHMETIC else None
    for place, value in enumerate(inputs):
        if value is None:
            continue
        role = role_of(op_type, domain, place)
        for source in value.sources:
            own = source.role
            if own is None and role in (Role.SCALE, Role.SETTING):
                own = role
            if own is None and main is not None and place != main:
                own = Role.SCALE
            is_moved = source.is_moved and (op_type in _MOVING or place == main)
            found.setdefault(id(source.stored), Source(source.stored, own, is_moved))
    return tuple(found.values())


def _main_operand(inputs: Sequence[Value | None]) -> int | None:
    """Return which operand of constant arithmetic is a quantized weight that the other one scales or shifts."""
    sizes = [
        (value.size, -place)
        for place, value in enumerate(inputs)
        if value is not None
        and value.is_float
        and any(s.role is None and s.is_moved and not s.stored.is_float for s in value.sources)
    ]
    return -max(sizes)[1] if sizes else None
