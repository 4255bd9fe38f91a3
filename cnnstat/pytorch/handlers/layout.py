"""Views, slices, splits and other moves of data."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from cnnstat.ir.op import Family, Shape, Shapes, Storage
from cnnstat.ir.window import IDENTITY, AxisRule, Index, Reads, aligned_reads, sliding
from cnnstat.ops import reorder, shape, slicing
from cnnstat.ops.shape import regrouped
from cnnstat.ops.traced import Recorded
from cnnstat.pytorch.call_windows import reads_of
from cnnstat.pytorch.calls import Call, Handler, Match
from cnnstat.pytorch.tensors import dtype_of, shape_of, storage_key
from cnnstat.pytorch.written_regions import write_reads


def _moved(call: Call, name: str, reads: tuple[Reads, ...] | None, place: Storage = Storage.VIEW) -> Recorded:
    """Return a call that computes nothing, and of which autograd keeps nothing."""
    return Recorded.of(
        function=name,
        outputs=_outputs(call),
        family=Family.LAYOUT,
        place=place,
        reads=reads,
        result_dtypes=tuple(map(dtype_of, call.results)),
        keeps_inputs=False,
    )


def _subject(call: Call) -> torch.Tensor:
    result: torch.Tensor = call.get(0, "input", call.keywords.get("self", call.keywords.get("tensor")))
    return result


def _outputs(call: Call) -> Shapes:
    return tuple(map(shape_of, call.results))


def _reshape(call: Call) -> Match:
    """View and reshape: as Flatten or Reshape where the batch stays, else as a plain view."""
    x = _subject(call)
    before, (after,) = shape_of(x), _outputs(call)
    if call.results[0].dtype != x.dtype:
        # The same memory read as other numbers, of which the last axis may have more or fewer.
        reads = (regrouped(before, after),) if before == after else None
        return Match(_moved(call, "view", reads), (x,))
    if len(before) > 2 and len(after) == 2 and after[0] == before[0]:
        return Match(shape.Flatten(), (x,))
    if len(before) > 1 and len(after) > 1 and after[0] == before[0] and 0 not in after:
        return Match(shape.Reshape(after[1:]), (x,))
    return Match(_moved(call, "reshape", (regrouped(before, after),)), (x,))


def _unflatten(call: Call) -> Match | None:
    dim = call.get(1, "dim")
    return Match(shape.Unflatten(dim, tuple(map(int, call.get(2, "sizes")))), (_subject(call),))


def _permute(call: Call) -> Match:
    """permute(dims) with the axes as a list or one after the other."""
    values = call.keywords.get("dims", call.arguments[1:])
    dims = values[0] if len(values) == 1 and isinstance(values[0], (list, tuple)) else values
    return Match(reorder.Permute(tuple(map(int, dims))), (_subject(call),))


def _last_two(call: Call) -> Match | None:
    """T, t() and mT: the last two axes swapped."""
    x = _subject(call)
    if x.dim() != 2 and call.name not in ("mT.get", "mH.get"):
        return None
    return Match(reorder.Transpose(-2, -1), (x,))


def _squeeze(call: Call) -> Match:
    """squeeze(dim), or all axes of size one."""
    x, dim = _subject(call), call.get(1, "dim")
    if dim is None:
        dim = tuple(axis for axis, size in enumerate(x.shape) if size == 1)
    return Match(reorder.Squeeze(dim if isinstance(dim, int) else tuple(dim)), (x,))


def _split(call: Call) -> Match | None:
    """split(split_size_or_sections, dim)."""
    names = ("split_size_or_sections", "split_size", "split_sizes")
    sections = call.get(1, next((n for n in names if n in call.keywords), ""))
    result = sections if isinstance(sections, int) else tuple(map(int, sections))
    if result == 0 or (isinstance(result, tuple) and 0 in result):
        return None
    return Match(slicing.Split(result, call.get(2, "dim", 0)), (_subject(call),))


def _split_evenly(call: Call) -> Match | None:
    """tensor_split, hsplit, vsplit and dsplit: pieces as equal as can be, or between given places."""
    x, outputs = _subject(call), _outputs(call)
    dim = {"hsplit": min(1, x.dim() - 1), "vsplit": 0, "dsplit": 2}.get(call.name)
    axis = call.get(2, "dim", 0) % x.dim() if dim is None else dim
    sizes = tuple(shape[axis] for shape in outputs)
    return None if 0 in sizes else Match(slicing.Split(sizes, axis), (x,))


def _view(call: Call) -> Match:
    """Other views, such as unbind and select."""
    x = _subject(call)
    reads = reads_of(call, (shape_of(x),), _outputs(call))
    # Two functions are called unfold: the tensors' is a view, that of columns (im2col) a copy, several times larger.
    is_view = all(storage_key(made) == storage_key(x) for made in call.results)
    place = Storage.VIEW if is_view else Storage.FRESH
    return Match(_moved(call, _plain(call.name), reads[:1] if reads else None, place), (x,))


def _movedim(call: Call) -> Match:
    """movedim(source, destination)."""
    x = _subject(call)
    sources, places = (
        [int(axis) % x.dim() for axis in (values if isinstance(values, (list, tuple)) else (values,))]
        for values in (call.get(1, "source"), call.get(2, "destination"))
    )
    moves = dict(zip(places, sources))
    others = iter(axis for axis in range(x.dim()) if axis not in sources)
    return Match(reorder.Permute(tuple(moves[p] if p in moves else next(others) for p in range(x.dim()))), (x,))


def _expand(call: Call) -> Match:
    """Expand and its relatives: axes of size one are repeated without a copy."""
    x = _subject(call)
    (result,) = _outputs(call)
    return Match(_moved(call, _plain(call.name), (aligned_reads(shape_of(x), result),)), (x,))


def _copy(call: Call) -> Match:
    """Moves to fresh memory, element by element: contiguous, clone, a cast."""
    x = _subject(call)
    reads: Reads = tuple((axis, IDENTITY) for axis in range(x.dim()))
    return Match(_moved(call, _plain(call.name), (reads,), Storage.FRESH), (x,))


def _narrow(call: Call) -> Match | None:
    """narrow(dim, start, length)."""
    start, length = call.get(2, "start"), call.get(3, "length")
    if not isinstance(start, int) or not length:
        return None
    x, dim = _subject(call), call.get(1, "dim")
    start = start + x.shape[dim] if start < 0 else start
    return Match(slicing.Slice(dim, start, start + length), (x,))


def _sliced(call: Call) -> Match | None:
    """aten.slice(self, dim, start, end, step), which exported programs have for x[…]."""
    x = _subject(call)
    axis, step = call.get(1, "dim", 0) % x.dim(), call.get(4, "step", 1)
    begin, stop, _ = slice(call.get(2, "start"), call.get(3, "end"), step).indices(x.shape[axis])
    if (begin, stop, step) == (0, x.shape[axis], 1) or begin >= stop:
        return None
    return Match(slicing.Slice(axis, begin, None if stop >= x.shape[axis] else stop, step), (x,))


def _item(call: Call) -> Match | None:
    """x[…] by numbers, slices, None and …; other indices gather, which is no view."""
    x, index = call.arguments[0], call.arguments[1]
    parts = index if isinstance(index, tuple) else (index,)
    if not _are_places(parts):
        return None
    before = shape_of(x)
    taken = expanded(parts, len(before))
    reads = _item_reads(taken, before)
    if reads is None or 0 in call.results[0].shape:
        return Match(_moved(call, "getitem", None), (x,))
    cut = [axis for axis, part in enumerate(taken) if part != _ALL]
    if len(cut) == 1 and isinstance(part := taken[cut[0]], slice) and len(taken) == len(before):
        bounds = part.indices(before[cut[0]])
        end = None if bounds[1] >= before[cut[0]] else bounds[1]
        return Match(slicing.Slice(cut[0], bounds[0], end, bounds[2]), (x,))
    return Match(_moved(call, "getitem", (reads,)), (x,))


def assigned(call: Call, *, over_constant: bool) -> Match | None:
    """Return x[…] = value by numbers, slices and …; None for other indices, which scatter.

    over_constant: whether what is written over is no result of the model, but zeros, say.
    """
    x, index, value = call.arguments
    parts = index if isinstance(index, tuple) else (index,)
    if not _are_places(parts) or None in parts:
        return None
    reads = _assigned_reads(parts, shape_of(x), value, over_constant)
    if reads is None:
        return None
    return Match(_moved(call, "setitem", reads, Storage.IN_PLACE), (x, value))


def _assigned_reads(parts: tuple[Any, ...], shape: Shape, value: Any, over_constant: bool) -> tuple[Reads, ...] | None:
    """Return how the result of a write reads what was there before, and the value; None where that is not known."""
    taken = expanded(parts, len(shape))
    region = tuple([_positions(part, size) for part, size in zip(taken, shape)])
    axes = [axis for axis, part in enumerate(taken) if isinstance(part, slice)]
    return write_reads(shape, region, axes, shape_of(value) if isinstance(value, torch.Tensor) else (), over_constant)


def reads_of_part(call: Call) -> tuple[Reads, ...] | None:
    """Return how x[…], or x after x[…] = value, reads the tensors of a call whose places are numbers and slices."""
    x, index, *value = call.arguments
    parts = index if isinstance(index, tuple) else (index,)
    if not value:
        reads = _item_reads(expanded(parts, x.dim()), x.shape)
        return None if reads is None else (reads,)
    both = _assigned_reads(parts, shape_of(x), value[0], over_constant=False)
    return both if both is None or isinstance(value[0], torch.Tensor) else both[:1]


def _positions(part: Any, size: int) -> range:
    if isinstance(part, slice):
        return range(*part.indices(size))
    place = part + size if part < 0 else part
    return range(place, place + 1)


_ALL = slice(None)
_PLACES = frozenset((int, slice, type(None), type(...)))


def _are_places(parts: tuple[Any, ...]) -> bool:
    """Whether an index consists of numbers, slices, None and …, numbers of an enumeration among them."""
    return _PLACES.issuperset(map(type, parts)) or all(
        not isinstance(part, bool) and isinstance(part, tuple(_PLACES)) for part in parts
    )


def expanded(parts: tuple[Any, ...], rank: int) -> list[Any]:
    """Return an index with a part for every axis (and None for each new one)."""
    named = [part for part in parts if part is not None and part is not ...]
    place = parts.index(...) if ... in parts else len(parts)
    behind = [part for part in parts[place + 1 :] if part is not ...]
    return [*parts[:place], *(_ALL,) * (rank - len(named)), *behind]


def _item_reads(taken: list[Any], shape: Shape) -> Reads | None:
    """Return how the axes of x[taken] read those of x; None where a step is not positive."""
    reads: list[tuple[int, AxisRule] | None] = []
    gone: list[tuple[int, AxisRule]] = []
    axis = 0
    for part in taken:
        if part is None:
            reads.append(None)
            continue
        if isinstance(part, slice):
            start, _, step = part.indices(shape[axis])
            if step < 1:
                return None
            reads.append((axis, IDENTITY if (start, step) == (0, 1) else sliding(1, step, -start)))
        else:
            gone.append((axis, Index(part % shape[axis])))
        axis += 1
    return (*reads, *gone)


@cache
def _plain(name: str) -> str:
    return name.removeprefix("aten.").removeprefix("F.").removesuffix(".get").removesuffix("_")


_VIEWS = ("unbind", "select", "diagonal", "as_strided", "real", "imag")
_COPIES = ("contiguous", "clone", "to", "type", "type_as", "float", "half", "double", "bfloat16", "int", "long", "bool")

HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(("view", "reshape", "view_as", "reshape_as", "aten.view", "aten._unsafe_view"), _reshape),
    "unflatten": _unflatten,
    **dict.fromkeys(("permute", "aten.permute"), _permute),
    **dict.fromkeys(("movedim", "moveaxis"), _movedim),
    **dict.fromkeys(("T.get", "t", "mT.get", "aten.t"), _last_two),
    "squeeze": _squeeze,
    "split": _split,
    "split_with_sizes": _split,
    **dict.fromkeys(("tensor_split", "hsplit", "vsplit", "dsplit"), _split_evenly),
    "narrow": _narrow,
    "getitem": _item,
    "aten.slice": _sliced,
    **dict.fromkeys(_VIEWS, _view),
    **dict.fromkeys(("expand", "expand_as", "broadcast_to", "aten.expand"), _expand),
    **dict.fromkeys((*_COPIES, "aten.clone", "aten._to_copy"), _copy),
}
