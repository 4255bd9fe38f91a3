"""Call alignment: which row every call of a run belongs to, by aligning the calls of a first run with the trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from cnnstat.profile.profile_result import UNATTRIBUTED
from cnnstat.pytorch.calls import CallRecord

Shapes = tuple[tuple[int, ...], ...]


class Event(NamedTuple):
    """One call of a real run; `shapes` is None for a call that a trace passes over (`x.shape`, a new tensor)."""

    function: Callable[..., Any]
    name: str
    path: str
    shapes: Shapes | None


class AlignedCall(NamedTuple):
    """What to do with a call: which function it is, its row (None: let it pass), and whether it is the row itself.

    is_layer: False for work that a row's computation needs first, on weights or constants.
    """

    function: Callable[..., Any]
    row: int | None
    is_layer: bool


@dataclass(frozen=True, slots=True)
class CallAlignment:
    """What to do with the calls of a run; the last three say how far the run fits the trace.

    calls: in order, those of every function that makes a row at least once.
    passing: all other functions; passed_over: how many calls belong to no row and are let pass.
    missed: paths of calls of the run that the trace has not; lost: rows of the trace that did not run.
    resized: rows that ran on other sizes.
    """

    calls: tuple[AlignedCall, ...]
    passing: frozenset[Callable[..., Any]] = frozenset()
    passed_over: int = 0
    missed: tuple[str, ...] = ()
    lost: tuple[int, ...] = ()
    resized: tuple[int, ...] = ()

    @property
    def is_exact(self) -> bool:
        """Whether the run was the traced one, call by call."""
        return not (self.missed or self.lost or self.resized)


def align_calls(events: Sequence[Event], trace: Sequence[CallRecord]) -> CallAlignment:
    """Align the calls of a run with those of the trace: by name, module and sizes, in order."""
    owners = _owners(trace)
    seen = [number for number, event in enumerate(events) if event.shapes is not None]
    partner = _aligned([events[number] for number in seen], trace)
    rows: dict[int, tuple[int, bool]] = {}
    missed, resized = [], []
    for place, number in enumerate(seen):
        match = partner.get(place)
        if match is None:
            rows[number] = UNATTRIBUTED, False
            missed.append(events[number].path)
            continue
        call = trace[match]
        rows[number] = owners[match], call.node is not None
        if call.node is not None and call.shapes != events[number].shapes:
            resized.append(call.node)
    matched = set(partner.values())
    lost = [call.node for number, call in enumerate(trace) if call.node is not None and number not in matched]
    rows.update(_on_buffers(events, rows))
    making = {events[number].function for number in rows}
    listed = [number for number, event in enumerate(events) if event.function in making]
    return CallAlignment(
        calls=tuple(AlignedCall(events[number].function, *rows.get(number, (None, False))) for number in listed),
        passing=frozenset(event.function for event in events) - making,
        passed_over=len(events) - len(rows),
        missed=tuple(missed),
        lost=tuple(lost),
        resized=tuple(resized),
    )


def _on_buffers(events: Sequence[Event], rows: Mapping[int, tuple[int, bool]]) -> dict[int, tuple[int, bool]]:
    """Return the rows of calls that only change a module's buffers, such as the count of a batch norm's batches.

    A trace passes over them; they belong to the next row of their module.
    """
    rows_of_calls: dict[int, tuple[int, bool]] = {}
    following: dict[str, int] = {}
    for number in range(len(events) - 1, -1, -1):
        event = events[number]
        if number in rows and rows[number][1]:
            following[event.path] = rows[number][0]
        elif number not in rows and _is_in_place(event.name) and event.path in following:
            rows_of_calls[number] = following[event.path], False
    return rows_of_calls


def _is_in_place(name: str) -> bool:
    return name.endswith("_") and not name.endswith("__")


def _owners(trace: Sequence[CallRecord]) -> list[int]:
    """Return the row of each traced call; work on weights and constants goes to the first row that uses its result."""
    owners = [UNATTRIBUTED if call.node is None else call.node for call in trace]
    makers: dict[int, int] = {}
    sources: list[list[int]] = []
    for number, call in enumerate(trace):
        sources.append([makers[id(operand)] for operand in call.operands if id(operand) in makers])
        # Ids are safe as keys: the records keep all these tensors alive.
        makers.update((id(result), number) for result in call.results)
        waiting = list(sources[number]) if call.node is not None else []
        # Taken by the first row only: work on a weight that several rows read is done once.
        while waiting:
            source = waiting.pop()
            if owners[source] == UNATTRIBUTED:
                owners[source] = owners[number]
                waiting += sources[source]
    return owners


def _aligned(events: Sequence[Event], trace: Sequence[CallRecord]) -> dict[int, int]:
    """Return which traced call each call of a run is: in order, sizes and all; else by name and module in order."""
    partner: dict[int, int] = {}
    ran: list[Any] = [(event.name, event.path, event.shapes) for event in events]
    traced: list[Any] = [(call.name, call.path, call.shapes) for call in trace]
    _match(ran, traced, 0, 0, partner)
    if len(partner) < max(len(ran), len(traced)):
        _match_rest([key[:2] for key in ran], [key[:2] for key in traced], partner)
    return partner


def _match(ran: list[Any], traced: list[Any], first: int, start: int, partner: dict[int, int]) -> None:
    """Pair equal keys of two stretches in order; `first` and `start` are where the stretches begin."""
    # Common ends are matched first: the matcher's time grows with the square of what is left.
    front = 0
    while front < min(len(ran), len(traced)) and ran[front] == traced[front]:
        partner[first + front] = start + front
        front += 1
    end = 0
    while end < min(len(ran), len(traced)) - front and ran[-1 - end] == traced[-1 - end]:
        partner[first + len(ran) - 1 - end] = start + len(traced) - 1 - end
        end += 1
    inner_ran, inner_traced = ran[front : len(ran) - end], traced[front : len(traced) - end]
    if inner_ran and inner_traced:
        # autojunk would drop frequent calls, and in a network nearly all are frequent.
        for block in SequenceMatcher(None, inner_ran, inner_traced, autojunk=False).get_matching_blocks():
            for step in range(block.size):
                partner[first + front + block.a + step] = start + front + block.b + step


def _match_rest(ran: list[Any], traced: list[Any], partner: dict[int, int]) -> None:
    fixed = [(-1, -1), *sorted(partner.items()), (len(ran), len(traced))]
    for (left, start), (right, stop) in zip(fixed, fixed[1:]):
        if right - left > 1 and stop - start > 1:
            _match(ran[left + 1 : right], traced[start + 1 : stop], left + 1, start + 1, partner)
