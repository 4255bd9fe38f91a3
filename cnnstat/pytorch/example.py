"""Example inputs: shapes as people write them, to tensors in the nesting that the model takes."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral
from typing import Any

import torch
from torch import nn

from cnnstat.errors import ModelError, RequestError, did_you_mean
from cnnstat.ir.graph import Graph, Input
from cnnstat.pytorch.calls import parameters_of
from cnnstat.pytorch.fake import Faker
from cnnstat.pytorch.input_sizes import Batch, rank_of
from cnnstat.pytorch.tensors import (
    changed_in,
    dtype_of,
    fields_of,
    is_dense,
    is_record,
    results_in,
    shape_of,
    with_fields,
    with_items,
)
from cnnstat.sources.request import InputShape, Literal, Request, parse_input, shape_from


@dataclass(frozen=True, slots=True)
class Example:
    """Arguments of a forward pass: shapes (InputShape), tensors, and anything else, in any nesting.

    has_values: whether the values of its tensors are a caller's, and so may decide lengths and masks.
    """

    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)
    has_values: bool = True

    def changed(self, change: Callable[[Any], Any]) -> Example:
        """Return an example with each argument changed."""
        return Example(tuple(map(change, self.arguments)), {name: change(v) for name, v in self.keywords.items()})


def examples_of(model: nn.Module, request: Request, default: tuple[Any, ...] | None) -> tuple[Example, ...]:
    """Return the arguments of a forward pass that a request may mean, the likeliest first: see `Batch`.

    Raises RequestError where the request names no input and the model has no default.
    """
    if request.values is not None:
        return _examples_from(*request.values, model, request.batch)
    if not request.inputs:
        if default is None and not _needs_anything(model):
            return (Example(),)
        if default is None:
            first = next(iter(_parameters(model)), "input")
            raise RequestError(
                f"the sizes of the input are not known: write --input 1x3x224x224, or {first}=1x3x224x224"
            )
        return (_batched(Example(default), request.batch),)
    shapes = dict(request.inputs)
    _check_names(model, filter(None, shapes))
    batch = Batch(rank_of(model), request.batch, tuple(shapes.values()))
    readings = [{name: read(shape) for name, shape in shapes.items()} for read in batch.readings(is_text=True)]
    return _distinct(Example((sized.pop(""),) if "" in sized else (), sized) for sized in readings)


def _check_names(model: nn.Module, inputs: Iterable[str]) -> None:
    """Raise RequestError for a name that no input of a model has, unless it takes any."""
    names = _parameters(model)
    unknown = [name for name in inputs if name not in names]
    if unknown and not _takes_anything(model):
        raise RequestError(f"--input {unknown[0]}: the model's inputs are {', '.join(names) or 'not named'}")


def _distinct(examples: Iterable[Example]) -> tuple[Example, ...]:
    """Return examples without repetitions."""
    first: dict[Hashable, Example] = {}
    for example in examples:
        first.setdefault(_identity((example.arguments, dict(example.keywords))), example)
    return tuple(first.values())


def _identity(value: Any) -> Hashable:
    """Return what equal nested values have in common; tensors and other objects are equal to themselves only."""
    if isinstance(value, (InputShape, str, int, float, type(None))):
        return type(value), value
    if isinstance(value, (list, tuple)):
        return type(value), *map(_identity, value)
    if isinstance(value, dict):
        return dict, *((key, _identity(item)) for key, item in value.items())
    return id(value)


def nested(value: Any) -> Any:
    """Return a Python value with the shapes in it as InputShape: tuples of integers, and texts such as `1x3x32x32`."""
    if isinstance(value, Literal):
        return value.value
    if isinstance(value, list):
        return [nested(item) for item in value]
    if isinstance(value, str) or (
        isinstance(value, tuple)
        and value
        and all(isinstance(size, Integral) and not isinstance(size, bool) for size in value)
    ):
        return shape_from(value) or value
    if isinstance(value, dict):
        return with_items(value, list(map(nested, value.values())))
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(map(nested, value))
    return value


def unwrapped(value: Any) -> Any:
    """Return a nested value as it is, without the marks of `cnnstat.literal`."""
    return changed_in(value, Literal, lambda each: each.value)


def example_from(input: Any, inputs: Any, *, beside_tensors: bool = False) -> Example:
    """Return the arguments of a forward pass as given in Python.

    Sizes are sizes at the top, and where nothing beside them is a tensor, unless `beside_tensors` says that they are
    there too; all else is passed on as it is.
    """
    if isinstance(input, str) and shape_from(input) is None:
        parse_input(input)  # says what is wrong
    if isinstance(input, (int, float)):
        raise RequestError(f"input={input}: write sizes, as in (3, 224, 224), or cnnstat.literal({input})")
    read = nested if beside_tensors or not _has_tensors(input, inputs) else unwrapped
    top = shape_from(input)
    result: Any = read(input) if top is None else top
    is_several = isinstance(result, tuple) and not isinstance(input, Literal) and not hasattr(result, "_fields")
    arguments: tuple[Any, ...] = () if input is None else tuple(result) if is_several else (result,)
    if isinstance(inputs, Mapping):
        named = read is nested
        return Example(arguments, {n: (shape_from(v) if named else None) or read(v) for n, v in inputs.items()})
    values: Any = () if inputs is None else read(inputs)
    return Example((*arguments, *values) if isinstance(values, (tuple, list)) else (*arguments, values))


def _has_tensors(*values: Any) -> bool:
    return next(results_in(values), None) is not None


def _examples_from(input: Any, inputs: Any, model: nn.Module, batch: int | None) -> tuple[Example, ...]:
    """Return what arguments from Python may mean, the likeliest first; sizes beside tensors come last."""
    if isinstance(inputs, Mapping):
        _check_names(model, inputs)
    values = [
        value for value in (input, *(inputs.values() if isinstance(inputs, Mapping) else ())) if value is not None
    ]
    is_text = all(isinstance(value, str) for value in values)
    examples = adapted(example_from(input, inputs), model, batch, is_text=is_text)
    if not _has_tensors(input, inputs):
        return examples
    return _distinct((*examples, *adapted(example_from(input, inputs, beside_tensors=True), model, batch)))


def adapted(
    example: Example, model: nn.Module, batch: int | None = None, *, is_text: bool = False
) -> tuple[Example, ...]:
    """Return what an example from Python may mean, the likeliest first: images without a batch get one."""
    everything = (*example.arguments, *example.keywords.values())
    if next(_shapes_in(everything), None) is None:
        if batch is not None:
            raise RequestError("--batch goes with sizes; the tensors that are given have theirs")
        return (example,)
    return _distinct(
        example.changed(partial(_mapped, change=read))
        for read in Batch(rank_of(model), batch, tuple(_shapes_in(everything))).readings(is_text=is_text)
    )


def _shapes_in(value: Any) -> Iterator[InputShape]:
    """Yield the shapes of a nested value that `_mapped` may change."""
    if isinstance(value, InputShape):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _shapes_in(item)
    elif isinstance(value, tuple) and not hasattr(value, "_fields"):
        for item in value:
            yield from _shapes_in(item)


def _mapped(value: Any, change: Any) -> Any:
    """Return a nested value with its shapes changed."""
    if isinstance(value, InputShape):
        return change(value)
    if isinstance(value, dict):
        return with_items(value, [_mapped(item, change) for item in value.values()])
    # In a list, every image may have a size of its own, and none a batch.
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(_mapped(item, change) for item in value)
    return value


def _batched(example: Example, batch: int | None) -> Example:
    """Return a default with another batch size."""
    if batch is None:
        return example
    if batch < 1:
        raise RequestError("--batch must be at least 1")

    def change(shape: InputShape) -> InputShape:
        return InputShape((batch, *shape.sizes[1:]), shape.dtype)

    def repeated(value: Any) -> Any:
        is_list = isinstance(value, list) and len(value) == 1 and isinstance(value[0], InputShape)
        return value * batch if is_list else _mapped(value, change)

    return example.changed(repeated)


def _parameters(model: nn.Module) -> list[str]:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters_of(model.forward) or () if p.kind not in kinds]


def _needs_anything(model: nn.Module) -> bool:
    """Whether the forward pass has arguments without a default, or its signature is not known."""
    parameters = parameters_of(model.forward)
    return parameters is None or any(p.default is p.empty and p.kind is not p.VAR_KEYWORD for p in parameters)


def _takes_anything(model: nn.Module) -> bool:
    """Whether the forward pass takes keyword arguments of any name, or its signature is not known."""
    parameters = parameters_of(model.forward)
    return parameters is None or any(p.kind is p.VAR_KEYWORD for p in parameters)


def misnamed(model: nn.Module, example: Example) -> str:
    """Return a hint at an input that a model takes, as it takes any, but does not name; empty where it names all."""
    names = _parameters(model)
    unknown = next((name for name in example.keywords if name not in names), None)
    if unknown is None or not names:
        return ""
    near = did_you_mean(unknown, names) or f"; it names {', '.join(names[:8])}"
    return f"; {unknown} is not among the inputs that it names{near}"


def with_sizes(example: Example, graph: Graph, sizes: Mapping[str, tuple[int, ...]]) -> Example:
    """Return an example with other shapes for some of its inputs."""

    def change(value: InputShape | torch.Tensor, source: Input) -> InputShape | torch.Tensor:
        dtype = value.dtype if isinstance(value, InputShape) else str(value.dtype).removeprefix("torch.")
        return InputShape(sizes[source.name], dtype) if source.name in sizes else value

    return _each_changed(example, graph, change)


def _each_changed(example: Example, graph: Graph, change: Callable[[Any, Input], Any]) -> Example:
    """Return an example with each shape and tensor changed, beside the input of a graph that it is."""
    inputs = iter(graph.inputs)
    kinds = (InputShape, torch.Tensor)
    return example.changed(lambda value: changed_in(value, kinds, lambda each: change(each, next(inputs))))


def as_traced(examples: tuple[Example, ...], graph: Graph) -> Example:
    """Return the example among several readings that has the shapes of a trace's inputs, with their dtypes.

    Adapters in float32 on a base in bfloat16 take inputs of one of them, which sizes do not say.
    """
    result = Counter(source.shape for source in graph.inputs)

    def fits(example: Example) -> bool:
        return Counter(each.sizes for each in _shapes_in((example.arguments, dict(example.keywords)))) <= result

    def typed(value: InputShape | torch.Tensor, source: Input) -> InputShape | torch.Tensor:
        if isinstance(value, InputShape) and value.dtype is None:
            return InputShape(value.sizes, source.dtype)
        return value

    return _each_changed(next(filter(fits, examples), examples[0]), graph, typed)


_MOST_DECIDING = {torch.bool: 2**22, torch.int64: 2**16, torch.int32: 2**16}
"""Numbers of the largest tensors whose values are followed: masks, lengths, and words."""


def _may_decide(tensor: torch.Tensor) -> bool:
    """Whether the values of a tensor are likely to decide how much there is of another."""
    limit = _MOST_DECIDING.get(tensor.dtype, 0)
    return tensor.numel() <= limit and tensor.device.type == "cpu"


class ExampleTensors:
    """The tensors made for an example, with the input of the graph that each is."""

    def __init__(self, example: Example, model: nn.Module, dtype: torch.dtype, faker: Faker | None) -> None:
        self._faker = faker
        self._dtype = dtype
        self._has_values = example.has_values
        names = _parameters(model)
        count = len(example.arguments)
        labels = [*names[:count], *(f"input{n}" for n in range(len(names[:count]), count))] if names else []
        labels = labels or ([f"input{n}" for n in range(count)] if count != 1 else ["input"])
        self.inputs: list[Input] = []
        self.tensors: list[torch.Tensor] = []
        self._within: set[int] = set()
        self.arguments = tuple(self._make(item, label) for item, label in zip(example.arguments, labels))
        self.keywords = {name: self._make(item, name) for name, item in example.keywords.items()}

    def _make(self, value: Any, label: str) -> Any:
        """Return a nested value with tensors in the place of shapes."""
        if isinstance(value, (InputShape, torch.Tensor)):
            tensor = self._tensor(value)
            self.inputs.append(Input(label, shape_of(tensor), dtype_of(tensor)))
            self.tensors.append(tensor)
            return tensor
        if isinstance(value, dict):
            return with_items(value, [self._make(item, f"{label}.{key}") for key, item in value.items()])
        if isinstance(value, (list, tuple)):
            return with_items(value, [self._make(item, f"{label}.{number}") for number, item in enumerate(value)])
        if not is_record(value) or id(value) in self._within or next(results_in(value), None) is None:
            return value
        # Objects that know each other are gone through once.
        self._within.add(id(value))
        fields = {name: self._make(item, f"{label}.{name}") for name, item in fields_of(value).items()}
        self._within.remove(id(value))
        return with_fields(value, fields)

    def _tensor(self, value: InputShape | torch.Tensor) -> torch.Tensor:
        """Return one tensor: fake, or with small random values (zeros for whole numbers)."""
        if isinstance(value, torch.Tensor):
            if value.is_nested:
                raise ModelError("an input is a nested tensor, which has no sizes to count; pad it to one size")
            # How much a sparse tensor holds is not in its shape.
            if self._faker is None or not is_dense(value) or (self._has_values and _may_decide(value)):
                return value.detach().clone()
            return self._faker.empty(tuple(value.shape), value.dtype)
        dtype = getattr(torch, value.dtype) if value.dtype else self._dtype
        if self._faker is not None:
            return self._faker.empty(value.sizes, dtype)
        if not dtype.is_floating_point:
            return torch.zeros(value.sizes, dtype=dtype)
        return torch.rand(value.sizes, dtype=dtype)
