"""Exported PyTorch programs as sources."""

from __future__ import annotations

from cnnstat.ir.graph import Graph
from cnnstat.sources.model import NO_VALUES, NamedReference

SUFFIX = ".pt2"


class ProgramReference(NamedReference):
    """A program that torch.export.save wrote, by its path; PyTorch is not needed and no weight is read."""

    refused = {
        "arguments": "--argument is for PyTorch models; an exported program takes --input",
        "variables": "--variable gives variables of a spec; an exported program takes --input",
        "input_values": NO_VALUES,
    }

    @classmethod
    def matches(cls, text: str) -> bool:
        """Whether a text ends as the path of an exported program does."""
        return text.lower().endswith(SUFFIX) and "\0" not in text

    @property
    def can_change_inputs(self) -> bool:
        """Whether the file can be read again."""
        return True

    def _load(self) -> Graph:
        from cnnstat.exported.programs.program_graph import load_program

        return load_program(self.source, self.request)
