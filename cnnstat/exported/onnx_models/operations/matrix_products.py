"""Matrix products of ONNX files: with weights they are linear layers, else products of two tensors."""

from __future__ import annotations

from typing import Any

from cnnstat.exported.layer_builder import Match, einsum_of
from cnnstat.exported.onnx_models.call import Call, Handler, Steps, need
from cnnstat.exported.onnx_models.runtime_shapes import turned
from cnnstat.ir.op import Family, numel
from cnnstat.ir.window import IDENTITY
from cnnstat.ir.work import Work
from cnnstat.ops.linear import Linear
from cnnstat.ops.matmul import MatMul


def _matmul(left: int = 0, right: int = 1) -> Handler:
    """Return the handler of a product of operands in these places."""

    def handle(call: Call) -> Match | None:
        first, second = call.input(left), call.input(right)
        if first.shape is None or second.shape is None:
            return None
        if first.edge is not None and second.edge is None and len(second.shape) == 2 and len(first.shape) > 1:
            need(
                first.shape[-1] == second.shape[0],
                f"the input has {first.shape[-1]} features, but the weight takes {second.shape[0]}",
            )
            return call.match(Linear(second.shape[1], bias=False), left, weight=right)
        return call.match(MatMul(), left, right)

    return handle


def _gemm(left: int = 0, right: int = 1, bias: int = 2) -> Handler:
    """Return the handler of A·B + C with the operands in these places."""

    def handle(call: Call) -> Match | None:
        first, second = call.input(left), call.input(right)
        (rows, inner), (other, columns) = call.shape(left), call.shape(right)
        if call.attributes.get("transA"):
            rows, inner = inner, rows
        if call.attributes.get("transB"):
            other, columns = columns, other
        need(inner == other, f"the input has {inner} features, but the weight takes {other}")
        added = call.input(bias) if call.has(bias) else None
        is_bias = added is None or (added.edge is None and added.shape in ((columns,), (1, columns)))
        if second.edge is None and is_bias and first.edge is not None and not call.attributes.get("transA"):
            return call.match(Linear(columns, bias=added is not None), left, weight=right, bias=bias)
        reads = (first, second, *(() if added is None else (added,)))
        count = rows * columns
        work = Work(count * inner) + Work.other("bias", count if added is not None else 0)
        known = None if call.attributes.get("transA") else _row_reads(reads)
        op = call.recorded(Family.LINEAR, work, outputs=((rows, columns),), reads=known, counted_as_weighted=True)
        return Match(op, reads)

    return handle


def _row_reads(reads: tuple[Any, ...]) -> Any:
    """Return that rows are positions; only for operands that are no constants."""
    first = [((0, IDENTITY), None)] if reads[0].edge is not None else []
    return (*first, *((None, None) for read in reads[1:] if read.edge is not None))


def _einsum(call: Call) -> Match:
    equation = call.attributes.get("equation", b"").decode("ascii", "replace")
    return einsum_of("Einsum", equation, call.reads(*range(len(call.inputs))), call.output)


_TURNS = ("transA", "transB", "transBatchA", "transBatchB")


def _product_of(left: int, right: int) -> Handler:
    """Return the handler of a product that scales or transposes beside, with its operands in these places."""

    def handle(call: Call) -> Match | Steps | None:
        if not any(call.attributes.get(name) for name in _TURNS) and call.input(right).shape is not None:
            return _matmul(left, right)(call)
        inner = turned(call.shape(left), call.attributes, "A")[-1]
        op = call.recorded(Family.LINEAR, Work(numel(call.output) * inner), counted_as_weighted=True)
        return Match(op, call.reads(left, right))

    return handle


def _few_bits(call: Call) -> Match:
    """MatMulNBits and MatMulBnb4: weights of a few bits in packed blocks."""
    features = call.shape()[-1]
    return Match(
        call.recorded(Family.LINEAR, Work(numel(call.output) * features), counted_as_weighted=True), call.reads(0)
    )


HANDLERS: dict[str, Handler] = {
    "MatMul": _matmul(),
    "MatMulInteger": _matmul(),
    "QLinearMatMul": _matmul(0, 3),
    "DynamicQuantizeMatMul": _matmul(),
    "MatMulIntegerToFloat": _matmul(),
    "FusedMatMul": _product_of(0, 1),
    "TransposeMatMul": _product_of(0, 1),
    "FusedMatMulActivation": _product_of(0, 1),
    **dict.fromkeys(("MatMulNBits", "MatMulBnb4"), _few_bits),
    "MatMulInteger16": _matmul(),
    "Gemm": _gemm(),
    "FusedGemm": _gemm(),
    "QGemm": _gemm(0, 3, 6),
    "Einsum": _einsum,
}
