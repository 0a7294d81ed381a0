"""A grid as .svg, and as an .html page that shows each value under the pointer.

Every text passes SafeText and is escaped, and nothing refers to anything outside of the file.
`frame` and the colours are also those of exported figures.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt

from chargen.insight.views import Grid
from chargen.terminal.heatmap import column_label
from chargen.terminal.palette import LEVELS, Palette, takes_black_ink
from chargen.terminal.safetext import safe_line

FONT = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
# Pixels of the svg.
_CELL_WIDTH, _CELL_HEIGHT, _LINE_HEIGHT, _CHARACTER_WIDTH = 9, 9, 20, 9
_MIN_WIDTH = 420
_MAX_TEXT_CELLS = 90
"""Terminal cells of a line, where the text itself is coloured."""
_MIN_LABELLED_HEIGHT = 12
"""Pixels of a row from which each row, and not every second one, has its label."""


def svg(grid: Grid, palette: Palette) -> bytes:
    """A picture that scales: a path for each colour, and the text under its columns."""
    drawing = _text_svg if grid.layout == "text" else _cells_svg
    body, width, height = drawing(grid, palette)
    legend, height = _legend_svg(grid, palette, height + 8)
    return frame(body + legend, max(width, _MIN_WIDTH), height, grid.title, palette)


def frame(body: str, width: int, height: int, title: str, palette: Palette) -> bytes:
    """The svg file around its elements, `width` by `height` pixels."""
    ink, paper = ink_and_paper(palette)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{escaped(title)}" '
        f'font-family="{FONT}" font-size="13" fill="{ink}" color="{ink}">\n'
        f'<rect width="{width}" height="{height}" fill="{paper}"/>\n{body}</svg>\n'
    ).encode()


def escaped(text: str) -> str:
    """Any text as one safe line for the inside of an element or an attribute."""
    return html.escape(safe_line(text))


def ink_and_paper(palette: Palette) -> tuple[str, str]:
    """Colours of the text and of the background."""
    return ("#d8d8d8", "#1a1a1a") if palette.dark else ("#222222", "#ffffff")


def hex_colours(palette: Palette, kind: str) -> list[str]:
    """The colours of the 64 levels."""
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in palette.rgb(kind)]


def _legible_inks(palette: Palette, kind: str) -> list[str]:
    """Black or white for text on each level's colour."""
    return ["#000" if takes_black_ink(rgb) else "#fff" for rgb in palette.rgb(kind)]


def _column_widths(grid: Grid) -> list[int]:
    """Terminal cells that each column takes."""
    rows = (grid.column_labels, *grid.cells)
    return [max(column_label(text)[1] for text in texts) for texts in zip(*rows, strict=True)]


def _cells_svg(grid: Grid, palette: Palette) -> tuple[str, int, int]:
    """Elements, width and height of rows of cells.

    The text stands under the cells; if the cells hold texts, it stands above them.
    """
    has_texts = bool(grid.cells)
    is_small = grid.layout == "heat" and not has_texts and not grid.named
    height = _CELL_HEIGHT if is_small else _LINE_HEIGHT
    margin = 8 * (2 + max((len(safe_line(label)) for label in grid.row_labels), default=0))
    edges = np.concatenate([[0], np.cumsum(_column_widths(grid))]) * _CELL_WIDTH + margin
    top = _LINE_HEIGHT if has_texts else 6
    levels = palette.levels(grid.values, grid.low, grid.high)
    body = _cell_paths(levels, edges, top, height, hex_colours(palette, grid.kind))
    every = 1 if height >= _MIN_LABELLED_HEIGHT else 2
    for row in range(0, len(levels), every):
        y = top + row * height + height * every - (5 if every == 1 else 7)
        size = "" if every == 1 else ' font-size="9"'
        body.append(
            f'<text x="{margin - 6}" y="{y}" text-anchor="end"{size}>'
            f"{escaped(grid.row_labels[row])}</text>"
        )
    bottom = top + len(levels) * height
    if has_texts:
        inks = [*_legible_inks(palette, grid.kind), "none"]  # level -1: no value, no text
        for row, row_levels in enumerate(levels):
            row_inks = [inks[level] for level in row_levels]
            body += _text_row_svg(grid.cells[row], edges, top + row * height + 14, row_inks)
        body += _text_row_svg(grid.column_labels, edges, 14)
    elif grid.layout == "heat":
        body += _text_row_svg(grid.column_labels, edges, bottom + 15)
        bottom += _LINE_HEIGHT
    return "\n".join(body) + "\n", int(edges[-1]) + 8, bottom


