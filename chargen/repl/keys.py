"""Keys pressed while text is written; what is not for the stream is kept for the prompt.

The picker of `/choose`: the likeliest next tokens as a list under the end of the text.

Walking through the steps of a text by keys, on the whole screen.
"""

from __future__ import annotations

import os
import select
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prompt_toolkit.application import Application
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input import Input, create_input
from prompt_toolkit.input.typeahead import store_typeahead
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys as KeyNames
from prompt_toolkit.layout import FormattedTextControl, Layout, Window
from prompt_toolkit.output import Output

from chargen.repl.commands import Context
from chargen.repl.commands.write import next_tokens, spelled, take
from chargen.repl.prompt import open_output
from chargen.repl.screen import fitting
from chargen.terminal.context import Terminal
from chargen.terminal.drawing import SegmentLine
from chargen.terminal.palette import Palette
from chargen.terminal.safetext import safe_line
from chargen.terminal.step_display import StepView

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import terminal_size

    from prompt_toolkit.input import Input
    from prompt_toolkit.key_binding import KeyPress
    from rich.style import Style


STOP = "stop"
_STOPS = {KeyNames.ControlC, KeyNames.ControlD, KeyNames.Escape}
_FOR_STREAM = set("+-=[] ")
_IGNORED = {KeyNames.CPRResponse, KeyNames.Ignore}


class Keys:
    """Reads a terminal without waiting for a line.

    Args:
        source: prompt_toolkit's input, which also makes the prompt.
    """

    def __init__(self, source: Input) -> None:
        self._source = source
        self._ahead: list[KeyPress] = []

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While entered, keys are neither echoed nor turned into signals."""
        self._ahead = []
        with self._source.raw_mode():
            try:
                yield
            finally:
                store_typeahead(self._source, self._ahead)

    def wait(self, seconds: float) -> list[str]:
        """Keys for the stream that came within a time: characters, and `STOP`."""
        if os.name == "nt":
            time.sleep(seconds)
        elif not select.select([self._source.fileno()], [], [], seconds)[0]:
            return []
        found = []
        for press in [*self._source.read_keys(), *self._source.flush_keys()]:
            if press.key in _STOPS:
                found.append(STOP)
            elif press.key in _FOR_STREAM and not self._ahead:
                found.append(str(press.key))
            elif press.key not in _IGNORED:
                self._ahead.append(press)  # somebody types the next line already
        return found


_CHOICES = 9
_BAR = 20
_JOINED = frozenset(map(chr, (0x200D, *range(0xFE00, 0xFE10), *range(0x1F1E6, 0x1F200),
                              *range(0x1F3FB, 0x1F400))))  # fmt: skip


class Chooser:
    """Token after token, until the person has enough."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._first = context.session.position
        self._look()

    def _look(self) -> None:
        self._guesses = next_tokens(self._context, _CHOICES)
        self._marked = 0

    def move(self, step: int) -> None:
        """Mark another one."""
        self._marked = (self._marked + step) % len(self._guesses)

    def accept(self, number: int | None = None) -> None:
        """Write the marked one, or the one of a number from 0."""
        number = self._marked if number is None else number
        if number < len(self._guesses):
            take(self._context, self._guesses[number][0])
            self._look()

    def type(self, text: str) -> None:
        """Write what was typed."""
        self._context.session.append(text)
        self._look()

    def back(self) -> None:
        """Take the last token back."""
        tree = self._context.session.tree
        if self._context.session.position > self._first:
            tree.branches[tree.branch] = tree.parent(tree.tip)
            self._look()

    def shown(self) -> StyleAndTextTuples:
        """The end of the text, and the list."""
        context = self._context
        ascii = context.screen.palette.ascii
        line = context.session.text(context.screen.width - 2).rpartition("\n")[2]
        # What joins characters into one is shown apart: terminals disagree on its width.
        line = "".join("◌" if one in _JOINED else one for one in safe_line(line))
        found: StyleAndTextTuples = [("bold", line), ("", "\n")]
        full, mark = ("#", ">") if ascii else ("█", "›")
        for number, (token, chance) in enumerate(self._guesses):
            here = number == self._marked
            bar = full * max(1, round(chance * _BAR))
            text = f"{mark if here else ' '} {spelled(context, token):<6} {chance:6.1%} {bar}\n"
            found.append(("reverse" if here else "", text))
        hints = ("Enter takes", "arrows move", "Esc ends", "Backspace goes back", "or type one")
        found.append(("italic", fitting(hints, context.screen.width)))
        return found


