"""chargen saturation."""

from __future__ import annotations

import json

import click

from chargen.cli.options import MODEL, model_and_text
from chargen.cli.pictures import Pictures, display_options
from chargen.terminal.context import Terminal

_HELP = """How often each gate is shut and open while a model reads a text.

Shut is below 0.1, open above 0.9. A point is a unit: to the right, it is often shut; above, often
open. A forget gate that stays open keeps what it has; one that stays shut only sees the present.
Without FILE, the text is what the model was validated on.

\b
  chargen saturation bard
  chargen saturation bard scene.txt --export gates.html
"""


@click.command(help=_HELP)
@click.argument("names", metavar="[MODEL] [FILE]", nargs=-1, type=MODEL)
@display_options
def command(
    names: tuple[str, ...],
    encoding: str | None,
    as_json: bool,
    terminal: Terminal,
    pictures: Pictures,
) -> None:
    """Show; see _HELP."""
    from chargen.insight.saturation import measure_saturation, saturation_figure, summary
    from chargen.terminal.progress import progress_line

    model, ids, _ = model_and_text(names, terminal, encoding=encoding)
    with progress_line(terminal, "reading") as progress:
        found = measure_saturation(model.stepper, ids, progress=progress)
    cell = model.config.cell_row
    if as_json:
        gates = {
            one.name: {part: getattr(one, part).tolist() for part in ("left", "right", "mean")}
            for one in found
        }
        terminal.out.write(json.dumps({"gates": gates, "notes": summary(found, cell)}) + "\n")
    if pictures.target or not as_json:
        pictures.show(saturation_figure(found, cell))
