"""TorchScript archives as sources: PyTorch loads them and runs their code on shapes."""

from __future__ import annotations

import zipfile
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnstat.errors import SourceError, needing
from cnnstat.files import is_file
from cnnstat.ir.graph import Graph
from cnnstat.sources.model import NO_VALUES, ModelReference
from cnnstat.sources.pytorch import PyTorchReference

if TYPE_CHECKING:
    from cnnstat.pytorch.construct import ModelCode

SUFFIXES = (".pt", ".pth", ".ts")


class TorchScriptReference(PyTorchReference):
    """A model that torch.jit.save wrote, by its path."""

    runs_code = True
    refused = {
        "arguments": "--argument builds a model; a TorchScript file is one already",
        "variables": "--variable gives variables of a spec; a TorchScript file takes --input",
        "input_values": NO_VALUES,
    }

    @classmethod
    def matches(cls, text: str) -> bool:
        """Whether a text is the path of an archive that holds code of TorchScript."""
        if not text.lower().endswith(SUFFIXES) or not is_file(text):
            return False
        try:
            with zipfile.ZipFile(text) as archive:
                return any("/code/" in name for name in archive.namelist())
        except (OSError, zipfile.BadZipFile, ValueError):
            return False

    def _check_request(self) -> None:
        ModelReference._check_request(self)

    @cached_property
    def code(self) -> ModelCode:
        """The model of the file; raises SourceError, where PyTorch is missing too."""
        self._check_request()
        with needing("torch", self.source[:100], SourceError):
            import torch

            from cnnstat.pytorch.construct import ModelCode
            from cnnstat.pytorch.thread_changes import quiet
        load: Any = torch.jit.load  # untyped in PyTorch
        try:
            with quiet():
                module = load(self.source, map_location="cpu")
        except Exception as error:
            reason = str(error).strip().partition("\n")[0][:120]
            raise SourceError(f"{self.source[:100]}: PyTorch cannot load this TorchScript file: {reason}") from None
        return ModelCode(self.source, None, module, Path(self.source).stem)

    def _load(self) -> Graph:
        with ExitStack() as process:
            return self._traced(process)
