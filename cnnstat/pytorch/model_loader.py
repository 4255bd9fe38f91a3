"""PyTorch models to layer graphs, and to models that can run: modules, and the code that gives them."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from cnnstat.errors import ModelError, RequestError
from cnnstat.ir.graph import Graph, check_dtype, collector_paused
from cnnstat.pytorch.calls import CallRecord
from cnnstat.pytorch.construct import WAYS, ModelCode, contained, readable
from cnnstat.pytorch.example import Example, ExampleTensors, as_traced, examples_of
from cnnstat.pytorch.followed_threads import UnfollowedError
from cnnstat.pytorch.input_sizes import default_inputs, table_lengths
from cnnstat.pytorch.model_isolation import one_at_a_time
from cnnstat.pytorch.module_stack import modules_of
from cnnstat.pytorch.recorder import ValueNeededError
from cnnstat.pytorch.tensors import found_in
from cnnstat.pytorch.trace import DRAWS, main_dtype, notes, path_of, trace, trace_for_real
from cnnstat.sources.request import InputShape, Request


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


def _trace_options(request: Request) -> dict[str, Any]:
    return {"dtype": request.dtype, "mode": request.mode, "seed": request.seed}


def _loaded(code: ModelCode, request: Request) -> Graph:
    drawn: list[Any] = []
    graph = _built_and_traced(code, request, 0, drawn)
    if not drawn:
        return graph
    # The constructor may have drawn what the model is made of: others are built from other draws.
    others: list[Graph] = []
    for draw in range(1, DRAWS):
        with contextlib.suppress(Exception):
            others.append(_built_and_traced(code, request, draw, []))
    if all(path_of(each) == path_of(graph) for each in others):
        return graph
    paths = (*graph.about.get("other_paths", ()), *others)
    return replace(graph, about={**graph.about, "other_paths": paths})


def _built_and_traced(code: ModelCode, request: Request, draw: int, drawn: list[Any]) -> Graph:
    """Return the graph of a model that is built from one draw; drawn: as in `construct`."""
    first_way = 1 if request.keeps_values else 0
    model, way = code.build(request.arguments, first_way, request.seed, draw, drawn)
    examples = examples_of(model, request, default_inputs(model, code.library, code.name))
    options = {"name": code.name, "source": code.source, **_trace_options(request), "tries_draws": draw == 0}
    try:
        graph = traced_with_first_fit(lambda example: trace(model, example, may_run=False, **options), examples)
    except UnfollowedError:
        raise
    except ModelError as failed:
        # Values are needed: the model has to have memory, and weights that mean something.
        examples = examples[:1] if isinstance(failed.__cause__, ValueNeededError) else examples
        model, way = code.build(request.arguments, len(WAYS) - 1, request.seed, draw, drawn)
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
            if isinstance(error, UnfollowedError) or isinstance(error.__cause__, ValueNeededError):
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
    model, _ = code.build(request.arguments, len(WAYS) - 1 if initialized else 0, request.seed)
    return model, examples_of(model, request, default_inputs(model, code.library, code.name))


@collector_paused()
@one_at_a_time()
def load_module(model: nn.Module, request: Request) -> Graph:
    """Return the graph of a model that is already built; it is left as it was. Raises RequestError or ModelError."""
    _check(request)
    name = type(model).__name__
    options = _trace_options(request)
    with readable(name):
        examples = examples_of(model, request, None)
        return traced_with_first_fit(lambda example: trace(model, example, name=name, source=name, **options), examples)


Fill = Callable[[nn.Module], None]
"""Gives a model's parameters values."""


@dataclass(frozen=True, slots=True, eq=False)
class Runnable:
    """A model on the CPU with its inputs, the graph of its forward pass, and the calls the graph was made from.

    tensors: the inputs of the graph, in order; they are in `arguments` and `keywords`.
    for_real: whether the graph holds for the values of these inputs only.
    """

    model: nn.Module
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    tensors: tuple[Tensor, ...]
    graph: Graph
    calls: tuple[CallRecord, ...]
    mode: str
    seed: int
    for_real: bool = False

    def traced_for_real(self) -> Runnable:
        """Return the same with a graph of a real run, which holds for these inputs; raises ModelError."""
        calls: list[CallRecord] = []
        example = Example(self.arguments, self.keywords)
        name, source = self.graph.name, self.graph.source
        graph = trace_for_real(
            self.model, example, name=name, source=source, mode=self.mode, seed=self.seed, calls=calls
        )
        inputs = tuple(replace(new, name=old.name) for new, old in zip(graph.inputs, self.graph.inputs))
        return replace(self, graph=replace(graph, inputs=inputs), calls=tuple(calls), for_real=True)


def runnable_code(code: ModelCode, request: Request, fill: Fill) -> Runnable:
    """Return the model that code gives, with parameters from `fill` unless it is built already.

    Raises SourceError, RequestError or ModelError, as `load_code` does.
    """
    with readable(code.source):
        return _runnable_code(code, request, fill)


