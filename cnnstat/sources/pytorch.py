"""PyTorch models as sources: by name, as `file.py:Class` and `torchvision:resnet50`, or as a module that is built."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cnnstat.errors import SourceError, needing
from cnnstat.files import is_file
from cnnstat.ir.graph import Graph
from cnnstat.sources.model import NO_VALUES, ModuleReference, NamedReference
from cnnstat.sources.request import InputShape

if TYPE_CHECKING:
    from torch import nn

    from cnnstat.pytorch.construct import ModelCode
    from cnnstat.pytorch.example import Example
    from cnnstat.pytorch.model_loader import Fill, Runnable


class PyTorchReference(NamedReference, ModuleReference):
    """A class, function or model in Python code: `torchvision:NAME`, `timm:NAME`, `file.py:Class`, `module:NAME`."""

    runs_code = True
    refused = {
        "variables": "--variable gives variables of a spec; the arguments of a PyTorch model are given by --argument",
        "input_values": NO_VALUES,
    }

    @classmethod
    def matches(cls, text: str) -> bool:
        """Whether a text has a colon as `file.py:Class` does, or is a Python file."""
        return "\0" not in text and (":" in text or text.endswith(".py"))

    def _check_request(self) -> None:
        if ":" not in self.source:
            file = Path(self.source).name
            raise SourceError(f"{self.source[:100]}: name the class, function or model in it, as in {file}:Net")
        place, _, name = self.source.rpartition(":")
        if place.endswith(".py") or "/" in place or {"/", "\\"} & {*name}:  # C:\\net
            file = self.source if {"/", "\\"} & {*name} else place
            if not is_file(Path(file).expanduser()):
                raise SourceError(f"{file[:200]}: there is no such file")
        elif not place or not name:
            wanted = "package.module:Class, file.py:Class, torchvision:NAME or timm:NAME"
            raise SourceError(f"{self.source[:100]}: write {wanted}")
        super()._check_request()

    @cached_property
    def code(self) -> ModelCode:
        """The class, function or model that the text names; raises SourceError, where PyTorch is missing too."""
        self._check_request()
        with needing("torch", self.source[:100], SourceError):
            from cnnstat.sources.python_code import locate
        from cnnstat.pytorch.construct import contained
        from cnnstat.pytorch.process_state import noted_settings
        from cnnstat.pytorch.random_generators import same_random_numbers

        key = self.source.rpartition(":")[0], super().content_key()
        # A file may draw a width, or make a generator, when it is imported.
        with contained(self.source), same_random_numbers(self.request.seed), noted_settings(key) as settings:
            code = locate(self.source)
        return replace(code, settings=tuple(settings))

    def _load(self) -> Graph:
        from cnnstat.sources.trace_cache import loaded

        # One command may look at several models: what one of them changes is put back once all it read is noted.
        with ExitStack() as process:
            return loaded(self.source, self.request, lambda: self._traced(process))

    def _traced(self, process: ExitStack) -> Graph:
        with needing("torch", self.source[:100], SourceError):
            from cnnstat.pytorch.model_isolation import same_process
        process.enter_context(same_process())
        code = self.code
        from cnnstat.pytorch.model_loader import load_code

        return load_code(code, self.request)

    def content_key(self) -> str:
        """Return what changes with the named file and with the versions of PyTorch and the libraries of models."""
        from cnnstat.sources.trace_cache import versions

        return repr((super().content_key(), versions()))

    def build(self, *, initialized: bool) -> nn.Module:
        """Return a module that its class or function makes, or the model that the text names."""
        from cnnstat.pytorch.model_loader import build_code

        return build_code(self.code, self.request, initialized=initialized)[0]

    def examples(self) -> tuple[Example, ...]:
        """Return the arguments that the request, or else the library, says."""
        from cnnstat.pytorch.model_loader import build_code

        return build_code(self.code, self.request, initialized=False)[1]

    def runnable(self, fill: Fill) -> Runnable:
        """Return a new module with parameters from `fill`, or a copy of the model that the text names."""
        from cnnstat.pytorch.model_loader import runnable_code

        return runnable_code(self.code, self.request, fill)


_BUILT = "variables and arguments go with a source by name; this model is built already"


@dataclass(frozen=True, eq=False)
class BuiltModule(ModuleReference):
    """A torch.nn.Module that is handed over; it is left as it was."""

    source: nn.Module
    refused = {"variables": _BUILT, "arguments": _BUILT, "input_values": NO_VALUES}

    @property
    def label(self) -> str:
        """The name of the module's class."""
        # A compiled module is a wrapper that keeps the module under this name.
        return type(getattr(self.source, "_orig_mod", self.source)).__name__

    def with_inputs(self, shapes: Mapping[str, InputShape]) -> BuiltModule:
        """Return the module with other sizes of its inputs, by name or of the only one."""
        sizes = {name: shape.sizes for name, shape in shapes.items()}
        return self.with_request(values=(*sizes.values(), None) if len(sizes) == 1 else (None, sizes))

    def _load(self) -> Graph:
        from cnnstat.pytorch.model_loader import load_module

        return load_module(self.source, self.request)

    def build(self, *, initialized: bool) -> nn.Module:
        """Return the module itself."""
        return self.source

    def examples(self) -> tuple[Example, ...]:
        """Return the arguments that were handed over with it."""
        from cnnstat.pytorch.example import examples_of

        return examples_of(self.source, self.request, None)

    def runnable(self, fill: Fill) -> Runnable:
        """Return a copy of the module; `fill` gives it parameters only where it has no memory."""
        from cnnstat.pytorch.model_loader import runnable_module

        self._check_request()
        return runnable_module(self.source, self.request, fill)
