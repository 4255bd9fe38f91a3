"""Calls that no handler knows: their work is what they dispatch to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from cnnstat.ir.op import Family, numel
from cnnstat.pytorch.calls import Call, words
from cnnstat.pytorch.custom import quantized_macs, sparse_macs
from cnnstat.pytorch.operations import moved_or_counted
from cnnstat.pytorch.tensors import operands_in, shape_of, tensors_in

_MOVES = words(
    """
    view _unsafe_view reshape _reshape_alias alias detach detach_ clone copy_ copy _to_copy lift_fresh expand
    permute transpose t transpose_ t_ slice select squeeze unsqueeze squeeze_ unsqueeze_ split split_with_sizes
    unbind chunk narrow cat stack index index_select gather scatter scatter_ scatter_src index_put index_put_
    _index_put_impl_ index_copy index_copy_ index_fill index_fill_ complex
    masked_scatter masked_scatter_ masked_select take take_along_dim constant_pad_nd reflection_pad1d
    reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d roll flip rot90 repeat
    repeat_interleave tril triu tril_ triu_ diagonal diag diag_embed as_strided as_strided_ unfold im2col
    unfold_copy arange linspace full full_like zeros zeros_like ones ones_like empty empty_like empty_strided
    new_empty new_zeros new_ones new_full new_empty_strided rand rand_like randn randn_like randint randperm normal
    normal_ uniform uniform_ bernoulli bernoulli_ random_ exponential_ scalar_tensor zero_ fill_ fill eye one_hot
    embedding nonzero unique_dim _unique2 unique_consecutive sort topk argsort argmax argmin searchsorted bucketize
    pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle _reshape_copy view_as_real view_as_complex
    real _conj _local_scalar_dense device set_ resize_ is_same_size sym_size sym_numel max_unpool2d max_unpool3d
    _pack_padded_sequence upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact2d nms
    broadcast_tensors meshgrid movedim swapaxes numpy_T item is_nonzero equal tensor_split isclose allclose
    native_dropout
    """
)
"""aten operations that only make, move, order or look up numbers."""

_REDUCTIONS = words(
    """
    sum mean amax amin max min var var_mean std std_mean prod norm linalg_vector_norm cumsum cumprod cummax cummin
    logsumexp any all _softmax _log_softmax softmax log_softmax aminmax median nanmedian mode nansum dist
    _weight_norm_interface count_nonzero max_pool2d_with_indices max_pool3d_with_indices avg_pool1d avg_pool2d
    avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d mean_dim diff
    trapezoid
    """
)
"""aten operations that take about one step for every element they read."""

_NORMS = words(
    """
    native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training native_layer_norm
    native_group_norm cudnn_batch_norm _batch_norm_no_update _batch_norm_with_update _fused_rms_norm
    """
)
"""aten normalizations: two steps an element."""

_INTERPOLATIONS = {
    "upsample_linear1d": 3,
    "upsample_bilinear2d": 9,
    "_upsample_bilinear2d_aa": 9,
    "upsample_trilinear3d": 21,
    "upsample_bicubic2d": 35,
    "_upsample_bicubic2d_aa": 35,
    "grid_sampler_2d": 9,
    "grid_sampler_3d": 21,
}
"""Steps for each output, as in the op Upsample; with antialiasing more values are read, which is not counted."""

_SUMS = words("col2im index_add index_add_ scatter_add scatter_add_ scatter_reduce scatter_reduce_ index_reduce")
"""aten operations that add every element of their last operand to something."""

_CASTS = {
    "quantize_per_tensor": 3,
    "quantize_per_tensor_dynamic": 3,
    "quantize_per_channel": 3,
    "dequantize": 2,
    "fake_quantize_per_tensor_affine": 5,
    "fake_quantize_per_channel_affine": 5,
}
"""Steps an element: divide, add, round one way; subtract, multiply the other."""

PRODUCTS = words(
    """
    linear matmul mm bmm conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d einsum addmm
    baddbmm addbmm addmv addr chain_matmul tensordot multi_dot linalg_multi_dot inner dot vdot mv linalg_vecdot
    F.multi_head_attention_forward F.affine_grid
    affine_grid_generator deform_conv2d aten.deform_conv2d aten.addmm aten.baddbmm aten.bmm aten.mm
    linalg_matmul aten.addmv aten.convolution aten._convolution
    addmm_ baddbmm_ addbmm_ addmv_ ger matrix_power linalg_matrix_power cov corrcoef
    _int_mm _grouped_mm F.grouped_mm
    """
)
"""Calls that are products and sums and nothing else, so that what they dispatch to is all there is to know."""


@dataclass(slots=True)
class Work:
    """What a call dispatched to: products, other operations by kind, and the operations that nobody knows."""

    macs: int = 0
    flops: tuple[tuple[str, int], ...] = ()
    unknown: tuple[str, ...] = ()
    is_pointwise: bool = False
    only_moves: bool = False


_ADDED = words("addmm baddbmm addbmm addmv addmm_ baddbmm_ addbmm_ addmv_")
"""Products that are added to something."""


def _vector_product(arguments: tuple[Any, ...]) -> int:
    """Return the multiply-accumulates of mv and dot: one for each element of the larger operand."""
    return max(numel(shape_of(tensor)) for tensor in operands_in(arguments))


def _batch_product(arguments: tuple[Any, ...]) -> int:
    """Return the multiply-accumulates of addbmm: those of all products that it adds up."""
    first, second = (shape_of(tensor) for tensor in list(operands_in(arguments))[1:3])
    return numel(first) * second[-1]


def _deformable(arguments: tuple[Any, ...], made: Any) -> int:
    """Return the multiply-accumulates of a deformable convolution: those of the convolution (arXiv:1703.06211)."""
    return int(numel(shape_of(made)) * numel(shape_of(arguments[1])[1:]))


def _rows_product(arguments: tuple[Any, ...]) -> int:
    """Return the multiply-accumulates of rows that each meet one of several matrices, or the only one."""
    return numel(shape_of(arguments[0])) * shape_of(arguments[1])[-1]


def _grid(made: Any) -> int:
    """Return the multiply-accumulates of an affine grid: every point of a base grid by its sample's matrix."""
    shape = shape_of(made)
    return numel(shape) * (shape[-1] + 1)


