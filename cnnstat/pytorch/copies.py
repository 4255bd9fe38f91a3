"""Copies: operands that PyTorch copies before it works on them, because of how they lie in memory.

A view that cannot be one (`reshape` behind `transpose`) is a copy, and a batched product copies operands whose batch
axes cannot be merged. Autograd then keeps the copy in the place of the operand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from cnnstat.ir.op import Op, Shape, Storage
from cnnstat.pytorch.calls import Call
from cnnstat.pytorch.tensor_origins import Operands
from cnnstat.pytorch.tensors import storage_key

Copies = Iterator[tuple[int, int]]
"""Numbers of a node's inputs, with the bytes of their copies."""

_FIRST_FACTOR = {
    torch.ops.aten.mm.default: 0,
    torch.ops.aten.bmm.default: 0,
    torch.ops.aten.addmm.default: 1,
    torch.ops.aten.baddbmm.default: 1,
}
"""The place of the first factor among the arguments of a product; the second comes next."""


def copies_of(call: Call, op: Op, operands: Operands) -> tuple[tuple[int, int], ...]:
    """Return the bytes of the copies that a call made of its node's inputs, with the numbers of these inputs."""
    if op.training_storage is Storage.VIEW:
        made, read = call.results[0], operands.tensors[:1]
        is_copy = bool(read) and storage_key(made) != storage_key(read[0])
        return ((0, made.untyped_storage().nbytes()),) if is_copy else ()
    # A product that copies nothing dispatches to itself alone, or to it and views.
    if len(call.inner) < 2 or not any(function in _FIRST_FACTOR for function, *_ in call.inner):
        return ()
    return tuple(_copied_factors(call, operands))


def _copied_factors(call: Call, operands: Operands) -> Copies:
    """Yield the copies among the factors of a call's product."""
    products = [(_FIRST_FACTOR[f], arguments) for f, arguments, *_ in call.inner if f in _FIRST_FACTOR]
    if len(products) == 2 and len(operands.entries) >= 3:
        # Attention step by step: scaled queries and keys are copies anyway, values are the last factor.
        first, arguments = products[1]
        yield from _copied(arguments[first + 1 : first + 2], operands.entries[2:3], operands)
        return
    # Without gradients, PyTorch may repeat a matrix for each of a batch, which it does not do in training.
    ranks = {operands.tensors[entry].dim() for entry in operands.entries[:2] if isinstance(entry, int)}
    if len(products) != 1 or len(ranks) != 1:
        return
    ((first, arguments),) = products
    yield from _copied(arguments[first : first + 2], operands.entries, operands)


def _copied(factors: Sequence[torch.Tensor], entries: Sequence[int | Shape], operands: Operands) -> Copies:
    """Yield those of a product's factors that lie elsewhere than the operands they are."""
    for factor, entry in zip(factors, entries):
        if isinstance(entry, int) and storage_key(factor) != storage_key(operands.tensors[entry]):
            yield entry, factor.untyped_storage().nbytes()
