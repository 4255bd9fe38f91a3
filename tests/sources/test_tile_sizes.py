"""Tiles: by hand, from papers, and by running them against the whole image."""

from contextlib import suppress

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
    assert (found.smallest, found.smallest_like) == (204, 204)


def test_of_other_alignments_the_smallest_tile_is_another():
    # Maps of odd sizes are cropped elsewhere: 204 inputs are exact beside tiles of 572, and not beside those of 512.
    assert height("unet", "512").smallest_like == 208


def test_what_is_cut_off_has_to_be_made(tmp_path):
    found = height(spec(tmp_path, "Conv2d(1, 3, padding=1)", "Slice(2, start=2, end=-3)"), "20x20")
    assert (found.first, found.valid, found.smallest, found.halo) == (0, 15, 6, (2, 3))


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


NETWORKS = (
    "skip", "skip without padding", "twice", "residual", "cropped", "dilated", "transposed", "transposed by 3",
    "dilated transposed", "ceil_mode", "same", "bilinear", "shuffled", "reflected", "averaged",
)  # fmt: skip


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

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(1, 2, 7, stride=2, padding=3)
            self.first = nn.Conv2d(2, 2, 3, stride=2, padding=1)
            self.shortcut = nn.Conv2d(2, 2, 1, stride=2)

        def forward(self, x):
            x = nn.functional.max_pool2d(torch.relu(self.stem(x)), 3, 2, 1)
            return torch.relu(self.first(x) + self.shortcut(x))

    class Cropped(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x):
            return self.conv(x)[:, :, 2:-3, 1::2]

    one, two, conv, up = (1, 2), (2, 1), nn.Conv2d, nn.ConvTranspose2d
    networks = {
        "skip": Skip(1),
        "skip without padding": Skip(0),
        "twice": Twice(),
        "residual": Residual(),
        "cropped": Cropped(),
        "dilated": nn.Sequential(conv(*one, 3, padding=1), conv(*two, 3, padding=4, dilation=4)),
        "transposed": nn.Sequential(conv(*one, 3, 2, 1), nn.ReLU(), up(*two, 3, 2, 1, 1)),
        "transposed by 3": nn.Sequential(conv(*one, 3, padding=1), up(*two, 2, 3)),
        "dilated transposed": up(1, 1, 3, 2, 1, dilation=2),
        "ceil_mode": nn.Sequential(
            conv(*one, 3, padding=1), nn.MaxPool2d(3, 2, ceil_mode=True), conv(*two, 3, padding=1)
        ),
        "same": nn.Sequential(conv(*one, 4, padding="same"), conv(*two, 3, padding="same", dilation=3)),
        "bilinear": nn.Sequential(conv(*one, 3, 2, 1), nn.Upsample(scale_factor=2, mode="bilinear"), conv(*two, 3)),
        "shuffled": nn.Sequential(conv(1, 4, 3, padding=1), nn.PixelShuffle(2), conv(1, 1, 3, padding=1)),
        "reflected": conv(1, 1, 5, padding=2, padding_mode="reflect"),
        "averaged": nn.Sequential(nn.ZeroPad2d((2, 0, 2, 0)), nn.AvgPool2d(4, 2, 1), conv(1, 1, 3, padding=1)),
    }
    generator = torch.Generator().manual_seed(0)
    for network in networks.values():
        network.double().eval()
        for parameter in network.parameters():
            parameter.data = torch.randint(1, 9, parameter.shape, generator=generator).double()
    return networks


@pytest.mark.parametrize("size", [36, 41])
@pytest.mark.parametrize("name", NETWORKS)
def test_tiles_give_what_the_whole_image_gives(name, size):
    torch = pytest.importorskip("torch")
    network = small_networks(torch)[name]
    if name.startswith("skip") and size % 2:  # its branches only fit for even sizes
        size += 1
    found = height(network, f"{size}", input=(1, 1, size, size))
    length = size + 6 * found.step
    image = torch.randint(1, 99, (1, 1, length, size), generator=torch.Generator().manual_seed(1)).double()

    def exact(start, size):
        """Which outputs of a tile are what the whole image gives, and the number of its first one there."""
        tile, offset = network(image[:, :, start : start + size]), start // found.advance * found.period
        rows = [torch.equal(tile[:, :, row], whole[:, :, row + offset]) for row in range(tile.shape[2])]
        return rows, offset

    with torch.no_grad():
        whole = network(image)
        covered = set()
        for start in range(0, length - size + 1, found.step):
            rows, offset = exact(start, size)
            last = found.first + found.valid
            assert all(rows[found.first : last]) and len(rows) == found.outputs
            if 0 < start < length - size:  # one more on either side is not what the whole image gives, or there is none
                assert not any(rows[max(found.first - 1, 0) : found.first]) and not any(rows[last : last + 1])
            covered.update(range(found.first + offset, last + offset))
        assert covered == set(range(min(covered), max(covered) + 1))
        inside, smallest = 2 * found.step // found.advance * found.advance, found.smallest_like
        assert phases(*exact(inside, smallest), found.period) == set(range(found.period))
        with suppress(RuntimeError):  # a tile that is smaller by one step may not run at all
            assert phases(*exact(inside, smallest - found.advance), found.period) < set(range(found.period))


def phases(rows, offset, period):
    """The places in the period of a tile's exact outputs."""
    return {(row + offset) % period for row, is_exact in enumerate(rows) if is_exact}


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
