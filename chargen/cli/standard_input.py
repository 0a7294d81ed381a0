"""Standard input: read only where a person asks for it with `-`, and never in silence.

A command that reads standard input unasked takes the lines of a loop around it:
`while read seed; do chargen sample bard --seed $seed; done < seeds` would run once.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from io import BufferedReader
from typing import Protocol, cast

from chargen.errors import UsageError
from chargen.terminal.context import Terminal

SECONDS_UNTIL_TOLD = 1.0
"""Seconds without any input after which a line says that the command waits."""
_BLOCK_BYTES = 1 << 20
WAITING = "waiting for standard input; it ends with Ctrl-D, or when the other program closes it"
UNREAD = "standard input is not read; -p - reads it as the prompt"


class Timer(Protocol):
    """Calls a function once, later, in another thread."""

    def start(self) -> None:
        """Begin to wait."""

    def cancel(self) -> None:
        """Do not call the function, unless it was called already."""


MakeTimer = Callable[[float, Callable[[], None]], Timer]
"""Makes a timer from seconds and a function."""


@contextmanager
def waiting_told(
    terminal: Terminal, text: str, timer: MakeTimer = threading.Timer
) -> Iterator[threading.Event]:
    """Writes a line if what is done inside takes longer than a second; the event is set then."""
    told = threading.Event()

    def tell() -> None:
        told.set()
        terminal.note(text)

    waiting = timer(SECONDS_UNTIL_TOLD, tell)
    waiting.start()
    try:
        yield told
    finally:
        waiting.cancel()


def standard_input() -> BufferedReader:
    """Standard input as a stream of bytes.

    Raises:
        UsageError: it is closed.
    """
    if sys.stdin is None or getattr(sys.stdin, "closed", False):
        raise UsageError("'-' (standard input): it is closed; give a file or a text instead")
    return cast(BufferedReader, sys.stdin.buffer)


def read_standard_input(
    terminal: Terminal, *, limit: int | None = None, timer: MakeTimer = threading.Timer
) -> bytes:
    """All bytes of standard input; says once that it waits, when nothing comes for a second.

    Args:
        terminal: where it says so.
        limit: stops after more bytes than this; None reads to the end.
        timer: makes the timer of that second.

    Raises:
        UsageError: standard input is closed.
    """
    stream = standard_input()
    blocks: list[bytes] = []
    size, told = 0, threading.Event()
    while limit is None or size <= limit:
        with nullcontext(told) if told.is_set() else waiting_told(terminal, WAITING, timer) as told:
            block = stream.read1(_BLOCK_BYTES)  # what has come; waits for the first byte
        if not block:
            break
        blocks.append(block)
        size += len(block)
    return b"".join(blocks)


def wait_for_standard_input(terminal: Terminal, timer: MakeTimer = threading.Timer) -> None:
    """Returns when standard input has something to read, or ends; reads nothing.

    Returns at once where the system cannot tell.
    """
    with waiting_told(terminal, WAITING, timer), suppress(OSError, ValueError, AttributeError):
        select.select([sys.stdin.fileno()], [], [])


def has_unread_input() -> bool:
    """Whether a pipe or a file was given to this command and holds bytes that nobody has read."""
    try:
        descriptor = sys.stdin.fileno()
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            # Behind the beginning of a file, another program is reading it.
            return status.st_size > 0 and os.lseek(descriptor, 0, os.SEEK_CUR) == 0
        return stat.S_ISFIFO(status.st_mode) and _bytes_in_pipe(descriptor) > 0
    except (OSError, ValueError, AttributeError):
        return False


def _bytes_in_pipe(descriptor: int) -> int:
    """How many bytes wait in a pipe; 0 where the system cannot tell."""
    try:
        import fcntl
        import termios
    except ImportError:  # Windows
        return 0
    count = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0")
    return int.from_bytes(count, sys.byteorder)
