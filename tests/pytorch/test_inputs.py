"""Inputs as a caller gives them: sizes, tensors, values beside them; and messages in the caller's terms."""

from collections import OrderedDict
from dataclasses import dataclass

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import cnnstat  # noqa: E402
from cnnstat.errors import ModelError, RequestError, SourceError  # noqa: E402

IMAGE = torch.zeros(1, 3, 8, 8)


class Model(nn.Module):
    """A convolution, called with whatever a subclass takes."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)


class Mode(Model):
    """As models of mmengine are called."""

    def forward(self, inputs, data_samples=None, mode="tensor"):
        x = self.a(inputs)
        return x if mode == "tensor" else self.b(x)


class Metadata(Model):
    """Takes images with dictionaries."""

    def forward(self, image, metas):
        height, width, _ = metas["shape"]
        assert metas["name"] == "2x3" and metas["nothing"] is None
        return self.a(image[:, :, :height, :width])


class Resized(Model):
    """Takes a pair of an image and the size it is resized to."""

    def forward(self, pair):
        image, size = pair
        return self.b(functional.interpolate(self.a(image), size))


def macs(*arguments, **options):
    return cnnstat.analyze(*arguments, **options).totals.macs


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        (Mode(), {"inputs": {"inputs": IMAGE, "mode": "tensor"}}, 3888),
        (Mode(), {"inputs": {"inputs": (1, 3, 8, 8), "mode": "loss"}}, 6192),
        (Mode(), {"input": (IMAGE, None, "loss")}, 6192),
        (Mode(), {"input": (IMAGE, [{"shape": (30, 32, 3)}], "loss")}, 6192),
        (Metadata(), {"input": (IMAGE, {"shape": (5, 6, 3), "name": "2x3", "nothing": None})}, 1296),
        (
            Metadata(),
            {
                "inputs": {
                    "image": (3, 8, 8),
                    "metas": cnnstat.literal({"shape": (5, 6, 3), "name": "2x3", "nothing": None}),
                }
            },
            1296,
        ),
        (Resized(), {"input": ((IMAGE, (5, 6)),)}, 3888 + 12 * 4 * 36),
        (Resized(), {"input": (((1, 3, 8, 8), cnnstat.literal((5, 6))),)}, 3888 + 12 * 4 * 36),
    ],
)
def test_values_beside_tensors_are_passed_as_they_are(model, options, expected):
    assert macs(model, **options) == expected
    assert cnnstat.verify(model, **options).exit_code == 0


@pytest.fixture
def file(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Conv2d):\n"
        "    def __init__(self):\n        super().__init__(3, 4, 3)\n\n"
        "    def forward(self, input, mode='tensor'):\n        assert mode == 'tensor'\n"
        "        return super().forward(input)\n"
    )
    (tmp_path / "net.yaml").write_text("input: [3, 8, 8]\nlayers:\n  - Conv2d(4, 3)\n")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("source", ["net.yaml", "net.py:Net", nn.Conv2d(3, 4, 3)])
def test_sizes_follow_one_rule_whatever_the_source(file, source):
    for input in ((3, 8, 8), [3, 8, 8], "3x8x8", torch.Size((3, 8, 8))):
        assert macs(source, input) == 3888
        assert macs(source, inputs={"input": input}) == 3888
        assert macs(source, input, batch=4) == 4 * 3888
    for input in ((2, 3, 8, 8), [2, 3, 8, 8], "2x3x8x8", torch.zeros(2, 3, 8, 8)):
        assert macs(source, input) == 2 * 3888
    with pytest.raises(RequestError, match="^input has a batch of 2, but batch says 4; keep one"):
        cnnstat.load(source, (2, 3, 8, 8), batch=4)
    with pytest.raises(RequestError, match="batch must be at least 1"):
        cnnstat.load(source, (3, 8, 8), batch=0)
    for wrong in ((3, 2.5, 8), (3, 8, -1)):
        with pytest.raises(RequestError, match="every size must be an integer of at least 1"):
            cnnstat.load(source, wrong)
    with pytest.raises(RequestError, match="input=5: write sizes, as in"):
        cnnstat.load(source, 5)


def test_models_by_name_take_values_too(file):
    assert macs("net.py:Net", (IMAGE, "tensor")) == 3888
    assert macs("net.py:Net", inputs={"input": (3, 8, 8), "mode": "tensor"}) == 3888


@pytest.mark.parametrize("source", ["lenet5", nn.Conv2d(1, 4, 3)])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": torch.float16}, r'^dtype=torch.float16: write its name, as in dtype="float16"$'),
        ({"batch": "8"}, r"^batch='8': write a whole number, as in batch=8$"),
        ({"batch": 2.0}, r"^batch=2.0: write a whole number"),
        ({"batch": True}, r"^batch=True: write a whole number"),
        ({"mode": "fast"}, r"^mode='fast': write eval or train$"),
    ],
)
def test_options_of_another_kind_are_named(source, options, message):
    with pytest.raises(RequestError, match=message):
        cnnstat.load(source, (1, 32, 32), **options)


def make():
    return nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Mode, r"^Mode is a class; give an instance of it: Mode\(…\)$"),
        (make, r"^make is a function; give the model that it returns: make\(…\)$"),
        (123, "^a model is a name, a path, a Graph or a torch.nn.Module, not int$"),
    ],
)
def test_what_makes_a_model_is_no_model(source, message):
    with pytest.raises(SourceError, match=message):
        cnnstat.load(source, (3, 8, 8))


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: cnnstat.load(nn.Conv2d(3, 4, 3)), 'write input="1x3x224x224", or inputs={"input": "1x3x224x224"}$'),
        (lambda: cnnstat.load("lenet5", (3, 8)), '^input="3x8": input is 1×32×32'),
        (lambda: cnnstat.load("lenet5", inputs={"image": (1, 32, 32)}), "^inputs: image: the model's inputs are input"),
        (lambda: cnnstat.load(nn.Embedding(5, 2), (1, 3)), '; .*write input="1x128:int64"$'),
        (lambda: cnnstat.load(nn.Linear(2, 2), (2,), arguments={"n": 1}), "^variables and arguments go with a source"),
    ],
)
def test_messages_speak_of_python(attempt, message):
    with pytest.raises((RequestError, ModelError), match=message) as error:
        attempt()
    assert "--" not in str(error.value)


LINEAR = """from torch import nn


