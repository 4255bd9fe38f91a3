"""Exported PyTorch programs, read without PyTorch, against the analysis of the module that was exported."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest

import cnnstat
from cnnstat.errors import CnnstatError, RequestError, SourceError
from cnnstat.exported.programs.code_places import code_place
from cnnstat.exported.programs.symbolic_sizes import computed

FIGURES = ("params", "trainable_params", "buffers", "macs", "flops")


def exported(folder: Path, module: Any, *shapes: tuple[int, ...], **options: Any) -> str:
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module.eval(), tuple(torch.zeros(shape) for shape in shapes), **options)
        torch.export.save(program, folder / "net.pt2")
    _need_schema(folder / "net.pt2")
    return str(folder / "net.pt2")


def _need_schema(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".json")]
        versions = [
            json.loads(archive.read(name)).get("schema_version")
            for name in names
            if "model" in name or "serial" in name
        ]
    if not any(isinstance(each, dict) and each.get("major") == 8 for each in versions):
        pytest.skip("this PyTorch writes another schema of exported programs")


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18"])
def test_figures_are_those_of_the_module(name: str, tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision.models")
    module = models.get_model(name, weights=None)
    path = exported(tmp_path, module, (1, 3, 64, 64))
    read, live = cnnstat.analyze(path), cnnstat.analyze(module.eval(), (1, 3, 64, 64))
    assert {each: getattr(read.totals, each) for each in FIGURES} == {
        each: getattr(live.totals, each) for each in FIGURES
    }
    assert read.totals.memory.activation_bytes == live.totals.memory.activation_bytes
    assert read.totals.receptive_field == live.totals.receptive_field
    assert not read.uncounted
    built = cnnstat.build(path, device="meta")
    assert sum(each.numel() for each in built.parameters()) == live.totals.params
    names = {layer.name for layer in live.layers if layer.params}
    assert names <= {layer.name for layer in read.layers}


def various() -> Any:
    """A module of what programs say in aten: work on weights alone, changes in place, other sizes of pixels."""
    torch = pytest.importorskip("torch")

    class Various(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
            self.table = torch.nn.Parameter(torch.zeros(8, 4))
            self.scale = torch.nn.Parameter(torch.zeros(8, 1, 1))
            self.mix = torch.nn.Linear(4, 8)
            self.norm = torch.nn.LayerNorm(8, elementwise_affine=False)

        def forward(self, x: Any) -> Any:
            x = torch.roll(self.norm(self.conv(x)), (1, -2), (2, 3))
            x.add_(16 * torch.sigmoid(self.mix(self.table).sum(0)).view(8, 1, 1) + self.scale)
            x = torch.nn.functional.interpolate(x[:, :, 1::2], scale_factor=2, mode="bilinear")
            return torch.einsum("bchw,oc->bohw", x.swapaxes(2, 3), self.mix(self.table))

    return Various()


def test_figures_are_those_of_the_program_and_of_the_module_in_pytorch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    module = various()
    path = exported(tmp_path, module, (2, 3, 8, 8))
    read, live = cnnstat.analyze(path), cnnstat.analyze(torch.export.load(path).module(), (2, 3, 8, 8))
    source = cnnstat.analyze(module.eval(), (2, 3, 8, 8))
    for other in (live, source):
        assert [getattr(read.totals, each) for each in FIGURES] == [getattr(other.totals, each) for each in FIGURES]
        assert read.totals.receptive_field == other.totals.receptive_field is not None
        assert read.totals.memory.activation_bytes == other.totals.memory.activation_bytes
    assert not any(layer.op.kind == "Unused" for layer in read.layers)


def test_layers_say_where_the_code_calls_them(tmp_path: Path) -> None:
    place = cnnstat.explain(exported(tmp_path, various(), (2, 3, 8, 8)), "roll").code
    assert place.startswith("test_programs.py:") and place.rpartition(":")[2].isdigit()


@pytest.mark.parametrize(
    ("trace", "place"),
    [
        ('File "/home/me/net.py", line 7, in forward', "net.py:7"),
        ('File "C:\\\\users\\\\me\\\\net.py", line 7, in forward', "net.py:7"),
        (
            'File "/x/site-packages/timm/layers/a.py", line 3, in forward\n    self.fc(x)\n'
            '  File "/x/site-packages/torch/nn/modules/linear.py", line 4, in forward',
            "timm/layers/a.py:3",
        ),
        ('File "/x/site-packages/torch/nn/modules/linear.py", line 4', "torch/nn/modules/linear.py:4"),
        ("", ""),
        ("File /home/me/net.py", ""),
    ],
)
def test_places_in_code_hold_no_path_of_a_machine(trace: str, place: str) -> None:
    assert code_place(trace) == place


def small() -> Any:
    nn = pytest.importorskip("torch").nn
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )


def test_it_is_read_without_pytorch(tmp_path: Path) -> None:
    path = exported(tmp_path, small(), (1, 3, 8, 8))
    blocked = "import sys; sys.modules['torch'] = None; import cnnstat.cli; cnnstat.cli.main()"
    result = subprocess.run([sys.executable, "-c", blocked, "analyze", path, "--format", "json"], capture_output=True)
    totals = json.loads(result.stdout)["totals"]
    assert (totals["params"], totals["macs"]) == (4 * 27 + 4 + 8 + 10, 4 * 36 * 27 + 8)


def test_symbolic_sizes_follow_the_input(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    dims = {0: torch.export.Dim("n", min=1, max=64), 2: torch.export.Dim("h", min=8, max=512)}
    path = exported(tmp_path, small(), (2, 3, 16, 8), dynamic_shapes=({**dims},))
    totals = cnnstat.analyze(path, (4, 3, 20, 8)).totals
    assert totals.macs == 4 * (4 * 18 * 6 * 27 + 8)
    with pytest.raises(RequestError, match="axis 3 of"):
        cnnstat.analyze(path, (4, 3, 20, 9))


def test_sizes_are_arithmetic_and_nothing_else() -> None:
    symbols = {"s0": 7, "s1": 3}
    assert computed("2*s0 - (s1 + 1)//2", symbols) == 12
    assert computed("Max(s0, FloorDiv(100, s1))", symbols) == 33
    assert computed("Add(Symbol('s0', integer=True), Mul(Integer(-2), Symbol('s1')))", symbols) == 1
    for text in ("__import__('os')", "s0.real", "9**9**9", "s9", "(" * 999, "lambda: 1", "2**99"):
        assert computed(text, symbols) is None


def written(folder: Path, content: Any, entry: str = "net/models/model.json") -> str:
    with zipfile.ZipFile(folder / "net.pt2", "w") as archive:
        archive.writestr(entry, content if isinstance(content, str) else json.dumps(content))
    return str(folder / "net.pt2")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"schema_version": {"major": 5}, "torch_version": "2.4"}, "by PyTorch 2.4 in schema 5"),
        ({"schema_version": {"major": 8}, "graph_module": {}}, "damaged"),
        ({"schema_version": {"major": 8}, "graph_module": {"graph": {"nodes": 3}}}, "damaged"),
        ([1, 2], "is no exported program"),
        ("{", "damaged"),
        ("[" * 100_000, "damaged"),
    ],
)
def test_damaged_programs_are_one_line(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=message) as error:
        cnnstat.analyze(written(tmp_path, content))
    assert "\n" not in str(error.value)


def test_files_that_are_no_program(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no such file"):
        cnnstat.analyze(str(tmp_path / "absent.pt2"))
    (tmp_path / "text.pt2").write_text("no archive")
    with pytest.raises(SourceError, match="no exported program"):
        cnnstat.analyze(str(tmp_path / "text.pt2"))
    with pytest.raises(CnnstatError, match="holds no exported program"):
        cnnstat.analyze(written(tmp_path, "{}", "weights.json"))
