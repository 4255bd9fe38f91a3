"""Formulas: arithmetic as a sum of products of named factors, which gives its value, its symbols and its numbers."""

from __future__ import annotations

import math
from typing import NamedTuple

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