class Net(nn.Linear):
    def __init__(self):
        super().__init__(16, 2)

    def forward(self, x):
        return super().forward(x)
"""


@pytest.mark.parametrize("sizes", [(16,), "16", [16], (4, 16), "4x16", ((16,),), {"x": (16,)}])
@pytest.mark.parametrize("batch", [None, 2])
def test_sizes_mean_the_same_for_a_module_and_for_its_name(tmp_path, sizes, batch):
    path = tmp_path / "net.py"
    path.write_text(LINEAR)
    place: dict = {}
    exec(path.read_text(), place)
    given = {"inputs" if isinstance(sizes, dict) else "input": sizes, "batch": batch}
    named, built = (cnnstat.load(source, **given).inputs for source in (f"{path}:Net", place["Net"]()))
    assert named == built
    assert named[0].shape[-1] == 16 and (sizes != "16" or named[0].shape[0] == (batch or 1))


def test_a_name_that_no_input_has_is_refused_alike():
    for source in (torch.nn.Identity(), torch.nn.Conv2d(3, 4, 3)):
        with pytest.raises(cnnstat.RequestError, match="^inputs: image: the model's inputs are "):
            cnnstat.load(source, inputs={"image": (1, 3, 64, 64)})


class Adapted(nn.Module):
    """A base in bfloat16, and adapters in float32, to which inputs have to fit."""

    def __init__(self):
        super().__init__()
        self.base = nn.Linear(64, 64).to(torch.bfloat16)
        self.down, self.up = nn.Linear(64, 4, bias=False), nn.Linear(4, 64, bias=False)

    def forward(self, x):
        return self.base(x.to(torch.bfloat16)).float() + self.up(self.down(x))


class Scaled(nn.Module):
    """A first parameter that is no number to compute with, or in half precision."""

    def __init__(self, dtype):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(64, dtype=dtype), requires_grad=False)
        self.linear = nn.Linear(64, 4)

    def forward(self, x):
        return self.linear(x * self.scale.float())


@pytest.mark.parametrize("make", [Adapted, lambda: Scaled(torch.int8), lambda: Scaled(torch.float16)])
def test_sizes_have_the_dtype_with_which_a_mixed_model_runs(make):
    assert [source.dtype for source in cnnstat.load(make(), (2, 64)).inputs] == ["float32"]
    assert cnnstat.verify(make(), (2, 64)).exit_code == 0
    assert cnnstat.profile(make(), (2, 64), device="cpu", samples=1).layers


class Record(OrderedDict):
    """A dictionary whose keys are attributes, as outputs of transformers are."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


