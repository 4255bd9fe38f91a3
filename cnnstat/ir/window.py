"""Windows: which input indices an output index reads along one axis.

Every rule that cnnstat knows is periodic: outputs `r, r + P, r + 2P, …` read the same taps, moved on by a fixed
number of inputs. A convolution has period 1; a transposed convolution has its stride; a resize by n/m has period n.
One class therefore covers convolution, pooling, padding, cropping, transposed convolution, resizing and adaptive
pooling, and receptive fields stay exact integers throughout.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

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
class Piece:
    """Output index i reads input index i − start, if there is one: an input of a concatenation along this axis."""

    start: int


@dataclass(frozen=True, slots=True)
class Index:
    """All outputs read the axis at one position, and have no such axis: x[:, 3]."""

    position: int


class Whole:
    """Every output reads the whole axis: global pooling, attention over positions."""


class Statistic:
    """Output index i reads input index i, and statistics of the whole axis: a norm over positions."""


class Unfollowed:
    """Outputs read the axis by no rule that is followed: a resize by 4099/4097, say."""


IDENTITY = Window((range(1),), 1)
"""Output index i reads input index i: element-wise operations, 1×1 convolutions, fixed norms."""

NOTHING = Window((range(0),), 1)
"""No output reads anything: an input of which only the size matters."""

WHOLE = Whole()
STATISTIC = Statistic()
UNFOLLOWED = Unfollowed()

AxisRule = Window | Piece | Index | Whole | Statistic | Unfollowed
"""How one output axis reads the input axis it comes from."""

Reads = tuple[tuple[int, AxisRule] | None, ...]
"""For each output axis: the input axis it comes from and the rule, or None where it comes from no single axis.

