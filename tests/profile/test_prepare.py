"""Models are made ready without a trace of it on what was given, and what cannot be is said in one line."""

import copy
import random

import pytest

torch = pytest.importorskip("torch")

from cpu_models import CPU, model_of  # noqa: E402
from torch import nn  # noqa: E402

import cnnstat  # noqa: E402
from cnnstat.errors import CnnstatError  # noqa: E402
from cnnstat.profile import profile_model  # noqa: E402
from cnnstat.profile.device import choose_device  # noqa: E402
from cnnstat.profile.profile_model import fill_randomly, prepare_model  # noqa: E402
from cnnstat.profile.profile_options import Options  # noqa: E402
from cnnstat.profile.runnable_model import explained_failure  # noqa: E402
from cnnstat.profile.time_limit import NotSendableError  # noqa: E402
from cnnstat.sources.load import model_reference  # noqa: E402


class Model(nn.Module):
    """Everything that a run could change: statistics, gradients, dropout, hooks."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.utils.weight_norm(nn.Linear(4, 2)) if hasattr(nn.utils, "weight_norm") else nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_given_model_is_left_as_it_was(mode):
    model = Model().train()
    model(torch.rand(2, 3, 8, 8)).sum().backward()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    attributes = {path: set(vars(module)) for path, module in model.named_modules()}
    torch.manual_seed(5)
    random.seed(5)
    options = Options(backward=True, dtype="bfloat16", channels_last=True)
    runnable = prepare_model(model_reference(model, (2, 3, 8, 8), mode=mode), options, CPU)
    runnable.train_step()
    assert torch.initial_seed() == 5
    assert model.training
    assert all(module.training for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(p.grad, gradients[name]) for name, p in model.named_parameters())
    assert {path: set(vars(module)) for path, module in model.named_modules()} == attributes
    assert not any(module._forward_hooks for module in model.modules())
    ours = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    assert not any(id(tensor) in ours for tensor in (*runnable.module.parameters(), *runnable.module.buffers()))
    assert {parameter.dtype for parameter in runnable.module.parameters()} == {torch.bfloat16}


def test_a_given_model_is_measured_with_its_own_weights():
    model = nn.Linear(3, 2)
    runnable = model_of(model, 1, 3)
    assert torch.equal(runnable.module.weight, model.weight)
    assert torch.equal(runnable.run(), model(runnable.arguments[0]))


def test_given_inputs_are_used_as_they_are():
    given = torch.tensor([[3, 1, 2]])
    runnable = prepare_model(model_reference(nn.Embedding(9, 4), (given,)), Options(), CPU)
    assert torch.equal(runnable.arguments[0], given)
    assert runnable.arguments[0] is not given


def test_whole_numbers_are_places_of_the_table():
    model = nn.Sequential(nn.Embedding(50, 4), nn.Linear(4, 4))
    runnable = prepare_model(model_reference(model, "64x20:int64"), Options(), CPU)
    numbers = runnable.arguments[0]
    assert 0 <= int(numbers.min()) < int(numbers.max()) < 50
    assert len(numbers.unique()) > 40


def test_a_model_without_memory_gets_some():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    runnable = model_of(model, 2, 4)
    assert torch.isfinite(runnable.run()).all()
    assert model[0].weight.is_meta


@pytest.mark.parametrize("name", ["lenet5", "resnet152", "plain34", "transformer"])
def test_activations_of_networks_are_numbers_that_are_neither_huge_nor_nothing(name):
    if name == "transformer":
        runnable = model_of(nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, batch_first=True), 12), 4, 1, 16)
        fill_randomly(runnable.module)
    else:
        runnable = model_of(cnnstat.load(name, (1, 32, 32) if name == "lenet5" else (3, 64, 64)))
    sizes = []
    for module in runnable.module.modules():
        if not list(module.children()):
            module.register_forward_hook(
                lambda m, i, o: sizes.append(float(o.abs().max())) if torch.is_tensor(o) else None
            )
    runnable.run()
    assert sizes
    assert all(1e-3 < size < 1e4 for size in sizes)


def test_random_weights_hold_no_zeros_and_no_denormals():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 8), nn.LayerNorm(8), nn.LSTM(8, 8))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    model[1].running_var.fill_(float("nan"))
    fill_randomly(model)
    for parameter in model.parameters():
        assert (parameter.abs() > 1e-30).float().mean() > 0.99
    assert model[1].running_var.tolist() == [1] * 8
    assert model[3].weight.min() > 0.4


def test_the_same_numbers_every_time():
    one, two = model_of("lenet5"), model_of("lenet5")
    assert torch.equal(one.run(), two.run())
    assert one.run().std() > 0


def test_dtype_batch_and_memory_format_reach_the_model():
    runnable = prepare_model(model_reference("resnet18", batch=2), Options(dtype="bfloat16", channels_last=True), CPU)
    (x,) = runnable.arguments
    assert x.shape == (2, 3, 224, 224)
    assert x.dtype == torch.bfloat16
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert next(p for p in runnable.module.parameters() if p.dim() == 4).is_contiguous(
        memory_format=torch.channels_last
    )
    assert runnable.analysis.graph.dtype == "bfloat16"


def test_a_graph_can_be_measured_in_another_dtype():
    graph = cnnstat.load("lenet5")
    runnable = prepare_model(model_reference(graph), Options(dtype="bfloat16"), CPU)
    assert runnable.run().dtype == torch.bfloat16
    assert runnable.analysis.graph.dtype == "bfloat16"
    assert graph.dtype == "float32"


def test_lazy_modules_and_several_inputs():
    assert model_of(nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d()), 1, 3, 8, 8).run().shape == (1, 4, 6, 6)
    bilinear = prepare_model(model_reference(nn.Bilinear(3, 4, 5), ((1, 3), (1, 4))), Options(), CPU)
    assert bilinear.run().shape == (1, 5)


class Fails(nn.Module):
    def forward(self, x):
        if isinstance(x, torch.Tensor) and type(x) is torch.Tensor:
            raise RuntimeError("no\nsuch luck")
        return x


class Unlike(nn.Module):
    def __deepcopy__(self, memo):
        raise TypeError("one of a kind")


@pytest.mark.parametrize(
    ("source", "given", "options", "message"),
    [
        (nn.Conv2d(3, 4, 3), (1, 5, 8, 8), {}, "does not run"),
        (Fails(), (1, 3), {}, "Fails does not run.*no such luck"),
        (Unlike(), (1, 3), {}, "Unlike cannot be copied"),
        (nn.ReLU(), (1, 3), {"backward": True}, "no backward pass"),
        ("lenet", None, {}, "lenet5"),
        ("lenet5", None, {"dtype": "int64"}, "floating-point"),
        ("lenet5", None, {"dtype": "float3"}, "float32"),
        ("lenet5", (1, 3), {}, "input is 1×32×32"),
        (7, None, {}, "not int"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(source, given, options, message):
    with pytest.raises(CnnstatError, match=message) as caught:
        prepare_model(model_reference(source, given), Options(**options), CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cdua", "did you mean cuda"),
        ("xla", "write cpu, cuda"),
        ("cuda:x", "write cpu, cuda"),
        ("cpu:1", "one cpu only"),
        ("", "write cpu, cuda"),
    ],
)
def test_devices_that_do_not_exist(name, message):
    with pytest.raises(CnnstatError, match=message):
        choose_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_cpu_is_meant_and_cuda_is_refused():
    assert choose_device(None) == torch.device("cpu")
    with pytest.raises(CnnstatError, match=r"torch.cuda.is_available\(\) is false.*use --device cpu"):
        choose_device("cuda")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is an Apple GPU")
def test_without_an_apple_gpu_mps_is_refused():
    with pytest.raises(CnnstatError, match="use --device cpu"):
        choose_device("mps")


def test_a_copy_is_deep():
    model = nn.Linear(2, 2)
    twin = copy.deepcopy(model)
    runnable = model_of(model, 1, 2)
    with torch.no_grad():
        runnable.module.weight.zero_()
    assert torch.equal(model.weight, twin.weight)


def test_the_gradient_of_the_outputs_is_made_once(monkeypatch):
    """Making it is a kernel of no layer."""
    model = prepare_model(model_reference("lenet5"), Options(device="cpu", backward=True), torch.device("cpu"))
    made = []
    real = torch.ones_like
    monkeypatch.setattr(torch, "ones_like", lambda *arguments: made.append(1) or real(*arguments))
    for _ in range(3):
        model.train_step()
    assert len(made) == 1


def test_no_memory_for_a_second_copy_leaves_the_profiler_to_this_process(monkeypatch):
    def fails(*arguments):
        raise CnnstatError("the GPU's memory is too small") from torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(profile_model, "prepare_model", fails)
    with pytest.raises(NotSendableError, match="a second time"):
        profile_model.profile_apart(model_reference("lenet5"), Options(device="cpu"), 3, True)


def test_memory_that_runs_out_while_a_model_is_made_ready_has_a_remedy():
    with pytest.raises(CnnstatError, match="memory is too small .*smaller --batch"), explained_failure("net"):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
