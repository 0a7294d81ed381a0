"""chargen heatmap."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chargen.cli.options import MODEL, TableName, is_model, json_option, terminal_options
from chargen.cli.pictures import Pictures, picture_options
from chargen.errors import CorpusError, UsageError
from chargen.insight.views import ORDERS, VIEWS
from chargen.terminal.context import Terminal
from chargen.text.tokenizer import describe_unseen

if TYPE_CHECKING:
    from chargen.api import Model
    from chargen.insight.views import Grid

_LONGEST = 20_000
_WARM_UP = 8192
_HELP = """A picture of a model's memory while it reads a text.

With one argument, the model is the newest run; FILE - is standard input, and without FILE the
text is -p.

\b
  chargen heatmap bard scene.txt                       units over the end of the text
  chargen heatmap bard scene.txt --view forget --layer 2
  chargen heatmap bard -p "To be, or not" --view unit --unit L1:41
  chargen heatmap bard scene.txt --export heat.svg     .svg, .html (values under the pointer), .png

\b
Views: """ + "\n       ".join(f"{name:<10}{view.help}" for name, view in VIEWS.items())


@click.command(help=_HELP)
@click.argument("names", metavar="[MODEL] [FILE]", nargs=-1, type=MODEL)
@click.option("-p", "--text", "spelled", metavar="TEXT", help="The text itself, instead of FILE.")
@click.option(
    "--view",
    type=TableName(VIEWS),
    default="hidden",
    show_default=True,
    metavar="VIEW",
    help="What to show.",
)
@click.option("--layer", type=int, default=1, show_default=True, metavar="L", help="Which layer.")
@click.option("--unit", metavar="L1:41", help="Which unit, for --view unit.")
@click.option(
    "--length",
    type=int,
    metavar="N",
    help="Tokens of the text's end to show; default: what fits, or 120 in a file.",
)
@click.option("--rows", type=int, default=48, show_default=True, help="Units to show.")
@click.option(
    "--order",
    type=click.Choice(ORDERS),
    default="similar",
    show_default=True,
    help="Units that move together side by side, the most active first, or by number.",
)
@json_option
@terminal_options
@picture_options
def command(
    names: tuple[str, ...],
    spelled: str | None,
    view: str,
    layer: int,
    unit: str | None,
    length: int | None,
    rows: int,
    order: str,
    as_json: bool,
    terminal: Terminal,
    pictures: Pictures,
) -> None:
    """Show; see _HELP."""
    from chargen.api import load
    from chargen.model.unit_names import parse_unit

    if len(names) > 2 or (spelled is not None and len(names) > 1):
        raise UsageError("give one MODEL, and one FILE or -p TEXT")
    if length is not None and not 1 <= length <= _LONGEST:
        raise UsageError(f"--length {length}: must be from 1 to {_LONGEST:,}")
    if rows < 1:
        raise UsageError(f"--rows {rows}: must be at least 1")
    file = None if spelled is not None else names[-1] if names else "-"
    if len(names) == 1 and file is not None and is_model(file):
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError(f"{file}: name the FILE to read after the model, or -p TEXT")
        names, file = (file, "-"), "-"
    model = load(names[0] if len(names) == 2 or (spelled is not None and names) else None)
    chosen = None if unit is None else parse_unit(unit, model.config)
    if chosen is not None and view != "unit":
        raise UsageError(f"--unit {unit}: is for --view unit")
    shown = length or (
        120 if pictures.target or as_json else 2000 if view in _TEXTS else pictures.width
    )
    text = _read(file, model) if file is not None else spelled or ""
    if isinstance(text, str):
        unseen = model.tokenizer.unseen(text)
        for line in describe_unseen(unseen, Counter(text), len(text), "nearest"):
            terminal.note(line)
    grid = _grid(model, text, view, shown, layer=layer - 1, unit=chosen, rows=rows, order=order)
    if as_json and pictures.target is None:
        terminal.out.write(json.dumps(_plain(grid)) + "\n")
    else:
        pictures.show(grid)


_TEXTS = ("unit", "surprise", "entropy")


def _grid(model: Model, text: str | bytes, view: str, shown: int, **options: object) -> Grid:
    from chargen.insight.trace import record
    from chargen.insight.views import ViewOptions, build_view, find_view, labels_of

    find_view(view, model.config.cell_row)
    ids = model.tokenizer.encode(text)
    if not len(ids):
        raise CorpusError("the text is empty: give a FILE, or -p TEXT")
    first = max(0, len(ids) - shown)
    # Of what stood before that, no model remembers anything.
    before = ids[max(0, first - _WARM_UP) : first]
    state = model.stepper.read(before, model.stepper.zero_state())
    trace = record(model.stepper, ids[first:], state)
    labels = labels_of(model.tokenizer, ids[first:])
    made = ViewOptions(labels=labels, tokenizer=model.tokenizer, **options)  # type: ignore[arg-type]
    return build_view(view, trace, made)


def _read(name: str, model: Model) -> str | bytes:
    """The text of a file, or of standard input."""
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(f"{name}: cannot be read ({reason})") from error
    return raw if model.tokenizer.reads_bytes else raw.decode("utf-8", "replace")


def _plain(grid: Grid) -> dict[str, object]:
    """The grid's numbers and labels."""
    import numpy as np

    return {
        "title": grid.title,
        "measure": grid.measure,
        "rows": grid.row_labels,
        "columns": grid.column_labels,
        "low": grid.low,
        "high": grid.high,
        "values": [
            [float(one) if np.isfinite(one) else None for one in row] for row in grid.values
        ],
        "cells": grid.cells,
        "notes": grid.notes,
    }
