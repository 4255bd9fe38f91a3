"""Multi-head attention (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2), with its four projections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from cnnstat.errors import OpError
from cnnstat.ir.declaration import FLAG, Formula, Terms, Written, argument, integer, number, optional, product, value_of
from cnnstat.ir.facets import MixedPrecision, NoBuffers
from cnnstat.ir.op import Example, Family, Op, Saved, Shape, Shapes, numel, register, shape_text
from cnnstat.ir.window import IDENTITY, NOTHING, WHOLE, AxisRule, Reads
from cnnstat.ops.attention import SOFTMAX


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
class MultiheadAttention(MixedPrecision, NoBuffers, Op):
    """Attention in several heads: project query, key and value, attend in each head, project the result.

    Takes one input (self-attention), two (queries, and a memory that is keys and values), or query, key and value,
    each batch × positions × features, or positions × features alone.
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
    is_ruled_when_learnt = True

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

    def _ordered(self, shape: Shape) -> Shape:
        if len(shape) not in (2, 3):
            raise OpError(f"takes batch×positions×features, but its input is {shape_text(shape)}; reshape it first")
        if len(shape) == 2:
            return (1, *shape)
        return shape if self.batch_first else (shape[1], shape[0], shape[2])

    def sizes(self, inputs: Shapes) -> Sizes:
        """Return the sizes of the attention, or raise OpError where the inputs do not fit together."""
        query, key, value = (self._ordered(shape) for shape in _roles(inputs))
        (batch, queries, features), (_, keys, key_features), value_features = query, key, value[2]
        if batch != key[0] or key[:2] != value[:2] or len({len(shape) for shape in inputs}) > 1:
            shapes = ", ".join(map(shape_text, inputs))
            raise OpError(f"its inputs are {shapes}; give all the same batch, and each key one value")
        if features % self.num_heads:
            divisors = [str(d) for d in range(1, min(features, 64) + 1) if features % d == 0]
            raise OpError(f"num_heads={self.num_heads} does not divide {features} features; use {', '.join(divisors)}")
        for name, dim, actual in (("kdim", self.kdim, key_features), ("vdim", self.vdim, value_features)):
            if dim not in (None, actual):
                raise OpError(
                    f"{name}={dim}, but that input has {actual} features; write {name}={actual}, or leave it out"
                )
        scored = keys + self.add_bias_kv + self.add_zero_attn
        return Sizes(batch, queries, keys, scored, features, key_features, value_features)

    def output(self, inputs: Shapes) -> Shapes:
        """Return the query's shape, and with need_weights the weights, batch × L × S."""
        sizes = self.sizes(inputs)
        weights = (sizes.batch, sizes.queries, sizes.scored)
        return (inputs[0], weights if len(inputs[0]) == 3 else weights[1:])[: 1 + self.need_weights]

    def weights(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return the projections, packed into one matrix where all inputs have equally many features."""
        sizes = self.sizes(inputs)
        e = sizes.features
        if sizes.is_packed:
            projections: dict[str, Shape] = {"in_proj_weight": (3 * e, e)}
        else:
            projections = {
                "q_proj_weight": (e, e),
                "k_proj_weight": (e, sizes.key_features),
                "v_proj_weight": (e, sizes.value_features),
            }
        return {
            **projections,
            **({"in_proj_bias": (3 * e,)} if self.bias else {}),
            **({"bias_k": (1, 1, e), "bias_v": (1, 1, e)} if self.add_bias_kv else {}),
            "out_proj.weight": (e, e),
            **({"out_proj.bias": (e,)} if self.bias else {}),
        }

    def _products(self, inputs: Shapes) -> tuple[Terms, Terms, Terms]:
        """Return the multiply-accumulates of the projections in, of QKᵀ and weights·V, and of the projection out."""
        n, queries, keys, scored, e, key_features, value_features = self.sizes(inputs)
        text = f"({queries}·{e} + {keys}·{key_features} + {keys}·{value_features})"
        projected = Written(queries * e + keys * key_features + keys * value_features, text)
        return (
            product(("N·(L·E + S·E_k + S·E_v)·E", (n, projected, e))),
            product(("2", 2), ("N·L·S·E", (n, queries, scored, e))),
            product(("N·L·E·E", (n, queries, e, e))),
        )

    def mac_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return the four projections and, summed over heads, QKᵀ and the product with the values."""
        into, products, out = map(value_of, self._products(inputs))
        return product(("in", into)) + product(("products", products)) + product(("out", out))

    def other_flops(self, inputs: Shapes, outputs: Shapes) -> Mapping[str, int]:
        """Return the additions of the biases, and 6 operations a score of each head, 7 with need_weights."""
        sizes = self.sizes(inputs)
        projected = sizes.batch * (2 * sizes.queries + 2 * sizes.keys) * sizes.features
        attention = self._scores(sizes) * (1 + len(SOFTMAX) + self.need_weights)
        return {**({"bias": projected} if self.bias else {}), "attention": attention}

    def _scores(self, sizes: Sizes) -> int:
        return sizes.batch * self.num_heads * sizes.queries * sizes.scored

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return that a position reads its own query and all keys and values; in self-attention, the whole input."""
        if len(inputs[0]) == 2:
            return self._window_of_one(inputs, index)
        batch, positions = (0, 1) if self.batch_first else (1, 0)

        def reads(rule: AxisRule, batch_rule: AxisRule = IDENTITY) -> Reads:
            pair = ((batch, batch_rule), (positions, rule))
            # The second output, the weights, has the batch first in any case.
            return (*(pair if self.batch_first or index else pair[::-1]), None)

        rules = _RULES[len(inputs)]
        if index == 0:
            return tuple(map(reads, rules))
        keys: Reads = ((batch, IDENTITY), None, (positions, WHOLE))
        return ((reads(rules[0])), *(keys, reads(NOTHING, NOTHING))[: len(inputs) - 1])

    def _window_of_one(self, inputs: Shapes, index: int) -> tuple[Reads, ...]:
        rules = _RULES[len(inputs)]
        if index == 0:
            return tuple(((0, rule), None) for rule in rules)
        return (((0, rules[0]), None), (None, (0, WHOLE)), ((0, NOTHING), None))[: len(inputs)]

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return what PyTorch keeps on a CPU, where two inputs mean that key and value are one tensor.

        With batch_first it projects a transposed copy of each input. It keeps the projections, the attended values,
        and of the softmax one float32 a query; with dropout or need_weights the scaled queries and all scores instead.
        """
        sizes = self.sizes(inputs)
        n, queries, e = sizes.batch, sizes.queries, sizes.features
        is_fused = not self.need_weights and self.dropout == 0
        times = 3 if self.dropout else 1
        scores = (n * self.num_heads * queries, "float32") if is_fused else (times * self._scores(sizes), None)
        saved_inputs, copies = self._kept_inputs(inputs, sizes)
        projections = self._kept_projections(inputs, sizes, is_fused)
        return Saved(inputs=saved_inputs, extra=((copies + projections + n * queries * e, None), scores))

    def _kept_inputs(self, inputs: Shapes, sizes: Sizes) -> tuple[tuple[int, ...], int]:
        """Return the inputs that are kept themselves, and the elements of the transposed copies of the others."""
        projected = [*range(len(inputs)), *([1] if len(inputs) == 2 and not sizes.is_packed else [])]
        # Transposing is free where one of the two axes has size 1.
        is_transposed = self.batch_first and len(inputs[0]) == 3
        copied = [i for i in projected if is_transposed and min(inputs[i][:2]) > 1]
        return tuple(sorted(set(projected).difference(copied))), sum(numel(inputs[i]) for i in copied)

    def _kept_projections(self, inputs: Shapes, sizes: Sizes, is_fused: bool) -> int:
        """Return the elements of projected queries, keys and values that are kept, and of their scaled copies.

        Queries, keys and values that one product makes are one storage, which one of them keeps alive.
        """
        n, queries, keys, scored, e = sizes[:5]
        # Of one sequence, PyTorch makes three tensors with a batch, and no longer sees that they are the same.
        count = len(inputs) if len(inputs[0]) == 3 else 3
        scaled_keys = 0 if is_fused or self.need_weights else n * keys * e
        is_self_attention = count == 1
        if scored > keys:
            together = 3 if is_self_attention and is_fused else 1
            return n * e * (together * queries + 2 * scored)
        if is_self_attention and not is_fused:
            return n * e * (queries + 3 * keys) + scaled_keys
        unscaled_keys = 0 if scaled_keys and not (count == 2 and sizes.is_packed) else n * keys * e
        return n * e * (queries + keys) + unscaled_keys + scaled_keys

    def torch_arguments(self, inputs: Shapes) -> dict[str, Any]:
        sizes = self.sizes(inputs)
        others = {"kdim": sizes.key_features, "vdim": sizes.value_features}
        fields = {**super().torch_arguments(inputs), **others}
        left_out = {"need_weights", *(name for name, size in others.items() if size == sizes.features)}
        return {name: value for name, value in fields.items() if name not in left_out}

    def torch_code(self, callee: str, operands: Sequence[str], arguments: Mapping[str, Any]) -> str:
        return f"{callee}({', '.join(_roles(operands))}, need_weights={self.need_weights})"

    def torch_results(self, count: int) -> str:
        """Return that PyTorch always gives a second result, None without weights."""
        return "{0}, {1}" if count > 1 else "{0}, _"

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        n, queries, _, scored, e, key_features, value_features = self.sizes(inputs)
        into, products, out = self._products(inputs)
        rows = Written(2 * e + key_features + value_features, f"({e} + {key_features} + {value_features} + {e})")
        scores = product(("N·H·L·S", (n, self.num_heads, queries, scored)))
        softmax = product(("scores", value_of(scores)), ("operations", 1 + len(SOFTMAX) + self.need_weights))
        note = f"scale, {', '.join(SOFTMAX)}{', mean over heads' * self.need_weights}"
        return (
            Formula.of(
                "weights", product(("(E + E_k + E_v + E)·E", (rows, e))), "projections of query, key, value and result"
            ),
            *((Formula.of("bias", product(("4·E", (4, e)))),) if self.bias else ()),
            *((Formula.of("appended key and value", product(("2·E", (2, e)))),) if self.add_bias_kv else ()),
            Formula("head", "E / H", f"{e} / {self.num_heads}", e // self.num_heads, "features of one head"),
            Formula.of("projections in", into),
            Formula.of("products", products, "QKᵀ and weights·V, all heads"),
            Formula.of("projection out", out),
            Formula.of("MACs", self.mac_terms(inputs, outputs)),
            Formula.of("scores", scores),
            Formula.of("softmax", softmax, note),
        )

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        query, memory = (2, 5, 12), (2, 7, 12)
        return (
            Example(cls(3), (query,)),
            Example(cls(4, bias=False), (query, memory)),
            Example(cls(2, kdim=8), (query, (2, 7, 8), (2, 7, 9))),
            Example(cls(3, dropout=0.1, add_bias_kv=True, add_zero_attn=True), (query,)),
            Example(cls(3, need_weights=True), (query, memory, memory)),
            Example(cls(3, batch_first=False, need_weights=True), ((5, 2, 12), (7, 2, 12))),
        )


Each = TypeVar("Each")

_RULES: dict[int, tuple[AxisRule, ...]] = {1: (WHOLE,), 2: (IDENTITY, WHOLE), 3: (IDENTITY, WHOLE, WHOLE)}
"""How a result reads the positions of each input, by the number of inputs: its own query, all keys and values."""


def _roles(inputs: Sequence[Each]) -> tuple[Each, Each, Each]:
    """Return what stands for query, key and value."""
    return inputs[0], inputs[min(1, len(inputs) - 1)], inputs[-1]
