"""Kernel attribution: the time of every row in every pass that a trace recorded, with what belongs to none beside it.

In each pass, in whole nanoseconds and exactly: span = Σ rows + unattributed + idle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cnnstat.profile.traces.kernel_owners import LaunchOwners, Match, Owner, match
from cnnstat.profile.traces.kineto_trace import Kernel, Launch, Signature, Stretch, Trace, by_pass, place_at


@dataclass(frozen=True, slots=True)
class Shares:
    """span = sum of busy + idle, in whole nanoseconds.

    busy: of each kernel, in the order in which they were given; idle: time in which no kernel ran.
    span: from the start of the first kernel to the end of the last.
    """

    busy: tuple[int, ...]
    idle: int
    span: int


def share(kernels: Sequence[Kernel]) -> Shares:
    """Return how the time from the first start to the last end divides among kernels.

    Wherever k kernels run at once, the nanoseconds of that stretch are dealt to them in turn, in order of their starts:
    each gets a k-th, and the parts are whole. A stretch lies between two moments at which a kernel starts or ends.
    """
    if not kernels:
        return Shares((), 0, 0)
    busy = [0] * len(kernels)
    idle = 0
    running: list[int] = []
    starting = sorted(range(len(kernels)), key=lambda index: kernels[index].start)
    moments = sorted({moment for kernel in kernels for moment in (kernel.start, kernel.end)})
    upcoming = 0
    for begin, end in zip(moments, moments[1:]):
        running = [index for index in running if kernels[index].end > begin]
        while upcoming < len(starting) and kernels[starting[upcoming]].start <= begin:
            if kernels[starting[upcoming]].end > begin:
                running.append(starting[upcoming])
            upcoming += 1
        if not running:
            idle += end - begin
            continue
        # The remainder goes to the first kernels, one nanosecond each, so that whole numbers add up to the stretch.
        each, rest = divmod(end - begin, len(running))
        for turn, index in enumerate(running):
            busy[index] += each + (turn < rest)
    return Shares(tuple(busy), idle, moments[-1] - moments[0])


_BEFORE_LAUNCH = 1_000_000
"""Nanoseconds that a kernel may seem to start before its launch; more, and CUPTI stamped it with another clock.

PyTorch issue 192021: at the start of each session but a process's first, some records carry such times.
"""


@dataclass(frozen=True, slots=True)
class Piece:
    """One kernel of a pass and whom it works for; None where that is not known.

    is_continued: whether it is not the first of the parts of a kernel that several rows share.
    """

    kernel: Kernel
    owner: Owner | None
    is_continued: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One pass, in nanoseconds.

    pieces: its kernels in order of their launch.
    forward, backward: by row; unattributed: of kernels that belong to no row; idle: time in which nothing ran.
    """

    pieces: tuple[Piece, ...]
    span: int
    idle: int
    unattributed: int
    forward: Mapping[int, int]
    backward: Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """The passes of a trace that are whole.

    recorded: how many passes, or replays of a graph, the trace has; rejected: those of them left out because kernels of
    theirs are missing; lost: those kernels. kept_lost: those that are missing in a pass that is not left out.
    unlaunched: kernels of one pass whose launch the trace does not have; they are of no row.
    calls: how often each row was called in one pass.
    match: how a replay's kernels were found again among those of an ordinary pass; None for ordinary passes.
    places: of ordinary passes, which of the recorded ones each is. starts: when the first kernel of each recorded one
    ran, None where it has none.
    """

    passes: tuple[Pass, ...]
    recorded: int
    rejected: int
    lost: int
    calls: Mapping[int, int]
    match: Match | None = None
    kept_lost: int = 0
    unlaunched: int = 0
    places: tuple[int, ...] = ()
    starts: tuple[int | None, ...] = ()


