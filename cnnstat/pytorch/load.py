"""PyTorch models to layer graphs: modules, and the code that gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from cnnstat.errors import ModelError, RequestError
from cnnstat.garbage_collection import collector_paused
from cnnstat.ir.graph import Graph
from cnnstat.pytorch.construct import WAYS, ModelCode
from cnnstat.pytorch.example import Example, adapted, examples_of, nested
from cnnstat.pytorch.input_sizes import default_inputs
from cnnstat.pytorch.model_errors import ValueNeededError, contained
from cnnstat.pytorch.trace import notes, trace
from cnnstat.sources.request import Request
from cnnstat.units import check_dtype


@collector_paused()
def load_code(code: ModelCode, request: Request) -> Graph:
    """Return the graph of a model that code gives; raises SourceError, RequestError or ModelError."""
    _check(request)
    with contained(code.source):
        return _loaded(code, request)


def _check(request: Request) -> None:
    if request.dtype is not None:
        check_dtype(request.dtype)
    if request.batch is not None and request.batch < 1:
        raise RequestError("--batch must be at least 1")


def _loaded(code: ModelCode, request: Request) -> Graph:
    first_way = 1 if request.keeps_values else 0
    model, way = code.build(request.arguments, first_way)
    examples = examples_of(model, request, default_inputs(model, code.library, code.name))
    options: dict[str, Any] = {
        "name": code.name, "source": code.source, "dtype": request.dtype, "mode": request.mode
    }  # fmt: skip
    try:
        graph = traced_with_first_fit(lambda example: trace(model, example, may_run=False, **options), examples)
    except ModelError as failed:
        # Values are needed: the model has to have memory, and weights that mean something.
        examples = examples[:1] if isinstance(failed.__cause__, ValueNeededError) else examples
        model, way = code.build(request.arguments, len(WAYS) - 1)
        graph = traced_with_first_fit(lambda example: trace(model, example, **options), examples)
    if way != WAYS[first_way] and code.factory is not None:
        messages = (*notes(graph), f"the model was built {way}")
        graph = replace(graph, about={**graph.about, "notes_torch": messages})
    return graph


def traced_with_first_fit(attempt: Callable[[Example], Graph], examples: tuple[Example, ...]) -> Graph:
    """Return the graph for the first reading of the input's sizes with which the model runs.

    A note says so where it is not the likeliest. Raises the ModelError of the likeliest where there is none, or where
    values are needed, which says nothing about the sizes.
    """
    first: ModelError | None = None
    for example in examples:
        try:
            graph = attempt(example)
        except ModelError as error:
            first = first or error
            if isinstance(error.__cause__, ValueNeededError):
                break
            continue
        if first is None:
            return graph
        read = ", ".join(f"{each.name}={'x'.join(map(str, each.shape))}" for each in graph.inputs)
        message = (
            f"the sizes are read as {read}, as the model only runs so; written with their batch they are unmistakable"
        )
        return replace(graph, about={**graph.about, "notes_torch": (*notes(graph), message)})
    assert first is not None
    raise first


def build_code(code: ModelCode, request: Request, *, initialized: bool) -> tuple[nn.Module, tuple[Example, ...]]:
    """Return the model that code gives, and what the arguments of its forward pass may be, the likeliest first.

    initialized: whether with the weights it starts with; otherwise without memory for large tensors.
    Raises SourceError, RequestError or ModelError.
    """
    model, _ = code.build(request.arguments, len(WAYS) - 1 if initialized else 0)
    return model, examples_of(model, request, default_inputs(model, code.library, code.name))


def module_examples(
    model: nn.Module, input: Any = None, inputs: Any = None, request: Request | None = None
) -> tuple[Example, ...]:
    """Return what the arguments of a forward pass may be as `load_module` reads them; raises RequestError."""
    if input is None and inputs is None:
        return examples_of(model, request or Request(), None)
    return adapted(example_from(input, inputs), model)


@collector_paused()
def load_module(model: nn.Module, input: Any, inputs: Any, request: Request) -> Graph:
    """Return the graph of a model that is already built; it is left as it was.

    input: the only argument of its forward pass: sizes `(1, 3, 224, 224)`, a tensor, or any nesting of these; a list
        is one argument, a tuple of several is several. inputs: arguments by name.
    Raises RequestError or ModelError.
    """
    _check(request)
    if request.batch is not None and (input is not None or inputs is not None):
        raise RequestError("batch=… goes with a source by name; here the input's sizes say it")
    name = type(model).__name__
    return traced_with_first_fit(
        lambda example: trace(model, example, name=name, source=name, dtype=request.dtype, mode=request.mode),
        module_examples(model, input, inputs, request),
    )


def example_from(input: Any, inputs: Any) -> Example:
    """Return the arguments of a forward pass as given in Python."""
    result = nested(input)
    is_several = isinstance(result, tuple) and not hasattr(result, "_fields")
    arguments = () if input is None else result if is_several else (result,)
    if inputs is None:
        return Example(arguments)
    if isinstance(inputs, Mapping):
        return Example(arguments, {name: nested(value) for name, value in inputs.items()})
    values = nested(inputs)
    return Example((*arguments, *values) if isinstance(values, (tuple, list)) else (*arguments, values))
