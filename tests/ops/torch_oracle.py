"""What PyTorch itself says about an op: its module, what autograd keeps, and which inputs an output depends on."""

import functools
import importlib
import itertools
from typing import NamedTuple

import pytest

from cnnstat.ir.op import numel
from cnnstat.ir.window import WHOLE
from cnnstat.ops import FAMILIES, lookup

torch = pytest.importorskip("torch")

BYTES = {None: 4, "float32": 4, "int64": 8, "bool": 1}


def family_examples(*files):
    """Every example of the ops of these files, with a readable id."""
    names = itertools.chain.from_iterable(FAMILIES[file] for file in files)
    return [pytest.param(*e, id=f"{e.op} of {e.inputs[0]}") for name in names for e in lookup(name).examples()]


def twin(op, inputs):
    """The PyTorch module or function that an op names."""
    module, name = op.torch.rsplit(".", 1)
    made = getattr(importlib.import_module(module), name)
    arguments = op.torch_arguments(inputs)
    return made(**arguments) if isinstance(made, type) else functools.partial(made, **arguments)


class Kept(NamedTuple):
    """What one call keeps for its backward pass."""

    input: bool
    output: bool
    extra_bytes: int


def kept_by_torch(module, shape):
    """What autograd's hooks see in training, without parameters and buffers; an overwritten input is the output."""
    mine = [*module.parameters(), *module.buffers()] if isinstance(module, torch.nn.Module) else []
    owned = {tensor.untyped_storage().data_ptr() for tensor in mine}
    x = torch.rand(shape, requires_grad=True) * 1
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        y = module(x)
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
    for pointer in owned:
        storages.pop(pointer, None)
    output = storages.pop(y.untyped_storage().data_ptr(), 0) > 0
    return Kept(storages.pop(x.untyped_storage().data_ptr(), 0) > 0, output, sum(storages.values()))


def kept_by_op(op, inputs):
    """What an op says that training keeps."""
    saved = op.saved(inputs, op.output(inputs))
    return Kept(0 in saved.inputs, 0 in saved.outputs, sum(count * BYTES[dtype] for count, dtype in saved.extra))


def support_by_torch(module, shape, position):
    """For each axis the input indices that the output at `position` has a gradient for, in inference."""
    if isinstance(module, torch.nn.Module):
        module.eval().double()
    generator = torch.Generator().manual_seed(0)
    # Between 0.1 and 0.9 no activation is flat.
    x = (torch.rand(shape, dtype=torch.float64, generator=generator) * 0.8 + 0.1).requires_grad_()
    module(x * 1)[position].backward()
    return [set(indices) for indices in zip(*x.grad.nonzero().tolist())]


def support_by_op(op, inputs, position):
    """For each axis the input indices that an op's window names."""
    support = [set() for _ in inputs[0]]
    for index, (axis, rule) in zip(position, op.window(inputs, op.output(inputs))[0]):
        if rule is WHOLE:
            support[axis] = set(range(inputs[0][axis]))
            continue
        periods, residue = divmod(index, rule.period)
        support[axis] = {tap + periods * rule.advance for tap in rule.taps[residue]} & set(range(inputs[0][axis]))
    return support


def check_example(op, inputs):
    """Shape, weights and buffers are PyTorch's; explained numbers are arithmetic that comes out right."""
    (output,) = op.output(inputs)
    module = twin(op, inputs)
    if isinstance(module, torch.nn.Module):
        assert {name: tuple(p.shape) for name, p in module.named_parameters()} == dict(op.weights(inputs))
        assert {name: tuple(b.shape) for name, b in module.named_buffers()} == dict(op.buffers(inputs))
        module.eval()
    assert tuple(module(torch.rand(inputs[0])).shape) == output
    check_formulas(op, inputs)


def check_formulas(op, inputs):
    """The numbers of each line of `explain` evaluate to its value; the last line is all the arithmetic there is."""
    outputs = op.output(inputs)
    formulas = op.formulas(inputs, outputs)
    for formula in formulas:
        assert eval(formula.numbers.replace("·", "*").replace("/", "//")) == formula.value
    learnt = sum(numel(shape) for shape in op.weights(inputs).values())
    assert learnt == sum(f.value for f in formulas if f.quantity == "weights")
    flops = sum(f.value for f in formulas if f.quantity.endswith("FLOPs"))
    assert flops == sum(op.other_flops(inputs, outputs).values())
    assert op.macs(inputs, outputs) == 0
