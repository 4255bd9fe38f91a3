"""Dropout: noise in training, nothing at all in inference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cnnstat.errors import OpError
from cnnstat.ir.declaration import FLAG, Formula, argument, choice, number
from cnnstat.ir.facets import NoArithmetic, Pointwise, SameShape, Weightless
from cnnstat.ir.op import NOTHING_SAVED, Example, Family, Linearity, Op, Saved, Shape, Shapes, Storage, numel, register


@dataclass(frozen=True, repr=False)
class _Noise(NoArithmetic, Weightless, Pointwise, SameShape, Op):
    """Op that multiplies by random noise in training and returns its very input in inference."""

    family: ClassVar[Family] = Family.ELEMENTWISE
    passes_through: ClassVar[bool] = True

    def noise(self, shape: Shape) -> tuple[int, str | None]:
        """Return number of elements and dtype of the noise that training draws."""
        raise AssertionError(f"{self.kind} states no noise")

    @property
    def share(self) -> float:
        """The share that training drops."""
        raise AssertionError(f"{self.kind} states no share")

    @property
    def linearity(self) -> Linearity:
        """Affine: inference passes the input through."""
        return Linearity.AFFINE

    @property
    def storage(self) -> Storage:
        return Storage.VIEW

    @property
    def training_storage(self) -> Storage:
        return Storage.FRESH if self.share else Storage.VIEW

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the noise; dropping nothing keeps nothing."""
        return Saved(extra=(self.noise(inputs[0]),)) if self.share else NOTHING_SAVED

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        free = Formula("FLOPs", "0", "0", 0, "inference passes the input through")
        elements = sum(count for count, _ in self.saved(inputs, outputs).extra)
        dtype = self.noise(inputs[0])[1] or "the model's dtype"
        sizes = "·".join(map(str, inputs[0]))
        over = numel(inputs[0]) // elements if elements else 0
        if not over:
            return (free,)
        return free, Formula(
            "training noise", "elements / elements dropped together", f"{sizes} / {over}", elements, dtype
        )


@dataclass(frozen=True, repr=False)
class _Dropout(_Noise):
    """Noise that zeroes a share of the input and scales up the rest."""

    example: ClassVar[Shape] = (2, 6, 5, 4)

    p: float = argument(number(0, 1), "probability of being zeroed", 0.5)
    inplace: bool = argument(FLAG, "whether training overwrites the input", False)

    @property
    def share(self) -> float:
        return self.p

    @property
    def training_storage(self) -> Storage:
        return Storage.IN_PLACE if self.inplace and self.p else super().training_storage

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the noise; certain dropping keeps a single zero."""
        return Saved(extra=((1, None),)) if self.p == 1 else super().saved(inputs, outputs)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return tuple(Example(op, (cls.example,)) for op in (cls(), cls(0.2, inplace=True), cls(0.0), cls(1)))


@register
class Dropout(_Dropout):
    """Zeroing of single elements (Srivastava et al. 2014); free in inference."""

    torch = "torch.nn.Dropout"
    calls = {"dropout": "input, p, _training, inplace"}

    def noise(self, shape: Shape) -> tuple[int, str | None]:
        """Return one boolean an element, as PyTorch's fused kernel on a GPU draws it.

        On the CPU, and in place on both, PyTorch keeps one number of the input's dtype instead.
        """
        return numel(shape), None if self.inplace else "bool"


class _FeatureDropout(_Dropout):
    """Dropout of whole channels."""

    def output(self, inputs: Shapes) -> Shapes:
        if len(inputs[0]) < 2:
            raise OpError(f"{self.kind} takes batch×channels×…; use Dropout, or reshape the input first")
        return inputs

    def noise(self, shape: Shape) -> tuple[int, str | None]:
        return shape[0] * shape[1], None


@register
class Dropout1d(_FeatureDropout):
    """Zeroing of whole channels of a sequence (Tompson et al. 2014); free in inference."""

    torch = "torch.nn.Dropout1d"
    calls = {"dropout1d": "input, p, _training, inplace"}
    example = (2, 6, 5)

    def output(self, inputs: Shapes) -> Shapes:
        if len(inputs[0]) != 3:
            sizes = "×".join(map(str, inputs[0]))
            instead = "Dropout2d" if len(inputs[0]) > 3 else "Dropout"
            raise OpError(f"Dropout1d takes batch×channels×length, but its input is {sizes}; use {instead}")
        return inputs


@register
class Dropout2d(_FeatureDropout):
    """Zeroing of whole feature maps (Tompson et al. 2014); free in inference.

    Like PyTorch it takes any input with channels, vectors included.
    """

    torch = "torch.nn.Dropout2d"
    calls = {"dropout2d": "input, p, _training, inplace", "feature_dropout": "input, p"}


@register
class Dropout3d(_FeatureDropout):
    """Zeroing of whole channels of a volume (Tompson et al. 2014); free in inference."""

    torch = "torch.nn.Dropout3d"
    calls = {"dropout3d": "input, p, _training, inplace"}
    example = (2, 6, 5, 4, 3)

    def output(self, inputs: Shapes) -> Shapes:
        outputs = super().output(inputs)
        if len(inputs[0]) != 5:
            raise OpError(
                "Dropout3d would take the batch for channels, as PyTorch does unless there are five axes; use Dropout2d"
            )
        return outputs


class _AlphaDropout(_Dropout):
    """Dropout to SELU's lowest value, keeping mean and variance; PyTorch never does it in place."""

    @property
    def training_storage(self) -> Storage:
        """A fresh tensor, whatever `inplace` says."""
        return Storage.FRESH if self.p else Storage.VIEW


@register
class AlphaDropout(_AlphaDropout):
    """Dropout for networks of SELU (Klambauer et al. 2017); free in inference."""

    torch = "torch.nn.AlphaDropout"
    calls = {"alpha_dropout": "input, p, _training, inplace"}

    def noise(self, shape: Shape) -> tuple[int, str | None]:
        return numel(shape), None


@register
class FeatureAlphaDropout(_AlphaDropout, _FeatureDropout):
    """AlphaDropout of whole channels; free in inference."""

    torch = "torch.nn.FeatureAlphaDropout"
    calls = {"feature_alpha_dropout": "input, p, _training, inplace"}


@register
@dataclass(frozen=True, repr=False)
class StochasticDepth(_Noise):
    """Skipping of a residual branch, for single images or the batch (Huang et al. 2016); free in inference."""

    torch: ClassVar[str] = "torchvision.ops.StochasticDepth"

    p: float = argument(number(0, 1), "probability that the branch is skipped")
    mode: str = argument(choice("batch", "row"), "whether all images skip it together (batch) or each by itself", "row")

    @property
    def share(self) -> float:
        return self.p

    def noise(self, shape: Shape) -> tuple[int, str | None]:
        return (shape[0] if self.mode == "row" else 1), None

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return tuple(Example(op, ((2, 6, 5, 4),)) for op in (cls(0.2), cls(0.2, "batch"), cls(0.0), cls(1, "row")))
