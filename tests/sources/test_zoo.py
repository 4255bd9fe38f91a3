"""The zoo against what papers, frameworks and torchvision itself say about the same networks."""

import warnings

import pytest

import cnnstat
from cnnstat.analysis.published import published_rows
from cnnstat.sources import zoo

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        import torchvision
        from torch.utils.flop_counter import FlopCounterMode
except Exception:  # a torchvision that does not fit its torch raises whatever it likes
    torchvision = None

PARAMETERS = {
    "alexnet": 61_100_840,
    "alexnet_2012": 60_965_224,
    "c3d": 79_991_015,
    "colorization": 32_236_011,
    "convnetjs_mnist": 5_994,
    "convnext_tiny": 28_589_128,
    "deeplabv3": 42_004_074,
    "densenet121": 7_978_856,
    "efficientnet_b0": 5_288_548,
    "faster_rcnn": 41_808_406,
    "fcn8s": 134_489_759,
    "googlenet": 6_624_904,
    "inception_v3": 23_834_568,
    "lenet5": 61_706,
    "lenet5_1998": 60_000,
    "m5": 559_114,
    "maskrcnn_head": 2_646_107,
    "mlperf_tiny_autoencoder": 267_928,
    "mlperf_tiny_ds_cnn": 23_756,
    "mlperf_tiny_mobilenet_v1": 216_322,
    "mlperf_tiny_resnet8": 78_186,
    "mnasnet1_0": 4_383_312,
    "mobilenet_v1": 4_231_976,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_large": 5_483_032,
    "mobilenet_v3_small": 2_542_856,
    "plain18": 11_515_688,
    "plain34": 21_623_848,
    "r3d_18": 33_371_472,
    "regnet_y_400mf": 4_344_144,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet50_v1": 25_557_032,
    "resnet101": 44_549_160,
    "resnet101_v1": 44_549_160,
    "resnet152": 60_192_808,
    "resnet152_v1": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "shufflenet_v2_x1_0": 2_278_604,
    "squeezenet1_1": 1_235_496,
    "ssd300": 35_641_826,
    "unet": 31_030_658,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
    "wide_resnet50_2": 68_883_240,
    "yolov1": 271_703_550,
    "yolov3": 61_949_149,
}

RECEPTIVE_FIELDS = {
    "alexnet": 195,
    "alexnet_2012": 195,
    "vgg11": 150,
    "vgg13": 156,
    "vgg16": 212,
    "vgg16_bn": 212,
    "vgg19": 268,
    "resnet18": 435,
    "plain18": 435,
    "resnet34": 899,
    "plain34": 899,
    "resnet50": 427,
    "resnet50_v1": 483,
    "resnet101": 971,
    "resnet101_v1": 1027,
    "resnet152": 1451,
    "resnet152_v1": 1507,
}

MERGEABLE = ["mobilenet_v3_small"]
"""Networks of which two layers in a row are linear, as their papers have them."""

TORCHVISION = [name for name in PARAMETERS if name.startswith(("vgg", "resnet", "alexnet")) and name[-2:] != "v1"]
TORCHVISION.remove("alexnet_2012")
RESNETS = [name for name in TORCHVISION if name.startswith("resnet")]
needs_torchvision = pytest.mark.skipif(torchvision is None, reason="needs a torchvision that can be imported")


@pytest.fixture(scope="module")
def analyze():
    """cnnstat.analyze, every network once."""
    known = {}
    return lambda name: known.get(name) or known.setdefault(name, cnnstat.analyze(name))


def layers(analysis):
    """The layers of an analysis by name."""
    return {layer.name: layer for layer in analysis.layers}


def written(graph):
    """What each layer of a graph is, by name."""
    return {node.name: str(node.op) for node in graph.nodes}


def test_the_zoo_is_complete():
    assert set(PARAMETERS) <= set(zoo.names())


@pytest.mark.parametrize("name", zoo.names())
def test_every_network_loads_and_says_where_it_comes_from(name, analyze):
    analysis = analyze(name)
    assert analysis.layers
    assert not analysis.uncounted
    assert len(analysis.warnings) == MERGEABLE.count(name)
    assert analysis.graph.about["title"]
    assert analysis.graph.about["cite"]


@pytest.mark.parametrize("name", zoo.names())
def test_every_published_figure_is_exact_or_its_difference_explained(name, analyze):
    rows = published_rows(analyze(name))
    assert bool(rows) is (name != "colorization")
    for row in rows:
        assert row.agrees is not bool(row.cause), row


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name, analyze):
    assert analyze(name).totals.params == PARAMETERS[name]


