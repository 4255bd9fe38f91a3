"""Random generators that a model's code may draw from: PyTorch's, Python's and NumPy's, seeded and put back."""

from __future__ import annotations

import datetime
import importlib
import operator
import os
import pickle
import random
import sys
import time
import uuid
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from inspect import unwrap
from pathlib import Path
from types import ModuleType
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

    def are_seeded_with(self, seed: int) -> bool:
        """Whether PyTorch's generators were last seeded with this seed, and by no one else."""
        return all(generator.initial_seed() == seed % 2**32 for generator, kind in self._all if kind is _TORCH)

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

    def urandom(size: int, *_: Any) -> bytes:
        unreplaced(owner, name)(size)  # whoever watches for it is to see it
        return random.randbytes(size)

    return urandom


_NOISE = ((os, "urandom"), (random, "_urandom"), *([(os, "getrandom")] if hasattr(os, "getrandom") else ()))

_NO_MODELS = tuple(str(Path(file).parent) for file in (torch.__file__, Path(__file__).parent, os.__file__))
"""Folders whose code asks the time for its own purposes: logs, limits, measurements."""


def _is_of_model(file: str) -> bool:
    return "-packages" in file.removeprefix(_NO_MODELS[-1]) or not file.startswith(("<", *_NO_MODELS))


class _Clock:
    """The time in ns as a model is told it: at random at first, and then a few milliseconds later each time."""

    def __init__(self) -> None:
        self._now = 0

    def now(self) -> int:
        """Return the time, which passes."""
        self._now = (self._now or _SOME_TIME + random.getrandbits(58)) + 1_000_000 + random.getrandbits(20)
        return self._now

    def function(self, name: str) -> Callable[..., Any]:
        """Return what stands for a function of Python's module `time`."""
        is_whole = name.endswith("_ns")

        def ask(*arguments: Any) -> Any:
            real = unreplaced(time, name)(*arguments)
            # Above this one is the switch that asks which thread calls.
            if not _is_of_model(sys._getframe(2).f_code.co_filename):
                return real
            if name in _CALENDARS:
                return unreplaced(time, name)(*(arguments or [self.now() / 1e9]))
            return self.now() if is_whole else self.now() / 1e9

        return ask

    def date(self, zone: Any = None) -> datetime.datetime:
        """Stand for `datetime.now`."""
        return datetime.datetime.fromtimestamp(self.now() / 1e9, zone)

    def sleep(self, seconds: float) -> None:
        """Wait, and let the time pass that a model is told."""
        unreplaced(time, "sleep")(seconds)
        self._now += int(seconds * 1e9) if self._now else 0


_SOME_TIME = 1_600_000_000 * 10**9
_CALENDARS = ("localtime", "gmtime", "ctime")
_CLOCKS = tuple(
    name
    for clock in ("time", "perf_counter", "monotonic", "process_time", "thread_time", "clock_gettime")
    for name in (clock, f"{clock}_ns")
    if hasattr(time, name)
)


class _AnyDate(type):
    """Takes the instances of the class that a stand-in stands for as its own."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls.__mro__[1])


class Datetime(datetime.datetime, metaclass=_AnyDate):
    """Stands for `datetime` in the code of a model; its own functions cannot be replaced, those of this one can."""

    now, utcnow, today = map(staticmethod, (datetime.datetime.now, datetime.datetime.utcnow, datetime.datetime.today))  # type: ignore[assignment]


class Date(datetime.date, metaclass=_AnyDate):
    """The same for `date`."""

    today = staticmethod(datetime.date.today)  # type: ignore[assignment]


class _Process(int):
    """The number of the process as a model is told it: at random, and equal to any that it has been told before."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Process) or other in (int(self), unreplaced(os, "getpid")())

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = int.__hash__


def _process() -> Callable[[], int]:
    """Return what stands for `os.getpid`."""
    told: list[int] = []

    def getpid() -> int:
        real: int = unreplaced(os, "getpid")()
        if not _is_of_model(sys._getframe(2).f_code.co_filename):
            return real
        if not told:
            told.append(_Process(300 + random.getrandbits(15)))
        return told[0]

    return getpid


def _instead_of_the_system() -> tuple[tuple[Any, str, Callable[..., Any]], ...]:
    """Return what asks the system, `os.urandom` say, and what asks a shared generator in its place."""

    def seed_torch() -> int:
        number = random.getrandbits(31)
        torch.manual_seed(number)
        return number

    clock = _Clock()
    return (
        *((owner, "seed", _seeded(owner)) for owner in (random, random.Random)),
        *((owner, name, _urandom(owner, name)) for owner, name in _NOISE),
        *((time, name, clock.function(name)) for name in (*_CLOCKS, *_CALENDARS)),
        *((Datetime, name, clock.date) for name in ("now", "today")),
        (Datetime, "utcnow", lambda: clock.date(datetime.timezone.utc).replace(tzinfo=None)),
        (Date, "today", lambda: clock.date().date()),
        (os, "getpid", _process()),
        (uuid, "uuid1", lambda *_, **__: uuid.UUID(int=random.getrandbits(128), version=1)),
        (time, "sleep", clock.sleep),
        (torch, "seed", seed_torch),
    )


def _dates() -> ModuleType:
    """Return what stands for the module `datetime` in the code of a model."""
    result = ModuleType("datetime")
    vars(result).update({**vars(datetime), "datetime": Datetime, "date": Date})
    return result


DATES: dict[int, Any] = {id(datetime): _dates(), id(datetime.datetime): Datetime, id(datetime.date): Date}
"""What stands for the module `datetime` and its classes, by the identity of each."""

SYSTEM_CALLS: dict[int, tuple[Any, str]] = {
    id(unwrap(unreplaced(owner, name))): (owner, name)
    for owner, names in ((time, (*_CLOCKS, *_CALENDARS, "sleep")), (os, ("urandom", "getpid")), (uuid, ("uuid1",)))
    for name in names
}
"""Functions that ask the system, by identity: where a model has imported one itself, it is found by this."""
