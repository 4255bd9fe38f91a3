"""Regions of a forward pass in which autograd does not keep what the calls there would keep elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

import torch

_MODULE, _CHECKPOINT = "torch.nn.modules.module", "torch.utils.checkpoint"
# PyTorch before 2.7 does not tell its hooks.
_top_hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)


class AutogradRegions:
    """Notes whether a pass enters such a region: checkpointed, under hooks, or a function with a gradient of its own.

    Switching gradients on or off, as reentrant checkpoints do too, is a call of its own, which the recorder sees.
    """

    def __init__(self) -> None:
        self.is_entered = False
        self._forwards = set(_forwards(torch.autograd.Function))

    def look(self, frame: FrameType | None) -> None:
        """Look at the frames from that of a call, of a function or a module, up to the module around it.

        Those around that module were looked at when it was called.
        """
        if self.is_entered:
            return
        self.is_entered = _top_hooks is not None and _top_hooks(True) is not None
        while frame is not None and frame.f_globals.get("__name__") == _MODULE:
            frame = frame.f_back
        while frame is not None and (name := frame.f_globals.get("__name__")) != _MODULE:
            # Without gradients, a checkpoint sets no hooks.
            self.is_entered |= name == _CHECKPOINT or frame.f_code in self._forwards
            frame = frame.f_back


def _forwards(cls: type[Any]) -> Iterator[CodeType]:
    """Yield the code of every forward of an autograd function outside PyTorch."""
    each: type[Any]
    for each in cls.__subclasses__():
        code = getattr(vars(each).get("forward"), "__func__", None)
        if code is not None and not (each.__module__ or "").startswith("torch."):
            yield code.__code__
        yield from _forwards(each)
