"""Profile text: what stands around a table of measured times: how it was measured, the time breakdown, the facts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cnnstat import numbers
from cnnstat.numbers import binary_bytes
from cnnstat.profile.profile_result import ABOVE_ROOFLINE, LayerTime, Profile
from cnnstat.report.document import Fact, KeyFigure, glued
from cnnstat.report.network_text import shape_text
from cnnstat.report.terminal_text import printable

RATES = {"cuda": (1e12, "TFLOP/s"), "cpu": (1e9, "GFLOP/s"), "mps": (1e9, "GFLOP/s")}
"""Unit of the rate of work by kind of device."""

GIGA = 1e9

YES = ("true", "yes", "on", "1")
"""How settings say that something is switched on."""

NOISY = 0.2
"""Interquartile range of the whole, as a share of its median, from which a profile is called noisy."""


class TimePart(NamedTuple):
    """One line of the identity, as text."""

    name: str
    time: str
    share: str
    meaning: str


def heading(profile: Profile) -> str:
    """Return the model and the device it was measured on."""
    name = printable(profile.model or profile.source or "network")
    return f"{name} on {device_text(profile)}"


def device_text(profile: Profile) -> str:
    """Return the device with what it calls itself, and its threads (`cpu, AMD EPYC 7763, 2 threads`)."""
    environment = profile.environment
    threads = () if environment.threads is None else (numbers.plural(environment.threads, "thread"),)
    named = (environment.device_name,) if environment.device_name != environment.device else ()
    return printable(", ".join((environment.device, *named, *threads)))


def conditions_text(profile: Profile) -> str:
    """Return inputs, dtype and settings in one line."""
    environment, settings = profile.environment, profile.environment.settings
    has_several = len(profile.inputs) > 1
    inputs = (f"{name + ' ' if has_several else ''}{shape_text(shape)}" for name, shape in profile.inputs.items())
    switched = (
        key.replace("_", " ")
        for key in ("tf32", "channels_last", "backward", "compiled")
        if is_on(settings.get(key, ""))
    )
    words = (f"{key} {settings[key]}" for key in ("autocast", "step") if settings.get(key))
    mode = settings.get("mode", "")
    versions = (f"{key} {value}" for key, value in environment.versions.items() if key in ("torch", "cuda"))
    parts = (
        f"input {', '.join(inputs)}",
        environment.dtype,
        *([f"{mode} mode"] if mode else ()),
        *switched,
        *words,
        *versions,
    )
    return printable(", ".join(parts))


def is_on(setting: str) -> bool:
    """Return whether a setting is switched on."""
    return setting.lower() in YES


def is_recorded(profile: Profile) -> bool:
    """Return whether the times are of a recording that was made elsewhere."""
    return is_on(profile.environment.settings.get("recorded", ""))


def time_parts(profile: Profile) -> tuple[TimePart, ...]:
    """Return the identity line by line: layers, gaps, what belongs to none, drift, and the whole they add up to."""
    time_breakdown, whole = profile.time_breakdown, profile.whole
    is_cuda = profile.environment.kind == "cuda"
    steps = "kernels" if is_cuda else "op calls"
    run = "CUDA-graph replays" if whole.replayed else "recorded passes" if is_recorded(profile) else "plain runs"
    parts = (
        ("layers", time_breakdown.layers, f"sum of the {numbers.plural(len(profile.layers), 'layer')} above"),
        ("gaps", time_breakdown.idle, "nothing computed" if is_cuda else "between layers: Python and dispatch"),
        ("unattributed", time_breakdown.unattributed, f"{steps} that belong to no layer"),
        *_tracing_part(profile),
        ("drift", time_breakdown.residual, "left over: measured and plain runs differ"),
    )
    # Rounded together: the printed parts add up to the printed whole.
    total, times = numbers.sum_texts(time_breakdown.whole, [seconds for _, seconds, _ in parts])
    lines = [
        TimePart(name, time, numbers.percent(time_breakdown.share(seconds)), meaning)
        for (name, seconds, meaning), time in zip(parts, times)
    ]
    samples = whole.plain
    spread = numbers.seconds_text(samples.spread)
    meaning = f"median of {samples.count:,} {run}" if samples.count > 1 else f"one of the {run}"
    meaning += f", IQR {spread}" if samples.scatters else ""
    return (*lines, TimePart("whole model", total, "100", meaning))


def _tracing_part(profile: Profile) -> Iterator[tuple[str, float, str]]:
    seconds, kernels = profile.time_breakdown.tracing, profile.time_breakdown.kernels
    if seconds and kernels:
        each = numbers.seconds_text(-seconds / kernels)
        yield "tracing", seconds, f"cost of tracing, {each} for each of {numbers.plural(kernels, 'kernel')}, taken off"


def misfit(profile: Profile) -> str:
    """Return in what way the parts do not add up, nothing if they do."""
    time_breakdown, tolerance = profile.time_breakdown, profile.tolerance
    residual, rest, idle = map(
        time_breakdown.share, (time_breakdown.residual, time_breakdown.unattributed, time_breakdown.idle)
    )
    faults = []
    most = time_breakdown.most_residual(tolerance.residual)
    if abs(time_breakdown.residual) > most:
        faults.append(f"drift is {numbers.percent(residual)} % of the whole (limit ±{_limit_text(profile)})")
    if rest > tolerance.unattributed:
        limit = f"{100 * tolerance.unattributed:.0f} %"
        faults.append(f"unattributed time is {numbers.percent(rest)} % of the whole (limit {limit})")
    if -time_breakdown.idle > most:
        faults.append(f"gaps are {numbers.percent(idle)} %: layers take longer than the run they are part of")
    if profile.lost_kernels:
        faults.append(f"the tracer lost {numbers.plural(profile.lost_kernels, 'kernel')}")
    return "; ".join(faults)


def _limit_text(profile: Profile) -> str:
    """Return how much of the whole drift may be: a share of it, or more where kernels are short."""
    share, time_breakdown = profile.tolerance.residual, profile.time_breakdown
    text = f"{100 * share:.0f} %"
    if time_breakdown.most_residual(share) <= share * time_breakdown.whole:
        return text
    return f"{text}, or 1 µs for each of {numbers.plural(time_breakdown.kernels, 'kernel')}"


def slowest(profile: Profile) -> LayerTime | None:
    """Return the layer that takes longest."""
    return max(profile.layers, key=lambda layer: layer.seconds, default=None)


def key_figures(profile: Profile) -> Iterator[KeyFigure]:
    """Yield the whole model's time, its rates, what it holds and whether the parts add up to it."""
    plain, (scale, unit) = profile.whole.plain, RATES[profile.environment.kind]
    spread = f"IQR {numbers.seconds_text(plain.spread)}" if plain.scatters else f"of {plain.count} runs"
    yield KeyFigure("time of a pass", numbers.seconds_text(plain.median), spread)
    yield KeyFigure("throughput", f"{numbers.rate_text(profile.inputs_per_second, 1)}/s", f"batch {profile.batch:,}")
    yield KeyFigure("rate of work", f"{numbers.rate_text(profile.flops_per_second, scale)} {unit}")
    yield KeyFigure("% floor", numbers.whole_percent(profile.share_of_bound), "least time allowed, by the time")
    if profile.peak_bytes is not None:
        yield KeyFigure("peak memory", binary_bytes(profile.peak_bytes), "parameters and inputs aside")
    if (layer := slowest(profile)) is not None:
        share = numbers.percent(profile.time_breakdown.share(layer.seconds))
        yield KeyFigure("slowest layer", printable(layer.name), f"{share} % of the time")
    drift = numbers.percent(profile.time_breakdown.share(profile.time_breakdown.residual))
    words, style = ("add up", "green") if profile.adds_up else ("do not add up", "bold red")
    yield KeyFigure("layers", words, f"drift {drift} %", style)


