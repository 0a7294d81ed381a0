"""A Figure as lines for a terminal: pure functions of numbers, a palette and a width.

Curves are dots of braille, two by four in each cell, in the colours of their series. Where there
are no colours, or no braille, each series has a mark of its own, so that they stay apart.

A number's course as a line of blocks.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from chargen.insight.plot import Axis, Figure, Numbers, Plot, axes_of, tick_text
from chargen.terminal.palette import RESET, Palette
from chargen.terminal.safetext import SafeText, safe_line

_MARKS, _ASCII_MARKS = "●○▲△■□◆◇", "ox+*#@%&"
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
_WIDEST, _NARROWEST = 100, 34
_TALL, _SMALL = 16, 11
_GAP = 2
_ROOMY = 60


def render_figure(figure: Figure, palette: Palette, width: int) -> list[str]:
    """The lines of a figure, none wider than `width`: plots side by side as far as they fit."""
    from textwrap import wrap

    count = len(figure.plots)
    abreast = max(1, min(count, (width + _GAP) // (_NARROWEST + _GAP)))
    room = min(_WIDEST, (width - _GAP * (abreast - 1)) // abreast)
    lines = list(wrap(safe_line(figure.title), max(10, width)))
    for first in range(0, count, abreast):
        blocks = [
            _block(one, palette, room, _TALL if count == 1 else _SMALL)
            for one in figure.plots[first : first + abreast]
        ]
        height = max(len(one) for one in blocks)
        for row in range(height):
            parts = [
                one[row] if row < len(one) else (SafeText(""), 0)
                for one in blocks
            ]  # fmt: skip
            padded = [text + " " * (room + _GAP - wide) for text, wide in parts[:-1]]
            lines.append("".join([*padded, parts[-1][0]]))
    for note in figure.notes:
        lines += wrap(safe_line(note), max(10, width)) or [""]
    return lines


def _block(plot: Plot, palette: Palette, width: int, rows: int) -> list[tuple[str, int]]:
    """One plot with its axes and names: (text, terminal cells) of each line."""
    across, up = axes_of(plot)
    ticks = up.ticks(4)
    names = {value: tick_text(value) for value in ticks}
    margin = max([len(one) for one in names.values()] + [1])
    columns = max(8, width - margin - 1)
    cells = _canvas(plot, palette, across, up, columns, rows)
    at = {}
    for value, place in zip(ticks, up.places(np.array(ticks)), strict=True):
        if np.isfinite(place):
            at[round((1 - place) * (rows - 1))] = names[value]
    line, corner, flat = ("|", "+", "-") if palette.ascii else ("│", "└", "─")
    head = safe_line(f"{plot.title}: {plot.y_label}" if plot.title else plot.y_label)[:width]
    found = [(str(head), len(head))]
    found += [
        (f"{at.get(row, ''):>{margin}}{line}{text}", margin + 1 + columns)
        for row, text in enumerate(cells)
    ]
    found.append((" " * margin + corner + flat * columns, margin + 1 + columns))
    for below in _labels_below(plot, across, columns):
        found.append((" " * (margin + 1) + below, margin + 1 + len(below)))
    return found + _legend(plot, palette, width)


def _labels_below(plot: Plot, across: Axis, columns: int) -> list[str]:
    """The numbers under the horizontal axis, and what they are: on a line of its own if narrow."""
    name = safe_line(plot.x_label)[:columns]
    free = [" "] * columns
    taken = columns
    if columns >= _ROOMY:
        free[columns - len(name) :] = name
        taken = columns - len(name) - 1
    values = across.ticks(max(2, columns // 12))
    reached = -1
    for value, place in zip(values, across.places(np.array(values)), strict=True):
        text = tick_text(value)
        if not np.isfinite(place):
            continue
        start = max(0, round(place * (columns - 1)) - len(text) // 2)
        if start > reached and start + len(text) <= taken:
            free[start : start + len(text)] = text
            reached = start + len(text)
    lines = ["".join(free)]
    return lines if columns >= _ROOMY else [*lines, f"{name:>{columns}}"]


def _legend(plot: Plot, palette: Palette, width: int) -> list[tuple[str, int]]:
    """A line or more that say which series is which; none for a single one without a name."""
    lines: list[tuple[str, int]] = []
    text, wide = "", 0
    for number, one in enumerate(plot.series):
        if not one.name:
            continue
        name = safe_line(one.name)[: max(4, width - 3)]
        if wide and wide + len(name) + 4 > width:
            lines.append((text, wide))
            text, wide = "", 0
        text += (
            "  " if wide else ""
        ) + f"{_painted(_mark(number, palette), number, palette)} {name}"
        wide += (2 if wide else 0) + 2 + len(name)
    return [*lines, (text, wide)] if wide else lines


def _mark(number: int, palette: Palette) -> str:
    marks = _ASCII_MARKS if palette.ascii else _MARKS
    return "●" if _dotted(palette) else marks[number % len(marks)]


def _dotted(palette: Palette) -> bool:
    """Whether colours can tell the series apart, so that their dots may be alike."""
    return palette.depth > 0 and not palette.ascii


def _painted(text: str, number: int, palette: Palette) -> str:
    code = palette.line(number)
    return f"\x1b[{code}m{text}{RESET}" if code else text


def _canvas(
    plot: Plot, palette: Palette, across: Axis, up: Axis, columns: int, rows: int
) -> list[str]:
    """The area between the axes, a string a row."""
    fine = (4, 2) if _dotted(palette) else (1, 1)
    bits = np.zeros((rows, columns), np.int64)
    owner = np.full((rows, columns), -1)
    for number, one in enumerate(plot.series):
        x = across.places(one.x) * (columns * fine[1] - 1)
        y = (1 - up.places(one.y)) * (rows * fine[0] - 1)
        px, py = _pixels(x, y, plot.points)
        cell = py // fine[0], px // fine[1]
        fresh = owner[cell] != number
        bits[cell[0][fresh], cell[1][fresh]] = 0  # the last series to reach a cell has it
        owner[cell] = number
        if _dotted(palette):
            np.bitwise_or.at(bits, cell, _DOTS[py % 4, px % 2])
    return [_row(bits[row], owner[row], palette) for row in range(rows)]


def _row(bits: npt.NDArray[np.int64], owner: npt.NDArray[np.int64], palette: Palette) -> str:
    parts, before = [], -1
    for dots, number in zip(bits.tolist(), owner.tolist(), strict=True):
        if number != before and palette.depth:
            parts.append(RESET if number < 0 else f"\x1b[{palette.line(number)}m")
        before = number
        mark = chr(0x2800 + dots) if _dotted(palette) else _mark(number, palette)
        parts.append(" " if number < 0 else mark)
    if before >= 0 and palette.depth:
        parts.append(RESET)
    return "".join(parts)


def _pixels(
    x: Numbers, y: Numbers, points: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The dots of a series; between neighbours, where they are joined."""
    known = np.isfinite(x) & np.isfinite(y)
    if points or known.sum() < 2:
        return np.rint(x[known]).astype(int), np.rint(y[known]).astype(int)
    found_x, found_y = [], []
    for one in range(len(x)):
        if not known[one]:
            continue
        joins = one + 1 < len(x) and known[one + 1]
        end_x, end_y = (x[one + 1], y[one + 1]) if joins else (x[one], y[one])
        steps = int(max(abs(end_x - x[one]), abs(end_y - y[one]))) + 1
        found_x.append(np.linspace(x[one], end_x, steps + 1))
        found_y.append(np.linspace(y[one], end_y, steps + 1))
    return (
        np.rint(np.concatenate(found_x)).astype(int),
        np.rint(np.concatenate(found_y)).astype(int),
    )


_BLOCKS, _ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.-=+*#@"


def sparks(
    values: npt.NDArray[np.floating], low: float, high: float, *, ascii: bool = False
) -> SafeText:
    """Each value (T,) as a block between two limits; a space for what is no number."""
    blocks = _ASCII_BLOCKS if ascii else _BLOCKS
    known = np.isfinite(values)
    scaled = np.where(known, (values - low) / max(high - low, 1e-12) * len(blocks), 0)
    levels = np.clip(scaled, 0, len(blocks) - 1).astype(int)
    marks = zip(levels, known, strict=True)
    return SafeText("".join(blocks[level] if there else " " for level, there in marks))


def spark_line(
    name: str, values: npt.NDArray[np.floating], width: int, *, ascii: bool = False
) -> SafeText:
    """A name, the course of its last values, and the last of them."""
    label = safe_line(name)
    last = f"{values[-1]:+.2f}" if len(values) else ""
    room = max(0, width - len(label) - len(last) - 2)
    bound = max(1.0, float(np.abs(values).max(initial=0.0)))
    course = sparks(values[len(values) - min(room, len(values)) :], -bound, bound, ascii=ascii)
    return SafeText(f"{label} {course:<{room}} {last}"[:width])
