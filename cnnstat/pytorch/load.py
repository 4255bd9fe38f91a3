"""PyTorch sources and modules to layer graphs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from cnnstat.errors import ModelError, RequestError, SourceError
from cnnstat.garbage_collection import collector_paused
from cnnstat.ir.graph import Graph
from cnnstat.pytorch.construct import WAYS, construct
from cnnstat.pytorch.example import Example, adapted, examples_of, nested
from cnnstat.pytorch.input_sizes import default_inputs
from cnnstat.pytorch.locate import Located, locate
from cnnstat.pytorch.model_errors import ValueNeededError, contained
from cnnstat.pytorch.trace import notes, trace
from cnnstat.sources.request import Request
from cnnstat.units import check_dtype


@collector_paused()
def load_torch_source(source: str, request: Request) -> Graph:
    """Return the graph of `torchvision:NAME`, `timm:NAME`, `file.py:NAME` or `package.module:NAME`.

    Raises SourceError, RequestError or ModelError.
    """
    if request.variables:
        raise RequestError("--set gives variables of a spec; the arguments of a PyTorch model are given by --arg")
    _check(request)
    with contained(source):
        return _loaded(source, request)


def _check(request: Request) -> None:
    """Raise an error where the dtype or the batch cannot be."""
    if request.dtype is not None:
        check_dtype(request.dtype)
    if request.batch is not None and request.batch < 1:
        raise RequestError("--batch must be at least 1")


def _loaded(source: str, request: Request) -> Graph:
    """Return the graph of a source."""
    located = locate(source)
    if located.model is not None and request.arguments:
        raise RequestError(f"{source}: is a model already; only a class or function takes --arg")
    first_way = 1 if request.keeps_values else 0
    model, way = _built(located, request.arguments, first_way)
    examples = examples_of(model, request, default_inputs(model, located.library, located.name))
    options: dict[str, Any] = {
        "name": located.name, "source": source, "dtype": request.dtype, "mode": request.mode
    }  # fmt: skip
    try:
        graph = traced_with_first_fit(lambda example: trace(model, example, may_run=False, **options), examples)
    except ModelError as failed:
        # Values are needed: the model has to have memory, and weights that mean something.
        examples = examples[:1] if isinstance(failed.__cause__, ValueNeededError) else examples
        model, way = _built(located, request.arguments, len(WAYS) - 1)
        graph = traced_with_first_fit(lambda example: trace(model, example, **options), examples)
    if way != WAYS[first_way] and located.factory is not None:
        said = (*notes(graph), f"the model was built {way}")
        graph = replace(graph, about={**graph.about, "notes_torch": said})
    return graph


def traced_with_first_fit(attempt: Callable[[Example], Graph], examples: tuple[Example, ...]) -> Graph:
    """Return the graph for the first reading of the input's sizes with which the model runs.

    A note says so where it is not the likeliest. Raises the ModelError of the likeliest where there is none, or where
    values are needed, which tells nothing of the sizes.
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
        said = (
            f"the sizes are read as {read}, as the model only runs so; written with their batch they are unmistakable"
        )
        return replace(graph, about={**graph.about, "notes_torch": (*notes(graph), said)})
    assert first is not None
    raise first


def build_torch_source(source: str, request: Request, *, initialized: bool) -> tuple[nn.Module, tuple[Example, ...]]:
    """Return the model that a source names, and what the arguments of its forward pass may be, the likeliest first.

    initialized: whether with the weights it starts with; otherwise without memory for large tensors.
    Raises SourceError, RequestError or ModelError.
    """
    located = locate(source)
    model, _ = _built(located, request.arguments, len(WAYS) - 1 if initialized else 0)
    return model, examples_of(model, request, default_inputs(model, located.library, located.name))


def module_examples(model: nn.Module, input: Any = None, inputs: Any = None) -> tuple[Example, ...]:
    """Return what the arguments of a forward pass may be as `load_module` reads them; raises RequestError."""
    if input is None and inputs is None:
        return examples_of(model, Request(), None)
    return adapted(example_from(input, inputs), model)


def _built(located: Located, arguments: Mapping[str, Any], first_way: int) -> tuple[nn.Module, str]:
    """Return the model, and how it was built."""
    if located.factory is None:
        return located.model, WAYS[first_way]
    fixed = {name: value for name, value in located.fixed if name not in arguments}
    made, way = construct(located.factory, {**fixed, **arguments}, located.name, first_way)
    if isinstance(made, nn.Module):
        return made, way
    if inspect.isclass(located.factory):
        raise SourceError(f"{located.name} is a class, but no torch.nn.Module")
    article = "nothing" if made is None else f"a {type(made).__name__}"
    raise SourceError(f"{located.name} returns {article}; name a function that returns one torch.nn.Module")


@collector_paused()
def load_module(
    model: Any,
    input: Any = None,
    inputs: Any = None,
    *,
    batch: int | None = None,
    dtype: str | None = None,
    mode: str = "eval",
) -> Graph:
    """Return the graph of a model that is already built; it is left as it was.

    input: the only argument of its forward pass: sizes `(1, 3, 224, 224)`, a tensor, or any nesting of these; a list
        is one argument, a tuple of several is several. inputs: arguments by name.
    Raises RequestError or ModelError.
    """
    if not isinstance(model, nn.Module):
        raise SourceError(f"a model is a name, a path, a Graph or a torch.nn.Module, not {type(model).__name__}")
    _check(Request(batch=batch, dtype=dtype))
    name = type(model).__name__
    if input is None and inputs is None:
        examples = examples_of(model, Request(batch=batch), None)
    else:
        if batch is not None:
            raise RequestError("batch=… goes with a source by name; here the input's sizes say it")
        examples = adapted(example_from(input, inputs), model)
    return traced_with_first_fit(
        lambda example: trace(model, example, name=name, source=name, dtype=dtype, mode=mode), examples
    )


def example_from(input: Any, inputs: Any) -> Example:
    """Return the arguments of a forward pass as given in Python."""
    made = nested(input)
    is_several = isinstance(made, tuple) and not hasattr(made, "_fields")
    arguments = () if input is None else made if is_several else (made,)
    if inputs is None:
        return Example(arguments)
    if isinstance(inputs, Mapping):
        return Example(arguments, {name: nested(value) for name, value in inputs.items()})
    values = nested(inputs)
    return Example((*arguments, *values) if isinstance(values, (tuple, list)) else (*arguments, values))
