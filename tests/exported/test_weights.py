"""Files of weights: their tensors by name, shape and dtype, and nothing of their code run."""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest

import cnnstat
from cnnstat.errors import RequestError, SourceError


def safetensors(folder: Path, header: Any) -> str:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "weights.safetensors"
    path.write_bytes(len(content).to_bytes(8, "little") + content)
    return str(path)


def entry(dtype: str, *shape: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [0, 0]}


def test_a_safetensors_file(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"}, "a.conv.weight": entry("F16", 8, 3, 3, 3), "a.conv.bias": entry("F16", 8),
        "a.bn.running_mean": entry("F32", 8), "b.scale": entry("F16"), "b.step": entry("I64"),
    }  # fmt: skip
    analysis = cnnstat.analyze(safetensors(tmp_path, header))
    assert (analysis.totals.params, analysis.totals.buffers) == (216 + 8 + 1, 9)
    assert analysis.totals.memory.params_bytes == 2 * 225 and analysis.totals.macs == 0
    assert str(analysis["a.conv.weight"].op) == "8×3×3×3 float16"
    assert {name: sums.params for name, sums in analysis.by_module(1).items()} == {"a": 224, "b": 1}
    assert "no graph" in analysis.warnings[0]
    with pytest.raises(RequestError, match="has no input"):
        cnnstat.analyze(safetensors(tmp_path, header), (3, 8, 8))


@pytest.mark.parametrize(
    "header", [b"{", b"[1]", {"a": 3}, {"a": entry("F99", 2)}, {"a": {"dtype": "F32", "shape": [-1]}}, {}]
)
def test_damaged_headers_are_one_line(header: Any, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as error:
        cnnstat.analyze(safetensors(tmp_path, header))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("is_archive", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
def test_checkpoints_of_pytorch(is_archive: bool, wrapped: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).half()
    content = {"state_dict": module.state_dict(), "epoch": 3} if wrapped else module.state_dict()
    torch.save(content, tmp_path / "net.pth", _use_new_zipfile_serialization=is_archive)
    analysis = cnnstat.analyze(str(tmp_path / "net.pth"))
    assert [layer.name for layer in analysis.layers] == list(module.state_dict())
    live = cnnstat.analyze(module, torch.zeros(1, 3, 8, 8, dtype=torch.float16)).totals
    assert (analysis.totals.params, analysis.totals.buffers) == (live.params, live.buffers)
    assert analysis.totals.memory.params_bytes == live.memory.params_bytes


class Explosive:
    """What calls a function when it is unpickled."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (f"open({self.marker!r}, 'w')",))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".bin"])
def test_nothing_of_a_pickle_is_run(suffix: str, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = tmp_path / f"evil{suffix}"
    path.write_bytes(pickle.dumps({"state_dict": {"a": Explosive(str(marker))}, "b": [Explosive(str(marker))] * 3}, 2))
    with pytest.raises(SourceError):
        cnnstat.analyze(str(path))
    assert not marker.exists()


def test_a_pickle_that_is_cut_off_is_one_line(tmp_path: Path) -> None:
    whole = pickle.dumps({"a": list(range(100)), "b": "text"}, 2)
    for length in range(2, len(whole), 9):
        (tmp_path / "net.pth").write_bytes(whole[:length])
        with pytest.raises(SourceError) as error:
            cnnstat.analyze(str(tmp_path / "net.pth"))
        assert "\n" not in str(error.value)


def test_a_torchscript_archive_is_run_by_pytorch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(module, torch.zeros(1, 3, 8, 8)).save(str(tmp_path / "net.pt"))
        totals = cnnstat.analyze(str(tmp_path / "net.pt"), (1, 3, 8, 8)).totals
    assert (totals.params, totals.macs) == (4 * 27 + 4, 4 * 36 * 27)


def _many_times_over() -> bytes:
    table: dict[str, Any] = {"end": 1}
    for _ in range(7):
        table = {f"key{number}": table for number in range(60)}
    return pickle.dumps(table, 2)


HOSTILE = {
    "a number of objects": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "a key in a million tuples": b"\x80\x02}N" + b"\x85" * 1_000_000 + b"Ns.",
    "a key in a million tuples, at once": b"\x80\x02(N" + b"\x85" * 1_000_000 + b"Nd.",
    "an item of a set": b"\x80\x04\x8f(N" + b"\x85" * 1_000_000 + b"\x90.",
    "an item of a frozen set": b"\x80\x04(N" + b"\x85" * 1_000_000 + b"\x91.",
    "a key of an ordered dictionary": b"ccollections\nOrderedDict\n(((N" + b"\x85" * 1_000_000 + b"NtttR.",
    "a long array": b"\x80\x05\x96\0\0\0\0\x10\0\0\0abc.",
    "tables in tables": _many_times_over(),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("is_archive", [False, True])
def test_a_hostile_pickle_is_one_clear_error(tmp_path: Path, kind: str, is_archive: bool) -> None:
    path = tmp_path / "hostile.pt"
    path.write_bytes(HOSTILE[kind])
    if is_archive:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", HOSTILE[kind])
    with pytest.raises(SourceError, match="hostile.pt"):
        cnnstat.analyze(str(path))


@pytest.mark.parametrize(
    "text",
    [
        '{"a": {"dtype": "F32", "shape": [1e400]}}', '{"a": {"dtype": "F32", "shape": [null]}}',
        '{"a": {"dtype": ["F32"], "shape": [1]}}', '{"a": {"dtype": "F32", "shape": [true]}}',
        '{"a": {"dtype": "F32", "shape": [281474976710655, 281474976710655]}}',
        '{"a": {"dtype": "F32", "shape": "22"}}',
        '{"a": {"dtype": "F32", "shape": [' + "2," * 9999 + "2]}}", '{"a": 3}', "[" * 99_999, "9" * 99_999,
    ],
)  # fmt: skip
def test_a_hostile_header_is_one_clear_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(SourceError, match="weights.safetensors: the file of weights cannot be read"):
        cnnstat.analyze(safetensors(tmp_path, text.encode()))
