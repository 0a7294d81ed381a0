"""The line that a person types: history, completion, several lines, an editor, a toolbar."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TextIO, cast

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import ColorDepth, Output, create_output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.utils import suspend_to_background_supported

from chargen.errors import ChargenError
from chargen.files import cache_folder, make_folder
from chargen.repl.commands import Context
from chargen.repl.commands.table import COMMANDS
from chargen.repl.settings import TABLE
from chargen.terminal.context import Terminal
from chargen.terminal.safetext import SafeText, safe_line

QUOTES = '"""'
_HISTORY = "repl_history"


class Completions(Completer):
    """Commands after a slash, and what can stand after each."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        """What the line so far can become."""
        line = document.text_before_cursor
        if not line.startswith("/") or line.startswith("//") or "\n" in line:
            return
        name, blank, argument = line[1:].partition(" ")
        if not blank:
            for one, row in COMMANDS.items():
                if one.startswith(name):
                    yield Completion(one, -len(name), display_meta=row.help)
            return
        word = argument.rpartition(" ")[2]
        for one in self._words(name, argument):
            if one.startswith(word):
                yield Completion(safe_line(one), -len(word))

    def _words(self, name: str, argument: str) -> tuple[str, ...]:
        first, blank, _ = argument.partition(" ")
        if name == "set" and blank:
            return TABLE[first].choices if first in TABLE else ()
        return COMMANDS[name].complete(self._context) if name in COMMANDS else ()


class QuietOutput(Vt100_Output):
    """Asks the terminal nothing: an answer could come in the middle of a stream, as keys.

    prompt_toolkit asks where the cursor is, to find room for menus and its toolbar; it is told that
    there is one row, and takes what it needs.
    """

    def get_rows_below_cursor_position(self) -> int:
        """Rows that are certain to be there."""
        return 1


def open_output(terminal: Terminal) -> Output:
    """prompt_toolkit's end of a terminal."""
    out = cast(TextIO, terminal.out)
    if os.name == "nt":
        return create_output(out)
    return QuietOutput.from_pty(out, term=terminal.environ.get("TERM"))


class LineReader:
    """Reads lines from a terminal.

    Args:
        context: for completion and the toolbar.
        source: keys.
        output: the terminal.
    """

    def __init__(self, context: Context, source: Input, output: Output) -> None:
        self._context = context
        colours = None if context.screen.palette.depth else ColorDepth.DEPTH_1_BIT
        self._session: PromptSession[str] = PromptSession(
            completer=Completions(context),
            complete_while_typing=Condition(self._is_command),
            history=_history(),
            key_bindings=self._bindings(),
            bottom_toolbar=self._toolbar,
            prompt_continuation=self._continuation,
            enable_open_in_editor=False,
            erase_when_done=True,
            color_depth=colours,
            reserve_space_for_menu=6,
            input=source,
            output=output,
        )

    def read(self) -> str:
        """A line, or several.

        Raises:
            EOFError: the person wants to leave.
            KeyboardInterrupt: the line was given up.
        """
        return self._session.prompt(self._prompt)

    def _is_command(self) -> bool:
        return self._session.default_buffer.text.startswith("/")

    def _prompt(self) -> StyleAndTextTuples:
        session = self._context.session
        mark = ">" if self._context.screen.palette.ascii else "›"
        held = [one.spelled(session.model.config) for one in session.pinned]
        shown = f"[{' '.join(held[:3])}{' …' if len(held) > 3 else ''}] " if held else ""
        return [("bold", f"{shown}{mark} ")]

    def _continuation(self, width: int, line: int, wrapped: int) -> str:
        mark = "." if self._context.screen.palette.ascii else "·"
        return mark.rjust(max(1, width - 1)) + " " if not wrapped else " " * width

    def _toolbar(self) -> SafeText:
        session = self._context.session
        settings = session.settings
        copies = session.longest_copy
        place = f"{session.tree.branch}:{session.position}"
        # In the order in which they are left out where there is no room.
        shown = {
            "/help": "/help",
            "name": session.name,
            "seed": f"seed {session.seed}",
            "held": f"{len(session.pinned)} held" if session.pinned else "",
            "temperature": f"t {settings.sample.temperature:g}",
            "copies": f"longest copy {copies}" if copies else "",
            "place": place,
        }
        order = ("name", "temperature", "seed", "place", "copies", "held", "/help")
        dropped = iter(shown.copy())
        while len(line := "  ".join(shown[one] for one in order if shown.get(one))) > (
            self._context.screen.width
        ):
            name = next(dropped, None)
            if name is None:
                return safe_line(place[: self._context.screen.width])
            del shown[name]
        return safe_line(line)

    def _bindings(self) -> KeyBindings:
        bindings = KeyBindings()

        @bindings.add("enter", filter=Condition(self._is_open))
        @bindings.add("escape", "enter")
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @bindings.add("c-z", filter=Condition(suspend_to_background_supported))
        def _(event: KeyPressEvent) -> None:
            event.app.suspend_to_background()

        @bindings.add("c-g")
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.open_in_editor()

        return bindings

    def _is_open(self) -> bool:
        """Whether several lines were begun and not ended."""
        return is_open(self._session.default_buffer.text)


def is_open(text: str) -> bool:
    """Whether a text begins with three quotes that nothing closes yet."""
    return text.startswith(QUOTES) and not (
        len(text) >= 2 * len(QUOTES) and text.rstrip("\n").endswith(QUOTES)
    )


def unquoted(text: str) -> str:
    """What stands between three quotes; any other text as it is."""
    if not text.startswith(QUOTES):
        return text
    inner = text.removeprefix(QUOTES)
    stripped = inner.rstrip("\n")
    return stripped.removesuffix(QUOTES) if stripped.endswith(QUOTES) else inner


def _history() -> History:
    """Lines of earlier sessions, where they can be kept."""
    try:
        path = cache_folder() / _HISTORY
        make_folder(path.parent)
        with path.open("a", encoding="utf-8"):
            pass
        return FileHistory(str(path))
    except (ChargenError, OSError):
        return InMemoryHistory()
