"""What PyTorch does when an op is called, for any number of inputs and outputs, beside what the op says of itself."""

import functools
import itertools
import math

import pytest

from cnnstat.errors import OpError
from cnnstat.ir.op import Storage
from cnnstat.ir.window import WHOLE
from cnnstat.ops import FAMILIES, lookup

torch = pytest.importorskip("torch")

BYTES = {None: 4, "float32": 4, "int64": 8, "bool": 1}


def family_examples(*files):
    """Every example of the ops of these files, with a readable id."""
    names = itertools.chain.from_iterable(FAMILIES[file] for file in files)
    return [pytest.param(*e, id=f"{e.op} of {e.inputs}") for name in names for e in lookup(name).examples()]


def torch_object(name):
    """The class or function that a dotted name means."""
    return functools.reduce(getattr, name.split(".")[1:], torch)


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


def tensors_in(result):
    """The tensors of a result, however nested, in order."""
    if isinstance(result, torch.Tensor):
        return (result,)
    return tuple(itertools.chain.from_iterable(map(tensors_in, result)))


def shapes_of(result):
    """The shapes of all tensors of a result."""
    return tuple(tuple(tensor.shape) for tensor in tensors_in(result))


def kept_by_torch(function, inputs):
    """What autograd keeps: (indices of inputs, indices of outputs, bytes of all else but parameters and buffers)."""
    is_owner = isinstance(function, torch.nn.Module)
    tensors = (*function.parameters(), *function.buffers()) if is_owner else ()
    owned = {tensor.untyped_storage().data_ptr() for tensor in tensors}
    xs = [torch.rand(shape, requires_grad=True) * 1 for shape in inputs]
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        ys = tensors_in(function(*xs))
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    storages = {pointer: size for pointer, size in storages.items() if pointer not in owned}
    mine = [{i for i, t in enumerate(ts) if t.untyped_storage().data_ptr() in storages} for ts in (xs, ys)]
    for tensor in (*xs, *ys):
        storages.pop(tensor.untyped_storage().data_ptr(), None)
    return (*mine, sum(storages.values()))


def kept_by_op(op, inputs):
    """The same as the op says it."""
    saved = op.saved(inputs, op.output(inputs))
    return set(saved.inputs), set(saved.outputs), sum(count * BYTES[dtype] for count, dtype in saved.extra)


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
        found[axis] = set(range(shape[axis])) if rule is WHOLE else indices_read(rule, output)
    return found


def indices_read(window, output):
    """The inputs that one output reads through a window."""
    periods, residue = divmod(output, window.period)
    return {tap + periods * window.advance for tap in window.taps[residue]}


def assert_reads_as_torch(op, inputs, positions, function=None, index=0):
    """Each of these outputs reads what its window says; outputs whose field passes a border are left out.

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


def evaluated(numbers):
    """The value of the numbers of a line of `explain`."""
    text = numbers.replace("·", "*").replace("−", "-").replace("²", "**2")
    for opening, closing, name in (("⌊", "⌋", "math.floor"), ("⌈", "⌉", "math.ceil")):
        text = text.replace(opening, f"{name}(").replace(closing, ")")
    return eval(text, {"math": math})


def assert_explained(op, inputs):
    """The numbers of each line of `explain` come out at its value."""
    for line in op.formulas(inputs, op.output(inputs)):
        if isinstance(line.value, int):
            assert evaluated(line.numbers) == line.value
