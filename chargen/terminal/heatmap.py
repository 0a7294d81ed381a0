"""Heatmap: a grid of numbers as rows of coloured cells over the text that they belong to.

A pure function of a grid, a palette and a width. The height is the same for every grid of one
shape, so that a live picture is redrawn line by line. Labels come from a model and pass through
SafeText here. Columns keep their width for any text: wide characters, combining marks, white
space.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from wcwidth import wcswidth

from chargen.insight.views import Grid
from chargen.terminal.drawing import Drawing, SegmentLine, ansi_lines, fold
from chargen.terminal.palette import LEVELS, Palette
from chargen.terminal.safetext import SafeText, safe_line

_WHITE_SPACE = {"\n": "⏎", " ": "·", "\t": "→", "\r": "␍"}
_ASCII_WHITE_SPACE = {"\n": "\\n", " ": " ", "\t": "\\t", "\r": "\\r"}
_MAX_LABEL_CELLS = 12
_LIKELY_LEVEL = LEVELS // 8
"""Guesses below this level are left out where no colour tells them apart."""
_RIGHT_TO_LEFT = ("\u0590", "\u08ff"), ("\ufb1d", "\ufdff"), ("\ufe70", "\ufefc")
_LEFT_TO_RIGHT_MARK = "\u200e"


@dataclass(frozen=True, eq=False)
class Heatmap(Drawing):
    """A grid in the colours of a palette, with its notes and a legend.

    Where not all columns fit, the last ones are shown.
    """

    grid: Grid
    palette: Palette

    def lines(self, width: int) -> list[SegmentLine]:
        """The picture, its notes and its legend, in at most `width` terminal cells."""
        if self.grid.layout == "text":
            body = _text_lines(self.grid, self.palette, width)
        elif self.grid.layout == "strips":
            body = _strip_lines(self.grid, self.palette, width)
        else:
            body = _cell_lines(self.grid, self.palette, width)
        notes = [line for note in self.grid.notes for line in fold(note, width)]
        return [*body, *notes, *_legend(self.grid, self.palette, width)]


def render(grid: Grid, palette: Palette, width: int) -> list[str]:
    """The heatmap of a grid as lines of ANSI, none wider than `width`."""
    return ansi_lines(Heatmap(grid, palette), width)


@lru_cache(maxsize=4096)
def column_label(text: str, *, ascii: bool = False) -> tuple[SafeText, int]:
    """A token as it stands under its column, and how many terminal cells it takes: at least one."""
    marks = _ASCII_WHITE_SPACE if ascii else _WHITE_SPACE
    label = safe_line("".join(marks.get(character, character) for character in text))
    width = wcswidth(label)
    if text and width <= 0:
        label = SafeText(("'" if ascii else "◌") + label)  # a mark needs a base to stand on
        width = wcswidth(label)
    if width <= 0:
        return SafeText(" "), 1
    while width > _MAX_LABEL_CELLS:
        label = SafeText(label[:-1])
        width = wcswidth(label)
    if any(low <= character <= high for character in label for low, high in _RIGHT_TO_LEFT):
        # A terminal that reorders would put the label of one column under another.
        label = SafeText("".join(character + _LEFT_TO_RIGHT_MARK for character in label))
    return label, width


def one_line(text: str, *, ascii: bool = False) -> SafeText:
    """A text on one line: line ends and tabs become marks, spaces stay."""
    marks = _ASCII_WHITE_SPACE if ascii else _WHITE_SPACE
    return safe_line(
        "".join(
            character if character == " " else marks.get(character, character) for character in text
        )
    )


def columns_that_fit(labels: Sequence[str], room: int, *, ascii: bool = False) -> int:
    """How many of the last columns fit into `room` terminal cells."""
    count = 0
    for text in reversed(labels):
        room -= column_label(text, ascii=ascii)[1]
        if room < 0:
            break
        count += 1
    return count


def cell_rows(
    grid: Grid, palette: Palette, widths: Sequence[int]
) -> list[tuple[SafeText, SegmentLine]]:
    """(label, cells) of each line of a grid; column k is `widths[k]` terminal cells wide.

    Where cells can be painted, a line holds two rows: `▀` has two colours. A grid whose rows are
    named keeps a line for each row.
    """
    levels = palette.levels(grid.values, grid.low, grid.high)
    labels = [safe_line(label) for label in grid.row_labels]
    if palette.ascii or grid.named or not palette.paints:
        cells = _whole_cells(palette, grid.kind)
        return [
            (label, _wide([cells[level] for level in row], widths))
            for label, row in zip(labels, levels, strict=True)
        ]
    if len(levels) % 2:
        levels.append([-1] * len(widths))
    halves = _half_cells(palette, grid.kind)
    return [
        (
            labels[row],
            _wide(
                [halves[pair] for pair in zip(levels[row], levels[row + 1], strict=True)], widths
            ),
        )
        for row in range(0, len(levels), 2)
    ]


class _HalfCells(dict[tuple[int, int], Segment]):
    """Cells that show two levels, the first above the second; each is made once.

    With 65 x 65 pairs, most cells of a live picture are in the table after a few frames.
    """

    def __init__(self, colours: Sequence[Color]) -> None:
        super().__init__()
        self._colours = colours

    def __missing__(self, levels: tuple[int, int]) -> Segment:
        upper, lower = levels
        style = Style(color=self._colours[upper], bgcolor=self._colours[lower])
        # Where the upper level is missing, a half block would have the text's colour.
        cell = self[levels] = Segment(" " if upper < 0 else "▀", style)
        return cell


@lru_cache(maxsize=8)
def _half_cells(palette: Palette, kind: str) -> _HalfCells:
    return _HalfCells(palette.colours(kind))


@lru_cache(maxsize=8)
def _whole_cells(palette: Palette, kind: str) -> list[Segment]:
    """A cell of each level: painted, or a shade; the last entry, -1, is a missing value."""
    if palette.paints:
        return [Segment(" ", style) for style in palette.fills(kind)]
    return [*(palette.shade(kind, level) for level in range(LEVELS)), Segment(" ")]


def _wide(cells: SegmentLine, widths: Sequence[int]) -> SegmentLine:
    """Each cell as wide as its column."""
    return [
        cell if width == 1 else Segment(cell.text * width, cell.style)
        for cell, width in zip(cells, widths, strict=True)
    ]


def _margin(grid: Grid) -> int:
    """Terminal cells that the row labels take, with a space."""
    return 1 + max((len(safe_line(label)) for label in grid.row_labels), default=0)


def _row_label(label: str, margin: int) -> Segment:
    return Segment(f"{safe_line(label):>{margin - 1}} ")


def _cell_lines(grid: Grid, palette: Palette, width: int) -> list[SegmentLine]:
    """Rows of cells over their text; cells that hold a text stand below it."""
    margin = _margin(grid)
    widest = grid.column_labels
    if grid.cells:
        columns = zip(grid.column_labels, *grid.cells, strict=True)
        widest = tuple(max(texts, key=lambda text: column_label(text)[1]) for texts in columns)
    count = columns_that_fit(widest, max(1, width - margin), ascii=palette.ascii)
    first = len(widest) - count
    widths = [column_label(text, ascii=palette.ascii)[1] for text in widest[first:]]
    text = [
        Segment(" " * margin + _text_row(grid.column_labels[first:], widths, ascii=palette.ascii))
    ]
    shown = replace(
        grid,
        values=grid.values[:, first:],
        column_labels=grid.column_labels[first:],
        cells=tuple(row[first:] for row in grid.cells),
    )
    if grid.cells:
        return [text, *_labelled_cells(shown, palette, widths, margin)]
    rows = cell_rows(shown, palette, widths)
    return [*([_row_label(label, margin), *cells] for label, cells in rows), text]


def _labelled_cells(
    grid: Grid, palette: Palette, widths: Sequence[int], margin: int
) -> list[SegmentLine]:
    levels = palette.levels(grid.values, grid.low, grid.high)
    lines = []
    for label, row, texts in zip(grid.row_labels, levels, grid.cells, strict=True):
        line = [_row_label(label, margin)]
        for level, text, width in zip(row, texts, widths, strict=True):
            padded = _padded(text, width, ascii=palette.ascii)
            if palette.paints:
                line.append(Segment(padded, palette.inked_fills(grid.kind)[level]))
            else:  # only likely guesses are shown: the rest cannot be told apart
                likely = level >= _LIKELY_LEVEL or label == "1"
                line.append(Segment(padded if likely else " " * width))
        lines.append(line)
    return lines


def _padded(text: str, width: int, *, ascii: bool) -> SafeText:
    label, cells = column_label(text, ascii=ascii)
    return SafeText(label + " " * (width - cells))


def _text_row(labels: Iterable[str], widths: Iterable[int], *, ascii: bool) -> SafeText:
    """The text under a heatmap, each token under its column."""
    pairs = zip(labels, widths, strict=True)
    return SafeText("".join(_padded(label, width, ascii=ascii) for label, width in pairs))


def _strip_lines(grid: Grid, palette: Palette, width: int) -> list[SegmentLine]:
    """One line a row; as many columns as fit, evenly spread."""
    margin = _margin(grid)
    count = max(1, min(width - margin, grid.values.shape[1]))
    columns = np.linspace(0, grid.values.shape[1] - 1, count).astype(int)
    levels = palette.levels(grid.values[:, columns], grid.low, grid.high)
    cells = _whole_cells(palette, grid.kind)
    return [
        [_row_label(label, margin), *(cells[level] for level in row)]
        for label, row in zip(grid.row_labels, levels, strict=True)
    ]


def _text_lines(grid: Grid, palette: Palette, width: int) -> list[SegmentLine]:
    """A text coloured by one value a token; without colours, shades under each line."""
    levels = palette.levels(grid.values, grid.low, grid.high)[0]
    lines: list[SegmentLine] = []
    line: list[tuple[SafeText, int, int]] = []
    taken = 0
    for text, level in zip(grid.column_labels, levels, strict=True):
        label, cells = column_label(text, ascii=palette.ascii)
        if text == " ":
            label = SafeText(" ")
        if taken + cells > width:
            lines += _coloured(line, grid.kind, palette)
            line, taken = [], 0
        line.append((label, cells, level))
        taken += cells
        if text == "\n":
            lines += _coloured(line, grid.kind, palette)
            line, taken = [], 0
    return lines + (_coloured(line, grid.kind, palette) if line else [])


def _coloured(
    line: Sequence[tuple[SafeText, int, int]], kind: str, palette: Palette
) -> list[SegmentLine]:
    if palette.paints:
        styles = palette.inked_fills(kind)
        return [[Segment(label, styles[level]) for label, _, level in line]]
    shades = _whole_cells(palette, kind)
    text = SafeText("".join(label for label, _, _ in line))
    widths = [cells for _, cells, _ in line]
    return [[Segment(text)], _wide([shades[level] for _, _, level in line], widths)]


def _legend(grid: Grid, palette: Palette, width: int) -> list[SegmentLine]:
    """What the colours mean, and what the picture is: one line, or more where it is narrow."""
    if grid.cells and not palette.paints:
        likely = f"{_LIKELY_LEVEL / LEVELS:.0%}"
        return fold(f"{grid.title}; of all but the first those of at least {likely}", width)
    count = 16 if width >= 60 else 8
    steps = [step * LEVELS // count + LEVELS // count // 2 for step in range(count)]
    cells = _whole_cells(palette, grid.kind)
    low, high = (
        f"{limit:+.1f}" if grid.kind == "diverging" else f"{limit:g}"
        for limit in (grid.low, grid.high)
    )
    head = [Segment(f"{low} "), *(cells[step] for step in steps), Segment(f" {high} ")]
    meaning = safe_line(f"{grid.measure}: {grid.title}" if grid.measure else grid.title)
    room = width - len(low) - len(high) - count - 3
    if len(meaning) + 1 <= room:
        return [[*head, Segment(f" {meaning}")]]
    return [head, *fold(meaning, width)]
