"""The contract that every op keeps, run over every example of every registered op."""

import dataclasses
import importlib
import inspect
import json
import types
from collections import Counter
from itertools import chain

import pytest

from cnnstat.errors import OpError
from cnnstat.ir.declaration import Formula
from cnnstat.ir.op import Example, Family, Linearity, Op, Saved, Storage, register
from cnnstat.ir.window import IDENTITY, AxisRule
from cnnstat.ops import FAMILIES, lookup, names
from cnnstat.spec.spec_graph import parse_spec

OPS = [pytest.param(lookup(name), id=name) for name in names()]
EXAMPLES = [pytest.param(*e, id=f"{e.op} of {e.inputs}") for name in names() for e in lookup(name).examples()]
FLOP_PARTS = {
    "bias",
    "normalization",
    "activation",
    "pooling",
    "element-wise",
    "resampling",
    "attention",
    "recurrent",
}
DTYPES = (None, "float32", "int64", "int32", "bool")
BATCH_NOT_FIRST = {
    "MatMul": "without a common batch axis 0 holds rows, or is broadcast",
    "ScaledDotProductAttention": "its mask has no batch",
}
"""Ops whose work may not grow with axis 0 of every input, and why."""


def is_count(value):
    """Whether a value is a non-negative int, and no other kind of number."""
    return type(value) is int and value >= 0


def are_sizes(shape):
    """Whether a value is a tuple of positive ints."""
    return type(shape) is tuple and all(type(size) is int and size > 0 for size in shape)


def test_no_name_is_registered_twice():
    assert [name for name, count in Counter(chain.from_iterable(FAMILIES.values())).items() if count > 1] == []


