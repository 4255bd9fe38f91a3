"""Embedding: a table that is looked up by number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cnnstat.errors import OpError
from cnnstat.ir.declaration import (
    FLAG,
    Factor,
    Formula,
    Terms,
    Written,
    argument,
    integer,
    number,
    optional,
    product,
    value_of,
)
from cnnstat.ir.facets import NoBuffers, NoMacs
from cnnstat.ir.op import Example, Family, Op, Saved, Shape, Shapes, numel, register, shape_text
from cnnstat.ir.window import IDENTITY, Reads


@register
@dataclass(frozen=True, repr=False)
class Embedding(NoBuffers, NoMacs, Op):
    """One learnt vector for each of num_embeddings numbers; looking them up is no arithmetic.

    With max_norm, every vector that is looked up is measured and scaled back if it is too long: for D numbers
    D powers, D − 1 additions, a root, a comparison, a division and D multiplications, at most, as each is scaled once.
    """

    family = Family.EMBEDDING
    torch = "torch.nn.Embedding"
    calls = {"F.embedding": "input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse"}
    feature_axis = -1

    num_embeddings: int = argument(integer(1), "number of vectors in the table")
    embedding_dim: int = argument(integer(1), "length of each vector")
    padding_idx: int | None = argument(optional(integer()), "number whose vector is not trained; null for none", None)
    max_norm: float | None = argument(optional(number(0)), "longest a vector may be; null for any length", None)
    norm_type: float = argument(number(), "p of the p-norm that max_norm means", 2.0)
    scale_grad_by_freq: bool = argument(FLAG, "whether gradients are divided by how often a number occurs", False)
    sparse: bool = argument(FLAG, "whether the gradient holds the looked-up vectors only", False)

    @classmethod
    def arguments_from(cls, weights: Mapping[str, Shape], arguments: Mapping[str, Any]) -> dict[str, Any]:
        return dict(zip(("num_embeddings", "embedding_dim"), weights["weight"]))

    def output(self, inputs: Shapes) -> Shapes:
        rows = self.num_embeddings
        if self.padding_idx is not None and not -rows <= self.padding_idx < rows:
            raise OpError(f"padding_idx={self.padding_idx} is not in the table; use {-rows} to {rows - 1}, or null")
        return ((*inputs[0], self.embedding_dim),)

    def weights(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return the table, num_embeddings × embedding_dim."""
        return {"weight": (self.num_embeddings, self.embedding_dim)}

    def other_flops(self, inputs: Shapes, outputs: Shapes) -> Mapping[str, int]:
        """Return none, or with max_norm 3·D + 2 operations for each vector of D numbers."""
        return {} if self.max_norm is None else {"normalization": value_of(self._scaling(inputs))}

    def _scaling(self, inputs: Shapes) -> Terms:
        length = self.embedding_dim
        return product(("lookups", numel(inputs[0])), ("(3D + 2)", Written(3 * length + 2, f"(3·{length} + 2)")))

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        return ((*((axis, IDENTITY) for axis in range(len(inputs[0]))), None),)

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the numbers that were looked up."""
        return Saved(inputs=(0,))

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        length: Factor = ("D", self.embedding_dim)
        scaling = Formula.of("FLOPs", self._scaling(inputs), "norm of each vector, compared with max_norm, and scaling")
        return (
            Formula.of("weights", product(("entries", self.num_embeddings), length)),
            Formula.of("outputs", product(("lookups", numel(inputs[0])), length), shape_text(outputs[0])),
            *(() if self.max_norm is None else (scaling,)),
        )

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(100, 16), ((2, 9),)),
            Example(cls(10, 4, padding_idx=-1), ((3,),)),
            Example(cls(10, 4, max_norm=1.0, scale_grad_by_freq=True), ((2, 3, 5),)),
        )
