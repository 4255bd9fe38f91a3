"""Linear maps and matrix products."""

from __future__ import annotations

from cnnstat.ops.linear import Bilinear, Linear
from cnnstat.ops.matmul import MatMul
from cnnstat.pytorch.calls import Call, Handler, Match


def _linear(call: Call) -> Match:
    """linear(input, weight, bias)."""
    weight, bias = call.get(1, "weight"), call.get(2, "bias")
    op = Linear(int(weight.shape[0]), bias=bias is not None)
    return Match(op, (call.get(0, "input"),), {"weight": weight, "bias": bias})


def _bilinear(call: Call) -> Match:
    """bilinear(input1, input2, weight, bias)."""
    weight, bias = call.get(2, "weight"), call.get(3, "bias")
    op = Bilinear(int(weight.shape[0]), bias=bias is not None)
    reads = (call.get(0, "input1"), call.get(1, "input2"))
    return Match(op, reads, {"weight": weight, "bias": bias})


def _matmul(call: Call) -> Match:
    """matmul, mm, bmm, mv and the operator @."""
    first = call.get(0, "input")
    second = next(v for v in (*call.arguments[1:2], *map(call.keywords.get, ("other", "mat2", "vec"))) if v is not None)
    return Match(MatMul(), (second, first) if call.name == "rmatmul" else (first, second))


HANDLERS: dict[str, Handler] = {
    "linear": _linear,
    "bilinear": _bilinear,
    **dict.fromkeys(("matmul", "rmatmul", "mm", "bmm", "mv", "aten.mm", "aten.bmm", "aten.mv"), _matmul),
}
