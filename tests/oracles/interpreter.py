"""Runs a layer graph in PyTorch: each op by its own twin, weights as the test wants them."""

import functools

import torch

from oracles.calls import torch_object


class Interpreter(torch.nn.Module):
    """A graph as a module; a node that shares weights calls the module of its owner."""

    def __init__(self, graph, values):
        super().__init__()
        self.graph, self.values = graph, values
        self.calls = []
        self.owned = torch.nn.ModuleList()
        for index, node in enumerate(graph.nodes):
            self.calls.append(self._call(index, node) if node.shares is None else self.calls[node.shares])

    def _call(self, index, node):
        """The callable of one node."""
        twin, arguments = torch_object(node.op.torch), node.op.torch_arguments(self.values.inputs[index])
        if isinstance(twin, type):
            module = twin(**arguments).requires_grad_(node.trainable)
            self.owned.append(module)
            return module
        if node.op.torch in ("torch.cat", "torch.stack"):
            return lambda *tensors: twin(tensors, **arguments)
        if node.op.torch == "torch.Tensor.__getitem__":
            return lambda tensor: tensor[arguments["index"]]
        if node.op.torch in ("torch.add", "torch.mul"):
            return lambda *tensors: functools.reduce(twin, tensors)
        return functools.partial(twin, **arguments)

    def forward(self, *inputs):
        """All values, the inputs first."""
        results = [(tensor,) for tensor in inputs]
        for node, call in zip(self.graph.nodes, self.calls, strict=True):
            result = call(*(results[value][output] for value, output in node.inputs))
            results.append((result,) if isinstance(result, torch.Tensor) else tuple(result))
        return results
