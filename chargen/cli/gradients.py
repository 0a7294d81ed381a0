"""chargen gradients: how far back the gradient reaches, in models or in a run in training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from chargen.cli.options import (
    CORPUS,
    MODEL,
    NO_VALIDATION_TEXT,
    TableName,
    check_length,
    encoding_option,
    finite_lists,
    json_option,
    read_tokens,
    terminal_options,
    write_json,
)
from chargen.cli.pictures import Pictures, picture_options
from chargen.errors import CorpusError, UsageError
from chargen.files import finite_or_none
from chargen.model.config import CELLS
from chargen.terminal.context import Terminal

if TYPE_CHECKING:
    from chargen.api import Model
    from chargen.insight.gradients import GradientNorms
    from chargen.text.tokenizer import Tokenizer, Tokens

_MIN_TOKENS = 4
_MAX_STEPS_BACK = 10_000
_DEFAULT_STEPS = 1000
_DEFAULT_CELL = "lstm"
_GRADIENTS_HELP = """Measure how far back the gradient reaches: does it vanish?

The gradient of the loss at one position is followed back step by step. Its norm with respect to
the state, and to the input, says how much could be learned from that step. The curves are means
over many positions of the text, on a logarithmic scale. Without MODEL, the model is the newest run;
without --corpus, the text is the model's validation text.

\b
  chargen gradients rnn lstm gru                          three models, one curve each
  chargen gradients bard --export gradients.svg
  chargen gradients --corpus novel.txt --cell rnn --every 200
                                                          trains an RNN, measures every 200 steps
"""


@click.command(help=_GRADIENTS_HELP)
@click.argument("names", metavar="[MODEL]...", nargs=-1, type=MODEL)
@click.option("--corpus", type=CORPUS, metavar="FILE", help="Text to read.")
@click.option(
    "--back", type=int, default=200, show_default=True, metavar="K", help="Steps to trace back."
)
@click.option(
    "--every", type=int, metavar="N", help="Train on --corpus, and measure every N steps."
)
@click.option(
    "--steps",
    type=int,
    metavar="N",
    help=f"With --every: steps to train for; default {_DEFAULT_STEPS:,}.",
)
@click.option(
    "--cell",
    type=TableName(CELLS),
    metavar="CELL",
    help=f"With --every: cell to train; default {_DEFAULT_CELL}.",
)
@encoding_option
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
    encoding: str | None,
    as_json: bool,
    terminal: Terminal,
    pictures: Pictures,
) -> None:
    """Measure; see _GRADIENTS_HELP."""
    if not 1 <= back <= _MAX_STEPS_BACK:
        raise UsageError(f"--back {back}: must be from 1 to {_MAX_STEPS_BACK:,}")
    if every is None and (steps is not None or cell is not None):
        raise UsageError("--steps and --cell are for --every: train a model with chargen train")
    if every is not None:
        if names or corpus is None:
            raise UsageError("--every trains a new model: give --corpus FILE, and no MODEL")
        measurements = _measure_in_training(
            corpus, every, steps or _DEFAULT_STEPS, cell or _DEFAULT_CELL, back, terminal, encoding
        )
    else:
        measurements = _measure_models(names, corpus, back, terminal, encoding)
    from chargen.insight.gradients import describe_gradients, gradient_figure
    from chargen.insight.views import token_noun

    norms_by_name: dict[str, GradientNorms] = {}
    unit = "token"
    for name, tokenizer, norms in measurements:
        norms_by_name[name], unit = norms, token_noun(tokenizer)
        if as_json:
            write_json(terminal, {"model": name, **_gradients_record(norms)})
        elif every is not None:
            terminal.note(f"{name}: {describe_gradients(norms, unit)}")
    if pictures.target or not as_json:
        pictures.show(gradient_figure(norms_by_name, unit))


def _measure_models(
    names: tuple[str, ...],
    corpus: str | None,
    back: int,
    terminal: Terminal,
    encoding: str | None,
) -> Iterator[tuple[str, Tokenizer, GradientNorms]]:
    """Yield the name, the tokenizer and the gradient norms of each model."""
    from chargen.api import load
    from chargen.insight.gradients import measure_gradient_norms
    from chargen.model.runs import run_name
    from chargen.terminal.progress import progress_line

    for name in names or (None,):
        model = load(name)
        ids = _text_of(model, corpus, terminal, encoding)
        assert model.path is not None
        with progress_line(terminal, "tracing back") as progress:
            norms = measure_gradient_norms(
                model.config, model.file.weights, ids, steps=back, progress=progress
            )
        yield name or run_name(model.path), model.tokenizer, norms


def _text_of(model: Model, corpus: str | None, terminal: Terminal, encoding: str | None) -> Tokens:
    """The tokens of --corpus; without it, the model's validation text."""
    from chargen.own_corpus import validation_text

    if corpus is None:
        ids = validation_text(model)
    else:
        ids = read_tokens(model, corpus, terminal, encoding=encoding)
    if ids is None:
        raise UsageError(f"give --corpus FILE: {NO_VALIDATION_TEXT}")
    check_length(corpus or "the text", ids, _MIN_TOKENS)
    return ids


def _measure_in_training(
    corpus: str,
    every: int,
    steps: int,
    cell: str,
    back: int,
    terminal: Terminal,
    encoding: str | None,
) -> Iterator[tuple[str, Tokenizer, GradientNorms]]:
    """Train a model; yield the step, the tokenizer and the gradient norms at each evaluation."""
    if not 1 <= every <= steps:
        raise UsageError(f"--every {every}: must be from 1 to the {steps:,} steps")
    from chargen.api import load
    from chargen.insight.gradients import measure_gradient_norms
    from chargen.own_corpus import validation_text
    from chargen.train_api import train
    from chargen.training.events import Evaluated, Planned

    tokenizer = config = ids = folder = None
    for event in train(
        corpus, cell=cell, steps=steps, evaluations=steps // every, ema=0.0,
        patience=0, on_note=terminal.note, encoding=encoding, memory=False,
    ):  # fmt: skip
        if isinstance(event, Planned):
            tokenizer, config, folder = event.tokenizer, event.model, event.folder
            terminal.note(f"{config.cell_row.label}, {config.units_label}, in {folder}")
        elif isinstance(event, Evaluated):
            assert tokenizer is not None
            assert config is not None
            if ids is None:
                ids = validation_text(load(folder))
                if ids is None or len(ids) < _MIN_TOKENS:
                    raise CorpusError(
                        f"{corpus}: its validation part has too few tokens; give a longer text"
                    )
            norms = measure_gradient_norms(config, event.weights, ids, steps=back)
            yield f"step {event.step:,}", tokenizer, norms


def _gradients_record(norms: GradientNorms) -> dict[str, Any]:
    """The norms as plain values for JSON."""
    return {
        "half_life": finite_or_none(norms.half_life),
        "first_half": finite_or_none(norms.first_half),
        "verdict": norms.verdict,
        "places": norms.positions,  # the name of the key, as it was always written
        "state": finite_lists(norms.state),
        "input": finite_lists(norms.inputs),
        "layers": finite_lists(norms.layers.T),
    }
