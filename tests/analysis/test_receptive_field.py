"""Receptive fields of whole graphs: published values, merges, and what sees the whole input."""

from fractions import Fraction

import pytest
from graph_builder import VGG, Builder, alexnet_features, fields_of, resnet_features, total, unet, vgg_features

from cnnstat.ir.graph import Edge
from cnnstat.ops.adaptive_pool import AdaptiveAvgPool2d
from cnnstat.ops.conv import Conv1d, Conv2d, Conv3d, ConvTranspose2d
from cnnstat.ops.join import Add, Concat
from cnnstat.ops.padding import ConstantPad1d
from cnnstat.ops.pool import AvgPool2d, MaxPool2d
from cnnstat.ops.rectifier import ReLU
from cnnstat.ops.reorder import Permute, PixelShuffle
from cnnstat.ops.resize import ResizeLike
from cnnstat.ops.shape import Flatten
from cnnstat.ops.slicing import CropLike, Slice
from cnnstat.ops.softmax import Softmax


def named(fields, name):
    """The receptive field of a layer."""
    names = [node.name for node in fields.graph.nodes]
    return fields.of(fields.graph.arity + names.index(name))


# Published values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "size"), [(11, 150), (13, 156), (16, 212), (19, 268)])
def test_vgg(depth, size):
    found = total(vgg_features(depth))
    assert found.size == (size, size)
    assert found.stride == (32, 32)
    assert found.exact
    assert found.aligned
    assert found.centred
    assert not found.global_context


def test_vgg16_layer_by_layer():
    fields = fields_of(vgg_features(16))
    sizes = [fields.of(value).size[0] for value in range(1, 19)]
    assert sizes == [3, 5, 6, 10, 14, 16, 24, 32, 40, 44, 60, 76, 92, 100, 132, 164, 196, 212]
    assert named(fields, "conv5_3").size == (196, 196)
    assert named(fields, "conv1_1").start == (-1, -1)
    assert named(fields, "conv1_2").start == (-2, -2)
    assert named(fields, "pool1").stride == (2, 2)


def test_alexnet():
    found = total(alexnet_features())
    assert found.size == (195, 195)
    assert found.stride == (32, 32)


@pytest.mark.parametrize(("depth", "size"), [(18, 435), (34, 899), (50, 427), (101, 971), (152, 1451)])
def test_resnet(depth, size):
    found = total(resnet_features(depth))
    assert found.size == (size, size)
    assert found.stride == (32, 32)
    assert found.aligned
    assert found.centred


def test_resnet50_with_the_stride_of_the_paper():
    assert total(resnet_features(50, stride_in_first=True)).size == (483, 483)


def test_a_classifier_reports_its_last_map():
    builder = vgg_features(16)
    last = builder.last
    builder.chain(ReLU(), AdaptiveAvgPool2d(1), Flatten())
    fields = fields_of(builder)
    assert fields.total.size == (212, 212)
    assert fields.total_at == Edge(last.value + 1)
    assert fields.of(builder.last.value) is None
    assert fields.sees_whole_input(builder.last.value)
    assert not fields.sees_whole_input(last.value)


def test_a_map_of_one_position_is_no_last_map_but_may_be_the_result():
    builder = Builder((1, 3, 14, 14))
    builder.chain(Conv2d(4, 3, 2, 1), AvgPool2d(7))
    assert total(builder).size == (15, 15)
    builder.add(Flatten())
    fields = fields_of(builder)
    assert fields.total.size == (3, 3)
    assert fields.of(2).size == (15, 15)
    single = Builder((1, 3, 5, 5))
    single.chain(Conv2d(4, 5), Flatten())
    assert total(single).size == (5, 5)


def test_axes_are_independent():
    builder = Builder((1, 2, 20, 30, 40))
    builder.chain(Conv3d(2, (1, 3, 7), (1, 2, 3), (0, 1, 3)), Conv3d(2, (3, 1, 2)))
    found = total(builder)
    assert found.size == (3, 3, 10)
    assert found.stride == (1, 2, 3)
    assert found.start == (0, -1, -3)


def test_permuted_axes_are_followed():
    builder = Builder((1, 2, 20, 30))
    builder.chain(Conv2d(2, (3, 5)), Permute((0, 1, 3, 2)), Conv2d(2, (7, 1)))
    assert total(builder).size == (3, 11)


def test_same_padding_puts_the_odd_pixel_right():
    builder = Builder((1, 2, 20))
    builder.add(Conv1d(2, 4, padding="same"))
    assert total(builder).start == (-1,)


# Up again -----------------------------------------------------------------------------------------------------------


def test_a_two_by_two_transposed_convolution_keeps_the_field():
    builder = Builder((1, 3, 32, 32))
    builder.chain(Conv2d(4, 3, padding=1), MaxPool2d(2), Conv2d(4, 3, padding=1))
    before = total(builder)
    builder.add(ConvTranspose2d(4, 2, stride=2))
    after = total(builder)
    assert before.size == after.size == (8, 8)
    assert (before.stride, after.stride) == ((2, 2), (1, 1))
    assert after.exact


