"""Walking through the steps of a text by keys, on the whole screen."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from prompt_toolkit.application import Application
from prompt_toolkit.formatted_text import ANSI
from prompt_toolkit.input import Input, create_input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import FormattedTextControl, Layout, Window
from prompt_toolkit.output import Output

from chargen.repl.line import open_output
from chargen.repl.stepping import StepView
from chargen.terminal.context import Terminal
from chargen.terminal.palette import Palette

if TYPE_CHECKING:
    from os import terminal_size

_HINTS = "q leaves; left, right: through the text; up, down: layers; Home, End"


def browse_here(view: StepView, palette: Palette, terminal: Terminal) -> None:
    """`browse` at the process's own terminal."""
    browse(view, palette, shutil.get_terminal_size, create_input(), open_output(terminal))


def browse(
    view: StepView, palette: Palette, size: Callable[[], terminal_size], source: Input,
    output: Output,
) -> None:  # fmt: skip
    """Let a person walk through the text, until they leave."""

    def shown() -> ANSI:
        columns, rows = size()
        lines = view.lines(palette, max(20, columns - 1), rows - 1)[: rows - 1]
        return ANSI("\n".join([*lines, _HINTS[: columns - 1]]))

    control = FormattedTextControl(shown, focusable=True, show_cursor=False)
    application: Application[None] = Application(
        layout=Layout(Window(control, always_hide_cursor=True, wrap_lines=False)),
        key_bindings=_bindings(view),
        full_screen=True,
        input=source,
        output=output,
    )
    application.ttimeoutlen = 0.05
    application.run()


def _bindings(view: StepView) -> KeyBindings:
    bindings = KeyBindings()
    far = len(view.labels)
    moves = {
        "right": (1, 0), "l": (1, 0), " ": (1, 0), "left": (-1, 0), "h": (-1, 0),
        "backspace": (-1, 0), "pagedown": (10, 0), "pageup": (-10, 0), "home": (-far, 0),
        "end": (far, 0), "down": (0, -1), "j": (0, -1), "up": (0, 1), "k": (0, 1),
    }  # fmt: skip
    for key, move in moves.items():

        @bindings.add(key)
        def _(event: KeyPressEvent, move: tuple[int, int] = move) -> None:
            view.move(*move)

    @bindings.add("q")
    @bindings.add("enter")
    @bindings.add("escape", eager=True)
    @bindings.add("c-c")
    @bindings.add("c-d")
    def _(event: KeyPressEvent) -> None:
        event.app.exit()

    return bindings
