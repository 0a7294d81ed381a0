"""A step taken apart on the whole screen: forwards and backwards through the text by keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prompt_toolkit.application import Application
from prompt_toolkit.formatted_text import ANSI
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import FormattedTextControl, Layout, Window
from prompt_toolkit.output import Output

from chargen.insight.anatomy import Anatomy, take_apart
from chargen.insight.views import alone, labels_of
from chargen.library import Model
from chargen.sampling.stepper import Array, TokenIds
from chargen.terminal.anatomy import place_line, render_anatomy
from chargen.terminal.palette import Palette

if TYPE_CHECKING:
    from os import terminal_size

_HINTS = "left, right: through the text; up, down: layers; Home, End; q leaves"


class StepView:
    """A text, and where in it one looks.

    Args:
        model: what reads.
        ids: the text (T,).
        before: the state before a token of it, by its number.
    """

    def __init__(self, model: Model, ids: TokenIds, before: Callable[[int], Array]) -> None:
        self._model, self._ids, self._before = model, ids, before
        self.labels = labels_of(model.tokenizer, ids.tolist())
        self.at, self.layer = len(ids) - 1, 0
        self._spell = [alone(model.tokenizer, one) for one in range(model.config.vocab_size)]

    def move(self, tokens: int = 0, layers: int = 0) -> None:
        """Go elsewhere, as far as there is text, and there are layers."""
        self.at = min(max(self.at + tokens, 0), len(self.labels) - 1)
        self.layer = min(max(self.layer + layers, 0), self._model.config.num_layers - 1)

    def anatomy(self) -> Anatomy:
        """The step that reads the token here."""
        token = int(self._ids[self.at])
        return take_apart(self._model.stepper, token, self._before(self.at))

    def lines(self, palette: Palette, width: int) -> list[str]:
        """The screen."""
        layers = self._model.config.num_layers
        which = f", layer {self.layer + 1} of {layers}" if layers > 1 else ""
        anatomy = self.anatomy()
        found = [
            f"step {self.at + 1} of {len(self.labels)}{which}",
            place_line(self.labels, self.at, palette, width),
            *render_anatomy(anatomy, self._spell, self.layer, palette, width),
        ]
        if self.at + 1 < len(self.labels):
            chance = float(anatomy.probabilities[int(self._ids[self.at + 1])])
            found.append(f"  what comes in the text had {chance:.1%}")
        return found


def browse(
    view: StepView, palette: Palette, size: Callable[[], terminal_size], source: Input,
    output: Output,
) -> None:  # fmt: skip
    """Let a person walk through the text, until they leave."""

    def shown() -> ANSI:
        columns, rows = size()
        lines = view.lines(palette, max(20, columns - 1))[: rows - 1]
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
