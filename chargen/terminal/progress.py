"""How far a job of some seconds is, on one line; and numbers and durations as short text.

The line is drawn here and not by `rich.progress`. That would load rich's console before the first
number is known (the line appears only after 0.3 s). It prints nothing when stderr is a file
(here: a line every 30 s). It redraws from another thread while notes are written to the same
stream. `duration` and `size` are shorter than the calls to humanize that would give this
spelling.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chargen.terminal.context import Terminal
from chargen.terminal.safetext import safe_line

Clock = Callable[[], float]
_SECONDS_UNTIL_SHOWN = 0.3
_SECONDS_BETWEEN_CHANGES = 0.1
_SECONDS_BETWEEN_LOG_LINES = 30.0


def duration(seconds: float) -> str:
    """Seconds as people write them: 42s, 3m10s, 2h05m."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def size(number: float) -> str:
    """A count with a unit: 950, 12.3k, 4.1M, 1.2G."""
    for unit in ("", "k", "M", "G"):
        if abs(number) < 999.5 or unit == "G":
            return f"{number:.0f}" if not unit else f"{number:.1f}{unit}"
        number /= 1000
    raise AssertionError


def plural(count: int, word: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


@contextmanager
def progress_line(
    terminal: Terminal, what: str, clock: Clock = time.monotonic
) -> Iterator[Callable[[float], None]]:
    """Yields a function that takes the share done, 0 to 1; draws only on a terminal.

    Args:
        terminal: where to draw.
        what: the job, in a word or two.
        clock: seconds.
    """
    line = _ProgressLine(terminal, clock)
    try:
        yield lambda share: line.show(f"{what}: {min(1.0, share):4.0%}")
    finally:
        line.clear()


@contextmanager
def reading_line(
    terminal: Terminal, clock: Clock = time.monotonic
) -> Iterator[Callable[[str, int, int | None], None]]:
    """Yields a function that takes the job, the bytes done, and the bytes in all or None.

    Without a terminal, it prints a line every 30 seconds.

    Args:
        terminal: where to draw.
        clock: seconds.
    """
    line = _ProgressLine(terminal, clock, logs=True)

    def report(job: str, done: int, total: int | None) -> None:
        if total == done:
            line.clear()
        elif total:
            line.show(f"{job}: {min(1.0, done / total):4.0%} of {size(total)}B")
        else:
            line.show(f"{job}: {size(done)}B" if done else job)

    try:
        yield report
    finally:
        line.clear()


class _ProgressLine:
    """Text on the cursor's line that replaces itself, at most ten times a second."""

    def __init__(self, terminal: Terminal, clock: Clock, *, logs: bool = False) -> None:
        self._terminal = terminal
        self._clock = clock
        self._logs = logs
        self._drawn = False
        self._start_waiting()

    def _start_waiting(self) -> None:
        live = self._terminal.is_live
        wait = _SECONDS_UNTIL_SHOWN if live else _SECONDS_BETWEEN_LOG_LINES
        self._next = self._clock() + wait

    def show(self, text: str) -> None:
        """Draw or print the text if enough time has passed."""
        now = self._clock()
        if now < self._next:
            return
        if self._terminal.is_live:
            self._next, self._drawn = now + _SECONDS_BETWEEN_CHANGES, True
            self._terminal.err.write(f"\r{safe_line(text)} \x1b[K")
            self._terminal.err.flush()
        elif self._logs:
            self._next = now + _SECONDS_BETWEEN_LOG_LINES
            self._terminal.note(text)

    def clear(self) -> None:
        """Erase the text; the next job waits before it is shown."""
        if self._drawn and self._terminal.is_live:  # in the background, the line is the shell's
            self._terminal.err.write("\r\x1b[K")
            self._terminal.err.flush()
        self._drawn = False
        self._start_waiting()
