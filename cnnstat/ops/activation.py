"""Activations that step, squash or clip; their family is `Activation` in `ir/facets.py`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cnnstat.errors import OpError
from cnnstat.ir.declaration import argument, number
from cnnstat.ir.facets import (
    Activation,
    FloatOnly,
    KeepsOutput,
    MayOverwrite,
    OnlyInplace,
    inplace_argument,
    logistic,
    softplus,
)
from cnnstat.ir.op import NOTHING_SAVED, Saved, Shapes, numel, register


@register
class BinaryStep(FloatOnly, Activation):
    """Threshold of the first perceptrons, with gradient zero: compare."""

    torch = ""
    equation = "f(x) = 1 if x ≥ 0, else 0"
    derivative = "f′(x) = 0, and none at x = 0"
    steps = ("compare",)

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return nothing: the gradient is zero whatever the input."""
        return NOTHING_SAVED

    def curve(self, x: float) -> float:
        return 1.0 if x >= 0 else 0.0


class _Logistic(KeepsOutput):
    """The logistic function, under both its names."""

    equation = "f(x) = 1 / (1 + e⁻ˣ)"
    derivative = "f′(x) = f(x)·(1 − f(x))"
    steps = ("negate", "exp", "add", "divide")

    def curve(self, x: float) -> float:
        return logistic(x)


@register
class Sigmoid(_Logistic):
    """Logistic function, from 0 to 1: negate, exp, add, divide."""

    torch = "torch.nn.Sigmoid"
    calls = {"sigmoid": "input"}


@register
class Logistic(_Logistic):
    """Logistic function under its own name, equal to Sigmoid: negate, exp, add, divide."""

    # Its module is not nn.Sigmoid, so that a traced module has one name to be read as.
    torch = "torch.special.expit"
    calls = {"special_expit": "input"}


@register
class Tanh(KeepsOutput):
    """Hyperbolic tangent, from −1 to 1: tanh."""

    torch = "torch.nn.Tanh"
    calls = {"tanh": "input"}
    equation = "f(x) = tanh(x) = (eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)"
    derivative = "f′(x) = 1 − f(x)²"
    steps = ("tanh",)

    def curve(self, x: float) -> float:
        return math.tanh(x)


@register
@dataclass(frozen=True, repr=False)
class ScaledTanh(FloatOnly, Activation):
    """Squashing function of LeNet-5 (LeCun et al. 1998, equation 6): multiply, tanh, multiply."""

    torch = ""
    equation = "f(x) = A·tanh(S·x)"
    derivative = "f′(x) = A·S·(1 − tanh²(S·x))"
    steps = ("multiply", "tanh", "multiply")

    amplitude: float = argument(number(), "largest value A; 1.7159 gives f(1) = 1 and f(−1) = −1", 1.7159)
    slope: float = argument(number(), "slope S inside the tanh", 2 / 3)

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return tanh(S·x), which is neither the input nor the output."""
        return Saved(extra=((numel(inputs[0]), None),))

    def curve(self, x: float) -> float:
        return self.amplitude * math.tanh(self.slope * x)


@register
class Arctan(FloatOnly, Activation):
    """Inverse tangent, from −π/2 to π/2: atan."""

    torch = "torch.atan"
    calls = {"atan": "input", "arctan": "input"}
    equation = "f(x) = arctan(x)"
    derivative = "f′(x) = 1 / (1 + x²)"
    steps = ("atan",)

    def curve(self, x: float) -> float:
        return math.atan(x)


@register
class Softsign(FloatOnly, Activation):
    """Squashing with tails that flatten slowly, from −1 to 1: absolute, add, divide."""

    torch = "torch.nn.Softsign"
    calls = {"softsign": "input"}
    equation = "f(x) = x / (1 + |x|)"
    derivative = "f′(x) = 1 / (1 + |x|)²"
    steps = ("absolute", "add", "divide")

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the input and the denominator 1 + |x|."""
        return Saved(inputs=(0,), extra=((numel(inputs[0]), None),))

    def curve(self, x: float) -> float:
        return x / (1 + abs(x))


@register
class LogSigmoid(FloatOnly, Activation):
    """Logarithm of the logistic function: negate, exp, add, log, negate."""

    torch = "torch.nn.LogSigmoid"
    calls = {"log_sigmoid": "input", "logsigmoid": "input"}
    equation = "f(x) = ln(1 / (1 + e⁻ˣ)) = −ln(1 + e⁻ˣ)"
    derivative = "f′(x) = 1 / (1 + eˣ)"
    steps = ("negate", "exp", "add", "log", "negate")

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the input and the e^−|x| that PyTorch keeps on the CPU (a GPU computes it again)."""
        return Saved(inputs=(0,), extra=((numel(inputs[0]), None),))

    def curve(self, x: float) -> float:
        return -softplus(-x)


@register
class Hardsigmoid(OnlyInplace):
    """Logistic function in three straight pieces (MobileNetV3): add, compare, compare, divide."""

    torch = "torch.nn.Hardsigmoid"
    calls = {"hardsigmoid": "input, inplace"}
    equation = "f(x) = min(max(x + 3, 0), 6) / 6"
    derivative = "f′(x) = 1/6 if −3 < x < 3, else 0"
    steps = ("add", "compare", "compare", "divide")

    def curve(self, x: float) -> float:
        return min(max(x + 3, 0.0), 6.0) / 6


@register
@dataclass(frozen=True, repr=False)
class Hardtanh(MayOverwrite):
    """Clipping to an interval: compare, compare."""

    torch = "torch.nn.Hardtanh"
    equation = "f(x) = min(max(x, min_val), max_val)"
    derivative = "f′(x) = 1 if min_val < x < max_val, else 0"
    steps = ("compare", "compare")

    min_val: float = argument(number(), "smallest output", -1.0)
    max_val: float = argument(number(), "largest output", 1.0)
    inplace: bool = inplace_argument()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_val >= self.max_val:
            raise OpError(f"min_val={self.min_val} must be smaller than max_val={self.max_val}")

    def curve(self, x: float) -> float:
        return min(max(x, self.min_val), self.max_val)
