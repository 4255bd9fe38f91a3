"""Deployment: what folds and what does not, what works in place, and the bytes that are left."""

import itertools

import pytest
from graph_builder import Builder

import cnnstat
from cnnstat.analysis.analysis import analyze_graph
from cnnstat.analysis.transforms.deploy import deploy
from cnnstat.errors import RequestError, SpecError
from cnnstat.ir.graph import Edge
from cnnstat.ops.activation import Sigmoid
from cnnstat.ops.conv import Conv2d, ConvTranspose2d
from cnnstat.ops.dropout import Dropout, StochasticDepth
from cnnstat.ops.join import Add, Multiply
from cnnstat.ops.linear import Linear
from cnnstat.ops.norm import BatchNorm1d, BatchNorm2d, InstanceNorm2d
from cnnstat.ops.rectifier import GELU, PReLU, ReLU
from cnnstat.ops.shape import Flatten, Identity
from cnnstat.ops.softmax import Softmax
from cnnstat.spec.spec_graph import parse_spec

MAP = 4 * 8 * 16 * 16
"""Bytes of a map of 8 channels, 16 × 16 pixels, in float32."""


def images(*shapes):
    """A builder that starts from one such map."""
    return Builder(*(shapes or ((1, 8, 16, 16),)))


def deployed(builder, *outputs, precision="float32"):
    """The analysis of a built graph as it is deployed."""
    return analyze_graph(deploy(builder.build(*outputs)[0], precision))


def conv(**options):
    """A convolution that keeps the size."""
    return Conv2d(8, 3, padding=1, bias=False, **options)


# Against published and measured figures ------------------------------------------------------------------------------


def test_resnet50_peaks_at_what_mcunet_says():
    totals = cnnstat.analyze("resnet50", deploy="float32").totals
    assert (totals.params, totals.memory.peak_inference_bytes) == (25_530_472, 7_225_344)
    assert totals.buffers == 0


# Folding -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [conv(), conv(groups=8), ConvTranspose2d(8, 2, stride=2, bias=False)])
def test_a_norm_behind_a_convolution_is_in_its_weights(layer):
    builder = images()
    builder.chain(layer, BatchNorm2d(), ReLU())
    found = deployed(builder)
    assert [each.name for each in found.layers] == [f"{layer.kind}_0", "ReLU_2"]
    assert found.layers[0].folded == ("BatchNorm2d_1",)
    weights = layer.weights(((1, 8, 16, 16),))["weight"]
    assert found.totals.params == weights[0] * weights[1] * weights[2] * weights[3] + 8
    assert found.graph.deployment.folded == {"BatchNorm2d_1": f"{layer.kind}_0"}


def test_a_norm_behind_a_linear_layer_folds_where_its_channels_are_the_features():
    flat = Builder((4, 10))
    flat.chain(Linear(8, bias=False), BatchNorm1d())
    assert deployed(flat).totals.params == 8 * 10 + 8
    rows = Builder((4, 6, 10))
    rows.chain(Linear(8, bias=False), BatchNorm1d())
    found = deployed(rows)
    assert [each.op.kind for each in found.layers] == ["Linear", "ScaleShift"]
    assert found.totals.params == 8 * 10 + 2 * 6


def test_what_lies_between_may_be_nothing():
    builder = images()
    builder.chain(conv(), Dropout(), Identity(), BatchNorm2d(), StochasticDepth(0.2))
    found = deployed(builder)
    assert [each.op.kind for each in found.layers] == ["Conv2d"]
    assert found.graph.deployment.removed == ("Dropout_1", "Identity_2", "StochasticDepth_4")
    assert found.graph.outputs == (Edge(1),)


def test_several_norms_fold_into_one_layer():
    builder = images()
    builder.chain(conv(), BatchNorm2d(), BatchNorm2d(affine=False), InstanceNorm2d(track_running_stats=True))
    assert deployed(builder).layers[0].folded == ("BatchNorm2d_1", "BatchNorm2d_2", "InstanceNorm2d_3")


def kept(builder, *outputs):
    """Why the norms of a graph stay."""
    found = deployed(builder, *outputs)
    assert all("BatchNorm" not in layer.op.kind for layer in found.layers)
    return dict(found.graph.deployment.kept)


