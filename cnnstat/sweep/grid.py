"""The grid of a sweep: sources and the options that vary, and the points that they make, in a fixed order."""

from __future__ import annotations

import fnmatch
import glob
import random
import re
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from itertools import product
from math import prod
from typing import Any, NamedTuple

from cnnstat.errors import RequestError
from cnnstat.files import exists
from cnnstat.sources.request import Request, parse_arguments, parse_inputs, parse_variables

MAX_VALUES = 100_000
"""Most values of one option."""

MAX_POINTS = 10_000_000
"""Most points of a sweep: hours of specs. More are a slip, or a matter of `--sample`."""

AS_WRITTEN = "none"
"""The precision that leaves a network as it is written."""

_RANGE = re.compile(r"(-?\d{1,12}):(-?\d{1,12})(?::(-?\d{1,12}))?\Z")
_LIKE_RANGE = re.compile(r"(?=.*\d)[-+\d._e\s]*(?::[-+\d._e\s]*){1,3}\Z", re.IGNORECASE)
_BRACES = re.compile(r"\{([^{}]*)\}")


class Axis(NamedTuple):
    """One option that varies.

    option: the option without dashes (`set`, `arg`, `input`, `batch`, `dtype`, `deploy`).
    name: the variable, argument or input that it is about; empty for the others and for the only input.
    values: what it takes, as texts; labels: what records call them instead, if anything.
    """

    option: str
    name: str
    values: tuple[str, ...]
    labels: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What records and columns call it: the variable, or the option."""
        return self.name or self.option


class Point(NamedTuple):
    """One model of a sweep: its number in the grid, its source, and an option, a name and a value for each axis.

    labels: what records call the values, by the axes' keys.
    """

    number: int
    source: str
    settings: tuple[tuple[str, str, str], ...]
    labels: tuple[tuple[str, str], ...]

    def request(self, base: Request) -> Request:
        """Return a request with the settings applied to it; raises RequestError."""
        changes: dict[str, Any] = {}
        for option, name, value in self.settings:
            if option == "set":
                changes.setdefault("variables", dict(base.variables)).update(parse_variables([f"{name}={value}"]))
            elif option == "arg":
                changes.setdefault("arguments", dict(base.arguments)).update(parse_arguments([f"{name}={value}"]))
            elif option in ("input", "inputs"):
                # the second holds the sizes of several inputs, between spaces
                texts = value.split() if option == "inputs" else [f"{name}={value}" if name else value]
                changes.setdefault("inputs", dict(base.inputs)).update(parse_inputs(texts))
            elif option == "batch":
                changes["batch"] = int(value)
            elif option == "deploy":
                changes["deploy"] = None if value == AS_WRITTEN else value
            else:
                changes[option] = value
        return replace(base, **changes)


@dataclass(frozen=True)
class Grid:
    """All combinations of sources and axes; the source varies slowest, the last axis fastest.

    sample: numbers of the points that are taken; None for all.
    """

    sources: tuple[str, ...]
    axes: tuple[Axis, ...]
    sample: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return self.size if self.sample is None else len(self.sample)

    @property
    def size(self) -> int:
        """The number of combinations."""
        return len(self.sources) * prod(len(axis.values) for axis in self.axes)

    def __iter__(self) -> Iterator[Point]:
        if self.sample is not None:
            yield from map(self.point, self.sample)
            return
        ranges = [range(len(axis.values)) for axis in self.axes]
        each = ((source, places) for source in self.sources for places in product(*ranges))
        for number, (source, places) in enumerate(each):
            yield self._point(number, source, places)

    def check(self) -> None:
        """Raise RequestError where there are more points than a sweep can take."""
        if self.sample is None and self.size > MAX_POINTS:
            many = f"{self.size:,}" if self.size < 10**15 else f"{self.size:.0e}"
            raise RequestError(f"{many} points, {MAX_POINTS:,} at most; leave some values out, or draw with --sample N")

    def has(self, number: int) -> bool:
        """Whether a number is one of its points."""
        if self.sample is None:
            return 0 <= number < self.size
        place = bisect_left(self.sample, number)
        return place < len(self.sample) and self.sample[place] == number

    def point(self, number: int) -> Point:
        """Return the point of a number: its digits, the last axis first, in the numbers of values as bases."""
        rest, places = number, []
        for axis in reversed(self.axes):
            rest, place = divmod(rest, len(axis.values))
            places.append(place)
        return self._point(number, self.sources[rest], places[::-1])

    def _point(self, number: int, source: str, places: Sequence[int]) -> Point:
        both = [*zip(self.axes, places)]
        settings = tuple((axis.option, axis.name, axis.values[place]) for axis, place in both)
        return Point(number, source, settings, tuple((a.key, (a.labels or a.values)[place]) for a, place in both))

    def sampled(self, count: int, seed: int) -> Grid:
        """Return a grid with so many points of this one, drawn without repetition, in the same order."""
        if count < 1:
            raise RequestError(f"--sample {count}: write how many points to draw, at least 1")
        if count >= self.size:
            return self
        if self.size > sys.maxsize:
            raise RequestError(f"{self.size:.0e} points are more than can be drawn from; leave some values out")
        return replace(self, sample=tuple(sorted(random.Random(seed).sample(range(self.size), count))))


# What users write -----------------------------------------------------------------------------------------------------


def axis_values(text: str, what: str) -> tuple[str, ...]:
    """Return the values of `2,3` or `16:64:8`, which is Python's range: 16, 24, … 56; raises RequestError.

    Commas inside brackets or quotes separate nothing: `[2,2],[3,4]` are two lists.
    """
    values: list[str] = []
    for part in _split(text):
        if match := _RANGE.match(part):
            start, stop, step = int(match[1]), int(match[2]), int(match[3] or 1)
            if step == 0:
                raise RequestError(f"{what} {text[:60]}: the step is 0; write start:stop:step")
            numbers = range(start, stop, step)
            if not numbers:
                raise RequestError(f"{what} {text[:60]}: {part} holds no number; as in Python, the stop is left out")
            if len(numbers) > MAX_VALUES:
                raise RequestError(f"{what} {text[:60]}: {len(numbers):,} values; {MAX_VALUES:,} at most")
            values += map(str, numbers)
        elif _LIKE_RANGE.match(part):
            raise RequestError(
                f"{what} {text[:60]}: {part[:40]} is no range of whole numbers as 16:64:8; list the values"
            )
        else:
            values.append(part)
    if not all(values):
        raise RequestError(f"{what} {text[:60]}: a value is empty; write values as in 2,3 or 16:64:8")
    return tuple(dict.fromkeys(values))


def _split(text: str) -> list[str]:
    """Return the parts between commas that stand outside brackets and quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    return [part.strip() for part in (*parts, text[start:])]


