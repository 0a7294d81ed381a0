"""A Grid as .html: one offline page, the values under the pointer.

Every text in it passes SafeText and is escaped; nothing in it refers to anything outside.
"""

from __future__ import annotations

import html
import json

import numpy as np

from chargen.insight.views import Grid
from chargen.terminal.heatmap import column_label
from chargen.terminal.palette import Palette
from chargen.terminal.safetext import safe_line
from chargen.terminal.svg import FONT, hex_colours, ink_and_paper, legible_inks


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
