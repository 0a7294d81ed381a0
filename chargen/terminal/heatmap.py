"""A Grid as lines for a terminal: pure functions of numbers, a palette and a width.

Each line is a finished string, of the same height every time, so that a live picture is redrawn by
comparing lines. Labels come from a model and pass through SafeText here. Columns keep their width
whatever the text is made of: wide characters, marks, white space.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from wcwidth import wcswidth

from chargen.insight.views import Grid
from chargen.terminal.palette import LEVELS, RESET, Palette
from chargen.terminal.safetext import SafeText, safe_line

_WHITE_SPACE = {"\n": "⏎", " ": "·", "\t": "→", "\r": "␍"}
_ASCII_WHITE_SPACE = {"\n": "\\n", " ": " ", "\t": "\\t", "\r": "\\r"}
_WIDEST = 12
_LIKELY = LEVELS // 8
"""Guesses below this level are left out where no colour tells them apart."""
_RIGHT_TO_LEFT = ("\u0590", "\u08ff"), ("\ufb1d", "\ufdff"), ("\ufe70", "\ufefc")
_LEFT_TO_RIGHT_MARK = "\u200e"


@lru_cache(maxsize=4096)
def column_label(text: str, *, ascii: bool = False) -> tuple[SafeText, int]:
    """A token as it stands under its column, and how many terminal cells it takes: at least one."""
    table = _ASCII_WHITE_SPACE if ascii else _WHITE_SPACE
    shown = safe_line("".join(table.get(one, one) for one in text))
    width = wcswidth(shown)
    if text and width <= 0:
        shown = SafeText(("'" if ascii else "◌") + shown)  # a mark needs something to stand on
        width = wcswidth(shown)
    if width <= 0:
        return SafeText(" "), 1
    while width > _WIDEST:
        shown = SafeText(shown[:-1])
        width = wcswidth(shown)
    if any(low <= one <= high for one in shown for low, high in _RIGHT_TO_LEFT):
        # A terminal that reorders would put the label of one column under another.
        shown = SafeText("".join(one + _LEFT_TO_RIGHT_MARK for one in shown))
    return shown, width


def one_line(text: str, *, ascii: bool = False) -> SafeText:
    """A text on one line: line ends as marks, spaces as they are."""
    table = _ASCII_WHITE_SPACE if ascii else _WHITE_SPACE
    return safe_line("".join(one if one == " " else table.get(one, one) for one in text))


def gutter(grid: Grid) -> int:
    """Terminal cells that the row labels take, with a space."""
    return 1 + max((len(safe_line(one)) for one in grid.row_labels), default=0)


def columns_that_fit(labels: Sequence[str], room: int, *, ascii: bool = False) -> int:
    """How many of the last columns fit into so many terminal cells."""
    count = 0
    for text in reversed(labels):
        room -= column_label(text, ascii=ascii)[1]
        if room < 0:
            break
        count += 1
    return count


def render(grid: Grid, palette: Palette, width: int) -> list[str]:
    """The lines of a grid, none wider than `width`; the last columns, where not all fit."""
    if grid.layout == "text":
        body = _text_lines(grid, palette, width)
    elif grid.layout == "strips":
        body = _strip_lines(grid, palette, width)
    else:
        body = _cell_lines(grid, palette, width)
    notes = [line for note in grid.notes for line in _folded(safe_line(note), width)]
    return [*body, *notes, *legend(grid, palette, width)]


def legend(grid: Grid, palette: Palette, width: int) -> list[str]:
    """What the colours mean, and what the picture is: one line, or more where it is narrow."""
    if grid.cells and not palette.paints:
        likely = f"{_LIKELY / LEVELS:.0%}"
        return _folded(
            safe_line(f"{grid.title}; of all but the first those of at least {likely}"), width
        )
    count = 16 if width >= 60 else 8
    steps = [one * LEVELS // count + LEVELS // count // 2 for one in range(count)]
    if palette.paints:
        colours = palette.background(grid.kind)
        bar = "".join(f"\x1b[{colours[one]}m " for one in steps) + RESET
    else:
        bar = "".join(palette.shade(grid.kind, one) for one in steps)
    ends = [
        f"{one:+.1f}" if grid.kind == "diverging" else f"{one:g}" for one in (grid.low, grid.high)
    ]
    said = f"{grid.measure}: {grid.title}" if grid.measure else grid.title
    head = f"{ends[0]} {bar} {ends[1]} "
    room = width - len(ends[0]) - len(ends[1]) - count - 3
    if len(said) + 1 <= room:
        return [f"{head} {safe_line(said)}"]
    return [head, *_folded(safe_line(said), width)]


def heat_rows(grid: Grid, palette: Palette, widths: Sequence[int]) -> list[tuple[str, str]]:
    """(label, cells) of each line of a heatmap, the cells as wide as `widths`.

    Where cells can be painted, a line holds two rows, `▀` has two colours; unless rows are named.
    """
    levels = palette.levels(grid.values, grid.low, grid.high)
    labels = [safe_line(one) for one in grid.row_labels]
    if not palette.paints:
        table = [palette.shade(grid.kind, one) for one in range(LEVELS)] + [" "]
        return [
            (label, "".join([table[one] * wide for one, wide in zip(row, widths, strict=True)]))
            for label, row in zip(labels, levels, strict=True)
        ]
    lower = palette.background(grid.kind)
    if palette.ascii or grid.named:
        return [
            (label, _painted(row, widths, lower)) for label, row in zip(labels, levels, strict=True)
        ]
    upper = palette.foreground(grid.kind)
    if len(levels) % 2:
        levels.append([-1] * len(widths))
    return [
        (labels[row], _halves(levels[row], levels[row + 1], widths, upper, lower))
        for row in range(0, len(levels), 2)
    ]


def _halves(
    tops: list[int], bottoms: list[int], widths: Sequence[int], upper: list[str], lower: list[str]
) -> str:
    """A line of two rows; a colour is named only where it changes."""
    parts, before = [], (LEVELS, LEVELS)
    for top, bottom, wide in zip(tops, bottoms, widths, strict=True):
        if (top, bottom) != before:
            parts.append(f"\x1b[{upper[top]};{lower[bottom]}m")
            before = (top, bottom)
        # A cell that lacks both values is empty; its foreground would be the terminal's own.
        parts.append((" " if top < 0 else "▀") * wide)
    return "".join(parts) + RESET


def _painted(row: list[int], widths: Sequence[int], colours: list[str]) -> str:
    pairs = zip(row, widths, strict=True)
    return "".join(f"\x1b[{colours[one]}m{' ' * wide}" for one, wide in pairs) + RESET


def _cell_lines(grid: Grid, palette: Palette, width: int) -> list[str]:
    """Rows over their text: a heatmap, or with `cells` a text in each cell."""
    margin = gutter(grid)
    labels = grid.column_labels
    if grid.cells:
        columns = zip(labels, *grid.cells, strict=True)
        labels = tuple(max(one, key=lambda t: column_label(t)[1]) for one in columns)
    count = columns_that_fit(labels, max(1, width - margin), ascii=palette.ascii)
    first = len(labels) - count
    widths = [column_label(one, ascii=palette.ascii)[1] for one in labels[first:]]
    under = " " * margin + text_row(grid.column_labels[first:], widths, ascii=palette.ascii)
    shown = _cut(grid, first)
    if grid.cells:
        rows = _labelled_cells(shown, palette, widths, margin)
        return [under, *rows]
    lines = heat_rows(shown, palette, widths)
    return [*(f"{label:>{margin - 1}} {cells}" for label, cells in lines), under]


def _cut(grid: Grid, first: int) -> Grid:
    cells = tuple(row[first:] for row in grid.cells)
    labels = grid.column_labels[first:]
    return replace(grid, values=grid.values[:, first:], column_labels=labels, cells=cells)


def _labelled_cells(grid: Grid, palette: Palette, widths: Sequence[int], margin: int) -> list[str]:
    levels = palette.levels(grid.values, grid.low, grid.high)
    colours, inks = palette.background(grid.kind), palette.ink(grid.kind)
    lines = []
    for label, row, texts in zip(grid.row_labels, levels, grid.cells, strict=True):
        parts = [f"{safe_line(label):>{margin - 1}} "]
        for level, text, wide in zip(row, texts, widths, strict=True):
            shown, own = column_label(text, ascii=palette.ascii)
            padded = shown + " " * (wide - own)
            if palette.paints:
                parts.append(f"\x1b[{colours[level]};{inks[level]}m{padded}")
            else:  # unlikely guesses are left out: what stands there is what it expects
                parts.append(padded if level >= _LIKELY or label == "1" else " " * wide)
        lines.append("".join(parts) + (RESET if palette.paints else ""))
    return lines


def text_row(labels: Iterable[str], widths: Iterable[int], *, ascii: bool = False) -> SafeText:
    """The text under a heatmap, each token under its column."""
    found = []
    for label, wide in zip(labels, widths, strict=True):
        shown, own = column_label(label, ascii=ascii)
        found.append(shown + " " * (wide - own))
    return SafeText("".join(found))


def _strip_lines(grid: Grid, palette: Palette, width: int) -> list[str]:
    """One line a row, as wide as there is room."""
    margin = gutter(grid)
    room = max(1, min(width - margin, grid.values.shape[1]))
    picked = np.linspace(0, grid.values.shape[1] - 1, room).astype(int)
    shown = replace(grid, values=grid.values[:, picked])
    levels = palette.levels(shown.values, grid.low, grid.high)
    lines = []
    for label, row in zip(grid.row_labels, levels, strict=True):
        if palette.paints:
            cells = _painted(row, [1] * room, palette.background(grid.kind))
        else:
            cells = "".join(palette.shade(grid.kind, one) for one in row)
        lines.append(f"{safe_line(label):>{margin - 1}} {cells}")
    return lines


def _text_lines(grid: Grid, palette: Palette, width: int) -> list[str]:
    """A text coloured by one value a token; without colours, shades under each line."""
    levels = palette.levels(grid.values, grid.low, grid.high)[0]
    lines: list[str] = []
    line: list[tuple[SafeText, int, int]] = []
    taken = 0
    for text, level in zip(grid.column_labels, levels, strict=True):
        shown, wide = column_label(text, ascii=palette.ascii)
        if text == " ":
            shown = SafeText(" ")
        if taken + wide > width:
            lines += _coloured(line, grid.kind, palette)
            line, taken = [], 0
        line.append((shown, wide, level))
        taken += wide
        if text == "\n":
            lines += _coloured(line, grid.kind, palette)
            line, taken = [], 0
    return lines + (_coloured(line, grid.kind, palette) if line else [])


def _coloured(line: Sequence[tuple[SafeText, int, int]], kind: str, palette: Palette) -> list[str]:
    if not palette.paints:
        text = "".join(shown for shown, _, _ in line)
        return [text, "".join(palette.shade(kind, level) * wide for _, wide, level in line)]
    colours, inks = palette.background(kind), palette.ink(kind)
    parts, before = [], LEVELS
    for shown, _, level in line:
        if level != before:
            parts.append(f"\x1b[{colours[level]};{inks[level]}m")
            before = level
        parts.append(shown)
    return ["".join(parts) + RESET]


def _folded(text: SafeText, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, max(10, width)) or [""]
