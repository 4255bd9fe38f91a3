"""Einstein sums: their multiply-accumulates, and which axes of their operands their results go along with."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cnnstat.ir.window import IDENTITY, Reads


def einsum_macs(equation: str, shapes: Sequence[tuple[int, ...]]) -> int:
    """Return the multiply-accumulates of an Einstein sum of two operands, as PyTorch computes it.

    A letter that only one operand and not the result has is summed up beforehand; without a letter that both share and
    the result lacks, it is an element-wise product.
    """
    left, _, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != 2 or len(shapes) != 2:
        return 0
    sizes: dict[str, int] = {}
    letters: list[set[str]] = []
    for term, shape in zip(terms, shapes):
        head, dots, tail = term.partition("...")
        extra = len(shape) - len(head) - len(tail)
        names = [*head, *(f".{place}" for place in range(extra, 0, -1)), *tail] if dots else [*term]
        for name, size in zip(names, shape):
            sizes[name] = max(size, sizes.get(name, 1))
        letters.append(set(names))
    kept = {*result} - {"."} | {name for name in sizes if name.startswith(".")}
    if "->" not in equation:
        counts = "".join(terms)
        kept |= {name for name in sizes if counts.count(name) == 1}
    shared = letters[0] & letters[1]
    if not shared - kept:
        return 0
    return math.prod(size for name, size in sizes.items() if name in shared or name in kept)


def einsum_reads(equation: str, shapes: Sequence[tuple[int, ...]], rank: int) -> tuple[Reads, ...] | None:
    """Return how a result of so many axes reads each operand: an axis goes along with those that have its letter."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if (
        not arrow
        or len(terms) != len(shapes)
        or any(term.count(letter) > 1 for term in terms for letter in result.replace(".", ""))
    ):
        return None  # a diagonal: one index is a position along two axes
    output = _letters(result, rank)
    return tuple(_term_reads(_letters(term, len(shape)), output) for term, shape in zip(terms, shapes))


def _letters(term: str, rank: int) -> list[str]:
    """Return a name for each axis of a term; those of an ellipsis are numbered from the back."""
    before, dots, after = term.partition("...")
    if not dots:
        return list(term)
    hidden = rank - len(before) - len(after)
    return [*before, *(str(number) for number in range(hidden, 0, -1)), *after]


def _term_reads(term: list[str], result: list[str]) -> Reads:
    return tuple((term.index(letter), IDENTITY) if letter in term else None for letter in result)
