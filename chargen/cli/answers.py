"""The guesses of a person, one character at a time: single keys of a terminal, or lines.

On a terminal a key is a guess as soon as it is pressed. Elsewhere (a pipe, or a system without
such terminals) each line holds guesses, and an empty line is a line end.
"""

from __future__ import annotations

import codecs
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from chargen.cli.standard_input import standard_input, wait_for_standard_input
from chargen.terminal.context import Terminal

_END_OF_INPUT = "\x04"
_OTHER_KEYS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?")
"""What arrows, function keys and keys with Alt send."""


class Answers(Protocol):
    """Where guesses come from."""

    def next(self) -> str | None:
        """The next guess; None when there are no more."""

    def drop_line(self) -> None:
        """Forgets the rest of a line, whose beginning was wrong."""


class LineAnswers:
    """Guesses in lines of standard input."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal, self._begun = terminal, False
        self._rest = ""

    def next(self) -> str | None:
        """The next character; an empty line is a line end."""
        if not self._rest:
            if not self._begun:
                self._begun = True
                wait_for_standard_input(self._terminal)
            line = standard_input().readline()
            if not line:
                return None
            self._rest = line.decode("utf-8", "replace").rstrip("\r\n") or "\n"
        guess, self._rest = self._rest[0], self._rest[1:]
        return guess

    def drop_line(self) -> None:
        """The next guess is in the next line."""
        self._rest = ""


class KeyAnswers:
    """Guesses as keys of the terminal that is standard input."""

    def __init__(self) -> None:
        self._descriptor = sys.stdin.fileno()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._waiting: list[str] = []

    def next(self) -> str | None:
        """The next key that makes a character; None for Ctrl-D."""
        import tty

        while not self._waiting:
            # Again before each key: after Ctrl-Z, the shell has set the terminal as it likes.
            tty.setcbreak(self._descriptor, tty.TCSADRAIN)  # type: ignore[attr-defined, unused-ignore]
            data = os.read(self._descriptor, 1024)
            if not data:
                return None
            typed = _OTHER_KEYS.sub("", self._decoder.decode(data)).replace("\r", "\n")
            self._waiting += filter(_is_guess, typed)
        key = self._waiting.pop(0)
        return None if key == _END_OF_INPUT else key

    def drop_line(self) -> None:
        """Each key is a guess of its own."""


def _is_guess(key: str) -> bool:
    return key in ("\n", "\t", _END_OF_INPUT) or unicodedata.category(key) != "Cc"


@contextmanager
def opened_answers(terminal: Terminal) -> Iterator[Answers]:
    """Keys where both ends are a terminal, else lines; leaves the terminal as it was."""
    has_keys = sys.stdin is not None and sys.stdin.isatty() and terminal.err.isatty()
    try:
        import termios
    except ImportError:  # Windows
        has_keys = False
    if not has_keys:
        yield LineAnswers(terminal)
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        yield KeyAnswers()
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
