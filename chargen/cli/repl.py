"""chargen repl."""

from __future__ import annotations

import click

from chargen.cli.options import MODEL, terminal_options
from chargen.terminal.context import Terminal

_HELP = """Write with a model, and watch its memory while it writes.

MODEL is a model file, a run folder or a run's name; left out, it is the newest run. Type how the
text begins, and press Enter: the model goes on. An empty line writes on. /help lists the commands.

\b
  chargen repl
  chargen repl bard --seed 1
  echo "ROMEO:" | chargen repl bard     without a terminal: lines in, plain text out
"""


@click.command(help=_HELP)
@click.argument("model", required=False, type=MODEL)
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Same seed, same text.")
@click.option("-l", "--length", type=int, metavar="N", help="Tokens to write at a time; 400.")
@terminal_options
def command(model: str | None, seed: int | None, length: int | None, terminal: Terminal) -> int:
    """Write; see _HELP."""
    from chargen.api import load
    from chargen.repl.app import run_repl
    from chargen.repl.session import Session
    from chargen.repl.settings import set_value

    session = Session(load(model), seed)
    if length is not None:
        set_value(session.settings, "length", str(length))
    return run_repl(session, terminal)
