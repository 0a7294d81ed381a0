"""The display of a comparison: a list of its runs and their curves, redrawn; or plain lines.

Takes the runs as they are now. Does not know how they are trained or measured.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from chargen.insight.comparison import ComparedRun
from chargen.insight.plot import Figure
from chargen.terminal.charts import Chart
from chargen.terminal.context import Terminal
from chargen.terminal.live_block import LiveBlock
from chargen.terminal.palette import make_palette
from chargen.terminal.progress import size
from chargen.terminal.safetext import rich_text, safe_line

if TYPE_CHECKING:
    from rich.console import RenderableType

_LINE_SECONDS = 30.0
_MIN_CHART_ROWS = 20
"""Terminal rows that must be free below the runs for a chart."""


class ComparisonDisplay(Protocol):
    """Shows the runs of a comparison while they change."""

    def show(self, runs: Sequence[ComparedRun]) -> None:
        """The runs have changed."""

    def note(self, text: str) -> None:
        """A line for the person that stays on the screen."""

    def notice(self, text: str) -> None:
        """A line for the person about what happens now."""

    def close(self) -> None:
        """Leave the terminal as it was; may be called twice."""


def open_comparison(terminal: Terminal, draw: Callable[..., Figure]) -> ComparisonDisplay:
    """The display that fits the terminal: live, or plain lines.

    Args:
        terminal: where to draw.
        draw: makes the figure of the runs.
    """
    return LiveComparison(terminal, draw) if terminal.is_live else LineComparison(terminal)


def _describe(run: ComparedRun) -> str:
    """A run on one line: its stage, score and speed."""
    parts = [f"{run.run}: {run.stage}"]
    if run.stage == "training":
        parts.append(f"{run.share:.0%}")
    if run.curve and math.isfinite(run.bits_per_byte):
        parts.append(f"{run.bits_per_byte:.3f} bits/byte")
    if run.tokens_per_second:
        parts.append(f"{size(run.tokens_per_second)} tokens/s")
    return ", ".join(parts)


class LineComparison:
    """A line when a stage begins, and every 30 seconds."""

    def __init__(self, terminal: Terminal, clock: Callable[[], float] = time.monotonic) -> None:
        self._terminal, self._clock = terminal, clock
        self._last = clock()
        self._stages: dict[str, str] = {}

    def show(self, runs: Sequence[ComparedRun]) -> None:
        """Print the runs that are in a new stage, or whose last line is old."""
        for run in runs:
            if self._stages.get(run.run, "waiting") != run.stage:
                self._stages[run.run] = run.stage
                self._print(run)
            elif run.stage == "training" and self._clock() - self._last >= _LINE_SECONDS:
                self._print(run)

    def _print(self, run: ComparedRun) -> None:
        self._last = self._clock()
        self._terminal.note(_describe(run))

    def note(self, text: str) -> None:
        """Print the line."""
        self._terminal.note(text)

    def notice(self, text: str) -> None:
        """Print the line."""
        self._terminal.note(text)

    def close(self) -> None:
        """Nothing to restore."""


class LiveComparison:
    """The runs and their curves at the bottom of the terminal."""

    def __init__(self, terminal: Terminal, draw: Callable[..., Figure]) -> None:
        self._terminal, self._draw = terminal, draw
        self._block = LiveBlock(terminal, self._render)
        self._console = self._block.console
        self._palette = make_palette(
            self._console.color_system, terminal.environ, ascii=terminal.ascii
        )
        self._runs: Sequence[ComparedRun] = ()
        self._notice = ""
        self._started = False

    def show(self, runs: Sequence[ComparedRun]) -> None:
        """Keep the runs as they are now for the next refresh.

        rich's timer draws in a thread of its own, while the runs go on changing here.
        """
        self._runs = tuple(run.snapshot() for run in runs)
        if not self._started:
            self._started = True
            self._block.start()
        self._block.poke()

    def note(self, text: str) -> None:
        """Print the line above the display.

        While the display is drawn, its own console must print: another writer would move the
        cursor away from the position that rich has stored.
        """
        if self._started and self._terminal.is_live:
            self._console.print(rich_text(safe_line(text)), soft_wrap=True)
        else:
            self._terminal.note(text)

    def notice(self, text: str) -> None:
        """Show the line below the curves; in the background, print it."""
        self._notice = text
        if not self._terminal.is_live:
            self._terminal.note(text)

    def close(self) -> None:
        """Erase the display and give the cursor back."""
        self._block.stop()

    def _render(self) -> RenderableType:
        from rich.console import Group

        lines = [rich_text(safe_line(_describe(run))) for run in self._runs]
        parts: list[RenderableType] = [*lines]
        figure = self._draw(self._runs)
        if (
            figure.plots[0].series
            and shutil.get_terminal_size().lines - len(lines) > _MIN_CHART_ROWS
        ):
            parts.append(Chart(figure, self._palette))
        if self._notice:
            lines.append(rich_text(safe_line(self._notice)))
            parts.append(lines[-1])
        for line in lines:
            line.truncate(self._console.width, overflow="crop")
        return Group(*parts)