@pytest.mark.parametrize("name", RECEPTIVE_FIELDS)
def test_receptive_fields(name, analyze):
    field = analyze(name).totals.receptive_field
    assert field.size == (RECEPTIVE_FIELDS[name],) * 2
    assert field.stride == (32, 32)
    assert field.exact
    assert field.aligned
    assert field.centred


# LeNet-5 ------------------------------------------------------------------------------------------------------------


def test_lenet5_1998_has_the_figures_of_its_paper(analyze):
    rows = {(row.layer, row.figure): row for row in published_rows(analyze("lenet5_1998"))}
    assert all(row.agrees for row in rows.values())
    assert {layer for layer, _ in rows} == {"", "C1", "S2", "C3", "S4", "C5", "F6"}
    assert rows["", "connections"].value == 340_908
    assert rows["", "trainable_params"].value == 60_000
    assert analyze("lenet5_1998").totals.buffers == 84 * 10


def test_lenet5_1998_has_the_maps_of_its_paper(analyze):
    shapes = {name: layer.output_shape[1:] for name, layer in layers(analyze("lenet5_1998")).items()}
    assert shapes["C1"] == (6, 28, 28)
    assert shapes["S2"] == (6, 14, 14)
    assert shapes["C3"] == (16, 10, 10)
    assert shapes["S4"] == (16, 5, 5)
    assert shapes["C5"] == (120, 1, 1)
    assert shapes["F6"] == (84,)


def test_lenet5_has_the_parameters_every_textbook_prints(analyze):
    params = {name: layer.params for name, layer in layers(analyze("lenet5")).items() if layer.params}
    assert params == {"C1": 156, "C3": 2_416, "C5": 48_120, "F6": 10_164, "output": 850}


def test_convnetjs_mnist_has_the_layers_of_the_demo(analyze):
    found = layers(analyze("convnetjs_mnist"))
    assert [layer.output_shape[1:] for layer in found.values()] == [
        (8, 24, 24), (8, 24, 24), (8, 12, 12), (16, 12, 12), (16, 12, 12), (16, 4, 4), (256,), (10,), (10,)
    ]  # fmt: skip
    assert [found[name].params for name in ("conv1", "conv2", "fc")] == [208, 3216, 2570]


# AlexNet and VGG ----------------------------------------------------------------------------------------------------


def test_alexnet_2012_has_the_parameters_of_the_caffe_model(analyze):
    params = {name: layer.params for name, layer in layers(analyze("alexnet_2012")).items() if layer.params}
    assert params == {
        "conv1": 34_944,
        "conv2": 307_456,
        "conv3": 885_120,
        "conv4": 663_936,
        "conv5": 442_624,
        "fc6": 37_752_832,
        "fc7": 16_781_312,
        "fc8": 4_097_000,
    }


def test_alexnet_2012_finds_the_slips_of_its_paper(analyze):
    wrong = {(row.figure, row.layer): row for row in published_rows(analyze("alexnet_2012")) if not row.agrees}
    assert set(wrong) == {("inputs", ""), ("outputs", "conv1"), ("params", ""), ("neurons", "")}
    assert wrong["outputs", "conv1"].value == 55 * 55 * 96
    assert wrong["inputs", ""].value == 227 * 227 * 3


def test_the_lecture_compares_alexnet_with_vgg16():
    _, ratios = cnnstat.compare("alexnet", "vgg16").ratios
    assert round(ratios["weighted_activation_bytes"], 1) == 27.4
    assert round(ratios["params"], 2) == 2.26
    assert round(ratios["macs"], 1) == 21.7


def test_the_lectures_slide_left_out_one_convolution(analyze):
    rows = [row for row in published_rows(analyze("vgg16")) if not row.agrees]
    assert [(row.printed, row.exact) for row in rows] == [("13.6 GFLOP", "15.47 G"), ("48.6 MB", "51.71 MiB")]
    conv = layers(analyze("vgg16"))["conv3_2"]
    totals = analyze("vgg16").totals
    assert round((totals.macs - conv.macs) / 1e9, 1) == 13.6
    assert round((totals.memory.weighted_activation_bytes - conv.output_bytes) / 2**20, 2) == 48.65


def test_vgg16_names_its_layers_as_caffe_does(analyze):
    names = [layer.name for layer in analyze("vgg16").layers if layer.params]
    assert names == [
        "conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3",
        "conv4_1", "conv4_2", "conv4_3", "conv5_1", "conv5_2", "conv5_3", "fc6", "fc7", "fc8",
    ]  # fmt: skip
    conv5_3 = layers(analyze("vgg16"))["conv5_3"]
    assert conv5_3.receptive_field.size == (196, 196)
    assert conv5_3.output_shape == (1, 512, 14, 14)
    assert layers(analyze("vgg16"))["conv1_1"].receptive_field.start == (-1, -1)


