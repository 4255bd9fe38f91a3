"""Random generators that a model's code may draw from: PyTorch's, Python's and NumPy's, seeded and put back."""

from __future__ import annotations

import importlib
import operator
import os
import pickle
import random
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
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


def _numpy_kinds(numpy: Any) -> tuple[_Kind, _Kind, _Kind]:
    def seed_bits(generator: Any, number: int) -> None:
        generator.state = type(generator)(number).state

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
        _Kind(
            numpy.Generator,
            lambda g: g.bit_generator.state,
            write,
            lambda g, n: seed_bits(g.bit_generator, n),
            is_same,
        ),
        _Kind(
            numpy.BitGenerator,
            lambda g: g.state,
            lambda g, state: setattr(g, "state", state),
            seed_bits,
            is_same,
        ),
    )


def _numpy() -> Any:
    """Return NumPy's module of random generators; None without NumPy.

    It is loaded if NumPy is, so that what a model draws is the same whoever asks for it first.
    """
    return None if sys.modules.get("numpy") is None else importlib.import_module("numpy.random")


def _kinds() -> tuple[_Kind, ...]:
    """Return the kinds of generators of the packages that are loaded."""
    numpy = _numpy()
    return (_TORCH, _PYTHON, *(() if numpy is None else _numpy_kinds(numpy)))


@lru_cache(maxsize=4096)
def is_generator(cls: Hashable) -> bool:
    """Whether a class is one of random generators that have a state; one that asks the system each time has none."""
    assert isinstance(cls, type)
    return issubclass(cls, tuple(kind.cls for kind in _kinds())) and not issubclass(cls, random.SystemRandom)


def _common() -> list[tuple[Any, _Kind]]:
    """Return the generators that all code shares: of PyTorch, of CUDA where it is in use, of Python and NumPy."""
    common: list[tuple[Any, _Kind]] = [(torch.default_generator, _TORCH), (random, _PYTHON)]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # in PyTorch
        common += [(generator, _TORCH) for generator in torch.cuda.default_generators]
    numpy = _numpy()
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

    def seeds_of_system(self) -> tuple[int, ...]:
        """Return what generators of PyTorch were seeded with that took a seed of their own, which are long numbers."""
        seeds = (generator.initial_seed() for generator, kind in self._all if kind is _TORCH)
        return tuple(seed for seed in seeds if seed >= 2**32)

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
    """Leave the random generators as they were; seed: what they start from meanwhile, if given.

    With a seed, what the system would give (its random numbers, the time) follows from it too.
    """
    generators = Generators(others)
    if seed is not None:
        generators.seed(seed)
    try:
        with nullcontext() if seed is None else replaced(*_instead_of_the_system()):
            yield generators
    finally:
        generators.restore()


class SeededGenerator(torch.Generator):
    """A generator of PyTorch whose `seed` draws what it would take from the system."""

    def seed(self) -> int:
        """Start from a number that Python's generator gives, and return it."""
        number = random.getrandbits(31)
        self.manual_seed(number)
        return number


def _seeded(owner: Any) -> Callable[..., Any]:
    """Return a `seed` of Python's random generators that draws the seed which it would take from the system."""

    def seed(*arguments: Any, **keywords: Any) -> Any:
        original = unreplaced(owner, "seed")
        # A method is called with its object first.
        seeds = arguments if owner is random else arguments[1:]
        if any(value is not None for value in (*seeds[:1], keywords.get("a"))):
            return original(*arguments, **keywords)
        return original(*arguments[: len(arguments) - len(seeds)], random.getrandbits(64))

    return seed


def _urandom(owner: Any, name: str) -> Callable[[int], bytes]:
    """Return a function in the place of `os.urandom`, from which `secrets`, `uuid` and NumPy have their numbers too."""

    def urandom(size: int) -> bytes:
        unreplaced(owner, name)(size)  # whoever watches for it is to see it
        return random.randbytes(size)

    return urandom


_NO_MODELS = tuple(str(Path(file).parent) for file in (torch.__file__, Path(__file__).parent, os.__file__))
"""Folders whose code asks the time for its own purposes: logs, limits, measurements."""


def _is_of_model(file: str) -> bool:
    return "-packages" in file.removeprefix(_NO_MODELS[-1]) or not file.startswith(("<", *_NO_MODELS))


class _Clock:
    """The time in ns as a model is told it: at random at first, and then a few milliseconds later each time."""

    def __init__(self) -> None:
        self._now = 0

    def function(self, name: str) -> Callable[[], float]:
        """Return what stands for a function of Python's module `time`."""
        is_whole = name.endswith("_ns")

        def ask() -> float:
            real: float = unreplaced(time, name)()
            # Above this one is the switch that asks which thread calls.
            if not _is_of_model(sys._getframe(2).f_code.co_filename):
                return real
            self._now = (self._now or _SOME_TIME + random.getrandbits(58)) + 1_000_000 + random.getrandbits(20)
            return self._now if is_whole else self._now / 1e9

        return ask

    def sleep(self, seconds: float) -> None:
        """Wait, and let the time pass that a model is told."""
        unreplaced(time, "sleep")(seconds)
        self._now += int(seconds * 1e9) if self._now else 0


_SOME_TIME = 1_600_000_000 * 10**9
_CLOCKS = ("time", "time_ns", "perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns")


def _instead_of_the_system() -> tuple[tuple[Any, str, Callable[..., Any]], ...]:
    """Return what asks the system, `os.urandom` say, and what asks a shared generator in its place."""

    def seed_torch() -> int:
        number = random.getrandbits(31)
        torch.manual_seed(number)
        return number

    clock = _Clock()
    return (
        *((owner, "seed", _seeded(owner)) for owner in (random, random.Random)),
        *((owner, name, _urandom(owner, name)) for owner, name in ((os, "urandom"), (random, "_urandom"))),
        *((time, name, clock.function(name)) for name in _CLOCKS),
        (time, "sleep", clock.sleep),
        (torch, "seed", seed_torch),
    )
