"""chargen heatmap: a picture of a model's memory while it reads a text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from chargen.cli.options import (
    MODEL,
    TableName,
    decode_text,
    encoding_option,
    finite_lists,
    is_model,
    json_option,
    note_unseen,
    terminal_options,
    write_json,
)
from chargen.cli.pictures import Pictures, picture_options
from chargen.cli.standard_input import read_standard_input
from chargen.errors import CorpusError, UsageError, reason_of
from chargen.insight.views import ORDERS, VIEWS
from chargen.terminal.context import Terminal

if TYPE_CHECKING:
    from chargen.api import Model
    from chargen.insight.views import Grid

_MAX_SHOWN_TOKENS = 20_000
_EXPORTED_TOKENS = 120
_TEXT_VIEW_TOKENS = 2000
_WARM_UP_TOKENS = 8192
"""Tokens read before those that are shown: earlier ones no longer change the state."""
_MEMORY = "memory"
_TEXT_VIEWS = ("unit", "surprise", "entropy", _MEMORY)
"""Views that colour the text itself, and so fill several lines of the terminal."""
_HEATMAP_HELP = """Draw a model's memory while it reads a text.

The text is FILE or TEXT of -p; - for either of them is standard input. With one argument, the model
is the newest run.

\b
  chargen heatmap bard scene.txt                       units over the end of the text
  chargen heatmap bard scene.txt --view forget --layer 2
  chargen heatmap bard -p "To be, or not" --view unit --unit L1:41
  chargen heatmap bard scene.txt --export heat.svg     or .html (values under the pointer), .png

\b
Views: """ + "\n       ".join(
    [
        *(f"{name:<10}{view.help}" for name, view in VIEWS.items()),
        f"{_MEMORY:<10}the text, coloured by the length of the context whose counts decided",
    ]
)


@click.command(help=_HEATMAP_HELP)
@click.argument("names", metavar="[MODEL] [FILE]", nargs=-1, type=MODEL)
@click.option("-p", "--text", "typed_text", metavar="TEXT", help="The text itself, not a file.")
@click.option(
    "--view",
    type=TableName((*VIEWS, _MEMORY)),
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
    help="Tokens to show, at the end of the text; default: as many as fit the terminal, or "
    f"{_EXPORTED_TOKENS} in a file.",
)
@click.option("--rows", type=int, default=48, show_default=True, metavar="N", help="Units to show.")
@click.option(
    "--order",
    type=click.Choice(ORDERS),
    default="similar",
    show_default=True,
    help="Order of the units: similar ones side by side, the most active first, or by number.",
)
@encoding_option
@json_option
@terminal_options
@picture_options
def command(
    names: tuple[str, ...],
    typed_text: str | None,
    view: str,
    layer: int,
    unit: str | None,
    length: int | None,
    rows: int,
    order: str,
    encoding: str | None,
    as_json: bool,
    terminal: Terminal,
    pictures: Pictures,
) -> None:
    """Draw; see _HEATMAP_HELP."""
    from chargen.api import load
    from chargen.model.unit_names import parse_unit

    if len(names) > 2 or (typed_text is not None and len(names) > 1):
        raise UsageError("give one MODEL, and one FILE or -p TEXT")
    if length is not None and not 1 <= length <= _MAX_SHOWN_TOKENS:
        raise UsageError(f"--length {length}: must be from 1 to {_MAX_SHOWN_TOKENS:,}")
    if rows < 1:
        raise UsageError(f"--rows {rows}: must be at least 1")
    if typed_text is None and (not names or (len(names) == 1 and is_model(names[0]))):
        after = f"{names[0]}: name the FILE to read after the model" if names else "name the FILE"
        raise UsageError(f"{after}, or give -p TEXT; - reads standard input")
    file = names[-1] if typed_text is None else "-" if typed_text == "-" else None
    model = load(names[0] if len(names) == 2 or (typed_text is not None and names) else None)
    chosen_unit = None if unit is None else parse_unit(unit, model.config)
    if chosen_unit is not None and view != "unit":
        raise UsageError(f"--unit {unit}: is for --view unit")
    if length is None:
        if pictures.target or as_json:
            length = _EXPORTED_TOKENS
        else:
            length = _TEXT_VIEW_TOKENS if view in _TEXT_VIEWS else pictures.width
    text = _read(file, model, terminal, encoding) if file is not None else typed_text or ""
    note_unseen(model, text, terminal)
    grid = _build_grid(
        model, text, view, length, layer=layer - 1, unit=chosen_unit, rows=rows, order=order
    )
    if as_json and pictures.target is None:
        write_json(terminal, _grid_record(grid))
    else:
        pictures.show(grid)


def _build_grid(model: Model, text: str, view: str, length: int, **options: object) -> Grid:
    """Read the text, and build the view of its last `length` tokens.

    Raises:
        UsageError: the cell of the model has no such view, or it has no memory to show.
        CorpusError: the text is empty.
    """
    from chargen.insight.trace import record
    from chargen.insight.views import ViewOptions, build_view, find_view, token_labels

    if view != _MEMORY:
        find_view(view, model.config.cell_row)
    ids = model.tokenizer.encode(text)
    if not len(ids):
        raise CorpusError("the text is empty: give a FILE, or -p TEXT")
    first = max(0, len(ids) - length)
    if view == _MEMORY:
        from chargen.insight.counted import deciding_lengths, memory_view

        if model.memory is None:
            raise UsageError(f"--view {_MEMORY}: this model has no memory of counts")
        lengths = deciding_lengths(
            model.memory.counts, ids[first:].tolist(), ids[max(0, first - 99) : first].tolist()
        )
        labels = token_labels(model.tokenizer, ids[first:])
        return memory_view(lengths, labels, model.memory.counts.longest)
    warm_up = ids[max(0, first - _WARM_UP_TOKENS) : first]
    state = model.stepper.read(warm_up, model.stepper.zero_state())
    trace = record(model.stepper, ids[first:], state)
    labels = token_labels(model.tokenizer, ids[first:])
    view_options = ViewOptions(labels=labels, tokenizer=model.tokenizer, **options)  # type: ignore[arg-type]
    return build_view(view, trace, view_options)


def _read(name: str, model: Model, terminal: Terminal, encoding: str | None) -> str:
    """The text of a file, or of standard input for -."""
    try:
        raw = read_standard_input(terminal) if name == "-" else Path(name).read_bytes()
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise CorpusError(f"{name}: cannot be read ({reason})") from error
    return decode_text(raw, name, model, encoding)


def _grid_record(grid: Grid) -> dict[str, object]:
    """The numbers and labels of a grid as plain values for JSON."""
    return {
        "title": grid.title,
        "measure": grid.measure,
        "rows": grid.row_labels,
        "columns": grid.column_labels,
        "low": grid.low,
        "high": grid.high,
        "values": finite_lists(grid.values),
        "cells": grid.cells,
        "notes": grid.notes,
    }
