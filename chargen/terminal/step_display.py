"""The display of one time step: each equation with a strip of all units, then the prediction.

Also the sentences that `why` prints below its picture. This file draws; it computes no step and
knows no keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.segment import Segment
from rich.style import Style

from chargen.inference.engine import Array, Stepper, TokenIds
from chargen.insight.counted import Counted, Occurrences
from chargen.insight.step import (
    Line,
    StepBreakdown,
    break_down_step,
    most_active,
    most_likely_tokens,
    to_columns,
)
from chargen.insight.views import Grid, token_label, token_labels
from chargen.insight.why import Cause, Passage
from chargen.terminal.drawing import Drawing, SegmentLine, ansi_line
from chargen.terminal.heatmap import cell_rows, one_line
from chargen.terminal.palette import Palette
from chargen.terminal.progress import plural
from chargen.terminal.safetext import SafeText, safe_line
from chargen.text.tokenizer import Tokenizer

_UNITS_NAMED = 3
"""Units of each equation whose values stand beside the strip."""
_PREDICTIONS = 5
_BAR_CELLS = 20
_MIN_WIDTH_FOR_NUMBERS = 60
_MANY_ROWS = 1000
_MARKED, _BOLD = Style(reverse=True), Style(bold=True)


@dataclass(frozen=True, eq=False, kw_only=True)
class StepDisplay(Drawing):
    """The equations of one layer, and the prediction."""

    breakdown: StepBreakdown
    vocabulary: Sequence[str]
    """The text of each token (V,); a model's, so not yet safe to show."""
    layer: int
    """From 0."""
    palette: Palette
    compact: bool = False
    """Without the strips, for a screen of few rows."""

    def lines(self, width: int) -> list[SegmentLine]:
        """Two lines for each equation (one if compact), then the logits and probabilities."""
        lines = []
        for equation in self.breakdown.layers[self.layer]:
            lines.append(self._heading(equation, width))
            if not self.compact:
                lines.append(self._strip_line(equation, width))
        softmax = self._spell("logits = V·h' + d, softmax: p = exp(logit) / sum of all exp")
        lines.append([Segment(safe_line(softmax)[:width])])
        tokens = most_likely_tokens(self.breakdown, _PREDICTIONS).tolist()
        return [*lines, *(self._prediction(token) for token in tokens)]

    def _spell(self, formula: str) -> str:
        if self.palette.ascii:
            return formula.replace("σ", "sigmoid").replace("·", " ")
        return formula

    def _heading(self, equation: Line, width: int) -> SegmentLine:
        """Name and formula, and what the equation means if there is room."""
        short = f"{equation.name}  {self._spell(equation.formula)}"
        full = f"{short}  {equation.meaning}"
        text = safe_line(full if len(full) <= width else short)[:width]
        if not self.palette.depth:
            return [Segment(text)]
        end = len(equation.name)
        return [Segment(text[:end], _BOLD), Segment(text[end:])]

    def _strip_line(self, equation: Line, width: int) -> SegmentLine:
        """The strip of all units, and the values of the units that are furthest from zero."""
        numbers = ""
        if width >= _MIN_WIDTH_FOR_NUMBERS:
            numbers = "  ".join(
                f"{name} {_number(value)}" for name, value in most_active(equation, _UNITS_NAMED)
            )
        room = max(8, width - len(numbers) - 3)
        strip = _strip(equation, room, self.palette)
        return [Segment("  "), *strip, Segment(f" {numbers}" if numbers else "")]

    def _prediction(self, token: int) -> SegmentLine:
        """A token with its logit, its probability, and a bar of that length."""
        probability = float(self.breakdown.probabilities[token])
        name = one_line(self.vocabulary[token], ascii=self.palette.ascii) or SafeText("?")
        bar = ("#" if self.palette.ascii else "█") * round(probability * _BAR_CELLS)
        gap = " " * max(0, 6 - len(name))
        numbers = f"{_number(float(self.breakdown.logits[token])):>6} {probability:6.1%}"
        return [Segment(f"  '{name}'{gap} {numbers} {bar}".rstrip())]


def _number(value: float) -> str:
    return f"{value:+.2f}" if abs(value) < 1000 else f"{value:+.0e}"


def _strip(equation: Line, room: int, palette: Palette) -> SegmentLine:
    """All units on one line, from -1 to 1; two rows of them where a cell can have two colours."""
    if not palette.paints:
        # Shades have no sign: they show the distance from zero, and the numbers beside them the
        # sign.
        values = np.abs(to_columns(equation, room))
        levels = palette.levels(values[None], 0.0, 1.0)[0]
        return [palette.shade("sequential", level) for level in levels]
    rows = 1 if palette.ascii else 2
    values = to_columns(equation, rows * room)
    values = np.append(values, np.full(-len(values) % rows, np.nan, np.float32))
    columns = len(values) // rows
    grid = Grid(
        values=values.reshape(-1, rows).T,
        row_labels=("",) * rows,
        column_labels=("",) * columns,
        low=-1.0,
        high=1.0,
        kind="diverging",
        title="",
    )
    ((_, cells),) = cell_rows(grid, palette, [1] * columns)
    return cells


