"""Recorded calls as lines of Python: chains of calls become one expression, as far as a line reaches."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cnnstat.export.entries import unused
from cnnstat.export.pytorch.local_variables import in_a_row, variable_name
from cnnstat.ir.recorded_call import (
    ConstantNumber,
    InputNumber,
    OwnDevice,
    RecordedCall,
    RecordedCalls,
    ResultOf,
    SliceOf,
    StoredName,
    TorchName,
    values_of,
)

LONGEST = 88
"""Longest expression that is not taken apart."""

_SYMBOLS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "true_divide": "/", "__truediv__": "/", "matmul": "@",
    "__matmul__": "@", "pow": "**", "__pow__": "**", "__floordiv__": "//", "__add__": "+", "__sub__": "-",
    "__mul__": "*", "gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!=", "remainder": "%",
    "__gt__": ">", "__ge__": ">=", "__lt__": "<", "__le__": "<=", "__eq__": "==", "__ne__": "!=",
}  # fmt: skip
"""Methods of two operands with the operators that call them."""
_TURNED = {"__rsub__": "-", "__rdiv__": "/", "__rtruediv__": "/", "__rpow__": "**", "__radd__": "+", "__rmul__": "*"}
"""The same with the operands the other way round."""


_LIBRARIES = ("aten", "mkldnn", "prim", "prims", "quantized", "sparse", "torchvision")
"""Whose operations a file can call: those of PyTorch, and torchvision's, which it imports."""


def foreign_operation(recorded: RecordedCalls) -> str:
    """Return the operation of another library that is called, an empty text if there is none."""
    parts = (call.function.split(".") for call in recorded.calls if call.function.startswith("ops."))
    return next((".".join(names[1:3]) for names in parts if names[1] not in _LIBRARIES), "")


class Text(NamedTuple):
    """An expression; is_atom: whether it can be called, indexed and multiplied as it stands."""

    text: str
    is_atom: bool = True

    def __str__(self) -> str:
        """The expression as an operand."""
        return self.text if self.is_atom else f"({self.text})"