def _bag_work(arguments: tuple[Any, ...], made: Any, flops: Counter[str]) -> None:
    """Count the sums, means or maxima of bags of rows; weights multiply each row first."""
    table, indices = (shape_of(tensor) for tensor in arguments[:2])
    count = numel(indices) * table[-1]
    is_weighted = len(arguments) > 6 and arguments[6] is not None
    flops["pooling"] += count
    flops["element-wise"] += count if is_weighted else 0


def _attention(arguments: tuple[Any, ...]) -> int:
    """Return the multiply-accumulates of fused attention: QKᵀ and AV."""
    query, key, value = map(shape_of, arguments[:3])
    return numel(query[:-1]) * key[-2] * (query[-1] + value[-1])


_OWN_COUNTS: dict[str, Callable[[tuple[Any, ...], Any], int]] = {
    "mv": lambda arguments, made: _vector_product(arguments),
    "addmv": lambda arguments, made: _vector_product(arguments[1:3]),
    "addbmm": lambda arguments, made: _batch_product(arguments),
    "dot": lambda arguments, made: _vector_product(arguments),
    "vdot": lambda arguments, made: _vector_product(arguments),
    "deform_conv2d": _deformable,
    "_int_mm": lambda arguments, made: _rows_product(arguments),
    "_grouped_mm": lambda arguments, made: _rows_product(arguments),
    "affine_grid_generator": lambda arguments, made: _grid(made),
    "_scaled_dot_product_flash_attention_for_cpu": lambda arguments, made: _attention(arguments),
    "_scaled_dot_product_fused_attention_overrideable": lambda arguments, made: _attention(arguments),
}


def _registry() -> dict[Any, Callable[..., int]]:
    """Return PyTorch's own table of products; its formulas count each multiply-accumulate twice."""
    from torch.utils.flop_counter import flop_registry

    table: dict[Any, Callable[..., int]] = flop_registry
    return table


