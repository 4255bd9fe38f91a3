"""Profile: the measured times of one model on one device, layer by layer and whole, and how they add up."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from cnnstat.display import Displayed, drawn
from cnnstat.errors import CnnstatError, old_name
from cnnstat.profile.profile_details import Details, LayerMemory
from cnnstat.profile.roofline import Bound, Roofline

if TYPE_CHECKING:
    from cnnstat.analysis.analysis import Analysis

UNATTRIBUTED = -1
"""The row of op calls that belong to no layer: work on weights, constants, and what the trace did not see."""


FEW = 3
"""Measurements of which quartiles say nothing."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Repeated measurements of one time, in seconds: median, quartiles and how many there were."""

    median: float
    lower: float
    upper: float
    count: int

    @property
    def spread(self) -> float:
        """Interquartile range, in seconds."""
        return self.upper - self.lower

    @property
    def scatters(self) -> bool:
        """Whether there are measurements enough for quartiles to mean anything: more than three."""
        return self.count > FEW


def summarize(values: Sequence[float]) -> Samples:
    """Return the median and the quartiles of at least one measurement, in seconds."""
    from statistics import median, quantiles  # here, because it takes longer to import than all of cnnstat's reports

    if len(values) == 1:
        return Samples(values[0], values[0], values[0], 1)
    lower, _, upper = quantiles(values, n=4, method="inclusive")
    return Samples(median(values), lower, upper, len(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeBreakdown:
    """whole = layers + idle + unattributed + tracing + residual, in seconds.

    whole: one run measured without any instrumentation (on CUDA: a replay of the CUDA graph).
    layers: sum of the layers' median times.
    idle: time inside the instrumented run in which nothing computed.
    unattributed: time of kernels or op calls that belong to no layer.
    tracing: what the tracer added to the pass, as a negative time; 0 where that is not known.
    kernels: GPU kernels of a pass, those of no layer included; 0 on a CPU.
    """

    whole: float
    layers: float
    idle: float
    unattributed: float
    tracing: float = 0.0
    kernels: int = 0

    gaps = old_name("gaps", "idle")
    """The name of `idle` in JSON and in the first releases."""

    @property
    def residual(self) -> float:
        """What is left: by how much the instrumented run and the plain one differ (negative: the first is slower)."""
        return self.whole - self.layers - self.idle - self.unattributed - self.tracing

    drift = old_name("drift", "residual")
    """The name of `residual` in JSON and in the first releases."""

    def holds(self, residual: float, unattributed: float) -> bool:
        """Whether both remainders stay within these shares of the whole; negative idle time counts as residual."""
        most = self.most_residual(residual)
        return abs(self.residual) <= most and -self.idle <= most and self.unattributed <= unattributed * self.whole

    def most_residual(self, share: float) -> float:
        """Return the seconds that may be left over: this share of the whole, or a microsecond for every kernel."""
        return max(share * self.whole, self.kernels * PER_KERNEL)

    def share(self, seconds: float) -> float:
        """Return a part of the whole; 0 if the whole took no time."""
        return seconds / self.whole if self.whole else 0.0


PER_KERNEL = 1e-6
"""Seconds by which a kernel may be off: about what CUPTI's tracing adds to one, which differs from kernel to kernel."""


class Tolerance(NamedTuple):
    """How much of the whole each remainder may be before a profile counts as not adding up."""

    residual: float
    unattributed: float


TOLERANCES = {"cuda": Tolerance(0.03, 0.01), "cpu": Tolerance(0.15, 0.15), "mps": Tolerance(0.15, 0.15)}
"""The stated limits by kind of device: a CUDA graph repeats itself, a CPU shares its caches and clock with others."""


ABOVE_ROOFLINE = 1.005
"""Share of the bound from which a layer counts as above the roofline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where and how a profile was measured.

    device: "cuda", "cuda:1", "cpu" or "mps"; device_name: what the hardware calls itself.
    versions: of cnnstat, python, torch, cuda (hip on ROCm), cudnn, driver: those there are.
    threads: of PyTorch's CPU ops; None on a GPU.
    settings: dtype, batch, tf32, channels_last, backward, mode, as strings.
    clocks: MHz of the GPU's SM and memory before and after, where NVML reports them; power limit in W.
    """

    device: str
    device_name: str
    dtype: str
    threads: int | None = None
    versions: Mapping[str, str]
    settings: Mapping[str, str]
    clocks: Mapping[str, float] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The kind of device: `cuda` for `cuda:1`."""
        return self.device.partition(":")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTime:
    """Measured time of one layer (a row of `cnnstat analyze`); bytes and operations are those of one forward pass.

    forward, backward: seconds of all its calls in one pass; backward is None where only the forward pass ran.
    kernels: GPU kernels launched in one pass; None on a CPU.
    moved: bytes of inputs, weights and outputs, each once.
    bound_seconds, bound: least seconds by this machine's roofline, and what sets them, of the forward pass; 0 and None
        for what neither moves nor computes anything, such as a view.
    warm, cold: seconds of the layer alone (`--isolate`) with inputs in the cache and not.
    """

    name: str
    kind: str
    calls: int
    forward: Samples
    macs: int
    flops: int
    moved: int
    bound_seconds: float
    bound: Bound | None
    kernels: int | None = None
    kernel_names: tuple[str, ...] = ()
    backward: Samples | None = None
    warm: Samples | None = None
    cold: Samples | None = None
    counted: bool = True

    @property
    def seconds(self) -> float:
        """Median seconds, backward included where it was measured."""
        return self.forward.median + (self.backward.median if self.backward else 0.0)

    @property
    def intensity(self) -> float:
        """FLOPs for each byte moved; 0 where nothing is."""
        return self.flops / self.moved if self.moved else 0.0

    @property
    def flops_per_second(self) -> float:
        """Achieved floating-point operations per second of the forward pass; 0 where it took no time."""
        return flops_per_second((self,))

    @property
    def bytes_per_second(self) -> float:
        """Achieved bytes per second of the forward pass; 0 where it took no time."""
        return bytes_per_second((self,))

    floor = old_name("floor", "bound_seconds")
    """The name of `bound_seconds` in JSON and in the first releases."""

    @property
    def share_of_bound(self) -> float:
        """Bound divided by time: 1 is as fast as the roofline allows, above 1 is faster (cache, Winograd, FFT)."""
        return self.bound_seconds / self.forward.median if self.forward.median else 0.0

    share_of_floor = old_name("share_of_floor", "share_of_bound")
    """The name of `share_of_bound` in JSON and in the first releases."""


BARELY = 1.05
"""An ordinary call that takes no more than so many times what a replay takes is as fast as the GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """The model as a whole, uninstrumented; seconds of one pass.

    plain: what the time breakdown explains: CUDA-graph replay, or on a CPU the plain run.
    eager: wall time of an ordinary call; enqueue: time the CPU needs to launch it (CUDA only).
    replayed: whether `plain` is a CUDA-graph replay (False where the model cannot be captured).
    """

    plain: Samples
    eager: Samples
    enqueue: Samples | None = None
    replayed: bool = False

    @property
    def cpu_bound(self) -> bool:
        """Whether launching takes over 0.8 of the GPU's time, so that the CPU sets the pace.

        A GPU takes about 1,024 launches before the CPU has to wait for it, so that launching a long pass takes as long
        as the pass itself on any CPU. An ordinary call that takes hardly longer than a replay shows that.
        """
        if self.enqueue is None or (self.replayed and self.eager.median <= BARELY * self.plain.median):
            return False
        return self.enqueue.median > 0.8 * self.plain.median


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Profile(Displayed, Details):
    """The measured times of one model.

    predicted_peak_bytes: what the memory pass says of `peak_bytes`.
    notes: what a reader must know, one line each.
    analysis: the figures of the network, with which it can be drawn; None where the profile was read from a file.
    """

    model: str
    source: str
    inputs: Mapping[str, tuple[int, ...]]
    environment: Environment
    roofline: Roofline
    layers: tuple[LayerTime, ...]
    whole: Whole
    time_breakdown: TimeBreakdown
    predicted_peak_bytes: int | None = None
    notes: tuple[str, ...] = ()
    memory: tuple[LayerMemory, ...] = ()
    analysis: Analysis | None = field(default=None, compare=False)

    def __hash__(self) -> int:
        """Return a hash of model, device and time: profiles hold mappings, which have none."""
        return hash((self.model, self.source, self.environment.device, self.whole.plain, len(self.layers)))

    def draw(self, **options: Any) -> Any:
        """Return the network as a picture, each box with its share of the time; options as of `cnnstat.draw`.

        Raises CnnstatError where the profile was read from a file.
        """
        if self.analysis is None:
            raise CnnstatError("this profile holds no network; use cnnstat.draw(model, by='time', profile=profile)")
        return drawn(self.analysis, **({"by": "time", "profile": self} | options))

    identity = old_name("identity", "time_breakdown")
    """The name of `time_breakdown` in JSON and in the first releases."""

    ceilings = old_name("ceilings", "roofline")
    """The name of `roofline` in JSON and in the first releases."""

    @property
    def tolerance(self) -> Tolerance:
        """The stated limits on the remainders of the time breakdown on this kind of device."""
        return TOLERANCES[self.environment.kind]

    @property
    def adds_up(self) -> bool:
        """Whether the remainders stay within the stated limits and no kernel was lost."""
        return self.time_breakdown.holds(*self.tolerance) and not self.lost_kernels

    @property
    def batch(self) -> int:
        """Size of the first axis of the first input."""
        return (next(iter(self.inputs.values()), (1,)) or (1,))[0]

    @property
    def inputs_per_second(self) -> float:
        """How many inputs the whole model takes in a second; 0 if it took no time."""
        return self.batch / self.whole.plain.median if self.whole.plain.median else 0.0

    @property
    def flops_per_second(self) -> float:
        """Floating-point operations per second of all layers' forward passes."""
        return flops_per_second(self.layers)

    @property
    def share_of_bound(self) -> float:
        """Sum of the layers' bounds divided by the sum of their times."""
        return bound_of(self.layers) / (forward_seconds(self.layers) or 1.0)


def forward_seconds(layers: Iterable[LayerTime]) -> float:
    """Return the seconds of the forward passes of layers."""
    return sum(layer.forward.median for layer in layers)


def bound_of(layers: Iterable[LayerTime]) -> float:
    """Return the least seconds that the roofline allows the layers that took any time."""
    return sum((layer.bound_seconds for layer in layers if layer.forward.median), 0.0)


def flops_per_second(layers: Collection[LayerTime]) -> float:
    """Return the floating-point operations per second of the forward passes of layers; 0 where these took no time."""
    seconds = forward_seconds(layers)
    return sum(layer.flops for layer in layers) / seconds if seconds else 0.0


def bytes_per_second(layers: Collection[LayerTime]) -> float:
    """Return the bytes moved per second in the forward passes of layers; 0 where these took no time."""
    seconds = forward_seconds(layers)
    return sum(layer.moved for layer in layers) / seconds if seconds else 0.0
