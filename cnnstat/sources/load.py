"""Any SOURCE to its model: the list of the kinds, and the only place that tells names, graphs and modules apart."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cnnstat.choices import Mode
from cnnstat.errors import RequestError, SourceError, did_you_mean
from cnnstat.ir.graph import Graph
from cnnstat.sources.model import GraphReference, ModelReference, NamedReference
from cnnstat.sources.pytorch import BuiltModule, PyTorchReference
from cnnstat.sources.request import InputShape, Request, check_mode, input_shape, parse_input
from cnnstat.sources.spec import SpecReference

KINDS: tuple[type[NamedReference], ...] = (SpecReference, PyTorchReference)
"""Kinds of models that a text can name; the first that matches has it."""


def named_model(text: str, request: Request) -> ModelReference:
    """Return the model that a text names; raises SourceError with the nearest name where it is of no kind."""
    for kind in KINDS:
        if kind.matches(text):
            return kind(text, request)
    if not text.strip():
        raise SourceError("SOURCE is empty; name a network of the zoo (`cnnstat list`) or a .yaml file")
    names = [name for kind in KINDS for name in kind.suggestions()]
    hint = did_you_mean(text, names) or "; `cnnstat list` shows the zoo"
    raise SourceError(f"{text[:100]}: no network of the zoo and no .yaml file{hint}")


def load_source(text: str, request: Request) -> Graph:
    """Return the layer graph of the model that a text names; raises what `ModelReference.load` raises."""
    return named_model(text, request).load()


def model_reference(
    source: object,
    input: Any = None,
    *,
    inputs: Any = None,
    batch: int | None = None,
    dtype: str | None = None,
    variables: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    mode: Mode = "eval",
) -> ModelReference:
    """Return the model that a Python caller gives, with the options of `load`; raises RequestError or SourceError."""
    check_mode(mode)
    request = Request(
        batch=batch, dtype=dtype, variables=dict(variables or {}), arguments=dict(arguments or {}), mode=mode
    )
    if isinstance(source, (str, os.PathLike)):
        return named_model(os.fspath(source), replace(request, inputs=_shapes(input, inputs)))
    if isinstance(source, Graph):
        if input is not None or inputs is not None:
            raise RequestError("a Graph is analyzed as it is; load it again with the changes")
        return GraphReference(source, request)
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(source, torch.nn.Module):
        raise SourceError(f"a model is a name, a path, a Graph or a torch.nn.Module, not {type(source).__name__}")
    return BuiltModule(source, request, input, inputs)


def _shapes(input: Any, inputs: Any) -> dict[str, InputShape]:
    """Return the input shapes for a model by name; the name "" means the only input."""
    if inputs is not None and not isinstance(inputs, Mapping):
        raise RequestError(
            "inputs= takes sizes by name, as in inputs={'image': (3, 224, 224)}; input= takes sizes alone"
        )
    shapes = {name: _shape(shape) for name, shape in (inputs or {}).items()}
    return shapes if input is None else {**shapes, "": _shape(input)}


def _shape(shape: str | Sequence[int]) -> InputShape:
    return parse_input(shape)[1] if isinstance(shape, str) else input_shape(tuple(shape))
