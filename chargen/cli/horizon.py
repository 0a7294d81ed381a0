"""chargen horizon: how far back a model remembers."""

from __future__ import annotations

import click

from chargen.cli.options import MODEL, check_length, model_and_text, write_json
from chargen.cli.pictures import Pictures, display_options
from chargen.errors import UsageError
from chargen.files import finite_or_none
from chargen.terminal.context import Terminal

_MIN_TOKENS = 16
_HORIZON_HELP = """Measure how far back a model remembers: its loss against the text that it sees.

The model reads FILE from many positions, each time from an empty memory. The horizon is the number
of visible tokens from which on the model predicts as well as with the whole text before it. A
second curve puts the text before the visible part in random order, instead of leaving it out.
Without FILE, the text is the model's validation text.

\b
  chargen horizon bard
  chargen horizon bard scene.txt --export horizon.svg
"""


@click.command(help=_HORIZON_HELP)
@click.argument("names", metavar="[MODEL] [FILE]", nargs=-1, type=MODEL)
@click.option(
    "--longest",
    type=int,
    default=256,
    show_default=True,
    metavar="N",
    help="Largest number of visible tokens to try.",
)
@display_options
def command(
    names: tuple[str, ...],
    longest: int,
    encoding: str | None,
    as_json: bool,
    terminal: Terminal,
    pictures: Pictures,
) -> None:
    """Measure; see _HORIZON_HELP."""
    from chargen.insight.horizon import horizon_figure, measure_horizon
    from chargen.insight.views import token_noun
    from chargen.terminal.progress import progress_line

    if not 4 <= longest <= 100_000:
        raise UsageError(f"--longest {longest}: must be from 4 to 100,000")
    model, ids, name = model_and_text(names, terminal, encoding=encoding)
    check_length(name, ids, _MIN_TOKENS)
    with progress_line(terminal, "reading") as progress:
        horizon = measure_horizon(model.stepper, ids, longest=longest, progress=progress)
    if as_json:
        value = {
            "horizon": finite_or_none(horizon.horizon),
            "order": finite_or_none(horizon.order),
            "full": horizon.full,
            "visible": horizon.visible.tolist(),
            "bits": horizon.bits.tolist(),
            "shuffled": horizon.shuffled.tolist(),
            "error": horizon.error.tolist(),
        }
        write_json(terminal, value)
    figure = horizon_figure(horizon, token_noun(model.tokenizer))
    if pictures.target or not as_json:
        pictures.show(figure)
