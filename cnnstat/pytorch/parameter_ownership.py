"""Who counts which stored tensor: every parameter and buffer belongs to the first node that uses it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from cnnstat.ir.op import Shape
from cnnstat.ir.work import Work
from cnnstat.ops.traced import Tensors
from cnnstat.pytorch.tensors import shape_of


@dataclass(slots=True, eq=False)
class StoredTensor:
    """A parameter or buffer of the model.

    owner: the number of the node that counts it. dtype: what it has in the trace, where another may be asked for.
    inner: of a subclass around other tensors, names below its own, shapes and dtypes of what it stores.
    """

    name: str
    tensor: torch.Tensor
    is_parameter: bool
    is_persistent: bool = True
    owner: int | None = None
    dtype: str = ""
    inner: tuple[tuple[str, Shape, str], ...] = ()

    @property
    def parts(self) -> tuple[tuple[str, Shape, str], ...]:
        """What is stored of it: itself, unless it is a subclass around other tensors."""
        return self.inner or (("", shape_of(self.tensor), self.dtype),)


@dataclass(slots=True)
class OwnedTensors:
    """The stored tensors that a node takes.

    keys: their numbers; tensors, stored: parameters and buffers with their shapes; frozen: those that are not trained.
    shares: the node that owns all weights of this one; is_plain: whether the op says the same by itself.
    dtypes: the dtype of each; transient: buffers that are not in the state dict.
    """

    keys: frozenset[int] = frozenset()
    tensors: Tensors = ()
    stored: Tensors = ()
    frozen: frozenset[str] = frozenset()
    trainable: bool = True
    shares: int | None = None
    is_plain: bool = True
    dtypes: Mapping[str, str] = field(default_factory=dict)
    transient: frozenset[str] = frozenset()

    @property
    def fields(self) -> dict[str, Any]:
        """The tensors as fields of a traced op."""
        return {"tensors": self.tensors, "stored": self.stored, "frozen": self.frozen}


_NO_WORK = Work()
_NO_NAMES: Mapping[int, str] = {}

NOTHING = OwnedTensors()
"""The owned of a node without stored tensors."""


@dataclass(slots=True)
class ParameterOwnership:
    """All stored tensors of a model, the weights that each node states, and work on tensors that no node has yet.

    works: work of calls that read stored tensors only, and the numbers of the works before it.
    taken: numbers of the works that nodes have counted, in order.
    """

    tensors: list[StoredTensor] = field(default_factory=list)
    weights: dict[int, dict[str, Shape]] = field(default_factory=dict)
    works: list[tuple[Work, frozenset[int]]] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)

    @property
    def owners(self) -> list[tuple[StoredTensor, int]]:
        """The tensors that nodes have taken, with the numbers of these nodes."""
        return [(tensor, tensor.owner) for tensor in self.tensors if tensor.owner is not None]

    def add_work(self, work: Work, before: frozenset[int] = frozenset()) -> frozenset[int]:
        """Remember work on stored tensors, and that `before` it; the first node that uses its result will count both.

        Returns one number for all of it: a recurrence on weights would else hand on more numbers in each step.
        """
        if not work and len(before) < 2:
            return before
        self.works.append((work.on_weights, before))
        return frozenset((len(self.works) - 1,))

    def take_works(self, numbers: Iterable[int]) -> Work:
        """Return the work of these calls as far as no node has counted it, which is now done."""
        work = _NO_WORK
        waiting = list(numbers)
        while waiting:
            number = waiting.pop()
            own, before = self.works[number]
            if own or before:
                work += own
                waiting += before
                # Counted by the first node only: a weight that two layers read was computed once.
                self.works[number] = (_NO_WORK, frozenset())
                self.taken.append(number)
        return work

    def take_for(
        self,
        weights: Mapping[str, Shape],
        buffers: Mapping[str, Shape],
        direct: Mapping[str, int],
        side: frozenset[int],
    ) -> OwnedTensors:
        """Return what a node takes whose op has these weights and buffers.

        direct: numbers of the tensors that are the op's weights and buffers, by the op's names.
        side: numbers of those that its operands are computed from.
        """
        if not direct and not side and not weights and not buffers:
            return NOTHING
        is_same = not side and self._are(direct, weights, buffers)
        owners = {self.tensors[key].owner for key in direct.values()}
        # One other node owns all of them, with the same shapes: this call uses that layer's weights again.
        if is_same and len(owners) == 1 and None not in owners:
            (owner,) = owners
            if owner is not None and self.weights.get(owner) == weights:
                return OwnedTensors(tensors=tuple(weights.items()), shares=owner)
        names = {key: name for name, key in direct.items()}
        keys = (*direct.values(), *side)
        owned = self.take(keys, names) if keys else OwnedTensors()
        owned.is_plain = is_same and (owners == {None} or not owners) and not owned.frozen
        return owned

    def _are(self, direct: Mapping[str, int], weights: Mapping[str, Shape], buffers: Mapping[str, Shape]) -> bool:
        """Whether these tensors, by name, are just an op's weights and buffers, each of them another tensor."""
        if len(direct) != len(weights) + len(buffers) or len(set(direct.values())) != len(direct):
            return False
        for name, key in direct.items():
            stored = self.tensors[key]
            if (weights if stored.is_parameter else buffers).get(name) != stored.tensor.shape or stored.inner:
                return False
        return True

    def take(self, keys: Collection[int], names: Mapping[int, str] = _NO_NAMES) -> OwnedTensors:
        """Return what a node takes of these tensors: those that no other node has."""
        if not keys:
            return NOTHING
        free = sorted({key for key in keys if self.tensors[key].owner is None})
        parameters: list[tuple[str, Shape]] = []
        buffers: list[tuple[str, Shape]] = []
        frozen: list[str] = []
        transient: list[str] = []
        dtypes: dict[str, str] = {}
        for key in free:
            stored = self.tensors[key]
            for part, shape, dtype in stored.parts:
                name = names.get(key, stored.name) + part
                (parameters if stored.is_parameter else buffers).append((name, shape))
                dtypes[name] = dtype
                if not stored.is_persistent:
                    transient.append(name)
                if stored.is_parameter and not stored.tensor.requires_grad:
                    frozen.append(name)
        is_frozen = bool(parameters) and len(frozen) == len(parameters)
        return OwnedTensors(
            keys=frozenset(free),
            tensors=tuple(parameters),
            stored=tuple(buffers),
            # Names are kept only where some are trained; a node without any is `trainable=False` as a whole.
            frozen=frozenset(() if is_frozen else frozen),
            trainable=not is_frozen,
            is_plain=not free,
            dtypes=dtypes,
            transient=frozenset(transient),
        )

    def is_learnt(self, keys: Iterable[int]) -> bool:
        """Whether one of these tensors is a parameter that needs a gradient."""
        return any(self.tensors[key].is_parameter and self.tensors[key].tensor.requires_grad for key in keys)

    def assign(self, owned: OwnedTensors, node: int) -> None:
        """Note that a node has what it claimed."""
        if owned is NOTHING:
            return
        for key in owned.keys:
            self.tensors[key].owner = node
        self.weights[node] = dict(owned.tensors)

    def free(self) -> list[int]:
        """Return the numbers of the tensors that no node has."""
        return [key for key, stored in enumerate(self.tensors) if stored.owner is None]