class StepView:
    """A text and the token of it whose step is shown.

    Args:
        stepper: the model.
        tokenizer: the tokenizer of the ids.
        ids: the text (T,).
        before: gives the state before the token at a position.
    """

    def __init__(
        self,
        stepper: Stepper,
        tokenizer: Tokenizer,
        ids: TokenIds,
        before: Callable[[int], Array],
    ) -> None:
        self._stepper, self._ids, self._before = stepper, ids, before
        self.labels = token_labels(tokenizer, ids.tolist())
        self.position, self.layer = len(ids) - 1, 0
        self._vocabulary = [token_label(tokenizer, token) for token in range(tokenizer.vocab_size)]

    def move(self, tokens: int = 0, layers: int = 0) -> None:
        """Go to another token or layer, up to the ends of the text and the stack of layers."""
        self.position = min(max(self.position + tokens, 0), len(self.labels) - 1)
        self.layer = min(max(self.layer + layers, 0), self._stepper.config.num_layers - 1)

    def breakdown(self) -> StepBreakdown:
        """The step that reads the current token."""
        token = int(self._ids[self.position])
        return break_down_step(self._stepper, token, self._before(self.position))

    def segment_lines(
        self, palette: Palette, width: int, rows: int = _MANY_ROWS
    ) -> list[SegmentLine]:
        """The screen in at most `width` terminal cells; without the strips if `rows` are few."""
        breakdown = self.breakdown()
        lines = self._screen(breakdown, palette, width, compact=False)
        if len(lines) > rows:
            lines = self._screen(breakdown, palette, width, compact=True)
        return lines

    def lines(self, palette: Palette, width: int, rows: int = _MANY_ROWS) -> list[str]:
        """The screen as lines of ANSI."""
        return [ansi_line(line) for line in self.segment_lines(palette, width, rows)]

    def _screen(
        self, breakdown: StepBreakdown, palette: Palette, width: int, *, compact: bool
    ) -> list[SegmentLine]:
        layers = self._stepper.config.num_layers
        layer = f", layer {self.layer + 1} of {layers}" if layers > 1 else ""
        display = StepDisplay(
            breakdown=breakdown,
            vocabulary=self._vocabulary,
            layer=self.layer,
            palette=palette,
            compact=compact,
        )
        lines = [
            [Segment(f"step {self.position + 1} of {len(self.labels)}{layer}")],
            _text_line(self.labels, self.position, palette, width),
            *display.lines(width),
        ]
        if self.position + 1 < len(self.labels):
            probability = float(breakdown.probabilities[int(self._ids[self.position + 1])])
            lines.append([Segment(f"  the next token of the text had {probability:.1%}")])
        return lines


def _text_line(labels: tuple[str, ...], position: int, palette: Palette, width: int) -> SegmentLine:
    """The text around a token, which is marked."""
    ascii = palette.ascii
    token = one_line(labels[position], ascii=ascii) or SafeText("·")
    before = one_line("".join(labels[max(0, position - width) : position]), ascii=ascii)
    after = one_line("".join(labels[position + 1 : position + 1 + width]), ascii=ascii)
    room = max(0, width - len(token) - 2)
    left = before[max(0, len(before) - max(room * 2 // 3, room - len(after))) :]
    right = after[: room - len(left)]
    if palette.depth:
        return [Segment(left), Segment(token, _MARKED), Segment(right)]
    return [Segment(f"{left}[{token}]{right}")]


def why_lines(
    token: str,
    chance: float,
    cause: Cause,
    guesses: Sequence[tuple[str, float]],
    passages: Sequence[Passage],
    *,
    ascii: bool = False,
) -> list[SafeText]:
    """The token's probability, the likeliest tokens, and passages with a similar state.

    Args:
        token: the token in question.
        chance: its probability.
        cause: the row of `CAUSES` that measured the picture above.
        guesses: the likeliest tokens at its position, with their probabilities.
        passages: passages of the training text after which the model's state was similar.
        ascii: whether only ASCII marks may stand for white space.
    """
    likely = ", ".join(
        f"'{one_line(text, ascii=ascii)}' {probability:.1%}" for text, probability in guesses
    )
    lines = [
        f"'{one_line(token, ascii=ascii)}' had a probability of {chance:.1%}; {cause.meaning}",
        f"likeliest there: {likely}",
    ]
    for passage in passages:
        before, after = (one_line(text, ascii=ascii) for text in (passage.before, passage.after))
        lines.append(f"{_where(passage)} (cosine {passage.cosine:.2f}): {before}|{after}")
    return [safe_line(line) for line in lines]


def memory_lines(
    token: str,
    counted: Counted,
    context: str,
    occurrences: Occurrences | None,
    places: Sequence[str],
    *,
    ascii: bool = False,
) -> list[SafeText]:
    """What the counts beside the network had to do with a prediction.

    Args:
        token: the token in question.
        counted: how network and counts predict it.
        context: the text of the context that gave most of the counts' probability.
        occurrences: where that context stands in the training text, if it is known.
        places: FILE:LINE of some of them.
        ascii: whether only ASCII marks may stand for white space.
    """
    lines = [
        f"the network alone gives it {counted.network:.1%}, the counts alone {counted.counts:.1%}, "
        f"both together {counted.together:.1%}"
    ]
    if counted.length:
        line = (
            f"{counted.share:.0%} of the counts' probability comes from the last "
            f"{plural(counted.length, 'token')} ('{one_line(context, ascii=ascii)}')"
        )
        if occurrences is not None and occurrences.count:
            line += (
                f", which the training text holds {plural(occurrences.count, 'time')}, "
                f"{occurrences.followed} of them before '{one_line(token, ascii=ascii)}'"
            )
        if places:
            line += f": {', '.join(places)}"
        lines.append(line)
    return [safe_line(line) for line in lines]


def _where(passage: Passage) -> str:
    """Where a passage stands: its file and line, or else its line in the text as it was read."""
    if passage.place is not None:
        return safe_line(passage.place)
    return f"training text, line {passage.line:,}"
