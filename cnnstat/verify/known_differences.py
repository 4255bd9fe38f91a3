"""Known differences: the conventions and gaps of the references, each with the number that it accounts for.

A difference is explained only where the reasons account for it to the last multiply-accumulate. Here are also
the reasons why a gradient may reach elsewhere than a receptive field says although that is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from cnnstat.analysis.analysis import Analysis
from cnnstat.ir.graph import Edge, Graph, Node
from cnnstat.ir.op import Family, Op, Shapes, numel
from cnnstat.ir.window import Window
from cnnstat.verify.findings import Box, ReferenceCount, Verdict, explained, not_comparable, unexplained
from cnnstat.verify.flop_counter import Evidence
from cnnstat.verify.fvcore_count import Operation


class Convention(NamedTuple):
    """What fvcore counts for an operation that holds no products.

    factors: how often it counts each element, one of these; of: whether of its `input` or its `output`.
    """

    factors: tuple[int, ...]
    of: str
    title: str


FVCORE_ESTIMATES = {
    "batch_norm": Convention((2, 1, 5, 4), "input", "batch norm"),
    "group_norm": Convention((5, 4), "input", "group norm"),
    "layer_norm": Convention((5, 4), "input", "layer norm"),
    "instance_norm": Convention((5, 4), "input", "instance norm"),
    "upsample_nearest2d": Convention((1,), "output", "nearest resizing"),
    "upsample_bilinear2d": Convention((4,), "output", "bilinear resizing"),
    "adaptive_avg_pool2d": Convention((1,), "input", "adaptive average pooling"),
    "grid_sampler": Convention((4,), "output", "grid sampling"),
}
"""fvcore's counts of operations that are no products (fvcore/nn/flop_count.py and jit_handles.py)."""


class Call(NamedTuple):
    """A node as the counts are held against: its op, shapes, and our multiply-accumulates.

    is_complex: whether it computes with complex numbers.
    """

    op: Op
    inputs: Shapes
    macs: int
    is_complex: bool = False

    @property
    def as_run(self) -> int:
        """The multiply-accumulates that PyTorch runs: a complex convolution is three real ones there."""
        return 3 * self.macs if self.is_complex and self.op.family is Family.CONVOLUTION else self.macs


_COMPLEX = "PyTorch computes a complex convolution as three real ones"
_DENSE = "PyTorch convolves with a dense filter that is zero where the connection table has no pair"
_WRITTEN_OUT = "the products are written out element by element and summed"


def flop_counter_reference(call: Call, evidence: Evidence) -> ReferenceCount:
    """Return FlopCounterMode's count of one call, and why it differs."""
    if evidence.macs == call.macs:
        return _equal_count(call, evidence)
    if evidence.macs == call.as_run:
        return explained(evidence.macs, _COMPLEX)
    unseen = ", ".join(dict.fromkeys(part.function for part in evidence.unseen))
    known = [part.macs for part in evidence.unseen if part.macs is not None]
    reasons = [f"FlopCounterMode has no formula for {unseen}"] * bool(known)
    reasons += ["FlopCounterMode multiplies by the zeros of sparse matrices too"] * bool(evidence.zeros)
    is_all_known = bool(reasons) and len(known) == len(evidence.unseen)
    if is_all_known and evidence.macs + sum(known) - evidence.zeros == call.macs:
        return ReferenceCount(evidence.macs, Verdict.EXPLAINED, tuple(reasons))
    if call.op.computed_as == "written out" and evidence.macs == 0 and evidence.summed == call.macs:
        return explained(0, f"{_WRITTEN_OUT}, which FlopCounterMode does not count")
    if _is_sparse(call, evidence):
        return explained(evidence.macs, _DENSE)
    if len(known) < len(evidence.unseen):
        return not_comparable(evidence.macs, f"FlopCounterMode has no formula for {unseen}, and neither has cnnstat")
    return unexplained(evidence.macs, "FlopCounterMode counts differently, for no known reason")


def _equal_count(call: Call, evidence: Evidence) -> ReferenceCount:
    """Return the reference of a count that is equal; an op that nobody counts has no reference."""
    if call.op.modelled or not any(part.macs is None for part in evidence.unseen):
        return ReferenceCount(evidence.macs)
    names = ", ".join(dict.fromkeys(part.function for part in evidence.unseen))
    return not_comparable(None, f"nobody has a formula for {names}")


