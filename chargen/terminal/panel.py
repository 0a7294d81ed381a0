"""A block of lines at the bottom of the screen, while text scrolls above it.

The terminal's scrolling region keeps the text above the block (DECSTBM of the VT100). Only rows
that changed are written, so nothing flickers. No row reaches the last column, because terminals
differ in what they erase there. The lines come from `drawing.ansi_lines`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import terminal_size
from typing import IO

_MIN_TEXT_ROWS = 6
"""Rows that stay for the text."""


class Panel:
    """The block; open it while the cursor is where the text goes on.

    Args:
        out: the terminal.
        size: gives the terminal's columns and rows.
    """

    def __init__(self, out: IO[str], size: Callable[[], terminal_size]) -> None:
        self._out, self._size = out, size
        self._shown: list[str] = []
        self._height = 0
        self._screen: terminal_size | None = None

    def room(self) -> tuple[int, int]:
        """Columns and rows that a picture may have; 0 rows on a small screen."""
        columns, rows = self._size()
        return max(0, columns - 1), max(0, rows - _MIN_TEXT_ROWS)

    @property
    def is_stale(self) -> bool:
        """Whether the screen's size has changed since the panel was opened."""
        return self._screen is not None and self._screen != self._size()

    def show(self, lines: Sequence[str]) -> None:
        """Draw the rows that changed; opens the panel anew if its height or the screen changed."""
        if self.is_stale or len(lines) != self._height:
            self.close()
            self._open(len(lines))
        if not lines:
            return
        assert self._screen is not None
        first = self._screen.lines - self._height + 1
        changed = [
            f"\x1b[{first + number};1H{line}\x1b[K"
            for number, line in enumerate(lines)
            if number >= len(self._shown) or line != self._shown[number]
        ]
        if changed:
            self._out.write("\x1b[?25l\x1b7" + "".join(changed) + "\x1b8\x1b[?25h")
        self._shown = list(lines)

    def close(self) -> None:
        """Erase the block and give the whole screen back to the text."""
        if self._height:
            self._out.write("\x1b7\x1b[r\x1b8\x1b[J")
        self._height, self._shown, self._screen = 0, [], None

    def _open(self, height: int) -> None:
        self._screen = self._size()
        self._height = height
        if height:
            # Make room by scrolling (the column stays), then keep the text in the rows above.
            self._out.write("\x1bD" * height + f"\x1b[{height}A")
            self._out.write(f"\x1b7\x1b[1;{self._screen.lines - height}r\x1b8")
