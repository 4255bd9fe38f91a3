"""Multiply-accumulates of Einstein sums."""

from __future__ import annotations

import math
from collections.abc import Sequence


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
