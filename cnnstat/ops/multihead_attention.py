"""Multi-head attention (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2), with its four projections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from cnnstat.errors import OpError
from cnnstat.ir.argument import FLAG, argument, integer, number, optional
from cnnstat.ir.op import Example, Family, Formula, NoBuffers, Op, Saved, Shape, Shapes, numel, register
from cnnstat.ir.window import IDENTITY, NOTHING, WHOLE, AxisRule, Reads
from cnnstat.ops.attention import SOFTMAX
from cnnstat.ops.view import shape_text


class Sizes(NamedTuple):
    """The sizes of one call: queries L, keys S, and the features of query, key and value.

    scored: keys that each query is compared with: S, and those that add_bias_kv and add_zero_attn append.
    """

    batch: int
    queries: int
    keys: int
    scored: int
    features: int
    key_features: int
    value_features: int

    @property
    def is_packed(self) -> bool:
        """Whether the three input projections are one matrix."""
        return self.features == self.key_features == self.value_features


@register
@dataclass(frozen=True, repr=False)
class MultiheadAttention(NoBuffers, Op):
    """Attention in several heads: project query, key and value, attend in each head, project the result.

    Takes one input (self-attention), two (queries, and a memory that is keys and values), or query, key and value.
    Other than in PyTorch, batch_first is true unless written otherwise, as axis 0 is the batch everywhere in cnnstat.
    Work beyond the matrix products, for each score of each head: scaling (1), softmax (compare, subtract, exp, add,
    divide), and with need_weights the mean over heads (1). Dropout works in training only.
    """

    family = Family.ATTENTION
    torch = "torch.nn.MultiheadAttention"
    inferred = ("embed_dim",)
    input_count = (1, 3)
    feature_axis = -1
    short_name = "attention"

    num_heads: int = argument(integer(1), "number of heads, which must divide the features")
    dropout: float = argument(number(0, 1), "share of the weights that training sets to 0", 0.0)
    bias: bool = argument(FLAG, "whether the projections add a number to each feature", True)
    add_bias_kv: bool = argument(FLAG, "whether a learnt key and value is appended", False)
    add_zero_attn: bool = argument(FLAG, "whether a key and value of zeros is appended", False)
    kdim: int | None = argument(optional(integer(1)), "features of the key; null for those it has", None)
    vdim: int | None = argument(optional(integer(1)), "features of the value; null for those it has", None)
    batch_first: bool = argument(FLAG, "whether axis 0 is the batch; if false, it is the position", True)
    need_weights: bool = argument(
        FLAG, "whether a second output holds the weights, averaged over heads", False, keyword_only=True
    )

    def sizes(self, inputs: Shapes) -> Sizes:
        """Return the sizes of the attention, or raise OpError where the inputs do not fit together."""
        for shape in inputs:
            if len(shape) != 3:
                raise OpError(f"takes batch×positions×features, but its input is {shape_text(shape)}; reshape it first")
        (batch, queries, features), key, value = map(self._ordered, (inputs[0], inputs[1:2] or inputs, inputs))
        raise NotImplementedError
