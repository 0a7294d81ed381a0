"""What is a slash command, and what does its function receive?

To add a command, write a function in write.py, inspect.py, files.py or learn.py, then add a row to
`COMMANDS` in table.py, then a line for the test (see `Command`). This file knows no command.
"""

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
    """What a command's function receives: the session, the screen and the keyboard.

    The last three fields are None where there is no terminal; the command then prints instead.
    """

    session: Session
    """The model, its texts and the settings: what a command changes."""
    screen: Screen
    """Where a command writes its answer."""
    keys: KeySource | None = None
    """The keys that steer a stream."""
    pick_token: Callable[[Context], None] | None = None
    """Runs the picker of `/choose`."""
    browse_steps: Callable[[StepView], None] | None = None
    """Lets the person move through the steps of `/step` by keys."""
    shown_notes: set[str] = field(default_factory=set)
    """The notes that `note_once` has shown."""

    def note_once(self, text: str) -> None:
        """Shows a line the first time that it is called with this text."""
        if text not in self.shown_notes:
            self.shown_notes.add(text)
            self.screen.line(text, "dim")


@dataclass(frozen=True)
class Command:
    """A row of `COMMANDS`; its key there is the command's name without the slash.

    The tests want a line with the command in `LINES` of tests/repl/test_terminal.py, and with it
    new screens in tests/repl/screens (write them with CHARGEN_WRITE_SCREENS=1).
    """

    arguments: str
    """The arguments as `/help` shows them: `[N]` may be left out, `A|B` is a choice."""
    help: str
    """One line for `/help`; begins with a verb."""
    run: Callable[[Context, str], None]
    """Does the command: `def fork(context: Context, argument: str) -> None`.

    `argument` is the rest of the line, without blanks at its ends; it may be empty. The function
    answers through `context.screen` and raises a `UsageError` for a wrong argument.
    """
    complete: Callable[[Context], tuple[str, ...]] = lambda context: ()
    """Returns the words that the Tab key offers for an argument."""
    more: tuple[str, ...] = ()
    """Further lines for `/help NAME`."""


def whole_number(text: str, command: str, default: int, maximum: int = 1_000_000) -> int:
    """Reads a number from 1 to `maximum`; an empty text gives the default.

    Args:
        text: what the person typed.
        command: names the command in the error.
        default: the number for an empty text; not checked.
        maximum: the largest number allowed.

    Raises:
        UsageError: the text is not a whole number, or it is out of range.
    """
    if not text:
        return default
    if not (text.isdecimal() and text.isascii() and 1 <= int(text) <= maximum):
        raise UsageError(f"{command} {text}: must be a whole number from 1 to {maximum:,}")
    return int(text)
