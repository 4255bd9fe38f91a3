"""Arithmetic: joins of two tensors element by element, concatenation, matrix products, reductions over axes."""

from __future__ import annotations

from typing import Any

import torch

from cnnstat.ops import join, reduction
from cnnstat.ops.matmul import MatMul
from cnnstat.pytorch.calls import Call, Handler, Match


def _binary(op: Any, *, reverse: bool = False, can_overwrite: bool = True) -> Handler:
    """Return the handler of an operation on two tensors, or a tensor and a number."""

    def handle(call: Call) -> Match | None:
        reads = (call.get(0, "input", call.keywords.get("self")), call.get(1, "other"))
        if call.keywords.get("rounding_mode") or any(
            isinstance(read, (complex, str)) or read is None for read in reads
        ):
            return None
        result = op(inplace=True) if can_overwrite and call.inplace else op()
        return Match(result, reads[::-1] if reverse else reads)

    return handle


def _concat(op: Any) -> Handler:
    """Return the handler of concatenation: (tensors, dim); the empty tensors that PyTorch ignores are left out."""

    def handle(call: Call) -> Match | None:
        tensors = call.get(0, "tensors")
        dim = call.get(1, "dim", call.keywords.get("axis", 0))
        if not all(isinstance(tensor, torch.Tensor) for tensor in tensors):
            return None
        filled = tuple(tensor for tensor in tensors if tensor.dim() != 1 or tensor.numel())
        return Match(op(int(dim)), filled or tuple(tensors))

    return handle


def _matmul(call: Call) -> Match:
    """matmul, mm, bmm, mv and the operator @."""
    first = call.get(0, "input")
    second = next(v for v in (*call.arguments[1:2], *map(call.keywords.get, ("other", "mat2", "vec"))) if v is not None)
    return Match(MatMul(), (second, first) if call.name == "rmatmul" else (first, second))


def _reduction(op: Any) -> Handler:
    """Return the handler of a reduction to one tensor over axes that are named, or over all."""

    def handle(call: Call) -> Match | None:
        x = call.get(0, "input", call.keywords.get("self"))
        dim = call.get(1, "dim", call.keywords.get("axis"))
        if isinstance(dim, bool) or len(call.results) != 1 or not x.dim():
            return None
        if not isinstance(dim, (int, list, tuple)) or dim == () or dim == []:
            dim = tuple(range(x.dim()))
        keepdim = bool(call.get(2, "keepdim", call.keywords.get("keepdims", False)))
        return Match(op(dim if isinstance(dim, int) else tuple(dim), keepdim=keepdim), (x,))

    return handle


HANDLERS: dict[str, Handler] = {
    "add": _binary(join.Add),
    "sub": _binary(join.Subtract),
    "rsub": _binary(join.Subtract, reverse=True, can_overwrite=False),
    "mul": _binary(join.Multiply),
    "div": _binary(join.Divide),
    "rdiv": _binary(join.Divide, reverse=True, can_overwrite=False),
    "maximum": _binary(join.Maximum, can_overwrite=False),
    "minimum": _binary(join.Minimum, can_overwrite=False),
    **dict.fromkeys(("cat", "concat", "concatenate", "aten.cat"), _concat(join.Concat)),
    **dict.fromkeys(("stack", "aten.stack"), _concat(join.Stack)),
    **{f"aten.{name}": _binary(op) for name, op in (("add", join.Add), ("mul", join.Multiply), ("sub", join.Subtract))},
    **dict.fromkeys(("matmul", "rmatmul", "mm", "bmm", "mv", "aten.mm", "aten.bmm", "aten.mv"), _matmul),
    "mean": _reduction(reduction.Mean),
    "sum": _reduction(reduction.Sum),
    "amax": _reduction(reduction.Max),
}
