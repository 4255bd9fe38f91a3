"""Sources with a colon, constructor arguments, inputs, and the one line that each mistake gives."""

import sys

import pytest

torch = pytest.importorskip("torch")

import cnnstat  # noqa: E402  # needs torch to be there
from cnnstat.errors import CnnstatError  # noqa: E402

FILE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes, width=8):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.fc = nn.Linear(width, classes)

    def forward(self, x):
        return self.fc(self.conv(x).relu().mean((2, 3)))

class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 4)

    def forward(self, ids, mask=None):
        x = self.table(ids)
        return x if mask is None else x * mask.unsqueeze(-1)

def make(width=4):
    return Net(2, width)

class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        raise RuntimeError("no licence")

class Silent(nn.Module):
    def forward(self, x):
        assert x.shape[1] == 5

class Plain:
    pass

def pair():
    return Net(3), 4

def nothing():
    return None

def leaves():
    raise SystemExit(0)

def by_place(width, /):
    return Net(2, width)

def speaks():
    print("spoken")
    return Net(3)

net = Net(3)
number = 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "some_nets.py"
    path.write_text(FILE)
    yield str(path)
    sys.modules.pop("some_nets", None)


def test_class_factory_and_instance(file):
    image = (1, 3, 8, 8)
    assert cnnstat.analyze(f"{file}:Net", image, arguments={"classes": 5}).totals.params == 224 + 45
    assert cnnstat.analyze(f"{file}:make", image).totals.params == 4 * 28 + 10
    assert cnnstat.analyze(f"{file}:net", image).totals.params == 224 + 27


