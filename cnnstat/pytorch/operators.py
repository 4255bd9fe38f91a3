"""Operators made of other calls: composite and custom ones, and those that take functions."""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache, reduce
from typing import Any

import torch
from torch._library.custom_ops import OPDEFS
from torch.utils._python_dispatch import _disable_current_modes

from cnnstat.errors import CnnstatError
from cnnstat.ir.op import Family
from cnnstat.ops.attention import ScaledDotProductAttention
from cnnstat.ops.traced import Recorded
from cnnstat.pytorch.aten_flops import QUANTIZED_NAMESPACES
from cnnstat.pytorch.calls import Match
from cnnstat.pytorch.fake import Faker
from cnnstat.pytorch.tensors import shape_of

_BUILT_IN = ("aten", "prims", "prim", "torchvision", *QUANTIZED_NAMESPACES)
"""Namespaces of operations without a Python function behind them."""

HigherOrderOperator: Any = torch._ops.HigherOrderOperator


class OperatorError(CnnstatError):
    """A model uses an operator on functions that cannot be followed."""


def _cond(condition: Any, if_true: Callable[..., Any], if_false: Callable[..., Any], operands: Any = ()) -> Any:
    """torch.cond: the branch that the condition chooses."""
    return (if_true if bool(condition) else if_false)(*operands)


def _while_loop(goes_on: Callable[..., Any], body: Callable[..., Any], carried: Any, others: Any = ()) -> Any:
    """torch.while_loop: as many passes as its condition asks for."""
    while bool(goes_on(*carried, *others)):
        carried = body(*carried, *others)
    return carried


def _map(function: Callable[..., Any], sequences: Any, others: Any = ()) -> Any:
    """torch.map: one pass for each element of the first axis; tensors in, tensors out."""
    result = [function(*(s[number] for s in sequences), *others) for number in range(len(sequences[0]))]
    return tuple(torch.stack(parts) for parts in zip(*result))


_FOLLOWED: dict[str, Callable[..., Any]] = {"cond": _cond, "while_loop": _while_loop, "map_impl": _map}


def follow(function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Return what an operator makes by calling its functions, each of whose calls is recorded; raises OperatorError."""
    name = function.name()
    if name not in _FOLLOWED:
        raise OperatorError(f"the model uses the operator {name}, which takes a function and cannot be followed")
    return _FOLLOWED[name](*arguments, **keywords)


def is_attention(function: Any) -> bool:
    """Whether an operator is FlexAttention, which is one call with a known result."""
    return bool(function.name() == "flex_attention")


def attention(
    function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], faker: Faker | None
) -> tuple[tuple[torch.Tensor, ...], Match]:
    """Return the results of FlexAttention and what it is; every score counts, also those that a block mask leaves out.

    What a function of one's own does with a score is not counted, and the call then not modelled.
    """
    query, key, value, change, mask = arguments[:5]
    with _disable_current_modes(), nullcontext() if faker is None else faker.mode:
        result = function(*arguments, **keywords)
    shapes = tuple(map(shape_of, (query, key, value)))
    op = ScaledDotProductAttention(enable_gqa=query.shape[1] != key.shape[1])
    outputs = op.output(shapes)
    scores = reduce(operator.mul, (*shapes[0][:-1], shapes[1][-2]))
    flops = sum(op.other_flops(shapes, outputs).values()) + scores * (_name(mask[-1]) != "noop_mask")
    recorded = Recorded(
        function="flex_attention",
        outputs=tuple(map(shape_of, result)),
        work=op.macs(shapes, outputs),
        flops=(("attention", flops),),
        family=Family.ATTENTION,
        modelled=_name(change) == "_identity",
    )
    return tuple(result), Match(recorded, (query, key, value))


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", ""))


@cache
def is_composite(function: Any) -> bool:
    """Whether an operation is defined by other operations, for inference and training alike."""
    key = "CompositeImplicitAutograd"
    return function.namespace != "prim" and torch._C._dispatch_has_kernel_for_dispatch_key(function.name(), key)


def custom_body(function: Any) -> Callable[..., Any] | None:
    """Return the Python function behind an operation that `torch.library.custom_op` made; None for all others."""
    if function.namespace in _BUILT_IN:
        return None
    definition = OPDEFS.get(function._schema.name)
    return None if definition is None else definition._init_fn
