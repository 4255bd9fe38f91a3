"""aten FLOPs: what a call that no op covers works, from the aten operations that it dispatches to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from cnnstat.choices import words
from cnnstat.ir.op import Family, Shape, numel
from cnnstat.ir.work import Work
from cnnstat.pytorch.calls import Call, base_name
from cnnstat.pytorch.products import dispatched_macs
from cnnstat.pytorch.tensors import operands_in, shape_of, tensors_in

MOVES = words(
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
    alias_copy as_strided_copy as_strided_scatter block_diag cauchy_ diagonal_copy diagonal_scatter empty_permuted
    expand_copy exponential geometric_ kthvalue lift lift_fresh_copy log_normal_ multinomial narrow_copy
    normal_functional permute_copy poisson randint_like resize resize_as_ select_scatter slice_scatter
    split_with_sizes_copy squeeze_copy t_copy transpose_copy tril_indices triu_indices unbind_copy unsafe_split
    unsafe_split_with_sizes unsqueeze_copy view_copy zero _unsafe_index _unsafe_index_put _fused_dropout _pin_memory
    _assert_async _functional_assert_async _assert_tensor_metadata nonzero_static _to_dense _chunk_cat _unique
    hann_window _linalg_check_errors
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

_ADDED = words("addmm baddbmm addbmm addmv addmm_ baddbmm_ addbmm_ addmv_")
"""Products that are added to something."""


class _Rule(NamedTuple):
    """How an aten operation is counted.

    kind: what sort of operation it is; category: of FLOPs.
    steps: returns the FLOPs from the shapes of the operands and of the results, and the arguments.
    """

    kind: str
    category: str
    steps: Callable[[list[Shape], list[Shape], tuple[Any, ...]], int]


def _per_result(kind: str, category: str, steps: Mapping[str, int]) -> dict[str, _Rule]:
    return {
        name: _Rule(kind, category, lambda operands, results, _, n=n: n * sum(map(numel, results[:1])))  # type: ignore[misc]
        for name, n in steps.items()
    }


def _per_operand(category: str, steps: Mapping[str, int]) -> dict[str, _Rule]:
    return {
        name: _Rule("reduction", category, lambda operands, results, _, n=n: n * sum(map(numel, operands[:1])))  # type: ignore[misc]
        for name, n in steps.items()
    }


def _element_wise(count: Callable[[list[Shape], Shape], int]) -> _Rule:
    """Return the rule of an operation of some kind of its own, from the shapes of its operands and first result."""
    return _Rule("other", "element-wise", lambda operands, results, _: count(operands, results[0]))


def _transform(name: str) -> _Rule:
    """Return the rule of a fast Fourier transform: 5 n log2 n steps for n points (Cooley & Tukey 1965); real: half."""

    def count(operands: list[Shape], results: list[Shape], arguments: tuple[Any, ...]) -> int:
        # The side of real numbers has all points; of complex ones, only half are kept.
        signal = results[0] if name == "_fft_c2r" else operands[0]
        points = math.prod(signal[axis] for axis in arguments[1])
        steps = 5 * numel(signal) * math.log2(points)
        return math.ceil(steps if name == "_fft_c2c" else steps / 2)

    return _Rule("transform", "transform", count)


def _distances(operands: list[Shape], result: Shape) -> int:
    """Return the steps of all distances between two sets: subtract, raise and add in each dimension."""
    return 3 * numel(result) * operands[0][-1]


def _cubed(operands: list[Shape]) -> int:
    return numel(operands[0]) * operands[0][-1]


_RULES: dict[str, _Rule] = {
    **_per_operand("pooling", dict.fromkeys(_REDUCTIONS, 1)),
    **_per_operand(
        "pooling",
        {
            **dict.fromkeys(words("histc histogram bincount trace _is_all_true _is_any_true cumsum_ cumprod_"), 1),
            **dict.fromkeys(words("fractional_max_pool2d segment_reduce"), 1),
            **dict.fromkeys(words("logcumsumexp renorm _safe_softmax"), 3),
        },
    ),
    # A loss computes its terms and adds them up.
    **_per_operand(
        "element-wise",
        {
            "mse_loss": 3,
            **dict.fromkeys(words("smooth_l1_loss huber_loss soft_margin_loss"), 5),
            **dict.fromkeys(words("binary_cross_entropy binary_cross_entropy_with_logits"), 8),
        },
    ),
    **_per_result(
        "norm",
        "normalization",
        dict.fromkeys(
            words(
                """
                native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training native_layer_norm
                native_group_norm cudnn_batch_norm _batch_norm_no_update _batch_norm_with_update _fused_rms_norm
                """
            ),
            2,
        ),
    ),
    # As in the op Upsample; with antialiasing more values are read, which is not counted.
    **_per_result(
        "resize",
        "resampling",
        {
            "upsample_linear1d": 3,
            **dict.fromkeys(words("upsample_bilinear2d _upsample_bilinear2d_aa grid_sampler_2d"), 9),
            **dict.fromkeys(words("upsample_trilinear3d grid_sampler_3d"), 21),
            **dict.fromkeys(words("upsample_bicubic2d _upsample_bicubic2d_aa"), 35),
        },
    ),
    **_per_result(
        "pointwise",
        "element-wise",
        {
            # Divide, add, round one way; subtract, multiply the other.
            **dict.fromkeys(words("quantize_per_tensor quantize_per_tensor_dynamic quantize_per_channel"), 3),
            "dequantize": 2,
            **dict.fromkeys(words("fake_quantize_per_tensor_affine fake_quantize_per_channel_affine"), 5),
            **dict.fromkeys(words("floor_divide floor_divide_ isin"), 1),
            **dict.fromkeys(words("rrelu_with_noise _prelu_kernel addr"), 2),
            **dict.fromkeys(words("hardswish hardswish_ log_sigmoid_forward polar"), 4),
        },
    ),
    **dict.fromkeys(
        words("col2im index_add index_add_ scatter_add scatter_add_ scatter_reduce scatter_reduce_ index_reduce"),
        # Every element of the last operand is added to something.
        _Rule("sum", "element-wise", lambda operands, results, _: numel(operands[-1])),
    ),
    **{name: _transform(name) for name in ("_fft_r2c", "_fft_c2r", "_fft_c2c")},
    **dict.fromkeys(words("_cdist_forward _euclidean_dist _pdist_forward"), _element_wise(_distances)),
    **dict.fromkeys(
        words("nll_loss_forward nll_loss2d_forward"), _element_wise(lambda operands, result: numel(operands[1]))
    ),
    "linalg_cross": _element_wise(lambda operands, result: 3 * numel(result)),
    # A gate takes a logistic function, as in the op GLU.
    "glu": _element_wise(lambda operands, result: 5 * numel(result)),
    # Golub and Van Loan, Matrix Computations, chapters 3 and 4.
    "linalg_inv_ex": _element_wise(lambda operands, result: 2 * _cubed(operands)),
    "linalg_cholesky_ex": _element_wise(lambda operands, result: _cubed(operands) // 3),
    **dict.fromkeys(
        words("linalg_lu_factor_ex _linalg_det _linalg_slogdet"),
        _element_wise(lambda operands, result: 2 * _cubed(operands) // 3),
    ),
    "_linalg_solve_ex": _element_wise(
        lambda operands, result: 2 * _cubed(operands) // 3 + 2 * numel(result) * operands[0][-1]
    ),
    "linalg_solve_triangular": _element_wise(lambda operands, result: numel(result) * operands[0][-1]),
}


@dataclass(slots=True)
class Dispatched:
    """What a call dispatched to: its work, and the operations of which nobody knows the work."""

    work: Work = Work()
    unknown: tuple[str, ...] = ()
    is_pointwise: bool = False
    only_moves: bool = False


_COPIES = words("clone _to_copy conj_physical _conj_physical _conj alias lift_fresh")
"""Moves that leave each element at its place."""


def work_of(dispatched: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]]) -> Dispatched:
    """Return the work of a list of dispatched operations: (operation, arguments, keyword arguments, result)."""
    macs = 0
    flops: Counter[str] = Counter()
    unknown: list[str] = []
    kinds: set[str] = set()
    for function, arguments, keywords, result in dispatched:
        name = base_name(function)
        product = dispatched_macs(function, arguments, keywords, result)
        if product is not None:
            macs += product
            if name in _ADDED:
                flops["bias"] += numel(shape_of(result))
            kinds.add("product")
            continue
        kind = _other_work(function, name, arguments, result, flops)
        kinds.add(kind)
        if kind == "unknown":
            unknown.append(name)
    is_pointwise = "pointwise" in kinds and kinds <= {"pointwise", "copy"}
    only_moves = kinds <= {"move", "copy"}
    return Dispatched(Work(macs, tuple(flops.items())), tuple(dict.fromkeys(unknown)), is_pointwise, only_moves)


def _other_work(function: Any, name: str, arguments: tuple[Any, ...], result: Any, flops: Counter[str]) -> str:
    """Count an operation that is no product, and return its kind."""
    if name in MOVES:
        return "copy" if name in _COPIES else "move"
    results = [shape_of(tensor) for tensor in tensors_in(result)]
    rule = _RULES.get(name)
    if rule is not None:
        operands = [shape_of(tensor) for tensor in operands_in(arguments)]
        flops[rule.category] += rule.steps(operands, results, arguments)
        return rule.kind
    if name in ("_embedding_bag", "_embedding_bag_forward_only"):
        # Sums, means or maxima of bags of rows; weights, if there are any, multiply each row first.
        table, indices = (shape_of(tensor) for tensor in arguments[:2])
        flops["pooling"] += numel(indices) * table[-1]
        flops["element-wise"] += numel(indices) * table[-1] * (len(arguments) > 6 and arguments[6] is not None)
        return "reduction"
    count = sum(map(numel, results[:1]))
    if name == "roi_align" and arguments[5] > 0:
        # Every output is the mean of sampling_ratio² values between four pixels each (He et al. 2017, section 3).
        flops["resampling"] += 10 * arguments[5] ** 2 * count
        return "resize"
    if torch.Tag.pointwise in function.tags or torch.Tag.pointwise in _functional_tags(function, name):
        flops["element-wise"] += count
        return "pointwise"
    return "unknown"


def _functional_tags(function: Any, name: str) -> list[torch.Tag]:
    """Return the tags of the version of an operation that does not work in place."""
    if not name.endswith("_"):
        return []
    packet = getattr(getattr(torch.ops, function.namespace), name[:-1], None)
    overload = getattr(packet, function._overloadname, None) if packet is not None else None
    return list(overload.tags) if overload is not None else []


def family_of(call: Call, dispatched: Dispatched) -> Family:
    """Return what kind of work a call is."""
    if dispatched.work.macs:
        return Family.CONVOLUTION if "conv" in call.name else Family.LINEAR
    if dispatched.only_moves:
        return Family.LAYOUT
    return Family.ELEMENTWISE if dispatched.is_pointwise else Family.OTHER
