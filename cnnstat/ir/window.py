"""Windows: which input indices an output index reads along one axis.

Every rule that cnnstat knows is periodic: outputs `r, r + P, r + 2P, …` read the same taps, moved on by a fixed
number of inputs. A convolution has period 1; a transposed convolution has its stride; a resize by n/m has period n.
One class therefore covers convolution, pooling, padding, cropping, transposed convolution, resizing and adaptive
pooling, and receptive fields stay exact integers throughout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

MAX_PERIOD = 4096
"""Longest period that is kept exactly; a longer one (a resize by 4099/4097, say) has no window."""


@dataclass(frozen=True, slots=True)
class Window:
    """Output index `r + t·period` reads the inputs `tap + t·advance` for every tap of `taps[r]`.

    taps: one range of input indices for each output residue; an empty range reads nothing but padding-free gaps.
    advance: inputs that one whole period moves on; 0 means that every output reads the same taps.
    """

    taps: tuple[range, ...]
    advance: int

    @property
    def period(self) -> int:
        """Number of outputs after which the pattern repeats."""
        return len(self.taps)


@dataclass(frozen=True, slots=True)
class Whole:
    """Every output reads the whole axis: global pooling, attention, a norm over positions."""


IDENTITY = Window((range(1),), 1)
"""Output index i reads input index i: element-wise operations, 1×1 convolutions, fixed norms."""

NOTHING = Window((range(0),), 1)
"""No output reads anything: an input of which only the size matters."""

WHOLE = Whole()

AxisRule = Window | Whole
"""How one output axis reads the input axis it comes from."""

Reads = tuple[tuple[int, AxisRule] | None, ...]
"""For each output axis: the input axis it comes from and the rule, or None where it comes from no single axis."""


def sliding(kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Window:
    """Return the window of a convolution or pooling; `padding` is the amount on the left, negative for a crop."""
    return Window((range(-padding, dilation * (kernel - 1) - padding + 1, dilation),), stride)


def transposed(kernel: int, stride: int, padding: int, dilation: int) -> Window | Whole:
    """Return the window of a transposed convolution: output o reads i wherever o = i·stride − padding + dilation·j."""
    if stride > MAX_PERIOD:
        return WHOLE
    return Window(tuple(_transposed_taps(r, kernel, stride, padding, dilation) for r in range(stride)), 1)


def _transposed_taps(residue: int, kernel: int, stride: int, padding: int, dilation: int) -> range:
    """Return the inputs i with residue + padding − dilation·j = i·stride for some 0 ≤ j < kernel."""
    cycle = stride // math.gcd(stride, dilation)
    first = next((j for j in range(min(cycle, kernel)) if (residue + padding - dilation * j) % stride == 0), None)
    if first is None:
        return range(0)
    last = first + (kernel - 1 - first) // cycle * cycle
    step = dilation * cycle // stride
    return range(
        (residue + padding - dilation * last) // stride, (residue + padding - dilation * first) // stride + 1, step
    )


def nearest(scale: Fraction, offset: Fraction = Fraction(0)) -> AxisRule:
    """Return the window of nearest-neighbour resizing: output o reads ⌊(o + offset)·scale⌋, scale = inputs per output.

    PyTorch's `nearest` has offset 0, its `nearest-exact` ½, the centre of the output pixel.
    """
    if scale.denominator > MAX_PERIOD:
        return WHOLE
    sources = (math.floor((r + offset) * scale) for r in range(scale.denominator))
    return Window(tuple(range(i, i + 1) for i in sources), scale.numerator)


def interpolated(scale: Fraction, half_width: int, align_corners: bool) -> AxisRule:
    """Return the window of linear (half_width 1) or cubic (half_width 2) resizing; scale = input step per output.

    Source position is o·scale with aligned corners, else (o + ½)·scale − ½. A position that falls on an input
    reads that input alone. Borders are not clipped.
    """
    offset = Fraction(0) if align_corners else (scale - 1) / 2
    if scale.denominator > MAX_PERIOD:
        return WHOLE
    taps = []
    for r in range(scale.denominator):
        position = r * scale + offset
        low = math.floor(position)
        is_exact = position == low
        taps.append(range(low, low + 1) if is_exact else range(low - half_width + 1, low + half_width + 1))
    return Window(tuple(taps), scale.numerator)


def adaptive(input_size: int, output_size: int) -> AxisRule:
    """Return the window of adaptive pooling: bin o reads ⌊o·I/O⌋ to ⌈(o + 1)·I/O⌉ − 1; one bin reads everything."""
    if output_size == 1 and input_size > 1:
        return WHOLE
    scale = Fraction(input_size, output_size)
    if scale.denominator > MAX_PERIOD:
        return WHOLE
    bins = ((math.floor(r * scale), math.ceil((r + 1) * scale)) for r in range(scale.denominator))
    return Window(tuple(range(first, end) for first, end in bins), scale.numerator)
