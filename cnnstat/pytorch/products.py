"""Products: the multiply-accumulates of every operation that multiplies and sums, by definition, from shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from cnnstat.choices import words
from cnnstat.ir.op import Shape, numel
from cnnstat.pytorch.calls import base_name
from cnnstat.pytorch.packed_weights import unpacked
from cnnstat.pytorch.tensor_parts import parts_of
from cnnstat.pytorch.tensors import operands_in, shape_of

QUANTIZED_NAMESPACES = ("quantized", "_quantized", "onednn")

Operands = Sequence[Any]
"""The arguments of an operation in order: shapes in the place of tensors, all else as it is."""

Definition = Callable[[Operands, Shape], int]
"""Returns multiply-accumulates from an operation's operands and the shape of its first result."""


def operands_of(arguments: Sequence[Any]) -> list[Any]:
    """Return arguments with shapes in the place of tensors; nested tensors count as long as their longest sequence."""
    return [_operand(value) for value in arguments]


def _operand(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return shape_of(torch.nested.to_padded_tensor(value, 0.0) if value.is_nested else value)
    return operands_of(value) if isinstance(value, (list, tuple)) else value


def defined_macs(kind: str, operands: Operands, result: Shape) -> int | None:
    """Return the multiply-accumulates of an operation; None where it has no definition, or not of these operands."""
    definition = DEFINITIONS.get(kind)
    try:
        return None if definition is None else int(definition(operands, result))
    except (TypeError, IndexError, ValueError, StopIteration):
        return None


def _elements(place: int) -> Definition:
    """Every element of one operand, the matrix or the vector, is one factor."""
    return lambda operands, result: int(numel(operands[place]))


def _contracted(first: int, second: int) -> Definition:
    """Every row of the first factor meets every column of the second, over batches that may be repeated."""

    def count(operands: Operands, result: Shape) -> int:
        left, right = operands[first], operands[second]
        rows = math.prod(left[-2:-1])
        columns = right[-1] if len(right) > 1 else 1
        batch = zip_longest(reversed(left[:-2]), reversed(right[:-2]), fillvalue=1)
        return int(math.prod(max(pair) for pair in batch) * rows * left[-1] * columns)

    return count


def _rows(operands: Operands, result: Shape) -> int:
    """Every element of the first factor meets each column of its matrix in the second."""
    return int(numel(operands[0]) * operands[1][-1])


def _convolution(operands: Operands, result: Shape) -> int:
    """Elements of the filter for each position of the output, or of the input if it is transposed."""
    x, filters, is_transposed = operands[0], operands[1], bool(operands[6])
    return int(x[0] * math.prod(filters) * math.prod((x if is_transposed else result)[2:]))


def _kernel(place: int) -> Definition:
    """Every element of the result sums its group's kernel (deformable: arXiv:1703.06211)."""
    return lambda operands, result: int(numel(result) * math.prod(operands[place][1:]))


def _attention(operands: Operands, result: Shape) -> int:
    """QKᵀ and AV: every query meets every key twice, over the features of keys and of values."""
    query, key, value = operands[:3]
    return int(math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1]))


def _fused_attention(operands: Operands, result: Shape) -> int:
    """Four projections of every position, and both products of each position with each."""
    batch, length, features = operands[0]
    return int(batch * length * features * (4 * features + 2 * length))


def _fused_encoder(operands: Operands, result: Shape) -> int:
    """Attention, and both linear layers of a Transformer encoder's layer."""
    positions = math.prod(operands[0][:-1])
    return int(_fused_attention(operands, result) + positions * (numel(operands[14]) + numel(operands[16])))


def _recurrent(operands: Operands, result: Shape) -> int:
    """All weight matrices, once for every step of every sequence; the last list of tensors holds the weights."""
    weights = [value for value in operands if isinstance(value, list) and value and isinstance(value[0], tuple)][-1]
    return int(math.prod(operands[0][:-1]) * sum(numel(weight) for weight in weights if len(weight) == 2))


def _trilinear(operands: Operands, result: Shape) -> int:
    """The three factors are expanded to one common shape, each element of which is one term of the sum."""
    shapes = []
    for shape, axes in zip(operands[:3], operands[3:6]):
        sizes = list(shape)
        for axis in axes:
            sizes.insert(axis, 1)
        shapes.append(sizes)
    return math.prod(map(max, *shapes))


def _einsum(operands: Operands, result: Shape) -> int:
    """Every combination of the indices of two factors, which is how one batched matrix product computes it.

    None where no index is summed over: elements are multiplied and nothing is added.
    """
    equation, factors = operands[0], operands[1]
    left, arrow, right = equation.replace(" ", "").partition("->")
    letters = left.split(",")
    if len(factors) != 2:
        raise ValueError("more than one product")
    named = set(left) - {","}
    if named == (set(right) if arrow else {letter for letter in named if left.count(letter) == 1}):
        return 0
    return math.prod({letter: n for text, shape in zip(letters, factors) for letter, n in zip(text, shape)}.values())


