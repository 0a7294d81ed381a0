"""chargen demo: a model in the box writes, learns for a minute, and writes again."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from chargen.cli.options import terminal_options
from chargen.cli.train import show_events
from chargen.errors import ExitCode
from chargen.terminal.context import Terminal

_BASE = "english"
_CORPUS = "builtin:python-docs"
_PROMPT = "The "
_TEXT_TOKENS = 400
_MINUTES = 1.0


@click.command()
@click.option(
    "--minutes",
    type=float,
    default=_MINUTES,
    show_default=True,
    metavar="M",
    help="Minutes to learn for.",
)
@terminal_options
def command(minutes: float, terminal: Terminal) -> int:
    """Let the model in the box write, teach it for a minute, and let it write again.

    It has read English novels; what it learns is Python's language reference, which is part of
    Python. The run is checkpoints/demo; it replaces an earlier demo, and nothing else. On a
    terminal, the REPL opens at the end.
    """
    from chargen.finetune_api import finetune
    from chargen.model.bases import base_path
    from chargen.model.claims import numbered
    from chargen.model.runs import CHECKPOINTS
    from chargen.train_api import train
    from chargen.training.config import check_settings

    check_settings({"minutes": minutes})
    name = next(name for name in numbered("demo") if _is_free_or_demo(CHECKPOINTS / name))
    shared: dict[str, Any] = {
        "on_note": terminal.note,
        "run": name,
        "overwrite": True,
        "minutes": minutes,
    }
    if base_path(_BASE) is None:
        terminal.note("training on Python's language reference (builtin:python-docs)")
        begin = partial(train, _CORPUS, **shared)
    else:
        terminal.note(f"{_BASE}, a model in the box, has read novels; it writes:")
        _write(_BASE, terminal)
        terminal.note("now it learns from Python's language reference (builtin:python-docs)")
        begin = partial(finetune, _BASE, _CORPUS, **shared)
    code = show_events(begin, terminal)
    if code != ExitCode.DONE:
        return code
    terminal.note("the same beginning and the same seed, after that:")
    _write(name, terminal)
    for line in (
        f"chargen repl {name}",
        "chargen finetune your-text.txt",
        f"chargen heatmap {name} README.md",
    ):
        terminal.note(f"next: {line}", wraps=False)
    from chargen.api import load
    from chargen.repl.app import has_terminal, run_repl
    from chargen.repl.session import Session

    if has_terminal(terminal):
        return run_repl(Session(load(name)), terminal)
    return ExitCode.DONE


def _write(name: str, terminal: Terminal) -> None:
    """Writes a text, the same for the same model."""
    from chargen.api import load
    from chargen.terminal.safetext import safe

    steps = load(name).generate(_PROMPT, length=_TEXT_TOKENS, temperature=0.6, seed=1)
    terminal.write_line(safe(_PROMPT + "".join(step.text for step in steps)))


def _is_free_or_demo(folder: Path) -> bool:
    """Whether a demo may have this folder: nothing is in it, or an earlier demo."""
    from chargen.model.runs import holds_run, read_run

    if not holds_run(folder):
        return not folder.exists() or folder.is_dir()
    record = read_run(folder)
    text, plan = record.get("text"), record.get("train")
    return (
        isinstance(text, dict)
        and text.get("corpus") in ([], [_CORPUS])
        and isinstance(plan, dict)
        # A person who trains on the built-in corpus for longer wants to keep the result.
        and _is_short(plan.get("minutes"))
    )


def _is_short(minutes: object) -> bool:
    """Whether a run was as short as a demo of this version, or of 0.1, is."""
    return isinstance(minutes, int | float) and minutes <= 1
