"""Modules built from graphs: their names, and weights that layers share or keep from learning."""

import pytest
from small_networks import SMALL, built, graph_of

import cnnstat
from cnnstat.pytorch.modules import build

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402  # only where there is a torch

# Names ---------------------------------------------------------------------------------------------------------------


def test_parameters_are_called_as_nested_modules_would_call_them():
    module = built(SMALL)
    assert [name for name, _ in module.named_parameters()] == [
        *("stem.weight", "stem.bias", "body.conv.weight", "body.conv.bias", "body.bn.weight", "body.bn.bias"),
        *("fc.weight", "fc.bias"),
    ]
    assert isinstance(module.body.conv, nn.Conv2d)
    assert isinstance(module.get_submodule("body.bn"), nn.BatchNorm2d)


def torchvision_models():
    """The models of torchvision; skips where it is missing, or was built for another PyTorch."""
    try:
        from torchvision import models
    except Exception as error:  # a torchvision that does not fit its torch raises whatever it likes
        pytest.skip(f"torchvision cannot be imported: {error}")
    return models


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_weights_of_torchvision_fit_and_give_its_results(name):
    theirs = getattr(torchvision_models(), name)(weights=None).eval()
    ours = cnnstat.build(name).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("names", [("a", "a.b", "a.b.c"), ("a.b.c", "a.b", "a"), ("a.b", "a", "a.c")])
def test_a_layer_may_be_a_scope_too(names):
    module = build(graph_of(*names))
    assert {f"{name}.weight" for name in names} < {name for name, _ in module.named_parameters()}
    assert module(torch.zeros(1, 3, 4, 4)).shape == (1, 3, 4, 4)


def test_names_that_modules_use_themselves_get_an_underscore():
    module = build(graph_of("type", "type_", "forward.train", "conv", "conv.weight", "conv.in_channels"))
    assert {name for name, _ in module.named_parameters() if name.endswith(".weight")} == {
        *("type_.weight", "type__.weight", "forward_.train_.weight"),
        *("conv.weight", "conv.weight_.weight", "conv.in_channels_.weight"),
    }
    assert module(torch.zeros(1, 3, 4, 4)).shape == (1, 3, 4, 4)


def test_scopes_print_as_their_blocks():
    text = repr(built(SMALL))
    assert "(body): pair(" in text
    assert "(stem): Conv2d(3, 4, kernel_size=(1, 1), stride=(1, 1))" in text


def test_functions_print_their_arguments():
    text = repr(built("input: [4, 8]\nlayers:\n  - Transpose(1, 2)\n"))
    assert "Function(torch.transpose, dim0=1, dim1=2)" in text


# Sharing and freezing ------------------------------------------------------------------------------------------------


def test_a_shared_layer_is_one_module_called_twice():
    module = built("""
input: [3, 8, 8]
layers:
  - first: Conv2d(3, 3, padding=1)
  - {layer: "Conv2d(3, 3, padding=1)", name: again, share: first}
""")
    assert not hasattr(module, "again")
    calls = []
    module.first.register_forward_hook(lambda *_: calls.append(1))
    module(torch.zeros(1, 3, 8, 8))
    assert len(calls) == 2


def test_a_shared_weight_of_another_call_is_one_parameter_of_two_modules():
    module = built("""
input: [3, 8, 8]
layers:
  - encoder: Conv2d(5, 3, stride=2, bias=false)
  - {layer: "ConvTranspose2d(3, 3, stride=2, bias=false)", name: decoder, share: encoder}
  - {layer: "Conv2d(5, 3, dilation=2, bias=false)", name: dilated, share: encoder}
""")
    assert module.encoder.weight is module.decoder.weight is module.dilated.weight
    assert sum(p.numel() for p in module.parameters()) == 5 * 3 * 3 * 3
    assert module(torch.zeros(1, 3, 8, 8)).shape == (1, 5, 3, 3)
    assert not list(module.half().float().decoder.buffers())
    assert module.encoder.weight is module.decoder.weight


def test_shared_batch_norms_share_their_statistics():
    module = built("""
input: [3, 8, 8]
layers:
  - one: BatchNorm2d
  - {layer: BatchNorm2d(eps=0.1), name: two, share: one}
""")
    module(torch.rand(2, 3, 8, 8))
    assert module.one.running_mean is module.two.running_mean
    assert module.one.num_batches_tracked == 2


def test_frozen_layers_do_not_learn():
    module = built("""
input: [3, 8, 8]
layers:
  - conv: {layer: "Conv2d(2, 3)", frozen: true}
  - bn: BatchNorm2d
""")
    assert {name for name, p in module.named_parameters() if p.requires_grad} == {"bn.weight", "bn.bias"}
