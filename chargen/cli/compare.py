"""chargen compare."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from chargen.cli.options import CORPUS, json_option, terminal_options
from chargen.cli.pictures import Pictures, picture_options
from chargen.errors import ExitCode
from chargen.model.config import CELLS
from chargen.terminal.context import Terminal

if TYPE_CHECKING:
    from chargen.insight.comparison import ComparedRun
    from chargen.insight.plot import Figure

_LEGEND = (
    "tokens/s: learning; chars/s: writing; horizon: characters it makes use of; half-life: steps "
    "back in which the gradient halves"
)
_HELP = """Train cells side by side on one text, at equal cost, and measure them alike.

Ends with a table (bits per byte, speed, size, memory horizon, half-life of the gradient) and a
sentence on what it says and how sure that is. Each is a run of its own, which can be written
with; begun again after Ctrl-C, the comparison goes on where it stopped. Without CORPUS, the text
is the built-in one.

\b
  chargen compare novel.txt --minutes 1
  chargen compare novel.txt --cells gru,lstm --seeds 3
  chargen compare novel.txt --equal parameters --export compare.svg
"""


@click.command(help=_HELP)
@click.argument("corpus", nargs=-1, type=CORPUS)
@click.option(
    "--cells", default=",".join(("rnn", "rnn-relu", "gru", "lstm")), show_default=True,
    metavar="A,B", help=f"Of {', '.join(CELLS)}.",
)  # fmt: skip
@click.option("--minutes", type=float, metavar="M", help="Wall time for each; default 2.")
@click.option("--steps", type=int, metavar="N", help="Optimizer steps for each, instead.")
@click.option(
    "--equal", default="time", show_default=True, metavar="WHAT",
    help="time, parameters (as many weights as the first) or steps (as many as the first).",
)  # fmt: skip
@click.option("--seeds", type=int, default=1, show_default=True, metavar="N", help="Runs of each.")
@click.option("--run", metavar="NAME", help="What the runs' names begin with.")
@click.option("--overwrite", is_flag=True, help="Replace runs of those names.")
@click.option("--hidden-size", type=int, metavar="H", help="Units of each layer.")
@click.option("--layers", "num_layers", type=int, metavar="L", help="Recurrent layers.")
@click.option("--batch-size", type=int, metavar="B", help="Places read side by side.")
@click.option("--bptt", type=int, metavar="T", help="Tokens that gradients flow back through.")
@click.option("--dropout", type=float, metavar="F", help="Between layers and before the head.")
@click.option("--tokenizer", default="char", show_default=True, metavar="KIND", help="As of train.")
@json_option
@terminal_options
@picture_options
def command(
    corpus: tuple[str, ...],
    cells: str,
    equal: str,
    seeds: int,
    run: str | None,
    overwrite: bool,
    as_json: bool,
    terminal: Terminal,
    pictures: Pictures,
    **settings: Any,
) -> int:
    """Compare; see _HELP."""
    from chargen.cli.training_view import Interrupts
    from chargen.compare import ComparisonPlan, compare
    from chargen.insight.comparison import verdict
    from chargen.terminal.compare_display import open_comparison

    if settings["minutes"] is None and settings["steps"] is None:
        settings["minutes"] = 2.0
    contest = ComparisonPlan(
        corpus=corpus,
        cells=tuple(one.strip() for one in cells.split(",") if one.strip()),
        seeds=seeds,
        equal=equal,
        run=run,
        overwrite=overwrite,
        settings={name: value for name, value in settings.items() if value is not None},
    )
    found: Sequence[ComparedRun] = ()
    display = open_comparison(terminal, _curves)
    with Interrupts(display.notice) as interrupts, closing(display):
        events = compare(contest, on_note=display.note, should_stop=interrupts.stop_requested)
        for found in events:
            interrupts.begin_waiting()
            display.show(found)
    if interrupts.stop_requested():
        terminal.note("stopped; the same command goes on where it stopped")
        return interrupts.exit_code
    how = {
        "time": f"after {_minutes(settings)} each",
        "parameters": f"with as many weights, after {_minutes(settings)} each",
        "steps": "after as many steps",
    }[equal]
    said = verdict(found, how)
    if as_json:
        for one in found:
            terminal.out.write(json.dumps(one.to_json()) + "\n")
        terminal.out.write(json.dumps({"verdict": said}) + "\n")
    pictures.export(_curves(found, (said,)))
    for line in () if as_json else (*table(found), _LEGEND, said):
        terminal.write_line(line.replace("±", "+-") if terminal.ascii else line)
    return ExitCode.DONE


def _minutes(settings: dict[str, Any]) -> str:
    if settings["minutes"] is None:
        return f"{settings['steps']:,} steps"
    return f"{settings['minutes']:g} minute{'' if settings['minutes'] == 1 else 's'}"


def table(found: Sequence[ComparedRun]) -> list[str]:
    """A line a cell, the best first: what it scores, learns and writes a second, and remembers."""
    from chargen.insight.comparison import rankings
    from chargen.model.runs import size_of
    from chargen.terminal.progress import size

    rows = [("cell", "bits/byte", "tokens/s", "units", "weights", "MB", "chars/s", "horizon",
             "half-life")]  # fmt: skip
    for one in rankings(found):
        config = one.runs[0].config
        assert config is not None
        spread = "" if math.isnan(one.spread) else f" ± {one.spread:.3f}"
        horizon, half = one.mean("horizon"), one.mean("half_life")
        rows.append(
            (
                one.cell,
                f"{one.bits_per_byte:.3f}{spread}",
                size(one.mean("tokens_per_second")),
                size_of(config.to_json()),
                size(config.num_parameters),
                f"{config.num_parameters * 4 / 1e6:.1f}",
                size(one.mean("characters_per_second")),
                f"{horizon:.0f}" if math.isfinite(horizon) else "longer",
                f"{half:.1f}" if math.isfinite(half) else "grows",
            )
        )
    wide = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, wide, strict=True)).rstrip()
        for row in rows
    ]


def _curves(found: Sequence[ComparedRun], notes: tuple[str, ...] = ()) -> Figure:
    """Bits a byte against time, a curve a run; the seeds of a cell stand under one name."""
    import numpy as np

    from chargen.insight.plot import Figure, Plot, Series

    many = len({one.seed for one in found}) > 1
    series = tuple(
        Series(
            name=f"{one.cell} {one.seed}" if many else one.cell,
            x=np.array(one.seconds),
            y=np.array(one.curve),
        )
        for one in found
        if one.curve
    )
    plot = Plot(series=series, x_label="seconds", y_label="bits a byte of the validation part")
    return Figure(title="Cells side by side", plots=(plot,), notes=notes)
