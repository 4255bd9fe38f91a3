"""Entries: the items of a spec before they are text, with arguments that can still be told from one another."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, NamedTuple

from cnnstat.ir.graph import Node, usual_dtype
from cnnstat.ir.op import Family, Op, Shape, Shapes, Storage
from cnnstat.ir.window import IDENTITY, Index, InPart, Piece, Reads, RowMajor, Window
from cnnstat.ops.traced import Applied, Recorded, Tensors


class Expression(NamedTuple):
    """A text that a spec evaluates, such as `4 * width`."""

    text: str


class Argument(NamedTuple):
    """An argument: its value, its default (MISSING where there is none), and whether it is written without its name."""

    name: str
    value: Any
    default: Any = MISSING
    is_positional: bool = False
    is_text: bool = False


class Call(NamedTuple):
    """A layer or a block with its arguments."""

    callee: str
    arguments: tuple[Argument, ...] = ()

    def __str__(self) -> str:
        """The call as a spec writes it."""
        written = self.written(lambda argument: spec_value(argument.value, argument.is_text))
        return f"{self.callee}({written})" if written else self.callee

    def written(self, text: Callable[[Argument], str]) -> str:
        """Return the arguments that differ from their defaults; text: that of a value."""
        return ", ".join(
            text(each) if each.is_positional else f"{each.name}={text(each)}"
            for each in self.arguments
            if each.is_positional or each.value != each.default or type(each.value) is not type(each.default)
        )


def spec_value(value: Any, is_text: bool = False) -> str:
    """Return a value as an expression; words that are texts, not arguments of layers, get quotes."""
    if isinstance(value, Expression):
        return value.text
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(spec_value(each, is_text) for each in value)}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str) and (is_text or not value.isidentifier()):
        return repr(value)  # `nearest-exact` would be a difference
    return str(value)


def call_of(op: Op) -> Call:
    """Return the call of an op of the library."""
    declared = fields(op)  # type: ignore[arg-type]  # every registered op is a dataclass
    arguments = (
        Argument(f.name, getattr(op, f.name), f.default, f.default is MISSING and not f.kw_only) for f in declared
    )
    return Call(op.kind, tuple(arguments))


def unused(name: str, taken: Container[str], separator: str = "_") -> str:
    """Return a name, with a number behind it if it is taken."""
    free, count = name, 1
    while free in taken:
        count += 1
        free = f"{name}{separator}{count}"
    return free


@dataclass(slots=True, eq=False)
class Entry:
    """An item: a layer or block (`call`), a group (one list), a join (`call` and its branches), or a repetition.

    label: the name in front; None where the automatic one will do.
    reads: what stands behind `from:`; keys: what else stands beside the item.
    learns: whether its weights are learnt; None where it has none.
    path: the full name of a group. repeat, variable: how often a group runs, and what counts.
    """

    label: str | None = None
    call: Call | None = None
    lists: list[list[Entry]] | None = None
    reads: list[str] | None = None
    keys: dict[str, Any] = field(default_factory=dict)
    learns: bool | None = None
    path: str = ""
    repeat: int | None = None
    variable: str = ""

    @property
    def is_group(self) -> bool:
        """Whether it is a list of items with a name."""
        return self.call is None and self.lists is not None

    @property
    def inner(self) -> Iterator[Entry]:
        """The entries directly within this one."""
        for entries in self.lists or ():
            yield from entries

    def walk(self) -> Iterator[Entry]:
        """Yield this entry and all within it, each before what it holds."""
        yield self
        for entry in self.inner:
            yield from entry.walk()


Keys = dict[str, Any]


def stated(
    node: Node, scope: str, inputs: Shapes, dtypes: tuple[str, ...], model: str, count: int
) -> tuple[Call | None, Keys]:
    """Return the call of a node, None for one that is no layer of the library, and the keys that stand beside it.

    scope: with a dot behind, where the layer stands; names of its tensors leave it and the layer's own name out.
    inputs, dtypes: shapes and dtypes it reads; model: the model's dtype; count: how many tensors it makes.
    """
    call, keys = _stated_op(node, scope, inputs, dtypes, model, count)
    if node.computed_bytes:
        keys["weight_bytes"] = node.computed_bytes
    if node.copies:
        copies = dict(node.copies)
        keys["copied_inputs"] = [copies.get(place, 0) for place in range(max(copies) + 1)]
    if node.overwrites is not None:
        keys["overwrites"] = node.overwrites
    return call, keys


def _stated_op(
    node: Node, scope: str, inputs: Shapes, dtypes: tuple[str, ...], model: str, count: int
) -> tuple[Call | None, Keys]:
    op, within = node.op, f"{node.name}."
    if any(tensor.startswith(within) for tensor, _ in (*getattr(op, "tensors", ()), *getattr(op, "stored", ()))):
        scope = within
    if isinstance(op, Applied):
        usual = replace(op, result_dtypes=()).dtypes(dtypes, model, count)
        return call_of(op.op), {**_applied(node, op, scope, len(inputs)), **_dtype(op.result_dtypes, usual)}
    if isinstance(op, Recorded):
        return None, {**_opaque(node, op, scope, inputs), **_dtype(op.result_dtypes, (model,) * len(op.outputs))}
    return call_of(op), _weight_dtype(node, inputs, model)


def _weight_dtype(node: Node, inputs: Shapes, model: str) -> Keys:
    """Return the dtypes of a layer's own tensors, where they are not the usual ones: one word if that says it."""
    if not node.dtypes:
        return {}
    stored = {name: node.dtype_of(name, model) for name in (*node.op.weights(inputs), *node.op.buffers(inputs))}
    first = next(iter(stored.values()), model)
    if all(dtype == usual_dtype(name, first) for name, dtype in stored.items()):
        return {"weight_dtype": first}
    return {"weight_dtype": {name: dtype for name, dtype in stored.items() if dtype != usual_dtype(name, model)}}