def input_values(text: str) -> tuple[str, ...]:
    """Return the sizes that `3x{160,192,224}x=` stands for; `=` is the size before it; raises RequestError."""
    pieces = _BRACES.split(text)
    choices = [axis_values(piece, "--input") if index % 2 else (piece,) for index, piece in enumerate(pieces)]
    if prod(map(len, choices)) > MAX_VALUES:
        raise RequestError(f"--input {text[:60]}: more than {MAX_VALUES:,} sizes")
    return tuple(dict.fromkeys(_with_repeated("".join(parts)) for parts in product(*choices)))


def _with_repeated(text: str) -> str:
    """Return sizes with each `=` replaced by the size before it."""
    sizes, _, dtype = text.partition(":")
    parts = re.split("[x×]", sizes)
    for index, part in enumerate(parts):
        if part == "=":
            if index == 0:
                raise RequestError(f"--input {text[:60]}: = repeats the size before it, and there is none")
            parts[index] = parts[index - 1]
    return "x".join(parts) + (f":{dtype}" if dtype else "")


_NAMED_INPUT = re.compile(r"([A-Za-z_]\w*)=(?=[\d{])(.*)\Z", re.DOTALL)


def axes(
    *,
    set: Sequence[str] = (),
    arg: Sequence[str] = (),
    input: Sequence[str] = (),
    single: Mapping[str, str | None],
) -> tuple[Axis, ...]:
    """Return the axes of what a user writes, an option with one value too; raises RequestError.

    set, arg: texts `name=values`; input: sizes, with a name in front where there are several inputs.
    single: options that are given once (batch, dtype, deploy), with their values.
    """
    result = []
    for option, texts, example in (("set", set, "width=16:64:8"), ("arg", arg, "num_classes=10,100")):
        for text in texts:
            name, separator, values = text.partition("=")
            if not separator or not name.strip().isidentifier():
                raise RequestError(f"--{option} {text[:60]}: write name=values, as in {example}")
            result.append(Axis(option, name.strip(), axis_values(values, f"--{option} {name.strip()}")))
    inputs: dict[str, tuple[str, ...]] = {}
    for text in input:
        match = _NAMED_INPUT.match(text.strip())
        name, sizes = (match[1], match[2]) if match else ("", text.strip())
        inputs[name] = tuple(dict.fromkeys((*inputs.get(name, ()), *input_values(sizes))))
    result += [Axis("input", name, sizes) for name, sizes in inputs.items()]
    for option, text_or_none in single.items():
        if text_or_none is not None:
            result.append(Axis(option, "", axis_values(text_or_none, f"--{option}")))
    _check(result)
    return tuple(result)


