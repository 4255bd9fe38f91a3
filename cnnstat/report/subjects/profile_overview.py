"""Profile overview: several networks' measured times, one line each, printed as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from cnnstat import numbers
from cnnstat.profile.record import to_json
from cnnstat.profile.result import ABOVE_ROOFLINE, LayerTime, Profile
from cnnstat.report.document import Document, Fact
from cnnstat.report.formats.terminal import facts_page
from cnnstat.report.profile_text import RATES, conditions_text, device_text, roofline_text
from cnnstat.report.table import Column, Table
from cnnstat.report.terminal_text import BLANK, Page, padded, plain, printable, show, widest
from cnnstat.report.text_table import GAP

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = "cnnstat-profiles/1"
"""Name and version of the JSON contract of several profiles."""

WIDTHS = {
    "name": 0,
    "time": 15,
    "inputs_per_second": 9,
    "macs": 7,
    "flops_per_second": 7,
    "share_of_floor": 7,
    "drift": 7,
}
"""Columns of fields whose texts are not known before they are printed; the last field takes what is left."""

DROPPED = "inputs_per_second"
ROOMY = 96
"""The field that is left out of a table narrower than so many columns."""


class Overview(NamedTuple):
    """How several profiles are printed: `add` as each is done, `finish` in the end."""

    add: Callable[[Profile], None]
    finish: Callable[[str], None]


def document(profiles: Sequence[Profile]) -> Document:
    """Return the figures of all profiles."""
    table = Table(fields(profiles[0].environment.kind if profiles else "cpu"), profiles)
    return Document(
        blocks=lambda: [table],
        data=lambda: {"schema": SCHEMA, "profiles": [to_json(profile) for profile in profiles]},
        listed=("profiles",),
    )


def fields(device: str) -> tuple[Column, ...]:
    """Return what is told of each network; the device decides the unit of rates."""
    scale, unit = RATES[device]
    return (
        Column("name", "network", lambda p: p.model, least=8, is_code=True),
        Column("time", "time", lambda p: p.whole.plain.median, lambda p: numbers.samples_text(p.whole.plain), "right"),
        Column("inputs_per_second", "inputs/s", inputs_per_second, lambda p: _rate(inputs_per_second(p)), "right"),
        Column("macs", "MACs", _macs, lambda p: numbers.brief_count(_macs(p)), "right"),
        Column(
            "flops_per_second",
            unit,
            flops_per_second,
            lambda p: numbers.rate_text(flops_per_second(p), scale),
            "right",
        ),
        Column("share_of_floor", "% floor", floor_share, lambda p: numbers.whole_percent(floor_share(p)), "right"),
        Column("drift", "% drift", _residual, residual_text, "right"),
        Column("slowest", "slowest layer", _slowest_name, _slowest, least=8),
    )


def batch_of(profile: Profile) -> int:
    """Return the first axis of the first input."""
    return (next(iter(profile.inputs.values()), (1,)) or (1,))[0]


def inputs_per_second(profile: Profile) -> float:
    """Return how many inputs the whole model takes in a second; 0 if it took no time."""
    return batch_of(profile) / profile.whole.plain.median if profile.whole.plain.median else 0.0


def _rate(rate: float) -> str:
    """Return a rate with three significant digits."""
    return f"{rate:,.{numbers.decimals_of(rate)}f}"


def _macs(profile: Profile) -> int:
    """Return the multiply-accumulates of a forward pass."""
    return sum(layer.macs for layer in profile.layers)


def _forward(profile: Profile) -> float:
    """Return the seconds of all layers' forward passes."""
    return sum(layer.forward.median for layer in profile.layers)


def flops_per_second(profile: Profile) -> float:
    """Return the floating-point operations per second of all layers' forward passes."""
    return sum(layer.flops for layer in profile.layers) / (_forward(profile) or 1.0)


