"""Activations: what all of them share, and those that step, squash or clip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from cnnstat.errors import OpError
from cnnstat.ir.argument import FLAG, argument, number
from cnnstat.ir.facets import NoMacs, Pointwise, SameShape, Weightless
from cnnstat.ir.formula import Formula, Terms, product
from cnnstat.ir.op import NOTHING_SAVED, Example, Family, Op, Saved, Shapes, Storage, numel, register


def inplace_argument() -> Any:
    """Declare PyTorch's `inplace`."""
    return argument(FLAG, "whether the input is overwritten with the result", False)


@dataclass(frozen=True, repr=False)
class Activation(Weightless, NoMacs, Pointwise, SameShape, Op):
    """A function of each element; its class lists the elementary operations that one element takes."""

    family: ClassVar[Family] = Family.ACTIVATION
    flop_part: ClassVar[str] = "activation"
    steps: ClassVar[tuple[str, ...]]
    """The elementary operations of one output element, in order; each counts 1."""

    def element_steps(self) -> tuple[str, ...]:
        """Return the elementary operations of one output element with the arguments given."""
        return self.steps

    def flop_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return output elements × elementary operations of one element."""
        count = len(self.element_steps())
        return product((f"{count}", count), ("outputs", outputs[0]))

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the input, from which the backward pass computes the derivative."""
        return Saved(inputs=(0,))

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        note = f"{self.equation}: {', '.join(self.element_steps())}"
        return (Formula.of("activation FLOPs", self.flop_terms(inputs, outputs), note),)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return Example(cls(), ((2, 6, 5, 4),)), Example(cls(), ((3, 7),))


class KeepsOutput(Activation):
    """Activation whose derivative is a function of its own output."""

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the output."""
        return Saved(outputs=(0,))


class MayOverwrite(Activation):
    """Activation that may work in place, though its derivative is a function of the input."""

    inplace: bool

    @property
    def storage(self) -> Storage:
        return Storage.IN_PLACE if self.inplace else Storage.FRESH

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the input; in place it is overwritten, and PyTorch keeps a copy."""
        return Saved(extra=((numel(inputs[0]), None),)) if self.inplace else Saved(inputs=(0,))

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        overwriting: Any = cls
        return *super().examples(), Example(overwriting(inplace=True), ((2, 6, 5, 4),))


@dataclass(frozen=True, repr=False)
class OnlyInplace(MayOverwrite):
    """Activation with `inplace` as its one argument."""

    inplace: bool = inplace_argument()


def logistic(x: float) -> float:
    """Return 1/(1 + e⁻ˣ) without overflow."""
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    return math.exp(x) / (1 + math.exp(x))


def softplus(x: float) -> float:
    """Return ln(1 + eˣ) without overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@register
class BinaryStep(Activation):
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
class ScaledTanh(Activation):
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
class Arctan(Activation):
    """Inverse tangent, from −π/2 to π/2: atan."""

    torch = "torch.atan"
    calls = {"atan": "input", "arctan": "input"}
    equation = "f(x) = arctan(x)"
    derivative = "f′(x) = 1 / (1 + x²)"
    steps = ("atan",)

    def curve(self, x: float) -> float:
        return math.atan(x)


@register
class Softsign(Activation):
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
class LogSigmoid(Activation):
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
