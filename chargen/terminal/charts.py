"""Chart and Sparkline: a figure's curves, and one number's history, drawn with characters.

A chart is a pure function of a figure, a palette and a width. Curves are dots of braille, two by
four in each cell, in the colours of their series. Where there are no colours or no braille, each
series has its own mark. A sparkline is one line of blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt
from rich.segment import Segment

from chargen.insight.plot import Axis, Figure, Numbers, Plot, axes_of, tick_text
from chargen.terminal.drawing import Drawing, SegmentLine, ansi_lines, fold
from chargen.terminal.palette import Palette
from chargen.terminal.safetext import SafeText, safe_line

_MARKS, _ASCII_MARKS = "●○▲△■□◆◇", "ox+*#@%&"
_BLOCKS, _ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.-=+*#@"
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""Bits of a braille character: four rows of two dots."""
_EMPTY_BRAILLE = 0x2800
_MAX_PLOT_WIDTH, _MIN_PLOT_WIDTH = 100, 34
_ROWS_ALONE, _ROWS_IN_A_ROW = 16, 11
"""Terminal rows between the axes: of a single plot, and of plots side by side."""
_GAP = 2
"""Terminal cells between two plots."""
_MIN_COLUMNS_FOR_NAME = 60
"""From this width on, the axis's name stands on the line of its numbers."""


