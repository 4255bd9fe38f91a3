"""Autograd's saved tensors."""

import pytest

torch = pytest.importorskip("torch")


def storage_of(tensor):
    """What tells storages apart on the meta device too, where data pointers are all 0."""
    return tensor.untyped_storage()._cdata


def saved_storages(run, owned=()):
    """Run something that requires gradients; return its result, and the bytes of each storage that autograd keeps.

    Storages of `owned`, parameters and buffers, are left out.
    """
    saved = []
    hooks = torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor
    )
    with hooks:
        result = run()
    skipped = set(map(storage_of, owned))
    storages = {storage_of(tensor): tensor.untyped_storage().nbytes() for tensor in saved}
    return result, {key: size for key, size in storages.items() if key not in skipped}
