"""HTML: a page of its own around a drawing."""

from __future__ import annotations

from html import escape

from cnnstat.draw.drawing import Drawing

_STYLE = (
    "body{margin:0;padding:1rem;background:#fff}svg{display:block;max-width:100%;height:auto;margin:0 auto}"
    "@media (prefers-color-scheme:dark){body{background:#0d1117}}"
)


def render(drawing: Drawing) -> str:
    """Return a page that shows the picture as wide as there is room."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(drawing.name)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{drawing}</main>\n</body>\n</html>\n"
    )
