"""What PyTorch says about one call with several inputs: kept tensors, gradients, products, and checks of `explain`."""

import importlib
import math
from typing import NamedTuple

import pytest

from cnnstat.ir.window import WHOLE
from cnnstat.ops import FAMILIES, lookup

torch = pytest.importorskip("torch")

BYTES = {None: 4, "float32": 4, "int64": 8, "bool": 1}


class Kept(NamedTuple):
    """Which of its inputs and outputs a call keeps for its backward pass, and the bytes of all else."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    extra_bytes: int


def examples_of(*families):
    """Every example of these families, with a readable id."""
    names = (name for family in families for name in FAMILIES[family])
    return [pytest.param(*e, id=f"{e.op} of {e.inputs}") for name in names for e in lookup(name).examples()]


def twin(op, inputs):
    """The PyTorch module, or the function with its arguments filled in."""
    path, name = op.torch.rsplit(".", 1)
    made = getattr(importlib.import_module(path), name)
    arguments = op.torch_arguments(inputs)
    return made(**arguments) if isinstance(made, type) else lambda *tensors: made(*tensors, **arguments)


def ones(shapes, device="cpu"):
    """Tensors of these shapes that require a gradient."""
    return [torch.ones(shape, device=device, requires_grad=True) for shape in shapes]


def flat(result):
    """The tensors of a result that may be nested, without those that are None."""
    if isinstance(result, (tuple, list)):
        return [tensor for part in result for tensor in flat(part)]
    return [] if result is None else [result]


def shapes_of(result):
    """The shapes of all tensors of a result."""
    return tuple(tuple(tensor.shape) for tensor in flat(result))


def kept_by_torch(function, inputs, parameters=()):
    """What autograd's hooks see, parameters left out."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        outputs = flat(function(*inputs))
    # A storage's own address tells tensors apart on the meta device too, where data pointers are all 0.
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in kept}
    for parameter in parameters:
        storages.pop(parameter.untyped_storage()._cdata, None)
    found = [
        tuple(i for i, tensor in enumerate(group) if storages.pop(tensor.untyped_storage()._cdata, 0))
        for group in (inputs, outputs)
    ]
    return Kept(*found, sum(storages.values()))


def kept_by_op(op, inputs):
    """What an op says that training keeps."""
    saved = op.saved(inputs, op.output(inputs))
    return Kept(saved.inputs, saved.outputs, sum(count * BYTES[dtype] for count, dtype in saved.extra))


def macs_by_torch(function, inputs):
    """Half of what PyTorch's own FLOP counter counts."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        function(*inputs)
    flops, odd = divmod(counter.get_total_flops(), 2)
    assert not odd
    return flops


def parameters_of(module):
    """Name and shape of each parameter."""
    return {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}


def support_by_op(op, inputs, position, which=0, index=0):
    """For each axis of one input the indices that the output at `position` reads, by the op's windows."""
    support = [set(range(size)) for size in inputs[which]]
    for place, read in zip(position, op.window(inputs, op.output(inputs), index)[which]):
        if read is None or read[1] is WHOLE:
            continue
        axis, rule = read
        periods, residue = divmod(place, rule.period)
        support[axis] &= {tap + periods * rule.advance for tap in rule.taps[residue]}
    return support


def support_by_torch(function, tensors, position, which=0, index=0):
    """For each axis of one input the indices that have a gradient at the output's `position`."""
    flat(function(*tensors))[index][position].backward()
    return [set(indices) for indices in zip(*tensors[which].grad.nonzero().tolist())]


def check_formulas(op, inputs):
    """The numbers of each line of `explain` evaluate to its value, and MACs and FLOPs are those of the facets."""
    outputs = op.output(inputs)
    formulas = op.formulas(inputs, outputs)
    assert formulas
    for formula in formulas:
        numbers = formula.numbers
        for sign, python in zip("·×−⌊⌈⌋⌉", ("*", "*", "-", "floor(", "ceil(", ")", ")")):
            numbers = numbers.replace(sign, python)
        assert eval(numbers, {"floor": math.floor, "ceil": math.ceil}) == formula.value, formula
    stated = {formula.quantity: formula.value for formula in formulas}
    assert stated.get("MACs", 0) == op.macs(inputs, outputs)
    if "FLOPs" in stated:
        assert stated["FLOPs"] == sum(op.other_flops(inputs, outputs).values())
