"""PyTorch files written from graphs: they stand alone, compute what `build` computes, and trace as they were."""

import ast
import subprocess
import sys
from dataclasses import replace
from textwrap import dedent

import pytest
from graph_strategy import graphs
from hypothesis import HealthCheck, Phase, assume, given, settings
from same_figures import rows

import cnnstat
from cnnstat.analysis.analysis import analyze_graph
from cnnstat.errors import CnnstatError
from cnnstat.export.pytorch.module_tree import MODULE_NAMES
from cnnstat.sources import zoo
from cnnstat.spec.spec_graph import parse_spec

torch = pytest.importorskip("torch")
from cnnstat.pytorch.modules import build  # noqa: E402  # imports torch

SMALL = {
    "alexnet_2012": (3, 67, 67),
    "m5": (1, 8000),
    "plain18": (3, 64, 64),
    "resnet18": (3, 64, 64),
    "resnet50_v1": (3, 64, 64),
    "unet": (1, 188, 188),
}
"""Inputs that make slow networks quick."""

QUICK = ("alexnet_2012", "convnetjs_mnist", "lenet5", "lenet5_1998", "m5", "plain18", "resnet18", "resnet50_v1", "unet")
"""Networks that are run for real; the others are built of the same layers."""


def classes_of(text):
    """The classes of an exported file."""
    space = {"__name__": "exported"}
    exec(compile(text, "exported.py", "exec"), space)
    return [value for value in space.values() if isinstance(value, type) and value.__module__ == "exported"]


def network_of(graph):
    """The module of an exported file, which is its last class."""
    return classes_of(cnnstat.export(graph, to="torch"))[-1]().eval()


def inputs_of(graph):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.rand(given.shape, generator=generator)
        if given.dtype.startswith("float")
        else torch.zeros(given.shape, dtype=getattr(torch, given.dtype))
        for given in graph.inputs
    ]


