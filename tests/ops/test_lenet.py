"""LeNet-5's own layers against the table of the 1998 paper and against small PyTorch modules written from it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnstat.errors import OpError
from cnnstat.ir.op import numel
from cnnstat.ops.lenet import LENET5_TABLE, ConnectionTableConv2d, EuclideanRBF, TrainableSubsampling2d

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
)

EXAMPLES = examples_of("lenet")
C3 = ConnectionTableConv2d(16, 5, "lenet5")

PAPER_TABLE_1 = """
X...XXX..XXXX.XX
XX...XXX..XXXX.X
XXX...XXX..X.XXX
.XXX..XXXX..X.XX
..XXX..XXXX.XX.X
...XXX..XXXX.XXX
"""


class Subsampling(torch.nn.Module):
    """Sum of a window, a coefficient and a bias a map."""

    def __init__(self, op, inputs):
        super().__init__()
        self.pool = torch.nn.AvgPool2d(op.kernel_size, op.stride, divisor_override=1)
        self.weight = torch.nn.Parameter(torch.ones(inputs[0][1]))
        self.bias = torch.nn.Parameter(torch.ones(inputs[0][1]))

    def forward(self, x):
        return self.pool(x) * self.weight[:, None, None] + self.bias[:, None, None]


class TableConvolution(torch.nn.Module):
    """An ordinary convolution whose kernels of unconnected pairs are zero."""

    def __init__(self, op, inputs):
        super().__init__()
        self.places = [(row, channel) for row, channels in enumerate(op.rows) for channel in channels]
        self.shape = (op.out_channels, inputs[0][1], *op.kernel)
        self.arguments = {"stride": op.stride, "padding": op.padding}
        self.weight = torch.nn.Parameter(torch.ones(len(self.places), *op.kernel))
        self.bias = torch.nn.Parameter(torch.ones(op.out_channels)) if op.bias else None

    def forward(self, x):
        kernels = torch.zeros(self.shape).index_put(tuple(torch.tensor(self.places).T), self.weight)
        return torch.nn.functional.conv2d(x, kernels, self.bias, **self.arguments)


class RadialBasis(torch.nn.Module):
    """Squared distances."""

    def __init__(self, op, inputs):
        super().__init__()
        centres = torch.zeros(op.out_features, inputs[0][-1])
        if op.trainable:
            self.weight = torch.nn.Parameter(centres)
        else:
            self.register_buffer("weight", centres)

    def forward(self, x):
        return (x.unsqueeze(-2) - self.weight).square().sum(-1)


REFERENCES = {
    TrainableSubsampling2d: Subsampling,
    ConnectionTableConv2d: TableConvolution,
    EuclideanRBF: RadialBasis,
}


def reference(op, inputs):
    """The module that does what the paper says."""
    return REFERENCES[type(op)](op, inputs)


@pytest.mark.parametrize(("op", "inputs"), EXAMPLES)
def test_examples_are_the_papers_layers(op, inputs):
    module = reference(op, inputs)
    assert op.output(inputs) == shapes_of(module(*ones(inputs)))
    assert dict(op.weights(inputs)) == parameters_of(module)
    assert dict(op.buffers(inputs)) == {name: tuple(b.shape) for name, b in module.named_buffers()}
    check_formulas(op, inputs)


@pytest.mark.parametrize(("op", "inputs"), [e for e in EXAMPLES if "Table" not in e.values[0].kind])
def test_kept_tensors_are_the_references(op, inputs):
    module = reference(op, inputs)
    assert kept_by_op(op, inputs) == kept_by_torch(module, ones(inputs), list(module.parameters()))


@pytest.mark.parametrize(("op", "inputs"), EXAMPLES)
def test_windows_are_where_the_gradient_is(op, inputs):
    (shape,) = op.output(inputs)
    module = reference(op, inputs)
    for position in ((0,) * len(shape), tuple(size // 2 for size in shape), tuple(size - 1 for size in shape)):
        theirs = support_by_torch(module, ones(inputs), position)
        ours = [taps & set(range(size)) for taps, size in zip(support_by_op(op, inputs, position), inputs[0])]
        if op.kind == "ConnectionTableConv2d":
            assert theirs[1] == set(op.rows[position[1]])
            theirs[1] = ours[1]
        assert ours == theirs


def test_table_is_the_papers():
    lines = PAPER_TABLE_1.split()
    columns = [tuple(row for row in range(6) if lines[row][column] == "X") for column in range(16)]
    assert tuple(columns) == LENET5_TABLE


def test_work_of_lenet5_is_the_papers():
    s2, s4 = ((1, 6, 28, 28),), ((1, 16, 10, 10),)
    subsampling = TrainableSubsampling2d(2)
    assert subsampling.output(s2) == ((1, 6, 14, 14),)
    assert subsampling.output(s4) == ((1, 16, 5, 5),)
    for inputs, parameters, connections in ((s2, 12, 5_880), (s4, 32, 2_000)):
        outputs = subsampling.output(inputs)
        assert sum(map(numel, subsampling.weights(inputs).values())) == parameters
        assert sum(subsampling.other_flops(inputs, outputs).values()) == connections
        assert subsampling.connections(inputs, outputs) == connections
        assert subsampling.macs(inputs, outputs) == 0

    c3 = ((1, 6, 14, 14),)
    assert C3.output(c3) == ((1, 16, 10, 10),)
    assert sum(map(numel, C3.weights(c3).values())) == 1_516
    assert C3.macs(c3, C3.output(c3)) == 150_000
    assert C3.other_flops(c3, C3.output(c3)) == {"bias": 1_600}
    assert C3.connections(c3, C3.output(c3)) == 151_600
    assert {f.quantity: f.value for f in C3.formulas(c3, C3.output(c3))}["connections"] == 151_600

    rbf, f6 = EuclideanRBF(10), ((1, 84),)
    assert rbf.macs(f6, ((1, 10),)) == 840
    assert rbf.other_flops(f6, ((1, 10),)) == {"element-wise": 840}
    assert rbf.weights(f6) == {}


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.integers(3, 8), st.integers(1, 3))
def test_a_full_table_is_a_plain_convolution(kernel_size, stride, padding, size, channels):
    inputs = ((2, channels, size, size),)
    everything = tuple(range(channels))
    op = ConnectionTableConv2d(2, kernel_size, (everything, everything), stride, padding)
    plain = torch.nn.Conv2d(channels, 2, kernel_size, stride, padding)
    assert op.output(inputs) == shapes_of(plain(*ones(inputs)))
    assert op.macs(inputs, op.output(inputs)) == macs_by_torch(plain, ones(inputs))
    assert sum(map(numel, op.weights(inputs).values())) == sum(p.numel() for p in plain.parameters())


@pytest.mark.parametrize(
    ("op", "shape", "message"),
    [
        (ConnectionTableConv2d(8, 5, "lenet5"), (1, 6, 14, 14), "table has 16 rows, one an output map; write 8"),
        (C3, (1, 3, 14, 14), "row 1 of table reads map 3; the input's maps are 0 to 2"),
        (C3, (1, 8, 14, 14), "table reads no input map 6; name it in a row, or feed 6 maps"),
        (ConnectionTableConv2d(1, 1, ((0, 0),)), (1, 1, 4, 4), "row 0 of table names a map twice"),
        (C3, (1, 6, 4, 4), "use a smaller kernel"),
        (TrainableSubsampling2d(2), (1, 6, 4), "TrainableSubsampling2d takes batch×channels×height×width"),
        (EuclideanRBF(10), (84,), "EuclideanRBF takes batch×features"),
    ],
)
def test_refusals_say_what_to_change(op, shape, message):
    with pytest.raises(OpError) as error:
        op.output((shape,))
    assert message in str(error.value)


def test_a_misspelt_table_is_refused():
    with pytest.raises(OpError, match="did you mean lenet5"):
        ConnectionTableConv2d(16, 5, "lenet-5")