def _applied(node: Node, op: Applied, scope: str, input_count: int) -> Keys:
    left = dict(op.tensors)
    values = (*op.values, *(None,) * len(op.operands))
    operands = [_operand(operand, value, left, node, scope) for operand, value in zip(op.operands, values)]
    keys: Keys = {}
    if operands != [_input(number) for number in range(input_count)]:
        keys["operands"] = operands
    keys.update(_tensors("parameters", tuple(left.items()), scope, node))
    keys.update(_tensors("buffers", op.stored, scope, node))
    if "operands" not in keys and "parameters" not in keys:
        keys["parameters"] = {}
    keys.update({"weight_dtype": node.dtypes[""]} if "" in node.dtypes else {})
    keys.update({"weight_macs": op.extra.macs} if op.extra.macs else {})
    keys.update({"weight_flops": op.extra.other_count} if op.extra.other_count else {})
    return keys


def _operand(operand: int | Shape, value: float | None, left: dict[str, Shape], node: Node, scope: str) -> Any:
    """Return one operand; a learnt tensor of its very shape is taken for it, and out of `left`."""
    if isinstance(operand, int):
        return _input(operand)
    if value is not None:
        return value
    names = [name for name, shape in left.items() if shape == operand and name not in node.op.frozen]
    if len(names) != 1:
        return list(operand)
    del left[names[0]]
    return {names[0].removeprefix(scope): _tensor(names[0], operand, node)}


def _input(number: int) -> str:
    return f"input[{number}]" if number else "input"


def _tensor(name: str, shape: Shape, node: Node) -> Any:
    """Return the sizes of a stored tensor, and what else is not as usual."""
    keys: Keys = {"frozen": True} if name in node.op.frozen else {}
    keys |= {"dtype": node.dtypes[name]} if name in node.dtypes else {}
    keys |= {"saved": False} if name in node.transient else {}
    return {"shape": list(shape), **keys} if keys else list(shape)


def _tensors(key: str, tensors: Tensors, scope: str, node: Node) -> Keys:
    written = {name.removeprefix(scope): _tensor(name, shape, node) for name, shape in tensors}
    return {key: written} if written else {}


def _dtype(dtypes: tuple[str, ...], usual: tuple[str, ...]) -> Keys:
    if not dtypes or dtypes == usual:
        return {}
    return {"dtype": dtypes[0] if len(set(dtypes)) == 1 else list(dtypes)}


def _opaque(node: Node, op: Recorded, scope: str, inputs: Shapes) -> Keys:
    keys: Keys = {"opaque": op.function}
    if inputs:
        keys["inputs"] = list(map(list, inputs))
    keys |= {"output": list(op.outputs[0])} if len(op.outputs) == 1 else {"outputs": list(map(list, op.outputs))}
    keys |= _tensors("parameters", op.tensors, scope, node) | _tensors("buffers", op.stored, scope, node)
    keys |= {"macs": op.work.macs} if op.work.macs else {}
    keys |= {"flops": dict(op.work.others)} if op.work.others else {}
    keys |= {"family": op.family.value} if op.family is not Family.OTHER else {}
    keys |= {"storage": op.place.value} if op.place is not Storage.FRESH else {}
    keys |= {"reads": list(map(_reads, op.reads))} if op.reads and _are_known(op, inputs) else {}
    keys |= {"weighted": True} if op.counted_as_weighted else {}
    keys |= {} if op.modelled else {"counted": False}
    return keys


def _are_known(op: Recorded, inputs: Shapes) -> bool:
    """Whether it is known how the output reads the inputs, and anything comes of that."""
    if op.reads is None or len(op.reads) != len(inputs):
        return False
    if not any(isinstance(reads, RowMajor) or any(reads) for reads in op.reads):
        return False
    return len({len(shape) for shape in op.outputs}) == 1


def _reads(reads: Reads) -> list[Any] | str:
    """Return how the output axes read one input."""
    if isinstance(reads, RowMajor):
        return "row_major"
    written: list[Any] = []
    for entry in reads:
        if entry is None or entry[1] == IDENTITY:
            written.append(entry and entry[0])
        elif isinstance(entry[1], Window):
            taps = ([tap.start, tap.stop, tap.step] for tap in entry[1].taps)
            written.append([entry[0], entry[1].advance, *taps])
        elif isinstance(entry[1], Piece):
            written.append([entry[0], "piece", entry[1].start])
        elif isinstance(entry[1], Index):
            written.append([entry[0], "index", entry[1].position])
        else:
            written.append([entry[0], type(entry[1]).__name__.lower()])
    return [*written, "in_part"] if isinstance(reads, InPart) else written