@dataclass
class Lines:
    """The lines of one recorded, and what its results are.

    reads: the names of the node's inputs; stored, constants: how stored tensors (by name) and constants are reached.
    taken: names that no variable can have.
    """

    recorded: RecordedCalls
    reads: Sequence[str]
    stored: Callable[[str], str]
    constants: Callable[[int], str]
    taken: Collection[str]
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Count how often each result is used."""
        used = [value for call in self.recorded.calls for value in values_of(call)]
        self._uses = Counter(value.call for value in (*used, *self.recorded.results) if isinstance(value, ResultOf))
        changes = [number for number, call in enumerate(self.recorded.calls) if _changes(call)]
        self._settled = max(changes, default=-1)
        self._pending: dict[int, Text] = {}
        self._names: dict[int, str] = {}

    def written(self) -> tuple[list[str], str, str]:
        """Return the lines before the last, the last expression, and how its results are nested (see `Layer`)."""
        last = len(self.recorded.calls) - 1
        for number in range(last):
            self._add(number)
        results = self.recorded.results
        pattern = in_a_row(len(results))
        if last >= 0:
            paths = [value.path for value in results if isinstance(value, ResultOf) and value.call == last]
            is_whole = paths == [(number,) for number in range(len(results))] and len(results) > 1
            call = self.recorded.calls[last]
            if is_whole or paths == [()] == [()] * len(results):
                return self.lines, self._expression(last), pattern
            if len(results) == 1 and results[0] == (call.arguments or (None,))[0] and not call.function.endswith("__"):
                return self.lines, self._expression(last), pattern  # it returns what it changed
            self._add(last)
        return self.lines, ", ".join(self._value(result).text for result in results), pattern

    def _add(self, number: int) -> None:
        """Take one call: as a line, or as an expression for the call that uses it."""
        call = self.recorded.calls[number]
        text = self._expression(number)
        if not self._uses[number]:
            self.lines.append(text)
            return
        if number > self._settled and self._uses[number] == 1:
            self._pending[number] = Text(text, _is_atom(call))
            return
        self._bind(number, text)

    def _bind(self, number: int, text: str) -> None:
        self._names[number] = self._name(number)
        self.lines.append(f"{self._names[number]} = {text}")

    def _expression(self, number: int) -> str:
        """Return the text of a call; operands that make it too long get names."""
        call = self.recorded.calls[number]
        text = self._call(call)
        while len(text) > LONGEST:
            used = [v.call for v in values_of(call) if isinstance(v, ResultOf) and v.call in self._pending]
            if not used:
                break
            longest = max(used, key=lambda each: len(self._pending[each].text))
            self._bind(longest, self._pending.pop(longest).text)
            text = self._call(call)
        return text

    def _name(self, number: int) -> str:
        """Return a name for the result of a call: of the stored tensor it comes from, or else of its function."""
        stored = next((v.name for v in self._behind(number) if isinstance(v, StoredName)), "")
        parts = self.recorded.calls[number].function.removesuffix(".default").split(".")
        name = variable_name(stored.rpartition(".")[2]) or variable_name(parts[-1].strip("_")) or "made"
        # A variable whose last use this is can be used again.
        here = {v.call for v in values_of(self.recorded.calls[number]) if isinstance(v, ResultOf)}
        later = {
            v.call for call in self.recorded.calls[number + 1 :] for v in values_of(call) if isinstance(v, ResultOf)
        }
        later |= {value.call for value in self.recorded.results if isinstance(value, ResultOf)}
        live = {own for each, own in self._names.items() if each in later or each not in here}
        return unused(name, {*self.taken, *live}, "")

    def _behind(self, number: int) -> list[Any]:
        """Return what a call is given, and what the calls before it are given."""
        values: list[Any] = []
        for value in values_of(self.recorded.calls[number]):
            values += self._behind(value.call) if isinstance(value, ResultOf) else [value]
        return values

    # Texts -----------------------------------------------------------------------------------------------------------

    def _call(self, call: RecordedCall) -> str:
        home, _, name = call.function.partition(".")
        if home == "Tensor" and call.arguments and not isinstance(call.arguments[0], (int, float)):
            return self._method(name, call)
        function = call.function if home in ("F", "torch") else f"torch.{call.function.removesuffix('.default')}"
        return f"{function}({self._arguments(call.arguments, call.keywords)})"

    def _method(self, name: str, call: RecordedCall) -> str:
        first, *rest = call.arguments
        receiver = self._value(first)
        if name.endswith(".get"):
            return f"{receiver}.{name.removesuffix('.get')}"
        if name == "__getitem__":
            return f"{receiver}[{self._index(rest[0])}]"
        if name == "__setitem__":
            return f"{receiver}[{self._index(rest[0])}] = {self._value(rest[1]).text}"
        if len(rest) == 1 and not call.keywords and name in (*_SYMBOLS, *_TURNED):
            other = self._value(rest[0])
            if name in _SYMBOLS:
                return f"{receiver} {_SYMBOLS[name]} {other}"
            return f"{other} {_TURNED[name]} {receiver}"
        if name == "neg" and not rest:
            return f"-{receiver}"
        return f"{receiver}.{name}({self._arguments(rest, call.keywords)})"

    def _arguments(self, arguments: Sequence[Any], keywords: tuple[tuple[str, Any], ...]) -> str:
        written = [self._value(value).text for value in arguments]
        return ", ".join((*written, *(f"{name}={self._value(value).text}" for name, value in keywords)))

    def _index(self, index: Any) -> str:
        parts = index if isinstance(index, tuple) and index else (index,)
        return ", ".join(self._slice(part) if isinstance(part, SliceOf) else self._value(part).text for part in parts)

    def _slice(self, part: SliceOf) -> str:
        start, stop, step = ("" if v is None else self._value(v).text for v in (part.start, part.stop, part.step))
        return f"{start}:{stop}" + (f":{step}" if step not in ("", "1") else "")

    def _value(self, value: Any) -> Text:
        if isinstance(value, InputNumber):
            return Text(self.reads[value.number])
        if isinstance(value, ResultOf):
            own = self._names.get(value.call)
            text = Text(own) if own is not None else self._pending[value.call]
            return Text(f"{text}" + "".join(f"[{place}]" for place in value.path)) if value.path else text
        if isinstance(value, StoredName):
            return Text(self.stored(value.name))
        if isinstance(value, ConstantNumber):
            return Text(self.constants(value.number))
        if isinstance(value, OwnDevice):
            return Text(self._device())
        return Text(*self._plain(value))

    def _plain(self, value: Any) -> tuple[str, bool]:
        """Return the text of a value that is no tensor, and whether it can be multiplied as it stands."""
        if isinstance(value, TorchName):
            return f"torch.{value.name}", True
        if isinstance(value, SliceOf):
            return f"slice({', '.join(self._value(v).text for v in (value.start, value.stop, value.step))})", True
        if isinstance(value, (tuple, list)):
            inner = ", ".join(self._value(each).text for each in value)
            if isinstance(value, list):
                return f"[{inner}]", True
            return (f"({inner},)" if len(value) == 1 else f"({inner})"), True
        if isinstance(value, float) and not math.isfinite(value):
            return f'float("{value}")', True
        return "..." if value is ... else repr(value), not (isinstance(value, (int, float)) and value < 0)

    def _device(self) -> str:
        """Return how the device of what the calls read is written."""
        if self.reads:
            return f"{self.reads[0]}.device"
        stored = next((self.stored(each.name) for each in self.recorded.stored), "")
        return f"{stored}.device" if stored else 'torch.device("cpu")'


def _changes(call: RecordedCall) -> bool:
    """Whether a call changes what it is given, or makes something else each time, so that its place matters."""
    name = call.function.removesuffix(".default").rpartition(".")[2]
    is_in_place = name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
    # Some functions take `inplace` by its place.
    is_told = call.function.startswith("F.") and True in call.arguments
    return is_in_place or is_told or any(key in ("out", "inplace") for key, _ in call.keywords) or "rand" in name


def _is_atom(call: RecordedCall) -> bool:
    """Whether the text of a call can be called, indexed and multiplied as it stands."""
    name = call.function.partition(".")[2]
    if not call.function.startswith("Tensor."):
        return True
    is_operator = len(call.arguments) == 2 and not call.keywords and name in (*_SYMBOLS, *_TURNED)
    return not is_operator and name != "neg"
