"""Marks: what a program wrote into its recording about modules, steps and optimizers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cnnstat.profile.recorded.op_rows import Row
from cnnstat.profile.traces.kineto_trace import LayerRange, Operation, ThreadStretch, nanoseconds, thread_of

MODULE_MARK = "cnnstat@"
"""What the names of marks around modules begin with; the module's path follows, nothing for the model itself."""

_STEP = re.compile(r"ProfilerStep#(\d+)")
_OPTIMIZER = re.compile(r"Optimizer\.step#(\w+)\.step")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark(ThreadStretch):
    """A range of the program's time with a name that means something here."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Marks in order of their start. runs: around calls of the whole model; modules: around those inside it."""

    runs: tuple[Mark, ...]
    modules: tuple[Mark, ...]
    steps: tuple[Mark, ...]
    optimizers: tuple[Mark, ...]

    @property
    def optimizer(self) -> str:
        """What the optimizer is called; empty without one."""
        match = _OPTIMIZER.fullmatch(self.optimizers[0].name) if self.optimizers else None
        return match[1] if match else ""


def read_marks(events: Iterable[Mapping[str, Any]]) -> Marks:
    """Return the marks among the events of a recording."""
    marks = []
    for event in events:
        name = str(event.get("name", ""))
        is_mark = name.startswith(MODULE_MARK) or _STEP.fullmatch(name) or _OPTIMIZER.fullmatch(name)
        # Older versions call annotations ops.
        if is_mark and event.get("cat") in ("user_annotation", "cpu_op"):
            start = nanoseconds(event["ts"])
            end = start + nanoseconds(event.get("dur", 0))
            marks.append(Mark(name=name, start=start, end=end, thread=thread_of(event)))
    marks.sort(key=lambda mark: (mark.start, -mark.end))
    return Marks(
        runs=tuple(mark for mark in marks if mark.name == MODULE_MARK),
        modules=tuple(mark for mark in marks if mark.name.startswith(MODULE_MARK) and mark.name != MODULE_MARK),
        steps=tuple(mark for mark in marks if _STEP.fullmatch(mark.name)),
        optimizers=tuple(mark for mark in marks if _OPTIMIZER.fullmatch(mark.name)),
    )


def known_rows(
    ranges: Iterable[LayerRange], document: Mapping[str, Any], rows: Sequence[Row], notes: list[str]
) -> Iterable[LayerRange]:
    """Return marks by number as rows of this network: by the names that the recording has, else by number."""
    names = document.get("cnnstat_rows")
    if isinstance(names, str):
        names = json.loads(names)
    places = {row.name: number for number, row in enumerate(rows)}
    known = dict(enumerate(places.get(str(name), -1) for name in names)) if isinstance(names, list) else None
    if known is None and 1 + max((each.row for each in ranges), default=-1) != len(rows):
        notes.append("the recording marks layers of another network: they are told by order, names and sizes instead")
        return []
    if known is not None and -1 in known.values():
        notes.append("layers of the recording that this network has not are unattributed")
    return [each if known is None else replace(each, row=known.get(each.row, -1)) for each in ranges]


def module_paths(operations: Sequence[Operation], modules: Sequence[Mark]) -> dict[tuple[int, int], str]:
    """Return the path of the innermost module that ran an op, by thread and start."""
    paths: dict[tuple[int, int], str] = {}
    by_thread: dict[int, list[Mark]] = {}
    for mark in modules:
        by_thread.setdefault(mark.thread, []).append(mark)
    for thread, own in by_thread.items():
        open_marks: list[Mark] = []
        waiting = iter(own)
        upcoming = next(waiting, None)
        for operation in (each for each in operations if each.thread == thread):
            while upcoming is not None and upcoming.start <= operation.start:
                open_marks.append(upcoming)
                upcoming = next(waiting, None)
            open_marks = [mark for mark in open_marks if mark.end >= operation.end]
            if open_marks:
                path = open_marks[-1].name.removeprefix(MODULE_MARK)
                paths[thread, operation.start] = path.removeprefix("module.").replace("_orig_mod.", "")
    return paths