def _runnable_code(code: ModelCode, request: Request, fill: Fill) -> Runnable:
    # Way 1 gives every tensor memory, which `fill` then writes to.
    model, _ = code.build(request.arguments, 1, request.seed)
    if code.factory is None:
        model = own_copy(model, code.name)
    else:
        model = getattr(model, "_orig_mod", model)
        fill(model)
    examples = examples_of(model, request, default_inputs(model, code.library, code.name))
    return _runnable(model, examples, code.name, code.source, request)


@one_at_a_time()
def runnable_module(model: nn.Module, request: Request, fill: Fill) -> Runnable:
    """Return a copy of a model that is already built; `fill` gives it parameters only where it has no memory.

    Raises RequestError or ModelError.
    """
    name = type(getattr(model, "_orig_mod", model)).__name__
    with readable(name):
        copied = own_copy(model, name)
        if any(tensor.device.type == "meta" for tensor in (*copied.parameters(), *copied.buffers())):
            copied = copied.to_empty(device="cpu")
            fill(copied)
        return _runnable(copied, examples_of(copied, request, None), name, name, request)


def own_copy(model: nn.Module, name: str) -> nn.Module:
    """Return a copy of a model on the CPU that shares nothing with it; raises ModelError where it cannot be copied.

    Tensors that were computed (as weight norm keeps them) are copied without their history.
    """
    model = getattr(model, "_orig_mod", model)
    computed = (v for m in model.modules() for v in vars(m).values() if isinstance(v, Tensor) and not v.is_leaf)
    result: dict[int, Tensor] = {id(tensor): tensor.detach().clone() for tensor in computed}
    lazy = (buffer for buffer in model.buffers() if nn.parameter.is_lazy(buffer))
    result |= {id(buffer): nn.parameter.UninitializedBuffer() for buffer in lazy}
    try:
        copied = copy.deepcopy(model, result)
    except Exception as error:
        message = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{name} cannot be copied, and it is to be left as it is: {type(error).__name__}: {message}"
        ) from error
    for parameter in copied.parameters():
        if not nn.parameter.is_lazy(parameter):
            parameter.grad = None
    return copied


def _runnable(model: nn.Module, examples: tuple[Example, ...], name: str, source: str, request: Request) -> Runnable:
    """Return a model with tensors made for its inputs, and its trace."""
    model.train(request.mode == "train")
    example = _chosen(model, examples, request)
    dtype = None if request.dtype is None else getattr(torch, request.dtype)
    if any(map(nn.parameter.is_lazy, (*model.parameters(), *model.buffers()))):
        _materialize(model, example)
    if dtype is not None:
        model.to(dtype)
    result = ExampleTensors(example, model, dtype or main_dtype(modules_of(model)), None)
    if dtype is not None:
        _convert(result, dtype)
    calls: list[CallRecord] = []
    given = found_in((example.arguments, dict(example.keywords)), (InputShape, Tensor))
    was_given = [isinstance(item, Tensor) for item in given]
    fixed = Example(result.arguments, result.keywords, has_values=any(was_given))
    graph = trace(model, fixed, name=name, source=source, calls=calls, **_trace_options(request))
    graph = replace(graph, inputs=tuple(replace(new, name=old.name) for new, old in zip(graph.inputs, result.inputs)))
    for_real = any("run for real" in note for note in notes(graph))
    if not for_real:
        _look_up_anything(graph, [None if values else t for t, values in zip(result.tensors, was_given)])
    return Runnable(
        model,
        result.arguments,
        result.keywords,
        tuple(result.tensors),
        graph,
        tuple(calls),
        request.mode,
        request.seed,
        for_real,
    )


def _chosen(model: nn.Module, examples: tuple[Example, ...], request: Request) -> Example:
    """Return the first example with which the model runs; the likeliest where shapes alone do not tell."""
    has_one_dtype = len({each.dtype for each in model.parameters() if each.dtype.is_floating_point}) < 2
    if len(examples) == 1 and (has_one_dtype or request.dtype is not None):
        return examples[0]

    def attempt(example: Example) -> Graph:
        return trace(model, example, name="", source="", may_run=False, **_trace_options(request))

    try:
        graph = traced_with_first_fit(attempt, examples)
    except ModelError:
        return examples[0]
    return as_traced(examples, graph)


def _materialize(model: nn.Module, example: Example) -> None:
    result = ExampleTensors(example, model, torch.get_default_dtype(), None)
    with torch.no_grad():
        model(*result.arguments, **result.keywords)


def _convert(result: ExampleTensors, dtype: torch.dtype) -> None:
    for tensor in result.tensors:
        if tensor.is_floating_point() and tensor.dtype != dtype:
            tensor.data = tensor.data.to(dtype)


def _look_up_anything(graph: Graph, tensors: list[Tensor | None]) -> None:
    """Fill whole-number inputs that go into a table with random places of it; others stay as they are."""
    for number, length in table_lengths(graph).items():
        tensor = tensors[number] if number < len(tensors) else None
        if tensor is not None and not tensor.is_floating_point():
            tensor.random_(0, max(1, length))