def assert_same(module, graph):
    """The same parameters under the same names, and the same results."""
    ours = build(graph).eval()
    module.load_state_dict(ours.state_dict())
    with torch.no_grad():
        results, expected = module(*inputs_of(graph)), ours(*inputs_of(graph))
    torch.testing.assert_close(results, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", QUICK)
def test_networks_compute_what_build_computes(name):
    graph = cnnstat.load(name, SMALL.get(name))
    assert_same(network_of(graph), graph)


def assert_same_analysis(one, other, *left_out):
    """The same layers and totals, but for what a trace cannot know.

    A tensor that is read for its shape alone is no input of a traced layer, and not kept for it; a module that runs
    again is called after itself.
    """
    by_shape = any(layer.op.kind in ("CropLike", "ResizeLike") for layer in (*one.layers, *other.layers))
    again = any(node.shares is not None for node in (*one.graph.nodes, *other.graph.nodes))
    left_out = (*left_out, *("inputs", "input_shapes") * by_shape, *("name", "inputs") * again)
    assert rows(one, *left_out) == rows(other, *left_out)
    if by_shape:
        one, other = (replace(a.memory, peak_inference_bytes=0, peak_at=None, alive_bytes=()) for a in (one, other))
        assert one == other
    else:
        assert one.totals == other.totals


@pytest.mark.parametrize("name", zoo.names())
def test_the_zoo_traces_as_it_was(name):
    analysis = cnnstat.analyze(name)
    with torch.device("meta"):
        module = classes_of(cnnstat.export(name, to="torch"))[-1]()
    traced = cnnstat.analyze(module, tuple(given.shape for given in analysis.graph.inputs))
    assert_same_analysis(traced, analysis, "name", "inputs")


@pytest.mark.parametrize("name", zoo.names())
def test_spec_to_module_to_trace_to_spec(name):
    analysis = cnnstat.analyze(name)
    module = cnnstat.build(name, device="meta")
    traced = cnnstat.analyze(module, tuple(given.shape for given in analysis.graph.inputs))
    again = analyze_graph(parse_spec(cnnstat.export(traced.graph)))
    assert rows(again) == rows(traced)
    assert again.totals == traced.totals
    assert_same_analysis(again, analysis)


@settings(
    max_examples=40,
    derandomize=True,
    phases=(Phase.generate, Phase.shrink),
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(graphs(longest=12))
def test_random_graphs_compute_what_build_computes(graph):
    try:
        build(graph).eval()(*inputs_of(graph))
    except (CnnstatError, RuntimeError, ValueError):
        assume(False)  # this release of PyTorch cannot
    assert_same(network_of(graph), graph)


# The file ------------------------------------------------------------------------------------------------------------


ALONE = ("lenet5_1998", "unet", "resnet18", "m5")
RUN_EACH = "import runpy, sys\nfor path in sys.argv[1:]:\n    runpy.run_path(path, run_name='__main__')"
"""Runs files as `python FILE` would, in one process, because PyTorch takes long to import."""


@pytest.fixture(scope="module")
def run_alone(tmp_path_factory):
    """The files of some networks and what each prints where no other module of ours is imported."""
    folder = tmp_path_factory.mktemp("alone")
    paths = [folder / f"{name}.py" for name in ALONE]
    for name, path in zip(ALONE, paths):
        path.write_text(cnnstat.export(name, SMALL.get(name), to="torch"), encoding="utf-8")
    command = [sys.executable, "-W", "ignore", "-c", RUN_EACH, *map(str, paths)]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True).stdout
    return dict(zip(ALONE, zip(paths, shown.splitlines(), strict=True)))


@pytest.mark.parametrize("name", ALONE)
def test_the_file_stands_alone(run_alone, name):
    path, shown = run_alone[name]
    allowed = {"torch", "math", "collections.abc", "torch.nn"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.module in allowed
        elif isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= allowed
    shape = cnnstat.analyze(name, SMALL.get(name)).layers[-1].output_shape
    assert shown == str(tuple(shape))


def test_the_file_says_nothing_about_tracing():
    text = cnnstat.export("lenet5_1998", to="torch")
    assert "one_call" not in text and "torch_function" not in text


def test_a_class_with_other_code_under_the_name_of_a_layer_is_not_taken_for_it():
    text = cnnstat.export("lenet5_1998", to="torch").replace("torch.tanh(x * self.slope)", "torch.sin(x * self.slope)")
    traced = cnnstat.analyze(classes_of(text)[-1](), (1, 32, 32))
    assert "ScaledTanh" not in {layer.op.kind for layer in traced.layers}


def test_tracing_leaves_the_classes_of_a_file_as_they_are():
    network = classes_of(cnnstat.export("lenet5_1998", to="torch"))[-1]()
    before = [type(module).forward for module in network.modules()]
    kinds = {layer.op.kind for layer in cnnstat.analyze(network, (1, 32, 32)).layers}
    assert {"ScaledTanh", "EuclideanRBF", "TrainableSubsampling2d"} <= kinds
    assert [type(module).forward for module in network.modules()] == before


def test_the_file_is_a_source(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(cnnstat.export("resnet18", to="torch"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    analysis = cnnstat.analyze("net.py:Resnet18", (3, 224, 224))
    assert analysis.totals == cnnstat.analyze("resnet18").totals


def test_groups_that_work_alike_share_a_class():
    text = cnnstat.export("resnet50", to="torch")
    assert text.count("class ") == 3
    assert "        self.layer1 = nn.Sequential(Bottleneck2(64, 64), Bottleneck(256), Bottleneck(256))\n" in text
    assert "            *(Bottleneck(1024) for _ in range(5)),\n" in text
    assert len(text.splitlines()) < 130


SHARED = """
inputs: {left: [1, 8, 8], right: [1, 8, 8]}
layers:
  - {layer: "Conv2d(4, 3)", from: left, name: a.conv, frozen: true}
  - {layer: "Conv2d(4, 3)", from: right, name: b.conv, share: a.conv}
  - {layer: "Conv2d(4, 3, stride=2)", from: right, name: c, share: a.conv}
  - {layer: Subtract, from: [a.conv, b.conv]}
outputs: [subtract1, c]
"""


def test_shared_and_frozen_weights():
    graph = parse_spec(SHARED)
    module = network_of(graph)
    assert_same(module, graph)
    assert module.c.weight is module.a.conv.weight
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_another_dtype():
    graph = cnnstat.load("lenet5", dtype="float64")
    assert {parameter.dtype for parameter in network_of(graph).parameters()} == {torch.float64}


def test_names_that_modules_use_themselves_get_an_underscore():
    layers = "\n".join(f"  - {name}: Conv2d(3, 1)" for name in ("type", "forward", "training", "class", "odd-name"))
    graph = parse_spec(f"input: [3, 4, 4]\nlayers:\n{layers}\n")
    assert_same(network_of(graph), graph)


def test_all_names_that_modules_use_are_known():
    assert {name for name in dir(torch.nn.Module()) if not name.startswith("_")} <= MODULE_NAMES


OPAQUE = """
    input: [3, 4, 4]
    layers:
      - Conv2d(3, 1)
      - {opaque: secret, output: [1, 3, 4, 4]}
    """


@pytest.mark.parametrize("make", [lambda graph: cnnstat.export(graph, to="torch"), build])
def test_what_is_not_known_to_compute_anything_is_named(make):
    with pytest.raises(CnnstatError, match=r"^secret1 \(secret\): only its shapes and its work are known"):
        make(parse_spec(dedent(OPAQUE)))
