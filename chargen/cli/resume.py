"""chargen resume: continues a run where it stopped, or for a further length."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from chargen.cli.options import CORPUS, RUN_NAME, json_option, terminal_options
from chargen.cli.train import show_events
from chargen.terminal.context import Terminal

_RESUME_HELP = """Continue a run exactly where it stopped.

RUN is a run's folder, or its name below ./checkpoints; without RUN, the newest run. An
interrupted or killed run takes the very steps that it would have taken. With --minutes, --epochs
or --steps, the run is trained further for that length, even if it is finished: the learning rate
rises again and falls to zero.

\b
  chargen resume novel                 to the end of its plan
  chargen resume novel --minutes 10    ten more minutes
  chargen resume novel ~/novel.txt     the text lies elsewhere now

The text is the one that the run began with, even if the file has changed since, as long as the
encoded text is in the cache. A run that was moved, or that read a pipe, is given its CORPUS; files
of the same name beside the run or in this folder are found without. The text must be the same.
"""


@click.command(help=_RESUME_HELP)
@click.argument("run", required=False, type=RUN_NAME)
@click.argument("corpus", nargs=-1, type=CORPUS)
@click.option("--valid", metavar="FILE", help="Where the validation text lies now.")
@click.option("--minutes", type=float, metavar="M", help="Minutes to train for from here.")
@click.option(
    "--epochs", type=float, metavar="E", help="Further passes over the text, instead of minutes."
)
@click.option("--steps", type=int, metavar="N", help="Further optimizer steps, instead of minutes.")
@click.option(
    "--allow-changed-corpus", is_flag=True, help="If the corpus changed, read it as it is now."
)
@json_option
@terminal_options
def command(
    run: str | None,
    corpus: tuple[str, ...],
    valid: str | None,
    minutes: float | None,
    epochs: float | None,
    steps: int | None,
    allow_changed_corpus: bool,
    as_json: bool,
    terminal: Terminal,
) -> int:
    """Resume; see _RESUME_HELP."""
    from chargen.train_api import resume
    from chargen.training.config import check_settings

    lengths: dict[str, Any] = {"minutes": minutes, "epochs": epochs, "steps": steps}
    check_settings({name: value for name, value in lengths.items() if value is not None})
    begin = partial(
        resume,
        run,
        corpus=corpus,
        valid=valid,
        allow_changed_corpus=allow_changed_corpus,
        on_note=terminal.note,
        **lengths,
    )
    return show_events(begin, terminal, as_json=as_json)
