"""Small networks and their modules, for the tests of building."""

from cnnstat.ir.graph import Edge, Graph, Input, Node
from cnnstat.ops import lookup
from cnnstat.pytorch.modules import build
from cnnstat.spec.spec_graph import parse_spec

SMALL = """
input: [3, 8, 8]
blocks:
  pair(channels):
    - conv: Conv2d(channels, 3, padding=1)
    - bn: BatchNorm2d
    - ReLU
layers:
  - stem: Conv2d(4, 1)
  - body: pair(6)
  - flatten: Flatten
  - fc: Linear(2)
"""


def built(text, **options):
    """The module of a spec text."""
    return build(parse_spec(text), **options)


def graph_of(*names):
    """Convolutions in a row, with these names."""
    nodes = tuple(Node(name, lookup("Conv2d")(3, 1), (Edge(number),)) for number, name in enumerate(names))
    inputs = (Input("x", (1, 3, 4, 4), "float32"),)
    return Graph(name="named", inputs=inputs, nodes=nodes, outputs=(Edge(len(names)),))
