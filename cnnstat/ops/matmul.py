"""Products of two computed matrices, without weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnstat.errors import OpError
from cnnstat.ir.declaration import Formula, Terms, product
from cnnstat.ir.facets import Weightless
from cnnstat.ir.op import Example, Family, Op, Saved, Shape, Shapes, numel, register, shape_text
from cnnstat.ir.window import IDENTITY, Reads, aligned_reads
from cnnstat.ops.join import broadcast


def is_copied(own: Shape, batch: Shape) -> bool:
    """Return whether repeating batch axes copies: not if all are repeated, or none, as then they fold into a view."""
    aligned = (1,) * (len(batch) - len(own)) + own
    return len({size != wanted for size, wanted in zip(aligned, batch) if wanted > 1}) > 1


@register
@dataclass(frozen=True, repr=False)
class MatMul(Weightless, Op):
    """Matrix product of two tensors, M×K by K×N, with PyTorch's broadcasting of the axes before the last two.

    A tensor of one axis is a row on the left and a column on the right; its axis of size 1 leaves the result.
    """

    family = Family.LINEAR
    torch = "torch.matmul"
    operator = "@"
    input_count = (2, 2)

    def _matrices(self, inputs: Shapes) -> tuple[Shape, Shape]:
        first, second = inputs
        if not first or not second:
            raise OpError("MatMul multiplies matrices, but gets a single number; use Multiply")
        return (1, *first) if len(first) == 1 else first, (*second, 1) if len(second) == 1 else second

    def output(self, inputs: Shapes) -> Shapes:
        (*left, m, k), (*right, other, n) = self._matrices(inputs)
        if k != other:
            raise OpError(
                f"cannot multiply {shape_text(inputs[0])} by {shape_text(inputs[1])}: the last axis of the first, {k}, "
                f"must equal the last but one of the second, {other}; transpose or reshape one of them"
            )
        batch = broadcast(tuple(left), tuple(right))
        if batch is None:
            raise OpError(
                f"cannot multiply {shape_text(inputs[0])} by {shape_text(inputs[1])}: the axes before the last two do "
                "not fit; give them equal sizes, or 1"
            )
        rows = (m,) * (len(inputs[0]) > 1)
        columns = (n,) * (len(inputs[1]) > 1)
        return ((*batch, *rows, *columns),)

    def mac_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return outputs × K: every output is a dot product of length K."""
        return product(("outputs", numel(outputs[0])), ("K", inputs[0][-1]))

    def other_flops(self, inputs: Shapes, outputs: Shapes) -> Mapping[str, int]:
        """Return no operations beside the products."""
        return {}

    def torch_code(self, callee: str, operands: Sequence[str], arguments: Mapping[str, Any]) -> str:
        return " @ ".join(operands)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        (*left, _, _), (*right, _, _) = self._matrices(inputs)
        has_rows, has_columns = len(inputs[0]) > 1, len(inputs[1]) > 1
        batch = outputs[0][: len(outputs[0]) - has_rows - has_columns]
        rows = ((len(left), IDENTITY),) * has_rows
        columns = ((len(right) + 1, IDENTITY),) * has_columns
        return (
            (*aligned_reads(tuple(left), batch), *rows, *(None,) * has_columns),
            (*aligned_reads(tuple(right), batch), *(None,) * has_rows, *columns),
        )

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return both inputs, or the copies that PyTorch (at::native::_matmul_impl) makes of them.

        An input that is repeated along some of its batch axes is copied. So is a batch of matrices to the right of a
        single matrix, which becomes one long transposed matrix.
        """
        return self._saved_operands(inputs, (True, True))

    def _saved_operands(self, inputs: Shapes, is_kept: tuple[bool, ...]) -> Saved:
        """Return those of both factors, or of their copies, that are kept."""
        copies = zip(range(2), self._copies(inputs), is_kept)
        factors = [(i, copied) for i, copied, keeps in copies if keeps]
        return Saved(
            inputs=tuple(i for i, copied in factors if not copied),
            extra=tuple((copied, None) for _, copied in factors if copied),
        )

    def _copies(self, inputs: Shapes) -> tuple[int, int]:
        """Return the elements of the copy of each factor; 0 where PyTorch multiplies the factor itself."""
        (*left, m, k), (*right, _, n) = self._matrices(inputs)
        first, second = tuple(left), tuple(right)
        is_single = not first or (first == (1,) and len(second) == 1)
        if is_single and math.prod(second) > 1:
            return 0, 0 if min(k, n) == 1 else numel(inputs[1])
        batch = broadcast(first, second) or ()
        both = math.prod(batch)
        return both * m * k * is_copied(first, batch), both * k * n * is_copied(second, batch)

    def saved_for(self, inputs: Shapes, outputs: Shapes, needs: tuple[bool, ...], learns: bool) -> Saved:
        """Return each factor, or its copy, if the other needs a gradient."""
        return self._saved_operands(inputs, needs[::-1])

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        return (Formula.of("MACs", self.mac_terms(inputs, outputs), "K is the length of a dot product"),)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        pairs = (
            ((2, 3, 5, 8), (2, 3, 8, 7)),
            ((2, 5, 4), (4, 6)),
            ((3, 4), (2, 4, 6)),
            ((2, 1, 3, 4), (2, 6, 4, 5)),
            ((2, 1, 3, 4), (6, 4, 5)),
            ((2, 3, 4), (4,)),
            ((4,), (2, 4, 3)),
        )
        return tuple(Example(cls(), pair) for pair in pairs)
