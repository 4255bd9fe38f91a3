"""Profile overview: several networks' measured times, one line each, printed as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from cnnstat import numbers
from cnnstat.profile.profile_json import to_json
from cnnstat.profile.profile_result import ABOVE_ROOFLINE, Profile
from cnnstat.report.document import Document, Fact
from cnnstat.report.formats.terminal import GAP, facts_page
from cnnstat.report.profile_text import RATES, conditions_text, device_text, roofline_text, slowest
from cnnstat.report.table import Column, Table
from cnnstat.report.terminal_text import BLANK, Page, padded, plain, printable, show, widest

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = "cnnstat-profiles/1"
"""Name and version of the JSON contract of several profiles."""

WIDTHS = {"time": 15, "inputs_per_second": 9, "macs": 7, "flops_per_second": 7, "share_of_floor": 7, "drift": 7}
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
    conditions = "; ".join(dict.fromkeys(map(conditions_text, profiles)))
    return Document(
        page_title=f"Times of {numbers.plural(len(profiles), 'network')}",
        blocks=lambda: [table],
        data=lambda: {"schema": SCHEMA, "profiles": [to_json(profile) for profile in profiles]},
        listed=("profiles",),
        caption=f"{conditions[:1].upper()}{conditions[1:]}. Median times of one pass; % floor is the least time by the "
        "rates measured on this device, by the time",
    )


def fields(device: str) -> tuple[Column, ...]:
    """Return the columns of the overview; the device decides the unit of rates."""
    scale, unit = RATES[device]
    return (
        Column("name", "network", attrgetter("model"), least=8, is_code=True),
        Column("time", "time", attrgetter("whole.plain.median"), _samples("whole.plain"), "right"),
        Column(
            "inputs_per_second", "inputs/s", attrgetter("inputs_per_second"),
            lambda p: numbers.rate_text(p.inputs_per_second, 1), "right",
        ),
        Column("macs", "MACs", _macs, lambda p: numbers.brief_count(_macs(p)), "right"),
        Column(
            "flops_per_second", unit, attrgetter("flops_per_second"),
            lambda p: numbers.rate_text(p.flops_per_second, scale), "right",
        ),
        Column(
            "share_of_floor", "% floor", attrgetter("share_of_bound"),
            lambda p: numbers.whole_percent(p.share_of_bound), "right",
        ),
        # ! where the parts do not add up
        Column("drift", "% drift", _residual, lambda p: numbers.percent(_residual(p)) + "!" * (not p.adds_up), "right"),
        Column("slowest", "slowest layer", lambda p: getattr(slowest(p), "name", ""), _slowest, least=8),
    )  # fmt: skip


def compared(profiles: Sequence[Profile]) -> list[Column]:
    """Return the figures that a comparison of profiles has, those that were measured of any."""
    by_key = {column.key: column for column in fields(profiles[0].environment.kind)}
    columns = (
        Column("seconds", "time of a pass", attrgetter("whole.plain.median"), _samples("whole.plain")),
        Column("eager_seconds", "as an ordinary call", _eager, _samples("whole.eager")),
        by_key["inputs_per_second"]._replace(title="inputs a second"),
        by_key["flops_per_second"],
        by_key["share_of_floor"],
        Column(
            "peak_bytes", "peak measured", attrgetter("peak_bytes"),
            lambda p: numbers.or_dash(p.peak_bytes, numbers.binary_bytes),
        ),
        Column(
            "joules", "energy of a pass", attrgetter("joules"), lambda p: numbers.or_dash(p.joules, "{:.3g} J".format)
        ),
        by_key["drift"],
    )  # fmt: skip
    return [column for column in columns if any(column.value(profile) is not None for profile in profiles)]


def compared_facts(profiles: Sequence[Profile]) -> tuple[Fact, ...]:
    """Return where and how the times of a comparison were measured, and which do not add up."""
    _, _, rest = conditions_text(profiles[0]).partition(", ")
    wrong = ", ".join(profile.model for profile in profiles if not profile.adds_up)
    how = f"on {device_text(profiles[0])}, {rest}: medians ± interquartile ranges, one model after the other"
    return (
        Fact("times", how),
        Fact("ceilings", roofline_text(profiles[0])),
        *([Fact("does not add up", f"{wrong}: see `cnnstat profile`", "bold red")] if wrong else []),
    )


def _samples(path: str) -> Callable[[Profile], str]:
    samples = attrgetter(path)
    return lambda profile: numbers.samples_text(samples(profile))


def _macs(profile: Profile) -> int:
    return sum(layer.macs for layer in profile.layers)


def _eager(profile: Profile) -> float | None:
    """Return the time of an ordinary call where it is another than what the time breakdown explains."""
    whole = profile.whole
    return whole.eager.median if whole.replayed or whole.eager.median != whole.plain.median else None


def _residual(profile: Profile) -> float:
    return profile.time_breakdown.share(profile.time_breakdown.residual)


def _slowest(profile: Profile) -> str:
    layer = slowest(profile)
    return f"{layer.name} ({100 * profile.time_breakdown.share(layer.seconds):.0f} %)" if layer else "–"


def overview(names: Sequence[str], console: Console) -> Overview:
    """Return how a table is printed line by line; `names` are those to come."""
    profiles: list[Profile] = []
    fixed_widths = {key: width for key, width in WIDTHS.items() if key != DROPPED or console.width >= ROOMY}
    widths = {"name": widest(("network", *names)), **fixed_widths}

    def line(texts: Sequence[str], columns: Sequence[Column]) -> str:
        cells = [padded(text, widths[field.key], field.align) for text, field in zip(texts, columns[:-1])]
        # Printed before all names are known: the last column takes what is left, the others are fixed.
        left = max(8, console.width - sum(widths.values()) - GAP * len(widths))
        return (" " * GAP).join([*cells, columns[-1].cut(texts[-1], left)]).rstrip()

    def add(profile: Profile) -> None:
        device = profile.environment.kind
        columns = [field for field in fields(device) if field.key in widths or field.key == "slowest"]
        # The unit of rates depends on the device, which is known with the first profile.
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
    _, _, rest = conditions_text(profile).partition(", ")
    return f"batch {profile.batch:,}, {rest}"


def _beaten(profiles: Sequence[Profile]) -> str:
    """Return what it means that layers are faster than the ceilings allow; nothing where none are."""
    is_beaten = any(profile.share_of_bound > ABOVE_ROOFLINE for profile in profiles)
    return "; above 100 %: served from cache, or Winograd or FFT needs fewer operations" * is_beaten


def _facts(profiles: Sequence[Profile], saved: str) -> list[Fact]:
    wrong = [printable(profile.model) for profile in profiles if not profile.adds_up]
    return [
        Fact("ceilings", f"{roofline_text(profiles[-1])}{f'; kept in {printable(saved)}' if saved else ''}"),
        Fact("% floor", f"least time that the ceilings allow, divided by the layers' time{_beaten(profiles)}"),
        Fact("% drift", "whole less layers, gaps and unattributed: by how much the parts do not add up"),
        *([Fact("does not add up", f"{', '.join(wrong)} (!)", "bold red")] if wrong else []),
        *(Fact("partial", f"{p.model} was stopped", "bold yellow") for p in profiles if not p.complete),
        Fact("layers", "`cnnstat profile NAME` shows where the time goes"),
    ]