def test_a_norm_stays_where_others_read_what_it_reads():
    builder = images()
    first = builder.add(conv())
    norm = builder.add(BatchNorm2d())
    builder.add(Add(), first, norm)
    assert kept(builder) == {"BatchNorm2d_1": "other layers, too, read what it reads"}


def test_a_norm_stays_behind_a_result_of_the_network():
    builder = images()
    first = builder.add(conv())
    norm = builder.add(BatchNorm2d())
    assert list(kept(builder, first, norm)) == ["BatchNorm2d_1"]


def test_a_norm_stays_before_the_activation():
    builder = images()
    builder.chain(BatchNorm2d(), ReLU(), conv())
    assert kept(builder) == {"BatchNorm2d_0": "no weights before it could take it in"}
    assert deployed(builder).totals.params == 2 * 8 + 8 * 8 * 9


def test_a_norm_stays_behind_weights_that_are_shared():
    builder = images()
    builder.add(conv(), name="one")
    builder.add(BatchNorm2d(), name="norm1")
    builder.add(conv(), name="two", shares=0)
    builder.add(BatchNorm2d(), name="norm2")
    assert set(kept(builder)) == {"norm1", "norm2"}


def test_a_norm_by_its_own_statistics_is_no_scale_and_shift():
    builder = images()
    builder.chain(conv(), BatchNorm2d(track_running_stats=False))
    found = deployed(builder)
    assert [each.op.kind for each in found.layers] == ["Conv2d", "BatchNorm2d"]
    assert found.graph.deployment.kept == {"BatchNorm2d_1": "they normalize by statistics of their own input"}


def test_of_shared_norms_each_folds_where_it_can():
    builder = images()
    builder.add(conv())
    builder.add(BatchNorm2d(), name="norm1")
    builder.add(ReLU())
    builder.add(BatchNorm2d(), name="norm2", shares=1)
    found = deployed(builder)
    # The owner is gone, so the layer that shared its numbers owns them now.
    assert [each.op.kind for each in found.layers] == ["Conv2d", "ReLU", "ScaleShift"]
    assert found.totals.params == 8 * 8 * 9 + 8 + 2 * 8


def test_what_no_result_depends_on_is_not_shipped():
    builder = images()
    main = builder.add(conv())
    builder.add(conv(), name="head")
    builder.add(BatchNorm2d(), name="norm")
    found = deployed(builder, main)
    assert found.graph.deployment.unread == ("head",)
    assert found.totals.params == 8 * 8 * 9


def test_deployed_again_it_is_the_same():
    graph = deploy(images().build(Edge(0))[0], "int8")
    assert deploy(graph, "int8") is graph
    with pytest.raises(RequestError, match="deployed in int8 already"):
        deploy(graph, "float32")


# In place ------------------------------------------------------------------------------------------------------------


def overwritten(builder, *outputs):
    """Which input each layer writes over."""
    graph = deploy(builder.build(*outputs)[0], "float32")
    return {node.name: node.overwrites for node in graph.nodes if node.overwrites is not None}


def test_an_activation_writes_over_what_nobody_else_reads():
    builder = images()
    first = builder.add(conv())
    builder.add(Sigmoid(), name="alone")
    builder.add(Sigmoid(), name="beside")
    builder.add(Multiply(), Edge(2), Edge(3), name="gate")
    assert first == Edge(1)
    assert overwritten(builder) == {"alone": 0, "gate": 0}


def test_a_residual_addition_writes_over_the_branch_that_dies():
    builder = images()
    start = builder.add(conv())
    branch = builder.add(conv())
    joined = builder.add(Add(), start, branch, name="add")
    builder.add(Add(), start, joined, name="again")
    assert overwritten(builder) == {"add": 1, "again": 0}


def test_nothing_writes_over_a_result_or_a_view_of_one():
    builder = images()
    first = builder.add(conv())
    flat = builder.add(Flatten())
    builder.add(ReLU(), first)
    assert overwritten(builder, flat, builder.last) == {}


