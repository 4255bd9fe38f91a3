"""Op ranges: the time in which a recording without marks of layers computes each row, told by its ops."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cnnstat.profile.recorded.op_rows import RecordedOp, Row, RowsOfOps, match_ops, op_name
from cnnstat.profile.recorded.recorded_marks import Marks, module_paths
from cnnstat.profile.traces.kineto_trace import (
    Kernel,
    Launch,
    LayerRange,
    Operation,
    PassRange,
    Signature,
    Trace,
    arguments_of,
    by_pass,
    nanoseconds,
    place_at,
    thread_of,
)

Shape = tuple[int, ...]
Dims = Mapping[tuple[int, int], tuple[Shape, ...]]
"""Sizes of the inputs of ops by their thread and start."""

_COMPILED_BACKWARD = "CompiledFunctionBackward"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpRanges:
    """What the ops of each pass tell of the rows.

    ranges: of all passes; calls: how often a row is called in each pass; ambiguous: rows told by order alone.
    """

    ranges: tuple[LayerRange, ...]
    calls: tuple[Mapping[int, int], ...]
    ambiguous: tuple[frozenset[str], ...]


def find_op_ranges(
    trace: Trace, passes: Sequence[PassRange], marks: Marks, rows: Sequence[Row], dims: Dims
) -> OpRanges:
    """Return the ranges of layers, found by modules' marks, names and sizes of ops."""
    backward = BackwardTimes(trace.operations)
    everything = outermost_operations(trace.operations, marks)
    paths = module_paths(everything, marks.modules)
    outermost = [
        each
        for each in everything
        if "autograd::" not in each.name and not backward.has(each.thread, each.start) and _is_of_the_model(each, marks)
    ]
    seen: dict[tuple[RecordedOp, ...], RowsOfOps] = {}
    ranges: list[LayerRange] = []
    calls: list[dict[int, int]] = []
    ambiguous = []
    for own in by_pass(outermost, passes):
        ops = tuple(_recorded(each, dims, paths.get((each.thread, each.start))) for each in own)
        if ops not in seen:
            seen[ops] = match_ops(ops, rows)
        matched = seen[ops]
        ranges += [_range(each, row) for each, row in zip(own, matched.rows) if row is not None]
        # A module may need further ops for one call, such as a count of batches.
        counts = dict.fromkeys((row for row in matched.rows if row is not None), 0)
        for op, row in zip(ops, matched.rows):
            if row is not None and op_name(op.name) in rows[row].ops:
                counts[row] += 1
        calls.append({row: max(1, count) for row, count in counts.items()})
        ambiguous.append(frozenset(matched.ambiguous))
    for own in _recomputed(everything, paths, backward):
        again = [_recorded(each, dims, paths[each.thread, each.start]) for each in own]
        ranges += [_range(each, row) for each, row in zip(own, match_ops(again, rows).rows) if row is not None]
    for own in by_pass(_compiled_backward(trace.operations), passes):
        ranges += _backward_ranges(own, rows, dims)
    return OpRanges(ranges=tuple(ranges), calls=tuple(calls), ambiguous=tuple(ambiguous))


def _is_of_the_model(operation: Operation, marks: Marks) -> bool:
    """Whether an op ran while the marked model was called; others are of a loss, of data or of another model.

    Without such marks: whether it is no optimizer's.
    """
    if marks.runs:
        return place_at(operation.start, marks.runs) is not None
    return place_at(operation.start, marks.optimizers) is None


class BackwardTimes:
    """When each thread ran backward ops."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._times: dict[int, list[Operation]] = {}
        for each in operations:
            own = self._times.setdefault(each.thread, [])
            if each.forward_thread > 0 and (not own or each.end > own[-1].end):
                own.append(each)

    def has(self, thread: int, moment: int) -> bool:
        """Whether a backward op ran then."""
        return place_at(moment, self._times.get(thread, ())) is not None


def _recomputed(
    operations: Iterable[Operation], paths: Mapping[tuple[int, int], str], backward: BackwardTimes
) -> Iterator[list[Operation]]:
    """Yield the ops of modules that a backward pass calls again, as checkpoints do, a stretch of them at a time."""
    stretch: list[Operation] = []
    for each in operations:
        is_again = not each.forward_thread and (each.thread, each.start) in paths
        if is_again and "autograd::" not in each.name and backward.has(each.thread, each.start):
            stretch.append(each)
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch


def _range(operation: Operation, row: int) -> LayerRange:
    return LayerRange(row=row, call=0, start=operation.start, end=operation.end, thread=operation.thread)


def _recorded(operation: Operation, dims: Dims, module: str | None) -> RecordedOp:
    shapes = dims.get((operation.thread, operation.start), ())
    if operation.name in _BIAS_FIRST:
        shapes = shapes[1:]
    return RecordedOp(operation.name, first_of(shapes), module, _weight(shapes))


def _weight(shapes: Sequence[Shape]) -> Shape | None:
    """Return the sizes of an op's second input, which is the weight of convolutions and products."""
    return tuple(sorted(shapes[1])) if len(shapes) > 1 and len(shapes[1]) > 1 else None


