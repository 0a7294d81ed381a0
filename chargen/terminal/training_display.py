"""The display of a training run: a few lines that redraw themselves, or plain lines.

Takes numbers and strings; knows neither torch nor how a sample is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from chargen.terminal.context import Terminal
from chargen.terminal.progress import duration, size
from chargen.terminal.safetext import rich_text, safe

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live


_REFRESH = 4  # times a second
_LINE_SECONDS = 30.0
_SAMPLE_LINES = 6
_SMOOTH = 0.98


@dataclass(kw_only=True)
class TrainingProgress:
    """What a display knows of a run."""

    title: str = ""
    step: int = 0
    steps: int = 1
    loss: float | None = None
    """Smoothed, in nats per token."""
    tokens_per_second: float = 0.0
    seconds: float = 0.0
    bits_per_byte: float | None = None
    best_bits_per_byte: float | None = None
    sample: str = ""
    notice: str = ""
    """Shown below everything else."""
    budget: float | None = None
    """Seconds the run may take, where a clock and not the steps decides."""
    _first: tuple[int, float] | None = None

    def advance(self, *, step: int, steps: int, loss: float, tokens: int, seconds: float) -> None:
        """Take in one training step."""
        self.loss = loss if self.loss is None else _SMOOTH * self.loss + (1 - _SMOOTH) * loss
        self.step, self.steps, self.seconds = step, steps, seconds
        # From the first step on: reading the corpus and planning are no part of the pace.
        first_tokens, first_seconds = self._first = self._first or (tokens, seconds)
        if seconds > first_seconds:
            self.tokens_per_second = (tokens - first_tokens) / (seconds - first_seconds)

    @property
    def remaining(self) -> float:
        """Seconds to go: of the time that was given, or at the pace so far."""
        if self.budget is not None:
            return max(0.0, self.budget - self.seconds)
        return self.seconds / max(1, self.step) * (self.steps - self.step)

    def line(self) -> str:
        """Everything on one line, for logs."""
        parts = [f"step {self.step}/{self.steps}"]
        if self.loss is not None:
            parts.append(f"loss {self.loss:.3f}")
        if self.bits_per_byte is not None:
            parts.append(f"validation {self.bits_per_byte:.3f} bits/byte")
        parts.append(f"{size(self.tokens_per_second)} tokens/s")
        parts.append(f"{duration(self.remaining)} left")
        return ", ".join(parts)


class Display(Protocol):
    """Shows a `TrainingProgress` while it changes."""

    def start(self) -> None:
        """Begin."""

    def stepped(self) -> None:
        """A step was made."""

    def stop(self) -> None:
        """End, leaving the terminal as it was; may be called twice."""


def open_display(terminal: Terminal, progress: TrainingProgress) -> Display:
    """The display that fits the terminal: live, plain lines, or none with --quiet."""
    if terminal.is_live:
        return LiveDisplay(terminal, progress)
    return LineDisplay(terminal, progress)


class LineDisplay:
    """A line every half minute."""

    def __init__(
        self,
        terminal: Terminal,
        progress: TrainingProgress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._terminal = terminal
        self._progress = progress
        self._clock = clock
        self._last = clock()

    def start(self) -> None:
        """Nothing to draw yet."""

    def stepped(self) -> None:
        """A line when half a minute has passed."""
        now = self._clock()
        if now - self._last >= _LINE_SECONDS:
            self._last = now
            self._terminal.note(self._progress.line())

    def stop(self) -> None:
        """Nothing to restore."""


class LiveDisplay:
    """A block of lines at the bottom of the terminal, redrawn a few times a second."""

    def __init__(self, terminal: Terminal, progress: TrainingProgress) -> None:
        from rich.live import Live

        self._progress = progress
        self._console = terminal.console()
        self._bar = "#-" if terminal.ascii else "━─"
        self._live: Live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=_REFRESH,
            transient=True,
        )

    def start(self) -> None:
        """Begin to draw."""
        self._live.start(refresh=True)

    def stepped(self) -> None:
        """Drawn by rich's own timer."""

    def stop(self) -> None:
        """Erase the block and give the cursor back."""
        self._live.stop()

    def _render(self) -> RenderableType:
        from rich.console import Group

        progress = self._progress
        width = max(10, min(40, self._console.width - 40))
        done = progress.step / max(1, progress.steps)
        if progress.budget is not None:
            done = progress.seconds / progress.budget
        done = min(1.0, done)
        full = int(done * width)
        head = rich_text(f"{progress.title}  ", "bold")
        head.append(self._bar[0] * full, "cyan")
        head.append(self._bar[1] * (width - full), "dim")
        head.append(f" {done:4.0%}  {duration(progress.remaining)} left")
        rows = [head, rich_text(self._numbers())]
        if progress.sample:
            lines = safe(progress.sample).expandtabs(4).splitlines()[:_SAMPLE_LINES]
            rows += [rich_text(f"  │ {line}", "dim italic") for line in lines]
        if progress.notice:
            rows.append(rich_text(progress.notice, "bold"))
        for row in rows:
            row.truncate(self._console.width, overflow="ellipsis")
        return Group(*rows)

    def _numbers(self) -> str:
        progress = self._progress
        parts = [f"step {progress.step:,}/{progress.steps:,}"]
        if progress.loss is not None:
            parts.append(f"loss {progress.loss:.3f}")
        if progress.bits_per_byte is not None:
            best = progress.best_bits_per_byte or progress.bits_per_byte
            parts.append(f"{progress.bits_per_byte:.3f} bits/byte (best {best:.3f})")
        parts.append(f"{size(progress.tokens_per_second)} tokens/s")
        return "  ".join(parts)
