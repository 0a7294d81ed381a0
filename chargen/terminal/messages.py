"""A stream for messages: what cannot be said does not stop what is being done.

A pipe whose reader has ended, a full disk and a closed window make every write fail. A training
goes on and saves all the same, and its exit code stays true.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any


class MessageStream:
    """Passes writes on to a text stream, and drops those that fail.

    Args:
        stream: usually stderr.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes what can be written; returns the length of the text."""
        with suppress(OSError, ValueError), never_stopped():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flushes what can be flushed."""
        with suppress(OSError, ValueError), never_stopped():
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        try:
            return self._stream.isatty()
        except (OSError, ValueError):
            return False


def silence(stream: IO[str]) -> None:
    """Discards from now on what is written to stdout or stderr, and what could not be written."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def never_stopped() -> Iterator[None]:
    """`stty tostop` stops a job of the background that writes; inside, it does not."""
    stop: Any = getattr(signal, "SIGTTOU", None)
    mask: Callable[..., Any] | None = getattr(signal, "pthread_sigmask", None)
    if stop is None or mask is None:  # Windows
        yield
        return
    before = mask(signal.SIG_BLOCK, {stop})
    try:
        yield
    finally:
        mask(signal.SIG_SETMASK, before)


def is_foreground(stream: Any) -> bool:
    """Whether this process is in the job that the terminal of a stream shows.

    A job of the background (`chargen train ... &`) may write lines, but must not redraw the screen,
    which belongs to the shell. True where the system has no jobs.
    """
    if not hasattr(os, "tcgetpgrp"):
        return True
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):
        # Not the terminal that controls this process: no other job has it.
        return True


class ForegroundStream(MessageStream):
    """A `MessageStream` for displays that redraw themselves: silent in the background."""

    def write(self, text: str) -> int:
        """Writes the text while the job is in the foreground."""
        return super().write(text) if is_foreground(self._stream) else len(text)
