"""Device floor: the least time that a device can take, layer by layer, and whether RAM and flash suffice.

A floor, never a prediction: each layer takes at least its MACs at the device's peak, at least its bytes at the device's
bandwidth, whichever is longer (the roofline, Williams et al. 2009, doi:10.1145/1498765.1498785), and a launch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from cnnstat.analysis.analysis import Analysis
from cnnstat.errors import CnnstatError
from cnnstat.ir.op import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSheet:
    """What a device can do at best.

    name, sources: what it is, and where the numbers are from. peak: multiply-accumulates a second by dtype.
    bandwidth: bytes a second between memory and what computes. ram, flash: bytes; without flash, weights lie in RAM.
    launch: seconds that starting a layer takes at least; None where the sheet does not say.
    """

    name: str
    sources: tuple[str, ...] = ()
    peak: Mapping[str, Fraction]
    bandwidth: Fraction
    ram: int
    flash: int | None = None
    launch: Fraction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFloor:
    """The floor of one network on one device.

    layers: seconds of each layer. seconds: their sum. bound: for each layer, what it waits for: `compute`, `memory`,
    `launch`, or nothing. ram_bytes, flash_bytes: what the network needs of each; without flash all is RAM.
    """

    sheet: DeviceSheet
    layers: tuple[float, ...]
    bound: tuple[str, ...]
    seconds: float
    ram_bytes: int
    flash_bytes: int

    @property
    def ram_suffices(self) -> bool:
        """Whether the arena, and the weights where there is no flash, fit into RAM."""
        return self.ram_bytes <= self.sheet.ram

    @property
    def flash_suffices(self) -> bool:
        """Whether weights, biases and scales fit into flash; true where there is none."""
        return self.sheet.flash is None or self.flash_bytes <= self.sheet.flash


def device_floor(analysis: Analysis, sheet: DeviceSheet) -> DeviceFloor:
    """Return the floor of a network on a device.

    Raises CnnstatError where the sheet has no peak for what a layer multiplies.
    """
    times: list[Fraction] = []
    bound = []
    for index, layer in enumerate(analysis.layers):
        compute = layer.macs / _peak(analysis, sheet, index) if layer.macs else Fraction(0)
        node = analysis.graph.nodes[index]
        # A view is no work; in a deployed network, what is done in place is done by the kernel before it.
        is_fused = node.overwrites is not None and analysis.graph.deployment is not None
        is_free = node.op.storage is Storage.VIEW or is_fused
        memory = Fraction(0) if is_free else layer.moved_bytes / sheet.bandwidth
        longest = max(compute, memory)
        launch = Fraction(0) if is_free and not layer.macs else sheet.launch or Fraction(0)
        times.append(longest + launch)
        words = "launch" if launch > longest else "compute" if compute >= memory else "memory"
        bound.append(words if times[-1] else "")
    memory_bytes = analysis.memory
    in_ram = 0 if sheet.flash is not None else memory_bytes.flash_bytes
    return DeviceFloor(
        sheet=sheet,
        layers=tuple(map(float, times)),
        bound=tuple(bound),
        seconds=float(sum(times)),
        ram_bytes=memory_bytes.ram_bytes + in_ram,
        flash_bytes=memory_bytes.flash_bytes if sheet.flash is not None else 0,
    )


def _peak(analysis: Analysis, sheet: DeviceSheet, index: int) -> Fraction:
    """Return the MACs a second at the precision of a layer, or at a wider one that the device has instead."""
    precision = analysis.precisions[index]
    wanted = max(precision, key=_WIDTH.__getitem__) if set(precision) <= _WIDTH.keys() else precision.weight
    if wanted not in sheet.peak:
        name, known = analysis.graph.nodes[index].name, ", ".join(sheet.peak)
        hint = next((each for each in ("int8", "float16", "float32") if each in sheet.peak), "")
        remedy = f"; add it, or write --deploy {hint}" if hint else "; add it"
        raise CnnstatError(f"--device-sheet {sheet.name}: {name} multiplies in {wanted}; peak has {known}{remedy}")
    return sheet.peak[wanted]


_WIDTH = {"int8": 0, "uint8": 0, "float16": 1, "bfloat16": 1, "float32": 2, "float64": 3}
"""Dtypes by how wide products of them are; a product of two is done in the wider."""
