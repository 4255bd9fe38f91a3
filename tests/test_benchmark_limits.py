"""The benchmark scripts' own arithmetic: figures read, limits held, tables written; nothing is timed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/peers.py as a module, gone again after the test."""
    monkeypatch.syspath_prepend(str(FOLDER))
    loaded = {}
    for name in ("contenders", "peers"):
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        assert spec is not None and spec.loader is not None
        loaded[name] = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, loaded[name])
        monkeypatch.setattr(sys, "path", list(sys.path))
        spec.loader.exec_module(loaded[name])
    return loaded["peers"]


def runs(peers: ModuleType, **cpu: float) -> dict[str, object]:
    return {name.replace("_", ", "): peers.Run(seconds, 2 * seconds, 100.0, {}) for name, seconds in cpu.items()}


def test_figures_are_the_last_line(peers):
    assert peers.parse_figures('a table\n{"macs": 1}\nmore\n{"params": 5, "macs": 7}\n\n') == {"params": 5, "macs": 7}
    assert peers.parse_figures("a table\nTotal: 7") == {}
    assert peers.parse_figures("7") == {}
    assert peers.parse_figures("") == {}


def test_a_fast_process_breaks_no_limit(peers):
    assert peers.broken_limits("vgg16", runs(peers, bare=1.0, cnnstat=1.3, thop=1.31)) == []


def test_a_process_may_cost_1_3_of_the_bare_one(peers):
    (line,) = peers.broken_limits("vgg16", runs(peers, bare=1.0, cnnstat=1.31))
    assert line == "vgg16: 1.31 × the bare process, more than 1.3 ×"


def test_every_tool_must_be_slower(peers):
    lines = peers.broken_limits("vgg16", runs(peers, bare=1.0, cnnstat=1.2, thop=1.2, torchinfo_meta=1.1, fvcore=2.0))
    assert lines == [
        "vgg16: 1.20 s of CPU time, thop 1.20 s",
        "vgg16: 1.20 s of CPU time, torchinfo, meta 1.10 s",
    ]


def test_memory_is_held_against_the_imports(peers):
    found = runs(peers, bare=1.0, cnnstat=1.0)
    found["import"] = peers.Run(0.9, 0.9, 40.0, {})
    assert peers.broken_limits("vgg16", found) == []
    found["import"] = peers.Run(0.9, 0.9, 39.0, {})
    assert peers.broken_limits("vgg16", found) == ["vgg16: 61 MiB above the imports, limit 60"]


def test_within_one_process_only_torchinfo_is_held_against(peers):
    assert peers.broken_inside("vgg16", {"cnnstat": 0.010, "torchinfo, meta": 0.011, "ptflops, meta": 0.001}) == []
    (line,) = peers.broken_inside("vgg16", {"cnnstat": 0.010, "torchinfo, meta": 0.009})
    assert line == "vgg16: 10.0 ms, torchinfo, meta 9.0 ms"


def test_rows_give_ratios_and_figures_the_fastest_first(peers):
    found = runs(peers, cnnstat=1.5, bare=1.0, thop=3.0)
    found["thop"] = peers.Run(3.0, 4.0, 123.4, {"macs": 4089184256, "params": 25557032})
    rows = peers.process_rows(found)
    assert rows[0] == "| bare | 1.00 s | 1.00 × | 0.67 × | 1.00 × | 100 MiB | – | – |"
    assert rows[2] == "| thop | 3.00 s | 3.00 × | 2.00 × | 2.00 × | 123 MiB | 4,089,184,256 | 25,557,032 |"


def test_median_of_runs(peers):
    made = [peers.Run(cpu, 10 - cpu, 50.0, {"macs": 3}) for cpu in (3.0, 1.0, 2.0)]
    assert peers.median_run(made) == peers.Run(2.0, 8.0, 50.0, {"macs": 3})


def test_a_process_that_fails_is_told_and_left_out(peers, capsys):
    assert peers.run([sys.executable, "-c", "raise SystemExit('no such tool')"]) is None
    assert "no such tool" in capsys.readouterr().out


def test_a_process_is_measured_and_its_figures_read(peers):
    found = peers.run([sys.executable, "-c", "print('table'); print('{\"macs\": 12}')"])
    assert found.figures == {"macs": 12}
    assert found.cpu > 0 and found.wall > 0 and found.peak > 0


def test_missing_packages_are_named(peers, monkeypatch, capsys):
    monkeypatch.setattr(peers, "is_installed", lambda package: package in ("torch", "torchvision"))
    monkeypatch.setattr(peers, "compare_processes", lambda models, names, rounds: names and [])
    monkeypatch.setattr(peers, "compare_inside", lambda models, rounds: [])
    monkeypatch.setattr(sys, "argv", ["peers.py"])
    assert peers.main() == 0
    assert "skipped: thop, meta: thop is not installed" in capsys.readouterr().out


def test_without_pytorch_nothing_is_run(peers, monkeypatch, capsys):
    monkeypatch.setattr(peers, "is_installed", lambda package: False)
    monkeypatch.setattr(sys, "argv", ["peers.py"])
    assert peers.main() == 0
    assert "torch and torchvision are not installed" in capsys.readouterr().out


def test_a_broken_limit_is_the_exit_code(peers, monkeypatch, capsys):
    monkeypatch.setattr(peers, "is_installed", lambda package: True)
    monkeypatch.setattr(peers, "compare_processes", lambda models, names, rounds: ["vgg16: too slow"])
    monkeypatch.setattr(peers, "compare_inside", lambda models, rounds: [])
    monkeypatch.setattr(sys, "argv", ["peers.py", "--models", "vgg16"])
    assert peers.main() == 1
    assert "broken: vgg16: too slow" in capsys.readouterr().out


def test_an_unknown_model_is_refused(peers, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["peers.py", "--models", "vgg61"])
    with pytest.raises(SystemExit) as raised:
        peers.main()
    assert raised.value.code == 2
    assert "vgg61: the models are vgg16" in capsys.readouterr().err
