"""Pasted code: a line of PyTorch as a spec has it (`self.conv1 = nn.Conv2d(3, 64, 3)`: `conv1: Conv2d(64, 3)`)."""

from __future__ import annotations

import ast
import warnings
from dataclasses import MISSING, fields

from cnnstat import ops

LONGEST = 300
"""Characters of a line that is looked at; calls are seldom longer, and the parser's stack is bounded."""

CONTAINERS = {
    "Sequential": "its layers one by one",
    "ModuleList": "its layers one by one",
    "view": "Flatten or Reshape",
}
"""What stands for calls that are no layers here."""


def spec_line(code: str) -> str:
    """Return what a spec has for a line of Python, or an empty text where that is not one layer."""
    if len(code) > LONGEST:
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes
            (statement,) = ast.parse(code.strip().rstrip(","), mode="exec").body
        label = ""
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Attribute):
            label = f"{statement.targets[0].attr}: "
        layer = _layer(statement.value) if isinstance(statement, (ast.Assign, ast.Expr)) else ""
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    return f"{label}{layer}" if layer and len(label) + len(layer) < LONGEST // 2 else ""


def _layer(node: ast.expr) -> str:
    """Return the layer that a call or a class of PyTorch is, without the arguments that the graph knows."""
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    root, kind = "", call.func.id if isinstance(call.func, ast.Name) else ""
    if isinstance(call.func, ast.Attribute):
        root, kind = ast.unparse(call.func.value).rpartition(".")[2], call.func.attr
    if kind in CONTAINERS:
        return CONTAINERS[kind]
    name = ops.meant_by(kind)
    if not name:
        return ""
    if kind[:1].islower() and root not in ("F", "functional", "torch"):
        return name  # a method, or a function of another library: its arguments are not known
    arguments = list(call.args)
    op = ops.lookup(name)
    declared = fields(op)  # type: ignore[arg-type]  # every registered op is a dataclass
    required = sum(field.default is field.default_factory is MISSING for field in declared)
    keywords = [keyword for keyword in call.keywords if keyword.arg in {field.name for field in declared}]
    if kind[:1].islower():
        del arguments[:1]  # the tensor
        arguments = arguments if op.input_count == (1, 1) else []
    elif len(arguments) + len(keywords) > required:
        # All but GroupNorm have what the graph knows in front.
        place = 1 if op.inferred == ("num_channels",) else 0
        del arguments[place : place + len(op.inferred)]
    text = ", ".join(map(ast.unparse, (*arguments, *keywords)))
    return f"{name}({text})" if text else name
