"""chargen saturation: how often each gate is shut and open."""

from __future__ import annotations

import click

from chargen.cli.options import MODEL, model_and_text, write_json
from chargen.cli.pictures import Pictures, display_options
from chargen.terminal.context import Terminal

_SATURATION_HELP = """Measure how often each gate is shut and open while a model reads a text.

Shut means below 0.1, open above 0.9. Each point is a unit: far to the right if its gate is often
shut, high up if it is often open. A forget gate that stays open keeps its unit's memory; one that
stays shut sees only the present. Without FILE, the text is the model's validation text.

\b
  chargen saturation bard
  chargen saturation bard scene.txt --export gates.html
"""


@click.command(help=_SATURATION_HELP)
@click.argument("names", metavar="[MODEL] [FILE]", nargs=-1, type=MODEL)
@display_options
def command(
    names: tuple[str, ...],
    encoding: str | None,
    as_json: bool,
    terminal: Terminal,
    pictures: Pictures,
) -> None:
    """Measure; see _SATURATION_HELP."""
    from chargen.insight.saturation import (
        describe_saturation,
        measure_saturation,
        saturation_figure,
    )
    from chargen.terminal.progress import progress_line

    model, ids, _ = model_and_text(names, terminal, encoding=encoding)
    with progress_line(terminal, "reading") as progress:
        gates = measure_saturation(model.stepper, ids, progress=progress)
    cell = model.config.cell_row
    if as_json:
        record = {
            gate.name: {part: getattr(gate, part).tolist() for part in ("left", "right", "mean")}
            for gate in gates
        }
        write_json(terminal, {"gates": record, "notes": describe_saturation(gates, cell)})
    if pictures.target or not as_json:
        pictures.show(saturation_figure(gates, cell))
