"""Code of models that looks at what a trace is made of: types, values, GPUs, dtypes, gradients, empty tensors."""

import sys

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.autograd import forward_ad  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence  # noqa: E402
from torch.overrides import has_torch_function, has_torch_function_unary  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils.flop_counter import flop_registry  # noqa: E402

import cnnstat  # noqa: E402
from cnnstat.errors import ModelError  # noqa: E402

X = torch.zeros(2, 8)


def macs(*arguments, **options):
    return cnnstat.analyze(*arguments, **options).totals.macs


class Layer(nn.Module):
    """A layer, called in the way that a subclass says."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)


# Types ---------------------------------------------------------------------------------------------------------------


class Copied(Layer):
    """Asks as attention that is copied from PyTorch does, and takes another way for what is no plain tensor."""

    def forward(self, x):
        operands = (x, self.layer.weight)
        is_odd = any(type(t) not in (torch.Tensor, nn.Parameter) for t in operands) or type(x) is not torch.Tensor
        is_odd |= x.__class__ is not torch.Tensor or self.layer.weight.__class__ is not nn.Parameter
        is_odd |= torch.overrides.has_torch_function((x,)) or torch.overrides.has_torch_function_unary(x)
        if is_odd or has_torch_function(operands) or has_torch_function_unary(x):
            return self.layer(torch.cat([x, x]))
        assert isinstance(type(x), type) and issubclass(type(x), torch.Tensor) and int is int
        assert type("Made", (), {})().__class__.__name__ == "Made"
        return self.layer(x * 2)


def test_tensors_are_of_the_plain_type():
    assert macs(Copied(), X) == 64
    verified = cnnstat.verify(Copied(), X)
    assert verified.exit_code == 0
    assert torch._subclasses.FakeTensor.__bases__ == (torch.Tensor,)
    assert type is __builtins__["type"] and has_torch_function is torch.overrides.has_torch_function


# Gradients of functions ----------------------------------------------------------------------------------------------


def dual(layer, x):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(layer(forward_ad.make_dual(x, torch.ones_like(x)))).tangent


GRADIENTS = {
    "jvp": (lambda layer, x: torch.func.jvp(layer, (x,), (x,))[1], None),
    "dual numbers": (dual, None),
    "vjp": (lambda layer, x: torch.func.vjp(layer, x)[1](torch.ones(2, 4))[0], 2 * 64),
    "grad": (lambda layer, x: torch.func.grad(lambda v: layer(v).sum())(x), 2 * 64),
    "jacrev": (lambda layer, x: torch.func.jacrev(layer)(x[0]), 32 + 4 * 32),
    "vmap": (lambda layer, x: torch.func.vmap(layer)(x), 64),
    "vmap of hessian": (lambda layer, x: torch.func.vmap(torch.func.hessian(lambda v: layer(v).sum()))(x), None),
    "functional_call": (lambda layer, x: torch.func.functional_call(layer, dict(layer.named_parameters()), (x,)), 64),
}


class Dispatched(TorchDispatchMode):
    """Counts the multiply-accumulates of what runs, by PyTorch's own formulas."""

    macs = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        self.macs += 0 if formula is None else formula(*args, **(kwargs or {}), out_val=result) // 2
        return result


@pytest.mark.filterwarnings("ignore")  # PyTorch scripts the formulas of its tangents
@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_of_functions_have_the_work_that_runs(name):
    call, expected = GRADIENTS[name]

    class Net(Layer):
        def forward(self, x):
            return call(self.layer, x)

    model = Net()
    with Dispatched() as real, torch.no_grad():
        model(X)
    assert macs(model, X) == real.macs and expected in (None, real.macs)


# Values --------------------------------------------------------------------------------------------------------------


class Chosen(Layer):
    def forward(self, x, mask):
        return self.layer(x[mask])


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(4, 8, batch_first=True)

    def forward(self, x, lengths):
        return self.rnn(pack_padded_sequence(x, lengths, batch_first=True))[0].data


class Shortened(Layer):
    def forward(self, x, lengths):
        return self.layer(x[: int(lengths.max())])


