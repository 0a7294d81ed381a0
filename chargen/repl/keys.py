"""What do single keys do while no line is typed: in a stream, in the picker, among the steps?

`Keys` reads the keys that steer a stream. `token_picker` runs the picker of `/choose`, a list of
the likeliest next tokens under the end of the text. `browse_steps` moves through the steps of a
text on the whole screen, for `/step` and `chargen step`.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prompt_toolkit.application import Application
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input import Input, create_input
from prompt_toolkit.input.typeahead import store_typeahead
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys as KeyNames
from prompt_toolkit.layout import FormattedTextControl, Layout, Window
from prompt_toolkit.output import Output
from prompt_toolkit.utils import suspend_to_background_supported

from chargen.repl.commands import Context
from chargen.repl.commands.write import next_tokens, token_label, write_token
from chargen.repl.prompt import open_output
from chargen.repl.screen import fitting
from chargen.repl.stream import SUSPEND
from chargen.terminal.context import Terminal
from chargen.terminal.drawing import SegmentLine
from chargen.terminal.palette import Palette
from chargen.terminal.safetext import safe_line
from chargen.terminal.step_display import StepView

if TYPE_CHECKING:
    from os import terminal_size

    from prompt_toolkit.key_binding import KeyPress
    from rich.style import Style

STOP = "stop"
"""Stands for the keys that stop a stream."""
_STOP_KEYS = {KeyNames.ControlC, KeyNames.ControlD, KeyNames.Escape}
_STREAM_KEYS = set("+-=[] ")
_IGNORED_KEYS = {KeyNames.CPRResponse, KeyNames.Ignore}
_ESCAPE_SECONDS = 0.05
"""After this time a lone escape byte is the Esc key, and not the beginning of another key."""

_LISTED_TOKENS = 9
_BAR_COLUMNS = 20
_JOINING = frozenset(map(chr, (0x200D, *range(0xFE00, 0xFE10), *range(0x1F1E6, 0x1F200),
                               *range(0x1F3FB, 0x1F400))))  # fmt: skip
"""Characters that join others into one; terminals disagree on the width of the result."""

_BROWSE_HINT = "q leaves; left, right, Home, End: through the text; up, down: through the layers"
_MIN_BROWSE_COLUMNS = 20


class Keys:
    """Reads the keys that are pressed while text is written; keeps the others for the prompt.

    Args:
        source: the keyboard, which the prompt reads as well.
    """

    def __init__(self, source: Input) -> None:
        self._source = source
        self._typed_ahead: list[KeyPress] = []

    @contextmanager
    def reading(self) -> Iterator[None]:
        """In the block, the terminal neither echoes keys nor makes signals of them."""
        self._typed_ahead = []
        with self._source.raw_mode():
            try:
                yield
            finally:
                store_typeahead(self._source, self._typed_ahead)

    def wait(self, seconds: float) -> list[str]:
        """Waits for keys, at most so long; returns characters, `STOP` and `SUSPEND`.

        From the first other key on, the person types the next line: characters go to the prompt.

        Raises:
            EOFError: the terminal is gone.
        """
        if os.name == "nt":
            time.sleep(seconds)
        elif not select.select([self._source.fileno()], [], [], seconds)[0]:
            return []
        keys = []
        presses = [*self._source.read_keys(), *self._source.flush_keys()]
        if not presses and self._source.closed:
            raise EOFError
        for press in presses:
            if press.key in _STOP_KEYS:
                keys.append(STOP)
            elif press.key == KeyNames.ControlZ:
                keys.append(SUSPEND)
            elif press.key in _STREAM_KEYS and not self._typed_ahead:
                keys.append(str(press.key))
            elif press.key not in _IGNORED_KEYS:
                self._typed_ahead.append(press)
        return keys

    def suspend(self) -> None:
        """Gives the terminal back to the shell; goes on here when the shell says so.

        The whole job stops, also a program that started this one and waits for it.
        """
        if hasattr(signal, "SIGTSTP"):  # not on Windows
            with self._source.cooked_mode():
                os.kill(0, signal.SIGTSTP)


class TokenPicker:
    """The picker of `/choose`: appends token after token until the person ends it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._first = context.session.position
        self._update()

    def _update(self) -> None:
        self._guesses = next_tokens(self._context, _LISTED_TOKENS)
        self._marked = 0
        self._unseen: list[str] = []

    def move(self, steps: int) -> None:
        """Moves the mark down the list, or up; after the last token comes the first."""
        self._marked = (self._marked + steps) % len(self._guesses)

    def accept(self) -> None:
        """Appends the marked token."""
        write_token(self._context, self._guesses[self._marked][0])
        self._update()

    def type(self, text: str) -> None:
        """Appends what the person typed."""
        unseen = self._context.session.append(text)
        self._update()
        self._unseen = unseen

    def back(self) -> None:
        """Takes the last token back, but no token from before `/choose`."""
        tree = self._context.session.tree
        if self._context.session.position > self._first:
            tree.branches[tree.branch] = tree.parent(tree.tip)
            self._update()

    def shown(self) -> StyleAndTextTuples:
        """Returns the end of the text, the list and the hints, with their styles."""
        context = self._context
        ascii = context.screen.palette.ascii
        line = context.session.text(context.screen.width - 2).rpartition("\n")[2]
        line = "".join("◌" if char in _JOINING else char for char in safe_line(line))
        fragments: StyleAndTextTuples = [("bold", line), ("", "\n")]
        full, mark = ("#", ">") if ascii else ("█", "›")
        for number, (token, chance) in enumerate(self._guesses):
            marked = number == self._marked
            bar = full * max(1, round(chance * _BAR_COLUMNS))
            label = f"{token_label(context, token):<6}"
            text = f"{mark if marked else ' '} {label} {chance:6.1%} {bar}\n"
            fragments.append(("reverse" if marked else "", text))
        width = context.screen.width
        fragments += [("italic", f"{safe_line(line)[:width]}\n") for line in self._unseen]
        hints = (
            "Enter takes", "arrows move", "Esc ends", "Backspace goes back", "or type a character"
        )  # fmt: skip
        fragments.append(("italic", fitting(hints, width)))
        return fragments