def axes_of_values(
    variables: Mapping[str, Any], arguments: Mapping[str, Any], single: Mapping[str, Any]
) -> tuple[Axis, ...]:
    """Return the axes of Python values, one or several for each; None for an option that stays as the model has it.

    Raises RequestError where a value cannot be what it stands for.
    """
    result = [Axis("set", name, _texts(name, values)) for name, values in variables.items()]
    result += [Axis("arg", name, _texts(name, values, repr)) for name, values in arguments.items()]
    for option, values in single.items():
        if values is not None:
            result.append(Axis(option, "", _input_texts(values) if option == "input" else _texts(option, values)))
    _check(result)
    return tuple(result)


def _texts(name: str, values: Any, text: Callable[[Any], str] = str) -> tuple[str, ...]:
    several = values if isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping)) else (values,)
    result = tuple(dict.fromkeys(text(value) for value in several))
    if not result:
        raise RequestError(f"{name} has no value; give at least one")
    return result


def _input_texts(values: Any) -> tuple[str, ...]:
    """Return sizes as texts: of `"3x224x224"`, `(3, 224, 224)`, or several of them in a list."""
    if isinstance(values, str):
        return input_values(values)
    if all(isinstance(size, int) for size in values):
        values = [values]
    texts = (each if isinstance(each, str) else "x".join(map(str, each)) for each in values)
    return tuple(dict.fromkeys(size for text in texts for size in input_values(text)))


def _check(result: Sequence[Axis]) -> None:
    seen: dict[str, Axis] = {}
    for axis in result:
        if axis.key in seen:
            both = f"--{seen[axis.key].option} and --{axis.option}"
            where = f"twice by --{axis.option}" if seen[axis.key].option == axis.option else f"by {both}"
            raise RequestError(f"{axis.key} is given {where}; write all its values behind one")
        seen[axis.key] = axis
        if axis.option == "deploy":
            from cnnstat.analysis.transforms.deploy import check_precision  # seldom asked for

            for value in axis.values:
                if value != AS_WRITTEN:
                    check_precision(value)
        if axis.option == "batch" and (wrong := [v for v in axis.values if not v.isdecimal() or int(v) < 1]):
            raise RequestError(f"--batch {wrong[0][:60]}: write whole numbers, as in --batch 1,8,32")
    known = {"input", *(field.name for field in fields(Request))}
    for axis in result:
        if axis.option not in ("set", "arg") and axis.option not in known:
            raise RequestError(f"--{axis.option} cannot vary in a sweep")


def expanded_sources(texts: Sequence[str]) -> tuple[str, ...]:
    """Return sources with patterns replaced by what they match: `specs/*.yaml`, `torchvision:resnet*`, `vgg*`.

    Raises RequestError where a pattern matches nothing.
    """
    result: list[str] = []
    for text in texts:
        if glob.escape(text) == text or exists(text):  # a file may be called net[1].yaml
            result.append(text)
            continue
        matches = _matches(text)
        if not matches:
            raise RequestError(
                f"{text[:100]}: matches no file, no network of the zoo and no model of a library{_why(text)}"
            )
        result += matches
    return tuple(dict.fromkeys(result))


def _why(pattern: str) -> str:
    from cnnstat.sources.other_tools import LIBRARIES

    library = pattern.partition(":")[0]
    is_missing = library in LIBRARIES and find_spec(library) is None
    return f"; {library} is not installed, pip install 'cnnstat[torch]' {library}" if is_missing else ""


def _matches(pattern: str) -> list[str]:
    from cnnstat.sources import zoo
    from cnnstat.sources.other_tools import LIBRARIES, library_models

    if pattern.partition(":")[0] in LIBRARIES:
        return sorted(fnmatch.filter(library_models(), pattern))
    return [*fnmatch.filter(zoo.names(), pattern), *sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207  # a pattern may be absolute, or climb
