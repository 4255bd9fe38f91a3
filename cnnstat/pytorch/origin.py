"""Where tensors come from: the tensors of a trace, followed by identity, by storage, and through writes in place."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cnnstat.ir.graph import Edge
from cnnstat.pytorch.tensors import storage_key

NO_KEYS: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class Origin:
    """What is known of one tensor at one time.

    edge: the node output or input it is; None for what depends on stored tensors only.
    keys: numbers of the stored tensors it is computed from and that no node has taken yet.
    works: numbers of the calls that computed it from them.
    time: when it was made; storage: which memory it lies in.
    """

    tensor: torch.Tensor
    edge: Edge | None
    keys: frozenset[int] = NO_KEYS
    works: frozenset[int] = NO_KEYS
    time: int = 0
    storage: int = 0


class Origins:
    """The origins of all tensors of a trace; tensors are kept alive, so that an id means one tensor only."""

    def __init__(self) -> None:
        self._of: dict[int, Origin] = {}
        self._latest: dict[int, Origin] = {}
        self._written: dict[int, Origin] = {}
        self._time = 0

    def note(self, origin: Origin, *, overwrites: bool = False) -> None:
        """Remember where a tensor comes from; `overwrites` if its memory held something else before."""
        self._time += 1
        origin.time = self._time
        origin.storage = storage_key(origin.tensor)
        self._of[id(origin.tensor)] = origin
        if origin.storage:
            self._latest[origin.storage] = origin
            if overwrites:
                self._written[origin.storage] = origin

    def known(self, tensor: torch.Tensor) -> Origin | None:
        """Return what was noted of this very tensor object."""
        return self._of.get(id(tensor))

    def neighbour(self, tensor: torch.Tensor) -> Origin | None:
        """Return the latest origin in the memory of a tensor that was never noted itself."""
        return self._latest.get(storage_key(tensor))

    def written_since(self, origin: Origin) -> Origin | None:
        """Return the last write into the memory of a tensor that came after it was made; None if there is none."""
        writer = self._written.get(origin.storage)
        return writer if writer is not None and writer.time > origin.time else None

    def __contains__(self, tensor: torch.Tensor) -> bool:
        """Whether this very tensor object was noted."""
        return id(tensor) in self._of
