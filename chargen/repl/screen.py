"""How does the session show something: text, lines, pictures, tables?

A `Screen` uses what the terminal can do, and prints plain text where there is none. It knows no
command and no session.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from chargen.terminal.context import Terminal
from chargen.terminal.heatmap import render
from chargen.terminal.palette import RESET, Palette, make_palette
from chargen.terminal.safetext import SafeText, rich_text, safe, safe_line

if TYPE_CHECKING:
    from rich.table import Table

    from chargen.insight.views import Grid

_STYLE_CODES = {"dim": "\x1b[2m", "bold": "\x1b[1m", "underlined": "\x1b[4m"}
_MIN_COLUMNS = 20
"""Pictures and tables take at least this many columns, even on a narrower screen."""


def fitting(parts: Iterable[str], width: int, between: str = ", ") -> SafeText:
    """Joins the first parts, as many as fit in `width` columns."""
    line = ""
    for part in parts:
        longer = f"{line}{between}{part}" if line else part
        if len(longer) > width:
            break
        line = longer
    return safe_line(line)


class Screen:
    """Where a session writes.

    Args:
        terminal: the streams, and what they can show.
        interactive: whether a person sits at a terminal that obeys escape codes.
    """

    def __init__(self, terminal: Terminal, *, interactive: bool) -> None:
        self.terminal, self.interactive = terminal, interactive
        self.out = terminal.out
        colours = interactive or terminal.color == "always"
        self._system = terminal.console(results=True).color_system if colours else None
        self.set_background("auto")

    def set_background(self, background: str) -> None:
        """Chooses the colours for a dark or a light background; `auto` asks the environment."""
        terminal = self.terminal
        self.palette: Palette = make_palette(
            self._system, terminal.environ, ascii=terminal.ascii, background=background
        )

    def size(self) -> os.terminal_size:
        """Returns columns and rows; 80 x 24 where there is no terminal."""
        if not self.interactive:
            return os.terminal_size((80, 24))
        return shutil.get_terminal_size()

    @property
    def width(self) -> int:
        """The columns that a picture or a table may take: all but the last."""
        return max(_MIN_COLUMNS, self.size().columns - 1)

    def write(self, text: SafeText) -> None:
        """Writes a text as it is, without a line end."""
        self.out.write(text)

    def styled(self, text: SafeText, style: str) -> str:
        """Returns the text in `dim`, `bold` or `underlined`; plain where there is no terminal."""
        return f"{_STYLE_CODES[style]}{text}{RESET}" if self.interactive and text else text

    def line(self, text: object = "", style: str | None = None) -> None:
        """Writes a text as lines of results, wrapped between words.

        Args:
            text: made safe here.
            style: `dim`, `bold`, `underlined` or None.
        """
        for line in str(text).split("\n"):
            for piece in wrap(safe_line(line), self.width, break_on_hyphens=False) or [""]:
                shown = SafeText(piece)
                self.out.write((self.styled(shown, style) if style else shown) + "\n")
        self.out.flush()

    def complain(self, text: object) -> None:
        """Writes an error; goes to stderr where there is no terminal."""
        if self.interactive:
            self.line(text, "bold")
        else:
            self.out.flush()
            self.terminal.complain(text)

    def picture(self, grid: Grid) -> None:
        """Draws a view over the width of the screen."""
        self.lines(render(grid, self.palette, self.width))

    def lines(self, lines: Iterable[str]) -> None:
        """Writes the finished lines of a picture."""
        self.out.write("".join(f"{line}\n" for line in lines))
        self.out.flush()

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Writes a table without borders; empty headers are not shown. Makes every cell safe."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False, show_header=any(headers))
        for header in headers:
            table.add_column(rich_text(header, "bold"), overflow="fold")
        for row in rows:
            table.add_row(*(rich_text(safe_line(cell)) for cell in row))
        self._print(table)

    def columns(self, left: str, right: str, titles: tuple[str, str]) -> None:
        """Writes two texts side by side."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False, expand=True, padding=(0, 1))
        for title in titles:
            table.add_column(rich_text(safe_line(title), "bold"), ratio=1, overflow="fold")
        table.add_row(rich_text(safe(left)), rich_text(safe(right)))
        self._print(table)

    def _print(self, table: Table) -> None:
        console = self.terminal.console(results=True)
        console.width = self.width
        console.print(table)
        self.out.flush()
