"""The tree of modules that gives every layer its path as its name."""

from __future__ import annotations

from collections.abc import Container, Mapping

from torch import nn


class Scope(nn.Module):
    """Holds the layers whose names start with its own; prints as the block it was called from."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self._label = label

    def _get_name(self) -> str:
        """The name of the block."""
        return self._label


def place(
    root: nn.Module, layers: Mapping[str, nn.Module], blocks: Mapping[str, str], stored: Container[str] = ()
) -> dict[str, str]:
    """Hang all layers into `root` under their dotted names, and return the path of each.

    blocks: what the scopes are called. A layer that is a scope too (`a` beside `a.b`) holds the layers within itself.
    A name that its parent uses already (`type`, or `weight` inside a convolution) gets a `_` behind.
    stored: full names of tensors, which no layer can have.
    """
    placed: dict[str, tuple[nn.Module, str]] = {}
    for name in layers:
        parent, path, prefix = root, "", ""
        for part in name.split("."):
            prefix = f"{prefix}.{part}" if prefix else part
            if prefix not in placed:
                own = part
                while hasattr(parent, own) or prefix.removesuffix(part) + own in stored:
                    own += "_"
                module = layers.get(prefix) or Scope(blocks.get(prefix, "Scope"))
                parent.add_module(own, module)
                placed[prefix] = module, f"{path}.{own}" if path else own
            parent, path = placed[prefix]
    return {name: placed[name][1] for name in layers}
