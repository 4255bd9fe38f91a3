"""Joins of two tensors element by element, concatenation and stacking."""

from __future__ import annotations

from typing import Any

import torch

from cnnstat.ops import concat, join
from cnnstat.pytorch.calls import Call, Handler, Match


def _binary(op: Any, *, reverse: bool = False, can_overwrite: bool = True) -> Handler:
    """Return the handler of an operation on two tensors, or a tensor and a number."""

    def handle(call: Call) -> Match | None:
        reads = (call.get(0, "input", call.keywords.get("self")), call.get(1, "other"))
        if call.keywords.get("rounding_mode") or any(
            isinstance(read, (complex, str)) or read is None for read in reads
        ):
            return None
        made = op(inplace=True) if can_overwrite and call.inplace else op()
        return Match(made, reads[::-1] if reverse else reads)

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


HANDLERS: dict[str, Handler] = {
    "add": _binary(join.Add),
    "sub": _binary(join.Subtract),
    "rsub": _binary(join.Subtract, reverse=True, can_overwrite=False),
    "mul": _binary(join.Multiply),
    "div": _binary(join.Divide),
    "rdiv": _binary(join.Divide, reverse=True, can_overwrite=False),
    "maximum": _binary(join.Maximum, can_overwrite=False),
    "minimum": _binary(join.Minimum, can_overwrite=False),
    **dict.fromkeys(("cat", "concat", "concatenate", "aten.cat"), _concat(concat.Concat)),
    **dict.fromkeys(("stack", "aten.stack"), _concat(concat.Stack)),
    **{f"aten.{name}": _binary(op) for name, op in (("add", join.Add), ("mul", join.Multiply), ("sub", join.Subtract))},
}
