"""What convolution and pooling share: sizes of sliding windows and how they are explained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import methodcaller
from types import new_class
from typing import Any, ClassVar, NamedTuple, TypeVar

from cnnstat.errors import OpError
from cnnstat.ir.declaration import Formula, argument, axes, optional, per_axis
from cnnstat.ir.op import Shape, Shapes, register, shape_text
from cnnstat.ir.window import IDENTITY, MAX_PERIOD, AxisRule, Reads, Window, sliding

AXIS_NAMES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
AXIS_SYMBOLS = {1: "L", 2: "HW", 3: "DHW"}


_USUAL: Mapping[str, int] = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1}
LETTERS = {"stride": "s", "padding": "p", "output_padding": "o", "dilation": "d", "groups": "g"}
"""How narrow tables abbreviate the arguments of a sliding window."""


def _is(value: Any, usual: int) -> bool:
    return value == usual or (isinstance(value, tuple) and set(value) == {usual})


def _sizes_text(value: Any) -> str:
    """Return one number, or one for each axis where they differ; a word as it is (`same`)."""
    if not isinstance(value, tuple):
        return str(value)
    return "×".join(map(str, value if len(set(value)) > 1 else value[:1]))


class Spatial:
    """Mixin for families with one op for each number of spatial axes: `class Conv2d(Conv, spatial=2)`."""

    spatial: ClassVar[int]
    torch: ClassVar[str]
    calls: ClassVar[Mapping[str, str]]

    def __init_subclass__(cls, spatial: int | None = None) -> None:
        """Name PyTorch's module, which is called as the op, and its functions: `conv{n}d` for n axes."""
        super().__init_subclass__()
        if spatial is not None:
            cls.spatial = spatial
            cls.torch = f"torch.nn.{cls.__name__}"
            cls.calls = {name.format(n=spatial): arguments for name, arguments in cls.calls.items()}

    @property
    def compact(self) -> str:
        """The op for a narrow table; a sliding window as `Conv2d 3×3 s2 p1 g64`: what is usual is left out."""
        kernel = getattr(self, "kernel_size", None)
        if kernel is None:
            short: str = super().compact  # type: ignore[misc]  # that of Op
            return short
        step = getattr(self, "stride", 1)
        values = {"stride": kernel if step is None else step}
        values |= {name: getattr(self, name, usual) for name, usual in _USUAL.items() if name != "stride"}
        parts = [LETTERS[name] + _sizes_text(value) for name, value in values.items() if not _is(value, _USUAL[name])]
        parts += ["ceil"] * bool(getattr(self, "ceil_mode", False))
        size = "×".join(map(str, axes(kernel, self.spatial, "kernel_size")))
        return " ".join((type(self).__name__, size, *parts))


SpatialType = TypeVar("SpatialType", bound=Spatial)
_FIELDS = {1: "a sequence", 2: "an image", 3: "a volume"}


def spatial_ops(base: type[SpatialType], doc: str, kinds: tuple[int, ...] = (1, 2, 3)) -> Iterator[type[SpatialType]]:
    """Yield the registered op of each number of spatial axes: from `_MaxPool` these are `MaxPool1d`, `MaxPool2d` etc.

    doc: their docstring, with `{field}` for what they work on (a sequence, an image, a volume) and `{layout}` for its
    axes.
    """
    for spatial in kinds:
        layout = " × ".join(("batch", "channels", *AXIS_NAMES[spatial]))
        own = {"__doc__": doc.format(field=_FIELDS[spatial], layout=layout), "__module__": base.__module__}
        name = f"{base.__name__.removeprefix('_')}{spatial}d"
        yield register(new_class(name, (base,), {"spatial": spatial}, methodcaller("update", own)))


class Slide(NamedTuple):
    """A window that slides along one axis; `before` and `after` are the padding on either side."""

    kernel: int
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1

    @property
    def extent(self) -> int:
        """Inputs that the window spans: dilation·(kernel − 1) + 1."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def window(self) -> Window:
        """The rule by which outputs read inputs."""
        return sliding(self.kernel, self.stride, self.before, self.dilation)

    def size(self, length: int, ceil_mode: bool = False) -> int:
        """Return the output size ⌊(W − D(K − 1) − 1 + 2P) / S⌋ + 1; may be ≤ 0 where the window does not fit.

        With ceil_mode the division rounds up, but no window starts in the padding on the right (as in PyTorch).
        """
        span = length + self.before + self.after - self.extent
        if not ceil_mode:
            return span // self.stride + 1
        size = -(-span // self.stride) + 1
        return size - 1 if (size - 1) * self.stride >= length + self.before else size


class Sliding(Spatial):
    """Mixin for ops whose window slides over every spatial axis; each states its `slides`."""

    mixes_channels: ClassVar[bool]
    """Whether an output reads all channels, or all of its group."""
    kernel_size: int | tuple[int, ...]

    @property
    def kernel(self) -> tuple[int, ...]:
        """The window's size along each axis."""
        return axes(self.kernel_size, self.spatial, "kernel_size")

    @property
    def slides(self) -> tuple[Slide, ...]:
        """The sliding window along each axis."""
        raise AssertionError(f"{type(self).__name__} states no slides")

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return kernel, stride, padding and dilation of each axis."""
        groups = getattr(self, "groups", 1) if self.mixes_channels else inputs[0][1]
        return spatial_reads([slide.window for slide in self.slides], grouped(inputs[0][1], outputs[0][1], groups))


def window_argument() -> Any:
    """Declare the size of a pooling window."""
    return argument(per_axis(1), "size of the window, one number or one for each axis")


def stride_argument() -> Any:
    """Declare the step of a pooling window."""
    return argument(optional(per_axis(1)), "step of the window; null for the kernel size", None)


def kernel_letters(spatial: int) -> str:
    """Return the kernel's size in symbols, `K_H·K_W`."""
    return "·".join(f"K_{name[0].upper()}" for name in AXIS_NAMES[spatial])


