"""Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762, eq. 1): softmax(QKᵀ/√E)·V."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from cnnstat.errors import OpError
from cnnstat.ir.declaration import FLAG, Factor, Formula, Terms, Written, argument, number, optional, product
from cnnstat.ir.facets import MixedPrecision, Weightless
from cnnstat.ir.op import Example, Family, Op, Saved, Shape, Shapes, numel, register, shape_text
from cnnstat.ir.window import IDENTITY, WHOLE, AxisRule, Reads, aligned_reads, up_to_itself
from cnnstat.ops.join import broadcast
from cnnstat.ops.matmul import is_copied

SOFTMAX = ("compare", "subtract", "exp", "add", "divide")
"""What the softmax does with each score."""


class Sizes(NamedTuple):
    """The sizes of one attention: queries L, keys S, and the lengths of keys and values.

    pairs: batch and heads that queries and keys broadcast to; batch: the same with the values.
    """

    pairs: Shape
    batch: Shape
    queries: int
    keys: int
    key_length: int
    value_length: int

    @property
    def scores(self) -> int:
        """Products of a query with a key."""
        return math.prod(self.pairs) * self.queries * self.keys

    @property
    def weights(self) -> int:
        """Weights that values are multiplied by: the scores, repeated where only the values have several heads."""
        return math.prod(self.batch) * self.queries * self.keys


@register
@dataclass(frozen=True, repr=False)
class ScaledDotProductAttention(MixedPrecision, Weightless, Op):
    """Mean of the values, weighted by how well each key fits the query: softmax(QKᵀ/√E)·V.

    Takes query (… × L × E), key (… × S × E), value (… × S × Eᵥ), and a mask if wanted; batch and heads, if any, come
    first. Every score counts, also where a causal mask discards it. A score is scaled (1), goes through the softmax
    (compare, subtract, exp, add, divide) and, with a mask input, is added to it (1). Dropout works in training only.
    """

    family = Family.ATTENTION
    flop_part = "attention"
    torch = "torch.nn.functional.scaled_dot_product_attention"
    calls = {"scaled_dot_product_attention": "query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa"}
    input_count = (3, 4)
    feature_axis = -1
    short_name = "attention"

    dropout_p: float = argument(number(0, 1), "share of the weights that training sets to 0", 0.0)
    is_causal: bool = argument(FLAG, "whether a query sees only keys at or before its own position", False)
    scale: float | None = argument(optional(number()), "what scores are multiplied by; null for 1/√E", None)
    enable_gqa: bool = argument(FLAG, "whether several query heads share one head of keys and values", False)

    def sizes(self, inputs: Shapes) -> Sizes:
        """Return the sizes of the attention, or raise OpError where the inputs do not fit together."""
        if any(len(shape) < 2 for shape in inputs[:3]):
            shapes = ", ".join(map(shape_text, inputs[:3]))
            raise OpError(f"query, key and value are … × positions × features, but they are {shapes}; reshape them")
        (*_, queries, length), (*_, keys, key_length), (*_, values, value_length) = inputs[:3]
        if length != key_length:
            raise OpError(f"a query has {length} features and a key {key_length}; project them to the same number")
        if keys != values:
            raise OpError(f"there are {keys} keys and {values} values; give each key one value")
        first, second, third = self._heads(inputs)
        pairs = _joined(first, second)
        self._check_mask(inputs[3:], (*pairs, queries, keys))
        return Sizes(pairs, _joined(pairs, third), queries, keys, key_length, value_length)

    def _heads(self, inputs: Shapes) -> Shapes:
        first, *others = (shape[:-2] for shape in inputs[:3])
        if not self.enable_gqa:
            return first, *others
        if not all((first, *others)):
            raise OpError("enable_gqa=true needs heads: … × heads × positions × features; reshape, or leave it out")
        for own in others:
            if first[-1] % own[-1]:
                raise OpError(
                    f"enable_gqa=true: {own[-1]} heads of keys or values do not divide {first[-1]} query heads; "
                    "use a number that does"
                )
        return first, *((*own[:-1], first[-1]) for own in others)

    def _check_mask(self, masks: Shapes, scores: Shape) -> None:
        for mask in masks:
            if self.is_causal:
                raise OpError(
                    "is_causal=true brings its own mask; leave out the fourth input, or write is_causal=false"
                )
            if len(mask) < 2 or broadcast(mask, scores) != scores:
                raise OpError(
                    f"a mask of {shape_text(mask)} does not fit scores of {shape_text(scores)}; "
                    f"give it {shape_text(scores[-2:])}"
                )

    def output(self, inputs: Shapes) -> Shapes:
        sizes = self.sizes(inputs)
        return ((*sizes.batch, sizes.queries, sizes.value_length),)

    def mac_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return scores × E for QKᵀ, and weights × Eᵥ for the product with the values."""
        sizes = self.sizes(inputs)
        key, value = sizes.key_length, sizes.value_length
        if sizes.weights == sizes.scores:
            return product(("scores", sizes.scores), ("(E + Eᵥ)", Written(key + value, f"({key} + {value})")))
        return product(("scores", sizes.scores), ("E", key)) + product(("weights", sizes.weights), ("Eᵥ", value))

    def flop_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return 6 operations a score, scaling and softmax, and one more where a mask is added."""
        return product(("scores", self.sizes(inputs).scores), ("operations", 1 + len(SOFTMAX) + len(inputs[3:])))

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        batch = outputs[0][:-2]
        query, key, value = (aligned_reads(own, batch) for own in (shape[:-2] for shape in inputs[:3]))
        rank_k, rank_v = len(inputs[1]), len(inputs[2])
        masks = ((*aligned_reads(mask[:-1], outputs[0][:-1]), None) for mask in inputs[3:])
        # A query reads the keys at its own position and before it; a mask that is given is not looked into.
        keys: AxisRule = up_to_itself(inputs[0][-2]) if self.is_causal else WHOLE
        return (
            (*query, (len(inputs[0]) - 2, IDENTITY), None),
            (*key, (rank_k - 2, keys), None),
            (*value, (rank_v - 2, keys), (rank_v - 1, IDENTITY)),
            *masks,
        )

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return what PyTorch keeps on a CPU.

        Its fused kernel keeps the inputs, the output and one float32 a query, the logarithm of the softmax's sum; a
        boolean mask becomes numbers. It takes 4-axis inputs of equal batch, heads and length, without dropout; a GPU's
        fused kernels take dropout too, and releases after PyTorch 2.13 more layouts. All else goes step by step and
        keeps scaled queries and keys, values, and the scores, with dropout three times.
        """
        sizes = self.sizes(inputs)
        if self._is_fused(inputs):
            masks = tuple((numel(mask), None) for mask in inputs[3:])
            log_sums = (sizes.scores // sizes.keys, "float32")
            return Saved(inputs=(0, 1, 2), outputs=(0,), extra=(*masks, log_sums))
        return self._saved_step_by_step(inputs, sizes)

    def saved_for(self, inputs: Shapes, outputs: Shapes, needs: tuple[bool, ...], learns: bool) -> Saved:
        """Return the same; a mask that needs a gradient itself, a learnt bias, keeps the fused kernel out."""
        return self._saved_step_by_step(inputs, self.sizes(inputs)) if any(needs[3:]) else self.saved(inputs, outputs)

    def _saved_step_by_step(self, inputs: Shapes, sizes: Sizes) -> Saved:
        """Return scaled queries and keys, values and scores, or the copies that repeating them makes."""
        heads = self._heads(inputs)
        wanted = (sizes.pairs, sizes.pairs, sizes.batch)
        stored = [whole if is_copied(own, whole) else own for own, whole in zip(heads, wanted)]
        query, key, value = (math.prod(own) * numel(shape[-2:]) for own, shape in zip(stored, inputs))
        shares_heads = heads != tuple(shape[:-2] for shape in inputs[:3])
        keeps_value = value == numel(inputs[2]) and not shares_heads
        extra = [query, key, *(() if keeps_value else (value,)), *(sizes.scores,) * (2 if self.dropout_p else 1)]
        if is_copied(sizes.pairs, sizes.batch):
            extra.append(sizes.weights)
        elif self.dropout_p:
            extra.append(sizes.scores)
        return Saved(inputs=(2,) if keeps_value else (), extra=tuple((count, None) for count in extra))

    def _is_fused(self, inputs: Shapes) -> bool:
        query, key, value = inputs[:3]
        has_same_heads = key[:-2] == value[:-2] and (self.enable_gqa or query[:-2] == key[:-2])
        has_plain_shapes = len(query) == 4 and query[0] == key[0] and key[-1] == value[-1]
        return self.dropout_p == 0 and has_same_heads and has_plain_shapes and all(len(m) in (2, 4) for m in inputs[3:])

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        sizes = self.sizes(inputs)
        note = f"scale, {', '.join(SOFTMAX)}{', mask' * len(inputs[3:])}"
        heads: tuple[Factor, ...] = (("N·H", sizes.pairs),) if sizes.pairs else ()
        scores = product(*heads, ("L·S", (sizes.queries, sizes.keys)))
        return (
            Formula.of("scores", scores, "QKᵀ, one a query and key"),
            Formula.of("MACs", self.mac_terms(inputs, outputs), "QKᵀ and its softmax times V"),
            Formula.of("FLOPs", self.flop_terms(inputs, outputs), note),
        )

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        query, key, value = (2, 6, 5, 8), (2, 6, 7, 8), (2, 6, 7, 4)
        return (
            Example(cls(), (query, query, query)),
            Example(cls(is_causal=True), (query, key, key)),
            Example(cls(), (query, key, value)),
            Example(cls(scale=0.5), (query, key, key, (5, 7))),
            Example(cls(enable_gqa=True), (query, (2, 3, 7, 8), (2, 3, 7, 8))),
            Example(cls(dropout_p=0.1), ((2, 5, 8), (2, 7, 8), (2, 7, 8))),
        )


def _joined(first: Shape, second: Shape) -> Shape:
    """Return what batch and heads of two inputs broadcast to; raises OpError if they do not."""
    both = broadcast(first, second)
    if both is None:
        raise OpError(
            f"batch and heads are {shape_text(first)} and {shape_text(second)}; give all inputs the same, "
            "or write enable_gqa=true if query heads share keys"
        )
    return both
