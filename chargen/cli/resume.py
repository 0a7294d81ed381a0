"""chargen resume."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from chargen.cli.options import RUN_NAME, json_option, terminal_options
from chargen.terminal.context import Terminal

_HELP = """Go on with a run, exactly where it stopped.

RUN is a run's folder, or its name below ./checkpoints; left out, it is the newest. An interrupted
or killed run takes the very steps that it would have taken. With a length, the run, finished or
not, goes on for that long from where it is: the learning rate rises again and decays to zero.

\b
  chargen resume novel                 to the end of its plan
  chargen resume novel --minutes 10    ten more minutes

The text is the one the run began with, even if the file has changed since, as long as it is in the
cache.
"""


@click.command(help=_HELP)
@click.argument("run", required=False, type=RUN_NAME)
@click.option("--minutes", type=float, metavar="M", help="Train for so long from here.")
@click.option("--epochs", type=float, metavar="E", help="So many passes over the text, instead.")
@click.option("--steps", type=int, metavar="N", help="So many optimizer steps, instead.")
@click.option(
    "--allow-changed-corpus", is_flag=True, help="If the corpus changed, take it as it is now."
)
@json_option
@terminal_options
def command(
    run: str | None,
    minutes: float | None,
    epochs: float | None,
    steps: int | None,
    allow_changed_corpus: bool,
    as_json: bool,
    terminal: Terminal,
) -> int:
    """Resume; see _HELP."""
    from chargen.cli.train import follow
    from chargen.model.runs import locate_run
    from chargen.train_api import resume
    from chargen.training.config import check_settings

    lengths: dict[str, Any] = {"minutes": minutes, "epochs": epochs, "steps": steps}
    check_settings({name: value for name, value in lengths.items() if value is not None})
    folder = locate_run(run)
    return follow(
        folder,
        partial(
            resume,
            folder,
            allow_changed_corpus=allow_changed_corpus,
            on_note=terminal.note,
            **lengths,
        ),
        terminal,
        as_json=as_json,
    )
