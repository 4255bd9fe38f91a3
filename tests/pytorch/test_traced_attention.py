"""Attention of traced models: masks, both paths, and whole transformers are the library's ops."""

import pytest

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional

from oracles.flop_counter import counted_macs  # noqa: E402  # needs torch

import cnnstat  # noqa: E402

X = (5, 2, 8)
SCORES = 2 * 2 * 5 * 5
"""Batch, heads, queries, keys."""


class Net(nn.Module):
    """Self-attention with arguments for the layer and for its call."""

    def __init__(self, masks=(), call=None, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, **options)
        self.masks, self.call = masks, call or {}

    def forward(self, x):
        length, batch = x.shape[:2]
        made = {
            "causal": lambda: ("attn_mask", torch.ones(length, length, dtype=torch.bool).triu(1)),
            "added": lambda: ("attn_mask", torch.zeros(length, length)),
            "padding": lambda: ("key_padding_mask", torch.zeros(batch, length, dtype=torch.bool)),
            "computed": lambda: ("key_padding_mask", x[..., 0].t() > 0),
        }
        return self.attention(x, x, x, **dict(made[mask]() for mask in self.masks), **self.call)


@pytest.mark.parametrize(
    ("masks", "call", "additions"),
    [
        ((), {}, 0),
        (("causal",), {}, 1),
        (("added",), {"need_weights": False}, 1),
        (("padding",), {}, 1),
        (("causal", "padding"), {}, 2),
        (("causal",), {"need_weights": False, "is_causal": True}, 0),
        (("causal",), {"is_causal": True}, 1),
    ],
)
def test_every_mask_is_one_addition_a_score(masks, call, additions):
    call_without = {"need_weights": call.get("need_weights", True)}
    plain = cnnstat.analyze(Net((), call_without), X)
    analysis = cnnstat.analyze(Net(masks, call), X)
    (layer,) = analysis.layers
    assert layer.op.kind == "MultiheadAttention"
    assert analysis.totals.macs == plain.totals.macs == 10 * 8 * 32 + 2 * SCORES * 4
    assert analysis.totals.params == plain.totals.params == 4 * 64 + 32
    assert analysis.totals.flops - plain.totals.flops == additions * SCORES
    assert analysis.uncounted == ()


def test_a_computed_mask_is_read_by_the_layer():
    analysis = cnnstat.analyze(Net(("computed",)), X)
    names = [node.name for node in analysis.graph.nodes]
    place = names.index("attention")
    mask = analysis.graph.nodes[place].inputs[-1].value
    assert analysis.graph.nodes[mask - 1].name == "attention.masked_fill"


@pytest.mark.parametrize("options", [{}, {"add_bias_kv": True}, {"kdim": 8, "vdim": 8}, {"bias": False}])
def test_agrees_with_the_counter_of_pytorch(options):
    model = Net(("padding",), **options)
    analysis = cnnstat.analyze(model, X)
    assert analysis.totals.macs == counted_macs(model, torch.rand(X))
    assert analysis.totals.params == sum(p.numel() for p in model.parameters())


def test_weights_of_every_head_and_single_sequences_are_counted():
    each = cnnstat.analyze(Net(call={"average_attn_weights": False}), X)
    assert each.values.outputs[each.graph.outputs[1].value][1] == (2, 2, 5, 5)
    assert each.totals.macs == 10 * 8 * 32 + 2 * SCORES * 4

    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2)

        def forward(self, x):
            return self.attention(x, x, x)[0]

    assert cnnstat.analyze(Single(), ((5, 8),)).totals.macs == 5 * 8 * 32 + SCORES * 4


class Masked(nn.Module):
    """A transformer with the masks of translation."""

    def __init__(self):
        super().__init__()
        self.net = nn.Transformer(8, 2, 2, 1, 16, batch_first=True)

    def forward(self, source, target):
        causal = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        padding = torch.zeros(source.shape[:2], dtype=torch.bool)
        return self.net(
            source,
            target,
            tgt_mask=causal,
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )


def test_a_masked_transformer():
    def layer(queries, keys, is_decoder):
        linear = 2 * queries * 8 * 16
        own = 4 * queries * 64 + 2 * queries * queries * 8
        memory = 2 * queries * 64 + 2 * keys * 64 + 2 * queries * keys * 8
        return linear + own + memory * is_decoder

    model = Masked()
    analysis = cnnstat.analyze(model, ((2, 5, 8), (2, 4, 8)))
    assert analysis.totals.macs == 2 * (2 * layer(5, 0, False) + layer(4, 5, True))
    assert analysis.totals.params == sum(p.numel() for p in model.parameters())
    assert sum(layer.op.kind == "MultiheadAttention" for layer in analysis.layers) == 4
    assert analysis.uncounted == ()


def test_fused_attention_with_shared_heads_and_masks():
    class Fused(nn.Module):
        def forward(self, q, k, mask):
            shared = F.scaled_dot_product_attention(q, k, k, enable_gqa=True)
            return shared + F.scaled_dot_product_attention(q, q, q, attn_mask=mask)

    analysis = cnnstat.analyze(Fused(), ((2, 6, 5, 4), (2, 3, 7, 4), (5, 5)))
    assert [layer.macs for layer in analysis.layers[:2]] == [2 * 2 * 6 * 5 * 7 * 4, 2 * 2 * 6 * 5 * 5 * 4]
    assert len(analysis.graph.nodes[1].inputs) == 4


FLEX = pytest.importorskip("torch.nn.attention.flex_attention")


@pytest.mark.parametrize("kind", ["plain", "mask", "score", "shared"])
def test_flex_attention(kind):
    class Flex(nn.Module):
        def forward(self, q, k):
            options = {}
            if kind == "mask":
                seen = FLEX.create_block_mask(lambda b, h, i, j: i >= j, None, None, 16, 16, device="cpu")
                options = {"block_mask": seen}
            if kind == "score":
                options = {"score_mod": lambda score, b, h, i, j: score + (i - j)}
            if kind == "shared":
                options = {"enable_gqa": True}
            return FLEX.flex_attention(q, k, k, **options)

    heads = 1 if kind == "shared" else 2
    analysis = cnnstat.analyze(Flex(), ((1, 2, 16, 16), (1, heads, 16, 16)))
    assert analysis.totals.macs == 2 * 2 * 16 * 16 * 16
    assert analysis.values.outputs[analysis.graph.outputs[0].value][0] == (1, 2, 16, 16)
    assert analysis.uncounted == (("flex_attention",) if kind == "score" else ())
    assert "notes_torch" not in analysis.graph.about
