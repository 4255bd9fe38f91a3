"""Files of weights as sources: a safetensors file, or a checkpoint of PyTorch."""

from __future__ import annotations

from cnnstat.errors import SourceError
from cnnstat.files import is_file
from cnnstat.ir.graph import Graph
from cnnstat.sources.model import NO_VALUES, NamedReference

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")


class WeightReference(NamedReference):
    """A file of weights by its path; no number and no code of it is read."""

    refused = {
        "arguments": "--argument is for PyTorch models; a file of weights takes nothing",
        "variables": "--variable gives variables of a spec; a file of weights takes nothing",
        "input_values": NO_VALUES,
    }

    @classmethod
    def matches(cls, text: str) -> bool:
        """Whether a text ends as the path of a file of weights does, and there is one."""
        return text.lower().endswith(SUFFIXES) and is_file(text)

    def _load(self) -> Graph:
        from cnnstat.exported.weight_rows import load_weights
        from cnnstat.sources.other_files import described

        other = described(self.source)
        if other and "weights" not in other and "pickled" not in other and "checkpoint" not in other:
            raise SourceError(f"{self.source[:100]} is {other}")
        try:
            return load_weights(self.source, self.request)
        except SourceError:
            # A model that is pickled as a whole holds no table of tensors, but says its class.
            if "pickled" in other:
                raise SourceError(f"{self.source[:100]} is {other}") from None
            raise
