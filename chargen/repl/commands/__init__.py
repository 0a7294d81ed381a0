"""What a slash command is, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chargen.errors import UsageError
from chargen.repl.screen import Screen
from chargen.repl.session import Session

if TYPE_CHECKING:
    from chargen.repl.stream import KeySource
    from chargen.terminal.step_display import StepView


@dataclass(kw_only=True)
class Context:
    """What commands work on."""

    session: Session
    screen: Screen
    keys: KeySource | None = None
    """What steers a stream; None where nobody can."""
    pick: Callable[[Context], None] | None = None
    """The picker of `/choose`; None where there is no terminal."""
    browse: Callable[[StepView], None] | None = None
    """What lets a person walk through the steps of `/step`; None where there is no terminal."""
    told: set[str] = field(default_factory=set)
    """Notes that were given once."""

    def note_once(self, text: str) -> None:
        """A line for the person, the first time only."""
        if text not in self.told:
            self.told.add(text)
            self.screen.line(text, "dim")


@dataclass(frozen=True)
class Command:
    """A row of `COMMANDS`."""

    arguments: str
    help: str
    run: Callable[[Context, str], None]
    complete: Callable[[Context], tuple[str, ...]] = lambda context: ()
    """Words that its argument may be."""
    more: tuple[str, ...] = ()
    """Lines for `/help NAME`."""


def whole_number(text: str, what: str, default: int, most: int = 1_000_000) -> int:
    """A count that a person wrote, or the default.

    Raises:
        UsageError: it is none, or out of range.
    """
    if not text:
        return default
    if not (text.isdecimal() and text.isascii() and 1 <= int(text) <= most):
        raise UsageError(f"{what} {text}: must be a whole number from 1 to {most:,}")
    return int(text)
