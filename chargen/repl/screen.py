"""Where the session talks to: text, lines, tables; with a terminal's powers or without any."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from chargen.terminal.context import Terminal
from chargen.terminal.heatmap import render
from chargen.terminal.palette import RESET, Palette, make_palette
from chargen.terminal.safetext import SafeText, rich_text, safe, safe_line

if TYPE_CHECKING:
    from chargen.insight.views import Grid

_DIM, _BOLD, _UNDERLINED = "\x1b[2m", "\x1b[1m", "\x1b[4m"


def fitting(parts: Iterable[str], width: int, between: str = ", ") -> SafeText:
    """As many of the parts, in order, as stand on one line."""
    line = ""
    for part in parts:
        longer = f"{line}{between}{part}" if line else part
        if len(longer) > width:
            break
        line = longer
    return safe_line(line)


class Screen:
    """The person's end of a session.

    Args:
        terminal: streams and what they can show.
        interactive: whether a person sits at a terminal that obeys escape codes.
    """

    def __init__(self, terminal: Terminal, *, interactive: bool) -> None:
        self.terminal, self.interactive = terminal, interactive
        self.out = terminal.out
        system = terminal.console(results=True).color_system if self._may_colour() else None
        self._system = system
        self.palette = self._palette("auto")

    def _may_colour(self) -> bool:
        return self.interactive or self.terminal.color == "always"

    def _palette(self, background: str) -> Palette:
        terminal = self.terminal
        return make_palette(
            self._system, terminal.environ, ascii=terminal.ascii, background=background
        )

    def set_background(self, background: str) -> None:
        """Colours for a dark or a light background."""
        self.palette = self._palette(background)

    def size(self) -> os.terminal_size:
        """Columns and rows; 80 x 24 where there is no terminal."""
        if not self.interactive:
            return os.terminal_size((80, 24))
        return shutil.get_terminal_size()

    @property
    def width(self) -> int:
        """Columns that a picture or a table may take."""
        return max(20, self.size().columns - 1)

    def write(self, text: SafeText) -> None:
        """Text as it is, without a line end."""
        self.out.write(text)

    def styled(self, text: SafeText, style: str) -> str:
        """Text in `dim`, `bold` or `underlined`, where the terminal can."""
        codes = {"dim": _DIM, "bold": _BOLD, "underlined": _UNDERLINED}
        return f"{codes[style]}{text}{RESET}" if self.interactive and text else text

    def line(self, text: object = "", style: str | None = None) -> None:
        """A line of results, wrapped at words."""
        from textwrap import wrap

        for one in str(text).split("\n"):
            pieces = wrap(safe_line(one), self.width, break_on_hyphens=False) or [""]
            for piece in pieces:
                shown = SafeText(piece)
                self.out.write((self.styled(shown, style) if style else shown) + "\n")
        self.out.flush()

    def complain(self, text: object) -> None:
        """A line that says what is wrong and what to do; on stderr where there is no person."""
        if self.interactive:
            self.line(text, "bold")
        else:
            self.out.flush()
            self.terminal.complain(text)

    def picture(self, grid: Grid) -> None:
        """A view, as wide as the screen."""
        self.lines(render(grid, self.palette, self.width))

    def lines(self, lines: Iterable[str]) -> None:
        """Finished lines of a picture."""
        self.out.write("".join(f"{one}\n" for one in lines))
        self.out.flush()

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table without borders; every cell is made safe."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False, show_header=any(headers))
        for header in headers:
            table.add_column(rich_text(header, "bold"), overflow="fold")
        for row in rows:
            table.add_row(*(rich_text(safe_line(cell)) for cell in row))
        console = self.terminal.console(results=True)
        console.width = self.width
        console.print(table)
        self.out.flush()

    def columns(self, left: str, right: str, titles: tuple[str, str]) -> None:
        """Two texts side by side."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False, expand=True, padding=(0, 1))
        for title in titles:
            table.add_column(rich_text(safe_line(title), "bold"), ratio=1, overflow="fold")
        table.add_row(rich_text(safe(left)), rich_text(safe(right)))
        console = self.terminal.console(results=True)
        console.width = self.width
        console.print(table)
        self.out.flush()
