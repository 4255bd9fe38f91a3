"""Autograd pass: what training keeps, found by a pass with gradients, where ops' own rules do not say.

Ops of the library say what autograd keeps of them. Other calls, weights that are computed in the pass, regions without
gradients and checkpointed ones need PyTorch itself: the pass costs time, so that it is made for such models only.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

import torch
from torch import nn

from cnnstat.ir.graph import Graph
from cnnstat.pytorch.builder import Builder
from cnnstat.pytorch.fake import Faker
from cnnstat.pytorch.module_stack import ModuleStack
from cnnstat.pytorch.recorder import Inner, Recorder
from cnnstat.pytorch.tensors import storage_key


class AutogradRecorder(Recorder):
    """Runs the calls of a pass and records none; autograd sees each of them, as nothing takes a shortcut."""

    takes_shortcuts = False

    def record(
        self, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], result: Any, inner: Inner
    ) -> None:
        """Do nothing."""


class SavedStorages:
    """The storages that autograd keeps of a pass; parameters and buffers, which are there anyway, are left out."""

    def __init__(self) -> None:
        self._owned: list[torch.Tensor] = []
        self._saved: list[torch.Tensor] = []

    def recorder(
        self, builder: Builder, stack: ModuleStack, faker: Faker | None, inputs: list[torch.Tensor]
    ) -> Recorder:
        """Return the recorder of the pass, which knows the model's tensors."""
        self._owned = builder.log.aliases
        return AutogradRecorder(builder, stack, faker)

    def hooks(self) -> torch.autograd.graph.saved_tensors_hooks:
        """Return the hooks under which the pass has to run."""
        return torch.autograd.graph.saved_tensors_hooks(self._save, lambda tensor: tensor)

    def _save(self, tensor: torch.Tensor) -> torch.Tensor:
        # Kept alive, so that a storage is not freed and its number given to another; without its history, as autograd
        # holds what is kept and what is returned: the graph would hold itself for ever.
        alone = tensor.detach()
        self._saved.append(alone)
        return alone

    @property
    def bytes(self) -> int:
        """Their bytes, each storage once and whole."""
        owned = set(map(storage_key, self._owned))
        sizes = {storage_key(tensor): _storage_bytes(tensor) for tensor in self._saved}
        return sum(size for key, size in sizes.items() if key not in owned)


def _storage_bytes(tensor: torch.Tensor) -> int:
    """Return the bytes of a tensor's storage; of a sparse tensor, which has none, those of its elements."""
    try:
        return tensor.untyped_storage().nbytes()
    except (NotImplementedError, RuntimeError):
        return tensor.numel() * tensor.element_size()


def trains_otherwise(module: nn.Module) -> bool:
    """Whether a module's own code lets its mode decide what training keeps.

    It sets its mode itself, as backbones with fixed batch norm do, or makes checkpoints in training only.
    """
    kind = type(module)
    if kind.__module__.startswith("torch.nn."):
        return False
    return kind.train is not nn.Module.train or any(
        "training" in names and _is_switched_on(module, [name for name in names if "checkpoint" in name])
        for each in kind.__mro__
        if not each.__module__.startswith("torch.nn.")
        for value in vars(each).values()
        if isinstance(value, FunctionType) and (names := value.__code__.co_names)
    )


def _is_switched_on(module: nn.Module, names: list[str]) -> bool:
    """Whether code that uses these names makes checkpoints: those that are settings are set, one is no method."""
    others = [name for name in names if not hasattr(type(module), name)]
    return bool(others) and all(vars(module).get(name, True) for name in others)


def needs_autograd_pass(graph: Graph, builder: Builder) -> bool:
    """Whether a node that takes part in training has no exact rule for what autograd keeps."""
    if builder.changes_autograd:
        return True
    if not builder.without_rule:
        return False
    has_gradient = [False] * graph.arity
    for index, node in enumerate(graph.nodes):
        owned = builder.ownership.weights.get(node.shares if node.shares is not None else index)
        is_learnt = bool(owned) and node.trainable
        result = is_learnt or any(has_gradient[edge.value] for edge in node.inputs)
        if index in builder.without_rule and result:
            return True
        has_gradient.append(result)
    return False