def test_a_unet_is_aligned_and_centred():
    found = total(unet(4, 128, lambda: ConvTranspose2d(1, 2, stride=2)))
    assert found.exact
    assert found.aligned
    assert found.centred
    assert found.stride == (1, 1)
    assert found.size == (110, 110)


def test_the_tile_of_the_unet_paper():
    builder = Builder((1, 1, 572, 572))
    skips = []
    for _ in range(4):
        skips.append(builder.chain(Conv2d(1, 3), Conv2d(1, 3)))
        builder.add(MaxPool2d(2))
    builder.chain(Conv2d(1, 3), Conv2d(1, 3))
    while skips:
        up = builder.add(ConvTranspose2d(1, 2, stride=2))
        builder.add(Concat(), builder.add(CropLike(), skips.pop(), up), up)
        builder.chain(Conv2d(1, 3), Conv2d(1, 3))
    fields = fields_of(builder)
    value = builder.last.value
    # Ronneberger et al. 2015, figure 1: 388 × 388 outputs need a tile of 572 × 572.
    assert fields.values.outputs[value][0][2:] == (388, 388)
    assert fields.inside_share(value) == 1
    (_, (_, field)), _ = fields.followed(value)
    assert field.at(0)[0] == 0
    assert field.at(387)[1] == 571


def test_sub_pixel_convolution():
    builder = Builder((1, 1, 16, 16))
    builder.chain(Conv2d(4, 5, padding=2), PixelShuffle(2), Conv2d(1, 3, padding=1))
    found = total(builder)
    assert found.size == (6, 6)
    assert found.stride == (Fraction(1, 2), Fraction(1, 2))


# Merges -------------------------------------------------------------------------------------------------------------


def test_branches_of_different_padding_are_not_centred():
    builder = Builder((1, 1, 32))
    left = builder.add(ConstantPad1d((2, 0), 0.0))
    left = builder.add(Conv1d(1, 3), left)
    right = builder.add(Conv1d(1, 3, padding=1), Edge(0))
    builder.add(Add(), left, right)
    builder.add(Conv1d(1, 3, padding=1))
    found = total(builder)
    assert not found.centred
    assert found.aligned
    assert found.size == (6,)
    assert found.start == (-3,)


def test_branches_of_different_stride_are_not_aligned():
    builder = Builder((1, 1, 64))
    fast = builder.add(Conv1d(1, 1, 4), Edge(0))
    slow = builder.add(Conv1d(1, 3, 2, 1), Edge(0))
    slow = builder.add(Slice(2, 0, 16), slow)
    builder.add(Add(), fast, slow, name="merge")
    builder.add(Conv1d(1, 3, padding=1), name="after")
    fields = fields_of(builder)
    found = fields.total
    assert not found.aligned
    assert found.stride == (None,)
    assert found.misaligned_at == "merge"
    assert found.exact
    # Output 7 is the centre of 16: it reads 24, 28, 32 through one branch and 11 … 17 through the other.
    assert found.size == (32 - 11 + 1,)
    assert found.start == (-4,)


def test_inputs_of_equal_rank_share_their_coordinates():
    builder = Builder((1, 1, 16, 16), (1, 1, 16, 16))
    left, right = builder.add(Conv2d(1, 3, padding=1), Edge(0)), builder.add(Conv2d(1, 7, padding=3), Edge(1))
    builder.add(Add(), left, right)
    assert total(builder).size == (7, 7)


def test_a_vector_beside_an_image_changes_nothing():
    builder = Builder((1, 1, 16, 16), (1, 4))
    image = builder.add(Conv2d(4, 3, padding=1), Edge(0))
    vector = builder.add(Softmax(1), Edge(1))
    fields = fields_of(builder, image, vector)
    assert fields.of(vector.value) is None
    assert not fields.sees_whole_input(vector.value)
    assert not fields.total.global_context


def test_tokens_are_followed_along_their_positions():
    builder = Builder((2, 16), dtypes=("int64",))
    assert fields_of(builder).of(0).size == (1,)
    assert fields_of(Builder((2, 16))).of(0) is None


def test_the_size_reference_of_a_resize_is_not_read():
    builder = Builder((1, 1, 16, 16))
    small = builder.add(AvgPool2d(4))
    wide = builder.add(Conv2d(1, 7, padding=3), Edge(0))
    builder.add(ResizeLike("nearest"), small, wide)
    found = total(builder)
    assert found.size == (4, 4)
    assert found.aligned


def test_share_of_outputs_inside_the_input():
    builder = Builder((1, 1, 10, 20))
    builder.add(Conv2d(1, 3, padding=1))
    builder.add(Conv2d(1, 5, padding=2))
    fields = fields_of(builder)
    assert fields.inside_share(1) == Fraction(8 * 18, 10 * 20)
    assert fields.inside_share(2) == Fraction(4 * 14, 10 * 20)
    assert fields.inside_share(0) == 1


@pytest.mark.parametrize("depth", VGG)
def test_every_first_field_starts_in_the_padding(depth):
    assert named(fields_of(vgg_features(depth)), "conv1_1").start == (-1, -1)
