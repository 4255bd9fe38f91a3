"""What PyTorch does when an op is called, for any number of inputs and outputs, beside what the op says of itself."""

import functools
import importlib
import itertools
import math
from typing import NamedTuple

import pytest

from cnnstat.errors import OpError
from cnnstat.ir.op import Storage, numel
from cnnstat.ir.window import STATISTIC, UNFOLLOWED, WHOLE, Piece
from cnnstat.ops import FAMILIES, lookup

torch = pytest.importorskip("torch")

from oracles.flop_counter import macs_of_run  # noqa: E402  # imports torch
from oracles.saved_tensors import saved_storages, storage_of  # noqa: E402  # imports torch

BYTES = {None: 4, "float32": 4, "int64": 8, "bool": 1}


def examples_of(*files):
    """Every example of the ops of these files, with a readable id."""
    names = itertools.chain.from_iterable(FAMILIES[file] for file in files)
    return [pytest.param(*e, id=f"{e.op} of {e.inputs}") for name in names for e in lookup(name).examples()]


def torch_object(name):
    """The class or function that a dotted name means."""
    package, *path = name.split(".")
    if package != "torch":
        return getattr(importlib.import_module(name.rpartition(".")[0]), path[-1])
    return functools.reduce(getattr, path, torch)


def is_module(op):
    """Whether the op's twin is an nn.Module."""
    found = torch_object(op.torch)
    return isinstance(found, type) and issubclass(found, torch.nn.Module)


def chained(function, in_place=""):
    """The caller of a function of two tensors: from left to right over all inputs, in place if the op says so."""

    def call(op, tensors, arguments):
        if op.storage is Storage.IN_PLACE:
            return functools.reduce(lambda a, b: getattr(a, in_place)(b), tensors)
        return functools.reduce(function, tensors)

    return call


CALLERS = {
    "torch.cat": lambda op, tensors, arguments: torch.cat(tensors, **arguments),
    "torch.stack": lambda op, tensors, arguments: torch.stack(tensors, **arguments),
    "torch.Tensor.__getitem__": lambda op, tensors, arguments: tensors[0][arguments["index"]],
    "torch.nn.functional.interpolate": lambda op, tensors, arguments: torch.nn.functional.interpolate(
        tensors[0], **arguments
    ),
    "torch.add": chained(torch.add, "add_"),
    "torch.sub": chained(torch.sub, "sub_"),
    "torch.mul": chained(torch.mul, "mul_"),
    "torch.div": chained(torch.div, "div_"),
    "torch.maximum": chained(torch.maximum),
    "torch.minimum": chained(torch.minimum),
}
"""How functions are called that do not simply take the op's inputs and then its arguments by name."""


def build(op, inputs, device="cpu"):
    """The op's nn.Module in inference mode, or its function with arguments, as a callable of its input tensors."""
    arguments = op.torch_arguments(inputs)
    if is_module(op):
        with torch.device(device):
            return torch_object(op.torch)(**arguments).eval()
    if op.torch in CALLERS:
        return lambda *tensors: CALLERS[op.torch](op, tensors, arguments)
    return functools.partial(torch_object(op.torch), **arguments)


def twin(op, inputs):
    """The op's nn.Module as it is constructed, in training mode, or its function with the arguments filled in."""
    made, arguments = torch_object(op.torch), op.torch_arguments(inputs)
    return made(**arguments) if isinstance(made, type) else lambda *tensors: made(*tensors, **arguments)


def ones(shapes, device="cpu"):
    """Tensors of these shapes that require a gradient."""
    return [torch.ones(shape, device=device, requires_grad=True) for shape in shapes]


def tensors_in(result):
    """The tensors of a result, however nested, in order, without those that are None."""
    if isinstance(result, torch.Tensor):
        return (result,)
    return tuple(itertools.chain.from_iterable(map(tensors_in, result or ())))


def shapes_of(result):
    """The shapes of all tensors of a result."""
    return tuple(tuple(tensor.shape) for tensor in tensors_in(result))


def parameters_of(module):
    """Name and shape of each parameter."""
    return {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}


def macs_by_torch(function, inputs):
    """Half of what PyTorch's own FLOP counter counts."""
    return macs_of_run(lambda: function(*inputs))


# Kept for the backward pass -------------------------------------------------------------------------------------------