def channels_and_space(shape: Shape, spatial: int, kind: str) -> tuple[int, int, Shape]:
    """Return (batch, channels, spatial sizes); raises OpError unless the shape has `spatial` axes after those two."""
    if len(shape) != spatial + 2:
        layout = "×".join(("batch", "channels", *AXIS_NAMES[spatial]))
        raise OpError(f"{kind} takes {layout}, but its input is {shape_text(shape)}; {_rank_hint(shape, kind)}")
    return shape[0], shape[1], shape[2:]


def _rank_hint(shape: Shape, kind: str) -> str:
    spatial = len(shape) - 2
    if spatial in AXIS_NAMES:
        return f"use {kind[:-2]}{spatial}d, or reshape the input first"
    return "reshape the input first"


def slide_over(space: Shape, slides: Sequence[Slide], ceil_mode: bool = False) -> Shape:
    """Return the output sizes; raises OpError if a window does not fit into its axis."""
    sizes = tuple(slide.size(length, ceil_mode) for slide, length in zip(slides, space))
    for name, size, slide, length in zip(AXIS_NAMES[len(space)], sizes, slides, space):
        if size < 1:
            padded = length + slide.before + slide.after
            raise OpError(
                f"kernel_size={slide.kernel} with dilation={slide.dilation} spans {slide.extent} pixels; the {name} "
                f"is {padded} with padding; use a smaller kernel, more padding, or a larger input"
            )
    return sizes


def spatial_reads(rules: Sequence[AxisRule], channels: AxisRule | None = IDENTITY) -> tuple[Reads, ...]:
    """Return the reads of an op of one batch×channels×space input with one rule for each spatial axis.

    channels: the rule for channels; None where each output reads all of them.
    """
    channel = None if channels is None else (1, channels)
    return (((0, IDENTITY), channel, *((axis, rule) for axis, rule in enumerate(rules, start=2))),)


def grouped(channels: int, outputs: int, groups: int) -> AxisRule | None:
    """Return the rule by which output channels read the input channels of their group; None where that is all."""
    if groups == channels == outputs:
        return IDENTITY
    if groups == 1 or outputs // groups > MAX_PERIOD:
        return None
    return Window((range(channels // groups),) * (outputs // groups), channels // groups)


def slide_formulas(space: Shape, slides: Sequence[Slide], sizes: Shape, ceil_mode: bool = False) -> tuple[Formula, ...]:
    """Return the output-size formula of each axis with its numbers, and what a stride that does not divide does."""
    names = AXIS_NAMES[len(space)]
    symbols = AXIS_SYMBOLS[len(space)]
    lines = tuple(
        _slide_formula(name, symbol, length, slide, size, ceil_mode)
        for name, symbol, length, slide, size in zip(names, symbols, space, slides, sizes)
    )
    return (*lines, *_same_padding(slides))


def _same_padding(slides: Sequence[Slide]) -> tuple[Formula, ...]:
    """Return the padding with which an odd kernel of stride 1 keeps the size, once if it is that of every axis."""
    kernel, stride, before, after, dilation = slides[0]
    if len(set(slides)) > 1 or stride > 1 or kernel == 1 or kernel % 2 == 0:
        return ()
    same = dilation * (kernel - 1) // 2
    times, factor = ("D·", f"{dilation}·") if dilation > 1 else ("", "")
    is_same = "it has that, so the size stays" if before == after == same else f"it has P = {before}"
    return (Formula("same padding", f"P = {times}(K − 1) / 2", f"{factor}({kernel} − 1) / 2", same, is_same),)


def _slide_formula(name: str, symbol: str, length: int, slide: Slide, size: int, ceil_mode: bool) -> Formula:
    """Return the output-size formula of one axis."""
    kernel, stride, before, after, dilation = slide
    is_dilated = dilation > 1
    reach = "D(K − 1) − 1" if is_dilated else "K"
    reach_numbers = f"{dilation}·({kernel} − 1) − 1" if is_dilated else f"{kernel}"
    padding, padding_numbers = ("2P", f"2·{before}") if before == after else ("P₁ + P₂", f"{before} + {after}")
    span = length + before + after - slide.extent
    rest = span % stride
    left, right = ("", "") if not rest else ("⌈⌉" if ceil_mode else "⌊⌋")
    skips_last = ceil_mode and size <= -(-span // stride)
    less, skipped = (" − 1", "; a further window would start in the padding") if skips_last else ("", "")
    return Formula(
        f"output {name}",
        f"{left}({symbol} − {reach} + {padding}) / S{right} + 1{less}",
        f"{left}({length} − {reach_numbers} + {padding_numbers}) / {stride}{right} + 1{less}",
        size,
        _rest_note(span, rest, stride, length, slide, size) + skipped,
    )


def _rest_note(span: int, rest: int, stride: int, length: int, slide: Slide, size: int) -> str:
    """Return what happens to the pixels that a stride leaves over."""
    if not rest:
        return ""
    covered = (size - 1) * stride + slide.extent
    padded = length + slide.before + slide.after
    if covered > padded:
        return f"stride {stride} does not divide {span}: the last window hangs over by {covered - padded}"
    dropped = padded - covered
    real = max(0, dropped - slide.after)
    what = f"{real} of the input" if real else "padding only"
    return f"stride {stride} does not divide {span}: the last {dropped} dropped ({what})"
