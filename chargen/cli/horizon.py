"""chargen horizon."""

from __future__ import annotations

import json
import math

import click

from chargen.cli.options import MODEL, model_and_text
from chargen.cli.pictures import Pictures, display_options
from chargen.errors import CorpusError, UsageError
from chargen.terminal.context import Terminal
from chargen.terminal.progress import plural

_LEAST = 16
_HELP = """How far back a model remembers: its loss against the text that it can see.

FILE is read from many places with nothing before them; where the model predicts as well as with
all of the text, its memory ends. A second curve begins with the farther text, shuffled. Without
FILE, the text is what the model was validated on.

\b
  chargen horizon bard
  chargen horizon bard scene.txt --export horizon.svg
"""


@click.command(help=_HELP)
@click.argument("names", metavar="[MODEL] [FILE]", nargs=-1, type=MODEL)
@click.option(
    "--longest",
    type=int,
    default=256,
    show_default=True,
    metavar="N",
    help="Most tokens to show it.",
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
    """Show; see _HELP."""
    from chargen.insight.horizon import horizon_figure, measure_horizon
    from chargen.insight.views import unit_of
    from chargen.terminal.progress import progress_line

    if not 4 <= longest <= 100_000:
        raise UsageError(f"--longest {longest}: must be from 4 to 100,000")
    model, ids, name = model_and_text(names, terminal, encoding=encoding)
    if len(ids) < _LEAST:
        raise CorpusError(f"{name}: {plural(len(ids), 'token')}; give at least {_LEAST}")
    with progress_line(terminal, "reading") as progress:
        found = measure_horizon(model.stepper, ids, longest=longest, progress=progress)
    if as_json:
        value = {
            "horizon": found.horizon if math.isfinite(found.horizon) else None,
            "order": found.order if math.isfinite(found.order) else None,
            "full": found.full,
            "visible": found.visible.tolist(),
            "bits": found.bits.tolist(),
            "shuffled": found.shuffled.tolist(),
            "error": found.error.tolist(),
        }
        terminal.out.write(json.dumps(value) + "\n")
    picture = horizon_figure(found, unit_of(model.tokenizer))
    if pictures.target or not as_json:
        pictures.show(picture)
