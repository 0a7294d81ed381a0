"""How far something is that takes seconds: one line that rewrites itself, then goes away."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chargen.terminal.context import Terminal
from chargen.terminal.safetext import safe_line

_SILENT, _EVERY = 0.3, 0.1
"""Seconds: what is done sooner needs no line; and between two changes of it."""


@contextmanager
def progress_line(
    terminal: Terminal, what: str, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[float], None]]:
    """A function that takes the share done, 0 to 1; nothing is shown where nobody sees it move."""
    began = clock()
    last, drawn = began + _SILENT - _EVERY, False

    def tell(share: float) -> None:
        nonlocal last, drawn
        now = clock()
        if terminal.is_live and now - last >= _EVERY:
            last, drawn = now, True
            terminal.err.write(f"\r{safe_line(what)}: {min(1.0, share):4.0%} ")
            terminal.err.flush()

    try:
        yield tell
    finally:
        if drawn:
            terminal.err.write("\r\x1b[K")
            terminal.err.flush()
