"""Refused dtypes: operations that PyTorch does not run on these dtypes, which tensors without memory hide."""

from __future__ import annotations

import math
import re
from typing import Any

import torch

MOST = 8
"""Longest axis of the small tensors that stand for an operation's operands."""

_CONVOLUTION = torch.ops.aten.convolution.default

_ABOUT_DTYPES = re.compile(
    r"same dtype|scalar type|Type promoting|Boolean inputs|could not infer output dtype|must be long, int"
    r"|not implemented for '(Bool|Byte|Char|Short|Int|Long|Complex\w+)'"
    r"|\b(should|must) be the same\b|can't be cast|to have the same dtype|Unsupported dtype|target dtype"
    r"|same datatype|Found dtype|dtypes match|(for|support) complex|complex (inputs?|types|dtypes|tensors)"
    r"|only supports? floating"
)
"""Errors that say that a dtype is the cause. What a CPU lacks for half precision, a GPU has."""

_accepted: set[tuple[Any, ...]] = set()


def check_dtypes(function: Any, operands: list[torch.Tensor], arguments: tuple[Any, ...], keywords: Any) -> None:
    """Raise PyTorch's own error where an operation does not take operands of these dtypes.

    It runs on small real tensors, once for each combination of dtypes that is not one floating-point dtype.
    """
    first = operands[0].dtype
    if first.is_floating_point and all(tensor.dtype is first for tensor in operands):
        return
    key = (function, *(tensor.dtype for tensor in operands))
    if key in _accepted:
        return
    if _is_harmless(function, arguments):
        try:
            function(*map(_small, _with_one_group(function, arguments)), **{k: _small(v) for k, v in keywords.items()})
        except (RuntimeError, IndexError, TypeError, NotImplementedError) as error:
            if _ABOUT_DTYPES.search(str(error)):
                raise
    _accepted.add(key)


def _is_harmless(function: Any, arguments: tuple[Any, ...]) -> bool:
    """Whether an operation of PyTorch's own may run again: it draws no numbers, makes no view and nothing large."""
    if function.namespace != "aten" or torch.Tag.nondeterministic_seeded in function.tags:
        return False
    if any(result.alias_info is not None and not result.alias_info.is_write for result in function._schema.returns):
        return False
    sizes = [value for value in arguments if isinstance(value, (list, tuple)) and value]
    return all(not all(type(size) is int for size in value) or math.prod(value) < 2**20 for value in sizes)


def _with_one_group(function: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments, of a convolution with operands of one channel."""
    if function is not _CONVOLUTION:
        return arguments
    ones = (each[(slice(0, 1),) * each.dim()] if isinstance(each, torch.Tensor) else each for each in arguments[:3])
    return (*ones, *arguments[3:8], 1)


def _small(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return torch.zeros([min(size, MOST) for size in value.shape], dtype=value.dtype)
    if isinstance(value, (list, tuple)):
        return type(value)(min(each, MOST) if type(each) is int else _small(each) for each in value)
    return value
