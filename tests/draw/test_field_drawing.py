"""Fields: the box of one output on the input, to scale, with padding, lattice and photo."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from drawings import SVG

import cnnstat

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def rectangles(drawing: str, parent: str) -> list[tuple[float, float, float, float]]:
    """Return x, y, width and height of the rectangles in groups of a class."""
    found = []
    for group in ET.fromstring(drawing).iter(f"{SVG}g"):
        if group.get("class") == parent:
            found += [
                tuple(float(each.get(name, "")) for name in ("x", "y", "width", "height"))
                for each in group.iter(f"{SVG}rect")
            ]
    return found


def plane(drawing: str) -> tuple[float, float, float, float]:
    (found,) = (each for each in ET.fromstring(drawing).iter(f"{SVG}rect") if each.get("class") == "plane")
    return tuple(float(found.get(name, "")) for name in ("x", "y", "width", "height"))


@pytest.mark.parametrize(("source", "layer"), [("vgg16", "conv3_3"), ("resnet18", "layer2.1.relu2"), ("lenet5", "C3")])
def test_the_box_is_as_large_as_the_field_and_stands_where_it_is(source: str, layer: str) -> None:
    analysis = cnnstat.analyze(source)
    field = analysis[layer].receptive_field
    assert field is not None and None not in field.stride
    ((x, y, width, height),) = rectangles(cnnstat.draw(analysis, field=layer), "field")
    left, top, wide, high = plane(cnnstat.draw(analysis, field=layer))
    pixels = analysis.graph.inputs[0].shape[2:]
    scale = wide / pixels[1]
    assert (width / scale, height / scale) == pytest.approx(field.size, abs=0.2)
    middle = [size // 2 for size in analysis[layer].output_shape[2:]]
    starts = [float(start + index * step) for start, index, step in zip(field.start, middle, field.stride)]  # type: ignore[operator]
    assert ((y - top) / scale, (x - left) / scale) == pytest.approx(starts, abs=0.3)


def test_what_fields_reach_beyond_the_input_is_hatched_as_large() -> None:
    # Araujo et al. 2019: a field of 212 with stride 32 reaches (212 − 32) / 2 = 90 pixels beyond the input of VGG-16.
    drawing = cnnstat.draw("vgg16", field="pool5")
    ((x, _, width, _),) = rectangles(drawing, "beyond")
    left, _, wide, _ = plane(drawing)
    assert ((left - x) / wide * 224, width / wide * 224) == pytest.approx((90, 404), abs=0.5)


def test_several_layers_stand_side_by_side_on_one_scale() -> None:
    widths = [
        width for _, _, width, _ in rectangles(cnnstat.draw("vgg16", field=["conv1_1", "conv2_2", "conv3_3"]), "field")
    ]
    assert [round(width / widths[0] * 3) for width in widths] == [3, 14, 40]


def test_a_photo_is_embedded_and_nothing_is_loaded(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(PIXEL)
    drawing = cnnstat.draw("resnet18", field="layer1.0.conv1", image=photo)
    (image,) = ET.fromstring(drawing).iter(f"{SVG}image")
    assert image.get("href", "").startswith("data:image/png;base64,iVBOR")
    assert drawing == cnnstat.draw("resnet18", field="layer1.0.conv1", image=photo)


def test_inputs_of_one_and_of_three_axes_are_drawn() -> None:
    for source, layer in (("m5", "conv3"), ("c3d", "conv3a")):
        drawing = cnnstat.draw(source, field=layer)
        assert len(rectangles(drawing, "field")) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"field": "fc6"}, "every output depends on the whole input"),
        ({"field": "conv9"}, "has no layer conv9"),
        ({"field": "conv1_1", "image": "none.png"}, "--image none.png: cannot be read"),
        ({"field": "conv1_1", "image": __file__}, "is neither PNG nor JPEG"),
        ({"field": "conv1_1", "by": "macs"}, "it goes with --image alone"),
        ({"image": __file__}, "name a layer"),
    ],
)
def test_what_has_no_field_is_one_clear_line(options: dict[str, str], said: str) -> None:
    with pytest.raises(cnnstat.CnnstatError) as error:
        cnnstat.draw("vgg16", **options)  # type: ignore[arg-type]
    assert said.replace("--image", "image") in str(error.value).replace("--image", "image")
    assert "\n" not in str(error.value)


JPEG = (
    b"\xff\xd8\xff\xe0\x00\x04\x00\x00"  # a segment of two bytes
    b"\xff\xc0\x00\x0b\x08\x00\x02\x00\x03\x01\x01\x11\x00"  # a frame of 3 × 2
    b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\x2a\xff\xd9"  # a scan
)


@pytest.mark.parametrize(("content", "name"), [(PIXEL, "PNG"), (JPEG, "JPEG")])
def test_broken_photos_are_refused(tmp_path: Path, content: bytes, name: str) -> None:
    photo = tmp_path / "photo"
    photo.write_bytes(content + b"more")
    assert "data:image/" in cnnstat.draw("vgg16", field="conv1_1", image=photo)
    sizes = PIXEL.index(b"IHDR") + 4 if name == "PNG" else JPEG.index(b"\xff\xc0") + 5
    empty = content[:sizes] + bytes(8 if name == "PNG" else 4) + content[sizes + (8 if name == "PNG" else 4) :]
    for broken in (*(content[:length] for length in range(8, len(content))), empty):
        photo.write_bytes(broken)
        with pytest.raises(cnnstat.CnnstatError, match=f"is a damaged {name}, cut off perhaps; save it again"):
            cnnstat.draw("vgg16", field="conv1_1", image=photo)


@pytest.mark.parametrize("place", [PIXEL.index(b"IHDR") + 16, PIXEL.index(b"IDAT") + 6, PIXEL.index(b"IEND") - 4])
def test_changed_bytes_of_a_png_are_seen(tmp_path: Path, place: int) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(PIXEL[:place] + bytes([PIXEL[place] ^ 1]) + PIXEL[place + 1 :])
    with pytest.raises(cnnstat.CnnstatError, match="damaged PNG"):
        cnnstat.draw("vgg16", field="conv1_1", image=photo)
