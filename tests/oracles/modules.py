"""What PyTorch does when a built module runs, beside what the passes say about its graph."""

import itertools
from typing import NamedTuple

import pytest

from cnnstat.ir.graph import Edge
from cnnstat.ir.op import Storage, numel
from cnnstat.pytorch.modules import build

torch = pytest.importorskip("torch")

from torch.multiprocessing.reductions import StorageWeakRef  # noqa: E402  # only where there is a torch
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from oracles.flop_counter import macs_of_run  # noqa: E402  # imports torch
from oracles.saved_tensors import saved_storages, storage_of  # noqa: E402  # imports torch


def inputs_of(graph, device="meta"):
    """One tensor for each input; token numbers are zeros."""
    return [torch.zeros(i.shape, dtype=getattr(torch, i.dtype), device=device) for i in graph.inputs]


def tensors_in(result):
    """The tensors of a result, however nested, in order."""
    if isinstance(result, torch.Tensor):
        return (result,)
    return tuple(itertools.chain.from_iterable(map(tensors_in, result or ())))


# What every node makes -----------------------------------------------------------------------------------------------


def layers_of(module):
    """The module of each node, in the order of the nodes."""
    return [module.get_submodule(step.path) for step in module.network_steps]


def run_hooked(module, inputs, hook):
    """Run a module in inference, and call `hook(number of the node, tensors read, tensors made)` after each node.

    `inputs` is emptied, so that only the run holds the tensors.
    """
    numbers = itertools.count()
    handles = [
        layer.register_forward_hook(lambda _, given, made: hook(next(numbers), given, tensors_in(made)))
        for layer in dict.fromkeys(layers_of(module))
    ]
    alive = {Edge(number): inputs.pop(0) for number in range(len(inputs))}
    try:
        with torch.no_grad():
            return module.eval().run_network(alive)
    finally:
        for handle in handles:
            handle.remove()


class Made(NamedTuple):
    """Shape and dtype of all tensors of every node, and how much PyTorch's own FLOP counter counts, halved."""

    tensors: list
    macs: int


def made_by(module, graph):
    """Run a module on the meta device."""
    tensors = []

    def note(_, __, made):
        tensors.append([(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")) for tensor in made])

    return Made(tensors, macs_of_run(lambda: run_hooked(module, inputs_of(graph), note)))


def said_of(graph, values):
    """Shape and dtype of all tensors of every node, as the shapes pass says."""
    said = zip(values.outputs[graph.arity :], values.dtypes[graph.arity :])
    return [list(zip(shapes, dtypes, strict=True)) for shapes, dtypes in said]


def macs_seen(op, inputs, outputs):
    """How much of an op's work PyTorch's counter sees: matrix products and convolutions, and only the library's own."""
    if op.kind in ("EuclideanRBF", "Bilinear") or (op.kind == "MatMul" and len(inputs[1]) == 1):
        # Squared distances, a trilinear form, and products with a vector are not in its table.
        return 0
    if op.kind == "ConnectionTableConv2d":
        # Computed as a convolution of all pairs of maps, with zeros for those that are not connected.
        return op.macs(inputs, outputs) // op.pairs * inputs[0][1] * op.out_channels
    return op.macs(inputs, outputs)


def macs_of(graph, values):
    """What PyTorch's counter should find in a graph."""
    calls = zip(graph.nodes, values.inputs, values.outputs[graph.arity :])
    return sum(macs_seen(node.op, inputs, outputs) for node, inputs, outputs in calls)


# Memory --------------------------------------------------------------------------------------------------------------


def real_device(graph):
    """The device that tells the truth about a graph's memory: `meta`, where nothing is computed, if it can.

    Not so for attention and recurrent layers, which have kernels of their own on a CPU, for shuffled channels, which
    are always copied there, and for batch norm without momentum, which looks at the value of its counter. A CPU's
    ConvTranspose3d on the other hand holds on to more memory than its result has.
    """
    kinds = ("ScaledDotProductAttention", "MultiheadAttention", "RNN", "LSTM", "GRU", "ChannelShuffle")
    needs_values = any(op.kind in kinds or getattr(op, "momentum", 0) is None for op in (n.op for n in graph.nodes))
    return "cpu" if needs_values else "meta"


class Alive(TorchDispatchMode):
    """Knows which storages of `tensors`, and of those made under it, are alive; those of `ignored` do not count."""

    def __init__(self, tensors, ignored):
        super().__init__()
        self.storages = {}
        self.ignored = set(map(storage_of, ignored))
        for tensor in tensors:
            self.note(tensor)

    def note(self, tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in self.ignored:
            self.storages[storage._cdata] = StorageWeakRef(storage), storage.nbytes()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tensors_in(result) if isinstance(result, (torch.Tensor, tuple, list)) else ():
            self.note(tensor)
        return result

    def bytes(self):
        """The bytes of all storages alive."""
        self.storages = {key: entry for key, entry in self.storages.items() if not entry[0].expired()}
        return sum(size for _, size in self.storages.values())


class Peak(NamedTuple):
    """The most bytes alive right after any node, whose own temporary tensors are gone by then.

    copies: the views that PyTorch copied, because the order of elements in memory allowed none.
    """

    bytes: int
    copies: list


def peak_of(graph):
    """The peak of an inference pass."""
    totals, copies = [], []
    device = real_device(graph)
    module = build(graph, device=device)
    inputs = inputs_of(graph, device)
    alive = Alive(inputs, (*module.parameters(), *module.buffers()))

    def note(number, given, made):
        node = graph.nodes[number]
        totals.append(alive.bytes())
        if node.op.storage is not Storage.FRESH and any(storage_of(t) != storage_of(given[0]) for t in made):
            copies.append(node.name)

    with alive:
        run_hooked(module, inputs, note)
    return Peak(max(totals), copies)


def kept_by(graph):
    """The bytes that a pass in training keeps for its backward pass, parameters and buffers left out."""
    device = real_device(graph)
    module = build(graph, device=device).train()
    inputs = inputs_of(graph, device)
    _, storages = saved_storages(lambda: module(*inputs), (*module.parameters(), *module.buffers()))
    return sum(storages.values())


def needs_gradient(graph, values):
    """For each value whether a gradient flows into it, from its own weights or from what it reads."""
    found = [False] * graph.arity
    for node, inputs in zip(graph.nodes, values.inputs):
        owner = node if node.shares is None else graph.nodes[node.shares]
        is_learnt = owner.trainable and bool(node.op.weights(inputs))
        found.append(is_learnt or any(found[edge.value] for edge in node.inputs))
    return found


def kept_elsewhere(graph, values):
    """The bytes by which a CPU keeps more than the memory pass says, for reasons that are documented.

    Dropout keeps a float an element, a GPU's fused kernel a boolean. A connection table's kernels become one dense
    kernel, which is no parameter, at places that two int64 indices name for each pair.
    """
    extra = 0
    for node, inputs, needs in zip(graph.nodes, values.inputs, needs_gradient(graph, values)[graph.arity :]):
        op = node.op
        if needs and op.kind == "Dropout" and not op.inplace and 0 < op.p < 1:
            extra += 3 * numel(inputs[0])
        if needs and op.kind == "ConnectionTableConv2d":
            extra += 4 * numel(op.kernel) * inputs[0][1] * op.out_channels + 2 * 8 * op.pairs * node.trainable
    return extra
