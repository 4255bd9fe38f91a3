"""Latency: the time of a forward pass against its limit, measured now, and interleaved with the baseline where needed.

Times scatter. A limit is broken if at least three of four rounds break it; anything less is noise.
"""

from __future__ import annotations

from dataclasses import dataclass

from cnnstat import numbers
from cnnstat.check.check_result import LayerShare, Status, Verdict
from cnnstat.check.configuration import ModelSettings
from cnnstat.check.limits import Limit
from cnnstat.check.model_figures import Missing
from cnnstat.check.verdicts import MAX_LAYERS, Comparison
from cnnstat.errors import CnnstatError
from cnnstat.ir.graph import Graph
from cnnstat.profile.difference import compare_profiles
from cnnstat.profile.profile_result import Samples, summarize
from cnnstat.sources.load import named_model
from cnnstat.sources.model import GraphReference, ModelReference
from cnnstat.sources.request import Request

ROUNDS = 40
SECONDS = 15.0
"""Most rounds of one model, and the seconds after which no further one starts."""

LEAST_SHARE = 0.75
"""Share of the rounds that must break a limit."""

PROFILED = 10
"""Samples of the profile that finds the slow layers of a model whose limit is broken."""

NO_TIMES = (
    "the baseline holds no model that could be run beside this one: times are compared with a YAML spec of another "
    "commit (--baseline-ref), on one machine and in turns"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """Nanoseconds of a forward pass round by round, the baseline's in the same rounds or None, and where."""

    after: tuple[int, ...]
    before: tuple[int, ...] | None
    device: str


def latency_verdict(limit: Limit, source: str, model: ModelSettings, comparison: Comparison) -> Verdict:
    """Return the verdict on a limit on the time of a forward pass.

    source: what is measured, as `load_source` takes it; comparison: its graph and the baseline's.
    """
    is_relative = limit.bound == "max_increase"
    graph, baseline = comparison.figures.graph, comparison.baseline
    earlier = comparison.before.graph if comparison.before else None
    if is_relative and isinstance(baseline, Missing):
        return _unmeasured(limit, baseline.reason, comparison.missing_status)
    if is_relative and (earlier is None or graph is None):
        return _unmeasured(limit, NO_TIMES)
    try:
        rounds = measure_rounds(source, model, limit, (graph, earlier) if is_relative else None)
        verdict = judge(limit, rounds)
        if verdict.status not in (Status.FAIL, Status.WARN):
            return verdict
        return judge(limit, rounds, slow_layers(source, model, limit, earlier if is_relative else None))
    except CnnstatError as error:
        return _unmeasured(limit, str(error).splitlines()[0])


def judge(limit: Limit, rounds: Rounds, layers: tuple[LayerShare, ...] = ()) -> Verdict:
    """Return the verdict on measured rounds; `layers` are named where the limit is broken."""
    after = _samples(rounds.after)
    before = None if rounds.before is None else _samples(rounds.before)
    value, old = _nanoseconds(after), None if before is None else _nanoseconds(before)
    threshold = limit.threshold(old)
    bounds = [limit.threshold(number) for number in rounds.before] if rounds.before else [threshold] * len(rounds.after)
    over = sum(time > bound for time, bound in zip(rounds.after, bounds))
    is_broken = over >= LEAST_SHARE * len(rounds.after)
    if is_broken:
        message = _broken_message(limit, after, before, layers)
    else:
        message = _kept_message(limit, after, before, over, len(rounds.after))
    status, message = limit.broken if is_broken else Status.PASS, f"{message}; measured on {rounds.device}"
    return limit.verdict(status, message, threshold=threshold, value=value, baseline=old, layers=layers)


def measure_rounds(
    source: str, model: ModelSettings, limit: Limit, pair: tuple[Graph | None, Graph | None] | None
) -> Rounds:
    """Return the rounds of a source, or of a pair of graphs (this one and the baseline's); raises CnnstatError."""
    from cnnstat.profile import need_torch
    from cnnstat.profile.profile_options import make_options

    options = make_options(device=limit.device, threads=limit.threads)
    need_torch()
    from cnnstat.profile.device import choose_device, device_name, threads
    from cnnstat.profile.interleaved import time_passes
    from cnnstat.profile.profile_model import prepare_model

    target = choose_device(options.device)
    references = [_reference(each, model) for each in pair or (source,) if each is not None]
    with threads(options.threads):
        models = [prepare_model(reference, options, target) for reference in references]
        times = time_passes(models, ROUNDS, SECONDS)
    return Rounds(after=times[0], before=None if pair is None else times[1], device=device_name(target))


def _reference(source: str | Graph, model: ModelSettings) -> ModelReference:
    """Return what is measured; a graph was loaded with the model's request before."""
    if isinstance(source, str):
        return named_model(source, model.request)
    return GraphReference(source, Request(mode=model.request.mode))


def slow_layers(source: str, model: ModelSettings, limit: Limit, earlier: Graph | None) -> tuple[LayerShare, ...]:
    """Return the layers that take most time or, against an earlier graph, that became slower; in nanoseconds."""
    from cnnstat.profile import profile
    from cnnstat.profile.profile_options import Silent, make_options

    options = make_options(device=limit.device, threads=limit.threads, samples=PROFILED)
    after = profile(_reference(source, model), options, Silent())
    if earlier is None:
        shares = [LayerShare(name=layer.name, value=round(1e9 * layer.seconds)) for layer in after.layers]
        return tuple(sorted(shares, key=lambda share: -share.value)[:MAX_LAYERS])
    before = profile(_reference(earlier, model), options, Silent())
    changes = sorted(compare_profiles(before, after).layers, key=lambda change: -change.seconds)
    return tuple(
        LayerShare(
            name=c.name, value=_nanoseconds(c.after), baseline=None if c.before is None else _nanoseconds(c.before)
        )
        for c in changes[:MAX_LAYERS]
        if c.after is not None and c.verdict.value in ("slower", "new")
    )


def _samples(nanoseconds: tuple[int, ...]) -> Samples:
    return summarize([number / 1e9 for number in nanoseconds])  # in seconds


def _nanoseconds(samples: Samples) -> int:
    return round(1e9 * samples.median)


def _broken_message(limit: Limit, after: Samples, before: Samples | None, layers: tuple[LayerShare, ...]) -> str:
    text = limit.amount.text
    if before is None:
        over = after.median - float(limit.amount.number) / 1e9
        what = f"latency {numbers.samples_text(after)} > {text} by {numbers.seconds_text(over)}"
    else:
        growth = numbers.percent(after.median / before.median - 1)
        what = (
            f"latency {numbers.samples_text(after)}, +{growth} % against the baseline's "
            f"{numbers.samples_text(before)} in turns with it, +{text.removeprefix('+')} allowed"
        )
    names = ", ".join(
        f"{share.name} {'+' if before else ''}{numbers.seconds_text((share.growth if before else share.value) / 1e9)}"
        for share in layers
    )
    slow = f"; {'largest growth' if before else 'slowest layers'} {names}" if names else ""
    # a limit on the command line looks binding, but times never are unless that is asked for
    level = "" if limit.is_blocking or limit.setting else " (a warning: --fail-on-latency makes it fail)"
    return f"{what}{slow}. Speed it up or raise {limit.where}{level}"


def _kept_message(limit: Limit, after: Samples, before: Samples | None, over: int, rounds: int) -> str:
    """Return the line for a limit that holds, and by how little if some rounds broke it."""
    text = limit.amount.text
    noise = f", over it in {over} of {rounds} rounds, which is noise" if over else ""
    if before is None:
        sign = "≤" if after.median <= float(limit.amount.number) / 1e9 else "≈"
        return f"latency {numbers.samples_text(after)} {sign} {text}{noise}"
    growth = numbers.percent(after.median / before.median - 1)
    change = f"{'+' if after.median > before.median else ''}{growth} % against the baseline"
    return f"latency {numbers.samples_text(after)}: {change}, +{text.removeprefix('+')} allowed{noise}"


def _unmeasured(limit: Limit, reason: str, status: Status = Status.UNVERIFIED) -> Verdict:
    """Return the verdict on a limit that could not be measured, or has nothing to be compared with."""
    threshold = None if limit.bound == "max_increase" else limit.threshold(None)
    return limit.verdict(status, f"latency: {reason}", threshold=threshold, value=None, baseline=None)
