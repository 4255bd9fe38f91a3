"""The layers of LeNet-5 that no library has (LeCun, Bottou, Bengio & Haffner 1998, doi:10.1109/5.726791)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from cnnstat.errors import OpError
from cnnstat.ir.declaration import (
    FLAG,
    Formula,
    Terms,
    any_of,
    argument,
    axes,
    choice,
    integer,
    list_of,
    per_axis,
    product,
)
from cnnstat.ir.facets import Biased, FloatOnly, SavesInput
from cnnstat.ir.op import Example, Family, Op, Saved, Shape, Shapes, numel, register, shape_text
from cnnstat.ir.window import Reads
from cnnstat.ops.linear import leading
from cnnstat.ops.pool import Pool
from cnnstat.ops.spatial import (
    Slide,
    Sliding,
    channels_and_space,
    slide_formulas,
    slide_over,
    stride_argument,
    window_argument,
)

LENET5_TABLE = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5)),
)
"""Table I of the paper: the maps of S2 that each of C3's sixteen maps reads, 60 of 96 pairs."""


@register
@dataclass(frozen=True, repr=False)
class TrainableSubsampling2d(Pool):
    """Sum of each window × one learnt coefficient a map + one learnt bias a map: S2 and S4 of LeNet-5.

    A window of K numbers takes K − 1 additions and one multiplication, and one addition for the bias.
    """

    spatial = 2
    torch = ""
    inferred = ("in_channels",)
    short_name = "subsampling"
    ceil_mode = False

    kernel_size: int | tuple[int, ...] = window_argument()
    stride: int | tuple[int, ...] | None = stride_argument()

    def weights(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return one coefficient and one bias for each map."""
        return {"weight": (inputs[0][1],), "bias": (inputs[0][1],)}

    def other_flops(self, inputs: Shapes, outputs: Shapes) -> Mapping[str, int]:
        """Return K operations an output, and one more for the bias: together the paper's "connections"."""
        return {"pooling": numel(outputs[0]) * math.prod(self.kernel), "bias": numel(outputs[0])}

    def connections(self, inputs: Shapes, outputs: Shapes) -> int:
        """Return outputs × (K + 1): each output reads its window and its bias."""
        return numel(outputs[0]) * (math.prod(self.kernel) + 1)

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the input and the sums, which the gradient of the coefficients multiplies."""
        return Saved(inputs=(0,), extra=((numel(outputs[0]), None),))

    def saved_for(self, inputs: Shapes, outputs: Shapes, needs: tuple[bool, ...], learns: bool) -> Saved:
        """Return the input if it needs a gradient, and the sums if the coefficients are learnt."""
        saved = self.saved(inputs, outputs)
        return Saved(inputs=saved.inputs * needs[0], extra=saved.extra * learns)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        maps, count = inputs[0][1], numel(outputs[0])
        kernel = "·".join(map(str, self.kernel))
        connections = self.connections(inputs, outputs)
        note = "FLOPs too: K − 1 additions, one multiplication and the bias an output"
        return (
            *slide_formulas(inputs[0][2:], self.slides, outputs[0][2:]),
            Formula("weights", "C", f"{maps}", maps, "one coefficient a map"),
            Formula("bias", "C", f"{maps}", maps),
            Formula("connections", "outputs · (K_H·K_W + 1)", f"{count} · ({kernel} + 1)", connections, note),
        )

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(2), ((1, 6, 28, 28),)),
            Example(cls(2), ((1, 16, 10, 10),)),
            Example(cls((3, 2), stride=2), ((2, 4, 9, 8),)),
        )


@register
@dataclass(frozen=True, repr=False)
class ConnectionTableConv2d(Sliding, Biased, SavesInput, Op):
    """Convolution in which each output map reads input maps of its own choice: C3 of LeNet-5.

    There is one kernel for each pair of maps that the table connects, in the table's order.
    """

    family = Family.CONVOLUTION
    spatial = 2
    mixes_channels = True
    torch = ""
    computed_as = "dense filter"
    inferred = ("in_channels",)
    counted_as_weighted = True
    short_name = "conv"

    out_channels: int = argument(integer(1), "number of filters, the channels of the output")
    kernel_size: int | tuple[int, ...] = argument(per_axis(1), "size of the filter, one number or one for each axis")
    table: str | tuple[tuple[int, ...], ...] = argument(
        any_of(choice("lenet5"), list_of(list_of(integer(0)))),
        "for each output map the input maps it reads, counted from 0, or lenet5 for the table of the paper",
    )
    stride: int | tuple[int, ...] = argument(per_axis(1), "step of the filter", 1)
    padding: int | tuple[int, ...] = argument(per_axis(0), "zeros added on both sides", 0)
    bias: bool = argument(FLAG, "whether one number a filter is added", True)

    @property
    def rows(self) -> tuple[tuple[int, ...], ...]:
        return LENET5_TABLE if isinstance(self.table, str) else self.table

    @property
    def pairs(self) -> int:
        return sum(map(len, self.rows))

    @property
    def slides(self) -> tuple[Slide, ...]:
        strides, paddings = axes(self.stride, 2, "stride"), axes(self.padding, 2, "padding")
        return tuple(Slide(k, s, p, p) for k, s, p in zip(self.kernel, strides, paddings))

    def output(self, inputs: Shapes) -> Shapes:
        """Return batch × out_channels × sizes by ⌊(W − K + 2P) / S⌋ + 1."""
        batch, channels, space = channels_and_space(inputs[0], 2, self.kind)
        self._check_table(channels)
        return ((batch, self.out_channels, *slide_over(space, self.slides)),)

    def _check_table(self, channels: int) -> None:
        if len(self.rows) != self.out_channels:
            rows = len(self.rows)
            raise OpError(
                f"table has {rows} rows, one an output map; write {self.out_channels}, or out_channels={rows}"
            )
        for number, row in enumerate(self.rows):
            if max(row) >= channels:
                raise OpError(f"row {number} of table reads map {max(row)}; the input's maps are 0 to {channels - 1}")
            if len(set(row)) < len(row):
                raise OpError(f"row {number} of table names a map twice; name each once")
        read = set(chain.from_iterable(self.rows))
        if len(read) < channels:
            unread = next(number for number in range(channels) if number not in read)
            raise OpError(f"table reads no input map {unread}; name it in a row, or feed {len(read)} maps")

    def weights(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return one kernel for each pair, and the bias."""
        return self._with_bias((self.pairs, *self.kernel), self.out_channels)

    def mac_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return pairs × kernel × positions of a map."""
        batch, _, *sizes = outputs[0]
        return product(("positions", (batch, *sizes)), ("pairs", self.pairs), ("K_H·K_W", self.kernel))

    def torch_arguments(self, inputs: Shapes) -> dict[str, Any]:
        written = {**super().torch_arguments(inputs), "table": self.rows}
        return {name: value for name, value in written.items() if name != "out_channels"}

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        c_out = self.out_channels
        macs, count = self.macs(inputs, outputs), numel(outputs[0])
        connections = Formula("connections", "MACs + outputs", f"{macs} + {count}", macs + count, "the bias is one too")
        return (
            *slide_formulas(inputs[0][2:], self.slides, outputs[0][2:]),
            Formula("pairs", "pairs of maps", f"{self.pairs}", self.pairs, f"of {c_out * inputs[0][1]}"),
            Formula.of("weights", product(("pairs", self.pairs), ("K_H·K_W", self.kernel))),
            *self._bias_formula("C_out", c_out),
            Formula.of("MACs", self.mac_terms(inputs, outputs)),
            *((connections,) if self.bias else ()),
        )

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(16, 5, "lenet5"), ((1, 6, 14, 14),)),
            Example(cls(3, (3, 2), ((0, 1), (2,), (0, 2)), stride=2, padding=1, bias=False), ((2, 3, 9, 8),)),
        )


@register
@dataclass(frozen=True, repr=False)
class EuclideanRBF(FloatOnly, Op):
    """Squared distance to each of a set of centres, yᵢ = Σⱼ (xⱼ − wᵢⱼ)²: the output layer of LeNet-5.

    Each connection is one subtraction, and one multiply-accumulate that squares and sums. In the paper the centres are
    drawings of the ten digits that are not learnt at first; they are a buffer unless trainable=true.
    """

    family = Family.LINEAR
    torch = ""
    computed_as = "written out"
    inferred = ("in_features",)
    counted_as_weighted = True
    feature_axis = -1
    short_name = "rbf"

    out_features: int = argument(integer(1), "number of centres")
    trainable: bool = argument(FLAG, "whether the centres are learnt", False)

    def output(self, inputs: Shapes) -> Shapes:
        (shape,) = inputs
        if len(shape) < 2:
            raise OpError(f"EuclideanRBF takes batch×features, but its input is {shape_text(shape)}; reshape it first")
        return ((*shape[:-1], self.out_features),)

    def weights(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return the centres if they are learnt."""
        return {"weight": (self.out_features, inputs[0][-1])} if self.trainable else {}

    def buffers(self, inputs: Shapes) -> Mapping[str, Shape]:
        return {} if self.trainable else {"weight": (self.out_features, inputs[0][-1])}

    def mac_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return outputs × in_features: each connection squares one difference and adds it."""
        return product(("positions", inputs[0][:-1]), ("F_out", self.out_features), ("F_in", inputs[0][-1]))

    def other_flops(self, inputs: Shapes, outputs: Shapes) -> Mapping[str, int]:
        """Return one subtraction a connection."""
        return {"element-wise": numel(outputs[0]) * inputs[0][-1]}

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        return (leading(inputs[0]),)

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the differences, one a connection, whose double is the gradient."""
        return Saved(extra=((numel(outputs[0]) * inputs[0][-1], None),))

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        connections = self.mac_terms(inputs, outputs)
        centres = product(("F_out", self.out_features), ("F_in", inputs[0][-1]))
        return (
            Formula.of("weights", centres)
            if self.trainable
            else Formula.of("centres", centres, "a buffer, not learnt"),
            Formula.of("MACs", connections, "square and sum"),
            Formula.of("FLOPs", connections, "subtractions, beside 2 × MACs"),
        )

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return Example(cls(10), ((1, 84),)), Example(cls(4, trainable=True), ((2, 7, 5),))
