"""Operations that PyTorch's own counters do not know: custom ones, quantized ones, and products of sparse matrices."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch._library.custom_ops import OPDEFS
from torch.utils._python_dispatch import _disable_current_modes

from cnnstat.ir.op import numel
from cnnstat.pytorch.tensors import operands_in, shape_of

_NAMESPACES = ("quantized", "_quantized", "onednn")

BUILT_IN = ("aten", "prims", "prim", "torchvision", *_NAMESPACES)
"""Namespaces of operations without a Python function behind them."""


@cache
def is_composite(function: Any) -> bool:
    """Whether an operation is defined by other operations, for inference and training alike."""
    key = "CompositeImplicitAutograd"
    return function.namespace != "prim" and torch._C._dispatch_has_kernel_for_dispatch_key(function.name(), key)


def custom_body(function: Any) -> Callable[..., Any] | None:
    """Return the Python function behind an operation that `torch.library.custom_op` made; None for all others."""
    if function.namespace in BUILT_IN:
        return None
    definition = OPDEFS.get(function._schema.name)
    return None if definition is None else definition._init_fn


def quantized_macs(function: Any, arguments: tuple[Any, ...], made: Any) -> int | None:
    """Return the multiply-accumulates of a quantized convolution or linear layer; None for other operations."""
    name = str(function._schema.name.split("::")[-1])
    if function.namespace not in _NAMESPACES or not isinstance(made, torch.Tensor):
        return None
    if name.startswith(("linear", "qlinear")):
        return numel(shape_of(made)) * int(arguments[0].shape[-1])
    kind = next((kind for kind in ("conv1d", "conv2d", "conv3d") if name.startswith(kind)), None)
    unpack = None if kind is None else getattr(torch.ops.quantized, f"{kind}_unpack")
    if unpack is None:
        return None
    with _disable_current_modes():
        weight = unpack(arguments[1])[0]
    return numel(shape_of(made)) * numel(shape_of(weight)[1:])


def sparse_macs(name: str, arguments: tuple[Any, ...], made: Any) -> int | None:
    """Return the multiply-accumulates of a product with a sparse matrix: its elements × the columns of the other."""
    if name.strip("_") not in ("mm", "addmm", "sparse_mm", "sparse_addmm", "mv", "addmv", "bmm"):
        return None
    factors = list(operands_in(arguments))[-2:]
    sparse = [tensor for tensor in factors if tensor.layout is not torch.strided]
    if len(sparse) != 1 or not isinstance(made, torch.Tensor) or made.layout is not torch.strided:
        return None
    (other,) = (tensor for tensor in factors if tensor is not sparse[0])
    side = (-1 if sparse[0] is factors[0] else -2) if other.dim() > 1 else None
    with _disable_current_modes():
        return int(sparse[0]._nnz()) * (1 if side is None else int(other.shape[side]))
