"""Hypothesis strategies for the arguments of any op; those it draws need not fit."""

import itertools
import math
from dataclasses import MISSING, fields

from hypothesis import strategies as st

CHANNELS = (1, 2, 3, 4, 6, 8, 12)


def divisors(number):
    return [d for d in range(1, number + 1) if number % d == 0]


def permutations(shape):
    return st.permutations(range(len(shape))).map(tuple)


def factors(draw, number):
    """Sizes whose product is `number`; sometimes one of them is −1."""
    sizes = []
    while number > 1 and len(sizes) < 3:
        sizes.append(draw(st.sampled_from(divisors(number))))
        number //= sizes[-1]
    sizes.append(number)
    if draw(st.booleans()):
        sizes[draw(st.integers(0, len(sizes) - 1))] = -1
    return tuple(sizes)


def partition(draw, length):
    """Positive numbers that add up to `length`."""
    cuts = sorted(draw(st.sets(st.integers(1, length - 1), max_size=3))) if length > 1 else []
    return tuple(b - a for a, b in itertools.pairwise([0, *cuts, length]))


def axis(shape):
    return st.integers(-len(shape), len(shape) - 1)


def by_name(draw, name, shape, given):
    """An argument whose sensible values depend on the input's shape; None where they do not."""
    channels = shape[1] if len(shape) > 1 else 1
    if name in ("groups", "num_groups"):
        return draw(st.sampled_from(divisors(channels)))
    if name == "num_heads":
        return draw(st.sampled_from(divisors(shape[-1])))
    if name == "out_channels":
        return draw(st.sampled_from(CHANNELS))
    if name == "num_parameters":
        return draw(st.sampled_from((1, channels)))
    if name in ("dim", "dim0", "dim1", "start_dim", "end_dim"):
        return draw(axis(shape))
    if name == "dims":
        return draw(permutations(shape))
    if name == "normalized_shape":
        return tuple(shape[draw(st.integers(len(shape) > 1, len(shape) - 1)) :])
    if name == "unflattened_size":
        return factors(draw, shape[given["dim"]])
    if name == "shape":
        return factors(draw, math.prod(shape[1:]))
    if name == "sections":
        return partition(draw, shape[given.get("dim", -1)])
    if name == "table":
        rows = st.sets(st.integers(0, channels - 1), min_size=1)
        return tuple(tuple(sorted(draw(rows))) for _ in range(given["out_channels"]))
    if name in ("p", "dropout"):
        return draw(st.sampled_from((0.0, 0.1, 0.5)))
    if name == "eps":
        # Newer releases of PyTorch refuse to train with 0.
        return draw(st.sampled_from((1e-5, 1e-3)))
    if name == "momentum":
        # With None PyTorch reads its step counter, which a tensor on the meta device has not.
        return 0.2
    if name == "scale_factor":
        return draw(st.sampled_from((0.5, 0.7, 1, 1.5, 2, 3.0)))
    return None


def by_kind(schema, length):
    """Values that a JSON Schema allows; lists have `length` entries."""
    if "anyOf" in schema:
        return st.one_of(*(by_kind(part, length) for part in schema["anyOf"]))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "array":
        return st.lists(by_kind(schema["items"], length), min_size=length, max_size=length).map(tuple)
    if schema["type"] == "integer":
        low = schema.get("minimum", -2)
        return st.integers(low, low + 4)
    if schema["type"] == "number":
        low, high = schema.get("minimum", -1.0), schema.get("maximum", 3.0)
        return st.sampled_from(
            [v for v in (0.5, 1.0, 1.5, 2.0, low, high, 0.01) if v > schema.get("exclusiveMinimum", -9)]
        )
    return {"boolean": st.booleans(), "null": st.none()}[schema["type"]]


@st.composite
def arguments(draw, kind, shape):
    """Keyword arguments of an op for an input of this shape; they need not fit."""
    given = {}
    # Axes first: sizes of other arguments depend on them.
    for field in sorted(fields(kind), key=lambda f: f.name != "dim"):
        if field.default is not MISSING and draw(st.booleans()):
            continue
        value = by_name(draw, field.name, shape, given)
        if value is None:
            value = draw(by_kind(field.metadata["kind"].schema, max(1, len(shape) - 2)))
        given[field.name] = value
    return given
