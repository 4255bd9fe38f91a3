"""Model references: a model that a user names or hands over, how its graph is loaded and how its module is had."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from cnnstat.errors import RequestError
from cnnstat.files import content_digest
from cnnstat.ir.graph import Graph
from cnnstat.sources.request import InputShape, Request

if TYPE_CHECKING:
    from torch import nn

    from cnnstat.pytorch.example import Example
    from cnnstat.pytorch.model_loader import Fill, Runnable

Reference = TypeVar("Reference", bound="ModelReference")


NO_VALUES = "--value gives numbers of the inputs of an ONNX model; this source has none that decide sizes"
"""Why other kinds refuse values of inputs."""


@dataclass(frozen=True, eq=False)
class ModelReference(ABC):
    """A model of one kind, and what is to be changed about it; unless it is a ModuleReference, it is only a graph.

    refused: fields of the request that this kind does not take, with the error that says what to write instead.
    """

    source: Any
    request: Request
    refused: ClassVar[Mapping[str, str]] = {}

    @property
    @abstractmethod
    def label(self) -> str:
        """What reports and baselines call the model."""

    @abstractmethod
    def _load(self) -> Graph:
        """Return the layer graph under a request that this kind takes."""

    def load(self) -> Graph:
        """Return the layer graph, deployed if the request says so.

        Raises SourceError, SpecError, RequestError, or ModelError for PyTorch.
        """
        self._check_request()
        precision = self.request.deploy
        if precision is None:
            return self._load()
        from cnnstat.analysis.transforms.deploy import check_precision, deploy  # seldom asked for

        check_precision(precision)
        self._check_deployment()
        return deploy(self._load(), precision)

    def _check_deployment(self) -> None:
        """Raise RequestError where other parts of the request do not go with a network that is deployed."""
        dtype, mode, precision = self.request.dtype, self.request.mode, self.request.deploy
        if dtype is not None:
            raise RequestError(f"--dtype {dtype} and --deploy {precision} exclude each other; a network ships in one")
        if mode != "eval":
            raise RequestError(f"--mode {mode} does not go with --deploy {precision}: what ships is in eval mode")

    def _check_request(self) -> None:
        for name, message in self.refused.items():
            if getattr(self.request, name):
                raise RequestError(message)

    def content_key(self) -> str:
        """Return what is equal for two references only if the files that they name have the same content."""
        return ""

    def with_request(self: Reference, **changes: Any) -> Reference:
        """Return the same model with other fields of its request."""
        return replace(self, request=replace(self.request, **changes))

    def with_dtype(self: Reference, dtype: str | None) -> Reference:
        """Return the same model in another dtype; in its own if None."""
        return self if dtype is None else self.with_request(dtype=dtype)

    @property
    def can_change_inputs(self) -> bool:
        """Whether `with_inputs` gives a model whose graph can be loaded."""
        return False

    def with_inputs(self: Reference, shapes: Mapping[str, InputShape]) -> Reference:
        """Return the same model for other input shapes, batch included."""
        return self.with_request(inputs=shapes, batch=None)


class NamedReference(ModelReference):
    """A model that a text names."""

    source: str
    runs_code: ClassVar[bool] = False
    """Whether loading such a model runs Python code that the text names."""

    @classmethod
    @abstractmethod
    def matches(cls, text: str) -> bool:
        """Whether a text names, or is meant to name, a model of this kind."""

    @property
    def label(self) -> str:
        """The text itself."""
        return self.source

    def content_key(self) -> str:
        """Return what is equal for two references only if the file that the text names has the same content."""
        place = self.source.rpartition(":")[0] if ":" in self.source else self.source
        for path in (Path(self.source), Path(place)):
            with suppress(OSError, ValueError):
                return content_digest(path)
        return ""


class ModuleReference(ModelReference):
    """A model that PyTorch code defines, so that its own module can run beside its graph."""

    @abstractmethod
    def build(self, *, initialized: bool) -> nn.Module:
        """Return its module: with the weights it starts with, or without memory for large tensors.

        Raises SourceError, RequestError or ModelError.
        """

    @abstractmethod
    def examples(self) -> tuple[Example, ...]:
        """Return what the arguments of its forward pass may be, the likeliest first; raises as `build` does."""

    @abstractmethod
    def runnable(self, fill: Fill) -> Runnable:
        """Return a module that shares nothing with the caller's, its inputs and its trace; raises as `build` does.

        fill: gives parameters values where the model has none of its own.
        """


class GraphReference(ModelReference):
    """A layer graph that is handed over."""

    source: Graph

    @property
    def label(self) -> str:
        """The graph's name."""
        return self.source.name

    def _load(self) -> Graph:
        request = self.request
        if request.input_values:
            raise RequestError(NO_VALUES)
        if request.inputs or request.batch is not None or request.dtype is not None or request.variables:
            raise RequestError("a Graph is analyzed as it is; load it again with the changes")
        return self.source

    def with_dtype(self, dtype: str | None) -> GraphReference:
        """Return the graph with weights and floating-point inputs of another dtype."""
        graph, request = self.source, replace(self.request, dtype=None)
        if dtype is not None and dtype != graph.dtype:
            # Whole numbers, such as those of words, stay what they are.
            inputs = (replace(each, dtype=dtype) if "float" in each.dtype else each for each in graph.inputs)
            graph = replace(graph, dtype=dtype, inputs=tuple(inputs))
        return replace(self, source=graph, request=request)
