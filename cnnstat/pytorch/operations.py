"""Work of aten operations that take neither one step an element nor none: losses, distances, transforms, solvers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

from cnnstat.ir.op import Shape, numel
from cnnstat.pytorch.calls import words
from cnnstat.pytorch.tensors import operands_in, shape_of, tensors_in

MOVES = words(
    """
    alias_copy as_strided_copy as_strided_scatter block_diag cauchy_ diagonal_copy diagonal_scatter empty_permuted
    expand_copy exponential geometric_ kthvalue lift lift_fresh_copy log_normal_ multinomial narrow_copy
    normal_functional permute_copy poisson randint_like resize resize_as_ select_scatter slice_scatter
    split_with_sizes_copy squeeze_copy t_copy transpose_copy tril_indices triu_indices unbind_copy unsafe_split
    unsafe_split_with_sizes unsqueeze_copy view_copy zero _unsafe_index _unsafe_index_put _fused_dropout _pin_memory
    _assert_async _functional_assert_async _assert_tensor_metadata nonzero_static _to_dense _chunk_cat _unique
    hann_window _linalg_check_errors
    """
)
"""Operations that only make, move, order or look up numbers."""

_STEPS = {
    "floor_divide": 1,
    "floor_divide_": 1,
    "isin": 1,
    "hardswish": 4,
    "hardswish_": 4,
    "log_sigmoid_forward": 4,
    "rrelu_with_noise": 2,
    "_prelu_kernel": 2,
    "polar": 4,
    "addr": 2,
}
"""Steps for each element of the result, which depends on nothing but the elements at its place."""

_READ = {
    "histc": 1,
    "histogram": 1,
    "bincount": 1,
    "trace": 1,
    "_is_all_true": 1,
    "_is_any_true": 1,
    "logcumsumexp": 3,
    "cumsum_": 1,
    "cumprod_": 1,
    "renorm": 3,
    "_safe_softmax": 3,
    "fractional_max_pool2d": 1,
    "segment_reduce": 1,
    "mse_loss": 3,
    "smooth_l1_loss": 5,
    "huber_loss": 5,
    "soft_margin_loss": 5,
    "binary_cross_entropy": 8,
    "binary_cross_entropy_with_logits": 8,
}
"""Steps for each element of the first operand: comparisons and sums, a loss's terms and their sum."""

_TRANSFORMS = words("_fft_r2c _fft_c2r _fft_c2c")


def moved_or_counted(name: str, arguments: tuple[Any, ...], made: Any, flops: Counter[str]) -> str | None:
    """Add the work of an operation and return its kind; None for one that this file does not know."""
    results = [shape_of(tensor) for tensor in tensors_in(made)][:1]
    if name in MOVES:
        return "move"
    if name in _STEPS:
        flops["element-wise"] += _STEPS[name] * sum(map(numel, results))
        return "pointwise"
    operands = [shape_of(tensor) for tensor in operands_in(arguments)]
    if name in _READ:
        flops["element-wise" if name.endswith(("loss", "entropy", "logits")) else "pooling"] += _READ[name] * numel(
            operands[0]
        )
        return "reduction"
    if name in _TRANSFORMS:
        full = results[0] if name == "_fft_c2r" else operands[0]
        flops["transform"] += _transform(full, arguments[1], is_real=name != "_fft_c2c")
        return "transform"
    if name in _FORMULAS:
        flops["element-wise"] += _FORMULAS[name](operands, results[0])
        return "other"
    return None


def _transform(signal: Shape, axes: Any, *, is_real: bool) -> int:
    """Return the steps of a fast Fourier transform: 5 n log2 n for n points (Cooley & Tukey 1965), of real ones half.

    signal: the shape of the side with all points; axes: those that are transformed.
    """
    points = math.prod(signal[axis] for axis in axes)
    steps = 5 * numel(signal) * math.log2(points)
    return math.ceil(steps / 2 if is_real else steps)


def _distances(operands: list[Shape], result: Shape) -> int:
    """Return the steps of all distances between two sets: subtract, raise and add in each dimension."""
    return 3 * numel(result) * operands[0][-1]


def _cubed(operands: list[Shape], result: Shape) -> int:
    """Return n³ for every matrix of a batch."""
    return numel(operands[0]) * operands[0][-1]


_FORMULAS: dict[str, Callable[[list[Shape], Shape], int]] = {
    "_cdist_forward": _distances,
    "_euclidean_dist": _distances,
    "_pdist_forward": _distances,
    "nll_loss_forward": lambda operands, result: numel(operands[1]),
    "nll_loss2d_forward": lambda operands, result: numel(operands[1]),
    "linalg_cross": lambda operands, result: 3 * numel(result),
    # A gate takes a logistic function, as in the op GLU.
    "glu": lambda operands, result: 5 * numel(result),
    # Golub and Van Loan, Matrix Computations, chapters 3 and 4.
    "linalg_inv_ex": lambda operands, result: 2 * _cubed(operands, result),
    "linalg_cholesky_ex": lambda operands, result: _cubed(operands, result) // 3,
    "linalg_lu_factor_ex": lambda operands, result: 2 * _cubed(operands, result) // 3,
    "_linalg_det": lambda operands, result: 2 * _cubed(operands, result) // 3,
    "_linalg_slogdet": lambda operands, result: 2 * _cubed(operands, result) // 3,
    "_linalg_solve_ex": lambda operands, result: (
        2 * _cubed(operands, result) // 3 + 2 * numel(result) * operands[0][-1]
    ),
    "linalg_solve_triangular": lambda operands, result: numel(result) * operands[0][-1],
}
"""Steps of an operation, from the shapes of its operands and of its first result."""
