"""Picture files: vector graphics written as SVG, and with the extra `draw` as PNG or PDF."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path
from typing import Any

from cnnstat.errors import CnnstatError, did_you_mean, needing
from cnnstat.files import write_bytes

MODULES = {".png": "resvg_py", ".pdf": "fpdf"}
"""The module that makes each format."""

SUFFIXES = (".svg", *MODULES)

PIXELS_A_POINT = 2.0
"""A PNG has two pixels for each of the drawing's, as screens do."""

LATIN = str.maketrans({"−": "-", "–": "-", "…": "...", "′": "'", "→": ">", "≥": ">=", "≤": "<=", "⌊": "[", "⌋": "]"})
"""What stands in a PDF for signs that its own fonts lack."""

SIZE = re.compile(r'<svg [^>]*?width="([\d.]+)" height="([\d.]+)"')


def check_picture_path(path: Path, option: str) -> None:
    """Raise CnnstatError if a picture cannot be of the kind that a file's ending names."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        hint = did_you_mean(suffix, SUFFIXES) if suffix else ""
        raise CnnstatError(f"{option} {path}: end it in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}{hint}")
    if suffix in MODULES:
        _module(suffix, f"{option} {path}")


def write_picture(path: Path, svg: str, option: str) -> None:
    """Write a drawing to a file of the kind that its ending names, in a folder that is made if it is missing.

    svg: a whole drawing in light colours; a dark style sheet is left out of PNG and PDF.
    Raises CnnstatError where the kind is not known, a package is missing, or the file cannot be written.
    """
    check_picture_path(path, option)
    suffix = path.suffix.lower()
    if suffix == ".svg":
        content = svg.encode()
    else:
        module, flat = _module(suffix, f"{option} {path}"), _flat(svg)
        content = _png(module, flat) if suffix == ".png" else _pdf(module, flat)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    except OSError as error:
        raise CnnstatError(f"{option} {path}: cannot be written: {error.strerror or error}") from None


def _module(suffix: str, what: str) -> Any:
    with needing(MODULES[suffix], f"{what}: {suffix[1:].upper()}"):
        return import_module(MODULES[suffix])


def _flat(svg: str) -> str:
    """Return a drawing without style sheet and words for screen readers, its ink written out."""
    ink = found[1] if (found := re.search(r'<svg [^>]*?\bcolor="(#\w+)"', svg)) else "#000"
    plain = re.sub(r"<(style|title|desc)>.*?</\1>", "", svg, flags=re.DOTALL)
    return plain.replace("currentColor", ink)


def _png(resvg: Any, svg: str) -> bytes:
    return bytes(resvg.svg_to_bytes(svg_string=svg, zoom=PIXELS_A_POINT))


def _pdf(fpdf: Any, svg: str) -> bytes:
    """Return a page of the drawing's size; the same bytes every time."""
    width, height = map(float, SIZE.search(svg).groups())  # type: ignore[union-attr]  # every drawing of ours has them
    page = fpdf.FPDF(unit="pt", format=(width, height))
    page.set_creation_date(datetime(2000, 1, 1, tzinfo=timezone.utc))
    page.set_auto_page_break(False)
    page.set_margin(0)
    page.add_page()
    page.set_font("helvetica")
    text = re.sub(r' font-family="[^"]*"', ' font-family="helvetica"', svg.translate(LATIN))
    drawing = fpdf.svg.SVGObject("".join(map(_latin, text)))
    drawing.draw_to_page(page)
    return bytes(page.output())


def _latin(character: str) -> str:
    """Return a letter that the fonts of every PDF have: itself, a plain form of it, or `?`."""
    if ord(character) < 256:
        return character
    plain = unicodedata.normalize("NFKD", character)[:1]
    return plain if ord(plain) < 256 else "?"
