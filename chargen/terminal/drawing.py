"""Drawing: what all pictures of the terminal have in common, and the way to lines of ANSI.

A picture draws itself as lines of rich's segments, for any width. Rich layouts take it as it is
(`console.print`, `Live`, `Group`, tables). The REPL writes its picture below a text that scrolls;
rich cannot do that, so `ansi_lines` turns a picture into finished strings. This file knows no
numbers and no colours.

Only SafeText and the drawing characters of this package may stand in a segment: rich passes
escape sequences on unchanged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache
from textwrap import wrap
from typing import TYPE_CHECKING

from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style

from chargen.terminal.palette import RESET
from chargen.terminal.safetext import safe_line

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

SegmentLine = list[Segment]
"""One line of a picture, without its line end."""
MIN_WIDTH = 20
"""Terminal cells that a picture asks for at least, if it has so many."""
_MIN_FOLD = 10
"""Terminal cells of the narrowest column of folded text."""
_FOREGROUND, _BACKGROUND, _ATTRIBUTES = 1, 2, 4


class Drawing(ABC):
    """A picture that rich can print and that fits any width."""

    @abstractmethod
    def lines(self, width: int) -> list[SegmentLine]:
        """The picture in at most `width` terminal cells."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the picture as wide as rich allows."""
        for line in self.lines(options.max_width):
            yield from line
            yield Segment.line()

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Ask for the width that the picture takes when nothing limits it further."""
        lines = self.lines(options.max_width)
        width = max((Segment.get_line_length(line) for line in lines), default=0)
        width = min(width, options.max_width)
        return Measurement(min(MIN_WIDTH, width), width)


def fold(text: str, width: int) -> list[SegmentLine]:
    """Any text, made safe, as lines that break between words; an empty text is an empty line."""
    return [[Segment(line)] for line in wrap(safe_line(text), max(_MIN_FOLD, width)) or [""]]


def ansi_lines(drawing: Drawing, width: int) -> list[str]:
    """A picture as finished strings, each with its own colours and a reset at its end."""
    return [ansi_line(line) for line in drawing.lines(width)]


def ansi_line(line: SegmentLine) -> str:
    """A line as one string; a colour is named only where it changes.

    `Style.render` would also reset the colours after each cell. A live heatmap of 120 x 32 cells
    would become half as long again.
    """
    parts: list[str] = []
    current: Style | None = None
    for text, style, _ in line:
        if style is not current:
            parts.append(_change(current, style))
            current = style
        parts.append(text)
    if current is not None:
        parts.append(RESET)
    return "".join(parts)


@lru_cache(maxsize=1 << 14)
def _change(before: Style | None, after: Style | None) -> str:
    """The escape sequence from one style to another."""
    if after is None:
        return RESET
    codes, sets = _parameters(after)
    if before is not None:
        set_before = _parameters(before)[1]
        if set_before & (_ATTRIBUTES | ~sets):
            return f"{RESET}\x1b[{codes}m"
    return f"\x1b[{codes}m"


def _parameters(style: Style) -> tuple[str, int]:
    """SGR parameters of a style, and which properties they set.

    A palette gives only colours that its terminal has, so colours stay as they are here.
    """
    codes = style.render("|").partition("|")[0][2:-1]
    sets = _FOREGROUND * (style.color is not None) | _BACKGROUND * (style.bgcolor is not None)
    if style != Style.from_color(style.color, style.bgcolor):
        sets |= _ATTRIBUTES
    return codes, sets
