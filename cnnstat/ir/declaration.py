"""What an op declares as data: its arguments, and its arithmetic as a sum of products of named factors.

One declaration of an argument is its check, its default, its JSON Schema and its reference text; one of arithmetic
gives value, symbols and numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, NamedTuple

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


# Arguments of one class ----------------------------------------------------------------------------------------------

_ARGUMENTS: dict[type, tuple[tuple[str, Kind, Any], ...]] = {}


def arguments_of(cls: type) -> tuple[tuple[str, Kind, Any], ...]:
    """Return name, kind and default of every argument of an op class."""
    if cls not in _ARGUMENTS:  # kept, as every construction of an op asks
        declared = fields(cls)
        _ARGUMENTS[cls] = tuple((f.name, f.metadata["kind"], f.default) for f in declared)
    return _ARGUMENTS[cls]


def json_value(value: Any) -> Any:
    """Return a value as JSON has it: tuples as lists, numbers that are none and other objects as text."""
    if isinstance(value, (tuple, list)):
        return [json_value(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def argument_text(value: Any) -> str:
    """Return an argument's value as a spec writes it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(argument_text, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str) and not value.isidentifier():
        return repr(value[:60])  # `nearest-exact` would be a difference
    return str(value)[:60]


# Arithmetic -----------------------------------------------------------------------------------------------------------

Factor = tuple[str, int | tuple[int, ...]]
"""A symbol (`C_out`) and its number; a tuple, such as a shape, stands for the product of its numbers."""

Terms = tuple[tuple[Factor, ...], ...]
"""A sum of products; `+` adds two sums."""


class Written(int):
    """A number that is written as what it comes from: `64/2`, `(9 − 1)`."""

    text: str

    def __new__(cls, value: int, text: str) -> Written:
        """Return a number with its text."""
        number = super().__new__(cls, value)
        number.text = text
        return number

    def __str__(self) -> str:
        return self.text


def product(*factors: Factor) -> Terms:
    """Return one product of factors."""
    return (factors,)


def value_of(terms: Terms) -> int:
    """Return the number that a sum of products amounts to."""
    total = 0
    for factors in terms:  # loops, as this runs for each layer of a network
        value = 1
        for _, number in factors:
            value *= math.prod(number) if isinstance(number, tuple) else number
        total += value
    return total


def number_text(number: int | tuple[int, ...]) -> str:
    """Return a number or a product as `explain` writes it (`1·64·55·55`, `1,600`)."""
    if isinstance(number, tuple):
        return "·".join(map(str, number))
    return str(number) if isinstance(number, Written) else f"{number:,}"


class Formula(NamedTuple):
    """One line of `explain`: a quantity, its formula in symbols, the same with numbers, and the value."""

    quantity: str
    symbols: str
    numbers: str
    value: int | str
    note: str = ""

    @classmethod
    def of(cls, quantity: str, terms: Terms, note: str = "") -> Formula:
        """Return the line of a sum of products."""
        symbols = " + ".join(" · ".join(symbol for symbol, _ in factors) for factors in terms)
        numbers = " + ".join(" · ".join(number_text(number) for _, number in factors) for factors in terms)
        return cls(quantity, symbols, numbers, value_of(terms), note)