# Families: a child differs from what it extends only as it should ---------------------------------------------------


@pytest.mark.parametrize(("child", "depths"), [("vgg11", 8), ("vgg13", 10), ("vgg19", 16)])
def test_vgg_children_change_the_depths_only(child, depths):
    layers, parent = written(cnnstat.load(child)), written(cnnstat.load("vgg16"))
    assert sum(text.startswith("Conv2d") for text in layers.values()) == depths
    assert all(layers[name] == parent[name] for name in layers.keys() & parent.keys())
    assert all(name.startswith(("conv", "relu")) for name in layers.keys() ^ parent.keys())


@pytest.mark.parametrize("name", ["vgg11", "vgg13", "vgg16", "vgg19"])
def test_vgg_bn_adds_nothing_but_batch_norm(name):
    plain, normalized = written(cnnstat.load(name)), written(cnnstat.load(f"{name}_bn"))
    assert [n for n, op in normalized.items() if op != "BatchNorm2d"] == list(plain)
    convolutions = sum(op.startswith("Conv2d") for op in plain.values())
    assert len(normalized) - len(plain) == convolutions


@pytest.mark.parametrize("depth", [50, 101, 152])
def test_resnet_v1_moves_three_strides_only(depth):
    ours, paper = written(cnnstat.load(f"resnet{depth}")), written(cnnstat.load(f"resnet{depth}_v1"))
    assert list(ours) == list(paper)
    moved = {name: (ours[name], paper[name]) for name in ours if ours[name] != paper[name]}
    assert set(moved) == {f"layer{stage}.0.conv{i}" for stage in (2, 3, 4) for i in (1, 2)}
    assert all(("stride=2" in a) is not ("stride=2" in b) for a, b in moved.values())


@pytest.mark.parametrize("depth", [18, 34])
def test_plain_nets_leave_out_the_shortcuts_only(depth):
    residual, plain = written(cnnstat.load(f"resnet{depth}")), written(cnnstat.load(f"plain{depth}"))
    rest = {name: op for name, op in residual.items() if name[-4:] != ".add" and "downsample" not in name}
    assert plain == rest


@pytest.mark.parametrize(
    ("child", "parent"), [("resnet34", "resnet18"), ("resnet101", "resnet50"), ("resnet152", "resnet50")]
)
def test_deeper_resnets_add_blocks_only(child, parent):
    deep, shallow = written(cnnstat.load(child)), written(cnnstat.load(parent))
    assert shallow.items() <= deep.items()


@pytest.mark.parametrize("name", ["vgg13", "vgg16_bn", "resnet101", "resnet50_v1", "plain34"])
def test_children_do_not_inherit_published_figures_and_titles(name, analyze):
    graph = analyze(name).graph
    parent = {"vgg13": "vgg16", "vgg16_bn": "vgg16", "plain34": "plain18", "resnet50_v1": "resnet50"}
    above = analyze(parent.get(name, "resnet50")).graph
    assert graph.about["title"] != above.about["title"]
    own = {figure["location"].file for figure in graph.about["published"]}
    assert own == {f"{name}.yaml"}


def test_the_blocks_of_a_resnet_are_scopes(analyze):
    blocks = analyze("resnet50").graph.blocks
    assert blocks["layer1"] == "stage"
    assert blocks["layer1.0"] == "bottleneck"
    assert blocks["layer1.0.downsample"] == "projection"


def test_classes_can_be_set():
    assert cnnstat.analyze("resnet101", variables={"classes": 10}).layers[-1].output_shape == (1, 10)


# Other tasks and dimensions -----------------------------------------------------------------------------------------


def test_unet_has_the_sizes_of_figure_1(analyze):
    found = layers(analyze("unet"))
    shapes = {name: layer.output_shape[1:] for name, layer in found.items()}
    assert shapes["down1.conv2"] == (64, 568, 568)
    assert shapes["down4.conv2"] == (512, 64, 64)
    assert shapes["bottom.conv2"] == (1024, 28, 28)
    assert shapes["up4.upconv"] == (512, 56, 56)
    assert shapes["up4.concat"] == (1024, 56, 56)
    assert shapes["up1.concat"] == (128, 392, 392)
    assert shapes["output"] == (2, 388, 388)
    assert found["up1.concat"].inputs == ("up1.crop", "up1.upconv")
    assert found["up1.crop"].inputs == ("down1.relu2", "up1.upconv")


