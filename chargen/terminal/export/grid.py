"""A Grid as .svg: a path a colour, and the text under its columns.

Every text in it passes SafeText and is escaped; nothing in it refers to anything outside.

A Grid as .html: one offline page, the values under the pointer.

Every text in it passes SafeText and is escaped; nothing in it refers to anything outside.
"""

from __future__ import annotations

import html
import json
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


def page(grid: Grid, palette: Palette) -> bytes:
    """One page that works offline: the picture, and value, unit and character under the pointer."""
    ink, paper = ink_and_paper(palette)
    hexes, inks = hex_colours(palette, grid.kind), legible_inks(palette, grid.kind)
    levels = palette.levels(grid.values, grid.low, grid.high)
    values = [
        [None if not np.isfinite(one) else round(float(one), 4) for one in row]
        for row in grid.values
    ]
    labels = [column_label(one)[0] for one in grid.column_labels]
    cells = [[column_label(one)[0] for one in row] for row in grid.cells]
    data = {
        "rows": [safe_line(one) for one in grid.row_labels],
        "columns": labels,
        "breaks": [one == "\n" for one in grid.column_labels],
        "cells": cells,
        "values": values,
        "levels": levels,
        "colours": hexes,
        "inks": inks,
        "text": grid.layout == "text",
        "measure": safe_line(grid.measure),
    }
    # Within a script element only `<` can end it.
    packed = json.dumps(data, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    notes = "".join(f"<p>{html.escape(safe_line(one))}</p>" for one in grid.notes)
    ramp = ",".join(hexes[::7])
    title = html.escape(safe_line(grid.title))
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
#told {{ min-height: 1.4em; }}
#bar {{ display: inline-block; width: 16em; height: 0.9em;
  background: linear-gradient(to right, {ramp}); }}
</style>
</head>
<body>
<p>{title}</p>
<p>{grid.low:g} <span id="bar"></span> {grid.high:g} {html.escape(safe_line(grid.measure))}</p>
<p id="told">move the pointer over the picture</p>
<div id="picture"></div>
{notes}
<script>
const data = {packed};
const picture = document.getElementById("picture");
const told = document.getElementById("told");
function place(element, row, column) {{
  const level = data.levels[row][column];
  if (level >= 0) {{
    element.style.background = data.colours[level];
    element.style.color = data.inks[level];
  }}
  element.onmouseenter = () => {{
    const value = data.values[row][column];
    told.textContent = data.rows[row] + " after '" + data.columns[column] + "' (" + (column + 1) +
      "): " + (value === null ? "nothing" : value) + " " + data.measure;
  }};
}}
if (data.text) {{
  data.columns.forEach((label, column) => {{
    const span = document.createElement("span");
    span.textContent = label === "\\u00b7" ? " " : label;
    place(span, 0, column);
    picture.append(span);
    if (data.breaks[column]) picture.append(document.createElement("br"));
  }});
}} else {{
  const table = document.createElement("table");
  const line = (name) => {{
    const row = table.insertRow();
    const head = document.createElement("th");
    head.textContent = name;
    row.append(head);
    return row;
  }};
  data.rows.forEach((name, number) => {{
    const row = line(name);
    data.columns.forEach((_, column) => {{
      const cell = row.insertCell();
      if (data.cells.length) cell.textContent = data.cells[number][column];
      place(cell, number, column);
    }});
  }});
  const under = line("");
  data.columns.forEach((label) => {{ under.insertCell().textContent = label; }});
  picture.append(table);
}}
</script>
</body>
</html>
""".encode()
