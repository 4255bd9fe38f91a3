"""Dependence by gradients: runs a model so that a gradient is 1 exactly where an element is read, and else 0.

Every function gives ones, and passes back whether each element is read: weights become ones, activations the identity,
maxima averages, and differences sums, so that nothing can cancel, vanish or overflow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cnnstat.pytorch.calls import MAYBE_SAME, function_name, words
from cnnstat.pytorch.tensors import operands_in
from cnnstat.verify.dependence_functions import STAND_INS

IDENTITIES = words(
    """
    relu relu6 leaky_relu elu selu celu gelu silu mish hardtanh hardswish hardsigmoid hardshrink softshrink tanhshrink
    sigmoid logsigmoid tanh softplus softsign threshold rrelu prelu exp log sqrt rsqrt abs neg clamp clamp_min clamp_max
    clip square sin cos erf reciprocal floor round ceil trunc sign dropout dropout1d dropout2d dropout3d alpha_dropout
    feature_dropout feature_alpha_dropout detach pow exp2 log2 log1p expm1 nan_to_num local_response_norm
    """
)
"""Functions whose output reads the input at its own place, and perhaps its channels."""


class Unit(torch.autograd.Function):
    """Ones forward, and backward whether a gradient arrives."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        """Return ones."""
        return torch.ones_like(x)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        """Return 1 for each element that is read."""
        return gradients[0].ne(0).to(gradients[0].dtype)


def unit(x: Tensor) -> Tensor:
    """Return ones that depend on x element by element."""
    ones: Tensor = cast(Any, Unit).apply(x)  # typed in some releases of PyTorch only
    return ones


class PositiveMode(TorchFunctionMode):
    """Runs every function so that gradients tell what is read."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one function, or what stands for it."""
        return positively(func, args, kwargs or {})


def positively(func: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Run one function, or what stands for it, so that gradients tell what is read."""
    name = function_name(func).removeprefix("F.")
    first = args[0] if args else keywords.get("input")
    if name == "cnnstat_layer":
        with PositiveMode():
            return func.__wrapped__(*args)  # type: ignore[attr-defined]
    if not isinstance(first, (Tensor, list, tuple)) or name in VIEWS or not _depends(args, keywords):
        return func(*args, **keywords)
    if name.endswith("_") or keywords.get("inplace") or name in ("setitem", "data.set"):
        return _in_place(func, name, args, keywords)
    if name in MAYBE_SAME:
        made = func(*args, **keywords)
        return made if made is first else _units(made, {each.untyped_storage()._cdata for each in operands_in(args)})
    if name in IDENTITIES and isinstance(first, Tensor):
        return unit(first) if first.is_floating_point() else func(*args, **keywords)
    stand_in = STAND_INS.get(name)
    if stand_in is not None and isinstance(first, Tensor) and first.is_floating_point():
        made = stand_in(*_separate(args), **{key: _separate(value) for key, value in keywords.items()})
        if made is not None:
            return _units(made)
    args, keywords = _filled(_separate(args)), {k: _filled(_separate(value)) for k, value in keywords.items()}
    owned = {each.untyped_storage()._cdata for each in (*operands_in(args), *operands_in(keywords.values()))}
    return _units(func(*args, **keywords), owned)


VIEWS = words(
    """
    view view_as reshape reshape_as permute transpose swapaxes movedim t T.get mT.get getitem flatten unflatten squeeze
    unsqueeze expand expand_as narrow select chunk split split_with_sizes unbind contiguous tensor_split diagonal
    data.get size dim numel is_floating_point shape.get dtype.get device.get ndim.get requires_grad.get
    """
)
"""Functions that only rename elements, whose results stay views of the same memory, and questions about a tensor."""


def _depends(args: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    """Whether the input or weights decide an operand of a call; of constants, positions say, values may matter."""
    operands = [*operands_in(args), *operands_in(keywords.values())]
    return any(each.requires_grad or each.is_meta or isinstance(each, nn.Parameter) for each in operands)


def _in_place(func: Callable[..., Any], name: str, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Run a function that changes its first argument: sums and writes as they are, activations not at all."""
    first = args[0] if args else keywords["input"]
    plain = name.removesuffix("_")
    if isinstance(first, Tensor) and first.is_leaf and first.requires_grad:
        # Autograd lets nobody change the input itself.
        return unit(first) if plain in IDENTITIES else func(unit(first), *_separate(args[1:]), **keywords)
    if plain in IDENTITIES or plain in ("masked_fill", "fill", "zero", "normal", "uniform", "requires_grad"):
        return first
    if not isinstance(first, Tensor) or not first.is_floating_point():
        return func(*args, **keywords)
    if plain in ("sub", "mul", "div", "pow", "addcmul", "addcdiv", "lerp"):
        others = (other for other in args[1:] if isinstance(other, Tensor) and other.is_floating_point())
        for other in others:
            first.add_(_filled(_separate(other)))
        return first
    return func(first, *_filled(_separate(args[1:])), **keywords)


def _separate(value: Any) -> Any:
    """Return arguments with a copy of each tensor that gradients flow to, so that no two readers can cancel."""
    if isinstance(value, Tensor):
        is_read = value.requires_grad and value.is_floating_point() and not isinstance(value, nn.Parameter)
        return unit(value) if is_read else value
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields") and type(value) in (list, tuple):
        return type(value)(map(_separate, value))
    return value


def _filled(value: Any) -> Any:
    """Return arguments with ones for weights, which may be zeros, or have no memory."""
    if isinstance(value, Tensor):
        is_weight = value.is_meta or (isinstance(value, nn.Parameter) and value.is_floating_point())
        return torch.ones(value.shape, dtype=value.dtype) if is_weight else value
    if type(value) in (list, tuple):
        return type(value)(map(_filled, value))
    return value


def _units(value: Any, owned: Collection[int] = ()) -> Any:
    """Return results as ones, in the nesting that the function returns; views of its operands stay views.

    owned: storages of the operands. A view of a tensor that the function made is a result like any other: attention
    returns such views, and what is cut off has to be a tensor of its own.
    """
    if isinstance(value, Tensor):
        is_read = value.requires_grad and value.is_floating_point()
        return unit(value) if is_read and value.untyped_storage()._cdata not in owned else value
    if type(value) in (list, tuple):
        return type(value)(_units(item, owned) for item in value)
    return value