def summary(profile: Profile) -> tuple[Fact, ...]:
    """Return the facts below the identity."""
    return (
        *_verdict(profile),
        *_row_check(profile),
        *_scatter(profile),
        *_whole(profile),
        *_gaps(profile),
        *_floor(profile),
        *_directions(profile),
        *_memory(profile),
        *_energy(profile),
        *_coverage(profile),
        *(Fact("note", printable(note)) for note in profile.notes),
        *_partial(profile),
    )


def _verdict(profile: Profile) -> Iterator[Fact]:
    misfits = misfit(profile)
    if misfits:
        remedy = (
            "record more passes, on an idle machine"
            if is_recorded(profile)
            else f"measure again on an idle machine, with --samples {2 * max(30, profile.whole.plain.count)}"
        )
        yield Fact("does not add up", f"{misfits}; {remedy}", "bold red")
        return
    tolerance = profile.tolerance
    rest = (
        "" if tolerance.unattributed == tolerance.residual else f", unattributed {100 * tolerance.unattributed:.0f} %"
    )
    yield Fact("adds up", f"within the stated limits: drift ±{_limit_text(profile)}{rest}", "green")


def _row_check(profile: Profile) -> Iterator[Fact]:
    check = profile.row_check
    if check is None:
        return
    text = (
        f"{numbers.plural(check.rows, 'layer')} of 10 µs and more against events inside the graph: half within "
        f"{numbers.percent(check.median)} %, {printable(check.worst)} {100 * check.worst_apart:+.1f} %"
    )
    if check.agrees:
        yield Fact("rows checked", text)
    else:
        yield Fact("rows differ", f"{text}; the tracer's times of layers are not to be trusted", "bold red")


