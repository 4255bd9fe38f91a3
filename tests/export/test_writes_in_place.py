"""Writes in place through views: what is exported or built computes what the original does, or is refused."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from same_results import assert_same

import cnnstat
from cnnstat.errors import CnnstatError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402  # from torch
from torch.nn import functional  # noqa: E402

VIEWS = {
    "itself": lambda x: x,
    "alias": lambda x: x.view_as(x),
    "detach": lambda x: x.detach(),
    "data": lambda x: x.data[:, 1:],
    "slice": lambda x: x[:, 1:],
    "step": lambda x: x[:, ::2],
    "number": lambda x: x[:, 0],
    "ellipsis": lambda x: x[..., 2],
    "none": lambda x: x[:, None, 1],
    "narrow": lambda x: x.narrow(1, 1, 2),
    "select": lambda x: x.select(2, 1),
    "chunk": lambda x: x.chunk(2, 1)[1],
    "split": lambda x: x.split([1, 3], 1)[1],
    "tensor_split": lambda x: x.tensor_split(2, 2)[0],
    "unbind": lambda x: x.unbind(1)[2],
    "transpose": lambda x: x.transpose(1, 2),
    "mT": lambda x: x.mT,
    "t": lambda x: x[0].t(),
    "permute": lambda x: x.permute(2, 0, 1),
    "movedim": lambda x: x.movedim(0, 2),
    "diagonal": lambda x: x.diagonal(0, 1, 2),
    "view": lambda x: x.view(2, -1),
    "reshape": lambda x: x.reshape(-1),
    "flatten": lambda x: x.flatten(1),
    "unflatten": lambda x: x.unflatten(1, (2, 2)),
    "squeeze": lambda x: x[:, :1].squeeze(1),
    "unsqueeze": lambda x: x.unsqueeze(0),
    "expand": lambda x: x.expand(2, 4, 4),
    "as_strided": lambda x: x.as_strided((2, 3), (16, 1), 2),
    "unfold": lambda x: x.unfold(1, 2, 2),
    "real": lambda x: x.real,
    "view of views": lambda x: x.transpose(1, 2)[:, 1:3][..., ::2],
}

WRITES = {
    "torch.sigmoid_": lambda v: torch.sigmoid_(v),
    "sigmoid_": lambda v: v.sigmoid_(),
    "tanh_": lambda v: v.tanh_(),
    "+=": lambda v: v.__iadd__(2),
    "add_ alpha": lambda v: v.add_(v.clone(), alpha=0.5),
    "mul_": lambda v: v.mul_(2),
    "masked_fill_": lambda v: v.masked_fill_(v > 0, -3.0),
    "copy_": lambda v: v.copy_(v * 2),
    "copy_ of a constant": lambda v: v.copy_(torch.ones(())),
    "fill_": lambda v: v.fill_(3),
    "x[0] = ": lambda v: v.__setitem__(0, v[0] * 3),
    "x[...] = ": lambda v: v.__setitem__(..., 7.0),
    "x[mask] = ": lambda v: v.__setitem__(v > 0, 0.0),
    "relu_": lambda v: v.relu_(),
    "F.relu": lambda v: functional.relu(v, inplace=True),
    "F.leaky_relu": lambda v: functional.leaky_relu(v, 0.3, True),
    "nn.ReLU6": lambda v: nn.ReLU6(inplace=True)(v),
    "F.hardswish": lambda v: functional.hardswish(v, inplace=True),
    "F.elu_": lambda v: functional.elu_(v),
    "clamp_": lambda v: v.clamp_(-0.2, 0.2),
    "lerp_": lambda v: v.lerp_(torch.zeros_like(v), 0.3),
    "addcmul_": lambda v: v.addcmul_(v.clone(), v.clone(), value=0.5),
    "index_add_": lambda v: v.index_add_(0, torch.tensor([0]), v[:1].clone()),
    "scatter_": lambda v: v.scatter_(0, torch.zeros_like(v, dtype=torch.int64)[:1], 2.0),
    "cumsum_": lambda v: v.cumsum_(0),
    "out=": lambda v: torch.add(v, 1, out=v),
}


class Written(nn.Module):
    """Writes in place through one view, and reads what others see."""

    def __init__(self, view, write):
        super().__init__()
        self.view, self.write = view, write

    def forward(self, x):
        y = x * 1.0
        before = y[:, 1]
        view = self.view(y)
        self.write(view)
        sums = y.sum(1), view.exp()
        y[0, 0, 0] = 4.0
        return y + 0.5, before * 2, view, *sums


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("view", VIEWS)
def test_every_write_through_every_view(view, write):
    model, x = Written(VIEWS[view], WRITES[write]).eval(), torch.linspace(-1, 1, 32).view(2, 4, 4)
    try:
        model(x.clone())
    except RuntimeError:
        pytest.skip("PyTorch cannot")
    assert_same(model, cnnstat.load(model, x), x)


# Programs ------------------------------------------------------------------------------------------------------------

VIEWS_OF_ANY = (
    lambda x: x[1:], lambda x: x[:-1], lambda x: x[::2], lambda x: x[..., 1:], lambda x: x[..., 0],
    lambda x: x.transpose(0, -1), lambda x: x.unsqueeze(0), lambda x: x.squeeze(), lambda x: x.flatten(),
    lambda x: x.reshape(-1), lambda x: x.chunk(2, -1)[0], lambda x: x.unbind(0)[-1], lambda x: x.split(1, 0)[0],
    lambda x: x.narrow(0, 0, 1), lambda x: x.diagonal(), lambda x: x.detach(), lambda x: x.unflatten(0, (2, -1)),
    lambda x: x.contiguous(), lambda x: x.expand(2, *x.shape), lambda x: x.unfold(0, 2, 1), lambda x: x.data,
)  # fmt: skip
WRITES_OF_ANY = (
    lambda v, o: v.sigmoid_(), lambda v, o: torch.tanh_(v), lambda v, o: v.add_(o), lambda v, o: v.sub_(o, alpha=2),
    lambda v, o: v.mul_(0.5), lambda v, o: v.copy_(o), lambda v, o: v.__setitem__(0, o), lambda v, o: v.zero_(),
    lambda v, o: v.__setitem__(..., 2.0), lambda v, o: v.masked_fill_(o > 0, 0.3), lambda v, o: v.clamp_(-1, 1),
    lambda v, o: functional.leaky_relu(v, 0.3, True), lambda v, o: v.__setitem__(v > 0.5, 0.1),
    lambda v, o: torch.mul(v, 0.7, out=v), lambda v, o: v.__setitem__(slice(1, None), o), lambda v, o: v.t_(),
    lambda v, o: v.unsqueeze_(0), lambda v, o: v.squeeze_(), lambda v, o: v.swapaxes_(0, -1),
)  # fmt: skip
OTHERS = (
    lambda a, b: a + b, lambda a, b: a * 2, lambda a, b: torch.cat([a, b]), lambda a, b: a.sigmoid(),
    lambda a, b: a.clone(), lambda a, b: a.sum(0), lambda a, b: torch.where(a > 0, a, b), lambda a, b: a @ b,
    lambda a, b: torch.zeros_like(a), lambda a, b: a.new_ones(4, 4), lambda a, b: torch.stack([a, b]),
)  # fmt: skip


class Program(nn.Module):
    """Steps of (kind, function, operand, operand), all of them numbers, on an input, constants, and a model's tensors.

    A step that PyTorch refuses is left out.
    """

    def __init__(self, steps, results):
        super().__init__()
        self.steps, self.results = steps, results
        self.register_buffer("table", torch.arange(16.0).view(4, 4) / 8)
        self.weight = nn.Parameter(torch.arange(16.0).view(4, 4).cos())
        self.plain = torch.arange(16.0).view(4, 4).sin()

    def forward(self, x):
        values = [x, x * 1.5, torch.zeros(4, 4), torch.ones(2, 4), self.weight * 1, self.table, self.plain]
        for kind, number, first, second in self.steps:
            one, other = (values[place % len(values)] for place in (first, second))
            try:
                if kind == 0:
                    result = VIEWS_OF_ANY[number % len(VIEWS_OF_ANY)](one)
                elif kind == 1:
                    result = WRITES_OF_ANY[number % len(WRITES_OF_ANY)](one, other)
                else:
                    result = OTHERS[number % len(OTHERS)](one, other)
            except (RuntimeError, IndexError, ValueError):
                DONE.append(False)
                continue
            DONE.append(True)
            values += [result] if isinstance(result, torch.Tensor) else []
        return tuple(values[place % len(values)] * 1 for place in self.results)


DONE = []
"""Which steps of a program PyTorch could make; what a model keeps of a trace is undone after it."""

NUMBERS = st.integers(0, 10**4)


@settings(
    max_examples=150,
    derandomize=True,
    phases=(Phase.generate, Phase.shrink),
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    st.lists(st.tuples(st.integers(0, 2), NUMBERS, NUMBERS, NUMBERS), min_size=2, max_size=9),
    st.lists(NUMBERS, min_size=2, max_size=3),
)
def test_random_programs_of_views_and_writes(steps, results):
    x = torch.linspace(-1, 1, 16).view(4, 4)
    DONE.clear()
    with torch.no_grad():
        Program(steps, results)(x.clone())
    done = list(DONE)
    DONE.clear()
    graph = cnnstat.load(Program(steps, results), x)
    try:
        cnnstat.build(graph), cnnstat.export(graph, to="torch")
    except CnnstatError as error:
        assert "\n" not in str(error)
        return
    if done == DONE:  # else shapes without values are refused, or taken, where values are not
        assert_same(Program(steps, results), graph, x)


# State dicts ---------------------------------------------------------------------------------------------------------


class TwoNames(nn.Module):
    """A module, a tensor and a sequence, each of them under two names."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)])
        self.conv, self.weight = self.layers[0], self.layers[0].weight
        self.stem = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
        self.again = self.stem
        self.idle = nn.Linear(2, 2)
        self.lazy = self.idle

    def forward(self, x):
        return self.layers[1](self.conv(self.again(x)))