def test_importable_module(file, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    assert cnnstat.analyze("some_nets:make", (3, 8, 8)).layers[0].output_shape == (1, 4, 6, 6)


def test_batch_is_added_where_it_is_missing(file):
    for options in ({"input": "3x8x8"}, {"input": "1x3x8x8"}, {"inputs": {"x": (3, 8, 8)}}):
        assert cnnstat.load(f"{file}:make", **options).inputs[0].shape == (1, 3, 8, 8)
    assert cnnstat.load(f"{file}:make", "3x8x8", batch=4).inputs[0].shape == (4, 3, 8, 8)


def test_named_inputs_and_dtypes(file):
    graph = cnnstat.load(f"{file}:Text", inputs={"ids": "1x7:int64", "mask": "1x7"})
    assert [(i.name, i.shape, i.dtype) for i in graph.inputs] == [
        ("ids", (1, 7), "int64"),
        ("mask", (1, 7), "float32"),
    ]
    assert [node.op.kind for node in graph.nodes] == ["Embedding", "Unsqueeze", "Multiply"]


def test_dtype_of_the_model(file):
    analysis = cnnstat.analyze(f"{file}:make", (3, 8, 8), dtype="float16")
    assert analysis.memory.params_bytes == 2 * analysis.totals.params
    assert set(analysis.values.dtypes) == {("float16",)}


MISTAKES = {
    "Net": 'Net needs classes; write arguments={"classes": …}',
    "Nett": "has no Nett; did you mean",
    "number": "number is no class, function or model, but int",
    "Broken": "Broken cannot be built: RuntimeError: no licence (some_nets.py:29)",
    "pair": "pair returns a tuple; name a function that returns one torch.nn.Module",
    "nothing": "nothing returns nothing; name a function",
    "Plain": "Plain is a class, but no torch.nn.Module",
    "leaves": "its code ends the program (sys.exit, code 0)",
    "by_place": "by_place takes width by its place only",
    "make": 'the sizes of the input are not known: write input="1x3x224x224", or inputs={"x": "1x3x224x224"}',
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line(file, name):
    with pytest.raises(CnnstatError) as caught:
        cnnstat.analyze(f"{file}:{name}")
    assert MISTAKES[name] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_arguments_and_inputs(file):
    with pytest.raises(CnnstatError, match="takes no argument widht; did you mean width"):
        cnnstat.load(f"{file}:make", (3, 8, 8), arguments={"widht": 3})
    with pytest.raises(CnnstatError, match="make does not run on this input: RuntimeError: .*channels"):
        cnnstat.load(f"{file}:make", (1, 4, 8, 8))
    with pytest.raises(CnnstatError, match="the model's inputs are x"):
        cnnstat.load(f"{file}:make", inputs={"image": (1, 3, 8, 8)})
    with pytest.raises(CnnstatError, match="variables= gives variables of a spec"):
        cnnstat.load(f"{file}:make", (3, 8, 8), variables={"width": 3})
    with pytest.raises(CnnstatError, match="there is no module called no_such_package"):
        cnnstat.load("no_such_package.nets:Net")
    with pytest.raises(CnnstatError, match="there is no such file"):
        cnnstat.load("no/such/file.py:Net")
    with pytest.raises(CnnstatError, match="torch.nn.Module, not int"):
        cnnstat.load(3)
    with pytest.raises(CnnstatError, match="write eval or train"):
        cnnstat.load(f"{file}:make", (3, 8, 8), mode="test")


def test_errors_of_the_model_name_their_place(file):
    with pytest.raises(CnnstatError, match=r"Silent does not run on this input: AssertionError \(some_nets.py:\d+\)"):
        cnnstat.analyze(f"{file}:Silent", (3, 8, 8))
    with pytest.raises(CnnstatError, match="Net takes no argument clases; did you mean classes"):
        cnnstat.analyze(f"{file}:Net", (3, 8, 8), arguments={"clases": 5})
    with pytest.raises(CnnstatError, match='write input="1x128:int64"'):
        cnnstat.analyze(f"{file}:Text", inputs={"ids": "1x7"})
    with pytest.raises(CnnstatError, match="no dtype called flot16; did you mean float16"):
        cnnstat.analyze(f"{file}:net", (3, 8, 8), dtype="flot16")
    with pytest.raises(CnnstatError, match="batch must be at least 1"):
        cnnstat.analyze(f"{file}:net", (3, 8, 8), batch=0)
    with pytest.raises(CnnstatError, match="no module called torchvison; did you mean torchvision"):
        cnnstat.analyze("torchvison:resnet50")


def test_what_a_model_prints_is_not_in_the_report(file, capsys):
    cnnstat.analyze(f"{file}:speaks", (3, 8, 8))
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "spoken\n")


BAD_FILES = {
    "class Net(:": "cannot be run: SyntaxError",
    "import no_such_package_at_all": "ModuleNotFoundError: No module named 'no_such_package_at_all' (bad_nets.py:1)",
    "from .other import Net": "name it as package.module:Class instead",
    "import sys\nsys.exit(3)": "its code ends the program (sys.exit, code 3)",
    "raise ValueError('two\\nlines')": "ValueError: two lines (bad_nets.py:1)",
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_files_that_cannot_be_run(tmp_path, text):
    path = tmp_path / "bad_nets.py"
    path.write_text(text)
    with pytest.raises(CnnstatError) as caught:
        cnnstat.analyze(f"{path}:Net", (3, 8, 8))
    assert BAD_FILES[text] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_in_a_package_may_import_relatively(tmp_path):
    package = tmp_path / "some_package" / "inner"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").write_text("")
    (package.parent / "sizes.py").write_text("WIDTH = 5")
    (package / "nets.py").write_text("from torch import nn\nfrom ..sizes import WIDTH\nnet = nn.Conv2d(3, WIDTH, 3)")
    analysis = cnnstat.analyze(f"{package / 'nets.py'}:net", (1, 3, 8, 8))
    assert analysis.layers[0].output_shape == (1, 5, 6, 6)


def test_command_line(file, capsys, monkeypatch):
    from cnnstat import cli

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["cnnstat", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return left.value.code, capsys.readouterr()

    code, said = run("analyze", f"{file}:Net", "--argument", "classes=5", "--input", "3x8x8", "--format", "json")
    assert code == 0 and '"params": 269' in said.out
    code, said = run("analyze", f"{file}:net", "--input", "4x8x8")
    assert code == 2 and said.err.count("\n") == 1
    code, said = run("analyze", f"{file}:net", "--input", "4x8x8", "--traceback")
    assert code == 2 and "in forward" in said.err
    code, said = run("analyze", f"{file}:net", "--input", "3x8x8", "--input", "3x8x8")
    assert code == 2 and "name=sizes" in said.err
    code, said = run("analyze", "resnet18", "--argument", "classes=5")
    assert code == 2 and "a spec takes --variable" in said.err


def test_a_model_that_is_built_gets_no_memory_for_large_weights(file):
    from cnnstat.pytorch.construct import WAYS, construct

    model, way = construct(torch.nn.Linear, {"in_features": 10**6, "out_features": 10**5}, "Linear")
    assert way == WAYS[0]
    assert model.weight.device.type == "meta"


def test_init_functions_are_put_back():
    from cnnstat.pytorch.construct import construct

    before = torch.nn.init.normal_.__code__
    with pytest.raises(CnnstatError):
        construct(lambda: 1 / 0, {}, "Broken")
    assert torch.nn.init.normal_.__code__ is before
    assert torch.nn.init.ones_(torch.zeros(2)).tolist() == [1, 1]


FUNCTIONAL = """
import torch
from torch import nn

class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(4, 3, 3, 3))
    def forward(self, x):
        return torch.conv2d(x, self.weight).mean((2, 3))
"""


def test_a_batch_that_is_missing_is_found_by_trying(tmp_path, caplog):
    source = tmp_path / "functional_nets.py"
    source.write_text(FUNCTIONAL)
    graph = cnnstat.load(f"{source}:Functional", "3x8x8")
    assert graph.inputs[0].shape == (1, 3, 8, 8)
    assert "the sizes are read as x=1x3x8x8, as the model only runs so" in graph.about["notes_torch"][0]
    assert not caplog.records
    assert "notes_torch" not in cnnstat.load(f"{source}:Functional", "3x8x8", batch=1).about


READINGS = """
import torch
from torch import nn

class Perceptron(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(12, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.steps = nn.Embedding(50, 4), nn.LSTM(4, 3, batch_first=True)
    def forward(self, ids):
        batch, length = ids.shape
        return self.steps(self.table(ids))[0][:, -1]

class Diffusion(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.time = nn.Conv2d(3, 4, 1), nn.Embedding(100, 4)
    def forward(self, x, t):
        return self.conv(x) + self.time(t)[:, :, None, None]

class Captions(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.table = nn.Conv2d(3, 4, 1), nn.Embedding(100, 4)
    def forward(self, image, ids):
        batch, length = ids.shape
        return self.conv(image).mean((2, 3))[:, None] + self.table(ids)

class Clips(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
    def forward(self, x):
        batch, frames, channels, height, width = x.shape
        return self.conv(x.flatten(0, 1)).unflatten(0, (batch, frames)).mean(1)

class Rows(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps = nn.GRU(5, 3, batch_first=True)
    def forward(self, x):
        return self.steps(x)[0][:, -1, :]
"""


@pytest.mark.parametrize(
    ("name", "sizes", "batch", "read", "is_tried"),
    [
        ("Perceptron", {"": "12"}, None, [(1, 12)], False),
        ("Perceptron", {"": "12"}, 8, [(8, 12)], False),
        ("Perceptron", {"": "1x12"}, 8, [(8, 12)], False),
        ("Perceptron", {"": "8x12"}, 8, [(8, 12)], False),
        ("Words", {"": "7:int64"}, None, [(1, 7)], False),
        ("Words", {"": "1x7:int64"}, 4, [(4, 7)], False),
        ("Words", {"": "7:int64"}, 4, [(4, 7)], False),
        ("Words", {"": "3x7:int64"}, None, [(3, 7)], False),
        ("Diffusion", {"x": "3x8x8", "t": "1:int64"}, None, [(1, 3, 8, 8), (1,)], False),
        ("Diffusion", {"x": "3x8x8", "t": "1:int64"}, 4, [(4, 3, 8, 8), (4,)], False),
        ("Diffusion", {"x": "4x3x8x8", "t": "4:int64"}, None, [(4, 3, 8, 8), (4,)], False),
        ("Captions", {"image": "3x8x8", "ids": "7:int64"}, None, [(1, 3, 8, 8), (1, 7)], False),
        ("Captions", {"image": "3x8x8", "ids": "1x7:int64"}, 4, [(4, 3, 8, 8), (4, 7)], False),
        ("Clips", {"": "6x3x8x8"}, None, [(1, 6, 3, 8, 8)], True),
        ("Clips", {"": "2x6x3x8x8"}, None, [(2, 6, 3, 8, 8)], False),
        ("Rows", {"": "7x5"}, None, [(1, 7, 5)], True),
        ("Rows", {"": "7x5"}, 3, [(3, 7, 5)], False),
    ],
)
def test_how_sizes_are_read(tmp_path, name, sizes, batch, read, is_tried):
    file = tmp_path / "read_nets.py"
    file.write_text(READINGS)
    given = {"input": sizes[""]} if "" in sizes else {"inputs": sizes}
    graph = cnnstat.load(f"{file}:{name}", batch=batch, **given)
    assert [each.shape for each in graph.inputs] == read
    notes = graph.about.get("notes_torch", ())
    assert [note for note in notes if "the sizes are read as" in note] == list(notes)
    assert bool(notes) == is_tried


def test_sizes_that_fit_no_reading_give_the_error_of_the_likeliest(tmp_path):
    file = tmp_path / "read_nets.py"
    file.write_text(READINGS)
    with pytest.raises(CnnstatError, match="1x13 and 12x4"):
        cnnstat.load(f"{file}:Perceptron", "13")
    with pytest.raises(CnnstatError, match="input has a batch of 6, but batch says 2; keep one"):
        cnnstat.load(f"{file}:Clips", "6x3x8x8", batch=2)
