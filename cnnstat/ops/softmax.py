"""Activations of vectors: every output reads more than one element, so none of them has a curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cnnstat.errors import OpError
from cnnstat.ir.declaration import Formula, Terms, argument, integer, optional, product
from cnnstat.ir.facets import Activation, FloatOnly, KeepsOutput
from cnnstat.ir.op import Example, Shape, Shapes, numel, register, shape_text
from cnnstat.ir.window import WHOLE, Reads, Window, reads_along


def _axis(dim: int, shape: Shape) -> int:
    """Return the axis that `dim` means, counted from 0; raises OpError if there is none."""
    if not -len(shape) <= dim < len(shape):
        raise OpError(f"dim={dim} names no axis of {shape_text(shape)}; use {-len(shape)} to {len(shape) - 1}")
    return dim % len(shape)


@dataclass(frozen=True, repr=False)
class _Softmax(FloatOnly, KeepsOutput):
    """Normalized exponentials along one axis."""

    dim: int | None = argument(
        optional(integer()), "the axis that sums to 1; null for PyTorch's old guess: 1, but 0 of three axes", -1
    )

    def axis(self, shape: Shape) -> int:
        guess = 0 if len(shape) in (1, 3) else 1
        return _axis(guess if self.dim is None else self.dim, shape)

    def output(self, inputs: Shapes) -> Shapes:
        self.axis(inputs[0])
        return inputs

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        return (reads_along(self.axis(inputs[0]), WHOLE, len(inputs[0])),)

    def torch_arguments(self, inputs: Shapes) -> dict[str, Any]:
        """Return the axis by number, as leaving it out is deprecated."""
        return {"dim": self.axis(inputs[0]) if self.dim is None else self.dim}

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(), ((3, 7),)),
            Example(cls(1), ((2, 6, 5, 4),)),
            Example(cls(None), ((2, 6, 5, 4),)),
            Example(cls(None), ((4, 6, 5),)),
        )


@register
class Softmax(_Softmax):
    """Exponentials that sum to 1, no curve: compare, subtract, exp, add, divide.

    The comparison finds the largest element, which is subtracted so that no exponential overflows.
    """

    torch = "torch.nn.Softmax"
    calls = {"softmax": "input, dim"}
    equation = "fᵢ(x) = e^xᵢ / Σⱼ e^xⱼ"
    derivative = "∂fᵢ/∂xⱼ = fᵢ·(1 − fᵢ) if i = j, else −fᵢ·fⱼ"
    steps = ("compare", "subtract", "exp", "add", "divide")


@register
class LogSoftmax(_Softmax):
    """Logarithm of the softmax, no curve: compare, subtract, exp, add, subtract, and one log a vector."""

    torch = "torch.nn.LogSoftmax"
    calls = {"log_softmax": "input, dim"}
    equation = "fᵢ(x) = xᵢ − ln Σⱼ e^xⱼ"
    derivative = "∂fᵢ/∂xⱼ = 1 − e^fᵢ if i = j, else −e^fⱼ"
    steps = ("compare", "subtract", "exp", "add", "subtract")

    def flop_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return 5 operations an element and one logarithm for each vector along `dim`."""
        shape = outputs[0]
        return super().flop_terms(inputs, outputs) + product(("vectors", numel(shape) // shape[self.axis(shape)]))

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        (line,) = super().formulas(inputs, outputs)
        return (line._replace(note=f"{line.note}, and one log a vector"),)


@register
@dataclass(frozen=True, repr=False)
class GLU(FloatOnly, Activation):
    """Gated linear unit (Dauphin et al. 2016), halves an axis, no curve: negate, exp, add, divide, multiply."""

    torch = "torch.nn.GLU"
    calls = {"glu": "input, dim"}
    equation = "f(a, b) = a·σ(b), with a and b the halves of dim"
    derivative = "∂f/∂a = σ(b), ∂f/∂b = a·σ(b)·(1 − σ(b))"
    steps = ("negate", "exp", "add", "divide", "multiply")

    dim: int = argument(integer(), "the axis that is halved", -1)

    def output(self, inputs: Shapes) -> Shapes:
        (shape,) = inputs
        axis = _axis(self.dim, shape)
        if shape[axis] % 2:
            raise OpError(f"dim={self.dim} has {shape[axis]} elements, which cannot be halved; choose an even axis")
        return ((*shape[:axis], shape[axis] // 2, *shape[axis + 1 :]),)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return that output i reads elements i and i + half of `dim`."""
        axis = _axis(self.dim, inputs[0])
        half = inputs[0][axis] // 2
        return (reads_along(axis, Window((range(0, half + 1, half),), 1), len(inputs[0])),)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        size = inputs[0][_axis(self.dim, inputs[0])]
        halved = Formula(f"size of dim {self.dim}", "elements / 2", f"{size} / 2", size // 2)
        return halved, *super().formulas(inputs, outputs)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return Example(cls(), ((3, 8),)), Example(cls(1), ((2, 6, 5, 4),)), Example(cls(-2), ((2, 3, 6, 5),))
