"""Colours: all text can be read on all boxes, and all boxes can be seen on the page, in light and dark."""

from __future__ import annotations

import pytest

from cnnstat.draw import colours


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


BOXES = [*colours.FAMILIES.values(), colours.BLOCK, colours.INPUT]


@pytest.mark.parametrize("box", BOXES)
def test_text_on_boxes_has_a_contrast_of_four_and_a_half(box: colours.Colour) -> None:
    for ink in (colours.INK, colours.PALE_INK):
        assert contrast(ink, box.fill) >= 4.5
    for ink in (colours.DARK_INK, colours.DARK_PALE_INK):
        assert contrast(ink, box.dark_fill) >= 4.5


@pytest.mark.parametrize("box", BOXES)
def test_edges_of_boxes_can_be_seen(box: colours.Colour) -> None:
    assert contrast(box.stroke, colours.PAPER) >= 3 and contrast(box.dark_stroke, colours.DARK_PAPER) >= 3


def test_text_and_lines_on_the_page_can_be_read() -> None:
    for ink in (colours.INK, colours.PALE_INK, colours.LINE):
        assert contrast(ink, colours.PAPER) >= 4.5
    for ink in (colours.DARK_INK, colours.DARK_PALE_INK, colours.DARK_LINE):
        assert contrast(ink, colours.DARK_PAPER) >= 4.5