def work_of(inner: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]]) -> Work:
    """Return the work of a list of dispatched operations."""
    macs = 0
    flops: Counter[str] = Counter()
    unknown: list[str] = []
    kinds: set[str] = set()
    for function, arguments, keywords, made in inner:
        name = _base_name(function)
        counted = _products(function, name, arguments, keywords, made)
        if counted is not None:
            macs += counted
            if name in _ADDED:
                flops["bias"] += numel(shape_of(made))
            kinds.add("product")
            continue
        kind = _other_work(function, name, arguments, made, flops)
        kinds.add(kind)
        if kind == "unknown":
            unknown.append(name)
    is_pointwise = kinds == {"pointwise"}
    return Work(macs, tuple(flops.items()), tuple(dict.fromkeys(unknown)), is_pointwise, kinds <= {"move"})


def _base_name(function: Any) -> str:
    """Return the name of a dispatched operation without namespace and overload."""
    return str(function._schema.name.split("::")[-1])


def _products(function: Any, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any], made: Any) -> int | None:
    """Return the multiply-accumulates of a product; None for other operations."""
    special = quantized_macs(function, arguments, made)
    special = sparse_macs(name, arguments, made) if special is None else special
    if special is not None:
        return special
    packet = function._overloadpacket
    if name in _ADDED and name.endswith("_"):
        name = name.removesuffix("_")
        packet = getattr(torch.ops.aten, name)
    if name in _OWN_COUNTS:
        return _OWN_COUNTS[name](arguments, made)
    formula = _registry().get(packet)
    return None if formula is None else int(formula(*arguments, **keywords, out_val=made)) // 2


def _other_work(function: Any, name: str, arguments: tuple[Any, ...], made: Any, flops: Counter[str]) -> str:
    """Count an operation that is no product, and return its kind."""
    results = list(tensors_in(made))
    count = sum(numel(shape_of(tensor)) for tensor in results[:1])
    if name in _MOVES:
        return "move"
    if name in _REDUCTIONS:
        flops["pooling"] += sum(numel(shape_of(tensor)) for tensor in list(operands_in(arguments))[:1])
        return "reduction"
    if name in ("_embedding_bag", "_embedding_bag_forward_only"):
        _bag_work(arguments, made, flops)
        return "reduction"
    if name in _NORMS:
        flops["normalization"] += 2 * count
        return "norm"
    if name in _INTERPOLATIONS:
        flops["resampling"] += _INTERPOLATIONS[name] * count
        return "resize"
    if name == "roi_align" and arguments[5] > 0:
        # Every output is the mean of sampling_ratio² values between four pixels each (He et al. 2017, section 3).
        flops["resampling"] += 10 * arguments[5] ** 2 * count
        return "resize"
    if name in _SUMS:
        flops["element-wise"] += numel(shape_of(list(operands_in(arguments))[-1]))
        return "sum"
    if name in _CASTS:
        flops["element-wise"] += _CASTS[name] * count
        return "pointwise"
    if torch.Tag.pointwise in function.tags or torch.Tag.pointwise in _functional_tags(function, name):
        flops["element-wise"] += count
        return "pointwise"
    return moved_or_counted(name, arguments, made, flops) or "unknown"


def _functional_tags(function: Any, name: str) -> list[torch.Tag]:
    """Return the tags of the version of an operation that does not work in place."""
    if not name.endswith("_"):
        return []
    packet = getattr(getattr(torch.ops, function.namespace), name[:-1], None)
    overload = getattr(packet, function._overloadname, None) if packet is not None else None
    return list(overload.tags) if overload is not None else []


def family_of(call: Call, work: Work) -> Family:
    """Return what kind of work a call is."""
    if work.macs:
        return Family.CONVOLUTION if "conv" in call.name else Family.LINEAR
    if work.only_moves:
        return Family.LAYOUT
    return Family.ELEMENTWISE if work.is_pointwise else Family.OTHER
