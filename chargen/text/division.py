"""Divides a text into documents: at empty lines, or at lines that are exactly a separator.

The lines that divide belong to no document, and a document ends without a line end: the
end-of-document token stands there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from chargen.text.tokenizer import utf8

DIVIDING_MODES = ("paragraphs", "separator")


def divided(
    pieces: Iterable[str | bytes], separator: str | None = None
) -> Iterator[str | bytes | None]:
    """The pieces of a text, and None after each document.

    Args:
        pieces: the text or the bytes, in pieces of any length.
        separator: the line that divides, without its line end; None divides at empty lines.
    """
    divider: _Divider | None = None
    is_text = True
    for piece in pieces:
        if divider is None:
            is_text = isinstance(piece, str)
            # Each byte as the character of its number: one divider serves both.
            line = separator if is_text or separator is None else _spelled(utf8(separator))
            divider = _Divider(line)
        text = piece if isinstance(piece, str) else _spelled(piece)
        for part in divider.feed(text):
            yield part if is_text or part is None else part.encode("latin-1")
    if divider is not None:
        for part in divider.finish():
            yield part if is_text or part is None else part.encode("latin-1")


def _spelled(data: bytes) -> str:
    return data.decode("latin-1")


class _Divider:
    """Divides text that comes in pieces; see `divided`."""

    def __init__(self, separator: str | None) -> None:
        line = r"[ \t\r]*" if separator is None else re.escape(separator) + r"\r?"
        self._dividing_lines = re.compile(rf"(?m)(?:^{line}\n)+")
        self._rest = ""
        """The last line, whose end has not come yet."""
        self._begun = False
        """Whether a document has begun."""
        self._line_ends = ""
        """Line ends that belong to the document if it goes on."""

    def feed(self, text: str) -> Iterator[str | None]:
        """Takes in more text."""
        text = self._rest + text
        cut = text.rfind("\n") + 1
        self._rest = text[cut:]
        first, *others = self._dividing_lines.split(text[:cut])
        yield from self._go_on(first)
        for part in others:
            yield from self._end()
            yield from self._go_on(part)

    def finish(self) -> Iterator[str | None]:
        """Takes in the end of the text."""
        if self._rest:
            yield from self.feed("\n")
        yield from self._end()

    def _go_on(self, part: str) -> Iterator[str]:
        if not self._begun:
            part = part.lstrip("\r\n")
        body = part.rstrip("\r\n")
        if body:
            yield self._line_ends + body
            self._begun, self._line_ends = True, part[len(body) :]
        elif self._begun:
            self._line_ends += part

    def _end(self) -> Iterator[None]:
        if self._begun:
            yield None
        self._begun, self._line_ends = False, ""
