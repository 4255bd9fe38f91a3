"""Layers in PyTorch: what builds the module of an op, and what calls it, as Python text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, NamedTuple

from cnnstat.export.entries import Argument, Call, Expression
from cnnstat.ir.op import Op, Shapes, Storage

CUSTOM_MODULES = (
    "BinaryStep", "ScaledTanh", "StochasticDepth", "Crop", "CenterCrop", "CropLike", "TrainableSubsampling2d",
    "ConnectionTableConv2d", "EuclideanRBF",
)  # fmt: skip
"""Ops without a module of PyTorch, whose code an exported file brings along."""

_POSITIONAL = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "in_features",
    "out_features",
    "num_features",
    "output_size",
    "normalized_shape",
)
"""Arguments that are clear without their names; PyTorch takes them in this order."""
_ALWAYS = {"dim": MISSING, "batch_first": False, "chunks": MISSING, "split_size_or_sections": MISSING}
"""Arguments whose defaults differ between ops and their PyTorch twins, with PyTorch's."""
_LISTS = ("torch.cat", "torch.stack")
_SYMBOLS = {"torch.add": "+", "torch.sub": "-", "torch.mul": "*", "torch.div": "/"}
_METHODS = ("torch.permute", "torch.transpose", "torch.squeeze", "torch.unsqueeze")
"""Functions that read better as methods, with their arguments in order."""
_PAIRS = ("torch.maximum", "torch.minimum")


class Layer(NamedTuple):
    """A layer: what builds its module (None for a mere function), and the ways its results are nested.

    pattern: the targets of an assignment, by the numbers of the outputs.
    """

    constructor: Call | None
    pattern: str = "{0}"


def layer_of(op: Op, inputs: Shapes, output_count: int) -> Layer:
    """Return the layer of an op of the library."""
    if op.kind == "LSTM":
        return Layer(_constructor("nn.LSTM", op, inputs), "{0}, ({1}, {2})")
    if op.kind == "MultiheadAttention":
        return Layer(_attention(op, inputs), "{0}, {1}" if output_count > 1 else "{0}, _")
    pattern = ", ".join(f"{{{number}}}" for number in range(output_count))
    pattern = f"{pattern}," if output_count == 1 and op.kind in ("Split", "Chunk") else pattern
    if op.kind in CUSTOM_MODULES:
        return Layer(_constructor(op.kind, op, inputs), pattern)
    is_module = op.torch.startswith("torch.nn.") and not op.torch.startswith("torch.nn.functional.")
    if is_module and op.kind != "ResizeLike":
        return Layer(_constructor(op.torch.removeprefix("torch."), op, inputs), pattern)
    return Layer(None, pattern)


def _constructor(callee: str, op: Op, inputs: Shapes) -> Call:
    """Return the call that builds a module; arguments with PyTorch's defaults are left out when it is written."""
    defaults = {} if callee in CUSTOM_MODULES else _defaults(op)
    arguments = []
    is_positional = True
    for name, value in op.torch_arguments(inputs).items():
        is_positional = is_positional and name in _POSITIONAL and callee not in CUSTOM_MODULES
        default = _ALWAYS.get(name, defaults.get(name, MISSING))
        arguments.append(Argument(name, value, default, is_positional))
    return Call(callee, tuple(arguments))


def _attention(op: Op, inputs: Shapes) -> Call:
    """Return the call that builds multi-head attention; sizes of keys and values stand in it if they are others."""
    call = _constructor("nn.MultiheadAttention", op, inputs)
    arguments = {argument.name: argument._replace(is_positional=False) for argument in call.arguments}
    embed_dim = arguments.pop("embed_dim")
    first = (embed_dim._replace(is_positional=True), arguments.pop("num_heads")._replace(is_positional=True))
    rest = [a for a in arguments.values() if a.name not in ("kdim", "vdim") or a.value != embed_dim.value]
    return Call(call.callee, (*first, *rest))


