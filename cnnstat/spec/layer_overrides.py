"""Layer overrides: what a spec states about single layers beyond their arguments.

`operands:` gives a layer numbers, constants and learnt tensors to work on beside its inputs; `opaque:` stands for a
call that is no layer of the library.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from cnnstat.analysis.shapes import check_input_count
from cnnstat.errors import CnnstatError, OpError, did_you_mean
from cnnstat.ir.graph import check_dtype
from cnnstat.ir.op import Family, Op, Shape, Storage
from cnnstat.ir.window import (
    MAX_PERIOD,
    STATISTIC,
    UNFOLLOWED,
    WHOLE,
    AxisRule,
    Index,
    InPart,
    Piece,
    Reads,
    RowMajor,
    Window,
)
from cnnstat.ir.work import Work
from cnnstat.ops.traced import Applied, Opaque, Tensors
from cnnstat.spec import tree as yaml
from cnnstat.spec.expressions import is_number, is_whole_number
from cnnstat.spec.items import OPAQUE
from cnnstat.spec.scope import Scope
from cnnstat.spec.tree import Scalar, Tree, fail

OPAQUE_KEYS = (
    OPAQUE, "inputs", "output", "outputs", "parameters", "buffers", "dtype", "macs", "flops", "family", "storage",
    "reads", "weighted", "counted", "weight_bytes", "copied_inputs",
)  # fmt: skip
"""Keys of an opaque call."""

MAX_COUNT = 2**62
MAX_SIZE = 2**40 - 1
"""Largest size of an axis, so that products of a few sizes stay numbers that can be printed."""

T = TypeVar("T")
E = TypeVar("E", bound=Enum)

_CALL = re.compile(r"[\w.-]{1,100}\Z")
_INPUT = re.compile(r"input(?:\[(\d{1,4})\])?\Z")

RULES: dict[str, AxisRule] = {"whole": WHOLE, "statistic": STATISTIC, "unfollowed": UNFOLLOWED}
"""Rules of an axis that are one word."""


@dataclass(frozen=True, slots=True)
class LayerOverrides:
    """Keys with their values as written, and the scope of the layer that they stand beside."""

    keys: Mapping[str, Tree]
    scope: Scope

    def applied(self, op: Op, input_count: int) -> Applied:
        """Return a layer with its operands; raises SpecError."""
        operands, values, tensors = self._operands(input_count)
        # Operands take the place of inputs, so how many there are is known here first, before any shape.
        try:
            check_input_count(op, len(operands))
        except OpError as error:
            fail(next(iter(self.keys.values())).location, f"{op.kind} {error} or operands:")
        parameters, frozen = self._tensors("parameters")
        return Applied(
            op=op,
            operands=operands,
            values=values,
            extra=Work(self._count("weight_macs")) + Work.other("element-wise", self._count("weight_flops")),
            result_dtypes=self._dtypes(),
            tensors=(*tensors, *parameters),
            stored=self._tensors("buffers")[0],
            frozen=frozen,
        )

    def opaque(self) -> Opaque:
        """Return an opaque call; raises SpecError."""
        parameters, frozen = self._tensors("parameters")
        return Opaque(
            function=self._function(),
            inputs=self._each("inputs", self._shape),
            outputs=self._outputs(),
            work=self._work(),
            family=self._word("family", Family.OTHER),
            place=self._word("storage", Storage.FRESH),
            reads=self._each("reads", self._reads),
            modelled=self._flag("counted", True),
            counted_as_weighted=self._flag("weighted", False),
            result_dtypes=self._dtypes(),
            tensors=parameters,
            stored=self._tensors("buffers")[0],
            frozen=frozen,
        )

    def tensor_dtypes(self) -> dict[str, str]:
        """Return the dtypes that are stated for stored tensors, by name; an empty name stands for all others."""
        tree = self.keys.get("weight_dtype")
        if tree is not None and not isinstance(tree, yaml.Mapping):
            return {"": self._dtype(tree)}
        result = {} if tree is None else {name: self._dtype(value) for name, (_, value) in tree.entries.items()}
        for name, keys in self._tensor_keys():
            if (dtype := keys.get("dtype")) is not None:
                result[name] = self._dtype(dtype)
        return result

    def transient(self) -> frozenset[str]:
        """Return the names of the buffers that a state dict leaves out, which are written with `saved: false`."""
        flags = ((name, keys.get("saved")) for name, keys in self._tensor_keys())
        return frozenset(name for name, flag in flags if flag is not None and self.scope.value(flag) is False)

    def computed_bytes(self) -> int:
        """Return the bytes of the weights that are computed for the call."""
        return self._count("weight_bytes", unit="bytes")

    def copies(self) -> tuple[tuple[int, int], ...]:
        """Return the numbers of the inputs that PyTorch copies first, and the bytes of the copies."""
        tree = self.keys.get("copied_inputs")
        sizes = [] if tree is None else self._list(tree)
        numbers = [self._count("copied_inputs", size, unit="bytes") for size in sizes]
        return tuple((place, number) for place, number in enumerate(numbers) if number)

    def overwrites(self, input_count: int) -> int | None:
        """Return the number of the input whose place the output takes; None where the op says it."""
        tree = self.keys.get("overwrites")
        if tree is None:
            return None
        number = self._count("overwrites", unit="inputs")
        if number >= input_count:
            fail(tree.location, f"overwrites: {number} is none of its {input_count} inputs, which are counted from 0")
        return number

    def _tensor_keys(self) -> Iterator[tuple[str, yaml.Mapping]]:
        """Yield name and keys of the stored tensors that are written as mappings."""
        listed = self.keys.get("operands")
        operands = listed.items if isinstance(listed, yaml.Sequence) else []
        for tree in (self.keys.get("parameters"), self.keys.get("buffers"), *operands):
            for name, (_, value) in tree.entries.items() if isinstance(tree, yaml.Mapping) else ():
                if isinstance(value, yaml.Mapping):
                    yield name, value

    def _dtype(self, tree: Tree) -> str:
        try:
            return check_dtype(tree.text if isinstance(tree, Scalar) else "")
        except CnnstatError as error:
            fail(tree.location, str(error))

    # Operands --------------------------------------------------------------------------------------------------------

    def _operands(self, input_count: int) -> tuple[tuple[int | Shape, ...], tuple[float | None, ...], Tensors]:
        """Return operands, the values of those that are numbers, and the learnt tensors among them."""
        if "operands" not in self.keys:
            return tuple(range(input_count)), (None,) * input_count, ()
        operands: list[int | Shape] = []
        values: list[float | None] = []
        tensors: list[tuple[str, Shape]] = []
        for entry in self._list(self.keys["operands"]):
            values.append(None)
            match = _INPUT.match(entry.text) if isinstance(entry, Scalar) else None
            if match is not None:
                if (number := int(match[1] or 0)) >= input_count:
                    fail(entry.location, f"the layer has {input_count} inputs; input[0] is the first")
                operands.append(number)
            elif isinstance(entry, yaml.Mapping):
                learnt, _ = self._named_tensors(entry)
                tensors += learnt
                operands += [shape for _, shape in learnt]
                values += [None] * (len(learnt) - 1)
            elif isinstance(entry, yaml.Sequence):
                operands.append(self._shape(entry))
            else:
                values[-1] = self._number(entry)
                operands.append(())
        return tuple(operands), tuple(values), tuple(tensors)

    def _number(self, entry: Tree) -> float:
        value: float = self.scope.value(entry)
        if not is_number(value):
            fail(entry.location, "an operand is input, input[1], a number, sizes, or {name: sizes} for a learnt tensor")
        return value

    # Tensors ---------------------------------------------------------------------------------------------------------

    def _tensors(self, key: str) -> tuple[Tensors, frozenset[str]]:
        tree = self.keys.get(key)
        if tree is None:
            return (), frozenset()
        if not isinstance(tree, yaml.Mapping):
            fail(tree.location, f"{key}: takes names with sizes, as in {{weight: [64, 3, 3, 3]}}")
        return self._named_tensors(tree)

    def _named_tensors(self, tree: yaml.Mapping) -> tuple[Tensors, frozenset[str]]:
        """Return tensors written as `name: sizes` or `name: {shape: sizes, frozen: true, dtype: int8}`."""
        tensors, frozen = [], set()
        for name, (_, value) in tree.entries.items():
            shape: Tree | None = value
            if isinstance(value, yaml.Mapping):
                for unknown in value.unknown_keys(("shape", "frozen", "dtype", "saved")):
                    fail(value.location, unknown.message)
                shape = value.get("shape")
                if (flag := value.get("frozen")) is not None and self.scope.value(flag):
                    frozen.add(name)
            if shape is None:
                fail(value.location, "a tensor needs shape:, as in {shape: [64], frozen: true}")
            tensors.append((name, self._shape(shape)))
        return tuple(tensors), frozenset(frozen)

    def _outputs(self) -> tuple[Shape, ...]:
        one, several = self.keys.get("output"), self.keys.get("outputs")
        if (one is None) == (several is None):
            place = one or self.keys[OPAQUE]
            fail(place.location, "an opaque call states either output: or outputs:, batch included")
        return (self._shape(one),) if one is not None else self._each("outputs", self._shape) or ()

    def _shape(self, tree: Tree) -> Shape:
        sizes = self.scope.value(tree)
        sizes = sizes if isinstance(sizes, list) else [sizes]
        if not all(is_whole_number(size, MAX_SIZE) for size in sizes):
            fail(tree.location, "sizes are whole numbers, batch included, as in [1, 64, 56, 56]")
        return tuple(sizes)

    def _each(self, key: str, read: Callable[[Tree], T]) -> tuple[T, ...] | None:
        return None if key not in self.keys else tuple(map(read, self._list(self.keys[key])))

    def _list(self, tree: Tree) -> list[Tree]:
        return tree.items if isinstance(tree, yaml.Sequence) else fail(tree.location, "this takes a list")

    # Words and counts ------------------------------------------------------------------------------------------------

    def _function(self) -> str:
        tree = self.keys[OPAQUE]
        if not isinstance(tree, Scalar) or not _CALL.match(tree.text):
            fail(tree.location, "opaque: takes the name of the call, of letters, digits, _, - and dots")
        return tree.text

    def _word(self, key: str, default: E) -> E:
        tree = self.keys.get(key)
        if tree is None:
            return default
        words = [choice.value for choice in type(default)]
        text = tree.text if isinstance(tree, Scalar) else ""
        if text not in words:
            hint = did_you_mean(text, words) or f"; use one of {', '.join(words)}"
            fail(tree.location, f"there is no {key} {text[:60]}{hint}")
        return type(default)(text)

    def _flag(self, key: str, default: bool) -> bool:
        tree = self.keys.get(key)
        value = default if tree is None else self.scope.value(tree)
        if not isinstance(value, bool):
            fail(self.keys[key].location, f"{key}: takes true or false")
        return value

    def _dtypes(self) -> tuple[str, ...]:
        tree = self.keys.get("dtype")
        if tree is None:
            return ()
        return tuple(map(self._dtype, tree.items if isinstance(tree, yaml.Sequence) else [tree]))

    def _count(self, key: str, tree: Tree | None = None, unit: str = "operations") -> int:
        """Return a number of operations or bytes, 0 unless written."""
        tree = tree or self.keys.get(key)
        value = 0 if tree is None else self.scope.value(tree)
        if tree is not None and not is_whole_number(value, MAX_COUNT):
            fail(tree.location, f"{key}: takes a whole number of {unit}, not negative")
        return int(value)

    def _work(self) -> Work:
        macs, others = self._count("macs"), self.keys.get("flops")
        if isinstance(others, yaml.Mapping):
            return Work(macs, tuple((kind, self._count("flops", count)) for kind, (_, count) in others.entries.items()))
        return Work(macs) + Work.other("other", self._count("flops"))

    # Receptive fields ------------------------------------------------------------------------------------------------

    def _reads(self, tree: Tree) -> Reads:
        if isinstance(tree, yaml.Scalar) and self.scope.value(tree, ("row_major",)) == "row_major":
            return RowMajor()
        items = self._list(tree)
        if items and isinstance(items[-1], yaml.Scalar) and self.scope.value(items[-1], ("in_part",)) == "in_part":
            return InPart(map(self._axis, items[:-1]))
        return tuple(map(self._axis, items))

    def _axis(self, tree: Tree) -> tuple[int, AxisRule] | None:
        """Return the rule of one axis: `null`, `2`, `[2, whole]`, or `[2, advance, [first, end, step], …]`."""
        value = self.scope.value(tree, (*RULES, "piece", "index"))
        if value is None:
            return None
        axis, *rest = value if isinstance(value, list) and value else [value]
        if not is_whole_number(axis, MAX_SIZE):
            fail(tree.location, "an axis is a number from 0, or null where the output axis comes from no single one")
        if not rest:
            return axis, Window((range(1),), 1)
        if len(rest) == 1 and rest[0] in RULES:
            return axis, RULES[rest[0]]
        if len(rest) == 2 and rest[0] == "piece" and is_whole_number(rest[1], MAX_SIZE):
            return axis, Piece(rest[1])
        if len(rest) == 2 and rest[0] == "index" and is_whole_number(rest[1], MAX_SIZE):
            return axis, Index(rest[1])
        advance, *taps = rest
        # An axis that is counted from its other end has a negative stride.
        if (
            not is_whole_number(abs(advance) if type(advance) is int else advance, MAX_SIZE)
            or not 1 <= len(taps) <= MAX_PERIOD
            or not all(map(_is_range, taps))
        ):
            fail(tree.location, "an axis is written as 2, as [2, whole], or as [2, stride, [first, end, step]]")
        return axis, Window(tuple(range(*tap) for tap in taps), advance)


def _is_range(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 3 or any(type(number) is not int for number in value):
        return False
    first, end, step = value
    return bool(step > 0 and max(abs(first), abs(end), step) <= MAX_SIZE)
