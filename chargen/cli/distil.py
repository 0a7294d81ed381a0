"""chargen distil: the options of distilling, and its start.

The options of the student and of its training are those of `chargen train`; `_parameters` says
which. What the options mean is in `chargen.distil_api`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from chargen.cli import train
from chargen.cli.options import CORPUS, MODEL, terminal_options
from chargen.cli.reading import reading_options
from chargen.distil_api import DEFAULT_TEACHER_SHARE
from chargen.terminal.context import Terminal

_DISTIL_HELP = """Make one network that predicts as a larger model does.

RUN is a run or a model file, best one of several groups; it is not changed. The new network, the
student, reads the text that RUN was trained on. At each position it learns from the next character
and from what RUN predicts there, which also tells what else could have followed. It is read and
written with as fast as any network of its size.

\b
  chargen train novel.txt --minutes 30 --run large     six networks side by side, on most machines
  chargen distil large --run small                     one network instead
  chargen distil large --hidden-size 448 --minutes 10
  chargen distil large --text ~/novel.txt              the text lies elsewhere now, or is another

The score that is shown is that of the text alone. The result is a run like any other: `chargen
sample`, `repl`, `info` and `resume` accept it.
"""

_OF_THE_TEXT = {"corpus", "base", "tokenizer", "vocab_size", "pattern", "valid", "valid_fraction"}
"""Parameters of `train` that the teacher and its text decide, beside those of reading."""


@terminal_options
@click.option(
    "--text",
    type=CORPUS,
    multiple=True,
    metavar="CORPUS",
    help="Text to read instead of the training text of RUN; it is read as that was.",
)
@click.option(
    "--teacher-share",
    type=float,
    metavar="F",
    help="Share of the loss that is what RUN predicts, from 0 to 1; "
    f"default {DEFAULT_TEACHER_SHARE:g}.",
)
@click.option("--run", metavar="NAME", help="Name of the student's run; default: RUN-distilled.")
@click.option(
    "--groups",
    type=int,
    metavar="G",
    help="Independent networks that share the units of the student; default 1.",
)
def run_distilling(model: str, terminal: Terminal, as_json: bool = False, **options: Any) -> int:
    """Distil; see _DISTIL_HELP."""
    from chargen.distil_api import distil

    begin = partial(distil, model, on_note=terminal.note, **options)
    return train.show_events(begin, terminal, as_json=as_json)


def _parameters() -> list[click.Parameter]:
    """RUN, the options of `train` that make sense here, and those of distilling."""
    options: list[click.Parameter] = click.command()(run_distilling).params
    reading = click.command()(reading_options(run_distilling)).params
    others = _OF_THE_TEXT | {option.name for option in (*options, *reading)}
    shared = [option for option in train.command.params if option.name not in others]
    return [click.Argument(["model"], type=MODEL, metavar="RUN"), *shared, *options]


command = click.Command("distil", callback=run_distilling, params=_parameters(), help=_DISTIL_HELP)
