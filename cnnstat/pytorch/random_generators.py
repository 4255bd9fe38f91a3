"""Random generators that a model's code may draw from: PyTorch's, Python's and NumPy's, seeded and put back."""

from __future__ import annotations

import operator
import pickle
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any, NamedTuple

import torch

from cnnstat.pytorch.thread_changes import replaced, unreplaced


class _Kind(NamedTuple):
    """A class of random generators, how a state is read, set and compared, and how one is seeded."""

    cls: type
    read: Callable[[Any], Any]
    write: Callable[[Any, Any], Any]
    seed: Callable[[Any, int], Any]
    is_same: Callable[[Any, Any], bool]


_TORCH = _Kind(
    torch.Generator,
    torch.Generator.get_state,
    torch.Generator.set_state,
    torch.Generator.manual_seed,
    torch.equal,
)
# The modules have functions of the same names for the generators that all code shares.
_PYTHON = _Kind(
    random.Random,
    lambda g: g.getstate(),
    lambda g, state: g.setstate(state),
    lambda g, n: g.seed(n),
    operator.eq,
)


def _numpy_kinds(numpy: Any) -> tuple[_Kind, _Kind]:
    def seed(generator: Any, number: int) -> None:
        generator.bit_generator.state = type(generator.bit_generator)(number).state

    def write(generator: Any, state: Any) -> None:
        generator.bit_generator.state = state

    # States have arrays in them, which say of each element whether it is equal.
    def is_same(old: Any, new: Any) -> bool:
        return pickle.dumps(old) == pickle.dumps(new)

    return (
        _Kind(
            numpy.RandomState,
            lambda g: g.get_state(),
            lambda g, state: g.set_state(state),
            lambda g, n: g.seed(n),
            is_same,
        ),
        _Kind(numpy.Generator, lambda g: g.bit_generator.state, write, seed, is_same),
    )


def _kinds() -> tuple[_Kind, ...]:
    """Return the kinds of generators of the packages that are loaded."""
    numpy = sys.modules.get("numpy.random")
    return (_TORCH, _PYTHON, *(() if numpy is None else _numpy_kinds(numpy)))


def generator_kinds() -> frozenset[type]:
    """Return the classes of random generators of the packages that are loaded."""
    return frozenset(kind.cls for kind in _kinds())


def _common() -> list[tuple[Any, _Kind]]:
    """Return the generators that all code shares: of PyTorch, of CUDA where it is in use, of Python and NumPy."""
    common: list[tuple[Any, _Kind]] = [(torch.default_generator, _TORCH), (random, _PYTHON)]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # in PyTorch
        common += [(generator, _TORCH) for generator in torch.cuda.default_generators]
    numpy: Any = sys.modules.get("numpy.random")
    return common if numpy is None else [*common, (numpy, _numpy_kinds(numpy)[0])]


class Generators:
    """The random generators that all code shares, and others, with the states they had."""

    def __init__(self, others: Iterable[Any] = ()) -> None:
        kinds = _kinds()
        own = [(each, next(kind for kind in kinds if isinstance(each, kind.cls))) for each in others]
        self._all = [*_common(), *own]
        self._states = self._read()

    def _read(self) -> list[Any]:
        return [kind.read(generator) for generator, kind in self._all]

    def seed(self, seed: int) -> None:
        """Give all of them the states that follow from a seed; NumPy's take 32 bits of it."""
        for generator, kind in self._all:
            kind.seed(generator, seed % 2**32)

    def restore(self) -> None:
        """Give all of them the states they had."""
        for (generator, kind), state in zip(self._all, self._states):
            kind.write(generator, state)

    @contextmanager
    def watched(self) -> Iterator[list[Any]]:
        """Yield a list that has, at the end, the generators that numbers were drawn from meanwhile."""
        drawn: list[Any] = []
        before = self._read()
        yield drawn
        for (generator, kind), old, new in zip(self._all, before, self._read()):
            if not kind.is_same(old, new):
                drawn.append(generator)


@contextmanager
def same_random_numbers(seed: int | None = None, others: Iterable[Any] = ()) -> Iterator[Generators]:
    """Leave the random generators as they were; seed: what they start from meanwhile, if given."""
    generators = Generators(others)
    if seed is not None:
        generators.seed(seed)
    try:
        with nullcontext() if seed is None else replaced(*_with_drawn_seeds("numpy.random" in sys.modules)):
            yield generators
    finally:
        generators.restore()


_OF_NUMPY = ("default_rng", "seed", "RandomState", "SeedSequence", "PCG64", "MT19937", "Philox", "SFC64")
_SEEDS = ("a", "x", "seed", "entropy")
"""What functions that take a seed call it."""


def _seeded(original: Callable[..., Any], draw: Callable[[], int]) -> Callable[..., Any]:
    """Return a function that draws the seed which it would take from the system."""

    def seeded(*arguments: Any, **keywords: Any) -> Any:
        given = [*arguments[:1], *(keywords[name] for name in _SEEDS if name in keywords)]
        if any(value is not None for value in given):
            return original(*arguments, **keywords)
        others = {name: value for name, value in keywords.items() if name not in _SEEDS}
        return original(draw(), *arguments[1:], **others)

    return seeded


@cache
def _with_drawn_seeds(has_numpy: bool) -> tuple[tuple[Any, str, Callable[..., Any]], ...]:
    """Return what takes its seed from the system, `random.Random()` say, and what draws it from a shared generator."""

    def seed_torch() -> int:
        number = random.getrandbits(63)
        torch.manual_seed(number)
        return number

    def draw() -> int:
        return random.getrandbits(64)

    functions = [(random, name, _seeded(unreplaced(random, name), draw)) for name in ("seed", "Random")]
    if has_numpy:
        numpy: Any = sys.modules["numpy.random"]
        original = {name: unreplaced(numpy, name) for name in _OF_NUMPY}
        functions += [(numpy, n, _seeded(each, lambda: int(numpy.randint(2**31)))) for n, each in original.items()]
    return *functions, (torch, "seed", seed_torch)
