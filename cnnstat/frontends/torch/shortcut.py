"""Calls that need not run: where an op of the library says the result's shape, a fake tensor of it is made at once.

A fake pass spends most of its time on finding out the shapes of convolutions and norms, which the ops know anyway. A
shortcut is taken only where all operands are plain: fake, contiguous, of one floating-point dtype, and of the sizes
that the op's weights should have. Everything else, and every error, is left to PyTorch.
"""

from __future__ import annotations

from typing import Any

import torch

from cnnstat.errors import OpError
from cnnstat.frontends.torch.calls import Call, Match, words
from cnnstat.frontends.torch.fake import Faker
from cnnstat.frontends.torch.handlers import handler_of
from cnnstat.frontends.torch.tensors import operands_in, shape_of
from cnnstat.ir.op import Storage
from cnnstat.passes.shapes import check_input_count

FAST = words(
    """
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear F.batch_norm F.layer_norm layer_norm
    F.relu relu relu_ F.relu6 F.hardswish F.hardsigmoid F.silu gelu sigmoid cat add add_ mul mul_ F.max_pool2d
    avg_pool2d F.adaptive_avg_pool2d F.adaptive_avg_pool1d flatten
    """
)
"""Calls that have a shortcut."""

_FIXED = {"F.batch_norm": (5, "training", False), "F.max_pool2d": (6, "return_indices", False)}
"""An argument that has to have one value, with its place and name."""


def shortcut(call: Call, faker: Faker) -> tuple[torch.Tensor, Match] | None:
    """Return the result of a call and what it is; None where the call has to run."""
    if torch._C._is_any_autocast_enabled() or "out" in call.keywords or not _has_fixed_arguments(call):
        return None
    operands = list(operands_in((*call.arguments, *call.keywords.values())))
    first = operands[0] if operands else None
    if first is None or not first.is_floating_point() or not all(_is_plain(t, first, faker) for t in operands):
        return None
    if _overwrites(call):
        call.overwritten = first
    handler = handler_of(call.name)
    try:
        match = handler(call) if handler else None
        if match is None or not _fits(match):
            return None
        (made,) = match.op.output(_shapes(match))
    except (OpError, TypeError, ValueError, AttributeError, KeyError, IndexError, StopIteration):
        return None
    if match.op.storage is Storage.VIEW:
        # A tensor that has the shape already is returned as it is.
        return None if made == shape_of(first) else (faker.viewed(first, made), match)
    if call.overwritten is None:
        return faker.empty(made, first.dtype), match
    is_same = made == shape_of(first) and match.op.storage is Storage.IN_PLACE
    return (first, match) if is_same else None


def _has_fixed_arguments(call: Call) -> bool:
    """Whether an argument that would change what a call does has its plain value."""
    if call.name not in _FIXED:
        return True
    place, name, value = _FIXED[call.name]
    return bool(call.get(place, name, value) == value)


def _is_plain(tensor: torch.Tensor, first: torch.Tensor, faker: Faker) -> bool:
    """Whether a tensor is fake, contiguous, and of the first one's dtype."""
    return faker.is_fake(tensor) and tensor.dtype == first.dtype and tensor.is_contiguous()


def _overwrites(call: Call) -> bool:
    """Whether a call works in place."""
    if call.name.endswith("_"):
        return True
    is_second = len(call.arguments) == 2 and call.arguments[1] is True
    return call.name.startswith("F.") and (call.keywords.get("inplace") is True or is_second)


def _shapes(match: Match) -> tuple[tuple[int, ...], ...]:
    """Return the shapes that an op reads."""
    return tuple(shape_of(read) if isinstance(read, torch.Tensor) else () for read in match.reads)


def _fits(match: Match) -> bool:
    """Whether all operands are tensors or real numbers, and the weights have the sizes the op needs."""
    if any(not isinstance(read, (torch.Tensor, int, float)) for read in match.reads):
        return False
    shapes = _shapes(match)
    check_input_count(match.op, len(shapes))
    given: dict[str, Any] = {name: shape_of(t) for name, t in match.weights.items() if t is not None}
    if not given:
        return True
    needed = {**match.op.buffers(shapes), **match.op.weights(shapes)}
    return all(needed.get(name) == shape for name, shape in given.items())
