"""A sweep: its points computed as far as they are not known yet, kept, and what of them is shown."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from cnnstat.display import Displayed
from cnnstat.errors import CnnstatError
from cnnstat.sources.request import Request
from cnnstat.sweep import executors
from cnnstat.sweep.evaluate import Record, evaluate_all, header
from cnnstat.sweep.grid import Grid, Point
from cnnstat.sweep.point_file import PointFile, key_of
from cnnstat.sweep.selection import Selection
from cnnstat.version import __version__

BATCH, BATCH_SECONDS = 16, 0.1
"""Most points that a process gets at a time, and how long they may take: few, as a kill loses those in hand, and yet so
many that messages between processes cost little."""

FEW = 64
"""Points of specs up to which this process computes them itself: as many take less than new processes need to start."""


class Progress(Protocol):
    """Is told how far a sweep is."""

    def start(self, done: int, total: int) -> None:
        """So many points of all are known already."""

    def step(self, record: Record) -> None:
        """One more point is known."""


class Silent:
    """A progress that shows nothing."""

    def start(self, done: int, total: int) -> None:
        """Show nothing."""

    def step(self, record: Record) -> None:
        """Show nothing."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep computes, and how.

    grid: the points. base: what all of them have in common. optimizer, strict: as in `analyze`.
    jobs: processes; None for one a core. executor: what runs the points instead, anything with `submit`.
    profile: measures a point's latency in seconds, in this process and one point at a time; None to measure nothing.
    """

    grid: Grid
    base: Request = field(default_factory=Request)
    optimizer: str = "sgd"
    strict: bool = False
    jobs: int | None = None
    executor: executors.Executor | None = None
    profile: Callable[[Point, Request], float] | None = None

    def key(self, point: Point, source_key: str) -> str:
        """Return what is equal for two points only if their figures are."""
        latency = self.profile is not None
        return key_of(
            __version__, source_key, point.source, point.settings, self.base, self.optimizer, self.strict, latency
        )


@dataclass(frozen=True, repr=False)
class Sweep(Displayed):
    """The records of a sweep, in the order of its grid; `sweep.pareto("macs", "params")` is one of fewer.

    records: a mapping for each point: `settings`, `error` (None if there is none), the totals under the keys of
        `analyze`'s JSON, `receptive_field` (the smaller side) and `notes`.
    settings: what varies. front: the figures whose Pareto front it is, if it is one.
    failed: the points that have no figures, of this sweep and of those it was selected from.
    """

    records: tuple[Record, ...]
    settings: tuple[str, ...]
    front: tuple[str, ...] = ()
    failed: tuple[Record, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __getitem__(self, number: int) -> Record:
        return self.records[number]

    def where(self, condition: str) -> Sweep:
        """Return the records that fulfil a condition (`"params < 5M and macs < 600M"`); raises CnnstatError."""
        return self.select(Selection(where=condition))

    def pareto(self, *figures: str) -> Sweep:
        """Return the records of which no other is at least as good in all of these figures and better in one."""
        return self.select(Selection(pareto=figures))

    def select(self, selection: Selection) -> Sweep:
        """Return the records that are selected; raises CnnstatError for names that no record has."""
        chosen = tuple(selection.selected(self.records, self.settings))
        return replace(self, records=chosen, front=selection.pareto or self.front)

    @classmethod
    def of(cls, records: Iterable[Record], settings: Sequence[str]) -> Sweep:
        """Return the sweep of all records."""
        every = tuple(records)
        return cls(every, tuple(settings), failed=tuple(record for record in every if record["error"]))

    def __hash__(self) -> int:
        """Return a hash of the number of points: records are mappings, which have none."""
        return hash((len(self.records), self.settings))


# Running --------------------------------------------------------------------------------------------------------------


def run(plan: Plan, progress: Progress | None = None, file: PointFile | None = None) -> Iterator[Record]:
    """Yield the record of each point that the file does not hold already, as they are ready.

    file: holds the records of an earlier run; every new one is added before it is yielded.
    """
    plan.grid.check()
    progress = progress or Silent()
    source_keys = {source: source_key(source, plan.base) for source in plan.grid.sources}
    keys = partial(_key, plan, source_keys)
    if file is not None:
        file.open(lambda record: _is_current(record, plan.grid, keys))
    todo = (point for point in plan.grid if file is None or point.number not in file)
    done = 0 if file is None else len(file)
    progress.start(done, len(plan.grid))
    for record in _results(plan, todo, len(plan.grid) - done, notes_files=file is not None):
        record["key"] = keys(plan.grid.point(record["point"]))
        if file is not None:
            file.add(record)
        progress.step(record)
        yield record


def _key(plan: Plan, source_keys: Mapping[str, str], point: Point) -> str:
    return plan.key(point, source_keys[point.source])


def _is_current(record: Record, grid: Grid, key: Callable[[Point], str]) -> bool:
    """Whether a record of a file is of a point of this sweep, computed from the same inputs."""
    number = record["point"]
    if not grid.has(number):
        return False
    return bool(record.get("key") == key(grid.point(number)) and _files_are_same(record))


def _files_are_same(record: Record) -> bool:
    """Whether what a Python model was built from is as it was."""
    if "depends" not in record:
        return True
    from cnnstat.sources.dependencies import Dependencies

    try:
        return Dependencies.from_json(record["depends"]).are_unchanged()
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def _results(plan: Plan, points: Iterable[Point], count: int, *, notes_files: bool) -> Iterator[Record]:
    is_light = all(_is_spec(source) for source in plan.grid.sources)
    jobs = plan.jobs or executors.available_cores()
    work = partial(evaluate_all, base=plan.base, optimizer=plan.optimizer, strict=plan.strict, notes_files=notes_files)
    most = min(BATCH, max(1, count // (4 * jobs))) if is_light else 1
    pace = _Pace(jobs, most)
    one_by_one = executors.batches(points, 1)
    if plan.profile is not None:
        results: Iterator[list[Record]] = executors.in_this_process(partial(_profiled, plan, work), one_by_one)
    elif plan.executor is not None:  # where a batch may wait in a queue for longer than it takes
        results = executors.in_executor(plan.executor, work, executors.batches(points, most), 4 * jobs)
    elif jobs == 1 or count < 2 or (is_light and count <= FEW and plan.jobs is None):
        results = executors.in_this_process(work, one_by_one)
    else:
        results = executors.in_processes(work, executors.batches(points, pace.size), min(jobs, count), _lost)
    for batch in results:
        yield from batch
        pace.note(len(batch))


class _Pace:
    """How many points a process gets at a time, by how long those behind the first have taken."""

    def __init__(self, jobs: int, most: int) -> None:
        self._jobs = jobs
        self._most = most
        self._start = 0.0
        self._done = -1

    def note(self, count: int) -> None:
        """Note that so many more points are done."""
        if self._done < 0:
            self._start, self._done = time.monotonic(), 0
        else:
            self._done += count

    def size(self) -> int:
        """Return how many points take `BATCH_SECONDS`; one as long as that is not known."""
        if self._done <= 0:
            return 1
        seconds = self._jobs * (time.monotonic() - self._start) / self._done
        return max(1, min(self._most, int(BATCH_SECONDS / max(seconds, 1e-6))))


def _profiled(plan: Plan, work: Callable[[list[Point]], list[Record]], points: list[Point]) -> list[Record]:
    """Return records with measured latencies; a model that cannot be measured is an error."""
    assert plan.profile is not None
    records = work(points)
    for point, record in zip(points, records):
        if not record["error"]:
            try:
                record["latency"] = plan.profile(point, point.request(plan.base))
            except CnnstatError as error:
                record["error"] = " ".join(str(error).split())[:1000]
    return records


def _lost(point: Point, why: str) -> Record:
    return {**header(point), "error": f"not computed: {why}"}


def _is_spec(source: str) -> bool:
    from cnnstat.sources.load import named_model
    from cnnstat.sources.model import ModuleReference

    try:
        return not isinstance(named_model(source, Request()), ModuleReference)
    except CnnstatError:
        return True  # an error, which costs nothing


def source_key(source: str, request: Request) -> str:
    """Return what is equal for a source only if the files that it names are equal, with those that a spec extends."""
    from cnnstat.sources.load import named_model

    try:
        return named_model(source, request).content_key()
    except CnnstatError:
        return ""


def collected(plan: Plan, progress: Progress | None = None) -> list[Record]:
    """Return all records in the order of the grid, as far as there are some when Ctrl-C ends the sweep."""
    records: list[Record] = []
    try:
        records += run(plan, progress)
    except KeyboardInterrupt:
        print(f"cnnstat: stopped after {len(records):,} of {len(plan.grid):,} points", file=sys.stderr)
        raise
    return sorted(records, key=lambda record: record["point"])
