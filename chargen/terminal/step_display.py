"""A step taken apart, as lines for a terminal: each equation with a strip of all units.

A text whose steps can be taken apart, and where in it one looks; knows no keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from chargen.inference.engine import Array, Stepper, TokenIds
from chargen.insight.step import (
    Line,
    StepBreakdown,
    break_down_step,
    condensed,
    likeliest,
    most_active,
)
from chargen.insight.views import Grid, alone, labels_of
from chargen.insight.why import Cause, Passage
from chargen.terminal.heatmap import heat_rows, one_line
from chargen.terminal.palette import RESET, Palette
from chargen.terminal.safetext import SafeText, safe_line
from chargen.text.tokenizer import Tokenizer

_NUMBERS = 3
_GUESSES = 5
_BAR = 20
_MARKED = "\x1b[7m", "\x1b[1m"


def render_step(
    breakdown: StepBreakdown,
    spell: list[str],
    layer: int,
    palette: Palette,
    width: int,
    *,
    compact: bool = False,
) -> list[str]:
    """The lines of one layer's equations, and of the prediction.

    Args:
        breakdown: the step.
        spell: the text of each token (V,).
        layer: which one, from 0.
        palette: colours.
        width: none is wider.
        compact: without the strips, for a screen of few rows.
    """
    lines = []
    for one in breakdown.layers[layer]:
        head = f"{one.name}  {_ascii(one.formula, palette)}"
        said = f"{head}  {one.says}"
        lines.append(_bold(safe_line(said if len(said) <= width else head)[:width], one, palette))
        if compact:
            continue
        numbers = "  ".join(
            f"{name} {_number(value)}" for name, value in most_active(one, _NUMBERS)
        )
        numbers = numbers if width >= 60 else ""
        room = max(8, width - len(numbers) - 3)
        lines.append(f"  {_strip(one, room, palette)} {numbers}".rstrip())
    softmax = _ascii("logits = V·h' + d, softmax: p = exp(logit) / sum of all exp", palette)
    lines.append(safe_line(softmax)[:width])
    full = "#" if palette.ascii else "█"
    for token in likeliest(breakdown, _GUESSES).tolist():
        chance = float(breakdown.probabilities[token])
        name = one_line(spell[token], ascii=palette.ascii) or SafeText("?")
        bar = full * round(chance * _BAR)
        gap = " " * max(0, 6 - len(name))
        numbers = f"{_number(float(breakdown.logits[token])):>6} {chance:6.1%}"
        lines.append(f"  '{name}'{gap} {numbers} {bar}".rstrip())
    return lines


def place_line(labels: tuple[str, ...], at: int, palette: Palette, width: int) -> str:
    """The text around a token, which is marked."""
    ascii = palette.ascii
    here = one_line(labels[at], ascii=ascii) or SafeText("·")
    before = one_line("".join(labels[max(0, at - width) : at]), ascii=ascii)
    after = one_line("".join(labels[at + 1 : at + 1 + width]), ascii=ascii)
    room = max(0, width - len(here) - 2)
    left = before[max(0, len(before) - max(room * 2 // 3, room - len(after))) :]
    right = after[: room - len(left)]
    return f"{left}{_MARKED[0]}{here}{RESET}{right}" if palette.depth else f"{left}[{here}]{right}"


def _number(value: float) -> str:
    return f"{value:+.2f}" if abs(value) < 1000 else f"{value:+.0e}"


def _ascii(formula: str, palette: Palette) -> str:
    return formula.replace("σ", "sigmoid").replace("·", " ") if palette.ascii else formula


def _bold(text: str, line: Line, palette: Palette) -> str:
    return f"{_MARKED[1]}{line.name}{RESET}{text[len(line.name) :]}" if palette.depth else text


def _strip(line: Line, room: int, palette: Palette) -> str:
    """All units in one line, from -1 to 1; two rows of them where a cell can have two colours."""
    if not palette.paints:
        values = condensed(line, room)
        # Shades have no sign: they show the distance from zero, the numbers beside them the sign.
        levels = palette.levels(np.abs(values)[None], 0.0, 1.0)[0]
        return "".join(palette.shade("sequential", one) for one in levels)
    rows = 1 if palette.ascii else 2
    values = condensed(line, rows * room)
    values = np.append(values, np.full(-len(values) % rows, np.nan, np.float32))
    grid = Grid(
        values=values.reshape(-1, rows).T,
        row_labels=("",) * rows,
        column_labels=("",) * (len(values) // rows),
        low=-1.0,
        high=1.0,
        kind="diverging",
        title="",
    )
    ((_, cells),) = heat_rows(grid, palette, [1] * (len(values) // rows))
    return cells


class StepView:
    """A text, and where in it one looks.

    Args:
        stepper: the model.
        tokenizer: what its ids mean.
        ids: the text (T,).
        before: the state before a token of it, by its number.
    """

    def __init__(
        self,
        stepper: Stepper,
        tokenizer: Tokenizer,
        ids: TokenIds,
        before: Callable[[int], Array],
    ) -> None:
        self._stepper, self._ids, self._before = stepper, ids, before
        self.labels = labels_of(tokenizer, ids.tolist())
        self.at, self.layer = len(ids) - 1, 0
        self._spell = [alone(tokenizer, one) for one in range(tokenizer.vocab_size)]

    def move(self, tokens: int = 0, layers: int = 0) -> None:
        """Go elsewhere, as far as there is text, and there are layers."""
        self.at = min(max(self.at + tokens, 0), len(self.labels) - 1)
        self.layer = min(max(self.layer + layers, 0), self._stepper.config.num_layers - 1)

    def breakdown(self) -> StepBreakdown:
        """The step that reads the token here."""
        token = int(self._ids[self.at])
        return break_down_step(self._stepper, token, self._before(self.at))

    def lines(self, palette: Palette, width: int, rows: int = 1000) -> list[str]:
        """The screen; where there are few rows, without the strips."""
        whole = self._lines(palette, width, compact=False)
        return whole if len(whole) <= rows else self._lines(palette, width, compact=True)

    def _lines(self, palette: Palette, width: int, *, compact: bool) -> list[str]:
        layers = self._stepper.config.num_layers
        which = f", layer {self.layer + 1} of {layers}" if layers > 1 else ""
        breakdown = self.breakdown()
        found = [
            f"step {self.at + 1} of {len(self.labels)}{which}",
            place_line(self.labels, self.at, palette, width),
            *render_step(breakdown, self._spell, self.layer, palette, width, compact=compact),
        ]
        if self.at + 1 < len(self.labels):
            chance = float(breakdown.probabilities[int(self._ids[self.at + 1])])
            found.append(f"  what comes in the text had {chance:.1%}")
        return found


def why_lines(
    token: str,
    chance: float,
    cause: Cause,
    guesses: Sequence[tuple[str, float]],
    passages: Sequence[Passage],
    *,
    ascii: bool = False,
) -> list[SafeText]:
    """A line each: how likely the token was, what was likelier, where the model was as it was here.

    Args:
        token: the one asked about.
        chance: its probability.
        cause: how was asked.
        guesses: the likeliest tokens in its place.
        passages: of the training text.
        ascii: without other characters.
    """
    likely = ", ".join(f"'{one_line(one, ascii=ascii)}' {share:.1%}" for one, share in guesses)
    lines = [
        f"'{one_line(token, ascii=ascii)}' had a probability of {chance:.1%}; {cause.says}",
        f"likeliest there: {likely}",
    ]
    for one in passages:
        before, after = (one_line(text, ascii=ascii) for text in (one.before, one.after))
        lines.append(
            f"training text, line {one.line:,} (cosine {one.cosine:.2f}): {before}|{after}"
        )
    return [safe_line(one) for one in lines]
