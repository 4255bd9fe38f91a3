"""What PyTorch does when a built module runs, beside what the passes say about its graph."""

import itertools

import pytest

from cnnstat.ir.graph import Edge
from cnnstat.ir.op import Storage
from cnnstat.passes.memory import memory
from cnnstat.passes.shapes import infer_shapes

torch = pytest.importorskip("torch")

from torch.multiprocessing.reductions import StorageWeakRef  # noqa: E402  # only where there is a torch
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402


def inputs_of(graph, device="meta"):
    """One tensor for each input; token numbers are zeros."""
    return [torch.zeros(i.shape, dtype=getattr(torch, i.dtype), device=device) for i in graph.inputs]


def tensors_in(result):
    """The tensors of a result, however nested, in order."""
    if isinstance(result, torch.Tensor):
        return (result,)
    return tuple(itertools.chain.from_iterable(map(tensors_in, result or ())))


def layers_of(module):
    """The module of each node, in the order of the nodes."""
    return [module.get_submodule(step.path) for step in module._steps]


def call_hooked(module, inputs, hook):
    """Run a module and call `hook(index of the node, its input tensors, its output tensors)` after each node."""
    count = itertools.count()
    layers = set(layers_of(module))
    handles = [
        layer.register_forward_hook(lambda _, given, made: hook(next(count), given, tensors_in(made)))
        for layer in layers
    ]
    try:
        return module.run(dict(enumerate_edges(inputs)))
    finally:
        for handle in handles:
            handle.remove()


def enumerate_edges(inputs):
    """Each input with its edge; `inputs` is emptied, so that only the run holds the tensors."""
    for number in range(len(inputs)):
        yield Edge(number), inputs.pop(0)


def shapes_of(module, graph):
    """The shapes and dtypes of all outputs of every node."""
    found = []

    def note(_, __, made):
        found.append([(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")) for tensor in made])

    with torch.no_grad():
        call_hooked(module, inputs_of(graph), note)
    return found


def macs_of(module, graph):
    """Half of what PyTorch's own FLOP counter counts."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs_of(graph))
    flops, odd = divmod(counter.get_total_flops(), 2)
    assert not odd
    return flops


def storage_of(tensor):
    """What tells storages apart on the meta device too, where data pointers are all 0."""
    return tensor.untyped_storage()._cdata


def kept_by(module, graph, device="meta"):
    """The bytes that a pass in training mode keeps for its backward pass, parameters and buffers left out."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        results = module.train()(*inputs_of(graph, device))
    storages = {storage_of(tensor): tensor.untyped_storage().nbytes() for tensor in kept}
    for owned in (*module.parameters(), *module.buffers()):
        storages.pop(storage_of(owned), None)
    del results
    module.eval()
    return sum(storages.values())


class Storages(TorchDispatchMode):
    """Knows which storages of `tensors`, and of those made under it, are alive; those of `ignored` do not count."""

    def __init__(self, tensors, ignored):
        super().__init__()
        self.alive = {}
        self.ignored = {tensor.untyped_storage()._cdata for tensor in ignored}
        for tensor in tensors:
            self._note(tensor)

    def _note(self, tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in self.ignored:
            self.alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tensors_in(result) if isinstance(result, (torch.Tensor, tuple, list)) else ():
            self._note(tensor)
        return result

    def bytes(self):
        """The bytes of all storages alive."""
        self.alive = {key: entry for key, entry in self.alive.items() if not entry[0].expired()}
        return sum(size for _, size in self.alive.values())


def peak_of(module, graph):
    """The most bytes alive right after any node of an inference pass, whose own temporary tensors are gone by then.

    Also whether every view was one: PyTorch copies where the order of elements in memory does not allow a view.
    """
    values = infer_shapes(graph)
    peak, copies = 0, []
    with torch.no_grad():
        inputs = inputs_of(graph)
        storages = Storages(inputs, (*module.parameters(), *module.buffers()))

        def note(index, given, made):
            nonlocal peak
            peak = max(peak, storages.bytes())
            is_fresh = graph.nodes[index].op.storage is Storage.FRESH
            if not is_fresh and any(storage_of(tensor) != storage_of(given[0]) for tensor in made):
                copies.append(graph.nodes[index].name)

        with storages:
            call_hooked(module, inputs, note)
    assert len(values.inputs) == len(graph.nodes)
    return peak, copies


def expected_memory(graph):
    """What the memory pass says."""
    return memory(graph, infer_shapes(graph))
