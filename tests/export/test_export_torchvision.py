"""torchvision's models: as specs they have the same figures where there is no PyTorch, as modules the same results."""

import json
import os
import subprocess
import sys
import warnings

import pytest

import cnnstat
from cnnstat.errors import CnnstatError

torch = pytest.importorskip("torch")
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchvision import models
except Exception as error:  # a torchvision that does not fit its torch raises whatever it likes
    pytest.skip(f"torchvision cannot be imported: {error}", allow_module_level=True)

CLASSICS = (
    *("alexnet", "vgg16_bn", "resnet50", "googlenet", "inception_v3", "densenet121", "mobilenet_v2"),
    *("mobilenet_v3_large", "squeezenet1_0", "shufflenet_v2_x1_0", "efficientnet_b0", "regnet_y_400mf"),
    *("convnext_tiny", "vit_b_16", "swin_t", "fcn_resnet50", "deeplabv3_resnet50", "r3d_18"),
    "lraspp_mobilenet_v3_large",
)
BUILT = (
    *("alexnet", "googlenet", "inception_v3", "densenet121", "mobilenet_v3_large", "squeezenet1_0"),
    *("shufflenet_v2_x1_0", "efficientnet_b0", "regnet_y_400mf", "convnext_tiny", "swin_t"),
    *("lraspp_mobilenet_v3_large", "r3d_18"),
)
"""Those that are run as well: one of each kind, and no large ones."""
WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
import json, cnnstat
print(json.dumps([cnnstat.analyze(path).to_dict() for path in sys.argv[1:]]))
"""


@pytest.fixture(scope="module")
def graphs():
    """The graphs, traced once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: cnnstat.load(f"torchvision:{name}") for name in CLASSICS}


@pytest.fixture(scope="module")
def read_without_torch(graphs, tmp_path_factory):
    """What a process that cannot import torch says about the exported specs."""
    folder = tmp_path_factory.mktemp("specs")
    for name, graph in graphs.items():
        (folder / f"{name}.yaml").write_text(cnnstat.export(graph), encoding="utf-8")
    command = [sys.executable, "-c", WITHOUT_TORCH, *(str(folder / f"{name}.yaml") for name in CLASSICS)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ}).stdout
    return dict(zip(CLASSICS, json.loads(shown)))


@pytest.mark.parametrize("name", CLASSICS)
def test_specs_have_the_same_figures_without_torch(name, graphs, read_without_torch):
    wanted = json.loads(json.dumps(cnnstat.analyze(graphs[name]).to_dict()))
    found = read_without_torch[name]
    found["model"]["source"] = wanted["model"]["source"]
    wanted.pop("warnings", None), found.pop("warnings", None)
    wanted["coverage"].pop("notes"), found["coverage"].pop("notes")  # of the trace, not of the network
    assert found == wanted


def build_theirs(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        backbone = {"weights_backbone": None} if name.startswith("lraspp") else {}
        return models.get_model(name, weights=None, **backbone).eval()


@pytest.mark.parametrize("name", BUILT)
def test_modules_take_their_weights_and_give_their_results(name, graphs):
    theirs = build_theirs(name)
    space = {"__name__": "exported"}
    exec(compile(cnnstat.export(graphs[name], to="torch"), "exported.py", "exec"), space)
    file = [value for value in space.values() if isinstance(value, type) and value.__module__ == "exported"][-1]
    x = torch.rand(graphs[name].inputs[0].shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(x)
        expected = expected["out"] if isinstance(expected, dict) else expected
        for module in (cnnstat.build(graphs[name]), file()):
            module.load_state_dict(theirs.state_dict())
            torch.testing.assert_close(module.eval()(x), expected, rtol=1e-5, atol=1e-5)


def test_how_many_boxes_there_are_is_not_known_before():
    graph = cnnstat.load("torchvision:ssdlite320_mobilenet_v3_large", arguments={"weights_backbone": None})
    with pytest.raises(CnnstatError, match=r"getitem_\d+ \(getitem\): how much getitem keeps depends on values"):
        cnnstat.build(graph)


def test_inception_reads_as_the_table_of_the_paper(graphs):
    text = cnnstat.export(graphs["googlenet"])
    assert "  - inception3a: Inception(64, 96, 128, 16, 32, 32)\n" in text
    assert "  - inception5b: Inception(384, 192, 384, 48, 128, 128)\n" in text


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("convnext_tiny", '              - "{i}": CNBlock(384)\n'),
        ("vit_b_16", '              - "encoder_layer_{i}": EncoderBlock\n'),
        ("vit_b_16", "  - {cat: Concat, operands: [{class_token: [1, 1, 768]}, input]}\n"),
        ("densenet121", "              - denselayer2: _DenseLayer(['pool0', 'denselayer1'])\n"),
        ("resnet50", '          - "{i + 1}": Bottleneck(256)\n'),
    ],
)
def test_blocks_are_called_as_their_modules(name, line, graphs):
    assert line in cnnstat.export(graphs[name])
