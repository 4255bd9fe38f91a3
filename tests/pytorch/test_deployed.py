"""Deployed networks against the same modules with their batch norms taken out by PyTorch."""

import warnings

import pytest

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

from oracles import deployed as oracle  # noqa: E402  # after torch is known to be there
from torch import nn  # noqa: E402

import cnnstat  # noqa: E402

NETWORKS = (
    "resnet18", "vgg11_bn", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x1_0",
    "squeezenet1_1", "densenet121", "googlenet", "inception_v3", "mnasnet1_0", "regnet_y_400mf", "resnext50_32x4d",
    "convnext_tiny",
)  # fmt: skip
NEEDS_VALUES = ("regnet_y_400mf",)
"""Networks that compute their widths with tensors, which must have values."""


def module(name):
    """A network of torchvision without memory for its weights."""
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("cpu" if name in NEEDS_VALUES else "meta"):
        return torchvision.models.get_model(name, **options).eval().to("meta")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_deployed_network_is_the_module_without_its_norms(name):
    network = module(name)
    size = 299 if name == "inception_v3" else 224
    bare, image = oracle.without_norms(network), torch.empty(1, 3, size, size, device="meta")
    analysis = cnnstat.analyze(network, (1, 3, size, size), deploy="float32")
    totals = analysis.totals
    assert totals.params == oracle.parameters(bare)
    assert totals.macs == oracle.macs(bare, image)
    assert totals.memory.peak_inference_bytes == oracle.peak(bare, image)
    made = oracle.shapes(bare, image)
    assert made == {each.name: each.output_shape for each in analysis.layers if each.name in made}
    assert len(made) > 10


def test_mobilenet_v2_in_int8_takes_what_executorch_measured():
    totals = cnnstat.analyze(module("mobilenet_v2"), (3, 224, 224), deploy="int8").totals
    assert (totals.params, totals.memory.peak_inference_bytes) == (3_487_816, 1_505_280)
    assert totals.memory.params_bytes == 3_469_760 + 4 * 18_056
    assert totals.memory.params_bytes + 4 * 18_056 < totals.memory.flash_bytes < 3_707_856


def test_a_quantized_model_is_deployed_as_the_model_it_was_made_of(monkeypatch):
    if "qnnpack" not in torch.backends.quantized.supported_engines:
        pytest.skip("this build has not the engine that torchvision quantizes for")
    monkeypatch.setattr(torch.backends.quantized, "engine", "qnnpack")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantized = torchvision.models.quantization.mobilenet_v2(quantize=True).eval()
    own = cnnstat.analyze(module("mobilenet_v2"), (3, 224, 224), deploy="int8").totals
    theirs = cnnstat.analyze(quantized, (3, 224, 224), deploy="int8").totals
    assert theirs.params == own.params == 3_487_816
    assert theirs.memory.params_bytes == own.memory.params_bytes
    assert theirs.memory.peak_inference_bytes == own.memory.peak_inference_bytes


class Functional(nn.Module):
    """Convolution and norm by functions, with parameters of its own."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(8, 3, 3, 3))
        self.scale = nn.Parameter(torch.empty(8))
        self.shift = nn.Parameter(torch.empty(8))
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("variance", torch.ones(8))

    def forward(self, x):
        x = nn.functional.conv2d(x, self.weight, padding=1)
        return nn.functional.batch_norm(x, self.mean, self.variance, self.scale, self.shift)


def test_functions_fold_like_modules():
    totals = cnnstat.analyze(Functional(), (3, 16, 16), deploy="float32").totals
    assert (totals.params, totals.buffers, totals.layers) == (8 * 3 * 9 + 8, 0, 1)


def test_frozen_norms_fold_too():
    frozen = torchvision.ops.FrozenBatchNorm2d
    with torch.device("meta"):
        networks = [torchvision.models.resnet18(norm_layer=norm).eval() for norm in (frozen, nn.BatchNorm2d)]
    for precision in ("float32", "int8"):
        frozen_one, usual = (cnnstat.analyze(each, (3, 64, 64), deploy=precision) for each in networks)
        assert (frozen_one.totals, len(frozen_one.layers)) == (usual.totals, len(usual.layers))
        assert frozen_one["conv1"].folded == ("bn1.mul", "bn1.add") and frozen_one.totals.buffers == 0
        assert dict(frozen_one.graph.deployment.kept) == {}


class Scaled(nn.Module):
    """A scale and a shift of each channel around a convolution, learnt or of stored numbers."""

    def __init__(self, *, is_learnt, is_before=False, shape=(8, 1, 1)):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        for name in ("scale", "shift"):
            if is_learnt:
                setattr(self, name, nn.Parameter(torch.ones(shape)))
            else:
                self.register_buffer(name, torch.ones(shape))
        self.is_before = is_before

    def forward(self, x):
        x = x if self.is_before else self.conv(x)
        x = (x - self.shift) / self.scale
        return self.conv(x) if self.is_before else x


@pytest.mark.parametrize(
    ("options", "layers", "params", "kept"),
    [
        ({"is_learnt": False}, ["conv"], 576 + 8, []),
        ({"is_learnt": False, "shape": (1,)}, ["conv"], 576 + 8, []),
        ({"is_learnt": True}, ["conv", "sub", "div"], 576 + 16, []),  # as a layer scale, it is no norm
        ({"is_learnt": False, "shape": (8, 16, 16)}, ["conv", "sub", "div"], 576, []),
        ({"is_learnt": False, "is_before": True}, ["sub", "div", "conv"], 576 + 16, ["sub", "div"]),
    ],
)
def test_stored_numbers_of_channels_fold_and_learnt_ones_do_not(options, layers, params, kept):
    found = cnnstat.analyze(Scaled(**options), (1, 8, 16, 16), deploy="int8")
    assert [layer.name for layer in found.layers] == layers
    assert found.totals.params == params and list(found.graph.deployment.kept) == kept


class Unknown(nn.Module):
    """A product that is known by its effect alone, behind a convolution with its activation in place or not."""

    def __init__(self, *, inplace):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace)
        self.table = nn.Parameter(torch.ones(6, 4))

    def forward(self, x):
        return torch.cdist(self.relu(self.conv(x)).flatten(2).transpose(1, 2), self.table)


def test_calls_without_a_kernel_run_in_float_with_float_weights():
    found, other = (cnnstat.analyze(Unknown(inplace=each), (1, 3, 8, 8), deploy="int8") for each in (False, True))
    assert found.graph.deployment.in_float == ("cdist",)
    assert found["cdist"].weight_bytes == 4 * 24
    assert set(found.totals.macs_by_precision) <= {"int8×int8", "float32×float32"}
    # An activation is done where the convolution puts its output, whether or not it is written so.
    assert found.memory.flash_bytes == other.memory.flash_bytes
    assert found.memory.flash_bytes == 4 * 24 + 3 * 4 * 9 + 4 * 4 + 4 * 4 + 5 * 3


def test_an_exported_module_has_no_norms():
    text = cnnstat.export("resnet18", to="torch", deploy="float32")
    assert "BatchNorm" not in text
    built = cnnstat.build("resnet18", deploy="float32", device="meta")
    assert oracle.parameters(built) == cnnstat.analyze("resnet18", deploy="float32").totals.params
    with pytest.raises(cnnstat.CnnstatError, match="no modules with weights of int8"):
        cnnstat.build("resnet18", deploy="int8")
    with pytest.raises(cnnstat.CnnstatError, match="no modules with weights of int8"):
        cnnstat.export("resnet18", to="torch", deploy="int8")
