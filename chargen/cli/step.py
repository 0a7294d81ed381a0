"""chargen step: one time step of a model, equation by equation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from chargen.cli.options import (
    MODEL,
    decode_text,
    encoding_option,
    json_option,
    note_unseen,
    terminal_options,
    write_json,
)
from chargen.cli.pictures import Pictures, picture_options
from chargen.cli.standard_input import read_standard_input
from chargen.errors import CorpusError, UsageError
from chargen.terminal.context import Terminal

if TYPE_CHECKING:
    from chargen.api import Model
    from chargen.insight.step import StepBreakdown
    from chargen.terminal.step_display import StepView

_MAX_TOKENS = 4000
_LISTED_PREDICTIONS = 10
_STEP_HELP = """Show one time step, equation by equation.

Each line is an equation, a strip with the values of all units, and the units whose values are
furthest from zero. The logits and the probabilities after softmax follow. On a terminal, the arrow
keys move through the text and the layers. Without MODEL, the model is the newest run.

\b
  chargen step bard -p "To be, or not to b"
  chargen step bard -p "To be, or not to b" --at 5      prints the fifth token
  chargen step bard -p "To be" --export step.svg
"""


@click.command(help=_STEP_HELP)
@click.argument("name", metavar="[MODEL]", required=False, type=MODEL)
@click.option("-p", "--text", "typed_text", metavar="TEXT", help="The text; - is standard input.")
@click.option("--at", type=int, metavar="N", help="Which token, from 1; default: the last.")
@click.option("--layer", type=int, default=1, show_default=True, metavar="L", help="Which layer.")
@encoding_option
@json_option
@terminal_options
@picture_options
def command(
    name: str | None,
    typed_text: str | None,
    at: int | None,
    layer: int,
    encoding: str | None,
    as_json: bool,
    terminal: Terminal,
    pictures: Pictures,
) -> None:
    """Show; see _STEP_HELP."""
    from chargen.api import load
    from chargen.insight.step import states_before_tokens, step_grid
    from chargen.model.unit_names import describe_layers
    from chargen.repl.app import has_terminal
    from chargen.terminal.step_display import StepView

    model = load(name)
    if typed_text is None:
        raise UsageError("give the text with -p TEXT; -p - reads standard input")
    text = typed_text
    if text == "-":
        text = decode_text(read_standard_input(terminal), "-", model, encoding)
    note_unseen(model, text, terminal)
    ids = model.encode(text)
    if not len(ids):
        raise CorpusError("the text is empty: give at least one character with -p TEXT")
    if len(ids) > _MAX_TOKENS:
        raise CorpusError(
            f"{len(ids):,} tokens are too many to walk through; give at most {_MAX_TOKENS:,}"
        )
    if at is not None and not 1 <= at <= len(ids):
        raise UsageError(f"--at {at}: the text has tokens 1 to {len(ids)}")
    if not 1 <= layer <= model.config.num_layers:
        raise UsageError(f"--layer {layer}: {describe_layers(model.config.num_layers)}")
    states = states_before_tokens(model.stepper, ids)
    view = StepView(model.stepper, model.tokenizer, ids, lambda position: states[position])
    view.position, view.layer = len(ids) - 1 if at is None else at - 1, layer - 1
    if as_json:
        write_json(terminal, _step_record(view.breakdown(), model, view))
    if pictures.target is not None:
        title = f"one step of the model, after '{view.labels[view.position]}'"
        pictures.export(step_grid(view.breakdown(), title, _equations(view.breakdown())))
    elif not as_json and at is None and has_terminal(terminal):
        from chargen.repl.keys import browse_here

        browse_here(view, pictures.palette, terminal)
    elif not as_json:
        for line in view.lines(pictures.palette, pictures.width):
            terminal.out.write(f"{line}\n")


def _equations(breakdown: StepBreakdown) -> tuple[str, ...]:
    """The equations of a layer and what each of them says, for below the picture."""
    return tuple(f"{line.formula}  {line.name}: {line.meaning}" for line in breakdown.layers[0])


def _step_record(breakdown: StepBreakdown, model: Model, view: StepView) -> dict[str, Any]:
    """The step as plain values for JSON."""
    from chargen.insight.step import most_likely_tokens
    from chargen.insight.views import token_label

    return {
        "token": view.labels[view.position],
        "position": view.position + 1,
        "layers": [
            [
                {"name": line.name, "formula": line.formula, "values": line.values.tolist()}
                for line in lines
            ]
            for lines in breakdown.layers
        ],
        "predictions": [
            {
                "token": token_label(model.tokenizer, token),
                "logit": float(breakdown.logits[token]),
                "probability": float(breakdown.probabilities[token]),
            }
            for token in most_likely_tokens(breakdown, _LISTED_PREDICTIONS).tolist()
        ],
    }
