"""Device sheets: YAML files that say what a device can do at best; some ship with cnnstat."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

from cnnstat.analysis.device_floor import DeviceSheet
from cnnstat.errors import CnnstatError, SpecError, did_you_mean, nearest
from cnnstat.files import is_file
from cnnstat.ir.graph import check_dtype
from cnnstat.spec import tree as yaml
from cnnstat.spec.tree import Scalar, Tree, fail
from cnnstat.spec.yaml_file import parse, read_text

KEYS = ("name", "sources", "peak", "bandwidth", "ram", "sram", "flash", "launch")
"""Keys of a sheet; `sram` is another word for `ram`."""

FOLDER = Path(__file__).resolve().parent.parent / "devices"
"""Where the sheets that ship with cnnstat are."""

_PREFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_QUANTITY = re.compile(r"(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?)\s*(?P<unit>[^\s\d.,].*)?\Z")

MOST = 10**30
"""Most that an amount is in base units; no device has as much, and it stays far from where numbers overflow."""

Units = Mapping[str, Fraction]

_RATES: Units = {
    f"{prefix}{unit}": Fraction(scale) / operations
    for prefix, scale in _PREFIXES.items()
    for unit, operations in (("MAC/s", 1), ("FLOP/s", 2), ("OP/s", 2), ("FLOPS", 2), ("OPS", 2))
}
_SIZES: Units = {f"{p}B": Fraction(s) for p, s in (*_PREFIXES.items(), *_BINARY.items())}
_BANDWIDTHS: Units = {f"{unit}/s": scale for unit, scale in _SIZES.items()}
_TIMES: Units = {"s": Fraction(1), "ms": Fraction(1, 10**3), "us": Fraction(1, 10**6), "µs": Fraction(1, 10**6),
                 "ns": Fraction(1, 10**9)}  # fmt: skip


def names() -> tuple[str, ...]:
    """Return the names of the sheets that ship with cnnstat."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def read_device_sheet(source: str) -> DeviceSheet:
    """Return the sheet of a file, or of a name that ships with cnnstat.

    Raises CnnstatError where there is none, SpecError with the place of what is wrong in it.
    """
    path = FOLDER / f"{source}.yaml" if source in names() else Path(source)
    if not is_file(path):
        near = nearest(source, names(), 0.6)
        hint = f"; did you mean {near}?" if near else f"; sheets that ship with cnnstat: {', '.join(names())}"
        raise CnnstatError(f"--device-sheet {source[:100]}: there is no such file{hint}")
    text = read_text(path, 2**16, "a device sheet is a few lines")
    if not text.strip():
        raise CnnstatError(f"--device-sheet {source[:100]}: the file is empty; a sheet has {', '.join(KEYS[2:5])}")
    tree = parse(text, str(source))
    if not isinstance(tree, yaml.Mapping):
        fail(tree.location, f"a device sheet is a mapping with {', '.join(KEYS[2:5])}")
    if problems := list(tree.unknown_keys(KEYS)):
        raise SpecError(problems)
    if "ram" in tree and "sram" in tree:
        fail(tree.entries["sram"][0].location, "ram: and sram: are one; keep one")
    flash, launch = tree.get("flash"), tree.get("launch")
    return DeviceSheet(
        name=_text(tree.get("name")) or path.stem,
        sources=_texts(tree.get("sources")),
        peak=_peaks(_needed(tree, "peak", "peak: {int8: 960 MMAC/s, float32: 480 MMAC/s}")),
        bandwidth=_quantity(_needed(tree, "bandwidth", "bandwidth: 1.9 GB/s"), "bandwidth", _BANDWIDTHS, "1.9 GB/s"),
        ram=int(_quantity(tree.get("sram") or _needed(tree, "ram", "ram: 512 KiB"), "ram", _SIZES, "512 KiB")),
        flash=None if flash is None else int(_quantity(flash, "flash", _SIZES, "2 MiB")),
        launch=None if launch is None else _quantity(launch, "launch", _TIMES, "2 us", may_be_zero=True),
    )


def _needed(tree: yaml.Mapping, key: str, example: str) -> Tree:
    value = tree.get(key)
    return fail(tree.location, f"a device sheet needs {key}:, as in {example}") if value is None else value


def _text(tree: Tree | None) -> str:
    return " ".join(tree.text.split())[:500] if isinstance(tree, Scalar) else ""


def _texts(tree: Tree | None) -> tuple[str, ...]:
    return tuple(map(_text, tree.items)) if isinstance(tree, yaml.Sequence) else tuple(filter(None, (_text(tree),)))


def _peaks(tree: Tree) -> dict[str, Fraction]:
    """Return multiply-accumulates a second by dtype; an operation is half of one."""
    if not isinstance(tree, yaml.Mapping) or not tree.entries:
        fail(tree.location, "peak: takes rates by dtype, as in {int8: 960 MMAC/s, float32: 480 MMAC/s}")
    peaks = {}
    for key, (scalar, value) in tree.entries.items():
        try:
            dtype = check_dtype(key)
        except CnnstatError as error:
            fail(scalar.location, str(error))
        peaks[dtype] = _quantity(value, f"peak of {dtype}", _RATES, "960 MMAC/s or 2 TOP/s")
    return peaks


def _quantity(tree: Tree, what: str, units: Units, example: str, *, may_be_zero: bool = False) -> Fraction:
    """Return an amount in base units; a number without a unit could be any."""
    text = tree.text.strip() if isinstance(tree, Scalar) else "what is written"
    match = _QUANTITY.match(text) if len(text) < 60 else None
    if match is None:
        fail(tree.location, f"{what}: {text[:40]} is no amount; write it as in {example}")
    unit = match["unit"]
    if unit is None:
        fail(tree.location, f"{what}: {text[:40]} has no unit; write it as in {example}")
    if unit not in units:
        fail(tree.location, f"{what}: there is no unit {unit[:40]} here{did_you_mean(unit, units)}; as in {example}")
    value = Fraction(match["number"]) * units[unit]
    if value > MOST or not (value >= 1 / Fraction(MOST) or (may_be_zero and not value)):
        fail(tree.location, f"{what}: {text[:40]} is {'too much' if value > MOST else 'too little'} for any device")
    return value