def floor_share(profile: Profile) -> float:
    """Return the sum of the layers' floors by the sum of their times."""
    floors = (layer.bound_seconds for layer in profile.layers if layer.forward.median)
    return sum(floors) / (_forward(profile) or 1.0)


def _residual(profile: Profile) -> float:
    """Return the drift as a share of the whole."""
    return profile.time_breakdown.share(profile.time_breakdown.residual)


def residual_text(profile: Profile) -> str:
    """Return the drift in percent, with ! where the parts do not add up."""
    return numbers.percent(_residual(profile)) + "!" * (not profile.adds_up)


def slowest(profile: Profile) -> LayerTime | None:
    """Return the layer that takes most time."""
    return max(profile.layers, key=lambda layer: layer.seconds, default=None)


def _slowest_name(profile: Profile) -> str:
    """Return the name of the slowest layer."""
    layer = slowest(profile)
    return layer.name if layer else ""


def _slowest(profile: Profile) -> str:
    """Return the slowest layer with its share of the time."""
    layer = slowest(profile)
    return f"{layer.name} ({100 * profile.time_breakdown.share(layer.seconds):.0f} %)" if layer else "–"


def overview(names: Sequence[str], console: Console) -> Overview:
    """Return how a table is printed line by line; `names` are those to come."""
    profiles: list[Profile] = []
    kept = {key: width for key, width in WIDTHS.items() if key != DROPPED or console.width >= ROOMY}
    widths = {**kept, "name": widest(("network", *names))}

    def line(texts: Sequence[str], columns: Sequence[Column]) -> str:
        cells = [padded(text, widths[field.key], field.align) for text, field in zip(texts, columns[:-1])]
        left = max(8, console.width - sum(widths.values()) - GAP * len(widths))
        return (" " * GAP).join([*cells, columns[-1].cut(texts[-1], left)]).rstrip()

    def add(profile: Profile) -> None:
        device = profile.environment.kind
        columns = [field for field in fields(device) if field.key in widths or field.key == "slowest"]
        if not profiles:
            titles = line([field.title for field in columns], columns)
            head = [plain(device_text(profile), "bold"), plain(_common(profile)), BLANK, plain(titles, "bold")]
            show(Page([*head, plain("─" * min(console.width, len(titles) + 12), "dim")]), console)
        profiles.append(profile)
        show(Page([plain(line([field.cell(profile) for field in columns], columns))]), console)

    def finish(saved: str) -> None:
        if profiles:
            show(Page([BLANK]) + facts_page(_facts(profiles, saved), console.width), console)

    return Overview(add, finish)


def _common(profile: Profile) -> str:
    """Return how all networks were measured."""
    _, _, rest = conditions_text(profile).partition(", ")
    return f"batch {batch_of(profile):,}, {rest}"


def _beaten(profiles: Sequence[Profile]) -> str:
    """Return what it means that layers are faster than the ceilings allow; nothing where none are."""
    is_beaten = any(floor_share(profile) > ABOVE_ROOFLINE for profile in profiles)
    return "; above 100 %: served from cache, or Winograd or FFT needs fewer operations" * is_beaten


def _facts(profiles: Sequence[Profile], saved: str) -> list[Fact]:
    """Return what the columns mean, what does not add up, and where the ceilings are kept."""
    wrong = [printable(profile.model) for profile in profiles if not profile.adds_up]
    return [
        Fact("ceilings", f"{roofline_text(profiles[-1])}{f'; kept in {printable(saved)}' if saved else ''}"),
        Fact("% floor", f"least time that the ceilings allow, divided by the layers' time{_beaten(profiles)}"),
        Fact("% drift", "whole less layers, gaps and unattributed: by how much the parts do not add up"),
        *([Fact("does not add up", f"{', '.join(wrong)} (!)", "bold red")] if wrong else []),
        *(Fact("partial", f"{p.model} was stopped", "bold yellow") for p in profiles if not p.complete),
        Fact("layers", "`cnnstat profile NAME` shows where the time goes"),
    ]
