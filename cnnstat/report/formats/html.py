"""HTML: a document as one page that loads nothing, for desks, phones and paper; its files are page.css and page.js."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files

from cnnstat.report.document import Block, Document, Facts, NetworkDrawing, Pictured, Text
from cnnstat.report.html_elements import attributes, facts_list, key_figures_list, table_element, text_of, tone_of
from cnnstat.report.table import Table
from cnnstat.report.terminal_text import printable
from cnnstat.version import __version__

SEARCHED = 12
"""Rows from which a table gets a field to search in and a frame of its own to scroll in."""


LEAST_SCALE = 0.75
"""How much smaller than it is a chart may become; on narrower screens it is scrolled."""


def render(document: Document) -> str:
    """Return the page as text of a file; what it can do with JavaScript, it says without."""
    title = document.page_title or document.title or document.caption.partition(". ")[0]
    heading = f"<h1>{text_of(title)}</h1>"
    subtitle = f"<p>{text_of(document.subtitle)}</p>\n" if document.subtitle else ""
    style, script = resource("page.css"), resource("page.js")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="cnnstat {__version__}">
<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">
<title>{text_of(title)}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the figures</a>
<header>
{heading}
{subtitle}</header>
<main id="main">
{key_figures_list(document.key_figures())}
{"".join(_sections(document, title))}</main>
<footer><p>{text_of(document.caption)}</p><p>Made by cnnstat {__version__}.</p></footer>
<script>{script}</script>
</body>
</html>
"""


@cache
def resource(name: str) -> str:
    """Return the text of a file beside this one, such as the style sheet."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Return what the page may load and run: nothing but its own script."""
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def _sections(document: Document, title: str) -> Iterator[str]:
    blocks = list(document.blocks())
    contents = [_content(block, caption) for block, caption in zip(blocks, _captions(blocks, title))]
    first, *others = list(filter(None, contents)) or [""]
    drawings = [_drawing(name, drawing) for name, drawing in document.drawings().items()]
    if len(drawings) == 1:
        yield f'<section class="beside">\n<div>\n{first}\n</div>\n{drawings[0]}\n</section>\n'
    elif first:
        yield f"<section>\n{first}\n</section>\n"
    if document.page_charts:
        charts = document.charts()
        figures = "\n".join(_figure(charts[name]) for name in document.page_charts)
        yield f'<section class="charts">\n{figures}\n</section>\n'
    yield from (f"<section>\n{content}\n</section>\n" for content in others)
    if len(drawings) > 1:
        yield f'<section class="charts">\n{"".join(drawings)}\n</section>\n'


def _captions(blocks: Sequence[Block], title: str) -> Iterator[str]:
    """Yield what each block is called, no two alike: the title of the first, later tables by their columns."""
    seen: Counter[str] = Counter()
    for block in blocks:
        caption = title
        if isinstance(block, Table):
            columns = ", ".join(column.title or column.key for column in block.page_columns)
            caption = block.title or block.caption or (columns if seen[title] else title)
            seen[caption] += 1
        yield caption if seen[caption] < 2 else f"{caption} ({seen[caption]})"


def _drawing(name: str, drawing: NetworkDrawing) -> str:
    """Return the drawing of a network in a frame that scrolls by itself, and what unfolds it."""
    caption = f"Drawing of {name}: bars are shares, and a box may stand for many layers."
    content = _network(f"drawing of {name}", drawing.svg)
    if drawing.unfolded:
        every = f"<summary>Unfold the drawing</summary>{_network(f'every layer of {name}', drawing.unfolded)}"
        content = f'<details class="unfold">{every}</details>{content}'
    return f"<figure>{content}<figcaption>{text_of(caption)}</figcaption></figure>"


def _network(name: str, svg: str) -> str:
    label = attributes(aria_label=printable(name))
    return f'<div class="drawn network" role="group" tabindex="0"{label}>{svg.strip()}</div>'


def _content(block: Block, caption: str) -> str:
    if isinstance(block, Table):
        return _table(block, caption)
    if isinstance(block, Facts):
        return facts_list(block.facts)
    if isinstance(block, Text):
        return f"<p{attributes(class_=tone_of(block.style))}>{text_of(block.text)}</p>"
    return _figure(block) if isinstance(block, Pictured) else ""


def _figure(chart: Pictured) -> str:
    """Return a chart in a frame that scrolls by itself, with words for those who do not see it."""
    picture = chart.picture()
    label = attributes(aria_label=printable(picture.title), style=f"--least:{LEAST_SCALE * picture.width:.0f}px")
    frame = f'<div class="drawn" role="group" tabindex="0"{label}>'
    return f"<figure>{frame}{picture.inline()}</div><figcaption>{text_of(picture.description)}</figcaption></figure>"


def _table(table: Table, caption: str) -> str:
    """Return a table in a frame that scrolls by itself, as a phone is narrower than any table."""
    heading = f"<h2>{text_of(table.title)}</h2>" if table.title else ""
    kind = "frame long" if len(table.rows) >= SEARCHED else "frame"
    frame = f'<div class="{kind}" role="region" tabindex="0"{attributes(aria_label=printable(caption))}>'
    return f"{heading}{frame}{table_element(table, caption)}</div>"
