"""The rectifier family: ReLU, and what leaks, bends or smooths its corner."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cnnstat.errors import OpError
from cnnstat.ir.declaration import Formula, Kind, argument, choice, integer, number
from cnnstat.ir.facets import Activation, FloatOnly, MayOverwrite, OnlyInplace, inplace_argument, logistic, softplus
from cnnstat.ir.op import Example, Saved, Shape, Shapes, numel, register


def _above_zero(value: Any) -> float:
    """Return `value` if it is a number above 0."""
    try:
        checked: float = number(0).normalize(value)
    except ValueError:
        checked = 0
    if not checked:
        raise ValueError("a number above 0")
    return checked


ABOVE_ZERO = Kind(_above_zero, {"type": "number", "exclusiveMinimum": 0})
"""One finite number above 0, to divide by."""


class _OutputWhenOverwritten(MayOverwrite):
    """Rectifier whose derivative can be read off its output when the input is gone."""

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the input, or the output where it has taken the input's place."""
        return Saved(outputs=(0,)) if self.inplace else Saved(inputs=(0,))


@register
class ReLU(OnlyInplace):
    """Rectified linear unit (Nair & Hinton 2010): compare."""

    torch = "torch.nn.ReLU"
    calls = {"relu": "input, inplace"}
    equation = "f(x) = max(0, x)"
    derivative = "f′(x) = 1 if x > 0, else 0"
    steps = ("compare",)

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the output: it is positive exactly where the derivative is 1."""
        return Saved(outputs=(0,))

    def curve(self, x: float) -> float:
        return max(0.0, x)


@register
class ReLU6(OnlyInplace):
    """Rectifier clipped at 6 (MobileNet): compare, compare."""

    torch = "torch.nn.ReLU6"
    calls = {"relu6": "input, inplace"}
    equation = "f(x) = min(max(0, x), 6)"
    derivative = "f′(x) = 1 if 0 < x < 6, else 0"
    steps = ("compare", "compare")

    def curve(self, x: float) -> float:
        return min(max(0.0, x), 6.0)


@register
@dataclass(frozen=True, repr=False)
class LeakyReLU(_OutputWhenOverwritten):
    """Rectifier with a small slope below 0 (Maas et al. 2013): compare, multiply."""

    torch = "torch.nn.LeakyReLU"
    calls = {"leaky_relu": "input, negative_slope, inplace"}
    equation = "f(x) = x if x > 0, else negative_slope·x"
    derivative = "f′(x) = 1 if x > 0, else negative_slope"
    steps = ("compare", "multiply")

    negative_slope: float = argument(number(), "slope below 0", 0.01)
    inplace: bool = inplace_argument()

    def curve(self, x: float) -> float:
        return x if x > 0 else self.negative_slope * x


@register
@dataclass(frozen=True, repr=False)
class PReLU(Activation):
    """Rectifier with a learnt slope below 0 (He et al. 2015, arXiv:1502.01852): compare, multiply."""

    torch = "torch.nn.PReLU"
    calls = {"prelu": "input, weight"}
    equation = "f(x) = x if x > 0, else a·x, with a learnt"
    derivative = "f′(x) = 1 if x > 0, else a; ∂f/∂a = 0 if x > 0, else x"
    steps = ("compare", "multiply")

    num_parameters: int = argument(integer(1), "1 slope for all channels, or as many as there are channels", 1)
    init: float = argument(number(), "slope before training", 0.25)

    def output(self, inputs: Shapes) -> Shapes:
        channels = inputs[0][1] if len(inputs[0]) > 1 else 1
        if self.num_parameters not in (1, channels):
            wanted = "1" if channels == 1 else f"1 or {channels}"
            raise OpError(f"num_parameters={self.num_parameters} does not fit {channels} channels; use {wanted}")
        return inputs

    @classmethod
    def arguments_from(cls, weights: Mapping[str, Shape], arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {"num_parameters": numel(weights["weight"])}

    def weights(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return the slopes."""
        return {"weight": (self.num_parameters,)}

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        slopes = Formula("weights", "num_parameters", f"{self.num_parameters}", self.num_parameters)
        return slopes, *super().formulas(inputs, outputs)

    def curve(self, x: float) -> float:
        return x if x > 0 else self.init * x

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return *super().examples(), Example(cls(6, init=0.1), ((2, 6, 5, 4),))


@register
@dataclass(frozen=True, repr=False)
class ELU(_OutputWhenOverwritten):
    """Exponential linear unit (Clevert et al. 2015): compare, exp, subtract, multiply."""

    torch = "torch.nn.ELU"
    calls = {"elu": "input, alpha, inplace"}
    equation = "f(x) = x if x > 0, else α·(eˣ − 1)"
    derivative = "f′(x) = 1 if x > 0, else α·eˣ"
    steps = ("compare", "exp", "subtract", "multiply")

    alpha: float = argument(number(), "the value −α is approached far below 0", 1.0)
    inplace: bool = inplace_argument()

    def curve(self, x: float) -> float:
        return x if x > 0 else self.alpha * math.expm1(x)