def attribute(trace: Trace, *, needs_all: bool = True, are_alike: bool = True) -> Attribution:
    """Return the ordinary passes of a trace, each kernel with the row whose range its launch lies in.

    A kernel in the time of a pass that no launch of the trace put there is part of the pass, of no row.
    needs_all: without, the passes that lost fewest kernels are kept where none has all of them.
    are_alike: whether a pass with fewer kernels than others lost some; steps of a user's loop may just do less.
    """
    launch_owners = LaunchOwners(trace)
    work = _by_correlation(trace.kernels)
    pass_ranges = [step for step in trace.pass_ranges if step.kind == "eager"]
    launched = by_pass(trace.launches, pass_ranges)
    calls = _calls(trace, pass_ranges)
    strays = _strays(trace, pass_ranges)
    recorded: list[tuple[Piece, ...] | None] = []
    starts = []
    lost = 0
    lossy: list[tuple[int, int, tuple[Piece, ...]]] = []
    for place, (launches, unlaunched) in enumerate(zip(launched, strays)):
        # Only a kernel launch must leave a record; copies and allocations may have none.
        missing = sum(launch.kind == "kernel" and launch.correlation not in work for launch in launches)
        pieces = tuple(
            Piece(kernel, launch_owners.owner(launch))
            for launch in launches
            for kernel in work.get(launch.correlation, ())
        )
        pieces += tuple(Piece(kernel, None) for kernel in unlaunched)
        lost += missing
        is_misdated = _is_misdated(launches, work)
        recorded.append(None if missing or is_misdated else pieces)
        starts.append(min((piece.kernel.start for piece in pieces), default=None))
        if pieces and not is_misdated:
            lossy.append((missing, place, pieces))
    places, missing = _of_usual_length(recorded) if are_alike else ([p for p, each in enumerate(recorded) if each], 0)
    whole = [pieces for pieces in (recorded[place] for place in places) if pieces]
    kept_lost = 0
    if not whole and lossy and not needs_all:
        kept_lost = min(missing for missing, _, _ in lossy)
        places = [place for missing, place, _ in lossy if missing == kept_lost]
        whole = [pieces for missing, _, pieces in lossy if missing == kept_lost]
    return Attribution(
        passes=tuple(map(divide, whole)),
        recorded=len(recorded),
        rejected=len(recorded) - len(whole),
        lost=lost + missing,
        calls=calls,
        kept_lost=kept_lost,
        unlaunched=max(map(len, strays), default=0),
        places=tuple(places),
        starts=tuple(starts),
    )


def attribute_replays(trace: Trace, ordinary: Pass, calls: Mapping[int, int], passes: int = 1) -> Attribution:
    """Return the replays of a trace, each kernel with the row of the kernel of an ordinary pass that it is.

    passes: how many passes one graph holds. Of several, the last is left out, and each other one ends where the next
    begins: so it has the gap between the two, which a single pass's kernels do not show.
    What PyTorch launches beside the graph at each replay (the random generator's state) is part of the pass, of no row.
    """
    work = _by_correlation(trace.kernels)
    pass_ranges = [step for step in trace.pass_ranges if step.kind == "replay"]
    replays = [_replayed(launches, work) for launches in by_pass(trace.launches, pass_ranges)]
    # A replay runs long after its launch, so that what no launch put there is told by the time of its kernels.
    strays = _strays(trace, [_extent(pieces) for pieces in replays])
    recorded = [
        pieces if pieces is None else (*(Piece(kernel, None) for kernel in unlaunched), *pieces)
        for pieces, unlaunched in zip(replays, strays)
    ]
    places, lost = _of_usual_length(recorded)
    whole = [pieces for pieces in (recorded[place] for place in places) if pieces]
    lost += sum(len(whole[0] if whole else ordinary.pieces * passes) for pieces in recorded if pieces is None)
    reference = [(piece.kernel.signature, piece.owner) for piece in ordinary.pieces]
    matches: dict[tuple[Signature, ...], Match] = {}
    graphs = {launch.correlation for launch in trace.launches if launch.kind == "graph"}
    divided = []
    for pieces in whole:
        inside = [piece.kernel for piece in pieces if piece.kernel.correlation in graphs]
        beside = tuple(piece for piece in pieces if piece.kernel.correlation not in graphs)
        for kernels, until in _passes_in(inside, passes):
            signatures = tuple(kernel.signature for kernel in kernels)
            # Replays of one graph run the same kernels, so that nearly all of them share one alignment.
            if signatures not in matches:
                matches[signatures] = match(signatures, reference)
            divided.append(divide((*beside, *map(Piece, kernels, matches[signatures].owners)), until))
            # What runs beside the graph happens once a replay, and is part of its first pass.
            beside = ()
    return Attribution(
        passes=tuple(divided),
        recorded=len(recorded),
        rejected=len(recorded) - (len(whole) if divided else 0),
        lost=lost,
        calls=calls,
        # The alignment with most kernels unmatched: a note must not promise more than holds for every replay.
        match=max(matches.values(), key=lambda recorded: recorded.unmatched, default=None),
        unlaunched=max(map(len, strays), default=0),
    )


def _extent(pieces: tuple[Piece, ...] | None) -> Stretch:
    """Return from when to when kernels ran; an empty stretch for none."""
    if not pieces:
        return Stretch(start=0, end=-1)
    return Stretch(start=min(piece.kernel.start for piece in pieces), end=max(piece.kernel.end for piece in pieces))