@pytest.mark.parametrize("kind", OPS)
class TestClass:
    def test_it_says_what_it_is(self, kind):
        assert issubclass(kind, Op)
        assert kind.__name__ in names()
        assert isinstance(kind.family, Family)
        assert isinstance(kind.torch, str)
        assert kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}(")

    def test_its_arguments_are_declared(self, kind):
        fields = dataclasses.fields(kind)
        assert [field.name for field in fields] == [*kind.examples()[0].op.arguments()]
        for field in fields:
            assert field.metadata["doc"]
            json.dumps(field.metadata["kind"].schema)
            if field.default is not dataclasses.MISSING:
                assert field.metadata["kind"].normalize(field.default) == field.default

    def test_it_has_examples_and_takes_their_number_of_inputs(self, kind):
        fewest, most = kind.input_count
        assert kind.examples()
        for op, inputs in kind.examples():
            assert type(op) is kind
            assert fewest <= len(inputs) <= (most or len(inputs))


@pytest.mark.parametrize(("op", "inputs"), EXAMPLES)
class TestExample:
    def test_outputs_are_shapes(self, op, inputs):
        outputs = op.output(inputs)
        assert type(outputs) is tuple
        assert outputs
        assert all(map(are_sizes, outputs))
        dtypes = op.dtypes(("float32",) * len(inputs), "float32", len(outputs))
        assert len(dtypes) == len(outputs)

    def test_tensors_and_work_are_counts(self, op, inputs):
        outputs = op.output(inputs)
        tensors = {**op.weights(inputs), **op.buffers(inputs)}
        assert len(tensors) == len(op.weights(inputs)) + len(op.buffers(inputs))
        assert all(type(name) is str and are_sizes(shape) for name, shape in tensors.items())
        assert is_count(op.macs(inputs, outputs))
        flops = op.other_flops(inputs, outputs)
        assert set(flops) <= FLOP_PARTS
        assert all(map(is_count, flops.values()))

    def test_macs_grow_with_the_batch(self, op, inputs):
        outputs = op.output(inputs)
        batch = 0 if getattr(op, "batch_first", True) else 1
        doubled = tuple((*shape[:batch], 2 * shape[batch], *shape[batch + 1 :]) for shape in inputs)
        if op.macs(inputs, outputs) == 0:
            return
        if op.kind in BATCH_NOT_FIRST and len({shape[:1] for shape in (*inputs, *outputs)}) > 1:
            pytest.skip(BATCH_NOT_FIRST[op.kind])
        assert op.macs(doubled, op.output(doubled)) == 2 * op.macs(inputs, outputs)

    def test_windows_fit_inputs_and_outputs(self, op, inputs):
        outputs = op.output(inputs)
        for index, shape in enumerate(outputs):
            window = op.window(inputs, outputs, index)
            assert len(window) == len(inputs)
            for reads, source in zip(window, inputs):
                assert len(reads) == len(shape)
                entries = [entry for entry in reads if entry is not None]
                assert all(0 <= axis < len(source) for axis, _ in entries)
                assert len({axis for axis, _ in entries}) == len(entries)
                assert all(isinstance(rule, AxisRule) for _, rule in entries)

    def test_memory_exists(self, op, inputs):
        outputs = op.output(inputs)
        saved = op.saved(inputs, outputs)
        assert set(saved.inputs) <= set(range(len(inputs)))
        assert set(saved.outputs) <= set(range(len(outputs)))
        assert all(
            is_count(count) and dtype in (None, "int64", "int32", "bool", "float32") for count, dtype in saved.extra
        )
        assert isinstance(op.storage, Storage)
        assert op.storage is not Storage.IN_PLACE or outputs[0] == inputs[0]
        assert isinstance(op.training_storage, Storage)
        assert isinstance(op.linearity, Linearity)

    def test_it_explains_itself(self, op, inputs):
        lines = op.formulas(inputs, op.output(inputs))
        assert lines
        for line in lines:
            assert isinstance(line, Formula)
            assert line.quantity
            assert line.symbols
            assert line.numbers
            assert type(line.value) in (int, str)

    def test_it_is_written_as_a_spec_writes_it(self, op, inputs):
        assert op.kind == type(op).__name__
        assert str(op).startswith(op.kind)
        fields = {field.name: getattr(op, field.name) for field in dataclasses.fields(op)}
        assert json.dumps(fields)
        from_lists = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
        assert type(op)(**from_lists) == op
        assert hash(type(op)(**from_lists)) == hash(op)

    def test_its_text_means_it_in_a_spec(self, op, inputs):
        names = [f"x{number}" for number in range(len(inputs))]
        given = {name: {"shape": list(shape), "batch": None} for name, shape in zip(names, inputs)}
        layers = [{"layer": str(op), "from": names}]
        assert parse_spec(json.dumps({"inputs": given, "layers": layers})).nodes[-1].op == op


# Beside PyTorch ------------------------------------------------------------------------------------------------------


def chained(name):
    """The caller of a function of two tensors over any number of them, from left to right; in place if the op is."""

    def call(torch, op, tensors, arguments):
        first, *others = tensors
        for other in others:
            first = getattr(first, f"{name}_" if op.storage is Storage.IN_PLACE else name)(other)
        return first

    return call


CALLERS = {
    "torch.cat": lambda torch, op, tensors, arguments: torch.cat(tensors, **arguments),
    "torch.stack": lambda torch, op, tensors, arguments: torch.stack(tensors, **arguments),
    "torch.Tensor.__getitem__": lambda torch, op, tensors, arguments: tensors[0][arguments["index"]],
    "torch.nn.functional.interpolate": lambda torch, op, tensors, arguments: torch.nn.functional.interpolate(
        tensors[0], **arguments
    ),
    **{f"torch.{name}": chained(name) for name in ("add", "sub", "mul", "div", "maximum", "minimum")},
}
"""How functions are called that do not take the op's inputs and then its arguments by name."""


def attended(op, module, tensors):
    """The result of attention; the last input stands for the key and value that are not given."""
    query, key, value = (*tensors, *tensors[-1:] * (3 - len(tensors)))
    result, weights = module(query, key, value, need_weights=op.need_weights)
    return (result, weights) if op.need_weights else result


def remembered(op, module, tensors):
    """The result of an LSTM, which takes its two states as one argument."""
    first, *states = tensors
    return module(first, tuple(states)) if states else module(first)


MODULE_CALLERS = {"torch.nn.MultiheadAttention": attended, "torch.nn.LSTM": remembered}
"""How modules are called that do not simply take the op's inputs."""

INTEGER_INPUTS = {"Embedding"}


@pytest.fixture(scope="session")
def torch():
    return pytest.importorskip("torch")


def twin(op):
    """The class or function that an op names; skips if it names none or its library is missing."""
    if not op.torch:
        pytest.skip("PyTorch has no such op")
    parts = op.torch.split(".")
    try:
        found = importlib.import_module(parts[0])
    except (ImportError, RuntimeError) as error:  # torchvision raises RuntimeError beside a torch it was not built for
        pytest.skip(f"{parts[0]} cannot be imported: {error}")
    for depth, part in enumerate(parts[1:], start=1):
        found = getattr(found, part) if hasattr(found, part) else importlib.import_module(".".join(parts[: depth + 1]))
    return found


def shapes_in(torch, result):
    """The shapes of all tensors of a result, however nested."""
    if isinstance(result, torch.Tensor):
        return (tuple(result.shape),)
    return tuple(shape for part in result for shape in shapes_in(torch, part))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize(("op", "inputs"), EXAMPLES)
def test_pytorch_makes_the_same(op, inputs, torch):
    found, arguments = twin(op), op.torch_arguments(inputs)
    dtype = torch.int64 if op.kind in INTEGER_INPUTS else torch.float32
    tensors = [torch.zeros(shape, dtype=dtype, device="meta") for shape in inputs]
    if isinstance(found, type):
        with torch.device("meta"):
            module = found(**arguments).eval()
        assert {name: tuple(weight.shape) for name, weight in module.named_parameters()} == op.weights(inputs)
        assert {name: tuple(buffer.shape) for name, buffer in module.named_buffers()} == op.buffers(inputs)
        caller = MODULE_CALLERS.get(op.torch)
        result = caller(op, module, tensors) if caller else module(*tensors)
    elif op.torch in CALLERS:
        result = CALLERS[op.torch](torch, op, tensors, arguments)
    else:
        result = found(*tensors, **arguments)
    assert shapes_in(torch, result) == op.output(inputs)


@pytest.mark.parametrize("kind", OPS)
def test_arguments_stand_in_pytorchs_order(kind, torch):
    found = twin(kind)
    if not isinstance(found, type):
        pytest.skip("functions take tensors among their arguments")
    parameters = inspect.signature(found.__init__).parameters
    if "args" in parameters:
        pytest.skip("PyTorch hides the order behind *args")
    theirs = [name for name in parameters if name not in ("self", *kind.inferred)]
    ours = [field.name for field in dataclasses.fields(kind) if not field.kw_only]
    assert [name for name in theirs if name in ours] == ours


# Registration --------------------------------------------------------------------------------------------------------


def complete():
    """The namespace of the smallest op that states everything."""
    return {
        "__doc__": "Passes its input on.",
        "family": Family.OTHER,
        "torch": "",
        "output": lambda self, inputs: inputs,
        "weights": lambda self, inputs: {},
        "buffers": lambda self, inputs: {},
        "macs": lambda self, inputs, outputs: 0,
        "other_flops": lambda self, inputs, outputs: {},
        "window": lambda self, inputs, outputs, index=0: (((0, IDENTITY),),),
        "saved": lambda self, inputs, outputs: Saved(),
        "formulas": lambda self, inputs, outputs: (Formula("output", "x", "1", 1),),
        "examples": classmethod(lambda cls: (Example(cls(), ((1,),)),)),
    }


def made(namespace):
    """An op class with these members."""
    return dataclasses.dataclass(frozen=True, repr=False)(
        types.new_class("Passing", (Op,), exec_body=lambda members: members.update(namespace))
    )


def test_register_takes_an_op_that_states_everything():
    kind = made(complete())
    assert register(kind) is kind


@pytest.mark.parametrize("facet", sorted(complete()))
def test_register_refuses_an_op_that_leaves_a_facet_out(facet):
    namespace = complete()
    del namespace[facet]
    with pytest.raises(TypeError, match=f"Passing states no {facet.strip('_').replace('doc', 'docstring')}"):
        register(made(namespace))


def test_register_names_everything_that_is_missing():
    namespace = {name: value for name, value in complete().items() if name not in ("macs", "saved")}
    with pytest.raises(TypeError, match="Passing states no macs, saved"):
        register(made(namespace))


def test_register_refuses_an_argument_that_is_not_declared():
    with pytest.raises(KeyError):
        register(made({**complete(), "__annotations__": {"size": int}, "size": 3}))


def test_lookup_suggests_the_nearest_name():
    with pytest.raises(OpError, match="there is no layer called Conv2D; did you mean Conv2d?"):
        lookup("Conv2D")