@pytest.mark.parametrize(
    ("model", "inputs", "expected"),
    [
        (Chosen(), (torch.zeros(3, 8), torch.tensor([True, False, False])), 32),
        (Packed(), (torch.zeros(2, 3, 4), torch.tensor([3, 2])), 1920),
        (Packed(), (torch.zeros(2, 3, 4), torch.tensor([3, 3])), 2304),
        (Shortened(), (torch.zeros(5, 8), torch.tensor([2, 3])), 96),
    ],
)
def test_values_that_are_given_decide(model, inputs, expected):
    analysis = cnnstat.analyze(model, inputs)
    assert analysis.totals.macs == expected
    assert any("values that are given decide" in warning for warning in analysis.warnings)
    assert cnnstat.verify(model, inputs).exit_code == 0


def test_values_of_sizes_alone_are_not_known():
    assert macs(Chosen(), inputs={"x": (3, 8), "mask": "3:bool"}) == 96


def test_a_constant_that_takes_values_of_the_input_has_none():
    class Model(Layer):
        def forward(self, x):
            table = torch.zeros(4)
            table[1] = x.sum()
            return self.layer(x) if table.sum().item() > 0 else self.layer(x[:1])

    warnings = cnnstat.analyze(Model(), (2, 8)).warnings
    assert any("run for real" in warning for warning in warnings)


# GPUs ----------------------------------------------------------------------------------------------------------------

GPU_CALLS = {
    "cuda()": lambda layer, x: layer(x.cuda()) + torch.zeros(4).cuda(0),
    "to a name": lambda layer, x: layer(x.to("cuda")),
    "to a device": lambda layer, x: layer(x.to(torch.device("cuda:0"), torch.float32, non_blocking=True)),
    "to by keyword": lambda layer, x: layer(x.to(device="cuda")),
    "factories": lambda layer, x: layer(x) + torch.zeros(4, device="cuda") + torch.arange(4, device="cuda:0"),
    "values": lambda layer, x: layer(x) + torch.tensor([1.0, 2, 3, 4], device=torch.device("cuda", 0)),
    "like": lambda layer, x: layer(x) + torch.zeros_like(layer.bias, device="cuda") + x.new_zeros(4, device="cuda"),
    "a module": lambda layer, x: layer.cuda()(x),
}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", GPU_CALLS)
def test_a_gpu_that_is_not_there_is_simulated(name):
    class Model(Layer):
        def forward(self, x):
            return GPU_CALLS[name](self.layer, x)

    assert macs(Model(), X) == 64
    assert macs(Model(), (2, 8)) == 64


# Refusals and answers ------------------------------------------------------------------------------------------------


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.cdist(x, x.double()),
        lambda x: x.long().softmax(1),
        lambda x: functional.max_pool1d((x > 0)[None], 2),
        lambda x: functional.relu(x > 0),
        lambda x: functional.grid_sample(x.view(1, 1, 4, 4), torch.zeros(1, 2, 2, 2).double(), align_corners=True),
        lambda x: functional.interpolate(x.long()[None], scale_factor=2),
        lambda x: torch.bmm(x[None], x.double().T[None]),
        lambda x: x[torch.ones(3, dtype=torch.bool)],
    ],
)
def test_what_pytorch_refuses_is_refused(function):
    model = Function(function)
    with pytest.raises((RuntimeError, NotImplementedError, IndexError)):
        model(X)
    with pytest.raises(ModelError, match="does not run on this input"):
        cnnstat.load(model, X)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.where(x > 0, x.double(), x),
        lambda x: torch.cat([x, x.half()]),
        lambda x: functional.avg_pool1d(x.long()[None], 2),
        lambda x: functional.layer_norm(x.half(), (8,)),
        lambda x: (x > 0) & (x < 1) | (x.long() == 3),
        lambda x: functional.embedding(x.int(), torch.rand(3, 2)),
    ],
)
def test_dtypes_that_pytorch_takes_are_taken(function):
    model = Function(function)
    cnnstat.load(model, X)
    model(X)


def test_numbers_of_one_byte_are_kept_and_not_computed_with():
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(4, 8).to(torch.float8_e4m3fn), requires_grad=False)
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x):
            return functional.linear(x, self.weight.to(x.dtype) * self.scale)

    analysis = cnnstat.analyze(Small(), (2, 8))
    assert analysis.graph.inputs[0].dtype == "float32"
    assert analysis.totals.memory.params_bytes == 32 + 4


