"""SafeText: the only way from a model's or a file's text to the screen.

A model can emit any character it was trained on, and a file name can hold almost any: escape
sequences, bidi overrides, a hundred combining marks on one letter. Here they become visible
instead of effective. Newline and tab stay; other control characters are shown as control pictures
or as ⟨U+XXXX⟩; marks are capped. rich escapes none of this, so nothing goes to it unsafe.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

MAX_MARKS = 6
"""Combining marks kept in a row: more than any living script stacks."""

# Beyond the categories Cc, Cs, Zl, Zp: what reorders or hides text. The joiners U+200C and
# U+200D and the variation selectors stay: scripts and emoji need them.
_EFFECTIVE = frozenset({0x061C, 0x180E, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF}).union(
    range(0x202A, 0x202F),
    range(0x2061, 0x2070),
    range(0xFFF9, 0xFFFC),
    range(0x1D173, 0x1D17B),
    range(0xE0000, 0xE0080),
)
_VARIATION = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))


class SafeText(str):
    """Text that a terminal shows and never obeys; made by `safe` or `SafeStream`."""

    __slots__ = ()


class SafeStream:
    """Makes a stream safe piece by piece: joined, the pieces are `safe` of the whole."""

    def __init__(self, *, keep_lines: bool = True) -> None:
        self._keep = "\n\t" if keep_lines else ""
        self._marks = 0

    def feed(self, text: str) -> SafeText:
        """The next piece."""
        if text.isascii() and text.isprintable():
            self._marks = 0 if text else self._marks
            return SafeText(text)
        return SafeText("".join(map(self._shown, text)))

    def _shown(self, character: str) -> str:
        if character in self._keep:
            self._marks = 0
            return character
        category = unicodedata.category(character)
        if category in ("Mn", "Me") and not _is_variation(ord(character)):
            self._marks += 1
            return character if self._marks <= MAX_MARKS else ""
        if category not in ("Cf", "Mc", "Mn"):
            self._marks = 0
        return visible(character, category)


def visible(character: str, category: str | None = None) -> str:
    """One character as it may be shown: itself, a picture of it, or its number."""
    code = ord(character)
    category = category or unicodedata.category(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if category == "Cs" or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF:
        return "\ufffd"
    if category in ("Cc", "Zl", "Zp") or code in _EFFECTIVE:
        return f"⟨U+{code:04X}⟩"
    return character


def safe(text: object) -> SafeText:
    r"""Any text, safe to show; newlines and tabs stay.

    >>> safe("a\\x1b[31mb")
    'a␛[31mb'
    """
    return text if isinstance(text, SafeText) else SafeStream().feed(str(text))


def safe_line(text: object) -> SafeText:
    """Any text as one safe line: newlines and tabs become visible too."""
    return SafeStream(keep_lines=False).feed(str(text))


def rich_text(text: object, style: str = "") -> Text:
    """Safe text as rich's `Text`, which, unlike markup, says exactly what it says."""
    from rich.text import Text

    return Text(safe(text), style=style)


def _is_variation(code: int) -> bool:
    return any(code in one for one in _VARIATION)
