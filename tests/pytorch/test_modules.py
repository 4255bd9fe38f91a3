"""Modules built from graphs: inputs, outputs, learning, copies, memory, devices and errors."""

import copy
import io
import sys
import weakref

import pytest
from small_networks import SMALL, built, graph_of

import cnnstat
from cnnstat.errors import CnnstatError
from cnnstat.ir.graph import Edge, Graph, Input, Node
from cnnstat.ops import lookup
from cnnstat.pytorch.modules import build

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402  # only where there is a torch

# Inputs and outputs --------------------------------------------------------------------------------------------------

TWO = """
inputs: {image: [3, 8, 8], gate: [3, 1, 1]}
layers:
  - gated: Multiply
    from: [image, gate]
  - conv: Conv2d(2, 3)
  - pooled: GlobalAvgPool
outputs: [conv, pooled]
"""


def test_inputs_come_in_order_or_by_name():
    module = built(TWO)
    image, gate = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 1, 1)
    results = [module(image, gate), module(image, gate=gate), module(gate=gate, image=image)]
    for maps, pooled in results:
        torch.testing.assert_close(maps, module.conv(image * gate))
        torch.testing.assert_close(pooled, maps.mean((2, 3), keepdim=True))


@pytest.mark.parametrize(
    ("tensors", "named", "got"),
    [
        (1, (), "1 in order"),
        (3, (), "3 in order"),
        (0, ("image",), "image"),
        (1, ("image",), "1 in order, image"),
        (2, ("mask",), "2 in order, mask"),
        (0, (), "none"),
    ],
)
def test_wrong_inputs_are_told(tensors, named, got):
    with pytest.raises(TypeError, match=f"takes the inputs image, gate, but got {got}$"):
        built(TWO)(*[torch.zeros(1)] * tensors, **{name: torch.zeros(1) for name in named})


def test_any_batch_and_size_runs_that_the_layers_take():
    module = built(
        """
input: [4, 8, 8]
layers:
  - x: Reshape([2, 2, 8, 8])
  - Reshape([4, 8, 8])
  - pooled: MaxPool2d(2)
  - up: ResizeLike
    from: [pooled, x_like]
""".replace("  - x: Reshape", "  - x_like: Identity\n  - x: Reshape")
    )
    assert module(torch.zeros(5, 4, 8, 8)).shape == (5, 4, 8, 8)


def test_an_empty_graph_passes_its_input_on():
    graph = Graph(name="empty", inputs=(Input("x", (1, 3), "float32"),), nodes=(), outputs=(Edge(0), Edge(0)))
    x = torch.zeros(1, 3)
    assert all(output is x for output in build(graph)(x))


# A working module ----------------------------------------------------------------------------------------------------


def test_it_learns():
    torch.manual_seed(0)
    module = built(SMALL)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    x, wanted = torch.rand(8, 3, 8, 8), torch.randint(2, (8,))
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(x), wanted)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_copies_and_files_hold_everything():
    module = built(SMALL).eval()
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    x = torch.rand(1, 3, 8, 8)
    for other in (copy.deepcopy(module), torch.load(file, weights_only=False)):
        assert other.body.conv.weight is not module.body.conv.weight
        torch.testing.assert_close(other(x), module(x))


def test_a_layer_may_be_exchanged():
    module = built(SMALL)
    module.fc = nn.Linear(6 * 8 * 8, 7)
    assert module(torch.zeros(1, 3, 8, 8)).shape == (1, 7)


def test_tensors_are_freed_after_their_last_reader():
    module = built("input: [3, 8, 8]\nlayers:\n  - a: Conv2d(3, 1)\n  - b: Conv2d(3, 1)\n  - c: Conv2d(3, 1)\n")
    references, dead = [], []

    def note(_, __, made):
        dead.append([reference() is None for reference in references])
        references.append(weakref.ref(made))

    for layer in (module.a, module.b, module.c):
        layer.register_forward_hook(note)
    with torch.no_grad():
        module(torch.zeros(1, 3, 8, 8))
    assert dead == [[], [False], [True, False]]


def test_a_graph_can_be_exported():
    module = built(SMALL).eval()
    x = torch.rand(1, 3, 8, 8)
    exported = torch.export.export(module, (x,), strict=False)
    assert set(exported.state_dict) == set(module.state_dict())
    torch.testing.assert_close(exported.module()(x), module(x))


# Device, dtype, errors -----------------------------------------------------------------------------------------------


def test_on_meta_nothing_is_allocated():
    module = cnnstat.build("vgg16", device="meta")
    assert all(tensor.is_meta for tensor in module.state_dict().values())
    assert module(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 1000)


def test_the_device_around_it_is_kept():
    with torch.device("meta"):
        assert built(SMALL).fc.weight.is_meta
    assert not built(SMALL).fc.weight.is_meta


def test_dtype_is_the_graphs_unless_given():
    module = cnnstat.build("lenet5", dtype="bfloat16")
    assert {p.dtype for p in module.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in built(SMALL, dtype="float64").parameters()} == {torch.float64}
    assert built(SMALL, dtype=torch.float16).body.bn.num_batches_tracked.dtype == torch.int64


def test_build_takes_what_load_takes():
    assert cnnstat.build("resnet18", variables={"classes": 10}, device="meta").fc.out_features == 10
    assert cnnstat.build("alexnet_2012", "3x259x259", device=torch.device("meta")).fc6.in_features == 256 * 7**2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "device=gpu: PyTorch knows no such device; use cpu, cuda or meta"),
        ({"dtype": "int8"}, "dtype=int8: modules compute with floating-point numbers; use float32 or float16"),
        ({"dtype": "nonsense"}, "dtype=nonsense: modules compute"),
    ],
)
def test_wrong_options_are_told(options, message):
    with pytest.raises(CnnstatError, match=message):
        built(SMALL, **options)


def test_an_op_without_a_module_is_told():
    class Unknown(type(lookup("Identity")())):
        torch = "torch.nn.NoSuchLayer"

    graph = graph_of("a")
    graph = Graph(name="x", inputs=graph.inputs, nodes=(Node("a", Unknown(), (Edge(0),)),), outputs=(Edge(1),))
    with pytest.raises(CnnstatError, match=r"a \(Unknown\): PyTorch .* has no torch.nn.NoSuchLayer to build it from"):
        build(graph)


def test_a_missing_torch_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("cnnstat.pytorch.modules.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(CnnstatError, match=r"needs PyTorch, which is not installed; pip install 'cnnstat\[torch\]'"):
        build(graph_of("a"))
