"""LaTeX: the tables of a document for a paper; they need booktabs, and longtable where a page cannot hold them.

What the facts of other formats say follows as comments, so that a table never lacks its conditions.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from cnnstat.report.document import Block, Document, Facts, Text
from cnnstat.report.table import Table
from cnnstat.report.terminal_text import widest

ROWS_OF_A_PAGE = 45
"""Rows that a page of an article holds at 10 points beside a caption of several lines."""

NARROW = r"\scriptsize\setlength{\tabcolsep}{3pt}"
"""The smallest font, with half of the usual space between columns."""

CHARACTERS = ((60, ""), (66, r"\small"), (74, r"\footnotesize"), (86, NARROW))
"""Characters that fit beside each other in the 345 points of an article's text, by the size of the font."""

GAP = 3
"""Characters that the space between two columns takes."""

SHORTEST_WRAPPED = 20
"""Characters from which the texts of a column may be wrapped."""

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
    "π": r"$\pi$",
    "σ": r"$\sigma$",
    "½": r"$\frac{1}{2}$",
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
    """Return an environment for each table: the first has heading and conventions in its caption, others the heading.

    The document's own caption and label, which users give, are those of the first table.
    """
    heading = document.title or document.caption
    caption = document.own_caption or _sentences(document.title, document.subtitle, document.caption)
    label = document.label
    packages, parts = "booktabs", []
    for block in document.blocks():
        if not isinstance(block, Table):
            parts.append(_comments(block))
            continue
        is_long = len(block.all_rows) > ROWS_OF_A_PAGE
        packages = "booktabs,longtable" if is_long else packages
        head = [rf"\caption{{{escaped(caption or _sentences(block.title, heading))}}}"]
        head += [rf"\label{{{_key(label)}}}"] if label else []
        parts.append((_long_table if is_long else _table)(block, head))
        caption = label = ""
    return "\n".join([f"% \\usepackage{{{packages}}}\n", *filter(None, parts)])


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


def _key(label: str) -> str:
    """Return a label without the characters that would end or break it."""
    return "".join(c for c in label if c.isascii() and (c.isalnum() or c in ":-_./+ "))


def _table(table: Table, head: Sequence[str]) -> str:
    titles, rows = _rows(table)
    size, alignment = _fitted(table)
    tabular = rf"\begin{{tabular}}{{{alignment}}}"
    inside = [*titles, *rows, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
    return "\n".join([r"\begin{table}", rf"\centering{size}", *head, r"\par\medskip", tabular, *inside])


def _long_table(table: Table, head: Sequence[str]) -> str:
    """Return a table that runs over several pages, each with the titles."""
    titles, rows = _rows(table)
    size, alignment = _fitted(table)
    first = [rf"{{{size}", rf"\begin{{longtable}}{{{alignment}}}", *head, r"\\", *titles, r"\endhead", r"\bottomrule"]
    return "\n".join([*first, r"\endfoot", *rows, r"\end{longtable}}", ""])


def _fitted(table: Table) -> tuple[str, str]:
    """Return the font size and the alignments with which a table is no wider than the text; long texts are wrapped."""
    rows = table.all_rows if table.total is None else (*table.all_rows, table.total)
    columns = table.page_columns
    natural = [widest((column.title, *column.cells(rows))) for column in columns]
    # LaTeX knows no width before it runs, so characters are counted as if all were equally wide.
    widths = list(natural)
    room = CHARACTERS[-1][0] - GAP * len(widths)
    while sum(widths) > room:
        wrapped = [i for i, c in enumerate(columns) if c.align == "left" or c.least]
        longest = max(wrapped, key=widths.__getitem__, default=0)
        if widths[longest] <= SHORTEST_WRAPPED:
            break
        widths[longest] -= 1
    size = next((size for most, size in CHARACTERS if sum(widths) + GAP * len(widths) <= most), CHARACTERS[-1][1])
    return size, "".join(
        # A letter is about half as wide as an em.
        ("r" if column.align == "right" else "l") if width == full else f"p{{{width / 2:g}em}}"
        for column, width, full in zip(columns, widths, natural)
    )


def _rows(table: Table) -> tuple[list[str], list[str]]:
    """Return the titles between their rules, and the rows with the total below one more."""
    columns = table.page_columns
    rows = [_row([column.cell(row) for column in columns]) for row in table.all_rows]
    if table.total is not None:
        rows += [r"\midrule", _row([column.cell(table.total) for column in columns])]
    return [r"\toprule", _row([column.title for column in columns]), r"\midrule"], rows


def _row(texts: Sequence[str]) -> str:
    # A bracket after the \\ of the row before would be taken for its argument, and :: by a GitHub job for a command.
    cells = [f"{{}}{escaped(text)}" if text.startswith(("[", "*", "::")) else escaped(text) for text in texts]
    return f"{' & '.join(cells)} \\\\"


def _comments(block: Block) -> str:
    """Return facts and texts behind %, which hides whatever they hold; charts are left out."""
    if isinstance(block, Facts):
        lines = [f"{fact.label} {fact.text}".strip() for fact in block.facts]
    else:
        lines = [block.text] if isinstance(block, Text) else []
    return "".join(f"% {line}\n" for text in lines for line in text.replace("\N{NO-BREAK SPACE}", " ").splitlines())
