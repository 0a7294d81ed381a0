"""chargen compare: trains several cells at equal cost, and shows a table, curves and a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from chargen.cli.options import CORPUS, json_option, terminal_options, write_json
from chargen.cli.pictures import Pictures, picture_options
from chargen.cli.reading import reading_options, without_defaults
from chargen.errors import ExitCode
from chargen.model.config import CELLS
from chargen.terminal.context import Terminal

if TYPE_CHECKING:
    from chargen.insight.comparison import ComparedRun
    from chargen.insight.plot import Figure

_DEFAULT_MINUTES = 2.0
_LEGEND = (
    "tokens/s: training speed; chars/s: writing speed; horizon: characters of the past that the "
    "model uses; half-life: steps back in which the gradient halves"
)
_COMPARE_HELP = """Train several cells on one text at equal cost, and compare them.

The result is a table (bits per byte, speed, size, memory horizon, half-life of the gradient) and a
sentence that says which cell predicts best, and how sure that is. Each cell is trained as a
separate run that can write. If Ctrl-C stops the comparison, the same command continues it. Without
CORPUS, the text is the built-in corpus.

\b
  chargen compare novel.txt --minutes 1
  chargen compare novel.txt --cells gru,lstm --seeds 3
  chargen compare novel.txt --equal parameters --export compare.svg
"""


@click.command(help=_COMPARE_HELP)
@click.argument("corpus", nargs=-1, type=CORPUS)
@click.option(
    "--cells", default=",".join(("rnn", "rnn-relu", "gru", "lstm")), show_default=True,
    metavar="A,B", help=f"Cells to compare, out of {', '.join(CELLS)}.",
)  # fmt: skip
@click.option(
    "--minutes", type=float, metavar="M",
    help=f"Minutes to train each for; default {_DEFAULT_MINUTES:g}.",
)  # fmt: skip
@click.option(
    "--steps", type=int, metavar="N", help="Optimizer steps for each, instead of minutes."
)
@click.option(
    "--equal", default="time", show_default=True, metavar="WHAT",
    help="time, parameters (as many weights as the first cell) or steps (as many as the first).",
)  # fmt: skip
@click.option(
    "--seeds", type=int, default=1, show_default=True, metavar="N", help="Runs of each cell."
)
@click.option("--run", metavar="NAME", help="Beginning of the names of the runs.")
@click.option("--hidden-size", type=int, metavar="H", help="Units in each layer.")
@click.option("--layers", "num_layers", type=int, metavar="L", help="Recurrent layers.")
@click.option("--batch-size", type=int, metavar="B", help="Rows of the batch.")
@click.option(
    "--bptt", type=int, metavar="T", help="Tokens of a window, through which gradients flow."
)
@click.option(
    "--dropout", type=float, metavar="P", help="Dropout between layers and before the head."
)
@click.option(
    "--tokenizer", default="char", show_default=True, metavar="KIND", help="As for train."
)
@reading_options
@json_option
@terminal_options
@picture_options
def command(
    corpus: tuple[str, ...],
    cells: str,
    equal: str,
    seeds: int,
    run: str | None,
    as_json: bool,
    terminal: Terminal,
    pictures: Pictures,
    **settings: Any,
) -> int:
    """Compare; see _COMPARE_HELP."""
    from chargen.cli.training_view import Interrupts
    from chargen.compare import ComparisonPlan, compare
    from chargen.insight.comparison import verdict
    from chargen.terminal.compare_display import open_comparison

    if settings["minutes"] is None and settings["steps"] is None:
        settings["minutes"] = _DEFAULT_MINUTES
    plan = ComparisonPlan(
        corpus=corpus,
        cells=tuple(name.strip() for name in cells.split(",") if name.strip()),
        seeds=seeds,
        equal=equal,
        run=run,
        overwrite=pictures.overwrite,
        settings=without_defaults(settings),
    )
    runs: Sequence[ComparedRun] = ()
    display = open_comparison(terminal, comparison_figure)
    with Interrupts(display.notice) as interrupts, closing(display):
        stages = compare(plan, on_note=display.note, should_stop=interrupts.stop_requested)
        for runs in stages:
            interrupts.begin_waiting()
            display.show(runs)
    if interrupts.stop_requested():
        terminal.note("stopped; the same command continues the comparison")
        return interrupts.exit_code
    condition = {
        "time": f"after {_budget(settings)} each",
        "parameters": f"with as many weights, after {_budget(settings)} each",
        "steps": "after as many steps",
    }[equal]
    result = verdict(runs, condition)
    if as_json:
        for compared in runs:
            write_json(terminal, compared.to_json())
        write_json(terminal, {"verdict": result})
    pictures.export(comparison_figure(runs, (result,)))
    legend = _LEGEND if seeds == 1 else f"{_LEGEND}; ±: standard deviation over the seeds"
    for line in () if as_json else (*comparison_table(runs), legend, result):
        terminal.write_line(line.replace("±", "+-") if terminal.ascii else line)
    return ExitCode.DONE


def _budget(settings: dict[str, Any]) -> str:
    """The training of each run, in words: `2 minutes`, or `800 steps`."""
    if settings["minutes"] is None:
        return f"{settings['steps']:,} steps"
    return f"{settings['minutes']:g} minute{'' if settings['minutes'] == 1 else 's'}"


def comparison_table(runs: Sequence[ComparedRun]) -> list[str]:
    """A heading and one line for each finished cell, the best first; means over the seeds."""
    from chargen.insight.comparison import rankings
    from chargen.model.runs import size_label
    from chargen.terminal.progress import size

    rows = [("cell", "bits/byte", "tokens/s", "units", "weights", "MB", "chars/s", "horizon",
             "half-life")]  # fmt: skip
    for ranking in rankings(runs):
        config = ranking.runs[0].config
        assert config is not None
        spread = "" if math.isnan(ranking.spread) else f" ± {ranking.spread:.3f}"
        horizon, half_life = ranking.mean("horizon"), ranking.mean("half_life")
        rows.append(
            (
                ranking.cell,
                f"{ranking.bits_per_byte:.3f}{spread}",
                size(ranking.mean("tokens_per_second")),
                size_label(config.to_json()),
                size(config.num_parameters),
                f"{config.num_parameters * 4 / 1e6:.1f}",
                size(ranking.mean("characters_per_second")),
                f"{horizon:.0f}" if math.isfinite(horizon) else "longer",
                f"{half_life:.1f}" if math.isfinite(half_life) else "grows",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def comparison_figure(runs: Sequence[ComparedRun], notes: tuple[str, ...] = ()) -> Figure:
    """Bits per byte against seconds, one curve for each run that has a score."""
    import numpy as np

    from chargen.insight.plot import Figure, Plot, Series

    has_seeds = len({run.seed for run in runs}) > 1
    series = tuple(
        Series(
            name=f"{run.cell} {run.seed}" if has_seeds else run.cell,
            x=np.array(run.seconds),
            y=np.array(run.curve),
        )
        for run in runs
        if run.curve
    )
    plot = Plot(series=series, x_label="seconds", y_label="bits a byte of the validation part")
    return Figure(title="Cells side by side", plots=(plot,), notes=notes)
