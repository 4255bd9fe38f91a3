"""Builds small layer graphs for the tests of the passes, and the networks whose receptive fields are published."""

from cnnstat.analysis.receptive_field.propagation import receptive_fields
from cnnstat.analysis.shapes import infer_shapes
from cnnstat.ir.graph import Edge, Graph, Input, Node
from cnnstat.ops.conv import Conv2d
from cnnstat.ops.join import Add, Concat, Multiply
from cnnstat.ops.pool import AvgPool2d, MaxPool2d


class Builder:
    """Collects nodes; `add` returns the edge of what a node makes."""

    def __init__(self, *shapes, dtypes=None):
        dtypes = dtypes or ("float32",) * len(shapes)
        self.inputs = tuple(Input(f"x{i}", shape, dtype) for i, (shape, dtype) in enumerate(zip(shapes, dtypes)))
        self.nodes = []
        self.last = Edge(0)

    def add(self, op, *sources, name=None, **arguments):
        """Append a node that reads `sources`, or else the last node."""
        name = name or f"{op.kind}_{len(self.nodes)}"
        self.nodes.append(Node(name, op, tuple(sources) or (self.last,), **arguments))
        self.last = Edge(len(self.inputs) + len(self.nodes) - 1)
        return self.last

    def chain(self, *ops):
        """Append ops one behind the other."""
        for op in ops:
            self.add(op)
        return self.last

    def build(self, *outputs):
        """The graph and its tensors."""
        graph = Graph(name="test", inputs=self.inputs, nodes=tuple(self.nodes), outputs=tuple(outputs) or (self.last,))
        return graph, infer_shapes(graph)


VGG = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
RESNET = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def vgg_features(depth, size=224):
    """The convolutions and pools of a VGG; Simonyan & Zisserman 2014, table 1."""
    builder = Builder((1, 3, size, size))
    for stage, convs in enumerate(VGG[depth], start=1):
        for conv in range(1, convs + 1):
            builder.add(Conv2d(4, 3, padding=1), name=f"conv{stage}_{conv}")
        builder.add(MaxPool2d(2), name=f"pool{stage}")
    return builder


def alexnet_features(size=224):
    """The convolutions and pools of torchvision's AlexNet."""
    builder = Builder((1, 3, size, size))
    builder.chain(
        Conv2d(4, 11, stride=4, padding=2),
        MaxPool2d(3, 2),
        Conv2d(4, 5, padding=2),
        MaxPool2d(3, 2),
        Conv2d(4, 3, padding=1),
        Conv2d(4, 3, padding=1),
        Conv2d(4, 3, padding=1),
        MaxPool2d(3, 2),
    )
    return builder


def resnet_features(depth, size=224, stride_in_first=False):
    """The residual stages of a ResNet; torchvision has a bottleneck's stride in the 3×3, the paper in the first 1×1."""
    builder = Builder((1, 3, size, size))
    builder.chain(Conv2d(4, 7, stride=2, padding=3), MaxPool2d(3, 2, 1))
    for stage, blocks in enumerate(RESNET[depth]):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            shortcut = builder.last
            if depth < 50:
                builder.chain(Conv2d(4, 3, stride, 1), Conv2d(4, 3, 1, 1))
            else:
                first, second = (stride, 1) if stride_in_first else (1, stride)
                builder.chain(Conv2d(4, 1, first), Conv2d(4, 3, second, 1), Conv2d(4, 1))
            body = builder.last
            builder.add(Add(), body, builder.add(Conv2d(4, 1, stride), shortcut) if not block else shortcut)
    return builder


def unet(depth, size, up):
    """A U-Net of one convolution a level; `up` makes the op that doubles the size."""
    builder = Builder((1, 1, size, size))
    skips = []
    for _ in range(depth):
        skips.append(builder.add(Conv2d(1, 3, padding=1)))
        builder.add(AvgPool2d(2))
    builder.add(Conv2d(1, 3, padding=1))
    while skips:
        builder.add(up())
        builder.add(Concat(), skips.pop(), builder.last)
        builder.add(Conv2d(1, 3, padding=1))
    return builder


def gated(pool):
    """A convolution, and a squeeze-excite gate on it that pools by `pool`."""
    builder = Builder((1, 4, 16, 16))
    body = builder.add(Conv2d(4, 3, padding=1))
    builder.chain(pool, Conv2d(4, 1))
    gate = builder.last
    builder.add(Multiply(), body, gate)
    builder.add(Conv2d(4, 3, padding=1))
    return builder


def fields_of(builder, *outputs, strict=False):
    """The receptive fields of a built graph."""
    graph, values = builder.build(*outputs)
    return receptive_fields(graph, values, strict=strict)


def total(builder, *outputs, strict=False):
    """The receptive field of a network."""
    return fields_of(builder, *outputs, strict=strict).total