@dataclass(frozen=True, eq=False)
class Chart(Drawing):
    """The plots of a figure, side by side as far as they fit, between its title and its notes."""

    figure: Figure
    palette: Palette

    def lines(self, width: int) -> list[SegmentLine]:
        """The figure in at most `width` terminal cells."""
        plots = self.figure.plots
        per_row = max(1, min(len(plots), (width + _GAP) // (_MIN_PLOT_WIDTH + _GAP)))
        room = min(_MAX_PLOT_WIDTH, (width - _GAP * (per_row - 1)) // per_row)
        rows = _ROWS_ALONE if len(plots) == 1 else _ROWS_IN_A_ROW
        lines = fold(self.figure.title, width) if self.figure.title else []
        for first in range(0, len(plots), per_row):
            blocks = [
                _plot_lines(plot, self.palette, room, rows)
                for plot in plots[first : first + per_row]
            ]
            lines += _side_by_side(blocks, room + _GAP)
        for note in self.figure.notes:
            lines += fold(note, width)
        return lines


@dataclass(frozen=True, eq=False)
class Sparkline(Drawing):
    """A name, the history of its values (T,), and the last of them, on one line."""

    name: str
    values: npt.NDArray[np.floating]
    ascii: bool = False

    def text(self, width: int) -> SafeText:
        """As many of the last values as fit into `width` terminal cells."""
        label = safe_line(self.name)
        last = f"{self.values[-1]:+.2f}" if len(self.values) else ""
        room = max(0, width - len(label) - len(last) - 2)
        bound = max(1.0, float(np.abs(self.values).max(initial=0.0)))
        shown = self.values[len(self.values) - min(room, len(self.values)) :]
        blocks = sparks(shown, -bound, bound, ascii=self.ascii)
        return SafeText(f"{label} {blocks:<{room}} {last}"[:width])

    def lines(self, width: int) -> list[SegmentLine]:
        """The text without colours."""
        return [[Segment(self.text(width))]]


def render_figure(figure: Figure, palette: Palette, width: int) -> list[str]:
    """The chart of a figure as lines of ANSI, none wider than `width`."""
    return ansi_lines(Chart(figure, palette), width)


def spark_line(
    name: str, values: npt.NDArray[np.floating], width: int, *, ascii: bool = False
) -> SafeText:
    """The text of a sparkline of the values (T,)."""
    return Sparkline(name, values, ascii).text(width)


def sparks(
    values: npt.NDArray[np.floating], low: float, high: float, *, ascii: bool = False
) -> SafeText:
    """Each value (T,) as a block between two limits; NaN and infinities are spaces."""
    blocks = _ASCII_BLOCKS if ascii else _BLOCKS
    finite = np.isfinite(values)
    scaled = np.where(finite, (values - low) / max(high - low, 1e-12) * len(blocks), 0)
    levels = np.clip(scaled, 0, len(blocks) - 1).astype(int)
    marks = zip(levels, finite, strict=True)
    return SafeText("".join(blocks[level] if is_finite else " " for level, is_finite in marks))


def _side_by_side(blocks: list[list[SegmentLine]], width: int) -> list[SegmentLine]:
    """Blocks of lines beside each other; all but the last one padded to `width`."""
    lines = []
    for row in range(max(len(block) for block in blocks)):
        parts = [block[row] if row < len(block) else [] for block in blocks]
        line = [
            segment for part in parts[:-1] for segment in Segment.adjust_line_length(part, width)
        ]
        lines.append([*line, *parts[-1]])
    return lines


def _plot_lines(plot: Plot, palette: Palette, width: int, rows: int) -> list[SegmentLine]:
    """One plot with its axes, their numbers and names, and its legend."""
    across, up = axes_of(plot)
    ticks = up.ticks(4)
    numbers = {value: tick_text(value) for value in ticks}
    margin = max([len(number) for number in numbers.values()] + [1])
    columns = max(8, width - margin - 1)
    number_of_row = {}
    for value, position in zip(ticks, up.positions(np.array(ticks)), strict=True):
        if np.isfinite(position):
            number_of_row[round((1 - position) * (rows - 1))] = numbers[value]
    vertical, corner, flat = ("|", "+", "-") if palette.ascii else ("│", "└", "─")
    heading = safe_line(f"{plot.title}: {plot.y_label}" if plot.title else plot.y_label)
    lines = [Segment.adjust_line_length([Segment(heading)], width, pad=False)]
    for row, cells in enumerate(_canvas(plot, palette, across, up, columns, rows)):
        lines.append([Segment(f"{number_of_row.get(row, ''):>{margin}}{vertical}"), *cells])
    lines.append([Segment(" " * margin + corner + flat * columns)])
    for labels in _labels_below(plot, across, columns):
        lines.append([Segment(" " * (margin + 1) + labels)])
    return lines + _legend(plot, palette, width)


def _labels_below(plot: Plot, across: Axis, columns: int) -> list[str]:
    """The numbers under the horizontal axis and its name: on a second line if it is narrow."""
    name = safe_line(plot.x_label)[:columns]
    labels = [" "] * columns
    end = columns
    if columns >= _MIN_COLUMNS_FOR_NAME:
        labels[columns - len(name) :] = name
        end = columns - len(name) - 1
    values = across.ticks(max(2, columns // 12))
    taken = -1
    for value, position in zip(values, across.positions(np.array(values)), strict=True):
        text = tick_text(value)
        if not np.isfinite(position):
            continue
        start = max(0, round(position * (columns - 1)) - len(text) // 2)
        if start > taken and start + len(text) <= end:
            labels[start : start + len(text)] = text
            taken = start + len(text)
    lines = ["".join(labels)]
    return lines if columns >= _MIN_COLUMNS_FOR_NAME else [*lines, f"{name:>{columns}}"]


def _legend(plot: Plot, palette: Palette, width: int) -> list[SegmentLine]:
    """Lines that say which series is which; nothing where no series has a name."""
    lines: list[SegmentLine] = []
    line: SegmentLine = []
    taken = 0
    for number, series in enumerate(plot.series):
        if not series.name:
            continue
        name = safe_line(series.name)[: max(4, width - 3)]
        if line and taken + len(name) + 4 > width:
            lines.append(line)
            line, taken = [], 0
        if line:
            line.append(Segment("  "))
            taken += 2
        line += [Segment(_mark(number, palette), palette.line_style(number)), Segment(f" {name}")]
        taken += 2 + len(name)
    return [*lines, line] if line else lines


def _mark(number: int, palette: Palette) -> str:
    marks = _ASCII_MARKS if palette.ascii else _MARKS
    return "●" if _has_dots(palette) else marks[number % len(marks)]


def _has_dots(palette: Palette) -> bool:
    """Whether colours can tell the series apart, so that all can be drawn with braille dots."""
    return palette.depth > 0 and not palette.ascii


def _canvas(
    plot: Plot, palette: Palette, across: Axis, up: Axis, columns: int, rows: int
) -> list[SegmentLine]:
    """The area between the axes, a line for each row."""
    dots_down, dots_across = (4, 2) if _has_dots(palette) else (1, 1)
    bits = np.zeros((rows, columns), np.int64)
    owners = np.full((rows, columns), -1)
    for number, series in enumerate(plot.series):
        x = across.positions(series.x) * (columns * dots_across - 1)
        y = (1 - up.positions(series.y)) * (rows * dots_down - 1)
        dot_x, dot_y = _series_dots(x, y, plot.points)
        cells = dot_y // dots_down, dot_x // dots_across
        new = owners[cells] != number
        bits[cells[0][new], cells[1][new]] = 0  # the last series that reaches a cell owns it
        owners[cells] = number
        if _has_dots(palette):
            np.bitwise_or.at(bits, cells, _DOTS[dot_y % 4, dot_x % 2])
    return [_canvas_row(bits[row], owners[row], palette) for row in range(rows)]


def _canvas_row(
    bits: npt.NDArray[np.int64], owners: npt.NDArray[np.int64], palette: Palette
) -> SegmentLine:
    """A segment for each run of cells that belong to the same series."""
    line = []
    cells = zip(owners.tolist(), bits.tolist(), strict=True)
    for number, run in groupby(cells, key=lambda cell: cell[0]):
        dots = [cell_bits for _, cell_bits in run]
        if number < 0:
            line.append(Segment(" " * len(dots)))
        elif _has_dots(palette):
            text = "".join(chr(_EMPTY_BRAILLE + cell_bits) for cell_bits in dots)
            line.append(Segment(text, palette.line_style(number)))
        else:
            text = _mark(number, palette) * len(dots)
            line.append(Segment(text, palette.line_style(number)))
    return line


def _series_dots(
    x: Numbers, y: Numbers, points: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The dots of a series; without `points`, also those on the lines between neighbours."""
    finite = np.isfinite(x) & np.isfinite(y)
    if points or finite.sum() < 2:
        return np.rint(x[finite]).astype(int), np.rint(y[finite]).astype(int)
    line_x, line_y = [], []
    for start in np.flatnonzero(finite).tolist():
        end = start + 1 if start + 1 < len(x) and finite[start + 1] else start
        steps = int(max(abs(x[end] - x[start]), abs(y[end] - y[start]))) + 1
        line_x.append(np.linspace(x[start], x[end], steps + 1))
        line_y.append(np.linspace(y[start], y[end], steps + 1))
    return (
        np.rint(np.concatenate(line_x)).astype(int),
        np.rint(np.concatenate(line_y)).astype(int),
    )