@register
@dataclass(frozen=True, repr=False)
class CELU(FloatOnly, _OutputWhenOverwritten):
    """ELU with a slope that does not jump at 0 (Barron 2017): compare, divide, exp, subtract, multiply."""

    torch = "torch.nn.CELU"
    calls = {"celu": "input, alpha, inplace"}
    equation = "f(x) = x if x > 0, else α·(e^(x/α) − 1)"
    derivative = "f′(x) = 1 if x > 0, else e^(x/α)"
    steps = ("compare", "divide", "exp", "subtract", "multiply")

    alpha: float = argument(ABOVE_ZERO, "the value −α is approached far below 0", 1.0)
    inplace: bool = inplace_argument()

    def curve(self, x: float) -> float:
        return x if x > 0 else self.alpha * math.expm1(x / self.alpha)


@register
class SELU(FloatOnly, _OutputWhenOverwritten, OnlyInplace):
    """ELU scaled so that variance 1 stays 1 (Klambauer et al. 2017): compare, exp, subtract, multiply."""

    torch = "torch.nn.SELU"
    calls = {"selu": "input, inplace"}
    equation = "f(x) = λ·x if x > 0, else λα·(eˣ − 1), with λ = 1.0507 and α = 1.6733"
    derivative = "f′(x) = λ if x > 0, else λα·eˣ"
    steps = ("compare", "exp", "subtract", "multiply")

    def curve(self, x: float) -> float:
        scale, alpha = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
        return scale * x if x > 0 else scale * alpha * math.expm1(x)


@register
@dataclass(frozen=True, repr=False)
class Softplus(FloatOnly, Activation):
    """Smooth rectifier, whose slope is the logistic function: multiply, compare, exp, add, log, divide."""

    torch = "torch.nn.Softplus"
    calls = {"softplus": "input, beta, threshold"}
    equation = "f(x) = ln(1 + e^(β·x)) / β, or x where β·x > threshold"
    derivative = "f′(x) = 1 / (1 + e^(−β·x))"
    steps = ("multiply", "compare", "exp", "add", "log", "divide")

    beta: float = argument(ABOVE_ZERO, "sharpness β of the corner", 1.0)
    threshold: float = argument(number(), "β·x above which f(x) = x", 20.0)

    def curve(self, x: float) -> float:
        scaled = self.beta * x
        return x if scaled > self.threshold else softplus(scaled) / self.beta


@register
@dataclass(frozen=True, repr=False)
class GELU(FloatOnly, Activation):
    """Gaussian error linear unit (Hendrycks & Gimpel 2016): multiply, erf, add, multiply, multiply.

    With approximate=tanh: multiply, multiply, multiply, add, multiply, tanh, add, multiply, multiply.
    """

    torch = "torch.nn.GELU"
    calls = {"gelu": "input, approximate"}
    equation = "f(x) = x·Φ(x) = ½x·(1 + erf(x/√2))"
    derivative = "f′(x) = Φ(x) + x·φ(x), with φ the normal density"
    steps = ("multiply", "erf", "add", "multiply", "multiply")

    approximate: str = argument(choice("none", "tanh"), "none, or tanh(√(2/π)·(x + 0.044715·x³)) for the erf", "none")

    def element_steps(self) -> tuple[str, ...]:
        if self.approximate == "none":
            return self.steps
        return "multiply", "multiply", "multiply", "add", "multiply", "tanh", "add", "multiply", "multiply"

    def curve(self, x: float) -> float:
        if self.approximate == "none":
            return 0.5 * x * math.erfc(-x / math.sqrt(2))
        return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return *super().examples(), Example(cls("tanh"), ((2, 6, 5, 4),))


@register
class SiLU(OnlyInplace):
    """Sigmoid linear unit, also called swish (Elfwing et al. 2017): negate, exp, add, divide."""

    torch = "torch.nn.SiLU"
    calls = {"silu": "input, inplace"}
    equation = "f(x) = x·σ(x) = x / (1 + e⁻ˣ)"
    derivative = "f′(x) = σ(x)·(1 + x·(1 − σ(x)))"
    steps = ("negate", "exp", "add", "divide")

    def curve(self, x: float) -> float:
        return x * logistic(x)


@register
class Mish(FloatOnly, OnlyInplace):
    """Self-gated smooth rectifier (Misra 2019): exp, add, log, tanh, multiply."""

    torch = "torch.nn.Mish"
    calls = {"mish": "input, inplace"}
    equation = "f(x) = x·tanh(ln(1 + eˣ))"
    derivative = "f′(x) = t + x·σ(x)·(1 − t²), with t = tanh(ln(1 + eˣ))"
    steps = ("exp", "add", "log", "tanh", "multiply")

    def curve(self, x: float) -> float:
        return x * math.tanh(softplus(x))


@register
class Hardswish(OnlyInplace):
    """SiLU in pieces without exponentials (MobileNetV3): add, compare, compare, multiply, divide."""

    torch = "torch.nn.Hardswish"
    calls = {"hardswish": "input, inplace"}
    equation = "f(x) = x·min(max(x + 3, 0), 6) / 6"
    derivative = "f′(x) = 0 if x < −3, 1 if x > 3, else x/3 + ½"
    steps = ("add", "compare", "compare", "multiply", "divide")

    def curve(self, x: float) -> float:
        return x * min(max(x + 3, 0.0), 6.0) / 6
