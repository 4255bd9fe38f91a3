"""Mermaid: the graph of a drawing as GitHub draws it in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cnnstat.draw.captions import caption, frame_title, sizes
from cnnstat.draw.colours import Colour, colour_of
from cnnstat.draw.drawing import Drawing
from cnnstat.draw.scene import Box, Frame, Scene
from cnnstat.errors import CnnstatError

MOST_LETTERS, MOST_EDGES = 50_000, 500
"""What GitHub draws: `maxTextSize` and `maxEdges` of Mermaid's configuration."""

_SAFE = set(" ._,:/()+=×·…−–")


def render(drawing: Drawing) -> str:
    """Return the graph; raises CnnstatError where the drawing is none, or more than GitHub draws."""
    scene = drawing.scene()
    text = "\n".join(_lines(scene)) + "\n"
    if len(text) > MOST_LETTERS or len(scene.links) > MOST_EDGES:
        raise CnnstatError(
            f".mmd: {len(scene.links):,} edges and {len(text):,} letters are more than GitHub draws, which takes "
            f"{MOST_EDGES} and {MOST_LETTERS:,}; open less, or write .dot or .svg"
        )
    return text


def _lines(scene: Scene) -> Iterator[str]:
    yield "flowchart TD"
    yield from _children(scene, scene.root, "  ", "")
    for link in scene.links:
        shape = scene.analysis.values.outputs[link.value][0]
        yield f"  n{link.source} -->|{quoted(sizes(shape))}| n{link.target}"
    boxes: dict[Colour, list[str]] = {}
    for box in scene.boxes:
        boxes.setdefault(colour_of(scene.analysis, box), []).append(f"n{box.number}")
    yield from styles(boxes.items())


def styles(boxes: Iterable[tuple[Colour, list[str]]]) -> Iterator[str]:
    """Yield the lines that give nodes their colours; the text is dark, as the boxes stay light in dark themes."""
    for number, (colour, nodes) in enumerate(boxes):
        yield f"  classDef c{number} fill:{colour.fill},stroke:{colour.stroke},color:#1b1f24"
        yield f"  class {','.join(nodes)} c{number}"


def _children(scene: Scene, frame: Frame, indent: str, around: str) -> Iterator[str]:
    for child in frame.children:
        if isinstance(child, Box):
            own = caption(scene.analysis, child)
            times = f" ×{own.times}" if own.times > 1 else ""
            yield f"{indent}n{child.number}[{quoted(f'{own.title}{times}', *own.lines)}]"
            continue
        part = child.part
        assert part is not None
        title = " ".join(filter(None, frame_title(scene.analysis.graph.nodes, part, around)))
        yield f"{indent}subgraph g{part.start}_{part.stop}_{part.path.count('.')} [{quoted(title)}]"
        yield from _children(scene, child, f"{indent}  ", part.path or around)
        yield f"{indent}end"


def quoted(*lines: str) -> str:
    """Return lines as one label in quotes; whatever could mean something to Mermaid or HTML is an entity code."""
    return (
        '"'
        + "<br/>".join("".join(c if c.isalnum() or c in _SAFE else f"#{ord(c)};" for c in each) for each in lines)
        + '"'
    )
