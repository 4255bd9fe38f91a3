"""Op cache: calls whose op and result shape are known, so that PyTorch need not work them out again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from cnnstat.analysis.shapes import check_input_count
from cnnstat.choices import words
from cnnstat.errors import OpError
from cnnstat.ir.op import Op, Shape, Shapes, Storage
from cnnstat.ir.work import Work
from cnnstat.pytorch.calls import Call, KnownCall, Match
from cnnstat.pytorch.fake import FAKE_TYPE, Faker
from cnnstat.pytorch.handlers import handler_of
from cnnstat.pytorch.tensors import operands_in, shape_of, storage_key

FAST = words(
    """
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear F.batch_norm F.layer_norm layer_norm
    F.relu relu relu_ F.relu6 F.hardtanh F.hardswish F.hardsigmoid F.leaky_relu F.elu F.celu F.selu F.mish F.silu
    F.tanh F.sigmoid gelu sigmoid sigmoid_ tanh tanh_ cat add add_ mul mul_ F.max_pool2d avg_pool2d
    F.adaptive_avg_pool2d F.adaptive_avg_pool1d flatten
    """
)
"""Calls that have a shortcut."""

VIEWS = words(
    """
    getitem setitem view reshape transpose permute unsqueeze squeeze select narrow unbind chunk split flatten movedim
    expand contiguous t T.get mT.get swapaxes unflatten
    """
)
"""Calls that make views, or write into one, and nothing else."""


def has_shortcut(name: str) -> bool:
    """Whether a call, of aten too, is one of those that have a shortcut: its work is that of its op either way."""
    plain = name.removeprefix("aten.")
    return plain in FAST or f"F.{plain}" in FAST


_OF_WHOLE = words("linear flatten F.layer_norm layer_norm F.batch_norm cat")
"""Those whose operands have to be contiguous: what lies elsewhere is copied first."""

_INPLACE = {"F.leaky_relu": 2, "F.elu": 2, "F.celu": 2, "F.hardtanh": 3}
"""The place of the argument `inplace`, where it is not the second."""

_FIXED = {"F.batch_norm": (5, "training", False), "F.max_pool2d": (6, "return_indices", False)}
"""An argument that has to have one value, with its place and name."""


def shortcut(call: Call, faker: Faker) -> torch.Tensor | None:
    """Return the result of a call, which gets what it is: `known` or `match`; None where the call has to run."""
    # Autocast changes dtypes behind the arguments, `out` brings memory of its own, and gradients need PyTorch's own
    # results: PyTorch has to run these.
    if torch._C._is_any_autocast_enabled() or torch.is_grad_enabled():
        return None
    operands: list[torch.Tensor] = []
    key = _key_of(call, operands)
    # A key says all that decides whether a call may be answered.
    known = None if key is None else _known.get(key)
    if known is None:
        if "out" in call.keywords or not _has_fixed_arguments(call):
            return None
        if not operands or not _are_plain(operands, faker, call.name not in _OF_WHOLE):
            return None
        overwrites = _overwrites(call)
        if overwrites:
            call.overwritten = operands[0]
        derived = _derived(call)
        if derived is None:
            return None
        call.match, result = derived
        op = call.match.op
        if key is not None:
            known = _remember(key, operands, call.match, result, overwrites)
    else:
        op, result, overwrites = known.op, known.shape, known.overwrites
        if overwrites:
            call.overwritten = operands[0]
    call.known, call.operands, first = known, operands, operands[0]
    if op.storage is Storage.VIEW:
        # A tensor that has the shape already is returned as it is.
        return None if result == shape_of(first) else faker.viewed(first, result)
    if not overwrites:
        return faker.empty(result, first.dtype)
    return first if result == shape_of(first) and op.storage is Storage.IN_PLACE else None


def of_views(call: Call, faker: Faker) -> tuple[Any] | None:
    """Return what a call that makes views, or writes into one, returns, in a tuple; None where it has to run.

    The call has its results if an equal one was seen before; else `keep_view` has to be given what it was recorded as.
    """
    if torch._C._is_any_autocast_enabled() or torch.is_grad_enabled():
        return None
    operands: list[torch.Tensor] = []
    is_index, behind = call.name in _INDEXED, 0
    if is_index:
        key, behind = _key_of_part(call, operands)
    else:
        key = _key_of(call, operands)
    known = None if key is None else _views.get(key)
    if key is None or known is None or not faker.are_together(operands):
        made = faker.of_views(call.function, call.arguments, call.keywords, takes_lists=not is_index)
        if key is not None and made is not None:
            call.known = _KnownView(key=key, kind=type(made[0]), has_places=is_index)
        return made
    call.known, call.operands, first = known, operands, operands[0]
    if known.kind is type(None):
        call.results, call.overwritten = (first,), first
        return (None,)
    call.results = tuple(
        [
            faker.view(first, shape, strides, None if own is None else own + behind)
            for shape, strides, own in known.results
        ]
    )
    call.returned = call.results[0] if known.kind is FAKE_TYPE else known.kind(call.results)
    return (call.returned,)


_INDEXED = ("getitem", "setitem")
"""Calls of which the places that they take are no part of what is known of them: loops go from place to place."""

_SPAN = slice(None)


def _key_of_part(call: Call, operands: list[torch.Tensor]) -> tuple[Key | None, int]:
    """Return what calls that take parts of the same sizes have in common, and how far behind its tensor a part begins.

    operands: gets the call's tensors, in order.
    """
    x: Any = call.arguments[0]
    index, *value = call.arguments[1:]
    if type(x) is not FAKE_TYPE or call.keywords or (value and type(value[0]) not in _VALUES):
        return None, 0
    strides = x.stride()
    part = _part(index if type(index) is tuple else (index,), x.shape)
    if part is None or (value and value[0] is x):
        return None, 0
    key: list[Any] = [call.name, x.shape, strides, x.dtype, part[0]]
    operands.append(x)
    for each in value:
        if type(each) is FAKE_TYPE:
            operands.append(each)
            key += (each.shape, each.stride(), each.dtype)
        else:
            key.append(type(each))
    return tuple(key), sum([start * stride for start, stride in zip(part[1], strides) if start])


def _part(items: tuple[Any, ...], shape: Shape) -> tuple[tuple[Any, ...], list[int]] | None:
    """Return what is taken along each axis, and where it begins; None for what is more than numbers and slices."""
    if not _PLACES.issuperset(map(type, items)) or items.count(...) > 1:
        return None
    parts: list[Any] = []
    starts: list[int] = []
    for item in items:
        axis = len(starts)
        if item is None or item is ...:
            left = 0 if item is None else len(shape) - sum([part is not None and part is not ... for part in items])
            parts.append(item)
            starts += [0] * left
        elif axis >= len(shape):
            return None
        elif type(item) is int:
            if not -shape[axis] <= item < shape[axis]:
                return None
            parts.append(int)
            starts.append(item % shape[axis])
        elif item == _SPAN:
            parts.append(slice)
            starts.append(0)
        else:
            if not _BOUNDS.issuperset((type(item.start), type(item.stop), type(item.step))):
                return None
            taken = range(*item.indices(shape[axis]))
            if not taken or taken.step < 1:
                return None
            parts += (len(taken), taken.step)
            starts.append(taken.start)
    return tuple(parts), starts


def keep_view(call: Call) -> None:
    """Keep how the results of a call lie in memory, and the node that it became, for calls that are equal to it."""
    known, first = call.known, call.operands[0]
    if not isinstance(known, _KnownView) or not known.nodes:
        return
    if known.kind is not type(None):
        home, offset = storage_key(first), first.storage_offset()
        if any(each.dtype != first.dtype for each in call.results):
            return
        behind = [int(e.storage_offset() - offset) if storage_key(e) == home else None for e in call.results]
        if known.has_places:
            behind = [0]
        known.results = tuple((shape_of(each), each.stride(), own) for each, own in zip(call.results, behind))
    if len(_views) >= MAX_KNOWN:
        _views.clear()
    _views[known.key] = known


def _derived(call: Call) -> tuple[Match, Shape] | None:
    """Return what a call is and the shape of what it makes; None where no op of the library says it."""
    handler = handler_of(call.name)
    try:
        match = handler(call) if handler else None
        if match is None:
            return None
        shapes = _shapes(match)
        if not _fits(match, shapes) or any(0 in shape for shape in shapes):
            return None
        (result,) = match.op.output(shapes)
    # Arguments that a handler cannot read are left to PyTorch, which has the proper message for them.
    except (OpError, TypeError, ValueError, AttributeError, KeyError, IndexError, StopIteration):
        return None
    return match, result


def _has_fixed_arguments(call: Call) -> bool:
    if call.name not in _FIXED:
        return True
    place, name, value = _FIXED[call.name]
    return bool(call.get(place, name, value) == value) and not is_fixed_in_training(call)


def is_fixed_in_training(call: Call) -> bool:
    """Whether a module in training mode calls a norm by stored statistics, or a dropout that drops nothing."""
    return call.is_training is False and getattr(call.where.module, "training", False)


def _are_plain(tensors: list[torch.Tensor], faker: Faker, may_be_part: bool) -> bool:
    """Whether tensors are fake, contiguous or also parts of contiguous ones, and of one floating-point dtype."""
    dtype = tensors[0].dtype
    if not dtype.is_floating_point:
        return False
    for tensor in tensors:
        # Other strides would decide those of the result, and which later views are possible.
        if not faker.is_fake(tensor) or tensor.dtype is not dtype:
            return False
        if not tensor.is_contiguous() and not (may_be_part and _is_in_order(tensor)):
            return False
    return True


def _is_in_order(tensor: torch.Tensor) -> bool:
    """Whether a tensor is a part of one in C order, so that what is computed of it is in C order."""
    strides = [stride for stride, size in zip(tensor.stride(), tensor.shape) if size > 1]
    return 0 not in strides and strides == sorted(strides, reverse=True) and tensor.shape[-1] > 1 == strides[-1]


def _overwrites(call: Call) -> bool:
    if call.name.endswith("_"):
        return True
    return call.name.startswith("F.") and call.get(_INPLACE.get(call.name, 1), "inplace") is True


def _shapes(match: Match) -> Shapes:
    return tuple(shape_of(read) if isinstance(read, torch.Tensor) else () for read in match.reads)


def _fits(match: Match, shapes: Shapes) -> bool:
    """Whether all operands are tensors or real numbers, and the weights have the sizes the op needs."""
    for read in match.reads:
        if not isinstance(read, (torch.Tensor, int, float)):
            return False
    check_input_count(match.op, len(shapes))
    if not match.weights:
        return True
    needed = {**match.op.buffers(shapes), **match.op.weights(shapes)}
    return all(tensor is None or needed.get(name) == tensor.shape for name, tensor in match.weights.items())


MAX_KNOWN = 20_000
"""Most calls that are remembered; beyond that, all are forgotten."""

_OF_MODULES = {"F.batch_norm": "momentum"}
"""Calls whose op depends on the module they are made in, too, and on which attribute of it."""

_PLAIN = frozenset((int, float, bool, str, type(None), type(...)))
_INTEGER = frozenset((int,))
_BOUNDS = frozenset((int, type(None)))
_PLACES = frozenset((int, slice, type(None), type(...)))
_VALUES = frozenset((int, float, FAKE_TYPE))

Key = tuple[Any, ...]


@dataclass(slots=True, eq=False, kw_only=True)
class _KnownOp(KnownCall):
    """A match with operand numbers in place of tensors; shape: of the result; overwrites: whether it is in place."""

    op: Op
    reads: tuple[tuple[int | None, Any], ...]
    weights: tuple[tuple[str, int | None], ...]
    optional: int
    extra: Work
    shape: Shape
    overwrites: bool

    def match(self, operands: list[torch.Tensor]) -> Match:
        """Return what a call of these tensors is."""
        reads = tuple([value if number is None else operands[number] for number, value in self.reads])
        weights = {name: None if number is None else operands[number] for name, number in self.weights}
        return Match(self.op, reads, weights, self.optional, extra=self.extra)


@dataclass(slots=True, eq=False, kw_only=True)
class _KnownView(KnownCall):
    """How the results of a call lie in memory.

    key: by which it is found; kind: of what it returned, nothing where it wrote into the first operand.
    results: their sizes, strides, and how far behind the first operand they begin; None for memory of their own.
    """

    key: Key
    kind: type
    results: tuple[tuple[Shape, tuple[int, ...], int | None], ...] = ()


_known: dict[Key, _KnownOp] = {}
_views: dict[Key, _KnownView] = {}


def _key_of(call: Call, operands: list[torch.Tensor]) -> Key | None:
    """Return what calls of the same op have in common; None for a call that cannot be recognized by its arguments.

    operands: gets the call's tensors, in order.
    """
    parts: list[Any] = [call.name]
    is_known = _add_parts(call.arguments, parts, operands)
    if call.keywords:
        parts += call.keywords
        is_known &= _add_parts(call.keywords.values(), parts, operands)
    own = _OF_MODULES.get(call.name)
    if own is not None:
        is_known &= _add_parts((getattr(call.where.module, own, "none"),), parts, [])
    # With one tensor in two places, an operand's number would not say which argument it was.
    if not is_known or not operands or (len(operands) > 1 and len(set(map(id, operands))) < len(operands)):
        return None
    return tuple(parts)


def _add_parts(values: Iterable[Any], parts: list[Any], operands: list[torch.Tensor]) -> bool:
    """Add what arguments tell of a call to the parts of its key, and its tensors; False where one tells nothing."""
    is_known = True
    for value in values:
        kind = type(value)
        if kind is FAKE_TYPE:
            operands.append(value)
            parts += (value.shape, value.stride(), value.dtype)
        elif kind in _PLAIN:
            # With its type, since 1, 1.0 and True are equal but not the same argument.
            parts += (kind, value)
        elif isinstance(value, (tuple, list)):
            if _INTEGER.issuperset(map(type, value)):
                parts += (kind, tuple(value))
            else:
                parts += (kind, len(value))
                is_known &= _add_parts(value, parts, operands)
        else:
            operands += operands_in((value,))
            is_known = False
    return is_known


def _remember(key: Key, operands: list[torch.Tensor], match: Match, result: Shape, overwrites: bool) -> _KnownOp | None:
    """Keep what a call is, and return that, unless it reads tensors that are not among its operands."""
    # Numbers instead of tensors: an entry of the cache must keep no model alive.
    numbers: dict[int, int] = {id(tensor): number for number, tensor in enumerate(operands)}
    tensors = [value for value in (*match.reads, *match.weights.values()) if isinstance(value, torch.Tensor)]
    if match.also or any(id(tensor) not in numbers for tensor in tensors):
        return None
    if len(_known) >= MAX_KNOWN:
        _known.clear()
    reads = tuple(
        (numbers[id(value)], None) if isinstance(value, torch.Tensor) else (None, value) for value in match.reads
    )
    weights = tuple((name, None if tensor is None else numbers[id(tensor)]) for name, tensor in match.weights.items())
    _known[key] = _KnownOp(
        op=match.op,
        reads=reads,
        weights=weights,
        further=tuple([number for _, number in weights if number is not None]),
        optional=match.optional,
        extra=match.extra,
        shape=result,
        overwrites=overwrites,
    )
    return _known[key]
