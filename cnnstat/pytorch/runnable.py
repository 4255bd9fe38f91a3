"""PyTorch models that can run: built with memory, traced, and each call of the trace kept to hold runs against."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from cnnstat.errors import ModelError
from cnnstat.ir.graph import Graph
from cnnstat.ir.op import Family
from cnnstat.pytorch.calls import CallRecord
from cnnstat.pytorch.construct import ModelCode
from cnnstat.pytorch.example import Example, ExampleTensors, as_traced, examples_of
from cnnstat.pytorch.input_sizes import default_inputs
from cnnstat.pytorch.load import module_examples, traced_with_first_fit
from cnnstat.pytorch.module_stack import modules_of
from cnnstat.pytorch.trace import main_dtype, notes, trace, trace_for_real
from cnnstat.sources.request import InputShape, Request

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
    for_real: bool = False

    def traced_for_real(self) -> Runnable:
        """Return the same with a graph of a real run, which holds for these inputs; raises ModelError."""
        calls: list[CallRecord] = []
        example = Example(self.arguments, self.keywords)
        name, source = self.graph.name, self.graph.source
        graph = trace_for_real(self.model, example, name=name, source=source, mode=self.mode, calls=calls)
        inputs = tuple(replace(new, name=old.name) for new, old in zip(graph.inputs, self.graph.inputs))
        return replace(self, graph=replace(graph, inputs=inputs), calls=tuple(calls), for_real=True)


def runnable_code(code: ModelCode, request: Request, fill: Fill) -> Runnable:
    """Return the model that code gives, with parameters from `fill` unless it is built already.

    Raises SourceError, RequestError or ModelError, as `load_code` does.
    """
    # Way 1 gives every tensor memory, which `fill` then writes to.
    model, _ = code.build(request.arguments, 1)
    if code.factory is None:
        model = own_copy(model, code.name)
    else:
        model = getattr(model, "_orig_mod", model)
        fill(model)
    examples = examples_of(model, request, default_inputs(model, code.library, code.name))
    return _runnable(model, examples, code.name, code.source, request)


def runnable_module(model: nn.Module, input: Any, inputs: Any, request: Request, fill: Fill) -> Runnable:
    """Return a copy of a model that is already built; `fill` gives it parameters only where it has no memory.

    input, inputs: as `load_module` takes them. Raises RequestError or ModelError.
    """
    name = type(getattr(model, "_orig_mod", model)).__name__
    copied = own_copy(model, name)
    if any(tensor.device.type == "meta" for tensor in (*copied.parameters(), *copied.buffers())):
        copied = copied.to_empty(device="cpu")
        fill(copied)
    return _runnable(copied, module_examples(copied, input, inputs, request), name, name, request)


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
    fixed = Example(result.arguments, result.keywords)
    graph = trace(model, fixed, name=name, source=source, dtype=request.dtype, mode=request.mode, calls=calls)
    graph = replace(graph, inputs=tuple(replace(new, name=old.name) for new, old in zip(graph.inputs, result.inputs)))
    for_real = any("run for real" in note for note in notes(graph))
    if not for_real:
        was_given = [isinstance(item, Tensor) for item in _items((example.arguments, dict(example.keywords)))]
        _look_up_anything(graph, [None if values else t for t, values in zip(result.tensors, was_given)])
    return Runnable(
        model, result.arguments, result.keywords, tuple(result.tensors), graph, tuple(calls), request.mode, for_real
    )


def _chosen(model: nn.Module, examples: tuple[Example, ...], request: Request) -> Example:
    """Return the first example with which the model runs; the likeliest where shapes alone do not tell."""
    if len(examples) == 1:
        return examples[0]

    def attempt(example: Example) -> Graph:
        return trace(model, example, name="", source="", dtype=request.dtype, mode=request.mode, may_run=False)

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


def _items(value: Any) -> Iterator[Any]:
    """Yield the shapes and tensors of an example, in the order of the graph's inputs."""
    if isinstance(value, (InputShape, Tensor)):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _items(item)


def _look_up_anything(graph: Graph, tensors: list[Tensor | None]) -> None:
    """Fill whole-number inputs that go into a table with random places of it; others stay as they are."""
    sizes: dict[int, int] = {}
    for node in graph.nodes:
        tables = node.op.weights(()) if node.op.family is Family.EMBEDDING else {}
        for edge in node.inputs if tables else ():
            length = min(shape[0] for shape in tables.values())
            sizes[edge.value] = min(length, sizes.get(edge.value, length))
    for number, length in sizes.items():
        tensor = tensors[number] if number < len(tensors) else None
        if tensor is not None and not tensor.is_floating_point():
            tensor.random_(0, max(1, length))
