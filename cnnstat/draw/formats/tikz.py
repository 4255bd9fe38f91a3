"""TikZ: a drawing as a LaTeX document that pdflatex compiles, with editable lines."""

from __future__ import annotations

from cnnstat.draw.drawing import Drawing
from cnnstat.draw.svg_shapes import Paint, Picture, Polygon, Text, shapes_of
from cnnstat.errors import CnnstatError

POINT = 0.75
"""Points of a pixel."""
LONGEST = 570.0 * 28.45
"""Points that TeX can have in one length."""

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
    "×": r"\texttimes{}", "·": r"\textperiodcentered{}", "…": r"\ldots{}", "−": r"\textminus{}", "–": r"\textendash{}",
    "-": r"{-}",
}  # fmt: skip
_ANCHORS = {"start": "base west", "middle": "base", "end": "base east"}


def render(drawing: Drawing) -> str:
    """Return the document; raises CnnstatError where it holds a photo, or is too large for TeX."""
    width, height = (POINT * side for side in drawing.size)
    if max(width, height) > LONGEST:
        raise CnnstatError(".tex: the drawing is larger than a page of TeX can be; write .svg or .pdf, or open less")
    colours: dict[str, str] = {}
    body: list[str] = []
    for shape in shapes_of(str(drawing)):
        if isinstance(shape, Picture):
            raise CnnstatError(".tex: a photo does not go into TikZ; leave --image out, or write .svg, .png or .pdf")
        body.append(_text(shape, colours) if isinstance(shape, Text) else _polygon(shape, colours))
    named = "\n".join(f"\\definecolor{{{name}}}{{HTML}}{{{value}}}" for value, name in colours.items())
    return "\n".join([
        "\\documentclass{article}",
        "\\usepackage[T1]{fontenc}",
        "\\usepackage{textcomp}",
        "\\IfFileExists{lmodern.sty}{\\usepackage{lmodern}}{}",
        "\\usepackage{tikz}",
        named,
        "\\begin{document}",
        "\\sffamily",
        "\\setbox0=\\hbox{%",
        f"\\begin{{tikzpicture}}[x={POINT}pt,y=-{POINT}pt,every node/.style={{inner sep=0pt,outer sep=0pt}}]",
        f"\\useasboundingbox (0,0) rectangle ({drawing.size[0]:.1f},{drawing.size[1]:.1f});",
        *filter(None, body),
        "\\end{tikzpicture}}",
        "% The page is as large as the picture.",
        "\\pdfpagewidth=\\wd0 \\pdfpageheight=\\dimexpr\\ht0+\\dp0\\relax \\pdfhorigin=0pt \\pdfvorigin=0pt",
        "\\hoffset=0pt \\voffset=0pt \\shipout\\box0",
        "\\end{document}",
        "",
    ])  # fmt: skip


def _colour(value: str, colours: dict[str, str]) -> str:
    """Return the name of a colour, which consists of letters as TeX wants it."""
    return colours.setdefault(value.removeprefix("#").upper(), f"colour{_letters(len(colours))}")


def _letters(number: int) -> str:
    return chr(ord("a") + number // 26) + chr(ord("a") + number % 26)


def _text(text: Text, colours: dict[str, str]) -> str:
    size = POINT * text.size
    font = f"\\fontsize{{{size:.1f}}}{{{size:.1f}}}\\selectfont" + ("\\bfseries" if text.is_bold else "")
    style = f"anchor={_ANCHORS[text.anchor]},text={_colour(text.colour, colours)},font={font}"
    return f"\\node[{style}] at ({text.x:.1f},{text.y:.1f}) {{{escaped(text.content)}}};"


def escaped(text: str) -> str:
    """Return text in which nothing is a command; letters that pdflatex does not know become question marks."""
    return "".join(_SPECIAL.get(c) or (c if c.isascii() and c.isprintable() else _letter(c)) for c in text)


def _letter(character: str) -> str:
    return character if "À" <= character <= "ÿ" and character != "÷" else "?"


def _polygon(shape: Polygon, colours: dict[str, str]) -> str:
    style = _style(shape.paint, colours)
    if not style:
        return ""
    if shape.radius:
        style.append(f"rounded corners={POINT * shape.radius:.1f}pt")
    path = " -- ".join(f"({x:.1f},{y:.1f})" for x, y in shape.points)
    return f"\\path[{','.join(style)}] {path}{' -- cycle' if shape.is_closed else ''};"


def _style(paint: Paint, colours: dict[str, str]) -> list[str]:
    style = []
    if paint.fill:
        style.append(f"fill={_colour(paint.fill, colours)}")
        style += [f"fill opacity={paint.opacity:g}"] if paint.opacity < 1 else []
    if paint.stroke:
        style += [f"draw={_colour(paint.stroke, colours)}", f"line width={POINT * paint.width:.2f}pt"]
        style += ["dashed"] if paint.is_dashed else []
    return style
