"""chargen gradients."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from chargen.cli.options import CORPUS, MODEL, TableName, json_option, read_tokens, terminal_options
from chargen.cli.pictures import Pictures, picture_options
from chargen.errors import CorpusError, UsageError
from chargen.model.config import CELLS
from chargen.terminal.context import Terminal
from chargen.terminal.progress import plural

if TYPE_CHECKING:
    from chargen.api import Model
    from chargen.insight.gradients import GradientNorms
    from chargen.text.tokenizer import Tokenizer, Tokens

_LEAST = 4
_STEPS = 1000
_HELP = """How far back the gradient reaches: does it vanish?

The loss at one moment is traced back step by step; its gradient with respect to the state, and to
the input, says how much could be learned there. Drawn on a logarithmic scale, averaged over many
moments of the text. Without MODEL, the newest run; without --corpus, what it was validated on.

\b
  chargen gradients rnn lstm gru                          three models, a curve each
  chargen gradients bard --export gradients.svg
  chargen gradients --corpus novel.txt --cell rnn --every 200
                                                          trains an RNN and looks every 200 steps
"""


@click.command(help=_HELP)
@click.argument("names", metavar="[MODEL]...", nargs=-1, type=MODEL)
@click.option("--corpus", type=CORPUS, metavar="FILE", help="The text that is read.")
@click.option(
    "--back", type=int, default=200, show_default=True, metavar="K", help="How many steps back."
)
@click.option("--every", type=int, metavar="N", help="Train on --corpus, and look every N steps.")
@click.option("--steps", type=int, metavar="N", help=f"With --every: so many; default {_STEPS:,}.")
@click.option("--cell", type=TableName(CELLS), metavar="CELL", help="With --every: default lstm.")
@json_option
@terminal_options
@picture_options
def command(
    names: tuple[str, ...],
    corpus: str | None,
    back: int,
    every: int | None,
    steps: int | None,
    cell: str | None,
    as_json: bool,
    terminal: Terminal,
    pictures: Pictures,
) -> None:
    """Show; see _HELP."""
    if not 1 <= back <= 10_000:
        raise UsageError(f"--back {back}: must be from 1 to 10,000")
    if every is None and (steps is not None or cell is not None):
        raise UsageError("--steps and --cell are for --every: train a model with chargen train")
    if every is not None:
        if names or corpus is None:
            raise UsageError("--every trains a model of its own: give --corpus FILE, and no MODEL")
        reaches = _in_training(corpus, every, steps or _STEPS, cell or "lstm", back, terminal)
    else:
        reaches = _of_models(names, corpus, back, terminal)
    from chargen.insight.gradients import describe_gradients, gradient_figure
    from chargen.insight.views import unit_of

    found: dict[str, GradientNorms] = {}
    unit = "token"
    for name, tokenizer, reach in reaches:
        found[name], unit = reach, unit_of(tokenizer)
        if as_json:
            terminal.out.write(json.dumps({"model": name, **_plain(reach)}) + "\n")
        elif every is not None:
            terminal.note(f"{name}: {describe_gradients(reach, unit)}")
    if pictures.target or not as_json:
        pictures.show(gradient_figure(found, unit))


def _of_models(
    names: tuple[str, ...], corpus: str | None, back: int, terminal: Terminal
) -> Iterator[tuple[str, Tokenizer, GradientNorms]]:
    from chargen.api import load
    from chargen.model.runs import run_name

    for name in names or (None,):
        model = load(name)
        ids = _text(model, corpus, terminal)
        assert model.path is not None
        yield name or run_name(model.path), model.tokenizer, _measure(model, ids, back, terminal)


def _measure(model: Model, ids: Tokens, back: int, terminal: Terminal) -> GradientNorms:
    from chargen.insight.gradients import measure_gradient_norms
    from chargen.terminal.progress import progress_line

    with progress_line(terminal, "tracing back") as progress:
        return measure_gradient_norms(
            model.config, model.file.weights, ids, steps=back, progress=progress
        )


def _text(model: Model, corpus: str | None, terminal: Terminal) -> Tokens:
    from chargen.api import validation_text

    found = validation_text(model) if corpus is None else read_tokens(model, corpus, terminal)
    if found is None:
        raise UsageError("give --corpus FILE: what the model was validated on is not here")
    if len(found) < _LEAST:
        raise CorpusError(
            f"{corpus or 'the text'}: {plural(len(found), 'token')}; give at least {_LEAST}"
        )
    return found


def _in_training(
    corpus: str, every: int, steps: int, cell: str, back: int, terminal: Terminal
) -> Iterator[tuple[str, Tokenizer, GradientNorms]]:
    """Train a model, and look at it on its way."""
    if not 1 <= every <= steps:
        raise UsageError(f"--every {every}: must be from 1 to the {steps:,} steps")
    from chargen.api import load, validation_text
    from chargen.insight.gradients import measure_gradient_norms
    from chargen.model.runs import choose_folder
    from chargen.train_api import train
    from chargen.training.events import Evaluated, Planned

    folder = choose_folder([corpus])
    tokenizer = config = ids = None
    for event in train(
        corpus, out=folder, cell=cell, steps=steps, evaluations=steps // every, ema=0.0,
        patience=0, on_note=terminal.note,
    ):  # fmt: skip
        if isinstance(event, Planned):
            tokenizer, config = event.tokenizer, event.model
            terminal.note(f"{config.cell_row.label}, {config.units_label}, in {folder}")
        elif isinstance(event, Evaluated):
            assert tokenizer is not None
            assert config is not None
            if ids is None:
                ids = validation_text(load(folder))
                if ids is None or len(ids) < _LEAST:
                    raise CorpusError(f"{corpus}: too short to look at; give a longer text")
            reach = measure_gradient_norms(config, event.weights, ids, steps=back)
            yield f"step {event.step:,}", tokenizer, reach


def _plain(reach: GradientNorms) -> dict[str, Any]:
    def finite(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "half_life": finite(reach.half_life),
        "first_half": finite(reach.first_half),
        "verdict": reach.verdict,
        "places": reach.places,
        "state": [finite(one) for one in reach.whole.tolist()],
        "input": [finite(one) for one in reach.inputs.tolist()],
        "layers": [[finite(one) for one in row] for row in reach.layers.T.tolist()],
    }
