"""Op rows: which layer of a network each recorded op is, by module, name and sizes, in order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from cnnstat.analysis.analysis import Analysis

Shape = tuple[int, ...]

NEAR = 1.2
"""Passes that take no more than so many times what the quickest one takes count as undisturbed."""


class RecordedOp(NamedTuple):
    """An outermost op of a pass.

    module: path of the module that ran it; shape: of its first input; weight: sizes of its weight, in ascending order
    since libraries transpose it; number: its place in the exported network; each None if unknown.
    """

    name: str
    shape: Shape | None = None
    module: str | None = None
    weight: Shape | None = None
    number: int | None = None


class Row(NamedTuple):
    """What a recording can know a layer by; inputs: the rows whose results it reads."""

    name: str
    ops: frozenset[str]
    shape: Shape | None
    weight: Shape | None = None
    inputs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RowsOfOps:
    """rows: of each op, None where it is of none; ambiguous: names of layers that ops were given to by order alone."""

    rows: tuple[int | None, ...]
    ambiguous: tuple[str, ...]


_NOT_OPS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def rows_of(analysis: Analysis) -> tuple[Row, ...]:
    """Return what the layers of a network can be known by in a recording."""
    rows = []
    first = len(analysis.graph.inputs)
    for node, shapes in zip(analysis.graph.nodes, analysis.values.inputs):
        kind = _NOT_OPS.sub("_", node.op.kind).lower()
        names = {kind, re.sub(r"\d+d$", "", kind), *(call.rpartition(".")[2] for call in node.op.calls)}
        names |= {lower for name in names for lower in _LOWERED.get(name, ())}
        weight = next(iter(node.op.weights(shapes).values()), ())
        rows.append(
            Row(
                name=node.name,
                ops=frozenset(_ALIKE.get(name, name) for name in names),
                shape=shapes[0] if shapes else None,
                # Of norms every op has the sizes; those of windows and products tell one from another.
                weight=tuple(sorted(weight)) if len(weight) > 1 else None,
                inputs=tuple(edge.value - first for edge in node.inputs if edge.value >= first),
            )
        )
    return tuple(rows)


_ALIKE = {
    "concat": "cat",
    "adaptive_avg_pool2d": "adaptive_avg_pool2d",
    "hardtanh": "relu6",
    "clamp": "relu6",
    "re_lu": "relu",
    "re_lu6": "relu6",
    "multiply": "mul",
    "silu": "silu",
}
"""Other names of one thing, in recordings and in specs."""


_CONVOLUTION = (
    "convolution", "_convolution", "cudnn_convolution", "mkldnn_convolution", "miopen_convolution",
    "_convolution_pointwise", "cudnn_convolution_relu", "cudnn_convolution_add_relu",
)  # fmt: skip
_BATCH_NORM = (
    "native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm", "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training", "_native_batch_norm_legit_functional", "_batch_norm_with_update",
)  # fmt: skip
_ATTENTION = (
    "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention", "_scaled_dot_product_flash_attention_for_cpu",
)  # fmt: skip
_LOWERED = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _CONVOLUTION),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _CONVOLUTION),
    "linear": ("addmm", "mm", "_addmm_activation", "_linear_pointwise", "_mkl_linear"),
    "batch_norm": _BATCH_NORM,
    "layer_norm": ("native_layer_norm",),
    "group_norm": ("native_group_norm",),
    "max_pool2d": (
        "max_pool2d_with_indices",
        "_low_memory_max_pool2d_with_offsets",
        "_low_memory_max_pool_with_offsets",
    ),
    "adaptive_avg_pool2d": ("_adaptive_avg_pool2d", "mean"),
    "softmax": ("_softmax",),
    "log_softmax": ("_log_softmax",),
    "scaled_dot_product_attention": _ATTENTION,
    "scale_shift": ("mul",),
}
"""What torch.compile and TorchScript call in place of a function, by the function's name."""


def spellings(name: str) -> frozenset[str]:
    """Return a layer's op under all the names that recordings may have for it."""
    return frozenset({name, *(other for other, common in _ALIKE.items() if common == name)})