_BIAS_FIRST = ("aten::addmm", "aten::_addmm_activation")
"""Products whose first input is what is added to them."""


def outermost_operations(operations: Iterable[Operation], marks: Marks) -> list[Operation]:
    """Return the ops that no other op of their thread encloses.

    What is written as an op and only stands around some is passed over, such as regions of torch.compile, and backward
    ops that call a module once more.
    """
    called: dict[int, list[int]] = {}
    for mark in marks.modules:
        called.setdefault(mark.thread, []).append(mark.start)
    ends: dict[int, int] = {}
    outermost = []
    for operation in operations:
        is_op = "::" in operation.name or operation.forward_thread > 0 or "fused" in operation.name
        if not is_op or "CompiledFunction" in operation.name or operation.start < ends.get(operation.thread, -1):
            continue
        starts = called.get(operation.thread, ())
        place = bisect_right(starts, operation.start)
        if place == len(starts) or starts[place] > operation.end:
            ends[operation.thread] = operation.end
            outermost.append(operation)
    return outermost


def with_ops_for_kernels(trace: Trace, marks: Marks) -> Trace:
    """Return a trace in which the outermost ops of every thread are what was launched and what ran."""
    kernels, launches = [], []
    for number, operation in enumerate(outermost_operations(trace.operations, marks), start=1):
        signature = Signature(operation.name, ())
        kernels.append(
            Kernel(
                signature=signature, work="kernel", start=operation.start, end=operation.end, stream=operation.thread,
                correlation=number,
            )
        )  # fmt: skip
        launches.append(
            Launch(kind="kernel", start=operation.start, end=operation.end, thread=operation.thread, correlation=number)
        )
    return replace(trace, kernels=tuple(kernels), launches=tuple(launches))


# Backward passes that torch.compile made ------------------------------------------------------------------------------


def _compiled_backward(operations: Iterable[Operation]) -> Iterator[Operation]:
    """Yield convolutions and products in the backward passes of compiled regions, which no sequence number tells."""
    ends: dict[int, int] = {}
    for each in operations:
        if each.name == _COMPILED_BACKWARD:
            ends[each.thread] = each.end
        elif each.start <= ends.get(each.thread, -1) and each.name in (_CONVOLUTION_BACKWARD, *_PRODUCTS):
            yield each


_CONVOLUTION_BACKWARD = "aten::convolution_backward"
_PRODUCTS = ("aten::mm", "aten::addmm")


def _backward_ranges(own: Sequence[Operation], rows: Sequence[Row], dims: Dims) -> Iterator[LayerRange]:
    """Yield the ranges of what a compiled backward pass computes of each row: the last rows first."""
    shapes = [dims.get((each.thread, each.start), ()) for each in own]
    convolutions = [place for place, each in enumerate(own) if each.name == _CONVOLUTION_BACKWARD]
    # Behind the gradient of the output comes the input.
    ops = [
        RecordedOp("aten::convolution", first_of(shapes[place][1:]), None, _weight(shapes[place][1:]))
        for place in convolutions
    ]
    for place, row in zip(convolutions, match_ops(ops, rows[::-1]).rows):
        if row is not None:
            yield _range(own[place], len(rows) - 1 - row)
    linear = [number for number in range(len(rows) - 1, -1, -1) if "linear" in rows[number].ops]
    latest, count = -1, 0
    for place, each in enumerate(own):
        if each.name not in _PRODUCTS:
            continue
        sizes = {size for shape in shapes[place] for size in shape}
        # Two products a layer: the gradients of its input and of its weight.
        if count != 1 or not _fits(rows[latest], sizes):
            latest, count = next((row for row in linear if _fits(rows[row], sizes)), -1), 0
            linear = [row for row in linear if row != latest]
        count += 1
        if latest >= 0:
            yield _range(each, latest)


def _fits(row: Row, sizes: set[int]) -> bool:
    return not sizes or row.shape is None or row.shape[-1] in sizes


# Sizes of inputs ------------------------------------------------------------------------------------------------------


def read_dims(events: Iterable[Mapping[str, Any]]) -> dict[tuple[int, int], tuple[Shape, ...]]:
    """Return the sizes of the inputs of ops by thread and start, where the recording has them."""
    return {
        (thread_of(event), nanoseconds(event["ts"])): dims
        for event in events
        if event.get("cat") == "cpu_op" and (dims := dims_of(event))
    }


def dims_of(event: Mapping[str, Any]) -> tuple[Shape, ...]:
    """Return the sizes of an op's inputs; an empty one for what is no tensor, nothing where they are not recorded."""
    arguments = arguments_of(event)
    dims = arguments.get("Input Dims") or arguments.get("Input dims")
    if not isinstance(dims, list):
        return ()
    return tuple(
        tuple(each) if isinstance(each, list) and all(type(size) is int for size in each) else () for each in dims
    )


def first_of(dims: Sequence[Shape]) -> Shape | None:
    """Return the sizes of the first input that has some; None where none has."""
    return next(filter(None, dims), None)
