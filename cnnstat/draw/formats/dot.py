"""DOT: the graph of a drawing for Graphviz."""

from __future__ import annotations

from collections.abc import Iterator

from cnnstat.draw.captions import caption, frame_title, sizes
from cnnstat.draw.colours import colour_of
from cnnstat.draw.drawing import Drawing
from cnnstat.draw.scene import Box, Frame, Scene


def render(drawing: Drawing) -> str:
    """Return the graph; raises CnnstatError where the drawing is none."""
    scene = drawing.scene()
    return "\n".join(_lines(scene, drawing.name)) + "\n"


def _lines(scene: Scene, title: str) -> Iterator[str]:
    yield "digraph network {"
    yield f"  graph [label={quoted(title)}, labelloc=t, fontname=Helvetica];"
    yield '  node [shape=box, style="rounded,filled", fontname=Helvetica, fontsize=11];'
    yield "  edge [fontname=Helvetica, fontsize=9];"
    yield from _children(scene, scene.root, "  ", "")
    for link in scene.links:
        value = scene.analysis.values.outputs[link.value][0]
        yield f"  n{link.source} -> n{link.target} [label={quoted(sizes(value))}];"
    yield "}"


def _children(scene: Scene, frame: Frame, indent: str, around: str) -> Iterator[str]:
    for child in frame.children:
        if isinstance(child, Box):
            yield f"{indent}n{child.number} {_node(scene, child)};"
            continue
        part = child.part
        assert part is not None
        yield f"{indent}subgraph cluster_{part.start}_{part.stop}_{part.path.count('.')} {{"
        yield f"{indent}  label={quoted(' '.join(frame_title(scene.analysis.graph.nodes, part, around)))};"
        yield from _children(scene, child, f"{indent}  ", part.path or around)
        yield f"{indent}}}"


def _node(scene: Scene, box: Box) -> str:
    own = caption(scene.analysis, box)
    colour = colour_of(scene.analysis, box)
    times = f" ×{own.times}" if own.times > 1 else ""
    label = quoted("\n".join([f"{own.title}{times}", *own.lines]))
    return f'[label={label}, fillcolor="{colour.fill}", color="{colour.stroke}", fontcolor="#1b1f24"]'


def quoted(text: str) -> str:
    r"""Return text in quotes, in which `\` and `"` mean nothing."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
