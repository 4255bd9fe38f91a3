"""Example inputs: shapes as people write them, to tensors in the nesting that the model takes."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from cnnstat.frontends.request import InputShape, Request, RequestError, parse_input
from cnnstat.frontends.torch.fake import Faker
from cnnstat.frontends.torch.tensors import dtype_of, shape_of, tensors_in
from cnnstat.ir.graph import Input


@dataclass(frozen=True, slots=True)
class Example:
    """Arguments of a forward pass: shapes (InputShape), tensors, and anything else, in any nesting."""

    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)


def example_of(model: nn.Module, request: Request, default: Example | None) -> Example:
    """Return the arguments that a request names, or the model's default; raises RequestError where there is neither.

    A shape without a batch gets one where the model's first convolution shows that it lacks it.
    """
    if not request.inputs:
        if default is None:
            first = next(iter(_parameters(model)), "input")
            raise RequestError(
                f"the sizes of the input are not known: write --input 1x3x224x224, or {first}=1x3x224x224"
            )
        return _batched(default, request.batch)
    sized = {name: _with_batch(shape, model, request.batch) for name, shape in request.inputs.items()}
    names = _parameters(model)
    unnamed = sized.pop("", None)
    unknown = [name for name in sized if name not in names]
    if unknown and not _takes_anything(model):
        raise RequestError(f"--input {unknown[0]}: the model's inputs are {', '.join(names) or 'not named'}")
    return Example(() if unnamed is None else (unnamed,), sized)


def nested(value: Any) -> Any:
    """Return a Python value with the shapes in it as InputShape: tuples of integers, and texts such as `1x3x32x32`."""
    if isinstance(value, str):
        return parse_input(value)[1]
    is_shape = isinstance(value, (tuple, list)) and value and all(type(size) is int for size in value)
    if is_shape and isinstance(value, (tuple, torch.Size)):
        if min(value) < 0:
            raise RequestError(f"input {tuple(value)}: every size must be an integer of at least 0")
        return InputShape(tuple(value))
    if isinstance(value, Mapping):
        return {key: nested(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(map(nested, value))
    return value


def adapted(example: Example, model: nn.Module) -> Example:
    """Return an example whose shapes have a batch."""
    return Example(
        tuple(_mapped(item, lambda shape: _with_batch(shape, model, None)) for item in example.arguments),
        {k: _mapped(item, lambda shape: _with_batch(shape, model, None)) for k, item in example.keywords.items()},
    )


def _mapped(value: Any, change: Any) -> Any:
    """Return a nested value with its shapes changed."""
    if isinstance(value, InputShape):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
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

    return Example(tuple(map(repeated, example.arguments)), {k: repeated(v) for k, v in example.keywords.items()})


def _with_batch(shape: InputShape, model: nn.Module, batch: int | None) -> InputShape:
    """Return a shape with the batch in front, where it is asked for or missing."""
    rank = _rank(model)
    if len(shape.sizes) == rank and not (shape.dtype or "float").startswith(("int", "uint", "bool")):
        return InputShape((1 if batch is None else batch, *shape.sizes), shape.dtype)
    if batch is not None and (len(shape.sizes) != (rank or 0) + 1 or shape.sizes[0] != batch):
        if rank is None or len(shape.sizes) != rank + 1:
            return InputShape((batch, *shape.sizes), shape.dtype)
        raise RequestError(f"--input has a batch of {shape.sizes[0]}, but --batch says {batch}; keep one")
    return shape


def batch_remedy(model: nn.Module, request: Request) -> str:
    """Return what to write where an input perhaps lacks its batch, which no convolution of the model could tell."""
    if request.batch is not None or _rank(model) is not None:
        return ""
    for name, shape in request.inputs.items():
        if shape.sizes[0] != 1:
            text = (f"{name}=" if name else "") + "x".join(map(str, shape.sizes))
            return f"; --input {text} is taken as it stands: add --batch 1 if its batch is missing"
    return ""


def _rank(model: nn.Module) -> int | None:
    """Return how many axes one image, sequence or volume has, by the first convolution; None without convolutions."""
    ranks = {nn.Conv1d: 2, nn.Conv2d: 3, nn.Conv3d: 4}
    for module in model.modules():
        for kind, rank in ranks.items():
            if isinstance(module, kind):
                return rank
    return None


def _parameters(model: nn.Module) -> list[str]:
    """Return the names of the arguments of a model's forward pass."""
    try:
        given = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in given if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def _takes_anything(model: nn.Module) -> bool:
    """Whether the forward pass takes keyword arguments of any name, or its signature is not known."""
    try:
        given = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(p.kind is p.VAR_KEYWORD for p in given)


class Made:
    """The tensors made for an example, with the input of the graph that each is."""

    def __init__(self, example: Example, model: nn.Module, dtype: torch.dtype, faker: Faker | None) -> None:
        self._faker = faker
        self._dtype = dtype
        names = _parameters(model)
        count = len(example.arguments)
        labels = [*names[:count], *(f"input{n}" for n in range(len(names[:count]), count))] if names else []
        labels = labels or ([f"input{n}" for n in range(count)] if count != 1 else ["input"])
        self.inputs: list[Input] = []
        self.tensors: list[torch.Tensor] = []
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
            return {key: self._make(item, f"{label}.{key}") for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            parts = [self._make(item, f"{label}.{number}") for number, item in enumerate(value)]
            return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
        return self._object(value, label)

    def _object(self, value: Any, label: str) -> Any:
        """Return a copy of a data class or another object with tensors among its attributes; others as they are."""
        if isinstance(value, (type, nn.Module)) or next(tensors_in(value), None) is None:
            return value
        made = copy.copy(value)
        for name, item in vars(value).items():
            if isinstance(item, (torch.Tensor, list, tuple, dict)):
                # Data classes may be frozen.
                object.__setattr__(made, name, self._make(item, f"{label}.{name}"))
        return made

    def _tensor(self, value: InputShape | torch.Tensor) -> torch.Tensor:
        """Return one tensor: fake, or with small random values (zeros for whole numbers)."""
        if isinstance(value, torch.Tensor):
            if self._faker is None:
                return value.detach().clone()
            return self._faker.empty(tuple(value.shape), value.dtype)
        dtype = getattr(torch, value.dtype) if value.dtype else self._dtype
        if self._faker is not None:
            return self._faker.empty(value.sizes, dtype)
        if not dtype.is_floating_point:
            return torch.zeros(value.sizes, dtype=dtype)
        return torch.rand(value.sizes, dtype=dtype)
