"""Module state: the lines that register parameters and buffers, their values, and how each is reached."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from keyword import iskeyword
from textwrap import wrap
from typing import Any

from cnnstat.analysis.shapes import Values
from cnnstat.errors import CnnstatError, OpError, printable
from cnnstat.export.entries import unused
from cnnstat.export.pytorch.local_variables import variable_name
from cnnstat.ir.graph import Graph, Node, usual_dtype
from cnnstat.ir.op import Shape, Shapes, numel
from cnnstat.ir.recorded_call import RecordedCalls, Stored
from cnnstat.ir.scopes import prefixes
from cnnstat.ops.traced import Applied, Recorded


def has_mixed_dtypes(graph: Graph) -> bool:
    """Whether stored tensors or constants have other dtypes than the model's, so that no one `to` gives them all."""
    if any(node.dtypes for node in graph.nodes):
        return True
    recorded = [node.recorded for node in graph.nodes if isinstance(node.recorded, RecordedCalls)]
    dtypes = {each.dtype for calls in recorded for each in calls.stored}
    dtypes |= {each.dtype for calls in recorded for each in calls.constants}
    # `to` leaves whole numbers as they are.
    return any(_is_number(dtype) and dtype != graph.dtype for dtype in dtypes)


def stated_tensors(
    node: Node, op: Applied | Recorded, operands: Container[int | float | str], model: str
) -> RecordedCalls:
    """Return the tensors that a spec states of a call: learnt ones that are operands, or all of an opaque call.

    model: the dtype of those whose own is not stated.
    """
    is_opaque = isinstance(op, Recorded)
    learnt = [
        Stored(name, shape, node.dtype_of(name, model), is_parameter=True, is_learnt=name not in op.frozen)
        for name, shape in op.tensors
        if is_opaque or name in operands
    ]
    other = [
        Stored(name, shape, node.dtype_of(name, model), is_parameter=False)
        for name, shape in (op.stored if is_opaque else ())
    ]
    return RecordedCalls((), (), (*learnt, *other))


def register_stored(
    node: Node,
    recorded: RecordedCalls,
    scope: str,
    placed: set[str],
    tables: Tables,
    attribute: Callable[[str], str],
    *,
    is_mixed: bool,
) -> Iterator[str]:
    """Yield the lines that register the stored tensors and constants of recorded calls; raises CnnstatError.

    scope: with a dot behind, where the lines stand; placed: full names of the tensors that are registered already, to
    which these are added; tables: get the values; attribute: returns a label as modules can have it; is_mixed: whether
    parameters are made in their own dtypes, not in float32.
    """
    try:
        for each in recorded.stored:
            if each.name not in placed:
                placed.add(each.name)
                label = attribute(each.name.removeprefix(scope))
                yield registration(label, _stored_text(each, tables, is_mixed), each.is_persistent)
        for number, constant in enumerate(recorded.constants):
            label = constant_label(node, number)
            value = tables.text(constant.value, constant.shape, constant.dtype, label)
            yield registration(label, value, False)
    except OpError as error:
        raise not_exported(node, error) from None


def not_exported(node: Node, reason: object) -> CnnstatError:
    """Return the error of a layer of which it is not known what it computes."""
    return CnnstatError(printable(f"{node.name} ({node.op.kind}): {reason}; export it to yaml instead"))


def _is_number(dtype: str) -> bool:
    return dtype.startswith(("float", "bfloat", "complex"))


def _stored_text(stored: Stored, tables: Tables, is_mixed: bool) -> str:
    if not stored.is_parameter:
        is_weight = stored.is_persistent and _is_number(stored.dtype)
        if stored.value is None and not is_weight and stored.name.rpartition(".")[2] != "num_batches_tracked":
            raise OpError(f"the buffer {stored.name} has no values; give the model memory")
        return tables.text(stored.value, stored.shape, stored.dtype, stored.name, is_weight=is_weight)
    if not _is_number(stored.dtype):
        return f"nn.Parameter(torch.zeros({stored.shape}, dtype=torch.{stored.dtype}), requires_grad=False)"
    sizes = ", ".join(map(str, stored.shape)) or "()"
    passing = "" if stored.is_learnt else ", requires_grad=False"
    if not is_mixed or stored.dtype == "float32":
        return f"nn.Parameter(torch.randn({sizes}) * 0.02{passing})"
    if stored.dtype.startswith("float8"):  # PyTorch draws none of these
        return f"nn.Parameter((torch.randn({sizes}) * 0.02).to(torch.{stored.dtype}){passing})"
    return f"nn.Parameter(torch.randn({sizes}, dtype=torch.{stored.dtype}) * 0.02{passing})"


def dtype_to_build(node: Node, inputs: Shapes, model: str) -> str:
    """Return the dtype that the module of a layer is made in: the first of its tensors' that PyTorch can draw."""
    dtypes = (node.dtype_of(name, model) for name in node.op.weights(inputs))
    drawn = (dtype for dtype in dtypes if _is_number(dtype) and not dtype.startswith("float8"))
    return next(drawn, "float32")