def _strays(trace: Trace, stretches: Sequence[Stretch]) -> list[list[Kernel]]:
    """Return for each stretch of time the kernels that started in it and that no launch of the trace put there."""
    launched = {launch.correlation for launch in trace.launches}
    strays: list[list[Kernel]] = [[] for _ in stretches]
    order = sorted(range(len(stretches)), key=lambda place: stretches[place].start)
    in_order = [stretches[place] for place in order]
    for kernel in trace.kernels:
        place = None if kernel.correlation in launched else place_at(kernel.start, in_order)
        if place is not None:
            strays[order[place]].append(kernel)
    return strays


def _passes_in(kernels: Sequence[Kernel], passes: int) -> Iterator[tuple[Sequence[Kernel], int | None]]:
    """Yield the kernels of each pass of a replay but the last of several, and when the next begins.

    Nothing where the passes do not have as many kernels each.
    """
    length, rest = divmod(len(kernels), passes)
    if passes == 1:
        yield kernels, None
    elif not rest:
        for first in range(0, length * (passes - 1), length):
            following = kernels[first + length : first + 2 * length]
            yield kernels[first : first + length], min(kernel.start for kernel in following)


def _replayed(launches: Sequence[Launch], work: Mapping[int, Sequence[Kernel]]) -> tuple[Piece, ...] | None:
    """Return the kernels of one replay, those beside the graph first; None if some are missing or misdated."""
    inside = [kernel for one in launches if one.kind == "graph" for kernel in _in_order(work.get(one.correlation, ()))]
    beside = [kernel for one in launches if one.kind != "graph" for kernel in work.get(one.correlation, ())]
    missing = any(launch.kind == "kernel" and launch.correlation not in work for launch in launches)
    if missing or not inside or _is_misdated(launches, work):
        return None
    return tuple(Piece(kernel, None) for kernel in (*beside, *inside))


def _by_correlation(kernels: Iterable[Kernel]) -> dict[int, list[Kernel]]:
    work: dict[int, list[Kernel]] = {}
    for kernel in kernels:
        work.setdefault(kernel.correlation, []).append(kernel)
    return work


def _calls(trace: Trace, pass_ranges: Sequence[Stretch]) -> dict[int, int]:
    """Return how often each row was called in one pass: in the pass with most calls, for steps may be cut short."""
    passes = by_pass((each for each in trace.layer_ranges if each.row >= 0), pass_ranges)
    return dict(Counter(each.row for each in max(passes, key=len, default=[])))


def _is_misdated(launches: Iterable[Launch], work: Mapping[int, Sequence[Kernel]]) -> bool:
    """Whether a kernel claims to have started long before the call that launched it."""
    return any(
        kernel.start < launch.start - _BEFORE_LAUNCH
        for launch in launches
        for kernel in work.get(launch.correlation, ())
    )


def _in_order(kernels: Sequence[Kernel]) -> list[Kernel]:
    """Return the kernels of a graph in order of capture: that of its nodes, or of starts where nodes are missing."""
    has_nodes = len({kernel.node for kernel in kernels}) == len(kernels) and all(kernel.node for kernel in kernels)
    return sorted(kernels, key=lambda kernel: (kernel.node if has_nodes else kernel.start, kernel.start))


def _of_usual_length(recorded: Sequence[tuple[Piece, ...] | None]) -> tuple[list[int], int]:
    """Return which passes have as many kernels as most, and how many the others miss."""
    lengths = {place: len(pieces) for place, pieces in enumerate(recorded) if pieces}
    counts = Counter(lengths.values())
    # Records get lost but are not invented: of two lengths that are equally common the longer one is complete.
    usual = max(counts, key=lambda length: (counts[length], length), default=0)
    missing = sum(max(0, usual - length) for length in lengths.values())
    return [place for place, length in lengths.items() if length == usual], missing


def divide(pieces: tuple[Piece, ...], until: int | None = None) -> Pass:
    """Return the times of a pass: what its kernels were busy, by owner, and the rest.

    until: when the next pass begins, if the time up to there belongs to this one.
    """
    shares = share([piece.kernel for piece in pieces])
    end = max((piece.kernel.end for piece in pieces), default=0)
    behind = 0 if until is None else max(0, until - end)
    unattributed = 0
    forward: dict[int, int] = {}
    backward: dict[int, int] = {}
    for piece, busy in zip(pieces, shares.busy):
        if piece.owner is None:
            unattributed += busy
        else:
            times = backward if piece.owner.backward else forward
            times[piece.owner.row] = times.get(piece.owner.row, 0) + busy
    return Pass(
        pieces=pieces,
        span=shares.span + behind,
        idle=shares.idle + behind,
        unattributed=unattributed,
        forward=forward,
        backward=backward,
    )
