"""Autograd rules: what autograd keeps of calls on stored tensors, and which operands PyTorch copies before it works.

A view that cannot be one (`reshape` behind `transpose`) is a copy, and a batched product copies operands whose batch
axes cannot be merged. Autograd then keeps the copy in the place of the operand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from cnnstat.choices import words
from cnnstat.ir.op import Op, Saved, Shape, Storage
from cnnstat.pytorch.calls import Call, base_name
from cnnstat.pytorch.tensor_origins import Operands
from cnnstat.pytorch.tensors import operands_in, storage_key

_KEEP_NOTHING = words(
    """
    view _unsafe_view reshape _reshape_alias alias clone copy_ copy _to_copy lift_fresh expand permute transpose t slice
    select squeeze unsqueeze split split_with_sizes unbind chunk narrow cat stack constant_pad_nd roll flip rot90 repeat
    tril triu diagonal diag_embed as_strided unfold im2col col2im pixel_shuffle pixel_unshuffle channel_shuffle
    native_channel_shuffle upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact2d
    upsample_bilinear2d upsample_linear1d upsample_bicubic2d upsample_trilinear3d _upsample_bilinear2d_aa
    _upsample_bicubic2d_aa view_as_real view_as_complex real imag _conj transpose_ squeeze_ unsqueeze_ t_
    add add_ sub sub_ rsub neg neg_ sum mean cumsum floor ceil round trunc sign
    floor_ ceil_ round_ zero_ fill_ arange linspace full full_like zeros zeros_like ones ones_like empty empty_like
    empty_strided new_empty new_zeros new_ones new_full new_empty_strided rand rand_like randn randn_like scalar_tensor
    eye lt le gt ge eq ne logical_and logical_or logical_not bitwise_and bitwise_or bitwise_not isnan isinf isfinite
    argmax argmin any all floor_divide device is_same_size sym_size sym_numel _local_scalar_dense item
    """
)
"""aten operations of whose operands and results autograd keeps no storage: sizes are enough for the gradient."""

_KEEP_PLACES = {"index": 1, "index_select": 2, "embedding": 1}
"""aten operations of which autograd keeps the places that are looked up, and which argument these are."""

_KEEP_INPUT = words("sin cos tan sinh cosh asin acos atan asinh atanh log log2 log10 log1p abs erf pow")
"""aten operations on one tensor, element by element, of which autograd keeps that tensor and nothing else."""


def keeps_its_input(call: Call) -> bool:
    """Whether autograd keeps the one tensor that a call reads, and nothing else."""
    if call.match is not None or call.overwritten is not None or len(call.inner) != 1:
        return False
    ((function, arguments, keywords, _),) = call.inner
    is_alone = len(list(operands_in((*arguments, *keywords.values())))) == 1 and isinstance(arguments[0], torch.Tensor)
    return base_name(function) in _KEEP_INPUT and is_alone and arguments[0].is_floating_point()


def keeps_nothing(call: Call) -> bool:
    """Whether autograd keeps no tensor of a call, whatever needs a gradient."""
    return kept_places(call) == []


def kept_places(call: Call) -> list[torch.Tensor] | None:
    """Return the places looked up that autograd keeps of a call; None where it may keep anything else.

    The rules are those of PyTorch's derivatives.yaml.
    """
    if call.match is not None:
        return None
    if not call.inner or not any(result.is_floating_point() or result.is_complex() for result in call.results):
        return []
    places: list[torch.Tensor] = []
    for function, arguments, *_ in call.inner:
        name = base_name(function)
        if name in _KEEP_PLACES and len(arguments) > _KEEP_PLACES[name]:
            places += operands_in((arguments[_KEEP_PLACES[name]],))
        elif name not in _KEEP_NOTHING:
            return None
    return places


_BATCHED = frozenset((torch.ops.aten.bmm.default, torch.ops.aten.baddbmm.default))
_PRODUCTS = _BATCHED | {torch.ops.aten.mm.default, torch.ops.aten.addmm.default}


def is_other_kernel(call: Call, saved: Saved) -> bool:
    """Whether a call went step by step although its op's rule, `saved`, is that of a fused kernel.

    A fused attention keeps its first input, the queries. How operands lie in memory may rule out its kernel.
    """
    products = [function for function, *_ in call.inner if function in _PRODUCTS]
    return 0 in saved.inputs and len(products) == 2 and _BATCHED.issuperset(products)


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
        result, read = call.results[0], operands.tensors[:1]
        is_copy = bool(read) and storage_key(result) != storage_key(read[0])
        return ((0, result.untyped_storage().nbytes()),) if is_copy else ()
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
