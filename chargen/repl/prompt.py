"""How does a person type a line: history, completion, several lines, an editor, a toolbar?

It uses prompt_toolkit. What the line does is in app.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TextIO, cast

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.output import ColorDepth, Output, create_output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.utils import suspend_to_background_supported

from chargen.repl.commands import Context
from chargen.repl.commands.table import COMMANDS
from chargen.repl.ghost import Ghost
from chargen.repl.history import LineHistory
from chargen.repl.settings import TABLE
from chargen.terminal.context import Terminal
from chargen.terminal.safetext import SafeText, safe_line

QUOTES = '"""'
"""Three quotes begin and end a text of several lines."""
_MENU_ROWS = 6
"""Rows below the prompt that stay free for the list of completions."""
_MAX_PROMPT_UNITS = 3
"""Clamped units that the prompt names."""


class Completions(Completer):
    """Completes commands after a slash, and the arguments of each."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        """Yields the words that fit at the cursor."""
        line = document.text_before_cursor
        if not line.startswith("/") or line.startswith("//") or "\n" in line:
            return
        name, blank, argument = line[1:].partition(" ")
        if not blank:
            for command, row in COMMANDS.items():
                if command.startswith(name):
                    yield Completion(command, -len(name), display_meta=row.help)
            return
        typed = argument.rpartition(" ")[2]
        for word in self._words(name, argument):
            if word.startswith(typed):
                yield Completion(safe_line(word), -len(typed))

    def _words(self, name: str, argument: str) -> tuple[str, ...]:
        setting, blank, _ = argument.partition(" ")
        if name == "set" and blank:
            return TABLE[setting].choices if setting in TABLE else ()
        return COMMANDS[name].complete(self._context) if name in COMMANDS else ()


class SafeTyping(Processor):
    """Shows typed characters that could hide or reorder text as U+FFFD; the line keeps them."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        """Replaces characters one by one, so that the cursor stays where it is."""
        fragments: StyleAndTextTuples = [
            (style, "".join(map(_typed_character, text)))
            for style, text, *_ in transformation_input.fragments
        ]
        return Transformation(fragments)


def _typed_character(character: str) -> str:
    """The character; U+FFFD for one that SafeText would show in another way."""
    is_control = character < " "  # prompt_toolkit itself shows these as ^A to ^_
    return character if is_control or safe_line(character) == character else "\ufffd"


class QuietOutput(Vt100_Output):
    """Output that never asks the terminal where the cursor is.

    prompt_toolkit asks, to find the rows for its menu and toolbar. The answer arrives as keys, and
    it could arrive in the middle of a stream. With this answer prompt_toolkit does not ask, and
    scrolls to make room.
    """

    def get_rows_below_cursor_position(self) -> int:
        """Returns the rows that are certainly there."""
        return 1


def open_output(terminal: Terminal) -> Output:
    """Returns prompt_toolkit's output to a terminal."""
    out = cast(TextIO, terminal.out)
    if os.name == "nt":
        return create_output(out)
    return QuietOutput.from_pty(out, term=terminal.environ.get("TERM"))


class LineReader:
    """Reads lines from a terminal.

    Args:
        context: what completion and the toolbar show.
        source: the keyboard.
        output: the terminal.
    """

    def __init__(self, context: Context, source: Input, output: Output) -> None:
        self._context = context
        colours = None if context.screen.palette.depth else ColorDepth.DEPTH_1_BIT
        self._session: PromptSession[str] = PromptSession(
            completer=Completions(context),
            complete_while_typing=Condition(self._is_command),
            history=LineHistory(),
            auto_suggest=Ghost(context) if context.screen.palette.depth else None,
            key_bindings=self._bindings(),
            input_processors=[SafeTyping()],
            bottom_toolbar=self._toolbar,
            prompt_continuation=self._continuation,
            enable_open_in_editor=False,
            erase_when_done=True,
            color_depth=colours,
            reserve_space_for_menu=_MENU_ROWS,
            input=source,
            output=output,
        )

    def read(self) -> str:
        """Reads a line, or several.

        Raises:
            EOFError: the person wants to leave (Ctrl-D).
            KeyboardInterrupt: the person dropped the line (Ctrl-C).
        """
        return self._session.prompt(self._prompt)

    def _is_command(self) -> bool:
        return self._session.default_buffer.text.startswith("/")

    def _prompt(self) -> StyleAndTextTuples:
        session = self._context.session
        mark = ">" if self._context.screen.palette.ascii else "›"
        units = [unit.spelled(session.model.config) for unit in session.pinned]
        more = " …" if len(units) > _MAX_PROMPT_UNITS else ""
        clamped = f"[{' '.join(units[:_MAX_PROMPT_UNITS])}{more}] " if units else ""
        return [("bold", f"{clamped}{mark} ")]

    def _continuation(self, width: int, line: int, wrapped: int) -> str:
        mark = "." if self._context.screen.palette.ascii else "·"
        return mark.rjust(max(1, width - 1)) + " " if not wrapped else " " * width

    def _toolbar(self) -> SafeText:
        session, width = self._context.session, self._context.screen.width
        copies = session.longest_copy
        position = f"{session.tree.branch}:{session.position}"
        # In the order in which they are left out when the screen is too narrow.
        parts = {
            "help": "/help",
            "name": session.name,
            "seed": f"seed {session.seed}",
            "clamped": f"{len(session.pinned)} clamped" if session.pinned else "",
            "temperature": f"t {session.settings.sample.temperature:g}",
            "copies": f"longest copy {copies}" if copies else "",
            "position": position,
        }
        shown_order = ("name", "temperature", "seed", "position", "copies", "clamped", "help")
        for dropped in list(parts):
            line = "  ".join(parts[name] for name in shown_order if parts.get(name))
            if len(line) <= width:
                return safe_line(line)
            del parts[dropped]
        return safe_line(position[:width])

    def _bindings(self) -> KeyBindings:
        bindings = KeyBindings()

        @bindings.add("enter", filter=Condition(self._is_open))
        @bindings.add("escape", "enter")
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @bindings.add("c-z", filter=Condition(suspend_to_background_supported))
        def _(event: KeyPressEvent) -> None:
            event.app.suspend_to_background()

        @bindings.add("end", filter=Condition(self._has_ghost))
        def _(event: KeyPressEvent) -> None:
            suggestion = event.current_buffer.suggestion
            assert suggestion is not None
            event.current_buffer.insert_text(suggestion.text)

        @bindings.add("c-g")
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.open_in_editor()

        return bindings

    def _has_ghost(self) -> bool:
        """Whether the rest of a word stands behind the cursor."""
        buffer = self._session.default_buffer
        at_end = buffer.document.is_cursor_at_the_end
        return at_end and buffer.suggestion is not None and bool(buffer.suggestion.text)

    def _is_open(self) -> bool:
        """Whether Enter begins a new line, because three quotes are open."""
        return is_open(self._session.default_buffer.text)


def is_open(text: str) -> bool:
    """Whether a text begins with three quotes and does not end with three others."""
    return text.startswith(QUOTES) and not (
        len(text) >= 2 * len(QUOTES) and text.rstrip("\n").endswith(QUOTES)
    )


def unquoted(text: str) -> str:
    """Returns the text between three quotes; a text without quotes as it is."""
    if not text.startswith(QUOTES):
        return text
    inner = text.removeprefix(QUOTES)
    stripped = inner.rstrip("\n")
    return stripped.removesuffix(QUOTES) if stripped.endswith(QUOTES) else inner
