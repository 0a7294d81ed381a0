"""A block of lines that redraws itself at the bottom of the terminal, and gives way to the shell.

rich draws. Ctrl-Z erases the block and shows the cursor before the process stops; when the process
goes on in the foreground, the block is drawn again.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chargen.terminal.context import Terminal
from chargen.terminal.messages import ForegroundStream, is_foreground

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

_REFRESHES_PER_SECOND = 4


class LiveBlock:
    """Draws what `render` returns, a few times a second, from `start` to `stop`.

    Args:
        terminal: where to draw.
        render: what the block shows now; called in another thread.
    """

    def __init__(self, terminal: Terminal, render: Callable[[], RenderableType]) -> None:
        self._stream = ForegroundStream(terminal.err)
        self.console: Console = terminal.console(file=self._stream)
        self._render = render
        self._live: Live | None = None
        self._is_wanted = False
        self._handlers: dict[int, Any] = {}

    def start(self) -> None:
        """Begins to draw."""
        self._is_wanted = True
        self._handle("SIGTSTP", self._stopped)
        self._handle("SIGCONT", self._continued)
        self._draw()

    def poke(self) -> None:
        """Draws the block if it should be there: a shell's `fg` tells a job that runs nothing."""
        if self._is_wanted and self._live is None:
            self._draw()

    def stop(self) -> None:
        """Erases the block and shows the cursor; may be called twice."""
        self._is_wanted = False
        self._erase()
        while self._handlers:
            number, handler = self._handlers.popitem()
            signal.signal(number, handler)

    def _handle(self, name: str, handler: Callable[..., None]) -> None:
        number = getattr(signal, name, None)
        if number is None or threading.current_thread() is not threading.main_thread():
            return
        before = signal.getsignal(number)
        if before is not signal.SIG_IGN and number not in self._handlers:
            self._handlers[number] = before
            signal.signal(number, handler)

    def _stopped(self, number: int, frame: object) -> None:
        """Ctrl-Z: gives the screen back, then stops as if there were no handler."""
        self._erase()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # Here the process goes on: `fg` or `bg`.
        if self._is_wanted:
            signal.signal(number, self._stopped)
            self._continued(number, frame)

    def _continued(self, number: int, frame: object) -> None:
        """`fg` draws the block again; `bg` does not."""
        if self._is_wanted:
            self._draw()

    def _draw(self) -> None:
        from rich.live import Live

        if self._live is None and is_foreground(self._stream):
            self._live = Live(
                console=self.console,
                get_renderable=self._render,
                refresh_per_second=_REFRESHES_PER_SECOND,
                transient=True,
                vertical_overflow="crop",
            )
            self._live.start(refresh=True)

    def _erase(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()
