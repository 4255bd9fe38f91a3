"""Tensors that training keeps for the backward pass, against PyTorch's autograd."""

import pytest
from graph_builder import Builder

from cnnstat.analysis.memory import memory
from cnnstat.ops.activation import Sigmoid
from cnnstat.ops.adaptive_pool import AdaptiveAvgPool2d
from cnnstat.ops.conv import Conv2d, ConvTranspose2d
from cnnstat.ops.dropout import Dropout
from cnnstat.ops.join import Add, Concat, Multiply
from cnnstat.ops.linear import Linear
from cnnstat.ops.norm import BatchNorm2d
from cnnstat.ops.pool import AvgPool2d, MaxPool2d
from cnnstat.ops.rectifier import ReLU
from cnnstat.ops.shape import Flatten
from cnnstat.ops.slicing import Slice


def memory_of(builder, *outputs, optimizer="sgd"):
    """The memory of a built graph."""
    return memory(*builder.build(*outputs), optimizer=optimizer)


IMAGE = 4 * 8 * 16 * 16
"""Bytes of a map of 8 channels, 16 × 16 pixels, in float32."""


def images(batch=1):
    """A builder that starts from one such map a batch item."""
    return Builder((batch, 8, 16, 16))


def kept_by_torch(graph, values):
    """Bytes of the storages that autograd keeps in training, without parameters and buffers."""
    torch = pytest.importorskip("torch")
    from oracles.interpreter import Interpreter
    from oracles.saved_tensors import saved_storages

    module = Interpreter(graph, values).train()
    inputs = [torch.rand(source.shape) for source in graph.inputs]
    _, storages = saved_storages(lambda: module(*inputs), (*module.parameters(), *module.buffers()))
    return sum(storages.values())


def residual(builder, stride, in_place):
    """A residual block, conv-bn-relu twice."""
    shortcut = builder.last
    builder.chain(Conv2d(8, 3, stride, 1, bias=False), BatchNorm2d(), ReLU(in_place))
    body = builder.chain(Conv2d(8, 3, padding=1, bias=False), BatchNorm2d())
    if stride > 1:
        builder.add(Conv2d(8, 1, stride, bias=False), shortcut)
        shortcut = builder.add(BatchNorm2d())
    builder.add(Add(), body, shortcut)
    builder.add(ReLU(in_place))


def small_resnet(in_place):
    """A stem, two blocks, global pooling and a classifier."""
    builder = Builder((2, 3, 16, 16))
    builder.chain(Conv2d(8, 3, padding=1, bias=False), BatchNorm2d(), ReLU(in_place), MaxPool2d(3, 2, 1))
    residual(builder, 1, in_place)
    residual(builder, 2, in_place)
    builder.chain(AdaptiveAvgPool2d(1), Flatten(), Linear(10))
    return builder


def small_vgg(frozen):
    """Convolutions whose first `frozen` are not trained, and two linear layers."""
    builder = Builder((2, 3, 16, 16))
    for index in range(3):
        builder.add(Conv2d(8, 3, padding=1), trainable=index >= frozen)
        builder.chain(ReLU(True), MaxPool2d(2))
    builder.chain(Flatten(), Linear(16), ReLU(True), Linear(10))
    return builder


def squeeze_excite():
    """A gated map, and a part of it that keeps the whole storage."""
    builder = Builder((2, 8, 8, 8))
    body = builder.add(Conv2d(8, 3, padding=1))
    builder.chain(AdaptiveAvgPool2d(1), Conv2d(4, 1), ReLU(), Conv2d(8, 1), Sigmoid())
    builder.add(Multiply(), body, builder.last)
    builder.add(Slice(1, 0, 4))
    builder.chain(Conv2d(8, 3, padding=1), AvgPool2d(2))
    return builder


def small_unet():
    """Down, up, and a concatenation."""
    builder = Builder((1, 3, 16, 16))
    skip = builder.chain(Conv2d(4, 3, padding=1), ReLU())
    up = builder.chain(MaxPool2d(2), Conv2d(8, 3, padding=1), ReLU(), ConvTranspose2d(4, 2, stride=2))
    builder.add(Concat(), skip, up)
    builder.add(Conv2d(1, 1))
    return builder


def shared_layers():
    """One convolution called three times."""
    builder = Builder((1, 4, 8, 8))
    conv = Conv2d(4, 3, padding=1)
    builder.add(conv)
    for _ in range(2):
        builder.add(ReLU())
        builder.add(conv, shares=0)
    return builder


NETS = {
    "resnet": lambda: small_resnet(False),
    "resnet in place": lambda: small_resnet(True),
    "vgg": lambda: small_vgg(0),
    "vgg half frozen": lambda: small_vgg(2),
    "squeeze-excite": squeeze_excite,
    "unet": small_unet,
    "shared": shared_layers,
}


@pytest.mark.parametrize("name", NETS)
def test_saved_tensors_are_those_of_pytorch(name):
    graph, values = NETS[name]().build()
    assert memory(graph, values).saved_bytes == kept_by_torch(graph, values)


def test_dropout_copies_in_training_and_passes_through_in_inference():
    builder = images()
    builder.chain(Conv2d(8, 3, padding=1), Dropout(), Conv2d(8, 1))
    found = memory_of(builder)
    assert found.peak_inference_bytes == 2 * IMAGE
    # The input, the map behind the dropout, and its mask of one byte an element (as CUDA keeps it).
    assert found.saved_bytes == 2 * IMAGE + IMAGE // 4


def test_nothing_is_saved_where_nothing_is_learnt():
    builder = images()
    builder.add(Conv2d(8, 3, padding=1), trainable=False)
    builder.chain(Sigmoid(), MaxPool2d(2))
    found = memory_of(builder)
    assert found.saved_bytes == found.gradient_bytes == 0
