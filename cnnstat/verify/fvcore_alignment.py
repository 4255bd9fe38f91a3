"""Alignment: which operations of fvcore's trace belong to which nodes of the graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cnnstat.verify.forward_pass import Run
from cnnstat.verify.fvcore_count import Operation

KINDS = {
    **{f"conv{n}d": ("_convolution", "_convolution_mode") for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": ("_convolution",) for n in (1, 2, 3)},
    "rmatmul": ("matmul",),
    "interpolate": ("upsample_nearest2d", "upsample_bilinear2d"),
    "grid_sample": ("grid_sampler",),
}
"""What fvcore's trace calls a function that it has another name for."""

FUSED = ("_native_multi_head_attention", "_transformer_encoder_layer_fwd")
"""Operations that are all of a module, submodules included."""


class Group(NamedTuple):
    """Nodes, by number, and the operations that are theirs together."""

    nodes: tuple[int, ...]
    operations: tuple[Operation, ...]


def aligned(runs: Sequence[Run], operations: Iterable[Operation]) -> tuple[list[Group], list[Operation]]:
    """Return every node in one group, alone where that is possible, and the operations that belong to no node.

    A module with a single node owns all that fvcore saw in it. Of several, each gets the operation that is its own
    kind's, in order of execution, where there are as many of them.
    """
    operations = list(operations)
    fused = {each.scope for each in operations if each.kind in FUSED}
    places = [_outermost(run.path, fused) for run in runs]
    nodes: dict[str, list[int]] = {}
    for number, place in enumerate(places):
        nodes.setdefault(place, []).append(number)
    owned: dict[str, list[Operation]] = {place: [] for place in nodes}
    homeless: list[Operation] = []
    for each in operations:
        home = next((p for p in _upwards(_outermost(each.scope, fused)) if p in owned), None)
        if home is None:
            homeless.append(each)
        else:
            owned[home].append(each)
    groups = []
    for place, members in nodes.items():
        groups += _split(members, owned[place], runs)
    return groups, homeless


def _outermost(path: str, fused: set[str]) -> str:
    """Return the fused module that a path lies in, or the path itself."""
    return next((p for p in reversed(list(_upwards(path))) if p in fused), path)


def _upwards(path: str) -> Iterable[str]:
    """Yield a path and all above it."""
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""


def _split(members: list[int], operations: list[Operation], runs: Sequence[Run]) -> list[Group]:
    """Return the groups of one module."""
    if len(members) == 1:
        return [Group((members[0],), tuple(operations))]
    own: dict[int, list[Operation]] = {number: [] for number in members}
    left = list(operations)
    for kinds in dict.fromkeys(_kinds(runs[number].function) for number in members):
        theirs = [each for each in operations if each.kind in kinds]
        callers = [number for number in members if _kinds(runs[number].function) == kinds]
        if len(theirs) == len(callers):
            for number, each in zip(callers, theirs):
                own[number].append(each)
                left.remove(each)
    if left:
        return [Group(tuple(members), tuple(operations))]
    return [Group((number,), tuple(theirs)) for number, theirs in own.items()]


def _kinds(function: str) -> tuple[str, ...]:
    """Return what fvcore's trace may call a function."""
    return KINDS.get(function, (function,))