def dtype_lines(node: Node, inputs: Shapes, model: str, module: str, built: str) -> Iterator[str]:
    """Yield the lines that give the tensors of a layer's module other dtypes than the one it is made in.

    module: how it is reached; built: the dtype that it is made in.
    """
    weights = node.op.weights(inputs)
    for name in (*weights, *node.op.buffers(inputs)):
        dtype = node.dtype_of(name, model)
        if dtype == usual_dtype(name, built):
            continue
        tensor = f"{module}.{name}"
        if name in weights and not _is_number(dtype):
            yield f"{tensor} = nn.Parameter({tensor}.to(torch.{dtype}), requires_grad=False)"
        else:
            yield f"{tensor}.data = {tensor}.data.to(torch.{dtype})"


def registration(label: str, value: str, is_persistent: bool = True) -> str:
    """Return the line that registers a parameter or buffer."""
    is_parameter, passing = value.startswith("nn.Parameter("), "" if is_persistent else ", persistent=False"
    if value.isidentifier():
        value += (
            ".clone()"  # a table that is written once: each buffer has memory of its own, to load a state dict into
        )
    if is_attribute(label):
        return f"self.{label} = {value}" if is_parameter else f"self.register_buffer({quoted(label)}, {value}{passing})"
    return f"place(self, {quoted(label)}, {value}{passing})"


def stored_access(label: str, kind: str) -> str:
    """Return how a parameter or buffer is reached; kind: which of the two."""
    return f"self.{label}" if all(map(is_attribute, label.split("."))) else f"self.get_{kind}({quoted(label)})"


def constant_label(node: Node, number: int) -> str:
    """Return what a constant of a layer is called."""
    return f"{variable_name(node.name.rpartition('.')[2]) or 'layer'}_constant{number or ''}"


def module_tensors(graph: Graph, values: Values) -> set[str]:
    """Return the full names of the tensors that belong to modules of layers."""
    return {
        f"{node.name}.{name}"
        for node, inputs in zip(graph.nodes, values.inputs)
        if node.recorded is None and not isinstance(node.op, (Applied, Recorded))
        for name in (*node.op.weights(inputs), *node.op.buffers(inputs))
    }


def is_attribute(label: str) -> bool:
    """Whether a label can be written as an attribute, which Python takes for the same name within a class."""
    # Python takes `ﬁ` for `fi`, and gives `__conv` the name of the class.
    is_private = label.startswith("__") and not label.endswith("__")
    return label.isidentifier() and label.isascii() and not iskeyword(label) and not is_private


def quoted(label: str) -> str:
    """Return a label as Python text."""
    return repr(label) if not label.isprintable() or set(label) & set('"\\') else f'"{label}"'


def access_text(label: str) -> str:
    """Return how a module under a label, which may have dots, is reached."""
    return f"self.{label}" if all(map(is_attribute, label.split("."))) else f"self.get_submodule({quoted(label)})"


def broken_scopes(graph: Graph) -> set[str]:
    """Return the scopes that no class can hold, since what is inside uses weights from outside, or the reverse."""
    broken: set[str] = set()
    for node in graph.nodes:
        others = [] if node.shares is None else [graph.nodes[node.shares].name]
        if isinstance(node.recorded, RecordedCalls):
            others = [each.name for each in node.recorded.stored]
        elif isinstance(node.op, (Applied, Recorded)):
            others += [name for name, _ in node.op.tensors if "." in name]
        for other in others:
            is_tied = node.shares is not None and node.recorded is None
            broken |= set(prefixes(node.name)) ^ set(prefixes(other)) if is_tied else set()
            if not is_tied:
                broken |= set(prefixes(node.name)) - set(prefixes(other))
    return broken


def operands_of(node: Node, op: Applied, input_count: int) -> tuple[int | float | str, ...]:
    """Return the operands of a call; raises CnnstatError where the graph does not say what they are."""
    try:
        return op.operand_names(input_count)
    except OpError as error:
        raise not_exported(node, error) from None


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
    texts: dict[str, str] = field(default_factory=dict)

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
        unpacking = f'unpack(\n    "{code}", torch.{dtype}, {_sizes(shape)},\n{lines})'
        return self._name(label, unpacking)

    def _name(self, label: str, unpacking: str) -> str:
        """Return the name of a table, the same for equal ones."""
        for name, text in self.texts.items():
            if text == unpacking:
                return name
        word = "".join(c if c.isalnum() and c.isascii() else "_" for c in label.rpartition(".")[2]).strip("_").upper()
        name = word if word[:1].isalpha() else f"TABLE_{word}".rstrip("_")
        name = unused(name, self.taken)
        self.taken.add(name)
        self.texts[name] = unpacking
        return name


def _sizes(shape: Shape) -> str:
    return f"({shape[0]},)" if len(shape) == 1 else f"({', '.join(map(str, shape))})"


def _number(value: Any) -> str:
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
