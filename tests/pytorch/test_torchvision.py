"""torchvision's models: parameters as PyTorch counts them, MACs as published, to the last digit."""

import inspect
import warnings

import pytest

torch = pytest.importorskip("torch")
try:
    import torchvision
except (ImportError, RuntimeError) as error:  # RuntimeError: built for another PyTorch than the one there is
    pytest.skip(f"torchvision does not work here: {error}", allow_module_level=True)

import cnnstat  # noqa: E402  # needs torchvision to be there

MODELS = (
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "fasterrcnn_resnet50_fpn_v2",
    "googlenet",
    "inception_v3",
    "lraspp_mobilenet_v3_large",
    "maxvit_t",
    "mnasnet1_0",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mvit_v1_b",
    "quantized_shufflenet_v2_x0_5",
    "r2plus1d_18",
    "raft_small",
    "regnet_y_400mf",
    "resnet18",
    "resnext50_32x4d",
    "retinanet_resnet50_fpn_v2",
    "s3d",
    "shufflenet_v2_x1_0",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
    "vgg11_bn",
    "vit_b_32",
)
"""One of each family, the smallest."""


@pytest.mark.parametrize("name", MODELS)
def test_parameters_and_published_macs(name):
    models = torchvision.models
    analysis = cnnstat.analyze(f"torchvision:{name}")
    published = {round(weights.meta["_ops"], 3) for weights in models.get_model_weights(name)}
    assert round(analysis.totals.macs / 1e9, 3) in published
    assert analysis.uncounted == ()
    model = built(name)
    if model is not None:
        assert analysis.totals.params == sum(p.numel() for p in model.parameters())
        assert analysis.totals.buffers == sum(b.numel() for b in model.buffers())


def built(name):
    """A model without weights on the meta device; None where it cannot be built there."""
    builder = torchvision.models.get_model_builder(name)
    known = [option for option in ("weights", "weights_backbone") if option in inspect.signature(builder).parameters]
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return builder(**dict.fromkeys(known))
        except (RuntimeError, NotImplementedError, TypeError):
            return None


def test_heads_of_segmentation_models_are_arguments():
    assert (
        round(cnnstat.analyze("torchvision:fcn_resnet50", arguments={"aux_loss": True}).totals.macs / 1e9, 3) == 152.717
    )


def test_depth_follows_the_modules():
    analysis = cnnstat.analyze("torchvision:resnet18")
    assert analysis.graph.blocks["layer1.0"] == "BasicBlock"
    names = [layer.name for layer in analysis.layers]
    assert names[:4] == ["conv1", "bn1", "relu", "maxpool"] and names[-1] == "fc"
    assert analysis.totals.receptive_field.size == (435, 435)


def test_agrees_with_the_spec_of_the_zoo():
    spec, model = cnnstat.analyze("resnet18"), cnnstat.analyze("torchvision:resnet18")
    assert model.totals.params == spec.totals.params
    assert model.totals.macs == spec.totals.macs
    assert model.totals.flops == spec.totals.flops
    assert model.memory == spec.memory
    assert model.totals.receptive_field == spec.totals.receptive_field


def test_deformable_convolution_and_regions():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.offset = torch.nn.Conv2d(4, 18, 3, padding=1)
            self.conv = torchvision.ops.DeformConv2d(4, 6, 3, padding=1)
            self.pool = torchvision.ops.RoIAlign(5, 1.0, 2)

        def forward(self, x, boxes):
            return self.pool(self.conv(x, self.offset(x)), [boxes])

    analysis = cnnstat.analyze(Net(), ((1, 4, 8, 8), (3, 4)))
    assert analysis.totals.macs == 64 * 36 * (18 + 6)
    assert analysis.uncounted == ()
    assert analysis.values.outputs[-1] == ((3, 6, 5, 5),)


def test_a_name_that_does_not_exist():
    with pytest.raises(cnnstat.CnnstatError, match="did you mean resnet50"):
        cnnstat.analyze("torchvision:resnet5")
