"""chargen step."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from chargen.cli.options import MODEL, json_option, terminal_options
from chargen.cli.pictures import Pictures, picture_options
from chargen.errors import CorpusError, UsageError
from chargen.terminal.context import Terminal

if TYPE_CHECKING:
    from chargen.api import Model
    from chargen.insight.step import StepBreakdown
    from chargen.terminal.step_display import StepView

_LONGEST = 4000
_HELP = """One time step taken apart, in the order of the equations.

Each line is an equation, a strip of what all units made of it, and the units that are furthest
from zero; at the end, the logits and what softmax makes of them. On a terminal, arrows lead
through the text. Without MODEL, the newest run; without -p, the text is standard input.

\b
  chargen step bard -p "To be, or not to b"
  chargen step bard -p "To be, or not to b" --at 5      the fifth token, printed
  chargen step bard -p "To be" --export step.svg
"""


@click.command(help=_HELP)
@click.argument("name", metavar="[MODEL]", required=False, type=MODEL)
@click.option("-p", "--text", "spelled", metavar="TEXT", help="The text.")
@click.option("--at", type=int, metavar="N", help="Which token, from 1; default: the last.")
@click.option("--layer", type=int, default=1, show_default=True, metavar="L", help="Which layer.")
@json_option
@terminal_options
@picture_options
def command(
    name: str | None,
    spelled: str | None,
    at: int | None,
    layer: int,
    as_json: bool,
    terminal: Terminal,
    pictures: Pictures,
) -> None:
    """Show; see _HELP."""
    from collections import Counter

    from chargen.api import load
    from chargen.insight.step import states_along, step_grid
    from chargen.repl.app import has_terminal
    from chargen.terminal.step_display import StepView
    from chargen.text.tokenizer import describe_unseen

    model = load(name)
    if spelled is None and (sys.stdin is None or sys.stdin.isatty()):
        raise UsageError("give the text with -p TEXT, or on standard input")
    text = sys.stdin.buffer.read().decode("utf-8", "replace") if spelled is None else spelled
    for line in describe_unseen(model.tokenizer.unseen(text), Counter(text), len(text), "nearest"):
        terminal.note(line)
    ids = model.encode(text)
    if not len(ids):
        raise CorpusError("the text is empty: give at least one character with -p TEXT")
    if len(ids) > _LONGEST:
        raise CorpusError(f"{len(ids):,} tokens are too many to walk through; give {_LONGEST:,}")
    if at is not None and not 1 <= at <= len(ids):
        raise UsageError(f"--at {at}: the text has tokens 1 to {len(ids)}")
    if not 1 <= layer <= model.config.num_layers:
        raise UsageError(f"--layer {layer}: the model has layers 1 to {model.config.num_layers}")
    states = states_along(model.stepper, ids)
    view = StepView(model.stepper, model.tokenizer, ids, lambda place: states[place])
    view.at, view.layer = len(ids) - 1 if at is None else at - 1, layer - 1
    if as_json:
        terminal.out.write(json.dumps(_plain(view.breakdown(), model, view)) + "\n")
    if pictures.target is not None:
        title = f"one step of the model, after '{view.labels[view.at]}'"
        pictures.export(step_grid(view.breakdown(), title, _notes(view.breakdown())))
    elif not as_json and at is None and has_terminal(terminal):
        from chargen.repl.keys import browse_here

        browse_here(view, pictures.palette, terminal)
    elif not as_json:
        for line in view.lines(pictures.palette, pictures.width):
            terminal.out.write(f"{line}\n")


def _notes(breakdown: StepBreakdown) -> tuple[str, ...]:
    return tuple(f"{one.formula}  {one.name}: {one.says}" for one in breakdown.layers[0])


def _plain(breakdown: StepBreakdown, model: Model, view: StepView) -> dict[str, Any]:
    from chargen.insight.step import likeliest
    from chargen.insight.views import alone

    return {
        "token": view.labels[view.at],
        "position": view.at + 1,
        "layers": [
            [
                {"name": one.name, "formula": one.formula, "values": one.values.tolist()}
                for one in lines
            ]
            for lines in breakdown.layers
        ],
        "predictions": [
            {
                "token": alone(model.tokenizer, token),
                "logit": float(breakdown.logits[token]),
                "probability": float(breakdown.probabilities[token]),
            }
            for token in likeliest(breakdown, 10).tolist()
        ],
    }