class Kept(NamedTuple):
    """Which of its inputs and outputs a call keeps for its backward pass, and the bytes of all else."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    extra_bytes: int


def kept_by_torch(function, inputs, owned=()):
    """What autograd keeps of a call; an input that is overwritten is the output.

    inputs: tensors, or shapes of random ones; owned: tensors that do not count beside a module's own.
    """
    if isinstance(function, torch.nn.Module):
        owned = (*owned, *function.parameters(), *function.buffers())
    tensors = [x if isinstance(x, torch.Tensor) else torch.rand(x, requires_grad=True) * 1 for x in inputs]
    outputs, storages = saved_storages(lambda: tensors_in(function(*tensors)), owned)
    made, read = (
        tuple(i for i, tensor in enumerate(group) if storages.pop(storage_of(tensor), 0))
        for group in (outputs, tensors)
    )
    return Kept(read, made, sum(storages.values()))


def kept_by_op(op, inputs):
    """The same as the op says it."""
    saved = op.saved(inputs, op.output(inputs))
    extra = sum(count * BYTES[dtype] for count, dtype in saved.extra)
    return Kept(tuple(sorted(saved.inputs)), tuple(sorted(saved.outputs)), extra)


# Reads ----------------------------------------------------------------------------------------------------------------


ALL_OF_AN_AXIS = (WHOLE, STATISTIC, UNFOLLOWED)
"""Rules by which an output may read every index of an axis."""


def support_by_op(op, inputs, position, which=0, index=0):
    """For each axis of one input the indices that the output at `position` reads, by the op's windows."""
    support = [set(range(size)) for size in inputs[which]]
    for place, read in zip(position, op.window(inputs, op.output(inputs), index)[which]):
        if read is not None and read[1] not in ALL_OF_AN_AXIS:
            axis, rule = read
            support[axis] &= indices_read(rule, place)
    return support


def support_by_torch(function, tensors, position, which=0, index=0):
    """For each axis of one input the indices that have a gradient at the output's `position`."""
    # A leaf cannot be overwritten, a copy can.
    copies = [tensor * 1 if tensor.requires_grad else tensor for tensor in tensors]
    tensors_in(function(*copies))[index][position].backward()
    return [set(indices) for indices in zip(*tensors[which].grad.nonzero().tolist())]


def between_flat_parts(shape):
    """Numbers between 0.1 and 0.9, where no activation is flat."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(shape, dtype=torch.float64, generator=generator) * 0.8 + 0.1).requires_grad_()


def in_inference(function):
    """A module in inference and in double precision; functions as they are."""
    return function.eval().double() if isinstance(function, torch.nn.Module) else function


def read_by_torch(function, inputs, positions, index=0):
    """For each position of output `index`: for each input and axis, the input indices that have a gradient.

    All inputs are ones, so that ties share the gradient of a maximum and no factor is zero.
    """
    xs = [torch.ones(shape, dtype=torch.float64, requires_grad=True) for shape in inputs]
    output = tensors_in(function(*(x * 1 for x in xs)))[index]
    found = []
    for position in positions:
        grads = torch.autograd.grad(output[position], xs, retain_graph=True, allow_unused=True)
        found.append([[set()] * x.dim() if g is None else _support(g) for x, g in zip(xs, grads)])
    return found


def _support(gradient):
    """For each axis the indices at which a gradient is not zero; rounding errors of weights count as zero."""
    places = (gradient.abs() > 1e-7).nonzero()
    return [set(places[:, axis].tolist()) for axis in range(gradient.dim())]


def read_by_op(op, inputs, position, index=0):
    """The same as the op's window says it; None for axes that no output axis reads."""
    outputs = op.output(inputs)
    return [
        _read(reads, shape, position) for shape, reads in zip(inputs, op.window(inputs, outputs, index), strict=True)
    ]


def _read(reads, shape, position):
    """The indices that one output reads of each axis of one input, borders not clipped."""
    found = [None] * len(shape)
    for output, entry in zip(position, reads, strict=True):
        if entry is None:
            continue
        axis, rule = entry
        if rule is UNFOLLOWED:
            continue
        if isinstance(rule, Piece) and not 0 <= output - rule.start < shape[axis]:
            return [set()] * len(shape)
        found[axis] = set(range(shape[axis])) if rule in ALL_OF_AN_AXIS else indices_read(rule, output)
    return found