@pytest.mark.parametrize(
    ("model", "x", "reason"),
    [
        (nn.Linear(8, 4), X.bfloat16(), "must have the same dtype"),
        (nn.Linear(8, 4, bias=False), torch.zeros(2, 3, 8, dtype=torch.float16), "same dtype|expected scalar type"),
        (nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "should be the same"),
        (nn.Conv2d(4, 4, 3, groups=2), torch.zeros(1, 4, 8, 8, dtype=torch.bfloat16), "should be the same"),
        (nn.LayerNorm(8), torch.zeros(2, 8, dtype=torch.float64), "same datatype|expected scalar type"),
        (nn.BatchNorm2d(4), torch.zeros(1, 4, 8, 8, dtype=torch.float64), "same datatype|expected scalar type"),
        (nn.ReLU(), torch.zeros(2, 8, dtype=torch.complex64), "for complex"),
        (Function(lambda x: x.std(1)), torch.zeros(2, 8, dtype=torch.uint8), "only support floating"),
        (
            Function(lambda x: functional.binary_cross_entropy(x, torch.rand(2, 8))),
            torch.zeros(2, 8, dtype=torch.float16),
            "Found dtype",
        ),
    ],
)
def test_dtypes_that_pytorch_refuses_are_refused_with_its_reason(model, x, reason):
    with pytest.raises(RuntimeError, match=reason):
        model(x)
    with pytest.raises(
        ModelError, match=rf"does not run on this input: (RuntimeError|NotImplementedError): .*({reason})"
    ):
        cnnstat.load(model, x)


@pytest.mark.parametrize("layout", [torch.jagged, torch.strided])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_are_refused_in_one_line(layout):
    nested = torch.nested.nested_tensor([torch.randn(3, 8), torch.randn(5, 8)], layout=layout)
    with pytest.raises(ModelError, match="^an input is a nested tensor, which has no sizes to count; pad it"):
        cnnstat.load(nn.Linear(8, 4), nested)


class Adapted(Layer):
    """A step of training within the forward pass, as MAML takes it."""

    def forward(self, x):
        loss = self.layer(x).pow(2).sum()
        (gradient,) = torch.autograd.grad(loss, self.layer.weight, create_graph=True)
        return functional.linear(x, self.layer.weight - 0.1 * gradient, self.layer.bias)


class Forces(Layer):
    """The gradient of an energy, left behind at the input."""

    def forward(self, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            self.layer(x).pow(2).sum().backward()
        return x.grad


@pytest.mark.parametrize("make", [Adapted, Forces])
def test_gradients_in_the_forward_pass_count(make):
    analysis = cnnstat.analyze(make(), X)
    # The pass, the gradient of the weights, and the pass with those or the gradient of the input.
    assert analysis.totals.macs == 3 * 64
    assert not analysis.notes  # shapes are enough


@pytest.mark.parametrize(
    ("forward", "shape"),
    [
        (lambda layer, x: layer(x[:0]), (0, 4)),
        (lambda layer, x: layer(x[:0].sum(0)), (4,)),
        (lambda layer, x: layer(x[:0].relu().mean(0, keepdim=True)), (1, 4)),
        (lambda layer, x: layer(torch.cat([x[:0], x])), (2, 4)),
    ],
)
def test_empty_tensors_have_an_answer(forward, shape):
    class Model(Layer):
        def forward(self, x):
            return forward(self.layer, x)

    assert cnnstat.analyze(Model(), X).layers[-1].output_shape == shape


HELPER = """
import torch
from torch.overrides import has_torch_function


def attend(layer, x):
    if type(x) is not torch.Tensor or has_torch_function((x,)):
        return layer(torch.cat([x, x]))
    return layer(x)
"""
NET = """
from torch import nn

{imported}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x):
        return {called}(self.layer, x)
"""


@pytest.mark.parametrize(
    ("imported", "called"),
    [
        ("from vendored_attention.functional import attend", "attend"),
        ("from vendored_attention import functional", "functional.attend"),
        ("import vendored_attention.functional", "vendored_attention.functional.attend"),
    ],
)
def test_helpers_of_other_packages_see_plain_tensors_too(tmp_path, monkeypatch, imported, called):
    (tmp_path / "vendored_attention").mkdir()
    (tmp_path / "vendored_attention" / "__init__.py").write_text("")
    (tmp_path / "vendored_attention" / "functional.py").write_text(HELPER)
    (tmp_path / "net_with_helpers.py").write_text(NET.format(imported=imported, called=called))
    monkeypatch.syspath_prepend(tmp_path)
    assert macs("net_with_helpers:Net", X) == 64
    for name in [name for name in sys.modules if name.startswith(("vendored_attention", "net_with_helpers"))]:
        assert "type" not in vars(sys.modules.pop(name))