def _is_sparse(call: Call, evidence: Evidence) -> bool:
    """Whether the op stores fewer filter elements than PyTorch convolves with, by the ratio of the counts."""
    stored = numel(call.op.weights(call.inputs).get("weight", ()))
    is_dense = call.op.computed_as == "dense filter"
    return is_dense and 0 < stored < evidence.filters and evidence.macs * stored == call.macs * evidence.filters


def fvcore_reference(calls: Iterable[Call], operations: Iterable[Operation], *, is_used: bool = True) -> ReferenceCount:
    """Return fvcore's count of one or more calls that are one group to it.

    is_used: whether a result of the network depends on them; fvcore's trace drops what is not used.
    """
    calls, operations = tuple(calls), tuple(operations)
    ours, theirs = sum(call.macs for call in calls), sum(each.counted or 0 for each in operations)
    if not operations and not is_used and ours:
        return explained(0, "nothing uses the result, and fvcore's trace leaves such calls out")
    reasons, accounted = [], theirs
    for each in operations:
        if (difference := _why(each)) is not None:
            reasons.append(difference[0])
            accounted += difference[1]
    if accounted == ours:
        verdict = Verdict.EXPLAINED if theirs != ours else Verdict.AGREES
        return ReferenceCount(theirs, verdict, tuple(dict.fromkeys(reasons)) if theirs != ours else ())
    if accounted == sum(call.as_run for call in calls):
        return ReferenceCount(theirs, Verdict.EXPLAINED, tuple(dict.fromkeys((*reasons, _COMPLEX))))
    return _unaccounted(calls, operations, ours, theirs)


def _unaccounted(calls: tuple[Call, ...], operations: tuple[Operation, ...], ours: int, theirs: int) -> ReferenceCount:
    """Return the reference of a difference that no single operation accounts for."""
    (first, *others) = calls
    if not others and theirs == 0 and _is_written_out(first, operations):
        return explained(0, f"{_WRITTEN_OUT}, which fvcore does not count")
    stored = numel(first.op.weights(first.inputs).get("weight", ()))
    if (
        not others
        and first.op.computed_as == "dense filter"
        and stored
        and theirs > ours > 0
        and theirs * stored % ours == 0
    ):
        dense = theirs * stored // ours
        if any(each.kind == "_convolution" for each in operations) and dense > stored:
            return explained(theirs, _DENSE)
    unknown = ", ".join(dict.fromkeys(each.kind for each in operations if each.product is None))
    if unknown:
        return not_comparable(theirs, f"fvcore does not know {unknown}, nor how much it would be")
    return unexplained(theirs, "fvcore counts differently, for no known reason")


def _is_written_out(call: Call, operations: tuple[Operation, ...]) -> bool:
    """Whether a layer's products, one for each pair of an input and a stored number, are element-wise ones summed."""
    stored = {**call.op.weights(call.inputs), **call.op.buffers(call.inputs)}.get("weight", ())
    if call.op.computed_as != "written out" or any(each.is_product for each in operations) or not stored:
        return False
    return bool(call.inputs) and call.macs == numel(call.inputs[0][:-1]) * numel(stored)


def _why(each: Operation) -> tuple[str, int] | None:
    """Return why fvcore's count of an operation is not its products, and what has to be added to get them."""
    if each.kind in FVCORE_ESTIMATES:
        return _estimate(each)
    if not each.is_product or each.product is None or each.counted == each.product:
        return None
    if each.counted is None:
        return f"fvcore does not know {each.kind}", each.product
    if each.kind == "matmul":
        return "fvcore multiplies matmul by the batch of its first operand only", each.product - each.counted
    if each.kind == "einsum":
        return _rounded(each)
    return None


def _estimate(each: Operation) -> tuple[str, int] | None:
    """Return the convention by which fvcore counts an operation without products."""
    factors, of, title = FVCORE_ESTIMATES[each.kind]
    elements = each.inputs if of == "input" else each.outputs
    if each.counted is None or elements == 0:
        return None
    factor = next((f for f in factors if f * elements == each.counted), None)
    return None if factor is None else (f"fvcore adds {title}: {factor} for each {of} element", -each.counted)


def _rounded(each: Operation) -> tuple[str, int] | None:
    """Return the reason where fvcore's count is NumPy's, which it prints with four digits."""
    if each.counted is None or each.product is None:
        return None
    if not each.product and float(f"{each.outputs:.3e}") // 2 == each.counted:
        return "fvcore counts half of the multiplications of an einsum that sums nothing", -each.counted
    if float(f"{2 * each.product:.3e}") // 2 != each.counted:
        return None
    return "fvcore reads einsum's count from a text with four digits", each.product - each.counted