@dataclass
class Sample:
    """An image with its size."""

    image: torch.Tensor
    size: tuple[int, ...] = (30, 32, 3)


@dataclass(slots=True, frozen=True)
class Slotted:
    """The same without a dictionary of attributes."""

    image: torch.Tensor
    size: tuple[int, ...] = (30, 32, 3)


@dataclass
class Batch:
    """A record in a record, and in a list."""

    first: Sample
    others: list[Slotted]


class OfRecords(Model):
    """Takes records of images, and gives one."""

    def forward(self, given):
        if isinstance(given, Batch):
            return Slotted(self.b(self.forward(given.first).image) + self.forward(given.others[0]).image[..., 2:, 2:])
        assert type(given) in (Record, Sample, Slotted) and tuple(given.size) == (30, 32, 3)
        return Slotted(self.a(given.image))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Record(image=IMAGE, size=(30, 32, 3)), 3888),
        (Sample(IMAGE), 3888),
        (Slotted(IMAGE), 3888),
        (Batch(Sample(IMAGE), [Slotted(IMAGE)]), 2 * 3888 + 4 * 4 * 9 * 16),
    ],
)
def test_records_keep_their_kind_and_what_they_hold_is_an_input(given, expected):
    analysis = cnnstat.analyze(OfRecords(), (given,))
    assert analysis.totals.macs == expected
    assert [each.shape for each in analysis.graph.inputs] == [(1, 3, 8, 8)] * (2 if isinstance(given, Batch) else 1)
    assert len(analysis.graph.outputs) == 1
    assert cnnstat.verify(OfRecords(), (given,)).exit_code == 0


def test_sizes_may_be_numbers_of_numpy():
    np = pytest.importorskip("numpy")
    assert macs(nn.Conv2d(3, 4, 3), tuple(np.array([1, 3, 8, 8]))) == 3888
    assert macs(nn.Conv2d(3, 4, 3), (tuple(np.array([1, 3, 8, 8])),)) == 3888


@pytest.mark.parametrize("layout", ["sparse", "sparse_csr"])
@pytest.mark.parametrize("product", [torch.sparse.mm, torch.matmul, torch.mm], ids=["sparse.mm", "@", "mm"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_sparse_input_has_the_elements_that_are_there(product, layout):
    class Graph(nn.Module):
        def forward(self, adjacency, x):
            return product(adjacency, x)

    matrix = getattr(torch.eye(8), f"to_{layout}")()
    assert macs(Graph(), (matrix, torch.zeros(8, 5))) == 8 * 5


def test_classes_of_targets_are_long_integers():
    class Loss(nn.Module):
        def forward(self, x, target):
            return functional.cross_entropy(x, target)

    assert cnnstat.analyze(Loss(), (torch.zeros(2, 8), torch.zeros(2, dtype=torch.int64))).layers
    with pytest.raises(ModelError, match="Loss does not run on this input: .*Long"):
        cnnstat.analyze(Loss(), (torch.zeros(2, 8), torch.zeros(2, dtype=torch.int32)))