def _scatter(profile: Profile) -> Iterator[Fact]:
    plain = profile.whole.plain
    if plain.median and plain.scatters and plain.spread > NOISY * plain.median:
        spread = f"the quartiles of the plain runs lie {100 * plain.spread / plain.median:,.0f} % of their median apart"
        cause = "" if is_recorded(profile) else ": something else uses this machine, or --threads is too high"
        yield Fact("noisy", f"{spread}{cause}", "yellow")


def _whole(profile: Profile) -> Iterator[Fact]:
    """Yield throughput, and on a GPU what the CPU has to do with it."""
    whole = profile.whole
    if whole.plain.median:
        rate = numbers.rate_text(profile.inputs_per_second, 1)
        yield Fact("throughput", f"{rate} inputs a second at batch {profile.batch:,}")
    if is_recorded(profile):
        yield Fact("host", f"{glued(numbers.samples_text(whole.eager))} by the host's clock")
        return
    if profile.environment.kind != "cuda":
        if whole.eager.median != whole.plain.median:
            text = f"{glued(numbers.samples_text(whole.eager))} as an ordinary call, which takes PyTorch's fused path"
            yield Fact("eager", text)
        return
    if not whole.replayed:
        yield Fact("eager", "the model cannot be captured in a CUDA graph; the whole is its eager time", "yellow")
        return
    overhead = whole.eager.median - whole.plain.median
    text = f"{glued(numbers.samples_text(whole.eager))} as an ordinary call"
    yield Fact("eager", f"{text}: {glued(numbers.seconds_text(overhead))} more than its replay, CPU overhead")
    if whole.enqueue is not None:
        yield Fact("enqueue", f"{glued(numbers.samples_text(whole.enqueue))} of CPU time to launch a pass")
        yield Fact("CPU-bound", *_pace(profile))


def _pace(profile: Profile) -> tuple[str, str]:
    """Return whether the CPU sets the pace, and the style of that."""
    if profile.whole.cpu_bound:
        return "yes: launching takes over 0.8 of the GPU's time; a larger batch or CUDA graphs would help", "yellow"
    return "no: the GPU sets the pace", ""


