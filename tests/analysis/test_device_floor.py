"""Device sheets: what they say, what they are refused for, and the floor that follows."""

from dataclasses import replace
from fractions import Fraction

import pytest

import cnnstat
from cnnstat.analysis.device_floor import DeviceSheet, device_floor
from cnnstat.errors import CnnstatError, SpecError
from cnnstat.report.floor_text import floor_facts
from cnnstat.sources.device_sheets import names, read_device_sheet
from cnnstat.spec.spec_graph import parse_spec

SHEET = DeviceSheet(
    name="board",
    peak={"int8": Fraction(10**6), "float32": Fraction(10**5)},
    bandwidth=Fraction(10**4),
    ram=2048,
    flash=700,
    launch=Fraction(1, 1000),
)
NET = "input: [3, 8, 8]\nlayers:\n  - conv: Conv2d(8, 3, padding=1, bias=false)\n  - bn: BatchNorm2d\n  - relu: ReLU\n"
MACS = 8 * 8 * 8 * 27


def floor(precision, sheet=SHEET):
    return device_floor(cnnstat.analyze(parse_spec(NET), deploy=precision), sheet)


def test_a_layer_takes_the_longer_of_work_and_bytes_and_a_launch():
    found = floor("int8")
    moved = 3 * 64 + (8 * 27 + 4 * 8) + 8 * 64
    assert found.layers[0] == pytest.approx(max(MACS / 10**6, moved / 10**4) + 0.001)
    # The ReLU is done where the convolution puts its output.
    assert found.layers[1:] == (0,) and found.seconds == found.layers[0]
    assert found.bound == ("memory", "")


def test_float_takes_the_peak_of_float():
    found = floor("float32", replace(SHEET, bandwidth=Fraction(10**6)))
    assert found.layers[0] == pytest.approx(MACS / 10**5 + 0.001)
    assert found.bound[0] == "compute"


def test_ram_and_flash_suffice_or_not():
    found = floor("int8")
    assert (found.ram_bytes, found.ram_suffices) == (11 * 64, True)
    assert found.flash_suffices and not floor("float32").flash_suffices and not floor("float32").ram_suffices


def test_a_sheet_without_launch_cost_says_that_it_is_left_out():
    found = floor("int8", replace(SHEET, launch=None))
    assert found.seconds == pytest.approx(floor("int8").seconds - 0.001)
    facts = {fact.label: fact.text for fact in floor_facts(found)}
    assert "states no launch cost, which is left out" in facts["floor"]
    assert all(read_device_sheet(name).launch is None for name in names())


def test_without_flash_weights_lie_in_ram():
    sheet = DeviceSheet(name="gpu", peak=SHEET.peak, bandwidth=SHEET.bandwidth, ram=1000)
    found = floor("int8", sheet)
    assert found.flash_bytes == 0 and found.ram_bytes > 11 * 64 + 8 * 27


def test_a_precision_without_a_peak_is_one_line():
    with pytest.raises(CnnstatError, match=r"board: conv multiplies in float16; peak has int8, float32; add it, or"):
        floor("float16")


@pytest.mark.parametrize("name", names())
def test_sheets_that_ship_have_sources_and_a_floor(name):
    sheet = read_device_sheet(name)
    assert sheet.sources and sheet.ram > 0
    found = device_floor(cnnstat.analyze("lenet5", deploy="int8"), sheet)
    assert 0 < found.seconds < 1 and found.ram_suffices and found.flash_suffices


GOOD = "peak: {int8: 1 GOP/s, fp16: 2 GFLOP/s}\nbandwidth: 2 KiB/s\nsram: 1.5 KiB\nflash: 2 MB\nlaunch: 3 us\n"


def read(tmp_path, text):
    path = tmp_path / "board.yaml"
    path.write_text(text)
    return read_device_sheet(str(path))


def test_units_are_read(tmp_path):
    sheet = read(tmp_path, GOOD)
    assert sheet.peak == {"int8": 5 * 10**8, "float16": 10**9}
    assert (sheet.bandwidth, sheet.ram, sheet.flash, sheet.launch) == (2048, 1536, 2 * 10**6, Fraction(3, 10**6))
    assert sheet.name == "board"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1 GOP/s", "1000", "1:14: peak of int8: 1000 has no unit; write it as in 960 MMAC/s or 2 TOP/s"),
        ("2 KiB/s", "2", "2:12: bandwidth: 2 has no unit; write it as in 1.9 GB/s"),
        ("2 KiB/s", "2 KiB", "there is no unit KiB here; did you mean KiB/s"),
        ("1.5 KiB", "lots", "ram: lots is no amount; write it as in 512 KiB"),
        ("1.5 KiB", "-1 KiB", "ram: -1 KiB is no amount"),
        ("1.5 KiB", ".nan", "ram: .nan is no amount"),
        ("1.5 KiB", "[1 KiB]", "ram: what is written is no amount"),
        ("1.5 KiB", "0 KiB", "ram: 0 KiB is too little for any device"),
        ("1 GOP/s", "1e400 GOP/s", "peak of int8: 1e400 GOP/s is too much for any device"),
        ("1 GOP/s", "9" * 60 + " GOP/s", "peak of int8: 999"),
        ("fp16", "fp17", "there is no dtype called fp17"),
        ("sram: ", "srma: ", "unknown key srma; did you mean sram"),
        ("flash", "ram", "ram: and sram: are one; keep one"),
        ("bandwidth: 2 KiB/s\n", "", "1:1: a device sheet needs bandwidth:, as in bandwidth: 1.9 GB/s"),
        ("{int8: 1 GOP/s, fp16: 2 GFLOP/s}", "1 GOP/s", "peak: takes rates by dtype"),
    ],
)
def test_faults_of_a_sheet_have_their_place(tmp_path, old, new, message):
    with pytest.raises(SpecError) as caught:
        read(tmp_path, GOOD.replace(old, new, 1))
    assert message in str(caught.value)


def test_a_sheet_that_is_not_there_has_the_nearest_name():
    with pytest.raises(CnnstatError, match=r"--device-sheet h20: there is no such file; did you mean h200\?"):
        read_device_sheet("h20")


def test_the_command_adds_a_column(run_process):
    shown = run_process("analyze", "lenet5", "--deploy", "int8", "--device-sheet", "stm32h743").stdout
    assert "floor" in shown and "no prediction" in shown and "RAM" in shown and "suffices" in shown
    wrong = run_process("analyze", "lenet5", "--columns", "name,floor")
    assert wrong.returncode == 2 and "add --device-sheet" in wrong.stderr
