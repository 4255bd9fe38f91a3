"""Recurrent layers against PyTorch's step-by-step code."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnstat.errors import OpError
from cnnstat.ir.op import numel
from cnnstat.ops import lookup
from cnnstat.ops.recurrent import GRU, LSTM, RNN

torch = pytest.importorskip("torch")
from oracles.calls import (  # noqa: E402  # imports torch
    check_formulas,
    examples_of,
    kept_by_op,
    kept_by_torch,
    macs_by_torch,
    ones,
    parameters_of,
    shapes_of,
    support_by_op,
    support_by_torch,
    tensors_in,
    twin,
)

EXAMPLES = examples_of("recurrent")
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported:UserWarning")


@pytest.fixture(autouse=True)
def no_onednn():
    """oneDNN's LSTM keeps a workspace whose size depends on the processor."""
    was_enabled, *_ = torch.backends.mkldnn.set_flags(_enabled=False)
    yield
    torch.backends.mkldnn.set_flags(_enabled=was_enabled)


def call_of(op, inputs, device="cpu"):
    """PyTorch's module, and a function of the sequence and the states it starts from."""
    module = twin(op, inputs).to(device)

    def function(sequence, *states):
        if not states:
            return module(sequence)
        return module(sequence, states if op.kind == "LSTM" else states[0])

    return module, function


def check_call(op, inputs):
    """Sizes, weights, products and kept tensors are PyTorch's."""
    module, function = call_of(op, inputs)
    assert op.output(inputs) == shapes_of(function(*ones(inputs)))
    assert op.weights(inputs) == parameters_of(module)
    assert op.macs(inputs, op.output(inputs)) == macs_by_torch(call_of(op, inputs, "meta")[1], ones(inputs, "meta"))
    assert kept_by_op(op, inputs) == kept_by_torch(function, ones(inputs), list(module.parameters()))
    check_formulas(op, inputs)


@pytest.mark.parametrize(("op", "inputs"), EXAMPLES)
def test_examples_are_pytorchs(op, inputs):
    check_call(op, inputs)
    assert op.buffers(inputs) == {}


@st.composite
def calls(draw):
    """A recurrent layer, a sequence, and perhaps the states to start from."""
    sizes, flags = st.integers(1, 3), st.booleans()
    kind = draw(st.sampled_from(["RNN", "LSTM", "GRU"]))
    options = {name: draw(flags) for name in ("bias", "batch_first", "bidirectional")}
    options["num_layers"] = draw(sizes)
    if options["num_layers"] > 1:
        options["dropout"] = draw(st.sampled_from([0.0, 0.5]))
    if kind == "RNN":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    if kind == "LSTM":
        options["proj_size"] = draw(st.sampled_from([0, 0, 1]))
    op = lookup(kind)(draw(st.integers(2, 4)), **options)
    inputs = (tuple(draw(sizes) for _ in range(3)),)
    return op, inputs + op.output(inputs)[1:] * draw(flags)


@settings(max_examples=40, deadline=None)
@given(calls())
def test_calls_are_pytorchs(case):
    check_call(*case)


@pytest.mark.parametrize("op", [RNN(3), LSTM(3, batch_first=False), GRU(3, bidirectional=True)])
def test_the_last_step_reads_the_whole_sequence_and_the_first_state(op):
    inputs = ((4, 4, 5),)
    inputs += op.output(inputs)[1:]
    _, function = call_of(op, inputs)
    position = (1, 3, 0) if op.batch_first else (3, 1, 0)
    for which in range(len(inputs)):
        theirs = support_by_torch(function, ones(inputs), position, which)
        ours = support_by_op(op, inputs, position, which)
        assert ours[:2] == theirs[:2] if which == 0 else ours[1] == theirs[1]
    last = tensors_in(function(*(tensors := ones(inputs))))[1]
    last[0, 2].sum().backward()
    batch = 0 if op.batch_first else 1
    by_torch = set(tensors[0].grad.nonzero()[:, batch].tolist())
    assert support_by_op(op, inputs, (0, 2, 0), index=1)[batch] == by_torch == {2}


def test_work_of_known_layers():
    inputs = ((1, 10, 100),)
    lstm = LSTM(200)
    assert sum(map(numel, lstm.weights(inputs).values())) == 241_600
    assert lstm.macs(inputs, lstm.output(inputs)) == 10 * 240_000
    assert lstm.other_flops(inputs, lstm.output(inputs)) == {"bias": 16_000, "recurrent": 44_000}
    assert GRU(200).other_flops(inputs, GRU(200).output(inputs)) == {"bias": 12_000, "recurrent": 34_000}
    assert RNN(200, bias=False).other_flops(inputs, RNN(200).output(inputs)) == {"recurrent": 4_000}


@pytest.mark.parametrize(
    ("op", "inputs", "message"),
    [
        (RNN(3), ((2, 5),), "takes batch×steps×features"),
        (RNN(3), ((2, 4, 5), (1, 3, 3)), "starts from a state of 1×2×3, but gets 1×3×3"),
        (LSTM(3), ((2, 4, 5), (1, 2, 3)), "starts from a state of 1×2×3 and 1×2×3, but gets 1×2×3"),
        (LSTM(3, proj_size=3), ((2, 4, 5),), "proj_size=3 must be smaller than hidden_size=3"),
    ],
)
def test_refusals_say_what_to_change(op, inputs, message):
    with pytest.raises(OpError) as error:
        op.output(inputs)
    assert message in str(error.value)