DEFINITIONS: dict[str, Definition] = {
    **dict.fromkeys(("mv", "dot", "vdot"), _elements(0)),
    **dict.fromkeys(("addmv", "addmv_"), _elements(1)),
    **dict.fromkeys(("mm", "bmm", "matmul"), _contracted(0, 1)),
    **dict.fromkeys(("addmm", "addmm_", "baddbmm", "baddbmm_", "addbmm", "addbmm_"), _contracted(1, 2)),
    **dict.fromkeys(("_int_mm", "_grouped_mm"), _rows),
    "linear": lambda operands, result: numel(result) * operands[1][-1],
    **dict.fromkeys(("convolution", "_convolution"), _convolution),
    **dict.fromkeys(("_convolution_mode", "deform_conv2d"), _kernel(1)),
    "bilinear": _kernel(2),
    "_trilinear": _trilinear,
    "einsum": _einsum,
    # Every point of a base grid is multiplied by its sample's matrix.
    "affine_grid_generator": lambda operands, result: numel(result) * (result[-1] + 1),
    **dict.fromkeys(
        (
            "scaled_dot_product_attention",
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_fused_attention_overrideable",
        ),
        _attention,
    ),
    "_native_multi_head_attention": _fused_attention,
    "_transformer_encoder_layer_fwd": _fused_encoder,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    # Both weight matrices of all gates, once for every step of every sequence.
    "mkldnn_rnn_layer": lambda operands, result: (
        math.prod(operands[0][:-1]) * (numel(operands[1]) + numel(operands[2]))
    ),
}
"""By the operation's name without its namespace."""


def dispatched_macs(function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], result: Any) -> int | None:
    """Return the multiply-accumulates of a dispatched operation; None where it is no product."""
    name = base_name(function)
    special = quantized_macs(function, name, arguments, result)
    special = sparse_macs(name, arguments) if special is None else special
    if special is not None:
        return special
    first = result if isinstance(result, torch.Tensor) else next(operands_in((result,)), None)
    defined = None if first is None else defined_macs(name, operands_of(arguments), shape_of(first))
    if defined is not None:
        return defined
    formula = _registry().get(function._overloadpacket)
    # PyTorch's formulas count each multiply-accumulate twice.
    return None if formula is None else int(formula(*arguments, **keywords, out_val=result)) // 2


def _registry() -> dict[Any, Callable[..., int]]:
    from torch.utils.flop_counter import flop_registry

    table: dict[Any, Callable[..., int]] = flop_registry
    return table


def quantized_macs(function: Any, name: str, arguments: tuple[Any, ...], result: Any) -> int | None:
    """Return the multiply-accumulates of a quantized convolution, linear or recurrent layer; None for others."""
    result = result[0] if isinstance(result, tuple) else result
    if name in ("quantized_lstm", "quantized_gru"):
        weights = [tensor for packed in arguments[2] for tensor in unpacked(packed).values() if tensor.dim() > 1]
        # The matrices of all layers and directions, once for every step of every sequence.
        return int(arguments[0].shape[:-1].numel()) * sum(numel(shape_of(weight)) for weight in weights)
    if function.namespace not in QUANTIZED_NAMESPACES or not isinstance(result, torch.Tensor):
        return None
    if "_cell" in name:
        weights = [unpacked(each)["weight"] for each in arguments if isinstance(each, torch.ScriptObject)]
        # Both weight matrices of all gates, once for each sequence.
        return int(result.shape[0]) * sum(numel(shape_of(weight)) for weight in weights[:2])
    if name.startswith(("linear", "qlinear")):
        return numel(shape_of(result)) * int(arguments[0].shape[-1])
    kind = next((kind for kind in ("conv1d", "conv2d", "conv3d") if name.startswith(kind)), None)
    unpack = None if kind is None else getattr(torch.ops.quantized, f"{kind}_unpack")
    if unpack is None:
        return None
    with _disable_current_modes():
        weight = unpack(arguments[1])[0]
    return numel(shape_of(result)) * numel(shape_of(weight)[1:])


_SPARSE_PRODUCTS = words(
    """
    mm addmm mv addmv bmm sparse_mm sparse_addmm sparse_sparse_matmul sspaddmm smm hspmm sparse_sampled_addmm
    sparse_mm_reduce_impl
    """
)


def sparse_macs(name: str, arguments: tuple[Any, ...]) -> int | None:
    """Return the multiply-accumulates of a product with sparse matrices, whose elements alone are multiplied.

    Each meets a row or column of a dense factor, or what is there in one of a sparse factor; None for other products.
    """
    operands = list(operands_in(arguments))
    factors = operands[-2:]
    sparse = [tensor for tensor in factors if tensor.layout is not torch.strided]
    if name.strip("_") not in _SPARSE_PRODUCTS or len(factors) < 2:
        return None
    with _disable_current_modes():
        if name == "sparse_sampled_addmm":
            return _stored(operands[0]) * int(factors[0].shape[-1])
        if len(sparse) == 2:
            columns, rows = (each.to_sparse().coalesce().indices() for each in factors)
            return int(rows[0].bincount(minlength=factors[1].shape[0])[columns[-1]].sum())
        if not sparse:
            return None
        (other,) = (tensor for tensor in factors if tensor is not sparse[0])
        side = (-1 if sparse[0] is factors[0] else -2) if other.dim() > 1 else None
        return _stored(sparse[0]) * (1 if side is None else int(other.shape[side]))


def _stored(sparse: torch.Tensor) -> int:
    """Return how many elements a sparse matrix stores; blocks are stored whole."""
    *_, (_, values) = parts_of(sparse)
    return values.numel()
