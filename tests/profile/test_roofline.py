"""Ceilings are measured once, kept under all that they depend on, and no state of the file breaks a run."""

import json
import math
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import cnnstat  # noqa: E402
from cnnstat import files  # noqa: E402
from cnnstat.profile import roofline, roofline_measurement  # noqa: E402
from cnnstat.profile.device import USUAL_CACHE_BYTES, cpu_name, environment, last_level_cache_bytes  # noqa: E402
from cnnstat.profile.profile_options import Options, Silent  # noqa: E402
from cnnstat.profile.roofline import Roofline  # noqa: E402

CPU = torch.device("cpu")
FOUND = Roofline(flops_per_second=2e11, bandwidth=3e10, launch=1e-6, measured="2026-01-01T00:00:00+00:00")
KEY = {"device": "a", "dtype": "float32", "threads": "2"}


def here(**changes):
    return replace(environment(cnnstat.load("lenet5"), Options(), CPU, "eval"), **changes)


def test_what_was_written_is_read():
    assert roofline.read_roofline(KEY) is None
    assert roofline.write_roofline(KEY, FOUND)
    assert roofline.write_roofline({**KEY, "dtype": "bfloat16"}, replace(FOUND, flops_per_second=1.0))
    assert roofline.read_roofline(KEY) == FOUND
    assert roofline.read_roofline({**KEY, "threads": "1"}) is None
    assert roofline.write_roofline(KEY, replace(FOUND, flops_per_second=5.0))
    assert roofline.read_roofline(KEY) == replace(FOUND, flops_per_second=5.0)
    content = json.loads(roofline.cache_file().read_text())
    assert len(content["entries"]) == 2
    assert content["units"]["bandwidth"] == "bytes per second"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'{"schema": "cnnstat-ceilings/0", "entries": [{"circumstances": {"device": "a"}}]}',
        b'{"schema": "cnnstat-ceilings/1", "entries": 7}',
        b'{"schema": "cnnstat-ceilings/1", "entries": [7, null, {"circumstances": 1}]}',
        b'{"schema": "cnnstat-ceilings/1"',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_written_anew(content, own_cache):
    own_cache.mkdir()
    (own_cache / "ceilings.json").write_bytes(content)
    assert roofline.read_roofline(KEY) is None
    assert roofline.write_roofline(KEY, FOUND)
    assert roofline.read_roofline(KEY) == FOUND


@pytest.mark.parametrize(
    "rates",
    [
        {},
        {"flops_per_second": 0},
        {"flops_per_second": "1"},
        {"flops_per_second": True, "launch": -1},
        {"bandwidth": 1e300},
    ],
)
def test_figures_that_cannot_be_are_not_used(rates, own_cache):
    assert roofline.write_roofline(KEY, FOUND)
    content = json.loads(roofline.cache_file().read_text())
    content["entries"][0]["ceilings"] = {**content["entries"][0]["ceilings"], **rates} if rates else []
    roofline.cache_file().write_text(json.dumps(content))
    assert roofline.read_roofline(KEY) is None


