"""Layers in PyTorch as Python code: what builds the module of an op, and modules that PyTorch lacks."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import Any

from cnnstat import ops
from cnnstat.export.entries import Argument, Call, Expression
from cnnstat.ir.op import Op, Shapes

_POSITIONAL = (
    "in_channels", "out_channels", "kernel_size", "in_features", "out_features", "num_features", "output_size",
    "normalized_shape", "embed_dim", "num_heads",
)  # fmt: skip
"""Arguments that are clear without their names; PyTorch takes them in this order."""
_TORCH_DEFAULTS = {"dim": MISSING, "batch_first": False, "chunks": MISSING, "split_size_or_sections": MISSING}
"""PyTorch's defaults of arguments that have others in a spec; without one, they are always written."""


def constructor_of(op: Op, inputs: Shapes) -> Call | None:
    """Return the call that builds the module of an op, None for a function."""
    if not op.is_torch_module:
        return None
    # Modules that PyTorch lacks have no defaults.
    is_custom = not op.torch.startswith("torch.")
    defaults = {} if is_custom else _defaults(op)
    arguments = []
    is_positional = not is_custom
    for name, value in op.torch_arguments(inputs).items():
        is_positional = is_positional and name in _POSITIONAL
        default = _TORCH_DEFAULTS.get(name, defaults.get(name, MISSING))
        arguments.append(Argument(name, value, default, is_positional))
    return Call(op.kind if is_custom else op.torch.removeprefix("torch."), tuple(arguments))


def _defaults(op: Op) -> dict[str, Any]:
    return {f.name: f.default for f in fields(op)}  # type: ignore[arg-type]  # every registered op is a dataclass


def function_call(op: Op, operands: Sequence[str], shapes: Shapes) -> str:
    """Return the call of an op that has no module, with the arguments that are not PyTorch's defaults."""
    defaults = {name: value for name, value in _defaults(op).items() if name not in _TORCH_DEFAULTS}
    arguments = {k: v for k, v in op.torch_arguments(shapes).items() if k not in defaults or v != defaults[k]}
    return op.torch_code(op.torch.replace("torch.nn.functional.", "F."), operands, arguments)


def call_text(call: Call) -> str:
    """Return a call as Python text."""
    return f"{call.callee}({call.written(lambda argument: value_text(argument.value))})"


def value_text(value: Any) -> str:
    """Return a value as Python text."""
    if isinstance(value, Expression):
        return value.text
    if isinstance(value, (tuple, list)):
        inner = ", ".join(map(value_text, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return "..." if value is ... else repr(value)


# Modules that PyTorch lacks -------------------------------------------------------------------------------------------

_IMPORTS = {
    "math": "import math",
    "Sequence": "from collections.abc import Sequence",
    "Tensor": "from torch import Tensor",
}


@cache
def _definitions() -> dict[str, str]:
    """Return the source of everything that is defined at the top of the file of custom modules."""
    path = Path(__file__).parents[2] / "pytorch" / "modules" / "custom_modules.py"
    # What a trace needs has no place in a file that stands alone.
    source = path.read_text(encoding="utf-8").replace("    @one_call\n", "")
    sources = {}
    for node in ast.parse(source).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            sources[node.name] = ast.get_source_segment(source, node) or ""
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            sources[node.targets[0].id] = ast.get_source_segment(source, node) or ""
    return sources


def code_of(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the imports and the definitions that these modules need, in the order of the file."""
    definitions = _definitions()
    needed: set[str] = set()
    words: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name in needed:
            continue
        needed.add(name)
        used = {node.id for node in ast.walk(ast.parse(definitions[name])) if isinstance(node, ast.Name)}
        words |= used
        left += [word for word in used if word in definitions]
    imports = [line for word, line in _IMPORTS.items() if word in words]
    return imports, [source for name, source in definitions.items() if name in needed]


@cache
def custom_modules() -> frozenset[str]:
    """Return the names of the ops whose modules a file brings along."""
    return frozenset(
        name for name in _definitions() if name in ops.names() and not ops.lookup(name).torch.startswith("torch.")
    )