def _defaults(op: Op) -> dict[str, Any]:
    """Return the defaults of an op's arguments."""
    return {f.name: f.default for f in fields(op)}  # type: ignore[arg-type]  # every registered op is a dataclass


def call_text(call: Call) -> str:
    """Return a call as Python text."""
    written = []
    for name, value, default, is_positional, _ in call.arguments:
        if is_positional:
            written.append(value_text(value))
        elif default is MISSING or value != default or type(value) is not type(default):
            written.append(f"{name}={value_text(value)}")
    return f"{call.callee}({', '.join(written)})"


def value_text(value: Any) -> str:
    """Return a value as Python text."""
    if isinstance(value, Expression):
        return value.text
    if isinstance(value, (tuple, list)):
        inner = ", ".join(map(value_text, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return "..." if value is ... else repr(value)


# Calls ---------------------------------------------------------------------------------------------------------------


def module_call(op: Op, module: str, inputs: Sequence[str]) -> str:
    """Return the call of a module with the texts of its inputs."""
    if op.kind == "MultiheadAttention":
        query, *memory = inputs
        key = memory[0] if memory else query
        value = memory[-1] if memory else query
        return f"{module}({query}, {key}, {value}, need_weights={getattr(op, 'need_weights', False)})"
    if op.kind == "LSTM" and len(inputs) > 1:
        return f"{module}({inputs[0]}, ({', '.join(inputs[1:])}))"
    return f"{module}({', '.join(inputs)})"


def function_call(op: Op, inputs: Sequence[str], shapes: Shapes) -> str:
    """Return the call of an op that has no module."""
    first = inputs[0]
    if op.kind == "Reshape":
        sizes = ", ".join(str(size) for size in op.torch_arguments(shapes)["shape"][1:])
        return f"{first}.reshape({first}.shape[0], {sizes})"
    if op.kind == "Slice":
        return f"{first}[{', '.join(map(_slice_text, op.torch_arguments(shapes)['index']))}]"
    arguments = dict(op.torch_arguments(shapes))
    if op.kind == "ResizeLike":
        arguments.pop("size")
        written = "".join(f", {name}={value_text(value)}" for name, value in _telling(op, arguments).items())
        return f"F.interpolate({first}, {inputs[1]}.shape[2:]{written})"
    name = op.torch.replace("torch.nn.functional.", "F.")
    if name in _SYMBOLS:
        return _arithmetic(op, name, inputs)
    if name in _PAIRS:
        text = first
        for other in inputs[1:]:
            text = f"{name}({text}, {other})"
        return text
    if name == "torch.matmul":
        return " @ ".join(inputs)
    if name in _METHODS:
        values = arguments.get("dims", tuple(arguments.values()))
        values = values if isinstance(values, tuple) and op.kind != "Squeeze" else tuple(arguments.values())
        return f"{first}.{name.removeprefix('torch.')}({', '.join(map(value_text, values))})"
    given = f"({', '.join(inputs)}{',' * (len(inputs) == 1)})" if name in _LISTS else ", ".join(inputs)
    written = "".join(f", {key}={value_text(value)}" for key, value in _telling(op, arguments).items())
    return f"{name}({given}{written})"


def _telling(op: Op, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that are not PyTorch's defaults."""
    defaults = _defaults(op)
    return {k: v for k, v in arguments.items() if k in _ALWAYS or k not in defaults or v != defaults[k]}


def _arithmetic(op: Op, name: str, inputs: Sequence[str]) -> str:
    """Return a sum, product, difference or quotient; one in place works on its first operand."""
    if op.storage is Storage.IN_PLACE:
        return inputs[0] + "".join(f".{name.removeprefix('torch.')}_({other})" for other in inputs[1:])
    return f" {_SYMBOLS[name]} ".join(inputs)


def _slice_text(part: slice) -> str:
    """Return one slice of an index."""
    start, stop = ("" if bound is None else str(bound) for bound in (part.start, part.stop))
    start = "" if start == "0" else start
    return f"{start}:{stop}" + (f":{part.step}" if part.step not in (None, 1) else "")
