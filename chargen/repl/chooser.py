"""The picker of `/choose`: the likeliest next tokens as a list under the end of the text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_toolkit.application import Application
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import FormattedTextControl, Layout, Window
from prompt_toolkit.output import Output

from chargen.repl.command import Context
from chargen.repl.screen import fitting
from chargen.repl.writing import next_tokens, spelled, take
from chargen.terminal.safetext import safe_line

if TYPE_CHECKING:
    from collections.abc import Callable

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

    @bindings.add(Keys.Any)
    @bindings.add(Keys.BracketedPaste)
    def _(event: KeyPressEvent) -> None:
        key = event.key_sequence[-1].key
        if isinstance(key, Keys) and key != Keys.BracketedPaste:
            return  # a key that stands for no text
        chooser.type(event.data.replace("\r\n", "\n").replace("\r", "\n"))

    return bindings
