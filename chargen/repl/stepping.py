"""A text whose steps can be taken apart, and where in it one looks; knows no keys."""

from __future__ import annotations

from collections.abc import Callable

from chargen.insight.anatomy import Anatomy, take_apart
from chargen.insight.views import alone, labels_of
from chargen.library import Model
from chargen.sampling.stepper import Array, TokenIds
from chargen.terminal.anatomy import place_line, render_anatomy
from chargen.terminal.palette import Palette


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

    def lines(self, palette: Palette, width: int, rows: int = 1000) -> list[str]:
        """The screen; where there are few rows, without the strips."""
        whole = self._lines(palette, width, compact=False)
        return whole if len(whole) <= rows else self._lines(palette, width, compact=True)

    def _lines(self, palette: Palette, width: int, *, compact: bool) -> list[str]:
        layers = self._model.config.num_layers
        which = f", layer {self.layer + 1} of {layers}" if layers > 1 else ""
        anatomy = self.anatomy()
        found = [
            f"step {self.at + 1} of {len(self.labels)}{which}",
            place_line(self.labels, self.at, palette, width),
            *render_anatomy(anatomy, self._spell, self.layer, palette, width, compact=compact),
        ]
        if self.at + 1 < len(self.labels):
            chance = float(anatomy.probabilities[int(self._ids[self.at + 1])])
            found.append(f"  what comes in the text had {chance:.1%}")
        return found
