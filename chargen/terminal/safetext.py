"""SafeText: the only way from a model's or a file's text to the screen.

A model can emit any character of its training text, and a file name can hold almost any: escape
sequences, bidi overrides, a hundred combining marks on one letter. The terminal must show such
characters and not obey them. Newline and tab stay. Other control characters become control
pictures or ⟨U+XXXX⟩, and combining marks are limited. rich escapes none of this, so only SafeText
may reach it.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

MAX_MARKS = 6
"""Combining marks that may follow each other: no living script stacks so many."""

# Characters outside of the categories Cc, Cs, Zl and Zp that reorder or hide text. The joiners
# U+200C and U+200D and the variation selectors stay, because scripts and emoji need them.
_REORDER_OR_HIDE = frozenset({0x061C, 0x180E, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF}).union(
    range(0x202A, 0x202F),
    range(0x2061, 0x2070),
    range(0xFFF9, 0xFFFC),
    range(0x1D173, 0x1D17B),
    range(0xE0000, 0xE0080),
)
_VARIATION_SELECTORS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))


class SafeText(str):
    """Text that a terminal shows and never obeys; `safe` and `SafeStream` make it."""

    __slots__ = ()


class SafeStream:
    """Makes a text safe piece by piece; the pieces joined equal `safe` of the whole text."""

    def __init__(self, *, keep_lines: bool = True) -> None:
        self._passes = "\n\t" if keep_lines else ""
        self._marks = 0

    def feed(self, text: str) -> SafeText:
        """The next piece, made safe."""
        if text.isascii() and text.isprintable():
            self._marks = 0 if text else self._marks
            return SafeText(text)
        return SafeText("".join(map(self._make_visible, text)))

    def _make_visible(self, character: str) -> str:
        if character in self._passes:
            self._marks = 0
            return character
        category = unicodedata.category(character)
        if category in ("Mn", "Me") and not _is_variation_selector(ord(character)):
            self._marks += 1
            return character if self._marks <= MAX_MARKS else ""
        if category not in ("Cf", "Mc", "Mn"):
            self._marks = 0
        return visible(character, category)


def visible(character: str, category: str | None = None) -> str:
    """A safe spelling of one character: itself, its control picture, or its number."""
    code = ord(character)
    category = category or unicodedata.category(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if category == "Cs" or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF:
        return "\ufffd"
    if category in ("Cc", "Zl", "Zp") or code in _REORDER_OR_HIDE:
        return f"⟨U+{code:04X}⟩"
    return character


def safe(text: object) -> SafeText:
    r"""Any text, made safe; newlines and tabs stay.

    >>> safe("a\\x1b[31mb")
    'a␛[31mb'
    """
    return text if isinstance(text, SafeText) else SafeStream().feed(str(text))


def safe_line(text: object) -> SafeText:
    """Any text as one safe line; newlines and tabs become visible marks."""
    return SafeStream(keep_lines=False).feed(str(text))


def rich_text(text: object, style: str = "") -> Text:
    """Safe text as rich's `Text`, in which brackets are no markup."""
    from rich.text import Text

    return Text(safe(text), style=style)


def _is_variation_selector(code: int) -> bool:
    return any(code in selectors for selectors in _VARIATION_SELECTORS)