def _cell_paths(
    levels: list[list[int]],
    edges: npt.NDArray[np.int64],
    top: int,
    height: int,
    colours: Sequence[str],
) -> list[str]:
    """A path for each colour, with a rectangle for each run of equal cells."""
    rectangles: dict[int, list[str]] = {}
    for row, row_levels in enumerate(levels):
        start = 0
        for level, run in groupby(row_levels):
            stop = start + len(list(run))
            if level >= 0:
                x, width = edges[start], edges[stop] - edges[start]
                rectangle = f"M{x} {top + row * height}h{width}v{height}h-{width}z"
                rectangles.setdefault(level, []).append(rectangle)
            start = stop
    return [
        f'<path fill="{colours[level]}" d="{"".join(rectangles[level])}"/>'
        for level in sorted(rectangles)
    ]


def _text_row_svg(
    labels: Sequence[str], edges: npt.NDArray[np.int64], y: int, inks: Sequence[str] | None = None
) -> list[str]:
    """A text in the middle of each column; empty ones are left out."""
    elements = []
    for column, text in enumerate(labels):
        label = column_label(text)[0]
        if label.strip():
            fill = f' fill="{inks[column]}"' if inks else ""
            middle = (edges[column] + edges[column + 1]) / 2
            position = f'x="{middle:g}" y="{y}" text-anchor="middle"'
            elements.append(f"<text {position}{fill}>{html.escape(label)}</text>")
    return elements


def _text_svg(grid: Grid, palette: Palette) -> tuple[str, int, int]:
    """Elements, width and height of the text itself, each token on its colour."""
    levels = palette.levels(grid.values, grid.low, grid.high)[0]
    colours, inks = hex_colours(palette, grid.kind), _legible_inks(palette, grid.kind)
    body, x, y, widest = [], 0, 0, 0
    for text, level in zip(grid.column_labels, levels, strict=True):
        label, cells = column_label(text)
        if x + cells > _MAX_TEXT_CELLS:
            x, y = 0, y + 1
        left, top = 8 + x * _CHARACTER_WIDTH, 6 + y * _LINE_HEIGHT
        width = cells * _CHARACTER_WIDTH
        if level >= 0:
            body.append(
                f'<rect x="{left}" y="{top}" width="{width}" height="{_LINE_HEIGHT}" '
                f'fill="{colours[level]}"/>'
            )
        fill = f' fill="{inks[level]}"' if level >= 0 else ""
        if text.strip(" "):
            position = f'x="{left + width / 2:g}" y="{top + 14}" text-anchor="middle"'
            body.append(f"<text {position}{fill}>{html.escape(label)}</text>")
        x += cells
        widest = max(widest, x)
        if text == "\n":
            x, y = 0, y + 1
    return "\n".join(body) + "\n", 16 + widest * _CHARACTER_WIDTH, 6 + (y + 1) * _LINE_HEIGHT


def _legend_svg(grid: Grid, palette: Palette, y: int) -> tuple[str, int]:
    """A bar of colours with its ends, then what the picture is and its notes; and the height."""
    bar = "".join(
        f'<rect x="{60 + 3 * level}" y="{y}" width="3" height="12" fill="{colour}"/>'
        for level, colour in enumerate(hex_colours(palette, grid.kind))
    )
    meaning = f"{grid.measure}: {grid.title}" if grid.measure else grid.title
    sentences = [meaning, *grid.notes]
    lines = "".join(
        f'<text x="8" y="{y + 32 + 18 * number}">{escaped(sentence)}</text>'
        for number, sentence in enumerate(sentences)
    )
    ends = (
        f'<text x="52" y="{y + 11}" text-anchor="end">{grid.low:g}</text>'
        f'<text x="{60 + 3 * LEVELS + 8}" y="{y + 11}">{grid.high:g}</text>'
    )
    return f"{bar}{ends}{lines}\n", y + 32 + 18 * len(sentences)


