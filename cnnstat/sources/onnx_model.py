"""ONNX files as sources."""

from __future__ import annotations

from cnnstat.errors import SourceError
from cnnstat.files import exists
from cnnstat.ir.graph import Graph
from cnnstat.sources.model import NamedReference

SUFFIX = ".onnx"


class OnnxReference(NamedReference):
    """An ONNX model by its path; its weights are never read."""

    refused = {
        "arguments": "--argument is for PyTorch models; an ONNX file takes --input and --value",
        "variables": "--variable gives variables of a spec; an ONNX file takes --input and --value",
    }

    @classmethod
    def matches(cls, text: str) -> bool:
        """Whether a text ends as the path of an ONNX file does."""
        return text.lower().endswith(SUFFIX) and "\0" not in text

    @property
    def can_change_inputs(self) -> bool:
        """Whether the file can be read again."""
        return True

    def _load(self) -> Graph:
        from cnnstat.exported.onnx_models.model_file import need_onnx

        if not exists(self.source):
            raise SourceError(f"{self.source[:200]}: there is no such file")
        try:
            need_onnx(self.source)
            from cnnstat.exported.onnx_models.model_graph import load_model

            return load_model(self.source, self.request)
        except SourceError:
            from cnnstat.sources.other_files import described

            # A web page or a pointer of Git LFS may have the name of a model.
            if (other := described(self.source)) and "ONNX" not in other:
                raise SourceError(f"{self.source[:100]} is {other}") from None
            raise
