"""Where a node of an ONNX graph comes from: the modules that the exporter wrote into its name or its metadata."""

from __future__ import annotations

import ast
import re
from collections.abc import Container, Iterable, Sequence
from typing import Any

from cnnstat.exported.layer_names import Label, module_of, snake_case

_SCOPES, _CLASSES = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy"
_FOLDED = "onnx::"
"""How PyTorch's exporter calls a tensor that it computed of others."""


def scopes_in(nodes: Iterable[Any]) -> frozenset[str]:
    """Return the scopes that PyTorch's older exporter wrote into the names of nodes."""
    return frozenset(node.name.rpartition("/")[0] for node in nodes if node.name.startswith("/"))


def label_of(
    node: Any, tensors: Sequence[str], has_weights: bool, scopes: Container[str] = (), inside: str = ""
) -> Label:
    """Return what a node is called after; tensors: names of the stored tensors that it reads.

    scopes: those of the file; inside: the path of the call of a function that the node is a part of.
    """
    function = snake_case(node.op_type)
    module = module_of(each for each in tensors if not each.startswith(_FOLDED))
    stack = _listed(node, _SCOPES)
    if len(stack) > 1:
        # A folded convolution bears the scope of its norm; elsewhere the name may be that of an equal tensor.
        path = module if module and has_weights and "Conv" in node.op_type else stack[-2]
        kind = classes_of(node).get(path, "").lower()
        # A module that is one operation may be called more than once, which the file does not say.
        is_whole = not has_weights and kind.startswith(node.op_type.lower())
        return Label(path, function, is_main=has_weights, exact=path if is_whole else "")
    name = node.name
    if inside:
        return Label(inside, function, is_main=has_weights)
    if name.startswith("/"):
        path, call = _legacy_path(name.rpartition("/")[0], scopes)
        # The name lacks modules whose forward was not called; those of the node's own weights have them.
        own = module_of(each for each in node.input if not each.startswith(_FOLDED)) if has_weights else ""
        return Label(own if own.endswith(f".{path}") else path, function, call, has_weights)
    if module and has_weights:
        return Label(module, function, is_main=True)
    if not name or re.fullmatch(rf"(node_)?{re.escape(node.op_type)}(_\d+)?", name, re.IGNORECASE):
        return Label("", function, is_main=False)
    # tf2onnx joins the names of operations that became one.
    parts = [part for part in name.split(";")[0].split("/") if part and part != "StatefulPartitionedCall"]
    return Label("", function, exact=".".join(parts) or function)


def classes_of(node: Any) -> dict[str, str]:
    """Return the class of each module that a node is in, by its path."""
    scopes, classes = _listed(node, _SCOPES), _listed(node, _CLASSES)
    if len(scopes) != len(classes):
        return {}
    return {path: kind.rpartition(".")[2] for path, kind in zip(scopes[:-1], classes) if path}


def _listed(node: Any, key: str) -> list[str]:
    """Return a list of texts in the metadata of a node."""
    for entry in node.metadata_props:
        if entry.key == key and isinstance(entry.value, str):
            try:
                value = ast.literal_eval(entry.value) if len(entry.value) < 10_000 else ()
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                return []
            return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
    return []


def _legacy_path(scope: str, scopes: Container[str]) -> tuple[str, int]:
    """Return path and number of a call from `/layer1/layer1.0/relu_1`: each part may repeat the one before it."""
    head, mark, number = scope.rpartition("_")
    call = 0
    # A number behind the name of another scope says which call of that module it is.
    if mark and number.isdigit() and head in scopes:
        scope, call = head, int(number)
    parts: list[str] = []
    for part in filter(None, scope.split("/")):
        if parts and part.startswith(f"{parts[-1]}."):
            parts[-1] = part
        else:
            parts.append(part)
    return ".".join(parts), call
