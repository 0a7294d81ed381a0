"""chargen repl: loads a model and opens the REPL."""

from __future__ import annotations

import click

from chargen.cli.options import MODEL, terminal_options
from chargen.terminal.context import Terminal

_REPL_HELP = """Write with a model, and watch its memory while it writes.

MODEL is a model file, a run folder or a run's name; without MODEL, the newest run. Type the
beginning of a text and press Enter: the model continues it. An empty line lets it write more.
/help lists the commands.

\b
  chargen repl
  chargen repl bard --seed 1
  chargen repl --continue               goes on with the last session, and its model
  echo "ROMEO:" | chargen repl bard     without a terminal: reads lines, writes plain text
"""


@click.command(help=_REPL_HELP)
@click.argument("model", required=False, type=MODEL)
@click.option(
    "--seed", type=click.IntRange(min=0), metavar="N", help="Seed; the same seed writes the same."
)
@click.option(
    "-l", "--length", type=int, metavar="N", help="Tokens to write at a time; default 400."
)
@click.option(
    "--continue",
    "continues",
    is_flag=True,
    help="Go on with the last session; /sessions lists all.",
)
@terminal_options
def command(
    model: str | None, seed: int | None, length: int | None, continues: bool, terminal: Terminal
) -> int:
    """Open the REPL; see _REPL_HELP."""
    from chargen.api import load
    from chargen.repl.app import run_repl
    from chargen.repl.kept import continued
    from chargen.repl.session import Session
    from chargen.repl.settings import set_value

    session = continued(model, seed) if continues else Session(load(model), seed)
    if length is not None:
        set_value(session.settings, "length", str(length))
    return run_repl(session, terminal)
