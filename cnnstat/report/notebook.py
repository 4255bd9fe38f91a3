"""Notebook: a document as a fragment whose style touches nothing else, in light and dark themes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from cnnstat.report.document import Document, Facts, Pictured, Text
from cnnstat.report.html_elements import facts_list, text_of
from cnnstat.report.table import Table

DARK = '[data-jp-theme-light="false"],.vscode-dark,.vscode-high-contrast,html[theme="dark"]'
"""What JupyterLab and Notebook, VS Code and Colab say of a dark theme, which need not be that of the system."""

STYLE = (
    "<style>"
    ".cnnstat{font:13px/1.5 system-ui,sans-serif;"
    "color:var(--jp-content-font-color1,var(--vscode-editor-foreground,inherit))}"
    ".cnnstat table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    ".cnnstat th,.cnnstat td{padding:1px 9px;text-align:left;border:0;white-space:nowrap}"
    ".cnnstat .right{text-align:right}"
    ".cnnstat thead th,.cnnstat tfoot td{border-bottom:1px solid #8888;border-top:1px solid #8888;font-weight:600}"
    ".cnnstat dl{display:grid;grid-template-columns:max-content auto;gap:0 1em;margin:.8em 0}"
    ".cnnstat summary{cursor:pointer;font-weight:600;margin:.6em 0}"
    ".cnnstat .drawn{overflow-x:auto;margin:.4em 0}.cnnstat .drawn svg{display:block;height:auto}"
    ".cnnstat .charts{display:flex;flex-wrap:wrap;gap:1em}.cnnstat .charts .drawn{flex:1 1 32em;max-width:45em}"
    ".cnnstat .charts svg{width:100%}.cnnstat .drawn .paper{fill:transparent}"
    ".cnnstat dt{font-weight:600;grid-column:1}.cnnstat dd{margin:0;grid-column:2}"
    "</style>"
)


def fragment(document: Document) -> str:
    """Return a fragment that notebooks show: the blocks, and folded out below them drawings and charts.

    It loads nothing and runs nothing.
    """
    parts = [f"<b>{text_of(document.title)}</b>"] if document.title else []
    parts += [f"<br>{text_of(document.subtitle)}"] if document.subtitle else []
    for block in document.blocks():
        if isinstance(block, Table):
            parts += [f"<h4>{text_of(block.title)}</h4>"] if block.title else []
            parts.append(_table(block))
        elif isinstance(block, Facts):
            parts.append(facts_list(block.facts))
        elif isinstance(block, Text):
            parts.append(f"<p>{text_of(block.text)}</p>")
        elif isinstance(block, Pictured):
            parts.append(_drawn(block.picture().inline()))
    for name, drawing in document.drawings().items():
        parts.append(_unfolded(f"drawing of {name}", _drawn(_in_theme(drawing.svg))))
    if document.page_charts:
        charts = document.charts()
        drawn = "".join(_drawn(charts[name].picture().inline()) for name in document.page_charts)
        parts.append(_unfolded("charts", f'<div class="charts">{drawn}</div>'))
    # Scoped by a class: a notebook's own tables keep their style.
    return f'<meta charset="utf-8">{STYLE}<div class="cnnstat">{"".join(parts)}</div>'


def _unfolded(title: str, content: str) -> str:
    return f"<details open><summary>{text_of(title)}</summary>{content}</details>"


def _drawn(svg: str) -> str:
    return f'<div class="drawn">{svg.strip()}</div>'


def _in_theme(svg: str) -> str:
    """Return a drawing that is dark where the notebook is, whatever the system is."""

    def themed(style: re.Match[str]) -> str:
        return f"<style>{style[1].replace('.cnnstat-drawing ', f':is({DARK}) .cnnstat .cnnstat-drawing ')}</style>"

    return re.sub(r"<style>@media \(prefers-color-scheme:dark\)\{(.*?)\}</style>", themed, svg, flags=re.DOTALL)


def _table(table: Table) -> str:
    columns = table.page_columns
    sides = [" class=right" if column.align == "right" else "" for column in columns]
    head = "".join(f"<th{side}>{text_of(column.title)}</th>" for column, side in zip(columns, sides))
    body = "".join(f"<tr>{cells}</tr>" for cells in _rows(table, table.all_rows, sides))
    foot = "" if table.total is None else f"<tfoot><tr>{next(_rows(table, (table.total,), sides))}</tr></tfoot>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>{foot}</table>"


def _rows(table: Table, rows: Sequence[Any], sides: Sequence[str]) -> Iterator[str]:
    for texts in zip(*(column.cells(rows) for column in table.page_columns)):
        yield "".join(f"<td{side}>{escape(text)}</td>" for side, text in zip(sides, texts))
