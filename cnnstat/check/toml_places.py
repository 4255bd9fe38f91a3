"""Where the keys of a TOML document stand, which the standard library's reader does not tell."""

from __future__ import annotations

import re
from bisect import bisect_right

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r'[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'')
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")|\'\'\'.*?\'{3,5}(?!\')|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL
)
_BARE = re.compile(r"[^,\]}#\n]*")

Path = tuple[str | int, ...]


def places(text: str) -> dict[Path, tuple[int, int]]:
    """Return line and column of every key, table and list entry of a valid TOML document.

    Entries of arrays have their number in the path: `("models", 0, "source")`.
    """
    reader = _Reader(text)
    reader.document()
    return reader.found


class _Reader:
    """Walks over the text; relies on its being valid."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self.position = 0
        self.found: dict[Path, tuple[int, int]] = {}
        self.counts: dict[Path, int] = {}

    def document(self) -> None:
        """Read headers and assignments until the end."""
        table: Path = ()
        self._skip(_BLANK)
        while self.position < len(self.text):
            if self._peek() == "[":
                table = self._header()
            else:
                self._assignment(table)
            self._skip(_BLANK)

    def _header(self) -> Path:
        """Read `[a.b]` or `[[a.b]]` and return its path."""
        start = self.position
        is_array = self.text.startswith("[[", start)
        self.position += 1 + is_array
        keys = self._keys()
        self.position += 1 + is_array
        path: Path = ()
        for key in keys[:-1]:
            path = self._entered((*path, key))
            self._note(path, start)
        path = (*path, keys[-1])
        self._note(path, start)
        if is_array:
            number = self.counts.get(path, 0)
            self.counts[path] = number + 1
            path = (*path, number)
            self._note(path, start)
        return path

    def _entered(self, path: Path) -> Path:
        """Return a path that leads into the last entry of an array of tables."""
        return (*path, self.counts[path] - 1) if path in self.counts else path

    def _keys(self) -> list[str]:
        """Read a dotted key."""
        keys = []
        while True:
            self._skip(_SPACE)
            word = self._take(_KEY)
            keys.append(word[1:-1] if word[:1] in "\"'" else word)
            self._skip(_SPACE)
            if self._peek() != ".":
                return keys
            self.position += 1

    def _assignment(self, table: Path) -> None:
        """Read `key = value`."""
        start = self.position
        path = table
        for key in self._keys():
            path = (*path, key)
            self._note(path, start)
        self.position += 1  # the equals sign
        self._value(path)

    def _value(self, path: Path) -> None:
        """Read one value."""
        self._skip(_BLANK)
        character = self._peek()
        if character == "[":
            self._listed(path, "]")
        elif character == "{":
            self._listed(path, "}")
        elif character in "\"'":
            self._take(_STRING)
        else:
            self._take(_BARE)

    def _listed(self, path: Path, end: str) -> None:
        """Read an array or an inline table."""
        self.position += 1
        number = 0
        self._skip(_BLANK)
        while self._peek() not in (end, ""):
            if end == "}":
                self._assignment(path)
            else:
                self._note((*path, number), self.position)
                self._value((*path, number))
            number += 1
            self._skip(_BLANK)
            if self._peek() == ",":
                self.position += 1
                self._skip(_BLANK)
        self.position += 1

    def _note(self, path: Path, start: int) -> None:
        """Remember where a path stands first."""
        if path not in self.found:
            line = bisect_right(self.lines, start)
            self.found[path] = line, start - self.lines[line - 1] + 1

    def _peek(self) -> str:
        """Return the next character."""
        return self.text[self.position : self.position + 1]

    def _take(self, pattern: re.Pattern[str]) -> str:
        """Return what a pattern matches here, and go on behind it."""
        match = pattern.match(self.text, self.position)
        if match is None or not match[0]:
            self.position += 1  # cannot happen in a valid document; never stand still
            return ""
        self.position = match.end()
        return match[0]

    def _skip(self, pattern: re.Pattern[str]) -> None:
        """Go on behind what a pattern matches here."""
        match = pattern.match(self.text, self.position)
        if match is not None:
            self.position = match.end()
