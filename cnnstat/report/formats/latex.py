"""LaTeX: the tables of a document for a paper; they need booktabs, and longtable where a page cannot hold them.

What the facts of other formats say follows as comments, so that a table never lacks its conditions.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from cnnstat.report.document import Block, Document, Facts, Text
from cnnstat.report.latex_layout import Fit, fitted, pieces, stacked, width_of
from cnnstat.report.table import Column, Table

ROWS_OF_A_PAGE = 45
"""Rows that a page of an article holds at 10 points beside a caption of several lines."""

LONGEST_WORD = 30
"""Characters of a word in a caption that is not broken."""

ALLOW_BREAK = r"\allowbreak{}"
"""Where a line may end without a hyphen."""

SYMBOLS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "`": r"\`{}", "\N{NO-BREAK SPACE}": "~", "\N{ZERO WIDTH SPACE}": "{}", "×": r"$\times$",
    "−": r"$-$", "–": "--", "·": r"$\cdot$", "…": r"\ldots{}", "≥": r"$\geq$", "≤": r"$\leq$",
    "→": r"$\rightarrow$", "±": r"$\pm$", "µ": r"$\mu$", "√": r"$\surd$", "∂": r"$\partial$", "α": r"$\alpha$",
    "β": r"$\beta$", "λ": r"$\lambda$", "π": r"$\pi$", "σ": r"$\sigma$", "½": r"$\frac{1}{2}$", "Σ": r"$\Sigma$",
    "Π": r"$\Pi$", "Φ": r"$\Phi$", "φ": r"$\varphi$", "′": "$'$", "⌊": r"$\lfloor$", "⌋": r"$\rfloor$",
    "⌈": r"$\lceil$", "⌉": r"$\rceil$",
}  # fmt: skip
"""What LaTeX would take for a command, or lacks in its standard fonts."""

ACCENTS = "\u0300\u0301\u0302\u0303\u0308\u030a\u030c\u0327"
"""Accents that the standard fonts set on a letter."""


def render(document: Document) -> str:
    """Return an environment for each table: the first has heading and conventions in its caption, others the heading.

    The document's own caption and label, which users give, are those of the first table.
    """
    heading = document.title or document.caption
    caption = document.own_caption or _sentences(document.title, _capital(document.subtitle), document.caption)
    label = document.label
    packages, parts = ["booktabs"], []
    for block in document.blocks():
        if not isinstance(block, Table):
            parts.append(_comments(block))
            continue
        fit = _fit(block)
        is_long = fit.lines > ROWS_OF_A_PAGE * (2 if fit.is_resized else 1)  # rows shrink too
        packages += ["longtable"] if is_long else ["graphicx"] if fit.is_resized else []
        head = [rf"\caption{{{_running(caption or _sentences(block.title or block.caption, heading))}}}"]
        head += [rf"\label{{{_key(label)}}}"] if label else []
        parts.append((_long_table if is_long else _table)(block, head, fit))
        caption = label = ""
    return "\n".join([f"% \\usepackage{{{','.join(dict.fromkeys(packages))}}}\n", *filter(None, parts)])


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


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _sentences(*parts: str) -> str:
    return " ".join(f"{part.rstrip('.')}." for part in parts if part)


def _is_accented(character: str) -> bool:
    letter, *accents = list(unicodedata.normalize("NFD", character))
    return letter.isascii() and letter.isalpha() and len(accents) == 1 and accents[0] in ACCENTS


def _key(label: str) -> str:
    """Return a label without the characters that would end or break it."""
    return "".join(c for c in label if c.isascii() and (c.isalnum() or c in ":-_./+ "))


def _fit(table: Table) -> Fit:
    columns = table.page_columns
    rows = table.rows_with_sums
    titles = [column.title for column in columns]
    return fitted(
        titles, [column.cells(rows) for column in columns], [c.align == "left" or bool(c.least) for c in columns]
    )


def _table(table: Table, head: Sequence[str], fit: Fit) -> str:
    titles, rows = _rows(table, fit)
    tabular = rf"\begin{{tabular}}{{{_alignments(table.page_columns, fit)}}}"
    inside = [*titles, *rows, r"\bottomrule", r"\end{tabular}"]
    if fit.is_resized:
        tabular, inside[-1] = rf"\resizebox{{\textwidth}}{{!}}{{{tabular}", rf"{inside[-1]}}}"
    first = [r"\begin{table}", rf"\centering{fit.font}", *head, r"\par\medskip", tabular]
    return "\n".join([*first, *inside, r"\end{table}", ""])


def _long_table(table: Table, head: Sequence[str], fit: Fit) -> str:
    """Return a table that runs over several pages, each with the titles."""
    titles, rows = _rows(table, fit)
    alignment = _alignments(table.page_columns, fit)
    begin = [rf"{{{fit.font}", rf"\begin{{longtable}}{{{alignment}}}", *head, r"\\"]
    first = [*begin, *titles, r"\endhead", r"\bottomrule"]
    return "\n".join([*first, r"\endfoot", *rows, r"\end{longtable}}", ""])


def _alignments(columns: Sequence[Column], fit: Fit) -> str:
    return "".join(
        ("r" if column.align == "right" else "l") if width is None else f"p{{{width:.1f}pt}}"
        for column, width in zip(columns, fit.wrapped)
    )


def _rows(table: Table, fit: Fit) -> tuple[list[str], list[str]]:
    """Return the titles between their rules, and the rows with the total below one more."""
    rows = [_row(table, row, fit) for row in table.all_rows]
    if table.total is not None:
        rows += [r"\midrule", _row(table, table.total, fit)]
    return [r"\toprule", _titles(table, fit), r"\midrule"], rows


def _titles(table: Table, fit: Fit) -> str:
    """Return the titles; long ones stand in several lines where the table would be too wide."""
    texts = []
    rows = table.rows_with_sums
    for column, width in zip(table.page_columns, fit.wrapped):
        room = max(map(width_of, column.cells(rows)), default=0.0)
        lines = stacked(column.title, room) if fit.is_stacked and width is None else [column.title]
        side = "r" if column.align == "right" else "l"
        parts = r"\cr ".join(map(escaped, lines))
        text = parts if len(lines) == 1 else rf"\shortstack[{side}]{{{parts}}}"
        texts.append(_guarded(text) if table.has_plain_numbers and side == "r" else text)
    return f"{' & '.join(texts)} \\\\"


def _row(table: Table, row: Any, fit: Fit) -> str:
    cells = []
    for column, width in zip(table.page_columns, fit.wrapped):
        text = _cell(column.cell(row), width, column.align == "right")
        cells.append(_guarded(text) if table.has_plain_numbers and column.align == "right" else text)
    return f"{' & '.join(cells)} \\\\"


def _guarded(text: str) -> str:
    """Return text between braces unless it is a number: a column `S` of siunitx then sets it as it is."""
    return text if re.fullmatch(r"-?\d+(\.\d+)?", text) else f"{{{text}}}"


def _cell(text: str, width: float | None, is_right: bool) -> str:
    # A bracket after the \\ of the row before would be taken for its argument, and :: by a GitHub job for a command.
    start = "{}" if text.lstrip().startswith(("[", "*", "::")) else ""
    if width is None or not text:
        return start + escaped(text)
    # Justified text in a narrow column is ugly, and too wide where no line can end.
    side = r"\raggedleft" if is_right else r"\raggedright"
    return rf"{start}{{{side} {_breakable(text)}\par}}"


def _running(text: str) -> str:
    """Return running text; only words that no line holds are broken."""
    return " ".join(_breakable(word) if len(word) > LONGEST_WORD else escaped(word) for word in text.split(" "))


def _breakable(text: str) -> str:
    """Return text as `escaped` does, whose lines may end within words: behind signs, and within very long pieces."""
    parts = [escaped(part) + ("" if part.endswith(" ") else ALLOW_BREAK) for part in pieces(text)]
    return "".join(parts).removesuffix(ALLOW_BREAK)


def _comments(block: Block) -> str:
    """Return facts and texts behind %, which hides whatever they hold; charts are left out."""
    if isinstance(block, Facts):
        lines = [f"{fact.label} {fact.text}".strip() for fact in block.facts]
    else:
        lines = [block.text] if isinstance(block, Text) else []
    return "".join(f"% {line}\n" for text in lines for line in text.replace("\N{NO-BREAK SPACE}", " ").splitlines())