def roofline_text(profile: Profile) -> str:
    """Return what the device was measured to do at best, and when."""
    roofline, device = profile.roofline, profile.environment.kind
    scale, unit = RATES[device]
    launch = "smallest kernel" if device == "cuda" else "smallest op call"
    rates = (
        f"{numbers.rate_text(roofline.flops_per_second, scale)} {unit}",
        f"{numbers.rate_text(roofline.bandwidth, GIGA)} GB/s",
        f"{launch} {numbers.seconds_text(roofline.launch)}",
    )
    where = printable(roofline.source) or f"measured {printable(roofline.measured)[:10]} on this device"
    return f"{', '.join(map(glued, rates))}; {where}"


def _gaps(profile: Profile) -> Iterator[Fact]:
    meanings = {
        "host": "the next kernel was not launched yet",
        "launch": "launched, and started as soon as GPUs start kernels",
        "dependency": "launched, and waiting for another stream",
    }
    parts = [
        f"{glued(numbers.seconds_text(seconds))} {printable(cause)} ({meanings.get(cause, 'of another version')})"
        for cause, seconds in profile.gap_causes.items()
        if seconds
    ]
    if parts:
        yield Fact("gaps", "; ".join(parts))


def _floor(profile: Profile) -> Iterator[Fact]:
    yield Fact("ceilings", roofline_text(profile))
    yield Fact("floor", "the least time these allow: operations, bytes moved, or one launch; 100 % is as fast as that")
    beaten = [layer.name for layer in profile.layers if layer.share_of_bound > ABOVE_ROOFLINE]
    if beaten:
        why = "served from cache, or Winograd or FFT needs fewer operations"
        busy = (
            ""
            if profile.environment.kind == "cuda" or is_recorded(profile)
            else "; or the machine was too busy to show its ceilings"
        )
        yield Fact("above 100 %", f"{numbers.listed(beaten)}: {why}{busy}{' (--refresh-ceilings)' * bool(busy)}")


def _directions(profile: Profile) -> Iterator[Fact]:
    if any(layer.backward for layer in profile.layers):
        yield Fact("backward", "times are forward and backward together; rates and floors are of the forward pass")
    if any(layer.warm or layer.cold for layer in profile.layers):
        yield Fact("alone", "each layer by itself, its inputs in the cache (warm) or not (cold); it brackets its time")


def _memory(profile: Profile) -> Iterator[Fact]:
    predicted = profile.predicted_peak_bytes
    if profile.peak_bytes is None:
        return
    expected = "" if predicted is None else f", {glued(binary_bytes(predicted))} predicted"
    ratio = f" ({numbers.ratio_text(profile.peak_bytes / predicted)})" if predicted else ""
    yield Fact(
        "peak memory",
        f"{glued(binary_bytes(profile.peak_bytes))} measured{expected}{ratio}, parameters and inputs aside",
    )


def _energy(profile: Profile) -> Iterator[Fact]:
    if profile.environment.clocks:
        clocks = profile.environment.clocks.items()
        yield Fact(
            "clocks", ", ".join(glued(f"{printable(name).replace('_', ' ')} {value:,g}") for name, value in clocks)
        )
    if profile.joules is None:
        return
    seconds = profile.whole.plain.median
    power = f", {profile.joules / seconds:,.0f} W on average" if seconds else ""
    yield Fact("energy", f"{profile.joules:.3g} J a pass{power}")


def _coverage(profile: Profile) -> Iterator[Fact]:
    uncounted = [layer.name for layer in profile.layers if not layer.counted]
    if uncounted:
        yield Fact("not counted", f"{numbers.listed(uncounted)}; their MACs, rates and floors are at least", "yellow")


def _partial(profile: Profile) -> Iterator[Fact]:
    if not profile.complete:
        yield Fact("partial", "stopped before everything was measured; medians are of what there is", "bold yellow")