def token_picker(source: Input, output: Output) -> Callable[[Context], None]:
    """Returns a function for `Context.pick_token`."""

    def pick(context: Context) -> None:
        picker = TokenPicker(context)
        _run(picker.shown, _picker_bindings(picker), source, output, full_screen=False)

    return pick


def _picker_bindings(picker: TokenPicker) -> KeyBindings:
    bindings = _leaving_bindings()
    steps = {"down": 1, "up": -1, "tab": 1, "s-tab": -1, "pagedown": 4, "pageup": -4}
    for key, step in steps.items():

        @bindings.add(key)
        def _(event: KeyPressEvent, step: int = step) -> None:
            picker.move(step)

    @bindings.add("enter")
    @bindings.add("right")
    def _(event: KeyPressEvent) -> None:
        picker.accept()

    @bindings.add("backspace")
    @bindings.add("left")
    def _(event: KeyPressEvent) -> None:
        picker.back()

    @bindings.add(KeyNames.Any)
    @bindings.add(KeyNames.BracketedPaste)
    def _(event: KeyPressEvent) -> None:
        key = event.key_sequence[-1].key
        if isinstance(key, KeyNames) and key != KeyNames.BracketedPaste:
            return  # a key without a character, such as F5
        picker.type(event.data.replace("\r\n", "\n").replace("\r", "\n"))

    return bindings


def browse_here(view: StepView, palette: Palette, terminal: Terminal) -> None:
    """Runs `browse_steps` at the terminal of this process."""
    browse_steps(view, palette, shutil.get_terminal_size, create_input(), open_output(terminal))


def browse_steps(
    view: StepView,
    palette: Palette,
    size: Callable[[], terminal_size],
    source: Input,
    output: Output,
) -> None:
    """Lets a person move through the steps and layers of a text, until they leave.

    Args:
        view: the text; its position and layer change.
        palette: the colours.
        size: returns the columns and rows of the screen.
        source: the keyboard.
        output: the terminal.
    """

    def shown() -> StyleAndTextTuples:
        columns, rows = size()
        width = max(_MIN_BROWSE_COLUMNS, columns - 1)
        lines = view.segment_lines(palette, width, rows - 1)[: rows - 1]
        return [*_formatted(lines), ("", _BROWSE_HINT[: columns - 1])]

    _run(shown, _browse_bindings(view), source, output, full_screen=True)


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
    bindings = _leaving_bindings("q", "enter")
    all_tokens = len(view.labels)
    moves = {
        "right": (1, 0), "l": (1, 0), " ": (1, 0), "left": (-1, 0), "h": (-1, 0),
        "backspace": (-1, 0), "pagedown": (10, 0), "pageup": (-10, 0), "home": (-all_tokens, 0),
        "end": (all_tokens, 0), "down": (0, -1), "j": (0, -1), "up": (0, 1), "k": (0, 1),
    }  # fmt: skip
    for key, move in moves.items():

        @bindings.add(key)
        def _(event: KeyPressEvent, move: tuple[int, int] = move) -> None:
            view.move(*move)

    return bindings


def _leaving_bindings(*keys: str) -> KeyBindings:
    """Returns bindings in which Esc, Ctrl-C, Ctrl-D and the given keys end the application.

    Ctrl-Z stops the job until the shell lets it go on.
    """
    bindings = KeyBindings()

    @bindings.add("c-z", filter=Condition(suspend_to_background_supported))
    def _(event: KeyPressEvent) -> None:
        event.app.suspend_to_background()

    def leave(event: KeyPressEvent) -> None:
        event.app.exit()

    bindings.add("escape", eager=True)(leave)
    for key in ("c-c", "c-d", *keys):
        bindings.add(key)(leave)
    return bindings


def _run(
    shown: Callable[[], StyleAndTextTuples],
    bindings: KeyBindings,
    source: Input,
    output: Output,
    *,
    full_screen: bool,
) -> None:
    """Shows what `shown` returns, again after each key, until a key ends the application.

    On the full screen, or in the lines below the cursor, which are erased at the end.
    """
    control = FormattedTextControl(shown, focusable=True, show_cursor=False)
    window = Window(control, always_hide_cursor=True, wrap_lines=False)
    application: Application[None] = Application(
        layout=Layout(window),
        key_bindings=bindings,
        full_screen=full_screen,
        erase_when_done=not full_screen,
        input=source,
        output=output,
    )
    application.ttimeoutlen = _ESCAPE_SECONDS
    application.run()