def indices_read(window, output):
    """The inputs that one output reads through a window, or of a piece, which may lie elsewhere."""
    if isinstance(window, Piece):
        return {output - window.start}
    periods, residue = divmod(output, window.period)
    return {tap + periods * window.advance for tap in window.taps[residue]}


def assert_reads_as_torch(op, inputs, positions, function=None, index=0, is_clipped=False):
    """Each of these outputs reads what its window says; outputs whose field passes a border are left out.

    is_clipped: whether what lies behind a border reads nothing of the input, so that these can be compared too.

    Returns how many outputs were compared.
    """
    compared = 0
    positions = list(positions)
    function = function or build(op, inputs)
    if isinstance(function, torch.nn.Module):
        function.double()
    seen = read_by_torch(function, inputs, positions, index)
    for position, actual in zip(positions, seen):
        for said, found, shape in zip(read_by_op(op, inputs, position, index), actual, inputs):
            if is_clipped:
                said = [axis and axis & set(range(size)) for axis, size in zip(said, shape)]
            if any(axis and not axis <= set(range(size)) for axis, size in zip(said, shape)):
                continue
            compared += 1
            if any(axis == set() for axis in said):
                said = [set()] * len(said)
            assert [a for a, s in zip(found, said) if s is not None] == [s for s in said if s is not None], position
    return compared


def diagonal(shape):
    """Positions in which every index of every axis occurs."""
    return [tuple(min(i, size - 1) for size in shape) for i in range(max(shape, default=1))]


def shapes_by_torch(op, inputs):
    """The shapes PyTorch makes of zeros, or None where it refuses or leaves nothing."""
    try:
        made = shapes_of(build(op, inputs)(*map(torch.zeros, inputs)))
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError, OpError):
        return None
    return made if all(size > 0 for shape in made for size in shape) else None


def shapes_by_op(op, inputs):
    """The shapes an op says it makes, or None where it refuses."""
    try:
        return op.output(inputs)
    except OpError:
        return None


# Arithmetic -----------------------------------------------------------------------------------------------------------


def evaluated(numbers):
    """The value of the numbers of a line of `explain`."""
    text = numbers.replace(",", "").translate(
        str.maketrans({"·": "*", "×": "*", "−": "-", "²": "**2", "⌋": ")", "⌉": ")"})
    )
    return eval(text.replace("⌊", "floor(").replace("⌈", "ceil("), {"floor": math.floor, "ceil": math.ceil})


def assert_explained(op, inputs):
    """The numbers of each line of `explain` come out at its value."""
    for line in op.formulas(inputs, op.output(inputs)):
        if isinstance(line.value, int):
            assert evaluated(line.numbers) == line.value


def check_formulas(op, inputs):
    """The numbers of each line of `explain` come out at its value, and MACs and FLOPs are those of the facets."""
    outputs = op.output(inputs)
    formulas = op.formulas(inputs, outputs)
    assert formulas
    for formula in formulas:
        assert evaluated(formula.numbers) == formula.value, formula
    stated = {formula.quantity: formula.value for formula in formulas}
    assert stated.get("MACs", 0) == op.macs(inputs, outputs)
    if "FLOPs" in stated:
        assert stated["FLOPs"] == sum(op.other_flops(inputs, outputs).values())


def check_all_arithmetic(op, inputs):
    """The same of an op without products, whose lines are all the arithmetic there is."""
    outputs = op.output(inputs)
    formulas = op.formulas(inputs, outputs)
    for formula in formulas:
        assert evaluated(formula.numbers) == formula.value, formula
    learnt = sum(numel(shape) for shape in op.weights(inputs).values())
    assert learnt == sum(f.value for f in formulas if f.quantity == "weights")
    flops = sum(f.value for f in formulas if f.quantity.endswith("FLOPs"))
    assert flops == sum(op.other_flops(inputs, outputs).values())
    assert op.macs(inputs, outputs) == 0


def check_example(op, inputs):
    """Shape, weights and buffers are PyTorch's; explained numbers are arithmetic that comes out right."""
    (output,) = op.output(inputs)
    module = twin(op, inputs)
    if isinstance(module, torch.nn.Module):
        assert parameters_of(module) == dict(op.weights(inputs))
        assert {name: tuple(b.shape) for name, b in module.named_buffers()} == dict(op.buffers(inputs))
        module.eval()
    assert tuple(module(torch.rand(inputs[0])).shape) == output
    check_all_arithmetic(op, inputs)