def page(grid: Grid, palette: Palette) -> bytes:
    """One page that works offline: the picture; value, unit and character under the pointer."""
    ink, paper = ink_and_paper(palette)
    colours = hex_colours(palette, grid.kind)
    data = {
        "rows": [safe_line(label) for label in grid.row_labels],
        "columns": [column_label(text)[0] for text in grid.column_labels],
        "breaks": [text == "\n" for text in grid.column_labels],
        "cells": [[column_label(text)[0] for text in row] for row in grid.cells],
        "values": [
            [round(float(value), 4) if np.isfinite(value) else None for value in row]
            for row in grid.values
        ],
        "levels": palette.levels(grid.values, grid.low, grid.high),
        "colours": colours,
        "inks": _legible_inks(palette, grid.kind),
        "text": grid.layout == "text",
        "measure": safe_line(grid.measure),
    }
    # Within a script element only `<` can end it.
    packed = json.dumps(data, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    notes = "".join(f"<p>{escaped(note)}</p>" for note in grid.notes)
    ramp = ",".join(colours[::7])
    title = escaped(grid.title)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ background: {paper}; color: {ink}; font: 14px/1.4 {FONT}; margin: 1.5em; }}
#picture {{ overflow-x: auto; }}
table {{ border-collapse: collapse; }}
td {{ min-width: 9px; height: 9px; padding: 0; text-align: center; white-space: pre; }}
th {{ font-weight: normal; font-size: 9px; padding-right: 6px; text-align: right; }}
span {{ white-space: pre-wrap; }}
#caption {{ min-height: 1.4em; }}
#bar {{ display: inline-block; width: 16em; height: 0.9em;
  background: linear-gradient(to right, {ramp}); }}
</style>
</head>
<body>
<p>{title}</p>
<p>{grid.low:g} <span id="bar"></span> {grid.high:g} {escaped(grid.measure)}</p>
<p id="caption">move the pointer over the picture</p>
<div id="picture"></div>
{notes}
<script>
const data = {packed};
{_SCRIPT}</script>
</body>
</html>
""".encode()


_SCRIPT = """const picture = document.getElementById("picture");
const caption = document.getElementById("caption");
function paint(element, row, column) {
  const level = data.levels[row][column];
  if (level >= 0) {
    element.style.background = data.colours[level];
    element.style.color = data.inks[level];
  }
  element.onmouseenter = () => {
    const value = data.values[row][column];
    caption.textContent = data.rows[row] + " after '" + data.columns[column] + "' (" +
      (column + 1) + "): " + (value === null ? "no value" : value) + " " + data.measure;
  };
}
if (data.text) {
  data.columns.forEach((label, column) => {
    const span = document.createElement("span");
    span.textContent = label === "\\u00b7" ? " " : label;
    paint(span, 0, column);
    picture.append(span);
    if (data.breaks[column]) picture.append(document.createElement("br"));
  });
} else {
  const table = document.createElement("table");
  const addRow = (name) => {
    const row = table.insertRow();
    const head = document.createElement("th");
    head.textContent = name;
    row.append(head);
    return row;
  };
  data.rows.forEach((name, number) => {
    const row = addRow(name);
    data.columns.forEach((_, column) => {
      const cell = row.insertCell();
      if (data.cells.length) cell.textContent = data.cells[number][column];
      paint(cell, number, column);
    });
  });
  const textRow = addRow("");
  data.columns.forEach((label) => { textRow.insertCell().textContent = label; });
  picture.append(table);
}
"""
