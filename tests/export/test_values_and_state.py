"""Values and state: what a file cannot repeat because values, random numbers or an earlier pass decide it."""

import random

import pytest
from same_results import assert_refused, assert_same

import cnnstat

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402  # from torch

X = torch.linspace(-1, 1, 32).view(2, 4, 4)


class Own(nn.Module):
    """Returns what a function makes of itself and the input."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.linspace(-1, 1, 4))
        self.register_buffer("table", torch.arange(4.0))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("part", self.table[1:3], persistent=False)
        self.state, self.number, self.seen = None, 0, []
        self.numbers = [torch.arange(4.0)]

    def forward(self, x):
        return self.function(self, x)


def kept(model, x):
    model.state = x if model.state is None else model.state + x
    return model.state


def listed(model, x):
    model.seen.append(x * 2)
    return model.seen[0] + x


def counted(model, x):
    model.number += 1
    return x * model.number


def counted_from_then_on(model, x):
    model.passes = getattr(model, "passes", 0) + 1
    return x * model.passes


def replaced(model, x):
    y = x + model.table
    model.table = model.table * 0.9 + x[0, 0] * 0.1
    return y


def alternating(model, x):
    model.count += 1
    return x * 2 if model.count % 2 == 0 else x


def enlarged(model, x):
    y = x * model.weight
    model.weight.data.mul_(2)
    return y


def exchanged(model, x):
    y = x * model.weight
    model.weight.data = model.weight.data.flip(0)
    return y


def counted_in_a_list(model, x):
    y = x + model.numbers[0]
    model.numbers[0].add_(1)
    return y


def written_by_another_name(model, x):
    y = x * model.table
    model.part.add_(1)
    return y


VALUES = "goes by values that an input, a parameter or an earlier pass decides"
REFUSED = {
    "item": (lambda m, x: x * x.max().item(), VALUES),
    "if": (lambda m, x: x * 2 if x.sum() > 100 else x, VALUES),
    "equal": (lambda m, x: x * 2 if torch.equal(x, x.abs()) else x, VALUES),
    "numpy": (lambda m, x: x * float(x.numpy().max()), VALUES),
    "parameter": (lambda m, x: x * float(m.weight[0]), VALUES),
    "counter": (alternating, VALUES),
    "random": (lambda m, x: x * random.random(), "random numbers that it draws"),
    "random path": (lambda m, x: x * 2 if random.random() < 0.5 else x, "random numbers that it draws"),
    "random item": (lambda m, x: x * torch.rand(()).item(), "random numbers that it draws"),
    "seed": (lambda m, x: (torch.manual_seed(3), x * torch.rand(4))[1], "seeds random generators while it runs"),
    "state": (kept, "state is changed while the model runs"),
    "list": (listed, "seen is changed while the model runs"),
    "number": (counted, "number is changed while the model runs"),
    "new number": (counted_from_then_on, "passes is changed while the model runs"),
    "buffer": (replaced, "table is changed while the model runs"),
    "weight after it is read": (enlarged, "weight is changed while the model runs"),
    "another memory": (exchanged, "weight is changed while the model runs"),
    "constant after it is read": (counted_in_a_list, "a tensor that it holds is changed while the model runs"),
    "view of a buffer": (written_by_another_name, "table is changed while the model runs"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_repeated_is_refused(kind):
    function, reason = REFUSED[kind]
    assert_refused(cnnstat.load(Own(function), X), reason)
    assert cnnstat.export(Own(function), X).startswith("#")  # a spec can be written all the same


def tabled(model, x):
    if model.state is None or model.state.shape[-1] != x.shape[-1]:
        model.state = torch.arange(float(x.shape[-1]))
    return x + model.state


def observed(model, x):
    model.state = x.softmax(1)
    model.number += 1
    model.seen.append(model.state)
    return model.state * 2


REPEATED = {
    "numbers of a buffer": lambda m, x: x * m.table.sum().item() + x[:, : int(m.table[3])].sum(),
    "random tensor": lambda m, x: x * torch.rand(4) + x[:, torch.randperm(4)],
    "idle draw": lambda m, x: (x, random.random())[0] * 2,
    "sizes": lambda m, x: x * x.shape[1] if x.shape[2] > 3 else x,
    "table": tabled,
    "what is looked at later": observed,
    "new": lambda m, x: x.new(x.shape).copy_(x) + x.new([1.0, 2.0, 3.0, 4.0]),
    "unread counter": lambda m, x: (x * 2, m.count.add_(1))[0],
    "unread weight": lambda m, x: (x * 2, m.weight.data.clamp_(-0.5, 0.5), m.weight.data[1:].mul_(0.5))[0],
    "**=": lambda m, x: (x * 1).__ipow__(2),
}


@pytest.mark.parametrize("kind", REPEATED)
def test_what_only_looks_like_it_is_exact(kind):
    model = Own(REPEATED[kind]).eval()
    assert_same(model, cnnstat.load(model, X), X, passes=2)


def test_operations_of_torchvision_are_called():
    ops = pytest.importorskip("torchvision.ops", exc_type=ImportError)

    class Regions(nn.Module):
        def forward(self, x, boxes):
            return ops.roi_align(x, boxes, (3, 3), sampling_ratio=2)

    x, boxes = torch.rand(1, 4, 6, 6), torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0], [0.0, 1.0, 1.0, 5.0, 5.0]])
    assert_same(Regions(), cnnstat.load(Regions(), (x, boxes)), x, boxes)


def test_operations_of_other_libraries_are_refused():
    library = torch.library.Library("cnnstat_tests", "FRAGMENT")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: x * 2, "CompositeExplicitAutograd")
    model = Own(lambda m, x: torch.ops.cnnstat_tests.twice(x))
    with pytest.raises(cnnstat.CnnstatError, match=r"cnnstat_tests.twice is of a library that PyTorch does not bring"):
        cnnstat.export(model, X, to="torch")


def test_memory_that_a_tensor_leaves_is_refused():
    def left(model, x):
        y = x * 1
        y.detach().set_(torch.ones(2, 3))
        return y

    assert_refused(cnnstat.load(Own(left), X), "no function aten.set_ to call again")