def test_an_addition_does_not_write_over_what_it_broadcasts():
    builder = images((1, 8, 1, 1), (1, 8, 16, 16))
    builder.add(Add(), Edge(0), Edge(1))
    assert overwritten(builder) == {"Add_0": 1}


def test_a_softmax_reads_more_than_its_own_place():
    builder = images()
    builder.chain(conv(), Softmax(1))
    assert overwritten(builder) == {}


# Precision -----------------------------------------------------------------------------------------------------------


def test_int8_has_int32_biases_and_scales_by_channel():
    builder = images()
    builder.chain(conv(), BatchNorm2d(), ReLU())
    found = deployed(builder, precision="int8")
    assert found.memory.params_bytes == 8 * 8 * 9 + 4 * 8
    # A scale a filter; a scale and a zero point for the input and for what convolution and ReLU make together.
    assert found.memory.flash_bytes == found.memory.params_bytes + 4 * 8 + 2 * (4 + 1)
    assert found.memory.peak_inference_bytes == 2 * MAP // 4


def test_what_has_no_int8_kernel_keeps_float_weights_and_hands_on_int8():
    builder = images()
    builder.chain(conv(), BatchNorm2d(track_running_stats=False), PReLU(8), GELU())
    found = deployed(builder, precision="int8")
    assert found.graph.deployment.in_float == ("BatchNorm2d_1", "GELU_3")
    assert found.memory.params_bytes == 8 * 8 * 9 + 4 * 2 * 8 + 8
    assert all(layer.output_bytes == MAP // 4 for layer in found.layers)


def test_float16_halves_everything():
    builder = images()
    builder.chain(conv(), BatchNorm2d(), ReLU())
    whole, half = (deployed(builder, precision=each).memory for each in ("float32", "float16"))
    assert (whole.params_bytes, whole.peak_inference_bytes) == (2 * half.params_bytes, 2 * half.peak_inference_bytes)


def test_whole_numbers_stay_what_they_are():
    tokens = parse_spec("input: {shape: [12], dtype: int64}\nlayers:\n  - Embedding(50, 8)\n  - Linear(4)\n")
    graph = deploy(tokens, "int8")
    assert (graph.inputs[0].dtype, graph.dtype) == ("int64", "int8")


def test_complex_numbers_have_no_int8():
    spectrum = "input: [8]\nlayers:\n  - {opaque: fft, inputs: [[1, 8]], output: [1, 8], dtype: complex64}\n"
    with pytest.raises(RequestError, match=r"fft.* has complex numbers, which int8 does not; write --deploy float32"):
        deploy(parse_spec(spectrum), "int8")
    assert deploy(parse_spec(spectrum), "float32").deployment.precision == "float32"


def test_features_in_int8_are_no_token_numbers():
    builder = Builder((1, 640))
    builder.chain(Linear(8), ReLU())
    for precision in ("float32", "int8"):
        assert deployed(builder, precision=precision).totals.receptive_field is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"deploy": "int4"}, r"deploy=.int4.: networks are not deployed in it here; did you mean int8\?"),
        ({"deploy": "int8", "dtype": "float16"}, 'dtype="float16" and deploy="int8" exclude each other'),
        ({"deploy": "int8", "mode": "train"}, "what ships is in eval mode"),
    ],
)
def test_what_does_not_go_together_is_one_line(options, message):
    with pytest.raises(RequestError, match=message):
        cnnstat.analyze("lenet5", **options)


# Specs ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("name", ["resnet18", "unet", "lenet5"])
def test_an_exported_network_is_deployed_as_it_was(name, precision):
    analysis = cnnstat.analyze(name, deploy=precision)
    again = analyze_graph(parse_spec(cnnstat.export(name, deploy=precision)))
    assert again.totals == analysis.totals
    pairs = itertools.zip_longest(analysis.layers, again.layers)
    assert all(one.output_bytes == other.output_bytes and one.params == other.params for one, other in pairs)


def test_a_spec_names_a_precision_that_there_is():
    with pytest.raises(SpecError, match=r"2:9: deploy: takes the precision .*: float32, float16, int8"):
        parse_spec("input: [3, 8, 8]\ndeploy: int4\nlayers: [ReLU]\n")
