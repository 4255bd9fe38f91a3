"""Arguments of operations: one declaration is the check, the default, the JSON Schema and the reference text."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from typing import Any

from cnnstat.errors import OpError, did_you_mean

MAX_INT = 2**40
"""Largest integer an argument may hold; larger ones overflow sizes long before they mean anything."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What values an argument takes.

    normalize: returns the value in its canonical form (lists become tuples) or raises ValueError with what is wanted.
    schema: the same rule as a JSON Schema fragment.
    words: bare words that mean themselves in a spec (`padding=same`).
    """

    normalize: Callable[[Any], Any]
    schema: dict[str, Any]
    words: tuple[str, ...] = ()


def integer(minimum: int | None = None, maximum: int = MAX_INT) -> Kind:
    """Return the kind of one integer within bounds, both included."""
    wanted = "an integer" if minimum is None else f"an integer of at least {minimum}"

    def normalize(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):  # Python counts true and false among the integers
            raise ValueError(wanted)
        if minimum is not None and value < minimum:
            raise ValueError(wanted)
        if abs(value) > maximum:
            raise ValueError(f"an integer of at most {maximum}")
        return value

    bounds = {} if minimum is None else {"minimum": minimum}
    return Kind(normalize, {"type": "integer", **bounds})


def number(minimum: float | None = None, maximum: float | None = None) -> Kind:
    """Return the kind of one finite number within bounds, both included."""
    low = "" if minimum is None else f" of at least {minimum}"
    wanted = f"a number{low}" + ("" if maximum is None else f" and at most {maximum}")

    def normalize(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(wanted)
        if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            raise ValueError(wanted)
        return value

    bounds = {"minimum": minimum, "maximum": maximum}
    return Kind(normalize, {"type": "number", **{k: v for k, v in bounds.items() if v is not None}})


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


FLAG = Kind(_boolean, {"type": "boolean"})
"""True or false."""


def choice(*words: str) -> Kind:
    """Return the kind of one word out of a closed list."""

    def normalize(value: Any) -> str:
        if isinstance(value, str) and value in words:
            return value
        hint = did_you_mean(value, words) if isinstance(value, str) else ""
        raise ValueError(f"one of {', '.join(words)}{hint}")

    return Kind(normalize, {"enum": list(words)}, words)


def list_of(item: Kind, minimum: int = 1) -> Kind:
    """Return the kind of a list of values of one kind; it is kept as a tuple."""

    def normalize(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)) or len(value) < minimum:
            raise ValueError("a list" if minimum < 2 else f"a list of at least {minimum} values")
        try:
            return tuple(item.normalize(entry) for entry in value)
        except ValueError as error:
            raise ValueError(f"a list where each is {error}") from None

    return Kind(normalize, {"type": "array", "items": item.schema, "minItems": minimum})


def any_of(*kinds: Kind) -> Kind:
    """Return the kind that takes whatever one of `kinds` takes; the first that fits wins."""

    def normalize(value: Any) -> Any:
        wanted = []
        for kind in kinds:
            try:
                return kind.normalize(value)
            except ValueError as error:
                wanted.append(str(error))
        raise ValueError(", or ".join(wanted))

    return Kind(normalize, {"anyOf": [k.schema for k in kinds]}, tuple(w for k in kinds for w in k.words))


def optional(kind: Kind) -> Kind:
    """Return `kind` or null."""
    nothing = Kind(_null, {"type": "null"})
    return any_of(nothing, kind)


def _null(value: Any) -> None:
    if value is not None:
        raise ValueError("null")


def per_axis(minimum: int) -> Kind:
    """Return the kind of one integer for all spatial axes or a list with one for each (`3`, `[1, 7]`)."""
    return any_of(integer(minimum), list_of(integer(minimum)))


def axes(value: Any, count: int, name: str) -> tuple[int, ...]:
    """Return `value` as one integer for each of `count` spatial axes.

    Raises OpError if it is a list of another length.
    """
    if isinstance(value, int):
        return (value,) * count
    if len(value) != count:
        raise OpError(f"{name}={list(value)} has {len(value)} values; write one, or {count}, one for each axis")
    return tuple(value)


def argument(kind: Kind, doc: str, default: Any = MISSING, *, keyword_only: bool = False) -> Any:
    """Declare a field of an op: its kind, one line of reference text, and its default if it has one."""
    return field(default=default, kw_only=keyword_only, metadata={"kind": kind, "doc": doc})
