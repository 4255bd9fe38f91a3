"""Which records of a sweep are shown: those that fulfil a condition or lie on a Pareto front, sorted, the first few."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cnnstat.errors import CnnstatError, did_you_mean
from cnnstat.sweep.conditions import as_number, parse_condition
from cnnstat.sweep.evaluate import TOTALS, Record

LARGER_IS_BETTER = ("accuracy", "receptive_field")
"""What a Pareto front wants to be large unless told otherwise; everything else is a cost."""

ACCURACY = "accuracy"
MEASURED = {"latency": "add --profile", ACCURACY: "add --accuracy FILE"}
"""What no model has by itself, and the option that brings it."""


class Selection(NamedTuple):
    """What of a sweep's records is shown.

    where: a condition as `parse_condition` reads it. pareto: figures of which no other record may be better in all;
        with a plus in front more of it is better, with a minus less.
    sort: the figure to sort by, largest first; with a minus in front smallest first. top: how many are shown.
    """

    where: str = ""
    pareto: tuple[str, ...] = ()
    sort: str = ""
    top: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether everything is shown, errors too."""
        return self == Selection()

    def check(self, settings: Sequence[str], missing: Sequence[str] = ()) -> Callable[[Mapping[str, Any]], bool]:
        """Return the condition; raises CnnstatError where a name is none, before anything is computed.

        missing: what no record will have because it is not measured.
        """
        known = tuple(name for name in names(settings) if name not in missing)
        fronts = tuple(map(unsigned, self.pareto))
        for option, given in (("--pareto", fronts), ("--sort", (self.sort.removeprefix("-"),) * bool(self.sort))):
            for name in given:
                if name not in known:
                    check_measured(f"{option} {name}", name, missing)
                    hint = did_you_mean(name, known) or f"; known: {', '.join(known)}"
                    raise CnnstatError(f"{option}: nothing is called {name[:40] or 'nothing'}{hint}")
        if len({*fronts}) == 1:
            raise CnnstatError(f"--pareto {self.pareto[0]}: a front needs two figures or more, as in macs,params")
        if self.top is not None and self.top < 1:
            raise CnnstatError(f"--top {self.top} must be at least 1")
        return parse_condition(self.where, known, missing) if self.where else lambda values: True

    def selected(self, records: Sequence[Record], settings: Sequence[str]) -> list[Record]:
        """Return the records that are shown; those with an error are left out by any condition, front or `top`."""
        condition = self.check(settings)
        if self.is_empty:
            return list(records)
        chosen = [record for record in records if not record.get("error") and condition(flat(record))]
        if self.pareto:
            chosen = pareto_front(chosen, self.pareto)
        if self.sort:
            chosen = sorted_by(chosen, self.sort)
        return chosen[: self.top]


def check_measured(what: str, name: str, missing: Sequence[str]) -> None:
    """Raise CnnstatError where a name is of a measurement that is not made."""
    if name in missing:
        raise CnnstatError(f"{what}: {name} is measured; {MEASURED[name]}")


def names(settings: Sequence[str]) -> tuple[str, ...]:
    """Return what conditions and sorting may name: figures, settings, the source."""
    keys = (figure.key for figure in TOTALS)
    return tuple(dict.fromkeys((*keys, "receptive_field", *MEASURED, *settings, "source")))


def flat(record: Record) -> Mapping[str, Any]:
    """Return the values of a record by name, settings included; a figure goes before a setting of its name."""
    return {**record.get("settings", {}), **record}


def sorted_by(records: Sequence[Record], key: str) -> list[Record]:
    """Return records sorted by a value, largest first, or smallest first with a minus in front; missing ones last."""
    name, sign = key.removeprefix("-"), 1 if key.startswith("-") else -1
    present: list[Record] = []
    missing: list[Record] = []
    texts: list[Record] = []
    for record in records:
        value = value_of(record, name)
        (missing if value is None else texts if isinstance(value, str) else present).append(record)
    present.sort(key=lambda record: sign * value_of(record, name))
    texts.sort(key=lambda record: str(value_of(record, name)), reverse=key.startswith("-"))
    return [*present, *texts, *missing]


def value_of(record: Record, name: str) -> Any:
    """Return a figure or a setting of a record, as a number where it is one; None where there is none."""
    return as_number(flat(record).get(name))


def pareto_front(records: Sequence[Record], keys: Sequence[str]) -> list[Record]:
    """Return the records of which no other is at least as good in all figures and better in one, in their order.

    Records that lack one of the figures are left out. Costs n log n for two figures, n times the front for more.
    """
    signs = [_sign(key) for key in keys]
    keys = [*map(unsigned, keys)]
    costs = [(_costs(record, keys, signs), place) for place, record in enumerate(records)]
    ordered = sorted((each for each in costs if None not in each[0]), key=lambda each: each[0])
    front: list[tuple[Any, int]] = []
    best: Any = None
    for values, place in ordered:
        # Sorted by the first cost, only what came before can be better in all of them.
        if len(keys) == 2:
            if best is None or values[1] < best or (front and values == front[-1][0]):
                front.append((values, place))
                best = values[1]
        elif not any(_dominates(other, values) for other, _ in front):
            front.append((values, place))
    return [records[place] for place in sorted(place for _, place in front)]


def unsigned(key: str) -> str:
    """Return a key without the sign that says whether more or less of it is better."""
    return key[1:] if key[:1] in ("+", "-") else key


def _sign(key: str) -> int:
    """Return -1 where more is better, 1 where less is."""
    if key[0] in "+-":
        return -1 if key[0] == "+" else 1
    return -1 if key in LARGER_IS_BETTER else 1


def _costs(record: Record, keys: Sequence[str], signs: Sequence[int]) -> tuple[Any, ...]:
    values = [value_of(record, key) for key in keys]
    return tuple(sign * value if isinstance(value, (int, float)) else None for sign, value in zip(signs, values))


def _dominates(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other))
