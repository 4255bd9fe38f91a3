"""LaTeX: the tables of a document for a paper; booktabs is the only package needed.

What the facts of other formats say follows as comments, so that a table never lacks its conditions.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from cnnstat.report.document import Block, Document, Facts, Text
from cnnstat.report.table import Table

SYMBOLS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\`{}",
    "\N{NO-BREAK SPACE}": "~",
    "\N{ZERO WIDTH SPACE}": "{}",
    "×": r"$\times$",
    "−": r"$-$",
    "–": "--",
    "·": r"$\cdot$",
    "…": r"\ldots{}",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "→": r"$\rightarrow$",
    "±": r"$\pm$",
    "µ": r"$\mu$",
    "√": r"$\surd$",
    "∂": r"$\partial$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "λ": r"$\lambda$",
    "σ": r"$\sigma$",
    "Σ": r"$\Sigma$",
    "Π": r"$\Pi$",
    "Φ": r"$\Phi$",
    "φ": r"$\varphi$",
    "′": "$'$",
    "⌊": r"$\lfloor$",
    "⌋": r"$\rfloor$",
    "⌈": r"$\lceil$",
    "⌉": r"$\rceil$",
}
"""What LaTeX would take for a command, or lacks in its standard fonts."""

ACCENTS = "\u0300\u0301\u0302\u0303\u0308\u030a\u030c\u0327"
"""Accents that the standard fonts set on a letter."""


def render(document: Document) -> str:
    """Return one table environment for each table, the first with heading and conventions as its caption."""
    blocks = list(document.blocks())
    caption = _sentences(document.title, document.subtitle, document.caption)
    parts = [r"% \usepackage{booktabs}" + "\n"]
    for block in blocks:
        if isinstance(block, Table):
            parts.append(_table(block, _sentences(block.title, caption)))
            caption = ""
        else:
            parts.append(_comments(block))
    return "\n".join(part for part in parts if part)


def escaped(text: str) -> str:
    """Return text that LaTeX sets as it is; a character that no standard font has is written as its number."""
    # Two hyphens in a row would be set as a dash.
    text = text.replace("--", "-\N{ZERO WIDTH SPACE}-")
    return "".join(SYMBOLS.get(c) or (c if c.isascii() or _is_accented(c) else _written(c)) for c in text)


def _written(character: str) -> str:
    """Return a raised or lowered letter as one, and any other character by its number."""
    style, _, code = unicodedata.decomposition(character).partition(" ")
    if style in ("<sub>", "<super>") and int(code, 16) < 128:
        return f"${'_' if style == '<sub>' else '^'}{chr(int(code, 16))}$"
    return f"[U+{ord(character):04X}]"


def _sentences(*parts: str) -> str:
    """Return what is not empty as sentences."""
    return " ".join(f"{part.rstrip('.')}." for part in parts if part)


def _is_accented(character: str) -> bool:
    letter, *accents = list(unicodedata.normalize("NFD", character))
    return letter.isascii() and letter.isalpha() and len(accents) == 1 and accents[0] in ACCENTS


def _table(table: Table, caption: str) -> str:
    columns = table.page_columns
    lines = [r"\begin{table}", r"\centering"]
    lines += [rf"\caption{{{escaped(caption)}}}"] if caption else []
    lines += [rf"\begin{{tabular}}{{{''.join('r' if c.align == 'right' else 'l' for c in columns)}}}", r"\toprule"]
    lines += [_row([column.title for column in columns]), r"\midrule"]
    lines += [_row([column.cell(row) for column in columns]) for row in table.all_rows]
    if table.total is not None:
        lines += [r"\midrule", _row([column.cell(table.total) for column in columns])]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _row(texts: Sequence[str]) -> str:
    # A bracket after the \\ of the row before would be taken for its argument.
    cells = [f"{{}}{escaped(text)}" if text.startswith(("[", "*")) else escaped(text) for text in texts]
    return f"{' & '.join(cells)} \\\\"


def _comments(block: Block) -> str:
    """Return facts and texts behind %, which hides whatever they hold; charts are left out."""
    if isinstance(block, Facts):
        lines = [f"{fact.label} {fact.text}".strip() for fact in block.facts]
    else:
        lines = [block.text] if isinstance(block, Text) else []
    return "".join(f"% {line}\n" for text in lines for line in text.replace("\N{NO-BREAK SPACE}", " ").splitlines())