class Decoded(nn.Module):
    """The end of YOLOv3."""

    def forward(self, x):
        x = x.permute(0, 2, 3, 1).contiguous()
        x[..., :2] = torch.sigmoid(x[..., :2]) + 1
        x[..., 2:4] = torch.exp(x[..., 2:4])
        torch.sigmoid_(x[..., 3:])
        return x.view(2, -1, 4)


@pytest.mark.parametrize(
    "make", [TwoNames, Decoded, lambda: nn.BatchNorm2d(4), lambda: nn.Sequential(nn.BatchNorm2d(4, affine=False))]
)
def test_state_dicts_fit(make):
    model, x = make().eval(), torch.randn(2, 4, 5, 5)
    assert_same(model, cnnstat.load(model, x), x)


class Overlapping(nn.Module):
    """Two buffers in one memory, one of which is changed."""

    def __init__(self):
        super().__init__()
        table = torch.arange(24.0).view(4, 6)
        self.register_buffer("left", table[:, :4])
        self.register_buffer("right", table[:, 2:])

    def forward(self, x):
        self.left.add_(1)
        return x * self.right.sum()


class Scratch(nn.Module):
    """Two views of new memory that overlap, both of them written to."""

    def forward(self, x):
        table = torch.zeros(6, 5)
        one, other = table[:4], table[2:]
        one.add_(x[0, 0, :4])
        other.mul_(x[0, 0, :4])
        return one, other


class Kept(nn.Module):
    """A buffer that is read, and then takes what the input gives through a view."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.arange(25.0).view(5, 5))

    def forward(self, x):
        before = self.table * 1
        self.table.T.add_(x[0, 0])
        return x + 1, before


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Overlapping(), "right is changed while the model runs"),
        (Kept(), "table is changed while the model runs"),
        (Scratch(), "in several places"),
    ],
)
def test_memory_with_several_writers_is_refused(model, reason):
    graph = cnnstat.load(model, (2, 4, 5, 5))
    with pytest.raises(CnnstatError, match=reason):
        cnnstat.export(graph, to="torch")
    with pytest.raises(CnnstatError, match=reason):
        cnnstat.build(graph)


def test_results_that_read_no_input_are_results():
    class Model(nn.Module):
        def forward(self, x):
            return x + 1, torch.arange(4) * 2.0

    graph = cnnstat.load(Model(), (2, 4, 5, 5))
    assert [node.op.kind for node in graph.nodes] == ["Add", "constant"]
    assert len(graph.outputs) == 2
    assert_same(Model(), graph, torch.rand(2, 4, 5, 5))
