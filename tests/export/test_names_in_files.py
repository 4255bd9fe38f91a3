"""Names: modules, parameters and buffers have those of the original, whatever these consist of."""

import pytest
from same_results import assert_same

import cnnstat

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402  # from torch

X = torch.linspace(-1, 1, 2 * 4 * 3 * 3).view(2, 4, 3, 3)
NAMES = {
    "spaces": ["my conv", "my_conv", " "],
    "brackets": ["relu(1)", "3x3-conv", "{i}", "%s"],
    "quotes": ['a"b', "a'b", '"""', "a\\b", '", 0)#'],
    "control characters": ["new\nline", "\x1b[31m", "\u202ex"],
    "words of Python": ["class", "None", "self", "torch", "nn", "F"],
    "private": ["__conv", "__conv__", "_conv"],
    "one letter in two ways": ["\ufb01", "fi", "caf\u00e9"],
    "long": ["a" * 150, "a" * 149 + "c"],
    "of the built network": ["steps", "run", "_steps", "_inputs", "_outputs", "_label", "_compute"],
    "of the file": ["place", "unpack", "Tensor", "features", "tensors", "input"],
    "numbers": ["1", "0"],
    "slashes": ["x:y/z", "a\u00b7b", "#"],
}


class Named(nn.Module):
    """Modules in a module, parameters and buffers under some names."""

    def __init__(self, names):
        super().__init__()
        self.blocks = nn.ModuleDict({name: nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)) for name in names})
        self.scales = nn.ParameterDict({name: torch.rand(4, 1, 1) for name in names})
        self.tables = nn.Module()
        for name in names:
            self.tables.register_buffer(name, torch.rand(4, 1, 1))
            self.add_module(name, nn.Conv2d(4, 4, 1))

    def forward(self, x):
        for name, block in self.blocks.items():
            x = block(x) * self.scales[name].exp() + self.tables._buffers[name]
            x = x + self._modules[name](x)
        return x


@pytest.mark.parametrize("kind", NAMES)
def test_state_dicts_of_any_names_fit(kind):
    model = Named(NAMES[kind]).eval()
    graph = cnnstat.load(model, X)
    assert_same(model, graph, X)
    # A specification is written, or one line says why it cannot be.
    try:
        assert cnnstat.analyze(graph).totals.params == sum(p.numel() for p in model.parameters())
        cnnstat.export(graph)
    except cnnstat.CnnstatError as error:
        assert "\n" not in str(error)


def test_a_name_is_no_code():
    model = Named(['x", 0); raise SystemExit  # ']).eval()
    assert_same(model, cnnstat.load(model, X), X)


def test_an_error_is_one_line_whatever_the_name():
    model = nn.Sequential()
    model.add_module("two\nlines", nn.Module())
    model[0].forward = lambda x: x[x > 0]
    with pytest.raises(cnnstat.CnnstatError) as caught:
        cnnstat.export(model, X, to="torch")
    assert "\n" not in str(caught.value)
