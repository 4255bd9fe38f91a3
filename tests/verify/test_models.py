"""PyTorch models: every difference is explained by what the witness misses, to the last multiply-accumulate."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import verified_models as models  # noqa: E402  # they need PyTorch

import cnnstat  # noqa: E402

CASES = {
    "Shared": (1, 3, 16, 16),
    "Functional": (1, 3, 16, 16),
    "Vector": (7,),
    "AddedInPlace": (3, 4),
    "Custom": (1, 1, 12, 12),
    "Attention": (2, 5, 8),
    "Encoder": (2, 5, 8),
    "Sequence": (5, 8),
    "Token": (2, 5, 8),
    "Remembered": (2, 5, 8),
    "Recurrent": (2, 7, 5),
    "Transposed": (2, 4, 32, 32),
    "Unused": (2, 4),
    "Gated": (1, 3, 20, 20),
    "Normed": (1, 3, 12, 12),
    "Pairs": (3, 4),
    "Broadcast": (2, 4),
    "Norms": (2, 4, 8, 8),
    "Shifted": (1, 3, 16, 16),
    "Decided": (2, 4),
    "Vanishing": (1, 2, 15, 15),
    "Casts": (1, 2, 12, 12),
    "Layouts": (1, 3, 16, 16),
    "Idle": (1, 3, 8, 8),
    "Rigid": (1, 3, 32, 32),
    "Pooled": (1, 3, 9, 9),
    "Relative": (1, 2, 12, 12),
    "Unpooled": (1, 3, 16, 16),
    "Kept": (1, 3, 16, 16),
    "Checkpointed": (1, 3, 16, 16),
    "Packed": (2, 5, 8),
    "Remainder": (1, 3, 24, 24),
    "Turned": (6, 8),
    "Causal": (1, 4, 12),
    "SideBySide": (1, 3, 16, 16),
}


def verify(name, **options):
    torch.manual_seed(0)
    return cnnstat.verify(getattr(models, name)(), CASES[name], **options)


def layer(found, name):
    return next(layer for layer in found.layers if layer.layer == name)


def total(found, witness):
    return next(t for t in found.totals if t.figure == "MACs" and t.reference == witness).theirs


@pytest.mark.parametrize("name", CASES)
def test_every_difference_is_explained(name):
    found = verify(name)
    assert found.exit_code == 0, [(layer.layer, layer.reasons) for layer in found.layers if layer.reasons]


@pytest.mark.parametrize("name", [name for name in CASES if name != "Decided"])
def test_shapes_alone_are_witness_enough(name):
    found = verify(name, run=False)
    assert found.exit_code == 0
    assert {layer.fvcore.value for layer in found.layers} == {None}


def test_a_path_that_values_decide_is_not_witnessed_on_shapes_alone():
    found = verify("Decided", run=False)
    assert (found.exit_code, found.has_reference) == (3, False)


def test_the_model_is_left_as_it_was():
    model = models.Normed()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    cnnstat.verify(model, CASES["Normed"])
    assert model.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


# What the witnesses miss ----------------------------------------------------------------------------------------------


def test_a_module_called_three_times_works_three_times_for_all():
    found = verify("Shared")
    convs = [layer for layer in found.layers if layer.op == "Conv2d"]
    assert [c.macs for c in convs] == [c.flop_counter.value for c in convs] == [20736] * 3
    pytest.importorskip("fvcore")
    assert [c.fvcore.value for c in convs] == [20736] * 3


def test_flop_counter_has_no_formula_for_products_with_vectors():
    mv = layer(verify("Vector"), "mv")
    assert (mv.macs, mv.flop_counter.value) == (35, 0)
    assert mv.reasons[0] == "FlopCounterMode has no formula for aten.mv"


def test_flop_counter_has_no_formula_for_products_added_in_place():
    found = verify("AddedInPlace")
    assert [(layer(found, name).macs, layer(found, name).flop_counter.value) for name in ("addmm", "addbmm")] == [
        (48, 0),
        (96, 0),
    ]
    assert found.exit_code == 0


class Powers(torch.nn.Module):
    """Multiplies by W³: 2 × 4³ for the power, 2 × 4² for the input."""

    def __init__(self, product):
        super().__init__()
        self.weight, self.product = torch.nn.Parameter(torch.rand(4, 4)), product

    def forward(self, x):
        return x @ self.product(self.weight)


@pytest.mark.parametrize(
    "product",
    (lambda w: torch.linalg.matrix_power(w, 3), lambda w: torch.linalg.multi_dot([w, w, w])),
    ids=("power", "chain"),
)
def test_fvcore_does_not_know_chains_of_products(product):
    found = cnnstat.verify(Powers(product), (2, 4))
    assert (found.exit_code, found.analysis.totals.macs) == (0, 2 * 4**3 + 2 * 4**2)


class Neighbours(torch.nn.Module):
    """Multiplies by a sparse matrix of 14 elements."""

    def __init__(self, product, as_stored):
        super().__init__()
        dense = torch.zeros(6, 6)
        dense.view(-1)[[0, 3, 5, 8, 9, 13, 17, 19, 22, 26, 27, 30, 33, 35]] = 1.0
        self.register_buffer("matrix", as_stored(dense))
        self.product = product

    def forward(self, x):
        return self.product(self.matrix, x)


COORDINATES, ROWS = torch.Tensor.to_sparse, torch.Tensor.to_sparse_csr
SPARSE = {
    # 14 elements, each with three columns
    "sparse.mm": (lambda a, x: torch.sparse.mm(a, x), COORDINATES, (6, 3), 42, 0),
    "rows": (lambda a, x: a @ x, ROWS, (6, 3), 42, 108),
    "behind": (lambda a, x: x @ a, ROWS, (4, 6), 56, 144),
    "vector": (lambda a, x: torch.mv(a, x), COORDINATES, (6,), 14, 0),
    "linear": (lambda a, x: torch.nn.functional.linear(x, a), ROWS, (4, 6), 56, 144),
    "sampled": (lambda a, x: torch.sparse.sampled_addmm(a, x, x.t()).to_dense(), ROWS, (6, 3), 42, 0),
    "mean": (lambda a, x: torch.sparse.mm(a, x, "mean"), ROWS, (6, 3), 42, 0),
    # blocks of four elements, zeros and all: 7 of 9 hold any
    "blocks": (lambda a, x: a @ x, lambda a: a.to_sparse_bsr((2, 2)), (6, 3), None, 108),
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("case", SPARSE)
def test_products_with_sparse_matrices_multiply_what_is_there(case):
    product, as_stored, shape, macs, flop_counter = SPARSE[case]
    model = Neighbours(product, as_stored)
    if macs is None:
        macs = 3 * model.matrix.values().numel()
    found = cnnstat.verify(model, shape)
    assert found.exit_code == 0
    assert [(each.macs, each.flop_counter.value) for each in found.layers if each.macs] == [(macs, flop_counter)]


@pytest.mark.filterwarnings("ignore:Sparse")
def test_a_product_of_two_sparse_matrices_multiplies_what_meets():
    model = Neighbours(lambda a, x: torch.sparse.mm(a, a).to_dense() + x, COORDINATES)
    matrix = model.matrix.to_dense()
    meet = sum(int((matrix[:, k] != 0).sum() * (matrix[k] != 0).sum()) for k in range(6))
    found = cnnstat.verify(model, (6, 6))
    assert (found.exit_code, found.analysis.totals.macs) == (0, meet)


@pytest.mark.parametrize("training", (False, True))
@pytest.mark.parametrize(
    "norm", (torch.nn.utils.spectral_norm, torch.nn.utils.parametrizations.spectral_norm), ids=("hook", "parametrized")
)
def test_the_work_of_spectral_norm_is_the_layers(norm, training):
    """u·(Wv) is 8 × 27 + 8; training adds the two products of one step of the power iteration."""
    model = torch.nn.Sequential(norm(torch.nn.Conv2d(3, 8, 3)), torch.nn.ReLU()).train(training)
    found = cnnstat.verify(model, (1, 3, 8, 8), mode="train" if training else "eval")
    assert found.exit_code == 0
    assert layer(found, "0").macs == 6 * 6 * 8 * 27 + 8 * 27 * (3 if training else 1) + 8
    pytest.importorskip("fvcore")
    assert "fvcore does not know mv" in layer(found, "0").reasons


def test_flop_counter_does_not_see_into_fused_attention_when_it_is_alone():
    for name in ("Attention", "Encoder"):
        found = verify(name)
        assert total(found, "FlopCounterMode").value > 0
        alone = total(found, "FlopCounterMode alone")
        # Nothing is seen where PyTorch takes its fused kernel, which the processor and settings decide.
        assert alone.verdict.value == "explained" and alone.value < found.analysis.totals.macs


def test_fused_kernels_that_flop_counter_has_no_formula_for_are_named():
    """Which kernels those are, if any, depends on the release of PyTorch and on the processor."""
    for shape in ((5, 8), (1, 5, 8), (2, 3, 5, 8)):
        found = cnnstat.verify(models.Scaled(), shape)
        assert found.exit_code == 0
        assert layer(found, "scaled_dot_product_attention").flop_counter.value == found.analysis.totals.macs
        alone = next((t.theirs for t in found.totals if t.reference == "FlopCounterMode alone"), None)
        assert alone is None or (alone.value == 0 and "scaled_dot_product" in alone.reasons[0])


def test_a_feature_that_attention_returns_is_made_of_values_at_its_own_place():
    fields = cnnstat.verify(models.Sequence(), (1, 5, 8)).fields
    local = [field for field in fields if field.layer == "scaled_dot_product_attention"]
    assert [field.gradient for field in local] == [((3, 3),), ((4, 4),)]


@pytest.mark.parametrize("run", [True, False])
def test_a_view_of_a_parameter_may_be_handed_to_a_module(run):
    found = verify("Token", run=run)
    assert layer(found, "beside.add").flop_counter.value == layer(found, "beside.add").macs == 2 * 8 * 8
    assert {layer.shape.verdict.value for layer in found.layers} == {"agrees"}
    assert not run or total(found, "FlopCounterMode alone").verdict.value == "explained"


def test_attention_to_weights_alone_is_missed_where_flop_counter_is_alone():
    verification = verify("Remembered")
    alone = total(verification, "FlopCounterMode alone")
    # Which kernel PyTorch takes decides whether anything is seen; either way the difference has its reason.
    assert alone.verdict.value == "explained" and alone.value < verification.analysis.totals.macs


def test_one_sequence_costs_what_a_batch_of_one_costs():
    alone, batch = verify("Sequence"), cnnstat.verify(models.Sequence(), (1, 5, 8))
    assert all(each.op.modelled for each in alone.analysis.layers)
    assert (alone.exit_code, batch.exit_code) == (0, 0)
    assert total(alone, "FlopCounterMode").value == total(batch, "FlopCounterMode").value == 2280
    for figure in ("macs", "flops", "params"):
        assert getattr(alone.analysis.totals, figure) == getattr(batch.analysis.totals, figure)


@pytest.mark.filterwarnings("ignore")  # PyTorch moves its quantization to another package
def test_quantized_layers_are_run_for_real_and_explained(monkeypatch):
    engines = [each for each in torch.backends.quantized.supported_engines if each != "none"]
    if not engines:
        pytest.skip("this build has no engine for quantized layers")
    monkeypatch.setattr(torch.backends.quantized, "engine", engines[0])
    quantized = torch.ao.nn.quantized
    verification = cnnstat.verify(
        torch.nn.Sequential(
            quantized.Quantize(0.1, 0, torch.quint8),
            quantized.Conv2d(3, 8, 3),
            torch.nn.Flatten(),
            quantized.Linear(8 * 6 * 6, 5),
            quantized.DeQuantize(),
        ),
        (1, 3, 8, 8),
    )
    assert verification.exit_code == 0 and verification.analysis.totals.macs == 36 * 8 * 27 + 288 * 5
    assert "no formula for quantized.linear" in str(verification)


def test_a_failure_of_flop_counter_alone_is_told(monkeypatch):
    from cnnstat.verify import forward_pass

    def fail(run):
        raise RuntimeError("it cannot")

    monkeypatch.setattr(forward_pass, "fused_evidence", fail)
    found = verify("Attention")
    alone = total(found, "FlopCounterMode alone")
    assert (alone.value, alone.verdict.value) == (None, "no witness")
    assert alone.reasons == ("it could not run: RuntimeError: it cannot",)
    assert found.exit_code == 0


def test_recurrent_layers_are_seen_by_nobody_but_explained():
    for kind in ("LSTM", "GRU", "RNN"):
        found = cnnstat.verify(models.Recurrent(kind), CASES["Recurrent"])
        assert found.exit_code == 0
        # PyTorch fuses them or not, by its release and the processor.
        assert total(found, "FlopCounterMode").value in (2 * 7 * 12 * 3, found.analysis.totals.macs)


def test_fvcore_leaves_out_what_nobody_reads():
    pytest.importorskip("fvcore")
    unread = layer(verify("Unused"), "unread")
    assert (unread.macs, unread.fvcore.value, unread.flop_counter.value) == (40, 0, 40)
    assert unread.fvcore.reasons == ("nothing uses the result, and fvcore's trace leaves such calls out",)


def test_fvcore_forgets_the_batch_of_the_second_factor():
    pytest.importorskip("fvcore")
    product = layer(verify("Broadcast"), "matmul")
    assert (product.macs, product.fvcore.value) == (120, 40)


def test_fvcore_does_not_look_into_functions_of_ones_own():
    pytest.importorskip("fvcore")
    assert total(verify("Custom"), "fvcore").verdict.value == "no witness"


def test_fvcore_counts_norms_and_resizing_by_the_element():
    pytest.importorskip("fvcore")
    found = verify("Norms")
    elements = 2 * 4 * 8 * 8
    counted = {layer.layer: layer.fvcore.value for layer in found.layers if layer.fvcore.value}
    assert counted["batch"] == 2 * elements
    assert counted["plain"] == elements
    assert counted["group"] == counted["layer"] == 5 * elements
    assert counted["instance"] == 4 * elements
    assert counted["interpolate"] == 2 * 4 * 16 * 16
    assert counted["interpolate_2"] == 4 * 2 * 4 * 12 * 12
    assert counted["adaptive_avg_pool2d"] == 2 * 4 * 12 * 12
    assert all(layer.macs == 0 for layer in found.layers)


def test_without_fvcore_the_others_are_heard(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "fvcore.nn", None)
    found = verify("Shared")
    assert found.exit_code == 0
    assert [w.problem for w in found.references] == ["", "fvcore is not installed; pip install fvcore", ""]


@pytest.mark.parametrize("run", [True, False])
def test_work_that_nothing_uses_is_counted_and_what_is_not_called_agrees(run):
    found = verify("Idle", run=run)
    results = layer(found, "unused_results")
    assert results.macs == results.flop_counter.value == 3 * 8 * 5
    assert {each.flop_counter.verdict.value for each in found.layers} == {"agrees"}
    assert total(found, "FlopCounterMode").verdict.value == "agrees"


# Receptive fields -----------------------------------------------------------------------------------------------------


def test_gradients_that_would_vanish_or_cancel_still_tell():
    fields = verify("Vanishing").fields
    assert {field.verdict.value for field in fields} == {"agrees"}
    assert fields[-1].layer == "last"
    assert fields[-2].gradient == fields[-2].ours == ((4, 11), (4, 11))


def test_a_gate_is_left_out_of_the_local_field():
    found = verify("Gated")
    assert found.analysis.totals.receptive_field.global_context
    assert [field.verdict.value for field in found.fields] == ["agrees"] * len(found.fields)
    pool = found.fields[-1]
    assert (pool.layer, pool.ours, pool.gradient) == ("adaptive_avg_pool2d", None, ((0, 19), (0, 19)))


def test_periods_of_transposed_convolutions_show_at_neighbouring_positions():
    fields = [field for field in verify("Transposed").fields if field.layer == "up"]
    sizes = [field.gradient[0][1] - field.gradient[0][0] + 1 for field in fields]
    assert sorted(sizes) == [3, 5]


@pytest.mark.parametrize("name", ["Casts", "Layouts"])
def test_calls_that_do_something_only_sometimes_keep_their_place(name):
    fields = verify(name).fields
    assert fields[-1].layer == "last"
    assert fields[-1].gradient == fields[-1].ours is not None


def test_memory_is_that_of_the_layers_up_to_the_last_local_one(monkeypatch):
    from cnnstat.verify import receptive_field_check

    monkeypatch.setattr(receptive_field_check, "MAX_FIELD_BYTES", 8 * 64 * 4)
    fields = verify("Rigid").fields
    assert [field.gradient for field in fields] == [((12, 15), (12, 15)), ((16, 19), (16, 19))]


def test_a_network_of_one_size_may_take_four_times_as_much(monkeypatch):
    from cnnstat.verify import receptive_field_check

    monkeypatch.setattr(receptive_field_check, "MAX_FIELD_BYTES", 8 * 64)
    assert verify("Rigid").fields
    monkeypatch.setattr(receptive_field_check, "MAX_FIELD_BYTES", 8 * 64 - 1)
    (note,) = verify("Rigid").notes
    assert note.startswith("receptive field not checked: its tensors take 0 MiB with an input of 1×3×32×32")


def test_whole_input_ends_where_the_maps_between_end():
    found = cnnstat.verify(models.Remainder(), (1, 3, 20, 20)).fields[-1]
    assert (found.ours, found.gradient, found.verdict.value) == (None, ((0, 17), (0, 17)), "agrees")


def test_constants_keep_their_values():
    assert verify("Relative").fields[-1].gradient == ((4, 8), (4, 8))


def test_whole_input_is_what_the_pooled_map_reads():
    pool = verify("Pooled").fields[-1]
    assert (pool.layer, pool.ours, pool.gradient) == ("mean", None, ((0, 7), (0, 7)))
    assert (pool.verdict.value, pool.reason) == ("agrees", "no position reads the rest of the input")


def test_inputs_by_name():
    inputs = {"image": (1, 3, 12, 12), "scale": 2.0}
    found = cnnstat.verify(models.Keywords(), inputs=inputs)
    assert found.exit_code == 0
    assert [field.gradient for field in found.fields[-2:]] == [((4, 6), (4, 6)), ((5, 7), (5, 7))]


def test_whole_numbers_have_no_gradients():
    embedding = torch.nn.Sequential(torch.nn.Embedding(10, 4), torch.nn.Linear(4, 2))
    found = cnnstat.verify(embedding, torch.zeros(1, 7, dtype=torch.int64))
    assert found.exit_code == 0
    assert found.notes == ("receptive field not checked: gradients do not reach whole numbers",)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_torchvision(name):
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another PyTorch than the one there is
        pytest.skip(f"torchvision does not work here: {error}")
    found = cnnstat.verify(f"torchvision:{name}", "3x64x64", run=name == "squeezenet1_1")
    assert found.exit_code == 0
    assert total(found, "FlopCounterMode").value == found.analysis.totals.macs
    assert found.fields


def test_training_mode():
    found = verify("Norms", mode="train")
    assert found.exit_code == 0


@pytest.mark.parametrize("name", ["Unpooled", "Kept", "Checkpointed"])
def test_fields_of_maxima_with_places_kept_statistics_and_checkpoints_are_witnessed(name):
    found = verify(name)
    assert {field.verdict.value for field in found.fields} == {"agrees"}


def test_a_network_without_layers_leaves_nothing_unverified() -> None:
    verification = cnnstat.verify(torch.nn.Sequential(torch.nn.Identity()), (1, 3, 8, 8))
    assert not verification.layers and not verification.notes and verification.exit_code == 0
    assert "0 layers\n" in f"{verification}\n"