def test_unet_sees_204_pixels_where_its_up_convolutions_are_least_aligned(analyze):
    field = analyze("unet").totals.receptive_field
    assert field.size == (204, 204)
    assert field.stride == (1, 1)
    assert field.start == (0, 0)


def test_m5_has_the_lengths_of_its_table(analyze):
    found = layers(analyze("m5"))
    lengths = {name: layer.output_shape[2] for name, layer in found.items() if len(layer.output_shape) == 3}
    assert lengths["conv1"] == 8000
    assert [lengths[f"pool{i}"] for i in (1, 2, 3, 4)] == [2000, 500, 125, 32]
    norms = 2 * (128 + 128 + 256 + 512)
    convolutions = (80 + 1) * 128 + (128 * 3 + 1) * 128 + (128 * 3 + 1) * 256 + (256 * 3 + 1) * 512
    assert analyze("m5").totals.params == convolutions + norms + (512 + 1) * 10
    products = 8000 * 128 * 80 + 2000 * 128 * 128 * 3 + 500 * 256 * 128 * 3 + 125 * 512 * 256 * 3 + 5120
    assert analyze("m5").totals.macs == products


def test_c3d_has_the_volumes_and_parameters_of_the_caffe_model(analyze):
    found = layers(analyze("c3d"))
    volumes = [found[f"pool{i}"].output_shape[1:] for i in range(1, 6)]
    assert volumes == [(64, 16, 56, 56), (128, 8, 28, 28), (256, 4, 14, 14), (512, 2, 7, 7), (512, 1, 4, 4)]
    assert [layer.params for layer in found.values() if layer.params] == [
        5_248, 221_312, 884_992, 1_769_728, 3_539_456, 7_078_400, 7_078_400, 7_078_400,
        33_558_528, 16_781_312, 1_995_239,
    ]  # fmt: skip


# Beside torchvision -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    """torchvision's models on the meta device, every one once."""
    known = {}

    def build(name):
        if name not in known:
            with torch.device("meta"):
                known[name] = getattr(torchvision.models, name)().eval()
        return known[name]

    return build


def tensors(graph, facet):
    """Name and shape of all weights or buffers of a graph, in order; buffers are those that PyTorch counts."""
    shapes = cnnstat.analyze(graph).values.inputs
    return [
        (f"{node.name}.{name}", tuple(shape))
        for node, inputs in zip(graph.nodes, shapes)
        for name, shape in getattr(node.op, facet)(inputs).items()
    ]


@needs_torchvision
@pytest.mark.parametrize("name", TORCHVISION)
def test_tensors_are_those_of_torchvision(name, model):
    graph = cnnstat.load(name)
    for ours, theirs in (
        (tensors(graph, "weights"), model(name).named_parameters()),
        (tensors(graph, "buffers"), model(name).named_buffers()),
    ):
        expected = [(key, tuple(tensor.shape)) for key, tensor in theirs]
        if name not in RESNETS:  # their layers have numbers there and the paper's names here
            ours, expected = ([shape for _, shape in tensors] for tensors in (ours, expected))
        assert ours == expected


@needs_torchvision
@pytest.mark.parametrize("name", TORCHVISION)
def test_work_and_shapes_are_those_of_torchvision(name, model, analyze):
    called = []

    def note(key, module):
        return lambda _, __, output: called.append((key, type(module).__name__, tuple(output.shape)))

    leaves = [(key, module) for key, module in model(name).named_modules() if not list(module.children())]
    hooks = [module.register_forward_hook(note(key, module)) for key, module in leaves]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(name)(torch.empty(1, 3, 224, 224, device="meta"))
    for hook in hooks:
        hook.remove()
    analysis = analyze(name)
    assert 2 * analysis.totals.macs == counter.get_total_flops()
    functions = ("Add", "Flatten")  # no modules there
    ours = [
        (layer.name.rstrip("123") if ".relu" in layer.name else layer.name, layer.op.kind, layer.output_shape)
        for layer in analysis.layers
        if layer.op.kind not in functions
    ]
    if name not in RESNETS:
        ours, called = ([rest for _, *rest in rows] for rows in (ours, called))
    assert ours == called


def test_the_zoo_is_sorted_as_people_count():
    names = zoo.names()
    assert [name for name in names if name.startswith("vgg") and "_" not in name] == [
        "vgg11",
        "vgg13",
        "vgg16",
        "vgg19",
    ]
    assert names.index("resnet18") < names.index("resnet50_v1") < names.index("resnet101") < names.index("resnet152")
