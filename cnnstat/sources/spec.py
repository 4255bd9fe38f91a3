"""Specs as sources: a network of the zoo, a .yaml file, or `-` for a spec on standard input."""

from __future__ import annotations

import os
from pathlib import Path

from cnnstat.errors import SourceError, SpecError
from cnnstat.ir.graph import Graph
from cnnstat.sources import zoo
from cnnstat.sources.model import NamedReference

STDIN = "-"
"""The SOURCE that means a spec on standard input."""


class SpecReference(NamedReference):
    """A spec by the name of its network in the zoo, by its path, or on standard input."""

    refused = {"arguments": "--arg is for PyTorch models; a spec takes --set"}

    @classmethod
    def matches(cls, text: str) -> bool:
        """Whether a text is a name in the zoo, `-`, or looks like a path; `C:\\net` does where it exists."""
        if text == STDIN or text in zoo.names():
            return True
        if not text.strip() or "\0" in text or text.endswith(".py"):
            return False
        if text.endswith(zoo.SUFFIXES) or (len(text) < 256 and Path(text).exists()):
            return True
        return ":" not in text and ("/" in text or os.sep in text)

    @property
    def can_change_inputs(self) -> bool:
        """Whether the spec can be read again."""
        return self.source != STDIN

    def _load(self) -> Graph:
        from cnnstat.spec.load import parse_spec, read_spec
        from cnnstat.spec.yaml_file import read_stdin

        text = self.source
        if text == STDIN:
            return parse_spec(read_stdin(), self.request, file="stdin", find=zoo.find)
        if text in zoo.names():
            return read_spec(zoo.path(text), self.request, zoo.find, source=text, file=f"{text}.yaml")
        try:
            return read_spec(Path(text), self.request, zoo.find, source=text)
        except SpecError:
            from cnnstat.sources.other_tools import described

            if other := described(text):
                raise SourceError(f"{text[:100]} is {other}") from None
            raise
