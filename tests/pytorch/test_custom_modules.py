"""The modules that PyTorch has none for: values beside their definitions, and gradients."""

import pytest

from cnnstat.ir.graph import Edge, Graph, Input, Node
from cnnstat.ops import lookup
from cnnstat.ops.lenet import LENET5_TABLE
from cnnstat.pytorch.modules import build

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402  # only where there is a torch


def layer(op, *shapes):
    """The module of one op."""
    inputs = tuple(Input(f"x{number}", shape, "float32") for number, shape in enumerate(shapes))
    reads = tuple(map(Edge, range(len(shapes))))
    nodes = (Node("layer", op, reads),)
    return build(Graph(name="one", inputs=inputs, nodes=nodes, outputs=(Edge(len(shapes)),))).layer


def op(name, *arguments, **named):
    return lookup(name)(*arguments, **named)


def test_binary_step():
    x = torch.tensor([[-2.0, -1e-30, 0.0, 1e-30, 3.0]], requires_grad=True)
    y = layer(op("BinaryStep"), (1, 5))(x)
    assert y.tolist() == [[0, 0, 1, 1, 1]]
    y.sum().backward()
    assert x.grad.tolist() == [[0] * 5]


def test_scaled_tanh():
    y = layer(op("ScaledTanh"), (1, 3))(torch.tensor([[-1.0, 0.0, 1.0]]))
    torch.testing.assert_close(y, torch.tensor([[-1.0, 0.0, 1.0]]), atol=1e-4, rtol=0)


def test_scale_shift():
    module = layer(op("ScaleShift"), (1, 2, 1, 2))
    module.weight.data, module.bias.data = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 0.0])
    y = module(torch.tensor([[[[1.0, 3.0]], [[5.0, -7.0]]]]))
    assert y.tolist() == [[[[2.5, 6.5]], [[-5.0, 7.0]]]]


def test_crops():
    x = torch.arange(2 * 5 * 7.0).reshape(1, 2, 5, 7)
    assert layer(op("Crop", (2, 3), (1, 4)), x.shape)(x).equal(x[:, :, 1:3, 4:7])
    assert layer(op("CenterCrop", (2, 4)), x.shape)(x).equal(x[:, :, 1:3, 1:5])
    assert layer(op("CropLike"), x.shape, (1, 9, 3, 3))(x, torch.zeros(1, 9, 3, 3)).equal(x[:, :, 1:4, 2:5])


def test_joins_of_many_go_from_left_to_right():
    a, b, c = (torch.rand(1, 4) for _ in range(3))
    shapes = ((1, 4),) * 3
    assert layer(op("Add"), *shapes)(a, b, c).equal(a + b + c)
    assert layer(op("Multiply"), *shapes)(a, b, c).equal(a * b * c)
    assert layer(op("Maximum"), *shapes)(a, b, c).equal(torch.stack((a, b, c)).amax(0))
    assert layer(op("Concat"), *shapes)(a, b, c).equal(torch.cat((a, b, c), 1))
    assert layer(op("Subtract"), *shapes[:2])(a, b).equal(a - b)
    before = a.clone()
    assert layer(op("Add", inplace=True), *shapes[:2])(a, b) is a
    assert a.equal(before + b)


def test_trainable_subsampling():
    module = layer(op("TrainableSubsampling2d", (2, 3), (1, 2)), (2, 4, 6, 7))
    x = torch.rand(2, 4, 6, 7)
    sums = x.unfold(2, 2, 1).unfold(3, 3, 2).sum((-1, -2))
    wanted = sums * module.weight.reshape(4, 1, 1) + module.bias.reshape(4, 1, 1)
    torch.testing.assert_close(module(x), wanted)


def test_connection_table():
    module = layer(op("ConnectionTableConv2d", 16, 5, "lenet5", stride=2, padding=1), (2, 6, 14, 14))
    x = torch.rand(2, 6, 14, 14)
    kernels = iter(module.weight)
    for number, row in enumerate(LENET5_TABLE):
        weight = torch.stack([next(kernels) for _ in row])[None]
        wanted = nn.functional.conv2d(x[:, list(row)], weight, module.bias[number : number + 1], 2, 1)
        torch.testing.assert_close(module(x)[:, number : number + 1], wanted)
    module(x).sum().backward()
    assert module.weight.grad.shape == (60, 5, 5)


def test_euclidean_rbf():
    module = layer(op("EuclideanRBF", 10), (3, 84))
    x = torch.rand(3, 84)
    torch.testing.assert_close(module(x), torch.cdist(x, module.weight) ** 2)
    assert set(module.weight.unique().tolist()) == {-1, 1}
    assert not list(module.parameters())
    assert [name for name, _ in layer(op("EuclideanRBF", 2, trainable=True), (1, 3)).named_parameters()] == ["weight"]


@pytest.mark.parametrize("mode", ["row", "batch"])
def test_stochastic_depth(mode):
    module = layer(op("StochasticDepth", 0.5, mode), (64, 3))
    x = torch.ones(64, 3)
    assert module.eval()(x) is x
    torch.manual_seed(0)
    rows = {tuple(row) for row in module.train()(x).tolist()}
    assert rows <= {(0.0,) * 3, (2.0,) * 3}
    assert len(rows) == (2 if mode == "row" else 1)
    assert layer(op("StochasticDepth", 1, mode), (64, 3)).train()(x).sum() == 0


def test_attention_takes_one_to_three_inputs():
    query, memory = torch.rand(2, 5, 12), torch.rand(2, 7, 12)
    module = layer(op("MultiheadAttention", 3, need_weights=True), query.shape, memory.shape).eval()
    for found, wanted in zip(module(query, memory), nn.MultiheadAttention.forward(module, query, memory, memory)):
        torch.testing.assert_close(found, wanted)
    alone = layer(op("MultiheadAttention", 3), query.shape).eval()
    assert alone(query)[0].shape == query.shape
    assert alone(query)[1] is None


def test_recurrent_states_are_inputs():
    module = layer(op("LSTM", 4), (2, 5, 3), (1, 2, 4), (1, 2, 4))
    x, h, c = torch.rand(2, 5, 3), torch.rand(1, 2, 4), torch.rand(1, 2, 4)
    torch.testing.assert_close(module(x, h, c), nn.LSTM.forward(module, x, (h, c)))
    torch.testing.assert_close(module(x), nn.LSTM.forward(module, x))
