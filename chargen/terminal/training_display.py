"""The display of a training run: a block of lines that redraws itself, or plain lines.

Takes numbers and strings. Knows neither torch nor how a sample is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from chargen.terminal.context import Terminal
from chargen.terminal.live_block import LiveBlock
from chargen.terminal.progress import duration, size
from chargen.terminal.safetext import rich_text, safe

if TYPE_CHECKING:
    from rich.console import OverflowMethod, RenderableType

_LINE_SECONDS = 30.0
_MAX_SAMPLE_LINES = 6
_LOSS_DECAY = 0.98
"""Of the exponential moving average of the loss that is shown."""


@dataclass(kw_only=True)
class TrainingProgress:
    """What a display shows of a run."""

    title: str = ""
    step: int = 0
    steps: int = 1
    loss: float | None = None
    """Exponential moving average, in nats per token."""
    tokens_per_second: float = 0.0
    seconds: float = 0.0
    bits_per_byte: float | None = None
    best_bits_per_byte: float | None = None
    sample: str = ""
    notice: str = ""
    """Shown below everything else."""
    budget_seconds: float | None = None
    """Seconds that the run may take; None if the number of steps decides."""
    _first: tuple[int, float] | None = None
    """Tokens and seconds at the first step."""

    def advance(self, *, step: int, steps: int, loss: float, tokens: int, seconds: float) -> None:
        """Take in one training step.

        Args:
            step: steps done.
            steps: steps of the whole run.
            loss: of this step, in nats per token.
            tokens: tokens read since the start.
            seconds: since the start.
        """
        decay = _LOSS_DECAY
        self.loss = loss if self.loss is None else decay * self.loss + (1 - decay) * loss
        self.step, self.steps, self.seconds = step, steps, seconds
        # The speed is that since the first step: reading and planning do not count.
        first_tokens, first_seconds = self._first = self._first or (tokens, seconds)
        if seconds > first_seconds:
            self.tokens_per_second = (tokens - first_tokens) / (seconds - first_seconds)

    @property
    def remaining(self) -> float:
        """Seconds left: of the budget, or for the other steps at the speed so far."""
        if self.budget_seconds is not None:
            return max(0.0, self.budget_seconds - self.seconds)
        return self.seconds / max(1, self.step) * (self.steps - self.step)

    def line(self) -> str:
        """All numbers on one line, for logs."""
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
        """Begin to draw."""

    def stepped(self) -> None:
        """A step was done."""

    def stop(self) -> None:
        """End and leave the terminal as it was; may be called twice."""


def open_display(terminal: Terminal, progress: TrainingProgress) -> Display:
    """The display that fits the terminal: live, or plain lines (none with --quiet)."""
    if terminal.is_live:
        return LiveDisplay(terminal, progress)
    return LineDisplay(terminal, progress)


class LineDisplay:
    """A line every 30 seconds."""

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
        """Print a line if 30 seconds have passed since the last one."""
        now = self._clock()
        if now - self._last >= _LINE_SECONDS:
            self._last = now
            self._terminal.note(self._progress.line())

    def stop(self) -> None:
        """Nothing to restore."""


class LiveDisplay:
    """A block of lines at the bottom of the terminal, redrawn a few times a second."""

    def __init__(self, terminal: Terminal, progress: TrainingProgress) -> None:
        self._progress = progress
        self._bar = "#-" if terminal.ascii else "━─"
        self._overflow: OverflowMethod = "crop" if terminal.ascii else "ellipsis"
        self._block = LiveBlock(terminal, self._render)
        self._console = self._block.console

    def start(self) -> None:
        """Begin to draw."""
        self._block.start()

    def stepped(self) -> None:
        """Draws the block if it is not there; else rich's timer draws."""
        self._block.poke()

    def stop(self) -> None:
        """Erase the block and show the cursor again."""
        self._block.stop()

    def _render(self) -> RenderableType:
        from rich.console import Group

        progress = self._progress
        width = max(10, min(40, self._console.width - 40))
        done = progress.step / max(1, progress.steps)
        if progress.budget_seconds is not None:
            done = progress.seconds / progress.budget_seconds
        done = min(1.0, done)
        full = int(done * width)
        head = rich_text(f"{progress.title}  ", "bold")
        head.append(self._bar[0] * full, "cyan")
        head.append(self._bar[1] * (width - full), "dim")
        head.append(f" {done:4.0%}  {duration(progress.remaining)} left")
        rows = [head, rich_text(self._numbers())]
        if progress.sample:
            lines = safe(progress.sample).expandtabs(4).splitlines()[:_MAX_SAMPLE_LINES]
            rows += [rich_text(f"  │ {line}", "dim italic") for line in lines]
        if progress.notice:
            rows.append(rich_text(progress.notice, "bold"))
        for row in rows:
            row.truncate(self._console.width, overflow=self._overflow)
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