def op_name(text: str) -> str:
    """Return the name that an op and a layer have in common: `relu` for `aten::relu_`."""
    name = text.rpartition("::")[2].rstrip("_")
    return _ALIKE.get(name, name)


def first_weighted(analysis: Analysis) -> Row | None:
    """Return the first layer with weights, by which a recording tells the size of its input."""
    return next((row for row, count in zip(rows_of(analysis), analysis.parameters.params) if count), None)


def fits_first(op: RecordedOp, row: Row) -> bool:
    """Whether an op with sizes can be a layer on an input of another batch and size."""
    if op.shape is None or row.shape is None or op_name(op.name) not in row.ops:
        return False
    return len(op.shape) == len(row.shape) and op.shape[1:2] == row.shape[1:2]


def match_ops(ops: Sequence[RecordedOp], rows: Sequence[Row]) -> RowsOfOps:
    """Return the rows of ops: those of the module of that name, then the best alignment in order, then the rest.

    An op may be a layer if it has one of its names and, where the recording has sizes, its input.
    """
    by_name = {row.name: number for number, row in enumerate(rows)}
    row_of: list[int | None] = [by_name.get(op.module) if op.module else None for op in ops]
    taken = {row for row in row_of if row is not None}
    free_ops = [place for place, row in enumerate(row_of) if row is None]
    free_rows = [number for number in range(len(rows)) if number not in taken]
    pairs = _aligned([ops[place] for place in free_ops], [rows[number] for number in free_rows])
    by_order = []
    for here, there in pairs:
        row_of[free_ops[here]] = free_rows[there]
        if ops[free_ops[here]].shape is None:
            by_order.append(rows[free_rows[there]].name)
    _place_rest(ops, rows, row_of)
    return RowsOfOps(tuple(row_of), tuple(by_order))


def _score(op: RecordedOp, row: Row) -> int:
    """Return how well an op fits a row: 0 not at all, 2 where its sizes are not known, 6 with them.

    One more where the row is part of the module that ran the op.
    """
    if op_name(op.name) not in row.ops:
        return 0
    if op.weight is not None and row.weight is not None and op.weight != row.weight:
        return 0
    inside = bool(op.module) and row.name.startswith(f"{op.module}.")
    if op.shape is None or row.shape is None:
        return 2 + inside
    sizes = {row.shape, (prod(row.shape[:-1]), row.shape[-1])} if op_name(op.name) in _PRODUCTS else {row.shape}
    return _SIZED + inside if op.shape in sizes else 0


_PRODUCTS = ("addmm", "mm", "_addmm_activation")
"""Products of matrices, for which all axes but the last are one."""


_SIZED = 6
"""Score of an op whose sizes are a row's."""


def _aligned(ops: Sequence[RecordedOp], rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Return the pairs of the best alignment in order (Needleman and Wunsch 1970, without penalties)."""
    best = [[0] * (len(rows) + 1) for _ in range(len(ops) + 1)]
    for here in range(len(ops) - 1, -1, -1):
        line, below = best[here], best[here + 1]
        for there in range(len(rows) - 1, -1, -1):
            score = _score(ops[here], rows[there])
            taken = score + below[there + 1] if score else 0
            line[there] = max(taken, below[there], line[there + 1])
    pairs = []
    here = there = 0
    while here < len(ops) and there < len(rows):
        score = _score(ops[here], rows[there])
        if score and best[here][there] == score + best[here + 1][there + 1]:
            pairs.append((here, there))
            here, there = here + 1, there + 1
        elif best[here][there] == best[here + 1][there]:
            here += 1
        else:
            there += 1
    return pairs


def _place_rest(ops: Sequence[RecordedOp], rows: Sequence[Row], row_of: list[int | None]) -> None:
    """Give ops that stand out of order to the only row they fit, where that has none yet."""
    taken = {row for row in row_of if row is not None}
    free = [number for number in range(len(rows)) if number not in taken]
    for place, op in enumerate(ops):
        if row_of[place] is None:
            fitting = [number for number in free if _score(op, rows[number]) >= _SIZED]
            if len(fitting) == 1:
                row_of[place] = fitting[0]
                free.remove(fitting[0])