def why_less(analysis: Analysis, edge: Edge) -> str:
    """Return why a gradient may reach less far than a field, which holds for all values; empty if it may not."""
    if chooser := router(analysis, edge):
        return f"data-dependent: {chooser} chooses by value, and reached less in this run"
    coordinates = (each for each in (analysis.fields.coordinates(*edge) or {}).values() if each is not None)
    if any(each.field is not None and each.field.is_part for each in coordinates):
        return "positions were cut off before it, and beside the cut a layer reads padding"
    for value, _ in depended_on(analysis.graph, [edge]):
        if _is_followed(analysis, value) and not is_float(analysis, value):
            return f"gradients do not come through {analysis.graph.value_name(value)}, which is no float"
    return ""


def is_float(analysis: Analysis, value: int) -> bool:
    """Return whether a gradient can come through a tensor: a mask or an index reads as far, but has none."""
    return analysis.values.dtypes[value][0].startswith(("float", "bfloat", "complex"))


def _is_followed(analysis: Analysis, value: int) -> bool:
    """Return whether a tensor depends on the input."""
    return any(trace.tracked or trace.coordinates or trace.whole for trace in analysis.fields.traces[value])


def router(analysis: Analysis, edge: Edge) -> str:
    """Return the last layer up to a tensor that chooses by value between positions it reads; empty if none does."""
    graph = analysis.graph
    for value, node in depended_on(graph, [edge]):
        if node.op.routes_by_value and any(_is_followed(analysis, source.value) for source in node.inputs):
            return graph.value_name(value)
    return ""


def depended_on(graph: Graph, edges: Iterable[Edge]) -> Iterator[tuple[int, Node]]:
    """Yield the layers that tensors depend on with the numbers of their values, the last first."""
    needed = {edge.value for edge in edges}
    for value in range(max(needed, default=-1), graph.arity - 1, -1):
        if value in needed:
            node = graph.nodes[value - graph.arity]
            yield value, node
            needed.update(source.value for source in node.inputs)


def mixer(analysis: Analysis, edge: Edge) -> str:
    """Return the layer before a feature map that joins a local field with reads it does not follow; empty if none does.

    A gate is a tensor that can be left out of the run; such a layer is both in one, as a write into a slice is.
    """
    fields, graph = analysis.fields, analysis.graph
    for value, node in depended_on(graph, [edge]):
        known = 0
        for source in node.inputs:
            trace = fields.traces[source.value][source.output]
            known |= trace.context | trace.whole
        local = [trace for trace in fields.traces[value] if trace.tracked or trace.coordinates]
        if any((trace.context | trace.whole) & ~known for trace in local):
            return graph.value_name(value)
    return ""


def is_brought_round(analysis: Analysis, edge: Edge, ours: Box, box: Box | None, shape: Sequence[int]) -> bool:
    """Whether a gradient is further than a field only where that passes a border behind a layer that rolls positions.

    cnnstat takes the ends that come in on the other side for borders.
    """
    graph, values = analysis.graph, analysis.values
    sides = zip(box or (), ours, shape)
    if box is None or any(
        (first < max(lo, 0) or last > min(hi, length - 1)) and lo >= 0 and hi < length
        for (first, last), (lo, hi), length in sides
    ):
        return False
    for number in range(edge.value - graph.arity + 1):
        inputs, outputs = values.inputs[number], values.outputs[graph.arity + number]
        for shape_before, axes in zip(inputs, graph.nodes[number].op.window(inputs, outputs)):
            for place, entry in enumerate(axes):
                if entry is None or not isinstance(entry[1], Window) or entry[1].advance != 1:
                    continue
                is_moved = entry[1].period == 1 and len(entry[1].taps[0]) == 1 and entry[1].taps[0][0] != 0
                if is_moved and shape_before[entry[0]] == outputs[0][place] > 1:
                    return True
    return False


def contains(outer: Box | None, inner: Box, shape: Sequence[int]) -> bool:
    """Return whether a box contains all of another one that lies inside the input."""
    sides = zip(outer or (), inner, shape)
    return outer is not None and all(
        first <= max(lo, 0) and last >= min(hi, length - 1) for (first, last), (lo, hi), length in sides
    )
