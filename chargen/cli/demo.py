"""chargen demo: trains briefly on the built-in corpus, writes a text, and opens the REPL."""

from __future__ import annotations

from functools import partial

import click

from chargen.cli.options import terminal_options
from chargen.cli.train import show_events
from chargen.errors import ExitCode
from chargen.terminal.context import Terminal

_TEXT_TOKENS = 600


@click.command()
@click.option(
    "--minutes",
    type=float,
    default=1.0,
    show_default=True,
    metavar="M",
    help="Minutes to train for.",
)
@terminal_options
def command(minutes: float, terminal: Terminal) -> int:
    """Train for a minute on the built-in corpus, then write.

    The corpus is Python's language reference, which is part of Python. The run is
    checkpoints/demo; it replaces an earlier demo. On a terminal, the REPL opens at the end.
    """
    from chargen.train_api import train
    from chargen.training.config import check_settings

    check_settings({"minutes": minutes})
    terminal.note("training on Python's language reference (builtin:python-docs)")
    begin = partial(train, on_note=terminal.note, run="demo", overwrite=True, minutes=minutes)
    code = show_events(begin, terminal)
    if code != ExitCode.DONE:
        return code
    from chargen.api import load
    from chargen.terminal.safetext import safe

    steps = load("demo").generate("The ", length=_TEXT_TOKENS, temperature=0.6, seed=1)
    terminal.write_line(safe("The " + "".join(step.text for step in steps)))
    from chargen.repl.app import has_terminal, run_repl
    from chargen.repl.session import Session

    if has_terminal(terminal):
        return run_repl(Session(load("demo")), terminal)
    terminal.note("next: chargen repl demo, or chargen train your-text.txt")
    return ExitCode.DONE