def choose_with_keys(source: Input, output: Output) -> Callable[[Context], None]:
    """A picker for `Context.pick`."""

    def pick(context: Context) -> None:
        chooser = Chooser(context)
        control = FormattedTextControl(chooser.shown, focusable=True, show_cursor=False)
        application: Application[None] = Application(
            layout=Layout(Window(control, always_hide_cursor=True, wrap_lines=False)),
            key_bindings=_bindings(chooser),
            erase_when_done=True,
            input=source,
            output=output,
        )
        application.ttimeoutlen = 0.05
        application.run()

    return pick


def _bindings(chooser: Chooser) -> KeyBindings:
    bindings = KeyBindings()
    steps = {"down": 1, "up": -1, "tab": 1, "s-tab": -1, "pagedown": 4, "pageup": -4}
    for key, step in steps.items():

        @bindings.add(key)
        def _(event: KeyPressEvent, step: int = step) -> None:
            chooser.move(step)

    @bindings.add("enter")
    @bindings.add("right")
    def _(event: KeyPressEvent) -> None:
        chooser.accept()

    @bindings.add("backspace")
    @bindings.add("left")
    def _(event: KeyPressEvent) -> None:
        chooser.back()

    @bindings.add("escape", eager=True)
    @bindings.add("c-c")
    @bindings.add("c-d")
    def _(event: KeyPressEvent) -> None:
        event.app.exit()

    @bindings.add(KeyNames.Any)
    @bindings.add(KeyNames.BracketedPaste)
    def _(event: KeyPressEvent) -> None:
        key = event.key_sequence[-1].key
        if isinstance(key, KeyNames) and key != KeyNames.BracketedPaste:
            return  # a key that stands for no text
        chooser.type(event.data.replace("\r\n", "\n").replace("\r", "\n"))

    return bindings


_HINTS = "q leaves; left, right: through the text; up, down: layers; Home, End"


def browse_here(view: StepView, palette: Palette, terminal: Terminal) -> None:
    """`browse` at the process's own terminal."""
    browse(view, palette, shutil.get_terminal_size, create_input(), open_output(terminal))


def browse(
    view: StepView, palette: Palette, size: Callable[[], terminal_size], source: Input,
    output: Output,
) -> None:  # fmt: skip
    """Let a person walk through the text, until they leave."""

    def shown() -> StyleAndTextTuples:
        columns, rows = size()
        lines = view.segment_lines(palette, max(20, columns - 1), rows - 1)[: rows - 1]
        return [*_formatted(lines), ("", _HINTS[: columns - 1])]

    control = FormattedTextControl(shown, focusable=True, show_cursor=False)
    application: Application[None] = Application(
        layout=Layout(Window(control, always_hide_cursor=True, wrap_lines=False)),
        key_bindings=_browse_bindings(view),
        full_screen=True,
        input=source,
        output=output,
    )
    application.ttimeoutlen = 0.05
    application.run()


def _formatted(lines: Iterable[SegmentLine]) -> StyleAndTextTuples:
    """Lines of a drawing with prompt_toolkit's names of their styles."""
    fragments: StyleAndTextTuples = []
    for line in lines:
        fragments += [(_style_name(segment.style), segment.text) for segment in line]
        fragments.append(("", "\n"))
    return fragments


def _style_name(style: Style | None) -> str:
    if style is None:
        return ""
    words = ["bold"] * bool(style.bold) + ["reverse"] * bool(style.reverse)
    for ground, color in (("fg", style.color), ("bg", style.bgcolor)):
        if color is not None and not color.is_default:
            words.append(f"{ground}:{color.get_truecolor().hex}")
    return " ".join(words)


def _browse_bindings(view: StepView) -> KeyBindings:
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
