"""Tables: the values of buffers and constants as Python text, those that are long packed and written once."""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Any

from cnnstat.errors import OpError
from cnnstat.ir.op import Shape, numel

UNPACK = '''def unpack(kind, dtype, shape, text):
    """Return a tensor from a packed text."""
    numbers = array.array(kind, zlib.decompress(base64.b85decode(text)))
    return torch.tensor(numbers, dtype=dtype).reshape(shape)
'''
IMPORTS = ("import array", "import base64", "import zlib")

MOST_WRITTEN = 12
"""More numbers than these are packed."""
LONGEST_PACKED = 2**16
"""Longest text of packed numbers."""
LONGEST_WEIGHTS = 2**11
"""The same for numbers that are in the state dict anyway, as those of a frozen norm."""
_WIDTH = 92


@dataclass
class Tables:
    """The packed tables of a file by name; taken: names that none of them can have."""

    taken: set[str]
    found: dict[str, str] = field(default_factory=dict)

    def text(self, value: Any, shape: Shape, dtype: str, label: str, *, is_weight: bool = False) -> str:
        """Return the expression that makes a tensor; raises OpError where it is too large for a file.

        value: the tensor, None for zeros; label: what its table is called; is_weight: whether a state dict has it.
        """
        kind = "" if dtype == "float32" else f", dtype=torch.{dtype}"
        zeros = f"torch.zeros({_sizes(shape)}{kind})"
        if value is None or not numel(shape):
            return zeros
        numbers = value.flatten().tolist()
        if all(each == numbers[0] for each in numbers):
            filled = {0: zeros, 1: f"torch.ones({_sizes(shape)}{kind})"}
            return filled.get(numbers[0], f"torch.full({_sizes(shape)}, {_number(numbers[0])}, dtype=torch.{dtype})")
        if numbers == list(range(len(numbers))) and dtype == "int64":
            return f"torch.arange({len(numbers)})" + (f".reshape({_sizes(shape)})" if len(shape) != 1 else "")
        if len(numbers) <= MOST_WRITTEN:
            written = f"torch.tensor([{', '.join(map(_number, numbers))}], dtype=torch.{dtype})"
            return written + (f".reshape({_sizes(shape)})" if len(shape) != 1 else "")
        code, packed = _packed(numbers, dtype)
        if is_weight and len(packed) > LONGEST_WEIGHTS:
            return zeros
        if len(packed) > LONGEST_PACKED:
            raise OpError(f"{label} holds {len(numbers)} numbers, too many to write into a file")
        lines = "".join(f'    "{line}"\n' for line in wrap(packed, _WIDTH, break_on_hyphens=False))
        made = f'unpack(\n    "{code}", torch.{dtype}, {_sizes(shape)},\n{lines})'
        return self._name(label, made)

    def _name(self, label: str, made: str) -> str:
        """Return the name of a table, the same for equal ones."""
        for name, text in self.found.items():
            if text == made:
                return name
        word = "".join(c if c.isalnum() and c.isascii() else "_" for c in label.rpartition(".")[2]).strip("_").upper()
        name = word if word[:1].isalpha() else f"TABLE_{word}".rstrip("_")
        found, count = name, 1
        while found in self.taken:
            count += 1
            found = f"{name}_{count}"
        self.taken.add(found)
        self.found[found] = made
        return found


def _sizes(shape: Shape) -> str:
    """Return a shape as Python text."""
    return f"({shape[0]},)" if len(shape) == 1 else f"({', '.join(map(str, shape))})"


def _number(value: Any) -> str:
    """Return a number as Python text."""
    return f'float("{value}")' if value in (float("inf"), -float("inf")) or value != value else repr(value)


def _packed(numbers: list[Any], dtype: str) -> tuple[str, str]:
    """Return the kind of numbers as in Python's arrays, and the numbers packed; raises OpError for complex ones."""
    if any(isinstance(each, complex) for each in numbers):
        raise OpError("a table of complex numbers cannot be written into a file")
    if any(isinstance(each, float) for each in numbers):
        code = "d" if dtype == "float64" else "f"
    else:
        code = "h" if all(-(2**15) <= each < 2**15 for each in numbers) else "q"
    data = zlib.compress(struct.pack(f"<{len(numbers)}{code}", *numbers), 9)
    return code, base64.b85encode(data).decode("ascii")
