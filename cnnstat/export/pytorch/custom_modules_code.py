"""The code of modules that PyTorch lacks, cut out of cnnstat's own file."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import cnnstat

_IMPORTS = {
    "math": "import math",
    "Sequence": "from collections.abc import Sequence",
    "Tensor": "from torch import Tensor",
}


@cache
def _definitions() -> dict[str, str]:
    """Return the source of everything that is defined at the top of the file of handmade modules."""
    path = Path(cnnstat.__file__).parent / "pytorch" / "modules" / "custom_modules.py"
    # What a trace needs has no place in a file that stands alone.
    source = path.read_text(encoding="utf-8").replace("    @one_call\n", "")
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found[node.name] = ast.get_source_segment(source, node) or ""
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = ast.get_source_segment(source, node) or ""
    return found


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
