"""Numbers and durations as short text.

How far something is that takes seconds: one line that rewrites itself, then goes away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeGuard

from chargen.terminal.context import Terminal
from chargen.terminal.safetext import safe_line


def duration(seconds: float) -> str:
    """Seconds as people say them: 42s, 3m10s, 2h05m."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
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


def is_figure(value: object) -> TypeGuard[float]:
    """Whether a value from a file is a number of a size that can be shown."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e12 < value < 1e12


_SILENT, _EVERY, _LOGGED = 0.3, 0.1, 30.0
"""Seconds: what is done sooner needs no line; between two changes of it; and, where nobody sees it
move, between two lines of a log."""

Clock = Callable[[], float]


@contextmanager
def progress_line(
    terminal: Terminal, what: str, clock: Clock = time.monotonic
) -> Iterator[Callable[[float], None]]:
    """A function that takes the share done, 0 to 1; nothing is shown where nobody sees it move."""
    line = _Line(terminal, clock)
    try:
        yield lambda share: line.show(f"{what}: {min(1.0, share):4.0%}")
    finally:
        line.clear()


@contextmanager
def reading_line(
    terminal: Terminal, clock: Clock = time.monotonic
) -> Iterator[Callable[[str, int, int | None], None]]:
    """A watcher of a corpus: what is done, with how many bytes of how many (None: nobody knows).

    Where nobody sees it move, it is a line of the log now and then.
    """
    line = _Line(terminal, clock, logs=True)

    def tell(doing: str, done: int, of: int | None) -> None:
        if of == done:
            line.clear()
        elif of:
            line.show(f"{doing}: {min(1.0, done / of):4.0%} of {size(of)}B")
        else:
            line.show(f"{doing}: {size(done)}B" if done else doing)

    try:
        yield tell
    finally:
        line.clear()


class _Line:
    """Text at the bottom of the screen, not too often."""

    def __init__(self, terminal: Terminal, clock: Clock, *, logs: bool = False) -> None:
        self._terminal = terminal
        self._clock = clock
        self._logs = logs
        self._drawn = False
        self._begin()

    def _begin(self) -> None:
        wait = _SILENT if self._terminal.is_live else _LOGGED
        self._next = self._clock() + wait

    def show(self, text: str) -> None:
        """Draw the text, if it is time."""
        now = self._clock()
        if now < self._next:
            return
        if self._terminal.is_live:
            self._next, self._drawn = now + _EVERY, True
            self._terminal.err.write(f"\r{safe_line(text)} \x1b[K")
            self._terminal.err.flush()
        elif self._logs:
            self._next = now + _LOGGED
            self._terminal.note(text)

    def clear(self) -> None:
        """Leave the line as it was; what comes next is something else."""
        if self._drawn:
            self._terminal.err.write("\r\x1b[K")
            self._terminal.err.flush()
        self._drawn = False
        self._begin()
