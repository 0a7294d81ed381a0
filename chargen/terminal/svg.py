"""A Grid as .svg: a path a colour, and the text under its columns.

Every text in it passes SafeText and is escaped; nothing in it refers to anything outside.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from chargen.insight.views import Grid
from chargen.terminal.heatmap import column_label
from chargen.terminal.palette import LEVELS, Palette, luminance
from chargen.terminal.safetext import safe_line

_CELL_W, _CELL_H, _LINE_H, _CHAR_W = 9, 9, 20, 9
_TEXT_COLUMNS = 90
FONT = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"


def svg(grid: Grid, palette: Palette) -> bytes:
    """A picture that scales: a path a colour, and the text under its columns."""
    drawing = _text_svg if grid.layout == "text" else _cells_svg
    body, width, height = drawing(grid, palette)
    legend, tall = _legend_svg(grid, palette, height + 8)
    return frame(body + legend, max(width, 420), tall, grid.title, palette)


def frame(body: str, width: int, height: int, title: str, palette: Palette) -> bytes:
    """A whole picture around its elements."""
    ink, paper = ink_and_paper(palette)
    label = html.escape(safe_line(title))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{label}" '
        f'font-family="{FONT}" font-size="13" fill="{ink}" color="{ink}">\n'
        f'<rect width="{width}" height="{height}" fill="{paper}"/>\n{body}</svg>\n'
    ).encode()


def ink_and_paper(palette: Palette) -> tuple[str, str]:
    """Colours of text and of what is behind it."""
    return ("#d8d8d8", "#1a1a1a") if palette.dark else ("#222222", "#ffffff")


def hex_colours(palette: Palette, kind: str) -> list[str]:
    """The colours of the levels."""
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in palette.rgb(kind)]


def legible_inks(palette: Palette, kind: str) -> list[str]:
    """Black or white, for text on each level's colour."""
    return ["#000" if luminance(one) > 0.42 else "#fff" for one in palette.rgb(kind)]


def _widths(grid: Grid) -> list[int]:
    """Cells that each column takes."""
    rows = (grid.column_labels, *grid.cells)
    return [max(column_label(one)[1] for one in column) for column in zip(*rows, strict=True)]


def _cells_svg(grid: Grid, palette: Palette) -> tuple[str, int, int]:
    """Rows of cells; the text under them, or, with texts in the cells, above."""
    texts = bool(grid.cells)
    small = grid.layout == "heat" and not texts and not grid.named
    tall = _CELL_H if small else _LINE_H
    margin = 8 * (2 + max((len(safe_line(one)) for one in grid.row_labels), default=0))
    edges = np.concatenate([[0], np.cumsum(_widths(grid))]) * _CELL_W + margin
    top = _LINE_H if texts else 6
    levels = palette.levels(grid.values, grid.low, grid.high)
    paths: dict[int, list[str]] = {}
    for row, line in enumerate(levels):
        start = 0
        for stop in range(1, len(line) + 1):
            if stop == len(line) or line[stop] != line[start]:
                if line[start] >= 0:
                    x, wide = edges[start], edges[stop] - edges[start]
                    part = f"M{x} {top + row * tall}h{wide}v{tall}h-{wide}z"
                    paths.setdefault(line[start], []).append(part)
                start = stop
    hexes = hex_colours(palette, grid.kind)
    body = [f'<path fill="{hexes[one]}" d="{"".join(paths[one])}"/>' for one in sorted(paths)]
    every = 1 if tall >= 12 else 2
    for row in range(0, len(levels), every):
        name = html.escape(safe_line(grid.row_labels[row]))
        y = top + row * tall + tall * every - (5 if tall >= 12 else 7)
        size = "" if tall >= 12 else ' font-size="9"'
        body.append(f'<text x="{margin - 6}" y="{y}" text-anchor="end"{size}>{name}</text>')
    bottom = top + len(levels) * tall
    if texts:
        inks = legible_inks(palette, grid.kind)
        for row, line in enumerate(levels):
            ink = [inks[one] if one >= 0 else "none" for one in line]
            body += _row_svg(grid.cells[row], edges, top + row * tall + 14, ink)
        body += _row_svg(grid.column_labels, edges, 14)
    elif grid.layout == "heat":
        body += _row_svg(grid.column_labels, edges, bottom + 15)
        bottom += _LINE_H
    return "\n".join(body) + "\n", int(edges[-1]) + 8, bottom


def _row_svg(
    labels: Sequence[str], edges: npt.NDArray[np.int64], y: int, inks: Sequence[str] | None = None
) -> list[str]:
    """A text a column; empty ones are left out."""
    found = []
    for number, label in enumerate(labels):
        shown = column_label(label)[0]
        if shown.strip():
            fill = f' fill="{inks[number]}"' if inks else ""
            middle = (edges[number] + edges[number + 1]) / 2
            place = f'x="{middle:g}" y="{y}" text-anchor="middle"'
            found.append(f"<text {place}{fill}>{html.escape(shown)}</text>")
    return found


def _text_svg(grid: Grid, palette: Palette) -> tuple[str, int, int]:
    """The text itself, each token on its colour."""
    levels = palette.levels(grid.values, grid.low, grid.high)[0]
    hexes, inks = hex_colours(palette, grid.kind), legible_inks(palette, grid.kind)
    body, x, y, widest = [], 0, 0, 0
    for text, level in zip(grid.column_labels, levels, strict=True):
        shown, wide = column_label(text)
        if x + wide > _TEXT_COLUMNS:
            x, y = 0, y + 1
        left, top = 8 + x * _CHAR_W, 6 + y * _LINE_H
        if level >= 0:
            body.append(
                f'<rect x="{left}" y="{top}" width="{wide * _CHAR_W}" height="{_LINE_H}" '
                f'fill="{hexes[level]}"/>'
            )
        ink = f' fill="{inks[level]}"' if level >= 0 else ""
        if text.strip(" "):
            place = f'x="{left + wide * _CHAR_W / 2:g}" y="{top + 14}" text-anchor="middle"'
            body.append(f"<text {place}{ink}>{html.escape(shown)}</text>")
        x += wide
        widest = max(widest, x)
        if text == "\n":
            x, y = 0, y + 1
    return "\n".join(body) + "\n", 16 + widest * _CHAR_W, 6 + (y + 1) * _LINE_H


def _legend_svg(grid: Grid, palette: Palette, y: int) -> tuple[str, int]:
    """A bar of colours with its ends, and below it in words what the picture is."""
    hexes = hex_colours(palette, grid.kind)
    bar = "".join(
        f'<rect x="{60 + 3 * one}" y="{y}" width="3" height="12" fill="{hexes[one]}"/>'
        for one in range(LEVELS)
    )
    said = [f"{grid.measure}: {grid.title}" if grid.measure else grid.title, *grid.notes]
    lines = "".join(
        f'<text x="8" y="{y + 32 + 18 * number}">{html.escape(safe_line(one))}</text>'
        for number, one in enumerate(said)
    )
    ends = (
        f'<text x="52" y="{y + 11}" text-anchor="end">{grid.low:g}</text>'
        f'<text x="{60 + 3 * LEVELS + 8}" y="{y + 11}">{grid.high:g}</text>'
    )
    return f"{bar}{ends}{lines}\n", y + 32 + 18 * len(said)
