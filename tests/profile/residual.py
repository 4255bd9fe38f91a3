"""A residual network as small as one can be: two blocks, one of them with a projection."""

from cnnstat.ir.graph import Graph
from cnnstat.sources.request import Request
from cnnstat.spec.spec_graph import parse_spec

RESIDUAL = """
name: residual
input: [3, 64, 64]
blocks:
  block(width, stride, is_projected):
    - add:
        - - conv1: Conv2d(width, 3, stride=stride, padding=1, bias=false)
          - bn1: BatchNorm2d
          - relu1: ReLU(inplace=true)
          - conv2: Conv2d(width, 3, padding=1, bias=false)
          - bn2: BatchNorm2d
        - downsample: projection(width, stride)
          if: is_projected
      inplace: true
      name: add
    - relu2: ReLU(inplace=true)
  projection(channels, stride):
    - "0": Conv2d(channels, 1, stride=stride, bias=false)
    - "1": BatchNorm2d
layers:
  - conv1: Conv2d(16, 3, padding=1, bias=false)
  - bn1: BatchNorm2d
  - relu: ReLU(inplace=true)
  - maxpool: MaxPool2d(3, stride=2, padding=1)
  - first: block(16, 1, false)
  - second: block(32, 2, true)
  - avgpool: AdaptiveAvgPool2d(1)
  - flatten: Flatten
  - fc: Linear(10)
"""


def residual() -> Graph:
    """The network's layer graph, for two images: for one, PyTorch's CPU convolutions are two ops."""
    return parse_spec(RESIDUAL, request=Request(batch=2))
