"""Growing lists: layers each of which reads all that came before, as in DenseNet, with a list for what they read."""

from __future__ import annotations

from collections.abc import Container, Sequence

from cnnstat.export.pytorch.variables import Step
from cnnstat.ir.graph import Edge

LIST, ARGUMENTS = "features", "tensors"
"""What the list is called, and the arguments of a method that takes any number of them."""
SHORTEST = 3
"""Fewest layers that get a list."""


def growing_run(steps: Sequence[Step], first: int, taken: Container[str]) -> int:
    """Return how many steps from one on each read what it reads, and the results of those between; 0 for too few.

    taken: names of variables; where one of them is called as the list is, there is none.
    """
    if LIST in taken:
        return 0
    reads: tuple[Edge, ...] = steps[first].reads
    end = first
    while end < len(steps) and steps[end].reads == reads and len(steps[end].makes) == 1:
        reads += steps[end].makes
        end += 1
    run = end - first - 1  # the last of them is who reads the list
    return run if run >= SHORTEST and steps[first].reads else 0


def collapsed(text: str, name: str, count: int) -> str:
    """Return a text in which the first `count` members of a list, one after the other, are the list."""
    members = ", ".join(f"{name}[{number}]" for number in range(count))
    for tuple_text in (f"(({members}), ", f"(({members},), "):
        text = text.replace(tuple_text, f"({name}, ")
    return text.replace(f"({members})", f"(*{name})").replace(f"({members}, ", f"(*{name}, ")
