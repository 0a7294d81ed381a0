"""chargen demo: trains briefly on the built-in corpus, writes a text, and opens the REPL."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from chargen.cli.options import terminal_options
from chargen.cli.train import show_events
from chargen.errors import ExitCode
from chargen.terminal.context import Terminal

_TEXT_TOKENS = 600
_MINUTES = 1.0


@click.command()
@click.option(
    "--minutes",
    type=float,
    default=_MINUTES,
    show_default=True,
    metavar="M",
    help="Minutes to train for.",
)
@terminal_options
def command(minutes: float, terminal: Terminal) -> int:
    """Train for a minute on the built-in corpus, then write.

    The corpus is Python's language reference, which is part of Python. The run is
    checkpoints/demo; it replaces an earlier demo, and nothing else. On a terminal, the REPL opens
    at the end.
    """
    from chargen.model.claims import numbered
    from chargen.model.runs import CHECKPOINTS
    from chargen.train_api import train
    from chargen.training.config import check_settings

    check_settings({"minutes": minutes})
    terminal.note("training on Python's language reference (builtin:python-docs)")
    name = next(name for name in numbered("demo") if _is_free_or_demo(CHECKPOINTS / name))
    begin = partial(train, on_note=terminal.note, run=name, overwrite=True, minutes=minutes)
    code = show_events(begin, terminal)
    if code != ExitCode.DONE:
        return code
    from chargen.api import load
    from chargen.terminal.safetext import safe

    steps = load(name).generate("The ", length=_TEXT_TOKENS, temperature=0.6, seed=1)
    terminal.write_line(safe("The " + "".join(step.text for step in steps)))
    from chargen.repl.app import has_terminal, run_repl
    from chargen.repl.session import Session

    if has_terminal(terminal):
        return run_repl(Session(load(name)), terminal)
    terminal.note(f"next: chargen repl {name}, or chargen train your-text.txt")
    return ExitCode.DONE


def _is_free_or_demo(folder: Path) -> bool:
    """Whether a demo may have this folder: nothing is in it, or an earlier demo."""
    from chargen.model.runs import holds_run, read_run

    if not holds_run(folder):
        return not folder.exists() or folder.is_dir()
    record = read_run(folder)
    text, plan = record.get("text"), record.get("train")
    return (
        isinstance(text, dict)
        and text.get("corpus") == []
        and isinstance(plan, dict)
        # A person who trains on the built-in corpus for longer wants to keep the result.
        and plan.get("minutes") is not None
        and plan["minutes"] <= _MINUTES
    )