An input axis that no output axis names is read as a whole, as a sum over it does. Entries behind those of the output
axes are of input axes that are read at one position (`Index`).
"""


class Unknown(tuple[None, ...]):
    """Reads of an op of which nothing is known: any output may read any input."""

    __slots__ = ()


class RowMajor(tuple[tuple[int, AxisRule] | None, ...]):
    """Reads of elements that keep their row-major order under another shape: an axis that stays names itself."""

    __slots__ = ()


class InSteps(Unknown):
    """Reads in several steps, each of what the one before it makes: a window along an axis, then a view of it, say.

    steps: the reads of each step, and the shape that it makes; the last makes the output.
    """

    steps: tuple[tuple[Reads, tuple[int, ...]], ...]

    @classmethod
    def of(cls, *steps: tuple[Reads, tuple[int, ...]]) -> InSteps:
        """Return the reads of these steps."""
        result = cls((None,) * len(steps[-1][1]))
        result.steps = steps
        return result


class Layer(tuple[tuple[int, AxisRule] | None, ...]):
    """Reads of an input that stands at one position of an output axis which it has not: torch.stack."""

    axis: int
    position: int

    @classmethod
    def at(cls, axis: int, position: int, reads: Reads) -> Layer:
        """Return the reads of an input that stands at `position` of output axis `axis`."""
        layer = cls(reads)
        layer.axis, layer.position = axis, position
        return layer


class InPart(tuple[tuple[int, AxisRule] | None, ...]):
    """Reads of an input that only some positions have along an axis which it has not: x[:, :, 3] = y."""

    __slots__ = ()


@lru_cache(maxsize=4096)  # tiles of a map are cut at the same places again and again
def sliding(kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Window:
    """Return the window of a convolution or pooling; `padding` is the amount on the left, negative for a crop."""
    return Window((range(-padding, dilation * (kernel - 1) - padding + 1, dilation),), stride)


def up_to_itself(length: int) -> Window:
    """Return the window of running sums and one-way recurrent layers: index i reads 0 … i, borders not clipped."""
    return sliding(length, 1, length - 1)


def transposed(kernel: int, stride: int, padding: int, dilation: int) -> AxisRule:
    """Return the window of a transposed convolution: output o reads i wherever o = i·stride − padding + dilation·j."""
    if stride > MAX_PERIOD:
        return UNFOLLOWED
    return Window(tuple(_transposed_taps(r, kernel, stride, padding, dilation) for r in range(stride)), 1)


def _transposed_taps(residue: int, kernel: int, stride: int, padding: int, dilation: int) -> range:
    """Return the inputs i with residue + padding − dilation·j = i·stride for some 0 ≤ j < kernel."""
    # A linear congruence: dilation·j ≡ residue + padding (mod stride). If the common divisor divides the right side,
    # its solutions are one j in every `cycle`, the first by the modular inverse; otherwise there is none.
    shared = math.gcd(stride, dilation)
    cycle = stride // shared
    turns, rest = divmod(residue + padding, shared)
    first = 0 if rest else turns * pow(dilation // shared, -1, cycle) % cycle
    if rest or first >= kernel:
        return range(0)
    last = first + (kernel - 1 - first) // cycle * cycle
    step = dilation * cycle // stride
    return range(
        (residue + padding - dilation * last) // stride, (residue + padding - dilation * first) // stride + 1, step
    )


def columns(kernel: int, stride: int, padding: int, dilation: int) -> AxisRule:
    """Return the window of what a sliding window sees, place after place: index n·kernel + k reads input tap k of n."""
    if kernel > MAX_PERIOD:
        return UNFOLLOWED
    firsts = (dilation * k - padding for k in range(kernel))
    return Window(tuple(range(first, first + 1) for first in firsts), stride)


def gathered(kernel: int, stride: int, padding: int, dilation: int) -> AxisRule:
    """Return the window that sums what `columns` took apart: output o reads n·kernel + k wherever tap k of n is o.

    Taps k of one o differ by multiples of stride / gcd(stride, dilation), as of a transposed convolution.
    """
    sources = transposed(kernel, stride, padding, dilation)
    if not isinstance(sources, Window):
        return sources
    taps = []
    for residue, places in enumerate(sources.taps):
        indices = [n * kernel + (residue + padding - n * stride) // dilation for n in places]
        step = indices[1] - indices[0] if len(indices) > 1 else 1
        taps.append(range(indices[0], indices[-1] + 1, step) if indices else range(0))
    return Window(tuple(taps), kernel)


def nearest(scale: Fraction, offset: Fraction = Fraction(0)) -> AxisRule:
    """Return the window of nearest-neighbour resizing: output o reads ⌊(o + offset)·scale⌋, scale = inputs per output.

    PyTorch's `nearest` has offset 0, its `nearest-exact` ½, the centre of the output pixel.
    """
    if scale.denominator > MAX_PERIOD:
        return UNFOLLOWED
    # In integers, as below: fractions would take most of the time of a whole analysis.
    unit, whole = offset.denominator, scale.denominator * offset.denominator
    sources = ((r * unit + offset.numerator) * scale.numerator // whole for r in range(scale.denominator))
    return Window(tuple(range(i, i + 1) for i in sources), scale.numerator)


def interpolated(scale: Fraction, half_width: int, align_corners: bool) -> AxisRule:
    """Return the window of linear (half_width 1) or cubic (half_width 2) resizing; scale = input step per output.

    Source position is o·scale with aligned corners, else (o + ½)·scale − ½. A position that falls on an input
    reads that input alone. Borders are not clipped.
    """
    inputs, outputs = scale.numerator, scale.denominator
    if outputs > MAX_PERIOD:
        return UNFOLLOWED
    offset = 0 if align_corners else inputs - outputs
    taps = []
    for r in range(outputs):
        low, rest = divmod(2 * r * inputs + offset, 2 * outputs)
        taps.append(range(low - half_width + 1, low + half_width + 1) if rest else range(low, low + 1))
    return Window(tuple(taps), scale.numerator)


def antialiased(scale: Fraction, half_width: int) -> AxisRule:
    """Return the window of the same with a filter that is as much wider as the result is smaller; corners not aligned.

    Output o reads every input less than half_width·scale from (o + ½)·scale − ½. Borders are not clipped.
    """
    if scale <= 1:
        return interpolated(scale, half_width, align_corners=False)
    if scale.denominator > MAX_PERIOD:
        return UNFOLLOWED
    centres = (scale * (r + Fraction(1, 2)) - Fraction(1, 2) for r in range(scale.denominator))
    reach = half_width * scale
    taps = (range(math.floor(centre - reach) + 1, math.ceil(centre + reach)) for centre in centres)
    return Window(tuple(taps), scale.numerator)


def adaptive(input_size: int, output_size: int) -> AxisRule:
    """Return the window of adaptive pooling: bin o reads ⌊o·I/O⌋ to ⌈(o + 1)·I/O⌉ − 1; one bin reads everything."""
    if output_size == 1 and input_size > 1:
        return WHOLE
    shared = math.gcd(input_size, output_size)
    inputs, bins = input_size // shared, output_size // shared
    if bins > MAX_PERIOD:
        return UNFOLLOWED
    return Window(tuple(range(o * inputs // bins, -(-(o + 1) * inputs // bins)) for o in range(bins)), inputs)


def regrouped_axes(source: tuple[int, ...], target: tuple[int, ...]) -> Iterator[tuple[range, range]]:
    """Cut two shapes of equally many elements into the shortest runs of axes with equal products."""
    i = j = 0
    while i < len(source) and j < len(target):
        first, second = i, j
        left, right = source[i], target[j]
        while left != right:
            if left < right:
                i += 1
                left *= source[i]
            else:
                j += 1
                right *= target[j]
        i, j = i + 1, j + 1
        yield range(first, i), range(second, j)


def aligned_reads(shape: tuple[int, ...], output: tuple[int, ...]) -> Reads:
    """Return the identity on axes that broadcasting left alone, None on those it repeated or added."""
    missing = len(output) - len(shape)
    if missing < 0:
        return (None,) * len(output)
    pairs = enumerate(zip(shape, output[missing:]))
    reads = ((axis, IDENTITY) if size == output_size else None for axis, (size, output_size) in pairs)
    return (*(None,) * missing, *reads)


def shift_of(window: Window) -> int | None:
    """Return by how much a window moves every position and does nothing else; None where it does more."""
    (first, *others), advance = window.taps, window.advance
    return -first[0] if advance == 1 and not others and len(first) == 1 else None


def leaves_out(rule: AxisRule, length: int, size: int) -> bool:
    """Return whether a window from `length` to `size` indices is a cut: more positions could be read by it."""
    if type(rule) is not Window or size >= length:
        return False
    for index in (-1, size):
        turn, residue = divmod(index, rule.period)
        taps, shift = rule.taps[residue], turn * rule.advance
        if taps and taps[0] + shift >= 0 and taps[-1] + shift < length:
            return True
    return False


def reads_along(axis: int, rule: AxisRule, rank: int) -> Reads:
    """Return the reads of an input of `rank` axes: `rule` along one axis and the identity along the others."""
    return tuple((a, rule if a == axis else IDENTITY) for a in range(rank))
