"""Small networks for the tests of reports, and the zoo's, each analyzed once."""

import io
from functools import cache

from rich.console import Console

import cnnstat
from cnnstat import report
from cnnstat.analysis.analysis import analyze_graph
from cnnstat.ir.graph import Edge, Graph, Input, Node
from cnnstat.ops import lookup
from cnnstat.report.subjects.analysis import document

zoo = cache(cnnstat.analyze)


def op(kind, *arguments, **named):
    return lookup(kind)(*arguments, **named)


def network(shape, *layers, **about):
    """A graph of (name, op, names of its inputs), the first input being called `input`."""
    numbers = {"input": 0}
    nodes = []
    for name, layer, *sources in layers:
        nodes.append(Node(name, layer, tuple(Edge(numbers[source]) for source in sources)))
        numbers[name] = len(nodes)
    inputs = (Input("input", shape, "float32"),)
    about = {"name": "test", **about}
    return analyze_graph(Graph(inputs=inputs, nodes=tuple(nodes), outputs=(Edge(len(nodes)),), **about))


@cache
def branches():
    """Dilation, a gate, a transposed convolution, a resize, and branches of different stride and centre."""
    return network(
        (2, 3, 64, 64),
        ("stem", op("Conv2d", 16, 3, stride=2, padding=1), "input"),
        ("dilated", op("Conv2d", 16, 3, dilation=3, padding=3), "stem"),
        ("add", op("Add"), "stem", "dilated"),
        ("gate.pool", op("GlobalAvgPool"), "add"),
        ("gate.fc", op("Conv2d", 16, 1), "gate.pool"),
        ("gate.sigmoid", op("Sigmoid"), "gate.fc"),
        ("gate.multiply", op("Multiply"), "add", "gate.sigmoid"),
        ("down", op("MaxPool2d", 2), "gate.multiply"),
        ("up", op("ConvTranspose2d", 16, 2, stride=2), "down"),
        ("join", op("Concat"), "gate.multiply", "up"),
        ("wide", op("Conv2d", 8, (1, 7), padding=(0, 3)), "join"),
        ("resize", op("Upsample", scale_factor=2, mode="bilinear"), "wide"),
        ("crooked", op("Crop", 2), "resize"),
        ("coarse", op("Conv2d", 8, 32, stride=32), "input"),
        ("merge", op("Add"), "crooked", "coarse"),
        ("end", op("AdaptiveAvgPool2d", 1), "merge"),
        name="branches",
        blocks={"gate": "squeeze_excite"},
    )


def printed(analysis, view=None, format="table", width=80, **console):
    """What an analysis prints to a console that is no terminal."""
    out = io.StringIO()
    report.write(document(analysis, view), format, Console(file=out, width=width, **console))
    return out.getvalue()


def written(write, *arguments, width=80, **console):
    """What a function of cnnstat.report prints to a console that is no terminal."""
    out = io.StringIO()
    write(*arguments, Console(file=out, width=width, **console))
    return out.getvalue()
