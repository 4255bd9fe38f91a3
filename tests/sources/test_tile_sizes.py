"""Tiles: by hand, from papers, and by running them against the whole image."""

import pytest

from cnnstat.errors import CnnstatError
from cnnstat.sources.load import model_reference, named_model
from cnnstat.sources.request import Request
from cnnstat.sources.tile_sizes import tiles_of


def height(source, sizes, **options):
    """The tiles along the first axis of the only result."""
    model = model_reference(source, **options) if options else named_model(source, Request())
    ((axes),) = tiles_of(model, sizes).results.values()
    return axes[0]


def spec(tmp_path, *layers):
    path = tmp_path / "net.yaml"
    path.write_text("input: [1, 32, 32]\nlayers:\n" + "".join(f"  - {layer}\n" for layer in layers))
    return str(path)


def test_unet_needs_188_or_204_by_phase():
    found = height("unet", "572x572")
    assert dict(found.needed) == {188: 4, 204: 12}
    assert (found.outputs, found.valid, found.first) == (388, 388, 0)  # Ronneberger et al. 2015, figure 1
    assert (found.halo, found.step, found.period, found.advance) == ((92, 92), 384, 16, 16)
    assert found.smallest == 204


def test_convolutions_that_pad_lose_their_reach_on_both_sides(tmp_path):
    found = height(spec(tmp_path, "Conv2d(1, 3, padding=1)", "Conv2d(1, 5, padding=2)"), "32")
    assert (found.halo, found.first, found.valid, found.step) == ((3, 3), 3, 26, 26)
    assert (dict(found.needed), found.smallest) == ({7: 1}, 7)


def test_strides_count_in_inputs(tmp_path):
    found = height(spec(tmp_path, "Conv2d(1, 3, stride=4, padding=1)"), "32x32")
    assert (found.first, found.valid, found.step, found.step_outputs) == (1, 7, 28, 7)
    assert found.halo == (4, 0)


@pytest.mark.parametrize(
    ("layers", "sizes", "message"),
    [
        (["GlobalAvgPool"], "32", "every position of pool1 depends on the whole input"),
        (["Conv2d(1, 3, padding=1)", "InstanceNorm2d"], "32", "gates or statistics over space"),
        (["Conv2d(1, 9, padding=4)"], "8", "tiles of 8 inputs are too small; outputs of every phase are exact from 9"),
        (["Upsample(scale_factor=2, mode=bilinear, align_corners=true)"], "32", "depends on the size of the input"),
        (["ReLU"], "32x32x32", "--tiles 32x32x32: write 2 sizes"),
    ],
)
def test_what_cannot_be_tiled_is_one_line(tmp_path, layers, sizes, message):
    with pytest.raises(CnnstatError) as caught:
        height(spec(tmp_path, *layers), sizes)
    assert message in str(caught.value) and "\n" not in str(caught.value)


# By running them -----------------------------------------------------------------------------------------------------


def small_networks(torch):
    """Networks that pool, upsample and skip, with whole numbers for weights, so that sums are exact in any order."""
    nn = torch.nn

    class Skip(nn.Module):
        def __init__(self, padding):
            super().__init__()
            self.first = nn.Conv2d(1, 2, 3, padding=padding)
            self.middle = nn.Conv2d(2, 2, 3, padding=1)
            self.up = nn.ConvTranspose2d(2, 2, 2, stride=2)
            self.last = nn.Conv2d(4, 1, 3, padding=padding)

        def forward(self, x):
            skip = torch.relu(self.first(x))
            deep = torch.relu(self.middle(nn.functional.max_pool2d(skip, 2)))
            return self.last(torch.cat((skip, self.up(deep)), 1))

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(1, 2, 3, stride=2, padding=1)
            self.last = nn.Conv2d(2, 1, 3, padding=2, dilation=2)

        def forward(self, x):
            return self.last(nn.functional.interpolate(self.first(x), scale_factor=3, mode="nearest"))

    networks = (Skip(1), Skip(0), Twice())
    generator = torch.Generator().manual_seed(0)
    for network in networks:
        network.double().eval()
        for parameter in network.parameters():
            parameter.data = torch.randint(-3, 4, parameter.shape, generator=generator).double()
    return networks


@pytest.mark.parametrize("number", range(3))
def test_tiles_give_what_the_whole_image_gives(number):
    torch = pytest.importorskip("torch")
    network, size = small_networks(torch)[number], 24
    found = height(network, f"{size}", input=(1, 1, size, size))
    image = torch.randint(
        -9, 9, (1, 1, size + 5 * found.step, size), generator=torch.Generator().manual_seed(1)
    ).double()
    with torch.no_grad():
        whole = network(image)
        covered = set()
        for start in range(0, image.shape[2] - size + 1, found.step):
            tile = network(image[:, :, start : start + size])
            offset = start // found.advance * found.period
            inside = slice(found.first, found.first + found.valid)
            moved = slice(inside.start + offset, inside.stop + offset)
            assert torch.equal(tile[:, :, inside], whole[:, :, moved])
            if start > 0:  # one output more before the valid ones is not what the whole image gives, or there is none
                before = found.first - 1
                assert before < 0 or not torch.equal(tile[:, :, before], whole[:, :, before + offset])
            covered.update(range(moved.start, moved.stop))
    assert covered == set(range(min(covered), max(covered) + 1))


def test_models_of_pytorch_are_loaded_at_the_size_of_a_tile():
    torchvision = pytest.importorskip("torchvision")
    model = torchvision.models.vgg11(weights=None).features
    found = height(model, "256", input=(1, 3, 64, 64))
    assert (found.size, found.advance, found.period) == (256, 32, 1)


@pytest.mark.parametrize("text", ["x", "", "1e9", "512x", "-1"])
def test_sizes_that_are_none_are_told_by_the_name_of_their_option(text):
    with pytest.raises(CnnstatError, match="^--tiles .*: write sizes without batch and channels"):
        tiles_of(named_model("unet", Request()), text)


def test_the_table_of_tiles_fits_80_columns():
    from cnnstat.report.formats.terminal import text
    from cnnstat.report.subjects.tiles import document

    table = text(document(tiles_of(named_model("unet", Request()), "572")), 80, None)
    assert max(map(len, table.splitlines())) <= 80