def test_a_file_that_cannot_be_written_breaks_nothing(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv(files.CACHE_VARIABLE, str(blocked))
    assert not roofline.write_roofline(KEY, FOUND)
    assert roofline.read_roofline(KEY) is None
    monkeypatch.setattr(roofline_measurement, "measure_on", lambda *arguments: FOUND)
    assert roofline_measurement.find_roofline(here(), CPU, Silent(), refresh=False) == FOUND
    assert list(tmp_path.iterdir()) == [blocked]


def test_an_empty_variable_means_no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(files.CACHE_VARIABLE, "")
    assert not roofline.write_roofline(KEY, FOUND)
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows and macOS have folders of their own")
def test_the_folder_is_the_users_own(tmp_path, monkeypatch):
    monkeypatch.delenv(files.CACHE_VARIABLE)
    monkeypatch.setattr(files.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert roofline.cache_file() == tmp_path / "cnnstat" / "ceilings.json"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert roofline.cache_file() == tmp_path / ".cache" / "cnnstat" / "ceilings.json"
    monkeypatch.setattr(files.sys, "platform", "darwin")
    assert roofline.cache_file() == tmp_path / "Library" / "Caches" / "cnnstat" / "ceilings.json"


def test_ceilings_are_measured_once_for_each_circumstance(monkeypatch):
    measured = []
    monkeypatch.setattr(roofline_measurement, "measure_on", lambda device, dtype: measured.append(dtype) or FOUND)
    for _ in range(2):
        roofline_measurement.find_roofline(here(), CPU, Silent(), refresh=False)
    assert measured == [torch.float32]
    versions = dict(here().versions)
    others = (
        {"dtype": "bfloat16"},
        {"threads": 77},
        {"device_name": "another"},
        {"versions": {**versions, "torch": "2.0"}},
        {"versions": {**versions, "driver": "1"}},
    )
    for change in others:
        roofline_measurement.find_roofline(here(**change), CPU, Silent(), refresh=False)
    assert len(measured) == 1 + len(others)
    roofline_measurement.find_roofline(here(versions={**versions, "cnnstat": "9"}), CPU, Silent(), refresh=False)
    assert len(measured) == 1 + len(others)
    roofline_measurement.find_roofline(here(), CPU, Silent(), refresh=True)
    assert len(measured) == 2 + len(others)


def test_measured_ceilings_can_be(monkeypatch):
    monkeypatch.setattr(roofline_measurement, "CPU_SIDES", (64, 128))
    monkeypatch.setattr(roofline_measurement, "SMALL_CALLS", 20)
    monkeypatch.setattr(roofline_measurement, "last_level_cache_bytes", lambda: 2**20)
    monkeypatch.setattr(roofline_measurement, "CPU_TRIES", 3)
    found = roofline_measurement.measure_on(roofline_measurement.ClockTimed(CPU, time.perf_counter_ns), torch.float32)
    rates = (found.flops_per_second, found.bandwidth, found.launch)
    assert all(math.isfinite(rate) and rate > 0 for rate in rates)


def test_the_best_product_counts(monkeypatch):
    monkeypatch.setattr(roofline_measurement, "CPU_SIDES", (100, 200))
    times = iter([1.0, 1.0, 1e-3, 1e-3])
    device = roofline_measurement.ClockTimed(CPU, time.perf_counter_ns)
    monkeypatch.setattr(device, "best", lambda run: next(times))
    assert max(roofline_measurement.product_rates(device, torch.float32)) == pytest.approx(2 * 200**3 / 1e-3)


def test_products_that_take_too_long_are_not_made_larger(monkeypatch):
    monkeypatch.setattr(roofline_measurement, "CPU_SIDES", (100, 200))
    times = iter([1.0, 1.0, 2.0])
    device = roofline_measurement.ClockTimed(CPU, time.perf_counter_ns)
    monkeypatch.setattr(device, "best", lambda run: next(times))
    assert max(roofline_measurement.product_rates(device, torch.float32)) == 2 * 64 * 64 * 9 * 56 * 56


def test_the_last_cache_is_what_linux_tells(tmp_path):
    assert last_level_cache_bytes(tmp_path) == USUAL_CACHE_BYTES
    for index, size in enumerate(("32K", "1M", "36864K")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(size + "\n")
    assert last_level_cache_bytes(tmp_path) == 36 * 2**20
    (tmp_path / "index0" / "size").write_text("much")
    assert last_level_cache_bytes(tmp_path) in (USUAL_CACHE_BYTES, 36 * 2**20, 2**20)


def test_the_cpu_says_its_name(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel\t\t: 85\nmodel name\t: A  Fast CPU @ 3 GHz\n\nprocessor\t: 1\n")
    assert cpu_name(info) == "A Fast CPU @ 3 GHz"
    info.write_text("processor\t: 0\nBogoMIPS\t: 48\nModel\t\t: Raspberry Pi 4\n")
    assert cpu_name(info) == "Raspberry Pi 4"
    assert cpu_name(Path(tmp_path / "missing"))


def test_the_environment_says_what_matters():
    found = environment(cnnstat.load("lenet5", batch=3), Options(channels_last=True), CPU, "train")
    assert found.device == "cpu"
    assert found.threads == torch.get_num_threads()
    assert found.versions["torch"] == torch.__version__
    assert found.settings == {
        "batch": "3", "mode": "train", "backward": "false", "channels_last": "true", "tf32": "false",
    }  # fmt: skip
