"""The display of a comparison: a table and curves that redraw themselves, or plain lines."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from chargen.insight.comparison import ComparedRun
from chargen.insight.plot import Figure
from chargen.terminal.charts import render_figure
from chargen.terminal.context import Terminal
from chargen.terminal.palette import Palette, make_palette
from chargen.terminal.progress import size
from chargen.terminal.safetext import rich_text, safe_line

if TYPE_CHECKING:
    from rich.console import RenderableType


_LINE_SECONDS = 30.0
_REFRESH = 2


class ComparisonDisplay(Protocol):
    """Shows contestants while they change."""

    def show(self, found: Sequence[ComparedRun]) -> None:
        """Something changed."""

    def note(self, text: str) -> None:
        """A line for the person."""

    def notice(self, text: str) -> None:
        """A line for the person, now."""

    def close(self) -> None:
        """Leave the terminal as it was; may be called twice."""


def open_comparison(terminal: Terminal, draw: Callable[..., Figure]) -> ComparisonDisplay:
    """What fits the terminal."""
    return LiveComparison(terminal, draw) if terminal.is_live else LineComparison(terminal)


def row(one: ComparedRun) -> str:
    """A contestant on one line."""
    parts = [f"{one.run}: {one.stage}"]
    if one.stage == "training":
        parts.append(f"{one.share:.0%}")
    if one.curve and math.isfinite(one.bits_per_byte):
        parts.append(f"{one.bits_per_byte:.3f} bits/byte")
    if one.tokens_per_second:
        parts.append(f"{size(one.tokens_per_second)} tokens/s")
    return ", ".join(parts)


class LineComparison:
    """A line when a stage begins, and every half minute."""

    def __init__(self, terminal: Terminal, clock: Callable[[], float] = time.monotonic) -> None:
        self._terminal, self._clock = terminal, clock
        self._last = clock()
        self._stages: dict[str, str] = {}

    def show(self, found: Sequence[ComparedRun]) -> None:
        """Say what is new."""
        for one in found:
            if self._stages.get(one.run, "waiting") != one.stage:
                self._stages[one.run] = one.stage
                self._terminal.note(row(one))
                self._last = self._clock()
            elif one.stage == "training" and self._clock() - self._last >= _LINE_SECONDS:
                self._last = self._clock()
                self._terminal.note(row(one))

    def note(self, text: str) -> None:
        """As it comes."""
        self._terminal.note(text)

    def notice(self, text: str) -> None:
        """As it comes."""
        self._terminal.note(text)

    def close(self) -> None:
        """Nothing to restore."""


class LiveComparison:
    """A table and curves at the bottom of the terminal."""

    def __init__(self, terminal: Terminal, draw: Callable[..., Figure]) -> None:
        from rich.live import Live

        self._terminal, self._draw = terminal, draw
        self._console = terminal.console()
        self._palette: Palette = make_palette(
            self._console.color_system, terminal.environ, ascii=terminal.ascii
        )
        self._found: Sequence[ComparedRun] = ()
        self._notice = ""
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=_REFRESH,
            transient=True,
        )
        self._started = False

    def show(self, found: Sequence[ComparedRun]) -> None:
        """Drawn by rich's own timer."""
        self._found = found
        if not self._started:
            self._started = True
            self._live.start(refresh=True)

    def note(self, text: str) -> None:
        """Above the table: through the console that draws it, which else would lose its place."""
        if self._started:
            self._console.print(rich_text(safe_line(text)), soft_wrap=True)
        else:
            self._terminal.note(text)

    def notice(self, text: str) -> None:
        """Below the table."""
        self._notice = text

    def close(self) -> None:
        """Erase the block and give the cursor back."""
        self._live.stop()

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        columns, rows = shutil.get_terminal_size()
        width = max(20, columns - 1)
        lines = [safe_line(row(one))[:width] for one in self._found]
        figure = self._draw(self._found)
        if figure.plots[0].series and rows - len(lines) > 20:
            lines += render_figure(figure, self._palette, width)
        if self._notice:
            lines.append(safe_line(self._notice)[:width])
        return Group(*(Text.from_ansi(one, no_wrap=True) for one in lines[: rows - 1]))
